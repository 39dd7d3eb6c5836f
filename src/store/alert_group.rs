//! Open groups of alerts: what receivers know, and when each has to be looked at again.

use chrono::{DateTime, Utc};
use serde_json::Value as Json;
use sqlx::{PgConnection, PgExecutor, Row};

use super::StoreError;
use super::alert::unwritable;
use crate::alert::{Decision, StoredGroup};
use crate::model::ModelName;

/// Waits until no other process decides who is told what, and keeps them from it until the transaction ends.
///
/// Taken after the lock on a model's alerts, and never before it, so that nobody waits in a circle.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn lock(transaction: &mut PgConnection) -> Result<(), StoreError> {
    sqlx::query("select pg_advisory_xact_lock(hashtextextended('driftline.alert_group', 0))")
        .execute(transaction)
        .await?;
    Ok(())
}

fn parse(slot: String, content: Json) -> Result<StoredGroup, StoreError> {
    serde_json::from_value(content).map_err(|error| StoreError::Corrupt {
        table: "alert_group",
        key: slot,
        problem: error.to_string(),
    })
}

/// Open groups of `model`, or all.
///
/// # Errors
///
/// [`StoreError::Corrupt`] when a row cannot be read back; [`StoreError::Database`] otherwise.
pub async fn list(
    db: impl PgExecutor<'_>,
    model: Option<&ModelName>,
) -> Result<Vec<StoredGroup>, StoreError> {
    let rows = sqlx::query(
        "select slot, content from alert_group where $1::text is null or model = $1 order by slot",
    )
    .bind(model.map(ModelName::as_str))
    .fetch_all(db)
    .await?;
    rows.into_iter().map(|row| parse(row.get("slot"), row.get("content"))).collect()
}

/// The open groups whose key begins with `prefix`, at most two.
///
/// # Errors
///
/// [`StoreError::Corrupt`] when a row cannot be read back; [`StoreError::Database`] otherwise.
pub async fn with_prefix(db: impl PgExecutor<'_>, prefix: &str) -> Result<Vec<StoredGroup>, StoreError> {
    let rows =
        sqlx::query("select slot, content from alert_group where starts_with(key, $1) order by key limit 2")
            .bind(prefix)
            .fetch_all(db)
            .await?;
    rows.into_iter().map(|row| parse(row.get("slot"), row.get("content"))).collect()
}

/// Writes groups that changed and removes those that are over; messages and events are written by their own tables.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn save(transaction: &mut PgConnection, decision: &Decision) -> Result<(), StoreError> {
    if !decision.closed.is_empty() {
        sqlx::query("delete from alert_group where slot = any($1)")
            .bind(&decision.closed)
            .execute(&mut *transaction)
            .await?;
    }
    for group in &decision.groups {
        let content =
            serde_json::to_value(group).map_err(|error| unwritable("alert_group", &group.slot, &error))?;
        sqlx::query(
            "insert into alert_group (slot, key, model, content, next_at) values ($1, $2, $3, $4, $5)
             on conflict (slot) do update
             set key = excluded.key, model = excluded.model, content = excluded.content,
                 next_at = excluded.next_at, updated_at = now()",
        )
        .bind(&group.slot)
        .bind(&group.key)
        .bind(group.labels.get("model"))
        .bind(content)
        .bind(group.next_at)
        .execute(&mut *transaction)
        .await?;
    }
    Ok(())
}

/// Models of groups of which a timer has ended; `None` stands for groups that may hold several models.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn due(db: impl PgExecutor<'_>, now: DateTime<Utc>) -> Result<Vec<Option<String>>, StoreError> {
    let rows = sqlx::query("select distinct model from alert_group where next_at <= $1 order by model")
        .bind(now)
        .fetch_all(db)
        .await?;
    Ok(rows.iter().map(|row| row.get("model")).collect())
}

/// Has every group looked at soon: a person has changed what may be told.
///
/// # Errors
///
/// [`StoreError::Database`].
pub(super) async fn hurry(db: impl PgExecutor<'_>, now: DateTime<Utc>) -> Result<(), StoreError> {
    sqlx::query("update alert_group set next_at = $1 where next_at is null or next_at > $1")
        .bind(now)
        .execute(db)
        .await?;
    Ok(())
}
