//! Metrics of a regression: a predicted number per row against the number that came true.
//!
//! [`super`] has the conventions on weights and on what is undefined.

use super::{Rows, all_finite};

/// Mean absolute error, in the unit of the target.
pub fn mae(predictions: &[f64], targets: &[f64], weights: Option<&[f64]>) -> Option<f64> {
    rows_of(predictions, targets, weights)?.mean(|row| Some((predictions[row] - targets[row]).abs()))
}

/// Root of the mean squared error, in the unit of the target.
pub fn rmse(predictions: &[f64], targets: &[f64], weights: Option<&[f64]>) -> Option<f64> {
    mse(predictions, targets, weights).map(f64::sqrt)
}

/// Mean squared error.
fn mse(predictions: &[f64], targets: &[f64], weights: Option<&[f64]>) -> Option<f64> {
    rows_of(predictions, targets, weights)?.mean(|row| Some((predictions[row] - targets[row]).powi(2)))
}

/// Mean absolute error as a share of the target's size; 0.1 is ten percent.
///
/// Rows whose target is 0 have no such share and are left out; none where all are. Elsewhere it agrees with
/// `sklearn.metrics.mean_absolute_percentage_error`, which puts 2.2e-16 in place of 0.
pub fn mape(predictions: &[f64], targets: &[f64], weights: Option<&[f64]>) -> Option<f64> {
    rows_of(predictions, targets, weights)?.mean(|row| {
        let target = targets[row];
        (target.abs() > 0.0).then(|| ((predictions[row] - target) / target).abs())
    })
}

/// Share of the target's variance that predictions explain, `1 − Σ w (y − ŷ)² / Σ w (y − ȳ)²`; at most 1, below 0 where
/// the mean would have predicted better.
///
/// None where the target does not vary; `sklearn.metrics.r2_score`, with which it agrees elsewhere, then says 0 or 1.
pub fn r2(predictions: &[f64], targets: &[f64], weights: Option<&[f64]>) -> Option<f64> {
    let rows = rows_of(predictions, targets, weights)?;
    let mean = rows.mean(|row| Some(targets[row]))?;
    let spread = rows.mean(|row| Some((targets[row] - mean).powi(2)))?;
    let mut seen = (0..targets.len()).filter(|&row| rows.weight(row) > 0.0).map(|row| targets[row]);
    let first = seen.next()?;
    // Rounding of the mean leaves a spread that is not 0 where all targets are the same.
    if seen.all(|target| (target - first).abs() <= 0.0) {
        return None;
    }
    super::finite(1.0 - mse(predictions, targets, weights)? / spread)
}

/// Mean pinball loss of predicted `quantile`s, `max(q (y − ŷ), (q − 1) (y − ŷ))`; none unless `quantile` is in `[0, 1]`.
///
/// # Source
///
/// Koenker and Bassett (1978), doi:10.2307/1913643; agrees with `sklearn.metrics.mean_pinball_loss`.
pub fn pinball(predictions: &[f64], targets: &[f64], quantile: f64, weights: Option<&[f64]>) -> Option<f64> {
    let rows = rows_of(predictions, targets, weights)?;
    if !(0.0..=1.0).contains(&quantile) {
        return None;
    }
    rows.mean(|row| {
        let above = targets[row] - predictions[row];
        Some((quantile * above).max((quantile - 1.0) * above))
    })
}

/// Mean Poisson deviance, `2 (y ln(y / ŷ) − y + ŷ)`; none unless all targets are at least 0 and all predictions above 0.
///
/// # Source
///
/// `McCullagh` and Nelder (1989), *Generalized Linear Models*, 2.3; agrees with `sklearn.metrics.mean_poisson_deviance`.
pub fn poisson_deviance(predictions: &[f64], targets: &[f64], weights: Option<&[f64]>) -> Option<f64> {
    let rows = rows_of(predictions, targets, weights)?;
    if !(targets.iter().all(|&target| target >= 0.0)
        && predictions.iter().all(|&prediction| prediction > 0.0))
    {
        return None;
    }
    rows.mean(|row| {
        let (said, came) = (predictions[row], targets[row]);
        let entropy = if came > 0.0 { came * (came / said).ln() } else { 0.0 };
        Some((2.0 * (entropy - came + said)).max(0.0))
    })
}

fn rows_of<'a>(predictions: &[f64], targets: &[f64], weights: Option<&'a [f64]>) -> Option<Rows<'a>> {
    let usable = predictions.len() == targets.len() && all_finite(predictions) && all_finite(targets);
    if usable { Rows::new(targets.len(), weights) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Metric = fn(&[f64], &[f64], Option<&[f64]>) -> Option<f64>;

    const METRICS: [Metric; 5] = [mae, rmse, mape, r2, poisson_deviance];

    #[track_caller]
    fn check(metric: Metric, predictions: &[f64], targets: &[f64], expected: Option<f64>) {
        let actual = metric(predictions, targets, None);
        let close = match (actual, expected) {
            (Some(actual), Some(expected)) => (actual - expected).abs() < 1e-12,
            (actual, expected) => actual == expected,
        };
        assert!(close, "{actual:?}, expected {expected:?} of {predictions:?} and {targets:?}");
    }

    #[test]
    fn undefined_is_none() {
        check(mape, &[1.0, 3.0], &[0.0, 2.0], Some(0.5));
        check(mape, &[1.0], &[0.0], None);
        check(r2, &[1.0, 2.0], &[1.0, 2.0], Some(1.0));
        check(r2, &[1.0, 2.0, 3.0], &[0.1, 0.1, 0.1], None);
        check(r2, &[1.0], &[1.0], None);
        check(poisson_deviance, &[2.0], &[0.0], Some(4.0));
        check(poisson_deviance, &[0.0], &[0.0], None);
        check(poisson_deviance, &[1.0], &[-1.0], None);
        for metric in METRICS {
            check(metric, &[], &[], None);
            check(metric, &[1.0], &[1.0, 2.0], None);
            check(metric, &[f64::NAN], &[1.0], None);
            check(metric, &[1.0], &[f64::INFINITY], None);
        }
        check(rmse, &[1e200], &[-1e200], None);
        assert_eq!(pinball(&[1.0], &[2.0], 1.5, None), None);
        assert_eq!(pinball(&[1.0], &[2.0], f64::NAN, None), None);
        assert_eq!(pinball(&[1.0, 2.0], &[2.0, 1.0], 0.25, None), Some(0.5));
    }
}
