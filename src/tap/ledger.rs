//! The loss identity: every exchange that was seen is settled exactly once, per model and minute of its event. Beside it
//! the traffic of the same minutes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use prometheus::IntCounter;

use super::traffic::Traffic;
use crate::drift::Losses;
use crate::metrics::{Metrics, ModelMetrics};
use crate::model::ModelName;
use crate::traffic::{Exchange, TrafficCounts};

/// Minutes held per model; an event in one more is counted with the nearest that is held.
const MAX_MINUTES: usize = 4096;
/// Reasons held per minute; one more is counted as `other`.
const MAX_REASONS: usize = 32;
/// Why an exchange was dropped that nobody settled.
const ABANDONED: &str = "abandoned";

/// Where the exchanges of one model and minute went.
///
/// `losses.seen = losses.kept + losses.sampled_out + sum(losses.dropped) + pending`, always.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MinuteLosses {
    /// The model.
    pub model: ModelName,
    /// Start of the minute.
    pub minute: DateTime<Utc>,
    /// Which part of the minute: counts a minute that was retired and came back, from 0.
    pub part: u32,
    /// The counts since this part began: absolute, so that writing them twice is harmless.
    pub losses: Losses,
    /// Seen and not yet settled.
    pub pending: u64,
    /// The traffic since this part began, absolute as well.
    pub traffic: TrafficCounts,
}

#[derive(Debug, Default)]
struct Minute {
    part: u32,
    losses: Losses,
    settled: u64,
    traffic: TrafficCounts,
    changed: bool,
}

#[derive(Debug, Default)]
struct Minutes {
    open: BTreeMap<i64, Minute>,
    /// Next part of minutes that were retired, the newest of them.
    retired: BTreeMap<i64, u32>,
    /// Next part of any other minute: over those of all minutes that `retired` had no room for.
    first_part: u32,
}

#[derive(Debug)]
struct Account {
    model: ModelName,
    metrics: ModelMetrics,
    minutes: Mutex<Minutes>,
}

/// The accounts of all monitored models; cheap to clone.
#[derive(Debug, Clone)]
pub struct Ledger {
    accounts: Arc<HashMap<ModelName, Arc<Account>>>,
    /// Predictions of models that are not monitored.
    unmonitored: IntCounter,
}

/// One exchange that was seen. Settled once; when dropped unsettled it counts as dropped for the reason it carries.
#[derive(Debug)]
pub struct Ticket {
    account: Arc<Account>,
    minute: i64,
    reason: &'static str,
    settled: bool,
}

enum Outcome {
    Kept,
    SampledOut,
    Dropped(&'static str),
}

impl Ledger {
    /// Accounts for `models`, which also become labels of metrics.
    pub fn new(models: impl IntoIterator<Item = ModelName>, metrics: &Metrics) -> Self {
        let account = |model: ModelName| {
            let account = Account {
                metrics: ModelMetrics::new(metrics, model.as_str()),
                model: model.clone(),
                minutes: Mutex::new(Minutes::default()),
            };
            (model, Arc::new(account))
        };
        let accounts = Arc::new(models.into_iter().map(account).collect());
        Self { accounts, unmonitored: metrics.tap.unmonitored.clone() }
    }

    /// Counts an exchange of `model` as seen. A model that is not monitored is counted as such, without its name.
    pub fn open(&self, model: &ModelName, event_time: DateTime<Utc>) -> Option<Ticket> {
        let Some(account) = self.accounts.get(model) else {
            self.unmonitored.inc();
            return None;
        };
        Some(account.open(event_time))
    }

    /// Everything that is held.
    pub fn snapshot(&self) -> Vec<MinuteLosses> {
        self.collect(|_| true)
    }

    /// What has changed since the last call. The caller writes it; what it fails to write it hands back to
    /// [`Ledger::mark_changed`].
    pub fn take_changed(&self) -> Vec<MinuteLosses> {
        self.collect(|minute| std::mem::take(&mut minute.changed))
    }

    /// Has [`Ledger::take_changed`] give these minutes again.
    pub fn mark_changed<'m>(&self, minutes: impl IntoIterator<Item = &'m MinuteLosses>) {
        for minute in minutes {
            if let Some(account) = self.accounts.get(&minute.model)
                && let Some(held) = account.minutes.lock().open.get_mut(&minute_of(minute.minute))
            {
                held.changed = true;
            }
        }
    }

    /// Lets go of minutes before `before` that are settled and written; one that comes back is a new part.
    pub fn retire(&self, before: DateTime<Utc>) {
        let before = minute_of(before);
        for account in self.accounts.values() {
            let mut minutes = account.minutes.lock();
            let Minutes { open, retired, first_part } = &mut *minutes;
            open.retain(|at, minute| {
                let keep = *at >= before || minute.changed || minute.settled < minute.losses.seen;
                if !keep {
                    retired.insert(*at, minute.part + 1);
                }
                keep
            });
            while retired.len() > MAX_MINUTES {
                if let Some((_, part)) = retired.pop_first() {
                    *first_part = part.max(*first_part);
                }
            }
        }
    }

    fn collect(&self, mut wanted: impl FnMut(&mut Minute) -> bool) -> Vec<MinuteLosses> {
        let mut found = Vec::new();
        for account in self.accounts.values() {
            for (at, minute) in &mut account.minutes.lock().open {
                if wanted(minute) {
                    found.push(MinuteLosses {
                        model: account.model.clone(),
                        minute: DateTime::from_timestamp(at * 60, 0).unwrap_or_default(),
                        part: minute.part,
                        pending: minute.losses.seen - minute.settled,
                        losses: minute.losses.clone(),
                        traffic: minute.traffic.clone(),
                    });
                }
            }
        }
        found.sort_by(|a, b| (&a.model, a.minute).cmp(&(&b.model, b.minute)));
        found
    }
}

fn minute_of(time: DateTime<Utc>) -> i64 {
    time.timestamp().div_euclid(60)
}

impl Account {
    fn open(self: &Arc<Self>, event_time: DateTime<Utc>) -> Ticket {
        let wanted = minute_of(event_time);
        let minute = {
            let mut minutes = self.minutes.lock();
            let (at, held) = minutes.hold(wanted);
            held.losses.seen += 1;
            held.changed = true;
            at
        };
        self.metrics.seen.inc();
        Ticket { account: Arc::clone(self), minute, reason: ABANDONED, settled: false }
    }

    /// Counts the traffic of one exchange; a minute that was retired meanwhile comes back as a new part.
    fn count(&self, minute: i64, exchange: &Exchange) {
        let mut minutes = self.minutes.lock();
        let (_, held) = minutes.hold(minute);
        held.traffic.record(exchange);
        held.changed = true;
    }

    fn settle(&self, at: i64, outcome: &Outcome) {
        {
            let mut minutes = self.minutes.lock();
            // Still there: a minute with something pending is never retired.
            let held = minutes.open.entry(at).or_default();
            held.settled += 1;
            held.changed = true;
            match outcome {
                Outcome::Kept => held.losses.kept += 1,
                Outcome::SampledOut => held.losses.sampled_out += 1,
                Outcome::Dropped(reason) => {
                    let dropped = &mut held.losses.dropped;
                    if let Some(count) = dropped.get_mut(*reason) {
                        *count += 1;
                    } else {
                        let reason = if dropped.len() < MAX_REASONS { reason } else { "other" };
                        *dropped.entry(reason.to_owned()).or_default() += 1;
                    }
                }
            }
        }
        match outcome {
            Outcome::Kept => self.metrics.kept.inc(),
            Outcome::SampledOut => self.metrics.sampled_out.inc(),
            Outcome::Dropped(reason) => self.metrics.dropped(reason),
        }
    }
}

impl Minutes {
    /// The minute in which an event of minute `wanted` is counted, opened if need be.
    fn hold(&mut self, wanted: i64) -> (i64, &mut Minute) {
        let at = self.place(wanted);
        let Self { open, retired, first_part } = self;
        let held = open.entry(at).or_insert_with(|| Minute {
            part: retired.remove(&at).unwrap_or(*first_part),
            ..Minute::default()
        });
        (at, held)
    }

    /// Where an event of minute `wanted` is counted.
    fn place(&self, wanted: i64) -> i64 {
        if self.open.len() < MAX_MINUTES || self.open.contains_key(&wanted) {
            return wanted;
        }
        let before = self.open.range(..wanted).next_back().map(|(at, _)| *at);
        let after = self.open.range(wanted..).next().map(|(at, _)| *at);
        match (before, after) {
            (Some(before), Some(after)) if wanted - before <= after - wanted => before,
            (_, Some(after)) => after,
            (Some(before), None) => before,
            (None, None) => wanted,
        }
    }
}

impl Ticket {
    /// The model of the exchange.
    pub fn model(&self) -> &ModelName {
        &self.account.model
    }

    /// The metrics of its model.
    pub(super) fn metrics(&self) -> &ModelMetrics {
        &self.account.metrics
    }

    /// The exchange goes on to be profiled.
    pub fn kept(self) {
        self.settle(&Outcome::Kept);
    }

    /// The sampling rate left the exchange out.
    pub fn sampled_out(self) {
        self.settle(&Outcome::SampledOut);
    }

    /// The exchange is lost, for `reason`.
    pub fn dropped(self, reason: &'static str) {
        self.settle(&Outcome::Dropped(reason));
    }

    /// The reason to count, should the exchange end here.
    pub fn set_reason(&mut self, reason: &'static str) {
        self.reason = reason;
    }

    /// Counts what the exchange took; once, before it is settled.
    pub fn traffic(&self, traffic: &Traffic) {
        let exchange = Exchange {
            upstream_seconds: traffic.upstream_seconds,
            answer_seconds: traffic.answer_seconds,
            overhead_seconds: traffic.overhead_seconds,
            status: traffic.status,
            grpc_status: traffic.grpc_status,
            request_bytes: traffic.request_bytes,
            response_bytes: traffic.response_bytes,
            in_flight: traffic.in_flight,
        };
        self.account.count(self.minute, &exchange);
    }

    /// Counts what was odd about an exchange, and its rows.
    pub(super) fn count(&self, rows: usize, notes: impl Iterator<Item = (&'static str, u64)>) {
        self.account.metrics.rows.inc_by(rows as u64);
        for (note, count) in notes {
            self.account.metrics.note(note, count);
        }
    }

    fn settle(mut self, outcome: &Outcome) {
        self.settled = true;
        self.account.settle(self.minute, outcome);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.settled {
            self.account.settle(self.minute, &Outcome::Dropped(self.reason));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn model(name: &str) -> ModelName {
        ModelName::parse(name).unwrap()
    }

    fn at(minute: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(minute * 60 + 7, 0).unwrap()
    }

    fn ledger() -> (Ledger, Metrics) {
        let metrics = Metrics::new().unwrap();
        (Ledger::new([model("a"), model("b")], &metrics), metrics)
    }

    fn check_identity(minutes: &[MinuteLosses]) {
        for minute in minutes {
            let losses = &minute.losses;
            let settled = losses.kept + losses.sampled_out + losses.dropped.values().sum::<u64>();
            assert_eq!(losses.seen, settled + minute.pending, "{minute:?}");
        }
    }

    #[test]
    fn every_exchange_is_settled_once() {
        let (ledger, _) = ledger();
        let open = || ledger.open(&model("a"), at(1)).unwrap();
        open().kept();
        open().sampled_out();
        open().dropped("queue_full");
        drop(open());
        let mut cancelled = open();
        cancelled.set_reason("client_gone");
        drop(cancelled);
        let pending = open();
        let minutes = ledger.snapshot();
        check_identity(&minutes);
        assert_eq!(minutes.len(), 1);
        assert_eq!((minutes[0].losses.seen, minutes[0].pending), (6, 1));
        let dropped = [("queue_full", 1), ("abandoned", 1), ("client_gone", 1)];
        let dropped: BTreeMap<_, _> =
            dropped.into_iter().map(|(reason, count): (&str, u64)| (reason.to_owned(), count)).collect();
        assert_eq!(minutes[0].losses.dropped, dropped);
        pending.kept();
        assert_eq!(ledger.snapshot()[0].pending, 0);
    }

    #[test]
    fn an_unmonitored_model_is_counted_without_its_name() {
        let (ledger, metrics) = ledger();
        assert!(ledger.open(&model("stranger"), at(1)).is_none());
        let text = metrics.encode().unwrap();
        assert!(text.contains("driftline_exchanges_unmonitored_total 1"));
        assert!(!text.contains("stranger"));
    }

    #[test]
    fn changes_are_given_once_and_can_be_handed_back() {
        let (ledger, _) = ledger();
        ledger.open(&model("a"), at(1)).unwrap().kept();
        ledger.open(&model("b"), at(2)).unwrap().kept();
        let changed = ledger.take_changed();
        assert_eq!(changed.len(), 2);
        assert_eq!(ledger.take_changed(), []);
        ledger.mark_changed(&changed[1..]);
        assert_eq!(ledger.take_changed(), changed[1..]);
    }

    #[test]
    fn a_retired_minute_comes_back_as_a_new_part() {
        let (ledger, _) = ledger();
        let pending = ledger.open(&model("a"), at(1)).unwrap();
        ledger.retire(at(9));
        assert_eq!(ledger.snapshot().len(), 1, "not written, not settled");
        ledger.take_changed();
        ledger.retire(at(9));
        assert_eq!(ledger.snapshot().len(), 1, "not settled");
        pending.kept();
        ledger.take_changed();
        ledger.retire(at(9));
        assert_eq!(ledger.snapshot(), []);
        for part in 1..3 {
            ledger.open(&model("a"), at(1)).unwrap().kept();
            let changed = ledger.take_changed();
            assert_eq!((changed[0].part, changed[0].losses.seen), (part, 1));
            ledger.retire(at(9));
        }
    }

    #[test]
    fn traffic_is_counted_in_its_minute() {
        let (ledger, _) = ledger();
        let traffic = Traffic {
            upstream_seconds: 0.25,
            answer_seconds: 0.5,
            overhead_seconds: 1e-4,
            status: 503,
            grpc_status: None,
            request_bytes: 10,
            response_bytes: 20,
            in_flight: 3,
        };
        let ticket = ledger.open(&model("a"), at(1)).unwrap();
        ticket.traffic(&traffic);
        ticket.sampled_out();
        let first = ledger.take_changed();
        check_identity(&first);
        assert_eq!((first[0].part, first[0].traffic.requests()), (0, 1));
        assert_eq!(first[0].traffic.statuses(), &[(503, 1)].into());
        assert_eq!(first[0].traffic.in_flight_max(), 3);
        ledger.retire(at(9));
        assert_eq!(ledger.snapshot(), []);
    }

    #[test]
    fn minutes_and_reasons_are_bounded_and_nothing_is_lost() {
        const REASONS: [&str; 40] = [
            "r00", "r01", "r02", "r03", "r04", "r05", "r06", "r07", "r08", "r09", "r10", "r11", "r12", "r13",
            "r14", "r15", "r16", "r17", "r18", "r19", "r20", "r21", "r22", "r23", "r24", "r25", "r26", "r27",
            "r28", "r29", "r30", "r31", "r32", "r33", "r34", "r35", "r36", "r37", "r38", "r39",
        ];
        let (ledger, _) = ledger();
        let events = i64::try_from(MAX_MINUTES).unwrap() + 500;
        for minute in 0..events {
            ledger.open(&model("a"), at(minute * 3)).unwrap().kept();
        }
        for reason in REASONS {
            ledger.open(&model("b"), at(1)).unwrap().dropped(reason);
        }
        let minutes = ledger.snapshot();
        check_identity(&minutes);
        let of_a: Vec<_> = minutes.iter().filter(|minute| minute.model == model("a")).collect();
        assert_eq!(of_a.len(), MAX_MINUTES);
        assert_eq!(of_a.iter().map(|minute| minute.losses.seen).sum::<u64>(), 4596);
        let of_b = minutes.iter().find(|minute| minute.model == model("b")).unwrap();
        assert_eq!(of_b.losses.dropped.len(), MAX_REASONS + 1);
        assert_eq!(of_b.losses.dropped["other"], 8);
    }

    #[test]
    fn the_identity_holds_at_every_moment_under_threads() {
        let (ledger, metrics) = ledger();
        std::thread::scope(|scope| {
            for thread in 0_i64..4 {
                let ledger = &ledger;
                scope.spawn(move || {
                    for i in 0..2_000 {
                        let ticket = ledger.open(&model("a"), at((i * 7 + thread) % 5)).unwrap();
                        match (i + thread) % 4 {
                            0 => ticket.kept(),
                            1 => ticket.sampled_out(),
                            2 => ticket.dropped("truncated"),
                            _ => drop(ticket),
                        }
                    }
                });
            }
            for _ in 0..200 {
                check_identity(&ledger.snapshot());
            }
        });
        let minutes = ledger.snapshot();
        check_identity(&minutes);
        assert!(minutes.iter().all(|minute| minute.pending == 0));
        assert_eq!(minutes.iter().map(|minute| minute.losses.seen).sum::<u64>(), 8_000);
        assert_eq!(metrics.tap.seen.with_label_values(&["a"]).get(), 8_000);
        assert_eq!(metrics.tap.kept.with_label_values(&["a"]).get(), 2_000);
    }
}
