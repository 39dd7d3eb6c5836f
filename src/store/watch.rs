//! Table `watched`: when each rule between windows last looked, and what it looks at.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;

use super::StoreError;
use crate::model::ModelName;

/// When the rules of `model` last looked, by rule.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn last(
    db: impl PgExecutor<'_>,
    model: &ModelName,
) -> Result<BTreeMap<String, DateTime<Utc>>, StoreError> {
    let rows: Vec<(String, DateTime<Utc>)> =
        sqlx::query_as("select rule, looked_at from watched where model = $1")
            .bind(model.as_str())
            .fetch_all(db)
            .await?;
    Ok(rows.into_iter().collect())
}

/// Notes that `rules` of `model` looked at `at`, and forgets those that have not for a day.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn note(
    db: impl PgExecutor<'_>,
    model: &ModelName,
    rules: &[&str],
    at: DateTime<Utc>,
) -> Result<(), StoreError> {
    sqlx::query(
        "with forgotten as (
             delete from watched where model = $1 and looked_at < $3 - interval '1 day' and rule <> all($2)
         )
         insert into watched (model, rule, looked_at) select $1, rule, $3 from unnest($2::text[]) rule
         on conflict (model, rule) do update set looked_at = excluded.looked_at",
    )
    .bind(model.as_str())
    .bind(rules)
    .bind(at)
    .execute(db)
    .await?;
    Ok(())
}

/// When a model last gave signs of life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Signs {
    /// When a prediction last came, by the database's clock.
    pub last_prediction: Option<DateTime<Utc>>,
    /// When a window was last judged.
    pub last_report: Option<DateTime<Utc>>,
    /// When the first prediction came that lies after the last judged window.
    pub unjudged_since: Option<DateTime<Utc>>,
    /// When a label last came.
    pub last_label: Option<DateTime<Utc>>,
}

/// The signs of life of `model`.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn signs(db: impl PgExecutor<'_>, model: &ModelName) -> Result<Signs, StoreError> {
    type Time = Option<DateTime<Utc>>;
    let (last_prediction, last_report, unjudged_since, last_label): (Time, Time, Time, Time) = sqlx::query_as(
        "select (select max(updated_at) from tap_part where model = $1) as last_prediction,
                (select max(created_at) from drift_report where model = $1) as last_report,
                (select min(first_at) from tap_part
                 where model = $1
                   and minute >= coalesce((select max(window_end) from drift_report where model = $1), '-infinity'))
                    as unjudged_since,
                (select max(created_at) from label where model = $1) as last_label",
    )
    .bind(model.as_str())
    .fetch_one(db)
    .await?;
    Ok(Signs { last_prediction, last_report, unjudged_since, last_label })
}
