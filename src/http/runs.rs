//! Training runs: list, show, log, metrics, approve, cancel.

use axum::Json;
use axum::extract::{Path, Query, State};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::auth::Caller;
use super::models::{Said, model_name};
use super::paging::Paging;
use super::{ApiError, AppState};
use crate::retrain::RunState;
use crate::store::{operation, training_log, training_run};

/// The id of a run in the address.
pub(super) fn run_id(run: &str) -> Result<Uuid, ApiError> {
    run.parse().map_err(|_| ApiError::bad_request(format!("`{run}` is not the id of a run")))
}

#[derive(Deserialize)]
pub(super) struct Which {
    model: Option<String>,
    state: Option<String>,
    limit: Option<String>,
    cursor: Option<String>,
}

/// Lists runs, newest first.
pub(super) async fn list(
    State(app): State<AppState>,
    Query(which): Query<Which>,
) -> Result<Json<Value>, ApiError> {
    let model = which.model.as_deref().map(model_name).transpose()?;
    let unknown = |word: &str| ApiError::bad_request(format!("`{word}` is not a state of a run"));
    let state = which.state.as_deref().map(|word| RunState::parse(word).ok_or_else(|| unknown(word)));
    let paging = Paging::new(which.limit, which.cursor);
    let (before, limit) = (paging.after()?, paging.limit()?);
    let runs = training_run::page(&app.db, model.as_ref(), state.transpose()?, before, limit + 1).await?;
    let (runs, next) = paging.trim(runs, |run| (run.created_at, run.id))?;
    Ok(Json(json!({ "runs": runs, "next": next })))
}

/// Shows one run with its final evaluation.
pub(super) async fn show(
    State(app): State<AppState>,
    Path(run): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let run = training_run::show(&app.db, run_id(&run)?).await?;
    let evaluation = training_log::evaluation(&app.db, run.id).await?;
    Ok(Json(json!({ "run": run, "evaluation": evaluation })))
}

/// Shows the log of a run, oldest line first.
pub(super) async fn log(
    State(app): State<AppState>,
    Path(run): Path<String>,
    Query(paging): Query<Paging>,
) -> Result<Json<Value>, ApiError> {
    let id = run_id(&run)?;
    training_run::show(&app.db, id).await?;
    let (after, limit) = (paging.after()?.unwrap_or(0), paging.limit()?);
    let lines = training_log::page(&app.db, id, after, limit + 1).await?;
    let (lines, next) = paging.trim(lines, |line| line.seq)?;
    Ok(Json(json!({ "lines": lines, "next": next })))
}

/// Shows what the newest attempt of a run has measured.
pub(super) async fn metrics(
    State(app): State<AppState>,
    Path(run): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let id = run_id(&run)?;
    training_run::show(&app.db, id).await?;
    Ok(Json(json!({ "metrics": training_log::metrics(&app.db, id, -1).await? })))
}

/// Releases a suggested or waiting run.
pub(super) async fn approve(
    State(app): State<AppState>,
    Path(run): Path<String>,
    caller: Caller,
    Json(said): Json<Said>,
) -> Result<Json<Value>, ApiError> {
    let id = run_id(&run)?;
    let word = caller.word(said.by.as_deref(), &said.reason)?;
    operation::approve(&app.db, id, &word, (app.now)()).await?;
    Ok(Json(json!({ "run": training_run::show(&app.db, id).await? })))
}

/// Stops a run, or takes it out of the queue.
pub(super) async fn cancel(
    State(app): State<AppState>,
    Path(run): Path<String>,
    caller: Caller,
    Json(said): Json<Said>,
) -> Result<Json<Value>, ApiError> {
    let id = run_id(&run)?;
    let word = caller.word(said.by.as_deref(), &said.reason)?;
    operation::cancel(&app.db, id, &word, (app.now)()).await?;
    Ok(Json(json!({ "run": training_run::show(&app.db, id).await? })))
}
