//! How surprising a Population Stability Index is when nothing has moved.

use super::tail::chi2_sf;

/// Probability of a Population Stability Index at least this large when both samples come from one source.
///
/// Under that hypothesis `psi / (1/n + 1/N)` is close to chi-squared with `B − 1` degrees of freedom. Rows are taken
/// as independent; see [`natural_variation`](super::natural_variation) for when they are not.
///
/// # Arguments
///
/// * `psi`: the index, in nats.
/// * `n_current`, `n_reference`: observations on each side.
/// * `bins_used`: bins that hold an observation on at least one side ([`bins_used`](super::bins_used)).
///
/// # Returns
///
/// A probability in `[0, 1]`; 1 with fewer than two bins or without observations on either side.
///
/// # Source
///
/// Yurdakul (2018), *Statistical properties of population stability index*, Western Michigan University,
/// dissertation 3208.
pub fn psi_p_value(psi: f64, n_current: u64, n_reference: u64, bins_used: usize) -> f64 {
    if bins_used < 2 || n_current == 0 || n_reference == 0 {
        return 1.0;
    }
    let scale = 1.0 / n_current as f64 + 1.0 / n_reference as f64;
    chi2_sf(psi / scale, (bins_used - 1) as f64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::golden::{Tails, assert_p_value, histogram_pair};
    use super::super::{bins_used, psi};
    use super::*;

    #[track_caller]
    fn check(statistic: f64, n_current: u64, n_reference: u64, bins: usize, expected: f64) {
        assert_p_value(psi_p_value(statistic, n_current, n_reference, bins), expected, statistic);
    }

    #[test]
    fn is_the_chi_squared_tail_of_the_scaled_index() {
        let mut checked = 0;
        for [x, dof, expected] in Tails::load().chi2_sf {
            if (dof - 9.0).abs() < 0.1 {
                check(x * (1.0 / 200.0 + 1.0 / 5000.0), 200, 5000, 10, expected);
                checked += 1;
            }
        }
        assert!(checked > 5, "{checked} cases");
    }

    #[test]
    fn no_evidence_is_one() {
        check(0.3, 100, 100, 1, 1.0);
        check(0.3, 100, 100, 0, 1.0);
        check(0.3, 0, 100, 10, 1.0);
        check(0.0, 100, 100, 10, 1.0);
        check(f64::NAN, 100, 100, 10, 1.0);
    }

    proptest! {
        #[test]
        fn is_a_probability_for_any_counts((a, b) in histogram_pair(), n in any::<u64>(), m in any::<u64>()) {
            let p = psi_p_value(psi(&a, &b).unwrap(), n, m, bins_used(&a, &b));
            prop_assert!((0.0..=1.0).contains(&p));
        }
    }
}
