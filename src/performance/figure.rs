//! The figures of performance and their names.

use serde::{Deserialize, Serialize};

/// What a model predicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// One of two classes.
    Binary,
    /// One of several classes.
    Multiclass,
    /// A number.
    Regression,
}

impl Task {
    /// The word used in settings and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Binary => "binary",
            Self::Multiclass => "multiclass",
            Self::Regression => "regression",
        }
    }
}

/// A figure of performance; [`super::metrics`] says what each means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Share of predictions that were right.
    Accuracy,
    /// Share of what was said to be positive that is.
    Precision,
    /// Share of the positives that were said to be.
    Recall,
    /// Harmonic mean of precision and recall; of several classes the mean.
    F1,
    /// F1 of several classes, each with the weight of its rows.
    F1Weighted,
    /// Area under the ROC curve; of several classes the mean of one against the rest.
    RocAuc,
    /// Average precision.
    PrAuc,
    /// Log loss in nats.
    LogLoss,
    /// Brier score.
    Brier,
    /// Expected calibration error over ten bins of equal mass.
    CalibrationError,
    /// Mean absolute error.
    Mae,
    /// Root of the mean squared error.
    Rmse,
    /// Mean absolute error as a share of the target.
    Mape,
    /// Share of the target's variance that is explained.
    R2,
    /// Mean pinball loss of the predicted quantile.
    Pinball,
    /// Mean Poisson deviance.
    PoissonDeviance,
}

impl Metric {
    /// Every figure.
    pub const ALL: [Self; 16] = [
        Self::Accuracy,
        Self::Precision,
        Self::Recall,
        Self::F1,
        Self::F1Weighted,
        Self::RocAuc,
        Self::PrAuc,
        Self::LogLoss,
        Self::Brier,
        Self::CalibrationError,
        Self::Mae,
        Self::Rmse,
        Self::Mape,
        Self::R2,
        Self::Pinball,
        Self::PoissonDeviance,
    ];

    /// The name used in rules, reports, tables and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accuracy => "accuracy",
            Self::Precision => "precision",
            Self::Recall => "recall",
            Self::F1 => "f1",
            Self::F1Weighted => "f1_weighted",
            Self::RocAuc => "roc_auc",
            Self::PrAuc => "pr_auc",
            Self::LogLoss => "log_loss",
            Self::Brier => "brier",
            Self::CalibrationError => "calibration_error",
            Self::Mae => "mae",
            Self::Rmse => "rmse",
            Self::Mape => "mape",
            Self::R2 => "r2",
            Self::Pinball => "pinball",
            Self::PoissonDeviance => "poisson_deviance",
        }
    }

    /// The figure of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|metric| metric.as_str() == name)
    }

    /// Whether more of it is better.
    pub fn more_is_better(self) -> bool {
        matches!(
            self,
            Self::Accuracy
                | Self::Precision
                | Self::Recall
                | Self::F1
                | Self::F1Weighted
                | Self::RocAuc
                | Self::PrAuc
                | Self::R2
        )
    }

    /// The figure that says most of a task in one number, in the order in which they are looked for.
    pub fn first_of(task: Task) -> &'static [Self] {
        match task {
            Task::Binary => &[Self::RocAuc, Self::F1, Self::Accuracy],
            Task::Multiclass => &[Self::F1, Self::Accuracy],
            Task::Regression => &[Self::Rmse, Self::Mae],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_are_those_of_stored_reports() {
        for metric in Metric::ALL {
            assert_eq!(Metric::parse(metric.as_str()), Some(metric));
            assert_eq!(serde_json::to_value(metric).unwrap(), metric.as_str());
        }
        assert_eq!(Metric::parse("auc"), None);
    }
}
