//! What a deep model looks like before it is trained: its graph, with weights drawn by the project's own generator.

use driftline::retrain::artifact::{Attention, BatchNorm, Block, Embedding, Graph, Input, Layer, Norm};
use driftline::retrain::spec::{Activation, Architecture, DeepSpec, Normalisation};
use driftline::stats::random::SplitMix64;
use ndarray::{Array1, Array2};

/// Added to variances.
const EPSILON: f64 = 1e-5;

/// Hidden layers beyond which layers of equal width become residual where nothing is said.
const PLAIN_LAYERS: usize = 3;

/// What goes in and out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Width of each group of numbers.
    pub(crate) groups: Vec<usize>,
    /// Codes of each column of codes.
    pub(crate) cardinalities: Vec<usize>,
    /// Scores per row.
    pub(crate) outputs: usize,
}

/// A fresh network; the same seed gives the same weights with every libtorch.
///
/// # Source
///
/// Weights are uniform within the root of the number of inputs, as `PyTorch`'s `Linear` draws them. FT-Transformer:
/// Gorishniy et al. (2021), arXiv:2106.11959, with normalisation before each part.
pub(crate) fn initial(spec: &DeepSpec, shape: &Shape, seed: u64) -> Graph {
    let mut draw = Draw(SplitMix64::new(seed ^ 0x5eed_0f3e));
    match spec.architecture {
        Architecture::Mlp => perceptron(spec, shape, &mut draw),
        Architecture::FtTransformer => transformer(spec, shape, &mut draw),
    }
}

/// Draws weights.
struct Draw(SplitMix64);

impl Draw {
    /// A number in `[-bound, bound)` that single precision holds exactly.
    fn uniform(&mut self, bound: f64) -> f64 {
        let unit = (self.0.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
        #[expect(clippy::cast_possible_truncation, reason = "libtorch trains in single precision")]
        let short = ((2.0 * unit - 1.0) * bound) as f32;
        f64::from(short)
    }

    fn matrix(&mut self, rows: usize, columns: usize, inputs: usize) -> Array2<f64> {
        let bound = 1.0 / (inputs.max(1) as f64).sqrt();
        Array2::from_shape_simple_fn((rows, columns), || self.uniform(bound))
    }

    fn layer(&mut self, inputs: usize, outputs: usize) -> Layer {
        let weight = self.matrix(outputs, inputs, inputs);
        let bias = self.matrix(1, outputs, inputs).into_iter().collect();
        Layer { weight, bias }
    }
}

fn perceptron(spec: &DeepSpec, shape: &Shape, draw: &mut Draw) -> Graph {
    let mut width: usize = shape.groups.iter().sum();
    let mut embeddings = Vec::with_capacity(shape.cardinalities.len());
    for &cardinality in &shape.cardinalities {
        let dimensions = spec.embedding.unwrap_or_else(|| embedding_width(cardinality));
        embeddings.push(Embedding { weight: draw.matrix(cardinality, dimensions, dimensions) });
        width += dimensions;
    }
    let is_residual = spec.residual.unwrap_or(spec.hidden.len() > PLAIN_LAYERS);
    let mut blocks = Vec::new();
    for &units in &spec.hidden {
        let mut part = vec![Block::Dense(draw.layer(width, units))];
        part.extend(normalisation(spec.norm, units));
        part.push(activation(spec.activation));
        if is_residual && units == width && !blocks.is_empty() {
            blocks.push(Block::Residual { blocks: part });
        } else {
            blocks.extend(part);
        }
        width = units;
    }
    blocks.push(Block::Dense(draw.layer(width, shape.outputs)));
    Graph { input: Input::Flat { embeddings }, blocks }
}

fn transformer(spec: &DeepSpec, shape: &Shape, draw: &mut Draw) -> Graph {
    let width = spec.attention.width;
    let numbers: usize = shape.groups.iter().sum();
    let embeddings =
        shape.cardinalities.iter().map(|&n| Embedding { weight: draw.matrix(n, width, width) }).collect();
    let input = Input::Tokens {
        groups: shape.groups.clone(),
        weight: draw.matrix(numbers, width, width),
        bias: draw.matrix(shape.groups.len() + shape.cardinalities.len(), width, width),
        embeddings,
        cls: draw.matrix(1, width, width).into_iter().collect(),
    };
    let mut blocks = Vec::new();
    for index in 0..spec.attention.blocks {
        let attention = Block::Attention(Box::new(Attention {
            heads: spec.attention.heads,
            query: draw.layer(width, width),
            key: draw.layer(width, width),
            value: draw.layer(width, width),
            output: draw.layer(width, width),
        }));
        // The tokens come in at one scale, so the first part needs no normalisation.
        let part = if index == 0 { vec![attention] } else { vec![layer_norm(width), attention] };
        blocks.push(Block::Residual { blocks: part });
        blocks.push(Block::Residual {
            blocks: vec![
                layer_norm(width),
                Block::Dense(draw.layer(width, 2 * width)),
                activation(spec.activation),
                Block::Dense(draw.layer(2 * width, width)),
            ],
        });
    }
    blocks.extend([Block::Cls, layer_norm(width), activation(spec.activation)]);
    blocks.push(Block::Dense(draw.layer(width, shape.outputs)));
    Graph { input, blocks }
}

fn activation(kind: Activation) -> Block {
    match kind {
        Activation::Relu => Block::Relu,
        Activation::Gelu => Block::Gelu,
    }
}

fn layer_norm(width: usize) -> Block {
    Block::LayerNorm(Norm { epsilon: EPSILON, gain: Array1::ones(width), bias: Array1::zeros(width) })
}

fn normalisation(kind: Normalisation, width: usize) -> Option<Block> {
    match kind {
        Normalisation::None => None,
        Normalisation::Layer => Some(layer_norm(width)),
        Normalisation::Batch => Some(Block::BatchNorm(BatchNorm {
            epsilon: EPSILON,
            mean: Array1::zeros(width),
            variance: Array1::ones(width),
            gain: Array1::ones(width),
            bias: Array1::zeros(width),
        })),
    }
}

/// Dimensions of an embedding where nothing is said: they grow with the root of the codes, from 2 to 50.
fn embedding_width(cardinality: usize) -> usize {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a root of a count is a small positive number"
    )]
    let width = (1.6 * (cardinality as f64).powf(0.56)).round() as usize;
    width.clamp(2, 50)
}
