//! The listener: connections in, HTTP/1 to the relay, requests of HTTP/2 to [`Shared::serve`], and a shutdown that
//! finishes what is in flight.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Handle};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::client::ClientConnection;
use super::proxy::{ProxyError, Shared, TapSettings};
use super::relay::{self, Served, Stream};
use crate::config;

/// How long to wait when the system has no file descriptor left for one more connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How often certificates and unused connections are looked at.
const TIDY_INTERVAL: Duration = Duration::from_secs(1);
/// HTTP/2 flow control: room for what is under way on loopback.
pub(super) const STREAM_WINDOW_BYTES: u32 = 1 << 20;
/// The same, for all streams of a connection.
pub(super) const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;

/// The transparent proxy in front of the model server.
#[derive(Debug)]
pub struct Proxy {
    listener: TcpListener,
    local_addr: SocketAddr,
    shared: Arc<Shared>,
}

impl Proxy {
    /// Checks the settings and listens on `address`, so that a port in use is an error at start.
    ///
    /// # Errors
    ///
    /// [`ProxyError`] names the setting, or the address.
    pub async fn bind(address: SocketAddr, settings: TapSettings) -> Result<Self, ProxyError> {
        let shared = Arc::new(Shared::new(settings)?);
        let failed = |source| ProxyError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let local_addr = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, local_addr, shared })
    }

    /// The address that is listened on.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Forwards until `shutdown` is cancelled, then accepts no more, and returns when what was in flight has ended
    /// or its grace is over.
    pub async fn run(self, shutdown: CancellationToken) {
        let Self { listener, shared, .. } = self;
        Threads::default().serve(listener, shared, shutdown).await;
    }

    /// Like [`Proxy::run`], on threads of its own: whatever else the process computes, it does not hold up a prediction.
    ///
    /// Each thread has its connections to itself, those to model servers included, so that none waits for another.
    ///
    /// # Errors
    ///
    /// When the system gives no more threads.
    pub async fn run_apart(self, shutdown: CancellationToken) -> std::io::Result<()> {
        let Self { listener, shared, .. } = self;
        let listener = listener.into_std()?;
        let stop = CancellationToken::new();
        let mut others = Vec::new();
        let mut handles = Vec::new();
        for number in 1..thread_count(shared.tap()) {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            handles.push(runtime.handle().clone());
            let stop = stop.clone();
            others.push(std::thread::Builder::new().name(format!("proxy-{number}")).spawn(move || {
                runtime.block_on(stop.cancelled());
            })?);
        }
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (ended, has_ended) = tokio::sync::oneshot::channel();
        let first = std::thread::Builder::new().name("proxy-0".to_owned()).spawn(move || {
            let _stop = stop.drop_guard();
            let served = runtime.block_on(async {
                Threads { others: handles }.serve(TcpListener::from_std(listener)?, shared, shutdown).await;
                Ok(())
            });
            // Nobody may be waiting any more.
            drop(ended.send(served));
        })?;
        let served = has_ended.await.map_err(std::io::Error::other)?;
        for thread in others.into_iter().chain([first]) {
            if thread.join().is_err() {
                return Err(std::io::Error::other("a thread of the proxy panicked"));
            }
        }
        served
    }
}

/// How many threads forward.
pub(super) fn thread_count(settings: &config::Tap) -> usize {
    let wanted = settings.threads.map(|count| usize::try_from(count).unwrap_or(usize::MAX));
    wanted.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, std::num::NonZero::get)).max(1)
}

/// The threads that serve connections: the one that accepts them, and others.
#[derive(Debug, Default)]
struct Threads {
    others: Vec<Handle>,
}

impl Threads {
    async fn serve(self, listener: TcpListener, shared: Arc<Shared>, shutdown: CancellationToken) {
        shared.tasks.spawn(tidy(Arc::clone(&shared), shutdown.clone()));
        let builder = Arc::new(builder(&shared));
        let room = shared.tap().max_connections;
        let room = room
            .map(|most| Arc::new(Semaphore::new(usize::try_from(most).unwrap_or(Semaphore::MAX_PERMITS))));
        let mut number = 0;
        loop {
            let accepting = async {
                let permit = match &room {
                    // Never closed, so that there is always one to come.
                    Some(room) => Arc::clone(room).acquire_owned().await.ok(),
                    None => None,
                };
                listener.accept().await.map(|(stream, _)| (stream, permit))
            };
            let Some(accepted) = shutdown.run_until_cancelled(accepting).await else { break };
            match accepted {
                Ok((stream, permit)) => {
                    number = (number + 1) % (self.others.len() + 1);
                    let client = Client {
                        builder: Arc::clone(&builder),
                        shared: Arc::clone(&shared),
                        shutdown: shutdown.clone(),
                        thread: number,
                        _permit: permit,
                    };
                    self.hand_over(stream, client);
                }
                Err(error) => {
                    // One connection's trouble, or too many of them: either way the next may succeed.
                    tracing::warn!(%error, "a connection was not accepted");
                    shutdown.run_until_cancelled(tokio::time::sleep(ACCEPT_PAUSE)).await;
                }
            }
        }
        drop(listener);
        shared.tasks.close();
        if tokio::time::timeout(shared.grace(), shared.tasks.wait()).await.is_err() {
            tracing::warn!(open = shared.tasks.len(), "connections were still open after the grace");
            shared.kill.cancel();
            shared.tasks.wait().await;
        }
    }

    /// Has a connection served by its thread.
    fn hand_over(&self, stream: TcpStream, client: Client) {
        let shared = Arc::clone(&client.shared);
        let Some(other) = client.thread.checked_sub(1).and_then(|at| self.others.get(at)) else {
            shared.tasks.spawn(client.accept(stream));
            return;
        };
        // Events of a connection come to the thread on which it was registered.
        match stream.into_std() {
            Ok(stream) => {
                shared.tasks.spawn_on(
                    async move {
                        match TcpStream::from_std(stream) {
                            Ok(stream) => client.accept(stream).await,
                            Err(error) => tracing::warn!(%error, "a connection was not taken over"),
                        }
                    },
                    other,
                );
            }
            Err(error) => tracing::warn!(%error, "a connection was not handed over"),
        }
    }
}

/// Looks after certificates and unused connections.
async fn tidy(shared: Arc<Shared>, shutdown: CancellationToken) {
    while shutdown.run_until_cancelled(tokio::time::sleep(TIDY_INTERVAL)).await.is_some() {
        shared.tidy();
        if shared.certificate.is_some() {
            let shared = Arc::clone(&shared);
            let read = tokio::task::spawn_blocking(move || {
                if let Some(certificate) = &shared.certificate {
                    certificate.reload();
                }
            });
            if let Err(error) = read.await {
                tracing::warn!(%error, "the certificate could not be looked at");
            }
        }
    }
}

fn builder(shared: &Shared) -> http2::Builder<TokioExecutor> {
    let tap = shared.tap();
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .auto_date_header(false)
        .max_header_list_size(u32::try_from(tap.header_bytes.0).unwrap_or(u32::MAX))
        .max_concurrent_streams(tap.max_streams)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
    builder
}

/// A client that has connected.
struct Client {
    builder: Arc<http2::Builder<TokioExecutor>>,
    shared: Arc<Shared>,
    shutdown: CancellationToken,
    thread: usize,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Client {
    /// Serves one connection, after its TLS handshake if there is one.
    async fn accept(self, stream: TcpStream) {
        // Without it small frames wait for an acknowledgement: a gRPC call took 44 ms instead of 0.7.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY was refused");
        }
        let Some(certificate) = &self.shared.certificate else {
            return self.serve(Stream::Plain(stream)).await;
        };
        let handshake = certificate.acceptor().accept(stream);
        let handshake = async {
            match self.shared.tap().header_timeout {
                Some(limit) => tokio::time::timeout(limit.0, handshake).await?,
                None => handshake.await,
            }
        };
        match self.shutdown.run_until_cancelled(handshake).await {
            Some(Ok(stream)) => {
                let is_http2 = super::tls::is_http2(stream.get_ref().1.alpn_protocol());
                let stream = Stream::Tls(Box::new(stream.into()));
                if is_http2 {
                    self.serve_http2(stream).await;
                } else {
                    self.serve(stream).await;
                }
            }
            Some(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
            None => {}
        }
    }

    /// What is spoken shows in the first bytes.
    async fn serve(&self, stream: Stream) {
        let served = relay::serve(stream, &self.shared, self.thread, &self.shutdown);
        if let Some(Served::Http2(stream)) = self.shared.kill.run_until_cancelled(served).await {
            self.serve_http2(stream).await;
        }
    }

    async fn serve_http2<T: AsyncRead + AsyncWrite + Unpin + Send + 'static>(&self, stream: T) {
        let client = Arc::new(ClientConnection::new());
        let service = service_fn(|request| Arc::clone(&self.shared).serve(Arc::clone(&client), request));
        let connection = self.builder.serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        let idle = async {
            match self.shared.tap().idle_timeout {
                Some(limit) => client.idle(limit.0).await,
                None => std::future::pending().await,
            }
        };
        let ended = async {
            tokio::select! {
                biased;
                ended = connection.as_mut() => return ended,
                () = self.shutdown.cancelled() => {}
                () = idle => {}
            }
            connection.as_mut().graceful_shutdown();
            connection.await
        };
        if let Some(Err(error)) = self.shared.kill.run_until_cancelled(ended).await {
            tracing::debug!(%error, "a connection ended");
        }
    }
}
