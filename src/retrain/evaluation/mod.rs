//! How well a model does on held-out rows: metrics with intervals, calibration, segments.

use std::collections::BTreeMap;

use ndarray::ArrayView2;
use serde::{Deserialize, Serialize};

use super::gate;
use super::spec::{Objective, Task};
use crate::performance::metrics::{Ranking, binary, multiclass, regression};
use crate::stats::resample;

mod calibration;
mod residuals;
mod segments;

pub use calibration::{Calibration, CalibrationBin, calibration, temperature};
pub use residuals::{ResidualBin, Residuals, residuals};
pub use segments::{Fairness, SegmentColumn, SegmentScore, rows_by_value, segments};

/// Resamples behind an interval.
const RESAMPLES: usize = 500;

/// Probability from which on a row counts as class 1.
const THRESHOLD: f64 = 0.5;

/// A metric and its interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// On all held-out rows.
    pub value: f64,
    /// Lower end of the 95 % interval.
    pub lower: f64,
    /// Upper end.
    pub upper: f64,
}

/// Metrics by name; one that is undefined on these rows (`roc_auc` with one class) is absent.
pub type Metrics = BTreeMap<String, Estimate>;

/// Answers of a model beside what came true, in the order of time.
#[derive(Debug, Clone, Copy)]
pub struct Judged<'a> {
    /// What is predicted.
    pub task: Task,
    /// The loss that was trained on.
    pub objective: Objective,
    /// Shape `[rows, outputs]`, as [`super::Artifact::predict`] gives them.
    pub answers: ArrayView2<'a, f64>,
    /// The number, 0 or 1, or the index of the class; shape `[rows]`.
    pub targets: &'a [f64],
}

impl Judged<'_> {
    fn truths(&self) -> Vec<bool> {
        self.targets.iter().map(|target| *target > THRESHOLD).collect()
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the index of a class is a small whole number; anything else saturates to no class"
    )]
    fn classes(&self) -> Vec<usize> {
        self.targets.iter().map(|target| target.round() as usize).collect()
    }

    /// The first output of each row.
    fn first(&self) -> Vec<f64> {
        self.answers.rows().into_iter().map(|row| row.first().copied().unwrap_or(f64::NAN)).collect()
    }
}

/// Evaluates a model: every metric of its task with its 95 % interval.
///
/// Whole blocks of neighbouring rows are resampled, as in the gate, since they err together.
pub fn evaluate(judged: Judged<'_>, seed: u64) -> Metrics {
    let n = judged.targets.len();
    let losses = gate::losses(judged.objective, judged.answers, judged.targets);
    let block = resample::block_length(&losses);
    let statistics = Statistics::of(judged, losses);
    let whole = statistics.all(None);
    let mut drawn: BTreeMap<&'static str, Vec<f64>> = BTreeMap::new();
    for weights in resample::weights(n, block, RESAMPLES, seed) {
        for (name, value) in statistics.all(Some(&weights)) {
            if value.is_finite() {
                drawn.entry(name).or_default().push(value);
            }
        }
    }
    whole
        .into_iter()
        .filter(|(_, value)| value.is_finite())
        .filter_map(|(name, value)| {
            let (lower, upper) = middle(drawn.remove(name)?)?;
            Some((name.to_owned(), Estimate { value, lower, upper }))
        })
        .collect()
}

/// The 95 % percentile interval of what was drawn; none where fewer than half of the draws had a value.
fn middle(mut drawn: Vec<f64>) -> Option<(f64, f64)> {
    if drawn.len() * 2 < RESAMPLES {
        return None;
    }
    drawn.sort_by(f64::total_cmp);
    let tail = drawn.len() / 40;
    Some((*drawn.get(tail)?, *drawn.get(drawn.len() - 1 - tail)?))
}

/// What is computed once and used under every weighting.
struct Statistics<'a> {
    judged: Judged<'a>,
    first: Vec<f64>,
    truths: Vec<bool>,
    classes: Vec<usize>,
    losses: Vec<f64>,
    ranking: Option<Ranking>,
    rankings: Option<multiclass::OneVersusRest>,
}

impl<'a> Statistics<'a> {
    fn of(judged: Judged<'a>, losses: Vec<f64>) -> Self {
        let first = judged.first();
        let (truths, classes) = (judged.truths(), judged.classes());
        let ranking = if judged.task == Task::Binary { Ranking::of(&first) } else { None };
        let rankings = match judged.task {
            Task::Multiclass => multiclass::OneVersusRest::of(judged.answers),
            Task::Regression | Task::Binary => None,
        };
        Self { judged, first, truths, classes, losses, ranking, rankings }
    }

    /// Every metric under `weights`, those without a value left out.
    fn all(&self, weights: Option<&[f64]>) -> Vec<(&'static str, f64)> {
        let named: Vec<(&'static str, Option<f64>)> = match self.judged.task {
            Task::Binary => self.binary(weights),
            Task::Multiclass => self.multiclass(weights),
            Task::Regression => self.regression(weights),
        };
        named.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }

    fn binary(&self, weights: Option<&[f64]>) -> Vec<(&'static str, Option<f64>)> {
        let (scores, truths) = (self.first.as_slice(), self.truths.as_slice());
        let confusion = binary::Confusion::at(scores, truths, THRESHOLD, weights);
        let ranking = self.ranking.as_ref();
        vec![
            ("accuracy", confusion.and_then(binary::Confusion::accuracy)),
            ("precision", confusion.and_then(binary::Confusion::precision)),
            ("recall", confusion.and_then(binary::Confusion::recall)),
            ("f1", confusion.and_then(binary::Confusion::f1)),
            ("roc_auc", ranking.and_then(|ranking| ranking.roc_auc(truths, weights))),
            ("pr_auc", ranking.and_then(|ranking| ranking.average_precision(truths, weights))),
            ("log_loss", self.loss(weights)),
            ("brier", binary::brier(scores, truths, weights)),
            (
                "calibration_error",
                ranking.and_then(|ranking| {
                    ranking.calibration_error(scores, truths, binary::CALIBRATION_BINS, weights)
                }),
            ),
        ]
    }

    fn multiclass(&self, weights: Option<&[f64]>) -> Vec<(&'static str, Option<f64>)> {
        let (answers, classes) = (self.judged.answers, self.classes.as_slice());
        let bins = binary::CALIBRATION_BINS;
        vec![
            ("accuracy", multiclass::accuracy(answers, classes, weights)),
            ("macro_f1", multiclass::macro_f1(answers, classes, weights)),
            ("weighted_f1", multiclass::weighted_f1(answers, classes, weights)),
            ("roc_auc_ovr", self.rankings.as_ref().and_then(|rankings| rankings.roc_auc(classes, weights))),
            ("log_loss", self.loss(weights)),
            ("brier", multiclass::brier(answers, classes, weights)),
            ("calibration_error", multiclass::calibration_error(answers, classes, bins, weights)),
        ]
    }

    fn regression(&self, weights: Option<&[f64]>) -> Vec<(&'static str, Option<f64>)> {
        let (first, targets) = (self.first.as_slice(), self.judged.targets);
        let mut named = vec![
            ("mae", regression::mae(first, targets, weights)),
            ("rmse", regression::rmse(first, targets, weights)),
            ("mape", regression::mape(first, targets, weights)),
            ("r2", regression::r2(first, targets, weights)),
        ];
        match self.judged.objective {
            Objective::Quantile { q } => {
                named.push(("pinball", regression::pinball(first, targets, q, weights)));
            }
            Objective::Poisson => {
                named.push(("poisson_deviance", regression::poisson_deviance(first, targets, weights)));
            }
            Objective::Huber { .. } => named.push(("huber", self.loss(weights))),
            Objective::Mse | Objective::LogLoss => {}
        }
        named
    }

    /// Mean of the loss that the gate compares.
    fn loss(&self, weights: Option<&[f64]>) -> Option<f64> {
        let weight = |row: usize| weights.map_or(1.0, |weights| weights.get(row).copied().unwrap_or(0.0));
        let total: f64 = (0..self.losses.len()).map(weight).sum();
        let sum: f64 = self.losses.iter().enumerate().map(|(row, loss)| weight(row) * loss).sum();
        (total > 0.0).then_some(sum / total)
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, array};

    use super::*;

    fn of_one(task: Task, predictions: &[f64], targets: &[f64]) -> Metrics {
        let answers = Array2::from_shape_vec((predictions.len(), 1), predictions.to_vec()).unwrap();
        let objective = Objective::default_of(task);
        evaluate(Judged { task, objective, answers: answers.view(), targets }, 0)
    }

    #[track_caller]
    fn check(metrics: &Metrics, name: &str, expected: f64) {
        let estimate = metrics[name];
        assert!((estimate.value - expected).abs() < 1e-9, "{name}: {estimate:?}, expected {expected}");
        assert!(estimate.lower <= estimate.value + 1e-9 && estimate.value <= estimate.upper + 1e-9, "{name}");
    }

    #[test]
    fn binary_metrics_are_those_of_scikit_learn() {
        // sklearn.metrics on these eight rows: accuracy_score 0.75, f1_score 0.75, roc_auc_score 0.84375,
        // brier_score_loss 0.1503125, log_loss 0.4893522…
        let predictions = [0.1, 0.4, 0.35, 0.8, 0.6, 0.9, 0.2, 0.6];
        let targets = [0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 0.0, 1.0];
        let metrics = of_one(Task::Binary, &predictions, &targets);
        check(&metrics, "accuracy", 0.75);
        check(&metrics, "f1", 0.75);
        check(&metrics, "roc_auc", 13.5 / 16.0);
        check(&metrics, "brier", 0.150_312_5);
    }

    #[test]
    fn regression_metrics_are_those_of_scikit_learn() {
        // The example of sklearn.metrics.r2_score and mean_absolute_error.
        let metrics = of_one(Task::Regression, &[2.5, 0.0, 2.0, 8.0], &[3.0, -0.5, 2.0, 7.0]);
        check(&metrics, "r2", 0.948_608_137_044_967_9);
        check(&metrics, "mae", 0.5);
        check(&metrics, "rmse", 0.375_f64.sqrt());
    }

    #[test]
    fn several_classes_are_right_or_wrong() {
        let answers = array![[0.7, 0.2, 0.1], [0.3, 0.4, 0.3]];
        let judged = Judged {
            task: Task::Multiclass,
            objective: Objective::LogLoss,
            answers: answers.view(),
            targets: &[0.0, 2.0],
        };
        let metrics = evaluate(judged, 0);
        check(&metrics, "accuracy", 0.5);
        check(&metrics, "log_loss", -f64::midpoint(0.7_f64.ln(), 0.3_f64.ln()));
    }

    #[test]
    fn one_class_has_no_roc_auc() {
        let metrics = of_one(Task::Binary, &[0.2, 0.7], &[1.0, 1.0]);
        assert!(!metrics.contains_key("roc_auc") && metrics.contains_key("log_loss"));
    }
}
