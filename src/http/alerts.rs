//! Alerts, acknowledgements and silences, as JSON.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::auth::Caller;
use super::models::{Said, model_name};
use super::paging::Paging;
use super::{ApiError, AppState};
use crate::alert::{Matcher, Silence, Word};
use crate::store::alert_ack::{self, AckError};
use crate::store::silence::{self, SilenceError};
use crate::store::{self, alert_life};

/// Most silences of one answer.
const MAX_SILENCES: i64 = 1_000;

#[derive(Deserialize)]
pub(super) struct Which {
    /// Those that are over too.
    #[serde(default)]
    all: bool,
    limit: Option<String>,
    cursor: Option<String>,
}

impl Which {
    fn page<T: Serialize>(self, name: &str, items: Vec<T>) -> Result<Json<Value>, ApiError> {
        let (items, next) = Paging::new(self.limit, self.cursor).cut(items)?;
        Ok(Json(json!({ name: items, "next": next })))
    }
}

impl From<AckError> for ApiError {
    fn from(error: AckError) -> Self {
        match error {
            AckError::Unknown(id) => Self::NotFound(format!("alert or group `{id}`")),
            AckError::Store(error) => error.into(),
            error => Self::bad_request(error.to_string()),
        }
    }
}

impl From<SilenceError> for ApiError {
    fn from(error: SilenceError) -> Self {
        match error {
            SilenceError::Unknown(id) => Self::NotFound(format!("a silence `{id}` that still holds")),
            SilenceError::Store(error) => error.into(),
            error => Self::bad_request(error.to_string()),
        }
    }
}

/// The body, or what is wrong with it.
fn body<T>(body: Result<Json<T>, JsonRejection>) -> Result<T, ApiError> {
    body.map(|Json(body)| body).map_err(|rejection| ApiError::bad_request(rejection.body_text()))
}

/// Lists alerts that fire or wait: firing first.
pub(super) async fn list(
    State(app): State<AppState>,
    Query(which): Query<Which>,
) -> Result<Json<Value>, ApiError> {
    let alerts = alert_life::list(&app.db, None, which.all).await?;
    which.page("alerts", alerts)
}

/// Lists the alerts of one model.
pub(super) async fn of_model(
    State(app): State<AppState>,
    Path(model): Path<String>,
    Query(which): Query<Which>,
) -> Result<Json<Value>, ApiError> {
    let model = model_name(&model)?;
    store::model::active_baseline(&app.db, &model).await?;
    let alerts = alert_life::list(&app.db, Some(&model), which.all).await?;
    which.page("alerts", alerts)
}

/// Shows the life of one alert, or of those of a group.
pub(super) async fn show(
    State(app): State<AppState>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    Ok(Json(json!({ "alerts": alert_life::show(&app.db, &id).await? })))
}

/// Takes an alert or a group on.
pub(super) async fn ack(
    State(app): State<AppState>,
    Path(id): Path<String>,
    caller: Caller,
    said: Result<Json<Said>, JsonRejection>,
) -> Result<Json<Value>, ApiError> {
    let said = body(said)?;
    let word = caller.word(said.by.as_deref(), &said.reason)?;
    let (_, ack) = alert_ack::acknowledge(&app.db, &id, &word.by, &word.reason, (app.now)()).await?;
    Ok(Json(json!({ "ack": ack })))
}

/// Lists silences that hold or are to come, or with `all=true` the newest ones.
pub(super) async fn silences(
    State(app): State<AppState>,
    Query(which): Query<Which>,
) -> Result<Json<Value>, ApiError> {
    let silences = if which.all {
        silence::latest(&app.db, MAX_SILENCES).await?
    } else {
        silence::standing(&app.db, (app.now)()).await?
    };
    which.page("silences", silences)
}

/// A silence that is asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    matchers: Vec<Matcher>,
    /// From now on when left out.
    starts_at: Option<DateTime<Utc>>,
    ends_at: DateTime<Utc>,
    by: Option<String>,
    reason: String,
}

/// Silences what matches for a time.
pub(super) async fn silence(
    State(app): State<AppState>,
    caller: Caller,
    wanted: Result<Json<Wanted>, JsonRejection>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let Wanted { matchers, starts_at, ends_at, by, reason } = body(wanted)?;
    let Word { by, reason } = caller.word(by.as_deref(), &reason)?;
    let now = (app.now)();
    let starts_at = starts_at.unwrap_or(now);
    let silence = Silence { id: Uuid::now_v7(), matchers, starts_at, ends_at, by, reason };
    let silence = silence::insert(&app.db, silence, now).await?;
    Ok((StatusCode::CREATED, Json(json!({ "silence": silence }))))
}

/// Ends a silence.
pub(super) async fn unsilence(
    State(app): State<AppState>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    Ok(Json(json!({ "silence": silence::end(&app.db, &id, (app.now)()).await? })))
}
