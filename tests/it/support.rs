//! What every integration test needs: a database of its own, the programs, waiting for a fact.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sqlx::PgPool;

pub(crate) use crate::database::database_with_url;

/// How long a test waits for something that has to happen.
const PATIENCE: Duration = Duration::from_mins(2);

/// A fresh, migrated database on the server of `DATABASE_URL`.
pub(crate) async fn database() -> PgPool {
    database_with_url().await.0
}

/// The program `driftline-trainer`, which `cargo test --workspace` builds.
pub(crate) fn trainer() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let program = tests.parent().and_then(Path::parent).unwrap().join("driftline-trainer");
    assert!(program.exists(), "`{}` is missing: build the whole workspace", program.display());
    program
}

/// Polls until `probe` gives something.
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
