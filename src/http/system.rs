//! The state of driftline itself: what the tap has seen, what waits to be sent, what is wrong, and what people did.

use axum::Json;
use axum::extract::{Query, State};
use chrono::TimeDelta;
use serde::Deserialize;
use serde_json::{Value, json};

use super::auth::Caller;
use super::models::model_name;
use super::paging::Paging;
use super::{ApiError, AppState};
use crate::store;
use crate::store::token::Scope;

/// How far back the tap's counts reach.
const HOUR: TimeDelta = TimeDelta::hours(1);

/// Shows the state of the tap, of deliveries, of runs, and what is wrong.
pub(super) async fn show(State(app): State<AppState>, caller: Caller) -> Result<Json<Value>, ApiError> {
    let since = (app.now)() - HOUR;
    let tap = store::profile_part::tap_totals(&app.db, since).await?;
    let deliveries = store::outbox::counts(&app.db).await?;
    let faults = store::internal_fault::list(&app.db).await?;
    let runs = store::training_status::counts(&app.db).await?;
    let runs: Vec<Value> = runs
        .into_iter()
        .map(|(model, state, runs)| json!({ "model": model, "state": state, "runs": runs }))
        .collect();
    Ok(Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "proxy": app.proxy.map(|address| address.to_string()),
        "models": app.monitored.iter().collect::<Vec<_>>(),
        "tap": { "minutes": HOUR.num_minutes(), "models": tap },
        "deliveries": deliveries,
        "runs": runs,
        "faults": faults,
        "caller": {
            "name": caller.name(),
            "scopes": Scope::ALL.into_iter().filter(|scope| caller.may(*scope)).collect::<Vec<_>>(),
        },
    })))
}

#[derive(Deserialize)]
pub(super) struct Which {
    model: Option<String>,
    limit: Option<String>,
    cursor: Option<String>,
}

/// Lists what people did with models and runs, newest first.
pub(super) async fn operations(
    State(app): State<AppState>,
    Query(which): Query<Which>,
) -> Result<Json<Value>, ApiError> {
    let model = which.model.as_deref().map(model_name).transpose()?;
    let paging = Paging::new(which.limit, which.cursor);
    let (before, limit) = (paging.after()?, paging.limit()?);
    let operations = store::operation::list(&app.db, model.as_ref(), before, limit + 1).await?;
    let (operations, next) = paging.trim(operations, |operation| (operation.at, operation.id))?;
    Ok(Json(json!({ "operations": operations, "next": next })))
}
