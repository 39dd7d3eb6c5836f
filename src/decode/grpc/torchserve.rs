//! TorchServe's `PredictionsRequest` and `PredictionResponse`: named bytes in, bytes out, JSON in both if one is lucky.

use crate::decode::columns::set_cells;
use crate::decode::json::{self, Node};
use crate::decode::protobuf::{Field, Fields, Malformed};
use crate::decode::side::{Part, RequestSide, ResponseSide};
use crate::decode::table::Table;
use crate::decode::{DecodeFailure, Naming, Side};

/// Reads a request: one row with a column per input.
pub(super) fn request(message: &[u8], naming: &Naming) -> Result<RequestSide, DecodeFailure> {
    let _ = naming;
    let mut side = RequestSide::default();
    let mut table = Table::default();
    let row = table.add_row()?;
    let mut nonfinite = 0;
    each(message, Side::Request, |number, field| match number {
        1 => {
            side.model = Some(field.text()?.to_owned()).filter(|name| !name.is_empty());
            Ok(())
        }
        2 => {
            side.model_version = Some(field.text()?.to_owned()).filter(|version| !version.is_empty());
            Ok(())
        }
        3 => {
            let (mut name, mut value) = ("", &[][..]);
            for field in Fields::new(field.bytes()?) {
                match field? {
                    Field { number: 1, wire } => name = wire.text()?,
                    Field { number: 2, wire } => value = wire.bytes()?,
                    _ => {}
                }
            }
            let (node, odd) = content(value);
            nonfinite += odd;
            set_cells(&mut table, row, name, &node).map_err(|_| Malformed)
        }
        _ => Ok(()),
    })?;
    side.notes.nonfinite_tokens += nonfinite;
    side.parts.push(Part::new(table));
    Ok(side)
}

/// Reads an answer: the prediction, or a column per member of an object.
pub(super) fn response(message: &[u8]) -> Result<ResponseSide, DecodeFailure> {
    let mut side = ResponseSide::default();
    let mut table = Table::default();
    let row = table.add_row()?;
    let mut prediction = &[][..];
    each(message, Side::Response, |number, field| {
        if number == 1 {
            prediction = field.bytes()?;
        }
        Ok(())
    })?;
    let (node, nonfinite) = content(prediction);
    side.notes.nonfinite_tokens += nonfinite;
    match &node {
        Node::Object(members) => {
            for (name, node) in members {
                set_cells(&mut table, row, name, node)?;
            }
        }
        other => set_cells(&mut table, row, "prediction", other)?,
    }
    side.parts.push(Part::new(table));
    Ok(side)
}

fn each<'b>(
    message: &'b [u8],
    side: Side,
    mut visit: impl FnMut(u32, crate::decode::protobuf::Wire<'b>) -> Result<(), Malformed>,
) -> Result<(), DecodeFailure> {
    for field in Fields::new(message) {
        field
            .and_then(|Field { number, wire }| visit(number, wire))
            .map_err(|Malformed| DecodeFailure::Malformed { side, format: "a message of TorchServe" })?;
    }
    Ok(())
}

/// What the bytes are: JSON, text, or nothing that is looked into.
fn content(bytes: &[u8]) -> (Node, u64) {
    match json::parse(bytes) {
        Ok(document) => (document.root, document.nonfinite),
        Err(_) => match std::str::from_utf8(bytes) {
            Ok(text) => (Node::Text(text.to_owned()), 0),
            Err(_) => (Node::Bytes, 0),
        },
    }
}
