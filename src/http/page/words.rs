//! Verdicts, times and numbers as the page says them.

use chrono::{DateTime, NaiveTime, TimeDelta, Utc};
use maud::{Markup, html};

use crate::drift::Verdict;

/// What a mark stands for; its colour says nothing that its sign and word do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Good,
    Bad,
    Unsure,
    Quiet,
    Busy,
}

impl Tone {
    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Bad => "bad",
            Self::Unsure => "unsure",
            Self::Quiet => "quiet",
            Self::Busy => "busy",
        }
    }

    fn sign(self) -> &'static str {
        match self {
            Self::Good => "●",
            Self::Bad => "▲",
            Self::Unsure => "?",
            Self::Quiet => "○",
            Self::Busy => "◐",
        }
    }
}

/// A word with its sign.
pub(super) fn badge(tone: Tone, word: &str) -> Markup {
    html! {
        span.badge.(tone.class()) { span aria-hidden="true" { (tone.sign()) " " } (word) }
    }
}

pub(super) fn verdict_word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Ok => "ok",
        Verdict::Drift => "drift",
        Verdict::InsufficientData => "too few rows",
        Verdict::Untrusted => "untrusted",
    }
}

pub(super) fn verdict_tone(verdict: Verdict) -> Tone {
    match verdict {
        Verdict::Ok => Tone::Good,
        Verdict::Drift => Tone::Bad,
        Verdict::InsufficientData | Verdict::Untrusted => Tone::Unsure,
    }
}

/// The verdict as a badge.
pub(super) fn verdict(verdict: Verdict) -> Markup {
    badge(verdict_tone(verdict), verdict_word(verdict))
}

/// Any stored word of a verdict or state as a badge.
pub(super) fn state(word: &str) -> Markup {
    let tone = match word {
        "ok" | "succeeded" | "production" | "sent" => Tone::Good,
        "drift" | "worse" | "violated" | "firing" | "failed" | "dead" => Tone::Bad,
        "running" | "queued" => Tone::Busy,
        "resolved" | "archived" | "cancelled" | "inactive" => Tone::Quiet,
        _ => Tone::Unsure,
    };
    badge(tone, &word.replace('_', " "))
}

/// A text as a sentence: it begins with a capital and ends with a full stop.
pub(super) fn sentence(text: &str) -> String {
    // Statistics are written in small letters where they are names of numbers.
    let statistic =
        ["psi ", "ks "].iter().find_map(|name| Some((name.to_uppercase(), text.strip_prefix(name)?)));
    let mut letters = text.chars();
    let mut said = match (statistic, letters.next()) {
        (Some((name, rest)), _) => name + rest,
        (None, Some(first)) => first.to_uppercase().chain(letters).collect(),
        (None, None) => return String::new(),
    };
    if !said.ends_with(['.', '!', '?']) {
        said.push('.');
    }
    said
}

/// An instant, to the minute, in UTC.
pub(super) fn time(at: DateTime<Utc>) -> Markup {
    html! { time datetime=(at.format("%FT%TZ")) { (at.format("%F %H:%M")) } }
}

/// How long ago, with the instant behind it.
pub(super) fn ago(at: DateTime<Utc>, now: DateTime<Utc>) -> Markup {
    html! { time datetime=(at.format("%FT%TZ")) title=(at.format("%F %T UTC")) { (ago_text(now - at)) } }
}

fn ago_text(span: TimeDelta) -> String {
    if span < TimeDelta::zero() {
        return format!("in {}", span_text(-span));
    }
    if span < TimeDelta::seconds(5) { "just now".to_owned() } else { format!("{} ago", span_text(span)) }
}

/// A span in its largest unit.
pub(super) fn span_text(span: TimeDelta) -> String {
    let seconds = span.num_seconds().max(0);
    match seconds {
        ..90 => format!("{seconds} s"),
        90..5_400 => format!("{} min", (seconds + 30) / 60),
        5_400..129_600 => format!("{} h", (seconds + 1_800) / 3_600),
        _ => format!("{} days", (seconds + 43_200) / 86_400),
    }
}

/// The first and last instant of a window, without saying a day twice, or hours that are all midnight.
pub(super) fn window(start: DateTime<Utc>, end: DateTime<Utc>) -> Markup {
    let midnight = |at: DateTime<Utc>| at.time() == NaiveTime::MIN;
    let (from, until) = if midnight(start) && midnight(end) {
        ("%F", "%F")
    } else if start.date_naive() == end.date_naive() {
        ("%F %H:%M", "%H:%M")
    } else {
        ("%F %H:%M", "%F %H:%M")
    };
    html! {
        span.window {
            time datetime=(start.format("%FT%TZ")) { (start.format(from)) }
            " – "
            time datetime=(end.format("%FT%TZ")) { (end.format(until)) }
        }
    }
}

/// `1 alert`, `2 alerts`.
pub(super) fn counted(count: u64, one: &str, many: &str) -> String {
    let word = if count == 1 { one } else { many };
    format!("{} {word}", crate::drawing::grouped(count))
}

/// A link to a version, if there is one.
pub(super) fn version(model_address: &str, version: Option<i64>) -> Markup {
    html! {
        @if let Some(version) = version { a href={ (model_address) "/versions/" (version) } { "version " (version) } }
        @else { "none in the registry" }
    }
}

/// An effect in units of its floor.
pub(super) fn times_floor(effect: f64) -> String {
    match effect.abs() {
        e if e >= 1e4 => format!("{effect:.0e}×"),
        e if e >= 100.0 => format!("{effect:.0}×"),
        e if e >= 10.0 => format!("{effect:.1}×"),
        _ => format!("{effect:.2}×"),
    }
}

/// A text for one part of a path or one value of a query.
pub(super) fn encode(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(byte.into());
        } else {
            encoded.push('%');
            encoded.extend(
                [byte >> 4, byte & 15]
                    .map(|digit| char::from(if digit < 10 { b'0' + digit } else { b'A' + digit - 10 })),
            );
        }
        encoded
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_said_in_their_largest_unit() {
        for (seconds, text) in [
            (0, "just now"),
            (60, "60 s ago"),
            (120, "2 min ago"),
            (7_200, "2 h ago"),
            (864_000, "10 days ago"),
        ] {
            assert_eq!(ago_text(TimeDelta::seconds(seconds)), text);
        }
        assert_eq!(ago_text(TimeDelta::hours(-3)), "in 3 h");
    }

    #[test]
    fn names_are_safe_in_addresses() {
        assert_eq!(encode("a/b c&\"<é"), "a%2Fb%20c%26%22%3C%C3%A9");
    }

    #[test]
    fn a_reason_becomes_a_sentence() {
        assert_eq!(sentence("psi 0.3 is over its floor"), "PSI 0.3 is over its floor.");
        assert_eq!(sentence(""), "");
    }
}
