//! Settings of the canary: how often the watch is put on trial.

use std::fmt;
use std::time::Duration;

use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::Span;

/// The trial of the watch: `{every: 1h}`, or `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Canary {
    /// Time between two trials; absent: there are none.
    pub every: Option<Duration>,
}

impl Default for Canary {
    fn default() -> Self {
        Self { every: Some(Duration::from_hours(1)) }
    }
}

impl<'de> Deserialize<'de> for Canary {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CanaryVisitor)
    }
}

struct CanaryVisitor;

impl<'de> Visitor<'de> for CanaryVisitor {
    type Value = Canary;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`off`, or how often the trial runs, such as `{every: 1h}`")
    }

    // YAML 1.1 reads `off` as a truth value, 1.2 as a text.
    fn visit_bool<E: Error>(self, on: bool) -> Result<Canary, E> {
        Ok(if on { Canary::default() } else { Canary { every: None } })
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Canary, E> {
        match text {
            "off" => Ok(Canary { every: None }),
            "on" => Ok(Canary::default()),
            other => Err(E::invalid_value(serde::de::Unexpected::Str(other), &self)),
        }
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Canary, M::Error> {
        let mut canary = Canary::default();
        while let Some(key) = map.next_key::<String>()? {
            if key != "every" {
                return Err(M::Error::unknown_field(&key, &["every"]));
            }
            let Span(every) = map.next_value()?;
            if every < Duration::from_secs(10) {
                return Err(M::Error::custom(format!("`every`: {} is under 10s", Span(every))));
            }
            canary.every = Some(every);
        }
        Ok(canary)
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Settings;

    #[test]
    fn the_trial_is_on_unless_it_is_turned_off() {
        let every = |text: &str| {
            let settings = Settings::parse(text, "driftline.yaml").map_err(|error| error.to_string())?;
            Ok::<_, String>(settings.canary.every.map(|every| every.as_secs()))
        };
        for (text, expected) in [
            ("", Some(3600)),
            ("canary: off", None),
            ("canary: 'off'", None),
            ("canary: false", None),
            ("canary: on", Some(3600)),
            ("canary: {every: 10m}", Some(600)),
            ("canary: {}", Some(3600)),
        ] {
            assert_eq!(every(text), Ok(expected), "{text}");
        }
        for (text, problem) in [
            ("canary: {evry: 1h}", "evry"),
            ("canary: {every: 1s}", "under 10s"),
            ("canary: {every: soon}", "span of time"),
            ("canary: hourly", "`off`, or how often"),
            ("canary: 5", "`off`, or how often"),
        ] {
            let found = every(text).unwrap_err();
            assert!(found.contains(problem), "{text}: {found}");
        }
    }

    #[test]
    fn names_of_our_own_are_refused() {
        let text = "models: [{name: driftline}]\nreceivers: {driftline-canary: {webhook: {url: 'http://a'}}}";
        let found = Settings::parse(text, "driftline.yaml").unwrap_err().to_string();
        assert!(found.contains("model `driftline`: the name is driftline's own"), "{found}");
        assert!(found.contains("receiver `driftline-canary`: the name is driftline's own"), "{found}");
    }
}
