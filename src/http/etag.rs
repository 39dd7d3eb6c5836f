//! Answers that have not changed are not sent again: an `ETag` on everything that is read as JSON.

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

use super::ApiError;
use crate::retrain::artifact::hex;

/// Bytes of the hash that name an answer.
const NAMING: usize = 16;

/// Names the answer by its content, and leaves the content out where the client has it.
pub(super) async fn conditional(request: Request, next: Next) -> Response {
    let asked = (request.method() == Method::GET).then(|| request.headers().clone());
    let response = next.run(request).await;
    let Some(asked) = asked else { return response };
    let is_json = response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
    if response.status() != StatusCode::OK || !is_json {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    // The handlers have it in memory already, in one piece.
    let Ok(content) = to_bytes(body, usize::MAX).await else { return ApiError::Internal.into_response() };
    let tag = format!("\"{}\"", hex(&Sha256::digest(&content)[..NAMING]));
    let Ok(value) = HeaderValue::try_from(&tag) else { return ApiError::Internal.into_response() };
    parts.headers.insert(ETAG, value);
    parts.headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("private, no-cache"));
    if is_known(&asked, &tag) {
        parts.headers.remove(CONTENT_TYPE);
        parts.headers.remove(CONTENT_LENGTH);
        parts.status = StatusCode::NOT_MODIFIED;
        return Response::from_parts(parts, Body::empty());
    }
    Response::from_parts(parts, Body::from(content))
}

/// Whether the client has the answer named by `tag`.
fn is_known(asked: &HeaderMap, tag: &str) -> bool {
    let given = asked.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut tags = given.flat_map(|value| value.split(',')).map(str::trim);
    tags.any(|given| given == "*" || given.strip_prefix("W/").unwrap_or(given) == tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_compared_weakly() {
        for (given, expected) in
            [("\"a\"", true), ("W/\"a\"", true), ("\"b\", \"a\"", true), ("*", true), ("a", false)]
        {
            let asked = HeaderMap::from_iter([(IF_NONE_MATCH, HeaderValue::from_static(given))]);
            assert_eq!(is_known(&asked, "\"a\""), expected, "{given}");
        }
        assert!(!is_known(&HeaderMap::new(), "\"a\""));
    }
}
