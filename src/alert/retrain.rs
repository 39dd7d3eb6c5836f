//! The `retrain` part of a rule: how an alert may become a training run.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Who decides whether a run starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetrainMode {
    /// The run is only written down as a suggestion.
    Suggest,
    /// The run waits for `retrain approve`.
    Approve,
    /// The run is queued at once.
    Auto,
}

/// At most `runs` in any span of `period`: `2 per 1d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// Number of runs.
    pub runs: u32,
    /// Length of the span.
    pub period: Duration,
}

/// What keeps retraining from storming.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetrainPolicy {
    /// Who decides.
    pub mode: RetrainMode,
    /// Time since the last run of the model ended before another may start.
    pub cooldown: Duration,
    /// Runs per period.
    pub budget: Budget,
    /// Labels that have come since the last run, below which none starts.
    pub min_labels: u64,
}

impl Default for RetrainPolicy {
    fn default() -> Self {
        Self {
            mode: RetrainMode::Suggest,
            cooldown: Duration::from_hours(6),
            budget: Budget { runs: 2, period: Duration::from_hours(24) },
            min_labels: 500,
        }
    }
}
