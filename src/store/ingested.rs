//! Table `ingested`: what was stored, so that a second delivery counts nothing.

use chrono::{DateTime, Utc};
use sqlx::{PgExecutor, PgPool, Postgres, Transaction};

use super::StoreError;

/// Names a message or an item within its source.
pub type Key = [u8; 16];

/// Rows that one statement drops, so that none holds locks for long.
const DROPPED_AT_ONCE: i64 = 10_000;

/// Bounds what the transaction may wait for, so that neither a peer nor a lost connection holds up the others.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn bound_waits(transaction: &mut Transaction<'_, Postgres>) -> Result<(), StoreError> {
    sqlx::query(
        "select set_config('statement_timeout', '20s', true),
                set_config('idle_in_transaction_session_timeout', '30s', true)",
    )
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

/// Writes `keys` of sources, of which none may occur twice, and gives those that were not there before.
///
/// Waits for transactions that are writing the same ones: of two, the second finds them there, or the first has failed.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn insert(db: impl PgExecutor<'_>, keys: &[(&str, Key)]) -> Result<Vec<(String, Key)>, StoreError> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    // In one order, so that two transactions with the same keys cannot wait for one another.
    let rows: Vec<(String, Vec<u8>)> = sqlx::query_as(
        "insert into ingested (source, key)
         select source, key from unnest($1::text[], $2::bytea[]) as given (source, key) order by source, key
         on conflict (source, key) do nothing
         returning source, key",
    )
    .bind(keys.iter().map(|(source, _)| *source).collect::<Vec<_>>())
    .bind(keys.iter().map(|(_, key)| key.as_slice()).collect::<Vec<_>>())
    .fetch_all(db)
    .await?;
    rows.into_iter()
        .map(|(source, key)| match Key::try_from(key) {
            Ok(key) => Ok((source, key)),
            Err(key) => Err(StoreError::Corrupt {
                table: "ingested",
                key: source,
                problem: format!("a key has {} bytes", key.len()),
            }),
        })
        .collect()
}

/// Leaves the mark of a transaction, in place of the one before; false when it was left already.
///
/// Waits for a transaction that is leaving the same one.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn mark(
    db: impl PgExecutor<'_>,
    source: &str,
    mark: Key,
    before: Option<Key>,
) -> Result<bool, StoreError> {
    let done = sqlx::query(
        "with gone as (delete from ingested where source = $1 and key = $3)
         insert into ingested (source, key) values ($1, $2) on conflict (source, key) do nothing",
    )
    .bind(source)
    .bind(mark.as_slice())
    .bind(before.as_ref().map(Key::as_slice))
    .execute(db)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Forgets keys written before `before`, and the oldest of those past `most`; returns how many.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn expire(db: &PgPool, before: DateTime<Utc>, most: u64) -> Result<u64, StoreError> {
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let (past_bound,): (Option<DateTime<Utc>>,) =
        sqlx::query_as("select (select at from ingested order by at desc offset $1 limit 1)")
            .bind(most)
            .fetch_one(db)
            .await?;
    let mut dropped = 0;
    loop {
        let done = sqlx::query(
            "delete from ingested where ctid = any(array(
                 select ctid from ingested where at < $1 or at <= $2 order by at limit $3))",
        )
        .bind(before)
        .bind(past_bound)
        .bind(DROPPED_AT_ONCE)
        .execute(db)
        .await?;
        dropped += done.rows_affected();
        if done.rows_affected() == 0 {
            return Ok(dropped);
        }
    }
}
