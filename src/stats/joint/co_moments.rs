//! Sums of products of features, mergeable, from which principal components are fitted without the rows.

use serde::{Deserialize, Serialize};

use crate::stats::StatError;

/// Magnitude past which a value counts as this one, so that products and sums of them stay finite.
const LARGEST: f64 = 1e100;

/// Co-moments of features over rows, some values of which may be missing.
///
/// Parts of the data can be added up on their own and merged; up to rounding the result is that of all rows at once.
/// For `p` features it holds `p²` numbers, and three times as many from the first missing value on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CoMoments {
    rows: u64,
    /// First value of a feature, subtracted from all before they are summed, so that a large offset takes no digits.
    origins: Vec<f64>,
    /// Values that are not missing, and their sum.
    counts: Vec<u64>,
    sums: Vec<f64>,
    /// Sums of products; row `j`, columns from `j` on.
    products: Vec<f64>,
    /// Of feature `j` (row) over the rows in which `k` (column) is missing: count and sum. Empty while none is.
    lost_counts: Vec<u64>,
    lost_sums: Vec<f64>,
    #[serde(skip)]
    row: Vec<f64>,
}

impl CoMoments {
    /// Co-moments of no rows of `features` values.
    pub fn new(features: usize) -> Self {
        Self {
            rows: 0,
            origins: vec![0.0; features],
            counts: vec![0; features],
            sums: vec![0.0; features],
            products: vec![0.0; features * features],
            lost_counts: Vec::new(),
            lost_sums: Vec::new(),
            row: Vec::new(),
        }
    }

    /// Rows added so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Values in a row.
    pub fn features(&self) -> usize {
        self.origins.len()
    }

    /// Adds one row: `O(features²)`, and no allocation after the first.
    ///
    /// NaN and infinities are missing values; magnitudes past 1e100 count as 1e100.
    ///
    /// # Errors
    ///
    /// [`StatError::FeatureMismatch`] if the row has another number of values.
    pub fn add(&mut self, row: &[f64]) -> Result<(), StatError> {
        let features = self.features();
        if row.len() != features {
            return Err(StatError::FeatureMismatch { expected: features, got: row.len() });
        }
        self.rows += 1;
        self.row.resize(features, 0.0);
        let mut any_missing = false;
        for (feature, &value) in row.iter().enumerate() {
            // A missing value adds nothing to any sum, as if it were the origin.
            self.row[feature] = 0.0;
            if value.is_finite() {
                let value = value.clamp(-LARGEST, LARGEST);
                if self.counts[feature] == 0 {
                    self.origins[feature] = value;
                }
                self.row[feature] = value - self.origins[feature];
                self.counts[feature] += 1;
                self.sums[feature] += self.row[feature];
            } else {
                any_missing = true;
            }
        }
        for (first, &factor) in self.row.iter().enumerate() {
            let products = &mut self.products[first * features + first..(first + 1) * features];
            for (product, value) in products.iter_mut().zip(&self.row[first..]) {
                *product += factor * value;
            }
        }
        if any_missing {
            self.count_lost(row);
        }
        Ok(())
    }

    fn count_lost(&mut self, row: &[f64]) {
        let features = self.features();
        self.lost_counts.resize(features * features, 0);
        self.lost_sums.resize(features * features, 0.0);
        for missing in (0..features).filter(|&feature| !row[feature].is_finite()) {
            for present in (0..features).filter(|&feature| row[feature].is_finite()) {
                self.lost_counts[present * features + missing] += 1;
                self.lost_sums[present * features + missing] += self.row[present];
            }
        }
    }

    /// Adds the rows that `other` has seen.
    ///
    /// # Errors
    ///
    /// [`StatError::FeatureMismatch`] if the rows of `other` have another number of values.
    pub fn merge(&mut self, other: &Self) -> Result<(), StatError> {
        let features = self.features();
        if other.features() != features {
            return Err(StatError::FeatureMismatch { expected: features, got: other.features() });
        }
        let mut other = other.clone();
        for feature in 0..features {
            if self.counts[feature] == 0 {
                self.origins[feature] = other.origins[feature];
            }
        }
        other.shift_to(&self.origins);
        self.rows += other.rows;
        let add = |to: &mut Vec<f64>, from: &[f64]| {
            to.resize(to.len().max(from.len()), 0.0);
            to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
        };
        let count = |to: &mut Vec<u64>, from: &[u64]| {
            to.resize(to.len().max(from.len()), 0);
            to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
        };
        count(&mut self.counts, &other.counts);
        add(&mut self.sums, &other.sums);
        add(&mut self.products, &other.products);
        count(&mut self.lost_counts, &other.lost_counts);
        add(&mut self.lost_sums, &other.lost_sums);
        Ok(())
    }

    /// Mean of a feature's values; `None` while all are missing.
    pub fn mean(&self, feature: usize) -> Option<f64> {
        self.offset(feature).map(|offset| self.origins[feature] + offset)
    }

    /// `Σ (x_j − m_j)(x_k − m_k)` over the rows in which neither is missing, `m` being the means over all values of a
    /// feature. This is the co-moment of the matrix whose missing values are replaced by those means.
    pub fn co_moment(&self, first: usize, second: usize) -> f64 {
        let (Some(a), Some(b)) = (self.offset(first), self.offset(second)) else {
            return 0.0;
        };
        let (count, sum_a, sum_b) = self.shared(first, second);
        self.product(first, second) - a * sum_b - b * sum_a + count * a * b
    }

    /// Mean of a feature's values less its origin.
    fn offset(&self, feature: usize) -> Option<f64> {
        let count = self.counts[feature];
        (count > 0).then(|| self.sums[feature] / count as f64)
    }

    fn product(&self, first: usize, second: usize) -> f64 {
        self.products[first.min(second) * self.features() + first.max(second)]
    }

    /// Rows in which neither feature is missing: their number, and the sums of both features over them.
    fn shared(&self, first: usize, second: usize) -> (f64, f64, f64) {
        let features = self.features();
        let lost = |feature: usize, without: usize| {
            let cell = feature * features + without;
            (
                self.lost_counts.get(cell).copied().unwrap_or(0),
                self.lost_sums.get(cell).copied().unwrap_or(0.0),
            )
        };
        let (lost_count, lost_first) = lost(first, second);
        let (_, lost_second) = lost(second, first);
        let count = self.counts[first].saturating_sub(lost_count) as f64;
        (count, self.sums[first] - lost_first, self.sums[second] - lost_second)
    }

    /// Gives features new origins, and turns the sums into those that they would have had with them from the start.
    fn shift_to(&mut self, origins: &[f64]) {
        let features = self.features();
        let by: Vec<f64> = self
            .origins
            .iter()
            .zip(origins)
            .zip(&self.counts)
            .map(|((old, new), &count)| if count == 0 { 0.0 } else { old - new })
            .collect();
        if by.iter().all(|by| by.abs() <= 0.0) {
            self.origins.copy_from_slice(origins);
            return;
        }
        for first in 0..features {
            for second in first..features {
                let (count, sum_a, sum_b) = self.shared(first, second);
                self.products[first * features + second] +=
                    by[first] * sum_b + by[second] * sum_a + count * by[first] * by[second];
            }
        }
        for (cell, (sum, &count)) in self.lost_sums.iter_mut().zip(&self.lost_counts).enumerate() {
            *sum += count as f64 * by[cell / features];
        }
        for ((sum, &count), by) in self.sums.iter_mut().zip(&self.counts).zip(&by) {
            *sum += count as f64 * by;
        }
        self.origins.copy_from_slice(origins);
    }
}
