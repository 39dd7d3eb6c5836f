//! Changes of an outcome table as labels: Debezium's envelope, or the row alone.

use chrono::DateTime;

use super::feedback::json_value;
use super::raw::Members;
use super::{Event, LabelEvent, LabelTarget, Refusal};

/// Which columns of an outcome table make a label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelColumns {
    /// Column with an id of the prediction; absent when `key` is set.
    pub id: Option<String>,
    /// Column with the business key.
    pub key: Option<String>,
    /// Column with the row, where an exchange has many.
    pub row: Option<String>,
    /// Column with the outcome.
    pub label: String,
    /// Column with the time at which it became known; absent: the time of the change.
    pub time: Option<String>,
    /// Column with the model.
    pub model: Option<String>,
}

impl Default for LabelColumns {
    fn default() -> Self {
        Self {
            id: Some("id".to_owned()),
            key: None,
            row: None,
            label: "label".to_owned(),
            time: None,
            model: Some("model".to_owned()),
        }
    }
}

/// Whether these are the fields of an envelope, in the schema's wrap or without it.
pub(super) fn is_envelope(item: &Members<'_>) -> bool {
    let bare = |item: &Members<'_>| item.has("op") && (item.has("before") || item.has("after"));
    bare(item) || item.object("payload").is_some_and(|payload| bare(&payload))
}

/// The label in a created, read or updated row; a deleted one and a truncated table say nothing.
pub(super) fn change(columns: &LabelColumns, item: &Members<'_>) -> Result<Vec<Event>, Refusal> {
    let wrapped = item.object("payload");
    let envelope = wrapped.as_ref().unwrap_or(item);
    let row = if envelope.has("op") {
        match envelope.text("op").as_deref() {
            Some("c" | "r" | "u") => envelope.object("after").ok_or_else(|| Refusal::missing("after"))?,
            Some("d" | "t" | "m") => return Ok(Vec::new()),
            _ => return Err(Refusal::new("unknown_operation", "`op` is none of c, r, u, d, t and m")),
        }
    } else {
        envelope.clone()
    };
    let Some(value) = row.get(&columns.label) else {
        // The row is there before its outcome is.
        return if row.has(&columns.label) { Ok(Vec::new()) } else { Err(Refusal::missing(&columns.label)) };
    };
    let value = json_value(value).ok_or_else(|| {
        Refusal::new("unusable_label", format!("`{}` is not a number, a truth value or text", columns.label))
    })?;
    let milliseconds = |members: &Members<'_>| members.id(&["ts_ms"])?.parse().ok();
    let changed =
        || envelope.object("source").as_ref().and_then(milliseconds).or_else(|| milliseconds(envelope));
    let time = match &columns.time {
        Some(column) => row.time(&[column])?,
        None => changed().and_then(DateTime::from_timestamp_millis),
    };
    let index = columns.row.as_ref().and_then(|column| row.id(&[column]));
    let index = match index.map(|index| index.parse()) {
        None => None,
        Some(Ok(index)) => Some(index),
        Some(Err(_)) => {
            return Err(Refusal::new("bad_label", "the row's number is not a whole number of 0 or more"));
        }
    };
    let id = columns.id.as_ref().and_then(|column| row.id(&[column]));
    let key = columns.key.as_ref().and_then(|column| row.id(&[column]));
    let target = match (id, key, time) {
        (Some(id), _, _) => LabelTarget::Id { id, row: index },
        (None, Some(key), Some(at)) => LabelTarget::Key { key, at },
        _ => return Err(Refusal::new("label_without_id", "the row has neither an id nor a key and a time")),
    };
    let model = columns.model.as_ref().and_then(|column| row.text(column));
    Ok(vec![Event::Label(LabelEvent { model, target, value, time })])
}
