//! The loss identity of what is ingested: `seen = kept + dropped`, per model and minute, written with what it counts.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, TimeDelta, Utc};

use crate::drift::Losses;
use crate::metrics::Metrics;
use crate::model::ModelName;
use crate::store::profile_part::TapPart;
use crate::window::minute;

/// Minutes held at once; with one more, all are written and let go of.
const MAX_OPEN: usize = 4096;

/// Event time after which a written minute is let go of.
const LINGER_MINUTES: i64 = 2;

#[derive(Debug, Clone)]
struct Open {
    part: i32,
    losses: Losses,
    changed: bool,
}

/// The minutes being counted; a copy is changed and takes the place of the original when it is committed.
#[derive(Debug, Clone)]
pub(super) struct Account {
    replica: String,
    next_part: i32,
    open: HashMap<(ModelName, DateTime<Utc>), Open>,
    latest: HashMap<ModelName, DateTime<Utc>>,
}

impl Account {
    /// No minutes; `replica` has to be unique to this process.
    pub(super) fn new(replica: String) -> Self {
        Self { replica, next_part: 0, open: HashMap::new(), latest: HashMap::new() }
    }

    /// Counts one exchange: kept, or dropped for a reason. Gives what has to be written before, when too much is held.
    pub(super) fn count(
        &mut self,
        model: &ModelName,
        event_time: DateTime<Utc>,
        dropped: Option<&str>,
    ) -> Vec<TapPart> {
        let minute = minute(event_time);
        let key = (model.clone(), minute);
        let full = if self.open.len() >= MAX_OPEN && !self.open.contains_key(&key) {
            let full = self.changed();
            self.open.clear();
            full
        } else {
            Vec::new()
        };
        let latest = self.latest.entry(model.clone()).or_insert(minute);
        *latest = minute.max(*latest);
        let next_part = &mut self.next_part;
        let open = self.open.entry(key).or_insert_with(|| {
            *next_part += 1;
            Open { part: *next_part, losses: Losses::default(), changed: false }
        });
        open.changed = true;
        open.losses.seen += 1;
        match dropped {
            None => open.losses.kept += 1,
            Some(reason) => *open.losses.dropped.entry(reason.to_owned()).or_default() += 1,
        }
        full
    }

    /// Every part that has changed.
    fn changed(&self) -> Vec<TapPart> {
        let changed = self.open.iter().filter(|(_, open)| open.changed);
        changed
            .map(|((model, minute), open)| TapPart {
                model: model.clone(),
                minute: *minute,
                replica: self.replica.clone(),
                part: open.part,
                losses: open.losses.clone(),
                traffic: None,
            })
            .collect()
    }

    /// Every part that has changed, taken for written; lets go of minutes that are over.
    pub(super) fn write(&mut self) -> Vec<TapPart> {
        let changed = self.changed();
        let (latest, linger) = (&self.latest, TimeDelta::minutes(LINGER_MINUTES));
        self.open.retain(|(model, minute), open| {
            open.changed = false;
            latest.get(model).is_none_or(|&latest| *minute + linger >= latest)
        });
        changed
    }
}

/// What a batch adds to the metrics once it is committed.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Exchanges that were kept, and their rows, by model.
    kept: BTreeMap<ModelName, (u64, u64)>,
    dropped: BTreeMap<(ModelName, String), u64>,
    notes: BTreeMap<(ModelName, &'static str), u64>,
    event_times: BTreeMap<ModelName, u64>,
    items: BTreeMap<&'static str, u64>,
    sides: BTreeMap<&'static str, u64>,
    unmonitored: u64,
}

impl Tally {
    pub(super) fn kept(&mut self, model: &ModelName, rows: usize) {
        let (exchanges, total) = self.kept.entry(model.clone()).or_default();
        *exchanges += 1;
        *total += rows as u64;
    }

    pub(super) fn dropped(&mut self, model: &ModelName, reason: &str) {
        *self.dropped.entry((model.clone(), reason.to_owned())).or_default() += 1;
    }

    pub(super) fn note(&mut self, model: &ModelName, note: &'static str, count: u64) {
        if count > 0 {
            *self.notes.entry((model.clone(), note)).or_default() += count;
        }
    }

    pub(super) fn event_time_invalid(&mut self, model: &ModelName) {
        *self.event_times.entry(model.clone()).or_default() += 1;
    }

    pub(super) fn items(&mut self, outcome: &'static str, count: usize) {
        *self.items.entry(outcome).or_default() += count as u64;
    }

    pub(super) fn sides(&mut self, outcome: &'static str, count: usize) {
        *self.sides.entry(outcome).or_default() += count as u64;
    }

    pub(super) fn unmonitored(&mut self, count: usize) {
        self.unmonitored += count as u64;
        self.items("unmonitored", count);
    }

    /// Adds everything to `metrics`; models are those of the settings, so that strangers make no series.
    pub(super) fn show(&self, metrics: &Metrics) {
        let tap = &metrics.tap;
        for (model, (exchanges, rows)) in &self.kept {
            let label = &[model.as_str()];
            tap.seen.with_label_values(label).inc_by(*exchanges);
            tap.kept.with_label_values(label).inc_by(*exchanges);
            tap.rows.with_label_values(label).inc_by(*rows);
        }
        for ((model, reason), count) in &self.dropped {
            tap.seen.with_label_values(&[model.as_str()]).inc_by(*count);
            tap.dropped.with_label_values(&[model.as_str(), reason]).inc_by(*count);
        }
        for ((model, note), count) in &self.notes {
            tap.notes.with_label_values(&[model.as_str(), note]).inc_by(*count);
        }
        for (model, count) in &self.event_times {
            tap.event_time_invalid.with_label_values(&[model.as_str()]).inc_by(*count);
        }
        for (outcome, count) in &self.items {
            metrics.ingest.items.with_label_values(&[outcome]).inc_by(*count);
        }
        for (outcome, count) in &self.sides {
            metrics.ingest.sides.with_label_values(&[outcome]).inc_by(*count);
        }
        tap.unmonitored.inc_by(self.unmonitored);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(name: &str) -> ModelName {
        ModelName::parse(name).unwrap()
    }

    fn at(minute: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(minute * 60 + 7, 0).unwrap()
    }

    #[test]
    fn a_minute_grows_until_it_is_let_go_of() {
        let mut account = Account::new("r".to_owned());
        account.count(&model("a"), at(1), None);
        let first = account.write();
        account.count(&model("a"), at(1), Some("not_json"));
        let second = account.write();
        assert_eq!((first[0].part, second[0].part), (1, 1), "absolute counts of the same part");
        assert_eq!((second[0].losses.seen, second[0].losses.kept), (2, 1));
        assert_eq!(second[0].losses.dropped["not_json"], 1);
        assert!(account.write().is_empty());
        account.count(&model("a"), at(9), None);
        account.write();
        account.count(&model("a"), at(1), None);
        let again = account.write();
        assert_eq!((again[0].part, again[0].losses.seen), (3, 1), "what was let go of is another part");
    }

    #[test]
    fn a_copy_changes_nothing_of_the_original() {
        let mut account = Account::new("r".to_owned());
        account.count(&model("a"), at(1), None);
        account.write();
        let mut staged = account.clone();
        staged.count(&model("a"), at(1), None);
        assert_eq!(staged.write()[0].losses.seen, 2);
        account.count(&model("a"), at(1), None);
        assert_eq!(account.write()[0].losses.seen, 2);
    }

    #[test]
    fn minutes_are_bounded_and_none_is_lost() {
        let mut account = Account::new("r".to_owned());
        let mut written = Vec::new();
        let minutes = i64::try_from(MAX_OPEN).unwrap() + 500;
        for i in 0..minutes {
            written.extend(account.count(&model("a"), at(-i), None));
        }
        assert!(account.open.len() <= MAX_OPEN);
        written.extend(account.write());
        let mut keys: Vec<_> = written.iter().map(|part| (part.minute, part.part)).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), written.len(), "no part is written twice in one statement");
        assert_eq!(i64::try_from(written.iter().map(|part| part.losses.seen).sum::<u64>()), Ok(minutes));
    }
}
