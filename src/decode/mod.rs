//! Payload bytes of one exchange into rows and columns: pure, bounded, and never a panic.
//!
//! Every wire format is a module of its own. A format that is recognised and not read yet, a body that was cut, an
//! answer that is an error: each is a [`DecodeFailure`] with a stable reason, so that nothing is lost unseen.

mod binary_tensors;
mod body;
mod classification;
mod columns;
mod datatype;
mod decimal;
mod delimited;
pub mod events;
mod examples;
mod format;
mod free;
mod generate;
pub mod grpc;
mod ids;
pub mod inflate;
mod json;
mod kserve_v1;
mod messages;
mod mlflow;
mod open_inference;
mod openai;
pub mod predictions;
pub mod protobuf;
mod route;
mod seldon;
mod side;
mod signature;
mod sniff;
mod sse;
mod table;
mod tensor;
mod turns;

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use self::columns::Names;
pub use self::format::{Columns, Format, Mapping, Pointer};
pub use self::ids::{Headers, MAX_ID_BYTES, exchange_id, other_ids};
pub use self::json::MAX_DEPTH;
use self::json::{Document, JsonProblem, Node};
pub use self::route::{Protocol, Recognised, Route};
pub use self::side::{Part, RequestSide, ResponseSide, Runs, join};
use crate::model::{Batch, NameList};

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
    pub features: NameList,
    /// How messages are to be read, where settings say so.
    pub format: Option<Arc<Format>>,
}

impl Naming {
    /// The same, sharing no name with any other: for a thread that decodes beside others.
    #[must_use]
    pub fn unshared(&self) -> Self {
        Self { features: self.features.unshared(), format: self.format.clone() }
    }

    /// The protocol of a message that came by `route`: what settings force goes before the path.
    fn protocol(&self, route: &Route) -> Protocol {
        let Some(format) = &self.format else { return route.protocol };
        if route.protocol.is_grpc() {
            return route.protocol;
        }
        let pointed = format.request.points() || format.response.points();
        format.protocol.or(pointed.then_some(Protocol::FreeJson)).unwrap_or(route.protocol)
    }

    /// How the columns of one side are called where the message does not say it.
    fn positional(&self, side: Side) -> Names<'_> {
        let configured = self.format.as_deref().map(|format| &format.mapping(side).names);
        match side {
            Side::Request if configured.is_none_or(NameList::is_empty) => {
                Names { given: Some(&self.features), prefix: "", alone: "[0]" }
            }
            Side::Request => Names { given: configured, prefix: "", alone: "[0]" },
            Side::Response => {
                let prediction = kserve_v1::PREDICTION;
                Names { given: configured, prefix: prediction, alone: prediction }
            }
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
    /// Tensors in shared memory, which nobody on the wire sees; they were left out.
    pub unobservable: u64,
    /// Binary tensors that have not as many bytes as their shape says, and messages with bytes of none.
    pub size_mismatch: u64,
    /// Raw requests whose numbers were taken as floats.
    pub assumed_datatype: u64,
    /// Answers of a stream that could not be told to belong to one of its requests; they were left out.
    pub unpaired: u64,
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
        self.unobservable += other.unobservable;
        self.size_mismatch += other.size_mismatch;
        self.assumed_datatype += other.assumed_datatype;
        self.unpaired += other.unpaired;
        self.response_undecoded = self.response_undecoded.or(other.response_undecoded);
    }

    /// Every oddity that occurred, with its count.
    pub fn each(&self) -> impl Iterator<Item = (&'static str, u64)> {
        [
            ("nonfinite_tokens", self.nonfinite_tokens),
            ("row_mismatch", self.row_mismatch),
            ("ragged_rows", self.ragged_rows),
            ("inputs_left_out", self.inputs_left_out),
            ("unobservable", self.unobservable),
            ("size_mismatch", self.size_mismatch),
            ("assumed_datatype", self.assumed_datatype),
            ("unpaired", self.unpaired),
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
    /// The body is compressed in a way that is not known.
    #[error("the {0} body is compressed, and not with gzip, deflate, br or zstd")]
    UnsupportedEncoding(Side),
    /// The compressed body cannot be inflated.
    #[error("the compressed {0} body is damaged")]
    Damaged(Side),
    /// More comes out of a compressed body than is decoded.
    #[error("the compressed {side} body inflates to more than {limit} bytes")]
    InflatesTooFar {
        /// Which message.
        side: Side,
        /// Bytes that are decoded.
        limit: usize,
    },
    /// The body is not in the form that its protocol has.
    #[error("the {side} body is not {format}")]
    Malformed {
        /// Which message.
        side: Side,
        /// What it should have been.
        format: &'static str,
    },
    /// The body is numbers and nothing else; their type and shape are known to the model server.
    #[error("the request is raw numbers, whose type and shape only the model server knows")]
    NeedsMetadata,
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
    /// The answer says that there was no prediction, though its status does not.
    #[error("the answer is an error under a status of success")]
    ErrorAnswer,
    /// There is not one row.
    #[error("there is not one row")]
    NoRows,
    /// The rows could be in several places.
    #[error("more than one array of the {0} could be its rows; `format.{0}.rows` says which")]
    Ambiguous(Side),
}

impl DecodeFailure {
    /// A short, stable word for the label of a metric.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Truncated(_) => "truncated",
            Self::UnsupportedEncoding(_) => "unsupported_encoding",
            Self::UnsupportedFormat(_) => "unsupported_format",
            Self::Damaged(_) => "damaged_compression",
            Self::InflatesTooFar { .. } => "inflates_too_far",
            Self::Malformed { .. } => "malformed",
            Self::NeedsMetadata => "needs_metadata",
            Self::ErrorAnswer => "error_answer",
            Self::NotJson { .. } => "not_json",
            Self::TooDeep(_) => "too_deep",
            Self::TooLarge { .. } => "too_large",
            Self::MissingField(_) => "missing_field",
            Self::ShapeMismatch(_) => "shape_mismatch",
            Self::ErrorStatus(_) => "error_status",
            Self::NoRows => "no_rows",
            Self::Ambiguous(_) => "ambiguous",
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
    let protocol = naming.protocol(raw.route);
    if !protocol.is_decoded() {
        return Err(DecodeFailure::UnsupportedFormat(protocol.as_str()));
    }
    let body = body::whole(Side::Request, raw)?;
    let raw = &RawSide { body: &body, ..*raw };
    let mut side = if protocol.is_grpc() {
        grpc::request(protocol, raw, naming)?
    } else if binary_tensors::is_raw_request(protocol, raw) {
        open_inference::raw_request(raw.body, naming)?
    } else {
        messages::request(protocol, raw, naming)?
    };
    side.model_version = side.model_version.or_else(|| raw.route.version.clone());
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
    naming: &Naming,
) -> Result<ResponseSide, DecodeFailure> {
    if !is_success(status) {
        return Err(DecodeFailure::ErrorStatus(status));
    }
    let protocol = naming.protocol(raw.route);
    if !protocol.is_decoded() {
        return Err(DecodeFailure::UnsupportedFormat(protocol.as_str()));
    }
    if protocol.is_grpc() {
        grpc::check_status(raw.headers)?;
    }
    let body = body::whole(Side::Response, raw)?;
    let raw = &RawSide { body: &body, ..*raw };
    if protocol.is_grpc() {
        grpc::response(protocol, raw, naming)
    } else if generate::is_stream(protocol, raw) {
        generate::response(protocol, raw, naming)
    } else {
        messages::response(protocol, raw, naming)
    }
}

fn is_success(status: u16) -> bool {
    (200..300).contains(&status)
}

/// Parses a body as JSON.
fn document(side: Side, body: &[u8]) -> Result<Document, DecodeFailure> {
    json::parse(body).map_err(|problem| match problem {
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
mod binary_tests;
#[cfg(test)]
mod captured;
#[cfg(test)]
mod captured_grpc;
#[cfg(test)]
mod free_tests;
#[cfg(test)]
mod message_tests;
#[cfg(test)]
mod side_tests;
#[cfg(test)]
mod stream_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod trap_tests;
