//! `ModelStreamInfer`: as many requests and answers as the two sides like, in two schemas on the same path.

use super::model_infer::{self, is_final_mark};
use crate::decode::protobuf::{Field, Fields, Malformed, Wire};
use crate::decode::side::{RequestSide, ResponseSide};
use crate::decode::{DecodeFailure, Naming, Side};

/// Reads every request of a stream.
pub(super) fn requests<'m>(
    messages: impl Iterator<Item = &'m [u8]>,
    naming: &Naming,
) -> Result<RequestSide, DecodeFailure> {
    let turns =
        messages.map(|message| model_infer::request(message, naming)).collect::<Result<Vec<_>, _>>()?;
    Ok(RequestSide::of_turns(turns))
}

/// Reads every answer of a stream; one that is an error has no columns.
pub(super) fn responses<'m>(messages: impl Iterator<Item = &'m [u8]>) -> Result<ResponseSide, DecodeFailure> {
    let mut turns = Vec::new();
    let mut failed = false;
    for message in messages {
        let malformed = |Malformed| DecodeFailure::Malformed {
            side: Side::Response,
            format: "a message of Open Inference V2",
        };
        match answer(message).map_err(malformed)? {
            Answer::Error => failed = true,
            Answer::Prediction(message) if is_final_mark(message) => {}
            Answer::Prediction(message) => turns.push(model_infer::response(message)?),
        }
    }
    if turns.is_empty() && failed {
        return Err(DecodeFailure::ErrorAnswer);
    }
    Ok(ResponseSide::of_turns(turns))
}

/// One message of the answering stream.
#[derive(Debug, PartialEq, Eq)]
enum Answer<'m> {
    /// A `ModelInferResponse`.
    Prediction(&'m [u8]),
    /// The request that it belongs to failed.
    Error,
}

/// Tells Triton's `ModelStreamInferResponse{error_message=1, infer_response=2}` from the plain
/// `ModelInferResponse{model_name=1, model_version=2, …}` of `MLServer` and Seldon.
fn answer(message: &[u8]) -> Result<Answer<'_>, Malformed> {
    let (mut error, mut inner) = (false, None);
    for field in Fields::new(message) {
        match field? {
            Field { number: 1, wire: Wire::Bytes(text) } => error = !text.is_empty(),
            Field { number: 2, wire: Wire::Bytes(bytes) } => inner = Some(bytes),
            // The wrapper has no other fields.
            _ => return Ok(Answer::Prediction(message)),
        }
    }
    Ok(match inner {
        // A version is no message, but for chance; a response has its model's name.
        Some(inner) if !error && names_a_model(inner) => Answer::Prediction(inner),
        Some(inner) if error && (inner.is_empty() || names_a_model(inner)) => Answer::Error,
        None if error => Answer::Error,
        _ => Answer::Prediction(message),
    })
}

/// Whether the bytes are a `ModelInferResponse`: every field reads, and it has a model's name or outputs.
fn names_a_model(bytes: &[u8]) -> bool {
    let mut found = false;
    for field in Fields::new(bytes) {
        match field {
            Ok(Field { number: 1 | 5, wire: Wire::Bytes(_) }) => found = true,
            Ok(Field { number: 2..=4 | 6, wire: Wire::Bytes(_) }) => {}
            _ => return false,
        }
    }
    found
}
