//! What the proxy knows of one recognised prediction when its answer has ended: times, status, sizes.

/// One observation of a recognised prediction, for the counts of its model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Traffic {
    /// From sending the request to the head of the answer.
    pub upstream_seconds: f64,
    /// What driftline added.
    pub overhead_seconds: f64,
    /// The status that the client got; 499 when it went away before there was one.
    pub status: u16,
    /// The status of a gRPC call.
    pub grpc_status: Option<u16>,
    /// Length of the request's body.
    pub request_bytes: u64,
    /// Length of the answer's body.
    pub response_bytes: u64,
    /// Predictions under way when this one began, itself included.
    pub in_flight: u32,
}
