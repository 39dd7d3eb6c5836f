//! The table and the lines of time of a replay, by hand.

use std::time::Duration;

use super::*;
use crate::alert::replay::{Replayed, RuleReplayed};
use crate::cli::rules::replay::figures::Side;
use crate::model::ModelName;

pub(in crate::cli::rules::replay) fn hour(hour: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_735_689_600 + 3600 * hour, 0).unwrap()
}

/// A rule, how often it fired, and in which hours.
type Fired<'a> = (&'a str, u64, &'a [(i64, i64)]);

fn side(rules: &[Fired<'_>]) -> Side {
    let rules = rules.iter().map(|(name, alerts, spells)| {
        let spells: Vec<Spell> =
            spells.iter().map(|(from, until)| Spell { from: hour(*from), until: hour(*until) }).collect();
        let seconds = spells.iter().map(|spell| (spell.until - spell.from).num_seconds()).sum::<i64>() as f64;
        let rule = RuleReplayed {
            alerts: *alerts,
            subjects: (*alerts).min(1),
            seconds,
            firing_seconds: seconds,
            messages: 2 * *alerts,
            spells,
        };
        ((*name).to_owned(), rule)
    });
    let rules: std::collections::BTreeMap<String, RuleReplayed> = rules.collect();
    let messages = rules.values().map(|rule| rule.messages).max().unwrap_or_default();
    let replayed = Replayed { windows: 168, begin: Some(hour(0)), end: Some(hour(168)), messages, rules };
    Side { replayed, runs: Vec::new() }
}

/// A week: `Old` in force alone, `New` replayed alone, `Both` on both sides.
pub(in crate::cli::rules::replay) fn example() -> ModelReplay {
    let in_force = side(&[("Both", 2, &[(0, 21), (84, 105)]), ("Old", 1, &[(167, 168)]), ("Calm", 0, &[])]);
    let changed = side(&[("Both", 1, &[(84, 126)]), ("New<b>", 1, &[(10, 94)]), ("Calm", 0, &[])]);
    let model = ModelName::parse("bike-demand").unwrap();
    let note = "a & b".to_owned();
    ModelReplay::new(&model, &in_force, Some(&changed), Some((Duration::from_secs(90), 2)), vec![note])
}

/// Words of each line, single blanks between them.
fn words(text: &str) -> Vec<String> {
    text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn the_table_shows_both_sides_and_the_difference() {
    let mut out = Vec::new();
    print(&example(), &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    let lines = words(&text);
    assert_eq!(lines[0], "bike-demand: 168 windows, 2025-01-01 00:00 to 2025-01-08 00:00 UTC");
    let start = lines.iter().position(|line| line.starts_with("Both alerts")).unwrap();
    assert_eq!(
        lines[start..start + 9],
        [
            "Both alerts 2 1 -1",
            "subjects 1 1 =",
            "mean duration 21h 1d 18h +21h",
            "total duration 1d 18h 1d 18h =",
            "time firing 25.0 % 25.0 % =",
            "pages per week 4.0 2.0 -2.0",
            "runs suggested 0 0 =",
            "runs started 0 0 =",
            "GPU minutes 0.0 0.0 =",
        ]
    );
    assert!(lines.contains(&"New<b> alerts - 1 +1".to_owned()), "{text}");
    assert!(lines.contains(&"Old alerts 1 - -1".to_owned()), "{text}");
    assert!(lines.contains(&"without an alert: Calm".to_owned()), "{text}");
    assert!(lines.contains(&"a & b".to_owned()), "{text}");
    // All rules together: two messages of `Both` are the only ones that are not shared.
    assert!(lines.contains(&"pages per week 4.0 2.0 -2.0".to_owned()), "{text}");
}

#[test]
fn a_line_of_time_marks_what_fired() {
    let spells = |of: &[(i64, i64)]| -> Vec<Spell> {
        of.iter().map(|(from, until)| Spell { from: hour(*from), until: hour(*until) }).collect()
    };
    let (from, until) = (hour(0), hour(64));
    assert_eq!(line(&spells(&[]), from, until), ".".repeat(64));
    assert_eq!(line(&spells(&[(0, 64)]), from, until), "#".repeat(64));
    assert_eq!(line(&spells(&[(1, 3), (5, 6)]), from, until), format!(".##..#{}", ".".repeat(58)));
    // One that began with the last window has no length yet.
    assert_eq!(line(&spells(&[(64, 64)]), from, until), format!("{}#", ".".repeat(63)));
}

#[test]
fn durations_have_two_units() {
    for (seconds, expected) in [
        (0.0, "0"),
        (59.4, "59s"),
        (60.0, "1m"),
        (3661.0, "1h 1m"),
        (90_061.0, "1d 1h"),
        (86_460.0, "1d"),
        (691_200.0, "8d"),
    ] {
        assert_eq!(duration(seconds), expected, "{seconds}");
    }
}

#[test]
fn what_a_run_takes_may_be_unknown() {
    let mut model = example();
    let figures = model.total.in_force.as_mut().unwrap();
    (figures.runs_started, figures.gpu_minutes) = (2, None);
    let minutes = ROWS.iter().position(|row| row.0 == "GPU minutes").unwrap();
    assert_eq!(cells_of(&model.total, minutes), ["unknown", "0.0", ""]);
}
