//! Whether probabilities mean what they say, and the temperature that makes them.

use ndarray::{Array2, ArrayView2, Axis};
use serde::{Deserialize, Serialize};

use super::Judged;
use crate::performance::metrics::{binary, multiclass};
use crate::retrain::gate;
use crate::retrain::spec::{Objective, Task};

/// Probabilities are kept this far from 0 and 1, so that their logarithm is a number.
const CLIP: f64 = 1e-12;

/// Logarithms of temperatures that are looked at lie within this distance of 0.
const WIDEST: f64 = 3.0;

/// Halvings of the interval in which the best temperature lies.
const STEPS: usize = 60;

/// A group of rows with like probabilities.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CalibrationBin {
    /// Mean of the probabilities.
    pub predicted: f64,
    /// Share of rows for which it came true.
    pub observed: f64,
    /// Rows.
    pub rows: usize,
}

/// Probabilities on held-out rows before and after they were divided by a temperature.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// The temperature, fitted on the calibration part; 1 where that made nothing better.
    pub temperature: f64,
    /// Expected calibration error without it.
    pub error_before: f64,
    /// Expected calibration error with it.
    pub error_after: f64,
    /// Bins of equally many rows, with it.
    pub bins: Vec<CalibrationBin>,
}

/// The temperature at which `answers`, made at temperature 1, have the lowest log loss; 1 for a regression, and where no
/// other is better.
///
/// # Arguments
///
/// * `answers`: probabilities on the calibration part, shape `[rows, outputs]`.
///
/// # Source
///
/// Guo et al. (2017), "On calibration of modern neural networks", arXiv:1706.04599, section 4.2.
pub fn temperature(task: Task, answers: ArrayView2<'_, f64>, targets: &[f64]) -> f64 {
    if task == Task::Regression || targets.is_empty() {
        return 1.0;
    }
    let loss = |logarithm: f64| {
        let cooled = at_temperature(answers, logarithm.exp());
        let losses = gate::losses(Objective::LogLoss, cooled.view(), targets);
        losses.iter().sum::<f64>() / losses.len() as f64
    };
    // The loss has one valley along 1 / T, so that a golden-section search finds it.
    let ratio = (5.0_f64.sqrt() - 1.0) / 2.0;
    let (mut low, mut high) = (-WIDEST, WIDEST);
    let mut inner = [high - ratio * (high - low), low + ratio * (high - low)];
    let mut at = inner.map(loss);
    for _ in 0..STEPS {
        if at[0] <= at[1] {
            high = inner[1];
            inner = [high - ratio * (high - low), inner[0]];
            at = [loss(inner[0]), at[0]];
        } else {
            low = inner[0];
            inner = [inner[1], low + ratio * (high - low)];
            at = [at[1], loss(inner[1])];
        }
    }
    let best = f64::midpoint(low, high);
    let found = best.exp();
    if loss(best) < loss(0.0) && found.is_finite() { found } else { 1.0 }
}

/// Probabilities as they are when what their link was given is divided by `temperature`.
fn at_temperature(answers: ArrayView2<'_, f64>, temperature: f64) -> Array2<f64> {
    let mut cooled = answers.to_owned();
    if answers.ncols() == 1 {
        cooled.mapv_inplace(|p| {
            let p = p.clamp(CLIP, 1.0 - CLIP);
            crate::retrain::artifact::sigmoid((p / (1.0 - p)).ln() / temperature)
        });
        return cooled;
    }
    for mut row in cooled.axis_iter_mut(Axis(0)) {
        row.mapv_inplace(|p| p.clamp(CLIP, 1.0).powf(1.0 / temperature));
        let sum = row.sum();
        row /= sum;
    }
    cooled
}

/// How well probabilities are calibrated on held-out rows; none for a regression, and where no error can be computed.
///
/// # Arguments
///
/// * `judged`: answers with the temperature.
/// * `temperature`: the one that they were made with.
pub fn calibration(judged: Judged<'_>, temperature: f64) -> Option<Calibration> {
    let before = at_temperature(judged.answers, 1.0 / temperature);
    let error = |answers: ArrayView2<'_, f64>| match judged.task {
        Task::Regression => None,
        Task::Binary => {
            let scores: Vec<f64> = answers.column(0).to_vec();
            binary::calibration_error(&scores, &judged.truths(), binary::CALIBRATION_BINS, None)
        }
        Task::Multiclass => {
            multiclass::calibration_error(answers, &judged.classes(), binary::CALIBRATION_BINS, None)
        }
    };
    Some(Calibration {
        temperature,
        error_before: error(before.view())?,
        error_after: error(judged.answers)?,
        bins: bins(judged),
    })
}

/// Bins of equally many rows; of several classes, the likeliest one is looked at.
fn bins(judged: Judged<'_>) -> Vec<CalibrationBin> {
    let mut rows: Vec<(f64, bool)> = match judged.task {
        Task::Multiclass => judged
            .answers
            .rows()
            .into_iter()
            .zip(judged.classes())
            .map(|(row, class)| {
                let said = crate::retrain::artifact::likeliest(row.iter().copied());
                (row.get(said).copied().unwrap_or(0.0), said == class)
            })
            .collect(),
        Task::Regression | Task::Binary => judged.first().into_iter().zip(judged.truths()).collect(),
    };
    rows.sort_by(|a, b| a.0.total_cmp(&b.0));
    let size = rows.len().div_ceil(binary::CALIBRATION_BINS).max(1);
    rows.chunks(size)
        .map(|bin| {
            let n = bin.len() as f64;
            CalibrationBin {
                predicted: bin.iter().map(|(p, _)| p).sum::<f64>() / n,
                observed: bin.iter().filter(|(_, truth)| *truth).count() as f64 / n,
                rows: bin.len(),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::random::SplitMix64;

    /// Rows whose probability is right, and the same made surer by dividing the score by `by`.
    fn rows(by: f64) -> (Array2<f64>, Vec<f64>) {
        let mut random = SplitMix64::new(11);
        let mut uniform = || random.next_u64() as f64 / u64::MAX as f64;
        let (mut said, mut targets) = (Vec::new(), Vec::new());
        for _ in 0..8_000 {
            let score = 6.0 * uniform() - 3.0;
            targets.push(f64::from(u8::from(uniform() < crate::retrain::artifact::sigmoid(score))));
            said.push(crate::retrain::artifact::sigmoid(score / by));
        }
        (Array2::from_shape_vec((said.len(), 1), said).unwrap(), targets)
    }

    #[test]
    fn the_temperature_that_was_taken_away_is_found() {
        for by in [0.25, 0.5, 1.0, 2.0] {
            let (said, targets) = rows(by);
            let found = temperature(Task::Binary, said.view(), &targets);
            assert!((found * by - 1.0).abs() < 0.06, "by {by}: {found}");
        }
    }

    #[test]
    fn the_error_falls_where_the_temperature_fits() {
        let (said, targets) = rows(0.25);
        let found = temperature(Task::Binary, said.view(), &targets);
        let after = at_temperature(said.view(), found);
        let judged = Judged {
            task: Task::Binary,
            objective: Objective::LogLoss,
            answers: after.view(),
            targets: &targets,
        };
        let calibration = calibration(judged, found).unwrap();
        assert!(calibration.error_before > 0.1 && calibration.error_after < 0.03, "{calibration:?}");
        assert_eq!(calibration.bins.len(), binary::CALIBRATION_BINS);
        assert_eq!(calibration.bins.iter().map(|bin| bin.rows).sum::<usize>(), targets.len());
    }

    #[test]
    fn a_regression_has_none() {
        assert!((temperature(Task::Regression, Array2::zeros((1, 1)).view(), &[1.0]) - 1.0).abs() < 1e-12);
    }
}
