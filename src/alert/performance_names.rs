//! The names that rules between windows may use for performance, and what they stand for.

use super::view::Look;
use super::vocabulary::{BOTH, Fact, Kind, Variable, variable};
use crate::performance::{Cohort, Metric};

/// What all these names begin with, but for those of what figures are compared with.
const PREFIX: &str = "performance.";

/// What the names of figures begin with that others are compared with.
const BASELINE: &str = "baseline.performance.";

/// The names of a figure: its value, its standard error, what it is compared with.
macro_rules! names {
    ($($metric:literal),* $(,)?) => {
        [$(
            concat!("performance.", $metric),
            concat!("performance.se.", $metric),
            concat!("baseline.performance.", $metric)
        ),*]
    };
}

/// Every figure under each of its names.
const FIGURES: [&str; 48] = names![
    "accuracy",
    "precision",
    "recall",
    "f1",
    "f1_weighted",
    "roc_auc",
    "pr_auc",
    "log_loss",
    "brier",
    "calibration_error",
    "mae",
    "rmse",
    "mape",
    "r2",
    "pinball",
    "poisson_deviance",
];

/// How much is behind the figures, and how old the window is.
const COUNTS: [&str; 4] =
    ["performance.n", "performance.rows", "performance.labelled_share", "performance.age_seconds"];

/// Every name.
pub(super) fn variables() -> impl Iterator<Item = Variable> {
    FIGURES.into_iter().chain(COUNTS).map(|name| variable(name, Kind::Number, BOTH))
}

/// Whether `name` is one of them.
pub(super) fn is_one(name: &str) -> bool {
    name.starts_with(PREFIX) || name.starts_with(BASELINE)
}

/// The figure that `name` is about.
pub(super) fn metric_of(name: &str) -> Option<Metric> {
    let rest = name.strip_prefix(BASELINE).or_else(|| name.strip_prefix(PREFIX))?;
    Metric::parse(rest.strip_prefix("se.").unwrap_or(rest))
}

/// What `name` stands for in a look at all rows, or at those of a segment.
pub(super) fn fact<'a>(look: &'a Look, cohort: &'a Cohort, name: &str) -> Option<Fact<'a>> {
    let number = match name {
        "performance.n" => cohort.n as f64,
        "performance.rows" => cohort.rows as f64,
        "performance.labelled_share" => cohort.labelled_share()?,
        "performance.age_seconds" => look.seconds_since(look.performance.as_ref()?.window_end),
        _ => {
            let metric = metric_of(name)?;
            if name.starts_with(BASELINE) {
                cohort.before(metric)?
            } else if name.starts_with("performance.se.") {
                cohort.figures.get(&metric)?.standard_error?
            } else {
                cohort.figures.get(&metric)?.value
            }
        }
    };
    Some(Fact::Number(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_has_its_names_and_no_name_is_left_over() {
        let expected: Vec<String> = Metric::ALL
            .iter()
            .flat_map(|metric| {
                ["performance.", "performance.se.", "baseline.performance."]
                    .map(|part| format!("{part}{}", metric.as_str()))
            })
            .collect();
        assert_eq!(FIGURES.as_slice(), expected);
        assert!(FIGURES.iter().all(|name| is_one(name) && metric_of(name).is_some()));
        assert_eq!(metric_of("performance.n"), None);
    }
}
