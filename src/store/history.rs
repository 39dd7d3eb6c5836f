//! What a replay of rules reads: reports in the order they were judged in, runs that were there, labels by time.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::types::Json;
use sqlx::{PgExecutor, Row};
use uuid::Uuid;

use super::StoreError;
use crate::drift::DriftReport;
use crate::model::ModelName;
use crate::retrain::rehearsal::PastRun;

/// End of the newest window of `model` that was judged; absent without reports.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn newest(db: impl PgExecutor<'_>, model: &ModelName) -> Result<Option<DateTime<Utc>>, StoreError> {
    let (end,) = sqlx::query_as("select max(window_end) from drift_report where model = $1")
        .bind(model.as_str())
        .fetch_one(db)
        .await?;
    Ok(end)
}

/// The reports of `model` on windows that end after `from`, in the order in which they were judged.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn reports(
    db: impl PgExecutor<'_>,
    model: &ModelName,
    from: DateTime<Utc>,
) -> Result<Vec<Uuid>, StoreError> {
    // Ids are of version 7 and made under the model's lock: they grow as windows are judged.
    let ids: Vec<(Uuid,)> =
        sqlx::query_as("select id from drift_report where model = $1 and window_end > $2 order by id")
            .bind(model.as_str())
            .bind(from)
            .fetch_all(db)
            .await?;
    Ok(ids.into_iter().map(|(id,)| id).collect())
}

/// The reports with these ids, by id, each with the moment it was judged.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn read(
    db: impl PgExecutor<'_>,
    ids: &[Uuid],
) -> Result<Vec<(Uuid, DriftReport, DateTime<Utc>)>, StoreError> {
    let rows: Vec<(Uuid, Json<DriftReport>, DateTime<Utc>)> =
        sqlx::query_as("select id, content, created_at from drift_report where id = any($1) order by id")
            .bind(ids)
            .fetch_all(db)
            .await?;
    Ok(rows.into_iter().map(|(id, Json(report), judged_at)| (id, report, judged_at)).collect())
}

/// The runs of `model` that a worker took and that no rule asked for.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn runs_of_people(db: impl PgExecutor<'_>, model: &ModelName) -> Result<Vec<PastRun>, StoreError> {
    let rows = sqlx::query(
        "select started_at, finished_at, reason_kind = 'bootstrap' as is_bootstrap from training_run
         where model = $1 and reason_kind <> 'rule' and started_at is not null order by started_at",
    )
    .bind(model.as_str())
    .fetch_all(db)
    .await?;
    let run = |row: &sqlx::postgres::PgRow| PastRun {
        started: row.get("started_at"),
        finished: row.get("finished_at"),
        is_bootstrap: row.get("is_bootstrap"),
    };
    Ok(rows.iter().map(run).collect())
}

/// How long the runs of `model` that came to a result took in the mean, and how many they are; absent without any.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn run_length(
    db: impl PgExecutor<'_>,
    model: &ModelName,
) -> Result<Option<(Duration, u64)>, StoreError> {
    let (seconds, runs): (Option<f64>, i64) = sqlx::query_as(
        "select avg(extract(epoch from finished_at - started_at))::float8, count(*) from training_run
         where model = $1 and state in ('succeeded', 'rejected') and started_at is not null and finished_at is not null",
    )
    .bind(model.as_str())
    .fetch_one(db)
    .await?;
    let length = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    Ok(length.map(|length| (length, runs.unsigned_abs())))
}

/// Labels of `model` that came after `after`, or ever, and up to `until`.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn labels_between(
    db: impl PgExecutor<'_>,
    model: &ModelName,
    after: Option<DateTime<Utc>>,
    until: DateTime<Utc>,
) -> Result<u64, StoreError> {
    let (labels,): (i64,) = sqlx::query_as(
        "select count(*) from label
         where model = $1 and created_at > coalesce($2, '-infinity'::timestamptz) and created_at <= $3",
    )
    .bind(model.as_str())
    .bind(after)
    .bind(until)
    .fetch_one(db)
    .await?;
    Ok(labels.unsigned_abs())
}
