//! The names that rules may use for a window's traffic, and what they stand for in a report.

use super::vocabulary::{Fact, Kind, Variable};
use crate::drift::DriftReport;
use crate::traffic::{Figure, TrafficVerdict};

/// What all these names begin with.
pub(super) const PREFIX: &str = "traffic.";

/// The names of a figure: of the window, of earlier windows, the one divided by the other.
macro_rules! names {
    ($($figure:literal),* $(,)?) => {
        [$(concat!("traffic.", $figure), concat!("traffic.baseline.", $figure), concat!("traffic.ratio.", $figure)),*]
    };
}

/// Every figure under each of its names.
const NUMBERS: [&str; 57] = names![
    "requests",
    "error_share",
    "client_error_share",
    "unanswered_share",
    "upstream_p50",
    "upstream_p90",
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
    let numbers = NUMBERS.into_iter().chain(TESTED).map(|name| (name, Kind::Number, &[][..]));
    let verdict = ("traffic.verdict", Kind::Text, &TrafficVerdict::WORDS[..]);
    numbers.chain([verdict]).map(|(name, kind, words)| Variable {
        name,
        kind,
        scopes: (true, true),
        inferred: false,
        words,
    })
}

/// What `name`, without its prefix, stands for.
pub(super) fn fact<'a>(report: &'a DriftReport, name: &str) -> Option<Fact<'a>> {
    let traffic = report.traffic.as_ref()?;
    let number = match name.split_once('.') {
        None if name == "verdict" => return Some(Fact::Text(traffic.verdict.as_str())),
        // Before anything was compared, none is known to be worse or not.
        None if name == "worse" => match traffic.verdict {
            TrafficVerdict::Ok | TrafficVerdict::Worse => Some(traffic.worse().count() as f64),
            TrafficVerdict::InsufficientData | TrafficVerdict::Unknown => None,
        },
        None => Some(compared(report, name)?.value),
        Some(("baseline", figure)) => compared(report, figure)?.baseline,
        Some(("ratio", figure)) => compared(report, figure)?.ratio,
        Some(("p", figure)) => compared(report, figure)?.p,
        Some(_) => None,
    };
    number.map(Fact::Number)
}

fn compared<'a>(report: &'a DriftReport, name: &str) -> Option<&'a crate::traffic::Compared> {
    let figure = Figure::ALL.into_iter().find(|figure| figure.as_str() == name)?;
    report.traffic.as_ref()?.figures.get(&figure)
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
        let tested: Vec<String> =
            Figure::TESTED.iter().map(|figure| format!("{PREFIX}p.{}", figure.as_str())).collect();
        assert_eq!(TESTED[..Figure::TESTED.len()], tested);
    }
}
