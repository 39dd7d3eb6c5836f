//! Settings of one monitored model, and of how it is retrained.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::{FalseAlarms, Labels, Performance, Privacy, Span};
use crate::baseline::Season;
use crate::decode::Format;
use crate::drift::Correction;
use crate::model::{FeatureKind, ModelName, Role};
use crate::privacy::{Fields, Rules};
use crate::profile::{DEFAULT_SEGMENT_VALUES, MAX_SEGMENT_COLUMNS, MAX_SEGMENT_VALUES};
use crate::retrain::{
    DataSpec, DeepSpec, EvaluationSpec, ExportSpec, FeaturesSpec, LimitsSpec, Objective, SimpleSpec, Source,
    Task,
};
use crate::schema::{Expected, Holds};
use crate::yaml::hint;

/// One monitored model.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSettings {
    /// Its name, as in the path of a request.
    pub name: ModelName,
    /// Other names by which events call it, such as `service`, `service/component` or `service/component/endpoint` of
    /// an inference service.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// The path of its predictions, where the path does not name the model.
    #[serde(default)]
    pub path: Option<String>,
    /// Names for the columns of an unnamed tensor, in order; absent: those of the baseline.
    #[serde(default)]
    pub features: Vec<String>,
    /// How its messages are read, where path, headers and body do not tell it.
    #[serde(default)]
    pub format: Option<Format>,
    /// Kinds that overrule what the baseline build would infer.
    #[serde(default)]
    pub kinds: BTreeMap<String, FeatureKind>,
    /// The columns that predictions are to have, as `driftline schema learn` proposes them; one that is new, gone or of
    /// another kind is a finding. Absent: those of the baseline.
    #[serde(default)]
    pub schema: Vec<Expected>,
    /// Inputs by whose values every report is also made, at most 4: the most frequent values of the baseline, all others
    /// together, and the rows without a value. They need not be watched themselves.
    #[serde(default)]
    pub segments: Vec<String>,
    /// Values of such an input with a segment of their own, at most 100, in baselines that are built from now on, and where
    /// the active one has no segments.
    #[serde(default = "default_segment_values")]
    pub segment_values: usize,
    /// Length of a window; divides a day, or is a multiple of one.
    #[serde(default = "default_window")]
    pub window: Span,
    /// Rhythm of the traffic in UTC: windows are compared with those of the same hour of the day or of the week, in
    /// baselines that are built from now on with event times.
    #[serde(default)]
    pub season: Season,
    /// How long after its end a window waits for late rows.
    #[serde(default = "default_lateness")]
    pub lateness: Span,
    /// False alarms that the model may raise in a period with no drift; where there are segments, half of them are theirs.
    #[serde(default)]
    pub false_alarms: FalseAlarms,
    /// How p-values are adjusted across features.
    #[serde(default)]
    pub correction: Correction,
    /// Rows below which a window is `insufficient_data`.
    #[serde(default = "default_min_rows")]
    pub min_rows: u64,
    /// Effect that PSI has to reach beside significance.
    #[serde(default = "default_psi_floor")]
    pub psi_floor: f64,
    /// Effect that KS has to reach where PSI is undefined.
    #[serde(default = "default_ks_floor")]
    pub ks_floor: f64,
    /// Share of lost exchanges above which a window is `untrusted`.
    #[serde(default = "default_loss_limit")]
    pub loss_limit: f64,
    /// File of what is expected of its rows and columns; absent: nothing.
    #[serde(default)]
    pub expectations: Option<PathBuf>,
    /// What of this model is dropped, hashed or masked, beside what is said for all.
    #[serde(default)]
    pub privacy: Option<Privacy>,
    /// How the model is retrained; absent: never.
    #[serde(default)]
    pub training: Option<Training>,
    /// How labels find predictions; absent: by id, and only where `training` keeps rows.
    #[serde(default)]
    pub labels: Option<Labels>,
    /// How predictions are compared with labels; absent: as `training` says, and not at all without it.
    #[serde(default)]
    pub performance: Option<Performance>,
}

impl ModelSettings {
    /// Whether rows are kept: for training, for labels to find them, or to be compared with them.
    pub fn keeps_rows(&self) -> bool {
        self.training.is_some() || self.labels.is_some() || self.performance.is_some()
    }
}

/// Aliases that could stand for more than one model, or for none.
pub(super) fn aliases(models: &[ModelSettings]) -> Vec<String> {
    let mut problems = Vec::new();
    let mut taken: Vec<&str> = models.iter().map(|model| model.name.as_str()).collect();
    for model in models {
        for alias in &model.aliases {
            if alias.trim().is_empty() || taken.contains(&alias.as_str()) {
                let problem = "is empty, given twice, or the name of a model";
                problems.push(format!("alias `{alias}` of model `{}` {problem}", model.name));
            }
            taken.push(alias);
        }
    }
    problems
}

/// Segments that cannot be made.
pub(super) fn segments(model: &ModelSettings, privacy: &Rules) -> Vec<String> {
    let mut problems = Vec::new();
    let names = &model.segments;
    if names.len() > MAX_SEGMENT_COLUMNS {
        problems.push(format!("`segments` has {} columns, the most are {MAX_SEGMENT_COLUMNS}", names.len()));
    }
    if !(1..=MAX_SEGMENT_VALUES).contains(&model.segment_values) {
        let values = model.segment_values;
        problems.push(format!("`segment_values` {values} is not between 1 and {MAX_SEGMENT_VALUES}"));
    }
    let dropped = Fields::new(&privacy.drop);
    let hashed = Fields::new(&privacy.hash);
    for (at, name) in names.iter().enumerate() {
        let mut refuse = |problem: String| problems.push(format!("`segments[{at}]`: {problem}"));
        let inputs = || model.schema.iter().filter(|column| column.role == Role::Feature);
        let declared = inputs().find(|column| column.name == *name);
        let is_numeric = match model.kinds.get(name) {
            Some(kind) => *kind == FeatureKind::Numeric,
            None => declared.is_some_and(|column| column.kind == Holds::Numeric),
        };
        if name.trim().is_empty() {
            refuse("expected the name of an input, found nothing".to_owned());
        } else if names[..at].contains(name) {
            refuse(format!("`{name}` is listed twice"));
        } else if dropped.matches(name) {
            refuse(format!("`{name}` is dropped by `privacy.drop`; take it from there, or hash it"));
        } else if !model.schema.is_empty() && declared.is_none() {
            let near = hint(name, inputs().map(|column| column.name.as_str()));
            refuse(format!("`{name}` is no input of `schema`{near}"));
        } else if is_numeric && !hashed.matches(name) {
            refuse(format!(
                "`{name}` is numeric, and a segment needs categories; say `kinds: {{{name}: categorical}}`"
            ));
        }
    }
    problems
}

fn default_segment_values() -> usize {
    DEFAULT_SEGMENT_VALUES
}

fn default_window() -> Span {
    Span(Duration::from_hours(1))
}

fn default_lateness() -> Span {
    Span(Duration::from_mins(1))
}

fn default_min_rows() -> u64 {
    200
}

fn default_psi_floor() -> f64 {
    0.1
}

fn default_ks_floor() -> f64 {
    0.05
}

fn default_loss_limit() -> f64 {
    0.05
}

/// How a model is retrained.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Training {
    /// What it predicts.
    pub task: Task,
    /// Name of the target.
    pub target: String,
    /// `captured`, or a file.
    #[serde(default = "default_source")]
    pub source: Source,
    /// The loss; absent: squared error of numbers, log loss of classes.
    #[serde(default)]
    pub objective: Option<Objective>,
    /// Which rows are taken, and how they count.
    #[serde(default)]
    pub data: DataSpec,
    /// The columns to train on and what is made of them.
    #[serde(default)]
    pub features: FeaturesSpec,
    /// `auto`, `cpu` or `cuda:N`.
    #[serde(default = "default_device")]
    pub device: String,
    /// Labelled rows below which a run ends `rejected`.
    #[serde(default = "default_min_labels")]
    pub min_labels: u64,
    /// Share of the newest rows held out for the gate.
    #[serde(default = "default_share")]
    pub test_share: f64,
    /// Share of the rows before them used for early stopping and regularisation.
    #[serde(default = "default_share")]
    pub validation_share: f64,
    /// Keep only the newest so many rows.
    #[serde(default)]
    pub max_rows: Option<u64>,
    /// Seeds every random choice.
    #[serde(default)]
    pub seed: u64,
    /// The simple models that come before the deep one.
    #[serde(default)]
    pub simple: SimpleSpec,
    /// The deep model.
    #[serde(default)]
    pub deep: DeepSpec,
    /// What a run may use up.
    #[serde(default)]
    pub limits: LimitsSpec,
    /// How the models of a run are judged.
    #[serde(default)]
    pub evaluation: EvaluationSpec,
    /// What is written beside the artifact.
    #[serde(default)]
    pub export: ExportSpec,
    /// Name of the model server's output; the new baseline watches the new version's answers under it.
    #[serde(default = "default_output")]
    pub output: String,
    /// Folder for artifacts; absent: `artifacts` under `data_dir`.
    #[serde(default)]
    pub artifacts: Option<PathBuf>,
}

impl Training {
    /// Everything that cannot work, in sentences with the field's name.
    pub(super) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        problems.extend(self.objective.and_then(|objective| objective.problem(self.task)));
        problems.extend(self.data.problems());
        problems.extend(self.features.problems());
        problems.extend(self.source.problems());
        problems.extend(self.simple.problems(self.task));
        problems.extend(self.deep.problems());
        problems.extend(self.limits.problems());
        problems.extend(self.evaluation.problems());
        problems.extend(self.export.problems());
        problems.into_iter().map(|problem| format!("training.{problem}")).collect()
    }
}

fn default_source() -> Source {
    Source::Captured
}

fn default_output() -> String {
    "prediction".to_owned()
}

fn default_share() -> f64 {
    0.2
}

fn default_device() -> String {
    "auto".to_owned()
}

fn default_min_labels() -> u64 {
    500
}

#[cfg(test)]
#[path = "model_tests.rs"]
mod tests;
