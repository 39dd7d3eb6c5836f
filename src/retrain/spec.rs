//! What a training run is asked to do, frozen when it is queued.

use serde::{Deserialize, Serialize};

use crate::baseline::Season;
use crate::model::{FeatureKind, ModelName};

/// What the model predicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// A number: ridge first, squared error.
    Regression,
    /// One of two classes, labels 0/1 or false/true: logistic regression first, log loss.
    Binary,
}

/// Where the rows come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Source {
    /// Captured rows joined with their labels.
    Captured,
    /// A Parquet, CSV or JSONL file that holds features, target and time.
    File {
        /// Path as the worker sees it.
        path: String,
        /// Column with the event time, RFC 3339 or `YYYY-MM-DDTHH:MM:SS`.
        time_column: String,
        /// Rows before this instant are left out (RFC 3339).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<String>,
        /// Rows at or after this instant are left out (RFC 3339).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<String>,
    },
}

/// A column of the training set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeatureSpec {
    /// Name, as in the capture, the file and the served request.
    pub name: String,
    /// Numeric columns are imputed and scaled, the others one-hot encoded.
    pub kind: FeatureKind,
}

/// What a baseline is segmented by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SegmentSpec {
    /// The columns; one that the rows lack is left out.
    pub columns: Vec<String>,
    /// Values of each with a segment of their own.
    pub values: usize,
}

/// Hyperparameters of the deep model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeepSpec {
    /// Units of each hidden ReLU layer.
    pub hidden: Vec<usize>,
    /// Upper limit of epochs.
    pub max_epochs: usize,
    /// Epochs without a better validation loss before training stops.
    pub patience: usize,
    /// Rows per step.
    pub batch_size: usize,
    /// Step size of AdamW.
    pub learning_rate: f64,
    /// Decoupled weight decay of AdamW.
    pub weight_decay: f64,
    /// Share of hidden units dropped while training.
    pub dropout: f64,
}

impl Default for DeepSpec {
    fn default() -> Self {
        Self {
            hidden: vec![64, 64, 64],
            max_epochs: 100,
            patience: 10,
            batch_size: 256,
            learning_rate: 1e-3,
            weight_decay: 1e-4,
            dropout: 0.0,
        }
    }
}

/// Everything that decides what a run produces, with the snapshot and the build.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingSpec {
    /// The model to train.
    pub model: ModelName,
    /// What it predicts.
    pub task: Task,
    /// Name of the target column (of the label, where rows are captured).
    pub target: String,
    /// Where the rows come from.
    pub source: Source,
    /// The columns to train on; empty: all of the active baseline's features.
    #[serde(default)]
    pub features: Vec<FeatureSpec>,
    /// Share of the newest rows held out for the gate.
    #[serde(default = "default_test_share")]
    pub test_share: f64,
    /// Share of the rows before them used for early stopping and regularisation.
    #[serde(default = "default_validation_share")]
    pub validation_share: f64,
    /// Labelled rows below which the run ends `rejected`.
    #[serde(default = "default_min_labels")]
    pub min_labels: u64,
    /// Keep only the newest so many rows; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_rows: Option<u64>,
    /// Seeds every random choice.
    #[serde(default)]
    pub seed: u64,
    /// `auto`, `cpu` or `cuda:N`.
    #[serde(default = "default_device")]
    pub device: String,
    /// The deep model.
    #[serde(default)]
    pub deep: DeepSpec,
    /// Name of the output column in the new baseline, as the model server calls it.
    #[serde(default = "default_output")]
    pub output: String,
    /// Length of the model's window: the new baseline learns its natural variation from blocks of it.
    #[serde(default = "default_window_seconds")]
    pub window_seconds: u64,
    /// Rhythm of the traffic, for the new baseline.
    #[serde(default)]
    pub season: Season,
    /// What the new baseline is segmented by; absent: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segments: Option<SegmentSpec>,
    /// Where artifacts are written: a folder that the sidecar and the worker share.
    pub artifacts: String,
    /// Where files of captured rows are written; absent: `capture` beside the artifacts. They are read wherever they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capture: Option<String>,
}

impl TrainingSpec {
    /// Everything in the specification that cannot work, in sentences.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for (name, share) in [("test_share", self.test_share), ("validation_share", self.validation_share)] {
            if !(share.is_finite() && (0.05..=0.5).contains(&share)) {
                problems.push(format!("{name} {share} is not between 0.05 and 0.5"));
            }
        }
        if self.test_share + self.validation_share > 0.8 {
            problems.push("test_share and validation_share leave less than a fifth for training".to_owned());
        }
        if self.features.iter().any(|feature| feature.name == self.target) {
            problems.push(format!("the target `{}` is also a feature", self.target));
        }
        let deep = &self.deep;
        if deep.hidden.is_empty() || deep.hidden.iter().any(|&units| units == 0 || units > 65_536) {
            problems.push("deep.hidden needs at least one layer, each of 1 to 65536 units".to_owned());
        }
        if deep.max_epochs == 0 || deep.batch_size == 0 || deep.patience == 0 {
            problems.push("deep.max_epochs, deep.batch_size and deep.patience must be at least 1".to_owned());
        }
        if !(deep.learning_rate.is_finite() && deep.learning_rate > 0.0) {
            problems.push(format!("deep.learning_rate {} is not above 0", deep.learning_rate));
        }
        if !(deep.weight_decay.is_finite() && deep.weight_decay >= 0.0) {
            problems.push(format!("deep.weight_decay {} is not 0 or more", deep.weight_decay));
        }
        if !(0.0..1.0).contains(&deep.dropout) {
            problems.push(format!("deep.dropout {} is not in [0, 1)", deep.dropout));
        }
        problems
    }
}

fn default_test_share() -> f64 {
    0.2
}

fn default_validation_share() -> f64 {
    0.2
}

fn default_min_labels() -> u64 {
    500
}

fn default_output() -> String {
    "prediction".to_owned()
}

fn default_window_seconds() -> u64 {
    3600
}

fn default_device() -> String {
    "auto".to_owned()
}

/// Why a run exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", content = "text")]
pub enum RunReason {
    /// An alert rule asked for it.
    Rule(String),
    /// A person asked for it.
    Person(String),
    /// The first version of a model.
    Bootstrap(String),
}

impl RunReason {
    /// The word stored in `training_run.reason_kind`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Rule(_) => "rule",
            Self::Person(_) => "person",
            Self::Bootstrap(_) => "bootstrap",
        }
    }

    /// The sentence stored in `training_run.reason`.
    pub fn text(&self) -> &str {
        match self {
            Self::Rule(text) | Self::Person(text) | Self::Bootstrap(text) => text,
        }
    }
}

/// The life of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// A rule in mode `suggest` would start it; a person decides.
    Suggested,
    /// A rule in mode `approve` asked for it; a person releases it.
    AwaitingApproval,
    /// Waits for a worker.
    Queued,
    /// A worker holds its lease.
    Running,
    /// Ended with a new production version.
    Succeeded,
    /// Ended without one, by decision: too few labels, or no better model.
    Rejected,
    /// Ended by an error.
    Failed,
    /// Ended by a person.
    Cancelled,
}

impl RunState {
    /// The word stored in `training_run.state`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Suggested => "suggested",
            Self::AwaitingApproval => "awaiting_approval",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Rejected => "rejected",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// The state that `word` names.
    pub fn parse(word: &str) -> Option<Self> {
        [
            Self::Suggested,
            Self::AwaitingApproval,
            Self::Queued,
            Self::Running,
            Self::Succeeded,
            Self::Rejected,
            Self::Failed,
            Self::Cancelled,
        ]
        .into_iter()
        .find(|state| state.as_str() == word)
    }

    /// Whether nothing more will happen to the run.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Rejected | Self::Failed | Self::Cancelled)
    }
}
