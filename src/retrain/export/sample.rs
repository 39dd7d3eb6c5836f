//! Rows made up from what the preprocessing knows, with the answers of driftline, for comparing runtimes.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};

use super::Input;
use crate::model::{Column, Value};
use crate::retrain::artifact::Artifact;
use crate::retrain::pipeline::Step;
use crate::stats::random::SplitMix64;

/// Rows that are made.
const ROWS: usize = 256;

/// Times that are made lie between 2000 and this many seconds later, some 68 years.
const YEARS: f64 = 2_147_483_648.0;

/// What is known of the values of an input.
enum Range<'a> {
    /// Numbers within three of the second around the first.
    Around(f64, f64),
    /// Numbers between two.
    Between(f64, f64),
    /// Texts.
    Of(&'a [String]),
}

/// `{"rows": 256, "inputs": {name: [...]}, "prediction": [[...], ...], "scale": ...}`: numbers around what was trained on,
/// every level, some that no model has seen, and some that are missing (`null`). Errors are told in units of `scale`.
pub(super) fn rows(artifact: &Artifact, inputs: &[Input]) -> Json {
    let ranges = ranges(artifact);
    let columns: Vec<Column> = inputs
        .iter()
        .zip(1_u64..)
        .map(|(input, seed)| column(input, ranges.get(input.name.as_str()), &mut SplitMix64::new(seed)))
        .collect();
    let answers = artifact.predict(ROWS, &columns);
    let answers: Vec<Vec<f64>> = answers.rows().into_iter().map(|row| row.to_vec()).collect();
    let inputs: Map<String, Json> = columns
        .iter()
        .map(|column| (column.name.to_string(), column.values.iter().map(shown).collect()))
        .collect();
    json!({"rows": ROWS, "inputs": inputs, "prediction": answers, "scale": artifact.output.scale.abs().max(1.0)})
}

fn ranges(artifact: &Artifact) -> BTreeMap<&str, Range<'_>> {
    let mut ranges = BTreeMap::new();
    for step in &artifact.pipeline.steps {
        let range = match step {
            Step::Numeric { mean, scale, knots, .. } => match (knots.first(), knots.last()) {
                (Some(first), Some(last)) => Range::Between(*first, *last),
                _ => Range::Around(*mean, *scale),
            },
            Step::OneHot { levels, .. } | Step::Embedded { levels, .. } => Range::Of(levels),
            Step::Date { .. } | Step::Interaction { .. } => continue,
        };
        ranges.entry(step.name()).or_insert(range);
    }
    ranges
}

fn column(input: &Input, range: Option<&Range<'_>>, random: &mut SplitMix64) -> Column {
    let values = (0..ROWS)
        .map(|row| match (input.kind, range) {
            ("boolean", _) => Value::Bool(random.below(2) == 1),
            ("text", Some(Range::Of(levels))) => match random.below(levels.len() + 2) {
                0 => Value::Missing,
                // Not a level, unless somebody calls one like that; then it is one.
                1 => Value::Text(format!("unseen {row}")),
                level => Value::Text(levels[level - 2].clone()),
            },
            ("text", _) => Value::Missing,
            _ if random.below(20) == 0 => Value::Missing,
            ("time", _) => Value::Number((946_684_800.0 + YEARS * share(random)).round()),
            (_, Some(Range::Around(centre, scale))) => {
                Value::Number(centre + scale * (6.0 * share(random) - 3.0))
            }
            (_, Some(Range::Between(first, last))) => Value::Number(first + (last - first) * share(random)),
            _ => Value::Number(6.0 * share(random) - 3.0),
        })
        .collect();
    Column { name: input.name.as_str().into(), values }
}

/// A number in `[0, 1]`, each as likely as the other.
fn share(random: &mut SplitMix64) -> f64 {
    random.next_u64() as f64 / u64::MAX as f64
}

fn shown(value: &Value) -> Json {
    match value {
        Value::Number(number) => json!(number),
        Value::Bool(truth) => json!(truth),
        Value::Text(text) => json!(text),
        Value::Missing | Value::Opaque => Json::Null,
    }
}
