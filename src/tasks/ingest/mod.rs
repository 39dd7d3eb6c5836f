//! From messages to stored minutes, exactly once: a message is acknowledged when the part that counts it is committed.
//!
//! A batch of messages is one transaction: the keys of its messages, the sides that wait or are joined, profile parts,
//! captured rows, losses and positions. It is counted on a copy of this task's own minutes, which takes the place of
//! the original only once it is committed, so that a batch that fails can be tried again until it succeeds.

use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::config::Sink;
use crate::metrics::Metrics;
use crate::store::StoreError;
use crate::tap::Names;
use crate::tap::ingest::Waiting;
use crate::tasks::catalog::{Catalog, error_chain};

mod account;
mod attempt;
mod count;
mod half;
mod pairs;
mod prepare;
mod private;

use attempt::{Attempt, Batch, Staged};
use prepare::Preparation;

/// Messages of one transaction.
const BATCH_MESSAGES: usize = 512;
/// Bytes of messages past which a batch takes no more of them.
const BATCH_BYTES: usize = 4 << 20;
/// Shortest time from one batch to the next, so that what trickles in does not cost a transaction each.
const PACE: Duration = Duration::from_millis(20);
/// Waits after a failed try.
const BACKOFF: [Duration; 4] = [
    Duration::from_millis(50),
    Duration::from_millis(200),
    Duration::from_millis(500),
    Duration::from_secs(1),
];
/// How often sides are looked for that have waited too long, while there are any.
const SWEEP: Duration = Duration::from_secs(1);
/// How often they are looked for while there are none.
const IDLE_SWEEP: Duration = Duration::from_secs(15);
/// How long messages are still taken once the process is ending.
const LAST_MESSAGES: Duration = Duration::from_secs(15);
/// How long a database that is away is waited for once the process is ending.
const LAST_TRIES: Duration = Duration::from_secs(5);

/// Stores messages.
#[derive(Debug)]
pub struct Ingestion {
    db: PgPool,
    receiver: mpsc::Receiver<Waiting>,
    catalog: watch::Receiver<Arc<Catalog>>,
    names: Arc<Names>,
    sink: Arc<Sink>,
    metrics: Metrics,
    staged: Staged,
    attempt: Attempt,
    failing: bool,
}

impl Ingestion {
    /// A task that stores what `receiver` gives.
    pub fn new(
        db: PgPool,
        receiver: mpsc::Receiver<Waiting>,
        catalog: watch::Receiver<Arc<Catalog>>,
        names: Names,
        sink: Sink,
        metrics: Metrics,
    ) -> Self {
        let replica = Uuid::now_v7().to_string();
        Self {
            db,
            receiver,
            catalog,
            names: Arc::new(names),
            sink: Arc::new(sink),
            metrics,
            staged: Staged::new(&replica),
            attempt: Attempt::default(),
            failing: false,
        }
    }

    /// Stores messages until every entrance is gone, or for a while after `shutdown`; what is not stored by then is not
    /// acknowledged. A database that is away is waited for, and so is the first look at the active baselines.
    ///
    /// # Errors
    ///
    /// When decoding or counting panicked.
    pub async fn run(mut self, shutdown: CancellationToken) -> anyhow::Result<()> {
        tokio::select! {
            // What is acknowledged has to be profiled, so the baselines have to be known.
            known = self.catalog.changed() => if known.is_err() { return Ok(()) },
            () = shutdown.cancelled() => return Ok(()),
        }
        let mut ends: Option<Instant> = None;
        let mut sweeps = Instant::now();
        loop {
            tokio::select! {
                first = self.receiver.recv() => {
                    let Some(first) = first else { return Ok(()) };
                    let began = Instant::now();
                    let waiting = self.fill(first);
                    let batch = self.prepare(waiting).await?;
                    self.store(batch, &shutdown).await?;
                    sleep_until(began + PACE).await;
                }
                () = sleep_until(sweeps), if ends.is_none() => {}
                () = shutdown.cancelled(), if ends.is_none() => ends = Some(Instant::now() + LAST_MESSAGES),
                () = sleep_until(ends.unwrap_or_else(Instant::now)), if ends.is_some() => return Ok(()),
            }
            if ends.is_none() && Instant::now() >= sweeps {
                self.sweep(&shutdown).await?;
                sweeps = Instant::now() + if self.attempt.pending.sides > 0 { SWEEP } else { IDLE_SWEEP };
            } else if self.attempt.pending.sides > 0 {
                sweeps = sweeps.min(Instant::now() + SWEEP);
            }
        }
    }

    /// A batch that begins with `first` and takes what waits already.
    fn fill(&mut self, first: Waiting) -> Vec<Waiting> {
        let mut bytes = first.room.bytes();
        let mut waiting = vec![first];
        while waiting.len() < BATCH_MESSAGES && bytes < BATCH_BYTES {
            let Ok(next) = self.receiver.try_recv() else { break };
            bytes += next.room.bytes();
            waiting.push(next);
        }
        waiting
    }

    async fn prepare(&self, waiting: Vec<Waiting>) -> anyhow::Result<Batch> {
        let preparation = Preparation {
            names: Arc::clone(&self.names),
            catalog: Arc::clone(&self.catalog.borrow()),
            event_age: self.sink.event_age.0,
        };
        let entries = tokio::task::spawn_blocking(move || {
            waiting.into_iter().map(|waiting| preparation.prepare(waiting)).collect()
        });
        Ok(Batch::new(entries.await?))
    }

    /// Takes out sides that have waited too long, as long as there are many of them.
    async fn sweep(&mut self, shutdown: &CancellationToken) -> anyhow::Result<()> {
        match self.attempt.measure(&self.db).await {
            Ok(()) => self.metrics.ingest.pending_sides.set(self.attempt.pending_sides()),
            // The next batch says what is the matter.
            Err(_) => return Ok(()),
        }
        if self.attempt.pending.sides > 0 {
            self.store(Batch::expiring(), shutdown).await?;
        }
        Ok(())
    }

    /// Tries until the batch is stored; given up only when the process ends, and then nobody is told that it was.
    async fn store(&mut self, batch: Batch, shutdown: &CancellationToken) -> anyhow::Result<()> {
        let mut batches = vec![batch];
        while let Some(mut batch) = batches.pop() {
            let began = Instant::now();
            let mut gives_up: Option<Instant> = None;
            let mut tries = 0;
            loop {
                let catalog = Arc::clone(&self.catalog.borrow());
                let outcome =
                    self.attempt.run(&self.db, &mut batch, &self.staged, catalog, &self.sink).await?;
                let error = match outcome {
                    Ok(done) => {
                        self.metrics.ingest.commit_duration.observe(began.elapsed().as_secs_f64());
                        if let Some(staged) = done.tell(&mut batch, &self.metrics) {
                            self.staged = staged;
                        }
                        self.metrics.ingest.pending_sides.set(self.attempt.pending_sides());
                        break;
                    }
                    Err(error) => error,
                };
                if error.is_refused_content() && !batch.is_doubtful() {
                    tracing::warn!(error = %error_chain(&error), "a message cannot be stored");
                    if let Some(single) = batch.split_or_give_up() {
                        batches.extend(single);
                        break;
                    }
                }
                self.report(&error);
                if shutdown.is_cancelled()
                    && *gives_up.get_or_insert(Instant::now() + LAST_TRIES) <= Instant::now()
                {
                    return Ok(());
                }
                sleep(BACKOFF[tries.min(BACKOFF.len() - 1)]).await;
                tries += 1;
            }
            if std::mem::take(&mut self.failing) {
                tracing::info!("ingestion has resumed");
            }
        }
        Ok(())
    }

    fn report(&mut self, error: &StoreError) {
        if !self.failing {
            tracing::warn!(error = %error_chain(error), "messages could not be stored, they wait");
            self.failing = true;
        }
    }
}
