//! The canary: a known shift in a shadow of a real baseline must be seen, calm must stay calm, a message must arrive.
//!
//! Nothing of it is a report or an alert of a model, and no person is told of it: what is drawn here goes through the
//! same counting, judging, rules and outbox as predictions, and ends in a receiver inside the program.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use chrono::{DateTime, Utc};
use sqlx::PgPool;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::alert::{
    self, CANARY_RECEIVER, Fault, Group, MESSAGE_VERSION, Message, Occasion, RuleSet, Status, StoredAlert,
};
use crate::baseline::Baseline;
use crate::config::{ModelSettings, Settings};
use crate::drift::shadow::{self, Shift};
use crate::drift::{self, Losses, Verdict};
use crate::metrics::WatchMetrics;
use crate::model::ModelName;
use crate::profile;
use crate::store::{self, StoreError};
use crate::tasks::Faults;
use crate::tasks::catalog::error_chain;
use crate::tasks::evaluator::criteria;
use crate::window::Window;

/// The first trial comes so long after the start: by then the baselines are read.
const FIRST: Duration = Duration::from_mins(1);

/// How long a message on trial may take; the notifier looks once a second.
const PATIENCE: Duration = Duration::from_mins(2);

/// Time between two looks at the message.
const POLL: Duration = Duration::from_millis(200);

/// Windows with the shift in which it has to be seen.
const WINDOWS: u32 = 3;

/// Windows without a shift of which one has to be calm: the budget allows for a false alarm now and then.
const CALM_WINDOWS: u32 = 2;

/// Rows of a shadow window, or four times the least that a model is judged on.
const ROWS: u64 = 2_000;

/// The shift is at least so many times the floor of the model.
const OVER_FLOOR: f64 = 2.0;

/// The rule that has to see it.
const RULE: &str = "groups: [{name: canary, rules: [{alert: Canary, for_each: feature, \
                    expr: 'verdict == \"drift\"', receivers: [driftline-canary]}]}]";

/// How a trial ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trial {
    /// The shift was seen, calm stayed calm, the message arrived.
    Ok,
    /// A known shift was not seen.
    Undetected,
    /// A shadow without a shift was taken for drift.
    FalseAlarm,
    /// The message did not arrive in time.
    Undelivered,
}

impl Trial {
    /// The word used in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Undetected => "undetected",
            Self::FalseAlarm => "false_alarm",
            Self::Undelivered => "undelivered",
        }
    }
}

/// Puts the watch on trial on schedule.
#[derive(Debug)]
pub struct Canary {
    db: PgPool,
    settings: Arc<Settings>,
    metrics: Arc<WatchMetrics>,
    faults: Faults,
    wake: Arc<Notify>,
    now: fn() -> DateTime<Utc>,
    patience: Duration,
}

impl Canary {
    /// A canary for the models of `settings`; `wake` tells the notifier that there is a message.
    pub fn new(
        db: PgPool,
        settings: Arc<Settings>,
        metrics: Arc<WatchMetrics>,
        faults: Faults,
        wake: Arc<Notify>,
        now: fn() -> DateTime<Utc>,
    ) -> Self {
        Self { db, settings, metrics, faults, wake, now, patience: PATIENCE }
    }

    /// Waits for the message no longer than this.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Runs trials until shutdown, or does nothing where the settings say `off`.
    ///
    /// # Errors
    ///
    /// None: a trial that could not be made is logged and made again.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let Some(every) = self.settings.canary.every else {
            shutdown.cancelled().await;
            return Ok(());
        };
        let mut pause = FIRST.min(every);
        while shutdown.run_until_cancelled(tokio::time::sleep(pause)).await.is_some() {
            pause = every;
            let Some(trial) = shutdown.run_until_cancelled(self.trial()).await else { break };
            if let Err(error) = trial {
                self.metrics.canary_runs.with_label_values(&["error"]).inc();
                tracing::warn!(error = format!("{error:#}"), "the canary could not be tried");
                // The schedule says how often it is known to work, not how long an outage takes.
                pause = FIRST.min(every);
            }
        }
        Ok(())
    }

    /// One trial: detection on a shadow of every active baseline, then delivery. The first that fails is the result.
    ///
    /// # Errors
    ///
    /// When the database is not reached, or a baseline cannot be read: that is no result.
    pub async fn trial(&self) -> anyhow::Result<Trial> {
        let mut outcome = (Trial::Ok, String::new());
        for model in &self.settings.models {
            let Some(baseline) = self.baseline(model).await? else { continue };
            let found = self.detection(model, baseline).await?;
            if outcome.0 == Trial::Ok {
                outcome = found;
            }
        }
        let delivered = self.delivery().await?;
        if outcome.0 == Trial::Ok {
            outcome = delivered;
        }
        let (trial, detail) = outcome;
        self.metrics.canary_runs.with_label_values(&[trial.as_str()]).inc();
        if trial == Trial::Ok {
            let at = (self.now)().timestamp_millis() as f64 / 1000.0;
            self.metrics.canary_succeeded_at.set(at);
            self.faults.set(Fault::CanaryFailed, None);
            tracing::info!("the canary was seen and heard");
        } else {
            tracing::error!(result = trial.as_str(), detail, "the canary failed");
            self.faults.set(Fault::CanaryFailed, Some(detail));
        }
        Ok(trial)
    }

    async fn baseline(&self, model: &ModelSettings) -> anyhow::Result<Option<Baseline>> {
        let active = match store::model::active_baseline(&self.db, &model.name).await {
            Err(StoreError::UnknownModel(_)) => None,
            other => other?,
        };
        let Some(version) = active else { return Ok(None) };
        Ok(store::baseline::get(&self.db, &model.name, &version).await?)
    }

    /// Judges one calm and then shifted shadow windows of `model`.
    async fn detection(&self, model: &ModelSettings, baseline: Baseline) -> anyhow::Result<(Trial, String)> {
        let name = model.name.clone();
        let own = model.clone();
        let now = (self.now)();
        let started = Instant::now();
        let seen = tokio::task::spawn_blocking(move || judge(&own, &baseline, now)).await??;
        match seen {
            Seen::NoShift => {
                tracing::info!(model = %name, "no input of the baseline can be shifted, so the canary left it out");
                Ok((Trial::Ok, String::new()))
            }
            Seen::FalseAlarm(reason) => {
                let detail =
                    format!("{name}: rows drawn from the baseline itself were taken for drift: {reason}");
                Ok((Trial::FalseAlarm, detail))
            }
            Seen::Missed(shift) => {
                let detail = format!(
                    "{name}: a shift of `{}` by a PSI of {:.1} was not seen in {WINDOWS} windows",
                    shift.column, shift.psi
                );
                Ok((Trial::Undetected, detail))
            }
            Seen::After(windows) => {
                let delay = model.window.0 * windows + model.lateness.0 + started.elapsed();
                self.metrics.canary_detection.with_label_values(&[name.as_str()]).set(delay.as_secs_f64());
                Ok((Trial::Ok, String::new()))
            }
        }
    }

    /// Takes a message through the outbox to the receiver inside the program.
    async fn delivery(&self) -> anyhow::Result<(Trial, String)> {
        let message = message((self.now)());
        let mut transaction = self.db.begin().await?;
        store::outbox::insert(&mut transaction, std::slice::from_ref(&message), (self.now)()).await?;
        transaction.commit().await?;
        let started = Instant::now();
        self.wake.notify_one();
        let outcome = loop {
            if store::outbox::state(&self.db, message.id).await?.as_deref() == Some("sent") {
                self.metrics.canary_delivery.set(started.elapsed().as_secs_f64());
                break (Trial::Ok, String::new());
            }
            if started.elapsed() >= self.patience {
                let detail = format!("a message on trial was not delivered within {:?}", self.patience);
                break (Trial::Undelivered, detail);
            }
            tokio::time::sleep(POLL).await;
        };
        if let Err(error) = store::outbox::forget_canary(&self.db, message.id).await {
            tracing::debug!(error = %error_chain(&error), "the message of the canary stays");
        }
        Ok(outcome)
    }
}

/// What became of the shadow windows of a model.
#[derive(Debug)]
enum Seen {
    NoShift,
    FalseAlarm(String),
    Missed(Shift),
    After(u32),
}

/// Calm windows, then shifted ones until the rule fires, each through counting, storing, merging, judging and rules.
fn judge(model: &ModelSettings, baseline: &Baseline, now: DateTime<Utc>) -> anyhow::Result<Seen> {
    let criteria = criteria(model);
    let rules = RuleSet::parse(&[("canary".to_owned(), RULE.to_owned())]).map_err(|problems| {
        anyhow::anyhow!("{}", problems.iter().map(ToString::to_string).collect::<String>())
    })?;
    let first = Window::holding(now, model.window.0);
    let Some(shift) = shadow::plainest_shift(baseline, first, OVER_FLOOR * criteria.psi_floor) else {
        return Ok(Seen::NoShift);
    };
    let rows = ROWS.max(criteria.min_rows.saturating_mul(4));
    let losses = Losses { seen: rows, kept: rows, ..Losses::default() };
    let see = |window: Window, seed: u64, shift: Option<&Shift>, previous: &[StoredAlert]| {
        let halves = [seed, !seed]
            .map(|seed| profile::encode(&shadow::draw(baseline, window, rows.div_ceil(2), seed, shift)));
        let merged = profile::merge_stored(baseline.layout(), &halves).context("a shadow window")?;
        let report = drift::evaluate(baseline, &merged, losses.clone(), window, &criteria)?;
        let alerts = alert::evaluate(&rules, &report, Uuid::now_v7(), previous, now).alerts;
        anyhow::Ok((report, alerts))
    };
    // Other seeds for every trial: one that fails must not fail for ever by the luck of its draws.
    let seed = u64::try_from(now.timestamp_millis()).unwrap_or_default() << 3;
    let mut alarms = 0;
    for attempt in 0..CALM_WINDOWS {
        let (report, _) = see(first, seed ^ u64::from(attempt), None, &[])?;
        if report.verdict != Verdict::Drift {
            break;
        }
        alarms += 1;
        if alarms == CALM_WINDOWS {
            return Ok(Seen::FalseAlarm(report.reason));
        }
    }
    let mut previous = Vec::new();
    let mut window = first;
    for number in 1..=WINDOWS {
        let (_, alerts) = see(window, seed ^ u64::from(CALM_WINDOWS + number), Some(&shift), &previous)?;
        if alerts.iter().any(|alert| alert.subject == shift.column && alert.state.firing_since().is_some()) {
            return Ok(Seen::After(number));
        }
        previous = alerts;
        window = Window::holding(window.end, model.window.0);
    }
    Ok(Seen::Missed(shift))
}

/// A message that nobody reads.
fn message(now: DateTime<Utc>) -> Message {
    Message {
        version: MESSAGE_VERSION,
        id: Uuid::now_v7(),
        receiver: CANARY_RECEIVER.to_owned(),
        status: Status::Firing,
        occasion: Occasion::Test,
        group: Group {
            key: alert::fingerprint(&ModelName::own(), "Canary", &now.to_rfc3339()),
            labels: [("model".to_owned(), ModelName::own().to_string())].into(),
            since: now,
        },
        summary: "the canary: no person is told".to_owned(),
        alerts: Vec::new(),
        more: 0,
        next: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_canary_sings_over_the_shipped_baseline_at_every_hour() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("baselines/elec2");
        let mut judged = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
            let baseline = Baseline::from_json(&text).unwrap();
            for (window, hours) in [("1h", 1), ("1d", 24), ("7d", 7 * 24), ("14d", 14 * 24)] {
                let text = format!("models: [{{name: elec2, window: {window}}}]");
                let settings = Settings::parse(&text, "s.yaml").unwrap();
                for trial in 0..12_u32 {
                    let now = DateTime::UNIX_EPOCH
                        + Duration::from_hours(490_000)
                        + Duration::from_hours(hours) * trial;
                    let seen = judge(&settings.models[0], &baseline, now).unwrap();
                    assert!(matches!(seen, Seen::After(1)), "{window}, trial {trial}: {seen:?}");
                    judged += 1;
                }
            }
        }
        assert!(judged > 0, "there is a shipped baseline");
    }
}
