//! DDM: an error rate that leaves its own minimum by some standard deviations.

use serde::{Deserialize, Serialize};

use super::{Average, Signal, error, require};
use crate::stats::StatError;

/// Parameters of [`Ddm`]; the default is the published one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DdmParameters {
    /// Values before anything is said.
    pub warm_start: u32,
    /// Standard deviations above the minimum that are a warning, finite and above 0.
    pub warning_threshold: f64,
    /// Standard deviations above the minimum that are a change, finite and at least `warning_threshold`.
    pub drift_threshold: f64,
}

impl Default for DdmParameters {
    fn default() -> Self {
        Self { warm_start: 30, warning_threshold: 2.0, drift_threshold: 3.0 }
    }
}

/// Drift detection method. Takes errors, numbers in `[0, 1]`; sees their rate rise, not fall. Memory is constant.
///
/// # Source
///
/// Gama, Medas, Castillo and Rodrigues (2004), doi:10.1007/978-3-540-28645-5_29. As in river, the thresholds have to be
/// exceeded, not reached, or a stream without any error would be one change after another.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ddm {
    parameters: DdmParameters,
    errors: Average,
    /// Rate and standard deviation where their sum was smallest.
    least: Option<(f64, f64)>,
}

impl Ddm {
    /// A detector that has seen nothing.
    ///
    /// # Errors
    ///
    /// [`StatError::InvalidParameter`] for a parameter outside its range.
    pub fn new(parameters: DdmParameters) -> Result<Self, StatError> {
        let DdmParameters { warning_threshold: warning, drift_threshold: drift, .. } = parameters;
        require("warning_threshold", warning, "finite and above 0", warning.is_finite() && warning > 0.0)?;
        let expected = "finite and at least `warning_threshold`";
        require("drift_threshold", drift, expected, drift.is_finite() && drift >= warning)?;
        Ok(Self { parameters, errors: Average::default(), least: None })
    }

    /// What it was made with.
    pub fn parameters(&self) -> DdmParameters {
        self.parameters
    }

    /// Takes the next error; what is not in `[0, 1]` is skipped.
    pub fn update(&mut self, value: f64) -> Signal {
        let Some(value) = error(value) else {
            return Signal::None;
        };
        self.errors.add(value);
        if self.errors.count <= u64::from(self.parameters.warm_start) {
            return Signal::None;
        }
        let rate = self.errors.mean;
        // Rounding may carry a mean of ones past 1.
        let deviation = ((rate * (1.0 - rate)).max(0.0) / self.errors.count as f64).sqrt();
        let (least_rate, least_deviation) = match self.least {
            Some(least) if rate + deviation > least.0 + least.1 => least,
            _ => (rate, deviation),
        };
        self.least = Some((least_rate, least_deviation));
        let past = |threshold: f64| rate + deviation > least_rate + threshold * least_deviation;
        if past(self.parameters.drift_threshold) {
            (self.errors, self.least) = (Average::default(), None);
            Signal::Change
        } else if past(self.parameters.warning_threshold) {
            Signal::Warning
        } else {
            Signal::None
        }
    }
}
