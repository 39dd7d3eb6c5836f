//! Table `pending_side`: one side of an exchange, decoded and after privacy, until the other one comes.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;
use sqlx::postgres::types::PgInterval;

use super::StoreError;
use crate::decode::Side;
use crate::model::ModelName;

/// What both sides of an exchange have in common.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PairKey {
    /// Where both come from.
    pub source: String,
    /// The model.
    pub model: ModelName,
    /// Hash of what names the exchange there.
    pub pair: [u8; 16],
}

/// A side that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingSide {
    /// What it shares with the other side.
    pub key: PairKey,
    /// Which side it is.
    pub side: Side,
    /// The side, encoded.
    pub content: Vec<u8>,
}

/// A side that was taken out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waited {
    /// The side.
    pub side: PendingSide,
    /// Since when it waited, by the database's clock.
    pub since: DateTime<Utc>,
}

/// How much waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PendingSize {
    /// Sides.
    pub sides: u64,
    /// Bytes of their contents.
    pub bytes: u64,
}

type Row = (String, String, Vec<u8>, String, Vec<u8>, DateTime<Utc>);

fn word(side: Side) -> &'static str {
    match side {
        Side::Request => "request",
        Side::Response => "response",
    }
}

fn corrupt(problem: &str) -> StoreError {
    StoreError::Corrupt { table: "pending_side", key: "a row".to_owned(), problem: problem.to_owned() }
}

fn key(source: String, model: &str, pair: Vec<u8>) -> Result<PairKey, StoreError> {
    let model = ModelName::parse(model).map_err(|error| corrupt(&error.to_string()))?;
    let pair = pair.try_into().map_err(|_| corrupt("`pair` is not 16 bytes long"))?;
    Ok(PairKey { source, model, pair })
}

fn waited((source, model, pair, side, content, since): Row) -> Result<Waited, StoreError> {
    let side = if side == "request" { Side::Request } else { Side::Response };
    Ok(Waited { side: PendingSide { key: key(source, &model, pair)?, side, content }, since })
}

fn opposite(side: Side) -> Side {
    match side {
        Side::Request => Side::Response,
        Side::Response => Side::Request,
    }
}

/// Takes out the other sides of `sides`, as far as they wait.
///
/// # Errors
///
/// [`StoreError::Database`], [`StoreError::Corrupt`].
pub async fn take_partners(
    db: impl PgExecutor<'_>,
    sides: &[(&PairKey, Side)],
) -> Result<Vec<Waited>, StoreError> {
    if sides.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<Row> = sqlx::query_as(
        "delete from pending_side p
         using unnest($1::text[], $2::text[], $3::bytea[], $4::text[]) as wanted (source, model, pair, side)
         where p.source = wanted.source and p.model = wanted.model and p.pair = wanted.pair
           and p.side = wanted.side
         returning p.source, p.model, p.pair, p.side, p.content, p.created_at",
    )
    .bind(sides.iter().map(|(key, _)| key.source.as_str()).collect::<Vec<_>>())
    .bind(sides.iter().map(|(key, _)| key.model.as_str()).collect::<Vec<_>>())
    .bind(sides.iter().map(|(key, _)| key.pair.as_slice()).collect::<Vec<_>>())
    .bind(sides.iter().map(|(_, side)| word(opposite(*side))).collect::<Vec<_>>())
    .fetch_all(db)
    .await?;
    rows.into_iter().map(waited).collect()
}

/// Lets `sides` wait, of which no key may occur twice, and gives the keys of those that were let in. For the others
/// there is a row already: the other side, or the same one a second time.
///
/// Waits for transactions that are writing the same keys.
///
/// # Errors
///
/// [`StoreError::UnknownModel`] if a model is not registered; [`StoreError::Database`] otherwise.
pub async fn insert(db: impl PgExecutor<'_>, sides: &[PendingSide]) -> Result<Vec<PairKey>, StoreError> {
    if sides.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<(String, String, Vec<u8>)> = sqlx::query_as(
        "insert into pending_side (source, model, pair, side, content)
         select * from unnest($1::text[], $2::text[], $3::bytea[], $4::text[], $5::bytea[])
             as given (source, model, pair, side, content)
         order by source, model, pair
         on conflict (source, model, pair) do nothing
         returning source, model, pair",
    )
    .bind(sides.iter().map(|side| side.key.source.as_str()).collect::<Vec<_>>())
    .bind(sides.iter().map(|side| side.key.model.as_str()).collect::<Vec<_>>())
    .bind(sides.iter().map(|side| side.key.pair.as_slice()).collect::<Vec<_>>())
    .bind(sides.iter().map(|side| word(side.side)).collect::<Vec<_>>())
    .bind(sides.iter().map(|side| side.content.as_slice()).collect::<Vec<_>>())
    .fetch_all(db)
    .await
    .map_err(|error| StoreError::for_model(&sides[0].key.model, error))?;
    rows.into_iter().map(|(source, model, pair)| key(source, &model, pair)).collect()
}

/// Those of `sides` of which the same side waits already.
///
/// # Errors
///
/// [`StoreError::Database`], [`StoreError::Corrupt`].
pub async fn same_sides(
    db: impl PgExecutor<'_>,
    sides: &[(&PairKey, Side)],
) -> Result<Vec<PairKey>, StoreError> {
    let rows: Vec<(String, String, Vec<u8>)> = sqlx::query_as(
        "select p.source, p.model, p.pair from pending_side p
         join unnest($1::text[], $2::text[], $3::bytea[], $4::text[]) as given (source, model, pair, side)
           on p.source = given.source and p.model = given.model and p.pair = given.pair and p.side = given.side",
    )
    .bind(sides.iter().map(|(key, _)| key.source.as_str()).collect::<Vec<_>>())
    .bind(sides.iter().map(|(key, _)| key.model.as_str()).collect::<Vec<_>>())
    .bind(sides.iter().map(|(key, _)| key.pair.as_slice()).collect::<Vec<_>>())
    .bind(sides.iter().map(|(_, side)| word(*side)).collect::<Vec<_>>())
    .fetch_all(db)
    .await?;
    rows.into_iter().map(|(source, model, pair)| key(source, &model, pair)).collect()
}

/// Takes out the oldest sides that have waited longer than `longest`, at most `limit`, leaving those to others that
/// they are taking.
///
/// # Errors
///
/// [`StoreError::Database`], [`StoreError::Corrupt`].
pub async fn take_expired(
    db: impl PgExecutor<'_>,
    longest: Duration,
    limit: u32,
) -> Result<Vec<Waited>, StoreError> {
    let microseconds = i64::try_from(longest.as_micros()).unwrap_or(i64::MAX);
    let rows: Vec<Row> = sqlx::query_as(
        "delete from pending_side where ctid = any(array(
             select ctid from pending_side where created_at < now() - $1
             order by created_at limit $2 for update skip locked))
         returning source, model, pair, side, content, created_at",
    )
    .bind(PgInterval { months: 0, days: 0, microseconds })
    .bind(i64::from(limit))
    .fetch_all(db)
    .await?;
    rows.into_iter().map(waited).collect()
}

/// How much waits, over all replicas.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn size(db: impl PgExecutor<'_>) -> Result<PendingSize, StoreError> {
    let (sides, bytes): (i64, i64) =
        sqlx::query_as("select count(*), coalesce(sum(octet_length(content)), 0)::bigint from pending_side")
            .fetch_one(db)
            .await?;
    Ok(PendingSize { sides: sides.unsigned_abs(), bytes: bytes.unsigned_abs() })
}
