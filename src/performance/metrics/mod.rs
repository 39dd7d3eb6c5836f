//! Metrics of predictions against what came true: plain functions of numbers.
//!
//! Conventions that hold in every file of this module:
//!
//! - **Undefined is `None`, never NaN.** So is what cannot be computed: inputs of different lengths, a number that is NaN
//!   or infinite, no row of positive weight, a sum beyond the range of a float.
//! - **Weights are one per row**, finite and at least 0; `None` stands for 1 each. A whole weight is that many equal rows,
//!   and a row of weight 0 is as if it were not there, so that a bootstrap passes how often it drew each row.
//! - **Targets of a binary task are `bool`**, those of a multiclass task the index of the class. An index beyond the
//!   model's classes is a class that it does not know, and so never right.
//! - Sums run over rows in their order: the same input gives the same bits.

pub mod binary;
pub mod multiclass;
mod ranking;
pub mod regression;

pub use ranking::Ranking;

#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod property_tests;

/// Weights of rows that were checked.
#[derive(Clone, Copy)]
struct Rows<'a> {
    rows: usize,
    weights: Option<&'a [f64]>,
}

impl<'a> Rows<'a> {
    /// None when weights are of another number, negative or not finite, or add up to nothing.
    fn new(rows: usize, weights: Option<&'a [f64]>) -> Option<Self> {
        let total = match weights {
            None => rows as f64,
            Some(weights) => {
                let usable = weights.len() == rows
                    && weights.iter().all(|weight| weight.is_finite() && *weight >= 0.0);
                if usable { weights.iter().sum() } else { 0.0 }
            }
        };
        (total.is_finite() && total > 0.0).then_some(Self { rows, weights })
    }

    /// Weight of a row; `row` is below the number of rows.
    fn weight(self, row: usize) -> f64 {
        self.weights.map_or(1.0, |weights| weights[row])
    }

    /// `Σ w · value / Σ w` over rows that have a value; none where no row has, or where it is not finite.
    fn mean(self, value: impl Fn(usize) -> Option<f64>) -> Option<f64> {
        let (mut sum, mut total) = (0.0, 0.0);
        for row in 0..self.rows {
            let weight = self.weight(row);
            if weight > 0.0
                && let Some(value) = value(row)
            {
                sum += weight * value;
                total += weight;
            }
        }
        finite(sum / total)
    }
}

/// A number, if it is one.
fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

/// Whether all numbers are finite.
fn all_finite(values: &[f64]) -> bool {
    values.iter().all(|value| value.is_finite())
}

/// Whether all numbers are probabilities.
fn all_probabilities(values: &[f64]) -> bool {
    values.iter().all(|value| (0.0..=1.0).contains(value))
}

/// `−ln p`, with `p` kept one unit of rounding away from 0 and 1.
fn surprise(probability: f64) -> f64 {
    -probability.clamp(f64::EPSILON, 1.0 - f64::EPSILON).ln()
}
