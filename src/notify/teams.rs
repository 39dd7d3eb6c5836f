//! Microsoft Teams by a workflow's webhook: an Adaptive Card, in runs of text that know no markup.

use chrono::{DateTime, Utc};
use serde_json::{Value as Json, json};

use super::SendFailure;
use super::endpoint::Endpoint;
use super::template::Texts;
use crate::alert::{Message, Outline, Section, percent};
use crate::config::ChatReceiver;

/// Most bytes of a request; Teams takes 28 KB.
const MAX_BYTES: usize = 26_000;

/// A Teams channel.
#[derive(Debug)]
pub(super) struct Teams {
    endpoint: Endpoint,
}

impl Teams {
    /// Sets up the receiver; connects to nothing.
    ///
    /// # Errors
    ///
    /// What is wrong with the file or the address in it.
    pub(super) fn build(receiver: &ChatReceiver) -> Result<Self, String> {
        Ok(Self { endpoint: Endpoint::from_file(&receiver.url_file, receiver.allow_private)? })
    }

    /// Host and port.
    pub(super) fn target(&self) -> String {
        self.endpoint.host()
    }

    /// Posts one message.
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
        let body = body(message, texts.text(message)).into_bytes();
        self.endpoint.post("application/json", &[], body, now).await
    }
}

/// The request; alerts at the end are left out, and counted, until it is short enough.
fn body(message: &Message, template: Option<String>) -> String {
    let mut outline = message.outline();
    if let Some(text) = template {
        // A letter may take six bytes in JSON.
        let text: String = text.chars().take(MAX_BYTES / 6).collect();
        let lines: Vec<Json> = text.lines().map(plain).collect();
        return request(&lines, &message.subject());
    }
    loop {
        let request = request(&card(&outline), &message.subject());
        if request.len() <= MAX_BYTES || outline.sections.pop().is_none() {
            return request;
        }
        outline.more += 1;
    }
}

fn request(body: &[Json], fallback: &str) -> String {
    let card = json!({
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "fallbackText": fallback,
        "msteams": { "width": "Full" },
        "body": body,
    });
    let attachment = json!({ "contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": null, "content": card });
    json!({ "type": "message", "attachments": [attachment] }).to_string()
}

fn card(outline: &Outline) -> Vec<Json> {
    let colour = match (outline.word, outline.firing) {
        ("Test", _) => "Accent",
        (_, true) => "Attention",
        (_, false) => "Good",
    };
    let head = [
        json!({ "type": "TextRun", "text": format!("{}: ", outline.word), "weight": "Bolder", "color": colour }),
        json!({ "type": "TextRun", "text": outline.headline, "weight": "Bolder" }),
    ];
    let mut body = vec![json!({ "type": "RichTextBlock", "inlines": head })];
    body.extend(outline.note.as_deref().map(plain));
    body.extend(outline.facts.iter().map(|(name, value)| fact(name, value)));
    body.extend(outline.sections.iter().map(alert));
    body.extend(outline.over.iter().map(|over| plain(over)));
    if outline.more > 0 {
        body.push(plain(&format!("and {} more", outline.more)));
    }
    body.extend(outline.next.iter().map(|step| {
        let command = json!({ "type": "TextRun", "text": step.command, "fontType": "Monospace" });
        let runs = [json!({ "type": "TextRun", "text": format!("{}: ", step.purpose) }), command];
        json!({ "type": "RichTextBlock", "inlines": runs })
    }));
    body
}

fn alert(alert: &Section) -> Json {
    let title = json!({ "type": "TextRun", "text": alert.title, "weight": "Bolder" });
    let mut items = vec![json!({ "type": "RichTextBlock", "inlines": [title] })];
    items.extend(alert.facts.iter().map(|(name, value)| fact(name, value)));
    items.extend(alert.moved.iter().map(|clause| plain(&format!("• {clause}"))));
    items.extend(alert.bins.iter().map(|bin| {
        let label: String = bin.label.chars().take(24).collect();
        let text = format!("{label:<24} {:>7} → {:>7}", percent(bin.reference), percent(bin.current));
        let run = json!({ "type": "TextRun", "text": text, "fontType": "Monospace", "size": "Small" });
        json!({ "type": "RichTextBlock", "inlines": [run], "spacing": "None" })
    }));
    items.extend(alert.texts.iter().map(|(name, value)| plain(&format!("{name}: {value}"))));
    json!({ "type": "Container", "separator": true, "items": items })
}

fn fact(name: &str, value: &str) -> Json {
    let runs = [
        json!({ "type": "TextRun", "text": format!("{name}: "), "isSubtle": true }),
        json!({ "type": "TextRun", "text": value }),
    ];
    json!({ "type": "RichTextBlock", "inlines": runs, "spacing": "None" })
}

/// A line of text. Text runs have no markup, so that there is nothing to escape; a `TextBlock` would read Markdown.
fn plain(text: &str) -> Json {
    json!({ "type": "RichTextBlock", "inlines": [{ "type": "TextRun", "text": text }], "spacing": "Small" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::example;

    #[test]
    fn data_stands_in_runs_that_know_no_markup() {
        let message = example("[click](https://evil.example.com) **bold**");
        let request: Json = serde_json::from_str(&body(&message, None)).unwrap();
        let card = &request["attachments"][0]["content"];
        assert_eq!((request["type"].as_str(), card["version"].as_str()), (Some("message"), Some("1.4")));
        let text = card.to_string();
        assert!(text.contains("[click](https://evil.example.com) **bold** drifted"), "{text}");
        for reads_markdown in ["\"TextBlock\"", "\"FactSet\""] {
            assert!(!text.contains(reads_markdown), "{text}");
        }
    }

    #[test]
    fn a_request_is_short_enough_for_teams() {
        let mut message = example(&"\u{1}x".repeat(3000));
        let first = message.alerts[0].clone();
        message.alerts = vec![first; 10];
        for alert in &mut message.alerts {
            alert.item.moved = vec!["\u{fffd}\"".repeat(1000); 12];
        }
        let request = body(&message, None);
        assert!(request.len() <= MAX_BYTES, "{}", request.len());
        assert!(request.contains("more\""), "what is left out is counted");
        assert!(body(&message, Some("\u{1}".repeat(100_000))).len() < 28_000);
    }
}
