//! Table `drift_report`: the judged windows.

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;
use sqlx::types::Json;
use uuid::Uuid;

use super::StoreError;
use super::drift_series::Narrow;
use crate::drift::{DriftReport, FeatureReport};
use crate::expectations::CheckVerdict;
use crate::model::ModelName;

/// Writes `report` under `id`, and what it came to into `drift_series`; false when the window has been judged before, and nothing is written then.
///
/// # Errors
///
/// [`StoreError::UnknownModel`] when the model is not registered; [`StoreError::Database`].
pub async fn insert(db: impl PgExecutor<'_>, id: Uuid, report: &DriftReport) -> Result<bool, StoreError> {
    let narrow = Narrow::of(report);
    let outcome = sqlx::query(
        "with judged as (
             insert into drift_report (id, model, baseline, window_start, window_end, verdict, row_count, content)
             values ($1, $2, $3, $4, $5, $6, $7, $8)
             on conflict on constraint drift_report_window_key do nothing
             returning id
         ), columns as (
             insert into drift_columns (model, baseline, names, roles, kinds)
             select $2, $3, $9, $10, $11 from judged
             on conflict (model, baseline) do update
             set names = excluded.names, roles = excluded.roles, kinds = excluded.kinds
             where drift_columns.names is distinct from excluded.names
         )
         insert into drift_series (report, model, baseline, window_start, window_end, verdict, reason, row_count, loss_share,
             drifted, effect, strongest, segments, segments_drifted, schema_changes, expectations, traffic,
             statistics, effects, verdicts)
         select id, $2, $3, $4, $5, $6, $12, $7, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24 from judged",
    )
    .bind(id)
    .bind(report.model.as_str())
    .bind(&report.baseline)
    .bind(report.window_start)
    .bind(report.window_end)
    .bind(report.verdict.as_str())
    .bind(i64::try_from(report.rows).unwrap_or(i64::MAX))
    .bind(Json(report))
    .bind(narrow.names)
    .bind(narrow.roles)
    .bind(narrow.kinds)
    .bind(&report.reason)
    .bind(report.losses.share())
    .bind(narrow.drifted)
    .bind(narrow.effect)
    .bind(narrow.strongest)
    .bind(narrow.segments)
    .bind(narrow.segments_drifted)
    .bind(narrow.schema_changes)
    .bind(report.expectations_verdict.map(CheckVerdict::as_str))
    .bind(report.traffic.as_ref().map(|traffic| traffic.verdict.as_str()))
    .bind(narrow.statistics)
    .bind(narrow.effects)
    .bind(narrow.verdicts)
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

/// At most `limit` reports of `model`, newest first, on windows that start before `before` where it is given.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn page(
    db: impl PgExecutor<'_>,
    model: &ModelName,
    before: Option<DateTime<Utc>>,
    limit: i64,
) -> Result<Vec<(Uuid, DriftReport)>, StoreError> {
    let rows: Vec<(Uuid, Json<DriftReport>)> = sqlx::query_as(
        "select id, content from drift_report
         where model = $1 and ($2::timestamptz is null or window_start < $2) order by window_start desc limit $3",
    )
    .bind(model.as_str())
    .bind(before)
    .bind(limit)
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|(id, Json(report))| (id, report)).collect())
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

/// The report `id` with those of its columns that are not ok, and none of their bins: small, however many columns there are.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn findings(db: impl PgExecutor<'_>, id: Uuid) -> Result<Option<DriftReport>, StoreError> {
    let row: Option<(Json<DriftReport>,)> = sqlx::query_as(
        "select jsonb_set(content, '{features}', coalesce(
             (select jsonb_agg(f || '{\"bins\": []}' order by n)
              from jsonb_array_elements(content -> 'features') with ordinality as features (f, n)
              where f ->> 'verdict' <> 'ok'), '[]'))
         from drift_report where id = $1",
    )
    .bind(id)
    .fetch_optional(db)
    .await?;
    Ok(row.map(|(Json(report),)| report))
}

/// The report `id` with the one column `column`, and without segments; no column when the report has none of this name.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn column(
    db: impl PgExecutor<'_>,
    id: Uuid,
    column: &str,
) -> Result<Option<(DriftReport, Option<FeatureReport>)>, StoreError> {
    let row: Option<(Json<DriftReport>,)> = sqlx::query_as(
        "select jsonb_set(content - 'segments', '{features}', coalesce(
             (select jsonb_agg(f) from jsonb_array_elements(content -> 'features') f where f ->> 'name' = $2), '[]'))
         from drift_report where id = $1",
    )
    .bind(id)
    .bind(column)
    .fetch_optional(db)
    .await?;
    Ok(row.map(|(Json(mut report),)| {
        let feature = report.features.pop();
        (report, feature)
    }))
}
