//! The counts of one column: a value more, a slice of values more, another part's counts more.

use super::checks::number_hash;
use super::hash::stable_hash;
use super::{Categories, CheckCounts, Checks, ColumnLayout, Cut, Distinct, Grid, Unseen, category_of};
use crate::model::{FeatureKind, Value};
use crate::stats::{FiniteSum, Moments, OpenCells};

/// Numbers counted at once.
const BATCH: usize = 256;

/// Values of a request under which preparing a batch costs more than it saves: most requests have one row.
const WORTH_A_BATCH: usize = 16;

/// Counts of one column. A value is in exactly one of `cells`, `missing`, `nan` and `wrong_type`; the other
/// counters look at the values in `cells` once more.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ColumnProfile {
    /// Rows per cell.
    pub cells: Vec<u64>,
    /// Absent or null.
    pub missing: u64,
    /// Not a number.
    pub nan: u64,
    /// Of another type than the column's.
    pub wrong_type: u64,
    /// +∞, also counted in the last cell.
    pub pos_inf: u64,
    /// −∞, also counted in the first cell.
    pub neg_inf: u64,
    /// Under the baseline's least value, also counted in a cell.
    pub below_min: u64,
    /// Over the baseline's greatest value, also counted in a cell.
    pub above_max: u64,
    /// Moments of the finite values.
    pub moments: Moments,
    /// Sum of the finite values in the first cell, which is open downwards.
    pub low_tail: FiniteSum,
    /// Sum of the finite values in the last cell, which is open upwards.
    pub high_tail: FiniteSum,
    /// Distinct categories without a cell of their own; distinct numbers where checks ask for them.
    pub distinct: Distinct,
    /// Categories that the baseline never had.
    pub unseen: Unseen,
    /// Values that broke a check, as far as the layout had any.
    pub checks: CheckCounts,
}

impl ColumnProfile {
    /// Number of single counters.
    pub(super) const COUNTERS: usize = 7;

    /// No rows.
    pub fn empty(layout: &ColumnLayout) -> Self {
        Self { cells: vec![0; layout.cut.cells()], ..Self::default() }
    }

    /// Rows that fell into a cell.
    pub fn usable(&self) -> u64 {
        self.cells.iter().sum()
    }

    /// Rows that did not: missing, NaN and wrongly typed.
    pub fn unusable(&self) -> u64 {
        self.missing + self.nan + self.wrong_type
    }

    /// Rows whose value is a finite number, if the column is numeric.
    pub(super) fn finite(&self) -> u64 {
        self.usable().saturating_sub(self.pos_inf).saturating_sub(self.neg_inf)
    }

    pub(super) fn counters(&self) -> [u64; Self::COUNTERS] {
        [self.missing, self.nan, self.wrong_type, self.pos_inf, self.neg_inf, self.below_min, self.above_max]
    }

    pub(super) fn set_counters(&mut self, counters: [u64; Self::COUNTERS]) {
        [
            self.missing,
            self.nan,
            self.wrong_type,
            self.pos_inf,
            self.neg_inf,
            self.below_min,
            self.above_max,
        ] = counters;
    }

    /// About how many distinct categories there were; `None` for a numeric column.
    pub fn distinct_categories(&self, layout: &ColumnLayout) -> Option<f64> {
        let Cut::Categories(categories) = &layout.cut else { return None };
        let top = self.cells[..categories.other_cell()].iter().filter(|&&count| count > 0).count();
        Some(top as f64 + self.distinct.estimate())
    }

    /// About how many distinct values there were, as far as they were counted: categories always are, numbers where
    /// the layout's checks ask for them.
    pub fn distinct_values(&self, layout: &ColumnLayout) -> Option<f64> {
        let counted = || (!self.distinct.registers().is_empty()).then(|| self.distinct.estimate());
        self.distinct_categories(layout).or_else(counted)
    }

    /// Counts one value, whatever it is.
    pub fn record(&mut self, layout: &ColumnLayout, value: &Value) {
        self.record_with(layout, None, value);
    }

    /// Counts one value, and which of `checks` it breaks.
    pub fn record_checked(&mut self, layout: &ColumnLayout, checks: &Checks, value: &Value) {
        self.record_with(layout, Some(checks), value);
    }

    #[expect(
        clippy::inline_always,
        reason = "without checks, their code costs a category 8 % where it is shared"
    )]
    #[inline(always)]
    fn record_with(&mut self, layout: &ColumnLayout, checks: Option<&Checks>, value: &Value) {
        let mut category = |categories: &Categories, name: &str| {
            let cell = self.record_category(categories, name, 1);
            if let Some(checks) = checks {
                checks.count_category(&mut self.checks, cell, name);
            }
        };
        match (&layout.cut, value) {
            (_, Value::Missing) => self.missing += 1,
            (Cut::Grid(grid), Value::Number(number)) => {
                self.record_number(layout, grid, *number);
                if let Some(checks) = checks {
                    self.check_number(checks, *number);
                }
            }
            (Cut::Categories(categories), Value::Text(text)) if layout.kind == FeatureKind::Categorical => {
                category(categories, text);
            }
            (Cut::Categories(categories), Value::Bool(truth)) => {
                category(categories, if *truth { "true" } else { "false" });
            }
            (Cut::Categories(_), Value::Number(number)) if number.is_nan() => self.nan += 1,
            (Cut::Categories(categories), Value::Number(number)) => match category_of(layout.kind, *number) {
                Some(name) => category(categories, &name),
                None => self.wrong_type += 1,
            },
            _ => self.wrong_type += 1,
        }
    }

    /// Counts a column's values of many rows: finite numbers in batches, everything else one by one.
    pub fn record_values(&mut self, layout: &ColumnLayout, values: &[Value]) {
        let grid = match &layout.cut {
            Cut::Grid(grid) if values.len() >= WORTH_A_BATCH => grid,
            _ => {
                for value in values {
                    self.record(layout, value);
                }
                return;
            }
        };
        let mut numbers = [0.0; BATCH];
        let mut held = 0;
        for value in values {
            match value {
                Value::Number(number) if number.is_finite() => {
                    numbers[held] = *number;
                    held += 1;
                    if held == BATCH {
                        self.record_batch(layout, grid, &numbers);
                        held = 0;
                    }
                }
                other => self.record(layout, other),
            }
        }
        if held > 0 {
            self.record_batch(layout, grid, &numbers[..held]);
        }
    }

    /// Counts numbers, none of them missing, and no checks: whole columns are counted like this for a baseline.
    pub fn record_numbers(&mut self, layout: &ColumnLayout, values: &[f64]) {
        match &layout.cut {
            Cut::Grid(grid) => {
                for batch in values.chunks(BATCH) {
                    if batch.iter().all(|value| value.is_finite()) {
                        self.record_batch(layout, grid, batch);
                    } else {
                        for &number in batch {
                            self.record_number(layout, grid, number);
                        }
                    }
                }
            }
            Cut::Categories(_) => {
                for &number in values {
                    self.record(layout, &Value::Number(number));
                }
            }
        }
    }

    /// Counts one text.
    pub fn record_text(&mut self, layout: &ColumnLayout, text: &str) {
        match &layout.cut {
            Cut::Categories(categories) if layout.kind == FeatureKind::Categorical => {
                self.record_category(categories, text, 1);
            }
            _ => self.wrong_type += 1,
        }
    }

    /// Counts one truth value.
    pub fn record_truth(&mut self, layout: &ColumnLayout, truth: bool) {
        self.record(layout, &Value::Bool(truth));
    }

    /// Counts `rows` without a value.
    pub fn record_missing(&mut self, rows: u64) {
        self.missing += rows;
    }

    /// Counts `rows` whose value is of another type than the column's.
    pub fn record_wrong_type(&mut self, rows: u64) {
        self.wrong_type += rows;
    }

    /// Counts finite numbers, at most [`BATCH`].
    fn record_batch(&mut self, layout: &ColumnLayout, grid: &Grid, values: &[f64]) {
        let mut cells = [0_u32; BATCH];
        let cells = &mut cells[..values.len().min(BATCH)];
        grid.cells_of(values, cells);
        let last = self.cells.len() - 1;
        let mut open = 0_usize;
        for &cell in cells.iter() {
            self.cells[cell as usize] += 1;
            open += usize::from(cell == 0) + usize::from(cell as usize == last);
        }
        self.moments.extend(values);
        if open > 0 {
            for (&cell, &value) in cells.iter().zip(values) {
                if cell == 0 {
                    self.low_tail.update(value);
                }
                if cell as usize == last {
                    self.high_tail.update(value);
                }
            }
        }
        if let Some((min, max)) = layout.range {
            self.below_min += values.iter().map(|&value| u64::from(value < min)).sum::<u64>();
            self.above_max += values.iter().map(|&value| u64::from(value > max)).sum::<u64>();
        }
    }

    #[inline]
    fn record_number(&mut self, layout: &ColumnLayout, grid: &Grid, number: f64) {
        if number.is_nan() {
            self.nan += 1;
            return;
        }
        let cell = grid.cell(number);
        self.cells[cell] += 1;
        self.moments.update(number);
        if cell == 0 {
            self.low_tail.update(number);
        }
        if cell + 1 == self.cells.len() {
            self.high_tail.update(number);
        }
        if number.is_infinite() {
            self.pos_inf += u64::from(number > 0.0);
            self.neg_inf += u64::from(number < 0.0);
        }
        if let Some((min, max)) = layout.range {
            self.below_min += u64::from(number < min);
            self.above_max += u64::from(number > max);
        }
    }

    fn check_number(&mut self, checks: &Checks, number: f64) {
        checks.count_number(&mut self.checks, number);
        if checks.distinct() && !number.is_nan() {
            self.distinct.insert(number_hash(number));
        }
    }

    /// Returns the cell.
    fn record_category(&mut self, categories: &Categories, name: &str, count: u64) -> usize {
        let hash = stable_hash(name);
        let cell = categories.cell_of_hash(hash, name);
        self.cells[cell] += count;
        if cell >= categories.other_cell() {
            self.distinct.insert(hash);
        }
        if cell == categories.unseen() {
            self.unseen.insert(hash, name, count);
        }
        cell
    }

    /// Counts `value` `count` times.
    pub(crate) fn record_many(&mut self, layout: &ColumnLayout, value: &Value, count: u64) {
        match (&layout.cut, value) {
            (Cut::Grid(grid), Value::Number(number)) if number.is_finite() => {
                let cell = grid.cell(*number);
                self.cells[cell] += count;
                self.moments.update_many(*number, count);
                if cell == 0 {
                    self.low_tail.update_many(*number, count);
                }
                if cell + 1 == self.cells.len() {
                    self.high_tail.update_many(*number, count);
                }
                if let Some((min, max)) = layout.range {
                    self.below_min += if *number < min { count } else { 0 };
                    self.above_max += if *number > max { count } else { 0 };
                }
            }
            (Cut::Categories(categories), Value::Text(text)) => {
                self.record_category(categories, text, count);
            }
            _ => {
                // Whatever else a value can be is one counter, found by counting it once.
                let mut one = Self::empty(layout);
                one.record(layout, value);
                let counters = one.counters().map(|counted| counted * count);
                let own = self.counters();
                self.set_counters(std::array::from_fn(|at| own[at] + counters[at]));
                for (own, counted) in self.cells.iter_mut().zip(&one.cells) {
                    *own += counted * count;
                }
            }
        }
    }

    /// Adds the counts of `other`, which was made on the same layout.
    pub fn merge(&mut self, other: &Self) {
        for (own, more) in self.cells.iter_mut().zip(&other.cells) {
            *own += more;
        }
        let (own, more) = (self.counters(), other.counters());
        self.set_counters(std::array::from_fn(|at| own[at] + more[at]));
        self.moments.merge(&other.moments);
        self.low_tail.merge(&other.low_tail);
        self.high_tail.merge(&other.high_tail);
        self.distinct.merge(&other.distinct);
        self.unseen.merge(&other.unseen);
        self.checks.merge(&other.checks);
    }

    /// Adds the names that `other` has seen, and no counts.
    pub(crate) fn absorb_names(&mut self, other: &Self) {
        self.distinct.merge(&other.distinct);
        self.unseen.merge(&other.unseen);
    }

    /// Where the values of the two open cells lie on average.
    pub fn open_cells(&self) -> OpenCells {
        let mean = |sum: &FiniteSum, count: Option<&u64>, infinite: u64| {
            let finite = count.map_or(0, |count| count.saturating_sub(infinite));
            (finite > 0).then(|| sum.mean(finite))
        };
        OpenCells {
            low: mean(&self.low_tail, self.cells.first(), self.neg_inf),
            high: mean(&self.high_tail, self.cells.last(), self.pos_inf),
        }
    }

    /// For counts that were stored without them: tails as if spread evenly up to the least and the greatest value.
    pub(crate) fn assume_tails(&mut self, layout: &ColumnLayout) {
        let Cut::Grid(grid) = &layout.cut else { return };
        let (Some(&first), Some(&last)) = (grid.edges().first(), grid.edges().last()) else { return };
        let middle = |a: f64, b: f64| a / 2.0 + b / 2.0;
        if let Some(&count) = self.cells.first() {
            self.low_tail.update_many(middle(self.moments.min(), first), count.saturating_sub(self.neg_inf));
        }
        if let Some(&count) = self.cells.last() {
            self.high_tail.update_many(middle(last, self.moments.max()), count.saturating_sub(self.pos_inf));
        }
    }

    /// The counts of `self` without those of `part`.
    pub fn cells_without(&self, part: &Self) -> Vec<u64> {
        self.cells.iter().zip(&part.cells).map(|(all, part)| all.saturating_sub(*part)).collect()
    }
}
