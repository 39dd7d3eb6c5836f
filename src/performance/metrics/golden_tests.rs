//! Agreement with scikit-learn; `tests/golden/performance/README.md` names the version and the calls.

use std::collections::BTreeMap;

use ndarray::Array2;
use serde::Deserialize;

use super::{binary, multiclass, regression};

#[derive(Deserialize)]
struct Golden {
    binary: BTreeMap<String, Binary>,
    multiclass: BTreeMap<String, Multiclass>,
    regression: BTreeMap<String, Regression>,
}

/// Figures by name.
type Figures = BTreeMap<String, f64>;

#[derive(Deserialize)]
struct Binary {
    scores: Vec<f64>,
    targets: Vec<bool>,
    weights: Vec<f64>,
    threshold: f64,
    plain: Figures,
    weighted: Figures,
}

#[derive(Deserialize)]
struct Multiclass {
    probabilities: Vec<Vec<f64>>,
    targets: Vec<usize>,
    weights: Vec<f64>,
    plain: Figures,
    weighted: Figures,
}

#[derive(Deserialize)]
struct Regression {
    predictions: Vec<f64>,
    targets: Vec<f64>,
    weights: Vec<f64>,
    quantile: f64,
    plain: Figures,
    weighted: Figures,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/golden/performance/metrics.json"
    )))
    .unwrap()
}

/// Asserts that each figure of the reference is met by the metric of its name.
#[track_caller]
fn check(case: &str, expected: &Figures, actual: impl Fn(&str) -> Option<f64>) {
    assert!(expected.len() >= 6, "{case}: only {} figures", expected.len());
    for (name, &expected) in expected {
        let actual = actual(name).unwrap();
        let error = (actual - expected).abs();
        assert!(
            error <= 1e-9 * expected.abs() || error <= 1e-14,
            "{case} {name}: {actual:e}, expected {expected:e}"
        );
    }
}

#[test]
fn binary_metrics_are_those_of_scikit_learn() {
    let cases = golden().binary;
    assert_eq!(cases.len(), 4);
    for (name, case) in &cases {
        for (expected, weights) in [(&case.plain, None), (&case.weighted, Some(case.weights.as_slice()))] {
            let (s, t) = (case.scores.as_slice(), case.targets.as_slice());
            check(name, expected, |metric| match metric {
                "accuracy" => binary::accuracy(s, t, case.threshold, weights),
                "precision" => binary::precision(s, t, case.threshold, weights),
                "recall" => binary::recall(s, t, case.threshold, weights),
                "f1" => binary::f1(s, t, case.threshold, weights),
                "roc_auc" => binary::roc_auc(s, t, weights),
                "pr_auc" => binary::pr_auc(s, t, weights),
                "log_loss" => binary::log_loss(s, t, weights),
                "brier" => binary::brier(s, t, weights),
                "ece" => binary::calibration_error(s, t, binary::CALIBRATION_BINS, weights),
                _ => None,
            });
        }
    }
}

#[test]
fn multiclass_metrics_are_those_of_scikit_learn() {
    let cases = golden().multiclass;
    assert_eq!(cases.len(), 2);
    for (name, case) in &cases {
        let classes = case.probabilities[0].len();
        let flat: Vec<f64> = case.probabilities.concat();
        let p = Array2::from_shape_vec((case.targets.len(), classes), flat).unwrap();
        for (expected, weights) in [(&case.plain, None), (&case.weighted, Some(case.weights.as_slice()))] {
            let t = case.targets.as_slice();
            check(name, expected, |metric| match metric {
                "accuracy" => multiclass::accuracy(p.view(), t, weights),
                "f1_macro" => multiclass::macro_f1(p.view(), t, weights),
                "f1_weighted" => multiclass::weighted_f1(p.view(), t, weights),
                "log_loss" => multiclass::log_loss(p.view(), t, weights),
                "brier" => multiclass::brier(p.view(), t, weights),
                "roc_auc_ovr" => multiclass::roc_auc_ovr(p.view(), t, weights),
                "ece" => multiclass::calibration_error(p.view(), t, binary::CALIBRATION_BINS, weights),
                _ => None,
            });
        }
    }
}

#[test]
fn regression_metrics_are_those_of_scikit_learn() {
    let cases = golden().regression;
    assert_eq!(cases.len(), 2);
    for (name, case) in &cases {
        for (expected, weights) in [(&case.plain, None), (&case.weighted, Some(case.weights.as_slice()))] {
            let (p, t) = (case.predictions.as_slice(), case.targets.as_slice());
            check(name, expected, |metric| match metric {
                "mae" => regression::mae(p, t, weights),
                "rmse" => regression::rmse(p, t, weights),
                "mape" => regression::mape(p, t, weights),
                "r2" => regression::r2(p, t, weights),
                "pinball" => regression::pinball(p, t, case.quantile, weights),
                "poisson" => regression::poisson_deviance(p, t, weights),
                _ => None,
            });
        }
    }
}
