//! Whether a request comes from a page of this very port, from no page at all, or from a stranger's.

use axum::http::HeaderMap;
use axum::http::header::ORIGIN;

const FETCH_SITE: &str = "sec-fetch-site";

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).map(|value| value.to_str().unwrap_or("?"))
}

/// Whether nothing says that another site's page has sent it. Programs that are no browsers send neither header.
pub(super) fn is_same(headers: &HeaderMap, host: Option<&str>) -> bool {
    if let Some(site) = text(headers, FETCH_SITE) {
        return site == "same-origin" || site == "none";
    }
    let Some(origin) = text(headers, ORIGIN.as_str()) else { return true };
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    let port = if scheme == "https" { ":443" } else { ":80" };
    let bare = |authority: &str| authority.trim_end_matches(port).to_ascii_lowercase();
    host.is_some_and(|host| bare(host) == bare(authority))
}

/// Whether a browser has said where it comes from: what rides on a cookie has to.
pub(super) fn is_known(headers: &HeaderMap) -> bool {
    headers.contains_key(FETCH_SITE) || headers.contains_key(ORIGIN)
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn only_pages_of_this_port_may_post() {
        for (pairs, expected) in [
            (&[][..], true),
            (&[("sec-fetch-site", "same-origin")], true),
            (&[("sec-fetch-site", "none")], true),
            (&[("sec-fetch-site", "same-site")], false),
            (&[("sec-fetch-site", "cross-site")], false),
            (&[("sec-fetch-site", "cross-site"), ("origin", "http://localhost:9464")], false),
            (&[("sec-fetch-site", "same-origin"), ("origin", "null")], true),
            (&[("origin", "http://localhost:9464")], true),
            (&[("origin", "http://localhost:9465")], false),
            (&[("origin", "http://LOCALHOST:9464")], true),
            (&[("origin", "https://evil.example")], false),
            (&[("origin", "null")], false),
        ] {
            let pair = |(name, value): &(&'static str, &'static str)| {
                (HeaderName::from_static(name), HeaderValue::from_static(value))
            };
            let headers: HeaderMap = pairs.iter().map(pair).collect();
            assert_eq!(is_same(&headers, Some("localhost:9464")), expected, "{pairs:?}");
            assert_eq!(is_known(&headers), !pairs.is_empty());
        }
        let origin = HeaderMap::from_iter([(ORIGIN, HeaderValue::from_static("https://drift.example.com"))]);
        assert!(is_same(&origin, Some("drift.example.com:443")) && !is_same(&origin, None));
    }
}
