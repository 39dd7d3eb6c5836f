//! `driftline capture`: what is kept of captured rows, whether it can be read, and what retention would delete.

use std::io::Write;

use anyhow::Result;
use comfy_table::CellAlignment;
use indicatif::{ProgressBar, ProgressDrawTarget};
use serde_json::json;
use sqlx::PgPool;

use super::ExitStatus;
use super::retrain::plain_table;
use crate::app;
use crate::capture::{self, Place};
use crate::config::Settings;
use crate::model::ModelName;
use crate::store::capture::{CaptureStatus, Segment};
use crate::store::{self, captured};
use crate::tasks;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Show how many rows wait in the database and how many are in files
    Status {
        /// Only of this model
        #[arg(short, long)]
        model: Option<ModelName>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List the files of captured rows
    List {
        /// The model
        #[arg(short, long)]
        model: ModelName,
        /// Print JSON, with the columns of each file
        #[arg(long)]
        json: bool,
    },
    /// Read every file, and say which is gone or damaged
    Verify {
        /// The model
        #[arg(short, long)]
        model: ModelName,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Move the rows that wait in the database into files now
    Seal {
        /// The model
        #[arg(short, long)]
        model: ModelName,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Delete files that have been kept long enough, as the sidecar does every ten minutes
    Expire {
        /// The model
        #[arg(short, long)]
        model: ModelName,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

pub(super) async fn run(command: Command, settings: Settings, out: &mut impl Write) -> Result<ExitStatus> {
    let place = tasks::capture_place(&settings)?;
    let database = app::open_database(&settings).await?;
    let outcome = carry_out(command, &settings, &place, &database.pool, out).await;
    database.close().await?;
    outcome
}

async fn carry_out(
    command: Command,
    settings: &Settings,
    place: &Place,
    db: &PgPool,
    out: &mut impl Write,
) -> Result<ExitStatus> {
    match command {
        Command::Status { model, json } => {
            if let Some(model) = &model {
                store::model::active_baseline(db, model).await?;
            }
            let status = store::capture::status(db, model.as_ref()).await?;
            show_status(&status, place, json, out)?;
        }
        Command::List { model, json } => {
            store::model::active_baseline(db, &model).await?;
            let files = store::capture::segments(db, &model, None, None).await?;
            show_files(&files, json, out)?;
        }
        Command::Verify { model, json } => return verify(db, place, &model, json, out).await,
        Command::Seal { model, json } => {
            store::model::active_baseline(db, &model).await?;
            let limit = u64::from(settings.capture.segment_rows);
            let keep = settings.model(&model).map(|model| model.segments.as_slice()).unwrap_or_default();
            let sealed = capture::seal_all(db, place, &model, (limit, keep)).await?;
            let rows: u64 = sealed.iter().map(|file| file.rows).sum();
            let files = sealed.iter().map(|f| json!({"uri": f.uri, "rows": f.rows, "bytes": f.bytes}));
            if json {
                writeln!(
                    out,
                    "{}",
                    json!({ "model": model, "rows": rows, "files": files.collect::<Vec<_>>() })
                )?;
            } else {
                writeln!(
                    out,
                    "{model}: {rows} rows moved into {} files under {}",
                    sealed.len(),
                    place.url()
                )?;
            }
        }
        Command::Expire { model, json } => {
            store::model::active_baseline(db, &model).await?;
            let kept = settings.captured_retention();
            let now = app::now();
            let before = now - chrono::TimeDelta::from_std(kept.0).unwrap_or(chrono::TimeDelta::days(36_500));
            let expired = capture::expire(db, place, &model, before, now).await?;
            if json {
                let capture::Expired { files, bytes, unlisted } = expired;
                let document = json!({ "model": model, "kept_for": kept.to_string(), "files": files, "bytes": bytes, "unlisted": unlisted });
                writeln!(out, "{document}")?;
            } else {
                writeln!(
                    out,
                    "{model}: {} files deleted that were older than {kept} ({}), and {} that were never listed",
                    expired.files,
                    size(expired.bytes),
                    expired.unlisted
                )?;
            }
        }
    }
    Ok(ExitStatus::Success)
}

fn show_status(status: &[CaptureStatus], place: &Place, json: bool, out: &mut impl Write) -> Result<()> {
    if json {
        writeln!(out, "{}", json!({ "store": place.url(), "models": status }))?;
        return Ok(());
    }
    let mut table = plain_table(&[
        "MODEL",
        "WAITING",
        "SINCE",
        "FILES",
        "ROWS",
        "SIZE",
        "FROM",
        "TO",
        "SNAPSHOTS",
        "KEPT FOR VERSIONS",
    ]);
    let time = |time: Option<chrono::DateTime<chrono::Utc>>| {
        time.map_or_else(|| "-".to_owned(), |time| time.format("%F %H:%M").to_string())
    };
    for status in status {
        table.add_row([
            status.model.clone(),
            status.staged_rows.to_string(),
            time(status.staged_since),
            status.segments.to_string(),
            status.segment_rows.to_string(),
            size(status.segment_bytes),
            time(status.first),
            time(status.last),
            status.snapshots.to_string(),
            status.kept_for_versions.to_string(),
        ]);
    }
    for index in [1, 3, 4, 5, 8, 9] {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    writeln!(out, "{table}")?;
    writeln!(out, "files are under {}", place.url())?;
    Ok(())
}

fn show_files(files: &[Segment], json: bool, out: &mut impl Write) -> Result<()> {
    if json {
        writeln!(out, "{}", json!({ "files": files }))?;
        return Ok(());
    }
    let mut table = plain_table(&["FROM", "TO", "ROWS", "SIZE", "COLUMNS", "WRITTEN", "FILE"]);
    for file in files {
        let columns = file.schema["columns"].as_array().map_or(0, Vec::len);
        table.add_row([
            file.first.format("%F %H:%M:%S").to_string(),
            file.last.format("%F %H:%M:%S").to_string(),
            file.rows.to_string(),
            size(file.bytes),
            columns.to_string(),
            file.created_at.format("%F %H:%M").to_string(),
            file.uri.clone(),
        ]);
    }
    for index in [2, 3, 4] {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    writeln!(out, "{table}")?;
    Ok(())
}

async fn verify(
    db: &PgPool,
    place: &Place,
    model: &ModelName,
    json: bool,
    out: &mut impl Write,
) -> Result<ExitStatus> {
    store::model::active_baseline(db, model).await?;
    let files = store::capture::all(db, model).await?.len() as u64;
    let bar = if files > 20 { ProgressBar::new(files) } else { ProgressBar::hidden() };
    bar.set_draw_target(if files > 20 { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() });
    let found = capture::verify(db, place, model, || bar.inc(1)).await?;
    bar.finish_and_clear();
    if json {
        writeln!(
            out,
            "{}",
            json!({ "model": model, "clean": found.is_clean(), "files": found.files, "unlisted": found.unlisted })
        )?;
    } else {
        let bad: Vec<_> = found.files.iter().filter_map(|file| file.problem.as_ref()).collect();
        for problem in &bad {
            writeln!(out, "{problem}")?;
        }
        let rows: u64 = found.files.iter().map(|file| file.rows).sum();
        writeln!(
            out,
            "{model}: {} files with {rows} rows looked at, {} of them gone or damaged",
            found.files.len(),
            bad.len()
        )?;
        if !found.unlisted.is_empty() {
            writeln!(
                out,
                "{} objects are not listed; they do no harm, and retention deletes them after a day",
                found.unlisted.len()
            )?;
        }
    }
    Ok(if found.is_clean() { ExitStatus::Success } else { ExitStatus::Failure })
}

/// What is to be said of a model that has no baseline: how much was captured, and what to do.
///
/// # Errors
///
/// When the database does not answer.
pub(super) async fn without_baseline(db: &PgPool, model: &ModelName) -> Result<Option<String>> {
    if store::model::active_baseline(db, model).await?.is_some() {
        return Ok(None);
    }
    let captured = captured::summary(db, model).await?;
    let since =
        captured.first.map(|first| format!(" since {}", first.format("%F %H:%M UTC"))).unwrap_or_default();
    Ok(Some(format!(
        "model `{model}` has no baseline yet: {} rows are captured{since}, and nothing is compared;\n\
         `driftline baseline build --from-traffic 7d -m {model}` builds one from them",
        captured.rows
    )))
}

/// A number of bytes for people.
fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "KiB", "MiB"] {
        if value < 1024.0 {
            return if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1024.0;
    }
    format!("{value:.1} GiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        for (bytes, expected) in
            [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (3 << 20, "3.0 MiB"), (5 << 30, "5.0 GiB")]
        {
            assert_eq!(size(bytes), expected);
        }
    }
}
