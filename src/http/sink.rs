//! The sink: predictions that applications post, and events that payload loggers post. 200 means stored.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::body::{self, turned_away};
use super::routes::Route;
use super::{ApiError, AppState};
use crate::config::Sink;
use crate::decode::events::{self, Event, EventFormat, Events};
use crate::decode::predictions::{self, Submission};
use crate::model::ModelName;
use crate::tap::Names;
use crate::tap::ingest::{AZURE, Content, EVENTS, Ingest, MODEL_MESH, Message, PREDICTIONS, Room, Stored};

/// Bodies that are inflated and read at once: what that takes is not yet part of the room for messages.
const READ_AT_ONCE: usize = 2;

/// Longest accepted `Idempotency-Key`.
const MAX_KEY: usize = 256;

/// Tells senders apart whose ids are only unique within one process.
const PEER: &str = "driftline-peer";

/// What the sink's handlers need.
#[derive(Clone)]
pub struct SinkState {
    ingest: Ingest,
    names: Arc<Names>,
    limit: usize,
    patience: Duration,
    reading: Arc<Semaphore>,
}

impl SinkState {
    /// A sink that hands messages to `ingest`.
    pub fn new(ingest: Ingest, names: Names, settings: &Sink) -> Self {
        Self {
            ingest,
            names: Arc::new(names),
            limit: settings.body_limit.0,
            patience: settings.patience.0,
            reading: Arc::new(Semaphore::new(READ_AT_ONCE)),
        }
    }
}

/// Where messages are posted.
pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::post("/", cloud_events),
        Route::post("/v1/events", cloud_events),
        Route::post("/v1/predictions", predictions),
        Route::post("/modeldata/log", azure),
        Route::post("/consumer/kserve/v2", model_mesh),
    ]
}

/// A message that has arrived.
struct Arrived {
    headers: HeaderMap,
    body: Bytes,
    room: Room,
    peer: Option<SocketAddr>,
    model: Option<ModelName>,
}

/// Takes the room for a message, then its body.
async fn arrive(app: &AppState, source: &str, request: Request) -> Result<Arrived, ApiError> {
    let sink = &app.sink;
    let mut room = sink.ingest.room().map_err(|error| {
        sink.ingest.count_refused(source, error);
        turned_away(error)
    })?;
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0);
    let (parts, body) = request.into_parts();
    let model = match query(parts.uri.query().unwrap_or(""), "model") {
        None => None,
        Some(name) => Some(ModelName::parse(name).map_err(|error| ApiError::bad_request(error.to_string()))?),
    };
    let body = body::read(&parts.headers, body, sink.limit, &mut room).await?;
    Ok(Arrived { headers: parts.headers, body, room, peer, model })
}

/// The value of a parameter; names of models need no percent-decoding.
fn query<'q>(query: &'q str, name: &str) -> Option<&'q str> {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value)
}

/// Inflates and reads a body on a thread for such work, as many at a time as there is memory for.
async fn read<T: Send + 'static>(
    app: &AppState,
    headers: &HeaderMap,
    body: Bytes,
    read: impl FnOnce(&[u8]) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let (headers, limit) = (headers.clone(), app.sink.limit);
    let permit = Arc::clone(&app.sink.reading).acquire_owned().await.map_err(|_| ApiError::Internal)?;
    let reading = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        read(&body::inflate(&headers, body, limit)?)
    });
    reading.await.map_err(|error| ApiError::internal(&error))?
}

/// Hands over what was read and waits until it is stored, as long as a client may be kept waiting.
async fn store(app: &AppState, mut room: Room, message: Message) -> Result<Stored, ApiError> {
    let ingest = &app.sink.ingest;
    room.grow_to(message.content.bytes()).map_err(|error| {
        ingest.count_refused(&message.source, error);
        turned_away(error)
    })?;
    match tokio::time::timeout(app.sink.patience, ingest.submit_in(room, message)).await {
        Ok(stored) => stored.map_err(turned_away),
        Err(_) => Err(ApiError::Busy(
            "the message could not be stored in time and was withdrawn; try again, with an id or an `Idempotency-Key` \
             so that it cannot count twice",
        )),
    }
}

/// The key by which the client will send the same message again.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let Some(key) = headers.get("idempotency-key") else { return Ok(None) };
    let usable = key.to_str().ok().map(str::trim).filter(|key| !key.is_empty() && key.len() <= MAX_KEY);
    let wrong =
        || ApiError::bad_request(format!("`Idempotency-Key` is not a text of 1 to {MAX_KEY} characters"));
    usable.map(|key| Some(key.to_owned())).ok_or_else(wrong)
}

/// Takes predictions as one JSON object, an array of them, or one per line; good ones are kept beside bad ones.
async fn predictions(State(app): State<AppState>, request: Request) -> Result<Response, ApiError> {
    let Arrived { headers, body, room, .. } = arrive(&app, PREDICTIONS, request).await?;
    let key = idempotency_key(&headers)?;
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let parse = move |body: &[u8]| {
        predictions::parse(body, kind.as_deref())
            .map_err(|failure| ApiError::bad_request(failure.to_string()))
    };
    let Submission { accepted, refused } = read(&app, &headers, body, parse).await?;
    let mut problems: Vec<Value> =
        refused.iter().map(|r| json!({ "index": r.index, "field": r.field, "problem": r.problem })).collect();
    let mut rows = Vec::with_capacity(accepted.len());
    for item in accepted {
        if app.sink.names.find(Some(item.model.as_str()), None).is_some() {
            rows.push(Event::Rows(Box::new(item)));
        } else {
            let problem =
                format!("model `{}` is not monitored; add it to `models` of the settings", item.model);
            problems.push(json!({ "index": item.index, "field": "model", "problem": problem }));
        }
    }
    app.metrics.ingest.items.with_label_values(&["refused"]).inc_by(problems.len() as u64);
    if rows.is_empty() && !problems.is_empty() {
        return Err(ApiError::BadRequest { title: "no prediction could be taken".to_owned(), problems });
    }
    let (accepted, content) = (rows.len(), Content::Events(rows));
    let message = Message {
        source: Arc::from(PREDICTIONS),
        key,
        position: None,
        model: None,
        received_at: (app.now)(),
        content,
    };
    let stored = store(&app, room, message).await?;
    // What was stored before is as good as accepted: nothing is left to do.
    let answer = json!({ "accepted": accepted, "duplicate": stored.duplicate, "refused": problems });
    Ok((StatusCode::OK, Json(answer)).into_response())
}

/// Takes `CloudEvents` in binary, structured and batch mode.
async fn cloud_events(State(app): State<AppState>, request: Request) -> Result<Response, ApiError> {
    take_events(&app, EVENTS, None, request).await
}

/// Takes what the data collector of Azure ML sends.
async fn azure(State(app): State<AppState>, request: Request) -> Result<Response, ApiError> {
    take_events(&app, AZURE, Some(EventFormat::AzureCollector), request).await
}

/// Takes what the payload processor of `ModelMesh` sends.
async fn model_mesh(State(app): State<AppState>, request: Request) -> Result<Response, ApiError> {
    take_events(&app, MODEL_MESH, Some(EventFormat::ModelMesh), request).await
}

async fn take_events(
    app: &AppState,
    source: &str,
    format: Option<EventFormat>,
    request: Request,
) -> Result<Response, ApiError> {
    let Arrived { headers, body, room, peer, model } = arrive(app, source, request).await?;
    let key = idempotency_key(&headers)?;
    let mut pairs: Vec<(String, String)> = headers
        .iter()
        .filter(|(name, _)| *name != PEER)
        .filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())))
        .collect();
    let peer = peer.map(|peer| peer.ip().to_string()).unwrap_or_default();
    pairs.push((PEER.to_owned(), peer));
    let parse = move |body: &[u8]| {
        events::read(&pairs, body, format.as_ref())
            .map_err(|failure| ApiError::bad_request(failure.to_string()))
    };
    let Events { events, refused } = read(app, &headers, body, parse).await?;
    app.metrics.ingest.items.with_label_values(&["refused"]).inc_by(refused.len() as u64);
    let problems: Vec<Value> = refused
        .iter()
        .map(|r| json!({ "index": r.index, "reason": r.reason, "problem": r.problem }))
        .collect();
    if events.is_empty() {
        let title =
            if problems.is_empty() { "the message holds no event" } else { "no event could be taken" };
        return Err(ApiError::BadRequest { title: title.to_owned(), problems });
    }
    let message = Message {
        source: Arc::from(source),
        key,
        position: None,
        model,
        received_at: (app.now)(),
        content: Content::Events(events),
    };
    let stored = store(app, room, message).await?;
    if problems.is_empty() {
        // Brokers take any content of an answer for an event of its own.
        return Ok(StatusCode::OK.into_response());
    }
    let answer = json!({ "accepted": stored.taken, "duplicate": stored.duplicate, "refused": problems });
    Ok((StatusCode::OK, Json(answer)).into_response())
}
