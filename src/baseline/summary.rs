//! What one pass over reference data keeps of a column: all of it while that is little, a sketch beyond.

use std::collections::{BTreeMap, HashMap};

use crate::profile::{Bloom, Categories, Others, stable_hash};

/// Distinct categories that are told apart exactly.
pub const MAX_CATEGORIES: usize = 100_000;

/// Numbers per level of the quantile sketch; the rank error is about a 65,536th per level.
const SKETCH_LEVEL: usize = 1 << 16;

/// Distinct numbers in ascending order, each with its rows.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Runs {
    /// Value and rows.
    pub values: Vec<(f64, u64)>,
    /// How far a share of rows up to any value can be off, in `[0, 1]`; 0 when every value was kept.
    pub rank_error: f64,
}

impl Runs {
    /// Runs from values in any order, each with its rows; equal values are taken together.
    pub(super) fn from_weighted(mut weighted: Vec<(f64, u64)>) -> Self {
        weighted.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        Self { values: merged(&weighted, &[]), rank_error: 0.0 }
    }
}

/// The distribution of a numeric column in one pass.
///
/// Exact while there are at most `limit` distinct values, whatever the number of rows; beyond that a quantile sketch
/// with a rank error that is added up and never estimated.
///
/// # Source
///
/// Manku, Rajagopalan and Lindsay (1998), doi:10.1145/276305.276342, with levels as in Karnin, Lang and Liberty (2016),
/// arXiv:1603.05346; halving keeps the odd and the even places in turn, so that the same data give the same sketch.
#[derive(Debug, Clone)]
pub struct NumericSummary {
    limit: usize,
    pending: Vec<f64>,
    runs: Vec<(f64, u64)>,
    sketch: Option<Sketch>,
}

impl NumericSummary {
    /// A summary that keeps up to `limit` distinct values, at least 65,536.
    pub fn new(limit: usize) -> Self {
        Self { limit: limit.max(SKETCH_LEVEL), pending: Vec::new(), runs: Vec::new(), sketch: None }
    }

    /// Adds numbers; NaN and infinities are passed over.
    pub fn extend(&mut self, values: &[f64]) {
        for chunk in values.chunks(SKETCH_LEVEL) {
            // Adding 0 turns −0 into 0.
            self.pending.extend(chunk.iter().filter(|value| value.is_finite()).map(|value| value + 0.0));
            if self.pending.len() >= self.limit {
                self.settle();
            }
        }
    }

    /// Adds the numbers that `other` has seen.
    pub fn merge(&mut self, other: Self) {
        self.extend(&other.pending);
        self.settle();
        self.runs = merged(&self.runs, &other.runs);
        if let Some(sketch) = other.sketch {
            self.sketch.get_or_insert_default().merge(sketch);
        }
        self.overflow();
    }

    /// Sorts what is pending into the runs.
    fn settle(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        self.pending.sort_unstable_by(f64::total_cmp);
        let fresh = runs(&self.pending);
        self.pending.clear();
        self.runs = if self.runs.is_empty() { fresh } else { merged(&self.runs, &fresh) };
        self.overflow();
    }

    fn overflow(&mut self) {
        if self.sketch.is_some() || self.runs.len() > self.limit {
            let sketch = self.sketch.get_or_insert_default();
            for (value, count) in std::mem::take(&mut self.runs) {
                sketch.add(value, count);
            }
        }
    }

    /// The distribution, in ascending order.
    pub fn finish(mut self) -> Runs {
        self.settle();
        match self.sketch {
            None => Runs { values: self.runs, rank_error: 0.0 },
            Some(sketch) => sketch.finish(),
        }
    }
}

/// Distinct values of a sorted slice, with their rows.
#[expect(clippy::float_cmp, reason = "equal values form a run")]
fn runs(sorted: &[f64]) -> Vec<(f64, u64)> {
    sorted.chunk_by(|a, b| a == b).map(|run| (run[0], run.len() as u64)).collect()
}

#[expect(clippy::float_cmp, reason = "equal values form a run")]
fn merged(a: &[(f64, u64)], b: &[(f64, u64)]) -> Vec<(f64, u64)> {
    let mut out: Vec<(f64, u64)> = Vec::with_capacity(a.len() + b.len());
    let (mut a, mut b) = (a.iter().peekable(), b.iter().peekable());
    loop {
        let from_a = match (a.peek(), b.peek()) {
            (Some((x, _)), Some((y, _))) => x <= y,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (None, None) => return out,
        };
        let Some(&(value, count)) = (if from_a { a.next() } else { b.next() }) else { return out };
        match out.last_mut() {
            Some((last, held)) if *last == value => *held += count,
            _ => out.push((value, count)),
        }
    }
}

/// Level `h` holds values that stand for `2^h` rows each.
#[derive(Debug, Clone, Default)]
struct Sketch {
    levels: Vec<Vec<f64>>,
    /// Which places the next halving of a level keeps.
    odd: Vec<bool>,
    rows: u64,
    /// The most by which the number of rows up to any value can be off.
    error: u64,
}

impl Sketch {
    fn add(&mut self, value: f64, count: u64) {
        self.rows += count;
        for level in (0..64_usize).filter(|level| count >> level & 1 == 1) {
            self.level(level).push(value);
            self.halve(level);
        }
    }

    fn level(&mut self, level: usize) -> &mut Vec<f64> {
        if self.levels.len() <= level {
            self.levels.resize(level + 1, Vec::new());
            self.odd.resize(level + 1, false);
        }
        &mut self.levels[level]
    }

    /// Passes every other value of a full level on to the next.
    fn halve(&mut self, level: usize) {
        let mut level = level;
        while self.level(level).len() >= SKETCH_LEVEL {
            let mut values = std::mem::take(&mut self.levels[level]);
            values.sort_unstable_by(f64::total_cmp);
            // An odd one out stays where it is.
            let kept = (values.len() % 2 == 1).then(|| values.pop()).flatten();
            let odd = self.odd[level];
            self.odd[level] = !odd;
            let next: Vec<f64> = values.into_iter().skip(usize::from(odd)).step_by(2).collect();
            self.levels[level].extend(kept);
            self.level(level + 1).extend(next);
            // Between two neighbours the rank of the kept one stands for both: off by one of this weight.
            self.error += 1 << level;
            level += 1;
        }
    }

    fn merge(&mut self, other: Self) {
        self.rows += other.rows;
        self.error += other.error;
        for (level, values) in other.levels.into_iter().enumerate() {
            self.level(level).extend(values);
            self.halve(level);
        }
    }

    fn finish(self) -> Runs {
        let mut weighted: Vec<(f64, u64)> = Vec::new();
        for (level, values) in self.levels.iter().enumerate() {
            weighted.extend(values.iter().map(|&value| (value, 1_u64 << level)));
        }
        weighted.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        let values = merged(&weighted, &[]);
        Runs { values, rank_error: self.error as f64 / self.rows.max(1) as f64 }
    }
}

/// The categories of a column in one pass.
///
/// Exact up to 100,000 distinct names. Beyond that rare names are let go of, so that the frequent ones stay with at most
/// [`count_error`](Self::count_error) rows missing from each, and a filter remembers who was there.
///
/// # Source
///
/// Lossy counting: Manku and Motwani (2002).
#[derive(Debug, Clone, Default)]
pub struct CategorySummary {
    counts: HashMap<Box<str>, u64>,
    seen: Option<Bloom>,
    rows: u64,
    count_error: u64,
}

impl CategorySummary {
    /// No rows.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts `name` `count` times.
    pub fn add(&mut self, name: &str, count: u64) {
        self.rows += count;
        if let Some(held) = self.counts.get_mut(name) {
            *held += count;
            return;
        }
        self.counts.insert(name.into(), count);
        if let Some(seen) = &mut self.seen {
            seen.insert(stable_hash(name));
        }
        if self.counts.len() > MAX_CATEGORIES {
            self.prune();
        }
    }

    /// Lets go of the rarer half.
    fn prune(&mut self) {
        if self.seen.is_none() {
            let mut seen = Bloom::default();
            for name in self.counts.keys() {
                seen.insert(stable_hash(name));
            }
            self.seen = Some(seen);
        }
        let mut counts: Vec<u64> = self.counts.values().copied().collect();
        let middle = counts.len() / 2;
        let (_, &mut limit, _) = counts.select_nth_unstable(middle);
        self.counts.retain(|_, count| *count > limit);
        self.count_error += limit;
    }

    /// Adds the rows of `other`.
    pub fn merge(&mut self, other: Self) {
        if let Some(theirs) = other.seen {
            let own = &self.counts;
            let seen = self.seen.get_or_insert_with(|| {
                let mut seen = Bloom::default();
                for name in own.keys() {
                    seen.insert(stable_hash(name));
                }
                seen
            });
            seen.merge(&theirs);
        }
        self.count_error += other.count_error;
        // In order, so that the same parts always give the same summary.
        let theirs: BTreeMap<Box<str>, u64> = other.counts.into_iter().collect();
        let named: u64 = theirs.values().sum();
        for (name, count) in theirs {
            self.add(&name, count);
        }
        self.rows += other.rows - named;
    }

    /// Takes over those that a part no longer tells apart: its other categories, and their rows.
    pub(super) fn add_unnamed(&mut self, categories: &Categories, cells: &[u64]) {
        if let Others::Filter(seen) = categories.others() {
            self.seen = Some(seen.clone());
        }
        self.rows += cells.get(categories.other_cell()).copied().unwrap_or(0);
    }

    /// The most rows that can be missing from the count of a name; 0 when every name was kept.
    pub fn count_error(&self) -> u64 {
        self.count_error
    }

    /// Rows, named or not.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Whether there were more names than are told apart.
    pub fn is_sketch(&self) -> bool {
        self.seen.is_some()
    }

    /// The names held, with their rows.
    pub fn counts(&self) -> impl Iterator<Item = (&str, u64)> {
        self.counts.iter().map(|(name, &count)| (name.as_ref(), count))
    }

    /// Gives the `limit` most frequent names a cell each, and the counts of all cells: the rest is `other`.
    pub fn finish(self, limit: usize) -> (Categories, Vec<u64>) {
        let mut ranked: Vec<(Box<str>, u64)> = self.counts.into_iter().collect();
        ranked.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        let rest = ranked.split_off(limit.min(ranked.len()));
        let mut cells: Vec<u64> = ranked.iter().map(|(_, count)| *count).collect();
        cells.push(self.rows - cells.iter().sum::<u64>());
        cells.push(0);
        let top = ranked.into_iter().map(|(name, _)| name.into_string()).collect();
        let others = match self.seen {
            Some(seen) => Others::Filter(seen),
            None => Others::Names(rest.into_iter().map(|(name, _)| name.into_string()).collect()),
        };
        (Categories::new(top, others), cells)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::profile::Grid;

    fn draw(i: u64) -> f64 {
        let hash = stable_hash(&i.to_string());
        (hash >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn summary(values: &[f64], limit: usize) -> Runs {
        let mut summary = NumericSummary::new(limit);
        values.chunks(1000).for_each(|chunk| summary.extend(chunk));
        summary.finish()
    }

    /// The largest difference of a share of rows up to a value.
    fn worst(runs: &Runs, sorted: &[f64]) -> f64 {
        let total: u64 = runs.values.iter().map(|(_, count)| count).sum();
        assert_eq!(total, sorted.len() as u64);
        let (mut below, mut worst) = (0, 0.0_f64);
        for &(value, count) in &runs.values {
            below += count;
            let exact = sorted.partition_point(|&other| other <= value);
            worst = worst.max((below as f64 - exact as f64).abs() / sorted.len() as f64);
        }
        worst
    }

    #[test]
    fn a_sketch_keeps_its_stated_error() {
        let mut values: Vec<f64> = (0..400_000).map(|i| draw(i).powi(3) * 1e6).collect();
        let sketched = summary(&values, 0);
        values.sort_by(f64::total_cmp);
        assert!(sketched.rank_error > 0.0 && sketched.rank_error < 5e-4, "{}", sketched.rank_error);
        let worst = worst(&sketched, &values);
        assert!(worst <= sketched.rank_error, "{worst} > {}", sketched.rank_error);
        let grid = Grid::cut_weighted(&sketched.values, 1000);
        let mut cells = vec![0_u64; grid.cells()];
        for &value in &values {
            cells[grid.cell(value)] += 1;
        }
        let largest = *cells.iter().max().unwrap() as f64 / values.len() as f64;
        assert!(largest <= 1e-3 + 2.0 * sketched.rank_error, "{largest}");
    }

    #[test]
    fn parts_merge_within_the_error_and_few_values_stay_exact() {
        let values: Vec<f64> = (0..300_000).map(draw).collect();
        let mut sorted = values.clone();
        sorted.sort_by(f64::total_cmp);
        let mut merged = NumericSummary::new(0);
        for part in values.chunks(70_000) {
            let mut summary = NumericSummary::new(0);
            summary.extend(part);
            merged.merge(summary);
        }
        let runs = merged.finish();
        assert!(worst(&runs, &sorted) <= runs.rank_error);
        let hours: Vec<f64> = (0..300_000).map(|i| f64::from(i % 24)).collect();
        let exact = summary(&hours, 0);
        assert_eq!((exact.values.len(), exact.values[3], exact.rank_error), (24, (3.0, 12_500), 0.0));
    }

    #[test]
    fn frequent_names_survive_any_number_of_rare_ones() {
        let mut summary = CategorySummary::new();
        for i in 0..400_000_u32 {
            summary.add(&format!("id-{i}"), 1);
            summary.add(["red", "green"][i as usize % 2], 1);
        }
        assert!(summary.is_sketch());
        let error = summary.count_error();
        let (categories, cells) = summary.finish(2);
        assert_eq!(
            (categories.top(), cells.iter().sum::<u64>()),
            (["green".to_owned(), "red".to_owned()].as_slice(), 800_000)
        );
        assert!(cells[0] + error >= 200_000 && cells[0] <= 200_000, "{cells:?}, error {error}");
        assert_eq!(categories.cell("id-7"), categories.other_cell());
        assert_eq!(categories.cell("never"), categories.unseen());
    }

    proptest! {
        #[test]
        fn is_exact_while_it_fits(values in prop::collection::vec(prop_oneof![-5..5_i32, any::<i32>()], 1..500), cut in 0_usize..500) {
            let values: Vec<f64> = values.into_iter().map(f64::from).collect();
            let (left, right) = values.split_at(cut.min(values.len()));
            let mut merged = NumericSummary::new(0);
            merged.extend(left);
            let mut other = NumericSummary::new(0);
            other.extend(right);
            merged.merge(other);
            let mut sorted = values.clone();
            sorted.sort_by(f64::total_cmp);
            prop_assert_eq!(merged.finish(), Runs { values: runs(&sorted), rank_error: 0.0 });
        }

        #[test]
        fn names_merge_to_the_whole(names in prop::collection::vec("[a-d]{1,2}", 0..200), cut in 0_usize..200, top in 1_usize..30) {
            let of = |names: &[String]| {
                let mut summary = CategorySummary::new();
                for name in names {
                    summary.add(name, 1);
                }
                summary
            };
            let (left, right) = names.split_at(cut.min(names.len()));
            let mut merged = of(left);
            merged.merge(of(right));
            prop_assert_eq!(merged.finish(top), of(&names).finish(top));
        }
    }
}
