//! E-mail over a relay: STARTTLS or TLS, authentication, text and HTML, one thread per alert.

use std::time::Duration;

use lettre::message::header::{Header, HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};

use super::{SEND_TIMEOUT, Secret, SendFailure};
use crate::alert::Message;
use crate::config::{EmailReceiver, Smtp, SmtpTls};

/// Limit for one answer of the relay; a whole conversation has [`CONVERSATION_TIMEOUT`].
const ANSWER_TIMEOUT: Duration = SEND_TIMEOUT;

/// Limit for one delivery: connecting, TLS, authentication, data.
const CONVERSATION_TIMEOUT: Duration = Duration::from_secs(30);

/// An e-mail receiver.
pub struct Email {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    to: Vec<Mailbox>,
    relay: String,
}

impl std::fmt::Debug for Email {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Email").field("relay", &self.relay).field("to", &self.to).finish_non_exhaustive()
    }
}

impl Email {
    /// Sets up the receiver; connects to nothing.
    ///
    /// # Errors
    ///
    /// What is wrong with an address, a file or the relay's name.
    pub fn build(receiver: &EmailReceiver, smtp: &Smtp) -> Result<Self, String> {
        let address = |text: &String| {
            text.parse::<Mailbox>().map_err(|error| format!("`{text}` is not an address: {error}"))
        };
        let from = address(&smtp.from)?;
        let to = receiver.to.iter().map(address).collect::<Result<Vec<_>, _>>()?;
        if to.is_empty() {
            return Err("it has no address in `to`".to_owned());
        }
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
        Ok(Self { transport: builder.build(), from, to, relay: format!("{}:{port}", smtp.host) })
    }

    /// Sends one message; its Message-ID is the message's id, so that a repeated delivery is recognised.
    ///
    /// # Errors
    ///
    /// [`SendFailure`]; permanent when the relay refuses for good (5xx), passing otherwise.
    pub async fn send(&self, message: &Message) -> Result<(), SendFailure> {
        let mail = self.compose(message).map_err(SendFailure::permanent)?;
        match tokio::time::timeout(CONVERSATION_TIMEOUT, self.transport.send(mail)).await {
            Ok(Ok(_)) => Ok(()),
            // Bad credentials and refused senders are mended by people, not by the message: keep trying.
            Ok(Err(error)) => {
                let code = error.status().map(|code| code.to_string());
                let about_us =
                    code.as_deref().is_some_and(|code| matches!(code, "530" | "534" | "535" | "538"));
                let permanent = error.is_permanent() && !about_us;
                Err(SendFailure { reason: self.describe(&error), permanent, retry_after: None })
            }
            Err(_) => {
                Err(SendFailure::passing(format!("{}: no end within {CONVERSATION_TIMEOUT:?}", self.relay)))
            }
        }
    }

    fn describe(&self, error: &lettre::transport::smtp::Error) -> String {
        let mut text = format!("{}: {error}", self.relay);
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

    fn compose(&self, message: &Message) -> Result<lettre::Message, String> {
        let domain = self.from.email.domain();
        let rendered = message.render();
        let thread = format!("<{}@{domain}>", message.group.key);
        let mut builder = lettre::Message::builder()
            .from(self.from.clone())
            .message_id(Some(format!("<{}@{domain}>", message.id)))
            .in_reply_to(thread.clone())
            .references(thread)
            .subject(rendered.subject)
            .header(AutoSubmitted);
        for to in &self.to {
            builder = builder.to(to.clone());
        }
        builder
            .multipart(MultiPart::alternative_plain_html(rendered.text, rendered.html))
            .map_err(|error| format!("the message cannot be written: {error}"))
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

/// `Auto-Submitted: auto-generated` (RFC 3834): keeps out-of-office answers away.
#[derive(Debug, Clone, Copy)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}
