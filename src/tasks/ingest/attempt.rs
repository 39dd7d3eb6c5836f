//! One try to store a batch: a transaction, of which a lost answer to the commit leaves no doubt.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::account::Tally;
pub(super) use super::count::Staged;
use super::count::{Counted, Work, count};
use super::half::{Alone, Half};
use super::pairs;
use super::prepare::{Entry, Item, Keyed, Prepared, given_up};
use crate::config::Sink;
use crate::metrics::Metrics;
use crate::model::ModelName;
use crate::store::ingested::Key;
use crate::store::label::Label;
use crate::store::pending_side::{PairKey, PendingSize};
use crate::store::source_position::SourcePosition;
use crate::store::{self, StoreError};
use crate::tap::ingest::Stored;
use crate::tasks::catalog::Catalog;

/// How long a try may take altogether.
const LONGEST: Duration = Duration::from_mins(1);
/// Sides that one sweep takes out.
const SWEPT: u32 = 1000;
/// The source under which batches leave their mark.
const BATCHES: &str = "(batch)";

/// Messages that are stored together, or sides that have waited too long.
#[derive(Debug)]
pub(super) struct Batch {
    /// Written by its transaction, so that a commit whose answer was lost is recognised.
    mark: Key,
    entries: Vec<Entry>,
    /// How many sides that have waited too long are taken out.
    expiring: Option<u32>,
    /// Nothing is kept of those sides but their loss.
    gives_up: bool,
    /// What would be true, had the last try been committed after all.
    doubtful: Option<Done>,
}

impl Batch {
    /// A batch of messages.
    pub(super) fn new(entries: Vec<Entry>) -> Self {
        Self { mark: Uuid::now_v7().into_bytes(), entries, expiring: None, gives_up: false, doubtful: None }
    }

    /// A batch of sides that have waited too long.
    pub(super) fn expiring() -> Self {
        Self { expiring: Some(SWEPT), ..Self::new(Vec::new()) }
    }

    /// Whether the last try may have been committed.
    pub(super) fn is_doubtful(&self) -> bool {
        self.doubtful.is_some()
    }

    /// A batch per message, in reverse; of a single message, or side that has waited too long, only the loss is left,
    /// and `None` is given.
    pub(super) fn split_or_give_up(&mut self) -> Option<Vec<Self>> {
        if self.expiring.is_some() {
            self.gives_up = self.expiring.replace(1) == Some(1);
            return None;
        }
        if let [entry] = self.entries.as_mut_slice() {
            entry.prepared = Arc::new(given_up(&entry.prepared));
            return None;
        }
        if self.entries.is_empty() {
            return None;
        }
        Some(self.entries.drain(..).rev().map(|entry| Self::new(vec![entry])).collect())
    }
}

/// A batch that is committed.
#[derive(Debug)]
pub(super) struct Done {
    staged: Option<Staged>,
    stored: Vec<Stored>,
    tally: Tally,
    waiting: PendingSize,
    taken: PendingSize,
}

impl Done {
    /// Tells everyone who waits, shows it in the metrics, and gives the minutes with the batch.
    pub(super) fn tell(self, batch: &mut Batch, metrics: &Metrics) -> Option<Staged> {
        self.tally.show(metrics);
        if !batch.entries.is_empty() {
            metrics.ingest.batch_messages.observe(batch.entries.len() as f64);
        }
        for (entry, stored) in batch.entries.drain(..).zip(self.stored) {
            let Entry { prepared, stored: waits, room } = entry;
            let outcome = if stored.duplicate { "duplicate" } else { "stored" };
            metrics.ingest.messages.with_label_values(&[&prepared.source, outcome]).inc();
            // Whoever left will send it again, and find it stored.
            waits.send(stored).ok();
            drop(room);
        }
        self.staged
    }
}

/// Tries batches one after the other.
#[derive(Debug, Default)]
pub(super) struct Attempt {
    /// What waits for its other side, as far as known.
    pub pending: PendingSize,
    /// The mark of the batch before.
    previous: Option<Key>,
}

impl Attempt {
    /// Looks how much waits.
    pub(super) async fn measure(&mut self, db: &PgPool) -> Result<(), StoreError> {
        self.pending = store::pending_side::size(db).await?;
        Ok(())
    }

    /// Sides that wait, for the metric.
    pub(super) fn pending_sides(&self) -> i64 {
        i64::try_from(self.pending.sides).unwrap_or(i64::MAX)
    }

    /// Tries to store `batch`, counted on a copy of `staged`. The outer failure is a panic while counting.
    pub(super) async fn run(
        &mut self,
        db: &PgPool,
        batch: &mut Batch,
        staged: &Staged,
        catalog: Arc<Catalog>,
        sink: &Sink,
    ) -> anyhow::Result<Result<Done, StoreError>> {
        let tried = tokio::time::timeout(LONGEST, self.transaction(db, batch, staged, catalog, sink)).await;
        let done = match tried {
            Err(_) => return Ok(Err(StoreError::Database(sqlx::Error::PoolTimedOut))),
            Ok(Err(Failure::Store(error))) => return Ok(Err(error)),
            Ok(Err(Failure::Panic(panic))) => return Err(panic.into()),
            Ok(Ok(done)) => done,
        };
        self.previous = Some(batch.mark);
        let PendingSize { sides, bytes } = &mut self.pending;
        *sides = (*sides + done.waiting.sides).saturating_sub(done.taken.sides);
        *bytes = (*bytes + done.waiting.bytes).saturating_sub(done.taken.bytes);
        Ok(Ok(done))
    }

    async fn transaction(
        &self,
        db: &PgPool,
        batch: &mut Batch,
        staged: &Staged,
        catalog: Arc<Catalog>,
        sink: &Sink,
    ) -> Result<Done, Failure> {
        let mut transaction = db.begin().await?;
        store::ingested::bound_waits(&mut transaction).await?;
        // Waits until an earlier try of the same batch is over, should the server still be at it.
        let new = store::ingested::mark(&mut *transaction, BATCHES, batch.mark, self.previous).await?;
        if let Some(done) = batch.doubtful.take()
            && !new
        {
            return Ok(done);
        }
        batch.entries.retain(|entry| !entry.stored.is_closed());
        let mut sorted = sort(&mut transaction, &batch.entries).await?;
        if let Some(limit) = batch.expiring {
            let expired =
                store::pending_side::take_expired(&mut *transaction, sink.pending_for.0, limit).await?;
            for mut waited in expired {
                sorted.taken.sides += 1;
                sorted.taken.bytes += waited.side.content.len() as u64;
                if batch.gives_up {
                    waited.side.content.clear();
                }
                sorted.work.push(Work::Expired(waited));
            }
        }
        let sides = std::mem::take(&mut sorted.sides);
        let settled = pairs::settle(&mut transaction, sides, self.pending, sink).await?;
        sorted.settle(settled);
        let Sorted { work, labels, stored, mut tally, waiting, taken, .. } = sorted;
        let staged = staged.clone();
        let known = Arc::clone(&catalog);
        let counting = tokio::task::spawn_blocking(move || {
            let counted = count(staged, work, &known, &mut tally);
            (counted, tally)
        });
        let (counted, tally) = counting.await?;
        write(&mut transaction, &counted, &batch.entries).await?;
        for (model, labels) in &labels {
            let rules = catalog.get(model).map(|entry| Arc::clone(&entry.labels)).unwrap_or_default();
            store::label::upsert(&mut transaction, model, labels, &rules).await?;
        }
        // From here on a failure says nothing about what the server did.
        batch.doubtful = Some(Done { staged: Some(counted.staged), stored, tally, waiting, taken });
        transaction.commit().await?;
        batch.doubtful.take().ok_or_else(|| StoreError::Database(sqlx::Error::WorkerCrashed).into())
    }
}

#[derive(Debug)]
enum Failure {
    Store(StoreError),
    Panic(tokio::task::JoinError),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

impl From<tokio::task::JoinError> for Failure {
    fn from(error: tokio::task::JoinError) -> Self {
        Self::Panic(error)
    }
}

/// What is new of a batch.
#[derive(Debug, Default)]
struct Sorted {
    work: Vec<Work>,
    sides: BTreeMap<PairKey, Arc<Half>>,
    labels: BTreeMap<ModelName, Vec<Label>>,
    stored: Vec<Stored>,
    tally: Tally,
    waiting: PendingSize,
    taken: PendingSize,
}

/// Tells what is new from what was stored before, and joins sides that came together.
async fn sort(db: &mut PgConnection, entries: &[Entry]) -> Result<Sorted, StoreError> {
    let mut keys: Vec<(&str, Key)> = entries
        .iter()
        .flat_map(|entry| {
            let Prepared { source, key, items, .. } = entry.prepared.as_ref();
            key.iter().chain(items.iter().filter_map(|item| item.key.as_ref())).map(|key| (&**source, *key))
        })
        .collect();
    keys.sort_unstable();
    keys.dedup();
    let mut new: HashSet<(String, Key)> = store::ingested::insert(db, &keys).await?.into_iter().collect();
    let mut sorted = Sorted::default();
    for entry in entries {
        let prepared = &entry.prepared;
        // Within a batch the first of several has the key.
        let mut is_new =
            |key: Option<Key>| key.is_none_or(|key| new.remove(&(prepared.source.to_string(), key)));
        let stored = if is_new(prepared.key) {
            sorted.message(prepared, &mut is_new)
        } else {
            Stored { duplicate: true, ..Stored::default() }
        };
        sorted.stored.push(stored);
    }
    Ok(sorted)
}

impl Sorted {
    fn message(&mut self, prepared: &Arc<Prepared>, is_new: &mut impl FnMut(Option<Key>) -> bool) -> Stored {
        let mut stored = Stored { refused: prepared.refused + prepared.unmonitored, ..Stored::default() };
        let mut known = 0;
        for (index, keyed) in prepared.items.iter().enumerate() {
            if !is_new(keyed.key) {
                known += 1;
                continue;
            }
            if keyed.time_invalid {
                self.tally.event_time_invalid(&keyed.model);
            }
            if self.item(prepared, index, keyed) {
                stored.taken += 1;
            } else {
                stored.refused += 1;
            }
        }
        self.tally.items("duplicate", known);
        self.tally.items("taken", stored.taken);
        self.tally.items("refused", stored.refused - prepared.unmonitored);
        self.tally.unmonitored(prepared.unmonitored);
        stored.duplicate = known > 0 && known == prepared.items.len();
        stored
    }

    /// Takes an item; false when it is lost.
    fn item(&mut self, prepared: &Arc<Prepared>, index: usize, keyed: &Keyed) -> bool {
        let (pair, half) = match &keyed.item {
            Item::Label(label) => {
                self.labels.entry(keyed.model.clone()).or_default().push(label.as_ref().clone());
                return true;
            }
            Item::Made(made) => {
                self.work.push(Work::Item(Arc::clone(prepared), index));
                return made.is_exchange();
            }
            Item::Side(pair, half) => (*pair, half),
        };
        let key = PairKey { source: prepared.source.to_string(), model: keyed.model.clone(), pair };
        match self.sides.remove(&key) {
            None => {
                self.sides.insert(key, Arc::clone(half));
            }
            Some(first) if first.side() == half.side() => {
                self.sides.insert(key, first);
                self.tally.sides("duplicate", 1);
            }
            Some(first) => {
                self.tally.sides("paired", 2);
                self.work.push(Work::Pair(key.model, first, Arc::clone(half)));
            }
        }
        true
    }

    fn settle(&mut self, settled: pairs::Settled) {
        self.tally.sides("paired", 2 * settled.paired.len());
        self.tally.sides("waiting", usize::try_from(settled.waiting.sides).unwrap_or(usize::MAX));
        self.tally.sides("duplicate", settled.duplicates.len());
        self.tally.sides("overflow", settled.overflow.len());
        self.waiting = settled.waiting;
        self.taken.sides += settled.taken.sides;
        self.taken.bytes += settled.taken.bytes;
        self.work.extend(settled.paired.into_iter().map(|(half, waited)| Work::Found(half, waited)));
        let overflow = settled.overflow.into_iter();
        self.work.extend(overflow.map(|(key, half)| Work::Alone(key.model, half, Alone::Overflow)));
    }
}

async fn write(db: &mut PgConnection, counted: &Counted, entries: &[Entry]) -> Result<(), StoreError> {
    if !counted.profiles.is_empty() {
        store::profile_part::upsert_profiles(&mut *db, &counted.profiles).await?;
    }
    for (model, rows) in &counted.captured {
        store::captured::insert(&mut *db, model, rows).await?;
    }
    if !counted.taps.is_empty() {
        store::profile_part::upsert_taps(&mut *db, &counted.taps).await?;
    }
    let positions: Vec<SourcePosition> = entries
        .iter()
        .filter_map(|entry| {
            let position = entry.prepared.position.as_ref()?;
            let source = entry.prepared.source.to_string();
            Some(SourcePosition { source, of: position.of.clone(), at: position.at.clone() })
        })
        .collect();
    store::source_position::upsert(&mut *db, &positions).await
}
