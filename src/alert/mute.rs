//! Maintenance windows: times of the week or of the calendar in which alerts are not told.

use chrono::{DateTime, Datelike, FixedOffset, NaiveDate, NaiveTime, Timelike, Utc, Weekday};

use super::matcher::Matcher;

/// Minutes of a day.
const DAY: u32 = 24 * 60;

/// A maintenance window; each part that is given narrows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Maintenance {
    /// Its name, by which a route mutes.
    pub name: String,
    /// Alerts that all of these match are muted wherever they go; without any, only routes that name the window are.
    pub matchers: Vec<Matcher>,
    /// Days of the week; none: every day.
    pub weekdays: Vec<Weekday>,
    /// Times of the day in minutes, end exclusive; none: all day. One that begins after its end runs past midnight.
    pub times: Vec<(u32, u32)>,
    /// Days of the calendar, both ends inclusive; none: every day.
    pub dates: Vec<(NaiveDate, NaiveDate)>,
    /// What the clock shows.
    pub zone: FixedOffset,
}

impl Maintenance {
    /// Whether it holds at `now`. Days are those on which a time begins: `fri 22:00-06:00` runs into Saturday.
    pub fn is_active(&self, now: DateTime<Utc>) -> bool {
        let local = now.with_timezone(&self.zone).naive_local();
        let minute = local.time().hour() * 60 + local.time().minute();
        let (today, yesterday) = (local.date(), local.date().pred_opt());
        if self.times.is_empty() {
            return self.on(today);
        }
        self.times.iter().any(|(from, until)| {
            if from <= until {
                return (*from..*until).contains(&minute) && self.on(today);
            }
            (minute >= *from && self.on(today))
                || (minute < *until && yesterday.is_some_and(|yesterday| self.on(yesterday)))
        })
    }

    fn on(&self, day: NaiveDate) -> bool {
        (self.weekdays.is_empty() || self.weekdays.contains(&day.weekday()))
            && (self.dates.is_empty() || self.dates.iter().any(|(from, until)| *from <= day && day <= *until))
    }
}

/// When it is worth looking at windows again: they change by the minute.
pub(super) fn next_look(now: DateTime<Utc>) -> DateTime<Utc> {
    let second = now.timestamp().div_euclid(60) * 60 + 60;
    DateTime::from_timestamp(second, 0).unwrap_or(now)
}

/// Reads `mon`, `monday` or `mon-fri`.
pub(super) fn parse_weekdays(text: &str) -> Result<Vec<Weekday>, String> {
    let day = |name: &str| {
        name.trim()
            .parse::<Weekday>()
            .map_err(|_| format!("expected a day such as `mon`, or days such as `mon-fri`, found `{text}`"))
    };
    let Some((from, until)) = text.split_once('-') else { return Ok(vec![day(text)?]) };
    let (mut at, until) = (day(from)?, day(until)?);
    let mut days = vec![at];
    while at != until {
        at = at.succ();
        days.push(at);
    }
    Ok(days)
}

/// Reads `22:00-06:00`; `24:00` is the end of the day.
pub(super) fn parse_times(text: &str) -> Result<(u32, u32), String> {
    let wrong = || format!("expected times such as `22:00-06:00`, found `{text}`");
    let minute = |clock: &str| {
        let clock = clock.trim();
        if clock == "24:00" {
            return Some(DAY);
        }
        let time = NaiveTime::parse_from_str(clock, "%H:%M").ok()?;
        Some(time.hour() * 60 + time.minute())
    };
    let (from, until) = text.split_once('-').ok_or_else(wrong)?;
    let (from, until) = minute(from).zip(minute(until)).ok_or_else(wrong)?;
    if from == until || from == DAY { Err(wrong()) } else { Ok((from, until)) }
}

/// Reads `2026-12-24` or `2026-12-24..2026-12-31`.
pub(super) fn parse_dates(text: &str) -> Result<(NaiveDate, NaiveDate), String> {
    let wrong = || {
        format!(
            "expected a day such as `2026-12-24`, or days such as `2026-12-24..2026-12-31`, found `{text}`"
        )
    };
    let day = |text: &str| NaiveDate::parse_from_str(text.trim(), "%Y-%m-%d").map_err(|_| wrong());
    let (from, until) = text.split_once("..").unwrap_or((text, text));
    let (from, until) = (day(from)?, day(until)?);
    if from > until { Err(wrong()) } else { Ok((from, until)) }
}

/// Reads `UTC` or an offset such as `+01:00`.
pub(super) fn parse_zone(text: &str) -> Result<FixedOffset, String> {
    let wrong = || {
        format!(
            "expected `UTC` or an offset from it such as `+01:00`, found `{text}`; zones with summer time are not known"
        )
    };
    let zero = FixedOffset::east_opt(0).ok_or_else(wrong)?;
    if text.eq_ignore_ascii_case("utc") || text == "Z" { Ok(zero) } else { text.parse().map_err(|_| wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(weekdays: &str, times: &str, dates: &str, zone: &str) -> Maintenance {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Maintenance {
            name: "w".to_owned(),
            matchers: Vec::new(),
            weekdays: some(weekdays).map(|text| parse_weekdays(&text).unwrap()).unwrap_or_default(),
            times: some(times).map(|text| parse_times(&text).unwrap()).into_iter().collect(),
            dates: some(dates).map(|text| parse_dates(&text).unwrap()).into_iter().collect(),
            zone: parse_zone(zone).unwrap(),
        }
    }

    #[test]
    fn windows_hold_when_they_say() {
        // 2026-11-20 is a Friday.
        for (weekdays, times, dates, zone, at, expected) in [
            ("", "", "", "UTC", "2026-11-20T12:00:00Z", true),
            ("sat-sun", "", "", "UTC", "2026-11-20T23:59:59Z", false),
            ("sat-sun", "", "", "UTC", "2026-11-21T00:00:00Z", true),
            ("fri-mon", "", "", "UTC", "2026-11-23T23:59:00Z", true),
            ("fri-mon", "", "", "UTC", "2026-11-24T00:00:00Z", false),
            ("sat", "", "", "+01:00", "2026-11-20T23:00:00Z", true),
            ("", "09:00-17:00", "", "UTC", "2026-11-20T17:00:00Z", false),
            ("", "09:00-17:00", "", "UTC", "2026-11-20T16:59:59Z", true),
            ("", "20:00-24:00", "", "UTC", "2026-11-20T23:59:59Z", true),
            ("fri", "22:00-06:00", "", "UTC", "2026-11-20T22:00:00Z", true),
            ("fri", "22:00-06:00", "", "UTC", "2026-11-21T05:59:00Z", true),
            ("fri", "22:00-06:00", "", "UTC", "2026-11-20T05:59:00Z", false),
            ("fri", "22:00-06:00", "", "UTC", "2026-11-21T06:00:00Z", false),
            ("", "", "2026-12-24..2026-12-26", "UTC", "2026-12-26T23:59:00Z", true),
            ("", "", "2026-12-24", "-05:00", "2026-12-25T04:59:00Z", true),
            ("", "", "2026-12-24", "UTC", "2026-12-25T00:00:00Z", false),
        ] {
            let found = window(weekdays, times, dates, zone).is_active(at.parse().unwrap());
            assert_eq!(found, expected, "{weekdays} {times} {dates} {zone} at {at}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        for bad in ["", "moonday", "mon-", "mon-xyz"] {
            assert!(parse_weekdays(bad).is_err(), "{bad}");
        }
        for bad in ["", "9-17", "09:00", "09:00-09:00", "24:00-06:00", "25:00-26:00"] {
            assert!(parse_times(bad).is_err(), "{bad}");
        }
        for bad in ["", "2026-02-30", "2026-12-24..2026-12-23", "24.12.2026"] {
            assert!(parse_dates(bad).is_err(), "{bad}");
        }
        for bad in ["", "Europe/Berlin", "+25:00", "1"] {
            assert!(parse_zone(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn windows_are_looked_at_by_the_minute() {
        let at: DateTime<Utc> = "2026-11-20T12:00:59.5Z".parse().unwrap();
        assert_eq!(next_look(at).to_rfc3339(), "2026-11-20T12:01:00+00:00");
        assert_eq!(next_look(next_look(at)).to_rfc3339(), "2026-11-20T12:02:00+00:00");
    }
}
