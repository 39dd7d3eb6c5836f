//! What is written beside the artifact of a version.

use serde::{Deserialize, Serialize};

/// The words that `formats` takes.
const FORMATS: [&str; 4] = ["onnx", "torchscript", "triton", "mlflow"];

/// Exports.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExportSpec {
    /// What a run that has won writes to the folder `export` beside its artifact: `onnx`, `torchscript`, `triton`,
    /// `mlflow`.
    pub formats: Vec<String>,
}

impl ExportSpec {
    /// Everything that cannot work, in sentences with the field's name.
    pub fn problems(&self) -> Vec<String> {
        self.formats
            .iter()
            .filter(|format| !FORMATS.contains(&format.as_str()))
            .map(|format| format!("export.formats `{format}` is none of {}", FORMATS.join(", ")))
            .collect()
    }
}
