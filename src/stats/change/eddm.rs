//! EDDM: errors that come closer together than they once did.

use serde::{Deserialize, Serialize};

use super::{Signal, error, require, require_open_unit};
use crate::stats::StatError;

/// Parameters of [`Eddm`]; the default is the published one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EddmParameters {
    /// Values before the largest distance is looked for, and errors before anything is said.
    pub warm_start: u32,
    /// Share of the largest distance under which there is a warning, in `(0, 1)`.
    pub alpha: f64,
    /// Share of the largest distance under which there is a change, above 0 and at most `alpha`.
    pub beta: f64,
}

impl Default for EddmParameters {
    fn default() -> Self {
        Self { warm_start: 30, alpha: 0.95, beta: 0.9 }
    }
}

/// Early drift detection method. Takes errors; a value of at least ½ is an error. Memory is constant.
///
/// On a stream whose error rate does not change it raises many false alarms at its defaults (33 in 10 000 values of the
/// reference stream): a lower `beta` is advisable.
///
/// # Source
///
/// Baena-García et al. (2006), "Early Drift Detection Method". As in river: both warm-ups have to be exceeded, distances
/// have their unbiased variance, and a warning stands until an error that says otherwise without being a new maximum.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Eddm {
    parameters: EddmParameters,
    values: u64,
    errors: u64,
    /// Position of the last error, from 1; 0 while there is none.
    last: u64,
    /// Mean of the distances between errors, and the sum of squared deviations from it.
    mean: f64,
    m2: f64,
    /// Largest mean plus two standard deviations.
    farthest: Option<f64>,
    warned: bool,
}

impl Eddm {
    /// A detector that has seen nothing.
    ///
    /// # Errors
    ///
    /// [`StatError::InvalidParameter`] for a parameter outside its range.
    pub fn new(parameters: EddmParameters) -> Result<Self, StatError> {
        require_open_unit("alpha", parameters.alpha)?;
        let beta = parameters.beta;
        require("beta", beta, "above 0 and at most `alpha`", 0.0 < beta && beta <= parameters.alpha)?;
        Ok(Self::fresh(parameters))
    }

    fn fresh(parameters: EddmParameters) -> Self {
        Self { parameters, values: 0, errors: 0, last: 0, mean: 0.0, m2: 0.0, farthest: None, warned: false }
    }

    /// What it was made with.
    pub fn parameters(&self) -> EddmParameters {
        self.parameters
    }

    /// Takes the next error; what is not in `[0, 1]` is skipped.
    pub fn update(&mut self, value: f64) -> Signal {
        let Some(value) = error(value) else {
            return Signal::None;
        };
        self.values += 1;
        if value >= 0.5 && self.is_change() {
            *self = Self::fresh(self.parameters);
            return Signal::Change;
        }
        if self.warned { Signal::Warning } else { Signal::None }
    }

    /// Takes an error at the newest position.
    fn is_change(&mut self) -> bool {
        self.errors += 1;
        let distance = self.values.saturating_sub(self.last) as f64;
        self.last = self.values;
        let before = distance - self.mean;
        self.mean += before / self.errors as f64;
        self.m2 += before * (distance - self.mean);
        let warm_start = u64::from(self.parameters.warm_start);
        if self.values <= warm_start {
            return false;
        }
        let variance = if self.errors > 1 { self.m2 / (self.errors - 1) as f64 } else { 0.0 };
        let reach = self.mean + 2.0 * variance.sqrt();
        match self.farthest {
            Some(farthest) if reach <= farthest => {
                if self.errors <= warm_start {
                    return false;
                }
                let share = reach / farthest;
                self.warned = share < self.parameters.alpha;
                share < self.parameters.beta
            }
            _ => {
                self.farthest = Some(reach);
                false
            }
        }
    }
}
