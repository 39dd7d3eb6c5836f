//! Payload bytes of one exchange into rows and columns: pure, bounded, and never a panic.
//!
//! Every wire format is a module of its own. A format that is recognised and not read yet, a body that was cut, an
//! answer that is an error: each is a [`DecodeFailure`] with a stable reason, so that nothing is lost unseen.

mod classification;
mod columns;
pub mod events;
mod format;
mod ids;
mod json;
mod kserve_v1;
mod lenient;
mod open_inference;
pub mod predictions;
mod route;
mod side;
mod table;

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use self::format::{Columns, Format, Mapping, Pointer};
pub use self::ids::{Headers, MAX_ID_BYTES, exchange_id};
pub use self::json::MAX_DEPTH;
use self::json::{Document, JsonProblem, Node};
pub use self::route::{Protocol, Recognised, Route};
pub use self::side::{Part, RequestSide, ResponseSide, Runs, join};
use crate::model::Batch;

/// Rows that one exchange may have.
pub const MAX_ROWS: usize = 100_000;
/// Columns that one exchange may have on either side; a wider tensor is one opaque column.
pub const MAX_COLUMNS: usize = 4096;
/// Values that one exchange may have on either side.
pub const MAX_CELLS: usize = 2_000_000;

/// One request and its answer, as copied off the wire.
#[derive(Debug, Clone, Copy)]
pub struct RawExchange<'a> {
    /// Where the prediction was sent.
    pub route: &'a Route,
    /// Kept headers of the request.
    pub request_headers: &'a Headers,
    /// Body of the request.
    pub request: &'a [u8],
    /// The request's copy ends before its body did.
    pub request_truncated: bool,
    /// Status of the answer.
    pub status: u16,
    /// Kept headers of the answer.
    pub response_headers: &'a Headers,
    /// Body of the answer.
    pub response: &'a [u8],
    /// The answer's copy ends before its body did.
    pub response_truncated: bool,
}

impl<'a> RawExchange<'a> {
    /// What the client sent.
    pub fn request_side(&self) -> RawSide<'a> {
        RawSide {
            route: self.route,
            headers: self.request_headers,
            body: self.request,
            truncated: self.request_truncated,
        }
    }

    /// What the model server answered.
    pub fn response_side(&self) -> RawSide<'a> {
        RawSide {
            route: self.route,
            headers: self.response_headers,
            body: self.response,
            truncated: self.response_truncated,
        }
    }
}

/// One message of an exchange, as copied off the wire or out of an event.
#[derive(Debug, Clone, Copy)]
pub struct RawSide<'a> {
    /// Where the prediction was sent.
    pub route: &'a Route,
    /// Kept headers of the message.
    pub headers: &'a Headers,
    /// The body.
    pub body: &'a [u8],
    /// The copy ends before the body did.
    pub truncated: bool,
}

/// What is known of a model's messages beforehand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Naming {
    /// Names for the columns of an unnamed tensor, in its order: configured, or those of the baseline. Used where the
    /// width matches; else columns are `name[j]`.
    pub features: Vec<String>,
    /// How messages are to be read, where settings say so.
    pub format: Option<Arc<Format>>,
}

impl Naming {
    /// The name of column `j` of `width`; without a match `fallback[j]`, or `alone` when there is only one.
    fn column(&self, width: usize, j: usize, fallback: &str, alone: &str) -> String {
        match self.features.get(j) {
            Some(name) if self.features.len() == width => name.clone(),
            _ if width == 1 => alone.to_owned(),
            _ => format!("{fallback}[{j}]"),
        }
    }
}

/// A decoded exchange, and what was odd about it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Decoded {
    /// The rows.
    pub batch: Batch,
    /// The id in the body of the request, else of the answer.
    pub body_id: Option<String>,
    /// The version that answered, when the answer or the path says so.
    pub model_version: Option<String>,
    /// When the prediction happened, when a body says so.
    pub event_time: Option<DateTime<Utc>>,
    /// What was odd, though not enough to refuse the exchange.
    pub notes: Notes,
}

/// Oddities of a decoded exchange; each is exported as a count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Notes {
    /// Bare `NaN`, `Infinity` and numbers beyond `f64` that were taken as values.
    pub nonfinite_tokens: u64,
    /// Outputs whose rows could not be told to belong to the rows of the request; they were left out.
    pub row_mismatch: u64,
    /// Rows narrower than others of their tensor; what they lack is missing.
    pub ragged_rows: u64,
    /// Inputs with another number of rows than the exchange; they were left out.
    pub inputs_left_out: u64,
    /// Why the answer could not be read at all, as [`DecodeFailure::reason`]; the features are kept. Known only when
    /// both sides are joined.
    #[serde(skip)]
    pub response_undecoded: Option<&'static str>,
}

impl Notes {
    /// Adds what was odd about the other side.
    fn add(&mut self, other: &Self) {
        self.nonfinite_tokens += other.nonfinite_tokens;
        self.row_mismatch += other.row_mismatch;
        self.ragged_rows += other.ragged_rows;
        self.inputs_left_out += other.inputs_left_out;
        self.response_undecoded = self.response_undecoded.or(other.response_undecoded);
    }

    /// Every oddity that occurred, with its count.
    pub fn each(&self) -> impl Iterator<Item = (&'static str, u64)> {
        [
            ("nonfinite_tokens", self.nonfinite_tokens),
            ("row_mismatch", self.row_mismatch),
            ("ragged_rows", self.ragged_rows),
            ("inputs_left_out", self.inputs_left_out),
            ("response_undecoded", u64::from(self.response_undecoded.is_some())),
        ]
        .into_iter()
        .filter(|(_, count)| *count > 0)
    }
}

/// Which message of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// What the client sent.
    Request,
    /// What the model server answered.
    Response,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Request => "request",
            Self::Response => "response",
        })
    }
}

/// Why an exchange has no rows. Messages name fields, never their content.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DecodeFailure {
    /// The body was longer than its copy.
    #[error("the copy of the {0} body was cut")]
    Truncated(Side),
    /// The body is compressed.
    #[error("the {0} body is compressed, which is not read yet")]
    UnsupportedEncoding(Side),
    /// The protocol, or a part of it, is known and not read yet.
    #[error("{0} is not read yet")]
    UnsupportedFormat(&'static str),
    /// The body is not JSON.
    #[error("the {side} body is not JSON (byte {offset})")]
    NotJson {
        /// Which message.
        side: Side,
        /// Byte at which it stopped making sense.
        offset: usize,
    },
    /// The body is nested too deeply.
    #[error("the {0} body is nested more than {MAX_DEPTH} levels deep")]
    TooDeep(Side),
    /// More rows, columns or values than are decoded.
    #[error("there are more than {limit} {what}")]
    TooLarge {
        /// Of what there is too much.
        what: &'static str,
        /// How much is decoded.
        limit: usize,
    },
    /// A field that must be there is absent or of another type.
    #[error("`{0}` is absent or of another type")]
    MissingField(String),
    /// Shape and data contradict each other.
    #[error("`{0}`: shape and data do not fit")]
    ShapeMismatch(String),
    /// The answer is an error, so there was no prediction.
    #[error("the answer has status {0}")]
    ErrorStatus(u16),
    /// There is not one row.
    #[error("there is not one row")]
    NoRows,
}

impl DecodeFailure {
    /// A short, stable word for the label of a metric.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Truncated(_) => "truncated",
            Self::UnsupportedEncoding(_) => "unsupported_encoding",
            Self::UnsupportedFormat(_) => "unsupported_format",
            Self::NotJson { .. } => "not_json",
            Self::TooDeep(_) => "too_deep",
            Self::TooLarge { .. } => "too_large",
            Self::MissingField(_) => "missing_field",
            Self::ShapeMismatch(_) => "shape_mismatch",
            Self::ErrorStatus(_) => "error_status",
            Self::NoRows => "no_rows",
        }
    }
}

/// Reads the rows of one exchange: [`decode_request`], [`decode_response`] and [`join`] in one.
///
/// An answer that cannot be read leaves `outputs` empty and a note; the features are kept.
///
/// # Errors
///
/// [`DecodeFailure`] says why there are no rows.
pub fn decode(exchange: &RawExchange<'_>, naming: &Naming) -> Result<Decoded, DecodeFailure> {
    if !is_success(exchange.status) {
        return Err(DecodeFailure::ErrorStatus(exchange.status));
    }
    let request = decode_request(&exchange.request_side(), naming)?;
    let response = decode_response(&exchange.response_side(), exchange.status, naming);
    join(request, Some(response), naming)
}

/// Reads what a client sent, without its answer.
///
/// # Errors
///
/// [`DecodeFailure`] says why there are no columns.
pub fn decode_request(raw: &RawSide<'_>, naming: &Naming) -> Result<RequestSide, DecodeFailure> {
    if !raw.route.protocol.is_decoded() {
        return Err(DecodeFailure::UnsupportedFormat(raw.route.protocol.as_str()));
    }
    let document = document(Side::Request, raw)?;
    let (event_id, root) = unwrap_event(&document.root);
    let mut side = match raw.route.protocol {
        Protocol::OpenInference => open_inference::request(root, naming)?,
        Protocol::Configured if open_inference::has_tensors(root, "inputs") => {
            open_inference::request(root, naming)?
        }
        _ => kserve_v1::request(root, naming)?,
    };
    side.body_id = side.body_id.or(event_id);
    side.model_version = side.model_version.or_else(|| raw.route.version.clone());
    side.notes.nonfinite_tokens += document.nonfinite;
    Ok(side)
}

/// Reads what a model server answered, without its request.
///
/// # Errors
///
/// [`DecodeFailure::ErrorStatus`] when there was no prediction, else why there are no columns.
pub fn decode_response(
    raw: &RawSide<'_>,
    status: u16,
    _naming: &Naming,
) -> Result<ResponseSide, DecodeFailure> {
    if !is_success(status) {
        return Err(DecodeFailure::ErrorStatus(status));
    }
    if !raw.route.protocol.is_decoded() {
        return Err(DecodeFailure::UnsupportedFormat(raw.route.protocol.as_str()));
    }
    let document = document(Side::Response, raw)?;
    let (_, root) = unwrap_event(&document.root);
    let mut side = match raw.route.protocol {
        Protocol::OpenInference => open_inference::response(root)?,
        Protocol::Configured if open_inference::has_tensors(root, "outputs") => {
            open_inference::response(root)?
        }
        _ => kserve_v1::response(root)?,
    };
    side.notes.nonfinite_tokens += document.nonfinite;
    Ok(side)
}

fn is_success(status: u16) -> bool {
    (200..300).contains(&status)
}

fn document(side: Side, raw: &RawSide<'_>) -> Result<Document, DecodeFailure> {
    if raw.truncated {
        return Err(DecodeFailure::Truncated(side));
    }
    if raw.headers.get("content-encoding").is_some_and(|coding| !coding.eq_ignore_ascii_case("identity")) {
        return Err(DecodeFailure::UnsupportedEncoding(side));
    }
    if raw.headers.get("inference-header-content-length").is_some() {
        return Err(DecodeFailure::UnsupportedFormat("binary tensor data"));
    }
    json::parse(raw.body).map_err(|problem| match problem {
        JsonProblem::Syntax { offset } => DecodeFailure::NotJson { side, offset },
        JsonProblem::TooDeep => DecodeFailure::TooDeep(side),
        JsonProblem::TooLarge => DecodeFailure::TooLarge { what: "values", limit: MAX_CELLS },
    })
}

/// The id and the data of a structured `CloudEvent`, which `KServe` takes and gives in place of the plain body.
fn unwrap_event(root: &Node) -> (Option<String>, &Node) {
    match (root.get("specversion"), root.get("data")) {
        (Some(Node::Text(_)), Some(data)) => (root.get("id").and_then(Node::text).map(str::to_owned), data),
        _ => (None, root),
    }
}

#[cfg(test)]
mod captured;
#[cfg(test)]
mod side_tests;
#[cfg(test)]
mod tests;
