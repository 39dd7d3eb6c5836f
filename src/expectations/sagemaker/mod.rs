//! Import from `SageMaker` Model Monitor: `constraints.json` as expectations, `statistics.json` as reference data.
//!
//! Fields that are not known are passed over, since the format belongs to others. What is known and malformed is an
//! error with its JSON path, and what cannot be carried over is listed in notes for the user.

use thiserror::Error;

mod constraints;
mod json;
mod statistics;

pub use constraints::{ImportedConstraints, import_constraints};
pub use statistics::{ImportedColumn, ImportedStatistics, ImportedValues, import_statistics};

/// A file that cannot be imported.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ImportError {
    /// Not JSON.
    #[error("expected JSON: {0}")]
    Json(String),
    /// A known field that is not as it should be.
    #[error("{path}: {problem}")]
    Field {
        /// Where: `$.features[3].completeness`.
        path: String,
        /// What was expected and what was found.
        problem: String,
    },
}

#[cfg(test)]
mod tests;
