//! Where rows come from: captured with their labels, files, or a query.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use driftline::frames;
use driftline::model::{Column, FeatureKind, Value, parse_time};
use driftline::retrain::spec::FeatureSpec;
use driftline::retrain::{Connection, Source, TrainingSpec};
use driftline::store::captured::{self, LabelledRow};
use driftline::store::query;
use serde_json::{Map, Value as Json};

use super::{Dataset, Raw, finish};
use crate::journal::{Halt, Journal};

/// Rows of a query, column by column in the order of their names.
#[derive(Debug, Default)]
pub(crate) struct Fetched {
    columns: Vec<Column>,
    rows: usize,
}

impl Fetched {
    /// Takes the next row. A column that earlier rows lack is missing there.
    pub(super) fn push(&mut self, row: &Map<String, Json>) {
        for (name, value) in row {
            let at = self.columns.iter().position(|column| column.name == *name).unwrap_or_else(|| {
                self.columns.push(Column { name: name.into(), values: Vec::new() });
                self.columns.len() - 1
            });
            let values = &mut self.columns[at].values;
            values.resize(self.rows, Value::Missing);
            values.push(captured::value(value));
        }
        self.rows += 1;
    }
}

/// Rows that only an asynchronous program can get at.
#[derive(Debug)]
pub(crate) enum Rows {
    /// Captured ones.
    Labelled(Vec<LabelledRow>),
    /// Those of a query.
    Fetched(Fetched),
    /// None: they are in files.
    InFiles,
}

/// Asks the query's database for its rows.
pub(crate) async fn fetch(spec: &TrainingSpec) -> Result<Fetched, Halt> {
    let Source::Query { sql, connection, timeout_seconds, .. } = &spec.source else {
        return Err(Halt::Failed("the source is not a query".to_owned()));
    };
    let url = match connection {
        Connection::Env(name) => std::env::var(name).map_err(|_| {
            Halt::Failed(format!("source.query.connection: the worker's environment has no `{name}`"))
        })?,
        Connection::File(path) => std::fs::read_to_string(path).map_err(|error| {
            Halt::Failed(format!("source.query.connection: `{path}` cannot be read: {error}"))
        })?,
    };
    let mut fetched = Fetched::default();
    query::rows(url.trim(), sql, Duration::from_secs(*timeout_seconds), |row| fetched.push(&row))
        .await
        .map_err(|error| Halt::Failed(error.to_string()))?;
    Ok(fetched)
}

/// The rows of a run, from wherever they are.
pub(crate) fn build(spec: &TrainingSpec, rows: Rows, journal: &Journal) -> Result<Dataset, Halt> {
    match rows {
        Rows::Labelled(rows) => from_labelled(spec, &rows, journal),
        Rows::Fetched(fetched) => from_fetched(spec, fetched, journal),
        Rows::InFiles => from_file(spec, journal),
    }
}

/// Takes captured rows with their labels, in the order given.
fn from_labelled(spec: &TrainingSpec, rows: &[LabelledRow], journal: &Journal) -> Result<Dataset, Halt> {
    let mut names: BTreeSet<&str> = BTreeSet::new();
    for row in rows {
        names.extend(row.features.as_object().into_iter().flat_map(Map::keys).map(String::as_str));
    }
    let columns = names
        .into_iter()
        .map(|name| {
            let values = rows
                .iter()
                .map(|row| row.features.get(name).map_or(Value::Missing, captured::value))
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
    let raw = arrange(spec, columns, targets, times, journal)?;
    finish(spec, &raw, journal)
}

/// Reads Parquet, CSV or JSONL files.
fn from_file(spec: &TrainingSpec, journal: &Journal) -> Result<Dataset, Halt> {
    let Source::File { path, time_column, from, until } = &spec.source else {
        return Err(Halt::Failed("the source is not a file".to_owned()));
    };
    let failed = |error: frames::FrameError| Halt::Failed(error.to_string());
    let wanted = wanted(spec, time_column.as_deref());
    let most = spec.max_rows.and_then(|most| usize::try_from(most).ok());
    let table = match (most, time_column) {
        // Of files that may be larger than memory only the rows that are wanted are kept.
        (Some(most), Some(time)) if from.is_none() && until.is_none() => {
            frames::read_newest(path, wanted.as_deref(), (time, &spec.target), most)
        }
        _ => frames::read_tables(path, wanted.as_deref()),
    };
    let table = table.map_err(failed)?;
    let times = match time_column {
        Some(name) => table.times(name).map_err(failed)?,
        None => Vec::new(),
    };
    let targets = table.column(&spec.target).map_err(failed)?.values.clone();
    in_time(spec, table.columns, targets, times, journal)
}

/// Takes the rows of a query.
fn from_fetched(spec: &TrainingSpec, fetched: Fetched, journal: &Journal) -> Result<Dataset, Halt> {
    let Source::Query { time_column, .. } = &spec.source else {
        return Err(Halt::Failed("the source is not a query".to_owned()));
    };
    let Fetched { mut columns, rows } = fetched;
    if rows == 0 {
        return Err(Halt::Rejected("the query gives no rows".to_owned()));
    }
    for column in &mut columns {
        column.values.resize(rows, Value::Missing);
    }
    let column = |name: &str| {
        columns.iter().find(|column| column.name == name).ok_or_else(|| {
            let known: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
            Halt::Failed(format!("the query has no column `{name}`; it has {}", known.join(", ")))
        })
    };
    let times = match time_column {
        Some(name) => column(name)?
            .values
            .iter()
            .enumerate()
            .map(|(row, value)| {
                parse_time(value).ok_or_else(|| {
                    Halt::Failed(format!(
                        "the query's column `{name}`, row {}: {value:?} is not a time",
                        row + 1
                    ))
                })
            })
            .collect::<Result<_, _>>()?,
        None => Vec::new(),
    };
    let targets = column(&spec.target)?.values.clone();
    in_time(spec, columns, targets, times, journal)
}

/// The columns that a file has to have; none where all are read.
fn wanted<'a>(spec: &'a TrainingSpec, time_column: Option<&'a str>) -> Option<Vec<&'a str>> {
    if spec.features.columns.is_empty() {
        return None;
    }
    let mut wanted: Vec<&str> = Vec::new();
    let columns = spec.features.columns.iter().map(|feature| feature.name.as_str());
    let data = [spec.data.sample_weight.as_deref(), spec.data.entity.as_deref(), time_column];
    let dates = spec.features.dates.iter().filter_map(|dates| dates.column.as_deref());
    for name in columns.chain([spec.target.as_str()]).chain(data.into_iter().flatten()).chain(dates) {
        if !wanted.contains(&name) {
            wanted.push(name);
        }
    }
    Some(wanted)
}

/// Orders rows by time, and leaves out those outside the source's bounds.
fn in_time(
    spec: &TrainingSpec,
    columns: Vec<Column>,
    targets: Vec<Value>,
    times: Vec<DateTime<Utc>>,
    journal: &Journal,
) -> Result<Dataset, Halt> {
    let raw = arrange(spec, columns, targets, times, journal)?;
    let bound = |text: &Option<String>| {
        text.as_ref()
            .map(|text| {
                parse_time(&Value::Text(text.clone()))
                    .ok_or_else(|| Halt::Failed(format!("`{text}` in the source is not a time")))
            })
            .transpose()
    };
    let (from, until) = match &spec.source {
        Source::File { from, until, .. } => (bound(from)?, bound(until)?),
        _ => (None, None),
    };
    if raw.times.is_empty() {
        if from.is_some() || until.is_some() {
            return Err(Halt::Failed("source.file.from and until need a time_column".to_owned()));
        }
        journal.info("the source has no times: the parts are drawn at random, alike in the target");
        return finish(spec, &raw, journal);
    }
    let mut order: Vec<usize> = (0..raw.times.len())
        .filter(|&row| {
            from.is_none_or(|from| from <= raw.times[row]) && until.is_none_or(|until| raw.times[row] < until)
        })
        .collect();
    order.sort_by_key(|&row| raw.times[row]);
    if order.iter().copied().eq(0..raw.times.len()) {
        return finish(spec, &raw, journal);
    }
    finish(spec, &raw.pick(&order), journal)
}

/// Tells features from target, time, weight and entity.
fn arrange(
    spec: &TrainingSpec,
    mut columns: Vec<Column>,
    targets: Vec<Value>,
    times: Vec<DateTime<Utc>>,
    journal: &Journal,
) -> Result<Raw, Halt> {
    let values = |name: &Option<String>, field: &str| match name {
        None => Ok(Vec::new()),
        Some(name) => columns
            .iter()
            .find(|column| column.name == *name)
            .map(|column| column.values.clone())
            .ok_or_else(|| Halt::Failed(format!("data.{field}: the rows have no column `{name}`"))),
    };
    let weights = values(&spec.data.sample_weight, "sample_weight")?;
    let entities = values(&spec.data.entity, "entity")?;
    let listed = |name: &str| spec.features.columns.iter().any(|feature| feature.name == name);
    let is_date = |name: &str| spec.features.dates.iter().any(|dates| dates.column.as_deref() == Some(name));
    for dates in spec.features.dates.iter().filter_map(|dates| dates.column.as_ref()) {
        if !columns.iter().any(|column| column.name == *dates) {
            return Err(Halt::Failed(format!("features.dates: the rows have no column `{dates}`")));
        }
    }
    let time_column = match &spec.source {
        Source::File { time_column, .. } | Source::Query { time_column, .. } => time_column.as_deref(),
        Source::Captured => None,
    };
    let others = [spec.data.sample_weight.as_deref(), spec.data.entity.as_deref(), time_column];
    columns.retain(|column| {
        let name = column.name.as_str();
        let is_other = others.contains(&Some(name)) || name == spec.target;
        listed(name) || is_date(name) || (spec.features.columns.is_empty() && !is_other)
    });
    for feature in &spec.features.columns {
        if !columns.iter().any(|column| column.name == feature.name) {
            journal.warn(format!("no row has the feature `{}`", feature.name));
            columns.push(Column {
                name: feature.name.as_str().into(),
                values: vec![Value::Missing; targets.len()],
            });
        }
    }
    let features = if spec.features.columns.is_empty() {
        columns
            .iter()
            .filter(|column| !is_date(&column.name) && !others.contains(&Some(column.name.as_str())))
            .map(shown)
            .collect()
    } else {
        spec.features.columns.clone()
    };
    Ok(Raw { features, columns, targets, times, weights, entities })
}

/// A column with the kind that its values show.
fn shown(column: &Column) -> FeatureSpec {
    let mut known = column.values.iter().filter(|value| !matches!(value, Value::Missing)).peekable();
    let is_empty = known.peek().is_none();
    let kind = if is_empty || known.clone().all(|value| matches!(value, Value::Number(_))) {
        FeatureKind::Numeric
    } else if known.all(|value| matches!(value, Value::Bool(_))) {
        FeatureKind::Boolean
    } else {
        FeatureKind::Categorical
    };
    FeatureSpec::new(column.name.as_str(), kind)
}
