//! Server-sent events: what changes, for pages that watch, and the progress of one run.
//!
//! One task asks the database once a second, and only while somebody watches; every watcher gets what it found. Watchers
//! are bounded, and one that reads too slowly is told to read everything again.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::HeaderValue;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::Stream;
use futures_util::stream;
use serde::Serialize;
use sqlx::PgPool;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::runs::run_id;
use super::{ApiError, AppState};
use crate::store::change::{self, Change};
use crate::store::{training_log, training_run};

/// Watchers at once.
const WATCHERS: usize = 64;

/// Changes that a watcher may be behind.
const BEHIND: usize = 1024;

/// Pause between two looks.
const PAUSE: Duration = Duration::from_secs(1);

/// How far a look reaches back: past the longest transaction that writes a change.
const REACH: Duration = Duration::from_secs(30);

/// Lines of a log that one look takes.
const LINES: i64 = 500;

/// After so long without anything, a comment says that the connection is alive.
const ALIVE: Duration = Duration::from_secs(15);

/// What is passed on to everybody who watches.
#[derive(Debug, Clone)]
pub struct Feed {
    changes: broadcast::Sender<Arc<Change>>,
    places: Arc<Semaphore>,
    shutdown: CancellationToken,
}

impl Feed {
    /// A feed that ends with `shutdown`.
    pub fn new(shutdown: CancellationToken) -> Self {
        let (changes, _) = broadcast::channel(BEHIND);
        Self { changes, places: Arc::new(Semaphore::new(WATCHERS)), shutdown }
    }

    /// Asks the database while somebody watches, until shutdown.
    ///
    /// # Errors
    ///
    /// None: what cannot be read now is read at the next look.
    pub async fn run(self, db: PgPool) -> anyhow::Result<()> {
        let mut known: Option<HashMap<(String, String), String>> = None;
        while self.shutdown.run_until_cancelled(tokio::time::sleep(PAUSE)).await.is_some() {
            if self.changes.receiver_count() == 0 {
                known = None;
                continue;
            }
            let found = match change::recent(&db, REACH).await {
                Ok(found) => found,
                Err(error) => {
                    tracing::debug!(error = &error as &dyn std::error::Error, "changes could not be read");
                    continue;
                }
            };
            let key = |change: &Change| (change.kind.clone(), change.id.clone());
            if let Some(known) = &known {
                for change in found.iter().filter(|change| known.get(&key(change)) != Some(&change.stamp)) {
                    // Nobody may be left to hear it.
                    if self.changes.send(Arc::new(change.clone())).is_err() {
                        break;
                    }
                }
            }
            known = Some(found.into_iter().map(|change| (key(&change), change.stamp)).collect());
        }
        Ok(())
    }

    fn place(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        let place = Arc::clone(&self.places).try_acquire_owned();
        place.map_err(|_| ApiError::Busy("as many watch as may at once, try again later"))
    }
}

fn event(name: &str, data: &impl Serialize) -> Event {
    // What is sent is serialised from types that cannot fail; an event without data would only be passed over.
    Event::default().event(name).json_data(data).unwrap_or_default()
}

fn answer(events: impl Stream<Item = Event> + Send + 'static) -> Response {
    use futures_util::StreamExt;
    let events = events.map(Ok::<_, Infallible>);
    let mut response =
        Sse::new(events).keep_alive(KeepAlive::new().interval(ALIVE).text("alive")).into_response();
    let headers = response.headers_mut();
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// Streams what changes from now on: `report`, `alert`, `run` and `operation`; `reset` where some were missed.
pub(super) async fn changes(State(app): State<AppState>) -> Result<Response, ApiError> {
    let place = app.feed.place()?;
    let (receiver, shutdown) = (app.feed.changes.subscribe(), app.feed.shutdown.clone());
    let first = event("ready", &serde_json::json!({}));
    let state = (receiver, shutdown, place, Some(first));
    Ok(answer(stream::unfold(state, async |(mut receiver, shutdown, place, first)| {
        if let Some(first) = first {
            return Some((first, (receiver, shutdown, place, None)));
        }
        let told = match shutdown.run_until_cancelled(receiver.recv()).await? {
            Ok(change) => event(&change.kind, &*change),
            Err(RecvError::Lagged(missed)) => event("reset", &serde_json::json!({ "missed": missed })),
            Err(RecvError::Closed) => return None,
        };
        Some((told, (receiver, shutdown, place, None)))
    })))
}

/// How far a watcher of one run has come.
struct Watched {
    db: PgPool,
    run: Uuid,
    shutdown: CancellationToken,
    waiting: Vec<Event>,
    last: Option<serde_json::Value>,
    line: i64,
    epoch: i32,
    began: bool,
    over: bool,
    _place: OwnedSemaphorePermit,
}

impl Watched {
    /// What is new since the last look, newest first, as events are taken from the end.
    async fn look(&mut self) -> Result<(), ApiError> {
        // The state first: lines written between the reads are then still sent.
        let run = training_run::show(&self.db, self.run).await?;
        let lines = training_log::page(&self.db, self.run, self.line, LINES).await?;
        let metrics = training_log::metrics(&self.db, self.run, self.epoch).await?;
        let mut events = Vec::new();
        self.line = lines.last().map_or(self.line, |line| line.seq);
        let caught_up = i64::try_from(lines.len()).unwrap_or(i64::MAX) < LINES;
        events.extend(lines.iter().map(|line| event("log", line)));
        let ended = run.state.is_final() && caught_up;
        let epochs: Vec<_> = metrics.iter().filter(|metric| metric.epoch >= 0 || ended).collect();
        self.epoch =
            epochs.iter().map(|metric| metric.epoch).max().map_or(self.epoch, |epoch| epoch.max(self.epoch));
        events.extend(epochs.into_iter().map(|metric| event("metric", metric)));
        let shown = serde_json::json!(run);
        if self.last.as_ref() != Some(&shown) {
            events.push(event("run", &shown));
            self.last = Some(shown);
        }
        if ended {
            events.push(event("end", &serde_json::json!({ "state": run.state, "outcome": run.outcome })));
            self.over = true;
        }
        events.reverse();
        self.waiting = events;
        Ok(())
    }

    async fn next(mut self) -> Option<(Event, Self)> {
        loop {
            if let Some(event) = self.waiting.pop() {
                return Some((event, self));
            }
            if self.over {
                return None;
            }
            if self.began {
                self.shutdown.clone().run_until_cancelled(tokio::time::sleep(PAUSE)).await?;
            }
            self.began = true;
            // A database that is away for a moment is no reason to give up.
            if let Err(ApiError::NotFound(_)) = self.look().await {
                return None;
            }
        }
    }
}

/// Streams the progress of one run until it ends: `run`, `log`, `metric`, and `end`.
pub(super) async fn of_run(
    State(app): State<AppState>,
    Path(run): Path<String>,
) -> Result<Response, ApiError> {
    let run = run_id(&run)?;
    training_run::show(&app.db, run).await?;
    let watched = Watched {
        db: app.db.clone(),
        run,
        shutdown: app.feed.shutdown.clone(),
        waiting: Vec::new(),
        last: None,
        line: 0,
        epoch: -1,
        began: false,
        over: false,
        _place: app.feed.place()?,
    };
    Ok(answer(stream::unfold(watched, Watched::next)))
}
