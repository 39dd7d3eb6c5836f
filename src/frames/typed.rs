//! Typed columns to the bytes of a Parquet file and back, for files that driftline writes itself.

use std::io::Cursor;
use std::path::Path;

use polars::prelude::{
    BooleanChunked, Column, DataFrame, DataType, Float64Chunked, Int64Chunked, IntoColumn, KeyValueMetadata,
    NewChunkedArray, ParallelStrategy, ParquetCompression, ParquetReader, ParquetWriter, PolarsError,
    SerReader, StringChunked, TimeUnit,
};

use super::chunk::Texts;
use super::{FrameError, guard};

/// Rows of a row group, each of which has statistics of its own.
const ROW_GROUP: usize = 1 << 15;

/// Under which name the file holds what is said of its columns.
const METADATA: &str = "driftline";

/// Values of one type; where one is missing stands a placeholder (NaN, false, an empty text, 0).
#[derive(Debug, Clone, PartialEq)]
pub enum Cells {
    /// Numbers, NaN and the infinities included.
    Numbers(Vec<f64>),
    /// Truth values.
    Truths(Vec<bool>),
    /// Texts.
    Texts(Texts),
    /// Whole numbers.
    Integers(Vec<i64>),
    /// Times, in microseconds since 1970.
    Times(Vec<i64>),
}

impl Cells {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        match self {
            Self::Numbers(values) => values.len(),
            Self::Truths(values) => values.len(),
            Self::Texts(values) => values.len(),
            Self::Integers(values) | Self::Times(values) => values.len(),
        }
    }
}

/// A column of values of one type.
#[derive(Debug, Clone, PartialEq)]
pub struct Typed {
    /// One value per row.
    pub cells: Cells,
    /// Which rows have none; absent when every row has one.
    pub missing: Option<Vec<bool>>,
}

impl Typed {
    /// Whether row `row` has no value.
    pub fn is_missing(&self, row: usize) -> bool {
        self.missing.as_ref().is_some_and(|missing| missing.get(row).copied().unwrap_or(true))
    }

    fn into_column(self, name: &str) -> Column {
        let missing = self.missing;
        let present = |row: usize| missing.as_ref().is_none_or(|missing| !missing[row]);
        let name = name.into();
        match self.cells {
            Cells::Numbers(values) if missing.is_none() => {
                Float64Chunked::from_vec(name, values).into_column()
            }
            Cells::Numbers(values) => {
                let values = values.into_iter().enumerate().map(|(row, value)| present(row).then_some(value));
                Float64Chunked::from_iter_options(name, values).into_column()
            }
            Cells::Integers(values) => {
                let values = values.into_iter().enumerate().map(|(row, value)| present(row).then_some(value));
                Int64Chunked::from_iter_options(name, values).into_column()
            }
            Cells::Times(values) => {
                let values = values.into_iter().enumerate().map(|(row, value)| present(row).then_some(value));
                let numbers = Int64Chunked::from_iter_options(name, values);
                numbers.into_datetime(TimeUnit::Microseconds, None).into_column()
            }
            Cells::Truths(values) => {
                let values = values.into_iter().enumerate().map(|(row, value)| present(row).then_some(value));
                BooleanChunked::from_iter_options(name, values).into_column()
            }
            Cells::Texts(texts) => {
                let values = texts.iter().enumerate().map(|(row, value)| present(row).then_some(value));
                StringChunked::from_iter_options(name, values).into_column()
            }
        }
    }

    fn from_column(column: &Column) -> Result<Self, PolarsError> {
        let series = column.as_materialized_series();
        let rows = series.len();
        let missing = (series.null_count() > 0)
            .then(|| series.is_null().iter().map(|is_null| is_null == Some(true)).collect());
        let cells = match series.dtype() {
            DataType::Float64 => {
                let mut values = Vec::with_capacity(rows);
                for chunk in series.f64()?.downcast_iter() {
                    values.extend_from_slice(chunk.values());
                }
                mask(&mut values, missing.as_deref(), f64::NAN);
                Cells::Numbers(values)
            }
            DataType::Int64 => Cells::Integers(whole(series.i64()?, missing.as_deref())),
            DataType::Datetime(TimeUnit::Microseconds, _) => {
                Cells::Times(whole(series.datetime()?.physical(), missing.as_deref()))
            }
            DataType::Boolean => {
                Cells::Truths(series.bool()?.iter().map(Option::unwrap_or_default).collect())
            }
            DataType::String => {
                let mut texts = Texts::default();
                for value in series.str()?.iter() {
                    texts.push(value.unwrap_or_default());
                }
                Cells::Texts(texts)
            }
            other => {
                return Err(PolarsError::SchemaMismatch(
                    format!("column `{}` is {other}", column.name()).into(),
                ));
            }
        };
        Ok(Self { cells, missing })
    }
}

fn whole(numbers: &Int64Chunked, missing: Option<&[bool]>) -> Vec<i64> {
    let mut values = Vec::with_capacity(numbers.len());
    for chunk in numbers.downcast_iter() {
        values.extend_from_slice(chunk.values());
    }
    mask(&mut values, missing, 0);
    values
}

fn mask<T: Copy>(values: &mut [T], missing: Option<&[bool]>, placeholder: T) {
    for (value, _) in values.iter_mut().zip(missing.unwrap_or_default()).filter(|(_, missing)| **missing) {
        *value = placeholder;
    }
}

/// A Parquet file of `columns`, with `said` of them in its footer: zstd, statistics per row group. The same columns give
/// the same bytes.
///
/// # Errors
///
/// [`FrameError::Content`] when columns have different lengths or one name.
pub fn write_typed(columns: Vec<(String, Typed)>, said: &str) -> Result<Vec<u8>, FrameError> {
    let failed = |error: PolarsError| FrameError::Content {
        path: "(to be written)".into(),
        format: "Parquet",
        problem: error.to_string(),
    };
    let rows = columns.first().map_or(0, |(_, column)| column.cells.rows());
    let columns = columns.into_iter().map(|(name, column)| column.into_column(&name)).collect();
    let mut frame = DataFrame::new(rows, columns).map_err(failed)?;
    let mut bytes = Vec::new();
    ParquetWriter::new(&mut bytes)
        .with_compression(ParquetCompression::Zstd(None))
        .with_row_group_size(Some(ROW_GROUP))
        .with_key_value_metadata(Some(KeyValueMetadata::from_static(vec![(
            METADATA.to_owned(),
            said.to_owned(),
        )])))
        .set_parallel(false)
        .finish(&mut frame)
        .map_err(failed)?;
    Ok(bytes)
}

/// What is said of the columns in the footer of a file that [`write_typed`] wrote.
///
/// # Errors
///
/// [`FrameError::Content`] names `path` when it is no such file.
pub fn said_of_columns(bytes: &[u8], path: &Path) -> Result<String, FrameError> {
    guard::guarded(path, "Parquet", || {
        let mut reader = ParquetReader::new(Cursor::new(bytes));
        let metadata = reader.get_metadata().map_err(|error| content(path, error))?;
        let said = metadata.key_value_metadata().iter().flatten().find(|pair| pair.key == METADATA);
        let said = said.and_then(|pair| pair.value.clone());
        said.ok_or_else(|| content(path, "its footer does not say what its columns are"))
    })
}

/// The columns called `names` of a file that [`write_typed`] wrote, in that order, read on this thread.
///
/// # Errors
///
/// [`FrameError::Content`] names `path` when the file is damaged, lacks a column, or holds other types.
pub fn read_typed(bytes: &[u8], names: &[&str], path: &Path) -> Result<Vec<Typed>, FrameError> {
    guard::guarded(path, "Parquet", || {
        let wanted = names.iter().map(ToString::to_string).collect();
        let frame = ParquetReader::new(Cursor::new(bytes))
            .read_parallel(ParallelStrategy::None)
            .with_columns(Some(wanted))
            .finish()
            .map_err(|error| content(path, error))?;
        names
            .iter()
            .map(|name| frame.column(name).and_then(Typed::from_column).map_err(|error| content(path, error)))
            .collect()
    })
}

fn content(path: &Path, problem: impl std::fmt::Display) -> FrameError {
    FrameError::Content { path: path.to_owned(), format: "Parquet", problem: problem.to_string() }
}
