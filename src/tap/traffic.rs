//! What one exchange took: time, bytes and status, apart from what was predicted.

/// The status of an exchange whose client left before there was one.
pub(super) const CLIENT_GONE: u16 = 499;

/// What one exchange took.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Traffic {
    /// From sending the request to the head of its answer, or to the end of waiting when there was none.
    pub upstream_seconds: f64,
    /// From sending the request to the end of its answer, or of waiting for it.
    pub answer_seconds: f64,
    /// What driftline added before and after that.
    pub overhead_seconds: f64,
    /// Status that the client got; 499 when it left before there was one, 502 when its request was reset.
    pub status: u16,
    /// Status of a gRPC answer, from its trailers or its head.
    pub grpc_status: Option<u16>,
    /// Bytes of the request's body as they passed: what is compressed counts compressed.
    pub request_bytes: u64,
    /// The same of the answer's body.
    pub response_bytes: u64,
    /// Exchanges of the model that were under way when this one began, itself included.
    pub in_flight: u32,
}
