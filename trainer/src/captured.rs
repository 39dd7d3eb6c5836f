//! Captured rows of a run: frozen as a snapshot, then read a file at a time into columns, oldest row first.

use std::path::Path;

use chrono::{DateTime, Utc};
use driftline::capture::{self, CaptureError, Filter, Place, Rows, Snapshot};
use driftline::model::{Column, Value};
use driftline::retrain::TrainingSpec;
use driftline::store::PgPool;
use driftline::store::captured::{self, CapturedRow};
use serde_json::{Value as Json, json};

/// Rows of a file that are moved out of the database when a snapshot is taken.
const SEGMENT_ROWS: u64 = 50_000;

/// The labelled rows of a run, by event time and id; every column and list has one entry per row.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Captured {
    /// Name of the snapshot that they come from.
    pub(crate) snapshot: String,
    /// What is said of it in the registry.
    pub(crate) manifest: Json,
    /// Every feature, by name.
    pub(crate) columns: Vec<Column>,
    /// The targets.
    pub(crate) targets: Vec<Value>,
    /// When each prediction happened.
    pub(crate) times: Vec<DateTime<Utc>>,
    ids: Vec<String>,
}

/// Where files of captured rows are written.
fn place(spec: &TrainingSpec) -> Result<Place, CaptureError> {
    if let Some(url) = &spec.capture {
        return Place::open(url);
    }
    let artifacts = Path::new(&spec.artifacts);
    Place::folder(&artifacts.parent().unwrap_or(artifacts).join("capture"))
}

/// The newest captured rows, oldest first.
///
/// # Errors
///
/// [`CaptureError`] names the file that cannot be read.
pub(crate) async fn newest(
    pool: &PgPool,
    spec: &TrainingSpec,
    limit: u64,
) -> Result<Vec<CapturedRow>, CaptureError> {
    capture::newest(pool, &place(spec)?, &spec.model, limit).await
}

/// Freezes the labelled rows that there are now, and reads them.
///
/// # Errors
///
/// [`CaptureError`] names the file that cannot be written or read.
pub(crate) async fn take(pool: &PgPool, spec: &TrainingSpec) -> Result<Captured, CaptureError> {
    let place = place(spec)?;
    let keep = spec.segments.as_ref().map(|segments| segments.columns.clone()).unwrap_or_default();
    let snapshot =
        Snapshot::take(pool, &place, &spec.model, Filter::default(), None, (SEGMENT_ROWS, &keep)).await?;
    let mut reader = snapshot.reader(pool, &place).await?;
    let manifest = &snapshot.manifest;
    let mut read = Captured {
        manifest: json!({
            "hash": snapshot.hash,
            "files": manifest.parts.len(),
            "rows": manifest.rows,
            "label_cutoff": manifest.label_cutoff,
        }),
        snapshot: snapshot.hash.clone(),
        ..Captured::default()
    };
    while let Some(rows) = reader.next().await? {
        read.add(&rows, spec);
    }
    Ok(read.in_order())
}

impl Captured {
    fn add(&mut self, rows: &Rows, spec: &TrainingSpec) {
        let (before, after) = (self.times.len(), self.times.len() + rows.len());
        self.times.extend_from_slice(&rows.times);
        self.ids.extend(rows.ids.iter().map(str::to_owned));
        self.targets.extend(rows.labels.iter().map(|label| match label {
            Some(Json::Object(fields)) => fields.get(&spec.target).map_or(Value::Missing, captured::value),
            Some(scalar) => captured::value(scalar),
            None => Value::Missing,
        }));
        for column in &rows.features {
            let held = self.columns.iter().position(|held| held.name == column.name);
            let at = held.unwrap_or_else(|| {
                self.columns.push(Column { name: column.name.clone(), values: Vec::new() });
                self.columns.len() - 1
            });
            let values = &mut self.columns[at].values;
            values.reserve(after - values.len());
            values.resize(before, Value::Missing);
            values.extend(rows.places().map(|place| column.value(place)));
        }
        for column in &mut self.columns {
            column.values.resize(after, Value::Missing);
        }
    }

    /// By event time and id; columns by name.
    fn in_order(mut self) -> Self {
        self.columns.sort_by(|a, b| a.name.cmp(&b.name));
        let mut order: Vec<usize> = (0..self.times.len()).collect();
        order.sort_by(|&a, &b| (self.times[a], &self.ids[a]).cmp(&(self.times[b], &self.ids[b])));
        if order.windows(2).any(|pair| pair[0] > pair[1]) {
            let taken = |values: &mut Vec<Value>| {
                order.iter().map(|&row| std::mem::replace(&mut values[row], Value::Missing)).collect()
            };
            self.targets = taken(&mut self.targets);
            for column in &mut self.columns {
                column.values = taken(&mut column.values);
            }
            self.times = order.iter().map(|&row| self.times[row]).collect();
            self.ids = order.iter().map(|&row| std::mem::take(&mut self.ids[row])).collect();
        }
        self
    }
}
