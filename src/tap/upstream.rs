//! Connections to the model server: pooled, one protocol as the client speaks it, never a retry of what was sent.

use std::task::{Context, Poll};
use std::time::Duration;

use http::uri::{Authority, Scheme};
use http::{Request, Response, Uri, Version};
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tower_service::Service;

use super::body::RequestBody;

/// Shorter than the keep-alive of the common servers (gunicorn 2 s, uvicorn 5 s), so that a request is not written
/// to a connection that the server is about to close.
const IDLE_TIMEOUT: Duration = Duration::from_millis(1_500);
/// Larger than any model server sends.
const MAX_HEADER_LIST_BYTES: u32 = 1 << 20;
/// HTTP/2 flow control: room for what is under way on loopback.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
/// The same, for all streams of a connection.
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;

/// Connects to one address, whatever the request calls its host.
#[derive(Debug, Clone)]
struct Connect {
    http: HttpConnector,
    target: Uri,
}

impl Service<Uri> for Connect {
    type Response = <HttpConnector as Service<Uri>>::Response;
    type Error = <HttpConnector as Service<Uri>>::Error;
    type Future = <HttpConnector as Service<Uri>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.http.poll_ready(cx)
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        self.http.call(self.target.clone())
    }
}

/// The model server.
#[derive(Debug, Clone)]
pub(super) struct Upstream {
    authority: Authority,
    http1: Client<Connect, RequestBody>,
    http2: Client<Connect, RequestBody>,
}

impl Upstream {
    /// A model server at `url`, which is `http://host:port`; nothing connects yet.
    pub(super) fn new(url: &str, connect_timeout: Duration) -> Option<Self> {
        let target: Uri = url.parse().ok()?;
        if target.scheme() != Some(&Scheme::HTTP)
            || !matches!(target.path(), "" | "/")
            || target.query().is_some()
        {
            return None;
        }
        let authority = target.authority()?.clone();
        let mut http = HttpConnector::new();
        http.set_nodelay(true);
        http.set_connect_timeout(Some(connect_timeout));
        let connect = Connect { http, target };
        let mut builder = Client::builder(TokioExecutor::new());
        builder
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .set_host(false)
            .http1_preserve_header_case(true)
            .http2_max_header_list_size(MAX_HEADER_LIST_BYTES)
            .http2_initial_stream_window_size(STREAM_WINDOW_BYTES)
            .http2_initial_connection_window_size(CONNECTION_WINDOW_BYTES);
        let http1 = builder.build(connect.clone());
        let http2 = builder.http2_only(true).build(connect);
        Some(Self { authority, http1, http2 })
    }

    /// What a request has as host that came without one.
    pub(super) fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Sends a request whose URI has path and query, and for HTTP/2 the authority that the client named.
    pub(super) async fn send(
        &self,
        mut request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, SendError> {
        let is_http2 = request.version() == Version::HTTP_2;
        let mut parts = std::mem::take(request.uri_mut()).into_parts();
        parts.scheme = Some(Scheme::HTTP);
        if !is_http2 || parts.authority.is_none() {
            parts.authority = Some(self.authority.clone());
        }
        *request.uri_mut() = Uri::from_parts(parts).map_err(|_| SendError::Unforwardable)?;
        let client = if is_http2 { &self.http2 } else { &self.http1 };
        Ok(client.request(request).await?)
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum SendError {
    /// The request has no path that could be asked for.
    Unforwardable,
    /// The model server was not reached, or broke off.
    Failed(Error),
}

impl From<Error> for SendError {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl SendError {
    /// The reason under which the exchange counts as dropped.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Unforwardable => "unforwardable",
            Self::Failed(error) if error.is_connect() => "upstream_unreachable",
            Self::Failed(_) => "upstream_reset",
        }
    }
}
