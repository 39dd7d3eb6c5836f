//! Page–Hinkley: the sum of deviations from the mean so far, against its own extreme.

use serde::{Deserialize, Serialize};

use super::{Average, Signal, bounded, require};
use crate::stats::StatError;

/// Which way the mean has to move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// It rises.
    Up,
    /// It falls.
    Down,
    /// Either.
    Both,
}

/// Parameters of [`PageHinkley`]; the default is the published one.
///
/// `delta` and `threshold` are in the unit of the values: the defaults suit values of about unit spread.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PageHinkleyParameters {
    /// Values before anything is said.
    pub min_instances: u32,
    /// Deviation per value that is put up with, finite and at least 0.
    pub delta: f64,
    /// Sum of deviations past which there is a change, finite and above 0.
    pub threshold: f64,
    /// What is left of the sum with every value, in `(0, 1]`.
    pub alpha: f64,
    /// Which way the mean has to move.
    pub direction: Direction,
}

impl Default for PageHinkleyParameters {
    fn default() -> Self {
        Self { min_instances: 30, delta: 0.005, threshold: 50.0, alpha: 0.9999, direction: Direction::Both }
    }
}

/// The Page–Hinkley test, two-sided unless told otherwise. Takes any number; memory is constant.
///
/// # Source
///
/// Page (1954), doi:10.1093/biomet/41.1-2.100; Hinkley (1971), doi:10.1093/biomet/58.3.509. The fading of the sums and
/// the defaults are those of river.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PageHinkley {
    parameters: PageHinkleyParameters,
    seen: Average,
    rising: f64,
    lowest: f64,
    falling: f64,
    highest: f64,
}

impl PageHinkley {
    /// A detector that has seen nothing.
    ///
    /// # Errors
    ///
    /// [`StatError::InvalidParameter`] for a parameter outside its range.
    pub fn new(parameters: PageHinkleyParameters) -> Result<Self, StatError> {
        let PageHinkleyParameters { delta, threshold, alpha, .. } = parameters;
        require("delta", delta, "finite and at least 0", delta.is_finite() && delta >= 0.0)?;
        require("threshold", threshold, "finite and above 0", threshold.is_finite() && threshold > 0.0)?;
        require("alpha", alpha, "in (0, 1]", 0.0 < alpha && alpha <= 1.0)?;
        Ok(Self::fresh(parameters))
    }

    fn fresh(parameters: PageHinkleyParameters) -> Self {
        Self { parameters, seen: Average::default(), rising: 0.0, lowest: 0.0, falling: 0.0, highest: 0.0 }
    }

    /// What it was made with.
    pub fn parameters(&self) -> PageHinkleyParameters {
        self.parameters
    }

    /// Takes the next value; NaN and infinities are skipped, and magnitudes past 1e100 count as 1e100.
    pub fn update(&mut self, value: f64) -> Signal {
        let Some(value) = bounded(value) else {
            return Signal::None;
        };
        let PageHinkleyParameters { min_instances, delta, threshold, alpha, direction } = self.parameters;
        self.seen.add(value);
        let deviation = value - self.seen.mean;
        self.rising = alpha * self.rising + deviation - delta;
        self.falling = alpha * self.falling + deviation + delta;
        if self.seen.count == 1 {
            (self.lowest, self.highest) = (self.rising, self.falling);
        }
        self.lowest = self.lowest.min(self.rising);
        self.highest = self.highest.max(self.falling);
        let rose = direction != Direction::Down && self.rising - self.lowest > threshold;
        let fell = direction != Direction::Up && self.highest - self.falling > threshold;
        if self.seen.count >= u64::from(min_instances) && (rose || fell) {
            *self = Self::fresh(self.parameters);
            return Signal::Change;
        }
        Signal::None
    }
}
