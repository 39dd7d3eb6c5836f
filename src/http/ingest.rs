//! Predictions that are pushed to driftline.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{ApiError, AppState};
use crate::decode::predictions;
use crate::model::Exchange;

/// Takes predictions as one JSON object, an array of them, or one per line; good ones are kept beside bad ones.
pub(super) async fn predictions(
    State(app): State<AppState>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let now = (app.now)();
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let submission =
        predictions::parse(&body, kind).map_err(|failure| ApiError::bad_request(failure.to_string()))?;
    let mut refused: Vec<Value> = submission
        .refused
        .iter()
        .map(|r| json!({ "index": r.index, "field": r.field, "problem": r.problem }))
        .collect();
    let mut accepted = 0;
    for item in submission.accepted {
        let (index, model) = (item.index, item.model.clone());
        let exchange = Exchange {
            id: item.id.unwrap_or_else(|| Uuid::now_v7().to_string()),
            model: item.model,
            model_version: item.model_version,
            event_time: item.time.unwrap_or(now),
            batch: item.batch,
            other_ids: Vec::new(),
        };
        if (app.intake)(exchange) {
            accepted += 1;
        } else {
            let problem = format!("model `{model}` is not monitored, or the database is too far behind");
            refused.push(json!({ "index": index, "field": "model", "problem": problem }));
        }
    }
    if accepted == 0 && !refused.is_empty() {
        return Err(ApiError::BadRequest {
            title: "no prediction could be taken".to_owned(),
            problems: refused,
        });
    }
    Ok((StatusCode::ACCEPTED, Json(json!({ "accepted": accepted, "refused": refused }))))
}
