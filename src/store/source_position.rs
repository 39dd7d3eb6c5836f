//! Table `source_position`: how far each file and partition of a source is read.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sqlx::{Connection, PgConnection, PgExecutor, PgPool};

use super::StoreError;

/// How far one file or partition of a source is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourcePosition {
    /// Name of the source in the settings.
    pub source: String,
    /// What moves: a file, a partition.
    pub of: String,
    /// How far it is read, in words of the source.
    pub at: String,
}

/// Writes `positions`; of several for the same thing the last one counts. To be called in the transaction that stores
/// what was read, so that content and position cannot part.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn upsert(db: impl PgExecutor<'_>, positions: &[SourcePosition]) -> Result<(), StoreError> {
    // One statement may touch a row only once; sorted, so that transactions of two replicas cannot deadlock.
    let newest: BTreeMap<(&str, &str), &str> = positions
        .iter()
        .map(|position| ((position.source.as_str(), position.of.as_str()), position.at.as_str()))
        .collect();
    if newest.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "insert into source_position (source, of, at)
         select * from unnest($1::text[], $2::text[], $3::text[])
         on conflict (source, of) do update set at = excluded.at, updated_at = now()",
    )
    .bind(newest.keys().map(|(source, _)| *source).collect::<Vec<_>>())
    .bind(newest.keys().map(|(_, of)| *of).collect::<Vec<_>>())
    .bind(newest.values().copied().collect::<Vec<_>>())
    .execute(db)
    .await?;
    Ok(())
}

/// Every position of `source`, by what moves.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn all(db: impl PgExecutor<'_>, source: &str) -> Result<BTreeMap<String, String>, StoreError> {
    let rows: Vec<(String, String)> = sqlx::query_as("select of, at from source_position where source = $1")
        .bind(source)
        .fetch_all(db)
        .await?;
    Ok(rows.into_iter().collect())
}

/// The position of `of` in `source`.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn one(db: impl PgExecutor<'_>, source: &str, of: &str) -> Result<Option<String>, StoreError> {
    let row: Option<(String,)> =
        sqlx::query_as("select at from source_position where source = $1 and of = $2")
            .bind(source)
            .bind(of)
            .fetch_optional(db)
            .await?;
    Ok(row.map(|(at,)| at))
}

/// Keeps the positions of `source` that are for something in `present`, and forgets those that nobody has written or kept
/// since `before`; returns how many.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn forget(
    db: &PgPool,
    source: &str,
    present: &[String],
    before: DateTime<Utc>,
) -> Result<u64, StoreError> {
    sqlx::query("update source_position set updated_at = now() where source = $1 and of = any($2::text[])")
        .bind(source)
        .bind(present)
        .execute(db)
        .await?;
    let done = sqlx::query("delete from source_position where source = $1 and updated_at < $2")
        .bind(source)
        .bind(before)
        .execute(db)
        .await?;
    Ok(done.rows_affected())
}

/// The right to read a source that all replicas see; it ends with the connection.
#[derive(Debug)]
pub struct Lead {
    connection: PgConnection,
}

/// Takes the lead for `source`, if no other process has it.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn lead(db: &PgPool, source: &str) -> Result<Option<Lead>, StoreError> {
    // A connection of its own: the lock must not end when the pool lets a connection go.
    let mut connection = PgConnection::connect_with(&db.connect_options()).await?;
    let (leads,): (bool,) =
        sqlx::query_as("select pg_try_advisory_lock(hashtextextended('driftline source ' || $1, 0))")
            .bind(source)
            .fetch_one(&mut connection)
            .await?;
    Ok(leads.then_some(Lead { connection }))
}

impl Lead {
    /// Whether the connection, and with it the lead, is still there.
    pub async fn holds(&mut self) -> bool {
        self.connection.ping().await.is_ok()
    }
}
