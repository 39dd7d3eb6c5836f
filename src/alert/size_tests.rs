//! Tests of many rules, and of rules that match much.

use std::fmt::Write;
use std::time::Instant;

use uuid::Uuid;

use super::example::{self, report, report_at, window_end};
use super::*;

/// A file of `count` rules, each with its own threshold; every tenth is over the model.
fn many(count: usize) -> RuleSet {
    let mut text = "groups:\n- name: g\n  rules:\n".to_owned();
    for index in 0..count {
        let (for_each, expr) = match index % 10 {
            0 => ("model", "drifted >= 1 && loss_share < 0.5 && latency.p99 > 2 * baseline.latency.p99"),
            1..=4 => ("output", "psi > 0.25 && n >= 500 || missing_share > 0.5"),
            _ => ("feature", "psi > 0.25 && n >= 500 || missing_share > 0.5"),
        };
        writeln!(text, "  - {{alert: R{index}, for_each: {for_each}, expr: {expr}, for: 3 of 5w}}").unwrap();
    }
    RuleSet::parse(&[("r.yaml".to_owned(), text)]).unwrap()
}

#[test]
fn ten_thousand_rules_are_judged_and_remembered() {
    let began = Instant::now();
    let rules = many(10_000);
    let loaded = began.elapsed();
    let columns = ["a", "b"].map(|name| (name, 0.3));
    let began = Instant::now();
    let first = evaluate(&rules, &report(&columns), Uuid::from_u128(1), &[], window_end(0));
    let judged = began.elapsed();
    // Five in ten rules look at features; each has an alert for both.
    assert_eq!(first.alerts.len(), 10_000);
    let began = Instant::now();
    let later = report_at(1, &columns);
    let second = evaluate(&rules, &later, Uuid::from_u128(2), &first.alerts, window_end(1));
    assert_eq!((second.alerts.len(), second.transitions.len()), (10_000, 0));
    println!("10,000 rules: loaded in {loaded:?}, judged in {judged:?}, again in {:?}", began.elapsed());
}

#[test]
fn a_rule_that_matches_five_thousand_features_tells_of_few() {
    let names: Vec<String> = (0..5000).map(|index| format!("feature_{index:04}")).collect();
    let columns: Vec<(&str, f64)> = names.iter().map(|name| (name.as_str(), 0.3)).collect();
    let text = "groups: [{name: g, rules: [{alert: A, for_each: feature, expr: psi > 0.25}]}]";
    let rules = RuleSet::parse(&[("r.yaml".to_owned(), text.to_owned())]).unwrap();
    let fired = evaluate(&rules, &report(&columns), Uuid::from_u128(1), &[], window_end(0));
    let told = example::told(&fired.alerts, &["oncall", "chat"]);
    assert_eq!((fired.alerts.len(), fired.transitions.len(), told.len()), (5000, 5000, 2));
    for message in &told {
        assert_eq!((message.alerts.len(), message.more), (MAX_NOTICES, 5000 - MAX_NOTICES));
        let bytes = serde_json::to_vec(message).unwrap().len();
        assert!(bytes < 32 << 10, "a message of {bytes} bytes");
    }
    let largest = fired.transitions.iter().map(|t| serde_json::to_vec(&t.evidence).unwrap().len()).max();
    assert!(largest < Some(2 << 10), "evidence of {largest:?} bytes");
    let calm: Vec<(&str, f64)> = names.iter().map(|name| (name.as_str(), 0.0)).collect();
    let over = evaluate(&rules, &report_at(1, &calm), Uuid::from_u128(2), &fired.alerts, window_end(1));
    assert_eq!(over.transitions.len(), 5000);
}
