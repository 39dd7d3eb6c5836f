//! Documents by the extent of their members: a payload is copied out as it stands, and parsed by its own decoder.

use std::borrow::Cow;

use chrono::{DateTime, Utc};

use super::Refusal;
use crate::decode::ids::usable;

/// Members that an envelope may have.
const MAX_MEMBERS: usize = 8192;

/// The members of an object, each with the bytes of its value.
#[derive(Debug, Clone, Default)]
pub(super) struct Members<'b>(Vec<(Cow<'b, str>, &'b [u8])>);

impl<'b> Members<'b> {
    /// The members of `value` when it is an object as far as brackets and quotes tell.
    pub(super) fn of(value: &'b [u8]) -> Option<Self> {
        let mut members = Vec::new();
        let inner = value.trim_ascii().strip_prefix(b"{")?.strip_suffix(b"}")?;
        let mut at = skip_space(inner, 0);
        while at < inner.len() {
            let end = string_end(inner, at)?;
            let name = name(inner.get(at..end)?);
            at = skip_space(inner, end);
            if inner.get(at) != Some(&b':') {
                return None;
            }
            let start = skip_space(inner, at + 1);
            let end = value_end(inner, start)?;
            if members.len() >= MAX_MEMBERS {
                return None;
            }
            members.push((name, inner.get(start..end)?));
            at = next(inner, end)?;
        }
        Some(Self(members))
    }

    /// The last member called `name` that is not null.
    pub(super) fn get(&self, name: &str) -> Option<&'b [u8]> {
        let (_, value) = self.0.iter().rev().find(|(key, _)| key == name)?;
        (*value != b"null").then_some(*value)
    }

    /// Whether there is a member called `name`, null or not.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(key, _)| key == name)
    }

    /// Every member in the order of the document.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &'b [u8])> {
        self.0.iter().map(|(name, value)| (name.as_ref(), *value))
    }

    /// The text of member `name`.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.get(name).and_then(text)
    }

    /// The first usable id among members called `names`, be they texts or integers.
    pub(super) fn id(&self, names: &[&str]) -> Option<String> {
        names.iter().find_map(|name| {
            let value = self.get(name)?;
            let id = text(value).or_else(|| integer(value))?;
            usable(&id).map(str::to_owned)
        })
    }

    /// The first time among members called `names`; one that is no time is refused.
    pub(super) fn time(&self, names: &[&str]) -> Result<Option<DateTime<Utc>>, Refusal> {
        let Some((name, value)) = names.iter().find_map(|name| Some((name, self.get(name)?))) else {
            return Ok(None);
        };
        let written = text(value).or_else(|| std::str::from_utf8(value).ok().map(str::to_owned));
        written.and_then(|written| time(&written)).map(Some).ok_or_else(|| bad_time(name))
    }

    /// The members of member `name` when it is an object.
    pub(super) fn object(&self, name: &str) -> Option<Self> {
        self.get(name).and_then(Self::of)
    }
}

pub(super) fn bad_time(field: &str) -> Refusal {
    Refusal::new("bad_time", format!("`{field}` is neither an RFC 3339 time nor seconds since 1970"))
}

/// The elements of `value` when it is an array of at most `limit` elements; `Err` when there are more.
pub(super) fn elements(value: &[u8], limit: usize) -> Result<Option<Vec<&[u8]>>, usize> {
    let Some(inner) = value.trim_ascii().strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]")) else {
        return Ok(None);
    };
    let mut elements = Vec::new();
    let mut at = skip_space(inner, 0);
    while at < inner.len() {
        let Some(element) = value_end(inner, at).and_then(|end| Some((inner.get(at..end)?, end))) else {
            return Ok(None);
        };
        if elements.len() >= limit {
            return Err(limit);
        }
        elements.push(element.0);
        match next(inner, element.1) {
            Some(next) => at = next,
            None => return Ok(None),
        }
    }
    Ok(Some(elements))
}

/// The one value that `bytes` hold, if there is nothing beside it.
pub(super) fn single(bytes: &[u8]) -> Option<&[u8]> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii();
    (value_end(bytes, 0)? == bytes.len()).then_some(bytes)
}

/// The text when `value` is a string.
pub(super) fn text(value: &[u8]) -> Option<String> {
    if value.first() == Some(&b'"') { serde_json::from_slice(value).ok() } else { None }
}

/// The digits when `value` is an integer.
fn integer(value: &[u8]) -> Option<String> {
    let digits = value.strip_prefix(b"-").unwrap_or(value);
    (!digits.is_empty() && digits.iter().all(u8::is_ascii_digit))
        .then(|| String::from_utf8_lossy(value).into_owned())
}

/// A time as RFC 3339, or as seconds, milli-, micro- or nanoseconds since 1970, told apart by size.
pub(super) fn time(written: &str) -> Option<DateTime<Utc>> {
    let written = written.trim();
    if let Ok(time) = DateTime::parse_from_rfc3339(written) {
        return Some(time.to_utc());
    }
    if let Ok(count) = written.parse::<i64>() {
        return match count.unsigned_abs() {
            0..100_000_000_000 => DateTime::from_timestamp(count, 0),
            100_000_000_000..100_000_000_000_000 => DateTime::from_timestamp_millis(count),
            100_000_000_000_000..100_000_000_000_000_000 => DateTime::from_timestamp_micros(count),
            _ => Some(DateTime::from_timestamp_nanos(count)),
        };
    }
    // Fractions of a second, such as Python's `time.time()` gives.
    let (seconds, fraction) = written.split_once('.')?;
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !(digits(seconds) && digits(fraction)) {
        return None;
    }
    let nanos: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    DateTime::from_timestamp(seconds.parse().ok()?, nanos.parse().ok()?)
}

fn name(token: &[u8]) -> Cow<'_, str> {
    let inner = token.get(1..token.len().saturating_sub(1)).unwrap_or_default();
    match std::str::from_utf8(inner) {
        Ok(plain) if !plain.contains('\\') => Cow::Borrowed(plain),
        _ => serde_json::from_slice::<String>(token)
            .map_or_else(|_| Cow::Owned(String::from_utf8_lossy(inner).into_owned()), Cow::Owned),
    }
}

fn skip_space(bytes: &[u8], mut at: usize) -> usize {
    while matches!(bytes.get(at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
        at += 1;
    }
    at
}

/// Where the next element begins: past a comma, or at the end.
fn next(inner: &[u8], end: usize) -> Option<usize> {
    let at = skip_space(inner, end);
    if at == inner.len() {
        return Some(at);
    }
    let after = skip_space(inner, at + 1);
    (inner.get(at) == Some(&b',') && after < inner.len()).then_some(after)
}

/// One past the closing quote of the string that begins at `at`.
fn string_end(bytes: &[u8], at: usize) -> Option<usize> {
    if bytes.get(at) != Some(&b'"') {
        return None;
    }
    let mut at = at + 1;
    loop {
        match bytes.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// One past the value that begins at `at`. Brackets are counted and not matched: whoever reads the value does that.
fn value_end(bytes: &[u8], at: usize) -> Option<usize> {
    let mut at = at;
    let mut open = 0_usize;
    loop {
        match bytes.get(at) {
            Some(b'"') => at = string_end(bytes, at)?,
            Some(b'{' | b'[') => {
                open += 1;
                at += 1;
            }
            Some(b'}' | b']') => {
                open = open.checked_sub(1)?;
                at += 1;
            }
            Some(b',' | b':') if open == 0 => return None,
            Some(b',' | b':' | b' ' | b'\t' | b'\n' | b'\r') if open > 0 => at += 1,
            Some(byte) if byte.is_ascii_alphanumeric() || b"+-.".contains(byte) => {
                while bytes.get(at).is_some_and(|b| b.is_ascii_alphanumeric() || b"+-.".contains(b)) {
                    at += 1;
                }
            }
            _ => return None,
        }
        if open == 0 {
            return Some(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn members_are_found_by_extent() {
        let document = br#" {"a":1,"b" : [1,{"c":"]}"}] , "d\u0061":"x\"y", "n":null,"a":NaN} "#;
        let members = Members::of(document).unwrap();
        assert_eq!(members.get("a"), Some(&b"NaN"[..]));
        assert_eq!(members.get("b"), Some(&br#"[1,{"c":"]}"}]"#[..]));
        assert_eq!(members.text("da").as_deref(), Some("x\"y"));
        assert_eq!(members.get("n"), None);
        assert!(members.has("n"));
        assert!(Members::of(b"{}").is_some());
        for bad in
            ["", "[]", "{", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{\"a\":1 \"b\":2}", "{a:1}", "{\"a\":]}"]
        {
            assert!(Members::of(bad.as_bytes()).is_none(), "{bad}");
        }
    }

    #[test]
    fn elements_are_bounded() {
        assert_eq!(elements(b"[1, [2,3] ,{}]", 3), Ok(Some(vec![&b"1"[..], b"[2,3]", b"{}"])));
        assert_eq!(elements(b"[1,2]", 1), Err(1));
        assert_eq!(elements(b"[]", 1), Ok(Some(vec![])));
        for bad in ["{}", "[1,", "[1,]", "[,]", "[1 2]", "[\"]"] {
            assert_eq!(elements(bad.as_bytes(), 9), Ok(None), "{bad}");
        }
    }

    #[test]
    fn times_are_read_by_their_size() {
        let expected = "2026-11-21T23:17:43+00:00";
        for written in [
            "2026-11-21T23:17:43Z",
            "2026-11-22T00:17:43+01:00",
            "1795303063",
            "1795303063000",
            "1795303063000000",
            "1795303063000000000",
            "1795303063.0",
        ] {
            assert_eq!(time(written).unwrap().to_rfc3339(), expected, "{written}");
        }
        assert_eq!(time("1795303063.25").unwrap().timestamp_subsec_millis(), 250);
        for bad in ["", "yesterday", "2026-11-21T23:17:43", "1.", ".5", "1.x", "-"] {
            assert_eq!(time(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn members_of_any_object_are_those_of_the_parser(
            given in proptest::collection::btree_map(".{0,6}", prop_oneof![
                Just(serde_json::Value::Null),
                any::<bool>().prop_map(Into::into),
                any::<i64>().prop_map(Into::into),
                ".{0,8}".prop_map(serde_json::Value::from),
                proptest::collection::vec(".{0,4}", 0..4).prop_map(serde_json::Value::from),
            ], 0..6),
            pretty in any::<bool>(),
        ) {
            let object = serde_json::Value::Object(given.clone().into_iter().collect());
            let text = if pretty { format!("{object:#}") } else { object.to_string() };
            let members = Members::of(text.as_bytes()).unwrap();
            prop_assert_eq!(members.iter().count(), given.len());
            for (name, value) in members.iter() {
                let parsed: serde_json::Value = serde_json::from_slice(value).unwrap();
                prop_assert_eq!(&parsed, &given[name]);
            }
        }

        #[test]
        fn any_bytes_are_skimmed(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            Members::of(&bytes);
            prop_assert!(elements(&bytes, 4).is_ok() || bytes.len() > 4);
            single(&bytes);
        }

        #[test]
        fn any_json_like_text_is_skimmed(text in "[\\[\\]{},:\"\\\\a1 ]{0,60}") {
            Members::of(text.as_bytes());
            single(text.as_bytes());
        }
    }
}
