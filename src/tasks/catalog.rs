//! What the recorder needs to know of each model, kept up to date from the database.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::PgPool;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::baseline::Baseline;
use crate::config::Settings;
use crate::decode::Naming;
use crate::expectations::{ByModel, Expectations};
use crate::model::ModelName;
use crate::privacy::{Policies, Policy};
use crate::profile::Layout;
use crate::store::label::Rules;
use crate::store::{self, StoreError};

/// One model.
#[derive(Debug, Clone, Default)]
pub struct Entry {
    /// Its active baseline; rows are captured and counted, but not profiled, without one.
    pub baseline: Option<Arc<Baseline>>,
    /// Its columns, with the checks that the model's expectations make on them.
    pub layout: Option<Arc<Layout>>,
    /// Names for the columns of an unnamed tensor (configured, else the baseline's), and how messages are read.
    pub naming: Arc<Naming>,
    /// What is dropped, hashed and masked, as it suits the active baseline.
    pub policy: Arc<Policy>,
    /// What is kept of its rows, for training and labels.
    pub captures: Captures,
    /// How its labels find their predictions.
    pub labels: Arc<Rules>,
}

/// What is kept of the rows of a model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Captures {
    /// Whether rows are kept at all.
    pub rows: bool,
    /// The column that is the business key of labels.
    pub key: Option<Arc<str>>,
}

/// Every monitored model.
pub type Catalog = HashMap<ModelName, Entry>;

/// How often the active baselines are looked up.
const REFRESH: Duration = Duration::from_secs(1);

/// Keeps the catalog up to date; a dead database leaves it as it is.
#[derive(Debug)]
pub struct CatalogTask {
    db: PgPool,
    settings: Arc<Settings>,
    expectations: Arc<ByModel>,
    policies: Arc<Policies>,
    current: watch::Sender<Arc<Catalog>>,
    migrated: AtomicBool,
    known: AtomicBool,
}

impl CatalogTask {
    /// A task, and the receiver that the recorder reads.
    pub fn new(
        db: PgPool,
        settings: Arc<Settings>,
        expectations: Arc<ByModel>,
        policies: Arc<Policies>,
    ) -> (Self, watch::Receiver<Arc<Catalog>>) {
        let catalog = settings
            .models
            .iter()
            .map(|model| {
                let key = model.labels.as_ref().and_then(|labels| labels.key.as_deref()).map(Arc::from);
                let captures = Captures { rows: model.keeps_rows(), key };
                let policy = Arc::clone(policies.of(&model.name));
                let format = model.format.clone().map(Arc::new);
                let naming = Arc::new(Naming { features: model.features.clone().into(), format });
                let labels = Arc::new(Rules::new(model.labels.as_ref(), Policy::clone(&policy)));
                (model.name.clone(), Entry { naming, policy, captures, labels, ..Entry::default() })
            })
            .collect();
        let (current, receiver) = watch::channel(Arc::new(catalog));
        let (migrated, known) = (AtomicBool::new(false), AtomicBool::new(false));
        (Self { db, settings, expectations, policies, current, migrated, known }, receiver)
    }

    /// Registers the configured models and reads their active baselines.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the database is not reached; the catalog is left as it was.
    pub async fn refresh(&self) -> Result<(), StoreError> {
        // A sidecar may start before its database: the schema is brought up to date when that is reached.
        if !self.migrated.load(Ordering::Relaxed) {
            store::migrate(&self.db).await?;
            self.migrated.store(true, Ordering::Relaxed);
        }
        let mut catalog = Catalog::clone(&self.current.borrow());
        let mut changed = false;
        let registered = store::model::list(&self.db).await?;
        for model in &self.settings.models {
            let Some((_, version)) = registered.iter().find(|(name, _)| *name == model.name) else {
                store::model::register(&self.db, &model.name).await?;
                continue;
            };
            let entry = catalog.entry(model.name.clone()).or_default();
            // Without a baseline rows can only be kept until there is one.
            let rows = model.keeps_rows() || version.is_none();
            changed |= entry.captures.rows != rows;
            entry.captures.rows = rows;
            let held = entry.baseline.as_ref().map(|baseline| baseline.version());
            if let Some(version) = version
                && held != Some(version.as_str())
                && let Some(baseline) = store::baseline::get(&self.db, &model.name, version).await?
            {
                if model.features.is_empty() {
                    let format = entry.naming.format.clone();
                    entry.naming =
                        Arc::new(Naming { features: baseline.layout().feature_names().into(), format });
                }
                tracing::info!(model = %model.name, baseline = version, "baseline active");
                let expected = self.expectations.get(&model.name);
                for misfit in expected.map(|expected| expected.misfits(baseline.layout())).unwrap_or_default()
                {
                    tracing::warn!(model = %model.name, baseline = version, misfit, "an expectation cannot be checked");
                }
                let (segments, misfits) = baseline.segments_of(&model.segments, model.segment_values);
                for misfit in misfits {
                    tracing::warn!(model = %model.name, baseline = version, misfit, "rows cannot be segmented");
                }
                for column in &segments {
                    if !baseline.segmented_by().iter().any(|by| by.column() == column.name()) {
                        tracing::warn!(
                            model = %model.name, baseline = version, segments = column.name(),
                            "the baseline holds no such segments, they are compared with all rows; \
                             `driftline baseline build --segments` makes one that does"
                        );
                    }
                }
                let layout = checked_layout(&baseline, expected).with_segments(segments);
                let policy = self.policies.of(&model.name);
                for misfit in policy.misfits(&layout) {
                    tracing::warn!(model = %model.name, baseline = version, misfit, "the baseline does not suit `privacy`");
                }
                entry.policy = Arc::new(policy.bound_to(&layout));
                entry.layout = Some(Arc::new(layout));
                entry.baseline = Some(Arc::new(baseline));
                changed = true;
            }
        }
        // The first look is told even when there is no baseline: whoever needs to know that waits for it.
        if changed || !self.known.swap(true, Ordering::Relaxed) {
            self.current.send_replace(Arc::new(catalog));
        }
        Ok(())
    }

    /// Refreshes until shutdown.
    ///
    /// # Errors
    ///
    /// None; a database that is not reached is tried again.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let mut failing = false;
        loop {
            match self.refresh().await {
                Ok(()) => failing = false,
                Err(error) if !failing => {
                    tracing::warn!(error = %error_chain(&error), "baselines could not be refreshed, trying again");
                    failing = true;
                }
                Err(_) => {}
            }
            if shutdown.run_until_cancelled(tokio::time::sleep(REFRESH)).await.is_none() {
                return Ok(());
            }
        }
    }
}

/// The columns of `baseline`, with the checks that are expected of them.
fn checked_layout(baseline: &Baseline, expected: Option<&Expectations>) -> Layout {
    let layout = baseline.layout().clone();
    match expected.map(|expected| expected.compile(&layout)) {
        Some(compiled) => layout.with_checks(compiled.version, compiled.columns),
        None => layout,
    }
}

/// An error with its causes, on one line.
pub(crate) fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
