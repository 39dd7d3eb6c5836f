//! What a model predicts and which loss it is trained and judged on.

use serde::{Deserialize, Serialize};

/// What the model predicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// A number: ridge first.
    Regression,
    /// One of two classes, labels 0/1 or false/true: logistic regression first, log loss.
    Binary,
    /// One of several classes, labels are names: multinomial regression first, log loss.
    Multiclass,
}

/// The loss.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Objective {
    /// Squared error of a number.
    Mse,
    /// Squared error up to `delta`, absolute error beyond it.
    Huber {
        /// Where it changes over, in units of the target.
        #[serde(default = "default_delta")]
        delta: f64,
    },
    /// Deviance of a count, predicted through its logarithm.
    Poisson,
    /// Pinball loss of a quantile.
    Quantile {
        /// Which quantile, in (0, 1).
        q: f64,
    },
    /// Log loss of a class, in nats.
    LogLoss,
}

fn default_delta() -> f64 {
    1.0
}

impl Objective {
    /// The one of `task` where nothing is said.
    pub fn default_of(task: Task) -> Self {
        match task {
            Task::Regression => Self::Mse,
            Task::Binary | Task::Multiclass => Self::LogLoss,
        }
    }

    /// The name in a sentence.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mse => "mean squared error",
            Self::Huber { .. } => "Huber loss",
            Self::Poisson => "Poisson deviance",
            Self::Quantile { .. } => "pinball loss",
            Self::LogLoss => "log loss",
        }
    }

    /// Why the loss is not one of `task`, or cannot be one at all.
    pub fn problem(self, task: Task) -> Option<String> {
        match (self, task) {
            (Self::LogLoss, Task::Regression) => Some(
                "objective log_loss is one of classes; a regression has mse, huber, poisson or quantile"
                    .into(),
            ),
            (Self::LogLoss, _) => None,
            (_, Task::Binary | Task::Multiclass) => {
                Some(format!("objective: {} is one of numbers; classes have log_loss", self.name()))
            }
            (Self::Huber { delta }, _) if !(delta.is_finite() && delta > 0.0) => {
                Some(format!("objective.huber.delta {delta} is not above 0"))
            }
            (Self::Quantile { q }, _) if !(q > 0.0 && q < 1.0) => {
                Some(format!("objective.quantile.q {q} is not between 0 and 1"))
            }
            (Self::Mse | Self::Huber { .. } | Self::Poisson | Self::Quantile { .. }, Task::Regression) => {
                None
            }
        }
    }
}
