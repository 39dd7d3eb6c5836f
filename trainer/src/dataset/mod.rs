//! The rows of a run: typed columns split into parts, weighted, and named by their hash.

mod duplicates;
mod leakage;
mod read;
mod split;
mod target;
#[cfg(test)]
mod tests;
mod weights;

use std::ops::Range;

use chrono::{DateTime, Utc};
use driftline::model::{Column, Value};
use driftline::retrain::TrainingSpec;
use driftline::retrain::artifact::hex;
use driftline::retrain::pipeline::EVENT_TIME;
use driftline::retrain::spec::FeatureSpec;
use driftline::store::snapshot::Snapshot;
use serde_json::json;
use sha2::{Digest, Sha256};

pub(crate) use self::leakage::check as check_leakage;
pub(crate) use self::read::{Rows, build, fetch};
pub(crate) use self::split::Split;
use crate::journal::{Halt, Journal};

/// The rows of a run, part after part; every column and vector has one entry per row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Dataset {
    /// Names and kinds of the features.
    pub(crate) features: Vec<FeatureSpec>,
    /// Their values, and columns that only dates are made of.
    pub(crate) columns: Vec<Column>,
    /// The target: finite; 0 or 1 for a binary task, the index of a class for a multiclass one.
    pub(crate) targets: Vec<f64>,
    /// Names of the classes of a multiclass task.
    pub(crate) classes: Vec<String>,
    /// When each prediction happened; empty where the rows have no times.
    pub(crate) times: Vec<DateTime<Utc>>,
    /// How much each row counts: 1 on average over the training part, and over the validation part.
    pub(crate) weights: Vec<f64>,
    /// Which rows are for what.
    pub(crate) split: Split,
}

/// Rows before targets are read.
#[derive(Debug, Default)]
struct Raw {
    features: Vec<FeatureSpec>,
    columns: Vec<Column>,
    targets: Vec<Value>,
    /// Empty where there are none, else in order.
    times: Vec<DateTime<Utc>>,
    /// Empty where none are asked for.
    weights: Vec<Value>,
    /// Empty where none are asked for.
    entities: Vec<Value>,
}

impl Raw {
    /// The rows `rows`, in that order.
    fn pick(&self, rows: &[usize]) -> Self {
        fn of<T: Clone>(all: &[T], rows: &[usize]) -> Vec<T> {
            if all.is_empty() { Vec::new() } else { rows.iter().map(|&row| all[row].clone()).collect() }
        }
        Self {
            features: self.features.clone(),
            columns: self
                .columns
                .iter()
                .map(|column| Column { name: column.name.clone(), values: of(&column.values, rows) })
                .collect(),
            targets: of(&self.targets, rows),
            times: of(&self.times, rows),
            weights: of(&self.weights, rows),
            entities: of(&self.entities, rows),
        }
    }
}

/// Reads the targets, leaves out what cannot be used, splits and weights.
fn finish(spec: &TrainingSpec, raw: &Raw, journal: &Journal) -> Result<Dataset, Halt> {
    let read = target::read(spec, &raw.targets)?;
    let total = raw.targets.len();
    if read.missing > 0 {
        journal.warn(format!(
            "{} rows without a usable `{}` are left out ({:.0} % of {total})",
            read.missing,
            spec.target,
            100.0 * read.missing as f64 / total as f64
        ));
    }
    let mut kept = read.rows;
    if let Some(days) = spec.data.window_days {
        let Some(&newest) = kept.iter().map(|&row| raw.times.get(row)).max().flatten() else {
            return Err(Halt::Failed("data.window_days needs times, and the source has none".to_owned()));
        };
        let before = kept.len();
        kept.retain(|&row| days_between(raw.times[row], newest) <= days);
        if kept.len() < before {
            journal.info(format!("{} rows are older than {days} days and left out", before - kept.len()));
        }
    }
    if let Some(limit) = spec.max_rows.and_then(|limit| usize::try_from(limit).ok()) {
        kept.drain(..kept.len().saturating_sub(limit));
    }
    if (kept.len() as u64) < spec.min_labels.max(1) {
        return Err(Halt::Rejected(format!(
            "{} labelled rows, at least {} are needed",
            kept.len(),
            spec.min_labels.max(1)
        )));
    }
    let raw = raw.pick(&kept);
    let targets: Vec<f64> = kept.iter().map(|&row| read.targets[row]).collect();
    let (order, split) = split::split(spec, &targets, &raw)?;
    let raw = raw.pick(&order);
    let targets: Vec<f64> = order.iter().map(|&row| targets[row]).collect();
    let (order, split) = duplicates::remove(spec, &raw, &targets, &split, journal);
    let raw = raw.pick(&order);
    let targets: Vec<f64> = order.iter().map(|&row| targets[row]).collect();
    split::check_classes(spec, &targets, &read.classes, &split, journal)?;
    let weights = weights::of(spec, &raw, &targets, &read.classes, &split, journal)?;
    let mut columns = raw.columns;
    if spec.features.dates.iter().any(|dates| dates.column.is_none()) {
        if raw.times.is_empty() {
            let problem = "features.dates asks for the time of the prediction, and the source has none; name a `column`";
            return Err(Halt::Failed(problem.to_owned()));
        }
        let seconds = |time: &DateTime<Utc>| Value::Number(time.timestamp_millis() as f64 / 1e3);
        columns.retain(|column| column.name != EVENT_TIME);
        columns.push(Column { name: EVENT_TIME.into(), values: raw.times.iter().map(seconds).collect() });
    }
    Ok(Dataset {
        features: raw.features,
        columns,
        targets,
        classes: read.classes,
        times: raw.times,
        weights,
        split,
    })
}

/// Days from `earlier` to `later`.
fn days_between(earlier: DateTime<Utc>, later: DateTime<Utc>) -> f64 {
    (later - earlier).num_milliseconds() as f64 / 86_400_000.0
}

impl Dataset {
    /// Number of rows.
    pub(crate) fn rows(&self) -> usize {
        self.targets.len()
    }

    /// The columns of `rows`.
    pub(crate) fn slice(&self, rows: &Range<usize>) -> Vec<Column> {
        self.columns
            .iter()
            .map(|column| Column { name: column.name.clone(), values: column.values[rows.clone()].to_vec() })
            .collect()
    }

    /// The rows and parts in a sentence.
    pub(crate) fn summary(&self) -> String {
        let Split { train, validation, calibration, test } = &self.split;
        let time = |time: Option<&DateTime<Utc>>| {
            time.map(|time| time.format("%FT%TZ").to_string()).unwrap_or_default()
        };
        let (span, held_out) = match (self.times.iter().min(), self.times.iter().max()) {
            (None, _) | (_, None) => (String::new(), String::new()),
            (first, last) => {
                let from = time(self.times[test.clone()].iter().min());
                (format!(" from {} to {}", time(first), time(last)), format!(" from {from}"))
            }
        };
        let calibrate = match calibration.len() {
            0 => String::new(),
            rows => format!("{rows} to calibrate, "),
        };
        format!(
            "{} rows{span}: {} to train, {} to validate, {calibrate}{} held out{held_out}",
            self.rows(),
            train.len(),
            validation.len(),
            test.len()
        )
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
                "first": time(self.times.iter().min()),
                "last": time(self.times.iter().max()),
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
        for feature in &self.features {
            text(&mut hasher, &feature.name);
            text(&mut hasher, feature.kind.as_str());
        }
        for row in 0..self.rows() {
            if let Some(time) = self.times.get(row) {
                hasher.update(time.timestamp_micros().to_le_bytes());
            }
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
            if spec.data.sample_weight.is_some() {
                hasher.update(self.weights[row].to_bits().to_le_bytes());
            }
        }
        hex(&hasher.finalize())
    }
}
