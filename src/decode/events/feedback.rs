//! Feedback of Seldon Core v1: the truth about an earlier prediction, or prediction and truth together.

use serde_json::Value as Json;
use sha2::{Digest, Sha256};

use super::raw::{self, Members};
use super::{Event, LabelEvent, LabelTarget, Refusal, SideEvent};
use crate::decode::ids::usable;
use crate::decode::{Headers, MAX_ROWS, Protocol, Route, Side};

/// The labels in feedback about an earlier prediction; `puid` is the header `Seldon-Puid` of the request or the answer.
///
/// # Errors
///
/// A stable reason when there is no label in it, or nothing that says of which prediction.
pub fn labels_of_feedback(puid: Option<&str>, body: &[u8]) -> Result<Vec<LabelEvent>, &'static str> {
    let events = event(puid, body).map_err(|refusal| refusal.reason)?;
    events
        .into_iter()
        .map(|event| match event {
            Event::Label(label) => Ok(label),
            // The prediction itself came another way, and under another id.
            Event::Side(_) | Event::Both { .. } | Event::Rows(_) => Err("label_without_id"),
        })
        .collect()
}

/// The events of one feedback. Without an id the feedback is a labelled prediction of its own, if it repeats it.
pub(super) fn event(puid: Option<&str>, body: &[u8]) -> Result<Vec<Event>, Refusal> {
    let document = raw::single(body).and_then(Members::of);
    let document =
        document.ok_or_else(|| Refusal::new("not_an_object", "the feedback is not a JSON object"))?;
    let rows = truth(&document)?;
    let (request, response) = (document.get("request"), document.get("response"));
    let meta_id = |side: Option<&[u8]>| side.and_then(Members::of)?.object("meta")?.id(&["puid"]);
    let known =
        puid.and_then(usable).map(str::to_owned).or_else(|| meta_id(response)).or_else(|| meta_id(request));
    let mut events = Vec::new();
    let id = match (known, request) {
        (Some(id), _) => id,
        (None, Some(request)) => {
            let id = derived_id(body);
            let side = |side, body: &[u8]| SideEvent {
                side,
                pair: id.clone(),
                model: None,
                route: Route { protocol: Protocol::SeldonV1, model: None, version: None },
                headers: Headers::default(),
                body: body.to_vec(),
                time: None,
                status: None,
                id: Some(id.clone()),
                other_ids: Vec::new(),
            };
            let asked = side(Side::Request, request);
            events.push(match response {
                None => Event::Side(asked),
                Some(response) => Event::Both {
                    request: Box::new(asked),
                    response: Box::new(side(Side::Response, response)),
                },
            });
            id
        }
        (None, None) => {
            let problem = "there is neither `Seldon-Puid` nor `response.meta.puid` nor the request itself";
            return Err(Refusal::new("label_without_id", problem));
        }
    };
    let many = rows.len() > 1;
    events.extend(rows.into_iter().enumerate().map(|(row, value)| {
        let target = LabelTarget::Id { id: id.clone(), row: many.then_some(row) };
        Event::Label(LabelEvent { model: None, target, value, time: None })
    }));
    Ok(events)
}

/// The same id for the same bytes, so that a message that comes twice is one prediction.
pub(super) fn derived_id(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    let first = digest.iter().take(16).fold(0_u128, |number, byte| number << 8 | u128::from(*byte));
    format!("sha256-{first:032x}")
}

/// A scalar, or none.
pub(super) fn json_value(value: &[u8]) -> Option<Json> {
    let value: Json = serde_json::from_slice(value).ok()?;
    (value.is_number() || value.is_boolean() || value.is_string()).then_some(value)
}

/// The outcome of every row; where it has several columns, an object of them by name.
fn truth(document: &Members<'_>) -> Result<Vec<Json>, Refusal> {
    let none = || Refusal::new("no_truth", "`truth` is absent or holds no outcome");
    let truth = document.object("truth").ok_or_else(none)?;
    if let Some(text) = truth.text("strData") {
        return Ok(vec![Json::String(text)]);
    }
    if let Some(value) = truth.get("jsonData") {
        return json_value(value).map(|value| vec![value]).ok_or_else(none);
    }
    let data = truth.object("data").ok_or_else(none)?;
    let names: Vec<String> =
        data.get("names").and_then(|names| serde_json::from_slice(names).ok()).unwrap_or_default();
    let rows: Vec<Vec<Json>> = match (data.get("ndarray"), data.object("tensor")) {
        (Some(array), _) => {
            let rows: Vec<Json> = serde_json::from_slice(array).map_err(|_| none())?;
            let row = |row| match row {
                Json::Array(columns) => columns,
                scalar => vec![scalar],
            };
            rows.into_iter().map(row).collect()
        }
        (None, Some(tensor)) => {
            let shape: Vec<usize> =
                tensor.get("shape").and_then(|shape| serde_json::from_slice(shape).ok()).unwrap_or_default();
            let values: Vec<Json> =
                tensor.get("values").and_then(|v| serde_json::from_slice(v).ok()).ok_or_else(none)?;
            let width = if shape.len() == 2 { shape.get(1).copied().unwrap_or(1).max(1) } else { 1 };
            if !values.len().is_multiple_of(width) {
                return Err(Refusal::new(
                    "shape_mismatch",
                    "`truth.data.tensor`: shape and values do not fit",
                ));
            }
            values.chunks(width).map(<[Json]>::to_vec).collect()
        }
        (None, None) => return Err(none()),
    };
    if rows.is_empty() || rows.len() > MAX_ROWS {
        return Err(none());
    }
    rows.into_iter().map(|columns| outcome(columns, &names).ok_or_else(none)).collect()
}

fn outcome(columns: Vec<Json>, names: &[String]) -> Option<Json> {
    let scalar = |value: &Json| value.is_number() || value.is_boolean() || value.is_string();
    if !columns.iter().all(scalar) {
        return None;
    }
    let fits = names.len() == columns.len();
    match columns.len() {
        0 => None,
        1 => columns.into_iter().next(),
        _ => Some(Json::Object(
            columns
                .into_iter()
                .enumerate()
                .map(|(at, value)| {
                    let own = names.get(at).filter(|_| fits).cloned();
                    (own.unwrap_or_else(|| format!("t:{at}")), value)
                })
                .collect(),
        )),
    }
}
