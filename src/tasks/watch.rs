//! Looks at models between windows, for the rules with `every`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{PgConnection, PgPool};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::alert::{Look, Rule};
use crate::config::{ModelSettings, Settings};
use crate::model::ModelName;
use crate::store::{self, StoreError};
use crate::tasks::{RulesInForce, dispatch, traffic};
use crate::traffic::Usual;
use crate::window::{Window, minute};

/// How often it is asked whether a rule's turn has come.
const POLL: Duration = Duration::from_secs(1);

/// How long after its end a minute is looked at: the tap writes what it counted twice a second.
const SETTLE: TimeDelta = TimeDelta::seconds(3);

/// How long what is usual is taken for it before it is read again.
const USUAL_FOR: TimeDelta = TimeDelta::minutes(10);

/// Looks at every model; any number of processes may run it at once.
#[derive(Debug)]
pub struct Watch {
    db: PgPool,
    settings: Arc<Settings>,
    rules: RulesInForce,
    wake: Arc<Notify>,
    now: fn() -> DateTime<Utc>,
    /// Up to which minute each model has been looked at, by any process.
    done: BTreeMap<ModelName, DateTime<Utc>>,
    /// What is usual of each model's traffic, and when it was read.
    usual: BTreeMap<ModelName, (DateTime<Utc>, Usual)>,
}

impl Watch {
    /// A watch over the configured models; `wake` tells the notifier that there may be messages.
    pub fn new(
        db: PgPool,
        settings: Arc<Settings>,
        rules: RulesInForce,
        wake: Arc<Notify>,
        now: fn() -> DateTime<Utc>,
    ) -> Self {
        Self { db, settings, rules, wake, now, done: BTreeMap::new(), usual: BTreeMap::new() }
    }

    /// Watches until shutdown; a database that is not reached is tried again.
    ///
    /// # Errors
    ///
    /// None so far: what fails is logged and tried again.
    pub async fn run(mut self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let mut failing = false;
        let settings = Arc::clone(&self.settings);
        while shutdown.run_until_cancelled(tokio::time::sleep(POLL)).await.is_some() {
            let mut failure = None;
            for model in &settings.models {
                if let Err(error) = self.look_due(model).await {
                    failure = Some((model, error));
                }
            }
            if let (Some((model, error)), false) = (&failure, failing) {
                tracing::error!(model = %model.name, error = format!("{error:#}"), "the watch between windows failed, trying again");
            }
            failing = failure.is_some();
        }
        Ok(())
    }

    /// Has the rules of `model` look whose turn has come since they last did; returns how many.
    ///
    /// What was missed, as by a process that was down, is not made up for: rules look at the present.
    ///
    /// # Errors
    ///
    /// When the database refuses or is not reached; no rule has looked then.
    pub async fn look_due(&mut self, model: &ModelSettings) -> anyhow::Result<usize> {
        let now = (self.now)();
        let at = minute(now - SETTLE);
        if self.done.get(&model.name).is_some_and(|done| *done >= at) {
            return Ok(0);
        }
        let rules = Arc::clone(&self.rules.borrow());
        let watching: Vec<(&Rule, Duration, Duration)> = rules
            .rules
            .iter()
            .filter(|rule| rule.applies_to(&model.name))
            .filter_map(|rule| rule.watch.map(|watch| (rule, watch.every, watch.over)))
            .collect();
        if watching.is_empty() {
            return Ok(0);
        }
        let mut transaction = self.db.begin().await?;
        // Another process judges the model, or looks at it; whether it did is asked again.
        if !store::model::try_lead(&mut transaction, &model.name).await? {
            return Ok(0);
        }
        let last = store::watch::last(&mut *transaction, &model.name).await?;
        let due: Vec<(&Rule, Duration)> = watching
            .into_iter()
            .filter(|(rule, every, _)| {
                let turn = Window::holding(at, *every).start;
                last.get(&rule.name).is_none_or(|last| *last < turn)
            })
            .map(|(rule, _, over)| (rule, over))
            .collect();
        if due.is_empty() {
            // Now, and not when the connection is next used: others wait for the lock.
            transaction.rollback().await?;
        } else {
            let looks = self.looks(&mut transaction, model, at, due.iter().map(|(_, over)| *over)).await?;
            let paired: Vec<(&Rule, &Look)> =
                due.iter().filter_map(|(rule, over)| Some((*rule, looks.get(over)?))).collect();
            let told =
                dispatch::looked(&mut transaction, &rules, &self.settings, model, &paired, now).await?;
            let names: Vec<&str> = due.iter().map(|(rule, _)| rule.name.as_str()).collect();
            store::watch::note(&mut *transaction, &model.name, &names, at).await?;
            transaction.commit().await?;
            if told {
                self.wake.notify_one();
            }
        }
        self.done.insert(model.name.clone(), at);
        Ok(due.len())
    }

    /// What there is to see of `model` at `at`, by how far it is looked back.
    async fn looks(
        &mut self,
        transaction: &mut PgConnection,
        model: &ModelSettings,
        at: DateTime<Utc>,
        spans: impl Iterator<Item = Duration>,
    ) -> Result<BTreeMap<Duration, Look>, StoreError> {
        let name = &model.name;
        let usual = self.usual(&mut *transaction, model, at).await?;
        let signs = store::watch::signs(&mut *transaction, name).await?;
        let newest = store::performance::latest(&mut *transaction, name, true, 1).await?;
        let performance = newest.into_iter().next().map(Arc::new);
        let mut looks = BTreeMap::new();
        for over in spans {
            if looks.contains_key(&over) {
                continue;
            }
            let span = Window { start: at - over, end: at };
            let figures = traffic::figures(&mut *transaction, name, span, &usual).await?;
            let losses = store::profile_part::losses(&mut *transaction, name, span).await?;
            let look = Look {
                model: name.clone(),
                from: span.start,
                at,
                window: model.window.0,
                figures,
                losses,
                last_prediction: signs.last_prediction,
                last_report: signs.last_report,
                unjudged_since: signs.unjudged_since,
                last_label: signs.last_label,
                performance: performance.clone(),
            };
            looks.insert(over, look);
        }
        Ok(looks)
    }

    async fn usual(
        &mut self,
        transaction: &mut PgConnection,
        model: &ModelSettings,
        at: DateTime<Utc>,
    ) -> Result<Usual, StoreError> {
        if let Some((read, usual)) = self.usual.get(&model.name)
            && (*read..*read + USUAL_FOR).contains(&at)
        {
            return Ok(usual.clone());
        }
        let window = Window::holding(at, model.window.0);
        let usual = traffic::usual(transaction, &model.name, window, model.season).await?;
        self.usual.insert(model.name.clone(), (at, usual.clone()));
        Ok(usual)
    }
}
