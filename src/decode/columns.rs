//! Tensors into columns, by the one rule that all formats share: `[N]` and `[N,1]` are a column, `[N,K]` are K.

use super::json::Node;
use super::table::{Items, Table, is_bytes, scalar};
use super::{DecodeFailure, MAX_COLUMNS};
use crate::model::Value;

/// What became of a value that stands where one row has one column.
pub(super) enum Cell<'n> {
    /// One value.
    One(Value),
    /// A vector: one column per element.
    Vector(Items<'n>),
}

/// A scalar or a list of one is a value, a list of scalars a vector, anything deeper opaque.
pub(super) fn cell(node: &Node) -> Cell<'_> {
    match Items::of(node) {
        Some(items) if items.has_lists() || items.len() > MAX_COLUMNS => Cell::One(Value::Opaque),
        Some(items) if items.len() == 1 => Cell::One(items.value(0)),
        Some(items) => Cell::Vector(items),
        None => Cell::One(scalar(node)),
    }
}

/// Sets what `node` holds in `row`, under `name` or under `name[j]`.
pub(super) fn set_cells(table: &mut Table, row: usize, name: &str, node: &Node) -> Result<(), DecodeFailure> {
    match cell(node) {
        Cell::One(value) => table.set(row, name, value),
        Cell::Vector(items) => {
            for j in 0..items.len() {
                table.set(row, &format!("{name}[{j}]"), items.value(j))?;
            }
            Ok(())
        }
    }
}

/// Adds a tensor given as a nested array whose first dimension is the rows of `table`.
pub(super) fn push_tensor(table: &mut Table, name: &str, items: Items<'_>) -> Result<(), DecodeFailure> {
    match items {
        Items::Numbers(numbers) => {
            table.push_column(name, numbers.iter().map(|number| Value::Number(*number)).collect())
        }
        Items::Nodes(nodes) if !items.has_lists() => {
            table.push_column(name, nodes.iter().map(scalar).collect())
        }
        Items::Nodes(nodes) => {
            for (row, node) in nodes.iter().enumerate() {
                set_cells(table, row, name, node)?;
            }
            Ok(())
        }
    }
}

/// The members of an object that is a row: neither bytes nor anything else.
pub(super) fn members(node: &Node) -> Option<&[(String, Node)]> {
    match node {
        Node::Object(members) if !is_bytes(node) => Some(members),
        _ => None,
    }
}
