//! One column of an Arrow IPC (Feather 2) file, a record batch at a time.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use polars_arrow::io::ipc::read::{FileMetadata, FileReader, get_row_count, read_file_metadata};

use super::arrays::{append, holds};
use super::chunk::{Chunk, ChunkBuilder};
use super::source::{SourceColumn, bad_time};
use super::{FrameError, guard};

/// An Arrow file whose footer has been read.
pub(super) struct ArrowFile {
    path: PathBuf,
    metadata: FileMetadata,
    rows: u64,
}

impl std::fmt::Debug for ArrowFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ArrowFile")
            .field("path", &self.path)
            .field("rows", &self.rows)
            .finish_non_exhaustive()
    }
}

impl ArrowFile {
    pub(super) fn open(path: &Path) -> Result<(Self, Vec<SourceColumn>), FrameError> {
        let mut file = open(path)?;
        guarded(path, || {
            let metadata = read_file_metadata(&mut file).map_err(|error| content(path, error))?;
            let rows = get_row_count(&mut file).map_err(|error| content(path, error))?;
            let columns = metadata
                .schema
                .iter_values()
                .map(|field| SourceColumn { name: field.name.to_string(), holds: holds(&field.dtype) })
                .collect();
            Ok((Self { path: path.to_owned(), metadata, rows: u64::try_from(rows).unwrap_or(0) }, columns))
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// Streams column `index` through `builder` into `emit`.
    pub(super) fn read_column(
        &self,
        index: usize,
        name: &str,
        builder: &mut ChunkBuilder,
        emit: &mut dyn FnMut(&Chunk) -> Result<(), FrameError>,
    ) -> Result<(), FrameError> {
        let mut reader = FileReader::new(open(&self.path)?, self.metadata.clone(), Some(vec![index]), None);
        let mut row = 0;
        loop {
            let batch = guarded(&self.path, || {
                reader.next().transpose().map_err(|error| content(&self.path, error))
            })?;
            let Some(batch) = batch else { return Ok(()) };
            builder.clear();
            batch.arrays().iter().for_each(|array| append(array.as_ref(), builder));
            if let Some(bad) = builder.bad_time() {
                return Err(bad_time(&self.path, name, row, bad));
            }
            row += builder.chunk().rows();
            emit(builder.chunk())?;
        }
    }
}

fn open(path: &Path) -> Result<BufReader<File>, FrameError> {
    File::open(path).map(BufReader::new).map_err(|source| FrameError::Open { path: path.to_owned(), source })
}

fn content(path: &Path, problem: impl std::fmt::Display) -> FrameError {
    FrameError::Content { path: path.to_owned(), format: "Arrow", problem: problem.to_string() }
}

fn guarded<T>(path: &Path, decode: impl FnOnce() -> Result<T, FrameError>) -> Result<T, FrameError> {
    guard::guarded(path, "Arrow", decode)
}
