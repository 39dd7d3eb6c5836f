//! Judged windows: the reports of a model, one report, and the same made again.

use axum::Json;
use axum::extract::{Path, Query, State};
use serde_json::{Value, json};
use uuid::Uuid;

use super::models::model_name;
use super::paging::Paging;
use super::{ApiError, AppState};
use crate::store;

fn report_id(report: &str) -> Result<Uuid, ApiError> {
    report.parse().map_err(|_| ApiError::bad_request(format!("`{report}` is not the id of a report")))
}

/// Lists the reports of one model, newest first.
pub(super) async fn of_model(
    State(app): State<AppState>,
    Path(model): Path<String>,
    Query(paging): Query<Paging>,
) -> Result<Json<Value>, ApiError> {
    let model = model_name(&model)?;
    let (before, limit) = (paging.after()?, paging.limit()?);
    store::model::active_baseline(&app.db, &model).await?;
    let reports = store::drift_report::page(&app.db, &model, before, limit + 1).await?;
    let (reports, next) = paging.trim(reports, |(_, report)| report.window_start)?;
    let reports: Vec<Value> =
        reports.into_iter().map(|(id, report)| json!({ "id": id, "report": report })).collect();
    Ok(Json(json!({ "reports": reports, "next": next })))
}

/// Shows one report.
pub(super) async fn show(
    State(app): State<AppState>,
    Path(report): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let id = report_id(&report)?;
    let report = store::drift_report::get(&app.db, id).await?;
    let report = report.ok_or_else(|| ApiError::NotFound(format!("report {id}")))?;
    Ok(Json(json!({ "id": id, "report": report })))
}

/// Makes a report again from what is stored, and says whether every number agrees.
pub(super) async fn explain(
    State(app): State<AppState>,
    Path(report): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let id = report_id(&report)?;
    let explanation = (app.explain)(app.db.clone(), id).await?;
    let mut shown = json!(explanation);
    shown["sentence"] = explanation.sentence().into();
    shown["id"] = json!(id);
    Ok(Json(shown))
}
