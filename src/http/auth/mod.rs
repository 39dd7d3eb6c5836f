//! Who asks, and what they may do: tokens, sessions of browsers, and what is open to everybody.
//!
//! Every request passes [`guard`], which decides by method and path alone; a handler that is added later is closed
//! until it is opened here. Handlers learn who asks from [`Caller`], and read forms with [`Form`].

use std::net::SocketAddr;

use axum::extract::{ConnectInfo, FromRequestParts, Request, State};
use axum::http::header::{ACCEPT, AUTHORIZATION, HOST};
use axum::http::request::Parts;
use axum::http::uri::PathAndQuery;
use axum::http::{Extensions, HeaderMap, Method, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use sqlx::PgPool;

use super::{ApiError, AppState, token};
use crate::alert::Word;
use crate::config::Admin;
use crate::store;
use crate::store::token::{Scope, Token};

mod form;
mod login;
mod origin;
mod secret;
mod throttle;

pub(crate) use form::Form;
pub(super) use login::routes;
pub use secret::Secret;
use secret::hash;
use throttle::Throttle;

/// Who acts where no token says it.
const ANYBODY: &str = "somebody at this machine";

/// What decides who may do what.
#[derive(Debug)]
pub struct Auth {
    settings: Admin,
    address: SocketAddr,
    /// Forms of people without a session carry this.
    open_csrf: String,
    logins: Throttle,
}

impl Auth {
    /// Rules for a port that listens on `address`.
    ///
    /// # Errors
    ///
    /// When the system gives no random bytes.
    pub fn new(settings: &Admin, address: SocketAddr) -> anyhow::Result<Self> {
        let open_csrf = Secret::new()?.csrf();
        Ok(Self { settings: settings.clone(), address, open_csrf, logins: Throttle::default() })
    }

    fn needs(&self, method: &Method, path: &str) -> Need {
        let reads = method == Method::GET || method == Method::HEAD;
        match path {
            "/livez" | "/readyz" | "/metrics" if reads && self.settings.open_probes => Need::Nothing,
            "/login" | "/logout" => Need::Nothing,
            // What the page looks like is no secret, and the form that asks for a token needs it.
            path if reads && path.starts_with("/assets/") => Need::Nothing,
            _ if reads => Need::Scope(Scope::Read),
            "/"
            | "/v1/events"
            | "/v1/predictions"
            | "/v1/labels"
            | "/modeldata/log"
            | "/consumer/kserve/v2" => Need::Scope(Scope::Label),
            _ => Need::Scope(Scope::Operate),
        }
    }

    fn anybody(&self) -> Caller {
        let reads = self.settings.open_reads(self.address).then_some(Scope::Read);
        let writes = self.settings.open_writes(self.address).then_some([Scope::Label, Scope::Operate]);
        let scopes = reads.into_iter().chain(writes.into_iter().flatten()).collect();
        Caller { name: None, scopes, csrf: self.open_csrf.clone(), by_session: false }
    }
}

/// What a request takes.
enum Need {
    Nothing,
    Scope(Scope),
}

/// Who asks.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    name: Option<String>,
    scopes: Vec<Scope>,
    csrf: String,
    by_session: bool,
}

impl Caller {
    /// Whether they may do what needs `scope`; what they may not need not be shown to them.
    pub(crate) fn may(&self, scope: Scope) -> bool {
        self.scopes.iter().any(|held| held.covers(scope))
    }

    /// The name of their token, if they have one.
    pub(crate) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Whether they have logged in and may log out.
    pub(crate) fn by_session(&self) -> bool {
        self.by_session
    }

    /// What every form has to carry in its field `csrf`.
    pub(crate) fn csrf(&self) -> &str {
        &self.csrf
    }

    /// Who acts and why: the token's name is not theirs to choose.
    ///
    /// # Errors
    ///
    /// When there is no reason, or a name is too long.
    pub(crate) fn word(&self, by: Option<&str>, reason: &str) -> Result<Word, ApiError> {
        let by = by.map(str::trim);
        let author = match (by, self.name()) {
            (Some(by), Some(name)) if !by.is_empty() && by != name => format!("{by} ({name})"),
            (_, Some(name)) => name.to_owned(),
            (Some(by), None) => by.to_owned(),
            (None, None) => ANYBODY.to_owned(),
        };
        Word::new(&author, reason).map_err(|error| ApiError::bad_request(error.to_string()))
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        // A route that is not behind the guard lets nobody do anything.
        parts.extensions.get::<Self>().cloned().ok_or(ApiError::Unauthorized)
    }
}

/// Lets a request pass that may, before any of its body is read.
pub(super) async fn guard(State(app): State<AppState>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    match admit(&app, &parts).await {
        Ok(caller) => {
            parts.extensions.insert(caller);
            next.run(Request::from_parts(parts, body)).await
        }
        Err(ApiError::Unauthorized) if wants_page(&parts) => to_login(&parts.uri).into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

async fn admit(app: &AppState, request: &Parts) -> Result<Caller, ApiError> {
    let (auth, headers) = (&app.auth, &request.headers);
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    if headers.contains_key(HOST) && !host.is_some_and(|host| auth.settings.answers_to(auth.address, host)) {
        return Err(ApiError::Misdirected);
    }
    let method = &request.method;
    let writes = !(*method == Method::GET || *method == Method::HEAD);
    if writes && !origin::is_same(headers, host) {
        return Err(ApiError::CrossSite);
    }
    let need = auth.needs(method, request.uri.path());
    let caller = match identify(&app.db, headers, (app.now)()).await {
        Ok(found) => found.unwrap_or_else(|| auth.anybody()),
        // What is open stays open while the database is away.
        Err(error) => match need {
            Need::Nothing => auth.anybody(),
            Need::Scope(scope) if auth.anybody().may(scope) => auth.anybody(),
            Need::Scope(_) => return Err(error),
        },
    };
    if caller.by_session && writes && !origin::is_known(headers) {
        return Err(ApiError::CrossSite);
    }
    match need {
        Need::Nothing => Ok(caller),
        Need::Scope(scope) if caller.may(scope) => Ok(caller),
        Need::Scope(_) if caller.name.is_none() => Err(ApiError::Unauthorized),
        Need::Scope(scope) => Err(ApiError::Forbidden(scope.as_str())),
    }
}

/// The owner of the token or of the session that a request carries; none where it carries nothing that holds.
async fn identify(
    db: &PgPool,
    headers: &HeaderMap,
    now: chrono::DateTime<chrono::Utc>,
) -> Result<Option<Caller>, ApiError> {
    let authorization = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    if let Some(given) = authorization.and_then(token::credential) {
        let found = store::token::find(db, &hash(&given), now).await?;
        // Who shows a token that is not known is told so, and not taken for anybody.
        let found = found.ok_or(ApiError::Unauthorized)?;
        return Ok(Some(of_token(found, &given, false)));
    }
    let Some(cookie) = login::cookie(headers) else { return Ok(None) };
    let found = store::token::of_session(db, &hash(cookie), now).await?;
    Ok(found.map(|found| of_token(found, cookie, true)))
}

fn of_token(token: Token, secret: &str, by_session: bool) -> Caller {
    Caller { name: Some(token.name), scopes: token.scopes, csrf: secret::csrf(secret), by_session }
}

/// Whether a person waits for a page.
fn wants_page(request: &Parts) -> bool {
    let accept = request.headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("");
    request.method == Method::GET && accept.contains("text/html") && !request.uri.path().starts_with("/v1/")
}

fn to_login(uri: &Uri) -> Redirect {
    let wanted = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    Redirect::to(&format!("/login?next={}", login::escape_query(wanted)))
}

/// Where a connection comes from, for the throttle.
fn peer(parts: &Extensions) -> Option<SocketAddr> {
    parts.get::<ConnectInfo<SocketAddr>>().map(|info| info.0)
}
