//! Captured rows: what a model was asked and answered, kept for the next training set.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use serde_json::{Map, Value as Json, json};
use sqlx::types::Json as Jsonb;
use sqlx::{PgConnection, PgExecutor, PgPool};

use super::{StoreError, label};
use crate::model::{Column, ModelName, Value};

/// Longest text that is a business key.
const MAX_KEY_BYTES: usize = 256;
/// Further ids that one exchange may have.
pub const MAX_OTHER_IDS: usize = 8;

/// The ids of an exchange, shared by its rows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExchangeIds {
    /// The id that its rows are named after.
    pub exchange: String,
    /// How many rows it has.
    pub rows: usize,
    /// The others, at most [`MAX_OTHER_IDS`].
    pub others: Vec<String>,
}

/// One row as it was profiled.
#[derive(Debug, Clone, PartialEq, Default)]
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
    /// Its value of the column that is the business key, as text.
    pub business_key: Option<String>,
    /// The ids of its exchange, when it has more than one.
    pub ids: Option<Arc<ExchangeIds>>,
}

/// Row `row` of `columns` by name, each value as [`stored`].
pub fn row(columns: &[Column], row: usize) -> Map<String, Json> {
    let value = |column: &Column| column.values.get(row).map_or(Json::Null, stored);
    columns.iter().map(|column| (column.name.to_string(), value(column))).collect()
}

/// A value as the database holds it: JSON has no NaN and no infinity, and its numbers in a database no zero below zero, so
/// that these are `{"number": "NaN"}`; what is no scalar is `{"opaque": null}`. NUL becomes U+FFFD.
pub fn stored(value: &Value) -> Json {
    match value {
        Value::Missing => Json::Null,
        Value::Number(number) if number.is_finite() && (*number != 0.0 || number.is_sign_positive()) => {
            Json::from(*number)
        }
        Value::Number(number) => json!({ "number": number.to_string() }),
        Value::Bool(truth) => Json::from(*truth),
        Value::Text(text) => Json::from(text.replace('\0', "\u{fffd}")),
        Value::Opaque => json!({ "opaque": null }),
    }
}

/// What a stored value says; the other direction of [`stored`].
pub fn value(stored: &Json) -> Value {
    match stored {
        Json::Null => Value::Missing,
        Json::Bool(truth) => Value::Bool(*truth),
        Json::Number(number) => number.as_f64().map_or(Value::Opaque, Value::Number),
        Json::String(text) => Value::Text(text.clone()),
        Json::Object(members) => match members.get("number").and_then(Json::as_str) {
            Some(text) if members.len() == 1 => text.parse().map_or(Value::Opaque, Value::Number),
            _ => Value::Opaque,
        },
        Json::Array(_) => Value::Opaque,
    }
}

/// The text under which `value` is found as a business key; none for what cannot be one.
pub fn business_key(value: &Value) -> Option<String> {
    let text = match value {
        Value::Text(text) => text.trim().replace('\0', "\u{fffd}"),
        Value::Number(number) if number.is_finite() => number.to_string(),
        Value::Bool(truth) => truth.to_string(),
        Value::Missing | Value::Number(_) | Value::Opaque => return None,
    };
    (!text.is_empty() && text.len() <= MAX_KEY_BYTES).then_some(text)
}

/// Writes `rows` within the caller's transaction, leaving out those whose id is known, gives them the labels that wait for
/// them, and returns how many were new.
///
/// # Errors
///
/// [`StoreError::UnknownModel`] if `model` is not registered; [`StoreError::Database`] otherwise.
pub async fn insert(
    db: &mut PgConnection,
    model: &ModelName,
    rows: &[CapturedRow],
) -> Result<u64, StoreError> {
    let written = sqlx::query(
        "insert into captured_row (model, row_id, event_time, model_version, features, outputs, business_key)
         select $1, *
         from unnest($2::text[], $3::timestamptz[], $4::text[], $5::jsonb[], $6::jsonb[], $7::text[])
         on conflict (model, row_id) do nothing",
    )
    .bind(model.as_str())
    .bind(rows.iter().map(|row| row.row_id.clone()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.event_time).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.model_version.clone()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| Jsonb(row.features.clone())).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| Jsonb(row.outputs.clone())).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.business_key.clone()).collect::<Vec<_>>())
    .execute(&mut *db)
    .await
    .map_err(|error| StoreError::for_model(model, error))?;
    insert_aliases(&mut *db, model, rows).await?;
    label::match_rows(db, model, rows).await?;
    Ok(written.rows_affected())
}

/// Writes the further ids of exchanges; one that several have is the id of none.
async fn insert_aliases(
    db: &mut PgConnection,
    model: &ModelName,
    rows: &[CapturedRow],
) -> Result<(), StoreError> {
    // In the order of the key, so that two of these do not wait for one another.
    let mut aliases: BTreeMap<&str, (Option<&str>, i32)> = BTreeMap::new();
    for ids in rows.iter().filter_map(|row| row.ids.as_deref()) {
        let count = i32::try_from(ids.rows).unwrap_or(i32::MAX);
        for alias in ids.others.iter().take(MAX_OTHER_IDS).filter(|alias| **alias != ids.exchange) {
            let held = aliases.entry(alias).or_insert((Some(&ids.exchange), count));
            if held.0 != Some(&ids.exchange) {
                held.0 = None;
            }
        }
    }
    if aliases.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "insert into exchange_alias (model, alias, exchange, row_count)
         select $1, * from unnest($2::text[], $3::text[], $4::int[])
         on conflict (model, alias) do update set exchange = null
             where exchange_alias.exchange is distinct from excluded.exchange",
    )
    .bind(model.as_str())
    .bind(aliases.keys().copied().collect::<Vec<_>>())
    .bind(aliases.values().map(|(exchange, _)| *exchange).collect::<Vec<_>>())
    .bind(aliases.values().map(|(_, count)| *count).collect::<Vec<_>>())
    .execute(db)
    .await?;
    Ok(())
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
         where model = $1 and segment is null order by event_time desc, row_id desc limit $2",
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
        business_key: None,
        ids: None,
    };
    Ok(rows.into_iter().map(row).collect())
}

/// How many rows of a model are captured, and from when to when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Captured {
    /// The rows, in the database and in files.
    pub rows: u64,
    /// Event time of the first.
    pub first: Option<DateTime<Utc>>,
    /// Event time of the last.
    pub last: Option<DateTime<Utc>>,
}

/// What is captured of `model`.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn summary(db: impl PgExecutor<'_>, model: &ModelName) -> Result<Captured, StoreError> {
    between(db, model, DateTime::<Utc>::UNIX_EPOCH, DateTime::<Utc>::UNIX_EPOCH + TimeDelta::days(365_000))
        .await
}

/// What is captured of `model` with an event time in `[from, until)`.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn between(
    db: impl PgExecutor<'_>,
    model: &ModelName,
    from: DateTime<Utc>,
    until: DateTime<Utc>,
) -> Result<Captured, StoreError> {
    let (rows, first, last): (i64, Option<DateTime<Utc>>, Option<DateTime<Utc>>) = sqlx::query_as(
        "select count(*), min(event_time), max(event_time) from captured_row
         where model = $1 and event_time >= $2 and event_time < $3",
    )
    .bind(model.as_str())
    .bind(from)
    .bind(until)
    .fetch_one(db)
    .await?;
    Ok(Captured { rows: rows.unsigned_abs(), first, last })
}

/// Drops captured rows that were written before `before`, their further ids, and labels, found or not; returns how many.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn expire(db: &PgPool, before: DateTime<Utc>) -> Result<u64, StoreError> {
    let rows = sqlx::query("delete from captured_row where created_at < $1").bind(before).execute(db).await?;
    let labels = sqlx::query("delete from label where created_at < $1").bind(before).execute(db).await?;
    Ok(rows.rows_affected() + labels.rows_affected() + label::expire(db, before).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_short_texts() {
        for (value, expected) in [
            (Value::Text(" c-1 ".into()), Some("c-1")),
            (Value::Number(42.0), Some("42")),
            (Value::Number(0.5), Some("0.5")),
            (Value::Bool(true), Some("true")),
            (Value::Text(" ".into()), None),
            (Value::Text("x".repeat(257)), None),
            (Value::Number(f64::NAN), None),
            (Value::Missing, None),
            (Value::Opaque, None),
        ] {
            assert_eq!(business_key(&value).as_deref(), expected, "{value:?}");
        }
    }

    #[test]
    fn values_survive() {
        let column = |value: Value| [Column { name: "x".into(), values: vec![value] }];
        let through = |v: Value| value(&row(&column(v), 0)["x"]);
        for kept in [
            Value::Missing,
            Value::Number(0.1),
            Value::Number(-0.0),
            Value::Number(f64::INFINITY),
            Value::Number(f64::NEG_INFINITY),
            Value::Number(f64::NAN),
            Value::Bool(true),
            Value::Text("a".into()),
            Value::Opaque,
        ] {
            assert_eq!(format!("{:?}", through(kept.clone())), format!("{kept:?}"));
        }
        assert_eq!(through(Value::Text("a\0b".into())), Value::Text("a\u{fffd}b".into()));
        assert_eq!(row(&column(Value::Missing), 9)["x"], Json::Null);
    }
}
