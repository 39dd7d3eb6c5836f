//! One model: its verdict, its columns by effect and importance, and its windows.

use std::collections::{BTreeMap, HashMap};

use axum::extract::{Path, Query, State};
use maud::{Markup, html};
use serde::Deserialize;
use uuid::Uuid;

use super::actions::{self, Act};
use super::charts::{self, Cell, Dot, STRIP};
use super::layout::{PageError, Place, Tab, View, crumbs, empty, fact, scrolling, tabs};
use super::words::{self, encode, sentence};
use crate::drawing::{grouped, percent};
use crate::drift::{DriftReport, Verdict};
use crate::http::auth::Caller;
use crate::http::{ApiError, AppState};
use crate::model::ModelName;
use crate::store;
use crate::store::drift_series::{self, ColumnName, ModelStanding, Series, WindowSummary};

/// Columns that are listed before the rest is left to another request.
const LISTED: usize = 100;

/// Windows of the list at the end.
const RECENT: usize = 12;

/// How far back strips and lines may reach, in windows.
const REACHES: [(&str, i64); 4] = [("90", 90), ("360", 360), ("1080", 1_080), ("2160", 2_160)];

#[derive(Deserialize)]
pub(super) struct Wanted {
    /// The report that is looked at; the newest when left out.
    window: Option<Uuid>,
    /// How many windows are drawn.
    reach: Option<i64>,
    /// Every column, not only those at the top.
    #[serde(default)]
    all: bool,
    /// Only columns with this in their name.
    #[serde(default)]
    find: String,
}

/// Parses the name of a model in an address.
pub(super) fn name(text: &str) -> Result<ModelName, ApiError> {
    ModelName::parse(text).map_err(|error| ApiError::bad_request(error.to_string()))
}

/// Where a model stands, or that there is none.
pub(super) async fn standing(app: &AppState, model: &ModelName) -> Result<ModelStanding, ApiError> {
    let found = drift_series::standing(&app.db, Some(model)).await?.pop();
    found.ok_or_else(|| ApiError::NotFound(format!("model `{model}`")))
}

/// The model's first view.
pub(super) async fn show(
    State(app): State<AppState>,
    Path(model): Path<String>,
    Query(wanted): Query<Wanted>,
    caller: Caller,
) -> Result<View, PageError> {
    let (model, now) = (name(&model)?, (app.now)());
    let standing = standing(&app, &model).await?;
    let reach = wanted.reach.unwrap_or(90);
    if !(1..=REACHES[3].1).contains(&reach) {
        return Err(ApiError::bad_request(format!("`reach` must be between 1 and {}", REACHES[3].1)).into());
    }
    let report = wanted.window.or(standing.last.as_ref().map(|last| last.report));
    let head = |title: &Markup| {
        html! {
            (crumbs(&[("/", "Models")]))
            div.title { h1 { (model) } (title) }
            (tabs(&model, Tab::Drift))
        }
    };
    let Some(report) = report else {
        let body = html! {
            (head(&html! {}))
            (empty(
                "No window has been judged yet",
                "A window is judged once it is complete: when predictions of the next one have come and its lateness is over.",
                &[
                    ("What driftline says of the model", &format!("driftline check -m {model}")),
                    ("Make or replace its baseline", &format!("driftline baseline build -m {model} reference.parquet")),
                ],
            ))
        };
        return Ok(View { title: model.to_string(), place: Place::Models, body, now });
    };
    let found = store::drift_report::findings(&app.db, report).await?;
    let found = found.filter(|found| found.model == model);
    let found = found.ok_or_else(|| ApiError::NotFound(format!("report {report} of model `{model}`")))?;
    let windows = drift_series::windows(&app.db, &model, None, reach).await?;
    let series = drift_series::series(&app.db, &model, found.window_start, reach).await?;
    let importance = store::model_version::importance(&app.db, &model).await?;
    let is_newest = standing.last.as_ref().is_some_and(|last| last.report == report);
    let body = html! {
        (head(&words::verdict(found.verdict)))
        @if !is_newest {
            p.notice { "This is an earlier window. " a href={ "/models/" (model) } { "Show the newest" } }
        }
        p.lead { (sentence(&found.reason)) }
        (facts(&found, &standing))
        @if app.training.contains_key(&model) && standing.run.is_none() { (actions::forms(&caller, &[retrain_act(&model)])) }
        section {
            h2 { "The largest effect, window by window" }
            (reaches(&model, reach))
            (history(&windows, report))
        }
        (columns(&model, report, &found, &series, &importance, &wanted, is_newest))
        (beside(&found))
        (recent(&model, &windows, report))
    };
    Ok(View { title: model.to_string(), place: Place::Models, body, now })
}

/// Asks for a training run.
pub(super) fn retrain_act(model: &ModelName) -> Act<'static> {
    let does = "Queues a training run on the newest labelled rows; what comes out has to beat what is in production.";
    Act::new("Retrain now", does, format!("/models/{model}/retrain"))
}

fn facts(report: &DriftReport, standing: &ModelStanding) -> Markup {
    let model = &report.model;
    let drifted = report.drifted_segments().count();
    html! {
        dl.facts {
            (fact("Window", &html! { (words::window(report.window_start, report.window_end)) small { (grouped(report.rows)) " rows" } }))
            (fact("Lost on the way", &html! {
                a href="/system" { (percent(report.losses.share())) }
                small { "trusted up to " (percent(report.criteria.loss_limit)) }
            }))
            (fact("Compared with", &html! {
                a href={ "/models/" (model) "/baselines" } { "baseline " code { (report.baseline) } }
                small { (grouped(report.rows_reference)) " rows" }
            }))
            (fact("In production", &words::version(&format!("/models/{model}"), standing.production)))
            (fact("Alerts", &html! { a href={ "/models/" (model) "/alerts" } { (standing.firing) " firing, " (standing.pending) " pending" } }))
            @if let Some(verdict) = report.expectations_verdict {
                (fact("Expectations", &html! { a href={ "/models/" (model) "/expectations" } { (words::state(verdict.as_str())) } }))
            }
            @if let Some(traffic) = &report.traffic {
                (fact("Traffic", &html! { a href={ "/models/" (model) "/traffic" } { (words::state(traffic.verdict.as_str())) } }))
            }
            @if !report.segments.is_empty() {
                (fact("Segments", &html! { a href={ "/models/" (model) "/segments" } { (drifted) " of " (report.segments.len()) " drifted" } }))
            }
        }
    }
}

fn reaches(model: &ModelName, present: i64) -> Markup {
    html! {
        ul.choices aria-label="How far back" {
            @for (text, reach) in REACHES {
                li {
                    a href={ "/models/" (model) "?reach=" (reach) } aria-current=[(reach == present).then_some("true")] {
                        (text) " windows"
                    }
                }
            }
        }
    }
}

fn history(windows: &[WindowSummary], here: Uuid) -> Markup {
    let dots: Vec<Dot> = windows
        .iter()
        .rev()
        .map(|window| Dot {
            at: window.start,
            value: window.effect,
            verdict: window.verdict,
            here: window.report == here,
        })
        .collect();
    charts::history(&dots, 1.0, "Effect in units of its floor")
}

/// One line of the list.
struct Line<'a> {
    column: &'a ColumnName,
    effect: Option<f64>,
    verdict: Verdict,
    importance: Option<f64>,
    cells: Vec<Cell>,
    reason: Option<&'a str>,
}

impl Line<'_> {
    /// Drift first, then effect times importance.
    fn rank(&self, average: f64) -> (bool, f64) {
        let weight = self.importance.map_or(1.0, |share| if average > 0.0 { share / average } else { 1.0 });
        (self.verdict == Verdict::Drift, self.effect.unwrap_or(-1.0) * weight)
    }
}

fn lines<'a>(
    report: &'a DriftReport,
    series: &'a Series,
    importance: &BTreeMap<String, f64>,
) -> Vec<Line<'a>> {
    let Some(present) = series.windows.last() else { return Vec::new() };
    let Some(columns) = series.columns.get(&present.baseline) else { return Vec::new() };
    let reasons: HashMap<&str, &str> =
        report.features.iter().map(|feature| (feature.name.as_str(), feature.reason.as_str())).collect();
    let places: HashMap<&str, HashMap<&str, usize>> = series
        .columns
        .iter()
        .map(|(baseline, columns)| {
            let places = columns.iter().enumerate().map(|(place, column)| (column.name.as_str(), place));
            (baseline.as_str(), places.collect())
        })
        .collect();
    let per_cell = series.windows.len().div_ceil(STRIP).max(1);
    let line = |(place, column): (usize, &'a ColumnName)| {
        let of_window = |window: &drift_series::WindowColumns| {
            let place = if window.baseline == present.baseline {
                Some(place)
            } else {
                places
                    .get(window.baseline.as_str())
                    .and_then(|places| places.get(column.name.as_str()))
                    .copied()
            };
            place.map_or_else(Cell::default, |place| Cell {
                effect: window.effects.get(place).copied().flatten(),
                verdict: window.verdict(place),
            })
        };
        let cells = series.windows.chunks(per_cell);
        Line {
            column,
            effect: present.effects.get(place).copied().flatten().map(f64::from),
            verdict: present.verdict(place).unwrap_or(Verdict::InsufficientData),
            importance: importance.get(&column.name).copied(),
            cells: cells
                .map(|windows| windows.iter().map(of_window).fold(Cell::default(), Cell::or))
                .collect(),
            reason: reasons.get(column.name.as_str()).copied(),
        }
    };
    let mut lines: Vec<Line<'_>> = columns.iter().enumerate().map(line).collect();
    let average = if importance.is_empty() { 0.0 } else { 1.0 / importance.len() as f64 };
    lines.sort_by(|a, b| {
        let (a, b) = (a.rank(average), b.rank(average));
        b.0.cmp(&a.0).then_with(|| b.1.total_cmp(&a.1))
    });
    lines
}

fn columns(
    model: &ModelName,
    id: Uuid,
    report: &DriftReport,
    series: &Series,
    importance: &BTreeMap<String, f64>,
    wanted: &Wanted,
    is_newest: bool,
) -> Markup {
    let mut lines = lines(report, series, importance);
    let all = lines.len();
    let find = wanted.find.to_lowercase();
    lines.retain(|line| line.column.name.to_lowercase().contains(&find));
    let found = lines.len();
    if !wanted.all {
        lines.truncate(LISTED);
    }
    let ranked = if importance.is_empty() { "effect" } else { "effect × importance" };
    let most = importance.values().copied().fold(0.0, f64::max);
    let window = if is_newest { String::new() } else { format!("&window={id}") };
    html! {
        section {
            div.section-head {
                h2 #columns { "Columns by " (ranked) }
                form.find method="get" role="search" {
                    label for="find" { "Find a column" }
                    input #find type="search" name="find" value=(wanted.find) data-filter="#column-list tr[data-name]"
                        autocomplete="off" spellcheck="false" maxlength="200";
                }
            }
            @if lines.is_empty() {
                p { "No column has “" (wanted.find) "” in its name. " a href={ "/models/" (model) } { "Show all " (all) } }
            } @else {
                (scrolling("Columns of the model", &html! {
                    table.columns {
                        thead { tr {
                            th scope="col" { "column" }
                            th scope="col" { "verdict" }
                            th scope="col" { "effect" }
                            @if !importance.is_empty() { th scope="col" { "importance" } }
                            th scope="col" { "last " (series.windows.len()) " windows" }
                        } }
                        tbody #column-list {
                            @for line in &lines {
                                tr data-name=(line.column.name) {
                                    th scope="row" {
                                        a href={ "/models/" (model) "/feature?name=" (encode(&line.column.name)) (window) } { (line.column.name) }
                                        small { (line.column.kind) @if line.column.role != "feature" { ", " (line.column.role) } }
                                    }
                                    td {
                                        (words::verdict(line.verdict))
                                        @if let Some(reason) = line.reason.filter(|_| line.verdict != Verdict::Drift) { small.why title=(reason) { "why" } }
                                    }
                                    td.effect {
                                        @if let Some(effect) = line.effect { (words::times_floor(effect)) (charts::effect_bar(effect, line.verdict == Verdict::Drift)) } @else { "–" }
                                    }
                                    @if !importance.is_empty() {
                                        td.effect {
                                            @if let Some(share) = line.importance {
                                                (percent(share)) (charts::share_bar(if most > 0.0 { share / most } else { 0.0 }))
                                            } @else { "–" }
                                        }
                                    }
                                    td.strip-cell { (charts::strip(&line.cells)) }
                                }
                            }
                        }
                    }
                }))
                p.legend {
                    "Effect: the deciding statistic in units of the floor it has to reach, | marks 1. "
                    "Strip: tall marks are drift, lower ones come near or over the floor without being significant, dots say too little."
                }
                @if found > lines.len() {
                    p { a.more href={ "/models/" (model) "?all=true&find=" (encode(&wanted.find)) "#columns" } { "Show all " (grouped(found as u64)) " columns" } }
                }
            }
        }
    }
}

/// What stands beside the verdict and changes none of it.
fn beside(report: &DriftReport) -> Markup {
    if report.schema_changes.is_empty() && report.joint.is_none() {
        return html! {};
    }
    html! {
        section {
            h2 { "Beside the verdict" }
            ul.notes {
                @for change in &report.schema_changes { li { "Schema: " (sentence(&change.sentence())) } }
                @if let Some(joint) = &report.joint {
                    li {
                        (sentence(&joint.reason))
                        @if !joint.weights.is_empty() {
                            " Strongest: "
                            @for (place, column) in joint.weights.iter().enumerate() {
                                @if place > 0 { ", " }
                                a href={ "/models/" (report.model) "/feature?name=" (encode(&column.name)) } { (column.name) }
                            }
                            "."
                        }
                    }
                }
            }
        }
    }
}

fn recent(model: &ModelName, windows: &[WindowSummary], here: Uuid) -> Markup {
    html! {
        section {
            h2 { "Windows" }
            (scrolling("The newest windows", &html! {
                table.windows {
                    thead { tr {
                        th scope="col" { "window" } th scope="col" { "verdict" } th.n scope="col" { "rows" }
                        th.n scope="col" { "lost" } th scope="col" { "why" }
                    } }
                    tbody {
                        @for window in windows.iter().take(RECENT) {
                            tr.here[window.report == here] {
                                th scope="row" {
                                    a href={ "/models/" (model) "?window=" (window.report) }
                                        aria-current=[(window.report == here).then_some("true")] { (words::window(window.start, window.end)) }
                                }
                                td { (words::verdict(window.verdict)) }
                                td.n { (grouped(window.rows)) }
                                td.n { (percent(window.loss_share)) }
                                td.reason { (sentence(&window.reason)) }
                            }
                        }
                    }
                }
            }))
        }
    }
}
