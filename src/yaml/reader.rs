//! Reading a tree field by field: unknown keys, wrong kinds and bad values all become problems with a line.

use std::collections::BTreeMap;

use super::{Node, Problem, Yaml, hint};

/// Most problems that are listed; a document with more is something else altogether.
const MAX_PROBLEMS: usize = 1_000;

/// Where problems of one document go.
pub(crate) struct Reader<'a> {
    /// The file, for people.
    pub(crate) path: &'a str,
    /// Put before every message: `column "temp": `.
    pub(crate) context: String,
    /// What was found so far.
    pub(crate) problems: &'a mut Vec<Problem>,
}

/// The entries of one mapping.
pub(crate) struct Fields<'n> {
    line: u64,
    what: String,
    entries: BTreeMap<&'n str, &'n Node>,
}

impl<'n> Fields<'n> {
    /// The value of `key`.
    pub(crate) fn get(&self, key: &str) -> Option<&'n Node> {
        self.entries.get(key).copied()
    }

    /// The value of `key`; that it is not there is a problem.
    pub(crate) fn required(&self, reader: &mut Reader, key: &str) -> Option<&'n Node> {
        let found = self.get(key);
        if found.is_none() {
            reader.problem(self.line, format!("expected `{key}` in {}", self.what));
        }
        found
    }
}

impl Reader<'_> {
    /// Notes a problem at `line`.
    pub(crate) fn problem(&mut self, line: u64, message: impl AsRef<str>) {
        let message = match self.problems.len() {
            MAX_PROBLEMS.. => return,
            count if count + 1 == MAX_PROBLEMS => "further problems are not listed".to_owned(),
            _ => format!("{}{}", self.context, message.as_ref()),
        };
        self.problems.push(Problem { path: self.path.to_owned(), line, message });
    }

    /// The value of `result`, or nothing and a problem with `key` at `line`.
    pub(crate) fn keep<T>(&mut self, line: u64, key: &str, result: Result<T, String>) -> Option<T> {
        result.map_err(|message| self.problem(line, format!("`{key}`: {message}"))).ok()
    }

    /// The entries of a mapping; a key that is not `known` is a problem with a suggestion.
    pub(crate) fn fields<'n>(&mut self, node: &'n Node, what: &str, known: &[&str]) -> Option<Fields<'n>> {
        let Yaml::Map(entries) = &node.value else {
            self.problem(node.line, format!("expected {what} to be a mapping, found {}", node.value.kind()));
            return None;
        };
        for (key, _) in entries.iter().filter(|(key, _)| !known.contains(&key.name.as_str())) {
            let near = hint(&key.name, known.iter().copied());
            let near =
                if near.is_empty() { format!(", expected one of `{}`", known.join("`, `")) } else { near };
            self.problem(key.line, format!("unknown key `{}` in {what}{near}", key.name));
        }
        let entries = entries.iter().map(|(key, value)| (key.name.as_str(), value)).collect();
        Some(Fields { line: node.line, what: what.to_owned(), entries })
    }

    /// The entries of a list, at least one.
    pub(crate) fn list<'n>(&mut self, node: &'n Node, what: &str) -> &'n [Node] {
        match &node.value {
            Yaml::List(items) if !items.is_empty() => items,
            Yaml::List(_) | Yaml::Null => {
                self.problem(node.line, format!("expected at least one entry in {what}"));
                &[]
            }
            other => {
                self.problem(node.line, format!("expected {what} to be a list, found {}", other.kind()));
                &[]
            }
        }
    }

    /// A single value as text.
    pub(crate) fn text<'n>(&mut self, node: &'n Node, key: &str) -> Option<&'n str> {
        if let Yaml::Scalar(text) = &node.value {
            return Some(text);
        }
        self.problem(node.line, format!("`{key}`: expected a single value, found {}", node.value.kind()));
        None
    }

    /// A single value as what `read` makes of it.
    pub(crate) fn value<T>(
        &mut self,
        node: &Node,
        key: &str,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let text = self.text(node, key)?;
        self.keep(node.line, key, read(text))
    }
}
