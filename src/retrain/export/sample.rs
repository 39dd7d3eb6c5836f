//! Rows made up from what the preprocessing knows, with the answers of driftline, for comparing runtimes.

use serde_json::{Map, Value as Json, json};

use crate::model::{Column, FeatureKind, Value};
use crate::retrain::artifact::Artifact;
use crate::retrain::pipeline::Step;
use crate::stats::random::SplitMix64;

/// Rows that are made.
const ROWS: usize = 256;

/// `{"rows": 256, "inputs": {feature: [...]}, "prediction": [...]}`: numbers around what was trained on and some far from
/// it, every level, some that no model has seen, and some that are missing (`null`).
pub(super) fn rows(artifact: &Artifact) -> Json {
    let columns: Vec<Column> =
        artifact.pipeline.steps.iter().zip(1_u64..).map(|(step, seed)| column(step, seed)).collect();
    let predictions = artifact.predict(ROWS, &columns);
    let inputs: Map<String, Json> = columns
        .iter()
        .map(|column| (column.name.to_string(), column.values.iter().map(shown).collect()))
        .collect();
    json!({"rows": ROWS, "inputs": inputs, "prediction": predictions})
}

fn column(step: &Step, seed: u64) -> Column {
    let mut random = SplitMix64::new(seed);
    let values = (0..ROWS)
        .map(|row| match step {
            Step::Numeric { mean, scale, .. } => match random.below(20) {
                0 => Value::Missing,
                1 => Value::Number(mean + 8.0 * scale * spread(&mut random)),
                _ => Value::Number(mean + scale * spread(&mut random)),
            },
            Step::OneHot { kind: FeatureKind::Boolean, .. } => Value::Bool(random.below(2) == 1),
            Step::OneHot { levels, .. } => match random.below(levels.len() + 2) {
                0 => Value::Missing,
                // Not a level, unless somebody calls one like that; then it is one.
                1 => Value::Text(format!("unseen {row}")),
                level => Value::Text(levels[level - 2].clone()),
            },
        })
        .collect();
    Column { name: step.name().into(), values }
}

fn shown(value: &Value) -> Json {
    match value {
        Value::Number(number) => json!(number),
        Value::Bool(truth) => json!(truth),
        Value::Text(text) => json!(text),
        Value::Missing | Value::Opaque => Json::Null,
    }
}

/// A number in `[−3, 3)`, each as likely as the other.
fn spread(random: &mut SplitMix64) -> f64 {
    6.0 * (random.next_u64() as f64 / u64::MAX as f64) - 3.0
}
