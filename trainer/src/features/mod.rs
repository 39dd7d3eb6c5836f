//! Fits the preprocessing on the training part, and on nothing else; a block of rows at a time.

mod fitter;
mod sample;
mod tally;
#[cfg(test)]
mod tests;

use driftline::model::Column;
use driftline::retrain::pipeline::{EVENT_TIME, Pipeline, Step};
use driftline::retrain::spec::{FeatureSpec, FeaturesSpec};
use driftline::stats::Moments;

use self::fitter::Fitter;
use crate::journal::{Halt, Journal};

/// Preprocessing that is being fitted.
#[derive(Debug)]
pub(crate) struct Fitting {
    fitters: Vec<Fitter>,
}

impl Fitting {
    /// Nothing seen yet.
    ///
    /// # Arguments
    ///
    /// * `features`: the columns of the rows and their kinds.
    pub(crate) fn new(spec: &FeaturesSpec, features: &[FeatureSpec], seed: u64) -> Result<Self, Halt> {
        let mut fitters: Vec<Fitter> =
            features.iter().map(|feature| Fitter::of_feature(spec, feature, seed)).collect();
        for dates in &spec.dates {
            let column = dates.column.as_deref().unwrap_or(EVENT_TIME);
            fitters.push(Fitter::of_dates(column, &dates.parts));
        }
        for pair in &spec.interactions {
            let (of, [left, right]) = pair.parts();
            for name in [left, right] {
                if !features.iter().any(|feature| feature.name == *name) {
                    return Err(Halt::Failed(format!(
                        "features.interactions: `{name}` is no feature; there are {}",
                        names(features)
                    )));
                }
            }
            fitters.push(Fitter::of_pair(of, left, right));
        }
        Ok(Self { fitters })
    }

    /// Learns from `rows` rows of the training part.
    pub(crate) fn take(&mut self, rows: usize, columns: &[Column]) -> Result<(), Halt> {
        for fitter in &mut self.fitters {
            fitter.take(rows, columns)?;
        }
        Ok(())
    }

    /// The pipeline; a feature with no usable value is left out, aloud.
    pub(crate) fn finish(self, spec: &FeaturesSpec, journal: &Journal) -> Result<Pipeline, Halt> {
        let steps: Vec<Step> =
            self.fitters.into_iter().filter_map(|fitter| fitter.finish(spec, journal)).collect();
        if steps.is_empty() {
            return Err(Halt::Failed("no feature has a usable value in the training part".to_owned()));
        }
        Ok(Pipeline { steps })
    }
}

/// Fits one step per feature, date and pair on the training part's `columns`.
pub(crate) fn fit(
    spec: &FeaturesSpec,
    features: &[FeatureSpec],
    columns: &[Column],
    seed: u64,
    journal: &Journal,
) -> Result<Pipeline, Halt> {
    let mut fitting = Fitting::new(spec, features, seed)?;
    let rows = columns.iter().map(|column| column.values.len()).max().unwrap_or(0);
    fitting.take(rows, columns)?;
    fitting.finish(spec, journal)
}

/// Names of features for a sentence.
fn names(features: &[FeatureSpec]) -> String {
    let names: Vec<String> = features.iter().map(|feature| format!("`{}`", feature.name)).collect();
    names.join(", ")
}

/// Mean and standard deviation (of the rows, not of what they are a sample of); the latter 0 where it is nothing
/// but rounding. None without numbers.
pub(crate) fn moments(numbers: &[f64]) -> Option<(f64, f64)> {
    let mut moments = Moments::new();
    moments.extend(numbers);
    read(&moments)
}

fn read(moments: &Moments) -> Option<(f64, f64)> {
    let n = moments.count();
    if n == 0 {
        return None;
    }
    let mean = moments.mean();
    let deviation = (moments.variance().unwrap_or(0.0) * ((n - 1) as f64 / n as f64)).sqrt();
    let is_usable = deviation.is_finite() && deviation > 1e-12 * mean.abs();
    Some((mean, if is_usable { deviation } else { 0.0 }))
}
