//! Failures that no handler made, as problem details like all others: no such method, a body or a path that cannot be
//! read.

use axum::Json;
use axum::body::to_bytes;
use axum::http::HeaderValue;
use axum::http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// Longest text of a refusal that is passed on.
const MAX_TEXT: usize = 4096;

/// Makes problem details of a failure that is plain text.
pub(super) async fn complete(response: Response) -> Response {
    let status = response.status();
    let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("");
    let is_told = kind.starts_with("application/problem+json") || kind.starts_with("text/html");
    if !(status.is_client_error() || status.is_server_error()) || is_told {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let text = to_bytes(body, MAX_TEXT).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let title = match text.trim() {
        "" if parts.headers.contains_key(ALLOW) => {
            "this address does not take this method; `Allow` names those it takes"
        }
        "" => status.canonical_reason().unwrap_or("the request failed"),
        text => text,
    };
    let problem = Json(json!({ "status": status.as_u16(), "title": title }));
    parts.headers.remove(CONTENT_LENGTH);
    let mut told = (status, parts.headers, problem).into_response();
    told.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    told
}
