//! Settings of what is exported to Prometheus.

use serde::Deserialize;

/// Most columns with series of their own, whatever the settings say.
const MOST_FEATURES: usize = 10_000;

/// What is exported to Prometheus.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExportedMetrics {
    /// Columns of a model with series of their own, those with the largest effect; all others are one, `(other)`.
    pub features: usize,
}

impl ExportedMetrics {
    /// Columns of a model with series of their own, where the settings say nothing.
    pub const DEFAULT_FEATURES: usize = 100;

    /// What cannot be.
    pub(super) fn contradictions(&self) -> Option<String> {
        (!(1..=MOST_FEATURES).contains(&self.features))
            .then(|| format!("`metrics.features` {} is not between 1 and {MOST_FEATURES}", self.features))
    }
}

impl Default for ExportedMetrics {
    fn default() -> Self {
        Self { features: Self::DEFAULT_FEATURES }
    }
}
