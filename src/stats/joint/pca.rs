//! Principal components of the reference, and how badly a row fits them.

use serde::{Deserialize, Serialize};

use super::co_moments::CoMoments;
use super::eigen::eigen;
use crate::stats::StatError;

/// Share of the variance that components explain unless told otherwise, as in `NannyML`.
pub const DEFAULT_EXPLAINED: f64 = 0.65;

/// Largest number of features that components are fitted for; the time grows with its cube.
pub const MAX_FEATURES: usize = 500;

/// Standard deviations from the mean past which a value of a row counts as this far.
const FARTHEST: f64 = 100.0;

/// Principal components of standardised features.
///
/// Fitted on the reference once, then only read. Holds means, deviations and one vector of weights for each component;
/// every number is finite, and reading one that is not, or lengths that do not fit, is an error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Stored")]
pub struct Pca {
    means: Vec<f64>,
    deviations: Vec<f64>,
    components: Vec<Vec<f64>>,
    explained: f64,
}

impl Pca {
    /// Fits components to the rows that were added up.
    ///
    /// Missing values are replaced by the mean, features divided by their standard deviation (of all rows, `1/n`). A
    /// feature that does not vary is left out. Components are kept, the most important first, until they explain more
    /// than `explained`; at least one direction is left out, since an error could not be otherwise.
    ///
    /// # Arguments
    ///
    /// * `moments`: the reference, two rows or more.
    /// * `explained`: share of the variance in `(0, 1)`; [`DEFAULT_EXPLAINED`] is usual.
    ///
    /// # Errors
    ///
    /// * [`StatError::InvalidParameter`] if `explained` is out of range, or there are over [`MAX_FEATURES`] features.
    /// * [`StatError::TooFewObservations`] under two rows.
    /// * [`StatError::TooFewVarying`] if fewer than two features vary.
    ///
    /// # Source
    ///
    /// Jolliffe, "Principal Component Analysis" (2002). The same as `SimpleImputer`, `StandardScaler` and
    /// `PCA(n_components=explained)` of scikit-learn, one after the other, as long as a direction is left out.
    pub fn fit(moments: &CoMoments, explained: f64) -> Result<Self, StatError> {
        if !(0.0 < explained && explained < 1.0) {
            let (name, expected) = ("explained", "in (0, 1)");
            return Err(StatError::InvalidParameter { name, expected, value: explained });
        }
        Self::fit_until(moments, |_, share| share > explained)
    }

    /// As [`fit`](Self::fit), but keeps this number of components, at least one and leaving one direction out: for fits to
    /// parts of the data whose errors are to be of one kind.
    ///
    /// # Errors
    ///
    /// Those of [`fit`](Self::fit) on `moments`.
    pub fn fit_count(moments: &CoMoments, components: usize) -> Result<Self, StatError> {
        Self::fit_until(moments, |kept, _| kept >= components)
    }

    /// Keeps components until `is_enough` of their number and the share of the variance they explain.
    fn fit_until(moments: &CoMoments, is_enough: impl Fn(usize, f64) -> bool) -> Result<Self, StatError> {
        let features = moments.features();
        if features > MAX_FEATURES {
            let (name, expected) = ("features", "at most 500");
            return Err(StatError::InvalidParameter { name, expected, value: features as f64 });
        }
        if moments.rows() < 2 {
            return Err(StatError::TooFewObservations { needed: 2, got: moments.rows() });
        }
        let means: Vec<f64> = (0..features).map(|feature| moments.mean(feature).unwrap_or(0.0)).collect();
        let deviations: Vec<f64> = (0..features)
            .map(|feature| {
                let deviation = (moments.co_moment(feature, feature).max(0.0) / moments.rows() as f64).sqrt();
                // What is not above the rounding of its mean is constant.
                if deviation > 16.0 * f64::EPSILON * means[feature].abs() { deviation } else { 0.0 }
            })
            .collect();
        let varying: Vec<usize> = (0..features).filter(|&feature| deviations[feature] > 0.0).collect();
        if varying.len() < 2 {
            return Err(StatError::TooFewVarying { varying: varying.len() });
        }
        let (components, explained) = components(moments, &varying, is_enough);
        Ok(Self { means, deviations, components, explained })
    }

    /// Values in a row.
    pub fn features(&self) -> usize {
        self.means.len()
    }

    /// Mean of each feature in the reference, shape `[features]`; 0 where all values were missing.
    pub fn means(&self) -> &[f64] {
        &self.means
    }

    /// Standard deviation of each feature in the reference, shape `[features]`; 0 for one that is left out.
    pub fn deviations(&self) -> &[f64] {
        &self.deviations
    }

    /// Weights of the kept components on the standardised features, shape `[components][features]`, each of length 1,
    /// orthogonal, and with a positive largest weight.
    pub fn components(&self) -> &[Vec<f64>] {
        &self.components
    }

    /// Share of the variance that the kept components explain, in `(0, 1)`.
    pub fn explained(&self) -> f64 {
        self.explained
    }

    /// Distance of a row from the space of the components, in standard deviations.
    ///
    /// A missing value (NaN) is the mean. A value farther than 100 standard deviations from it, infinite or not, counts
    /// as 100 away: more tells nothing more, and one bad field must not drown the mean of a window. A feature that is
    /// left out is not looked at.
    ///
    /// # Arguments
    ///
    /// * `row`: shape `[features]`, the order of the reference.
    /// * `scratch`: overwritten; a vector that is used again makes this free of allocation.
    ///
    /// # Returns
    ///
    /// A finite number of at least 0; over the reference its square averages `1 − explained` for each feature that varies.
    ///
    /// # Errors
    ///
    /// [`StatError::FeatureMismatch`] if the row has another number of values.
    ///
    /// # Source
    ///
    /// The statistic of `NannyML`'s data reconstruction drift: the Euclidean norm of a row less
    /// `inverse_transform(transform(row))`.
    pub fn reconstruction_error(&self, row: &[f64], scratch: &mut Vec<f64>) -> Result<f64, StatError> {
        if row.len() != self.features() {
            return Err(StatError::FeatureMismatch { expected: self.features(), got: row.len() });
        }
        scratch.clear();
        scratch.extend(row.iter().zip(&self.means).zip(&self.deviations).map(
            |((value, mean), deviation)| {
                if value.is_nan() || *deviation <= 0.0 {
                    0.0
                } else {
                    ((value - mean) / deviation).clamp(-FARTHEST, FARTHEST)
                }
            },
        ));
        for component in &self.components {
            let along = dot(component, scratch);
            for (value, weight) in scratch.iter_mut().zip(component) {
                *value -= along * weight;
            }
        }
        Ok(dot(scratch, scratch).sqrt())
    }
}

/// The inner product of two vectors of one length: in eight sums, which processors add up side by side, always in the
/// same order.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let (a, a_rest) = a.as_chunks::<8>();
    let (b, b_rest) = b.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for (a, b) in a.iter().zip(b) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f64>() + rest
}

/// Weights of the components up to the one that is enough, but not all of them, and the share they explain.
fn components(
    moments: &CoMoments,
    varying: &[usize],
    is_enough: impl Fn(usize, f64) -> bool,
) -> (Vec<Vec<f64>>, f64) {
    let size = varying.len();
    let norms: Vec<f64> = varying.iter().map(|&feature| moments.co_moment(feature, feature).sqrt()).collect();
    let mut correlations = vec![0.0; size * size];
    for (row, &first) in varying.iter().enumerate() {
        correlations[row * size + row] = 1.0;
        for (column, &second) in varying.iter().enumerate().skip(row + 1) {
            let correlation = moments.co_moment(first, second) / norms[row] / norms[column];
            let correlation = correlation.clamp(-1.0, 1.0);
            correlations[row * size + column] = correlation;
            correlations[column * size + row] = correlation;
        }
    }
    let (mut kept, mut explained) = (Vec::new(), 0.0);
    for (value, vector) in eigen(correlations, size).into_iter().take(size - 1) {
        let mut weights = vec![0.0; moments.features()];
        for (&feature, weight) in varying.iter().zip(vector) {
            weights[feature] = weight;
        }
        kept.push(weights);
        explained += value.max(0.0) / size as f64;
        if is_enough(kept.len(), explained) {
            break;
        }
    }
    (kept, explained.min(1.0))
}

/// [`Pca`] as it was written down, not yet checked.
#[derive(Deserialize)]
struct Stored {
    means: Vec<f64>,
    deviations: Vec<f64>,
    components: Vec<Vec<f64>>,
    explained: f64,
}

impl TryFrom<Stored> for Pca {
    type Error = StatError;

    fn try_from(stored: Stored) -> Result<Self, StatError> {
        let Stored { means, deviations, components, explained } = stored;
        for part in [&deviations].into_iter().chain(&components) {
            if part.len() != means.len() {
                return Err(StatError::FeatureMismatch { expected: means.len(), got: part.len() });
            }
        }
        let numbers = means.iter().chain(&deviations).chain(components.iter().flatten());
        if !numbers.chain([&explained]).all(|number| number.is_finite()) {
            return Err(StatError::NotFinite("components"));
        }
        Ok(Self { means, deviations, components, explained })
    }
}
