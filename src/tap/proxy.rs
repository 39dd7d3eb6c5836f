//! What happens to one request: forwarded as it is, and observed where it is a prediction of a monitored model.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use http::header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue, USER_AGENT};
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use parking_lot::Mutex;
use thiserror::Error;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::body::{BodyCopy, CopyState, Ending, InFlight, RequestBody, ResponseBody, SharedCopy};
use super::headers::{strip_hop_by_hop, wants_upgrade};
use super::ledger::{Ledger, Ticket};
use super::metering::{Metering, grpc_status};
use super::queue::ExchangeQueue;
use super::record::{Recorded, is_sampled, new_id};
use super::upstream::{SendError, Upstream};
use crate::config;
use crate::decode::{Headers, Recognised, Route};
use crate::metrics::{Metrics, ModelMetrics};
use crate::model::ModelName;

pub use super::server::Proxy;

/// How far in the future an event may lie; clocks differ that much.
const FUTURE_LIMIT: TimeDelta = TimeDelta::minutes(5);

/// Why the proxy did not start.
#[derive(Debug, Error)]
pub enum ProxyError {
    /// No model server is configured.
    #[error("`tap.upstream` is not set")]
    NoUpstream,
    /// The model server's address cannot be used.
    #[error("`tap.upstream` is `{0}`, which is not of the form http://host:port")]
    BadUpstream(String),
    /// The header of the event time cannot be one.
    #[error("`tap.event_time_header` is `{0}`, which is not the name of a header")]
    BadEventTimeHeader(String),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
}

/// What a proxy is made of.
#[derive(Debug, Clone)]
pub struct TapSettings {
    /// Upstream, sample, limits.
    pub tap: config::Tap,
    /// Models by the path that their settings name.
    pub paths: HashMap<String, ModelName>,
    /// Where every exchange is accounted for.
    pub ledger: Ledger,
    /// Where copies go.
    pub queue: ExchangeQueue,
    /// The metrics of the process.
    pub metrics: Metrics,
    /// The clock.
    pub now: fn() -> DateTime<Utc>,
    /// How long requests in flight may take after shutdown was asked for.
    pub grace: Duration,
}

impl TapSettings {
    /// The models that name a path of their own; where that is one of Seldon's, feedback about it is the model's as well.
    pub fn paths(models: &[config::ModelSettings]) -> HashMap<String, ModelName> {
        let mut paths = HashMap::new();
        for model in models {
            let Some(path) = &model.path else { continue };
            if let Some(version) =
                path.strip_prefix("/api/").and_then(|path| path.strip_suffix("/predictions"))
            {
                paths.insert(format!("/api/{version}/feedback"), model.name.clone());
            }
            paths.insert(path.clone(), model.name.clone());
        }
        paths
    }
}

/// Everything that a request needs; shared by all connections.
#[derive(Debug)]
pub(super) struct Shared {
    upstream: Upstream,
    settings: TapSettings,
    event_time_header: Option<HeaderName>,
    pub(super) tasks: TaskTracker,
    /// Ends what is still open after the grace.
    pub(super) kill: CancellationToken,
}

impl Shared {
    pub(super) fn new(settings: TapSettings) -> Result<Self, ProxyError> {
        let url = settings.tap.upstream.as_deref().ok_or(ProxyError::NoUpstream)?;
        let upstream = Upstream::new(url, settings.tap.connect_timeout.0)
            .ok_or_else(|| ProxyError::BadUpstream(url.to_owned()))?;
        let event_time_header = match &settings.tap.event_time_header {
            None => None,
            Some(name) => Some(name.parse().map_err(|_| ProxyError::BadEventTimeHeader(name.clone()))?),
        };
        Ok(Self {
            upstream,
            settings,
            event_time_header,
            tasks: TaskTracker::new(),
            kill: CancellationToken::new(),
        })
    }

    pub(super) fn grace(&self) -> Duration {
        self.settings.grace
    }

    /// Forwards one request.
    pub(super) async fn serve(
        self: Arc<Self>,
        mut request: Request<Incoming>,
    ) -> Result<Response<ResponseBody>, Infallible> {
        let started = Instant::now();
        let in_flight = InFlight::new(&self.settings.metrics.proxy.in_flight);
        if request.method() == Method::CONNECT {
            // That asks for a tunnel to anywhere; a model server has no use for it.
            return Ok(self.answer_without_upstream(in_flight, StatusCode::METHOD_NOT_ALLOWED, false));
        }
        let mut observation = self.observe(&request);
        let upgrade = (request.version() == Version::HTTP_11 && wants_upgrade(request.headers()))
            .then(|| hyper::upgrade::on(&mut request));
        let is_grpc = is_grpc(request.headers());

        let (mut parts, body) = request.into_parts();
        strip_hop_by_hop(&mut parts.headers, upgrade.is_some());
        if parts.version != Version::HTTP_2 {
            parts.version = Version::HTTP_11;
            if !parts.headers.contains_key(HOST)
                && let Ok(host) = HeaderValue::from_str(self.upstream.authority().as_str())
            {
                parts.headers.insert(HOST, host);
            }
        }
        let copy = observation.as_ref().and_then(|observation| observation.request.clone());
        let mut metering = observation.as_mut().and_then(|observation| observation.metering.take());
        let passed = metering.as_ref().map(Metering::request_bytes);
        let request = Request::from_parts(parts, RequestBody::new(body, copy, passed));

        let sent = Instant::now();
        if let Some(metering) = &mut metering {
            metering.sent(sent, sent - started);
        }
        let answer = self.upstream.send(request).await;
        let answered = Instant::now();

        let response = match answer {
            Ok(mut response) => {
                let switching = response.status() == StatusCode::SWITCHING_PROTOCOLS;
                if switching && let Some(client) = upgrade {
                    self.tunnel(client, hyper::upgrade::on(&mut response));
                }
                strip_hop_by_hop(response.headers_mut(), switching);
                self.count(response.status());
                if let Some(metering) = &mut metering {
                    let (status, grpc) = (response.status().as_u16(), grpc_status(response.headers()));
                    let overhead = (sent - started) + answered.elapsed();
                    metering.answered(status, grpc, answered - sent, overhead);
                }
                self.forward(response, observation.as_mut(), in_flight, answered - sent, metering)
            }
            Err(error) => {
                let status = if matches!(error, SendError::Unforwardable) {
                    StatusCode::BAD_REQUEST
                } else {
                    StatusCode::BAD_GATEWAY
                };
                let client_gone = observation.as_ref().is_some_and(Observing::is_broken);
                if let Some(metering) = metering.as_mut().filter(|_| !client_gone) {
                    let overhead = (sent - started) + answered.elapsed();
                    metering.answered(status.as_u16(), is_grpc.then_some(14), answered - sent, overhead);
                }
                drop(metering);
                if let Some(observation) = &mut observation {
                    observation.give_up(&error);
                }
                self.log(&error);
                self.answer_without_upstream(in_flight, status, is_grpc)
            }
        };
        if let Some(observation) = &observation {
            observation.metrics.upstream_duration.observe((answered - sent).as_secs_f64());
            observation.metrics.overhead.observe(((sent - started) + answered.elapsed()).as_secs_f64());
        }
        Ok(response)
    }

    /// What is to be recorded of a request; absent when it is none of a monitored model's predictions.
    fn observe(&self, request: &Request<Incoming>) -> Option<Observing> {
        let (route, model) = self.recognise(request)?;
        let received_at = (self.settings.now)();
        let (event_time, invalid) = self.event_time(request.headers(), received_at);
        let mut ticket = self.settings.ledger.open(&model, event_time)?;
        let metrics = self.settings.ledger.model_metrics(&model)?;
        if invalid {
            metrics.event_time_invalid.inc();
        }
        let metering = Some(Metering::new(ticket.meter(), self.settings.metrics.proxy.in_flight.get()));
        let mut observing = Observing { metrics, ticket: None, request: None, record: None, metering };
        if !route.protocol.is_decoded() {
            ticket.dropped("unsupported_format");
            return Some(observing);
        }
        let headers = pick(request.headers());
        let generated_id = headers.any_id().is_none().then(|| new_id(received_at));
        let id = headers.any_id().or(generated_id.as_deref()).unwrap_or_default();
        if !is_sampled(id, self.settings.tap.sample.get()) {
            ticket.sampled_out();
            return Some(observing);
        }
        let Some(room) = self.settings.queue.reserve() else {
            ticket.dropped("queue_full");
            return Some(observing);
        };
        ticket.set_reason("client_disconnected");
        observing.ticket = Some(ticket);
        observing.request = Some(Arc::new(Mutex::new(BodyCopy::new(room, self.settings.tap.body_limit.0))));
        observing.record = Some(Started { route, received_at, event_time, headers, generated_id });
        Some(observing)
    }

    /// The route and the model of a prediction.
    fn recognise(&self, request: &Request<Incoming>) -> Option<(Route, ModelName)> {
        let path = request.uri().path();
        let user_agent = request.headers().get(USER_AGENT).and_then(|agent| agent.to_str().ok());
        let recognised = Route::recognise(request.method().as_str(), path, user_agent);
        if recognised == Recognised::NeverTapped {
            return None;
        }
        if request.method() == Method::POST
            && let Some(model) = self.settings.paths.get(path)
        {
            let route = match recognised {
                Recognised::Prediction(route) => route,
                _ => Route::configured(),
            };
            return Some((route, model.clone()));
        }
        let Recognised::Prediction(route) = recognised else { return None };
        let model = route.model.as_deref().and_then(|name| ModelName::parse(name).ok());
        if model.is_none() {
            self.settings.metrics.tap.unmonitored.inc();
        }
        Some((route, model?))
    }

    /// The time of the prediction, and whether its header had to be passed over.
    fn event_time(&self, headers: &HeaderMap, received_at: DateTime<Utc>) -> (DateTime<Utc>, bool) {
        let Some(value) = self.event_time_header.as_ref().and_then(|name| headers.get(name)) else {
            return (received_at, false);
        };
        let time = value.to_str().ok().and_then(|text| DateTime::parse_from_rfc3339(text.trim()).ok());
        match time.map(|time| time.to_utc()) {
            Some(time) if time <= received_at + FUTURE_LIMIT => (time, false),
            _ => (received_at, true),
        }
    }

    /// The answer of the model server, with its body observed where rows can come of it.
    fn forward(
        &self,
        response: Response<Incoming>,
        observing: Option<&mut Observing>,
        in_flight: InFlight,
        upstream: Duration,
        metering: Option<Metering>,
    ) -> Response<ResponseBody> {
        let (parts, body) = response.into_parts();
        let taken = observing.and_then(|observing| {
            Some((observing.ticket.take()?, observing.request.take()?, observing.record.take()?))
        });
        let body = match taken {
            None => ResponseBody::forwarded(body, in_flight, metering),
            Some((ticket, request, _)) if !parts.status.is_success() => {
                // Errors repeat what was sent; they are counted and never copied.
                ticket.dropped("error_status");
                request.lock().give_up(CopyState::Truncated);
                ResponseBody::forwarded(body, in_flight, metering)
            }
            Some((ticket, request, started)) => {
                let copy = BodyCopy::new(self.settings.queue.reservation(), self.settings.tap.body_limit.0);
                let observation = Observation {
                    ticket,
                    request,
                    started,
                    status: parts.status.as_u16(),
                    headers: pick(&parts.headers),
                    upstream_seconds: upstream.as_secs_f64(),
                    queue: self.settings.queue.clone(),
                };
                ResponseBody::observed(body, Box::new(observation), copy, in_flight, metering)
            }
        };
        Response::from_parts(parts, body)
    }

    /// What the absence of the model server means to a client, and nothing else.
    fn answer_without_upstream(
        &self,
        in_flight: InFlight,
        status: StatusCode,
        is_grpc: bool,
    ) -> Response<ResponseBody> {
        self.count(status);
        let mut response = Response::new(ResponseBody::empty(in_flight));
        if is_grpc {
            // gRPC has its status in the headers of an otherwise successful answer: 14 is UNAVAILABLE.
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            headers.insert(HeaderName::from_static("grpc-status"), HeaderValue::from_static("14"));
        } else {
            *response.status_mut() = status;
        }
        response
    }

    fn count(&self, status: StatusCode) {
        let code = if status.as_u16() < 600 { status.as_str() } else { "other" };
        self.settings.metrics.proxy.requests.with_label_values(&[code]).inc();
    }

    fn log(&self, error: &SendError) {
        match error {
            SendError::Unforwardable => tracing::debug!("a request has no path that can be forwarded"),
            SendError::Failed(error) => tracing::warn!(
                error = error as &dyn std::error::Error,
                upstream = %self.upstream.authority(),
                "the model server did not answer"
            ),
        }
    }

    /// Passes bytes both ways once both sides have changed their protocol.
    fn tunnel(self: &Arc<Self>, client: hyper::upgrade::OnUpgrade, server: hyper::upgrade::OnUpgrade) {
        let shared = Arc::clone(self);
        self.tasks.spawn(async move {
            let relay = async {
                let (client, server) = (client.await?, server.await?);
                let mut client = hyper_util::rt::TokioIo::new(client);
                let mut server = hyper_util::rt::TokioIo::new(server);
                // Either side may break off at any time; that is the end of the tunnel and no more.
                if let Err(error) = tokio::io::copy_bidirectional(&mut client, &mut server).await {
                    tracing::debug!(%error, "a tunnel ended");
                }
                Ok::<(), hyper::Error>(())
            };
            if let Some(Err(error)) = shared.kill.run_until_cancelled(relay).await {
                tracing::debug!(%error, "a connection was not upgraded");
            }
        });
    }
}

fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

fn pick(headers: &HeaderMap) -> Headers {
    Headers::pick(headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())))
}

/// A prediction under way to the model server.
#[derive(Debug)]
struct Observing {
    metrics: ModelMetrics,
    /// Present until the exchange is settled or its answer's body takes over.
    ticket: Option<Ticket>,
    request: Option<SharedCopy>,
    record: Option<Started>,
    /// Present until the answer's body takes over.
    metering: Option<Metering>,
}

impl Observing {
    /// Whether the client broke off in the middle of its request.
    fn is_broken(&self) -> bool {
        self.request.as_ref().is_some_and(|request| request.lock().state() == CopyState::Broken)
    }

    /// There is no answer: settles the exchange.
    fn give_up(&mut self, error: &SendError) {
        let broken = self.is_broken();
        if let Some(ticket) = self.ticket.take() {
            ticket.dropped(if broken { "client_disconnected" } else { error.reason() });
        }
    }
}

/// What is known of an exchange when its request arrives.
#[derive(Debug)]
struct Started {
    route: Route,
    received_at: DateTime<Utc>,
    event_time: DateTime<Utc>,
    headers: Headers,
    generated_id: Option<String>,
}

/// An exchange whose answer is passing.
#[derive(Debug)]
pub(super) struct Observation {
    ticket: Ticket,
    request: SharedCopy,
    started: Started,
    status: u16,
    headers: Headers,
    upstream_seconds: f64,
    queue: ExchangeQueue,
}

impl Observation {
    /// The answer has ended: hands the exchange to the decoder, or settles why not.
    pub(super) fn finish(self, ending: Ending, mut answer: BodyCopy) {
        let mut request = self.request.lock();
        let lost = match (ending, request.state(), answer.state()) {
            (Ending::UpstreamReset, ..) => Some("upstream_reset"),
            (Ending::ClientGone, ..) => Some("client_disconnected"),
            (_, CopyState::Truncated, _) => Some("truncated"),
            (_, CopyState::NoRoom, _) | (.., CopyState::NoRoom) => Some("queue_full"),
            // Answered before the request had ended.
            (_, CopyState::Open | CopyState::Broken, _) => Some("request_incomplete"),
            (_, CopyState::Complete, _) => None,
        };
        if let Some(reason) = lost {
            request.give_up(CopyState::Truncated);
            drop(request);
            self.ticket.dropped(reason);
            return;
        }
        let (request_pieces, request_room) = request.take(self.queue.reservation());
        drop(request);
        let response_truncated = answer.state() == CopyState::Truncated;
        let (response_pieces, response_room) = answer.take(self.queue.reservation());
        let recorded = Recorded {
            route: self.started.route,
            received_at: self.started.received_at,
            event_time: self.started.event_time,
            upstream_seconds: self.upstream_seconds,
            status: self.status,
            request_headers: self.started.headers,
            response_headers: self.headers,
            request: request_pieces,
            response: response_pieces,
            response_truncated,
            generated_id: self.started.generated_id,
            ticket: self.ticket,
            reservations: [request_room, response_room],
        };
        if let Err(refused) = self.queue.try_send(recorded) {
            refused.ticket.dropped("decoder_gone");
        }
    }
}
