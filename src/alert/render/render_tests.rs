//! Messages as people read them: what is said, and what data cannot do to it.

use chrono::TimeDelta;
use proptest::prelude::*;

use super::*;
use crate::alert::{Occasion, RuleSet, Status, evaluate, example};
use crate::model::ModelName;

fn message(feature: &str) -> Message {
    let rules = "groups:\n- name: g\n  rules:\n  - alert: FeatureDrift\n    for_each: feature\n    \
                 expr: verdict == \"drift\"\n    labels: {severity: warning}\n    receivers: [oncall]\n    \
                 annotations: {summary: \"{{feature}} drifted: PSI {{psi}} (p {{p}})\", runbook: \"https://wiki.example.com/drift?a=1&b=2\"}\n    \
                 retrain: {mode: auto}";
    let rules = RuleSet::parse(&[("r.yaml".to_owned(), rules.to_owned())]).unwrap();
    let report = example::report(&[(feature, 0.31), ("hum", 0.2)]);
    let id = uuid::Uuid::from_u128(7);
    let alerts = evaluate(&rules, &report, id, &[], report.window_end).alerts;
    example::told(&alerts, &["oncall"]).remove(0)
}

#[test]
fn a_message_reads_well() {
    let rendered = message("temp").render();
    assert_eq!(
        rendered.subject,
        "[FIRING] FeatureDrift on bike-demand: temp drifted: PSI 0.31 (p 1.0e-30); also hum"
    );
    for part in [
        "FIRING: temp drifted: PSI 0.31",
        "Rows            1000 against 10000 of the baseline b3a1",
        "Lost on the way 1.0 %",
        "  - its mean moved up by 0.62 standard deviations",
        "    (-inf, 3.5]               50.0 % ->   20.0 %",
        "  runbook: https://wiki.example.com/drift?a=1&b=2",
        "driftline drift explain 00000000-0000-0000-0000-000000000007",
        "retrain list -m bike-demand",
    ] {
        assert!(rendered.text.contains(part), "{part}\n{}", rendered.text);
    }
    for part in [
        "<h1>temp drifted",
        "(-inf, 3.5]",
        "width:100%",
        "color-scheme",
        "severity",
        "<a href=\"https://wiki.example.com/drift?a=1&amp;b=2\">",
    ] {
        assert!(rendered.html.to_lowercase().contains(part), "{part}\n{}", rendered.html);
    }
}

#[test]
fn every_occasion_says_what_it_is() {
    for (occasion, status, word, note) in [
        (Occasion::Began, Status::Firing, "[FIRING] ", ""),
        (Occasion::Changed, Status::Firing, "[CHANGED] ", "joined or left"),
        (Occasion::Repeated, Status::Firing, "[STILL FIRING] ", "for 1 d 2 h by now"),
        (Occasion::Escalated, Status::Firing, "[ESCALATED] ", "so `oncall` is told now"),
        (Occasion::Resolved, Status::Resolved, "[RESOLVED] ", "over after 1 d 2 h"),
        (Occasion::Test, Status::Firing, "[TEST] ", "Nothing is wrong"),
    ] {
        let mut message = message("temp");
        message.group.since -= TimeDelta::hours(26);
        (message.occasion, message.status) = (occasion, status);
        let rendered = message.render();
        assert!(rendered.subject.starts_with(word), "{}", rendered.subject);
        assert!(rendered.text.contains(note) && rendered.html.contains(note), "{}", rendered.text);
    }
}

#[test]
fn what_alerts_have_in_common_is_said_once() {
    let mut message = message("temp");
    let facts = |message: &Message| message.outline().facts.iter().map(|(name, _)| *name).collect::<Vec<_>>();
    assert!(facts(&message).contains(&"Model"));
    assert!(message.outline().sections.iter().all(|section| section.facts.is_empty()));
    message.alerts[1].model = ModelName::parse("credit").unwrap();
    message.alerts[1].rule = "OutputDrift".to_owned();
    message.group.labels.insert("region".to_owned(), "eu".to_owned());
    let outline = message.outline();
    assert!(!facts(&message).contains(&"Model") && facts(&message).contains(&"Severity"));
    assert!(outline.facts.contains(&("Labels", "region=eu".to_owned())));
    assert_eq!(outline.sections[1].facts[0], ("Model", "credit".to_owned()));
    assert!(outline.sections[1].facts[1].1.starts_with("OutputDrift ("));
    assert!(message.subject().contains("FeatureDrift, OutputDrift on bike-demand, credit: "));
}

#[test]
fn an_alert_that_is_over_is_told_in_a_line_beside_those_that_fire() {
    let mut message = message("temp");
    message.occasion = Occasion::Changed;
    message.alerts[1].status = Status::Resolved;
    let outline = message.outline();
    assert_eq!((outline.sections.len(), outline.over.len()), (1, 1));
    assert!(message.render().text.contains("\nhum: drift in this window\n"));
}

#[test]
fn a_picture_replaces_the_bars_of_its_section_and_keeps_the_numbers() {
    let message = message("temp");
    let picture = Picture { section: 0, source: "cid:bins-0".to_owned(), width: 560 };
    let (plain, pictured) = (message.render().html, message.render_with(&[picture]).html);
    let tracks = |html: &str| html.matches("class=\"track\"").count();
    assert_eq!((tracks(&plain), tracks(&pictured)), (8, 4));
    assert!(pictured.contains("src=\"cid:bins-0\" width=\"560\" alt=\"The bins"));
    assert_eq!(plain.matches("50.0 %").count(), pictured.matches("50.0 %").count());
}

#[test]
fn names_from_data_cannot_break_out() {
    let rendered = message("<img src=x onerror=alert(1)>\r\nBcc: all@example.com\u{202e}").render();
    assert!(!rendered.html.contains("<img"), "{}", rendered.html);
    assert!(!rendered.subject.chars().any(char::is_control), "{}", rendered.subject);
    assert!(!rendered.text.contains("\nBcc") && !rendered.text.contains('\u{202e}'));
    let long = message(&"x".repeat(50_000)).render();
    assert!(long.subject.chars().count() <= MAX_SUBJECT);
    assert!(long.text.len() + long.html.len() < 20_000, "{} and {}", long.text.len(), long.html.len());
}

proptest! {
    #[test]
    fn html_has_only_our_own_tags(name in ".{0,60}") {
        let tags = |html: &str| html.chars().filter(|c| "<>\"".contains(*c)).count();
        let plain = message("temp").render();
        let odd = message(&name).render();
        prop_assert_eq!(tags(&odd.html), tags(&plain.html));
        prop_assert!(!odd.subject.chars().any(char::is_control));
    }
}
