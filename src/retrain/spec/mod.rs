//! What a training run is asked to do, frozen when it is queued.

use serde::{Deserialize, Serialize};

use crate::baseline::Season;
use crate::model::ModelName;

mod objective;
mod data;
mod features;
mod deep;
mod simple;
mod limits;
mod evaluation;
mod export;

pub use data::{ClassWeights, DataSpec, Duplicates, Leakage, LeakageAction};
pub use deep::{Activation, Architecture, AttentionSpec, DeepSpec, Normalisation, Schedule, SearchSpec};
pub use evaluation::EvaluationSpec;
pub use export::ExportSpec;
pub use features::{DateSpec, FeatureSpec, FeaturesSpec, Imputation, InteractionSpec, Scaling};
pub use limits::LimitsSpec;
pub use objective::{Objective, Task};
pub use simple::{GoodEnough, SimpleSpec};

/// Where the rows come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Source {
    /// Captured rows joined with their labels.
    Captured,
    /// Parquet, CSV or JSONL files that hold features, target and, where there is one, the time.
    File {
        /// Path as the worker sees it, or a pattern such as `rows/*.parquet`.
        path: String,
        /// Column with the event time, RFC 3339 or `YYYY-MM-DDTHH:MM:SS`; absent: the rows have none, and the parts are
        /// drawn at random, alike in the target.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        time_column: Option<String>,
        /// Rows before this instant are left out (RFC 3339).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<String>,
        /// Rows at or after this instant are left out (RFC 3339).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<String>,
    },
    /// Rows of a query on a Postgres database, in a transaction that only reads.
    Query {
        /// One statement that gives rows.
        sql: String,
        /// Where the worker finds the connection URL.
        connection: Connection,
        /// Column with the event time; absent: the rows have none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        time_column: Option<String>,
        /// Seconds that the query may take.
        #[serde(default = "default_timeout_seconds")]
        timeout_seconds: u64,
    },
}

/// Where the worker finds a connection URL, which is in no specification since it may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Connection {
    /// In this environment variable.
    Env(String),
    /// In this file.
    File(String),
}

fn default_timeout_seconds() -> u64 {
    600
}

impl Source {
    /// Everything that cannot work, in sentences with the field's name.
    pub fn problems(&self) -> Vec<String> {
        match self {
            Self::Query { timeout_seconds: 0, .. } => vec!["source.query.timeout_seconds is 0".to_owned()],
            Self::Query { sql, .. } if sql.trim().is_empty() => vec!["source.query.sql is empty".to_owned()],
            Self::Captured | Self::File { .. } | Self::Query { .. } => Vec::new(),
        }
    }
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
    /// The loss; absent: squared error of numbers, log loss of classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objective: Option<Objective>,
    /// Which rows are taken, and how they count.
    #[serde(default)]
    pub data: DataSpec,
    /// The columns to train on and what is made of them.
    #[serde(default, deserialize_with = "FeaturesSpec::listed_or_full")]
    pub features: FeaturesSpec,
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
    /// The simple models that come before the deep one.
    #[serde(default)]
    pub simple: SimpleSpec,
    /// The deep model.
    #[serde(default)]
    pub deep: DeepSpec,
    /// What the run may use up.
    #[serde(default)]
    pub limits: LimitsSpec,
    /// How its models are judged.
    #[serde(default)]
    pub evaluation: EvaluationSpec,
    /// What is written beside the artifact.
    #[serde(default)]
    pub export: ExportSpec,
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
    /// The loss that the run trains and is judged on.
    pub fn objective(&self) -> Objective {
        self.objective.unwrap_or(Objective::default_of(self.task))
    }

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
        if self.features.columns.iter().any(|feature| feature.name == self.target) {
            problems.push(format!("the target `{}` is also a feature", self.target));
        }
        problems.extend(self.objective.and_then(|objective| objective.problem(self.task)));
        problems.extend(self.data.problems());
        problems.extend(self.features.problems());
        problems.extend(self.source.problems());
        problems.extend(self.simple.problems(self.task));
        problems.extend(self.deep.problems());
        problems.extend(self.limits.problems());
        problems.extend(self.evaluation.problems());
        problems.extend(self.export.problems());
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn specifications_of_earlier_builds_are_read() {
        let old = json!({
            "model": "m", "task": "binary", "target": "y", "source": "captured", "artifacts": "a",
            "features": [{"name": "a", "kind": "numeric"}],
            "deep": {"hidden": [8], "max_epochs": 3, "patience": 2, "batch_size": 64, "learning_rate": 0.01,
                     "weight_decay": 0.0, "dropout": 0.0},
        });
        let spec: TrainingSpec = serde_json::from_value(old).unwrap();
        assert_eq!((spec.features.columns.len(), spec.objective()), (1, Objective::LogLoss));
        let again: TrainingSpec = serde_json::from_value(serde_json::to_value(&spec).unwrap()).unwrap();
        assert_eq!(again, spec);
        let unknown = json!({"model": "m", "task": "binary", "target": "y", "source": "captured",
                             "artifacts": "a", "features": {"colums": []}});
        let problem = serde_json::from_value::<TrainingSpec>(unknown).unwrap_err().to_string();
        assert!(problem.contains("unknown field `colums`"), "{problem}");
    }
}
