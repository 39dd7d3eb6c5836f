//! Reference values of scipy and statsmodels, read for the tests of this module.
//!
//! `tests/golden/stats/README.md` names the versions and the calls that made them.

use std::collections::BTreeMap;
use std::fmt::Display;

use proptest::prelude::*;
use serde::Deserialize;

/// A file of named cases.
#[derive(Deserialize)]
pub(super) struct Cases<T> {
    pub(super) cases: BTreeMap<String, T>,
}

/// Two numeric samples.
#[derive(Deserialize)]
pub(super) struct Numeric {
    pub(super) n_ref: u64,
    pub(super) n_cur: u64,
    pub(super) ks_asymp: Ks,
    pub(super) ks_exact: Option<Ks>,
    pub(super) wasserstein: Option<f64>,
    pub(super) histograms: BTreeMap<String, Histogram>,
    /// The samples in ascending order, where they are small enough to be kept.
    #[serde(rename = "ref")]
    pub(super) reference: Option<Vec<f64>>,
    #[serde(rename = "cur")]
    pub(super) current: Option<Vec<f64>>,
}

/// A Kolmogorov–Smirnov test; scipy's p-value is NaN, here `None`, where `round(nm / (n + m))` is 0.
#[derive(Deserialize)]
pub(super) struct Ks {
    pub(super) statistic: f64,
    pub(super) pvalue: Option<f64>,
}

/// Two histograms and their distances.
#[derive(Deserialize)]
pub(super) struct Histogram {
    pub(super) ref_counts: Vec<u64>,
    pub(super) cur_counts: Vec<u64>,
    #[serde(flatten)]
    pub(super) distances: Distances,
}

/// Distances of two histograms; all but `psi_add_half` of plain shares.
#[derive(Deserialize)]
pub(super) struct Distances {
    #[serde(rename = "psi_zero=0.0001")]
    pub(super) psi_of_floored: f64,
    #[serde(rename = "kl_cur_ref_zero=0.0001")]
    pub(super) kl_of_floored: f64,
    pub(super) psi_add_half: f64,
    pub(super) js_distance_base2: f64,
    pub(super) hellinger: f64,
    pub(super) tvd: f64,
    pub(super) l_infinity: f64,
}

/// Two samples of a categorical variable.
#[derive(Deserialize)]
pub(super) struct Categorical {
    pub(super) ref_counts: Vec<u64>,
    pub(super) cur_counts: Vec<u64>,
    pub(super) chi2: Chi2,
    pub(super) distances: Distances,
}

/// A chi-square test.
#[derive(Deserialize)]
pub(super) struct Chi2 {
    pub(super) statistic: f64,
    pub(super) pvalue: f64,
    pub(super) dof: u64,
}

/// P-values and what each correction makes of them.
#[derive(Deserialize)]
pub(super) struct Corrected {
    pub(super) p: Vec<f64>,
    pub(super) bonferroni: Vec<f64>,
    pub(super) holm: Vec<f64>,
    pub(super) benjamini_hochberg: Vec<f64>,
}

/// Survival functions: arguments, then the value.
#[derive(Deserialize)]
pub(super) struct Tails {
    pub(super) chi2_sf: Vec<[f64; 3]>,
    pub(super) f_sf: Vec<[f64; 4]>,
    pub(super) normal_sf: Vec<[f64; 2]>,
    pub(super) kstwo_sf: Vec<[f64; 3]>,
    pub(super) ks_exact: Vec<(f64, u64, u64, f64)>,
    pub(super) ks_asymp: Vec<(f64, u64, u64, f64)>,
}

macro_rules! golden {
    ($file:literal) => {
        serde_json::from_str(include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/stats/", $file)))
            .unwrap()
    };
}

impl Tails {
    pub(super) fn load() -> Self {
        golden!("tails.json")
    }
}

pub(super) fn numeric() -> BTreeMap<String, Numeric> {
    let file: Cases<Numeric> = golden!("numeric.json");
    file.cases
}

pub(super) fn categorical() -> BTreeMap<String, Categorical> {
    let file: Cases<Categorical> = golden!("categorical.json");
    file.cases
}

pub(super) fn multiple_testing() -> BTreeMap<String, Corrected> {
    let file: Cases<Corrected> = golden!("multiple_testing.json");
    file.cases
}

/// Asserts agreement to 1e-9 of the value, or to 1e-15 for what is rounding around 0.
#[track_caller]
pub(super) fn assert_distance(actual: f64, expected: f64, what: impl Display) {
    let error = (actual - expected).abs();
    assert!(error <= 1e-9 * expected.abs() || error <= 1e-15, "{what}: {actual:e}, expected {expected:e}");
}

/// Asserts agreement of p-values: to 1e-6 of the value above 1e-12, to 1e-3 in the logarithm below.
#[track_caller]
pub(super) fn assert_p_value(actual: f64, expected: f64, what: impl Display) {
    let close = if expected > 1e-12 {
        (actual - expected).abs() <= 1e-6 * expected
    } else {
        (actual.ln() - expected.ln()).abs() <= 1e-3 || actual.total_cmp(&expected).is_eq()
    };
    assert!(close, "{what}: {actual:e}, expected {expected:e}");
}

/// Two histograms over the same bins, with counts of any size and at least one observation on each side.
pub(super) fn histogram_pair() -> impl Strategy<Value = (Vec<u64>, Vec<u64>)> {
    let count = prop_oneof![Just(0_u64), 0..30_u64, 0..100_000_u64, any::<u64>()];
    prop::collection::vec((count.clone(), count), 1..40).prop_map(|bins| {
        let (mut reference, mut current): (Vec<u64>, Vec<u64>) = bins.into_iter().unzip();
        reference[0] = reference[0].max(1);
        current[0] = current[0].max(1);
        (reference, current)
    })
}

/// The same histogram with its bins in another order.
pub(super) fn rotated(counts: &[u64], by: usize) -> Vec<u64> {
    let mut other = counts.to_vec();
    other.rotate_left(by % counts.len());
    other
}
