//! `driftline models`: the registry.

use std::io::Write;

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use serde_json::Value as Json;
use sqlx::PgPool;

use super::ExitStatus;
use super::retrain::{COMMAND_LINE, plain_table};
use crate::alert::Word;
use crate::model::ModelName;
use crate::store;
use crate::store::model_version::{self, ModelVersion};
use crate::store::operation::{self, Promotion};

mod card;
mod export;

/// What `models` can do.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List versions, newest first
    List {
        /// Only of this model
        #[arg(short, long)]
        model: Option<ModelName>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one version
    Show {
        /// The model
        model: ModelName,
        /// The version; the one in production when left out
        #[arg(id = "shown", value_name = "VERSION")]
        version: Option<i64>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Write a version in the forms that serving stacks load
    Export(export::Arguments),
    /// Show what is known of a version: data, metrics, segments, importance, why it exists
    Card(card::Arguments),
    /// Put a version into production; its baseline becomes the active one
    Promote {
        /// The model
        #[arg(short, long)]
        model: ModelName,
        /// The version
        #[arg(id = "promoted", value_name = "VERSION")]
        version: i64,
        #[command(flatten)]
        said: Said,
    },
    /// Put the version back that the present one took over from
    Rollback {
        /// The model
        #[arg(short, long)]
        model: ModelName,
        /// Another version that has been in production
        #[arg(id = "restored", value_name = "VERSION")]
        version: Option<i64>,
        #[command(flatten)]
        said: Said,
    },
}

impl Command {
    /// Whether the registry is asked at all.
    pub(super) fn needs_registry(&self) -> bool {
        !matches!(self, Self::Export(arguments) if arguments.artifact.is_some())
    }
}

/// Carries out a command that needs no registry.
///
/// # Errors
///
/// When the command could not be carried out, or does need the registry.
pub(super) fn run_alone(command: Command, out: &mut impl Write) -> Result<ExitStatus> {
    match command {
        Command::Export(arguments) => export::from_file(&arguments, out),
        _ => anyhow::bail!("this command needs the registry"),
    }
}

/// Who moves production, and why.
#[derive(Debug, clap::Args)]
pub(super) struct Said {
    /// Why, for the registry
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Who you are
    #[arg(long, value_name = "NAME", env = "USER", hide_env = true, default_value = COMMAND_LINE)]
    by: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Carries out `command`.
///
/// # Errors
///
/// When the registry cannot be read, the version does not exist, or may not enter production.
pub(super) async fn run(
    pool: &PgPool,
    command: Command,
    now: DateTime<Utc>,
    out: &mut impl Write,
) -> Result<()> {
    match command {
        Command::Promote { model, version, said } => {
            let word = Word::new(&said.by, &said.reason)?;
            moved(&operation::promote(pool, &model, version, &word, now).await?, said.json, out)
        }
        Command::Rollback { model, version, said } => {
            let word = Word::new(&said.by, &said.reason)?;
            moved(&operation::rollback(pool, &model, version, &word, now).await?, said.json, out)
        }
        Command::List { model, json } => list(pool, model.as_ref(), json, out).await,
        Command::Show { model, version, json } => show(pool, &model, version, json, out).await,
        Command::Export(arguments) => export::from_registry(pool, &arguments, out).await,
        Command::Card(arguments) => card::run(pool, &arguments, out).await,
    }
}

/// Says what is in production now, and what was.
fn moved(promotion: &Promotion, json: bool, out: &mut impl Write) -> Result<()> {
    if json {
        writeln!(out, "{}", serde_json::to_string_pretty(promotion)?)?;
        return Ok(());
    }
    let ModelVersion { model, version, .. } = &promotion.version;
    let before = promotion.previous.map(|previous| format!("; version {previous} is archived"));
    writeln!(out, "{model}: version {version} is in production{}", before.unwrap_or_default())?;
    writeln!(out, "windows are judged against baseline {} from now on", promotion.baseline)?;
    Ok(())
}

async fn list(pool: &PgPool, model: Option<&ModelName>, json: bool, out: &mut impl Write) -> Result<()> {
    let versions = model_version::list(pool, model).await?;
    if json {
        writeln!(out, "{}", serde_json::to_string_pretty(&versions)?)?;
        return Ok(());
    }
    let mut table =
        plain_table(&["MODEL", "VERSION", "STATE", "KIND", "ROWS", "BASELINE", "REASON", "REGISTERED"]);
    for version in versions {
        table.add_row([
            version.model,
            version.version.to_string(),
            version.state,
            version.kind,
            version.snapshot_rows.to_string(),
            version.baseline,
            version.reason,
            version.created_at.format("%F %T").to_string(),
        ]);
    }
    writeln!(out, "{table}")?;
    for (name, baseline) in store::model::list(pool).await? {
        if baseline.is_none()
            && model.is_none_or(|model| *model == name)
            && let Some(note) = super::capture::without_baseline(pool, &name).await?
        {
            writeln!(out, "{note}")?;
        }
    }
    Ok(())
}

/// The version asked for, or the one in production.
async fn find(pool: &PgPool, model: &ModelName, version: Option<i64>) -> Result<ModelVersion> {
    match version {
        Some(number) => model_version::show(pool, model, number).await?.with_context(|| {
            format!("model `{model}` has no version {number}; `driftline models list -m {model}` shows them")
        }),
        None => model_version::production(pool, model).await?.with_context(|| {
            format!("model `{model}` has no version in production; `driftline models list -m {model}` shows its versions")
        }),
    }
}

async fn show(
    pool: &PgPool,
    model: &ModelName,
    version: Option<i64>,
    json: bool,
    out: &mut impl Write,
) -> Result<()> {
    let found = find(pool, model, version).await?;
    if json {
        writeln!(out, "{}", serde_json::to_string_pretty(&found)?)?;
        return Ok(());
    }
    let text = |value: &Json, key: &str| match value.get(key) {
        Some(Json::String(text)) => text.clone(),
        Some(Json::Null) | None => "-".to_owned(),
        Some(other) => other.to_string(),
    };
    let lines = [
        ("model", format!("{} version {}", found.model, found.version)),
        ("state", found.state.clone()),
        ("kind", found.kind.clone()),
        ("artifact", found.artifact_uri.clone()),
        ("sha256", found.artifact_sha256.clone()),
        ("seed", found.seed.to_string()),
        ("snapshot", format!("{} ({} rows)", found.snapshot, found.snapshot_rows)),
        ("baseline", found.baseline.clone()),
        ("parent", found.parent.map_or_else(|| "-".to_owned(), |parent| parent.to_string())),
        (
            "build",
            format!(
                "driftline {}, libtorch {}, {}",
                text(&found.build, "driftline"),
                text(&found.build, "libtorch"),
                text(&found.build, "device")
            ),
        ),
        ("run", found.run.to_string()),
        ("reason", found.reason.clone()),
        ("gate", found.metrics.get("gate").map(|gate| text(gate, "reason")).unwrap_or_default()),
        ("registered", found.created_at.format("%F %T").to_string()),
        ("promoted", found.promoted_at.map_or_else(|| "-".to_owned(), |at| at.format("%F %T").to_string())),
    ];
    for (name, value) in lines {
        writeln!(out, "{name:<10} {value}")?;
    }
    let mut table = plain_table(&["CANDIDATE", "METRIC", "HELD-OUT VALUE", "95 % INTERVAL"]);
    for candidate in ["linear", "deep", "production"] {
        let Some(metrics) = found.metrics.get(candidate).and_then(Json::as_object) else { continue };
        for (name, estimate) in metrics {
            let number = |key: &str| estimate.get(key).and_then(Json::as_f64).unwrap_or(f64::NAN);
            table.add_row([
                candidate.to_owned(),
                name.clone(),
                format!("{:.4}", number("value")),
                format!("{:.4} to {:.4}", number("lower"), number("upper")),
            ]);
        }
    }
    writeln!(out, "{table}")?;
    let shares = importance(&found.metrics);
    if !shares.is_empty() {
        let mut table = plain_table(&["FEATURE", "IMPORTANCE"]);
        for (name, share) in shares {
            table.add_row([name.to_owned(), format!("{:.1} %", 100.0 * share)]);
        }
        writeln!(out, "{table}")?;
    }
    Ok(())
}

/// The features of a version by their share in what it knows, the greatest first.
pub(super) fn importance(metrics: &Json) -> Vec<(&str, f64)> {
    let shares = metrics.get("importance").and_then(Json::as_object);
    let mut shares: Vec<(&str, f64)> = shares
        .into_iter()
        .flatten()
        .filter_map(|(name, share)| Some((name.as_str(), share.as_f64()?)))
        .collect();
    shares.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(b.0)));
    shares
}
