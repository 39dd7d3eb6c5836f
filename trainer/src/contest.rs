//! Linear first, then deep, both against the version in production on the same held-out rows.

use std::collections::BTreeMap;
use std::time::Instant;

use driftline::model::Column;
use driftline::retrain::artifact::{Artifact, Graph, Link, ModelKind, Output};
use driftline::retrain::gate::{self, GateDecision};
use driftline::retrain::importance;
use driftline::retrain::pipeline::Encoded;
use driftline::retrain::{Objective, Task, TrainingSpec};
use driftline::store::training_log::Metric;
use serde_json::{Value as Json, json};
use tch::Device;

use crate::dataset::{Dataset, Split};
use crate::evaluation::{self, Metrics};
use crate::features;
use crate::journal::{Halt, Journal};
use crate::linear::{self, Part};
use crate::training::{self, Request};

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
pub(crate) fn hold(
    spec: &TrainingSpec,
    dataset: &Dataset,
    incumbent: Option<&Incumbent>,
    device: Device,
    journal: &Journal,
) -> Result<Outcome, Halt> {
    let split = dataset.split(spec)?;
    tell_split(dataset, &split, journal);
    let train_columns = dataset.slice(&split.train);
    let pipeline = features::fit(&dataset.features, &train_columns, journal)?;
    let encoded = pipeline.encode(split.train.len(), &train_columns);
    let held_encoded = pipeline.encode(split.validation.len(), &dataset.slice(&split.validation));

    let raw_targets = &dataset.targets[split.train.clone()];
    let held_targets = &dataset.targets[split.validation.clone()];
    let objective = spec.objective();
    let output = output(spec.task, objective, raw_targets)?;
    let sides = Sides {
        train: (&encoded, raw_targets, &vec![1.0; raw_targets.len()]),
        validation: (&held_encoded, held_targets, &vec![1.0; held_targets.len()]),
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

    let started = Instant::now();
    // The linear model of a count predicts the count itself.
    let linear_output = if output.link == Link::Exp { standard(raw_targets) } else { output };
    let linear_fit = sides.with(linear_output, |train, validation| {
        linear::fit(spec.task, linear_output, dataset.classes.len(), train, validation, journal)
    })?;
    let linear_seconds = started.elapsed().as_secs_f64();
    let linear = artifact(ModelKind::Linear, Graph::dense(vec![linear_fit.layer]), linear_output);
    journal.info(format!(
        "linear model fitted on {} columns in {linear_seconds:.1} s, L2 {} chosen on the validation part",
        pipeline.width(),
        linear_fit.l2
    ));
    let linear_scored = held_out.score("linear", &linear);
    journal.checkpoint()?;

    let started = Instant::now();
    let request = Request {
        objective: scaled(objective, output),
        output,
        outputs: dataset.classes.len().max(1),
        deep: &spec.deep,
        seed: spec.seed,
        device,
    };
    let deep_fit =
        sides.with(output, |train, validation| training::train(request, train, validation, journal))?;
    let deep_seconds = started.elapsed().as_secs_f64();
    let deep = artifact(ModelKind::Deep, Graph::dense(deep_fit.layers), output);
    journal.info(format!(
        "deep model {:?} trained for {} epochs in {deep_seconds:.1} s, best epoch {}",
        spec.deep.hidden, deep_fit.epochs, deep_fit.best_epoch
    ));
    let deep_scored = held_out.score("deep", &deep);
    journal.checkpoint()?;

    let production =
        incumbent.map(|incumbent| (incumbent.version, held_out.score("production", &incumbent.artifact)));
    let decision = gate::decide(
        objective,
        &linear_scored.losses,
        &deep_scored.losses,
        production.as_ref().map(|(version, scored)| (*version, scored.losses.as_slice())),
        spec.seed,
    );
    journal.info(decision.reason.clone());
    let mut scores = vec![("linear", linear_scored.metrics), ("deep", deep_scored.metrics)];
    scores.extend(production.map(|(_, scored)| ("production", scored.metrics)));
    let mut metrics: serde_json::Map<String, Json> =
        scores.iter().map(|(candidate, metrics)| ((*candidate).to_owned(), json!(metrics))).collect();
    metrics.insert("gate".to_owned(), json!(decision));
    let artifact = match decision.winner {
        ModelKind::Linear | ModelKind::Tree => linear,
        ModelKind::Deep => deep,
    };
    if decision.accepted {
        metrics.insert("importance".to_owned(), json!(held_out.importance(&artifact)?));
    }
    Ok(Outcome {
        artifact,
        decision,
        metrics: Json::Object(metrics),
        parameters: json!({
            "spec": spec,
            "split": {"train": split.train.len(), "validation": split.validation.len(), "test": split.test.len()},
            "columns": pipeline.column_names(),
            "linear": {"l2": linear_fit.l2, "validation_loss": linear_fit.validation_loss, "seconds": linear_seconds},
            "deep": {"best_epoch": deep_fit.best_epoch, "epochs": deep_fit.epochs,
                     "validation_loss": deep_fit.validation_loss, "seconds": deep_seconds},
        }),
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

/// The loss of standardised targets.
fn scaled(objective: Objective, output: Output) -> Objective {
    match objective {
        Objective::Huber { delta } => Objective::Huber { delta: delta / output.scale },
        other => other,
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

/// Says which rows are for what.
fn tell_split(dataset: &Dataset, split: &Split, journal: &Journal) {
    let time =
        |row: usize| dataset.times.get(row).map(|time| time.format("%FT%TZ").to_string()).unwrap_or_default();
    journal.info(format!(
        "{} rows from {} to {}: {} to train, {} to validate, {} held out from {}",
        dataset.rows(),
        time(0),
        time(dataset.rows() - 1),
        split.train.len(),
        split.validation.len(),
        split.test.len(),
        time(split.test.start)
    ));
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
