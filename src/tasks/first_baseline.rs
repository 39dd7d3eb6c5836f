//! The first baseline of a model, from its captured rows, for those who have no training data.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::baseline::{
    Baseline, Blocks, BuildOptions, CutOptions, Cycle, SegmentSources, SourceColumn, build_segmented,
    infer_kind,
};
use crate::capture::{Filter, Place, Reader, Rows, Sample};
use crate::config::{ModelSettings, Settings, Span};
use crate::metrics::CaptureMetrics;
use crate::model::{Column, FeatureKind, ModelName, Role, Value};
use crate::privacy::Policies;
use crate::store;
use crate::window::window_index;

/// How often models without a baseline are looked at.
const EVERY: Duration = Duration::from_secs(30);

/// Rows that a baseline is built from, about; of more, a share is chosen by id.
const MAX_ROWS: u64 = 500_000;

/// Rows with less of which no baseline is built.
const MIN_ROWS: u64 = 200;

/// What a baseline is built from, and how.
#[derive(Debug, Clone, Copy)]
pub struct FromTraffic<'a> {
    /// The model.
    pub model: &'a ModelName,
    /// What the settings say of it, if anything.
    pub settings: Option<&'a ModelSettings>,
    /// What becomes of its columns.
    pub policies: &'a Policies,
    /// How much traffic.
    pub span: Span,
    /// Up to when.
    pub until: DateTime<Utc>,
    /// Columns to leave out.
    pub exclude: &'a [String],
    /// How to cut.
    pub cut: &'a CutOptions,
    /// Whether to learn how inputs hang together.
    pub joint: bool,
}

/// A baseline that was built, and what was left out of it.
#[derive(Debug)]
pub struct Built {
    /// The baseline.
    pub baseline: Baseline,
    /// Columns that hold nothing to compare.
    pub left_out: Vec<String>,
}

/// The rows, column by column.
#[derive(Default)]
struct Gathered {
    features: Vec<Column>,
    outputs: Vec<Column>,
    times: Vec<DateTime<Utc>>,
}

impl Gathered {
    fn add(&mut self, rows: &Rows) {
        let before = self.times.len();
        self.times.extend_from_slice(&rows.times);
        for (held, read) in [(&mut self.features, &rows.features), (&mut self.outputs, &rows.outputs)] {
            for column in read {
                let at = held.iter().position(|other| other.name == column.name).unwrap_or_else(|| {
                    held.push(Column { name: column.name.clone(), values: Vec::new() });
                    held.len() - 1
                });
                held[at].values.resize(before, Value::Missing);
                held[at].values.extend(rows.places().map(|place| column.value(place)));
            }
            for column in held.iter_mut() {
                column.values.resize(before + rows.len(), Value::Missing);
            }
        }
    }
}

/// Builds a baseline from the rows that were captured in a span of time.
///
/// # Errors
///
/// When there are too few rows, files cannot be read, or no baseline can be built from what they hold.
pub async fn from_traffic(db: &PgPool, place: &Place, of: FromTraffic<'_>) -> anyhow::Result<Built> {
    let model = of.model;
    let from = of.until - TimeDelta::from_std(of.span.0).unwrap_or(TimeDelta::days(36_500));
    let captured = store::captured::between(db, model, from, of.until).await?;
    if captured.rows < MIN_ROWS {
        bail!(
            "{} rows of model `{model}` were captured since {}; a baseline needs at least {MIN_ROWS}",
            captured.rows,
            from.format("%F %H:%M UTC")
        );
    }
    let share = MAX_ROWS as f64 / captured.rows as f64;
    let sample = (share < 1.0).then_some(Sample { share, seed: 0 });
    let filter = Filter { from: Some(from), until: Some(of.until), model_version: None, sample };
    let mut reader = Reader::open(db, place, model, filter).await?;
    let mut gathered = Gathered::default();
    while let Some(rows) = reader.next().await? {
        gathered.add(&rows);
    }
    let (Some(first), Some(last)) = (gathered.times.iter().min(), gathered.times.iter().max()) else {
        bail!("the captured rows of model `{model}` are gone");
    };
    let of_all = if sample.is_some() { format!(" of {}", captured.rows) } else { String::new() };
    let source = format!(
        "traffic from {} to {} ({}{of_all} rows)",
        first.format("%F %H:%M"),
        last.format("%F %H:%M UTC"),
        gathered.times.len()
    );
    // The order of files is no part of what the rows say.
    build(&of, source, &gathered)
}

fn build(of: &FromTraffic<'_>, source: String, gathered: &Gathered) -> anyhow::Result<Built> {
    let settings = of.settings;
    let policy = of.policies.of(of.model);
    let kind_of = |name: &str| {
        let hashed = policy.hashes(name).then_some(FeatureKind::Categorical);
        hashed.or_else(|| settings?.kinds.get(name).copied())
    };
    let key = settings.and_then(|model| model.labels.as_ref()).and_then(|labels| labels.key.as_deref());
    let mut left_out = Vec::new();
    let mut columns: Vec<SourceColumn<'_>> = Vec::new();
    for (role, held) in [(Role::Feature, &gathered.features), (Role::Output, &gathered.outputs)] {
        for Column { name, values } in held {
            let usable = |value: &Value| match value {
                Value::Missing | Value::Opaque => false,
                Value::Number(number) => number.is_finite(),
                Value::Bool(_) | Value::Text(_) => true,
            };
            let kind = kind_of(name).or_else(|| infer_kind(values));
            let empty = kind.is_none() || !values.iter().any(usable);
            if empty || of.exclude.iter().any(|other| other == name.as_str()) || key == Some(name.as_str()) {
                left_out.push(name.to_string());
                continue;
            }
            columns.push(SourceColumn { name, role, kind, values });
        }
    }
    let window = settings.map_or(Duration::from_hours(1), |model| model.window.0);
    let season = settings.map(|model| model.season).unwrap_or_default();
    let of_row: Vec<i64> = gathered.times.iter().map(|time| window_index(*time, window)).collect();
    let blocks = Blocks { of_row: &of_row, cycle: Cycle::new(season, window) };
    let segmented = |name: &str| settings.is_some_and(|model| model.segments.iter().any(|by| by == name));
    let by: Vec<SourceColumn<'_>> = columns
        .iter()
        .filter(|column| column.role == Role::Feature && segmented(column.name))
        .copied()
        .collect();
    let segments = SegmentSources { by: &by, values: settings.map_or(0, |model| model.segment_values) };
    let options = BuildOptions { model: of.model.clone(), source, cut: of.cut.clone(), joint: of.joint };
    let baseline = build_segmented(&columns, Some(blocks), segments, options)
        .with_context(|| format!("no baseline could be built from the traffic of model `{}`", of.model))?;
    Ok(Built { baseline, left_out })
}

/// Builds the first baselines of models whose settings say `baseline: after …`, and shows which models have none.
#[derive(Debug)]
pub struct FirstBaseline {
    db: PgPool,
    settings: Arc<Settings>,
    policies: Arc<Policies>,
    place: Place,
    metrics: CaptureMetrics,
    now: fn() -> DateTime<Utc>,
}

impl FirstBaseline {
    /// A task for the models of `settings`.
    pub fn new(
        db: PgPool,
        settings: Arc<Settings>,
        policies: Arc<Policies>,
        place: Place,
        metrics: CaptureMetrics,
        now: fn() -> DateTime<Utc>,
    ) -> Self {
        Self { db, settings, policies, place, metrics, now }
    }

    /// Works until shutdown; what fails is tried again.
    ///
    /// # Errors
    ///
    /// None.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let mut failing = false;
        loop {
            match shutdown.run_until_cancelled(self.look()).await {
                None => return Ok(()),
                Some(Ok(())) => failing = false,
                Some(Err(error)) => {
                    if !failing {
                        tracing::warn!(
                            error = format!("{error:#}"),
                            "no first baseline could be built, trying again"
                        );
                    }
                    failing = true;
                }
            }
            if shutdown.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_none() {
                return Ok(());
            }
        }
    }

    /// Looks at every model once.
    ///
    /// # Errors
    ///
    /// The last problem; other models have been looked at all the same.
    pub async fn look(&self) -> anyhow::Result<()> {
        let registered = store::model::list(&self.db).await?;
        let mut outcome = Ok(());
        for model in &self.settings.models {
            let has = registered.iter().any(|(name, baseline)| *name == model.name && baseline.is_some());
            let gauge = self.metrics.without_baseline.with_label_values(&[model.name.as_str()]);
            gauge.set(i64::from(!has));
            if let (false, Some(after)) = (has, model.baseline)
                && let Err(error) = self.build_one(model, Span(after.0)).await
            {
                outcome = Err(error);
            }
        }
        outcome
    }

    async fn build_one(&self, model: &ModelSettings, after: Span) -> anyhow::Result<()> {
        let captured = store::captured::summary(&self.db, &model.name).await?;
        let after_time = TimeDelta::from_std(after.0).unwrap_or(TimeDelta::days(36_500));
        let (Some(first), Some(last)) = (captured.first, captured.last) else { return Ok(()) };
        // In event time, so that a replay of a week is a week; the millisecond has the last row be part of it.
        if last - first < after_time || captured.rows < MIN_ROWS {
            return Ok(());
        }
        let of = FromTraffic {
            model: &model.name,
            settings: Some(model),
            policies: &self.policies,
            span: after,
            until: (last + TimeDelta::milliseconds(1)).min((self.now)().max(last)),
            exclude: &[],
            cut: &CutOptions::default(),
            joint: true,
        };
        let built = from_traffic(&self.db, &self.place, of).await?;
        let mut transaction = self.db.begin().await?;
        // Another process may have been faster: a baseline that is active is never replaced.
        let activated = store::model::activate_first(&mut transaction, &model.name, &built.baseline).await?;
        transaction.commit().await?;
        if activated {
            let (baseline, rows) = (built.baseline.version(), built.baseline.rows());
            tracing::info!(model = %model.name, baseline, rows, left_out = ?built.left_out, "the first baseline was built from traffic");
        }
        Ok(())
    }
}
