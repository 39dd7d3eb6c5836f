//! Change detectors: values one at a time, in order, in bounded memory.
//!
//! Made for the stream of errors of labelled predictions; those that take any number also suit a statistic that
//! arrives window by window. A detector is a value of its own: give it every element in order, write it down with serde
//! whenever wanted, and go on from what was written as if nothing had happened.
//!
//! - **The published defaults**, and alarms at the same index as those of river 0.26.1 on the same stream;
//!   [`Kswin`] draws at random, and is near instead.
//! - **What is no number is skipped**: for NaN, an infinity, or a value outside `[0, 1]` where
//!   [`DetectorParameters::takes_errors`], nothing moves and the answer is [`Signal::None`].
//!   [`DetectorParameters::accepts`] tells beforehand, so that a caller can count them.
//! - **A change starts the detector afresh.** What came before is forgotten, and another change takes a warm-up.
//! - These alarms carry no p-value over time: on a long stream without any change some of them come. They are one piece
//!   of evidence, and not bound by the false-alarm budget of window tests.

mod adwin;
mod ddm;
mod eddm;
mod hddm_a;
mod hddm_w;
mod kswin;
mod page_hinkley;

use serde::{Deserialize, Serialize};

use super::error::StatError;

pub use adwin::{Adwin, AdwinParameters};
pub use ddm::{Ddm, DdmParameters};
pub use eddm::{Eddm, EddmParameters};
pub use hddm_a::{HddmA, HddmAParameters};
pub use hddm_w::{HddmW, HddmWParameters};
pub use kswin::{Kswin, KswinParameters};
pub use page_hinkley::{Direction, PageHinkley, PageHinkleyParameters};

/// Magnitude past which a value counts as this one, so that squares and sums of them stay finite.
const LARGEST: f64 = 1e100;

/// What a detector says after one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// Nothing to say.
    None,
    /// A change may have begun.
    Warning,
    /// A change has happened; the detector starts afresh with the next value.
    Change,
}

/// Which detector, with its parameters.
///
/// In text: `{"detector": "adwin", "delta": 0.01}`; parameters that are left out are the published ones.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "detector", rename_all = "snake_case")]
pub enum DetectorParameters {
    /// Adaptive windowing: any number; sees the mean move either way.
    Adwin(AdwinParameters),
    /// Page–Hinkley: any number; sees the mean move, in units of the values.
    PageHinkley(PageHinkleyParameters),
    /// Drift detection method: errors; sees the error rate rise.
    Ddm(DdmParameters),
    /// Early drift detection method: errors; sees them come closer together.
    Eddm(EddmParameters),
    /// Hoeffding's bound on averages: errors; best at sudden rises.
    HddmA(HddmAParameters),
    /// Hoeffding's bound on weighted averages: errors; best at gradual rises.
    HddmW(HddmWParameters),
    /// Kolmogorov–Smirnov windowing: any number; sees the distribution change in any way.
    Kswin(KswinParameters),
}

impl DetectorParameters {
    /// Whether the detector takes errors, numbers in `[0, 1]` with 0 for right and 1 for wrong, and not any number.
    pub fn takes_errors(&self) -> bool {
        match self {
            Self::Adwin(_) | Self::PageHinkley(_) | Self::Kswin(_) => false,
            Self::Ddm(_) | Self::Eddm(_) | Self::HddmA(_) | Self::HddmW(_) => true,
        }
    }

    /// Whether [`Detector::update`] uses `value`, and does not skip it.
    pub fn accepts(&self, value: f64) -> bool {
        if self.takes_errors() { error(value).is_some() } else { bounded(value).is_some() }
    }
}

/// A change detector of any kind, with all it remembers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "detector", rename_all = "snake_case")]
pub enum Detector {
    /// See [`DetectorParameters::Adwin`].
    Adwin(Adwin),
    /// See [`DetectorParameters::PageHinkley`].
    PageHinkley(PageHinkley),
    /// See [`DetectorParameters::Ddm`].
    Ddm(Ddm),
    /// See [`DetectorParameters::Eddm`].
    Eddm(Eddm),
    /// See [`DetectorParameters::HddmA`].
    HddmA(HddmA),
    /// See [`DetectorParameters::HddmW`].
    HddmW(HddmW),
    /// See [`DetectorParameters::Kswin`].
    Kswin(Kswin),
}

impl Detector {
    /// A detector that has seen nothing.
    ///
    /// # Errors
    ///
    /// [`StatError::InvalidParameter`] for a parameter outside its range.
    pub fn new(parameters: DetectorParameters) -> Result<Self, StatError> {
        Ok(match parameters {
            DetectorParameters::Adwin(parameters) => Self::Adwin(Adwin::new(parameters)?),
            DetectorParameters::PageHinkley(parameters) => Self::PageHinkley(PageHinkley::new(parameters)?),
            DetectorParameters::Ddm(parameters) => Self::Ddm(Ddm::new(parameters)?),
            DetectorParameters::Eddm(parameters) => Self::Eddm(Eddm::new(parameters)?),
            DetectorParameters::HddmA(parameters) => Self::HddmA(HddmA::new(parameters)?),
            DetectorParameters::HddmW(parameters) => Self::HddmW(HddmW::new(parameters)?),
            DetectorParameters::Kswin(parameters) => Self::Kswin(Kswin::new(parameters)?),
        })
    }

    /// What it was made with; a detector that was written down under other parameters has to begin again.
    pub fn parameters(&self) -> DetectorParameters {
        match self {
            Self::Adwin(detector) => DetectorParameters::Adwin(detector.parameters()),
            Self::PageHinkley(detector) => DetectorParameters::PageHinkley(detector.parameters()),
            Self::Ddm(detector) => DetectorParameters::Ddm(detector.parameters()),
            Self::Eddm(detector) => DetectorParameters::Eddm(detector.parameters()),
            Self::HddmA(detector) => DetectorParameters::HddmA(detector.parameters()),
            Self::HddmW(detector) => DetectorParameters::HddmW(detector.parameters()),
            Self::Kswin(detector) => DetectorParameters::Kswin(detector.parameters()),
        }
    }

    /// Takes the next value and says whether something has changed.
    ///
    /// A value that the detector does not accept is skipped, as if it had not been there.
    pub fn update(&mut self, value: f64) -> Signal {
        match self {
            Self::Adwin(detector) => detector.update(value),
            Self::PageHinkley(detector) => detector.update(value),
            Self::Ddm(detector) => detector.update(value),
            Self::Eddm(detector) => detector.update(value),
            Self::HddmA(detector) => detector.update(value),
            Self::HddmW(detector) => detector.update(value),
            Self::Kswin(detector) => detector.update(value),
        }
    }
}

/// A count and the mean of what was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Average {
    count: u64,
    mean: f64,
}

impl Average {
    fn add(&mut self, value: f64) {
        self.count += 1;
        self.mean += (value - self.mean) / self.count as f64;
    }
}

/// A finite number, brought within ±[`LARGEST`].
fn bounded(value: f64) -> Option<f64> {
    value.is_finite().then(|| value.clamp(-LARGEST, LARGEST))
}

/// A number in `[0, 1]`.
fn error(value: f64) -> Option<f64> {
    (0.0..=1.0).contains(&value).then_some(value)
}

/// Refuses a parameter for which `valid` does not hold; a comparison with NaN does not.
fn require(name: &'static str, value: f64, expected: &'static str, valid: bool) -> Result<(), StatError> {
    if valid { Ok(()) } else { Err(StatError::InvalidParameter { name, expected, value }) }
}

/// Refuses what is not in `(0, 1)`.
fn require_open_unit(name: &'static str, value: f64) -> Result<(), StatError> {
    require(name, value, "in (0, 1)", 0.0 < value && value < 1.0)
}

#[cfg(test)]
mod tests;
