//! HDDM-A: the average of all errors against the lowest average there was, by Hoeffding's inequality.

use serde::{Deserialize, Serialize};

use super::{Average, Signal, error, require, require_open_unit};
use crate::stats::StatError;

/// Parameters of [`HddmA`]; the default is the published one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HddmAParameters {
    /// Significance of a change, in `(0, 1)`.
    pub drift_confidence: f64,
    /// Significance of a warning, in `(0, 1)` and at least `drift_confidence`.
    pub warning_confidence: f64,
    /// Whether a falling rate is a change too.
    pub two_sided: bool,
}

impl Default for HddmAParameters {
    fn default() -> Self {
        Self { drift_confidence: 0.001, warning_confidence: 0.005, two_sided: false }
    }
}

/// Drift detection by averages. Takes errors, numbers in `[0, 1]`. Memory is constant.
///
/// # Source
///
/// Frías-Blanco et al. (2015), doi:10.1109/TKDE.2014.2345382, the A-test. As in river, the bound of a change is that for
/// a difference in either direction, `ln(2 / confidence)`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HddmA {
    parameters: HddmAParameters,
    all: Average,
    /// The values up to where the average was lowest, and up to where it was highest.
    lowest: Average,
    highest: Average,
}

impl HddmA {
    /// A detector that has seen nothing.
    ///
    /// # Errors
    ///
    /// [`StatError::InvalidParameter`] for a parameter outside its range.
    pub fn new(parameters: HddmAParameters) -> Result<Self, StatError> {
        let HddmAParameters { drift_confidence: drift, warning_confidence: warning, .. } = parameters;
        require_open_unit("drift_confidence", drift)?;
        require_open_unit("warning_confidence", warning)?;
        require("warning_confidence", warning, "at least `drift_confidence`", warning >= drift)?;
        Ok(Self::fresh(parameters))
    }

    fn fresh(parameters: HddmAParameters) -> Self {
        let none = Average::default();
        Self { parameters, all: none, lowest: none, highest: none }
    }

    /// What it was made with.
    pub fn parameters(&self) -> HddmAParameters {
        self.parameters
    }

    /// Takes the next error; what is not in `[0, 1]` is skipped.
    pub fn update(&mut self, value: f64) -> Signal {
        let Some(value) = error(value) else {
            return Signal::None;
        };
        self.all.add(value);
        let HddmAParameters { drift_confidence, warning_confidence, two_sided } = self.parameters;
        let radius = |part: Average| ((1.0 / drift_confidence).ln() / (2.0 * part.count as f64)).sqrt();
        let all = self.all;
        if self.lowest.count == 0 || all.mean + radius(all) <= self.lowest.mean + radius(self.lowest) {
            self.lowest = all;
        }
        if self.highest.count == 0 || self.highest.mean - radius(self.highest) <= all.mean - radius(all) {
            self.highest = all;
        }
        let moved = |confidence: f64| {
            all.mean - self.lowest.mean >= bound(self.lowest, all, confidence)
                || two_sided && self.highest.mean - all.mean >= bound(self.highest, all, confidence)
        };
        if moved(drift_confidence) {
            *self = Self::fresh(self.parameters);
            Signal::Change
        } else if moved(warning_confidence) {
            Signal::Warning
        } else {
            Signal::None
        }
    }
}

/// How far the average of `all` may be from that of its first `part`; infinite where they are the same.
fn bound(part: Average, all: Average, confidence: f64) -> f64 {
    if part.count == 0 || part.count == all.count {
        return f64::INFINITY;
    }
    let (n, total) = (part.count as f64, all.count as f64);
    ((total - n) / n / total / 2.0 * (2.0 / confidence).ln()).sqrt()
}
