//! Tests of rules: windows given as figures or as data files, or minutes between them, and the alerts that are expected.
//!
//! A test file stands beside the rules that it tests. Here it is read, checked and run; files are opened by whoever
//! implements [`Files`].

mod data;
mod expect;
mod figures;
mod look;
mod read;
mod run;
mod segment;
mod window;

#[cfg(test)]
#[path = "read_tests.rs"]
mod read_tests;
#[cfg(test)]
#[path = "run_tests.rs"]
mod run_tests;

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;

pub use self::data::{Files, Rows};
pub use self::run::{Coverage, Gap, Outcome};

use self::data::{DataWindows, Reference};
use self::expect::Expectation;
use self::figures::Figures;
use self::look::Minutes;
use super::rule::RuleSet;
use crate::drift::Criteria;
use crate::model::ModelName;
use crate::yaml::Problem;

/// A file that ends so holds tests of rules, and no rules.
pub const SUFFIX: &str = ".test.yaml";

/// Most windows that one test may judge.
pub const MAX_WINDOWS: usize = 10_000;

/// One test file, checked as far as it can be without its rules.
#[derive(Debug, Clone, PartialEq)]
pub struct TestFile {
    /// Where it stands.
    pub path: String,
    /// The rule files it names, relative to itself, each with its line.
    pub rule_files: Vec<(String, u64)>,
    /// Its tests.
    pub tests: Vec<RuleTest>,
}

/// One test: windows of one model, and what is expected after some of them.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleTest {
    /// Its name.
    pub name: String,
    /// Its first line.
    pub line: u64,
    model: ModelName,
    window: Duration,
    criteria: Criteria,
    reference: Option<Reference>,
    windows: Vec<Windows>,
    /// What rules with `every` see, minute by minute; a test has these or windows.
    looks: Vec<Minutes>,
    expectations: Vec<Expectation>,
}

/// One entry of `windows`.
#[derive(Debug, Clone, PartialEq)]
enum Windows {
    Figures(Box<Figures>),
    Data(DataWindows),
}

/// An expectation that was not met.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mismatch {
    /// Its line.
    pub line: u64,
    /// When: `after 2 windows (2025-01-01T02:00:00Z)`.
    pub moment: String,
    /// What was expected, an alert a line.
    pub expected: Vec<String>,
    /// What was found in its place.
    pub found: Vec<String>,
}

impl Mismatch {
    /// As a small diff: what is the same on both sides, what is missing (`-`), what is there instead (`+`).
    pub fn diff(&self) -> Vec<String> {
        let only = |side: &[String], other: &[String], sign: char| -> Vec<String> {
            side.iter().filter(|line| !other.contains(line)).map(|line| format!("{sign} {line}")).collect()
        };
        let same = self.expected.iter().filter(|line| self.found.contains(line));
        let same = same.map(|line| format!("  {line}")).collect();
        [same, only(&self.expected, &self.found, '-'), only(&self.found, &self.expected, '+')].concat()
    }
}

impl TestFile {
    /// Reads a test file; `path` is for messages, and names the rule file where the test file names none.
    ///
    /// # Errors
    ///
    /// Every problem of the file, by line.
    pub fn parse(path: &str, text: &str) -> Result<Self, Vec<Problem>> {
        read::file(path, text)
    }

    /// What of the tests does not fit the rules: names that no rule has, alerts of rules for another model.
    pub fn misfits(&self, rules: &RuleSet) -> Vec<Problem> {
        self.tests.iter().flat_map(|test| expect::misfits(&self.path, test, rules)).collect()
    }
}

impl RuleTest {
    /// Judges the test's windows by `rules`, from a state without alerts, and looks at what is expected.
    ///
    /// # Errors
    ///
    /// What kept it from running, with its line: a data file that cannot be read, rows that do not fit.
    pub fn run(&self, path: &str, rules: &RuleSet, files: &impl Files) -> Result<Outcome, Problem> {
        run::run(self, rules, files).map_err(|(line, message)| Problem {
            path: path.to_owned(),
            line,
            message: format!("test \"{}\": {message}", self.name),
        })
    }
}

/// A moment as it is written in test files.
fn time_text(time: DateTime<Utc>) -> String {
    time.format("%FT%TZ").to_string()
}
