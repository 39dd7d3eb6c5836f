//! One client's connection: whether it stalls, and the HTTP/2 connections to model servers that its requests share.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use hyper::client::conn::http2::SendRequest;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OnceCell;

use super::body::RequestBody;

/// How often a connection without any limit of its own would be looked at; any long time will do.
const SELDOM: Duration = Duration::from_hours(24);
/// A moment that is not set.
const NEVER: u64 = 0;

/// The HTTP/2 connection to one model server that one client's requests share.
pub(super) type Http2Cell = Arc<OnceCell<SendRequest<RequestBody>>>;

/// The state of one client's connection.
#[derive(Debug)]
pub(super) struct ClientConnection {
    opened: Instant,
    is_http2: AtomicBool,
    in_flight: AtomicU32,
    /// When the first byte of a head came that is not complete yet.
    head_since: AtomicU64,
    /// When the last request ended.
    idle_since: AtomicU64,
    /// By index of the model server.
    http2: OnceLock<Vec<Mutex<Http2Cell>>>,
}

/// Why a connection is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overdue {
    /// The head of a request takes too long.
    Head,
    /// There was no request for too long.
    Idle,
}

impl ClientConnection {
    pub(super) fn new() -> Self {
        Self {
            opened: Instant::now(),
            is_http2: AtomicBool::new(false),
            in_flight: AtomicU32::new(0),
            head_since: AtomicU64::new(NEVER),
            idle_since: AtomicU64::new(1),
            http2: OnceLock::new(),
        }
    }

    /// Milliseconds since the connection was opened, from 1.
    fn now(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1
    }

    /// The client agreed on HTTP/2, where the head of a request has no beginning that could be seen.
    pub(super) fn speaks_http2(&self) {
        self.is_http2.store(true, Ordering::Relaxed);
    }

    fn received(&self, bytes: &[u8], is_first: bool) {
        if is_first && bytes.starts_with(b"PRI") {
            self.speaks_http2();
        }
        if self.in_flight.load(Ordering::Relaxed) == 0
            && self.head_since.load(Ordering::Relaxed) == NEVER
            && !self.is_http2.load(Ordering::Relaxed)
        {
            self.head_since.store(self.now(), Ordering::Relaxed);
        }
    }

    /// A request has begun.
    pub(super) fn enter(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.head_since.store(NEVER, Ordering::Relaxed);
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

    /// Waits until one of the limits is reached.
    pub(super) async fn overdue(&self, head: Option<Duration>, idle: Option<Duration>) -> Overdue {
        let milliseconds = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        // A head may begin at any time, so nothing is slept over that is longer than its limit.
        let longest = head.or(idle).unwrap_or(SELDOM);
        loop {
            let now = self.now();
            let since = self.head_since.load(Ordering::Relaxed);
            let is_idle = since == NEVER && self.in_flight.load(Ordering::Relaxed) == 0;
            let (since, limit, why) = if is_idle {
                (self.idle_since.load(Ordering::Relaxed), idle, Overdue::Idle)
            } else {
                (since, head, Overdue::Head)
            };
            let mut rest = longest;
            if since != NEVER
                && let Some(limit) = limit
            {
                let due = since.saturating_add(milliseconds(limit));
                if due <= now {
                    return why;
                }
                rest = rest.min(Duration::from_millis(due - now));
            }
            tokio::time::sleep(rest).await;
        }
    }
}

/// A stream whose first bytes and heads are noticed.
#[derive(Debug)]
pub(super) struct Watched<T> {
    inner: T,
    client: Arc<ClientConnection>,
    is_first: bool,
}

impl<T> Watched<T> {
    pub(super) fn new(inner: T, client: Arc<ClientConnection>) -> Self {
        Self { inner, client, is_first: true }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buffer))?;
        let received = &buffer.filled()[before..];
        if !received.is_empty() {
            self.client.received(received, self.is_first);
            self.is_first = false;
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}
