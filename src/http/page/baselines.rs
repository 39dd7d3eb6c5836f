//! Baselines of a model, and how two of them differ.

use axum::extract::{Path, Query, State};
use maud::{Markup, html};
use serde::Deserialize;

use super::charts;
use super::layout::{PageError, Place, Tab, View, crumbs, empty, scrolling, tabs};
use super::model::{name, standing};
use super::words;
use crate::baseline::Baseline;
use crate::drawing::{grouped, percent, rounded};
use crate::http::{ApiError, AppState};
use crate::profile::format_number;
use crate::stats;
use crate::store;

/// Columns of a comparison that are listed.
const LISTED: usize = 100;

#[derive(Deserialize)]
pub(super) struct Wanted {
    /// The baseline that is compared with the active one.
    with: Option<String>,
}

/// The baselines of a model.
pub(super) async fn list(
    State(app): State<AppState>,
    Path(model): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Result<View, PageError> {
    let (model, now) = (name(&model)?, (app.now)());
    let standing = standing(&app, &model).await?;
    let baselines = store::baseline::list(&app.db, &model).await?;
    let address = format!("/models/{model}");
    let difference = match (&standing.baseline, &wanted.with) {
        (Some(active), Some(other)) if active != other => {
            let active = read(&app, &model, active).await?;
            Some((read(&app, &model, other).await?, active))
        }
        _ => None,
    };
    let body = html! {
        (crumbs(&[("/", "Models"), (&address, model.as_str())]))
        h1 { "Baselines" }
        (tabs(&model, Tab::Baselines))
        @if baselines.is_empty() {
            (empty(
                "No baseline yet",
                "A baseline freezes reference data: the distributions that windows are compared with.",
                &[("Freeze reference data", &format!("driftline baseline build -m {model} reference.parquet"))],
            ))
        } @else {
            (scrolling("Baselines", &html! {
                table {
                    thead { tr { th scope="col" { "version" } th scope="col" { "state" } th.n scope="col" { "rows" }
                                 th scope="col" { "made" } th scope="col" { "from" } th scope="col" { "compare" } } }
                    tbody {
                        @for baseline in &baselines {
                            tr {
                                th scope="row" { code { (baseline.version) } }
                                td { @if baseline.active { (words::badge(words::Tone::Good, "active")) } @else { (words::badge(words::Tone::Quiet, "kept")) } }
                                td.n { (grouped(baseline.rows.unsigned_abs())) }
                                td { (words::ago(baseline.created_at, now)) }
                                td.reason { (baseline.source) }
                                td { @if !baseline.active { a href={ "?with=" (baseline.version) "#difference" } { "with the active one" } } }
                            }
                        }
                    }
                }
            }))
        }
        @if let Some((before, after)) = &difference { (differences(before, after)) }
    };
    Ok(View { title: format!("Baselines of {model}"), place: Place::Models, body, now })
}

async fn read(app: &AppState, model: &crate::model::ModelName, version: &str) -> Result<Baseline, ApiError> {
    let found = store::baseline::get(&app.db, model, version).await?;
    found.ok_or_else(|| ApiError::NotFound(format!("baseline {version} of model `{model}`")))
}

/// One column of two baselines.
struct Differs<'a> {
    name: &'a str,
    /// PSI on the bins of the active one; absent where the cells differ and nothing can be said.
    psi: Option<f64>,
    means: [Option<f64>; 2],
    missing: [f64; 2],
}

fn differences(before: &Baseline, after: &Baseline) -> Markup {
    let mut rows: Vec<Differs<'_>> = Vec::new();
    let mut only_after = Vec::new();
    for column in after.columns() {
        let name = column.layout.name.as_str();
        let Some(other) = before.columns().iter().find(|other| other.layout.name == name) else {
            only_after.push(name);
            continue;
        };
        let mean = |moments: &stats::Moments| (moments.count() > 0).then(|| moments.mean());
        let missing = |profile: &crate::profile::ColumnProfile| {
            profile.unusable() as f64 / (profile.usable() + profile.unusable()).max(1) as f64
        };
        let psi = (column.layout.cut == other.layout.cut)
            .then(|| {
                stats::psi(
                    &column.bins.profile_counts(&other.profile),
                    &column.bins.profile_counts(&column.profile),
                )
                .ok()
            })
            .flatten();
        rows.push(Differs {
            name,
            psi,
            means: [mean(&other.profile.moments), mean(&column.profile.moments)],
            missing: [missing(&other.profile), missing(&column.profile)],
        });
    }
    rows.sort_by(|a, b| b.psi.unwrap_or(f64::INFINITY).total_cmp(&a.psi.unwrap_or(f64::INFINITY)));
    let only_before: Vec<&str> = before
        .columns()
        .iter()
        .map(|column| column.layout.name.as_str())
        .filter(|name| after.columns().iter().all(|column| column.layout.name != *name))
        .collect();
    let number =
        |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| format_number(rounded(value)));
    html! {
        section {
            h2 #difference { "From " code { (before.version()) } " to the active " code { (after.version()) } }
            p { (grouped(before.rows())) " rows then, " (grouped(after.rows())) " now." }
            @if !only_before.is_empty() { p { "Gone: " (only_before.join(", ")) "." } }
            @if !only_after.is_empty() { p { "New: " (only_after.join(", ")) "." } }
            (scrolling("Columns of both baselines", &html! {
                table {
                    thead { tr { th scope="col" { "column" } th scope="col" { "PSI" } th.n scope="col" { "mean before" } th.n scope="col" { "mean now" }
                                 th.n scope="col" { "missing before" } th.n scope="col" { "missing now" } } }
                    tbody {
                        @for row in rows.iter().take(LISTED) {
                            tr {
                                th scope="row" { (row.name) }
                                td.effect { @if let Some(psi) = row.psi { (crate::drift::short(psi)) (charts::effect_bar(psi / 0.1, psi >= 0.1)) } @else { "cut anew" } }
                                td.n { (number(row.means[0])) } td.n { (number(row.means[1])) }
                                td.n { (percent(row.missing[0])) } td.n { (percent(row.missing[1])) }
                            }
                        }
                    }
                }
            }))
            p.legend { "PSI is on the bins of the active baseline. “Cut anew”: the cells differ, so counts cannot be laid over one another." }
        }
    }
}
