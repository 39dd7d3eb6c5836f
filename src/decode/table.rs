//! Rows on their way into columns: grows by row and by name, within bounds.

use std::collections::HashMap;

use super::json::Node;
use super::{DecodeFailure, MAX_CELLS, MAX_COLUMNS, MAX_ROWS, signature};
use crate::model::{Column, Name, NameList, Value};

/// Longest name of a column.
const MAX_NAME_BYTES: usize = 1024;

/// Columns that are looked through one by one rather than in an index.
const FEW: usize = 8;

/// Columns under construction; a cell that nobody set is missing.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: usize,
    columns: Vec<Column>,
    /// Columns of an earlier message, of which those here are the beginning as long as there is no `index`.
    expected: NameList,
    /// Made when the columns are many and not those that were expected.
    index: Option<HashMap<Name, usize>>,
    /// The column behind the one that was last found: rows mostly have their values in one order.
    next: usize,
    /// How often a name came again, so that the next copy is found at once.
    copies: HashMap<String, usize>,
}

impl Table {
    /// Adds one row and gives its index.
    pub(crate) fn add_row(&mut self) -> Result<usize, DecodeFailure> {
        self.add_rows(1)?;
        Ok(self.rows - 1)
    }

    /// Adds `count` rows.
    pub(crate) fn add_rows(&mut self, count: usize) -> Result<(), DecodeFailure> {
        self.rows = self.rows.saturating_add(count);
        if self.rows > MAX_ROWS {
            return Err(DecodeFailure::TooLarge { what: "rows", limit: MAX_ROWS });
        }
        self.check_cells()
    }

    /// Number of rows so far.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    fn check_cells(&self) -> Result<(), DecodeFailure> {
        if self.columns.len().saturating_mul(self.rows) > MAX_CELLS {
            return Err(DecodeFailure::TooLarge { what: "values", limit: MAX_CELLS });
        }
        Ok(())
    }

    /// Refuses a name that would be kept once per value of a vector.
    pub(crate) fn check_name(name: &str) -> Result<(), DecodeFailure> {
        if name.len() > MAX_NAME_BYTES {
            return Err(DecodeFailure::TooLarge {
                what: "bytes in the name of a column",
                limit: MAX_NAME_BYTES,
            });
        }
        Ok(())
    }

    /// The place of a column; absent when there is none of this name.
    fn find(&mut self, name: &str) -> Option<usize> {
        let is = |columns: &[Column], at: usize| columns.get(at).is_some_and(|column| column.name == name);
        let at = if is(&self.columns, self.next) {
            self.next
        } else if is(&self.columns, 0) {
            0
        } else if let Some(index) = &self.index {
            *index.get(name)?
        } else if self.expects(name) {
            return None;
        } else if self.columns.len() < FEW {
            self.columns.iter().position(|column| column.name == name)?
        } else {
            let names = self.columns.iter().enumerate().map(|(at, column)| (column.name.clone(), at));
            *self.index.insert(names.collect()).get(name)?
        };
        self.next = at + 1;
        Some(at)
    }

    /// Whether `name` is the next column of an earlier message that had all columns so far, and so is not among them.
    fn expects(&mut self, name: &str) -> bool {
        let next = self.columns.len();
        if self.expected.get(next).is_some_and(|expected| *expected == name) {
            return true;
        }
        match signature::continuing(&self.columns, name) {
            Some(expected) => {
                self.expected = expected;
                true
            }
            None => false,
        }
    }

    /// Adds a column that is not there yet.
    fn add(&mut self, name: &str) -> Result<usize, DecodeFailure> {
        Self::check_name(name)?;
        let at = self.columns.len();
        if at >= MAX_COLUMNS {
            return Err(DecodeFailure::TooLarge { what: "columns", limit: MAX_COLUMNS });
        }
        let name = match self.expected.get(at) {
            Some(expected) if *expected == name => expected.clone(),
            _ => {
                // Another message than the one that was expected.
                self.expected = NameList::default();
                name.into()
            }
        };
        if let Some(index) = &mut self.index {
            index.insert(name.clone(), at);
        }
        self.columns.push(Column { name, values: Vec::new() });
        self.check_cells()?;
        self.next = at + 1;
        Ok(at)
    }

    fn column(&mut self, name: &str) -> Result<&mut Column, DecodeFailure> {
        let at = match self.find(name) {
            Some(at) => at,
            None => self.add(name)?,
        };
        self.columns.get_mut(at).ok_or(DecodeFailure::TooLarge { what: "columns", limit: MAX_COLUMNS })
    }

    /// Sets the cell of `row`; a name that comes twice keeps its last value.
    pub(crate) fn set(&mut self, row: usize, name: &str, value: Value) -> Result<(), DecodeFailure> {
        let column = self.column(name)?;
        if column.values.len() <= row {
            column.values.resize(row + 1, Value::Missing);
        }
        if let Some(cell) = column.values.get_mut(row) {
            *cell = value;
        }
        Ok(())
    }

    /// Adds a whole column; a name that comes twice is told apart by a number.
    pub(crate) fn push_column(&mut self, name: &str, values: Vec<Value>) -> Result<(), DecodeFailure> {
        if self.find(name).is_none() {
            self.column(name)?.values = values;
            return Ok(());
        }
        let mut copy = self.copies.get(name).copied().unwrap_or(2);
        let mut free = format!("{name}#{copy}");
        while self.find(&free).is_some() {
            copy += 1;
            free = format!("{name}#{copy}");
        }
        self.copies.insert(name.to_owned(), copy + 1);
        self.column(&free)?.values = values;
        Ok(())
    }

    /// The columns, each filled up to the number of rows.
    pub(crate) fn finish(mut self) -> Vec<Column> {
        for column in &mut self.columns {
            column.values.resize(self.rows, Value::Missing);
        }
        if self.columns.len() > 1 && (self.index.is_some() || self.expected.len() != self.columns.len()) {
            signature::remember(&self.columns);
        }
        self.columns
    }
}

/// The scalar that `node` is; arrays and objects are opaque.
pub(crate) fn scalar(node: &Node) -> Value {
    match node {
        Node::Null => Value::Missing,
        Node::Bool(value) => Value::Bool(*value),
        Node::Number(value) => Value::Number(*value),
        Node::Text(text) => Value::Text(text.clone()),
        Node::Bytes | Node::Numbers(_) | Node::List(_) | Node::Object(_) => Value::Opaque,
    }
}

/// Whether `node` is an object such as `{"b64": …}`: bytes, not a row.
pub(crate) fn is_bytes(node: &Node) -> bool {
    matches!(node, Node::Object(members) if members.len() == 1 && members.iter().all(|(key, _)| key == "b64"))
}

/// A view on the elements of an array, flat or not.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Items<'n> {
    Numbers(&'n [f64]),
    Nodes(&'n [Node]),
}

impl<'n> Items<'n> {
    /// The elements when `node` is an array.
    pub(crate) fn of(node: &'n Node) -> Option<Self> {
        match node {
            Node::Numbers(numbers) => Some(Self::Numbers(numbers)),
            Node::List(nodes) => Some(Self::Nodes(nodes)),
            _ => None,
        }
    }

    pub(crate) fn len(self) -> usize {
        match self {
            Self::Numbers(numbers) => numbers.len(),
            Self::Nodes(nodes) => nodes.len(),
        }
    }

    /// The element at `at` as a scalar; missing past the end.
    pub(crate) fn value(self, at: usize) -> Value {
        match self {
            Self::Numbers(numbers) => numbers.get(at).map_or(Value::Missing, |number| Value::Number(*number)),
            Self::Nodes(nodes) => nodes.get(at).map_or(Value::Missing, scalar),
        }
    }

    /// Every element as a scalar.
    pub(crate) fn values(self) -> Vec<Value> {
        match self {
            Self::Numbers(numbers) => numbers.iter().map(|number| Value::Number(*number)).collect(),
            Self::Nodes(nodes) => nodes.iter().map(scalar).collect(),
        }
    }

    /// Whether any element is an array.
    pub(crate) fn has_lists(self) -> bool {
        matches!(self, Self::Nodes(nodes) if nodes.iter().any(|node| node.list_len().is_some()))
    }
}
