//! A whole data file in memory, every column as plain values.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::source::matching;
use super::{Chunk, FrameError, Holds, Pace, Reading, Sink, Source, State, Values, Want};
use crate::model::{Column, FeatureKind, Value, parse_time};
use chrono::{DateTime, Utc};
use polars::prelude::{
    AnyValue, CsvReadOptions, DataFrame, DataType, JsonFormat, JsonReader, ParquetReader, PolarsError,
    SerReader,
};

/// A data file in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// Where it came from.
    pub path: PathBuf,
    /// Number of rows.
    pub rows: usize,
    /// Its columns, in the file's order.
    pub columns: Vec<Column>,
}

/// Reads `path`; with `columns`, only those, in that order.
///
/// # Errors
///
/// [`FrameError`] names the file and what is wrong with it.
pub fn read_table(path: &Path, columns: Option<&[&str]>) -> Result<Table, FrameError> {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
    if ["arrow", "feather"].contains(&extension.as_str()) {
        return read_streamed(path, columns);
    }
    let frame = read_frame(path)?;
    if frame.height() == 0 {
        return Err(FrameError::Empty(path.to_owned()));
    }
    let known: Vec<String> = frame.get_column_names().iter().map(ToString::to_string).collect();
    let wanted: Vec<String> =
        columns.map_or_else(|| known.clone(), |names| names.iter().map(ToString::to_string).collect());
    let mut out = Vec::with_capacity(wanted.len());
    for name in wanted {
        let Ok(column) = frame.column(&name) else {
            return Err(FrameError::MissingColumn { path: path.to_owned(), column: name, known });
        };
        let series = column.as_materialized_series();
        let values = series.iter().map(|value| plain(&value)).collect();
        out.push(Column { name: name.into(), values });
    }
    Ok(Table { path: path.to_owned(), rows: frame.height(), columns: out })
}

/// Reads a file, or every file that a pattern like `data/*.parquet` matches, one after the other in the order of their
/// names. Columns that only some of the files have are an error.
///
/// # Errors
///
/// [`FrameError`] names the file and what is wrong with it.
pub fn read_tables(pattern: &str, columns: Option<&[&str]>) -> Result<Table, FrameError> {
    let paths = matching(pattern)?;
    let (Some(first), true) = (paths.first(), paths.len() > 1) else {
        let only = paths.first().map_or(Path::new(pattern), PathBuf::as_path);
        return read_table(only, columns);
    };
    let mut all = read_table(first, columns)?;
    let wanted: Vec<String> = all.columns.iter().map(|column| column.name.to_string()).collect();
    let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
    for path in &paths[1..] {
        if columns.is_none()
            && let Some(more) = Source::open(&path.to_string_lossy())?
                .columns()
                .iter()
                .find(|column| !wanted.contains(&column.name.as_str()))
        {
            let problem = format!("only the second has column `{}`", more.name);
            return Err(FrameError::SchemaDiffers { first: first.clone(), other: path.clone(), problem });
        }
        let next = read_table(path, Some(&wanted))?;
        all.rows += next.rows;
        for (column, more) in all.columns.iter_mut().zip(next.columns) {
            column.values.extend(more.values);
        }
    }
    all.path = pattern.into();
    Ok(all)
}

/// Reads a file of a format that is only streamed.
fn read_streamed(path: &Path, columns: Option<&[&str]>) -> Result<Table, FrameError> {
    struct Collect(Vec<Value>);
    impl Sink for Collect {
        fn take(&mut self, chunk: &Chunk) -> Result<(), FrameError> {
            let states = chunk.states.as_deref();
            let value = |row: usize, value: Value| match states.map_or(State::Value, |states| states[row]) {
                State::Value => value,
                State::Missing => Value::Missing,
                State::WrongType => Value::Opaque,
            };
            match &chunk.values {
                Values::Numbers(numbers) => {
                    self.0.extend(numbers.iter().enumerate().map(|(row, &v)| value(row, Value::Number(v))));
                }
                Values::Texts(texts) => {
                    self.0.extend(
                        texts.iter().enumerate().map(|(row, v)| value(row, Value::Text(v.to_owned()))),
                    );
                }
                Values::Truths(truths) => {
                    self.0.extend(truths.iter().enumerate().map(|(row, &v)| value(row, Value::Bool(v))));
                }
                Values::Times(_) => {}
            }
            Ok(())
        }
    }
    let source = Source::open(&path.to_string_lossy())?;
    let all = || source.columns().iter().map(|column| column.name.as_str()).collect();
    let wanted: Vec<&str> = columns.map_or_else(all, <[&str]>::to_vec);
    let rows = usize::try_from(source.rows().unwrap_or(0)).unwrap_or(usize::MAX);
    let mut out = Vec::with_capacity(wanted.len());
    for name in wanted {
        let holds = &source.column(name)?.holds;
        let values = if let Holds::NotScalar(_) = holds {
            vec![Value::Opaque; rows]
        } else {
            let want = Want::Kind(holds.kind().unwrap_or(FeatureKind::Numeric));
            let mut readings = [Reading { name, want, sink: Collect(Vec::with_capacity(rows)) }];
            source.read(&mut readings, Pace { threads: 1, progress: &|_| () })?;
            let [reading] = readings;
            reading.sink.0
        };
        out.push(Column { name: name.into(), values });
    }
    Ok(Table { path: path.to_owned(), rows, columns: out })
}

fn read_frame(path: &Path) -> Result<DataFrame, FrameError> {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
    let open = || File::open(path).map_err(|source| FrameError::Open { path: path.to_owned(), source });
    let file = open()?;
    let length = file.metadata().map_err(|source| FrameError::Open { path: path.to_owned(), source })?.len();
    if length == 0 {
        return Err(FrameError::Empty(path.to_owned()));
    }
    let (format, outcome): (_, Result<DataFrame, PolarsError>) = match extension.as_str() {
        "parquet" => ("Parquet", ParquetReader::new(file).finish()),
        "csv" => {
            let options = CsvReadOptions::default().with_infer_schema_length(None).with_has_header(true);
            ("CSV", options.into_reader_with_file_handle(file).finish())
        }
        "jsonl" | "ndjson" => {
            ("JSON lines", JsonReader::new(file).with_json_format(JsonFormat::JsonLines).finish())
        }
        _ => return Err(FrameError::UnknownFormat(path.to_owned())),
    };
    outcome.map_err(|error| match error {
        PolarsError::NoData(_) => FrameError::Empty(path.to_owned()),
        error => FrameError::Content { path: path.to_owned(), format, problem: error.to_string() },
    })
}

fn plain(value: &AnyValue<'_>) -> Value {
    match value {
        AnyValue::Null => Value::Missing,
        AnyValue::Boolean(truth) => Value::Bool(*truth),
        AnyValue::String(text) => Value::Text((*text).to_owned()),
        AnyValue::StringOwned(text) => Value::Text(text.to_string()),
        other if other.dtype().is_primitive_numeric() => {
            other.try_extract::<f64>().map_or(Value::Opaque, Value::Number)
        }
        other if matches!(other.dtype(), DataType::Date | DataType::Datetime(..) | DataType::Time) => {
            Value::Text(other.to_string())
        }
        _ => Value::Opaque,
    }
}

impl Table {
    /// The column called `name`.
    ///
    /// # Errors
    ///
    /// [`FrameError::MissingColumn`] lists the columns there are.
    pub fn column(&self, name: &str) -> Result<&Column, FrameError> {
        self.columns.iter().find(|column| column.name == name).ok_or_else(|| FrameError::MissingColumn {
            path: self.path.clone(),
            column: name.to_owned(),
            known: self.columns.iter().map(|column| column.name.to_string()).collect(),
        })
    }

    /// The column called `name` as event times; numbers are seconds since 1970.
    ///
    /// # Errors
    ///
    /// [`FrameError::MissingColumn`], or [`FrameError::Time`] with the first row that is not a time.
    pub fn times(&self, name: &str) -> Result<Vec<DateTime<Utc>>, FrameError> {
        let column = self.column(name)?;
        column
            .values
            .iter()
            .enumerate()
            .map(|(row, value)| {
                parse_time(value).ok_or_else(|| FrameError::Time {
                    path: self.path.clone(),
                    column: name.to_owned(),
                    row: row + 1,
                    text: match value {
                        Value::Text(text) => text.clone(),
                        other => format!("{other:?}"),
                    },
                })
            })
            .collect()
    }
}
