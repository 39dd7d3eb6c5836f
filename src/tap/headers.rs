//! Hop-by-hop headers: what belongs to one connection and is not forwarded (RFC 9110, section 7.6.1).

use http::HeaderMap;
use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE,
};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// Whether a request asks to change the protocol of its connection. `h2c` is not meant: a client that could be
/// answered in HTTP/1 is, where its predictions can be read.
pub(super) fn wants_upgrade(headers: &HeaderMap) -> bool {
    headers.get(UPGRADE).is_some_and(|protocol| !protocol.as_bytes().eq_ignore_ascii_case(b"h2c"))
        && connection_names(headers).any(|name| name.eq_ignore_ascii_case("upgrade"))
}

/// Whether a client of HTTP/1.0 asks for its connection to stay open.
pub(super) fn wants_keep_alive(headers: &HeaderMap) -> bool {
    connection_names(headers).any(|name| name.eq_ignore_ascii_case("keep-alive"))
}

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

/// Takes out what belongs to this connection, in place and in order; an upgrade keeps `Connection` and `Upgrade`.
/// `Transfer-Encoding` stays where it stands: the next hop is framed as this one.
pub(super) fn strip_hop_by_hop(headers: &mut HeaderMap, keep_upgrade: bool) {
    let is_there = |name: &HeaderName| headers.contains_key(name);
    if ![CONNECTION, TE, UPGRADE, KEEP_ALIVE, PROXY_CONNECTION, HTTP2_SETTINGS].iter().any(is_there) {
        return;
    }
    let named: Vec<HeaderName> =
        connection_names(headers).filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok()).collect();
    let takes_trailers = tokens(headers, &TE).any(|coding| coding.eq_ignore_ascii_case("trailers"));
    let upgrade = connection_names(headers).find(|name| name.eq_ignore_ascii_case("upgrade"));
    let upgrade = upgrade.and_then(|name| HeaderValue::from_str(name).ok()).filter(|_| keep_upgrade);

    let mut kept = HeaderMap::with_capacity(headers.len());
    let mut current = None;
    for (name, value) in std::mem::take(headers) {
        let is_first = name.is_some();
        current = name.or(current);
        let Some(name) = &current else { continue };
        let value = if *name == CONNECTION {
            upgrade.clone().filter(|_| is_first)
        } else if *name == TE {
            (takes_trailers && is_first).then(|| HeaderValue::from_static("trailers"))
        } else if *name == UPGRADE {
            keep_upgrade.then_some(value)
        } else if [KEEP_ALIVE, PROXY_CONNECTION, HTTP2_SETTINGS].contains(name) {
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
    fn check(before: &[(&str, &str)], keep_upgrade: bool, after: &[(&str, &str)]) {
        let mut headers = HeaderMap::new();
        for (name, value) in before {
            headers.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        strip_hop_by_hop(&mut headers, keep_upgrade);
        let left: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!(left, after);
    }

    #[test]
    fn hop_by_hop_headers_stay_behind() {
        check(
            &[("connection", "keep-alive, x-mine"), ("x-mine", "1"), ("x-other", "2")],
            false,
            &[("x-other", "2")],
        );
        check(
            &[("connection", "close"), ("keep-alive", "timeout=5"), ("host", "h")],
            false,
            &[("host", "h")],
        );
        check(
            &[("te", "trailers, deflate"), ("trailer", "x")],
            false,
            &[("te", "trailers"), ("trailer", "x")],
        );
        check(
            &[("te", "deflate"), ("transfer-encoding", "chunked")],
            false,
            &[("transfer-encoding", "chunked")],
        );
        check(
            &[("connection", "host, content-length"), ("host", "h"), ("content-length", "3")],
            false,
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
            false,
            &[("a", "1"), ("a", "4"), ("b", "2"), ("c", "3"), ("d", "5")],
        );
        check(
            &[("connection", "Upgrade, HTTP2-Settings"), ("upgrade", "h2c"), ("http2-settings", "AAM")],
            false,
            &[],
        );
        check(
            &[("upgrade", "h2c"), ("accept", "a"), ("accept", "b")],
            false,
            &[("accept", "a"), ("accept", "b")],
        );
        check(
            &[("connection", "keep-alive, Upgrade"), ("x", "1"), ("upgrade", "websocket")],
            true,
            &[("connection", "Upgrade"), ("x", "1"), ("upgrade", "websocket")],
        );
    }
}
