//! What every page of driftline shows in the same way: distributions as shapes, SVG paths, numbers and texts for people.

mod shape;

use std::fmt::Write;

pub use crate::drift::{short, short_p};
pub use shape::{Bar, Change, Curve, Shape, changes, in_words, largest_change, rounded, shape, tick};

/// A step curve as the outline of an area, in a box of `width` by `height`.
pub fn outline(shares: &[f64], most: f64, width: f64, height: f64) -> String {
    let step = width / shares.len().max(1) as f64;
    let mut path = format!("M0 {height}");
    for (index, share) in shares.iter().enumerate() {
        let top = if most > 0.0 { height - share / most * (height - 2.0) } else { height };
        // Steps of the same height are one line.
        let _always_ok = write!(path, "V{}H{}", coordinate(top), coordinate((index + 1) as f64 * step));
    }
    path + &format!("V{height}Z")
}

/// One digit behind the point, and none where it is 0.
pub fn coordinate(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}

/// Two bars, the reference above.
pub fn pair(reference: f64, current: f64, most: f64) -> String {
    let width = |share: f64| if most > 0.0 { share / most * 100.0 } else { 0.0 };
    format!(
        "<svg viewBox=\"0 0 100 18\" preserveAspectRatio=\"none\" aria-hidden=\"true\"><rect class=\"rb\" y=\"1\" width=\"{}\" height=\"7\"/>\
         <rect class=\"cb\" y=\"10\" width=\"{}\" height=\"7\"/></svg>",
        coordinate(width(reference)),
        coordinate(width(current))
    )
}

/// A count with its thousands set apart.
pub fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A share for people: `12.3 %`.
pub fn percent(share: f64) -> String {
    let percent = share * 100.0;
    match percent {
        0.0 => "0\u{a0}%".to_owned(),
        p if p < 0.01 => "under 0.01\u{a0}%".to_owned(),
        p if p < 1.0 => format!("{p:.2}\u{a0}%"),
        p => format!("{p:.1}\u{a0}%"),
    }
}

/// Text that is safe between tags and in attributes.
pub fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            // Control characters could hide or reorder what is shown.
            letter
                if letter.is_control()
                    || ('\u{202a}'..='\u{202e}').contains(&letter)
                    || ('\u{2066}'..='\u{2069}').contains(&letter) =>
            {
                safe.push('\u{fffd}');
            }
            letter => safe.push(letter),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outline_starts_and_ends_on_the_ground() {
        assert_eq!(outline(&[0.5, 1.0], 1.0, 100.0, 30.0), "M0 30V16H50V2H100V30Z");
        assert_eq!(outline(&[0.0], 0.0, 100.0, 30.0), "M0 30V30H100V30Z");
    }

    #[test]
    fn numbers_read_well() {
        for (count, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(count), text);
        }
        for (value, text) in
            [(0.0, "0"), (0.25, "0.25"), (1e-80, "1.0e-80"), (123_456.0, "1.2e5"), (-0.5, "-0.5")]
        {
            assert_eq!(short(value), text);
        }
    }

    #[test]
    fn text_cannot_become_markup() {
        assert_eq!(
            escape("<script>alert('x')&\"\u{202e}</script>"),
            "&lt;script&gt;alert(&#39;x&#39;)&amp;&quot;\u{fffd}&lt;/script&gt;"
        );
    }

    #[test]
    fn shares_read_well() {
        for (share, text) in
            [(0.0, "0\u{a0}%"), (1e-6, "under 0.01\u{a0}%"), (0.0012, "0.12\u{a0}%"), (0.5, "50.0\u{a0}%")]
        {
            assert_eq!(percent(share), text);
        }
    }
}
