//! `driftline labels`: delayed ground truth from files.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use serde_json::json;

use super::ExitStatus;
use crate::app;
use crate::config::Settings;
use crate::frames;
use crate::model::{ModelName, Value};
use crate::store;
use crate::store::captured;
use crate::store::label::{Label, LabelCounts};

/// Labels written in one transaction.
const BATCH: usize = 5_000;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Import labels from a .parquet, .csv or .jsonl file
    Import {
        /// The file
        file: PathBuf,
        /// The model that was asked
        #[arg(short, long)]
        model: ModelName,
        /// Column with the prediction id
        #[arg(long, default_value = "id")]
        id: String,
        /// Column with the true outcome
        #[arg(long, default_value = "label")]
        label: String,
        /// Column with the time the label was made; without it, now
        #[arg(long)]
        time: Option<String>,
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
    let Command::Import { file, model, id, label, time, json } = command;
    let table = frames::read_table(&file, None)?;
    let times = time.as_ref().map(|column| table.times(column)).transpose()?;
    let now = app::now();
    let (ids, values) = (table.column(&id)?, table.column(&label)?);
    let mut labels = Vec::with_capacity(table.rows);
    for row in 0..table.rows {
        let row_id = match &ids.values[row] {
            Value::Text(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => anyhow::bail!("`{}`, column `{id}`, row {}: not an id", file.display(), row + 1),
        };
        let value = captured::row(std::slice::from_ref(values), row)
            .remove(&values.name)
            .filter(|value| !value.is_null())
            .with_context(|| {
                format!("`{}`, column `{label}`, row {}: the label is missing", file.display(), row + 1)
            })?;
        let labelled_at = times.as_ref().map_or(now, |times| times[row]);
        labels.push(Label { row_id, value, labelled_at });
    }
    let database = app::open_database(&settings).await?;
    let bar = indicatif::ProgressBar::new(labels.len() as u64);
    let mut total = LabelCounts::default();
    for batch in labels.chunks(BATCH) {
        let counts = store::label::upsert(&database.pool, &model, batch).await?;
        total.new += counts.new;
        total.replaced += counts.replaced;
        total.stale += counts.stale;
        total.unmatched += counts.unmatched;
        bar.inc(batch.len() as u64);
    }
    bar.finish_and_clear();
    database.close().await?;
    if json {
        let document = json!({ "new": total.new, "replaced": total.replaced, "stale": total.stale, "unmatched": total.unmatched });
        writeln!(out, "{document}")?;
    } else {
        writeln!(
            out,
            "{} labels: {} new, {} replaced, {} older than the one held; {} belong to no recorded prediction yet",
            labels.len(),
            total.new,
            total.replaced,
            total.stale,
            total.unmatched
        )?;
    }
    Ok(ExitStatus::Success)
}
