//! `driftline compare`: two data files against one another, without a server.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::Args;

use super::ExitStatus;
use super::baseline::{parse_kind, parse_span};
use crate::config::{Settings, Span};
use crate::drift::{Correction, Criteria, Verdict};
use crate::frames::{Source, is_decoding};
use crate::model::{FeatureKind, ModelName};
use crate::tasks;

mod columns;
mod engine;
mod exact;
mod html;
mod progress;
mod report;
mod sinks;
mod sort;
mod table;

use columns::Plan;
pub(super) use html::STYLE;
use progress::Progress;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Reference data: .parquet, .arrow, .csv or .jsonl, or a quoted pattern such as 'ref/*.parquet'
    reference: String,
    /// Current data, likewise
    current: String,
    /// Model whose `privacy` in the settings is applied; without it what they say for all models, if there are settings
    #[arg(short, long)]
    model: Option<ModelName>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Also write a report that anyone can open in a browser
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Compute KS and Wasserstein from the raw values, not from the grid
    #[arg(long)]
    exact: bool,
    /// Column with the event time: teaches how much the reference varies by itself, and is not compared
    #[arg(long, value_name = "COLUMN")]
    time: Option<String>,
    /// Length of the blocks of time that natural variation is learned from
    #[arg(long, value_parser = parse_span, default_value = "1h", requires = "time")]
    window: Span,
    /// Columns to leave out, such as ids (repeat or separate by commas)
    #[arg(long, value_delimiter = ',', value_name = "COLUMNS")]
    exclude: Vec<String>,
    /// Compare these columns and no others
    #[arg(long, value_delimiter = ',', value_name = "COLUMNS", conflicts_with = "exclude")]
    only: Vec<String>,
    /// Columns that a model puts out; all others are inputs
    #[arg(long, value_delimiter = ',', value_name = "COLUMNS")]
    output: Vec<String>,
    /// Kind of a column where the inferred one is wrong: `season=categorical`
    #[arg(long, value_delimiter = ',', value_parser = parse_kind, value_name = "COLUMN=KIND")]
    kind: Vec<(String, FeatureKind)>,
    /// Chance of a false alarm that is accepted, over all columns together
    #[arg(long, default_value_t = 0.05, value_parser = parse_alpha)]
    alpha: f64,
    /// How p-values are adjusted for the number of columns
    #[arg(long, default_value = "holm", value_parser = parse_correction, value_name = "holm|benjamini_hochberg|bonferroni")]
    correction: Correction,
    /// Rows below which nothing is said, on either side
    #[arg(long, default_value_t = 200)]
    min_rows: u64,
    /// PSI that a change has to reach to matter
    #[arg(long, default_value_t = 0.1, value_parser = parse_floor)]
    psi_floor: f64,
    /// Compare the columns that both sides have, though one side has more
    #[arg(long)]
    allow_missing: bool,
    /// Threads to use; by default one per core
    #[arg(long)]
    threads: Option<std::num::NonZeroUsize>,
}

fn parse_alpha(text: &str) -> Result<f64, String> {
    let alpha: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    // Written so that NaN is refused too.
    if 0.0 < alpha && alpha < 1.0 { Ok(alpha) } else { Err("not between 0 and 1".to_owned()) }
}

fn parse_floor(text: &str) -> Result<f64, String> {
    let floor: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if floor.is_finite() && floor >= 0.0 { Ok(floor) } else { Err("not 0 or more".to_owned()) }
}

fn parse_correction(text: &str) -> Result<Correction, String> {
    [Correction::Holm, Correction::BenjaminiHochberg, Correction::Bonferroni]
        .into_iter()
        .find(|correction| correction.as_str() == text)
        .ok_or_else(|| "not holm, benjamini_hochberg or bonferroni".to_owned())
}

impl Arguments {
    fn criteria(&self) -> Criteria {
        Criteria {
            alpha: self.alpha,
            correction: self.correction,
            min_rows: self.min_rows,
            psi_floor: self.psi_floor,
            ..Criteria::default()
        }
    }

    fn threads(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
        self.threads.map_or_else(cores, std::num::NonZeroUsize::get)
    }
}

pub(super) fn run(
    arguments: &Arguments,
    settings: &Settings,
    out: &mut impl Write,
) -> anyhow::Result<ExitStatus> {
    // Found out before minutes of reading, not after.
    if let Some(path) = &arguments.html {
        check_writable(path)?;
    }
    quiet_decoders();
    let policies = tasks::load_privacy(settings)?;
    let policy = match &arguments.model {
        Some(model) => Arc::clone(policies.of(model)),
        None => Arc::clone(policies.of_all()),
    };
    let reference = Source::open(&arguments.reference)?.keeping(Arc::clone(&policy));
    let current = Source::open(&arguments.current)?.keeping(Arc::clone(&policy));
    let plan = Plan::make(arguments, &policy, &reference, &current)?;
    let progress = Progress::over(reference.bytes() + current.bytes());
    let comparison = engine::compare(arguments, &reference, &current, &plan, &progress)?;
    progress.finish();
    if let Some(path) = &arguments.html {
        write_whole(path, &html::render(&comparison))?;
    }
    let mut hints = comparison.hints(arguments.time.is_some());
    if arguments.json {
        writeln!(out, "{}", comparison.to_json())?;
    } else {
        let colour =
            std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        table::print(&comparison, colour, out)?;
        if arguments.html.is_none() {
            hints.push("`--html report.html` draws the distributions".to_owned());
        }
    }
    let mut stderr = std::io::stderr().lock();
    if let Some(path) = &arguments.html {
        writeln!(stderr, "report: {}", path.display())?;
    }
    for note in &comparison.notes {
        writeln!(stderr, "note: {note}")?;
    }
    for hint in hints {
        writeln!(stderr, "hint: {hint}")?;
    }
    Ok(match comparison.verdict {
        Verdict::Ok => ExitStatus::Success,
        Verdict::Drift => ExitStatus::Failure,
        Verdict::InsufficientData | Verdict::Untrusted => ExitStatus::Error,
    })
}

/// A decoder that panics on a damaged file is caught and reported; its own message would only confuse.
fn quiet_decoders() {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !is_decoding() {
            default(info);
        }
    }));
}

fn check_writable(path: &Path) -> anyhow::Result<()> {
    if path.is_dir() {
        bail!("`{}` is a folder; `--html` takes a file", path.display());
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !folder.is_dir() {
        bail!("`{}` cannot be written: there is no folder `{}`", path.display(), folder.display());
    }
    Ok(())
}

/// Writes a file in one step, so that no half report can be opened.
fn write_whole(path: &Path, text: &str) -> anyhow::Result<()> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    std::fs::write(&partial, text)
        .and_then(|()| std::fs::rename(&partial, path))
        .with_context(|| format!("failed to write `{}`", path.display()))
}
