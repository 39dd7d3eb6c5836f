//! Hop-by-hop headers: what belongs to one connection and is not forwarded (RFC 9110, section 7.6.1).

use http::HeaderMap;
use http::header::{CONNECTION, HeaderName, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Whether a request or an answer asks to change the protocol of its connection.
pub(super) fn wants_upgrade(headers: &HeaderMap) -> bool {
    headers.contains_key(UPGRADE)
        && connection_names(headers).any(|name| name.eq_ignore_ascii_case("upgrade"))
}

fn connection_names(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|name| !name.is_empty())
}

/// Takes out what belongs to this connection; an upgrade keeps `Connection` and `Upgrade`.
pub(super) fn strip_hop_by_hop(headers: &mut HeaderMap, keep_upgrade: bool) {
    let trailers = headers
        .get_all(TE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|coding| coding.trim().eq_ignore_ascii_case("trailers"));
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = connection_names(headers)
            .filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok())
            .collect();
        for name in named {
            // A message must not have its framing or its address taken away by what it says of itself.
            if name != http::header::HOST
                && name != http::header::CONTENT_LENGTH
                && !(keep_upgrade && name == UPGRADE)
            {
                headers.remove(name);
            }
        }
        headers.remove(CONNECTION);
    }
    for name in [KEEP_ALIVE, PROXY_CONNECTION, TE, TRANSFER_ENCODING] {
        headers.remove(name);
    }
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    if keep_upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    } else {
        headers.remove(UPGRADE);
    }
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
        let mut left: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        left.sort_unstable();
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
        check(&[("te", "deflate"), ("transfer-encoding", "chunked")], false, &[]);
        check(
            &[("connection", "host, content-length"), ("host", "h"), ("content-length", "3")],
            false,
            &[("content-length", "3"), ("host", "h")],
        );
        check(
            &[("upgrade", "h2c"), ("accept", "a"), ("accept", "b")],
            false,
            &[("accept", "a"), ("accept", "b")],
        );
        check(
            &[("connection", "Upgrade"), ("upgrade", "websocket")],
            true,
            &[("connection", "upgrade"), ("upgrade", "websocket")],
        );
    }
}
