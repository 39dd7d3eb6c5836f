//! Which values the baseline never had: a bounded list for the evidence.

use std::collections::BTreeMap;

#[cfg(test)]
use super::hash::stable_hash;

/// Values kept.
pub(super) const MAX_VALUES: usize = 64;

/// Bytes of a value that are kept.
pub(super) const MAX_BYTES: usize = 64;

/// Unseen values with their counts.
///
/// Up to 64 distinct values all are kept, so the heaviest are among them. Past that, those with the 64 smallest hashes
/// are: a fair sample of the distinct values, each with its exact count. A value that leaves can never come back, since
/// 64 smaller hashes stay, so that merging is exact, associative and commutative.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Unseen {
    by_hash: BTreeMap<u64, (Box<str>, u64)>,
    sampled: bool,
}

impl Unseen {
    /// Counts one more row with `value`, whose [`stable_hash`] is `hash`.
    pub(super) fn insert(&mut self, hash: u64, value: &str, count: u64) {
        if let Some((_, held)) = self.by_hash.get_mut(&hash) {
            *held += count;
            return;
        }
        let largest = self.by_hash.last_key_value().map(|(&hash, _)| hash);
        if self.by_hash.len() >= MAX_VALUES {
            self.sampled = true;
            if largest.is_some_and(|largest| largest < hash) {
                return;
            }
            self.by_hash.pop_last();
        }
        self.by_hash.insert(hash, (shortened(value).into(), count));
    }

    /// Adds the rows of `other`.
    pub(super) fn merge(&mut self, other: &Self) {
        self.sampled |= other.sampled;
        for (&hash, (value, count)) in &other.by_hash {
            self.insert(hash, value, *count);
        }
    }

    /// The values kept and their rows, the heaviest first.
    pub fn heaviest(&self) -> Vec<(&str, u64)> {
        let mut values: Vec<(&str, u64)> =
            self.by_hash.values().map(|(value, count)| (value.as_ref(), *count)).collect();
        values.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
        values
    }

    /// Whether there were more distinct values than are kept: these are then a sample.
    pub fn is_sample(&self) -> bool {
        self.sampled
    }

    /// Hash, value and rows, in the order of the hashes.
    pub(super) fn entries(&self) -> impl ExactSizeIterator<Item = (u64, &str, u64)> {
        self.by_hash.iter().map(|(&hash, (value, count))| (hash, value.as_ref(), *count))
    }

    /// From stored entries.
    pub(super) fn from_entries(entries: Vec<(u64, String, u64)>, sampled: bool) -> Self {
        let by_hash =
            entries.into_iter().map(|(hash, value, count)| (hash, (value.into_boxed_str(), count))).collect();
        Self { by_hash, sampled }
    }
}

/// At most [`MAX_BYTES`] of `value`, never half a character.
fn shortened(value: &str) -> &str {
    &value[..value.floor_char_boundary(MAX_BYTES)]
}

/// Counts `value`, for those who have not hashed it yet.
#[cfg(test)]
fn count(unseen: &mut Unseen, value: &str) {
    unseen.insert(stable_hash(value), value, 1);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(values: &[String]) -> Unseen {
        let mut unseen = Unseen::default();
        for value in values {
            count(&mut unseen, value);
        }
        unseen
    }

    #[test]
    fn few_values_are_all_kept() {
        let unseen = of(&["b", "a", "b", &"é".repeat(60)].map(str::to_owned));
        assert_eq!(unseen.heaviest()[0], ("b", 2));
        assert_eq!(unseen.heaviest().len(), 3);
        assert!(!unseen.is_sample() && unseen.heaviest()[2].0.len() == 64);
    }

    proptest! {
        #[test]
        fn merging_is_exact_in_any_order(values in prop::collection::vec("[a-e]{1,4}", 0..600), cut in 0_usize..600) {
            let (left, right) = values.split_at(cut.min(values.len()));
            let whole = of(&values);
            let distinct: std::collections::BTreeSet<&String> = values.iter().collect();
            prop_assert_eq!(whole.is_sample(), distinct.len() > MAX_VALUES);
            for (value, rows) in whole.heaviest() {
                prop_assert_eq!(values.iter().filter(|other| *other == value).count() as u64, rows);
            }
            for (first, second) in [(left, right), (right, left)] {
                let mut merged = of(first);
                merged.merge(&of(second));
                prop_assert_eq!(&merged, &whole);
            }
        }
    }
}
