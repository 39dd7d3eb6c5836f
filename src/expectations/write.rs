//! Expectations as a document again, with a remark beside each line that says where its figure comes from.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::words::exact;
use super::{CheckKind, ColumnExpectation, DEFAULT_CONFIDENCE, Expectations, Tolerated};
use crate::model::Role;

/// Characters up to which allowed values stand in one line.
const LINE_WIDTH: usize = 90;

/// What to write beside the figures; each remark is one line.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Remarks {
    /// Above the document.
    pub(super) head: Vec<String>,
    /// Beside `rows` and `freshness`.
    pub(super) window: BTreeMap<CheckKind, String>,
    /// Beside the checks of each column, in the order of the columns; may be shorter.
    pub(super) columns: Vec<BTreeMap<CheckKind, String>>,
}

impl Expectations {
    /// The document that reads as these expectations.
    ///
    /// Columns are grouped by role, and keep their order within each.
    pub fn to_yaml(&self) -> String {
        yaml(self, &Remarks::default())
    }
}

/// The document with remarks. What [`Expectations::parse`] reads from it equals `expectations`, but for the order of
/// columns of different roles.
pub(super) fn yaml(expectations: &Expectations, remarks: &Remarks) -> String {
    let mut out = String::new();
    for line in &remarks.head {
        put(&mut out, 0, "", Some(line));
    }
    let remark = |check| remarks.window.get(&check).map(String::as_str);
    if let Some(model) = &expectations.model {
        put(&mut out, 0, &format!("model: {}", quoted(model.as_str())), None);
    }
    let limits: Vec<String> = [("min", expectations.rows_min), ("max", expectations.rows_max)]
        .into_iter()
        .filter_map(|(key, limit)| Some(format!("{key}: {}", limit?)))
        .collect();
    if !limits.is_empty() {
        let text = format!("rows: {{{}}}", limits.join(", "));
        put(&mut out, 0, &text, remark(CheckKind::RowsMin).or(remark(CheckKind::RowsMax)));
    }
    if let Some(freshness) = expectations.freshness {
        put(&mut out, 0, &format!("freshness: {}", span(freshness)), remark(CheckKind::Freshness));
    }
    match expectations.confidence {
        None => put(&mut out, 0, "confidence: none", None),
        Some(confidence) if (confidence - DEFAULT_CONFIDENCE).abs() > 0.0 => {
            put(&mut out, 0, &format!("confidence: {}", exact(confidence)), None);
        }
        Some(_) => {}
    }
    let none = BTreeMap::new();
    for (key, role) in [("columns", None), ("features", Some(Role::Feature)), ("outputs", Some(Role::Output))]
    {
        let mut heading = Some(key);
        for (index, column) in expectations.columns.iter().enumerate().filter(|(_, c)| c.role == role) {
            if let Some(key) = heading.take() {
                put(&mut out, 0, &format!("{key}:"), None);
            }
            write_column(&mut out, column, remarks.columns.get(index).unwrap_or(&none));
        }
    }
    out
}

fn write_column(out: &mut String, column: &ColumnExpectation, remarks: &BTreeMap<CheckKind, String>) {
    put(out, 2, &format!("{}:", quoted(&column.name)), None);
    let usual = common_tolerance(column);
    if usual > 0.0 {
        put(out, 4, &format!("tolerate: {}", exact(usual)), None);
    }
    let kind = column.expected_type.as_ref().map(|check| line("type", check, usual, check.value.as_str()));
    let limit = |key: &str, check: &Option<Tolerated<f64>>| {
        check.as_ref().map(|check| line(key, check, usual, &exact(check.value)))
    };
    let allowed = column.allowed.as_ref().map(|check| line("allowed", check, usual, &set(&check.value)));
    let pattern =
        column.pattern.as_ref().map(|check| line("pattern", check, usual, &quoted(check.value.as_str())));
    for (kind, text) in [
        (CheckKind::Type, kind),
        (CheckKind::Required, column.required.then(|| "required: true".to_owned())),
        (CheckKind::Missing, column.missing_max.map(|max| format!("missing: {{max: {}}}", exact(max)))),
        (CheckKind::Min, limit("min", &column.min)),
        (CheckKind::Max, limit("max", &column.max)),
        (CheckKind::Allowed, allowed),
        (CheckKind::Pattern, pattern),
        (CheckKind::Unique, column.unique_min.map(|min| format!("unique: {{min: {}}}", exact(min)))),
    ] {
        if let Some(text) = text {
            put(out, 4, &text, remarks.get(&kind).map(String::as_str));
        }
    }
}

/// What all checks of a column tolerate, where two or more tolerate the same; otherwise 0.
fn common_tolerance(column: &ColumnExpectation) -> f64 {
    let tolerances = [
        column.expected_type.as_ref().map(|check| check.tolerate),
        column.min.as_ref().map(|check| check.tolerate),
        column.max.as_ref().map(|check| check.tolerate),
        column.allowed.as_ref().map(|check| check.tolerate),
        column.pattern.as_ref().map(|check| check.tolerate),
    ];
    let mut stated = tolerances.into_iter().flatten();
    match (stated.next(), stated.next()) {
        (Some(first), Some(second)) if same(first, second) && stated.all(|other| same(first, other)) => first,
        _ => 0.0,
    }
}

fn same(left: f64, right: f64) -> bool {
    left.to_bits() == right.to_bits()
}

/// A list of values, in one line where they fit.
fn set(values: &BTreeSet<String>) -> String {
    let values: Vec<String> = values.iter().map(|value| quoted(value)).collect();
    let width: usize = values.iter().map(|value| value.len() + 2).sum();
    if width > LINE_WIDTH {
        format!("[\n        {}\n      ]", values.join(",\n        "))
    } else {
        format!("[{}]", values.join(", "))
    }
}

/// `key: value`, or the long form where it tolerates something that is not stated beside it for all checks.
fn line<T>(key: &str, check: &Tolerated<T>, usual: f64, value: &str) -> String {
    if usual > 0.0 || check.tolerate <= 0.0 {
        format!("{key}: {value}")
    } else {
        format!("{key}: {{value: {value}, tolerate: {}}}", exact(check.tolerate))
    }
}

fn put(out: &mut String, indent: usize, text: &str, remark: Option<&str>) {
    let gap = if text.is_empty() { "" } else { "  " };
    // A remark is one line of printable text, so that nothing in a name can end it.
    let remark = remark.map(|remark| {
        let clean: String = remark.chars().map(|c| if breaks_line(c) { ' ' } else { c }).collect();
        format!("{gap}# {clean}")
    });
    let remark = remark.unwrap_or_default();
    // A value of several lines has its remark on the first.
    let (first, rest) = text.split_once('\n').map_or((text, None), |(first, rest)| (first, Some(rest)));
    out.extend(std::iter::repeat_n(' ', indent));
    out.extend([first, &remark, "\n"]);
    if let Some(rest) = rest {
        out.extend([rest, "\n"]);
    }
}

fn breaks_line(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}')
}

/// Text as a plain word where that is read back as it is, or else between double quotes.
fn quoted(text: &str) -> String {
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
        && !["null", "true", "false", "nan", "inf", "infinity"].contains(&text.to_ascii_lowercase().as_str());
    if plain {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if breaks_line(c) || matches!(c, '\u{fffe}' | '\u{ffff}') => {
                let code = format!("\\u{:04x}", u32::from(c));
                out.push_str(&code);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A span in its largest whole unit.
fn span(time: Duration) -> String {
    let total = time.as_millis();
    for (unit, scale) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)] {
        if total >= scale && total.is_multiple_of(scale) {
            return format!("{}{unit}", total / scale);
        }
    }
    format!("{total}ms")
}
