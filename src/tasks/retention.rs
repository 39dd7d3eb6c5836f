//! Drops what has been kept long enough.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::config::{Settings, Span};
use crate::store;
use crate::tasks::catalog::error_chain;

/// How often old rows are looked for.
const EVERY: Duration = Duration::from_mins(10);

/// Drops old parts, captured rows, labels, ids of messages, sent messages, reports on performance, and history of alerts.
#[derive(Debug)]
pub struct Retention {
    db: PgPool,
    settings: Arc<Settings>,
    now: fn() -> DateTime<Utc>,
}

impl Retention {
    /// A task with the spans of `settings`.
    pub fn new(db: PgPool, settings: Arc<Settings>, now: fn() -> DateTime<Utc>) -> Self {
        Self { db, settings, now }
    }

    /// Cleans up until shutdown; a database that is away is tried again later.
    ///
    /// # Errors
    ///
    /// None.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        while shutdown.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
            let before = |span: Span| (self.now)() - TimeDelta::from_std(span.0).unwrap_or(TimeDelta::MAX);
            let retention = &self.settings.retention;
            let parts = store::profile_part::expire(&self.db, before(retention.profiles)).await;
            let rows = store::captured::expire(&self.db, before(retention.captured)).await;
            let sink = &self.settings.sink;
            let ids = store::ingested::expire(&self.db, before(sink.remember), sink.remember_keys).await;
            let events = store::alert_event::expire(&self.db, before(retention.history)).await;
            let messages = store::outbox::expire(&self.db, before(retention.history)).await;
            let reports = store::performance::expire(&self.db, before(retention.history)).await;
            let dropped = [
                ("parts", parts),
                ("rows", rows),
                ("ids", ids),
                ("events", events),
                ("messages", messages),
                ("performance", reports),
            ];
            for (what, dropped) in dropped {
                match dropped {
                    Ok(0) => {}
                    Ok(rows) => tracing::info!(what, rows, "old rows dropped"),
                    Err(error) => {
                        tracing::warn!(what, error = %error_chain(&error), "old rows could not be dropped, trying again later");
                    }
                }
            }
        }
        Ok(())
    }
}
