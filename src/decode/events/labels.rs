//! driftline's own labels, and what finds the prediction of a label.

use chrono::{DateTime, Utc};

use super::feedback::json_value;
use super::raw::{self, Members};
use super::{LabelEvent, Refusal};
use crate::decode::ids::usable;

/// Fields of a label.
const KNOWN: [&str; 6] = ["model", "id", "key", "row", "label", "time"];

/// What finds the prediction of a label.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LabelTarget {
    /// An id.
    Id {
        /// Any id of the exchange, or of one of its rows.
        id: String,
        /// The row, where `id` is that of an exchange of many.
        row: Option<usize>,
    },
    /// A business key: the newest prediction that has it, at `at` or before.
    Key {
        /// The value of the column that the model's settings name.
        key: String,
        /// The latest time at which the prediction can have been made.
        at: DateTime<Utc>,
    },
}

/// Reads `{"model", "id" or "key", "row", "label", "time"}`.
///
/// # Errors
///
/// What is wrong with it; names fields, never their content.
pub fn parse_label(item: &[u8]) -> Result<LabelEvent, String> {
    let members = raw::single(item).and_then(Members::of).ok_or("the item is not a JSON object")?;
    line(&members).map_err(|refusal| refusal.problem)
}

pub(super) fn line(item: &Members<'_>) -> Result<LabelEvent, Refusal> {
    let wrong = |problem: &str| Refusal::new("bad_label", problem);
    if let Some((unknown, _)) = item.iter().find(|(name, _)| !KNOWN.contains(name)) {
        let shown: String = unknown.chars().filter(|c| !c.is_control()).take(64).collect();
        return Err(wrong(&format!("`{shown}` is not a known field; known are {}", KNOWN.join(", "))));
    }
    let model = match item.get("model") {
        None => None,
        Some(model) => Some(raw::text(model).ok_or_else(|| wrong("`model` is not text"))?),
    };
    let value = item.get("label").and_then(json_value);
    let value = value.ok_or_else(|| wrong("`label` has to be a number, a truth value or text"))?;
    let time = item.time(&["time"])?;
    let row = match item.get("row") {
        None => None,
        Some(row) => {
            let row = std::str::from_utf8(row).ok().and_then(|row| row.parse().ok());
            Some(row.ok_or_else(|| wrong("`row` is not a whole number of 0 or more"))?)
        }
    };
    let target = match (item.get("id"), item.get("key")) {
        (Some(id), None) => {
            let id = raw::text(id).ok_or_else(|| wrong("`id` is not text"))?;
            let id =
                usable(&id).ok_or_else(|| wrong("`id` is empty, longer than 256 bytes or not printable"))?;
            LabelTarget::Id { id: id.to_owned(), row }
        }
        (None, Some(_)) => {
            let key = item.id(&["key"]);
            let key = key.ok_or_else(|| wrong("`key` is neither a short text nor a whole number"))?;
            let at = time
                .ok_or_else(|| wrong("`key` needs `time`: the latest that the prediction can have been"))?;
            if row.is_some() {
                return Err(wrong("`row` goes with `id`, not with `key`"));
            }
            LabelTarget::Key { key, at }
        }
        (Some(_), Some(_)) => return Err(wrong("`id` and `key` exclude each other")),
        (None, None) => return Err(wrong("`id` and `key` are both absent")),
    };
    Ok(LabelEvent { model, target, value, time })
}
