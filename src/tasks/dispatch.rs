//! What follows from a report, or from a look between windows: transitions of alerts, messages and training runs, in one
//! transaction.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::alert::{self, Evaluation, Importance, Look, RetrainRequest, Rule, RuleSet};
use crate::config::{ModelSettings, Settings};
use crate::drift::DriftReport;
use crate::retrain::policy::{self, Decision};
use crate::retrain::{RunReason, SegmentSpec, Source, TrainingSpec};
use crate::store;
use crate::tasks::grouping;

/// Runs the rules over `report` and writes whatever follows.
///
/// # Errors
///
/// When the database refuses; the transaction is then to be dropped, and nothing has happened.
pub(super) async fn transitions(
    transaction: &mut PgConnection,
    rules: &RuleSet,
    settings: &Settings,
    model: &ModelSettings,
    report: &DriftReport,
    id: Uuid,
    now: DateTime<Utc>,
) -> anyhow::Result<()> {
    let previous = store::alert::load_for_update(transaction, &model.name).await?;
    let shares = store::model_version::importance(&mut *transaction, &model.name).await?;
    let outcome = alert::evaluate_weighed(rules, report, id, &previous, &Importance::new(shares), now);
    follow(transaction, settings, model, &outcome, now).await?;
    Ok(())
}

/// Runs the rules whose turn it is between windows, each on what it looks at, and writes whatever follows.
///
/// # Returns
///
/// Whether there is a message to deliver.
///
/// # Errors
///
/// As [`transitions`].
pub(super) async fn looked(
    transaction: &mut PgConnection,
    rules: &RuleSet,
    settings: &Settings,
    model: &ModelSettings,
    due: &[(&Rule, &Look)],
    now: DateTime<Utc>,
) -> anyhow::Result<bool> {
    let previous = store::alert::load_for_update(transaction, &model.name).await?;
    let outcome = alert::watch(rules, due, &previous, now);
    Ok(follow(transaction, settings, model, &outcome, now).await? > 0)
}

/// Writes what an evaluation has changed and what follows from it; the last step of its transaction.
///
/// # Returns
///
/// How many messages were written.
///
/// # Errors
///
/// When the database refuses; the transaction is then to be dropped, and nothing has happened.
pub(super) async fn follow(
    transaction: &mut PgConnection,
    settings: &Settings,
    model: &ModelSettings,
    outcome: &Evaluation,
    now: DateTime<Utc>,
) -> anyhow::Result<usize> {
    for transition in &outcome.transitions {
        tracing::info!(
            model = %transition.model, rule = transition.rule, subject = transition.subject,
            from = transition.from, to = transition.to, "alert changed"
        );
    }
    store::alert::save(transaction, outcome).await?;
    for request in &outcome.retrains {
        retrain(transaction, settings, model, request, now).await?;
    }
    Ok(grouping::tell(transaction, settings, &model.name, now).await?)
}

async fn retrain(
    transaction: &mut PgConnection,
    settings: &Settings,
    model: &ModelSettings,
    request: &RetrainRequest,
    now: DateTime<Utc>,
) -> anyhow::Result<()> {
    let Some(spec) = training_spec(settings, model) else {
        tracing::warn!(model = %model.name, rule = request.rule, "the rule retrains, but the model has no `training`");
        return Ok(());
    };
    let needs_labels = spec.source == Source::Captured;
    let situation = store::training_run::situation(
        &mut *transaction,
        &model.name,
        &request.cause,
        now,
        request.policy.budget.period,
        needs_labels,
    )
    .await?;
    match policy::decide(&request.policy, &situation) {
        Decision::Run(state) => {
            let reason = RunReason::Rule(request.reason.clone());
            store::training_run::enqueue(transaction, &spec, &reason, &request.cause, state).await?;
            tracing::info!(model = %model.name, rule = request.rule, state = state.as_str(), "training run written down");
        }
        Decision::Hold(hold) => {
            tracing::info!(model = %model.name, rule = request.rule, reason = %hold, "no training run");
        }
    }
    Ok(())
}

/// What a run of `model` is asked to do, if the settings say how it is trained.
pub fn training_spec(settings: &Settings, model: &ModelSettings) -> Option<TrainingSpec> {
    let training = model.training.as_ref()?;
    let artifacts = training.artifacts.clone().unwrap_or_else(|| settings.data_dir.join("artifacts"));
    let artifacts = std::path::absolute(&artifacts).unwrap_or(artifacts);
    Some(TrainingSpec {
        model: model.name.clone(),
        task: training.task,
        target: training.target.clone(),
        source: training.source.clone(),
        objective: training.objective,
        data: training.data.clone(),
        features: training.features.clone(),
        test_share: training.test_share,
        validation_share: training.validation_share,
        min_labels: training.min_labels,
        max_rows: training.max_rows,
        seed: training.seed,
        device: training.device.clone(),
        simple: training.simple.clone(),
        deep: training.deep.clone(),
        limits: training.limits.clone(),
        evaluation: training.evaluation.clone(),
        export: training.export.clone(),
        output: training.output.clone(),
        window_seconds: model.window.0.as_secs(),
        season: model.season,
        segments: (!model.segments.is_empty())
            .then(|| SegmentSpec { columns: model.segments.clone(), values: model.segment_values }),
        artifacts: artifacts.to_string_lossy().into_owned(),
    })
}
