//! What every integration test needs: a database of its own, the programs, waiting for a fact.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use driftline::store;
use sqlx::PgPool;
use uuid::Uuid;

/// How long a test waits for something that has to happen.
const PATIENCE: Duration = Duration::from_secs(120);

/// A fresh, migrated database on the server of `DATABASE_URL`, and its URL.
pub(crate) async fn database_with_url() -> (PgPool, String) {
    let Ok(server_url) = std::env::var("DATABASE_URL") else {
        panic!("DATABASE_URL is not set: `make test` starts a Postgres for the tests and sets it");
    };
    let name = format!("driftline_test_{}", Uuid::now_v7().simple());
    let server = store::pool(&server_url, 1).unwrap();
    sqlx::query(sqlx::AssertSqlSafe(format!("create database {name}"))).execute(&server).await.unwrap();
    server.close().await;
    let url = with_database(&server_url, &name);
    (store::connect(&url, 6).await.unwrap(), url)
}

/// A fresh, migrated database on the server of `DATABASE_URL`.
pub(crate) async fn database() -> PgPool {
    database_with_url().await.0
}

/// `url` with another database name: between the authority and the parameters.
fn with_database(url: &str, name: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap();
    let (address, parameters) = rest.split_once('?').map_or((rest, None), |(a, p)| (a, Some(p)));
    let authority = address.split_once('/').map_or(address, |(authority, _)| authority);
    let parameters = parameters.map(|parameters| format!("?{parameters}")).unwrap_or_default();
    format!("{scheme}://{authority}/{name}{parameters}")
}

/// The program `driftline-trainer`, which `cargo test --workspace` builds.
pub(crate) fn trainer() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let program = tests.parent().and_then(Path::parent).unwrap().join("driftline-trainer");
    assert!(program.exists(), "`{}` is missing: build the whole workspace", program.display());
    program
}

/// Polls until `probe` gives something.
#[track_caller]
pub(crate) async fn wait_for<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut probe: impl FnMut() -> F,
) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(Instant::now() < deadline, "{what} did not happen within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
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
