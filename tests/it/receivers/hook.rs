//! An HTTP server that takes what it is posted and answers as it is told.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use futures_util::StreamExt as _;

/// What it answers once.
#[derive(Clone)]
pub(super) enum Answer {
    /// Status, headers, body.
    Plain(u16, Vec<(&'static str, String)>, String),
    /// A status, and a body that has no end.
    Endless(u16),
    /// Nothing, ever.
    Never,
}

/// A request as it came in.
#[derive(Debug, Clone)]
pub(super) struct Got {
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Got {
    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }
}

/// The server; answers 204 when it has been told nothing else.
#[derive(Clone, Default)]
pub(super) struct Hook {
    got: Arc<Mutex<Vec<Got>>>,
    answers: Arc<Mutex<VecDeque<Answer>>>,
    pub(super) port: u16,
}

impl Hook {
    /// Listens on loopback and gives `answers`, one after the other.
    pub(super) async fn start(answers: &[Answer]) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let hook = Self {
            port: listener.local_addr().unwrap().port(),
            answers: Arc::new(Mutex::new(answers.iter().cloned().collect())),
            ..Self::default()
        };
        let app = axum::Router::new().fallback(take).with_state(hook.clone());
        let mut server = tokio::task::JoinSet::new();
        server.spawn(async move { axum::serve(listener, app).await });
        server.detach_all();
        hook
    }

    /// Its address, with `path`.
    pub(super) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Everything that came in so far.
    pub(super) fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }
}

async fn take(
    State(hook): State<Hook>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> axum::response::Response {
    hook.got.lock().unwrap().push(Got { path: uri.path().to_owned(), headers, body: body.to_vec() });
    let answer = hook.answers.lock().unwrap().pop_front();
    let (status, headers, body) = match answer.unwrap_or(Answer::Plain(204, Vec::new(), String::new())) {
        Answer::Plain(status, headers, body) => (status, headers, Body::from(body)),
        Answer::Endless(status) => {
            let chunks = futures_util::stream::repeat(Bytes::from(vec![b'x'; 64 * 1024]));
            (status, Vec::new(), Body::from_stream(chunks.map(Ok::<_, std::convert::Infallible>)))
        }
        Answer::Never => std::future::pending().await,
    };
    let mut answer = axum::response::Response::new(body);
    *answer.status_mut() = StatusCode::from_u16(status).unwrap();
    for (name, value) in headers {
        answer.headers_mut().insert(name, value.parse().unwrap());
    }
    answer
}
