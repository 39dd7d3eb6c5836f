//! Rules over a window's traffic: names, unknown figures, what a message says.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::example::{self, window_end};
use super::expression::Engine;
use super::vocabulary::Scope;
use super::*;
use crate::drift::{DriftReport, Verdict};
use crate::traffic::{Compared, Figure, ReferenceWindows, TrafficCriteria, TrafficReport, TrafficVerdict};

/// A report of window `index` on traffic with these figures: of the window, of earlier ones, p.
fn report(index: u32, verdict: TrafficVerdict, figures: &[(Figure, f64, Option<f64>, f64)]) -> DriftReport {
    let figures = figures.iter().map(|&(figure, value, baseline, p)| {
        let ratio = baseline.map(|baseline| value / baseline);
        (figure, Compared { value, baseline, ratio, p: baseline.map(|_| p) })
    });
    let traffic = TrafficReport {
        verdict,
        reason: "as its figures say".to_owned(),
        criteria: TrafficCriteria::default(),
        reference: ReferenceWindows::default(),
        figures: figures.collect(),
        statuses: BTreeMap::new(),
        grpc_statuses: BTreeMap::new(),
    };
    DriftReport { traffic: Some(traffic), ..example::report_at(index, &[("temp", 0.3)]) }
}

fn slow(index: u32) -> DriftReport {
    report(
        index,
        TrafficVerdict::Worse,
        &[(Figure::UpstreamP99, 0.8, Some(0.1), 1e-9), (Figure::ErrorShare, 0.0, Some(0.0), 1.0)],
    )
}

fn outcome(source: &str, for_each: ForEach, report: &DriftReport) -> Outcome {
    let expression =
        Expression::parse(source, for_each).unwrap_or_else(|problem| panic!("{source}: {problem}"));
    let column = (for_each != ForEach::Model).then(|| &report.features[0]);
    expression.evaluate(&Engine::new(), Scope { report, column, segment: None })
}

#[test]
fn traffic_is_judged_for_the_model_and_for_columns() {
    let report = slow(0);
    for for_each in [ForEach::Model, ForEach::Feature] {
        for (source, expected) in [
            ("traffic.upstream_p99 > 0.5", Outcome::Breach),
            ("traffic.upstream_p99 > 1", Outcome::Clear),
            ("traffic.baseline.upstream_p99 < 0.2", Outcome::Breach),
            ("traffic.ratio.upstream_p99 > 7.9", Outcome::Breach),
            ("traffic.p.upstream_p99 < 1e-6", Outcome::Breach),
            ("traffic.p.error_share < 0.05", Outcome::Clear),
            ("traffic.error_share > 0", Outcome::Clear),
            (r#"traffic.verdict == "worse""#, Outcome::Breach),
            (r#"traffic.verdict in ["ok", "unknown"]"#, Outcome::Clear),
            ("traffic.worse == 1", Outcome::Breach),
            ("abs(-traffic.upstream_p99) > 0.5 && rows > 10", Outcome::Breach),
            ("[0.5, 0.9].exists(limit, traffic.upstream_p99 > limit)", Outcome::Breach),
        ] {
            assert_eq!(outcome(source, for_each, &report), expected, "{source}");
        }
    }
}

#[test]
fn a_figure_that_is_unknown_leaves_the_alert_as_it_is() {
    let first = report(0, TrafficVerdict::Unknown, &[(Figure::UpstreamP99, 0.8, None, 1.0)]);
    let none = example::report(&[("temp", 0.3)]);
    for (source, with, without) in [
        ("traffic.upstream_p99 > 0.5", Outcome::Breach, Outcome::Inconclusive),
        ("traffic.upstream_p99 > 1", Outcome::Clear, Outcome::Inconclusive),
        ("traffic.ratio.upstream_p99 > 2", Outcome::Inconclusive, Outcome::Inconclusive),
        ("!(traffic.ratio.upstream_p99 <= 2)", Outcome::Inconclusive, Outcome::Inconclusive),
        ("traffic.worse > 0", Outcome::Inconclusive, Outcome::Inconclusive),
        ("traffic.ratio.upstream_p99 > 2 || rows > 10", Outcome::Breach, Outcome::Breach),
        ("traffic.ratio.upstream_p99 > 2 && rows < 10", Outcome::Clear, Outcome::Clear),
        // What is unknown here is no figure of the traffic.
        ("chi2 > 2 && traffic.upstream_p99 > 0.5", Outcome::Clear, Outcome::Inconclusive),
    ] {
        assert_eq!(outcome(source, ForEach::Feature, &first), with, "{source}");
        assert_eq!(outcome(source, ForEach::Feature, &none), without, "{source} without traffic");
    }
}

#[test]
fn traffic_speaks_where_rows_are_too_few() {
    for verdict in [Verdict::InsufficientData, Verdict::Untrusted] {
        let report = DriftReport { verdict, rows: 0, ..slow(0) };
        assert_eq!(outcome("traffic.upstream_p99 > 0.5", ForEach::Model, &report), Outcome::Breach);
        assert_eq!(
            outcome("drifted > 0 && traffic.worse > 0", ForEach::Model, &report),
            Outcome::Inconclusive
        );
    }
}

#[test]
fn a_wrong_name_is_refused_with_the_nearest() {
    for (source, expected) in [
        (
            "traffic.upstream_p94 > 1",
            "unknown name `traffic.upstream_p94`, did you mean `traffic.upstream_p9",
        ),
        ("traffic.error_shar > 1", "did you mean `traffic.error_share`?"),
        ("upstream_p99 > 1", "unknown name `upstream_p99`, did you mean `traffic.upstream_p99`?"),
        ("traffic.basline.error_share > 1", "did you mean `traffic.baseline.error_share`?"),
        ("traffic.p.requests < 0.01", "unknown name `traffic.p.requests`"),
        ("traffic > 1", "unknown name `traffic`"),
        (r#"traffic.verdict == "bad""#, "`traffic.verdict` is never `bad`"),
        (r#"traffic.upstream_p99 == "worse""#, "expected two of a kind"),
        ("has(traffic.upstream_p99)", "expected a name before `.`"),
    ] {
        let problem = Expression::parse(source, ForEach::Model).unwrap_err();
        assert!(problem.contains(expected), "{source}: {problem}");
    }
    let summary = Template::parse("p99 {{traffic.upstream_p99}} s", ForEach::Model).unwrap();
    let report = slow(0);
    assert_eq!(summary.render(Scope { report: &report, column: None, segment: None }), "p99 0.80 s");
    assert!(Template::parse("{{traffic.upstream}}", ForEach::Model).is_err());
}

#[test]
fn a_message_says_what_is_worse() {
    let text = "groups:\n- name: g\n  rules:\n  - alert: Slow\n    for_each: model\n    expr: traffic.ratio.upstream_p99 > 2\n";
    let rules = RuleSet::parse(&[("r.yaml".to_owned(), text.to_owned())]).unwrap();
    let decided = evaluate(&rules, &slow(0), Uuid::from_u128(1), &[], window_end(0));
    let item = &decided.transitions[0].evidence.item;
    assert_eq!(item.summary, "bike-demand: upstream_p99 is 800 ms, before 100 ms (8 times, p 1e-9)");
    assert_eq!(item.moved[0], "upstream_p99 is 800 ms, before 100 ms (8 times, p 1e-9)");
    assert_eq!(item.statistics.keys().collect::<Vec<_>>(), ["drifted", "traffic.ratio.upstream_p99"]);
    assert!((item.statistics["traffic.ratio.upstream_p99"] - 8.0).abs() < 1e-12);
    assert_eq!(decided.transitions[0].evidence.item.moved, item.moved);
}
