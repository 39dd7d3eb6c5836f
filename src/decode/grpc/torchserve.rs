//! TorchServe's `PredictionsRequest` and `PredictionResponse`: named bytes in, bytes out, read as over HTTP where JSON.

use crate::decode::json::{self, Node};
use crate::decode::kserve_v1::PREDICTION;
use crate::decode::protobuf::{Field, Fields, Malformed};
use crate::decode::side::{Part, RequestSide, ResponseSide};
use crate::decode::table::{Table, scalar};
use crate::decode::{DecodeFailure, Naming, Protocol, Side, messages};

/// Names under which a client gives the whole body as one input.
const WHOLE_BODY: [&str; 2] = ["data", "body"];

/// Reads a request: the body that is its only input, else one row with a column per input.
pub(super) fn request(message: &[u8], naming: &Naming) -> Result<RequestSide, DecodeFailure> {
    let PredictionsRequest { model, version, mut inputs, nonfinite } =
        predictions_request(message).map_err(|Malformed| malformed(Side::Request))?;
    let is_body = |(name, node): &(String, Node)| {
        WHOLE_BODY.contains(&name.as_str())
            && matches!(node, Node::Object(_) | Node::List(_) | Node::Numbers(_))
    };
    let root = match inputs.as_slice() {
        [only] if is_body(only) => inputs.swap_remove(0).1,
        _ => Node::Object(inputs),
    };
    let mut side = messages::request_document(Protocol::TorchServe, &root, &[], naming)?;
    side.model = model.or(side.model);
    side.model_version = version.or(side.model_version);
    side.notes.nonfinite_tokens += nonfinite;
    Ok(side)
}

/// Reads an answer; a prediction that is a bare value is one row.
pub(super) fn response(message: &[u8], naming: &Naming) -> Result<ResponseSide, DecodeFailure> {
    let (root, nonfinite) = prediction(message).map_err(|Malformed| malformed(Side::Response))?;
    let mut side = if matches!(root, Node::Object(_) | Node::List(_) | Node::Numbers(_)) {
        messages::response_document(Protocol::TorchServe, &root, &[], naming)?
    } else {
        let mut table = Table::default();
        let row = table.add_row()?;
        table.set(row, PREDICTION, scalar(&root))?;
        ResponseSide { parts: vec![Part::new(table)], ..ResponseSide::default() }
    };
    side.notes.nonfinite_tokens += nonfinite;
    Ok(side)
}

fn malformed(side: Side) -> DecodeFailure {
    DecodeFailure::Malformed { side, format: "a message of TorchServe" }
}

#[derive(Default)]
struct PredictionsRequest {
    model: Option<String>,
    version: Option<String>,
    inputs: Vec<(String, Node)>,
    nonfinite: u64,
}

fn predictions_request(message: &[u8]) -> Result<PredictionsRequest, Malformed> {
    let mut request = PredictionsRequest::default();
    for field in Fields::new(message) {
        match field? {
            Field { number: 1, wire } => request.model = Some(wire.text()?.to_owned()),
            Field { number: 2, wire } => {
                request.version = Some(wire.text()?.to_owned()).filter(|version| !version.is_empty());
            }
            Field { number: 3, wire } => {
                let (mut name, mut value) = ("", &[][..]);
                for field in Fields::new(wire.bytes()?) {
                    match field? {
                        Field { number: 1, wire } => name = wire.text()?,
                        Field { number: 2, wire } => value = wire.bytes()?,
                        _ => {}
                    }
                }
                let (node, nonfinite) = content(value);
                request.nonfinite += nonfinite;
                request.inputs.push((name.to_owned(), node));
            }
            _ => {}
        }
    }
    Ok(request)
}

fn prediction(message: &[u8]) -> Result<(Node, u64), Malformed> {
    let mut bytes = &[][..];
    for field in Fields::new(message) {
        if let Field { number: 1, wire } = field? {
            bytes = wire.bytes()?;
        }
    }
    Ok(content(bytes))
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
