//! Seldon Core v1: `data` as an array or a tensor with names, `jsonData`, and what cannot be columns.

use super::columns::{Names, flat_items, named_tensor};
use super::json::Node;
use super::kserve_v1;
use super::side::{Part, RequestSide, ResponseSide};
use super::table::{Items, Table};
use super::tensor::product;
use super::{DecodeFailure, Naming, Notes, Side, free, open_inference, signature};
use crate::model::{NameList, Value};

/// Reads a request.
pub(super) fn request(root: &Node, naming: &Naming) -> Result<RequestSide, DecodeFailure> {
    let mut notes = Notes::default();
    let parts = message(root, Side::Request, naming, &mut notes)?;
    let (body_id, model_version) = meta(root);
    Ok(RequestSide { parts, body_id, model_version, notes, ..RequestSide::default() })
}

/// Reads an answer.
pub(super) fn response(root: &Node, naming: &Naming) -> Result<ResponseSide, DecodeFailure> {
    let mut notes = Notes::default();
    let parts = match message(root, Side::Response, naming, &mut notes) {
        Err(DecodeFailure::MissingField(_)) => {
            notes.row_mismatch += 1;
            Vec::new()
        }
        parts => parts?,
    };
    let (body_id, model_version) = meta(root);
    Ok(ResponseSide { parts, body_id, model_version, notes, ..ResponseSide::default() })
}

/// The id of the prediction, and the image that answered when it was one alone.
fn meta(root: &Node) -> (Option<String>, Option<String>) {
    let meta = root.get_set("meta").unwrap_or(&Node::Null);
    let image = match meta.get_set("requestPath") {
        Some(Node::Object(path)) => match path.as_slice() {
            [(_, image)] => image.text().map(str::to_owned),
            _ => None,
        },
        _ => None,
    };
    (open_inference::text(meta, "puid"), image)
}

fn message(root: &Node, side: Side, naming: &Naming, notes: &mut Notes) -> Result<Vec<Part>, DecodeFailure> {
    if let Some(json) = root.get_set("jsonData") {
        let mapping = naming.format.as_deref().map(|format| format.mapping(side));
        return free::parts(json, side, mapping, naming, notes);
    }
    for name in ["strData", "binData"] {
        if root.get_set(name).is_some() {
            return Ok(vec![opaque(name)?]);
        }
    }
    let data = root.get_set("data").ok_or_else(|| DecodeFailure::MissingField("data".to_owned()))?;
    let own = names(data);
    let mut known = naming.positional(side);
    if !own.is_empty() {
        known.given = Some(&own);
    }
    if let Some(tensor) = data.get_set("tensor") {
        return Ok(vec![prefer(self::tensor(tensor, known)?, &own)]);
    }
    if let Some(array) = data.get_set("ndarray") {
        return Ok(vec![prefer(ndarray(array, known, notes)?, &own)]);
    }
    if data.get_set("tftensor").is_some() {
        return Ok(vec![opaque("tftensor")?]);
    }
    Err(DecodeFailure::MissingField("data.ndarray".to_owned()))
}

/// One row of something that is not looked into.
fn opaque(name: &str) -> Result<Part, DecodeFailure> {
    let mut table = Table::default();
    let row = table.add_row()?;
    table.set(row, name, Value::Opaque)?;
    Ok(Part::new(table))
}

fn names(data: &Node) -> NameList {
    match data.get("names") {
        Some(Node::List(names)) => signature::list(names.iter().map(|name| name.text().unwrap_or_default())),
        _ => NameList::default(),
    }
}

/// A bare list with a name for each of its values is one row.
fn prefer(mut part: Part, own: &NameList) -> Part {
    if let Some(runs) = &mut part.runs {
        runs.preferred = !own.is_empty() && runs.names == *own;
    }
    part
}

fn tensor(tensor: &Node, names: Names<'_>) -> Result<Part, DecodeFailure> {
    let field = |name: &str| DecodeFailure::MissingField(format!("data.tensor.{name}"));
    let items = tensor.get_set("values").and_then(Items::of).ok_or_else(|| field("values"))?;
    let shape = match tensor.get_set("shape") {
        Some(shape) => open_inference::dimensions(shape).ok_or_else(|| field("shape"))?,
        None => vec![items.len()],
    };
    if product(&shape) != Some(items.len()) {
        return Err(DecodeFailure::ShapeMismatch("data.tensor".to_owned()));
    }
    named_tensor(&shape, names, |push| items.values().into_iter().for_each(push))
}

/// Rows of anything; a bare list is rows of one value, or one row.
fn ndarray(array: &Node, names: Names<'_>, notes: &mut Notes) -> Result<Part, DecodeFailure> {
    match (array, flat_items(array)) {
        (_, Some(items)) => {
            named_tensor(&[items.len()], names, |push| items.values().into_iter().for_each(push))
        }
        (Node::List(elements), None) => kserve_v1::plain_rows(elements, names, "data.ndarray", notes),
        _ => Err(DecodeFailure::MissingField("data.ndarray".to_owned())),
    }
}
