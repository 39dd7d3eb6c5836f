//! Table `internal_fault`: what each running process finds wrong with the watch.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor, Row};

use super::StoreError;
use crate::alert::Fault;

/// Longest detail that is kept, in characters.
const MAX_DETAIL: usize = 1_000;

/// Replaces what `replica` has found by `found`; call it in a transaction.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn replace(
    transaction: &mut PgConnection,
    replica: &str,
    found: &BTreeMap<Fault, String>,
) -> Result<(), StoreError> {
    sqlx::query("delete from internal_fault where replica = $1")
        .bind(replica)
        .execute(&mut *transaction)
        .await?;
    if found.is_empty() {
        return Ok(());
    }
    let cut = |detail: &String| detail.chars().filter(|c| *c != '\0').take(MAX_DETAIL).collect::<String>();
    sqlx::query(
        "insert into internal_fault (replica, fault, detail)
         select $1, * from unnest($2::text[], $3::text[])",
    )
    .bind(replica)
    .bind(found.keys().map(|fault| fault.as_str()).collect::<Vec<_>>())
    .bind(found.values().map(cut).collect::<Vec<_>>())
    .execute(transaction)
    .await?;
    Ok(())
}

/// What any process finds wrong at this moment, and drops what is of processes that have gone.
///
/// A process renews its rows every few seconds; one whose rows are a minute old is gone. Several processes of one fault
/// give the detail of the first by name.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn present(transaction: &mut PgConnection) -> Result<BTreeMap<Fault, String>, StoreError> {
    sqlx::query("delete from internal_fault where updated_at < now() - interval '1 minute'")
        .execute(&mut *transaction)
        .await?;
    let rows = sqlx::query("select fault, detail from internal_fault order by replica desc, fault")
        .fetch_all(transaction)
        .await?;
    let read = |row: &sqlx::postgres::PgRow| {
        let fault: String = row.get("fault");
        Some((Fault::parse(&fault)?, row.get("detail")))
    };
    Ok(rows.iter().filter_map(read).collect())
}

/// What any process finds wrong at this moment, without dropping anything.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn list(db: impl PgExecutor<'_>) -> Result<BTreeMap<String, String>, StoreError> {
    let rows = sqlx::query(
        "select fault, detail from internal_fault where updated_at >= now() - interval '1 minute'
         order by replica desc, fault",
    )
    .fetch_all(db)
    .await?;
    Ok(rows.iter().map(|row| (row.get("fault"), row.get("detail"))).collect())
}

/// What one process finds wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FaultRow {
    /// The process.
    pub replica: String,
    /// The word of the fault.
    pub fault: String,
    /// What it is about.
    pub detail: String,
    /// When the process last said so.
    pub updated_at: DateTime<Utc>,
}

/// What every process that still runs finds wrong, process by process.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn rows(db: impl PgExecutor<'_>) -> Result<Vec<FaultRow>, StoreError> {
    let rows = sqlx::query(
        "select replica, fault, detail, updated_at from internal_fault
         where updated_at >= now() - interval '1 minute' order by fault, replica",
    )
    .fetch_all(db)
    .await?;
    let read = |row: &sqlx::postgres::PgRow| FaultRow {
        replica: row.get("replica"),
        fault: row.get("fault"),
        detail: row.get("detail"),
        updated_at: row.get("updated_at"),
    };
    Ok(rows.iter().map(read).collect())
}
