//! `driftline labels`: delayed ground truth from files, and how far predictions are labelled.

mod read;

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressDrawTarget};
use serde_json::{Value as Json, json};
use sqlx::PgPool;

use self::read::{Columns, Read};
use super::ExitStatus;
use super::retrain::plain_table;
use crate::app;
use crate::config::Settings;
use crate::model::ModelName;
use crate::privacy::Policy;
use crate::store::label::{self, Label, LabelCounts, LabelStatus, Outcome, Rules};

/// Labels written in one transaction.
const BATCH: usize = 5_000;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Import labels from a file; running it again is harmless
    Import(Import),
    /// Show how far the predictions of each model are labelled, and what became of its labels
    Status {
        /// Only of this model
        #[arg(short, long)]
        model: Option<ModelName>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct Import {
    /// A .csv, .json, .jsonl, .parquet or .arrow file, or `-` for CSV or JSON on stdin
    file: PathBuf,
    /// The model that was asked
    #[arg(short, long)]
    model: ModelName,
    /// Column with an id of the prediction or of its row
    #[arg(long, alias = "id", default_value = "id")]
    id_column: String,
    /// Column with the business key that the model's settings name, instead of an id; needs --time-column
    #[arg(long, conflicts_with = "id_column", requires = "time_column")]
    key_column: Option<String>,
    /// Column with the number of the row, from 0, where the id is that of a prediction of many rows
    #[arg(long, conflicts_with = "key_column")]
    row_column: Option<String>,
    /// Column with the true outcome
    #[arg(long, alias = "label", default_value = "label")]
    label_column: String,
    /// Column with the time at which the outcome became known; without it, now
    #[arg(long, alias = "time")]
    time_column: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(command: Command, settings: Settings, out: &mut impl Write) -> Result<ExitStatus> {
    match command {
        Command::Import(arguments) => import(arguments, &settings, out).await?,
        Command::Status { model, json } => {
            let database = app::open_database(&settings).await?;
            let found = label::status(&database.pool).await;
            database.close().await?;
            let known: Vec<LabelStatus> = found?
                .into_iter()
                .filter(|status| model.as_ref().is_none_or(|model| model.as_str() == status.model))
                .collect();
            if let Some(model) = model.filter(|_| known.is_empty()) {
                bail!("model `{model}` is not registered");
            }
            show(&known, json, out)?;
        }
    }
    Ok(ExitStatus::Success)
}

async fn import(arguments: Import, settings: &Settings, out: &mut impl Write) -> Result<()> {
    let Import { file, model, id_column, key_column, row_column, label_column, time_column, json } =
        arguments;
    let own = settings.model(&model).and_then(|model| model.labels.as_ref());
    let rules = Rules::new(own, Policy::default());
    if key_column.is_some() && rules.key.is_none() {
        bail!(
            "`--key-column` needs `labels: {{key: …}}` in the settings of model `{model}`: the column of its predictions"
        );
    }
    let columns = Columns {
        by_key: key_column.is_some(),
        subject: key_column.unwrap_or(id_column),
        row: row_column,
        label: label_column,
        time: time_column,
    };
    // Read as a whole before anything is written, so that a wrong line leaves nothing behind.
    let read = read::labels(&file, &columns, app::now())?;
    let database = app::open_database(settings).await?;
    let outcome = write(&database.pool, &model, &file, &read, &rules).await;
    database.close().await?;
    let total = outcome?;
    if json {
        writeln!(out, "{}", json!(total))?;
        return Ok(());
    }
    writeln!(out, "{} labels of `{model}`", read.len())?;
    for outcome in Outcome::ALL.into_iter().filter(|outcome| total.of(*outcome) > 0) {
        writeln!(out, "{:>9} {:<9} {}", total.of(outcome), outcome.as_str(), outcome.rule())?;
    }
    Ok(())
}

async fn write(
    pool: &PgPool,
    model: &ModelName,
    file: &Path,
    read: &Read,
    rules: &Rules,
) -> Result<LabelCounts> {
    let bar = if read.len() > BATCH { ProgressBar::new(read.len() as u64) } else { ProgressBar::hidden() };
    bar.set_draw_target(if read.len() > BATCH {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    });
    let mut total = LabelCounts::default();
    let mut written = 0;
    for batch in read.chunks(BATCH) {
        let labels: Vec<Label> = batch.iter().map(|(_, label)| label.clone()).collect();
        let step = async {
            let mut transaction = pool.begin().await?;
            let counts = label::upsert(&mut transaction, model, &labels, rules).await?;
            transaction.commit().await?;
            Ok::<_, anyhow::Error>(counts)
        };
        let counts = step.await.with_context(|| {
            let place = |end: Option<&(usize, Label)>| end.map_or(0, |(place, _)| *place);
            format!(
                "`{}`, lines {} to {}: none of these labels was written, the {written} before them were; it is safe \
                 to import the file again",
                file.display(),
                place(batch.first()),
                place(batch.last()),
            )
        })?;
        total.merge(&counts);
        written += batch.len();
        bar.inc(batch.len() as u64);
    }
    bar.finish_and_clear();
    Ok(total)
}

fn show(status: &[LabelStatus], json: bool, out: &mut impl Write) -> Result<()> {
    if json {
        let with_coverage = |status: &LabelStatus| {
            let mut document = json!(status);
            document["coverage"] = status.coverage().map_or(Json::Null, Json::from);
            document
        };
        let documents: Vec<Json> = status.iter().map(with_coverage).collect();
        writeln!(out, "{}", serde_json::to_string_pretty(&documents)?)?;
        return Ok(());
    }
    let mut table = plain_table(&[
        "MODEL",
        "ROWS",
        "LABELLED",
        "COVERAGE",
        "DELAY (MEDIAN)",
        "DELAY (95 %)",
        "WAITING",
        "LATE",
        "REPLACED",
        "STALE",
        "EXPIRED",
    ]);
    for status in status {
        table.add_row([
            status.model.clone(),
            status.rows.to_string(),
            status.labelled.to_string(),
            status.coverage().map_or_else(|| "-".to_owned(), |share| format!("{:.1} %", 100.0 * share)),
            span(status.delay_median),
            span(status.delay_p95),
            status.waiting.to_string(),
            status.counts.late.to_string(),
            status.counts.replaced.to_string(),
            status.counts.stale.to_string(),
            status.counts.expired.to_string(),
        ]);
    }
    writeln!(out, "{table}")?;
    Ok(())
}

/// A number of seconds for people.
fn span(seconds: Option<f64>) -> String {
    match seconds {
        None => "-".to_owned(),
        Some(seconds) if seconds.abs() < 120.0 => format!("{seconds:.1} s"),
        Some(seconds) if seconds.abs() < 7200.0 => format!("{:.1} min", seconds / 60.0),
        Some(seconds) if seconds.abs() < 172_800.0 => format!("{:.1} h", seconds / 3600.0),
        Some(seconds) => format!("{:.1} d", seconds / 86_400.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_short() {
        for (seconds, expected) in [
            (None, "-"),
            (Some(3.04), "3.0 s"),
            (Some(-600.0), "-10.0 min"),
            (Some(7200.0), "2.0 h"),
            (Some(1e6), "11.6 d"),
        ] {
            assert_eq!(span(seconds), expected);
        }
    }

    #[test]
    fn a_status_is_a_table_and_a_document() {
        let status = [LabelStatus {
            model: "m".into(),
            rows: 8,
            labelled: 2,
            waiting: 5,
            waiting_since: None,
            delay_median: Some(60.0),
            delay_p95: None,
            counts: LabelCounts { late: 1, ..LabelCounts::default() },
        }];
        let (mut table, mut document) = (Vec::new(), Vec::new());
        show(&status, false, &mut table).unwrap();
        show(&status, true, &mut document).unwrap();
        assert!(String::from_utf8(table).unwrap().contains("25.0 %"));
        let document: Json = serde_json::from_slice(&document).unwrap();
        assert_eq!((&document[0]["coverage"], &document[0]["counts"]["late"]), (&json!(0.25), &json!(1)));
    }
}
