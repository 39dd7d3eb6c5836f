//! What integration tests share.

use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool};

/// A fresh, migrated database on the server of `DATABASE_URL`.
pub(crate) async fn database() -> PgPool {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let server = std::env::var("DATABASE_URL").expect("`make test` sets DATABASE_URL");
    let nanos = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos();
    let name = format!("it_{}_{nanos}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let mut admin = PgConnection::connect(&server).await.unwrap();
    sqlx::query(AssertSqlSafe(format!("create database {name}"))).execute(&mut admin).await.unwrap();
    let base = server.rsplit_once('/').unwrap().0;
    driftline::store::connect(&format!("{base}/{name}"), 8).await.unwrap()
}
