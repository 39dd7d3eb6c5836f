//! Failures of the API, as RFC 9457 problem details.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value as Json, json};
use thiserror::Error;

use crate::store::StoreError;

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
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let mut problem = json!({ "status": status.as_u16(), "title": self.to_string() });
        if let Self::BadRequest { problems, .. } = self
            && !problems.is_empty()
        {
            problem["errors"] = Json::Array(problems);
        }
        (status, [(header::CONTENT_TYPE, "application/problem+json")], axum::Json(problem)).into_response()
    }
}
