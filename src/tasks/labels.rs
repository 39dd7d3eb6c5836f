//! Labels over time: those that met their row at the same moment, and how far the rows of each model are labelled.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::config::Settings;
use crate::metrics::LabelMetrics;
use crate::model::ModelName;
use crate::privacy::Policy;
use crate::store::StoreError;
use crate::store::label::{self, Outcome, Rules};
use crate::tasks::catalog::error_chain;

/// How often labels that wait are looked at again, and counts are shown.
const EVERY: Duration = Duration::from_secs(5);
/// How often whole tables are read for the coverage.
const STATUS_EVERY: u32 = 60;
/// How long a label that waits is looked at again; by then every transaction of its time is over.
const RECENT: TimeDelta = TimeDelta::minutes(15);

/// The rules of each model in `settings`; `policy` has what becomes of its ids and keys.
pub fn rules(settings: &Settings, policy: impl Fn(&ModelName) -> Policy) -> HashMap<ModelName, Rules> {
    let of_model = |model: &crate::config::ModelSettings| {
        (model.name.clone(), Rules::new(model.labels.as_ref(), policy(&model.name)))
    };
    settings.models.iter().map(of_model).collect()
}

/// Matches labels that wait, and shows what becomes of labels.
#[derive(Debug)]
pub struct Labels {
    db: PgPool,
    settings: Arc<Settings>,
    metrics: LabelMetrics,
}

impl Labels {
    /// A task for the models of `settings`.
    pub fn new(db: PgPool, settings: Arc<Settings>, metrics: LabelMetrics) -> Self {
        Self { db, settings, metrics }
    }

    /// Works until shutdown; a database that is away is tried again later.
    ///
    /// # Errors
    ///
    /// None.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let mut failing = false;
        let mut round = 0_u32;
        while shutdown.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
            match self.round(round.is_multiple_of(STATUS_EVERY)).await {
                Ok(()) => {
                    failing = false;
                    round = round.wrapping_add(1);
                }
                Err(error) if !failing => {
                    tracing::warn!(error = %error_chain(&error), "labels could not be matched, trying again");
                    failing = true;
                }
                Err(_) => {}
            }
        }
        Ok(())
    }

    async fn round(&self, with_status: bool) -> Result<(), StoreError> {
        for model in &self.settings.models {
            label::match_recent(&self.db, &model.name, RECENT).await?;
        }
        label::fold_counts(&self.db).await?;
        let known = |name: &str| self.settings.models.iter().any(|model| model.name.as_str() == name);
        let counts = label::counts(&self.db).await?;
        let counts = counts.iter().filter(|(model, _)| known(model));
        self.metrics.show_counts(counts.flat_map(|(model, counts)| {
            Outcome::ALL.map(|outcome| (model.as_str(), outcome.as_str(), counts.of(outcome)))
        }));
        if with_status {
            for status in label::status(&self.db).await?.iter().filter(|status| known(&status.model)) {
                let delay = [("0.5", status.delay_median), ("0.95", status.delay_p95)];
                self.metrics.show_status(&status.model, status.waiting, status.coverage(), delay);
            }
        }
        Ok(())
    }
}
