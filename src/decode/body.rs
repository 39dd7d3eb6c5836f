//! The bytes of a message as they were before the wire: whole and inflated.

use std::borrow::Cow;

use super::inflate::{InflateProblem, inflate};
use super::{DecodeFailure, Headers, Protocol, RawSide, Side};

/// Bytes that a compressed body may inflate to; more than this carries more values than are decoded.
pub(super) const MAX_INFLATED: usize = 32 << 20;

/// The body of a message; only a copy that is whole can be read.
pub(super) fn whole<'b>(side: Side, raw: &RawSide<'b>) -> Result<Cow<'b, [u8]>, DecodeFailure> {
    if raw.truncated {
        return Err(DecodeFailure::Truncated(side));
    }
    inflate(raw.body, raw.headers.get("content-encoding"), MAX_INFLATED)
        .map_err(|problem| failure(side, problem))
}

/// What a body that cannot be inflated means for its exchange.
pub(super) fn failure(side: Side, problem: InflateProblem) -> DecodeFailure {
    match problem {
        InflateProblem::UnknownCoding => DecodeFailure::UnsupportedEncoding(side),
        InflateProblem::Damaged => DecodeFailure::Damaged(side),
        InflateProblem::TooLarge { limit } => DecodeFailure::InflatesTooFar { side, limit },
    }
}

/// Whether an Open Inference request has no document, only the numbers of its one input.
pub(super) fn is_raw_tensor(protocol: Protocol, headers: &Headers) -> bool {
    headers.get("inference-header-content-length") == Some("0")
        && matches!(protocol, Protocol::OpenInference | Protocol::Configured)
}
