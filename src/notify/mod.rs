//! Delivery of messages: one file per kind of receiver, one answer for all.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use thiserror::Error;
use uuid::Uuid;

use crate::alert::{CANARY_RECEIVER, Message, Occasion, Status, sample};
use crate::config::{self, Limit, Receiver, Settings};
use crate::model::ModelName;

mod alertmanager;
mod email;
mod endpoint;
mod guard;
mod hint;
mod pagerduty;
mod picture;
mod relay;
mod slack;
mod teams;
mod template;
mod webhook;

pub use hint::hint;

use alertmanager::Alertmanager;
use email::Email;
use pagerduty::Pagerduty;
use slack::Slack;
use teams::Teams;
use template::Texts;
use webhook::Webhook;

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

    /// What several failures come to: permanent when all are, after the longest wait that was asked for.
    fn all(failures: Vec<Self>) -> Self {
        let permanent = !failures.is_empty() && failures.iter().all(|failure| failure.permanent);
        let retry_after = failures.iter().filter_map(|failure| failure.retry_after).max();
        let reasons: Vec<String> = failures.into_iter().map(|failure| failure.reason).collect();
        Self { reason: reasons.join("; "), permanent, retry_after }
    }
}

/// What no log, error or debug print shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret<T = String>(T);

impl<T> Secret<T> {
    /// Wraps a secret.
    pub fn new(secret: T) -> Self {
        Self(secret)
    }

    /// The secret itself; to be called where it goes out, and nowhere else.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl Secret {
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

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

/// How a receiver is reached.
#[derive(Debug)]
enum Channel {
    Email(Email),
    Webhook(Webhook),
    Slack(Slack),
    Pagerduty(Pagerduty),
    Teams(Teams),
    Alertmanager(Alertmanager),
}

impl Channel {
    fn build(receiver: &Receiver, settings: &Settings) -> Result<Self, String> {
        match &receiver.channel {
            config::Channel::Email(email) => Email::build(email, &settings.smtp.0).map(Self::Email),
            config::Channel::Webhook(webhook) => Webhook::build(webhook).map(Self::Webhook),
            config::Channel::Slack(slack) => Slack::build(slack).map(Self::Slack),
            config::Channel::Pagerduty(pagerduty) => Pagerduty::build(pagerduty).map(Self::Pagerduty),
            config::Channel::Teams(teams) => Teams::build(teams).map(Self::Teams),
            config::Channel::Alertmanager(alertmanager) => {
                Alertmanager::build(alertmanager).map(Self::Alertmanager)
            }
        }
    }

    fn target(&self) -> String {
        match self {
            Self::Email(email) => email.target(),
            Self::Webhook(webhook) => webhook.target(),
            Self::Slack(slack) => slack.target(),
            Self::Pagerduty(pagerduty) => pagerduty.target(),
            Self::Teams(teams) => teams.target(),
            Self::Alertmanager(alertmanager) => alertmanager.target(),
        }
    }
}

/// One configured receiver.
#[derive(Debug)]
struct Configured {
    kind: &'static str,
    channel: Channel,
    texts: Texts,
    limit: Limit,
}

/// Every configured receiver, by name.
#[derive(Debug, Default)]
pub struct Receivers {
    all: BTreeMap<String, Configured>,
}

impl Receivers {
    /// Sets up the receivers of `settings`; reads secrets, certificates and templates, connects to nothing.
    ///
    /// # Errors
    ///
    /// Every receiver that cannot be set up.
    pub fn build(settings: &Settings) -> Result<Self, Vec<ReceiverError>> {
        let mut all = BTreeMap::new();
        let mut problems = Vec::new();
        for (name, receiver) in &settings.receivers {
            let kind = receiver.channel.kind();
            let limit = receiver.limit;
            let channel = Channel::build(receiver, settings);
            match (channel, Texts::build(receiver)) {
                (Ok(channel), Ok(texts)) => {
                    all.insert(name.clone(), Configured { kind, channel, texts, limit });
                }
                (channel, texts) => {
                    let found = [channel.err(), texts.err()].into_iter().flatten();
                    problems.extend(found.map(|problem| ReceiverError { receiver: name.clone(), problem }));
                }
            }
        }
        if problems.is_empty() { Ok(Self { all }) } else { Err(problems) }
    }

    /// The names, sorted; what rules are bound to.
    pub fn names(&self) -> Vec<String> {
        self.all.keys().cloned().collect()
    }

    /// Kind of receiver `name`, where its messages go, and its limit.
    pub fn describe(&self, name: &str) -> Option<(&'static str, String, Limit)> {
        self.all.get(name).map(|known| (known.kind, known.channel.target(), known.limit))
    }

    /// Most messages that receiver `name` gets in a time.
    pub fn limit(&self, name: &str) -> Option<Limit> {
        self.all.get(name).map(|known| known.limit)
    }

    /// Whether messages to receiver `name` answer the first of their group, so that it has to be known.
    pub fn has_threads(&self, name: &str) -> bool {
        self.all.get(name).is_some_and(|known| matches!(known.channel, Channel::Email(_)))
    }

    /// Receivers that forget alerts of which they hear nothing more.
    pub fn forgetful(&self) -> Vec<&str> {
        let forgets = |known: &Configured| matches!(known.channel, Channel::Alertmanager(_));
        self.all.iter().filter(|(_, known)| forgets(known)).map(|(name, _)| name.as_str()).collect()
    }

    /// Delivers `message` to its receiver; `root` is the first message of its group that went there.
    ///
    /// # Errors
    ///
    /// [`SendFailure`] says whether trying again can help.
    pub async fn send(
        &self,
        message: &Message,
        root: Option<&Message>,
        now: DateTime<Utc>,
    ) -> Result<(), SendFailure> {
        if message.receiver == CANARY_RECEIVER {
            return Ok(());
        }
        let Some(known) = self.all.get(&message.receiver) else {
            // Passing: it may be a newer process that knows this receiver.
            return Err(SendFailure::passing(format!("receiver `{}` is not configured", message.receiver)));
        };
        let texts = &known.texts;
        match &known.channel {
            Channel::Email(email) => email.send(message, root, texts).await,
            Channel::Webhook(webhook) => webhook.send(message, texts, now).await,
            Channel::Slack(slack) => slack.send(message, texts, now).await,
            Channel::Pagerduty(pagerduty) => pagerduty.send(message, texts, now).await,
            Channel::Teams(teams) => teams.send(message, texts, now).await,
            Channel::Alertmanager(alertmanager) => alertmanager.send(message, now).await,
        }
    }
}

/// Messages of all occasions, with data that a text has to escape: what templates are checked against.
fn checked_against() -> Vec<Message> {
    // A name that is always valid; without it there is nothing to check against.
    let Ok(model) = ModelName::parse("example") else { return Vec::new() };
    let mut message = sample("example", &model, Uuid::nil(), DateTime::UNIX_EPOCH + TimeDelta::days(20_000));
    "\"temperature\" <b>&</b> 'humidity'".clone_into(&mut message.summary);
    let occasions = [
        (Occasion::Began, Status::Firing),
        (Occasion::Changed, Status::Firing),
        (Occasion::Repeated, Status::Firing),
        (Occasion::Escalated, Status::Firing),
        (Occasion::Resolved, Status::Resolved),
        (Occasion::Test, Status::Firing),
    ];
    occasions
        .into_iter()
        .map(|(occasion, status)| {
            let mut message = Message { status, occasion, ..message.clone() };
            if occasion != Occasion::Began {
                message.alerts.iter_mut().for_each(|notice| notice.status = status);
            }
            message
        })
        .collect()
}

/// A message about `subject`, for tests.
#[cfg(test)]
fn example(subject: &str) -> Message {
    let model = ModelName::parse("bike-demand").unwrap();
    let now = DateTime::from_timestamp(1_750_000_000, 0).unwrap();
    let mut message = sample("oncall", &model, Uuid::from_u128(7), now);
    message.summary = format!("{subject} drifted");
    message.alerts[0].item.summary = format!("{subject} drifted: PSI 0.34");
    message.alerts[0].item.subject = subject.to_owned();
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked() {
        let secret = Secret::new("hunter2".to_owned());
        assert_eq!(format!("{secret:?} {:?}", Some(&secret)), "Secret(***) Some(Secret(***))");
        assert_eq!(secret.expose(), "hunter2");
    }

    #[test]
    fn every_receiver_that_cannot_be_set_up_is_named() {
        rustls::crypto::ring::default_provider().install_default().ok();
        let text = "
smtp: {host: mail.example.com, from: driftline@example.com, username: u, password_file: /nonexistent}
receivers:
  bad-address: {email: {to: ['not an address']}}
  bad-chat: {slack: {url_file: /nonexistent}}
  bad-key: {pagerduty: {routing_key_file: /nonexistent}}
  bad-secret: {webhook: {url: 'http://localhost', secret_file: /nonexistent}}
  bad-template: {webhook: {url: 'http://example.com'}, templates: {body: /nonexistent}}
  bad-url: {webhook: {url: 'http://'}}
  inside: {webhook: {url: 'http://192.168.0.1/hook'}}
  known: {alertmanager: {urls: ['http://127.0.0.1:9093']}}
";
        let settings = Settings::parse(text, "driftline.yaml").unwrap();
        let problems = Receivers::build(&settings).unwrap_err();
        let names: Vec<_> = problems.iter().map(|problem| problem.receiver.as_str()).collect();
        let expected =
            ["bad-address", "bad-chat", "bad-key", "bad-secret", "bad-template", "bad-url", "inside"];
        assert_eq!(names, expected);
        assert!(problems[6].problem.contains("192.168.0.1 is a private address; `allow_private: true`"));
    }

    #[test]
    fn several_failures_are_permanent_only_together() {
        let (passing, permanent) = (SendFailure::passing("a"), SendFailure::permanent("b"));
        let mixed = SendFailure::all(vec![passing.clone(), permanent.clone()]);
        assert_eq!((mixed.permanent, mixed.reason.as_str()), (false, "a; b"));
        assert!(SendFailure::all(vec![permanent.clone(), permanent]).permanent);
    }
}
