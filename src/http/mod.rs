//! The admin port: health, metrics, predictions, events and labels in, models, reports and alerts out; and the sink's own port.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::{delete, get, post};
use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::model::ModelName;
use crate::store::label::Rules;

mod alerts;
mod body;
mod error;
mod labels;
mod page;
mod read;
mod sink;
mod token;

pub use error::ApiError;
pub use sink::SinkState;
pub use token::Tokens;

/// Longest accepted body of predictions or labels.
const BODY_LIMIT: usize = 16 << 20;

/// What the handlers share.
#[derive(Clone)]
pub struct AppState {
    /// The database.
    pub db: PgPool,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// What the settings say of the labels of each model.
    pub labels: Arc<HashMap<ModelName, Rules>>,
    /// Where predictions and events go.
    pub sink: SinkState,
    /// The clock.
    pub now: fn() -> DateTime<Utc>,
}

/// The routes of the admin port.
pub fn router(state: AppState) -> Router {
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .merge(sink::routes())
        .merge(page::routes())
        .route("/v1/labels", post(labels::labels))
        .route("/v1/models", get(read::models))
        .route("/v1/models/{model}/drift", get(read::drift))
        .route("/v1/models/{model}/alerts", get(alerts::of_model))
        .route("/v1/alerts", get(alerts::list))
        .route("/v1/alerts/{id}", get(alerts::show))
        .route("/v1/alerts/{id}/ack", post(alerts::ack))
        .route("/v1/silences", get(alerts::silences).post(alerts::silence))
        .route("/v1/silences/{id}", delete(alerts::unsilence))
        .route("/v1/models/{model}/baselines", get(read::baselines))
        .route("/v1/models/{model}/versions", get(read::versions))
        .route("/v1/runs/{run}", get(read::run))
        .fallback(async || ApiError::NotFound("this address".to_owned()))
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .with_state(state)
}

/// Serves the admin port until shutdown.
///
/// # Errors
///
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    state: AppState,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let router = router(state).into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, router).with_graceful_shutdown(shutdown.cancelled_owned()).await?;
    Ok(())
}

/// Serves what loggers and applications post, and nothing else, until shutdown.
///
/// # Errors
///
/// When the listener fails.
pub async fn serve_sink(
    listener: TcpListener,
    state: AppState,
    tokens: Tokens,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let router = sink::routes()
        .layer(axum::middleware::from_fn_with_state(Arc::new(tokens), token::check))
        .route("/livez", get(async || "ok\n"))
        .fallback(async || ApiError::NotFound("this address".to_owned()))
        .with_state(state)
        .into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, router).with_graceful_shutdown(shutdown.cancelled_owned()).await?;
    Ok(())
}

/// Ready as soon as the proxy listens: a database that is away never takes the model out of service.
async fn ready(State(app): State<AppState>) -> impl IntoResponse {
    let database = match tokio::time::timeout(
        std::time::Duration::from_secs(1),
        sqlx::query("select 1").execute(&app.db),
    )
    .await
    {
        Ok(Ok(_)) => "ok",
        _ => "away: predictions pass, recording waits",
    };
    axum::Json(json!({ "proxy": "ok", "database": database }))
}

async fn metrics(State(app): State<AppState>) -> Result<impl IntoResponse, ApiError> {
    let text = app.metrics.encode().map_err(|error| ApiError::internal(&error))?;
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text))
}
