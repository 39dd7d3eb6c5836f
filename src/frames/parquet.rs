//! One column of a Parquet file, some pages at a time, so that memory does not grow with the file.

use std::cell::RefCell;
use std::fs::File;
use std::io::{Cursor, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use polars_arrow::array::Array;
use polars_arrow::datatypes::{ArrowDataType, Field};
use polars_buffer::Buffer;
use polars_parquet::parquet::page::CompressedPage;
use polars_parquet::parquet::read::PageMetaData;
use polars_parquet::read::{
    BasicDecompressor, ColumnChunkMetadata, FileMetadata, PageReader, column_iter_to_arrays, infer_schema,
    read_metadata,
};

use super::arrays::{append, holds};
use super::chunk::{Chunk, ChunkBuilder};
use super::source::{Holds, SourceColumn, bad_time};
use super::{FrameError, guard};

/// Bytes of a column that are read at once; more only where a single page is larger.
const WINDOW: usize = 16 << 20;

/// Rows after which what was read is handed on.
const ROWS_AT_ONCE: i64 = 1 << 17;

thread_local! {
    /// What was read from the last column: memory that is new costs a page fault for every 4 KiB.
    static SPARE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Leaves a buffer for the next column, if nobody else holds it.
fn leave(bytes: Buffer<u8>) {
    if let Some(bytes) = bytes.into_mut().right() {
        SPARE.set(bytes);
    }
}

/// A Parquet file whose footer has been read.
#[derive(Debug)]
pub(super) struct ParquetFile {
    path: PathBuf,
    metadata: FileMetadata,
    /// Type to decode to and place among the leaves, of each scalar column.
    scalars: Vec<Option<(ArrowDataType, usize)>>,
}

impl ParquetFile {
    pub(super) fn open(path: &Path) -> Result<(Self, Vec<SourceColumn>), FrameError> {
        let mut file = open(path)?;
        let (metadata, schema) = guarded(path, || {
            let metadata = read_metadata(&mut file).map_err(|error| content(path, error))?;
            let schema = infer_schema(&metadata).map_err(|error| content(path, error))?;
            Ok((metadata, schema))
        })?;
        let mut columns = Vec::new();
        let mut scalars = Vec::new();
        for field in schema.iter_values() {
            let dtype = decoded_as(&field.dtype);
            let holds = holds(&dtype);
            let leaf = metadata.schema().columns().iter().position(|leaf| {
                leaf.path_in_schema.len() == 1 && leaf.path_in_schema.first() == Some(&field.name)
            });
            let scalar = !matches!(holds, Holds::NotScalar(_));
            scalars.push(leaf.filter(|_| scalar).map(|leaf| (dtype, leaf)));
            columns.push(SourceColumn { name: field.name.to_string(), holds });
        }
        Ok((Self { path: path.to_owned(), metadata, scalars }, columns))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn rows(&self) -> u64 {
        self.metadata.num_rows as u64
    }

    /// Streams column `index` through `builder` into `emit`.
    pub(super) fn read_column(
        &self,
        index: usize,
        name: &str,
        builder: &mut ChunkBuilder,
        emit: &mut dyn FnMut(&Chunk) -> Result<(), FrameError>,
    ) -> Result<(), FrameError> {
        let Some(Some((dtype, leaf))) = self.scalars.get(index) else {
            return Err(content(&self.path, format!("column `{name}` holds no scalar values")));
        };
        let mut pages = Pages { path: &self.path, file: open(&self.path)?, dtype, name };
        let mut row = 0;
        for group in &self.metadata.row_groups {
            let Some(chunk) = group.parquet_columns().get(*leaf) else {
                return Err(content(&self.path, format!("a row group lacks column `{name}`")));
            };
            let rows = pages.read(chunk, &mut |arrays| {
                builder.clear();
                for array in arrays {
                    append(array.as_ref(), builder);
                }
                if let Some(bad) = builder.bad_time() {
                    return Err(bad_time(&self.path, name, row, bad));
                }
                row += builder.chunk().rows();
                emit(builder.chunk())
            })?;
            if rows != group.num_rows() {
                let problem =
                    format!("column `{name}` has {rows} values in a row group of {}", group.num_rows());
                return Err(content(&self.path, problem));
            }
        }
        Ok(())
    }
}

/// Texts are decoded to views, dictionaries to their values.
fn decoded_as(dtype: &ArrowDataType) -> ArrowDataType {
    match dtype {
        ArrowDataType::Utf8 | ArrowDataType::LargeUtf8 => ArrowDataType::Utf8View,
        ArrowDataType::Dictionary(_, values, _) => decoded_as(values),
        ArrowDataType::Decimal32(precision, scale) | ArrowDataType::Decimal64(precision, scale) => {
            ArrowDataType::Decimal(*precision, *scale)
        }
        other => other.clone(),
    }
}

/// Takes the arrays of a few pages.
type Take<'a> = dyn FnMut(&[Box<dyn Array>]) -> Result<(), FrameError> + 'a;

/// The pages of one column.
struct Pages<'a> {
    path: &'a Path,
    file: File,
    dtype: &'a ArrowDataType,
    name: &'a str,
}

/// What a look at some bytes of a column chunk found: how many of them are whole pages, with how many values.
struct Scanned {
    end: usize,
    values: i64,
    /// Whether the pages refer to the dictionary.
    encoded: bool,
}

impl Pages<'_> {
    /// Decodes a column chunk, a few pages at a time; returns its rows.
    fn read(&mut self, chunk: &ColumnChunkMetadata, take: &mut Take<'_>) -> Result<usize, FrameError> {
        let path = self.path;
        let range = guarded(path, || Ok(chunk.byte_range()))?;
        let mut remaining = chunk.num_values();
        // The dictionary page as it stands in the file: it goes before every lot of pages that refers to it.
        let mut dictionary: Vec<u8> = Vec::new();
        let mut window = WINDOW;
        let (mut file_at, mut bytes, mut at) = (range.start, Buffer::<u8>::default(), 0);
        let mut rows = 0;
        while remaining > 0 {
            let last = file_at + bytes.len() as u64 >= range.end;
            if dictionary.is_empty()
                && let Some(end) = guarded(path, || Ok(Self::dictionary_end(chunk, &bytes, at)))?
            {
                dictionary = bytes[at..end].to_vec();
                at = end;
            }
            let scanned = guarded(path, || self.scan(chunk, &bytes, at, remaining, last))?;
            let Some(scanned) = scanned else {
                // Nothing whole is left: read on from here, and more at once if that was not enough.
                window = if at == 0 && !bytes.is_empty() { window.saturating_mul(2) } else { window };
                file_at += at as u64;
                at = 0;
                leave(bytes);
                let left = range.end.saturating_sub(file_at);
                let length = usize::try_from(left).unwrap_or(usize::MAX).min(window);
                bytes = self.bytes(file_at, length, SPARE.take())?;
                continue;
            };
            let pages = bytes.clone().sliced(at..scanned.end);
            let pages = if scanned.encoded && !dictionary.is_empty() {
                Buffer::from([&dictionary, pages.as_slice()].concat())
            } else {
                pages
            };
            let arrays = guarded(path, || self.decode(chunk, pages, scanned.values))?;
            rows += arrays.iter().map(|array| array.len()).sum::<usize>();
            take(&arrays)?;
            at = scanned.end;
            remaining -= scanned.values;
        }
        leave(bytes);
        Ok(rows)
    }

    fn bytes(&self, from: u64, length: usize, mut bytes: Vec<u8>) -> Result<Buffer<u8>, FrameError> {
        bytes.clear();
        bytes.reserve(length);
        let mut file = &self.file;
        file.seek(SeekFrom::Start(from))
            .and_then(|_| file.take(length as u64).read_to_end(&mut bytes))
            .map_err(|source| FrameError::Open { path: self.path.to_owned(), source })?;
        if bytes.len() < length || length == 0 {
            return Err(content(self.path, format!("column `{}` ends before its last page", self.name)));
        }
        Ok(Buffer::from(bytes))
    }

    /// A reader of the pages in `bytes` from `at`.
    fn pages(chunk: &ColumnChunkMetadata, bytes: &Buffer<u8>, at: usize) -> PageReader {
        let mut cursor = Cursor::new(bytes.clone());
        cursor.set_position(at as u64);
        let meta = PageMetaData { num_values: i64::MAX, ..PageMetaData::from(chunk) };
        PageReader::new_with_page_meta(cursor, meta, Vec::new(), bytes.len().max(WINDOW))
    }

    /// Where the dictionary page at `at` ends, if there is a whole one.
    fn dictionary_end(chunk: &ColumnChunkMetadata, bytes: &Buffer<u8>, at: usize) -> Option<usize> {
        let mut reader = Self::pages(chunk, bytes, at);
        match reader.read_dict() {
            Ok(Some(_)) => usize::try_from(reader.into_inner().0.position()).ok(),
            _ => None,
        }
    }

    /// Finds whole pages in `bytes` from `start`; `None` when there is not one and more bytes would help.
    fn scan(
        &self,
        chunk: &ColumnChunkMetadata,
        bytes: &Buffer<u8>,
        start: usize,
        remaining: i64,
        last: bool,
    ) -> Result<Option<Scanned>, FrameError> {
        let mut found = Scanned { end: start, values: 0, encoded: false };
        while found.values < remaining && found.values < ROWS_AT_ONCE {
            let mut reader = Self::pages(chunk, bytes, found.end);
            match reader.next() {
                Some(Ok(CompressedPage::Data(page))) => {
                    let encoded = page.header().is_dictionary_encoded();
                    // Pages that refer to the dictionary and pages that do not are decoded apart.
                    if found.values > 0 && encoded != found.encoded {
                        break;
                    }
                    found.encoded = encoded;
                    found.values += i64::try_from(page.num_values()).unwrap_or(i64::MAX);
                    found.end = usize::try_from(reader.into_inner().0.position()).unwrap_or(usize::MAX);
                }
                _ if found.values > 0 => break,
                // What looks broken may only be cut off by the window.
                _ if !last => return Ok(None),
                Some(Err(error)) => return Err(content(self.path, error)),
                _ => return Err(content(self.path, format!("column `{}` ends early", self.name))),
            }
        }
        Ok(Some(found))
    }

    fn decode(
        &self,
        chunk: &ColumnChunkMetadata,
        bytes: Buffer<u8>,
        values: i64,
    ) -> Result<Vec<Box<dyn Array>>, FrameError> {
        let descriptor = chunk.descriptor().descriptor.clone();
        let primitive = descriptor.primitive_type.clone();
        let limit = bytes.len().max(WINDOW);
        let meta = PageMetaData::new(0, values, chunk.compression(), descriptor);
        let reader = PageReader::new_with_page_meta(Cursor::new(bytes), meta, Vec::new(), limit);
        let pages = BasicDecompressor::new(reader, Vec::new());
        let field = Field::new(self.name.into(), self.dtype.clone(), true);
        let (arrays, _) = column_iter_to_arrays(vec![pages], vec![&primitive], field, None)
            .map_err(|error| content(self.path, error))?;
        Ok(arrays)
    }
}

fn open(path: &Path) -> Result<File, FrameError> {
    File::open(path).map_err(|source| FrameError::Open { path: path.to_owned(), source })
}

fn content(path: &Path, problem: impl std::fmt::Display) -> FrameError {
    FrameError::Content { path: path.to_owned(), format: "Parquet", problem: problem.to_string() }
}

fn guarded<T>(path: &Path, decode: impl FnOnce() -> Result<T, FrameError>) -> Result<T, FrameError> {
    guard::guarded(path, "Parquet", decode)
}
