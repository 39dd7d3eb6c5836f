//! Tests of the linear models: against linfa, against scikit-learn, and by what minimises the loss.

use driftline::retrain::artifact::sigmoid;
use driftline::stats::random::SplitMix64;
use linfa::Dataset;
use linfa::traits::Fit as _;
use linfa_elasticnet::ElasticNet;
use linfa_logistic::{LogisticRegression, MultiLogisticRegression};
use ndarray::array;

use super::*;
use crate::journal::Stop;

fn noise(random: &mut SplitMix64) -> f64 {
    random.next_u64() as f64 / u64::MAX as f64 * 2.0 - 1.0
}

fn inputs(rows: usize, columns: usize, seed: u64) -> Array2<f64> {
    let mut random = SplitMix64::new(seed);
    Array2::from_shape_fn((rows, columns), |(_, column)| noise(&mut random) + column as f64)
}

/// Rows without codes.
fn part<'a>(numbers: ArrayView2<'a, f64>, targets: &'a [f64], weights: &'a [f64]) -> Part<'a> {
    let codes = ArrayView2::from_shape((numbers.nrows(), 0), &[]).unwrap();
    Part { numbers, codes, targets, weights }
}

fn journal() -> Journal {
    Journal::new(Stop::default()).0
}

fn fit_on(task: (Task, usize), inputs: &Array2<f64>, targets: &[f64], weights: &[f64]) -> LinearFit {
    let part = part(inputs.view(), targets, weights);
    fit(task, &SimpleSpec::default(), part, part, &journal()).unwrap()
}

#[track_caller]
fn close<'a>(got: impl IntoIterator<Item = &'a f64>, want: impl IntoIterator<Item = &'a f64>, within: f64) {
    let (got, want): (Vec<_>, Vec<_>) = (got.into_iter().collect(), want.into_iter().collect());
    assert_eq!(got.len(), want.len());
    assert!(got.iter().zip(&want).all(|(a, b)| (**a - **b).abs() <= within), "{got:?} is not {want:?}");
}

/// `y = 2 a − 3 b + ½` with noise.
fn regression(rows: usize) -> (Array2<f64>, Vec<f64>) {
    let inputs = inputs(rows, 2, 1);
    let mut random = SplitMix64::new(11);
    let targets =
        inputs.rows().into_iter().map(|row| 2.0 * row[0] - 3.0 * row[1] + 0.5 + 0.1 * noise(&mut random));
    let targets = targets.collect();
    (inputs, targets)
}

/// Classes 0 to `classes − 1` by the largest of noisy linear scores.
fn labelled(rows: usize, classes: usize) -> (Array2<f64>, Vec<f64>) {
    let inputs = inputs(rows, 3, 2);
    let mut random = SplitMix64::new(12);
    let targets = inputs
        .rows()
        .into_iter()
        .map(|row| {
            let score = |class: usize| row[class] - class as f64 * 0.9;
            let mut best = (f64::NEG_INFINITY, 0);
            for class in 0..classes {
                let scored = score(class) + 0.7 * noise(&mut random);
                if scored > best.0 {
                    best = (scored, class);
                }
            }
            best.1 as f64
        })
        .collect();
    (inputs, targets)
}

#[test]
fn ridge_is_that_of_scikit_learn() {
    // scikit-learn 1.7.2: Ridge(alpha=0.1 * 6, solver="cholesky").fit(X, y, sample_weight=w), Σw = 6.
    let inputs = array![[1.0, 2.0], [2.0, 1.0], [3.0, 5.0], [4.0, 3.0], [5.0, 8.0], [6.0, 1.0]];
    let targets = [1.0, 2.0, 2.5, 4.5, 4.0, 7.0];
    let weights = [0.5, 1.0, 1.5, 1.0, 1.0, 1.0];
    let part = part(inputs.view(), &targets, &weights);
    let (slopes, intercept) = Normal::of(part).ridge(0.1).unwrap();
    close(&slopes, &[1.145_604_630_171_740_9, -0.237_363_387_978_142_05], 1e-12);
    assert!((intercept - 0.275_001_829_625_292_5).abs() < 1e-12, "{intercept}");
}

#[test]
fn ridge_minimises_its_loss_and_weights_are_rows() {
    let (inputs, targets) = regression(300);
    let weights: Vec<f64> = (0..300).map(|row| f64::from(row % 3)).collect();
    let weighted = part(inputs.view(), &targets, &weights);
    let repeated: Vec<usize> = (0..300).flat_map(|row| std::iter::repeat_n(row, row % 3)).collect();
    let rows = inputs.select(Axis(0), &repeated);
    let same: Vec<f64> = repeated.iter().map(|&row| targets[row]).collect();
    let ones = vec![1.0; same.len()];
    let often = part(rows.view(), &same, &ones);
    for l2 in L2_GRID {
        let (slopes, intercept) = Normal::of(weighted).ridge(l2).unwrap();
        let (again, base) = Normal::of(often).ridge(l2).unwrap();
        close(&slopes, &again, 1e-10);
        assert!((intercept - base).abs() < 1e-10);
        // The gradient: Xᵀ (y − Xβ − b) / n = l2 β, and residuals that add up to nothing.
        let residuals = &Array1::from_vec(same.clone()) - &(rows.dot(&slopes) + intercept);
        let gradient = rows.t().dot(&residuals) / same.len() as f64;
        close(&gradient, &(&slopes * l2), 1e-10);
        assert!(residuals.sum().abs() < 1e-8);
    }
}

#[test]
fn the_same_bits_whatever_the_rows_are_centred_on() {
    let (inputs, targets) = regression(5_000);
    let ones = vec![1.0; targets.len()];
    let far = &inputs + 1e6;
    let near = Normal::of(part(inputs.view(), &targets, &ones));
    let moved = Normal::of(part(far.view(), &targets, &ones));
    close(&near.ridge(1e-3).unwrap().0, &moved.ridge(1e-3).unwrap().0, 1e-8);
    let again = Normal::of(part(inputs.view(), &targets, &ones));
    assert_eq!(near.ridge(1e-3).unwrap(), again.ridge(1e-3).unwrap());
}

#[test]
fn the_elastic_net_is_that_of_linfa_on_all_rows() {
    let (inputs, targets) = regression(400);
    let ones = vec![1.0; targets.len()];
    let normal = Normal::of(part(inputs.view(), &targets, &ones));
    for (penalty, l1_ratio) in [(0.01, 0.5), (0.1, 1.0), (0.3, 0.9)] {
        let (slopes, intercept) = normal.elastic_net(penalty, l1_ratio).unwrap();
        let means = inputs.mean_axis(Axis(0)).unwrap();
        let fitted = ElasticNet::<f64>::params()
            .l1_ratio(l1_ratio)
            .penalty(penalty)
            .tolerance(1e-12)
            .max_iterations(5_000)
            .fit(&Dataset::new(&inputs - &means, Array1::from_vec(targets.clone())))
            .unwrap();
        close(&slopes, fitted.hyperplane(), 1e-6);
        assert!((intercept - (fitted.intercept() - fitted.hyperplane().dot(&means))).abs() < 1e-6);
    }
    let (slopes, _) = normal.elastic_net(10.0, 1.0).unwrap();
    close(&slopes, &[0.0, 0.0], 1e-12);
}

#[test]
fn logistic_regression_is_that_of_linfa() {
    let (inputs, targets) = labelled(1_500, 2);
    let ones = vec![1.0; targets.len()];
    let part = part(inputs.view(), &targets, &ones);
    for l2 in [1e-3, 1e-1] {
        let own = classes::fit(part, l2, Array2::zeros((1, 4)), &journal()).unwrap();
        let labels = Array1::from_iter(targets.iter().map(|&target| target > 0.5));
        let fitted = LogisticRegression::default()
            .alpha(l2 * 1_500.0)
            .gradient_tolerance(1e-6)
            .max_iterations(1_000)
            .fit(&Dataset::new(inputs.clone(), labels))
            .unwrap();
        let sign = if fitted.labels().pos.class { 1.0 } else { -1.0 };
        close(own.row(0).slice_axis(Axis(0), Slice::from(..3)), &(fitted.params() * sign), 1e-4);
        assert!((own[[0, 3]] - fitted.intercept() * sign).abs() < 1e-4, "{own}");
    }
}

#[test]
fn multinomial_regression_is_that_of_linfa() {
    let (inputs, targets) = labelled(1_500, 3);
    let ones = vec![1.0; targets.len()];
    let part = part(inputs.view(), &targets, &ones);
    let own = classes::fit(part, 1e-2, Array2::zeros((3, 4)), &journal()).unwrap();
    let labels = Array1::from_iter(targets.iter().map(|&target| {
        if target < 0.5 {
            0_usize
        } else if target < 1.5 {
            1
        } else {
            2
        }
    }));
    let fitted = MultiLogisticRegression::default()
        .alpha(15.0)
        .gradient_tolerance(1e-6)
        .max_iterations(1_000)
        .fit(&Dataset::new(inputs.clone(), labels))
        .unwrap();
    close(own.slice_axis(Axis(1), Slice::from(..3)), fitted.params().t(), 1e-3);
}

#[test]
fn a_row_of_weight_two_is_two_rows() {
    for classes in [2, 3] {
        let (inputs, targets) = labelled(600, classes);
        let outputs = if classes == 2 { 1 } else { classes };
        let weights: Vec<f64> = (0..600).map(|row| f64::from(row % 3)).collect();
        let repeated: Vec<usize> = (0..600).flat_map(|row| std::iter::repeat_n(row, row % 3)).collect();
        let rows = inputs.select(Axis(0), &repeated);
        let same: Vec<f64> = repeated.iter().map(|&row| targets[row]).collect();
        let ones = vec![1.0; same.len()];
        let start = || Array2::zeros((outputs, 4));
        let weighted = part(inputs.view(), &targets, &weights);
        let often = part(rows.view(), &same, &ones);
        let a = classes::fit(weighted, 1e-2, start(), &journal()).unwrap();
        let b = classes::fit(often, 1e-2, start(), &journal()).unwrap();
        close(&a, &b, 1e-4);
    }
}

#[test]
fn the_penalty_is_chosen_on_the_validation_part() {
    // Ten rows and ten columns of noise: what fits them best is worst elsewhere.
    let (train, validation) = (inputs(12, 10, 3), inputs(400, 10, 4));
    let mut random = SplitMix64::new(5);
    let mut draw = |rows: usize| (0..rows).map(|_| noise(&mut random)).collect::<Vec<_>>();
    let (of_train, of_validation) = (draw(12), draw(400));
    let (ones, more) = (vec![1.0; 12], vec![1.0; 400]);
    let train = part(train.view(), &of_train, &ones);
    let validation = part(validation.view(), &of_validation, &more);
    let task = (Task::Regression, 0);
    let fitted = fit(task, &SimpleSpec::default(), train, validation, &journal()).unwrap();
    assert!((fitted.l2 - 0.1).abs() < 1e-12, "{fitted:?}");
}

#[test]
fn logistic_regression_finds_the_direction() {
    let mut random = SplitMix64::new(2);
    let inputs = Array2::from_shape_fn((2_000, 2), |_| noise(&mut random));
    let targets: Vec<f64> = inputs
        .rows()
        .into_iter()
        .map(|row| {
            let probability = sigmoid(4.0 * row[0] - 1.0);
            f64::from(u8::from(f64::midpoint(noise(&mut random), 1.0) < probability))
        })
        .collect();
    let fitted = fit_on((Task::Binary, 2), &inputs, &targets, &vec![1.0; 2_000]);
    assert!((fitted.layer.weight[[0, 0]] - 4.0).abs() < 0.6, "{:?}", fitted.layer);
    assert!(fitted.layer.weight[[0, 1]].abs() < 0.3);
    assert!((fitted.layer.bias[0] + 1.0).abs() < 0.3);
}

#[test]
fn rows_without_weight_and_columns_that_repeat_are_no_trouble() {
    let mut inputs = inputs(50, 3, 6);
    let copied = inputs.column(0).to_owned();
    inputs.column_mut(1).assign(&copied);
    inputs.column_mut(2).fill(7.0);
    let targets: Vec<f64> = inputs.rows().into_iter().map(|row| f64::from(u8::from(row[0] > 0.0))).collect();
    for task in [(Task::Regression, 0), (Task::Binary, 2)] {
        for weights in [[0.0; 50], [1.0; 50]] {
            let part = part(inputs.view(), &targets, &weights);
            let Ok(fitted) = fit(task, &SimpleSpec::default(), part, part, &journal()) else {
                assert!(weights[0] <= 0.0, "only rows without weight cannot be fitted");
                continue;
            };
            assert!(fitted.layer.weight.iter().all(|weight| weight.is_finite()));
        }
    }
}
