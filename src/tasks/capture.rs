//! Moves captured rows into files, and deletes files that have been kept long enough.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::alert::Fault;
use crate::capture::{self, CaptureError, Lead, Limits, Place};
use crate::config::{ModelSettings, Settings, Span};
use crate::metrics::CaptureMetrics;
use crate::model::ModelName;
use crate::store;
use crate::tasks::Faults;
use crate::tasks::catalog::error_chain;

/// How often rows that wait are looked at.
const EVERY: Duration = Duration::from_secs(10);

/// Rounds after which files are looked at for retention, and counts are shown.
const STATUS_EVERY: u32 = 6;
const EXPIRE_EVERY: u32 = 60;

/// Where captured rows of `settings` go.
///
/// # Errors
///
/// [`CaptureError::Place`] when `capture.store` names no place, or credentials cannot be read.
pub fn capture_place(settings: &Settings) -> Result<Place, CaptureError> {
    match &settings.capture.store {
        Some(url) => Place::open(&url.0),
        None => Place::folder(&settings.data_dir.join("capture")),
    }
}

/// Moves rows, deletes files, and says so when it cannot.
#[derive(Debug)]
pub struct Capture {
    db: PgPool,
    settings: Arc<Settings>,
    place: Place,
    metrics: CaptureMetrics,
    faults: Faults,
    now: fn() -> DateTime<Utc>,
    /// What went wrong with each model's rows, since it last went well.
    failing: BTreeMap<ModelName, String>,
}

fn delta(span: Span) -> TimeDelta {
    TimeDelta::from_std(span.0).unwrap_or(TimeDelta::days(36_500))
}

impl Capture {
    /// A task for the models of `settings`.
    pub fn new(
        db: PgPool,
        settings: Arc<Settings>,
        place: Place,
        metrics: CaptureMetrics,
        faults: Faults,
        now: fn() -> DateTime<Utc>,
    ) -> Self {
        Self { db, settings, place, metrics, faults, now, failing: BTreeMap::new() }
    }

    /// Works until shutdown. A store or a database that is away is tried again; rows wait meanwhile.
    ///
    /// # Errors
    ///
    /// None.
    pub async fn run(mut self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let mut round = 0_u32;
        while shutdown.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
            round = round.wrapping_add(1);
            let settings = Arc::clone(&self.settings);
            for model in &settings.models {
                // What was begun is ended: a transaction that is dropped has done nothing either.
                if shutdown.run_until_cancelled(self.turn(model, round)).await.is_none() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    async fn turn(&mut self, model: &ModelSettings, round: u32) {
        let outcome = self.work(model, round).await;
        match outcome {
            Ok(()) => {
                if self.failing.remove(&model.name).is_some() {
                    tracing::info!(model = %model.name, "captured rows are moved again");
                }
            }
            Err(error) => {
                let problem = error_chain(&error);
                self.metrics.failures.with_label_values(&[model.name.as_str()]).inc();
                if self.failing.insert(model.name.clone(), problem.clone()).is_none() {
                    tracing::warn!(model = %model.name, error = problem, "captured rows could not be moved, they wait");
                }
            }
        }
        let detail = self.failing.iter().next().map(|(model, problem)| format!("{model}: {problem}"));
        self.faults.set(Fault::CaptureFailed, detail);
    }

    /// One look at the rows of `model`.
    ///
    /// # Errors
    ///
    /// [`CaptureError`]: what was not moved waits where it is.
    async fn work(&self, model: &ModelSettings, round: u32) -> Result<(), CaptureError> {
        self.seal_due(model).await?;
        if round.is_multiple_of(EXPIRE_EVERY) {
            let now = (self.now)();
            let before = now - delta(self.settings.captured_retention());
            let expired = capture::expire(&self.db, &self.place, &model.name, before, now).await?;
            if expired.files + expired.unlisted > 0 {
                let capture::Expired { files, bytes, unlisted } = expired;
                tracing::info!(model = %model.name, files, bytes, unlisted, "old files of captured rows deleted");
            }
        }
        if round.is_multiple_of(STATUS_EVERY) {
            for status in store::capture::status(&self.db, Some(&model.name)).await? {
                let (segments, bytes) = (status.segments, status.segment_bytes);
                self.metrics.show(&status.model, status.staged_rows, segments, bytes);
            }
        }
        Ok(())
    }

    /// Moves what is due of `model`.
    ///
    /// # Errors
    ///
    /// [`CaptureError`]: what was not moved waits where it is.
    pub async fn seal_due(&self, model: &ModelSettings) -> Result<(), CaptureError> {
        let capture = &self.settings.capture;
        let limits = Limits { rows: u64::from(capture.segment_rows), age: delta(capture.segment_age) };
        let now = (self.now)();
        let window = crate::window::Window::holding(now - delta(model.lateness), model.window.0);
        while let Some(due) = capture::due(&self.db, &model.name, limits, window.start, now).await? {
            let sealed = capture::seal(
                &self.db,
                &self.place,
                &model.name,
                due,
                (limits.rows, &model.segments),
                Lead::Try,
            )
            .await?;
            let Some(sealed) = sealed else { break };
            self.metrics.moved.with_label_values(&[model.name.as_str()]).inc_by(sealed.rows);
            tracing::info!(model = %model.name, rows = sealed.rows, bytes = sealed.bytes, uri = sealed.uri, "captured rows moved into a file");
        }
        Ok(())
    }
}
