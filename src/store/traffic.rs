//! Table `traffic_window`: the traffic of every judged window, and the traffic of one that is not judged yet.

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;
use sqlx::postgres::types::PgInterval;

use super::StoreError;
use crate::model::ModelName;
use crate::traffic::{Reach, TrafficVerdict};
use crate::window::Window;

/// One earlier window within reach.
#[derive(Debug, Clone, PartialEq)]
pub struct EarlierWindow {
    /// First instant.
    pub start: DateTime<Utc>,
    /// The encoded counts; absent where its own verdict was `worse`, and it is left out.
    pub content: Option<Vec<u8>>,
}

/// The encoded traffic of `window`, over all replicas and minutes.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn parts(
    db: impl PgExecutor<'_>,
    model: &ModelName,
    window: Window,
) -> Result<Vec<Vec<u8>>, StoreError> {
    let rows: Vec<(Vec<u8>,)> = sqlx::query_as(
        "select content from tap_part
         where model = $1 and minute >= $2 and minute < $3 and content is not null
         order by minute, replica, part",
    )
    .bind(model.as_str())
    .bind(window.start)
    .bind(window.end)
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|(content,)| content).collect())
}

/// Keeps the traffic of `window` as it was judged.
///
/// # Errors
///
/// [`StoreError::Database`], also when the window was kept before.
pub async fn insert(
    db: impl PgExecutor<'_>,
    model: &ModelName,
    window: Window,
    verdict: TrafficVerdict,
    content: &[u8],
) -> Result<(), StoreError> {
    sqlx::query(
        "insert into traffic_window (model, window_start, window_end, verdict, content)
         values ($1, $2, $3, $4, $5)",
    )
    .bind(model.as_str())
    .bind(window.start)
    .bind(window.end)
    .bind(verdict.as_str())
    .bind(content)
    .execute(db)
    .await
    .map_err(|error| StoreError::for_model(model, error))?;
    Ok(())
}

/// The traffic of `window` as it was judged, and its number in the order of judging; none when it had none.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn judged(
    db: impl PgExecutor<'_>,
    model: &ModelName,
    window: Window,
) -> Result<Option<(i64, Vec<u8>)>, StoreError> {
    Ok(sqlx::query_as(
        "select judged, content from traffic_window
         where model = $1 and window_start = $2 and window_end = $3",
    )
    .bind(model.as_str())
    .bind(window.start)
    .bind(window.end)
    .fetch_optional(db)
    .await?)
}

/// The windows that `window` is compared with, oldest first: of the same length, before it, within `reach`, and judged
/// before number `before` where there is one.
///
/// Those with too few exchanges for a verdict are none of them.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn earlier(
    db: impl PgExecutor<'_>,
    model: &ModelName,
    window: Window,
    reach: Reach,
    before: Option<i64>,
) -> Result<Vec<EarlierWindow>, StoreError> {
    let length = window.end - window.start;
    let interval =
        PgInterval { months: 0, days: 0, microseconds: length.num_microseconds().unwrap_or(i64::MAX) };
    let rows: Vec<(DateTime<Utc>, Option<Vec<u8>>)> = sqlx::query_as(
        "select window_start, case when verdict = 'worse' then null else content end
         from traffic_window
         where model = $1 and window_start < $2 and window_end = window_start + $3
           and verdict <> 'insufficient_data'
           and ($4::bigint is null or judged < $4)
           and ($5::bigint is null
                or mod(floor(extract(epoch from window_start) / $6::bigint)::bigint, $7::bigint) = $5)
         order by window_start desc limit $8",
    )
    .bind(model.as_str())
    .bind(window.start)
    .bind(interval)
    .bind(before)
    .bind(reach.slot.map(|(slot, _)| slot))
    .bind(length.num_seconds().max(1))
    .bind(reach.slot.map_or(1, |(_, slots)| slots))
    .bind(i64::from(reach.windows))
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().rev().map(|(start, content)| EarlierWindow { start, content }).collect())
}
