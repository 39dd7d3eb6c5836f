//! Expectations against what a window showed: a verdict per check, each with its reason in a sentence.
//!
//! **When a share is a violation.** A check that tolerates nothing is broken by one value. A check that tolerates a
//! share `t > 0` is broken when the observed share is over `t` *by more than chance*: the exact binomial probability of
//! seeing so many or more, were the true share `t`, is at most `1 − confidence` (1 in 1,000 unless the document says
//! otherwise). Plain comparison raises an alarm for every second window of a column whose true share lies at its limit.
//! In figures, for a limit of 1 % and 1,000 values (exact binomial sums): with a true share of 1 % plain comparison is
//! wrong in 42 % of windows and this rule in 0.07 %, with 0.7 % plain comparison still in 10 %; a true share of 3 % is
//! seen by this rule in 95 % of windows, one of 4 % in 99.9 %. `confidence: none` asks for plain comparison.
//! The probability takes rows for independent; values that go wrong in bursts need a wider limit.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::binomial::at_least;
use super::words::{exact, grouped, percent, probability};
use super::{ColumnExpectation, ColumnIndex, DEFAULT_CONFIDENCE, Expectations, ExpectedType};
use crate::model::{FeatureKind, Role};
use crate::profile::{CheckCounts, CountedWith};
use crate::stats::normal_sf;

/// Relative standard error of the distinct counts, `1.04 / √4096` of a `HyperLogLog` sketch with 4,096 registers.
pub const DISTINCT_RELATIVE_ERROR: f64 = 0.016_25;

/// Checks, in the order in which they are reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckKind {
    /// At least so many rows.
    RowsMin,
    /// At most so many rows.
    RowsMax,
    /// The newest row is recent.
    Freshness,
    /// Values are of a type.
    Type,
    /// There are values at all.
    Required,
    /// At most so many rows have no value.
    Missing,
    /// No value is under this.
    Min,
    /// No value is over this.
    Max,
    /// Every value is one of these.
    Allowed,
    /// Every text looks like this.
    Pattern,
    /// Values differ from one another.
    Unique,
}

impl CheckKind {
    /// Every kind, in the order in which they are reported.
    pub const ALL: [Self; 11] = [
        Self::RowsMin,
        Self::RowsMax,
        Self::Freshness,
        Self::Type,
        Self::Required,
        Self::Missing,
        Self::Min,
        Self::Max,
        Self::Allowed,
        Self::Pattern,
        Self::Unique,
    ];

    /// The word used in reports, tables and rules.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RowsMin => "rows_min",
            Self::RowsMax => "rows_max",
            Self::Freshness => "freshness",
            Self::Type => "type",
            Self::Required => "required",
            Self::Missing => "missing",
            Self::Min => "min",
            Self::Max => "max",
            Self::Allowed => "allowed",
            Self::Pattern => "pattern",
            Self::Unique => "unique",
        }
    }
}

/// The decision on a check, from best to worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckVerdict {
    /// As expected.
    Ok,
    /// Too few rows to say anything; never to be shown as ok.
    InsufficientData,
    /// It could not be checked: the column or the counts are not there, or the expectations changed meanwhile.
    Unknown,
    /// Not as expected.
    Violated,
}

impl CheckVerdict {
    /// The word used in reports, tables and rules.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::InsufficientData => "insufficient_data",
            Self::Unknown => "unknown",
            Self::Violated => "violated",
        }
    }
}

/// One check of one window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckResult {
    /// The column; absent for a check on the window itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// Input or output, where the baseline has the column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// What was checked.
    pub check: CheckKind,
    /// The decision.
    pub verdict: CheckVerdict,
    /// What was seen, in the unit of `limit`; absent when there was nothing to see.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed: Option<f64>,
    /// The most, for `rows_min` and `unique` the least, that `observed` may be: rows, seconds (`freshness`), or a share
    /// of `rows`.
    pub limit: f64,
    /// Rows or values that broke the check; for `unique` the distinct values.
    pub count: u64,
    /// Rows or values that were looked at.
    pub rows: u64,
    /// The decision in one sentence.
    pub reason: String,
}

impl CheckResult {
    /// The reason with the column it is about: `temp: 3 of 1,000 values (0.3 %) are under min -30; none may be`.
    pub fn sentence(&self) -> String {
        match &self.column {
            Some(column) => format!("{column}: {}", self.reason),
            None => self.reason.clone(),
        }
    }
}

/// What a window's profile says, as far as expectations look at it.
#[derive(Debug, Clone, PartialEq)]
pub struct Observed {
    /// First instant of the window.
    pub window_start: DateTime<Utc>,
    /// End of the window, exclusive.
    pub window_end: DateTime<Utc>,
    /// Rows counted, after sampling and losses.
    pub rows: u64,
    /// Event time of the newest row.
    pub latest: Option<DateTime<Utc>>,
    /// Which expectations the counts were made with.
    pub counted_with: CountedWith,
    /// Every column of the baseline.
    pub columns: Vec<ObservedColumn>,
}

/// One column of a window. Every row of it is in exactly one of `usable`, `missing`, `nan` and `wrong_type`.
#[derive(Debug, Clone, PartialEq)]
pub struct ObservedColumn {
    /// Name.
    pub name: String,
    /// Input or output.
    pub role: Role,
    /// Kind as frozen in the baseline.
    pub kind: FeatureKind,
    /// Values that fell into a cell.
    pub usable: u64,
    /// Absent or null.
    pub missing: u64,
    /// Not a number.
    pub nan: u64,
    /// Of another type than the column's kind.
    pub wrong_type: u64,
    /// +∞ among the usable.
    pub pos_inf: u64,
    /// −∞ among the usable.
    pub neg_inf: u64,
    /// Estimated number of distinct usable values; absent when they are not counted.
    pub distinct: Option<f64>,
    /// Values that broke a check.
    pub checks: CheckCounts,
}

impl ObservedColumn {
    fn rows(&self) -> u64 {
        self.usable + self.missing + self.nan + self.wrong_type
    }
}

/// Judges a window. One result per declared check: the window's first, then column by column in the document's order.
pub fn evaluate(expectations: &Expectations, observed: &Observed) -> Vec<CheckResult> {
    let mut results = Vec::new();
    judge_window(expectations, observed, &mut results);
    let counts = count_problem(expectations, observed.counted_with);
    let index = ColumnIndex::new(observed.columns.iter().map(|column| (column.role, column.name.as_str())));
    for expectation in &expectations.columns {
        let found = index.find(expectation).map(|at| &observed.columns[at]);
        let mut judge = Judge {
            expectation,
            confidence: expectations.confidence,
            role: found.map(|column| column.role).or(expectation.role),
            count_problem: counts,
            results: &mut results,
        };
        match found {
            Some(column) => judge.column(column),
            None => judge.unknown_column(),
        }
    }
    results
}

/// The worst verdict of `results`; [`CheckVerdict::Ok`] when there are none.
pub fn worst(results: &[CheckResult]) -> CheckVerdict {
    results.iter().map(|result| result.verdict).max().unwrap_or(CheckVerdict::Ok)
}

/// Why the counts of the profile cannot be judged by `expectations`.
fn count_problem(expectations: &Expectations, counted_with: CountedWith) -> Option<&'static str> {
    match counted_with {
        CountedWith::Nothing => None,
        CountedWith::Version(version) if version == expectations.counting_version() => None,
        CountedWith::Version(_) => Some("the window was counted with other expectations"),
        CountedWith::Without => Some("the window was counted before there were expectations"),
        CountedWith::Mixed => Some("expectations changed within the window"),
    }
}

fn judge_window(expectations: &Expectations, observed: &Observed, results: &mut Vec<CheckResult>) {
    let rows = observed.rows;
    let mut push = |check, verdict, seen: Option<f64>, limit: f64, reason: String| {
        results.push(CheckResult {
            column: None,
            role: None,
            check,
            verdict,
            observed: seen,
            limit,
            count: rows,
            rows,
            reason,
        });
    };
    let broken = |broken| if broken { CheckVerdict::Violated } else { CheckVerdict::Ok };
    for (check, limit, fails, word) in [
        (
            CheckKind::RowsMin,
            expectations.rows_min,
            expectations.rows_min.is_some_and(|min| rows < min),
            "least",
        ),
        (
            CheckKind::RowsMax,
            expectations.rows_max,
            expectations.rows_max.is_some_and(|max| rows > max),
            "most",
        ),
    ] {
        if let Some(limit) = limit {
            let reason =
                format!("the window has {}; at {word} {} are expected", counted(rows, "row"), grouped(limit));
            push(check, broken(fails), Some(rows as f64), limit as f64, reason);
        }
    }
    let Some(limit) = expectations.freshness else { return };
    // Without a row the newest one lies before the window.
    let newest = observed.latest.unwrap_or(observed.window_start);
    let age = (observed.window_end - newest).max(chrono::TimeDelta::zero()).to_std().unwrap_or_default();
    let (verdict, reason) = match observed.latest {
        Some(_) => (
            broken(age > limit),
            format!(
                "the newest row is {} older than the window's end; at most {} are expected",
                span(age),
                span(limit)
            ),
        ),
        None if age > limit => (
            CheckVerdict::Violated,
            format!("the window has no row in {}; one is expected every {}", span(age), span(limit)),
        ),
        None => (
            CheckVerdict::InsufficientData,
            format!("the window has no row, and is not longer than the {} expected", span(limit)),
        ),
    };
    push(CheckKind::Freshness, verdict, Some(age.as_secs_f64()), limit.as_secs_f64(), reason);
}

/// Judges the checks of one column.
struct Judge<'a> {
    expectation: &'a ColumnExpectation,
    confidence: Option<f64>,
    role: Option<Role>,
    count_problem: Option<&'static str>,
    results: &'a mut Vec<CheckResult>,
}

/// A share that is held against a limit.
struct Share<'a> {
    count: u64,
    of: u64,
    /// `value` or `row`.
    unit: &'a str,
    /// `under min -30`.
    what: String,
    limit: f64,
}

impl Judge<'_> {
    fn push(
        &mut self,
        check: CheckKind,
        verdict: CheckVerdict,
        observed: Option<f64>,
        limit: f64,
        (count, rows): (u64, u64),
        reason: String,
    ) {
        self.results.push(CheckResult {
            column: Some(self.expectation.name.clone()),
            role: self.role,
            check,
            verdict,
            observed,
            limit,
            count,
            rows,
            reason,
        });
    }

    fn unknown(&mut self, check: CheckKind, limit: f64, reason: &str) {
        self.push(check, CheckVerdict::Unknown, None, limit, (0, 0), reason.to_owned());
    }

    /// The declared checks and their limits.
    fn declared(&self) -> Vec<(CheckKind, f64)> {
        let expected = self.expectation;
        let mut declared = Vec::new();
        let mut add = |check, limit: Option<f64>| declared.extend(limit.map(|limit| (check, limit)));
        add(CheckKind::Type, expected.expected_type.as_ref().map(|check| check.tolerate));
        add(CheckKind::Required, expected.required.then_some(1.0));
        add(CheckKind::Missing, expected.missing_max);
        add(CheckKind::Min, expected.min.as_ref().map(|check| check.tolerate));
        add(CheckKind::Max, expected.max.as_ref().map(|check| check.tolerate));
        add(CheckKind::Allowed, expected.allowed.as_ref().map(|check| check.tolerate));
        add(CheckKind::Pattern, expected.pattern.as_ref().map(|check| check.tolerate));
        add(CheckKind::Unique, expected.unique_min);
        declared
    }

    fn unknown_column(&mut self) {
        let reason = format!("the baseline has no column `{}`", self.expectation.name);
        for (check, limit) in self.declared() {
            self.unknown(check, limit, &reason);
        }
    }

    fn column(&mut self, column: &ObservedColumn) {
        for (check, limit) in self.declared() {
            let fits = match check {
                CheckKind::Type => {
                    self.expectation.expected_type.as_ref().is_none_or(|t| t.value.kind() == column.kind)
                }
                CheckKind::Min | CheckKind::Max => column.kind == FeatureKind::Numeric,
                CheckKind::Pattern => column.kind != FeatureKind::Numeric,
                _ => true,
            };
            if !fits {
                // The sentence about this check, by the word it quotes.
                let named = format!("`{}`", check.as_str());
                let reason =
                    self.expectation.misfits(column.kind).into_iter().find(|misfit| misfit.contains(&named));
                self.unknown(check, limit, &reason.unwrap_or_default());
                continue;
            }
            match check {
                CheckKind::Required => self.required(column),
                CheckKind::Unique => self.unique(column, limit),
                _ => self.share(check, column, limit),
            }
        }
    }

    fn share(&mut self, check: CheckKind, column: &ObservedColumn, limit: f64) {
        let expected = self.expectation;
        let counts = &column.checks;
        let whole = expected.expected_type.as_ref().is_some_and(|t| t.value == ExpectedType::Integer);
        let needs_counts = match check {
            CheckKind::Missing => false,
            CheckKind::Type => whole,
            _ => true,
        };
        if needs_counts && let Some(problem) = self.count_problem {
            return self.unknown(check, limit, problem);
        }
        let infinite = |count: u64, sign: &str| match count {
            0 => String::new(),
            count => format!(", {} of them {sign}infinity", grouped(count)),
        };
        let number = |value: Option<f64>| value.map(exact).unwrap_or_default();
        let value = "value";
        let (count, of, unit, what) = match check {
            CheckKind::Missing => {
                (column.missing + column.nan, column.rows(), "row", "without a value".to_owned())
            }
            CheckKind::Type => {
                let word = expected.expected_type.as_ref().map_or("", |t| t.value.as_str());
                let broken = column.wrong_type + if whole { counts.not_integer } else { 0 };
                (broken, column.usable + column.wrong_type, value, format!("not {word}"))
            }
            CheckKind::Min => {
                let least = number(expected.min.as_ref().map(|min| min.value));
                let infinite = infinite(column.neg_inf, "minus ");
                (counts.under_min, column.usable, value, format!("under min {least}{infinite}"))
            }
            CheckKind::Max => {
                let most = number(expected.max.as_ref().map(|max| max.value));
                let infinite = infinite(column.pos_inf, "");
                (counts.over_max, column.usable, value, format!("over max {most}{infinite}"))
            }
            CheckKind::Allowed => {
                let known = expected.allowed.as_ref().map_or(0, |allowed| allowed.value.len());
                let known = counted(known as u64, "allowed value");
                (counts.not_allowed, column.usable, value, format!("not among the {known}"))
            }
            _ => {
                let pattern = expected.pattern.as_ref().map_or("", |pattern| pattern.value.as_str());
                (counts.no_match, column.usable, value, format!("not like `{pattern}`"))
            }
        };
        let (verdict, reason) = judge_share(&Share { count, of, unit, what, limit }, self.confidence);
        let observed = (of > 0).then(|| count as f64 / of as f64);
        self.push(check, verdict, observed, limit, (count, of), reason);
    }

    fn required(&mut self, column: &ObservedColumn) {
        let rows = column.rows();
        let missing = column.missing + column.nan;
        let observed = (rows > 0).then(|| missing as f64 / rows as f64);
        let tolerated = self.expectation.missing_max.unwrap_or(0.0);
        let alpha = 1.0 - self.confidence.unwrap_or(DEFAULT_CONFIDENCE);
        let name = &self.expectation.name;
        let (verdict, reason) = if rows == 0 {
            (CheckVerdict::InsufficientData, "the window has no row to look at".to_owned())
        } else if missing < rows {
            let present = grouped(rows - missing);
            (CheckVerdict::Ok, format!("{present} of {} have a value", counted(rows, "row")))
        } else if at_least(rows, rows, tolerated) > alpha {
            let rows = counted(rows, "row");
            (
                CheckVerdict::InsufficientData,
                format!("no value in {rows}, too few to tell where {} may have none", percent(tolerated)),
            )
        } else {
            (CheckVerdict::Violated, format!("`{name}` has no value in any of {}", counted(rows, "row")))
        };
        self.push(CheckKind::Required, verdict, observed, 1.0, (missing, rows), reason);
    }

    fn unique(&mut self, column: &ObservedColumn, limit: f64) {
        // Numbers are only told apart where that is expected of them, categories always.
        let numeric = column.kind == FeatureKind::Numeric;
        if let Some(problem) = self.count_problem.filter(|_| numeric) {
            return self.unknown(CheckKind::Unique, limit, problem);
        }
        let usable = column.usable;
        if usable == 0 {
            let reason = "the window has no value to look at".to_owned();
            return self.push(CheckKind::Unique, CheckVerdict::InsufficientData, None, limit, (0, 0), reason);
        }
        let Some(distinct) = column.distinct.filter(|distinct| distinct.is_finite()) else {
            return self.unknown(CheckKind::Unique, limit, "distinct values are not counted for this column");
        };
        let distinct = distinct.clamp(0.0, usable as f64).round();
        let share = distinct / usable as f64;
        let error = normal_quantile(self.confidence.unwrap_or(DEFAULT_CONFIDENCE)) * DISTINCT_RELATIVE_ERROR;
        let verdict = if share * (1.0 + error) < limit { CheckVerdict::Violated } else { CheckVerdict::Ok };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "from 0 to a count of rows"
        )]
        let distinct = distinct as u64;
        let within = if verdict == CheckVerdict::Ok && share < limit {
            format!(", which is within the estimate's error of {}", percent(error))
        } else {
            String::new()
        };
        let reason = format!(
            "about {} of {} ({}) are distinct; at least {} are expected{within}",
            grouped(distinct),
            counted(usable, "value"),
            percent(share),
            percent(limit)
        );
        self.push(CheckKind::Unique, verdict, Some(share), limit, (distinct, usable), reason);
    }
}

fn judge_share(share: &Share<'_>, confidence: Option<f64>) -> (CheckVerdict, String) {
    let Share { count, of, unit, what, limit } = share;
    let (count, of, limit) = (*count, *of, *limit);
    if of == 0 {
        return (CheckVerdict::InsufficientData, format!("the window has no {unit} to look at"));
    }
    let whole = counted(of, unit);
    let observed = count as f64 / of as f64;
    let are = if count == 1 { "is" } else { "are" };
    let seen = match count {
        0 => format!("none of {whole} is {what}"),
        _ => format!("{} of {whole} ({}) {are} {what}", grouped(count), percent(observed)),
    };
    if limit <= 0.0 {
        return match count {
            0 => (CheckVerdict::Ok, seen),
            _ => (CheckVerdict::Violated, format!("{seen}; none may be")),
        };
    }
    let seen = format!("{seen}; at most {} may be", percent(limit));
    let Some(alpha) = confidence.map(|confidence| 1.0 - confidence) else {
        return (if observed > limit { CheckVerdict::Violated } else { CheckVerdict::Ok }, seen);
    };
    // Were all of them otherwise, that would still be within chance: nothing can be said.
    if at_least(of, of, limit) > alpha {
        return (CheckVerdict::InsufficientData, format!("{seen}, and {whole} are too few to tell"));
    }
    if observed <= limit {
        return (CheckVerdict::Ok, seen);
    }
    let p = at_least(count, of, limit);
    if p <= alpha {
        (CheckVerdict::Violated, format!("{seen} (p {})", probability(p)))
    } else {
        (CheckVerdict::Ok, format!("{seen}, and so many of so few can be chance (p {})", probability(p)))
    }
}

/// `1 row`, `1,000 rows`.
fn counted(number: u64, unit: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {unit}{plural}", grouped(number))
}

/// A span of time with its two largest units at most: `1h 30m`, `90s` as `1m 30s`.
fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    if seconds == 0 {
        return format!("{}ms", time.as_millis());
    }
    let parts =
        [(seconds / 86_400, "d"), (seconds / 3_600 % 24, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")];
    let first = parts.iter().position(|(number, _)| *number > 0).unwrap_or(3);
    let shown: Vec<String> = parts[first..]
        .iter()
        .take(2)
        .filter(|(number, _)| *number > 0)
        .map(|(number, unit)| format!("{number}{unit}"))
        .collect();
    shown.join(" ")
}

/// The number of standard errors that a normal variable stays under with this probability, at least 0.5.
fn normal_quantile(probability: f64) -> f64 {
    let (mut low, mut high) = (0.0, 10.0);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if normal_sf(middle) > 1.0 - probability { low = middle } else { high = middle }
    }
    high
}

#[cfg(test)]
#[path = "evaluate_tests.rs"]
mod tests;
