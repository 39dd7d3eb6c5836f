//! driftline's own format, `POST /v1/predictions`: an object, an array of them, or one per line.

use chrono::{DateTime, Utc};

use super::columns::set_cells;
use super::ids::usable;
use super::json::{self, JsonProblem, Node};
use super::table::Table;
use super::{DecodeFailure, MAX_CELLS, Side};
use crate::model::{Batch, ModelName};

/// Items that one request may have.
pub const MAX_ITEMS: usize = 10_000;
/// Fields of an item.
const KNOWN: [&str; 6] = ["model", "id", "model_version", "time", "features", "outputs"];

/// What a request to `POST /v1/predictions` held.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Submission {
    /// The items that can be recorded.
    pub accepted: Vec<Submitted>,
    /// The items that cannot, in the order of the request.
    pub refused: Vec<Refusal>,
}

/// One item that can be recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct Submitted {
    /// Place of the item in the request, from 0.
    pub index: usize,
    /// The model; whether it is monitored is for the caller to check.
    pub model: ModelName,
    /// The id of the prediction, if the sender gives one.
    pub id: Option<String>,
    /// The version that answered.
    pub model_version: Option<String>,
    /// When the prediction happened; absent: on arrival.
    pub time: Option<DateTime<Utc>>,
    /// The rows.
    pub batch: Batch,
}

/// One item that cannot be recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Place of the item in the request, from 0.
    pub index: usize,
    /// The field that is wrong; empty when it is the item as a whole.
    pub field: String,
    /// What is wrong with it; never its content.
    pub problem: String,
}

/// Reads the body of a request; `content_type` tells one item per line (`…ndjson`, `…jsonl`) from a document.
///
/// # Errors
///
/// [`DecodeFailure`] when the body as a whole cannot be read; a bad item is a [`Refusal`] and the others are kept.
pub fn parse(body: &[u8], content_type: Option<&str>) -> Result<Submission, DecodeFailure> {
    let by_line = content_type
        .is_some_and(|kind| ["ndjson", "jsonl", "json-seq"].iter().any(|name| kind.contains(name)));
    if by_line {
        return lines(body);
    }
    match json::parse(body) {
        Ok(document) => match document.root {
            Node::List(items) => {
                check_count(items.len())?;
                let mut submission = Submission::default();
                for (index, node) in items.iter().enumerate() {
                    submission.add(index, item(node));
                }
                Ok(submission)
            }
            Node::Numbers(items) => {
                check_count(items.len())?;
                let mut submission = Submission::default();
                for index in 0..items.len() {
                    submission.add(index, item(&Node::Null));
                }
                Ok(submission)
            }
            root => {
                let mut submission = Submission::default();
                submission.add(0, item(&root));
                Ok(submission)
            }
        },
        // Senders forget the content type: when the first line stands alone, so do the others.
        Err(JsonProblem::Syntax { .. }) if first_line_is_an_object(body) => lines(body),
        Err(problem) => Err(failure(problem)),
    }
}

fn failure(problem: JsonProblem) -> DecodeFailure {
    match problem {
        JsonProblem::Syntax { offset } => DecodeFailure::NotJson { side: Side::Request, offset },
        JsonProblem::TooDeep => DecodeFailure::TooDeep(Side::Request),
        JsonProblem::TooLarge => DecodeFailure::TooLarge { what: "values", limit: MAX_CELLS },
    }
}

fn check_count(count: usize) -> Result<(), DecodeFailure> {
    if count > MAX_ITEMS { Err(DecodeFailure::TooLarge { what: "items", limit: MAX_ITEMS }) } else { Ok(()) }
}

fn line_iter(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty())
}

fn first_line_is_an_object(body: &[u8]) -> bool {
    let mut lines = line_iter(body);
    let first = lines.next().and_then(|line| json::parse(line).ok());
    matches!(first, Some(document) if matches!(document.root, Node::Object(_))) && lines.next().is_some()
}

fn lines(body: &[u8]) -> Result<Submission, DecodeFailure> {
    let mut submission = Submission::default();
    for (index, line) in line_iter(body).enumerate() {
        check_count(index + 1)?;
        let outcome = match json::parse(line) {
            Ok(document) => item(&document.root),
            Err(problem) => Err((String::new(), failure(problem).to_string())),
        };
        submission.add(index, outcome);
    }
    Ok(submission)
}

type Problem = (String, String);

impl Submission {
    fn add(&mut self, index: usize, outcome: Result<Submitted, Problem>) {
        match outcome {
            Ok(submitted) => self.accepted.push(Submitted { index, ..submitted }),
            Err((field, problem)) => self.refused.push(Refusal { index, field, problem }),
        }
    }
}

fn item(node: &Node) -> Result<Submitted, Problem> {
    let wrong = |field: &str, problem: &str| Err((field.to_owned(), problem.to_owned()));
    let Node::Object(members) = node else {
        return wrong("", "is not an object");
    };
    if let Some((unknown, _)) = members.iter().find(|(name, _)| !KNOWN.contains(&name.as_str())) {
        let shown: String = unknown.chars().filter(|c| !c.is_control()).take(64).collect();
        return Err((shown, format!("is not a known field; known are {}", KNOWN.join(", "))));
    }
    let Some(model) = node.get_set("model").and_then(Node::text) else {
        return wrong("model", "is absent or not text");
    };
    let Ok(model) = ModelName::parse(model) else {
        return wrong("model", "is not a model name");
    };
    let id = optional_text(node, "id")?;
    if let Some(id) = &id
        && usable(id).is_none()
    {
        return wrong("id", "is empty, longer than 256 bytes or not printable");
    }
    let model_version = optional_text(node, "model_version")?;
    let time = match optional_text(node, "time")? {
        None => None,
        Some(time) => match DateTime::parse_from_rfc3339(&time) {
            Ok(time) => Some(time.to_utc()),
            Err(_) => return wrong("time", "is not an RFC 3339 time such as 2026-01-31T12:00:00Z"),
        },
    };
    let Some(features) = node.get_set("features") else {
        return wrong("features", "is absent");
    };
    let features = rows(features, "features")?;
    if features.rows() == 0 {
        return wrong("features", "has no rows");
    }
    let outputs = match node.get_set("outputs") {
        None => Table::default(),
        Some(outputs) => {
            let outputs = rows(outputs, "outputs")?;
            if outputs.rows() != features.rows() {
                let problem = format!("has {} rows and `features` has {}", outputs.rows(), features.rows());
                return Err(("outputs".to_owned(), problem));
            }
            outputs
        }
    };
    let batch = Batch { rows: features.rows(), features: features.finish(), outputs: outputs.finish() };
    Ok(Submitted { index: 0, model, id, model_version, time, batch })
}

fn optional_text(node: &Node, field: &str) -> Result<Option<String>, Problem> {
    match node.get_set(field) {
        None => Ok(None),
        Some(Node::Text(text)) => Ok(Some(text.clone())),
        Some(_) => Err((field.to_owned(), "is not text".to_owned())),
    }
}

/// An object is one row, an array of objects is many.
fn rows(node: &Node, field: &str) -> Result<Table, Problem> {
    let mut table = Table::default();
    let rows = match node {
        Node::Object(_) => std::slice::from_ref(node),
        Node::List(rows) => rows.as_slice(),
        _ => return Err((field.to_owned(), "is neither an object nor an array of objects".to_owned())),
    };
    for (at, node) in rows.iter().enumerate() {
        let Node::Object(members) = node else {
            return Err((format!("{field}[{at}]"), "is not an object".to_owned()));
        };
        let too_large = |failure: DecodeFailure| (field.to_owned(), failure.to_string());
        let row = table.add_row().map_err(too_large)?;
        for (name, value) in members {
            set_cells(&mut table, row, name, value).map_err(too_large)?;
        }
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::Value;

    fn fields(submission: &Submission) -> Vec<(usize, &str)> {
        submission.refused.iter().map(|refusal| (refusal.index, refusal.field.as_str())).collect()
    }

    #[test]
    fn one_object_is_one_row() {
        let body = br#"{"model":"bike","id":"p1","model_version":"3","time":"2026-01-31T12:00:00+01:00",
            "features":{"temp":21.5,"season":"summer","holiday":false,"wind":null},"outputs":{"count":12}}"#;
        let submission = parse(body, Some("application/json")).unwrap();
        assert_eq!(submission.refused, []);
        let item = &submission.accepted[0];
        assert_eq!((item.model.as_str(), item.id.as_deref()), ("bike", Some("p1")));
        assert_eq!(item.time.unwrap().to_rfc3339(), "2026-01-31T11:00:00+00:00");
        let cells: Vec<_> = item.batch.features.iter().map(|c| (c.name.as_str(), &c.values[0])).collect();
        let season = Value::Text("summer".into());
        assert_eq!(
            cells,
            [
                ("temp", &Value::Number(21.5)),
                ("season", &season),
                ("holiday", &Value::Bool(false)),
                ("wind", &Value::Missing)
            ]
        );
        assert_eq!(item.batch.outputs[0].values, [Value::Number(12.0)]);
    }

    #[test]
    fn arrays_of_rows_align() {
        let body = br#"{"model":"m","features":[{"a":1},{"a":2,"b":NaN},{"b":3}],"outputs":[{"y":1},{"y":2},{"y":3}]}"#;
        let submission = parse(body, None).unwrap();
        let batch = &submission.accepted[0].batch;
        assert_eq!(batch.rows, 3);
        assert_eq!(batch.features[0].values, [Value::Number(1.0), Value::Number(2.0), Value::Missing]);
        assert!(matches!(batch.features[1].values[1], Value::Number(number) if number.is_nan()));
        assert_eq!(batch.features[1].values[0], Value::Missing);
    }

    #[test]
    fn a_bad_item_leaves_the_good_ones() {
        let body = br#"[
            {"model":"m","features":{"a":1}},
            {"model":"a/b","features":{"a":1}},
            {"features":{"a":1}},
            {"model":"m"},
            {"model":"m","features":[]},
            {"model":"m","features":[1]},
            {"model":"m","features":{"a":1},"outputs":[{"y":1},{"y":2}]},
            {"model":"m","features":{"a":1},"time":"yesterday"},
            {"model":"m","features":{"a":1},"id":""},
            {"model":"m","features":{"a":1},"id":7},
            {"model":"m","features":{"a":1},"feature":{}},
            7,
            {"model":"m","features":{"a":2}}
        ]"#;
        let submission = parse(body, None).unwrap();
        assert_eq!(submission.accepted.iter().map(|item| item.index).collect::<Vec<_>>(), [0, 12]);
        let expected = [
            (1, "model"),
            (2, "model"),
            (3, "features"),
            (4, "features"),
            (5, "features"),
            (6, "outputs"),
            (7, "time"),
            (8, "id"),
            (9, "id"),
            (10, "feature"),
            (11, ""),
        ];
        assert_eq!(fields(&submission), expected);
    }

    #[test]
    fn lines_are_items_with_or_without_the_content_type() {
        let body = b"{\"model\":\"m\",\"features\":{\"a\":1}}\n\n{oops}\r\n{\"model\":\"m\",\"features\":{\"a\":2}}\n";
        for content_type in [Some("application/x-ndjson"), Some("application/json"), None] {
            let submission = parse(body, content_type).unwrap();
            assert_eq!(submission.accepted.len(), 2);
            assert_eq!(fields(&submission), [(1, "")]);
        }
    }

    #[test]
    fn a_body_that_is_nothing_is_refused_as_a_whole() {
        assert_eq!(parse(b"", None).unwrap_err().reason(), "not_json");
        assert_eq!(parse(b"{\"model\":", None).unwrap_err().reason(), "not_json");
        assert_eq!(parse("[".repeat(5000).as_bytes(), None).unwrap_err().reason(), "too_deep");
        let many = format!("[{}{{}}]", "{},".repeat(MAX_ITEMS));
        assert_eq!(parse(many.as_bytes(), None).unwrap_err().reason(), "too_large");
        assert_eq!(parse(b"[1,2]", None).unwrap().refused.len(), 2);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            prop_assert!(parse(&bytes, None).is_ok() || parse(&bytes, None).is_err());
            prop_assert!(parse(&bytes, Some("application/x-ndjson")).is_ok());
        }
    }
}
