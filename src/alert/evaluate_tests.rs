//! Tests of one window against the rules.

use super::*;
use crate::alert::RetrainMode;
use crate::alert::example::{report_at, window_end};
use crate::drift::Verdict;
use crate::expectations::{CheckKind, CheckResult, CheckVerdict};
use crate::model::Role;

const RULES: &str = r#"
groups:
  - name: g
    rules:
      - alert: FeatureDrift
        for_each: feature
        expr: verdict == "drift"
        for: 2w
        labels: {severity: warning}
        annotations: {summary: "{{feature}} drifted: PSI {{psi}}"}
        receivers: [oncall, chat]
        retrain: {mode: auto}
"#;

fn rules(text: &str) -> RuleSet {
    RuleSet::parse(&[("rules.yaml".to_owned(), text.to_owned())]).unwrap()
}

fn id(index: u32) -> Uuid {
    Uuid::from_u128(u128::from(index) + 1)
}

/// Judges windows one after the other, keeping what a store would keep.
struct Story {
    rules: RuleSet,
    alerts: Vec<StoredAlert>,
    index: u32,
}

impl Story {
    fn new(text: &str) -> Self {
        Self { rules: rules(text), alerts: Vec::new(), index: 0 }
    }

    fn window(&mut self, columns: &[(&str, f64)]) -> Evaluation {
        let report = report_at(self.index, columns);
        self.judge(&report)
    }

    fn judge(&mut self, report: &DriftReport) -> Evaluation {
        let found = evaluate(&self.rules, report, id(self.index), &self.alerts, report.window_end);
        let again = evaluate(&self.rules, report, id(self.index), &self.alerts, report.window_end);
        assert_eq!(found, again, "judging a window twice differs");
        self.index += 1;
        self.alerts =
            found.alerts.iter().filter(|alert| alert.state != AlertState::Inactive).cloned().collect();
        found
    }
}

fn transitions(evaluation: &Evaluation) -> Vec<String> {
    evaluation.transitions.iter().map(|t| format!("{} {}>{}", t.subject, t.from, t.to)).collect()
}

#[test]
fn a_drift_goes_through_its_whole_life() {
    let mut story = Story::new(RULES);
    let calm = story.window(&[("temp", 0.01), ("hum", 0.02)]);
    assert_eq!(calm, Evaluation::default());

    let first = story.window(&[("temp", 0.3), ("hum", 0.5)]);
    assert_eq!(transitions(&first), ["temp inactive>pending", "hum inactive>pending"]);
    assert!(first.retrains.is_empty() && first.alerts.iter().all(|alert| alert.notice.is_none()));

    let second = story.window(&[("temp", 0.3), ("hum", 0.5)]);
    assert_eq!(transitions(&second), ["temp pending>firing", "hum pending>firing"]);
    assert_eq!(second.alerts[0].receivers, ["oncall", "chat"]);
    let notice = |subject: &str| {
        let alert = second.alerts.iter().find(|alert| alert.subject == subject).unwrap();
        alert.notice.as_deref().unwrap()
    };
    let temp = notice("temp");
    assert_eq!(notice("hum").annotations["summary"], "hum drifted: PSI 0.50");
    assert_eq!(temp.item.moved[0], "its mean moved up by 0.60 standard deviations");
    assert_eq!(temp.item.moved[1], "PSI 0.30 (floor 0.10, p 1.0e-30)");
    assert_eq!(temp.item.moved[2], "missing went from 0 % to 2.0 %");
    assert!((temp.item.bins[0].reference - 0.5).abs() < 1e-12);
    assert!((temp.loss_share - 10.0 / 1010.0).abs() < 1e-12);
    assert_eq!((temp.report, temp.retrain), (Some(id(2)), Some(RetrainMode::Auto)));

    let evidence = &second.transitions[0].evidence;
    assert!(evidence.rule_text.as_ref().unwrap().starts_with("alert: FeatureDrift\nfor_each: feature"));
    assert_eq!(evidence.rule_hash.as_ref().map(String::len), Some(12));
    assert!(evidence.build.starts_with("driftline "), "{}", evidence.build);

    let third = story.window(&[("temp", 0.3), ("hum", 0.0)]);
    assert_eq!(transitions(&third), ["hum firing>resolved"]);
    let hum = third.alerts.iter().find(|alert| alert.subject == "hum").unwrap();
    assert_eq!(hum.notice.as_ref().unwrap().status, Status::Resolved);

    let fourth = story.window(&[("temp", 0.0), ("hum", 0.0)]);
    assert_eq!(transitions(&fourth), ["temp firing>resolved"]);
    assert!(fourth.retrains.is_empty());
    let fifth = story.window(&[("temp", 0.0), ("hum", 0.0)]);
    assert!(fifth.transitions.is_empty());
}

#[test]
fn training_is_asked_for_with_one_cause_per_episode() {
    let mut story = Story::new(RULES);
    let cause = |evaluation: &Evaluation| evaluation.retrains.first().map(|request| request.cause.clone());
    story.window(&[("temp", 0.3), ("hum", 0.0)]);
    let began = cause(&story.window(&[("temp", 0.3), ("hum", 0.3)])).unwrap();
    let expected = format!("rule:FeatureDrift:bike-demand:{}", window_end(1).format("%Y-%m-%dT%H:%M:%SZ"));
    assert_eq!(began, expected);
    // `hum` joins and `temp` leaves: still the same episode.
    assert_eq!(cause(&story.window(&[("temp", 0.3), ("hum", 0.3)])).as_ref(), Some(&began));
    assert_eq!(cause(&story.window(&[("temp", 0.0), ("hum", 0.3)])).as_ref(), Some(&began));
    // A window that says nothing asks for nothing, and keeps the episode.
    let mut silent = report_at(story.index, &[("temp", 0.0), ("hum", 0.3)]);
    silent.verdict = Verdict::Untrusted;
    let kept = story.judge(&silent);
    assert_eq!((cause(&kept), transitions(&kept)), (None, Vec::new()));
    assert_eq!(cause(&story.window(&[("temp", 0.0), ("hum", 0.3)])).as_ref(), Some(&began));
    // All clear, then again: another episode.
    assert_eq!(cause(&story.window(&[("temp", 0.0), ("hum", 0.0)])), None);
    story.window(&[("temp", 0.3), ("hum", 0.0)]);
    let next = cause(&story.window(&[("temp", 0.3), ("hum", 0.0)])).unwrap();
    assert_ne!(next, began);
}

#[test]
fn what_is_gone_is_resolved() {
    let mut story = Story::new(RULES);
    for _ in 0..2 {
        story.window(&[("temp", 0.3), ("hum", 0.3)]);
    }
    let without = story.window(&[("temp", 0.3)]);
    assert_eq!(transitions(&without), ["hum firing>resolved"]);
    let hum = without.alerts.iter().find(|alert| alert.subject == "hum").unwrap();
    assert_eq!(
        hum.notice.as_ref().unwrap().item.summary,
        "FeatureDrift of hum is over: the report no longer holds it"
    );
    story.rules = RuleSet::default();
    let removed = story.window(&[("temp", 0.3)]);
    assert_eq!(transitions(&removed), ["temp firing>resolved"]);
    let temp = removed.alerts.iter().find(|alert| alert.subject == "temp").unwrap();
    assert_eq!(temp.receivers, ["oncall", "chat"], "who was told of the start is told of the end");
    assert_eq!(removed.transitions[0].evidence.expression, None);
}

#[test]
fn rules_over_the_model_and_outputs() {
    let text = r#"
groups:
  - name: g
    model: bike-demand
    rules:
      - {alert: Many, for_each: model, expr: drifted >= 2, receivers: [a]}
      - {alert: Output, for_each: output, expr: verdict == "drift", receivers: [a]}
      - {alert: Loss, for_each: model, expr: loss_share > 0.005, receivers: [a]}
  - name: other
    model: other
    rules:
      - {alert: Never, for_each: model, expr: "true", receivers: [a]}
"#;
    let mut story = Story::new(text);
    let mut report = report_at(0, &[("temp", 0.3), ("count", 0.3)]);
    report.features[1].role = Role::Output;
    let found = story.judge(&report);
    let fired = ["bike-demand inactive>firing", "count inactive>firing", "bike-demand inactive>firing"];
    assert_eq!(transitions(&found), fired);
    assert_eq!(found.transitions[0].evidence.item.moved, ["2 of 2 columns drifted: temp, count"]);
    report.verdict = Verdict::InsufficientData;
    let found = story.judge(&report);
    assert!(found.transitions.is_empty() && found.alerts.len() == 3, "{found:?}");
}

#[test]
fn what_is_derived_from_inputs_alerts_like_an_input() {
    let mut story = Story::new(RULES);
    let mut report = report_at(0, &[("temp", 0.0), ("pca_error", 0.3)]);
    let plain = transitions(&Story::new(RULES).judge(&report));
    report.features[1].role = Role::Derived;
    let found = transitions(&story.judge(&report));
    assert!(found.iter().any(|line| line.starts_with("pca_error ")), "{found:?}");
    assert_eq!(found, plain);
}

#[test]
fn fingerprints_tell_alerts_apart() {
    let model = |name: &str| ModelName::parse(name).unwrap();
    let all = [("a", "b", "c"), ("a", "bc", ""), ("ab", "", "c"), ("a", "", "bc")]
        .map(|(name, rule, subject)| fingerprint(&model(name), rule, subject));
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 4);
    assert_eq!(all[0], fingerprint(&model("a"), "b", "c"));
    assert_eq!(all[0].len(), 32);
}

/// A report with one check of the column `temp` and one of the window.
fn expecting(index: u32, column: CheckVerdict, window: CheckVerdict) -> DriftReport {
    let result = |name: Option<&str>, check, verdict| CheckResult {
        column: name.map(str::to_owned),
        role: name.map(|_| Role::Feature),
        check,
        verdict,
        observed: None,
        limit: 0.0,
        count: 3,
        rows: 1000,
        reason: "3 of 1,000 values are under min -30".to_owned(),
    };
    let mut report = report_at(index, &[("temp", 0.01), ("hum", 0.01)]);
    report.expectations =
        vec![result(None, CheckKind::RowsMin, window), result(Some("temp"), CheckKind::Min, column)];
    report
}

#[test]
fn violated_checks_raise_alerts_beside_drift() {
    use CheckVerdict::{InsufficientData, Ok, Unknown, Violated};
    const RULE: &str = "groups: [{name: g, rules: [{alert: A, for_each: feature, expr: violations > 0}, \
                        {alert: W, for_each: model, expr: violations > 1}]}]";
    let mut story = Story::new(RULE);
    assert_eq!(transitions(&story.judge(&expecting(0, Ok, Violated))), [""; 0]);
    // Too few rows to judge drift: what is violated is violated all the same.
    let mut small = expecting(1, Violated, Ok);
    small.verdict = Verdict::InsufficientData;
    small.features.iter_mut().for_each(|feature| feature.verdict = Verdict::InsufficientData);
    let fired = story.judge(&small);
    assert_eq!(transitions(&fired), ["temp inactive>firing"]);
    let item = &fired.transitions[0].evidence.item;
    assert_eq!(item.summary, "temp: 3 of 1,000 values are under min -30");
    assert_eq!(item.moved[0], item.summary);
    // Checks that could not be decided take no step, decided ones do.
    assert_eq!(transitions(&story.judge(&expecting(2, Unknown, Ok))), [""; 0]);
    assert_eq!(transitions(&story.judge(&expecting(3, InsufficientData, Ok))), [""; 0]);
    assert_eq!(transitions(&story.judge(&expecting(4, Ok, Ok))), ["temp firing>resolved"]);
    let both = story.judge(&expecting(5, Violated, Violated));
    assert_eq!(transitions(&both), ["temp resolved>firing", "bike-demand inactive>firing"]);
    assert_eq!(both.transitions[1].evidence.item.moved.len(), 3);
}

#[test]
fn so_many_of_the_last_windows_are_asked_for() {
    let mut story = Story::new(&RULES.replace("for: 2w", "for: 2 of 3w"));
    let mut changes = Vec::new();
    for psi in [0.3, 0.0, 0.3, 0.0, 0.0, 0.0, 0.3] {
        let text = serde_json::to_string(&story.alerts).unwrap();
        story.alerts = serde_json::from_str(&text).unwrap();
        let found = story.window(&[("temp", psi)]);
        // A run is asked for while the alert fires and the window is breached itself.
        assert_eq!(!found.retrains.is_empty(), psi > 0.0 && changes.len() == 1, "{changes:?}");
        changes.extend(transitions(&found));
    }
    let expected =
        ["temp inactive>pending", "temp pending>firing", "temp firing>resolved", "temp resolved>pending"];
    assert_eq!(changes, expected);
    let evidence = &story.window(&[("temp", 0.3)]).transitions[0].evidence;
    assert_eq!(evidence.hold.as_deref(), Some("2 of the last 3"));
}

#[test]
fn an_alert_of_an_older_build_goes_on() {
    let old = r#"{"fingerprint": "f", "model": "bike-demand", "rule": "FeatureDrift", "subject": "temp",
        "state": {"state": "pending", "since": "2025-06-15T15:00:00Z", "windows": 1}, "episode": null,
        "labels": {"severity": "warning"}, "receivers": [], "summary": "temp drifted",
        "report": "00000000-0000-0000-0000-000000000001"}"#;
    let mut alert: StoredAlert = serde_json::from_str(old).unwrap();
    assert_eq!((alert.rule_text.as_ref(), alert.history.is_empty()), (None, true));
    alert.fingerprint = fingerprint(&alert.model, &alert.rule, &alert.subject);
    let mut story = Story::new(&RULES.replace("for: 2w", "for: 2 of 3w"));
    story.alerts = vec![alert];
    let fired = story.window(&[("temp", 0.3)]);
    assert_eq!(transitions(&fired), ["temp pending>firing"]);
    let rule = &story.rules.rules[0];
    assert_eq!(fired.alerts[0].rule_text.as_ref(), Some(&rule.text));
    let evidence: Evidence =
        serde_json::from_value(serde_json::to_value(&fired.transitions[0].evidence).unwrap()).unwrap();
    assert_eq!(
        (evidence.rule_text.as_ref(), evidence.rule_hash.as_ref()),
        (Some(&rule.text), Some(&rule.hash))
    );
}

#[test]
fn alerts_survive_storage() {
    let mut story = Story::new(RULES);
    story.window(&[("temp", 0.3)]);
    let alert = story.window(&[("temp", 0.3)]).alerts.remove(0);
    let text = serde_json::to_string(&alert).unwrap();
    assert_eq!(serde_json::from_str::<StoredAlert>(&text).unwrap(), alert);
}

#[test]
fn an_alert_that_lingers_is_told_with_the_numbers_of_its_last_breach() {
    let mut story = Story::new(&RULES.replace("for: 2w", "keep_firing_for: 1w"));
    let breached = story.window(&[("temp", 0.3)]).alerts.remove(0);
    let lingering = story.window(&[("temp", 0.01)]).alerts.remove(0);
    assert_eq!((lingering.state.as_str(), &lingering.notice), ("firing", &breached.notice));
    let over = story.window(&[("temp", 0.01)]).alerts.remove(0);
    assert_eq!(over.notice.unwrap().status, Status::Resolved);
}
