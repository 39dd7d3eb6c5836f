//! The linear model: ridge or elastic net, logistic or multinomial regression, its penalty chosen on the validation part.

mod classes;
mod normal;
#[cfg(test)]
mod tests;

use driftline::retrain::Task;
use driftline::retrain::artifact::Layer;
use driftline::retrain::spec::SimpleSpec;
use ndarray::{Array1, Array2, ArrayView2, Axis, Slice};

use self::normal::Normal;
use crate::journal::{Halt, Journal};

/// Penalty per row that is tried, strong to weak; the inputs are scaled, so one grid fits every set.
const L2_GRID: [f64; 5] = [1e-1, 1e-2, 1e-3, 1e-4, 1e-5];

/// Encoded rows with their targets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part<'a> {
    /// Shape `[rows, width]`.
    pub(crate) numbers: ArrayView2<'a, f64>,
    /// Shape `[rows, embedded]`.
    pub(crate) codes: ArrayView2<'a, u32>,
    /// One per row: a regression's standardised unless its link is not the identity, 0 or 1, or the index of a class.
    pub(crate) targets: &'a [f64],
    /// How much each row counts, one per row, 0 or more.
    pub(crate) weights: &'a [f64],
}

/// A fitted linear model.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LinearFit {
    /// Its only layer.
    pub(crate) layer: Layer,
    /// The chosen penalty per row.
    pub(crate) l2: f64,
    /// Mean loss on the validation part: squared error, or log loss.
    pub(crate) validation_loss: f64,
}

/// Fits on `train` with every strength of the grid and keeps the one with the lowest loss on `validation`.
///
/// # Arguments
///
/// * `classes`: how many there are; of no meaning for a regression.
pub(crate) fn fit(
    (task, classes): (Task, usize),
    simple: &SimpleSpec,
    train: Part<'_>,
    validation: Part<'_>,
    journal: &Journal,
) -> Result<LinearFit, Halt> {
    let columns = train.numbers.ncols();
    let outputs = if task == Task::Multiclass { classes } else { 1 };
    let normal = (task == Task::Regression).then(|| Normal::of(train));
    let mut of_classes = Array2::zeros((outputs, columns + 1));
    let mut best: Option<LinearFit> = None;
    for l2 in L2_GRID {
        journal.checkpoint()?;
        let fitted = match &normal {
            Some(normal) if simple.l1_ratio > 0.0 => normal.elastic_net(l2, simple.l1_ratio).map(row),
            Some(normal) => {
                normal.ridge(l2).map(row).ok_or_else(|| "its columns depend on each other".to_owned())
            }
            None => {
                // From the solution for the stronger penalty, which is near.
                of_classes = classes::fit(train, l2, of_classes, journal)?;
                Ok(of_classes.clone())
            }
        };
        let layer = match fitted.and_then(|weights| layer(&weights)) {
            Ok(layer) => layer,
            Err(problem) => {
                journal.warn(format!("linear model with penalty {l2}: {problem}"));
                continue;
            }
        };
        let scores = validation.numbers.dot(&layer.weight.t()) + &layer.bias;
        let validation_loss = mean_loss(task, &scores, validation);
        if validation_loss.is_finite()
            && best.as_ref().is_none_or(|best| validation_loss < best.validation_loss)
        {
            best = Some(LinearFit { layer, l2, validation_loss });
        }
    }
    best.ok_or_else(|| Halt::Failed("the linear model could not be fitted with any penalty".to_owned()))
}

/// Weighted mean over the rows of the squared error, or of the log loss of what the scores say of classes.
pub(crate) fn mean_loss(task: Task, scores: &Array2<f64>, part: Part<'_>) -> f64 {
    let (mut loss, mut total) = (0.0, 0.0);
    for ((scores, &target), &weight) in scores.rows().into_iter().zip(part.targets).zip(part.weights) {
        let mut scores = scores.to_vec();
        let of_row = match task {
            Task::Regression => (scores.first().copied().unwrap_or(0.0) - target).powi(2),
            Task::Binary | Task::Multiclass => classes::residuals(&mut scores, target),
        };
        loss += weight * of_row;
        total += weight;
    }
    loss / total
}

fn row((weights, intercept): normal::Weights) -> Array2<f64> {
    let mut row = Array2::from_elem((1, weights.len() + 1), intercept);
    row.row_mut(0).slice_axis_mut(Axis(0), Slice::from(..weights.len())).assign(&weights);
    row
}

/// The layer of weights with the intercepts in the last column.
fn layer(weights: &Array2<f64>) -> Result<Layer, String> {
    if !weights.iter().all(|weight| weight.is_finite()) {
        return Err("it did not converge to finite weights".to_owned());
    }
    let last = weights.ncols() - 1;
    let bias: Array1<f64> = weights.index_axis(Axis(1), last).to_owned();
    Ok(Layer { weight: weights.slice_axis(Axis(1), Slice::from(..last)).to_owned(), bias })
}
