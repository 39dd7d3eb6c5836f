//! Tests of rules that watch between windows.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::example::{self, report_at, window_end};
use super::expression::Engine;
use super::vocabulary::{Names, Subject};
use super::*;
use crate::drift::Losses;
use crate::model::ModelName;
use crate::traffic::{Compared, Figure};

fn at(minute: i64) -> DateTime<Utc> {
    window_end(0) + TimeDelta::minutes(minute)
}

/// A model that answers as it always has, looked at for five minutes.
fn look(minute: i64) -> Look {
    let figures = [(Figure::Requests, 100.0), (Figure::ErrorShare, 0.01), (Figure::UpstreamP99, 0.1)];
    let compared = |value| Compared { value, baseline: Some(value), ratio: Some(1.0), p: None };
    Look {
        model: ModelName::parse("bike-demand").unwrap(),
        from: at(minute - 5),
        at: at(minute),
        window: Duration::from_hours(1),
        figures: figures.into_iter().map(|(figure, value)| (figure, compared(value))).collect(),
        losses: Losses {
            seen: 100,
            kept: 98,
            dropped: [("queue_full".to_owned(), 2)].into(),
            sampled_out: 0,
        },
        last_prediction: Some(at(minute) - TimeDelta::seconds(3)),
        last_report: Some(at(minute) - TimeDelta::minutes(30)),
        unjudged_since: Some(at(minute) - TimeDelta::minutes(29)),
        last_label: None,
        performance: None,
    }
}

fn slow(minute: i64) -> Look {
    let mut look = look(minute);
    let figure = look.figures.get_mut(&Figure::UpstreamP99).unwrap();
    (figure.value, figure.ratio) = (0.8, Some(8.0));
    look
}

/// A model that nobody has asked anything since minute 0.
fn silent(minute: i64) -> Look {
    Look {
        figures: BTreeMap::new(),
        losses: Losses::default(),
        last_prediction: Some(at(0)),
        unjudged_since: None,
        ..look(minute)
    }
}

fn rules(rules: &str) -> RuleSet {
    let text = format!("groups:\n- name: g\n  rules:\n{rules}\n");
    RuleSet::parse(&[("r.yaml".to_owned(), text)]).unwrap_or_else(|problems| {
        panic!("{}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    })
}

/// Looks once a minute, keeping what a store would keep.
struct Story {
    rules: RuleSet,
    alerts: Vec<StoredAlert>,
}

impl Story {
    fn new(text: &str) -> Self {
        Self { rules: rules(text), alerts: Vec::new() }
    }

    fn look(&mut self, look: &Look) -> Evaluation {
        let due: Vec<_> = self.rules.rules.iter().map(|rule| (rule, look)).collect();
        let found = watch(&self.rules, &due, &self.alerts, look.at);
        assert_eq!(found, watch(&self.rules, &due, &self.alerts, look.at), "looking twice differs");
        let text = serde_json::to_string(&found.alerts).unwrap();
        self.alerts = serde_json::from_str(&text).unwrap();
        self.alerts.retain(|alert| alert.state != AlertState::Inactive);
        found
    }
}

fn transitions(evaluation: &Evaluation) -> Vec<String> {
    evaluation.transitions.iter().map(|t| format!("{} {}>{}", t.rule, t.from, t.to)).collect()
}

const LATENCY: &str = "  - {alert: Slow, for_each: model, every: 1m, over: 5m, for: 5m, \
                       expr: latency.p99 > 2.0 * baseline.latency.p99, \
                       annotations: {summary: \"p99 {{latency.p99}} s, before {{baseline.latency.p99}} s\"}}";

#[test]
fn latency_is_watched_for_five_minutes() {
    let mut story = Story::new(LATENCY);
    assert_eq!(story.look(&look(0)), Evaluation::default());
    assert_eq!(transitions(&story.look(&slow(1))), ["Slow inactive>pending"]);
    for minute in 2..6 {
        assert_eq!(transitions(&story.look(&slow(minute))), [""; 0]);
    }
    let fired = story.look(&slow(6));
    assert_eq!(transitions(&fired), ["Slow pending>firing"]);
    let (transition, told) = (&fired.transitions[0], example::told(&fired.alerts, &["oncall"]));
    let message = &told[0];
    assert_eq!((transition.report, transition.at), (None, at(6)));
    let evidence = &transition.evidence;
    assert_eq!((&evidence.baseline, evidence.window_start, evidence.window_end), (&None, at(1), at(6)));
    assert_eq!(evidence.hold.as_deref(), Some("5m"));
    assert!(evidence.rule_text.as_ref().unwrap().starts_with("alert: Slow\nfor_each: model\nevery: 1m\n"));
    assert_eq!(message.summary, "p99 0.80 s, before 0.10 s");
    let notice = &message.alerts[0];
    assert_eq!((notice.report, notice.verdict, notice.item.verdict), (None, None, None));
    assert_eq!(notice.item.moved, ["upstream_p99 is 800 ms, before 100 ms (8 times)"]);
    assert!((notice.item.effect - 8.0).abs() < 1e-12);
    assert!((notice.item.statistics["latency.p99"] - 0.8).abs() < 1e-12);
    assert!((notice.loss_share - 0.02).abs() < 1e-12);
    let ended = story.look(&look(7));
    assert_eq!(transitions(&ended), ["Slow firing>resolved"]);
    assert_eq!(ended.alerts[0].notice.as_ref().unwrap().status, Status::Resolved);
    assert!(fired.retrains.is_empty() && ended.retrains.is_empty());
}

#[test]
fn a_look_that_tells_nothing_leaves_the_alert_as_it_is() {
    let mut story = Story::new(LATENCY);
    for minute in 1..7 {
        story.look(&slow(minute));
    }
    assert_eq!(story.alerts[0].state.as_str(), "firing");
    assert_eq!(transitions(&story.look(&silent(7))), [""; 0]);
    let mut first = slow(8);
    first.figures.get_mut(&Figure::UpstreamP99).unwrap().baseline = None;
    assert_eq!(transitions(&story.look(&first)), [""; 0]);
    assert_eq!(story.alerts[0].state.as_str(), "firing");
}

#[test]
fn absence_is_an_alert_once_there_was_something() {
    let mut story = Story::new("  - {alert: NoData, for_each: model, every: 1m, for: 15m, expr: no_data}");
    let one_minute = |look: Look| Look { from: look.at - TimeDelta::minutes(1), ..look };
    let never = Look { last_prediction: None, ..silent(0) };
    assert_eq!(story.look(&one_minute(never.clone())), Evaluation::default());
    assert_eq!(story.look(&one_minute(look(0))), Evaluation::default());
    let mut changes = Vec::new();
    for minute in 1..=17 {
        changes
            .extend(transitions(&story.look(&one_minute(silent(minute)))).into_iter().map(|t| (minute, t)));
    }
    let expected = [(1, "NoData inactive>pending".to_owned()), (16, "NoData pending>firing".to_owned())];
    assert_eq!(changes, expected);
    assert_eq!(story.alerts[0].summary, "bike-demand: the last prediction came 17 min ago");
    // Retention forgot the last prediction: that is no sign of life.
    assert_eq!(transitions(&story.look(&one_minute(Look { at: at(18), ..never }))), [""; 0]);
    assert_eq!(transitions(&story.look(&one_minute(look(19)))), ["NoData firing>resolved"]);
}

fn outcome(source: &str, look: &Look) -> Outcome {
    let expression =
        Expression::parse_with(source, Names::Look).unwrap_or_else(|problem| panic!("{source}: {problem}"));
    expression.evaluate(&Engine::new(), Subject::Look(look))
}

#[test]
fn everything_that_is_known_between_windows_has_a_name() {
    use Outcome::{Breach, Clear, Inconclusive};
    for (source, usual, without) in [
        ("no_data", Clear, Breach),
        ("!no_data", Breach, Clear),
        ("seconds_since_prediction == 3", Breach, Clear),
        ("seconds_since_report == 1800", Breach, Breach),
        ("seconds_unjudged > 1000", Breach, Clear),
        ("seconds_since_report > 0.4 * window_seconds", Breach, Breach),
        ("seconds_since_label > 0", Inconclusive, Inconclusive),
        ("requests == 100", Breach, Clear),
        ("requests == 0", Clear, Breach),
        ("traffic.requests < 0.5 * baseline.requests", Clear, Inconclusive),
        ("error_rate > 0.005", Breach, Inconclusive),
        ("error_rate > baseline.error_rate", Clear, Inconclusive),
        ("requests >= 20 && error_rate > 0.5", Clear, Clear),
        ("traffic.ratio.upstream_p99 > 2", Clear, Inconclusive),
        ("in_flight > 3", Inconclusive, Inconclusive),
        ("loss_share == 0.02", Breach, Inconclusive),
        ("latency.p50 > 1", Inconclusive, Inconclusive),
        (r#"model.startsWith("bike")"#, Breach, Breach),
    ] {
        assert_eq!(outcome(source, &look(5)), usual, "{source}");
        assert_eq!(outcome(source, &silent(5)), without, "{source} without traffic");
    }
}

#[test]
fn names_of_reports_are_refused_between_windows_and_the_other_way_round() {
    for (source, names, expected) in [
        ("psi > 1", Names::Look, "`psi` is known only with a window's report; leave out `every`"),
        ("drifted > 1", Names::Look, "`drifted` is known only with a window's report"),
        ("rows > 1", Names::Look, "`rows` is known only with a window's report"),
        (
            "traffic.verdict == \"worse\"",
            Names::Look,
            "`traffic.verdict` is known only with a window's report",
        ),
        ("no_dta", Names::Look, "unknown name `no_dta`, did you mean `no_data`?"),
        ("latncy.p99 > 1", Names::Look, "did you mean `latency.p99`?"),
        ("p99 > 1", Names::Look, "did you mean `latency.p99`?"),
        ("seconds_since_lable > 1", Names::Look, "did you mean `seconds_since_label`?"),
        ("no_data > 1", Names::Look, "expected a number, found true or false"),
        (
            "no_data",
            Names::Window(ForEach::Model),
            "`no_data` is known only between windows; add `every: 1m`",
        ),
        ("seconds_unjudged > 9", Names::Window(ForEach::Feature), "known only between windows"),
        ("basline.latency.p99 > 1", Names::Window(ForEach::Model), "did you mean `baseline.latency.p99`?"),
        ("eror_rate > 1", Names::Window(ForEach::Model), "did you mean `error_rate`?"),
        ("mising_share > 1", Names::Window(ForEach::Feature), "did you mean `missing_share`?"),
    ] {
        let problem = Expression::parse_with(source, names).unwrap_err();
        assert!(problem.contains(expected), "{source}: {problem}");
    }
    assert!(Template::parse_with("{{psi}}", Names::Look).is_err());
    let text = Template::parse_with("{{no_data}} {{seconds_since_prediction}}", Names::Look).unwrap();
    assert_eq!(text.render(Subject::Look(&look(0))), "false 3");
}

#[test]
fn a_window_and_a_look_leave_each_others_alerts_alone() {
    let text = "  - {alert: Drifted, for_each: model, expr: drifted > 0}\n  \
                - {alert: Silent, for_each: model, every: 1m, expr: no_data}";
    let mut rules = rules(text);
    let id = uuid::Uuid::from_u128(1);
    let of_window = evaluate(&rules, &report_at(0, &[("temp", 0.3)]), id, &[], window_end(0));
    assert_eq!(transitions(&of_window), ["Drifted inactive>firing"]);
    let silent_rule = rules.find(&look(0).model, "Silent").unwrap();
    let of_look = watch(&rules, &[(silent_rule, &silent(10))], &of_window.alerts, at(10));
    assert_eq!(transitions(&of_look), ["Silent inactive>firing"]);
    let both = [of_window.alerts.clone(), of_look.alerts.clone()].concat();
    let calm = evaluate(&rules, &report_at(1, &[("temp", 0.0)]), id, &both, window_end(1));
    assert_eq!(transitions(&calm), ["Drifted firing>resolved"]);
    assert_ne!(of_window.transitions[0].id, of_look.transitions[0].id);
    // A rule that is gone ends at the next look, with the text it had.
    rules.rules.remove(0);
    let look = look(11);
    let gone = watch(&rules, &[(&rules.rules[0], &look)], &both, at(11));
    assert_eq!(transitions(&gone), ["Silent firing>resolved", "Drifted firing>resolved"]);
    let evidence = &gone.transitions[1].evidence;
    assert_eq!(evidence.expression, None);
    assert!(evidence.rule_text.as_ref().unwrap().contains("drifted > 0"));
    assert_eq!(evidence.rule_hash, of_window.alerts[0].rule_hash);
}
