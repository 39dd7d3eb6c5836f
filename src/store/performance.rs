//! Table `performance_report`: how good the predictions of each window were, and what the reports are made from.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value as Json};
use sqlx::postgres::types::PgInterval;
use sqlx::types::Json as Jsonb;
use sqlx::{PgConnection, PgExecutor};

use super::StoreError;
use crate::model::ModelName;
use crate::performance::{MAX_ROWS, PerformanceReport};
use crate::window::Window;

/// How many labels the delays are learned from.
const DELAYS: i64 = 20_000;

/// A window whose labels have changed since its report, or that has none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outdated {
    /// The window.
    pub window: Window,
    /// Predictions that are kept.
    pub rows: u64,
    /// Of these, with a label.
    pub labelled: u64,
    /// When the newest of these labels was written.
    pub newest_label: DateTime<Utc>,
}

/// A kept prediction with its label.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Outputs by name.
    pub outputs: Map<String, Json>,
    /// The inputs that were asked for, by name.
    pub features: Map<String, Json>,
    /// The label.
    pub label: Json,
}

/// Takes the right to judge the performance of `model` for the rest of the transaction; false when another process holds it.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn try_lead(transaction: &mut PgConnection, model: &ModelName) -> Result<bool, StoreError> {
    let (leads,): (bool,) = sqlx::query_as(
        "select pg_try_advisory_xact_lock(hashtextextended('driftline performance ' || $1, 0))",
    )
    .bind(model.as_str())
    .fetch_one(transaction)
    .await?;
    Ok(leads)
}

/// The database's present, which stamps labels.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn present(db: impl PgExecutor<'_>) -> Result<DateTime<Utc>, StoreError> {
    let (now,): (DateTime<Utc>,) = sqlx::query_as("select now()").fetch_one(db).await?;
    Ok(now)
}

/// How long labels took, and how old their predictions are at `now`, both in seconds; a fair sample of them.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn delays(
    db: impl PgExecutor<'_>,
    model: &ModelName,
    now: DateTime<Utc>,
) -> Result<Vec<(f64, f64)>, StoreError> {
    Ok(sqlx::query_as(
        "select extract(epoch from labelled_at - predicted_at)::float8, extract(epoch from $2 - predicted_at)::float8
         from label where model = $1 order by hashtextextended(row_id, 0) limit $3",
    )
    .bind(model.as_str())
    .bind(now)
    .bind(DELAYS)
    .fetch_all(db)
    .await?)
}

/// The windows of `length` that got labels at `since` or later and whose report does not have them, and those that ended
/// by `ripe` and whose report is not mature; oldest first, at most `limit`.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn outdated(
    db: impl PgExecutor<'_>,
    model: &ModelName,
    length: TimeDelta,
    since: Option<DateTime<Utc>>,
    ripe: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<Outdated>, StoreError> {
    let rows: Vec<(i64, i64, i64, DateTime<Utc>)> = sqlx::query_as(
        "with touched as (
             select floor(extract(epoch from predicted_at) * 1000 / $3)::bigint as index from label
             where model = $1 and ($2::timestamptz is null or changed_at >= $2)
             union
             select floor(extract(epoch from window_start) * 1000 / $3)::bigint from performance_report
             where model = $1 and not mature and window_end - window_start = $4 and window_end <= $6
         ), spanned as (
             select index, timestamptz 'epoch' + index * $4 as starts, timestamptz 'epoch' + (index + 1) * $4 as ends
             from touched
         )
         select s.index, c.rows, c.labelled, c.newest
         from spanned s
         cross join lateral (
             select count(*) as rows, count(l.row_id) as labelled, max(l.changed_at) as newest
             from captured_row k left join label l using (model, row_id)
             where model = $1 and k.event_time >= s.starts and k.event_time < s.ends
         ) c
         left join performance_report r
             on r.model = $1 and r.window_start = s.starts and r.window_end = s.ends
         where c.labelled > 0 and c.rows >= coalesce(r.row_count, 0)
             and (r.model is null or (not r.mature and s.ends <= $6)
                 or (c.rows, c.labelled, c.newest) <> (r.row_count, r.labelled, r.newest_label))
         order by s.index limit $5",
    )
    .bind(model.as_str())
    .bind(since)
    .bind(length.num_milliseconds().max(1))
    .bind(interval(length))
    .bind(limit)
    .bind(ripe)
    .fetch_all(db)
    .await?;
    let window = |index: i64| {
        let length = length.num_milliseconds().max(1);
        let at =
            |index: i64| DateTime::from_timestamp_millis(index.saturating_mul(length)).unwrap_or_default();
        Window { start: at(index), end: at(index.saturating_add(1)) }
    };
    Ok(rows
        .into_iter()
        .map(|(index, rows, labelled, newest_label)| Outdated {
            window: window(index),
            rows: rows.unsigned_abs(),
            labelled: labelled.unsigned_abs(),
            newest_label,
        })
        .collect())
}

fn interval(span: TimeDelta) -> PgInterval {
    PgInterval { months: 0, days: 0, microseconds: span.num_microseconds().unwrap_or(i64::MAX) }
}

/// The labelled rows of a window in the order of time, with their inputs `features`; a fair sample of [`MAX_ROWS`] where
/// there are more.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn rows(
    db: impl PgExecutor<'_>,
    model: &ModelName,
    window: Window,
    features: &[String],
) -> Result<Vec<Row>, StoreError> {
    type Read = (Jsonb<Map<String, Json>>, Option<Jsonb<Map<String, Json>>>, Json);
    let rows: Vec<Read> = sqlx::query_as(
        "select outputs, features, value from (
             select c.event_time, row_id, c.outputs, l.value,
                 (select jsonb_object_agg(name, c.features -> name) from unnest($4::text[]) name) as features
             from captured_row c join label l using (model, row_id)
             where model = $1 and c.event_time >= $2 and c.event_time < $3
             order by hashtextextended(row_id, 0) limit $5
         ) chosen
         order by event_time, row_id",
    )
    .bind(model.as_str())
    .bind(window.start)
    .bind(window.end)
    .bind(features)
    .bind(i64::try_from(MAX_ROWS).unwrap_or(i64::MAX))
    .fetch_all(db)
    .await?;
    let row = |(outputs, features, label): Read| Row {
        outputs: outputs.0,
        features: features.map(|features| features.0).unwrap_or_default(),
        label,
    };
    Ok(rows.into_iter().map(row).collect())
}

/// How many rows of a window have each value of an input, and how many of these have a label.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn by_value(
    db: impl PgExecutor<'_>,
    model: &ModelName,
    window: Window,
    feature: &str,
) -> Result<Vec<(Option<Json>, u64, u64)>, StoreError> {
    let rows: Vec<(Option<Json>, i64, i64)> = sqlx::query_as(
        "select c.features -> $4, count(*), count(l.row_id)
         from captured_row c left join label l using (model, row_id)
         where model = $1 and c.event_time >= $2 and c.event_time < $3
         group by 1",
    )
    .bind(model.as_str())
    .bind(window.start)
    .bind(window.end)
    .bind(feature)
    .fetch_all(db)
    .await?;
    let count =
        |(value, rows, labelled): (_, i64, i64)| (value, rows.unsigned_abs(), labelled.unsigned_abs());
    Ok(rows.into_iter().map(count).collect())
}

/// Writes a report in place of an earlier one of its window.
///
/// # Errors
///
/// [`StoreError::UnknownModel`]; [`StoreError::Database`].
pub async fn upsert(
    db: impl PgExecutor<'_>,
    report: &PerformanceReport,
    newest_label: DateTime<Utc>,
) -> Result<(), StoreError> {
    let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    sqlx::query(
        "insert into performance_report
             (model, window_start, window_end, mature, row_count, labelled, newest_label, content)
         values ($1, $2, $3, $4, $5, $6, $7, $8)
         on conflict (model, window_start, window_end) do update
             set mature = excluded.mature, row_count = excluded.row_count, labelled = excluded.labelled,
                 newest_label = excluded.newest_label, content = excluded.content, updated_at = now()",
    )
    .bind(report.model.as_str())
    .bind(report.window_start)
    .bind(report.window_end)
    .bind(report.mature)
    .bind(count(report.all.rows))
    .bind(count(report.all.labelled))
    .bind(newest_label)
    .bind(Jsonb(report))
    .execute(db)
    .await
    .map_err(|error| StoreError::for_model(&report.model, error))?;
    Ok(())
}

/// The newest reports of `model`, newest first; with `mature` only those.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn latest(
    db: impl PgExecutor<'_>,
    model: &ModelName,
    mature: bool,
    limit: i64,
) -> Result<Vec<PerformanceReport>, StoreError> {
    let rows: Vec<(Jsonb<PerformanceReport>,)> = sqlx::query_as(
        "select content from performance_report where model = $1 and (mature or not $2)
         order by window_start desc, window_end desc limit $3",
    )
    .bind(model.as_str())
    .bind(mature)
    .bind(limit)
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|(Jsonb(report),)| report).collect())
}

/// The mature reports of the `limit` windows before `window` and of its length, newest first.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn earlier(
    db: impl PgExecutor<'_>,
    model: &ModelName,
    window: Window,
    limit: i64,
) -> Result<Vec<PerformanceReport>, StoreError> {
    let rows: Vec<(Jsonb<PerformanceReport>,)> = sqlx::query_as(
        "select content from performance_report
         where model = $1 and window_start < $2 and mature and window_end - window_start = $3
         order by window_start desc limit $4",
    )
    .bind(model.as_str())
    .bind(window.start)
    .bind(interval(window.end - window.start))
    .bind(limit)
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|(Jsonb(report),)| report).collect())
}

/// The report of the window of `model` that holds `at`, the longest where windows of several lengths do.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn holding(
    db: impl PgExecutor<'_>,
    model: &ModelName,
    at: DateTime<Utc>,
) -> Result<Option<PerformanceReport>, StoreError> {
    let row: Option<(Jsonb<PerformanceReport>,)> = sqlx::query_as(
        "select content from performance_report
         where model = $1 and window_start <= $2 and window_end > $2 order by window_start limit 1",
    )
    .bind(model.as_str())
    .bind(at)
    .fetch_optional(db)
    .await?;
    Ok(row.map(|(Jsonb(report),)| report))
}

/// Drops reports that were last made before `before`; returns how many.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn expire(db: impl PgExecutor<'_>, before: DateTime<Utc>) -> Result<u64, StoreError> {
    let gone =
        sqlx::query("delete from performance_report where updated_at < $1").bind(before).execute(db).await?;
    Ok(gone.rows_affected())
}
