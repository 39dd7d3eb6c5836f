//! The mergeable summary of rows: integer counts on the cells of one baseline, one small record per minute.
//!
//! A [`Layout`] says which columns there are and how each is cut; it comes from a baseline. A [`Profile`] holds
//! the counts of some rows on that layout. Merging adds counts, so any set of parts gives the same profile in any
//! order, and no raw value is needed to judge a window.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::model::{Batch, Column, FeatureKind, Role, Value};
use crate::stats::Moments;

mod categories;
mod checks;
mod encoding;
mod grid;

pub use categories::Categories;
pub use checks::{CheckCounts, CheckRules, Checks, CountedWith, MAX_PATTERN, MAX_TEXT, Pattern};
pub use encoding::{DecodeError, decode, encode};
pub use grid::{BadEdges, Grid, format_number};

/// Two profiles of different layouts.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("profiles of different baselines cannot be merged ({0})")]
pub struct LayoutMismatch(String);

/// How a column is cut into cells.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cut {
    /// Numeric: quantile cells.
    Grid(Grid),
    /// Categorical and boolean: one cell per frequent category.
    Categories(Categories),
}

impl Cut {
    /// Number of cells.
    pub fn cells(&self) -> usize {
        match self {
            Self::Grid(grid) => grid.cells(),
            Self::Categories(categories) => categories.cells(),
        }
    }
}

/// One column of a layout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ColumnLayout {
    /// Name of the column.
    pub name: String,
    /// Input or output.
    pub role: Role,
    /// Kind as frozen in the baseline.
    pub kind: FeatureKind,
    /// Its cells.
    pub cut: Cut,
    /// Least and greatest finite value of the baseline, numeric columns only.
    pub range: Option<(f64, f64)>,
}

/// The columns of a baseline, in its order.
#[derive(Debug, Clone, PartialEq)]
pub struct Layout {
    columns: Vec<ColumnLayout>,
    by_name: HashMap<(Role, String), usize>,
}

impl Layout {
    /// A layout of these columns.
    pub fn new(columns: Vec<ColumnLayout>) -> Self {
        let by_name = columns
            .iter()
            .enumerate()
            .map(|(index, column)| ((column.role, column.name.clone()), index))
            .collect();
        Self { columns, by_name }
    }

    /// The columns.
    pub fn columns(&self) -> &[ColumnLayout] {
        &self.columns
    }

    /// Names of the inputs, in order.
    pub fn feature_names(&self) -> Vec<String> {
        self.columns.iter().filter(|column| column.role == Role::Feature).map(|c| c.name.clone()).collect()
    }

    fn find(&self, role: Role, name: &str) -> Option<usize> {
        self.by_name.get(&(role, name.to_owned())).copied()
    }
}

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
}

impl ColumnProfile {
    fn empty(cells: usize) -> Self {
        Self { cells: vec![0; cells], ..Self::default() }
    }

    /// Rows that fell into a cell.
    pub fn usable(&self) -> u64 {
        self.cells.iter().sum()
    }

    /// Rows that did not: missing, NaN and wrongly typed.
    pub fn unusable(&self) -> u64 {
        self.missing + self.nan + self.wrong_type
    }

    fn record(&mut self, layout: &ColumnLayout, value: &Value) {
        match (&layout.cut, value) {
            (_, Value::Missing) => self.missing += 1,
            (Cut::Grid(_), Value::Number(number)) if number.is_nan() => self.nan += 1,
            (Cut::Grid(grid), Value::Number(number)) => self.record_number(layout, grid, *number),
            (Cut::Categories(categories), Value::Text(text)) if layout.kind == FeatureKind::Categorical => {
                self.cells[categories.cell(text)] += 1;
            }
            (Cut::Categories(categories), Value::Bool(truth)) => {
                self.cells[categories.cell(if *truth { "true" } else { "false" })] += 1;
            }
            (Cut::Categories(_), Value::Number(number)) if number.is_nan() => self.nan += 1,
            (Cut::Categories(categories), Value::Number(number)) => match category_of(layout.kind, *number) {
                Some(name) => self.cells[categories.cell(&name)] += 1,
                None => self.wrong_type += 1,
            },
            _ => self.wrong_type += 1,
        }
    }

    fn record_number(&mut self, layout: &ColumnLayout, grid: &Grid, number: f64) {
        self.cells[grid.cell(number)] += 1;
        if number.is_finite() {
            self.moments.update(number);
        } else if number > 0.0 {
            self.pos_inf += 1;
        } else {
            self.neg_inf += 1;
        }
        if let Some((min, max)) = layout.range {
            self.below_min += u64::from(number < min);
            self.above_max += u64::from(number > max);
        }
    }

    fn merge(&mut self, other: &Self) {
        for (own, more) in self.cells.iter_mut().zip(&other.cells) {
            *own += more;
        }
        self.missing += other.missing;
        self.nan += other.nan;
        self.wrong_type += other.wrong_type;
        self.pos_inf += other.pos_inf;
        self.neg_inf += other.neg_inf;
        self.below_min += other.below_min;
        self.above_max += other.above_max;
        self.moments.merge(&other.moments);
    }

    /// The counts of `self` without those of `part`; moments are left out, they cannot be subtracted exactly.
    pub fn cells_without(&self, part: &Self) -> Vec<u64> {
        self.cells.iter().zip(&part.cells).map(|(all, part)| all.saturating_sub(*part)).collect()
    }
}

/// The category that a number stands for: whole numbers without a decimal point, 0 and 1 as truth values.
pub(crate) fn category_of(kind: FeatureKind, number: f64) -> Option<String> {
    match kind {
        #[expect(clippy::float_cmp, reason = "only the exact values stand for truth values")]
        FeatureKind::Boolean if number == 0.0 || number == 1.0 => {
            Some(if number == 1.0 { "true" } else { "false" }.to_owned())
        }
        FeatureKind::Boolean => None,
        _ => Some(format!("{number}")),
    }
}

/// Counts of some rows on a layout.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    rows: u64,
    columns: Vec<ColumnProfile>,
}

impl Profile {
    /// No rows.
    pub fn empty(layout: &Layout) -> Self {
        let columns = layout.columns.iter().map(|column| ColumnProfile::empty(column.cut.cells())).collect();
        Self { rows: 0, columns }
    }

    /// Rows counted, whatever their values.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// One entry per column of the layout.
    pub fn columns(&self) -> &[ColumnProfile] {
        &self.columns
    }

    /// Adds the rows of `batch`. A column that the batch lacks is missing in every row.
    ///
    /// A batch without outputs (they were not aligned with the rows) leaves the output columns uncounted.
    pub fn record(&mut self, layout: &Layout, batch: &Batch) {
        let mut found: Vec<Option<&Column>> = vec![None; layout.columns.len()];
        let inputs = batch.features.iter().map(|column| (Role::Feature, column));
        for (role, column) in inputs.chain(batch.outputs.iter().map(|column| (Role::Output, column))) {
            if let Some(index) = layout.find(role, &column.name) {
                found[index] = Some(column);
            }
        }
        for ((profile, column_layout), column) in self.columns.iter_mut().zip(&layout.columns).zip(found) {
            match column {
                Some(column) => {
                    for value in &column.values {
                        profile.record(column_layout, value);
                    }
                }
                None if column_layout.role == Role::Output && batch.outputs.is_empty() => {}
                None => profile.missing += batch.rows as u64,
            }
        }
        self.rows += batch.rows as u64;
    }

    /// Adds one row given as values in the layout's order.
    pub(crate) fn record_row<'a>(&mut self, layout: &Layout, row: impl Iterator<Item = &'a Value>) {
        for ((profile, column), value) in self.columns.iter_mut().zip(&layout.columns).zip(row) {
            profile.record(column, value);
        }
        self.rows += 1;
    }

    /// Counts `value` `count` times in column `index`; the number of rows is left alone.
    pub(crate) fn record_many(&mut self, layout: &Layout, index: usize, value: &Value, count: u64) {
        let mut one = ColumnProfile::empty(layout.columns[index].cut.cells());
        one.record(&layout.columns[index], value);
        let own = &mut self.columns[index];
        for (cell, _) in one.cells.iter().enumerate().filter(|(_, counted)| **counted > 0) {
            own.cells[cell] += count;
        }
        own.wrong_type += one.wrong_type * count;
        if let Value::Number(number) = value {
            let spread = Moments { count, mean: *number, m2: 0.0, min: *number, max: *number };
            own.moments.merge(&spread);
        }
    }

    /// Adds the unusable rows of another column's profile to column `index`.
    pub(crate) fn add_unusable(&mut self, index: usize, other: &ColumnProfile) {
        let own = &mut self.columns[index];
        own.missing += other.missing;
        own.nan += other.nan;
        own.wrong_type += other.wrong_type;
    }

    /// Adds the counts of `other`.
    ///
    /// # Errors
    ///
    /// [`LayoutMismatch`] when the two were not made on the same layout; nothing is added then.
    pub fn merge(&mut self, other: &Self) -> Result<(), LayoutMismatch> {
        if self.columns.len() != other.columns.len() {
            return Err(LayoutMismatch(format!(
                "{} and {} columns",
                self.columns.len(),
                other.columns.len()
            )));
        }
        let differing = self
            .columns
            .iter()
            .zip(&other.columns)
            .position(|(own, more)| own.cells.len() != more.cells.len());
        if let Some(index) = differing {
            return Err(LayoutMismatch(format!("column {index} has other cells")));
        }
        for (own, more) in self.columns.iter_mut().zip(&other.columns) {
            own.merge(more);
        }
        self.rows += other.rows;
        Ok(())
    }
}
