//! Tests of the life of an alert.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

/// Judges a window a minute: `x` breaches, `.` does not, `?` says nothing; `I`, `P`, `F`, `R` name the states.
#[track_caller]
fn check(hold: &str, keep_firing: &str, windows: &str, expected: &str) {
    let times =
        HoldTimes { hold: Hold::parse(hold).unwrap(), keep_firing: Hold::parse(keep_firing).unwrap() };
    let (mut state, mut history) = (AlertState::Inactive, History::default());
    let mut now = DateTime::UNIX_EPOCH;
    let mut actual = String::new();
    for window in windows.chars() {
        if window != '?' {
            (state, history) = state.step(history, window == 'x', now, times);
        }
        now += Duration::from_mins(1);
        actual.push(state.as_str().chars().next().unwrap().to_ascii_uppercase());
    }
    assert_eq!(actual, expected, "for={hold} keep_firing_for={keep_firing} on {windows}");
}

#[test]
fn follows_the_state_machine_in_time() {
    check("0", "0", ".x.", "IFR");
    check("2m", "0", "xxxx.", "PPFFR");
    check("2m", "0", "xx.xxx", "PPIPPF");
    check("0", "2m", "x.x....", "FFFFFRR");
    check("90s", "0", "xxx", "PPF");
}

#[test]
fn follows_the_state_machine_in_windows() {
    check("0w", "0w", ".x.", "IFR");
    check("1w", "0w", ".x.", "IFR");
    check("2w", "0", "xxx.", "PFFR");
    check("2w", "0", "x.xx.", "PIPFR");
    check("3w", "0", "xx.xxx", "PPIPPF");
    check("0w", "2w", "x.x....", "FFFFFRR");
    check("0w", "1w", "x..", "FFR");
}

#[test]
fn so_many_of_the_last_windows_are_enough() {
    check("3 of 5w", "0", "x.x.x...", "PPPPFRRR");
    check("3 of 5w", "0", "xxx...x.xx", "PPFFFRPPPF");
    check("3 of 5", "0", "x....x", "PPPPPP");
    check("3 of 5", "0", "x.....x", "PPPPPIP");
    check("1 of 3w", "0", "x...x", "FFFRF");
    check("2 of 2w", "0", "x.xx.", "PPPFR");
    check("3 of 3 windows", "0", "xx.xxx", "PPPPPF");
    // What is kept on after it counts from the window in which too few of the last were breached.
    check("2 of 3w", "1w", "xx....", "PFFFRR");
    check("2 of 3w", "2m", "xx....", "PFFFFR");
    check("2 of 3w", "1w", "xx..x.x", "PFFFRRF");
}

#[test]
fn a_window_that_says_nothing_is_none_of_the_last() {
    check("2 of 3w", "0", "x??x", "PPPF");
    check("2 of 3w", "0", "x.?x", "PPPF");
    check("2 of 3w", "0", "xx???.?.", "PFFFFFFR");
}

/// Steps through `windows` with these times, from `state`.
fn walk(mut state: AlertState, hold: &str, windows: &str) -> String {
    let times = HoldTimes { hold: Hold::parse(hold).unwrap(), keep_firing: Hold::default() };
    let mut history = History::default();
    let step = |window: char| {
        (state, history) = state.step(history, window == 'x', DateTime::UNIX_EPOCH, times);
        state.as_str().chars().next().unwrap().to_ascii_uppercase()
    };
    windows.chars().map(step).collect()
}

#[test]
fn an_alert_goes_on_when_its_rule_begins_to_count_otherwise() {
    let at = DateTime::UNIX_EPOCH;
    assert_eq!(walk(AlertState::Pending { since: at, windows: 2 }, "3 of 5w", ".x"), "PF");
    let firing = |clear_windows| AlertState::Firing { since: at, clear_since: None, clear_windows };
    assert_eq!(walk(firing(0), "3 of 5w", "..."), "FFR");
    assert_eq!(walk(firing(2), "3 of 5w", "."), "R");
    assert_eq!(walk(firing(64), "3 of 64w", "x"), "R");
    assert_eq!(walk(firing(0), "2w", ".x"), "RP");
}

#[test]
fn a_resolved_alert_starts_over() {
    check("2w", "0", "xx..xx.x", "PFRRPFRP");
    check("2w", "0", "xx.x.x", "PFRPIP");
}

#[test]
fn a_window_that_says_nothing_changes_nothing() {
    check("2w", "0", "x?x?.", "PPFFR");
    check("2w", "0", "?x?.x", "IPPIP");
    check("0", "1w", "x?.?.", "FFFFR");
    // In time, what lies between two breaches counts.
    check("2m", "0", "x?x", "PPF");
}

#[test]
fn a_window_from_the_past_does_not_fire() {
    let times = HoldTimes { hold: Hold::Time(Duration::from_mins(1)), keep_firing: Hold::default() };
    let later = DateTime::UNIX_EPOCH + Duration::from_hours(1);
    let (first, history) = AlertState::Inactive.step(History::default(), true, later, times);
    let (state, _) = first.step(history, true, DateTime::UNIX_EPOCH, times);
    assert_eq!(state.as_str(), "pending");
}

#[test]
fn states_survive_storage() {
    let at = DateTime::UNIX_EPOCH;
    for state in [
        AlertState::Inactive,
        AlertState::Pending { since: at, windows: 2 },
        AlertState::Firing { since: at, clear_since: Some(at), clear_windows: 1 },
        AlertState::Resolved { since: at, at },
    ] {
        let text = serde_json::to_string(&state).unwrap();
        assert_eq!(serde_json::from_str::<AlertState>(&text).unwrap(), state, "{text}");
    }
}

proptest! {
    #[test]
    fn so_many_of_the_last_windows_are_what_a_list_says(
        windows in prop::collection::vec(prop::sample::select(vec!['x', '.', '?']), 0..150),
        of in 1..=64_u32,
        asked in 0..64_u32,
    ) {
        let needed = 1 + asked % of;
        let times = HoldTimes { hold: Hold::OutOf { needed, of }, keep_firing: Hold::default() };
        let (mut state, mut history) = (AlertState::Inactive, History::default());
        let mut judged: Vec<bool> = Vec::new();
        for window in windows {
            if window != '?' {
                judged.push(window == 'x');
                (state, history) = state.step(history, window == 'x', DateTime::UNIX_EPOCH, times);
            }
            let stored = serde_json::to_string(&(state, history)).unwrap();
            (state, history) = serde_json::from_str(&stored).unwrap();
            let breached = judged.iter().rev().take(of as usize).filter(|breached| **breached).count();
            prop_assert_eq!(state.firing_since().is_some(), breached >= needed as usize);
            prop_assert_eq!(history.is_empty(), breached == 0);
            if breached == 0 {
                let over = matches!(state, AlertState::Inactive | AlertState::Resolved { .. });
                prop_assert!(over, "{:?}", state);
            }
        }
    }
}
