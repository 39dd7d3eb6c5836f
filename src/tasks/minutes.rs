//! The minutes being counted: profiles and captured rows that are not yet in the database.

use std::borrow::Cow;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

use crate::model::{Batch, Exchange, ModelName};
use crate::profile::{self, Layout, Profile, Rows};
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

/// The same for what one thread has counted and not yet handed over; there are at most eight.
const MAX_HANDED_CELLS: usize = MAX_SEGMENT_CELLS / 8;

/// Captured rows held at once; past it new rows are profiled, but not kept for training.
const MAX_CAPTURED: usize = 20_000;

/// Event time after which a written minute is let go of; a later row re-opens it as another part.
const LINGER_MINUTES: i64 = 2;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct ProfileKey {
    model: ModelName,
    model_version: String,
    baseline: String,
    minute: DateTime<Utc>,
}

impl ProfileKey {
    fn new(exchange: &Exchange, baseline: &str, minute: DateTime<Utc>) -> Self {
        Self {
            model: exchange.model.clone(),
            model_version: exchange.model_version.clone().unwrap_or_default(),
            baseline: baseline.to_owned(),
            minute,
        }
    }
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

/// Gives `count` each segment that rows of the exchange are in, with these rows.
fn by_segment(layout: &Layout, exchange: &Exchange, mut count: impl FnMut(&Arc<str>, &Rows)) {
    for column in layout.segmented_by() {
        for (place, rows) in column.split(&exchange.batch) {
            if let Some(key) = column.keys().get(place) {
                count(key, &rows);
            }
        }
    }
}

/// Cells that a segment on this layout takes.
fn cells(layout: &Layout) -> usize {
    layout.columns().iter().map(|column| column.cut.cells()).sum()
}

/// Cells that a segment takes.
fn cells_of(profile: &Profile) -> usize {
    profile.columns().iter().map(|column| column.cells.len()).sum()
}

/// Everything one flush writes, in one transaction.
#[derive(Debug, Default)]
pub(super) struct Flush {
    /// Profiles.
    pub profiles: Vec<Arc<ProfilePart>>,
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
    /// Minutes that are over and not yet written, encoded: a tenth of what they take while they are open.
    over: Vec<Arc<ProfilePart>>,
    /// Minutes that threads have opened and not yet handed over.
    admitted: HashSet<ProfileKey>,
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
    let without = |text: &str| text.replace('\0', "\u{fffd}");
    changed.model_version = changed.model_version.as_deref().map(without);
    let Batch { features, outputs, .. } = &mut changed.batch;
    features.iter_mut().chain(outputs).for_each(|column| column.name = without(&column.name).into());
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
            over: Vec::new(),
            admitted: HashSet::new(),
            captured: BTreeMap::new(),
            latest: HashMap::new(),
        }
    }

    /// Minutes held.
    pub(super) fn open(&self) -> usize {
        self.profiles.len() + self.over.len() + self.admitted.len()
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
        self.passed(&exchange.model, minute);
        if let Some((version, layout)) = baseline {
            let key = ProfileKey::new(exchange, version, minute);
            if !self.profiles.contains_key(&key) {
                if self.open() >= MAX_OPEN {
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
        Ok(if captures.rows { capture(&mut self.captured, exchange, captures.key.as_deref()) } else { 0 })
    }

    fn passed(&mut self, model: &ModelName, minute: DateTime<Utc>) {
        match self.latest.get_mut(model) {
            Some(latest) => *latest = minute.max(*latest),
            None => {
                self.latest.insert(model.clone(), minute);
            }
        }
    }

    /// Whether a thread may open this minute; it is taken for open until the thread hands it over.
    pub(super) fn admit(&mut self, key: &ProfileKey) -> bool {
        if self.profiles.contains_key(key) || self.admitted.contains(key) {
            return true;
        }
        let room = self.open() < MAX_OPEN;
        if room {
            self.admitted.insert(key.clone());
        }
        room
    }

    /// Adds what a thread has counted; returns by model how many rows there was no room to keep.
    pub(super) fn absorb(&mut self, counts: Counts) -> BTreeMap<ModelName, usize> {
        for (key, counted) in counts.profiles {
            self.admitted.remove(&key);
            self.passed(&key.model, key.minute);
            let room = MAX_SEGMENT_CELLS.saturating_sub(self.segment_cells);
            if let Some(open) = self.profiles.get_mut(&key) {
                if Arc::make_mut(&mut open.profile).merge(&counted.profile).is_ok() {
                    Arc::make_mut(&mut open.seen).merge(&counted.seen);
                    open.dirty = true;
                    self.segment_cells += open.absorb_segments(counted.segments, room);
                    continue;
                }
                // Counted on other cells, which one version of a baseline does not have: nothing is lost all the same.
                self.end(&key);
            }
            let part = self.part();
            let Counted { profile, seen, segments } = counted;
            let (profile, seen) = (Arc::new(profile), Arc::new(seen));
            let mut open = OpenProfile { profile, seen, part, dirty: true, segments: BTreeMap::new() };
            self.segment_cells += open.absorb_segments(segments, room);
            self.profiles.insert(key, open);
        }
        let mut left_out = BTreeMap::new();
        for (model, mut rows) in counts.captured {
            let held = self.captured.entry(model.clone()).or_default();
            let room = MAX_CAPTURED.saturating_sub(held.len());
            if rows.len() > room {
                left_out.insert(model, rows.len() - room);
                rows.truncate(room);
            }
            held.append(&mut rows);
        }
        left_out
    }

    /// Ends a minute, which waits to be written if it has changed.
    fn end(&mut self, key: &ProfileKey) {
        let Some(open) = self.profiles.remove(key) else { return };
        let taken: usize = open.segments.values().map(|segment| cells_of(&segment.profile)).sum();
        self.segment_cells = self.segment_cells.saturating_sub(taken);
        self.over.extend(open.changed(key, &self.replica));
    }

    /// Ends the minutes that are over, so that they take little while they wait.
    pub(super) fn end_over(&mut self) {
        let linger = TimeDelta::minutes(LINGER_MINUTES);
        let is_over = |key: &ProfileKey| {
            self.latest.get(&key.model).is_some_and(|&latest| key.minute + linger < latest)
        };
        let over: Vec<ProfileKey> = self.profiles.keys().filter(|key| is_over(key)).cloned().collect();
        for key in over {
            self.end(&key);
        }
    }

    /// Everything that has changed, with every minute let go of: later rows re-open them as other parts.
    pub(super) fn close(&mut self) -> Flush {
        let flush = self.flush();
        self.profiles.clear();
        self.segment_cells = 0;
        self.over.clear();
        self.captured.clear();
        flush
    }

    /// Everything that has changed since the last written flush. Until [`Self::written`] is called, the next flush
    /// holds it again: counts are absolute, so writing twice is harmless. Minutes that are over end.
    pub(super) fn flush(&mut self) -> Flush {
        self.end_over();
        let changed = self.profiles.iter().flat_map(|(key, open)| open.changed(key, &self.replica));
        let profiles = self.over.iter().cloned().chain(changed).collect();
        let captured = self
            .captured
            .iter()
            .filter(|(_, rows)| !rows.is_empty())
            .map(|(model, rows)| (model.clone(), rows.clone()))
            .collect();
        Flush { profiles, captured }
    }

    /// Notes that `flush` is in the database, and lets go of what was over.
    ///
    /// What was counted between the flush and this call stays marked as changed.
    pub(super) fn written(&mut self, flush: &Flush) {
        let rows: HashMap<(i32, &str), u64> =
            flush.profiles.iter().map(|part| ((part.part, part.segment.as_str()), part.rows)).collect();
        let is_written = |part: i32, segment: &str, held: u64| rows.get(&(part, segment)) == Some(&held);
        self.over.retain(|part| !is_written(part.part, &part.segment, part.rows));
        for open in self.profiles.values_mut() {
            open.dirty &= !is_written(open.part, "", open.profile.rows());
            for (key, segment) in &mut open.segments {
                segment.dirty &= !is_written(open.part, key, segment.profile.rows());
            }
        }
        for (model, rows) in &flush.captured {
            if let Some(held) = self.captured.get_mut(model) {
                held.drain(..rows.len().min(held.len()));
            }
        }
        let segments = self.profiles.values().flat_map(|open| open.segments.values());
        self.segment_cells = segments.map(|segment| cells_of(&segment.profile)).sum();
    }
}

impl OpenProfile {
    /// Counts the rows by segment, while new segments take no more than `room` cells; returns how many they took.
    fn record_segments(&mut self, layout: &Layout, exchange: &Exchange, room: usize) -> usize {
        let mut taken = 0;
        by_segment(layout, exchange, |key, rows| {
            if !self.segments.contains_key(key) {
                if taken + cells(layout) > room {
                    return;
                }
                taken += cells(layout);
                let profile = Arc::new(Profile::empty(layout));
                self.segments.insert(Arc::clone(key), OpenSegment { profile, dirty: false });
            }
            if let Some(segment) = self.segments.get_mut(key) {
                let profile = Arc::make_mut(&mut segment.profile);
                profile.record_some(layout, &exchange.batch, rows);
                profile.seen_at(exchange.event_time);
                segment.dirty = true;
            }
        });
        taken
    }

    /// Adds what was counted by segment, with the same bound.
    fn absorb_segments(&mut self, counted: BTreeMap<Arc<str>, Profile>, room: usize) -> usize {
        let mut taken = 0;
        for (key, profile) in counted {
            match self.segments.get_mut(&key) {
                // Both are on the layout of the whole minute, which has been merged.
                Some(segment) => {
                    segment.dirty |= Arc::make_mut(&mut segment.profile).merge(&profile).is_ok();
                }
                None if taken + cells_of(&profile) <= room => {
                    taken += cells_of(&profile);
                    self.segments.insert(key, OpenSegment { profile: Arc::new(profile), dirty: true });
                }
                None => {}
            }
        }
        taken
    }

    /// What has changed of it, as it is stored: all rows, then segments.
    fn changed(&self, key: &ProfileKey, replica: &str) -> Vec<Arc<ProfilePart>> {
        let part = |segment: &str, counted: &Profile| {
            Arc::new(ProfilePart {
                model: key.model.clone(),
                model_version: key.model_version.clone(),
                baseline: key.baseline.clone(),
                segment: segment.to_owned(),
                minute: key.minute,
                replica: replica.to_owned(),
                part: self.part,
                rows: counted.rows(),
                content: profile::encode(counted),
                seen: if segment.is_empty() { Seen::clone(&self.seen) } else { Seen::default() },
            })
        };
        let whole = self.dirty.then(|| part("", &self.profile));
        let segments = self.segments.iter().filter(|(_, segment)| segment.dirty);
        whole.into_iter().chain(segments.map(|(key, segment)| part(key, &segment.profile))).collect()
    }
}

/// What one thread has counted since it last handed over to the [`Minutes`] of its process.
#[derive(Debug, Default)]
pub(super) struct Counts {
    profiles: HashMap<ProfileKey, Counted>,
    /// Cells of the segments of all of them.
    segment_cells: usize,
    captured: BTreeMap<ModelName, Vec<CapturedRow>>,
}

#[derive(Debug)]
struct Counted {
    profile: Profile,
    seen: Seen,
    segments: BTreeMap<Arc<str>, Profile>,
}

impl Counts {
    /// Minutes held.
    pub(super) fn open(&self) -> usize {
        self.profiles.len()
    }

    /// Counts and keeps rows as [`Minutes::record`] does; `admit` says whether there is room for one more minute.
    ///
    /// # Errors
    ///
    /// [`Behind`] when there is none; nothing is counted then.
    pub(super) fn record(
        &mut self,
        exchange: &Exchange,
        baseline: Option<(&str, &Layout)>,
        captures: &Captures,
        admit: impl FnOnce(&ProfileKey) -> bool,
    ) -> Result<usize, Behind> {
        let exchange = &*storable(exchange);
        if let Some((version, layout)) = baseline {
            let key = ProfileKey::new(exchange, version, minute(exchange.event_time));
            let counted = match self.profiles.entry(key) {
                Entry::Occupied(held) => held.into_mut(),
                Entry::Vacant(free) => {
                    if !admit(free.key()) {
                        return Err(Behind);
                    }
                    let (profile, seen) = (Profile::empty(layout), Seen::default());
                    free.insert(Counted { profile, seen, segments: BTreeMap::new() })
                }
            };
            counted.profile.record_exchange(layout, exchange);
            counted.profile.seen_at(exchange.event_time);
            counted.seen.record(layout, &exchange.batch);
            let mut taken = self.segment_cells;
            by_segment(layout, exchange, |key, rows| {
                if !counted.segments.contains_key(key) {
                    if taken + cells(layout) > MAX_HANDED_CELLS {
                        return;
                    }
                    taken += cells(layout);
                    counted.segments.insert(Arc::clone(key), Profile::empty(layout));
                }
                if let Some(profile) = counted.segments.get_mut(key) {
                    profile.record_some(layout, &exchange.batch, rows);
                    profile.seen_at(exchange.event_time);
                }
            });
            self.segment_cells = taken;
        }
        Ok(if captures.rows { capture(&mut self.captured, exchange, captures.key.as_deref()) } else { 0 })
    }
}

/// Keeps the rows for training and labels as far as there is room; returns how many were left out.
fn capture(
    captured: &mut BTreeMap<ModelName, Vec<CapturedRow>>,
    exchange: &Exchange,
    key: Option<&str>,
) -> usize {
    let rows = captured.entry(exchange.model.clone()).or_default();
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

#[cfg(test)]
#[path = "minutes_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "minutes_segments_tests.rs"]
mod segments_tests;
