//! The two-sample chi-square test of homogeneity on binned counts.

use super::divergence::check_bins;
use super::error::StatError;
use super::tail::chi2_sf;

/// Expected count under which a bin is pooled.
const MIN_EXPECTED: f64 = 5.0;

/// What is done with bins whose expected count is too small for the chi-squared law.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pooling {
    /// Bins whose expected count is under 5 on either side are merged into one; if that one is still under 5, it is
    /// merged with the bin that has the fewest observations. The rule looks at sizes only, never at the order of
    /// bins, so that it also serves categories.
    #[default]
    ExpectedUnderFive,
    /// Every bin that holds an observation stays as it is.
    Off,
}

/// Outcome of [`chi_square`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChiSquare {
    /// Pearson's statistic, without continuity correction, in `[0, ∞)`.
    pub statistic: f64,
    /// Degrees of freedom: the bins that were compared, after pooling, less one.
    pub dof: u64,
    /// Probability of a statistic at least as large when both sides have one source, in `[0, 1]`.
    pub p_value: f64,
}

/// Tests whether two histograms have one source.
///
/// # Arguments
///
/// * `reference`, `current`: observations per bin, shape `[n_bins]`, the same bins in the same order. Bins empty on
///   both sides are left out.
/// * `pooling`: what is done with small bins.
///
/// # Returns
///
/// Statistic, degrees of freedom and p-value; 0, 0 and 1 when fewer than two bins remain.
///
/// # Errors
///
/// * [`StatError::BinMismatch`] if the shapes differ.
/// * [`StatError::TooFewObservations`] if either side has no observations.
///
/// # Source
///
/// Pearson (1900), doi:10.1080/14786440009463897; the limit of 5: Cochran (1952), doi:10.1214/aoms/1177729380.
/// With [`Pooling::Off`] it agrees with `scipy.stats.chi2_contingency(correction=False)`.
pub fn chi_square(reference: &[u64], current: &[u64], pooling: Pooling) -> Result<ChiSquare, StatError> {
    check_bins(reference.len(), current.len())?;
    let mut bins: Vec<(u128, u128)> = reference
        .iter()
        .zip(current)
        .map(|(&reference, &current)| (u128::from(reference), u128::from(current)))
        .filter(|&(reference, current)| reference + current > 0)
        .collect();
    let (n_reference, n_current) = bins.iter().fold((0, 0), |total, bin| (total.0 + bin.0, total.1 + bin.1));
    if n_reference == 0 || n_current == 0 {
        return Err(StatError::TooFewObservations { needed: 1, got: 0 });
    }
    let (n_reference, n_current) = (n_reference as f64, n_current as f64);
    if pooling == Pooling::ExpectedUnderFive {
        bins = pooled(bins, n_reference.min(n_current) / (n_reference + n_current));
    }
    let dof = bins.len().saturating_sub(1);
    if dof == 0 {
        return Ok(ChiSquare { statistic: 0.0, dof: 0, p_value: 1.0 });
    }
    let total = n_reference + n_current;
    let statistic = bins
        .iter()
        .map(|&(reference, current)| {
            let (reference, current) = (reference as f64, current as f64);
            let expected = (reference + current) * (n_reference / total);
            let expected_current = (reference + current) * (n_current / total);
            // One deviation serves both sides; written as a cross product it vanishes when the shares agree.
            let deviation = reference * (n_current / total) - current * (n_reference / total);
            deviation * (deviation / expected) + deviation * (deviation / expected_current)
        })
        .sum();
    Ok(ChiSquare { statistic, dof: dof as u64, p_value: chi2_sf(statistic, dof as f64) })
}

/// Applies [`Pooling::ExpectedUnderFive`], where the smaller side holds `smaller_share` of all observations.
fn pooled(bins: Vec<(u128, u128)>, smaller_share: f64) -> Vec<(u128, u128)> {
    let small = |bin: &(u128, u128)| (bin.0 + bin.1) as f64 * smaller_share < MIN_EXPECTED;
    let (few, mut enough): (Vec<_>, Vec<_>) = bins.into_iter().partition(small);
    if few.is_empty() {
        return enough;
    }
    let mut rest = few.iter().fold((0, 0), |sum, bin| (sum.0 + bin.0, sum.1 + bin.1));
    if small(&rest) {
        // Ties are broken by content, so that the order of the bins cannot matter.
        let fewest =
            enough.iter().enumerate().min_by_key(|(_, bin)| (bin.0 + bin.1, bin.0)).map(|(at, _)| at);
        if let Some(at) = fewest {
            let taken = enough.swap_remove(at);
            rest = (rest.0 + taken.0, rest.1 + taken.1);
        }
    }
    enough.push(rest);
    enough
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::golden::{self, assert_distance, assert_p_value, histogram_pair, rotated};
    use super::*;

    #[test]
    fn without_pooling_it_is_scipys() {
        let cases = golden::categorical();
        assert!(cases.len() > 12, "{} cases", cases.len());
        for (name, case) in cases {
            let actual = chi_square(&case.ref_counts, &case.cur_counts, Pooling::Off).unwrap();
            assert_eq!(actual.dof, case.chi2.dof, "{name}");
            assert_distance(actual.statistic, case.chi2.statistic, &name);
            if case.chi2.pvalue > 0.0 {
                assert_p_value(actual.p_value, case.chi2.pvalue, &name);
            }
        }
    }

    /// Pooling `before` must give what the bins of `after` give as they are.
    #[track_caller]
    fn check(before: [&[u64]; 2], after: [&[u64]; 2]) {
        let pooled = chi_square(before[0], before[1], Pooling::ExpectedUnderFive).unwrap();
        let by_hand = chi_square(after[0], after[1], Pooling::Off).unwrap();
        assert_eq!(pooled.dof, by_hand.dof);
        assert_distance(pooled.statistic, by_hand.statistic, "statistic");
    }

    #[test]
    fn small_bins_are_pooled_first() {
        // Nothing is small.
        check([&[50, 50], &[40, 60]], [&[50, 50], &[40, 60]]);
        // Three small bins make one that is large enough.
        check([&[80, 4, 4, 4], &[70, 4, 4, 4]], [&[80, 12], &[70, 12]]);
        // One small bin joins the smallest of the others, wherever it stands.
        check([&[1, 80, 30], &[0, 70, 40]], [&[80, 31], &[70, 40]]);
        // An unequal split: it is the smaller side that decides.
        check([&[900, 50, 100], &[90, 1, 9]], [&[900, 150], &[90, 10]]);
        // Everything is small: nothing is left to compare.
        check([&[1, 2], &[2, 1]], [&[3], &[3]]);
    }

    #[test]
    fn one_new_category_is_not_infinite() {
        let actual = chi_square(&[1000, 1000, 0], &[1000, 1000, 1], Pooling::default()).unwrap();
        assert_eq!(actual.dof, 1);
        assert!(actual.p_value > 0.9);
    }

    #[test]
    fn refuses_what_cannot_be_compared() {
        let off = Pooling::Off;
        assert_eq!(chi_square(&[1], &[1, 2], off), Err(StatError::BinMismatch { reference: 1, current: 2 }));
        assert_eq!(chi_square(&[0], &[1], off), Err(StatError::TooFewObservations { needed: 1, got: 0 }));
    }

    proptest! {
        #[test]
        fn never_depends_on_order_and_never_breaks((a, b) in histogram_pair(), by in 0..40_usize) {
            for pooling in [Pooling::Off, Pooling::ExpectedUnderFive] {
                let there = chi_square(&a, &b, pooling).unwrap();
                prop_assert!((0.0..=1.0).contains(&there.p_value));
                prop_assert!((0.0..=f64::MAX).contains(&there.statistic));
                for other in [
                    chi_square(&b, &a, pooling).unwrap(),
                    chi_square(&rotated(&a, by), &rotated(&b, by), pooling).unwrap(),
                ] {
                    prop_assert_eq!(there.dof, other.dof);
                    prop_assert!((there.statistic - other.statistic).abs() <= 1e-9 * there.statistic + 1e-9);
                }
                prop_assert!(chi_square(&a, &a, pooling).unwrap().statistic < 1e-12);
            }
        }
    }
}
