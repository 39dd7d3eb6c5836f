//! Linear first, then deep, both against the version in production on the same held-out rows.

use std::path::PathBuf;

use driftline::retrain::artifact::{Artifact, Link, ModelKind, Output};
use driftline::retrain::evaluation::Metrics;
use driftline::retrain::gate::{self, GateDecision};
use driftline::retrain::pipeline::Encoded;
use driftline::retrain::{Objective, Task, TrainingSpec};
use serde_json::{Value as Json, json};
use tch::Device;

use crate::dataset::{self, Dataset};
use crate::deep::{self, Plan};
use crate::features;
use crate::held_out::{self, HeldOut, Scored};
use crate::journal::{Halt, Journal};
use crate::linear::Part;
use crate::simple;

/// The version in production.
#[derive(Debug, Clone)]
pub(crate) struct Incumbent {
    /// Its number.
    pub(crate) version: i64,
    /// What it predicts with.
    pub(crate) artifact: Artifact,
}

/// How a run came out.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    /// The winner, accepted or not.
    pub(crate) artifact: Artifact,
    /// The decision.
    pub(crate) decision: GateDecision,
    /// Held-out metrics by candidate, and the gate's comparisons.
    pub(crate) metrics: Json,
    /// The specification and what was chosen.
    pub(crate) parameters: Json,
    /// Held-out metrics by candidate, for a table.
    pub(crate) scores: Vec<(&'static str, Metrics)>,
}

/// Trains and decides. The linear model is finished and scored before the deep one starts.
///
/// The deep one is written down at `checkpoint` as it trains, and goes on from there.
pub(crate) fn hold(
    spec: &TrainingSpec,
    dataset: &Dataset,
    incumbent: Option<&Incumbent>,
    device: Device,
    checkpoint: Option<PathBuf>,
    journal: &Journal,
) -> Result<Outcome, Halt> {
    let split = &dataset.split;
    journal.info(dataset.summary());
    dataset::check_leakage(spec, dataset, journal)?;
    let train_columns = dataset.slice(&split.train);
    let pipeline = features::fit(&spec.features, &dataset.features, &train_columns, spec.seed, journal)?;
    let encoded = pipeline.encode(split.train.len(), &train_columns);
    let held_encoded = pipeline.encode(split.validation.len(), &dataset.slice(&split.validation));

    let raw_targets = &dataset.targets[split.train.clone()];
    let held_targets = &dataset.targets[split.validation.clone()];
    let objective = spec.objective();
    let output = output(spec.task, objective, raw_targets)?;
    let sides = Sides {
        train: (&encoded, raw_targets, &dataset.weights[split.train.clone()]),
        validation: (&held_encoded, held_targets, &dataset.weights[split.validation.clone()]),
    };
    let artifact = |kind, graph, output| Artifact {
        task: spec.task,
        target: spec.target.clone(),
        kind,
        classes: dataset.classes.clone(),
        pipeline: pipeline.clone(),
        graph,
        output,
    };
    let held_out = HeldOut::of(spec, dataset, journal);

    // The simple models of a count predict the count itself.
    let simple_output = if output.link == Link::Exp { standard(raw_targets) } else { output };
    let mut simple = sides.with(simple_output, |train, validation| {
        let output = (simple_output, dataset.classes.len());
        simple::fit(spec, output, train, validation, artifact, journal)
    })?;
    let mut entrants: Vec<(ModelKind, Scored)> = Vec::new();
    for model in &mut simple.models {
        held_out::calibrate(model, dataset, journal);
        entrants.push((model.kind, held_out.score(model.kind.as_str(), model)));
        journal.checkpoint()?;
    }
    let best = simple.best();
    let mut parameters = simple.parameters.clone();
    let mut deep_model = None;
    if !simple::is_good_enough(spec, best, &held_encoded, held_targets, journal) {
        let (classes, snapshot) = (dataset.classes.len(), dataset.snapshot(spec).hash);
        let plan = Plan { spec, pipeline: &pipeline, output, classes, device, checkpoint, snapshot };
        let (graph, chosen) =
            sides.with(output, |train, validation| deep::fit(&plan, train, validation, journal))?;
        parameters.insert("deep".to_owned(), chosen);
        let mut model = artifact(ModelKind::Deep, graph, output);
        held_out::calibrate(&mut model, dataset, journal);
        entrants.push((ModelKind::Deep, held_out.score("deep", &model)));
        deep_model = Some(model);
        journal.checkpoint()?;
    }

    let production =
        incumbent.map(|incumbent| (incumbent.version, held_out.score("production", &incumbent.artifact)));
    let losses = |kind: ModelKind| {
        let found = entrants.iter().find(|(other, _)| *other == kind);
        found.map(|(_, scored)| scored.losses.as_slice())
    };
    let mut decision = gate::decide(
        objective,
        (best.kind, losses(best.kind).unwrap_or_default()),
        losses(ModelKind::Deep),
        production.as_ref().map(|(version, scored)| (*version, scored.losses.as_slice())),
        spec.evaluation.level,
        spec.seed,
    );
    let winner = deep_model.filter(|_| decision.winner == ModelKind::Deep).unwrap_or_else(|| best.clone());
    let evidence = held_out.evidence(&winner)?;
    if decision.accepted {
        let production = production.as_ref().map(|(_, scored)| scored.losses.as_slice());
        let losses = losses(decision.winner).unwrap_or_default();
        let objections = held_out.objections(evidence.cost.as_ref(), losses, production);
        if !objections.is_empty() {
            decision.accepted = false;
            decision.reason = format!("{}; but {}", decision.reason, objections.join("; and "));
        }
    }
    journal.info(decision.reason.clone());
    let mut scores: Vec<(&'static str, Metrics)> =
        entrants.into_iter().map(|(kind, scored)| (kind.as_str(), scored.metrics)).collect();
    scores.extend(production.map(|(_, scored)| ("production", scored.metrics)));
    let mut metrics: serde_json::Map<String, Json> =
        scores.iter().map(|(candidate, metrics)| ((*candidate).to_owned(), json!(metrics))).collect();
    metrics.insert("gate".to_owned(), json!(decision));
    metrics.insert("evidence".to_owned(), json!(evidence));
    metrics.insert("importance".to_owned(), json!(held_out.importance(&winner)?));
    parameters.insert("spec".to_owned(), json!(spec));
    let part_rows = json!({"train": split.train.len(), "validation": split.validation.len(),
                       "calibration": split.calibration.len(), "test": split.test.len()});
    parameters.insert("split".to_owned(), part_rows);
    parameters.insert("columns".to_owned(), json!(pipeline.column_names()));
    Ok(Outcome {
        artifact: winner,
        decision,
        metrics: Json::Object(metrics),
        parameters: Json::Object(parameters),
        scores,
    })
}

/// What makes answers of the scores of a model trained on `targets`.
fn output(task: Task, objective: Objective, targets: &[f64]) -> Result<Output, Halt> {
    match (task, objective) {
        (Task::Binary, _) => Ok(Output::plain(Link::Sigmoid)),
        (Task::Multiclass, _) => Ok(Output::plain(Link::Softmax)),
        (Task::Regression, Objective::Poisson) => {
            let mean = standard(targets).offset;
            if mean <= 0.0 || targets.iter().any(|target| *target < 0.0) {
                let problem = "objective poisson needs counts: no target below 0, and some above";
                return Err(Halt::Failed(problem.to_owned()));
            }
            Ok(Output { offset: mean.ln(), ..Output::plain(Link::Exp) })
        }
        (Task::Regression, _) => Ok(standard(targets)),
    }
}

/// The output of a model whose targets have mean 0 and scale 1.
fn standard(targets: &[f64]) -> Output {
    let (offset, scale) = features::moments(targets).unwrap_or((0.0, 1.0));
    Output { offset, scale: if scale > 0.0 { scale } else { 1.0 }, ..Output::plain(Link::Identity) }
}

/// Targets as scores are compared with.
fn standardised(output: Output, targets: &[f64]) -> Vec<f64> {
    match output.link {
        Link::Identity => targets.iter().map(|target| (target - output.offset) / output.scale).collect(),
        Link::Exp | Link::Sigmoid | Link::Softmax => targets.to_vec(),
    }
}

/// Encoded rows, their targets, and how much each row counts.
type Side<'a> = (&'a Encoded, &'a [f64], &'a [f64]);

/// The rows that models are fitted on.
struct Sides<'a> {
    train: Side<'a>,
    validation: Side<'a>,
}

impl Sides<'_> {
    /// Fits on the rows, with their targets as the scores of `output` are compared with them.
    fn with<T>(&self, output: Output, fit: impl FnOnce(Part<'_>, Part<'_>) -> T) -> T {
        let targets = standardised(output, self.train.1);
        let held_targets = standardised(output, self.validation.1);
        fit(part(self.train, &targets), part(self.validation, &held_targets))
    }
}

fn part<'a>((encoded, _, weights): Side<'a>, targets: &'a [f64]) -> Part<'a> {
    Part { numbers: encoded.numbers.view(), codes: encoded.codes.view(), targets, weights }
}
