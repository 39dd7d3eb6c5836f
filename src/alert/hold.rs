//! Lengths in rules: a number of windows (`2w`), so many of the last (`3 of 5w`) or a span of time (`5m`), and budgets
//! (`2 per 1d`).

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::retrain::Budget;

/// How long a condition has to hold, or an alert stays after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hold {
    /// So many windows: `2w`.
    Windows(u32),
    /// So many of the last: `3 of 5w`.
    OutOf {
        /// Windows that have to be breached, at least 1.
        needed: u32,
        /// Windows that are looked back at, at most [`MAX_HISTORY`].
        of: u32,
    },
    /// So much event time: `30s`, `5m`, `1h`, `1d`.
    Time(Duration),
}

/// Most windows that `k of n` may look back at.
pub const MAX_HISTORY: u32 = 64;

impl Default for Hold {
    fn default() -> Self {
        Self::Time(Duration::ZERO)
    }
}

impl Hold {
    /// Reads `2w`, `3 of 5w` (or `3 of 5 windows`, or `3 of 5`) or a span of time.
    ///
    /// # Errors
    ///
    /// What was expected, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!("expected windows such as `2w` or `3 of 5w`, or a duration such as `5m`, found `{text}`")
        };
        if let Some((needed, of)) = text.trim().split_once(" of ") {
            let of = of.trim();
            let of = of.strip_suffix("windows").or_else(|| of.strip_suffix('w')).unwrap_or(of);
            let number = |text: &str| text.trim().parse::<u32>().map_err(|_| wrong());
            let (needed, of) = (number(needed)?, number(of)?);
            if needed == 0 || needed > of || of > MAX_HISTORY {
                return Err(format!(
                    "{}; of at most {MAX_HISTORY} windows, at least one and at most all can be asked for",
                    wrong()
                ));
            }
            return Ok(Self::OutOf { needed, of });
        }
        if let Some(windows) = text.trim().strip_suffix('w') {
            return windows.parse().map(Self::Windows).map_err(|_| wrong());
        }
        parse_duration(text).map(Self::Time).map_err(|_| wrong())
    }

    /// Whether `text`, which [`parse`](Self::parse) reads, names windows.
    pub(super) fn names_windows(text: &str) -> bool {
        let text = text.trim();
        text.ends_with('w') || text.ends_with("windows")
    }
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Windows(1) => f.write_str("1 window"),
            Self::Windows(windows) => write!(f, "{windows} windows"),
            Self::OutOf { needed, of } => write!(f, "{needed} of the last {of}"),
            Self::Time(time) => f.write_str(&duration_text(*time)),
        }
    }
}

/// Reads `500ms`, `30s`, `5m`, `1h`, `30d`; a bare `0` too.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("expected a duration such as 30s, 5m, 1h or 30d, found `{text}`");
    let text = text.trim();
    let cut = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(cut);
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    let scale = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "" if number == 0 => 0,
        _ => return Err(wrong()),
    };
    // A hundred years: more is a typing error, and would not fit into the calendar's arithmetic.
    number
        .checked_mul(scale)
        .filter(|total| *total <= 36_500 * 86_400_000)
        .map(Duration::from_millis)
        .ok_or_else(wrong)
}

/// Reads `2 per 1d`.
pub(super) fn parse_budget(text: &str) -> Result<Budget, String> {
    let wrong = || format!("expected a budget such as `2 per 1d`, found `{text}`");
    let (runs, period) = text.split_once(" per ").ok_or_else(wrong)?;
    let runs = runs.trim().parse().map_err(|_| wrong())?;
    let period = parse_duration(period).map_err(|_| wrong())?;
    if runs == 0 || period.is_zero() {
        return Err(format!("{}; both have to be over 0", wrong()));
    }
    Ok(Budget { runs, period })
}

/// A span of time in its largest whole unit: `1h`, `90s`.
pub(super) fn duration_text(time: Duration) -> String {
    let total = time.as_millis();
    for (unit, scale) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)] {
        if total >= scale && total.is_multiple_of(scale) {
            return format!("{}{unit}", total / scale);
        }
    }
    if total == 0 { "0s".to_owned() } else { format!("{total}ms") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_read() {
        let time = |seconds| Some(Hold::Time(Duration::from_secs(seconds)));
        for (text, expected) in [
            ("2w", Some(Hold::Windows(2))),
            ("0w", Some(Hold::Windows(0))),
            ("5m", time(300)),
            ("0", time(0)),
            ("1d", time(86_400)),
            ("500ms", Some(Hold::Time(Duration::from_millis(500)))),
            ("5", None),
            ("w", None),
            ("-1w", None),
            ("1.5h", None),
            ("five", None),
            ("3 of 5w", Some(Hold::OutOf { needed: 3, of: 5 })),
            ("3 of 5 windows", Some(Hold::OutOf { needed: 3, of: 5 })),
            (" 1 of 64 ", Some(Hold::OutOf { needed: 1, of: 64 })),
            ("5 of 5w", Some(Hold::OutOf { needed: 5, of: 5 })),
            ("0 of 5w", None),
            ("6 of 5w", None),
            ("3 of 65w", None),
            ("3 of 5m", None),
            ("3of5w", None),
            ("3 of w", None),
            ("-3 of 5w", None),
            ("99999999999w", None),
            ("99999999999999999999d", None),
            ("9999999999d", None),
            ("", None),
        ] {
            assert_eq!(Hold::parse(text).ok(), expected, "{text}");
        }
        assert_eq!(Hold::Time(Duration::from_mins(90)).to_string(), "90m");
        assert_eq!(Hold::Windows(2).to_string(), "2 windows");
        assert_eq!(Hold::OutOf { needed: 3, of: 5 }.to_string(), "3 of the last 5");
        assert!(Hold::parse("6 of 5w").unwrap_err().contains("at most 64 windows"));
    }

    #[test]
    fn budgets_are_read() {
        let day = Duration::from_hours(24);
        assert_eq!(parse_budget("2 per 1d"), Ok(Budget { runs: 2, period: day }));
        for bad in ["2", "2 per", "0 per 1d", "2 per 0s", "x per 1d", "2 per day", "-1 per 1d"] {
            assert!(parse_budget(bad).unwrap_err().contains("expected a budget"), "{bad}");
        }
    }
}
