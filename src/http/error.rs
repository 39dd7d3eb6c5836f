//! Failures of the API, as RFC 9457 problem details.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value as Json, json};
use thiserror::Error;

use crate::store::StoreError;

/// When a client that was turned away should come back.
const RETRY_AFTER_SECONDS: &str = "1";

/// A request that did not succeed.
#[derive(Debug, Error)]
pub enum ApiError {
    /// 400: the request itself is wrong; the details say where.
    #[error("{title}")]
    BadRequest {
        /// What is wrong.
        title: String,
        /// Every problem with its place.
        problems: Vec<Json>,
    },
    /// 404: no such thing.
    #[error("{0} was not found")]
    NotFound(String),
    /// 401: no token, or one that is not known.
    #[error("a token is needed: `Authorization: Bearer TOKEN`, or as the password of the URL")]
    Unauthorized,
    /// 408: the body did not come in time.
    #[error("the body did not arrive within {0} s")]
    TooSlow(u64),
    /// 413: the body is longer than the settings allow.
    #[error("the body is longer than {0} bytes; send less at once, or raise `sink.body_limit`")]
    TooLarge(usize),
    /// 503: too much waits; the request may be tried again.
    #[error("{0}")]
    Busy(&'static str),
    /// 503: the database is away; the request may be tried again.
    #[error("the database is away, try again")]
    Unavailable,
    /// 500: our fault; the cause is logged, never sent.
    #[error("internal error")]
    Internal,
}

impl ApiError {
    /// A request that is wrong in one way.
    pub fn bad_request(title: impl Into<String>) -> Self {
        Self::BadRequest { title: title.into(), problems: Vec::new() }
    }

    /// Logs `cause` and hides it.
    pub fn internal(cause: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!(error = cause, "request failed");
        Self::Internal
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::UnknownModel(model) => Self::NotFound(format!("model `{model}`")),
            error if error.is_transient() => Self::Unavailable,
            error => Self::internal(&error),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = match self {
            Self::BadRequest { .. } => StatusCode::BAD_REQUEST,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::TooSlow(_) => StatusCode::REQUEST_TIMEOUT,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Busy(_) | Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let more = match self {
            Self::Unauthorized => Some((header::WWW_AUTHENTICATE, "Bearer")),
            Self::Busy(_) | Self::Unavailable => Some((header::RETRY_AFTER, RETRY_AFTER_SECONDS)),
            _ => None,
        };
        let mut problem = json!({ "status": status.as_u16(), "title": self.to_string() });
        if let Self::BadRequest { problems, .. } = self
            && !problems.is_empty()
        {
            problem["errors"] = Json::Array(problems);
        }
        let kind = (header::CONTENT_TYPE, "application/problem+json");
        let mut response = (status, [kind], axum::Json(problem)).into_response();
        if let Some((name, value)) = more {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }
}
