//! The watch itself: the loss identity of the tap, what is wrong, messages on their way.

use axum::extract::State;
use chrono::{DateTime, TimeDelta, Utc};
use maud::{Markup, html};

use super::layout::{PageError, Place, View, fact, scrolling};
use super::words::{self, sentence};
use crate::drawing::{grouped, percent};
use crate::drift::Losses;
use crate::http::AppState;
use crate::http::auth::Caller;
use crate::store::operation::{self, Operation};
use crate::store::{internal_fault, outbox, profile_part};

/// Operations that are listed.
const OPERATIONS: i64 = 20;

/// How far back exchanges are counted.
const SINCE: TimeDelta = TimeDelta::hours(24);

/// The state of the tap and of driftline.
pub(super) async fn show(State(app): State<AppState>, caller: Caller) -> Result<View, PageError> {
    let now = (app.now)();
    let faults = internal_fault::rows(&app.db).await?;
    let losses = profile_part::losses_since(&app.db, now - SINCE).await?;
    let messages = outbox::counts(&app.db).await?;
    let errors = outbox::last_errors(&app.db).await?;
    let operations = operation::list(&app.db, None, None, OPERATIONS).await?;
    let body = html! {
        h1 { @if faults.is_empty() { "The watch is well" } @else { "Something is wrong with the watch" } }
        @if !faults.is_empty() {
            section {
                h2 { "What is wrong" }
                (scrolling("Faults", &html! {
                    table {
                        thead { tr { th scope="col" { "fault" } th scope="col" { "detail" } th scope="col" { "process" } th scope="col" { "last seen" } } }
                        tbody {
                            @for fault in &faults {
                                tr {
                                    th scope="row" { (words::badge(words::Tone::Bad, &fault.fault.replace('_', " "))) }
                                    td { (sentence(&fault.detail)) } td { (fault.replica) } td { (words::ago(fault.updated_at, now)) }
                                }
                            }
                        }
                    }
                }))
            }
        }
        section {
            h2 { "Where exchanges went, by model, in what was written in the last 24 hours" }
            p.legend { "Each exchange is exactly one of: kept, left out by sampling, or lost for a reason. What is missing from the sum is still under way." }
            @if losses.is_empty() { p { "Nothing was written. Send predictions through the proxy, or post them to " code { "/v1/predictions" } "." } }
            @else { (identity(&losses)) }
        }
        section {
            h2 { "Messages" }
            @if messages.is_empty() { p { "None has been written." } }
            @else {
                (scrolling("Messages by receiver", &html! {
                    table {
                        thead { tr { th scope="col" { "receiver" } th scope="col" { "state" } th.n scope="col" { "messages" } th scope="col" { "last error" } } }
                        tbody {
                            @for count in &messages {
                                tr {
                                    th scope="row" { (count.receiver) } td { (words::state(&count.state)) } td.n { (count.messages) }
                                    td.reason { @if count.state != "sent" { @for (_, error) in errors.iter().filter(|(receiver, _)| *receiver == count.receiver) { (error) } } }
                                }
                            }
                        }
                    }
                }))
            }
        }
        section { h2 { "What people did" } (done(&operations, now)) }
        section { h2 { "You" } (super::actions::who(&caller)) }
        section {
            h2 { "For other programs" }
            dl.facts {
                (fact("Metrics", &html! { a href="/metrics" { code { "/metrics" } } }))
                (fact("Alive", &html! { a href="/livez" { code { "/livez" } } }))
                (fact("Ready", &html! { a href="/readyz" { code { "/readyz" } } }))
            }
        }
    };
    Ok(View { title: "System".to_owned(), place: Place::System, body, now })
}

fn done(operations: &[Operation], now: DateTime<Utc>) -> Markup {
    if operations.is_empty() {
        return html! { p { "Nobody has promoted, rolled back, approved, cancelled or asked for anything yet." } };
    }
    scrolling(
        "What people did",
        &html! {
            table {
                thead { tr { th scope="col" { "what" } th scope="col" { "model" } th scope="col" { "version or run" } th scope="col" { "who" }
                             th scope="col" { "why" } th scope="col" { "when" } } }
                tbody {
                    @for act in operations {
                        tr {
                            th scope="row" { (act.action) } td { a href={ "/models/" (act.model) } { (act.model) } }
                            td { @if act.subject.len() == 36 { a href={ "/runs/" (act.subject) } { "run" } } @else { (act.subject) } }
                            td { (act.by) } td.reason { (act.reason) } td { (words::ago(act.at, now)) }
                        }
                    }
                }
            }
        },
    )
}

fn identity(losses: &[(String, Losses)]) -> Markup {
    scrolling(
        "The loss identity",
        &html! {
            table {
                thead { tr {
                    th scope="col" { "model" } th.n scope="col" { "seen" } th.n scope="col" { "kept" } th.n scope="col" { "sampled out" }
                    th.n scope="col" { "loss share" } th scope="col" { "lost, by reason" }
                } }
                tbody {
                    @for (model, losses) in losses {
                        tr {
                            th scope="row" { a href={ "/models/" (model) } { (model) } }
                            td.n { (grouped(losses.seen)) } td.n { (grouped(losses.kept)) } td.n { (grouped(losses.sampled_out)) }
                            td.n { (percent(losses.share())) }
                            td {
                                @if losses.dropped.is_empty() { "nothing" }
                                @for (place, (reason, count)) in losses.dropped.iter().enumerate() {
                                    @if place > 0 { ", " } (grouped(*count)) " " (reason.replace('_', " "))
                                }
                            }
                        }
                    }
                }
            }
        },
    )
}
