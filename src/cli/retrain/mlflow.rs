//! `retrain export --mlflow`: a run as `MLflow`'s file store keeps it, so that `mlflow ui` and its client read it.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use chrono::{DateTime, Utc};
use serde_json::{Value as Json, json};
use sqlx::PgPool;
use uuid::Uuid;

use super::Succeeded;
use crate::retrain::RunState;
use crate::retrain::artifact::sha256;
use crate::store::model_version::{self, ModelVersion};
use crate::store::training_log::{self, Metric};
use crate::store::training_run::{self, TrainingRun};

/// Longest parameter that `MLflow` takes, in bytes.
const MAX_PARAMETER: usize = 6_000;

/// Writes `run` to the folder `mlruns`.
///
/// # Errors
///
/// When the run does not exist, is there already, or cannot be written.
pub(super) async fn run(
    pool: &PgPool,
    run: Uuid,
    mlruns: &Path,
    json: bool,
    out: &mut impl Write,
) -> Result<Succeeded> {
    let found = training_run::show(pool, run).await?;
    let metrics = training_log::metrics(pool, run, -1).await?;
    let version = model_version::of_run(pool, run).await?;
    fs::create_dir_all(mlruns).with_context(|| format!("`{}` could not be made", mlruns.display()))?;
    let mlruns = mlruns.canonicalize().with_context(|| format!("`{}` is gone", mlruns.display()))?;
    let experiment = experiment(&mlruns, &found)?;
    let folder = mlruns.join(&experiment).join(found.id.simple().to_string());
    if folder.exists() {
        bail!(
            "`{}` exists already: the run was exported before; remove the folder to write it anew",
            folder.display()
        );
    }
    let partial = mlruns.join(&experiment).join(format!(".{}.tmp", found.id.simple()));
    let files = files(&found, &metrics, version.as_ref(), &experiment, &folder);
    let written = write(&partial, &files)
        .and_then(|()| fs::rename(&partial, &folder))
        .with_context(|| format!("`{}` could not be written", folder.display()));
    if written.is_err() {
        // What is wrong is told by the error.
        fs::remove_dir_all(&partial).unwrap_or_default();
    }
    written?;
    if json {
        let content =
            json!({"experiment": experiment, "run": found.id.simple().to_string(), "folder": folder});
        writeln!(out, "{}", serde_json::to_string_pretty(&content)?)?;
    } else {
        writeln!(out, "{}", folder.display())?;
        let place = mlruns.display();
        writeln!(out, "`MLFLOW_ALLOW_FILE_STORE=true mlflow ui --backend-store-uri {place}` shows it")?;
        writeln!(
            out,
            "`mlflow migrate-filestore --source {place} --target DATABASE` takes it to a database"
        )?;
    }
    Ok(true)
}

/// The experiment of the run's model, made when it is not there; its name is the model's.
fn experiment(mlruns: &Path, run: &TrainingRun) -> Result<String> {
    // MLflow's own ids are 18 digits. One made of the name stays the same wherever the runs of a model are exported.
    let digits: String = sha256(run.model.as_bytes())
        .chars()
        .map(|digit| if digit.is_ascii_digit() { digit } else { '7' })
        .collect();
    let id = format!("1{}", &digits[..17]);
    let folder = mlruns.join(&id);
    let meta = folder.join("meta.yaml");
    if !meta.exists() {
        let time = milliseconds(run.created_at);
        let text = format!(
            "artifact_location: {}\ncreation_time: {time}\nexperiment_id: '{id}'\nlast_update_time: {time}\n\
             lifecycle_stage: active\nname: {}\n",
            uri(&folder),
            json!(run.model)
        );
        fs::create_dir_all(&folder)
            .and_then(|()| fs::write(&meta, text))
            .with_context(|| format!("`{}` could not be written", meta.display()))?;
    }
    Ok(id)
}

/// The files of a run, by path below its folder.
fn files(
    run: &TrainingRun,
    metrics: &[Metric],
    version: Option<&ModelVersion>,
    experiment: &str,
    folder: &Path,
) -> Vec<(String, String)> {
    let id = run.id.simple().to_string();
    let start = run.started_at.unwrap_or(run.created_at);
    let end = run.finished_at.map_or_else(|| "null".to_owned(), |end| milliseconds(end).to_string());
    // RUNNING 1, SCHEDULED 2, FINISHED 3, FAILED 4, KILLED 5. A rejected run has done what it was asked.
    let status = match run.state {
        RunState::Suggested | RunState::AwaitingApproval | RunState::Queued => 2,
        RunState::Running => 1,
        RunState::Succeeded | RunState::Rejected => 3,
        RunState::Failed => 4,
        RunState::Cancelled => 5,
    };
    let name = format!("{} {}", run.model, start.format("%F %T"));
    let meta = format!(
        "artifact_uri: {}\nend_time: {end}\nentry_point_name: ''\nexperiment_id: '{experiment}'\n\
         lifecycle_stage: active\nrun_id: {id}\nrun_name: {}\nsource_name: ''\nsource_type: 4\nsource_version: ''\n\
         start_time: {}\nstatus: {status}\ntags: []\nuser_id: driftline\n",
        uri(&folder.join("artifacts")),
        json!(name),
        milliseconds(start)
    );
    let mut files = vec![("meta.yaml".to_owned(), meta)];
    let mut parameters = Vec::new();
    flatten("", &run.spec, &mut parameters);
    for (key, value) in parameters {
        files.push((format!("params/{}", path_of(&key)), cut(value)));
    }
    let mut tags = vec![
        ("mlflow.runName", name),
        ("mlflow.source.name", "driftline".to_owned()),
        ("mlflow.user", "driftline".to_owned()),
        ("driftline.state", run.state.as_str().to_owned()),
        ("driftline.reason", format!("{}: {}", run.reason_kind, run.reason)),
    ];
    tags.extend(run.outcome.clone().map(|outcome| ("mlflow.note.content", outcome)));
    if let Some(version) = version {
        tags.push(("driftline.version", version.version.to_string()));
        tags.push(("driftline.version_state", version.state.clone()));
        tags.push(("driftline.artifact_sha256", version.artifact_sha256.clone()));
        tags.push(("driftline.snapshot", version.snapshot.clone()));
        for (name, content) in [("metrics.json", &version.metrics), ("parameters.json", &version.parameters)]
        {
            files.push((format!("artifacts/{name}"), format!("{content:#}\n")));
        }
    }
    files.extend(tags.into_iter().map(|(key, value)| (format!("tags/{key}"), value)));
    // A file for each metric, a line for each epoch; the time of an epoch is not kept, so all have the run's.
    let time = milliseconds(run.finished_at.unwrap_or(start));
    for metric in metrics {
        let path = format!(
            "metrics/{}/{}",
            path_of(&metric.candidate),
            path_of(&format!("{}_{}", metric.split, metric.name))
        );
        let line = format!("{time} {} {}\n", metric.value, metric.epoch.max(0));
        match files.iter_mut().rev().find(|(known, _)| *known == path) {
            Some((_, content)) => content.push_str(&line),
            None => files.push((path, line)),
        }
    }
    files
}

fn flatten(prefix: &str, value: &Json, into: &mut Vec<(String, String)>) {
    match value {
        Json::Object(fields) => {
            for (key, value) in fields {
                let key = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
                flatten(&key, value, into);
            }
        }
        Json::Null => {}
        Json::String(text) => into.push((prefix.to_owned(), text.clone())),
        other => into.push((prefix.to_owned(), other.to_string())),
    }
}

/// A name that `MLflow` and file systems take.
fn path_of(name: &str) -> String {
    name.chars()
        .map(|letter| if letter.is_alphanumeric() || "_-. ".contains(letter) { letter } else { '_' })
        .collect()
}

fn cut(mut text: String) -> String {
    if text.len() > MAX_PARAMETER {
        let mut end = MAX_PARAMETER - '…'.len_utf8();
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('…');
    }
    text
}

fn write(folder: &Path, files: &[(String, String)]) -> std::io::Result<()> {
    // MLflow lists these, filled or not.
    for needed in ["metrics", "params", "tags", "artifacts"] {
        fs::create_dir_all(folder.join(needed))?;
    }
    for (path, content) in files {
        let path: PathBuf = folder.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, content)?;
    }
    Ok(())
}

fn milliseconds(time: DateTime<Utc>) -> i64 {
    time.timestamp_millis()
}

/// `path` as a URI, in quotes for YAML.
fn uri(path: &Path) -> String {
    let mut uri = String::from("file://");
    for byte in path.to_string_lossy().bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            uri.push('%');
            uri.extend([byte >> 4, byte & 15].map(|half| char::from(b"0123456789ABCDEF"[usize::from(half)])));
        }
    }
    json!(uri).to_string()
}
