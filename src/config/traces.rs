//! Settings of traces.

use serde::Deserialize;

use super::Share;

/// Where traces go; without an endpoint there are none.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Traces {
    /// Base of an OTLP/HTTP collector, such as `http://collector:4318`; `/v1/traces` is added to it.
    pub endpoint: Option<String>,
    /// Share of the predictions with a trace, chosen by its id, of those whose client wants one or has none.
    pub sample: Share,
}

impl Default for Traces {
    fn default() -> Self {
        Self { endpoint: None, sample: Share::ALL }
    }
}

impl Traces {
    /// The address that spans are posted to.
    pub fn url(&self) -> Option<String> {
        let base = self.endpoint.as_deref()?.trim_end_matches('/');
        Some(if base.ends_with("/v1/traces") { base.to_owned() } else { format!("{base}/v1/traces") })
    }

    /// What cannot be.
    pub(super) fn contradictions(&self) -> Option<String> {
        let endpoint = self.endpoint.as_deref()?;
        let is_http = ["http://", "https://"].iter().any(|scheme| endpoint.starts_with(scheme));
        (!is_http)
            .then(|| format!("`traces.endpoint` `{endpoint}` does not begin with `http://` or `https://`"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Settings;

    #[test]
    fn the_path_of_the_protocol_is_added_once() {
        for (text, expected) in [
            ("traces: {endpoint: 'http://c:4318'}", Some("http://c:4318/v1/traces")),
            ("traces: {endpoint: 'http://c:4318/'}", Some("http://c:4318/v1/traces")),
            ("traces: {endpoint: 'https://c/otlp/v1/traces', sample: 0.1}", Some("https://c/otlp/v1/traces")),
            ("", None),
        ] {
            assert_eq!(Settings::parse(text, "s").unwrap().traces.url().as_deref(), expected, "{text}");
        }
        let refused = Settings::parse("traces: {endpoint: 'c:4317'}", "s").unwrap_err().to_string();
        assert!(refused.contains("`traces.endpoint` `c:4317`"), "{refused}");
    }
}
