//! A model as `TorchScript`: encoded rows in, predictions out, loaded by `LibTorch` and `PyTorch` without driftline.
//!
//! The archive is a zip of stored entries: a pickle of one object, its source, and the raw bytes of its tensors. Text has no
//! place in a tensor, so that preprocessing stays outside: `forward` takes what `preprocessing.json` describes, shape
//! `[rows, columns]`.

use std::fmt::Write as _;
use std::io::{Cursor, Write as _};

use zip::write::FileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

use super::ExportError;
use super::pickle::{Pickled, dump};
use crate::retrain::artifact::{Artifact, ModelKind};
use crate::retrain::spec::Task;

/// Version of the archive that is written; PyTorch 1.12 and later read it.
const VERSION: &str = "10\n";

/// Where tensors begin: PyTorch maps them into memory, and vector instructions like it so.
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

    /// PyTorch's number for the type.
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

/// A module that grows: its tensors and the lines of `forward`.
struct Module {
    numbers: Numbers,
    tensors: Vec<(String, Vec<usize>, Vec<u8>)>,
    code: String,
    count: usize,
}

impl Module {
    /// Keeps a tensor as an attribute; returns how the code calls it.
    fn tensor(&mut self, name: String, shape: &[usize], numbers: &[f64]) -> String {
        let called = format!("self.{name}");
        self.tensors.push((name, shape.to_vec(), self.numbers.bytes(numbers)));
        called
    }

    /// Adds a line; returns the name of its value.
    fn line(&mut self, expression: &str) -> String {
        self.count += 1;
        let name = format!("h{}", self.count);
        // Writing to a string cannot fail.
        writeln!(self.code, "    {name} = {expression}").unwrap_or_default();
        name
    }
}

/// The bytes of a `.pt` file.
///
/// # Errors
///
/// [`ExportError::Write`] when the archive does not come together.
pub(super) fn write(artifact: &Artifact) -> Result<Vec<u8>, ExportError> {
    let numbers = match artifact.kind {
        ModelKind::Linear => Numbers::Double,
        ModelKind::Deep => Numbers::Single,
    };
    let mut module = Module { numbers, tensors: Vec::new(), code: String::new(), count: 0 };
    let mut x = module.line(&format!("torch.to(x, {})", numbers.code()));
    for (index, layer) in artifact.layers.iter().enumerate() {
        if index > 0 {
            x = module.line(&format!("torch.relu({x})"));
        }
        let weights: Vec<f64> = layer.weight.iter().copied().collect();
        let shape = [layer.weight.nrows(), layer.weight.ncols()];
        let weight = module.tensor(format!("weight_{index}"), &shape, &weights);
        let bias = module.tensor(format!("bias_{index}"), &[layer.bias.len()], &layer.bias.to_vec());
        x = module.line(&format!("torch.linear({x}, {weight}, {bias})"));
    }
    x = match artifact.task {
        Task::Binary => module.line(&format!("torch.sigmoid({x})")),
        Task::Regression => {
            let (scale, mean) = (artifact.target_scale, artifact.target_mean);
            module.line(&format!("torch.add(torch.mul({x}, {scale:?}), {mean:?})"))
        }
    };
    archive(&module, &x).map_err(|error| ExportError::Write { what: "model.pt", problem: error.to_string() })
}

fn archive(module: &Module, answer: &str) -> Result<Vec<u8>, zip::result::ZipError> {
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
    add("code/__torch__.py", source(module, answer).as_bytes())?;
    add("constants.pkl", &dump(&Pickled::Tuple(Vec::new())))?;
    for (number, (_, _, content)) in module.tensors.iter().enumerate() {
        add(&format!("data/{number}"), content)?;
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
    for (number, (name, shape, _)) in module.tensors.iter().enumerate() {
        let elements: usize = shape.iter().product();
        let storage = Pickled::Persistent(Box::new(Pickled::Tuple(vec![
            Pickled::Text("storage".to_owned()),
            module.numbers.storage(),
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
        attributes.push((name.clone(), tensor));
    }
    Pickled::Object(Box::new(Pickled::Global("__torch__", "Driftline")), attributes)
}

/// The source of its class.
fn source(module: &Module, answer: &str) -> String {
    let quoted: Vec<String> = module.tensors.iter().map(|(name, _, _)| format!("\"{name}\", ")).collect();
    let fields: String = module.tensors.iter().map(|(name, _, _)| format!("  {name} : Tensor\n")).collect();
    format!(
        "class Driftline(Module):\n  __parameters__ = [{}]\n  __buffers__ = []\n  training : bool\n  \
         _is_full_backward_hook : Optional[bool]\n{fields}  def forward(self: __torch__.Driftline,\n    \
         x: Tensor) -> Tensor:\n{}    return {answer}\n",
        quoted.concat(),
        module.code
    )
}
