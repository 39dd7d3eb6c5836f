//! `driftline models card`: what is known of a version, to read and to pass on.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use serde_json::Value as Json;
use sqlx::PgPool;

use super::{find, importance};
use crate::model::ModelName;
use crate::retrain::card::{self, Card, Curve, Evidence};
use crate::retrain::evaluation::Metrics;
use crate::retrain::export::BundleFile;
use crate::store::artifact_file;
use crate::store::model_version::ModelVersion;
use crate::store::training_log::{self, Metric};

/// Which version, and where to.
#[derive(Debug, Args)]
pub(in crate::cli) struct Arguments {
    /// The model
    #[arg(short, long)]
    model: ModelName,
    /// The version; the one in production when left out
    #[arg(id = "shown", value_name = "VERSION")]
    version: Option<i64>,
    /// Make a folder with the card as Markdown and JSON and its pictures
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Prints the card of a version, or writes it with its pictures.
///
/// # Errors
///
/// When there is no such version or the folder cannot be written.
pub(super) async fn run(pool: &PgPool, arguments: &Arguments, out: &mut impl Write) -> Result<()> {
    let found = find(pool, &arguments.model, arguments.version).await?;
    let card = card_of(pool, &found).await?;
    if let Some(folder) = &arguments.to {
        artifact_file::write_folder(folder, &files(&card)?)?;
        writeln!(out, "{}", folder.join("card.md").display())?;
    } else if arguments.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&card)?)?;
    } else {
        write!(out, "{}", card::markdown(&card, false))?;
    }
    Ok(())
}

/// The card with its pictures as files.
pub(super) fn files(card: &Card) -> Result<Vec<BundleFile>> {
    let mut files = vec![
        BundleFile { path: "card.md".to_owned(), content: card::markdown(card, true).into_bytes() },
        BundleFile { path: "card.json".to_owned(), content: serde_json::to_vec_pretty(card)? },
    ];
    files.extend(
        card::pictures(card)
            .into_iter()
            .map(|(path, picture)| BundleFile { path, content: picture.into_bytes() }),
    );
    Ok(files)
}

/// The card of a version, from what is stored with it.
pub(super) async fn card_of(pool: &PgPool, version: &ModelVersion) -> Result<Card> {
    let curves = curves(&training_log::metrics(pool, version.run, -1).await?);
    let spec = version.parameters.get("spec").cloned().unwrap_or(Json::Null);
    let text = |value: &Json, key: &str| match value.get(key) {
        Some(Json::String(text)) => text.clone(),
        Some(Json::Null) | None => "unknown".to_owned(),
        Some(other) => other.to_string(),
    };
    let mut data = BTreeMap::from([
        ("rows".to_owned(), version.snapshot_rows.to_string()),
        ("source".to_owned(), text(&spec, "source")),
    ]);
    for (part, rows) in version.parameters.get("split").and_then(Json::as_object).into_iter().flatten() {
        data.insert(format!("rows to {part}"), rows.to_string());
    }
    let metrics = version
        .metrics
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(name, _)| ["linear", "tree", "deep", "production"].contains(&name.as_str()))
        // What another build wrote there is left out.
        .filter_map(|(name, metrics)| {
            Some((name.clone(), serde_json::from_value::<Metrics>(metrics.clone()).ok()?))
        })
        .collect();
    let evidence: Evidence = version
        .metrics
        .get("evidence")
        .and_then(|evidence| serde_json::from_value(evidence.clone()).ok())
        .unwrap_or_default();
    let mut reproducibility = BTreeMap::from([
        ("seed".to_owned(), version.seed.cast_unsigned().to_string()),
        ("snapshot".to_owned(), version.snapshot.clone()),
        ("artifact SHA-256".to_owned(), version.artifact_sha256.clone()),
        ("run".to_owned(), version.run.to_string()),
    ]);
    for (name, value) in version.build.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null())
    {
        reproducibility.insert(name.clone(), value.as_str().map_or_else(|| value.to_string(), str::to_owned));
    }
    Ok(Card {
        format: card::FORMAT,
        model: version.model.clone(),
        version: version.version,
        state: version.state.clone(),
        kind: version.kind.clone(),
        task: text(&spec, "task"),
        target: text(&spec, "target"),
        registered_at: version.created_at,
        reason: version.reason.clone(),
        decision: version.metrics.get("gate").map(|gate| text(gate, "reason")).unwrap_or_default(),
        data,
        metrics,
        importance: importance(&version.metrics)
            .into_iter()
            .map(|(name, share)| (name.to_owned(), share))
            .collect(),
        curves,
        evidence,
        reproducibility,
    })
}

/// The losses of the deep model by epoch.
fn curves(metrics: &[Metric]) -> Vec<Curve> {
    ["train", "validation"]
        .into_iter()
        .filter_map(|split| {
            let points: Vec<(i32, f64)> = metrics
                .iter()
                .filter(|metric| metric.candidate == "deep" && metric.name == "loss")
                .filter(|metric| metric.split == split && metric.epoch >= 0)
                .map(|metric| (metric.epoch, metric.value))
                .collect();
            (!points.is_empty()).then(|| Curve { split: split.to_owned(), points })
        })
        .collect()
}
