//! A folder that `mlflow.pyfunc.load_model` loads: the ONNX file, a loader over ONNX Runtime, and a signature.

use serde_json::json;

use super::onnx::{self, Precision};
use super::{About, BundleFile, ExportError, PREDICTION, file, inputs};
use crate::retrain::artifact::Artifact;

/// What the loader imports, at the oldest versions that it was tried with.
const REQUIREMENTS: &str = "mlflow\nnumpy>=1.26\nonnxruntime>=1.16\npandas>=2\n";

/// The files of the folder.
///
/// # Errors
///
/// Those of the ONNX file.
pub(super) fn files(artifact: &Artifact, about: &About) -> Result<Vec<BundleFile>, ExportError> {
    let onnx = onnx::write(artifact, about, Precision::Full)?;
    let columns: Vec<_> = inputs(artifact)?
        .iter()
        .map(|input| {
            let kind = match input.kind {
                "number" => "double",
                // Seconds since 1970 or a time, which have no type in common.
                "time" => "any",
                "boolean" => "boolean",
                _ => "string",
            };
            json!({"type": kind, "name": input.name, "required": true})
        })
        .collect();
    let outputs: Vec<_> = if artifact.classes.is_empty() {
        vec![json!({"type": "double", "name": PREDICTION, "required": true})]
    } else {
        artifact
            .classes
            .iter()
            .map(|class| json!({"type": "double", "name": class, "required": true}))
            .collect()
    };
    // A JSON string is a YAML string too.
    let text = |value: serde_json::Value| serde_json::Value::String(value.to_string());
    let model = format!(
        "artifact_path: model\nflavors:\n  python_function:\n    code: code\n    data: data\n    env:\n      \
         virtualenv: python_env.yaml\n    loader_module: driftline_model\nmetadata:\n  driftline_model: {}\n  \
         driftline_version: {}\n  artifact_sha256: {}\nsignature:\n  inputs: {}\n  outputs: {}\n  params: null\n",
        json!(about.model),
        json!(about.version),
        json!(about.artifact_sha256),
        text(json!(columns)),
        text(json!(outputs)),
    );
    let environment =
        "dependencies:\n- -r requirements.txt\nbuild_dependencies:\n- pip\n".as_bytes().to_vec();
    Ok(vec![
        file("MLmodel", model.into_bytes()),
        file("python_env.yaml", environment),
        file("requirements.txt", REQUIREMENTS.as_bytes().to_vec()),
        file("code/driftline_model.py", include_bytes!("driftline_model.py").to_vec()),
        file("data/model.onnx", onnx),
    ])
}
