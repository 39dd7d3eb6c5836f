//! Settings of the tap in front of the model server.

use std::time::Duration;

use serde::Deserialize;

use super::{ByteSize, Share, Span};

/// The tap.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tap {
    /// The model server, `http://host:port`; absent: no proxy, predictions come through the API.
    pub upstream: Option<String>,
    /// Share of predictions kept, in `(0, 1]`; chosen by hash of the id, so that labels agree.
    pub sample: Share,
    /// Bytes of copied bodies held at once; what does not fit is dropped and counted.
    pub queue_bytes: ByteSize,
    /// Longest copied body; longer ones pass untouched, their copy is cut and counted.
    pub body_limit: ByteSize,
    /// Limit for reaching the upstream; there is no limit on its answer.
    pub connect_timeout: Span,
    /// Request header with the event time (RFC 3339), for replays and batch scoring; off when absent.
    pub event_time_header: Option<String>,
}

impl Default for Tap {
    fn default() -> Self {
        Self {
            upstream: None,
            sample: Share::ALL,
            queue_bytes: ByteSize(64 << 20),
            body_limit: ByteSize(8 << 20),
            connect_timeout: Span(Duration::from_secs(5)),
            event_time_header: None,
        }
    }
}
