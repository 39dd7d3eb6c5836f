//! The deep candidate: searched for where that is asked, trained, and written down on the way.

use std::path::PathBuf;
use std::time::Duration;

use driftline::retrain::artifact::{Graph, Output, sha256};
use driftline::retrain::pipeline::Pipeline;
use driftline::retrain::{Objective, TrainingSpec};
use serde_json::{Value as Json, json};
use tch::Device;

use crate::architecture::Shape;
use crate::checkpoint::Checkpoints;
use crate::device;
use crate::journal::{Halt, Journal};
use crate::linear::Part;
use crate::search;
use crate::training::{self, Request};

/// What decides how the deep model comes out, beside the rows.
#[derive(Debug, Clone)]
pub(crate) struct Plan<'a> {
    /// The specification.
    pub(crate) spec: &'a TrainingSpec,
    /// What encodes the rows.
    pub(crate) pipeline: &'a Pipeline,
    /// What makes answers of scores.
    pub(crate) output: Output,
    /// Number of classes, where there are several.
    pub(crate) classes: usize,
    /// Where to train.
    pub(crate) device: Device,
    /// Where it is written down, if anywhere.
    pub(crate) checkpoint: Option<PathBuf>,
    /// Hash of the rows.
    pub(crate) snapshot: String,
}

/// Searches where that is asked for, and trains what was found. Returns the network and what is to be known of it.
pub(crate) fn fit(
    plan: &Plan<'_>,
    train: Part<'_>,
    validation: Part<'_>,
    journal: &Journal,
) -> Result<(Graph, Json), Halt> {
    let spec = plan.spec;
    let shape = Shape {
        groups: plan.pipeline.groups(),
        cardinalities: plan.pipeline.cardinalities(),
        outputs: plan.classes.max(1),
    };
    let checkpoints = plan.checkpoint.clone().map(|path| checkpoints(plan, &shape, path)).transpose()?;
    let request = Request {
        candidate: "deep",
        objective: scaled(spec.objective(), plan.output),
        output: plan.output,
        shape: &shape,
        deep: &spec.deep,
        limits: &spec.limits,
        spent: 0.0,
        seed: spec.seed,
        device: plan.device,
        checkpoints: checkpoints.as_ref(),
        fault: None,
    };
    let (deep, trials) = match &spec.deep.search {
        None => (spec.deep.clone(), Vec::new()),
        Some(space) => {
            let found = search::search(request, space, train, validation, journal)?;
            (found.deep, found.trials)
        }
    };
    let spent = trials.iter().map(|trial| trial.seconds).sum();
    let fit = training::train(Request { deep: &deep, spent, ..request }, train, validation, journal)?;
    journal.info(format!(
        "deep model trained for {} epochs of {} rows a step in {:.1} s, best epoch {}",
        fit.epochs, fit.batch_size, fit.seconds, fit.best_epoch
    ));
    let known = json!({
        "best_epoch": fit.best_epoch, "epochs": fit.epochs, "train_loss": fit.train_loss,
        "validation_loss": fit.validation_loss, "seconds": fit.seconds, "batch_size": fit.batch_size,
        "threads": spec.limits.threads, "spec": deep, "trials": trials,
    });
    Ok((fit.graph, known))
}

/// The loss of standardised targets.
fn scaled(objective: Objective, output: Output) -> Objective {
    match objective {
        Objective::Huber { delta } => Objective::Huber { delta: delta / output.scale },
        other => other,
    }
}

/// Where the deep model is written down, under the hash of everything that decides how it comes out.
fn checkpoints(plan: &Plan<'_>, shape: &Shape, path: PathBuf) -> Result<Checkpoints, Halt> {
    let kind = if matches!(plan.device, Device::Cuda(_)) { "cuda" } else { "cpu" };
    let build = [env!("CARGO_PKG_VERSION"), device::LIBTORCH, kind];
    let decides = json!([plan.snapshot, plan.spec, format!("{shape:?}"), build]).to_string();
    let every = Duration::try_from_secs_f64(plan.spec.limits.checkpoint_seconds)
        .map_err(|error| Halt::Failed(format!("limits.checkpoint_seconds: {error}")))?;
    Ok(Checkpoints { path, every, identity: sha256(decides.as_bytes()) })
}
