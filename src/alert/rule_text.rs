//! A rule as text: what evidence keeps of it, and the hash that names it.

use std::fmt::Write;

use sha2::{Digest, Sha256};

use crate::yaml::{Node, Yaml};

/// Longest text of a rule, in bytes; every alert and every transition keeps it.
pub(super) const MAX_TEXT: usize = 16 << 10;

/// Writes `rule` as YAML: its keys and values in the file's order, without comments and the file's way of writing them.
pub(super) fn write(rule: &Node) -> String {
    let mut text = String::new();
    block(&mut text, rule, 0);
    text
}

/// What names a text: the first 12 hexadecimal digits of its SHA-256.
pub(super) fn hash(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().take(6).fold(String::new(), |mut name, byte| {
        // Writing to a text cannot fail.
        let _written = write!(name, "{byte:02x}");
        name
    })
}

/// The entries of a mapping, a line each; deeper ones in braces.
fn block(out: &mut String, node: &Node, depth: usize) {
    match &node.value {
        Yaml::Map(entries) if depth == 0 => {
            for (key, value) in entries {
                scalar(out, &key.name);
                out.push_str(": ");
                block(out, value, 1);
                out.push('\n');
            }
        }
        Yaml::Map(entries) => {
            out.push('{');
            for (index, (key, value)) in entries.iter().enumerate() {
                out.push_str(if index == 0 { "" } else { ", " });
                scalar(out, &key.name);
                out.push_str(": ");
                block(out, value, depth + 1);
            }
            out.push('}');
        }
        Yaml::List(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index == 0 { "" } else { ", " });
                block(out, item, depth + 1);
            }
            out.push(']');
        }
        Yaml::Scalar(text) => scalar(out, text),
        Yaml::Null => out.push('~'),
    }
}

/// A text, in quotes unless it is a plain word or a length such as `5m` that YAML takes for nothing else.
fn scalar(out: &mut String, text: &str) {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let words = ["true", "false", "null", "yes", "no", "on", "off", "y", "n", "nan", "inf"];
    let word = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.split(' ').all(|part| !part.is_empty() && part.chars().all(plain))
        && !words.contains(&text.to_ascii_lowercase().as_str());
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let length = digits.len() < text.len()
        && !digits.is_empty()
        && digits.chars().all(|c| c.is_ascii_digit())
        && ["ms", "s", "m", "h", "d", "w"].contains(&&text[digits.len()..]);
    if word || length {
        out.push_str(text);
    } else if text.chars().any(char::is_control)
        || text.contains(['\u{85}', '\u{2028}', '\u{2029}', '\u{feff}'])
    {
        out.push('"');
        for c in text.chars() {
            let _written = match c {
                '"' | '\\' => write!(out, "\\{c}"),
                c if (' '..='~').contains(&c) => write!(out, "{c}"),
                c => write!(out, "\\U{:08X}", u32::from(c)),
            };
        }
        out.push('"');
    } else {
        out.push('\'');
        out.push_str(&text.replace('\'', "''"));
        out.push('\'');
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::yaml::parse;

    /// A tree without its lines.
    fn shape(node: &Node) -> String {
        match &node.value {
            Yaml::Null => "~".to_owned(),
            Yaml::Scalar(text) => format!("{text:?}"),
            Yaml::List(items) => format!("{:?}", items.iter().map(shape).collect::<Vec<_>>()),
            Yaml::Map(entries) => {
                format!(
                    "{:?}",
                    entries.iter().map(|(key, node)| (&key.name, shape(node))).collect::<Vec<_>>()
                )
            }
        }
    }

    #[track_caller]
    fn check_reads_back(text: &str) -> String {
        let node = parse(text).unwrap();
        let written = write(&node);
        let again = parse(&written).unwrap_or_else(|problem| panic!("{problem:?}\n{written}"));
        assert_eq!(shape(&again), shape(&node), "{written}");
        assert_eq!(write(&again), written);
        written
    }

    #[test]
    fn a_rule_is_written_with_its_keys_in_order() {
        let text = "alert: A # why\nfor_each: feature\nexpr: |\n  psi > 0.25 &&\n  kind == 'numeric'\nfor:   2w\n\
                    labels: {severity: warning, team: \"on\"}\nretrain: {mode: auto, min_labels: 500}\nreceivers: [a, 'b c']\n";
        let expected = "alert: A\nfor_each: feature\n\
                        expr: \"psi > 0.25 &&\\U0000000Akind == 'numeric'\\U0000000A\"\nfor: 2w\n\
                        labels: {severity: warning, team: 'on'}\nretrain: {mode: auto, min_labels: '500'}\nreceivers: [a, b c]\n";
        assert_eq!(check_reads_back(text), expected);
        let same = text.replace(" # why", "").replace("for:   2w", "for: '2w'");
        assert_eq!(hash(&check_reads_back(&same)), hash(expected));
        assert_ne!(hash(&check_reads_back(&text.replace("2w", "3w"))), hash(expected));
        assert_eq!(hash("").len(), 12);
    }

    proptest! {
        #[test]
        fn every_text_reads_back(key in "[ -~é\u{85}\u{2028}\t\n]{1,12}", texts in prop::collection::vec(".{0,12}|[a-z0-9~ ]{0,6}", 0..4)) {
            let quoted = |text: &str| serde_json::to_string(text).unwrap();
            let list = texts.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(", ");
            if let Ok(node) = parse(&format!("{}: [{list}]", quoted(&key))) {
                let written = write(&node);
                let again = parse(&written).map_err(|problem| TestCaseError::fail(format!("{problem:?} {written}")))?;
                prop_assert_eq!(shape(&again), shape(&node));
            }
        }
    }
}
