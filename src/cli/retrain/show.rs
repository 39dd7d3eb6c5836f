//! `retrain show`: one run with everything that was measured.

use std::io::Write;

use anyhow::Result;
use serde_json::{Value as Json, json};
use sqlx::PgPool;
use uuid::Uuid;

use super::{Succeeded, curve, plain_table};
use crate::store::model_version;
use crate::store::training_log::{self, Metric};
use crate::store::training_run::{self, TrainingRun};

/// Shows a run.
///
/// # Errors
///
/// When there is no such run or it cannot be read.
pub(super) async fn run(pool: &PgPool, run: Uuid, json: bool, out: &mut impl Write) -> Result<Succeeded> {
    let found = training_run::show(pool, run).await?;
    write(pool, &found, json, out).await?;
    Ok(true)
}

/// Writes a run: its state, the gate's decision, its evaluation and its learning curves.
pub(super) async fn write(pool: &PgPool, run: &TrainingRun, json: bool, out: &mut impl Write) -> Result<()> {
    let metrics = training_log::metrics(pool, run.id, -1).await?;
    let evaluation: Vec<&Metric> = metrics.iter().filter(|metric| metric.epoch < 0).collect();
    let curves = curve::curves(&metrics);
    let version = model_version::of_run(pool, run.id).await?;
    let evidence = training_run::evidence(pool, run.id).await?;
    let measured = version
        .as_ref()
        .map(|version| &version.metrics)
        .or_else(|| evidence.as_ref().and_then(|evidence| evidence.get("metrics")));
    let gate = measured.and_then(|metrics| metrics.get("gate"));
    if json {
        let mut content = serde_json::to_value(run)?;
        content["evaluation"] = json!(evaluation);
        content["curves"] = json!(curves);
        content["gate"] = gate.cloned().unwrap_or(Json::Null);
        content["evidence"] =
            measured.and_then(|metrics| metrics.get("evidence")).cloned().unwrap_or(Json::Null);
        content["registered"] = json!(version.as_ref().map(|version| json!({
            "version": version.version, "state": version.state, "artifact_sha256": version.artifact_sha256,
        })));
        writeln!(out, "{}", serde_json::to_string_pretty(&content)?)?;
        return Ok(());
    }
    let time = |time: Option<chrono::DateTime<chrono::Utc>>| {
        time.map_or_else(|| "-".to_owned(), |time| time.format("%F %T").to_string())
    };
    let mut lines = vec![
        ("run", run.id.to_string()),
        ("model", run.model.clone()),
        ("state", run.state.as_str().to_owned()),
        ("reason", format!("{}: {}", run.reason_kind, run.reason)),
        ("attempt", run.attempt.to_string()),
        ("worker", run.worker.clone().unwrap_or_else(|| "-".to_owned())),
        ("asked", time(Some(run.created_at))),
        ("started", time(run.started_at)),
        ("finished", time(run.finished_at)),
    ];
    lines.extend(version.map(|version| ("version", format!("{} ({})", version.version, version.state))));
    lines.extend(run.outcome.clone().map(|outcome| ("outcome", outcome)));
    for (name, value) in lines {
        writeln!(out, "{name:<9} {value}")?;
    }
    for line in curve::lines(&curves) {
        writeln!(out, "{:<9} {line}", "curve")?;
    }
    if !evaluation.is_empty() {
        let mut table = plain_table(&["CANDIDATE", "METRIC", "HELD-OUT VALUE", "95 % INTERVAL"]);
        for (metric, lower, upper) in with_bounds(&evaluation) {
            table.add_row([
                metric.candidate.clone(),
                metric.name.clone(),
                format!("{:.4}", metric.value),
                format!("{lower:.4} to {upper:.4}"),
            ]);
        }
        writeln!(out, "{table}")?;
    }
    Ok(())
}

/// The metrics that have an interval, with its ends.
pub(super) fn with_bounds<'a>(evaluation: &[&'a Metric]) -> Vec<(&'a Metric, f64, f64)> {
    let find = |metric: &Metric, end: &str| {
        let name = format!("{}_{end}", metric.name);
        let same = |other: &&&Metric| {
            other.candidate == metric.candidate && other.split == metric.split && other.name == name
        };
        evaluation.iter().find(same).map(|bound| bound.value)
    };
    evaluation
        .iter()
        .filter_map(|&metric| Some((metric, find(metric, "lower")?, find(metric, "upper")?)))
        .collect()
}
