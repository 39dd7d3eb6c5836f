//! Takes messages from the outbox to their receivers, each receiver on its own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::alert::Message;
use crate::notify::{Receivers, SendFailure};
use crate::store::StoreError;
use crate::store::outbox::{self, Claimed, Fate};

/// Time between two looks at the outbox when nobody calls.
const POLL: Duration = Duration::from_secs(1);

/// How long a claimed message belongs to this process; longer than any delivery may take.
const LEASE: Duration = Duration::from_mins(2);

/// Messages that one receiver gets before the outbox is looked at again.
const BATCH: usize = 50;

/// Delivers messages until it is stopped.
pub struct Notifier {
    pool: PgPool,
    receivers: Arc<Receivers>,
    clock: fn() -> DateTime<Utc>,
    wake: Arc<Notify>,
}

impl Notifier {
    /// A notifier over `pool`; `wake` tells it of new messages at once.
    pub fn new(
        pool: PgPool,
        receivers: Arc<Receivers>,
        clock: fn() -> DateTime<Utc>,
        wake: Arc<Notify>,
    ) -> Self {
        Self { pool, receivers, clock, wake }
    }

    /// Runs until `shutdown` is cancelled; deliveries under way then finish.
    ///
    /// A database that is away, or whose schema is not there yet, is waited for, whatever it says: it must not take
    /// the proxy down. What was claimed and not marked is claimed again after its lease, and delivered again under
    /// the same id.
    ///
    /// # Errors
    ///
    /// When a delivery panics.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let mut running: JoinSet<Ended> = JoinSet::new();
        let mut busy: BTreeSet<String> = BTreeSet::new();
        // Receivers that have had as much as they may, and until when.
        let mut held: BTreeMap<String, DateTime<Utc>> = BTreeMap::new();
        let mut outage = false;
        while !shutdown.is_cancelled() {
            held.retain(|_, until| *until > (self.clock)());
            let taken: Vec<String> = busy.iter().chain(held.keys()).cloned().collect();
            let mut looked = outbox::due_receivers(&self.pool, (self.clock)(), &taken).await.map(|due| {
                for receiver in due {
                    busy.insert(receiver.clone());
                    running.spawn(deliver_batch(
                        self.pool.clone(),
                        Arc::clone(&self.receivers),
                        receiver,
                        self.clock,
                        shutdown.clone(),
                    ));
                }
            });
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = self.wake.notified() => {}
                () = tokio::time::sleep(POLL) => {}
                Some(ended) = running.join_next() => {
                    let (receiver, outcome) = ended?;
                    busy.remove(&receiver);
                    match outcome {
                        Ok(Some(until)) => drop(held.insert(receiver, until)),
                        Ok(None) => {}
                        Err(error) => looked = looked.and(Err(error)),
                    }
                }
            }
            match looked {
                Ok(()) if outage => {
                    outage = false;
                    tracing::info!("the outbox can be reached again");
                }
                Ok(()) => {}
                Err(error) => {
                    if !outage {
                        tracing::warn!(
                            error = &error as &dyn std::error::Error,
                            "the outbox cannot be reached"
                        );
                    }
                    outage = true;
                    shutdown.run_until_cancelled(tokio::time::sleep(POLL)).await;
                }
            }
        }
        while let Some(ended) = running.join_next().await {
            if let (receiver, Err(error)) = ended? {
                tracing::warn!(
                    receiver,
                    error = &error as &dyn std::error::Error,
                    "a delivery was not marked"
                );
            }
        }
        Ok(())
    }
}

/// A receiver that has been served, and until when it gets no more if it is at its limit.
type Ended = (String, Result<Option<DateTime<Utc>>, StoreError>);

/// Sends what is due for one receiver; stops at the first failure that says the receiver itself is down, and at its
/// limit, whose end it returns.
async fn deliver_batch(
    pool: PgPool,
    receivers: Arc<Receivers>,
    receiver: String,
    clock: fn() -> DateTime<Utc>,
    shutdown: CancellationToken,
) -> Ended {
    for _ in 0..BATCH {
        if shutdown.is_cancelled() {
            break;
        }
        match deliver_next(&pool, &receivers, &receiver, clock).await {
            Ok(Some(Delivery::Sent | Delivery::Dead)) => {}
            Ok(Some(Delivery::Held(until))) => return (receiver, Ok(Some(until))),
            Ok(Some(Delivery::Retry(_)) | None) => break,
            Err(error) => return (receiver, Err(error)),
        }
    }
    (receiver, Ok(None))
}

/// What became of one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// Delivered.
    Sent,
    /// Failed, and due again at this time.
    Retry(DateTime<Utc>),
    /// Failed for good.
    Dead,
    /// Not tried: the receiver has had as many messages as it may, until this time.
    Held(DateTime<Utc>),
}

/// Claims and sends the next message of `receiver`; nothing when none is due.
///
/// # Errors
///
/// [`StoreError`] when the outbox cannot be read or written; the message then stays claimed until its lease ends.
pub async fn deliver_next(
    pool: &PgPool,
    receivers: &Receivers,
    receiver: &str,
    clock: fn() -> DateTime<Utc>,
) -> Result<Option<Delivery>, StoreError> {
    let now = clock();
    if let Some(limit) = receivers.limit(receiver)
        && let Some(until) = outbox::held_until(pool, receiver, limit.count, limit.period, now).await?
    {
        tracing::info!(receiver, %limit, %until, "the receiver has had as much as it may");
        return Ok(Some(Delivery::Held(until)));
    }
    let Some(claim) = outbox::claim(pool, receiver, now, LEASE).await? else { return Ok(None) };
    let root =
        if receivers.has_threads(receiver) { outbox::first_of_group(pool, &claim).await? } else { None };
    let sent = send(receivers, &claim, root.as_ref(), clock()).await;
    let now = clock();
    match sent {
        Ok(()) => {
            outbox::mark_sent(pool, &claim, now).await?;
            tracing::info!(message = %claim.id, receiver, attempt = claim.attempt, "message delivered");
            Ok(Some(Delivery::Sent))
        }
        Err(failure) => {
            let SendFailure { reason, permanent, retry_after } = &failure;
            match outbox::mark_failed(pool, &claim, reason, *permanent, *retry_after, now).await? {
                Fate::Dead => {
                    tracing::error!(message = %claim.id, receiver, attempt = claim.attempt, reason, "message given up");
                    Ok(Some(Delivery::Dead))
                }
                Fate::Retry(at) => {
                    tracing::warn!(message = %claim.id, receiver, attempt = claim.attempt, reason, next = %at, "message not delivered");
                    Ok(Some(Delivery::Retry(at)))
                }
            }
        }
    }
}

async fn send(
    receivers: &Receivers,
    claim: &Claimed,
    root: Option<&Message>,
    now: DateTime<Utc>,
) -> Result<(), SendFailure> {
    match &claim.message {
        Ok(message) => receivers.send(message, root, now).await,
        Err(problem) => Err(SendFailure::permanent(format!("the stored message cannot be read: {problem}"))),
    }
}
