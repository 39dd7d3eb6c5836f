//! What happened to alerts apart from their transitions: told, suppressed, released, acknowledged.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value as Json;
use sqlx::{PgConnection, PgExecutor, PgPool, Row};
use uuid::Uuid;

use super::StoreError;
use super::alert::unwritable;
use crate::alert::{GroupEvent, Happening};

/// Writes events; one that is already there stays as it is.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn insert(transaction: &mut PgConnection, events: &[GroupEvent]) -> Result<(), StoreError> {
    for event in events {
        let happening = serde_json::to_value(&event.happening)
            .map_err(|error| unwritable("alert_event", &event.id.to_string(), &error))?;
        sqlx::query(
            "insert into alert_event (id, group_key, fingerprints, at, happening) values ($1, $2, $3, $4, $5)
             on conflict (id) do nothing",
        )
        .bind(event.id)
        .bind(&event.group)
        .bind(&event.fingerprints)
        .bind(event.at)
        .bind(happening)
        .execute(&mut *transaction)
        .await?;
    }
    Ok(())
}

/// A message that was written because of an event, and how far it got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Delivery {
    /// The message.
    pub id: Uuid,
    /// The receiver.
    pub receiver: String,
    /// `queued`, `sent` or `dead`.
    pub state: String,
    /// When it was delivered.
    pub sent_at: Option<DateTime<Utc>>,
    /// Why the last attempt failed.
    pub last_error: Option<String>,
}

/// An event as it is stored.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EventRow {
    /// Key of the group.
    pub group: String,
    /// When.
    pub at: DateTime<Utc>,
    /// What.
    #[serde(flatten)]
    pub happening: Happening,
    /// The messages, for an event that told somebody; those that are still in the outbox.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deliveries: Vec<Delivery>,
}

/// The newest `limit` events of the alert `fingerprint`, oldest first, each with what became of its messages.
///
/// # Errors
///
/// [`StoreError::Corrupt`] when a row cannot be read back; [`StoreError::Database`] otherwise.
pub async fn of_alert(
    db: &mut PgConnection,
    fingerprint: &str,
    limit: i64,
) -> Result<Vec<EventRow>, StoreError> {
    let rows = sqlx::query(
        "select id, group_key, at, happening from alert_event where fingerprints @> array[$1]
         order by at desc, id desc limit $2",
    )
    .bind(fingerprint)
    .bind(limit)
    .fetch_all(&mut *db)
    .await?;
    let mut events = Vec::with_capacity(rows.len());
    for row in rows.iter().rev() {
        let happening: Happening =
            serde_json::from_value(row.get::<Json, _>("happening")).map_err(|error| {
                let key = row.get::<Uuid, _>("id").to_string();
                StoreError::Corrupt { table: "alert_event", key, problem: error.to_string() }
            })?;
        let deliveries = match &happening {
            Happening::Told { messages, .. } => deliveries(&mut *db, messages).await?,
            _ => Vec::new(),
        };
        events.push(EventRow { group: row.get("group_key"), at: row.get("at"), happening, deliveries });
    }
    Ok(events)
}

/// Drops events from before `before`, and acknowledgements and silences that ended by then; returns how many rows.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn expire(pool: &PgPool, before: DateTime<Utc>) -> Result<u64, StoreError> {
    let mut dropped = 0;
    for statement in [
        "delete from alert_event where at < $1",
        "delete from silence where ends_at < $1",
        // One of what still fires still holds, however old it is.
        "delete from alert_ack where at < $1
           and not exists (select 1 from alert_group where key = alert_ack.group_key)
           and not exists (select 1 from alert
                           where alert.fingerprint = alert_ack.fingerprint and alert.state = 'firing')",
    ] {
        dropped += sqlx::query(statement).bind(before).execute(pool).await?.rows_affected();
    }
    Ok(dropped)
}

async fn deliveries(db: impl PgExecutor<'_>, messages: &[Uuid]) -> Result<Vec<Delivery>, StoreError> {
    let rows = sqlx::query(
        "select id, receiver, state, sent_at, last_error from outbox where id = any($1) order by receiver, id",
    )
    .bind(messages)
    .fetch_all(db)
    .await?;
    let delivery = |row: &sqlx::postgres::PgRow| Delivery {
        id: row.get("id"),
        receiver: row.get("receiver"),
        state: row.get("state"),
        sent_at: row.get("sent_at"),
        last_error: row.get("last_error"),
    };
    Ok(rows.iter().map(delivery).collect())
}
