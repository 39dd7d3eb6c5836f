//! A model card: what a version is, how well it does, where it does badly, why it exists.
//!
//! It is made of what is stored with the version, as JSON, as Markdown ([`markdown`]) and with pictures ([`pictures`]).

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::evaluation::{Calibration, Metrics, Residuals, SegmentColumn};
use crate::drift::{DriftReport, Verdict};

mod chart;
mod markdown;

pub use markdown::{markdown, pictures};

/// Version of the card's JSON.
pub const FORMAT: u32 = 1;

/// What the winner of a run leaves behind beside its metrics; stored with them.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Evidence {
    /// Probabilities before and after their temperature.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Calibration>,
    /// What a regression leaves unexplained.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub residuals: Option<Residuals>,
    /// How well it does for each value of a column.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub segments: Vec<SegmentColumn>,
    /// What it takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<Cost>,
    /// The window that made a rule ask for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drift: Option<Drift>,
}

/// Size and speed of a model, in driftline's own evaluation on one thread.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Bytes of the artifact.
    pub bytes: u64,
    /// Median time of a single row, in milliseconds.
    pub row_ms_median: f64,
    /// 99th percentile of it.
    pub row_ms_p99: f64,
}

/// The drift that caused a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Drift {
    /// Start of the window.
    pub window_start: DateTime<Utc>,
    /// End of the window.
    pub window_end: DateTime<Utc>,
    /// The baseline that it was compared with.
    pub baseline: String,
    /// Rows of the window.
    pub rows: u64,
    /// The columns that drifted, with the reason of each.
    pub columns: Vec<(String, String)>,
}

impl Drift {
    /// What a report says of drift; none where it found none.
    pub fn of(report: &DriftReport) -> Option<Self> {
        (report.verdict == Verdict::Drift).then(|| Self {
            window_start: report.window_start,
            window_end: report.window_end,
            baseline: report.baseline.clone(),
            rows: report.rows,
            columns: report
                .features
                .iter()
                .filter(|feature| feature.verdict == Verdict::Drift)
                .map(|feature| (feature.name.clone(), feature.reason.clone()))
                .collect(),
        })
    }
}

/// A metric by epoch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    /// `train` or `validation`.
    pub split: String,
    /// Epochs and losses, in order.
    pub points: Vec<(i32, f64)>,
}

/// What a card says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Card {
    /// [`FORMAT`].
    pub format: u32,
    /// Name of the model.
    pub model: String,
    /// Number of the version.
    pub version: i64,
    /// `candidate`, `production`, `archived` or `rejected`.
    pub state: String,
    /// `linear`, `tree` or `deep`.
    pub kind: String,
    /// What it predicts, and the column.
    pub task: String,
    /// The target column.
    pub target: String,
    /// When it was registered.
    pub registered_at: DateTime<Utc>,
    /// Why its run was asked for.
    pub reason: String,
    /// What the gate said.
    pub decision: String,
    /// Rows of each part, and where they are from.
    pub data: BTreeMap<String, String>,
    /// Held-out metrics by candidate.
    pub metrics: BTreeMap<String, Metrics>,
    /// Share of each feature in what it knows, the greatest first.
    pub importance: Vec<(String, f64)>,
    /// Learning curves of the deep model.
    pub curves: Vec<Curve>,
    /// The rest.
    pub evidence: Evidence,
    /// What it takes to make it again: seed, snapshot, hashes, build.
    pub reproducibility: BTreeMap<String, String>,
}
