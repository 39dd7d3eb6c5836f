//! The preprocessing as JSON with all its numbers, for those who encode rows by themselves.

use serde_json::{Value as Json, json};

use crate::retrain::artifact::Artifact;
use crate::retrain::pipeline::Step;

/// Names of the columns, the steps that make them, in order, and what makes answers of scores.
pub(super) fn document(artifact: &Artifact) -> Json {
    let steps: Vec<Json> = artifact.pipeline.steps.iter().map(step).collect();
    let output = artifact.output;
    json!({
        "columns": artifact.pipeline.column_names(),
        "codes": artifact.pipeline.cardinalities(),
        "steps": steps,
        "output": {"target": artifact.target, "classes": artifact.classes, "link": output.link,
                   "scale": output.scale, "offset": output.offset, "temperature": output.temperature,
                   "formula": "link((score * scale + offset) / temperature)"},
    })
}

fn step(step: &Step) -> Json {
    match step {
        Step::Numeric { name, mean, scale, missing, knots, indicator } => json!({
            "step": "numeric", "name": name, "mean": mean, "scale": scale, "missing": missing, "knots": knots,
            "indicator": indicator,
            "formula": if knots.is_empty() {
                "(x - mean) / scale, 0 where scale is 0; `missing` where x is missing or not finite"
            } else {
                "(u - 1/2) * sqrt(12), where u is the share of the evenly spaced knots below x, interpolated; \
                 `missing` where x is missing or not finite"
            },
        }),
        Step::OneHot { name, kind, levels } => json!({
            "step": "one_hot", "name": name, "kind": kind, "levels": levels,
            "formula": "a column per level: 1 where the value is that level, else 0",
        }),
        Step::Embedded { name, levels, common } => json!({
            "step": "embedded", "name": name, "levels": levels, "common": common,
            "formula": "code: 1 + position in `levels`, 0 where it is not there; a column per index in `common`: 1 where \
                        the value is that level, else 0",
        }),
        Step::Date { name, parts } => json!({
            "step": "date", "name": name, "parts": parts,
            "formula": "sine and cosine of 2 * pi * the share of the day, week, month (31 days), year (12 months or 366 \
                        days) that is over, in UTC; 0 where there is no time",
        }),
        Step::Interaction { of, left, right, name, mean, scale } => json!({
            "step": "interaction", "name": name, "of": of, "left": left, "right": right, "mean": mean, "scale": scale,
            "formula": "(left * right - mean) / scale or (left / right - mean) / scale; 0 where that is no number",
        }),
    }
}
