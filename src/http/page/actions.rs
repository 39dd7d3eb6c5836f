//! What people do from the page: forms that say who and why, and lead back to what they changed.

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Redirect;
use axum::routing::post;
use chrono::{DateTime, TimeDelta, Utc};
use maud::{Markup, html};
use serde::Deserialize;
use uuid::Uuid;

use super::layout::PageError;
use super::model::name;
use crate::alert::{Matcher, Silence};
use crate::http::auth::{Caller, Form};
use crate::http::{ApiError, AppState};
use crate::store::token::Scope;
use crate::store::{alert_ack, operation, silence};

/// Hours that a silence may be asked for with one click.
const SILENCES: [(u32, &str); 4] = [(1, "1 hour"), (4, "4 hours"), (24, "a day"), (168, "a week")];

/// Where forms are posted to.
pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/models/{model}/retrain", post(retrain))
        .route("/models/{model}/rollback", post(rollback))
        .route("/models/{model}/versions/{version}/promote", post(promote))
        .route("/runs/{run}/approve", post(approve))
        .route("/runs/{run}/cancel", post(cancel))
        .route("/alerts/{id}/ack", post(acknowledge))
        .route("/silences", post(silence_alert))
        .route("/silences/{id}/end", post(end_silence))
}

/// Something that may be done here.
pub(super) struct Act<'a> {
    /// What it is called.
    pub(super) title: &'a str,
    /// What it does, in a sentence.
    pub(super) does: &'a str,
    /// Where its form goes.
    pub(super) address: String,
    /// Fields beside who and why.
    pub(super) fields: Markup,
}

impl<'a> Act<'a> {
    /// An act that asks for nothing but who and why.
    pub(super) fn new(title: &'a str, does: &'a str, address: String) -> Self {
        Self { title, does, address, fields: html! {} }
    }
}

/// The forms of `acts`, or how to be allowed to see them.
pub(super) fn forms(caller: &Caller, acts: &[Act<'_>]) -> Markup {
    if acts.is_empty() {
        return html! {};
    }
    if !caller.may(Scope::Operate) {
        return html! {
            p.legend { a href="/login" { "Log in" } " with a token of the scope " code { "operate" } " to act here: "
                       @for (place, act) in acts.iter().enumerate() { @if place > 0 { ", " } (act.title.to_lowercase()) } "." }
        };
    }
    html! {
        div.acts {
            @for act in acts {
                details.act id=(id(act.title)) {
                    summary { (act.title) }
                    form method="post" action=(act.address) data-keep="" {
                        p { (act.does) }
                        input type="hidden" name="csrf" value=(caller.csrf());
                        (act.fields)
                        label { "Why" input name="reason" required maxlength="400" autocomplete="off"; }
                        @if caller.name().is_none() { label { "Your name" input name="by" maxlength="80" autocomplete="name"; } }
                        button.main type="submit" { (act.title) }
                    }
                }
            }
        }
    }
}

fn id(title: &str) -> String {
    format!("act-{}", title.to_lowercase().replace(' ', "-"))
}

/// Who acts and why.
#[derive(Deserialize)]
struct Said {
    #[serde(default)]
    reason: String,
    by: Option<String>,
}

async fn retrain(
    State(app): State<AppState>,
    Path(model): Path<String>,
    caller: Caller,
    Form(said): Form<Said>,
) -> Result<Redirect, PageError> {
    let model = name(&model)?;
    let word = caller.word(said.by.as_deref(), &said.reason)?;
    let spec = app.training.get(&model).ok_or_else(|| {
        ApiError::bad_request(format!("model `{model}` has no `training` part in the settings"))
    })?;
    let run = operation::retrain(&app.db, spec, &word, (app.now)()).await?;
    Ok(Redirect::to(&format!("/runs/{run}")))
}

async fn rollback(
    State(app): State<AppState>,
    Path(model): Path<String>,
    caller: Caller,
    Form(said): Form<Said>,
) -> Result<Redirect, PageError> {
    let model = name(&model)?;
    let word = caller.word(said.by.as_deref(), &said.reason)?;
    let promotion = operation::rollback(&app.db, &model, None, &word, (app.now)()).await?;
    Ok(Redirect::to(&format!("/models/{model}/versions/{}", promotion.version.version)))
}

async fn promote(
    State(app): State<AppState>,
    Path((model, version)): Path<(String, i64)>,
    caller: Caller,
    Form(said): Form<Said>,
) -> Result<Redirect, PageError> {
    let model = name(&model)?;
    let word = caller.word(said.by.as_deref(), &said.reason)?;
    operation::promote(&app.db, &model, version, &word, (app.now)()).await?;
    Ok(Redirect::to(&format!("/models/{model}/versions/{version}")))
}

fn run_id(run: &str) -> Result<Uuid, ApiError> {
    run.parse().map_err(|_| ApiError::bad_request(format!("`{run}` is not the id of a run")))
}

async fn approve(
    State(app): State<AppState>,
    Path(run): Path<String>,
    caller: Caller,
    Form(said): Form<Said>,
) -> Result<Redirect, PageError> {
    let (run, word) = (run_id(&run)?, caller.word(said.by.as_deref(), &said.reason)?);
    operation::approve(&app.db, run, &word, (app.now)()).await?;
    Ok(Redirect::to(&format!("/runs/{run}")))
}

async fn cancel(
    State(app): State<AppState>,
    Path(run): Path<String>,
    caller: Caller,
    Form(said): Form<Said>,
) -> Result<Redirect, PageError> {
    let (run, word) = (run_id(&run)?, caller.word(said.by.as_deref(), &said.reason)?);
    operation::cancel(&app.db, run, &word, (app.now)()).await?;
    Ok(Redirect::to(&format!("/runs/{run}")))
}

async fn acknowledge(
    State(app): State<AppState>,
    Path(id): Path<String>,
    caller: Caller,
    Form(said): Form<Said>,
) -> Result<Redirect, PageError> {
    let word = caller.word(said.by.as_deref(), &said.reason)?;
    alert_ack::acknowledge(&app.db, &id, &word.by, &word.reason, (app.now)()).await?;
    Ok(Redirect::to(&format!("/alerts/{}", super::words::encode(&id))))
}

/// A silence that is asked for on the page of an alert.
#[derive(Deserialize)]
struct Quiet {
    model: String,
    rule: String,
    /// Empty: whatever the subject.
    #[serde(default)]
    subject: String,
    hours: u32,
    #[serde(default)]
    reason: String,
    by: Option<String>,
}

/// The fields by which an alert is silenced.
pub(super) fn silence_fields(model: &str, rule: &str, subject: &str) -> Markup {
    html! {
        input type="hidden" name="model" value=(model);
        input type="hidden" name="rule" value=(rule);
        label {
            "What"
            select name="subject" {
                option value=(subject) { "This alert: " (rule) " of " (subject) }
                option value="" { "Every alert of " (rule) " on " (model) }
            }
        }
        label { "For" select name="hours" { @for (hours, text) in SILENCES { option value=(hours) selected[hours == 4] { (text) } } } }
    }
}

async fn silence_alert(
    State(app): State<AppState>,
    caller: Caller,
    Form(quiet): Form<Quiet>,
) -> Result<Redirect, PageError> {
    if !SILENCES.iter().any(|(hours, _)| *hours == quiet.hours) {
        return Err(ApiError::bad_request(format!("`{}` hours are not offered", quiet.hours)).into());
    }
    let word = caller.word(quiet.by.as_deref(), &quiet.reason)?;
    let labels = [("model", &quiet.model), ("rule", &quiet.rule), ("subject", &quiet.subject)];
    let matchers = labels.into_iter().filter(|(_, value)| !value.is_empty());
    let matchers: Result<Vec<Matcher>, String> =
        matchers.map(|(label, value)| Matcher::equal(label, value)).collect();
    let now: DateTime<Utc> = (app.now)();
    let wanted = Silence {
        id: Uuid::now_v7(),
        matchers: matchers.map_err(ApiError::bad_request)?,
        starts_at: now,
        ends_at: now + TimeDelta::hours(quiet.hours.into()),
        by: word.by,
        reason: word.reason,
    };
    silence::insert(&app.db, wanted, now).await?;
    Ok(Redirect::to("/alerts#silences"))
}

#[derive(Deserialize)]
struct Nothing {}

async fn end_silence(
    State(app): State<AppState>,
    Path(id): Path<String>,
    Form(Nothing {}): Form<Nothing>,
) -> Result<Redirect, PageError> {
    silence::end(&app.db, &id, (app.now)()).await?;
    Ok(Redirect::to("/alerts#silences"))
}

/// The button that ends a silence.
pub(super) fn end_button(caller: &Caller, silence: Uuid) -> Markup {
    html! {
        @if caller.may(Scope::Operate) {
            form method="post" action={ "/silences/" (silence) "/end" } {
                input type="hidden" name="csrf" value=(caller.csrf());
                button type="submit" { "End now" }
            }
        }
    }
}

/// Who is logged in, and how to log out.
pub(super) fn who(caller: &Caller) -> Markup {
    html! {
        @match caller.name() {
            Some(name) => { p { "You act as " b { (name) } "." } }
            None => { p.legend { "You have not logged in. " a href="/login" { "Log in" } } }
        }
        @if caller.by_session() {
            form method="post" action="/logout" {
                input type="hidden" name="csrf" value=(caller.csrf());
                button type="submit" { "Log out" }
            }
        }
    }
}
