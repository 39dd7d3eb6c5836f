//! Alerts: those that stand, and the whole life of one with its evidence.

use axum::extract::{Path, Query, State};
use chrono::{DateTime, Utc};
use maud::{Markup, html};
use serde::Deserialize;

use super::actions::{self, Act};
use super::layout::{PageError, Place, Tab, View, crumbs, empty, fact, scrolling, tabs};
use super::model::{name, standing};
use super::words::{self, encode, sentence};
use crate::alert::{AlertState, Evidence, Happening, Item, Silence};
use crate::drawing::{percent, short, short_p};
use crate::http::AppState;
use crate::http::auth::Caller;
use crate::model::ModelName;
use crate::store::alert::TransitionRow;
use crate::store::alert_event::EventRow;
use crate::store::alert_life::{self, AlertLife, AlertView};
use crate::store::silence;

/// Alerts of one list.
const LISTED: usize = 200;

/// Digits of a fingerprint that are shown.
const SHOWN: usize = 10;

#[derive(Deserialize)]
pub(super) struct Wanted {
    /// Those that are over too.
    #[serde(default)]
    all: bool,
}

/// The alerts of every model.
pub(super) async fn list(
    State(app): State<AppState>,
    Query(wanted): Query<Wanted>,
    caller: Caller,
) -> Result<View, PageError> {
    let now = (app.now)();
    let alerts = alert_life::list(&app.db, None, wanted.all).await?;
    let silences = silence::standing(&app.db, now).await?;
    let firing = alerts.iter().filter(|view| view.alert.state.firing_since().is_some()).count() as u64;
    let body = html! {
        h1 { @if firing == 0 { "Nothing fires" } @else { (words::counted(firing, "alert fires", "alerts fire")) } }
        (choice("/alerts", wanted.all))
        (table(&alerts, now, true))
        (silences_of(&silences, &caller, now))
    };
    Ok(View { title: "Alerts".to_owned(), place: Place::Alerts, body, now })
}

/// The alerts of one model.
pub(super) async fn of_model(
    State(app): State<AppState>,
    Path(model): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Result<View, PageError> {
    let (model, now): (ModelName, _) = (name(&model)?, (app.now)());
    standing(&app, &model).await?;
    let alerts = alert_life::list(&app.db, Some(&model), wanted.all).await?;
    let address = format!("/models/{model}");
    let body = html! {
        (crumbs(&[("/", "Models"), (&address, model.as_str())]))
        h1 { "Alerts" }
        (tabs(&model, Tab::Alerts))
        (choice(&format!("{address}/alerts"), wanted.all))
        (table(&alerts, now, false))
    };
    Ok(View { title: format!("Alerts of {model}"), place: Place::Models, body, now })
}

fn choice(address: &str, all: bool) -> Markup {
    html! {
        ul.choices {
            li { a href=(address) aria-current=[(!all).then_some("true")] { "Firing or waiting" } }
            li { a href={ (address) "?all=true" } aria-current=[all.then_some("true")] { "Also resolved" } }
        }
    }
}

fn table(alerts: &[AlertView], now: DateTime<Utc>, with_model: bool) -> Markup {
    if alerts.is_empty() {
        return empty(
            "No alert",
            "Rules decide what becomes an alert; without any that matches, drift is only shown.",
            &[
                ("Check the rules, and what they would match", "driftline rules check"),
                ("What would they have done over the last 30 days?", "driftline rules replay --days 30"),
            ],
        );
    }
    let shown = &alerts[..alerts.len().min(LISTED)];
    html! {
        (scrolling("Alerts", &html! {
            table {
                thead { tr {
                    th scope="col" { "alert" } th scope="col" { "state" }
                    @if with_model { th scope="col" { "model" } }
                    th scope="col" { "since" } th scope="col" { "severity" } th scope="col" { "who knows" } th scope="col" { "summary" }
                } }
                tbody {
                    @for view in shown {
                        tr {
                            th scope="row" {
                                a href={ "/alerts/" (view.alert.fingerprint) } { (view.alert.rule) }
                                @if view.alert.subject != view.alert.model.as_str() { small { " " (view.alert.subject) } }
                            }
                            td { (words::state(view.alert.state.as_str())) }
                            @if with_model { td { a href={ "/models/" (view.alert.model) } { (view.alert.model) } } }
                            td { (since(view.alert.state)) }
                            td { (view.alert.labels.get("severity").map_or("–", String::as_str)) }
                            td { (known(view)) }
                            td.reason { (view.alert.summary) }
                        }
                    }
                }
            }
        }))
        @if alerts.len() > shown.len() { p { (alerts.len() - shown.len()) " more: " code { "driftline alerts list" } " shows them." } }
        p.legend { "Since is event time: the end of the window. Now it is " (words::time(now)) "." }
    }
}

fn since(state: AlertState) -> Markup {
    match state {
        AlertState::Inactive => html! { "–" },
        AlertState::Pending { since, windows } => {
            html! { (words::time(since)) small { " " (words::counted(windows.into(), "window", "windows")) } }
        }
        AlertState::Firing { since, .. } => words::time(since),
        AlertState::Resolved { since, at } => {
            html! { (words::time(since)) small { " until " (words::time(at)) } }
        }
    }
}

/// Who knows of an alert, or why nobody does.
fn known(view: &AlertView) -> Markup {
    if view.alert.state.firing_since().is_none() {
        return html! {};
    }
    html! {
        @if let Some(why) = &view.suppressed { (sentence(&why.sentence())) }
        @else if let Some(ack) = &view.acknowledged { "taken on by " b { (ack.by) } ": " (ack.reason) }
        @else if view.told { "told" }
        @else { "not told yet" }
    }
}

fn silences_of(silences: &[Silence], caller: &Caller, now: DateTime<Utc>) -> Markup {
    html! {
        section {
            h2 #silences { "Silences" }
            @if silences.is_empty() {
                p { "None holds. " code { "driftline alerts silence" } " keeps messages back for a time; alerts go on being judged." }
            } @else {
                (scrolling("Silences", &html! {
                    table {
                        thead { tr { th scope="col" { "what" } th scope="col" { "from" } th scope="col" { "until" } th scope="col" { "who" } th scope="col" { "why" } th scope="col" { "end" } } }
                        tbody {
                            @for silence in silences {
                                tr {
                                    th scope="row" { @for matcher in &silence.matchers { code { (matcher) } " " } }
                                    td { (words::time(silence.starts_at)) @if silence.starts_at > now { small { " to come" } } }
                                    td { (words::time(silence.ends_at)) small { " " (words::ago(silence.ends_at, now)) } }
                                    td { (silence.by) }
                                    td { (silence.reason) }
                                    td { (actions::end_button(caller, silence.id)) }
                                }
                            }
                        }
                    }
                }))
            }
        }
    }
}

/// The life of one alert, or of those of a group.
pub(super) async fn show(
    State(app): State<AppState>,
    Path(id): Path<String>,
    caller: Caller,
) -> Result<View, PageError> {
    let now = (app.now)();
    let lives = alert_life::show(&app.db, &id).await?;
    let body = html! {
        (crumbs(&[("/alerts", "Alerts")]))
        @for life in &lives { (one(life, &caller, lives.len() > 1)) }
    };
    Ok(View { title: "Alert".to_owned(), place: Place::Alerts, body, now })
}

fn one(life: &AlertLife, caller: &Caller, among_others: bool) -> Markup {
    let last = life.transitions.last();
    let (rule, subject, model) = match (&life.alert, last) {
        (Some(view), _) => (view.alert.rule.as_str(), view.alert.subject.as_str(), view.alert.model.as_str()),
        (None, Some(last)) => (last.rule.as_str(), last.subject.as_str(), last.model.as_str()),
        (None, None) => ("", "", ""),
    };
    let state = life.alert.as_ref().map_or("inactive", |view| view.alert.state.as_str());
    let evidence = last.and_then(|last| serde_json::from_value::<Evidence>(last.evidence.clone()).ok());
    let item = life.alert.as_ref().and_then(|view| view.alert.notice.as_ref()).map(|notice| &notice.item);
    let item = item.or(evidence.as_ref().map(|evidence| &evidence.item));
    let report = life.alert.as_ref().and_then(|view| view.alert.report).or(last.and_then(|last| last.report));
    html! {
        section.alert {
            div.title {
                h1 { (rule) @if subject != model { " · " (subject) } }
                (words::state(state))
            }
            @if let Some(view) = &life.alert { p.lead { (view.alert.summary) } p { (known(view)) } }
            dl.facts {
                (fact("Model", &html! { a href={ "/models/" (model) } { (model) } }))
                @if let Some(view) = &life.alert { (fact("Since", &since(view.alert.state))) }
                (fact("Id", &html! { code { (life.fingerprint.get(..SHOWN).unwrap_or(&life.fingerprint)) } }))
                @if let Some(view) = &life.alert {
                    @for (label, value) in &view.alert.labels { (fact(label, &html! { (value) })) }
                }
                @if let Some(report) = report {
                    (fact("Evidence", &html! {
                        @if item.is_some_and(|item| item.role.is_some()) {
                            a href={ "/models/" (model) "/feature?name=" (encode(subject)) "&window=" (report) } { "distributions of " (subject) }
                        } @else { a href={ "/models/" (model) "?window=" (report) } { "the window" } }
                    }))
                }
            }
            @if !among_others { (actions::forms(caller, &acts(life))) }
            @if let Some(item) = item { (evidence_of(item)) }
            @if !among_others { (history(&life.transitions, &life.events)) }
            @if let Some(text) = evidence.as_ref().and_then(|evidence| evidence.rule_text.as_ref()) {
                section { h2 { "The rule" } pre tabindex="0" { code { (text) } } }
            }
        }
    }
}

/// What may be done about an alert that fires.
fn acts(life: &AlertLife) -> Vec<Act<'static>> {
    let Some(view) = life.alert.as_ref().filter(|view| view.alert.state.firing_since().is_some()) else {
        return Vec::new();
    };
    let alert = &view.alert;
    let mut acts = Vec::new();
    if view.acknowledged.is_none() {
        let does = "Says that you are on it: no repeats and no escalation until it is over.";
        acts.push(Act::new("Acknowledge", does, format!("/alerts/{}/ack", alert.fingerprint)));
    }
    let does = "Keeps messages back for a time. The alert goes on being judged.";
    let fields = actions::silence_fields(alert.model.as_str(), &alert.rule, &alert.subject);
    acts.push(Act { fields, ..Act::new("Silence", does, "/silences".to_owned()) });
    acts
}

fn evidence_of(item: &Item) -> Markup {
    let most = item.bins.iter().map(|bin| bin.reference.max(bin.current)).fold(0.0, f64::max);
    html! {
        section {
            h2 { "What it rests on" }
            @if !item.moved.is_empty() { ul.notes { @for text in &item.moved { li { (sentence(text)) } } } }
            dl.facts {
                @if item.effect > 0.0 { (fact("Effect", &html! { (words::times_floor(item.effect)) " the floor" })) }
                @if let Some(p) = item.p { (fact("p, adjusted", &html! { (short_p(p)) })) }
                @if let Some(importance) = item.importance { (fact("Importance", &html! { (short(importance)) "× an average column" })) }
                @for (name, value) in item.statistics.iter().take(12) { (fact(&name.replace('_', " "), &html! { (short(*value)) })) }
            }
            @if !item.bins.is_empty() {
                h3 { "The bins that moved most" }
                (scrolling("Bins that moved most", &html! {
                    table.bars {
                        thead { tr { th scope="col" { "bin" } th.pair scope="col" { "baseline over window" } th.n scope="col" { "baseline" } th.n scope="col" { "window" } } }
                        tbody {
                            @for bin in &item.bins {
                                tr {
                                    th scope="row" { (bin.label) }
                                    td.pair { (maud::PreEscaped(crate::drawing::pair(bin.reference, bin.current, most))) }
                                    td.n { (percent(bin.reference)) } td.n { (percent(bin.current)) }
                                }
                            }
                        }
                    }
                }))
            }
        }
    }
}

/// Transitions are of event time, what was told of wall time, so each has its own list.
fn history(transitions: &[TransitionRow], events: &[EventRow]) -> Markup {
    html! {
        div.two {
            section {
                h2 { "Its life, by the windows" }
                @if transitions.is_empty() { p { "Nothing has happened yet." } }
                ol.life {
                    @for step in transitions.iter().rev() {
                        li class=(tone(&step.to)) {
                            b { (step.to) } small { " from " (step.from) } br;
                            (words::time(step.at))
                            @if let Some(report) = step.report { " · " a href={ "/models/" (step.model) "?window=" (report) } { "window" } }
                        }
                    }
                }
            }
            section {
                h2 { "Who was told, by the clock" }
                @if events.is_empty() { p { "Nobody yet." } }
                ol.life { @for event in events.iter().rev() { li { (happening(event)) br; (words::time(event.at)) } } }
            }
        }
    }
}

fn tone(state: &str) -> &'static str {
    match state {
        "firing" => "bad",
        "resolved" => "good",
        _ => "",
    }
}

fn happening(event: &EventRow) -> Markup {
    match &event.happening {
        Happening::Told { receivers, .. } => html! {
            b { "Told " (receivers.join(", ")) }
            @for delivery in &event.deliveries {
                br; (delivery.receiver) ": " (words::state(&delivery.state))
                @if let Some(error) = &delivery.last_error { " " small { (error) } }
            }
        },
        Happening::Suppressed { why } => html! { b { "Kept back. " } (sentence(&why.sentence())) },
        Happening::Released => html! { b { "May be told again" } },
        Happening::Acknowledged { who, reason } => html! { b { "Taken on by " (who) } ": " (reason) },
    }
}
