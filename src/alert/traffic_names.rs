//! The names that rules may use for traffic, and what they stand for.

use std::collections::BTreeMap;

use super::vocabulary::{BOTH, Fact, Kind, Variable, variable};
use crate::drift::DriftReport;
use crate::traffic::{Compared, Figure, TrafficReport, TrafficVerdict};

/// What all these names begin with, but for those of [`SHORT`].
pub(super) const PREFIX: &str = "traffic.";

/// Short names for what is asked for most, each with the full one. `latency` is that of the model server.
const SHORT: [(&str, &str); 14] = [
    ("latency.p50", "traffic.upstream_p50"),
    ("latency.p90", "traffic.upstream_p90"),
    ("latency.p95", "traffic.upstream_p95"),
    ("latency.p99", "traffic.upstream_p99"),
    ("error_rate", "traffic.error_share"),
    ("requests", "traffic.requests"),
    ("in_flight", "traffic.in_flight_max"),
    ("baseline.latency.p50", "traffic.baseline.upstream_p50"),
    ("baseline.latency.p90", "traffic.baseline.upstream_p90"),
    ("baseline.latency.p95", "traffic.baseline.upstream_p95"),
    ("baseline.latency.p99", "traffic.baseline.upstream_p99"),
    ("baseline.error_rate", "traffic.baseline.error_share"),
    ("baseline.requests", "traffic.baseline.requests"),
    ("baseline.in_flight", "traffic.baseline.in_flight_max"),
];

/// The names of a figure: of the window, of earlier windows, the one divided by the other.
macro_rules! names {
    ($($figure:literal),* $(,)?) => {
        [$(concat!("traffic.", $figure), concat!("traffic.baseline.", $figure), concat!("traffic.ratio.", $figure)),*]
    };
}

/// Every figure under each of its names.
const NUMBERS: [&str; 60] = names![
    "requests",
    "error_share",
    "client_error_share",
    "unanswered_share",
    "upstream_p50",
    "upstream_p90",
    "upstream_p95",
    "upstream_p99",
    "answer_p50",
    "answer_p90",
    "answer_p99",
    "overhead_p50",
    "overhead_p90",
    "overhead_p99",
    "request_bytes_mean",
    "request_bytes_p99",
    "response_bytes_mean",
    "response_bytes_p99",
    "in_flight_mean",
    "in_flight_max",
];

/// p-values of the figures that are tested, and how many of them are worse.
const TESTED: [&str; 9] = [
    "traffic.p.error_share",
    "traffic.p.client_error_share",
    "traffic.p.unanswered_share",
    "traffic.p.upstream_p50",
    "traffic.p.upstream_p90",
    "traffic.p.upstream_p99",
    "traffic.p.answer_p99",
    "traffic.p.overhead_p99",
    "traffic.worse",
];

/// Every name, for columns and for the model. None of them needs rows: traffic is known where nothing was decoded.
pub(super) fn variables() -> impl Iterator<Item = Variable> {
    let tested = TESTED.into_iter().map(|name| variable(name, Kind::Number, BOTH));
    let verdict = Variable { words: &TrafficVerdict::WORDS, ..variable("traffic.verdict", Kind::Text, BOTH) };
    figures().chain(tested).chain([verdict])
}

/// The names that need no verdict on a window: figures, those of earlier windows, and the one divided by the other.
pub(super) fn figures() -> impl Iterator<Item = Variable> {
    let short = SHORT.into_iter().map(|(short, _)| short);
    short.chain(NUMBERS).map(|name| variable(name, Kind::Number, BOTH))
}

/// Whether `name` is one of them.
pub(super) fn is_one(name: &str) -> bool {
    name.starts_with(PREFIX) || SHORT.iter().any(|(short, _)| *short == name)
}

/// `name` in full and without its prefix.
fn rest(name: &str) -> Option<&str> {
    let full = SHORT.iter().find(|(short, _)| *short == name).map_or(name, |(_, full)| full);
    full.strip_prefix(PREFIX)
}

/// What `name` stands for in a window's traffic.
pub(super) fn fact<'a>(traffic: &'a TrafficReport, name: &str) -> Option<Fact<'a>> {
    let known = matches!(traffic.verdict, TrafficVerdict::Ok | TrafficVerdict::Worse);
    match rest(name)? {
        "verdict" => Some(Fact::Text(traffic.verdict.as_str())),
        // Before anything was compared, none is known to be worse or not.
        "worse" => known.then(|| Fact::Number(traffic.worse().count() as f64)),
        _ => figure(&traffic.figures, name).map(Fact::Number),
    }
}

/// What `name` stands for among these figures.
pub(super) fn figure(figures: &BTreeMap<Figure, Compared>, name: &str) -> Option<f64> {
    let rest = rest(name)?;
    let (part, name) = rest.split_once('.').unwrap_or(("", rest));
    let figure = Figure::ALL.into_iter().find(|figure| figure.as_str() == name)?;
    let compared = figures.get(&figure)?;
    match part {
        "" => Some(compared.value),
        "baseline" => compared.baseline,
        "ratio" => compared.ratio,
        "p" => compared.p,
        _ => None,
    }
}

/// The figure that `name` is about.
pub(super) fn figure_of(name: &str) -> Option<Figure> {
    let rest = rest(name)?;
    let name = rest.split_once('.').map_or(rest, |(_, name)| name);
    Figure::ALL.into_iter().find(|figure| figure.as_str() == name)
}

/// What a message says of the traffic: every figure that is worse, or that none is.
pub(super) fn sentences(report: &DriftReport) -> Vec<String> {
    let Some(traffic) = &report.traffic else { return vec!["the tap saw no traffic".to_owned()] };
    let worse: Vec<String> = traffic.sentences().collect();
    if worse.is_empty() { vec![format!("traffic: {}", traffic.reason)] } else { worse }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_has_its_names_and_no_name_is_left_over() {
        let mut expected: Vec<String> = Vec::new();
        for figure in Figure::ALL.map(Figure::as_str) {
            expected.extend(["", "baseline.", "ratio."].map(|part| format!("{PREFIX}{part}{figure}")));
        }
        assert_eq!(NUMBERS.as_slice(), expected);
        let full: Vec<&str> = SHORT.iter().map(|(_, full)| *full).collect();
        assert!(full.iter().all(|full| NUMBERS.contains(full)), "{full:?}");
        let tested: Vec<String> =
            Figure::TESTED.iter().map(|figure| format!("{PREFIX}p.{}", figure.as_str())).collect();
        assert_eq!(TESTED[..Figure::TESTED.len()], tested);
    }
}
