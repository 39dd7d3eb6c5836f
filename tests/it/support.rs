//! What every integration test needs.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use driftline::store;
use sqlx::PgPool;
use uuid::Uuid;

/// A fresh, migrated database on the server of `DATABASE_URL`.
pub(crate) async fn database() -> PgPool {
    let url = std::env::var("DATABASE_URL")
        .unwrap_or_else(|_| "postgres://postgres@127.0.0.1:5432/postgres".into());
    let name = format!("driftline_test_{}", Uuid::now_v7().simple());
    let server = store::pool(&url, 1).unwrap();
    sqlx::query(sqlx::AssertSqlSafe(format!("create database {name}"))).execute(&server).await.unwrap();
    let (base, _) = url.rsplit_once('/').unwrap();
    store::connect(&format!("{base}/{name}"), 4).await.unwrap()
}
