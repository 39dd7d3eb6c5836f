//! Settings of where alerts go.

use std::path::PathBuf;

use serde::Deserialize;

/// Where a message goes.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Receiver {
    /// E-mail over the relay in `smtp`.
    Email(EmailReceiver),
    /// A webhook in the Standard Webhooks form.
    Webhook(WebhookReceiver),
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
}

/// The mail relay.
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
