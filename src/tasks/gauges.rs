//! Keeps the gauges of what stands in the database up to date: reports of all replicas, alerts, runs, versions, baselines.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value as Json;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::config::Settings;
use crate::metrics::{EndedRuns, Metrics, RunProgress, Standing};
use crate::model::ModelName;
use crate::store::{self, StoreError, training_status};
use crate::tasks::catalog::error_chain;

/// How often the database is looked at.
const EVERY: Duration = Duration::from_secs(2);

/// Shows what the database holds. Every replica shows the same, whichever judged a window.
#[derive(Debug)]
pub struct Gauges {
    db: PgPool,
    settings: Arc<Settings>,
    metrics: Metrics,
    /// The report of each model that is shown.
    shown: HashMap<ModelName, Uuid>,
}

impl Gauges {
    /// A task for the models of `settings`; what the database holds of others is not shown.
    pub fn new(db: PgPool, settings: Arc<Settings>, metrics: Metrics) -> Self {
        Self { db, settings, metrics, shown: HashMap::new() }
    }

    /// Shows until shutdown; while the database is away, what was there last stays.
    ///
    /// # Errors
    ///
    /// None.
    pub async fn run(mut self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let mut failing = false;
        while shutdown.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
            match self.look().await {
                Ok(()) => failing = false,
                Err(error) if !failing => {
                    tracing::warn!(error = %error_chain(&error), "gauges are not up to date, trying again");
                    failing = true;
                }
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// Looks once.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the database is not reached; what was shown before stays.
    pub async fn look(&mut self) -> Result<(), StoreError> {
        let settings = Arc::clone(&self.settings);
        for model in &settings.models {
            self.show_newest_report(&model.name).await?;
        }
        let alerts = store::alert::counts(&self.db).await?;
        let is_shown = |model: &str| model == ModelName::own().as_str() || self.is_configured(model);
        let alerts = alerts.into_iter().filter(|count| is_shown(&count.model));
        self.metrics.alert.show(
            &alerts.map(|count| (count.model, count.rule, count.state, count.alerts)).collect::<Vec<_>>(),
        );
        self.show_runs().await?;
        self.show_standing().await
    }

    fn is_configured(&self, model: &str) -> bool {
        self.settings.models.iter().any(|settings| settings.name.as_str() == model)
    }

    async fn show_newest_report(&mut self, model: &ModelName) -> Result<(), StoreError> {
        let Some(newest) = store::drift_report::newest(&self.db, model).await? else { return Ok(()) };
        if self.shown.get(model) != Some(&newest)
            && let Some(report) = store::drift_report::get(&self.db, newest).await?
        {
            self.metrics.drift.show(&report);
            self.metrics.traffic.show(&report);
            self.shown.insert(model.clone(), newest);
        }
        Ok(())
    }

    async fn show_runs(&self) -> Result<(), StoreError> {
        let mut states: BTreeMap<String, BTreeMap<String, i64>> = BTreeMap::new();
        for (model, state, runs) in training_status::counts(&self.db).await? {
            states.entry(model).or_default().insert(state, runs);
        }
        let waiting: HashMap<String, f64> =
            training_status::oldest_queued(&self.db).await?.into_iter().collect();
        let mut begun: HashMap<String, RunProgress> = training_status::newest_begun(&self.db)
            .await?
            .into_iter()
            .map(|run| (run.model, progress(&run.state, &run.progress)))
            .collect();
        let mut ended: HashMap<String, EndedRuns> = HashMap::new();
        for run in training_status::last_ended(&self.db).await? {
            let of_model = ended.entry(run.model).or_default();
            let is_newest = of_model.ended_at.values().all(|at| *at < run.ended_at);
            if is_newest {
                of_model.last_seconds = run.seconds;
            }
            of_model.ended_at.insert(run.state, run.ended_at);
        }
        for model in &self.settings.models {
            let model = model.name.as_str();
            self.metrics.training.show_counts(model, &states.remove(model).unwrap_or_default());
            self.metrics.training.show_queue(model, waiting.get(model).copied());
            self.metrics.training.show_progress(model, &begun.remove(model).unwrap_or_default());
            self.metrics.training.show_ended(model, &ended.remove(model).unwrap_or_default());
        }
        Ok(())
    }

    async fn show_standing(&self) -> Result<(), StoreError> {
        let mut standing: HashMap<String, Standing> = HashMap::new();
        for (model, version, kind, promoted_at) in store::model_version::in_production(&self.db).await? {
            standing.entry(model).or_default().version = Some((version, kind, promoted_at));
        }
        for (model, version, rows, created_at) in store::baseline::active(&self.db).await? {
            standing.entry(model).or_default().baseline = Some((version, rows, created_at));
        }
        for model in &self.settings.models {
            let model = model.name.as_str();
            self.metrics.model.show(model, &standing.remove(model).unwrap_or_default());
        }
        Ok(())
    }
}

/// What a worker wrote of its run. Another build of the trainer may tell less or more.
fn progress(state: &str, told: &Json) -> RunProgress {
    let number = |key: &str| told.get(key).and_then(Json::as_f64);
    let losses = [("train", "train_loss"), ("validation", "validation_loss")];
    let is_over = state != "running";
    RunProgress {
        candidate: told.get("candidate").and_then(Json::as_str).map(|candidate| match candidate {
            known @ ("linear" | "tree") => known.to_owned(),
            _ => "deep".to_owned(),
        }),
        epoch: number("epoch"),
        epoch_limit: number("max_epochs"),
        losses: losses.into_iter().filter_map(|(split, key)| Some((split, number(key)?))).collect(),
        rows_per_second: number("rows_per_second"),
        eta_seconds: number("eta_seconds").map(|eta| if is_over { 0.0 } else { eta }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_worker_did_not_write_is_absent() {
        assert_eq!(progress("running", &json!({})), RunProgress::default());
        let told = json!({
            "candidate": "deep", "epoch": 3, "max_epochs": 100, "train_loss": 0.5, "validation_loss": 0.75,
            "eta_seconds": 40, "rows_per_second": 1e5,
        });
        let running = progress("running", &told);
        assert_eq!(running.losses, [("train", 0.5), ("validation", 0.75)].into());
        assert_eq!(
            (running.epoch, running.epoch_limit, running.eta_seconds),
            (Some(3.0), Some(100.0), Some(40.0))
        );
        assert_eq!(running.rows_per_second, Some(1e5));
        assert_eq!(progress("succeeded", &told).eta_seconds, Some(0.0));
    }
}
