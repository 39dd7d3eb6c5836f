//! Table `model`: the monitored models and their active baseline.

use sqlx::{PgConnection, PgExecutor};

use super::StoreError;
use crate::baseline::Baseline;
use crate::model::ModelName;

/// Registers `model` if it is not yet.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn register(db: impl PgExecutor<'_>, model: &ModelName) -> Result<(), StoreError> {
    sqlx::query("insert into model (name) values ($1) on conflict (name) do nothing")
        .bind(model.as_str())
        .execute(db)
        .await?;
    Ok(())
}

/// Every registered model with the version of its active baseline, by name.
///
/// # Errors
///
/// [`StoreError::Database`]; [`StoreError::Corrupt`] for a name this build refuses.
pub async fn list(db: impl PgExecutor<'_>) -> Result<Vec<(ModelName, Option<String>)>, StoreError> {
    let rows: Vec<(String, Option<String>)> =
        sqlx::query_as("select name, active_baseline from model order by name").fetch_all(db).await?;
    rows.into_iter()
        .map(|(name, baseline)| {
            let model = ModelName::parse(name.clone()).map_err(|error| StoreError::Corrupt {
                table: "model",
                key: name,
                problem: error.to_string(),
            })?;
            Ok((model, baseline))
        })
        .collect()
}

/// Version of the active baseline of `model`, if it has one.
///
/// # Errors
///
/// [`StoreError::UnknownModel`]; [`StoreError::Database`].
pub async fn active_baseline(
    db: impl PgExecutor<'_>,
    model: &ModelName,
) -> Result<Option<String>, StoreError> {
    let row: Option<(Option<String>,)> = sqlx::query_as("select active_baseline from model where name = $1")
        .bind(model.as_str())
        .fetch_optional(db)
        .await?;
    row.map(|(version,)| version).ok_or_else(|| StoreError::UnknownModel(model.clone()))
}

/// Makes `version` the active baseline of `model`.
///
/// # Errors
///
/// [`StoreError::UnknownModel`]; [`StoreError::Database`], also when there is no such version.
pub async fn activate_baseline(
    db: impl PgExecutor<'_>,
    model: &ModelName,
    version: &str,
) -> Result<(), StoreError> {
    let outcome = sqlx::query("update model set active_baseline = $2 where name = $1")
        .bind(model.as_str())
        .bind(version)
        .execute(db)
        .await?;
    if outcome.rows_affected() == 0 { Err(StoreError::UnknownModel(model.clone())) } else { Ok(()) }
}

/// Registers `baseline` and makes it the active one, unless the model has one; whether it is now.
///
/// # Errors
///
/// [`StoreError::UnknownModel`]; [`StoreError::Database`].
pub async fn activate_first(
    transaction: &mut PgConnection,
    model: &ModelName,
    baseline: &Baseline,
) -> Result<bool, StoreError> {
    let (taken,): (bool,) =
        sqlx::query_as("select active_baseline is not null from model where name = $1 for update")
            .bind(model.as_str())
            .fetch_optional(&mut *transaction)
            .await?
            .ok_or_else(|| StoreError::UnknownModel(model.clone()))?;
    if taken {
        return Ok(false);
    }
    super::baseline::insert(&mut *transaction, baseline).await?;
    activate_baseline(transaction, model, baseline.version()).await?;
    Ok(true)
}

/// Takes the right to judge `model` for the rest of the transaction; false when another process holds it.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn try_lead(transaction: &mut PgConnection, model: &ModelName) -> Result<bool, StoreError> {
    let (leads,): (bool,) =
        sqlx::query_as("select pg_try_advisory_xact_lock(hashtextextended('driftline evaluator ' || $1, 0))")
            .bind(model.as_str())
            .fetch_one(transaction)
            .await?;
    Ok(leads)
}
