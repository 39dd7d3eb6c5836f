//! Which alerts of the shipped rules quiet others.

use std::collections::BTreeSet;
use std::path::Path;

use uuid::Uuid;

use super::*;
use crate::alert::example::{self, report_at};
use crate::drift::DriftReport;
use crate::traffic::{Compared, Figure, TrafficCriteria, TrafficReport, TrafficVerdict};

/// Every shipped rule file.
fn shipped() -> RuleSet {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("rules");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let name = path.to_string_lossy();
            name.ends_with(".yaml") && !name.ends_with(".test.yaml")
        })
        .collect();
    files.sort();
    assert!(files.len() >= 2, "found only {files:?}");
    let files: Vec<_> = files
        .iter()
        .map(|path| (path.display().to_string(), std::fs::read_to_string(path).unwrap()))
        .collect();
    RuleSet::parse(&files).unwrap()
}

fn statistic(report: &mut DriftReport, name: &str, value: f64) {
    report.features[0].statistics.insert(name.to_owned(), value);
}

/// Traffic of 1,000 predictions with nothing wrong, as it was before.
fn calm_traffic() -> TrafficReport {
    let usual = [
        (Figure::Requests, 1000.0),
        (Figure::ErrorShare, 0.001),
        (Figure::ClientErrorShare, 0.001),
        (Figure::UnansweredShare, 0.001),
        (Figure::UpstreamP50, 0.01),
        (Figure::UpstreamP99, 0.05),
        (Figure::OverheadP99, 0.0001),
    ];
    let compared = |value| Compared { value, baseline: Some(value), ratio: Some(1.0), p: Some(1.0) };
    TrafficReport {
        verdict: TrafficVerdict::Ok,
        figures: usual.into_iter().map(|(figure, value)| (figure, compared(value))).collect(),
        ..TrafficReport::unreadable(TrafficCriteria::default(), String::new())
    }
}

fn figure(report: &mut DriftReport, figure: Figure, value: f64) {
    let compared = report.traffic.as_mut().unwrap().figures.get_mut(&figure).unwrap();
    compared.value = value;
    compared.ratio = compared.baseline.map(|baseline| value / baseline);
}

#[test]
fn a_failing_server_keeps_drift_from_being_told() {
    let rules = shipped();
    let of = |label: &str, value: &str| -> BTreeSet<&str> {
        let has = |rule: &&Rule| rule.labels.get(label).is_some_and(|found| found == value);
        rules.rules.iter().filter(has).map(|rule| rule.name.as_str()).collect()
    };
    assert!(of("cause", "upstream").contains("ServerErrors"), "{rules:?}");
    let about = of("about", "drift");
    for rule in ["FeatureDrift", "OutputDrift", "MissingValues", "UnknownValues"] {
        assert!(about.contains(rule), "{rule}");
    }
    let mut report = report_at(0, &[("temp", 0.01), ("count", 0.01)]);
    report.traffic = Some(calm_traffic());
    statistic(&mut report, "missing_delta", 0.2);
    figure(&mut report, Figure::ErrorShare, 0.5);
    let alerts = evaluate(&rules, &report, Uuid::from_u128(1), &[], report.window_end).alerts;
    let told = example::told(&alerts, &["oncall"]);
    let told: Vec<&str> = told[0].alerts.iter().map(|notice| notice.rule.as_str()).collect();
    assert_eq!(told, ["ServerErrors"]);
}
