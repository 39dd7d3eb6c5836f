//! Distances between two histograms over the same bins: PSI, KL, Jensen–Shannon, Hellinger, TVD, L∞.
//!
//! Each distance comes twice: on counts, smoothed so that an empty bin never makes it infinite, and (named
//! `…_of_shares`) on shares as they are. `p` is the reference's share of a bin and `q` the current data's.

use std::f64::consts::LN_2;

use super::error::StatError;

/// Count added to every bin before shares are taken: the Jeffreys prior of a multinomial.
///
/// Krichevsky and Trofimov (1981), doi:10.1109/TIT.1981.1056331.
pub const JEFFREYS_HALF: f64 = 0.5;

/// Share of each bin after [`JEFFREYS_HALF`] was added to every count.
///
/// `(c_i + ½) / (N + B/2)`: finite without an arbitrary epsilon, and fading as data arrives.
///
/// # Arguments
///
/// * `counts`: observations per bin, shape `[n_bins]`.
///
/// # Returns
///
/// Shares in `(0, 1)` that sum to 1 (`[1]` for a single bin).
///
/// # Errors
///
/// [`StatError::TooFewObservations`] if every count is 0 or there is no bin.
///
/// # Source
///
/// Krichevsky and Trofimov (1981), doi:10.1109/TIT.1981.1056331.
pub fn smoothed_shares(counts: &[u64]) -> Result<Vec<f64>, StatError> {
    // u64 counts can pass u64::MAX in sum; u128 cannot be passed by any slice that fits in memory.
    let observed: u128 = counts.iter().map(|&count| u128::from(count)).sum();
    if observed == 0 {
        return Err(StatError::TooFewObservations { needed: 1, got: 0 });
    }
    let total = observed as f64 + JEFFREYS_HALF * counts.len() as f64;
    Ok(counts.iter().map(|&count| (count as f64 + JEFFREYS_HALF) / total).collect())
}

/// Bins that hold an observation on at least one side: the ones a test may count as degrees of freedom.
///
/// # Arguments
///
/// * `reference`, `current`: observations per bin; a bin that only the longer one has counts by itself.
pub fn bins_used(reference: &[u64], current: &[u64]) -> usize {
    let longer = reference.len().max(current.len());
    let held = |counts: &[u64], bin: usize| counts.get(bin).is_some_and(|&count| count > 0);
    (0..longer).filter(|&bin| held(reference, bin) || held(current, bin)).count()
}

/// Writes the counting form of a distance: smooth both sides, then take the distance of the shares.
macro_rules! on_counts {
    ($(#[doc = $doc:literal])* $name:ident, $of_shares:ident) => {
        $(#[doc = $doc])*
        ///
        /// # Arguments
        ///
        /// * `reference`, `current`: observations per bin, shape `[n_bins]`, the same bins in the same order.
        ///   Missing values belong in a bin of their own, not outside the histogram.
        ///
        /// # Errors
        ///
        /// * [`StatError::BinMismatch`] if the shapes differ.
        /// * [`StatError::TooFewObservations`] if either side has no observations.
        pub fn $name(reference: &[u64], current: &[u64]) -> Result<f64, StatError> {
            check_bins(reference.len(), current.len())?;
            $of_shares(&smoothed_shares(reference)?, &smoothed_shares(current)?)
        }
    };
}

on_counts!(
    /// Population Stability Index of smoothed shares, `Σ (q − p) ln(q / p)`; see [`psi_of_shares`].
    ///
    /// # Returns
    ///
    /// A finite value in `[0, ∞)`, in nats. Its expectation without any drift is about
    /// `(n_bins − 1)(1/n + 1/N)`, so that a fixed threshold such as 0.1 means little on small windows.
    ///
    /// # Source
    ///
    /// Siddiqi (2006), *Credit Risk Scorecards*; Jeffreys (1946), doi:10.1098/rspa.1946.0056.
    psi, psi_of_shares
);
on_counts!(
    /// Kullback–Leibler divergence of smoothed shares, `Σ q ln(q / p)`; see [`kl_of_shares`].
    ///
    /// # Returns
    ///
    /// A finite value in `[0, ∞)`, in nats; not symmetric.
    ///
    /// # Source
    ///
    /// Kullback and Leibler (1951), doi:10.1214/aoms/1177729694.
    kl, kl_of_shares
);
on_counts!(
    /// Jensen–Shannon distance of smoothed shares, base 2; see [`js_distance_of_shares`].
    ///
    /// # Returns
    ///
    /// A value in `[0, 1]`, symmetric; a metric.
    ///
    /// # Source
    ///
    /// Lin (1991), doi:10.1109/18.61115; Endres and Schindelin (2003), doi:10.1109/TIT.2003.813506.
    js_distance, js_distance_of_shares
);
on_counts!(
    /// Hellinger distance of smoothed shares, `√(1 − Σ √(p q))`; see [`hellinger_of_shares`].
    ///
    /// # Returns
    ///
    /// A value in `[0, 1]`, symmetric; a metric.
    ///
    /// # Source
    ///
    /// Hellinger (1909), doi:10.1515/crll.1909.136.210.
    hellinger, hellinger_of_shares
);
on_counts!(
    /// Total variation distance of smoothed shares, `½ Σ |q − p|`; see [`tvd_of_shares`].
    ///
    /// # Returns
    ///
    /// A value in `[0, 1]`, symmetric: the largest difference in probability of any set of bins.
    ///
    /// # Source
    ///
    /// Levin and Peres (2017), *Markov Chains and Mixing Times*, proposition 4.2.
    tvd, tvd_of_shares
);
on_counts!(
    /// Largest difference of a bin's smoothed share, `max |q − p|`; see [`linf_of_shares`].
    ///
    /// # Returns
    ///
    /// A value in `[0, 1]`, symmetric.
    ///
    /// # Source
    ///
    /// The Chebyshev metric on the simplex of shares.
    linf, linf_of_shares
);

/// Population Stability Index, `Σ (q − p) ln(q / p)`, of shares as they are.
///
/// # Arguments
///
/// * `p`, `q`: shares of the reference and of the current data, shape `[n_bins]`, each summing to 1.
///
/// # Returns
///
/// A value in `[0, ∞]`, in nats; infinite where a bin is empty on one side only.
///
/// # Errors
///
/// [`StatError::BinMismatch`] if the shapes differ, [`StatError::InvalidShare`] if a share is not a finite
/// number of at least 0.
///
/// # Source
///
/// Siddiqi (2006), *Credit Risk Scorecards*; Jeffreys (1946), doi:10.1098/rspa.1946.0056.
pub fn psi_of_shares(p: &[f64], q: &[f64]) -> Result<f64, StatError> {
    // Two terms rather than (q − p)(ln q − ln p), so that an empty bin gives infinity and never NaN.
    let sum =
        sum_over_bins(p, q, |p, q| if p.total_cmp(&q).is_eq() { 0.0 } else { (q - p) * log_ratio(q, p) })?;
    Ok(sum.max(0.0))
}

/// Kullback–Leibler divergence of the current data from the reference, `Σ q ln(q / p)`.
///
/// # Arguments
///
/// * `p`, `q`: shares of the reference and of the current data, shape `[n_bins]`, each summing to 1.
///
/// # Returns
///
/// A value in `[0, ∞]`, in nats; infinite where a bin is empty in the reference only. What rounding leaves
/// under 0 is returned as 0.
///
/// # Errors
///
/// As [`psi_of_shares`].
///
/// # Source
///
/// Kullback and Leibler (1951), doi:10.1214/aoms/1177729694. Agrees with `scipy.stats.entropy(q, p)`.
pub fn kl_of_shares(p: &[f64], q: &[f64]) -> Result<f64, StatError> {
    Ok(sum_over_bins(p, q, relative_entropy)?.max(0.0))
}

/// Jensen–Shannon distance in base 2: the root of the divergence, not the divergence.
///
/// # Arguments
///
/// * `p`, `q`: shares of the reference and of the current data, shape `[n_bins]`, each summing to 1.
///
/// # Returns
///
/// A value in `[0, 1]`; 1 when no bin is shared.
///
/// # Errors
///
/// As [`psi_of_shares`].
///
/// # Source
///
/// Lin (1991), doi:10.1109/18.61115. Agrees with `scipy.spatial.distance.jensenshannon(p, q, base=2)`.
pub fn js_distance_of_shares(p: &[f64], q: &[f64]) -> Result<f64, StatError> {
    let nats = sum_over_bins(p, q, |p, q| {
        let middle = 0.5 * (p + q);
        relative_entropy(middle, p) + relative_entropy(middle, q)
    })?;
    Ok((0.5 * nats / LN_2).clamp(0.0, 1.0).sqrt())
}

/// Hellinger distance, `√(1 − Σ √(p q))`.
///
/// # Arguments
///
/// * `p`, `q`: shares of the reference and of the current data, shape `[n_bins]`, each summing to 1.
///
/// # Returns
///
/// A value in `[0, 1]`; 1 when no bin is shared.
///
/// # Errors
///
/// As [`psi_of_shares`].
///
/// # Source
///
/// Hellinger (1909), doi:10.1515/crll.1909.136.210.
pub fn hellinger_of_shares(p: &[f64], q: &[f64]) -> Result<f64, StatError> {
    // The equal form ½ Σ (√p − √q)² does not cancel when the two sides nearly agree.
    let squared = 0.5 * sum_over_bins(p, q, |p, q| (p.sqrt() - q.sqrt()).powi(2))?;
    Ok(squared.clamp(0.0, 1.0).sqrt())
}

/// Total variation distance, `½ Σ |q − p|`.
///
/// # Arguments
///
/// * `p`, `q`: shares of the reference and of the current data, shape `[n_bins]`, each summing to 1.
///
/// # Returns
///
/// A value in `[0, 1]`; 1 when no bin is shared.
///
/// # Errors
///
/// As [`psi_of_shares`].
///
/// # Source
///
/// Levin and Peres (2017), *Markov Chains and Mixing Times*, proposition 4.2.
pub fn tvd_of_shares(p: &[f64], q: &[f64]) -> Result<f64, StatError> {
    Ok((0.5 * sum_over_bins(p, q, |p, q| (q - p).abs())?).clamp(0.0, 1.0))
}

/// Largest difference of a bin's share, `max |q − p|`.
///
/// # Arguments
///
/// * `p`, `q`: shares of the reference and of the current data, shape `[n_bins]`, each summing to 1.
///
/// # Returns
///
/// A value in `[0, 1]`.
///
/// # Errors
///
/// As [`psi_of_shares`].
///
/// # Source
///
/// The Chebyshev metric on the simplex of shares.
pub fn linf_of_shares(p: &[f64], q: &[f64]) -> Result<f64, StatError> {
    check_shares(p, q)?;
    Ok(p.iter().zip(q).map(|(p, q)| (q - p).abs()).fold(0.0, f64::max))
}

/// Refuses histograms of different lengths.
pub(super) fn check_bins(reference: usize, current: usize) -> Result<(), StatError> {
    if reference == current { Ok(()) } else { Err(StatError::BinMismatch { reference, current }) }
}

/// Refuses shares that would turn a distance into NaN.
fn check_shares(p: &[f64], q: &[f64]) -> Result<(), StatError> {
    check_bins(p.len(), q.len())?;
    for shares in [p, q] {
        if let Some((index, &value)) =
            shares.iter().enumerate().find(|(_, share)| !(0.0..=f64::MAX).contains(*share))
        {
            return Err(StatError::InvalidShare { index, value });
        }
    }
    Ok(())
}

/// Adds `term(p, q)` over the bins of checked shares.
fn sum_over_bins(p: &[f64], q: &[f64], term: impl Fn(f64, f64) -> f64) -> Result<f64, StatError> {
    check_shares(p, q)?;
    Ok(p.iter().zip(q).map(|(&p, &q)| term(p, q)).sum())
}

/// `q ln(q / p)`, 0 where `q` is 0.
fn relative_entropy(p: f64, q: f64) -> f64 {
    if q == 0.0 { 0.0 } else { q * log_ratio(q, p) }
}

/// `ln(a / b)`, accurate for `a` near `b` and infinite, never NaN, where one of them is 0.
fn log_ratio(a: f64, b: f64) -> f64 {
    let ratio = a / b;
    // Within a factor of two the subtraction is exact, so that nothing is lost near 1.
    if (0.5..=2.0).contains(&ratio) { ((a - b) / b).ln_1p() } else { a.ln() - b.ln() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::golden::{self, Distances, assert_distance, histogram_pair, rotated};
    use super::*;

    type OnCounts = fn(&[u64], &[u64]) -> Result<f64, StatError>;

    const ALL: [(&str, OnCounts); 6] = [
        ("psi", psi),
        ("kl", kl),
        ("js_distance", js_distance),
        ("hellinger", hellinger),
        ("tvd", tvd),
        ("linf", linf),
    ];

    /// `counts / total`, with empty bins at `floor`.
    fn shares(counts: &[u64], floor: f64) -> Vec<f64> {
        let total: u64 = counts.iter().sum();
        counts.iter().map(|&count| if count == 0 { floor } else { count as f64 / total as f64 }).collect()
    }

    #[track_caller]
    fn check(name: &str, reference: &[u64], current: &[u64], expected: &Distances) {
        let (p, q) = (shares(reference, 0.0), shares(current, 0.0));
        let (p_floored, q_floored) = (shares(reference, 1e-4), shares(current, 1e-4));
        let cases = [
            ("psi", psi(reference, current), expected.psi_add_half),
            ("psi_of_shares", psi_of_shares(&p_floored, &q_floored), expected.psi_of_floored),
            ("js", js_distance_of_shares(&p, &q), expected.js_distance_base2),
            ("hellinger", hellinger_of_shares(&p, &q), expected.hellinger),
            ("tvd", tvd_of_shares(&p, &q), expected.tvd),
            ("linf", linf_of_shares(&p, &q), expected.l_infinity),
        ];
        for (distance, actual, expected) in cases {
            assert_distance(actual.unwrap(), expected, format_args!("{name}: {distance}"));
        }
        // Floored shares do not sum to 1, so that their divergence may be negative; ours stops at 0.
        let kl = kl_of_shares(&p_floored, &q_floored).unwrap();
        assert_distance(kl, expected.kl_of_floored.max(0.0), format_args!("{name}: kl"));
    }

    #[test]
    fn distances_are_those_of_scipy() {
        let mut checked = 0;
        for (name, case) in golden::numeric() {
            for (bins, histogram) in case.histograms {
                check(
                    &format!("{name}, {bins}"),
                    &histogram.ref_counts,
                    &histogram.cur_counts,
                    &histogram.distances,
                );
                checked += 1;
            }
        }
        for (name, case) in golden::categorical() {
            check(&name, &case.ref_counts, &case.cur_counts, &case.distances);
            checked += 1;
        }
        assert!(checked > 140, "{checked} histograms");
    }

    #[test]
    fn refuses_what_has_no_distance() {
        for (name, distance) in ALL {
            assert_eq!(
                distance(&[1, 2], &[3]),
                Err(StatError::BinMismatch { reference: 2, current: 1 }),
                "{name}"
            );
            for (reference, current) in [(&[0, 0], &[1, 2]), (&[1, 2], &[0, 0])] {
                let refusal = Err(StatError::TooFewObservations { needed: 1, got: 0 });
                assert_eq!(distance(reference, current), refusal, "{name}");
            }
        }
        let refusal = psi_of_shares(&[0.5, 0.5], &[1.5, -0.5]);
        assert_eq!(refusal, Err(StatError::InvalidShare { index: 1, value: -0.5 }));
        assert!(psi_of_shares(&[f64::NAN], &[1.0]).is_err());
    }

    #[test]
    fn shares_without_overlap_are_as_far_as_can_be() {
        let (p, q) = ([1.0, 0.0], [0.0, 1.0]);
        for (distance, expected) in [
            (psi_of_shares(&p, &q), f64::INFINITY),
            (kl_of_shares(&p, &q), f64::INFINITY),
            (js_distance_of_shares(&p, &q), 1.0),
            (hellinger_of_shares(&p, &q), 1.0),
            (tvd_of_shares(&p, &q), 1.0),
            (linf_of_shares(&p, &q), 1.0),
        ] {
            assert_eq!(distance, Ok(expected));
        }
    }

    #[test]
    fn a_bin_counts_as_used_if_one_side_holds_something() {
        assert_eq!(bins_used(&[0, 1, 0, 2], &[0, 0, 3, 4]), 3);
        assert_eq!(bins_used(&[], &[]), 0);
    }

    proptest! {
        #[test]
        fn every_distance_is_finite_and_in_range((a, b) in histogram_pair()) {
            for (name, distance) in ALL {
                let value = distance(&a, &b).unwrap();
                let most = if matches!(name, "psi" | "kl") { f64::MAX } else { 1.0 };
                prop_assert!((0.0..=most).contains(&value), "{name}: {value}");
                prop_assert!(distance(&a, &a).unwrap() < 1e-12, "{name} of itself");
            }
        }

        #[test]
        fn order_of_sides_and_of_bins_does_not_matter((a, b) in histogram_pair(), by in 0..40_usize) {
            for (name, distance) in ALL {
                let value = distance(&a, &b).unwrap();
                let tolerance = 1e-9 * value + 1e-9;
                let turned = distance(&rotated(&a, by), &rotated(&b, by)).unwrap();
                prop_assert!((value - turned).abs() <= tolerance, "{name}: {value}, rotated {turned}");
                let swapped = distance(&b, &a).unwrap();
                prop_assert!(name == "kl" || (value - swapped).abs() <= tolerance, "{name}: {value}, {swapped}");
            }
        }
    }
}
