//! Lengths in rules: a number of windows (`2w`) or a span of time (`5m`), and budgets (`2 per 1d`).

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
    /// So much event time: `30s`, `5m`, `1h`, `1d`.
    Time(Duration),
}

impl Default for Hold {
    fn default() -> Self {
        Self::Time(Duration::ZERO)
    }
}

impl Hold {
    /// Reads `2w` or a span of time.
    ///
    /// # Errors
    ///
    /// What was expected, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("expected windows such as `2w` or a duration such as `5m`, found `{text}`");
        if let Some(windows) = text.trim().strip_suffix('w') {
            return windows.parse().map(Self::Windows).map_err(|_| wrong());
        }
        parse_duration(text).map(Self::Time).map_err(|_| wrong())
    }
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Windows(1) => f.write_str("1 window"),
            Self::Windows(windows) => write!(f, "{windows} windows"),
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
            ("99999999999w", None),
            ("99999999999999999999d", None),
            ("9999999999d", None),
            ("", None),
        ] {
            assert_eq!(Hold::parse(text).ok(), expected, "{text}");
        }
        assert_eq!(Hold::Time(Duration::from_secs(5400)).to_string(), "90m");
        assert_eq!(Hold::Windows(2).to_string(), "2 windows");
    }

    #[test]
    fn budgets_are_read() {
        let day = Duration::from_secs(86_400);
        assert_eq!(parse_budget("2 per 1d"), Ok(Budget { runs: 2, period: day }));
        for bad in ["2", "2 per", "0 per 1d", "2 per 0s", "x per 1d", "2 per day", "-1 per 1d"] {
            assert!(parse_budget(bad).unwrap_err().contains("expected a budget"), "{bad}");
        }
    }
}
