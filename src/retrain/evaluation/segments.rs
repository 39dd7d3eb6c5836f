//! How well a model does for each value of a column, and how far its values are treated alike.

use std::collections::BTreeMap;

use ndarray::Axis;
use serde::{Deserialize, Serialize};

use super::{Judged, THRESHOLD};
use crate::model::{Column, FeatureKind};
use crate::retrain::artifact::likeliest;
use crate::retrain::gate;
use crate::retrain::pipeline::level;
use crate::retrain::spec::Task;

/// Rows below which a segment is left out of fairness gaps: a share of fewer rows says nothing.
const MIN_ROWS: usize = 30;

/// Name of the rows whose column has no value.
const MISSING: &str = "(missing)";

/// Name of the rows whose value has no segment of its own.
const OTHER: &str = "(other)";

/// A model on the rows of one value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SegmentScore {
    /// The value, or `(missing)` or `(other)`.
    pub value: String,
    /// Rows.
    pub rows: usize,
    /// Mean of the loss that the gate compares.
    pub loss: f64,
    /// Share of rows that are said to be of class 1; the mean prediction of a regression; absent for several classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predicted: Option<f64>,
    /// Share of rows of class 1, or the mean of a regression's target; absent for several classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed: Option<f64>,
    /// Of the rows of class 1, the share that is said to be; absent where there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub true_positive_rate: Option<f64>,
    /// Share of rows that are right, of classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
}

/// How far apart the values of a column are, of those with at least 30 rows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Fairness {
    /// Largest share of predicted positives less the smallest.
    pub demographic_parity_difference: f64,
    /// The smallest over the largest; 1 where all are 0.
    pub demographic_parity_ratio: f64,
    /// Largest true positive rate less the smallest; absent where fewer than two values have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub equal_opportunity_difference: Option<f64>,
}

/// The segments of one column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SegmentColumn {
    /// The column.
    pub column: String,
    /// Its values, the most frequent first.
    pub segments: Vec<SegmentScore>,
    /// Gaps between them; of binary tasks, where at least two values have enough rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fairness: Option<Fairness>,
}

/// Rows of each value of `column`, the most frequent first: at most `values` of them, the rest as `(other)`.
pub fn rows_by_value(column: &Column, rows: usize, values: usize) -> Vec<(String, Vec<usize>)> {
    let mut found: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for row in 0..rows {
        let level = column.values.get(row).and_then(|value| level(value, FeatureKind::Categorical));
        let name = level.map_or_else(|| MISSING.to_owned(), |level| level.to_string());
        found.entry(name).or_default().push(row);
    }
    let mut found: Vec<(String, Vec<usize>)> = found.into_iter().collect();
    found.sort_by(|a, b| b.1.len().cmp(&a.1.len()).then_with(|| a.0.cmp(&b.0)));
    if found.len() > values {
        let rest = found.split_off(values);
        let mut rows: Vec<usize> = rest.into_iter().flat_map(|(_, rows)| rows).collect();
        rows.sort_unstable();
        found.push((OTHER.to_owned(), rows));
    }
    found
}

/// Scores a model for each value of a column.
pub fn segments(judged: Judged<'_>, column: &Column, values: usize) -> SegmentColumn {
    let segments: Vec<SegmentScore> = rows_by_value(column, judged.targets.len(), values)
        .into_iter()
        .map(|(value, rows)| score(judged, value, &rows))
        .collect();
    let fairness = if judged.task == Task::Binary { fairness(&segments) } else { None };
    SegmentColumn { column: column.name.to_string(), segments, fairness }
}

fn score(judged: Judged<'_>, value: String, rows: &[usize]) -> SegmentScore {
    let answers = judged.answers.select(Axis(0), rows);
    let targets: Vec<f64> = rows.iter().filter_map(|&row| judged.targets.get(row).copied()).collect();
    let n = targets.len() as f64;
    let losses = gate::losses(judged.objective, answers.view(), &targets);
    let loss = losses.iter().sum::<f64>() / n;
    let first: Vec<f64> = answers.column(0).to_vec();
    let is_positive = |number: &f64| *number >= THRESHOLD;
    let share = |count: usize| count as f64 / n;
    let mut made = SegmentScore {
        value,
        rows: rows.len(),
        loss,
        predicted: None,
        observed: None,
        true_positive_rate: None,
        accuracy: None,
    };
    match judged.task {
        Task::Regression => {
            made.predicted = Some(first.iter().sum::<f64>() / n);
            made.observed = Some(targets.iter().sum::<f64>() / n);
        }
        Task::Binary => {
            let positives = targets.iter().filter(|target| is_positive(target)).count();
            let pairs = || first.iter().zip(&targets);
            let hits = pairs().filter(|(said, target)| is_positive(said) && is_positive(target)).count();
            let right = pairs().filter(|(said, target)| is_positive(said) == is_positive(target)).count();
            made.predicted = Some(share(first.iter().filter(|said| is_positive(said)).count()));
            made.observed = Some(share(positives));
            made.true_positive_rate = (positives > 0).then(|| hits as f64 / positives as f64);
            made.accuracy = Some(share(right));
        }
        Task::Multiclass => {
            let right = answers
                .rows()
                .into_iter()
                .zip(&targets)
                .filter(|(row, target)| (likeliest(row.iter().copied()) as f64 - **target).abs() < 0.5)
                .count();
            made.accuracy = Some(share(right));
        }
    }
    made
}

/// Gaps between the values with enough rows.
///
/// # Source
///
/// Definitions of fairlearn: `demographic_parity_difference`, `demographic_parity_ratio` and
/// `equal_opportunity_difference`, methods between groups.
fn fairness(segments: &[SegmentScore]) -> Option<Fairness> {
    let large: Vec<&SegmentScore> = segments.iter().filter(|segment| segment.rows >= MIN_ROWS).collect();
    let ends = |numbers: Vec<f64>| {
        if numbers.len() < 2 {
            return None;
        }
        let low = numbers.iter().copied().fold(f64::INFINITY, f64::min);
        let high = numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        Some((low, high))
    };
    let (low, high) = ends(large.iter().filter_map(|segment| segment.predicted).collect())?;
    let rates = ends(large.iter().filter_map(|segment| segment.true_positive_rate).collect());
    Some(Fairness {
        demographic_parity_difference: high - low,
        demographic_parity_ratio: if high > 0.0 { low / high } else { 1.0 },
        equal_opportunity_difference: rates.map(|(low, high)| high - low),
    })
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;
    use crate::model::Value;
    use crate::retrain::spec::Objective;

    #[test]
    fn gaps_are_those_of_fairlearn() {
        // fairlearn 0.15.0 on these 80 rows, group a first: demographic_parity_difference 0.5, demographic_parity_ratio
        // 1/3, equal_opportunity_difference 0.5 (selection rates 0.75 and 0.25, true positive rates 1 and 0.5).
        let (mut said, mut targets, mut groups) = (Vec::new(), Vec::new(), Vec::new());
        for row in 0..40 {
            said.push(if row < 30 { 0.9 } else { 0.1 });
            targets.push(f64::from(u8::from(row < 20)));
            groups.push(Value::Text("a".into()));
        }
        for row in 0..40 {
            said.push(if row < 10 { 0.9 } else { 0.1 });
            targets.push(f64::from(u8::from(row < 20)));
            groups.push(Value::Text("b".into()));
        }
        let answers = Array2::from_shape_vec((80, 1), said).unwrap();
        let judged = Judged {
            task: Task::Binary,
            objective: Objective::LogLoss,
            answers: answers.view(),
            targets: &targets,
        };
        let found = segments(judged, &Column { name: "group".into(), values: groups }, 20);
        let gaps = found.fairness.unwrap();
        assert!((gaps.demographic_parity_difference - 0.5).abs() < 1e-12, "{gaps:?}");
        assert!((gaps.demographic_parity_ratio - 1.0 / 3.0).abs() < 1e-12, "{gaps:?}");
        assert!((gaps.equal_opportunity_difference.unwrap() - 0.5).abs() < 1e-12, "{gaps:?}");
        assert_eq!(found.segments[0].accuracy, Some(0.75));
    }

    #[test]
    fn values_beyond_the_limit_and_missing_ones_are_segments_too() {
        let values = ["a", "a", "a", "b", "b", "c"].map(|value| Value::Text(value.into()));
        let column = Column { name: "g".into(), values: values.into() };
        let found = rows_by_value(&column, 7, 2);
        let named: Vec<(&str, usize)> =
            found.iter().map(|(name, rows)| (name.as_str(), rows.len())).collect();
        assert_eq!(named, [("a", 3), ("b", 2), ("(other)", 2)]);
        assert_eq!(rows_by_value(&column, 7, 9).last().map(|(name, _)| name.as_str()), Some("c"));
    }
}
