//! Hop-by-hop headers of HTTP/2 requests and their answers: what belongs to one connection and is not forwarded (RFC 9110, section 7.6.1).

use http::HeaderMap;
use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE,
};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

fn connection_names(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    tokens(headers, &CONNECTION)
}

fn tokens<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|name| !name.is_empty())
}

/// Takes out what belongs to this connection, in place and in order.
/// `Transfer-Encoding` stays where it stands: the next hop is framed as this one.
pub(super) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let is_there = |name: &HeaderName| headers.contains_key(name);
    if ![CONNECTION, TE, UPGRADE, KEEP_ALIVE, PROXY_CONNECTION, HTTP2_SETTINGS].iter().any(is_there) {
        return;
    }
    let named: Vec<HeaderName> =
        connection_names(headers).filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok()).collect();
    let takes_trailers = tokens(headers, &TE).any(|coding| coding.eq_ignore_ascii_case("trailers"));

    let mut kept = HeaderMap::with_capacity(headers.len());
    let mut current = None;
    for (name, value) in std::mem::take(headers) {
        let is_first = name.is_some();
        current = name.or(current);
        let Some(name) = &current else { continue };
        let value = if *name == TE {
            (takes_trailers && is_first).then(|| HeaderValue::from_static("trailers"))
        } else if [CONNECTION, UPGRADE, KEEP_ALIVE, PROXY_CONNECTION, HTTP2_SETTINGS].contains(name) {
            None
        } else {
            // A message must not have its framing or its address taken away by what it says of itself.
            let is_needed = [HOST, CONTENT_LENGTH, TRANSFER_ENCODING].contains(name);
            (is_needed || !named.contains(name)).then_some(value)
        };
        if let Some(value) = value {
            kept.append(name.clone(), value);
        }
    }
    *headers = kept;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(before: &[(&str, &str)], after: &[(&str, &str)]) {
        let mut headers = HeaderMap::new();
        for (name, value) in before {
            headers.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        strip_hop_by_hop(&mut headers);
        let left: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!(left, after);
    }

    #[test]
    fn hop_by_hop_headers_stay_behind() {
        check(
            &[("connection", "keep-alive, x-mine"), ("x-mine", "1"), ("x-other", "2")],
            &[("x-other", "2")],
        );
        check(&[("connection", "close"), ("keep-alive", "timeout=5"), ("host", "h")], &[("host", "h")]);
        check(&[("te", "trailers, deflate"), ("trailer", "x")], &[("te", "trailers"), ("trailer", "x")]);
        check(&[("te", "deflate"), ("transfer-encoding", "chunked")], &[("transfer-encoding", "chunked")]);
        check(
            &[("connection", "host, content-length"), ("host", "h"), ("content-length", "3")],
            &[("host", "h"), ("content-length", "3")],
        );
        check(
            &[
                ("a", "1"),
                ("connection", "close"),
                ("b", "2"),
                ("c", "3"),
                ("a", "4"),
                ("te", "x"),
                ("d", "5"),
            ],
            &[("a", "1"), ("a", "4"), ("b", "2"), ("c", "3"), ("d", "5")],
        );
        check(
            &[("connection", "Upgrade, HTTP2-Settings"), ("upgrade", "h2c"), ("http2-settings", "AAM")],
            &[],
        );
        check(&[("upgrade", "h2c"), ("accept", "a"), ("accept", "b")], &[("accept", "a"), ("accept", "b")]);
    }
}
