//! JSON as model servers write it: strict first, then lenient about bare `NaN` and `Infinity`, always bounded.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use super::lenient;

/// Levels of arrays and objects that a document may have; the strict parser's own limit is 128.
pub const MAX_DEPTH: usize = 96;

/// Memory that the nodes of one document may take.
const BUDGET_BYTES: usize = 96 << 20;

/// A JSON value; arrays of nothing but numbers are held flat.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, NaN and the infinities included.
    Number(f64),
    /// A string.
    Text(String),
    /// A string that is no text (a lone surrogate, bytes that are not UTF-8).
    Bytes,
    /// A non-empty array in which every element is a number.
    Numbers(Vec<f64>),
    /// Any other array.
    List(Vec<Node>),
    /// An object in the order of the document; a name may occur twice.
    Object(Vec<(String, Node)>),
}

impl Node {
    /// The last member called `name`, as the common parsers take it.
    pub(crate) fn get(&self, name: &str) -> Option<&Node> {
        match self {
            Self::Object(members) => members.iter().rev().find(|(key, _)| key == name).map(|(_, node)| node),
            _ => None,
        }
    }

    /// Like [`Node::get`], with an explicit `null` taken as absent.
    pub(crate) fn get_set(&self, name: &str) -> Option<&Node> {
        self.get(name).filter(|node| !matches!(node, Self::Null))
    }

    /// The text of a string.
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Number of elements when this is an array.
    pub(crate) fn list_len(&self) -> Option<usize> {
        match self {
            Self::Numbers(numbers) => Some(numbers.len()),
            Self::List(nodes) => Some(nodes.len()),
            _ => None,
        }
    }
}

/// A parsed document.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Document {
    /// The root.
    pub(crate) root: Node,
    /// Bare `NaN`, `Infinity` and numbers beyond the range of `f64` that were taken as values.
    pub(crate) nonfinite: u64,
}

/// Why a document was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JsonProblem {
    /// Not JSON, and not JSON with bare `NaN` or `Infinity` either.
    Syntax {
        /// Byte at which it stopped making sense.
        offset: usize,
    },
    /// More than [`MAX_DEPTH`] levels.
    TooDeep,
    /// More values than may be held.
    TooLarge,
}

/// What is left of the memory that a document may take.
pub(crate) struct Budget(Cell<usize>);

impl Budget {
    pub(crate) fn new() -> Self {
        Self(Cell::new(BUDGET_BYTES))
    }

    /// Takes `bytes`; false when nothing is left.
    pub(crate) fn take(&self, bytes: usize) -> bool {
        if let Some(left) = self.0.get().checked_sub(bytes) {
            self.0.set(left);
            true
        } else {
            self.0.set(0);
            false
        }
    }

    fn is_spent(&self) -> bool {
        self.0.get() == 0
    }
}

/// Parses `bytes`, tolerating a byte order mark and bare `NaN`, `Infinity`, `-Infinity` and `1e400`.
pub(crate) fn parse(bytes: &[u8]) -> Result<Document, JsonProblem> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let budget = Budget::new();
    let too_deep = Cell::new(false);
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let seed = NodeSeed { depth: 0, budget: &budget, too_deep: &too_deep };
    let strict = seed.deserialize(&mut deserializer).and_then(|root| deserializer.end().map(|()| root));
    match strict {
        Ok(root) => Ok(Document { root, nonfinite: 0 }),
        Err(_) if too_deep.get() => Err(JsonProblem::TooDeep),
        Err(_) if budget.is_spent() => Err(JsonProblem::TooLarge),
        Err(_) => lenient::parse(bytes),
    }
}

#[derive(Clone, Copy)]
struct NodeSeed<'b> {
    depth: usize,
    budget: &'b Budget,
    too_deep: &'b Cell<bool>,
}

impl NodeSeed<'_> {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth >= MAX_DEPTH {
            self.too_deep.set(true);
            return Err(E::custom("too deep"));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }

    fn take<E: serde::de::Error>(self, bytes: usize) -> Result<(), E> {
        if self.budget.take(bytes) { Ok(()) } else { Err(E::custom("too large")) }
    }
}

impl<'de> DeserializeSeed<'de> for NodeSeed<'_> {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for NodeSeed<'_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Number(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Number(value as f64))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Number(value as f64))
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Node, E> {
        self.take(value.len())?;
        Ok(Node::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
        let seed = self.deeper()?;
        let mut list = ListBuilder::default();
        while let Some(node) = seq.next_element_seed(seed)? {
            if !list.push(node, self.budget) {
                return Err(A::Error::custom("too large"));
            }
        }
        Ok(list.finish())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let seed = self.deeper()?;
        let mut members = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            self.take(key.len() + size_of::<(String, Node)>())?;
            members.push((key, map.next_value_seed(seed)?));
        }
        Ok(Node::Object(members))
    }
}

/// Collects an array, flat as long as only numbers come.
#[derive(Default)]
pub(crate) struct ListBuilder {
    numbers: Vec<f64>,
    nodes: Vec<Node>,
}

impl ListBuilder {
    /// Adds an element; false when the budget is spent.
    pub(crate) fn push(&mut self, node: Node, budget: &Budget) -> bool {
        if self.nodes.is_empty() {
            if let Node::Number(number) = node {
                self.numbers.push(number);
                return budget.take(size_of::<f64>());
            }
            if !budget.take(self.numbers.len() * size_of::<Node>()) {
                return false;
            }
            self.nodes = self.numbers.drain(..).map(Node::Number).collect();
        }
        self.nodes.push(node);
        budget.take(size_of::<Node>())
    }

    /// The array as a node.
    pub(crate) fn finish(self) -> Node {
        if self.numbers.is_empty() { Node::List(self.nodes) } else { Node::Numbers(self.numbers) }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    fn root(text: &str) -> Node {
        parse(text.as_bytes()).unwrap().root
    }

    #[test]
    fn arrays_of_numbers_are_flat() {
        assert_eq!(root("[1,2.5,-3]"), Node::Numbers(vec![1.0, 2.5, -3.0]));
        assert_eq!(root("[1,null]"), Node::List(vec![Node::Number(1.0), Node::Null]));
        assert_eq!(root("[]"), Node::List(vec![]));
    }

    #[test]
    fn bare_nonfinite_tokens_are_values() {
        let document = parse(br#"{"a":[NaN,Infinity,-Infinity,1e400,-1e400,1],"b":"NaN"}"#).unwrap();
        assert_eq!(document.nonfinite, 5);
        let Some(Node::Numbers(numbers)) = document.root.get("a") else { panic!("{document:?}") };
        assert!(numbers[0].is_nan());
        assert_eq!(numbers[1..5], [f64::INFINITY, f64::NEG_INFINITY, f64::INFINITY, f64::NEG_INFINITY]);
        assert_eq!(document.root.get("b"), Some(&Node::Text("NaN".into())));
    }

    #[test]
    fn tolerates_what_servers_send() {
        assert_eq!(root("\u{feff}[1]"), Node::Numbers(vec![1.0]));
        assert_eq!(root("[18446744073709551616]"), Node::Numbers(vec![18_446_744_073_709_551_616.0]));
        assert_eq!(root(r#"{"a":1,"a":2}"#).get("a"), Some(&Node::Number(2.0)));
        assert_eq!(root(r#"["\ud800",1]"#), Node::List(vec![Node::Bytes, Node::Number(1.0)]));
        let not_utf8 = parse(b"[\"\xff\",\"ok\"]").unwrap().root;
        assert_eq!(not_utf8, Node::List(vec![Node::Bytes, Node::Text("ok".into())]));
    }

    #[test]
    fn refuses_depth_and_nonsense() {
        for depth in [MAX_DEPTH + 1, 10_000, 500_000] {
            assert_eq!(parse("[".repeat(depth).as_bytes()), Err(JsonProblem::TooDeep), "{depth}");
        }
        let deepest = format!("{}{}", "[".repeat(MAX_DEPTH), "]".repeat(MAX_DEPTH));
        assert!(parse(deepest.as_bytes()).is_ok());
        for nonsense in
            ["", "  ", "{", "[1,]", "nan", "[NaN", "{\"a\" 1}", "[1] [2]", "+1", "01", "[.5]", "\"a"]
        {
            assert!(matches!(parse(nonsense.as_bytes()), Err(JsonProblem::Syntax { .. })), "{nonsense}");
        }
    }

    #[test]
    fn memory_is_bounded() {
        let wide = format!("[{}[]]", "[],".repeat(4_000_000));
        assert_eq!(parse(wide.as_bytes()), Err(JsonProblem::TooLarge));
    }

    pub(crate) fn any_json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<f64>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            ".{0,8}".prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 64, 8, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..8).prop_map(Into::into),
                proptest::collection::vec((".{0,4}", inner), 0..8)
                    .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_lenient_parser_agrees_with_the_strict_one(value in any_json()) {
            let text = value.to_string();
            let strict = parse(text.as_bytes()).unwrap();
            prop_assert_eq!(lenient::parse(text.as_bytes()), Ok(strict));
        }

        #[test]
        fn any_bytes_are_parsed_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            // Reaching the end without a panic is the statement.
            prop_assert!(parse(&bytes).is_ok() || parse(&bytes).is_err());
        }

        #[test]
        fn any_json_like_text_is_parsed_or_refused(text in "[\\[\\]{},:\"\\\\a1.eE+ NInfity-]{0,60}") {
            prop_assert!(parse(text.as_bytes()).is_ok() || parse(text.as_bytes()).is_err());
        }
    }
}
