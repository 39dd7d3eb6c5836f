//! Figures with their standard errors.

use std::collections::BTreeMap;

use super::metrics::binary::{self, CALIBRATION_BINS, Confusion};
use super::metrics::multiclass::{self, OneVersusRest};
use super::metrics::{Ranking, regression};
use super::{Estimate, Metric, Pairs};
use crate::stats::resample::{block_length, weights};

/// Resamples behind a standard error, and as many for more than [`MANY`] rows.
const RESAMPLES: (usize, usize) = (200, 100);

/// Rows from which on fewer resamples do: what they cost grows, and what they estimate is small.
const MANY: usize = 10_000;

/// Every figure of `pairs` that is defined, each with its standard error where it has one.
///
/// # Arguments
///
/// * `pairs`: rows in the order of time.
/// * `seed`: the same seed gives the same standard errors.
///
/// # Returns
///
/// The standard error is the standard deviation over circular block resamples of the rows, as neighbours in time err
/// together; absent where half of them or more leave the figure undefined.
///
/// # Source
///
/// Efron (1979), doi:10.1214/aos/1176344552; blocks as in [`crate::stats::resample`].
pub fn estimates(pairs: &Pairs, seed: u64) -> BTreeMap<Metric, Estimate> {
    let scorer = Scorer::new(pairs);
    let mut found: BTreeMap<Metric, Estimate> = pairs
        .metrics()
        .into_iter()
        .filter_map(|metric| {
            Some((metric, Estimate { value: scorer.value(metric, None)?, standard_error: None }))
        })
        .collect();
    let n = pairs.rows();
    if n < 2 || found.is_empty() {
        return found;
    }
    let resamples = if n > MANY { RESAMPLES.1 } else { RESAMPLES.0 };
    let mut drawn: BTreeMap<Metric, Vec<f64>> = BTreeMap::new();
    for times in weights(n, block_length(&pairs.losses()), resamples, seed) {
        for metric in found.keys() {
            if let Some(value) = scorer.value(*metric, Some(&times)) {
                drawn.entry(*metric).or_default().push(value);
            }
        }
    }
    for (metric, estimate) in &mut found {
        estimate.standard_error = drawn
            .get(metric)
            .filter(|values| values.len() * 2 > resamples)
            .and_then(|values| deviation(values));
    }
    found
}

/// The sample standard deviation.
fn deviation(values: &[f64]) -> Option<f64> {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    Some((squares / (count - 1.0)).sqrt()).filter(|deviation| deviation.is_finite())
}

/// Works figures out under many weights, and sorts once.
struct Scorer<'p> {
    pairs: &'p Pairs,
    ranking: Option<Ranking>,
    one_versus_rest: Option<OneVersusRest>,
}

impl<'p> Scorer<'p> {
    fn new(pairs: &'p Pairs) -> Self {
        let (mut ranking, mut one_versus_rest) = (None, None);
        match pairs {
            Pairs::Binary { scores, .. } => ranking = Ranking::of(scores),
            Pairs::Multiclass { scores, graded: true, .. } => {
                one_versus_rest = OneVersusRest::of(scores.view());
            }
            Pairs::Multiclass { .. } | Pairs::Regression { .. } => {}
        }
        Self { pairs, ranking, one_versus_rest }
    }

    fn value(&self, metric: Metric, weights: Option<&[f64]>) -> Option<f64> {
        match self.pairs {
            Pairs::Binary { scores, targets, threshold } => {
                let confusion = || Confusion::at(scores, targets, *threshold, weights);
                let ranking = self.ranking.as_ref();
                match metric {
                    Metric::Accuracy => confusion()?.accuracy(),
                    Metric::Precision => confusion()?.precision(),
                    Metric::Recall => confusion()?.recall(),
                    Metric::F1 => confusion()?.f1(),
                    Metric::RocAuc => ranking?.roc_auc(targets, weights),
                    Metric::PrAuc => ranking?.average_precision(targets, weights),
                    Metric::LogLoss => binary::log_loss(scores, targets, weights),
                    Metric::Brier => binary::brier(scores, targets, weights),
                    Metric::CalibrationError => {
                        ranking?.calibration_error(scores, targets, CALIBRATION_BINS, weights)
                    }
                    _ => None,
                }
            }
            Pairs::Multiclass { scores, targets, .. } => {
                let scores = scores.view();
                match metric {
                    Metric::Accuracy => multiclass::accuracy(scores, targets, weights),
                    Metric::F1 => multiclass::macro_f1(scores, targets, weights),
                    Metric::F1Weighted => multiclass::weighted_f1(scores, targets, weights),
                    Metric::RocAuc => self.one_versus_rest.as_ref()?.roc_auc(targets, weights),
                    Metric::LogLoss => multiclass::log_loss(scores, targets, weights),
                    Metric::Brier => multiclass::brier(scores, targets, weights),
                    Metric::CalibrationError => {
                        multiclass::calibration_error(scores, targets, CALIBRATION_BINS, weights)
                    }
                    _ => None,
                }
            }
            Pairs::Regression { predictions, targets, quantile } => match metric {
                Metric::Mae => regression::mae(predictions, targets, weights),
                Metric::Rmse => regression::rmse(predictions, targets, weights),
                Metric::Mape => regression::mape(predictions, targets, weights),
                Metric::R2 => regression::r2(predictions, targets, weights),
                Metric::Pinball => regression::pinball(predictions, targets, (*quantile)?, weights),
                Metric::PoissonDeviance => regression::poisson_deviance(predictions, targets, weights),
                _ => None,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::random::SplitMix64;

    /// Scores of a calibrated model, and what came true.
    fn calibrated(rows: usize, seed: u64) -> Pairs {
        let mut random = SplitMix64::new(seed);
        let mut uniform = || (random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
        let scores: Vec<f64> = (0..rows).map(|_| uniform()).collect();
        let targets = scores.iter().map(|score| uniform() < *score).collect();
        Pairs::Binary { scores, targets, threshold: 0.5 }
    }

    #[test]
    fn standard_errors_are_the_spread_over_repetitions() {
        let repeated: Vec<BTreeMap<Metric, Estimate>> =
            (0..60).map(|seed| estimates(&calibrated(300, seed), 0)).collect();
        for metric in
            [Metric::Accuracy, Metric::F1, Metric::RocAuc, Metric::PrAuc, Metric::LogLoss, Metric::Brier]
        {
            let values: Vec<f64> = repeated.iter().map(|found| found[&metric].value).collect();
            let spread = deviation(&values).unwrap();
            let errors: Vec<f64> =
                repeated.iter().map(|found| found[&metric].standard_error.unwrap()).collect();
            let mean = errors.iter().sum::<f64>() / errors.len() as f64;
            assert!((0.7..1.4).contains(&(mean / spread)), "{metric:?}: {mean}, spread {spread}");
        }
    }

    #[test]
    fn what_is_undefined_is_left_out() {
        let one = Pairs::Binary { scores: vec![0.3], targets: vec![true], threshold: 0.5 };
        let found = estimates(&one, 0);
        assert!(!found.contains_key(&Metric::RocAuc) && !found.contains_key(&Metric::Precision), "{found:?}");
        assert_eq!(found[&Metric::Accuracy], Estimate { value: 0.0, standard_error: None });
        let none = Pairs::Regression { predictions: vec![], targets: vec![], quantile: None };
        assert!(estimates(&none, 0).is_empty());
        assert_eq!(estimates(&calibrated(50, 1), 9), estimates(&calibrated(50, 1), 9));
    }
}
