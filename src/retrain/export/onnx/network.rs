//! The network of an artifact as ONNX, block by block.

use ndarray::Axis;

use super::builder::{Attr, Builder, Real, Val, dimension};
use super::preprocess::Encoded;
use super::proto::ElementType;
use super::{MIN_QUANTISED, Precision};
use crate::retrain::artifact::{Attention, Block, Embedding, Graph, Input as Entry, Layer, Node, Tree};

/// Largest magnitude of a quantised weight: 7 bits, since processors without VNNI add two products of unsigned and signed
/// bytes in 16 bits, which 8 bits would saturate.
const MAX_BYTE: f64 = 63.0;

/// How the network computes.
#[derive(Clone, Copy)]
pub(super) struct Style {
    pub(super) real: Real,
    pub(super) precision: Precision,
}

/// The scores, in the style's numbers.
pub(super) fn scores(graph: &mut Builder, network: &Graph, encoded: &Encoded, style: Style) -> Val {
    let mut x = enter(graph, &network.input, encoded, style.real);
    let last = network.blocks.iter().rposition(|block| matches!(block, Block::Dense(_)));
    for (at, block) in network.blocks.iter().enumerate() {
        // The last layer decides alone what is answered, and has few weights.
        let style = if Some(at) == last { Style { precision: Precision::Full, ..style } } else { style };
        x = apply(graph, block, &x, style);
    }
    x
}

fn enter(graph: &mut Builder, input: &Entry, encoded: &Encoded, real: Real) -> Val {
    let numbers = encoded.numbers.as_ref().map(|numbers| {
        if real == Real::Double { numbers.clone() } else { graph.cast(numbers, real.element()) }
    });
    match input {
        Entry::Flat { embeddings } => {
            let mut parts: Vec<Val> = numbers.into_iter().collect();
            for (embedding, code) in embeddings.iter().zip(&encoded.codes) {
                parts.push(embed(graph, embedding, code, real));
            }
            graph.concat(&parts, 1)
        }
        Entry::Tokens { groups, weight, bias, embeddings, cls } => {
            let columns = cls.len();
            let mut tokens = Vec::new();
            if let Some(rows) = &encoded.rows {
                tokens.push(first_token(graph, rows, &cls.to_vec(), real));
            }
            let mut column = 0;
            let mut group = 0;
            while let (Some(numbers), Some(&width)) = (&numbers, groups.get(group)) {
                // Single numbers next to each other become tokens together.
                let single = groups[group..].iter().take_while(|width| **width == 1).count();
                let (taken, made) = if single > 0 { (single, single) } else { (width, 1) };
                let part = slice(graph, numbers, column, column + taken);
                let rows: Vec<f64> =
                    weight.slice_axis(Axis(0), (column..column + taken).into()).iter().copied().collect();
                let starts: Vec<f64> =
                    bias.slice_axis(Axis(0), (group..group + made).into()).iter().copied().collect();
                let starts = graph.reals(real, &[1, made, columns], &starts);
                let spread = if single > 0 {
                    let axes = graph.integers(&[1], &[2]);
                    let part = graph.op("Unsqueeze", &[&part, &axes]);
                    let weight = graph.reals(real, &[1, made, columns], &rows);
                    graph.op("Mul", &[&part, &weight])
                } else {
                    let weight = graph.reals(real, &[taken, columns], &rows);
                    let part = graph.op("MatMul", &[&part, &weight]);
                    let axes = graph.integers(&[1], &[1]);
                    graph.op("Unsqueeze", &[&part, &axes])
                };
                tokens.push(graph.op("Add", &[&spread, &starts]));
                column += taken;
                group += made;
            }
            for (at, (embedding, code)) in embeddings.iter().zip(&encoded.codes).enumerate() {
                let row = embed(graph, embedding, code, real);
                let start = bias.row(groups.len() + at).to_vec();
                let start = graph.reals(real, &[1, columns], &start);
                let row = graph.op("Add", &[&row, &start]);
                let axes = graph.integers(&[1], &[1]);
                tokens.push(graph.op("Unsqueeze", &[&row, &axes]));
            }
            graph.concat(&tokens, 1)
        }
    }
}

/// The token that belongs to no feature, for each row: shape `[rows, 1, columns]`.
fn first_token(graph: &mut Builder, rows: &Val, cls: &[f64], real: Real) -> Val {
    let count = graph.node("", "Shape", &[rows], vec![("start", Attr::Int(0)), ("end", Attr::Int(1))]);
    let rest = graph.integers(&[2], &[1, dimension(cls.len())]);
    let shape = graph.concat(&[count, rest], 0);
    let cls = graph.reals(real, &[1, 1, cls.len()], cls);
    graph.op("Expand", &[&cls, &shape])
}

/// The row of each code, shape `[rows, dimensions]`.
fn embed(graph: &mut Builder, embedding: &Embedding, code: &Val, real: Real) -> Val {
    let weights: Vec<f64> = embedding.weight.iter().copied().collect();
    let shape = [embedding.weight.nrows(), embedding.weight.ncols()];
    let table = graph.reals(real, &shape, &weights);
    let axes = graph.integers(&[1], &[1]);
    let code = graph.op("Squeeze", &[code, &axes]);
    graph.op("Gather", &[&table, &code])
}

fn slice(graph: &mut Builder, value: &Val, start: usize, end: usize) -> Val {
    let bounds = [start, end, 1].map(|bound| graph.integers(&[1], &[dimension(bound)]));
    let [start, end, axis] = &bounds;
    graph.op("Slice", &[value, start, end, axis])
}

fn apply(graph: &mut Builder, block: &Block, x: &Val, style: Style) -> Val {
    let Style { real, .. } = style;
    match block {
        Block::Dense(layer) => dense(graph, x, layer, style),
        Block::Relu => graph.op("Relu", &[x]),
        Block::Gelu => {
            let number = |graph: &mut Builder, number| graph.reals(real, &[], &[number]);
            let root = number(graph, std::f64::consts::FRAC_1_SQRT_2);
            let (one, half) = (number(graph, 1.0), number(graph, 0.5));
            let scaled = graph.op("Mul", &[x, &root]);
            let error = graph.op("Erf", &[&scaled]);
            let share = graph.op("Add", &[&error, &one]);
            let product = graph.op("Mul", &[x, &share]);
            graph.op("Mul", &[&product, &half])
        }
        Block::LayerNorm(norm) => {
            let gain = graph.reals(real, &[norm.gain.len()], &norm.gain.to_vec());
            let bias = graph.reals(real, &[norm.bias.len()], &norm.bias.to_vec());
            #[expect(clippy::cast_possible_truncation, reason = "the attribute has 32 bits")]
            let epsilon = norm.epsilon as f32;
            let attributes = vec![("axis", Attr::Int(-1)), ("epsilon", Attr::Float(epsilon))];
            graph.node("", "LayerNormalization", &[x, &gain, &bias], attributes)
        }
        Block::BatchNorm(norm) => {
            // The statistics do not change any more, so that it is one factor and one term.
            let factor = &norm.gain / &norm.variance.mapv(|variance| (variance + norm.epsilon).sqrt());
            let term = &norm.bias - &(&norm.mean * &factor);
            let factor = graph.reals(real, &[factor.len()], &factor.to_vec());
            let term = graph.reals(real, &[term.len()], &term.to_vec());
            let scaled = graph.op("Mul", &[x, &factor]);
            graph.op("Add", &[&scaled, &term])
        }
        Block::Residual { blocks } => {
            let mut inner = x.clone();
            for block in blocks {
                inner = apply(graph, block, &inner, style);
            }
            graph.op("Add", &[x, &inner])
        }
        Block::Attention(attention) => attend(graph, attention, x, style),
        Block::Cls => {
            let first = graph.integers(&[], &[0]);
            graph.node("", "Gather", &[x, &first], vec![("axis", Attr::Int(1))])
        }
        Block::Tree(tree) => decide(graph, tree, x, real),
    }
}

/// `x Wᵀ + b`.
fn dense(graph: &mut Builder, x: &Val, layer: &Layer, style: Style) -> Val {
    if style.precision == Precision::Int8 && style.real == Real::Single && layer.weight.len() >= MIN_QUANTISED
    {
        return dense_quantised(graph, x, layer);
    }
    let (outputs, inputs) = layer.weight.dim();
    // Transposed once here, as ONNX multiplies rows by columns.
    let weight: Vec<f64> = layer.weight.t().iter().copied().collect();
    let weight = graph.reals(style.real, &[inputs, outputs], &weight);
    let bias = graph.reals(style.real, &[outputs], &layer.bias.to_vec());
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
    let scales = graph.reals(Real::Single, &[outputs], &scales);
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

/// Multi-head attention over tokens of shape `[rows, tokens, columns]`.
fn attend(graph: &mut Builder, attention: &Attention, x: &Val, style: Style) -> Val {
    let columns = attention.query.bias.len();
    let width = columns / attention.heads.max(1);
    // 0 keeps an axis as it is.
    let split = graph.integers(&[4], &[0, 0, dimension(attention.heads), dimension(width)]);
    let heads = |graph: &mut Builder, layer: &Layer, order: [i64; 4]| {
        let made = dense(graph, x, layer, style);
        let made = graph.op("Reshape", &[&made, &split]);
        graph.node("", "Transpose", &[&made], vec![("perm", Attr::Ints(order.to_vec()))])
    };
    let query = heads(graph, &attention.query, [0, 2, 1, 3]);
    let key = heads(graph, &attention.key, [0, 2, 3, 1]);
    let value = heads(graph, &attention.value, [0, 2, 1, 3]);
    let scale = graph.reals(style.real, &[], &[1.0 / (width as f64).sqrt()]);
    let scores = graph.op("MatMul", &[&query, &key]);
    let scores = graph.op("Mul", &[&scores, &scale]);
    let weights = graph.node("", "Softmax", &[&scores], vec![("axis", Attr::Int(-1))]);
    let mixed = graph.op("MatMul", &[&weights, &value]);
    let mixed = graph.node("", "Transpose", &[&mixed], vec![("perm", Attr::Ints(vec![0, 2, 1, 3]))]);
    let joined = graph.integers(&[3], &[0, 0, dimension(columns)]);
    let mixed = graph.op("Reshape", &[&mixed, &joined]);
    dense(graph, &mixed, &attention.output, style)
}

/// A tree as two products of matrices.
fn decide(graph: &mut Builder, tree: &Tree, x: &Val, real: Real) -> Val {
    let paths = Paths::of(tree);
    let (splits, leaves) = (paths.columns.len(), paths.lefts.len());
    let scores = graph.reals(real, &[leaves, paths.outputs], &paths.scores);
    let columns: Vec<i64> = paths.columns.iter().map(|&column| dimension(column)).collect();
    let columns = graph.integers(&[splits], &columns);
    let thresholds = graph.reals(real, &[1, splits], &paths.thresholds);
    let turns = graph.reals(real, &[splits, leaves], &paths.turns);
    let lefts = graph.reals(real, &[1, leaves], &paths.lefts);
    let asked = graph.node("", "Gather", &[x, &columns], vec![("axis", Attr::Int(1))]);
    let is_left = graph.op("LessOrEqual", &[&asked, &thresholds]);
    let is_left = graph.cast(&is_left, real.element());
    let taken = graph.op("MatMul", &[&is_left, &turns]);
    let is_leaf = graph.op("Equal", &[&taken, &lefts]);
    let is_leaf = graph.cast(&is_leaf, real.element());
    graph.op("MatMul", &[&is_leaf, &scores])
}

/// A tree without its pointers: a row is in the leaf for which `Σ left · turns` is the number of left turns to it.
///
/// # Source
///
/// Nakandala et al. (2020), "A tensor compiler for unified machine learning prediction serving", section 4.1.
pub(in crate::retrain::export) struct Paths {
    /// Column of each split.
    pub(in crate::retrain::export) columns: Vec<usize>,
    /// Threshold of each split.
    pub(in crate::retrain::export) thresholds: Vec<f64>,
    /// Shape `[splits, leaves]`: 1 where the way to the leaf turns left, −1 where it turns right, else 0.
    pub(in crate::retrain::export) turns: Vec<f64>,
    /// Left turns on the way to each leaf.
    pub(in crate::retrain::export) lefts: Vec<f64>,
    /// Shape `[leaves, outputs]`.
    pub(in crate::retrain::export) scores: Vec<f64>,
    /// Scores per leaf.
    pub(in crate::retrain::export) outputs: usize,
}

impl Paths {
    pub(in crate::retrain::export) fn of(tree: &Tree) -> Self {
        let mut made = Self {
            columns: Vec::new(),
            thresholds: Vec::new(),
            turns: Vec::new(),
            lefts: Vec::new(),
            scores: Vec::new(),
            outputs: 0,
        };
        let mut ways = Vec::new();
        // Which node to see, and the turns so far. A walk ends, as children come after their parents.
        let mut waiting = vec![(0_usize, Vec::<(usize, f64)>::new())];
        while let Some((at, way)) = waiting.pop() {
            match tree.nodes.get(at) {
                Some(Node::Split { column, threshold, left, right }) => {
                    let split = made.columns.len();
                    made.columns.push(*column);
                    made.thresholds.push(*threshold);
                    for (child, turn) in [(*right, -1.0), (*left, 1.0)] {
                        let mut way = way.clone();
                        way.push((split, turn));
                        waiting.push((child, way));
                    }
                }
                Some(Node::Leaf { scores }) => {
                    made.outputs = scores.len();
                    made.scores.extend(scores);
                    ways.push(way);
                }
                None => {}
            }
        }
        if made.columns.is_empty() {
            // A single leaf: a split that nobody's way depends on.
            made.columns.push(0);
            made.thresholds.push(0.0);
        }
        let leaves = ways.len();
        made.turns = vec![0.0; made.columns.len() * leaves];
        for (leaf, way) in ways.iter().enumerate() {
            for (split, turn) in way {
                made.turns[split * leaves + leaf] = *turn;
            }
            made.lefts.push(way.iter().filter(|(_, turn)| *turn > 0.0).count() as f64);
        }
        made
    }
}
