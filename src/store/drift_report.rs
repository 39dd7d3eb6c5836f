//! Table `drift_report`: the judged windows.

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;
use sqlx::types::Json;
use uuid::Uuid;

use super::StoreError;
use crate::drift::DriftReport;
use crate::model::ModelName;

/// Writes `report` under `id`; false when the window has been judged before, and nothing is written then.
///
/// # Errors
///
/// [`StoreError::UnknownModel`] when the model is not registered; [`StoreError::Database`].
pub async fn insert(db: impl PgExecutor<'_>, id: Uuid, report: &DriftReport) -> Result<bool, StoreError> {
    let outcome = sqlx::query(
        "insert into drift_report (id, model, baseline, window_start, window_end, verdict, row_count, content)
         values ($1, $2, $3, $4, $5, $6, $7, $8)
         on conflict on constraint drift_report_window_key do nothing",
    )
    .bind(id)
    .bind(report.model.as_str())
    .bind(&report.baseline)
    .bind(report.window_start)
    .bind(report.window_end)
    .bind(report.verdict.as_str())
    .bind(i64::try_from(report.rows).unwrap_or(i64::MAX))
    .bind(Json(report))
    .execute(db)
    .await
    .map_err(|error| StoreError::for_model(&report.model, error))?;
    Ok(outcome.rows_affected() == 1)
}

/// The newest reports of `model`, newest first.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn latest(
    db: impl PgExecutor<'_>,
    model: &ModelName,
    limit: i64,
) -> Result<Vec<(Uuid, DriftReport)>, StoreError> {
    let rows: Vec<(Uuid, Json<DriftReport>)> = sqlx::query_as(
        "select id, content from drift_report where model = $1 order by window_start desc limit $2",
    )
    .bind(model.as_str())
    .bind(limit)
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|(id, Json(report))| (id, report)).collect())
}

/// The report on the newest window of `model`, if there is one.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn newest(db: impl PgExecutor<'_>, model: &ModelName) -> Result<Option<Uuid>, StoreError> {
    let row: Option<(Uuid,)> =
        sqlx::query_as("select id from drift_report where model = $1 order by window_start desc limit 1")
            .bind(model.as_str())
            .fetch_optional(db)
            .await?;
    Ok(row.map(|(id,)| id))
}

/// The reports of `model` whose windows start after `after`, oldest first.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn after(
    db: impl PgExecutor<'_>,
    model: &ModelName,
    after: DateTime<Utc>,
) -> Result<Vec<(Uuid, DriftReport)>, StoreError> {
    let rows: Vec<(Uuid, Json<DriftReport>)> = sqlx::query_as(
        "select id, content from drift_report where model = $1 and window_start > $2 order by window_start",
    )
    .bind(model.as_str())
    .bind(after)
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|(id, Json(report))| (id, report)).collect())
}

/// The report `id`.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn get(db: impl PgExecutor<'_>, id: Uuid) -> Result<Option<DriftReport>, StoreError> {
    let row: Option<(Json<DriftReport>,)> =
        sqlx::query_as("select content from drift_report where id = $1").bind(id).fetch_optional(db).await?;
    Ok(row.map(|(Json(report),)| report))
}
