//! Bodies of HTTP/2 that are forwarded frame by frame while a bounded copy is made of them.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use prometheus::IntGauge;
use thiserror::Error;
use tokio::time::{Instant, Sleep};

use super::client::ClientConnection;
use super::copy::{BodyCopy, CopyState, Ending, SharedCopy};
use super::observe::Observing;
use super::upstream::Lease;

/// Why a body ended early.
#[derive(Debug, Error)]
pub(super) enum BodyError {
    /// The side that sent it broke off.
    #[error(transparent)]
    Broken(#[from] hyper::Error),
    /// The request took longer than `tap.request_timeout`.
    #[error("the request took longer than `tap.request_timeout`")]
    TimedOut,
}

/// The body of a request on its way to the model server.
#[derive(Debug)]
pub(super) struct RequestBody {
    inner: Incoming,
    copy: Option<SharedCopy>,
    /// The client stated a length, or the protocol has it in the framing.
    is_length_stated: bool,
}

impl RequestBody {
    /// Without a stated length HTTP/2 must not be told that an empty body has one: it would add a header.
    pub(super) fn new(inner: Incoming, copy: Option<SharedCopy>, is_length_stated: bool) -> Self {
        let body = Self { inner, copy, is_length_stated };
        body.note_end();
        body
    }

    fn note_end(&self) {
        if let Some(copy) = &self.copy
            && self.inner.is_end_stream()
        {
            copy.lock().complete();
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        if let Some(copy) = &self.copy {
            match &frame {
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        copy.lock().push_frame(data);
                    }
                    self.note_end();
                }
                Some(Err(_)) => copy.lock().give_up(CopyState::Broken),
                None => copy.lock().complete(),
            }
        }
        Poll::Ready(frame.map(|frame| Ok(frame?)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.is_length_stated { self.inner.size_hint() } else { SizeHint::default() }
    }
}

/// One more request in flight, until dropped.
#[derive(Debug)]
pub(super) struct InFlight {
    gauge: IntGauge,
    client: Arc<ClientConnection>,
}

impl InFlight {
    pub(super) fn new(gauge: &IntGauge, client: Arc<ClientConnection>) -> Self {
        gauge.inc();
        client.enter();
        Self { gauge: gauge.clone(), client }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.gauge.dec();
        self.client.exit();
    }
}

/// The body of an answer on its way to the client; tells its observation how it ended, also when dropped.
#[derive(Debug)]
pub(super) struct ResponseBody {
    inner: Option<Incoming>,
    observing: Option<(Box<Observing>, BodyCopy)>,
    lease: Option<Lease>,
    deadline: Option<Pin<Box<Sleep>>>,
    /// Told one turn late, so that what came before it is on its way to the client.
    broken: Option<hyper::Error>,
    _in_flight: InFlight,
}

impl ResponseBody {
    /// An answer without a body.
    pub(super) fn empty(in_flight: InFlight) -> Self {
        Self {
            inner: None,
            observing: None,
            lease: None,
            deadline: None,
            broken: None,
            _in_flight: in_flight,
        }
    }

    /// The body of the model server's answer; the connection is given back when it has ended.
    pub(super) fn new(inner: Incoming, lease: Option<Lease>, in_flight: InFlight) -> Self {
        let mut body = Self::empty(in_flight);
        body.inner = Some(inner);
        body.lease = lease;
        body
    }

    /// When the answer is broken off.
    pub(super) fn until(mut self, deadline: Option<Instant>) -> Self {
        self.deadline = deadline.map(|at| Box::pin(tokio::time::sleep_until(at)));
        self
    }

    /// Observes the body, which may have ended already.
    pub(super) fn observed(mut self, observing: Option<Box<Observing>>, copy: BodyCopy) -> Self {
        self.observing = observing.map(|observing| (observing, copy));
        if self.has_ended() {
            self.end(Ending::Whole);
        }
        self
    }

    fn has_ended(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn end(&mut self, ending: Ending) {
        if let Some((observing, mut copy)) = self.observing.take() {
            if ending == Ending::Whole {
                copy.complete();
            }
            observing.finish(ending, copy);
        }
        if let Some(lease) = self.lease.take()
            && ending == Ending::Whole
        {
            lease.give_back();
        }
    }

    fn note(&mut self, frame: &Frame<Bytes>) {
        if let Some((observing, copy)) = &mut self.observing {
            if let Some(data) = frame.data_ref() {
                copy.push_frame(data);
            } else if let Some(trailers) = frame.trailers_ref() {
                observing.trailers(trailers);
            }
        }
        // With a known length nobody asks again after the last frame.
        if self.has_ended() {
            self.end(Ending::Whole);
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(error) = self.broken.take() {
            return Poll::Ready(Some(Err(error.into())));
        }
        let Some(inner) = self.inner.as_mut() else { return Poll::Ready(None) };
        let Poll::Ready(frame) = Pin::new(inner).poll_frame(cx) else {
            if let Some(deadline) = &mut self.deadline {
                ready!(deadline.as_mut().poll(cx));
                self.deadline = None;
                self.end(Ending::TimedOut);
                return Poll::Ready(Some(Err(BodyError::TimedOut)));
            }
            return Poll::Pending;
        };
        match frame {
            Some(Ok(frame)) => {
                self.note(&frame);
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                self.end(Ending::UpstreamReset);
                self.broken = Some(error);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            None => {
                self.end(Ending::Whole);
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.broken.is_none() && self.has_ended()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or(SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        let ending = if self.has_ended() { Ending::Whole } else { Ending::ClientGone };
        self.end(ending);
    }
}
