//! ADWIN: a window that grows while its mean stands still, and is cut where two parts of it disagree.

use serde::{Deserialize, Serialize};

use super::{Signal, bounded, require, require_open_unit};
use crate::stats::StatError;

/// Parameters of [`Adwin`]; the default is the published one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdwinParameters {
    /// Significance of one comparison of two parts, in `(0, 1)`.
    pub delta: f64,
    /// The parts are compared after every so many values, at least 1.
    pub clock: u32,
    /// Buckets of one size, at least 1; one more, and the two oldest become a bucket of twice the size.
    pub max_buckets: u32,
    /// Values that either part has to have, at least 1.
    pub min_window_length: u32,
    /// Values up to which nothing is compared.
    pub grace_period: u32,
}

impl Default for AdwinParameters {
    fn default() -> Self {
        Self { delta: 0.002, clock: 32, max_buckets: 5, min_window_length: 5, grace_period: 10 }
    }
}

/// Adaptive windowing.
///
/// Takes any number. The bound behind it is one for values in `[0, 1]`; on a wider scale it is tested by their variance
/// and stays usable, since the part that grows with the range only matters for short windows.
///
/// Memory: `max_buckets + 1` buckets for each power of two up to the width, so `O(log n)`.
///
/// # Source
///
/// Bifet and Gavaldà (2007), doi:10.1137/1.9781611972771.42, the variant with buckets (ADWIN2). As river, and unlike the
/// paper, it forgets everything after a change and not only the older part; the newer part can be read until the next
/// value.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Adwin {
    parameters: AdwinParameters,
    /// Buckets by size, of `2^row` values each, the oldest of a row first.
    rows: Vec<Vec<Bucket>>,
    /// Values in the window.
    width: u64,
    /// First value of the window: sums are of differences from it, so that a large offset takes no digits.
    origin: f64,
    total: f64,
    /// Sum of squared deviations from the mean.
    spread: f64,
    /// Whether the value before was a change.
    changed: bool,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Bucket {
    total: f64,
    spread: f64,
}

impl Adwin {
    /// A detector that has seen nothing.
    ///
    /// # Errors
    ///
    /// [`StatError::InvalidParameter`] for a parameter outside its range.
    pub fn new(parameters: AdwinParameters) -> Result<Self, StatError> {
        require_open_unit("delta", parameters.delta)?;
        for (name, value) in [
            ("clock", parameters.clock),
            ("max_buckets", parameters.max_buckets),
            ("min_window_length", parameters.min_window_length),
        ] {
            require(name, f64::from(value), "at least 1", value >= 1)?;
        }
        Ok(Self {
            parameters,
            rows: Vec::new(),
            width: 0,
            origin: 0.0,
            total: 0.0,
            spread: 0.0,
            changed: false,
        })
    }

    /// What it was made with.
    pub fn parameters(&self) -> AdwinParameters {
        self.parameters
    }

    /// Values in the window; after a change, those that are left when the older part is cut off.
    pub fn width(&self) -> u64 {
        self.width
    }

    /// Mean of the window; after a change, of what is left of it, and so near the new level. `None` without a value.
    pub fn mean(&self) -> Option<f64> {
        (self.width > 0).then(|| self.origin + self.total / self.width as f64)
    }

    /// Takes the next value; NaN and infinities are skipped, and magnitudes past 1e100 count as 1e100.
    pub fn update(&mut self, value: f64) -> Signal {
        let Some(value) = bounded(value) else {
            return Signal::None;
        };
        if self.changed {
            self.rows.clear();
            (self.width, self.total, self.spread, self.changed) = (0, 0.0, 0.0, false);
        }
        if self.width == 0 {
            self.origin = value;
        }
        self.insert(value - self.origin);
        // Nothing is taken off before a change, so that the width is also the number of values so far.
        let due = self.width.is_multiple_of(u64::from(self.parameters.clock.max(1)));
        if due && self.width > u64::from(self.parameters.grace_period) {
            while self.parts_disagree() {
                self.changed = true;
                self.drop_oldest();
            }
        }
        if self.changed { Signal::Change } else { Signal::None }
    }

    fn insert(&mut self, value: f64) {
        if self.width > 0 {
            let before = self.width as f64;
            let deviation = value - self.total / before;
            self.spread += before * deviation * deviation / (before + 1.0);
        }
        self.width += 1;
        self.total += value;
        let mut bucket = Bucket { total: value, spread: 0.0 };
        let mut size = 1.0;
        let most = usize::try_from(self.parameters.max_buckets).unwrap_or(usize::MAX);
        for row in &mut self.rows {
            row.push(bucket);
            if row.len() <= most {
                return;
            }
            let (first, second) = (row.remove(0), row.remove(0));
            let deviation = (first.total - second.total) / size;
            bucket = Bucket {
                total: first.total + second.total,
                spread: first.spread + second.spread + size * deviation * deviation / 2.0,
            };
            size *= 2.0;
        }
        self.rows.push(vec![bucket]);
    }

    /// Whether the window can be cut somewhere into an older and a newer part whose means differ by too much.
    fn parts_disagree(&self) -> bool {
        let least = f64::from(self.parameters.min_window_length);
        let width = self.width as f64;
        let (mut older, mut older_total) = (0.0, 0.0);
        let (mut newer, mut newer_total) = (width, self.total);
        let mut size = 2_f64.powi(i32::try_from(self.rows.len()).unwrap_or(i32::MAX));
        for row in self.rows.iter().rev() {
            size /= 2.0;
            for bucket in row {
                older += size;
                older_total += bucket.total;
                newer -= size;
                newer_total -= bucket.total;
                if newer < least {
                    return false;
                }
                let difference = (older_total / older - newer_total / newer).abs();
                if older >= least && difference > self.cut_threshold(older, newer) {
                    return true;
                }
            }
        }
        false
    }

    /// The difference of the means of two parts that is still chance (`ε_cut` of the paper, normal approximation).
    fn cut_threshold(&self, older: f64, newer: f64) -> f64 {
        let least = f64::from(self.parameters.min_window_length);
        let width = self.width as f64;
        let confidence = (2.0 * width.ln() / self.parameters.delta).ln();
        let inverse = 1.0 / (older - least + 1.0) + 1.0 / (newer - least + 1.0);
        (2.0 * inverse * (self.spread / width) * confidence).sqrt() + 2.0 / 3.0 * confidence * inverse
    }

    fn drop_oldest(&mut self) {
        let Some(mut row) = self.rows.pop() else {
            return;
        };
        if row.is_empty() {
            return;
        }
        let size = 1_u64 << self.rows.len().min(63);
        let bucket = row.remove(0);
        self.width = self.width.saturating_sub(size);
        self.total -= bucket.total;
        if self.width == 0 {
            (self.total, self.spread) = (0.0, 0.0);
        } else {
            let (dropped, left) = (size as f64, self.width as f64);
            let deviation = bucket.total / dropped - self.total / left;
            let between = dropped * left / (dropped + left) * deviation * deviation;
            // Rounding must not leave less than nothing.
            self.spread = (self.spread - bucket.spread - between).max(0.0);
        }
        if !row.is_empty() {
            self.rows.push(row);
        }
    }
}

#[cfg(test)]
impl Adwin {
    /// Buckets in use.
    pub(super) fn buckets(&self) -> usize {
        self.rows.iter().map(Vec::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::random::SplitMix64;

    #[test]
    fn after_a_change_mostly_the_newer_part_is_left_to_read() {
        let mut random = SplitMix64::new(3);
        let mut adwin = Adwin::new(AdwinParameters::default()).unwrap();
        let after = (0..2000)
            .position(|at| {
                let level = if at < 900 { 10.0 } else { 14.0 };
                adwin.update(level + random.normal()) == Signal::Change
            })
            .unwrap();
        assert!((900..1000).contains(&after), "{after}");
        // Some older values stay, since they are too few to tell.
        assert!((1..200).contains(&adwin.width()), "{}", adwin.width());
        let mean = adwin.mean().unwrap();
        assert!((12.0..15.0).contains(&mean), "{mean}");
        // What was taken off was taken off everywhere.
        let (mut width, mut total, mut spread, mut size) = (0.0, 0.0, 0.0, 1.0);
        for row in &adwin.rows {
            for bucket in row {
                width += size;
                total += bucket.total;
                spread += bucket.spread + size * (adwin.origin + bucket.total / size - mean).powi(2);
            }
            size *= 2.0;
        }
        assert!((width - adwin.width() as f64).abs() < 0.5, "{width}");
        assert!((total - adwin.total).abs() < 1e-9, "{total}");
        assert!((spread - adwin.spread).abs() < 1e-6 * spread, "{spread}, {}", adwin.spread);
        adwin.update(14.0);
        assert_eq!(adwin.width(), 1);
    }
}
