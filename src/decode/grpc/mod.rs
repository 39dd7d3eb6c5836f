//! Predictions over gRPC: the messages of a body, and what each service puts into them.

pub mod frames;
mod model_infer;
mod seldon;
mod stream;
mod tensorflow;
mod torchserve;

use self::frames::{FrameProblem, MAX_MESSAGES, messages};
use super::body::{self, MAX_INFLATED};
use super::side::{RequestSide, ResponseSide};
use super::{DecodeFailure, Headers, Naming, Protocol, Side};

/// Reads what a client sent.
pub(super) fn request(
    protocol: Protocol,
    headers: &Headers,
    body: &[u8],
    naming: &Naming,
) -> Result<RequestSide, DecodeFailure> {
    let messages = messages(body, headers.get("grpc-encoding"), MAX_INFLATED)
        .map_err(|problem| failure(Side::Request, problem))?;
    let mut messages = messages.iter().map(AsRef::as_ref);
    match protocol {
        Protocol::OpenInferenceGrpc => stream::requests(messages, naming),
        Protocol::TensorflowGrpc => tensorflow::request(one(&mut messages, Side::Request)?, naming),
        Protocol::SeldonGrpc => seldon::request(one(&mut messages, Side::Request)?, naming),
        Protocol::TorchServeGrpc => torchserve::request(one(&mut messages, Side::Request)?, naming),
        other => Err(DecodeFailure::UnsupportedFormat(other.as_str())),
    }
}

/// Reads what a model server answered, once [`check_status`] has found no error.
pub(super) fn response(
    protocol: Protocol,
    headers: &Headers,
    body: &[u8],
) -> Result<ResponseSide, DecodeFailure> {
    let messages = messages(body, headers.get("grpc-encoding"), MAX_INFLATED)
        .map_err(|problem| failure(Side::Response, problem))?;
    let mut messages = messages.iter().map(AsRef::as_ref);
    match protocol {
        Protocol::OpenInferenceGrpc => stream::responses(messages),
        Protocol::TensorflowGrpc => tensorflow::response(one(&mut messages, Side::Response)?),
        Protocol::SeldonGrpc => seldon::response(one(&mut messages, Side::Response)?),
        Protocol::TorchServeGrpc => torchserve::response(one(&mut messages, Side::Response)?),
        other => Err(DecodeFailure::UnsupportedFormat(other.as_str())),
    }
}

/// The status in the trailers; the one of HTTP is always 200.
pub(super) fn check_status(headers: &Headers) -> Result<(), DecodeFailure> {
    match headers.get("grpc-status") {
        None | Some("0") => Ok(()),
        // What is no number counts as `UNKNOWN`, as in every client.
        Some(status) => Err(DecodeFailure::ErrorStatus(status.parse().unwrap_or(2))),
    }
}

/// The message of a call that has one on each side.
fn one<'m>(messages: &mut impl Iterator<Item = &'m [u8]>, side: Side) -> Result<&'m [u8], DecodeFailure> {
    match (messages.next(), messages.next()) {
        (Some(message), None) => Ok(message),
        _ => Err(DecodeFailure::Malformed { side, format: "one gRPC message" }),
    }
}

fn failure(side: Side, problem: FrameProblem) -> DecodeFailure {
    match problem {
        FrameProblem::Cut | FrameProblem::BadFlag => {
            DecodeFailure::Malformed { side, format: "gRPC messages" }
        }
        FrameProblem::TooMany => DecodeFailure::TooLarge { what: "messages", limit: MAX_MESSAGES },
        FrameProblem::Inflate(problem) => body::failure(side, problem),
    }
}
