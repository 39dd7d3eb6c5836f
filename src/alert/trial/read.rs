//! The shape of a test file: rule files, tests, windows and expectations.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::data::{DataWindows, Reference};
use super::look::{self, Minutes};
use super::{MAX_WINDOWS, RuleTest, SUFFIX, TestFile, Windows, expect, figures};
use crate::alert::hold::{parse_budget, parse_duration};
use crate::drift::Criteria;
use crate::model::{FeatureKind, ModelName};
use crate::yaml::{Node, Problem, Reader, Yaml, hint, parse};

const FILE_KEYS: [&str; 2] = ["rule_files", "tests"];
const TEST_KEYS: [&str; 8] =
    ["name", "model", "window", "criteria", "baseline", "windows", "looks", "expect"];
const CRITERIA_KEYS: [&str; 4] = ["false_alarms", "min_rows", "psi_floor", "ks_floor"];
const BASELINE_KEYS: [&str; 5] = ["data", "time", "outputs", "exclude", "kinds"];
const DATA_KEYS: [&str; 2] = ["data", "time"];

/// Most tests of one file.
const MAX_TESTS: usize = 10_000;

/// Reads a whole file.
pub(super) fn file(path: &str, text: &str) -> Result<TestFile, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut reader = Reader { path, context: String::new(), problems: &mut problems };
    let read = match parse(text) {
        Ok(root) => root_of(&mut reader, &root),
        Err((line, message)) => {
            reader.problem(line, format!("expected YAML: {message}"));
            None
        }
    };
    problems.sort();
    read.filter(|_| problems.is_empty()).ok_or(problems)
}

fn root_of(reader: &mut Reader<'_>, root: &Node) -> Option<TestFile> {
    let fields = reader.fields(root, "a test file", &FILE_KEYS)?;
    let rule_files = match fields.get("rule_files") {
        Some(node) => {
            let entries = reader.list(node, "`rule_files`");
            entries
                .iter()
                .filter_map(|entry| Some((reader.text(entry, "rule_files")?.to_owned(), entry.line)))
                .collect()
        }
        None => namesake(reader.path).map(|name| (name, root.line)).into_iter().collect(),
    };
    let tests = fields.required(reader, "tests")?;
    let entries = reader.list(tests, "`tests`");
    if entries.len() > MAX_TESTS {
        reader.problem(root.line, format!("expected at most {MAX_TESTS} tests in a file"));
        return None;
    }
    let mut names = BTreeSet::new();
    let mut tests = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        reader.context = format!("test {}: ", index + 1);
        let Some(test) = test(reader, entry) else { continue };
        if !names.insert(test.name.clone()) {
            reader.problem(test.line, "expected a name of its own for each test of a file");
        }
        tests.push(test);
    }
    reader.context.clear();
    Some(TestFile { path: reader.path.to_owned(), rule_files, tests })
}

/// `drift.yaml` for `rules/drift.test.yaml`.
fn namesake(path: &str) -> Option<String> {
    let name = path.rsplit(['/', '\\']).next()?;
    Some(format!("{}.yaml", name.strip_suffix(SUFFIX)?))
}

fn test(reader: &mut Reader<'_>, node: &Node) -> Option<RuleTest> {
    let fields = reader.fields(node, "a test", &TEST_KEYS)?;
    let name = fields.required(reader, "name").and_then(|node| reader.text(node, "name"));
    if let Some(name) = name {
        reader.context = format!("test \"{name}\": ");
    }
    let model = fields.required(reader, "model").and_then(|node| {
        reader.value(node, "model", |text| ModelName::parse(text).map_err(|e| e.to_string()))
    });
    let window = match fields.get("window") {
        Some(node) => reader.value(node, "window", |text| {
            parse_duration(text).and_then(|length| {
                if length.is_zero() { Err("expected a length over 0".to_owned()) } else { Ok(length) }
            })
        }),
        None => Some(Duration::from_hours(1)),
    };
    let criteria = criteria(reader, fields.get("criteria"), window.unwrap_or_default());
    let reference = fields.get("baseline").and_then(|node| reference(reader, node));
    let looks: Vec<Minutes> = match fields.get("looks") {
        Some(list) => {
            if let Some(windows) = fields.get("windows") {
                let message = "expected `windows`, or `looks` for rules with `every`, one of them";
                reader.problem(windows.line, message);
            }
            let entries = reader.list(list, "`looks`");
            entries.iter().filter_map(|entry| look::read(reader, entry)).collect()
        }
        None => Vec::new(),
    };
    let given = match fields.get("windows") {
        None if fields.get("looks").is_some() => None,
        _ => fields.required(reader, "windows"),
    };
    let windows: Vec<Windows> = match given {
        Some(list) => {
            let entries = reader.list(list, "`windows`");
            entries.iter().filter_map(|entry| windows(reader, entry)).collect()
        }
        None => Vec::new(),
    };
    if looks.iter().map(|minutes| minutes.repeat).fold(0, usize::saturating_add) > MAX_WINDOWS {
        reader.problem(node.line, format!("expected at most {MAX_WINDOWS} minutes in `looks`"));
    }
    check_windows(reader, &windows, fields.get("baseline").is_some());
    let expectations = match fields.required(reader, "expect") {
        Some(list) => {
            let entries = reader.list(list, "`expect`");
            entries.iter().filter_map(|entry| expect::read(reader, entry)).collect()
        }
        None => Vec::new(),
    };
    Some(RuleTest {
        name: name?.to_owned(),
        line: node.line,
        model: model?,
        window: window?,
        criteria,
        reference,
        windows,
        looks,
        expectations,
    })
}

/// By what windows of rows are judged; what is not given is what the settings of a model would be without it.
fn criteria(reader: &mut Reader<'_>, node: Option<&Node>, window: Duration) -> Criteria {
    let month = Duration::from_hours(30 * 24);
    let mut criteria = Criteria { alpha: alpha(1, month, window), ..Criteria::default() };
    let Some(fields) = node.and_then(|node| reader.fields(node, "`criteria`", &CRITERIA_KEYS)) else {
        return criteria;
    };
    if let Some(node) = fields.get("false_alarms")
        && let Some(budget) = reader.value(node, "false_alarms", parse_budget)
    {
        criteria.alpha = alpha(budget.runs, budget.period, window);
    }
    if let Some(rows) = fields.get("min_rows").and_then(|node| count(reader, node, "min_rows")) {
        criteria.min_rows = rows;
    }
    if let Some(floor) = fields.get("psi_floor").and_then(|node| number(reader, node, "psi_floor")) {
        criteria.psi_floor = floor;
    }
    if let Some(floor) = fields.get("ks_floor").and_then(|node| number(reader, node, "ks_floor")) {
        criteria.ks_floor = floor;
    }
    criteria
}

fn alpha(alarms: u32, period: Duration, window: Duration) -> f64 {
    (f64::from(alarms) * window.as_secs_f64() / period.as_secs_f64()).min(0.5)
}

/// A baseline document or reference data: a path alone, or with how the data are read.
fn reference(reader: &mut Reader<'_>, node: &Node) -> Option<Reference> {
    let plain = |path: &str| Reference {
        line: node.line,
        path: path.to_owned(),
        time: None,
        outputs: Vec::new(),
        exclude: Vec::new(),
        kinds: BTreeMap::new(),
    };
    if let Yaml::Scalar(path) = &node.value {
        return Some(plain(path));
    }
    let fields = reader.fields(node, "`baseline`", &BASELINE_KEYS)?;
    let path = fields.required(reader, "data").and_then(|node| reader.text(node, "data"));
    let mut names = |key: &str| -> Vec<String> {
        let Some(node) = fields.get(key) else { return Vec::new() };
        let entries = reader.list(node, &format!("`{key}`"));
        entries.iter().filter_map(|entry| Some(reader.text(entry, key)?.to_owned())).collect()
    };
    let (outputs, exclude) = (names("outputs"), names("exclude"));
    let kinds = fields.get("kinds").map(|node| entries(reader, node, "kinds")).unwrap_or_default();
    let all = [FeatureKind::Numeric, FeatureKind::Categorical, FeatureKind::Boolean];
    let kinds = kinds
        .into_iter()
        .filter_map(|entry| {
            Some((entry.name.to_owned(), word(reader, entry.node, "kinds", &all, FeatureKind::as_str)?))
        })
        .collect();
    let time = fields.get("time").and_then(|node| reader.text(node, "time"));
    Some(Reference { time: time.map(str::to_owned), outputs, exclude, kinds, ..plain(path?) })
}

fn windows(reader: &mut Reader<'_>, node: &Node) -> Option<Windows> {
    let of_rows =
        matches!(&node.value, Yaml::Map(entries) if entries.iter().any(|(key, _)| key.name == "data"));
    if !of_rows {
        let fields = reader.fields(node, "a window", &figures::KEYS)?;
        return Some(Windows::Figures(Box::new(figures::read(reader, &fields, node.line))));
    }
    let fields = reader.fields(node, "windows of rows", &DATA_KEYS)?;
    let data = fields.required(reader, "data")?;
    let files: Vec<(String, u64)> = if let Yaml::Scalar(path) = &data.value {
        vec![(path.clone(), data.line)]
    } else {
        let entries = reader.list(data, "`data`");
        entries
            .iter()
            .filter_map(|entry| Some((reader.text(entry, "data")?.to_owned(), entry.line)))
            .collect()
    };
    let time = fields.get("time").and_then(|node| reader.text(node, "time")).map(str::to_owned);
    Some(Windows::Data(DataWindows { line: node.line, files, time }))
}

fn check_windows(reader: &mut Reader<'_>, windows: &[Windows], has_baseline: bool) {
    let mut all: usize = 0;
    for entry in windows {
        match entry {
            Windows::Figures(figures) => {
                all = all.saturating_add(figures.repeat);
                if all > MAX_WINDOWS {
                    reader.problem(figures.line, format!("expected at most {MAX_WINDOWS} windows in a test"));
                    return;
                }
            }
            Windows::Data(data) if !has_baseline => {
                reader.problem(
                    data.line,
                    "windows of rows need the test's `baseline`, what they are compared with",
                );
            }
            Windows::Data(_) => {}
        }
    }
}

/// A key of a mapping and what stands there.
pub(super) struct Entry<'n> {
    pub(super) name: &'n str,
    pub(super) line: u64,
    pub(super) node: &'n Node,
}

/// The entries of a mapping whose keys are names of the user.
pub(super) fn entries<'n>(reader: &mut Reader<'_>, node: &'n Node, key: &str) -> Vec<Entry<'n>> {
    let Yaml::Map(entries) = &node.value else {
        reader.problem(node.line, format!("`{key}`: expected a mapping, found {}", node.value.kind()));
        return Vec::new();
    };
    entries.iter().map(|(key, node)| Entry { name: &key.name, line: key.line, node }).collect()
}

/// A finite number.
pub(super) fn number(reader: &mut Reader<'_>, node: &Node, key: &str) -> Option<f64> {
    reader.value(node, key, |text| {
        let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
        number.ok_or_else(|| format!("expected a number, found `{text}`"))
    })
}

/// A number from 0 to 1.
pub(super) fn share(reader: &mut Reader<'_>, node: &Node, key: &str) -> Option<f64> {
    reader.value(node, key, |text| {
        let number = text.parse::<f64>().ok().filter(|number| (0.0..=1.0).contains(number));
        number.ok_or_else(|| format!("expected a number from 0 to 1, found `{text}`"))
    })
}

/// A number of rows or findings.
pub(super) fn count(reader: &mut Reader<'_>, node: &Node, key: &str) -> Option<u64> {
    reader
        .value(node, key, |text| text.parse().map_err(|_| format!("expected a whole number, found `{text}`")))
}

/// An instant.
pub(super) fn time(reader: &mut Reader<'_>, node: &Node, key: &str) -> Option<DateTime<Utc>> {
    reader.value(node, key, |text| {
        text.parse().map_err(|_| format!("expected a time such as `2025-01-01T00:00:00Z`, found `{text}`"))
    })
}

/// One of a few words.
pub(super) fn word<T: Copy>(
    reader: &mut Reader<'_>,
    node: &Node,
    key: &str,
    known: &[T],
    as_str: fn(T) -> &'static str,
) -> Option<T> {
    reader.value(node, key, |text| {
        let words = known.iter().map(|word| as_str(*word));
        known.iter().copied().find(|word| as_str(*word) == text).ok_or_else(|| {
            let near = hint(text, words.clone());
            let words = words.collect::<Vec<_>>().join("`, `");
            format!("expected one of `{words}`, found `{text}`{near}")
        })
    })
}
