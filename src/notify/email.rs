//! E-mail over one relay or several: STARTTLS or TLS, authentication, text, HTML and pictures, one thread per group.

use lettre::message::header::{ContentType, Header, HeaderName, HeaderValue};
use lettre::message::{Attachment, Mailbox, MultiPart, SinglePart};

use super::relay::{CONVERSATION_TIMEOUT, Relay};
use super::template::Texts;
use super::{SendFailure, picture};
use crate::alert::{Message, Picture};
use crate::config::{EmailReceiver, Smtp};

/// Most alerts of a message that get a picture.
const MAX_PICTURES: usize = 3;

/// An e-mail receiver.
#[derive(Debug)]
pub(super) struct Email {
    relays: Vec<Relay>,
    to: Vec<Mailbox>,
    /// Domain of every Message-ID, whichever relay takes the message.
    domain: String,
}

impl Email {
    /// Sets up the receiver; connects to nothing.
    ///
    /// # Errors
    ///
    /// What is wrong with an address, a file or a relay's name.
    pub(super) fn build(receiver: &EmailReceiver, smtp: &[Smtp]) -> Result<Self, String> {
        let to = receiver.to.iter().map(|text| address(text)).collect::<Result<Vec<_>, _>>()?;
        let relays = smtp.iter().map(Relay::build).collect::<Result<Vec<_>, _>>()?;
        let first = relays.first().ok_or("it sends e-mail, but `smtp` is not set")?;
        let domain = first.from().email.domain().to_owned();
        if to.is_empty() {
            return Err("it has no address in `to`".to_owned());
        }
        Ok(Self { relays, to, domain })
    }

    /// The relays.
    pub(super) fn target(&self) -> String {
        self.relays.iter().map(Relay::name).collect::<Vec<_>>().join(", ")
    }

    /// Sends one message over the first relay that takes it; those that failed lately are asked last.
    ///
    /// Its Message-ID is the message's id, so that a repeated delivery is recognised. `root` is the first message of
    /// its group that went to this receiver: the one that it answers, and whose subject it bears, because that is
    /// what makes a thread.
    ///
    /// # Errors
    ///
    /// [`SendFailure`]; permanent when every relay refuses for good (5xx), passing otherwise.
    pub(super) async fn send(
        &self,
        message: &Message,
        root: Option<&Message>,
        texts: &Texts,
    ) -> Result<(), SendFailure> {
        let mut failures = Vec::new();
        let (ready, down): (Vec<&Relay>, Vec<_>) =
            self.relays.iter().partition(|relay| !relay.failed_lately());
        for relay in ready.into_iter().chain(down) {
            let mail = self.compose(message, root, texts, relay.from()).map_err(SendFailure::permanent)?;
            match tokio::time::timeout(CONVERSATION_TIMEOUT, relay.send(&mail)).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(failure)) => failures.push(failure),
                Err(_) => failures.push(relay.gave_no_end()),
            }
        }
        Err(SendFailure::all(failures))
    }

    fn compose(
        &self,
        message: &Message,
        root: Option<&Message>,
        texts: &Texts,
        from: &Mailbox,
    ) -> Result<lettre::Message, String> {
        let name = |message: &Message| format!("<{}@{}>", message.id, self.domain);
        let subject = |message: &Message| texts.subject(message).unwrap_or_else(|| mail_subject(message));
        let mut builder = lettre::Message::builder()
            .from(from.clone())
            .message_id(Some(name(message)))
            .header(AutoSubmitted);
        builder = match root.filter(|root| root.id != message.id) {
            Some(root) => builder
                .in_reply_to(name(root))
                .references(name(root))
                .subject(format!("Re: {}", subject(root))),
            None => builder.subject(subject(message)),
        };
        for to in &self.to {
            builder = builder.to(to.clone());
        }
        builder
            .multipart(self.content(message, texts))
            .map_err(|error| format!("the message cannot be written: {error}"))
    }

    /// Text beside HTML; the HTML with the pictures that it shows.
    fn content(&self, message: &Message, texts: &Texts) -> MultiPart {
        let drawn = if texts.html(message).is_some() { Vec::new() } else { self.pictures(message) };
        let shown: Vec<Picture> = drawn.iter().map(|(picture, _)| picture.clone()).collect();
        let rendered = message.render_with(&shown);
        let text = texts.text(message).unwrap_or(rendered.text);
        let html = SinglePart::html(texts.html(message).unwrap_or(rendered.html));
        let content = MultiPart::alternative().singlepart(SinglePart::plain(text));
        if drawn.is_empty() {
            return content.singlepart(html);
        }
        let mut related = MultiPart::related().singlepart(html);
        let Ok(png) = ContentType::parse("image/png") else { return content.multipart(related) };
        for (picture, bytes) in drawn {
            let id = picture.source.trim_start_matches("cid:").to_owned();
            related = related.singlepart(Attachment::new_inline(id).body(bytes, png.clone()));
        }
        content.multipart(related)
    }

    /// Pictures of the first alerts that fire and have bins, and where the document finds them.
    fn pictures(&self, message: &Message) -> Vec<(Picture, Vec<u8>)> {
        let outline = message.outline();
        let drawn = outline.sections.iter().enumerate().filter_map(|(section, alert)| {
            let source = format!("cid:bins-{section}.{}@{}", message.id, self.domain);
            Some((Picture { section, source, width: picture::WIDTH }, picture::png(&alert.bins)?))
        });
        drawn.take(MAX_PICTURES).collect()
    }
}

/// The subject of a thread: what it is about and not how it stands, because mail programs begin a new thread with a
/// new subject. How it stands is the first word of the text.
fn mail_subject(message: &Message) -> String {
    match message.occasion {
        crate::alert::Occasion::Test => message.subject(),
        _ => message.topic(),
    }
}

/// Reads a mail address, with or without a name.
///
/// # Errors
///
/// What is wrong with it.
pub(super) fn address(text: &str) -> Result<Mailbox, String> {
    text.parse::<Mailbox>().map_err(|error| format!("`{text}` is not an address: {error}"))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::{Occasion, Status};
    use crate::notify::example;

    fn email() -> Email {
        rustls::crypto::ring::default_provider().install_default().ok();
        let smtp = Smtp {
            host: "mail.example.com".to_owned(),
            port: None,
            tls: crate::config::SmtpTls::None,
            from: "driftline@example.com".to_owned(),
            username: None,
            password_file: None,
            ca_file: None,
        };
        Email::build(&EmailReceiver { to: vec!["On Call <oncall@example.com>".to_owned()] }, &[smtp]).unwrap()
    }

    fn written(message: &Message, root: Option<&Message>) -> String {
        let email = email();
        let mail = email.compose(message, root, &Texts::default(), email.relays[0].from()).unwrap();
        String::from_utf8(mail.formatted()).unwrap().replace("\r\n ", " ")
    }

    #[tokio::test]
    async fn later_messages_answer_the_first_under_its_subject() {
        let mut root = example("temp");
        root.occasion = Occasion::Began;
        let mut over = root.clone();
        over.id = uuid::Uuid::from_u128(99);
        (over.occasion, over.status, over.summary) =
            (Occasion::Resolved, Status::Resolved, "over".to_owned());
        let (first, last) = (written(&root, Some(&root)), written(&over, Some(&root)));
        let name = format!("<{}@example.com>", root.id);
        assert!(first.contains(&format!("Message-ID: {name}")) && !first.contains("In-Reply-To"));
        assert!(first.contains("\nSubject: ReceiverTest on bike-demand: temp drifted"), "{first}");
        for line in [
            format!("Message-ID: <{}@example.com>", over.id),
            format!("In-Reply-To: {name}"),
            format!("References: {name}"),
            "Subject: Re: ReceiverTest on bike-demand: temp drifted".to_owned(),
        ] {
            assert!(last.contains(&line), "{line}\n{last}");
        }
        assert!(last.contains("RESOLVED: over"), "how it stands is in the text");
    }

    #[tokio::test]
    async fn pictures_stand_beside_the_html_that_shows_them() {
        let message = example("temp");
        let mail = written(&message, None);
        assert_eq!(mail.matches("Content-Type: image/png").count(), 2);
        assert_eq!(mail.matches(&format!("Content-ID: <bins-0.{}@example.com>", message.id)).count(), 1);
        for part in ["multipart/alternative", "multipart/related", "text/plain", "text/html"] {
            assert_eq!(mail.matches(part).count(), 1, "{part}\n{mail}");
        }
        let mut plain = message;
        for notice in &mut plain.alerts {
            notice.item.bins.clear();
        }
        let mail = written(&plain, None);
        assert!(!mail.contains("image/png") && !mail.contains("multipart/related"));
    }

    #[tokio::test]
    async fn a_subject_from_data_is_one_header() {
        let mail = written(&example("x\r\nBcc: all@example.com\r\n\r\nbody"), None);
        let head = mail.split("\r\n\r\n").next().unwrap();
        assert!(!head.lines().any(|line| line.starts_with("Bcc")), "{head}");
    }
}
