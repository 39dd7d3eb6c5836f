//! What is noted of one prediction while it passes: its traffic always, its bodies where they are kept.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use prometheus::{IntCounter, IntGauge};

use super::copy::{BodyCopy, CopyState, Ending, SharedCopy};
use super::fields::Fields;
use super::ledger::{Ledger, Ticket};
use super::named::model_name;
use super::queue::{ExchangeQueue, Reservation};
use super::record::Recorded;
use super::traffic::{CLIENT_GONE, Traffic};
use crate::decode::{Headers, Protocol, Route};
use crate::metrics::ModelMetrics;
use crate::model::ModelName;

/// The headers that decoding needs.
pub(super) fn pick(headers: &(impl Fields + ?Sized)) -> Headers {
    Headers::pick(headers.fields())
}

fn grpc_status(headers: &(impl Fields + ?Sized)) -> Option<u16> {
    headers.text("grpc-status")?.trim().parse().ok()
}

/// What becomes of an exchange, as far as its request tells.
#[derive(Debug)]
pub(super) enum Fate {
    /// It is recorded, if it ends well and there is room.
    Record(Started),
    /// The sampling rate leaves it out.
    SampledOut,
    /// It is lost for this reason.
    Dropped(&'static str),
}

/// What is known of an exchange when its request arrives.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) route: Route,
    pub(super) received_at: DateTime<Utc>,
    pub(super) event_time: DateTime<Utc>,
    pub(super) headers: Headers,
    pub(super) generated_id: Option<String>,
}

/// What is known of an answer.
#[derive(Debug)]
struct Head {
    status: u16,
    grpc_status: Option<u16>,
    /// Picked only where the exchange is recorded.
    headers: Headers,
    upstream: Duration,
    overhead: Duration,
}

/// The model of an exchange, and its place in the ledger.
#[derive(Debug)]
pub(super) struct Account {
    ticket: Ticket,
    /// Exchanges of the model under way at the start.
    in_flight: u32,
    _in_flight: ModelInFlight,
}

#[derive(Debug)]
struct ModelInFlight(IntGauge);

impl Drop for ModelInFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Account {
    /// Counts an exchange of `model`, if that is monitored.
    pub(super) fn open(ledger: &Ledger, model: &ModelName, event_time: DateTime<Utc>) -> Option<Self> {
        let mut ticket = ledger.open(model, event_time)?;
        ticket.set_reason("client_disconnected");
        let gauge = ticket.metrics().in_flight.clone();
        gauge.inc();
        Some(Self {
            ticket,
            in_flight: u32::try_from(gauge.get()).unwrap_or(0),
            _in_flight: ModelInFlight(gauge),
        })
    }

    /// Its event time could not be read.
    pub(super) fn without_event_time(&self) {
        self.ticket.metrics().event_time_invalid.inc();
    }
}

/// An exchange whose model its body names.
#[derive(Debug)]
pub(super) struct Unnamed {
    pub(super) ledger: Ledger,
    pub(super) protocol: Protocol,
    pub(super) event_time: DateTime<Utc>,
    pub(super) is_event_time_invalid: bool,
    pub(super) unmonitored: IntCounter,
}

/// Whose exchange it is.
#[derive(Debug)]
pub(super) enum Whose {
    /// That is known.
    Known(Account),
    /// The body will tell.
    Unnamed(Box<Unnamed>),
    /// Nobody's, or it is settled.
    Nobody,
}

/// A prediction under way. When it is dropped unfinished the client has left.
#[derive(Debug)]
pub(super) struct Observing {
    whose: Whose,
    fate: Fate,
    request: SharedCopy,
    queue: ExchangeQueue,
    sent: Option<Instant>,
    head: Option<Head>,
}

impl Observing {
    /// Begins with what the request's head tells; `copy` is filled as the body passes.
    pub(super) fn new(whose: Whose, fate: Fate, copy: BodyCopy, queue: ExchangeQueue) -> Self {
        Self { whose, fate, request: Arc::new(Mutex::new(copy)), queue, sent: None, head: None }
    }

    /// The copy of the request's body.
    pub(super) fn request_copy(&self) -> SharedCopy {
        Arc::clone(&self.request)
    }

    /// A part of the request's body has passed.
    pub(super) fn request_passed(&self, data: &[u8]) {
        self.request.lock().push(data);
    }

    /// The request's body has passed to its end.
    pub(super) fn request_complete(&self) {
        self.request.lock().complete();
    }

    /// Whether the exchange may be recorded.
    pub(super) fn is_recorded(&self) -> bool {
        matches!(self.fate, Fate::Record(_))
    }

    /// Whether these are labels, whose times and endings are not those of predictions.
    fn is_feedback(&self) -> bool {
        matches!(&self.fate, Fate::Record(started) if started.route.protocol == Protocol::SeldonFeedback)
    }

    /// The request goes to the model server now.
    pub(super) fn sent(&mut self, at: Instant) {
        self.sent = Some(at);
    }

    /// The answer has begun.
    pub(super) fn answered(
        &mut self,
        status: u16,
        headers: &(impl Fields + ?Sized),
        upstream: Duration,
        overhead: Duration,
    ) {
        self.name();
        let picked = if self.is_recorded() { pick(headers) } else { Headers::default() };
        let grpc_status = grpc_status(headers);
        self.head = Some(Head { status, grpc_status, headers: picked, upstream, overhead });
        if self.is_recorded() && !(200..300).contains(&status) {
            // Errors repeat what was sent; they are counted and never copied.
            self.request.lock().give_up(CopyState::Unwanted);
            self.fate = Fate::Dropped("error_status");
        }
    }

    /// Looks into the body for the model, as far as it has passed.
    fn name(&mut self) {
        let Whose::Unnamed(unnamed) = &self.whose else { return };
        let Some(name) = model_name(unnamed.protocol, self.request.lock().first()) else { return };
        // A name that is none and a model that is not monitored are counted alike, and without the name.
        let account = if let Ok(model) = ModelName::parse(&name) {
            Account::open(&unnamed.ledger, &model, unnamed.event_time)
        } else {
            unnamed.unmonitored.inc();
            None
        };
        if let Some(account) = account.as_ref().filter(|_| unnamed.is_event_time_invalid) {
            account.without_event_time();
        }
        self.whose = account.map_or(Whose::Nobody, Whose::Known);
    }

    /// There is no answer of the model server: the client gets this status, and this one of gRPC.
    pub(super) fn unanswered(
        mut self,
        (status, grpc_status): (u16, Option<u16>),
        reason: &'static str,
        upstream: Duration,
        overhead: Duration,
    ) {
        let is_broken = self.request.lock().state() == CopyState::Broken;
        self.head = Some(Head { status, grpc_status, headers: Headers::default(), upstream, overhead });
        self.settle(0, Err(if is_broken { "client_disconnected" } else { reason }));
    }

    /// What the answer says after its body.
    pub(super) fn trailers(&mut self, trailers: &(impl Fields + ?Sized)) {
        if let Some(head) = &mut self.head {
            head.grpc_status = grpc_status(trailers).or(head.grpc_status);
            head.headers.add(trailers.fields());
        }
    }

    /// The answer has ended: hands the exchange to the decoder, or settles why not.
    pub(super) fn finish(mut self: Box<Self>, ending: Ending, answer: BodyCopy) {
        let lost = match (ending, self.request.lock().state(), answer.state()) {
            (Ending::UpstreamReset, ..) => Err("upstream_reset"),
            (Ending::TimedOut, ..) => Err("upstream_timeout"),
            (Ending::ClientGone, ..) => Err("client_disconnected"),
            (_, CopyState::Truncated, _) => Err("truncated"),
            (_, CopyState::NoRoom, _) | (.., CopyState::NoRoom) => Err("queue_full"),
            // Answered before the request had ended.
            (_, CopyState::Open | CopyState::Broken, _) => Err("request_incomplete"),
            (_, CopyState::Complete | CopyState::Unwanted, _) => Ok(()),
        };
        let passed = answer.passed();
        self.settle(passed, lost.map(|()| answer));
    }

    /// Tells the traffic, and settles the ticket; with the copy of an answer the exchange is recorded.
    fn settle(&mut self, response_bytes: u64, outcome: Result<BodyCopy, &'static str>) {
        self.name();
        let account = match std::mem::replace(&mut self.whose, Whose::Nobody) {
            Whose::Known(account) => account,
            Whose::Unnamed(unnamed) => return unnamed.unmonitored.inc(),
            Whose::Nobody => return,
        };
        let waited = self.sent.map(|sent| sent.elapsed()).unwrap_or_default();
        let head = self.head.take();
        let traffic = Traffic {
            upstream_seconds: head.as_ref().map_or(waited, |head| head.upstream).as_secs_f64(),
            answer_seconds: waited.as_secs_f64(),
            overhead_seconds: head.as_ref().map_or(0.0, |head| head.overhead.as_secs_f64()),
            status: head.as_ref().map_or(CLIENT_GONE, |head| head.status),
            grpc_status: head.as_ref().and_then(|head| head.grpc_status),
            request_bytes: self.request.lock().passed(),
            response_bytes,
            in_flight: account.in_flight,
        };
        if !self.is_feedback() {
            show(account.ticket.metrics(), &traffic, head.is_some().then_some(waited));
            account.ticket.traffic(&traffic);
        }
        match (std::mem::replace(&mut self.fate, Fate::SampledOut), outcome) {
            (Fate::SampledOut, _) => account.ticket.sampled_out(),
            (Fate::Dropped(reason), _) | (Fate::Record(_), Err(reason)) => {
                self.request.lock().give_up(CopyState::Unwanted);
                account.ticket.dropped(reason);
            }
            (Fate::Record(started), Ok(answer)) => {
                let headers = head.map(|head| head.headers).unwrap_or_default();
                self.record(account.ticket, started, traffic, headers, answer);
            }
        }
    }

    fn record(
        &self,
        ticket: Ticket,
        started: Started,
        traffic: Traffic,
        headers: Headers,
        mut answer: BodyCopy,
    ) {
        let empty = || -> Reservation { self.queue.reservation() };
        let (request_pieces, request_room) = self.request.lock().take(empty());
        let response_truncated = answer.state() == CopyState::Truncated;
        let (response_pieces, response_room) = answer.take(empty());
        let recorded = Recorded {
            route: started.route,
            received_at: started.received_at,
            event_time: started.event_time,
            upstream_seconds: traffic.upstream_seconds,
            status: traffic.status,
            request_headers: started.headers,
            response_headers: headers,
            request: request_pieces,
            response: response_pieces,
            response_truncated,
            generated_id: started.generated_id,
            ticket,
            reservations: [request_room, response_room],
        };
        if let Err(refused) = self.queue.try_send(recorded) {
            refused.ticket.dropped("decoder_gone");
        }
    }
}

/// Exports the traffic of one exchange; `complete` is how long its answer took to its end, if there was one.
fn show(metrics: &ModelMetrics, traffic: &Traffic, complete: Option<Duration>) {
    if let Some(complete) = complete {
        metrics.upstream_duration.observe(traffic.upstream_seconds);
        metrics.complete_duration.observe(complete.as_secs_f64());
        metrics.overhead.observe(traffic.overhead_seconds);
    }
    metrics.answered(traffic.status, traffic.grpc_status);
    metrics.request_bytes.inc_by(traffic.request_bytes);
    metrics.response_bytes.inc_by(traffic.response_bytes);
}

impl Drop for Observing {
    fn drop(&mut self) {
        self.settle(0, Err("client_disconnected"));
    }
}
