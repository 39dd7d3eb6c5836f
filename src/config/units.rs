//! Values with a unit or a range: shares, sizes, spans of time, the false-alarm budget.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;

/// A share in `(0, 1]`.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(try_from = "f64")]
pub struct Share(f64);

impl Share {
    /// Everything.
    pub const ALL: Self = Self(1.0);

    /// The share as a number.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for Share {
    type Error = String;

    fn try_from(value: f64) -> Result<Self, Self::Error> {
        // Written so that NaN is refused too.
        if 0.0 < value && value <= 1.0 { Ok(Self(value)) } else { Err(format!("{value} is not in (0, 1]")) }
    }
}

/// A number of bytes: `4096`, `8KiB`, `64MiB`, `1GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct ByteSize(pub usize);

impl TryFrom<String> for ByteSize {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let (digits, unit) = split_unit(&text);
        let scale = match unit {
            "" | "B" => Some(1),
            "KiB" => Some(1 << 10),
            "MiB" => Some(1 << 20),
            "GiB" => Some(1 << 30),
            _ => None,
        };
        digits
            .parse::<usize>()
            .ok()
            .zip(scale)
            .and_then(|(number, scale)| number.checked_mul(scale))
            .map(Self)
            .ok_or_else(|| format!("`{text}` is not a size such as 4096, 8KiB or 64MiB"))
    }
}

/// A span of time: `500ms`, `30s`, `5m`, `1h`, `30d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Span(pub Duration);

impl TryFrom<String> for Span {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let (digits, unit) = split_unit(&text);
        let milliseconds = match unit {
            "ms" => Some(1),
            "s" => Some(1_000),
            "m" => Some(60_000),
            "h" => Some(3_600_000),
            "d" => Some(86_400_000),
            _ => None,
        };
        digits
            .parse::<u64>()
            .ok()
            .zip(milliseconds)
            .and_then(|(number, scale)| number.checked_mul(scale))
            .map(|total| Self(Duration::from_millis(total)))
            .ok_or_else(|| format!("`{text}` is not a span of time such as 30s, 5m, 1h or 30d"))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.0.as_millis();
        for (unit, scale) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)] {
            if total >= scale && total.is_multiple_of(scale) {
                return write!(f, "{}{unit}", total / scale);
            }
        }
        write!(f, "{total}ms")
    }
}

fn split_unit(text: &str) -> (&str, &str) {
    let text = text.trim();
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

/// The false-alarm budget: `1 per 30d`.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub struct FalseAlarms {
    /// Alarms that may be raised with no drift.
    pub count: f64,
    /// In this period.
    pub period: Duration,
}

impl FalseAlarms {
    /// The level at which one evaluation of a window may err.
    pub fn alpha(&self, window: Duration) -> f64 {
        (self.count * window.as_secs_f64() / self.period.as_secs_f64()).min(0.5)
    }
}

impl Default for FalseAlarms {
    fn default() -> Self {
        Self { count: 1.0, period: Duration::from_hours(30 * 24) }
    }
}

impl TryFrom<String> for FalseAlarms {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let wrong = || format!("`{text}` is not a budget such as `1 per 30d`");
        let (count, period) = text.split_once(" per ").ok_or_else(wrong)?;
        let count: f64 = count.trim().parse().map_err(|_| wrong())?;
        let period = Span::try_from(period.trim().to_owned()).map_err(|_| wrong())?.0;
        if count.is_finite() && count > 0.0 && !period.is_zero() {
            Ok(Self { count, period })
        } else {
            Err(wrong())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_spans_are_read_with_their_unit() {
        for (text, bytes) in
            [("4096", Some(4096)), ("8KiB", Some(8192)), ("1 GiB", None), ("64MB", None), ("-1", None)]
        {
            assert_eq!(ByteSize::try_from(text.to_owned()).ok(), bytes.map(ByteSize), "{text}");
        }
        for (text, seconds) in
            [("90s", Some(90)), ("5m", Some(300)), ("30d", Some(2_592_000)), ("5", None), ("1w", None)]
        {
            let span = seconds.map(|seconds| Span(Duration::from_secs(seconds)));
            assert_eq!(Span::try_from(text.to_owned()).ok(), span, "{text}");
        }
        assert_eq!(Span(Duration::from_mins(90)).to_string(), "90m");
    }

    #[test]
    fn the_budget_gives_the_level_of_one_window() {
        let budget = FalseAlarms::try_from("1 per 30d".to_owned()).unwrap();
        assert!((budget.alpha(Duration::from_hours(1)) - 1.0 / 720.0).abs() < 1e-12);
        for wrong in ["1", "0 per 30d", "nan per 1d", "1 per 0s", "x per 1d"] {
            assert!(FalseAlarms::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_share_is_over_zero_and_at_most_one() {
        assert!(Share::try_from(0.5).is_ok() && Share::try_from(1.0).is_ok());
        for wrong in [0.0, -0.1, 1.1, f64::NAN] {
            assert!(Share::try_from(wrong).is_err(), "{wrong}");
        }
    }
}
