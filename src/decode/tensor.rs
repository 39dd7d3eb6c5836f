//! One tensor, whatever carried it: name, shape and elements, and how these become columns.

use chrono::{DateTime, NaiveDate, NaiveDateTime};

use super::columns::tensor_part;
use super::datatype::Datatype;
use super::json::Node;
use super::side::Part;
use super::table::{Items, Table, scalar};
use super::{DecodeFailure, Naming};
use crate::model::Value;

/// A named array, its elements still as they stood in the body.
#[derive(Debug)]
pub(super) struct Tensor<'b> {
    pub(super) name: &'b str,
    /// The first dimension is the rows.
    pub(super) shape: Vec<usize>,
    pub(super) elements: Elements<'b>,
    pub(super) meaning: Meaning,
    /// Where there are fewer elements than the shape has room for, the last one is repeated.
    pub(super) repeats_last: bool,
}

/// The elements of a tensor in row-major order.
#[derive(Debug)]
pub(super) enum Elements<'b> {
    /// An array in a JSON document, flat or nested.
    Node(&'b Node),
    /// Little-endian numbers.
    Packed(Datatype, &'b [u8]),
    /// Numbers that were written one by one.
    Numbers(Vec<f64>),
    /// Byte strings.
    Texts(Vec<&'b [u8]>),
    /// Byte strings, each after its length as a little-endian `u32`.
    Prefixed(&'b [u8]),
    /// Of a type that is not known.
    Unknown,
}

/// What the datatype and `parameters.content_type` say about the elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    Plain,
    Boolean,
    Time,
    Opaque,
}

impl<'b> Elements<'b> {
    /// Raw bytes of this type.
    pub(super) fn raw(datatype: Option<Datatype>, bytes: &'b [u8]) -> Self {
        match datatype {
            Some(Datatype::Bytes) => Self::Prefixed(bytes),
            Some(datatype) => Self::Packed(datatype, bytes),
            None => Self::Unknown,
        }
    }

    /// How many there are; absent when the bytes do not fit the type, or it is not known.
    fn count(&self) -> Option<usize> {
        match self {
            Self::Node(data) => Some(count(data)),
            Self::Packed(datatype, bytes) => {
                let size = datatype.size()?;
                bytes.len().is_multiple_of(size).then(|| bytes.len() / size)
            }
            Self::Numbers(numbers) => Some(numbers.len()),
            Self::Texts(texts) => Some(texts.len()),
            Self::Prefixed(bytes) => {
                let mut texts = Prefixed(bytes);
                let count = texts.by_ref().count();
                texts.0.is_empty().then_some(count)
            }
            Self::Unknown => None,
        }
    }

    /// Calls `visit` with every element.
    fn each(&self, visit: &mut dyn FnMut(Value)) {
        match self {
            Self::Node(data) => each(data, visit),
            Self::Packed(datatype, bytes) => {
                datatype.each(bytes, 0, 1, usize::MAX, |number| visit(Value::Number(number)));
            }
            Self::Numbers(numbers) => numbers.iter().for_each(|number| visit(Value::Number(*number))),
            Self::Texts(texts) => texts.iter().for_each(|bytes| visit(text(bytes))),
            Self::Prefixed(bytes) => Prefixed(bytes).for_each(|bytes| visit(text(bytes))),
            Self::Unknown => {}
        }
    }
}

/// Byte strings after their lengths; what is left over at the end is no string.
struct Prefixed<'b>(&'b [u8]);

impl<'b> Iterator for Prefixed<'b> {
    type Item = &'b [u8];

    fn next(&mut self) -> Option<&'b [u8]> {
        let (length, rest) = self.0.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let (bytes, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }
}

/// Bytes as text, as far as they are any.
fn text(bytes: &[u8]) -> Value {
    std::str::from_utf8(bytes).map_or(Value::Opaque, |text| Value::Text(text.to_owned()))
}

impl<'b> Tensor<'b> {
    /// A tensor whose elements are as many as its shape says.
    pub(super) fn new(name: &'b str, shape: Vec<usize>, elements: Elements<'b>, meaning: Meaning) -> Self {
        Self { name, shape, elements, meaning, repeats_last: false }
    }

    /// The columns; `place` names the tensor where shape and elements contradict each other.
    pub(super) fn part(
        mut self,
        naming: Option<&Naming>,
        place: impl FnOnce() -> String,
    ) -> Result<Part, DecodeFailure> {
        if matches!(self.elements, Elements::Unknown) {
            self.meaning = Meaning::Opaque;
        } else if !self.fits() {
            // Published examples get the shape wrong; the nesting of the data may still tell.
            let Elements::Node(data) = self.elements else {
                return Err(DecodeFailure::ShapeMismatch(place()));
            };
            self.shape = nested_shape(data);
            if self.shape.len() < 2 || !self.fits() {
                return Err(DecodeFailure::ShapeMismatch(place()));
            }
        }
        if self.meaning == Meaning::Opaque {
            let rows = self.shape.first().copied().unwrap_or(1);
            let mut table = Table::default();
            table.add_rows(rows)?;
            table.push_column(self.name, vec![Value::Opaque; rows])?;
            return Ok(Part::new(table));
        }
        tensor_part(self.name, &self.shape, naming, |push| self.push(push))
    }

    fn fits(&self) -> bool {
        match (product(&self.shape), self.elements.count()) {
            (Some(room), Some(count)) => room == count || self.repeats_last && (1..room).contains(&count),
            _ => false,
        }
    }

    fn push(&self, push: &mut dyn FnMut(Value)) {
        let meaning = self.meaning;
        if !self.repeats_last {
            self.elements.each(&mut |value| push(meaning.apply(value)));
            return;
        }
        let (mut count, mut last) = (0, Value::Missing);
        self.elements.each(&mut |value| {
            last = meaning.apply(value);
            count += 1;
            push(last.clone());
        });
        let room = product(&self.shape).unwrap_or(0);
        (count..room).for_each(|_| push(last.clone()));
    }
}

impl Meaning {
    /// What `MLServer`'s content type and the datatype say together.
    pub(super) fn of(datatype: Option<Datatype>, content_type: &str) -> Self {
        match content_type {
            "datetime" => Self::Time,
            "base64" | "raw" | "pillow_image" | "pd_json" => Self::Opaque,
            hint if hint.starts_with("hg_") => Self::Opaque,
            _ if datatype == Some(Datatype::Bool) => Self::Boolean,
            _ => Self::Plain,
        }
    }

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

/// Number of elements that a shape has room for; absent beyond what can be counted.
pub(super) fn product(sizes: &[usize]) -> Option<usize> {
    // A zero after sizes that overflow still means none.
    if sizes.contains(&0) {
        return Some(0);
    }
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
pub(super) fn nested_shape(data: &Node) -> Vec<usize> {
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
fn each(data: &Node, visit: &mut dyn FnMut(Value)) {
    match data {
        Node::Numbers(numbers) => numbers.iter().for_each(|number| visit(Value::Number(*number))),
        Node::List(nodes) => nodes.iter().for_each(|node| each(node, visit)),
        other => visit(scalar(other)),
    }
}
