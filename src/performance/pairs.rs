//! From stored predictions and labels to the numbers that metrics compare.

use std::collections::BTreeMap;

use ndarray::Array2;
use serde_json::Value as Json;

use super::{Metric, Task};
use crate::model::Value;

/// How the predictions of a model and its labels are read.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// What the model predicts.
    pub task: Task,
    /// The output that is the prediction; absent: the only one that a row has.
    pub output: Option<String>,
    /// Of a multiclass model the output with the probability of each class, and the class; empty: `output` names the class.
    pub classes: Vec<(String, String)>,
    /// Name of the target in labels that are objects; absent: of such labels none is used.
    pub target: Option<String>,
    /// The score from which on a row of a binary model is said to be positive.
    pub threshold: f64,
    /// The class of a binary model that is the positive one; absent: 1 and true.
    pub positive: Option<String>,
    /// Which quantile a regression predicts; absent: none.
    pub quantile: Option<f64>,
}

impl Reading {
    /// A reading of `task` with nothing else said.
    pub fn of(task: Task) -> Self {
        Self {
            task,
            output: None,
            classes: Vec::new(),
            target: None,
            threshold: 0.5,
            positive: None,
            quantile: None,
        }
    }

    /// The names of outputs it looks at; empty: whatever there is.
    pub fn outputs(&self) -> Vec<String> {
        let of_classes = self.classes.iter().map(|(output, _)| output.clone());
        of_classes.chain(self.output.clone().filter(|_| self.classes.is_empty())).collect()
    }
}

/// A prediction with its label, as both are stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    /// Outputs by name.
    pub outputs: BTreeMap<String, Value>,
    /// A scalar, or an object that holds the target by name.
    pub label: Json,
}

/// Predictions beside what came true, in the order of rows.
#[derive(Debug, Clone, PartialEq)]
pub enum Pairs {
    /// Of a binary model.
    Binary {
        /// A score per row.
        scores: Vec<f64>,
        /// Whether it came true.
        targets: Vec<bool>,
        /// The score from which on a row is said to be positive.
        threshold: f64,
    },
    /// Of a multiclass model.
    Multiclass {
        /// A score per row and class, shape `[rows, classes]`.
        scores: Array2<f64>,
        /// The class that came true; that of a class that the model does not know is the number of its classes or more.
        targets: Vec<usize>,
        /// Whether scores are probabilities, and not 1 for the class that was said.
        graded: bool,
    },
    /// Of a regression.
    Regression {
        /// A number per row.
        predictions: Vec<f64>,
        /// The number that came true.
        targets: Vec<f64>,
        /// Which quantile was predicted, if one was.
        quantile: Option<f64>,
    },
}

impl Pairs {
    /// Reads rows; also says which of them were usable. A row without a prediction or a label that can be read is not.
    pub fn read(reading: &Reading, rows: &[Judged]) -> (Self, Vec<bool>) {
        match reading.task {
            Task::Binary => {
                let read = |row: &Judged| Some((reading.score(row)?, reading.truth(row)?));
                let (found, usable) = usable(rows, read);
                let (scores, targets) = found.into_iter().unzip();
                (Self::Binary { scores, targets, threshold: reading.threshold }, usable)
            }
            Task::Regression => {
                let read = |row: &Judged| Some((number(reading.said(row)?)?, number(&reading.came(row)?)?));
                let (found, usable) = usable(rows, read);
                let (predictions, targets) = found.into_iter().unzip();
                (Self::Regression { predictions, targets, quantile: reading.quantile }, usable)
            }
            Task::Multiclass if reading.classes.is_empty() => reading.named_classes(rows),
            Task::Multiclass => reading.graded_classes(rows),
        }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        match self {
            Self::Binary { targets, .. } => targets.len(),
            Self::Multiclass { targets, .. } => targets.len(),
            Self::Regression { targets, .. } => targets.len(),
        }
    }

    /// Some of the rows.
    #[must_use]
    pub fn select(&self, rows: &[usize]) -> Self {
        let pick = |values: &[f64]| rows.iter().filter_map(|&row| values.get(row).copied()).collect();
        match self {
            Self::Binary { scores, targets, threshold } => Self::Binary {
                scores: pick(scores),
                targets: rows.iter().filter_map(|&row| targets.get(row).copied()).collect(),
                threshold: *threshold,
            },
            Self::Multiclass { scores, targets, graded } => Self::Multiclass {
                scores: scores.select(ndarray::Axis(0), rows),
                targets: rows.iter().filter_map(|&row| targets.get(row).copied()).collect(),
                graded: *graded,
            },
            Self::Regression { predictions, targets, quantile } => Self::Regression {
                predictions: pick(predictions),
                targets: pick(targets),
                quantile: *quantile,
            },
        }
    }

    /// The figures that are worked out, in the order of [`Metric::ALL`].
    pub fn metrics(&self) -> Vec<Metric> {
        use Metric as M;
        match self {
            Self::Binary { scores, .. } => {
                let decided = vec![M::Accuracy, M::Precision, M::Recall, M::F1];
                // Of decisions, 0 and 1 alone, a ranking or a probability would say nothing more.
                let graded = scores.iter().any(|score| *score > 0.0 && *score < 1.0);
                let probable = graded && scores.iter().all(|score| (0.0..=1.0).contains(score));
                let ranked = scores.iter().any(|score| score.abs() > 0.0 && (score - 1.0).abs() > 0.0);
                [
                    decided,
                    if ranked { vec![M::RocAuc, M::PrAuc] } else { Vec::new() },
                    if probable { vec![M::LogLoss, M::Brier, M::CalibrationError] } else { Vec::new() },
                ]
                .concat()
            }
            Self::Multiclass { scores, graded, .. } => {
                let said = vec![M::Accuracy, M::F1, M::F1Weighted];
                let probable = *graded && scores.iter().all(|score| (0.0..=1.0).contains(score));
                [
                    said,
                    if *graded { vec![M::RocAuc] } else { Vec::new() },
                    if probable { vec![M::LogLoss, M::Brier, M::CalibrationError] } else { Vec::new() },
                ]
                .concat()
            }
            Self::Regression { quantile, predictions, targets } => {
                let counts = predictions.iter().all(|prediction| *prediction > 0.0)
                    && targets.iter().all(|target| *target >= 0.0);
                let mut metrics = vec![M::Mae, M::Rmse, M::Mape, M::R2];
                metrics.extend(quantile.map(|_| M::Pinball));
                metrics.extend(counts.then_some(M::PoissonDeviance));
                metrics
            }
        }
    }

    /// How wrong each row is: squared distance of score or number, 1 for a wrong class.
    pub fn losses(&self) -> Vec<f64> {
        match self {
            Self::Binary { scores, targets, .. } => scores
                .iter()
                .zip(targets)
                .map(|(score, target)| (score - f64::from(*target)).powi(2))
                .collect(),
            Self::Multiclass { scores, targets, .. } => scores
                .rows()
                .into_iter()
                .zip(targets)
                .map(|(row, target)| 1.0 - row.get(*target).copied().unwrap_or(0.0))
                .collect(),
            Self::Regression { predictions, targets, .. } => {
                predictions.iter().zip(targets).map(|(said, came)| (said - came).powi(2)).collect()
            }
        }
    }
}

/// What can be read of each row, and which rows could be.
fn usable<T>(rows: &[Judged], read: impl Fn(&Judged) -> Option<T>) -> (Vec<T>, Vec<bool>) {
    let found: Vec<Option<T>> = rows.iter().map(read).collect();
    let usable = found.iter().map(Option::is_some).collect();
    (found.into_iter().flatten().collect(), usable)
}

impl Reading {
    /// The prediction of a row.
    fn said<'r>(&self, row: &'r Judged) -> Option<&'r Value> {
        match &self.output {
            Some(output) => row.outputs.get(output),
            None if row.outputs.len() == 1 => row.outputs.values().next(),
            None => None,
        }
    }

    /// What came true of a row.
    fn came(&self, row: &Judged) -> Option<Value> {
        let value = match &row.label {
            Json::Object(fields) => fields.get(self.target.as_ref()?)?,
            scalar => scalar,
        };
        match value {
            Json::Bool(truth) => Some(Value::Bool(*truth)),
            Json::Number(number) => number.as_f64().map(Value::Number),
            Json::String(text) => Some(Value::Text(text.clone())),
            Json::Null | Json::Array(_) | Json::Object(_) => None,
        }
    }

    /// Whether a value names the positive class; none when it names no class.
    fn is_positive(&self, value: &Value) -> Option<bool> {
        if let Some(positive) = &self.positive {
            return class(value).map(|class| class == *positive);
        }
        match value {
            Value::Bool(truth) => Some(*truth),
            Value::Number(number) if number.abs() <= 0.0 => Some(false),
            Value::Number(number) if (number - 1.0).abs() <= 0.0 => Some(true),
            Value::Text(text) if ["true", "1"].contains(&text.as_str()) => Some(true),
            Value::Text(text) if ["false", "0"].contains(&text.as_str()) => Some(false),
            _ => None,
        }
    }

    fn truth(&self, row: &Judged) -> Option<bool> {
        self.is_positive(&self.came(row)?)
    }

    fn score(&self, row: &Judged) -> Option<f64> {
        match self.said(row)? {
            Value::Number(score) => score.is_finite().then_some(*score),
            named => self.is_positive(named).map(f64::from),
        }
    }

    /// Rows of a model that names the class.
    fn named_classes(&self, rows: &[Judged]) -> (Pairs, Vec<bool>) {
        let read = |row: &Judged| Some((class(self.said(row)?)?, class(&self.came(row)?)?));
        let (found, usable) = usable(rows, read);
        let mut known: Vec<&str> = found.iter().flat_map(|(said, came)| [said.as_str(), came]).collect();
        known.sort_unstable();
        known.dedup();
        let place = |class: &str| known.binary_search(&class).unwrap_or(known.len());
        let mut scores = Array2::zeros((found.len(), known.len()));
        for (row, (said, _)) in found.iter().enumerate() {
            if let Some(score) = scores.get_mut((row, place(said))) {
                *score = 1.0;
            }
        }
        let targets = found.iter().map(|(_, came)| place(came)).collect();
        (Pairs::Multiclass { scores, targets, graded: false }, usable)
    }

    /// Rows of a model with an output for each class.
    fn graded_classes(&self, rows: &[Judged]) -> (Pairs, Vec<bool>) {
        let unknown = self.classes.len();
        let read = |row: &Judged| {
            let scores: Option<Vec<f64>> =
                self.classes.iter().map(|(output, _)| number(row.outputs.get(output)?)).collect();
            let came = class(&self.came(row)?)?;
            let target = self.classes.iter().position(|(_, class)| *class == came).unwrap_or(unknown);
            Some((scores?, target))
        };
        let (found, usable) = usable(rows, read);
        let scores = Array2::from_shape_fn((found.len(), unknown), |(row, class)| found[row].0[class]);
        let targets = found.iter().map(|(_, target)| *target).collect();
        (Pairs::Multiclass { scores, targets, graded: true }, usable)
    }
}

/// A finite number.
fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.is_finite().then_some(*number),
        _ => None,
    }
}

/// The name of a class: 1 and 1.0 are the same.
fn class(value: &Value) -> Option<String> {
    match value {
        Value::Text(text) => Some(text.clone()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Number(number) if number.is_finite() => Some(number.to_string()),
        Value::Missing | Value::Number(_) | Value::Opaque => None,
    }
}

#[cfg(test)]
#[path = "pairs_tests.rs"]
mod tests;
