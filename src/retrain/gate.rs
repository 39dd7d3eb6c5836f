//! When a trained model may replace the one in production: paired losses on the same held-out rows.
//!
//! Linear first: the linear model is the candidate unless the deep one beats it, and the candidate must beat the
//! version in production. "Beats" means that the 95 % interval of the mean loss difference lies below zero. The
//! loss is the log loss for a binary task and the squared error for a regression, the ones that are trained on.

use ndarray::ArrayView2;
use serde::{Deserialize, Serialize};

use super::artifact::ModelKind;
use super::spec::Objective;
use crate::stats::resample::interval_at;
pub use crate::stats::resample::{block_length, interval};

/// Resamples behind an interval.
const RESAMPLES: usize = 2_000;

/// Probabilities are kept this far from 0 and 1, so that one sure mistake does not decide alone.
const CLIP: f64 = 1e-6;

/// Loss of each row.
///
/// # Arguments
///
/// * `predictions`: shape `[rows, outputs]`, as [`super::Artifact::predict`] gives them.
/// * `targets`: the number, 0 or 1, or the index of the class.
pub fn losses(objective: Objective, predictions: ArrayView2<'_, f64>, targets: &[f64]) -> Vec<f64> {
    let rows = predictions.rows().into_iter().zip(targets);
    rows.map(|(row, &target)| {
        let prediction = row.first().copied().unwrap_or_default();
        let error = target - prediction;
        match objective {
            Objective::LogLoss if row.len() <= 1 => {
                let p = prediction.clamp(CLIP, 1.0 - CLIP);
                -(target * p.ln() + (1.0 - target) * (1.0 - p).ln())
            }
            Objective::LogLoss => {
                let of_class = row.iter().enumerate().find(|(class, _)| (*class as f64 - target).abs() < 0.5);
                -of_class.map_or(0.0, |(_, p)| *p).clamp(CLIP, 1.0).ln()
            }
            Objective::Mse => error.powi(2),
            Objective::Huber { delta } if error.abs() <= delta => 0.5 * error.powi(2),
            Objective::Huber { delta } => delta * (error.abs() - 0.5 * delta),
            Objective::Poisson => {
                let expected = prediction.max(CLIP);
                let surprise = if target > 0.0 { target * (target / expected).ln() } else { 0.0 };
                2.0 * (surprise - target + expected)
            }
            Objective::Quantile { q } => (q * error).max((q - 1.0) * error),
        }
    })
    .collect()
}

/// Two models on the same rows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Rows compared.
    pub n: usize,
    /// Mean loss of the challenger.
    pub challenger: f64,
    /// Mean loss of the incumbent.
    pub incumbent: f64,
    /// Lower end of the interval of `challenger − incumbent`.
    pub lower: f64,
    /// Upper end.
    pub upper: f64,
    /// Length of the resampled blocks, in rows.
    pub block: usize,
    /// Share of the resamples that lie in the interval.
    #[serde(default = "usual_level")]
    pub level: f64,
}

/// Confidence of an interval where nothing else is said.
pub fn usual_level() -> f64 {
    0.95
}

impl Comparison {
    /// Whether the challenger is better beyond chance.
    pub fn is_better(&self) -> bool {
        self.upper < 0.0
    }

    /// `0.41 against 0.55, difference -0.14 (95 % interval -0.17 to -0.11) on 900 rows`.
    pub(super) fn numbers(&self, objective: Objective) -> String {
        format!(
            "{} {:.4} against {:.4}, difference {:+.4} ({} % interval {:+.4} to {:+.4}) on {} held-out rows",
            objective.name(),
            self.challenger,
            self.incumbent,
            self.challenger - self.incumbent,
            Percent(self.level),
            self.lower,
            self.upper,
            self.n
        )
    }
}

/// Compares two models by their losses on the same rows, in the order of time.
///
/// # Arguments
///
/// * `challenger`, `incumbent`: loss per row, shape `[n]`, same rows in the same order.
/// * `level`: share of the resamples that lie in the interval, such as 0.95.
/// * `seed`: the same seed gives the same interval.
///
/// # Returns
///
/// Means and the percentile interval of the mean difference. Rows next to each other in time err together,
/// so whole blocks of rows are resampled; with independent rows the blocks have length 1 and this is the plain
/// paired bootstrap. With no rows the interval is infinite, so nothing is ever better.
///
/// # Source
///
/// Circular block bootstrap: Politis and Romano (1992). Block length: Politis and White (2004),
/// doi:10.1081/ETC-120028836, with the correction of Patton, Politis and White (2009),
/// doi:10.1080/07474930802459016.
pub fn compare(challenger: &[f64], incumbent: &[f64], level: f64, seed: u64) -> Comparison {
    let differences: Vec<f64> = challenger.iter().zip(incumbent).map(|(new, old)| new - old).collect();
    let n = differences.len();
    let block = block_length(&differences);
    let (lower, upper) = interval_at(level, n, block, RESAMPLES, seed, |indices| {
        indices.iter().map(|&row| differences[row]).sum::<f64>() / n as f64
    })
    .unwrap_or((f64::NEG_INFINITY, f64::INFINITY));
    Comparison { n, challenger: mean(challenger), incumbent: mean(incumbent), lower, upper, block, level }
}

/// A share in per cent, with as many digits as it has.
struct Percent(f64);

impl std::fmt::Display for Percent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = format!("{:.3}", 100.0 * self.0);
        f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

fn mean(values: &[f64]) -> f64 {
    if values.is_empty() { f64::NAN } else { values.iter().sum::<f64>() / values.len() as f64 }
}

/// What the gate says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GateDecision {
    /// The candidate: the simple model unless the deep one beats it.
    pub winner: ModelKind,
    /// Whether the candidate becomes the version in production.
    pub accepted: bool,
    /// Deep against the simple model; none where no deep one was trained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deep_against_linear: Option<Comparison>,
    /// The candidate against the version in production, where there is one.
    pub against_production: Option<Comparison>,
    /// The decision in a sentence, with the numbers.
    pub reason: String,
}

/// Decides over a run.
///
/// # Arguments
///
/// * `simple`, `deep`, `production`: loss per held-out row, same rows in the same order. The simple model is the linear
///   one or the tree; there is no deep one where it was good enough.
/// * `production_version`: the number of the version in production, for the sentence.
pub fn decide(
    objective: Objective,
    simple: (ModelKind, &[f64]),
    deep: Option<&[f64]>,
    production: Option<(i64, &[f64])>,
    level: f64,
    seed: u64,
) -> GateDecision {
    let (kind, simple) = simple;
    let deep_against_linear = deep.map(|deep| compare(deep, simple, level, seed));
    let (winner, winner_losses, chosen) = match (&deep_against_linear, deep) {
        (Some(comparison), Some(deep)) => {
            let numbers = comparison.numbers(objective);
            if comparison.is_better() {
                (ModelKind::Deep, deep, format!("deep beats {}: {numbers}", kind.as_str()))
            } else {
                (kind, simple, format!("deep does not beat {}: {numbers}", kind.as_str()))
            }
        }
        _ => (kind, simple, format!("{} is good enough by the settings", kind.as_str())),
    };
    let against_production = production
        .map(|(version, losses)| (version, compare(winner_losses, losses, level, seed.wrapping_add(1))));
    let (accepted, verdict) = match &against_production {
        None => (true, format!("no version is in production, so {} is accepted", winner.as_str())),
        Some((version, comparison)) => {
            let word = if comparison.is_better() { "beats" } else { "does not beat" };
            let numbers = comparison.numbers(objective);
            (
                comparison.is_better(),
                format!("{} {word} version {version} in production: {numbers}", winner.as_str()),
            )
        }
    };
    GateDecision {
        winner,
        accepted,
        deep_against_linear,
        against_production: against_production.map(|(_, comparison)| comparison),
        reason: format!("{chosen}; {verdict}"),
    }
}

#[cfg(test)]
mod tests {
    use ndarray::array;
    use proptest::prelude::*;

    use super::*;
    use crate::stats::random::SplitMix64;

    /// Independent numbers in `[-0.5, 0.5)`.
    fn noise(n: usize, seed: u64) -> Vec<f64> {
        let mut random = SplitMix64::new(seed);
        (0..n).map(|_| random.next_u64() as f64 / u64::MAX as f64 - 0.5).collect()
    }

    fn shifted(values: &[f64], by: f64) -> Vec<f64> {
        values.iter().map(|value| value + by).collect()
    }

    #[track_caller]
    fn check(deep_by: f64, production_by: Option<f64>, expected: (ModelKind, bool), sentence: &str) {
        let linear = shifted(&noise(400, 1), 1.0);
        let deep: Vec<f64> = linear.iter().zip(noise(400, 2)).map(|(l, e)| l + deep_by + 0.1 * e).collect();
        let production = production_by.map(|by| shifted(&noise(400, 3), 1.0 + by));
        let decision = decide(
            Objective::LogLoss,
            (ModelKind::Linear, &linear),
            Some(&deep),
            production.as_deref().map(|losses| (3, losses)),
            0.95,
            7,
        );
        assert_eq!((decision.winner, decision.accepted), expected, "{}", decision.reason);
        assert!(decision.reason.contains(sentence), "{}", decision.reason);
    }

    #[test]
    fn linear_stays_unless_deep_beats_it() {
        check(-0.2, None, (ModelKind::Deep, true), "no version is in production, so deep is accepted");
        check(0.0, None, (ModelKind::Linear, true), "deep does not beat linear");
        check(0.2, Some(0.5), (ModelKind::Linear, true), "linear beats version 3 in production");
        check(-0.2, Some(-0.5), (ModelKind::Deep, false), "deep does not beat version 3 in production");
        check(0.0, Some(0.0), (ModelKind::Linear, false), "on 400 held-out rows");
    }

    #[test]
    fn losses_follow_the_task() {
        #[track_caller]
        fn check(
            objective: Objective,
            predictions: &ndarray::Array2<f64>,
            targets: &[f64],
            expected: &[f64],
        ) {
            let found = losses(objective, predictions.view(), targets);
            assert!(
                found.iter().zip(expected).all(|(f, e)| (f - e).abs() < 1e-9),
                "{objective:?}: {found:?}"
            );
        }
        let sure = [0.223_143_551_314_209_7, 13.815_510_557_964_274];
        check(Objective::LogLoss, &array![[0.8], [0.0]], &[1.0, 1.0], &sure);
        check(Objective::LogLoss, &array![[0.8, 0.1, 0.1], [1.0, 0.0, 0.0]], &[0.0, 2.0], &sure);
        let three = array![[3.0], [3.0]];
        check(Objective::Mse, &three, &[1.0, 3.5], &[4.0, 0.25]);
        check(Objective::Huber { delta: 1.0 }, &three, &[1.0, 3.5], &[1.5, 0.125]);
        check(Objective::Quantile { q: 0.9 }, &three, &[1.0, 3.5], &[0.2, 0.45]);
        // sklearn.metrics.mean_poisson_deviance([2], [3]) and ([0], [3]), scikit-learn 1.7.
        check(Objective::Poisson, &three, &[2.0, 0.0], &[0.378_139_567_567_342_47, 6.0]);
    }

    #[test]
    fn no_rows_are_never_better() {
        assert!(!compare(&[], &[], 0.95, 0).is_better());
        assert!(!compare(&[1.0], &[1.0], 0.95, 0).is_better());
    }

    /// First-order autoregression with coefficient 0.9.
    fn dependent(n: usize, seed: u64) -> Vec<f64> {
        let mut last = 0.0;
        noise(n, seed)
            .into_iter()
            .map(|e| {
                last = 0.9 * last + e;
                last
            })
            .collect()
    }

    #[test]
    fn dependent_rows_get_longer_blocks() {
        assert!(block_length(&noise(1000, 4)) <= 3);
        let long = block_length(&dependent(1000, 4));
        assert!((10..=95).contains(&long), "{long}");
    }

    #[test]
    fn the_interval_misses_about_as_often_as_it_says() {
        // Both models are equally good; "better" should be seen in about 2.5 % of the trials.
        let trials = 200;
        let wrong = |make: fn(usize, u64) -> Vec<f64>| {
            (0..trials)
                .filter(|&trial| {
                    let zero = vec![0.0; 500];
                    compare(&make(500, 1000 + trial), &zero, 0.95, trial).is_better()
                })
                .count()
        };
        assert!(wrong(noise) <= 12, "independent rows: {} of {trials}", wrong(noise));
        assert!(wrong(dependent) <= 20, "dependent rows: {} of {trials}", wrong(dependent));
    }

    proptest! {
        #[test]
        fn a_model_never_beats_itself(
            values in prop::collection::vec(-1e6_f64..1e6, 0..80),
            seed in any::<u64>(),
        ) {
            let comparison = compare(&values, &values, 0.95, seed);
            prop_assert!(!comparison.is_better());
        }

        #[test]
        fn the_interval_is_ordered_and_repeatable(
            values in prop::collection::vec(-10.0_f64..10.0, 1..60),
            seed in any::<u64>(),
        ) {
            let zero = vec![0.0; values.len()];
            let first = compare(&values, &zero, 0.95, seed);
            prop_assert!(first.lower <= first.upper);
            prop_assert_eq!(first, compare(&values, &zero, 0.95, seed));
        }
    }
}
