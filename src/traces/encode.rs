//! Spans as bytes of `opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest`.
//!
//! The numbers of fields are those of opentelemetry-proto 1; a test of the repository reads the bytes with the protocol's own
//! messages.

use chrono::{DateTime, Utc};

use super::{Attribute, Span};

/// The code of a status that failed.
const STATUS_ERROR: u64 = 2;

/// One request with these spans, all of this service.
pub(super) fn request(spans: &[Span]) -> Vec<u8> {
    let mut scope_spans = Vec::new();
    message(&mut scope_spans, 1, |scope| {
        text(scope, 1, env!("CARGO_PKG_NAME"));
        text(scope, 2, env!("CARGO_PKG_VERSION"));
    });
    for one in spans {
        message(&mut scope_spans, 2, |out| span(out, one));
    }
    let mut request = Vec::new();
    message(&mut request, 1, |resource_spans| {
        message(resource_spans, 1, |resource| {
            attribute(resource, 1, "service.name", &Attribute::Text("driftline".to_owned()));
            let version = Attribute::Text(env!("CARGO_PKG_VERSION").to_owned());
            attribute(resource, 1, "service.version", &version);
        });
        bytes(resource_spans, 2, &scope_spans);
    });
    request
}

fn span(out: &mut Vec<u8>, span: &Span) {
    bytes(out, 1, &span.trace);
    bytes(out, 2, &span.id);
    if let Some(parent) = &span.parent {
        bytes(out, 4, parent);
    }
    text(out, 5, span.name);
    number(out, 6, span.kind as u64);
    fixed(out, 7, nanoseconds(span.start));
    fixed(out, 8, nanoseconds(span.end.max(span.start)));
    for (key, value) in &span.attributes {
        attribute(out, 9, key, value);
    }
    if let Some(error) = &span.error {
        message(out, 15, |status| {
            text(status, 2, error);
            number(status, 3, STATUS_ERROR);
        });
    }
}

fn nanoseconds(at: DateTime<Utc>) -> u64 {
    at.timestamp_nanos_opt().and_then(|nanoseconds| u64::try_from(nanoseconds).ok()).unwrap_or(0)
}

fn attribute(out: &mut Vec<u8>, field: u64, key: &str, value: &Attribute) {
    message(out, field, |pair| {
        text(pair, 1, key);
        message(pair, 2, |any| match value {
            Attribute::Text(value) => text(any, 1, value),
            // Two's complement, as the protocol has it.
            Attribute::Number(value) => number(any, 3, value.cast_unsigned()),
        });
    });
}

fn message(out: &mut Vec<u8>, field: u64, fill: impl FnOnce(&mut Vec<u8>)) {
    let mut inner = Vec::new();
    fill(&mut inner);
    bytes(out, field, &inner);
}

fn text(out: &mut Vec<u8>, field: u64, value: &str) {
    bytes(out, field, value.as_bytes());
}

fn bytes(out: &mut Vec<u8>, field: u64, value: &[u8]) {
    varint(out, field << 3 | 2);
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

fn number(out: &mut Vec<u8>, field: u64, value: u64) {
    varint(out, field << 3);
    varint(out, value);
}

fn fixed(out: &mut Vec<u8>, field: u64, value: u64) {
    varint(out, field << 3 | 1);
    out.extend_from_slice(&value.to_le_bytes());
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        let [low, ..] = value.to_le_bytes();
        out.push(low | 0x80);
        value >>= 7;
    }
    let [low, ..] = value.to_le_bytes();
    out.push(low);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_as_the_protocol_writes_them() {
        for (value, expected) in [(0, vec![0]), (127, vec![127]), (300, vec![0xac, 0x02])] {
            let mut out = Vec::new();
            varint(&mut out, value);
            assert_eq!(out, expected);
        }
        let mut out = Vec::new();
        varint(&mut out, (-1_i64).cast_unsigned());
        assert_eq!(out, [[0xff; 9].as_slice(), &[0x01]].concat());
    }
}
