//! Settings of the tap in front of the model server.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::{ByteSize, Share, Span};
use crate::model::ModelName;

/// More threads than any machine that a sidecar runs on has use for.
const MAX_THREADS: u32 = 256;
/// HTTP/1 heads are read into a buffer that cannot be smaller.
const MIN_HEADER_BYTES: usize = 8 << 10;

/// Threads past which each has next to nothing to do.
const MAX_DECODE_THREADS: usize = 64;

/// The tap.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tap {
    /// The model server, `http://host:port` or `https://host:port`; absent: no proxy, predictions come through the
    /// API. Requests that no entry of `routes` takes go here.
    pub upstream: Option<String>,
    /// How the certificate of an `https://` upstream is checked; absent: by the name in its address, against the
    /// public certification authorities.
    pub upstream_tls: Option<UpstreamTls>,
    /// What is spoken to the model server: `follow` speaks what the client speaks, `http1` is for model servers that
    /// know no HTTP/2 although clients reach the proxy with it.
    pub upstream_protocol: UpstreamProtocol,
    /// Further model servers, each for a part of the requests. Of the routes that fit a request, one that names its
    /// host goes before one that names none, and then the longest `path_prefix` wins.
    pub routes: Vec<TapRoute>,
    /// Certificate of the proxy itself; absent: clients connect without TLS. HTTP/1.1 and HTTP/2 are offered by ALPN.
    pub tls: Option<ListenerTls>,
    /// Share of predictions kept, in `(0, 1]`; chosen by hash of the id, so that labels agree.
    pub sample: Share,
    /// Bytes of copied bodies held at once. Over half of it, predictions are shed by hash of their id, ever more the
    /// fuller it is; what does not fit is dropped. Both are counted.
    pub queue_bytes: ByteSize,
    /// Threads that decode and count copied bodies, at a lower priority than those of the proxy; absent: one less than
    /// there are cores, and at most eight.
    pub decode_threads: Option<NonZeroUsize>,
    /// Longest copied body; longer ones pass untouched, their copy is cut and counted.
    pub body_limit: ByteSize,
    /// Limit for reaching a model server, its TLS handshake included; there is no limit on its answer.
    pub connect_timeout: Span,
    /// How long an unused connection to a model server is kept. Shorter than the server's own keep-alive (gunicorn
    /// 2 s, uvicorn 5 s), so that no request is written to a connection that is about to be closed.
    pub upstream_idle_timeout: Span,
    /// How long a client may take over the TLS handshake or the head of an HTTP/1 request, from its first byte;
    /// `null`: for ever.
    pub header_timeout: Option<Span>,
    /// How long a client's connection may be open with no request under way; `null`: for ever. Tunnels are not
    /// limited.
    pub idle_timeout: Option<Span>,
    /// How long a request may take until the last byte of its answer; absent: as long as client and model server
    /// please. An answer that has not begun becomes 504 (gRPC: `DEADLINE_EXCEEDED`), one that has is broken off.
    pub request_timeout: Option<Span>,
    /// Threads that forward and do nothing else; absent: as many as there are processors.
    pub threads: Option<u32>,
    /// Most connections of clients at once, over which new ones wait to be accepted; absent: as many as the system
    /// allows.
    pub max_connections: Option<u32>,
    /// Most requests at once on one HTTP/2 connection.
    pub max_streams: u32,
    /// Longest head of a request or an answer, at least 8 KiB.
    pub header_bytes: ByteSize,
    /// Most headers of one HTTP/1 message.
    pub header_count: u32,
    /// Give predictions without a `traceparent` one, with a new trace id and the flag `sampled`, which is what a
    /// model server that begins a trace would choose itself. It is the id of the prediction if there is no other.
    pub traceparent: bool,
    /// Give predictions without an `X-Request-Id` one, and repeat it in the answer, so that labels can name it.
    pub request_id: bool,
    /// Request header with the event time (RFC 3339), for replays and batch scoring; off when absent.
    pub event_time_header: Option<String>,
}

/// What is spoken to a model server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UpstreamProtocol {
    /// What the client speaks: HTTP/2 for HTTP/2 (by prior knowledge, or by ALPN over TLS), else HTTP/1. A model
    /// server that offers only HTTP/1.1 by ALPN is spoken to in that.
    #[default]
    Follow,
    /// Always HTTP/1.
    Http1,
}

/// A model server for a part of the requests. `path_prefix`, `host` or both have to be given.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TapRoute {
    /// Start of the path, as it is sent (nothing is decoded). A prefix ends where a name does: `/v2/models/a` takes
    /// `/v2/models/a/infer` and not `/v2/models/ab/infer`.
    pub path_prefix: Option<String>,
    /// Host that the client names, without port, in any case.
    pub host: Option<String>,
    /// The model server, `http://host:port` or `https://host:port`.
    pub upstream: String,
    /// As `tap.upstream_tls`, for this model server; nothing is inherited.
    pub upstream_tls: Option<UpstreamTls>,
    /// As `tap.upstream_protocol`, for this model server.
    #[serde(default)]
    pub upstream_protocol: UpstreamProtocol,
    /// The model that predictions on this route belong to, whatever their path says.
    pub model: Option<ModelName>,
}

/// Certificate of the proxy itself. The files are read again when they change; connections stay open.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenerTls {
    /// PEM file with the certificate, followed by its intermediates.
    pub cert: PathBuf,
    /// PEM file with the private key (PKCS #8, PKCS #1 or SEC 1).
    pub key: PathBuf,
    /// PEM file with the authorities whose certificates clients must show; absent: clients show none.
    pub client_ca: Option<PathBuf>,
}

/// How the certificate of a model server is checked. There is no way to leave it unchecked.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UpstreamTls {
    /// PEM file with the authorities that are believed instead of the public ones.
    pub ca_file: Option<PathBuf>,
    /// Name that the certificate must have; absent: the host of the address.
    pub server_name: Option<String>,
}

impl Default for Tap {
    fn default() -> Self {
        Self {
            upstream: None,
            upstream_tls: None,
            upstream_protocol: UpstreamProtocol::Follow,
            routes: Vec::new(),
            tls: None,
            sample: Share::ALL,
            queue_bytes: ByteSize(64 << 20),
            decode_threads: None,
            body_limit: ByteSize(8 << 20),
            connect_timeout: Span(Duration::from_secs(5)),
            upstream_idle_timeout: Span(Duration::from_millis(1_500)),
            header_timeout: Some(Span(Duration::from_mins(1))),
            idle_timeout: Some(Span(Duration::from_mins(10))),
            request_timeout: None,
            threads: None,
            max_connections: None,
            max_streams: 4096,
            header_bytes: ByteSize(256 << 10),
            header_count: 100,
            traceparent: true,
            request_id: false,
            event_time_header: None,
        }
    }
}

impl Tap {
    /// The files that are named, to be taken as relative to the settings file.
    pub(super) fn paths_mut(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let own = self
            .tls
            .iter_mut()
            .flat_map(|tls| [&mut tls.cert, &mut tls.key].into_iter().chain(&mut tls.client_ca));
        let routes = self.routes.iter_mut().filter_map(|route| route.upstream_tls.as_mut());
        own.chain(self.upstream_tls.iter_mut().chain(routes).filter_map(|tls| tls.ca_file.as_mut()))
    }

    /// Values that do not fit together.
    pub(super) fn contradictions(&self, is_monitored: impl Fn(&ModelName) -> bool) -> Vec<String> {
        let mut problems = Vec::new();
        if let Some(url) = &self.upstream {
            problems.extend(tls_without_https("tap", url, self.upstream_tls.as_ref()));
        } else {
            for (is_set, key) in [
                (!self.routes.is_empty(), "routes"),
                (self.tls.is_some(), "tls"),
                (self.upstream_tls.is_some(), "upstream_tls"),
            ] {
                if is_set {
                    problems.push(format!("`tap.{key}` has no effect without `tap.upstream`: set the model server that takes what no route does"));
                }
            }
        }
        for (index, route) in self.routes.iter().enumerate() {
            self.check_route(index, route, &is_monitored, &mut problems);
        }
        for (key, span) in [
            ("connect_timeout", Some(self.connect_timeout)),
            ("header_timeout", self.header_timeout),
            ("idle_timeout", self.idle_timeout),
            ("request_timeout", self.request_timeout),
        ] {
            if span.is_some_and(|span| span.0.is_zero()) {
                problems.push(format!(
                    "`tap.{key}` is 0, which nothing can keep; leave it out or set it to null for no limit"
                ));
            }
        }
        if self.decode_threads.is_some_and(|threads| threads.get() > MAX_DECODE_THREADS) {
            problems.push(format!(
                "`tap.decode_threads` is more than {MAX_DECODE_THREADS}; leave it out for one less than there are cores"
            ));
        }
        if self.max_connections == Some(0) {
            problems.push(
                "`tap.max_connections` is 0, so that nobody could connect; leave it out for no limit"
                    .to_owned(),
            );
        }
        if self.threads.is_some_and(|count| count == 0 || count > MAX_THREADS) {
            problems.push(format!(
                "`tap.threads` is not between 1 and {MAX_THREADS}; leave it out for as many as there are processors"
            ));
        }
        for (key, count) in [("max_streams", self.max_streams), ("header_count", self.header_count)] {
            if count == 0 {
                problems.push(format!("`tap.{key}` is 0, so that no request could pass"));
            }
        }
        if self.header_bytes.0 < MIN_HEADER_BYTES || u32::try_from(self.header_bytes.0).is_err() {
            problems.push(format!(
                "`tap.header_bytes` is {}, which is not between 8KiB and 4GiB",
                self.header_bytes.0
            ));
        }
        problems
    }

    fn check_route(
        &self,
        index: usize,
        route: &TapRoute,
        is_monitored: impl Fn(&ModelName) -> bool,
        problems: &mut Vec<String>,
    ) {
        let place = format!("tap.routes[{index}]");
        if route.path_prefix.is_none() && route.host.is_none() {
            problems.push(format!("`{place}` fits nothing: give it `path_prefix`, `host` or both"));
        }
        if let Some(prefix) = &route.path_prefix
            && !prefix.starts_with('/')
        {
            problems.push(format!("`{place}.path_prefix` is `{prefix}`, which does not start with `/`"));
        }
        let same = |other: &TapRoute| {
            other.path_prefix == route.path_prefix
                && match (&other.host, &route.host) {
                    (Some(a), Some(b)) => a.eq_ignore_ascii_case(b),
                    (a, b) => a == b,
                }
        };
        if let Some(other) = self.routes[..index].iter().position(same) {
            problems.push(format!("`{place}` fits the same requests as `tap.routes[{other}]`"));
        }
        if let Some(model) = &route.model
            && !is_monitored(model)
        {
            problems.push(format!("`{place}.model` is `{model}`, which is not listed under `models`"));
        }
        problems.extend(tls_without_https(&place, &route.upstream, route.upstream_tls.as_ref()));
    }
}

fn tls_without_https(place: &str, url: &str, tls: Option<&UpstreamTls>) -> Option<String> {
    (tls.is_some() && !url.starts_with("https://")).then(|| {
        format!(
            "`{place}.upstream_tls` has no effect on `{url}`: the address would have to start with https://"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::Settings;

    #[track_caller]
    fn check(lines: &str, problems: &[&str]) {
        let text = format!("models:\n  - {{name: m}}\ntap:\n{lines}");
        let error = Settings::parse(&text, "d.yaml").unwrap_err().to_string();
        for problem in problems {
            assert!(error.contains(problem), "`{problem}` is not in\n{error}");
        }
        assert_eq!(error.lines().count(), problems.len(), "{error}");
    }

    #[test]
    fn contradictions_are_reported_together() {
        check(
            "  tls: {cert: c.pem, key: k.pem}\n  routes:\n    - {host: h, upstream: 'http://a:1'}\n",
            &["`tap.routes` has no effect without", "`tap.tls` has no effect without"],
        );
        check(
            "  upstream: http://a:1\n  upstream_tls: {server_name: n}\n  header_bytes: 4KiB\n  max_connections: 0\n  idle_timeout: 0s\n  max_streams: 0\n  decode_threads: 65\n",
            &[
                "`tap.upstream_tls` has no effect on",
                "is 4096, which",
                "nobody could connect",
                "`tap.idle_timeout` is 0",
                "`tap.max_streams` is 0",
                "`tap.decode_threads` is more than 64",
            ],
        );
        check(
            "  upstream: http://a:1\n  routes:\n    - {upstream: 'http://a:1'}\n    - {path_prefix: v1, upstream: 'http://a:1'}\n    - {host: H, upstream: 'http://a:1', model: other}\n    - {host: h, upstream: 'http://b:1', upstream_tls: {}}\n",
            &[
                "`tap.routes[0]` fits nothing",
                "`tap.routes[1].path_prefix` is `v1`",
                "`tap.routes[2].model` is `other`",
                "`tap.routes[3]` fits the same requests as `tap.routes[2]`",
                "`tap.routes[3].upstream_tls` has no effect",
            ],
        );
    }

    #[test]
    fn limits_are_switched_off_by_null_and_paths_follow_the_settings_file() {
        let text = "tap:\n  upstream: https://a:1\n  upstream_tls: {ca_file: ca.pem}\n  header_timeout: null\n  idle_timeout: null\n  tls: {cert: c.pem, key: /k.pem, client_ca: cc.pem}\n  routes:\n    - {path_prefix: /x, upstream: 'https://b:1', upstream_tls: {ca_file: b.pem}}\n";
        let mut settings = Settings::parse(text, "d.yaml").unwrap();
        assert!(settings.tap.header_timeout.is_none() && settings.tap.idle_timeout.is_none());
        settings.resolve_paths(std::path::Path::new("/etc/d"));
        let mut found: Vec<_> = settings.tap.paths_mut().map(|path| path.display().to_string()).collect();
        found.sort();
        assert_eq!(found, ["/etc/d/b.pem", "/etc/d/c.pem", "/etc/d/ca.pem", "/etc/d/cc.pem", "/k.pem"]);
    }
}
