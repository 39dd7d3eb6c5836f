//! Forms of the page, which have to carry what only the page knows.

use axum::extract::{FromRequest, FromRequestParts, Request};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::Caller;
use crate::http::ApiError;

/// The fields of a posted form whose field `csrf` is the caller's.
pub(crate) struct Form<T>(pub(crate) T);

#[derive(Deserialize)]
struct Carried {
    #[serde(default)]
    csrf: String,
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Form<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let (mut parts, body) = request.into_parts();
        let caller = Caller::from_request_parts(&mut parts, state).await?;
        let request = Request::from_parts(parts, body);
        let body = axum::body::Bytes::from_request(request, state).await;
        let body = body.map_err(|rejection| ApiError::bad_request(rejection.body_text()))?;
        let wrong = |error: serde_urlencoded::de::Error| {
            ApiError::bad_request(format!("the form cannot be read: {error}"))
        };
        let Carried { csrf } = serde_urlencoded::from_bytes(&body).map_err(wrong)?;
        if !is_equal(csrf.as_bytes(), caller.csrf().as_bytes()) {
            return Err(ApiError::CrossSite);
        }
        Ok(Self(serde_urlencoded::from_bytes(&body).map_err(wrong)?))
    }
}

/// Takes as long for any two texts of one length.
fn is_equal(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |bits, (a, b)| bits | (a ^ b)) == 0
}
