//! What a test expects, and how it is compared with the alerts that there are.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use super::look::Minutes;
use super::read::{entries, time, word};
use super::run::Standing;
use super::{Mismatch, RuleTest, Windows, time_text};
use crate::alert::hold::Hold;
use crate::alert::rule::{Rule, RuleSet};
use crate::alert::vocabulary::ForEach;
use crate::yaml::{Fields, Node, Problem, Reader, hint};

const ALERT_KEYS: [&str; 7] = ["alert", "subject", "state", "summary", "labels", "annotations", "retrain"];
const ENTRY_KEYS: [&str; 10] =
    ["after", "at", "alerts", "alert", "subject", "state", "summary", "labels", "annotations", "retrain"];

/// When an expectation is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    /// After so many windows.
    Windows(usize),
    /// After so many minutes of looks.
    Minutes(usize),
    /// After every window that has ended by then.
    Time(DateTime<Utc>),
}

/// One entry of `expect`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Expectation {
    pub(super) line: u64,
    pub(super) moment: Moment,
    pub(super) what: What,
}

/// What is expected of the alerts.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum What {
    /// This alert is as it is said here; others are not looked at.
    One(ExpectedAlert),
    /// These alerts fire and no others; with a rule, none others of this rule.
    All { rule: Option<String>, alerts: Vec<ExpectedAlert> },
}

/// The words of `state`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StateWord {
    Inactive,
    Pending,
    Firing,
    Resolved,
}

impl StateWord {
    const ALL: [Self; 4] = [Self::Inactive, Self::Pending, Self::Firing, Self::Resolved];

    fn as_str(self) -> &'static str {
        match self {
            Self::Inactive => "inactive",
            Self::Pending => "pending",
            Self::Firing => "firing",
            Self::Resolved => "resolved",
        }
    }
}

/// One alert, as far as the test looks at it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ExpectedAlert {
    line: u64,
    pub(super) rule: String,
    subject: Option<String>,
    pub(super) state: StateWord,
    summary: Option<String>,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    retrain: Option<bool>,
}

/// Reads one entry of `expect`.
pub(super) fn read(reader: &mut Reader<'_>, node: &Node) -> Option<Expectation> {
    let fields = reader.fields(node, "an expectation", &ENTRY_KEYS)?;
    let moment = match (fields.get("after"), fields.get("at")) {
        (Some(node), None) => reader.value(node, "after", after),
        (None, Some(node)) => time(reader, node, "at").map(Moment::Time),
        _ => {
            reader.problem(node.line, "expected `after` (such as `2 windows`) or `at` (a time), one of them");
            None
        }
    };
    let what = match fields.get("alerts") {
        None => alert(reader, &fields, node.line).map(What::One),
        Some(list) => {
            for key in ALERT_KEYS.iter().filter(|key| **key != "alert") {
                if let Some(node) = fields.get(key) {
                    reader.problem(
                        node.line,
                        format!("`{key}`: expected within `alerts`, or without `alerts`"),
                    );
                }
            }
            let rule = fields.get("alert").and_then(|node| reader.text(node, "alert")).map(str::to_owned);
            // `alerts: []` is the usual way to say that all is calm.
            let entries = match &list.value {
                crate::yaml::Yaml::List(entries) => entries.as_slice(),
                other => {
                    let found = other.kind();
                    reader.problem(
                        list.line,
                        format!("`alerts`: expected a list, `[]` for none, found {found}"),
                    );
                    &[]
                }
            };
            let alerts = entries.iter().filter_map(|entry| {
                let fields = reader.fields(entry, "an alert", &ALERT_KEYS)?;
                alert(reader, &fields, entry.line)
            });
            Some(What::All { alerts: alerts.collect(), rule })
        }
    };
    Some(Expectation { line: node.line, moment: moment?, what: what? })
}

/// `2 windows`, `1 window`, `2w`; `16m` in a test with looks.
fn after(text: &str) -> Result<Moment, String> {
    let short = text.strip_suffix("windows").or_else(|| text.strip_suffix("window")).map(str::trim);
    let short = short.map_or_else(|| text.to_owned(), |number| format!("{number}w"));
    let wrong = || {
        format!(
            "expected a number of windows such as `2 windows` or `2w`, or whole minutes such as `16m` after looks, found \
             `{text}`"
        )
    };
    match Hold::parse(&short) {
        Ok(Hold::Windows(windows)) => usize::try_from(windows).map(Moment::Windows).map_err(|_| wrong()),
        Ok(Hold::Time(span)) if span.as_millis().is_multiple_of(60_000) => {
            usize::try_from(span.as_secs() / 60).map(Moment::Minutes).map_err(|_| wrong())
        }
        _ => Err(wrong()),
    }
}

fn alert(reader: &mut Reader<'_>, fields: &Fields<'_>, line: u64) -> Option<ExpectedAlert> {
    let rule = fields.required(reader, "alert").and_then(|node| reader.text(node, "alert"))?;
    let text = |reader: &mut Reader<'_>, key: &str| {
        fields.get(key).and_then(|node| reader.text(node, key)).map(str::to_owned)
    };
    let texts = |reader: &mut Reader<'_>, key: &str| -> BTreeMap<String, String> {
        let found = fields.get(key).map(|node| entries(reader, node, key)).unwrap_or_default();
        found
            .into_iter()
            .filter_map(|entry| Some((entry.name.to_owned(), reader.text(entry.node, key)?.to_owned())))
            .collect()
    };
    let state = match fields.get("state") {
        Some(node) => word(reader, node, "state", &StateWord::ALL, StateWord::as_str)?,
        None => StateWord::Firing,
    };
    let retrain = fields.get("retrain").and_then(|node| {
        word(reader, node, "retrain", &[true, false], |truth| if truth { "true" } else { "false" })
    });
    Some(ExpectedAlert {
        line,
        rule: rule.to_owned(),
        subject: text(reader, "subject"),
        state,
        summary: text(reader, "summary"),
        labels: texts(reader, "labels"),
        annotations: texts(reader, "annotations"),
        retrain,
    })
}

impl Expectation {
    /// The alerts that it names.
    pub(super) fn alerts(&self) -> &[ExpectedAlert] {
        match &self.what {
            What::One(alert) => std::slice::from_ref(alert),
            What::All { alerts, .. } => alerts,
        }
    }

    /// Whether it says something of `rule`, and that it does not fire.
    pub(super) fn keeps_silent(&self, rule: &str) -> bool {
        match &self.what {
            What::One(alert) => alert.rule == rule && alert.state != StateWord::Firing,
            What::All { rule: only, alerts } => {
                only.as_ref().is_none_or(|only| only == rule)
                    && !alerts.iter().any(|alert| alert.rule == rule && alert.state == StateWord::Firing)
            }
        }
    }

    /// Compares with what there is after `steps` windows or minutes, the last of which ended at `end`.
    pub(super) fn compare(&self, now: &Standing<'_>, steps: usize, end: DateTime<Utc>) -> Option<Mismatch> {
        let lines = |alerts: &[ExpectedAlert]| -> Vec<String> {
            alerts.iter().map(|alert| alert.line(now)).collect()
        };
        let mut expected = lines(self.alerts());
        let mut found: Vec<String> = self.alerts().iter().map(|alert| alert.found(now)).collect();
        if let What::All { rule, alerts } = &self.what {
            let of_rule = |name: &str| rule.as_ref().is_none_or(|only| only == name);
            let named = |name: &str, subject: &str| {
                alerts.iter().any(|alert| alert.rule == name && alert.subject(now) == subject)
            };
            let others =
                now.firing().filter(|alert| of_rule(&alert.rule) && !named(&alert.rule, &alert.subject));
            found.extend(others.map(|alert| {
                line_of(&alert.rule, &alert.subject, StateWord::Firing.as_str(), Some(&alert.summary))
            }));
        }
        if expected == found {
            return None;
        }
        for side in [&mut expected, &mut found] {
            if side.is_empty() {
                side.push("no alert".to_owned());
            }
        }
        let plural = if steps == 1 { "" } else { "s" };
        let moment = format!("after {steps} {}{plural} ({})", now.unit(), time_text(end));
        Some(Mismatch { line: self.line, moment, expected, found })
    }
}

impl ExpectedAlert {
    /// The subject; without one, the model.
    fn subject<'a>(&'a self, now: &Standing<'a>) -> &'a str {
        self.subject.as_deref().unwrap_or(now.model())
    }

    /// What is expected, in one line that holds what the test names and nothing else.
    fn line(&self, now: &Standing<'_>) -> String {
        let first = line_of(&self.rule, self.subject(now), self.state.as_str(), self.summary.as_deref());
        let label = |(key, text): (&String, &String)| format!("label {key}={text:?}");
        let annotation = |(key, text): (&String, &String)| format!("{key}={text:?}");
        let retrain = self.retrain.map(retrain_words);
        let parts = self.labels.iter().map(label).chain(self.annotations.iter().map(annotation));
        [first].into_iter().chain(parts).chain(retrain).collect::<Vec<_>>().join(", ")
    }

    /// The same of what there is.
    fn found(&self, now: &Standing<'_>) -> String {
        let subject = self.subject(now);
        let alert = now.alert(&self.rule, subject);
        let state = alert.map_or(StateWord::Inactive.as_str(), |alert| alert.state.as_str());
        let summary = alert.map_or("", |alert| alert.summary.as_str());
        let first = line_of(&self.rule, subject, state, self.summary.as_ref().map(|_| summary));
        let label = |key: &String| {
            let text = alert.and_then(|alert| alert.labels.get(key)).map_or("", String::as_str);
            format!("label {key}={text:?}")
        };
        let annotation = |key: &String| {
            let text = now.annotation(&self.rule, subject, key).unwrap_or_default();
            format!("{key}={text:?}")
        };
        let retrain = self.retrain.map(|_| retrain_words(now.retrains(&self.rule)));
        let parts = self.labels.keys().map(label).chain(self.annotations.keys().map(annotation));
        [first].into_iter().chain(parts).chain(retrain).collect::<Vec<_>>().join(", ")
    }
}

fn retrain_words(retrains: bool) -> String {
    if retrains { "retrains" } else { "does not retrain" }.to_owned()
}

fn line_of(rule: &str, subject: &str, state: &str, summary: Option<&str>) -> String {
    let summary = summary.map(|summary| format!(": {summary:?}")).unwrap_or_default();
    format!("{rule} {subject} {state}{summary}")
}

/// What of a test does not fit the rules.
pub(super) fn misfits(path: &str, test: &RuleTest, rules: &RuleSet) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut note = |line: u64, message: String| {
        let message = format!("test \"{}\": {message}", test.name);
        problems.push(Problem { path: path.to_owned(), line, message });
    };
    let names: BTreeSet<&str> = rules.rules.iter().map(|rule| rule.name.as_str()).collect();
    let find = |line: u64, name: &str, note: &mut dyn FnMut(u64, String)| -> Option<Rule> {
        if let Some(rule) = rules.find(&test.model, name) {
            return Some(rule.clone());
        }
        if names.contains(name) {
            note(line, format!("`alert`: `{name}` is a rule for another model than `{}`", test.model));
        } else {
            let near = hint(name, names.iter().copied());
            note(line, format!("`alert`: no rule of the rule files is called `{name}`{near}"));
        }
        None
    };
    let given: BTreeSet<&str> = test
        .windows
        .iter()
        .filter_map(|windows| match windows {
            Windows::Figures(figures) => Some(figures),
            Windows::Data(_) => None,
        })
        .flat_map(|figures| figures.columns.iter().map(|column| column.name.as_str()))
        .collect();
    let in_windows = test.windows.iter().filter_map(|windows| match windows {
        Windows::Figures(figures) => Some(figures.segments.iter().map(|segment| segment.name.as_str())),
        Windows::Data(_) => None,
    });
    let in_looks = test.looks.iter().flat_map(Minutes::segment_names);
    let segments: BTreeSet<&str> = in_windows.flatten().chain(in_looks).collect();
    let of_rows = test.windows.iter().any(|windows| matches!(windows, Windows::Data(_)));
    for expectation in &test.expectations {
        let fits = match expectation.moment {
            Moment::Windows(_) => !test.is_of_looks(),
            Moment::Minutes(_) => test.is_of_looks(),
            Moment::Time(_) => true,
        };
        if !fits {
            let (given, wanted) =
                if test.is_of_looks() { ("looks", "16m") } else { ("windows", "2 windows") };
            note(
                expectation.line,
                format!("`after`: expected one such as `{wanted}`, as the test has `{given}`"),
            );
        }
        if let What::All { rule: Some(rule), .. } = &expectation.what {
            find(expectation.line, rule, &mut note);
        }
        for alert in expectation.alerts() {
            let Some(rule) = find(alert.line, &alert.rule, &mut note) else { continue };
            if rule.watch.is_some() != test.is_of_looks() {
                let (when, wanted) = match rule.watch {
                    Some(_) => ("looks between windows", "looks"),
                    None => ("is judged with each window", "windows"),
                };
                let message = format!("`alert`: `{}` {when}, and is tested with `{wanted}`", rule.name);
                note(alert.line, message);
                continue;
            }
            match (&alert.subject, rule.for_each) {
                (None, ForEach::Model) => {}
                (None, each) => {
                    let each = each.as_str();
                    note(alert.line, format!("expected `subject`, as `{}` is for each {each}", rule.name));
                }
                (Some(subject), ForEach::Model) if subject != test.model.as_str() => {
                    note(
                        alert.line,
                        format!("`subject`: `{}` is for the model, `{}`", rule.name, test.model),
                    );
                }
                (Some(subject), ForEach::Feature | ForEach::Output)
                    if !of_rows && !given.contains(subject.as_str()) =>
                {
                    let near = hint(subject, given.iter().copied());
                    note(alert.line, format!("`subject`: no window has a column `{subject}`{near}"));
                }
                (Some(subject), ForEach::Segment) if !of_rows && !segments.contains(subject.as_str()) => {
                    let near = hint(subject, segments.iter().copied());
                    note(alert.line, format!("`subject`: the test has no segment `{subject}`{near}"));
                }
                _ => {}
            }
            if alert.retrain == Some(true) && rule.retrain.is_none() {
                note(alert.line, format!("`retrain`: the rule `{}` has no `retrain`", rule.name));
            }
        }
    }
    problems
}
