//! Rules as they are written in files, checked: every problem is reported, each with its line.

use std::collections::BTreeMap;
use std::time::Duration;

use super::expression::Expression;
use super::hold::Hold;
use super::retrain::RetrainPolicy;
use super::sized_stack;
use super::state::HoldTimes;
use super::template::Template;
use super::vocabulary::ForEach;
use crate::model::ModelName;
use crate::yaml::{Problem, hint};

/// One checked rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// Name of the alert; unique for each model.
    pub name: String,
    /// The group it stands in.
    pub group: String,
    /// The model it is for; absent: every model.
    pub model: Option<ModelName>,
    /// What it looks at.
    pub for_each: ForEach,
    /// The condition.
    pub expression: Expression,
    /// How it watches between windows; absent: it is judged with each window.
    pub watch: Option<Watch>,
    /// `for` and `keep_firing_for`.
    pub times: HoldTimes,
    /// Labels, `severity` among them.
    pub labels: BTreeMap<String, String>,
    /// Texts for people; `summary` is the one that every message shows.
    pub annotations: BTreeMap<String, Template>,
    /// Where its messages go; none: the routes of the settings decide.
    pub receivers: Vec<String>,
    /// How it may become a training run; absent: never.
    pub retrain: Option<RetrainPolicy>,
    /// The rule as YAML: its keys and values in the file's order.
    pub text: String,
    /// Names that text: the first 12 hexadecimal digits of its SHA-256.
    pub hash: String,
    /// The file it stands in.
    pub path: String,
    /// Its first line.
    pub line: u64,
    /// The line of `receivers`, or the first line.
    pub(super) receivers_line: u64,
}

/// How a rule watches between windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watch {
    /// How often it looks; whole minutes, counted from the epoch.
    pub every: Duration,
    /// How much traffic it looks back at; whole minutes, at least `every`.
    pub over: Duration,
}

impl Rule {
    /// Whether the rule is for `model`.
    pub fn applies_to(&self, model: &ModelName) -> bool {
        self.model.as_ref().is_none_or(|own| own == model)
    }

    /// `severity`, when it is labelled.
    pub fn severity(&self) -> Option<&str> {
        self.labels.get("severity").map(String::as_str)
    }

    /// `for` as a person reads it.
    pub fn hold(&self) -> Hold {
        self.times.hold
    }

    /// A problem of this rule, at `line`.
    pub(super) fn problem(&self, line: u64, message: &str) -> Problem {
        Problem {
            path: self.path.clone(),
            line,
            message: format!("group \"{}\", rule \"{}\": {message}", self.group, self.name),
        }
    }
}

/// Every rule in force, in the order of files and lines.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RuleSet {
    /// The rules.
    pub rules: Vec<Rule>,
}

impl RuleSet {
    /// Reads and checks rule files, given as path and text.
    ///
    /// # Errors
    ///
    /// Every problem of every file, by file and line.
    pub fn parse(files: &[(String, String)]) -> Result<Self, Vec<Problem>> {
        let (rules, mut problems) = sized_stack::run(|| {
            let (mut rules, mut problems) = (Vec::new(), Vec::new());
            for (path, text) in files {
                super::rule_file::read(path, text, &mut rules, &mut problems);
            }
            (rules, problems)
        });
        problems.extend(duplicates(&rules));
        problems.sort();
        if problems.is_empty() { Ok(Self { rules }) } else { Err(problems) }
    }

    /// Checks that every receiver that a rule names is among `configured`.
    ///
    /// # Errors
    ///
    /// Every receiver that does not exist.
    pub fn check_receivers(&self, configured: &[String]) -> Result<(), Vec<Problem>> {
        let mut problems = Vec::new();
        for rule in &self.rules {
            for receiver in rule.receivers.iter().filter(|receiver| !configured.contains(receiver)) {
                let near = hint(receiver, configured.iter().map(String::as_str));
                let message = format!("receiver `{receiver}` is not among the settings' receivers{near}");
                problems.push(rule.problem(rule.receivers_line, &message));
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    /// Checks that rules over the segments of one model are of a model that has some.
    ///
    /// # Arguments
    ///
    /// * `configured`: every model, and whether it has segments.
    ///
    /// # Errors
    ///
    /// Every rule that could never fire.
    pub fn check_segments(&self, configured: &[(ModelName, bool)]) -> Result<(), Vec<Problem>> {
        let over_segments = self.rules.iter().filter(|rule| rule.for_each == ForEach::Segment);
        let without = |model: &ModelName| configured.iter().any(|(other, has)| other == model && !has);
        let problems: Vec<Problem> = over_segments
            .filter_map(|rule| {
                let model = rule.model.as_ref().filter(|model| without(model))?;
                let needed = format!("`segments: [COLUMN]` of model `{model}` in the settings");
                Some(rule.problem(rule.line, &format!("`for_each: segment` needs {needed}")))
            })
            .collect();
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    /// The rule `name` for `model`.
    pub fn find(&self, model: &ModelName, name: &str) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.name == name && rule.applies_to(model))
    }
}

/// Rules of one name whose models overlap: their alerts could not be told apart.
fn duplicates(rules: &[Rule]) -> Vec<Problem> {
    let mut seen: BTreeMap<&str, Vec<&Rule>> = BTreeMap::new();
    let mut problems = Vec::new();
    for rule in rules {
        let namesakes = seen.entry(&rule.name).or_default();
        let clash = namesakes
            .iter()
            .find(|other| other.model.is_none() || rule.model.is_none() || other.model == rule.model);
        if let Some(other) = clash {
            let message = format!(
                "expected a name of its own for each rule of a model, but {}:{} has the same",
                other.path, other.line
            );
            problems.push(rule.problem(rule.line, &message));
        }
        namesakes.push(rule);
    }
    problems
}

#[cfg(test)]
#[path = "rule_tests.rs"]
mod tests;
