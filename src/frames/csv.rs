//! CSV split into blocks of fields; the first line names the columns.

use std::fs::File;
use std::path::{Path, PathBuf};

use ::csv::{ByteRecord, Reader, ReaderBuilder};

use super::FrameError;
use super::rows::{BLOCK_BYTES, BLOCK_ROWS, Block, Blocks, Place, Scalar};

/// A CSV file being split.
pub(super) struct CsvBlocks {
    path: PathBuf,
    reader: Reader<File>,
    names: Vec<String>,
    record: ByteRecord,
}

/// Fields of some rows, one after the other.
pub(super) struct CsvBlock {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    columns: usize,
}

impl CsvBlocks {
    pub(super) fn open(path: &Path) -> Result<Self, FrameError> {
        let file = File::open(path).map_err(|source| FrameError::Open { path: path.to_owned(), source })?;
        let mut reader = ReaderBuilder::new().buffer_capacity(1 << 20).from_reader(file);
        let header = reader.byte_headers().map_err(|error| content(path, &error))?.clone();
        // A column without a name still can be named, by its place.
        let names = header
            .iter()
            .enumerate()
            .map(|(place, name)| match String::from_utf8_lossy(name).trim() {
                "" => format!("column_{}", place + 1),
                name => name.to_owned(),
            })
            .collect();
        Ok(Self { path: path.to_owned(), reader, names, record: ByteRecord::new() })
    }

    pub(super) fn names(&self) -> &[String] {
        &self.names
    }
}

impl Blocks for CsvBlocks {
    type Block = CsvBlock;

    fn next_block(&mut self) -> Result<Option<CsvBlock>, FrameError> {
        let mut block = CsvBlock { bytes: Vec::new(), ends: Vec::new(), columns: self.names.len() };
        let mut rows = 0;
        while rows < BLOCK_ROWS && block.bytes.len() < BLOCK_BYTES {
            let more = self
                .reader
                .read_byte_record(&mut self.record)
                .map_err(|error| content(&self.path, &error))?;
            if !more {
                break;
            }
            let start = block.bytes.len();
            block.bytes.extend_from_slice(self.record.as_slice());
            block.ends.extend(
                (0..self.record.len())
                    .filter_map(|field| self.record.range(field))
                    .map(|range| start + range.end),
            );
            rows += 1;
        }
        Ok((rows > 0).then_some(block))
    }

    fn position(&self) -> u64 {
        self.reader.position().byte()
    }
}

impl Block for CsvBlock {
    fn rows(&self) -> usize {
        self.ends.len() / self.columns.max(1)
    }

    fn parse(&self, row: usize, each: &mut dyn FnMut(Place<'_>, Scalar<'_>)) -> Result<(), FrameError> {
        let first = row * self.columns;
        let mut start = if first == 0 { 0 } else { self.ends[first - 1] };
        for (column, &end) in self.ends[first..first + self.columns].iter().enumerate() {
            each(Place::Column(column), Scalar::Field(&self.bytes[start..end]));
            start = end;
        }
        Ok(())
    }
}

fn content(path: &Path, error: &::csv::Error) -> FrameError {
    let problem = match error.kind() {
        ::csv::ErrorKind::UnequalLengths { pos, expected_len, len } => {
            let line = pos.as_ref().map_or(0, ::csv::Position::line);
            format!("line {line} has {len} fields, the first line has {expected_len}")
        }
        _ => error.to_string(),
    };
    FrameError::Content { path: path.to_owned(), format: "CSV", problem }
}
