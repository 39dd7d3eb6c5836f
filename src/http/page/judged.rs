//! What a window's report says beside drift over all rows: segments, expectations, traffic.

use axum::extract::{Path, Query, State};
use maud::{Markup, html};
use serde::Deserialize;
use uuid::Uuid;

use super::charts;
use super::layout::{PageError, Place, Tab, View, crumbs, empty, fact, scrolling, tabs};
use super::model::{name, standing};
use super::words::{self, sentence};
use crate::drawing::{grouped, percent, rounded, short_p};
use crate::drift::{DriftReport, SegmentReport, Verdict};
use crate::expectations::CheckVerdict;
use crate::http::{ApiError, AppState};
use crate::model::ModelName;
use crate::profile::format_number;
use crate::store;
use crate::traffic::TrafficReport;

#[derive(Deserialize)]
pub(super) struct Wanted {
    /// The report; the newest when left out.
    window: Option<Uuid>,
}

/// The report that is looked at; none when no window has been judged.
async fn report(app: &AppState, model: &ModelName, wanted: &Wanted) -> Result<Option<DriftReport>, ApiError> {
    let newest = standing(app, model).await?.last.map(|last| last.report);
    let Some(id) = wanted.window.or(newest) else { return Ok(None) };
    let found = store::drift_report::findings(&app.db, id).await?.filter(|found| found.model == *model);
    found.map(Some).ok_or_else(|| ApiError::NotFound(format!("report {id} of model `{model}`")))
}

fn view(app: &AppState, model: &ModelName, tab: Tab, title: &str, content: &Markup) -> View {
    let address = format!("/models/{model}");
    let body = html! {
        (crumbs(&[("/", "Models"), (&address, model.as_str())]))
        h1 { (title) }
        (tabs(model, tab))
        (content)
    };
    View { title: format!("{title} of {model}"), place: Place::Models, body, now: (app.now)() }
}

fn of_window(report: &DriftReport) -> Markup {
    html! { p.steps { "Window " (words::window(report.window_start, report.window_end)) } }
}

/// Each segment of the window, drifted ones first.
pub(super) async fn segments(
    State(app): State<AppState>,
    Path(model): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Result<View, PageError> {
    let model = name(&model)?;
    let found = report(&app, &model, &wanted).await?.filter(|report| !report.segments.is_empty());
    let Some(mut report) = found else {
        let content = empty(
            "No segments are judged",
            "Drift in one region or one kind of customer can hide in the whole. Name the columns to look into, and each of \
             their values is judged beside all rows, within the same budget of false alarms.",
            &[
                ("In driftline.yaml, under the model", "segments: [region]"),
                ("Then have the settings checked", "driftline check"),
            ],
        );
        return Ok(view(&app, &model, Tab::Segments, "Segments", &content));
    };
    let rank = |segment: &SegmentReport| {
        let effect = segment.strongest().and_then(|column| column.deciding.as_ref());
        (
            segment.verdict == Verdict::Drift,
            effect.map_or(0.0, |deciding| deciding.value / deciding.floor.max(1e-12)),
        )
    };
    report.segments.sort_by(|a, b| {
        let (a, b) = (rank(a), rank(b));
        b.0.cmp(&a.0).then_with(|| b.1.total_cmp(&a.1))
    });
    let content = html! {
        p.lead { (words::counted(report.drifted_segments().count() as u64, "segment", "segments")) " of " (report.segments.len()) " drifted." }
        (of_window(&report))
        (scrolling("Segments of the window", &html! {
            table {
                thead { tr {
                    th scope="col" { "segment" } th scope="col" { "verdict" } th.n scope="col" { "rows" }
                    th scope="col" { "strongest column" } th scope="col" { "effect" } th.n scope="col" { "p adjusted" } th scope="col" { "why" }
                } }
                tbody {
                    @for segment in &report.segments {
                        tr {
                            th scope="row" { (segment.segment) }
                            td { (words::verdict(segment.verdict)) }
                            td.n { (grouped(segment.rows)) }
                            @let strongest = segment.strongest();
                            td { @if let Some(column) = strongest { (column.name) } }
                            td.effect {
                                @if let Some(deciding) = strongest.and_then(|column| column.deciding.as_ref()) {
                                    (words::times_floor(deciding.value / deciding.floor)) (charts::effect_bar(deciding.value / deciding.floor, segment.verdict == Verdict::Drift))
                                }
                            }
                            td.n { @if let Some(p) = strongest.and_then(|column| column.p_adjusted) { (short_p(p)) } }
                            td.reason { (sentence(&segment.reason)) }
                        }
                    }
                }
            }
        }))
    };
    Ok(view(&app, &model, Tab::Segments, "Segments", &content))
}

/// Every check of what the model's owner expects, what is not as expected first.
pub(super) async fn expectations(
    State(app): State<AppState>,
    Path(model): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Result<View, PageError> {
    let model = name(&model)?;
    let found = report(&app, &model, &wanted).await?.filter(|report| !report.expectations.is_empty());
    let Some(mut report) = found else {
        let content = empty(
            "Nothing is expected of this model's data",
            "Expectations are what its owner knows to be true of every row: ranges, values, how much may be missing. They are \
             checked in each window, whatever the baseline says.",
            &[
                (
                    "Propose them from the baseline",
                    &format!("driftline expectations propose -m {model} > expectations.yaml"),
                ),
                ("Name the file in driftline.yaml, under the model", "expectations: expectations.yaml"),
            ],
        );
        return Ok(view(&app, &model, Tab::Expectations, "Expectations", &content));
    };
    report.expectations.sort_by_key(|check| std::cmp::Reverse(check.verdict as u8));
    let violated = report.violated().count() as u64;
    let content = html! {
        p.lead {
            @if let Some(verdict) = report.expectations_verdict { (words::state(verdict.as_str())) " " }
            (words::counted(violated, "check", "checks")) " of " (report.expectations.len()) " violated."
        }
        (of_window(&report))
        (scrolling("Checks of the window", &html! {
            table {
                thead { tr { th scope="col" { "column" } th scope="col" { "check" } th scope="col" { "verdict" }
                             th.n scope="col" { "seen" } th.n scope="col" { "limit" } th scope="col" { "why" } } }
                tbody {
                    @for check in &report.expectations {
                        tr {
                            th scope="row" { (check.column.as_deref().unwrap_or("the window")) }
                            td { (check.check.as_str().replace('_', " ")) }
                            td { (words::state(check.verdict.as_str())) }
                            td.n { @if let Some(seen) = check.observed { (format_number(rounded(seen))) } }
                            td.n { (format_number(rounded(check.limit))) }
                            td.reason { @if check.verdict != CheckVerdict::Ok { (sentence(&check.reason)) } }
                        }
                    }
                }
            }
        }))
    };
    Ok(view(&app, &model, Tab::Expectations, "Expectations", &content))
}

/// How long answers took and how they ended, beside earlier windows.
pub(super) async fn traffic(
    State(app): State<AppState>,
    Path(model): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Result<View, PageError> {
    let model = name(&model)?;
    let report = report(&app, &model, &wanted).await?;
    let Some((report, traffic)) = report.as_ref().and_then(|report| Some((report, report.traffic.as_ref()?)))
    else {
        let content = empty(
            "No traffic was seen",
            "Times, sizes and errors are counted where predictions pass through driftline's proxy; posted events carry none.",
            &[("Put the proxy in front of the model server", "driftline run -c driftline.yaml")],
        );
        return Ok(view(&app, &model, Tab::Traffic, "Traffic", &content));
    };
    let content = html! {
        p.lead { (words::state(traffic.verdict.as_str())) " " (sentence(&traffic.reason)) }
        (of_window(report))
        (figures(traffic))
        section { h2 { "How exchanges ended" } (statuses(traffic)) }
        section { h2 { "Where exchanges went" } (losses(report)) }
    };
    Ok(view(&app, &model, Tab::Traffic, "Traffic", &content))
}

fn figures(traffic: &TrafficReport) -> Markup {
    scrolling(
        "Figures of the traffic",
        &html! {
            table {
                thead { tr { th scope="col" { "figure" } th.n scope="col" { "window" } th.n scope="col" { "earlier windows" }
                             th.n scope="col" { "ratio" } th.n scope="col" { "p adjusted" } } }
                tbody {
                    @for (figure, compared) in &traffic.figures {
                        @let worse = compared.p.is_some_and(|p| p <= traffic.criteria.alpha);
                        tr {
                            th scope="row" { (figure.as_str().replace('_', " ")) @if worse { " " (words::badge(words::Tone::Bad, "worse")) } }
                            td.n { (figure.text(compared.value)) }
                            td.n { @if let Some(before) = compared.baseline { (figure.text(before)) } }
                            td.n { @if let Some(ratio) = compared.ratio { (format!("{ratio:.2}")) } }
                            td.n { @if let Some(p) = compared.p { (short_p(p)) } }
                        }
                    }
                }
            }
        },
    )
}

fn statuses(traffic: &TrafficReport) -> Markup {
    let all: u64 = traffic.statuses.values().sum();
    html! {
        dl.facts {
            @for (status, count) in &traffic.statuses {
                @let status = if *status == 0 { "client went away".to_owned() } else { format!("HTTP {status}") };
                (fact(&status, &html! { (grouped(*count)) small { (percent(*count as f64 / all.max(1) as f64)) } }))
            }
            @for (status, count) in &traffic.grpc_statuses { (fact(&format!("gRPC {status}"), &html! { (grouped(*count)) })) }
        }
    }
}

/// The loss identity of a window.
fn losses(report: &DriftReport) -> Markup {
    let losses = &report.losses;
    html! {
        dl.facts {
            (fact("Seen", &html! { (grouped(losses.seen)) }))
            (fact("Kept", &html! { (grouped(losses.kept)) }))
            (fact("Left out by sampling", &html! { (grouped(losses.sampled_out)) }))
            @for (reason, count) in &losses.dropped { (fact(&reason.replace('_', " "), &html! { (grouped(*count)) })) }
        }
    }
}
