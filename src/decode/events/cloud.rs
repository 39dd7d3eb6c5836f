//! `CloudEvents` in binary and structured mode: attributes, and the events of the loggers that use them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::raw::{self, Members};
use super::read::Reader;
use super::{Event, Refusal, azure, feedback, loggers};
use crate::decode::Side;
use crate::decode::ids::usable;

/// How carriers spell the front of an attribute's name.
const PREFIXES: [&str; 4] = ["ce-", "ce_", "cloudevents:", "cloudevents_"];

/// The attributes of an event, without the prefix of their carrier.
#[derive(Debug, Clone, Default)]
pub(super) struct Attributes(Vec<(String, String)>);

impl Attributes {
    /// The attributes among the headers of a message.
    pub(super) fn of_headers(headers: &[(String, String)]) -> Self {
        let attribute = |(name, value): &(String, String)| {
            let name = PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix))?;
            Some((name.to_owned(), header_value(value)))
        };
        Self(headers.iter().filter_map(attribute).collect())
    }

    /// The attributes of an event in structured mode: its members that are scalars.
    fn of_members(event: &Members<'_>) -> Self {
        let attribute = |(name, value): (&str, &[u8])| {
            let scalar = match value.first() {
                Some(b'"') => raw::text(value),
                Some(b'{' | b'[') | None => None,
                Some(_) if value == b"null" => None,
                Some(_) => Some(String::from_utf8_lossy(value).into_owned()),
            };
            scalar.map(|scalar| (name.to_ascii_lowercase(), scalar))
        };
        Self(
            event
                .iter()
                .filter(|(name, _)| !name.starts_with("data_") && *name != "data")
                .filter_map(attribute)
                .collect(),
        )
    }

    /// The last attribute called `name` that is not empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().rev().find(|(known, value)| known == name && !value.is_empty()).map(|(_, v)| v.as_str())
    }

    /// The first usable id among attributes called `names`.
    pub(super) fn id(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|name| self.get(name).and_then(usable))
    }

    /// The time of the event.
    pub(super) fn time(&self) -> Result<Option<chrono::DateTime<chrono::Utc>>, Refusal> {
        let Some(written) = self.get("time") else { return Ok(None) };
        raw::time(written).map(Some).ok_or_else(|| raw::bad_time("time"))
    }
}

/// The value of a header: unquoted, then percent-decoded, while JSON stays as it is.
fn header_value(value: &str) -> String {
    let value = value.trim();
    if value.starts_with(['{', '[']) {
        return value.to_owned();
    }
    let unquoted = match value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        None => value.to_owned(),
        Some(quoted) => {
            let mut plain = String::with_capacity(quoted.len());
            let mut characters = quoted.chars();
            while let Some(character) = characters.next() {
                plain.push(if character == '\\' { characters.next().unwrap_or('\\') } else { character });
            }
            plain
        }
    };
    percent_decoded(&unquoted).unwrap_or(unquoted)
}

/// `text` without percent-encoding; none when an escape is broken or the bytes are no text.
fn percent_decoded(text: &str) -> Option<String> {
    let hex = |byte: Option<&u8>| byte.and_then(|digit| char::from(*digit).to_digit(16));
    let mut bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    while let Some((&first, rest)) = bytes.split_first() {
        bytes = rest;
        if first == b'%' {
            decoded.push(u8::try_from(hex(rest.first())? * 16 + hex(rest.get(1))?).ok()?);
            bytes = rest.get(2..).unwrap_or_default();
        } else {
            decoded.push(first);
        }
    }
    String::from_utf8(decoded).ok()
}

/// An event in structured mode.
pub(super) fn structured(reader: &mut Reader<'_>, event: &Members<'_>) -> Result<Vec<Event>, Refusal> {
    let attributes = Attributes::of_members(event);
    if attributes.get("type").is_none() {
        return Err(Refusal::missing("type"));
    }
    let kind = attributes.get("datacontenttype").unwrap_or("application/json").to_ascii_lowercase();
    if let Some(data) = event.text("data_base64") {
        let data = base64("data_base64", &data)?;
        return self::event(reader, &attributes, &kind, &data, 1);
    }
    let data = event.get("data").unwrap_or_default();
    // What is not JSON stands in a string.
    match raw::text(data) {
        Some(text) if !kind.contains("json") => self::event(reader, &attributes, &kind, text.as_bytes(), 1),
        _ => self::event(reader, &attributes, &kind, data, 1),
    }
}

/// Undoes base64.
pub(super) fn base64(field: &str, text: &str) -> Result<Vec<u8>, Refusal> {
    STANDARD.decode(text.trim()).map_err(|_| Refusal::new("bad_encoding", format!("`{field}` is not base64")))
}

/// The events of one event, by its type. `depth` counts the envelopes around its data.
pub(super) fn event(
    reader: &mut Reader<'_>,
    attributes: &Attributes,
    content_type: &str,
    data: &[u8],
    depth: usize,
) -> Result<Vec<Event>, Refusal> {
    let kind = attributes.get("type").unwrap_or_default().to_ascii_lowercase();
    if let Some(collection) = kind.strip_prefix("azureml.inference.") {
        return azure::event(reader, attributes, collection, content_type, data).map(|event| vec![event]);
    }
    let side = match kind.rsplit('.').next() {
        Some("request") => Side::Request,
        Some("response") => Side::Response,
        Some("feedback") => {
            let data = reader.plain(data, None)?;
            return feedback::event(attributes.id(&["requestid", "id"]), &data);
        }
        _ => return nested(reader, data, depth),
    };
    loggers::logged(reader, attributes, content_type, side, data).map(|event| vec![event])
}

/// An event of a type that says nothing: its data tell.
fn nested(reader: &mut Reader<'_>, data: &[u8], depth: usize) -> Result<Vec<Event>, Refusal> {
    let data = reader.plain(data, None)?.into_owned();
    let unknown = || Refusal::new("unknown_type", "neither the type of the event nor its data are known");
    let document = raw::single(&data).ok_or_else(unknown)?;
    let members = Members::of(document).ok_or_else(unknown)?;
    reader.document(document, &members, None, depth.max(1)).map_err(|refusal| match refusal.reason {
        "unknown_format" => unknown(),
        _ => refusal,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_headers_are_read_leniently() {
        for (written, expected) in [
            ("plain", "plain"),
            (" spaced ", "spaced"),
            ("%E2%82%AC%20x", "€ x"),
            ("100%", "100%"),
            ("%zz", "%zz"),
            ("%ff", "%ff"),
            ("\"a\\\"b\\\\\"", "a\"b\\"),
            ("\"a%20b\"", "a b"),
            (r#"{"X":["100%20"]}"#, r#"{"X":["100%20"]}"#),
            ("%7B%22a%22:1%7D", r#"{"a":1}"#),
            ("\"", "\""),
            ("", ""),
        ] {
            assert_eq!(header_value(written), expected, "{written}");
        }
    }
}
