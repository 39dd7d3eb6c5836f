//! A database for a test: fresh, migrated, on the server that `make test` starts.

use driftline::store;
use sqlx::PgPool;
use uuid::Uuid;

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

/// `url` with another database name: between the authority and the parameters.
fn with_database(url: &str, name: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap();
    let (address, parameters) = rest.split_once('?').map_or((rest, None), |(a, p)| (a, Some(p)));
    let authority = address.split_once('/').map_or(address, |(authority, _)| authority);
    let parameters = parameters.map(|parameters| format!("?{parameters}")).unwrap_or_default();
    format!("{scheme}://{authority}/{name}{parameters}")
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
