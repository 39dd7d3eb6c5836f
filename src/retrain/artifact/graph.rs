//! The network of an artifact as a small graph of blocks, evaluated without libtorch.

use ndarray::{Array1, Array2, ArrayView2, Axis, Slice};
use serde::{Deserialize, Serialize};

use super::ArtifactError;
use super::attention::Attention;
use super::tree::Tree;

/// Rows that are evaluated at once, so that attention over many rows needs little memory.
const CHUNK: usize = 1_024;

/// One dense layer, `y = W x + b`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layer {
    /// `W`, shape `[outputs, inputs]`.
    #[serde(skip)]
    pub weight: Array2<f64>,
    /// `b`, shape `[outputs]`.
    #[serde(skip)]
    pub bias: Array1<f64>,
}

/// What the codes of one column stand for.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Embedding {
    /// A row for each code, shape `[cardinality, dimensions]`; row 0 is for what is missing or was never seen.
    #[serde(skip)]
    pub weight: Array2<f64>,
}

/// How encoded rows become the input of the first block.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "input", rename_all = "snake_case", deny_unknown_fields)]
pub enum Input {
    /// The numbers, with the embedding of each code behind them.
    Flat {
        /// One per column of codes.
        embeddings: Vec<Embedding>,
    },
    /// A token per group of numbers and per column of codes, after a first one that belongs to no feature (`CLS`).
    Tokens {
        /// Width of each group of numbers: 1 for a number, the levels for a one-hot encoded name.
        groups: Vec<usize>,
        /// What a number adds to the token of its group, shape `[numbers, dimensions]`.
        #[serde(skip)]
        weight: Array2<f64>,
        /// Where the token of each group starts, then of each column of codes, shape `[groups + codes, dimensions]`.
        #[serde(skip)]
        bias: Array2<f64>,
        /// One per column of codes.
        embeddings: Vec<Embedding>,
        /// The first token, shape `[dimensions]`.
        #[serde(skip)]
        cls: Array1<f64>,
    },
}

/// One step of the network. Where there are tokens, all but `Attention` and `Cls` see each token by itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "block", rename_all = "snake_case")]
pub enum Block {
    /// A dense layer.
    Dense(Layer),
    /// `max(x, 0)`.
    Relu,
    /// `x Φ(x)`, with the exact normal distribution.
    Gelu,
    /// Each row less its mean, over its standard deviation.
    LayerNorm(Norm),
    /// Each column less its running mean, over its running standard deviation.
    BatchNorm(BatchNorm),
    /// `x + blocks(x)`.
    Residual {
        /// What is added.
        blocks: Vec<Self>,
    },
    /// Multi-head attention of the tokens of a row to one another.
    Attention(Box<Attention>),
    /// Only the first token goes on.
    Cls,
    /// A decision tree over the columns.
    Tree(Tree),
}

/// Gain and bias of a normalisation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Norm {
    /// Added to the variance.
    pub epsilon: f64,
    /// Factor of each column, shape `[columns]`.
    #[serde(skip)]
    pub gain: Array1<f64>,
    /// Term of each column, shape `[columns]`.
    #[serde(skip)]
    pub bias: Array1<f64>,
}

/// Batch normalisation with the statistics that training ended with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchNorm {
    /// Added to the variance.
    pub epsilon: f64,
    /// Running mean, shape `[columns]`.
    #[serde(skip)]
    pub mean: Array1<f64>,
    /// Running variance, shape `[columns]`.
    #[serde(skip)]
    pub variance: Array1<f64>,
    /// Factor of each column, shape `[columns]`.
    #[serde(skip)]
    pub gain: Array1<f64>,
    /// Term of each column, shape `[columns]`.
    #[serde(skip)]
    pub bias: Array1<f64>,
}

/// A network: an input and the blocks behind it, whose last output has a column per score.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Graph {
    /// How encoded rows enter.
    pub input: Input,
    /// What happens to them, in order.
    pub blocks: Vec<Block>,
}

/// A tensor of a graph.
#[derive(Debug)]
pub enum Slot<'a> {
    /// One axis.
    Vector(&'a mut Array1<f64>),
    /// Two axes.
    Matrix(&'a mut Array2<f64>),
}

/// Cells of shape `[rows · tokens, columns]`; without tokens, there is one per row.
#[derive(Debug)]
pub(super) struct State {
    pub(super) cells: Array2<f64>,
    pub(super) tokens: usize,
}

impl Graph {
    /// Dense layers over numbers, with ReLU between them.
    pub fn dense(layers: Vec<Layer>) -> Self {
        let mut blocks = Vec::with_capacity(2 * layers.len());
        for layer in layers {
            if !blocks.is_empty() {
                blocks.push(Block::Relu);
            }
            blocks.push(Block::Dense(layer));
        }
        Self { input: Input::Flat { embeddings: Vec::new() }, blocks }
    }

    /// The scores of encoded rows, shape `[rows, outputs]`; none where shapes do not fit, which [`Graph::outputs`] tells
    /// beforehand.
    pub fn scores(&self, numbers: ArrayView2<'_, f64>, codes: ArrayView2<'_, u32>) -> Option<Array2<f64>> {
        let rows = numbers.nrows();
        let mut parts = Vec::with_capacity(rows.div_ceil(CHUNK).max(1));
        let mut start = 0;
        loop {
            let end = (start + CHUNK).min(rows);
            let part = Slice::from(start..end);
            let mut state =
                self.input.enter(numbers.slice_axis(Axis(0), part), codes.slice_axis(Axis(0), part))?;
            for block in &self.blocks {
                state = block.apply(state)?;
            }
            parts.push(state.cells);
            start = end;
            if start >= rows {
                break;
            }
        }
        let views: Vec<_> = parts.iter().map(Array2::view).collect();
        ndarray::concatenate(Axis(0), &views).ok()
    }

    /// Number of scores per row.
    ///
    /// # Arguments
    ///
    /// * `numbers`: columns of numbers that the preprocessing gives.
    /// * `cardinalities`: codes of each column of codes.
    ///
    /// # Errors
    ///
    /// [`ArtifactError::Tensor`] names the first block whose shapes do not follow from the one before.
    pub fn outputs(&self, numbers: usize, cardinalities: &[usize]) -> Result<usize, ArtifactError> {
        let (columns, tokens) = self.input.shape(numbers, cardinalities)?;
        let (columns, tokens) = shape_of(&self.blocks, "graph.blocks", columns, tokens)?;
        if tokens != 1 {
            return Err(wrong(
                "graph.blocks",
                "tokens are left over; `cls` has to come before the end".into(),
            ));
        }
        Ok(columns)
    }

    /// Calls `visit` with the name of each tensor and the tensor, always in the same order.
    ///
    /// # Errors
    ///
    /// The first that `visit` gives.
    pub fn visit<E>(&mut self, visit: &mut impl FnMut(String, Slot<'_>) -> Result<(), E>) -> Result<(), E> {
        match &mut self.input {
            Input::Flat { embeddings } => visit_embeddings(embeddings, visit)?,
            Input::Tokens { weight, bias, embeddings, cls, .. } => {
                visit("graph.input.weight".to_owned(), Slot::Matrix(weight))?;
                visit("graph.input.bias".to_owned(), Slot::Matrix(bias))?;
                visit("graph.input.cls".to_owned(), Slot::Vector(cls))?;
                visit_embeddings(embeddings, visit)?;
            }
        }
        visit_blocks(&mut self.blocks, "graph.blocks", visit)
    }
}

pub(super) fn wrong(name: impl Into<String>, problem: String) -> ArtifactError {
    ArtifactError::Tensor { name: name.into(), problem }
}

fn visit_embeddings<E>(
    embeddings: &mut [Embedding],
    visit: &mut impl FnMut(String, Slot<'_>) -> Result<(), E>,
) -> Result<(), E> {
    embeddings.iter_mut().enumerate().try_for_each(|(at, embedding)| {
        visit(format!("graph.input.embedding.{at}"), Slot::Matrix(&mut embedding.weight))
    })
}

fn visit_blocks<E>(
    blocks: &mut [Block],
    path: &str,
    visit: &mut impl FnMut(String, Slot<'_>) -> Result<(), E>,
) -> Result<(), E> {
    for (at, block) in blocks.iter_mut().enumerate() {
        let path = format!("{path}.{at}");
        match block {
            Block::Relu | Block::Gelu | Block::Cls | Block::Tree(_) => {}
            Block::Dense(layer) => layer.visit(&path, visit)?,
            Block::LayerNorm(norm) => {
                visit(format!("{path}.gain"), Slot::Vector(&mut norm.gain))?;
                visit(format!("{path}.bias"), Slot::Vector(&mut norm.bias))?;
            }
            Block::BatchNorm(norm) => {
                visit(format!("{path}.gain"), Slot::Vector(&mut norm.gain))?;
                visit(format!("{path}.bias"), Slot::Vector(&mut norm.bias))?;
                visit(format!("{path}.mean"), Slot::Vector(&mut norm.mean))?;
                visit(format!("{path}.variance"), Slot::Vector(&mut norm.variance))?;
            }
            Block::Residual { blocks } => visit_blocks(blocks, &path, visit)?,
            Block::Attention(attention) => {
                for (name, layer) in attention.layers_mut() {
                    layer.visit(&format!("{path}.{name}"), visit)?;
                }
            }
        }
    }
    Ok(())
}

/// Columns and tokens behind `blocks`.
fn shape_of(
    blocks: &[Block],
    path: &str,
    mut columns: usize,
    mut tokens: usize,
) -> Result<(usize, usize), ArtifactError> {
    for (at, block) in blocks.iter().enumerate() {
        let path = format!("{path}.{at}");
        let check = |name: &str, vector: &Array1<f64>| {
            if vector.len() == columns {
                return Ok(());
            }
            Err(wrong(format!("{path}.{name}"), format!("it has {} numbers, not {columns}", vector.len())))
        };
        match block {
            Block::Relu | Block::Gelu => {}
            Block::Dense(layer) => columns = layer.outputs(&path, columns)?,
            Block::LayerNorm(norm) => {
                check("gain", &norm.gain)?;
                check("bias", &norm.bias)?;
                positive(&path, norm.epsilon)?;
            }
            Block::BatchNorm(norm) => {
                check("gain", &norm.gain)?;
                check("bias", &norm.bias)?;
                check("mean", &norm.mean)?;
                check("variance", &norm.variance)?;
                positive(&path, norm.epsilon)?;
                if norm.variance.iter().any(|variance| *variance < 0.0) {
                    return Err(wrong(format!("{path}.variance"), "a variance is negative".to_owned()));
                }
            }
            Block::Residual { blocks } => {
                let inner = shape_of(blocks, &path, columns, tokens)?;
                if inner != (columns, tokens) {
                    return Err(wrong(path, format!("what it adds has {} columns, not {columns}", inner.0)));
                }
            }
            Block::Attention(attention) => attention.check(&path, columns)?,
            Block::Cls => tokens = 1,
            Block::Tree(tree) => {
                if tokens != 1 {
                    return Err(wrong(path, "a tree reads columns, not tokens".to_owned()));
                }
                columns = tree.outputs(&path, columns)?;
            }
        }
    }
    Ok((columns, tokens))
}

fn positive(path: &str, epsilon: f64) -> Result<(), ArtifactError> {
    if epsilon.is_finite() && epsilon > 0.0 {
        return Ok(());
    }
    Err(wrong(path, format!("epsilon {epsilon} is not above 0")))
}

impl Layer {
    /// `W x + b` for each row.
    pub(super) fn apply(&self, cells: &Array2<f64>) -> Option<Array2<f64>> {
        let fits = cells.ncols() == self.weight.ncols() && self.bias.len() == self.weight.nrows();
        fits.then(|| cells.dot(&self.weight.t()) + &self.bias)
    }

    /// Number of outputs, where it follows `inputs` columns.
    pub(super) fn outputs(&self, path: &str, inputs: usize) -> Result<usize, ArtifactError> {
        if self.weight.ncols() != inputs || self.bias.len() != self.weight.nrows() {
            let (shape, biases) = (self.weight.shape(), self.bias.len());
            let problem = format!("shape {shape:?} with {biases} biases does not follow {inputs} columns");
            return Err(wrong(path, problem));
        }
        Ok(self.bias.len())
    }

    fn visit<E>(
        &mut self,
        path: &str,
        visit: &mut impl FnMut(String, Slot<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        visit(format!("{path}.weight"), Slot::Matrix(&mut self.weight))?;
        visit(format!("{path}.bias"), Slot::Vector(&mut self.bias))
    }
}

impl Embedding {
    /// The row of `code`; that of 0 for a code beyond the end.
    fn row(&self, code: u32) -> Option<ndarray::ArrayView1<'_, f64>> {
        let code = usize::try_from(code).ok().filter(|code| *code < self.weight.nrows()).unwrap_or(0);
        (code < self.weight.nrows()).then(|| self.weight.row(code))
    }
}

impl Input {
    fn enter(&self, numbers: ArrayView2<'_, f64>, codes: ArrayView2<'_, u32>) -> Option<State> {
        match self {
            Self::Flat { embeddings } => {
                let width = embeddings.iter().map(|embedding| embedding.weight.ncols()).sum::<usize>();
                let mut cells = Array2::zeros((numbers.nrows(), numbers.ncols() + width));
                cells.slice_axis_mut(Axis(1), Slice::from(..numbers.ncols())).assign(&numbers);
                let mut offset = numbers.ncols();
                for (at, embedding) in embeddings.iter().enumerate() {
                    let end = offset + embedding.weight.ncols();
                    for (row, &code) in codes.columns().into_iter().nth(at)?.iter().enumerate() {
                        let mut cells = cells.row_mut(row);
                        cells.slice_axis_mut(Axis(0), Slice::from(offset..end)).assign(&embedding.row(code)?);
                    }
                    offset = end;
                }
                Some(State { cells, tokens: 1 })
            }
            Self::Tokens { groups, weight, bias, embeddings, cls } => {
                let (rows, columns) = (numbers.nrows(), cls.len());
                let tokens = 1 + groups.len() + embeddings.len();
                let fits = groups.iter().sum::<usize>() == numbers.ncols()
                    && weight.dim() == (numbers.ncols(), columns)
                    && bias.dim() == (tokens - 1, columns);
                if !fits {
                    return None;
                }
                let mut cells = Array2::zeros((rows * tokens, columns));
                for row in 0..rows {
                    let first = row * tokens;
                    cells.row_mut(first).assign(cls);
                    cells.slice_axis_mut(Axis(0), Slice::from(first + 1..first + tokens)).assign(bias);
                    let mut column = 0;
                    for (group, width) in groups.iter().enumerate() {
                        for column in column..column + width {
                            let number = numbers[[row, column]];
                            if number != 0.0 {
                                cells.row_mut(first + 1 + group).scaled_add(number, &weight.row(column));
                            }
                        }
                        column += width;
                    }
                    for (at, embedding) in embeddings.iter().enumerate() {
                        let mut token = cells.row_mut(first + 1 + groups.len() + at);
                        token += &embedding.row(*codes.get([row, at])?)?;
                    }
                }
                Some(State { cells, tokens })
            }
        }
    }

    /// Columns and tokens that come out.
    fn shape(&self, numbers: usize, cardinalities: &[usize]) -> Result<(usize, usize), ArtifactError> {
        let (Self::Flat { embeddings } | Self::Tokens { embeddings, .. }) = self;
        // A simple model has the columns of the commonest levels, and no embeddings.
        let takes_no_codes = matches!(self, Self::Flat { .. }) && embeddings.is_empty();
        if embeddings.len() != cardinalities.len() && !takes_no_codes {
            let problem =
                format!("{} embeddings for {} columns of codes", embeddings.len(), cardinalities.len());
            return Err(wrong("graph.input.embedding", problem));
        }
        for (at, (embedding, cardinality)) in embeddings.iter().zip(cardinalities).enumerate() {
            if embedding.weight.nrows() != *cardinality || *cardinality == 0 {
                let problem = format!("{} rows for {cardinality} codes", embedding.weight.nrows());
                return Err(wrong(format!("graph.input.embedding.{at}"), problem));
            }
        }
        match self {
            Self::Flat { embeddings } => {
                let width = embeddings.iter().map(|embedding| embedding.weight.ncols()).sum::<usize>();
                Ok((numbers + width, 1))
            }
            Self::Tokens { groups, weight, bias, embeddings, cls } => {
                let columns = cls.len();
                let tokens = groups.len() + embeddings.len();
                let fits = groups.iter().sum::<usize>() == numbers
                    && weight.dim() == (numbers, columns)
                    && bias.dim() == (tokens, columns)
                    && embeddings.iter().all(|embedding| embedding.weight.ncols() == columns);
                if !fits {
                    let problem =
                        format!("the tokenizer does not fit {numbers} numbers and {columns} dimensions");
                    return Err(wrong("graph.input", problem));
                }
                Ok((columns, tokens + 1))
            }
        }
    }
}

impl Block {
    fn apply(&self, state: State) -> Option<State> {
        let State { mut cells, tokens } = state;
        match self {
            Self::Dense(layer) => cells = layer.apply(&cells)?,
            Self::Relu => cells.mapv_inplace(|cell| cell.max(0.0)),
            Self::Gelu => cells.mapv_inplace(gelu),
            Self::LayerNorm(norm) => {
                if cells.ncols() != norm.gain.len() || cells.ncols() != norm.bias.len() {
                    return None;
                }
                for mut row in cells.rows_mut() {
                    let n = row.len() as f64;
                    let mean = row.sum() / n;
                    let variance = row.iter().map(|cell| (cell - mean).powi(2)).sum::<f64>() / n;
                    let scale = (variance + norm.epsilon).sqrt();
                    row.mapv_inplace(|cell| (cell - mean) / scale);
                    row *= &norm.gain;
                    row += &norm.bias;
                }
            }
            Self::BatchNorm(norm) => {
                let vectors = [&norm.mean, &norm.variance, &norm.gain, &norm.bias];
                if vectors.iter().any(|vector| vector.len() != cells.ncols()) {
                    return None;
                }
                cells -= &norm.mean;
                cells /= &norm.variance.mapv(|variance| (variance + norm.epsilon).sqrt());
                cells *= &norm.gain;
                cells += &norm.bias;
            }
            Self::Residual { blocks } => {
                let mut inner = State { cells: cells.clone(), tokens };
                for block in blocks {
                    inner = block.apply(inner)?;
                }
                if inner.cells.dim() != cells.dim() {
                    return None;
                }
                cells += &inner.cells;
            }
            Self::Attention(attention) => cells = attention.apply(&cells, tokens)?,
            Self::Cls => {
                let first = cells.axis_chunks_iter(Axis(0), tokens.max(1));
                let rows: Vec<_> = first.map(|row| row.index_axis_move(Axis(0), 0)).collect();
                let columns = cells.ncols();
                cells = if rows.is_empty() {
                    Array2::zeros((0, columns))
                } else {
                    ndarray::stack(Axis(0), &rows).ok()?
                };
                return Some(State { cells, tokens: 1 });
            }
            Self::Tree(tree) => cells = tree.apply(&cells)?,
        }
        Some(State { cells, tokens })
    }
}

fn gelu(x: f64) -> f64 {
    0.5 * x * (1.0 + statrs::function::erf::erf(x * std::f64::consts::FRAC_1_SQRT_2))
}
