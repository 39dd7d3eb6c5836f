//! KSWIN: the newest values against a draw from those before them, by Kolmogorov and Smirnov.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::{Signal, require, require_open_unit};
use crate::stats::StatError;
use crate::stats::kolmogorov_smirnov::{
    EXACT_PAIRS, ks_p_value_asymptotic, ks_p_value_exact, ks_statistic_sorted,
};
use crate::stats::random::SplitMix64;

/// Statistic that has to be exceeded however significant it is; only matters for `stat_size` past about 500.
const FLOOR: f64 = 0.1;

/// Largest window that can be asked for: it is all in memory.
const LARGEST_WINDOW: u32 = 100_000;

/// Parameters of [`Kswin`]; the default is the published one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KswinParameters {
    /// Significance of one test, in `(0, 1)`. There is a test with every value, so that even the default raises an
    /// alarm about every 600 values of a stream that does not change.
    pub alpha: f64,
    /// Values kept, at least twice `stat_size` and at most 100 000.
    pub window_size: u32,
    /// Values on each side of a test, at least 1 and so many that a test can reach `alpha`.
    pub stat_size: u32,
    /// Starts the generator that draws.
    pub seed: u64,
}

impl Default for KswinParameters {
    fn default() -> Self {
        Self { alpha: 0.005, window_size: 100, stat_size: 30, seed: 42 }
    }
}

/// Kolmogorov–Smirnov windowing. Takes any number. Memory: `window_size` values.
///
/// The p-value is that of `scipy.stats.ks_2samp(method="auto")`, which river calls: exact, and past 3 162 values on each
/// side (scipy: 10 000) asymptotic. Which values are drawn depends on the generator, so that alarms are near river's and
/// not at the same index; the same seed on the same stream always gives the same alarms.
///
/// # Source
///
/// Raab, Heusinger and Schleif (2020), doi:10.1016/j.neucom.2019.11.111. As in river, the test is the exact one and not
/// the paper's approximate threshold, a statistic of at most 0.1 is never a change, and a change empties the window.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Kswin {
    parameters: KswinParameters,
    window: VecDeque<f64>,
    random: SplitMix64,
    /// Smallest number of steps of `1 / stat_size` in the statistic that is a change.
    critical: u32,
    #[serde(skip)]
    earlier: Vec<f64>,
    #[serde(skip)]
    newest: Vec<f64>,
}

impl Kswin {
    /// A detector that has seen nothing.
    ///
    /// # Errors
    ///
    /// [`StatError::InvalidParameter`] for a parameter outside its range.
    pub fn new(parameters: KswinParameters) -> Result<Self, StatError> {
        let KswinParameters { alpha, window_size, stat_size, seed } = parameters;
        require_open_unit("alpha", alpha)?;
        require("stat_size", f64::from(stat_size), "at least 1", stat_size >= 1)?;
        let fits = window_size <= LARGEST_WINDOW && window_size / 2 >= stat_size;
        let expected = "at least twice `stat_size` and at most 100 000";
        require("window_size", f64::from(window_size), expected, fits)?;
        let critical = critical_steps(alpha, stat_size)?;
        require("stat_size", f64::from(stat_size), "large enough to reach `alpha`", critical <= stat_size)?;
        Ok(Self {
            parameters,
            window: VecDeque::new(),
            random: SplitMix64::new(seed),
            critical,
            earlier: Vec::new(),
            newest: Vec::new(),
        })
    }

    /// What it was made with.
    pub fn parameters(&self) -> KswinParameters {
        self.parameters
    }

    /// Takes the next value; NaN and infinities are skipped.
    pub fn update(&mut self, value: f64) -> Signal {
        if !value.is_finite() {
            return Signal::None;
        }
        let window_size = self.parameters.window_size as usize;
        while self.window.len() >= window_size.max(1) {
            self.window.pop_front();
        }
        self.window.push_back(value);
        if self.window.len() < window_size || !self.has_changed() {
            return Signal::None;
        }
        self.window.clear();
        Signal::Change
    }

    fn has_changed(&mut self) -> bool {
        let stat_size = self.parameters.stat_size as usize;
        let older = self.window.len().saturating_sub(stat_size);
        self.earlier.clear();
        self.newest.clear();
        // Selection sampling: every subset of the wanted size is equally likely, in one pass and without indices.
        for (position, &value) in self.window.iter().enumerate() {
            if position >= older {
                self.newest.push(value);
            } else if self.random.below(older - position) < stat_size - self.earlier.len() {
                self.earlier.push(value);
            }
        }
        self.earlier.sort_unstable_by(f64::total_cmp);
        self.newest.sort_unstable_by(f64::total_cmp);
        ks_statistic_sorted(&self.earlier, &self.newest)
            .is_ok_and(|statistic| (statistic * stat_size as f64).round() >= f64::from(self.critical))
    }
}

/// The smallest number of steps whose p-value is at most `alpha`, for two samples of `size`; more than `size` if none is.
fn critical_steps(alpha: f64, size: u32) -> Result<u32, StatError> {
    let n = u64::from(size);
    let p_value = |steps: u32| {
        let statistic = f64::from(steps) / f64::from(size);
        if n * n <= EXACT_PAIRS {
            ks_p_value_exact(statistic, n, n)
        } else {
            Ok(ks_p_value_asymptotic(statistic, n, n))
        }
    };
    let (mut too_few, mut enough) = (0, size + 1);
    while enough - too_few > 1 {
        let middle = too_few + (enough - too_few) / 2;
        if f64::from(middle) > FLOOR * f64::from(size) && p_value(middle)? <= alpha {
            enough = middle;
        } else {
            too_few = middle;
        }
    }
    Ok(enough)
}

#[cfg(test)]
impl Kswin {
    /// Values in memory.
    pub(super) fn values(&self) -> usize {
        self.window.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_critical_statistic_is_that_of_scipy() {
        // scipy 1.17.1: `ks_2samp(a, b).pvalue` of two samples of 30 with a statistic of 13/30 is 0.006548, and of 14/30
        // 0.002530.
        assert_eq!(critical_steps(0.005, 30), Ok(14));
        assert_eq!(critical_steps(0.007, 30), Ok(13));
        // A statistic of 1 of two samples of 3 has a p-value of 0.1.
        assert_eq!(critical_steps(0.005, 3), Ok(4));
        // 0.1 has to be exceeded.
        assert_eq!(critical_steps(0.01, 3000), Ok(301));
        assert_eq!(critical_steps(0.01, 4000), Ok(401));
    }
}
