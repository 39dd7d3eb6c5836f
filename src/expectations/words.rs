//! Counts, shares and numbers as people read them.

/// A whole number in groups of three digits: `1,234,567`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A share as a percentage with two significant digits below 10 %; one that is not 0 never reads as 0.
pub(super) fn percent(share: f64) -> String {
    let percent = 100.0 * share;
    if percent <= 0.0 || percent >= 100.0 {
        return format!("{percent:.0} %");
    }
    if percent >= 10.0 {
        // A share just under 1 never reads as everything.
        return format!("{} %", trimmed(percent.min(99.9), 1));
    }
    #[expect(clippy::cast_possible_truncation, reason = "the exponent of a number in (0, 10)")]
    let decimals = (1 - percent.log10().floor() as i32).clamp(1, 12).unsigned_abs() as usize;
    format!("{} %", trimmed(percent, decimals))
}

/// At most so many decimals, without trailing zeros.
fn trimmed(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// A number so that reading it back gives the same number, without long runs of zeros.
pub(super) fn exact(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 || (1e-5..1e15).contains(&size) { format!("{value}") } else { format!("{value:e}") }
}

/// Rounded away from `value` in the direction that makes it larger, to two significant digits.
pub(super) fn rounded_up(value: f64) -> f64 {
    if value <= 0.0 || !value.is_finite() {
        return value;
    }
    let scale = 10_f64.powf(1.0 - value.log10().floor());
    let rounded = (value * scale).ceil() / scale;
    // Through text, so that 0.00040000000000000002 is 0.0004.
    format!("{rounded:.1e}").parse().map_or(rounded, |text: f64| text.max(value))
}

/// A probability: `0.03`, or `1e-7` where it is small.
pub(super) fn probability(value: f64) -> String {
    if value <= 0.0 {
        "0".to_owned()
    } else if value < 1e-4 {
        format!("{value:.0e}")
    } else if value < 0.01 {
        trimmed(value, 4)
    } else {
        trimmed(value, 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_well() {
        for (number, text) in
            [(0, "0"), (999, "999"), (1_000, "1,000"), (12_345, "12,345"), (1_234_567, "1,234,567")]
        {
            assert_eq!(grouped(number), text);
        }
        for (share, text) in [
            (0.0, "0 %"),
            (0.012, "1.2 %"),
            (0.01, "1 %"),
            (0.000_041_6, "0.0042 %"),
            (0.1234, "12.3 %"),
            (0.5, "50 %"),
            (0.999_99, "99.9 %"),
            (1.0, "100 %"),
        ] {
            assert_eq!(percent(share), text);
        }
        for (value, text) in [(0.0, "0"), (-30.0, "-30"), (0.1, "0.1"), (1e300, "1e300"), (1e-9, "1e-9")] {
            assert_eq!(exact(value), text);
            assert!((value - exact(value).parse::<f64>().unwrap()).abs() <= 0.0);
        }
        for (value, rounded) in
            [(0.000_397_1, 0.0004), (0.012, 0.012), (0.012_01, 0.013), (0.0, 0.0), (0.99, 0.99)]
        {
            assert!((rounded_up(value) - rounded).abs() < 1e-15, "{value}: {}", rounded_up(value));
        }
        assert_eq!(probability(2.3e-9), "2e-9");
        assert_eq!(probability(0.083), "0.08");
    }
}
