//! Messages to be delivered: written with the verdict, claimed under a lease, delivered at least once.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{PgConnection, PgExecutor, PgPool, Row};
use uuid::Uuid;

use super::StoreError;
use super::alert::unwritable;
use crate::alert::{CANARY_RECEIVER, Message, Status};
use crate::model::ModelName;

/// Attempts after which a message that keeps failing is given up: with the waits below, after about a day.
pub const MAX_ATTEMPTS: i32 = 32;

/// Wait after the first failure; doubled with each further one.
const FIRST_WAIT: Duration = Duration::from_secs(5);

/// Longest wait between attempts, and longest wait that a receiver may ask for.
const LONGEST_WAIT: Duration = Duration::from_hours(1);

/// A message that this process may send until its lease ends.
#[derive(Debug, Clone, PartialEq)]
pub struct Claimed {
    /// Stable across attempts: receivers recognise a repeated delivery by it.
    pub id: Uuid,
    /// The receiver.
    pub receiver: String,
    /// The fencing token: how often the message was claimed.
    pub attempt: i32,
    /// How often it was claimed since it was written, or since a person had it tried again.
    pub tries: i32,
    /// The message, or why it cannot be read.
    pub message: Result<Message, String>,
}

/// Writes messages; one that is already there stays as it is.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn insert(
    transaction: &mut PgConnection,
    messages: &[Message],
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    for message in messages {
        let content = serde_json::to_value(message)
            .map_err(|error| unwritable("outbox", &message.id.to_string(), &error))?;
        sqlx::query(
            "insert into outbox (id, receiver, message, next_attempt_at) values ($1, $2, $3, $4)
             on conflict (id) do nothing",
        )
        .bind(message.id)
        .bind(&message.receiver)
        .bind(content)
        .bind(now)
        .execute(&mut *transaction)
        .await?;
    }
    Ok(())
}

/// Receivers that have a message due, apart from those in `busy`.
///
/// A message waits for those of its group that were written before it: a receiver that learns of the end before the
/// beginning would hold on to an alert that is over.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn due_receivers(
    db: impl PgExecutor<'_>,
    now: DateTime<Utc>,
    busy: &[String],
) -> Result<Vec<String>, StoreError> {
    let rows = sqlx::query(
        "select distinct receiver from outbox due
         where state = 'queued' and next_attempt_at <= $1 and (lease_until is null or lease_until <= $1)
           and receiver <> all($2)
           and not exists (select 1 from outbox earlier
                           where earlier.receiver = due.receiver and earlier.group_key = due.group_key
                             and earlier.sequence < due.sequence and earlier.state = 'queued')
         order by receiver",
    )
    .bind(now)
    .bind(busy)
    .fetch_all(db)
    .await?;
    Ok(rows.iter().map(|row| row.get("receiver")).collect())
}

/// Claims the message of `receiver` that has been due longest; another process skips it until the lease ends. A message
/// waits for those of its group that were written before it.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn claim(
    db: impl PgExecutor<'_>,
    receiver: &str,
    now: DateTime<Utc>,
    lease: Duration,
) -> Result<Option<Claimed>, StoreError> {
    let row = sqlx::query(
        "update outbox set attempt = attempt + 1, lease_until = $3
         where id = (select id from outbox due
                     where receiver = $1 and state = 'queued' and next_attempt_at <= $2
                       and (lease_until is null or lease_until <= $2)
                       and not exists (select 1 from outbox earlier
                                       where earlier.receiver = due.receiver and earlier.group_key = due.group_key
                                         and earlier.sequence < due.sequence and earlier.state = 'queued')
                     order by next_attempt_at, sequence limit 1 for update skip locked)
         returning id, receiver, attempt, attempt - forgiven as tries, message",
    )
    .bind(receiver)
    .bind(now)
    .bind(now + lease)
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| Claimed {
        id: row.get("id"),
        receiver: row.get("receiver"),
        attempt: row.get("attempt"),
        tries: row.get("tries"),
        message: serde_json::from_value(row.get("message")).map_err(|error| error.to_string()),
    }))
}

/// Marks a claimed message as delivered. A claim that has passed to another process changes nothing.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn mark_sent(
    db: impl PgExecutor<'_>,
    claim: &Claimed,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    sqlx::query(
        "update outbox set state = 'sent', sent_at = $3, lease_until = null, last_error = null
         where id = $1 and attempt = $2 and state = 'queued'",
    )
    .bind(claim.id)
    .bind(claim.attempt)
    .bind(now)
    .execute(db)
    .await?;
    Ok(())
}

/// What became of a message that could not be delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is tried again at this time.
    Retry(DateTime<Utc>),
    /// It was given up and stays in the table with its last error.
    Dead,
}

/// Puts a claimed message back for a later attempt, or gives it up.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn mark_failed(
    db: impl PgExecutor<'_>,
    claim: &Claimed,
    error: &str,
    permanent: bool,
    retry_after: Option<Duration>,
    now: DateTime<Utc>,
) -> Result<Fate, StoreError> {
    let fate = if permanent || claim.tries >= MAX_ATTEMPTS {
        Fate::Dead
    } else {
        Fate::Retry(now + wait(claim.id, claim.tries, retry_after))
    };
    let (state, next) = match fate {
        Fate::Dead => ("dead", now),
        Fate::Retry(next) => ("queued", next),
    };
    sqlx::query(
        "update outbox set state = $3, next_attempt_at = $4, last_error = $5, lease_until = null
         where id = $1 and attempt = $2 and state = 'queued'",
    )
    .bind(claim.id)
    .bind(claim.attempt)
    .bind(state)
    .bind(next)
    .bind(error.chars().filter(|c| *c != '\0').take(1000).collect::<String>())
    .execute(db)
    .await?;
    Ok(fate)
}

/// Exponential wait with up to a quarter more, so that messages that failed together do not return together.
/// The jitter comes from id and attempt, so that it needs no source of chance. A receiver that names a longer
/// wait gets it, up to [`LONGEST_WAIT`].
fn wait(id: Uuid, attempt: i32, retry_after: Option<Duration>) -> Duration {
    let doublings = u32::try_from(attempt - 1).unwrap_or_default().min(20);
    let wait =
        FIRST_WAIT.saturating_mul(1 << doublings).max(retry_after.unwrap_or_default()).min(LONGEST_WAIT);
    let bytes = id.as_bytes();
    let chance =
        u32::from(bytes[15].wrapping_add(u8::try_from(attempt % 251).unwrap_or_default().wrapping_mul(97)));
    wait + wait.mul_f64(0.25 * f64::from(chance) / 255.0)
}

/// The first message of the claimed one's group that its receiver got; nothing when this one is the first.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn first_of_group(db: impl PgExecutor<'_>, claim: &Claimed) -> Result<Option<Message>, StoreError> {
    let Ok(message) = &claim.message else { return Ok(None) };
    let row = sqlx::query(
        "select message from outbox where receiver = $1 and group_key = $2 and state = 'sent' and id <> $3
         order by sequence limit 1",
    )
    .bind(&claim.receiver)
    .bind(&message.group.key)
    .bind(claim.id)
    .fetch_optional(db)
    .await?;
    // One of an older form is no reason to keep the new one back.
    Ok(row.and_then(|row| serde_json::from_value(row.get("message")).ok()))
}

/// When `receiver` may get its next message, if it had `count` in the `period` before `now`.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn held_until(
    db: impl PgExecutor<'_>,
    receiver: &str,
    count: u32,
    period: Duration,
    now: DateTime<Utc>,
) -> Result<Option<DateTime<Utc>>, StoreError> {
    let row = sqlx::query(
        "select sent_at from outbox where receiver = $1 and state = 'sent' and sent_at > $2
         order by sent_at desc offset $3 limit 1",
    )
    .bind(receiver)
    .bind(now - period)
    .bind(i64::from(count.saturating_sub(1)))
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| row.get::<DateTime<Utc>, _>("sent_at") + period))
}

/// The newest message of each group that `receiver` got since `since`, where it was about something that fires, with
/// only those of its alerts that fire to this day.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn standing(db: &PgPool, receiver: &str, since: DateTime<Utc>) -> Result<Vec<Message>, StoreError> {
    let rows = sqlx::query(
        "select message from (
             select distinct on (group_key) message from outbox
             where receiver = $1 and state = 'sent' and sent_at > $2 and group_key is not null
             order by group_key, sequence desc) newest
         where message ->> 'status' = 'firing' and message ->> 'occasion' <> 'test'",
    )
    .bind(receiver)
    .bind(since)
    .fetch_all(db)
    .await?;
    let mut messages: Vec<Message> =
        rows.iter().filter_map(|row| serde_json::from_value(row.get("message")).ok()).collect();
    let named: Vec<&str> = messages
        .iter()
        .flat_map(|message| message.alerts.iter().map(|notice| notice.fingerprint.as_str()))
        .collect();
    let rows = sqlx::query("select fingerprint from alert where state = 'firing' and fingerprint = any($1)")
        .bind(named)
        .fetch_all(db)
        .await?;
    let firing: BTreeSet<String> = rows.iter().map(|row| row.get("fingerprint")).collect();
    for message in &mut messages {
        message
            .alerts
            .retain(|notice| notice.status == Status::Firing && firing.contains(&notice.fingerprint));
    }
    messages.retain(|message| !message.alerts.is_empty());
    Ok(messages)
}

/// Has the messages to `receiver` that were given up tried again; returns how many. One whose group has told the
/// receiver something newer since stays as it is: it would take the receiver back in time.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn retry_dead(
    db: impl PgExecutor<'_>,
    receiver: &str,
    now: DateTime<Utc>,
) -> Result<u64, StoreError> {
    let done = sqlx::query(
        "update outbox dead set state = 'queued', forgiven = attempt, next_attempt_at = $2, lease_until = null
         where receiver = $1 and state = 'dead'
           and not exists (select 1 from outbox later
                           where later.receiver = dead.receiver and later.group_key = dead.group_key
                             and later.sequence > dead.sequence and later.state = 'sent')",
    )
    .bind(receiver)
    .bind(now)
    .execute(db)
    .await?;
    Ok(done.rows_affected())
}

/// Why the last attempt to reach each receiver failed, for those with messages that are not delivered.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn last_errors(db: impl PgExecutor<'_>) -> Result<Vec<(String, String)>, StoreError> {
    let rows = sqlx::query(
        "select distinct on (receiver) receiver, last_error from outbox
         where state in ('queued', 'dead') and last_error is not null
         order by receiver, sequence desc",
    )
    .fetch_all(db)
    .await?;
    Ok(rows.iter().map(|row| (row.get("receiver"), row.get("last_error"))).collect())
}

/// Messages by receiver and state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OutboxCount {
    /// The receiver.
    pub receiver: String,
    /// `queued`, `sent` or `dead`.
    pub state: String,
    /// How many.
    pub messages: i64,
}

/// Messages by receiver and state, for metrics and `check`.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn counts(db: impl PgExecutor<'_>) -> Result<Vec<OutboxCount>, StoreError> {
    let rows = sqlx::query(
        "select receiver, state, count(*) as messages from outbox group by receiver, state order by receiver, state",
    )
    .fetch_all(db)
    .await?;
    let count = |row: &sqlx::postgres::PgRow| OutboxCount {
        receiver: row.get("receiver"),
        state: row.get("state"),
        messages: row.get("messages"),
    };
    Ok(rows.iter().map(count).collect())
}

/// How the outbox stands, over all receivers but the one of the canary.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Backlog {
    /// When the oldest message that waits was written, and its receiver.
    pub oldest: Option<(DateTime<Utc>, String)>,
    /// The last message of a monitored model that was given up since the time asked about: its receiver, and why.
    pub given_up: Option<(String, String)>,
}

/// How long messages wait, and whether one was given up after `since`.
///
/// Given up messages of internal alerts are not told: an alert about them would go to the same receivers.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn backlog(pool: &PgPool, since: DateTime<Utc>) -> Result<Backlog, StoreError> {
    let oldest: Option<(DateTime<Utc>, String)> = sqlx::query_as(
        "select created_at, receiver from outbox where state = 'queued' and receiver <> $1
         order by created_at limit 1",
    )
    .bind(CANARY_RECEIVER)
    .fetch_optional(pool)
    .await?;
    let given_up: Option<(String, Option<String>)> = sqlx::query_as(
        "select receiver, last_error from outbox
         where state = 'dead' and next_attempt_at > $1 and receiver <> $2
           and message #>> '{alerts,0,model}' is distinct from $3
         order by next_attempt_at desc limit 1",
    )
    .bind(since)
    .bind(CANARY_RECEIVER)
    .bind(ModelName::own().as_str())
    .fetch_optional(pool)
    .await?;
    let given_up = given_up.map(|(receiver, error)| (receiver, error.unwrap_or_default()));
    Ok(Backlog { oldest, given_up })
}

/// The state of one message: `queued`, `sent` or `dead`; none when there is no such message.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn state(db: impl PgExecutor<'_>, id: Uuid) -> Result<Option<String>, StoreError> {
    let row: Option<(String,)> =
        sqlx::query_as("select state from outbox where id = $1").bind(id).fetch_optional(db).await?;
    Ok(row.map(|(state,)| state))
}

/// Removes the messages of the canary, delivered or not; nobody reads them.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn forget_canary(db: impl PgExecutor<'_>, id: Uuid) -> Result<(), StoreError> {
    sqlx::query("delete from outbox where id = $1 and receiver = $2")
        .bind(id)
        .bind(CANARY_RECEIVER)
        .execute(db)
        .await?;
    Ok(())
}

/// A message and how far it got.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OutboxRow {
    /// Identifies the message.
    pub id: Uuid,
    /// The receiver.
    pub receiver: String,
    /// `queued`, `sent` or `dead`.
    pub state: String,
    /// How often it was claimed.
    pub attempt: i32,
    /// When it is due next.
    pub next_attempt_at: DateTime<Utc>,
    /// Why the last attempt failed.
    pub last_error: Option<String>,
    /// When it was delivered.
    pub sent_at: Option<DateTime<Utc>>,
}

/// The newest `limit` messages, newest first.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn list(pool: &PgPool, limit: i64) -> Result<Vec<OutboxRow>, StoreError> {
    let rows = sqlx::query(
        "select id, receiver, state, attempt, next_attempt_at, last_error, sent_at from outbox
         order by created_at desc, id desc limit $1",
    )
    .bind(limit)
    .fetch_all(pool)
    .await?;
    let message = |row: &sqlx::postgres::PgRow| OutboxRow {
        id: row.get("id"),
        receiver: row.get("receiver"),
        state: row.get("state"),
        attempt: row.get("attempt"),
        next_attempt_at: row.get("next_attempt_at"),
        last_error: row.get("last_error"),
        sent_at: row.get("sent_at"),
    };
    Ok(rows.iter().map(message).collect())
}

/// Drops messages that were sent before `before`, but for those of groups that are still open; returns how many. What was
/// given up stays: a person may have it tried again.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn expire(db: impl PgExecutor<'_>, before: DateTime<Utc>) -> Result<u64, StoreError> {
    let gone = sqlx::query(
        "delete from outbox where state = 'sent' and sent_at < $1
           and not exists (select 1 from alert_group where alert_group.key = outbox.group_key)",
    )
    .bind(before)
    .execute(db)
    .await?;
    Ok(gone.rows_affected())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_are_bounded() {
        let id = Uuid::from_u128(0xfe);
        let seconds = |attempt, retry_after: Option<u64>| {
            wait(id, attempt, retry_after.map(Duration::from_secs)).as_secs_f64()
        };
        for (attempt, base) in
            [(1, 5.0), (2, 10.0), (5, 80.0), (11, 3600.0), (32, 3600.0), (i32::MAX, 3600.0)]
        {
            let found = seconds(attempt, None);
            assert!((base..=1.25 * base).contains(&found), "attempt {attempt}: {found}");
        }
        assert!((120.0..=150.0).contains(&seconds(1, Some(120))), "a receiver's wait is honoured");
        assert!(seconds(1, Some(u64::MAX / 2)) <= 4500.0, "a receiver cannot silence us for ever");
        assert!(seconds(3, Some(1)) >= 20.0, "nor hurry us");
        let spread: BTreeSet<_> = (0..100_u128).map(|id| wait(Uuid::from_u128(id), 1, None)).collect();
        assert!(spread.len() > 50);
        let total: Duration = (1..MAX_ATTEMPTS).map(|attempt| wait(id, attempt, None)).sum();
        assert!((20..32).contains(&(total.as_secs() / 3600)), "given up after {total:?}");
    }
}
