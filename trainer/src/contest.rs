//! Linear first, then deep, both against the version in production on the same held-out rows.

use std::collections::BTreeMap;
use std::path::PathBuf;

use driftline::model::Column;
use driftline::retrain::artifact::{Artifact, Link, ModelKind, Output};
use driftline::retrain::gate::{self, GateDecision};
use driftline::retrain::importance;
use driftline::retrain::pipeline::Encoded;
use driftline::retrain::{Objective, Task, TrainingSpec};
use driftline::store::training_log::Metric;
use serde_json::{Value as Json, json};
use tch::Device;

use crate::dataset::{self, Dataset};
use crate::deep::{self, Plan};
use crate::evaluation::{self, Metrics};
use crate::features;
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

/// A model on the held-out rows.
struct Scored {
    losses: Vec<f64>,
    metrics: Metrics,
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
    let held_out = HeldOut {
        task: spec.task,
        objective,
        columns: dataset.slice(&split.test),
        targets: &dataset.targets[split.test.clone()],
        seed: spec.seed,
        journal,
    };

    // The simple models of a count predict the count itself.
    let simple_output = if output.link == Link::Exp { standard(raw_targets) } else { output };
    let simple = sides.with(simple_output, |train, validation| {
        let output = (simple_output, dataset.classes.len());
        simple::fit(spec, output, train, validation, artifact, journal)
    })?;
    let mut entrants: Vec<(ModelKind, Scored)> = Vec::new();
    for model in &simple.models {
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
        let model = artifact(ModelKind::Deep, graph, output);
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
    let decision = gate::decide(
        objective,
        (best.kind, losses(best.kind).unwrap_or_default()),
        losses(ModelKind::Deep),
        production.as_ref().map(|(version, scored)| (*version, scored.losses.as_slice())),
        spec.seed,
    );
    journal.info(decision.reason.clone());
    let winner = deep_model.filter(|_| decision.winner == ModelKind::Deep).unwrap_or_else(|| best.clone());
    let mut scores: Vec<(&'static str, Metrics)> =
        entrants.into_iter().map(|(kind, scored)| (kind.as_str(), scored.metrics)).collect();
    scores.extend(production.map(|(_, scored)| ("production", scored.metrics)));
    let mut metrics: serde_json::Map<String, Json> =
        scores.iter().map(|(candidate, metrics)| ((*candidate).to_owned(), json!(metrics))).collect();
    metrics.insert("gate".to_owned(), json!(decision));
    if decision.accepted {
        metrics.insert("importance".to_owned(), json!(held_out.importance(&winner)?));
    }
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

/// The rows that only the gate sees.
struct HeldOut<'a> {
    task: Task,
    objective: Objective,
    columns: Vec<Column>,
    targets: &'a [f64],
    seed: u64,
    journal: &'a Journal,
}

impl HeldOut<'_> {
    /// Importance of each feature to `artifact`, for the order of what later alerts name.
    fn importance(&self, artifact: &Artifact) -> Result<BTreeMap<String, f64>, Halt> {
        let shares = importance::permutation(
            artifact,
            self.objective,
            &self.columns,
            self.targets,
            self.seed,
            || self.journal.checkpoint(),
        )?;
        let mut ranked: Vec<_> = shares.iter().collect();
        ranked.sort_by(|a, b| b.1.total_cmp(a.1).then_with(|| a.0.cmp(b.0)));
        let said: Vec<String> =
            ranked.iter().take(5).map(|(name, share)| format!("{name} {:.1} %", 100.0 * *share)).collect();
        self.journal.info(match said.as_slice() {
            [] => "shuffling a feature makes the model no worse: it rests on none".to_owned(),
            said => format!("it rests on {} (by shuffling each feature)", said.join(", ")),
        });
        Ok(shares)
    }

    fn score(&self, candidate: &'static str, artifact: &Artifact) -> Scored {
        let answers = artifact.predict(self.targets.len(), &self.columns);
        let losses = gate::losses(self.objective, answers.view(), self.targets);
        let metrics =
            evaluation::evaluate(self.task, self.objective, answers.view(), self.targets, self.seed);
        let said: Vec<String> = metrics
            .iter()
            .map(|(name, estimate)| {
                format!("{name} {:.4} [{:.4}, {:.4}]", estimate.value, estimate.lower, estimate.upper)
            })
            .collect();
        self.journal.info(format!("{candidate} on held-out rows: {}", said.join(", ")));
        let number = |name: String, value| Metric {
            candidate: candidate.to_owned(),
            split: "test".to_owned(),
            epoch: -1,
            name,
            value,
        };
        self.journal.metrics(
            metrics
                .iter()
                .flat_map(|(name, estimate)| {
                    [
                        number((*name).to_owned(), estimate.value),
                        number(format!("{name}_lower"), estimate.lower),
                        number(format!("{name}_upper"), estimate.upper),
                    ]
                })
                .collect(),
        );
        Scored { losses, metrics }
    }
}
