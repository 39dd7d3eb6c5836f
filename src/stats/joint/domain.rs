//! How well a linear classifier tells rows of the window from rows of the baseline.

use ndarray::ArrayView2;
use serde::{Deserialize, Serialize};

use super::auc::{Auc, auc};
use super::hotelling::equal_means_p_value;
use super::logistic::{self, Design};
use crate::stats::StatError;
use crate::stats::random::SplitMix64;

/// Parameters of [`domain_auc`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DomainAucParameters {
    /// Parts of the data, each scored by a classifier that was fitted on the others; at least 2.
    pub folds: u32,
    /// Penalty on squared weights of standardised features, finite and above 0.
    pub ridge: f64,
    /// Deals the rows into folds.
    pub seed: u64,
}

impl Default for DomainAucParameters {
    fn default() -> Self {
        Self { folds: 5, ridge: 1.0, seed: 42 }
    }
}

/// How well rows of the window can be told from rows of the baseline.
#[derive(Clone, Debug, PartialEq)]
pub struct DomainAuc {
    /// Area under the curve on rows the classifier has not seen: ½ when nothing tells them apart, 1 when a line does.
    pub auc: f64,
    /// Its standard error, by `DeLong`, as if folds were independent; 0 where the rows are separated completely. Near ½
    /// the area varies by about a quarter more.
    pub standard_error: f64,
    /// Probability of lines that separate this well if both sides have one source, in `[0, 1]`; one-sided, as a larger
    /// area is the only evidence. By Hotelling's test, and 1 if there are hardly more rows than features.
    pub p_value: f64,
    /// Weight of each feature per standard deviation, the mean over folds, shape `[features]`: positive where the window
    /// is higher. 0 for a feature that does not vary.
    pub weights: Vec<f64>,
}

/// Cross-validated area under the curve of a linear classifier between baseline and window.
///
/// Features are standardised on both sides together; each fold is scored by a logistic regression with a ridge penalty
/// that was fitted on the others, and the areas of the folds are averaged by their number of pairs. Scores of different
/// folds are not compared, since their classifiers differ and pooling them pulls the area below ½ when there is nothing
/// to find.
///
/// The p-value is not computed from the area. Classifiers of different folds learn from each other's rows, so that
/// against its standard error an area near ½ is too often large: on independent rows of one source, Mann and
/// Whitney's normal law rejected 12 to 25 % at a level of 10 %. Whether any line separates the sides is what Hotelling's
/// test asks of all rows at once (8 to 10 % on such rows).
///
/// Rows are taken for independent. Where rows of one hour are alike, compare with the areas that blocks of the baseline
/// reach against the rest of it before believing a p-value.
///
/// # Arguments
///
/// * `reference`, `current`: rows of both sides, shape `[rows, features]`, the same features in the same order, all
///   finite; see the module for categories and missing values. A sample of a few thousand rows is enough: the time
///   is about `8 · folds · rows · features²` multiplications.
///
/// # Errors
///
/// * [`StatError::FeatureMismatch`] if the two sides have different features.
/// * [`StatError::InvalidParameter`] for parameters out of range.
/// * [`StatError::TooFewObservations`] if a side has fewer than two rows for each fold.
/// * [`StatError::NotFinite`] if a value is NaN or infinite.
///
/// # Source
///
/// The classifier two-sample test: Lopez-Paz and Oquab (2017), arXiv:1610.06545. Averaging over folds: Airola et al.
/// (2011), doi:10.1016/j.csda.2010.11.018. P-value: Hotelling (1931), doi:10.1214/aoms/1177732979.
pub fn domain_auc(
    reference: ArrayView2<'_, f64>,
    current: ArrayView2<'_, f64>,
    parameters: DomainAucParameters,
) -> Result<DomainAuc, StatError> {
    let DomainAucParameters { folds, ridge, seed } = parameters;
    if folds < 2 {
        let (name, expected) = ("folds", "at least 2");
        return Err(StatError::InvalidParameter { name, expected, value: f64::from(folds) });
    }
    if !(ridge > 0.0 && ridge.is_finite()) {
        let (name, expected) = ("ridge", "finite and above 0");
        return Err(StatError::InvalidParameter { name, expected, value: ridge });
    }
    let features = reference.ncols();
    if current.ncols() != features {
        return Err(StatError::FeatureMismatch { expected: features, got: current.ncols() });
    }
    let fewest = reference.nrows().min(current.nrows()) as u64;
    if fewest < 2 * u64::from(folds) {
        return Err(StatError::TooFewObservations { needed: 2 * u64::from(folds), got: fewest });
    }
    if !reference.iter().all(|value| value.is_finite()) {
        return Err(StatError::NotFinite("reference rows"));
    }
    if !current.iter().all(|value| value.is_finite()) {
        return Err(StatError::NotFinite("current rows"));
    }
    let mut rows: Vec<f64> = reference.iter().chain(current.iter()).copied().collect();
    standardise(&mut rows, features);
    let positive: Vec<bool> =
        (0..reference.nrows() + current.nrows()).map(|row| row >= reference.nrows()).collect();
    let mut random = SplitMix64::new(seed);
    let mut fold_of = deal(reference.nrows(), folds, &mut random);
    fold_of.extend(deal(current.nrows(), folds, &mut random));
    let folds = fold_results(&rows, features, &positive, &fold_of, parameters)?;
    Ok(average(&folds, features, equal_means_p_value(&rows, features, &positive)))
}

/// One fold: its pairs of a window and a baseline row, the area on it, and the weights it was scored by.
struct Fold {
    pairs: f64,
    auc: Auc,
    weights: Vec<f64>,
}

fn fold_results(
    rows: &[f64],
    features: usize,
    positive: &[bool],
    fold_of: &[u32],
    parameters: DomainAucParameters,
) -> Result<Vec<Fold>, StatError> {
    (0..parameters.folds)
        .map(|fold| {
            let used: Vec<bool> = fold_of.iter().map(|&of| of != fold).collect();
            let design = Design { rows, features, positive, used: &used };
            let weights = logistic::fit(&design, parameters.ridge);
            let scores = |side: bool| -> Vec<f64> {
                (0..positive.len())
                    .filter(|&row| !used[row] && positive[row] == side)
                    .map(|row| logistic::score(&weights, design.row(row)))
                    .collect()
            };
            let (current, reference) = (scores(true), scores(false));
            let pairs = current.len() as f64 * reference.len() as f64;
            Ok(Fold { pairs, auc: auc(&current, &reference)?, weights })
        })
        .collect()
}

fn average(folds: &[Fold], features: usize, p_value: f64) -> DomainAuc {
    let pairs: f64 = folds.iter().map(|fold| fold.pairs).sum();
    let (mut value, mut variance) = (0.0, 0.0);
    let mut weights = vec![0.0; features];
    for fold in folds {
        let share = fold.pairs / pairs;
        value += share * fold.auc.value;
        variance += (share * fold.auc.standard_error).powi(2);
        for (mean, weight) in weights.iter_mut().zip(&fold.weights) {
            *mean += weight / folds.len() as f64;
        }
    }
    DomainAuc { auc: value.clamp(0.0, 1.0), standard_error: variance.sqrt(), p_value, weights }
}

/// Deals rows into folds of nearly equal size.
fn deal(rows: usize, folds: u32, random: &mut SplitMix64) -> Vec<u32> {
    let mut fold_of: Vec<u32> = (0..folds).cycle().take(rows).collect();
    random.shuffle(&mut fold_of);
    fold_of
}

/// Gives every column a mean of 0 and a standard deviation of 1; one that does not vary becomes 0.
fn standardise(rows: &mut [f64], features: usize) {
    for feature in 0..features {
        let largest =
            rows.iter().skip(feature).step_by(features).fold(0.0, |most: f64, value| most.max(value.abs()));
        if largest <= 0.0 {
            continue;
        }
        let count = (rows.len() / features) as f64;
        let column = || rows.iter().skip(feature).step_by(features).map(|value| value / largest);
        let mean = column().sum::<f64>() / count;
        let deviation = (column().map(|value| (value - mean) * (value - mean)).sum::<f64>() / count).sqrt();
        // What is not above rounding is constant.
        let scale = if deviation > 16.0 * f64::EPSILON { 1.0 / deviation } else { 0.0 };
        for value in rows.iter_mut().skip(feature).step_by(features) {
            // Divided by the largest first, so that values near 1e300 are told apart like others.
            *value = (*value / largest - mean) * scale;
        }
    }
}
