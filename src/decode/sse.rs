//! Server-sent events: the data of each event of a body.

/// Events that one body may have.
pub(super) const MAX_EVENTS: usize = 10_000;

/// The data of the events in `body`, without the mark that ends a stream; absent when there are too many, or the body
/// ends within an event.
///
/// Lines end in any of the three ways that the standard allows; fields other than `data` are passed over.
pub(super) fn events(body: &[u8]) -> Option<Vec<Vec<u8>>> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let mut events = Vec::new();
    let mut data: Option<Vec<u8>> = None;
    for line in lines(body) {
        if line.is_empty() {
            if let Some(data) = data.take().filter(|data| data.trim_ascii() != b"[DONE]") {
                if events.len() == MAX_EVENTS {
                    return None;
                }
                events.push(data);
            }
            continue;
        }
        let Some(value) = line.strip_prefix(b"data").filter(|rest| matches!(rest, [] | [b':', ..])) else {
            continue;
        };
        let value = value.strip_prefix(b":").unwrap_or(value);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match &mut data {
            Some(data) => {
                data.push(b'\n');
                data.extend_from_slice(value);
            }
            None => data = Some(value.to_vec()),
        }
    }
    // Some servers leave out the last empty line; what would be missing of the data then shows when it is parsed.
    if let Some(data) = data.filter(|data| data.trim_ascii() != b"[DONE]") {
        if events.len() == MAX_EVENTS {
            return None;
        }
        events.push(data);
    }
    Some(events)
}

/// Lines that end in `\n`, `\r` or `\r\n`.
fn lines(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(body);
    std::iter::from_fn(move || {
        let body = rest?;
        let Some(end) = body.iter().position(|byte| matches!(byte, b'\n' | b'\r')) else {
            rest = None;
            return Some(body).filter(|line| !line.is_empty());
        };
        let (line, after) = body.split_at(end);
        rest = after.strip_prefix(b"\r\n").or_else(|| after.get(1..));
        Some(line)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(body: &str, expected: &[&str]) {
        let expected: Vec<Vec<u8>> = expected.iter().map(|data| data.as_bytes().to_vec()).collect();
        assert_eq!(events(body.as_bytes()), Some(expected), "{body:?}");
    }

    #[test]
    fn events_are_what_the_standard_says() {
        check("data: {\"a\":1}\n\ndata: {\"a\":2}\n\n", &["{\"a\":1}", "{\"a\":2}"]);
        check("data:1\r\n\r\ndata:2\r\rdata:3\n\n", &["1", "2", "3"]);
        check(": comment\nevent: x\nid: 7\ndata: one\ndata:two\n\n", &["one\ntwo"]);
        check("\u{feff}data: 1\n\ndata: [DONE]\n\n", &["1"]);
        check("data\n\ndata:  two spaces\n\ndatabase: 1\n\n", &["", " two spaces"]);
        check("event: ping\n\n\n\n", &[]);
        check("", &[]);
        check("data: no empty line", &["no empty line"]);
    }

    #[test]
    fn events_are_counted() {
        assert_eq!(events("data:1\n\n".repeat(MAX_EVENTS).as_bytes()).map(|all| all.len()), Some(MAX_EVENTS));
        assert_eq!(events("data:1\n\n".repeat(MAX_EVENTS + 1).as_bytes()), None);
        assert_eq!(events(format!("{}data:1", "data:1\n\n".repeat(MAX_EVENTS)).as_bytes()), None);
    }

    proptest! {
        #[test]
        fn what_is_sent_arrives(
            sent in proptest::collection::vec("[^\r\n]{0,12}", 0..6).prop_filter("an end", |all| {
                !all.iter().any(|data| data.trim() == "[DONE]")
            }),
            end in proptest::sample::select(&["\n", "\r", "\r\n"]),
        ) {
            let body: String = sent.iter().flat_map(|data| ["data: ", data, end, end]).collect();
            let expected: Vec<Vec<u8>> = sent.iter().map(|data| data.as_bytes().to_vec()).collect();
            prop_assert_eq!(events(body.as_bytes()), Some(expected));
        }

        #[test]
        fn any_bytes_are_read(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            prop_assert!(events(&bytes).is_some_and(|all| all.concat().len() <= bytes.len()));
        }
    }
}
