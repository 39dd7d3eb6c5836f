//! Event time: which window a prediction falls into, and when a window is complete.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

/// A span of event time, end exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Window {
    /// First instant.
    pub start: DateTime<Utc>,
    /// First instant after it.
    pub end: DateTime<Utc>,
}

/// Number of the tumbling window of `length` that holds `time`; windows are aligned to 1970-01-01T00:00Z.
pub fn window_index(time: DateTime<Utc>, length: Duration) -> i64 {
    let length = i64::try_from(length.as_millis()).unwrap_or(i64::MAX).max(1);
    time.timestamp_millis().div_euclid(length)
}

impl Window {
    /// The tumbling window of `length` that holds `time`.
    pub fn holding(time: DateTime<Utc>, length: Duration) -> Self {
        let milliseconds = i64::try_from(length.as_millis()).unwrap_or(i64::MAX).max(1);
        let start = window_index(time, length).saturating_mul(milliseconds);
        let at = |millis| DateTime::from_timestamp_millis(millis).unwrap_or(time);
        Self { start: at(start), end: at(start.saturating_add(milliseconds)) }
    }
}

/// The minute that holds `time`.
pub fn minute(time: DateTime<Utc>) -> DateTime<Utc> {
    Window::holding(time, Duration::from_mins(1)).start
}

/// How far event time has come.
///
/// It is the latest event time seen, moved on by the wall time since it last advanced. In live traffic that is
/// the present; in a replay it follows the data; and an idle model's last window still closes.
pub fn watermark(
    latest_event: DateTime<Utc>,
    advanced_at: DateTime<Utc>,
    now: DateTime<Utc>,
) -> DateTime<Utc> {
    latest_event + (now - advanced_at).max(TimeDelta::zero())
}

/// Whether no more rows of `window` are waited for.
pub fn is_complete(window: Window, lateness: Duration, watermark: DateTime<Utc>) -> bool {
    TimeDelta::from_std(lateness).is_ok_and(|lateness| window.end + lateness <= watermark)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn windows_are_aligned_and_end_exclusive() {
        let hour = Duration::from_hours(1);
        let window = Window::holding(at("2026-03-01T10:59:59.999Z"), hour);
        assert_eq!((window.start, window.end), (at("2026-03-01T10:00:00Z"), at("2026-03-01T11:00:00Z")));
        assert_eq!(Window::holding(at("2026-03-01T11:00:00Z"), hour).start, at("2026-03-01T11:00:00Z"));
        assert_eq!(Window::holding(at("1969-12-31T23:59:00Z"), hour).start, at("1969-12-31T23:00:00Z"));
    }

    #[test]
    fn a_replay_moves_the_watermark_and_idleness_does_too() {
        let (event, wall) = (at("1997-05-01T00:00:00Z"), at("2026-03-01T00:00:00Z"));
        assert_eq!(watermark(event, wall, wall), event);
        assert_eq!(watermark(event, wall, wall + TimeDelta::minutes(2)), event + TimeDelta::minutes(2));
        assert_eq!(watermark(event, wall, wall - TimeDelta::minutes(2)), event);
    }

    #[test]
    fn a_window_waits_for_late_rows() {
        let window = Window::holding(at("2026-03-01T10:30:00Z"), Duration::from_hours(1));
        let lateness = Duration::from_mins(1);
        assert!(!is_complete(window, lateness, at("2026-03-01T11:00:59Z")));
        assert!(is_complete(window, lateness, at("2026-03-01T11:01:00Z")));
    }
}
