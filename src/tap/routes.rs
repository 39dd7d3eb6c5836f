//! Which model server takes a request: by host and by the start of the path.

use std::sync::Arc;

use super::connect::Address;
use super::proxy::ProxyError;
use super::upstream::Upstream;
use crate::config;
use crate::model::ModelName;

/// The model servers, the default one first.
#[derive(Debug)]
pub(super) struct Routes {
    upstreams: Vec<Arc<Upstream>>,
    /// The best fitting first.
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    host: Option<String>,
    prefix: String,
    upstream: usize,
    model: Option<ModelName>,
}

impl Routes {
    pub(super) fn new(settings: &config::Tap) -> Result<Self, ProxyError> {
        let url = settings.upstream.as_deref().ok_or(ProxyError::NoUpstream)?;
        let count = settings.routes.len() + 1;
        let timeout = settings.connect_timeout.0;
        let default = Address::new("tap", url, settings.upstream_tls.as_ref(), timeout)?;
        let default = Upstream::new(default, (0, count), settings.upstream_protocol, settings);
        let mut upstreams = vec![Arc::new(default)];
        let mut rules = Vec::new();
        for (index, route) in settings.routes.iter().enumerate() {
            let place = format!("tap.routes[{index}]");
            let address = Address::new(&place, &route.upstream, route.upstream_tls.as_ref(), timeout)?;
            let upstream = Upstream::new(address, (index + 1, count), route.upstream_protocol, settings);
            upstreams.push(Arc::new(upstream));
            rules.push(Rule {
                host: route.host.as_ref().map(|host| host.to_ascii_lowercase()),
                prefix: route.path_prefix.clone().unwrap_or_default(),
                upstream: index + 1,
                model: route.model.clone(),
            });
        }
        rules.sort_by_key(|rule| (rule.host.is_none(), std::cmp::Reverse(rule.prefix.len())));
        Ok(Self { upstreams, rules })
    }

    /// The model server for a request, and the model that the route names; `host` is what the request names, with or
    /// without a port.
    pub(super) fn find<'h>(
        &self,
        path: &str,
        host: impl Fn() -> &'h str,
    ) -> (&Arc<Upstream>, Option<&ModelName>) {
        let fits = |rule: &&Rule| {
            starts_with(path, &rule.prefix)
                && rule.host.as_deref().is_none_or(|wanted| without_port(host()).eq_ignore_ascii_case(wanted))
        };
        match self.rules.iter().find(fits) {
            Some(rule) => (&self.upstreams[rule.upstream], rule.model.as_ref()),
            None => (&self.upstreams[0], None),
        }
    }

    pub(super) fn upstreams(&self) -> &[Arc<Upstream>] {
        &self.upstreams
    }
}

/// The host alone.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        // The last colon of an IPv6 address in brackets is inside of them.
        Some((front, port)) if !port.ends_with(']') => front,
        _ => host,
    }
}

/// Whether `path` begins with `prefix`, and the prefix does not end in the middle of a name.
fn starts_with(path: &str, prefix: &str) -> bool {
    let Some(rest) = path.strip_prefix(prefix) else { return false };
    let in_name = |next: char| next.is_alphanumeric() || matches!(next, '-' | '_' | '.' | '~');
    !(prefix.ends_with(in_name) && rest.starts_with(in_name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_where_a_name_does() {
        for (path, prefix, fits) in [
            ("/v2/models/a/infer", "/v2/models/a", true),
            ("/v2/models/ab/infer", "/v2/models/a", false),
            ("/v1/models/a:predict", "/v1/models/a", true),
            ("/v2/models/ab/infer", "/v2/models/", true),
            ("/score", "/score", true),
            ("/scores", "/score", false),
            ("/anything", "", true),
            ("/V2/models/a", "/v2", false),
        ] {
            assert_eq!(starts_with(path, prefix), fits, "{path} {prefix}");
        }
    }

    #[test]
    fn the_host_counts_first_and_then_the_longest_prefix() {
        let text = "models: [{name: m}]\ntap:\n  upstream: http://default:1\n  routes:\n    - {path_prefix: /v2, upstream: 'http://short:1'}\n    - {path_prefix: /v2/models/m, upstream: 'http://long:1', model: m}\n    - {host: Other.Example, upstream: 'http://host:1'}\n    - {host: other.example, path_prefix: /v2, upstream: 'http://both:1'}\n";
        let settings = config::Settings::parse(text, "d.yaml").unwrap();
        let routes = Routes::new(&settings.tap).unwrap();
        for (path, host, upstream, model) in [
            ("/v2/models/m/infer", "x", "long:1", Some("m")),
            ("/v2/models/n/infer", "x", "short:1", None),
            ("/v1", "x", "default:1", None),
            ("/v1", "OTHER.example:8080", "host:1", None),
            ("/v2/models/m/infer", "other.example", "both:1", None),
            ("/v1", "[::1]:80", "default:1", None),
        ] {
            let (found, of) = routes.find(path, || host);
            assert_eq!((found.authority(), of.map(ModelName::as_str)), (upstream, model), "{path} {host}");
        }
    }
}
