//! Log lines and metrics of training runs; fenced like every write of a worker.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgExecutor;
use uuid::Uuid;

use super::StoreError;
use super::training_run::Claim;

/// Most metrics of one answer.
const MAX_METRICS: i64 = 20_000;

/// A line of a run's log.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LogLine {
    /// Orders the lines of a run.
    pub seq: i64,
    /// When it was written.
    pub at: DateTime<Utc>,
    /// `info` or `warn`.
    pub level: String,
    /// The line.
    pub message: String,
}

/// A number that a run measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Metric {
    /// `linear`, `deep` or `production`.
    pub candidate: String,
    /// `train`, `validation` or `test`.
    pub split: String,
    /// The epoch; −1 for the final evaluation.
    pub epoch: i32,
    /// What was measured.
    pub name: String,
    /// The number.
    pub value: f64,
}

/// Appends a line to the run's log, unless the lease is lost.
///
/// # Errors
///
/// [`StoreError::Database`] when the query fails.
pub async fn append(
    db: impl PgExecutor<'_>,
    claim: &Claim,
    level: &str,
    message: &str,
) -> Result<(), StoreError> {
    sqlx::query(
        "insert into training_log (run, level, message)
         select id, $3, $4 from training_run where id = $1 and attempt = $2 and state = 'running'",
    )
    .bind(claim.run)
    .bind(claim.attempt)
    .bind(level)
    .bind(message)
    .execute(db)
    .await?;
    Ok(())
}

/// Writes metrics of the claimed attempt, unless the lease is lost; a retry replaces.
///
/// # Errors
///
/// [`StoreError::Database`] when the query fails.
pub async fn record(db: impl PgExecutor<'_>, claim: &Claim, metrics: &[Metric]) -> Result<(), StoreError> {
    sqlx::query(
        "insert into training_metric (run, attempt, candidate, split, epoch, name, value)
         select r.id, r.attempt, given.*
         from training_run r,
              unnest($3::text[], $4::text[], $5::integer[], $6::text[], $7::double precision[]) as given
         where r.id = $1 and r.attempt = $2 and r.state = 'running'
         on conflict (run, attempt, candidate, split, epoch, name) do update set value = excluded.value",
    )
    .bind(claim.run)
    .bind(claim.attempt)
    .bind(metrics.iter().map(|metric| metric.candidate.clone()).collect::<Vec<_>>())
    .bind(metrics.iter().map(|metric| metric.split.clone()).collect::<Vec<_>>())
    .bind(metrics.iter().map(|metric| metric.epoch).collect::<Vec<_>>())
    .bind(metrics.iter().map(|metric| metric.name.clone()).collect::<Vec<_>>())
    .bind(metrics.iter().map(|metric| metric.value).collect::<Vec<_>>())
    .execute(db)
    .await?;
    Ok(())
}

/// The lines of `run` after `seq`, oldest first.
///
/// # Errors
///
/// [`StoreError::Database`] when the query fails.
pub async fn lines(db: impl PgExecutor<'_>, run: Uuid, after: i64) -> Result<Vec<LogLine>, StoreError> {
    let rows: Vec<(i64, DateTime<Utc>, String, String)> = sqlx::query_as(
        "select seq, at, level, message from training_log where run = $1 and seq > $2 order by seq",
    )
    .bind(run)
    .bind(after)
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|(seq, at, level, message)| LogLine { seq, at, level, message }).collect())
}

/// At most `limit` lines of `run` after `seq`, oldest first.
///
/// # Errors
///
/// [`StoreError::Database`] when the query fails.
pub async fn page(
    db: impl PgExecutor<'_>,
    run: Uuid,
    after: i64,
    limit: i64,
) -> Result<Vec<LogLine>, StoreError> {
    let rows: Vec<(i64, DateTime<Utc>, String, String)> = sqlx::query_as(
        "select seq, at, level, message from training_log where run = $1 and seq > $2 order by seq limit $3",
    )
    .bind(run)
    .bind(after)
    .bind(limit)
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|(seq, at, level, message)| LogLine { seq, at, level, message }).collect())
}

/// What the newest attempt of `run` has measured in epochs after `after` and in its final evaluation: by candidate,
/// epoch, split and name, the final evaluation (epoch −1) last.
///
/// # Errors
///
/// [`StoreError::Database`] when the query fails.
pub async fn metrics(db: impl PgExecutor<'_>, run: Uuid, after: i32) -> Result<Vec<Metric>, StoreError> {
    let rows: Vec<(String, String, i32, String, f64)> = sqlx::query_as(
        "select candidate, split, epoch, name, value from training_metric
         where run = $1 and (epoch > $2 or epoch = -1)
           and attempt = (select max(attempt) from training_metric where run = $1)
         order by epoch = -1, candidate, epoch, split, name limit $3",
    )
    .bind(run)
    .bind(after)
    .bind(MAX_METRICS)
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|(candidate, split, epoch, name, value)| Metric { candidate, split, epoch, name, value })
        .collect())
}

/// The final evaluation of the newest attempt of `run`.
///
/// # Errors
///
/// [`StoreError::Database`] when the query fails.
pub async fn evaluation(db: impl PgExecutor<'_>, run: Uuid) -> Result<Vec<Metric>, StoreError> {
    let rows: Vec<(String, String, i32, String, f64)> = sqlx::query_as(
        "select candidate, split, epoch, name, value from training_metric
         where run = $1 and epoch = -1
           and attempt = (select max(attempt) from training_metric where run = $1 and epoch = -1)
         order by candidate, split, name",
    )
    .bind(run)
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|(candidate, split, epoch, name, value)| Metric { candidate, split, epoch, name, value })
        .collect())
}
