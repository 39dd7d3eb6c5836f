//! Failures of the API, as RFC 9457 problem details.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value as Json, json};
use thiserror::Error;

use crate::store::StoreError;
use crate::store::operation::OperationError;
use crate::store::training_run::RunError;

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
    /// 403: a token that is not for this.
    #[error("this takes a token with the scope `{0}`; `driftline tokens create NAME --scope {0}` makes one")]
    Forbidden(&'static str),
    /// 403: what a page of another site would send.
    #[error("the request does not come from a page of this address; reload the page and try again")]
    CrossSite,
    /// 421: nobody who means this port would call it so.
    #[error("this port does not answer to the name of `Host`; add the name to `admin.hosts`")]
    Misdirected,
    /// 409: the state of things does not allow it.
    #[error("{title}")]
    Conflict {
        /// What stands in the way, for programs.
        code: &'static str,
        /// What stands in the way, and what to do.
        title: String,
    },
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

    /// What the state of things does not allow; `code` is stable, the sentence is not.
    pub fn conflict(code: &'static str, cause: &dyn std::error::Error) -> Self {
        Self::Conflict { code, title: cause.to_string() }
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
            error if error.is_refused_content() => Self::bad_request("a value is out of range, or not text"),
            error => Self::internal(&error),
        }
    }
}

impl From<RunError> for ApiError {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Unknown(run) => Self::NotFound(format!("run {run}")),
            RunError::Store(error) => error.into(),
            RunError::State { .. } => Self::conflict("run_state", &error),
            RunError::Active => Self::conflict("run_active", &error),
            RunError::ProductionMoved => Self::conflict("production_moved", &error),
            RunError::LeaseLost(_) | RunError::Cancelled(_) => Self::internal(&error),
        }
    }
}

impl From<OperationError> for ApiError {
    fn from(error: OperationError) -> Self {
        match error {
            OperationError::Store(error) => error.into(),
            OperationError::Run(error) => error.into(),
            OperationError::Word(_) | OperationError::Specification(_) => {
                Self::bad_request(error.to_string())
            }
            OperationError::UnknownVersion { model, version, .. } => {
                Self::NotFound(format!("version {version} of model `{model}`"))
            }
            OperationError::InProduction { .. } => Self::conflict("in_production", &error),
            OperationError::Rejected { .. } => Self::conflict("version_rejected", &error),
            OperationError::NeverInProduction { .. } => Self::conflict("never_in_production", &error),
            OperationError::NothingBefore(_) => Self::conflict("nothing_before", &error),
            OperationError::ArtifactMissing { .. } => Self::conflict("artifact_missing", &error),
            OperationError::ArtifactDiffers { .. } => Self::conflict("artifact_differs", &error),
            OperationError::Active { .. } => Self::conflict("run_active", &error),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = match self {
            Self::BadRequest { .. } => StatusCode::BAD_REQUEST,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden(_) | Self::CrossSite => StatusCode::FORBIDDEN,
            Self::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Self::Conflict { .. } => StatusCode::CONFLICT,
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
        match self {
            Self::BadRequest { problems, .. } if !problems.is_empty() => {
                problem["errors"] = Json::Array(problems);
            }
            Self::Conflict { code, .. } => problem["code"] = code.into(),
            _ => {}
        }
        let kind = (header::CONTENT_TYPE, "application/problem+json");
        let mut response = (status, [kind], axum::Json(problem)).into_response();
        if let Some((name, value)) = more {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }
}
