//! Messages of a broker on their way into the database: bounded in number and bytes, handed over in their order, and
//! acknowledged once they are stored.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio_util::sync::CancellationToken;

use super::feed::{Backoff, Feed};
use crate::tap::ingest::{Content, IngestError, Position, Stored};

/// Bytes of bodies that wait for the database at once, whatever their number.
const MAX_BYTES: usize = 32 << 20;

/// How long messages in flight may take when the process ends.
const DRAIN: Duration = Duration::from_secs(10);

/// What a message is acknowledged with; dropped, it is given out again.
pub(super) trait Receipt: Send + Sync + 'static {
    /// How often the broker has to hear that work goes on.
    fn alive_every(&self) -> Option<Duration> {
        None
    }

    /// Tells the broker that work goes on.
    fn alive(&self) -> impl Future<Output = ()> + Send {
        async {}
    }

    /// Acknowledges the message.
    fn done(self) -> impl Future<Output = ()> + Send;
}

/// A message as a broker gave it.
pub(super) struct Delivered<R> {
    pub(super) key: Option<String>,
    pub(super) position: Option<Position>,
    pub(super) received_at: DateTime<Utc>,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Bytes,
    /// Names it in a log.
    pub(super) place: String,
    pub(super) receipt: R,
}

/// What became of a message that was handed over.
pub(super) enum Offered<R> {
    /// It waits to be stored.
    Taken,
    /// There is no room for it now.
    Busy(Delivered<R>),
    /// The process is ending.
    Closed,
}

struct Settled {
    bytes: usize,
    place: String,
    outcome: Result<Stored, IngestError>,
}

type Flying = Pin<Box<dyn Future<Output = Settled> + Send>>;

/// The messages of one source that wait to be stored.
pub(super) struct Pump<R> {
    feed: Arc<Feed>,
    flying: FuturesUnordered<Flying>,
    bytes: usize,
    limit: usize,
    held: Option<Delivered<R>>,
    backoff: Backoff,
    retry_at: tokio::time::Instant,
    closed: bool,
}

impl<R: Receipt> Pump<R> {
    /// A pump for at most `limit` messages at once.
    pub(super) fn new(feed: Arc<Feed>, limit: u16) -> Self {
        Self {
            feed,
            flying: FuturesUnordered::new(),
            bytes: 0,
            limit: usize::from(limit.max(1)),
            held: None,
            backoff: Backoff::default(),
            retry_at: tokio::time::Instant::now(),
            closed: false,
        }
    }

    /// Whether another message may be taken from the broker.
    pub(super) fn has_room(&self) -> bool {
        !self.closed && self.held.is_none() && self.flying.len() < self.limit && self.bytes < MAX_BYTES
    }

    /// Hands a message over at once, so that messages are stored in the order of these calls.
    pub(super) async fn offer(&mut self, delivered: Delivered<R>) -> Offered<R> {
        let bytes = delivered.body.len();
        let names: usize = delivered.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        let room = match self.feed.room(bytes + names) {
            Ok(room) => room,
            Err(IngestError::Busy) => return Offered::Busy(delivered),
            Err(IngestError::Closed) => {
                self.closed = true;
                return Offered::Closed;
            }
        };
        let Delivered { key, position, received_at, headers, body, place, receipt } = delivered;
        let message = self.feed.message(key, position, received_at, Content::Wire { headers, body });
        let ingest = self.feed.ingest().clone();
        let mut submission = Box::pin(async move { ingest.submit_in(room, message).await });
        // The first poll is what hands it over.
        match poll_fn(|context| Poll::Ready(submission.as_mut().poll(context))).await {
            Poll::Pending => {}
            Poll::Ready(Ok(stored)) => {
                receipt.done().await;
                self.feed.stored(stored, bytes, &place);
                return Offered::Taken;
            }
            // With room there is a place; without one the message comes again.
            Poll::Ready(Err(_)) => {
                self.closed = true;
                return Offered::Closed;
            }
        }
        self.bytes += bytes;
        self.flying.push(Box::pin(async move {
            let outcome = match receipt.alive_every() {
                None => submission.await,
                Some(every) => loop {
                    tokio::select! {
                        outcome = &mut submission => break outcome,
                        () = tokio::time::sleep(every) => receipt.alive().await,
                    }
                },
            };
            if outcome.is_ok() {
                receipt.done().await;
            }
            Settled { bytes, place, outcome }
        }));
        Offered::Taken
    }

    /// Hands a message over, or holds it until there is room.
    pub(super) async fn offer_or_hold(&mut self, delivered: Delivered<R>) {
        match self.offer(delivered).await {
            Offered::Busy(delivered) => {
                self.held = Some(delivered);
                self.retry_at = tokio::time::Instant::now() + self.backoff.wait();
            }
            Offered::Taken => self.backoff.reset(),
            Offered::Closed => {}
        }
    }

    /// Goes on with what waits; returns after every step, and never when nothing waits.
    pub(super) async fn step(&mut self) {
        let retry_at = self.retry_at;
        tokio::select! {
            Some(settled) = self.flying.next(), if !self.flying.is_empty() => self.settle(&settled),
            () = tokio::time::sleep_until(retry_at), if self.held.is_some() => {
                if let Some(held) = self.held.take() {
                    self.offer_or_hold(held).await;
                }
            }
            else => std::future::pending().await,
        }
    }

    fn settle(&mut self, settled: &Settled) {
        self.bytes = self.bytes.saturating_sub(settled.bytes);
        match settled.outcome {
            Ok(stored) => self.feed.stored(stored, settled.bytes, &settled.place),
            Err(IngestError::Closed) => self.closed = true,
            Err(IngestError::Busy) => {}
        }
    }

    /// Lets go of what could not be handed over, and waits for what was, for some seconds at most.
    pub(super) async fn drain(&mut self) {
        self.held = None;
        let all = async {
            while let Some(settled) = self.flying.next().await {
                self.settle(&settled);
            }
        };
        if tokio::time::timeout(DRAIN, all).await.is_err() {
            let left = self.flying.len();
            tracing::warn!(
                source = self.feed.name(),
                left,
                "messages were not stored in time; they come again"
            );
            self.flying.clear();
        }
    }
}

/// Waits before the next attempt, or until `stop`; false when it is time to stop.
pub(in crate::tap) async fn pause(stop: &CancellationToken, wait: Duration) -> bool {
    tokio::select! {
        () = stop.cancelled() => false,
        () = tokio::time::sleep(wait) => true,
    }
}
