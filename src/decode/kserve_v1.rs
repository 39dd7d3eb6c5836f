//! `KServe` V1 and `TensorFlow` Serving REST: `instances` or `inputs`, and `predictions` or `outputs`.

use super::columns::{
    Names, add_positional, check_size, even_rows, members, named_columns, push_tensor, set_cells,
};
use super::json::Node;
use super::side::{Part, RequestSide, ResponseSide, Runs};
use super::table::{Items, Table, scalar};
use super::{DecodeFailure, Naming, Notes, Side};
use crate::model::Value;

/// Name of an output that has none.
pub(super) const PREDICTION: &str = "prediction";

/// Reads the rows of a request.
pub(super) fn request(root: &Node, naming: &Naming) -> Result<RequestSide, DecodeFailure> {
    let mut notes = Notes::default();
    let parts = match (root.get_set("instances"), root.get_set("inputs")) {
        (Some(instances), _) => vec![rows(instances, "instances", naming, &mut notes)?],
        // `inputs` is columns in TensorFlow Serving and rows, like `instances`, in KServe.
        (None, Some(Node::Object(inputs))) => columns(inputs)?,
        (None, Some(inputs)) => vec![rows(inputs, "inputs", naming, &mut notes)?],
        (None, None) => return Err(DecodeFailure::MissingField("instances".to_owned())),
    };
    Ok(RequestSide { parts, notes, ..RequestSide::default() })
}

/// Reads the predictions of an answer.
pub(super) fn response(root: &Node, naming: &Naming) -> Result<ResponseSide, DecodeFailure> {
    let mut side = ResponseSide::default();
    match root.get_set("predictions").or_else(|| root.get_set("outputs")) {
        Some(answer) => side.parts = predictions(answer, naming)?,
        None => side.notes.row_mismatch += 1,
    }
    Ok(side)
}

/// Row format: one element per row, or per piece of a data frame.
pub(super) fn rows(
    node: &Node,
    field: &str,
    naming: &Naming,
    notes: &mut Notes,
) -> Result<Part, DecodeFailure> {
    let items = Items::of(node).ok_or_else(|| DecodeFailure::MissingField(field.to_owned()))?;
    let names = naming.positional(Side::Request);
    let mut table = Table::default();
    let elements = match items {
        Items::Numbers(_) => {
            table.add_rows(items.len())?;
            push_tensor(&mut table, names, items)?;
            return Ok(Part::new(table));
        }
        Items::Nodes(elements) => elements,
    };
    // A data frame in pieces and rows with vectors look alike; the number of predictions tells them apart.
    let pieces: Option<Vec<usize>> = elements.iter().map(frame_rows).collect();
    let Some(lengths) = pieces.filter(|lengths| !lengths.is_empty()) else {
        return plain_rows(elements, names, field, notes);
    };
    for (node, count) in elements.iter().zip(&lengths) {
        add_frame(&mut table, node, *count)?;
    }
    let ambiguous = lengths.iter().any(|length| *length > 1);
    let mut part = Part::new(table);
    part.runs = ambiguous.then(|| Runs { lengths, ..Runs::default() });
    part.name_runs(Some(&naming.features));
    Ok(part)
}

/// One element per row: an object, objects of one member each, an array or a bare value.
pub(super) fn plain_rows(
    elements: &[Node],
    names: Names<'_>,
    field: &str,
    notes: &mut Notes,
) -> Result<Part, DecodeFailure> {
    if let Some(columns) = even_rows(elements) {
        return named_columns(elements.len(), columns, names);
    }
    let width = elements.iter().filter_map(positional_width).max().unwrap_or(0);
    let positional = names.all(width);
    let names = if positional.is_empty() { Names { prefix: field, ..names } } else { names };
    let mut table = Table::default();
    for node in elements {
        let row = table.add_row()?;
        if let Some(members) = members(node) {
            for (name, value) in members {
                set_named(&mut table, row, name, value)?;
            }
        } else if let Some(pieces) = merged(node) {
            for (name, value) in pieces {
                set_named(&mut table, row, name, value)?;
            }
        } else {
            add_positional(&mut table, row, node, &positional, names, notes)?;
        }
    }
    Ok(Part::new(table))
}

/// Number of rows in an object whose members are all lists of one length: a piece of a data frame.
fn frame_rows(node: &Node) -> Option<usize> {
    let members = members(node)?;
    let (_, first) = members.first()?;
    let count = first.list_len().filter(|count| *count > 0)?;
    let alike = members.iter().all(|(_, column)| {
        column.list_len() == Some(count) && Items::of(column).is_some_and(|items| !items.has_lists())
    });
    alike.then_some(count)
}

fn add_frame(table: &mut Table, node: &Node, count: usize) -> Result<(), DecodeFailure> {
    let start = table.rows();
    table.add_rows(count)?;
    for (name, column) in members(node).unwrap_or_default() {
        if let Some(items) = Items::of(column) {
            for i in 0..count {
                table.set(start + i, name, items.value(i))?;
            }
        }
    }
    Ok(())
}

/// Width of a row without names; absent for a row with names.
fn positional_width(node: &Node) -> Option<usize> {
    if members(node).is_some() || merged(node).is_some() {
        return None;
    }
    Some(node.list_len().unwrap_or(1))
}

/// The objects with one member each that `KServe` merges into one row.
fn merged(node: &Node) -> Option<impl Iterator<Item = &(String, Node)>> {
    let Node::List(pieces) = node else { return None };
    let one_each = !pieces.is_empty()
        && pieces.iter().all(|piece| members(piece).is_some_and(|members| members.len() == 1));
    one_each.then(|| pieces.iter().filter_map(members).flatten())
}

/// Tensors called `…_bytes` hold binary data by `TensorFlow` Serving's convention.
pub(super) fn set_named(
    table: &mut Table,
    row: usize,
    name: &str,
    value: &Node,
) -> Result<(), DecodeFailure> {
    if name.ends_with("_bytes") {
        table.set(row, name, Value::Opaque)
    } else {
        set_cells(table, row, name, value)
    }
}

/// Column format: one tensor per name; nothing but scalars is one row.
pub(super) fn columns(inputs: &[(String, Node)]) -> Result<Vec<Part>, DecodeFailure> {
    let mut parts = Vec::with_capacity(inputs.len());
    if !inputs.is_empty() && inputs.iter().all(|(_, node)| !matches!(scalar(node), Value::Opaque)) {
        let mut table = Table::default();
        let row = table.add_row()?;
        for (name, node) in inputs {
            set_named(&mut table, row, name, node)?;
        }
        return Ok(vec![Part::new(table)]);
    }
    for (name, node) in inputs {
        let field = || DecodeFailure::MissingField(format!("inputs.{name}"));
        let items = Items::of(node).ok_or_else(field)?;
        let mut table = Table::default();
        table.add_rows(items.len())?;
        if name.ends_with("_bytes") {
            table.push_column(name, vec![Value::Opaque; items.len()])?;
        } else {
            push_tensor(&mut table, Names { given: None, prefix: name, alone: name }, items)?;
        }
        parts.push(Part::new(table));
    }
    check_size(&parts)?;
    Ok(parts)
}

/// The predictions: a list with an element per row, a tensor per name, or a bare value.
pub(super) fn predictions(answer: &Node, naming: &Naming) -> Result<Vec<Part>, DecodeFailure> {
    let Node::Object(tensors) = answer else {
        return tensor(naming.positional(Side::Response), answer).map(|part| vec![part]);
    };
    let named = |name| Names { given: None, prefix: name, alone: name };
    let parts = tensors.iter().map(|(name, node)| tensor(named(name), node));
    let parts = parts.collect::<Result<Vec<_>, DecodeFailure>>()?;
    check_size(&parts)?;
    Ok(parts)
}

/// An output: rows, of which a bare vector may also be one row, or a bare value.
fn tensor(names: Names<'_>, node: &Node) -> Result<Part, DecodeFailure> {
    let mut table = Table::default();
    let Some(items) = Items::of(node) else {
        let row = table.add_row()?;
        table.set(row, &names.single(), scalar(node))?;
        return Ok(Part::new(table));
    };
    table.add_rows(items.len())?;
    match items {
        Items::Nodes(elements) if elements.iter().any(|node| members(node).is_some()) => {
            for (row, node) in elements.iter().enumerate() {
                match members(node) {
                    Some(members) => {
                        for (name, value) in members {
                            set_cells(&mut table, row, name, value)?;
                        }
                    }
                    None => set_cells(&mut table, row, names.prefix, node)?,
                }
            }
            Ok(Part::new(table))
        }
        Items::Nodes(elements) if items.has_lists() => {
            if let Some(columns) = even_rows(elements) {
                return named_columns(elements.len(), columns, names);
            }
            push_tensor(&mut table, names, items)?;
            Ok(Part::new(table))
        }
        _ => {
            let mut part = Part::vector(names.single(), items.values());
            part.name_runs(names.given);
            Ok(part)
        }
    }
}
