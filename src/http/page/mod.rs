//! The page at the admin port: what a person sees of models, alerts, runs and the watch itself.

use axum::Router;
use axum::routing::get;

use super::AppState;

mod assets;
mod charts;
mod feature;
mod layout;
mod model;
mod overview;
mod words;

/// The addresses of the page.
pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/", get(overview::show))
        .route("/assets/{name}", get(assets::file))
        .route("/models/{model}", get(model::show))
        .route("/models/{model}/feature", get(feature::show))
}
