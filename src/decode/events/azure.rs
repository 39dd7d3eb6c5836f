//! Azure's data collector: collected frames and bodies, as exported to files and as its SDK posts them.

use super::cloud::Attributes;
use super::loggers::{no_pair, pair, picked};
use super::raw;
use super::read::{Reader, header};
use super::{Event, Refusal, SideEvent};
use crate::decode::{Protocol, Recognised, Route, Side};

/// One event of type `azureml.inference.{collection}`.
///
/// Frames of `…inputs` and `…outputs` become the instances and predictions of an exchange. Requests close in time share
/// one event, and with it an id: a column of the frame as business key tells their rows apart.
pub(super) fn event(
    reader: &mut Reader<'_>,
    attributes: &Attributes,
    collection: &str,
    content_type: &str,
    data: &[u8],
) -> Result<Event, Refusal> {
    if attributes.get("datainblob").is_some_and(|flag| flag.eq_ignore_ascii_case("true")) {
        return Err(Refusal::new(
            "data_in_blob",
            "the data are in a blob, of which the event only has the address",
        ));
    }
    let data = reader.plain(data, None)?;
    let frame = |name: &str| {
        // Records, or one.
        let frame = raw::single(&data).ok_or_else(|| Refusal::missing("data"))?;
        let (open, close) = if frame.starts_with(b"[") { ("", "") } else { ("[", "]") };
        let parts =
            [format!("{{\"{name}\":{open}").as_bytes(), frame, format!("{close}}}").as_bytes()].concat();
        Ok::<_, Refusal>(parts)
    };
    let version =
        attributes.get("modelversion").or_else(|| attributes.get("model-version")).map(str::to_owned);
    let rows = Route { protocol: Protocol::KserveV1, model: None, version: version.clone() };
    let (side, route, body) = match collection {
        "request" => (Side::Request, route(attributes, version), data.to_vec()),
        "response" => (Side::Response, route(attributes, version), data.to_vec()),
        _ if collection.ends_with("inputs") => (Side::Request, rows, frame("instances")?),
        _ if collection.ends_with("outputs") => (Side::Response, rows, frame("predictions")?),
        _ => {
            let problem = "the collection is neither inputs, outputs, request nor response";
            return Err(Refusal::new("unknown_collection", problem));
        }
    };
    let ids = ["correlationid", "xrequestid", "x-request-id", "id"];
    let id = attributes
        .id(&ids)
        .or_else(|| header(reader.headers, "trace-id"))
        .and_then(crate::decode::ids::usable)
        .ok_or_else(|| no_pair("correlationid"))?;
    let mut given = vec![("x-request-id".to_owned(), id.to_owned())];
    if side == Side::Request && collection == "request" && !content_type.is_empty() {
        given.push(("content-type".to_owned(), content_type.to_owned()));
    }
    // Collections of one deployment are kept apart: bodies and frames of the same exchange are two records of it.
    let of = if matches!(collection, "request" | "response") { "body" } else { "frame" };
    let other_ids = ["xrequestid", "x-request-id"]
        .iter()
        .filter_map(|name| attributes.id(&[name]))
        .filter(|other| *other != id)
        .map(str::to_owned)
        .collect();
    Ok(Event::Side(SideEvent {
        side,
        pair: pair(&[attributes.get("source").unwrap_or_default(), of], id),
        model: attributes.get("source").and_then(endpoint).map(str::to_owned),
        route,
        headers: picked(&given),
        body,
        time: attributes.time()?,
        status: None,
        id: Some(id.to_owned()),
        other_ids,
    }))
}

/// The endpoint in the source `/subscriptions/…/onlineEndpoints/{endpoint}/deployments/{deployment}`.
fn endpoint(source: &str) -> Option<&str> {
    let mut parts = source.split('/');
    parts.find(|part| part.eq_ignore_ascii_case("onlineEndpoints"))?;
    parts.next().filter(|name| !name.is_empty())
}

fn route(attributes: &Attributes, version: Option<String>) -> Route {
    let path = attributes.get("path").unwrap_or_default();
    match Route::recognise("POST", path, None) {
        Recognised::Prediction(route) => Route { version: route.version.or(version), ..route },
        _ => Route { version, ..Route::configured() },
    }
}
