//! Parts of a date as points on a circle, so that the last hour of a day lies beside the first.

use std::f64::consts::TAU;

use chrono::{DateTime, Datelike, Timelike, Utc};
use serde::{Deserialize, Serialize};

/// Name of the column that holds the time of a prediction, in seconds since 1970, where a pipeline reads it.
pub const EVENT_TIME: &str = "event_time";

/// A part of a date, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DatePart {
    /// Time of the day, to the second.
    Hour,
    /// Day of the week.
    Weekday,
    /// Day of the month.
    Monthday,
    /// Month of the year.
    Month,
    /// Day of the year.
    Yearday,
}

impl DatePart {
    /// The word used in specifications and names of columns.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Weekday => "weekday",
            Self::Monthday => "monthday",
            Self::Month => "month",
            Self::Yearday => "yearday",
        }
    }

    /// How far `time` is in its day, week, month or year, in `[0, 1)`.
    pub fn turn(self, time: DateTime<Utc>) -> f64 {
        match self {
            Self::Hour => f64::from(time.num_seconds_from_midnight()) / 86_400.0,
            Self::Weekday => f64::from(time.weekday().num_days_from_monday()) / 7.0,
            Self::Monthday => f64::from(time.day0()) / 31.0,
            Self::Month => f64::from(time.month0()) / 12.0,
            Self::Yearday => f64::from(time.ordinal0()) / 366.0,
        }
    }

    /// Sine and cosine of [`Self::turn`].
    pub fn on_the_circle(self, time: DateTime<Utc>) -> [f64; 2] {
        let (sine, cosine) = (TAU * self.turn(time)).sin_cos();
        [sine, cosine]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_lie_where_the_calendar_says() {
        // A Thursday, the last day of a leap year.
        let time: DateTime<Utc> = "2020-12-31T18:00:00Z".parse().unwrap();
        for (part, expected) in [
            (DatePart::Hour, 0.75),
            (DatePart::Weekday, 3.0 / 7.0),
            (DatePart::Monthday, 30.0 / 31.0),
            (DatePart::Month, 11.0 / 12.0),
            (DatePart::Yearday, 365.0 / 366.0),
        ] {
            assert!((part.turn(time) - expected).abs() < 1e-12, "{}: {}", part.as_str(), part.turn(time));
        }
        let [sine, cosine] = DatePart::Hour.on_the_circle(time);
        assert!((sine + 1.0).abs() < 1e-12 && cosine.abs() < 1e-12, "six in the evening: {sine}, {cosine}");
    }

    #[test]
    fn midnight_is_beside_the_minute_before() {
        let before: DateTime<Utc> = "2020-12-31T23:59:00Z".parse().unwrap();
        let after: DateTime<Utc> = "2021-01-01T00:00:00Z".parse().unwrap();
        for part in [DatePart::Hour, DatePart::Yearday] {
            let [a, b] = [before, after].map(|time| part.on_the_circle(time));
            assert!((a[0] - b[0]).hypot(a[1] - b[1]) < 0.02, "{part:?}: {a:?}, {b:?}");
        }
    }
}
