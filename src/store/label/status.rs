//! How far the rows of each model are labelled, and what became of its labels.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgExecutor;

use super::{LabelCounts, Outcome};
use crate::store::StoreError;

/// Labels of one model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LabelStatus {
    /// The model.
    pub model: String,
    /// Rows that are kept.
    pub rows: u64,
    /// Of these, with a label.
    pub labelled: u64,
    /// Labels that wait for their prediction.
    pub waiting: u64,
    /// When the first of these came.
    pub waiting_since: Option<DateTime<Utc>>,
    /// Median time in seconds from a prediction to its label.
    pub delay_median: Option<f64>,
    /// The time in seconds within which 95 % of the labels were known.
    pub delay_p95: Option<f64>,
    /// What became of the labels that came.
    pub counts: LabelCounts,
}

impl LabelStatus {
    /// Share of the kept rows that have a label; none without rows.
    pub fn coverage(&self) -> Option<f64> {
        (self.rows > 0).then(|| self.labelled as f64 / self.rows as f64)
    }
}

type Row = (String, i64, i64, i64, Option<DateTime<Utc>>, Option<f64>, Option<f64>);

/// The status of every registered model, by name. Reads whole tables: not for every second.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn status(db: impl PgExecutor<'_> + Copy) -> Result<Vec<LabelStatus>, StoreError> {
    let rows: Vec<Row> = sqlx::query_as(
        "select m.name, coalesce(c.rows, 0), coalesce(l.labelled, 0), coalesce(w.waiting, 0), w.since, l.median, l.p95
         from model m
         left join (select model, count(*) as rows from captured_row group by model) c on c.model = m.name
         left join (
             select model, count(*) as labelled,
                 percentile_cont(0.5) within group (order by extract(epoch from labelled_at - predicted_at)::float8) as median,
                 percentile_cont(0.95) within group (order by extract(epoch from labelled_at - predicted_at)::float8) as p95
             from label l where exists (select from captured_row c where c.model = l.model and c.row_id = l.row_id)
             group by model
         ) l on l.model = m.name
         left join (
             select model, count(*) as waiting, min(created_at) as since from label_waiting group by model
         ) w on w.model = m.name
         order by m.name",
    )
    .fetch_all(db)
    .await?;
    let counted = counts(db).await?;
    let count = |count: i64| count.unsigned_abs();
    Ok(rows
        .into_iter()
        .map(|(model, rows, labelled, waiting, waiting_since, delay_median, delay_p95)| {
            let counts = counted.iter().find(|(name, _)| *name == model).map(|(_, counts)| *counts);
            LabelStatus {
                rows: count(rows),
                labelled: count(labelled),
                waiting: count(waiting),
                waiting_since,
                delay_median,
                delay_p95,
                counts: counts.unwrap_or_default(),
                model,
            }
        })
        .collect())
}

/// What became of the labels of every model.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn counts(db: impl PgExecutor<'_>) -> Result<Vec<(String, LabelCounts)>, StoreError> {
    let rows: Vec<(String, String, i64)> = sqlx::query_as(
        "select model, outcome, sum(labels)::bigint from label_count group by model, outcome order by model",
    )
    .fetch_all(db)
    .await?;
    let mut found: Vec<(String, LabelCounts)> = Vec::new();
    for (model, outcome, labels) in rows {
        let Some(outcome) = Outcome::ALL.into_iter().find(|known| known.as_str() == outcome) else {
            continue;
        };
        if found.last().is_none_or(|(name, _)| *name != model) {
            found.push((model, LabelCounts::default()));
        }
        if let Some((_, counts)) = found.last_mut() {
            counts.add(outcome, labels.unsigned_abs());
        }
    }
    Ok(found)
}

/// Adds the pieces up in which outcomes were counted, so that there are few of them; the sums stay.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn fold_counts(db: impl PgExecutor<'_>) -> Result<(), StoreError> {
    sqlx::query(
        "with piece as (
             delete from label_count where (select count(*) from label_count) > 64 returning model, outcome, labels
         )
         insert into label_count (model, outcome, labels)
         select model, outcome, sum(labels) from piece group by model, outcome",
    )
    .execute(db)
    .await?;
    Ok(())
}
