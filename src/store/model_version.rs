//! The registry: every version of a model, what it was trained on and how well it did.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value as Json;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgExecutor, Row};
use uuid::Uuid;

use super::StoreError;
use super::snapshot::{self, Snapshot};
use super::training_run::RunError;
use crate::baseline::Baseline;
use crate::model::ModelName;
use crate::retrain::ModelKind;

/// A version as it stands in the table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelVersion {
    /// The model.
    pub model: String,
    /// 1, 2, ….
    pub version: i64,
    /// `candidate`, `production`, `archived` or `rejected`.
    pub state: String,
    /// `linear` or `deep`.
    pub kind: String,
    /// Where the artifact is.
    pub artifact_uri: String,
    /// SHA-256 of the artifact's file.
    pub artifact_sha256: String,
    /// Held-out metrics with their intervals, by candidate, and the gate's comparisons.
    pub metrics: Json,
    /// The frozen specification and what was chosen on the validation part.
    pub parameters: Json,
    /// The seed.
    pub seed: i64,
    /// Hash of the snapshot.
    pub snapshot: String,
    /// Rows of the snapshot.
    pub snapshot_rows: i64,
    /// Version of the baseline that goes with it.
    pub baseline: String,
    /// The version it took over from.
    pub parent: Option<i64>,
    /// The version that was in production when this one last went forward; a rollback leads there.
    pub replaced: Option<i64>,
    /// Program version, libtorch version, device.
    pub build: Json,
    /// The run that made it.
    pub run: Uuid,
    /// Rule, alert or person.
    pub reason: String,
    /// When it was registered.
    pub created_at: DateTime<Utc>,
    /// When it went into production.
    pub promoted_at: Option<DateTime<Utc>>,
}

/// Everything a new version is registered with.
#[derive(Debug, Clone, PartialEq)]
pub struct Registration {
    /// The model.
    pub model: ModelName,
    /// Linear or deep.
    pub kind: ModelKind,
    /// Where the artifact is.
    pub artifact_uri: String,
    /// SHA-256 of the artifact's file.
    pub artifact_sha256: String,
    /// Held-out metrics.
    pub metrics: Json,
    /// Parameters.
    pub parameters: Json,
    /// The seed.
    pub seed: u64,
    /// What it was trained on.
    pub snapshot: Snapshot,
    /// The baseline that goes with it.
    pub baseline: Baseline,
    /// The version in production that it was compared with.
    pub parent: Option<i64>,
    /// The build.
    pub build: Json,
    /// Why.
    pub reason: String,
}

/// Registers a version as production, archives the one before, and makes its baseline the active one.
///
/// Call it in a transaction. Returns the version's number.
///
/// # Errors
///
/// [`RunError::ProductionMoved`] when the version in production is not `registration.parent`;
/// [`RunError::Store`] otherwise.
pub async fn register(
    db: &mut PgConnection,
    run: Uuid,
    registration: &Registration,
) -> Result<i64, RunError> {
    let model = registration.model.as_str();
    lock(&mut *db, &registration.model).await?;
    let (production, last): (Option<i64>, Option<i64>) = sqlx::query_as(
        "select max(version) filter (where state = 'production'), max(version)
         from model_version where model = $1",
    )
    .bind(model)
    .fetch_one(&mut *db)
    .await?;
    if production != registration.parent {
        return Err(RunError::ProductionMoved);
    }
    let version = last.unwrap_or(0) + 1;
    snapshot::insert(&mut *db, &registration.model, &registration.snapshot).await?;
    super::baseline::insert(&mut *db, &registration.baseline).await?;
    super::model::activate_baseline(&mut *db, &registration.model, registration.baseline.version()).await?;
    sqlx::query("update model_version set state = 'archived' where model = $1 and state = 'production'")
        .bind(model)
        .execute(&mut *db)
        .await?;
    sqlx::query(
        "insert into model_version (model, version, state, kind, artifact_uri, artifact_sha256, metrics,
             parameters, seed, snapshot, snapshot_rows, baseline, parent, replaced, build, run, reason, promoted_at)
         values ($1, $2, 'production', $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $12, $13, $14, $15, now())",
    )
    .bind(model)
    .bind(version)
    .bind(registration.kind.as_str())
    .bind(&registration.artifact_uri)
    .bind(&registration.artifact_sha256)
    .bind(&registration.metrics)
    .bind(&registration.parameters)
    .bind(registration.seed.cast_signed())
    .bind(&registration.snapshot.hash)
    .bind(i64::try_from(registration.snapshot.row_count).unwrap_or(i64::MAX))
    .bind(registration.baseline.version())
    .bind(registration.parent)
    .bind(&registration.build)
    .bind(run)
    .bind(&registration.reason)
    .execute(&mut *db)
    .await?;
    Ok(version)
}

/// Serialises what changes the registry of one model until the transaction ends, so that numbers have no gaps and no
/// doubles.
pub(super) async fn lock(db: &mut PgConnection, model: &ModelName) -> Result<(), StoreError> {
    let known: Option<(String,)> = sqlx::query_as("select name from model where name = $1 for update")
        .bind(model.as_str())
        .fetch_optional(db)
        .await?;
    known.map(|_| ()).ok_or_else(|| StoreError::UnknownModel(model.clone()))
}

/// Archives what is in production and puts `version` there.
pub(super) async fn enter_production(
    db: &mut PgConnection,
    model: &ModelName,
    version: i64,
    replaced: Option<i64>,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    sqlx::query("update model_version set state = 'archived' where model = $1 and state = 'production'")
        .bind(model.as_str())
        .execute(&mut *db)
        .await?;
    sqlx::query(
        "update model_version set state = 'production', promoted_at = $3, replaced = $4
         where model = $1 and version = $2",
    )
    .bind(model.as_str())
    .bind(version)
    .bind(now)
    .bind(replaced)
    .execute(&mut *db)
    .await?;
    Ok(())
}

/// The version in production, if there is one.
///
/// # Errors
///
/// [`StoreError::Database`] when the query fails.
pub async fn production(
    db: impl PgExecutor<'_>,
    model: &ModelName,
) -> Result<Option<ModelVersion>, StoreError> {
    let row = sqlx::query("select * from model_version where model = $1 and state = 'production'")
        .bind(model.as_str())
        .fetch_optional(db)
        .await?;
    row.as_ref().map(read).transpose()
}

/// The version that was in production at `at`; where none was, the one that is.
///
/// # Errors
///
/// [`StoreError::Database`] when the query fails.
pub async fn in_production_at(
    db: impl PgExecutor<'_>,
    model: &ModelName,
    at: DateTime<Utc>,
) -> Result<Option<ModelVersion>, StoreError> {
    let row = sqlx::query(
        "select * from model_version
         where model = $1 and promoted_at is not null and (promoted_at <= $2 or state = 'production')
         order by promoted_at <= $2 desc, promoted_at desc limit 1",
    )
    .bind(model.as_str())
    .bind(at)
    .fetch_optional(db)
    .await?;
    row.as_ref().map(read).transpose()
}

/// The share of each feature in what the version in production knows; empty where there is no version, or where it was
/// registered without.
///
/// # Errors
///
/// [`StoreError::Database`] when the query fails.
pub async fn importance(
    db: impl PgExecutor<'_>,
    model: &ModelName,
) -> Result<BTreeMap<String, f64>, StoreError> {
    let row: Option<(Option<Json>,)> = sqlx::query_as(
        "select metrics -> 'importance' from model_version where model = $1 and state = 'production'",
    )
    .bind(model.as_str())
    .fetch_optional(db)
    .await?;
    let shares = row.and_then(|(shares,)| shares);
    // What another build may have written there is no reason to judge no window.
    Ok(shares.and_then(|shares| serde_json::from_value(shares).ok()).unwrap_or_default())
}

/// One version, if it exists.
///
/// # Errors
///
/// [`StoreError::Database`] when the query fails.
pub async fn show(
    db: impl PgExecutor<'_>,
    model: &ModelName,
    version: i64,
) -> Result<Option<ModelVersion>, StoreError> {
    let row = sqlx::query("select * from model_version where model = $1 and version = $2")
        .bind(model.as_str())
        .bind(version)
        .fetch_optional(db)
        .await?;
    row.as_ref().map(read).transpose()
}

/// The version that `run` registered, whatever became of it.
///
/// # Errors
///
/// [`StoreError::Database`] when the query fails.
pub async fn of_run(db: impl PgExecutor<'_>, run: Uuid) -> Result<Option<ModelVersion>, StoreError> {
    let row = sqlx::query("select * from model_version where run = $1 order by version desc limit 1")
        .bind(run)
        .fetch_optional(db)
        .await?;
    row.as_ref().map(read).transpose()
}

/// Every version, of one model or of all, newest first.
///
/// # Errors
///
/// [`StoreError::Database`] when the query fails.
pub async fn list(
    db: impl PgExecutor<'_>,
    model: Option<&ModelName>,
) -> Result<Vec<ModelVersion>, StoreError> {
    sqlx::query(
        "select * from model_version where $1::text is null or model = $1 order by model, version desc",
    )
    .bind(model.map(ModelName::as_str))
    .fetch_all(db)
    .await?
    .iter()
    .map(read)
    .collect()
}

fn read(row: &PgRow) -> Result<ModelVersion, StoreError> {
    Ok(ModelVersion {
        model: row.try_get("model")?,
        version: row.try_get("version")?,
        state: row.try_get("state")?,
        kind: row.try_get("kind")?,
        artifact_uri: row.try_get("artifact_uri")?,
        artifact_sha256: row.try_get("artifact_sha256")?,
        metrics: row.try_get("metrics")?,
        parameters: row.try_get("parameters")?,
        seed: row.try_get("seed")?,
        snapshot: row.try_get("snapshot")?,
        snapshot_rows: row.try_get("snapshot_rows")?,
        baseline: row.try_get("baseline")?,
        parent: row.try_get("parent")?,
        replaced: row.try_get("replaced")?,
        build: row.try_get("build")?,
        run: row.try_get("run")?,
        reason: row.try_get("reason")?,
        created_at: row.try_get("created_at")?,
        promoted_at: row.try_get("promoted_at")?,
    })
}

/// The version in production of each model that has one: model, version, kind, and when it was promoted in seconds since
/// 1970.
///
/// # Errors
///
/// [`StoreError::Database`] when the query fails.
pub async fn in_production(
    db: impl PgExecutor<'_>,
) -> Result<Vec<(String, i64, String, Option<f64>)>, StoreError> {
    Ok(sqlx::query_as(
        "select model, version, kind, extract(epoch from promoted_at)::float8 from model_version
         where state = 'production'",
    )
    .fetch_all(db)
    .await?)
}
