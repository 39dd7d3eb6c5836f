//! Compares predictions with their labels as these come: a report per model and window, made again until all are there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{PgConnection, PgPool};
use tokio_util::sync::CancellationToken;

use crate::baseline::Baseline;
use crate::config::{ModelSettings, Settings};
use crate::metrics::PerformanceMetrics;
use crate::model::ModelName;
use crate::performance::{
    self, Cohort, DelayCurve, Judged, PerformanceReport, Reading, Segmented, held_out, pooled,
};
use crate::profile::SegmentedColumn;
use crate::store::captured::value;
use crate::store::performance::{self as stored, Outdated};
use crate::store::{self, StoreError};

/// How often labels are looked for.
const EVERY: Duration = Duration::from_secs(10);

/// A label is written a little before its transaction ends: how far back each look begins before the last one.
const OVERLAP: TimeDelta = TimeDelta::minutes(2);

/// How long the delay of labels is taken to be what it was.
const DELAY_FOR: TimeDelta = TimeDelta::minutes(10);

/// Labels under which their delay is not learned; the settings' `labels.max_delay` is taken for it.
const FEWEST_LABELS: usize = 20;

/// Windows that are judged in one transaction.
const WINDOWS: usize = 20;

/// Earlier windows that a window is compared with.
const EARLIER: i64 = 30;

/// Judges performance; any number of processes may run it at once.
#[derive(Debug)]
pub struct Performance {
    db: PgPool,
    settings: Arc<Settings>,
    metrics: PerformanceMetrics,
    now: fn() -> DateTime<Utc>,
    known: BTreeMap<ModelName, Known>,
}

/// What is remembered of a model.
#[derive(Debug, Default)]
struct Known {
    /// Up to when its labels have been looked at, by the database's clock.
    since: Option<DateTime<Utc>>,
    /// How long its labels take, in seconds, and when that was found.
    delay: Option<(DateTime<Utc>, f64)>,
    /// Its active baseline, by which rows are segmented.
    baseline: Option<Arc<Baseline>>,
}

impl Performance {
    /// A task for the models of `settings`.
    pub fn new(
        db: PgPool,
        settings: Arc<Settings>,
        metrics: PerformanceMetrics,
        now: fn() -> DateTime<Utc>,
    ) -> Self {
        Self { db, settings, metrics, now, known: BTreeMap::new() }
    }

    /// Works until shutdown; a database that is away is tried again later.
    ///
    /// # Errors
    ///
    /// None so far: what fails is logged and tried again.
    pub async fn run(mut self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let mut failing = false;
        let settings = Arc::clone(&self.settings);
        while shutdown.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
            let mut failure = None;
            for model in &settings.models {
                if shutdown.is_cancelled() {
                    return Ok(());
                }
                if let Err(error) = self.judge_due(model).await {
                    failure = Some((model, error));
                }
            }
            if let (Some((model, error)), false) = (&failure, failing) {
                tracing::error!(model = %model.name, error = format!("{error:#}"), "performance could not be judged, trying again");
            }
            failing = failure.is_some();
        }
        Ok(())
    }

    /// Judges the windows of `model` whose labels have changed or have become mature, and shows the newest mature one;
    /// returns how many were judged.
    ///
    /// # Errors
    ///
    /// When the database refuses or is not reached; the windows are judged the next time then.
    pub async fn judge_due(&mut self, model: &ModelSettings) -> anyhow::Result<usize> {
        let Some(reading) = model.reading() else { return Ok(0) };
        let mut judged = 0;
        let mut known = self.known.remove(&model.name).unwrap_or_default();
        let outcome = loop {
            match self.judge_some(model, &reading, &mut known).await {
                Ok(Some(windows)) => {
                    judged += windows;
                    if windows < WINDOWS {
                        break self.show(&model.name).await;
                    }
                }
                // Another process is at it.
                Ok(None) => break self.show(&model.name).await,
                Err(error) => break Err(error),
            }
        };
        self.known.insert(model.name.clone(), known);
        outcome.map(|()| judged)
    }

    /// One transaction; none when another process holds the right to it.
    async fn judge_some(
        &self,
        model: &ModelSettings,
        reading: &Reading,
        known: &mut Known,
    ) -> anyhow::Result<Option<usize>> {
        let now = (self.now)();
        let mut transaction = self.db.begin().await?;
        if !stored::try_lead(&mut transaction, &model.name).await? {
            return Ok(None);
        }
        let present = stored::present(&mut *transaction).await?;
        let delay = self.delay(&mut transaction, model, known, now).await?;
        let ripe = now.checked_sub_signed(seconds(delay)).unwrap_or(now);
        let length = TimeDelta::from_std(model.performance_window().0).context("the window is too long")?;
        let limit = i64::try_from(WINDOWS).unwrap_or(i64::MAX);
        let due = stored::outdated(&mut *transaction, &model.name, length, known.since, ripe, limit).await?;
        if !due.is_empty() {
            self.refresh_baseline(&mut transaction, model, known).await?;
        }
        for outdated in &due {
            let mature = outdated.window.end <= ripe;
            let report = judge(&mut transaction, model, reading, known, outdated, (delay, mature)).await?;
            stored::upsert(&mut *transaction, &report, outdated.newest_label).await?;
        }
        transaction.commit().await?;
        if due.len() < WINDOWS {
            known.since = Some(present - OVERLAP);
        }
        Ok(Some(due.len()))
    }

    /// Seconds after which the labels of a window have come, as far as is known.
    async fn delay(
        &self,
        transaction: &mut PgConnection,
        model: &ModelSettings,
        known: &mut Known,
        now: DateTime<Utc>,
    ) -> Result<f64, StoreError> {
        if let Some((found, delay)) = known.delay
            && (found..found + DELAY_FOR).contains(&now)
        {
            return Ok(delay);
        }
        let labels = stored::delays(transaction, &model.name, now).await?;
        let enough = labels.len() >= FEWEST_LABELS;
        let learned =
            DelayCurve::learn(labels).filter(|_| enough).map(|curve| curve.quantile(model.mature()));
        let stated = model.labels.clone().unwrap_or_default().max_delay.0.as_secs_f64();
        let delay = learned.unwrap_or(stated);
        // What few labels say is asked again at once.
        known.delay = enough.then_some((now, delay));
        Ok(delay)
    }

    async fn refresh_baseline(
        &self,
        transaction: &mut PgConnection,
        model: &ModelSettings,
        known: &mut Known,
    ) -> Result<(), StoreError> {
        if model.segments.is_empty() {
            return Ok(());
        }
        let active = store::model::active_baseline(&mut *transaction, &model.name).await?;
        if known.baseline.as_ref().map(|baseline| baseline.version()) != active.as_deref() {
            known.baseline = match &active {
                Some(version) => store::baseline::get(transaction, &model.name, version).await?.map(Arc::new),
                None => None,
            };
        }
        Ok(())
    }

    /// Exports the newest mature report.
    async fn show(&self, model: &ModelName) -> anyhow::Result<()> {
        let newest = stored::latest(&self.db, model, true, 1).await?;
        if let Some(report) = newest.first() {
            self.metrics.show(report);
        }
        Ok(())
    }
}

/// A span of so many seconds.
fn seconds(seconds: f64) -> TimeDelta {
    Duration::try_from_secs_f64(seconds)
        .ok()
        .and_then(|span| TimeDelta::from_std(span).ok())
        .unwrap_or(TimeDelta::days(36_600))
}

/// The report on one window, with what it is compared with.
async fn judge(
    transaction: &mut PgConnection,
    model: &ModelSettings,
    reading: &Reading,
    known: &Known,
    outdated: &Outdated,
    maturity: (f64, bool),
) -> anyhow::Result<PerformanceReport> {
    let window = outdated.window;
    let columns: Vec<SegmentedColumn> = known
        .baseline
        .as_ref()
        .map(|baseline| baseline.segments_of(&model.segments, model.segment_values).0)
        .unwrap_or_default();
    let names: Vec<String> = columns.iter().map(|column| column.name().to_owned()).collect();
    let rows = stored::rows(&mut *transaction, &model.name, window, &names).await?;
    let mut segments = Vec::new();
    for column in &columns {
        let counts = stored::by_value(&mut *transaction, &model.name, window, column.name()).await?;
        let mut places: Vec<Segmented> = column
            .keys()
            .iter()
            .map(|key| Segmented { key: key.to_string(), ..Segmented::default() })
            .collect();
        let place_of = |json: Option<&serde_json::Value>| column.place(json.map(value).as_ref());
        for (json, rows, labelled) in counts {
            if let Some(segment) = places.get_mut(place_of(json.as_ref())) {
                segment.rows += rows;
                segment.labelled += labelled;
            }
        }
        for (index, row) in rows.iter().enumerate() {
            if let Some(segment) = places.get_mut(place_of(row.features.get(column.name()))) {
                segment.chosen.push(index);
            }
        }
        segments.append(&mut places);
    }
    let judged: Vec<Judged> = rows
        .into_iter()
        .map(|row| Judged {
            outputs: row.outputs.iter().map(|(name, json)| (name.clone(), value(json))).collect(),
            label: row.label,
        })
        .collect();
    let (name, reading, counts) = (model.name.clone(), reading.clone(), (outdated.rows, outdated.labelled));
    let mut report = tokio::task::spawn_blocking(move || {
        performance::judge(&name, window, &reading, counts, &judged, &segments, maturity)
    })
    .await
    .context("judging performance panicked")?;
    let version = store::model_version::in_production_at(&mut *transaction, &model.name, window.end).await?;
    let held_out = version.and_then(|version| held_out(version.version, &version.kind, &version.metrics));
    let earlier = stored::earlier(transaction, &model.name, window, EARLIER).await?;
    for cohort in report.cohorts_mut() {
        let before = |key: Option<&str>| -> Vec<Cohort> {
            earlier.iter().filter_map(|report| report.cohort(key)).cloned().collect()
        };
        // A segment may be a hard one: it is compared with itself alone.
        cohort.baseline = match cohort.segment.as_deref() {
            None => held_out.clone().or_else(|| pooled(&before(None))),
            key => pooled(&before(key)),
        };
    }
    Ok(report)
}
