//! Labels that are pushed to driftline.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{ApiError, AppState};
use crate::model::ModelName;
use crate::store;
use crate::store::label::Label;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LabelItem {
    model: String,
    id: String,
    #[serde(default)]
    row: Option<usize>,
    label: Value,
    #[serde(default)]
    time: Option<DateTime<Utc>>,
}

/// Takes labels as one JSON object, an array of them, or one per line; all or none are stored.
pub(super) async fn labels(State(app): State<AppState>, body: Bytes) -> Result<Json<Value>, ApiError> {
    let now = (app.now)();
    let mut problems = Vec::new();
    let mut by_model: std::collections::BTreeMap<ModelName, Vec<Label>> = std::collections::BTreeMap::new();
    for (index, item) in items(&body)?.into_iter().enumerate() {
        match label(item, now) {
            Ok((model, label)) => by_model.entry(model).or_default().push(label),
            Err(problem) => problems.push(json!({ "index": index, "problem": problem })),
        }
    }
    if !problems.is_empty() {
        return Err(ApiError::BadRequest {
            title: "some labels are wrong; none were stored".to_owned(),
            problems,
        });
    }
    let mut transaction = app.db.begin().await.map_err(store::StoreError::from)?;
    let mut total = store::label::LabelCounts::default();
    for (model, labels) in &by_model {
        let counts = store::label::upsert(&mut *transaction, model, labels).await?;
        total.new += counts.new;
        total.replaced += counts.replaced;
        total.stale += counts.stale;
        total.unmatched += counts.unmatched;
    }
    transaction.commit().await.map_err(store::StoreError::from)?;
    Ok(Json(
        json!({ "new": total.new, "replaced": total.replaced, "stale": total.stale, "unmatched": total.unmatched }),
    ))
}

/// The items of a body: an array's, else one per JSON value in it.
fn items(body: &[u8]) -> Result<Vec<Value>, ApiError> {
    let mut items = Vec::new();
    for value in serde_json::Deserializer::from_slice(body).into_iter::<Value>() {
        match value {
            Ok(Value::Array(list)) => items.extend(list),
            Ok(other) => items.push(other),
            Err(error) => return Err(ApiError::bad_request(format!("the body is not JSON: {error}"))),
        }
    }
    if items.is_empty() { Err(ApiError::bad_request("the body holds no label")) } else { Ok(items) }
}

fn label(item: Value, now: DateTime<Utc>) -> Result<(ModelName, Label), String> {
    let item: LabelItem = serde_json::from_value(item).map_err(|error| error.to_string())?;
    let model = ModelName::parse(item.model).map_err(|error| error.to_string())?;
    if !(item.label.is_number() || item.label.is_boolean() || item.label.is_string()) {
        return Err("`label` has to be a number, a truth value or text".to_owned());
    }
    let row_id = item.row.map_or_else(|| item.id.clone(), |row| format!("{}_{row}", item.id));
    Ok((model, Label { row_id, value: item.label, labelled_at: item.time.unwrap_or(now) }))
}
