//! Labels: true outcomes by row id, early, late or corrected.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value as Json;
use sqlx::PgExecutor;
use sqlx::types::Json as Jsonb;

use super::StoreError;
use crate::model::ModelName;

/// One true outcome.
#[derive(Debug, Clone, PartialEq)]
pub struct Label {
    /// The row it belongs to.
    pub row_id: String,
    /// A scalar, or an object that holds the target by name.
    pub value: Json,
    /// When it was known; of two labels of a row the later one counts.
    pub labelled_at: DateTime<Utc>,
}

/// What became of a batch of labels; `new + replaced + stale` is its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct LabelCounts {
    /// First label of its row.
    pub new: u64,
    /// Took the place of an earlier one.
    pub replaced: u64,
    /// Not later than what is stored, or than another one of the batch: left out.
    pub stale: u64,
    /// Of the distinct rows, those that are not captured (yet); their labels are kept all the same.
    pub unmatched: u64,
}

/// Writes `labels`; a retry is harmless.
///
/// # Errors
///
/// [`StoreError::UnknownModel`] if `model` is not registered; [`StoreError::Database`] otherwise.
pub async fn upsert(
    db: impl PgExecutor<'_>,
    model: &ModelName,
    labels: &[Label],
) -> Result<LabelCounts, StoreError> {
    let (new, replaced, unmatched): (i64, i64, i64) = sqlx::query_as(
        "with incoming as (
             select distinct on (row_id) row_id, value, labelled_at
             from unnest($2::text[], $3::jsonb[], $4::timestamptz[]) as given (row_id, value, labelled_at)
             order by row_id, labelled_at desc
         ), written as (
             insert into label (model, row_id, value, labelled_at)
             select $1, row_id, value, labelled_at from incoming
             on conflict (model, row_id) do update
                 set value = excluded.value, labelled_at = excluded.labelled_at
                 where excluded.labelled_at > label.labelled_at
             returning xmax = 0 as is_new
         )
         select (select count(*) from written where is_new),
                (select count(*) from written where not is_new),
                (select count(*) from incoming i where not exists
                    (select from captured_row c where c.model = $1 and c.row_id = i.row_id))",
    )
    .bind(model.as_str())
    .bind(labels.iter().map(|label| label.row_id.clone()).collect::<Vec<_>>())
    .bind(labels.iter().map(|label| Jsonb(label.value.clone())).collect::<Vec<_>>())
    .bind(labels.iter().map(|label| label.labelled_at).collect::<Vec<_>>())
    .fetch_one(db)
    .await
    .map_err(|error| StoreError::for_model(model, error))?;
    let (new, replaced, unmatched) = (new.unsigned_abs(), replaced.unsigned_abs(), unmatched.unsigned_abs());
    Ok(LabelCounts { new, replaced, stale: labels.len() as u64 - new - replaced, unmatched })
}

/// Labels of `model` that were written after `since`; all of them without it.
///
/// # Errors
///
/// [`StoreError::Database`] when the query fails.
pub async fn count_since(
    db: impl PgExecutor<'_>,
    model: &ModelName,
    since: Option<DateTime<Utc>>,
) -> Result<u64, StoreError> {
    let (count,): (i64,) = sqlx::query_as(
        "select count(*) from label where model = $1 and ($2::timestamptz is null or created_at > $2)",
    )
    .bind(model.as_str())
    .bind(since)
    .fetch_one(db)
    .await?;
    Ok(count.unsigned_abs())
}
