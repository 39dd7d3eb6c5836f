//! A proposal: the expectations that a baseline suggests, as a document to read, correct and keep.
//!
//! Each figure is chosen so that data like the baseline's keep to it. A share that was seen `k` times in `N` rows may
//! truly be larger: the limit proposed is the upper end of its exact 99.9 % interval, which for something never seen is
//! about 6.9 in `N`. What the reference data cannot show (a season they lack, values that go wrong in bursts) is for
//! the reader to add.

use std::collections::BTreeMap;
use std::time::Duration;

use super::binomial::upper_limit;
use super::words::{exact, grouped, percent, rounded_up};
use super::write::{Remarks, yaml};
use super::{
    CheckKind, ColumnExpectation, DEFAULT_CONFIDENCE, DISTINCT_RELATIVE_ERROR, Expectations, ExpectedType,
    Tolerated, shapes,
};
use crate::baseline::{Baseline, BaselineColumn};
use crate::model::{FeatureKind, Role};
use crate::profile::{Cut, Grid, format_number};

/// Rows per category under which a set of categories is not taken for the whole set.
const ROWS_PER_CATEGORY: u64 = 20;
/// Tolerance over which a check says too little to be proposed; the fewest rows that give less are 28.
const MAX_TOLERANCE: f64 = 0.22;
/// Share of distinct values from which a column is taken for one whose values differ.
const DISTINCT_SHARE: f64 = 0.95;
/// What is taken off the share of distinct values, beside the error of its estimate.
const DISTINCT_MARGIN: f64 = 0.02;
/// What the number of rows of a window may fall to, and grow to, against the least and the most seen.
const ROWS_FACTOR: u64 = 2;

/// How to propose.
#[derive(Debug, Clone, PartialEq)]
pub struct ProposeOptions {
    /// What the range of a numeric column is widened by on each side, as a share of the range.
    pub range_margin: f64,
    /// Most categories that are proposed as the only ones.
    pub max_allowed: usize,
    /// Rows of each window of the reference data; empty: unknown, and no row volume is proposed.
    pub rows_per_window: Vec<u64>,
    /// How old the newest row of a window may be; absent: none is proposed, since a baseline does not know it.
    pub freshness: Option<Duration>,
    /// Distinct values by column, where they were counted. A categorical column with few categories needs none.
    pub distinct: BTreeMap<(Role, String), f64>,
}

impl Default for ProposeOptions {
    fn default() -> Self {
        Self {
            range_margin: 0.1,
            max_allowed: 50,
            rows_per_window: Vec::new(),
            freshness: None,
            distinct: BTreeMap::new(),
        }
    }
}

/// What a baseline suggests.
#[derive(Debug, Clone, PartialEq)]
pub struct Proposal {
    /// The expectations.
    pub expectations: Expectations,
    /// The same as a document, with a remark on every line that says where its figure comes from.
    pub yaml: String,
}

/// Proposes expectations for every column of `baseline`.
pub fn propose(baseline: &Baseline, options: &ProposeOptions) -> Proposal {
    let mut expectations = Expectations {
        model: Some(baseline.model().clone()),
        freshness: options.freshness,
        ..Expectations::default()
    };
    let rows = grouped(baseline.rows());
    let mut remarks = Remarks {
        head: vec![
            format!("Proposed from baseline {} ({rows} rows of {}).", baseline.version(), baseline.source()),
            "`tolerate` is the share of values that may be otherwise. A share that was not seen in the reference"
                .to_owned(),
            "data may still be as large as stated: the upper end of its exact 99.9 % interval.".to_owned(),
            "Correct what you know better.".to_owned(),
        ],
        ..Remarks::default()
    };
    if let (Some(least), Some(most)) =
        (options.rows_per_window.iter().min(), options.rows_per_window.iter().max())
    {
        expectations.rows_min = Some(least / ROWS_FACTOR);
        expectations.rows_max = Some(most.saturating_mul(ROWS_FACTOR));
        let remark = format!(
            "{} to {} rows in {} windows; half and twice that",
            grouped(*least),
            grouped(*most),
            options.rows_per_window.len()
        );
        remarks.window.insert(CheckKind::RowsMin, remark);
    }
    for column in baseline.columns() {
        let mut proposed = Proposed::new(column);
        proposed.presence();
        proposed.kind();
        match &column.layout.cut {
            Cut::Grid(_) => proposed.range(options.range_margin),
            Cut::Categories(_) if column.layout.kind == FeatureKind::Categorical => {
                proposed.categories(options.max_allowed);
            }
            Cut::Categories(_) => {}
        }
        proposed.distinct(options.distinct.get(&(column.layout.role, column.layout.name.clone())).copied());
        expectations.columns.push(proposed.expectation);
        remarks.columns.push(proposed.remarks);
    }
    let yaml = yaml(&expectations, &remarks);
    Proposal { expectations, yaml }
}

/// What is proposed for one column.
struct Proposed<'a> {
    column: &'a BaselineColumn,
    /// Share of values that may be what none of the baseline's was.
    unseen: f64,
    expectation: ColumnExpectation,
    remarks: BTreeMap<CheckKind, String>,
}

impl<'a> Proposed<'a> {
    fn new(column: &'a BaselineColumn) -> Self {
        let usable = column.profile.usable();
        Self {
            column,
            unseen: limit(0, usable),
            expectation: ColumnExpectation::new(column.layout.name.clone(), Some(column.layout.role)),
            remarks: BTreeMap::new(),
        }
    }

    fn remark(&mut self, check: CheckKind, text: String) {
        self.remarks.insert(check, text);
    }

    /// A check that none of the baseline's values broke.
    fn unbroken<T>(&self, value: T) -> Option<Tolerated<T>> {
        Some(Tolerated { value, tolerate: self.unseen }).filter(|check| check.tolerate <= MAX_TOLERANCE)
    }

    fn presence(&mut self) {
        let profile = &self.column.profile;
        let missing = profile.missing + profile.nan;
        let rows = profile.usable() + profile.unusable();
        if missing == 0 {
            self.expectation.required = true;
            self.remark(CheckKind::Required, format!("a value in all {} rows", grouped(rows)));
        }
        let share = missing as f64 / rows.max(1) as f64;
        self.expectation.missing_max = Some(limit(missing, rows));
        let seen = format!("{} of {} rows ({})", grouped(missing), grouped(rows), percent(share));
        self.remark(CheckKind::Missing, format!("{seen}; upper end of the 99.9 % interval"));
    }

    fn kind(&mut self) {
        let profile = &self.column.profile;
        let integer = matches!(&self.column.layout.cut, Cut::Grid(grid) if only_whole(grid, &profile.cells));
        let (expected, remark) = match self.column.layout.kind {
            FeatureKind::Numeric if integer => (ExpectedType::Integer, "only whole numbers"),
            FeatureKind::Numeric => (ExpectedType::Numeric, "numbers"),
            FeatureKind::Categorical => (ExpectedType::Categorical, "names out of a set"),
            FeatureKind::Boolean => (ExpectedType::Boolean, "truth values"),
        };
        let tolerate = limit(profile.wrong_type, profile.usable() + profile.wrong_type);
        if tolerate <= MAX_TOLERANCE {
            self.expectation.expected_type = Some(Tolerated { value: expected, tolerate });
            let wrong = match profile.wrong_type {
                0 => String::new(),
                count => format!(", but for {}", grouped(count)),
            };
            self.remark(CheckKind::Type, format!("{remark}{wrong}"));
        }
    }

    fn range(&mut self, margin: f64) {
        let Some((least, greatest)) = self.column.layout.range else { return };
        let width = (greatest - least) * margin;
        let whole = self.expectation.expected_type.as_ref().is_some_and(|t| t.value == ExpectedType::Integer);
        // A quantity that is never negative, or never positive, is not expected to change its sign.
        let lower = if least >= 0.0 { (least - width).max(0.0) } else { least - width };
        let upper = if greatest <= 0.0 { (greatest + width).min(0.0) } else { greatest + width };
        let (floor, ceiling) = if whole {
            (lower.floor(), upper.ceil())
        } else {
            (outward(lower, width, least, false), outward(upper, width, greatest, true))
        };
        let profile = &self.column.profile;
        if profile.neg_inf == 0 && floor.is_finite() {
            self.expectation.min = self.unbroken(floor);
        }
        if profile.pos_inf == 0 && ceiling.is_finite() {
            self.expectation.max = self.unbroken(ceiling);
        }
        let remark = |extreme: f64, which: &str, limit: f64| {
            let how = if greatest <= least {
                "it was the only value".to_owned()
            } else if limit == 0.0 {
                "values were on one side of 0 only".to_owned()
            } else {
                format!("widened by {} of the range", percent(margin))
            };
            format!("{} was the {which}; {how}", format_number(extreme))
        };
        self.remark(CheckKind::Min, remark(least, "least", floor));
        self.remark(CheckKind::Max, remark(greatest, "greatest", ceiling));
    }

    fn categories(&mut self, max_allowed: usize) {
        let Cut::Categories(categories) = &self.column.layout.cut else { return };
        let profile = &self.column.profile;
        let named = categories.cells().saturating_sub(2);
        let labels: Vec<String> = (0..named).map(|cell| categories.label(cell)).collect();
        let all_named = profile.cells[named..].iter().all(|&count| count == 0);
        let rows = profile.usable();
        if all_named && named <= max_allowed && rows >= ROWS_PER_CATEGORY * named as u64 {
            self.expectation.allowed = self.unbroken(labels.into_iter().collect());
            self.remark(CheckKind::Allowed, format!("the {named} of the reference data"));
        } else if let Some((shape, pattern)) = shapes::common(&labels) {
            self.expectation.pattern = self.unbroken(pattern);
            let which = if all_named { "all" } else { "the most frequent" };
            self.remark(CheckKind::Pattern, format!("{which} {} values are {shape}", grouped(named as u64)));
        }
    }

    fn distinct(&mut self, counted: Option<f64>) {
        let usable = self.column.profile.usable();
        let named = match &self.column.layout.cut {
            Cut::Categories(categories) => Some(categories.cells().saturating_sub(2))
                .filter(|&named| self.column.profile.cells[named..].iter().all(|&count| count == 0)),
            Cut::Grid(_) => None,
        };
        let (distinct, error) = match (named, counted) {
            (Some(exact), _) => (exact as f64, 0.0),
            (None, Some(estimate)) => (estimate, 3.0 * DISTINCT_RELATIVE_ERROR),
            (None, None) => return,
        };
        let share = (distinct / usable.max(1) as f64).min(1.0);
        // In a window of fewer rows the share is larger; one that is small here says nothing about it.
        if usable >= ROWS_PER_CATEGORY && share >= DISTINCT_SHARE {
            let least = ((share * (1.0 - error) - DISTINCT_MARGIN) * 100.0).floor() / 100.0;
            self.expectation.unique_min = Some(least);
            self.remark(CheckKind::Unique, format!("{} of the values were distinct", percent(share)));
        }
    }
}

/// The upper limit of a share, in two significant digits.
fn limit(count: u64, rows: u64) -> f64 {
    rounded_up(upper_limit(count, rows, DEFAULT_CONFIDENCE)).min(1.0)
}

/// Whether every counted value lies in a cell of a single whole number.
fn only_whole(grid: &Grid, cells: &[u64]) -> bool {
    let mut counted = cells.iter().enumerate().filter(|(_, count)| **count > 0).peekable();
    counted.peek().is_some()
        && counted.all(|(cell, _)| grid.is_atom(cell) && grid.edges()[cell].fract() == 0.0)
}

/// A limit with a few digits only, moved away from the values and never into them.
fn outward(limit: f64, width: f64, extreme: f64, up: bool) -> f64 {
    if width <= 0.0 || limit == 0.0 {
        return limit;
    }
    let step = 10_f64.powf(width.log10().floor() - 1.0);
    let steps = limit / step;
    let rounded = if up { steps.ceil() } else { steps.floor() } * step;
    // Through text, so that -8.200000000000001 is -8.2; where digits run out the exact limit stays.
    let short: f64 = exact(rounded).parse().unwrap_or(limit);
    let short = format_number(short).parse().unwrap_or(short);
    let outside = if up { short >= extreme } else { short <= extreme };
    if outside && short.is_finite() { short } else { limit }
}

#[cfg(test)]
#[path = "propose_tests.rs"]
mod tests;
