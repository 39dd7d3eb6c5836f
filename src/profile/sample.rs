//! A sample of rows that merges exactly: those whose hashes are smallest.

use std::collections::BTreeSet;

/// Rows in a sample.
pub const SAMPLED_ROWS: usize = 128;

/// The rows with the smallest hashes, each as the numbers of the cells that its values fell into.
///
/// As hashes are as good as random and belong to rows, these are a uniform sample of all distinct rows, whichever parts
/// the rows were counted in. Merging is the union, cut again: associative, commutative and idempotent.
///
/// # Source
///
/// Bottom-k sketches: Cohen and Kaplan (2007), doi:10.1145/1281100.1281133.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RowSample {
    /// At most [`SAMPLED_ROWS`]; rows of one hash are told apart by their cells, so that the order of insertion does not
    /// matter even then.
    rows: BTreeSet<(u64, Box<[u16]>)>,
}

impl RowSample {
    /// Rows held, at most [`SAMPLED_ROWS`].
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The rows by ascending hash, each with its hash.
    pub fn rows(&self) -> impl Iterator<Item = (u64, &[u16])> {
        self.rows.iter().map(|(hash, cells)| (*hash, cells.as_ref()))
    }

    /// Cells of a row, while there is one.
    pub(super) fn width(&self) -> Option<usize> {
        self.rows.first().map(|(_, cells)| cells.len())
    }

    /// Whether a row of this hash would be held; if not, its cells need not be looked up.
    #[inline]
    pub fn admits(&self, hash: u64) -> bool {
        self.rows.len() < SAMPLED_ROWS || self.rows.last().is_some_and(|(last, _)| hash <= *last)
    }

    /// Adds a row, if its hash is among the smallest.
    pub fn insert(&mut self, hash: u64, cells: Box<[u16]>) {
        self.rows.insert((hash, cells));
        self.cut();
    }

    /// Adds the rows of `other`.
    pub fn merge(&mut self, other: &Self) {
        for row in &other.rows {
            if self.admits(row.0) {
                self.rows.insert(row.clone());
                self.cut();
            }
        }
    }

    fn cut(&mut self) {
        while self.rows.len() > SAMPLED_ROWS {
            self.rows.pop_last();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Row = (u64, u16);

    fn sample(rows: &[Row]) -> RowSample {
        let mut sample = RowSample::default();
        for &(hash, cell) in rows {
            if sample.admits(hash) {
                sample.insert(hash, [cell, 1].into());
            }
        }
        sample
    }

    fn merged(parts: &[&[Row]]) -> RowSample {
        parts.iter().fold(RowSample::default(), |mut all, part| {
            all.merge(&sample(part));
            all
        })
    }

    /// Few hashes, so that some are equal, and more rows than are held.
    fn rows() -> impl Strategy<Value = Vec<Row>> {
        prop::collection::vec((0..400_u64, 0..3_u16), 0..400)
    }

    proptest! {
        #[test]
        fn holds_the_smallest(rows in rows()) {
            let mut expected: Vec<Row> = rows.clone();
            expected.sort_unstable();
            expected.dedup();
            expected.truncate(SAMPLED_ROWS);
            let sample = sample(&rows);
            let held: Vec<Row> = sample.rows().map(|(hash, cells)| (hash, cells[0])).collect();
            prop_assert_eq!(held, expected);
        }

        #[test]
        fn parts_give_the_whole_in_any_order(rows in rows(), first in 0..400_usize, second in 0..400_usize) {
            let (first, second) = (first.min(second).min(rows.len()), first.max(second).min(rows.len()));
            let (a, b, c) = (&rows[..first], &rows[first..second], &rows[second..]);
            let whole = sample(&rows);
            for parts in [[a, b, c], [c, a, b], [b, c, a], [c, b, a]] {
                prop_assert_eq!(&merged(&parts), &whole);
            }
            let mut right = sample(b);
            right.merge(&sample(c));
            let mut left = sample(a);
            left.merge(&right);
            prop_assert_eq!(&left, &whole);
            left.merge(&whole);
            prop_assert_eq!(&left, &whole);
        }
    }
}
