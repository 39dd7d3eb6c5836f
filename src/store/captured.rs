//! Captured rows: what a model was asked and answered, kept for the next training set.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value as Json};
use sqlx::types::Json as Jsonb;
use sqlx::{PgExecutor, PgPool};

use super::StoreError;
use crate::model::{Column, ModelName, Value};

/// One row as it was profiled.
#[derive(Debug, Clone, PartialEq)]
pub struct CapturedRow {
    /// Identifies the row; its label carries the same id.
    pub row_id: String,
    /// When the prediction happened.
    pub event_time: DateTime<Utc>,
    /// The version that answered, empty when unknown.
    pub model_version: String,
    /// Feature values by name.
    pub features: Map<String, Json>,
    /// Output values by name.
    pub outputs: Map<String, Json>,
}

/// A captured row with its label.
#[derive(Debug, Clone, PartialEq)]
pub struct LabelledRow {
    /// Identifies the row.
    pub row_id: String,
    /// When the prediction happened.
    pub event_time: DateTime<Utc>,
    /// Feature values by name.
    pub features: Json,
    /// The label: a scalar, or an object that holds the target by name.
    pub label: Json,
}

/// Row `row` of `columns` by name. JSON has no NaN and no infinity, so those become null, as do values that are
/// not scalars.
pub fn row(columns: &[Column], row: usize) -> Map<String, Json> {
    columns
        .iter()
        .map(|column| {
            let value = match column.values.get(row) {
                Some(Value::Number(number)) => Json::from(*number),
                Some(Value::Bool(truth)) => Json::from(*truth),
                Some(Value::Text(text)) => Json::from(text.replace('\0', "\u{fffd}")),
                Some(Value::Missing | Value::Opaque) | None => Json::Null,
            };
            (column.name.clone(), value)
        })
        .collect()
}

/// What a stored value says; the other direction of [`row`].
pub fn value(stored: &Json) -> Value {
    match stored {
        Json::Null => Value::Missing,
        Json::Bool(truth) => Value::Bool(*truth),
        Json::Number(number) => number.as_f64().map_or(Value::Opaque, Value::Number),
        Json::String(text) => Value::Text(text.clone()),
        Json::Array(_) | Json::Object(_) => Value::Opaque,
    }
}

/// Writes `rows`, leaving out those whose id is known, and returns how many were new.
///
/// # Errors
///
/// [`StoreError::UnknownModel`] if `model` is not registered; [`StoreError::Database`] otherwise.
pub async fn insert(
    db: impl PgExecutor<'_>,
    model: &ModelName,
    rows: &[CapturedRow],
) -> Result<u64, StoreError> {
    let written = sqlx::query(
        "insert into captured_row (model, row_id, event_time, model_version, features, outputs)
         select $1, * from unnest($2::text[], $3::timestamptz[], $4::text[], $5::jsonb[], $6::jsonb[])
         on conflict (model, row_id) do nothing",
    )
    .bind(model.as_str())
    .bind(rows.iter().map(|row| row.row_id.clone()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.event_time).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.model_version.clone()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| Jsonb(row.features.clone())).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| Jsonb(row.outputs.clone())).collect::<Vec<_>>())
    .execute(db)
    .await
    .map_err(|error| StoreError::for_model(model, error))?;
    Ok(written.rows_affected())
}

/// The newest `limit` labelled rows, oldest first, ordered by event time and row id.
///
/// # Errors
///
/// [`StoreError::Database`] when the query fails.
pub async fn labelled(
    db: impl PgExecutor<'_>,
    model: &ModelName,
    limit: Option<u64>,
) -> Result<Vec<LabelledRow>, StoreError> {
    let limit = limit.map(|limit| i64::try_from(limit).unwrap_or(i64::MAX));
    let mut rows: Vec<(String, DateTime<Utc>, Json, Json)> = sqlx::query_as(
        "select row_id, c.event_time, c.features, l.value
         from captured_row c join label l using (model, row_id)
         where model = $1
         order by c.event_time desc, row_id desc
         limit $2",
    )
    .bind(model.as_str())
    .bind(limit)
    .fetch_all(db)
    .await?;
    rows.reverse();
    Ok(rows
        .into_iter()
        .map(|(row_id, event_time, features, label)| LabelledRow { row_id, event_time, features, label })
        .collect())
}

/// The newest `limit` captured rows of `model`, oldest first.
///
/// # Errors
///
/// [`StoreError::Database`] when the query fails.
pub async fn newest(
    db: impl PgExecutor<'_>,
    model: &ModelName,
    limit: u64,
) -> Result<Vec<CapturedRow>, StoreError> {
    type Row = (String, DateTime<Utc>, String, Jsonb<Map<String, Json>>, Jsonb<Map<String, Json>>);
    let mut rows: Vec<Row> = sqlx::query_as(
        "select row_id, event_time, model_version, features, outputs from captured_row
         where model = $1 order by event_time desc, row_id desc limit $2",
    )
    .bind(model.as_str())
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .fetch_all(db)
    .await?;
    rows.reverse();
    let row = |(row_id, event_time, model_version, Jsonb(features), Jsonb(outputs)): Row| CapturedRow {
        row_id,
        event_time,
        model_version,
        features,
        outputs,
    };
    Ok(rows.into_iter().map(row).collect())
}

/// Drops captured rows that were written before `before`, and labels; returns how many.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn expire(db: &PgPool, before: DateTime<Utc>) -> Result<u64, StoreError> {
    let rows = sqlx::query("delete from captured_row where created_at < $1").bind(before).execute(db).await?;
    let labels = sqlx::query("delete from label where created_at < $1").bind(before).execute(db).await?;
    Ok(rows.rows_affected() + labels.rows_affected())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_survive_but_for_what_json_lacks() {
        let column = |value: Value| [Column { name: "x".into(), values: vec![value] }];
        let through = |v: Value| value(&row(&column(v), 0)["x"]);
        for kept in [Value::Missing, Value::Number(0.1), Value::Bool(true), Value::Text("a".into())] {
            assert_eq!(through(kept.clone()), kept);
        }
        assert_eq!(through(Value::Number(f64::NAN)), Value::Missing);
        assert_eq!(through(Value::Opaque), Value::Missing);
        assert_eq!(through(Value::Text("a\0b".into())), Value::Text("a\u{fffd}b".into()));
        assert_eq!(row(&column(Value::Missing), 9)["x"], Json::Null);
    }
}
