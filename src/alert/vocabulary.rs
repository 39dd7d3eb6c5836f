//! The names that rules may use, and what they stand for in a report.

use super::traffic_names;
use crate::drift::{DriftReport, FeatureReport, SegmentReport, Verdict};
use crate::expectations::{CheckResult, CheckVerdict};
use crate::model::Role;

/// What a rule looks at, one alert for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ForEach {
    /// Every input of the model, and every column that driftline derives from inputs (`pca_error`).
    Feature,
    /// Every output of the model.
    Output,
    /// Every segment of the window.
    Segment,
    /// The window as a whole.
    Model,
}

impl ForEach {
    /// The words of `for_each`.
    pub(super) const WORDS: [&'static str; 4] = ["feature", "output", "segment", "model"];

    /// The word used in rules.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Feature => "feature",
            Self::Output => "output",
            Self::Segment => "segment",
            Self::Model => "model",
        }
    }

    /// What of `report` this names, one scope for each.
    pub(super) fn scopes(self, report: &DriftReport) -> Vec<Scope<'_>> {
        let whole = Scope { report, column: None, segment: None };
        let columns = |wanted: fn(Role) -> bool| {
            let found = report.features.iter().filter(|column| wanted(column.role));
            found.map(|column| Scope { column: Some(column), ..whole }).collect()
        };
        match self {
            Self::Feature => columns(|role| matches!(role, Role::Feature | Role::Derived)),
            Self::Output => columns(|role| role == Role::Output),
            Self::Segment => {
                report.segments.iter().map(|segment| Scope::of_segment(report, segment)).collect()
            }
            Self::Model => vec![whole],
        }
    }
}

/// What a name or an expression evaluates to, as far as it is known before there is data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Number,
    Text,
    Truth,
    List,
    /// Known only when there is data; never refused.
    Any,
}

impl Kind {
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Number => "a number",
            Self::Text => "text",
            Self::Truth => "true or false",
            Self::List => "a list",
            Self::Any => "anything",
        }
    }
}

/// A value that a name stands for.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Fact<'a> {
    Number(f64),
    Text(&'a str),
}

impl Fact<'_> {
    /// A number that is none stands for nothing.
    fn is_known(&self) -> bool {
        !matches!(self, Self::Number(number) if !number.is_finite())
    }
}

/// One window, or one column or segment of it: what names are looked up in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scope<'a> {
    pub(super) report: &'a DriftReport,
    /// In a segment, the column of it that moved most.
    pub(super) column: Option<&'a FeatureReport>,
    pub(super) segment: Option<&'a SegmentReport>,
}

/// A name that rules may use.
pub(super) struct Variable {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// Whether it exists for a column, and for the model as a whole.
    pub(super) scopes: (bool, bool),
    /// Whether its value means nothing in a window that is `insufficient_data` or `untrusted`.
    pub(super) inferred: bool,
    /// The words it can hold; empty: any.
    pub(super) words: &'static [&'static str],
}

/// Statistics, by the names that a report gives them.
pub(super) const STATISTICS: [&str; 16] = [
    "psi",
    "ks",
    "ks_error_bound",
    "js",
    "kl",
    "hellinger",
    "tvd",
    "linf",
    "wasserstein",
    "wasserstein_norm",
    "mean_shift",
    "chi2",
    "missing_delta",
    "unseen_share",
    "out_of_range_share",
    "wrong_type_share",
];

const VERDICTS: &[&str] = &["ok", "drift", "insufficient_data", "untrusted"];
const BOTH: (bool, bool) = (true, true);
const COLUMN: (bool, bool) = (true, false);
const WHOLE: (bool, bool) = (false, true);

const fn variable(name: &'static str, kind: Kind, scopes: (bool, bool)) -> Variable {
    Variable { name, kind, scopes, inferred: false, words: &[] }
}

/// The number of violated checks.
pub(super) const VIOLATIONS: &str = "violations";

/// The number of differences between the columns of a window and those expected.
const SCHEMA_CHANGES: &str = "schema_changes";

/// The key of a segment.
const SEGMENT: &str = "segment";

/// What is not known by segment.
const NOT_BY_SEGMENT: [&str; 2] = [VIOLATIONS, SCHEMA_CHANGES];

const NAMED: [Variable; 15] = [
    variable(SEGMENT, Kind::Text, (false, false)),
    Variable { inferred: true, words: VERDICTS, ..variable("verdict", Kind::Text, BOTH) },
    Variable { inferred: true, ..variable("p", Kind::Number, COLUMN) },
    Variable { inferred: true, ..variable("drifted", Kind::Number, WHOLE) },
    variable("features", Kind::Number, WHOLE),
    variable("n", Kind::Number, BOTH),
    variable("n_reference", Kind::Number, BOTH),
    variable("rows", Kind::Number, BOTH),
    variable("loss_share", Kind::Number, BOTH),
    variable(VIOLATIONS, Kind::Number, BOTH),
    variable(SCHEMA_CHANGES, Kind::Number, WHOLE),
    variable("model", Kind::Text, BOTH),
    variable("feature", Kind::Text, COLUMN),
    Variable { words: &["feature", "output", "derived"], ..variable("role", Kind::Text, COLUMN) },
    Variable { words: &["numeric", "categorical", "boolean"], ..variable("kind", Kind::Text, COLUMN) },
];

/// Every name that a rule with this `for_each` may use.
pub(super) fn variables(for_each: ForEach) -> impl Iterator<Item = Variable> {
    let statistics = STATISTICS
        .into_iter()
        .map(|name| Variable { inferred: true, ..variable(name, Kind::Number, COLUMN) });
    NAMED.into_iter().chain(statistics).chain(traffic_names::variables()).filter(move |variable| {
        match for_each {
            ForEach::Model => variable.scopes.1,
            ForEach::Segment => !NOT_BY_SEGMENT.contains(&variable.name),
            ForEach::Feature | ForEach::Output => variable.scopes.0,
        }
    })
}

/// The variable `name`, when a rule with this `for_each` may use it.
pub(super) fn variable_named(for_each: ForEach, name: &str) -> Result<Variable, String> {
    if let Some(found) = variables(for_each).find(|variable| variable.name == name) {
        return Ok(found);
    }
    let elsewhere = [ForEach::Feature, ForEach::Model, ForEach::Segment]
        .into_iter()
        .find(|other| variables(*other).any(|variable| variable.name == name));
    if let Some(other) = elsewhere {
        return Err(format!(
            "`{name}` does not exist for `for_each: {}`, only for `for_each: {}`",
            for_each.as_str(),
            if other == ForEach::Feature { "feature` and `output" } else { other.as_str() }
        ));
    }
    // Whoever forgets the prefix is told the name with it.
    let names = || variables(for_each).map(|variable| variable.name);
    let full = format!("{}{name}", traffic_names::PREFIX);
    let near = crate::yaml::hint(if names().any(|name| name == full) { &full } else { name }, names());
    Err(format!("unknown name `{name}`{near}"))
}

impl<'a> Scope<'a> {
    /// One segment of `report`.
    pub(super) fn of_segment(report: &'a DriftReport, segment: &'a SegmentReport) -> Self {
        Self { report, column: segment.strongest(), segment: Some(segment) }
    }

    /// What an alert is about: the column, the segment's key, or the model's name.
    pub(super) fn subject(self) -> &'a str {
        let whole = || self.column.map_or(self.report.model.as_str(), |column| &column.name);
        self.segment.map_or_else(whole, |segment| &segment.segment)
    }

    /// The verdict on the subject.
    pub(super) fn verdict(self) -> Verdict {
        let whole = || self.column.map_or(self.report.verdict, |column| column.verdict);
        self.segment.map_or_else(whole, |segment| segment.verdict)
    }

    /// Whether the window says too little, or not enough of it arrived, for anything inferred from it.
    pub(super) fn is_inconclusive(self) -> bool {
        let silent = |verdict| matches!(verdict, Verdict::InsufficientData | Verdict::Untrusted);
        silent(self.verdict()) || self.report.verdict == Verdict::Untrusted
    }

    /// The checks of the subject: all of them for the model, for a column its own.
    pub(super) fn checks(self) -> impl Iterator<Item = &'a CheckResult> {
        self.report.expectations.iter().filter(move |result| {
            self.column.is_none_or(|column| {
                result.column.as_ref() == Some(&column.name) && result.role == Some(column.role)
            })
        })
    }

    /// The checks of the subject that were violated.
    pub(super) fn violated(self) -> impl Iterator<Item = &'a CheckResult> {
        self.checks().filter(|result| result.verdict == CheckVerdict::Violated)
    }

    /// Whether there are checks, and not one of them could be decided.
    pub(super) fn checks_are_silent(self) -> bool {
        let silent = |verdict| matches!(verdict, CheckVerdict::InsufficientData | CheckVerdict::Unknown);
        self.checks().next().is_some() && self.checks().all(|result| silent(result.verdict))
    }

    /// What `name` stands for; absent when it does not apply, or is not a finite number.
    pub(super) fn fact(self, name: &str) -> Option<Fact<'a>> {
        let report = self.report;
        if let Some(rest) = name.strip_prefix(traffic_names::PREFIX) {
            let found = traffic_names::fact(report, rest);
            return found.filter(Fact::is_known);
        }
        let count = |value: u64| Some(Fact::Number(value as f64));
        if let Some(segment) = self.segment {
            let found = match name {
                SEGMENT => Some(Fact::Text(&segment.segment)),
                "rows" | "n" => count(segment.rows),
                "n_reference" => count(segment.rows_reference),
                "drifted" => count(segment.drifted as u64),
                "features" => count(segment.columns as u64),
                _ => None,
            };
            if found.is_some() {
                return found;
            }
        }
        let found = match (name, self.column) {
            ("verdict", _) => Some(Fact::Text(self.verdict().as_str())),
            ("rows", _) | ("n", None) => count(report.rows),
            ("n_reference", None) => count(report.rows_reference),
            ("loss_share", _) => Some(Fact::Number(report.losses.share())),
            (VIOLATIONS, _) => count(self.violated().count() as u64),
            (SCHEMA_CHANGES, None) => count(report.schema_changes.len() as u64),
            ("model", _) => Some(Fact::Text(report.model.as_str())),
            ("drifted", None) => count(report.drifted().count() as u64),
            ("features", None) => count(report.features.len() as u64),
            ("n", Some(column)) => count(column.n_current),
            ("n_reference", Some(column)) => count(column.n_reference),
            ("p", Some(column)) => column.p_adjusted.map(Fact::Number),
            ("feature", Some(column)) => Some(Fact::Text(&column.name)),
            ("role", Some(column)) => Some(Fact::Text(column.role.as_str())),
            ("kind", Some(column)) => Some(Fact::Text(column.kind.as_str())),
            (statistic, Some(column)) => column.statistics.get(statistic).copied().map(Fact::Number),
            (_, None) => None,
        };
        found.filter(Fact::is_known)
    }
}
