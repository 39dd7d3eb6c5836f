//! One request and its answer, both on their way at once.

use std::task::{Context, Poll};
use std::time::Instant;

use tokio_util::sync::CancellationToken;

use super::answer::connection;
use super::direction::Direction;
use super::framing::Framing;
use super::head::{add, may_be_whole, read_response, with_slots};
use super::request::{Begun, frame};
use super::stream::Stream;
use super::timer::Timer;
use crate::tap::absent::Absent;
use crate::tap::copy::{BodyCopy, Ending};
use crate::tap::fields::Fields;
use crate::tap::proxy::{Shared, Times};
use crate::tap::recognise::REQUEST_ID;

/// Headers after a body that are looked at.
const MAX_TRAILERS: usize = 32;

/// What became of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The answer has passed whole.
    Answered {
        /// The client may send another request.
        keep: bool,
        /// The model server may get another request.
        reuse: bool,
    },
    /// Both sides go on in another protocol.
    Switched,
    /// The model server did not take a byte of the request.
    Unsent,
    /// There is no answer.
    Absent(Absent),
    /// The body of the request is malformed, and nothing was answered.
    Refused,
    /// One side broke off; whatever there was to tell is told.
    Broken,
}

/// An exchange under way.
#[derive(Debug)]
pub(super) struct Exchange<'c> {
    pub(super) shared: &'c Shared,
    pub(super) shutdown: &'c CancellationToken,
    pub(super) client: &'c mut Stream,
    pub(super) upstream: &'c mut Stream,
    pub(super) up: &'c mut Direction,
    pub(super) down: &'c mut Direction,
    pub(super) timer: &'c mut Timer,
    pub(super) begun: &'c mut Begun,
    pub(super) sent: Instant,
    pub(super) progress: Progress,
}

/// How far an exchange has come.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, in any combination")]
pub(super) struct Progress {
    /// The head of the answer is here.
    has_answer: bool,
    /// Bytes of a head that is not whole.
    searched: usize,
    copy: Option<BodyCopy>,
    /// The model server takes no more of the request; it may still answer.
    is_deaf: bool,
    /// What comes next of the answer is no part of it.
    is_malformed: bool,
    switching: bool,
    keep: bool,
    reuse: bool,
}

impl Exchange<'_> {
    /// Goes on as far as both sides let it.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        let mut outcome = self.poll_request(cx);
        if outcome.is_none() {
            outcome = self.poll_answer(cx);
        }
        if outcome.is_none() && self.timer.poll_due(cx).is_ready() {
            outcome = Some(self.end(Absent::TimedOut, Ending::TimedOut));
        }
        outcome.map_or(Poll::Pending, Poll::Ready)
    }

    fn poll_request(&mut self, cx: &mut Context<'_>) -> Option<Outcome> {
        while !self.progress.is_deaf {
            match self.up.poll_pass(cx, self.upstream) {
                Poll::Pending => return None,
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) if !self.up.has_begun => return Some(Outcome::Unsent),
                // It may have answered before it closed.
                Poll::Ready(Err(_)) => {
                    self.progress.is_deaf = true;
                    break;
                }
            }
            if self.up.framing.is_done() {
                break;
            }
            if self.up.buffer.is_empty() {
                match self.up.buffer.poll_fill(cx, self.client) {
                    Poll::Pending => return None,
                    Poll::Ready(Ok(1..)) => {}
                    Poll::Ready(_) => return Some(self.client_left()),
                }
            }
            if frame(self.up, self.begun.observing.as_deref()).is_err() {
                return Some(if self.progress.has_answer { self.client_left() } else { Outcome::Refused });
            }
        }
        // Nothing is expected of the client now but that it waits; what it sends is its next request.
        if self.up.framing.is_done()
            && self.up.buffer.is_empty()
            && matches!(self.up.buffer.poll_fill(cx, self.client), Poll::Ready(Ok(0) | Err(_)))
        {
            return Some(self.client_left());
        }
        None
    }

    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Option<Outcome> {
        loop {
            match self.down.poll_pass(cx, self.client) {
                Poll::Pending => return None,
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Some(self.client_left()),
            }
            if self.progress.is_malformed {
                return Some(self.end(Absent::Reset, Ending::UpstreamReset));
            }
            if self.progress.has_answer {
                if self.down.framing.is_done() {
                    return Some(self.whole());
                }
            } else {
                match self.read_head() {
                    Ok(true) => continue,
                    Ok(false) => {}
                    Err(absent) => return Some(Outcome::Absent(absent)),
                }
            }
            match self.down.buffer.poll_fill(cx, self.upstream) {
                Poll::Pending => return None,
                Poll::Ready(Ok(1..)) => {}
                Poll::Ready(Ok(0))
                    if self.progress.has_answer && matches!(self.down.framing, Framing::UntilClose) =>
                {
                    self.down.framing = Framing::Length(0);
                    continue;
                }
                Poll::Ready(ended) => {
                    tracing::debug!(error = ?ended.err(), "a model server broke off");
                    return Some(self.end(Absent::Reset, Ending::UpstreamReset));
                }
            }
            if self.progress.has_answer {
                self.frame_answer();
            }
        }
    }

    /// Reads one head of an answer; false when it is not whole.
    fn read_head(&mut self) -> Result<bool, Absent> {
        let Self { shared, shutdown, begun, down, progress, sent, .. } = &mut *self;
        let Begun { started, speech, upgrade, keep, observing, answer_id, .. } = &mut **begun;
        down.new_head();
        let bytes = down.buffer.bytes();
        let (searched, limit) = (progress.searched, shared.tap().header_bytes.0);
        progress.searched = bytes.len();
        let unread = || if bytes.len() < limit { Ok(false) } else { Err(Absent::Reset) };
        if bytes.len() == searched || !may_be_whole(bytes, searched) {
            return unread();
        }
        let out = &mut down.head;
        let read = with_slots(shared.tap(), |slots| {
            let Some(head) = read_response(bytes, slots).map_err(|_| Absent::Reset)? else {
                return Ok(None);
            };
            if head.lines.length > limit {
                return Err(Absent::Reset);
            }
            let switching = head.status == 101;
            if head.status < 200 && !switching {
                // Clients of HTTP/1.0 know of no interim answers.
                if !speech.is_http10 {
                    head.lines.pass(out, false);
                    out.extend_from_slice(b"\r\n");
                }
                return Ok(Some((head.lines.length, None)));
            }
            if switching && !*upgrade {
                return Err(Absent::Reset);
            }
            let times = Times { started: *started, sent: *sent, answered: Instant::now() };
            shared.count(head.status);
            if let Some(observing) = observing {
                observing.answered(head.status, &head.lines, times.upstream(), times.overhead());
                progress.copy = Some(shared.answer_copy(Some(observing)));
            }
            let facts = head.lines.facts;
            let framing = head.framing(speech.is_head);
            let ends = matches!(framing, Framing::UntilClose);
            let is_kept = if speech.is_http10 { facts.length.is_some() } else { !head.is_http10 };
            progress.switching = switching;
            progress.reuse = !(speech.is_http10 || head.is_http10 || facts.close || ends);
            progress.keep = *keep && is_kept && !ends && !shutdown.is_cancelled();
            head.lines.pass(out, switching);
            if let Some(id) = answer_id
                && head.lines.field(REQUEST_ID).is_none()
            {
                add(out, REQUEST_ID, id);
            }
            let connection = connection(speech.is_http10, progress.keep);
            if !switching && !connection.is_empty() {
                add(out, "connection", connection);
            }
            out.extend_from_slice(b"\r\n");
            Ok(Some((head.lines.length, Some(framing))))
        });
        let Some((length, framing)) = read? else { return unread() };
        self.down.buffer.consume(length);
        self.progress.searched = 0;
        if let Some(framing) = framing {
            self.down.framing = framing;
            self.progress.has_answer = true;
            self.frame_answer();
        }
        Ok(true)
    }

    /// Takes the answer's body on, as far as it is there.
    fn frame_answer(&mut self) {
        let copy = &mut self.progress.copy;
        let passed = |data: &[u8]| {
            if let Some(copy) = copy {
                copy.push(data);
            }
        };
        self.progress.is_malformed = self.down.frame(passed).is_err();
    }

    /// The answer has passed to its end.
    fn whole(&mut self) -> Outcome {
        if let Some(mut observing) = self.begun.observing.take() {
            let trailers = self.down.framing.trailers();
            if !trailers.is_empty() {
                let lines = [trailers, b"\r\n"].concat();
                let mut slots = [httparse::EMPTY_HEADER; MAX_TRAILERS];
                if let Ok(httparse::Status::Complete((_, found))) =
                    httparse::parse_headers(&lines, &mut slots)
                {
                    observing.trailers(found);
                }
            }
            if let Some(mut copy) = self.progress.copy.take() {
                copy.complete();
                observing.finish(Ending::Whole, copy);
            }
        }
        if self.progress.switching {
            return Outcome::Switched;
        }
        let is_complete = self.up.is_done();
        Outcome::Answered {
            keep: self.progress.keep && is_complete,
            reuse: self.progress.reuse && is_complete && self.down.buffer.is_empty(),
        }
    }

    /// The exchange ends before its answer has; without an answer the client is told why.
    fn end(&mut self, absent: Absent, ending: Ending) -> Outcome {
        if !self.progress.has_answer {
            return Outcome::Absent(absent);
        }
        if let (Some(observing), Some(copy)) = (self.begun.observing.take(), self.progress.copy.take()) {
            observing.finish(ending, copy);
        }
        Outcome::Broken
    }

    fn client_left(&mut self) -> Outcome {
        if self.progress.has_answer {
            return self.end(Absent::Reset, Ending::ClientGone);
        }
        // Settles it as what it is.
        drop(self.begun.observing.take());
        Outcome::Broken
    }
}
