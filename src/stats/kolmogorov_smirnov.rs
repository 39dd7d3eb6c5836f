//! The two-sample Kolmogorov–Smirnov statistic and its two p-values.

use super::error::StatError;
use super::kolmogorov_distribution::survival;
use super::tail::probability;
use super::wasserstein::cumulative_gaps;

/// Largest product of the sample sizes for which [`ks_p_value_exact`] is computed.
pub const EXACT_PAIRS: u64 = 10_000_000;

/// Largest difference of two empirical distribution functions, read at the edges of cells.
///
/// # Arguments
///
/// * `reference`, `current`: observations per cell, shape `[n_cells]`, cells in ascending order.
///
/// # Returns
///
/// A value in `[0, 1]`: at most the statistic of the raw values, under it by no more than the mass of a cell, and equal
/// to it when each cell holds one distinct value.
///
/// # Errors
///
/// * [`StatError::BinMismatch`] if the shapes differ.
/// * [`StatError::TooFewObservations`] if either side has no observations.
///
/// # Source
///
/// Smirnov (1948), doi:10.1214/aoms/1177730256.
pub fn ks_statistic_from_cells(reference: &[u64], current: &[u64]) -> Result<f64, StatError> {
    Ok(cumulative_gaps(reference, current)?.fold(0.0, |largest, gap| gap.abs().max(largest)).min(1.0))
}

/// Largest difference of the empirical distribution functions of two sorted samples.
///
/// # Arguments
///
/// * `a`, `b`: values in ascending order; infinities are values like others.
///
/// # Returns
///
/// A value in `[0, 1]`.
///
/// # Errors
///
/// * [`StatError::TooFewObservations`] if a sample is empty.
/// * [`StatError::Unsorted`] if a sample is not in ascending order or holds NaN.
///
/// # Source
///
/// Smirnov (1948), doi:10.1214/aoms/1177730256. Agrees with the statistic of `scipy.stats.ks_2samp`.
pub fn ks_statistic_sorted(a: &[f64], b: &[f64]) -> Result<f64, StatError> {
    if a.is_empty() || b.is_empty() {
        return Err(StatError::TooFewObservations { needed: 1, got: 0 });
    }
    for sample in [a, b] {
        // A single NaN is "sorted".
        if sample[0].is_nan() || !sample.is_sorted() {
            return Err(StatError::Unsorted("values"));
        }
    }
    let (mut in_a, mut in_b, mut largest) = (0, 0, 0.0_f64);
    while in_a < a.len() && in_b < b.len() {
        let next = a[in_a].min(b[in_b]);
        while a.get(in_a).is_some_and(|&x| x <= next) {
            in_a += 1;
        }
        while b.get(in_b).is_some_and(|&y| y <= next) {
            in_b += 1;
        }
        largest = largest.max((in_a as f64 / a.len() as f64 - in_b as f64 / b.len() as f64).abs());
    }
    Ok(largest)
}

/// Exact probability of a two-sided statistic of at least `d` when both samples have one continuous source.
///
/// The orders in which `n + m` values can fall are paths on a lattice; the share of them that leaves the band
/// `|x/n − y/m| < d` is followed from corner to corner as a probability, all terms positive, so that 1e-300 comes out
/// as 1e-300. With ties it errs on the safe side.
///
/// # Arguments
///
/// * `d`: the statistic. Between two attainable values the larger one counts, which is what "at least `d`" means.
/// * `n`, `m`: sizes of the two samples, in either order.
///
/// # Returns
///
/// A probability in `[0, 1]`; 1 at once where `d` is 0 or NaN.
///
/// # Errors
///
/// * [`StatError::TooFewObservations`] if a size is 0.
/// * [`StatError::TooManyPairs`] past [`EXACT_PAIRS`].
///
/// # Source
///
/// Hodges (1958), doi:10.1007/BF02589501, in the stable form of Viehmann (2021), arXiv:2102.08037. Agrees with
/// `scipy.stats.ks_2samp(method="exact")`.
pub fn ks_p_value_exact(d: f64, n: u64, m: u64) -> Result<f64, StatError> {
    let pairs = u128::from(n) * u128::from(m);
    if pairs == 0 {
        return Err(StatError::TooFewObservations { needed: 1, got: 0 });
    }
    if pairs > u128::from(EXACT_PAIRS) {
        return Err(StatError::TooManyPairs { limit: EXACT_PAIRS, got: pairs });
    }
    if d.is_nan() || d <= 0.0 {
        return Ok(1.0);
    }
    let (rows, columns) = (n.max(m), n.min(m));
    let divisor = greatest_common_divisor(rows, columns);
    let (row_step, column_step) = (columns / divisor, rows / divisor);
    // Attainable statistics are multiples of 1 / lcm. The slack undoes the rounding of `d` itself.
    let lattice = (rows * row_step) as f64;
    let height = (d.min(1.0) * lattice - 1e-6).ceil().max(1.0);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "in 1..=10^7 by the checks above"
    )]
    let height = height as u64;
    Ok(probability(share_of_paths_outside(rows, columns, row_step, column_step, height)))
}

/// Share of the lattice paths from `(0, 0)` to `(rows, columns)` that touch `|x row_step − y column_step| ≥ height`.
#[expect(clippy::cast_possible_truncation, reason = "at most 10^7 columns")]
fn share_of_paths_outside(rows: u64, columns: u64, row_step: u64, column_step: u64, height: u64) -> f64 {
    // outside[y]: the share for the paths to (x, y). Points not yet reached by the band are outside: 1.
    let mut outside = vec![1.0; columns as usize + 1];
    let mut first = 0;
    for x in 0..=rows {
        let centre = x * row_step;
        let from = if centre < height { 0 } else { (centre - height) / column_step + 1 };
        let until = ((centre + height - 1) / column_step).min(columns);
        // Points that the band has left behind are outside again.
        for left in first..from.min(columns + 1) {
            outside[left as usize] = 1.0;
        }
        first = from;
        for y in from..=until {
            let at = y as usize;
            outside[at] = match (x, y) {
                (0, 0) => 0.0,
                (0, _) => outside[at - 1],
                (_, 0) => outside[at],
                _ => (outside[at] * x as f64 + outside[at - 1] * y as f64) / (x + y) as f64,
            };
        }
    }
    outside[columns as usize]
}

/// Euclid's algorithm; `a` and `b` are positive.
fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

/// Approximate probability of a two-sided statistic of at least `d`: the one-sample law at `round(nm / (n + m))`.
///
/// # Arguments
///
/// * `d`: the statistic.
/// * `n`, `m`: sizes of the two samples, in either order, of any magnitude.
///
/// # Returns
///
/// A probability in `[0, 1]`: 1 at once where `d` is 0 or NaN or a sample is empty, and 0 at `d = 1`, which the
/// one-sample law cannot reach (small samples have [`ks_p_value_exact`]).
///
/// # Source
///
/// Simard and L'Ecuyer (2011), doi:10.18637/jss.v039.i11. Agrees with `scipy.stats.ks_2samp(method="asymp")`; past
/// samples of 10^6 in the far tail it is closer to the law than scipy, which approximates there.
pub fn ks_p_value_asymptotic(d: f64, n: u64, m: u64) -> f64 {
    if n == 0 || m == 0 || d.is_nan() || d <= 0.0 {
        return 1.0;
    }
    let (n, m) = (n as f64, m as f64);
    survival(d, (n * (m / (n + m))).round_ties_even().max(1.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::golden::{self, Tails, assert_distance, assert_p_value, histogram_pair};
    use super::*;

    #[test]
    fn statistics_and_p_values_of_samples_are_those_of_scipy() {
        let (mut samples, mut exact, mut asymptotic) = (0, 0, 0);
        for (name, case) in golden::numeric() {
            let statistic = case.ks_asymp.statistic;
            if let (Some(a), Some(b)) = (&case.reference, &case.current) {
                assert_distance(ks_statistic_sorted(a, b).unwrap(), statistic, &name);
                samples += 1;
            }
            if let Some(expected) = case.ks_asymp.pvalue {
                assert_p_value(ks_p_value_asymptotic(statistic, case.n_ref, case.n_cur), expected, &name);
                asymptotic += 1;
            }
            if let Some(expected) = case.ks_exact {
                // From the statistic that carries the rounding of a difference of two ratios.
                let p = ks_p_value_exact(statistic, case.n_ref, case.n_cur).unwrap();
                assert_p_value(p, expected.pvalue.unwrap(), &name);
                exact += 1;
            }
        }
        assert!(samples >= 30 && exact > 45 && asymptotic > 45, "{samples}, {exact}, {asymptotic} cases");
    }

    #[test]
    fn exact_p_values_are_those_of_scipy() {
        let cases = Tails::load().ks_exact;
        assert!(cases.len() > 300, "{} cases", cases.len());
        for (d, n, m, expected) in cases {
            let what = format!("d = {d}, n = {n}, m = {m}");
            assert_p_value(ks_p_value_exact(d, n, m).unwrap(), expected, &what);
            assert_p_value(ks_p_value_exact(d, m, n).unwrap(), expected, &what);
        }
    }

    #[test]
    fn asymptotic_p_values_are_those_of_scipy() {
        let cases = Tails::load().ks_asymp;
        assert!(cases.len() > 70, "{} cases", cases.len());
        for (d, n, m, expected) in cases {
            assert_p_value(
                ks_p_value_asymptotic(d, n, m),
                expected,
                format_args!("d = {d}, n = {n}, m = {m}"),
            );
        }
    }

    #[test]
    fn no_distance_is_no_evidence_at_once() {
        for d in [0.0, -0.0, f64::NAN] {
            assert_distance(ks_p_value_asymptotic(d, u64::MAX, u64::MAX), 1.0, d);
            assert_distance(ks_p_value_exact(d, 3000, 3000).unwrap(), 1.0, d);
        }
    }

    #[test]
    fn refuses_what_has_no_answer() {
        let too_few = StatError::TooFewObservations { needed: 1, got: 0 };
        assert_eq!(ks_p_value_exact(0.5, 0, 3), Err(too_few.clone()));
        let refusal = StatError::TooManyPairs { limit: EXACT_PAIRS, got: 10_000_001 };
        assert_eq!(ks_p_value_exact(0.5, 10_000_001, 1), Err(refusal));
        assert_eq!(ks_statistic_sorted(&[], &[1.0]), Err(too_few.clone()));
        assert_eq!(ks_statistic_sorted(&[f64::NAN], &[1.0]), Err(StatError::Unsorted("values")));
        assert_eq!(ks_statistic_sorted(&[1.0], &[2.0, 1.0]), Err(StatError::Unsorted("values")));
        assert_eq!(ks_statistic_from_cells(&[0], &[1]), Err(too_few));
        assert_eq!(
            ks_statistic_from_cells(&[1], &[]),
            Err(StatError::BinMismatch { reference: 1, current: 0 })
        );
    }

    proptest! {
        #[test]
        fn cells_of_one_value_give_the_statistic_of_the_sample(
            a in prop::collection::vec(0..12_u8, 1..80), b in prop::collection::vec(0..12_u8, 1..80)
        ) {
            let count = |values: &[u8]| {
                let mut counts = vec![0_u64; 12];
                for &value in values {
                    counts[usize::from(value)] += 1;
                }
                counts
            };
            let sorted = |values: &[u8]| {
                let mut values: Vec<f64> = values.iter().map(|&value| f64::from(value)).collect();
                values.sort_by(f64::total_cmp);
                values
            };
            let cells = ks_statistic_from_cells(&count(&a), &count(&b)).unwrap();
            let raw = ks_statistic_sorted(&sorted(&a), &sorted(&b)).unwrap();
            prop_assert!((cells - raw).abs() < 1e-12);
        }

        #[test]
        fn is_in_range_symmetric_and_zero_on_itself((a, b) in histogram_pair()) {
            let d = ks_statistic_from_cells(&a, &b).unwrap();
            prop_assert!((0.0..=1.0).contains(&d));
            prop_assert!((d - ks_statistic_from_cells(&b, &a).unwrap()).abs() < 1e-15);
            prop_assert!(ks_statistic_from_cells(&a, &a).unwrap() == 0.0);
            let (reversed_a, reversed_b): (Vec<_>, Vec<_>) = a.iter().copied().zip(b.iter().copied()).rev().unzip();
            prop_assert!((d - ks_statistic_from_cells(&reversed_a, &reversed_b).unwrap()).abs() < 1e-12);
        }

        #[test]
        fn p_values_are_probabilities_that_fall_with_the_statistic(
            d in 0.0..1.0_f64, step in 0.0..0.5_f64, n in 1..400_u64, m in 1..400_u64
        ) {
            let exact = |d| ks_p_value_exact(d, n, m).unwrap();
            prop_assert!(exact(d + step) <= exact(d) && (0.0..=1.0).contains(&exact(d)));
            let asymptotic = |d| ks_p_value_asymptotic(d, n, m);
            prop_assert!(asymptotic(d + step) <= asymptotic(d) * (1.0 + 1e-5));
            prop_assert!((0.0..=1.0).contains(&asymptotic(d)));
        }

        #[test]
        fn the_asymptotic_p_value_takes_any_number(d in any::<f64>(), n in any::<u64>(), m in any::<u64>()) {
            prop_assert!((0.0..=1.0).contains(&ks_p_value_asymptotic(d, n, m)));
            prop_assert!((0.0..=1.0).contains(&ks_p_value_asymptotic(d.abs().fract() * 1e-8, n, m)));
        }
    }
}
