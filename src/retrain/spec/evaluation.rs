//! How the models of a run are judged.

use serde::{Deserialize, Serialize};

/// Evaluation and gate.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EvaluationSpec {}

impl EvaluationSpec {
    /// Everything that cannot work, in sentences with the field's name.
    pub fn problems(&self) -> Vec<String> {
        Vec::new()
    }
}
