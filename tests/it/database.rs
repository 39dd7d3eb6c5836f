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
    let url = store::create_database(&server_url, &name).await.unwrap();
    (store::connect(&url, 6).await.unwrap(), url)
}
