//! PagerDuty by Events API v2: a group of alerts is one incident, by its key.

use chrono::{DateTime, Utc};
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};

use super::endpoint::Endpoint;
use super::template::Texts;
use super::{Secret, SendFailure};
use crate::alert::{Message, Occasion, Status, one_line};
use crate::config::PagerdutyReceiver;

/// Longest summary that PagerDuty takes, in characters.
const MAX_SUMMARY: usize = 1024;

/// Longest key that PagerDuty takes, in characters.
const MAX_KEY: usize = 255;

/// A PagerDuty service.
#[derive(Debug)]
pub(super) struct Pagerduty {
    endpoint: Endpoint,
    routing_key: Secret,
}

impl Pagerduty {
    /// Sets up the receiver; connects to nothing.
    ///
    /// # Errors
    ///
    /// What is wrong with the address or the key's file.
    pub(super) fn build(receiver: &PagerdutyReceiver) -> Result<Self, String> {
        let routing_key = Secret::from_file(&receiver.routing_key_file)?;
        let url = format!("{}/v2/enqueue", receiver.url.trim_end_matches('/'));
        let endpoint = Endpoint::build("url", &url, receiver.allow_private)?.masking(&routing_key);
        Ok(Self { endpoint, routing_key })
    }

    /// Host and port.
    pub(super) fn target(&self) -> String {
        self.endpoint.host()
    }

    /// Sends the event of one message; a test opens an incident and resolves it.
    ///
    /// # Errors
    ///
    /// [`SendFailure`], as [`Endpoint::post`] has it.
    pub(super) async fn send(
        &self,
        message: &Message,
        texts: &Texts,
        now: DateTime<Utc>,
    ) -> Result<(), SendFailure> {
        let summary = texts.subject(message).unwrap_or_else(|| message.topic());
        self.post(event(message, &summary, action(message)), now).await?;
        if message.occasion == Occasion::Test {
            self.post(event(message, &summary, "resolve"), now).await?;
        }
        Ok(())
    }

    async fn post(&self, mut event: Json, now: DateTime<Utc>) -> Result<(), SendFailure> {
        event["routing_key"] = Json::from(self.routing_key.expose().as_str());
        self.endpoint.post("application/json", &[], event.to_string().into_bytes(), now).await
    }
}

/// What the message means for the incident.
fn action(message: &Message) -> &'static str {
    match message.status {
        Status::Firing => "trigger",
        Status::Resolved => "resolve",
    }
}

/// The event without its routing key. Repeated triggers of one key add to the incident and open none.
fn event(message: &Message, summary: &str, action: &str) -> Json {
    let outline = message.outline();
    let facts: serde_json::Map<String, Json> =
        outline.facts.iter().map(|(name, value)| ((*name).to_owned(), Json::from(value.as_str()))).collect();
    let alerts: Vec<Json> = outline
        .sections
        .iter()
        .map(|alert| {
            let bins: Vec<Json> = (alert.bins.iter())
                .map(|bin| json!({ "bin": bin.label, "baseline": bin.reference, "window": bin.current }))
                .collect();
            json!({ "alert": alert.title, "moved": alert.moved, "bins": bins })
        })
        .collect();
    let next: Vec<String> =
        outline.next.iter().map(|step| format!("{}: {}", step.purpose, step.command)).collect();
    let source = message.model().map_or_else(|| "driftline".to_owned(), ToString::to_string);
    let first = message.alerts.first();
    json!({
        "event_action": action,
        "dedup_key": dedup_key(&message.group.key),
        "client": "driftline",
        "payload": {
            "summary": one_line(summary, MAX_SUMMARY),
            "source": source,
            "severity": severity(message),
            "timestamp": message.group.since,
            "component": first.map(|notice| one_line(&notice.item.subject, MAX_KEY)),
            "class": first.map(|notice| one_line(&notice.rule, MAX_KEY)),
            "custom_details": {
                "facts": facts, "alerts": alerts, "over": outline.over, "more": outline.more, "next": next,
                "message": message.id,
            },
        },
    })
}

/// The group's key, or its hash where it is too long.
fn dedup_key(key: &str) -> String {
    if key.chars().count() <= MAX_KEY {
        return key.to_owned();
    }
    Sha256::digest(key.as_bytes()).iter().fold(String::new(), |hash, byte| format!("{hash}{byte:02x}"))
}

/// One of the four words of PagerDuty; `warning` for a word that it does not have, `info` for a test.
fn severity(message: &Message) -> &'static str {
    match (message.occasion, message.severity()) {
        (Occasion::Test, _) | (_, Some("info")) => "info",
        (_, Some("critical")) => "critical",
        (_, Some("error" | "page")) => "error",
        _ => "warning",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::example;

    #[test]
    fn a_group_is_one_incident_from_trigger_to_resolve() {
        let mut message = example("temp");
        message.occasion = Occasion::Began;
        message.alerts[1].labels.insert("severity".to_owned(), "critical".to_owned());
        let began = event(&message, "s", action(&message));
        (message.occasion, message.status) = (Occasion::Resolved, Status::Resolved);
        let resolved = event(&message, "s", action(&message));
        assert_eq!(
            (&began["event_action"], &resolved["event_action"]),
            (&json!("trigger"), &json!("resolve"))
        );
        assert_eq!(began["dedup_key"], resolved["dedup_key"]);
        assert_eq!(began["payload"]["severity"], "critical", "the gravest of the group");
    }

    #[test]
    fn severities_are_those_that_pagerduty_knows() {
        for (label, expected) in [
            (Some("critical"), "critical"),
            (Some("error"), "error"),
            (Some("page"), "error"),
            (Some("warning"), "warning"),
            (Some("info"), "info"),
            (Some("p1"), "warning"),
            (None, "warning"),
        ] {
            let mut message = example("temp");
            message.occasion = Occasion::Began;
            for notice in &mut message.alerts {
                notice.labels =
                    label.map(|label| ("severity".to_owned(), label.to_owned())).into_iter().collect();
            }
            assert_eq!(severity(&message), expected, "{label:?}");
        }
    }

    #[test]
    fn limits_of_pagerduty_are_kept() {
        let mut message = example(&"x".repeat(5000));
        message.group.key = "k".repeat(300);
        let event = event(&message, &"s".repeat(5000), "trigger");
        assert_eq!(event["dedup_key"].as_str().unwrap().len(), 64);
        assert_eq!(event["payload"]["summary"].as_str().unwrap().chars().count(), MAX_SUMMARY);
        assert!(event.to_string().len() < 100_000);
    }
}
