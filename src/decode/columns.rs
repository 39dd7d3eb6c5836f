//! Tensors into columns, by the one rule that all formats share: `[N]` and `[N,1]` are a column, `[N,K]` are K.

use super::json::Node;
use super::side::Part;
use super::table::{Items, Table, is_bytes, scalar};
use super::{DecodeFailure, MAX_CELLS, MAX_COLUMNS, Naming};
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
        Items::Nodes(nodes) if items.has_lists() => {
            for (row, node) in nodes.iter().enumerate() {
                set_cells(table, row, name, node)?;
            }
            Ok(())
        }
        flat => table.push_column(name, flat.values()),
    }
}

/// Adds the columns of a tensor in row-major order: `name`, or `name[j]`, or the names given where they fit.
///
/// `shape` has the rows first; `values` has as many elements as its product. A vector that has no second dimension may
/// also be one row.
pub(super) fn tensor_part(
    name: &str,
    shape: &[usize],
    naming: Option<&Naming>,
    values: impl FnOnce(&mut dyn FnMut(Value)),
) -> Result<Part, DecodeFailure> {
    let rows = shape.first().copied().unwrap_or(1);
    let per_row = shape.get(1..).unwrap_or_default();
    let width =
        per_row.iter().try_fold(1_usize, |width, size| width.checked_mul(*size)).unwrap_or(usize::MAX);
    let mut table = Table::default();
    table.add_rows(rows)?;
    // `[N,K,1]` is `[N,K]`; what has more dimensions than that is no table.
    if per_row.iter().filter(|size| **size != 1).count() > 1 || width > MAX_COLUMNS {
        table.push_column(name, vec![Value::Opaque; rows])?;
        return Ok(Part::new(table));
    }
    if rows.saturating_mul(width) > MAX_CELLS {
        return Err(DecodeFailure::TooLarge { what: "values", limit: MAX_CELLS });
    }
    let mut columns: Vec<Vec<Value>> = (0..width).map(|_| Vec::with_capacity(rows)).collect();
    let mut j = 0;
    values(&mut |value| {
        if let Some(column) = columns.get_mut(j) {
            column.push(value);
        }
        j = if j + 1 < width { j + 1 } else { 0 };
    });
    if let ([_], [_]) = (shape, columns.as_slice()) {
        let mut part = Part::vector(name, columns.swap_remove(0));
        if let (Some(runs), Some(naming)) = (&mut part.runs, naming)
            && naming.features.len() == rows
        {
            runs.names.clone_from(&naming.features);
        }
        if let (Some(Naming { features, .. }), [column]) = (naming, part.columns.as_mut_slice())
            && let [alone] = features.as_slice()
        {
            column.name.clone_from(alone);
        }
        return Ok(part);
    }
    let unnamed = Naming::default();
    let naming = naming.unwrap_or(&unnamed);
    for (j, values) in columns.into_iter().enumerate() {
        table.push_column(&naming.column(width, j, name, name), values)?;
    }
    Ok(Part::new(table))
}

/// Refuses parts that have more columns or values together than one side may have.
pub(super) fn check_size(parts: &[Part]) -> Result<(), DecodeFailure> {
    if parts.iter().map(|part| part.columns.len()).sum::<usize>() > MAX_COLUMNS {
        return Err(DecodeFailure::TooLarge { what: "columns", limit: MAX_COLUMNS });
    }
    let cells = |part: &Part| part.columns.len().saturating_mul(part.rows);
    if parts.iter().map(cells).fold(0, usize::saturating_add) > MAX_CELLS {
        return Err(DecodeFailure::TooLarge { what: "values", limit: MAX_CELLS });
    }
    Ok(())
}

/// The members of an object that is a row: neither bytes nor anything else.
pub(super) fn members(node: &Node) -> Option<&[(String, Node)]> {
    match node {
        Node::Object(members) if !is_bytes(node) => Some(members),
        _ => None,
    }
}
