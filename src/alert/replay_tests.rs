//! Small replays beside figures that were counted by hand.

use proptest::prelude::*;

use super::*;
use crate::alert::example::{report_at, window_end};

const RULES: &str = r"
groups:
- name: g
  rules:
  - {alert: Now, for_each: feature, expr: psi > 0.25}
  - {alert: Held, for_each: feature, expr: psi > 0.25, for: 2w, keep_firing_for: 1w}
  - {alert: Never, for_each: feature, expr: psi > 9}
  - {alert: Whole, for_each: model, expr: drifted >= 2}
";

fn rules() -> RuleSet {
    RuleSet::parse(&[("r.yaml".into(), RULES.into())]).unwrap()
}

/// Judges hours in which columns `a` and `b` drift (`x`) or do not (`.`).
fn replay(rules: &RuleSet, a: &str, b: &str) -> Replayed {
    let mut replay = Replay::new(rules);
    for (index, (a, b)) in a.chars().zip(b.chars()).enumerate() {
        let psi = |mark| if mark == 'x' { 0.5 } else { 0.01 };
        let report = report_at(u32::try_from(index).unwrap(), &[("a", psi(a)), ("b", psi(b))]);
        replay.window(&report, Uuid::from_u128(index as u128), report.window_end);
    }
    replay.finish()
}

fn hours(replayed: &RuleReplayed) -> (u64, u64, f64, f64, u64) {
    let RuleReplayed { alerts, subjects, seconds, firing_seconds, messages, .. } = replayed;
    (*alerts, *subjects, seconds / 3600.0, firing_seconds / 3600.0, *messages)
}

fn spells(replayed: &RuleReplayed) -> Vec<(i64, i64)> {
    let hour = |time: DateTime<Utc>| (time - window_end(0)).num_hours();
    replayed.spells.iter().map(|spell| (hour(spell.from), hour(spell.until))).collect()
}

#[test]
fn figures_are_those_counted_by_hand() {
    let rules = rules();
    // Hour:               0123456789
    let found = replay(&rules, "..xxx..x..", "...xx.....");
    assert_eq!((found.windows, found.begin), (10, Some(window_end(0) - TimeDelta::hours(1))));
    assert_eq!(found.end, Some(window_end(9)));
    // `a` fires 2 to 5 and 7 to 8, `b` 3 to 5; told at 2, 3, 5, 7 and 8.
    let now = &found.rules["Now"];
    assert_eq!(hours(now), (3, 2, 3.0 + 1.0 + 2.0, 4.0, 5));
    assert_eq!(spells(now), [(2, 5), (7, 8)]);
    // `a` has two in a row at 3, `b` at 4; the second clear window is hour 6.
    let held = &found.rules["Held"];
    assert_eq!(hours(held), (2, 2, 3.0 + 2.0, 3.0, 3));
    assert_eq!(spells(held), [(3, 6)]);
    assert_eq!(found.rules["Never"], RuleReplayed::default());
    assert_eq!(hours(&found.rules["Whole"]), (1, 1, 2.0, 2.0, 2));
    // All that happens in a window is one message: 2, 3, 4, 5, 6, 7, 8.
    assert_eq!(found.messages, 7);
}

#[test]
fn what_still_fires_counts_up_to_the_last_window() {
    let found = replay(&rules(), "..xx", "....");
    assert_eq!(hours(&found.rules["Now"]), (1, 1, 1.0, 1.0, 1));
    assert_eq!(spells(&found.rules["Now"]), [(2, 3)]);
    let found = replay(&rules(), "...x", "....");
    assert_eq!(
        (hours(&found.rules["Now"]), spells(&found.rules["Now"])),
        ((1, 1, 0.0, 0.0, 1), vec![(3, 3)])
    );
}

#[test]
fn no_window_is_no_message() {
    let found = replay(&rules(), "", "");
    assert_eq!((found.windows, found.begin, found.messages, found.rules.len()), (0, None, 0, 0));
}

proptest! {
    #[test]
    fn a_rule_fires_no_longer_than_its_alerts_together(a in "[.x]{0,40}", b in "[.x]{0,40}") {
        let length = a.len().min(b.len());
        let found = replay(&rules(), &a, &b);
        prop_assert_eq!(found.windows, length as u64);
        for (name, rule) in &found.rules {
            prop_assert!(rule.firing_seconds <= rule.seconds + 1e-9, "{name}: {rule:?}");
            prop_assert!(rule.seconds <= rule.subjects as f64 * rule.firing_seconds + 1e-9, "{name}: {rule:?}");
            prop_assert!(rule.firing_seconds <= 3600.0 * length.saturating_sub(1) as f64 + 1e-9);
            prop_assert!(rule.messages <= found.messages && rule.subjects <= rule.alerts);
            for pair in rule.spells.windows(2) {
                prop_assert!(pair[0].until < pair[1].from, "{name}: {:?}", rule.spells);
            }
        }
        // Without `for`, an alert begins with each first of a row of marks.
        let begins = |marks: &str| {
            let marks: String = format!(".{}", &marks[..length]);
            marks.matches(".x").count() as u64
        };
        if length > 0 {
            prop_assert_eq!(found.rules["Now"].alerts, begins(&a) + begins(&b));
        }
    }
}
