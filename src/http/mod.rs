//! The admin port: health, metrics, predictions, events and labels in, models, reports and alerts out; and the sink's own port.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header;
use axum::middleware;
use axum::response::IntoResponse;
use axum::routing::get;
use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;
use serde_json::json;
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::drift::Explanation;
use crate::metrics::Metrics;
use crate::model::ModelName;
use crate::retrain::TrainingSpec;
use crate::store;
use crate::store::label::Rules;

mod alerts;
mod auth;
mod baselines;
mod body;
mod error;
mod etag;
mod headers;
mod labels;
mod models;
mod openapi;
mod page;
mod paging;
mod problem;
mod reports;
mod routes;
mod runs;
mod sink;
mod stream;
mod system;
mod token;

pub use auth::{Auth, Secret};
pub use error::ApiError;
pub use sink::SinkState;
pub use stream::Feed;
pub use token::Tokens;

/// Makes a report again from what is stored.
pub type Explain =
    Arc<dyn Fn(PgPool, Uuid) -> BoxFuture<'static, Result<Explanation, ApiError>> + Send + Sync>;

/// Database connections of the admin port.
const CONNECTIONS: u32 = 4;

/// Threads for what takes long: reading bodies, making reports again.
const BLOCKING: usize = 4;

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
    /// The models of the settings.
    pub monitored: Arc<BTreeSet<ModelName>>,
    /// How each model is trained, where the settings say it.
    pub training: Arc<HashMap<ModelName, TrainingSpec>>,
    /// Where the proxy listens, if there is one.
    pub proxy: Option<SocketAddr>,
    /// Makes a report again.
    pub explain: Explain,
    /// What changes, for those who watch.
    pub feed: Feed,
    /// Who may do what.
    pub auth: Arc<Auth>,
    /// The clock.
    pub now: fn() -> DateTime<Utc>,
}

/// The admin port: what it answers, behind what it refuses.
pub fn router(state: AppState) -> Router {
    routes::router(routes::api())
        .merge(auth::routes())
        .merge(page::routes())
        .fallback(async || ApiError::NotFound("this address".to_owned()))
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(middleware::from_fn(etag::conditional))
        .layer(middleware::from_fn_with_state(state.clone(), auth::guard))
        .layer(middleware::map_response(problem::complete))
        .layer(middleware::map_response(headers::secure))
        .with_state(state)
}

/// Serves the admin port until shutdown, on a thread and with database connections of its own: however much is asked
/// there, recording and judging find theirs, and predictions their threads.
///
/// # Errors
///
/// When the thread cannot be started, or the listener fails.
pub async fn serve_apart(
    listener: TcpListener,
    state: AppState,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let listener = listener.into_std()?;
    let runtime = Builder::new_current_thread().enable_all().max_blocking_threads(BLOCKING).build()?;
    let (ended, has_ended) = tokio::sync::oneshot::channel();
    let thread = std::thread::Builder::new().name("admin".to_owned()).spawn(move || {
        let served = runtime.block_on(async {
            let db = store::pool_beside(&state.db, CONNECTIONS);
            let state = AppState { db: db.clone(), ..state };
            let served = serve(TcpListener::from_std(listener)?, state, shutdown).await;
            db.close().await;
            served
        });
        // Nobody may be waiting any more.
        drop(ended.send(served));
    })?;
    let served = has_ended.await?;
    if thread.join().is_err() {
        anyhow::bail!("the thread of the admin port panicked");
    }
    served
}

async fn serve(listener: TcpListener, state: AppState, shutdown: CancellationToken) -> anyhow::Result<()> {
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
    let router = routes::router(sink::routes())
        .layer(middleware::from_fn_with_state(Arc::new(tokens), token::check))
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
