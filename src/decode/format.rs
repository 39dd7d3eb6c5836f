//! How the messages of a model are read where settings say so: a forced protocol, and pointers into free JSON.

use serde::Deserialize;

use super::json::Node;
use super::{Protocol, Side};
use crate::model::NameList;

/// Longest pointer, in steps.
const MAX_STEPS: usize = 32;

/// How the messages of a model are to be read, for servers whose bodies do not tell.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Format {
    /// The protocol, whatever path, headers and body say: `kserve_v1`, `tensorflow_examples`, `open_inference`,
    /// `mlflow`, `sagemaker`, `seldon_v1`, `azure_score`, `vertex`, `torchserve`, `openai` or `free_json`. Absent: told
    /// by path, headers and body; `free_json` when `request` or `response` says where rows are.
    pub protocol: Option<Protocol>,
    /// Where the rows of a request are.
    pub request: Mapping,
    /// Where the rows of an answer are.
    pub response: Mapping,
    /// Where the id of the prediction is, in the request or else in the answer: a JSON pointer such as `/request_id`.
    pub id: Option<Pointer>,
    /// Where the time of the prediction is, in the request or else in the answer: RFC 3339, or seconds or milliseconds
    /// since the epoch.
    pub time: Option<Pointer>,
}

/// Where the rows of a message are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mapping {
    /// A JSON pointer (RFC 6901) to an array of rows, such as `/rows`; with one `*` for every element,
    /// `/batch/*/input`, to each row. `""` says that the document is one row. Absent: the only array of objects, or of
    /// arrays of scalars, that is at most two levels deep.
    pub rows: Option<Pointer>,
    /// `auto`, or pointers by column, relative to a row: `{age: /person/age}`.
    pub columns: Columns,
    /// Names of the values of a row that is an array, in order; tensors and columns that have a name keep it.
    pub names: NameList,
}

impl Format {
    /// What it says of one side.
    pub(super) fn mapping(&self, side: Side) -> &Mapping {
        match side {
            Side::Request => &self.request,
            Side::Response => &self.response,
        }
    }
}

impl Mapping {
    /// Whether it says where rows or columns are.
    pub fn points(&self) -> bool {
        self.rows.is_some() || self.columns != Columns::Auto
    }
}

/// Which columns a row of free JSON has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Columns {
    /// Every scalar, under its own name; those of nested objects as `outer.inner`, those of arrays as `name[j]`.
    #[default]
    Auto,
    /// These, in order.
    Map(Vec<(String, Pointer)>),
}

impl<'de> Deserialize<'de> for Columns {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Columns;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("`auto` or pointers by column, such as {age: /age}")
            }

            fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<Columns, E> {
                if word == "auto" {
                    Ok(Columns::Auto)
                } else {
                    Err(E::invalid_value(serde::de::Unexpected::Str(word), &self))
                }
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Columns, A::Error> {
                let mut columns = Vec::new();
                while let Some(column) = map.next_entry()? {
                    columns.push(column);
                }
                Ok(Columns::Map(columns))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// A JSON pointer (RFC 6901), in which one step may be `*`, every element of an array.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Pointer(Vec<Step>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Each,
    /// A member, or the element at `index`.
    Name {
        name: String,
        index: Option<usize>,
    },
}

/// What a pointer leads to; elements of an array of numbers are not nodes of their own.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place<'n> {
    Node(&'n Node),
    Number(f64),
}

impl TryFrom<String> for Pointer {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let mut parts = text.split('/');
        if parts.next() != Some("") {
            return Err(format!("`{text}` is not a JSON pointer: it is empty or starts with `/`"));
        }
        let steps = parts.map(|part| Step::parse(part, &text)).collect::<Result<Vec<_>, _>>()?;
        if steps.len() > MAX_STEPS {
            return Err(format!("`{text}` has more than {MAX_STEPS} steps"));
        }
        if steps.iter().filter(|step| matches!(step, Step::Each)).count() > 1 {
            return Err(format!("`{text}` has more than one `*`"));
        }
        Ok(Self(steps))
    }
}

impl Step {
    fn parse(part: &str, whole: &str) -> Result<Self, String> {
        if part == "*" {
            return Ok(Self::Each);
        }
        let mut escapes = part.split('~').skip(1);
        if !escapes.all(|rest| rest.starts_with(['0', '1'])) {
            return Err(format!("`{whole}`: after `~` comes `0` (for `~`) or `1` (for `/`)"));
        }
        let name = part.replace("~1", "/").replace("~0", "~");
        let is_index =
            name == "0" || (!name.starts_with('0') && name.bytes().all(|byte| byte.is_ascii_digit()));
        let index = if is_index { name.parse().ok() } else { None };
        Ok(Self::Name { name, index })
    }
}

impl Pointer {
    /// Whether it leads to every element of an array.
    pub fn is_each(&self) -> bool {
        self.0.contains(&Step::Each)
    }

    /// Whether it leads to the document itself.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Everything that it leads to, in order; with a `*` an absence too, so that rows keep their places.
    pub(super) fn find<'n>(&self, root: &'n Node) -> Vec<Option<Place<'n>>> {
        let at = self.0.iter().position(|step| *step == Step::Each).unwrap_or(self.0.len());
        let (front, back) = self.0.split_at(at);
        let back = back.get(1..).unwrap_or_default();
        let start = follow(Some(Place::Node(root)), front);
        if !self.is_each() {
            return vec![start];
        }
        match start {
            Some(Place::Node(Node::List(nodes))) => {
                nodes.iter().map(|node| follow(Some(Place::Node(node)), back)).collect()
            }
            Some(Place::Node(Node::Numbers(numbers))) if back.is_empty() => {
                numbers.iter().map(|number| Some(Place::Number(*number))).collect()
            }
            _ => Vec::new(),
        }
    }
}

fn follow<'n>(start: Option<Place<'n>>, steps: &[Step]) -> Option<Place<'n>> {
    steps.iter().fold(start, |place, step| match (place?, step) {
        (Place::Node(node @ Node::Object(_)), Step::Name { name, .. }) => node.get(name).map(Place::Node),
        (Place::Node(Node::List(nodes)), Step::Name { index: Some(index), .. }) => {
            nodes.get(*index).map(Place::Node)
        }
        (Place::Node(Node::Numbers(numbers)), Step::Name { index: Some(index), .. }) => {
            numbers.get(*index).map(|number| Place::Number(*number))
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::json;
    use super::*;

    #[track_caller]
    fn check(pointer: &str, expected: &str) {
        let document =
            br#"{"":0,"a/b":1,"m~n":2,"list":[10,20],"rows":[{"x":1},{"y":2},{"x":3}],"*":5,"01":6}"#;
        let root = json::parse(document).unwrap().root;
        let pointer = Pointer::try_from(pointer.to_owned()).unwrap();
        let shown: Vec<String> = pointer
            .find(&root)
            .into_iter()
            .map(|place| match place {
                Some(Place::Number(number)) => number.to_string(),
                Some(Place::Node(Node::Number(number))) => number.to_string(),
                Some(Place::Node(_)) => "node".to_owned(),
                None => "none".to_owned(),
            })
            .collect();
        assert_eq!(shown.join(" "), expected, "{pointer:?}");
    }

    #[test]
    fn pointers_follow_the_rfc_and_one_star() {
        check("", "node");
        check("/", "0");
        check("/a~1b", "1");
        check("/m~0n", "2");
        check("/list/1", "20");
        check("/list/01", "none");
        check("/list/-", "none");
        check("/01", "6");
        check("/list/2", "none");
        check("/nowhere/at/all", "none");
        check("/list/*", "10 20");
        check("/rows/*/x", "1 none 3");
        check("/list/*/x", "");
        check("/rows/1/*", "");
    }

    #[test]
    fn wrong_pointers_are_refused() {
        for wrong in ["a", "a/b", "/a~2b", "/~", "/*/a/*", &"/a".repeat(MAX_STEPS + 1)] {
            assert!(Pointer::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_pointer_or_not(text in "[/*~01a]{0,20}") {
            let root = json::parse(br#"{"a":[{"a":1},[1,2]],"0":[1]}"#).unwrap().root;
            if let Ok(pointer) = Pointer::try_from(text) {
                prop_assert!(pointer.find(&root).len() <= 2);
            }
        }
    }
}
