//! YAML as a tree that knows its lines, so that one reading can report every problem of a file.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

/// Deepest nesting of a document; the deepest shape needs seven.
const MAX_DEPTH: usize = 16;
/// Most values of a document: ten thousand columns with every check, or the longest list of allowed values.
const MAX_NODES: usize = 2_000_000;

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    /// Line of its first character, from 1.
    pub(crate) line: u64,
    /// What it is.
    pub(crate) value: Yaml,
}

/// The kinds of value a document can hold.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Yaml {
    /// Nothing, `~` or `null`.
    Null,
    /// Text, a number or a truth value, as text.
    Scalar(String),
    /// `- a`, `[a]`.
    List(Vec<Node>),
    /// `key: value`, in the file's order.
    Map(Vec<(Key, Node)>),
}

/// A key and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Key {
    /// Line, from 1.
    pub(crate) line: u64,
    /// The key.
    pub(crate) name: String,
}

impl Yaml {
    /// The kind in words, for "expected …, found …".
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Scalar(_) => "a single value",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }
}

/// Reads one document; a problem of the syntax comes with its line.
pub(crate) fn parse(text: &str) -> Result<Node, (u64, String)> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            flow_nesting_limit: MAX_DEPTH,
            max_nodes: MAX_NODES,
            max_events: 2 * MAX_NODES,
        },
        // A category called `yes` or `007` is that text, and not `true` or `7`.
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        merge_keys: serde_saphyr::MergeKeyPolicy::Error,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options::<Node>(text, options).map_err(|error| {
        let line = error.location().map_or(1, |location| location.line()).max(1);
        let message = without_place(&error.without_snippet().to_string());
        match tab_near(text, line) {
            Some(tab) => (line, format!("{message}; line {tab} is indented with a tab, use spaces")),
            None => (line, message),
        }
    })
}

/// The line with a tab before its first word that a problem found at `line` may be about: that line, or one beside it.
fn tab_near(text: &str, line: u64) -> Option<u64> {
    let indented = |line: &str| {
        line.bytes().take_while(|byte| matches!(byte, b' ' | b'\t' | b'-')).any(|byte| byte == b'\t')
    };
    let skip = usize::try_from(line.saturating_sub(2)).unwrap_or(usize::MAX);
    let near = text.lines().enumerate().skip(skip).take(3);
    let found = near.filter(|(_, line)| indented(line)).map(|(index, _)| index as u64 + 1);
    found.last()
}

/// The parser's message in one line and without its own `line 3 column 4`, which we print ourselves.
fn without_place(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default().trim();
    let line = line.strip_prefix("error: ").unwrap_or(line);
    let line = match line.strip_prefix("line ").and_then(|rest| rest.split_once(": ")) {
        Some((place, rest)) if place.chars().all(|c| c.is_ascii_digit() || " column".contains(c)) => rest,
        _ => line,
    };
    match line.rfind(" at line ") {
        Some(cut) => line[..cut].to_owned(),
        None => line.to_owned(),
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Yaml>::deserialize(deserializer)?;
        Ok(Self { line: spanned.referenced.line().max(1), value: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Yaml {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(YamlVisitor)
    }
}

struct YamlVisitor;

impl<'de> Visitor<'de> for YamlVisitor {
    type Value = Yaml;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a value, a list or a mapping")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Yaml, E> {
        Ok(Yaml::Scalar(value.to_string()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Yaml, E> {
        Ok(Yaml::Scalar(value.to_string()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Yaml, E> {
        Ok(Yaml::Scalar(value.to_string()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Yaml, E> {
        Ok(Yaml::Scalar(value.to_string()))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Yaml, E> {
        Ok(Yaml::Scalar(value.to_owned()))
    }

    fn visit_unit<E: Error>(self) -> Result<Yaml, E> {
        Ok(Yaml::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Yaml, E> {
        Ok(Yaml::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Yaml, D::Error> {
        Yaml::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Yaml, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = sequence.next_element()? {
            items.push(item);
        }
        Ok(Yaml::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Yaml, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            let key = Key { line: key.referenced.line().max(1), name: key.value };
            entries.push((key, map.next_value()?));
        }
        Ok(Yaml::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_knows_its_line() {
        let root = parse("a: 1\nb:\n  - x\n  - {c: true, d: ~}\n").unwrap();
        let Yaml::Map(entries) = root.value else { panic!("{root:?}") };
        assert_eq!(entries[1].0, Key { line: 2, name: "b".into() });
        let Yaml::List(items) = &entries[1].1.value else { panic!("{entries:?}") };
        assert_eq!(items[0], Node { line: 3, value: Yaml::Scalar("x".into()) });
        let Yaml::Map(inner) = &items[1].value else { panic!("{items:?}") };
        assert_eq!((inner[0].0.line, &inner[0].1.value), (4, &Yaml::Scalar("true".into())));
        assert_eq!(inner[1].1.value, Yaml::Null);
    }

    #[test]
    fn words_of_other_dialects_stay_text() {
        let root = parse("[yes, no, on, 007, 1_000, \"1.50\", 'null', 1.50, 12, true]").unwrap();
        let Yaml::List(items) = root.value else { panic!("{root:?}") };
        let texts: Vec<&str> = items
            .iter()
            .map(|item| match &item.value {
                Yaml::Scalar(text) => text.as_str(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(texts, ["yes", "no", "on", "007", "1_000", "1.50", "null", "1.5", "12", "true"]);
    }

    #[test]
    fn syntax_problems_have_a_line() {
        let bomb = "a: &a [1,1,1,1]\nb: &b [*a,*a,*a,*a]\n".to_owned() + &"c: [*b,*b,*b,*b]\n".repeat(3);
        for (text, line) in [
            ("a: 1\n\tb: 2\n", 2),
            ("a: 1\na: 2\n", 2),
            ("a: [1, 2\nb: 3\n", 2),
            ("a: 'x\n", 1),
            (&"[".repeat(5000), 1),
            (bomb.as_str(), 4),
            ("<<: {a: 1}\n", 1),
        ] {
            let (found, problem) = parse(text).unwrap_err();
            assert!(found.abs_diff(line) <= 1, "{text:?}: line {found}, not {line}: {problem}");
            assert!(!problem.is_empty() && !problem.contains('\n'), "{problem}");
        }
    }
}
