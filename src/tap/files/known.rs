//! The files of a source that are known, by identity: a name may lead to another file, a file may get another name.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;

use super::position::{FilePosition, Head};
use super::scan::{Found, Kind};
use super::track::{Tracked, Work};
use super::unpack::Packing;
use crate::config::FileFormat;

/// Files that are held open between two looks, so that what is written after a rotation is read.
const MAX_OPEN: usize = 256;

/// What is known of the files.
pub(super) struct Known {
    tracked: HashMap<String, Tracked>,
    /// Positions of files that are not there now, or were not seen yet.
    positions: BTreeMap<String, FilePosition>,
    /// Their identities by where they were.
    by_path: HashMap<String, String>,
}

impl Known {
    pub(super) fn new(positions: BTreeMap<String, FilePosition>) -> Self {
        let mut known = Self { tracked: HashMap::new(), positions: BTreeMap::new(), by_path: HashMap::new() };
        for (of, position) in positions {
            known.remember(of, position);
        }
        known
    }

    fn remember(&mut self, of: String, position: FilePosition) {
        self.by_path.insert(position.path.clone(), of.clone());
        self.positions.insert(of, position);
    }

    /// The identities of every file that is there.
    pub(super) fn identities(&self) -> Vec<String> {
        self.tracked.keys().cloned().collect()
    }

    /// Bytes that are not read yet.
    pub(super) fn lag(&self, follow: bool) -> u64 {
        self.tracked.values().map(|tracked| tracked.lag(follow)).sum()
    }

    /// Takes out what there is something to do with, oldest first.
    ///
    /// No more than some, since each may hold a reader; whether there were more is told.
    pub(super) fn take(
        &mut self,
        most: usize,
        work: impl Fn(&Tracked) -> Option<Work>,
    ) -> (Vec<(Tracked, Work)>, bool) {
        let mut chosen: Vec<(i64, String, Work)> = self
            .tracked
            .iter()
            .filter_map(|(of, tracked)| Some((tracked.found.modified, of.clone(), work(tracked)?)))
            .collect();
        chosen.sort_by(|(a, a_of, _), (b, b_of, _)| (a, a_of).cmp(&(b, b_of)));
        let more = chosen.len() > most;
        chosen.truncate(most);
        let taken = chosen.into_iter().filter_map(|(_, of, work)| Some((self.tracked.remove(&of)?, work)));
        (taken.collect(), more)
    }

    /// Puts back what was taken out.
    pub(super) fn put(&mut self, tracked: Tracked) {
        self.tracked.insert(tracked.of.clone(), tracked);
    }

    /// Closes the files that were written to the longest ago, beyond a number.
    pub(super) fn bound_handles(&mut self) {
        let mut open: Vec<&mut Tracked> =
            self.tracked.values_mut().filter(|tracked| tracked.handle.is_some()).collect();
        if open.len() > MAX_OPEN {
            open.sort_by_key(|tracked| std::cmp::Reverse(tracked.found.modified));
            open.into_iter().skip(MAX_OPEN).for_each(Tracked::close);
        }
    }

    /// Takes note of `files`, all there are now.
    pub(super) fn reconcile(
        &mut self,
        scope: &str,
        format: FileFormat,
        (follow, settle): (bool, Duration),
        files: Vec<Found>,
        now: Instant,
    ) {
        let mut seen = HashSet::new();
        let mut read = None;
        for found in files {
            let kind = Kind::of(format, &found.path);
            let of = identity(scope, kind, &found);
            seen.insert(of.clone());
            if let Some(tracked) = self.tracked.get_mut(&of) {
                tracked.see(found, now);
            } else {
                let tracked = self.meet(of.clone(), kind, found, (follow, now), &mut read);
                self.tracked.insert(of, tracked);
            }
        }
        let mut gone = Vec::new();
        self.tracked.retain(|of, tracked| {
            // A file that is gone is kept while something of it can still be read.
            let kept = seen.contains(of) || (tracked.miss(now) && tracked.lingers(follow, settle, now));
            if !kept && (tracked.position.offset > 0 || tracked.position.done.is_some()) {
                gone.push((of.clone(), tracked.position.clone()));
            }
            kept
        });
        // It may come back, and must not be read again then.
        for (of, position) in gone {
            self.remember(of, position);
        }
    }

    /// A file that was not seen since the start: read on where its position says, if it is still the same.
    fn meet(
        &mut self,
        of: String,
        kind: Kind,
        found: Found,
        (follow, now): (bool, Instant),
        read: &mut Option<HashMap<Head, u64>>,
    ) -> Tracked {
        let path = found.path.to_string_lossy().into_owned();
        let stored = self.positions.remove(&of);
        // Numbers are given again; with the time of its making, no two files have one key.
        let generation = found.made;
        let mut tracked =
            Tracked::new(of, kind, found, FilePosition { generation, ..FilePosition::default() }, now);
        let Kind::Lines { packing, .. } = kind else {
            // Known by its name; whether it has changed is seen from its size and time.
            if let Some(stored) = stored {
                tracked.position = stored;
            }
            return tracked;
        };
        if let Some(stored) = stored {
            let size = tracked.found.size;
            if packing == Packing::None && stored.offset > size {
                // Seen again when it is read, as one that was cut short.
                tracked.position = stored;
            } else if tracked.begins_as(stored.head).unwrap_or(true) {
                tracked.position = stored;
            } else {
                // The number was given to another file.
                tracked.position.generation = stored.generation.wrapping_add(1);
            }
            self.let_go(&mut tracked, follow);
            return tracked;
        }
        // Numbers change when a folder is mounted anew; name and beginning stay.
        let old = self.by_path.get(&path).cloned();
        let moved = old.as_ref().and_then(|old| self.positions.get(old)).filter(|position| {
            position.head.length() > 0
                && (packing != Packing::None || position.offset <= tracked.found.size)
                && tracked.begins_as(position.head).unwrap_or(false)
        });
        if let (Some(old), Some(position)) = (old, moved.cloned()) {
            tracked.position = position;
            self.positions.remove(&old);
        } else if packing != Packing::None {
            // Rotation packs files that were followed; what was read of one is not read again.
            let read = read.get_or_insert_with(|| self.beginnings());
            let head = tracked.head(u64::MAX).unwrap_or_default();
            if let Some(offset) = read.get(&head).filter(|_| head.is_full()) {
                (tracked.position.offset, tracked.position.head) = (*offset, head);
            }
        }
        self.let_go(&mut tracked, follow);
        tracked
    }

    /// How far each file was read, or is going to be, that is not packed and long enough to be told from others.
    fn beginnings(&self) -> HashMap<Head, u64> {
        let plain = self.tracked.values().filter(|tracked| tracked.packing() == Packing::None);
        let tracked = plain.map(|tracked| (tracked.position.head, tracked.ends_at()));
        let stored = self.positions.values().map(|position| (position.head, position.offset));
        stored.chain(tracked).filter(|(head, _)| head.is_full()).collect()
    }

    /// A file that was only looked at is not held open.
    fn let_go(&self, tracked: &mut Tracked, follow: bool) {
        let idle = tracked.found.size == tracked.position.offset;
        if !tracked.grows(follow) || (idle && self.tracked.len() > MAX_OPEN) {
            tracked.close();
        }
    }
}

/// Followed files are known by their number, as rotation renames them; others by their name.
fn identity(scope: &str, kind: Kind, found: &Found) -> String {
    match kind {
        Kind::Lines { .. } => format!("{scope}{}:{}", found.number.0, found.number.1),
        Kind::Document(_) | Kind::Table | Kind::EventTable => format!("{scope}{}", found.path.display()),
    }
}
