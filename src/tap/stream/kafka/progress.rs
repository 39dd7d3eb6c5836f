//! How far each assigned partition is stored: the offset below which nothing is under way any more.

use std::collections::{BTreeMap, HashMap};

/// A partition of a topic.
pub(super) type Partition = (String, i32);

/// Tells one assignment of a partition from the next; what began under one is of no use to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Generation(u64);

#[derive(Debug)]
struct Assigned {
    generation: Generation,
    /// Offsets that were taken, and whether each is stored.
    taken: BTreeMap<i64, bool>,
}

/// The partitions that are assigned to this process.
#[derive(Debug, Default)]
pub(super) struct Progress {
    partitions: HashMap<Partition, Assigned>,
    generations: u64,
}

impl Progress {
    /// A message was taken.
    pub(super) fn begin(&mut self, partition: &Partition, offset: i64) -> Generation {
        let generations = &mut self.generations;
        let assigned = self.partitions.entry(partition.clone()).or_insert_with(|| {
            *generations += 1;
            Assigned { generation: Generation(*generations), taken: BTreeMap::new() }
        });
        assigned.taken.insert(offset, false);
        assigned.generation
    }

    /// A message is stored; gives the last offset that may be committed now, if it has moved.
    pub(super) fn done(&mut self, partition: &Partition, generation: Generation, offset: i64) -> Option<i64> {
        let assigned =
            self.partitions.get_mut(partition).filter(|assigned| assigned.generation == generation)?;
        *assigned.taken.get_mut(&offset)? = true;
        let mut last = None;
        while let Some(first) = assigned.taken.first_entry().filter(|first| *first.get()) {
            last = Some(first.remove_entry().0);
        }
        last
    }

    /// The partition belongs to another process, or is read again.
    pub(super) fn revoke(&mut self, partition: &Partition) {
        self.partitions.remove(partition);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn partition() -> Partition {
        ("t".to_owned(), 0)
    }

    #[test]
    fn an_offset_is_committed_when_all_before_it_are_stored() {
        let mut progress = Progress::default();
        let generations: Vec<_> = [5, 6, 8].map(|offset| progress.begin(&partition(), offset)).to_vec();
        assert_eq!(progress.done(&partition(), generations[1], 6), None);
        assert_eq!(progress.done(&partition(), generations[0], 5), Some(6));
        assert_eq!(progress.done(&partition(), generations[2], 8), Some(8));
        assert_eq!(progress.done(&partition(), generations[2], 8), None);
    }

    #[test]
    fn what_was_taken_before_a_revocation_commits_nothing() {
        let mut progress = Progress::default();
        let before = progress.begin(&partition(), 5);
        progress.revoke(&partition());
        assert_eq!(progress.done(&partition(), before, 5), None);
        let after = progress.begin(&partition(), 5);
        assert_eq!(progress.done(&partition(), before, 5), None);
        assert_eq!(progress.done(&partition(), after, 5), Some(5));
    }

    proptest! {
        #[test]
        fn nothing_is_committed_before_it_is_stored(order in Just((0..20_i64).collect::<Vec<_>>()).prop_shuffle()) {
            let mut progress = Progress::default();
            let generations: Vec<_> = (0..20).map(|offset| progress.begin(&partition(), offset)).collect();
            let mut stored = std::collections::BTreeSet::new();
            let mut last = -1;
            for offset in order {
                stored.insert(offset);
                let generation = generations[usize::try_from(offset).unwrap()];
                if let Some(committed) = progress.done(&partition(), generation, offset) {
                    prop_assert!(committed > last);
                    prop_assert!((0..=committed).all(|offset| stored.contains(&offset)));
                    last = committed;
                }
            }
            prop_assert_eq!(last, 19);
        }
    }
}
