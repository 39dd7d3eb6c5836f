//! What a client is told when there is no answer of the model server.

use http::StatusCode;

/// The header of answers that the proxy makes itself: why there is none of the model server.
pub(super) const ERROR_HEADER: &str = "x-driftline-error";
/// The content type of gRPC.
pub(super) const GRPC_KIND: &str = "application/grpc";
/// The status of gRPC when there is no model server.
const UNAVAILABLE: u16 = 14;
/// The status of gRPC when there was no answer in time.
const DEADLINE_EXCEEDED: u16 = 4;

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Absent {
    /// `CONNECT` asks for a tunnel to anywhere; a model server has no use for it.
    Connect,
    /// The request has no path that could be asked for.
    Unforwardable,
    /// The model server was not reached.
    Unreachable,
    /// The model server broke off, or what it says is no answer.
    Reset,
    /// There was no answer within `tap.request_timeout`.
    TimedOut,
}

impl Absent {
    /// The reason under which the exchange counts as dropped.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Unforwardable => "unforwardable",
            Self::Unreachable => "upstream_unreachable",
            Self::Reset => "upstream_reset",
            Self::TimedOut => "upstream_timeout",
        }
    }

    /// The status that says it.
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::Connect => StatusCode::METHOD_NOT_ALLOWED,
            Self::Unforwardable => StatusCode::BAD_REQUEST,
            Self::Unreachable | Self::Reset => StatusCode::BAD_GATEWAY,
            Self::TimedOut => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// The status in HTTP, and that of gRPC, which has its own in the headers of an otherwise successful answer.
    pub(super) fn shown(self, is_grpc: bool) -> (u16, Option<u16>) {
        match self {
            _ if !is_grpc => (self.status().as_u16(), None),
            Self::TimedOut => (StatusCode::OK.as_u16(), Some(DEADLINE_EXCEEDED)),
            _ => (StatusCode::OK.as_u16(), Some(UNAVAILABLE)),
        }
    }
}
