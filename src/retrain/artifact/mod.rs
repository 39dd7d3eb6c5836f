//! A trained model as one file: preprocessing, weights and what they are for; predicts without libtorch.

use std::fmt::Write as _;

use ndarray::Array2;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::pipeline::{Encoded, Pipeline};
use super::spec::Task;
use crate::model::{Column, FeatureKind};

mod attention;
mod tree;
mod graph;
mod format;

pub use attention::Attention;
pub use format::FORMAT;
pub use graph::{BatchNorm, Block, Embedding, Graph, Input, Layer, Norm, Slot};
pub use tree::{Node, Tree};

/// Name of the artifact's file inside the folder of its run.
pub const FILE_NAME: &str = "model.safetensors";

/// Key of the JSON document in the file's metadata.
const DOCUMENT_KEY: &str = "driftline";

/// Bytes that are not a usable artifact.
#[derive(Debug, Error)]
pub enum ArtifactError {
    /// Not a safetensors file, or a cut one.
    #[error("this is not a safetensors file: {0}")]
    Container(String),
    /// A safetensors file of somebody else.
    #[error(
        "this safetensors file is not a driftline artifact: its metadata has no `{DOCUMENT_KEY}` document"
    )]
    Foreign,
    /// The document does not read.
    #[error("the artifact's document does not read: {0}")]
    Document(String),
    /// Written by a newer driftline.
    #[error("the artifact has format {found}; this build reads formats up to {FORMAT}")]
    Format {
        /// The format of the file.
        found: u32,
    },
    /// A tensor is absent, of the wrong type or shape, or not finite.
    #[error("tensor `{name}`: {problem}")]
    Tensor {
        /// Name of the tensor.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
}

/// What kind of model the weights are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelKind {
    /// Ridge, logistic or multinomial regression.
    Linear,
    /// A shallow decision tree.
    Tree,
    /// A network.
    Deep,
}

impl ModelKind {
    /// The word stored in `model_version.kind`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Linear => "linear",
            Self::Tree => "tree",
            Self::Deep => "deep",
        }
    }
}

/// What makes an answer of a score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Link {
    /// The score itself.
    Identity,
    /// Its exponential, for counts.
    Exp,
    /// The logistic function, for the probability of one of two classes.
    Sigmoid,
    /// The softmax over all scores of a row, for the probability of each class.
    Softmax,
}

/// From scores to answers: `link(score · scale + offset)`; of probabilities, what the link is given is divided by the
/// temperature first.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Output {
    /// The link.
    pub link: Link,
    /// Added to the scaled score: the mean of a standardised target; 0 for classes.
    pub offset: f64,
    /// Factor of the score: the scale of a standardised target; 1 for classes.
    pub scale: f64,
    /// Above 1 makes probabilities less sure; 1 where there are none.
    pub temperature: f64,
}

impl Output {
    /// The output of classes, or of numbers that were not standardised.
    pub fn plain(link: Link) -> Self {
        Self { link, offset: 0.0, scale: 1.0, temperature: 1.0 }
    }

    /// The answers for `scores`, shape `[rows, outputs]`; each is finite.
    pub fn answers(&self, mut scores: Array2<f64>) -> Array2<f64> {
        let Self { link, offset, scale, temperature } = *self;
        scores.mapv_inplace(|score| score * scale + offset);
        let bound = |answer: f64, otherwise: f64| {
            if answer.is_nan() { otherwise } else { answer.clamp(f64::MIN, f64::MAX) }
        };
        match link {
            Link::Identity => scores.mapv_inplace(|score| bound(score, offset)),
            Link::Exp => scores.mapv_inplace(|score| bound(score.exp(), bound(offset.exp(), 0.0))),
            Link::Sigmoid => scores.mapv_inplace(|score| bound(sigmoid(score / temperature), 0.5)),
            Link::Softmax => {
                for mut row in scores.rows_mut() {
                    let highest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                    row.mapv_inplace(|score| ((score - highest) / temperature).exp());
                    let sum = row.sum();
                    if sum.is_finite() && sum > 0.0 {
                        row /= sum;
                    } else {
                        row.fill(1.0 / row.len() as f64);
                    }
                }
            }
        }
        scores
    }
}

/// A trained model: everything needed to answer a request.
#[derive(Debug, Clone, PartialEq)]
pub struct Artifact {
    /// What it predicts.
    pub task: Task,
    /// Name of the target column.
    pub target: String,
    /// Linear, tree or deep.
    pub kind: ModelKind,
    /// Names of the classes in the order of the outputs; empty unless there are several.
    pub classes: Vec<String>,
    /// The preprocessing.
    pub pipeline: Pipeline,
    /// The network.
    pub graph: Graph,
    /// What makes answers of its scores.
    pub output: Output,
}

impl Artifact {
    /// Predicts `rows` rows, shape `[rows, outputs]`: the value for a regression, the probability of class 1 for a binary
    /// task, the probability of each class for a multiclass one.
    ///
    /// Columns are found by name; what is missing, NaN or of a wrong type is treated by the pipeline, so there
    /// are always finite numbers for each row.
    pub fn predict(&self, rows: usize, columns: &[Column]) -> Array2<f64> {
        self.predict_encoded(&self.pipeline.encode(rows, columns))
    }

    /// As [`Artifact::predict`], of rows that the pipeline has encoded.
    pub fn predict_encoded(&self, encoded: &Encoded) -> Array2<f64> {
        let shape = (encoded.numbers.nrows(), self.outputs());
        let scores = self
            .graph
            .scores(encoded.numbers.view(), encoded.codes.view())
            .filter(|scores| scores.dim() == shape)
            .unwrap_or_else(|| Array2::zeros(shape));
        self.output.answers(scores)
    }

    /// Predicts `rows` rows with one number each: the value, the probability of class 1, or the index of the likeliest
    /// class.
    pub fn predict_one(&self, rows: usize, columns: &[Column]) -> Vec<f64> {
        let answers = self.predict(rows, columns);
        answers
            .rows()
            .into_iter()
            .map(|row| match self.task {
                Task::Regression | Task::Binary => row.first().copied().unwrap_or_default(),
                Task::Multiclass => likeliest(row.iter().copied()) as f64,
            })
            .collect()
    }

    /// Number of outputs: one per class where there are several.
    pub fn outputs(&self) -> usize {
        match self.task {
            Task::Regression | Task::Binary => 1,
            Task::Multiclass => self.classes.len(),
        }
    }

    /// Names and kinds of the features, in order, each once.
    pub fn features(&self) -> impl Iterator<Item = (&str, FeatureKind)> {
        self.pipeline.features().into_iter()
    }
}

/// Index of the highest number, the first of equal ones.
pub fn likeliest(probabilities: impl Iterator<Item = f64>) -> usize {
    let mut best = (0, f64::NEG_INFINITY);
    for (index, probability) in probabilities.enumerate() {
        if probability > best.1 {
            best = (index, probability);
        }
    }
    best.0
}

/// SHA-256 of a file's content, in lower-case hexadecimal.
pub fn sha256(content: &[u8]) -> String {
    hex(&Sha256::digest(content))
}

/// Lower-case hexadecimal.
pub fn hex(digest: &[u8]) -> String {
    digest.iter().fold(String::with_capacity(2 * digest.len()), |mut text, byte| {
        // Writing to a string cannot fail.
        write!(text, "{byte:02x}").unwrap_or_default();
        text
    })
}

/// The logistic function, without overflow.
pub fn sigmoid(score: f64) -> f64 {
    if score >= 0.0 {
        1.0 / (1.0 + (-score).exp())
    } else {
        let odds = score.exp();
        odds / (1.0 + odds)
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
