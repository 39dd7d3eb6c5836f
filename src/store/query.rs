//! Rows of a query that a user wrote, on a database of theirs: only read, and for no longer than it may take.

use std::time::{Duration, Instant};

use serde_json::{Map, Value as Json};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use thiserror::Error;

/// Rows that are asked for at once.
const AT_ONCE: usize = 5_000;

/// A query that gave no rows.
#[derive(Debug, Error)]
pub enum QueryError {
    /// The URL is none.
    #[error("the connection URL of the query does not read")]
    Url,
    /// The database refuses or is away; the URL is not told, since it may hold a password.
    #[error("the database of the query cannot be reached: {0}")]
    Connect(sqlx::Error),
    /// The query fails.
    #[error("the query fails: {0}")]
    Query(sqlx::Error),
    /// It takes longer than it may.
    #[error("the query takes longer than {} s (source.query.timeout_seconds)", .0.as_secs())]
    Timeout(Duration),
}

/// Gives every row of `sql` to `take`, in the query's order, each as an object. Runs in a transaction that only reads.
///
/// # Arguments
///
/// * `sql`: one statement that gives rows, without parameters.
///
/// # Errors
///
/// [`QueryError`]; rows may have been given before.
pub async fn rows(
    url: &str,
    sql: &str,
    timeout: Duration,
    mut take: impl FnMut(Map<String, Json>),
) -> Result<(), QueryError> {
    let options: PgConnectOptions = url.parse().map_err(|_| QueryError::Url)?;
    let mut db = PgConnection::connect_with(&options).await.map_err(QueryError::Connect)?;
    let failed = |error: sqlx::Error| {
        let is_timeout =
            error.as_database_error().and_then(sqlx::error::DatabaseError::code).as_deref() == Some("57014");
        if is_timeout { QueryError::Timeout(timeout) } else { QueryError::Query(error) }
    };
    let mut transaction = db.begin_with("begin read only").await.map_err(QueryError::Connect)?;
    sqlx::query("select set_config('statement_timeout', $1, true)")
        .bind(timeout.as_millis().to_string())
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
    let statement = sql.trim().trim_end_matches(';').trim_end();
    // On lines of its own, so that a comment at its end does not swallow what follows. A prepared statement is only
    // one, and the transaction only reads: the user's text can do no more than that.
    let cursor = format!("declare asked no scroll cursor for select to_jsonb(q) from (\n{statement}\n) q");
    sqlx::query(AssertSqlSafe(cursor)).execute(&mut *transaction).await.map_err(failed)?;
    let started = Instant::now();
    loop {
        let found: Vec<Json> = sqlx::query_scalar(AssertSqlSafe(format!("fetch {AT_ONCE} from asked")))
            .fetch_all(&mut *transaction)
            .await
            .map_err(failed)?;
        if found.is_empty() {
            return Ok(());
        }
        for row in found {
            if let Json::Object(row) = row {
                take(row);
            }
        }
        if started.elapsed() > timeout {
            return Err(QueryError::Timeout(timeout));
        }
    }
}
