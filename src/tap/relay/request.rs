//! The beginning of an exchange: where a request goes, what is noted of it, and what is sent of its head.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::StatusCode;

use super::answer::Speech;
use super::direction::Direction;
use super::head::{Refusal, add, read_request, with_slots};
use crate::tap::absent::GRPC_KIND;
use crate::tap::fields::Fields;
use crate::tap::observe::Observing;
use crate::tap::proxy::Shared;
use crate::tap::recognise::{Asked, Noted, REQUEST_ID, TRACEPARENT};
use crate::tap::upstream::Upstream;

/// A request whose head is here.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) started: Instant,
    pub(super) speech: Speech,
    pub(super) is_connect: bool,
    /// The client asks to change the protocol.
    pub(super) upgrade: bool,
    /// The client leaves its connection open.
    pub(super) keep: bool,
    pub(super) upstream: Arc<Upstream>,
    pub(super) observing: Option<Box<Observing>>,
    /// The request id to repeat in the answer.
    pub(super) answer_id: Option<String>,
}

/// Takes the head of a request out of what the client sent, if it is whole, and as much of its body as is there.
///
/// # Errors
///
/// Why the request is refused; the connection cannot go on then.
pub(super) fn begin(shared: &Shared, up: &mut Direction) -> Result<Option<Begun>, Refusal> {
    let limit = shared.tap().header_bytes.0;
    let started = Instant::now();
    let mut out = std::mem::take(up.new_head());
    let parsed = with_slots(shared.tap(), |slots| {
        let Some(head) = read_request(up.buffer.bytes(), slots)? else { return Ok(None) };
        if head.lines.length > limit {
            return Err(Refusal::TooLarge);
        }
        let facts = head.lines.facts;
        let (path, host) = head.path_and_host();
        let host = || host.or_else(|| head.lines.text("host")).unwrap_or_default();
        let (upstream, route_model) = shared.routes.find(path, host);
        let asked = Asked { method: head.method, path, fields: &head.lines };
        let Noted { observing, traceparent, request_id } = shared.note(&asked, route_model);
        let kind = head.lines.field("content-type");
        let begun = Begun {
            started,
            speech: Speech {
                is_http10: head.is_http10,
                is_head: head.method == "HEAD",
                is_grpc: kind.is_some_and(|kind| kind.starts_with(GRPC_KIND.as_bytes())),
            },
            is_connect: head.method == "CONNECT",
            upgrade: facts.upgrade && !head.is_http10,
            keep: if head.is_http10 { facts.keep_alive } else { !facts.close },
            upstream: Arc::clone(upstream),
            observing,
            answer_id: request_id,
        };
        head.lines.pass(&mut out, begun.upgrade);
        for (name, value) in [(TRACEPARENT, &traceparent), (REQUEST_ID, &begun.answer_id)] {
            if let Some(value) = value {
                add(&mut out, name, value);
            }
        }
        out.extend_from_slice(b"\r\n");
        Ok(Some((begun, head.lines.length, head.framing())))
    })?;
    let Some((mut begun, length, framing)) = parsed else {
        up.head = out;
        up.head.clear();
        return Ok(None);
    };
    up.buffer.consume(length);
    (up.head, up.framing) = (out, framing);
    if let Err(refusal) = frame(up, begun.observing.as_deref()) {
        begun.refused();
        return Err(refusal);
    }
    Ok(Some(begun))
}

impl Begun {
    /// The body of the request is none, and the client is told so.
    pub(super) fn refused(&mut self) {
        if let Some(observing) = self.observing.take() {
            let status = StatusCode::BAD_REQUEST.as_u16();
            observing.unanswered(
                (status, None),
                "request_incomplete",
                Duration::ZERO,
                self.started.elapsed(),
            );
        }
    }
}

/// Takes the request's body on, as far as it is there.
///
/// # Errors
///
/// When it is in chunks that are none.
pub(super) fn frame(up: &mut Direction, observing: Option<&Observing>) -> Result<(), Refusal> {
    let passed = |data: &[u8]| {
        if let Some(observing) = observing {
            observing.request_passed(data);
        }
    };
    up.frame(passed).map_err(|_| Refusal::Malformed)?;
    if let Some(observing) = observing
        && up.framing.is_done()
    {
        observing.request_complete();
    }
    Ok(())
}
