//! Lines that hold both sides of an exchange, as own scripts and the tables of Databricks write them.

use std::borrow::Cow;

use super::loggers::picked;
use super::raw::Members;
use super::{Event, Refusal, SideEvent};
use crate::decode::{Recognised, Route, Side};

/// `{"request": …, "response": …}`; either may be a document or the text of one.
pub(super) fn exchange(line: &Members<'_>) -> Result<Event, Refusal> {
    let id = line.id(&["id", "request_id", "client_request_id", "databricks_request_id"]);
    let other_ids: Vec<String> = ["request_id", "client_request_id", "databricks_request_id"]
        .iter()
        .filter_map(|name| line.id(&[name]))
        .filter(|other| Some(other) != id.as_ref())
        .collect();
    let model = line.text("model").or_else(|| line.text("served_entity_id"));
    let time = line.time(&["time", "timestamp", "timestamp_ms", "request_time"])?;
    let status = line
        .get("status")
        .or_else(|| line.get("status_code"))
        .and_then(|status| std::str::from_utf8(status).ok())
        .and_then(|status| status.trim_matches('"').parse().ok());
    let route = match line.text("path").map(|path| Route::recognise("POST", &path, None)) {
        Some(Recognised::Prediction(route)) => route,
        None | Some(Recognised::Unknown | Recognised::NeverTapped) => Route::configured(),
    };
    let model = model.or_else(|| route.model.clone());
    let side = |side, field: &str| {
        let value = line.get(field)?;
        let body: Cow<'_, [u8]> = match super::raw::text(value) {
            Some(text) => Cow::Owned(text.into_bytes()),
            None => Cow::Borrowed(value),
        };
        let given: Vec<(String, String)> =
            id.iter().map(|id| ("x-request-id".to_owned(), id.clone())).collect();
        Some(SideEvent {
            side,
            pair: id.clone().unwrap_or_default(),
            model: model.clone(),
            route: route.clone(),
            headers: picked(&given),
            body: body.into_owned(),
            time,
            status: (side == Side::Response).then_some(status).flatten(),
            id: id.clone(),
            other_ids: other_ids.clone(),
        })
    };
    match (side(Side::Request, "request"), side(Side::Response, "response")) {
        (Some(request), Some(response)) => {
            Ok(Event::Both { request: Box::new(request), response: Box::new(response) })
        }
        (Some(one), None) | (None, Some(one)) if id.is_some() => Ok(Event::Side(one)),
        (None, None) => Err(Refusal::missing("request")),
        _ => Err(super::loggers::no_pair("id")),
    }
}
