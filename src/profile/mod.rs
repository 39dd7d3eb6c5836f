//! The mergeable summary of rows: integer counts on the cells of one baseline, one small record per minute.
//!
//! A [`Layout`] says which columns there are and how each is cut; it comes from a baseline. A [`Profile`] holds
//! the counts of some rows on that layout. Merging adds counts, so any set of parts gives the same profile in any
//! order, and no raw value is needed to judge a window.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::model::{Batch, Column, Exchange, FeatureKind, Role};

mod bloom;
mod categories;
mod checks;
mod column;
mod distinct;
mod encoding;
mod entropy;
mod grid;
mod hash;
mod index;
mod joint;
mod sample;
mod segments;
mod unseen;

pub use bloom::Bloom;
pub use categories::{Categories, Others};
pub use checks::{CheckCounts, CheckRules, Checks, CountedWith, MAX_PATTERN, MAX_TEXT, Pattern};
pub use column::ColumnProfile;
pub use distinct::Distinct;
pub use encoding::{DecodeError, decode, encode, merge_stored};
pub use grid::{BadEdges, Grid, format_number};
pub(crate) use hash::{mix, stable_hash};
pub use joint::{BadJoint, Joint, MAX_SAMPLED_COLUMNS, PCA_ERROR};
pub(crate) use joint::{cell_of, is_input, number_of, row_error};
pub use sample::{RowSample, SAMPLED_ROWS};
pub use segments::{DEFAULT_SEGMENT_VALUES, MAX_SEGMENT_COLUMNS, MAX_SEGMENT_VALUES, Rows, SegmentedColumn};
pub use unseen::Unseen;

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
    /// Input, output or derived.
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
    by_name: HashMap<String, Vec<(Role, usize)>>,
    /// Whether two columns have role and name in common.
    repeats: bool,
    joint: Option<joint::Bound>,
    counting: Option<Arc<Counting>>,
    /// What rows are also counted by; attached when a process runs, never stored with the layout.
    segmented_by: Arc<[SegmentedColumn]>,
}

/// What values are checked for as they are counted; attached when a process runs, never stored with the layout.
#[derive(Debug, PartialEq)]
struct Counting {
    version: u64,
    columns: Vec<Option<Arc<Checks>>>,
}

impl Layout {
    /// A layout of these columns.
    pub fn new(columns: Vec<ColumnLayout>) -> Self {
        let mut by_name: HashMap<String, Vec<(Role, usize)>> = HashMap::with_capacity(columns.len());
        for (index, column) in columns.iter().enumerate() {
            by_name.entry(column.name.clone()).or_default().push((column.role, index));
        }
        let twice = |found: &Vec<(Role, usize)>| {
            found.iter().enumerate().any(|(at, (role, _))| found[..at].iter().any(|(other, _)| other == role))
        };
        let repeats = by_name.values().any(twice);
        Self { columns, by_name, repeats, joint: None, counting: None, segmented_by: Arc::default() }
    }

    /// The same layout, with what its derived column is computed from.
    ///
    /// # Errors
    ///
    /// [`BadJoint`] when `joint` names columns that the layout lacks, or its numbers do not fit them.
    pub fn with_joint(mut self, joint: Joint) -> Result<Self, BadJoint> {
        self.joint = Some(joint::Bound::find(&self.columns, joint)?);
        Ok(self)
    }

    /// What the derived column is computed from, if there is one.
    pub fn joint(&self) -> Option<&Joint> {
        self.joint.as_ref().map(|bound| &*bound.joint)
    }

    /// Numbers of the columns that [`joint`](Self::joint) is computed on, in its order.
    pub fn joint_inputs(&self) -> impl Iterator<Item = usize> {
        self.joint.iter().flat_map(|bound| &bound.inputs).copied()
    }

    /// The same columns, whose values are also checked as they are counted.
    ///
    /// # Arguments
    ///
    /// * `version`: what profiles are stamped with, see [`CountedWith`].
    /// * `columns`: the checks of each column in the layout's order; columns past its end have none.
    #[must_use]
    pub fn with_checks(mut self, version: u64, columns: Vec<Option<Arc<Checks>>>) -> Self {
        self.counting = Some(Arc::new(Counting { version, columns }));
        self
    }

    /// The same columns, whose rows are also counted by the values of these.
    #[must_use]
    pub fn with_segments(mut self, columns: Vec<SegmentedColumn>) -> Self {
        self.segmented_by = columns.into();
        self
    }

    /// The columns that rows are also counted by the values of.
    pub fn segmented_by(&self) -> &[SegmentedColumn] {
        &self.segmented_by
    }

    /// The checks of a column, if it has any.
    fn checks(&self, index: usize) -> Option<&Checks> {
        self.counting.as_ref()?.columns.get(index)?.as_deref()
    }

    /// What rows that are counted on this layout are stamped with.
    fn counts_with(&self) -> CountedWith {
        self.counting.as_ref().map_or(CountedWith::Without, |counting| CountedWith::Version(counting.version))
    }

    /// The columns.
    pub fn columns(&self) -> &[ColumnLayout] {
        &self.columns
    }

    /// Names of the inputs, in order; a derived column is none of them.
    pub fn feature_names(&self) -> Vec<String> {
        self.columns.iter().filter(|column| column.role == Role::Feature).map(|c| c.name.clone()).collect()
    }

    /// Whether there is such a column.
    pub fn has(&self, role: Role, name: &str) -> bool {
        self.find(role, name).is_some()
    }

    /// Number of columns of `role`.
    pub fn width(&self, role: Role) -> usize {
        self.columns.iter().filter(|column| column.role == role).count()
    }

    /// The numbers of columns that are asked for one after the other.
    pub(crate) fn finder(&self, role: Role) -> Finder<'_> {
        Finder { layout: self, role, next: 0 }
    }

    fn find(&self, role: Role, name: &str) -> Option<usize> {
        let of_name = self.by_name.get(name)?;
        of_name.iter().rev().find(|(held, _)| *held == role).map(|(_, index)| *index)
    }
}

/// Finds columns by name; in the layout's order, which is that of most messages, without hashing.
#[derive(Debug)]
pub(crate) struct Finder<'l> {
    layout: &'l Layout,
    role: Role,
    /// The column that is likely asked for next.
    next: usize,
}

impl Finder<'_> {
    /// The number of the column called `name`.
    #[inline]
    pub(crate) fn find(&mut self, name: &str) -> Option<usize> {
        let is = |column: &ColumnLayout| column.role == self.role && column.name == name;
        let at = if !self.layout.repeats && self.layout.columns.get(self.next).is_some_and(is) {
            self.next
        } else {
            self.layout.find(self.role, name)?
        };
        self.next = at + 1;
        Some(at)
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
    /// Event time of the newest row, where rows have one.
    latest: Option<DateTime<Utc>>,
    counted_with: CountedWith,
    columns: Vec<ColumnProfile>,
    /// Some of the rows, where the layout has a use for them and the rows have ids.
    sample: RowSample,
}

impl Profile {
    /// No rows.
    pub fn empty(layout: &Layout) -> Self {
        Self::from_columns(0, layout.columns.iter().map(ColumnProfile::empty).collect())
    }

    /// `rows` rows that were counted column by column.
    pub fn from_columns(rows: u64, columns: Vec<ColumnProfile>) -> Self {
        let counted_with = if rows == 0 { CountedWith::Nothing } else { CountedWith::Without };
        Self { rows, latest: None, counted_with, columns, sample: RowSample::default() }
    }

    /// Rows counted, whatever their values.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Event time of the newest row, where rows have one.
    pub fn latest(&self) -> Option<DateTime<Utc>> {
        self.latest
    }

    /// Which expectations the rows were counted with.
    pub fn counted_with(&self) -> CountedWith {
        self.counted_with
    }

    /// Notes that there is a row of this event time; the rows themselves are counted by [`record`](Self::record).
    pub fn seen_at(&mut self, time: DateTime<Utc>) {
        self.latest = self.latest.max(DateTime::from_timestamp_millis(time.timestamp_millis()));
    }

    /// One entry per column of the layout.
    pub fn columns(&self) -> &[ColumnProfile] {
        &self.columns
    }

    /// Some of the rows that were recorded with an id, as cells of the columns that joint drift is computed on.
    pub fn sample(&self) -> &RowSample {
        &self.sample
    }

    /// Adds the rows of `batch`. A column that the batch lacks is missing in every row.
    ///
    /// A batch without outputs (they were not aligned with the rows) leaves the output columns uncounted. A derived
    /// column is computed from the others; it is missing only in rows that have none of them.
    pub fn record(&mut self, layout: &Layout, batch: &Batch) {
        self.record_rows(layout, batch, None, &Rows::All(batch.rows));
    }

    /// Adds the rows of an exchange as [`record`](Self::record) does, and offers each to the sample.
    pub fn record_exchange(&mut self, layout: &Layout, exchange: &Exchange) {
        let rows = Rows::All(exchange.batch.rows);
        self.record_rows(layout, &exchange.batch, Some(&exchange.id), &rows);
    }

    /// Adds some rows of `batch` as [`record`](Self::record) does. Batches that are split and counted in several
    /// profiles give, merged, the counts of one.
    pub fn record_some(&mut self, layout: &Layout, batch: &Batch, rows: &Rows) {
        self.record_rows(layout, batch, None, rows);
    }

    fn record_rows(&mut self, layout: &Layout, batch: &Batch, exchange: Option<&str>, rows: &Rows) {
        let mut found: Vec<Option<&Column>> = vec![None; layout.columns.len()];
        for (role, side) in [(Role::Feature, &batch.features), (Role::Output, &batch.outputs)] {
            let mut finder = layout.finder(role);
            for column in side {
                if let Some(index) = finder.find(&column.name) {
                    found[index] = Some(column);
                }
            }
        }
        let columns = self.columns.iter_mut().zip(&layout.columns).zip(&found).enumerate();
        for (index, ((profile, column_layout), column)) in columns {
            match column {
                Some(column) => match (layout.checks(index), rows) {
                    (None, Rows::All(_)) => profile.record_values(column_layout, &column.values),
                    (Some(checks), Rows::All(_)) => {
                        for value in &column.values {
                            profile.record_checked(column_layout, checks, value);
                        }
                    }
                    (None, Rows::Some(rows)) => {
                        for value in rows.iter().filter_map(|&row| column.values.get(row)) {
                            profile.record(column_layout, value);
                        }
                    }
                    (Some(checks), Rows::Some(rows)) => {
                        for value in rows.iter().filter_map(|&row| column.values.get(row)) {
                            profile.record_checked(column_layout, checks, value);
                        }
                    }
                },
                None if column_layout.role == Role::Output && batch.outputs.is_empty() => {}
                None if column_layout.role == Role::Derived => {}
                None => profile.missing += rows.len() as u64,
            }
        }
        if let Some(joint) = &layout.joint {
            joint.record(&layout.columns, &found, rows, exchange, &mut self.columns, &mut self.sample);
        }
        self.rows += rows.len() as u64;
        if !rows.is_empty() {
            self.counted_with = self.counted_with.merge(layout.counts_with());
        }
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
        if self.sample.width().zip(other.sample.width()).is_some_and(|(own, more)| own != more) {
            return Err(LayoutMismatch("their sampled rows have other columns".to_owned()));
        }
        for (own, more) in self.columns.iter_mut().zip(&other.columns) {
            own.merge(more);
        }
        self.sample.merge(&other.sample);
        self.rows += other.rows;
        self.latest = self.latest.max(other.latest);
        self.counted_with = self.counted_with.merge(other.counted_with);
        Ok(())
    }
}
