//! Tables of predictions, Parquet, Arrow or CSV, as exchanges; and tables of `KServe`'s events as its documents.

use std::path::Path;

use chrono::{DateTime, FixedOffset, TimeDelta, Utc};
use sha2::{Digest, Sha256};

use crate::config::FileColumns;
use crate::frames::{self, Chunk, FrameError, Holds, Pace, Reading, Sink, Source, State, Values, Want};
use crate::model::{Batch, Column, Exchange, FeatureKind, ModelName, Value};

/// Values that one table may have.
const MAX_CELLS: u64 = 8_000_000;

/// Rows of an exchange where no column makes each row one of its own.
const ROWS: usize = 500;

/// What a table's rows become exchanges with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Meaning<'a> {
    pub(super) columns: &'a FileColumns,
    pub(super) model: &'a ModelName,
    /// The time of rows that have none.
    pub(super) modified: DateTime<Utc>,
    /// Of times without a zone.
    pub(super) utc_offset: FixedOffset,
}

/// The exchanges of a table.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Rows {
    pub(super) exchanges: Vec<Exchange>,
    /// Rows whose time cannot be read.
    pub(super) bad_times: u64,
}

/// Collects a column.
struct Collect(Vec<Value>);

impl Sink for Collect {
    fn take(&mut self, chunk: &Chunk) -> Result<(), FrameError> {
        if (self.0.len() + chunk.rows()) as u64 > MAX_CELLS {
            return Err(FrameError::Refused(too_large()));
        }
        let states = chunk.states.as_deref();
        let mut push = |row: usize, value: Value| {
            self.0.push(match states.map_or(State::Value, |states| states[row]) {
                State::Value => value,
                State::Missing => Value::Missing,
                State::WrongType => Value::Opaque,
            });
        };
        match &chunk.values {
            Values::Numbers(numbers) => {
                numbers.iter().enumerate().for_each(|(row, number)| push(row, Value::Number(*number)));
            }
            Values::Texts(texts) => {
                texts.iter().enumerate().for_each(|(row, text)| push(row, Value::Text(text.to_owned())));
            }
            Values::Truths(truths) => {
                truths.iter().enumerate().for_each(|(row, truth)| push(row, Value::Bool(*truth)));
            }
            Values::Times(times) => {
                let text = |time| DateTime::from_timestamp_millis(time).map(|time| time.to_rfc3339());
                times.iter().enumerate().for_each(|(row, time)| {
                    push(row, text(*time).map_or(Value::Opaque, Value::Text));
                });
            }
        }
        Ok(())
    }
}

fn too_large() -> String {
    format!("the table has more than {MAX_CELLS} values; split it into several files")
}

/// Every column but those to be left out, all of one length; `names` are read as text whatever they hold.
fn read(path: &Path, ignore: &[String], names: &[&Option<String>]) -> Result<Vec<Column>, FrameError> {
    // A pattern would read the brackets of a name as wildcards; an existing path is taken as it is.
    let source = Source::open(&path.to_string_lossy())?;
    let mut wanted: Vec<_> = source.columns().iter().collect();
    wanted.retain(|column| !ignore.contains(&column.name));
    if source.rows().is_some_and(|rows| rows.saturating_mul(wanted.len() as u64) > MAX_CELLS) {
        return Err(FrameError::Refused(too_large()));
    }
    let is_scalar = |holds: &Holds| !matches!(holds, Holds::NotScalar(_));
    let mut readings: Vec<Reading<'_, Collect>> = wanted
        .iter()
        .filter(|column| is_scalar(&column.holds))
        .map(|column| {
            let is_name = names.iter().any(|name| name.as_deref() == Some(column.name.as_str()));
            let kind = if is_name { Some(FeatureKind::Categorical) } else { column.holds.kind() };
            Reading {
                name: &column.name,
                want: Want::Kind(kind.unwrap_or(FeatureKind::Numeric)),
                sink: Collect(Vec::new()),
            }
        })
        .collect();
    let told = source.read(&mut readings, Pace { threads: 1, progress: &|_| () })?;
    let rows = usize::try_from(told.rows).unwrap_or(usize::MAX);
    let mut columns: Vec<Column> = readings
        .into_iter()
        .map(|reading| Column { name: reading.name.into(), values: reading.sink.0 })
        .collect();
    for column in wanted.iter().filter(|column| !is_scalar(&column.holds)) {
        columns.push(Column { name: column.name.as_str().into(), values: vec![Value::Opaque; rows] });
    }
    Ok(columns)
}

/// Reads a table of predictions.
///
/// # Errors
///
/// [`FrameError`] names the file and what is wrong with it.
pub(super) fn exchanges(path: &Path, meaning: Meaning<'_>) -> Result<Rows, FrameError> {
    let FileColumns { id, time, version, outputs, ignore } = meaning.columns;
    let mut columns = read(path, ignore, &[id, version])?;
    let rows = columns.first().map_or(0, |column| column.values.len());
    let mut take = |name: &Option<String>| -> Result<Option<Vec<Value>>, FrameError> {
        let Some(name) = name else { return Ok(None) };
        match columns.iter().position(|column| column.name == *name) {
            Some(at) => Ok(Some(columns.remove(at).values)),
            None => Err(missing(path, name, &columns)),
        }
    };
    let (ids, times, versions) = (take(id)?, take(time)?, take(version)?);
    if let Some(name) = outputs.iter().find(|name| columns.iter().all(|column| column.name != **name)) {
        return Err(missing(path, name, &columns));
    }
    let (outputs, features): (Vec<Column>, Vec<Column>) =
        columns.into_iter().partition(|column| outputs.iter().any(|name| column.name == *name));
    let step = if ids.is_some() || times.is_some() || versions.is_some() { 1 } else { ROWS };
    let file = file_id(path);
    let mut found = Rows::default();
    for start in (0..rows).step_by(step) {
        let end = rows.min(start + step);
        let slice = |columns: &[Column]| -> Vec<Column> {
            let part = |column: &Column| Column {
                name: column.name.clone(),
                values: column.values[start..end].to_vec(),
            };
            columns.iter().map(part).collect()
        };
        let event_time = match times.as_ref().map(|times| &times[start]) {
            None => Some(meaning.modified),
            Some(time) => read_time(time, meaning.utc_offset),
        };
        let Some(event_time) = event_time else {
            found.bad_times += 1;
            continue;
        };
        let id = ids.as_ref().and_then(|ids| text(&ids[start])).unwrap_or_else(|| format!("{file}-{start}"));
        found.exchanges.push(Exchange {
            id,
            model: meaning.model.clone(),
            model_version: versions.as_ref().and_then(|versions| text(&versions[start])),
            event_time,
            other_ids: Vec::new(),
            batch: Batch { rows: end - start, features: slice(&features), outputs: slice(&outputs) },
        });
    }
    Ok(found)
}

fn missing(path: &Path, name: &str, columns: &[Column]) -> FrameError {
    FrameError::MissingColumn {
        path: path.to_owned(),
        column: name.to_owned(),
        known: columns.iter().map(|column| column.name.to_string()).collect(),
    }
}

/// Names a file in the ids of its rows.
fn file_id(path: &Path) -> String {
    let digest = Sha256::digest(path.to_string_lossy().as_bytes());
    format!("{:016x}", digest.iter().take(8).fold(0_u64, |hash, byte| hash << 8 | u64::from(*byte)))
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::Text(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) if number.is_finite() => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    }
}

/// A time; one without a zone is local to `offset`.
fn read_time(value: &Value, offset: FixedOffset) -> Option<DateTime<Utc>> {
    let time = frames::parse_time(value)?;
    match value {
        Value::Text(text) if DateTime::parse_from_rfc3339(text).is_err() => {
            time.checked_sub_signed(TimeDelta::seconds(offset.local_minus_utc().into()))
        }
        _ => Some(time),
    }
}

/// Reads a table of `KServe`'s events as the documents that its logger writes otherwise, one per line.
///
/// # Errors
///
/// [`FrameError`] names the file and what is wrong with it.
pub(super) fn events(path: &Path) -> Result<(Vec<u8>, usize), FrameError> {
    let columns = read(path, &[], &[])?;
    for needed in ["bytes", "reqType", "id"] {
        if columns.iter().all(|column| column.name != needed) {
            return Err(missing(path, needed, &columns));
        }
    }
    let rows = columns.first().map_or(0, |column| column.values.len());
    let mut lines = Vec::new();
    for row in 0..rows {
        let mut event = serde_json::Map::new();
        for column in &columns {
            let Some(text) = text(&column.values[row]) else { continue };
            // Two columns hold documents.
            let document = ["metadata", "annotations"].contains(&column.name.as_str());
            let value = document.then(|| serde_json::from_str(&text).ok()).flatten();
            event.insert(column.name.to_string(), value.unwrap_or(serde_json::Value::String(text)));
        }
        lines.extend_from_slice(serde_json::Value::Object(event).to_string().as_bytes());
        lines.push(b'\n');
    }
    Ok((lines, rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn csv(text: &str) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("drop.csv");
        std::fs::write(&path, text).unwrap();
        (folder, path)
    }

    fn meaning<'a>(columns: &'a FileColumns, model: &'a ModelName) -> Meaning<'a> {
        Meaning {
            columns,
            model,
            modified: DateTime::from_timestamp(1_790_000_000, 0).unwrap(),
            utc_offset: "+02:00".parse().unwrap(),
        }
    }

    #[test]
    fn rows_with_ids_and_times_are_exchanges_of_their_own() {
        let (_folder, path) = csv("id,at,temp,city,score,note\n\
            a,2026-11-21T12:00:00,1.5,x,0.5,n\n7,2026-11-21T12:00:00Z,,y,0.25,n\nc,soon,1,z,1,n\n");
        let columns = FileColumns {
            id: Some("id".into()),
            time: Some("at".into()),
            outputs: vec!["score".into()],
            ignore: vec!["note".into()],
            ..FileColumns::default()
        };
        let model = ModelName::parse("m").unwrap();
        let rows = exchanges(&path, meaning(&columns, &model)).unwrap();
        assert_eq!((rows.exchanges.len(), rows.bad_times), (2, 1));
        let [first, second] = &rows.exchanges[..] else { panic!("two rows") };
        assert_eq!((first.id.as_str(), second.id.as_str()), ("a", "7"));
        assert_eq!(first.event_time.to_rfc3339(), "2026-11-21T10:00:00+00:00", "a local time");
        assert_eq!(second.event_time.to_rfc3339(), "2026-11-21T12:00:00+00:00");
        assert_eq!(second.batch.features[0].values, [Value::Missing]);
        assert_eq!(second.batch.features[1].values, [Value::Text("y".into())]);
        assert_eq!(first.batch.outputs[0].values, [Value::Number(0.5)]);
        assert_eq!(first.batch.features.len(), 2);
    }

    #[test]
    fn rows_without_either_go_together() {
        let mut text = "a,b\n".to_owned();
        for row in 0..ROWS + 3 {
            text.extend([row.to_string().as_str(), ",x\n"]);
        }
        let (_folder, path) = csv(&text);
        let model = ModelName::parse("m").unwrap();
        let columns = FileColumns::default();
        let rows = exchanges(&path, meaning(&columns, &model)).unwrap();
        let counts: Vec<usize> = rows.exchanges.iter().map(|exchange| exchange.batch.rows).collect();
        assert_eq!(counts, [ROWS, 3]);
        assert_eq!(rows.exchanges[0].event_time.timestamp(), 1_790_000_000);
        assert!(rows.exchanges[1].id.ends_with("-500"), "{}", rows.exchanges[1].id);
        assert_eq!(rows, exchanges(&path, meaning(&columns, &model)).unwrap(), "ids stay the same");
    }

    #[test]
    fn a_column_that_is_not_there_is_named() {
        let (_folder, path) = csv("a\n1\n");
        let model = ModelName::parse("m").unwrap();
        for columns in [
            FileColumns { id: Some("key".into()), ..FileColumns::default() },
            FileColumns { outputs: vec!["key".into()], ..FileColumns::default() },
        ] {
            let problem = exchanges(&path, meaning(&columns, &model)).unwrap_err().to_string();
            assert!(problem.contains("no column `key`; it has a"), "{problem}");
        }
        assert!(events(&path).unwrap_err().to_string().contains("no column `bytes`"));
    }

    #[test]
    fn a_table_of_events_becomes_documents() {
        let (_folder, path) = csv("id,reqType,bytes,metadata,endpoint\n\
            7,org.kubeflow.serving.inference.request,e30=,\"{\"\"X-Request-Id\"\":[\"\"r\"\"]}\",\n");
        let (lines, rows) = events(&path).unwrap();
        assert_eq!(rows, 1);
        let event: serde_json::Value = serde_json::from_slice(&lines).unwrap();
        assert_eq!(event["metadata"]["X-Request-Id"][0], "r");
        assert_eq!((&event["bytes"], &event["id"]), (&"e30=".into(), &"7".into()));
    }
}
