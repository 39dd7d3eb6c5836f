//! The first page: every model, the one that needs somebody first.

use axum::extract::State;
use chrono::{DateTime, Utc};
use maud::{Markup, html};

use super::charts;
use super::layout::{PageError, Place, View, empty, fact};
use super::words::{self, Tone, badge, counted, sentence};
use crate::drawing::{grouped, percent};
use crate::drift::Verdict;
use crate::http::AppState;
use crate::store::drift_series::{self, ModelStanding, Point};

/// Windows of a sparkline.
const WINDOWS: i64 = 120;

/// Every model with where it stands.
pub(super) async fn show(State(app): State<AppState>) -> Result<View, PageError> {
    let now = (app.now)();
    let mut models = drift_series::standing(&app.db, None).await?;
    let sparklines = drift_series::sparklines(&app.db, WINDOWS).await?;
    models.sort_by_key(|model| (std::cmp::Reverse(urgency(model)), model.model.as_str().to_owned()));
    let title = headline(&models);
    let body = html! {
        h1 { (title) }
        @if models.is_empty() {
            (empty(
                "No model is monitored yet",
                "A model appears here as soon as it has a baseline: reference data that its predictions are compared with.",
                &[
                    ("See the whole loop on real data first", "driftline demo --serve"),
                    ("Freeze reference data as a baseline", "driftline baseline build -m NAME reference.parquet"),
                    ("Then watch a model server", "driftline run -c driftline.yaml"),
                ],
            ))
        } @else {
            (totals(&models))
            ul.models {
                @for model in &models {
                    li { (card(model, sparklines.get(model.model.as_str()).map_or(&[], Vec::as_slice), now)) }
                }
            }
            p.legend {
                "Lines: the largest effect of any column in each window. Dashed: the floor that an effect has to reach to matter. "
                "Dots: windows that drifted."
            }
        }
    };
    Ok(View { title: "Models".to_owned(), place: Place::Models, body, now })
}

/// What is looked at first: alerts, then drift, then what waits for a person.
fn urgency(model: &ModelStanding) -> (bool, bool, bool) {
    let drifts = model.last.as_ref().is_some_and(|last| last.verdict == Verdict::Drift);
    (model.firing > 0, drifts, waits(model))
}

fn waits(model: &ModelStanding) -> bool {
    model.suggested > 0 || model.run.as_ref().is_some_and(|(_, state)| state == "awaiting_approval")
}

fn headline(models: &[ModelStanding]) -> String {
    let drifts =
        |model: &&ModelStanding| model.last.as_ref().is_some_and(|last| last.verdict == Verdict::Drift);
    let drifted: Vec<_> = models.iter().filter(drifts).collect();
    match (models.len(), drifted.as_slice()) {
        (0, _) => "Models".to_owned(),
        (1, [one]) => format!("{} drifts", one.model),
        (all, [one]) => format!("{} drifts, of {all} models", one.model),
        (all, []) if models.iter().all(|model| model.last.is_none()) => {
            format!("{}, no window judged yet", counted(all as u64, "model", "models"))
        }
        (1, []) => "The model does not drift".to_owned(),
        (all, []) => format!("None of {all} models drifts"),
        (all, some) => format!("{} of {all} models drift", some.len()),
    }
}

fn totals(models: &[ModelStanding]) -> Markup {
    let firing: u64 = models.iter().map(|model| model.firing).sum();
    let waiting = models.iter().filter(|model| waits(model)).count() as u64;
    let under_way = models
        .iter()
        .filter(|model| model.run.as_ref().is_some_and(|(_, state)| state != "awaiting_approval"))
        .count() as u64;
    html! {
        ul.totals {
            li { a href="/alerts" { @if firing == 0 { "No alert fires" } @else { (counted(firing, "alert fires", "alerts fire")) } } }
            @if waiting > 0 { li { a href="/runs" { (counted(waiting, "training run waits for you", "training runs wait for you")) } } }
            @if under_way > 0 { li { a href="/runs" { (counted(under_way, "training run under way", "training runs under way")) } } }
        }
    }
}

fn card(model: &ModelStanding, points: &[Point], now: DateTime<Utc>) -> Markup {
    let name = model.model.as_str();
    let address = format!("/models/{name}");
    html! {
        article.model {
            header {
                h2 { a href=(address) { (name) } }
                @match &model.last {
                    Some(last) => (words::verdict(last.verdict)),
                    None => (badge(Tone::Quiet, "no window yet")),
                }
                @if model.firing > 0 {
                    a.badge.bad href={ (address) "/alerts" } {
                        span aria-hidden="true" { "▲ " } (counted(model.firing, "alert", "alerts"))
                    }
                }
                @if let Some((run, state)) = &model.run {
                    a.badge.busy href={ "/runs/" (run) } { span aria-hidden="true" { "◐ " } "training " (state.replace('_', " ")) }
                }
            }
            @if let Some(last) = &model.last {
                p.verdict { (sentence(&last.reason)) }
            } @else {
                p.verdict { (waiting_for(model)) }
            }
            @if !points.is_empty() { a.spark-link href=(address) tabindex="-1" aria-hidden="true" { (charts::sparkline(points, name)) } }
            dl.facts {
                @if let Some(last) = &model.last {
                    (fact("Last window", &html! { (words::window(last.start, last.end)) small { (grouped(last.rows)) " rows" } }))
                    (fact("Lost on the way", &html! { (percent(last.loss_share)) }))
                }
                (fact("In production", &html! {
                    (words::version(&address, model.production))
                    @if let Some(kind) = &model.production_kind { small { (kind) } }
                }))
                @if let Some(heard) = model.heard_of { (fact("Heard of", &words::ago(heard, now))) }
            }
        }
    }
}

/// What a model without a judged window waits for.
fn waiting_for(model: &ModelStanding) -> Markup {
    html! {
        @if model.baseline.is_none() {
            "It has no baseline: " code { "driftline baseline build -m " (model.model) " reference.parquet" } " makes one."
        } @else if model.heard_of.is_some() {
            "Predictions arrive; the first window is judged once it is complete."
        } @else {
            "Nothing has been heard of it: send its predictions through the proxy, or post them to " code { "/v1/predictions" } "."
        }
    }
}
