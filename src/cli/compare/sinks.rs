//! What takes the values of a column as they are read: summaries, counts, blocks of time, raw values.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::sort::{key_of, leave_keys, sort_keys, spare_keys, spare_runs, value_of};
use crate::baseline::{CategorySummary, NumericSummary, Runs};
use crate::frames::{Chunk, FrameError, Sink, State, Values};
use crate::model::{FeatureKind, Value};
use crate::profile::{ColumnLayout, ColumnProfile, Cut};
use crate::window::window_index;

/// Numbers of a column that are kept exactly; beyond, a sketch and a second look.
pub(super) const EXACT_VALUES: usize = 1 << 20;

/// Numbers that are handed on at once.
const PART: usize = 1 << 12;

/// What had to be left out of the statistics, and where it began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) rows: u64,
    pub(super) missing: u64,
    pub(super) wrong: u64,
    /// Row of the first value of another kind, from 1.
    pub(super) first_wrong: Option<u64>,
}

impl Tally {
    fn note(&mut self, chunk: &Chunk) {
        if let Some(states) = &chunk.states {
            for (row, state) in states.iter().enumerate() {
                match state {
                    State::Value => {}
                    State::Missing => self.missing += 1,
                    State::WrongType => {
                        self.wrong += 1;
                        self.first_wrong.get_or_insert(self.rows + row as u64 + 1);
                    }
                }
            }
        }
        self.rows += chunk.rows() as u64;
    }
}

/// The distribution of a column before it is cut.
#[derive(Debug)]
pub(super) enum Distribution {
    Numbers(Numbers),
    Names(CategorySummary),
    Truths([u64; 2]),
}

/// Numbers on their way to a distribution: kept while they are few, summed up beyond.
#[derive(Debug)]
pub(super) struct Numbers {
    /// By their keys, so that they need not be turned into these to be sorted.
    kept: Vec<u64>,
    limit: usize,
    summary: Option<NumericSummary>,
    /// NaN, −∞ and +∞.
    pub(super) unusual: [u64; 3],
}

impl Numbers {
    fn new(limit: usize, rows: Option<u64>) -> Self {
        let mut kept = spare_keys();
        let rows = rows.and_then(|rows| usize::try_from(rows).ok()).unwrap_or(0);
        kept.reserve(rows.min(limit));
        Self { kept, limit, summary: None, unusual: [0; 3] }
    }

    fn extend(&mut self, numbers: &[f64], states: Option<&[State]>) {
        // In parts, so that what is kept does not outgrow its limit by a large chunk.
        for (part, numbers) in numbers.chunks(PART).enumerate() {
            if self.kept.len() + numbers.len() > self.limit {
                self.pass_on();
            }
            for (row, &number) in numbers.iter().enumerate() {
                if number.is_finite() {
                    self.kept.push(key_of(number));
                } else if states.is_none_or(|states| states[part * PART + row] == State::Value) {
                    // At rows without a value stands NaN, which does not count here.
                    self.unusual[kind_of_unusual(number)] += 1;
                }
            }
        }
    }

    fn pass_on(&mut self) {
        // The summary sorts, and what is sorted already costs it next to nothing.
        sort_keys(&mut self.kept);
        let summary = self.summary.get_or_insert_with(|| NumericSummary::new(0));
        let mut part = Vec::with_capacity(PART);
        for keys in self.kept.chunks(PART) {
            part.clear();
            part.extend(keys.iter().map(|&key| value_of(key)));
            summary.extend(&part);
        }
        self.kept.clear();
    }

    /// The distribution, in ascending order.
    pub(super) fn finish(mut self) -> Runs {
        if self.summary.is_some() {
            self.pass_on();
        } else {
            sort_keys(&mut self.kept);
        }
        let runs = if let Some(summary) = self.summary {
            summary.finish()
        } else {
            let mut values = spare_runs();
            values.extend(self.kept.chunk_by(|a, b| a == b).map(|run| (value_of(run[0]), run.len() as u64)));
            Runs { values, rank_error: 0.0 }
        };
        leave_keys(self.kept);
        runs
    }
}

/// Which block of time neighbouring rows belong to.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct BlockRuns {
    runs: Vec<(u64, i64)>,
}

impl BlockRuns {
    fn push(&mut self, block: i64) {
        match self.runs.last_mut() {
            Some((rows, last)) if *last == block => *rows += 1,
            _ => self.runs.push((1, block)),
        }
    }

    /// How many different blocks there are.
    pub(super) fn blocks(&self) -> usize {
        let mut blocks: Vec<i64> = self.runs.iter().map(|(_, block)| *block).collect();
        blocks.sort_unstable();
        blocks.dedup();
        blocks.len()
    }
}

/// Counts on a layout; with blocks of time, each block apart.
#[derive(Debug)]
pub(super) struct Counts {
    layout: Arc<ColumnLayout>,
    blocks: Option<Arc<BlockRuns>>,
    /// Place in the blocks: run, and rows of it already used.
    at: (usize, u64),
    whole: ColumnProfile,
    by_block: BTreeMap<i64, ColumnProfile>,
}

impl Counts {
    pub(super) fn new(layout: Arc<ColumnLayout>, blocks: Option<Arc<BlockRuns>>) -> Self {
        let whole = ColumnProfile::empty(&layout);
        Self { layout, blocks, at: (0, 0), whole, by_block: BTreeMap::new() }
    }

    /// The counts of all rows, and those of each block.
    pub(super) fn finish(mut self) -> (ColumnProfile, BTreeMap<i64, ColumnProfile>) {
        for block in self.by_block.values() {
            self.whole.merge(block);
        }
        (self.whole, self.by_block)
    }

    fn add(&mut self, chunk: &Chunk) {
        let Some(blocks) = self.blocks.clone() else {
            return record(&mut self.whole, &self.layout, chunk, 0..chunk.rows());
        };
        let mut start = 0;
        while start < chunk.rows() {
            let Some(&(rows, block)) = blocks.runs.get(self.at.0) else {
                // More rows than times: only a file that changed meanwhile.
                return record(&mut self.whole, &self.layout, chunk, start..chunk.rows());
            };
            let left = usize::try_from(rows - self.at.1).unwrap_or(usize::MAX);
            let end = chunk.rows().min(start.saturating_add(left));
            let layout = &self.layout;
            let profile = self.by_block.entry(block).or_insert_with(|| ColumnProfile::empty(layout));
            record(profile, layout, chunk, start..end);
            self.at.1 += (end - start) as u64;
            if self.at.1 == rows {
                self.at = (self.at.0 + 1, 0);
            }
            start = end;
        }
    }
}

/// Counts some rows of a chunk.
fn record(profile: &mut ColumnProfile, layout: &ColumnLayout, chunk: &Chunk, rows: Range<usize>) {
    let mut at = rows.start;
    for same in runs_of(chunk.states.as_deref(), rows) {
        let (state, range) = (same.0, at..at + same.1);
        at = range.end;
        match state {
            State::Missing => profile.record_missing(same.1 as u64),
            State::WrongType => profile.record_wrong_type(same.1 as u64),
            State::Value => match &chunk.values {
                Values::Numbers(values) => profile.record_numbers(layout, &values[range]),
                Values::Texts(texts) => range.for_each(|row| profile.record_text(layout, texts.get(row))),
                Values::Truths(truths) => {
                    truths[range].iter().for_each(|&truth| profile.record_truth(layout, truth));
                }
                Values::Times(_) => profile.record_wrong_type(same.1 as u64),
            },
        }
    }
}

/// Neighbouring rows of the same state, with their number.
fn runs_of(states: Option<&[State]>, rows: Range<usize>) -> impl Iterator<Item = (State, usize)> {
    let whole = states.is_none().then_some((State::Value, rows.len()));
    let states = states.map_or(&[] as &[State], |states| &states[rows]);
    whole.into_iter().chain(states.chunk_by(|a, b| a == b).map(|run| (run[0], run.len())))
}

/// Takes the values of one column.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one per column")]
pub(super) enum Taker {
    Learn { distribution: Distribution, tally: Tally },
    Count { counts: Counts, tally: Tally },
    Blocks { runs: BlockRuns, window: std::time::Duration },
    Raw { values: Vec<f64>, limit: usize, name: String },
}

impl Taker {
    /// Learns the distribution of a column of this kind.
    pub(super) fn learn(kind: FeatureKind, exact_values: usize, rows: Option<u64>) -> Self {
        let distribution = match kind {
            FeatureKind::Numeric => Distribution::Numbers(Numbers::new(exact_values, rows)),
            FeatureKind::Categorical => Distribution::Names(CategorySummary::new()),
            FeatureKind::Boolean => Distribution::Truths([0; 2]),
        };
        Self::Learn { distribution, tally: Tally::default() }
    }

    pub(super) fn count(counts: Counts) -> Self {
        Self::Count { counts, tally: Tally::default() }
    }
}

impl Sink for Taker {
    fn take(&mut self, chunk: &Chunk) -> Result<(), FrameError> {
        match self {
            Self::Learn { distribution, tally } => {
                tally.note(chunk);
                distribution.add(chunk);
            }
            Self::Count { counts, tally } => {
                tally.note(chunk);
                counts.add(chunk);
            }
            Self::Blocks { runs, window } => {
                if let Values::Times(times) = &chunk.values {
                    for &time in times {
                        let time = chrono::DateTime::from_timestamp_millis(time).unwrap_or_default();
                        runs.push(window_index(time, *window));
                    }
                }
            }
            Self::Raw { values, limit, name } => {
                if let Values::Numbers(numbers) = &chunk.values {
                    values.extend(numbers.iter().filter(|number| number.is_finite()));
                    if values.len() > *limit {
                        return Err(FrameError::Refused(format!(
                            "`--exact` would hold more than {limit} values of column `{name}` in memory; leave it out: without it KS is within its stated bound"
                        )));
                    }
                }
            }
        }
        Ok(())
    }
}

impl Distribution {
    fn add(&mut self, chunk: &Chunk) {
        match (self, &chunk.values) {
            (Self::Numbers(own), Values::Numbers(numbers)) => own.extend(numbers, chunk.states.as_deref()),
            (Self::Names(summary), Values::Texts(texts)) => match &chunk.states {
                None => texts.iter().for_each(|text| summary.add(text, 1)),
                Some(states) => {
                    let named = texts.iter().zip(states).filter(|(_, state)| **state == State::Value);
                    named.for_each(|(text, _)| summary.add(text, 1));
                }
            },
            (Self::Truths(counts), Values::Truths(truths)) => {
                let states = chunk.states.as_deref();
                for (row, &truth) in truths.iter().enumerate() {
                    if states.is_none_or(|states| states[row] == State::Value) {
                        counts[usize::from(truth)] += 1;
                    }
                }
            }
            _ => {}
        }
    }
}

fn kind_of_unusual(number: f64) -> usize {
    if number.is_nan() { 0 } else { 1 + usize::from(number > 0.0) }
}

/// Counts numbers in ascending order, each so many times; none lies outside of the layout's range.
pub(super) fn record_runs(profile: &mut ColumnProfile, layout: &ColumnLayout, runs: &[(f64, u64)]) {
    let Cut::Grid(grid) = &layout.cut else { return };
    let edges = grid.edges();
    let mut cell = 0;
    for &(number, count) in runs {
        while edges.get(cell).is_some_and(|&edge| edge < number) {
            cell += 1;
        }
        profile.cells[cell] += count;
        profile.moments.update_many(number, count);
        if cell == 0 {
            profile.low_tail.update_many(number, count);
        }
        if cell == edges.len() {
            profile.high_tail.update_many(number, count);
        }
    }
}

/// Counts what a summary kept apart: NaN and the infinities, rows without a value.
pub(super) fn record_unusual(
    profile: &mut ColumnProfile,
    layout: &ColumnLayout,
    unusual: [u64; 3],
    tally: &Tally,
) {
    for (number, count) in [f64::NAN, f64::NEG_INFINITY, f64::INFINITY].into_iter().zip(unusual) {
        if count > 0 {
            profile.record_many(layout, &Value::Number(number), count);
        }
    }
    profile.record_missing(tally.missing);
    profile.record_wrong_type(tally.wrong);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_counted_as_their_values_are() {
        let values: Vec<f64> = (0..5000).map(|i| f64::from(i * 7919 % 3001) / 8.0).collect();
        let mut numbers = Numbers::new(10_000, None);
        numbers.extend(&values, None);
        let runs = numbers.finish();
        assert!(runs.values.len() > 1000);
        let (cut, range) = crate::baseline::numeric_cut(&runs, &crate::baseline::CutOptions::default());
        let (name, role, kind) = ("x".to_owned(), crate::model::Role::Feature, FeatureKind::Numeric);
        let layout = ColumnLayout { name, role, kind, cut, range };
        let (mut one, mut other) = (ColumnProfile::empty(&layout), ColumnProfile::empty(&layout));
        record_runs(&mut one, &layout, &runs.values);
        other.record_numbers(&layout, &values);
        assert_eq!(one, other);
    }

    #[test]
    fn blocks_are_runs_of_rows() {
        let mut runs = BlockRuns::default();
        for block in [5, 5, 5, 7, 5] {
            runs.push(block);
        }
        assert_eq!((runs.runs.len(), runs.blocks()), (3, 2));
    }

    #[test]
    fn rows_of_one_state_are_taken_together() {
        use State::{Missing, Value, WrongType};
        let states = [Value, Value, Missing, WrongType, WrongType, Value];
        let runs: Vec<_> = runs_of(Some(&states), 1..6).collect();
        assert_eq!(runs, [(Value, 1), (Missing, 1), (WrongType, 2), (Value, 1)]);
        assert_eq!(runs_of(None, 2..6).collect::<Vec<_>>(), [(Value, 4)]);
    }
}
