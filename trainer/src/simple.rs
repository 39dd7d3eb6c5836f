//! The simple models: linear, then a shallow tree, both finished before anything deep starts.

use std::time::Instant;

use driftline::retrain::TrainingSpec;
use driftline::retrain::artifact::{Artifact, Block, Graph, Input, ModelKind, Output};
use driftline::retrain::evaluation::{self, Judged};
use driftline::retrain::pipeline::Encoded;
use serde_json::{Map, Value as Json, json};

use crate::journal::{Halt, Journal};
use crate::linear::{self, Part};
use crate::tree;

/// The fitted models, the linear one first.
#[derive(Debug)]
pub(crate) struct Simple {
    /// The models.
    pub(crate) models: Vec<Artifact>,
    /// What was chosen, by model.
    pub(crate) parameters: Map<String, Json>,
    /// Which of them has the lowest loss on the validation part.
    best: usize,
}

impl Simple {
    /// The one with the lowest loss on the validation part.
    pub(crate) fn best(&self) -> &Artifact {
        &self.models[self.best]
    }
}

/// Fits the linear model and, unless the settings want none, the tree.
///
/// # Arguments
///
/// * `output`, `classes`: what makes answers of scores; names of classes, where there are several.
/// * `make`: an artifact of a network and its output.
pub(crate) fn fit(
    spec: &TrainingSpec,
    (output, classes): (Output, usize),
    train: Part<'_>,
    validation: Part<'_>,
    make: impl Fn(ModelKind, Graph, Output) -> Artifact,
    journal: &Journal,
) -> Result<Simple, Halt> {
    let started = Instant::now();
    let task = (spec.task, classes);
    let linear = linear::fit(task, &spec.simple, train, validation, journal)?;
    let seconds = started.elapsed().as_secs_f64();
    journal.info(format!(
        "linear model fitted on {} columns in {seconds:.1} s, penalty {} chosen on the validation part",
        train.numbers.ncols(),
        linear.l2
    ));
    let mut parameters = Map::new();
    let chosen = json!({"l2": linear.l2, "validation_loss": linear.validation_loss, "seconds": seconds});
    parameters.insert("linear".to_owned(), chosen);
    let mut simple = Simple {
        models: vec![make(ModelKind::Linear, Graph::dense(vec![linear.layer]), output)],
        parameters,
        best: 0,
    };
    if spec.simple.tree_depth == 0 {
        return Ok(simple);
    }
    let started = Instant::now();
    let tree = tree::fit(task, spec.simple.tree_depth, train, validation, journal)?;
    let seconds = started.elapsed().as_secs_f64();
    journal.info(format!(
        "tree of depth {} fitted in {seconds:.1} s, the depth chosen on the validation part; its loss there is {:.4}, \
         the linear model's {:.4}",
        tree.depth, tree.validation_loss, linear.validation_loss
    ));
    let chosen = json!({"depth": tree.depth, "validation_loss": tree.validation_loss, "seconds": seconds});
    simple.parameters.insert("tree".to_owned(), chosen);
    simple.best = usize::from(tree.validation_loss < linear.validation_loss);
    let graph = Graph { input: Input::Flat { embeddings: Vec::new() }, blocks: vec![Block::Tree(tree.tree)] };
    simple.models.push(make(ModelKind::Tree, graph, output));
    Ok(simple)
}

/// Whether `artifact` is as good on the validation part as the settings ask for to do without a deep model.
pub(crate) fn is_good_enough(
    spec: &TrainingSpec,
    artifact: &Artifact,
    encoded: &Encoded,
    targets: &[f64],
    journal: &Journal,
) -> bool {
    let Some(wanted) = &spec.simple.good_enough else { return false };
    let answers = artifact.predict_encoded(encoded);
    let judged = Judged { task: spec.task, objective: spec.objective(), answers: answers.view(), targets };
    let metrics = evaluation::evaluate(judged, spec.seed);
    let Some(estimate) = metrics.get(wanted.metric.as_str()) else { return false };
    let is_reached = wanted.is_reached(estimate.value);
    journal.info(format!(
        "{} has {} {:.4} on the validation part; simple.good_enough asks for {}{}",
        artifact.kind.as_str(),
        wanted.metric,
        estimate.value,
        wanted.value,
        if is_reached { ", so no deep model is trained" } else { "" }
    ));
    is_reached
}
