//! Held-out metrics, each with a 95 % interval.

use std::collections::BTreeMap;

use driftline::retrain::artifact::likeliest;
use driftline::retrain::{Objective, Task, gate};
use ndarray::ArrayView2;
use serde::Serialize;

/// Resamples behind an interval.
const RESAMPLES: usize = 500;

/// A metric and its interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Estimate {
    /// On all held-out rows.
    pub(crate) value: f64,
    /// Lower end of the 95 % interval.
    pub(crate) lower: f64,
    /// Upper end.
    pub(crate) upper: f64,
}

/// Metrics by name; one that is undefined on these rows (`roc_auc` with one class) is absent.
pub(crate) type Metrics = BTreeMap<&'static str, Estimate>;

/// Evaluates predictions on held-out rows, in the order of time.
///
/// Blocks of neighbouring rows are resampled, as in the gate.
///
/// # Arguments
///
/// * `answers`: shape `[rows, outputs]`, as an artifact gives them.
pub(crate) fn evaluate(
    task: Task,
    objective: Objective,
    answers: ArrayView2<'_, f64>,
    targets: &[f64],
    seed: u64,
) -> Metrics {
    let n = targets.len();
    let losses = gate::losses(objective, answers, targets);
    let predictions: Vec<f64> = match task {
        Task::Multiclass => {
            answers.rows().into_iter().map(|row| likeliest(row.iter().copied()) as f64).collect()
        }
        Task::Binary | Task::Regression => answers.column(0).to_vec(),
    };
    let predictions = predictions.as_slice();
    let block = gate::block_length(&losses);
    let mut metrics = Metrics::new();
    let mut add = |name: &'static str, statistic: &dyn Fn(&[usize]) -> f64| {
        let all: Vec<usize> = (0..n).collect();
        let value = statistic(&all);
        if let Some((lower, upper)) = gate::interval(n, block, RESAMPLES, seed, statistic)
            && value.is_finite()
        {
            metrics.insert(name, Estimate { value, lower, upper });
        }
    };
    let average = |values: Vec<f64>| {
        move |rows: &[usize]| rows.iter().map(|&row| values[row]).sum::<f64>() / rows.len() as f64
    };
    let pairs = || predictions.iter().zip(targets);
    match task {
        Task::Binary => {
            let correct = pairs().map(|(p, t)| f64::from(u8::from((*p >= 0.5) == (*t > 0.5)))).collect();
            let mut order: Vec<usize> = (0..n).collect();
            order.sort_by(|&a, &b| predictions[a].total_cmp(&predictions[b]));
            add("accuracy", &average(correct));
            add("log_loss", &average(losses));
            add("brier", &average(pairs().map(|(p, t)| (p - t).powi(2)).collect()));
            add("f1", &|rows| f1(predictions, targets, rows));
            add("roc_auc", &|rows| roc_auc(predictions, targets, &order, rows));
        }
        Task::Multiclass => {
            let correct = pairs().map(|(p, t)| f64::from(u8::from((p - t).abs() < 0.5))).collect();
            add("accuracy", &average(correct));
            add("log_loss", &average(losses));
        }
        Task::Regression => {
            let squares = average(pairs().map(|(p, t)| (p - t).powi(2)).collect());
            if objective != Objective::Mse {
                add("loss", &average(losses));
            }
            add("rmse", &|rows| squares(rows).sqrt());
            add("mae", &average(pairs().map(|(p, t)| (p - t).abs()).collect()));
            add("r2", &|rows| {
                let mean = rows.iter().map(|&row| targets[row]).sum::<f64>() / rows.len() as f64;
                let spread =
                    rows.iter().map(|&row| (targets[row] - mean).powi(2)).sum::<f64>() / rows.len() as f64;
                1.0 - squares(rows) / spread
            });
        }
    }
    metrics
}

/// Harmonic mean of precision and recall at 0.5; NaN without any positive on either side.
fn f1(predictions: &[f64], targets: &[f64], rows: &[usize]) -> f64 {
    let (mut hits, mut errors) = (0.0, 0.0);
    for &row in rows {
        match (predictions[row] >= 0.5, targets[row] > 0.5) {
            (true, true) => hits += 1.0,
            (false, false) => {}
            _ => errors += 1.0,
        }
    }
    2.0 * hits / (2.0 * hits + errors)
}

/// Area under the ROC curve, ties counted half; `order` sorts all rows by prediction. NaN with one class.
fn roc_auc(predictions: &[f64], targets: &[f64], order: &[usize], rows: &[usize]) -> f64 {
    let mut times = vec![0_u32; targets.len()];
    for &row in rows {
        times[row] += 1;
    }
    let (mut area, mut negatives, mut positives) = (0.0, 0.0, 0.0);
    let mut start = 0;
    while let Some(&first) = order.get(start) {
        let tie =
            order[start..].iter().take_while(|&&row| predictions[row].total_cmp(&predictions[first]).is_eq());
        let (mut tied_negatives, mut tied_positives) = (0.0, 0.0);
        let mut length = 0;
        for &row in tie {
            length += 1;
            if targets[row] > 0.5 {
                tied_positives += f64::from(times[row]);
            } else {
                tied_negatives += f64::from(times[row]);
            }
        }
        area += tied_positives * (negatives + 0.5 * tied_negatives);
        negatives += tied_negatives;
        positives += tied_positives;
        start += length;
    }
    area / (negatives * positives)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(metrics: &Metrics, name: &str, expected: f64) {
        let estimate = metrics[name];
        assert!((estimate.value - expected).abs() < 1e-9, "{name}: {estimate:?}, expected {expected}");
        assert!(estimate.lower <= estimate.value + 1e-9 && estimate.value <= estimate.upper + 1e-9, "{name}");
    }

    fn of_one(task: Task, predictions: &[f64], targets: &[f64]) -> Metrics {
        let answers = ArrayView2::from_shape((predictions.len(), 1), predictions).unwrap();
        evaluate(task, Objective::default_of(task), answers, targets, 0)
    }

    #[test]
    fn several_classes_are_right_or_wrong() {
        let answers = ndarray::array![[0.7, 0.2, 0.1], [0.3, 0.4, 0.3]];
        let metrics = evaluate(Task::Multiclass, Objective::LogLoss, answers.view(), &[0.0, 2.0], 0);
        check(&metrics, "accuracy", 0.5);
        check(&metrics, "log_loss", -f64::midpoint(0.7_f64.ln(), 0.3_f64.ln()));
    }

    #[test]
    fn binary_metrics_are_those_of_scikit_learn() {
        // sklearn.metrics on these eight rows: accuracy_score 0.75, f1_score 0.75, roc_auc_score 0.84375,
        // brier_score_loss 0.15875, log_loss 0.4893522…
        let predictions = [0.1, 0.4, 0.35, 0.8, 0.6, 0.9, 0.2, 0.6];
        let targets = [0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 0.0, 1.0];
        let metrics = of_one(Task::Binary, &predictions, &targets);
        check(&metrics, "accuracy", 0.75);
        check(&metrics, "f1", 0.75);
        check(&metrics, "roc_auc", 13.5 / 16.0);
        check(&metrics, "brier", (0.01 + 0.16 + 0.4225 + 0.04 + 0.36 + 0.01 + 0.04 + 0.16) / 8.0);
    }

    #[test]
    fn regression_metrics_are_those_of_scikit_learn() {
        let metrics = of_one(Task::Regression, &[2.5, 0.0, 2.0, 8.0], &[3.0, -0.5, 2.0, 7.0]);
        // The example of sklearn.metrics.r2_score and mean_absolute_error.
        check(&metrics, "r2", 0.948_608_137_044_967_9);
        check(&metrics, "mae", 0.5);
        check(&metrics, "rmse", 0.375_f64.sqrt());
    }

    #[test]
    fn one_class_has_no_roc_auc() {
        let metrics = of_one(Task::Binary, &[0.2, 0.7], &[1.0, 1.0]);
        assert!(!metrics.contains_key("roc_auc") && metrics.contains_key("log_loss"));
    }
}
