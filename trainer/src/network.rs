//! The deep model on libtorch: built from the graph of an artifact, and given back as one.

use driftline::retrain::artifact::{Block, Graph, Input, Slot};
use tch::{Device, Kind, TchError, Tensor};

/// Share of a batch's statistics that the running ones take up.
const MOMENTUM: f64 = 0.1;

/// A network whose weights lie in one tensor, so that a step or a checkpoint handles one and not dozens.
#[derive(Debug)]
pub(crate) struct Network {
    /// What it was built from; its shape never changes.
    graph: Graph,
    /// Every trained number, one after the other.
    flat: Tensor,
    /// The trained tensors: views of `flat`, in the order in which the graph visits them.
    parameters: Vec<Tensor>,
    /// Running means and variances, in that order too.
    buffers: Vec<Tensor>,
    input: Entry,
    nodes: Vec<Node>,
    dropout: f64,
}

/// How rows enter.
#[derive(Debug)]
enum Entry {
    Flat { embeddings: Vec<Tensor> },
    Tokens { groups: Option<Tensor>, weight: Tensor, bias: Tensor, cls: Tensor, embeddings: Vec<Tensor> },
}

/// A block with its tensors.
#[derive(Debug)]
enum Node {
    Dense { weight: Tensor, bias: Tensor },
    Relu,
    Gelu,
    LayerNorm { gain: Tensor, bias: Tensor, epsilon: f64 },
    BatchNorm { gain: Tensor, bias: Tensor, mean: Tensor, variance: Tensor, epsilon: f64 },
    Residual(Vec<Self>),
    Attention { heads: i64, layers: Vec<(Tensor, Tensor)> },
    Cls,
}

/// libtorch counts with signed numbers.
pub(crate) fn size(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// The tensors of a graph, taken in the order in which it visits them.
struct Tensors {
    parameters: std::vec::IntoIter<Tensor>,
    buffers: std::vec::IntoIter<Tensor>,
}

impl Tensors {
    fn parameter(&mut self) -> Result<Tensor, TchError> {
        self.parameters.next().ok_or_else(|| TchError::Shape("the graph has too few tensors".to_owned()))
    }

    fn buffer(&mut self) -> Result<Tensor, TchError> {
        self.buffers.next().ok_or_else(|| TchError::Shape("the graph has too few statistics".to_owned()))
    }

    fn nodes(&mut self, blocks: &[Block]) -> Result<Vec<Node>, TchError> {
        let mut nodes = Vec::with_capacity(blocks.len());
        for block in blocks {
            nodes.push(match block {
                Block::Dense(_) => Node::Dense { weight: self.parameter()?, bias: self.parameter()? },
                Block::Relu => Node::Relu,
                Block::Gelu => Node::Gelu,
                Block::LayerNorm(norm) => Node::LayerNorm {
                    gain: self.parameter()?,
                    bias: self.parameter()?,
                    epsilon: norm.epsilon,
                },
                Block::BatchNorm(norm) => Node::BatchNorm {
                    gain: self.parameter()?,
                    bias: self.parameter()?,
                    mean: self.buffer()?,
                    variance: self.buffer()?,
                    epsilon: norm.epsilon,
                },
                Block::Residual { blocks } => Node::Residual(self.nodes(blocks)?),
                Block::Attention(attention) => {
                    let mut layers = Vec::with_capacity(4);
                    for _ in 0..4 {
                        layers.push((self.parameter()?, self.parameter()?));
                    }
                    Node::Attention { heads: size(attention.heads), layers }
                }
                Block::Cls => Node::Cls,
                Block::Tree(_) => {
                    return Err(TchError::Shape("a tree is not trained by gradients".to_owned()));
                }
            });
        }
        Ok(nodes)
    }

    fn many(&mut self, count: usize) -> Result<Vec<Tensor>, TchError> {
        (0..count).map(|_| self.parameter()).collect()
    }
}

/// Whether the tensor of that name is a statistic, which no gradient reaches.
fn is_buffer(name: &str) -> bool {
    matches!(name.rsplit_once('.'), Some((_, "mean" | "variance")))
}

impl Network {
    /// A network with the weights of `graph`; `dropout` is the share of units that training drops behind activations.
    pub(crate) fn new(graph: &Graph, dropout: f64, device: Device) -> Result<Self, TchError> {
        let mut numbers: Vec<f32> = Vec::new();
        let mut shapes: Vec<Vec<i64>> = Vec::new();
        let mut buffers = Vec::new();
        graph.clone().visit(&mut |name, slot| {
            let (shape, cells) = match slot {
                Slot::Vector(vector) => {
                    (vec![size(vector.len())], vector.iter().copied().collect::<Vec<_>>())
                }
                Slot::Matrix(matrix) => (
                    vec![size(matrix.nrows()), size(matrix.ncols())],
                    matrix.iter().copied().collect::<Vec<_>>(),
                ),
            };
            #[expect(clippy::cast_possible_truncation, reason = "libtorch trains in single precision")]
            let cells: Vec<f32> = cells.into_iter().map(|cell| cell as f32).collect();
            if is_buffer(&name) {
                buffers.push(Tensor::f_from_slice(&cells)?.f_to_device(device)?);
            } else {
                numbers.extend(cells);
                shapes.push(shape);
            }
            Ok::<(), TchError>(())
        })?;
        let flat = Tensor::f_from_slice(&numbers)?.f_to_device(device)?;
        let mut parameters = Vec::with_capacity(shapes.len());
        let mut start = 0;
        for shape in shapes {
            let length = shape.iter().product();
            let view = flat.f_narrow(0, start, length)?.f_view(shape.as_slice())?;
            parameters.push(view.f_detach()?.f_set_requires_grad(true)?);
            start += length;
        }
        let shallow = |tensors: &[Tensor]| tensors.iter().map(Tensor::shallow_clone).collect::<Vec<_>>();
        let mut tensors =
            Tensors { parameters: shallow(&parameters).into_iter(), buffers: shallow(&buffers).into_iter() };
        let input = match &graph.input {
            Input::Flat { embeddings } => Entry::Flat { embeddings: tensors.many(embeddings.len())? },
            Input::Tokens { groups, embeddings, .. } => Entry::Tokens {
                groups: group_matrix(groups, device)?,
                weight: tensors.parameter()?,
                bias: tensors.parameter()?,
                cls: tensors.parameter()?,
                embeddings: tensors.many(embeddings.len())?,
            },
        };
        let nodes = tensors.nodes(&graph.blocks)?;
        Ok(Self { graph: graph.clone(), flat, parameters, buffers, input, nodes, dropout })
    }

    /// Scores, shape `[rows, outputs]`; `is_training` switches dropout and batch statistics on.
    ///
    /// # Arguments
    ///
    /// * `numbers`: shape `[rows, width]`, single precision.
    /// * `codes`: shape `[rows, embedded]`, 64-bit integers.
    pub(crate) fn forward(
        &self,
        numbers: &Tensor,
        codes: &Tensor,
        is_training: bool,
    ) -> Result<Tensor, TchError> {
        let mut cells = self.input.enter(numbers, codes)?;
        for node in &self.nodes {
            cells = node.apply(&cells, self.dropout, is_training)?;
        }
        Ok(cells)
    }

    /// Every trained number, shape `[parameters]`; writing to it changes the network.
    pub(crate) fn flat(&self) -> &Tensor {
        &self.flat
    }

    /// The trained tensors.
    pub(crate) fn parameters(&self) -> &[Tensor] {
        &self.parameters
    }

    /// Running means and variances.
    pub(crate) fn buffers(&self) -> &[Tensor] {
        &self.buffers
    }

    /// Whether a batch needs more than one row.
    pub(crate) fn has_batch_statistics(&self) -> bool {
        !self.buffers.is_empty()
    }

    /// The weights as an artifact keeps them.
    pub(crate) fn graph(&self) -> Result<Graph, TchError> {
        let (mut parameters, mut buffers) = (self.parameters.iter(), self.buffers.iter());
        let mut graph = self.graph.clone();
        graph.visit(&mut |name, slot| {
            let tensor = if is_buffer(&name) { buffers.next() } else { parameters.next() };
            let tensor = tensor.ok_or_else(|| TchError::Shape(format!("`{name}` has no tensor")))?;
            let cells = numbers(tensor)?;
            match slot {
                Slot::Vector(vector) => {
                    vector.iter_mut().zip(cells).for_each(|(cell, number)| *cell = number);
                }
                Slot::Matrix(matrix) => {
                    matrix.iter_mut().zip(cells).for_each(|(cell, number)| *cell = number);
                }
            }
            Ok::<(), TchError>(())
        })?;
        Ok(graph)
    }
}

/// Which column of numbers belongs to which group, shape `[groups, columns]`; none where each is its own.
fn group_matrix(groups: &[usize], device: Device) -> Result<Option<Tensor>, TchError> {
    if groups.iter().all(|width| *width == 1) {
        return Ok(None);
    }
    let columns: usize = groups.iter().sum();
    let mut cells = vec![0.0_f32; groups.len() * columns];
    let mut column = 0;
    for (group, width) in groups.iter().enumerate() {
        let start = group * columns + column;
        cells.iter_mut().skip(start).take(*width).for_each(|cell| *cell = 1.0);
        column += width;
    }
    let matrix = Tensor::f_from_slice(&cells)?.f_view([size(groups.len()), size(columns)])?;
    Ok(Some(matrix.f_to_device(device)?))
}

impl Entry {
    fn enter(&self, numbers: &Tensor, codes: &Tensor) -> Result<Tensor, TchError> {
        let embed = |at: usize, weight: &Tensor| {
            Tensor::f_embedding(weight, &codes.f_select(1, size(at))?, -1, false, false)
        };
        match self {
            Self::Flat { embeddings } if embeddings.is_empty() => Ok(numbers.shallow_clone()),
            Self::Flat { embeddings } => {
                let mut parts = vec![numbers.shallow_clone()];
                for (at, weight) in embeddings.iter().enumerate() {
                    parts.push(embed(at, weight)?);
                }
                Tensor::f_cat(&parts, 1)
            }
            Self::Tokens { groups, weight, bias, cls, embeddings } => {
                let rows = numbers.size().first().copied().unwrap_or(0);
                let columns = cls.size().first().copied().unwrap_or(0);
                let mut parts = vec![cls.f_view([1, 1, columns])?.f_expand([rows, 1, columns], false)?];
                let split = bias.size().first().copied().unwrap_or(0) - size(embeddings.len());
                let scaled = numbers.f_unsqueeze(2)?.f_mul(&weight.f_unsqueeze(0)?)?;
                let grouped = match groups {
                    Some(groups) => groups.f_matmul(&scaled)?,
                    None => scaled,
                };
                parts.push(grouped.f_add(&bias.f_narrow(0, 0, split)?)?);
                for (at, weight) in embeddings.iter().enumerate() {
                    let token = embed(at, weight)?.f_add(&bias.f_select(0, split + size(at))?)?;
                    parts.push(token.f_unsqueeze(1)?);
                }
                Tensor::f_cat(&parts, 1)
            }
        }
    }
}

impl Node {
    fn apply(&self, cells: &Tensor, dropout: f64, is_training: bool) -> Result<Tensor, TchError> {
        let drop = |cells: Tensor| {
            if is_training && dropout > 0.0 { cells.f_dropout(dropout, true) } else { Ok(cells) }
        };
        match self {
            Self::Dense { weight, bias } => cells.f_linear(weight, Some(bias)),
            Self::Relu => drop(cells.f_relu()?),
            Self::Gelu => drop(cells.f_gelu("none")?),
            Self::LayerNorm { gain, bias, epsilon } => {
                cells.f_layer_norm(gain.size().as_slice(), Some(gain), Some(bias), *epsilon, false)
            }
            Self::BatchNorm { gain, bias, mean, variance, epsilon } => cells.f_batch_norm(
                Some(gain),
                Some(bias),
                Some(mean),
                Some(variance),
                is_training,
                MOMENTUM,
                *epsilon,
                false,
            ),
            Self::Residual(nodes) => {
                let mut inner = cells.shallow_clone();
                for node in nodes {
                    inner = node.apply(&inner, dropout, is_training)?;
                }
                cells.f_add(&inner)
            }
            Self::Attention { heads, layers } => attend(cells, *heads, layers),
            Self::Cls => cells.f_select(1, 0),
        }
    }
}

/// Attention of `cells`, shape `[rows, tokens, columns]`; the layers are query, key, value and output.
fn attend(cells: &Tensor, heads: i64, layers: &[(Tensor, Tensor)]) -> Result<Tensor, TchError> {
    let (rows, tokens, columns) = cells.size3()?;
    let [query, key, value, output] = layers else {
        return Err(TchError::Shape("attention has four layers".to_owned()));
    };
    let width = columns / heads.max(1);
    let split = |(weight, bias): &(Tensor, Tensor)| {
        cells.f_linear(weight, Some(bias))?.f_view([rows, tokens, heads, width])?.f_transpose(1, 2)
    };
    let scores = split(query)?.f_matmul(&split(key)?.f_transpose(2, 3)?)?;
    let weights = scores.f_mul_scalar(1.0 / (width as f64).sqrt())?.f_softmax(3, Kind::Float)?;
    let mixed = weights.f_matmul(&split(value)?)?.f_transpose(1, 2)?.f_reshape([rows, tokens, columns])?;
    mixed.f_linear(&output.0, Some(&output.1))
}

/// The numbers of a tensor, row by row.
pub(crate) fn numbers(tensor: &Tensor) -> Result<Vec<f64>, TchError> {
    let flat =
        tensor.f_detach()?.f_to_device(Device::Cpu)?.f_to_kind(Kind::Double)?.f_contiguous()?.f_view(-1)?;
    Vec::<f64>::try_from(&flat)
}

#[cfg(test)]
#[path = "network_tests.rs"]
mod tests;
