//! Which rows a run takes from its source, and how they count.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Task;

/// How much the rows of a class count.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClassWeights {
    /// Every row alike.
    #[default]
    Equal,
    /// Every class alike: the rows of a rare one count more.
    Balanced,
    /// As said, by class (`0` and `1` where there are two); a class that is not named counts 1.
    Given(BTreeMap<String, f64>),
}

/// What is done about rows that occur twice: the same values, the same target and, where there are times, the same
/// time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Duplicates {
    /// Counted, and told.
    Keep,
    /// What is held out is taken out of the parts before it, so that no test row is trained on.
    #[default]
    Split,
    /// Each row once in all.
    Drop,
}

/// What is done when one feature alone tells the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeakageAction {
    /// The run ends `rejected`.
    Refuse,
    /// A warning.
    Warn,
    /// Nothing; it is not looked for.
    Ignore,
}

/// When a feature knows too much.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Leakage {
    /// What is done; absent: captured features, which were known when the prediction was asked for, are warned of, and
    /// those of files and queries refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<LeakageAction>,
    /// Share of the target's variance on the validation part that a feature alone may explain.
    pub limit: f64,
}

impl Default for Leakage {
    fn default() -> Self {
        Self { action: None, limit: 0.98 }
    }
}

/// Rows, weights and splits.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DataSpec {
    /// Column with the weight of each row, a number of 0 or more; it is no feature.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample_weight: Option<String>,
    /// How much the rows of a class count.
    pub class_weights: ClassWeights,
    /// Age in days at which a row of the training part counts half as much as the newest one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub half_life_days: Option<f64>,
    /// Only the rows of the newest so many days (a sliding window); absent: all rows (an expanding one).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window_days: Option<f64>,
    /// Column that says whose row it is. All rows of one entity are in one part; the entities that appeared last are
    /// held out. It is no feature unless it is listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entity: Option<String>,
    /// Share of the rows between validation and test that calibrate probabilities; absent: 0.05 of classes, none of a
    /// regression.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calibration_share: Option<f64>,
    /// What is done about rows that occur twice.
    pub duplicates: Duplicates,
    /// What is done when one feature alone tells the target.
    pub leakage: Leakage,
}

impl DataSpec {
    /// Share of the rows that calibrate probabilities.
    pub fn calibration_share(&self, task: Task) -> f64 {
        self.calibration_share.unwrap_or(match task {
            Task::Regression => 0.0,
            Task::Binary | Task::Multiclass => 0.05,
        })
    }

    /// Everything that cannot work, in sentences with the field's name.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let days = [("half_life_days", self.half_life_days), ("window_days", self.window_days)];
        for (name, value) in days {
            if let Some(days) = value.filter(|days| !(days.is_finite() && *days > 0.0)) {
                problems.push(format!("data.{name} {days} is not above 0"));
            }
        }
        if let ClassWeights::Given(weights) = &self.class_weights {
            for (class, weight) in weights {
                if !(weight.is_finite() && *weight > 0.0) {
                    problems.push(format!("data.class_weights: {weight} of class `{class}` is not above 0"));
                }
            }
        }
        if let Some(share) = self.calibration_share.filter(|share| !(0.0..=0.3).contains(share)) {
            problems.push(format!("data.calibration_share {share} is not between 0 and 0.3"));
        }
        let limit = self.leakage.limit;
        if !(limit > 0.0 && limit <= 1.0) {
            problems.push(format!("data.leakage.limit {limit} is not above 0 and at most 1"));
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<DataSpec, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn reads_what_is_written_and_nothing_else() {
        let text = r#"{"sample_weight": "w", "class_weights": {"given": {"1": 5}}, "half_life_days": 30,
                       "window_days": 365, "entity": "customer", "duplicates": "drop",
                       "leakage": {"action": "warn"}}"#;
        let spec = read(text).unwrap();
        assert_eq!(spec.problems(), Vec::<String>::new());
        assert_eq!(spec.class_weights, ClassWeights::Given(BTreeMap::from([("1".to_owned(), 5.0)])));
        assert_eq!(read(&serde_json::to_string(&spec).unwrap()).unwrap(), spec);
        assert_eq!(read("{}").unwrap(), DataSpec::default());
        assert!(read(r#"{"half_live_days": 1}"#).unwrap_err().contains("half_live_days"));
    }

    #[test]
    fn every_problem_names_its_field() {
        let text = r#"{"half_life_days": 0, "window_days": -1, "class_weights": {"given": {"a": 0}},
                       "calibration_share": 0.5, "leakage": {"limit": 0}}"#;
        let problems = read(text).unwrap().problems();
        let fields = ["half_life_days", "window_days", "class_weights", "calibration_share", "limit"];
        assert_eq!(problems.len(), fields.len(), "{problems:?}");
        for (problem, field) in problems.iter().zip(fields) {
            assert!(problem.contains(field), "{problem}");
        }
    }
}
