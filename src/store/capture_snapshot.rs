//! Table `capture_snapshot`: what training sets are made of, for ever.

use sqlx::{PgConnection, PgExecutor};

use super::StoreError;
use crate::model::ModelName;

/// A snapshot that is to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSnapshot<'a> {
    /// SHA-256 of `manifest`.
    pub hash: &'a str,
    /// Its rows.
    pub rows: u64,
    /// What it is made of.
    pub manifest: &'a str,
    /// The files that it names.
    pub parts: &'a [i64],
}

/// Writes a snapshot; one that is known stays.
///
/// # Errors
///
/// [`StoreError::UnknownModel`] if `model` is not registered; [`StoreError::Database`] otherwise.
pub async fn insert(
    db: &mut PgConnection,
    model: &ModelName,
    new: &NewSnapshot<'_>,
) -> Result<(), StoreError> {
    sqlx::query(
        "insert into capture_snapshot (hash, model, row_count, manifest) values ($1, $2, $3, $4::json)
         on conflict (hash) do nothing",
    )
    .bind(new.hash)
    .bind(model.as_str())
    .bind(i64::try_from(new.rows).unwrap_or(i64::MAX))
    .bind(new.manifest)
    .execute(&mut *db)
    .await
    .map_err(|error| StoreError::for_model(model, error))?;
    sqlx::query(
        "insert into capture_snapshot_part (snapshot, segment)
         select $1, * from unnest($2::bigint[]) on conflict do nothing",
    )
    .bind(new.hash)
    .bind(new.parts)
    .execute(db)
    .await?;
    Ok(())
}

/// Model and manifest of the snapshot `hash`, if there is one.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn manifest(db: impl PgExecutor<'_>, hash: &str) -> Result<Option<String>, StoreError> {
    let row: Option<(String,)> =
        sqlx::query_as("select manifest::text from capture_snapshot where hash = $1")
            .bind(hash)
            .fetch_optional(db)
            .await?;
    Ok(row.map(|(manifest,)| manifest))
}
