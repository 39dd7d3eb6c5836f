//! Adjusting p-values for the number of tests made at once.
//!
//! Each function returns adjusted p-values in the order of the input: comparing one with `alpha` gives the decision of
//! the procedure at that level. A NaN carries no evidence and counts as a test with p = 1.

use super::tail::probability;

/// Bonferroni: the chance of any false alarm stays at or under alpha, whatever the dependence.
///
/// # Arguments
///
/// * `p_values`: one per test, in `[0, 1]`.
///
/// # Returns
///
/// `min(1, m p)` for each of the `m` tests.
///
/// # Source
///
/// Dunn (1961), doi:10.1080/01621459.1961.10482090.
pub fn bonferroni(p_values: &[f64]) -> Vec<f64> {
    let tests = p_values.len() as f64;
    p_values.iter().map(|&p| (tests * probability(p)).min(1.0)).collect()
}

/// Holm: the promise of Bonferroni, and never less power.
///
/// # Arguments
///
/// * `p_values`: one per test, in `[0, 1]`.
///
/// # Returns
///
/// The running maximum of `(m − i + 1) p_(i)` over ascending p-values, at most 1.
///
/// # Source
///
/// Holm (1979), Scandinavian Journal of Statistics 6(2), 65–70.
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let order = ascending(p_values);
    let mut adjusted = vec![1.0; p_values.len()];
    let mut largest: f64 = 0.0;
    for (rank, &test) in order.iter().enumerate() {
        let remaining = (order.len() - rank) as f64;
        largest = largest.max((remaining * probability(p_values[test])).min(1.0));
        adjusted[test] = largest;
    }
    adjusted
}

/// Benjamini–Hochberg: the expected share of false alarms among the alarms stays at or under alpha.
///
/// # Arguments
///
/// * `p_values`: one per test, in `[0, 1]`; independent or positively dependent.
///
/// # Returns
///
/// The running minimum of `m p_(i) / i` over descending p-values.
///
/// # Source
///
/// Benjamini and Hochberg (1995), doi:10.1111/j.2517-6161.1995.tb02031.x.
pub fn benjamini_hochberg(p_values: &[f64]) -> Vec<f64> {
    let order = ascending(p_values);
    let tests = order.len() as f64;
    let mut adjusted = vec![1.0; p_values.len()];
    let mut smallest: f64 = 1.0;
    for (rank, &test) in order.iter().enumerate().rev() {
        smallest = smallest.min(tests * probability(p_values[test]) / (rank + 1) as f64);
        adjusted[test] = smallest;
    }
    adjusted
}

/// Positions of the p-values, smallest first; ties keep their order.
fn ascending(p_values: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|&a, &b| probability(p_values[a]).total_cmp(&probability(p_values[b])));
    order
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::golden::{self, assert_distance};
    use super::*;

    #[test]
    fn adjusted_values_are_those_of_statsmodels_and_scipy() {
        let cases = golden::multiple_testing();
        assert!(cases.len() > 8, "{} cases", cases.len());
        for (name, case) in cases {
            for (actual, expected) in [
                (bonferroni(&case.p), case.bonferroni),
                (holm(&case.p), case.holm),
                (benjamini_hochberg(&case.p), case.benjamini_hochberg),
            ] {
                assert_eq!(actual.len(), expected.len());
                for (actual, expected) in actual.into_iter().zip(expected) {
                    assert_distance(actual, expected, &name);
                }
            }
        }
    }

    #[test]
    fn no_test_and_no_number_are_allowed() {
        for correct in [bonferroni, holm, benjamini_hochberg] {
            assert!(correct(&[]).is_empty());
            let adjusted = correct(&[f64::NAN, 0.01]);
            assert_distance(adjusted[0], 1.0, "NaN");
            assert_distance(adjusted[1], 0.02, "its neighbour");
        }
    }

    proptest! {
        #[test]
        fn stand_in_the_known_order(p in prop::collection::vec(0.0..=1.0_f64, 0..60)) {
            let (bh, holm, bonferroni) = (benjamini_hochberg(&p), holm(&p), bonferroni(&p));
            for test in 0..p.len() {
                let ascending = [p[test], bh[test], holm[test], bonferroni[test], 1.0];
                prop_assert!(ascending.windows(2).all(|pair| pair[0] <= pair[1] * (1.0 + 1e-12)), "{ascending:?}");
            }
        }

        #[test]
        fn follow_their_test_when_the_order_changes(p in prop::collection::vec(0.0..=1.0_f64, 1..60)) {
            let mut backwards = p.clone();
            backwards.reverse();
            for correct in [bonferroni, holm, benjamini_hochberg] {
                let mut there_and_back = correct(&backwards);
                there_and_back.reverse();
                prop_assert_eq!(there_and_back, correct(&p));
            }
        }
    }
}
