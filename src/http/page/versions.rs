//! The registry: every version of a model, and one with its lineage, metrics and model card.

use axum::extract::{Path, State};
use maud::{Markup, html};
use serde_json::Value as Json;

use super::actions::{self, Act};
use super::layout::{PageError, Place, Tab, View, crumbs, empty, fact, scrolling, tabs};
use super::model::{name, standing};
use super::runs::pretty;
use super::words::{self, encode, sentence};
use crate::drawing::{grouped, percent, short};
use crate::http::auth::Caller;
use crate::http::{ApiError, AppState};
use crate::store::model_version::{self, ModelVersion};

/// Columns whose importance is listed.
const IMPORTANT: usize = 12;

/// Every version of a model.
pub(super) async fn list(
    State(app): State<AppState>,
    Path(model): Path<String>,
    caller: Caller,
) -> Result<View, PageError> {
    let (model, now) = (name(&model)?, (app.now)());
    let standing = standing(&app, &model).await?;
    let versions = model_version::list(&app.db, Some(&model)).await?;
    let address = format!("/models/{model}");
    let body = html! {
        (crumbs(&[("/", "Models"), (&address, model.as_str())]))
        h1 { "Versions" }
        (tabs(&model, Tab::Versions))
        @if versions.len() > 1 && standing.production.is_some() {
            (actions::forms(&caller, &[Act::new(
                "Roll back",
                "Puts the version back into production that the present one took over from, with its baseline.",
                format!("{address}/rollback"),
            )]))
        }
        @if versions.is_empty() {
            (empty(
                "No version is registered",
                "A training run that beats what is in production registers a version, with what it was trained on and how it did.",
                &[("Train the first one", &format!("retrain now -m {model} --reason \"first version\""))],
            ))
        } @else {
            (scrolling("Versions", &html! {
                table {
                    thead { tr {
                        th scope="col" { "version" } th scope="col" { "state" } th scope="col" { "kind" } th scope="col" { "from" }
                        th.n scope="col" { "rows" } th scope="col" { "registered" } th scope="col" { "because" }
                    } }
                    tbody {
                        @for version in &versions {
                            tr {
                                th scope="row" { a href={ (address) "/versions/" (version.version) } { "version " (version.version) } }
                                td { (words::state(&version.state)) }
                                td { (version.kind) }
                                td { @if let Some(parent) = version.parent { a href={ (address) "/versions/" (parent) } { "version " (parent) } } @else { "–" } }
                                td.n { (grouped(version.snapshot_rows.unsigned_abs())) }
                                td { (words::ago(version.created_at, now)) }
                                td.reason { (version.reason) }
                            }
                        }
                    }
                }
            }))
        }
    };
    Ok(View { title: format!("Versions of {model}"), place: Place::Models, body, now })
}

/// One version.
pub(super) async fn show(
    State(app): State<AppState>,
    Path((model, version)): Path<(String, i64)>,
    caller: Caller,
) -> Result<View, PageError> {
    let (model, now) = (name(&model)?, (app.now)());
    let found = model_version::show(&app.db, &model, version).await?;
    let found = found.ok_or_else(|| ApiError::NotFound(format!("version {version} of model `{model}`")))?;
    let address = format!("/models/{model}");
    let versions = format!("{address}/versions");
    let body = html! {
        (crumbs(&[("/", "Models"), (&address, model.as_str()), (&versions, "Versions")]))
        div.title { h1 { (model) " version " (version) } (words::state(&found.state)) }
        (tabs(&model, Tab::Versions))
        p.lead { (sentence(&found.reason)) }
        @if ["candidate", "archived"].contains(&found.state.as_str()) {
            (actions::forms(&caller, &[Act::new(
                "Promote",
                "Puts this version into production; its baseline becomes the one that windows are judged against.",
                format!("{address}/versions/{version}/promote"),
            )]))
        }
        (lineage(&found, &address))
        (metrics(&found.metrics))
        (importance(&found.metrics, &address))
        section {
            h2 { "What it was made of" }
            details #parameters { summary { "Specification and what was chosen" } pre tabindex="0" { code { (pretty(&found.parameters)) } } }
            details #build { summary { "Build" } pre tabindex="0" { code { (pretty(&found.build)) } } }
        }
    };
    Ok(View { title: format!("{model} version {version}"), place: Place::Models, body, now })
}

fn lineage(version: &ModelVersion, address: &str) -> Markup {
    html! {
        section {
            h2 { "Lineage" }
            dl.facts {
                (fact("Kind", &html! { (version.kind) }))
                (fact("Took over from", &words::version(address, version.parent)))
                (fact("Trained by", &html! { a href={ "/runs/" (version.run) } { "its training run" } }))
                (fact("Trained on", &html! { (grouped(version.snapshot_rows.unsigned_abs())) " rows" small { "snapshot " code { (version.snapshot.get(..12).unwrap_or(&version.snapshot)) } } }))
                (fact("Baseline", &html! { a href={ (address) "/baselines" } { code { (version.baseline) } } }))
                (fact("Registered", &words::time(version.created_at)))
                @if let Some(promoted) = version.promoted_at { (fact("In production since", &words::time(promoted))) }
                (fact("Seed", &html! { code { (version.seed) } }))
                (fact("Artifact", &html! { code { (version.artifact_uri) } small { "SHA-256 " code { (version.artifact_sha256.get(..16).unwrap_or("")) "…" } } }))
            }
        }
    }
}

/// Metrics of every candidate with their intervals, and the gate's comparisons.
fn metrics(metrics: &Json) -> Markup {
    let Some(by_candidate) = metrics.as_object() else { return html! {} };
    let candidates: Vec<&String> =
        by_candidate.keys().filter(|key| !["gate", "importance"].contains(&key.as_str())).collect();
    let number = |value: &Json| value.as_f64().map(short);
    html! {
        section {
            h2 { "On the rows that were held out" }
            @for candidate in candidates {
                @if let Some(measured) = by_candidate[candidate].as_object() {
                    h3 { (candidate) }
                    dl.facts {
                        @for (metric, value) in measured {
                            @if let Some(value) = value.as_object() {
                                (fact(metric, &html! {
                                    (value.get("value").and_then(number).unwrap_or_default())
                                    @if let (Some(lower), Some(upper)) = (value.get("lower").and_then(number), value.get("upper").and_then(number)) {
                                        small { (lower) " to " (upper) }
                                    }
                                }))
                            } @else if let Some(value) = number(value) { (fact(metric, &html! { (value) })) }
                        }
                    }
                }
            }
            @if let Some(gate) = by_candidate.get("gate") {
                h3 { "The gate" }
                @if let Some(reason) = gate.get("reason").and_then(Json::as_str) { p { (sentence(reason)) } }
                details #gate { summary { "Its comparisons, with 95 % intervals" } pre tabindex="0" { code { (pretty(gate)) } } }
            }
        }
    }
}

fn importance(metrics: &Json, address: &str) -> Markup {
    let Some(shares) = metrics.get("importance").and_then(Json::as_object) else { return html! {} };
    let mut shares: Vec<(&String, f64)> =
        shares.iter().filter_map(|(name, share)| Some((name, share.as_f64()?))).collect();
    shares.sort_by(|a, b| b.1.total_cmp(&a.1));
    let most = shares.first().map_or(1.0, |(_, share)| share.max(1e-12));
    html! {
        section {
            h2 { "What it leans on" }
            (scrolling("Importance of the columns", &html! {
                table {
                    thead { tr { th scope="col" { "column" } th scope="col" { "importance" } } }
                    tbody {
                        @for (column, share) in shares.iter().take(IMPORTANT) {
                            tr {
                                th scope="row" { a href={ (address) "/feature?name=" (encode(column)) } { (column) } }
                                td.effect { (percent(*share)) (super::charts::share_bar(share / most)) }
                            }
                        }
                    }
                }
            }))
        }
    }
}
