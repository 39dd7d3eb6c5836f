//! Prometheus Alertmanager by API v2: every alert of a group by itself, which then groups, silences and routes them.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value as Json, json};

use super::SendFailure;
use super::endpoint::Endpoint;
use crate::alert::{Message, Notice, Occasion, Status, one_line};
use crate::config::AlertmanagerReceiver;

/// How long an alert lives there when nothing more is heard of it. The task that keeps alerts alive sends them ten
/// times as often, so that a restart or an outage of some minutes ends no alert.
const LIFETIME: TimeDelta = TimeDelta::minutes(10);

/// How long a test lives.
const TEST_LIFETIME: TimeDelta = TimeDelta::minutes(1);

/// Longest value of a label or annotation, in characters.
const MAX_VALUE: usize = 2000;

/// Alertmanagers that belong together.
#[derive(Debug)]
pub(super) struct Alertmanager {
    endpoints: Vec<Endpoint>,
    generator_url: Option<String>,
}

impl Alertmanager {
    /// Sets up the receiver; connects to nothing.
    ///
    /// # Errors
    ///
    /// What is wrong with an address.
    pub(super) fn build(receiver: &AlertmanagerReceiver) -> Result<Self, String> {
        let endpoint = |url: &String| {
            let url = format!("{}/api/v2/alerts", url.trim_end_matches('/'));
            Endpoint::build("urls", &url, receiver.allow_private)
        };
        let endpoints = receiver.urls.iter().map(endpoint).collect::<Result<_, _>>()?;
        Ok(Self { endpoints, generator_url: receiver.generator_url.clone() })
    }

    /// Hosts and ports.
    pub(super) fn target(&self) -> String {
        self.endpoints.iter().map(Endpoint::host).collect::<Vec<_>>().join(", ")
    }

    /// Posts the alerts of one message to all; one that took them is enough, as they tell one another.
    ///
    /// # Errors
    ///
    /// [`SendFailure`] when none took them; passing when one of the failures is.
    pub(super) async fn send(&self, message: &Message, now: DateTime<Utc>) -> Result<(), SendFailure> {
        let body = alerts(message, self.generator_url.as_deref(), now).to_string().into_bytes();
        let sent = self.endpoints.iter().map(|to| to.post("application/json", &[], body.clone(), now));
        let mut failures = Vec::new();
        let mut taken = false;
        for outcome in futures_util::future::join_all(sent).await {
            match outcome {
                Ok(()) => taken = true,
                Err(failure) => failures.push(failure),
            }
        }
        if taken {
            for failure in failures {
                tracing::warn!(
                    reason = failure.reason,
                    "an Alertmanager did not take alerts that others took"
                );
            }
            return Ok(());
        }
        Err(SendFailure::all(failures))
    }
}

/// The request: one element per alert.
fn alerts(message: &Message, generator_url: Option<&str>, now: DateTime<Utc>) -> Json {
    message.alerts.iter().map(|notice| alert(message, notice, generator_url, now)).collect()
}

fn alert(message: &Message, notice: &Notice, generator_url: Option<&str>, now: DateTime<Utc>) -> Json {
    let item = &notice.item;
    let text = |name: &str, text: &str| (label_name(name), Json::from(one_line(text, MAX_VALUE)));
    let mut labels: Map<String, Json> =
        message.group.labels.iter().chain(&notice.labels).map(|(name, value)| text(name, value)).collect();
    labels.remove("rule");
    labels.extend([
        text("alertname", &notice.rule),
        text("model", notice.model.as_str()),
        text("subject", &item.subject),
    ]);
    // An empty label is no label there.
    labels.retain(|_, value| value.as_str().is_some_and(|value| !value.is_empty()));
    let mut annotations: Map<String, Json> =
        notice.annotations.iter().map(|(name, value)| text(name, value)).collect();
    let next: Vec<String> =
        message.next.iter().map(|step| format!("{}: {}", step.purpose, step.command)).collect();
    annotations.insert("summary".to_owned(), Json::from(one_line(&item.summary, MAX_VALUE)));
    for (name, value) in [
        ("moved", item.moved.join("; ")),
        ("window", format!("{} to {}", notice.window_start.to_rfc3339(), notice.window_end.to_rfc3339())),
        ("report", notice.report.map(|report| report.to_string()).unwrap_or_default()),
        ("next", next.join("; ")),
    ] {
        if !value.is_empty() {
            annotations.insert(name.to_owned(), Json::from(one_line(&value, MAX_VALUE)));
        }
    }
    let ends = match (message.occasion, notice.status) {
        (Occasion::Test, _) => now + TEST_LIFETIME,
        (_, Status::Firing) => now + LIFETIME,
        (_, Status::Resolved) => now,
    };
    let mut alert = json!({
        "labels": labels,
        "annotations": annotations,
        // A start after the end is refused there, and event time may run ahead of the clock.
        "startsAt": notice.firing_since.min(now),
        "endsAt": ends,
    });
    if let Some(url) = generator_url {
        alert["generatorURL"] = Json::from(url);
    }
    alert
}

/// `name` with an underscore for what a label's name there may not have.
fn label_name(name: &str) -> String {
    let fits = |(at, c): (usize, char)| {
        if c.is_ascii_alphabetic() || c == '_' || (at > 0 && c.is_ascii_digit()) { c } else { '_' }
    };
    name.chars().take(100).enumerate().map(fits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::example;

    #[test]
    fn labels_identify_an_alert_and_are_the_same_when_it_is_over() {
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let mut message = example("temp");
        message.occasion = Occasion::Changed;
        message.alerts[1].status = Status::Resolved;
        message.alerts[0].labels.insert("on-call team".to_owned(), "ml".to_owned());
        message.alerts[0].labels.insert("empty".to_owned(), String::new());
        let sent = alerts(&message, Some("https://driftline.example.com"), now);
        let labels = json!({
            "alertname": "ReceiverTest", "model": "bike-demand", "severity": "info", "subject": "temp",
            "on_call_team": "ml",
        });
        assert_eq!(sent[0]["labels"], labels);
        assert_eq!(sent[0]["generatorURL"], "https://driftline.example.com");
        assert!(sent[0]["annotations"]["moved"].as_str().unwrap().starts_with("its mean moved up"));
        let time = |value: &Json| value.as_str().unwrap().parse::<DateTime<Utc>>().unwrap();
        assert_eq!(time(&sent[0]["endsAt"]), now + LIFETIME);
        assert_eq!(time(&sent[1]["endsAt"]), now, "what is over ends now");
        message.alerts[0].status = Status::Resolved;
        assert_eq!(alerts(&message, None, now)[0]["labels"], labels);
    }

    #[test]
    fn an_alert_never_starts_after_its_end() {
        let mut message = example("temp");
        let now = message.alerts[0].firing_since - TimeDelta::hours(5);
        message.alerts[0].status = Status::Resolved;
        message.occasion = Occasion::Resolved;
        let sent = alerts(&message, None, now);
        assert_eq!(sent[0]["startsAt"], sent[0]["endsAt"]);
    }

    #[test]
    fn names_of_labels_fit() {
        for (name, expected) in [("team", "team"), ("on-call", "on_call"), ("1st", "_st"), ("é", "_")] {
            assert_eq!(label_name(name), expected);
        }
    }
}
