//! A trained model in the forms that serving stacks load: ONNX, `TorchScript`, a Triton repository, an `MLflow` model.
//!
//! Everything is made from the artifact alone, without libtorch or Python, and the same artifact gives the same bytes.

use serde::Serialize;
use serde_json::json;
use thiserror::Error;

use super::artifact::{Artifact, ArtifactError, FILE_NAME, sha256};
use super::spec::Task;
use crate::model::FeatureKind;

pub mod onnx;
mod mlflow;
mod pickle;
mod preprocessing;
mod sample;
mod torchscript;
mod triton;

pub use onnx::Precision;

/// Name of the answer in every format.
pub const PREDICTION: &str = "prediction";

/// Name of the file that lists every file of an export with its hash.
pub const MANIFEST: &str = "manifest.json";

/// A model that cannot be written in a format.
#[derive(Debug, Error)]
pub enum ExportError {
    /// A feature whose name the format cannot hold.
    #[error("feature `{name}` cannot be exported: {problem}")]
    Name {
        /// The feature.
        name: String,
        /// What is wrong with its name.
        problem: String,
    },
    /// The artifact itself does not write.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    /// A part that did not come together.
    #[error("{what} could not be written: {problem}")]
    Write {
        /// The part.
        what: &'static str,
        /// Why.
        problem: String,
    },
}

/// What to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `model.onnx` with its FP16 and INT8 forms, and a script that compares them.
    Onnx,
    /// `model.pt`, and the preprocessing that goes before it as JSON.
    Torchscript,
    /// A model repository for Triton.
    Triton,
    /// A folder that `mlflow.pyfunc.load_model` loads.
    Mlflow,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Onnx, Self::Torchscript, Self::Triton, Self::Mlflow];

    /// Its folder, and its word on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Onnx => "onnx",
            Self::Torchscript => "torchscript",
            Self::Triton => "triton",
            Self::Mlflow => "mlflow",
        }
    }

    /// The format that `word` names.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.as_str() == word)
    }
}

/// Which model is written, for those who meet the files without the registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// Name of the model.
    pub model: String,
    /// Its version, where it has one.
    pub version: Option<i64>,
    /// SHA-256 of the artifact's file.
    pub artifact_sha256: String,
}

/// A file of an export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleFile {
    /// Path below the export's folder, with `/` between its parts.
    pub path: String,
    /// The content.
    pub content: Vec<u8>,
}

/// What a model takes, in words that every format shares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Input {
    /// Name of the feature.
    pub name: String,
    /// `number`, `text`, `boolean` or `time`.
    pub kind: &'static str,
}

/// The files of `formats`, each format in a folder of its own, the weights, the preprocessing, and a manifest with the
/// hash of each; `more` files, such as a model card, go with them.
///
/// # Errors
///
/// [`ExportError`] says which part of the model a format cannot hold.
pub fn bundle(
    artifact: &Artifact,
    about: &About,
    formats: &[Format],
    more: Vec<BundleFile>,
) -> Result<Vec<BundleFile>, ExportError> {
    let mut files = more;
    files.extend([
        file(FILE_NAME, artifact.to_bytes()?),
        file("preprocessing.json", pretty("preprocessing.json", &preprocessing::document(artifact))?),
        file("signature.json", pretty("signature.json", &signature(artifact)?)?),
    ]);
    for format in formats {
        let made = match format {
            Format::Onnx => onnx_files(artifact, about)?,
            Format::Torchscript => vec![
                file("model.pt", torchscript::write(artifact)?),
                file("preprocessing.json", pretty("preprocessing.json", &preprocessing::document(artifact))?),
            ],
            Format::Triton => triton::files(artifact, about)?,
            Format::Mlflow => mlflow::files(artifact, about)?,
        };
        files.extend(made.into_iter().map(|made| BundleFile {
            path: format!("{}/{}", format.as_str(), made.path),
            content: made.content,
        }));
    }
    let listed: Vec<_> = files
        .iter()
        .map(|file| json!({"path": file.path, "bytes": file.content.len(), "sha256": sha256(&file.content)}))
        .collect();
    let manifest = json!({
        "model": about.model, "version": about.version, "artifact_sha256": about.artifact_sha256,
        "driftline": env!("CARGO_PKG_VERSION"), "files": listed,
    });
    files.push(file(MANIFEST, pretty(MANIFEST, &manifest)?));
    Ok(files)
}

/// The ONNX file with its smaller forms, rows with the answers of driftline, and a script that compares and measures.
fn onnx_files(artifact: &Artifact, about: &About) -> Result<Vec<BundleFile>, ExportError> {
    let mut files = vec![file("model.onnx", onnx::write(artifact, about, Precision::Full)?)];
    if artifact.kind == super::ModelKind::Deep {
        files.push(file("model.fp16.onnx", onnx::write(artifact, about, Precision::Half)?));
        files.push(file("model.int8.onnx", onnx::write(artifact, about, Precision::Int8)?));
    }
    files.push(file("sample.json", pretty("sample.json", &sample::rows(artifact, &inputs(artifact)?))?));
    files.push(file("verify.py", include_bytes!("verify.py").to_vec()));
    Ok(files)
}

fn file(path: &str, content: Vec<u8>) -> BundleFile {
    BundleFile { path: path.to_owned(), content }
}

fn pretty(what: &'static str, value: &impl Serialize) -> Result<Vec<u8>, ExportError> {
    let mut text = serde_json::to_vec_pretty(value)
        .map_err(|error| ExportError::Write { what, problem: error.to_string() })?;
    text.push(b'\n');
    Ok(text)
}

/// What goes in and what comes out.
fn signature(artifact: &Artifact) -> Result<serde_json::Value, ExportError> {
    let (kind, meaning) = match artifact.task {
        Task::Binary => ("probability", "probability of class 1"),
        Task::Multiclass => ("probabilities", "probability of each class"),
        Task::Regression => ("number", "value"),
    };
    Ok(json!({
        "inputs": inputs(artifact)?,
        "outputs": [{"name": PREDICTION, "kind": kind, "columns": artifact.outputs(), "meaning": meaning,
                     "of": artifact.target, "classes": artifact.classes}],
        "missing": "a number or a time: NaN; a text: the empty text",
        "times": "seconds since 1970, UTC",
    }))
}

/// The inputs: the features in their order, then the columns that are read as times.
///
/// # Errors
///
/// [`ExportError::Name`] when two inputs, or an input and the answer, have one name.
fn inputs(artifact: &Artifact) -> Result<Vec<Input>, ExportError> {
    let mut found: Vec<Input> = Vec::new();
    let features = artifact.pipeline.features().into_iter().map(|(name, kind)| {
        let kind = match kind {
            FeatureKind::Numeric => "number",
            FeatureKind::Boolean => "boolean",
            FeatureKind::Categorical => "text",
        };
        (name, kind)
    });
    let times = artifact.pipeline.time_columns().into_iter().map(|name| (name, "time"));
    for (name, kind) in features.chain(times) {
        let refuse =
            |problem: &str| Err(ExportError::Name { name: name.to_owned(), problem: problem.to_owned() });
        if name.is_empty() || name.starts_with('/') {
            return refuse("an input needs a name that does not begin with a slash");
        }
        if name == PREDICTION {
            return refuse("this is the name of the answer");
        }
        match found.iter().find(|input| input.name == name) {
            None => found.push(Input { name: name.to_owned(), kind }),
            Some(input) if kind == "time" && matches!(input.kind, "number" | "time") => {}
            Some(_) => return refuse("it is read as a time and as something that is none"),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
