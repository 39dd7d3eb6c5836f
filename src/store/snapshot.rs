//! Snapshots: what a run trained on, named by the hash of its rows.

use serde::Serialize;
use serde_json::Value as Json;
use sqlx::PgExecutor;

use super::StoreError;
use crate::model::ModelName;

/// The rows of a run, by name and number.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Snapshot {
    /// SHA-256 over the canonical encoding of the rows.
    pub hash: String,
    /// Number of rows.
    pub row_count: u64,
    /// Source, columns, first and last event time, split.
    pub manifest: Json,
    /// The manifest of captured rows that they come from, by its hash.
    pub capture: Option<String>,
}

/// Writes `snapshot` unless it is known.
///
/// # Errors
///
/// [`StoreError::UnknownModel`] if `model` is not registered; [`StoreError::Database`] otherwise.
pub async fn insert(
    db: impl PgExecutor<'_>,
    model: &ModelName,
    snapshot: &Snapshot,
) -> Result<(), StoreError> {
    sqlx::query(
        "insert into snapshot (hash, model, row_count, manifest, capture) values ($1, $2, $3, $4, $5)
         on conflict (hash) do update set capture = coalesce(snapshot.capture, excluded.capture)",
    )
    .bind(&snapshot.hash)
    .bind(model.as_str())
    .bind(i64::try_from(snapshot.row_count).unwrap_or(i64::MAX))
    .bind(&snapshot.manifest)
    .bind(&snapshot.capture)
    .execute(db)
    .await
    .map_err(|error| StoreError::for_model(model, error))?;
    Ok(())
}
