//! Open Inference V2 as JSON: named tensors with shape and datatype, flat or nested, row-major.

use super::binary_tensors::{self, Place, Tail, place, whole};
use super::classification::split_evident;
use super::columns::check_size;
use super::datatype::Datatype;
use super::json::Node;
use super::side::{Part, RequestSide, ResponseSide};
use super::tensor::{Elements, Meaning, Tensor, nested_shape};
use super::{DecodeFailure, Naming};

/// Whether a member is a list of V2 tensors: objects with a name and a datatype or shape.
pub(super) fn has_tensors(root: &Node, member: &str) -> bool {
    matches!(root.get(member), Some(Node::List(tensors)) if !tensors.is_empty() && tensors.iter().all(|tensor|
        matches!(tensor.get("name"), Some(Node::Text(_)))
            && (tensor.get("datatype").is_some() || tensor.get("shape").is_some())))
}

/// Reads the inputs of a request; `tail` are the bytes behind its document.
pub(super) fn request(root: &Node, tail: &[u8], naming: &Naming) -> Result<RequestSide, DecodeFailure> {
    let Some(Node::List(inputs)) = root.get("inputs") else {
        return Err(DecodeFailure::MissingField("inputs".to_owned()));
    };
    let naming = (inputs.len() == 1).then_some(naming);
    let mut side =
        RequestSide { classified: classified(root), body_id: text(root, "id"), ..RequestSide::default() };
    let mut tail = Tail::new(tail, inputs);
    let mut mismatch = None;
    for (at, node) in inputs.iter().enumerate() {
        match (place(node), part(node, root, &mut tail, naming, &format!("inputs[{at}]"))) {
            (Place::SharedMemory, _) => side.notes.unobservable += 1,
            (_, Ok(part)) => side.parts.push(part),
            (Place::Behind(_), Err(failure @ DecodeFailure::ShapeMismatch(_))) => {
                side.notes.size_mismatch += 1;
                mismatch = Some(failure);
            }
            (_, Err(failure)) => return Err(failure),
        }
    }
    side.notes.size_mismatch += u64::from(!tail.is_spent());
    match mismatch {
        Some(failure) if side.parts.is_empty() => return Err(failure),
        None if side.parts.is_empty() && side.notes.unobservable > 0 => {
            return Err(DecodeFailure::UnsupportedFormat("tensor data in shared memory"));
        }
        _ => check_size(&side.parts)?,
    }
    Ok(side)
}

/// Reads a request that is nothing but the numbers of one row.
pub(super) fn raw_request(body: &[u8], naming: &Naming) -> Result<RequestSide, DecodeFailure> {
    let tensor = binary_tensors::raw_request(body, naming)?;
    let mut side = RequestSide::default();
    side.parts.push(tensor.part(Some(naming), || "the body".to_owned())?);
    side.notes.assumed_datatype += 1;
    Ok(side)
}

/// Reads the outputs of an answer; those that cannot be read are noted.
pub(super) fn response(root: &Node, tail: &[u8]) -> Result<ResponseSide, DecodeFailure> {
    let mut side = ResponseSide {
        body_id: text(root, "id"),
        model: text(root, "model_name"),
        model_version: text(root, "model_version"),
        ..ResponseSide::default()
    };
    let Some(Node::List(tensors)) = root.get("outputs") else {
        side.notes.row_mismatch += 1;
        return Ok(side);
    };
    let mut tail = Tail::new(tail, tensors);
    for (at, node) in tensors.iter().enumerate() {
        match (place(node), part(node, root, &mut tail, None, &format!("outputs[{at}]"))) {
            (Place::SharedMemory, _) => side.notes.unobservable += 1,
            (_, Ok(part)) => side.parts.push(Part { columns: split_evident(part.columns), ..part }),
            (Place::Behind(_), Err(DecodeFailure::ShapeMismatch(_))) => side.notes.size_mismatch += 1,
            (_, Err(_)) => side.notes.row_mismatch += 1,
        }
    }
    side.notes.size_mismatch += u64::from(!tail.is_spent());
    check_size(&side.parts)?;
    Ok(side)
}

/// The text of a member, when it is one and not empty.
pub(super) fn text(root: &Node, name: &str) -> Option<String> {
    root.get(name).and_then(Node::text).filter(|text| !text.is_empty()).map(str::to_owned)
}

/// The outputs of which the request asks for classes.
fn classified(root: &Node) -> Vec<String> {
    let Some(Node::List(outputs)) = root.get("outputs") else { return Vec::new() };
    let asks = |output: &&Node| output.get("parameters").and_then(|p| p.get_set("classification")).is_some();
    outputs.iter().filter(asks).filter_map(|output| text(output, "name")).collect()
}

/// The columns of one tensor of a message.
fn part<'b>(
    node: &'b Node,
    root: &'b Node,
    tail: &mut Tail<'b>,
    naming: Option<&Naming>,
    at: &str,
) -> Result<Part, DecodeFailure> {
    let field = |name: &str| DecodeFailure::MissingField(format!("{at}.{name}"));
    let name = node.get("name").and_then(Node::text).ok_or_else(|| field("name"))?;
    let datatype = node.get("datatype").and_then(Node::text).and_then(Datatype::named);
    let shape =
        node.get_set("shape").map(|shape| dimensions(shape).ok_or_else(|| field("shape"))).transpose()?;
    let data = node.get_set("data");
    let elements = match (data, place(node)) {
        (Some(data), _) => Elements::Node(data),
        (None, Place::Behind(Some(size))) => {
            let bytes = tail.take(Some(size));
            Elements::raw(datatype, bytes.ok_or_else(|| DecodeFailure::ShapeMismatch(at.to_owned()))?)
        }
        (None, _) => Elements::raw(datatype, tail.take(None).ok_or_else(|| field("data"))?),
    };
    let shape = shape.or_else(|| data.map(nested_shape)).ok_or_else(|| field("shape"))?;
    // What a tensor says of itself goes before what its message says.
    let content_type = |node: &'b Node| node.get("parameters").and_then(|all| all.get_set("content_type"));
    let hint = content_type(node).or_else(|| content_type(root)).and_then(Node::text).unwrap_or("");
    let tensor = Tensor::new(name, shape, elements, Meaning::of(datatype, hint));
    tensor.part(naming, || if data.is_some() { format!("{at}.data") } else { at.to_owned() })
}

/// Sizes that are whole numbers from 0 up.
pub(super) fn dimensions(shape: &Node) -> Option<Vec<usize>> {
    match shape {
        Node::List(none) if none.is_empty() => Some(Vec::new()),
        Node::Numbers(sizes) if sizes.len() <= 16 => sizes.iter().map(|size| whole(*size)).collect(),
        _ => None,
    }
}
