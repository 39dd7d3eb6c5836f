//! HDDM-W: weighted averages of errors before and after a cut, by a bound on such averages.

use serde::{Deserialize, Serialize};

use super::{Signal, error, require, require_open_unit};
use crate::stats::StatError;

/// Parameters of [`HddmW`]; the default is the published one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HddmWParameters {
    /// Significance of a change, in `(0, 1)`.
    pub drift_confidence: f64,
    /// Significance of a warning, in `(0, 1)` and at least `drift_confidence`.
    pub warning_confidence: f64,
    /// Weight of the newest value, in `(0, 1)`.
    pub lambda: f64,
    /// Whether a falling rate is a change too.
    pub two_sided: bool,
}

impl Default for HddmWParameters {
    fn default() -> Self {
        Self { drift_confidence: 0.001, warning_confidence: 0.005, lambda: 0.05, two_sided: false }
    }
}

/// Drift detection by exponentially weighted averages. Takes errors, numbers in `[0, 1]`. Memory is constant.
///
/// # Source
///
/// Frías-Blanco et al. (2015), doi:10.1109/TKDE.2014.2345382, the W-test. As in river, the weights of a sample's squares
/// are faded from its first value on, which makes the bound a little tighter than the paper's.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HddmW {
    parameters: HddmWParameters,
    all: Weighted,
    rise: Cut,
    fall: Cut,
}

/// A weighted average and the sum of its squared weights.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Weighted {
    average: Option<f64>,
    squares: f64,
}

impl Weighted {
    fn add(&mut self, value: f64, lambda: f64) {
        let kept = 1.0 - lambda;
        let (average, squares) = match self.average {
            None => (value, 1.0),
            Some(average) => (lambda * value + kept * average, self.squares),
        };
        self.average = Some(average);
        self.squares = lambda * lambda + kept * kept * squares;
    }
}

/// All values up to where their average was most extreme, and those since.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Cut {
    /// The extreme, with its confidence radius.
    extreme: Option<f64>,
    before: Weighted,
    after: Weighted,
}

impl Cut {
    /// Moves the cut to now if `extreme` is below the one so far, or counts `value` as one since.
    fn update(&mut self, all: Weighted, extreme: f64, value: f64, lambda: f64) {
        if self.extreme.is_none_or(|lowest| extreme < lowest) {
            *self = Self { extreme: Some(extreme), before: all, after: Weighted::default() };
        } else {
            self.after.add(value, lambda);
        }
    }

    /// How far the average has risen across the cut, less what `confidence` allows.
    fn excess(&self, sign: f64, confidence: f64) -> Option<f64> {
        let difference = sign * (self.after.average? - self.before.average?);
        Some(difference - radius(self.before.squares + self.after.squares, confidence))
    }
}

/// The bound of `McDiarmid` (1989) for a weighted average with this sum of squared weights.
fn radius(squares: f64, confidence: f64) -> f64 {
    (squares * (1.0 / confidence).ln() / 2.0).sqrt()
}

impl HddmW {
    /// A detector that has seen nothing.
    ///
    /// # Errors
    ///
    /// [`StatError::InvalidParameter`] for a parameter outside its range.
    pub fn new(parameters: HddmWParameters) -> Result<Self, StatError> {
        let HddmWParameters { drift_confidence: drift, warning_confidence: warning, lambda, .. } = parameters;
        require_open_unit("drift_confidence", drift)?;
        require_open_unit("warning_confidence", warning)?;
        require("warning_confidence", warning, "at least `drift_confidence`", warning >= drift)?;
        require_open_unit("lambda", lambda)?;
        Ok(Self::fresh(parameters))
    }

    fn fresh(parameters: HddmWParameters) -> Self {
        Self { parameters, all: Weighted::default(), rise: Cut::default(), fall: Cut::default() }
    }

    /// What it was made with.
    pub fn parameters(&self) -> HddmWParameters {
        self.parameters
    }

    /// Takes the next error; what is not in `[0, 1]` is skipped.
    pub fn update(&mut self, value: f64) -> Signal {
        let Some(value) = error(value) else {
            return Signal::None;
        };
        let HddmWParameters { drift_confidence, warning_confidence, lambda, two_sided } = self.parameters;
        self.all.add(value, lambda);
        let average = self.all.average.unwrap_or(value);
        let radius = radius(self.all.squares, drift_confidence);
        self.rise.update(self.all, average + radius, value, lambda);
        // A fall is a rise of the mirrored values.
        self.fall.update(self.all, radius - average, value, lambda);
        let moved = |confidence: f64| {
            self.rise.excess(1.0, confidence).is_some_and(|excess| excess > 0.0)
                || two_sided && self.fall.excess(-1.0, confidence).is_some_and(|excess| excess > 0.0)
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
