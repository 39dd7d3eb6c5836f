//! `driftline performance`: how good predictions were, once their labels had come.

use std::io::Write;

use anyhow::Context;
use chrono::{DateTime, Utc};
use comfy_table::{CellAlignment, Table as TextTable, presets};
use serde_json::json;
use sqlx::PgPool;

use super::ExitStatus;
use crate::config::Settings;
use crate::model::ModelName;
use crate::performance::{Cohort, Metric, PerformanceReport};
use crate::store;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List the newest windows of a model with their figures
    List {
        /// The model
        #[arg(short, long)]
        model: ModelName,
        /// How many
        #[arg(long, default_value_t = 20)]
        limit: u32,
        /// Leave out windows whose labels are still coming
        #[arg(long)]
        mature: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one window: every figure with its standard error, beside what it is compared with, for all rows and each segment
    Show {
        /// The model
        #[arg(short, long)]
        model: ModelName,
        /// An instant in the window; without it, the newest window whose labels have come
        #[arg(long, value_name = "TIME")]
        at: Option<DateTime<Utc>>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

pub(super) async fn run(
    command: Command,
    settings: &Settings,
    db: &PgPool,
    out: &mut impl Write,
) -> anyhow::Result<ExitStatus> {
    match command {
        Command::List { model, limit, mature, json } => {
            let reports = store::performance::latest(db, &model, mature, i64::from(limit)).await?;
            if json {
                writeln!(out, "{}", json!({ "reports": reports }))?;
            } else if reports.is_empty() {
                writeln!(out, "{}", nothing(settings, db, &model).await?)?;
            } else {
                print_list(&reports, out)?;
            }
        }
        Command::Show { model, at, json } => {
            let report = match at {
                Some(at) => store::performance::holding(db, &model, at).await?,
                None => store::performance::latest(db, &model, true, 1).await?.into_iter().next(),
            };
            let Some(report) = report else {
                let when = at.map_or_else(
                    || "whose labels have come".to_owned(),
                    |at| format!("that holds {}", at.format("%FT%TZ")),
                );
                let why = nothing(settings, db, &model).await?;
                anyhow::bail!("there is no report on a window of `{model}` {when}; {why}");
            };
            if json {
                writeln!(out, "{}", serde_json::to_string(&report)?)?;
            } else {
                print_report(&report, out)?;
            }
        }
    }
    Ok(ExitStatus::Success)
}

/// Why there is nothing to see, and what to do about it.
async fn nothing(settings: &Settings, db: &PgPool, model: &ModelName) -> anyhow::Result<String> {
    store::model::active_baseline(db, model).await?;
    let Some(configured) = settings.model(model) else {
        return Ok(format!("`{model}` is not in the settings: give them with `--config`"));
    };
    if configured.reading().is_none() {
        return Ok(format!(
            "nothing says what `{model}` predicts: add `performance: {{task: …}}` or `training` to its settings"
        ));
    }
    let labels = store::label::count_since(db, model, None).await.context("labels could not be counted")?;
    Ok(match labels {
        0 => format!(
            "no prediction of `{model}` has a label: `POST /v1/labels`, or `driftline labels import`; \
             `driftline labels status` says what became of those that came"
        ),
        labels => format!(
            "{labels} labels have come: a running sidecar judges them within seconds, and calls a window mature once {:.0} % of \
             its labels should have come",
            100.0 * configured.mature()
        ),
    })
}

/// The figures that a table has room for: those of most windows, the most telling ones first.
fn columns(reports: &[PerformanceReport]) -> Vec<Metric> {
    let mut found: Vec<Metric> = Vec::new();
    for report in reports {
        let first = Metric::first_of(report.task).iter().copied();
        for metric in first.chain(report.all.figures.keys().copied()) {
            if report.all.figures.contains_key(&metric) && !found.contains(&metric) {
                found.push(metric);
            }
        }
    }
    found.truncate(4);
    found
}

fn print_list(reports: &[PerformanceReport], out: &mut impl Write) -> anyhow::Result<()> {
    let columns = columns(reports);
    let mut table = TextTable::new();
    let header = ["window", "labels", "rows", "labelled", "share"].into_iter().map(str::to_owned);
    table
        .load_style(presets::NOTHING)
        .set_header(header.chain(columns.iter().map(|metric| metric.as_str().to_owned())));
    for report in reports {
        let all = &report.all;
        let cells = [
            report.window_start.format("%F %H:%M").to_string(),
            if report.mature { "have come" } else { "are coming" }.to_owned(),
            all.rows.to_string(),
            all.labelled.to_string(),
            share(all),
        ];
        let figures = columns.iter().map(|metric| figure(all, *metric));
        table.add_row(cells.into_iter().chain(figures));
    }
    right(&mut table, 2..5 + columns.len());
    writeln!(out, "{table}")?;
    Ok(())
}

fn share(cohort: &Cohort) -> String {
    cohort.labelled_share().map(|share| format!("{:.1} %", 100.0 * share)).unwrap_or_default()
}

/// `0.712 ± 0.011`, the latter the standard error.
fn figure(cohort: &Cohort, metric: Metric) -> String {
    let Some(estimate) = cohort.figures.get(&metric) else { return String::new() };
    let error = estimate.standard_error.map(|error| format!(" ± {}", number(error))).unwrap_or_default();
    format!("{}{error}", number(estimate.value))
}

fn number(value: f64) -> String {
    if value.abs() < 100.0 { format!("{value:.3}") } else { format!("{value:.1}") }
}

fn right(table: &mut TextTable, columns: std::ops::Range<usize>) {
    for index in columns {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

fn print_report(report: &PerformanceReport, out: &mut impl Write) -> anyhow::Result<()> {
    let all = &report.all;
    writeln!(
        out,
        "{} {} .. {}: {} model, {} of {} predictions labelled{}",
        report.model,
        report.window_start.format("%F %H:%M"),
        report.window_end.format("%F %H:%M"),
        report.task.as_str(),
        all.labelled,
        all.rows,
        all.labelled_share().map(|share| format!(" ({:.1} %)", 100.0 * share)).unwrap_or_default(),
    )?;
    let span = span(report.delay_seconds);
    if report.mature {
        writeln!(out, "labels have come: they usually take {span}")?;
    } else {
        writeln!(
            out,
            "labels are still coming, and those that are here are a selection: they usually take {span}"
        )?;
    }
    if all.n < all.labelled {
        writeln!(out, "figures are of {} of them: a sample, or the others could not be read", all.n)?;
    }
    print_cohort(all, out)?;
    print_segments(report, out)
}

fn print_cohort(cohort: &Cohort, out: &mut impl Write) -> anyhow::Result<()> {
    let mut table = TextTable::new();
    let against = cohort.baseline.as_ref().map_or("before", |against| against.source.as_str());
    table.load_style(presets::NOTHING).set_header(["figure", "value", "standard error", against, "change"]);
    for (metric, estimate) in &cohort.figures {
        let before = cohort.before(*metric);
        table.add_row([
            metric.as_str().to_owned(),
            number(estimate.value),
            estimate.standard_error.map(number).unwrap_or_default(),
            before.map(number).unwrap_or_default(),
            before.map(|before| change(*metric, estimate.value - before)).unwrap_or_default(),
        ]);
    }
    right(&mut table, 1..4);
    writeln!(out, "{table}")?;
    Ok(())
}

/// `-0.091 worse`.
fn change(metric: Metric, change: f64) -> String {
    let word = if change.abs() < 0.0005 {
        "same"
    } else if (change > 0.0) == metric.more_is_better() {
        "better"
    } else {
        "worse"
    };
    let sign = if change > 0.0 { "+" } else { "" };
    format!("{sign}{} {word}", number(change))
}

fn print_segments(report: &PerformanceReport, out: &mut impl Write) -> anyhow::Result<()> {
    let segments: Vec<&Cohort> = report.segments.iter().filter(|cohort| cohort.rows > 0).collect();
    if segments.is_empty() {
        return Ok(());
    }
    let columns = columns(std::slice::from_ref(report));
    let mut table = TextTable::new();
    let header = ["segment", "rows", "labelled", "share"].into_iter().map(str::to_owned);
    table
        .load_style(presets::NOTHING)
        .set_header(header.chain(columns.iter().map(|metric| metric.as_str().to_owned())));
    for cohort in segments {
        let name = cohort.segment.clone().unwrap_or_default();
        let cells = [name, cohort.rows.to_string(), cohort.labelled.to_string(), share(cohort)];
        table.add_row(cells.into_iter().chain(columns.iter().map(|metric| figure(cohort, *metric))));
    }
    right(&mut table, 1..4 + columns.len());
    writeln!(out, "{table}")?;
    Ok(())
}

/// A span of time in its largest fitting unit.
fn span(seconds: f64) -> String {
    match seconds {
        seconds if seconds < 120.0 => format!("{seconds:.0} s"),
        seconds if seconds < 7200.0 => format!("{:.0} min", seconds / 60.0),
        seconds if seconds < 172_800.0 => format!("{:.0} h", seconds / 3600.0),
        seconds => format!("{:.0} days", seconds / 86_400.0),
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::performance::{Against, Estimate, Task};

    fn report() -> PerformanceReport {
        let estimate = |value, error| Estimate { value, standard_error: Some(error) };
        let cohort = |segment: Option<&str>, labelled, accuracy| Cohort {
            segment: segment.map(str::to_owned),
            rows: 1000,
            labelled,
            n: labelled,
            figures: [(Metric::Accuracy, estimate(accuracy, 0.014)), (Metric::RocAuc, estimate(0.8, 0.02))]
                .into(),
            baseline: Some(Against {
                source: "version 3, held out".into(),
                figures: [(Metric::Accuracy, 0.8)].into(),
            }),
        };
        let start: DateTime<Utc> = "2026-03-01T10:00:00Z".parse().unwrap();
        PerformanceReport {
            model: ModelName::parse("m").unwrap(),
            window_start: start,
            window_end: start + TimeDelta::hours(1),
            task: Task::Binary,
            mature: true,
            delay_seconds: 5400.0,
            all: cohort(None, 800, 0.7),
            segments: vec![cohort(Some("region=eu"), 300, 0.9), Cohort::default()],
        }
    }

    #[track_caller]
    fn lines(print: impl Fn(&mut Vec<u8>)) -> Vec<String> {
        let mut out = Vec::new();
        print(&mut out);
        let text = String::from_utf8(out).unwrap();
        text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    }

    #[test]
    fn a_window_is_printed_with_what_it_is_compared_with() {
        let printed = lines(|out| print_report(&report(), out).unwrap());
        assert_eq!(
            printed,
            [
                "m 2026-03-01 10:00 .. 2026-03-01 11:00: binary model, 800 of 1000 predictions labelled (80.0 %)",
                "labels have come: they usually take 90 min",
                "figure value standard error version 3, held out change",
                "accuracy 0.700 0.014 0.800 -0.100 worse",
                "roc_auc 0.800 0.020",
                "segment rows labelled share roc_auc accuracy",
                "region=eu 1000 300 30.0 % 0.800 ± 0.020 0.900 ± 0.014",
            ]
        );
    }

    #[test]
    fn windows_are_listed_with_the_most_telling_figures_first() {
        let young = PerformanceReport { mature: false, ..report() };
        let printed = lines(|out| print_list(&[young.clone(), report()], out).unwrap());
        assert_eq!(
            printed,
            [
                "window labels rows labelled share roc_auc accuracy",
                "2026-03-01 10:00 are coming 1000 800 80.0 % 0.800 ± 0.020 0.700 ± 0.014",
                "2026-03-01 10:00 have come 1000 800 80.0 % 0.800 ± 0.020 0.700 ± 0.014",
            ]
        );
    }
}
