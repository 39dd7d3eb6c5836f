//! `driftline drift`: list, show and recompute reports.

use std::io::Write;

use anyhow::Context;
use comfy_table::{CellAlignment, Table as TextTable, presets};
use serde_json::json;
use uuid::Uuid;

use super::ExitStatus;
use crate::app;
use crate::config::Settings;
use crate::drift::{DriftReport, Verdict};
use crate::expectations::CheckVerdict;
use crate::model::ModelName;
use crate::store;
use crate::tasks;
use crate::traffic::TrafficVerdict;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List the newest reports of a model
    List {
        /// The model
        #[arg(short, long)]
        model: ModelName,
        /// How many
        #[arg(long, default_value_t = 20)]
        limit: u32,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one report: every column with its numbers and the reason of its verdict
    Show {
        /// Id of the report
        report: Uuid,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Recompute a report from what is stored, and say whether every number agrees
    Explain {
        /// Id of the report
        report: Uuid,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

pub(super) async fn run(
    command: Command,
    settings: Settings,
    out: &mut impl Write,
) -> anyhow::Result<ExitStatus> {
    let database = app::open_database(&settings).await?;
    let db = &database.pool;
    let status = match command {
        Command::List { model, limit, json } => {
            store::model::active_baseline(db, &model).await?;
            let reports = store::drift_report::latest(db, &model, i64::from(limit)).await?;
            if json {
                let rows: Vec<_> =
                    reports.iter().map(|(id, report)| json!({ "id": id, "report": report })).collect();
                writeln!(out, "{}", json!({ "reports": rows }))?;
            } else {
                print_list(&reports, out)?;
            }
            let drifted = reports.first().is_some_and(|(_, report)| {
                report.verdict == Verdict::Drift || report.drifted_segments().next().is_some()
            });
            if drifted { ExitStatus::Failure } else { ExitStatus::Success }
        }
        Command::Show { report, json } => {
            let found = store::drift_report::get(db, report)
                .await?
                .with_context(|| format!("there is no report {report}"))?;
            if json {
                writeln!(out, "{}", serde_json::to_string(&found)?)?;
            } else {
                print_report(&found, out)?;
            }
            ExitStatus::Success
        }
        Command::Explain { report, json } => explain(&settings, db, report, json, out).await?,
    };
    database.close().await?;
    Ok(status)
}

fn print_list(reports: &[(Uuid, DriftReport)], out: &mut impl Write) -> anyhow::Result<()> {
    let expected = reports.iter().any(|(_, report)| report.expectations_verdict.is_some());
    let tapped = reports.iter().any(|(_, report)| report.traffic.is_some());
    let segmented = reports.iter().any(|(_, report)| !report.segments.is_empty());
    let mut table = TextTable::new();
    let header = ["window", "rows", "verdict", "reason", "report"].into_iter();
    let header = header.chain(expected.then_some("expectations")).chain(tapped.then_some("traffic"));
    let header = header.chain(segmented.then_some("segments"));
    table.load_style(presets::NOTHING).set_header(header);
    for (id, report) in reports {
        let cells = [
            report.window_start.format("%F %H:%M").to_string(),
            report.rows.to_string(),
            report.verdict.as_str().to_owned(),
            report.reason.clone(),
            id.to_string(),
        ];
        let checks = report.expectations_verdict.map_or("", CheckVerdict::as_str);
        let traffic = report.traffic.as_ref().map_or("", |traffic| traffic.verdict.as_str());
        let more = expected.then(|| checks.to_owned()).into_iter().chain(tapped.then(|| traffic.to_owned()));
        let (drifted, all) = (report.drifted_segments().count(), report.segments.len());
        let segments = if all == 0 { String::new() } else { format!("{drifted} of {all} drifted") };
        let more = more.chain(segmented.then_some(segments));
        table.add_row(cells.into_iter().chain(more));
    }
    writeln!(out, "{table}")?;
    for (_, report) in reports {
        let Some(traffic) = report.traffic.as_ref().filter(|t| t.verdict == TrafficVerdict::Worse) else {
            continue;
        };
        writeln!(out, "\ntraffic in the window {}:", report.window_start.format("%F %H:%M"))?;
        for sentence in traffic.sentences() {
            writeln!(out, "  {sentence}")?;
        }
    }
    for (_, report) in reports.iter().filter(|(_, report)| report.violated().next().is_some()) {
        writeln!(out, "\nviolated in the window {}:", report.window_start.format("%F %H:%M"))?;
        for result in report.violated() {
            writeln!(out, "  {}", result.sentence())?;
        }
    }
    Ok(())
}

/// Prints what was expected and is not so, or could not be told.
fn print_expectations(report: &DriftReport, out: &mut impl Write) -> anyhow::Result<()> {
    let Some(verdict) = report.expectations_verdict else { return Ok(()) };
    let checks = report.expectations.len();
    writeln!(
        out,
        "expectations: {} ({} of {checks} checks violated)",
        verdict.as_str(),
        report.violated().count()
    )?;
    for result in report.expectations.iter().filter(|result| result.verdict != CheckVerdict::Ok) {
        writeln!(out, "  {} {}: {}", result.verdict.as_str(), result.check.as_str(), result.sentence())?;
    }
    Ok(())
}

/// Prints every figure of the traffic beside that of earlier windows.
fn print_traffic(report: &DriftReport, out: &mut impl Write) -> anyhow::Result<()> {
    let Some(traffic) = &report.traffic else { return Ok(()) };
    writeln!(out, "traffic: {} ({})", traffic.verdict.as_str(), traffic.reason)?;
    let mut table = TextTable::new();
    table.load_style(presets::NOTHING).set_header(["figure", "window", "before", "ratio", "p adjusted"]);
    for (figure, compared) in &traffic.figures {
        table.add_row([
            figure.as_str().to_owned(),
            figure.text(compared.value),
            compared.baseline.map(|baseline| figure.text(baseline)).unwrap_or_default(),
            compared.ratio.map(|ratio| format!("{ratio:.2}")).unwrap_or_default(),
            compared.p.map(|p| format!("{p:.1e}")).unwrap_or_default(),
        ]);
    }
    for index in 1..=4 {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    if !traffic.figures.is_empty() {
        writeln!(out, "{table}")?;
    }
    for (what, statuses) in [("status", &traffic.statuses), ("gRPC status", &traffic.grpc_statuses)] {
        let counts: Vec<String> =
            statuses.iter().map(|(status, count)| format!("{status}: {count}")).collect();
        if !counts.is_empty() {
            writeln!(out, "{what} {}", counts.join(", "))?;
        }
    }
    Ok(())
}

/// Prints a report as people read it: the verdict, then a line per column.
pub(super) fn print_report(report: &DriftReport, out: &mut impl Write) -> anyhow::Result<()> {
    writeln!(
        out,
        "{} {} .. {}: {} ({} rows, baseline {}, alpha {:.4}, {:.2} % lost)",
        report.model,
        report.window_start.format("%F %H:%M"),
        report.window_end.format("%F %H:%M"),
        report.verdict.as_str(),
        report.rows,
        report.baseline,
        report.criteria.alpha,
        100.0 * report.losses.share(),
    )?;
    let mut table = TextTable::new();
    table.load_style(presets::NOTHING).set_header(["column", "psi", "ks", "p adjusted", "verdict", "reason"]);
    for feature in &report.features {
        let number = |name: &str| feature.statistics.get(name).map(|v| format!("{v:.3}")).unwrap_or_default();
        table.add_row([
            feature.name.clone(),
            number("psi"),
            number("ks"),
            feature.p_adjusted.map(|p| format!("{p:.1e}")).unwrap_or_default(),
            feature.verdict.as_str().to_owned(),
            feature.reason.clone(),
        ]);
    }
    for index in 1..=3 {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    writeln!(out, "{table}")?;
    for feature in report.features.iter().filter(|feature| !feature.unseen.is_empty()) {
        let values: Vec<String> =
            feature.unseen.iter().map(|unseen| format!("{:?} ({})", unseen.value, unseen.rows)).collect();
        writeln!(out, "{}: never seen in the baseline: {}", feature.name, values.join(", "))?;
    }
    if let Some(joint) = &report.joint {
        let strongest: Vec<&str> = joint.weights.iter().map(|column| column.name.as_str()).collect();
        writeln!(out, "{}; strongest columns: {}", joint.reason, strongest.join(", "))?;
    }
    for change in &report.schema_changes {
        writeln!(out, "schema: {}", change.sentence())?;
    }
    print_segments(report, out)?;
    print_expectations(report, out)?;
    print_traffic(report, out)
}

/// Prints each segment with the column of it that moved most.
fn print_segments(report: &DriftReport, out: &mut impl Write) -> anyhow::Result<()> {
    if report.segments.is_empty() {
        return Ok(());
    }
    let mut table = TextTable::new();
    let header = ["segment", "rows", "strongest", "psi", "p adjusted", "verdict", "reason"];
    table.load_style(presets::NOTHING).set_header(header);
    for segment in &report.segments {
        let strongest = segment.strongest();
        let psi = strongest.and_then(|column| column.statistics.get("psi"));
        let p = strongest.and_then(|column| column.p_adjusted);
        table.add_row([
            segment.segment.clone(),
            segment.rows.to_string(),
            strongest.map(|column| column.name.clone()).unwrap_or_default(),
            psi.map(|psi| format!("{psi:.3}")).unwrap_or_default(),
            p.map(|p| format!("{p:.1e}")).unwrap_or_default(),
            segment.verdict.as_str().to_owned(),
            segment.reason.clone(),
        ]);
    }
    for index in [1, 3, 4] {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    writeln!(out, "{table}")?;
    Ok(())
}

/// Recomputes `report` from the stored parts and baseline; every number has to agree to the last bit.
async fn explain(
    settings: &Settings,
    db: &sqlx::PgPool,
    report: Uuid,
    json: bool,
    out: &mut impl Write,
) -> anyhow::Result<ExitStatus> {
    let explanation = tasks::explain(db, settings, &app::load_expectations(settings)?, report).await?;
    if json {
        writeln!(out, "{}", serde_json::to_string(&explanation)?)?;
    } else {
        for note in &explanation.notes {
            writeln!(out, "{note}")?;
        }
        print_report(&explanation.report, out)?;
        writeln!(out, "{}", explanation.sentence())?;
    }
    Ok(if explanation.agrees { ExitStatus::Success } else { ExitStatus::Failure })
}
