//! Bodies that are forwarded frame by frame while a bounded copy is made of them.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use parking_lot::Mutex;
use prometheus::IntGauge;
use thiserror::Error;
use tokio::time::{Instant, Sleep};

use super::client::ClientConnection;
use super::named::LOOKED_AT_BYTES;
use super::observe::Observing;
use super::queue::Reservation;
use super::upstream::Lease;

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
    /// No copy is wanted; bytes are only counted.
    Unwanted,
}

/// The bounded copy of one body.
#[derive(Debug)]
pub(super) struct BodyCopy {
    pieces: Vec<Bytes>,
    /// Bytes that have passed, copied or not.
    passed: u64,
    /// The first of them, where they name the model.
    first: Option<Vec<u8>>,
    bytes: usize,
    limit: usize,
    reservation: Reservation,
    state: CopyState,
}

impl BodyCopy {
    pub(super) fn new(reservation: Reservation, limit: usize) -> Self {
        Self {
            pieces: Vec::new(),
            passed: 0,
            first: None,
            bytes: 0,
            limit,
            reservation,
            state: CopyState::Open,
        }
    }

    /// Of a body that is only counted.
    pub(super) fn unwanted(empty: Reservation) -> Self {
        Self { state: CopyState::Unwanted, ..Self::new(empty, 0) }
    }

    /// Keeps the first bytes apart, whatever becomes of the copy.
    pub(super) fn keeping_first(mut self) -> Self {
        self.first = Some(Vec::new());
        self
    }

    /// The first bytes, if they are kept.
    pub(super) fn first(&self) -> &[u8] {
        self.first.as_deref().unwrap_or_default()
    }

    fn push(&mut self, data: &Bytes) {
        self.passed += data.len() as u64;
        if let Some(first) = &mut self.first {
            let room = LOOKED_AT_BYTES.saturating_sub(first.len()).min(data.len());
            first.extend_from_slice(&data[..room]);
        }
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

    /// Bytes that have passed, copied or not.
    pub(super) fn passed(&self) -> u64 {
        self.passed
    }

    /// Takes the copy out, with the memory that it holds.
    pub(super) fn take(&mut self, empty: Reservation) -> (Vec<Bytes>, Reservation) {
        (std::mem::take(&mut self.pieces), std::mem::replace(&mut self.reservation, empty))
    }
}

/// The copy of a request, which the connection to the model server fills and the answer's end collects.
pub(super) type SharedCopy = Arc<Mutex<BodyCopy>>;

/// Why a body ended early.
#[derive(Debug, Error)]
pub(super) enum BodyError {
    /// The side that sent it broke off.
    #[error(transparent)]
    Broken(#[from] hyper::Error),
    /// The request took longer than `tap.request_timeout`.
    #[error("the request took longer than `tap.request_timeout`")]
    TimedOut,
    /// The model server answered without taking the body.
    #[error("the model server did not ask for the body")]
    Refused,
}

const WAITING: u8 = 0;
const OPEN: u8 = 1;
const REFUSED: u8 = 2;

/// Holds back the body of a request with `Expect: 100-continue` until the model server asks for it: reading it is what
/// tells the client to go on.
#[derive(Debug, Default)]
pub(super) struct Gate {
    state: AtomicU8,
    waker: AtomicWaker,
}

impl Gate {
    /// The model server wants the body.
    pub(super) fn open(&self) {
        self.set(OPEN);
    }

    /// The answer is complete, and the body is not wanted any more.
    fn refuse(&self) {
        self.set(REFUSED);
    }

    fn set(&self, state: u8) {
        // What was decided first holds.
        if self.state.compare_exchange(WAITING, state, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            self.waker.wake();
        }
    }
}

/// A gate, and how long it stays shut on its own.
#[derive(Debug)]
struct Held {
    gate: Arc<Gate>,
    patience: Pin<Box<Sleep>>,
}

impl Held {
    /// Ready when the body may be read, or never will.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        self.gate.waker.register(cx.waker());
        match self.gate.state.load(Ordering::Acquire) {
            REFUSED => Poll::Ready(Err(BodyError::Refused)),
            OPEN => Poll::Ready(Ok(())),
            _ => self.patience.as_mut().poll(cx).map(Ok),
        }
    }
}

/// The body of a request on its way to the model server.
#[derive(Debug)]
pub(super) struct RequestBody {
    inner: Incoming,
    copy: Option<SharedCopy>,
    held: Option<Held>,
    /// The client stated a length, or the protocol has it in the framing.
    is_length_stated: bool,
}

impl RequestBody {
    /// Without a stated length HTTP/2 must not be told that an empty body has one: it would add a header.
    pub(super) fn new(inner: Incoming, copy: Option<SharedCopy>, is_length_stated: bool) -> Self {
        let body = Self { inner, copy, held: None, is_length_stated };
        body.note_end();
        body
    }

    /// Waits for the gate before anything is read, and no longer than `patience`.
    pub(super) fn hold(&mut self, patience: Duration) -> Arc<Gate> {
        let gate = Arc::new(Gate::default());
        let patience = Box::pin(tokio::time::sleep(patience));
        self.held = Some(Held { gate: Arc::clone(&gate), patience });
        gate
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
        if let Some(held) = &mut self.held {
            match ready!(held.poll(cx)) {
                Ok(()) => self.held = None,
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
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

/// How the body of an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// To its last byte.
    Whole,
    /// The model server broke off.
    UpstreamReset,
    /// The client went away.
    ClientGone,
    /// It took longer than `tap.request_timeout`.
    TimedOut,
}

/// The body of an answer on its way to the client; tells its observation how it ended, also when dropped.
#[derive(Debug)]
pub(super) struct ResponseBody {
    inner: Option<Incoming>,
    /// What the head says of the length of a body that has none, so that HTTP/1 writes that header where it stands.
    claimed: Option<u64>,
    observing: Option<(Box<Observing>, BodyCopy)>,
    lease: Option<Lease>,
    gate: Option<Arc<Gate>>,
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
            claimed: None,
            observing: None,
            lease: None,
            gate: None,
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

    /// The gate of the request, shut once the answer has ended.
    pub(super) fn behind(mut self, gate: Option<Arc<Gate>>) -> Self {
        self.gate = gate;
        self
    }

    /// When the answer is broken off.
    pub(super) fn until(mut self, deadline: Option<Instant>) -> Self {
        self.deadline = deadline.map(|at| Box::pin(tokio::time::sleep_until(at)));
        self
    }

    /// The length that the head states, if there is no body to it.
    pub(super) fn claiming(mut self, length: Option<u64>) -> Self {
        if self.inner.as_ref().is_none_or(Body::is_end_stream) {
            self.claimed = length;
        }
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
        if let Some(gate) = self.gate.take() {
            gate.refuse();
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
                copy.push(data);
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
        self.claimed = None;
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
        self.claimed.is_none() && self.broken.is_none() && self.has_ended()
    }

    fn size_hint(&self) -> SizeHint {
        match (self.claimed, &self.inner) {
            (Some(length), _) => SizeHint::with_exact(length),
            (None, Some(inner)) => inner.size_hint(),
            (None, None) => SizeHint::with_exact(0),
        }
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        let ending = if self.has_ended() { Ending::Whole } else { Ending::ClientGone };
        self.end(ending);
    }
}
