//! One run without a queue: trains from files or a query, prints progress and a table, writes the winner.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, bail};
use driftline::retrain::artifact::{Artifact, sha256};
use driftline::retrain::{Source, TrainingSpec};

use crate::contest::{self, Incumbent};
use crate::dataset;
use crate::journal::{Event, Halt, Journal, Stop};
use crate::{device, register};

/// Trains what the file `spec` says and writes a table to `out`. Returns whether the winner was accepted.
///
/// # Errors
///
/// When the run could not be carried out.
pub(crate) fn run(
    spec: &Path,
    against: Option<&Path>,
    folder: Option<&Path>,
    out: &mut impl Write,
    progress: &mut (impl Write + Send),
) -> Result<bool> {
    let text = fs::read_to_string(spec).with_context(|| format!("`{}` cannot be read", spec.display()))?;
    let spec: TrainingSpec = serde_json::from_str(&text)
        .with_context(|| format!("`{}` is not a specification", spec.display()))?;
    let problems = spec.problems();
    if !problems.is_empty() {
        bail!("{}", problems.join("\n"));
    }
    if spec.source == Source::Captured {
        bail!("`run` has no database: give the specification a `file` or `query` source, or queue the run");
    }
    let incumbent = against
        .map(|path| -> Result<Incumbent> {
            let content = fs::read(path).with_context(|| format!("`{}` cannot be read", path.display()))?;
            let artifact = Artifact::from_bytes(&content).with_context(|| format!("`{}`", path.display()))?;
            Ok(Incumbent { version: 0, artifact })
        })
        .transpose()?;
    let (journal, mut events) = Journal::new(Stop::default());
    let trained = std::thread::scope(|scope| {
        let printer = scope.spawn(move || -> std::io::Result<()> {
            while let Some(event) = events.blocking_recv() {
                print(&event, progress)?;
            }
            Ok(())
        });
        let trained = train(&spec, incumbent.as_ref(), &journal);
        drop(journal);
        // A closed standard error is no reason to lose the result.
        drop(printer.join());
        trained
    });
    let (won, snapshot) = match trained {
        Ok(won) => won,
        Err(Halt::Rejected(reason)) => {
            writeln!(out, "rejected: {reason}")?;
            return Ok(false);
        }
        Err(halt) => bail!("{halt}"),
    };
    writeln!(out, "snapshot {snapshot}")?;
    writeln!(out, "{:<12} {:<10} {:>10}  95 % interval", "candidate", "metric", "value")?;
    for (candidate, metrics) in &won.scores {
        for (name, estimate) in metrics {
            writeln!(
                out,
                "{candidate:<12} {name:<10} {:>10.4}  {:.4} to {:.4}",
                estimate.value, estimate.lower, estimate.upper
            )?;
        }
    }
    let word = if won.decision.accepted { "accepted" } else { "rejected" };
    writeln!(out, "{word}: {}", won.decision.reason)?;
    let content = won.artifact.to_bytes()?;
    writeln!(out, "{} model, SHA-256 {}", won.artifact.kind.as_str(), sha256(&content))?;
    if let Some(folder) = folder {
        let path = register::write_artifact(folder, &content)?;
        writeln!(out, "{}", path.display())?;
    }
    Ok(won.decision.accepted)
}

fn train(
    spec: &TrainingSpec,
    incumbent: Option<&Incumbent>,
    journal: &Journal,
) -> Result<(contest::Outcome, String), Halt> {
    let claimed = device::claim(&spec.device, journal)?;
    let rows = match spec.source {
        Source::File { .. } | Source::Captured => dataset::Rows::InFiles,
        Source::Query { .. } => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(|error| Halt::Failed(format!("the runtime could not be started: {error}")))?;
            dataset::Rows::Fetched(runtime.block_on(dataset::fetch(spec))?)
        }
    };
    let dataset = dataset::build(spec, rows, journal)?;
    let won = contest::hold(spec, &dataset, incumbent, claimed.device, None, journal)?;
    Ok((won, dataset.snapshot(spec).hash))
}

fn print(event: &Event, out: &mut impl Write) -> std::io::Result<()> {
    match event {
        Event::Line { is_warning, message } => {
            writeln!(out, "{}{message}", if *is_warning { "warning: " } else { "" })
        }
        Event::Progress(progress) => writeln!(
            out,
            "{} epoch {}/{}: train loss {:.4}, validation loss {:.4}, {:.0} rows/s, at most {} s left",
            progress.candidate,
            progress.epoch,
            progress.max_epochs,
            progress.train_loss,
            progress.validation_loss,
            progress.rows_per_second,
            progress.eta_seconds
        ),
        Event::Metrics(_) => Ok(()),
    }
}
