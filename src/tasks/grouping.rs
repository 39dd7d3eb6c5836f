//! Tells what is due of groups of alerts: after waits and repeats, escalations, the ends of silences.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::alert::{self, Happening, NextStep, Situation};
use crate::config::Settings;
use crate::model::ModelName;
use crate::store::{self, StoreError};
use crate::tasks::catalog::error_chain;

/// How often timers are looked at.
const POLL: Duration = Duration::from_secs(1);

/// Looks at timers; any number of processes may run it at once.
#[derive(Debug)]
pub struct Grouping {
    db: PgPool,
    settings: Arc<Settings>,
    wake: Arc<Notify>,
    now: fn() -> DateTime<Utc>,
}

impl Grouping {
    /// A task with the routes of `settings`; `wake` tells the notifier that there may be messages.
    pub fn new(db: PgPool, settings: Arc<Settings>, wake: Arc<Notify>, now: fn() -> DateTime<Utc>) -> Self {
        Self { db, settings, wake, now }
    }

    /// Looks until shutdown; a database that is not reached is tried again.
    ///
    /// # Errors
    ///
    /// None so far: what cannot be told is logged and tried again.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        // The routes may have changed since the last run, so everything is looked at once.
        let mut everything = true;
        let mut failing = false;
        while shutdown.run_until_cancelled(tokio::time::sleep(POLL)).await.is_some() {
            let looked = if everything { self.look(None).await } else { self.look_due().await };
            match looked {
                Ok(_) => (everything, failing) = (false, false),
                Err(error) if !failing => {
                    tracing::error!(error = %error_chain(&error), "groups of alerts could not be looked at, trying again");
                    failing = true;
                }
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// Looks at every group of which a timer has ended; returns how many messages were written.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; what was not committed is as if it had not been looked at.
    pub async fn look_due(&self) -> Result<usize, StoreError> {
        let due = store::alert_group::due(&self.db, (self.now)()).await?;
        let apart = self.settings.routing.keeps_models_apart();
        let scopes: BTreeSet<Option<ModelName>> = due
            .into_iter()
            .map(|model| model.filter(|_| apart).and_then(|model| ModelName::parse(&model).ok()))
            .collect();
        let mut told = 0;
        for model in scopes {
            told += self.look(model.as_ref()).await?;
        }
        Ok(told)
    }

    /// Looks at the groups of `model`, or at all, in one transaction.
    async fn look(&self, model: Option<&ModelName>) -> Result<usize, StoreError> {
        let mut transaction = self.db.begin().await?;
        let told = look(&mut transaction, &self.settings, model, (self.now)()).await?;
        transaction.commit().await?;
        if told > 0 {
            self.wake.notify_one();
        }
        Ok(told)
    }
}

/// Tells what has changed for `model`, in the transaction that changed it; returns how many messages were written.
///
/// The last step of a transaction, as nobody else decides what is told until it ends.
///
/// # Errors
///
/// [`StoreError`]; the transaction is then to be dropped.
pub async fn tell(
    transaction: &mut PgConnection,
    settings: &Settings,
    model: &ModelName,
    now: DateTime<Utc>,
) -> Result<usize, StoreError> {
    look(transaction, settings, settings.routing.keeps_models_apart().then_some(model), now).await
}

async fn look(
    transaction: &mut PgConnection,
    settings: &Settings,
    model: Option<&ModelName>,
    now: DateTime<Utc>,
) -> Result<usize, StoreError> {
    store::alert_group::lock(transaction).await?;
    let groups = store::alert_group::list(&mut *transaction, model).await?;
    let known: BTreeSet<&String> = groups.iter().flat_map(|group| group.members.keys()).collect();
    let known: Vec<String> = known.into_iter().cloned().collect();
    let alerts = store::alert::firing_or(&mut *transaction, model, &known).await?;
    if groups.is_empty() && alerts.is_empty() {
        return Ok(0);
    }
    let silences = store::silence::standing(&mut *transaction, now).await?;
    let fingerprints: Vec<String> = alerts.iter().map(|alert| alert.fingerprint.clone()).collect();
    let keys: Vec<String> = groups.iter().map(|group| group.key.clone()).collect();
    let acks = store::alert_ack::of(&mut *transaction, &fingerprints, &keys).await?;
    let mut decision = alert::decide(&Situation {
        routing: &settings.routing,
        alerts: &alerts,
        groups: &groups,
        silences: &silences,
        acks: &acks,
        now,
    });
    for message in &mut decision.messages {
        let first = message.alerts.first().map(|notice| notice.fingerprint.as_str());
        if let Some(command) = first.and_then(|fingerprint| settings.admin.page_of_alert(fingerprint)) {
            message.next.insert(0, NextStep { purpose: "See it on the page".to_owned(), command });
        }
    }
    store::alert_group::save(transaction, &decision).await?;
    store::alert_event::insert(transaction, &decision.events).await?;
    store::outbox::insert(transaction, &decision.messages, now).await?;
    for event in &decision.events {
        match &event.happening {
            Happening::Told { occasion, receivers, .. } => {
                tracing::info!(
                    group = event.group,
                    ?occasion,
                    receivers = receivers.join(","),
                    alerts = event.fingerprints.len(),
                    "group told"
                );
            }
            Happening::Suppressed { why } => {
                let (why, alerts) = (why.sentence(), event.fingerprints.len());
                tracing::info!(group = event.group, why, alerts, "alerts are not told");
            }
            Happening::Released | Happening::Acknowledged { .. } => {}
        }
    }
    Ok(decision.messages.len())
}
