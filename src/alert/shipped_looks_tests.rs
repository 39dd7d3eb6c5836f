//! The shipped rules that no test file can test, as they look at segments or between windows, and which alerts quiet others.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use chrono::TimeDelta;
use uuid::Uuid;

use super::*;
use crate::alert::example::{self, report_at, window_end};
use crate::drift::{DriftReport, Losses, Verdict};
use crate::model::{ModelName, Role};
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

/// What a case does to a calm report.
type WindowChange = fn(&mut DriftReport);

fn segment(report: &mut DriftReport, verdict: Verdict) {
    report.verdict = Verdict::Ok;
    report.segments = vec![example::segment("region=eu", verdict)];
}

/// What a case does to a calm look at the given minute.
type LookChange = fn(&mut Look, i64);

/// Rule, minutes until it fires, the change that makes it fire, a change it has to be silent on.
const LOOKS: [(&str, i64, LookChange, LookChange); 4] = [
    (
        "NoData",
        // At the end of the first silent minute it is pending.
        16,
        |look, minute| look.last_prediction = Some(look.at - TimeDelta::minutes(minute)),
        |look, _| look.last_prediction = Some(look.at - TimeDelta::seconds(59)),
    ),
    (
        "ReportsStale",
        135 + 5,
        |look, minute| look.unjudged_since = Some(look.at - TimeDelta::minutes(minute)),
        |look, _| look.last_report = None,
    ),
    (
        "LatencyRegression",
        6,
        |look, _| look_figure(look, Figure::UpstreamP99, 0.5),
        |look, _| look_figure(look, Figure::UpstreamP50, 0.5),
    ),
    (
        "ErrorRate",
        3,
        |look, _| look_figure(look, Figure::ErrorShare, 0.5),
        |look, _| look_figure(look, Figure::ClientErrorShare, 0.5),
    ),
];

fn look_figure(look: &mut Look, figure: Figure, value: f64) {
    look.figures.get_mut(&figure).unwrap().value = value;
}

/// The rules that fire after looks in each of so many minutes with `change`.
fn firing_between(rules: &RuleSet, minutes: i64, change: LookChange) -> BTreeSet<String> {
    let mut alerts: Vec<StoredAlert> = Vec::new();
    for minute in 1..=minutes {
        let at = window_end(0) + TimeDelta::minutes(minute);
        let looks: Vec<(&Rule, Look)> = rules
            .rules
            .iter()
            .filter_map(|rule| Some((rule, rule.watch?)))
            .filter(|(_, watch)| minute * 60 % watch.every.as_secs().cast_signed() == 0)
            .map(|(rule, watch)| {
                let mut look = Look {
                    model: ModelName::parse("bike-demand").unwrap(),
                    from: at - watch.over,
                    at,
                    window: Duration::from_hours(1),
                    figures: calm_traffic().figures,
                    losses: Losses { seen: 1000, kept: 1000, ..Losses::default() },
                    last_prediction: Some(at - TimeDelta::seconds(1)),
                    last_report: Some(at - TimeDelta::minutes(30)),
                    unjudged_since: Some(at - TimeDelta::minutes(30)),
                    last_label: None,
                    performance: None,
                };
                change(&mut look, minute);
                (rule, look)
            })
            .collect();
        let due: Vec<(&Rule, &Look)> = looks.iter().map(|(rule, look)| (*rule, look)).collect();
        let found = watch(rules, &due, &alerts, at).alerts;
        // What was not looked at stays as it is.
        alerts.retain(|alert| !found.iter().any(|other| other.fingerprint == alert.fingerprint));
        alerts.extend(found);
    }
    firing_rules(&alerts)
}

fn firing_rules(alerts: &[StoredAlert]) -> BTreeSet<String> {
    let firing = alerts.iter().filter(|alert| alert.state.firing_since().is_some());
    firing.map(|alert| alert.rule.clone()).collect()
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

/// The rules that fire after `windows` windows with `change`.
fn firing(rules: &RuleSet, windows: u32, change: WindowChange) -> BTreeSet<String> {
    let mut alerts = Vec::new();
    for index in 0..windows {
        let mut report = report_at(index, &[("temp", 0.01), ("count", 0.01)]);
        report.features[1].role = Role::Output;
        report.traffic = Some(calm_traffic());
        change(&mut report);
        alerts = evaluate(rules, &report, Uuid::from_u128(1), &alerts, report.window_end).alerts;
    }
    firing_rules(&alerts)
}

#[test]
fn rules_between_windows_fire_and_are_silent() {
    let rules = shipped();
    let watching: BTreeSet<&str> =
        rules.rules.iter().filter(|rule| rule.watch.is_some()).map(|rule| rule.name.as_str()).collect();
    assert_eq!(LOOKS.iter().map(|(rule, ..)| *rule).collect::<BTreeSet<_>>(), watching);
    assert_eq!(firing_between(&rules, 200, |_, _| ()), BTreeSet::new(), "calm looks are silent");
    for (rule, minutes, loud, silent) in LOOKS {
        assert!(firing_between(&rules, minutes, loud).contains(rule), "{rule} does not fire");
        assert!(!firing_between(&rules, minutes - 1, loud).contains(rule), "{rule} fires too early");
        assert!(!firing_between(&rules, minutes, silent).contains(rule), "{rule} fires without cause");
    }
}

#[test]
fn rules_over_segments_fire_and_are_silent() {
    let rules = shipped();
    let over_segments = rules.rules.iter().filter(|rule| rule.for_each == ForEach::Segment);
    assert_eq!(over_segments.map(|rule| rule.name.as_str()).collect::<Vec<_>>(), ["SegmentDrift"]);
    let fires = |windows, change| firing(&rules, windows, change).contains("SegmentDrift");
    assert!(fires(2, |r| segment(r, Verdict::Drift)));
    assert!(!fires(1, |r| segment(r, Verdict::Drift)));
    assert!(!fires(2, |r| segment(r, Verdict::Ok)));
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
