//! A model repository for Triton: `MODEL/config.pbtxt` and `MODEL/VERSION/model.onnx`.

use std::fmt::Write as _;

use super::onnx::{self, Precision};
use super::{About, BundleFile, ExportError, Input, PREDICTION, file, inputs};
use crate::retrain::artifact::Artifact;

/// Rows that Triton may put into one call.
const MAX_BATCH: usize = 1024;

/// How long a request may wait for others, in microseconds.
const MAX_WAIT: u32 = 100;

/// The files of the repository.
///
/// # Errors
///
/// Those of the ONNX file.
pub(super) fn files(artifact: &Artifact, about: &About) -> Result<Vec<BundleFile>, ExportError> {
    let model = &about.model;
    let version = about.version.unwrap_or(1);
    let onnx = onnx::write(artifact, about, Precision::Full)?;
    Ok(vec![
        file(
            &format!("{model}/config.pbtxt"),
            config(model, &inputs(artifact)?, artifact.outputs()).into_bytes(),
        ),
        file(&format!("{model}/{version}/model.onnx"), onnx),
    ])
}

/// The model's configuration in the text form of protocol buffers.
fn config(model: &str, inputs: &[Input], outputs: usize) -> String {
    let mut text = format!(
        "name: {}\nbackend: \"onnxruntime\"\nmax_batch_size: {MAX_BATCH}\ndynamic_batching {{ \
         max_queue_delay_microseconds: {MAX_WAIT} }}\n",
        quoted(model)
    );
    for input in inputs {
        let element = match input.kind {
            "number" | "time" => "TYPE_FP64",
            "boolean" => "TYPE_BOOL",
            _ => "TYPE_STRING",
        };
        // Writing to a string cannot fail.
        writeln!(text, "input [ {{ name: {} data_type: {element} dims: [ 1 ] }} ]", quoted(&input.name))
            .unwrap_or_default();
    }
    let answer = quoted(PREDICTION);
    writeln!(text, "output [ {{ name: {answer} data_type: TYPE_FP64 dims: [ {outputs} ] }} ]")
        .unwrap_or_default();
    text
}

/// A string of the text form: bytes outside of printable ASCII as octal escapes.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => {
                quoted.push('\\');
                quoted.push(char::from(byte));
            }
            b' '..=b'~' => quoted.push(char::from(byte)),
            _ => write!(quoted, "\\{byte:03o}").unwrap_or_default(),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_as_protocol_buffers_want_it() {
        assert_eq!(quoted("a\"b\\é\n"), r#""a\"b\\\303\251\012""#);
    }
}
