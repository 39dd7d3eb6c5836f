//! What can be wrong with a data file, always with its name and, where there is one, the remedy.

use std::path::PathBuf;

use thiserror::Error;

/// A data file that could not be used.
#[derive(Debug, Error)]
pub enum FrameError {
    /// The file cannot be opened or read.
    #[error("`{}` cannot be read", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A pattern that matches no file, or is none.
    #[error("`{pattern}` {problem}")]
    Pattern {
        /// The pattern as given.
        pattern: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The extension names no format.
    #[error("`{}` has no known format; use .parquet, .arrow, .csv, .jsonl or .ndjson", .0.display())]
    UnknownFormat(PathBuf),
    /// The content is not what the extension says.
    #[error("`{}` is not readable {format}: {problem}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// The expected format.
        format: &'static str,
        /// What the reader says.
        problem: String,
    },
    /// There are no rows.
    #[error("`{}` has no rows", .0.display())]
    Empty(PathBuf),
    /// Two columns of one name.
    #[error("`{}` has two columns called `{column}`", path.display())]
    DuplicateColumn {
        /// The file.
        path: PathBuf,
        /// The name that occurs twice.
        column: String,
    },
    /// Files of one pattern that do not fit together.
    #[error("`{}` and `{}` are not of one schema: {problem}", first.display(), other.display())]
    SchemaDiffers {
        /// The first file of the pattern.
        first: PathBuf,
        /// The file that differs.
        other: PathBuf,
        /// In what.
        problem: String,
    },
    /// A column that was asked for is not there.
    #[error("`{}` has no column `{column}`; it has {}", path.display(), known.join(", "))]
    MissingColumn {
        /// The file.
        path: PathBuf,
        /// The column asked for.
        column: String,
        /// The columns it has.
        known: Vec<String>,
    },
    /// A time cannot be read.
    #[error("`{}`, column `{column}`, row {row}: `{text}` is not a time; use RFC 3339 or YYYY-MM-DDTHH:MM:SS", path.display())]
    Time {
        /// The file.
        path: PathBuf,
        /// The time column.
        column: String,
        /// Row number, from 1.
        row: usize,
        /// The text found.
        text: String,
    },
    /// Whoever takes the values has had enough.
    #[error("{0}")]
    Refused(String),
}
