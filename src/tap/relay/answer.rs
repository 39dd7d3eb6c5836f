//! Answers that the relay makes itself, all of them without a body.

use http::StatusCode;

use super::head::{Refusal, add};
use crate::tap::absent::{Absent, ERROR_HEADER, GRPC_KIND};

/// How the client speaks, as far as its answers depend on it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Speech {
    pub(super) is_http10: bool,
    /// It asks for the head alone.
    pub(super) is_head: bool,
    pub(super) is_grpc: bool,
}

/// Writes the answer to a request that cannot be forwarded; the connection ends with it.
pub(super) fn refuse(out: &mut Vec<u8>, refusal: Refusal) -> StatusCode {
    let status = match refusal {
        Refusal::Malformed => StatusCode::BAD_REQUEST,
        Refusal::TooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
    };
    start(out, false, status);
    end(out, "close");
    status
}

/// Writes the answer to a request that got none; `keep` leaves the connection open.
pub(super) fn absent(out: &mut Vec<u8>, absent: Absent, speech: Speech, keep: bool) {
    let (status, grpc_status) = absent.shown(speech.is_grpc);
    start(out, speech.is_http10, StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY));
    if let Some(grpc_status) = grpc_status {
        add(out, "content-type", GRPC_KIND);
        add(out, "grpc-status", &grpc_status.to_string());
    }
    add(out, ERROR_HEADER, absent.reason());
    end(out, connection(speech.is_http10, keep));
}

/// What `Connection` has to say, if anything.
pub(super) fn connection(is_http10: bool, keep: bool) -> &'static str {
    match (is_http10, keep) {
        (true, true) => "keep-alive",
        (false, false) => "close",
        _ => "",
    }
}

fn start(out: &mut Vec<u8>, is_http10: bool, status: StatusCode) {
    let version = if is_http10 { "HTTP/1.0 " } else { "HTTP/1.1 " };
    for part in [version, status.as_str(), " ", status.canonical_reason().unwrap_or_default(), "\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
}

fn end(out: &mut Vec<u8>, connection: &str) {
    add(out, "content-length", "0");
    if !connection.is_empty() {
        add(out, "connection", connection);
    }
    out.extend_from_slice(b"\r\n");
}
