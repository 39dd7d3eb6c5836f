//! The two simple models that come before the deep one.

use serde::{Deserialize, Serialize};

use super::Task;

/// A metric on the validation part from which on a simple model is good enough.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GoodEnough {
    /// `mae`, `rmse` or `r2` of numbers; `accuracy` or `log_loss` of classes; `brier`, `f1` or `roc_auc` of two.
    pub metric: String,
    /// At least this, where more is better, else at most this.
    pub value: f64,
}

/// The linear model and the shallow tree.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SimpleSpec {
    /// Share of the penalty on absolute values, which takes weights to 0: 0 is ridge, 1 is the lasso.
    pub l1_ratio: f64,
    /// Splits on the way to a leaf of the tree; 0: no tree.
    pub tree_depth: usize,
    /// Where it is reached, no deep model is trained.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub good_enough: Option<GoodEnough>,
}

impl Default for SimpleSpec {
    fn default() -> Self {
        Self { l1_ratio: 0.0, tree_depth: 5, good_enough: None }
    }
}

impl GoodEnough {
    /// Metrics of `task`.
    pub fn known(task: Task) -> &'static [&'static str] {
        match task {
            Task::Regression => &["mae", "rmse", "r2"],
            Task::Binary => &["accuracy", "log_loss", "brier", "f1", "roc_auc"],
            Task::Multiclass => &["accuracy", "log_loss"],
        }
    }

    /// Whether `value` of the metric is good enough.
    pub fn is_reached(&self, value: f64) -> bool {
        match self.metric.as_str() {
            "r2" | "accuracy" | "f1" | "roc_auc" => value >= self.value,
            _ => value <= self.value,
        }
    }
}

impl SimpleSpec {
    /// Everything that cannot work, in sentences with the field's name.
    pub fn problems(&self, task: Task) -> Vec<String> {
        let mut problems = Vec::new();
        if !(0.0..=1.0).contains(&self.l1_ratio) {
            problems.push(format!("simple.l1_ratio {} is not between 0 and 1", self.l1_ratio));
        } else if self.l1_ratio > 0.0 && task != Task::Regression {
            problems.push("simple.l1_ratio is for a regression".to_owned());
        }
        if self.tree_depth > 12 {
            problems
                .push(format!("simple.tree_depth {} is above 12; that is no simple model", self.tree_depth));
        }
        if let Some(wanted) = &self.good_enough {
            let known = GoodEnough::known(task);
            if !known.contains(&wanted.metric.as_str()) {
                problems.push(format!(
                    "simple.good_enough.metric `{}` is none of {}",
                    wanted.metric,
                    known.join(", ")
                ));
            }
            if !wanted.value.is_finite() {
                problems.push("simple.good_enough.value is not a number".to_owned());
            }
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_knows_its_direction() {
        let reached =
            |metric: &str, value| GoodEnough { metric: metric.into(), value: 0.8 }.is_reached(value);
        assert!(reached("r2", 0.9) && !reached("r2", 0.7));
        assert!(reached("log_loss", 0.7) && !reached("log_loss", 0.9));
        assert!(!reached("r2", f64::NAN) && !reached("mae", f64::NAN));
    }

    #[test]
    fn every_problem_names_its_field() {
        let read = |text: &str| serde_json::from_str::<SimpleSpec>(text).unwrap();
        let spec = read(r#"{"l1_ratio": 2, "tree_depth": 99, "good_enough": {"metric": "r2", "value": 1}}"#);
        let problems = spec.problems(Task::Binary);
        assert_eq!(problems.len(), 3, "{problems:?}");
        assert!(
            problems[2].contains("`r2` is none of accuracy, log_loss, brier, f1, roc_auc"),
            "{problems:?}"
        );
        assert_eq!(SimpleSpec::default().problems(Task::Regression), Vec::<String>::new());
        let sparse = read(r#"{"l1_ratio": 0.5}"#);
        assert_eq!(sparse.problems(Task::Regression).len(), 0);
        assert_eq!(sparse.problems(Task::Binary), ["simple.l1_ratio is for a regression"]);
    }
}
