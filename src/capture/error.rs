//! What can go wrong with files of captured rows, always with the file and, where there is one, the remedy.

use thiserror::Error;

use crate::frames::FrameError;
use crate::store::StoreError;

/// Captured rows that could not be written or read.
#[derive(Debug, Error)]
pub enum CaptureError {
    /// The setting names no place.
    #[error("`{url}` is no place for captured rows: {problem}")]
    Place {
        /// As it was given.
        url: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The store did not do what was asked.
    #[error("`{uri}` could not be {what}")]
    Store {
        /// The object.
        uri: String,
        /// What was asked: `written`, `read`, `deleted`, `listed`.
        what: &'static str,
        /// Why.
        #[source]
        source: object_store::Error,
    },
    /// A listed object is not there.
    #[error("`{0}` is gone, though it is listed; restore the object, or take another snapshot")]
    Gone(String),
    /// An object is not what it is named after.
    #[error("`{uri}` is damaged: its content has SHA-256 {found}; restore the object from a copy")]
    Changed {
        /// The object.
        uri: String,
        /// The hash of what is there.
        found: String,
    },
    /// An object is what it is named after, but cannot be understood.
    #[error("`{uri}` cannot be understood: {problem}")]
    Content {
        /// The object.
        uri: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A snapshot that is not there, or not what it is named after.
    #[error("snapshot {hash} {problem}")]
    Snapshot {
        /// Its name.
        hash: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A file cannot be read.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The database refused or was not reached.
    #[error(transparent)]
    Database(#[from] StoreError),
    /// The work was given up, which only a program that ends does.
    #[error("the work was given up")]
    Ended,
}

impl CaptureError {
    /// Whether the database is what failed, and trying again later can help.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Database(error) if error.is_transient())
    }
}

impl From<sqlx::Error> for CaptureError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}
