//! What the database holds, as JSON: models, baselines, reports, versions, runs.

use axum::Json;
use axum::extract::{Path, Query, State};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{ApiError, AppState};
use crate::model::ModelName;
use crate::store;

const MAX_REPORTS: i64 = 1000;

#[derive(Deserialize)]
pub(super) struct Page {
    #[serde(default = "default_limit")]
    limit: i64,
}

fn default_limit() -> i64 {
    50
}

fn model_name(name: &str) -> Result<ModelName, ApiError> {
    ModelName::parse(name).map_err(|error| ApiError::bad_request(error.to_string()))
}

/// Lists the models and their active baselines.
pub(super) async fn models(State(app): State<AppState>) -> Result<Json<Value>, ApiError> {
    let models = store::model::list(&app.db).await?;
    let mut shown = Vec::with_capacity(models.len());
    for (name, baseline) in models {
        let mut model = json!({ "name": name, "baseline": baseline });
        if baseline.is_none() {
            // Until there is one, this is all that can be said of its traffic.
            model["captured"] = json!(store::captured::summary(&app.db, &name).await?);
        }
        shown.push(model);
    }
    Ok(Json(json!({ "models": shown })))
}

/// Lists the newest reports of one model, newest first.
pub(super) async fn drift(
    State(app): State<AppState>,
    Path(model): Path<String>,
    Query(page): Query<Page>,
) -> Result<Json<Value>, ApiError> {
    let model = model_name(&model)?;
    if !(1..=MAX_REPORTS).contains(&page.limit) {
        return Err(ApiError::bad_request(format!("`limit` must be between 1 and {MAX_REPORTS}")));
    }
    store::model::active_baseline(&app.db, &model).await?;
    let reports = store::drift_report::latest(&app.db, &model, page.limit).await?;
    let reports: Vec<Value> =
        reports.into_iter().map(|(id, report)| json!({ "id": id, "report": report })).collect();
    Ok(Json(json!({ "reports": reports })))
}

/// Lists the baselines of one model, newest first.
pub(super) async fn baselines(
    State(app): State<AppState>,
    Path(model): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let model = model_name(&model)?;
    store::model::active_baseline(&app.db, &model).await?;
    let baselines: Vec<Value> = store::baseline::list(&app.db, &model)
        .await?
        .into_iter()
        .map(|b| json!({ "version": b.version, "rows": b.rows, "source": b.source, "created_at": b.created_at, "active": b.active }))
        .collect();
    Ok(Json(json!({ "baselines": baselines })))
}

/// Lists the registered versions of one model, newest first.
pub(super) async fn versions(
    State(app): State<AppState>,
    Path(model): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let model = model_name(&model)?;
    store::model::active_baseline(&app.db, &model).await?;
    let versions = store::model_version::list(&app.db, Some(&model)).await?;
    Ok(Json(json!({ "versions": versions })))
}

/// Shows one training run.
pub(super) async fn run(
    State(app): State<AppState>,
    Path(run): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let id: Uuid =
        run.parse().map_err(|_| ApiError::bad_request(format!("`{run}` is not the id of a run")))?;
    match store::training_run::show(&app.db, id).await {
        Ok(run) => Ok(Json(json!({ "run": run }))),
        Err(store::training_run::RunError::Unknown(id)) => Err(ApiError::NotFound(format!("run {id}"))),
        Err(error) => Err(ApiError::internal(&error)),
    }
}
