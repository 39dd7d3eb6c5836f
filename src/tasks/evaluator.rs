//! Judges complete windows: report, alerts, messages and runs, in one transaction.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use chrono::{DateTime, Utc};
use sqlx::PgPool;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::config::{ModelSettings, Settings};
use crate::drift::{self, Criteria, DriftReport, SegmentCriteria};
use crate::expectations::ByModel;
use crate::metrics::Metrics;
use crate::profile;
use crate::store::{self, StoreError};
use crate::tasks::{RulesInForce, dispatch, segments, traffic};
use crate::traffic::TrafficCriteria;
use crate::window::{Window, is_complete, watermark};

/// How often complete windows are looked for.
const POLL: Duration = Duration::from_millis(500);

/// Judges the windows of every model; any number of processes may run it at once.
#[derive(Debug)]
pub struct Evaluator {
    db: PgPool,
    settings: Arc<Settings>,
    rules: RulesInForce,
    expectations: Arc<ByModel>,
    metrics: Metrics,
    wake: Arc<Notify>,
    now: fn() -> DateTime<Utc>,
}

impl Evaluator {
    /// An evaluator of the configured models; `wake` tells the notifier that there may be messages.
    pub fn new(
        db: PgPool,
        settings: Arc<Settings>,
        rules: RulesInForce,
        metrics: Metrics,
        wake: Arc<Notify>,
        now: fn() -> DateTime<Utc>,
    ) -> Self {
        Self { db, settings, rules, expectations: Arc::default(), metrics, wake, now }
    }

    /// Also judges what is expected of each model's windows.
    #[must_use]
    pub fn expecting(self, expectations: Arc<ByModel>) -> Self {
        Self { expectations, ..self }
    }

    /// Evaluates until shutdown; a database that is not reached is tried again.
    ///
    /// # Errors
    ///
    /// None so far: what cannot be judged is logged and tried again.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let mut failing = false;
        while shutdown.run_until_cancelled(tokio::time::sleep(POLL)).await.is_some() {
            let mut failure = None;
            for model in &self.settings.models {
                if let Err(error) = self.evaluate_due(model).await {
                    failure = Some((model, error));
                }
            }
            match failure {
                Some((model, error)) if !failing => {
                    tracing::error!(model = %model.name, error = format!("{error:#}"), "windows could not be judged, trying again");
                    failing = true;
                }
                Some(_) => {}
                None => {
                    failing = false;
                    self.metrics.watch.evaluated_at.set((self.now)().timestamp_millis() as f64 / 1000.0);
                }
            }
        }
        Ok(())
    }

    /// Judges every window of `model` that is complete and has no report; returns how many.
    ///
    /// # Errors
    ///
    /// When the database is not reached, or a stored part cannot be read.
    pub async fn evaluate_due(&self, model: &ModelSettings) -> anyhow::Result<usize> {
        let now = (self.now)();
        let mut judged = 0;
        let windows = due_windows(&self.db, model, now).await?;
        if windows.is_empty() {
            return Ok(0);
        }
        let Some(active) = active_baseline(&self.db, model).await? else { return Ok(0) };
        for window in windows {
            judged += usize::from(self.judge(model, &active, window, now).await?);
        }
        Ok(judged)
    }

    /// Judges one window; false when another process has, or is about to.
    async fn judge(
        &self,
        model: &ModelSettings,
        active: &str,
        window: Window,
        now: DateTime<Utc>,
    ) -> anyhow::Result<bool> {
        let mut transaction = self.db.begin().await?;
        if !store::model::try_lead(&mut transaction, &model.name).await? {
            return Ok(false);
        }
        let counted_on = store::profile_part::main_baseline(&mut *transaction, &model.name, window).await?;
        let version = counted_on.as_deref().unwrap_or(active);
        let baseline = store::baseline::get(&mut *transaction, &model.name, version)
            .await?
            .with_context(|| format!("baseline {version} is gone"))?;
        let parts =
            store::profile_part::profiles(&mut *transaction, &model.name, baseline.version(), window).await?;
        let losses = store::profile_part::losses(&mut *transaction, &model.name, window).await?;
        let merged = profile::merge_stored(baseline.layout(), &parts)
            .with_context(|| format!("a part of the window {} of {}", window.start, model.name))?;
        let mut report = drift::evaluate(&baseline, &merged, losses, window, &criteria(model))?;
        let version = baseline.version();
        let seen = store::profile_part::columns_seen(&mut *transaction, &model.name, version, window).await?;
        report.compare_schema(&model.schema, &baseline, &merged, &seen);
        if let Some(expected) = self.expectations.get(&model.name) {
            report.judge_expectations(expected, &baseline, &merged);
        }
        segments::judge_segments(&mut transaction, &baseline, &mut report).await?;
        let alpha = model.false_alarms.alpha(model.window.0);
        let criteria = TrafficCriteria { alpha, ..TrafficCriteria::default() };
        let seen = traffic::judge(&mut transaction, &model.name, window, model.season, criteria).await?;
        report.traffic = seen.as_ref().map(|seen| seen.report.clone());
        let id = Uuid::now_v7();
        if !store::drift_report::insert(&mut *transaction, id, &report).await? {
            return Ok(false);
        }
        if let Some(seen) = &seen {
            seen.keep(&mut transaction, &model.name, window).await?;
        }
        let rules = Arc::clone(&self.rules.borrow());
        dispatch::transitions(&mut transaction, &rules, &self.settings, model, &report, id, now).await?;
        transaction.commit().await?;
        self.wake.notify_one();
        self.show(&report, id);
        Ok(true)
    }

    fn show(&self, report: &DriftReport, id: Uuid) {
        tracing::info!(
            report = %id, model = %report.model, window_start = %report.window_start, rows = report.rows,
            verdict = report.verdict.as_str(), reason = report.reason, "window judged"
        );
        for segment in report.drifted_segments() {
            tracing::info!(
                report = %id, model = %report.model, segment = segment.segment, rows = segment.rows,
                reason = segment.reason, "segment drifted"
            );
        }
        if let Some(traffic) = &report.traffic {
            tracing::info!(
                report = %id, model = %report.model, verdict = traffic.verdict.as_str(), reason = traffic.reason,
                "traffic judged"
            );
        }
        self.metrics.drift.show(report);
        self.metrics.traffic.show(report);
    }
}

/// The windows of `model` that are complete and have no report, oldest first; none while it has no baseline.
///
/// # Errors
///
/// [`StoreError`] when the database is not reached.
pub(super) async fn due_windows(
    db: &PgPool,
    model: &ModelSettings,
    now: DateTime<Utc>,
) -> Result<Vec<Window>, StoreError> {
    let Some((latest, advanced_at)) = store::profile_part::latest(db, &model.name).await? else {
        return Ok(Vec::new());
    };
    if active_baseline(db, model).await?.is_none() {
        return Ok(Vec::new());
    }
    let reached = watermark(latest, advanced_at, now);
    let lateness = chrono::TimeDelta::from_std(model.lateness.0).unwrap_or_default();
    let starts = store::profile_part::unjudged(db, &model.name, model.window.0, reached - lateness).await?;
    let windows = starts.into_iter().map(|start| Window::holding(start, model.window.0));
    Ok(windows.filter(|window| is_complete(*window, model.lateness.0, reached)).collect())
}

async fn active_baseline(db: &PgPool, model: &ModelSettings) -> Result<Option<String>, StoreError> {
    match store::model::active_baseline(db, &model.name).await {
        Err(StoreError::UnknownModel(_)) => Ok(None),
        other => other,
    }
}

/// The criteria that the settings of a model amount to.
pub(super) fn criteria(model: &ModelSettings) -> Criteria {
    let alpha = model.false_alarms.alpha(model.window.0);
    let segments = (!model.segments.is_empty()).then(|| SegmentCriteria {
        columns: model.segments.clone(),
        values: model.segment_values,
        alpha: alpha / 2.0,
    });
    Criteria {
        // What the segments may use up is not there for all rows, so that the promise holds over both.
        alpha: segments.as_ref().map_or(alpha, |segments| alpha - segments.alpha),
        segments,
        correction: model.correction,
        min_rows: model.min_rows,
        psi_floor: model.psi_floor,
        ks_floor: model.ks_floor,
        loss_limit: model.loss_limit,
    }
}
