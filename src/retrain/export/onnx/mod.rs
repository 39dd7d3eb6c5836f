//! A model as ONNX: raw features in, predictions out, preprocessing included.
//!
//! Every feature is an input of its own, shape `[rows, 1]`: numbers as `double` (NaN is missing), categories as `string`
//! (what the model has not seen, and the empty text, count as unknown), truth values as `bool`. Preprocessing and linear
//! models compute in 64 bits, as driftline does; networks in 32, which they were trained in.

use std::collections::BTreeMap;

use prost::Message;

use self::builder::{Builder, ML, Real, Val};
use self::network::Style;
use self::preprocess::finite_or;
use self::proto::{ElementType, ModelProto, OperatorSetIdProto, StringStringEntryProto};
use super::{About, ExportError, PREDICTION, inputs};
use crate::retrain::artifact::{Artifact, Link, ModelKind, Output};
use crate::retrain::spec::Task;

mod builder;
mod calendar;
pub(super) mod network;
mod preprocess;
pub mod proto;

/// Version of the standard operators: the first with all that is used, so that old runtimes load it too.
const OPSET: i64 = 17;

/// Version of the operators of classical machine learning.
const ML_OPSET: i64 = 3;

/// Version of the container that goes with [`OPSET`].
const IR_VERSION: i64 = 8;

/// Weights below which a layer is not quantised: it would gain nothing and lose accuracy.
const MIN_QUANTISED: usize = 256;

/// Key of the names of classes in the file's metadata, as JSON.
const CLASSES: &str = "driftline.classes";

/// Key of the names of inputs that are times, as JSON.
const TIMES: &str = "driftline.times";

/// What the weights of a network are written as. Linear models are always written whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// 32 bits.
    Full,
    /// 16 bits, weights and arithmetic.
    Half,
    /// Weights in 8 bits, a scale for each unit; activations are quantised when they are there (dynamically).
    Int8,
}

/// The bytes of an ONNX file.
///
/// # Errors
///
/// [`ExportError`] when a feature has a name that ONNX cannot tell from another.
pub fn write(artifact: &Artifact, about: &About, precision: Precision) -> Result<Vec<u8>, ExportError> {
    let inputs = inputs(artifact)?;
    let doc = format!("{} model `{}`, target `{}`", artifact.kind.as_str(), about.model, artifact.target);
    let mut graph = Builder::new("driftline", doc.clone());
    let encoded = preprocess::encode(&mut graph, &artifact.pipeline, &inputs);
    let real = match (artifact.kind, precision) {
        (ModelKind::Linear | ModelKind::Tree, _) => Real::Double,
        (ModelKind::Deep, Precision::Half) => Real::Half,
        (ModelKind::Deep, _) => Real::Single,
    };
    let scores = network::scores(&mut graph, &artifact.graph, &encoded, Style { real, precision });
    let scores = if real == Real::Double { scores } else { graph.cast(&scores, ElementType::Double) };
    let answers = answers(&mut graph, &scores, artifact.output);
    let said = match artifact.task {
        Task::Binary => "probability of class 1",
        Task::Multiclass => "probability of each class",
        Task::Regression => "predicted value",
    };
    graph.output(&answers, PREDICTION, ElementType::Double, artifact.outputs(), said);

    let list = |names: Vec<&str>| serde_json::Value::from(names).to_string();
    let times = inputs.iter().filter(|input| input.kind == "time").map(|input| input.name.as_str()).collect();
    let mut properties = BTreeMap::from([
        ("driftline.model".to_owned(), about.model.clone()),
        ("driftline.artifact_sha256".to_owned(), about.artifact_sha256.clone()),
        ("driftline.kind".to_owned(), artifact.kind.as_str().to_owned()),
        ("driftline.target".to_owned(), artifact.target.clone()),
        (CLASSES.to_owned(), list(artifact.classes.iter().map(String::as_str).collect())),
        (TIMES.to_owned(), list(times)),
    ]);
    properties.extend(about.version.map(|version| ("driftline.version".to_owned(), version.to_string())));
    let opset = |domain: &str, version| OperatorSetIdProto { domain: domain.to_owned(), version };
    let model = ModelProto {
        ir_version: IR_VERSION,
        producer_name: "driftline".to_owned(),
        producer_version: env!("CARGO_PKG_VERSION").to_owned(),
        domain: String::new(),
        model_version: about.version.unwrap_or(0),
        doc_string: doc,
        graph: Some(graph.finish()),
        opset_import: vec![opset("", OPSET), opset(ML, ML_OPSET)],
        metadata_props: properties
            .into_iter()
            .map(|(key, value)| StringStringEntryProto { key, value })
            .collect(),
    };
    Ok(model.encode_to_vec())
}

/// From scores to what is answered: `link(score · scale + offset)`.
fn answers(graph: &mut Builder, scores: &Val, output: Output) -> Val {
    let by = |graph: &mut Builder, operator: &str, value: &Val, number: f64| {
        let number = graph.reals(Real::Double, &[], &[number]);
        graph.op(operator, &[value, &number])
    };
    let scaled = by(graph, "Mul", scores, output.scale);
    let moved = by(graph, "Add", &scaled, output.offset);
    match output.link {
        Link::Identity => finite_or(graph, &moved, output.offset),
        Link::Exp => {
            let answers = graph.op("Exp", &[&moved]);
            finite_or(graph, &answers, f64::MAX)
        }
        Link::Sigmoid => {
            let cooled = by(graph, "Div", &moved, output.temperature);
            let answers = graph.op("Sigmoid", &[&cooled]);
            finite_or(graph, &answers, 0.5)
        }
        Link::Softmax => {
            let cooled = by(graph, "Div", &moved, output.temperature);
            graph.node("", "Softmax", &[&cooled], vec![("axis", builder::Attr::Int(-1))])
        }
    }
}
