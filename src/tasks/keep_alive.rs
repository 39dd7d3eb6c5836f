//! Tells receivers that forget, as Alertmanager does, which of the alerts that they were told of still fire.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::notify::{Receivers, SendFailure};
use crate::store::{StoreError, outbox};

/// How often alerts are told again; a tenth of the time after which they are forgotten.
const EVERY: Duration = Duration::from_mins(1);

/// How far back messages are looked for.
const REACH: TimeDelta = TimeDelta::days(90);

/// Keeps alerts alive at receivers that forget them. It only repeats what was delivered and still fires, so that an
/// alert whose end was never told ends there by itself.
#[derive(Debug)]
pub struct KeepAlive {
    pool: PgPool,
    receivers: Arc<Receivers>,
    now: fn() -> DateTime<Utc>,
}

impl KeepAlive {
    /// A task over `pool`.
    pub fn new(pool: PgPool, receivers: Arc<Receivers>, now: fn() -> DateTime<Utc>) -> Self {
        Self { pool, receivers, now }
    }

    /// Runs until shutdown; a failure is logged when it begins, and tried again with the next round.
    ///
    /// # Errors
    ///
    /// None.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let mut failing: BTreeSet<String> = BTreeSet::new();
        while shutdown.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
            for receiver in self.receivers.forgetful() {
                let failure = match self.remind(receiver).await {
                    Ok(failures) => failures.into_iter().next().map(|failure| failure.reason),
                    Err(error) => Some(error.to_string()),
                };
                match failure {
                    None => drop(failing.remove(receiver)),
                    Some(reason) if failing.insert(receiver.to_owned()) => {
                        tracing::warn!(receiver, reason, "alerts that still fire could not be told again");
                    }
                    Some(_) => {}
                }
            }
        }
        Ok(())
    }

    /// Tells `receiver` once more of every alert that it knows of and that still fires; returns what failed.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the messages cannot be read.
    pub async fn remind(&self, receiver: &str) -> Result<Vec<SendFailure>, StoreError> {
        let now = (self.now)();
        let mut failures = Vec::new();
        for message in outbox::standing(&self.pool, receiver, now - REACH).await? {
            if let Err(failure) = self.receivers.send(&message, None, now).await {
                failures.push(failure);
                // One that is down is not waited for once per message.
                break;
            }
        }
        Ok(failures)
    }
}
