//! Open Inference V2 as JSON: named tensors with shape and datatype, flat or nested, row-major.

use chrono::{DateTime, NaiveDate, NaiveDateTime};

use super::classification::split_evident;
use super::columns::{check_size, tensor_part};
use super::json::Node;
use super::side::{Part, RequestSide, ResponseSide};
use super::table::{Items, Table, scalar};
use super::{DecodeFailure, Naming};
use crate::model::Value;

/// Whether a member is a list of V2 tensors: objects with a name and a datatype or shape.
pub(super) fn has_tensors(root: &Node, member: &str) -> bool {
    matches!(root.get(member), Some(Node::List(tensors)) if !tensors.is_empty() && tensors.iter().all(|tensor|
        matches!(tensor.get("name"), Some(Node::Text(_)))
            && (tensor.get("datatype").is_some() || tensor.get("shape").is_some())))
}

/// Reads the inputs of a request.
pub(super) fn request(root: &Node, naming: &Naming) -> Result<RequestSide, DecodeFailure> {
    let Some(Node::List(inputs)) = root.get("inputs") else {
        return Err(DecodeFailure::MissingField("inputs".to_owned()));
    };
    let naming = (inputs.len() == 1).then_some(naming);
    let parts = inputs
        .iter()
        .enumerate()
        .map(|(at, node)| Tensor::parse(node, root, "inputs", at)?.part(naming))
        .collect::<Result<Vec<_>, _>>()?;
    check_size(&parts)?;
    Ok(RequestSide { parts, classified: classified(root), body_id: id(root), ..RequestSide::default() })
}

/// Reads the outputs of an answer; those that cannot be read are noted.
pub(super) fn response(root: &Node) -> Result<ResponseSide, DecodeFailure> {
    let mut side = ResponseSide {
        body_id: id(root),
        model: text(root, "model_name"),
        model_version: text(root, "model_version"),
        ..ResponseSide::default()
    };
    let Some(Node::List(tensors)) = root.get("outputs") else {
        side.notes.row_mismatch += 1;
        return Ok(side);
    };
    for (at, node) in tensors.iter().enumerate() {
        match Tensor::parse(node, root, "outputs", at).and_then(|tensor| tensor.part(None)) {
            Ok(part) => side.parts.push(Part { columns: split_evident(part.columns), ..part }),
            Err(_) => side.notes.row_mismatch += 1,
        }
    }
    check_size(&side.parts)?;
    Ok(side)
}

/// The id of a message; KServe and MLServer invent one for the answer where the request has none.
fn id(root: &Node) -> Option<String> {
    text(root, "id")
}

fn text(root: &Node, name: &str) -> Option<String> {
    root.get(name).and_then(Node::text).filter(|text| !text.is_empty()).map(str::to_owned)
}

/// The outputs of which the request asks for classes.
fn classified(root: &Node) -> Vec<String> {
    let Some(Node::List(outputs)) = root.get("outputs") else { return Vec::new() };
    let asks = |output: &&Node| output.get("parameters").and_then(|p| p.get_set("classification")).is_some();
    outputs.iter().filter(asks).filter_map(|output| text(output, "name")).collect()
}

/// What `parameters.content_type` and the datatype say about the elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    Plain,
    Boolean,
    Time,
    Opaque,
}

#[derive(Debug)]
struct Tensor<'n> {
    name: &'n str,
    shape: Vec<usize>,
    data: &'n Node,
    meaning: Meaning,
}

impl<'n> Tensor<'n> {
    fn parse(node: &'n Node, root: &Node, side: &str, at: usize) -> Result<Self, DecodeFailure> {
        let field = |name: &str| DecodeFailure::MissingField(format!("{side}[{at}].{name}"));
        let name = node.get("name").and_then(Node::text).ok_or_else(|| field("name"))?;
        let parameters = node.get("parameters").unwrap_or(&Node::Null);
        let Some(data) = node.get_set("data") else {
            if parameters.get("shared_memory_region").is_some() {
                return Err(DecodeFailure::UnsupportedFormat("tensor data in shared memory"));
            }
            if parameters.get("binary_data_size").is_some() {
                return Err(DecodeFailure::UnsupportedFormat("binary tensor data"));
            }
            return Err(field("data"));
        };
        let datatype = node.get("datatype").and_then(Node::text).unwrap_or("").to_ascii_uppercase();
        // What a tensor says of itself goes before what its message says.
        let of_all = root.get("parameters").and_then(|parameters| parameters.get("content_type"));
        let hint = parameters.get_set("content_type").or(of_all).and_then(Node::text).unwrap_or("");
        let elements = count(data);
        let mut shape = match node.get_set("shape") {
            Some(shape) => dimensions(shape).ok_or_else(|| field("shape"))?,
            None => nested_shape(data),
        };
        if product(&shape) != Some(elements) {
            // Published examples get the shape wrong; the nesting of the data may still tell.
            shape = nested_shape(data);
            if shape.len() < 2 || product(&shape) != Some(elements) {
                return Err(DecodeFailure::ShapeMismatch(format!("{side}[{at}].data")));
            }
        }
        Ok(Self { name, shape, data, meaning: meaning(&datatype, hint) })
    }

    /// The tensor's columns.
    fn part(&self, naming: Option<&Naming>) -> Result<Part, DecodeFailure> {
        if self.meaning == Meaning::Opaque {
            let rows = self.shape.first().copied().unwrap_or(1);
            let mut table = Table::default();
            table.add_rows(rows)?;
            table.push_column(self.name, vec![Value::Opaque; rows])?;
            return Ok(Part::new(table));
        }
        tensor_part(self.name, &self.shape, naming, |push| {
            each(self.data, &mut |value| push(self.meaning.apply(value)));
        })
    }
}

fn meaning(datatype: &str, hint: &str) -> Meaning {
    match hint {
        "datetime" => Meaning::Time,
        "base64" | "raw" | "pillow_image" | "pd_json" => Meaning::Opaque,
        hint if hint.starts_with("hg_") => Meaning::Opaque,
        _ if datatype == "BOOL" => Meaning::Boolean,
        _ => Meaning::Plain,
    }
}

impl Meaning {
    fn apply(self, value: Value) -> Value {
        match (self, value) {
            (Self::Boolean, Value::Number(number))
                if number == 0.0 || (number - 1.0).abs() < f64::EPSILON =>
            {
                Value::Bool(number != 0.0)
            }
            (Self::Time, Value::Text(text)) => seconds(&text).map_or(Value::Text(text), Value::Number),
            (Self::Opaque, _) => Value::Opaque,
            (_, value) => value,
        }
    }
}

/// Seconds since the epoch of an ISO 8601 time; without an offset it is UTC.
fn seconds(text: &str) -> Option<f64> {
    let time = DateTime::parse_from_rfc3339(text).map(|time| time.to_utc()).ok().or_else(|| {
        let naive = NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f")
            .or_else(|_| NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f"))
            .ok()
            .or_else(|| NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0))?;
        Some(naive.and_utc())
    })?;
    Some(time.timestamp_micros() as f64 / 1e6)
}

/// Sizes that are whole numbers from 0 up.
fn dimensions(shape: &Node) -> Option<Vec<usize>> {
    match shape {
        Node::List(none) if none.is_empty() => Some(Vec::new()),
        Node::Numbers(sizes) if sizes.len() <= 16 => sizes.iter().map(|size| whole(*size)).collect(),
        _ => None,
    }
}

fn whole(size: f64) -> Option<usize> {
    let fits = size >= 0.0 && size <= f64::from(u32::MAX) && size.fract() == 0.0;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked in the line above")]
    fits.then_some(size as usize)
}

fn product(sizes: &[usize]) -> Option<usize> {
    sizes.iter().try_fold(1_usize, |product, size| product.checked_mul(*size))
}

/// Number of elements, however nested.
fn count(data: &Node) -> usize {
    match data {
        Node::Numbers(numbers) => numbers.len(),
        Node::List(nodes) => nodes.iter().map(count).sum(),
        _ => 1,
    }
}

/// The shape that the nesting shows, following first elements.
fn nested_shape(data: &Node) -> Vec<usize> {
    let mut shape = Vec::new();
    let mut node = Some(data);
    while let Some(items) = node.and_then(Items::of) {
        shape.push(items.len());
        node = match items {
            Items::Nodes(nodes) => nodes.first(),
            Items::Numbers(_) => None,
        };
    }
    shape
}

/// Every element in row-major order.
fn each(data: &Node, visit: &mut impl FnMut(Value)) {
    match data {
        Node::Numbers(numbers) => numbers.iter().for_each(|number| visit(Value::Number(*number))),
        Node::List(nodes) => nodes.iter().for_each(|node| each(node, visit)),
        other => visit(scalar(other)),
    }
}
