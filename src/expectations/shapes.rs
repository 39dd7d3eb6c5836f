//! Well-known shapes of text that a pattern may be proposed for.

use crate::profile::Pattern;

/// Texts under which a shared shape may be chance.
const MIN_TEXTS: usize = 20;

/// Shapes from the narrowest to the widest: a name for people and the pattern.
const SHAPES: [(&str, &str); 6] = [
    ("a UUID", "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$"),
    ("an ISO 8601 date", "^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$"),
    (
        "an ISO 8601 time",
        "^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.,][0-9]+)?)?(Z|[+-][0-9]{2}(:?[0-9]{2})?)?$",
    ),
    ("an IPv4 address", r"^[0-9]{1,3}(\.[0-9]{1,3}){3}$"),
    ("an e-mail address", r"^[^@\s]+@[^@\s]+\.[^@\s]+$"),
    ("digits", "^[0-9]+$"),
];

/// The shape that all of `texts` have, with its name; `None` when there is none or there are few texts.
pub(super) fn common(texts: &[String]) -> Option<(String, Pattern)> {
    if texts.len() < MIN_TEXTS {
        return None;
    }
    let (name, text) = SHAPES.into_iter().find(|(_, text)| {
        Pattern::parse(text).is_ok_and(|pattern| texts.iter().all(|text| pattern.matches(text)))
    })?;
    let length = texts[0].len();
    if name == "digits" && texts.iter().all(|text| text.len() == length) {
        let pattern = Pattern::parse(&format!("^[0-9]{{{length}}}$")).ok()?;
        return Some((format!("{length} digits"), pattern));
    }
    Some((name.to_owned(), Pattern::parse(text).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_obvious_shapes_are_found() {
        let many = |make: &dyn Fn(usize) -> String| (0..25).map(make).collect::<Vec<String>>();
        for (texts, expected) in [
            (many(&|i| format!("0190a{i:03}-1234-7abc-8def-0123456789ab")), Some("a UUID")),
            (many(&|i| format!("2024-03-{:02}", i + 1)), Some("an ISO 8601 date")),
            (many(&|i| format!("2024-03-01T10:{i:02}:00.5Z")), Some("an ISO 8601 time")),
            (many(&|i| format!("10.0.0.{i}")), Some("an IPv4 address")),
            (many(&|i| format!("u{i}@example.com")), Some("an e-mail address")),
            (many(&|i| format!("{:05}", i * 17)), Some("5 digits")),
            (many(&|i| format!("{}", i * 17)), Some("digits")),
            (many(&|i| if i == 7 { "x".to_owned() } else { i.to_string() }), None),
            (many(&|i| format!("name {i}")), None),
            ((0..10).map(|i| i.to_string()).collect(), None),
        ] {
            let found = common(&texts);
            assert_eq!(found.as_ref().map(|(name, _)| name.as_str()), expected, "{}", texts[0]);
            if let Some((_, pattern)) = found {
                assert!(texts.iter().all(|text| pattern.matches(text)));
            }
        }
    }
}
