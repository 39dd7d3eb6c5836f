//! What the proxy is made of, and one request of HTTP/2: forwarded as it is, and observed where it is a prediction of a
//! monitored model.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use thiserror::Error;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::absent::{Absent, ERROR_HEADER, GRPC_KIND};
use super::body::{InFlight, RequestBody, ResponseBody};
use super::client::ClientConnection;
use super::headers::strip_hop_by_hop;
use super::ledger::Ledger;
use super::observe::Observing;
use super::queue::ExchangeQueue;
use super::recognise::{Asked, Noted, REQUEST_ID, TRACEPARENT};
use super::routes::Routes;
use super::shed::keep_share;
use super::tls::{Certificate, TlsError};
use super::upstream::{Answer, SendError};
use crate::config;
use crate::metrics::Metrics;
use crate::model::ModelName;

pub use super::server::Proxy;

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
    pub(super) routes: Routes,
    pub(super) certificate: Option<Certificate>,
    pub(super) settings: TapSettings,
    pub(super) event_time_header: Option<HeaderName>,
    pub(super) tasks: TaskTracker,
    /// Ends what is still open after the grace.
    pub(super) kill: CancellationToken,
}

/// The model server reset a request of HTTP/2: so does the proxy, for the same reason.
#[derive(Debug, Error)]
#[error("the model server reset the request")]
pub(super) struct Reset(#[source] hyper::Error);

/// When the stages of a request were reached.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    pub(super) started: Instant,
    pub(super) sent: Instant,
    pub(super) answered: Instant,
}

impl Times {
    pub(super) fn upstream(&self) -> Duration {
        self.answered - self.sent
    }

    pub(super) fn overhead(&self) -> Duration {
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

    /// Counts an answer.
    pub(super) fn count(&self, status: u16) {
        self.settings.metrics.proxy.answered(status);
    }

    /// Forwards one request of HTTP/2.
    pub(super) async fn serve(
        self: Arc<Self>,
        client: Arc<ClientConnection>,
        mut request: Request<Incoming>,
    ) -> Result<Response<ResponseBody>, Reset> {
        let started = Instant::now();
        let in_flight = InFlight::new(&self.settings.metrics.proxy.in_flight, Arc::clone(&client));
        let kind = request.headers().get(CONTENT_TYPE);
        let is_grpc = kind.is_some_and(|kind| kind.as_bytes().starts_with(GRPC_KIND.as_bytes()));
        if request.method() == Method::CONNECT {
            return Ok(self.answer_without_upstream(in_flight, is_grpc, Absent::Connect));
        }
        let (upstream, route_model) = self.routes.find(request.uri().path(), || host_of(&request));
        let Noted { mut observing, traceparent, request_id } = self.note(
            &Asked {
                method: request.method().as_str(),
                path: request.uri().path(),
                fields: request.headers(),
            },
            route_model,
        );
        let answer_id = request_id.and_then(|id| HeaderValue::try_from(id).ok());
        let traceparent = traceparent.and_then(|value| HeaderValue::try_from(value).ok());
        for (name, value) in [(TRACEPARENT, traceparent), (REQUEST_ID, answer_id.clone())] {
            if let Some(value) = value {
                request.headers_mut().insert(HeaderName::from_static(name), value);
            }
        }

        let copy = observing.as_ref().map(|observing| observing.request_copy());
        let (mut parts, body) = request.into_parts();
        strip_hop_by_hop(&mut parts.headers);
        let is_length_stated = parts.headers.contains_key(CONTENT_LENGTH);
        let request = Request::from_parts(parts, RequestBody::new(body, copy, is_length_stated));

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
                return self.unanswered(error, observing, in_flight, is_grpc, times);
            }
        };
        self.count(response.status().as_u16());
        if let Some(observing) = &mut observing {
            let status = response.status().as_u16();
            observing.answered(status, response.headers(), times.upstream(), times.overhead());
        }
        *response.version_mut() = Version::HTTP_2;
        let headers = response.headers_mut();
        strip_hop_by_hop(headers);
        if let Some(id) = answer_id
            && !headers.contains_key(REQUEST_ID)
        {
            headers.insert(HeaderName::from_static(REQUEST_ID), id);
        }
        let copy = self.answer_copy(observing.as_deref());
        Ok(response
            .map(|body| ResponseBody::new(body, lease, in_flight).until(deadline).observed(observing, copy)))
    }

    /// There is no answer of the model server: the client learns why, and the exchange is settled.
    fn unanswered(
        &self,
        error: SendError,
        observing: Option<Box<Observing>>,
        in_flight: InFlight,
        is_grpc: bool,
        times: Times,
    ) -> Result<Response<ResponseBody>, Reset> {
        let absent = error.absent();
        let is_reset = error.is_stream_reset();
        if let Some(observing) = observing {
            let status = if is_reset { (absent.status().as_u16(), None) } else { absent.shown(is_grpc) };
            observing.unanswered(status, absent.reason(), times.upstream(), times.overhead());
        }
        match error {
            SendError::Failed(error) if is_reset => Err(Reset(error)),
            _ => Ok(self.answer_without_upstream(in_flight, is_grpc, absent)),
        }
    }

    /// What the absence of the model server means to a client, and nothing else.
    fn answer_without_upstream(
        &self,
        in_flight: InFlight,
        is_grpc: bool,
        absent: Absent,
    ) -> Response<ResponseBody> {
        self.count(absent.status().as_u16());
        let (status, grpc_status) = absent.shown(is_grpc);
        let mut response = Response::new(ResponseBody::empty(in_flight));
        *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
        let headers = response.headers_mut();
        if let Some(grpc_status) = grpc_status {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(GRPC_KIND));
            headers.insert(HeaderName::from_static("grpc-status"), HeaderValue::from(grpc_status));
        }
        headers.insert(HeaderName::from_static(ERROR_HEADER), HeaderValue::from_static(absent.reason()));
        response
    }
}

/// The host that a request names.
fn host_of<B>(request: &Request<B>) -> &str {
    let host = request.uri().authority().map(http::uri::Authority::as_str);
    host.or_else(|| request.headers().get(HOST)?.to_str().ok()).unwrap_or_default()
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
