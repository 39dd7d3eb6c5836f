//! What tests of rules come to.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta};

use super::*;
use crate::model::{Column, Value};

const RULES: &str = r#"
groups:
- name: g
  rules:
  - alert: Drift
    for_each: feature
    expr: psi > 0.2
    for: 2w
    labels: {severity: warning}
    annotations: {summary: "{{feature}} has PSI {{psi}}", runbook: "see {{model}}"}
    retrain: {mode: suggest}
  - alert: Verdict
    for_each: feature
    expr: verdict == "drift"
  - {alert: Broken, for_each: model, expr: violations > 1 && schema_changes == 1}
"#;

fn rules() -> RuleSet {
    RuleSet::parse(&[("r.yaml".into(), RULES.into())]).unwrap()
}

/// Data files in memory: rows `from..until` of a sawtooth, a row a minute from 2025-01-01 on.
struct Sawtooth(BTreeMap<&'static str, (std::ops::Range<i64>, f64)>);

impl Files for Sawtooth {
    fn rows(&self, path: &str, time: Option<&str>) -> Result<Rows, String> {
        let (rows, offset) = self.0.get(path).ok_or_else(|| format!("`{path}` is not there"))?.clone();
        let begin = DateTime::from_timestamp(1_735_689_600, 0).unwrap();
        let times = rows.clone().map(|minute| begin + TimeDelta::minutes(minute)).collect();
        let values = rows.map(|row| Value::Number((row * 7).rem_euclid(101) as f64 + offset)).collect();
        Ok(Rows { columns: vec![Column { name: "x".into(), values }], times: time.map(|_| times) })
    }

    fn text(&self, path: &str) -> Result<String, String> {
        Err(format!("`{path}` is not there"))
    }
}

fn files() -> Sawtooth {
    Sawtooth(BTreeMap::from([
        ("reference.csv", (-6000..0, 0.0)),
        ("calm.csv", (0..960, 0.0)),
        ("moved.csv", (960..1920, 60.0)),
    ]))
}

fn run_text(text: &str) -> Result<Outcome, Problem> {
    let file = TestFile::parse("r.test.yaml", text).unwrap();
    assert_eq!(file.misfits(&rules()), []);
    file.tests[0].run(&file.path, &rules(), &files())
}

/// Runs a test of the given windows and expectations; the differences, with the lines they belong to.
fn mismatches(windows: &str, expect: &str) -> Vec<(u64, String, Vec<String>)> {
    let text =
        format!("tests:\n- name: t\n  model: m\n  window: 1h\n  windows:\n{windows}\n  expect:\n{expect}");
    let outcome = run_text(&text).unwrap();
    let diff = |mismatch: &Mismatch| (mismatch.line, mismatch.moment.clone(), mismatch.diff());
    outcome.mismatches.iter().map(diff).collect()
}

const TWO: &str = "  - {repeat: 2, columns: {temp: {psi: 0.3}, hum: {psi: 0.01}}}";

#[test]
fn what_is_expected_and_so_passes() {
    let expect = "  - {after: 0 windows, alerts: []}
  - {after: 1 window, alert: Drift, subject: temp, state: pending}
  - {after: 2w, alert: Drift, subject: temp, summary: temp has PSI 0.30, labels: {severity: warning}, retrain: true}
  - {after: 2w, alert: Drift, subject: temp, annotations: {runbook: see m, summary: temp has PSI 0.30}}
  - {at: 2025-01-01T02:30:00Z, alerts: [{alert: Drift, subject: temp}]}
  - {at: 2025-01-01T01:59:59Z, alerts: []}
  - {after: 2w, alert: Verdict, alerts: []}
  - {after: 2w, alert: Drift, subject: hum, state: inactive}";
    assert_eq!(mismatches(TWO, expect), []);
}

#[test]
fn what_differs_is_a_small_diff() {
    let expect = "  - {after: 1w, alert: Drift, subject: temp}
  - after: 2w
    alerts:
    - {alert: Drift, subject: hum, summary: hum moved}
  - {after: 2w, alerts: []}
  - {after: 2w, alert: Drift, subject: temp, state: firing, labels: {severity: info}, retrain: false}";
    let found = mismatches(TWO, expect);
    let lines = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
    let first = (8, "after 1 window (2025-01-01T01:00:00Z)".to_owned());
    assert_eq!(found[0], (first.0, first.1, lines(&["- Drift temp firing", "+ Drift temp pending"])));
    assert_eq!(
        found[1].2,
        lines(&[
            "- Drift hum firing: \"hum moved\"",
            "+ Drift hum inactive: \"\"",
            "+ Drift temp firing: \"temp has PSI 0.30\"",
        ])
    );
    assert_eq!((found[1].0, found[1].1.as_str()), (9, "after 2 windows (2025-01-01T02:00:00Z)"));
    assert_eq!(found[2].2, lines(&["- no alert", "+ Drift temp firing: \"temp has PSI 0.30\""]));
    assert_eq!(
        found[3].2,
        lines(&[
            "- Drift temp firing, label severity=\"info\", does not retrain",
            "+ Drift temp firing, label severity=\"warning\", retrains",
        ])
    );
    assert_eq!(found.len(), 4);
}

#[test]
fn figures_reach_the_rules_under_their_names() {
    let windows = "  - {violations: 1, columns: {temp: {violations: 1}}, schema_changes: 1}
  - {violations: 1, schema_changes: 1}
  - {columns: {temp: ~}, verdict: drift}";
    let expect = "  - {after: 1w, alert: Broken}
  - {after: 2w, alert: Broken, state: resolved}";
    assert_eq!(mismatches(windows, expect), []);
    // A column that a window does not name is calm; one that is said to be gone is withdrawn.
    let gone = "  - {repeat: 2, columns: {temp: {psi: 0.3}}}\n  - {columns: {temp: ~}}";
    assert_eq!(mismatches(gone, "  - {after: 3w, alert: Drift, subject: temp, state: resolved}"), []);
}

#[test]
fn windows_of_rows_are_judged_as_the_sidecar_does() {
    let text = "tests:
- name: t
  model: m
  window: 4h
  baseline: {data: reference.csv, time: ts}
  windows:
  - {data: [calm.csv, moved.csv], time: ts}
  expect:
  - {after: 4w, alerts: []}
  - {after: 5w, alerts: [{alert: Verdict, subject: x}]}
  - {after: 6w, alert: Drift, subject: x, state: firing}
";
    let outcome = run_text(text).unwrap();
    assert_eq!((outcome.windows, outcome.mismatches), (8, vec![]));
    let whole = text.replace(", time: ts}\n  windows", "}\n  windows").replace(", time: ts", "");
    let outcome = run_text(&whole.replace("after: 4w", "after: 1w").replace("after: 5w", "after: 2w"));
    // Without times each file is a window.
    let problem = outcome.unwrap_err().to_string();
    assert_eq!(problem, "r.test.yaml:11: test \"t\": 6 windows: the test has 2");
}

#[test]
fn what_cannot_be_run_says_where() {
    let text = |windows: &str, expect: &str| {
        format!(
            "tests:\n- name: t\n  model: m\n  baseline: reference.csv\n  windows:\n{windows}\n  expect:\n  - {{{expect}}}"
        )
    };
    for (windows, expect, expected) in [
        ("  - {data: gone.csv}", "after: 1w, alerts: []", "6: test \"t\": `gone.csv` is not there"),
        ("  - {rows: 9}", "after: 2w, alerts: []", "8: test \"t\": 2 windows: the test has 1"),
        (
            "  - {rows: 9}",
            "at: 2024-12-31T23:00:00Z, alerts: []",
            "8: test \"t\": 2024-12-31T23:00:00Z: the first window begins at 2025-01-01T00:00:00Z",
        ),
        (
            "  - {at: 2025-01-01T00:30:00Z}",
            "after: 1w, alerts: []",
            "6: test \"t\": `at`: expected the start of a window, such as 2025-01-01T00:00:00Z",
        ),
        (
            "  - {repeat: 2}\n  - {at: 2025-01-01T01:00:00Z}",
            "after: 1w, alerts: []",
            "7: test \"t\": `at`: expected 2025-01-01T02:00:00Z or later, where the windows before end",
        ),
    ] {
        let problem = run_text(&text(windows, expect)).unwrap_err();
        assert_eq!(format!("{}: {}", problem.line, problem.message), expected);
    }
    let unknown = text("  - {rows: 9}", "after: 1w, alerts: []")
        .replace("baseline: reference.csv", "baseline: {data: reference.csv, outputs: [label]}");
    let problem = run_text(&unknown).unwrap_err();
    assert_eq!(problem.message, "test \"t\": `reference.csv`: there is no column `label`");
}

#[test]
fn coverage_asks_for_both_kinds_of_test() {
    let run = |windows: &str, expect: &str| {
        let text = format!("tests:\n- name: t\n  model: m\n  windows:\n{windows}\n  expect:\n{expect}");
        run_text(&text).unwrap()
    };
    let missing = |outcomes: &[Outcome]| -> Vec<String> {
        let mut coverage = Coverage::default();
        for outcome in outcomes {
            coverage.add(outcome);
        }
        coverage.gaps(&rules()).into_iter().map(|gap| format!("{} {}", gap.rule, gap.missing)).collect()
    };
    let firing = run(TWO, "  - {after: 2w, alert: Drift, subject: temp}");
    let silent = run(TWO, "  - {after: 1w, alerts: []}\n  - {after: 2w, alert: Verdict, alerts: []}");
    assert_eq!(
        missing(std::slice::from_ref(&firing)),
        ["Drift silent", "Verdict firing", "Verdict silent", "Broken firing", "Broken silent"]
    );
    // A rule that fired later in the same test was not silent in it.
    assert_eq!(missing(&[firing, silent]), ["Drift silent", "Verdict firing", "Broken firing"]);
    let failed = run(TWO, "  - {after: 1w, alert: Drift, subject: temp}");
    assert_eq!(missing(&[failed]).len(), 6);
}
