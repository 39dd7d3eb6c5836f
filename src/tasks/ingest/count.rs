//! Counts the exchanges of a batch on a copy of the open minutes. For a thread of its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::account::{Account, Tally};
use super::half::{Alone, Half, Made, UNREADABLE};
use super::prepare::{Item, Prepared};
use crate::decode::Side;
use crate::model::{Exchange, ModelName};
use crate::store::captured::CapturedRow;
use crate::store::pending_side::Waited;
use crate::store::profile_part::{ProfilePart, TapPart};
use crate::tasks::catalog::Catalog;
use crate::tasks::minutes::{Flush, Minutes};

/// The minutes that are counted, and where exchanges went.
#[derive(Debug, Clone)]
pub(super) struct Staged {
    minutes: Minutes,
    account: Account,
}

impl Staged {
    /// Nothing; `replica` has to be unique to this process.
    pub(super) fn new(replica: &str) -> Self {
        Self { minutes: Minutes::new(replica.to_owned()), account: Account::new(replica.to_owned()) }
    }
}

/// Something to be counted.
#[derive(Debug)]
pub(super) enum Work {
    /// An item of a message that is an exchange, or the loss of one.
    Item(Arc<Prepared>, usize),
    /// Two sides that came together.
    Pair(ModelName, Arc<Half>, Arc<Half>),
    /// A side whose other one waited.
    Found(Arc<Half>, Waited),
    /// A side that is left alone.
    Alone(ModelName, Arc<Half>, Alone),
    /// A side that has waited in vain.
    Expired(Waited),
}

/// A batch that is counted, and what is to be written of it.
#[derive(Debug)]
pub(super) struct Counted {
    /// The minutes with the batch.
    pub staged: Staged,
    /// Parts that have changed.
    pub profiles: Vec<Arc<ProfilePart>>,
    /// Rows for training.
    pub captured: BTreeMap<ModelName, Vec<CapturedRow>>,
    /// Losses that have changed.
    pub taps: Vec<TapPart>,
}

impl Counted {
    fn add(&mut self, flush: Flush) {
        self.profiles.extend(flush.profiles);
        for (model, rows) in flush.captured {
            self.captured.entry(model).or_default().extend(rows);
        }
    }
}

/// Counts `work` on `staged`, and in `tally` what the metrics are to show of it.
pub(super) fn count(staged: Staged, work: Vec<Work>, catalog: &Catalog, tally: &mut Tally) -> Counted {
    let counted = Counted { staged, profiles: Vec::new(), captured: BTreeMap::new(), taps: Vec::new() };
    let mut counting = Counting { counted, catalog, tally };
    for work in work {
        counting.work(work);
    }
    let mut counted = counting.counted;
    let flush = counted.staged.minutes.flush();
    counted.staged.minutes.written(&flush);
    counted.add(flush);
    let taps = counted.staged.account.write();
    counted.taps.extend(taps);
    counted
}

struct Counting<'c> {
    counted: Counted,
    catalog: &'c Catalog,
    tally: &'c mut Tally,
}

impl Counting<'_> {
    fn work(&mut self, work: Work) {
        match work {
            Work::Item(prepared, index) => {
                if let Some(keyed) = prepared.items.get(index)
                    && let Item::Made(made) = &keyed.item
                {
                    self.made(&keyed.model, made);
                }
            }
            Work::Pair(model, one, other) => {
                let made = Arc::unwrap_or_clone(one).with(Arc::unwrap_or_clone(other), &model);
                self.made(&model, &made);
            }
            Work::Found(half, waited) => {
                let (model, half) = (waited.side.key.model, Arc::unwrap_or_clone(half));
                let made = match Half::decode(&waited.side.content) {
                    Some(other) => half.with(other, &model),
                    None => Made::Lost(half.event_time(), UNREADABLE.to_owned()),
                };
                self.made(&model, &made);
            }
            Work::Alone(model, half, why) => {
                let made = Arc::unwrap_or_clone(half).alone(&model, why);
                self.made(&model, &made);
            }
            Work::Expired(waited) => {
                let outcome = match waited.side.side {
                    Side::Request => "unanswered",
                    Side::Response => "unasked",
                };
                self.tally.sides(outcome, 1);
                let model = waited.side.key.model;
                let made = match Half::decode(&waited.side.content) {
                    Some(half) => half.alone(&model, Alone::Missing),
                    None => Made::Lost(waited.since, UNREADABLE.to_owned()),
                };
                self.made(&model, &made);
            }
        }
    }

    fn made(&mut self, model: &ModelName, made: &Made) {
        let (time, lost) = match made {
            Made::Lost(time, reason) => {
                self.tally.dropped(model, reason);
                (*time, Some(reason.as_str()))
            }
            Made::Exchange(exchange, notes) => {
                self.exchange(exchange);
                for (note, count) in notes {
                    self.tally.note(model, note, *count);
                }
                (exchange.event_time, None)
            }
        };
        let full = self.counted.staged.account.count(model, time, lost);
        self.counted.taps.extend(full);
    }

    fn exchange(&mut self, exchange: &Exchange) {
        let model = &exchange.model;
        self.tally.kept(model, exchange.batch.rows);
        let Some(entry) = self.catalog.get(model) else { return };
        let baseline =
            entry.baseline.as_ref().map(|baseline| baseline.version()).zip(entry.layout.as_deref());
        let minutes = &mut self.counted.staged.minutes;
        let recorded = minutes.record(exchange, baseline, &entry.captures);
        let left_out = if let Ok(left_out) = recorded {
            left_out
        } else {
            // So many minutes at once are a backlog that is read: they are written with this batch.
            let flush = minutes.close();
            let again = minutes.record(exchange, baseline, &entry.captures);
            self.counted.add(flush);
            again.unwrap_or(exchange.batch.rows)
        };
        self.tally.note(model, "not_captured", left_out as u64);
    }
}
