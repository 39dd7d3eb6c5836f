//! Models and their versions: what there is, and what people do with it.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::header::LOCATION;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::auth::Caller;
use super::paging::Paging;
use super::{ApiError, AppState};
use crate::model::ModelName;
use crate::retrain::RunState;
use crate::store;
use crate::store::{model_version, operation};

/// A name of the address, checked.
pub(super) fn model_name(name: &str) -> Result<ModelName, ApiError> {
    ModelName::parse(name).map_err(|error| ApiError::bad_request(error.to_string()))
}

/// A version of the address.
fn number(version: &str) -> Result<i64, ApiError> {
    let wrong = || ApiError::bad_request(format!("`{version}` is not the number of a version"));
    version.parse().map_err(|_| wrong())
}

/// Who does something, and why.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Said {
    pub(super) reason: String,
    pub(super) by: Option<String>,
}

/// Lists the models: baseline, version in production, newest verdict.
pub(super) async fn list(
    State(app): State<AppState>,
    Query(paging): Query<Paging>,
) -> Result<Json<Value>, ApiError> {
    let (models, next) = paging.cut(store::model::list(&app.db).await?)?;
    let mut shown = Vec::with_capacity(models.len());
    for (name, baseline) in models {
        shown.push(summary(&app, &name, baseline).await?);
    }
    Ok(Json(json!({ "models": shown, "next": next })))
}

async fn summary(app: &AppState, name: &ModelName, baseline: Option<String>) -> Result<Value, ApiError> {
    let production = model_version::production(&app.db, name).await?;
    let newest = store::drift_report::page(&app.db, name, None, 1).await?.pop();
    let newest = newest.map(|(id, report)| {
        json!({
            "id": id, "verdict": report.verdict, "reason": report.reason, "rows": report.rows,
            "window_start": report.window_start, "window_end": report.window_end,
        })
    });
    Ok(json!({
        "name": name, "baseline": baseline, "production": production.map(|version| version.version),
        "monitored": app.monitored.contains(name), "newest_report": newest,
    }))
}

/// Shows one model.
pub(super) async fn show(
    State(app): State<AppState>,
    Path(model): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let model = model_name(&model)?;
    let baseline = store::model::active_baseline(&app.db, &model).await?;
    Ok(Json(json!({ "model": summary(&app, &model, baseline).await? })))
}

/// Lists the registered versions of one model, newest first.
pub(super) async fn versions(
    State(app): State<AppState>,
    Path(model): Path<String>,
    Query(paging): Query<Paging>,
) -> Result<Json<Value>, ApiError> {
    let model = model_name(&model)?;
    store::model::active_baseline(&app.db, &model).await?;
    let (versions, next) = paging.cut(model_version::list(&app.db, Some(&model)).await?)?;
    Ok(Json(json!({ "versions": versions, "next": next })))
}

/// Shows one version.
pub(super) async fn version(
    State(app): State<AppState>,
    Path((model, version)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    let (model, version) = (model_name(&model)?, number(&version)?);
    store::model::active_baseline(&app.db, &model).await?;
    let found = model_version::show(&app.db, &model, version).await?;
    let found = found.ok_or_else(|| ApiError::NotFound(format!("version {version} of model `{model}`")))?;
    Ok(Json(json!({ "version": found })))
}

/// Puts a version into production.
pub(super) async fn promote(
    State(app): State<AppState>,
    Path((model, version)): Path<(String, String)>,
    caller: Caller,
    Json(said): Json<Said>,
) -> Result<Json<Value>, ApiError> {
    let (model, version) = (model_name(&model)?, number(&version)?);
    let word = caller.word(said.by.as_deref(), &said.reason)?;
    Ok(Json(json!(operation::promote(&app.db, &model, version, &word, (app.now)()).await?)))
}

/// Where to go back to, who says so, and why.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Back {
    version: Option<i64>,
    reason: String,
    by: Option<String>,
}

/// Puts an earlier version back into production.
pub(super) async fn rollback(
    State(app): State<AppState>,
    Path(model): Path<String>,
    caller: Caller,
    Json(back): Json<Back>,
) -> Result<Json<Value>, ApiError> {
    let model = model_name(&model)?;
    let word = caller.word(back.by.as_deref(), &back.reason)?;
    Ok(Json(json!(operation::rollback(&app.db, &model, back.version, &word, (app.now)()).await?)))
}

/// Queues a training run.
pub(super) async fn retrain(
    State(app): State<AppState>,
    Path(model): Path<String>,
    caller: Caller,
    Json(said): Json<Said>,
) -> Result<Response, ApiError> {
    let model = model_name(&model)?;
    store::model::active_baseline(&app.db, &model).await?;
    let word = caller.word(said.by.as_deref(), &said.reason)?;
    let spec = app.training.get(&model).ok_or_else(|| ApiError::Conflict {
        code: "no_training",
        title: format!("model `{model}` has no `training` part in the settings"),
    })?;
    let run = operation::retrain(&app.db, spec, &word, (app.now)()).await?;
    let body = Json(json!({ "run": run, "state": RunState::Queued }));
    let place =
        HeaderValue::try_from(format!("/v1/runs/{run}")).map_err(|error| ApiError::internal(&error))?;
    Ok((StatusCode::CREATED, [(LOCATION, place)], body).into_response())
}
