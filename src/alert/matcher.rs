//! Matchers of labels in routes, inhibitions and silences: `severity="critical"`, `!=`, `=~`, `!~`.

use std::collections::BTreeMap;
use std::fmt;

use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};

/// Longest matcher, in bytes.
const MAX_LENGTH: usize = 1_024;

/// Most memory that a compiled expression may take, in bytes.
const MAX_COMPILED: usize = 1 << 20;

/// How a label is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    Matches,
    MatchesNot,
}

impl Comparison {
    /// Longest first, so that `=~` is not read as `=`.
    const ALL: [(&'static str, Self); 4] =
        [("=~", Self::Matches), ("!~", Self::MatchesNot), ("!=", Self::NotEqual), ("=", Self::Equal)];

    fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Matches => "=~",
            Self::MatchesNot => "!~",
        }
    }
}

/// One condition on one label; a label that an alert does not have is the empty text, as in Alertmanager.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Matcher {
    label: String,
    comparison: Comparison,
    value: String,
    /// The value as an expression over the whole label, where it is one.
    regex: Option<Regex>,
}

impl Matcher {
    /// `label="value"`.
    ///
    /// # Errors
    ///
    /// When `label` cannot be the name of a label.
    pub fn equal(label: &str, value: &str) -> Result<Self, String> {
        Self::new(label, Comparison::Equal, value.to_owned())
    }

    /// Reads `severity="critical"`, `model=~"fraud.*"`, `rule!=Noise`; the value may stand without quotes.
    ///
    /// # Errors
    ///
    /// What was expected, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("expected a matcher such as severity=\"critical\", found `{text}`");
        if text.len() > MAX_LENGTH {
            return Err(format!("expected a matcher of at most {MAX_LENGTH} bytes"));
        }
        let cut = text.find(['=', '!']).ok_or_else(wrong)?;
        let (label, rest) = text.split_at(cut);
        let (sign, comparison) =
            Comparison::ALL.into_iter().find(|(sign, _)| rest.starts_with(sign)).ok_or_else(wrong)?;
        let value = value(rest[sign.len()..].trim()).ok_or_else(wrong)?;
        Self::new(label.trim(), comparison, value)
    }

    fn new(label: &str, comparison: Comparison, value: String) -> Result<Self, String> {
        let named = !label.is_empty()
            && !label.chars().any(|c| c.is_whitespace() || c.is_control() || "=!~\"{},".contains(c));
        if !named {
            return Err(format!("`{label}` cannot be the name of a label"));
        }
        let regex = match comparison {
            Comparison::Equal | Comparison::NotEqual => None,
            Comparison::Matches | Comparison::MatchesNot => {
                // Anchored, as in Prometheus; compiled alone first, so that `)(` cannot break out of the group.
                let compile = |source: &str| {
                    RegexBuilder::new(source).size_limit(MAX_COMPILED).build().map_err(|error| {
                        let error = error.to_string();
                        let line = error.lines().last().unwrap_or_default().trim_start_matches("error: ");
                        format!("`{value}` is not a regular expression: {line}")
                    })
                };
                compile(&value)?;
                Some(compile(&format!("^(?s:{value})$"))?)
            }
        };
        Ok(Self { label: label.to_owned(), comparison, value, regex })
    }

    /// The label that is looked at.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Whether `labels` fulfil the condition.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let found = labels.get(&self.label).map_or("", String::as_str);
        let fits = self.regex.as_ref().map_or(found == self.value, |regex| regex.is_match(found));
        match self.comparison {
            Comparison::Equal | Comparison::Matches => fits,
            Comparison::NotEqual | Comparison::MatchesNot => !fits,
        }
    }
}

/// A bare value, or one in quotes with `\"`, `\\` and `\n`.
fn value(text: &str) -> Option<String> {
    let Some(rest) = text.strip_prefix('"') else {
        // A single quote in front is meant as a quote, which it is not.
        let bare = !text.is_empty()
            && !text.starts_with('\'')
            && !text.contains(|c: char| c.is_control() || "\"{},".contains(c));
        return bare.then(|| text.to_owned());
    };
    let mut value = String::new();
    let mut chars = rest.chars();
    loop {
        match chars.next()? {
            '"' => return chars.next().is_none().then_some(value),
            '\\' => match chars.next()? {
                'n' => value.push('\n'),
                quoted @ ('"' | '\\') => value.push(quoted),
                // Any other backslash is of a regular expression: `\d`, `\.`.
                other => value.extend(['\\', other]),
            },
            plain => value.push(plain),
        }
    }
}

/// Whether all of `matchers` are fulfilled.
pub(super) fn all_match(matchers: &[Matcher], labels: &BTreeMap<String, String>) -> bool {
    matchers.iter().all(|matcher| matcher.matches(labels))
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        (&self.label, self.comparison, &self.value) == (&other.label, other.comparison, &other.value)
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = self.value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        write!(f, "{}{}\"{quoted}\"", self.label, self.comparison.as_str())
    }
}

impl TryFrom<String> for Matcher {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl From<Matcher> for String {
    fn from(matcher: Matcher) -> Self {
        matcher.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn conditions_are_read_and_judged() {
        let alert = labels(&[("severity", "critical"), ("model", "fraud-eu"), ("odd", "a \"b\"\nc")]);
        for (text, expected) in [
            ("severity=\"critical\"", true),
            (" severity = critical ", true),
            ("severity!=critical", false),
            ("severity=crit", false),
            ("model=~\"fraud.*\"", true),
            ("model=~fraud", false),
            ("model=~fraud|other", false),
            ("model=~other|fraud-eu", true),
            ("model!~\"fraud-(us|eu)\"", false),
            ("model=~\"fraud-\\w+\"", true),
            ("absent=\"\"", true),
            ("absent!=\"\"", false),
            ("absent=~\".*\"", true),
            (r#"odd="a \"b\"\nc""#, true),
            ("odd=~\".*c\"", true),
        ] {
            assert_eq!(Matcher::parse(text).map(|matcher| matcher.matches(&alert)), Ok(expected), "{text}");
        }
        for bad in [
            "",
            "severity",
            "=x",
            "a b=c",
            "severity=",
            "severity=\"x",
            "severity=\"x\"y",
            "m=~\"(\"",
            "m=~\")(\"",
            "a='b'",
            "severity~x",
            "a=b,c=d",
            &format!("a={}", "x".repeat(2000)),
            "m=~\"(a{1000}){1000}\"",
        ] {
            assert!(Matcher::parse(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(label in "[a-z_.]{1,10}", value in "\\PC{0,40}", sign in 0_usize..4) {
            let (_, comparison) = Comparison::ALL[sign];
            if let Ok(matcher) = Matcher::new(&label, comparison, value) {
                prop_assert_eq!(Matcher::parse(&matcher.to_string()), Ok(matcher));
            }
        }

        #[test]
        fn reading_never_panics(text in ".{0,60}") {
            let _read = Matcher::parse(&text);
        }
    }
}
