//! From exchanges to stored minutes: decodes on a thread of its own, counts, and writes what has changed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use parking_lot::Mutex;
use sqlx::PgPool;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::metrics::Metrics;
use crate::model::{Exchange, ModelName};
use crate::store::label::Label;
use crate::store::profile_part::TapPart;
use crate::store::{self, StoreError};
use crate::tap::{ExchangeReceiver, Ledger, MinuteLosses, Received, Recorded};
use crate::tasks::catalog::{Catalog, error_chain};
use crate::tasks::minutes::{Behind, Flush, Minutes};
use crate::traffic;

/// How often changed minutes are written.
const FLUSH: Duration = Duration::from_millis(500);

/// Open minutes past which a flush does not wait for its time.
const FLUSH_EARLY: usize = 256;

/// How long the decoding thread waits for an exchange before it looks whether it should end.
const RECEIVE: Duration = Duration::from_millis(100);

/// How long the last flush may take when the process ends.
const LAST_FLUSH: Duration = Duration::from_secs(5);

/// Labels of one model held at once; past it they are dropped and counted.
const MAX_LABELS: usize = 20_000;

/// What a prediction is dropped for when the database is too far behind.
const STORE_BEHIND: &str = "store_behind";

/// What decoding and writing share.
#[derive(Debug)]
struct Shared {
    minutes: Mutex<Minutes>,
    /// Labels that came as feedback through the proxy.
    labels: Mutex<BTreeMap<ModelName, Vec<Label>>>,
    catalog: watch::Receiver<Arc<Catalog>>,
    filling: Notify,
    metrics: Metrics,
}

impl Shared {
    /// Counts and keeps what may be kept of `exchange`; afterwards that is all it holds.
    fn record(&self, exchange: &mut Exchange) -> Result<(), Behind> {
        let catalog = Arc::clone(&self.catalog.borrow());
        let Some(entry) = catalog.get(&exchange.model) else { return Ok(()) };
        entry.policy.apply(exchange);
        let mut minutes = self.minutes.lock();
        let baseline =
            entry.baseline.as_ref().map(|baseline| baseline.version()).zip(entry.layout.as_deref());
        let left_out = minutes.record(exchange, baseline, &entry.captures)?;
        if left_out > 0 {
            let note = self.metrics.tap.notes.with_label_values(&[exchange.model.as_str(), "not_captured"]);
            note.inc_by(left_out as u64);
        }
        if minutes.open() >= FLUSH_EARLY {
            self.filling.notify_one();
        }
        Ok(())
    }

    /// Keeps the labels of feedback for the next flush, as far as there is room.
    fn take_feedback(&self, recorded: Recorded) {
        let (model, known_at) = (recorded.model().clone(), recorded.event_time());
        let note = |name: &str, count: usize| {
            self.metrics.tap.notes.with_label_values(&[model.as_str(), name]).inc_by(count as u64);
        };
        match recorded.into_labels() {
            Err(reason) => tracing::debug!(%model, reason, "feedback holds no label"),
            Ok(events) => {
                let mut labels = self.labels.lock();
                let labels = labels.entry(model.clone()).or_default();
                let room = MAX_LABELS.saturating_sub(labels.len()).min(events.len());
                labels.extend(events[..room].iter().map(|event| Label::of_event(event, known_at)));
                if room < events.len() {
                    note("label_dropped", events.len() - room);
                }
            }
        }
    }

    fn take(&self, recorded: Recorded) {
        if recorded.is_feedback() {
            self.take_feedback(recorded);
            return;
        }
        let (naming, policy) = {
            let catalog = self.catalog.borrow();
            let entry = catalog.get(recorded.model());
            let naming = entry.map(|entry| Arc::clone(&entry.naming));
            (naming.unwrap_or_default(), entry.map(|entry| Arc::clone(&entry.policy)))
        };
        let model = recorded.model().clone();
        // Only a log line needs it, and only at this level; it too has to be one that may be kept.
        let prediction = tracing::enabled!(tracing::Level::DEBUG)
            .then(|| Some(policy?.id(recorded.known_id()?).into_owned()))
            .flatten();
        match recorded.decode(&naming) {
            Ok(mut decoded) => match self.record(&mut decoded.exchange) {
                Ok(()) => {
                    let (prediction, rows) = (&decoded.exchange.id, decoded.exchange.batch.rows);
                    tracing::debug!(%model, prediction, rows, "an exchange was profiled");
                    decoded.ticket.kept();
                }
                Err(Behind) => decoded.ticket.dropped(STORE_BEHIND),
            },
            Err(failure) => {
                let reason = failure.reason();
                tracing::debug!(%model, prediction, reason, "an exchange was not decoded");
            }
        }
    }
}

/// Counts exchanges and writes the minutes.
#[derive(Debug)]
pub struct Recorder {
    shared: Arc<Shared>,
    ledger: Ledger,
    receiver: ExchangeReceiver,
    db: PgPool,
    replica: String,
}

impl Recorder {
    /// A recorder that reads `receiver`.
    pub fn new(
        db: PgPool,
        receiver: ExchangeReceiver,
        ledger: Ledger,
        catalog: watch::Receiver<Arc<Catalog>>,
        metrics: Metrics,
    ) -> Self {
        let replica = Uuid::now_v7().to_string();
        let shared = Arc::new(Shared {
            minutes: Mutex::new(Minutes::new(replica.clone())),
            labels: Mutex::default(),
            catalog,
            filling: Notify::new(),
            metrics,
        });
        Self { shared, ledger, receiver, db, replica }
    }

    /// Records until `shutdown` is cancelled and the queue is empty, then writes what is left.
    ///
    /// A database that is away makes the minutes wait; they are written when it is back.
    ///
    /// # Errors
    ///
    /// When the decoding thread panicked, or the last flush did not succeed in time.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let Self { shared, ledger, receiver, db, replica } = self;
        let writer = Writer { shared: Arc::clone(&shared), ledger, db, replica };
        // The thread also ends when this task is dropped, else it would hold up the end of the runtime.
        let stop = shutdown.child_token();
        let _ends_with_this_task = stop.clone().drop_guard();
        let mut decoding = tokio::task::spawn_blocking(move || decode_all(&shared, &receiver, &stop));
        let mut failing = false;
        loop {
            tokio::select! {
                ended = &mut decoding => {
                    ended?;
                    break;
                }
                () = tokio::time::sleep(FLUSH) => {}
                () = writer.shared.filling.notified() => {}
            }
            match writer.flush().await {
                Ok(()) if failing => {
                    tracing::info!("recording has resumed");
                    failing = false;
                }
                Ok(()) => {}
                Err(error) => {
                    if !failing {
                        tracing::warn!(error = %error_chain(&error), "minutes could not be written, they wait");
                        failing = true;
                    }
                    // A database that refuses at once is not asked in a circle.
                    tokio::time::sleep(FLUSH).await;
                }
            }
        }
        tokio::time::timeout(LAST_FLUSH, writer.flush()).await??;
        Ok(())
    }
}

fn decode_all(shared: &Shared, receiver: &ExchangeReceiver, stop: &CancellationToken) {
    loop {
        match receiver.recv_timeout(RECEIVE) {
            Received::Exchange(recorded) => shared.take(*recorded),
            Received::Nothing if stop.is_cancelled() => return,
            Received::Nothing => {}
            Received::Closed => {
                // Without a proxy nothing ever comes.
                if stop.is_cancelled() {
                    return;
                }
                std::thread::sleep(RECEIVE);
            }
        }
    }
}

struct Writer {
    shared: Arc<Shared>,
    ledger: Ledger,
    db: PgPool,
    replica: String,
}

impl Writer {
    /// Writes everything that has changed, in one transaction; on failure it stays marked as changed.
    async fn flush(&self) -> Result<(), StoreError> {
        let losses = self.ledger.take_changed();
        let flush = self.shared.minutes.lock().flush();
        let labels = std::mem::take(&mut *self.shared.labels.lock());
        if losses.is_empty() && flush.is_empty() && labels.is_empty() {
            return Ok(());
        }
        if let Err(error) = self.write(&losses, &flush, &labels).await {
            self.ledger.mark_changed(&losses);
            let mut held = self.shared.labels.lock();
            for (model, mut labels) in labels {
                let newer = held.entry(model).or_default();
                labels.append(newer);
                *newer = labels;
            }
            return Err(error);
        }
        self.shared.minutes.lock().written(&flush);
        if let Some(oldest) = losses.iter().map(|minute| minute.minute).min() {
            self.ledger.retire(oldest - TimeDelta::minutes(2));
        }
        Ok(())
    }

    async fn write(
        &self,
        losses: &[MinuteLosses],
        flush: &Flush,
        labels: &BTreeMap<ModelName, Vec<Label>>,
    ) -> Result<(), StoreError> {
        let taps: Vec<TapPart> = losses
            .iter()
            .map(|minute| TapPart {
                model: minute.model.clone(),
                minute: minute.minute,
                replica: self.replica.clone(),
                part: i32::try_from(minute.part).unwrap_or(i32::MAX),
                losses: minute.losses.clone(),
                traffic: (!minute.traffic.is_empty()).then(|| traffic::encode(&minute.traffic)),
            })
            .collect();
        let mut transaction = self.db.begin().await?;
        store::profile_part::upsert_profiles(&mut *transaction, &flush.profiles).await?;
        for (model, rows) in &flush.captured {
            store::captured::insert(&mut transaction, model, rows).await?;
        }
        let catalog = Arc::clone(&self.shared.catalog.borrow());
        for (model, labels) in labels {
            let rules = catalog.get(model).map(|entry| Arc::clone(&entry.labels)).unwrap_or_default();
            store::label::upsert(&mut transaction, model, labels, &rules).await?;
        }
        store::profile_part::upsert_taps(&mut *transaction, &taps).await?;
        transaction.commit().await?;
        Ok(())
    }
}
