//! The area under the receiver operating characteristic, with its standard error.

use crate::stats::StatError;

/// An area under the curve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Auc {
    /// Probability that a positive scores above a negative, ties counting half; in `[0, 1]`.
    pub value: f64,
    /// Standard error of `value` as an estimate; 0 where the scores separate the two completely.
    pub standard_error: f64,
    /// Standard deviation that `value` would have around ½ if scores told nothing; above 0 unless all are equal. Scores
    /// have to come from elsewhere, not from a classifier that was fitted on some of the same rows.
    pub null_deviation: f64,
}

/// Area under the curve of scores that should be higher for positives than for negatives.
///
/// # Arguments
///
/// * `positives`, `negatives`: scores in any order, two or more on each side.
///
/// # Errors
///
/// * [`StatError::TooFewObservations`] under two scores on a side.
/// * [`StatError::NotFinite`] if a score is NaN or infinite.
///
/// # Source
///
/// `DeLong`, `DeLong` and Clarke-Pearson (1988), doi:10.2307/2531595, by mid-ranks as in Sun and Xu (2014),
/// doi:10.1109/LSP.2014.2337313; the null deviation is that of Mann and Whitney (1947), doi:10.1214/aoms/1177730491,
/// with the usual correction for ties. `value` agrees with `sklearn.metrics.roc_auc_score`.
pub fn auc(positives: &[f64], negatives: &[f64]) -> Result<Auc, StatError> {
    let fewest = positives.len().min(negatives.len());
    if fewest < 2 {
        return Err(StatError::TooFewObservations { needed: 2, got: fewest as u64 });
    }
    if !positives.iter().chain(negatives).all(|score| score.is_finite()) {
        return Err(StatError::NotFinite("scores"));
    }
    let (m, n) = (positives.len() as f64, negatives.len() as f64);
    let all: Vec<f64> = positives.iter().chain(negatives).copied().collect();
    let (ranks, tied) = mid_ranks(&all);
    let (positive_ranks, negative_ranks) = ranks.split_at(positives.len());
    let (among_positives, _) = mid_ranks(positives);
    let (among_negatives, _) = mid_ranks(negatives);
    // Of each positive the share of negatives below it, of each negative the share of positives above it.
    let of_positives: Vec<f64> =
        positive_ranks.iter().zip(&among_positives).map(|(rank, own)| (rank - own) / n).collect();
    let of_negatives: Vec<f64> =
        negative_ranks.iter().zip(&among_negatives).map(|(rank, own)| 1.0 - (rank - own) / m).collect();
    let (value, positive_variance) = mean_and_variance(&of_positives);
    let (_, negative_variance) = mean_and_variance(&of_negatives);
    let total = m + n;
    let null_variance = ((total + 1.0) - tied / (total * (total - 1.0))) / (12.0 * m * n);
    Ok(Auc {
        value: value.clamp(0.0, 1.0),
        standard_error: (positive_variance / m + negative_variance / n).sqrt(),
        null_deviation: null_variance.max(0.0).sqrt(),
    })
}

/// Ranks from 1, those of equal values their mean, in the order of `values`; and `Σ (t³ − t)` over groups of `t` equals.
fn mid_ranks(values: &[f64]) -> (Vec<f64>, f64) {
    let mut order: Vec<usize> = (0..values.len()).collect();
    // The comparison has 0 and −0 equal, unlike a total order.
    order.sort_by(|&a, &b| values[a].partial_cmp(&values[b]).unwrap_or(std::cmp::Ordering::Equal));
    let mut ranks = vec![0.0; values.len()];
    let (mut start, mut tied) = (0, 0.0);
    while start < order.len() {
        let equal = order[start..].iter().take_while(|&&index| values[index] <= values[order[start]]).count();
        for &index in &order[start..start + equal] {
            ranks[index] = start as f64 + f64::midpoint(equal as f64, 1.0);
        }
        let equals = equal as f64;
        tied += equals * equals * equals - equals;
        start += equal;
    }
    (ranks, tied)
}

/// Mean, and unbiased variance.
fn mean_and_variance(values: &[f64]) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let spread: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
    (mean, spread / (count - 1.0))
}
