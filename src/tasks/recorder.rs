//! From exchanges to stored minutes: decodes and counts on threads of its own, and writes what has changed.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroUsize;
use std::pin::pin;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use chrono::TimeDelta;
use parking_lot::Mutex;
use sqlx::PgPool;
use thread_priority::{ThreadPriority, ThreadPriorityValue, set_current_thread_priority};
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::decode::Naming;
use crate::metrics::Metrics;
use crate::model::{Exchange, ModelName};
use crate::store::label::Label;
use crate::store::profile_part::TapPart;
use crate::store::{self, StoreError};
use crate::tap::{Closed, ExchangeReceiver, Ledger, MinuteLosses, Recorded};
use crate::tasks::catalog::{Catalog, Entry, error_chain};
use crate::tasks::minutes::{Behind, Counts, Flush, Minutes};
use crate::tasks::prediction_trace::PredictionTrace;
use crate::traces::Tracer;
use crate::traffic;

/// How often changed minutes are written.
const FLUSH: Duration = Duration::from_millis(500);

/// Most decoding threads that are chosen unless the settings say how many.
const MAX_THREADS: usize = 8;

/// Exchanges that a thread takes from the queue at once.
const TAKEN: usize = 16;

/// Priority of decoding threads, of 100, the lowest there is: a prediction that waits for the processor goes first, and
/// what is not decoded in time is shed and counted.
const PRIORITY: u8 = 0;

/// Open minutes past which a flush does not wait for its time.
const FLUSH_EARLY: usize = 256;

/// How long a decoding thread waits for an exchange before it looks whether it should end.
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
    /// What all threads have counted, as far as they have handed it over.
    minutes: Mutex<Minutes>,
    /// What each thread has counted since; locked before `minutes`, never after it.
    counts: Vec<Mutex<Counts>>,
    /// Labels that came as feedback through the proxy.
    labels: Mutex<BTreeMap<ModelName, Vec<Label>>>,
    catalog: watch::Receiver<Arc<Catalog>>,
    filling: Notify,
    metrics: Metrics,
    tracer: Tracer,
}

impl Shared {
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

    /// Has what the threads have counted be part of the minutes.
    fn collect(&self) {
        let handed_over: Vec<Counts> =
            self.counts.iter().map(|counts| std::mem::take(&mut *counts.lock())).collect();
        let mut minutes = self.minutes.lock();
        for counts in handed_over {
            for (model, rows) in minutes.absorb(counts) {
                self.not_captured(&model, rows);
            }
        }
        minutes.end_over();
    }

    fn not_captured(&self, model: &ModelName, rows: usize) {
        if rows > 0 {
            let note = self.metrics.tap.notes.with_label_values(&[model.as_str(), "not_captured"]);
            note.inc_by(rows as u64);
        }
    }
}

/// One decoding thread.
struct Decoder {
    shared: Arc<Shared>,
    /// Which of the threads it is.
    number: usize,
    /// Of each model its names, and a copy of its own: threads do not wait for one another to count references.
    namings: HashMap<ModelName, (Arc<Naming>, Naming)>,
}

impl Decoder {
    /// Decodes until `stop` is cancelled and the queue is empty.
    fn run(mut self, receiver: &ExchangeReceiver, stop: &CancellationToken) {
        if let Ok(priority) = ThreadPriorityValue::try_from(PRIORITY)
            && let Err(error) = set_current_thread_priority(ThreadPriority::Crossplatform(priority))
        {
            tracing::debug!(?error, "a decoding thread keeps the usual priority");
        }
        loop {
            match receiver.recv_many(RECEIVE, TAKEN) {
                Ok(taken) if taken.is_empty() && stop.is_cancelled() => return,
                Ok(taken) => taken.into_iter().for_each(|recorded| self.take(recorded)),
                // Without a proxy nothing ever comes.
                Err(Closed) if stop.is_cancelled() => return,
                Err(Closed) => std::thread::sleep(RECEIVE),
            }
        }
    }

    fn take(&mut self, recorded: Recorded) {
        if recorded.is_feedback() {
            self.shared.take_feedback(recorded);
            return;
        }
        let catalog = Arc::clone(&self.shared.catalog.borrow());
        let entry = catalog.get(recorded.model());
        let model = recorded.model().clone();
        // Only a log line needs it, and only at this level; it too has to be one that may be kept.
        let prediction = tracing::enabled!(tracing::Level::DEBUG)
            .then(|| Some(entry?.policy.id(recorded.known_id()?).into_owned()))
            .flatten();
        let trace = PredictionTrace::begin(&self.shared.tracer, &recorded);
        let decoded = match entry {
            Some(entry) => recorded.decode(self.naming(&model, &entry.naming)),
            None => recorded.decode(&Naming::default()),
        };
        let outcome = match decoded {
            Ok(mut decoded) => {
                if self.record(entry, &mut decoded.exchange).is_ok() {
                    let (prediction, rows) = (&decoded.exchange.id, decoded.exchange.batch.rows);
                    tracing::debug!(%model, prediction, rows, "an exchange was profiled");
                    decoded.ticket.kept();
                    Ok(rows)
                } else {
                    decoded.ticket.dropped(STORE_BEHIND);
                    Err(STORE_BEHIND)
                }
            }
            Err(failure) => {
                let reason = failure.reason();
                tracing::debug!(%model, prediction, reason, "an exchange was not decoded");
                Err(reason)
            }
        };
        if let Some(trace) = trace {
            trace.end(&self.shared.tracer, outcome);
        }
    }

    fn naming<'n>(&'n mut self, model: &ModelName, naming: &'n Arc<Naming>) -> &'n Naming {
        if !self.namings.get(model).is_some_and(|(of, _)| Arc::ptr_eq(of, naming)) {
            self.namings.insert(model.clone(), (Arc::clone(naming), naming.unshared()));
        }
        self.namings.get(model).map_or(naming, |(_, own)| own)
    }

    /// Counts and keeps what may be kept of `exchange`; afterwards that is all it holds.
    fn record(&self, entry: Option<&Entry>, exchange: &mut Exchange) -> Result<(), Behind> {
        let (Some(entry), Some(counts)) = (entry, self.shared.counts.get(self.number)) else { return Ok(()) };
        entry.policy.apply(exchange);
        let baseline =
            entry.baseline.as_ref().map(|baseline| baseline.version()).zip(entry.layout.as_deref());
        let mut counts = counts.lock();
        let admit = |key: &_| self.shared.minutes.lock().admit(key);
        let left_out = counts.record(exchange, baseline, &entry.captures, admit)?;
        self.shared.not_captured(&exchange.model, left_out);
        if counts.open() * self.shared.counts.len() >= FLUSH_EARLY {
            self.shared.filling.notify_one();
        }
        Ok(())
    }
}

/// The decoding threads of a process.
struct Decoders {
    threads: Vec<JoinHandle<()>>,
    /// Has something for each that ends, and then ends itself.
    ended: mpsc::UnboundedReceiver<()>,
}

/// Held by a thread; tells of its end, whether it returns or panics.
struct Alive(mpsc::UnboundedSender<()>);

impl Drop for Alive {
    fn drop(&mut self) {
        // Nobody asks any more when the recorder has ended before.
        self.0.send(()).ok();
    }
}

impl Decoders {
    fn start(
        shared: &Arc<Shared>,
        receiver: ExchangeReceiver,
        stop: &CancellationToken,
    ) -> std::io::Result<Self> {
        let receiver = Arc::new(receiver);
        let (alive, ended) = mpsc::unbounded_channel();
        let mut threads = Vec::with_capacity(shared.counts.len());
        for number in 0..shared.counts.len() {
            let decoder = Decoder { shared: Arc::clone(shared), number, namings: HashMap::new() };
            let (receiver, stop, alive) = (Arc::clone(&receiver), stop.clone(), Alive(alive.clone()));
            // Threads of their own, as a priority is not given back.
            threads.push(std::thread::Builder::new().name(format!("decode-{number}")).spawn(move || {
                decoder.run(&receiver, &stop);
                drop(alive);
            })?);
        }
        Ok(Self { threads, ended })
    }

    /// Waits for all threads; whether every one ended as it should.
    async fn join(mut self) -> anyhow::Result<()> {
        while self.ended.recv().await.is_some() {}
        for thread in self.threads {
            if thread.join().is_err() {
                anyhow::bail!("a decoding thread panicked");
            }
        }
        Ok(())
    }
}

/// As many threads as leave one core to predictions.
fn usual_threads() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    cores.saturating_sub(1).clamp(1, MAX_THREADS)
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
    /// A recorder that reads `receiver` on `threads` threads; absent: one less than there are cores.
    pub fn new(
        db: PgPool,
        receiver: ExchangeReceiver,
        ledger: Ledger,
        catalog: watch::Receiver<Arc<Catalog>>,
        metrics: Metrics,
        threads: Option<NonZeroUsize>,
        tracer: Tracer,
    ) -> Self {
        let threads = threads.map_or_else(usual_threads, NonZeroUsize::get);
        let replica = Uuid::now_v7().to_string();
        let shared = Arc::new(Shared {
            minutes: Mutex::new(Minutes::new(replica.clone())),
            counts: (0..threads).map(|_| Mutex::default()).collect(),
            labels: Mutex::default(),
            catalog,
            filling: Notify::new(),
            metrics,
            tracer,
        });
        Self { shared, ledger, receiver, db, replica }
    }

    /// Records until `shutdown` is cancelled and the queue is empty, then writes what is left.
    ///
    /// A database that is away makes the minutes wait; they are written when it is back.
    ///
    /// # Errors
    ///
    /// When a decoding thread panicked or cannot be started, or the last flush did not succeed in time.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let Self { shared, ledger, receiver, db, replica } = self;
        let writer = Writer { shared: Arc::clone(&shared), ledger, db, replica };
        // The threads also end when this task is dropped, or one of them panics.
        let stop = shutdown.child_token();
        let _ends_with_this_task = stop.clone().drop_guard();
        let mut decoders = Decoders::start(&shared, receiver, &stop)?;
        let mut failing = false;
        loop {
            tokio::select! {
                _ = decoders.ended.recv() => {
                    if !stop.is_cancelled() {
                        anyhow::bail!("a decoding thread panicked");
                    }
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
        decoders.join().await?;
        tokio::time::timeout(LAST_FLUSH, writer.flush()).await??;
        Ok(())
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
        // What the ledger says was kept has been counted before.
        let losses = self.ledger.take_changed();
        self.shared.collect();
        let flush = self.shared.minutes.lock().flush();
        let labels = std::mem::take(&mut *self.shared.labels.lock());
        if losses.is_empty() && flush.is_empty() && labels.is_empty() {
            return Ok(());
        }
        let written = {
            let mut writing = pin!(self.write(&losses, &flush, &labels));
            loop {
                tokio::select! {
                    written = &mut writing => break written,
                    // A database that does not answer must not have minutes stay open that are over.
                    () = tokio::time::sleep(FLUSH) => self.shared.collect(),
                }
            }
        };
        if let Err(error) = written {
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
