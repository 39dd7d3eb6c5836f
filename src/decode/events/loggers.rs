//! Payload loggers: `KServe`'s and Seldon's events, `KServe`'s records on object storage, `ModelMesh`'s posts.

use super::cloud::{Attributes, base64};
use super::raw::Members;
use super::read::{Reader, header};
use super::{Event, Refusal, SideEvent};
use crate::decode::ids::usable;
use crate::decode::{Headers, Protocol, Route, Side};

/// One side as a logger of `KServe` or Seldon sends it.
pub(super) fn logged(
    reader: &mut Reader<'_>,
    attributes: &Attributes,
    content_type: &str,
    side: Side,
    data: &[u8],
) -> Result<Event, Refusal> {
    let kind = attributes.get("type").unwrap_or_default();
    let seldon = kind.starts_with("io.seldon.");
    let status = attributes.get("statuscode").and_then(|code| code.parse().ok());
    let mut given = metadata(attributes.get("metadata"));
    // The logger writes the type of the request on the answer as well.
    if side == Side::Request && !content_type.is_empty() {
        given.push(("content-type".to_owned(), content_type.to_owned()));
    }
    let service = attributes.get("inferenceservicename");
    let (id, model) = if seldon {
        // `id` is another one for every event. A graph logs each of its nodes, which are models of their own.
        let id = attributes.id(&["requestid"]).ok_or_else(|| no_pair("requestid"))?;
        given.push(("seldon-puid".to_owned(), id.to_owned()));
        (id, attributes.get("modelid").or(service).map(str::to_owned))
    } else {
        let id = attributes.id(&["id"]).ok_or_else(|| no_pair("id"))?;
        given.push(("ce-id".to_owned(), id.to_owned()));
        let [component, endpoint] =
            ["component", "endpoint"].map(|name| attributes.get(name).unwrap_or_default());
        (id, service.map(|service| of_service(service, component, endpoint)))
    };
    if let Some(trace) = attributes.get("traceparent").or_else(|| header(reader.headers, "traceparent")) {
        given.push(("traceparent".to_owned(), trace.to_owned()));
    }
    let scope = if seldon { "modelid" } else { "component" };
    let scope =
        ["namespace", "inferenceservicename", scope].map(|name| attributes.get(name).unwrap_or_default());
    Ok(Event::Side(SideEvent {
        side,
        pair: pair(&scope, id),
        model,
        route: Route::configured(),
        headers: picked(&given),
        body: reader.plain(data, None)?.into_owned(),
        time: attributes.time()?,
        status,
        id: seldon.then(|| id.to_owned()),
        other_ids: Vec::new(),
    }))
}

/// The model that a part of an inference service is: the service itself where it is its predictor, else
/// `service/component/endpoint`, without the endpoint where that is the usual one.
fn of_service(service: &str, component: &str, endpoint: &str) -> String {
    match (component, endpoint) {
        ("" | "predictor", "" | "default") => service.to_owned(),
        (_, "" | "default") => format!("{service}/{component}"),
        _ => format!("{service}/{component}/{endpoint}"),
    }
}

/// The name of a pair: unique as far as `scope` and `id` are, of bounded length.
pub(super) fn pair(scope: &[&str], id: &str) -> String {
    let mut pair = String::new();
    for part in scope {
        pair.extend(part.chars().filter(|c| !c.is_control() && *c != '|').take(128));
        pair.push('|');
    }
    pair.push_str(id);
    pair
}

pub(super) fn no_pair(field: &str) -> Refusal {
    Refusal::new("no_pair_id", format!("`{field}`, which joins request and answer, is absent or unusable"))
}

/// The headers of the message that a logger was told to pass on: an object of lists of texts.
fn metadata(json: Option<&str>) -> Vec<(String, String)> {
    let Some(Ok(serde_json::Value::Object(headers))) = json.map(serde_json::from_str) else {
        return Vec::new();
    };
    let value = |value: &serde_json::Value| match value {
        serde_json::Value::Array(values) => {
            values.first().and_then(|value| value.as_str()).map(str::to_owned)
        }
        value => value.as_str().map(str::to_owned),
    };
    // The coding of the body is told by its first bytes; the body of an event has none by then.
    let about_the_body =
        |name: &str| ["content-type", "content-encoding"].iter().any(|n| n.eq_ignore_ascii_case(name));
    headers
        .iter()
        .filter(|(name, _)| !about_the_body(name))
        .filter_map(|(name, header)| Some((name.clone(), value(header)?)))
        .collect()
}

/// The headers that decoding needs among `given`.
pub(super) fn picked(given: &[(String, String)]) -> Headers {
    Headers::pick(given.iter().map(|(name, value)| (name.as_str(), value.as_bytes())))
}

/// A record of `KServe`'s logger on object storage.
pub(super) fn kserve_blob(reader: &mut Reader<'_>, record: &Members<'_>) -> Result<Event, Refusal> {
    let kind = record.text("reqType").ok_or_else(|| Refusal::missing("reqType"))?;
    let side = match kind.rsplit('.').next() {
        Some("request") => Side::Request,
        Some("response") => Side::Response,
        _ => {
            return Err(Refusal::new("unknown_type", "`reqType` ends neither with `request` nor `response`"));
        }
    };
    let id = record.id(&["id"]).ok_or_else(|| no_pair("id"))?;
    let body = base64("bytes", &record.text("bytes").ok_or_else(|| Refusal::missing("bytes"))?)?;
    // An object in JSON, the text of one in CSV and Parquet.
    let written = record.get("metadata").map(|json| String::from_utf8_lossy(json).into_owned());
    let mut given = metadata(record.text("metadata").or(written).as_deref());
    if let Some(content_type) = record.text("contentType").filter(|_| side == Side::Request) {
        given.push(("content-type".to_owned(), content_type));
    }
    given.push(("ce-id".to_owned(), id.clone()));
    let scope =
        ["namespace", "inferenceService", "component"].map(|name| record.text(name).unwrap_or_default());
    let scope: Vec<&str> = scope.iter().map(String::as_str).collect();
    Ok(Event::Side(SideEvent {
        side,
        pair: pair(&scope, &id),
        model: record.text("inferenceService").filter(|name| !name.is_empty()).map(|service| {
            let [component, endpoint] =
                ["component", "endpoint"].map(|name| record.text(name).unwrap_or_default());
            of_service(&service, &component, &endpoint)
        }),
        route: Route::configured(),
        headers: picked(&given),
        body: reader.plain(&body, None)?.into_owned(),
        time: record.time(&["occurrenceTime"])?,
        status: None,
        id: None,
        other_ids: Vec::new(),
    }))
}

/// A post of `ModelMesh`'s payload processor. Its data are a bare protobuf message; they get the frame of gRPC back.
pub(super) fn model_mesh(reader: &mut Reader<'_>, post: &Members<'_>) -> Result<Event, Refusal> {
    let side = match post.text("kind").as_deref() {
        Some("request") => Side::Request,
        Some("response") => Side::Response,
        _ => return Err(Refusal::new("unknown_type", "`kind` is neither `request` nor `response`")),
    };
    let id = post.id(&["id"]).ok_or_else(|| no_pair("id"))?;
    let internal = post.text("modelid").ok_or_else(|| Refusal::missing("modelid"))?;
    let metadata = post.object("metadata");
    let model = metadata
        .and_then(|metadata| metadata.text("mm-vmodel-id"))
        .or_else(|| post.text("vModelId"))
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| internal.split("__isvc-").next().unwrap_or_default().to_owned());
    let status = post.text("status").unwrap_or_default();
    let failed = side == Side::Response && !(status.is_empty() || status == "OK");
    let message = base64("data", &post.text("data").ok_or_else(|| Refusal::missing("data"))?)?;
    if message.is_empty() && !failed {
        return Err(Refusal::new("empty_data", "`data` is empty"));
    }
    // Ids count up within a thread of one pod.
    let peer = header(reader.headers, "driftline-peer").unwrap_or_default();
    Ok(Event::Side(SideEvent {
        side,
        pair: pair(&[peer, &internal], &id),
        model: Some(model),
        route: Route { protocol: Protocol::OpenInferenceGrpc, model: None, version: None },
        headers: Headers::default(),
        body: framed(&message)?,
        time: None,
        status: (side == Side::Response).then_some(if failed { 500 } else { 200 }),
        id: None,
        other_ids: Vec::new(),
    }))
}

/// A protobuf message as gRPC sends it: not compressed, its length, itself.
pub(super) fn framed(message: &[u8]) -> Result<Vec<u8>, Refusal> {
    let length = u32::try_from(message.len())
        .map_err(|_| Refusal::new("too_large", "the message has more than 4 GiB"))?;
    let mut framed = Vec::with_capacity(message.len() + 5);
    framed.push(0);
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(message);
    Ok(framed)
}

/// A message that is one side of an exchange and nothing else, as in the topics of Seldon Core v2 and `MLServer`.
pub(super) fn plain_side(headers: &[(String, String)], body: &[u8], side: Side) -> Result<Event, Refusal> {
    let first = |names: &[&str]| names.iter().find_map(|name| header(headers, name).and_then(usable));
    let id = first(&["x-request-id", "ce-requestid", "key"]).map(str::to_owned);
    let pair = first(&["key", "x-request-id", "ce-requestid"]).ok_or_else(|| no_pair("key"))?.to_owned();
    let model = first(&["mlserver-model", "ce-modelid"]).map(str::to_owned);
    let version = first(&["mlserver-version", "model-version"]).map(str::to_owned);
    // A message of Confluent's wire format has a zero, four bytes and an index before protobuf, whose tags are not zero.
    let message = match body {
        [0, _, _, _, _, 0, rest @ ..] => rest,
        _ => body,
    };
    let is_json = matches!(message.trim_ascii_start().first(), Some(b'{' | b'[') | None);
    let (protocol, body) = if is_json {
        (Protocol::Configured, message.to_vec())
    } else {
        (Protocol::OpenInferenceGrpc, framed(message)?)
    };
    Ok(Event::Side(SideEvent {
        side,
        pair,
        model,
        route: Route { protocol, model: None, version },
        headers: Headers::pick(
            headers
                .iter()
                .filter(|(name, _)| name != "content-encoding" && name != "content-type")
                .map(|(name, value)| (name.as_str(), value.as_bytes())),
        ),
        body,
        time: None,
        status: None,
        id,
        other_ids: Vec::new(),
    }))
}
