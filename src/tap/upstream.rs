//! Connections to one model server for clients of HTTP/2: one for each of theirs, or reused ones where the model server
//! knows only HTTP/1. What was sent is never sent again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use http::header::{CONTENT_LENGTH, COOKIE, HOST, HeaderValue, TRANSFER_ENCODING};
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderMap, Request, Response, StatusCode, Uri, Version};
use http_body::Body;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::task::TaskTracker;

use super::absent::Absent;
use super::body::RequestBody;
use super::client::ClientConnection;
use super::connect::{Address, Connected};
use super::relay::{Pool, Stream};
use super::server::{CONNECTION_WINDOW_BYTES, STREAM_WINDOW_BYTES, thread_count};
use crate::config;

/// How often a connection is opened for a request that none of them took.
const ATTEMPTS: usize = 3;

/// An unused connection.
#[derive(Debug)]
struct Idle {
    sender: http1::SendRequest<RequestBody>,
    since: Instant,
}

/// A model server.
#[derive(Debug)]
pub(super) struct Upstream {
    address: Address,
    /// Its place among all, and how many there are.
    index: usize,
    count: usize,
    idle_timeout: Duration,
    /// Told by settings, or found out by ALPN.
    only_http1: AtomicBool,
    idle: Mutex<VecDeque<Idle>>,
    tasks: TaskTracker,
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
    /// Unused connections of the relay, for each thread of the proxy.
    pools: Vec<Pool>,
}

/// An answer, and the connection it comes over.
pub(super) struct Answer {
    pub(super) response: Response<Incoming>,
    pub(super) lease: Option<Lease>,
}

/// A connection in use that may be used again.
#[derive(Debug)]
pub(super) struct Lease {
    sender: http1::SendRequest<RequestBody>,
    upstream: Arc<Upstream>,
}

impl Lease {
    /// The answer has ended: the connection may serve another request as soon as it is ready for one.
    pub(super) fn give_back(self) {
        if !self.sender.is_closed() {
            let idle = Idle { sender: self.sender, since: Instant::now() };
            self.upstream.idle.lock().push_back(idle);
        }
    }
}

impl Upstream {
    /// A model server at `address`, the one of `index` among `count`; nothing connects yet.
    pub(super) fn new(
        address: Address,
        (index, count): (usize, usize),
        protocol: config::UpstreamProtocol,
        settings: &config::Tap,
    ) -> Self {
        let mut http1 = http1::Builder::new();
        http1
            .preserve_header_case(true)
            .max_buf_size(settings.header_bytes.0)
            .max_headers(usize::try_from(settings.header_count).unwrap_or(usize::MAX));
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .max_header_list_size(u32::try_from(settings.header_bytes.0).unwrap_or(u32::MAX))
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
        Self {
            address,
            index,
            count,
            idle_timeout: settings.upstream_idle_timeout.0,
            only_http1: AtomicBool::new(protocol == config::UpstreamProtocol::Http1),
            idle: Mutex::default(),
            tasks: TaskTracker::new(),
            http1,
            http2,
            pools: (0..thread_count(settings)).map(|_| Pool::default()).collect(),
        }
    }

    /// Its address, for messages.
    pub(super) fn authority(&self) -> &str {
        self.address.authority.as_str()
    }

    /// Closes connections that were not used for long.
    pub(super) fn reap(&self) {
        let mut idle = self.idle.lock();
        idle.retain(|one| one.since.elapsed() < self.idle_timeout && !one.sender.is_closed());
        drop(idle);
        for pool in &self.pools {
            pool.reap(self.idle_timeout);
        }
    }

    /// An unused connection of the relay on this thread of the proxy.
    pub(super) fn unused_stream(&self, thread: usize) -> Option<Stream> {
        self.pools.get(thread)?.take(self.idle_timeout)
    }

    /// Gives a connection back that may be used again.
    pub(super) fn keep_stream(&self, thread: usize, stream: Stream) {
        if let Some(pool) = self.pools.get(thread) {
            pool.give_back(stream);
        }
    }

    /// Opens a connection for the relay.
    pub(super) async fn open_stream(&self) -> std::io::Result<Stream> {
        Ok(match self.address.connect(false).await? {
            Connected::Plain(stream) => Stream::Plain(stream),
            Connected::Tls(stream, _) => Stream::Tls(Box::new(tokio_rustls::TlsStream::Client(*stream))),
        })
    }

    /// Sends a request in the protocol it came in, as far as the model server knows it.
    pub(super) async fn send(
        self: &Arc<Self>,
        client: &ClientConnection,
        request: Request<RequestBody>,
    ) -> Result<Answer, SendError> {
        if request.version() != Version::HTTP_2 {
            self.send_http1(request).await
        } else if self.only_http1.load(Ordering::Relaxed) {
            self.send_http1(self.downgraded(request)?).await
        } else {
            self.send_http2(client, request).await
        }
    }

    /// An unused connection that is ready; those that are not yet stay, those that are closed go.
    fn unused_sender(&self) -> Option<http1::SendRequest<RequestBody>> {
        let mut idle = self.idle.lock();
        for at in (0..idle.len()).rev() {
            let one = &idle[at];
            if one.sender.is_ready() && one.since.elapsed() < self.idle_timeout {
                return idle.remove(at).map(|one| one.sender);
            }
            if one.sender.is_closed() {
                idle.remove(at);
            }
        }
        None
    }

    async fn send_http1(self: &Arc<Self>, mut request: Request<RequestBody>) -> Result<Answer, SendError> {
        // Servers close after HTTP/1.0, some of them without saying so.
        let is_reusable = request.version() == Version::HTTP_11;
        let mut attempts = 0;
        loop {
            let unused = if is_reusable { self.unused_sender() } else { None };
            let mut sender = match unused {
                Some(sender) => sender,
                None if attempts == ATTEMPTS => {
                    return Err(SendError::Unreachable(std::io::ErrorKind::ConnectionReset.into()));
                }
                None => {
                    attempts += 1;
                    self.connect_http1().await?
                }
            };
            match sender.try_send_request(request).await {
                Ok(response) => {
                    let is_reusable = is_reusable
                        && response.version() == Version::HTTP_11
                        && response.status() != StatusCode::SWITCHING_PROTOCOLS;
                    let lease = is_reusable.then(|| Lease { sender, upstream: Arc::clone(self) });
                    return Ok(Answer { response, lease });
                }
                // It is given back only if nothing of it was written.
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(SendError::Failed(error.into_error())),
                },
            }
        }
    }

    async fn connect_http1(&self) -> Result<http1::SendRequest<RequestBody>, SendError> {
        match self.address.connect(false).await.map_err(SendError::Unreachable)? {
            Connected::Plain(stream) => self.start_http1(stream).await,
            Connected::Tls(stream, _) => self.start_http1(*stream).await,
        }
    }

    async fn start_http1<T: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        &self,
        stream: T,
    ) -> Result<http1::SendRequest<RequestBody>, SendError> {
        let (mut sender, connection) =
            self.http1.handshake(TokioIo::new(stream)).await.map_err(SendError::Failed)?;
        self.tasks.spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "a connection to a model server ended");
            }
        });
        sender.ready().await.map_err(SendError::Failed)?;
        Ok(sender)
    }

    async fn send_http2(
        self: &Arc<Self>,
        client: &ClientConnection,
        request: Request<RequestBody>,
    ) -> Result<Answer, SendError> {
        let mut request = self.addressed(request)?;
        let mut broken = None;
        for _ in 0..ATTEMPTS {
            let cell = client.http2(self.index, self.count, broken.as_ref());
            let mut sender = match cell.get_or_try_init(|| self.connect_http2()).await {
                Ok(sender) => sender.clone(),
                Err(SendError::OnlyHttp1) => {
                    tracing::info!(
                        upstream = self.authority(),
                        "the model server offers no HTTP/2; it gets HTTP/1.1"
                    );
                    self.only_http1.store(true, Ordering::Relaxed);
                    return self.send_http1(self.downgraded(request)?).await;
                }
                Err(error) => return Err(error),
            };
            if !sender.is_closed() {
                match sender.try_send_request(request).await {
                    Ok(response) => return Ok(Answer { response, lease: None }),
                    Err(mut error) => match error.take_message() {
                        Some(unsent) => request = unsent,
                        None => return Err(SendError::Failed(error.into_error())),
                    },
                }
            }
            broken = Some(cell);
        }
        Err(SendError::Unreachable(std::io::ErrorKind::ConnectionReset.into()))
    }

    async fn connect_http2(&self) -> Result<http2::SendRequest<RequestBody>, SendError> {
        match self.address.connect(true).await.map_err(SendError::Unreachable)? {
            Connected::Plain(stream) => self.start_http2(stream).await,
            Connected::Tls(stream, true) => self.start_http2(*stream).await,
            Connected::Tls(_, false) => Err(SendError::OnlyHttp1),
        }
    }

    async fn start_http2<T: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        &self,
        stream: T,
    ) -> Result<http2::SendRequest<RequestBody>, SendError> {
        let (sender, connection) =
            self.http2.handshake(TokioIo::new(stream)).await.map_err(SendError::Failed)?;
        self.tasks.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to a model server ended");
            }
        });
        Ok(sender)
    }

    /// HTTP/2 names scheme and authority with every request: the client's authority, and the scheme of this hop.
    fn addressed(&self, mut request: Request<RequestBody>) -> Result<Request<RequestBody>, SendError> {
        let mut parts = std::mem::take(request.uri_mut()).into_parts();
        parts.scheme = Some(if self.address.is_tls() { Scheme::HTTPS } else { Scheme::HTTP });
        if parts.authority.is_none() {
            let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()?.parse().ok());
            parts.authority = Some(host.unwrap_or_else(|| self.address.authority.clone()));
        }
        *request.uri_mut() = Uri::from_parts(parts).map_err(|_| SendError::Unforwardable)?;
        Ok(request)
    }

    /// The same request in HTTP/1.1.
    fn downgraded(&self, mut request: Request<RequestBody>) -> Result<Request<RequestBody>, SendError> {
        let parts = std::mem::take(request.uri_mut()).into_parts();
        let authority = parts.authority.unwrap_or_else(|| self.address.authority.clone());
        let path = parts.path_and_query.unwrap_or_else(|| PathAndQuery::from_static("/"));
        *request.uri_mut() = Uri::from(path);
        *request.version_mut() = Version::HTTP_11;
        let is_empty = request.body().is_end_stream();
        let headers = request.headers_mut();
        if !headers.contains_key(HOST) {
            let host = HeaderValue::from_str(authority.as_str()).map_err(|_| SendError::Unforwardable)?;
            headers.insert(HOST, host);
        }
        join_cookies(headers);
        if !is_empty && !headers.contains_key(CONTENT_LENGTH) {
            headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        Ok(request)
    }
}

/// HTTP/2 clients may send cookies one by one; HTTP/1 knows only one header of them (RFC 9113, section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let cookies: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if cookies.len() > 1
        && let Ok(joined) = HeaderValue::from_bytes(&cookies.join(&b"; "[..]))
    {
        headers.insert(COOKIE, joined);
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum SendError {
    /// The request has no path that could be asked for.
    Unforwardable,
    /// The model server was not reached.
    Unreachable(std::io::Error),
    /// The model server broke off.
    Failed(hyper::Error),
    /// There was no answer within `tap.request_timeout`.
    TimedOut,
    /// The model server agreed on HTTP/1.1 where HTTP/2 was offered.
    OnlyHttp1,
}

impl SendError {
    /// What the client is told.
    pub(super) fn absent(&self) -> Absent {
        match self {
            Self::Unforwardable => Absent::Unforwardable,
            Self::Unreachable(_) | Self::OnlyHttp1 => Absent::Unreachable,
            Self::Failed(_) => Absent::Reset,
            Self::TimedOut => Absent::TimedOut,
        }
    }

    /// Whether the model server reset this one request of HTTP/2, and nothing else.
    pub(super) fn is_stream_reset(&self) -> bool {
        let Self::Failed(error) = self else { return false };
        let mut source = std::error::Error::source(error);
        while let Some(error) = source {
            if let Some(error) = error.downcast_ref::<h2::Error>() {
                return error.is_reset() && error.is_remote();
            }
            source = error.source();
        }
        false
    }
}
