//! CSV and JSON lines, a block of rows at a time: one thread splits the next block while all parse the last one.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::FrameError;
use super::chunk::{ChunkBuilder, CsvField};
use super::csv::CsvBlocks;
use super::json_lines::JsonBlocks;
use super::source::{Holds, Pace, Reading, Sink, SourceColumn, Told, bad_time, in_parallel};
use crate::model::parse_time_text;

/// Rows of a block.
pub(super) const BLOCK_ROWS: usize = 1 << 14;
/// Bytes after which a block ends, however few rows it has.
pub(super) const BLOCK_BYTES: usize = 8 << 20;
/// Rows that are parsed together by one thread.
const PART_ROWS: usize = 1 << 11;
/// Rows that are looked at to learn the kinds of the columns.
const SAMPLE_ROWS: usize = 1 << 13;
/// Rows after which no more is looked at, though a column had no value yet.
const SAMPLE_ROWS_MOST: usize = 1 << 17;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Csv,
    JsonLines,
}

/// A block of rows, split but not parsed.
pub(super) trait Block: Send + Sync {
    /// Number of rows.
    fn rows(&self) -> usize;
    /// Calls `each` with place and value of every field of a row, in any order; what a row lacks is not called.
    ///
    /// # Errors
    ///
    /// [`FrameError::Content`] names the line.
    fn parse(&self, row: usize, each: &mut dyn FnMut(Place<'_>, Scalar<'_>)) -> Result<(), FrameError>;
}

/// Where a value stands.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place<'a> {
    /// In column number so-and-so of the file.
    Column(usize),
    /// Under a name that the first rows did not have.
    Unknown(&'a str),
}

/// A value as it stands in a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Scalar<'a> {
    /// A CSV field.
    Field(&'a [u8]),
    Null,
    Number(f64),
    Truth(bool),
    Text(&'a str),
    /// An array or an object.
    Nested,
}

impl Scalar<'_> {
    fn push(self, builder: &mut ChunkBuilder) {
        match self {
            Self::Field(field) => builder.field(field),
            Self::Null => builder.missing(),
            Self::Number(number) => builder.number(number),
            Self::Truth(truth) => builder.truth(truth),
            Self::Text(text) => builder.text(text),
            Self::Nested => builder.wrong_type(),
        }
    }
}

/// Splits a file into blocks.
pub(super) trait Blocks {
    /// What it splits off.
    type Block: Block;
    /// The next block; `None` at the end of the file.
    ///
    /// # Errors
    ///
    /// [`FrameError`] when the file cannot be read or split.
    fn next_block(&mut self) -> Result<Option<Self::Block>, FrameError>;
    /// Bytes read so far.
    fn position(&self) -> u64;
}

/// A CSV or JSON lines file.
#[derive(Debug)]
pub(super) struct RowFile {
    path: PathBuf,
    format: Format,
    bytes: u64,
}

impl RowFile {
    pub(super) fn open(path: &Path, format: Format) -> Result<(Self, Vec<SourceColumn>), FrameError> {
        let bytes = std::fs::metadata(path)
            .map_err(|source| FrameError::Open { path: path.to_owned(), source })?
            .len();
        let columns = match format {
            Format::Csv => {
                let mut blocks = CsvBlocks::open(path)?;
                let names = blocks.names().to_vec();
                sample(path, &mut blocks, names)?
            }
            Format::JsonLines => {
                let mut blocks = JsonBlocks::open(path, &[])?;
                sample(path, &mut blocks, Vec::new())?
            }
        };
        Ok((Self { path: path.to_owned(), format, bytes }, columns))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Streams the columns of `readings`.
    pub(super) fn read<S: Sink>(
        &self,
        columns: &[SourceColumn],
        readings: &mut [Reading<'_, S>],
        pace: Pace<'_>,
    ) -> Result<Told, FrameError> {
        match self.format {
            Format::Csv => stream(&self.path, &mut CsvBlocks::open(&self.path)?, columns, readings, pace),
            Format::JsonLines => {
                let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
                stream(&self.path, &mut JsonBlocks::open(&self.path, &names)?, columns, readings, pace)
            }
        }
    }
}

/// Some rows of a block, parsed: a builder per wanted column.
struct Part {
    first: usize,
    end: usize,
    builders: Vec<ChunkBuilder>,
}

fn stream<B: Blocks + Send, S: Sink>(
    path: &Path,
    blocks: &mut B,
    columns: &[SourceColumn],
    readings: &mut [Reading<'_, S>],
    pace: Pace<'_>,
) -> Result<Told, FrameError> {
    // Which reading takes column number so-and-so.
    let mut reader_of: Vec<Option<usize>> = vec![None; columns.len()];
    for (index, reading) in readings.iter().enumerate() {
        match columns.iter().position(|column| column.name == reading.name) {
            Some(at) => reader_of[at] = Some(index),
            None => {
                return Err(FrameError::MissingColumn {
                    path: path.to_owned(),
                    column: reading.name.to_owned(),
                    known: columns.iter().map(|column| column.name.clone()).collect(),
                });
            }
        }
    }
    let mut told = Told::default();
    let unknown = Mutex::new(BTreeSet::new());
    let mut parts: Vec<Part> = Vec::new();
    let mut block = blocks.next_block()?;
    let mut position = 0;
    while let Some(current) = block {
        let rows = current.rows();
        let n_parts = rows.div_ceil(PART_ROWS);
        while parts.len() < n_parts {
            let builders = readings.iter().map(|reading| ChunkBuilder::new(reading.want)).collect();
            parts.push(Part { first: 0, end: 0, builders });
        }
        for (index, part) in parts.iter_mut().take(n_parts).enumerate() {
            (part.first, part.end) = (index * PART_ROWS, rows.min((index + 1) * PART_ROWS));
            part.builders.iter_mut().for_each(ChunkBuilder::clear);
        }
        let (next, parsed) = std::thread::scope(|scope| {
            // One thread fewer parses while the next block is split off.
            let splitting = scope.spawn(|| blocks.next_block());
            let parsed = in_parallel(pace.threads.max(2) - 1, parts.iter_mut().take(n_parts), |part| {
                parse_part(&current, part, &reader_of, &unknown)
            });
            (splitting.join(), parsed)
        });
        parsed?;
        for (index, reading) in readings.iter().enumerate() {
            for part in &parts[..n_parts] {
                if let Some(bad) = part.builders[index].bad_time() {
                    let before = usize::try_from(told.rows).unwrap_or(usize::MAX) + part.first;
                    return Err(bad_time(path, reading.name, before, bad));
                }
            }
        }
        in_parallel(pace.threads, readings.iter_mut().enumerate(), |(index, reading)| {
            parts[..n_parts].iter().try_for_each(|part| reading.sink.take(part.builders[index].chunk()))
        })?;
        told.rows += rows as u64;
        let now = blocks.position();
        (pace.progress)(now.saturating_sub(position));
        position = now;
        block = match next {
            Ok(next) => next?,
            Err(_) => {
                return Err(FrameError::Content {
                    path: path.to_owned(),
                    format: "text",
                    problem: "its content is damaged; the reader gave up".to_owned(),
                });
            }
        };
    }
    told.unknown = unknown.into_inner().unwrap_or_default();
    Ok(told)
}

fn parse_part(
    block: &impl Block,
    part: &mut Part,
    reader_of: &[Option<usize>],
    unknown: &Mutex<BTreeSet<String>>,
) -> Result<(), FrameError> {
    for row in part.first..part.end {
        let builders = &mut part.builders;
        let local = row - part.first;
        block.parse(row, &mut |place, scalar| match place {
            Place::Column(column) => {
                if let Some(builder) = reader_of[column].and_then(|index| builders.get_mut(index))
                    && builder.chunk().rows() == local
                {
                    scalar.push(builder);
                }
            }
            Place::Unknown(name) => {
                if let Ok(mut unknown) = unknown.lock()
                    && unknown.len() < 20
                {
                    unknown.insert(name.to_owned());
                }
            }
        })?;
        for builder in builders.iter_mut().filter(|builder| builder.chunk().rows() == local) {
            builder.missing();
        }
    }
    Ok(())
}

/// What the values of a column have been so far.
#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each kind of value was seen or not")]
struct Seen {
    numbers: bool,
    truths: bool,
    texts: bool,
    times: bool,
    nested: bool,
}

impl Seen {
    fn note(&mut self, scalar: Scalar<'_>) {
        match scalar {
            Scalar::Field(field) => match std::str::from_utf8(field).map(CsvField::of) {
                Ok(CsvField::Nothing) => {}
                Ok(CsvField::Number(_)) => self.numbers = true,
                Ok(CsvField::Truth(_)) => self.truths = true,
                Ok(CsvField::Text) => self.note_text(std::str::from_utf8(field).unwrap_or_default().trim()),
                Err(_) => self.texts = true,
            },
            Scalar::Null => {}
            Scalar::Number(_) => self.numbers = true,
            Scalar::Truth(_) => self.truths = true,
            Scalar::Text(text) => self.note_text(text),
            Scalar::Nested => self.nested = true,
        }
    }

    fn note_text(&mut self, text: &str) {
        if !self.texts && parse_time_text(text).is_some() {
            self.times = true;
        } else {
            self.texts = true;
        }
    }

    fn holds(self) -> Holds {
        match self {
            Self { numbers: true, truths: false, texts: false, times: false, .. } => Holds::Numbers,
            Self { numbers: false, truths: true, texts: false, times: false, .. } => Holds::Truths,
            Self { numbers: false, truths: false, texts: false, times: true, .. } => Holds::Times,
            Self { numbers: false, truths: false, texts: false, times: false, nested: true } => {
                Holds::NotScalar("lists or objects".to_owned())
            }
            Self { numbers: false, truths: false, texts: false, times: false, nested: false } => {
                Holds::Nothing
            }
            _ => Holds::Texts,
        }
    }
}

/// Learns the columns from the first rows; goes on while a column has not had a value.
fn sample<B: Blocks>(
    path: &Path,
    blocks: &mut B,
    mut names: Vec<String>,
) -> Result<Vec<SourceColumn>, FrameError> {
    let mut seen = vec![Seen::default(); names.len()];
    let mut rows = 0;
    while let Some(block) = blocks.next_block()? {
        for row in 0..block.rows() {
            block.parse(row, &mut |place, scalar| {
                let column = match place {
                    Place::Column(column) => column,
                    Place::Unknown(name) => {
                        names.iter().position(|known| known == name).unwrap_or_else(|| {
                            names.push(name.to_owned());
                            seen.push(Seen::default());
                            names.len() - 1
                        })
                    }
                };
                seen[column].note(scalar);
            })?;
            rows += 1;
            let silent = || seen.iter().any(|seen| seen.holds() == Holds::Nothing);
            if rows >= SAMPLE_ROWS && (rows >= SAMPLE_ROWS_MOST || !silent()) {
                break;
            }
        }
        if rows >= SAMPLE_ROWS {
            let silent = seen.iter().any(|seen| seen.holds() == Holds::Nothing);
            if !silent || rows >= SAMPLE_ROWS_MOST {
                break;
            }
        }
    }
    if rows == 0 {
        return Err(FrameError::Empty(path.to_owned()));
    }
    Ok(names.into_iter().zip(seen).map(|(name, seen)| SourceColumn { name, holds: seen.holds() }).collect())
}
