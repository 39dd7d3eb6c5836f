//! YAML documents that people write by hand, read so that every problem is reported at once and with its line.

use std::fmt;

use serde::Serialize;

mod names;
mod reader;
mod tree;

pub(crate) use names::hint;
pub(crate) use reader::{Fields, Reader};
pub(crate) use tree::{Node, Yaml, parse};

/// What is wrong with a document, and where.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Problem {
    /// The file.
    pub path: String,
    /// The line, from 1.
    pub line: u64,
    /// What was expected, and in which part of the document.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}
