//! Open Inference over server-sent events: MLServer's `infer_stream`, Triton's `generate` and `generate_stream`.

use super::columns::set_cells;
use super::json::Node;
use super::open_inference::text;
use super::side::{Part, RequestSide, ResponseSide};
use super::sse::{self, MAX_EVENTS};
use super::table::Table;
use super::{DecodeFailure, Naming, Side, open_inference, openai, parse};

/// Members of a `generate` message that are no inputs or outputs of the model.
const ENVELOPE: [&str; 5] = ["id", "model_name", "model_version", "parameters", "stream"];

/// Reads a request: tensors, or an object whose members are the inputs of one row.
pub(super) fn request(root: &Node, naming: &Naming) -> Result<RequestSide, DecodeFailure> {
    if open_inference::has_tensors(root, "inputs") {
        return open_inference::request(root, &[], naming);
    }
    if root.get_set("text_input").is_some() {
        return openai::request(root);
    }
    Ok(RequestSide {
        parts: vec![row(root, Side::Request)?],
        body_id: text(root, "id"),
        ..RequestSide::default()
    })
}

/// Reads an answer: one document, or one per event.
pub(super) fn response(body: &[u8]) -> Result<ResponseSide, DecodeFailure> {
    if body.trim_ascii_start().starts_with(b"{") {
        return document(body);
    }
    let events = sse::events(body).ok_or(DecodeFailure::TooLarge { what: "events", limit: MAX_EVENTS })?;
    if events.is_empty() && !body.trim_ascii().is_empty() {
        return Err(DecodeFailure::Malformed { side: Side::Response, format: "server-sent events" });
    }
    let mut turns = Vec::new();
    let mut failed = None;
    for event in &events {
        match document(event) {
            Err(failure @ DecodeFailure::ErrorAnswer) => failed = Some(failure),
            turn => turns.push(turn?),
        }
    }
    match failed {
        Some(failure) if turns.is_empty() => Err(failure),
        _ => Ok(ResponseSide::of_turns(turns)),
    }
}

fn document(json: &[u8]) -> Result<ResponseSide, DecodeFailure> {
    let document = parse(Side::Response, json)?;
    let root = &document.root;
    let mut side = if root.get("outputs").is_some() {
        open_inference::response(root, &[])?
    } else if root.get_set("error").is_some() {
        // After the first event the status can no longer say it.
        return Err(DecodeFailure::ErrorAnswer);
    } else if root.get_set("text_output").is_some() {
        openai::response(root)?
    } else {
        ResponseSide {
            parts: vec![row(root, Side::Response)?],
            body_id: text(root, "id"),
            model: text(root, "model_name"),
            model_version: text(root, "model_version"),
            ..ResponseSide::default()
        }
    };
    side.notes.nonfinite_tokens += document.nonfinite;
    Ok(side)
}

/// One row with a column per member.
fn row(root: &Node, side: Side) -> Result<Part, DecodeFailure> {
    let Node::Object(members) = root else {
        return Err(DecodeFailure::Malformed { side, format: "an object" });
    };
    let mut table = Table::default();
    let row = table.add_row()?;
    for (name, node) in members.iter().filter(|(name, _)| !ENVELOPE.contains(&name.as_str())) {
        set_cells(&mut table, row, name, node)?;
    }
    Ok(Part::new(table))
}
