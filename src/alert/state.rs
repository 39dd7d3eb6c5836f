//! The life of one alert: inactive, pending, firing, resolved, with Prometheus' meaning.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::hold::Hold;

/// How long a breach has to last before an alert fires, and how long it stays after the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HoldTimes {
    /// `for`: in windows, the alert fires with the n-th breached window in a row; in time, once the first
    /// breach lies at least so far back. `0`, `0w` and `1w` fire at once.
    pub hold: Hold,
    /// `keep_firing_for`: in windows, so many clear windows are waited out; in time, so much after the
    /// first clear window.
    pub keep_firing: Hold,
}

/// Where an alert stands.
///
/// All times are event times, the ends of windows; the number of windows is of those judged, so a gap in the
/// traffic neither helps nor hurts a rule that counts windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum AlertState {
    /// Nothing to say.
    #[default]
    Inactive,
    /// Breached, not yet for long enough.
    Pending {
        /// End of the first breached window.
        since: DateTime<Utc>,
        /// Breached windows in a row.
        windows: u32,
    },
    /// Breached for long enough, or lately so.
    Firing {
        /// When it began to fire.
        since: DateTime<Utc>,
        /// End of the first clear window after the last breach; absent while breached.
        clear_since: Option<DateTime<Utc>>,
        /// Clear windows in a row.
        clear_windows: u32,
    },
    /// Was firing and is over; stays so until the next breach.
    Resolved {
        /// When it had begun to fire.
        since: DateTime<Utc>,
        /// When it ended.
        at: DateTime<Utc>,
    },
}

impl AlertState {
    /// The state after a window that ended at `now`; a window that says nothing takes no step.
    #[must_use]
    pub fn step(self, breached: bool, now: DateTime<Utc>, times: HoldTimes) -> Self {
        match (self, breached) {
            (Self::Inactive, false) | (Self::Pending { .. }, false) => Self::Inactive,
            (Self::Resolved { .. }, false) => self,
            (Self::Inactive | Self::Resolved { .. }, true) => {
                Self::pending_or_firing(now, 1, now, times.hold)
            }
            (Self::Pending { since, windows }, true) => {
                Self::pending_or_firing(since, windows.saturating_add(1), now, times.hold)
            }
            (Self::Firing { since, .. }, true) => Self::Firing { since, clear_since: None, clear_windows: 0 },
            (Self::Firing { since, clear_since, clear_windows }, false) => {
                let (clear_since, clear_windows) =
                    (clear_since.unwrap_or(now), clear_windows.saturating_add(1));
                let over = match times.keep_firing {
                    Hold::Windows(windows) => clear_windows > windows,
                    Hold::Time(time) => elapsed(clear_since, now, time),
                };
                if over {
                    Self::Resolved { since, at: now }
                } else {
                    Self::Firing { since, clear_since: Some(clear_since), clear_windows }
                }
            }
        }
    }

    fn pending_or_firing(since: DateTime<Utc>, windows: u32, now: DateTime<Utc>, hold: Hold) -> Self {
        let long_enough = match hold {
            Hold::Windows(needed) => windows >= needed,
            Hold::Time(time) => elapsed(since, now, time),
        };
        if long_enough {
            Self::Firing { since: now, clear_since: None, clear_windows: 0 }
        } else {
            Self::Pending { since, windows }
        }
    }

    /// The state of an alert whose subject or rule is gone: what fired is resolved, what waited is dropped.
    #[must_use]
    pub fn withdrawn(self, now: DateTime<Utc>) -> Self {
        match self {
            Self::Firing { since, .. } => Self::Resolved { since, at: now },
            Self::Pending { .. } => Self::Inactive,
            other => other,
        }
    }

    /// The word used in tables, messages and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inactive => "inactive",
            Self::Pending { .. } => "pending",
            Self::Firing { .. } => "firing",
            Self::Resolved { .. } => "resolved",
        }
    }

    /// Since when the alert fires, if it does.
    pub fn firing_since(self) -> Option<DateTime<Utc>> {
        if let Self::Firing { since, .. } = self { Some(since) } else { None }
    }
}

/// Whether `time` has passed; a window from before `since` never counts.
fn elapsed(since: DateTime<Utc>, now: DateTime<Utc>, time: std::time::Duration) -> bool {
    (now - since).to_std().is_ok_and(|passed| passed >= time)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Judges a window a minute: `x` breaches, `.` does not, `?` says nothing; `I`, `P`, `F`, `R` name the states.
    #[track_caller]
    fn check(hold: &str, keep_firing: &str, windows: &str, expected: &str) {
        let times =
            HoldTimes { hold: Hold::parse(hold).unwrap(), keep_firing: Hold::parse(keep_firing).unwrap() };
        let (mut state, mut now) = (AlertState::Inactive, DateTime::UNIX_EPOCH);
        let mut actual = String::new();
        for window in windows.chars() {
            if window != '?' {
                state = state.step(window == 'x', now, times);
            }
            now += Duration::from_secs(60);
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
        let times = HoldTimes { hold: Hold::Time(Duration::from_secs(60)), keep_firing: Hold::default() };
        let later = DateTime::UNIX_EPOCH + Duration::from_secs(3600);
        let state = AlertState::Inactive.step(true, later, times).step(true, DateTime::UNIX_EPOCH, times);
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
}
