//! The report on how good the predictions of one window were, and what it is compared with.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::{Metric, Task};
use crate::model::ModelName;

/// Earlier windows that a window is compared with, at the fewest.
const FEWEST_WINDOWS: usize = 3;

/// A figure and how far it may be off.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The figure.
    pub value: f64,
    /// Its standard error, where one could be worked out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standard_error: Option<f64>,
}

/// What figures are compared with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Against {
    /// Where they are from, such as `version 3, held out` or `12 earlier windows`.
    pub source: String,
    /// The figures.
    pub figures: BTreeMap<Metric, f64>,
}

/// Some rows of a window: all of them, or those of a segment.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Cohort {
    /// Key of the segment, such as `region=eu`; absent: all rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segment: Option<String>,
    /// Predictions that were kept.
    pub rows: u64,
    /// Of these, with a label.
    pub labelled: u64,
    /// Of these, behind the figures: prediction and label could be read, and they are in the sample of a large window.
    pub n: u64,
    /// The figures that are defined on these rows.
    pub figures: BTreeMap<Metric, Estimate>,
    /// What they are compared with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<Against>,
}

impl Cohort {
    /// Share of the rows with a label; none without rows.
    pub fn labelled_share(&self) -> Option<f64> {
        (self.rows > 0).then(|| self.labelled as f64 / self.rows as f64)
    }

    /// The figure it is compared with.
    pub fn before(&self, metric: Metric) -> Option<f64> {
        self.baseline.as_ref()?.figures.get(&metric).copied()
    }

    /// What is said of one figure: `accuracy is 0.712 (standard error 0.011) over 812 labelled predictions, 0.803 in
    /// version 3, held out`.
    pub fn sentence(&self, metric: Metric) -> Option<String> {
        let Estimate { value, standard_error } = self.figures.get(&metric)?;
        let error = standard_error.map(|error| format!(" (standard error {error:.3})")).unwrap_or_default();
        let before = self.baseline.as_ref().and_then(|against| {
            Some(format!(", {:.3} in {}", against.figures.get(&metric)?, against.source))
        });
        let (name, n) = (metric.as_str(), self.n);
        let before = before.unwrap_or_default();
        Some(format!("{name} is {value:.3}{error} over {n} labelled predictions{before}"))
    }
}

/// How good the predictions of one window were, as far as labels have come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PerformanceReport {
    /// The model.
    pub model: ModelName,
    /// First instant of the window.
    pub window_start: DateTime<Utc>,
    /// End of the window, exclusive.
    pub window_end: DateTime<Utc>,
    /// What the model predicts.
    pub task: Task,
    /// Whether labels have had the time that they usually take; before that, the rows with one are a selection.
    pub mature: bool,
    /// How long labels usually take, in seconds.
    pub delay_seconds: f64,
    /// All rows.
    pub all: Cohort,
    /// Every segment of the active baseline, with or without rows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub segments: Vec<Cohort>,
}

impl PerformanceReport {
    /// The cohort of a segment, or that of all rows.
    pub fn cohort(&self, segment: Option<&str>) -> Option<&Cohort> {
        match segment {
            None => Some(&self.all),
            Some(key) => self.segments.iter().find(|cohort| cohort.segment.as_deref() == Some(key)),
        }
    }

    /// The cohorts, that of all rows first.
    pub fn cohorts_mut(&mut self) -> impl Iterator<Item = &mut Cohort> {
        std::iter::once(&mut self.all).chain(&mut self.segments)
    }
}

/// The held-out figures of a version, as the registry has them: by candidate, each metric with its `value`.
pub fn held_out(version: i64, kind: &str, metrics: &Json) -> Option<Against> {
    let figures: BTreeMap<Metric, f64> = metrics
        .get(kind)?
        .as_object()?
        .iter()
        .filter_map(|(name, estimate)| {
            let value = estimate.get("value").unwrap_or(estimate).as_f64()?;
            Some((Metric::parse(name)?, value))
        })
        .collect();
    (!figures.is_empty()).then(|| Against { source: format!("version {version}, held out"), figures })
}

/// The figures of earlier windows together, each with the weight of its rows; none of fewer than three windows.
pub fn pooled<'c>(earlier: impl IntoIterator<Item = &'c Cohort>) -> Option<Against> {
    let mut windows = 0;
    let mut sums: BTreeMap<Metric, (f64, f64)> = BTreeMap::new();
    for cohort in earlier.into_iter().filter(|cohort| cohort.n > 0) {
        windows += 1;
        for (metric, estimate) in &cohort.figures {
            let (sum, weight) = sums.entry(*metric).or_default();
            *sum += estimate.value * cohort.n as f64;
            *weight += cohort.n as f64;
        }
    }
    let figures: BTreeMap<Metric, f64> =
        sums.into_iter().map(|(metric, (sum, weight))| (metric, sum / weight)).collect();
    let enough = windows >= FEWEST_WINDOWS && figures.values().all(|value| value.is_finite());
    enough.then(|| Against { source: format!("{windows} earlier windows"), figures })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn cohort(n: u64, accuracy: f64) -> Cohort {
        let estimate = Estimate { value: accuracy, standard_error: Some(0.0125) };
        Cohort {
            rows: 2 * n,
            labelled: n,
            n,
            figures: [(Metric::Accuracy, estimate)].into(),
            ..Cohort::default()
        }
    }

    #[test]
    fn versions_have_their_figures_by_candidate() {
        let metrics = json!({
            "linear": {"accuracy": {"value": 0.75, "lower": 0.7, "upper": 0.8}, "own": {"value": 1.0}},
            "deep": {"rmse": 2.5},
            "gate": {"reason": "x"},
        });
        let against = held_out(3, "linear", &metrics).unwrap();
        assert_eq!(against.source, "version 3, held out");
        assert_eq!(against.figures, [(Metric::Accuracy, 0.75)].into());
        assert_eq!(held_out(1, "deep", &metrics).unwrap().figures, [(Metric::Rmse, 2.5)].into());
        assert_eq!(held_out(1, "gate", &metrics), None);
        assert_eq!(held_out(1, "other", &metrics), None);
    }

    #[test]
    fn earlier_windows_weigh_by_their_rows() {
        let windows = [cohort(100, 0.9), cohort(300, 0.5), cohort(0, 0.0), cohort(100, 0.9)];
        let against = pooled(&windows).unwrap();
        assert_eq!(against.source, "3 earlier windows");
        assert!((against.figures[&Metric::Accuracy] - 0.66).abs() < 1e-12);
        assert_eq!(pooled(&windows[..3]), None, "two windows are too few");
    }

    #[test]
    fn figures_are_sentences() {
        let mut cohort = cohort(812, 0.7123);
        assert_eq!(
            cohort.sentence(Metric::Accuracy).unwrap(),
            "accuracy is 0.712 (standard error 0.013) over 812 labelled predictions"
        );
        let figures = [(Metric::Accuracy, 0.8026)].into();
        cohort.baseline = Some(Against { source: "version 3, held out".into(), figures });
        assert!(cohort.sentence(Metric::Accuracy).unwrap().ends_with(", 0.803 in version 3, held out"));
        assert_eq!((cohort.sentence(Metric::F1), cohort.labelled_share()), (None, Some(0.5)));
    }
}
