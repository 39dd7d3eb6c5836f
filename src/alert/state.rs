//! The life of one alert: inactive, pending, firing, resolved, with Prometheus' meaning.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::hold::Hold;

/// How long a breach has to last before an alert fires, and how long it stays after the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HoldTimes {
    /// `for`: in windows, the alert fires with the n-th breached window in a row; in time, once the first
    /// breach lies at least so far back; with `k of n`, while k of the last n windows are breached. `0`, `0w` and `1w`
    /// fire at once.
    pub hold: Hold,
    /// `keep_firing_for`: in windows, so many clear windows are waited out; in time, so much after the
    /// first clear window.
    pub keep_firing: Hold,
}

/// Which of the last judged windows were breached: the newest is bit 0. Only kept for `k of n`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct History(u64);

impl History {
    /// Whether there is nothing to remember.
    pub fn is_empty(&self) -> bool {
        self.0 == 0
    }

    /// The history that a state without one stands for: of a rule that had another `for`, or of an older build.
    fn recalled(self, state: AlertState) -> Self {
        let ones = |count: u32| u64::MAX.checked_shr(u64::BITS - count.min(u64::BITS)).unwrap_or_default();
        match state {
            AlertState::Pending { windows, .. } if self.is_empty() => Self(ones(windows)),
            AlertState::Firing { clear_windows, .. } if self.is_empty() => {
                Self(u64::MAX.checked_shl(clear_windows).unwrap_or_default())
            }
            _ => self,
        }
    }

    fn with(self, breached: bool, of: u32) -> Self {
        let mask = u64::MAX.checked_shr(u64::BITS - of.min(u64::BITS)).unwrap_or_default();
        Self(((self.0 << 1) | u64::from(breached)) & mask)
    }
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
        /// Breached windows in a row; with `k of n`, those among the last n.
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
    /// The state and the history after a window that ended at `now`; a window that says nothing takes no step.
    #[must_use]
    pub fn step(
        self,
        history: History,
        breached: bool,
        now: DateTime<Utc>,
        times: HoldTimes,
    ) -> (Self, History) {
        let Hold::OutOf { needed, of } = times.hold else {
            return (self.follow(breached, now, times), History::default());
        };
        let history = history.recalled(self).with(breached, of);
        let windows = history.0.count_ones();
        let state = match (self, windows >= needed) {
            (Self::Firing { .. }, enough) => self.follow(enough, now, times),
            (_, true) => Self::Firing { since: now, clear_since: None, clear_windows: 0 },
            (Self::Pending { .. }, false) if windows == 0 => Self::Inactive,
            (Self::Pending { since, .. }, false) => Self::Pending { since, windows },
            (Self::Inactive | Self::Resolved { .. }, false) if breached => {
                Self::Pending { since: now, windows }
            }
            (other, false) => other,
        };
        (state, history)
    }

    /// The state after a window, for a `for` that looks at the windows since the last clear one.
    fn follow(self, breached: bool, now: DateTime<Utc>, times: HoldTimes) -> Self {
        match (self, breached) {
            (Self::Inactive | Self::Pending { .. }, false) => Self::Inactive,
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
                    Hold::Windows(windows) | Hold::OutOf { needed: windows, .. } => clear_windows > windows,
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
            Hold::Windows(needed) | Hold::OutOf { needed, .. } => windows >= needed,
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
#[path = "state_tests.rs"]
mod tests;
