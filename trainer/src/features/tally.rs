//! Counts of levels in bounded memory: exact while they are few, else the frequent ones with a known error.

use std::collections::HashMap;

/// Most levels that are counted at once.
const MOST_LEVELS: usize = 200_000;

/// Most bytes that their texts may take.
const MOST_BYTES: usize = 64 << 20;

/// Counts of levels. Where they are too many, as much is taken off each count as leaves room, so that those that are
/// left are counted too low by at most [`Tally::error`], and each that is more frequent than that is among them.
///
/// # Source
///
/// Misra and Gries (1982), doi:10.1016/0167-6423(82)90012-0, taking off many at a time.
#[derive(Debug, Default)]
pub(super) struct Tally {
    counts: HashMap<String, u64>,
    bytes: usize,
    error: u64,
}

impl Tally {
    pub(super) fn update(&mut self, level: &str) {
        if let Some(count) = self.counts.get_mut(level) {
            *count += 1;
            return;
        }
        self.bytes += level.len();
        self.counts.insert(level.to_owned(), 1);
        if self.counts.len() > MOST_LEVELS || self.bytes > MOST_BYTES {
            self.make_room();
        }
    }

    fn make_room(&mut self) {
        let mut counts: Vec<u64> = self.counts.values().copied().collect();
        counts.sort_unstable();
        let taken = counts[counts.len() / 2];
        self.counts.retain(|_, count| {
            *count = count.saturating_sub(taken);
            *count > 0
        });
        self.counts.shrink_to(MOST_LEVELS);
        self.bytes = self.counts.keys().map(String::len).sum();
        self.error += taken;
    }

    /// By how much a count may be too low; 0 while every level is known.
    pub(super) fn error(&self) -> u64 {
        self.error
    }

    /// The levels with their counts, most frequent first, then in the order of their texts.
    pub(super) fn ranked(self) -> Vec<(String, u64)> {
        let mut ranked: Vec<(String, u64)> = self.counts.into_iter().collect();
        ranked.sort_unstable_by(|(a, n), (b, m)| m.cmp(n).then_with(|| a.cmp(b)));
        ranked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_levels_are_counted_exactly() {
        let mut tally = Tally::default();
        for level in ["b", "a", "b", "c", "a", "b"] {
            tally.update(level);
        }
        assert_eq!(tally.error(), 0);
        let expected = [("b", 3), ("a", 2), ("c", 1)].map(|(level, count)| (level.to_owned(), count));
        assert_eq!(tally.ranked(), expected);
    }

    #[test]
    fn ten_million_levels_take_bounded_memory_and_keep_the_frequent_ones() {
        let mut tally = Tally::default();
        let mut most = 0;
        for row in 0..10_000_000_u32 {
            tally.update(&row.to_string());
            if row % 50 == 0 {
                tally.update("frequent");
            }
            most = most.max(tally.counts.len());
        }
        assert!(most <= MOST_LEVELS + 1, "{most}");
        let error = tally.error();
        let (level, count) = tally.ranked().swap_remove(0);
        assert_eq!(level, "frequent");
        assert!((200_000 - error..=200_000).contains(&count), "{count} of 200000, error {error}");
    }

    #[test]
    fn long_texts_take_bounded_memory() {
        let mut tally = Tally::default();
        for row in 0..200 {
            tally.update(&format!("{row}{}", "x".repeat(1 << 20)));
            assert!(tally.bytes <= MOST_BYTES + (2 << 20));
        }
    }
}
