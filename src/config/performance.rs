//! Settings of how the predictions of a model are compared with what came true.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{ModelSettings, Span};
use crate::performance::{Reading, Task};
use crate::retrain::{self, Objective};

/// How predictions are compared with labels. With this section a model's rows are kept, even if it is never retrained.
///
/// Where the model has `training`, its task, target and output need not be said again.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Performance {
    /// What the model predicts; absent: as in `training`.
    pub task: Option<Task>,
    /// The output that is the prediction: a score or probability, a class, a number. Absent: as in `training`, else the only
    /// output that there is.
    pub output: Option<String>,
    /// Of a multiclass model the output with the probability of each class, and the class: `{p_cat: cat, p_dog: dog}`.
    pub classes: BTreeMap<String, String>,
    /// Name of the target in labels that are objects; absent: as in `training`.
    pub target: Option<String>,
    /// The score from which on a row is said to be positive.
    pub threshold: f64,
    /// The class that is the positive one; absent: 1 and true.
    pub positive: Option<String>,
    /// Which quantile a regression predicts, for its pinball loss; absent: as in `training`.
    pub quantile: Option<f64>,
    /// Length of the windows that are judged: the model's window or more of them; absent: the model's window.
    pub window: Option<Span>,
    /// A window is judged once so much of its labels should have come, as far as those before it tell.
    pub mature: f64,
}

impl Default for Performance {
    fn default() -> Self {
        Self {
            task: None,
            output: None,
            classes: BTreeMap::new(),
            target: None,
            threshold: 0.5,
            positive: None,
            quantile: None,
            window: None,
            mature: 0.9,
        }
    }
}

impl Performance {
    /// What is wrong with it, each in a sentence.
    pub(super) fn problems(&self, model: &ModelSettings) -> Vec<String> {
        let mut problems = Vec::new();
        let task = self.task.or_else(|| model.training.as_ref().map(|training| task_of(training.task)));
        if task.is_none() {
            problems.push("`performance.task` is missing: `binary`, `multiclass` or `regression`".to_owned());
        }
        if !(self.mature > 0.0 && self.mature < 1.0) {
            problems.push(format!("`performance.mature` {} is not between 0 and 1", self.mature));
        }
        if !self.threshold.is_finite() {
            problems.push(format!("`performance.threshold` {} is not a number", self.threshold));
        }
        if self.quantile.is_some_and(|quantile| !(quantile > 0.0 && quantile < 1.0)) {
            problems.push("`performance.quantile` is not between 0 and 1".to_owned());
        }
        let only = |given: bool, key: &str, wanted: Task| {
            let other = task.filter(|task| given && *task != wanted)?;
            Some(format!(
                "`performance.{key}` is for a {} model, not a {} one",
                wanted.as_str(),
                other.as_str()
            ))
        };
        problems.extend(only(!self.classes.is_empty(), "classes", Task::Multiclass));
        problems.extend(only(self.positive.is_some(), "positive", Task::Binary));
        problems.extend(only(self.quantile.is_some(), "quantile", Task::Regression));
        if !self.classes.is_empty() && self.output.is_some() {
            problems
                .push("`performance.classes` names an output for each class; leave out `output`".to_owned());
        }
        if let Some(window) = self.window {
            let whole = window.0.as_millis().checked_rem(model.window.0.as_millis()) == Some(0);
            if window.0.is_zero() || !whole {
                let own = model.window;
                problems.push(format!(
                    "`performance.window` {window} is not the model's window {own} or a multiple of it"
                ));
            }
        }
        problems
    }
}

/// The task of a training section.
fn task_of(task: retrain::Task) -> Task {
    match task {
        retrain::Task::Binary => Task::Binary,
        retrain::Task::Multiclass => Task::Multiclass,
        retrain::Task::Regression => Task::Regression,
    }
}

impl ModelSettings {
    /// How predictions are read beside labels; none where neither `performance` nor `training` says what the model predicts.
    pub fn reading(&self) -> Option<Reading> {
        let usual = Performance::default();
        let given = self.performance.as_ref().unwrap_or(&usual);
        let training = self.training.as_ref();
        let task = given.task.or_else(|| training.map(|training| task_of(training.task)))?;
        let mut classes: Vec<(String, String)> =
            given.classes.iter().map(|(output, class)| (output.clone(), class.clone())).collect();
        classes.sort();
        let output = given.output.clone().or_else(|| training.map(|training| training.output.clone()));
        Some(Reading {
            task,
            output: output.filter(|_| classes.is_empty()),
            classes,
            target: given.target.clone().or_else(|| training.map(|training| training.target.clone())),
            threshold: given.threshold,
            positive: given.positive.clone(),
            quantile: given.quantile.or_else(|| match training.and_then(|training| training.objective) {
                Some(Objective::Quantile { q }) => Some(q),
                _ => None,
            }),
        })
    }

    /// Length of the windows in which performance is judged.
    pub fn performance_window(&self) -> Span {
        self.performance.as_ref().and_then(|performance| performance.window).unwrap_or(self.window)
    }

    /// Share of the labels that should have come before a window is judged.
    pub fn mature(&self) -> f64 {
        self.performance.as_ref().map_or(Performance::default().mature, |performance| performance.mature)
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Settings;
    use crate::performance::Task;

    fn parse(model: &str) -> Result<Settings, String> {
        Settings::parse(&format!("models: [{{name: m, window: 1h, {model}}}]"), "s.yaml")
            .map_err(|e| e.to_string())
    }

    #[test]
    fn what_training_says_need_not_be_said_again() {
        let settings = parse("training: {task: regression, target: count}").unwrap();
        let reading = settings.models[0].reading().unwrap();
        assert_eq!((reading.task, reading.target.as_deref()), (Task::Regression, Some("count")));
        assert_eq!(reading.outputs(), ["prediction"]);
        let text =
            "training: {task: binary, target: y}, performance: {output: score, threshold: 0.3, window: 1d}";
        let settings = parse(text).unwrap();
        let reading = settings.models[0].reading().unwrap();
        assert_eq!((reading.outputs(), reading.threshold), (vec!["score".to_owned()], 0.3));
        assert_eq!(settings.models[0].performance_window().0.as_secs(), 86_400);
        let settings = parse("performance: {task: multiclass, classes: {p_b: b, p_a: a}}").unwrap();
        assert!(settings.models[0].keeps_rows());
        assert_eq!(settings.models[0].reading().unwrap().outputs(), ["p_a", "p_b"]);
        assert_eq!(parse("labels: {}").unwrap().models[0].reading(), None);
    }

    #[test]
    fn contradictions_are_named() {
        for (performance, expected) in [
            ("{}", "`performance.task` is missing"),
            ("{task: binary, mature: 1}", "`performance.mature` 1 is not between 0 and 1"),
            (
                "{task: binary, quantile: 0.5}",
                "`performance.quantile` is for a regression model, not a binary one",
            ),
            ("{task: regression, positive: a}", "`performance.positive` is for a binary model"),
            ("{task: regression, classes: {p: a}}", "`performance.classes` is for a multiclass model"),
            ("{task: multiclass, output: a, classes: {p: a}}", "leave out `output`"),
            ("{task: regression, quantile: 1.5}", "`performance.quantile` is not between 0 and 1"),
            ("{task: regression, window: 90m}", "is not the model's window 1h or a multiple of it"),
            ("{task: regresion}", "regresion"),
        ] {
            let problem = parse(&format!("performance: {performance}")).unwrap_err();
            assert!(problem.contains(expected), "{performance}: {problem}");
        }
    }
}
