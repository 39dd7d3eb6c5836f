//! The listener: connections in, requests to [`Shared::serve`], and a shutdown that finishes what is in flight.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::client::{ClientConnection, Overdue, Watched};
use super::proxy::{ProxyError, Shared, TapSettings};

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
        Self::serve(listener, shared, shutdown).await;
    }

    /// Like [`Proxy::run`], on threads of its own: whatever else the process computes, it does not hold up a prediction.
    ///
    /// # Errors
    ///
    /// When the system gives no more threads.
    pub async fn run_apart(self, shutdown: CancellationToken) -> std::io::Result<()> {
        let Self { listener, shared, .. } = self;
        let listener = listener.into_std()?;
        let runtime =
            tokio::runtime::Builder::new_multi_thread().thread_name("proxy").enable_all().build()?;
        let served = tokio::task::spawn_blocking(move || {
            runtime.block_on(async {
                Self::serve(TcpListener::from_std(listener)?, shared, shutdown).await;
                Ok(())
            })
        });
        served.await.map_err(std::io::Error::other)?
    }

    async fn serve(listener: TcpListener, shared: Arc<Shared>, shutdown: CancellationToken) {
        shared.tasks.spawn(tidy(Arc::clone(&shared), shutdown.clone()));
        let builder = Arc::new(builder(&shared));
        let room = shared.tap().max_connections;
        let room = room
            .map(|most| Arc::new(Semaphore::new(usize::try_from(most).unwrap_or(Semaphore::MAX_PERMITS))));
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
                    let (builder, shared_) = (Arc::clone(&builder), Arc::clone(&shared));
                    shared.tasks.spawn(accept(stream, permit, builder, shared_, shutdown.clone()));
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

fn builder(shared: &Shared) -> auto::Builder<TokioExecutor> {
    let tap = shared.tap();
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .preserve_header_case(true)
        .auto_date_header(false)
        // Would also end connections that are only idle; `ClientConnection` tells the two apart.
        .header_read_timeout(None)
        .max_buf_size(tap.header_bytes.0)
        .max_headers(usize::try_from(tap.header_count).unwrap_or(usize::MAX));
    builder
        .http2()
        .auto_date_header(false)
        .max_header_list_size(u32::try_from(tap.header_bytes.0).unwrap_or(u32::MAX))
        .max_concurrent_streams(tap.max_streams)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
    builder
}

/// Serves one connection, after its TLS handshake if there is one.
async fn accept(
    stream: TcpStream,
    _permit: Option<OwnedSemaphorePermit>,
    builder: Arc<auto::Builder<TokioExecutor>>,
    shared: Arc<Shared>,
    shutdown: CancellationToken,
) {
    // Without it small frames wait for an acknowledgement: a gRPC call took 44 ms instead of 0.7.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY was refused");
    }
    let client = Arc::new(ClientConnection::new());
    let Some(certificate) = &shared.certificate else {
        return serve(stream, client, builder, shared, shutdown).await;
    };
    let handshake = certificate.acceptor().accept(stream);
    let handshake = async {
        match shared.tap().header_timeout {
            Some(limit) => tokio::time::timeout(limit.0, handshake).await?,
            None => handshake.await,
        }
    };
    match shutdown.run_until_cancelled(handshake).await {
        Some(Ok(stream)) => {
            if super::tls::is_http2(stream.get_ref().1.alpn_protocol()) {
                client.speaks_http2();
            }
            serve(stream, client, builder, shared, shutdown).await;
        }
        Some(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
        None => {}
    }
}

async fn serve<T: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: T,
    client: Arc<ClientConnection>,
    builder: Arc<auto::Builder<TokioExecutor>>,
    shared: Arc<Shared>,
    shutdown: CancellationToken,
) {
    let stream = TokioIo::new(Watched::new(stream, Arc::clone(&client)));
    let service = service_fn(|request| Arc::clone(&shared).serve(Arc::clone(&client), request));
    let connection = builder.serve_connection_with_upgrades(stream, service);
    let mut connection = std::pin::pin!(connection);
    let tap = shared.tap();
    let limits = (tap.header_timeout.map(|limit| limit.0), tap.idle_timeout.map(|limit| limit.0));
    let ended = async {
        tokio::select! {
            biased;
            ended = connection.as_mut() => return ended,
            () = shutdown.cancelled() => {}
            why = client.overdue(limits.0, limits.1) => {
                tracing::debug!(?why, "a client's connection is closed");
                if why == Overdue::Head {
                    return Ok(());
                }
            }
        }
        connection.as_mut().graceful_shutdown();
        connection.await
    };
    if let Some(Err(error)) = shared.kill.run_until_cancelled(ended).await {
        tracing::debug!(%error, "a connection ended");
    }
}
