//! JSON as model servers write it, bare `NaN` and `Infinity` included, in bounded memory.

use std::cell::Cell;

use super::decimal;

/// Levels of arrays and objects that a document may have.
pub const MAX_DEPTH: usize = 96;

/// Memory that the nodes of one document may take.
const BUDGET_BYTES: usize = 96 << 20;

/// Numbers for which an array makes room before it has any.
const MAX_USUAL: usize = 4096;

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
}

/// Parses `bytes`, tolerating a byte order mark and bare `NaN`, `Infinity`, `-Infinity` and `1e400`, as Python, Triton
/// and TensorFlow Serving write them.
pub(crate) fn parse(bytes: &[u8]) -> Result<Document, JsonProblem> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut parser = Parser { bytes, at: 0, budget: Budget::new(), nonfinite: 0, usual_length: None };
    let root = parser.value(0)?;
    parser.skip_space();
    if parser.at < bytes.len() {
        return Err(parser.syntax());
    }
    Ok(Document { root, nonfinite: parser.nonfinite })
}

struct Parser<'a> {
    bytes: &'a [u8],
    at: usize,
    budget: Budget,
    nonfinite: u64,
    /// Numbers in the last array of numbers: the rows of a table have as many.
    usual_length: Option<usize>,
}

impl Parser<'_> {
    fn syntax(&self) -> JsonProblem {
        JsonProblem::Syntax { offset: self.at }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn rest(&self) -> &[u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Steps over white space and `byte`, if that comes next.
    fn eat(&mut self, byte: u8) -> bool {
        self.skip_space();
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, token: &str) -> Result<(), JsonProblem> {
        if !self.rest().starts_with(token.as_bytes()) {
            return Err(self.syntax());
        }
        self.at += token.len();
        Ok(())
    }

    fn take(&self, bytes: usize) -> Result<(), JsonProblem> {
        if self.budget.take(bytes) { Ok(()) } else { Err(JsonProblem::TooLarge) }
    }

    fn value(&mut self, depth: usize) -> Result<Node, JsonProblem> {
        self.skip_space();
        match self.peek() {
            Some(b'[' | b'{') if depth >= MAX_DEPTH => Err(JsonProblem::TooDeep),
            Some(b'[') => self.list(depth),
            Some(b'{') => self.object(depth),
            Some(b'"') => Ok(self.string()?.map_or(Node::Bytes, Node::Text)),
            Some(b't') => self.expect("true").map(|()| Node::Bool(true)),
            Some(b'f') => self.expect("false").map(|()| Node::Bool(false)),
            Some(b'n') => self.expect("null").map(|()| Node::Null),
            Some(_) => self.number().map(Node::Number),
            None => Err(self.syntax()),
        }
    }

    fn number(&mut self) -> Result<f64, JsonProblem> {
        let (number, length) = match (self.peek(), self.rest().get(1)) {
            (Some(b'N'), _) => self.expect("NaN").map(|()| (f64::NAN, 0))?,
            (Some(b'I'), _) => self.expect("Infinity").map(|()| (f64::INFINITY, 0))?,
            (Some(b'-'), Some(b'I')) => self.expect("-Infinity").map(|()| (f64::NEG_INFINITY, 0))?,
            _ => decimal::scan(self.rest()).ok_or_else(|| self.syntax())?,
        };
        self.at += length;
        self.nonfinite += u64::from(!number.is_finite());
        Ok(number)
    }

    fn list(&mut self, depth: usize) -> Result<Node, JsonProblem> {
        self.at += 1;
        if self.eat(b']') {
            return Ok(Node::List(Vec::new()));
        }
        let mut list = ListBuilder::default();
        loop {
            self.skip_space();
            if list.is_flat() && matches!(self.peek(), Some(b'-' | b'0'..=b'9' | b'N' | b'I')) {
                let number = self.number()?;
                if list.numbers.is_empty() {
                    // Of the first array only the bytes tell: one number in twenty of them.
                    let guess = || (self.rest().len() / 20).min(128);
                    list.numbers.reserve(self.usual_length.unwrap_or_else(guess).max(4));
                }
                list.numbers.push(number);
                self.take(size_of::<f64>())?;
            } else {
                let node = self.value(depth + 1)?;
                if !list.push(node, &self.budget) {
                    return Err(JsonProblem::TooLarge);
                }
            }
            if self.eat(b']') {
                if list.is_flat() {
                    self.usual_length = Some(list.numbers.len().min(MAX_USUAL));
                }
                return Ok(list.finish());
            }
            self.expect(",")?;
        }
    }

    fn object(&mut self, depth: usize) -> Result<Node, JsonProblem> {
        self.at += 1;
        let mut members = Vec::new();
        if self.eat(b'}') {
            return Ok(Node::Object(members));
        }
        loop {
            self.skip_space();
            let start = self.at;
            let key = match self.string()? {
                Some(key) => key,
                // A name that is no text still has to be told apart from others.
                None => String::from_utf8_lossy(self.bytes.get(start + 1..self.at - 1).unwrap_or_default())
                    .into_owned(),
            };
            self.take(key.len() + size_of::<(String, Node)>())?;
            self.skip_space();
            self.expect(":")?;
            members.push((key, self.value(depth + 1)?));
            if self.eat(b'}') {
                return Ok(Node::Object(members));
            }
            self.expect(",")?;
        }
    }

    /// A string; absent where it is no text. Its extent is found here, its escapes are left to `serde_json`.
    fn string(&mut self) -> Result<Option<String>, JsonProblem> {
        let start = self.at;
        self.expect("\"")?;
        let mut plain = true;
        loop {
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => {
                    plain = false;
                    self.at += 2;
                }
                Some(byte) => {
                    plain &= byte >= b' ';
                    self.at += 1;
                }
                None => return Err(self.syntax()),
            }
        }
        self.at += 1;
        let token = self.bytes.get(start..self.at).unwrap_or_default();
        self.take(token.len())?;
        if !plain {
            return Ok(serde_json::from_slice(token).ok());
        }
        let inside = token.get(1..token.len() - 1).unwrap_or_default();
        Ok(std::str::from_utf8(inside).ok().map(str::to_owned))
    }
}

/// Collects an array, flat as long as only numbers come.
#[derive(Default)]
pub(crate) struct ListBuilder {
    numbers: Vec<f64>,
    nodes: Vec<Node>,
}

impl ListBuilder {
    /// Whether nothing but numbers have come.
    fn is_flat(&self) -> bool {
        self.nodes.is_empty()
    }

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

    fn node(value: &serde_json::Value) -> Node {
        use serde_json::Value;
        match value {
            Value::Null => Node::Null,
            Value::Bool(value) => Node::Bool(*value),
            Value::Number(number) => Node::Number(number.as_f64().unwrap()),
            Value::String(text) => Node::Text(text.clone()),
            Value::Array(items) => {
                let mut list = ListBuilder::default();
                assert!(items.iter().all(|item| list.push(node(item), &Budget::new())));
                list.finish()
            }
            Value::Object(members) => {
                Node::Object(members.iter().map(|(name, value)| (name.clone(), node(value))).collect())
            }
        }
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
        fn every_document_is_read_as_serde_json_does(value in any_json()) {
            let text = value.to_string();
            for text in [text, format!("{value:#}\n")] {
                let document = parse(text.as_bytes()).unwrap();
                prop_assert_eq!(document.nonfinite, 0);
                prop_assert_eq!(document.root, node(&serde_json::from_str(&text).unwrap()));
            }
        }

        #[test]
        fn what_serde_json_takes_is_taken(text in "[\\[\\]{},:\"\\\\a1.eE+ -]{0,30}") {
            if let Ok(value) = serde_json::from_str::<serde_json::Value>(&text) {
                // It sorts members, and of a name that comes twice it keeps one value only.
                let several = text.matches(':').count() > 1;
                let read = parse(text.as_bytes()).map(|document| document.root);
                prop_assert!(if several { read.is_ok() } else { read == Ok(node(&value)) }, "{}", text);
            }
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
