//! The file of an artifact: a safetensors container with a JSON document, in every version that was ever written.

use std::collections::HashMap;

use ndarray::{Array1, Array2};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};

use super::graph::wrong;
use super::{Artifact, ArtifactError, DOCUMENT_KEY, Graph, Layer, Link, ModelKind, Output, Slot};
use crate::retrain::pipeline::{Pipeline, Step};
use crate::retrain::spec::Task;

/// Version of the file format that this build writes; it reads every version up to this one.
pub const FORMAT: u32 = 2;

/// The readable part of a file of format 2.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    format: u32,
    kind: ModelKind,
    task: Task,
    target: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    classes: Vec<String>,
    link: Link,
    pipeline: Pipeline,
    graph: Graph,
}

/// The readable part of a file of format 1: dense layers with ReLU between them, and one output.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FirstDocument {
    #[serde(rename = "format")]
    _format: u32,
    kind: ModelKind,
    task: Task,
    target: String,
    /// Units of each layer, the single output included.
    layers: Vec<usize>,
    pipeline: Pipeline,
}

/// A tensor on its way into a file.
type Stored = (String, Vec<usize>, Dtype, Vec<u8>);

impl Artifact {
    /// The file's content. The same artifact always gives the same bytes.
    ///
    /// # Errors
    ///
    /// [`ArtifactError`] when the parts do not fit together or hold a number that is not finite.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ArtifactError> {
        self.check()?;
        let document = Document {
            format: FORMAT,
            kind: self.kind,
            task: self.task,
            target: self.target.clone(),
            classes: self.classes.clone(),
            link: self.output.link,
            pipeline: self.pipeline.clone(),
            graph: self.graph.clone(),
        };
        let document =
            serde_json::to_string(&document).map_err(|error| ArtifactError::Document(error.to_string()))?;
        let Output { offset, scale, temperature, .. } = self.output;
        let mut tensors: Vec<Stored> = vec![stored("output", vec![3], &[offset, scale, temperature])];
        for (at, step) in self.pipeline.steps.iter().enumerate() {
            let numbers = step.numbers();
            if !numbers.is_empty() {
                tensors.push(stored(&format!("step.{at}"), vec![numbers.len()], &numbers));
            }
        }
        self.graph.clone().visit(&mut |name, slot| {
            let (shape, numbers): (Vec<usize>, Vec<f64>) = match slot {
                Slot::Vector(vector) => (vec![vector.len()], vector.iter().copied().collect()),
                Slot::Matrix(matrix) => (matrix.shape().to_vec(), matrix.iter().copied().collect()),
            };
            tensors.push(stored(&name, shape, &numbers));
            Ok::<(), ArtifactError>(())
        })?;
        let mut views = Vec::with_capacity(tensors.len());
        for (name, shape, kind, data) in &tensors {
            let view = TensorView::new(*kind, shape.clone(), data)
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
        let unread = |error: serde_json::Error| ArtifactError::Document(error.to_string());
        let value: serde_json::Value = serde_json::from_str(text).map_err(unread)?;
        let tensors = SafeTensors::deserialize(content).map_err(container)?;
        let artifact = match value.get("format").and_then(serde_json::Value::as_u64).unwrap_or(0) {
            1 => first(serde_json::from_value(value).map_err(unread)?, &tensors)?,
            2 => second(serde_json::from_value(value).map_err(unread)?, &tensors)?,
            other => {
                return Err(ArtifactError::Format { found: u32::try_from(other).unwrap_or(u32::MAX) });
            }
        };
        artifact.check()?;
        Ok(artifact)
    }

    /// Whether the parts fit together, so that a prediction always has its numbers.
    fn check(&self) -> Result<(), ArtifactError> {
        let outputs = self.graph.outputs(self.pipeline.width(), &self.pipeline.cardinalities())?;
        let wanted = self.outputs();
        if outputs != wanted || wanted == 0 {
            return Err(wrong("graph.blocks", format!("the last block has {outputs} outputs, not {wanted}")));
        }
        let link_fits = match self.task {
            Task::Regression => matches!(self.output.link, Link::Identity | Link::Exp),
            Task::Binary => self.output.link == Link::Sigmoid,
            Task::Multiclass => self.output.link == Link::Softmax,
        };
        if !link_fits {
            let problem = format!("link {:?} is none of a {:?} task", self.output.link, self.task);
            return Err(wrong("output", problem));
        }
        let Output { offset, scale, temperature, .. } = self.output;
        if !(offset.is_finite() && scale.is_finite() && temperature.is_finite() && temperature > 0.0) {
            return Err(wrong("output", "it is not finite".to_owned()));
        }
        if let Some((at, problem)) = self.pipeline.problem() {
            return Err(wrong(format!("step.{at}"), problem.to_owned()));
        }
        self.graph.clone().visit(&mut |name, slot| {
            let is_finite = match slot {
                Slot::Vector(vector) => vector.iter().all(|number| number.is_finite()),
                Slot::Matrix(matrix) => matrix.iter().all(|number| number.is_finite()),
            };
            if is_finite { Ok(()) } else { Err(wrong(name, "a weight is not finite".to_owned())) }
        })
    }
}

/// Reads format 2.
fn second(document: Document, tensors: &SafeTensors<'_>) -> Result<Artifact, ArtifactError> {
    let Document { kind, task, target, classes, link, mut pipeline, mut graph, .. } = document;
    for (at, step) in pipeline.steps.iter_mut().enumerate() {
        let name = format!("step.{at}");
        let numbers = match tensors.tensor(&name) {
            Ok(_) => read(tensors, &name)?.1,
            Err(_) => Vec::new(),
        };
        if !step.set_numbers(&numbers) {
            let problem = format!("{} numbers are not what step `{}` needs", numbers.len(), step.name());
            return Err(wrong(name, problem));
        }
    }
    graph.visit(&mut |name, slot| {
        let (shape, numbers) = read(tensors, &name)?;
        match (slot, shape.as_slice()) {
            (Slot::Vector(vector), [_]) => *vector = Array1::from_vec(numbers),
            (Slot::Matrix(matrix), &[rows, columns]) => {
                *matrix = Array2::from_shape_vec((rows, columns), numbers)
                    .map_err(|error| wrong(name, error.to_string()))?;
            }
            (_, shape) => return Err(wrong(name, format!("its shape is {shape:?}"))),
        }
        Ok(())
    })?;
    let (_, numbers) = read(tensors, "output")?;
    let &[offset, scale, temperature] = numbers.as_slice() else {
        return Err(wrong("output", format!("it has {} numbers, not 3", numbers.len())));
    };
    let output = Output { link, offset, scale, temperature };
    Ok(Artifact { task, target, kind, classes, pipeline, graph, output })
}

/// Reads format 1.
fn first(document: FirstDocument, tensors: &SafeTensors<'_>) -> Result<Artifact, ArtifactError> {
    let FirstDocument { kind, task, target, layers: units, mut pipeline, .. } = document;
    let of_shape = |name: &str, wanted: &[usize]| {
        let (shape, numbers) = read(tensors, name)?;
        if shape == wanted {
            return Ok(numbers);
        }
        Err(wrong(name, format!("its shape is {shape:?}, not {wanted:?}")))
    };
    let numeric = pipeline.steps.iter().filter(|step| matches!(step, Step::Numeric { .. })).count();
    let means = of_shape("numeric.mean", &[numeric])?;
    let scales = of_shape("numeric.scale", &[numeric])?;
    let mut numbers = means.into_iter().zip(scales);
    for step in &mut pipeline.steps {
        let numbers: Vec<f64> = match step {
            Step::Numeric { .. } => {
                numbers.next().into_iter().flat_map(|(mean, scale)| [mean, scale]).collect()
            }
            _ => Vec::new(),
        };
        if !step.set_numbers(&numbers) {
            return Err(wrong("numeric.mean", format!("step `{}` is not one of format 1", step.name())));
        }
    }
    let mut layers = Vec::with_capacity(units.len());
    let mut inputs = pipeline.width();
    for (index, &units) in units.iter().enumerate() {
        let name = format!("layer.{index}.weight");
        let weight = Array2::from_shape_vec((units, inputs), of_shape(&name, &[units, inputs])?)
            .map_err(|error| wrong(name, error.to_string()))?;
        let bias = Array1::from_vec(of_shape(&format!("layer.{index}.bias"), &[units])?);
        layers.push(Layer { weight, bias });
        inputs = units;
    }
    let target_scaling = of_shape("target", &[2])?;
    let &[offset, scale] = target_scaling.as_slice() else {
        return Err(wrong("target", "it has not 2 numbers".to_owned()));
    };
    let output = match task {
        Task::Regression => Output { offset, scale, ..Output::plain(Link::Identity) },
        Task::Binary | Task::Multiclass => Output::plain(Link::Sigmoid),
    };
    let graph = Graph::dense(layers);
    Ok(Artifact { task, target, kind, classes: Vec::new(), pipeline, graph, output })
}

/// A tensor as it is written: in half the space where no bit is lost by it.
fn stored(name: &str, shape: Vec<usize>, numbers: &[f64]) -> Stored {
    #[expect(clippy::cast_possible_truncation, reason = "whether it loses anything is what is asked")]
    let short: Vec<f32> = numbers.iter().map(|&number| number as f32).collect();
    let is_exact =
        short.iter().zip(numbers).all(|(short, number)| f64::from(*short).to_bits() == number.to_bits());
    if is_exact {
        let data = short.iter().flat_map(|number| number.to_le_bytes()).collect();
        (name.to_owned(), shape, Dtype::F32, data)
    } else {
        let data = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        (name.to_owned(), shape, Dtype::F64, data)
    }
}

/// Shape and numbers of tensor `name`.
fn read(tensors: &SafeTensors<'_>, name: &str) -> Result<(Vec<usize>, Vec<f64>), ArtifactError> {
    let view = tensors.tensor(name).map_err(|_| wrong(name, "it is absent".to_owned()))?;
    let numbers = match view.dtype() {
        Dtype::F64 => view
            .data()
            .chunks_exact(8)
            .map(|chunk| f64::from_le_bytes(chunk.try_into().unwrap_or_default()))
            .collect(),
        Dtype::F32 => view
            .data()
            .chunks_exact(4)
            .map(|chunk| f64::from(f32::from_le_bytes(chunk.try_into().unwrap_or_default())))
            .collect(),
        other => return Err(wrong(name, format!("it holds {other:?}, not F32 or F64"))),
    };
    Ok((view.shape().to_vec(), numbers))
}
