//! `KServe` V1 and `TensorFlow` Serving REST: `instances` or `inputs`, and `predictions` or `outputs`.

use super::columns::{members, push_tensor, set_cells};
use super::json::Node;
use super::table::{Items, Table, scalar};
use super::{DecodeFailure, Decoded, MAX_COLUMNS, Naming, Notes};
use crate::model::{Batch, Value};

/// Name of an output that has none.
const PREDICTION: &str = "prediction";

/// Reads the rows of a request and, as far as they align, the predictions of its answer.
pub(super) fn decode(request: &Node, response: &Node, naming: &Naming) -> Result<Decoded, DecodeFailure> {
    let answer = response.get_set("predictions").or_else(|| response.get_set("outputs"));
    let mut notes = Notes::default();
    let features = match (request.get_set("instances"), request.get_set("inputs")) {
        (Some(instances), _) => rows(instances, "instances", answer, naming, &mut notes)?,
        // `inputs` is columns in TensorFlow Serving and rows, like `instances`, in KServe.
        (None, Some(Node::Object(inputs))) => columns(inputs)?,
        (None, Some(inputs)) => rows(inputs, "inputs", answer, naming, &mut notes)?,
        (None, None) => return Err(DecodeFailure::MissingField("instances".to_owned())),
    };
    let rows = features.rows();
    let outputs = if let Some(answer) = answer {
        outputs(answer, rows, &mut notes)?
    } else {
        notes.row_mismatch += 1;
        Table::default()
    };
    let outputs = if outputs.rows() == rows { outputs.finish() } else { Vec::new() };
    Ok(Decoded { batch: Batch { rows, features: features.finish(), outputs }, notes, ..Decoded::default() })
}

/// Row format: one element per row, or per piece of a data frame.
fn rows(
    node: &Node,
    field: &str,
    answer: Option<&Node>,
    naming: &Naming,
    notes: &mut Notes,
) -> Result<Table, DecodeFailure> {
    let items = Items::of(node).ok_or_else(|| DecodeFailure::MissingField(field.to_owned()))?;
    let elements = match items {
        Items::Numbers(_) => {
            let mut table = Table::default();
            table.add_rows(items.len())?;
            push_tensor(&mut table, &naming.column(1, 0, "", "[0]"), items)?;
            return Ok(table);
        }
        Items::Nodes(elements) => elements,
    };
    // A data frame in pieces and rows with vectors look alike; the number of predictions tells them apart.
    let answered = answer.and_then(Node::list_len);
    let expand = answered != Some(elements.len()) || elements.iter().all(|node| frame_rows(node) == Some(1));
    let width = elements.iter().filter_map(positional_width).max().unwrap_or(0);
    let names: Vec<String> = if width > MAX_COLUMNS {
        Vec::new()
    } else {
        (0..width).map(|j| positional_name(naming, width, j)).collect()
    };
    let mut table = Table::default();
    for node in elements {
        match frame_rows(node) {
            Some(count) if expand => add_frame(&mut table, node, count)?,
            _ => add_row(&mut table, node, &names, field, notes)?,
        }
    }
    Ok(table)
}

fn positional_name(naming: &Naming, width: usize, j: usize) -> String {
    naming.column(width, j, "", "[0]")
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

fn add_row(
    table: &mut Table,
    node: &Node,
    names: &[String],
    field: &str,
    notes: &mut Notes,
) -> Result<(), DecodeFailure> {
    let row = table.add_row()?;
    if let Some(members) = members(node) {
        for (name, value) in members {
            set_named(table, row, name, value)?;
        }
        return Ok(());
    }
    if let Some(pieces) = merged(node) {
        for (name, value) in pieces {
            set_named(table, row, name, value)?;
        }
        return Ok(());
    }
    let Some(first) = names.first() else {
        // Wider than anything that could be columns: known to be there, not looked into.
        return table.set(row, field, Value::Opaque);
    };
    let Some(items) = Items::of(node) else {
        notes.ragged_rows += u64::from(names.len() != 1);
        return table.set(row, first, scalar(node));
    };
    notes.ragged_rows += u64::from(items.len() != names.len());
    for (j, name) in names.iter().enumerate() {
        table.set(row, name, items.value(j))?;
    }
    Ok(())
}

/// Tensors called `…_bytes` hold binary data by `TensorFlow` Serving's convention.
fn set_named(table: &mut Table, row: usize, name: &str, value: &Node) -> Result<(), DecodeFailure> {
    if name.ends_with("_bytes") {
        table.set(row, name, Value::Opaque)
    } else {
        set_cells(table, row, name, value)
    }
}

/// Column format: one tensor per name, the same number of rows in each.
fn columns(inputs: &[(String, Node)]) -> Result<Table, DecodeFailure> {
    let mut table = Table::default();
    for (at, (name, node)) in inputs.iter().enumerate() {
        let field = || format!("inputs.{name}");
        let items = Items::of(node).ok_or_else(|| DecodeFailure::MissingField(field()))?;
        if at == 0 {
            table.add_rows(items.len())?;
        } else if items.len() != table.rows() {
            return Err(DecodeFailure::ShapeMismatch(field()));
        }
        if name.ends_with("_bytes") {
            table.push_column(name, vec![Value::Opaque; items.len()])?;
        } else {
            push_tensor(&mut table, name, items)?;
        }
    }
    Ok(table)
}

/// The predictions, when they have one row for each of the request.
fn outputs(answer: &Node, rows: usize, notes: &mut Notes) -> Result<Table, DecodeFailure> {
    let mut table = Table::default();
    table.add_rows(rows)?;
    if let Node::Object(tensors) = answer {
        for (name, node) in tensors {
            match Items::of(node) {
                Some(items) if items.len() == rows => push_tensor(&mut table, name, items)?,
                _ if rows == 1 => set_cells(&mut table, 0, name, node)?,
                _ => notes.row_mismatch += 1,
            }
        }
        return Ok(table);
    }
    match Items::of(answer) {
        Some(Items::Nodes(elements)) if elements.len() == rows => {
            for (row, node) in elements.iter().enumerate() {
                match members(node) {
                    Some(members) => {
                        for (name, value) in members {
                            set_cells(&mut table, row, name, value)?;
                        }
                    }
                    None => set_cells(&mut table, row, PREDICTION, node)?,
                }
            }
        }
        Some(items) if items.len() == rows => push_tensor(&mut table, PREDICTION, items)?,
        // One row may be answered by a bare value or a bare vector.
        Some(items) if rows == 1 && items.len() > 1 && !items.has_lists() => {
            set_cells(&mut table, 0, PREDICTION, answer)?;
        }
        None if rows == 1 => set_cells(&mut table, 0, PREDICTION, answer)?,
        _ => notes.row_mismatch += 1,
    }
    Ok(table)
}
