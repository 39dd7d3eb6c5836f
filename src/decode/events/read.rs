//! From a message to its items: decompressed, split, and each item told by its fields.

use std::borrow::Cow;
use std::sync::Arc;

use super::cloud::{self, Attributes};
use super::raw::{self, Members};
use super::{
    Event, EventFormat, Events, MAX_INFLATED, MonitorLog, MonitorSchema, Refusal, RefusedItem, bentoml,
    debezium, feedback, labels, lines, loggers, sagemaker,
};
use crate::decode::inflate::{InflateProblem, inflate};
use crate::decode::predictions::{self, MAX_ITEMS};
use crate::decode::{DecodeFailure, Side};

/// Reads the events of one message; names in `headers` are lower case.
///
/// Attributes of a binary `CloudEvent` are headers called `ce-*`, `ce_*`, `cloudevents:*` or `cloudevents_*`. A body
/// that begins like gzip is decompressed, whatever the headers say. A header called `driftline-peer` tells senders
/// apart whose ids are unique only within one process.
///
/// # Errors
///
/// [`DecodeFailure`] when the message as a whole cannot be read; a bad item is a [`RefusedItem`] and the others are
/// kept.
pub fn read(
    headers: &[(String, String)],
    body: &[u8],
    hint: Option<&EventFormat>,
) -> Result<Events, DecodeFailure> {
    let mut reader = Reader { headers, left: MAX_INFLATED, monitor: None, found: Events::default() };
    if let Some(EventFormat::BentoMl(log)) = hint {
        reader.monitor = Some(Arc::clone(log));
    }
    let body = reader.plain(body, header(headers, "content-encoding")).map_err(|problem| match problem {
        InflateProblem::TooLarge { .. } => DecodeFailure::TooLarge { what: "bytes", limit: MAX_INFLATED },
        InflateProblem::Damaged => DecodeFailure::Damaged(Side::Request),
        InflateProblem::UnknownCoding => DecodeFailure::UnsupportedEncoding(Side::Request),
    })?;
    reader.message(&body, hint)?;
    Ok(reader.found)
}

/// The first value of `name`.
pub(super) fn header<'h>(headers: &'h [(String, String)], name: &str) -> Option<&'h str> {
    headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.trim())
}

impl From<InflateProblem> for Refusal {
    fn from(problem: InflateProblem) -> Self {
        match problem {
            InflateProblem::TooLarge { .. } => {
                Self::new("too_large", format!("the bodies have more than {MAX_INFLATED} bytes together"))
            }
            InflateProblem::Damaged => Self::new("damaged", "the compressed body is damaged"),
            InflateProblem::UnknownCoding => {
                Self::new("unsupported_encoding", "the body is compressed in an unknown way")
            }
        }
    }
}

/// What the items of one message share.
pub(super) struct Reader<'h> {
    pub(super) headers: &'h [(String, String)],
    /// Bytes that may still be decompressed.
    left: usize,
    /// The monitor log that lines without names of their own belong to.
    monitor: Option<Arc<MonitorLog>>,
    found: Events,
}

impl Reader<'_> {
    /// The body without its compression, which is told by its first bytes as well, as loggers lose the header.
    pub(super) fn plain<'b>(
        &mut self,
        body: &'b [u8],
        encoding: Option<&str>,
    ) -> Result<Cow<'b, [u8]>, InflateProblem> {
        let is_gzip = body.starts_with(&[0x1f, 0x8b]);
        // Whoever undid it on the way may have left the header.
        let encoding = encoding.filter(|coding| is_gzip || !["gzip", "x-gzip"].contains(coding));
        let inflated = inflate(body, encoding, self.left)?;
        if let Cow::Owned(bytes) = &inflated {
            self.left = self.left.saturating_sub(bytes.len());
        }
        Ok(inflated)
    }

    fn message(&mut self, body: &[u8], hint: Option<&EventFormat>) -> Result<(), DecodeFailure> {
        let kind = header(self.headers, "content-type").unwrap_or_default().to_ascii_lowercase();
        let side = match hint {
            Some(EventFormat::Requests) => Some(Side::Request),
            Some(EventFormat::Responses) => Some(Side::Response),
            _ => None,
        };
        if let Some(side) = side {
            let event = loggers::plain_side(self.headers, body, side);
            self.item(0, event.map(|event| vec![event]));
            return Ok(());
        }
        if matches!(hint, Some(EventFormat::Predictions)) {
            return self.predictions(body, &kind);
        }
        let structured = kind.starts_with("application/cloudevents");
        if !structured
            && hint.is_none_or(|hint| matches!(hint, EventFormat::CloudEvents | EventFormat::AzureCollector))
        {
            let attributes = Attributes::of_headers(self.headers);
            if attributes.get("type").is_some() {
                let kind = attributes.get("datacontenttype").map_or(kind, str::to_ascii_lowercase);
                let events = cloud::event(self, &attributes, &kind, body, 0);
                self.item(0, events);
                return Ok(());
            }
        }
        if body.first() == Some(&0) && body.len() > 5 && !is_by_line(&kind) {
            return self.registered(body, hint);
        }
        if body.trim_ascii().is_empty() && matches!(hint, Some(EventFormat::Debezium(_))) {
            return Ok(()); // A tombstone.
        }
        self.documents(body, &kind, hint)
    }

    /// A message of Confluent's wire format: a zero, the number of a schema, then what that schema describes.
    fn registered(&mut self, body: &[u8], hint: Option<&EventFormat>) -> Result<(), DecodeFailure> {
        let json = [5, 6]
            .iter()
            .filter_map(|at| body.get(*at..))
            .find(|rest| matches!(rest.first(), Some(b'{' | b'[')) && raw::single(rest).is_some());
        if let Some(rest) = json {
            return self.documents(rest, "", hint);
        }
        let problem = "the message names a schema of a registry, which is not asked";
        self.item(0, Err(Refusal::new("needs_schema_registry", problem)));
        Ok(())
    }

    /// A document, an array of them, or one per line.
    fn documents(
        &mut self,
        body: &[u8],
        kind: &str,
        hint: Option<&EventFormat>,
    ) -> Result<(), DecodeFailure> {
        let by_line = is_by_line(kind);
        let document = raw::single(body).filter(|body| !by_line && matches!(body.first(), Some(b'{' | b'[')));
        let too_many = |limit| DecodeFailure::TooLarge { what: "items", limit };
        let Some(document) = document else {
            let lines: Vec<&[u8]> = split_lines(body).take(MAX_ITEMS + 1).collect();
            if lines.len() > MAX_ITEMS {
                return Err(too_many(MAX_ITEMS));
            }
            // One bad line among good ones is its own; a body with no good one is no lines at all.
            if lines.is_empty() || !(by_line || lines.iter().any(|line| Members::of(line).is_some())) {
                return Err(DecodeFailure::NotJson { side: Side::Request, offset: 0 });
            }
            self.items(&lines, hint);
            return Ok(());
        };
        match raw::elements(document, MAX_ITEMS).map_err(too_many)? {
            Some(elements) => self.items(&elements, hint),
            None if document.first() == Some(&b'[') => {
                return Err(DecodeFailure::NotJson { side: Side::Request, offset: 0 });
            }
            None => self.items(&[document], hint),
        }
        Ok(())
    }

    fn items(&mut self, items: &[&[u8]], hint: Option<&EventFormat>) {
        let mut index = 0;
        while let Some(item) = items.get(index) {
            let document = Members::of(item);
            if let Some(log) = self.monitored(document.as_ref(), hint) {
                let rest = items.get(index..).unwrap_or_default();
                let (taken, events) = bentoml::rows(&log, rest);
                self.item(index, events);
                index += taken;
                continue;
            }
            let events = match document {
                Some(document) => self.document(item, &document, hint, 0),
                None => Err(Refusal::new("not_an_object", "the item is not a JSON object")),
            };
            self.item(index, events);
            index += 1;
        }
    }

    /// The monitor log when `document` is one of its rows; a line with a schema is taken in.
    fn monitored(
        &mut self,
        document: Option<&Members<'_>>,
        hint: Option<&EventFormat>,
    ) -> Option<Arc<MonitorLog>> {
        let document = document?;
        if !hint.is_none_or(|hint| matches!(hint, EventFormat::BentoMl(_))) || document.has("columns") {
            return None;
        }
        let is_row = hint.is_some() || (document.has("request_id") && document.has("timestamp"));
        is_row.then(|| self.monitor.clone())?
    }

    fn item(&mut self, index: usize, events: Result<Vec<Event>, Refusal>) {
        match events {
            Ok(events) => self.found.events.extend(events),
            Err(Refusal { reason, problem }) => {
                self.found.refused.push(RefusedItem { index, reason, problem });
            }
        }
    }

    /// The events of one object. `depth` counts the envelopes around it, of which there may be one.
    pub(super) fn document(
        &mut self,
        item: &[u8],
        members: &Members<'_>,
        hint: Option<&EventFormat>,
        depth: usize,
    ) -> Result<Vec<Event>, Refusal> {
        let format = match hint {
            Some(format) => format.clone(),
            None => sniff(members)
                .ok_or_else(|| Refusal::new("unknown_format", "the fields are those of no known format"))?,
        };
        match format {
            EventFormat::CloudEvents | EventFormat::AzureCollector if depth == 0 => {
                cloud::structured(self, members)
            }
            EventFormat::CloudEvents | EventFormat::AzureCollector => {
                Err(Refusal::new("unknown_format", "an event lies in an event"))
            }
            EventFormat::ModelMesh => loggers::model_mesh(self, members).map(|event| vec![event]),
            EventFormat::KserveBlob => loggers::kserve_blob(self, members).map(|event| vec![event]),
            EventFormat::SageMaker => sagemaker::line(self, members),
            EventFormat::BentoMl(log) => {
                let schema = MonitorSchema::of(members)?;
                self.monitor = Some(Arc::new(MonitorLog { schema: Some(schema), ..log.as_ref().clone() }));
                Ok(Vec::new())
            }
            EventFormat::Predictions => prediction(item),
            EventFormat::Labels => labels::line(members).map(|label| vec![Event::Label(label)]),
            EventFormat::SeldonFeedback => feedback::event(None, item),
            EventFormat::Exchanges => lines::exchange(members).map(|event| vec![event]),
            EventFormat::Debezium(columns) => debezium::change(&columns, members),
            EventFormat::Requests | EventFormat::Responses => {
                Err(Refusal::new("unknown_format", "a message of this format is one side of an exchange"))
            }
        }
    }

    fn predictions(&mut self, body: &[u8], kind: &str) -> Result<(), DecodeFailure> {
        let submission = predictions::parse(body, Some(kind))?;
        self.found.events.extend(submission.accepted.into_iter().map(|item| Event::Rows(Box::new(item))));
        self.found.refused.extend(submission.refused.into_iter().map(|refused| RefusedItem {
            index: refused.index,
            reason: "bad_prediction",
            problem: problem(&refused),
        }));
        Ok(())
    }
}

fn is_by_line(content_type: &str) -> bool {
    ["ndjson", "jsonl", "json-seq"].iter().any(|name| content_type.contains(name))
}

/// The format that has such fields.
fn sniff(item: &Members<'_>) -> Option<EventFormat> {
    let all = |names: &[&str]| names.iter().all(|name| item.has(name));
    let any = |names: &[&str]| names.iter().any(|name| item.has(name));
    Some(if all(&["specversion", "type"]) {
        EventFormat::CloudEvents
    } else if any(&["captureData", "groundTruthData"]) {
        EventFormat::SageMaker
    } else if all(&["kind", "modelid", "data"]) {
        EventFormat::ModelMesh
    } else if all(&["reqType", "bytes"]) {
        EventFormat::KserveBlob
    } else if all(&["meta_data", "columns"]) {
        EventFormat::BentoMl(Arc::default())
    } else if debezium::is_envelope(item) {
        EventFormat::Debezium(Arc::default())
    } else if item.has("truth") {
        EventFormat::SeldonFeedback
    } else if any(&["request", "response"]) {
        EventFormat::Exchanges
    } else if item.has("features") {
        EventFormat::Predictions
    } else if item.has("label") && any(&["id", "key"]) {
        EventFormat::Labels
    } else {
        return None;
    })
}

fn prediction(item: &[u8]) -> Result<Vec<Event>, Refusal> {
    let submission = predictions::parse(item, Some("application/json"))
        .map_err(|failure| Refusal::new(failure.reason(), failure.to_string()))?;
    if let Some(refused) = submission.refused.first() {
        return Err(Refusal::new("bad_prediction", problem(refused)));
    }
    Ok(submission.accepted.into_iter().map(|item| Event::Rows(Box::new(item))).collect())
}

fn problem(refused: &predictions::Refusal) -> String {
    if refused.field.is_empty() {
        format!("the item {}", refused.problem)
    } else {
        format!("`{}` {}", refused.field, refused.problem)
    }
}

pub(super) fn split_lines(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty())
}
