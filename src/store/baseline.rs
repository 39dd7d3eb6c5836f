//! Table `baseline`: immutable documents, named by their content.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgExecutor;

use super::StoreError;
use crate::baseline::Baseline;
use crate::model::ModelName;

/// What a list of baselines shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Its version.
    pub version: String,
    /// Rows of the reference data.
    pub rows: i64,
    /// Where they came from.
    pub source: String,
    /// When it was registered.
    pub created_at: DateTime<Utc>,
    /// Whether windows are judged against it.
    pub active: bool,
}

/// Registers `baseline`; registering the same content again changes nothing.
///
/// # Errors
///
/// [`StoreError::UnknownModel`] when its model is not registered; [`StoreError::Database`].
pub async fn insert(db: impl PgExecutor<'_>, baseline: &Baseline) -> Result<(), StoreError> {
    let content = baseline.to_json().map_err(|error| StoreError::Corrupt {
        table: "baseline",
        key: baseline.version().to_owned(),
        problem: error.to_string(),
    })?;
    sqlx::query(
        "insert into baseline (model, version, row_count, source, content) values ($1, $2, $3, $4, $5::json)
         on conflict (model, version) do nothing",
    )
    .bind(baseline.model().as_str())
    .bind(baseline.version())
    .bind(i64::try_from(baseline.rows()).unwrap_or(i64::MAX))
    .bind(baseline.source())
    .bind(content)
    .execute(db)
    .await
    .map_err(|error| StoreError::for_model(baseline.model(), error))?;
    Ok(())
}

/// The baseline `version` of `model`, if it is registered.
///
/// # Errors
///
/// [`StoreError::Corrupt`] when the document cannot be read; [`StoreError::Database`].
pub async fn get(
    db: impl PgExecutor<'_>,
    model: &ModelName,
    version: &str,
) -> Result<Option<Baseline>, StoreError> {
    let row: Option<(String,)> =
        sqlx::query_as("select content::text from baseline where model = $1 and version = $2")
            .bind(model.as_str())
            .bind(version)
            .fetch_optional(db)
            .await?;
    row.map(|(content,)| {
        Baseline::from_json(&content).map_err(|error| StoreError::Corrupt {
            table: "baseline",
            key: format!("{model} {version}"),
            problem: error.to_string(),
        })
    })
    .transpose()
}

/// The baselines of `model`, newest first.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn list(db: impl PgExecutor<'_>, model: &ModelName) -> Result<Vec<Summary>, StoreError> {
    let rows: Vec<(String, i64, String, DateTime<Utc>, bool)> = sqlx::query_as(
        "select b.version, b.row_count, b.source, b.created_at, b.version is not distinct from m.active_baseline
         from baseline b join model m on m.name = b.model
         where b.model = $1 order by b.created_at desc, b.version",
    )
    .bind(model.as_str())
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|(version, rows, source, created_at, active)| Summary {
            version,
            rows,
            source,
            created_at,
            active,
        })
        .collect())
}

/// The active baseline of each model that has one: model, version, rows, and when it was registered in seconds since 1970.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn active(db: impl PgExecutor<'_>) -> Result<Vec<(String, String, i64, f64)>, StoreError> {
    Ok(sqlx::query_as(
        "select b.model, b.version, b.row_count, extract(epoch from b.created_at)::float8
         from model m join baseline b on b.model = m.name and b.version = m.active_baseline",
    )
    .fetch_all(db)
    .await?)
}
