//! A model as `TorchScript`: encoded rows in, predictions out, loaded by `LibTorch` and `PyTorch` without driftline.
//!
//! The archive is a zip of stored entries: a pickle of one object, its source, and the raw bytes of its tensors. Text has no
//! place in a tensor, so that preprocessing stays outside: `forward(numbers)`, or `forward(numbers, codes)` of a model with
//! embeddings, takes what `preprocessing.json` describes, shape `[rows, columns]` each.

use std::fmt::Write as _;
use std::io::{Cursor, Write as _};

use ndarray::{Array1, Array2};
use zip::write::FileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

use super::ExportError;
use super::onnx::network::Paths;
use super::pickle::{Pickled, dump};
use crate::retrain::artifact::{
    Artifact, Attention, Block, Embedding, Input, Layer, Link, ModelKind, Output, Tree,
};

/// Version of the archive that is written; `PyTorch` 1.12 and later read it.
const VERSION: &str = "10\n";

/// Where tensors begin: `PyTorch` maps them into memory, and vector instructions like it so.
const ALIGNMENT: u16 = 64;

/// The numbers of a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Numbers {
    /// `float`.
    Single,
    /// `double`.
    Double,
}

impl Numbers {
    fn storage(self) -> Pickled {
        match self {
            Self::Single => Pickled::Global("torch", "FloatStorage"),
            Self::Double => Pickled::Global("torch", "DoubleStorage"),
        }
    }

    /// `PyTorch`'s number for the type.
    fn code(self) -> u8 {
        match self {
            Self::Single => 6,
            Self::Double => 7,
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "rounding to the type is what is asked for")]
    fn bytes(self, numbers: &[f64]) -> Vec<u8> {
        match self {
            Self::Single => numbers.iter().flat_map(|number| (*number as f32).to_le_bytes()).collect(),
            Self::Double => numbers.iter().flat_map(|number| number.to_le_bytes()).collect(),
        }
    }
}

/// The elements of a tensor.
enum Cells {
    Reals(Vec<f64>),
    Integers(Vec<i64>),
}

/// A module that grows: its tensors and the lines of `forward`.
struct Module {
    numbers: Numbers,
    tensors: Vec<(Vec<usize>, Cells)>,
    code: String,
    count: usize,
}

impl Module {
    /// Keeps a tensor as an attribute; returns how the code calls it.
    fn tensor(&mut self, shape: &[usize], numbers: Vec<f64>) -> String {
        self.tensors.push((shape.to_vec(), Cells::Reals(numbers)));
        format!("self.t{}", self.tensors.len() - 1)
    }

    fn vector(&mut self, numbers: &Array1<f64>) -> String {
        self.tensor(&[numbers.len()], numbers.to_vec())
    }

    fn matrix(&mut self, numbers: &Array2<f64>) -> String {
        self.tensor(numbers.shape(), numbers.iter().copied().collect())
    }

    /// Adds a line; returns the name of its value.
    fn line(&mut self, expression: &str) -> String {
        self.count += 1;
        let name = format!("h{}", self.count);
        // Writing to a string cannot fail.
        writeln!(self.code, "    {name} = {expression}").unwrap_or_default();
        name
    }

    fn dense(&mut self, x: &str, layer: &Layer) -> String {
        let (weight, bias) = (self.matrix(&layer.weight), self.vector(&layer.bias));
        self.line(&format!("torch.linear({x}, {weight}, {bias})"))
    }

    fn enter(&mut self, input: &Input) -> String {
        let numbers = self.line(&format!("torch.to(numbers, {})", self.numbers.code()));
        match input {
            Input::Flat { embeddings } if embeddings.is_empty() => numbers,
            Input::Flat { embeddings } => {
                let mut parts = vec![numbers];
                for (at, embedding) in embeddings.iter().enumerate() {
                    parts.push(self.embed(at, embedding));
                }
                self.line(&format!("torch.cat([{}], 1)", parts.join(", ")))
            }
            Input::Tokens { groups, weight, bias, embeddings, cls } => {
                let columns = cls.len();
                let first = self.tensor(&[1, 1, columns], cls.to_vec());
                let rows = self.line("torch.size(numbers, 0)");
                let mut tokens = vec![self.line(&format!("torch.expand({first}, [{rows}, 1, {columns}])"))];
                let (weight, bias) = (self.matrix(weight), self.matrix(bias));
                let mut column = 0;
                for (group, width) in groups.iter().enumerate() {
                    let end = column + width;
                    let part = self.line(&format!("torch.slice({numbers}, 1, {column}, {end}, 1)"));
                    let rows = self.line(&format!("torch.slice({weight}, 0, {column}, {end}, 1)"));
                    let product = self.line(&format!("torch.matmul({part}, {rows})"));
                    tokens.push(self.token(&product, &bias, group));
                    column = end;
                }
                for (at, embedding) in embeddings.iter().enumerate() {
                    let row = self.embed(at, embedding);
                    tokens.push(self.token(&row, &bias, groups.len() + at));
                }
                self.line(&format!("torch.cat([{}], 1)", tokens.join(", ")))
            }
        }
    }

    /// A row with its start added, as a token.
    fn token(&mut self, row: &str, bias: &str, at: usize) -> String {
        let start = self.line(&format!("torch.select({bias}, 0, {at})"));
        let moved = self.line(&format!("torch.add({row}, {start})"));
        self.line(&format!("torch.unsqueeze({moved}, 1)"))
    }

    fn embed(&mut self, at: usize, embedding: &Embedding) -> String {
        let table = self.matrix(&embedding.weight);
        let code = self.line(&format!("torch.select(codes, 1, {at})"));
        self.line(&format!("torch.embedding({table}, {code})"))
    }

    fn block(&mut self, block: &Block, x: &str) -> String {
        match block {
            Block::Dense(layer) => self.dense(x, layer),
            Block::Relu => self.line(&format!("torch.relu({x})")),
            Block::Gelu => self.line(&format!("torch.gelu({x})")),
            Block::LayerNorm(norm) => {
                let (gain, bias) = (self.vector(&norm.gain), self.vector(&norm.bias));
                let (width, epsilon) = (norm.gain.len(), norm.epsilon);
                self.line(&format!("torch.layer_norm({x}, [{width}], {gain}, {bias}, {epsilon:?})"))
            }
            Block::BatchNorm(norm) => {
                // The statistics do not change any more, so that it is one factor and one term.
                let factor = &norm.gain / &norm.variance.mapv(|variance| (variance + norm.epsilon).sqrt());
                let term = &norm.bias - &(&norm.mean * &factor);
                let (factor, term) = (self.vector(&factor), self.vector(&term));
                let scaled = self.line(&format!("torch.mul({x}, {factor})"));
                self.line(&format!("torch.add({scaled}, {term})"))
            }
            Block::Residual { blocks } => {
                let mut inner = x.to_owned();
                for block in blocks {
                    inner = self.block(block, &inner);
                }
                self.line(&format!("torch.add({x}, {inner})"))
            }
            Block::Attention(attention) => self.attend(attention, x),
            Block::Cls => self.line(&format!("torch.select({x}, 1, 0)")),
            Block::Tree(tree) => self.decide(tree, x),
        }
    }

    fn attend(&mut self, attention: &Attention, x: &str) -> String {
        let columns = attention.query.bias.len();
        let (heads, width) = (attention.heads, columns / attention.heads.max(1));
        let (rows, tokens) =
            (self.line(&format!("torch.size({x}, 0)")), self.line(&format!("torch.size({x}, 1)")));
        let split = |module: &mut Self, layer: &Layer, order: &str| {
            let made = module.dense(x, layer);
            let made = module.line(&format!("torch.reshape({made}, [{rows}, {tokens}, {heads}, {width}])"));
            module.line(&format!("torch.permute({made}, {order})"))
        };
        let query = split(self, &attention.query, "[0, 2, 1, 3]");
        let key = split(self, &attention.key, "[0, 2, 3, 1]");
        let value = split(self, &attention.value, "[0, 2, 1, 3]");
        let scores = self.line(&format!("torch.matmul({query}, {key})"));
        let scores = self.line(&format!("torch.mul({scores}, {:?})", 1.0 / (width as f64).sqrt()));
        let weights = self.line(&format!("torch.softmax({scores}, -1)"));
        let mixed = self.line(&format!("torch.matmul({weights}, {value})"));
        let mixed = self.line(&format!("torch.permute({mixed}, [0, 2, 1, 3])"));
        let mixed = self.line(&format!("torch.reshape({mixed}, [{rows}, {tokens}, {columns}])"));
        self.dense(&mixed, &attention.output)
    }

    fn decide(&mut self, tree: &Tree, x: &str) -> String {
        let Paths { columns, thresholds, turns, lefts, scores, outputs } = Paths::of(tree);
        let (splits, leaves) = (columns.len(), lefts.len());
        let columns = columns.iter().map(|&column| i64::try_from(column).unwrap_or(i64::MAX)).collect();
        self.tensors.push((vec![splits], Cells::Integers(columns)));
        let columns = format!("self.t{}", self.tensors.len() - 1);
        let thresholds = self.tensor(&[splits], thresholds);
        let turns = self.tensor(&[splits, leaves], turns);
        let lefts = self.tensor(&[leaves], lefts);
        let scores = self.tensor(&[leaves, outputs], scores);
        let code = self.numbers.code();
        let asked = self.line(&format!("torch.index_select({x}, 1, {columns})"));
        let left = self.line(&format!("torch.to(torch.le({asked}, {thresholds}), {code})"));
        let taken = self.line(&format!("torch.matmul({left}, {turns})"));
        let leaf = self.line(&format!("torch.to(torch.eq({taken}, {lefts}), {code})"));
        self.line(&format!("torch.matmul({leaf}, {scores})"))
    }
}

/// The bytes of a `.pt` file.
///
/// # Errors
///
/// [`ExportError::Write`] when the archive does not come together.
pub(super) fn write(artifact: &Artifact) -> Result<Vec<u8>, ExportError> {
    let numbers = match artifact.kind {
        ModelKind::Linear | ModelKind::Tree => Numbers::Double,
        ModelKind::Deep => Numbers::Single,
    };
    let mut module = Module { numbers, tensors: Vec::new(), code: String::new(), count: 0 };
    let mut x = module.enter(&artifact.graph.input);
    for block in &artifact.graph.blocks {
        x = module.block(block, &x);
    }
    let Output { link, offset, scale, temperature } = artifact.output;
    x = module.line(&format!("torch.add(torch.mul({x}, {scale:?}), {offset:?})"));
    x = match link {
        Link::Identity => x,
        Link::Exp => module.line(&format!("torch.exp({x})")),
        Link::Sigmoid => module.line(&format!("torch.sigmoid(torch.div({x}, {temperature:?}))")),
        Link::Softmax => module.line(&format!("torch.softmax(torch.div({x}, {temperature:?}), -1)")),
    };
    let (Input::Flat { embeddings } | Input::Tokens { embeddings, .. }) = &artifact.graph.input;
    let source = source(&module, &x, !embeddings.is_empty());
    archive(&module, &source)
        .map_err(|error| ExportError::Write { what: "model.pt", problem: error.to_string() })
}

fn archive(module: &Module, source: &str) -> Result<Vec<u8>, zip::result::ZipError> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    // The same model gives the same bytes.
    let options = FileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .last_modified_time(DateTime::default());
    let mut add = |path: &str, content: &[u8]| {
        zip.start_file_aligned(format!("model/{path}"), options, ALIGNMENT)?;
        zip.write_all(content)?;
        Ok::<(), zip::result::ZipError>(())
    };
    add("data.pkl", &dump(&object(module)))?;
    add("code/__torch__.py", source.as_bytes())?;
    add("constants.pkl", &dump(&Pickled::Tuple(Vec::new())))?;
    for (number, (_, cells)) in module.tensors.iter().enumerate() {
        let content = match cells {
            Cells::Reals(numbers) => module.numbers.bytes(numbers),
            Cells::Integers(numbers) => numbers.iter().flat_map(|number| number.to_le_bytes()).collect(),
        };
        add(&format!("data/{number}"), &content)?;
    }
    add("version", VERSION.as_bytes())?;
    add("byteorder", b"little")?;
    Ok(zip.finish()?.into_inner())
}

/// The one object of the archive.
fn object(module: &Module) -> Pickled {
    let int = |number: usize| Pickled::Int(i64::try_from(number).unwrap_or(i64::MAX));
    let mut attributes = vec![
        ("training".to_owned(), Pickled::Bool(false)),
        ("_is_full_backward_hook".to_owned(), Pickled::None),
    ];
    for (number, (shape, cells)) in module.tensors.iter().enumerate() {
        let elements: usize = shape.iter().product();
        let kind = match cells {
            Cells::Reals(_) => module.numbers.storage(),
            Cells::Integers(_) => Pickled::Global("torch", "LongStorage"),
        };
        let storage = Pickled::Persistent(Box::new(Pickled::Tuple(vec![
            Pickled::Text("storage".to_owned()),
            kind,
            Pickled::Text(number.to_string()),
            Pickled::Text("cpu".to_owned()),
            int(elements),
        ])));
        // Row-major.
        let strides = (0..shape.len()).map(|axis| int(shape[axis + 1..].iter().product())).collect();
        let no_hooks = Pickled::Call(
            Box::new(Pickled::Global("collections", "OrderedDict")),
            Box::new(Pickled::Tuple(Vec::new())),
        );
        let arguments = vec![
            storage,
            Pickled::Int(0),
            Pickled::Tuple(shape.iter().map(|&size| int(size)).collect()),
            Pickled::Tuple(strides),
            Pickled::Bool(false),
            no_hooks,
        ];
        let tensor = Pickled::Call(
            Box::new(Pickled::Global("torch._utils", "_rebuild_tensor_v2")),
            Box::new(Pickled::Tuple(arguments)),
        );
        attributes.push((format!("t{number}"), tensor));
    }
    Pickled::Object(Box::new(Pickled::Global("__torch__", "Driftline")), attributes)
}

/// The source of its class.
fn source(module: &Module, answer: &str, has_codes: bool) -> String {
    let (mut quoted, mut fields) = (String::new(), String::new());
    for number in 0..module.tensors.len() {
        quoted += &["\"t", &number.to_string(), "\", "].concat();
        fields += &["  t", &number.to_string(), " : Tensor\n"].concat();
    }
    let codes = if has_codes { ",\n    codes: Tensor" } else { "" };
    format!(
        "class Driftline(Module):\n  __parameters__ = []\n  __buffers__ = [{quoted}]\n  training : bool\n  \
         _is_full_backward_hook : Optional[bool]\n{fields}  def forward(self: __torch__.Driftline,\n    \
         numbers: Tensor{codes}) -> Tensor:\n{}    return {answer}\n",
        module.code
    )
}
