//! The page at the admin port: what a person sees of models, alerts, runs and the watch itself.

use axum::Router;
use axum::routing::get;

use super::AppState;

mod actions;
mod alerts;
mod assets;
mod baselines;
mod charts;
mod feature;
mod judged;
mod layout;
mod model;
mod overview;
mod runs;
mod system;
mod versions;
mod words;

pub(super) use assets::style;

/// The addresses of the page.
pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/", get(overview::show))
        .route("/assets/{name}", get(assets::file))
        .route("/models/{model}", get(model::show))
        .route("/models/{model}/feature", get(feature::show))
        .route("/models/{model}/segments", get(judged::segments))
        .route("/models/{model}/expectations", get(judged::expectations))
        .route("/models/{model}/traffic", get(judged::traffic))
        .route("/models/{model}/alerts", get(alerts::of_model))
        .route("/models/{model}/runs", get(runs::of_model))
        .route("/models/{model}/versions", get(versions::list))
        .route("/models/{model}/versions/{version}", get(versions::show))
        .route("/models/{model}/baselines", get(baselines::list))
        .route("/alerts", get(alerts::list))
        .route("/alerts/{id}", get(alerts::show))
        .route("/runs", get(runs::list))
        .route("/runs/{run}", get(runs::show))
        .route("/system", get(system::show))
        .merge(actions::routes())
}
