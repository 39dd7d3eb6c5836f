//! Training runs: those that there are, and one as it goes on.

use std::fmt::Write;

use axum::extract::{Path, Query, State};
use chrono::{DateTime, Utc};
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::Value as Json;
use uuid::Uuid;

use super::actions::{self, Act};
use super::layout::{PageError, Place, Tab, View, crumbs, empty, fact, scrolling, tabs};
use super::model::{name, retrain_act, standing};
use super::words::{self, sentence};
use crate::drawing::{coordinate, short};
use crate::http::auth::Caller;
use crate::http::{ApiError, AppState};
use crate::model::ModelName;
use crate::retrain::RunState;
use crate::store::training_log::{self, LogLine, Metric};
use crate::store::training_run::{self, RunError, TrainingRun};

/// Runs of one list.
const LISTED: u32 = 100;

/// Lines of a log; the first ones are left out.
const LINES: usize = 400;

/// Parameters that only name the model elsewhere.
#[derive(Deserialize)]
pub(super) struct Wanted {
    model: Option<String>,
}

/// The newest runs.
pub(super) async fn list(
    State(app): State<AppState>,
    Query(wanted): Query<Wanted>,
) -> Result<View, PageError> {
    let now = (app.now)();
    let model = wanted.model.as_deref().map(name).transpose()?;
    let runs = training_run::list(&app.db, model.as_ref(), LISTED).await?;
    let body = html! { h1 { "Training runs" } (table(&runs, now, true)) };
    Ok(View { title: "Training".to_owned(), place: Place::Runs, body, now })
}

/// The newest runs of one model.
pub(super) async fn of_model(
    State(app): State<AppState>,
    Path(model): Path<String>,
    caller: Caller,
) -> Result<View, PageError> {
    let (model, now): (ModelName, _) = (name(&model)?, (app.now)());
    let standing = standing(&app, &model).await?;
    let runs = training_run::list(&app.db, Some(&model), LISTED).await?;
    let address = format!("/models/{model}");
    let body = html! {
        (crumbs(&[("/", "Models"), (&address, model.as_str())]))
        h1 { "Training" }
        (tabs(&model, Tab::Runs))
        @if app.training.contains_key(&model) && standing.run.is_none() { (actions::forms(&caller, &[retrain_act(&model)])) }
        (table(&runs, now, false))
    };
    Ok(View { title: format!("Training of {model}"), place: Place::Models, body, now })
}

fn table(runs: &[TrainingRun], now: DateTime<Utc>, with_model: bool) -> Markup {
    if runs.is_empty() {
        return empty(
            "No training run yet",
            "A run begins when a rule with `retrain` fires, or when somebody asks for it.",
            &[
                ("Ask for one", "retrain now -m MODEL --reason \"fresh labels\""),
                ("A worker carries runs out", "driftline-trainer work"),
            ],
        );
    }
    scrolling(
        "Training runs",
        &html! {
            table {
                thead { tr {
                    th scope="col" { "run" } th scope="col" { "state" } @if with_model { th scope="col" { "model" } }
                    th scope="col" { "asked for" } th scope="col" { "took" } th scope="col" { "because" } th scope="col" { "outcome" }
                } }
                tbody {
                    @for run in runs {
                        tr {
                            th scope="row" { a href={ "/runs/" (run.id) } { code { (tail(run.id)) } } }
                            td { (words::state(run.state.as_str())) }
                            @if with_model { td { a href={ "/models/" (run.model) } { (run.model) } } }
                            td { (words::ago(run.created_at, now)) }
                            td { @if let Some(started) = run.started_at { (words::span_text(run.finished_at.unwrap_or(now) - started)) } }
                            td.reason { (run.reason_kind) ": " (run.reason) }
                            td.reason { (run.outcome.as_deref().unwrap_or("")) }
                        }
                    }
                }
            }
        },
    )
}

/// The end of an id, which is random where its beginning is the time.
fn tail(id: Uuid) -> String {
    let text = id.to_string();
    text.rsplit('-').next().map_or_else(|| text.clone(), |last| format!("…{last}"))
}

/// One run.
pub(super) async fn show(
    State(app): State<AppState>,
    Path(id): Path<String>,
    caller: Caller,
) -> Result<View, PageError> {
    let now = (app.now)();
    let id: Uuid = id.parse().map_err(|_| ApiError::bad_request(format!("`{id}` is not the id of a run")))?;
    let run = match training_run::show(&app.db, id).await {
        Ok(run) => run,
        Err(RunError::Unknown(id)) => return Err(ApiError::NotFound(format!("run {id}")).into()),
        Err(error) => return Err(ApiError::internal(&error).into()),
    };
    let epochs = training_log::metrics(&app.db, id, -1).await?;
    let evaluation = training_log::evaluation(&app.db, id).await?;
    let lines = training_log::lines(&app.db, id, 0).await?;
    let address = format!("/models/{}", run.model);
    let runs = format!("{address}/runs");
    let body = html! {
        (crumbs(&[("/", "Models"), (&address, &run.model), (&runs, "Training")]))
        div.title { h1 { "Training run " code { (tail(run.id)) } } (words::state(run.state.as_str())) }
        p.lead { (lead(&run)) }
        (actions::forms(&caller, &acts(&run)))
        dl.facts {
            (fact("Because", &html! { (run.reason_kind) ": " (run.reason) }))
            (fact("Asked for", &words::time(run.created_at)))
            @if let Some(started) = run.started_at {
                (fact("Started", &html! { (words::time(started)) small { "took " (words::span_text(run.finished_at.unwrap_or(now) - started)) } }))
            }
            @if let Some(worker) = &run.worker { (fact("Worker", &html! { (worker) @if run.attempt > 1 { small { "attempt " (run.attempt) } } })) }
            @if let Some(version) = run.version { (fact("Registered", &html! { a href={ (address) "/versions/" (version) } { "version " (version) } })) }
        }
        (progress(&run))
        @if epochs.iter().any(|metric| metric.epoch >= 0) { section { h2 { "Loss by epoch" } (epoch_chart(&epochs)) } }
        @if !evaluation.is_empty() { section { h2 { "On the rows that were held out" } (scores(&evaluation)) } }
        section { h2 { "Log" } (log(&lines)) }
        section { details #spec { summary { "The specification that it was frozen with" } pre tabindex="0" { code { (pretty(&run.spec)) } } } }
    };
    Ok(View { title: format!("Run {} of {}", tail(run.id), run.model), place: Place::Runs, body, now })
}

/// What may be done with a run as it stands.
fn acts(run: &TrainingRun) -> Vec<Act<'static>> {
    let mut acts = Vec::new();
    if matches!(run.state, RunState::Suggested | RunState::AwaitingApproval) {
        acts.push(Act::new(
            "Approve",
            "Releases the run: the next worker takes it.",
            format!("/runs/{}/approve", run.id),
        ));
    }
    if !run.state.is_final() && !run.cancel_requested {
        acts.push(Act::new(
            "Cancel",
            "Ends the run, or asks its worker to stop.",
            format!("/runs/{}/cancel", run.id),
        ));
    }
    acts
}

/// Where the run stands, in a sentence.
fn lead(run: &TrainingRun) -> String {
    match (run.state, &run.outcome) {
        (_, Some(outcome)) => sentence(outcome),
        (RunState::Suggested, None) => {
            "A rule suggests it; nothing happens until somebody approves it.".to_owned()
        }
        (RunState::AwaitingApproval, None) => "It waits for somebody to approve it.".to_owned(),
        (RunState::Queued, None) => "It waits for a worker: `driftline-trainer work` takes it.".to_owned(),
        (RunState::Running, None) if run.cancel_requested => "Its worker has been asked to stop.".to_owned(),
        (RunState::Running, None) => "A worker trains it.".to_owned(),
        (state, None) => sentence(state.as_str()),
    }
}

fn progress(run: &TrainingRun) -> Markup {
    if run.state != RunState::Running {
        return html! {};
    }
    let number = |key: &str| run.progress.get(key).and_then(Json::as_u64);
    let candidate = run.progress.get("candidate").and_then(Json::as_str).unwrap_or("beginning");
    html! {
        section {
            h2 { "Under way: " (candidate) }
            @if let (Some(epoch), Some(most)) = (number("epoch"), number("max_epochs")) {
                progress max=(most) value=(epoch) aria-label="Epochs" {}
                p { "Epoch " (epoch) " of at most " (most) @if let Some(eta) = number("eta_seconds") { ", " (eta) " s left at most" } "." }
            }
        }
    }
}

/// Training and validation loss over the epochs.
fn epoch_chart(metrics: &[Metric]) -> Markup {
    let of = |split: &str| -> Vec<(i32, f64)> {
        let found = metrics
            .iter()
            .filter(|metric| metric.split == split && metric.name == "loss" && metric.epoch >= 0);
        found.map(|metric| (metric.epoch, metric.value)).collect()
    };
    let (train, validation) = (of("train"), of("validation"));
    let all = || train.iter().chain(&validation);
    let last = all().map(|(epoch, _)| *epoch).max().unwrap_or(1).max(1);
    let top = all().map(|(_, loss)| *loss).fold(0.0, f64::max);
    let low = all().map(|(_, loss)| *loss).fold(f64::INFINITY, f64::min);
    let path = |points: &[(i32, f64)]| {
        let span = if top > low { top - low } else { 1.0 };
        let mut path = String::new();
        for (index, (epoch, loss)) in points.iter().enumerate() {
            let (x, y) =
                (f64::from(*epoch) / f64::from(last) * 712.0 + 4.0, 174.0 - (loss - low) / span * 166.0);
            let command = if index == 0 { 'M' } else { 'L' };
            let _always_ok = write!(path, "{command}{} {}", coordinate(x), coordinate(y));
        }
        path
    };
    let best = validation.iter().min_by(|a, b| a.1.total_cmp(&b.1));
    let label = format!(
        "Loss over {last} epochs, from {} down to {}{}",
        short(top),
        short(low),
        best.map(|(epoch, loss)| format!("; the best on validation is {} in epoch {epoch}", short(*loss)))
            .unwrap_or_default()
    );
    html! {
        figure.history {
            div.plot {
                div.scale aria-hidden="true" { span { (short(top)) } span { (short(low)) } }
                svg.chart viewBox="0 0 720 180" preserveAspectRatio="none" role="img" aria-label=(label) {
                    path.line.train d=(path(&train)) {}
                    path.line.validation d=(path(&validation)) {}
                }
            }
            div.axis aria-hidden="true" { span { "epoch 0" } span { "epoch " (last) } }
            figcaption {
                span.key-reference { "training" } span.key-current { "validation" }
                @if let Some((epoch, loss)) = best { span { "Best on validation: " (short(*loss)) " in epoch " (epoch) "." } }
            }
        }
    }
}

/// Every candidate's metrics with their intervals, as a table.
fn scores(evaluation: &[Metric]) -> Markup {
    let find = |candidate: &str, name: &str| {
        evaluation
            .iter()
            .find(|metric| metric.candidate == candidate && metric.name == name)
            .map(|metric| metric.value)
    };
    let measured: Vec<(&Metric, f64, f64)> = evaluation
        .iter()
        .filter_map(|metric| {
            let end = |end: &str| find(&metric.candidate, &format!("{}_{end}", metric.name));
            Some((metric, end("lower")?, end("upper")?))
        })
        .collect();
    scrolling(
        "Metrics of the candidates",
        &html! {
            table {
                thead { tr { th scope="col" { "candidate" } th scope="col" { "metric" } th.n scope="col" { "held-out value" } th.n scope="col" { "95 % interval" } } }
                tbody {
                    @for (metric, lower, upper) in measured {
                        tr {
                            th scope="row" { (metric.candidate) } td { (metric.name) }
                            td.n { (short(metric.value)) } td.n { (short(lower)) " to " (short(upper)) }
                        }
                    }
                }
            }
        },
    )
}

fn log(lines: &[LogLine]) -> Markup {
    let left_out = lines.len().saturating_sub(LINES);
    html! {
        @if lines.is_empty() { p { "Nothing yet." } }
        @else {
            @if left_out > 0 { p { (left_out) " earlier lines are left out: " code { "retrain logs" } " shows them." } }
            pre.log tabindex="0" aria-label="Log of the run" {
                @for line in &lines[left_out..] {
                    span.(line.level) { (line.at.format("%T")) "  " @if line.level != "info" { (line.level) ": " } (line.message) "\n" }
                }
            }
        }
    }
}

/// JSON as people read it.
pub(super) fn pretty(value: &Json) -> String {
    serde_json::to_string_pretty(value).unwrap_or_else(|_| value.to_string())
}
