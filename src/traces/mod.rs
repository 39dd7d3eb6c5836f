//! Traces, off unless the settings name a collector: spans of predictions and of training runs, sent by OTLP over HTTP.

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::metrics::TraceMetrics;
use crate::stats::random::SplitMix64;

mod encode;
mod export;

pub use export::Exporter;

/// Spans that wait to be sent; past that they are dropped and counted.
const WAITING: usize = 4096;

/// Names a trace; not all zeros.
pub type TraceId = [u8; 16];

/// Names a span within its trace; not all zeros.
pub type SpanId = [u8; 8];

/// What a span is to others, as the protocol numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanKind {
    /// Work inside this process.
    Internal = 1,
    /// The answer to a request from elsewhere.
    Server = 2,
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq)]
pub enum Attribute {
    /// A text.
    Text(String),
    /// A whole number.
    Number(i64),
}

/// One piece of work.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// The trace.
    pub trace: TraceId,
    /// Its own name in the trace.
    pub id: SpanId,
    /// What it is part of; absent for the first span of a trace.
    pub parent: Option<SpanId>,
    /// What was done.
    pub name: &'static str,
    /// What it is to others.
    pub kind: SpanKind,
    /// When it began.
    pub start: DateTime<Utc>,
    /// When it ended.
    pub end: DateTime<Utc>,
    /// What is known of it.
    pub attributes: Vec<(&'static str, Attribute)>,
    /// Why it failed, if it did.
    pub error: Option<String>,
}

/// The header `traceparent` of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace.
    pub trace: TraceId,
    /// The span that the request was sent in.
    pub parent: SpanId,
    /// Whether who sent it wants the trace kept.
    pub is_sampled: bool,
}

impl TraceParent {
    /// Reads a header of the W3C's Trace Context; `None` for what a recipient has to ignore.
    pub fn parse(header: &str) -> Option<Self> {
        let mut parts = header.trim().split('-');
        let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        // Later versions may add parts; the first one has none.
        let [version_number] = bytes_of(version)?;
        if version_number == 0xff || (version_number == 0 && parts.next().is_some()) {
            return None;
        }
        let (trace, parent, [flags]) = (bytes_of(trace)?, bytes_of(parent)?, bytes_of(flags)?);
        let is_named = trace != [0; 16] && parent != [0; 8];
        is_named.then_some(Self { trace, parent, is_sampled: flags & 1 == 1 })
    }
}

/// The bytes of lower-case hexadecimal digits; `None` when there are more or fewer than asked for.
fn bytes_of<const N: usize>(digits: &str) -> Option<[u8; N]> {
    let is_hex = |digit: u8| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit);
    if digits.len() != 2 * N || !digits.bytes().all(is_hex) {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, at) in bytes.iter_mut().zip(0..) {
        *byte = u8::from_str_radix(digits.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(bytes)
}

/// A new name for a span.
pub fn new_span_id() -> SpanId {
    // The second half of such an id is random, but for two bits that are never both 0.
    second_half(Uuid::now_v7().into_bytes())
}

/// The second half of a trace's name, which generators make random.
pub(crate) fn second_half(trace: TraceId) -> SpanId {
    let mut half = [0; 8];
    half.copy_from_slice(&trace[8..]);
    half
}

/// The name of a span that every process gives the same: two that tell of one run tell of one span.
pub fn span_id_of(trace: TraceId, name: &str) -> SpanId {
    let digest = Sha256::new().chain_update(trace).chain_update(name).finalize();
    let mut id = [0; 8];
    id.copy_from_slice(&digest[..8]);
    id
}

/// Takes spans; cheap to clone, never waits, and does nothing where traces are off.
#[derive(Debug, Clone)]
pub struct Tracer {
    spans: Option<mpsc::Sender<Span>>,
    sample: f64,
    metrics: TraceMetrics,
    now: fn() -> DateTime<Utc>,
}

impl Tracer {
    /// A tracer that drops everything.
    pub fn off(metrics: TraceMetrics, now: fn() -> DateTime<Utc>) -> Self {
        Self { spans: None, sample: 0.0, metrics, now }
    }

    /// A tracer, and where its spans come out.
    pub fn new(
        sample: f64,
        metrics: TraceMetrics,
        now: fn() -> DateTime<Utc>,
    ) -> (Self, mpsc::Receiver<Span>) {
        let (spans, out) = mpsc::channel(WAITING);
        (Self { spans: Some(spans), sample, metrics, now }, out)
    }

    /// Whether there are traces at all.
    pub fn is_on(&self) -> bool {
        self.spans.is_some()
    }

    /// The present, for the ends of spans.
    pub fn now(&self) -> DateTime<Utc> {
        (self.now)()
    }

    /// The context of a request whose trace is kept.
    pub fn wanted(&self, traceparent: Option<&str>) -> Option<TraceParent> {
        self.spans.as_ref()?;
        let context = TraceParent::parse(traceparent?)?;
        (context.is_sampled && place(context.trace) < self.sample).then_some(context)
    }

    /// Takes a span, unless too many wait.
    pub fn tell(&self, span: Span) {
        let Some(spans) = &self.spans else { return };
        if spans.try_send(span).is_err() {
            self.metrics.spans.with_label_values(&["dropped"]).inc();
        }
    }
}

/// A number in `[0, 1)` that is as good as drawn, whatever bits of an id its generator fixes or counts up (version 7
/// does both).
fn place(trace: TraceId) -> f64 {
    let mut first = [0; 8];
    first.copy_from_slice(&trace[..8]);
    let mixed =
        SplitMix64::new(u64::from_be_bytes(first) ^ u64::from_be_bytes(second_half(trace))).next_u64();
    // 53 bits are as many as a float holds.
    (mixed >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    const HEADER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_header_is_read_as_the_w3c_says() {
        let read = TraceParent::parse(HEADER).unwrap();
        assert_eq!((read.trace[0], read.trace[15], read.parent[0], read.parent[7]), (0x4b, 0x36, 0x00, 0xb7));
        assert!(read.is_sampled);
        assert!(!TraceParent::parse(&HEADER.replace("-01", "-00")).unwrap().is_sampled);
        for (header, is_read) in [
            ("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-comes-later", true),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more", false),
            ("ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", false),
            ("00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", false),
            ("00-00000000000000000000000000000000-00f067aa0ba902b7-01", false),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", false),
            ("00-4bf92f35-00f067aa0ba902b7-01", false),
            ("", false),
        ] {
            assert_eq!(TraceParent::parse(header).is_some(), is_read, "{header}");
        }
    }

    #[test]
    fn the_share_is_kept_of_ids_of_version_7_too() {
        let metrics = Metrics::new().unwrap();
        let (tracer, _out) = Tracer::new(0.1, metrics.traces.clone(), || DateTime::UNIX_EPOCH);
        let wanted = (0..10_000)
            .filter(|_| {
                let header = format!("00-{}-00f067aa0ba902b7-01", Uuid::now_v7().simple());
                tracer.wanted(Some(&header)).is_some()
            })
            .count();
        assert!((850..1150).contains(&wanted), "{wanted} of 10000");
        assert_eq!(tracer.wanted(Some(&HEADER.replace("-01", "-00"))), None);
        assert_eq!(tracer.wanted(None), None);
    }

    #[test]
    fn what_finds_no_room_is_counted() {
        let metrics = Metrics::new().unwrap();
        let (tracer, out) = Tracer::new(1.0, metrics.traces.clone(), || DateTime::UNIX_EPOCH);
        let span = Span {
            trace: [1; 16],
            id: [2; 8],
            parent: None,
            name: "x",
            kind: SpanKind::Internal,
            start: DateTime::UNIX_EPOCH,
            end: DateTime::UNIX_EPOCH,
            attributes: Vec::new(),
            error: None,
        };
        for _ in 0..WAITING + 3 {
            tracer.tell(span.clone());
        }
        assert_eq!(metrics.traces.spans.with_label_values(&["dropped"]).get(), 3);
        assert_eq!(out.len(), WAITING);
    }
}
