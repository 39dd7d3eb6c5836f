//! Joint drift on a layout: how badly a row fits the reference's principal components, and what a sample keeps of it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::hash::{mix, stable_hash};
use super::sample::RowSample;
use super::{ColumnLayout, ColumnProfile, Cut, Rows};
use crate::model::{Column, FeatureKind, Role, Value};
use crate::stats::joint::Pca;

/// Name of the column that holds [`Joint::error`] of each row.
pub const PCA_ERROR: &str = "pca_error";

/// Columns past which rows are not sampled: the sample grows with their number, a classifier's time with its square.
pub const MAX_SAMPLED_COLUMNS: usize = 200;

/// Errors below this are the rounding of a row that fits exactly, and count as 0.
const ROUNDING: f64 = 1e-9;

/// What a baseline knows about several columns at once.
///
/// It belongs to a layout whose last column is called [`PCA_ERROR`] and has the role [`Role::Derived`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Joint {
    /// Components of the reference over `columns`.
    pub pca: Pca,
    /// Names of the inputs that they are computed on, numeric or boolean, in the order of the layout.
    pub columns: Vec<String>,
    /// A sample of the reference, shape `[rows][columns]`: each value as the number of its cell, and the number of
    /// cells where there is no value. Empty with more than [`MAX_SAMPLED_COLUMNS`].
    pub rows: Vec<Vec<u16>>,
}

/// A [`Joint`] that does not fit the columns of a layout.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct BadJoint(String);

impl Joint {
    /// Whether rows of a window are sampled to be compared with `rows`.
    pub fn is_sampled(&self) -> bool {
        !self.rows.is_empty()
    }

    /// Reconstruction error of a row, in standard deviations; `None` where no column that varies has a value, as then
    /// there is nothing to derive it from. A single missing value (NaN) is the mean.
    ///
    /// # Arguments
    ///
    /// * `row`: shape `[columns]`.
    /// * `scratch`: overwritten; a vector that is used again makes this free of allocation.
    pub fn error(&self, row: &[f64], scratch: &mut Vec<f64>) -> Option<f64> {
        row_error(&self.pca, row, scratch)
    }
}

/// [`Joint::error`] by these components.
pub(crate) fn row_error(pca: &Pca, row: &[f64], scratch: &mut Vec<f64>) -> Option<f64> {
    if row.iter().zip(pca.deviations()).all(|(value, deviation)| value.is_nan() || *deviation <= 0.0) {
        return None;
    }
    let error = pca.reconstruction_error(row, scratch).ok()?;
    Some(if error < ROUNDING { 0.0 } else { error })
}

/// Whether components can be computed on a column: a numeric or boolean input, its cells numbered in 16 bits.
pub(crate) fn is_input(layout: &ColumnLayout) -> bool {
    layout.role == Role::Feature
        && matches!(layout.kind, FeatureKind::Numeric | FeatureKind::Boolean)
        && layout.cut.cells() < usize::from(u16::MAX)
}

/// The number that components are computed on: NaN where there is none, or one of another type than the column's.
#[inline]
pub(crate) fn number_of(kind: FeatureKind, value: Option<&Value>) -> f64 {
    match (kind, value) {
        (FeatureKind::Numeric, Some(Value::Number(number))) => *number,
        (FeatureKind::Boolean, Some(Value::Bool(truth))) => f64::from(u8::from(*truth)),
        #[expect(clippy::float_cmp, reason = "only the exact values stand for truth values")]
        (FeatureKind::Boolean, Some(Value::Number(number))) if *number == 0.0 || *number == 1.0 => *number,
        _ => f64::NAN,
    }
}

/// The cell of a number that [`number_of`] gave, and the number of cells for NaN.
pub(crate) fn cell_of(layout: &ColumnLayout, number: f64) -> u16 {
    let cell = match &layout.cut {
        _ if number.is_nan() => layout.cut.cells(),
        Cut::Grid(grid) => grid.cell(number),
        Cut::Categories(categories) => categories.cell(if number > 0.0 { "true" } else { "false" }),
    };
    u16::try_from(cell).unwrap_or(u16::MAX)
}

/// A [`Joint`] whose columns were found in a layout.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Bound {
    pub(super) joint: Arc<Joint>,
    /// Of each of its columns the number in the layout.
    pub(super) inputs: Vec<usize>,
    derived: usize,
}

impl Bound {
    /// Finds the columns of `joint`.
    pub(super) fn find(columns: &[ColumnLayout], joint: Joint) -> Result<Self, BadJoint> {
        let derived = columns
            .iter()
            .position(|column| column.role == Role::Derived && column.name == PCA_ERROR)
            .filter(|&at| matches!(columns[at].cut, Cut::Grid(_)))
            .ok_or_else(|| BadJoint("there are components, but no column for their errors".to_owned()))?;
        let inputs: Vec<usize> = joint
            .columns
            .iter()
            .map(|name| {
                columns
                    .iter()
                    .position(|column| column.name == *name && is_input(column))
                    .ok_or_else(|| BadJoint(format!("it is derived from `{name}`, which is no such input")))
            })
            .collect::<Result<_, _>>()?;
        if joint.pca.features() != inputs.len() {
            let (weights, names) = (joint.pca.features(), inputs.len());
            return Err(BadJoint(format!("{weights} features in its components, but {names} names")));
        }
        let fits = |row: &Vec<u16>| {
            row.len() == inputs.len()
                && row.iter().zip(&inputs).all(|(&cell, &at)| usize::from(cell) <= columns[at].cut.cells())
        };
        if !joint.rows.iter().all(fits) || (joint.is_sampled() && inputs.len() > MAX_SAMPLED_COLUMNS) {
            return Err(BadJoint("its sampled rows do not fit the cells of the columns".to_owned()));
        }
        Ok(Self { joint: Arc::new(joint), inputs, derived })
    }

    /// Counts the error of each row, and offers the row to the sample if it has an id.
    ///
    /// # Arguments
    ///
    /// * `found`: for each column of the layout the batch's, where it has one.
    /// * `exchange`: identifies the exchange that the rows came in.
    pub(super) fn record(
        &self,
        layout: &[ColumnLayout],
        found: &[Option<&Column>],
        rows: &Rows,
        exchange: Option<&str>,
        profiles: &mut [ColumnProfile],
        sample: &mut RowSample,
    ) {
        let derived = &mut profiles[self.derived];
        let exchange = exchange.filter(|_| self.joint.is_sampled()).map(stable_hash);
        let mut row = Vec::with_capacity(self.inputs.len());
        let mut scratch = Vec::with_capacity(self.inputs.len());
        rows.for_each(|index| {
            row.clear();
            row.extend(self.inputs.iter().map(|&at| {
                let value = found[at].and_then(|column| column.values.get(index));
                number_of(layout[at].kind, value)
            }));
            match self.joint.error(&row, &mut scratch) {
                Some(error) => derived.record(&layout[self.derived], &Value::Number(error)),
                None => derived.missing += 1,
            }
            if let Some(hash) = exchange.map(|exchange| row_hash(exchange, index, &row))
                && sample.admits(hash)
            {
                let cells = row.iter().zip(&self.inputs).map(|(&number, &at)| cell_of(&layout[at], number));
                sample.insert(hash, cells.collect());
            }
        });
    }
}

/// Identifies a row: by its exchange and its place there, and by its values, as clients may give one id to all requests.
fn row_hash(exchange: u64, index: usize, row: &[f64]) -> u64 {
    let identity = mix(exchange ^ mix(index as u64 + 1));
    row.iter().fold(identity, |hash, &number| {
        let bits = if number.is_nan() { f64::NAN.to_bits() } else { number.to_bits() };
        mix(hash ^ bits.rotate_left(23))
    })
}

#[cfg(test)]
#[path = "joint_tests.rs"]
mod tests;
