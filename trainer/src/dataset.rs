//! The rows of a run: typed columns in the order of time, split forward, named by their hash.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;

use chrono::{DateTime, Utc};
use driftline::frames;
use driftline::model::{Column, FeatureKind, Value};
use driftline::retrain::artifact::hex;
use driftline::retrain::pipeline::level;
use driftline::retrain::spec::FeatureSpec;
use driftline::retrain::{Source, Task, TrainingSpec};
use driftline::store::captured::{self, LabelledRow};
use driftline::store::snapshot::Snapshot;
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};

use crate::journal::{Halt, Journal};

/// The rows of a run, oldest first; every column and both vectors have one entry per row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Dataset {
    /// Names and kinds of the features.
    pub(crate) features: Vec<FeatureSpec>,
    /// Their values.
    pub(crate) columns: Vec<Column>,
    /// The target: finite; 0 or 1 for a binary task, the index of the class for a multiclass one.
    pub(crate) targets: Vec<f64>,
    /// Names of the classes, sorted; empty unless there are several.
    pub(crate) classes: Vec<String>,
    /// When each prediction happened.
    pub(crate) times: Vec<DateTime<Utc>>,
}

/// Which rows are for what; each part is later in time than the one before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Split {
    /// Rows that the pipeline and the models are fitted on.
    pub(crate) train: Range<usize>,
    /// Rows for early stopping and the strength of regularisation.
    pub(crate) validation: Range<usize>,
    /// Rows that only the gate sees.
    pub(crate) test: Range<usize>,
}

/// Rows before targets are read.
struct Raw {
    features: Vec<FeatureSpec>,
    columns: Vec<Column>,
    targets: Vec<Value>,
    times: Vec<DateTime<Utc>>,
}

/// Takes captured rows with their labels, in the order given.
pub(crate) fn from_labelled(
    spec: &TrainingSpec,
    rows: &[LabelledRow],
    journal: &Journal,
) -> Result<Dataset, Halt> {
    let mut names: Vec<String> = spec.features.columns.iter().map(|feature| feature.name.clone()).collect();
    if names.is_empty() {
        for name in rows.iter().filter_map(|row| row.features.as_object()).flat_map(|row| row.keys()) {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
        names.sort();
    }
    let columns: Vec<Column> = names
        .into_iter()
        .map(|name| {
            let values = rows
                .iter()
                .map(|row| row.features.get(&name).map_or(Value::Missing, captured::value))
                .collect();
            Column { name: name.into(), values }
        })
        .collect();
    let targets = rows
        .iter()
        .map(|row| match &row.label {
            Json::Object(fields) => fields.get(&spec.target).map_or(Value::Missing, captured::value),
            scalar => captured::value(scalar),
        })
        .collect();
    let times = rows.iter().map(|row| row.event_time).collect();
    finish(spec, Raw { features: typed(spec, &columns), columns, targets, times }, journal)
}

/// Reads a Parquet, CSV or JSONL file.
pub(crate) fn from_file(spec: &TrainingSpec, journal: &Journal) -> Result<Dataset, Halt> {
    let Source::File { path, time_column, from, until } = &spec.source else {
        return Err(Halt::Failed("the source is not a file".to_owned()));
    };
    let failed = |error: frames::FrameError| Halt::Failed(error.to_string());
    let names: Vec<&str> = spec.features.columns.iter().map(|feature| feature.name.as_str()).collect();
    let wanted: Option<Vec<&str>> = (!names.is_empty())
        .then(|| names.iter().copied().chain([spec.target.as_str(), time_column.as_str()]).collect());
    let table = frames::read_table(Path::new(path), wanted.as_deref()).map_err(failed)?;
    let times = table.times(time_column).map_err(failed)?;
    let targets = table.column(&spec.target).map_err(failed)?.values.clone();
    let columns: Vec<Column> = table
        .columns
        .into_iter()
        .filter(|column| {
            names.contains(&column.name.as_str())
                || (names.is_empty() && column.name != spec.target && column.name != *time_column)
        })
        .collect();
    let bound = |text: &Option<String>| {
        text.as_ref()
            .map(|text| {
                frames::parse_time(&Value::Text(text.clone()))
                    .ok_or_else(|| Halt::Failed(format!("`{text}` in the source is not a time")))
            })
            .transpose()
    };
    let (from, until) = (bound(from)?, bound(until)?);
    let mut order: Vec<usize> = (0..times.len())
        .filter(|&row| {
            from.is_none_or(|from| from <= times[row]) && until.is_none_or(|until| times[row] < until)
        })
        .collect();
    order.sort_by_key(|&row| times[row]);
    let columns: Vec<Column> = columns.iter().map(|column| pick(column, &order)).collect();
    let raw = Raw {
        features: typed(spec, &columns),
        columns,
        targets: order.iter().map(|&row| targets[row].clone()).collect(),
        times: order.iter().map(|&row| times[row]).collect(),
    };
    finish(spec, raw, journal)
}

/// The rows `rows` of a column.
fn pick(column: &Column, rows: &[usize]) -> Column {
    Column { name: column.name.clone(), values: rows.iter().map(|&row| column.values[row].clone()).collect() }
}

/// The configured features, or every column with the kind that its values show.
fn typed(spec: &TrainingSpec, columns: &[Column]) -> Vec<FeatureSpec> {
    if !spec.features.columns.is_empty() {
        return spec.features.columns.clone();
    }
    columns
        .iter()
        .map(|column| {
            let mut known = column.values.iter().filter(|value| !matches!(value, Value::Missing)).peekable();
            let is_empty = known.peek().is_none();
            let kind = if is_empty || known.clone().all(|value| matches!(value, Value::Number(_))) {
                FeatureKind::Numeric
            } else if known.all(|value| matches!(value, Value::Bool(_))) {
                FeatureKind::Boolean
            } else {
                FeatureKind::Categorical
            };
            FeatureSpec { name: column.name.to_string(), kind }
        })
        .collect()
}

/// Reads the targets, leaves out rows without one, keeps the newest `max_rows` and counts.
fn finish(spec: &TrainingSpec, raw: Raw, journal: &Journal) -> Result<Dataset, Halt> {
    let mut kept = Vec::with_capacity(raw.targets.len());
    let mut targets = Vec::with_capacity(raw.targets.len());
    let mut missing = 0_usize;
    let classes: Vec<String> = match spec.task {
        Task::Regression | Task::Binary => Vec::new(),
        Task::Multiclass => {
            let names: BTreeSet<String> = raw.targets.iter().filter_map(class).collect();
            names.into_iter().collect()
        }
    };
    for (row, value) in raw.targets.iter().enumerate() {
        match target(spec.task, &classes, value) {
            Some(target) => {
                kept.push(row);
                targets.push(target);
            }
            None if matches!(value, Value::Missing)
                || matches!(value, Value::Number(n) if !n.is_finite()) =>
            {
                missing += 1;
            }
            None => {
                return Err(Halt::Failed(format!(
                    "target `{}`, row {}: {value:?} is not {}",
                    spec.target,
                    row + 1,
                    match spec.task {
                        Task::Binary => "0, 1, false or true",
                        Task::Regression => "a number",
                        Task::Multiclass => "the name of a class",
                    }
                )));
            }
        }
    }
    if missing > 0 {
        journal.warn(format!("{missing} rows without a usable `{}` are left out", spec.target));
    }
    if let Some(limit) = spec.max_rows.and_then(|limit| usize::try_from(limit).ok()) {
        let surplus = kept.len().saturating_sub(limit);
        kept.drain(..surplus);
        targets.drain(..surplus);
    }
    if (kept.len() as u64) < spec.min_labels.max(1) {
        return Err(Halt::Rejected(format!(
            "{} labelled rows, at least {} are needed",
            kept.len(),
            spec.min_labels.max(1)
        )));
    }
    Ok(Dataset {
        features: raw.features,
        columns: raw.columns.iter().map(|column| pick(column, &kept)).collect(),
        targets,
        classes,
        times: kept.iter().map(|&row| raw.times[row]).collect(),
    })
}

/// The name of the class that `value` is.
fn class(value: &Value) -> Option<String> {
    level(value, FeatureKind::Categorical)
}

/// The target in `value`, if it is one.
fn target(task: Task, classes: &[String], value: &Value) -> Option<f64> {
    match (task, value) {
        (Task::Multiclass, value) => {
            class(value).and_then(|name| classes.binary_search(&name).ok()).map(|index| index as f64)
        }
        (Task::Regression, Value::Number(number)) if number.is_finite() => Some(*number),
        (Task::Binary, Value::Number(number)) if number.to_bits() == 1.0_f64.to_bits() => Some(1.0),
        (Task::Binary, Value::Number(number)) if number.abs() <= 0.0 => Some(0.0),
        (Task::Binary, Value::Bool(truth)) => Some(f64::from(u8::from(*truth))),
        (Task::Binary, Value::Text(text)) if ["true", "1"].contains(&text.as_str()) => Some(1.0),
        (Task::Binary, Value::Text(text)) if ["false", "0"].contains(&text.as_str()) => Some(0.0),
        _ => None,
    }
}

impl Dataset {
    /// Number of rows.
    pub(crate) fn rows(&self) -> usize {
        self.targets.len()
    }

    /// The feature columns of `rows`.
    pub(crate) fn slice(&self, rows: &Range<usize>) -> Vec<Column> {
        self.columns
            .iter()
            .map(|column| Column { name: column.name.clone(), values: column.values[rows.clone()].to_vec() })
            .collect()
    }

    /// Splits forward in time. Each part gets at least one row, so there must be three.
    pub(crate) fn split(&self, spec: &TrainingSpec) -> Result<Split, Halt> {
        let n = self.rows();
        let part = |share: f64| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a share of a row count is a small positive number"
            )]
            let rows = (share * n as f64).round() as usize;
            rows.max(1)
        };
        let (test, validation) = (part(spec.test_share), part(spec.validation_share));
        let Some(train) = n.checked_sub(test + validation).filter(|&train| train > 0) else {
            return Err(Halt::Rejected(format!("{n} rows are too few to split into three parts")));
        };
        let split =
            Split { train: 0..train, validation: train..train + validation, test: train + validation..n };
        if spec.task != Task::Regression {
            let first = self.targets[0];
            if self.targets[split.train.clone()].iter().all(|target| (target - first).abs() < 0.5) {
                return Err(Halt::Rejected(format!(
                    "every one of the {train} training rows has `{}` = {}; both classes are needed",
                    spec.target,
                    self.classes.first().map_or_else(|| first.to_string(), Clone::clone)
                )));
            }
        }
        Ok(split)
    }

    /// Name and content list of the rows.
    pub(crate) fn snapshot(&self, spec: &TrainingSpec) -> Snapshot {
        let time = |time: Option<&DateTime<Utc>>| time.map(DateTime::to_rfc3339);
        Snapshot {
            hash: self.hash(spec),
            row_count: self.rows() as u64,
            manifest: json!({
                "source": spec.source,
                "target": spec.target,
                "features": self.features,
                "first": time(self.times.first()),
                "last": time(self.times.last()),
            }),
        }
    }

    /// SHA-256 over a canonical encoding: model, task, target, names and kinds, then row by row the event time,
    /// the values and the target, each with its type and, for text, its length.
    fn hash(&self, spec: &TrainingSpec) -> String {
        let mut hasher = Sha256::new();
        let text = |hasher: &mut Sha256, text: &str| {
            hasher.update((text.len() as u64).to_le_bytes());
            hasher.update(text);
        };
        text(&mut hasher, "driftline snapshot 1");
        text(&mut hasher, spec.model.as_str());
        text(&mut hasher, &format!("{:?}", spec.task));
        text(&mut hasher, &spec.target);
        for class in &self.classes {
            text(&mut hasher, class);
        }
        for feature in &self.features {
            text(&mut hasher, &feature.name);
            text(&mut hasher, feature.kind.as_str());
        }
        for row in 0..self.rows() {
            hasher.update(self.times[row].timestamp_micros().to_le_bytes());
            for column in &self.columns {
                match &column.values[row] {
                    Value::Missing => hasher.update([0]),
                    Value::Number(number) => {
                        let number = if number.is_nan() { f64::NAN } else { *number };
                        hasher.update([1]);
                        hasher.update(number.to_bits().to_le_bytes());
                    }
                    Value::Bool(truth) => hasher.update([2, u8::from(*truth)]),
                    Value::Text(value) => {
                        hasher.update([3]);
                        text(&mut hasher, value);
                    }
                    Value::Opaque => hasher.update([4]),
                }
            }
            hasher.update(self.targets[row].to_bits().to_le_bytes());
        }
        hex(&hasher.finalize())
    }
}
