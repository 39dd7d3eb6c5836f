//! Tensors into columns, by the one rule that all formats share: `[N]` and `[N,1]` are a column, `[N,K]` are K.

use super::json::Node;
use super::side::Part;
use super::table::{Items, Table, is_bytes, scalar};
use super::{DecodeFailure, MAX_CELLS, MAX_COLUMNS, MAX_ROWS, Naming, Notes, signature};
use crate::model::{Column, Name, NameList, Value};

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
            for (j, name) in signature::numbered(name, items.len()).iter().enumerate() {
                table.set(row, name, items.value(j))?;
            }
            Ok(())
        }
    }
}

/// The columns of rows of nothing but numbers, of which all have as many; the shape of most traffic.
pub(super) fn even_rows(rows: &[Node]) -> Option<Vec<Vec<Value>>> {
    let width = rows.first()?.list_len().filter(|width| *width <= MAX_COLUMNS)?;
    if rows.len() > MAX_ROWS || rows.len().saturating_mul(width) > MAX_CELLS {
        return None;
    }
    let mut columns: Vec<Vec<Value>> = (0..width).map(|_| Vec::with_capacity(rows.len())).collect();
    for row in rows {
        let Node::Numbers(numbers) = row else { return None };
        if numbers.len() != width {
            return None;
        }
        for (column, number) in columns.iter_mut().zip(numbers) {
            column.push(Value::Number(*number));
        }
    }
    Some(columns)
}

/// Adds a tensor given as a nested array whose first dimension is the rows of `table`.
pub(super) fn push_tensor(
    table: &mut Table,
    names: Names<'_>,
    items: Items<'_>,
) -> Result<(), DecodeFailure> {
    match items {
        Items::Nodes(nodes) if items.has_lists() => {
            if let Some(columns) = even_rows(nodes) {
                return push_columns(table, columns, names);
            }
            let widths = nodes.iter().filter_map(Node::list_len).filter(|width| *width <= MAX_COLUMNS);
            let width = widths.max().unwrap_or(1);
            let (alone, all) = (names.all(1), names.all(width));
            for (row, node) in nodes.iter().enumerate() {
                match (cell(node), alone.first()) {
                    (Cell::One(value), Some(alone)) => table.set(row, alone, value)?,
                    (Cell::One(_), None) => {}
                    (Cell::Vector(items), _) => {
                        for (j, name) in all.iter().enumerate().take(items.len()) {
                            table.set(row, name, items.value(j))?;
                        }
                    }
                }
            }
            Ok(())
        }
        flat => table.push_column(&names.single(), flat.values()),
    }
}

/// How the columns of something without names are called.
#[derive(Debug, Clone, Copy)]
pub(super) struct Names<'a> {
    /// Used where there are as many as columns.
    pub(super) given: Option<&'a NameList>,
    /// Of several columns, before `[j]`.
    pub(super) prefix: &'a str,
    /// Of a single column.
    pub(super) alone: &'a str,
}

impl<'a> Names<'a> {
    /// The names that are given, where they are as many as `width`.
    pub(super) fn fitting(self, width: usize) -> Option<&'a NameList> {
        self.given.filter(|given| given.len() == width)
    }

    /// The name of a single column.
    pub(super) fn single(self) -> Name {
        self.all(1).first().cloned().unwrap_or_default()
    }

    /// The names of `width` columns; none when they are more than columns can be.
    pub(super) fn all(self, width: usize) -> NameList {
        match self.fitting(width) {
            _ if width > MAX_COLUMNS => NameList::default(),
            Some(given) => given.clone(),
            None if width == 1 => signature::list([self.alone].into_iter()),
            None => signature::numbered(self.prefix, width),
        }
    }

    /// The name of everything together.
    pub(super) fn whole(&self) -> &str {
        if self.prefix.is_empty() { self.alone } else { self.prefix }
    }
}

/// Sets a row that is a bare value or an array; `positional` are the names of its values, none when they are too many.
pub(super) fn add_positional(
    table: &mut Table,
    row: usize,
    node: &Node,
    positional: &[Name],
    names: Names<'_>,
    notes: &mut Notes,
) -> Result<(), DecodeFailure> {
    let Some(first) = positional.first() else {
        // Wider than anything that could be columns: known to be there, not looked into.
        return table.set(row, names.whole(), Value::Opaque);
    };
    let Some(items) = Items::of(node) else {
        notes.ragged_rows += u64::from(positional.len() != 1);
        return table.set(row, first, scalar(node));
    };
    notes.ragged_rows += u64::from(items.len() != positional.len());
    for (j, name) in positional.iter().enumerate() {
        table.set(row, name, items.value(j))?;
    }
    Ok(())
}

/// Adds whole columns.
pub(super) fn push_columns(
    table: &mut Table,
    columns: Vec<Vec<Value>>,
    names: Names<'_>,
) -> Result<(), DecodeFailure> {
    let all = names.all(columns.len());
    all.iter().zip(columns).try_for_each(|(name, values)| table.push_column(name, values))
}

/// Adds the columns of a tensor called `name` in row-major order; see [`named_tensor`].
pub(super) fn tensor_part(
    name: &str,
    shape: &[usize],
    naming: Option<&Naming>,
    values: impl FnOnce(&mut dyn FnMut(Value)),
) -> Result<Part, DecodeFailure> {
    let given = naming.map(|naming| &naming.features);
    named_tensor(shape, Names { given, prefix: name, alone: name }, values)
}

/// The columns of a tensor in row-major order: the names given where they fit, else `prefix[j]`.
///
/// `shape` has the rows first; there are as many values as its product. A vector that has no second dimension may also
/// be one row.
pub(super) fn named_tensor(
    shape: &[usize],
    names: Names<'_>,
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
        table.push_column(names.whole(), vec![Value::Opaque; rows])?;
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
    let mut part = named_columns(rows, columns, names)?;
    if shape.len() == 1 {
        part.may_be_one_row(names.given);
    }
    Ok(part)
}

/// Whole columns of `rows` values each as a part; without a table where no name can come twice.
pub(super) fn named_columns(
    rows: usize,
    columns: Vec<Vec<Value>>,
    names: Names<'_>,
) -> Result<Part, DecodeFailure> {
    let all = names.all(columns.len());
    if all.repeats() {
        let mut table = Table::default();
        table.add_rows(rows)?;
        push_columns(&mut table, columns, names)?;
        return Ok(Part::new(table));
    }
    all.iter().try_for_each(|name| Table::check_name(name))?;
    let columns = all.iter().zip(columns).map(|(name, values)| Column { name: name.clone(), values });
    Ok(Part { rows, columns: columns.collect(), runs: None })
}

/// The elements of an array of scalars.
pub(super) fn flat_items(node: &Node) -> Option<Items<'_>> {
    Items::of(node).filter(|items| match items {
        Items::Numbers(_) => true,
        Items::Nodes(nodes) => {
            nodes.iter().all(|node| !matches!(node, Node::Numbers(_) | Node::List(_) | Node::Object(_)))
        }
    })
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
