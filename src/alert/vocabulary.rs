//! The names that rules may use, and what they stand for in a report.

use super::look_names;
use super::traffic_names;
use super::view::Look;
use crate::drift::{DriftReport, FeatureReport, SegmentReport, Verdict};
use crate::expectations::{CheckResult, CheckVerdict};
use crate::model::Role;
use crate::performance::Cohort;

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
    Truth(bool),
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

/// What a rule is judged on.
#[derive(Debug, Clone, Copy)]
pub(super) enum Subject<'a> {
    /// A window or a column of it.
    Window(Scope<'a>),
    /// A model between windows.
    Look(&'a Look),
    /// A segment of a model between windows.
    LookSegment(&'a Look, &'a Cohort),
}

impl<'a> From<Scope<'a>> for Subject<'a> {
    fn from(scope: Scope<'a>) -> Self {
        Self::Window(scope)
    }
}

impl<'a> Subject<'a> {
    /// What its alert is called: the column, the segment, or the model.
    pub(super) fn name(self) -> &'a str {
        match self {
            Self::Window(scope) => scope.subject(),
            Self::Look(look) => look.model.as_str(),
            Self::LookSegment(look, cohort) => cohort.segment.as_deref().unwrap_or(look.model.as_str()),
        }
    }

    /// What is looked at between windows.
    pub(super) fn look(self) -> Option<&'a Look> {
        match self {
            Self::Window(_) => None,
            Self::Look(look) | Self::LookSegment(look, _) => Some(look),
        }
    }

    /// The rows of which performance is looked at.
    pub(super) fn cohort(self) -> Option<&'a Cohort> {
        match self {
            Self::Window(_) => None,
            Self::Look(look) => look.performance.as_ref().map(|report| &report.all),
            Self::LookSegment(_, cohort) => Some(cohort),
        }
    }

    /// What `name` stands for; absent when it does not apply, or is not a finite number.
    pub(super) fn fact(self, name: &str) -> Option<Fact<'a>> {
        match self {
            Self::Window(scope) => scope.fact(name),
            Self::LookSegment(_, cohort) if name == SEGMENT => cohort.segment.as_deref().map(Fact::Text),
            Self::Look(look) | Self::LookSegment(look, _) => {
                look_names::fact(look, self.cohort(), name).filter(Fact::is_known)
            }
        }
    }

    /// The window, when there is one.
    pub(super) fn window(self) -> Option<Scope<'a>> {
        match self {
            Self::Window(scope) => Some(scope),
            Self::Look(_) | Self::LookSegment(..) => None,
        }
    }
}

/// Which names a rule may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Names {
    /// Those of a window's report.
    Window(ForEach),
    /// Those that are known between windows.
    Look,
    /// The same by segment.
    LookBySegment,
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
pub(super) const BOTH: (bool, bool) = (true, true);
const COLUMN: (bool, bool) = (true, false);
const WHOLE: (bool, bool) = (false, true);

pub(super) const fn variable(name: &'static str, kind: Kind, scopes: (bool, bool)) -> Variable {
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

const NAMED: [Variable; 17] = [
    variable(SEGMENT, Kind::Text, (false, false)),
    Variable { inferred: true, words: VERDICTS, ..variable("verdict", Kind::Text, BOTH) },
    Variable { inferred: true, ..variable("p", Kind::Number, COLUMN) },
    Variable { inferred: true, ..variable("drifted", Kind::Number, WHOLE) },
    Variable { inferred: true, ..variable("missing_share", Kind::Number, BOTH) },
    Variable { inferred: true, ..variable("baseline.missing_share", Kind::Number, BOTH) },
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

/// The least and the most that the number `name` can be, ends included.
pub(super) fn range(name: &str) -> (f64, f64) {
    let compared = name.starts_with("traffic.ratio.");
    let share =
        name.ends_with("_share") || name.ends_with("error_rate") || matches!(name, "p" | "ks" | "tvd");
    match name {
        "mean_shift" | "performance.r2" | "baseline.performance.r2" => (f64::NEG_INFINITY, f64::INFINITY),
        "missing_delta" => (-1.0, 1.0),
        _ if name.starts_with("traffic.p.") || (share && !compared) => (0.0, 1.0),
        _ => (0.0, f64::INFINITY),
    }
}

/// Every name that a rule may use.
pub(super) fn variables(names: Names) -> impl Iterator<Item = Variable> {
    let statistics = STATISTICS
        .into_iter()
        .map(|name| Variable { inferred: true, ..variable(name, Kind::Number, COLUMN) });
    let of_windows =
        NAMED.into_iter().chain(statistics).chain(traffic_names::variables()).filter(move |variable| {
            match names {
                Names::Window(ForEach::Model) => variable.scopes.1,
                Names::Window(ForEach::Segment) => !NOT_BY_SEGMENT.contains(&variable.name),
                Names::Window(ForEach::Feature | ForEach::Output) => variable.scopes.0,
                Names::Look | Names::LookBySegment => false,
            }
        });
    let of_looks =
        look_names::variables().filter(move |_| matches!(names, Names::Look | Names::LookBySegment));
    let by_segment = variable(SEGMENT, Kind::Text, BOTH);
    of_windows.chain(of_looks).chain((names == Names::LookBySegment).then_some(by_segment))
}

/// The variable `name`, when a rule may use it.
pub(super) fn variable_named(names: Names, name: &str) -> Result<Variable, String> {
    if let Some(found) = variables(names).find(|variable| variable.name == name) {
        return Ok(found);
    }
    let exists = |names: Names| variables(names).any(|variable| variable.name == name);
    match names {
        Names::Look if exists(Names::LookBySegment) => {
            return Err(format!(
                "`{name}` does not exist for `for_each: model`, only for `for_each: segment`"
            ));
        }
        Names::Look | Names::LookBySegment
            if exists(Names::Window(ForEach::Feature)) || exists(Names::Window(ForEach::Model)) =>
        {
            return Err(format!(
                "`{name}` is known only with a window's report; leave out `every` to judge it with each window"
            ));
        }
        Names::Window(_) if exists(Names::Look) => {
            return Err(format!(
                "`{name}` is known only between windows; add `every: 1m` and `for_each: model` to the rule"
            ));
        }
        Names::Window(for_each) => {
            let other = [ForEach::Feature, ForEach::Model, ForEach::Segment]
                .into_iter()
                .find(|other| exists(Names::Window(*other)));
            if let Some(other) = other {
                return Err(format!(
                    "`{name}` does not exist for `for_each: {}`, only for `for_each: {}`",
                    for_each.as_str(),
                    if other == ForEach::Feature { "feature` and `output" } else { other.as_str() }
                ));
            }
        }
        Names::Look | Names::LookBySegment => {}
    }
    Err(format!("unknown name `{name}`{}", near(names, name)))
}

/// The name that was meant, if one is near.
fn near(names: Names, name: &str) -> String {
    // Whoever leaves out the first part of a name is told the whole.
    let full = variables(names)
        .map(|variable| variable.name)
        .find(|known| known.strip_suffix(name).is_some_and(|first| first.ends_with('.') && !name.is_empty()));
    crate::yaml::hint(full.unwrap_or(name), variables(names).map(|variable| variable.name))
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
        if traffic_names::is_one(name) {
            return traffic_names::fact(report.traffic.as_ref()?, name).filter(Fact::is_known);
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
            ("missing_share", column) => {
                missing_share(report, column, |column| (column.missing_current, column.n_current))
            }
            ("baseline.missing_share", column) => {
                missing_share(report, column, |column| (column.missing_reference, column.n_reference))
            }
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

/// Share of values that are missing: of a column, or of all columns of the report together.
fn missing_share<'a>(
    report: &DriftReport,
    column: Option<&FeatureReport>,
    counts: impl Fn(&FeatureReport) -> (u64, u64),
) -> Option<Fact<'a>> {
    let (missing, usable) = match column {
        Some(column) => counts(column),
        None => report.features.iter().map(counts).fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1)),
    };
    let all = missing + usable;
    (all > 0).then(|| Fact::Number(missing as f64 / all as f64))
}
