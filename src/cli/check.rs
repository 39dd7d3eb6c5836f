//! `driftline check`: settings, rules, baselines and connections, every problem with its place.

use std::io::Write;
use std::path::Path;

use super::ExitStatus;
use crate::app;
use crate::baseline::Baseline;
use crate::config::Settings;
use crate::expectations::ByModel;
use crate::model::ModelName;
use crate::notify::Receivers;
use crate::store;
use crate::tasks;

/// Checks everything that can be checked without serving; prints one line per part.
pub(super) async fn run(config: Option<&Path>, out: &mut impl Write) -> anyhow::Result<ExitStatus> {
    let settings = match super::load_settings(config) {
        Ok(settings) => settings,
        Err(error) => {
            writeln!(out, "settings: {error:#}")?;
            return Ok(ExitStatus::Failure);
        }
    };
    writeln!(out, "settings: ok, {} models", settings.models.len())?;
    let mut clean = true;
    let mut note = |part: &str, outcome: anyhow::Result<String>| -> std::io::Result<()> {
        clean &= outcome.is_ok();
        match outcome {
            Ok(text) => writeln!(out, "{part}: ok, {text}"),
            Err(error) => writeln!(out, "{part}: {error:#}"),
        }
    };
    note("rules", app::load_rules(&settings).map(|rules| format!("{} rules", rules.rules.len())))?;
    note("rule tests", super::rules::check_beside(&settings))?;
    let expectations = app::load_expectations(&settings);
    let expected = expectations.as_ref().map_or_else(|_| ByModel::default(), Clone::clone);
    note("expectations", expectations.map(|read| format!("{} files", read.len())))?;
    note("privacy", tasks::load_privacy(&settings).map(|_| "keys and patterns can be used".to_owned()))?;
    note(
        "receivers",
        Receivers::build(&settings).map(|_| format!("{} receivers", settings.receivers.len())).map_err(
            |problems| {
                anyhow::anyhow!("{}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
            },
        ),
    )?;
    note("baselines", check_baselines(&settings))?;
    note("database", check_database(&settings, &expected).await)?;
    if let Some(upstream) = &settings.tap.upstream {
        note("upstream", check_upstream(upstream).await)?;
    }
    Ok(if clean { ExitStatus::Success } else { ExitStatus::Failure })
}

/// Reads every baseline file under `baselines_dir`.
fn check_baselines(settings: &Settings) -> anyhow::Result<String> {
    let mut read = 0;
    if !settings.baselines_dir.exists() {
        return Ok(format!("`{}` does not exist yet", settings.baselines_dir.display()));
    }
    for model in std::fs::read_dir(&settings.baselines_dir)? {
        let folder = model?.path();
        if !folder.is_dir() {
            continue;
        }
        for file in std::fs::read_dir(&folder)? {
            let path = file?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                let text = std::fs::read_to_string(&path)?;
                Baseline::from_json(&text).map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))?;
                read += 1;
            }
        }
    }
    Ok(format!("{read} files"))
}

async fn check_database(settings: &Settings, expected: &ByModel) -> anyhow::Result<String> {
    let database = app::open_database(settings).await?;
    let models = store::model::list(&database.pool).await?;
    let missing: Vec<&str> = settings
        .models
        .iter()
        .filter(|model| !models.iter().any(|(name, baseline)| *name == model.name && baseline.is_some()))
        .map(|model| model.name.as_str())
        .collect();
    let misfits = misfits(&database.pool, &models, settings, expected).await;
    database.close().await?;
    let misfits = misfits?;
    if !misfits.is_empty() {
        anyhow::bail!("the active baselines do not suit what is said of models:\n{}", misfits.join("\n"));
    }
    if missing.is_empty() {
        Ok(format!("{} models registered", models.len()))
    } else {
        let names = missing.join(", ");
        Ok(format!("no baseline yet for {names}: `driftline baseline build DATA -m MODEL` makes one"))
    }
}

/// What of the expectations cannot be checked on the active baselines, and what they cannot be segmented by.
async fn misfits(
    db: &sqlx::PgPool,
    models: &[(ModelName, Option<String>)],
    settings: &Settings,
    expected: &ByModel,
) -> anyhow::Result<Vec<String>> {
    let mut misfits = Vec::new();
    for (model, version) in models {
        let expected = expected.get(model);
        let segmented = settings.model(model).filter(|model| !model.segments.is_empty());
        let Some(version) = version.as_ref().filter(|_| expected.is_some() || segmented.is_some()) else {
            continue;
        };
        let Some(baseline) = store::baseline::get(db, model, version).await? else { continue };
        let mut found = expected.map(|expected| expected.misfits(baseline.layout())).unwrap_or_default();
        found.extend(
            segmented
                .into_iter()
                .flat_map(|model| baseline.segments_of(&model.segments, model.segment_values).1),
        );
        misfits.extend(found.into_iter().map(|misfit| format!("model `{model}`: {misfit}")));
    }
    Ok(misfits)
}

async fn check_upstream(upstream: &str) -> anyhow::Result<String> {
    let address: http::Uri = upstream.parse()?;
    let host = address.host().unwrap_or_default().to_owned();
    let port = address.port_u16().unwrap_or(80);
    let connecting = tokio::net::TcpStream::connect((host.as_str(), port));
    tokio::time::timeout(std::time::Duration::from_secs(5), connecting)
        .await
        .map_err(|_| anyhow::anyhow!("{upstream} did not answer within 5 s"))?
        .map_err(|error| anyhow::anyhow!("{upstream} was not reached: {error}"))?;
    Ok(format!("{upstream} is reached"))
}
