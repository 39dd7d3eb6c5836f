//! `retrain compare`: two runs side by side.

use std::collections::BTreeSet;
use std::io::Write;

use anyhow::Result;
use serde_json::{Map, Value as Json, json};
use sqlx::PgPool;
use uuid::Uuid;

use super::show::with_bounds;
use super::{Succeeded, plain_table};
use crate::store::model_version;
use crate::store::training_log::{self, Metric};
use crate::store::training_run::{self, TrainingRun};

/// A run with what was measured of it.
struct Side {
    run: TrainingRun,
    metrics: Vec<Metric>,
    snapshot: Option<String>,
}

impl Side {
    async fn read(pool: &PgPool, run: Uuid) -> Result<Self> {
        let version = model_version::of_run(pool, run).await?;
        Ok(Self {
            run: training_run::show(pool, run).await?,
            metrics: training_log::metrics(pool, run, -1).await?,
            snapshot: version.map(|version| version.snapshot),
        })
    }

    fn evaluation(&self) -> Vec<&Metric> {
        self.metrics.iter().filter(|metric| metric.epoch < 0).collect()
    }
}

/// Compares two runs: how they ended, what they were asked in different ways, and their metrics.
///
/// # Errors
///
/// When one of them does not exist or cannot be read.
pub(super) async fn run(
    pool: &PgPool,
    first: Uuid,
    second: Uuid,
    json: bool,
    out: &mut impl Write,
) -> Result<Succeeded> {
    let sides = [Side::read(pool, first).await?, Side::read(pool, second).await?];
    let settings = differences(&sides[0].run.spec, &sides[1].run.spec);
    let metrics = metrics(&sides);
    // Metrics on other rows say little about which model is better.
    let same_rows = match (&sides[0].snapshot, &sides[1].snapshot) {
        (Some(one), Some(other)) => Some(one == other),
        _ => None,
    };
    if json {
        let runs: Vec<Json> = sides.iter().map(|side| json!(side.run)).collect();
        let settings: Vec<Json> = settings
            .iter()
            .map(|(key, one, other)| json!({"key": key, "first": one, "second": other}))
            .collect();
        let content =
            json!({"runs": runs, "same_snapshot": same_rows, "settings": settings, "metrics": metrics});
        writeln!(out, "{}", serde_json::to_string_pretty(&content)?)?;
        return Ok(true);
    }
    let mut table = plain_table(&["", "FIRST", "SECOND"]);
    let mut row = |name: &str, of: &dyn Fn(&TrainingRun) -> String| {
        table.add_row([name.to_owned(), of(&sides[0].run), of(&sides[1].run)]);
    };
    row("run", &|run| run.id.to_string());
    row("model", &|run| run.model.clone());
    row("state", &|run| run.state.as_str().to_owned());
    row("reason", &|run| format!("{}: {}", run.reason_kind, run.reason));
    row("version", &|run| run.version.map_or_else(|| "-".to_owned(), |version| version.to_string()));
    row("started", &|run| run.started_at.map_or_else(|| "-".to_owned(), |at| at.format("%F %T").to_string()));
    row("outcome", &|run| run.outcome.clone().unwrap_or_else(|| "-".to_owned()));
    let shown = |value: &Json| match value {
        Json::Null => "-".to_owned(),
        Json::String(text) => text.clone(),
        other => other.to_string(),
    };
    for (key, one, other) in &settings {
        table.add_row([key.clone(), shown(one), shown(other)]);
    }
    writeln!(out, "{table}\n")?;
    let mut table = plain_table(&["CANDIDATE", "METRIC", "FIRST", "SECOND", "DIFFERENCE"]);
    for metric in &metrics {
        let text = |key: &str| metric[key].as_str().unwrap_or_default().to_owned();
        let side = |key: &str| match metric[key]["value"].as_f64() {
            None => "-".to_owned(),
            Some(value) => {
                let bound = |end: &str| metric[key][end].as_f64().unwrap_or(value);
                format!("{value:.4} [{:.4}, {:.4}]", bound("lower"), bound("upper"))
            }
        };
        let difference = metric["difference"].as_f64().map(|number| format!("{number:+.4}"));
        table.add_row([
            text("candidate"),
            text("metric"),
            side("first"),
            side("second"),
            difference.unwrap_or_else(|| "-".to_owned()),
        ]);
    }
    writeln!(out, "{table}")?;
    if same_rows != Some(true) {
        writeln!(
            out,
            "the runs did not read the same rows, as far as is known: metrics differ for that too"
        )?;
    }
    Ok(true)
}

/// What two specifications say differently, by dotted key.
fn differences(first: &Json, second: &Json) -> Vec<(String, Json, Json)> {
    fn flatten(prefix: &str, value: &Json, into: &mut Map<String, Json>) {
        match value {
            Json::Object(fields) if !fields.is_empty() => {
                for (key, value) in fields {
                    let key = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
                    flatten(&key, value, into);
                }
            }
            other => {
                into.insert(prefix.to_owned(), other.clone());
            }
        }
    }
    let [mut one, mut other] = [Map::new(), Map::new()];
    flatten("", first, &mut one);
    flatten("", second, &mut other);
    let keys: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    let of = |fields: &Map<String, Json>, key: &str| fields.get(key).cloned().unwrap_or(Json::Null);
    keys.into_iter()
        .map(|key| (key.clone(), of(&one, key), of(&other, key)))
        .filter(|(_, one, other)| one != other)
        .collect()
}

/// The metrics of both, by candidate and name.
fn metrics(sides: &[Side; 2]) -> Vec<Json> {
    let measured = sides.each_ref().map(|side| {
        let evaluation = side.evaluation();
        with_bounds(&evaluation)
    });
    let keys: BTreeSet<(&str, &str)> = measured
        .iter()
        .flatten()
        .map(|(metric, _, _)| (metric.candidate.as_str(), metric.name.as_str()))
        .collect();
    keys.into_iter()
        .map(|(candidate, name)| {
            let [first, second] = measured.each_ref().map(|side| {
                side.iter().find(|(metric, _, _)| metric.candidate == candidate && metric.name == name)
            });
            let shown = |side: Option<&(&Metric, f64, f64)>| {
                side.map(
                    |(metric, lower, upper)| json!({"value": metric.value, "lower": lower, "upper": upper}),
                )
            };
            let difference = first.zip(second).map(|(first, second)| second.0.value - first.0.value);
            json!({"candidate": candidate, "metric": name, "first": shown(first), "second": shown(second),
                   "difference": difference})
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_told() {
        let first = json!({"seed": 1, "deep": {"hidden": [64], "dropout": 0.1}, "task": "binary"});
        let second = json!({"seed": 2, "deep": {"hidden": [64], "dropout": 0.0}, "extra": {}});
        let found: Vec<String> = differences(&first, &second).into_iter().map(|(key, ..)| key).collect();
        assert_eq!(found, ["deep.dropout", "extra", "seed", "task"]);
        assert!(differences(&first, &first).is_empty());
    }
}
