//! Every address of the API, in one list: the router is made of it, and the document is held against it.

use axum::Router;
use axum::handler::Handler;
use axum::routing::{MethodRouter, delete, get, post};

use super::{AppState, alerts, baselines, labels, models, openapi, reports, runs, sink, stream, system};

/// A method of an address, and who answers.
pub(super) struct Route {
    #[cfg_attr(not(test), expect(dead_code, reason = "only a test compares it with the document"))]
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    answers: MethodRouter<AppState>,
}

impl Route {
    pub(super) fn get<H: Handler<T, AppState>, T: 'static>(path: &'static str, handler: H) -> Self {
        Self { method: "get", path, answers: get(handler) }
    }

    pub(super) fn post<H: Handler<T, AppState>, T: 'static>(path: &'static str, handler: H) -> Self {
        Self { method: "post", path, answers: post(handler) }
    }

    pub(super) fn delete<H: Handler<T, AppState>, T: 'static>(path: &'static str, handler: H) -> Self {
        Self { method: "delete", path, answers: delete(handler) }
    }
}

/// A router of these routes.
pub(super) fn router(routes: Vec<Route>) -> Router<AppState> {
    routes.into_iter().fold(Router::new(), |router, route| router.route(route.path, route.answers))
}

/// Every route of the API.
pub(super) fn api() -> Vec<Route> {
    let mut routes = vec![
        Route::get("/livez", async || "ok\n"),
        Route::get("/readyz", super::ready),
        Route::get("/metrics", super::metrics),
        Route::get("/openapi.json", openapi::document),
        Route::get("/docs", openapi::page),
        Route::get("/docs.css", openapi::style),
        Route::get("/v1/system", system::show),
        Route::get("/v1/operations", system::operations),
        Route::get("/v1/stream", stream::changes),
        Route::get("/v1/models", models::list),
        Route::get("/v1/models/{model}", models::show),
        Route::get("/v1/models/{model}/versions", models::versions),
        Route::get("/v1/models/{model}/versions/{version}", models::version),
        Route::post("/v1/models/{model}/versions/{version}/promote", models::promote),
        Route::post("/v1/models/{model}/rollback", models::rollback),
        Route::post("/v1/models/{model}/retrain", models::retrain),
        Route::get("/v1/models/{model}/drift", reports::of_model),
        Route::get("/v1/reports/{report}", reports::show),
        Route::get("/v1/reports/{report}/explain", reports::explain),
        Route::get("/v1/models/{model}/baselines", baselines::list),
        Route::get("/v1/models/{model}/baselines/{baseline}", baselines::show),
        Route::get("/v1/models/{model}/baselines/{baseline}/diff", baselines::diff),
        Route::get("/v1/models/{model}/alerts", alerts::of_model),
        Route::get("/v1/alerts", alerts::list),
        Route::get("/v1/alerts/{id}", alerts::show),
        Route::post("/v1/alerts/{id}/ack", alerts::ack),
        Route::get("/v1/silences", alerts::silences),
        Route::post("/v1/silences", alerts::silence),
        Route::delete("/v1/silences/{id}", alerts::unsilence),
        Route::get("/v1/runs", runs::list),
        Route::get("/v1/runs/{run}", runs::show),
        Route::get("/v1/runs/{run}/log", runs::log),
        Route::get("/v1/runs/{run}/metrics", runs::metrics),
        Route::get("/v1/runs/{run}/events", stream::of_run),
        Route::post("/v1/runs/{run}/approve", runs::approve),
        Route::post("/v1/runs/{run}/cancel", runs::cancel),
        Route::post("/v1/labels", labels::labels),
    ];
    routes.extend(sink::routes());
    routes
}
