//! One client's connection of HTTP/2: whether it is idle, and the connections to model servers that its requests share.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use hyper::client::conn::http2::SendRequest;
use parking_lot::Mutex;
use tokio::sync::OnceCell;

use super::body::RequestBody;

/// The HTTP/2 connection to one model server that one client's requests share.
pub(super) type Http2Cell = Arc<OnceCell<SendRequest<RequestBody>>>;

/// The state of one client's connection.
#[derive(Debug)]
pub(super) struct ClientConnection {
    opened: Instant,
    in_flight: AtomicU32,
    /// When the last request ended, in milliseconds since the connection was opened.
    idle_since: AtomicU64,
    /// By index of the model server.
    http2: OnceLock<Vec<Mutex<Http2Cell>>>,
}

impl ClientConnection {
    pub(super) fn new() -> Self {
        Self {
            opened: Instant::now(),
            in_flight: AtomicU32::new(0),
            idle_since: AtomicU64::new(0),
            http2: OnceLock::new(),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// A request has begun.
    pub(super) fn enter(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    /// Its answer has ended.
    pub(super) fn exit(&self) {
        self.idle_since.store(self.now(), Ordering::Relaxed);
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// The connection to model server `index` of `count`; replaced when it is `broken`.
    pub(super) fn http2(&self, index: usize, count: usize, broken: Option<&Http2Cell>) -> Http2Cell {
        let cells = self.http2.get_or_init(|| (0..count).map(|_| Mutex::default()).collect());
        let mut cell = cells[index].lock();
        if broken.is_some_and(|broken| Arc::ptr_eq(broken, &cell)) {
            *cell = Http2Cell::default();
        }
        Arc::clone(&cell)
    }

    /// Waits until there was no request for as long as `limit`.
    pub(super) async fn idle(&self, limit: Duration) {
        loop {
            let mut rest = limit;
            if self.in_flight.load(Ordering::Relaxed) == 0 {
                let since = Duration::from_millis(self.idle_since.load(Ordering::Relaxed));
                rest = (since + limit).saturating_sub(self.opened.elapsed());
                if rest.is_zero() {
                    return;
                }
            }
            tokio::time::sleep(rest).await;
        }
    }
}
