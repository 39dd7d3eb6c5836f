//! The files of a source that are known, by identity: a name may lead to another file, a file may get another name.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;

use super::position::FilePosition;
use super::scan::{Found, Kind};
use super::track::{Tracked, Work};
use super::unpack::Packing;
use crate::config::FileFormat;

/// Files that are held open between two looks, so that what is written after a rotation is read.
const MAX_OPEN: usize = 256;

/// Bytes at the front that have to be the same before a packed file is taken for a copy of one that was read.
const COPY: u64 = 64;

/// What is known of the files.
pub(super) struct Known {
    tracked: HashMap<String, Tracked>,
    /// Positions of files that were not seen yet.
    positions: BTreeMap<String, FilePosition>,
}

impl Known {
    pub(super) fn new(positions: BTreeMap<String, FilePosition>) -> Self {
        Self { tracked: HashMap::new(), positions }
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
        for found in files {
            let kind = Kind::of(format, &found.path);
            let of = identity(scope, kind, &found);
            seen.insert(of.clone());
            match self.tracked.get_mut(&of) {
                Some(tracked) => tracked.see(found, now),
                None => {
                    let tracked = self.meet(of.clone(), kind, found, follow, now);
                    self.tracked.insert(of, tracked);
                }
            }
        }
        self.tracked.retain(|of, tracked| {
            // A file that is gone is kept while something of it can still be read.
            seen.contains(of) || (tracked.miss(now) && tracked.lingers(follow, settle, now))
        });
    }

    /// A file that was not seen since the start: read on where its position says, if it is still the same.
    fn meet(&mut self, of: String, kind: Kind, found: Found, follow: bool, now: Instant) -> Tracked {
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
        let same_name = |position: &FilePosition| position.path == path && position.head.length() > 0;
        let moved = self.positions.iter().find(|(_, position)| same_name(position));
        if let Some((old, position)) = moved
            && (packing != Packing::None || position.offset <= tracked.found.size)
            && tracked.begins_as(position.head).unwrap_or(false)
        {
            tracked.position = position.clone();
            let old = old.clone();
            self.positions.remove(&old);
        } else if packing != Packing::None
            && let Some(offset) = self.copied(&mut tracked)
        {
            tracked.position.offset = offset;
            tracked.position.head = tracked.head(offset).unwrap_or_default();
        }
        self.let_go(&mut tracked, follow);
        tracked
    }

    /// How far a packed file was read before it was packed: rotation packs files that were followed.
    fn copied(&self, packed: &mut Tracked) -> Option<u64> {
        let plain =
            self.tracked.values().filter(|tracked| tracked.packing() == Packing::None).map(|t| &t.position);
        let candidates: Vec<FilePosition> = plain
            .chain(self.positions.values())
            .filter(|position| position.head.length() >= COPY)
            .cloned()
            .collect();
        candidates
            .into_iter()
            .filter(|position| packed.begins_as(position.head).unwrap_or(false))
            .map(|position| position.offset)
            .max()
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
