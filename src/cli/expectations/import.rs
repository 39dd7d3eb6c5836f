//! `driftline expectations import`: constraints as expectations, statistics as a baseline.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use serde_json::json;

use super::{ExitStatus, next_steps, note, put_document, read};
use crate::baseline::{
    Baseline, BaselineColumn, CategorySummary, CutOptions, Runs, boolean_cut, numeric_cut,
};
use crate::config::Settings;
use crate::expectations::{
    ImportedColumn, ImportedStatistics, ImportedValues, import_constraints, import_statistics,
};
use crate::model::{FeatureKind, ModelName, Role, Value};
use crate::profile::{ColumnLayout, ColumnProfile, Cut};

#[derive(Debug, Args)]
pub(in crate::cli) struct Arguments {
    /// `constraints.json`
    constraints: PathBuf,
    /// `statistics.json`: becomes a baseline
    #[arg(long, value_name = "FILE", requires = "model")]
    statistics: Option<PathBuf>,
    /// The model that the files belong to
    #[arg(short, long)]
    model: Option<ModelName>,
    /// Write the document here instead of printing it
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Folder to write `<model>/<version>.json` to; by default `baselines_dir` of the settings
    #[arg(long, value_name = "DIR", requires = "statistics")]
    baseline_out: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(
    arguments: &Arguments,
    settings: impl FnOnce() -> anyhow::Result<Settings>,
    out: &mut impl Write,
) -> anyhow::Result<ExitStatus> {
    let path = &arguments.constraints;
    let imported = import_constraints(&read(path)?, arguments.model.clone())
        .with_context(|| format!("`{}`", path.display()))?;
    let mut notes = imported.notes;
    let baseline = match (&arguments.statistics, &arguments.model) {
        (Some(path), Some(model)) => {
            let statistics =
                import_statistics(&read(path)?).with_context(|| format!("`{}`", path.display()))?;
            let source =
                path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
            let (baseline, more) = baseline_of(model, source, &statistics)?;
            notes.extend(statistics.notes.iter().cloned().chain(more));
            let folder = match &arguments.baseline_out {
                Some(folder) => folder.clone(),
                None => settings()?.baselines_dir,
            };
            Some((write_baseline(&baseline, &folder)?, baseline))
        }
        _ => None,
    };
    let document = imported.expectations.to_yaml();
    if arguments.json {
        let written = baseline.as_ref().map(|(path, baseline)| {
            json!({ "path": path, "version": baseline.version(), "rows": baseline.rows() })
        });
        let columns = imported.expectations.columns.len();
        let version = imported.expectations.version();
        let report = json!({ "model": arguments.model, "version": version, "columns": columns,
            "document": document, "baseline": written, "notes": notes });
        writeln!(out, "{report}")?;
        if arguments.out.is_some() {
            put_document(&document, arguments.out.as_deref(), out)?;
        }
        return Ok(ExitStatus::Success);
    }
    put_document(&document, arguments.out.as_deref(), out)?;
    for line in notes {
        note(&format!("note: {line}"));
    }
    if let Some((path, baseline)) = baseline {
        let (path, rows) = (path.display(), baseline.rows());
        note(&format!("baseline {} of {rows} rows: {path}", baseline.version()));
        note(&format!("see it: `driftline baseline show {path}`"));
    }
    next_steps(arguments.model.as_ref(), arguments.out.as_deref());
    Ok(ExitStatus::Success)
}

/// The baseline that imported statistics amount to, and what it lacks: one sentence each.
///
/// Every column is an input, since the file does not tell inputs from outputs; natural variation is unknown.
fn baseline_of(
    model: &ModelName,
    source: String,
    statistics: &ImportedStatistics,
) -> anyhow::Result<(Baseline, Vec<String>)> {
    let options = CutOptions::default();
    let mut notes = Vec::new();
    let mut columns = Vec::new();
    for column in &statistics.columns {
        match column_of(column, &options) {
            Ok((learned, rank_error)) => {
                if rank_error > 0.0 {
                    let percent = 100.0 * rank_error;
                    notes.push(format!(
                        "`{}`: shares of the baseline may be off by up to {percent:.2} %, which the KS test allows for \
                         and PSI does not",
                        column.name
                    ));
                }
                columns.push(learned);
            }
            Err(problem) => notes.push(format!("`{}` is not in the baseline: {problem}", column.name)),
        }
    }
    if columns.is_empty() {
        bail!("the statistics hold no column that a baseline can be made of:\n{}", notes.join("\n"));
    }
    notes.push("natural variation is unknown: statistics of one period hold no event times".to_owned());
    Ok((Baseline::assemble(model.clone(), source, statistics.rows, options, columns)?, notes))
}

/// A column, and how far its shares can be off; or why it cannot be made.
fn column_of(column: &ImportedColumn, options: &CutOptions) -> Result<(BaselineColumn, f64), &'static str> {
    let (cut, range, rank_error) = match &column.values {
        ImportedValues::Numbers { weighted, min, max, rank_error, .. } => {
            if weighted.is_empty() || *rank_error >= 1.0 {
                return Err("its distribution is lost");
            }
            let (cut, range) =
                numeric_cut(&Runs { values: weighted.clone(), rank_error: *rank_error }, options);
            let range = range.map(|(first, last)| {
                (min.map_or(first, |min| min.min(first)), max.map_or(last, |max| max.max(last)))
            });
            (cut, range, *rank_error)
        }
        ImportedValues::Categories { unnamed, .. } if *unnamed > 0 => {
            return Err("categories that the file does not name would look new in every window");
        }
        ImportedValues::Categories { counts, .. } if counts.values().all(|&count| count == 0) => {
            return Err("it has no values");
        }
        ImportedValues::Categories { .. } if column.kind == FeatureKind::Boolean => {
            (boolean_cut(), None, 0.0)
        }
        ImportedValues::Categories { counts, .. } => {
            let mut summary = CategorySummary::new();
            for (name, &count) in counts {
                summary.add(name, count);
            }
            (Cut::Categories(summary.finish(options.top_categories).0), None, 0.0)
        }
    };
    let layout =
        ColumnLayout { name: column.name.clone(), role: Role::Feature, kind: column.kind, cut, range };
    let mut profile = ColumnProfile::empty(&layout);
    match &column.values {
        ImportedValues::Numbers { weighted, .. } => {
            for &(value, rows) in weighted {
                profile.record_many(&layout, &Value::Number(value), rows);
            }
        }
        ImportedValues::Categories { counts, .. } => {
            for (name, &rows) in counts {
                let value = match (column.kind, name.to_ascii_lowercase().as_str()) {
                    (FeatureKind::Boolean, "true") => Value::Bool(true),
                    (FeatureKind::Boolean, "false") => Value::Bool(false),
                    (FeatureKind::Boolean, _) => return Err("it has values that are no truth values"),
                    _ => Value::Text(name.clone()),
                };
                profile.record_many(&layout, &value, rows);
            }
        }
    }
    profile.record_missing(column.missing);
    Ok((BaselineColumn::learn(layout, profile, &BTreeMap::new(), rank_error, options), rank_error))
}

/// Writes `baseline` to `<folder>/<model>/<version>.json` in one step, so that no half file can be read.
fn write_baseline(baseline: &Baseline, folder: &Path) -> anyhow::Result<PathBuf> {
    let folder = folder.join(baseline.model().as_str());
    let context = || format!("failed to write to `{}`", folder.display());
    std::fs::create_dir_all(&folder).with_context(context)?;
    let path = folder.join(format!("{}.json", baseline.version()));
    let partial = path.with_extension("partial");
    std::fs::write(&partial, baseline.to_json()?).with_context(context)?;
    std::fs::rename(&partial, &path).with_context(context)?;
    Ok(path)
}
