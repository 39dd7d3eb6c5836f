//! How the models of a run are judged.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Evaluation and gate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EvaluationSpec {
    /// Confidence at which one model has to be better than the other, from 0.5 to 0.999.
    pub level: f64,
    /// Columns by whose values models are scored too, up to 20 values each.
    pub segments: Vec<String>,
    /// Columns of which no value may get worse: the share of the loss in production that it may rise by.
    pub guards: BTreeMap<String, f64>,
    /// Longest time that a single row may take, in milliseconds, as the 99th percentile in driftline's own evaluation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_row_ms: Option<f64>,
    /// Most bytes that the artifact may have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<u64>,
}

impl Default for EvaluationSpec {
    fn default() -> Self {
        Self { level: 0.95, segments: Vec::new(), guards: BTreeMap::new(), max_row_ms: None, max_bytes: None }
    }
}

impl EvaluationSpec {
    /// Everything that cannot work, in sentences with the field's name.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if !(0.5..=0.999).contains(&self.level) {
            problems.push(format!("evaluation.level {} is not from 0.5 to 0.999", self.level));
        }
        for (column, share) in &self.guards {
            if !(share.is_finite() && *share >= 0.0) {
                problems.push(format!(
                    "evaluation.guards.{column} {share} is not a share of 0 or more, such as 0.02 for 2 %"
                ));
            }
        }
        if self.max_row_ms.is_some_and(|most| !(most.is_finite() && most > 0.0)) {
            problems.push("evaluation.max_row_ms is not above 0".to_owned());
        }
        if self.max_bytes == Some(0) {
            problems.push("evaluation.max_bytes 0 is less than any artifact has".to_owned());
        }
        problems
    }

    /// Every column that is scored by, those of guards included, each once.
    pub fn columns(&self) -> Vec<&str> {
        let guarded = self.guards.keys().filter(|guard| !self.segments.contains(guard));
        self.segments.iter().chain(guarded).map(String::as_str).collect()
    }
}
