//! Webhooks in the form of Standard Webhooks: versioned JSON or a CloudEvent, signed, never redirected.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use hmac::{Hmac, Mac};
use serde::Serialize;
use sha2::Sha256;

use super::endpoint::Endpoint;
use super::template::Texts;
use super::{Secret, SendFailure};
use crate::alert::{Message, Occasion, Status};
use crate::config::{WebhookFormat, WebhookReceiver};

/// A webhook receiver.
#[derive(Debug)]
pub(super) struct Webhook {
    endpoint: Endpoint,
    key: Option<Secret<Vec<u8>>>,
    format: WebhookFormat,
}

/// The body: what Standard Webhooks asks for, with the message as its data.
#[derive(Serialize)]
struct Body<'a> {
    r#type: &'static str,
    timestamp: DateTime<Utc>,
    data: &'a Message,
}

/// A CloudEvent of version 1.0 in structured mode.
#[derive(Serialize)]
struct Event<'a> {
    specversion: &'static str,
    id: String,
    source: &'static str,
    r#type: String,
    subject: &'a str,
    time: DateTime<Utc>,
    datacontenttype: &'static str,
    data: &'a Message,
}

impl Webhook {
    /// Sets up the receiver; connects to nothing.
    ///
    /// # Errors
    ///
    /// What is wrong with the URL or the secret.
    pub(super) fn build(receiver: &WebhookReceiver) -> Result<Self, String> {
        let key = receiver.secret_file.as_deref().map(Secret::from_file).transpose()?;
        let key = key.as_ref().map(signing_key).transpose()?.map(Secret::new);
        let endpoint = Endpoint::build("url", &receiver.url, receiver.allow_private)?;
        Ok(Self { endpoint, key, format: receiver.format })
    }

    /// Host and port.
    pub(super) fn target(&self) -> String {
        self.endpoint.host()
    }

    /// Posts one message; its id is the message's, so that a repeated delivery is recognised.
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
        let (content_type, body) = self.body(message, texts, now)?;
        let (id, timestamp) = (message.id.to_string(), now.timestamp());
        let mut headers = vec![("webhook-id", id.clone()), ("webhook-timestamp", timestamp.to_string())];
        if let Some(key) = &self.key {
            let signature = signature(key.expose(), &id, timestamp, &body).map_err(SendFailure::permanent)?;
            headers.push(("webhook-signature", signature));
        }
        self.endpoint.post(content_type, &headers, body, now).await
    }

    fn body(
        &self,
        message: &Message,
        texts: &Texts,
        now: DateTime<Utc>,
    ) -> Result<(&'static str, Vec<u8>), SendFailure> {
        let kind = kind(message);
        let written = match (texts.body(message), self.format) {
            (Some(body), _) => return Ok(("application/json", body.into_bytes())),
            (None, WebhookFormat::Standard) => {
                let body = Body { r#type: kind, timestamp: now, data: message };
                serde_json::to_vec(&body).map(|body| ("application/json", body))
            }
            (None, WebhookFormat::Cloudevents) => {
                let event = Event {
                    specversion: "1.0",
                    id: message.id.to_string(),
                    source: "/driftline",
                    r#type: format!("driftline.{kind}"),
                    subject: &message.group.key,
                    time: now,
                    datacontenttype: "application/json",
                    data: message,
                };
                serde_json::to_vec(&event).map(|body| ("application/cloudevents+json; charset=utf-8", body))
            }
        };
        written.map_err(|error| SendFailure::permanent(format!("the message cannot be written: {error}")))
    }
}

/// What happened, in one word for programs.
fn kind(message: &Message) -> &'static str {
    match (message.occasion, message.status) {
        (Occasion::Test, _) => "alert.test",
        (_, Status::Firing) => "alert.firing",
        (_, Status::Resolved) => "alert.resolved",
    }
}

/// The key of a secret: what follows `whsec_` in base64, else the text's own bytes.
fn signing_key(secret: &Secret) -> Result<Vec<u8>, String> {
    match secret.expose().strip_prefix("whsec_") {
        Some(encoded) => {
            STANDARD.decode(encoded).map_err(|_| "the secret after `whsec_` is not base64".to_owned())
        }
        None => Ok(secret.expose().as_bytes().to_vec()),
    }
}

/// `v1,` and the HMAC-SHA-256 of `id.timestamp.body` in base64.
fn signature(key: &[u8], id: &str, timestamp: i64, body: &[u8]) -> Result<String, String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).map_err(|error| error.to_string())?;
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(body);
    Ok(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_published_vector() {
        // From the Standard Webhooks libraries' own tests.
        let key = signing_key(&Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned())).unwrap();
        let found =
            signature(&key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#)
                .unwrap();
        assert_eq!(found, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn secrets_are_read() {
        assert_eq!(signing_key(&Secret::new("plain".to_owned())).unwrap(), b"plain");
        assert!(signing_key(&Secret::new("whsec_%%%".to_owned())).is_err());
    }
}
