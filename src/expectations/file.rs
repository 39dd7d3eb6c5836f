//! The document: YAML in, expectations or every problem out.
//!
//! ```yaml
//! model: bike-demand                # optional
//! rows: {min: 100, max: 100000}     # per window
//! freshness: 15m                    # the newest row is at most this much older than the window's end
//! confidence: 0.999                 # for shares over a limit above 0; `none`: compare plainly
//! columns:                          # or `features:` and `outputs:`, where a name is both
//!   temp:
//!     type: numeric                 # numeric, integer, categorical, boolean
//!     required: true                # a window without a single value is a violation
//!     missing: {max: 0.01}          # share of rows without a value
//!     min: -30
//!     max: {value: 50, tolerate: 0.001}
//!   season: {allowed: [spring, summer, fall, winter], tolerate: 0.01}
//!   plate: {type: categorical, pattern: "^[A-Z]{2}-[0-9]+$", unique: {min: 0.9}}
//! ```
//!
//! `tolerate` is the share of values that may break `type`, `min`, `max`, `allowed` or `pattern`: of one check in its
//! long form, of all checks of a column beside them, 0 unless stated.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{
    ColumnExpectation, DEFAULT_CONFIDENCE, Expectations, ExpectedType, MAX_ALLOWED, MAX_COLUMNS,
    MAX_DOCUMENT, Tolerated,
};
use crate::model::{FeatureKind, ModelName, Role};
use crate::profile::Pattern;
use crate::yaml::{Fields, Node, Problem, Reader, Yaml, hint, parse};

const KEYS: [&str; 7] = ["model", "rows", "freshness", "confidence", "columns", "features", "outputs"];
const COLUMN_KEYS: [&str; 9] =
    ["type", "required", "missing", "min", "max", "allowed", "pattern", "unique", "tolerate"];
/// Longest name of a column or an allowed value, in bytes.
const MAX_NAME: usize = 10_000;
/// Milliseconds of a hundred years: a longer span is a typing error, and would not fit into the calendar.
const MAX_SPAN: u64 = 36_500 * 86_400_000;

impl Expectations {
    /// Reads a document; `path` is for the messages only.
    ///
    /// # Errors
    ///
    /// Every [`Problem`] of the document, in the order of its lines: unknown keys with the nearest known one, values
    /// that cannot be, contradictions.
    pub fn parse(path: &str, text: &str) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut reader = Reader { path, context: String::new(), problems: &mut problems };
        let read = if text.len() > MAX_DOCUMENT {
            reader.problem(1, format!("expected a document of at most {} MiB", MAX_DOCUMENT >> 20));
            None
        } else {
            match parse(text) {
                Ok(root) => document(&mut reader, &root),
                Err((line, message)) => {
                    reader.problem(line, format!("expected YAML: {message}"));
                    None
                }
            }
        };
        match read {
            Some(expectations) if problems.is_empty() => Ok(expectations),
            _ => {
                problems.sort();
                Err(problems)
            }
        }
    }
}

fn document(reader: &mut Reader, root: &Node) -> Option<Expectations> {
    let fields = reader.fields(root, "a document of expectations", &KEYS)?;
    let mut read = Expectations::default();
    if let Some(node) = fields.get("model") {
        read.model =
            reader.value(node, "model", |text| ModelName::parse(text).map_err(|error| error.to_string()));
    }
    if let Some(node) = fields.get("rows") {
        (read.rows_min, read.rows_max) = rows(reader, node);
    }
    if let Some(node) = fields.get("freshness") {
        read.freshness = reader.value(node, "freshness", span);
    }
    read.confidence = match fields.get("confidence") {
        Some(node) => reader.value(node, "confidence", confidence).flatten(),
        None => Some(DEFAULT_CONFIDENCE),
    };
    let mut stated = 0;
    for (key, role) in [("columns", None), ("features", Some(Role::Feature)), ("outputs", Some(Role::Output))]
    {
        let Some(node) = fields.get(key) else { continue };
        let Yaml::Map(entries) = &node.value else {
            reader.problem(
                node.line,
                format!("`{key}`: expected names and their checks, found {}", node.value.kind()),
            );
            continue;
        };
        stated += entries.len();
        if stated > MAX_COLUMNS {
            reader.problem(node.line, format!("`{key}`: expected at most {MAX_COLUMNS} columns"));
            break;
        }
        for (name, node) in entries {
            reader.context = format!("{} \"{}\": ", role.map_or("column", Role::as_str), name.name);
            if name.name.is_empty() || name.name.len() > MAX_NAME {
                reader.problem(name.line, format!("expected a name of 1 to {MAX_NAME} bytes"));
            }
            read.columns.extend(column(reader, &name.name, role, node));
        }
        reader.context.clear();
    }
    let checks_window = ["rows", "freshness"].iter().any(|key| fields.get(key).is_some());
    if stated == 0 && !checks_window {
        reader.problem(
            root.line,
            "expected at least one of `rows`, `freshness`, `columns`, `features`, `outputs`",
        );
    }
    Some(read)
}

fn rows(reader: &mut Reader, node: &Node) -> (Option<u64>, Option<u64>) {
    let Some(fields) = reader.fields(node, "`rows`", &["min", "max"]) else { return (None, None) };
    let mut limit = |key: &str| {
        let node = fields.get(key)?;
        reader.value(node, &format!("rows.{key}"), |text| {
            text.parse::<u64>().map_err(|_| format!("expected a whole number, found `{text}`"))
        })
    };
    let (min, max) = (limit("min"), limit("max"));
    if let (Some(least), Some(most)) = (min, max)
        && least > most
    {
        reader.problem(node.line, format!("`rows`: expected min {least} to be at most max {most}"));
    }
    if fields.get("min").is_none() && fields.get("max").is_none() {
        reader.problem(node.line, "`rows`: expected `min`, `max` or both");
    }
    (min, max)
}

fn column(reader: &mut Reader, name: &str, role: Option<Role>, node: &Node) -> Option<ColumnExpectation> {
    let fields = reader.fields(node, "its checks", &COLUMN_KEYS)?;
    if COLUMN_KEYS.iter().all(|key| *key == "tolerate" || fields.get(key).is_none()) {
        reader.problem(node.line, "expected at least one check");
    }
    let usual = fields.get("tolerate").and_then(|node| reader.value(node, "tolerate", tolerance));
    let usual = usual.unwrap_or(0.0);
    let mut read = ColumnExpectation::new(name, role);
    read.expected_type =
        tolerated(reader, &fields, "type", usual, |reader, node| reader.value(node, "type", expected_type));
    read.required =
        fields.get("required").and_then(|node| reader.value(node, "required", truth)) == Some(true);
    read.missing_max = only(reader, &fields, "missing", "max");
    read.min = tolerated(reader, &fields, "min", usual, |reader, node| reader.value(node, "min", number));
    read.max = tolerated(reader, &fields, "max", usual, |reader, node| reader.value(node, "max", number));
    read.allowed = tolerated(reader, &fields, "allowed", usual, allowed);
    read.pattern = tolerated(reader, &fields, "pattern", usual, |reader, node| {
        reader.value(node, "pattern", Pattern::parse)
    });
    read.unique_min = only(reader, &fields, "unique", "min");
    contradictions(reader, node.line, &read);
    Some(read)
}

/// What no column can satisfy, or what the stated type rules out.
fn contradictions(reader: &mut Reader, line: u64, column: &ColumnExpectation) {
    if let (Some(min), Some(max)) = (&column.min, &column.max)
        && min.value > max.value
    {
        reader.problem(line, format!("expected min {} to be at most max {}", min.value, max.value));
    }
    let Some(expected) = &column.expected_type else { return };
    let (kind, word) = (expected.value.kind(), expected.value.as_str());
    let numeric = kind == FeatureKind::Numeric;
    for (check, stated, fits) in [
        ("min", column.min.is_some(), numeric),
        ("max", column.max.is_some(), numeric),
        ("pattern", column.pattern.is_some(), !numeric),
    ] {
        if stated && !fits {
            reader.problem(line, format!("`{check}` cannot be checked on a column of type {word}"));
        }
    }
    if let Some(allowed) = &column.allowed
        && let Some(value) = allowed.value.iter().find(|value| !super::fits_kind(value, kind))
    {
        reader.problem(line, format!("`allowed`: `{value}` is not {word}"));
    }
}

/// A check in its short form, or as `{value: …, tolerate: …}`.
fn tolerated<T>(
    reader: &mut Reader,
    fields: &Fields,
    key: &str,
    usual: f64,
    read: impl FnOnce(&mut Reader, &Node) -> Option<T>,
) -> Option<Tolerated<T>> {
    let node = fields.get(key)?;
    if !matches!(node.value, Yaml::Map(_)) {
        return Some(Tolerated { value: read(reader, node)?, tolerate: usual });
    }
    let long = reader.fields(node, &format!("`{key}`"), &["value", "tolerate"])?;
    let own = long.get("tolerate").and_then(|node| reader.value(node, &format!("{key}.tolerate"), tolerance));
    let Some(value) = long.get("value") else {
        reader.problem(node.line, format!("`{key}`: expected `value`"));
        return None;
    };
    Some(Tolerated { value: read(reader, value)?, tolerate: own.unwrap_or(usual) })
}

/// A check that is one share: `missing: {max: 0.01}`, `unique: {min: 0.9}`.
fn only(reader: &mut Reader, fields: &Fields, key: &str, limit: &str) -> Option<f64> {
    let node = fields.get(key)?;
    let inner = reader.fields(node, &format!("`{key}`"), &[limit])?;
    let Some(value) = inner.get(limit) else {
        reader.problem(node.line, format!("`{key}`: expected `{limit}`"));
        return None;
    };
    reader.value(value, &format!("{key}.{limit}"), share)
}

fn allowed(reader: &mut Reader, node: &Node) -> Option<BTreeSet<String>> {
    let Yaml::List(items) = &node.value else {
        reader
            .problem(node.line, format!("`allowed`: expected a list of values, found {}", node.value.kind()));
        return None;
    };
    if items.is_empty() || items.len() > MAX_ALLOWED {
        reader.problem(
            node.line,
            format!("`allowed`: expected 1 to {MAX_ALLOWED} values, found {}", items.len()),
        );
        return None;
    }
    let mut first_line: BTreeMap<&str, u64> = BTreeMap::new();
    for item in items {
        let Yaml::Scalar(text) = &item.value else {
            let found = item.value.kind();
            reader.problem(
                item.line,
                format!("`allowed`: expected a single value, found {found}; quote a text"),
            );
            continue;
        };
        if text.len() > MAX_NAME {
            reader.problem(item.line, format!("`allowed`: expected values of at most {MAX_NAME} bytes"));
        }
        if first_line.insert(text, item.line).is_some() {
            reader.problem(item.line, format!("`allowed`: expected `{text}` once"));
        }
    }
    Some(first_line.into_keys().map(str::to_owned).collect())
}

fn expected_type(text: &str) -> Result<ExpectedType, String> {
    match text {
        "numeric" => Ok(ExpectedType::Numeric),
        "integer" => Ok(ExpectedType::Integer),
        "categorical" => Ok(ExpectedType::Categorical),
        "boolean" => Ok(ExpectedType::Boolean),
        other => {
            let words = ExpectedType::WORDS;
            Err(format!("expected `{}`, found `{other}`{}", words.join("`, `"), hint(other, words)))
        }
    }
}

fn truth(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| format!("expected `true` or `false`, found `{text}`"))
}

fn number(text: &str) -> Result<f64, String> {
    text.parse::<f64>()
        .ok()
        .filter(|number| number.is_finite())
        .ok_or_else(|| format!("expected a number, found `{text}`"))
}

fn share(text: &str) -> Result<f64, String> {
    number(text)
        .ok()
        .filter(|share| (0.0..=1.0).contains(share))
        .ok_or_else(|| format!("expected a share from 0 to 1, found `{text}`"))
}

fn tolerance(text: &str) -> Result<f64, String> {
    share(text)
        .ok()
        .filter(|share| *share < 1.0)
        .ok_or_else(|| format!("expected a share from 0 to under 1, found `{text}`"))
}

fn confidence(text: &str) -> Result<Option<f64>, String> {
    if text == "none" {
        return Ok(None);
    }
    number(text)
        .ok()
        .filter(|confidence| (0.5..1.0).contains(confidence))
        .map(Some)
        .ok_or_else(|| format!("expected a confidence from 0.5 to under 1, or `none`, found `{text}`"))
}

fn span(text: &str) -> Result<Duration, String> {
    let wrong = || format!("expected a span of time such as 30s, 15m, 1h or 30d, found `{text}`");
    let cut = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(cut);
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(wrong()),
    };
    let total = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(milliseconds));
    total.filter(|total| (1..=MAX_SPAN).contains(total)).map(Duration::from_millis).ok_or_else(wrong)
}
