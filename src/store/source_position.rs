//! Table `source_position`: how far each file and partition of a source is read.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;

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

/// Forgets positions of `source` that were last written before `before`, but for those of `present`; returns how many.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn forget(
    db: impl PgExecutor<'_>,
    source: &str,
    present: &[String],
    before: DateTime<Utc>,
) -> Result<u64, StoreError> {
    let done = sqlx::query(
        "delete from source_position where source = $1 and updated_at < $2 and of <> all($3::text[])",
    )
    .bind(source)
    .bind(before)
    .bind(present)
    .execute(db)
    .await?;
    Ok(done.rows_affected())
}
