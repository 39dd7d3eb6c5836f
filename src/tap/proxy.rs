//! What happens to one request: forwarded as it is, and observed where it is a prediction of a monitored model.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HeaderName, HeaderValue, USER_AGENT};
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use http_body::Body;
use hyper::body::Incoming;
use thiserror::Error;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::body::{BodyCopy, Gate, InFlight, RequestBody, ResponseBody};
use super::client::ClientConnection;
use super::headers::{strip_hop_by_hop, wants_keep_alive, wants_upgrade};
use super::ledger::Ledger;
use super::named::is_in_body;
use super::observe::{Account, Fate, Observing, Started, Unnamed, Whose, pick};
use super::queue::{ExchangeQueue, Reservation};
use super::record::{is_sampled, new_id};
use super::routes::Routes;
use super::shed::keep_share;
use super::tls::{Certificate, TlsError};
use super::upstream::{Answer, SendError};
use crate::config;
use crate::decode::{Recognised, Route};
use crate::metrics::Metrics;
use crate::model::ModelName;

pub use super::server::Proxy;

/// How far in the future an event may lie; clocks differ that much.
const FUTURE_LIMIT: TimeDelta = TimeDelta::minutes(5);
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// On answers that the proxy makes itself: why there is none of the model server.
const ERROR: HeaderName = HeaderName::from_static("x-driftline-error");
/// The status of gRPC when there is no model server.
const UNAVAILABLE: u16 = 14;
/// The status of gRPC when there was no answer in time.
const DEADLINE_EXCEEDED: u16 = 4;

/// Why the proxy did not start.
#[derive(Debug, Error)]
pub enum ProxyError {
    /// No model server is configured.
    #[error("`tap.upstream` is not set")]
    NoUpstream,
    /// A model server's address cannot be used.
    #[error("`{key}` is `{url}`, which is not of the form http://host:port or https://host:port")]
    BadUpstream {
        /// The setting.
        key: String,
        /// What it is.
        url: String,
    },
    /// A certificate cannot have this name.
    #[error(
        "`{key}`: `{name}` is neither the name of a host nor an address; set the name that the certificate has"
    )]
    BadServerName {
        /// The setting.
        key: String,
        /// What it is.
        name: String,
    },
    /// A file for TLS cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
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

/// Paths of predictions that name no model.
const NAMELESS: [&str; 7] = [
    "/invocations",
    "/score",
    "/api/v1.0/predictions",
    "/api/v0.1/predictions",
    "/v1/models:predict",
    "/v1/models/:predict",
    "/v2/models/infer",
];

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
    /// Models by the path of their predictions, where the path does not name the model: those that the settings say.
    /// A lone model without such a setting has the usual ones. Seldon's feedback belongs to the model it is about.
    pub fn paths(models: &[config::ModelSettings]) -> HashMap<String, ModelName> {
        let mut paths = HashMap::new();
        for model in models {
            let own = model.path.as_deref();
            let usual = if own.is_none() && models.len() == 1 { &NAMELESS[..] } else { &[] };
            for path in own.iter().chain(usual) {
                if let Some(version) =
                    path.strip_prefix("/api/").and_then(|path| path.strip_suffix("/predictions"))
                {
                    paths.insert(format!("/api/{version}/feedback"), model.name.clone());
                }
                paths.insert((*path).to_owned(), model.name.clone());
            }
        }
        paths
    }
}

/// Everything that a request needs; shared by all connections.
#[derive(Debug)]
pub(super) struct Shared {
    routes: Routes,
    pub(super) certificate: Option<Certificate>,
    settings: TapSettings,
    event_time_header: Option<HeaderName>,
    pub(super) tasks: TaskTracker,
    /// Ends what is still open after the grace.
    pub(super) kill: CancellationToken,
}

/// The model server reset a request of HTTP/2: so does the proxy, for the same reason.
#[derive(Debug, Error)]
#[error("the model server reset the request")]
pub(super) struct Reset(#[source] hyper::Error);

/// Why there is no room for an exchange.
#[derive(Debug, Clone, Copy)]
enum Without {
    SampledOut,
    Dropped(&'static str),
}

/// How the client speaks, as far as its answer depends on it.
#[derive(Debug, Clone, Copy)]
struct Speech {
    version: Version,
    is_grpc: bool,
    keep_alive: bool,
}

impl Speech {
    fn of<B>(request: &Request<B>) -> Self {
        let kind = request.headers().get(CONTENT_TYPE);
        Self {
            version: request.version(),
            is_grpc: kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc")),
            keep_alive: request.version() == Version::HTTP_10 && wants_keep_alive(request.headers()),
        }
    }
}

/// When the stages of a request were reached.
#[derive(Debug, Clone, Copy)]
struct Times {
    started: Instant,
    sent: Instant,
    answered: Instant,
}

impl Times {
    fn upstream(&self) -> Duration {
        self.answered - self.sent
    }

    fn overhead(&self) -> Duration {
        (self.sent - self.started) + self.answered.elapsed()
    }
}

impl Shared {
    pub(super) fn new(settings: TapSettings) -> Result<Self, ProxyError> {
        let routes = Routes::new(&settings.tap)?;
        let certificate = settings.tap.tls.clone().map(Certificate::read).transpose()?;
        let event_time_header = match &settings.tap.event_time_header {
            None => None,
            Some(name) => Some(name.parse().map_err(|_| ProxyError::BadEventTimeHeader(name.clone()))?),
        };
        Ok(Self {
            routes,
            certificate,
            settings,
            event_time_header,
            tasks: TaskTracker::new(),
            kill: CancellationToken::new(),
        })
    }

    pub(super) fn grace(&self) -> Duration {
        self.settings.grace
    }

    pub(super) fn tap(&self) -> &config::Tap {
        &self.settings.tap
    }

    /// What has to be done now and then, and not on the way of a request.
    pub(super) fn tidy(&self) {
        for upstream in self.routes.upstreams() {
            upstream.reap();
        }
        self.settings.metrics.tap.keep_share.set(keep_share(self.settings.queue.fill()));
    }

    /// Forwards one request.
    pub(super) async fn serve(
        self: Arc<Self>,
        client: Arc<ClientConnection>,
        mut request: Request<Incoming>,
    ) -> Result<Response<ResponseBody>, Reset> {
        let started = Instant::now();
        let in_flight = InFlight::new(&self.settings.metrics.proxy.in_flight, Arc::clone(&client));
        let speech = Speech::of(&request);
        if request.method() == Method::CONNECT {
            // That asks for a tunnel to anywhere; a model server has no use for it.
            return Ok(self.answer_without_upstream(
                in_flight,
                speech,
                StatusCode::METHOD_NOT_ALLOWED,
                "connect",
            ));
        }
        let (upstream, route_model) = self.routes.find(&request);
        let (mut observing, answer_id) = self.observe(&mut request, route_model);
        let upgrade = (speech.version == Version::HTTP_11 && wants_upgrade(request.headers()))
            .then(|| hyper::upgrade::on(&mut request));

        let copy = observing.as_ref().map(|observing| observing.request_copy());
        let (mut parts, body) = request.into_parts();
        strip_hop_by_hop(&mut parts.headers, upgrade.is_some());
        let is_length_stated =
            speech.version != Version::HTTP_2 || parts.headers.contains_key(CONTENT_LENGTH);
        let body = RequestBody::new(body, copy, is_length_stated);
        let mut request = Request::from_parts(parts, body);
        let gate = self.hold_back(&mut request);

        let sent = Instant::now();
        if let Some(observing) = &mut observing {
            observing.sent(sent);
        }
        let deadline =
            self.tap().request_timeout.map(|limit| tokio::time::Instant::from_std(started + limit.0));
        let sending = upstream.send(&client, request);
        let answer = match deadline {
            None => sending.await,
            Some(deadline) => {
                tokio::time::timeout_at(deadline, sending).await.unwrap_or(Err(SendError::TimedOut))
            }
        };
        let times = Times { started, sent, answered: Instant::now() };
        let Answer { mut response, lease } = match answer {
            Ok(answer) => answer,
            Err(error) => {
                log(&error, upstream.authority());
                return self.unanswered(error, observing, in_flight, speech, times);
            }
        };
        let switching = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        if switching && let Some(client) = upgrade {
            self.tunnel(client, hyper::upgrade::on(&mut response));
        }
        self.count(response.status());
        if let Some(observing) = &mut observing {
            let status = response.status().as_u16();
            observing.answered(status, response.headers(), times.upstream(), times.overhead());
        }
        adapt(&mut response, speech, switching, answer_id);
        let claimed =
            (speech.version != Version::HTTP_2).then(|| content_length(response.headers())).flatten();
        let copy = self.answer_copy(observing.as_deref());
        Ok(response.map(|body| {
            ResponseBody::new(body, lease, in_flight)
                .behind(gate)
                .until(deadline)
                .claiming(claimed)
                .observed(observing, copy)
        }))
    }

    /// What is to be noted of a request, and the id to repeat in the answer; nothing when it is none of a monitored
    /// model's predictions. The headers that the settings ask for are added here.
    fn observe(
        &self,
        request: &mut Request<Incoming>,
        route_model: Option<&ModelName>,
    ) -> (Option<Box<Observing>>, Option<HeaderValue>) {
        let Some((route, model)) = self.recognise(request, route_model) else { return (None, None) };
        let received_at = (self.settings.now)();
        let (event_time, invalid) = self.event_time(request.headers(), received_at);
        let ledger = &self.settings.ledger;
        let whose = match model {
            Some(model) => {
                let Some(account) = Account::open(ledger, &model, event_time) else { return (None, None) };
                if invalid {
                    account.without_event_time();
                }
                Whose::Known(account)
            }
            None => Whose::Unnamed(Unnamed {
                ledger: ledger.clone(),
                protocol: route.protocol,
                event_time,
                is_event_time_invalid: invalid,
                unmonitored: self.settings.metrics.tap.unmonitored.clone(),
            }),
        };
        let is_unnamed = matches!(whose, Whose::Unnamed(_));
        let answer_id = self.identify(request.headers_mut(), received_at);
        let queue = &self.settings.queue;
        let (fate, room) = if route.protocol.is_decoded() {
            let headers = pick(request.headers());
            let generated_id = headers.any_id().is_none().then(|| new_id(received_at));
            let id = headers.any_id().or(generated_id.as_deref()).unwrap_or_default();
            match self.room(id) {
                Ok(room) => (
                    Fate::Record(Started { route, received_at, event_time, headers, generated_id }),
                    Some(room),
                ),
                Err(Without::SampledOut) => (Fate::SampledOut, None),
                Err(Without::Dropped(reason)) => (Fate::Dropped(reason), None),
            }
        } else {
            (Fate::Dropped("unsupported_format"), None)
        };
        let copy = match room {
            Some(room) => BodyCopy::new(room, self.tap().body_limit.0),
            None => BodyCopy::unwanted(queue.reservation()),
        };
        let copy = if is_unnamed { copy.keeping_first() } else { copy };
        let observing = Observing::new(whose, fate, copy, queue.clone());
        (Some(Box::new(observing)), answer_id)
    }

    /// Room in the queue for the exchange of this id, or what becomes of it without.
    fn room(&self, id: &str) -> Result<Reservation, Without> {
        let sample = self.tap().sample.get();
        if !is_sampled(id, sample) {
            return Err(Without::SampledOut);
        }
        let share = keep_share(self.settings.queue.fill());
        if share < 1.0 {
            self.settings.metrics.tap.keep_share.set(share);
            if !is_sampled(id, sample * share) {
                return Err(Without::Dropped("shed"));
            }
        }
        self.settings.queue.reserve().ok_or(Without::Dropped("queue_full"))
    }

    /// Adds the ids that the settings ask for and the client did not give; the request id is returned.
    fn identify(&self, headers: &mut HeaderMap, now: DateTime<Utc>) -> Option<HeaderValue> {
        if self.tap().traceparent && !headers.contains_key(TRACEPARENT) {
            let trace = new_id(now).replace('-', "");
            // Unique within its trace, which is all that a span has to be; never all zeros, as the variant is in it.
            let span = &trace[16..];
            if let Ok(value) = HeaderValue::from_str(&format!("00-{trace}-{span}-01")) {
                headers.insert(TRACEPARENT, value);
            }
        }
        if !self.tap().request_id || headers.contains_key(REQUEST_ID) {
            return None;
        }
        let id = HeaderValue::from_str(&new_id(now)).ok()?;
        headers.insert(REQUEST_ID, id.clone());
        Some(id)
    }

    /// The route of a prediction, and its model if that is known before the body.
    fn recognise(
        &self,
        request: &Request<Incoming>,
        route_model: Option<&ModelName>,
    ) -> Option<(Route, Option<ModelName>)> {
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
            return Some((route, Some(model.clone())));
        }
        let Recognised::Prediction(route) = recognised else { return None };
        if let Some(model) = route_model {
            return Some((route, Some(model.clone())));
        }
        if route.model.is_none() && is_in_body(route.protocol) {
            return Some((route, None));
        }
        let model = route.model.as_deref().and_then(|name| ModelName::parse(name).ok());
        if model.is_none() {
            self.settings.metrics.tap.unmonitored.inc();
        }
        Some((route, Some(model?)))
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

    /// Holds the body back that a client only sends when it is asked for, until the model server asks.
    fn hold_back(&self, request: &mut Request<RequestBody>) -> Option<Arc<Gate>> {
        let expects = request.version() == Version::HTTP_11
            && request
                .headers()
                .get(EXPECT)
                .is_some_and(|what| what.as_bytes().eq_ignore_ascii_case(b"100-continue"))
            && !request.body().is_end_stream();
        if !expects {
            return None;
        }
        let gate = request.body_mut().hold(self.tap().continue_timeout.0);
        let opened = Arc::clone(&gate);
        hyper::ext::on_informational(request, move |interim| {
            if interim.status() == StatusCode::CONTINUE {
                opened.open();
            }
        });
        Some(gate)
    }

    /// The copy of an answer's body: of nothing where no rows can come of it.
    fn answer_copy(&self, observing: Option<&Observing>) -> BodyCopy {
        let room = self.settings.queue.reservation();
        if observing.is_some_and(Observing::is_recorded) {
            BodyCopy::new(room, self.tap().body_limit.0)
        } else {
            BodyCopy::unwanted(room)
        }
    }

    /// There is no answer of the model server: the client learns why, and the exchange is settled.
    fn unanswered(
        &self,
        error: SendError,
        observing: Option<Box<Observing>>,
        in_flight: InFlight,
        speech: Speech,
        times: Times,
    ) -> Result<Response<ResponseBody>, Reset> {
        let reason = error.reason();
        let settle = |status: StatusCode, headers: &HeaderMap| {
            if let Some(observing) = observing {
                observing.unanswered((status.as_u16(), headers), reason, times.upstream(), times.overhead());
            }
        };
        if speech.version == Version::HTTP_2
            && error.is_stream_reset()
            && let SendError::Failed(error) = error
        {
            settle(StatusCode::BAD_GATEWAY, &HeaderMap::new());
            return Err(Reset(error));
        }
        let status = match error {
            SendError::Unforwardable => StatusCode::BAD_REQUEST,
            SendError::TimedOut => StatusCode::GATEWAY_TIMEOUT,
            _ => StatusCode::BAD_GATEWAY,
        };
        let response = self.answer_without_upstream(in_flight, speech, status, reason);
        settle(response.status(), response.headers());
        Ok(response)
    }

    /// What the absence of the model server means to a client, and nothing else.
    fn answer_without_upstream(
        &self,
        in_flight: InFlight,
        speech: Speech,
        status: StatusCode,
        reason: &'static str,
    ) -> Response<ResponseBody> {
        self.count(status);
        let mut response = Response::new(ResponseBody::empty(in_flight));
        if speech.is_grpc {
            // gRPC has its status in the headers of an otherwise successful answer.
            let status = if status == StatusCode::GATEWAY_TIMEOUT { DEADLINE_EXCEEDED } else { UNAVAILABLE };
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            headers.insert(HeaderName::from_static("grpc-status"), HeaderValue::from(status));
        } else {
            *response.status_mut() = status;
        }
        response.headers_mut().insert(ERROR, HeaderValue::from_static(reason));
        response
    }

    fn count(&self, status: StatusCode) {
        let code = if status.as_u16() < 600 { status.as_str() } else { "other" };
        self.settings.metrics.proxy.requests.with_label_values(&[code]).inc();
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

/// Takes out of an answer what belongs to the other connection, and adds what this one needs.
fn adapt(response: &mut Response<Incoming>, speech: Speech, switching: bool, answer_id: Option<HeaderValue>) {
    if speech.version == Version::HTTP_2 {
        *response.version_mut() = Version::HTTP_2;
    }
    let headers = response.headers_mut();
    strip_hop_by_hop(headers, switching);
    if speech.keep_alive && headers.contains_key(CONTENT_LENGTH) {
        headers.insert(CONNECTION, HeaderValue::from_static("keep-alive"));
    }
    if let Some(id) = answer_id
        && !headers.contains_key(REQUEST_ID)
    {
        headers.insert(REQUEST_ID, id);
    }
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn log(error: &SendError, upstream: &str) {
    let cause: &dyn std::error::Error = match error {
        SendError::Unforwardable => {
            return tracing::debug!("a request has no path that can be forwarded");
        }
        SendError::TimedOut => {
            return tracing::debug!(upstream, "the model server did not answer in time");
        }
        SendError::OnlyHttp1 => return tracing::debug!(upstream, "the model server offers no HTTP/2"),
        SendError::Unreachable(error) => error,
        SendError::Failed(error) => error,
    };
    tracing::warn!(error = cause, upstream, "the model server did not answer");
}
