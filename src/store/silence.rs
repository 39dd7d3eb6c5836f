//! Silences: written by people, read by every look at who is told what.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor, PgPool, Row};
use thiserror::Error;
use uuid::Uuid;

use super::{StoreError, alert_group};
use crate::alert::{Matcher, Silence, WordError};

/// Most silences that hold or are to hold at once; each is compared with every alert.
pub const MAX_SILENCES: i64 = 1_000;

/// Why a silence was not stored.
#[derive(Debug, Error)]
pub enum SilenceError {
    /// It is not one.
    #[error(transparent)]
    Refused(#[from] WordError),
    /// There are enough.
    #[error("there are already {MAX_SILENCES} silences; end some with `driftline alerts unsilence`")]
    TooMany,
    /// There is no such silence, or it has ended.
    #[error("there is no silence {0} that still holds")]
    Unknown(String),
    /// The database refused or was not reached.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for SilenceError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

fn parse(row: &sqlx::postgres::PgRow) -> Result<Silence, StoreError> {
    let id: Uuid = row.get("id");
    let texts: Vec<String> = row.get("matchers");
    let matchers = texts.iter().map(|text| Matcher::parse(text)).collect::<Result<_, _>>();
    let matchers =
        matchers.map_err(|problem| StoreError::Corrupt { table: "silence", key: id.to_string(), problem })?;
    Ok(Silence {
        id,
        matchers,
        starts_at: row.get("starts_at"),
        ends_at: row.get("ends_at"),
        by: row.get("author"),
        reason: row.get("reason"),
    })
}

/// Checks and stores a silence, and has every group looked at soon.
///
/// # Errors
///
/// [`SilenceError`].
pub async fn insert(pool: &PgPool, silence: Silence, now: DateTime<Utc>) -> Result<Silence, SilenceError> {
    let silence = silence.checked(now)?;
    let mut transaction = pool.begin().await?;
    alert_group::lock(&mut transaction).await?;
    let held: i64 = sqlx::query("select count(*) as silences from silence where ends_at > $1")
        .bind(now)
        .fetch_one(&mut *transaction)
        .await?
        .get("silences");
    if held >= MAX_SILENCES {
        return Err(SilenceError::TooMany);
    }
    sqlx::query(
        "insert into silence (id, matchers, starts_at, ends_at, author, reason) values ($1, $2, $3, $4, $5, $6)",
    )
    .bind(silence.id)
    .bind(silence.matchers.iter().map(ToString::to_string).collect::<Vec<_>>())
    .bind(silence.starts_at)
    .bind(silence.ends_at)
    .bind(&silence.by)
    .bind(&silence.reason)
    .execute(&mut *transaction)
    .await?;
    alert_group::hurry(&mut *transaction, now).await?;
    transaction.commit().await?;
    Ok(silence)
}

/// Silences that hold at `now` or will.
///
/// # Errors
///
/// [`StoreError::Corrupt`] when a row cannot be read back; [`StoreError::Database`] otherwise.
pub async fn standing(db: impl PgExecutor<'_>, now: DateTime<Utc>) -> Result<Vec<Silence>, StoreError> {
    let rows = sqlx::query("select * from silence where ends_at > $1 order by starts_at, id")
        .bind(now)
        .fetch_all(db)
        .await?;
    rows.iter().map(parse).collect()
}

/// The newest `limit` silences, those that are over among them, newest first.
///
/// # Errors
///
/// [`StoreError::Corrupt`] when a row cannot be read back; [`StoreError::Database`] otherwise.
pub async fn latest(db: impl PgExecutor<'_>, limit: i64) -> Result<Vec<Silence>, StoreError> {
    let rows = sqlx::query("select * from silence order by created_at desc, id desc limit $1")
        .bind(limit)
        .fetch_all(db)
        .await?;
    rows.iter().map(parse).collect()
}

/// Ends the silence whose id begins with `prefix`, and has every group looked at soon; the row stays as history.
///
/// # Errors
///
/// [`SilenceError::Unknown`] when not exactly one silence that still holds has such an id.
pub async fn end(pool: &PgPool, prefix: &str, now: DateTime<Utc>) -> Result<Silence, SilenceError> {
    let mut transaction = pool.begin().await?;
    let found = standing_with(&mut transaction, prefix, now).await?;
    let [silence] = found.as_slice() else { return Err(SilenceError::Unknown(prefix.to_owned())) };
    // One that has not begun ends where it would have begun.
    sqlx::query("update silence set ends_at = greatest($2, starts_at) where id = $1")
        .bind(silence.id)
        .bind(now)
        .execute(&mut *transaction)
        .await?;
    alert_group::hurry(&mut *transaction, now).await?;
    transaction.commit().await?;
    Ok(silence.clone())
}

async fn standing_with(
    db: &mut PgConnection,
    prefix: &str,
    now: DateTime<Utc>,
) -> Result<Vec<Silence>, StoreError> {
    let rows = sqlx::query("select * from silence where ends_at > $2 and starts_with(id::text, $1) limit 2")
        .bind(prefix)
        .bind(now)
        .fetch_all(db)
        .await?;
    rows.iter().map(parse).collect()
}
