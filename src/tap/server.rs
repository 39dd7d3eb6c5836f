//! The listener: connections in, requests to [`Shared::serve`], and a shutdown that finishes what is in flight.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::proxy::{ProxyError, Shared, TapSettings};

/// How long to wait when the system has no file descriptor left for one more connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Larger than any client sends.
const MAX_HEADER_LIST_BYTES: u32 = 1 << 20;
/// Streams per HTTP/2 connection: the model server sets the limit that counts.
const MAX_STREAMS: u32 = 4096;
/// HTTP/2 flow control: room for what is under way on loopback.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
/// The same, for all streams of a connection.
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;

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
        while let Some(accepted) = shutdown.run_until_cancelled(listener.accept()).await {
            match accepted {
                Ok((stream, _)) => {
                    let connection = serve(stream, Arc::clone(&shared), shutdown.clone());
                    shared.tasks.spawn(connection);
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

async fn serve(stream: TcpStream, shared: Arc<Shared>, shutdown: CancellationToken) {
    // Without it small frames wait for an acknowledgement: a gRPC call took 44 ms instead of 0.7.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY was refused");
    }
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().preserve_header_case(true).auto_date_header(false).header_read_timeout(None);
    builder
        .http2()
        .auto_date_header(false)
        .max_header_list_size(MAX_HEADER_LIST_BYTES)
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
    let service = service_fn(|request| Arc::clone(&shared).serve(request));
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = async {
        if let Some(ended) = shutdown.run_until_cancelled(connection.as_mut()).await {
            return ended;
        }
        connection.as_mut().graceful_shutdown();
        connection.await
    };
    if let Some(Err(error)) = shared.kill.run_until_cancelled(ended).await {
        tracing::debug!(%error, "a connection ended");
    }
}
