//! One mail relay: its connections, and whether it failed lately.

use std::time::{Duration, Instant};

use lettre::address::Envelope;
use lettre::message::Mailbox;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use parking_lot::Mutex;

use super::email::address;
use super::{SEND_TIMEOUT, Secret, SendFailure};
use crate::config::{Smtp, SmtpTls};

/// Limit for one answer of the relay; a whole conversation has [`CONVERSATION_TIMEOUT`].
const ANSWER_TIMEOUT: Duration = SEND_TIMEOUT;

/// Limit for one delivery over one relay: connecting, TLS, authentication, data. That of the most relays together is
/// under the lease of a message.
pub(super) const CONVERSATION_TIMEOUT: Duration = Duration::from_secs(25);

/// How long a relay that could not be used is asked only after the others.
const PASSED_OVER: Duration = Duration::from_mins(1);

/// A mail relay.
pub(super) struct Relay {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    name: String,
    failed: Mutex<Option<Instant>>,
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Relay").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Relay {
    /// Sets up the relay; connects to nothing.
    ///
    /// # Errors
    ///
    /// What is wrong with the sender, a file or the name.
    pub(super) fn build(smtp: &Smtp) -> Result<Self, String> {
        let from = address(&smtp.from)?;
        let (tls, default_port) = match smtp.tls {
            SmtpTls::None => (Tls::None, 25),
            SmtpTls::Starttls => (Tls::Required(tls_parameters(smtp)?), 587),
            SmtpTls::Implicit => (Tls::Wrapper(tls_parameters(smtp)?), 465),
        };
        let port = smtp.port.unwrap_or(default_port);
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&smtp.host)
            .port(port)
            .tls(tls)
            .timeout(Some(ANSWER_TIMEOUT));
        match (&smtp.username, &smtp.password_file) {
            (Some(username), Some(file)) => {
                let password = Secret::from_file(file)?;
                builder =
                    builder.credentials(Credentials::new(username.clone(), password.expose().to_owned()));
            }
            (None, None) => {}
            _ => return Err("`smtp.username` and `smtp.password_file` belong together".to_owned()),
        }
        let name = format!("{}:{port}", smtp.host);
        Ok(Self { transport: builder.build(), from, name, failed: Mutex::new(None) })
    }

    /// The sender.
    pub(super) fn from(&self) -> &Mailbox {
        &self.from
    }

    /// Host and port.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Whether it could not be used a short while ago.
    pub(super) fn failed_lately(&self) -> bool {
        self.failed.lock().is_some_and(|at| at.elapsed() < PASSED_OVER)
    }

    /// Hands one mail over. A recipient that the relay refuses for good does not keep it from the others.
    ///
    /// # Errors
    ///
    /// [`SendFailure`]; permanent when the relay refuses the mail for all recipients for good (5xx).
    pub(super) async fn send(&self, mail: &lettre::Message) -> Result<(), SendFailure> {
        let content = mail.formatted();
        let refused = match self.hand_over(mail.envelope(), &content).await {
            Err(failure) if failure.permanent && mail.envelope().to().len() > 1 => failure,
            ended => return ended,
        };
        let mut failures = Vec::new();
        for recipient in mail.envelope().to() {
            let one = Envelope::new(mail.envelope().from().cloned(), vec![recipient.clone()])
                .map_err(|error| SendFailure::permanent(format!("`{recipient}`: {error}")))?;
            failures.extend(self.hand_over(&one, &content).await.err());
        }
        if failures.len() == mail.envelope().to().len() {
            return Err(SendFailure::all(failures));
        }
        tracing::warn!(
            relay = self.name,
            reason = refused.reason,
            "some recipients of an e-mail were refused"
        );
        // What may pass is tried again, and comes twice to those who have it: better than not at all to one.
        failures.into_iter().find(|failure| !failure.permanent).map_or(Ok(()), Err)
    }

    async fn hand_over(&self, envelope: &Envelope, content: &[u8]) -> Result<(), SendFailure> {
        let Err(error) = self.transport.send_raw(envelope, content).await else {
            *self.failed.lock() = None;
            return Ok(());
        };
        // Bad credentials and refused senders are mended by people, not by the message: keep trying.
        let code = error.status().map(|code| code.to_string());
        let about_us = code.as_deref().is_some_and(|code| matches!(code, "530" | "534" | "535" | "538"));
        let permanent = error.is_permanent() && !about_us;
        if !permanent {
            *self.failed.lock() = Some(Instant::now());
        }
        Err(SendFailure { reason: self.describe(&error), permanent, retry_after: None })
    }

    /// Notes that a conversation took too long, and gives the failure.
    pub(super) fn gave_no_end(&self) -> SendFailure {
        *self.failed.lock() = Some(Instant::now());
        SendFailure::passing(format!("{}: no end within {CONVERSATION_TIMEOUT:?}", self.name))
    }

    fn describe(&self, error: &lettre::transport::smtp::Error) -> String {
        let mut text = format!("{}: {error}", self.name);
        let mut cause = std::error::Error::source(error);
        while let Some(next) = cause {
            let next_text = next.to_string();
            if !text.contains(&next_text) {
                text = format!("{text}: {next_text}");
            }
            cause = next.source();
        }
        text
    }
}

fn tls_parameters(smtp: &Smtp) -> Result<TlsParameters, String> {
    let mut builder = TlsParameters::builder(smtp.host.clone());
    if let Some(file) = &smtp.ca_file {
        let unreadable = |error: &dyn std::fmt::Display| format!("`{}`: {error}", file.display());
        let pem = std::fs::read(file).map_err(|error| unreadable(&error))?;
        builder =
            builder.add_root_certificate(Certificate::from_pem(&pem).map_err(|error| unreadable(&error))?);
    }
    builder.build().map_err(|error| format!("TLS for `{}`: {error}", smtp.host))
}
