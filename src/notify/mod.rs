//! Delivery of messages: one file per kind of receiver, one answer for all.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use thiserror::Error;

use crate::alert::{CANARY_RECEIVER, Message};
use crate::config::{Receiver, Settings};

mod email;
mod webhook;

pub use email::Email;
pub use webhook::Webhook;

/// Limit for one delivery, whatever the receiver does.
pub const SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a receiver cannot be set up.
#[derive(Debug, Error)]
#[error("receiver `{receiver}`: {problem}")]
pub struct ReceiverError {
    /// Its name.
    pub receiver: String,
    /// What is wrong; never holds a secret.
    pub problem: String,
}

/// Why a message was not delivered.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{reason}")]
pub struct SendFailure {
    /// What happened; never holds a secret.
    pub reason: String,
    /// Whether trying again is pointless.
    pub permanent: bool,
    /// How long the receiver asks us to wait.
    pub retry_after: Option<Duration>,
}

impl SendFailure {
    /// A failure that may pass.
    pub fn passing(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), permanent: false, retry_after: None }
    }

    /// A failure that will not.
    pub fn permanent(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), permanent: true, retry_after: None }
    }
}

/// Text that no log, error or debug print shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself; to be called where it goes out, and nowhere else.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Reads a secret from a file, without the line break at its end.
    pub(crate) fn from_file(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("`{}` cannot be read: {error}", path.display()))?;
        let text = text.trim_end_matches(['\r', '\n']);
        if text.is_empty() {
            return Err(format!("`{}` is empty", path.display()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

/// One configured receiver.
#[derive(Debug)]
enum Channel {
    Email(Email),
    Webhook(Webhook),
}

/// Every configured receiver, by name.
#[derive(Debug, Default)]
pub struct Receivers {
    channels: BTreeMap<String, Channel>,
}

impl Receivers {
    /// Sets up the receivers of `settings`; reads secrets and certificates, connects to nothing.
    ///
    /// # Errors
    ///
    /// Every receiver that cannot be set up.
    pub fn build(settings: &Settings) -> Result<Self, Vec<ReceiverError>> {
        let mut channels = BTreeMap::new();
        let mut problems = Vec::new();
        for (name, receiver) in &settings.receivers {
            let built = match (receiver, &settings.smtp) {
                (Receiver::Email(email), Some(smtp)) => Email::build(email, smtp).map(Channel::Email),
                (Receiver::Email(_), None) => Err("it sends e-mail, but `smtp` is not set".to_owned()),
                (Receiver::Webhook(webhook), _) => Webhook::build(webhook).map(Channel::Webhook),
            };
            match built {
                Ok(channel) => drop(channels.insert(name.clone(), channel)),
                Err(problem) => problems.push(ReceiverError { receiver: name.clone(), problem }),
            }
        }
        if problems.is_empty() { Ok(Self { channels }) } else { Err(problems) }
    }

    /// The names, sorted; what rules are bound to.
    pub fn names(&self) -> Vec<String> {
        self.channels.keys().cloned().collect()
    }

    /// Delivers `message` to its receiver.
    ///
    /// # Errors
    ///
    /// [`SendFailure`] says whether trying again can help.
    pub async fn send(
        &self,
        message: &Message,
        now: chrono::DateTime<chrono::Utc>,
    ) -> Result<(), SendFailure> {
        if message.receiver == CANARY_RECEIVER {
            return Ok(());
        }
        match self.channels.get(&message.receiver) {
            Some(Channel::Email(email)) => email.send(message).await,
            Some(Channel::Webhook(webhook)) => webhook.send(message, now).await,
            // Passing: it may be a newer process that knows this receiver.
            None => Err(SendFailure::passing(format!("receiver `{}` is not configured", message.receiver))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret:?} {:?}", Some(&secret)), "Secret(***) Some(Secret(***))");
        assert_eq!(secret.expose(), "hunter2");
    }

    #[test]
    fn every_receiver_that_cannot_be_set_up_is_named() {
        let text = "
smtp: {host: mail.example.com, from: driftline@example.com, username: u, password_file: /nonexistent}
receivers:
  bad-address: {email: {to: ['not an address']}}
  bad-secret: {webhook: {url: 'http://localhost', secret_file: /nonexistent}}
  bad-url: {webhook: {url: 'http://'}}
";
        let settings = Settings::parse(text, "driftline.yaml").unwrap();
        let problems = Receivers::build(&settings).unwrap_err();
        let names: Vec<_> = problems.iter().map(|problem| problem.receiver.as_str()).collect();
        assert_eq!(names, ["bad-address", "bad-secret", "bad-url"]);
    }
}
