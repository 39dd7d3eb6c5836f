//! What a run may use up.

use serde::{Deserialize, Serialize};

/// Limits of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsSpec {
    /// Threads that libtorch computes with. It decides in which order numbers are added, so it is part of what makes a run
    /// repeatable.
    pub threads: usize,
}

impl Default for LimitsSpec {
    fn default() -> Self {
        Self { threads: 1 }
    }
}

impl LimitsSpec {
    /// Everything that cannot work, in sentences with the field's name.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if !(1..=1024).contains(&self.threads) {
            problems.push(format!("limits.threads {} is not between 1 and 1024", self.threads));
        }
        problems
    }
}
