//! Webhooks in the form of Standard Webhooks: versioned JSON, signed, never redirected.

use std::error::Error as _;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use hmac::{Hmac, Mac};
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use serde::Serialize;
use sha2::Sha256;

use super::{SEND_TIMEOUT, Secret, SendFailure};
use crate::alert::Message;
use crate::config::WebhookReceiver;

/// Most of an answer's body that is read, for the error message.
const MAX_ANSWER: usize = 1024;

/// A webhook receiver.
pub struct Webhook {
    client: reqwest::Client,
    url: reqwest::Url,
    key: Option<Vec<u8>>,
}

impl std::fmt::Debug for Webhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The path and query of a webhook are often a secret themselves.
        f.debug_struct("Webhook").field("host", &self.url.host_str()).finish_non_exhaustive()
    }
}

/// The body: what Standard Webhooks asks for, with the message as its data.
#[derive(Serialize)]
struct Body<'a> {
    r#type: &'static str,
    timestamp: DateTime<Utc>,
    data: &'a Message,
}

impl Webhook {
    /// Sets up the receiver; connects to nothing.
    ///
    /// # Errors
    ///
    /// What is wrong with the URL or the secret.
    pub fn build(receiver: &WebhookReceiver) -> Result<Self, String> {
        let url = reqwest::Url::parse(&receiver.url).map_err(|error| format!("`url`: {error}"))?;
        let key = receiver.secret_file.as_deref().map(Secret::from_file).transpose()?;
        let key = key.as_ref().map(signing_key).transpose()?;
        let client = reqwest::Client::builder()
            .timeout(SEND_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| format!("the client cannot be set up: {error}"))?;
        Ok(Self { client, url, key })
    }

    /// Posts one message; its id is the message's, so that a repeated delivery is recognised.
    ///
    /// # Errors
    ///
    /// [`SendFailure`]; passing on 408, 429, 5xx and a connection that fails, permanent on any other answer.
    pub async fn send(&self, message: &Message, now: DateTime<Utc>) -> Result<(), SendFailure> {
        let kind = match message.status {
            crate::alert::Status::Firing => "alert.firing",
            crate::alert::Status::Resolved => "alert.resolved",
        };
        let body = Body { r#type: kind, timestamp: now, data: message };
        let body = serde_json::to_vec(&body)
            .map_err(|error| SendFailure::permanent(format!("the message cannot be written: {error}")))?;
        let (id, timestamp) = (message.id.to_string(), now.timestamp());
        let mut request = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, concat!("driftline/", env!("CARGO_PKG_VERSION")))
            .header("webhook-id", &id)
            .header("webhook-timestamp", timestamp);
        if let Some(key) = &self.key {
            let signature = signature(key, &id, timestamp, &body).map_err(SendFailure::permanent)?;
            request = request.header("webhook-signature", signature);
        }
        let answer =
            request.body(body).send().await.map_err(|error| SendFailure::passing(self.describe(error)))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let passing = status.is_server_error() || matches!(status.as_u16(), 408 | 429);
        let wait = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = wait.and_then(|value| retry_after(value, now));
        let reason = format!("{} answered {status}: {}", self.host(), beginning(answer).await);
        Err(SendFailure { reason, permanent: !passing, retry_after })
    }

    fn host(&self) -> &str {
        self.url.host_str().unwrap_or("the webhook")
    }

    /// The error and its causes, without the URL.
    fn describe(&self, error: reqwest::Error) -> String {
        let error = error.without_url();
        let mut text = format!("{}: {error}", self.host());
        let mut cause = error.source();
        while let Some(next) = cause {
            text = format!("{text}: {next}");
            cause = next.source();
        }
        text
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

/// `Retry-After` in seconds or as a date.
fn retry_after(value: &str, now: DateTime<Utc>) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    DateTime::parse_from_rfc2822(value.trim()).ok().map(|at| (at.to_utc() - now).to_std().unwrap_or_default())
}

/// The beginning of an answer, in one line.
async fn beginning(mut answer: reqwest::Response) -> String {
    let mut body = Vec::new();
    while body.len() < MAX_ANSWER {
        match answer.chunk().await {
            Ok(Some(chunk)) => body.extend_from_slice(&chunk[..chunk.len().min(MAX_ANSWER - body.len())]),
            Ok(None) | Err(_) => break,
        }
    }
    let text = String::from_utf8_lossy(&body).split_whitespace().collect::<Vec<_>>().join(" ");
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_published_vector() {
        // From the Standard Webhooks libraries' own tests.
        let key = signing_key(&Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")).unwrap();
        let found =
            signature(&key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#)
                .unwrap();
        assert_eq!(found, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn secrets_are_read() {
        assert_eq!(signing_key(&Secret::new("plain")).unwrap(), b"plain");
        assert!(signing_key(&Secret::new("whsec_%%%")).is_err());
    }

    #[test]
    fn waits_are_read() {
        let now = DateTime::parse_from_rfc2822("Sun, 06 Nov 1994 08:49:07 GMT").unwrap().to_utc();
        for (value, expected) in [
            ("120", Some(120)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(30)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("soon", None),
            ("-5", None),
        ] {
            assert_eq!(retry_after(value, now), expected.map(Duration::from_secs), "{value}");
        }
    }
}
