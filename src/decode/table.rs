//! Rows on their way into columns: grows by row and by name, within bounds.

use std::collections::HashMap;

use super::json::Node;
use super::{DecodeFailure, MAX_CELLS, MAX_COLUMNS, MAX_ROWS};
use crate::model::{Column, Value};

/// Columns under construction; a cell that nobody set is missing.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: usize,
    columns: Vec<Column>,
    index: HashMap<String, usize>,
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

    fn column(&mut self, name: &str) -> Result<&mut Column, DecodeFailure> {
        let at = if let Some(at) = self.index.get(name) {
            *at
        } else {
            if self.columns.len() >= MAX_COLUMNS {
                return Err(DecodeFailure::TooLarge { what: "columns", limit: MAX_COLUMNS });
            }
            let at = self.columns.len();
            self.index.insert(name.to_owned(), at);
            self.columns.push(Column { name: name.to_owned(), values: Vec::new() });
            self.check_cells()?;
            at
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
        let mut free = name.to_owned();
        let mut copy = 2;
        while self.index.contains_key(&free) {
            free = format!("{name}#{copy}");
            copy += 1;
        }
        self.column(&free)?.values = values;
        Ok(())
    }

    /// The columns, each filled up to the number of rows.
    pub(crate) fn finish(mut self) -> Vec<Column> {
        for column in &mut self.columns {
            column.values.resize(self.rows, Value::Missing);
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
