//! The linear model: ridge or logistic regression by linfa, its L2 strength chosen on the validation part.

use driftline::retrain::artifact::{Layer, Output};
use driftline::retrain::{Objective, Task, gate};
use linfa::Dataset;
use linfa::traits::Fit;
use linfa_elasticnet::ElasticNet;
use linfa_logistic::{LogisticRegression, MultiLogisticRegression};
use ndarray::{Array1, Array2, ArrayView2, Axis};

use crate::journal::{Halt, Journal};

/// Penalty per row that is tried, weak to strong; the inputs are standardised, so one grid fits every set.
const L2_GRID: [f64; 5] = [1e-5, 1e-4, 1e-3, 1e-2, 1e-1];

/// Sweeps of the coordinate descent. Its own stop rule rests on an L1 part, which ridge does not have.
const RIDGE_SWEEPS: u32 = 200;

/// Score of a class that no row has.
const UNSEEN: f64 = -20.0;

/// Encoded rows with their targets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part<'a> {
    /// Shape `[rows, width]`.
    pub(crate) numbers: ArrayView2<'a, f64>,
    /// Shape `[rows, embedded]`.
    pub(crate) codes: ArrayView2<'a, u32>,
    /// One per row: a regression's standardised unless its link is not the identity, 0 or 1, or the index of a class.
    pub(crate) targets: &'a [f64],
    /// How much each row counts.
    pub(crate) weights: &'a [f64],
}

/// A fitted linear model.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LinearFit {
    /// Its only layer.
    pub(crate) layer: Layer,
    /// The chosen penalty per row.
    pub l2: f64,
    /// Mean loss on the validation part.
    pub(crate) validation_loss: f64,
}

/// Fits on `train` with every strength of the grid and keeps the one with the lowest loss on `validation`.
///
/// # Arguments
///
/// * `output`: what makes answers of scores.
/// * `classes`: number of classes, where there are several.
pub(crate) fn fit(
    task: Task,
    output: Output,
    classes: usize,
    train: Part<'_>,
    validation: Part<'_>,
    journal: &Journal,
) -> Result<LinearFit, Halt> {
    // Column-major, since the coordinate descent goes by columns.
    let inputs = train.numbers.t().as_standard_layout().into_owned().reversed_axes();
    let mut best: Option<LinearFit> = None;
    for l2 in L2_GRID {
        journal.checkpoint()?;
        let fitted = match task {
            Task::Regression => ridge(&inputs, train.targets, l2),
            Task::Binary => logistic(&inputs, train.targets, l2),
            Task::Multiclass => multinomial(&inputs, train.targets, classes, l2),
        };
        let layer = match fitted {
            Ok(layer) => layer,
            Err(problem) => {
                journal.warn(format!("linear model with L2 {l2}: {problem}"));
                continue;
            }
        };
        let scores = validation.numbers.dot(&layer.weight.t()) + &layer.bias;
        let answers = Output { offset: 0.0, scale: 1.0, ..output }.answers(scores);
        let losses = gate::losses(Objective::default_of(task), answers.view(), validation.targets);
        let validation_loss = losses.iter().sum::<f64>() / losses.len() as f64;
        if validation_loss.is_finite()
            && best.as_ref().is_none_or(|best| validation_loss < best.validation_loss)
        {
            best = Some(LinearFit { layer, l2, validation_loss });
        }
    }
    best.ok_or_else(|| Halt::Failed("the linear model could not be fitted with any L2 strength".to_owned()))
}

fn ridge(inputs: &Array2<f64>, targets: &[f64], l2: f64) -> Result<Layer, String> {
    // linfa takes the mean of the targets as intercept, which is right only for centred columns.
    let means = inputs.mean_axis(Axis(0)).ok_or("there are no rows")?;
    let dataset = Dataset::new(inputs - &means, Array1::from_vec(targets.to_vec()));
    let fitted = ElasticNet::<f64>::params()
        .l1_ratio(0.0)
        .penalty(l2)
        .max_iterations(RIDGE_SWEEPS)
        .fit(&dataset)
        .map_err(|error| error.to_string())?;
    layer(fitted.hyperplane(), fitted.intercept() - fitted.hyperplane().dot(&means))
}

fn logistic(inputs: &Array2<f64>, targets: &[f64], l2: f64) -> Result<Layer, String> {
    let classes = Array1::from_iter(targets.iter().map(|&target| target > 0.5));
    let dataset = Dataset::new(inputs.clone(), classes);
    // linfa's penalty is on the sum over the rows; so is its gradient.
    let rows = targets.len() as f64;
    let fitted = LogisticRegression::default()
        .alpha(l2 * rows)
        .gradient_tolerance(1e-6 * rows)
        .max_iterations(500)
        .fit(&dataset)
        .map_err(|error| error.to_string())?;
    // linfa's docs say that the larger class by order is positive; it is the more frequent one.
    let sign = if fitted.labels().pos.class { 1.0 } else { -1.0 };
    layer(&(fitted.params() * sign), fitted.intercept() * sign)
}

/// Classes that the rows lack get no weight and a bias that makes them unlikely.
fn multinomial(inputs: &Array2<f64>, targets: &[f64], classes: usize, l2: f64) -> Result<Layer, String> {
    let index = |target: f64| (0..classes).find(|class| (*class as f64 - target).abs() < 0.5).unwrap_or(0);
    let dataset =
        Dataset::new(inputs.clone(), Array1::from_iter(targets.iter().map(|&target| index(target))));
    let rows = targets.len() as f64;
    let fitted = MultiLogisticRegression::default()
        .alpha(l2 * rows)
        .gradient_tolerance(1e-6 * rows)
        .max_iterations(500)
        .fit(&dataset)
        .map_err(|error| error.to_string())?;
    let mut weight = Array2::zeros((classes, inputs.ncols()));
    let mut bias = Array1::from_elem(classes, UNSEEN);
    for (at, &class) in fitted.classes().iter().enumerate() {
        weight.row_mut(class).assign(&fitted.params().column(at));
        bias[class] = fitted.intercept()[at];
    }
    finite(Layer { weight, bias })
}

fn layer(weights: &Array1<f64>, intercept: f64) -> Result<Layer, String> {
    finite(Layer { weight: weights.clone().insert_axis(Axis(0)), bias: Array1::from_elem(1, intercept) })
}

fn finite(layer: Layer) -> Result<Layer, String> {
    let is_finite = layer.weight.iter().chain(&layer.bias).all(|number| number.is_finite());
    is_finite.then_some(layer).ok_or_else(|| "it did not converge to finite weights".to_owned())
}

#[cfg(test)]
mod tests {
    use driftline::retrain::artifact::{Link, sigmoid};
    use driftline::stats::random::SplitMix64;

    use super::*;
    use crate::journal::Stop;

    fn noise(random: &mut SplitMix64) -> f64 {
        random.next_u64() as f64 / u64::MAX as f64 * 2.0 - 1.0
    }

    fn fit_on(task: Task, link: Link, inputs: &Array2<f64>, targets: &[f64]) -> LinearFit {
        let (journal, _) = Journal::new(Stop::default());
        let codes = Array2::zeros((targets.len(), 0));
        let weights = vec![1.0; targets.len()];
        let part = Part { numbers: inputs.view(), codes: codes.view(), targets, weights: &weights };
        fit(task, Output::plain(link), 3, part, part, &journal).unwrap()
    }

    #[test]
    fn ridge_solves_the_normal_equations() {
        let mut random = SplitMix64::new(1);
        let inputs = Array2::from_shape_fn((300, 2), |(_, column)| noise(&mut random) + column as f64);
        let targets: Vec<f64> = inputs
            .rows()
            .into_iter()
            .map(|row| 2.0 * row[0] - 3.0 * row[1] + 0.5 + 0.1 * noise(&mut random))
            .collect();
        for l2 in L2_GRID {
            let fitted = ridge(&inputs, &targets, l2).unwrap();
            // (X'X + n l2 I) w = X'y on centred data, two unknowns by hand.
            let centred = &inputs - &inputs.mean_axis(Axis(0)).unwrap();
            let y = Array1::from_vec(targets.clone());
            let y = &y - y.mean().unwrap();
            let gram = centred.t().dot(&centred) + Array2::<f64>::eye(2) * (l2 * 300.0);
            let moment = centred.t().dot(&y);
            let determinant = gram[[0, 0]] * gram[[1, 1]] - gram[[0, 1]] * gram[[1, 0]];
            let exact = [
                (gram[[1, 1]] * moment[0] - gram[[0, 1]] * moment[1]) / determinant,
                (gram[[0, 0]] * moment[1] - gram[[1, 0]] * moment[0]) / determinant,
            ];
            for (got, want) in fitted.weight.iter().zip(exact) {
                assert!((got - want).abs() < 1e-8, "l2 {l2}: {got} is not {want}");
            }
            let residual =
                targets.iter().sum::<f64>() - (inputs.dot(&fitted.weight.t()) + &fitted.bias).sum();
            assert!(residual.abs() < 1e-6, "l2 {l2}: the intercept leaves {residual}");
        }
    }

    #[test]
    fn logistic_finds_the_direction() {
        let mut random = SplitMix64::new(2);
        let inputs = Array2::from_shape_fn((2000, 2), |_| noise(&mut random));
        let targets: Vec<f64> = inputs
            .rows()
            .into_iter()
            .map(|row| {
                let probability = sigmoid(4.0 * row[0] - 1.0);
                f64::from(u8::from(f64::midpoint(noise(&mut random), 1.0) < probability))
            })
            .collect();
        let fitted = fit_on(Task::Binary, Link::Sigmoid, &inputs, &targets);
        assert!((fitted.layer.weight[[0, 0]] - 4.0).abs() < 0.6, "{:?}", fitted.layer);
        assert!(fitted.layer.weight[[0, 1]].abs() < 0.3);
        assert!((fitted.layer.bias[0] + 1.0).abs() < 0.3);
    }
    #[test]
    fn the_class_of_the_largest_column_is_found() {
        let mut random = SplitMix64::new(3);
        let inputs = Array2::from_shape_fn((900, 3), |_| noise(&mut random));
        let largest = |row: usize| {
            (0..3).max_by(|&a, &b| inputs[[row, a]].total_cmp(&inputs[[row, b]])).unwrap() as f64
        };
        let targets: Vec<f64> = (0..900).map(largest).collect();
        let fitted = fit_on(Task::Multiclass, Link::Softmax, &inputs, &targets);
        assert!(fitted.validation_loss < 0.2, "{fitted:?}");
        for class in 0..3 {
            let weights = fitted.layer.weight.row(class);
            assert!((0..3).all(|column| column == class || weights[class] > weights[column]), "{weights}");
        }
    }
}
