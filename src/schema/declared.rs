//! What a model server says about a model's inputs and outputs: Open Inference (`GET /v2/models/{m}`) and TensorFlow
//! Serving (`GET /v1/models/{m}/metadata`).

use serde::Serialize;
use serde_json::Value as Json;

use super::Holds;
use crate::model::Role;

/// Tensors of an answer that are read.
const MAX_TENSORS: usize = 4096;

/// A tensor that the model server declares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Declared {
    /// Its name.
    pub name: String,
    /// Input or output.
    pub role: Role,
    /// Its type, as the server calls it.
    pub datatype: String,
    /// What it holds, by that type.
    pub kind: Holds,
    /// Its shape; −1 is any length.
    pub shape: Vec<i64>,
}

impl Declared {
    /// Columns that it becomes: one for `[N]` and `[N, 1]`, K for `[N, K]`; `None` where the shape does not tell.
    pub fn columns(&self) -> Option<u64> {
        match self.shape[..] {
            [] | [_] => Some(1),
            [_, width] => u64::try_from(width).ok(),
            _ => None,
        }
    }
}

/// Reads what a model server said; empty when it declares nothing that is understood.
pub fn declared(answer: &Json) -> Vec<Declared> {
    let mut found = Vec::new();
    for (list, role) in [("inputs", Role::Feature), ("outputs", Role::Output)] {
        if let Some(tensors) = answer[list].as_array() {
            found.extend(tensors.iter().take(MAX_TENSORS).filter_map(|tensor| open_inference(tensor, role)));
        }
        let signatures = &answer["metadata"]["signature_def"]["signature_def"];
        let signature = &signatures["serving_default"];
        if let Some(tensors) = signature[list].as_object() {
            found.extend(
                tensors.iter().take(MAX_TENSORS).map(|(name, tensor)| tensorflow(name, tensor, role)),
            );
        }
    }
    found
}

fn open_inference(tensor: &Json, role: Role) -> Option<Declared> {
    let shape = tensor["shape"].as_array().map(|sizes| sizes.iter().filter_map(Json::as_i64).collect());
    let datatype = tensor["datatype"].as_str()?.to_ascii_uppercase();
    Some(Declared {
        name: tensor["name"].as_str()?.to_owned(),
        role,
        kind: holds(&datatype),
        datatype,
        shape: shape.unwrap_or_default(),
    })
}

fn tensorflow(name: &str, tensor: &Json, role: Role) -> Declared {
    let datatype = tensor["dtype"].as_str().unwrap_or_default().trim_start_matches("DT_").to_owned();
    let size = |dimension: &Json| match &dimension["size"] {
        Json::String(text) => text.parse().ok(),
        other => other.as_i64(),
    };
    let sizes = tensor["tensor_shape"]["dim"].as_array();
    Declared {
        name: name.to_owned(),
        role,
        kind: holds(&datatype),
        datatype,
        shape: sizes.map(|sizes| sizes.iter().filter_map(size).collect()).unwrap_or_default(),
    }
}

fn holds(datatype: &str) -> Holds {
    match datatype {
        "BOOL" => Holds::Boolean,
        "BYTES" | "STRING" => Holds::Categorical,
        numeric
            if ["FP", "BF", "INT", "UINT", "FLOAT", "DOUBLE", "HALF"]
                .iter()
                .any(|word| numeric.starts_with(word)) =>
        {
            Holds::Numeric
        }
        _ => Holds::Opaque,
    }
}
