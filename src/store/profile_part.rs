//! Tables `profile_part` and `tap_part`: what each replica saw of each minute of event time.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgExecutor;
use sqlx::postgres::types::PgInterval;
use sqlx::types::Json;

use super::StoreError;
use crate::drift::Losses;
use crate::model::ModelName;
use crate::schema::Seen;
use crate::window::Window;

/// Key and content of one part; counts are absolute, so writing it twice is harmless.
#[derive(Debug, Clone, PartialEq)]
pub struct ProfilePart {
    /// The model.
    pub model: ModelName,
    /// The model version that answered; empty when the answers do not say.
    pub model_version: String,
    /// Version of the baseline whose cells the counts are on.
    pub baseline: String,
    /// Key of the segment that the rows belong to; empty: all rows.
    pub segment: String,
    /// The minute.
    pub minute: DateTime<Utc>,
    /// The process that counted.
    pub replica: String,
    /// Number of the part, for a minute that was re-opened after it was written.
    pub part: i32,
    /// Rows.
    pub rows: u64,
    /// The encoded profile.
    pub content: Vec<u8>,
    /// What columns the rows had beside the baseline's, and which they lacked.
    pub seen: Seen,
}

/// Key and counts of one minute of the tap.
#[derive(Debug, Clone, PartialEq)]
pub struct TapPart {
    /// The model.
    pub model: ModelName,
    /// The minute.
    pub minute: DateTime<Utc>,
    /// The process that counted.
    pub replica: String,
    /// Number of the part.
    pub part: i32,
    /// The counts.
    pub losses: Losses,
    /// The encoded traffic; absent where the tap saw none, as for predictions that were pushed.
    pub traffic: Option<Vec<u8>>,
}

fn count(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn uncount(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

/// Writes `parts`, replacing what the same replica wrote for them before. No key may occur twice.
///
/// # Errors
///
/// [`StoreError::Database`], also when a model is not registered.
pub async fn upsert_profiles(
    db: impl PgExecutor<'_>,
    parts: &[impl Borrow<ProfilePart>],
) -> Result<(), StoreError> {
    let parts = || parts.iter().map(Borrow::borrow);
    sqlx::query(
        "insert into profile_part
           (model, model_version, baseline, minute, replica, part, row_count, content, columns_seen, segment)
         select * from unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::text[], $6::int[],
                              $7::bigint[], $8::bytea[], $9::jsonb[], $10::text[])
         on conflict (model, baseline, minute, model_version, segment, replica, part)
         do update set row_count = excluded.row_count, content = excluded.content,
                       columns_seen = excluded.columns_seen, updated_at = now()",
    )
    .bind(parts().map(|part| part.model.as_str()).collect::<Vec<_>>())
    .bind(parts().map(|part| part.model_version.as_str()).collect::<Vec<_>>())
    .bind(parts().map(|part| part.baseline.as_str()).collect::<Vec<_>>())
    .bind(parts().map(|part| part.minute).collect::<Vec<_>>())
    .bind(parts().map(|part| part.replica.as_str()).collect::<Vec<_>>())
    .bind(parts().map(|part| part.part).collect::<Vec<_>>())
    .bind(parts().map(|part| count(part.rows)).collect::<Vec<_>>())
    .bind(parts().map(|part| part.content.as_slice()).collect::<Vec<_>>())
    .bind(parts().map(|part| Json(&part.seen)).collect::<Vec<_>>())
    .bind(parts().map(|part| part.segment.as_str()).collect::<Vec<_>>())
    .execute(db)
    .await?;
    Ok(())
}

/// Writes `parts`, replacing what the same replica wrote for them before. No key may occur twice.
///
/// # Errors
///
/// [`StoreError::Database`], also when a model is not registered.
pub async fn upsert_taps(db: impl PgExecutor<'_>, parts: &[TapPart]) -> Result<(), StoreError> {
    sqlx::query(
        "insert into tap_part (model, minute, replica, part, seen, kept, sampled_out, dropped, content)
         select * from unnest($1::text[], $2::timestamptz[], $3::text[], $4::int[], $5::bigint[], $6::bigint[],
                              $7::bigint[], $8::jsonb[], $9::bytea[])
         on conflict (model, minute, replica, part)
         do update set seen = excluded.seen, kept = excluded.kept, sampled_out = excluded.sampled_out,
                       dropped = excluded.dropped, content = excluded.content, updated_at = now()",
    )
    .bind(parts.iter().map(|part| part.model.as_str()).collect::<Vec<_>>())
    .bind(parts.iter().map(|part| part.minute).collect::<Vec<_>>())
    .bind(parts.iter().map(|part| part.replica.as_str()).collect::<Vec<_>>())
    .bind(parts.iter().map(|part| part.part).collect::<Vec<_>>())
    .bind(parts.iter().map(|part| count(part.losses.seen)).collect::<Vec<_>>())
    .bind(parts.iter().map(|part| count(part.losses.kept)).collect::<Vec<_>>())
    .bind(parts.iter().map(|part| count(part.losses.sampled_out)).collect::<Vec<_>>())
    .bind(parts.iter().map(|part| Json(&part.losses.dropped)).collect::<Vec<_>>())
    .bind(parts.iter().map(|part| part.traffic.as_deref()).collect::<Vec<_>>())
    .execute(db)
    .await?;
    Ok(())
}

/// The baseline that most rows of `window` were counted on; none when no row was.
///
/// A window in which the active baseline changed is judged against the one that speaks for more of it.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn main_baseline(
    db: impl PgExecutor<'_>,
    model: &ModelName,
    window: Window,
) -> Result<Option<String>, StoreError> {
    let row: Option<(String,)> = sqlx::query_as(
        "select baseline from profile_part
         where model = $1 and segment = '' and minute >= $2 and minute < $3
         group by baseline order by sum(row_count) desc, max(updated_at) desc limit 1",
    )
    .bind(model.as_str())
    .bind(window.start)
    .bind(window.end)
    .fetch_optional(db)
    .await?;
    Ok(row.map(|(version,)| version))
}

/// The encoded profiles of all rows of `window` on one baseline, in an order that never changes.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn profiles(
    db: impl PgExecutor<'_>,
    model: &ModelName,
    baseline: &str,
    window: Window,
) -> Result<Vec<Vec<u8>>, StoreError> {
    segment_profiles(db, model, baseline, window, "").await
}

/// The segments that have rows in `window` on one baseline, by key.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn segments(
    db: impl PgExecutor<'_>,
    model: &ModelName,
    baseline: &str,
    window: Window,
) -> Result<Vec<String>, StoreError> {
    let rows: Vec<(String,)> = sqlx::query_as(
        "select distinct segment from profile_part
         where model = $1 and baseline = $2 and segment <> '' and minute >= $3 and minute < $4
         order by segment",
    )
    .bind(model.as_str())
    .bind(baseline)
    .bind(window.start)
    .bind(window.end)
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|(segment,)| segment).collect())
}

/// The encoded profiles of one segment of `window` on one baseline, in an order that never changes.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn segment_profiles(
    db: impl PgExecutor<'_>,
    model: &ModelName,
    baseline: &str,
    window: Window,
    segment: &str,
) -> Result<Vec<Vec<u8>>, StoreError> {
    let rows: Vec<(Vec<u8>,)> = sqlx::query_as(
        "select content from profile_part
         where model = $1 and baseline = $2 and segment = $5 and minute >= $3 and minute < $4
         order by minute, model_version, replica, part",
    )
    .bind(model.as_str())
    .bind(baseline)
    .bind(window.start)
    .bind(window.end)
    .bind(segment)
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|(content,)| content).collect())
}

/// What columns the rows of `window` had beside those of one baseline, and which they lacked.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn columns_seen(
    db: impl PgExecutor<'_>,
    model: &ModelName,
    baseline: &str,
    window: Window,
) -> Result<Seen, StoreError> {
    let parts: Vec<(Json<Seen>,)> = sqlx::query_as(
        "select columns_seen from profile_part
         where model = $1 and baseline = $2 and segment = '' and minute >= $3 and minute < $4
         order by minute, model_version, replica, part",
    )
    .bind(model.as_str())
    .bind(baseline)
    .bind(window.start)
    .bind(window.end)
    .fetch_all(db)
    .await?;
    let mut seen = Seen::default();
    for (Json(part),) in &parts {
        seen.merge(part);
    }
    Ok(seen)
}

/// Where the exchanges of `window` went, over all replicas.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn losses(
    db: impl PgExecutor<'_>,
    model: &ModelName,
    window: Window,
) -> Result<Losses, StoreError> {
    type Row = (i64, i64, i64, Json<BTreeMap<String, u64>>);
    let rows: Vec<Row> = sqlx::query_as(
        "select seen, kept, sampled_out, dropped from tap_part where model = $1 and minute >= $2 and minute < $3",
    )
    .bind(model.as_str())
    .bind(window.start)
    .bind(window.end)
    .fetch_all(db)
    .await?;
    let mut total = Losses::default();
    for (seen, kept, sampled_out, Json(dropped)) in rows {
        total.add(&Losses {
            seen: uncount(seen),
            kept: uncount(kept),
            sampled_out: uncount(sampled_out),
            dropped,
        });
    }
    Ok(total)
}

/// Where the exchanges went of which something was written since `since`, by model.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn losses_since(
    db: impl PgExecutor<'_>,
    since: DateTime<Utc>,
) -> Result<Vec<(String, Losses)>, StoreError> {
    type Row = (String, i64, i64, i64, Json<BTreeMap<String, u64>>);
    let rows: Vec<Row> = sqlx::query_as(
        "with written as (select * from tap_part where updated_at >= $1),
              lost as (select model, key, sum(value::bigint)::bigint as count
                       from written, jsonb_each_text(dropped) group by model, key)
         select w.model, sum(seen)::bigint, sum(kept)::bigint, sum(sampled_out)::bigint,
                coalesce((select jsonb_object_agg(key, count) from lost where lost.model = w.model), '{}')
         from written w group by w.model order by w.model",
    )
    .bind(since)
    .fetch_all(db)
    .await?;
    let losses = |(model, seen, kept, sampled_out, Json(dropped))| {
        (
            model,
            Losses { seen: uncount(seen), kept: uncount(kept), sampled_out: uncount(sampled_out), dropped },
        )
    };
    Ok(rows.into_iter().map(losses).collect())
}

/// The latest minute seen of `model`, and when it was first written: what the watermark is made of.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn latest(
    db: impl PgExecutor<'_>,
    model: &ModelName,
) -> Result<Option<(DateTime<Utc>, DateTime<Utc>)>, StoreError> {
    Ok(sqlx::query_as(
        "select minute, min(first_at) from tap_part where model = $1
         group by minute order by minute desc limit 1",
    )
    .bind(model.as_str())
    .fetch_optional(db)
    .await?)
}

/// Starts of the windows of `length` that hold rows, end at or before `until`, and have no report yet.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn unjudged(
    db: impl PgExecutor<'_>,
    model: &ModelName,
    length: Duration,
    until: DateTime<Utc>,
) -> Result<Vec<DateTime<Utc>>, StoreError> {
    let microseconds = i64::try_from(length.as_micros()).unwrap_or(i64::MAX);
    let interval = PgInterval { months: 0, days: 0, microseconds };
    let rows: Vec<(DateTime<Utc>,)> = sqlx::query_as(
        "select distinct w.window_start
         from tap_part p
         cross join lateral (select date_bin($2, p.minute, timestamptz 'epoch') as window_start) w
         where p.model = $1 and w.window_start + $2 <= $3
           and not exists (select 1 from drift_report r
                           where r.model = p.model and r.window_start = w.window_start
                             and r.window_end = w.window_start + $2)
         order by w.window_start",
    )
    .bind(model.as_str())
    .bind(interval)
    .bind(until)
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|(start,)| start).collect())
}

/// Drops the parts of minutes before `before`; returns how many.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn expire(db: &sqlx::PgPool, before: DateTime<Utc>) -> Result<u64, StoreError> {
    let profiles =
        sqlx::query("delete from profile_part where updated_at < $1").bind(before).execute(db).await?;
    let taps = sqlx::query("delete from tap_part where updated_at < $1").bind(before).execute(db).await?;
    Ok(profiles.rows_affected() + taps.rows_affected())
}

/// Where the exchanges of a model went.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct TapTotals {
    /// Exchanges that came.
    pub seen: i64,
    /// Those that were kept.
    pub kept: i64,
    /// Those that were left out by `sample`.
    pub sampled_out: i64,
    /// Those that were lost, by reason.
    pub dropped: BTreeMap<String, i64>,
    /// The newest minute with one.
    pub newest: Option<DateTime<Utc>>,
}

/// Where the exchanges of each model went in the minutes since `since`, by model.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn tap_totals(
    db: impl PgExecutor<'_> + Copy,
    since: DateTime<Utc>,
) -> Result<BTreeMap<String, TapTotals>, StoreError> {
    let rows: Vec<(String, i64, i64, i64, DateTime<Utc>)> = sqlx::query_as(
        "select model, sum(seen)::bigint, sum(kept)::bigint, sum(sampled_out)::bigint, max(minute)
         from tap_part where minute >= $1 group by model",
    )
    .bind(since)
    .fetch_all(db)
    .await?;
    let dropped: Vec<(String, String, i64)> = sqlx::query_as(
        "select model, key, sum(value::bigint)::bigint from tap_part, jsonb_each_text(dropped)
         where minute >= $1 group by model, key",
    )
    .bind(since)
    .fetch_all(db)
    .await?;
    let mut totals: BTreeMap<String, TapTotals> = rows
        .into_iter()
        .map(|(model, seen, kept, sampled_out, newest)| {
            (model, TapTotals { seen, kept, sampled_out, newest: Some(newest), ..TapTotals::default() })
        })
        .collect();
    for (model, reason, count) in dropped {
        totals.entry(model).or_default().dropped.insert(reason, count);
    }
    Ok(totals)
}
