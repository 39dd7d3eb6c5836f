//! `MLflow` and Azure: `dataframe_split`, `dataframe_records`, `input_data`; its other bodies are those of `KServe` V1.

use super::columns::Names;
use super::json::Node;
use super::kserve_v1;
use super::side::{Part, RequestSide};
use super::table::{Items, Table};
use super::{DecodeFailure, MAX_COLUMNS, Naming, Notes, Side, signature};
use crate::model::NameList;

/// Reads the rows of a request; `params` are no features.
pub(super) fn request(root: &Node, naming: &Naming) -> Result<RequestSide, DecodeFailure> {
    let mut notes = Notes::default();
    let part = if let Some(split) = root.get_set("dataframe_split") {
        split_frame(split, "dataframe_split", naming, &mut notes)?
    } else if let Some(records) = root.get_set("dataframe_records") {
        let elements = elements(records, "dataframe_records")?;
        kserve_v1::plain_rows(elements, naming.positional(Side::Request), "dataframe_records", &mut notes)?
    } else if let Some(data) = root.get_set("input_data") {
        match data {
            Node::Object(_) if data.get_set("data").is_some() => {
                split_frame(data, "input_data", naming, &mut notes)?
            }
            Node::Object(inputs) => {
                let parts = kserve_v1::columns(inputs)?;
                return Ok(RequestSide { parts, ..RequestSide::default() });
            }
            data => kserve_v1::rows(data, "input_data", naming, &mut notes)?,
        }
    } else {
        return kserve_v1::request(root, naming);
    };
    Ok(RequestSide { parts: vec![part], notes, ..RequestSide::default() })
}

/// `columns`, which may be absent, and `data`; `index` is none of the model's business.
fn split_frame(split: &Node, field: &str, naming: &Naming, notes: &mut Notes) -> Result<Part, DecodeFailure> {
    let data = split.get_set("data").ok_or_else(|| DecodeFailure::MissingField(format!("{field}.data")))?;
    let names = match split.get_set("columns") {
        None => unnamed(data, naming),
        Some(columns) => {
            Some(names(columns).ok_or_else(|| DecodeFailure::MissingField(format!("{field}.columns")))?)
        }
    };
    let names = Names { given: names.as_ref(), ..naming.positional(Side::Request) };
    match data {
        Node::List(elements) => kserve_v1::plain_rows(elements, names, &format!("{field}.data"), notes),
        // One column, whose rows are bare numbers.
        Node::Numbers(numbers) => {
            let mut table = Table::default();
            table.add_rows(numbers.len())?;
            table.push_column(&names.single(), Items::Numbers(numbers).values())?;
            Ok(Part::new(table))
        }
        _ => Err(DecodeFailure::MissingField(format!("{field}.data"))),
    }
}

/// Names that are known from elsewhere where they fit, else the numbers that pandas gives.
fn unnamed(data: &Node, naming: &Naming) -> Option<NameList> {
    let width = match data {
        Node::List(rows) => rows.iter().filter_map(Node::list_len).max().unwrap_or(0),
        _ => 1,
    };
    let known = naming.positional(Side::Request);
    if known.fitting(width).is_some() || width > MAX_COLUMNS {
        return known.given.cloned();
    }
    Some((0..width).map(|j| j.to_string()).collect())
}

/// Names of columns; pandas writes those that are numbers as numbers.
fn names(columns: &Node) -> Option<NameList> {
    match columns {
        Node::Numbers(numbers) => Some(numbers.iter().map(ToString::to_string).collect()),
        Node::List(nodes) if nodes.iter().all(|node| node.text().is_some()) => {
            Some(signature::list(nodes.iter().map(|node| node.text().unwrap_or_default())))
        }
        Node::List(nodes) => nodes
            .iter()
            .map(|node| match node {
                Node::Text(name) => Some(name.clone()),
                Node::Number(number) => Some(number.to_string()),
                _ => None,
            })
            .collect::<Option<Vec<_>>>()
            .map(NameList::from),
        _ => None,
    }
}

fn elements<'n>(node: &'n Node, field: &str) -> Result<&'n [Node], DecodeFailure> {
    match node {
        Node::List(elements) => Ok(elements),
        _ => Err(DecodeFailure::MissingField(field.to_owned())),
    }
}
