//! How well rows of the window can be told from rows of the baseline, read from the samples of both.

use ndarray::Array2;
use serde::{Deserialize, Serialize};

use super::evaluate::{short, short_p};
use crate::baseline::Baseline;
use crate::profile::Profile;
use crate::stats::joint::{DomainAucParameters, domain_auc};

/// Sampled rows of either side under which nothing is said.
const MIN_ROWS: usize = 50;

/// Columns named as those that tell the sides apart best.
const MAX_WEIGHTS: usize = 5;

/// How well a linear classifier tells the window's rows from the baseline's: evidence, without a verdict.
///
/// Each value is its mid-rank in the baseline, so that the scale of a column and its outliers do not matter; a missing
/// one is the middle, as `missing_delta` tells about those. There is no verdict because `p_value` takes rows for
/// independent: where rows of one hour are alike, it is too small. The verdict on `pca_error` knows the natural variation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JointReport {
    /// Area under the curve on rows that the classifier has not seen: about ½ where nothing tells the sides apart, 1
    /// where a line does.
    pub domain_auc: f64,
    /// Its standard error.
    pub standard_error: f64,
    /// Probability of lines that separate this well by chance, if rows were independent.
    pub p_value: f64,
    /// Sampled rows of the baseline.
    pub rows_reference: usize,
    /// Sampled rows of the window.
    pub rows_current: usize,
    /// The columns that tell the sides apart best, the strongest first, at most five.
    pub weights: Vec<ColumnWeight>,
    /// The numbers in one sentence.
    pub reason: String,
}

/// What a column adds to telling window from baseline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ColumnWeight {
    /// Name of the column.
    pub name: String,
    /// Weight per standard deviation; positive where the window is higher.
    pub weight: f64,
}

/// Compares the samples; `None` where the baseline knows nothing of joint drift, or a sample has under 50 rows.
///
/// The same profile gives the same bits, in whichever parts it was counted.
pub(super) fn compare(baseline: &Baseline, profile: &Profile) -> Option<JointReport> {
    let joint = baseline.joint()?;
    let current: Vec<&[u16]> = profile.sample().rows().map(|(_, cells)| cells).collect();
    if current.len() < MIN_ROWS || joint.rows.len() < MIN_ROWS {
        return None;
    }
    let ranks: Vec<Vec<f64>> =
        baseline.layout().joint_inputs().map(|at| mid_ranks(&baseline.columns()[at].profile.cells)).collect();
    let matrix = |rows: &[&[u16]]| {
        Array2::from_shape_fn((rows.len(), ranks.len()), |(row, column)| {
            let cell = rows[row].get(column).map_or(usize::MAX, |&cell| usize::from(cell));
            ranks[column].get(cell).copied().unwrap_or(0.5)
        })
    };
    let reference: Vec<&[u16]> = joint.rows.iter().map(Vec::as_slice).collect();
    let found =
        domain_auc(matrix(&reference).view(), matrix(&current).view(), DomainAucParameters::default())
            .ok()?;
    let mut weights: Vec<ColumnWeight> = joint
        .columns
        .iter()
        .zip(&found.weights)
        .filter(|(_, weight)| weight.abs() > 0.0)
        .map(|(name, &weight)| ColumnWeight { name: name.clone(), weight })
        .collect();
    weights.sort_by(|a, b| b.weight.abs().total_cmp(&a.weight.abs()));
    weights.truncate(MAX_WEIGHTS);
    Some(JointReport {
        reason: format!(
            "a line tells rows of the window from rows of the baseline with an area under the curve of {} \
             (standard error {}); p {} takes rows for independent, so this is evidence and no verdict",
            short(found.auc),
            short(found.standard_error),
            short_p(found.p_value)
        ),
        domain_auc: found.auc,
        standard_error: found.standard_error,
        p_value: found.p_value,
        rows_reference: reference.len(),
        rows_current: current.len(),
        weights,
    })
}

/// Of each cell the share of rows below it and half of those in it, in `[0, 1]`.
fn mid_ranks(counts: &[u64]) -> Vec<f64> {
    let total = counts.iter().sum::<u64>().max(1) as f64;
    let mut below = 0_u64;
    counts
        .iter()
        .map(|&count| {
            let rank = (below as f64 + count as f64 / 2.0) / total;
            below += count;
            rank
        })
        .collect()
}

#[cfg(test)]
#[path = "joint_tests.rs"]
mod tests;
