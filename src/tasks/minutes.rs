//! The minutes being counted: profiles and captured rows that are not yet in the database.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

use crate::model::{Batch, Exchange, ModelName};
use crate::profile::{self, Layout, Profile};
use crate::schema::Seen;
use crate::store::captured::{self, CapturedRow, ExchangeIds, MAX_OTHER_IDS};
use crate::store::profile_part::ProfilePart;
use crate::tasks::catalog::Captures;
use crate::window::minute;

/// Minutes held at once; past it rows are refused until the database has caught up.
const MAX_OPEN: usize = 2048;

/// Cells of segments held at once, over all minutes, which is half a GiB. Past it no segment is begun: its rows are only
/// counted among all rows, and the report says that its segments are not to be trusted.
const MAX_SEGMENT_CELLS: usize = 1 << 26;

/// Captured rows held at once; past it new rows are profiled, but not kept for training.
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

#[derive(Debug, Clone)]
struct OpenProfile {
    /// Shared with copies of the minutes until one of them counts on it.
    profile: Arc<Profile>,
    seen: Arc<Seen>,
    part: i32,
    dirty: bool,
    /// Of each segment that got rows the profile, by key.
    segments: BTreeMap<Arc<str>, OpenSegment>,
}

#[derive(Debug, Clone)]
struct OpenSegment {
    profile: Arc<Profile>,
    dirty: bool,
}

impl OpenProfile {
    /// Counts the rows by segment, for each column that the layout is segmented by, while new segments take no more than
    /// `room` cells; returns how many they took.
    fn record_segments(&mut self, layout: &Layout, exchange: &Exchange, room: usize) -> usize {
        let mut taken = 0;
        for column in layout.segmented_by() {
            for (place, rows) in column.split(&exchange.batch) {
                let Some(key) = column.keys().get(place) else { continue };
                if !self.segments.contains_key(key) {
                    let cells: usize = layout.columns().iter().map(|column| column.cut.cells()).sum();
                    if taken + cells > room {
                        continue;
                    }
                    taken += cells;
                    let profile = Arc::new(Profile::empty(layout));
                    self.segments.insert(Arc::clone(key), OpenSegment { profile, dirty: false });
                }
                if let Some(segment) = self.segments.get_mut(key) {
                    let profile = Arc::make_mut(&mut segment.profile);
                    profile.record_some(layout, &exchange.batch, &rows);
                    profile.seen_at(exchange.event_time);
                    segment.dirty = true;
                }
            }
        }
        taken
    }
}

/// Everything one flush writes, in one transaction.
#[derive(Debug, Default)]
pub(super) struct Flush {
    /// Profiles.
    pub profiles: Vec<ProfilePart>,
    /// Rows for training, by model.
    pub captured: BTreeMap<ModelName, Vec<CapturedRow>>,
}

impl Flush {
    /// Whether there is nothing to write.
    pub(super) fn is_empty(&self) -> bool {
        self.profiles.is_empty() && self.captured.is_empty()
    }
}

/// The minutes being counted by this process; a copy costs as much as what is counted on it.
#[derive(Debug, Clone)]
pub(super) struct Minutes {
    replica: String,
    next_part: i32,
    profiles: HashMap<ProfileKey, OpenProfile>,
    /// Cells of the segments of all of them.
    segment_cells: usize,
    captured: BTreeMap<ModelName, Vec<CapturedRow>>,
    latest: HashMap<ModelName, DateTime<Utc>>,
}

/// The exchange with names that the database can hold, whose texts have no NUL; values are changed where they are written.
fn storable(exchange: &Exchange) -> Cow<'_, Exchange> {
    let columns = || exchange.batch.features.iter().chain(&exchange.batch.outputs);
    let version = exchange.model_version.as_deref().unwrap_or_default();
    if !version.contains('\0') && !columns().any(|column| column.name.contains('\0')) {
        return Cow::Borrowed(exchange);
    }
    let mut changed = exchange.clone();
    let without = |text: &mut String| *text = text.replace('\0', "\u{fffd}");
    changed.model_version.iter_mut().for_each(without);
    let Batch { features, outputs, .. } = &mut changed.batch;
    features.iter_mut().chain(outputs).for_each(|column| without(&mut column.name));
    Cow::Owned(changed)
}

/// The minutes held are too many: the database is behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Behind;

impl Minutes {
    /// No minutes; `replica` has to be unique to this process.
    pub(super) fn new(replica: String) -> Self {
        Self {
            replica,
            next_part: 0,
            profiles: HashMap::new(),
            segment_cells: 0,
            captured: BTreeMap::new(),
            latest: HashMap::new(),
        }
    }

    /// Minutes held.
    pub(super) fn open(&self) -> usize {
        self.profiles.len()
    }

    fn part(&mut self) -> i32 {
        self.next_part += 1;
        self.next_part
    }

    /// Counts the rows of `exchange` on the layout of `baseline`, given by version and columns, and keeps them as `captures`
    /// says; returns how many there was no room to keep.
    ///
    /// # Errors
    ///
    /// [`Behind`] when too many minutes wait for the database; nothing is counted then.
    pub(super) fn record(
        &mut self,
        exchange: &Exchange,
        baseline: Option<(&str, &Layout)>,
        captures: &Captures,
    ) -> Result<usize, Behind> {
        let exchange = &*storable(exchange);
        let minute = minute(exchange.event_time);
        let latest = self.latest.entry(exchange.model.clone()).or_insert(minute);
        *latest = minute.max(*latest);
        if let Some((version, layout)) = baseline {
            let key = ProfileKey {
                model: exchange.model.clone(),
                model_version: exchange.model_version.clone().unwrap_or_default(),
                baseline: version.to_owned(),
                minute,
            };
            if !self.profiles.contains_key(&key) {
                if self.profiles.len() >= MAX_OPEN {
                    return Err(Behind);
                }
                let part = self.part();
                let open = OpenProfile {
                    profile: Arc::new(Profile::empty(layout)),
                    seen: Arc::default(),
                    part,
                    dirty: false,
                    segments: BTreeMap::new(),
                };
                self.profiles.insert(key.clone(), open);
            }
            if let Some(open) = self.profiles.get_mut(&key) {
                let profile = Arc::make_mut(&mut open.profile);
                profile.record_exchange(layout, exchange);
                profile.seen_at(exchange.event_time);
                Arc::make_mut(&mut open.seen).record(layout, &exchange.batch);
                open.dirty = true;
                let room = MAX_SEGMENT_CELLS.saturating_sub(self.segment_cells);
                self.segment_cells += open.record_segments(layout, exchange, room);
            }
        }
        Ok(if captures.rows { self.capture(exchange, captures.key.as_deref()) } else { 0 })
    }

    /// Keeps the rows for training and labels as far as there is room; returns how many were left out.
    fn capture(&mut self, exchange: &Exchange, key: Option<&str>) -> usize {
        let rows = self.captured.entry(exchange.model.clone()).or_default();
        let batch = &exchange.batch;
        let room = MAX_CAPTURED.saturating_sub(rows.len()).min(batch.rows);
        let key = key.and_then(|key| batch.features.iter().chain(&batch.outputs).find(|c| c.name == key));
        let ids = (!exchange.other_ids.is_empty()).then(|| {
            Arc::new(ExchangeIds {
                exchange: exchange.id.clone(),
                rows: batch.rows,
                others: exchange.other_ids.iter().take(MAX_OTHER_IDS).cloned().collect(),
            })
        });
        rows.extend((0..room).map(|row| CapturedRow {
            row_id: exchange.row_id(row),
            event_time: exchange.event_time,
            model_version: exchange.model_version.clone().unwrap_or_default(),
            features: captured::row(&batch.features, row),
            outputs: captured::row(&batch.outputs, row),
            business_key: key.and_then(|key| key.values.get(row)).and_then(captured::business_key),
            ids: ids.clone(),
        }));
        batch.rows - room
    }

    /// Everything that has changed, with every minute let go of: later rows re-open them as other parts.
    pub(super) fn close(&mut self) -> Flush {
        let flush = self.flush();
        self.profiles.clear();
        self.segment_cells = 0;
        self.captured.clear();
        flush
    }

    /// Everything that has changed since the last written flush. Until [`Self::written`] is called, the next flush
    /// holds it again: counts are absolute, so writing twice is harmless.
    pub(super) fn flush(&self) -> Flush {
        let part = |key: &ProfileKey, open: &OpenProfile, segment: &str, counted: &Profile| ProfilePart {
            model: key.model.clone(),
            model_version: key.model_version.clone(),
            baseline: key.baseline.clone(),
            segment: segment.to_owned(),
            minute: key.minute,
            replica: self.replica.clone(),
            part: open.part,
            rows: counted.rows(),
            content: profile::encode(counted),
            seen: if segment.is_empty() { Seen::clone(&open.seen) } else { Seen::default() },
        };
        let mut profiles = Vec::new();
        for (key, open) in self.profiles.iter().filter(|(_, open)| open.dirty) {
            profiles.push(part(key, open, "", &open.profile));
            let changed = open.segments.iter().filter(|(_, segment)| segment.dirty);
            profiles.extend(changed.map(|(name, segment)| part(key, open, name, &segment.profile)));
        }
        let captured = self
            .captured
            .iter()
            .filter(|(_, rows)| !rows.is_empty())
            .map(|(model, rows)| (model.clone(), rows.clone()))
            .collect();
        Flush { profiles, captured }
    }

    /// Notes that `flush` is in the database, and lets go of minutes that are over.
    ///
    /// What was counted between the flush and this call stays marked as changed.
    pub(super) fn written(&mut self, flush: &Flush) {
        for part in &flush.profiles {
            let key = ProfileKey {
                model: part.model.clone(),
                model_version: part.model_version.clone(),
                baseline: part.baseline.clone(),
                minute: part.minute,
            };
            let Some(open) = self.profiles.get_mut(&key).filter(|open| open.part == part.part) else {
                continue;
            };
            let (profile, dirty) = match open.segments.get_mut(part.segment.as_str()) {
                Some(segment) => (&segment.profile, &mut segment.dirty),
                None if part.segment.is_empty() => (&open.profile, &mut open.dirty),
                None => continue,
            };
            *dirty &= profile.rows() != part.rows;
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
        self.segment_cells = self
            .profiles
            .values()
            .flat_map(|open| open.segments.values())
            .map(|segment| segment.profile.columns().iter().map(|column| column.cells.len()).sum::<usize>())
            .sum();
    }
}

#[cfg(test)]
#[path = "minutes_tests.rs"]
mod tests;
