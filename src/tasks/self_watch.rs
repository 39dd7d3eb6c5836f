//! Watches the watch itself: what is wrong with it becomes alerts, through the same states, outbox and receivers.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgPool;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::alert::{self, Fault};
use crate::config::Settings;
use crate::metrics::Metrics;
use crate::model::ModelName;
use crate::store::outbox::Backlog;
use crate::store::{self, StoreError};
use crate::tasks::catalog::error_chain;
use crate::tasks::evaluator::due_windows;
use crate::tasks::{Faults, grouping};

/// How often the watch is looked at, if nothing calls before.
const EVERY: Duration = Duration::from_secs(5);

/// How long the same window may wait to be judged, and the same message to be delivered.
const PATIENCE: TimeDelta = TimeDelta::minutes(15);

/// The reason under which the recorder gives up minutes that the database does not take.
const STORE_BEHIND: &str = "store_behind";

/// Finds what is wrong with the watch, and raises and ends the alerts about it.
#[derive(Debug)]
pub struct SelfWatch {
    db: PgPool,
    settings: Arc<Settings>,
    metrics: Metrics,
    faults: Faults,
    wake: Arc<Notify>,
    now: fn() -> DateTime<Utc>,
    replica: String,
    /// The window of each model that has been waiting to be judged, and since when.
    waiting: HashMap<ModelName, (DateTime<Utc>, DateTime<Utc>)>,
    lost: u64,
    patience: TimeDelta,
}

impl SelfWatch {
    /// A watch over this process and what is stored; `wake` tells the notifier that there may be messages.
    pub fn new(
        db: PgPool,
        settings: Arc<Settings>,
        metrics: Metrics,
        faults: Faults,
        wake: Arc<Notify>,
        now: fn() -> DateTime<Utc>,
    ) -> Self {
        let replica = Uuid::now_v7().to_string();
        let waiting = HashMap::new();
        Self { db, settings, metrics, faults, wake, now, replica, waiting, lost: 0, patience: PATIENCE }
    }

    /// Waits for windows and messages no longer than this.
    #[must_use]
    pub fn with_patience(self, patience: TimeDelta) -> Self {
        Self { patience, ..self }
    }

    /// Watches until shutdown; a database that is away is tried again, and then told what happened meanwhile.
    ///
    /// # Errors
    ///
    /// None.
    pub async fn run(mut self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let mut failing = false;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                () = self.faults.changed() => {}
                () = tokio::time::sleep(EVERY) => {}
            }
            match self.look().await {
                Ok(()) => failing = false,
                Err(error) if !failing => {
                    tracing::warn!(error = %error_chain(&error), "the watch could not be looked at, trying again");
                    failing = true;
                }
                Err(_) => {}
            }
        }
    }

    /// Looks once: finds what is wrong, and writes the alerts that follow in one transaction.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the database is not reached; nothing has happened then.
    pub async fn look(&mut self) -> Result<(), StoreError> {
        let now = (self.now)();
        let mut found = self.faults.present();
        if let Some(detail) = self.lost_minutes() {
            found.insert(Fault::StoreBehind, detail);
        }
        if let Some(detail) = self.overdue(now).await? {
            found.insert(Fault::WindowsNotJudged, detail);
        }
        let backlog = store::outbox::backlog(&self.db, now - self.patience).await?;
        self.show_outbox(&backlog, now).await?;
        found.extend(self.undelivered(backlog, now));

        let mut transaction = self.db.begin().await?;
        // The lock on the alerts comes first: two processes that look at once queue up.
        let previous = store::alert::load_for_update(&mut transaction, &ModelName::own()).await?;
        store::internal_fault::replace(&mut transaction, &self.replica, &found).await?;
        let present = store::internal_fault::present(&mut transaction).await?;
        let mut outcome = alert::judge_faults(&previous, &present, now);
        // What stays as it is need not be written every few seconds.
        outcome.alerts.retain(|alert| !previous.contains(alert));
        store::alert::save(&mut transaction, &outcome).await?;
        let told = grouping::tell(&mut transaction, &self.settings, &ModelName::own(), now).await?;
        transaction.commit().await?;
        for fault in Fault::ALL {
            let value = i64::from(found.contains_key(&fault));
            self.metrics.watch.faults.with_label_values(&[fault.as_str()]).set(value);
        }
        for transition in &outcome.transitions {
            tracing::warn!(
                rule = transition.rule,
                from = transition.from,
                to = transition.to,
                summary = transition.evidence.item.summary,
                "internal alert changed"
            );
        }
        if told > 0 {
            self.wake.notify_one();
        }
        Ok(())
    }

    /// What the recorder gave up since the last look, if anything.
    fn lost_minutes(&mut self) -> Option<String> {
        let dropped = &self.metrics.tap.dropped;
        let of_model = |model: &crate::config::ModelSettings| {
            dropped.with_label_values(&[model.name.as_str(), STORE_BEHIND]).get()
        };
        let lost: u64 = self.settings.models.iter().map(of_model).sum();
        let before = std::mem::replace(&mut self.lost, lost);
        (lost > before).then(|| format!("{} predictions were counted and could not be stored", lost - before))
    }

    /// The window that has waited longest, if one has for too long.
    async fn overdue(&mut self, now: DateTime<Utc>) -> Result<Option<String>, StoreError> {
        let mut worst: Option<(TimeDelta, String)> = None;
        for model in &self.settings.models {
            let oldest = due_windows(&self.db, model, now).await?.into_iter().next();
            let Some(window) = oldest else {
                self.waiting.remove(&model.name);
                self.metrics.watch.overdue.with_label_values(&[model.name.as_str()]).set(0.0);
                continue;
            };
            let entry = self.waiting.entry(model.name.clone()).or_insert((window.start, now));
            if entry.0 != window.start {
                *entry = (window.start, now);
            }
            let waited = now - entry.1;
            self.metrics.watch.overdue.with_label_values(&[model.name.as_str()]).set(seconds(waited));
            if waited >= self.patience && worst.as_ref().is_none_or(|(longest, _)| waited > *longest) {
                let minutes = waited.num_minutes();
                let detail =
                    format!("{} waits for its window from {} since {minutes} min", model.name, window.start);
                worst = Some((waited, detail));
            }
        }
        Ok(worst.map(|(_, detail)| detail))
    }

    fn undelivered(&self, backlog: Backlog, now: DateTime<Utc>) -> BTreeMap<Fault, String> {
        let mut found = BTreeMap::new();
        if let Some((written, receiver)) = backlog.oldest
            && now - written >= self.patience
        {
            let minutes = (now - written).num_minutes();
            found.insert(Fault::MessagesLate, format!("one to `{receiver}` has waited for {minutes} min"));
        }
        if let Some((receiver, reason)) = backlog.given_up {
            found.insert(Fault::MessagesGivenUp, format!("the one to `{receiver}` failed with: {reason}"));
        }
        found
    }

    /// Brings the gauges of the outbox up to date.
    async fn show_outbox(&self, backlog: &Backlog, now: DateTime<Utc>) -> Result<(), StoreError> {
        let age = backlog.oldest.as_ref().map_or(0.0, |(written, _)| seconds(now - *written));
        self.metrics.watch.outbox_oldest.set(age);
        let counts = store::outbox::counts(&self.db).await?;
        // Only configured names become labels; the canary's messages are nobody's.
        for receiver in self.settings.receivers.keys() {
            for state in ["queued", "sent", "dead"] {
                let found = counts.iter().find(|count| count.receiver == *receiver && count.state == state);
                let messages = found.map_or(0, |count| count.messages);
                self.metrics.watch.outbox.with_label_values(&[receiver.as_str(), state]).set(messages);
            }
        }
        Ok(())
    }
}

fn seconds(span: TimeDelta) -> f64 {
    span.max(TimeDelta::zero()).num_milliseconds() as f64 / 1000.0
}
