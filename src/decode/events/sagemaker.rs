//! `SageMaker`'s lines: captured exchanges, and ground truth that came later.

use serde_json::Value as Json;

use super::cloud::base64;
use super::loggers::{no_pair, picked};
use super::raw::Members;
use super::read::{Reader, split_lines};
use super::{Event, LabelEvent, LabelTarget, Refusal, SideEvent};
use crate::decode::{Protocol, Route, Side};

/// The events of one line.
pub(super) fn line(reader: &mut Reader<'_>, line: &Members<'_>) -> Result<Vec<Event>, Refusal> {
    let meta = line.object("eventMetadata").ok_or_else(|| Refusal::missing("eventMetadata"))?;
    // What the caller named goes before what the platform made up: ground truth does the same.
    let id = meta.id(&["inferenceId", "eventId"]).ok_or_else(|| no_pair("eventMetadata.eventId"))?;
    if let Some(truth) = line.object("groundTruthData") {
        return ground_truth(&meta, &truth, &id);
    }
    let captured = line.object("captureData").ok_or_else(|| Refusal::missing("captureData"))?;
    let time = meta.time(&["inferenceTime"])?;
    let event = meta.id(&["eventId"]).filter(|event| *event != id);
    let mut side = |side, field: &str| {
        let Some(part) = captured.object(field) else { return Ok::<_, Refusal>(None) };
        let body = data(&part)?;
        let mut given = vec![("x-amzn-sagemaker-inference-id".to_owned(), id.clone())];
        given.extend(part.text("observedContentType").map(|kind| ("content-type".to_owned(), kind)));
        Ok(Some(SideEvent {
            side,
            pair: id.clone(),
            model: None,
            route: Route { protocol: Protocol::Invocations, model: None, version: None },
            headers: picked(&given),
            body: reader.plain(&body, None)?.into_owned(),
            time,
            status: None,
            id: Some(id.clone()),
            other_ids: event.iter().cloned().collect(),
        }))
    };
    match (side(Side::Request, "endpointInput")?, side(Side::Response, "endpointOutput")?) {
        (Some(request), Some(response)) => {
            Ok(vec![Event::Both { request: Box::new(request), response: Box::new(response) }])
        }
        (Some(one), None) | (None, Some(one)) => Ok(vec![Event::Side(one)]),
        (None, None) => Err(Refusal::missing("captureData.endpointInput")),
    }
}

/// The bytes of one side; without a known content type they are base64.
fn data(part: &Members<'_>) -> Result<Vec<u8>, Refusal> {
    let data = part.text("data").ok_or_else(|| Refusal::missing("data"))?;
    match part.text("encoding").as_deref() {
        Some("CSV" | "JSON") => Ok(data.into_bytes()),
        Some("BASE64") | None => base64("data", &data),
        Some(_) => Err(Refusal::new("unknown_encoding", "`encoding` is none of CSV, JSON and BASE64")),
    }
}

fn ground_truth(meta: &Members<'_>, truth: &Members<'_>, id: &str) -> Result<Vec<Event>, Refusal> {
    let bytes = data(truth)?;
    let values = if truth.text("encoding").as_deref() == Some("JSON") {
        match serde_json::from_slice::<Json>(&bytes) {
            Ok(Json::Array(values)) => values,
            Ok(value) => vec![value],
            Err(_) => return Err(Refusal::new("not_json", "`groundTruthData.data` is not JSON")),
        }
    } else {
        split_lines(&bytes).map(csv_scalar).collect::<Option<_>>().ok_or_else(unusable)?
    };
    let time = meta.time(&["inferenceTime", "eventTime", "time"])?;
    let many = values.len() > 1;
    if values.is_empty() {
        return Err(unusable());
    }
    values
        .into_iter()
        .enumerate()
        .map(|(row, value)| {
            let scalar = value.is_number() || value.is_boolean() || value.is_string();
            let target = LabelTarget::Id { id: id.to_owned(), row: many.then_some(row) };
            let label = LabelEvent { model: None, target, value, time };
            if scalar { Ok(Event::Label(label)) } else { Err(unusable()) }
        })
        .collect()
}

fn unusable() -> Refusal {
    Refusal::new("unusable_label", "`groundTruthData.data` is not one number, truth value or text per row")
}

/// The one field of a line of CSV.
fn csv_scalar(line: &[u8]) -> Option<Json> {
    let line = std::str::from_utf8(line).ok()?;
    let text = match line.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(quoted) => quoted.replace("\"\"", "\""),
        None if line.contains(',') => return None,
        None => line.to_owned(),
    };
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
    Some(number.and_then(whole_or_not).unwrap_or(Json::String(text)))
}

/// A number as JSON writes it, without a fraction where there is none.
pub(super) fn whole_or_not(number: f64) -> Option<Json> {
    serde_json::Number::from_f64(number).map(Json::Number)
}
