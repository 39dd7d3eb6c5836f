//! Slack by an incoming webhook: blocks, with everything that comes from data escaped.

use chrono::{DateTime, Utc};
use serde_json::{Value as Json, json};

use super::SendFailure;
use super::endpoint::Endpoint;
use super::template::Texts;
use crate::alert::{Message, Section, percent};
use crate::config::ChatReceiver;

/// Most characters of one block's text; Slack takes 3000.
const MAX_TEXT: usize = 2900;

/// A Slack channel.
#[derive(Debug)]
pub(super) struct Slack {
    endpoint: Endpoint,
}

impl Slack {
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
        let body = body(message, texts.text(message)).to_string().into_bytes();
        self.endpoint.post("application/json", &[], body, now).await
    }
}

/// The request: blocks, and a text for notifications. `template` is mrkdwn that replaces the blocks.
fn body(message: &Message, template: Option<String>) -> Json {
    let outline = message.outline();
    let fallback = escape(&message.subject());
    let (emoji, colour) = match (outline.word, outline.firing) {
        ("Test", _) => (":test_tube:", "#1d4ed8"),
        (_, true) => (":rotating_light:", "#c2410c"),
        (_, false) => (":white_check_mark:", "#15803d"),
    };
    if let Some(text) = template {
        let block = section(&cut(&text));
        return json!({ "text": fallback, "attachments": [{ "color": colour, "blocks": [block] }] });
    }
    let mut head = format!("{emoji} *{}*: {}", outline.word, escape(&outline.headline));
    if let Some(note) = &outline.note {
        head.push('\n');
        head.push_str(&escape(note));
    }
    let mut blocks = vec![section(&cut(&head))];
    let facts: Vec<String> =
        outline.facts.iter().map(|(name, value)| format!("{name}: {}", escape(value))).collect();
    blocks.push(json!({ "type": "context", "elements": [text(&cut(&facts.join("   "))) ] }));
    // Under the 50 blocks that Slack takes, as a message describes few alerts.
    blocks.extend(outline.sections.iter().map(|alert| section(&cut(&lines(alert)))));
    let mut rest: Vec<String> = outline.over.iter().map(|over| escape(over)).collect();
    if outline.more > 0 {
        rest.push(format!("and {} more", outline.more));
    }
    rest.extend(
        outline.next.iter().map(|step| format!("{}: {}", escape(&step.purpose), code(&step.command))),
    );
    if !rest.is_empty() {
        blocks.push(section(&cut(&rest.join("\n"))));
    }
    json!({ "text": fallback, "attachments": [{ "color": colour, "blocks": blocks }] })
}

/// One alert that fires.
fn lines(alert: &Section) -> String {
    let mut lines = vec![format!("*{}*", bold(&alert.title))];
    let facts: Vec<String> =
        alert.facts.iter().map(|(name, value)| format!("{name}: {}", escape(value))).collect();
    if !facts.is_empty() {
        lines.push(facts.join("   "));
    }
    lines.extend(alert.moved.iter().map(|clause| format!("• {}", escape(clause))));
    if !alert.bins.is_empty() {
        let bins: Vec<String> = alert
            .bins
            .iter()
            .map(|bin| {
                let label: String = bin.label.chars().take(24).collect();
                format!("{label:<24}{:>8} → {:>8}", percent(bin.reference), percent(bin.current))
            })
            .collect();
        lines.push(format!("```{}```", escape(&bins.join("\n")).replace('`', "'")));
    }
    lines.extend(alert.texts.iter().map(|(name, value)| format!("{}: {}", escape(name), escape(value))));
    lines.join("\n")
}

fn section(mrkdwn: &str) -> Json {
    json!({ "type": "section", "text": text(mrkdwn) })
}

/// `verbatim` keeps Slack from making links and mentions out of what it finds in the text.
fn text(mrkdwn: &str) -> Json {
    json!({ "type": "mrkdwn", "text": mrkdwn, "verbatim": true })
}

/// The three characters that have a meaning in Slack's text; links and mentions need one of them.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Escaped text that may stand between asterisks.
fn bold(text: &str) -> String {
    escape(text).replace('*', "∗")
}

fn code(text: &str) -> String {
    format!("`{}`", escape(text).replace('`', "'"))
}

/// At most [`MAX_TEXT`] characters, cut where no escape is broken.
fn cut(text: &str) -> String {
    if text.chars().count() <= MAX_TEXT {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(MAX_TEXT - 4).collect();
    if let Some(start) = cut.rfind('&').filter(|start| !cut[*start..].contains(';')) {
        cut.truncate(start);
    }
    // A block of code that was begun has to end.
    if cut.matches("```").count() % 2 == 1 {
        cut.push_str("```");
    }
    cut.push('…');
    cut
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::example;

    #[test]
    fn a_message_is_a_few_blocks() {
        let body = body(&example("temperature"), None);
        let blocks = body["attachments"][0]["blocks"].as_array().unwrap();
        assert_eq!(blocks.len(), 5);
        assert!(body["text"].as_str().unwrap().starts_with("[TEST] ReceiverTest on"), "{body}");
        let text = blocks[2]["text"]["text"].as_str().unwrap();
        for part in ["*temperature drifted", "• its mean moved up", "20.0 % →   34.0 %"] {
            assert!(text.contains(part), "{part}\n{text}");
        }
    }

    #[test]
    fn data_makes_no_mention_and_no_link() {
        let odd = "<!channel> <https://evil.example.com|click> & *bold* ``` <@U123>";
        let body = body(&example(odd), None).to_string();
        assert!(!body.contains('<') && !body.contains('>'), "{body}");
        assert!(body.contains("&lt;!channel&gt;") && body.contains("&amp;"));
        let long = self::body(&example(&"&".repeat(5000)), Some("&amp;".repeat(2000)));
        let text = long["attachments"][0]["blocks"][0]["text"]["text"].as_str().unwrap();
        assert!(text.chars().count() <= 3000 && text.ends_with("&amp;…"), "{text}");
        assert_eq!(cut(&format!("```{}", "x".repeat(4000))).matches("```").count(), 2);
    }
}
