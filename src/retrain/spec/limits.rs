//! What a run may use up.

use serde::{Deserialize, Serialize};

/// Limits of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsSpec {
    /// Threads that libtorch computes with. It decides in which order numbers are added, so it is part of what makes a run
    /// repeatable.
    pub threads: usize,
    /// Minutes that the deep model may train, the search included; absent: no limit. The best epoch until then counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_minutes: Option<f64>,
    /// The same for minutes on a GPU, which is what costs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_gpu_minutes: Option<f64>,
    /// Seconds between checkpoints.
    pub checkpoint_seconds: f64,
}

impl Default for LimitsSpec {
    fn default() -> Self {
        Self { threads: 1, max_minutes: None, max_gpu_minutes: None, checkpoint_seconds: 60.0 }
    }
}

impl LimitsSpec {
    /// Everything that cannot work, in sentences with the field's name.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if !(1..=1024).contains(&self.threads) {
            problems.push(format!("limits.threads {} is not between 1 and 1024", self.threads));
        }
        for (name, value) in [
            ("max_minutes", self.max_minutes),
            ("max_gpu_minutes", self.max_gpu_minutes),
            ("checkpoint_seconds", Some(self.checkpoint_seconds)),
        ] {
            if let Some(value) = value
                && !(value.is_finite() && value > 0.0 && value < 1e9)
            {
                problems.push(format!("limits.{name} {value} is not above 0"));
            }
        }
        problems
    }
}
