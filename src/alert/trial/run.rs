//! Runs one test: window after window by the rules, with what is expected in between.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use uuid::Uuid;

use super::data::{Failed, Files};
use super::expect::{Expectation, Moment};
use super::figures::ColumnFigures;
use super::look::Minutes;
use super::segment::SegmentFigures;
use super::{Mismatch, RuleTest, Windows, time_text, window};
use crate::alert::evaluate::{StoredAlert, evaluate, watch};
use crate::alert::rule::{Rule, RuleSet, Watch};
use crate::alert::state::AlertState;
use crate::alert::view::{Look, View};
use crate::drift::DriftReport;
use crate::model::ModelName;
use crate::window::Window;

/// Where a test begins that does not say it: 2025-01-01T00:00:00Z, the start of windows of any usual length.
const BEGIN: i64 = 1_735_689_600;

/// What a test came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// Its name.
    pub name: String,
    /// Its first line.
    pub line: u64,
    /// Windows that were judged, or minutes in which rules with `every` looked.
    pub windows: usize,
    /// What was expected and is not so; empty: it passed.
    pub mismatches: Vec<Mismatch>,
    /// Rules that an expectation of it saw firing.
    #[serde(skip)]
    fired: BTreeSet<String>,
    /// Rules that never fired in it, and that an expectation says are silent.
    #[serde(skip)]
    silent: BTreeSet<String>,
}

/// Which rules the tests of a rule file have seen both firing and silent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Coverage {
    fired: BTreeSet<String>,
    silent: BTreeSet<String>,
}

/// A rule without a test of one of the two kinds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Gap {
    /// The rule.
    pub rule: String,
    /// The file it stands in.
    pub path: String,
    /// Its line.
    pub line: u64,
    /// `firing` or `silent`.
    pub missing: &'static str,
}

impl Coverage {
    /// Adds what a test showed; one that failed shows nothing.
    pub fn add(&mut self, outcome: &Outcome) {
        if outcome.mismatches.is_empty() {
            self.fired.extend(outcome.fired.iter().cloned());
            self.silent.extend(outcome.silent.iter().cloned());
        }
    }

    /// The rules without a firing test, and those without a silent one.
    pub fn gaps(&self, rules: &RuleSet) -> Vec<Gap> {
        let kinds = [("firing", &self.fired), ("silent", &self.silent)];
        let gap = |rule: &Rule, missing| Gap {
            rule: rule.name.clone(),
            path: rule.path.clone(),
            line: rule.line,
            missing,
        };
        rules
            .rules
            .iter()
            .flat_map(|rule| kinds.map(|(missing, seen)| (rule, missing, seen)))
            .filter(|(rule, _, seen)| !seen.contains(&rule.name))
            .map(|(rule, missing, _)| gap(rule, missing))
            .collect()
    }
}

/// How the alerts stand at one moment of a test.
pub(super) struct Standing<'a> {
    test: &'a RuleTest,
    rules: &'a RuleSet,
    alerts: &'a BTreeMap<String, StoredAlert>,
    report: Option<&'a DriftReport>,
    /// What each rule with `every` saw last.
    looks: &'a BTreeMap<String, Look>,
    retrains: &'a BTreeSet<String>,
}

impl<'a> Standing<'a> {
    pub(super) fn model(&self) -> &'a str {
        self.test.model.as_str()
    }

    pub(super) fn alert(&self, rule: &str, subject: &str) -> Option<&'a StoredAlert> {
        self.alerts.values().find(|alert| alert.rule == rule && alert.subject == subject)
    }

    pub(super) fn firing(&self) -> impl Iterator<Item = &'a StoredAlert> {
        self.alerts.values().filter(|alert| alert.state.firing_since().is_some())
    }

    /// An annotation of the rule, filled in from the newest window.
    pub(super) fn annotation(&self, rule: &str, subject: &str, key: &str) -> Option<String> {
        let rule = self.rules.find(&self.test.model, rule)?;
        let template = rule.annotations.get(key)?;
        if let Some(look) = self.looks.get(&rule.name) {
            return Some(template.render(View::Look(look).subject(rule.for_each, subject)));
        }
        let report = self.report?;
        let scope = rule.for_each.scopes(report).into_iter().find(|scope| scope.subject() == subject)?;
        Some(template.render(scope))
    }

    /// What the steps of the test are.
    pub(super) fn unit(&self) -> &'static str {
        if self.test.is_of_looks() { "minute" } else { "window" }
    }

    /// Whether the rule asked for a training run in the newest window.
    pub(super) fn retrains(&self, rule: &str) -> bool {
        self.retrains.contains(rule)
    }
}

impl RuleTest {
    /// Whether it has looks, and no windows.
    pub(super) fn is_of_looks(&self) -> bool {
        !self.looks.is_empty()
    }
}

/// What is judged, step by step.
enum Steps<'t> {
    /// Windows.
    Windows(Vec<DriftReport>),
    /// Minutes, each with how many equal ones were before it.
    Looks(Vec<(&'t Minutes, usize)>),
}

impl Steps<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Windows(reports) => reports.len(),
            Self::Looks(minutes) => minutes.len(),
        }
    }

    /// When the first one begins.
    fn begin(&self) -> DateTime<Utc> {
        match self {
            Self::Windows(reports) => reports.first().map_or_else(begin, |report| report.window_start),
            Self::Looks(_) => begin(),
        }
    }

    /// When number `step` ends, counted from 0.
    fn end(&self, step: usize) -> Option<DateTime<Utc>> {
        match self {
            Self::Windows(reports) => reports.get(step).map(|report| report.window_end),
            Self::Looks(minutes) => {
                let after = i64::try_from(step + 1).ok()?;
                minutes.get(step).map(|_| begin() + TimeDelta::minutes(after))
            }
        }
    }
}

pub(super) fn run<'t>(test: &'t RuleTest, rules: &RuleSet, files: &impl Files) -> Result<Outcome, Failed> {
    let steps = if test.is_of_looks() {
        let repeated = |minutes: &'t Minutes| (0..minutes.repeat).map(move |repeated| (minutes, repeated));
        Steps::Looks(test.looks.iter().flat_map(repeated).collect())
    } else {
        Steps::Windows(reports(test, files)?)
    };
    let mut seen = Progress::default();
    let mut mismatches = Vec::new();
    let mut checked = vec![false; test.expectations.len()];
    for done in 0..=steps.len() {
        let step = done.checked_sub(1);
        let end = step.and_then(|step| steps.end(step)).unwrap_or_else(|| steps.begin());
        let mut report = None;
        match (&steps, step) {
            (Steps::Windows(reports), Some(step)) => {
                report = reports.get(step);
                if let Some(report) = report {
                    seen.judge(rules, report, done);
                }
            }
            (Steps::Looks(minutes), Some(step)) => {
                if let Some((minutes, repeated)) = minutes.get(step) {
                    seen.look(test, rules, |watch| minutes.look(test, watch, end, *repeated), end);
                }
            }
            (_, None) => {}
        }
        let next_end = steps.end(done);
        let (alerts, looks, retrains) = (&seen.alerts, &seen.looks, &seen.retrains);
        let now = Standing { test, rules, alerts, report, looks, retrains };
        for (expectation, checked) in test.expectations.iter().zip(&mut checked) {
            let is_now = match expectation.moment {
                Moment::Windows(after) | Moment::Minutes(after) => after == done,
                // The last moment before the next window ends; a time after the last window is the end.
                Moment::Time(at) => end <= at && next_end.is_none_or(|next| at < next),
            };
            if is_now {
                *checked = true;
                mismatches.extend(expectation.compare(&now, done, end));
            }
        }
    }
    let mut left = test.expectations.iter().zip(&checked).filter(|(_, checked)| !**checked);
    if let Some((expectation, _)) = left.next() {
        let (wanted, limit) = match expectation.moment {
            Moment::Windows(after) => (format!("{after} windows"), format!("the test has {}", steps.len())),
            Moment::Minutes(after) => (format!("{after} minutes"), format!("the test has {}", steps.len())),
            Moment::Time(at) => {
                (time_text(at), format!("the first window begins at {}", time_text(steps.begin())))
            }
        };
        return Err((expectation.line, format!("{wanted}: {limit}")));
    }
    let fired = test.expectations.iter().flat_map(Expectation::alerts);
    let fired = fired.filter(|alert| alert.state == super::expect::StateWord::Firing);
    let judged = |rule: &&Rule| rule.watch.is_some() == test.is_of_looks();
    let silent = rules.rules.iter().filter(judged).map(|rule| &rule.name).filter(|rule| {
        steps.len() > 0
            && !seen.ever_fired.contains(*rule)
            && test.expectations.iter().any(|expectation| expectation.keeps_silent(rule))
    });
    Ok(Outcome {
        name: test.name.clone(),
        line: test.line,
        windows: steps.len(),
        mismatches,
        fired: fired.map(|alert| alert.rule.clone()).collect(),
        silent: silent.cloned().collect(),
    })
}

/// The alerts as they stand, and what was seen on the way.
#[derive(Default)]
struct Progress {
    alerts: BTreeMap<String, StoredAlert>,
    looks: BTreeMap<String, Look>,
    retrains: BTreeSet<String>,
    ever_fired: BTreeSet<String>,
}

impl Progress {
    fn judge(&mut self, rules: &RuleSet, report: &DriftReport, windows: usize) {
        let previous: Vec<StoredAlert> = self.alerts.values().cloned().collect();
        let id = Uuid::from_u128(windows as u128);
        let evaluation = evaluate(rules, report, id, &previous, report.window_end);
        self.keep(evaluation.alerts);
        self.retrains = evaluation.retrains.into_iter().map(|request| request.rule).collect();
    }

    /// Has those rules look at `at` whose turn it is, as the sidecar does: at multiples of `every` since the epoch.
    fn look(&mut self, test: &RuleTest, rules: &RuleSet, seen: impl Fn(Watch) -> Look, at: DateTime<Utc>) {
        let turn = |watch: &Watch| Window::holding(at, watch.every).start == at;
        let watching = rules.rules.iter().filter(|rule| rule.applies_to(&test.model));
        let looks: Vec<(&Rule, Look)> =
            watching.filter_map(|rule| Some((rule, seen(rule.watch.filter(turn)?)))).collect();
        let due: Vec<(&Rule, &Look)> = looks.iter().map(|(rule, look)| (*rule, look)).collect();
        let previous: Vec<StoredAlert> = self.alerts.values().cloned().collect();
        self.keep(watch(rules, &due, &previous, at).alerts);
        self.looks.extend(looks.into_iter().map(|(rule, look)| (rule.name.clone(), look)));
    }

    /// Takes up alerts that have changed.
    fn keep(&mut self, alerts: Vec<StoredAlert>) {
        for alert in alerts {
            if alert.state == AlertState::Inactive {
                self.alerts.remove(&alert.fingerprint);
            } else {
                if alert.state.firing_since().is_some() {
                    self.ever_fired.insert(alert.rule.clone());
                }
                self.alerts.insert(alert.fingerprint.clone(), alert);
            }
        }
    }
}

fn begin() -> DateTime<Utc> {
    DateTime::from_timestamp(BEGIN, 0).unwrap_or_default()
}

/// The reports of all windows, in order.
fn reports(test: &RuleTest, files: &impl Files) -> Result<Vec<DriftReport>, Failed> {
    let (columns, segments) = (columns(test), segments(test));
    let baseline = match &test.reference {
        Some(reference) => Some(reference.baseline(test, files)?),
        None => None,
    };
    let mut reports: Vec<DriftReport> = Vec::new();
    for windows in &test.windows {
        let next = reports.last().map_or_else(begin, |report| report.window_end);
        match windows {
            Windows::Figures(figures) => {
                let mut start = next;
                if let Some(at) = figures.at {
                    let aligned = Window::holding(at, test.window).start;
                    if at != aligned {
                        let near = time_text(aligned);
                        return Err((
                            figures.line,
                            format!("`at`: expected the start of a window, such as {near}"),
                        ));
                    }
                    if at < next && !reports.is_empty() {
                        let end = time_text(next);
                        return Err((
                            figures.line,
                            format!("`at`: expected {end} or later, where the windows before end"),
                        ));
                    }
                    start = at;
                }
                for _ in 0..figures.repeat {
                    let window = Window::holding(start, test.window);
                    reports.push(window::report(
                        &test.model,
                        &test.criteria,
                        window,
                        figures,
                        (&columns, &segments),
                    ));
                    start = window.end;
                }
            }
            Windows::Data(data) => {
                let Some(baseline) = &baseline else { continue };
                let mut found = data.reports(test, baseline, next, files)?;
                let first = found.first().map(|report| report.window_start);
                if !reports.is_empty() && first.is_some_and(|first| first < next) {
                    let end = time_text(next);
                    return Err((
                        data.line,
                        format!("expected rows of {end} or later, where the windows before end"),
                    ));
                }
                for report in &mut found {
                    report.model = ModelName::clone(&test.model);
                }
                reports.append(&mut found);
            }
        }
    }
    Ok(reports)
}

/// Every column that a window of figures names, in the order of their first mention.
fn columns(test: &RuleTest) -> Vec<ColumnFigures> {
    let mut all: Vec<ColumnFigures> = Vec::new();
    for windows in &test.windows {
        let Windows::Figures(figures) = windows else { continue };
        for column in &figures.columns {
            if !all.iter().any(|other| (&other.name, other.role) == (&column.name, column.role)) {
                all.push(column.clone());
            }
        }
    }
    all
}

/// Every segment that a window of figures names, in the order of their first mention.
fn segments(test: &RuleTest) -> Vec<SegmentFigures> {
    let mut all: Vec<SegmentFigures> = Vec::new();
    for windows in &test.windows {
        let Windows::Figures(figures) = windows else { continue };
        for segment in &figures.segments {
            if !all.iter().any(|other| other.name == segment.name) {
                all.push(segment.clone());
            }
        }
    }
    all
}
