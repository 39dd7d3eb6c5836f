//! `driftline expectations`: propose, check, test, import.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::json;

use super::ExitStatus;
use crate::baseline::Baseline;
use crate::config::Settings;
use crate::expectations::{self, Expectations, ProposeOptions};
use crate::model::ModelName;
use crate::yaml::Problem;

mod import;
mod trial;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Propose expectations that data like a baseline's keep to, with the reason beside each figure
    Propose {
        /// The baseline file
        #[arg(long, value_name = "FILE")]
        baseline: PathBuf,
        /// Write the document here instead of printing it
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Check a document, and whether it fits a baseline
    Check {
        /// The document
        file: PathBuf,
        /// The baseline file
        #[arg(long, value_name = "FILE")]
        baseline: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Judge a data file as if it were one window
    Test {
        /// The document
        file: PathBuf,
        /// The rows: .parquet, .csv, .jsonl
        data: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Import the files of `SageMaker` Model Monitor
    Import(import::Arguments),
}

pub(super) fn run(
    command: Command,
    settings: impl FnOnce() -> anyhow::Result<Settings>,
    out: &mut impl Write,
) -> anyhow::Result<ExitStatus> {
    match command {
        Command::Propose { baseline, out: file, json } => propose(&baseline, file.as_deref(), json, out),
        Command::Check { file, baseline, json } => check(&file, &baseline, json, out),
        Command::Test { file, data, json } => trial::run(&file, &data, json, out),
        Command::Import(arguments) => import::run(&arguments, settings, out),
    }
}

/// Tells people something that is no result; a closed stderr is no reason to fail.
fn note(text: &str) {
    let _unheard = writeln!(std::io::stderr(), "{text}");
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("failed to read `{}`", path.display()))
}

fn read_baseline(path: &Path) -> anyhow::Result<Baseline> {
    Baseline::from_json(&read(path)?).with_context(|| format!("`{}`", path.display()))
}

/// A document, or what is wrong with it.
fn read_document(path: &Path) -> anyhow::Result<Result<Expectations, Vec<Problem>>> {
    Ok(Expectations::parse(&path.display().to_string(), &read(path)?))
}

/// Prints a document, or writes it to `file`.
fn put_document(text: &str, file: Option<&Path>, out: &mut impl Write) -> anyhow::Result<()> {
    match file {
        Some(path) => {
            std::fs::write(path, text).with_context(|| format!("failed to write `{}`", path.display()))
        }
        None => Ok(out.write_all(text.as_bytes())?),
    }
}

/// What to do with a document that was just made.
fn next_steps(model: Option<&ModelName>, file: Option<&Path>) {
    let file = file.map_or_else(|| "FILE".to_owned(), |path| path.display().to_string());
    let model = model.map_or("MODEL", ModelName::as_str);
    note(&format!("try it on data: `driftline expectations test {file} DATA`"));
    note(&format!("use it: `expectations: {file}` under the model `{model}` in the settings"));
}

fn propose(
    baseline: &Path,
    file: Option<&Path>,
    json: bool,
    out: &mut impl Write,
) -> anyhow::Result<ExitStatus> {
    let baseline = read_baseline(baseline)?;
    let proposal = expectations::propose(&baseline, &ProposeOptions::default());
    if json {
        let (model, columns) = (baseline.model(), proposal.expectations.columns.len());
        let version = proposal.expectations.version();
        let document = json!({ "model": model, "baseline": baseline.version(), "version": version,
            "columns": columns, "document": proposal.yaml });
        writeln!(out, "{document}")?;
        if file.is_some() {
            put_document(&proposal.yaml, file, out)?;
        }
    } else {
        put_document(&proposal.yaml, file, out)?;
        next_steps(Some(baseline.model()), file);
        note(
            "rows per window and freshness are not known from a baseline: add `rows` and `freshness` yourself",
        );
    }
    Ok(ExitStatus::Success)
}

fn check(file: &Path, baseline: &Path, json: bool, out: &mut impl Write) -> anyhow::Result<ExitStatus> {
    let baseline = read_baseline(baseline)?;
    let (problems, misfits) = match read_document(file)? {
        Ok(document) => {
            let mut misfits = document.misfits(baseline.layout());
            let model = document.model.filter(|model| model != baseline.model());
            misfits.extend(model.map(|model| {
                format!("the document is for the model `{model}`, the baseline for `{}`", baseline.model())
            }));
            (Vec::new(), misfits)
        }
        Err(problems) => (problems, Vec::new()),
    };
    if json {
        let path = file.display().to_string();
        writeln!(out, "{}", json!({ "path": path, "problems": problems, "misfits": misfits }))?;
    } else if problems.is_empty() && misfits.is_empty() {
        writeln!(out, "{}: ok, fits the baseline {}", file.display(), baseline.version())?;
    } else {
        for problem in &problems {
            writeln!(out, "{problem}")?;
        }
        for misfit in &misfits {
            writeln!(out, "{}: {misfit}", file.display())?;
        }
    }
    let clean = problems.is_empty() && misfits.is_empty();
    Ok(if clean { ExitStatus::Success } else { ExitStatus::Failure })
}
