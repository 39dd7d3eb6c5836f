//! The second look at a document that is not strict JSON: bare `NaN`, `Infinity` and `1e400` are values in it.

use super::json::{Budget, Document, JsonProblem, ListBuilder, MAX_DEPTH, Node};

/// Parses `bytes` like JSON, with the tokens that Python, Triton and TensorFlow Serving write.
pub(crate) fn parse(bytes: &[u8]) -> Result<Document, JsonProblem> {
    let mut parser = Parser { bytes, at: 0, budget: Budget::new(), nonfinite: 0 };
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

    /// Steps over `token` if it comes next.
    fn eat(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token.as_bytes());
        if found {
            self.at += token.len();
        }
        found
    }

    fn expect(&mut self, token: &str) -> Result<(), JsonProblem> {
        if self.eat(token) { Ok(()) } else { Err(self.syntax()) }
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
            Some(b'"') => self.string(),
            Some(b't') => self.expect("true").map(|()| Node::Bool(true)),
            Some(b'f') => self.expect("false").map(|()| Node::Bool(false)),
            Some(b'n') => self.expect("null").map(|()| Node::Null),
            Some(b'N') => self.expect("NaN").map(|()| self.special(f64::NAN)),
            Some(b'I') => self.expect("Infinity").map(|()| self.special(f64::INFINITY)),
            Some(b'-') if self.rest().starts_with(b"-I") => {
                self.expect("-Infinity").map(|()| self.special(f64::NEG_INFINITY))
            }
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => Err(self.syntax()),
        }
    }

    fn special(&mut self, value: f64) -> Node {
        self.nonfinite += 1;
        Node::Number(value)
    }

    fn list(&mut self, depth: usize) -> Result<Node, JsonProblem> {
        self.expect("[")?;
        let mut list = ListBuilder::default();
        self.skip_space();
        if self.eat("]") {
            return Ok(list.finish());
        }
        loop {
            let node = self.value(depth + 1)?;
            if !list.push(node, &self.budget) {
                return Err(JsonProblem::TooLarge);
            }
            self.skip_space();
            if self.eat("]") {
                return Ok(list.finish());
            }
            self.expect(",")?;
        }
    }

    fn object(&mut self, depth: usize) -> Result<Node, JsonProblem> {
        self.expect("{")?;
        let mut members = Vec::new();
        self.skip_space();
        if self.eat("}") {
            return Ok(Node::Object(members));
        }
        loop {
            self.skip_space();
            let start = self.at;
            let key = match self.string()? {
                Node::Text(key) => key,
                // A name that is no text still has to be told apart from others.
                _ => String::from_utf8_lossy(self.bytes.get(start + 1..self.at - 1).unwrap_or_default())
                    .into_owned(),
            };
            self.take(key.len() + size_of::<(String, Node)>())?;
            self.skip_space();
            self.expect(":")?;
            members.push((key, self.value(depth + 1)?));
            self.skip_space();
            if self.eat("}") {
                return Ok(Node::Object(members));
            }
            self.expect(",")?;
        }
    }

    /// A string: its extent is found here, its escapes are left to the strict parser.
    fn string(&mut self) -> Result<Node, JsonProblem> {
        let start = self.at;
        self.expect("\"")?;
        loop {
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => self.at += 2,
                Some(_) => self.at += 1,
                None => return Err(self.syntax()),
            }
        }
        self.at += 1;
        let token = self.bytes.get(start..self.at).unwrap_or_default();
        self.take(token.len())?;
        Ok(serde_json::from_slice(token).map_or(Node::Bytes, Node::Text))
    }

    fn number(&mut self) -> Result<Node, JsonProblem> {
        let start = self.at;
        self.eat("-");
        if !self.eat("0") {
            self.digits()?;
        }
        if self.eat(".") {
            self.digits()?;
        }
        if self.eat("e") || self.eat("E") {
            if !self.eat("+") {
                self.eat("-");
            }
            self.digits()?;
        }
        let token = self.bytes.get(start..self.at).unwrap_or_default();
        let number: f64 = std::str::from_utf8(token)
            .ok()
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| self.syntax())?;
        Ok(if number.is_finite() { Node::Number(number) } else { self.special(number) })
    }

    /// One digit or more.
    fn digits(&mut self) -> Result<(), JsonProblem> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start { Err(self.syntax()) } else { Ok(()) }
    }
}
