//! Learning curves in a line of text.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::store::training_log::Metric;

/// Marks from the lowest value of a curve to its highest.
const MARKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Marks that a curve gets at most.
const WIDTH: usize = 48;

/// A metric by epoch.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Curve {
    /// The model, or the trial of a search.
    pub(super) candidate: String,
    /// `train` or `validation`.
    pub(super) split: String,
    /// What was measured.
    pub(super) name: String,
    /// Epochs and values, in the order of the epochs.
    pub(super) points: Vec<(i32, f64)>,
}

/// Candidate, name and split of a curve.
type Key<'m> = (&'m str, &'m str, &'m str);

/// The curves among `metrics`, the final evaluation left out.
pub(super) fn curves(metrics: &[Metric]) -> Vec<Curve> {
    let mut found: BTreeMap<Key<'_>, Vec<(i32, f64)>> = BTreeMap::new();
    for metric in metrics.iter().filter(|metric| metric.epoch >= 0) {
        found
            .entry((&metric.candidate, &metric.name, &metric.split))
            .or_default()
            .push((metric.epoch, metric.value));
    }
    found
        .into_iter()
        .map(|((candidate, name, split), mut points)| {
            points.sort_by_key(|(epoch, _)| *epoch);
            Curve { candidate: candidate.to_owned(), split: split.to_owned(), name: name.to_owned(), points }
        })
        .collect()
}

/// `█▆▄▃▂▂▁▁`: the values from lowest to highest, neighbours averaged where there are too many.
pub(super) fn sparkline(values: &[f64]) -> String {
    let size = values.len().div_ceil(WIDTH).max(1);
    let means: Vec<f64> =
        values.chunks(size).map(|chunk| chunk.iter().sum::<f64>() / chunk.len() as f64).collect();
    let lowest = means.iter().copied().fold(f64::INFINITY, f64::min);
    let highest = means.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    means
        .iter()
        .map(|mean| {
            let share = (mean - lowest) / (highest - lowest);
            // A flat curve has no height at all.
            let share = if share.is_finite() { share } else { 0.0 };
            let above = (0..MARKS.len() - 1).take_while(|&mark| share * 8.0 >= (mark + 1) as f64).count();
            MARKS[above]
        })
        .collect()
}

/// A line for each curve: its marks, its first, lowest and last value.
pub(super) fn lines(curves: &[Curve]) -> Vec<String> {
    curves
        .iter()
        .filter_map(|curve| {
            let values: Vec<f64> = curve.points.iter().map(|(_, value)| *value).collect();
            let (first, last) = (values.first()?, values.last()?);
            let lowest = curve.points.iter().min_by(|a, b| a.1.total_cmp(&b.1))?;
            Some(format!(
                "{} {} {:<10} {}  {first:.4} to {last:.4}, lowest {:.4} in epoch {}",
                curve.candidate,
                curve.name,
                curve.split,
                sparkline(&values),
                lowest.1,
                lowest.0
            ))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_follow_the_values() {
        assert_eq!(sparkline(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]), "▁▂▃▄▅▆▇█");
        assert_eq!(sparkline(&[3.0, 3.0]), "▁▁");
        assert_eq!(sparkline(&[]), "");
        let long: Vec<f64> = (0..1000).map(f64::from).collect();
        assert!(sparkline(&long).chars().count() <= WIDTH);
        assert!(sparkline(&long).starts_with('▁') && sparkline(&long).ends_with('█'));
    }

    #[test]
    fn curves_leave_the_final_evaluation_out() {
        let metric = |epoch, value| Metric {
            candidate: "deep".into(),
            split: "train".into(),
            epoch,
            name: "loss".into(),
            value,
        };
        let found = curves(&[metric(-1, 9.0), metric(2, 1.0), metric(1, 2.0)]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].points, [(1, 2.0), (2, 1.0)]);
        assert_eq!(lines(&found), ["deep loss train      █▁  2.0000 to 1.0000, lowest 1.0000 in epoch 2"]);
    }
}
