//! A trained model as one file: preprocessing, weights and what they are for; predicts without libtorch.

use std::collections::HashMap;
use std::fmt::Write as _;

use ndarray::{Array1, Array2, Axis};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::pipeline::{Pipeline, Step};
use super::spec::Task;
use crate::model::{Column, FeatureKind};

/// Version of the file format that this build writes; it reads every version up to this one.
pub const FORMAT: u32 = 1;

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
    /// Ridge or logistic regression.
    Linear,
    /// Dense layers with ReLU between them.
    Deep,
}

impl ModelKind {
    /// The word stored in `model_version.kind`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Linear => "linear",
            Self::Deep => "deep",
        }
    }
}

/// One dense layer, `y = W x + b`.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    /// `W`, shape `[outputs, inputs]`.
    pub weight: Array2<f64>,
    /// `b`, shape `[outputs]`.
    pub bias: Array1<f64>,
}

/// A trained model: everything needed to answer a request.
#[derive(Debug, Clone, PartialEq)]
pub struct Artifact {
    /// What it predicts.
    pub task: Task,
    /// Name of the target column.
    pub target: String,
    /// Linear or deep.
    pub kind: ModelKind,
    /// The preprocessing.
    pub pipeline: Pipeline,
    /// The layers; ReLU between them, none after the last, which has one output.
    pub layers: Vec<Layer>,
    /// Mean of the target in the training part, added back to a regression's output; 0 for a binary task.
    pub target_mean: f64,
    /// Scale of the target, multiplied back before; 1 for a binary task.
    pub target_scale: f64,
}

/// The readable part of the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    format: u32,
    kind: ModelKind,
    task: Task,
    target: String,
    /// Units of each layer, the single output included.
    layers: Vec<usize>,
    pipeline: Pipeline,
}

impl Artifact {
    /// Predicts `rows` rows: the probability of class 1 for a binary task, the value for a regression.
    ///
    /// Columns are found by name; what is missing, NaN or of a wrong type is treated by the pipeline, so there
    /// is always exactly one finite number per row.
    pub fn predict(&self, rows: usize, columns: &[Column]) -> Vec<f64> {
        let encoded = self.pipeline.encode(rows, columns).numbers;
        self.scores(encoded)
            .into_iter()
            .map(|score| match self.task {
                Task::Binary => sigmoid(score),
                Task::Regression => (score * self.target_scale + self.target_mean).clamp(f64::MIN, f64::MAX),
            })
            .map(|prediction| if prediction.is_nan() { self.target_mean } else { prediction })
            .collect()
    }

    /// The output of the last layer for rows that are encoded already.
    fn scores(&self, encoded: Array2<f64>) -> Vec<f64> {
        let rows = encoded.nrows();
        let mut activation = encoded;
        for (index, layer) in self.layers.iter().enumerate() {
            if index > 0 {
                activation.mapv_inplace(|unit| unit.max(0.0));
            }
            if activation.ncols() != layer.weight.ncols() || layer.bias.len() != layer.weight.nrows() {
                return vec![0.0; rows];
            }
            activation = activation.dot(&layer.weight.t()) + &layer.bias;
        }
        if activation.ncols() == 0 {
            return vec![0.0; rows];
        }
        activation.index_axis_move(Axis(1), 0).to_vec()
    }

    /// Names and kinds of the features, in order.
    pub fn features(&self) -> impl Iterator<Item = (&str, FeatureKind)> {
        self.pipeline.features().into_iter()
    }

    /// The file's content. The same artifact always gives the same bytes.
    ///
    /// # Errors
    ///
    /// [`ArtifactError`] when the layers do not fit together or hold a number that is not finite.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ArtifactError> {
        self.check()?;
        let document = Document {
            format: FORMAT,
            kind: self.kind,
            task: self.task,
            target: self.target.clone(),
            layers: self.layers.iter().map(|layer| layer.bias.len()).collect(),
            pipeline: self.pipeline.clone(),
        };
        let document =
            serde_json::to_string(&document).map_err(|error| ArtifactError::Document(error.to_string()))?;
        let (means, scales) = self.numeric_tensors();
        let mut tensors: Vec<(String, Vec<usize>, Vec<u8>)> = vec![
            ("numeric.mean".to_owned(), vec![means.len()], bytes(&means)),
            ("numeric.scale".to_owned(), vec![scales.len()], bytes(&scales)),
            ("target".to_owned(), vec![2], bytes(&[self.target_mean, self.target_scale])),
        ];
        for (index, layer) in self.layers.iter().enumerate() {
            let weight: Vec<f64> = layer.weight.iter().copied().collect();
            let shape = vec![layer.weight.nrows(), layer.weight.ncols()];
            tensors.push((format!("layer.{index}.weight"), shape, bytes(&weight)));
            tensors.push((
                format!("layer.{index}.bias"),
                vec![layer.bias.len()],
                bytes(&layer.bias.to_vec()),
            ));
        }
        let mut views = Vec::with_capacity(tensors.len());
        for (name, shape, data) in &tensors {
            let view = TensorView::new(Dtype::F64, shape.clone(), data)
                .map_err(|error| ArtifactError::Container(error.to_string()))?;
            views.push((name.as_str(), view));
        }
        let metadata = HashMap::from([(DOCUMENT_KEY.to_owned(), document)]);
        safetensors::serialize(views, Some(metadata))
            .map_err(|error| ArtifactError::Container(error.to_string()))
    }

    /// Reads a file's content.
    ///
    /// # Errors
    ///
    /// [`ArtifactError`] says what is wrong; no bytes make this panic, and what it returns always predicts.
    pub fn from_bytes(content: &[u8]) -> Result<Self, ArtifactError> {
        let container = |error: safetensors::SafeTensorError| ArtifactError::Container(error.to_string());
        let (_, metadata) = SafeTensors::read_metadata(content).map_err(container)?;
        let text = metadata
            .metadata()
            .as_ref()
            .and_then(|entries| entries.get(DOCUMENT_KEY))
            .ok_or(ArtifactError::Foreign)?;
        let value: serde_json::Value =
            serde_json::from_str(text).map_err(|error| ArtifactError::Document(error.to_string()))?;
        let format = value.get("format").and_then(serde_json::Value::as_u64).unwrap_or(0);
        if format != u64::from(FORMAT) {
            return Err(ArtifactError::Format { found: u32::try_from(format).unwrap_or(u32::MAX) });
        }
        let document: Document =
            serde_json::from_value(value).map_err(|error| ArtifactError::Document(error.to_string()))?;
        let tensors = SafeTensors::deserialize(content).map_err(container)?;

        let mut pipeline = document.pipeline;
        let numeric = pipeline.steps.iter().filter(|step| matches!(step, Step::Numeric { .. })).count();
        let means = read(&tensors, "numeric.mean", &[numeric])?;
        let scales = read(&tensors, "numeric.scale", &[numeric])?;
        let numbers = pipeline.steps.iter_mut().filter_map(|step| match step {
            Step::Numeric { mean, scale, .. } => Some((mean, scale)),
            _ => None,
        });
        for ((mean, scale), (stored_mean, stored_scale)) in numbers.zip(means.into_iter().zip(scales)) {
            *mean = stored_mean;
            *scale = stored_scale;
        }
        let target = read(&tensors, "target", &[2])?;
        let mut layers = Vec::new();
        let mut inputs = pipeline.width();
        for (index, &units) in document.layers.iter().enumerate() {
            let name = format!("layer.{index}.weight");
            let weight = read(&tensors, &name, &[units, inputs])?;
            let weight = Array2::from_shape_vec((units, inputs), weight)
                .map_err(|error| ArtifactError::Tensor { name, problem: error.to_string() })?;
            let bias = Array1::from_vec(read(&tensors, &format!("layer.{index}.bias"), &[units])?);
            layers.push(Layer { weight, bias });
            inputs = units;
        }
        let artifact = Self {
            task: document.task,
            target: document.target,
            kind: document.kind,
            pipeline,
            layers,
            target_mean: target.first().copied().unwrap_or(0.0),
            target_scale: target.get(1).copied().unwrap_or(1.0),
        };
        artifact.check()?;
        Ok(artifact)
    }

    /// Whether the parts fit together, so that a prediction always has its number.
    fn check(&self) -> Result<(), ArtifactError> {
        let wrong = |name: String, problem: String| Err(ArtifactError::Tensor { name, problem });
        let mut inputs = self.pipeline.width();
        for (index, layer) in self.layers.iter().enumerate() {
            if layer.weight.ncols() != inputs || layer.bias.len() != layer.weight.nrows() {
                return wrong(
                    format!("layer.{index}"),
                    format!(
                        "shape {:?} with {} biases does not follow a layer of {inputs} units",
                        layer.weight.shape(),
                        layer.bias.len()
                    ),
                );
            }
            if !layer.weight.iter().chain(&layer.bias).all(|weight| weight.is_finite()) {
                return wrong(format!("layer.{index}"), "a weight is not finite".to_owned());
            }
            inputs = layer.bias.len();
        }
        if self.layers.is_empty() || inputs != 1 {
            return wrong("layer".to_owned(), format!("the last layer must have one output, not {inputs}"));
        }
        if !(self.target_mean.is_finite() && self.target_scale.is_finite()) {
            return wrong("target".to_owned(), "it is not finite".to_owned());
        }
        match self.pipeline.problem() {
            Some(problem) => wrong("pipeline".to_owned(), problem),
            None => Ok(()),
        }
    }

    /// Means and scales of the numeric steps, in order.
    fn numeric_tensors(&self) -> (Vec<f64>, Vec<f64>) {
        self.pipeline
            .steps
            .iter()
            .filter_map(|step| match step {
                Step::Numeric { mean, scale, .. } => Some((*mean, *scale)),
                _ => None,
            })
            .unzip()
    }
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

fn bytes(numbers: &[f64]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

/// The numbers of tensor `name`, which must have `shape`.
fn read(tensors: &SafeTensors<'_>, name: &str, shape: &[usize]) -> Result<Vec<f64>, ArtifactError> {
    let wrong = |problem: String| ArtifactError::Tensor { name: name.to_owned(), problem };
    let view = tensors.tensor(name).map_err(|_| wrong("it is absent".to_owned()))?;
    if view.dtype() != Dtype::F64 {
        return Err(wrong(format!("it holds {:?}, not F64", view.dtype())));
    }
    if view.shape() != shape {
        return Err(wrong(format!("its shape is {:?}, not {shape:?}", view.shape())));
    }
    Ok(view
        .data()
        .chunks_exact(8)
        .map(|chunk| f64::from_le_bytes(chunk.try_into().unwrap_or_default()))
        .collect())
}

#[cfg(test)]
mod tests {
    use ndarray::array;
    use proptest::prelude::*;

    use super::*;
    use crate::model::Value;

    /// Two features, one hidden layer of two units.
    fn deep() -> Artifact {
        Artifact {
            task: Task::Regression,
            target: "y".into(),
            kind: ModelKind::Deep,
            pipeline: Pipeline {
                steps: vec![
                    Step::standard("x", 0.1 + 0.2, 1.0 / 3.0),
                    Step::OneHot {
                        name: "c".into(),
                        kind: FeatureKind::Categorical,
                        levels: vec!["a".into()],
                    },
                ],
            },
            layers: vec![
                Layer { weight: array![[1.0, 0.5], [-1.0, 0.1]], bias: array![0.0, 0.25] },
                Layer { weight: array![[2.0, 3.0]], bias: array![1.0] },
            ],
            target_mean: 10.0,
            target_scale: 2.0,
        }
    }

    fn columns(x: Value, c: Value) -> Vec<Column> {
        vec![Column { name: "x".into(), values: vec![x] }, Column { name: "c".into(), values: vec![c] }]
    }

    #[test]
    fn predicts_what_the_layers_say() {
        // x encodes as 1, c as 1: hidden = relu(1.5, -1 + 0.1 + 0.25 = -0.65) = (1.5, 0); 2 * 1.5 + 1 = 4
        let x = 0.1 + 0.2 + 1.0 / 3.0;
        let predicted = deep().predict(1, &columns(Value::Number(x), Value::Text("a".into())));
        assert!((predicted[0] - 18.0).abs() < 1e-12, "{predicted:?}");
    }

    #[test]
    fn missing_columns_are_imputed() {
        // Both encode as 0: hidden = (0, 0.25), score = 1.75
        assert!((deep().predict(2, &[])[1] - 13.5).abs() < 1e-12);
    }

    #[test]
    fn every_bit_survives_the_file() {
        let bytes = deep().to_bytes().unwrap();
        assert_eq!(Artifact::from_bytes(&bytes).unwrap(), deep());
        assert_eq!(bytes, deep().to_bytes().unwrap());
        assert_eq!(sha256(b""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }

    #[test]
    fn foreign_and_cut_files_are_named() {
        let problem = |bytes: &[u8]| Artifact::from_bytes(bytes).unwrap_err().to_string();
        let bytes = deep().to_bytes().unwrap();
        assert!(problem(&bytes[..bytes.len() - 1]).contains("not a safetensors file"));
        assert!(problem(b"").contains("not a safetensors file"));
        let empty: Vec<(&str, TensorView<'_>)> = Vec::new();
        assert!(problem(&safetensors::serialize(empty, None).unwrap()).contains("not a driftline artifact"));
        let newer = String::from_utf8_lossy(&bytes).contains("\\\"format\\\":1");
        assert!(newer, "the document is readable in the header");
        let newer: Vec<u8> = replace(&bytes, b"\\\"format\\\":1", b"\\\"format\\\":9");
        assert!(problem(&newer).contains("format 9"), "{}", problem(&newer));
    }

    #[test]
    fn a_weight_that_is_not_finite_is_refused() {
        let mut artifact = deep();
        artifact.layers[0].bias[0] = f64::NAN;
        assert!(artifact.to_bytes().unwrap_err().to_string().contains("not finite"));
    }

    fn replace(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
        let at = bytes.windows(from.len()).position(|window| window == from).unwrap();
        [&bytes[..at], to, &bytes[at + from.len()..]].concat()
    }

    proptest! {
        #[test]
        fn no_bytes_panic(noise in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Artifact::from_bytes(&noise).is_err());
        }

        #[test]
        fn a_damaged_file_reads_or_says_why(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut bytes = deep().to_bytes().unwrap();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if let Ok(artifact) = Artifact::from_bytes(&bytes) {
                let predicted = artifact.predict(1, &columns(Value::Number(1e308), Value::Missing));
                prop_assert!(predicted.len() == 1 && predicted[0].is_finite());
            }
        }

        #[test]
        fn predictions_are_finite_and_one_per_row(x in any::<f64>(), rows in 0_usize..4) {
            let mut artifact = deep();
            let columns = [Column { name: "x".into(), values: vec![Value::Number(x); rows] }];
            prop_assert!(artifact.predict(rows, &columns).iter().all(|number| number.is_finite()));
            artifact.task = Task::Binary;
            let probabilities = artifact.predict(rows, &columns);
            prop_assert_eq!(probabilities.len(), rows);
            prop_assert!(probabilities.iter().all(|p| (0.0..=1.0).contains(p)));
        }
    }
}
