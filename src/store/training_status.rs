//! How the training runs of each model stand, over all of them.

use chrono::{DateTime, Utc};
use serde_json::Value as Json;
use sqlx::{PgExecutor, Row};
use uuid::Uuid;

use super::StoreError;

/// How many runs of each model are in each state.
///
/// # Errors
///
/// [`StoreError::Database`] when the query fails.
pub async fn counts(db: impl PgExecutor<'_>) -> Result<Vec<(String, String, i64)>, StoreError> {
    Ok(sqlx::query_as("select model, state, count(*) from training_run group by model, state")
        .fetch_all(db)
        .await?)
}

/// How long the oldest queued run of each model has been waiting, in seconds.
///
/// # Errors
///
/// [`StoreError::Database`] when the query fails.
pub async fn oldest_queued(db: impl PgExecutor<'_>) -> Result<Vec<(String, f64)>, StoreError> {
    Ok(sqlx::query_as(
        "select model, extract(epoch from now() - min(created_at))::float8 from training_run
         where state = 'queued' group by model",
    )
    .fetch_all(db)
    .await?)
}

/// The newest run of a model that a worker has begun.
#[derive(Debug, Clone, PartialEq)]
pub struct BegunRun {
    /// The model.
    pub model: String,
    /// Where it stands.
    pub state: String,
    /// What the worker wrote last.
    pub progress: Json,
}

/// The newest run of each model that a worker has begun.
///
/// # Errors
///
/// [`StoreError::Database`] when the query fails.
pub async fn newest_begun(db: impl PgExecutor<'_>) -> Result<Vec<BegunRun>, StoreError> {
    let rows: Vec<(String, String, Json)> = sqlx::query_as(
        "select distinct on (model) model, state, progress from training_run
         where started_at is not null order by model, started_at desc",
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|(model, state, progress)| BegunRun { model, state, progress }).collect())
}

/// The last run of a model that ended in a state.
#[derive(Debug, Clone, PartialEq)]
pub struct EndedRun {
    /// The model.
    pub model: String,
    /// How it ended.
    pub state: String,
    /// When, in seconds since 1970.
    pub ended_at: f64,
    /// How long it took from its first claim, in seconds; absent where no worker had it.
    pub seconds: Option<f64>,
}

/// The last run of each model that ended in each state.
///
/// # Errors
///
/// [`StoreError::Database`] when the query fails.
pub async fn last_ended(db: impl PgExecutor<'_>) -> Result<Vec<EndedRun>, StoreError> {
    let rows: Vec<(String, String, f64, Option<f64>)> = sqlx::query_as(
        "select distinct on (model, state) model, state, extract(epoch from finished_at)::float8,
                extract(epoch from finished_at - started_at)::float8
         from training_run where finished_at is not null order by model, state, finished_at desc",
    )
    .fetch_all(db)
    .await?;
    let ended = |(model, state, ended_at, seconds)| EndedRun { model, state, ended_at, seconds };
    Ok(rows.into_iter().map(ended).collect())
}

/// A run that has ended.
#[derive(Debug, Clone, PartialEq)]
pub struct FinishedRun {
    /// Identifies the run.
    pub id: Uuid,
    /// The model.
    pub model: String,
    /// How it ended.
    pub state: String,
    /// `rule`, `person` or `bootstrap`.
    pub reason_kind: String,
    /// Why it existed.
    pub reason: String,
    /// How it ended, in a sentence.
    pub outcome: Option<String>,
    /// The version it registered.
    pub version: Option<i64>,
    /// How often a worker claimed it.
    pub attempt: i32,
    /// The worker that had it last.
    pub worker: Option<String>,
    /// When it was asked for.
    pub created_at: DateTime<Utc>,
    /// When a worker first claimed it.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub finished_at: DateTime<Utc>,
    /// The same in microseconds since 1970.
    pub finished: i64,
}

/// The runs that ended after `since`, in microseconds since 1970, oldest first.
///
/// # Errors
///
/// [`StoreError::Database`] when the query fails.
pub async fn finished_after(db: impl PgExecutor<'_>, since: i64) -> Result<Vec<FinishedRun>, StoreError> {
    let rows = sqlx::query(
        "select * from training_run where finished_at > to_timestamp(0) + $1 * interval '1 microsecond'
         order by finished_at limit 1000",
    )
    .bind(since)
    .fetch_all(db)
    .await?;
    rows.iter()
        .map(|row| {
            let finished_at: DateTime<Utc> = row.try_get("finished_at")?;
            Ok(FinishedRun {
                id: row.try_get("id")?,
                model: row.try_get("model")?,
                state: row.try_get("state")?,
                reason_kind: row.try_get("reason_kind")?,
                reason: row.try_get("reason")?,
                outcome: row.try_get("outcome")?,
                version: row.try_get("version")?,
                attempt: row.try_get("attempt")?,
                worker: row.try_get("worker")?,
                created_at: row.try_get("created_at")?,
                started_at: row.try_get("started_at")?,
                finished_at,
                finished: finished_at.timestamp_micros(),
            })
        })
        .collect::<Result<_, sqlx::Error>>()
        .map_err(StoreError::Database)
}

/// The database's present, in microseconds since 1970: runs are stamped by it.
///
/// # Errors
///
/// [`StoreError::Database`] when the query fails.
pub async fn now(db: impl PgExecutor<'_>) -> Result<i64, StoreError> {
    let (now,): (DateTime<Utc>,) = sqlx::query_as("select now()").fetch_one(db).await?;
    Ok(now.timestamp_micros())
}
