//! What people do with models and runs: each in one transaction, written down with who and why.

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Value as Json, json};
use sqlx::{PgConnection, PgExecutor, PgPool, Row};
use thiserror::Error;
use uuid::Uuid;

use super::StoreError;
use super::model_version::{self, ModelVersion};
use super::training_run::{self, Enqueued, RunError};
use crate::alert::{Word, WordError};
use crate::model::ModelName;
use crate::retrain::artifact::sha256;
use crate::retrain::{RunReason, RunState, TrainingSpec};

/// Most versions that an error names.
const NAMED: usize = 8;

/// Why an operation was refused; nothing has happened then.
#[derive(Debug, Error)]
pub enum OperationError {
    /// It does not say who or why.
    #[error(transparent)]
    Word(#[from] WordError),
    /// The registry has no such version.
    #[error("model `{model}` has no version {version}; {}", known(versions))]
    UnknownVersion {
        /// The model.
        model: ModelName,
        /// The version that was asked for.
        version: i64,
        /// Those that there are, newest first.
        versions: Vec<i64>,
    },
    /// There is nothing to do.
    #[error("version {version} of model `{model}` is in production already")]
    InProduction {
        /// The model.
        model: ModelName,
        /// The version.
        version: i64,
    },
    /// The gate found it worse than what was in production.
    #[error("version {version} of model `{model}` was rejected when it was trained, and cannot be promoted")]
    Rejected {
        /// The model.
        model: ModelName,
        /// The version.
        version: i64,
    },
    /// A rollback leads to what was in production before.
    #[error(
        "version {version} of model `{model}` has never been in production; `driftline models promote` puts it there"
    )]
    NeverInProduction {
        /// The model.
        model: ModelName,
        /// The version.
        version: i64,
    },
    /// The version in production is the first, or there is none.
    #[error("model `{0}` has no version to go back to; `driftline models list -m {0}` shows what there is")]
    NothingBefore(ModelName),
    /// The file of the model is not where the registry says.
    #[error(
        "the artifact of version {version}, `{}`, cannot be read ({problem}); restore it there, or promote another version",
        path.display()
    )]
    ArtifactMissing {
        /// The version.
        version: i64,
        /// Where it should be.
        path: PathBuf,
        /// What the system says.
        problem: String,
    },
    /// The file of the model is not the one that was registered.
    #[error(
        "the artifact of version {version}, `{}`, has SHA-256 {found}, but {registered} was registered; restore the \
         file that was, or promote another version",
        path.display()
    )]
    ArtifactDiffers {
        /// The version.
        version: i64,
        /// The file.
        path: PathBuf,
        /// Its hash.
        found: String,
        /// The hash of the registry.
        registered: String,
    },
    /// The specification cannot work.
    #[error("{}", .0.join("\n"))]
    Specification(Vec<String>),
    /// The model has a run that has not ended.
    #[error("run {run} of model `{model}` has not ended; follow it with `retrain logs -f {run}`")]
    Active {
        /// The model.
        model: ModelName,
        /// Its run.
        run: Uuid,
    },
    /// The run does not allow it.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The database refused or was not reached.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for OperationError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

fn known(versions: &[i64]) -> String {
    if versions.is_empty() {
        return "it has none yet".to_owned();
    }
    let named: Vec<String> = versions.iter().take(NAMED).map(ToString::to_string).collect();
    let more = if versions.len() > NAMED { ", …" } else { "" };
    format!("it has {}{more}", named.join(", "))
}

/// What somebody did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Operation {
    /// Identifies it.
    pub id: Uuid,
    /// When.
    pub at: DateTime<Utc>,
    /// `promote`, `rollback`, `retrain`, `approve` or `cancel`.
    pub action: String,
    /// The model.
    pub model: String,
    /// The version or the run.
    pub subject: String,
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
    /// What it changed.
    pub detail: Json,
}

/// A change of the version in production.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Promotion {
    /// The version, as it stands now.
    pub version: ModelVersion,
    /// The one that was in production before, archived now.
    pub previous: Option<i64>,
    /// The baseline that windows are judged against from now on.
    pub baseline: String,
}

/// Puts `version` of `model` into production: its baseline becomes the active one, and what was in production before
/// is archived.
///
/// # Errors
///
/// [`OperationError`] says why it may not be; nothing has changed then.
pub async fn promote(
    pool: &PgPool,
    model: &ModelName,
    version: i64,
    word: &Word,
    now: DateTime<Utc>,
) -> Result<Promotion, OperationError> {
    let wanted = find(pool, model, version).await?;
    may_enter(model, &wanted)?;
    check_artifact(&wanted).await?;
    enter(pool, model, version, Step::Forward, word, now).await
}

/// Puts the version back into production that the present one took over from, or `version`, which has been there.
///
/// # Errors
///
/// [`OperationError`] says why it may not be; nothing has changed then.
pub async fn rollback(
    pool: &PgPool,
    model: &ModelName,
    version: Option<i64>,
    word: &Word,
    now: DateTime<Utc>,
) -> Result<Promotion, OperationError> {
    super::model::active_baseline(pool, model).await?;
    let present = model_version::production(pool, model).await?;
    let before = present.as_ref().and_then(|present| present.replaced);
    let version = version.or(before).ok_or_else(|| OperationError::NothingBefore(model.clone()))?;
    let wanted = find(pool, model, version).await?;
    may_enter(model, &wanted)?;
    if wanted.promoted_at.is_none() {
        return Err(OperationError::NeverInProduction { model: model.clone(), version });
    }
    check_artifact(&wanted).await?;
    let expected = present.map(|present| present.version);
    enter(pool, model, version, Step::Back { expected }, word, now).await
}

/// Which way production moves.
#[derive(Clone, Copy)]
enum Step {
    /// To a version that takes over.
    Forward,
    /// To one that was there, from the one that was looked at.
    Back { expected: Option<i64> },
}

async fn find(pool: &PgPool, model: &ModelName, version: i64) -> Result<ModelVersion, OperationError> {
    super::model::active_baseline(pool, model).await?;
    if let Some(found) = model_version::show(pool, model, version).await? {
        return Ok(found);
    }
    let versions = model_version::list(pool, Some(model)).await?;
    let versions = versions.iter().map(|version| version.version).collect();
    Err(OperationError::UnknownVersion { model: model.clone(), version, versions })
}

fn may_enter(model: &ModelName, wanted: &ModelVersion) -> Result<(), OperationError> {
    let (model, version) = (model.clone(), wanted.version);
    match wanted.state.as_str() {
        "production" => Err(OperationError::InProduction { model, version }),
        "rejected" => Err(OperationError::Rejected { model, version }),
        _ => Ok(()),
    }
}

/// Reads the file of a version as this process sees it, and compares it with what was registered.
async fn check_artifact(version: &ModelVersion) -> Result<(), OperationError> {
    let path = PathBuf::from(version.artifact_uri.strip_prefix("file://").unwrap_or(&version.artifact_uri));
    let number = version.version;
    let missing =
        |problem: String| OperationError::ArtifactMissing { version: number, path: path.clone(), problem };
    let read = path.clone();
    let hashed = tokio::task::spawn_blocking(move || std::fs::read(read).map(|content| sha256(&content)));
    let found = hashed
        .await
        .map_err(|error| missing(error.to_string()))?
        .map_err(|error| missing(error.to_string()))?;
    if found == version.artifact_sha256 {
        return Ok(());
    }
    let registered = version.artifact_sha256.clone();
    Err(OperationError::ArtifactDiffers { version: number, path, found, registered })
}

async fn enter(
    pool: &PgPool,
    model: &ModelName,
    version: i64,
    step: Step,
    word: &Word,
    now: DateTime<Utc>,
) -> Result<Promotion, OperationError> {
    let mut transaction = pool.begin().await?;
    model_version::lock(&mut transaction, model).await?;
    let previous = model_version::production(&mut *transaction, model).await?.map(|present| present.version);
    if let Step::Back { expected } = step
        && previous != expected
    {
        return Err(RunError::ProductionMoved.into());
    }
    let wanted = model_version::show(&mut *transaction, model, version).await?;
    let wanted = wanted.ok_or(OperationError::UnknownVersion {
        model: model.clone(),
        version,
        versions: Vec::new(),
    })?;
    // Somebody may have been faster since the version was looked at.
    may_enter(model, &wanted)?;
    let forward = matches!(step, Step::Forward);
    let replaced = if forward { previous } else { wanted.replaced };
    model_version::enter_production(&mut transaction, model, version, replaced, now).await?;
    super::model::activate_baseline(&mut *transaction, model, &wanted.baseline).await?;
    let action = if forward { "promote" } else { "rollback" };
    let detail = json!({ "previous": previous, "baseline": wanted.baseline });
    record(&mut transaction, action, model.as_str(), &version.to_string(), word, &detail, now).await?;
    let entered = model_version::show(&mut *transaction, model, version).await?.unwrap_or(wanted);
    transaction.commit().await?;
    Ok(Promotion { previous, baseline: entered.baseline.clone(), version: entered })
}

/// Queues a run because a person asks for it.
///
/// # Errors
///
/// [`OperationError::Specification`] when `spec` cannot work, [`OperationError::Active`] when the model has a run that
/// has not ended.
pub async fn retrain(
    pool: &PgPool,
    spec: &TrainingSpec,
    word: &Word,
    now: DateTime<Utc>,
) -> Result<Uuid, OperationError> {
    let problems = spec.problems();
    if !problems.is_empty() {
        return Err(OperationError::Specification(problems));
    }
    let cause = format!("person:{}", Uuid::now_v7());
    let reason = RunReason::Person(word.reason.clone());
    let mut transaction = pool.begin().await?;
    let run = match training_run::enqueue(&mut transaction, spec, &reason, &cause, RunState::Queued).await? {
        Enqueued::Created(run) => run,
        Enqueued::SameCause(run) | Enqueued::Active(run) => {
            return Err(OperationError::Active { model: spec.model.clone(), run });
        }
    };
    record(&mut transaction, "retrain", spec.model.as_str(), &run.to_string(), word, &json!({}), now).await?;
    transaction.commit().await?;
    Ok(run)
}

/// Releases a suggested or waiting run into the queue.
///
/// # Errors
///
/// As [`training_run::approve`], and [`RunError::Unknown`].
pub async fn approve(
    pool: &PgPool,
    run: Uuid,
    word: &Word,
    now: DateTime<Utc>,
) -> Result<(), OperationError> {
    let mut transaction = pool.begin().await?;
    let before = training_run::show(&mut *transaction, run).await?;
    training_run::approve(&mut transaction, run).await?;
    let detail = json!({ "was": before.state });
    record(&mut transaction, "approve", &before.model, &run.to_string(), word, &detail, now).await?;
    transaction.commit().await?;
    Ok(())
}

/// Ends a run that no worker has, or asks its worker to stop. Returns the state it is in afterwards.
///
/// # Errors
///
/// As [`training_run::cancel`].
pub async fn cancel(
    pool: &PgPool,
    run: Uuid,
    word: &Word,
    now: DateTime<Utc>,
) -> Result<RunState, OperationError> {
    let mut transaction = pool.begin().await?;
    let before = training_run::show(&mut *transaction, run).await?;
    let state = training_run::cancel(&mut transaction, run).await?;
    let detail = json!({ "was": before.state });
    record(&mut transaction, "cancel", &before.model, &run.to_string(), word, &detail, now).await?;
    transaction.commit().await?;
    Ok(state)
}

async fn record(
    db: &mut PgConnection,
    action: &str,
    model: &str,
    subject: &str,
    word: &Word,
    detail: &Json,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    sqlx::query(
        "insert into operation (id, at, action, model, subject, author, reason, detail)
         values ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(Uuid::now_v7())
    .bind(now)
    .bind(action)
    .bind(model)
    .bind(subject)
    .bind(&word.by)
    .bind(&word.reason)
    .bind(detail)
    .execute(db)
    .await?;
    Ok(())
}

/// The newest `limit` operations on `model`, or on every model, newest first; those before `before` where it is given.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn list(
    db: impl PgExecutor<'_>,
    model: Option<&ModelName>,
    before: Option<(DateTime<Utc>, Uuid)>,
    limit: i64,
) -> Result<Vec<Operation>, StoreError> {
    let (at, id) = before.unzip();
    let rows = sqlx::query(
        "select * from operation
         where ($1::text is null or model = $1) and ($2::timestamptz is null or (at, id) < ($2, $3))
         order by at desc, id desc limit $4",
    )
    .bind(model.map(ModelName::as_str))
    .bind(at)
    .bind(id)
    .bind(limit)
    .fetch_all(db)
    .await?;
    let read = |row: &sqlx::postgres::PgRow| {
        Ok(Operation {
            id: row.try_get("id")?,
            at: row.try_get("at")?,
            action: row.try_get("action")?,
            model: row.try_get("model")?,
            subject: row.try_get("subject")?,
            by: row.try_get("author")?,
            reason: row.try_get("reason")?,
            detail: row.try_get("detail")?,
        })
    };
    rows.iter().map(read).collect()
}
