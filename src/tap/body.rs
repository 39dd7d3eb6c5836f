//! Bodies that are forwarded frame by frame while a bounded copy is made of them.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use parking_lot::Mutex;
use prometheus::IntGauge;

use super::metering::{Metering, PassedBytes};
use super::proxy::Observation;
use super::queue::Reservation;

/// Frames shorter than this are copied: a reference would hold the whole read buffer that they are a part of.
const COPIED_BYTES: usize = 16 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CopyState {
    /// More may come.
    Open,
    /// The whole body is here.
    Complete,
    /// The body is longer than its limit; what was copied is gone.
    Truncated,
    /// The queue had no room; what was copied is gone.
    NoRoom,
    /// The client broke off; what was copied is gone.
    Broken,
}

/// The bounded copy of one body.
#[derive(Debug)]
pub(super) struct BodyCopy {
    pieces: Vec<Bytes>,
    bytes: usize,
    limit: usize,
    reservation: Reservation,
    state: CopyState,
}

impl BodyCopy {
    pub(super) fn new(reservation: Reservation, limit: usize) -> Self {
        Self { pieces: Vec::new(), bytes: 0, limit, reservation, state: CopyState::Open }
    }

    fn push(&mut self, data: &Bytes) {
        if self.state != CopyState::Open || data.is_empty() {
            return;
        }
        self.bytes += data.len();
        if self.bytes > self.limit {
            self.give_up(CopyState::Truncated);
        } else if !self.reservation.grow(data.len() + size_of::<Bytes>()) {
            self.give_up(CopyState::NoRoom);
        } else if data.len() < COPIED_BYTES {
            self.pieces.push(Bytes::copy_from_slice(data));
        } else {
            self.pieces.push(data.clone());
        }
    }

    fn complete(&mut self) {
        if self.state == CopyState::Open {
            self.state = CopyState::Complete;
        }
    }

    /// Lets go of what was copied, and copies nothing more.
    pub(super) fn give_up(&mut self, state: CopyState) {
        self.state = state;
        self.pieces = Vec::new();
        self.reservation.clear();
    }

    pub(super) fn state(&self) -> CopyState {
        self.state
    }

    /// Takes the copy out, with the memory that it holds.
    pub(super) fn take(&mut self, empty: Reservation) -> (Vec<Bytes>, Reservation) {
        (std::mem::take(&mut self.pieces), std::mem::replace(&mut self.reservation, empty))
    }
}

/// The copy of a request, which the connection to the model server fills and the answer's end collects.
pub(super) type SharedCopy = Arc<Mutex<BodyCopy>>;

/// The body of a request on its way to the model server.
#[derive(Debug)]
pub(super) struct RequestBody {
    inner: Incoming,
    copy: Option<SharedCopy>,
    passed: Option<PassedBytes>,
}

impl RequestBody {
    pub(super) fn new(inner: Incoming, copy: Option<SharedCopy>, passed: Option<PassedBytes>) -> Self {
        let body = Self { inner, copy, passed };
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
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        if let (Some(passed), Some(Ok(frame))) = (&self.passed, &frame)
            && let Some(data) = frame.data_ref()
        {
            passed.fetch_add(data.len() as u64, Ordering::Relaxed);
        }
        if let Some(copy) = &self.copy {
            match &frame {
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        copy.lock().push(data);
                    }
                    self.note_end();
                }
                Some(Err(_)) => copy.lock().give_up(CopyState::Broken),
                None => copy.lock().complete(),
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// One more request in flight, until dropped.
#[derive(Debug)]
pub(super) struct InFlight(IntGauge);

impl InFlight {
    pub(super) fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// How the body of an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// To its last byte.
    Whole,
    /// The model server broke off.
    UpstreamReset,
    /// The client went away.
    ClientGone,
}

/// The body of an answer on its way to the client; tells its observation how it ended, also when dropped.
#[derive(Debug)]
pub(super) struct ResponseBody {
    inner: Option<Incoming>,
    observation: Option<Box<Observation>>,
    copy: Option<BodyCopy>,
    metering: Option<Metering>,
    _in_flight: InFlight,
}

impl ResponseBody {
    pub(super) fn empty(in_flight: InFlight) -> Self {
        Self { inner: None, observation: None, copy: None, metering: None, _in_flight: in_flight }
    }

    pub(super) fn forwarded(inner: Incoming, in_flight: InFlight, metering: Option<Metering>) -> Self {
        Self { inner: Some(inner), observation: None, copy: None, metering, _in_flight: in_flight }
    }

    pub(super) fn observed(
        inner: Incoming,
        observation: Box<Observation>,
        copy: BodyCopy,
        in_flight: InFlight,
        metering: Option<Metering>,
    ) -> Self {
        let mut body = Self {
            inner: Some(inner),
            observation: Some(observation),
            copy: Some(copy),
            metering,
            _in_flight: in_flight,
        };
        if body.is_end_stream() {
            body.end(Ending::Whole);
        }
        body
    }

    fn end(&mut self, ending: Ending) {
        // Counted before the exchange is settled, so that whoever sees it settled finds its traffic, too.
        drop(self.metering.take());
        if let (Some(observation), Some(mut copy)) = (self.observation.take(), self.copy.take()) {
            if ending == Ending::Whole {
                copy.complete();
            }
            observation.finish(ending, copy);
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(inner) = self.inner.as_mut() else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(inner).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(metering) = &mut self.metering {
                    metering.passed(frame.data_ref().map_or(0, Bytes::len));
                    if let Some(trailers) = frame.trailers_ref() {
                        metering.trailers(trailers);
                    }
                }
                if let (Some(copy), Some(data)) = (self.copy.as_mut(), frame.data_ref()) {
                    copy.push(data);
                }
                // With a known length nobody asks again after the last frame.
                if self.is_end_stream() {
                    self.end(Ending::Whole);
                }
            }
            Some(Err(_)) => self.end(Ending::UpstreamReset),
            None => self.end(Ending::Whole),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        let ending = if self.is_end_stream() { Ending::Whole } else { Ending::ClientGone };
        self.end(ending);
    }
}
