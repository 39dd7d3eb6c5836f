//! What a regression leaves unexplained.

use serde::{Deserialize, Serialize};

use super::Judged;

/// Bins of the histogram.
const BINS: usize = 24;

/// Residuals within an interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ResidualBin {
    /// Lower end.
    pub from: f64,
    /// Upper end.
    pub until: f64,
    /// Rows.
    pub rows: usize,
}

/// Target less prediction on held-out rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Residuals {
    /// Mean: above 0 where the model predicts too little.
    pub mean: f64,
    /// Standard deviation.
    pub deviation: f64,
    /// Histogram from the 1st to the 99th percentile; what lies beyond is in the first and the last bin.
    pub bins: Vec<ResidualBin>,
}

/// The residuals of a regression; none without rows.
pub fn residuals(judged: Judged<'_>) -> Option<Residuals> {
    let mut found: Vec<f64> =
        judged.targets.iter().zip(judged.first()).map(|(target, said)| target - said).collect();
    found.retain(|residual| residual.is_finite());
    found.sort_by(f64::total_cmp);
    let n = found.len();
    let (low, high) = (*found.get(n / 100)?, *found.get(n - 1 - n / 100)?);
    let mean = found.iter().sum::<f64>() / n as f64;
    let deviation = (found.iter().map(|r| (r - mean).powi(2)).sum::<f64>() / n as f64).sqrt();
    let width = (high - low) / BINS as f64;
    if !(width > 0.0 && width.is_finite()) {
        let bins = vec![ResidualBin { from: low, until: high, rows: n }];
        return Some(Residuals { mean, deviation, bins });
    }
    let mut bins = Vec::with_capacity(BINS);
    let mut start = 0;
    for bin in 0..BINS {
        let until = low + width * (bin + 1) as f64;
        let end = if bin + 1 == BINS { n } else { found.partition_point(|residual| *residual < until) };
        bins.push(ResidualBin { from: low + width * bin as f64, until, rows: end - start });
        start = end;
    }
    Some(Residuals { mean, deviation, bins })
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;
    use crate::retrain::spec::{Objective, Task};

    #[test]
    fn every_row_is_in_one_bin() {
        let targets: Vec<f64> = (0..1000).map(f64::from).collect();
        let answers = Array2::from_elem((1000, 1), 499.5);
        let judged = Judged {
            task: Task::Regression,
            objective: Objective::Mse,
            answers: answers.view(),
            targets: &targets,
        };
        let found = residuals(judged).unwrap();
        assert!(found.mean.abs() < 1e-9 && found.bins.len() == BINS);
        assert_eq!(found.bins.iter().map(|bin| bin.rows).sum::<usize>(), 1000);
        let exact = Judged { answers: answers.view(), targets: &[499.5; 1000], ..judged };
        assert_eq!(residuals(exact).unwrap().bins.len(), 1);
        let nothing = Array2::zeros((0, 1));
        assert_eq!(residuals(Judged { answers: nothing.view(), targets: &[], ..judged }), None);
    }
}
