//! Settings of where alerts go.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};

use super::units::Span;

/// Most relays that one delivery tries, so that it ends before another process may take the message over.
const MAX_RELAYS: usize = 4;

/// Where a message goes, and how.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "Written")]
pub struct Receiver {
    /// What kind of receiver it is.
    pub channel: Channel,
    /// Most messages in a time; those over it wait.
    pub limit: Limit,
    /// Files with texts that replace the built-in ones.
    pub templates: Templates,
}

/// The kinds of receivers.
#[derive(Debug, Clone)]
pub enum Channel {
    /// E-mail over the relays in `smtp`.
    Email(EmailReceiver),
    /// A webhook in the Standard Webhooks form, or a CloudEvent.
    Webhook(WebhookReceiver),
    /// A Slack channel, by an incoming webhook.
    Slack(ChatReceiver),
    /// A PagerDuty service, by Events API v2.
    Pagerduty(PagerdutyReceiver),
    /// A Microsoft Teams channel, by a workflow's webhook.
    Teams(ChatReceiver),
    /// One or more Prometheus Alertmanagers, by API v2.
    Alertmanager(AlertmanagerReceiver),
}

impl Channel {
    /// The key that names the kind in the settings.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Email(_) => "email",
            Self::Webhook(_) => "webhook",
            Self::Slack(_) => "slack",
            Self::Pagerduty(_) => "pagerduty",
            Self::Teams(_) => "teams",
            Self::Alertmanager(_) => "alertmanager",
        }
    }
}

/// A receiver as it is written: one key for its kind, and what all kinds have.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    email: Option<EmailReceiver>,
    webhook: Option<WebhookReceiver>,
    slack: Option<ChatReceiver>,
    pagerduty: Option<PagerdutyReceiver>,
    teams: Option<ChatReceiver>,
    alertmanager: Option<AlertmanagerReceiver>,
    #[serde(default)]
    limit: Limit,
    #[serde(default)]
    templates: Templates,
}

impl TryFrom<Written> for Receiver {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, Self::Error> {
        let channels: Vec<Channel> = [
            written.email.map(Channel::Email),
            written.webhook.map(Channel::Webhook),
            written.slack.map(Channel::Slack),
            written.pagerduty.map(Channel::Pagerduty),
            written.teams.map(Channel::Teams),
            written.alertmanager.map(Channel::Alertmanager),
        ]
        .into_iter()
        .flatten()
        .collect();
        let kinds: Vec<&str> = channels.iter().map(Channel::kind).collect();
        let found = if kinds.is_empty() { "none".to_owned() } else { format!("`{}`", kinds.join("` and `")) };
        let Ok([channel]) = <[Channel; 1]>::try_from(channels) else {
            return Err(format!(
                "a receiver has one of `email`, `webhook`, `slack`, `pagerduty`, `teams`, `alertmanager`; found {found}"
            ));
        };
        Ok(Self { channel, limit: written.limit, templates: written.templates })
    }
}

impl Receiver {
    /// Every file that it names.
    pub(super) fn paths_mut(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let secret = match &mut self.channel {
            Channel::Email(_) | Channel::Alertmanager(_) => None,
            Channel::Webhook(webhook) => webhook.secret_file.as_mut(),
            Channel::Slack(chat) | Channel::Teams(chat) => Some(&mut chat.url_file),
            Channel::Pagerduty(pagerduty) => Some(&mut pagerduty.routing_key_file),
        };
        let Templates { subject, text, html, body } = &mut self.templates;
        secret.into_iter().chain([subject, text, html, body].into_iter().flatten())
    }

    /// What does not fit together in receiver `name`.
    pub(super) fn contradictions(&self, name: &str, smtp: &Relays) -> Vec<String> {
        let mut problems = Vec::new();
        match &self.channel {
            Channel::Email(email) => {
                if smtp.0.is_empty() {
                    problems.push(format!("receiver `{name}` sends e-mail, but `smtp` is not set"));
                }
                if email.to.is_empty() {
                    problems.push(format!("receiver `{name}` has no address in `to`"));
                }
            }
            Channel::Webhook(webhook) => problems.extend(not_http(name, &webhook.url)),
            Channel::Pagerduty(pagerduty) => problems.extend(not_http(name, &pagerduty.url)),
            Channel::Alertmanager(alertmanager) => {
                if alertmanager.urls.is_empty() {
                    problems.push(format!("receiver `{name}` has no address in `urls`"));
                }
                problems.extend(alertmanager.urls.iter().filter_map(|url| not_http(name, url)));
                problems.extend(alertmanager.generator_url.iter().filter_map(|url| not_http(name, url)));
            }
            Channel::Slack(_) | Channel::Teams(_) => {}
        }
        let used = self.templates_used();
        for (key, file) in self.templates.files() {
            if file.is_some() && !used.contains(&key) {
                let kind = self.channel.kind();
                let instead = match used.split_last() {
                    None => "it has no templates".to_owned(),
                    Some((last, [])) => format!("it has `{last}`"),
                    Some((last, others)) => format!("it has `{}` and `{last}`", others.join("`, `")),
                };
                problems.push(format!("receiver `{name}`: {kind} has no template `{key}`; {instead}"));
            }
        }
        problems
    }

    /// The templates that a receiver of its kind can have.
    fn templates_used(&self) -> &'static [&'static str] {
        match &self.channel {
            Channel::Email(_) => &["subject", "text", "html"],
            Channel::Webhook(_) => &["body"],
            Channel::Slack(_) | Channel::Teams(_) => &["text"],
            Channel::Pagerduty(_) => &["subject"],
            Channel::Alertmanager(_) => &[],
        }
    }
}

fn not_http(name: &str, url: &str) -> Option<String> {
    let http = url.starts_with("http://") || url.starts_with("https://");
    (!http).then(|| format!("receiver `{name}`: `{url}` is not an http(s) URL"))
}

/// Addresses of an e-mail receiver.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmailReceiver {
    /// Recipients.
    pub to: Vec<String>,
}

/// A webhook.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookReceiver {
    /// Where to post.
    pub url: String,
    /// File with the signing secret (`whsec_…` or plain text); absent: not signed.
    #[serde(default)]
    pub secret_file: Option<PathBuf>,
    /// What the body is.
    #[serde(default)]
    pub format: WebhookFormat,
    /// Whether the address may be one of the own network or machine.
    #[serde(default)]
    pub allow_private: bool,
}

/// What the body of a webhook is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WebhookFormat {
    /// `type`, `timestamp` and `data`, as Standard Webhooks has it.
    #[default]
    Standard,
    /// A CloudEvent in structured mode, with the message as its data.
    Cloudevents,
}

/// A chat channel behind a secret address.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChatReceiver {
    /// File with the address, which is a secret.
    pub url_file: PathBuf,
    /// Whether the address may be one of the own network or machine.
    #[serde(default)]
    pub allow_private: bool,
}

/// A PagerDuty service.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PagerdutyReceiver {
    /// File with the integration's routing key.
    pub routing_key_file: PathBuf,
    /// Where the Events API is: another region's, or a stand-in.
    #[serde(default = "pagerduty_url")]
    pub url: String,
    /// Whether the address may be one of the own network or machine.
    #[serde(default)]
    pub allow_private: bool,
}

fn pagerduty_url() -> String {
    "https://events.pagerduty.com".to_owned()
}

/// Prometheus Alertmanagers that belong together.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlertmanagerReceiver {
    /// Where they are; each gets every alert.
    pub urls: Vec<String>,
    /// What `generatorURL` of its alerts is; absent: none.
    #[serde(default)]
    pub generator_url: Option<String>,
    /// Whether the addresses may be of the own network or machine, as they usually are.
    #[serde(default = "yes")]
    pub allow_private: bool,
}

fn yes() -> bool {
    true
}

/// Files with templates of a receiver's texts.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Templates {
    /// The subject of an e-mail, the summary of an incident.
    pub subject: Option<PathBuf>,
    /// The text of an e-mail or of a chat message.
    pub text: Option<PathBuf>,
    /// The HTML of an e-mail.
    pub html: Option<PathBuf>,
    /// The JSON of a webhook.
    pub body: Option<PathBuf>,
}

impl Templates {
    /// Key and file of each.
    pub fn files(&self) -> [(&'static str, Option<&PathBuf>); 4] {
        [
            ("subject", self.subject.as_ref()),
            ("text", self.text.as_ref()),
            ("html", self.html.as_ref()),
            ("body", self.body.as_ref()),
        ]
    }
}

/// Most messages in a time: `30 per 1h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Limit {
    /// Messages, at least 1.
    pub count: u32,
    /// In this time.
    pub period: Duration,
}

impl Default for Limit {
    fn default() -> Self {
        Self { count: 300, period: Duration::from_hours(1) }
    }
}

impl TryFrom<String> for Limit {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let wrong = || format!("`{text}` is not a limit such as `30 per 1h`, of at least 1 in at most 30d");
        let (count, period) = text.split_once(" per ").ok_or_else(wrong)?;
        let count: u32 = count.trim().parse().map_err(|_| wrong())?;
        let period = Span::try_from(period.trim().to_owned()).map_err(|_| wrong())?.0;
        let in_range = count > 0 && !period.is_zero() && period <= Duration::from_hours(30 * 24);
        if in_range { Ok(Self { count, period }) } else { Err(wrong()) }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} per {}", self.count, Span(self.period))
    }
}

/// The mail relays, tried in this order; one may stand without a list.
#[derive(Debug, Clone, Default)]
pub struct Relays(pub Vec<Smtp>);

impl Relays {
    /// What does not fit together.
    pub(super) fn contradictions(&self) -> Vec<String> {
        let too_many = (self.0.len() > MAX_RELAYS)
            .then(|| format!("`smtp` has {} relays, more than {MAX_RELAYS}", self.0.len()));
        let halves = self.0.iter().filter(|relay| relay.username.is_some() != relay.password_file.is_some());
        let halves = halves.map(|relay| {
            format!("`smtp`: `username` and `password_file` of `{}` belong together", relay.host)
        });
        halves.chain(too_many).collect()
    }

    /// Every file that they name.
    pub(super) fn paths_mut(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        self.0.iter_mut().flat_map(|relay| relay.password_file.iter_mut().chain(&mut relay.ca_file))
    }
}

impl<'de> Deserialize<'de> for Relays {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMore;

        impl<'de> Visitor<'de> for OneOrMore {
            type Value = Relays;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mail relay or a list of them")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Relays, A::Error> {
                Ok(Relays(vec![Smtp::deserialize(MapAccessDeserializer::new(map))?]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Relays, A::Error> {
                Ok(Relays(Vec::deserialize(SeqAccessDeserializer::new(list))?))
            }

            fn visit_unit<E>(self) -> Result<Relays, E> {
                Ok(Relays::default())
            }
        }

        deserializer.deserialize_any(OneOrMore)
    }
}

/// A mail relay.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Smtp {
    /// Host name of the relay.
    pub host: String,
    /// Port; absent: 25, 587 or 465 by `tls`.
    #[serde(default)]
    pub port: Option<u16>,
    /// How the connection is protected.
    #[serde(default)]
    pub tls: SmtpTls,
    /// Sender address.
    pub from: String,
    /// User for authentication.
    #[serde(default)]
    pub username: Option<String>,
    /// File with the password.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// File with a PEM certificate authority to trust beside the public ones.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
}

/// Protection of the connection to the relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SmtpTls {
    /// None: for a relay on loopback.
    None,
    /// STARTTLS, required.
    #[default]
    Starttls,
    /// TLS from the first byte.
    Implicit,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    fn settings(text: &str) -> Result<Settings, String> {
        Settings::parse(text, "driftline.yaml").map_err(|error| error.to_string())
    }

    #[test]
    fn every_kind_is_read() {
        let text = "
smtp:
- {host: mail1.example.com, from: d@example.com, username: u, password_file: p}
- {host: mail2.example.com, from: d@example.com, tls: implicit}
receivers:
  mail: {email: {to: [a@example.com]}, limit: 30 per 1h, templates: {subject: s.txt, html: h.html}}
  hook: {webhook: {url: 'https://h.example.com', secret_file: hook, format: cloudevents, allow_private: true}}
  chat: {slack: {url_file: slack.url}}
  page: {pagerduty: {routing_key_file: key}}
  team: {teams: {url_file: teams.url}}
  prom: {alertmanager: {urls: ['http://a:9093', 'http://b:9093/am']}}
";
        let mut settings = settings(text).unwrap();
        let kinds: Vec<_> = settings.receivers.values().map(|receiver| receiver.channel.kind()).collect();
        assert_eq!(kinds, ["slack", "webhook", "email", "pagerduty", "alertmanager", "teams"]);
        assert_eq!(settings.receivers["mail"].limit, Limit { count: 30, period: Duration::from_hours(1) });
        assert_eq!(settings.receivers["chat"].limit.to_string(), "300 per 1h");
        assert_eq!(settings.smtp.0.len(), 2);
        settings.resolve_paths(std::path::Path::new("/etc/driftline"));
        let mut paths: Vec<String> = (settings.receivers.values_mut())
            .flat_map(Receiver::paths_mut)
            .map(|path| path.display().to_string())
            .collect();
        paths.sort();
        let expected = ["h.html", "hook", "key", "s.txt", "slack.url", "teams.url"];
        assert_eq!(paths, expected.map(|name| format!("/etc/driftline/{name}")));
        assert_eq!(settings.smtp.0[0].password_file.as_deref(), Some("/etc/driftline/p".as_ref()));
    }

    #[test]
    fn one_relay_needs_no_list() {
        let settings = settings("smtp: {host: mail.example.com, from: d@example.com}").unwrap();
        assert_eq!(settings.smtp.0[0].host, "mail.example.com");
    }

    #[test]
    fn what_does_not_fit_is_refused_with_its_place() {
        let relay = "{host: h, from: d@e.com}";
        let five = [relay; 5].join(", ");
        for (text, parts) in [
            ("receivers: {a: {slak: {url_file: x}}}", vec!["unknown field", "slak", "line 1"]),
            ("receivers: {a: {limit: 3 per 1h}}", vec!["a receiver has one of `email`", "found none"]),
            (
                "receivers: {a: {slack: {url_file: x}, teams: {url_file: x}}}",
                vec!["found `slack` and `teams`"],
            ),
            ("receivers: {a: {slack: {url_file: x}, limit: 0 per 1h}}", vec!["`0 per 1h` is not a limit"]),
            ("receivers: {a: {slack: {url_file: x}, limit: 3 per 99d}}", vec!["at most 30d"]),
            ("receivers: {a: {slack: {url: 'https://x'}}}", vec!["unknown field", "url_file"]),
            (
                "receivers: {a: {slack: {url_file: x}, templates: {html: x}}}",
                vec!["receiver `a`: slack has no template `html`; it has `text`"],
            ),
            (
                "receivers: {a: {alertmanager: {urls: ['http://x']}, templates: {body: x}}}",
                vec!["it has no templates"],
            ),
            ("receivers: {a: {alertmanager: {urls: []}}}", vec!["receiver `a` has no address in `urls`"]),
            ("receivers: {a: {alertmanager: {urls: [x]}}}", vec!["`x` is not an http(s) URL"]),
            ("receivers: {a: {email: {to: [b@e.com]}}}", vec!["`smtp` is not set"]),
            ("smtp: {host: h, from: d@e.com, username: u}", vec!["`password_file` of `h` belong together"]),
            ("smtp: {host: h}", vec!["missing field", "from"]),
            (format!("smtp: [{five}]").as_str(), vec!["5 relays, more than 4"]),
        ] {
            let problem = settings(text).unwrap_err();
            for part in parts {
                assert!(problem.contains(part), "{text}: {problem}");
            }
        }
    }
}
