//! Tokens for the API, of which only hashes are kept, and the sessions of browsers that have shown one.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgExecutor, PgPool, Row};
use thiserror::Error;
use uuid::Uuid;

use super::StoreError;

/// Longest name of a token, in characters.
const MAX_NAME: usize = 100;

/// How exactly the last use of a token is known; each write costs a row version.
const USE_GRAIN: TimeDelta = TimeDelta::minutes(1);

/// A SHA-256.
pub type Hash = [u8; 32];

/// What a token may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// See everything that is stored.
    Read,
    /// Post labels, predictions and events.
    Label,
    /// See everything, and operate: runs, versions, alerts, silences.
    Operate,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Read, Self::Label, Self::Operate];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Label => "label",
            Self::Operate => "operate",
        }
    }

    /// The scope that `word` names.
    ///
    /// # Errors
    ///
    /// A sentence that names them all.
    pub fn parse(word: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|scope| scope.as_str() == word);
        found.ok_or_else(|| format!("`{word}` is not a scope: read, label, operate"))
    }

    /// Whether whoever has this scope may do what needs `needed`.
    pub fn covers(self, needed: Self) -> bool {
        self == needed || (self == Self::Operate && needed == Self::Read)
    }
}

/// A token as a list shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Token {
    /// Identifies it.
    pub id: Uuid,
    /// Who or what uses it.
    pub name: String,
    /// What for.
    pub scopes: Vec<Scope>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it ends; absent: never.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<DateTime<Utc>>,
    /// When somebody revoked it.
    pub revoked_at: Option<DateTime<Utc>>,
}

impl Token {
    /// Whether it lets anybody in at `now`.
    pub fn holds(&self, now: DateTime<Utc>) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }
}

/// Why no token was made, found or revoked.
#[derive(Debug, Error)]
pub enum TokenError {
    /// The name does not tell it from others.
    #[error("a token needs a name of 1 to {MAX_NAME} characters, without control characters")]
    Name,
    /// It would be good for nothing.
    #[error("a token needs at least one scope: read, label, operate")]
    Scopes,
    /// It would be over before it begins.
    #[error("a token has to end in the future")]
    Expiry,
    /// Another one that is not revoked has the name.
    #[error("there is a token `{0}` already; `driftline tokens revoke {0}` makes room")]
    Taken(String),
    /// There is no such token, or it has been revoked.
    #[error("there is no token `{0}` that is not revoked; `driftline tokens list` names them")]
    Unknown(String),
    /// The database refused or was not reached.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for TokenError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

/// Writes down a token of which only `hash` is known here.
///
/// # Errors
///
/// [`TokenError`].
pub async fn create(
    db: impl PgExecutor<'_>,
    name: &str,
    hash: &Hash,
    scopes: &[Scope],
    expires_at: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Result<Token, TokenError> {
    let name = name.trim();
    if name.is_empty() || name.chars().count() > MAX_NAME || name.chars().any(char::is_control) {
        return Err(TokenError::Name);
    }
    if scopes.is_empty() {
        return Err(TokenError::Scopes);
    }
    if expires_at.is_some_and(|end| end <= now) {
        return Err(TokenError::Expiry);
    }
    let mut scopes = scopes.to_vec();
    scopes.sort();
    scopes.dedup();
    let words: Vec<&str> = scopes.iter().map(|scope| scope.as_str()).collect();
    let row = sqlx::query(
        "insert into api_token (id, name, hash, scopes, created_at, expires_at)
         values ($1, $2, $3, $4, $5, $6) returning *",
    )
    .bind(Uuid::now_v7())
    .bind(name)
    .bind(&hash[..])
    .bind(words)
    .bind(now)
    .bind(expires_at)
    .fetch_one(db)
    .await
    .map_err(|error| {
        match error.as_database_error().and_then(sqlx::error::DatabaseError::constraint) {
            Some("api_token_name_key") => TokenError::Taken(name.to_owned()),
            _ => error.into(),
        }
    })?;
    Ok(read(&row)?)
}

/// The token with this hash that holds at `now`; notes that it was used.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn find(pool: &PgPool, hash: &Hash, now: DateTime<Utc>) -> Result<Option<Token>, StoreError> {
    let row =
        sqlx::query("select * from api_token where hash = $1").bind(&hash[..]).fetch_optional(pool).await?;
    used(pool, row.as_ref(), now).await
}

async fn used(pool: &PgPool, row: Option<&PgRow>, now: DateTime<Utc>) -> Result<Option<Token>, StoreError> {
    let Some(token) = row.map(read).transpose()?.filter(|token| token.holds(now)) else { return Ok(None) };
    if token.last_used_at.is_none_or(|last| now - last >= USE_GRAIN) {
        sqlx::query("update api_token set last_used_at = greatest(last_used_at, $2) where id = $1")
            .bind(token.id)
            .bind(now)
            .execute(pool)
            .await?;
    }
    Ok(Some(token))
}

/// Every token, newest first; without `all`, those that hold at `now`.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn list(db: impl PgExecutor<'_>, all: bool, now: DateTime<Utc>) -> Result<Vec<Token>, StoreError> {
    let rows = sqlx::query("select * from api_token order by created_at desc, id desc").fetch_all(db).await?;
    let tokens: Result<Vec<Token>, StoreError> = rows.iter().map(read).collect();
    Ok(tokens?.into_iter().filter(|token| all || token.holds(now)).collect())
}

/// Revokes the token with this name or id, and ends its sessions; the row stays as history.
///
/// # Errors
///
/// [`TokenError::Unknown`].
pub async fn revoke(pool: &PgPool, which: &str, now: DateTime<Utc>) -> Result<Token, TokenError> {
    let mut transaction = pool.begin().await?;
    let row = sqlx::query(
        "update api_token set revoked_at = $2 where revoked_at is null and (name = $1 or id::text = $1) returning *",
    )
    .bind(which)
    .bind(now)
    .fetch_optional(&mut *transaction)
    .await?;
    let token = read(&row.ok_or_else(|| TokenError::Unknown(which.to_owned()))?)?;
    sqlx::query("delete from api_session where token = $1").bind(token.id).execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(token)
}

/// Begins a session of `token` that ends with it, or at `expires_at`; forgets those that are over.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn begin_session(
    db: &mut PgConnection,
    hash: &Hash,
    token: Uuid,
    expires_at: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    sqlx::query("delete from api_session where expires_at <= $1").bind(now).execute(&mut *db).await?;
    sqlx::query("insert into api_session (hash, token, created_at, expires_at) values ($1, $2, $3, $4)")
        .bind(&hash[..])
        .bind(token)
        .bind(now)
        .bind(expires_at)
        .execute(db)
        .await?;
    Ok(())
}

/// The token of the session with this hash, if both hold at `now`; notes that it was used.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn of_session(pool: &PgPool, hash: &Hash, now: DateTime<Utc>) -> Result<Option<Token>, StoreError> {
    let row = sqlx::query(
        "select t.* from api_session s join api_token t on t.id = s.token where s.hash = $1 and s.expires_at > $2",
    )
    .bind(&hash[..])
    .bind(now)
    .fetch_optional(pool)
    .await?;
    used(pool, row.as_ref(), now).await
}

/// Ends a session.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn end_session(db: impl PgExecutor<'_>, hash: &Hash) -> Result<(), StoreError> {
    sqlx::query("delete from api_session where hash = $1").bind(&hash[..]).execute(db).await?;
    Ok(())
}

fn read(row: &PgRow) -> Result<Token, StoreError> {
    let id: Uuid = row.try_get("id")?;
    let words: Vec<String> = row.try_get("scopes")?;
    let scopes = words.iter().map(|word| Scope::parse(word)).collect::<Result<_, _>>();
    let corrupt = |problem| StoreError::Corrupt { table: "api_token", key: id.to_string(), problem };
    Ok(Token {
        id,
        name: row.try_get("name")?,
        scopes: scopes.map_err(corrupt)?,
        created_at: row.try_get("created_at")?,
        expires_at: row.try_get("expires_at")?,
        last_used_at: row.try_get("last_used_at")?,
        revoked_at: row.try_get("revoked_at")?,
    })
}
