//! Postgres: one module per table, migrations inside; every SQL statement of the project is here.

pub mod captured;
pub mod capture;
pub mod capture_snapshot;
pub mod label;
pub mod snapshot;
pub mod model_version;
pub mod artifact_file;
pub mod training_run;
pub mod training_log;
pub mod training_status;

use std::borrow::Cow;
use std::path::Path;

pub use sqlx::PgPool;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, SqlStr};
use thiserror::Error;

use crate::model::ModelName;

pub mod alert;
pub mod alert_ack;
pub mod alert_event;
pub mod alert_group;
pub mod alert_life;
pub mod baseline;
pub mod change;
pub mod cluster;
pub mod drift_report;
pub mod drift_series;
pub mod history;
pub mod ingested;
pub mod internal_fault;
pub mod model;
pub mod operation;
pub mod outbox;
pub mod pending_side;
pub mod performance;
pub mod profile_part;
pub mod query;
pub mod silence;
pub mod source_position;
pub mod token;
pub mod traffic;
pub mod watch;

/// A request to the database that did not succeed.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The model is not registered.
    #[error("model `{0}` is not registered; `driftline baseline build` registers it")]
    UnknownModel(ModelName),
    /// What is stored cannot be read back.
    #[error("{table} {key} cannot be read: {problem}")]
    Corrupt {
        /// The table.
        table: &'static str,
        /// The row.
        key: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The file with the database's password cannot be used.
    #[error("failed to read the database's password from `{path}`: {problem}")]
    PasswordFile {
        /// The file.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The schema could not be brought up to date.
    #[error("the database schema could not be brought up to date")]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// The database refused or was not reached.
    #[error("the database request failed")]
    Database(#[from] sqlx::Error),
}

impl StoreError {
    /// Names the model when `error` is the violation of a foreign key to `model`.
    pub(crate) fn for_model(model: &ModelName, error: sqlx::Error) -> Self {
        let violates_model = error
            .as_database_error()
            .and_then(sqlx::error::DatabaseError::constraint)
            .is_some_and(|name| name.ends_with("_model_fkey"));
        if violates_model { Self::UnknownModel(model.clone()) } else { Self::Database(error) }
    }

    /// Whether the database was reached and refuses what it was given: a value out of range, a text that it cannot hold.
    pub fn is_refused_content(&self) -> bool {
        matches!(self, Self::Database(sqlx::Error::Database(refusal))
            // 22: data exception; 54: program limit exceeded
            if refusal.code().is_some_and(|code| code.starts_with("22") || code.starts_with("54")))
    }

    /// Whether trying again later can help: the database was not reached, or said so itself.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Database(error) => match error {
                sqlx::Error::Io(_)
                // A connection cut while it is being set up.
                | sqlx::Error::Protocol(_)
                | sqlx::Error::PoolTimedOut
                | sqlx::Error::PoolClosed
                | sqlx::Error::Tls(_) => true,
                // 08: connection; 57: operator intervention; 53: resources; 40: serialization, deadlock
                sqlx::Error::Database(refusal) => refusal
                    .code()
                    .is_some_and(|code| ["08", "57", "53", "40"].iter().any(|class| code.starts_with(class))),
                _ => false,
            },
            _ => false,
        }
    }
}

/// Connects to `url` with at most `connections` connections, and runs the migrations.
///
/// # Errors
///
/// [`StoreError::Database`] when the database is not reached, [`StoreError::Migration`] when a migration fails.
pub async fn connect(url: &str, connections: u32) -> Result<PgPool, StoreError> {
    connect_with(url, None, connections).await
}

/// Like [`connect`], with a password that is not part of the URL.
///
/// # Errors
///
/// Those of [`connect`].
pub async fn connect_with(url: &str, password: Option<&str>, connections: u32) -> Result<PgPool, StoreError> {
    let pool = pool_with(url, password, connections)?;
    migrate(&pool).await?;
    Ok(pool)
}

/// The password that a file holds, without the line break at its end.
///
/// # Errors
///
/// [`StoreError::PasswordFile`] when it cannot be read or is empty.
pub fn read_password(path: &Path) -> Result<String, StoreError> {
    let refuse = |problem: String| StoreError::PasswordFile { path: path.display().to_string(), problem };
    let text = std::fs::read_to_string(path).map_err(|error| refuse(error.to_string()))?;
    let password = text.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        return Err(refuse("it is empty".to_owned()));
    }
    Ok(password.to_owned())
}

/// A pool that connects when it is first used, so that a sidecar can start before its database.
///
/// # Errors
///
/// [`StoreError::Database`] when `url` cannot be read.
pub fn pool(url: &str, connections: u32) -> Result<PgPool, StoreError> {
    pool_with(url, None, connections)
}

/// Like [`pool`], with a password that is not part of the URL.
///
/// # Errors
///
/// [`StoreError::Database`] when `url` cannot be read.
pub fn pool_with(url: &str, password: Option<&str>, connections: u32) -> Result<PgPool, StoreError> {
    let mut options: PgConnectOptions = url.parse()?;
    if let Some(password) = password {
        options = options.password(password);
    }
    Ok(lazy_pool(options.application_name("driftline"), connections))
}

/// A pool of its own with the same database behind it: what waits in one does not wait in the other.
pub fn pool_beside(pool: &PgPool, connections: u32) -> PgPool {
    let options = PgConnectOptions::clone(&pool.connect_options());
    lazy_pool(options, connections)
}

fn lazy_pool(options: PgConnectOptions, connections: u32) -> PgPool {
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(std::time::Duration::from_secs(5))
        .connect_lazy_with(options)
}

/// Creates database `name` on the server of `url`, and returns its URL.
///
/// # Errors
///
/// [`StoreError::Database`] when the server is not reached or refuses.
pub async fn create_database(url: &str, name: &str) -> Result<String, StoreError> {
    let server = pool(url, 1)?;
    let quoted = name.replace('"', "\"\"");
    sqlx::query(AssertSqlSafe(format!("create database \"{quoted}\""))).execute(&server).await?;
    server.close().await;
    Ok(with_database(url, name))
}

/// `url` with another database name: between the authority and the parameters.
fn with_database(url: &str, name: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("postgres", url));
    let (address, parameters) = rest.split_once('?').map_or((rest, None), |(a, p)| (a, Some(p)));
    let authority = address.split_once('/').map_or(address, |(authority, _)| authority);
    let parameters = parameters.map(|parameters| format!("?{parameters}")).unwrap_or_default();
    format!("{scheme}://{authority}/{name}{parameters}")
}

/// Every migration, oldest first: version, description, text.
const MIGRATIONS: &[(i64, &str, &str)] = &[
    (1, "init", include_str!("migrations/0001_init.sql")),
    (2, "source_position", include_str!("migrations/0002_source_position.sql")),
    (3, "ingest", include_str!("migrations/0003_ingest.sql")),
    (4, "traffic", include_str!("migrations/0004_traffic.sql")),
    (5, "labels", include_str!("migrations/0005_labels.sql")),
    (6, "columns_seen", include_str!("migrations/0006_columns_seen.sql")),
    (7, "alert_group", include_str!("migrations/0007_alert_group.sql")),
    (8, "internal", include_str!("migrations/0008_internal.sql")),
    (9, "watched", include_str!("migrations/0009_watched.sql")),
    (10, "receivers", include_str!("migrations/0010_receivers.sql")),
    (11, "performance", include_str!("migrations/0011_performance.sql")),
    (12, "capture", include_str!("migrations/0012_capture.sql")),
    (13, "run_evidence", include_str!("migrations/0013_run_evidence.sql")),
    (14, "operations_and_tokens", include_str!("migrations/0014_operations_and_tokens.sql")),
    (15, "model_kind", include_str!("migrations/0015_model_kind.sql")),
    (16, "drift_series", include_str!("migrations/0016_drift_series.sql")),
    (17, "dashboard", include_str!("migrations/0017_dashboard.sql")),
];

/// Brings the schema up to date; safe to run from many processes at once.
///
/// # Errors
///
/// [`StoreError::Migration`] when a migration fails or an applied one has changed.
pub async fn migrate(pool: &PgPool) -> Result<(), StoreError> {
    let migrations = MIGRATIONS
        .iter()
        .map(|(version, description, text)| {
            Migration::new(
                *version,
                Cow::Borrowed(*description),
                MigrationType::Simple,
                SqlStr::from_static(text),
                false,
            )
        })
        .collect();
    Migrator::with_migrations(migrations).run(pool).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_what_its_file_holds() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        for (text, expected) in [("p w\n", Some("p w")), ("p\r\n", Some("p")), ("p", Some("p")), ("\n", None)]
        {
            std::fs::write(&path, text).unwrap();
            assert_eq!(read_password(&path).ok().as_deref(), expected, "{text:?}");
        }
        let missing = read_password(&folder.path().join("missing")).unwrap_err().to_string();
        assert!(missing.contains("missing`: No such file"), "{missing}");
    }

    #[test]
    fn a_database_name_is_put_in_place() {
        for (url, expected) in [
            ("postgres://u@h:1/db", "postgres://u@h:1/x"),
            ("postgres:///db?host=/tmp/a&user=u", "postgres:///x?host=/tmp/a&user=u"),
            ("postgres://u@h", "postgres://u@h/x"),
        ] {
            assert_eq!(with_database(url, "x"), expected);
        }
    }
}
