//! A model as ONNX: raw features in, predictions out, preprocessing included.
//!
//! Every feature is an input of its own, shape `[rows, 1]`: numbers as `double` (NaN is missing), categories as `string`
//! (what the model has not seen, and the empty text, count as unknown), truth values as `bool`. Preprocessing and linear
//! models compute in 64 bits, as driftline does; networks in 32, which they were trained in.

use std::collections::BTreeMap;

use prost::Message;

use self::builder::{Attr, Builder, ML, Real, Val};
use self::proto::{ElementType, ModelProto, OperatorSetIdProto, StringStringEntryProto};
use super::{About, ExportError, PREDICTION, input_names};
use crate::model::FeatureKind;
use crate::retrain::artifact::{Artifact, Layer, ModelKind};
use crate::retrain::pipeline::Step;
use crate::retrain::spec::Task;

mod builder;
pub mod proto;

/// Version of the standard operators: the first with all that is used, so that old runtimes load it too.
const OPSET: i64 = 17;

/// Version of the operators of classical machine learning.
const ML_OPSET: i64 = 3;

/// Version of the container that goes with [`OPSET`].
const IR_VERSION: i64 = 8;

/// Largest magnitude of a quantised weight: 7 bits, since processors without VNNI add two products of unsigned and signed
/// bytes in 16 bits, which 8 bits would saturate.
const MAX_BYTE: f64 = 63.0;

/// Weights below which a layer is not quantised: it would gain nothing and lose accuracy.
const MIN_QUANTISED: usize = 256;

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
    let names = input_names(artifact)?;
    let doc = format!("{} model `{}`, target `{}`", artifact.kind.as_str(), about.model, artifact.target);
    let mut graph = Builder::new("driftline", doc.clone());
    let encoded = preprocess(&mut graph, artifact, &names);
    let real = match (artifact.kind, precision) {
        (ModelKind::Linear, _) => Real::Double,
        (ModelKind::Deep, Precision::Half) => Real::Half,
        (ModelKind::Deep, _) => Real::Single,
    };
    let mut x = if real == Real::Double { encoded } else { graph.cast(&encoded, real.element()) };
    for (index, layer) in artifact.layers.iter().enumerate() {
        if index > 0 {
            x = graph.op("Relu", &[&x]);
        }
        let is_last = index + 1 == artifact.layers.len();
        x = if precision == Precision::Int8
            && real == Real::Single
            && !is_last
            && layer.weight.len() >= MIN_QUANTISED
        {
            dense_quantised(&mut graph, &x, layer)
        } else {
            dense(&mut graph, &x, layer, real)
        };
    }
    let scores = if real == Real::Double { x } else { graph.cast(&x, ElementType::Double) };
    let answer = finish(&mut graph, artifact, &scores);
    let said = match artifact.task {
        Task::Binary => "probability of class 1",
        Task::Regression => "predicted value",
    };
    graph.output(&answer, PREDICTION, ElementType::Double, 1, said);

    let mut properties = BTreeMap::from([
        ("driftline.model".to_owned(), about.model.clone()),
        ("driftline.artifact_sha256".to_owned(), about.artifact_sha256.clone()),
        ("driftline.kind".to_owned(), artifact.kind.as_str().to_owned()),
        ("driftline.target".to_owned(), artifact.target.clone()),
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

/// The inputs and their encoding, shape `[rows, width]`, 64 bits, every cell finite.
fn preprocess(graph: &mut Builder, artifact: &Artifact, names: &[String]) -> Val {
    let mut parts = Vec::new();
    let mut run = Numbers::default();
    for (step, name) in artifact.pipeline.steps.iter().zip(names) {
        match step {
            Step::Numeric { mean, scale, .. } => {
                let input = graph.input(name, ElementType::Double, 1, "a number; NaN is missing");
                run.push(input, *mean, *scale);
            }
            Step::OneHot { kind, levels, .. } => {
                parts.extend(run.finish(graph));
                let cells = one_hot(graph, name, *kind, levels);
                parts.extend(cells);
            }
        }
    }
    parts.extend(run.finish(graph));
    graph.concat(&parts, 1)
}

/// Numeric features side by side, which are standardised together.
#[derive(Default)]
struct Numbers {
    inputs: Vec<Val>,
    means: Vec<f64>,
    scales: Vec<f64>,
}

impl Numbers {
    fn push(&mut self, input: Val, mean: f64, scale: f64) {
        self.inputs.push(input);
        self.means.push(mean);
        self.scales.push(scale);
    }

    /// `(x − mean) / scale`, and 0 where that is not finite or the scale is 0.
    fn finish(&mut self, graph: &mut Builder) -> Option<Val> {
        let Self { inputs, means, scales } = std::mem::take(self);
        if inputs.is_empty() {
            return None;
        }
        let joined = graph.concat(&inputs, 1);
        let shape = [1, means.len()];
        // A constant column divides by infinity, which gives 0, or NaN for an infinite value, which becomes 0.
        let divisors: Vec<f64> =
            scales.iter().map(|&scale| if scale > 0.0 { scale } else { f64::INFINITY }).collect();
        let means = graph.reals(Real::Double, &shape, &means);
        let divisors = graph.reals(Real::Double, &shape, &divisors);
        let centred = graph.op("Sub", &[&joined, &means]);
        let standardised = graph.op("Div", &[&centred, &divisors]);
        Some(finite_or(graph, &standardised, 0.0))
    }
}

/// `value` where it is finite, else `other`. Comparing with NaN is false, so that one comparison finds all.
fn finite_or(graph: &mut Builder, value: &Val, other: f64) -> Val {
    let infinity = graph.reals(Real::Double, &[], &[f64::INFINITY]);
    let other = graph.reals(Real::Double, &[], &[other]);
    let size = graph.op("Abs", &[value]);
    let is_finite = graph.op("Less", &[&size, &infinity]);
    graph.op("Where", &[&is_finite, value, &other])
}

/// One column per level; none when there is no level.
fn one_hot(graph: &mut Builder, name: &str, kind: FeatureKind, levels: &[String]) -> Option<Val> {
    if kind == FeatureKind::Boolean {
        let input = graph.input(name, ElementType::Bool, 1, "true or false");
        let cells: Vec<Val> = levels
            .iter()
            .map(|level| match level.as_str() {
                "true" => graph.cast(&input, ElementType::Double),
                _ => {
                    let opposite = graph.op("Not", &[&input]);
                    graph.cast(&opposite, ElementType::Double)
                }
            })
            .collect();
        return (!cells.is_empty()).then(|| graph.concat(&cells, 1));
    }
    let input = graph.input(name, ElementType::String, 1, "a category as text; unknown ones are all zero");
    if levels.is_empty() {
        return None;
    }
    let codes = codes(graph, &input, levels);
    let numbers: Vec<i64> = (0..).take(levels.len()).collect();
    let known = graph.integers(&[1, levels.len()], &numbers);
    let is_level = graph.op("Equal", &[&codes, &known]);
    Some(graph.cast(&is_level, ElementType::Double))
}

/// The position of each text in `levels`, −1 where it is not there.
fn codes(graph: &mut Builder, input: &Val, levels: &[String]) -> Val {
    graph.node(
        ML,
        "LabelEncoder",
        &[input],
        vec![
            ("keys_strings", Attr::Texts(levels.to_vec())),
            ("values_int64s", Attr::Ints((0..).take(levels.len()).collect())),
            ("default_int64", Attr::Int(-1)),
        ],
    )
}

/// `x Wᵀ + b`.
fn dense(graph: &mut Builder, x: &Val, layer: &Layer, real: Real) -> Val {
    let (outputs, inputs) = layer.weight.dim();
    // Transposed once here, as ONNX multiplies rows by columns.
    let weight: Vec<f64> = layer.weight.t().iter().copied().collect();
    let weight = graph.reals(real, &[inputs, outputs], &weight);
    let bias = graph.reals(real, &[outputs], &layer.bias.to_vec());
    let product = graph.op("MatMul", &[x, &weight]);
    graph.op("Add", &[&product, &bias])
}

/// The same with weights in 8 bits, a scale per unit, and activations quantised at run time.
fn dense_quantised(graph: &mut Builder, x: &Val, layer: &Layer) -> Val {
    let (outputs, inputs) = layer.weight.dim();
    let scales: Vec<f64> = layer
        .weight
        .rows()
        .into_iter()
        .map(|unit| {
            let largest = unit.iter().fold(0.0_f64, |largest, weight| largest.max(weight.abs()));
            if largest > 0.0 { largest / MAX_BYTE } else { 1.0 }
        })
        .collect();
    let mut bytes = Vec::with_capacity(inputs * outputs);
    for input in layer.weight.columns() {
        bytes.extend(input.iter().zip(&scales).map(|(weight, scale)| byte(weight / scale)));
    }
    let weight = graph.bytes(&[inputs, outputs], &bytes);
    let scales = graph.reals(Real::Single, &[1, outputs], &scales);
    let bias = graph.reals(Real::Single, &[outputs], &layer.bias.to_vec());
    let [quantised, scale, zero] = graph.many("DynamicQuantizeLinear", &[x]);
    let product = graph.op("MatMulInteger", &[&quantised, &weight, &zero]);
    let product = graph.cast(&product, ElementType::Float);
    let scale = graph.op("Mul", &[&scale, &scales]);
    let product = graph.op("Mul", &[&product, &scale]);
    graph.op("Add", &[&product, &bias])
}

/// A quantised weight.
#[expect(clippy::cast_possible_truncation, reason = "clamped to seven bits before")]
fn byte(weight: f64) -> i8 {
    weight.round().clamp(-MAX_BYTE, MAX_BYTE) as i8
}

/// From scores to what is answered.
fn finish(graph: &mut Builder, artifact: &Artifact, scores: &Val) -> Val {
    match artifact.task {
        Task::Binary => {
            let probability = graph.op("Sigmoid", &[scores]);
            finite_or(graph, &probability, 0.0)
        }
        Task::Regression => {
            let scale = graph.reals(Real::Double, &[], &[artifact.target_scale]);
            let mean = graph.reals(Real::Double, &[], &[artifact.target_mean]);
            let scaled = graph.op("Mul", &[scores, &scale]);
            let answer = graph.op("Add", &[&scaled, &mean]);
            finite_or(graph, &answer, artifact.target_mean)
        }
    }
}
