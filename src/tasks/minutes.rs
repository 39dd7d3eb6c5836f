//! The minutes being counted: profiles, losses and captured rows that are not yet in the database.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

use crate::baseline::Baseline;
use crate::drift::Losses;
use crate::model::{Exchange, ModelName};
use crate::profile::{self, Profile};
use crate::store::captured::{self, CapturedRow};
use crate::store::profile_part::{ProfilePart, TapPart};
use crate::window::minute;

/// Minutes held at once; past it rows are refused until the database has caught up.
const MAX_OPEN: usize = 2048;

/// Captured rows held at once; past it the oldest wait, and new ones are not captured.
const MAX_CAPTURED: usize = 20_000;

/// Event time after which a written minute is let go of; a later row re-opens it as another part.
const LINGER_MINUTES: i64 = 2;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct ProfileKey {
    model: ModelName,
    model_version: String,
    baseline: String,
    minute: DateTime<Utc>,
}

#[derive(Debug)]
struct OpenProfile {
    profile: Profile,
    part: i32,
    dirty: bool,
}

#[derive(Debug)]
struct OpenTap {
    losses: Losses,
    part: i32,
    dirty: bool,
}

/// Everything one flush writes, in one transaction.
#[derive(Debug, Default)]
pub struct Flush {
    /// Profiles.
    pub profiles: Vec<ProfilePart>,
    /// Loss counts.
    pub taps: Vec<TapPart>,
    /// Rows for training, by model.
    pub captured: BTreeMap<ModelName, Vec<CapturedRow>>,
}

impl Flush {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.profiles.is_empty() && self.taps.is_empty() && self.captured.is_empty()
    }
}

/// The minutes being counted by this process.
#[derive(Debug)]
pub struct Minutes {
    replica: String,
    next_part: i32,
    profiles: HashMap<ProfileKey, OpenProfile>,
    taps: HashMap<(ModelName, DateTime<Utc>), OpenTap>,
    captured: BTreeMap<ModelName, Vec<CapturedRow>>,
    uncaptured: u64,
    latest: HashMap<ModelName, DateTime<Utc>>,
}

/// The minutes held are too many: the database is behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Behind;

impl Minutes {
    /// No minutes; `replica` has to be unique to this process.
    pub fn new(replica: String) -> Self {
        Self {
            replica,
            next_part: 0,
            profiles: HashMap::new(),
            taps: HashMap::new(),
            captured: BTreeMap::new(),
            uncaptured: 0,
            latest: HashMap::new(),
        }
    }

    /// Minutes held.
    pub fn open(&self) -> usize {
        self.profiles.len().max(self.taps.len())
    }

    /// Rows that were profiled but not kept for training, since the last call.
    pub fn take_uncaptured(&mut self) -> u64 {
        std::mem::take(&mut self.uncaptured)
    }

    fn part(&mut self) -> i32 {
        self.next_part += 1;
        self.next_part
    }

    /// Counts the rows of `exchange` on `baseline`, and keeps them for training when `captures`.
    ///
    /// # Errors
    ///
    /// [`Behind`] when too many minutes wait for the database; nothing is counted then.
    pub fn record(
        &mut self,
        exchange: &Exchange,
        baseline: Option<&Arc<Baseline>>,
        captures: bool,
    ) -> Result<(), Behind> {
        let minute = minute(exchange.event_time);
        if let Some(baseline) = baseline {
            let key = ProfileKey {
                model: exchange.model.clone(),
                model_version: exchange.model_version.clone().unwrap_or_default(),
                baseline: baseline.version().to_owned(),
                minute,
            };
            if !self.profiles.contains_key(&key) {
                if self.profiles.len() >= MAX_OPEN {
                    return Err(Behind);
                }
                let part = self.part();
                let profile = Profile::empty(baseline.layout());
                self.profiles.insert(key.clone(), OpenProfile { profile, part, dirty: false });
            }
            if let Some(open) = self.profiles.get_mut(&key) {
                open.profile.record(baseline.layout(), &exchange.batch);
                open.dirty = true;
            }
        }
        if captures {
            self.capture(exchange);
        }
        Ok(())
    }

    fn capture(&mut self, exchange: &Exchange) {
        let rows = self.captured.entry(exchange.model.clone()).or_default();
        let room = MAX_CAPTURED.saturating_sub(rows.len()).min(exchange.batch.rows);
        self.uncaptured += (exchange.batch.rows - room) as u64;
        rows.extend((0..room).map(|row| CapturedRow {
            row_id: exchange.row_id(row),
            event_time: exchange.event_time,
            model_version: exchange.model_version.clone().unwrap_or_default(),
            features: captured::row(&exchange.batch.features, row),
            outputs: captured::row(&exchange.batch.outputs, row),
        }));
    }

    /// Adds where exchanges of a minute went.
    pub fn count(&mut self, model: &ModelName, minute: DateTime<Utc>, losses: &Losses) {
        let part = self.part();
        let open = self
            .taps
            .entry((model.clone(), minute))
            .or_insert_with(|| OpenTap { losses: Losses::default(), part, dirty: false });
        open.losses.add(losses);
        open.dirty = true;
        let latest = self.latest.entry(model.clone()).or_insert(minute);
        *latest = minute.max(*latest);
    }

    /// Everything that has changed since the last written flush. Until [`Self::written`] is called, the next flush
    /// holds it again: counts are absolute, so writing twice is harmless.
    pub fn flush(&self) -> Flush {
        let profiles = self
            .profiles
            .iter()
            .filter(|(_, open)| open.dirty)
            .map(|(key, open)| ProfilePart {
                model: key.model.clone(),
                model_version: key.model_version.clone(),
                baseline: key.baseline.clone(),
                segment: String::new(),
                minute: key.minute,
                replica: self.replica.clone(),
                part: open.part,
                rows: open.profile.rows(),
                content: profile::encode(&open.profile),
            })
            .collect();
        let taps = self
            .taps
            .iter()
            .filter(|(_, open)| open.dirty)
            .map(|((model, minute), open)| TapPart {
                model: model.clone(),
                minute: *minute,
                replica: self.replica.clone(),
                part: open.part,
                losses: open.losses.clone(),
            })
            .collect();
        let captured =
            self.captured.iter().filter(|(_, rows)| !rows.is_empty()).map(|(model, rows)| (model.clone(), rows.clone())).collect();
        Flush { profiles, taps, captured }
    }

    /// Notes that `flush` is in the database, and lets go of minutes that are over.
    ///
    /// What was counted between the flush and this call stays marked as changed.
    pub fn written(&mut self, flush: &Flush) {
        for part in &flush.profiles {
            let key = ProfileKey {
                model: part.model.clone(),
                model_version: part.model_version.clone(),
                baseline: part.baseline.clone(),
                minute: part.minute,
            };
            if let Some(open) = self.profiles.get_mut(&key)
                && open.part == part.part
                && open.profile.rows() == part.rows
            {
                open.dirty = false;
            }
        }
        for part in &flush.taps {
            if let Some(open) = self.taps.get_mut(&(part.model.clone(), part.minute))
                && open.part == part.part
                && open.losses == part.losses
            {
                open.dirty = false;
            }
        }
        for (model, rows) in &flush.captured {
            if let Some(held) = self.captured.get_mut(model) {
                held.drain(..rows.len().min(held.len()));
            }
        }
        let linger = TimeDelta::minutes(LINGER_MINUTES);
        let latest = &self.latest;
        let over = |model: &ModelName, minute: DateTime<Utc>| {
            latest.get(model).is_some_and(|&latest| minute + linger < latest)
        };
        self.profiles.retain(|key, open| open.dirty || !over(&key.model, key.minute));
        self.taps.retain(|(model, minute), open| open.dirty || !over(model, *minute));
    }
}
