//! Logging in with a token: the browser gets a session's id in a cookie, never the token.

use std::time::Instant;

use axum::Router;
use axum::extract::{DefaultBodyLimit, FromRequest, FromRequestParts, Query, Request, State};
use axum::http::header::{COOKIE, RETRY_AFTER, SET_COOKIE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use chrono::TimeDelta;
use serde::Deserialize;

use super::{Caller, Form, Secret, hash, peer};
use crate::http::{ApiError, AppState};
use crate::store::{self, StoreError};

/// Name of the cookie.
const COOKIE_NAME: &str = "driftline_session";

/// Longest form that somebody who has shown nothing may send.
const FORM_LIMIT: usize = 16 << 10;

/// How long a session lasts at most.
const LASTS: TimeDelta = TimeDelta::hours(12);

/// Where people log in and out.
pub(in crate::http) fn routes() -> Router<AppState> {
    Router::new()
        .route("/login", get(ask).post(login))
        .route("/logout", post(logout))
        .layer(DefaultBodyLimit::max(FORM_LIMIT))
}

/// The session's id in the request, if it has one.
pub(super) fn cookie(headers: &HeaderMap) -> Option<&str> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, value)| *name == COOKIE_NAME && !value.is_empty())
        .map(|(_, value)| value)
}

/// Text for a value of a query.
pub(super) fn escape_query(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut escaped, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            escaped.push(byte.into());
        } else {
            escaped.push('%');
            escaped.extend(
                [byte >> 4, byte & 15].map(|half| char::from(b"0123456789ABCDEF"[usize::from(half)])),
            );
        }
        escaped
    })
}

/// A path of this port, whatever was asked for: nobody is sent elsewhere.
fn inside(next: Option<&str>) -> &str {
    let fine = |next: &&str| {
        next.starts_with('/')
            && !next.starts_with("//")
            && !next.contains(['\\', '\r', '\n', '\t'])
            && next.is_ascii()
    };
    next.filter(fine).unwrap_or("/")
}

#[derive(Deserialize)]
struct Wanted {
    next: Option<String>,
}

/// Asks for a token.
async fn ask(Query(wanted): Query<Wanted>) -> Html<String> {
    page(inside(wanted.next.as_deref()), None)
}

#[derive(Deserialize)]
struct Shown {
    #[serde(default)]
    token: String,
    next: Option<String>,
}

/// Begins a session for who shows a token.
async fn login(State(app): State<AppState>, request: Request) -> Result<Response, ApiError> {
    let secure = request.headers().get("x-forwarded-proto").is_some_and(|scheme| scheme == "https");
    let peer = peer(request.extensions()).map(|peer| peer.ip());
    if let Some(wait) = peer.and_then(|peer| app.auth.logins.wait(peer, Instant::now())) {
        return Ok(refused(wait.as_secs().max(1)));
    }
    let body = axum::body::Bytes::from_request(request, &app).await;
    let body = body.map_err(|rejection| ApiError::bad_request(rejection.body_text()))?;
    let shown: Shown = serde_urlencoded::from_bytes(&body)
        .map_err(|error| ApiError::bad_request(format!("the form cannot be read: {error}")))?;
    let (next, now) = (inside(shown.next.as_deref()), (app.now)());
    let Some(token) = store::token::find(&app.db, &hash(shown.token.trim()), now).await? else {
        if let Some(peer) = peer {
            app.auth.logins.failed(peer, Instant::now());
        }
        let again = page(next, Some("This token is not known, or it has ended."));
        return Ok((StatusCode::UNAUTHORIZED, again).into_response());
    };
    let session = Secret::new().map_err(|error| ApiError::internal(error.as_ref()))?;
    let ends = now + LASTS;
    let ends = token.expires_at.map_or(ends, |end| end.min(ends));
    let mut connection = app.db.acquire().await.map_err(StoreError::from)?;
    store::token::begin_session(&mut connection, &session.hash(), token.id, ends, now).await?;
    tracing::info!(token = token.name, "somebody logged in");
    let mut response = Redirect::to(next).into_response();
    set_cookie(&mut response, session.expose(), (ends - now).num_seconds(), secure)?;
    Ok(response)
}

#[derive(Deserialize)]
struct Nothing {}

/// Ends the session.
async fn logout(State(app): State<AppState>, request: Request) -> Result<Response, ApiError> {
    let (mut parts, body) = request.into_parts();
    let caller = Caller::from_request_parts(&mut parts, &app).await?;
    let session = cookie(&parts.headers).map(hash);
    let Form(Nothing {}) = Form::from_request(Request::from_parts(parts, body), &app).await?;
    if let Some(session) = session.filter(|_| caller.by_session()) {
        store::token::end_session(&app.db, &session).await?;
    }
    let mut response = Redirect::to("/login").into_response();
    set_cookie(&mut response, "", 0, false)?;
    Ok(response)
}

fn set_cookie(response: &mut Response, value: &str, seconds: i64, secure: bool) -> Result<(), ApiError> {
    let secure = if secure { "; Secure" } else { "" };
    let cookie =
        format!("{COOKIE_NAME}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}");
    let cookie = HeaderValue::try_from(cookie).map_err(|error| ApiError::internal(&error))?;
    response.headers_mut().insert(SET_COOKIE, cookie);
    Ok(())
}

fn refused(seconds: u64) -> Response {
    let text = format!("Too many tokens that are not known. Try again in {seconds} s.");
    let mut response = (StatusCode::TOO_MANY_REQUESTS, page("/", Some(&text))).into_response();
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    response
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn page(next: &str, problem: Option<&str>) -> Html<String> {
    let problem = problem.map(|text| format!("<p role=\"alert\">{}</p>\n", escape(text))).unwrap_or_default();
    let (next, style) = (escape(next), crate::http::page::style());
    Html(format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>Log in · driftline</title>\n<link rel=\"stylesheet\" href=\"{style}\">\n</head>\n<body>\n<main>\n\
         <h1>driftline</h1>\n{problem}<form method=\"post\" action=\"/login\">\n\
         <input type=\"hidden\" name=\"next\" value=\"{next}\">\n\
         <p><label for=\"token\">Token</label><br>\n\
         <input id=\"token\" name=\"token\" type=\"password\" autocomplete=\"current-password\" required></p>\n\
         <p><button type=\"submit\">Log in</button></p>\n</form>\n\
         <p><code>driftline tokens create NAME --scope operate</code> makes a token.</p>\n</main>\n</body>\n</html>\n"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_sent_elsewhere() {
        for (next, expected) in [
            (None, "/"),
            (Some("/models/a?x=1"), "/models/a?x=1"),
            (Some("//evil.example"), "/"),
            (Some("/\\evil.example"), "/"),
            (Some("https://evil.example"), "/"),
            (Some("/a\r\nset-cookie: x"), "/"),
        ] {
            assert_eq!(inside(next), expected, "{next:?}");
        }
        assert_eq!(escape_query("/a?b=c&d"), "/a%3Fb%3Dc%26d");
        assert!(!page("/\"><script>", None).0.contains("<script"));
    }

    #[test]
    fn the_session_is_found_among_other_cookies() {
        let headers = |text| HeaderMap::from_iter([(COOKIE, HeaderValue::from_static(text))]);
        assert_eq!(cookie(&headers("a=b; driftline_session=x; c=d")), Some("x"));
        assert_eq!(cookie(&headers("xdriftline_session=x")), None);
        assert_eq!(cookie(&headers("driftline_session=")), None);
    }
}
