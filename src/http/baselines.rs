//! Baselines of a model: which there are, what one holds, and how two differ.

use axum::Json;
use axum::extract::{Path, Query, State};
use serde::Deserialize;
use serde_json::{Value, json};

use super::models::model_name;
use super::paging::Paging;
use super::{ApiError, AppState};
use crate::baseline::{Baseline, BaselineColumn, SegmentedBy};
use crate::drift::BaselineDiff;
use crate::model::ModelName;
use crate::profile::Cut;
use crate::store;

/// Most categories that are shown of a column.
const MAX_LABELS: usize = 50;

/// Lists the baselines of one model, newest first.
pub(super) async fn list(
    State(app): State<AppState>,
    Path(model): Path<String>,
    Query(paging): Query<Paging>,
) -> Result<Json<Value>, ApiError> {
    let model = model_name(&model)?;
    store::model::active_baseline(&app.db, &model).await?;
    let (baselines, next) = paging.cut(store::baseline::list(&app.db, &model).await?)?;
    Ok(Json(json!({ "baselines": baselines, "next": next })))
}

async fn read(app: &AppState, model: &ModelName, version: &str) -> Result<Baseline, ApiError> {
    store::model::active_baseline(&app.db, model).await?;
    let found = store::baseline::get(&app.db, model, version).await?;
    found.ok_or_else(|| {
        let shown: String = version.chars().take(64).collect();
        ApiError::NotFound(format!("baseline `{shown}` of model `{model}`"))
    })
}

/// Shows what a baseline holds, column by column.
pub(super) async fn show(
    State(app): State<AppState>,
    Path((model, version)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    let model = model_name(&model)?;
    let baseline = read(&app, &model, &version).await?;
    let active = store::model::active_baseline(&app.db, &model).await?;
    let columns: Vec<Value> = baseline.columns().iter().map(column).collect();
    let segments: Vec<&str> = baseline.segmented_by().iter().map(SegmentedBy::column).collect();
    Ok(Json(json!({
        "model": model, "version": baseline.version(), "rows": baseline.rows(), "source": baseline.source(),
        "active": active.as_deref() == Some(baseline.version()), "segmented_by": segments, "columns": columns,
    })))
}

fn column(column: &BaselineColumn) -> Value {
    let mut shown = json!({
        "name": column.layout.name, "role": column.layout.role.as_str(), "kind": column.layout.kind.as_str(),
        "cells": column.layout.cut.cells(), "unusable": column.profile.unusable(),
    });
    match &column.layout.cut {
        Cut::Grid(_) => {
            let mean = column.profile.moments.mean();
            if mean.is_finite() {
                shown["mean"] = mean.into();
            }
            if let Some((least, greatest)) = column.layout.range {
                shown["min"] = least.into();
                shown["max"] = greatest.into();
            }
        }
        Cut::Categories(categories) => {
            let labels = (0..categories.cells().min(MAX_LABELS)).map(|cell| categories.label(cell));
            shown["categories"] = labels.collect::<Vec<_>>().into();
        }
    }
    if let Some(variation) = &column.psi_variation {
        shown["effective_blocks"] = variation.effective_blocks.into();
    }
    shown
}

#[derive(Deserialize)]
pub(super) struct Other {
    with: Option<String>,
}

/// Compares a baseline with another one, as if the other were a window.
pub(super) async fn diff(
    State(app): State<AppState>,
    Path((model, version)): Path<(String, String)>,
    Query(other): Query<Other>,
) -> Result<Json<Value>, ApiError> {
    let model = model_name(&model)?;
    let Some(with) = other.with else {
        return Err(ApiError::bad_request("`with` names the baseline to compare with"));
    };
    let (from, to) = (read(&app, &model, &version).await?, read(&app, &model, &with).await?);
    let compared = tokio::task::spawn_blocking(move || BaselineDiff::new(&from, &to)).await;
    let compared = compared.map_err(|error| ApiError::internal(&error))?;
    Ok(Json(json!(compared.map_err(|error| ApiError::internal(&error))?)))
}
