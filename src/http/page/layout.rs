//! What all views share: the frame of a document, its navigation, and small pieces.

use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use chrono::{DateTime, Utc};
use maud::{DOCTYPE, Markup, html};

use super::assets;
use crate::http::ApiError;
use crate::model::ModelName;

/// Which entry of the navigation is the present one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Models,
    Alerts,
    Runs,
    System,
    None,
}

/// A view inside its frame.
pub(super) struct View {
    pub(super) title: String,
    pub(super) place: Place,
    pub(super) body: Markup,
    /// When it was made.
    pub(super) now: DateTime<Utc>,
}

impl IntoResponse for View {
    fn into_response(self) -> Response {
        let markup = frame(&self);
        ([(header::CACHE_CONTROL, "no-store")], Html(markup.into_string())).into_response()
    }
}

fn frame(view: &View) -> Markup {
    let entries = [
        (Place::Models, "/", "Models"),
        (Place::Alerts, "/alerts", "Alerts"),
        (Place::Runs, "/runs", "Training"),
        (Place::System, "/system", "System"),
    ];
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (view.title) " · driftline" }
                link rel="icon" type="image/svg+xml" href=(assets::icon());
                link rel="stylesheet" href=(assets::style());
                script src=(assets::script()) defer {}
            }
            body {
                a.skip href="#content" { "Skip to the content" }
                header.bar {
                    a.brand href="/" {
                        svg viewBox="0 0 24 24" aria-hidden="true" {
                            path.mark-a d="M2 17c4 0 5-9 9-9s4 6 11 6" {}
                            path.mark-b d="M2 12h20" {}
                        }
                        "driftline"
                    }
                    nav aria-label="Main" {
                        @for (place, address, name) in entries {
                            a href=(address) aria-current=[(place == view.place).then_some("page")] { (name) }
                        }
                    }
                    span #live .live role="status" aria-live="off" hidden { "live" }
                }
                main #content tabindex="-1" { (view.body) }
                footer.foot {
                    span { "driftline " (env!("CARGO_PKG_VERSION")) }
                    span { "Times are UTC. Made at " (view.now.format("%F %T")) "." }
                }
            }
        }
    }
}

/// A failure as a page.
pub(super) struct PageError(ApiError);

impl<E: Into<ApiError>> From<E> for PageError {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        let text = self.0.to_string();
        let status = self.0.into_response().status();
        let (title, hint) = match status {
            StatusCode::NOT_FOUND => ("Not found", "It may have been removed, or the address has a typo."),
            StatusCode::SERVICE_UNAVAILABLE => {
                ("The database is away", "Predictions pass without it. This page comes back with it.")
            }
            StatusCode::BAD_REQUEST => {
                ("This address cannot be read", "Go back and try again from the page.")
            }
            StatusCode::INTERNAL_SERVER_ERROR => ("Something went wrong here", "The log says what."),
            _ => ("This did not work", "Go back and try again from the page."),
        };
        let body = html! {
            h1 { (title) }
            p.lead { (super::words::sentence(&text)) }
            p { (hint) " " a href="/" { "All models" } }
        };
        let view =
            View { title: title.to_owned(), place: Place::None, body, now: DateTime::<Utc>::UNIX_EPOCH };
        let mut document = frame(&view).into_string();
        // There is no clock here, and no need for one.
        if let Some(at) = document.find("<span>Times are UTC.") {
            document.truncate(at);
            document.push_str("</footer></body></html>");
        }
        (status, [(header::CACHE_CONTROL, "no-store")], Html(document)).into_response()
    }
}

/// The views of one model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tab {
    Drift,
    Segments,
    Expectations,
    Traffic,
    Alerts,
    Runs,
    Versions,
    Baselines,
}

/// The links between the views of `model`; `window` keeps the window that is looked at.
pub(super) fn tabs(model: &ModelName, present: Tab) -> Markup {
    let entries = [
        (Tab::Drift, "", "Drift"),
        (Tab::Segments, "/segments", "Segments"),
        (Tab::Expectations, "/expectations", "Expectations"),
        (Tab::Traffic, "/traffic", "Traffic"),
        (Tab::Alerts, "/alerts", "Alerts"),
        (Tab::Runs, "/runs", "Training"),
        (Tab::Versions, "/versions", "Versions"),
        (Tab::Baselines, "/baselines", "Baselines"),
    ];
    html! {
        nav.tabs aria-label={ "Views of " (model) } {
            @for (tab, path, name) in entries {
                a href={ "/models/" (model) (path) } aria-current=[(tab == present).then_some("page")] { (name) }
            }
        }
    }
}

/// Where one is: links from the overview down.
pub(super) fn crumbs(links: &[(&str, &str)]) -> Markup {
    html! {
        nav.crumbs aria-label="Where you are" {
            ol { @for (address, name) in links { li { a href=(address) { (name) } } } }
        }
    }
}

/// What to do where there is nothing to show.
pub(super) fn empty(title: &str, text: &str, commands: &[(&str, &str)]) -> Markup {
    html! {
        section.empty {
            h2 { (title) }
            p { (text) }
            @if !commands.is_empty() {
                dl {
                    @for (purpose, command) in commands {
                        dt { (purpose) }
                        dd { code.command tabindex="0" { (command) } }
                    }
                }
            }
        }
    }
}

/// A name and its value, for lists of facts.
pub(super) fn fact(name: &str, value: &Markup) -> Markup {
    html! { div { dt { (name) } dd { (value) } } }
}

/// A table that scrolls by itself where it is too wide, and can be reached by keyboard for that.
pub(super) fn scrolling(label: &str, table: &Markup) -> Markup {
    html! { div.scroll role="region" aria-label=(label) tabindex="0" { (table) } }
}
