//! Masks: what in a text has the form of an e-mail address, a phone number, a card number or a pattern of one's own.

use std::ops::Range;

use regex::Regex;

use super::fields::Fields;

/// Longest pattern of one's own, in bytes.
pub const MAX_PATTERN: usize = 1024;

/// Memory that a compiled pattern may take.
const PATTERN_MEMORY: usize = 4 << 20;

/// Least and most digits of a card number.
const CARD_DIGITS: Range<usize> = 13..20;

/// Whole numbers beyond this are not exact, so their check digit says nothing.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// An e-mail address, also with a quoted local part, a percent-encoded `@`, or in another script.
const EMAIL: &str = r#"(?:[\p{L}\p{N}.!#$%&'*+/=?^_`{|}~-]+|"[^"]{1,64}")(?:@|＠|%40)[\p{L}\p{N}](?:[\p{L}\p{N}-]*\.)+[\p{L}\p{N}-]*[\p{L}\p{N}]"#;

/// A phone number: international (`+` or `00`), national with a trunk `0` or an area in brackets, North American.
const PHONE: &str = r"(?:\+|00)[1-9](?:[\s().\-/]{0,2}[0-9]){6,14}|\([0-9]{2,5}\)(?:[\s.\-/]{0,2}[0-9]){5,9}|0[1-9][0-9]{0,3}(?:[\s.\-/]{0,2}[0-9]){5,9}|[2-9][0-9]{2}[\s.\-][0-9]{3}[\s.\-][0-9]{4}";

/// A date with the day or month first, which looks like a national phone number.
const DATE: &str = r"^[0-3]?[0-9][./\-][0-3]?[0-9][./\-](?:19|20)[0-9]{2}(?:[^0-9]|$)";

/// What a mask looks for.
#[derive(Debug, Clone)]
pub(super) enum Form {
    Email(Regex),
    Phone {
        phone: Regex,
        date: Regex,
    },
    Card,
    /// A pattern of one's own.
    Pattern(Regex),
}

/// One mask.
#[derive(Debug, Clone)]
pub(super) struct Mask {
    pub(super) form: Form,
    /// What takes the place of a match.
    token: String,
    /// The columns it looks at; `None`: every text.
    pub(super) columns: Option<Fields>,
}

/// What one pass over a text finds out, so that most masks need not look.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hints {
    digits: usize,
    at: bool,
}

impl Hints {
    pub(super) fn of(text: &str) -> Self {
        let mut hints = Self { digits: 0, at: false };
        for &byte in text.as_bytes() {
            hints.digits += usize::from(byte.is_ascii_digit());
            // `＠` is EF BC A0; its first byte alone is a good enough sign.
            hints.at |= matches!(byte, b'@' | b'%' | 0xEF);
        }
        hints
    }
}

/// Compiles `pattern`.
///
/// # Errors
///
/// What is wrong with it, in one line.
pub(super) fn compile(pattern: &str) -> Result<Regex, String> {
    if pattern.len() > MAX_PATTERN {
        return Err(format!("it is longer than {MAX_PATTERN} bytes"));
    }
    let regex = regex::RegexBuilder::new(pattern).size_limit(PATTERN_MEMORY).build().map_err(|error| {
        // The last line says what is wrong; those before draw it.
        error.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
    })?;
    if regex.is_match("") {
        return Err("it matches the empty text, so it would be found everywhere".to_owned());
    }
    Ok(regex)
}

impl Mask {
    pub(super) fn new(name: &str, form: Form, columns: Option<Fields>) -> Self {
        Self { form, token: format!("[{name}]"), columns }
    }

    pub(super) fn email() -> Result<Form, String> {
        Ok(Form::Email(compile(EMAIL)?))
    }

    pub(super) fn phone() -> Result<Form, String> {
        Ok(Form::Phone { phone: compile(PHONE)?, date: compile(DATE)? })
    }

    /// Whether it looks at the column `name`.
    pub(super) fn covers(&self, name: &str) -> bool {
        self.columns.as_ref().is_none_or(|columns| columns.matches(name))
    }

    /// The next match at or after `from`.
    fn find(&self, text: &str, from: usize) -> Option<Range<usize>> {
        match &self.form {
            Form::Email(regex) | Form::Pattern(regex) => regex.find_at(text, from).map(|found| found.range()),
            Form::Phone { phone, date } => {
                let mut from = from;
                loop {
                    let found = phone.find_at(text, from)?;
                    if is_phone(text, found.range(), date) {
                        return Some(found.range());
                    }
                    // All that was matched is ASCII at its start, so the next byte begins a character.
                    from = found.start() + 1;
                }
            }
            Form::Card => find_card(text, from),
        }
    }

    /// Whether it can be spared the look at a text of which `hints` are known.
    fn is_ruled_out(&self, hints: Hints) -> bool {
        match self.form {
            Form::Email(_) => !hints.at,
            Form::Phone { .. } => hints.digits < 7,
            Form::Card => hints.digits < CARD_DIGITS.start,
            Form::Pattern(_) => false,
        }
    }

    /// `text` with every match replaced; `None`, without an allocation, when there is none.
    pub(super) fn replace(&self, text: &str, hints: Hints) -> Option<String> {
        if self.is_ruled_out(hints) {
            return None;
        }
        let mut found = self.find(text, 0)?;
        let mut masked = String::with_capacity(text.len());
        let mut copied = 0;
        loop {
            masked.push_str(&text[copied..found.start]);
            masked.push_str(&self.token);
            copied = found.end;
            match self.find(text, copied).filter(|next| !next.is_empty()) {
                Some(next) => found = next,
                None => break,
            }
        }
        masked.push_str(&text[copied..]);
        Some(masked)
    }

    /// What takes the place of `number`, if it has the form: a card number has it by itself, the others only in
    /// columns that they name, as any number might be somebody's.
    pub(super) fn replace_number(&self, number: f64) -> Option<&str> {
        if !number.is_finite() {
            return None;
        }
        let found = match &self.form {
            Form::Card => is_card_number(number),
            _ if self.columns.is_none() => false,
            Form::Email(_) => false,
            Form::Phone { .. } => (1e6..1e15).contains(&number) && number.fract() == 0.0,
            Form::Pattern(regex) => regex.is_match(&format!("{number}")),
        };
        found.then_some(self.token.as_str())
    }
}

/// Whether what looks like a phone number stands by itself, and is no date and no part of a longer number.
fn is_phone(text: &str, found: Range<usize>, date: &Regex) -> bool {
    let bytes = text.as_bytes();
    let matched = &text[found.clone()];
    let digits = matched.bytes().filter(u8::is_ascii_digit).count();
    if !(7..=15).contains(&digits) || bytes.get(found.end).is_some_and(u8::is_ascii_digit) {
        return false;
    }
    let before = |back: usize| found.start.checked_sub(back).and_then(|at| bytes.get(at));
    if matched.starts_with(['+', '(']) {
        return true;
    }
    let inside_a_number =
        before(1).is_some_and(|c| b".,:-/_".contains(c)) && before(2).is_some_and(u8::is_ascii_digit);
    let inside_a_word = before(1).is_some_and(u8::is_ascii_alphanumeric);
    !inside_a_number && !inside_a_word && !date.is_match(matched)
}

/// Whether the digits have a valid check digit (ISO/IEC 7812) and do not start with a zero.
fn is_luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(at, &digit)| match (at % 2, u32::from(digit)) {
            (0, digit) => digit,
            (_, digit) if digit > 4 => digit * 2 - 9,
            (_, digit) => digit * 2,
        })
        .sum();
    digits.first().is_some_and(|&first| first != 0) && sum.is_multiple_of(10)
}

/// A number with a card's length, beginning and check digit. One that starts with 1 or 7 is no bank's card, but may be
/// a time; beyond 2^53 the last digits are lost, so that length and beginning have to do.
fn is_card_number(number: f64) -> bool {
    if number.fract() != 0.0 || !(1e12..1e19).contains(&number) {
        return false;
    }
    let mut digits = [0_u8; 20];
    let mut length = 0;
    for byte in format!("{number}").bytes().filter(u8::is_ascii_digit).take(digits.len()) {
        digits[length] = byte - b'0';
        length += 1;
    }
    let digits = &digits[..length];
    if number <= EXACT {
        !matches!(digits[0], 1 | 7) && is_luhn(digits)
    } else {
        (3..=6).contains(&digits[0])
    }
}

/// What may stand between two groups of digits of a card: nothing but one space, hyphen or dot.
fn separator(rest: &str) -> usize {
    match rest.chars().next() {
        Some(c @ (' ' | '-' | '.' | '\u{a0}' | '\u{2011}' | '\u{2009}' | '\u{202f}')) => c.len_utf8(),
        _ => 0,
    }
}

/// The next card number at or after `from`: 13 to 19 digits in groups, whose last digit checks the others.
fn find_card(text: &str, from: usize) -> Option<Range<usize>> {
    if text.parse::<f64>().is_ok() && text.contains(['.', 'e', 'E']) {
        return None;
    }
    let bytes = text.as_bytes();
    let mut start = from;
    while let Some(offset) = bytes.get(start..)?.iter().position(u8::is_ascii_digit) {
        start += offset;
        let mut digits = [0_u8; CARD_DIGITS.end - 1];
        let mut held = 0;
        let mut at = start;
        let mut longest = None;
        // Groups of digits are taken whole: a number of 30 digits holds no card.
        loop {
            let group = bytes[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
            if group == 0 || held + group > digits.len() {
                break;
            }
            for (digit, byte) in digits[held..].iter_mut().zip(&bytes[at..at + group]) {
                *digit = byte - b'0';
            }
            held += group;
            at += group;
            if CARD_DIGITS.contains(&held) && is_luhn(&digits[..held]) {
                longest = Some(start..at);
            }
            let between = separator(&text[at..]);
            if between == 0 {
                break;
            }
            at += between;
        }
        if longest.is_some() {
            return longest;
        }
        start += bytes[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    }
    None
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;

    static MASKS: LazyLock<[Mask; 3]> = LazyLock::new(|| {
        [
            Mask::new("email", Mask::email().unwrap(), None),
            Mask::new("card", Form::Card, None),
            Mask::new("phone", Mask::phone().unwrap(), None),
        ]
    });

    fn masked(text: &str) -> String {
        let mut text = text.to_owned();
        for mask in &*MASKS {
            if let Some(replaced) = mask.replace(&text, Hints::of(&text)) {
                text = replaced;
            }
        }
        text
    }

    #[test]
    fn what_has_the_form_is_replaced_and_the_rest_stays() {
        for (text, expected) in [
            ("write to Ann.O'Neil+x@mail.example.co.uk, please", "write to [email], please"),
            ("\"odd name\"@example.org", "[email]"),
            ("müller@bücher.example", "[email]"),
            ("mail: ann%40example.com&x=1", "mail: [email]&x=1"),
            ("a@b.c d@e.fg", "[email] [email]"),
            ("call +49 (0)30 901820-12!", "call [phone]!"),
            ("0049 30 90182012", "[phone]"),
            ("tel:+12125550123", "tel:[phone]"),
            ("(212) 555-0123", "[phone]"),
            ("212-555-0123 or 06 12 34 56 78", "[phone] or [phone]"),
            ("020 7946 0958", "[phone]"),
            ("0171/1234567", "[phone]"),
            ("4111 1111 1111 1111", "[card]"),
            ("card4111-1111-1111-1111, 12/26", "card[card], 12/26"),
            ("378282246310005", "[card]"),
            ("5555.5555.5555.4444", "[card]"),
            ("7 4111111111111111 5555 5555 5555 4444", "7 [card] [card]"),
            ("6304\u{a0}0000\u{a0}0000\u{a0}0000\u{a0}000", "[card]"),
        ] {
            assert_eq!(masked(text), expected, "{text}");
        }
    }

    #[test]
    fn what_only_looks_like_it_stays() {
        for text in [
            "",
            "alice",
            "@home",
            "a@b",
            "50%",
            "user@",
            "4111 1111 1111 1112",
            "2026-11-22T07:56:14.123456Z",
            "01.02.2026",
            "01/02/2026 10:30",
            "2026-01-02",
            "0.1234567890123",
            "192.168.100.200",
            "1234567",
            "0000 0000 0000 0000",
            "41111111111111111111111111111111",
            "0.4111111111111111",
            "12:01:22",
            "550e8400-e29b-41d4-a716-44665544000a",
            "1,234,567.89",
            "v1.2.3-45678",
            "[email]",
            "[card] [phone]",
        ] {
            assert_eq!(masked(text), text);
        }
    }

    #[test]
    fn card_numbers_are_known_as_numbers_too() {
        let card = Mask::new("card", Form::Card, None);
        for number in
            [4_111_111_111_111_111.0, 378_282_246_310_005.0, 4_222_222_222_222.0, 6_304_000_000_000_000_000.0]
        {
            assert_eq!(card.replace_number(number), Some("[card]"), "{number}");
        }
        // Milliseconds, microseconds and nanoseconds since 1970, fractions, negatives, short and wrong ones.
        for number in [
            1_790_000_000_003.0,
            1.790_000_000_000_001e15,
            1.79e18,
            4e15 + 0.5,
            -4.111_111_111_111_111e15,
            42.0,
            4_111_111_111_111_112.0,
            f64::NAN,
            f64::INFINITY,
            1e19,
        ] {
            assert_eq!(card.replace_number(number), None, "{number}");
        }
        let phone = Mask::new("phone", Mask::phone().unwrap(), None);
        assert_eq!(phone.replace_number(2_125_550_123.0), None, "any number might be one");
        let named = Mask::new("phone", Mask::phone().unwrap(), Some(Fields::new(&["tel".to_owned()])));
        assert_eq!(named.replace_number(2_125_550_123.0), Some("[phone]"));
        assert!(named.covers("user.tel") && !named.covers("total"));
    }

    #[test]
    fn a_bad_pattern_is_refused_in_one_line() {
        for (pattern, words) in [
            ("a(", "unclosed group"),
            ("", "empty text"),
            ("x*", "empty text"),
            (&"x".repeat(2000), "longer than 1024"),
        ] {
            let problem = compile(pattern).unwrap_err();
            assert!(problem.contains(words) && !problem.contains('\n'), "{problem}");
        }
        assert!(compile("(?:x{1000}){1000}").is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_masked_once_and_for_all(text in ".{0,60}") {
            let once = masked(&text);
            prop_assert_eq!(masked(&once), once);
        }

        #[test]
        fn planted_secrets_are_found_in_any_surroundings(
            before in "[a-z ,;:]{0,10}",
            after in "[ ,;:!?][a-z ]{0,10}",
            user in "[a-z][a-z0-9._+-]{0,12}[a-z0-9]",
            host in "[a-z][a-z0-9-]{0,8}[a-z0-9]",
            digits in proptest::collection::vec(0..10_u8, 12..=18),
            first in 1..10_u8,
            group in 3..6_usize,
            line in "[1-9][0-9]{8,10}",
        ) {
            let email = format!("{before} {user}@{host}.org{after}");
            let local = format!("{user}@");
            prop_assert!(!masked(&email).contains(&local), "{}", email);
            let mut card = vec![first];
            card.extend(digits);
            let check = (0..10).find(|&check| {
                *card.last_mut().unwrap() = check;
                is_luhn(&card)
            });
            prop_assert!(check.is_some());
            let text: String = card.iter().map(|digit| char::from(b'0' + digit)).collect();
            let grouped: Vec<&str> = text.as_bytes().chunks(group).map(|part| std::str::from_utf8(part).unwrap()).collect();
            for written in [text.clone(), grouped.join(" "), grouped.join("-")] {
                let found = masked(&format!("{before}{written}{after}"));
                prop_assert!(!found.contains(&written), "{} in {}", written, found);
            }
            let phone = format!("{before} +{line}{after}");
            prop_assert!(!masked(&phone).contains(&line), "{}", phone);
        }
    }
}
