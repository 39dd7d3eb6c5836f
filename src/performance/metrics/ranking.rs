//! Rows in the order of their scores, sorted once for metrics under many weights.

use std::cmp::Ordering;
use std::ops::Range;

use super::{Rows, all_probabilities, finite};

/// The order of rows by score, with the groups of equal scores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ranking {
    /// Rows from the lowest score to the highest.
    order: Vec<usize>,
    /// Where in `order` a group of equal scores begins.
    starts: Vec<usize>,
}

impl Ranking {
    /// Sorts rows; none when a score is NaN or infinite. 0 and −0 are equal.
    pub fn of(scores: &[f64]) -> Option<Self> {
        if !super::all_finite(scores) {
            return None;
        }
        let mut order: Vec<usize> = (0..scores.len()).collect();
        order.sort_by(|&a, &b| scores[a].partial_cmp(&scores[b]).unwrap_or(Ordering::Equal));
        let starts = (0..order.len())
            .filter(|&place| place == 0 || scores[order[place - 1]] < scores[order[place]])
            .collect();
        Some(Self { order, starts })
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.order.len()
    }

    /// Groups of equal scores, from the lowest to the highest.
    fn groups(&self) -> impl DoubleEndedIterator<Item = &[usize]> {
        let ends = self.starts.iter().skip(1).copied().chain([self.order.len()]).collect::<Vec<_>>();
        let ranges: Vec<Range<usize>> = self.starts.iter().copied().zip(ends).map(|(a, b)| a..b).collect();
        ranges.into_iter().map(|range| &self.order[range])
    }

    /// Weight of the positives and of the negatives in a group.
    fn weigh(group: &[usize], targets: &[bool], rows: Rows<'_>) -> (f64, f64) {
        group.iter().fold((0.0, 0.0), |(positive, negative), &row| {
            let weight = rows.weight(row);
            if targets[row] { (positive + weight, negative) } else { (positive, negative + weight) }
        })
    }

    /// Probability that a positive scores above a negative, ties counting half; none without both.
    ///
    /// # Source
    ///
    /// Mann and Whitney (1947), doi:10.1214/aoms/1177730491; agrees with `sklearn.metrics.roc_auc_score`.
    pub fn roc_auc(&self, targets: &[bool], weights: Option<&[f64]>) -> Option<f64> {
        let rows = self.rows_of(targets, weights)?;
        let (mut area, mut positives, mut negatives) = (0.0, 0.0, 0.0);
        for group in self.groups() {
            let (positive, negative) = Self::weigh(group, targets, rows);
            area += positive * (negatives + 0.5 * negative);
            positives += positive;
            negatives += negative;
        }
        finite(area / (positives * negatives)).map(|area| area.clamp(0.0, 1.0))
    }

    /// Average precision `Σ (R_i − R_{i−1}) P_i` over thresholds from the highest score down; none without a positive.
    ///
    /// # Source
    ///
    /// `sklearn.metrics.average_precision_score`: a step function, without interpolation between thresholds.
    pub fn average_precision(&self, targets: &[bool], weights: Option<&[f64]>) -> Option<f64> {
        let rows = self.rows_of(targets, weights)?;
        let (mut sum, mut positives, mut negatives) = (0.0, 0.0, 0.0);
        for group in self.groups().rev() {
            let (positive, negative) = Self::weigh(group, targets, rows);
            positives += positive;
            negatives += negative;
            if positive > 0.0 {
                sum += positive * (positives / (positives + negatives));
            }
        }
        finite(sum / positives).map(|precision| precision.clamp(0.0, 1.0))
    }

    /// Expected calibration error `Σ_b (w_b / W) · abs(share of positives − mean probability)` over bins of nearly equal
    /// weight.
    ///
    /// # Arguments
    ///
    /// * `probabilities`: those that were ranked, each in `[0, 1]`.
    /// * `bins`: number of bins, 1 or more. Equal probabilities stay in one bin, that of the middle of their weight, so
    ///   that fewer bins are used where ties are many.
    ///
    /// # Source
    ///
    /// Naeini, Cooper and Hauskrecht (2015), doi:10.1609/aaai.v29i1.9602, with bins of equal mass as in Nguyen and
    /// O'Connor (2015), doi:10.18653/v1/D15-1182. On few rows it is above 0 for a calibrated model too.
    pub fn calibration_error(
        &self,
        probabilities: &[f64],
        targets: &[bool],
        bins: usize,
        weights: Option<&[f64]>,
    ) -> Option<f64> {
        let rows = self.rows_of(targets, weights)?;
        if bins == 0 || probabilities.len() != targets.len() || !all_probabilities(probabilities) {
            return None;
        }
        let total: f64 = (0..self.rows()).map(|row| rows.weight(row)).sum();
        let (mut before, mut error, mut gap, mut bin) = (0.0, 0.0, 0.0_f64, 0.0);
        for group in self.groups() {
            let (positive, negative) = Self::weigh(group, targets, rows);
            let weight = positive + negative;
            let own = ((before + 0.5 * weight) / total * bins as f64).floor();
            if own > bin {
                error += gap.abs();
                (gap, bin) = (0.0, own);
            }
            gap += positive - weight * probabilities[group[0]];
            before += weight;
        }
        finite((error + gap.abs()) / total)
    }

    /// Rows with their weights, if targets are as many as scores.
    fn rows_of<'a>(&self, targets: &[bool], weights: Option<&'a [f64]>) -> Option<Rows<'a>> {
        if targets.len() == self.rows() { Rows::new(targets.len(), weights) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(scores: &[f64], targets: &[bool], auc: Option<f64>, precision: Option<f64>) {
        let ranking = Ranking::of(scores).unwrap();
        assert_eq!(ranking.roc_auc(targets, None), auc, "roc_auc of {scores:?}");
        assert_eq!(ranking.average_precision(targets, None), precision, "average precision of {scores:?}");
    }

    #[test]
    fn ranks_with_ties_and_without_a_class() {
        check(&[0.1, 0.9], &[false, true], Some(1.0), Some(1.0));
        check(&[0.9, 0.1], &[false, true], Some(0.0), Some(0.5));
        check(&[0.5, 0.5], &[false, true], Some(0.5), Some(0.5));
        check(&[0.0, -0.0], &[false, true], Some(0.5), Some(0.5));
        check(&[0.2, 0.7], &[true, true], None, Some(1.0));
        check(&[0.2, 0.7], &[false, false], None, None);
        check(&[], &[], None, None);
    }

    #[test]
    fn scores_have_to_be_numbers() {
        assert_eq!(Ranking::of(&[0.5, f64::NAN]), None);
        assert_eq!(Ranking::of(&[f64::INFINITY]), None);
        assert_eq!(Ranking::of(&[0.5]).unwrap().roc_auc(&[true, false], None), None, "another length");
    }

    #[test]
    fn bins_hold_equal_weight_and_no_tie_is_split() {
        let error = |p: &[f64], t: &[bool], bins, w: Option<&[f64]>| {
            Ranking::of(p).unwrap().calibration_error(p, t, bins, w)
        };
        // Two bins: 0.2 and 0.4 with one positive, 0.6 and 0.8 with two.
        let p = [0.8, 0.2, 0.6, 0.4];
        let t = [true, false, true, true];
        assert!((error(&p, &t, 2, None).unwrap() - (0.4 + 0.6) / 4.0).abs() < 1e-12);
        assert!((error(&p, &t, 1, None).unwrap() - 1.0 / 4.0).abs() < 1e-12);
        // All equal: one bin, whatever is asked for.
        assert_eq!(error(&[0.5; 4], &[true, false, true, false], 10, None), Some(0.0));
        // The row of weight 3 fills the lower bin by itself.
        let weighted =
            error(&[0.1, 0.5, 0.6, 0.7], &[false, true, true, true], 2, Some(&[3.0, 1.0, 1.0, 1.0]));
        assert!((weighted.unwrap() - (0.3 + 1.2) / 6.0).abs() < 1e-12);
        assert_eq!(error(&p, &t, 0, None), None);
        assert_eq!(error(&[1.5], &[true], 1, None), None);
    }
}
