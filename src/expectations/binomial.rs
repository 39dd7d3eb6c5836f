//! Exact binomial tails: whether a share is over its limit by more than chance.

use crate::stats::f_sf;

/// Halvings of the interval that holds a limit; after these it is as narrow as numbers are.
const HALVINGS: usize = 100;

/// `P(X ≥ count)` for a binomial variable of `rows` trials that each succeed with probability `share`.
///
/// # Returns
///
/// A probability in `[0, 1]`. It is the p-value against "the share is at most `share`", and it falls under `1 − c`
/// exactly when the lower end of the one-sided Clopper-Pearson interval of confidence `c` is over `share`.
///
/// # Source
///
/// The incomplete beta function, DLMF 8.17.5, as the tail of an F variable; Clopper and Pearson (1934),
/// doi:10.1093/biomet/26.4.404.
pub(super) fn at_least(count: u64, rows: u64, share: f64) -> f64 {
    if count == 0 || share >= 1.0 {
        return 1.0;
    }
    if count > rows || share <= 0.0 {
        return 0.0;
    }
    if count == rows {
        // The power itself: the F variable below would have two degrees of freedom and lose digits.
        return (rows as f64 * share.ln()).exp();
    }
    let (a, b) = (count as f64, (rows - count) as f64 + 1.0);
    f_sf(a / b * (1.0 - share) / share, 2.0 * b, 2.0 * a)
}

/// The greatest share with which no more than `count` of `rows` are still within `confidence`: the upper end of the
/// one-sided Clopper-Pearson interval.
///
/// # Returns
///
/// A share in `(0, 1]`; 1 where `count` is `rows` or there are no rows. With no success it is
/// `1 − (1 − confidence)^(1/rows)`, about 6.9 over the rows at a confidence of 0.999.
///
/// # Source
///
/// Clopper and Pearson (1934), doi:10.1093/biomet/26.4.404. Agrees with `scipy.stats.beta.ppf`.
pub(super) fn upper_limit(count: u64, rows: u64, confidence: f64) -> f64 {
    if count >= rows {
        return 1.0;
    }
    let alpha = 1.0 - confidence;
    if count == 0 {
        return -(alpha.ln() / rows as f64).exp_m1();
    }
    // P(X ≤ count) = alpha, that is P(X ≥ count + 1) = confidence; the tail grows with the share.
    let (mut low, mut high) = (count as f64 / rows as f64, 1.0);
    for _ in 0..HALVINGS {
        let middle = low.midpoint(high);
        if at_least(count + 1, rows, middle) < confidence { low = middle } else { high = middle }
    }
    high
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Exact sums with Python 3 `fractions.Fraction(p)`: `sum(comb(n, i) * p**i * (1 - p)**(n - i) for i in range(k, n + 1))`.
    const TAILS: [(u64, u64, f64, f64); 11] = [
        (1, 10, 0.1, 0.651_321_559_900_000_1),
        (3, 200, 0.01, 0.323_321_305_464_342_96),
        (10, 10, 0.5, 0.000_976_562_5),
        (12, 1000, 0.01, 0.302_649_913_856_895_1),
        (30, 1000, 0.01, 2.059_988_850_971_958_6e-7),
        (5, 20, 0.001, 1.531_135_840_278_395_6e-11),
        (700, 1000, 0.6, 3.149_945_928_472_06e-11),
        (60, 2000, 0.01, 2.834_076_030_362_145_3e-13),
        (999, 1000, 0.99, 0.000_479_244_453_578_919_5),
        (450, 1000, 0.5, 0.999_304_129_202_789),
        (2, 2000, 0.000_01, 0.000_197_257_166_360_336_07),
    ];

    #[test]
    fn tails_are_the_exact_sums() {
        for (count, rows, share, expected) in TAILS {
            let found = at_least(count, rows, share);
            assert!((found - expected).abs() <= 1e-9 * expected, "{count} of {rows} at {share}: {found}");
        }
    }

    proptest! {
        #[test]
        fn the_tail_grows_with_the_share_and_falls_with_the_count(
            rows in 1..5_000_u64, part in 0.0..1.0_f64, share in 0.0..1.0_f64, more in 0.0..0.2_f64,
        ) {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a part of the rows")]
            let count = (rows as f64 * part) as u64;
            let tail = at_least(count, rows, share);
            prop_assert!((0.0..=1.0).contains(&tail));
            prop_assert!(at_least(count, rows, (share + more).min(1.0)) >= tail - 1e-12);
            prop_assert!(at_least(count + 1, rows, share) <= tail + 1e-12);
        }

        #[test]
        fn the_limit_is_where_the_tail_is_the_confidence(rows in 2..100_000_u64, part in 0.0..0.9_f64) {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a part of the rows")]
            let count = (rows as f64 * part) as u64;
            let limit = upper_limit(count, rows, 0.99);
            prop_assert!(limit > count as f64 / rows as f64 && limit <= 1.0);
            prop_assert!((at_least(count + 1, rows, limit) - 0.99).abs() < 1e-6);
        }
    }
}
