//! Open Inference V2 as JSON: named tensors with shape and datatype, flat or nested, row-major.

use chrono::{DateTime, NaiveDate, NaiveDateTime};

use super::json::Node;
use super::table::{Items, Table, scalar};
use super::{DecodeFailure, Decoded, MAX_CELLS, MAX_COLUMNS, MAX_ROWS, Naming, Notes};
use crate::model::{Batch, Value};

/// Whether a body is a V2 request: `inputs` is a list of objects with a name and a datatype or shape.
pub(super) fn looks_like_it(request: &Node) -> bool {
    matches!(request.get("inputs"), Some(Node::List(inputs)) if !inputs.is_empty() && inputs.iter().all(|input|
        matches!(input.get("name"), Some(Node::Text(_)))
            && (input.get("datatype").is_some() || input.get("shape").is_some())))
}

/// Reads the inputs of a request and, as far as they align, the outputs of its answer.
pub(super) fn decode(request: &Node, response: &Node, naming: &Naming) -> Result<Decoded, DecodeFailure> {
    let Some(Node::List(inputs)) = request.get("inputs") else {
        return Err(DecodeFailure::MissingField("inputs".to_owned()));
    };
    let inputs = inputs
        .iter()
        .enumerate()
        .map(|(at, node)| Tensor::parse(node, "inputs", at))
        .collect::<Result<Vec<_>, _>>()?;
    let mut notes = Notes::default();
    let outputs = read_outputs(response, &mut notes);
    let (inputs, rows) = align(inputs, &outputs, naming)?;

    let mut features = Table::default();
    features.add_rows(rows)?;
    let alone = inputs.len() == 1;
    for input in inputs {
        if input.rows() == rows {
            let names = if alone { Some(naming) } else { None };
            input.push(&mut features, names)?;
        } else {
            notes.inputs_left_out += 1;
        }
    }
    let mut answered = Table::default();
    answered.add_rows(rows)?;
    for output in outputs {
        if output.rows() == rows {
            output.push(&mut answered, None)?;
        } else if rows == 1 && output.shape.len() == 1 {
            output.into_one_row().push(&mut answered, None)?;
        } else {
            notes.row_mismatch += 1;
        }
    }
    let text = |node: &Node, name: &str| node.get(name).and_then(Node::text).map(str::to_owned);
    Ok(Decoded {
        batch: Batch { rows, features: features.finish(), outputs: answered.finish() },
        body_id: text(request, "id").filter(|id| !id.is_empty()).or_else(|| text(response, "id")),
        model_version: text(response, "model_version").filter(|version| !version.is_empty()),
        notes,
    })
}

/// The readable outputs; the others are noted.
fn read_outputs<'n>(response: &'n Node, notes: &mut Notes) -> Vec<Tensor<'n>> {
    let Some(Node::List(tensors)) = response.get("outputs") else {
        notes.row_mismatch += 1;
        return Vec::new();
    };
    let mut outputs = Vec::new();
    for (at, node) in tensors.iter().enumerate() {
        match Tensor::parse(node, "outputs", at) {
            Ok(tensor) => outputs.push(tensor),
            Err(_) => notes.row_mismatch += 1,
        }
    }
    outputs
}

/// Settles how many rows the exchange has.
fn align<'n>(
    mut inputs: Vec<Tensor<'n>>,
    outputs: &[Tensor<'n>],
    naming: &Naming,
) -> Result<(Vec<Tensor<'n>>, usize), DecodeFailure> {
    // `[K]` can be one row of K: so it is when the names say K columns and the answer has one row.
    if let [only] = inputs.as_slice() {
        let one_row = only.shape.len() == 1
            && only.rows() > 1
            && naming.features.len() == only.rows()
            && !outputs.is_empty()
            && outputs.iter().all(|output| output.rows() == 1);
        if one_row {
            let only = inputs.remove(0).into_one_row();
            return Ok((vec![only], 1));
        }
    }
    let first = inputs.first().ok_or(DecodeFailure::NoRows)?;
    if inputs.iter().all(|input| input.rows() == first.rows()) {
        let rows = first.rows();
        return Ok((inputs, rows));
    }
    let agreed = inputs
        .iter()
        .find(|input| outputs.iter().any(|output| output.rows() == input.rows()))
        .map(Tensor::rows);
    let odd = inputs.iter().position(|input| input.rows() != first.rows()).unwrap_or(0);
    match agreed {
        Some(rows) => Ok((inputs, rows)),
        None => Err(DecodeFailure::ShapeMismatch(format!("inputs[{odd}]"))),
    }
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
    fn parse(node: &'n Node, side: &str, at: usize) -> Result<Self, DecodeFailure> {
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
        let hint = parameters.get("content_type").and_then(Node::text).unwrap_or("");
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
        let tensor = Self { name, shape, data, meaning: meaning(&datatype, hint) };
        if tensor.rows() > MAX_ROWS {
            return Err(DecodeFailure::TooLarge { what: "rows", limit: MAX_ROWS });
        }
        Ok(tensor)
    }

    fn rows(&self) -> usize {
        self.shape.first().copied().unwrap_or(1)
    }

    /// Elements per row.
    fn width(&self) -> usize {
        product(self.shape.get(1..).unwrap_or_default()).unwrap_or(usize::MAX)
    }

    /// `[K]` as `[1, K]`.
    fn into_one_row(mut self) -> Self {
        self.shape.insert(0, 1);
        self
    }

    /// Adds the tensor's columns: `name`, or `name[j]`, or the configured names where the width matches.
    fn push(&self, table: &mut Table, names: Option<&Naming>) -> Result<(), DecodeFailure> {
        let (rows, width) = (self.rows(), self.width());
        // `[N,K,1]` is `[N,K]`; what has more dimensions than that is no table.
        let is_tensor = self.shape.iter().skip(1).filter(|size| **size != 1).count() > 1;
        if is_tensor || width > MAX_COLUMNS || self.meaning == Meaning::Opaque {
            return table.push_column(self.name, vec![Value::Opaque; rows]);
        }
        if rows.saturating_mul(width) > MAX_CELLS {
            return Err(DecodeFailure::TooLarge { what: "values", limit: MAX_CELLS });
        }
        let unnamed = Naming::default();
        let names = names.unwrap_or(&unnamed);
        let mut columns: Vec<Vec<Value>> = (0..width).map(|_| Vec::with_capacity(rows)).collect();
        let mut at = 0;
        each(self.data, &mut |value| {
            if let Some(column) = columns.get_mut(at % width.max(1)) {
                column.push(self.meaning.apply(value));
            }
            at += 1;
        });
        for (j, values) in columns.into_iter().enumerate() {
            table.push_column(&names.column(width, j, self.name, self.name), values)?;
        }
        Ok(())
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
