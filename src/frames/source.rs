//! Data files of one schema, opened but not read: their columns, and a way to stream these in bounded memory.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::FrameError;
use super::arrow::ArrowFile;
use super::chunk::{Chunk, ChunkBuilder, Want};
use super::parquet::ParquetFile;
use super::private::Private;
use super::rows::{self, RowFile};
use crate::model::FeatureKind;
use crate::privacy::Policy;

/// What a column holds, as the file's schema or its first values say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holds {
    /// Numbers.
    Numbers,
    /// Texts.
    Texts,
    /// Truth values.
    Truths,
    /// Times.
    Times,
    /// No value that was looked at.
    Nothing,
    /// What cannot be compared, in the plural: `lists`.
    NotScalar(String),
}

impl Holds {
    /// The kind of feature this is; `None` where nothing says so.
    pub fn kind(&self) -> Option<FeatureKind> {
        match self {
            Self::Numbers => Some(FeatureKind::Numeric),
            Self::Texts | Self::Times => Some(FeatureKind::Categorical),
            Self::Truths => Some(FeatureKind::Boolean),
            Self::Nothing | Self::NotScalar(_) => None,
        }
    }

    /// The word for people, in the plural.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Numbers => "numbers",
            Self::Texts => "texts",
            Self::Truths => "truth values",
            Self::Times => "times",
            Self::Nothing => "no values",
            Self::NotScalar(what) => what,
        }
    }
}

/// A column of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceColumn {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub holds: Holds,
}

/// Takes the chunks of one column, in row order.
pub trait Sink: Send {
    /// Takes the next rows.
    ///
    /// # Errors
    ///
    /// [`FrameError::Refused`] ends the reading.
    fn take(&mut self, chunk: &Chunk) -> Result<(), FrameError>;
}

/// A column to be read.
#[derive(Debug)]
pub struct Reading<'a, S> {
    /// Its name.
    pub name: &'a str,
    /// What it is read as.
    pub want: Want,
    /// What takes it.
    pub sink: S,
}

/// What reading told, beside the values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// Number of rows.
    pub rows: u64,
    /// Columns that only rows far behind the first have (JSON lines); the first few.
    pub unknown: BTreeSet<String>,
}

/// How reading is done.
#[derive(Clone, Copy)]
pub struct Pace<'a> {
    /// Threads to use, at least 1.
    pub threads: usize,
    /// Called with the work done since the last call, in the unit of [`Source::work`].
    pub progress: &'a (dyn Fn(u64) + Sync),
}

/// One data file.
#[derive(Debug)]
enum DataFile {
    Parquet(ParquetFile),
    Arrow(ArrowFile),
    Rows(RowFile),
}

impl DataFile {
    fn path(&self) -> &Path {
        match self {
            Self::Parquet(file) => file.path(),
            Self::Arrow(file) => file.path(),
            Self::Rows(file) => file.path(),
        }
    }
}

/// Data files of one schema.
#[derive(Debug)]
pub struct Source {
    label: String,
    files: Vec<(DataFile, Vec<SourceColumn>)>,
    columns: Vec<SourceColumn>,
    policy: Arc<Policy>,
}

impl Source {
    /// Opens a file, or every file that a pattern like `data/*.parquet` matches, in the order of their names.
    ///
    /// # Errors
    ///
    /// [`FrameError`]: no file, an unknown or damaged format, no rows, or files that are not of one schema.
    pub fn open(pattern: &str) -> Result<Self, FrameError> {
        let mut files = Vec::new();
        for path in matching(pattern)? {
            let (file, columns) = open_one(&path)?;
            if let Some(column) =
                (1..columns.len()).find(|&i| columns[..i].iter().any(|other| other.name == columns[i].name))
            {
                return Err(FrameError::DuplicateColumn { path, column: columns[column].name.clone() });
            }
            files.push((file, columns));
        }
        let columns = one_schema(&files)?;
        let source = Self { label: pattern.to_owned(), files, columns, policy: Arc::default() };
        if source.rows() == Some(0) {
            return Err(FrameError::Empty(pattern.into()));
        }
        Ok(source)
    }

    /// The path or pattern as given.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Its columns, in the order of the first file.
    pub fn columns(&self) -> &[SourceColumn] {
        &self.columns
    }

    /// The column called `name`.
    ///
    /// # Errors
    ///
    /// [`FrameError::MissingColumn`] lists the columns there are.
    pub fn column(&self, name: &str) -> Result<&SourceColumn, FrameError> {
        self.columns.iter().find(|column| column.name == name).ok_or_else(|| FrameError::MissingColumn {
            path: self.label.clone().into(),
            column: name.to_owned(),
            known: self.columns.iter().map(|column| column.name.clone()).collect(),
        })
    }

    /// Number of rows, where the files say it.
    pub fn rows(&self) -> Option<u64> {
        self.files
            .iter()
            .map(|(file, _)| match file {
                DataFile::Parquet(file) => Some(file.rows()),
                DataFile::Arrow(file) => Some(file.rows()),
                DataFile::Rows(_) => None,
            })
            .sum()
    }

    /// Whether a column can be read without reading the others.
    pub fn is_columnar(&self) -> bool {
        self.files.iter().all(|(file, _)| !matches!(file, DataFile::Rows(_)))
    }

    /// The work that reading `columns` columns takes: values where that is known, else bytes.
    pub fn work(&self, columns: usize) -> u64 {
        self.files
            .iter()
            .map(|(file, _)| match file {
                DataFile::Parquet(file) => file.rows() * columns as u64,
                DataFile::Arrow(file) => file.rows() * columns as u64,
                DataFile::Rows(file) => file.bytes(),
            })
            .sum()
    }

    /// Size of its files, in bytes.
    pub fn bytes(&self) -> u64 {
        self.files.iter().filter_map(|(file, _)| Some(std::fs::metadata(file.path()).ok()?.len())).sum()
    }

    /// Streams columns into their sinks.
    ///
    /// # Errors
    ///
    /// [`FrameError`] names file, column and row; also whatever a sink refuses.
    pub fn read<S: Sink>(&self, readings: &mut [Reading<'_, S>], pace: Pace<'_>) -> Result<Told, FrameError> {
        if self.policy.is_empty() {
            return self.read_whole(readings, pace);
        }
        let mut private: Vec<Reading<'_, Private<'_, S>>> = readings
            .iter_mut()
            .map(|Reading { name, want, sink }| Reading {
                name,
                want: *want,
                sink: Private { policy: &self.policy, column: name, sink },
            })
            .collect();
        self.read_whole(&mut private, pace)
    }

    /// The same source, of which sinks see what may be kept.
    #[must_use]
    pub fn keeping(self, policy: Arc<Policy>) -> Self {
        Self { policy, ..self }
    }

    fn read_whole<S: Sink>(
        &self,
        readings: &mut [Reading<'_, S>],
        pace: Pace<'_>,
    ) -> Result<Told, FrameError> {
        let mut rows = 0;
        let mut unknown = BTreeSet::new();
        if self.is_columnar() {
            rows = self.rows().unwrap_or(0);
            in_parallel(pace.threads, readings.iter_mut(), |reading| {
                (0..self.files.len())
                    .try_for_each(|file| self.read_columns(file, std::slice::from_mut(reading), pace))
            })?;
        } else {
            for (index, (file, columns)) in self.files.iter().enumerate() {
                rows += match file {
                    DataFile::Rows(file) => {
                        let told = file.read(columns, readings, pace)?;
                        unknown.extend(told.unknown);
                        told.rows
                    }
                    DataFile::Parquet(_) | DataFile::Arrow(_) => {
                        self.read_columns(index, readings, pace)?;
                        self.file_rows(index)
                    }
                };
            }
        }
        if rows == 0 { Err(FrameError::Empty(self.label.clone().into())) } else { Ok(Told { rows, unknown }) }
    }

    fn file_rows(&self, index: usize) -> u64 {
        match &self.files[index].0 {
            DataFile::Parquet(file) => file.rows(),
            DataFile::Arrow(file) => file.rows(),
            DataFile::Rows(_) => 0,
        }
    }

    /// Reads columns of a columnar file one after the other.
    fn read_columns<S: Sink>(
        &self,
        index: usize,
        wanted: &mut [Reading<'_, S>],
        pace: Pace<'_>,
    ) -> Result<(), FrameError> {
        let (file, columns) = &self.files[index];
        for reading in wanted {
            let Some(at) = columns.iter().position(|column| column.name == reading.name) else {
                return self.column(reading.name).map(|_| ());
            };
            let mut builder = ChunkBuilder::new(reading.want);
            let sink = &mut reading.sink;
            let mut emit = |chunk: &Chunk| {
                sink.take(chunk)?;
                (pace.progress)(chunk.rows() as u64);
                Ok(())
            };
            match file {
                DataFile::Parquet(file) => file.read_column(at, reading.name, &mut builder, &mut emit)?,
                DataFile::Arrow(file) => file.read_column(at, reading.name, &mut builder, &mut emit)?,
                DataFile::Rows(_) => {}
            }
        }
        Ok(())
    }
}

/// A time that could not be read, as the reader of a chunk reports it.
pub(super) fn bad_time(
    path: &Path,
    column: &str,
    rows_before: usize,
    (row, text): (usize, &str),
) -> FrameError {
    FrameError::Time {
        path: path.to_owned(),
        column: column.to_owned(),
        row: rows_before + row + 1,
        text: text.to_owned(),
    }
}

/// Does `work` for every item on some threads, and stops at the first error.
///
/// # Errors
///
/// The first error of `work`.
pub fn in_parallel<T: Send, E: Send>(
    threads: usize,
    items: impl Iterator<Item = T> + Send,
    work: impl Fn(T) -> Result<(), E> + Sync,
) -> Result<(), E> {
    let queue = Mutex::new(items);
    let failure = Mutex::new(None);
    let next = || {
        let stopped = failure.lock().is_ok_and(|failure| failure.is_some());
        if stopped { None } else { queue.lock().ok().and_then(|mut queue| queue.next()) }
    };
    let drain = || {
        while let Some(item) = next() {
            if let Err(error) = work(item)
                && let Ok(mut failure) = failure.lock()
            {
                failure.get_or_insert(error);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads.max(1) {
            scope.spawn(drain);
        }
        drain();
    });
    failure.into_inner().ok().flatten().map_or(Ok(()), Err)
}

/// The files that `pattern` stands for.
pub(super) fn matching(pattern: &str) -> Result<Vec<PathBuf>, FrameError> {
    let problem =
        |problem: &str| FrameError::Pattern { pattern: pattern.to_owned(), problem: problem.to_owned() };
    if pattern.contains("://") {
        return Err(problem("is a URL; only local files are read, so fetch it first"));
    }
    let path = PathBuf::from(pattern);
    if path.is_dir() {
        return Err(problem("is a folder; name the files in it, such as `folder/*.parquet`"));
    }
    if path.exists() || !pattern.contains(['*', '?', '[']) {
        return Ok(vec![path]);
    }
    let found = glob::glob(pattern).map_err(|error| problem(&format!("is no pattern: {error}")))?;
    let mut paths = Vec::new();
    for path in found {
        let path =
            path.map_err(|error| FrameError::Open { path: error.path().to_owned(), source: error.into() })?;
        if path.is_file() {
            paths.push(path);
        }
    }
    if paths.is_empty() { Err(problem("matches no file")) } else { Ok(paths) }
}

fn open_one(path: &Path) -> Result<(DataFile, Vec<SourceColumn>), FrameError> {
    let open = |source| FrameError::Open { path: path.to_owned(), source };
    let length = std::fs::metadata(path).map_err(open)?.len();
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
    let known = ["parquet", "arrow", "feather", "csv", "jsonl", "ndjson"];
    if !known.contains(&extension.as_str()) {
        return Err(FrameError::UnknownFormat(path.to_owned()));
    }
    if length == 0 {
        return Err(FrameError::Empty(path.to_owned()));
    }
    match extension.as_str() {
        "parquet" => ParquetFile::open(path).map(|(file, columns)| (DataFile::Parquet(file), columns)),
        "arrow" | "feather" => ArrowFile::open(path).map(|(file, columns)| (DataFile::Arrow(file), columns)),
        "csv" => {
            RowFile::open(path, rows::Format::Csv).map(|(file, columns)| (DataFile::Rows(file), columns))
        }
        _ => RowFile::open(path, rows::Format::JsonLines)
            .map(|(file, columns)| (DataFile::Rows(file), columns)),
    }
}

/// The columns that all files have, in the order of the first; what one file does not tell, another may.
fn one_schema(files: &[(DataFile, Vec<SourceColumn>)]) -> Result<Vec<SourceColumn>, FrameError> {
    let Some(((first, columns), others)) = files.split_first() else { return Ok(Vec::new()) };
    let mut columns = columns.clone();
    for (other, theirs) in others {
        let differs = |problem: String| FrameError::SchemaDiffers {
            first: first.path().to_owned(),
            other: other.path().to_owned(),
            problem,
        };
        if let Some(more) = theirs.iter().find(|column| columns.iter().all(|own| own.name != column.name)) {
            return Err(differs(format!("only the second has column `{}`", more.name)));
        }
        for own in &mut columns {
            match theirs.iter().find(|column| column.name == own.name) {
                None => return Err(differs(format!("only the first has column `{}`", own.name))),
                Some(column) if own.holds == Holds::Nothing => own.holds = column.holds.clone(),
                Some(column) if column.holds == own.holds || column.holds == Holds::Nothing => {}
                Some(column) => {
                    return Err(differs(format!(
                        "column `{}` holds {} in the first and {} in the second",
                        own.name,
                        own.holds.as_str(),
                        column.holds.as_str()
                    )));
                }
            }
        }
    }
    Ok(columns)
}
