//! Metrics of a binary task: a score or probability per row against whether it came true.
//!
//! [`super`] has the conventions on weights and on what is undefined.

use super::{Ranking, Rows, all_finite, all_probabilities, surprise};

/// Bins of [`calibration_error`] that are usual.
pub const CALIBRATION_BINS: usize = 10;

/// Weights of rows by what was said and what came true.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Confusion {
    /// Said and true.
    pub true_positive: f64,
    /// Said and not true.
    pub false_positive: f64,
    /// Not said and not true.
    pub true_negative: f64,
    /// Not said and true.
    pub false_negative: f64,
}

impl Confusion {
    /// Counts rows, of which those with a score of at least `threshold` were said to be positive.
    pub fn at(scores: &[f64], targets: &[bool], threshold: f64, weights: Option<&[f64]>) -> Option<Self> {
        let rows = rows_of(scores, targets, weights)?;
        if threshold.is_nan() || !all_finite(scores) {
            return None;
        }
        let mut counts = Self::default();
        for (row, (&score, &target)) in scores.iter().zip(targets).enumerate() {
            let cell = match (score >= threshold, target) {
                (true, true) => &mut counts.true_positive,
                (true, false) => &mut counts.false_positive,
                (false, false) => &mut counts.true_negative,
                (false, true) => &mut counts.false_negative,
            };
            *cell += rows.weight(row);
        }
        Some(counts)
    }

    /// Share of rows that were judged rightly.
    pub fn accuracy(self) -> Option<f64> {
        let right = self.true_positive + self.true_negative;
        ratio(right, right + self.false_positive + self.false_negative)
    }

    /// Share of what was said to be positive that is; none where nothing was.
    pub fn precision(self) -> Option<f64> {
        ratio(self.true_positive, self.true_positive + self.false_positive)
    }

    /// Share of the positives that were said to be; none without a positive.
    pub fn recall(self) -> Option<f64> {
        ratio(self.true_positive, self.true_positive + self.false_negative)
    }

    /// Harmonic mean of precision and recall, `2 TP / (2 TP + FP + FN)`; none where nothing was said nor true.
    pub fn f1(self) -> Option<f64> {
        let twice = 2.0 * self.true_positive;
        ratio(twice, twice + self.false_positive + self.false_negative)
    }
}

fn ratio(part: f64, whole: f64) -> Option<f64> {
    super::finite(part / whole)
}

/// Share of rows judged rightly at a threshold; see [`Confusion::accuracy`].
pub fn accuracy(scores: &[f64], targets: &[bool], threshold: f64, weights: Option<&[f64]>) -> Option<f64> {
    Confusion::at(scores, targets, threshold, weights)?.accuracy()
}

/// Precision at a threshold; see [`Confusion::precision`].
pub fn precision(scores: &[f64], targets: &[bool], threshold: f64, weights: Option<&[f64]>) -> Option<f64> {
    Confusion::at(scores, targets, threshold, weights)?.precision()
}

/// Recall at a threshold; see [`Confusion::recall`].
pub fn recall(scores: &[f64], targets: &[bool], threshold: f64, weights: Option<&[f64]>) -> Option<f64> {
    Confusion::at(scores, targets, threshold, weights)?.recall()
}

/// F1 at a threshold; see [`Confusion::f1`].
pub fn f1(scores: &[f64], targets: &[bool], threshold: f64, weights: Option<&[f64]>) -> Option<f64> {
    Confusion::at(scores, targets, threshold, weights)?.f1()
}

/// Area under the ROC curve, ties counting half; none with one class. See [`Ranking::roc_auc`], which sorts only once.
pub fn roc_auc(scores: &[f64], targets: &[bool], weights: Option<&[f64]>) -> Option<f64> {
    Ranking::of(scores)?.roc_auc(targets, weights)
}

/// Average precision, the area under the curve of precision over recall; see [`Ranking::average_precision`].
pub fn pr_auc(scores: &[f64], targets: &[bool], weights: Option<&[f64]>) -> Option<f64> {
    Ranking::of(scores)?.average_precision(targets, weights)
}

/// Mean of `−ln` of the probability that was given to what came true, in nats; none unless all are in `[0, 1]`.
///
/// Probabilities are kept 2.2e-16 away from 0 and 1, so that a sure mistake costs 36 and not infinity.
///
/// # Source
///
/// Good (1952), doi:10.1111/j.2517-6161.1952.tb00104.x; agrees with `sklearn.metrics.log_loss`.
pub fn log_loss(probabilities: &[f64], targets: &[bool], weights: Option<&[f64]>) -> Option<f64> {
    let rows = rows_of(probabilities, targets, weights)?;
    if !all_probabilities(probabilities) {
        return None;
    }
    rows.mean(|row| {
        let p = probabilities[row];
        Some(surprise(if targets[row] { p } else { 1.0 - p }))
    })
}

/// Mean squared distance of the probability from what came true, in `[0, 1]`; none unless all are in `[0, 1]`.
///
/// # Source
///
/// Brier (1950), doi:10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2, for one of the two classes; agrees with
/// `sklearn.metrics.brier_score_loss`.
pub fn brier(probabilities: &[f64], targets: &[bool], weights: Option<&[f64]>) -> Option<f64> {
    let rows = rows_of(probabilities, targets, weights)?;
    if !all_probabilities(probabilities) {
        return None;
    }
    rows.mean(|row| Some((probabilities[row] - f64::from(targets[row])).powi(2)))
}

/// Expected calibration error over bins of nearly equal weight, in `[0, 1]`; see [`Ranking::calibration_error`].
pub fn calibration_error(
    probabilities: &[f64],
    targets: &[bool],
    bins: usize,
    weights: Option<&[f64]>,
) -> Option<f64> {
    Ranking::of(probabilities)?.calibration_error(probabilities, targets, bins, weights)
}

fn rows_of<'a>(scores: &[f64], targets: &[bool], weights: Option<&'a [f64]>) -> Option<Rows<'a>> {
    if scores.len() == targets.len() { Rows::new(targets.len(), weights) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(scores: &[f64], targets: &[bool], expected: [Option<f64>; 4]) {
        let metrics = [accuracy, precision, recall, f1];
        assert_eq!(
            metrics.map(|metric| metric(scores, targets, 0.5, None)),
            expected,
            "{scores:?} {targets:?}"
        );
    }

    #[test]
    fn what_has_no_denominator_is_undefined() {
        check(&[0.5, 0.4], &[true, false], [Some(1.0); 4]);
        check(&[0.1, 0.2], &[true, false], [Some(0.5), None, Some(0.0), Some(0.0)]);
        check(&[0.9, 0.2], &[false, false], [Some(0.5), Some(0.0), None, Some(0.0)]);
        check(&[0.1, 0.2], &[false, false], [Some(1.0), None, None, None]);
        check(&[], &[], [None; 4]);
        check(&[0.5], &[true, false], [None; 4]);
        check(&[f64::NAN, 0.1], &[true, false], [None; 4]);
    }

    #[test]
    fn sure_mistakes_are_finite_and_no_probability_is_refused() {
        let worst = log_loss(&[0.0], &[true], None).unwrap();
        assert!((worst - 36.043_653_389_117_15).abs() < 1e-9, "{worst}");
        assert!(log_loss(&[1.0], &[true], None).unwrap() < 1e-15);
        assert_eq!(brier(&[1.0, 0.0], &[false, true], None), Some(1.0));
        for metric in [log_loss, brier] {
            assert_eq!(metric(&[1.1], &[true], None), None);
            assert_eq!(metric(&[f64::NAN], &[true], None), None);
            assert_eq!(metric(&[0.5], &[true], Some(&[0.0])), None, "no weight at all");
            assert_eq!(metric(&[0.5], &[true], Some(&[-1.0])), None);
            assert_eq!(metric(&[0.5], &[true], Some(&[1.0, 1.0])), None);
        }
    }
}
