//! Settings of captured rows: where their files are, how large, and how long they are kept.

use std::time::Duration;

use serde::Deserialize;

use super::Span;

/// Where captured rows go that have waited in the database.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Capture {
    /// `file:///…`, `s3://bucket/path`, `gs://bucket/path` or `az://container/path`; absent: `capture` under `data_dir`.
    /// Credentials come from the environment (`AWS_…`, `GOOGLE_…`, `AZURE_…`) or the files that it names.
    pub store: Option<StoreUrl>,
    /// How long captured rows and labels are kept; absent: `retention.captured`. Files that a version of the model was
    /// trained on are kept as long as the version.
    pub retention: Option<Span>,
    /// Rows of a file, at most.
    pub segment_rows: u32,
    /// How long a row waits in the database, at most.
    pub segment_age: Span,
}

impl Default for Capture {
    fn default() -> Self {
        Self {
            store: None,
            retention: None,
            segment_rows: 50_000,
            segment_age: Span(Duration::from_hours(1)),
        }
    }
}

impl Capture {
    pub(super) fn contradictions(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if !(100..=10_000_000).contains(&self.segment_rows) {
            problems.push(format!(
                "`capture.segment_rows` {} is not between 100 and 10000000",
                self.segment_rows
            ));
        }
        if self.segment_age.0.is_zero() {
            problems.push("`capture.segment_age` is zero; say how long rows may wait, like `1h`".to_owned());
        }
        problems
    }
}

/// The URL of a place.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct StoreUrl(pub String);

impl TryFrom<String> for StoreUrl {
    type Error = String;

    fn try_from(url: String) -> Result<Self, Self::Error> {
        let schemes = ["file://", "s3://", "gs://", "az://"];
        let Some(rest) = schemes.iter().find_map(|scheme| url.strip_prefix(scheme)) else {
            return Err(format!("expected `file:///…`, `s3://…`, `gs://…` or `az://…`, found `{url}`"));
        };
        if url.starts_with("file://") {
            return if rest.starts_with('/') {
                Ok(Self(url))
            } else {
                Err(format!("`{url}`: a folder has three slashes, `file:///…`"))
            };
        }
        // What may be a secret is not said again.
        if rest.contains(['@', '?', '#']) {
            return Err("a place holds no credentials; they come from the environment".to_owned());
        }
        if rest.is_empty() || rest.starts_with('/') {
            return Err(format!("`{url}`: expected a bucket, like `s3://bucket/path`"));
        }
        Ok(Self(url))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    #[test]
    fn a_place_is_a_url_without_secrets() {
        for (url, good) in [
            ("file:///a/b", true),
            ("s3://bucket/a", true),
            ("gs://bucket", true),
            ("az://container/a", true),
            ("file://a", false),
            ("/a", false),
            ("s3://", false),
            ("s3://key:secret@bucket/a", false),
        ] {
            let read = StoreUrl::try_from(url.to_owned());
            assert_eq!(read.is_ok(), good, "{url}");
            assert!(!read.err().unwrap_or_default().contains("secret"), "{url}");
        }
    }

    #[test]
    fn nothing_needs_to_be_said() {
        let settings = Settings::parse("", "s.yaml").unwrap();
        assert_eq!(settings.capture.store, None);
        let said = "capture: {store: \"s3://b/p\", retention: 30d, segment_rows: 1000, segment_age: 10m}";
        let settings = Settings::parse(said, "s.yaml").unwrap();
        assert_eq!(settings.capture.store, Some(StoreUrl("s3://b/p".into())));
        assert_eq!(settings.captured_retention().0, Duration::from_hours(24 * 30));
        for bad in ["capture: {segment_rows: 1}", "capture: {segment_age: 0s}", "capture: {store: here}"] {
            assert!(Settings::parse(bad, "s.yaml").is_err(), "{bad}");
        }
    }
}
