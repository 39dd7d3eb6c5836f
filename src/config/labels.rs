//! Settings of how labels find the predictions of a model.

use std::time::Duration;

use serde::Deserialize;

use super::Span;

/// How labels find the predictions of a model. With this section its rows are kept, even if it is never retrained.
///
/// A label that finds no prediction waits for it until `retention.captured` has passed: it may have come before its
/// prediction was stored, and then is used as soon as that is. Of two labels of a row the one that became known later
/// counts, in whatever order they come.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Labels {
    /// The column that is a business key, such as `customer_id`; absent: labels come with an id. A label with `key` and
    /// `time` belongs to the newest prediction with that key at that time or before; of several at the same time to the
    /// one whose row id is last in the order of bytes. This is decided when the label finds its first prediction.
    pub key: Option<String>,
    /// How long before the time of a label with `key` its prediction can have been.
    pub within: Span,
    /// How long after its prediction an outcome is expected to be known; a later one is counted as `late`, and kept.
    pub max_delay: Span,
}

impl Default for Labels {
    fn default() -> Self {
        Self {
            key: None,
            within: Span(Duration::from_hours(24)),
            max_delay: Span(Duration::from_hours(7 * 24)),
        }
    }
}

impl Labels {
    /// What is wrong with it, each in a sentence.
    pub(super) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.key.as_ref().is_some_and(|key| key.trim().is_empty()) {
            problems.push("`labels.key` is empty; leave it out if labels come with an id".to_owned());
        }
        for (name, span) in [("within", self.within), ("max_delay", self.max_delay)] {
            // Spans are added to times, which end in the year 262142.
            if span.0.is_zero() || span.0 > Duration::from_hours(24 * 3660) {
                problems.push(format!("`labels.{name}` {span} is not between a moment and ten years"));
            }
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Settings;

    #[test]
    fn labels_are_checked() {
        let text = |labels: &str| format!("models: [{{name: m, labels: {labels}}}]");
        let settings = Settings::parse(&text("{key: customer, within: 2h}"), "s.yaml").unwrap();
        let labels = settings.models[0].labels.as_ref().unwrap();
        assert_eq!((labels.key.as_deref(), labels.within.0.as_secs()), (Some("customer"), 7200));
        assert!(Settings::parse(&text("{}"), "s.yaml").unwrap().models[0].labels.is_some());
        for wrong in ["{key: ' '}", "{within: 0s}", "{max_delay: 4000d}", "{keys: a}"] {
            assert!(Settings::parse(&text(wrong), "s.yaml").is_err(), "{wrong}");
        }
    }
}
