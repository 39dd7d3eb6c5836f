//! Seldon Core v1's `SeldonMessage`, turned into the JSON that the same server speaks and read as that.

use crate::decode::json::{Budget, ListBuilder, MAX_DEPTH, Node};
use crate::decode::protobuf::{Field, Fields, Malformed, each_fixed64, each_varint};
use crate::decode::side::{RequestSide, ResponseSide};
use crate::decode::{DecodeFailure, MAX_CELLS, Naming, Protocol, Side, messages};

/// Reads a request.
pub(super) fn request(message: &[u8], naming: &Naming) -> Result<RequestSide, DecodeFailure> {
    let root = root(message, Side::Request)?;
    messages::request_document(Protocol::SeldonV1, &root, &[], naming)
}

/// Reads an answer.
pub(super) fn response(message: &[u8], naming: &Naming) -> Result<ResponseSide, DecodeFailure> {
    let root = root(message, Side::Response)?;
    if root.get("status").and_then(|status| status.get("status")) == Some(&Node::Number(1.0)) {
        return Err(DecodeFailure::ErrorAnswer);
    }
    messages::response_document(Protocol::SeldonV1, &root, &[], naming)
}

/// Why a message could not be turned into JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Problem {
    Malformed,
    TooDeep,
    TooLarge,
}

impl From<Malformed> for Problem {
    fn from(Malformed: Malformed) -> Self {
        Self::Malformed
    }
}

fn root(message: &[u8], side: Side) -> Result<Node, DecodeFailure> {
    seldon_message(message, &Budget::new()).map_err(|problem| match problem {
        Problem::Malformed => DecodeFailure::Malformed { side, format: "a Seldon message" },
        Problem::TooDeep => DecodeFailure::TooDeep(side),
        Problem::TooLarge => DecodeFailure::TooLarge { what: "values", limit: MAX_CELLS },
    })
}

/// Members of an object under construction.
type Members = Vec<(String, Node)>;

fn add(members: &mut Members, name: &str, node: Node, budget: &Budget) -> Result<(), Problem> {
    if !budget.take(name.len() + size_of::<(String, Node)>()) {
        return Err(Problem::TooLarge);
    }
    members.push((name.to_owned(), node));
    Ok(())
}

fn text(text: &str, budget: &Budget) -> Result<Node, Problem> {
    if budget.take(text.len()) { Ok(Node::Text(text.to_owned())) } else { Err(Problem::TooLarge) }
}

fn seldon_message(message: &[u8], budget: &Budget) -> Result<Node, Problem> {
    let mut members = Members::new();
    for field in Fields::new(message) {
        let Field { number, wire } = field?;
        let (name, node) = match number {
            1 => ("status", status(wire.bytes()?, budget)?),
            2 => ("meta", meta(wire.bytes()?, budget)?),
            3 => ("data", default_data(wire.bytes()?, budget)?),
            4 => ("binData", Node::Bytes),
            5 => ("strData", text(wire.text()?, budget)?),
            6 => ("jsonData", value(wire.bytes()?, 1, budget)?),
            _ => continue,
        };
        add(&mut members, name, node, budget)?;
    }
    Ok(Node::Object(members))
}

/// Of the status only whether it is a failure.
fn status(message: &[u8], budget: &Budget) -> Result<Node, Problem> {
    let mut members = Members::new();
    for field in Fields::new(message) {
        if let Field { number: 4, wire } = field? {
            add(&mut members, "status", Node::Number(wire.varint()? as f64), budget)?;
        }
    }
    Ok(Node::Object(members))
}

fn meta(message: &[u8], budget: &Budget) -> Result<Node, Problem> {
    let (mut members, mut path) = (Members::new(), Members::new());
    for field in Fields::new(message) {
        match field? {
            Field { number: 1, wire } => add(&mut members, "puid", text(wire.text()?, budget)?, budget)?,
            Field { number: 4, wire } => {
                let (mut node, mut image) = ("", "");
                for field in Fields::new(wire.bytes()?) {
                    match field? {
                        Field { number: 1, wire } => node = wire.text()?,
                        Field { number: 2, wire } => image = wire.text()?,
                        _ => {}
                    }
                }
                add(&mut path, node, text(image, budget)?, budget)?;
            }
            _ => {}
        }
    }
    if !path.is_empty() {
        add(&mut members, "requestPath", Node::Object(path), budget)?;
    }
    Ok(Node::Object(members))
}

fn default_data(message: &[u8], budget: &Budget) -> Result<Node, Problem> {
    let (mut members, mut names) = (Members::new(), ListBuilder::default());
    for field in Fields::new(message) {
        match field? {
            Field { number: 1, wire } => push(&mut names, text(wire.text()?, budget)?, budget)?,
            Field { number: 2, wire } => add(&mut members, "tensor", tensor(wire.bytes()?, budget)?, budget)?,
            Field { number: 3, wire } => {
                add(&mut members, "ndarray", list(wire.bytes()?, 2, budget)?, budget)?;
            }
            Field { number: 4, wire: _ } => add(&mut members, "tftensor", Node::Bytes, budget)?,
            _ => {}
        }
    }
    add(&mut members, "names", names.finish(), budget)?;
    Ok(Node::Object(members))
}

fn push(list: &mut ListBuilder, node: Node, budget: &Budget) -> Result<(), Problem> {
    if list.push(node, budget) { Ok(()) } else { Err(Problem::TooLarge) }
}

fn tensor(message: &[u8], budget: &Budget) -> Result<Node, Problem> {
    let (mut shape, mut values) = (Vec::new(), Vec::new());
    for field in Fields::new(message) {
        match field? {
            Field { number: 1, wire } => each_varint(wire, |size| shape.push(size.cast_signed() as f64))?,
            Field { number: 2, wire } => each_fixed64(wire, |bits| values.push(f64::from_bits(bits)))?,
            _ => {}
        }
    }
    if !budget.take((shape.len() + values.len()) * size_of::<f64>()) {
        return Err(Problem::TooLarge);
    }
    let numbers = |numbers: Vec<f64>| {
        if numbers.is_empty() { Node::List(Vec::new()) } else { Node::Numbers(numbers) }
    };
    let mut members = Members::new();
    if !shape.is_empty() {
        add(&mut members, "shape", numbers(shape), budget)?;
    }
    add(&mut members, "values", numbers(values), budget)?;
    Ok(Node::Object(members))
}

/// A `google.protobuf.Value`, which nests.
fn value(message: &[u8], depth: usize, budget: &Budget) -> Result<Node, Problem> {
    if depth > MAX_DEPTH {
        return Err(Problem::TooDeep);
    }
    let mut node = Node::Null;
    for field in Fields::new(message) {
        let Field { number, wire } = field?;
        node = match number {
            1 => Node::Null,
            2 => {
                let mut number = 0.0;
                each_fixed64(wire, |bits| number = f64::from_bits(bits))?;
                Node::Number(number)
            }
            3 => text(wire.text()?, budget)?,
            4 => Node::Bool(wire.varint()? != 0),
            5 => object(wire.bytes()?, depth + 1, budget)?,
            6 => list(wire.bytes()?, depth + 1, budget)?,
            _ => node,
        };
    }
    Ok(node)
}

/// A `google.protobuf.ListValue`.
fn list(message: &[u8], depth: usize, budget: &Budget) -> Result<Node, Problem> {
    let mut items = ListBuilder::default();
    for field in Fields::new(message) {
        if let Field { number: 1, wire } = field? {
            push(&mut items, value(wire.bytes()?, depth, budget)?, budget)?;
        }
    }
    Ok(items.finish())
}

/// A `google.protobuf.Struct`.
fn object(message: &[u8], depth: usize, budget: &Budget) -> Result<Node, Problem> {
    let mut members = Members::new();
    for field in Fields::new(message) {
        let Field { number: 1, wire } = field? else { continue };
        let (mut name, mut node) = ("", Node::Null);
        for field in Fields::new(wire.bytes()?) {
            match field? {
                Field { number: 1, wire } => name = wire.text()?,
                Field { number: 2, wire } => node = value(wire.bytes()?, depth, budget)?,
                _ => {}
            }
        }
        add(&mut members, name, node, budget)?;
    }
    Ok(Node::Object(members))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::decode::json;
    use crate::decode::json::tests::any_json;
    use crate::decode::protobuf::tests::Writer;

    fn value_message(value: &serde_json::Value) -> Writer {
        let writer = Writer::default();
        match value {
            serde_json::Value::Null => writer.varint(1, 0),
            serde_json::Value::Number(number) => writer.fixed64(2, number.as_f64().unwrap().to_bits()),
            serde_json::Value::String(text) => writer.bytes(3, text),
            serde_json::Value::Bool(value) => writer.varint(4, u64::from(*value)),
            serde_json::Value::Object(members) => {
                let entry = |(name, value): (&String, &serde_json::Value)| {
                    Writer::default().bytes(1, name).message(2, value_message(value))
                };
                writer.message(
                    5,
                    members.iter().map(entry).fold(Writer::default(), |all, one| all.message(1, one)),
                )
            }
            serde_json::Value::Array(items) => writer.message(6, list_message(items)),
        }
    }

    fn list_message(items: &[serde_json::Value]) -> Writer {
        items.iter().map(value_message).fold(Writer::default(), |list, item| list.message(1, item))
    }

    fn parsed(text: &str) -> Node {
        json::parse(text.as_bytes()).unwrap().root
    }

    fn node(message: &Writer) -> Result<Node, Problem> {
        seldon_message(&message.0, &Budget::new())
    }

    #[test]
    fn a_message_is_the_json_of_its_server() {
        let rows = serde_json::json!([[1.0, "a"], [2.0, null]]);
        let data =
            Writer::default().bytes(1, "x").bytes(1, "y").message(3, list_message(rows.as_array().unwrap()));
        let path = Writer::default().bytes(1, "model").bytes(2, "image:3");
        let meta = Writer::default().bytes(1, "p1").message(4, path);
        let message = Writer::default().message(2, meta).message(3, data);
        let expected = r#"{"meta":{"puid":"p1","requestPath":{"model":"image:3"}},
            "data":{"ndarray":[[1,"a"],[2,null]],"names":["x","y"]}}"#;
        assert_eq!(node(&message), Ok(parsed(expected)));

        let tensor = Writer::default()
            .packed(1, [2, 2])
            .bytes(2, [1.0_f64, 2.0, 3.0, 4.0].iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>());
        let message = Writer::default().message(3, Writer::default().message(2, tensor));
        let expected = r#"{"data":{"tensor":{"shape":[2,2],"values":[1,2,3,4]},"names":[]}}"#;
        assert_eq!(node(&message), Ok(parsed(expected)));
        assert_eq!(node(&Writer::default().bytes(5, "text")), Ok(parsed(r#"{"strData":"text"}"#)));
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| {
            (0..depth).fold(Writer::default().varint(4, 1), |inner, _| {
                Writer::default().message(6, Writer::default().message(1, inner))
            })
        };
        let json_data = |depth| node(&Writer::default().message(6, nested(depth)));
        assert!(json_data(MAX_DEPTH - 1).is_ok());
        assert_eq!(json_data(MAX_DEPTH), Err(Problem::TooDeep));
        assert_eq!(json_data(5_000), Err(Problem::TooDeep));
        assert_eq!(node(&Writer::default().varint(3, 1)), Err(Problem::Malformed));
    }

    proptest! {
        #[test]
        fn any_value_is_the_json_that_it_stands_for(value in any_json()) {
            let message = Writer::default().message(6, value_message(&value));
            let text = serde_json::json!({ "jsonData": value }).to_string();
            prop_assert_eq!(node(&message), Ok(parsed(&text)));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let outcome = seldon_message(&bytes, &Budget::new());
            prop_assert!(outcome.is_ok() || outcome == Err(Problem::Malformed));
        }
    }
}
