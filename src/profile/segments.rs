//! Segments: which rows of a batch belong to which value of a column.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use super::hash::stable_hash;
use super::{Categories, Others};
use crate::model::{Batch, FeatureKind, Value};

/// Most columns that rows are segmented by.
pub const MAX_SEGMENT_COLUMNS: usize = 4;

/// Most values of a column that have a segment of their own.
pub const MAX_SEGMENT_VALUES: usize = 100;

/// Values of a column that have a segment of their own, unless told otherwise.
pub const DEFAULT_SEGMENT_VALUES: usize = 20;

/// Longest name or value in a key, in bytes; a longer one is cut and told apart by its hash.
const MAX_TEXT: usize = 64;

/// Bytes that are left of a text that was cut.
const MAX_CUT: usize = 40;

/// Bytes of the longest number: a subnormal one has 324 zeros before its digits.
const MAX_NUMBER: usize = 400;

/// One column that rows are segmented by: a place for each of its values, one for all others, one for none.
#[derive(Debug, Clone, PartialEq)]
pub struct SegmentedColumn {
    name: String,
    kind: FeatureKind,
    values: Categories,
    /// One key per place.
    keys: Vec<Arc<str>>,
}

impl SegmentedColumn {
    /// A column whose `values` have a place each, in this order; the first [`MAX_SEGMENT_VALUES`] of them.
    pub fn new(name: &str, kind: FeatureKind, values: &[String]) -> Self {
        let values = &values[..values.len().min(MAX_SEGMENT_VALUES)];
        let column = escaped(name, true);
        let own = values.iter().map(|value| format!("{column}={}", escaped(value, false)));
        let keys = own.chain([format!("{column}=(other)"), format!("{column}=(missing)")]);
        Self {
            name: name.to_owned(),
            kind,
            keys: keys.map(Arc::from).collect(),
            values: Categories::new(values.to_vec(), Others::Names(std::collections::BTreeSet::new())),
        }
    }

    /// Name of the column.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The values with a place of their own, in the order of the places.
    pub fn values(&self) -> &[String] {
        self.values.top()
    }

    /// The key of each place: `region=eu`, …, `region=(other)`, `region=(missing)`. No two are alike.
    pub fn keys(&self) -> &[Arc<str>] {
        &self.keys
    }

    /// The place of every value without one of its own.
    pub fn other(&self) -> usize {
        self.values.top().len()
    }

    /// The place of rows without a value: it is absent, NaN, no scalar or of the wrong type.
    pub fn missing(&self) -> usize {
        self.other() + 1
    }

    /// The place of a row by its value. Nothing is allocated.
    pub fn place(&self, value: Option<&Value>) -> usize {
        let found = |name: &str| self.values.cell(name).min(self.other());
        match (self.kind, value) {
            (FeatureKind::Categorical, Some(Value::Text(text))) => found(text),
            (_, Some(Value::Bool(truth))) => found(if *truth { "true" } else { "false" }),
            #[expect(clippy::float_cmp, reason = "only the exact values stand for truth values")]
            (FeatureKind::Boolean, Some(Value::Number(number))) if *number == 0.0 || *number == 1.0 => {
                found(if *number == 1.0 { "true" } else { "false" })
            }
            (FeatureKind::Categorical, Some(Value::Number(number))) if !number.is_nan() => {
                let mut text = NumberText { bytes: [0; MAX_NUMBER], length: 0 };
                match write!(text, "{number}") {
                    Ok(()) => found(text.as_str()),
                    Err(fmt::Error) => self.other(),
                }
            }
            _ => self.missing(),
        }
    }

    /// The rows of `batch` by place, each row in exactly one.
    pub fn split(&self, batch: &Batch) -> Vec<(usize, Rows)> {
        let column = batch.features.iter().rev().find(|column| column.name == self.name);
        let place = |row: usize| self.place(column.and_then(|column| column.values.get(row)));
        if batch.rows == 0 {
            return Vec::new();
        }
        let first = place(0);
        if batch.rows == 1 || column.is_none() {
            return vec![(first, Rows::All(batch.rows))];
        }
        let mut by_place = vec![Vec::new(); self.keys.len()];
        for row in 0..batch.rows {
            if let Some(rows) = by_place.get_mut(place(row)) {
                rows.push(row);
            }
        }
        if by_place.get(first).is_some_and(|rows| rows.len() == batch.rows) {
            return vec![(first, Rows::All(batch.rows))];
        }
        let filled = by_place.into_iter().enumerate().filter(|(_, rows)| !rows.is_empty());
        filled.map(|(place, rows)| (place, Rows::Some(rows))).collect()
    }
}

/// Some rows of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rows {
    /// Every row; how many there are.
    All(usize),
    /// The rows of these numbers.
    Some(Vec<usize>),
}

impl Rows {
    /// How many rows there are.
    pub fn len(&self) -> usize {
        match self {
            Self::All(rows) => *rows,
            Self::Some(rows) => rows.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Calls `each` with the number of every row.
    pub(super) fn for_each(&self, each: impl FnMut(usize)) {
        match self {
            Self::All(rows) => (0..*rows).for_each(each),
            Self::Some(rows) => rows.iter().copied().for_each(each),
        }
    }
}

/// A name or value as it stands in a key: without control characters, bounded, and never read as something else.
///
/// A column's name keeps no bare `=`, and no value begins with a bare parenthesis.
fn escaped(text: &str, is_name: bool) -> String {
    let mut out = String::with_capacity(text.len().min(MAX_TEXT));
    for (at, c) in text.char_indices() {
        if out.len() > MAX_TEXT {
            break;
        }
        match c {
            '\\' => out.push_str("\\\\"),
            '=' if is_name => out.push_str("\\="),
            '(' if at == 0 => out.push_str("\\("),
            c if c.is_control() => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    if out.len() > MAX_TEXT {
        let end = (0..=MAX_CUT).rev().find(|&end| out.is_char_boundary(end)).unwrap_or(0);
        out.truncate(end);
        out.extend([format!("…{:016x}", stable_hash(text))]);
    }
    out
}

/// A number's text on the stack.
struct NumberText {
    bytes: [u8; MAX_NUMBER],
    length: usize,
}

impl NumberText {
    fn as_str(&self) -> &str {
        self.bytes.get(..self.length).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
    }
}

impl fmt::Write for NumberText {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.length + text.len();
        self.bytes.get_mut(self.length..end).ok_or(fmt::Error)?.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

#[cfg(test)]
#[path = "segments_tests.rs"]
mod tests;
