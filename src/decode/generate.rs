//! Answers as server-sent events: MLServer's `infer_stream`, Triton's `generate_stream`, the `OpenAI` API's streams.

use super::side::{Part, ResponseSide};
use super::sse::{self, MAX_EVENTS};
use super::table::Table;
use super::{DecodeFailure, Naming, Protocol, RawSide, Side, document, messages};
use crate::model::Value;

/// Columns that are summed over the events of a text; of the others the last one stands.
const SUMMED: &str = "completion_chars";

/// Whether an answer is a stream of events, and not one document.
pub(super) fn is_stream(protocol: Protocol, raw: &RawSide<'_>) -> bool {
    matches!(protocol, Protocol::OpenInferenceStream | Protocol::OpenAi)
        && !raw.body.trim_ascii_start().starts_with(b"{")
}

/// Reads an answer in events: tensors in each of them, or one text in pieces.
pub(super) fn response(
    protocol: Protocol,
    raw: &RawSide<'_>,
    naming: &Naming,
) -> Result<ResponseSide, DecodeFailure> {
    let events =
        sse::events(raw.body).ok_or(DecodeFailure::TooLarge { what: "events", limit: MAX_EVENTS })?;
    let mut turns = Vec::new();
    let mut failed = false;
    let mut is_text = true;
    for event in &events {
        let document = document(Side::Response, event)?;
        let root = &document.root;
        is_text &= root.get("outputs").is_none();
        let mut turn = match messages::response_document(protocol, root, &[], naming) {
            // Once the first event is on its way the status can no longer say it.
            Err(DecodeFailure::ErrorAnswer) => {
                failed = true;
                continue;
            }
            turn => turn?,
        };
        turn.notes.nonfinite_tokens += document.nonfinite;
        turns.push(turn);
    }
    match turns.len() {
        0 if failed => Err(DecodeFailure::ErrorAnswer),
        0 => Err(DecodeFailure::Malformed { side: Side::Response, format: "server-sent events" }),
        _ if is_text && !failed => in_pieces(turns),
        _ if is_text => Err(DecodeFailure::ErrorAnswer),
        _ => Ok(ResponseSide::of_turns(turns)),
    }
}

/// One row out of the pieces of a text.
fn in_pieces(turns: Vec<ResponseSide>) -> Result<ResponseSide, DecodeFailure> {
    let mut side = ResponseSide::default();
    let mut table = Table::default();
    let row = table.add_row()?;
    let events = turns.len();
    let mut sum = None;
    for turn in turns {
        side.notes.add(&turn.notes);
        side.body_id = side.body_id.or(turn.body_id);
        side.model = side.model.or(turn.model);
        side.model_version = side.model_version.or(turn.model_version);
        for column in turn.parts.into_iter().flat_map(|part| part.columns) {
            match column.values.into_iter().next() {
                Some(Value::Number(number)) if column.name == SUMMED => {
                    sum = Some(sum.unwrap_or(0.0) + number);
                }
                None | Some(Value::Missing) => {}
                Some(value) => table.set(row, &column.name, value)?,
            }
        }
    }
    if let Some(sum) = sum {
        table.set(row, SUMMED, Value::Number(sum))?;
    }
    table.set(row, "events", Value::Number(events as f64))?;
    side.parts.push(Part::new(table));
    Ok(side)
}
