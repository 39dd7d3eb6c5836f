//! What follows from a report: transitions of alerts, messages and training runs, in the report's transaction.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::alert::{self, Evaluation, RetrainRequest, RuleSet};
use crate::config::{ModelSettings, Settings};
use crate::drift::DriftReport;
use crate::retrain::policy::{self, Decision};
use crate::retrain::{RunReason, Source, TrainingSpec};
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
    follow(transaction, settings, model, &alert::evaluate(rules, report, id, &previous, now), now).await
}

/// Writes what an evaluation has changed and what follows from it; the last step of its transaction.
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
) -> anyhow::Result<()> {
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
    grouping::tell(transaction, settings, &model.name, now).await?;
    Ok(())
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
        features: Vec::new(),
        test_share: training.test_share,
        validation_share: training.validation_share,
        min_labels: training.min_labels,
        max_rows: training.max_rows,
        seed: training.seed,
        device: training.device.clone(),
        deep: training.deep.clone(),
        output: training.output.clone(),
        window_seconds: model.window.0.as_secs(),
        season: model.season,
        artifacts: artifacts.to_string_lossy().into_owned(),
    })
}
