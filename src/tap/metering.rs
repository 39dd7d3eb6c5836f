//! Gathers what is to be known of one prediction's traffic while it passes, and counts it when it ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::HeaderMap;

use super::ledger::Meter;
use super::traffic::Traffic;
use crate::traffic::CLIENT_GONE;

/// Bytes of a request's body that went to the model server.
pub(super) type PassedBytes = Arc<AtomicU64>;

/// The traffic of one prediction under way; counted when it is dropped, which is when the answer has ended.
#[derive(Debug)]
pub(super) struct Metering {
    meter: Meter,
    sent: Instant,
    request_bytes: PassedBytes,
    answered: bool,
    traffic: Traffic,
}

impl Metering {
    /// Begins with a request that nobody has answered.
    pub(super) fn new(meter: Meter, in_flight: i64) -> Self {
        let traffic = Traffic {
            upstream_seconds: 0.0,
            overhead_seconds: 0.0,
            status: CLIENT_GONE,
            grpc_status: None,
            request_bytes: 0,
            response_bytes: 0,
            in_flight: u32::try_from(in_flight).unwrap_or(0),
        };
        Self { meter, sent: Instant::now(), request_bytes: PassedBytes::default(), answered: false, traffic }
    }

    /// Where the request's body counts itself.
    pub(super) fn request_bytes(&self) -> PassedBytes {
        Arc::clone(&self.request_bytes)
    }

    /// The request goes to the model server.
    pub(super) fn sent(&mut self, at: Instant, overhead: Duration) {
        self.sent = at;
        self.traffic.overhead_seconds = overhead.as_secs_f64();
    }

    /// The head of the answer is there, or what stands in for it.
    pub(super) fn answered(
        &mut self,
        status: u16,
        grpc_status: Option<u16>,
        upstream: Duration,
        overhead: Duration,
    ) {
        self.answered = true;
        self.traffic.status = status;
        self.traffic.grpc_status = grpc_status;
        self.traffic.upstream_seconds = upstream.as_secs_f64();
        self.traffic.overhead_seconds = overhead.as_secs_f64();
    }

    /// A piece of the answer's body passes.
    pub(super) fn passed(&mut self, bytes: usize) {
        self.traffic.response_bytes = self.traffic.response_bytes.saturating_add(bytes as u64);
    }

    /// The trailers of the answer pass.
    pub(super) fn trailers(&mut self, trailers: &HeaderMap) {
        self.traffic.grpc_status = grpc_status(trailers).or(self.traffic.grpc_status);
    }
}

impl Drop for Metering {
    fn drop(&mut self) {
        if !self.answered {
            self.traffic.upstream_seconds = self.sent.elapsed().as_secs_f64();
        }
        self.traffic.request_bytes = self.request_bytes.load(Ordering::Relaxed);
        self.meter.traffic(&self.traffic);
    }
}

/// The status of a gRPC call, from the headers or trailers of its answer.
pub(super) fn grpc_status(headers: &HeaderMap) -> Option<u16> {
    headers.get("grpc-status")?.to_str().ok()?.trim().parse().ok()
}
