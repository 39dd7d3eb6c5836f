//! A queue of `RabbitMQ`, acknowledged message by message when stored.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::DateTime;
use futures_util::StreamExt;
use lapin::Acker;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions, QueueDeclareOptions};
use lapin::tcp::OwnedTLSConfig;
use lapin::types::{AMQPValue, FieldTable};
use lapin::uri::AMQPUri;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::feed::{Backoff, Feed};
use super::headers::{MAX_HEADERS, from_amqp};
use super::pump::{Delivered, Pump, Receipt, pause};
use crate::config::{BrokerUrl, RabbitSource};
use crate::notify::Secret;

/// How often the broker is asked how many messages wait.
const LAG_EVERY: Duration = Duration::from_secs(5);

/// Limit for a connection to be made.
const CONNECT: Duration = Duration::from_secs(10);

/// Longest id of a message that is used as its key.
const MAX_ID: usize = 512;

/// One queue, ready to be read.
pub(in crate::tap) struct Rabbit {
    settings: RabbitSource,
    url: BrokerUrl,
    authority: Option<String>,
    feed: Arc<Feed>,
}

impl Rabbit {
    /// Reads the secrets; connects to nothing.
    ///
    /// # Errors
    ///
    /// A file that cannot be read, or an address that is none.
    pub(in crate::tap) fn build(settings: RabbitSource, feed: Arc<Feed>) -> Result<Self, String> {
        let url = match (&settings.url, &settings.url_file) {
            (Some(url), _) => url.clone(),
            (None, Some(file)) => BrokerUrl::new(Secret::from_file(file)?.expose()),
            (None, None) => return Err("`rabbitmq` needs `url` or `url_file`".to_owned()),
        };
        // The parser's message may quote the password.
        url.expose()
            .parse::<AMQPUri>()
            .map_err(|_| format!("`{url}` is not amqp://user:password@host:5672/vhost"))?;
        let authority = match &settings.ca_file {
            None => None,
            Some(file) => Some(
                std::fs::read_to_string(file)
                    .map_err(|error| format!("`{}` cannot be read: {error}", file.display()))?,
            ),
        };
        Ok(Self { settings, url, authority, feed })
    }

    /// Reads until `stop`, whatever becomes of the broker.
    pub(in crate::tap) async fn run(self, stop: CancellationToken) {
        let mut pump = Pump::new(Arc::clone(&self.feed), self.settings.prefetch);
        let mut backoff = Backoff::default();
        let mut connections = 0;
        while !stop.is_cancelled() {
            let connected = {
                let attempt = self.connect();
                tokio::pin!(attempt);
                loop {
                    tokio::select! {
                        () = stop.cancelled() => break None,
                        () = pump.step() => {}
                        outcome = &mut attempt => break Some(outcome),
                    }
                }
            };
            let problem = match connected {
                None => break,
                Some(Err(problem)) => problem,
                Some(Ok(link)) => {
                    connections += 1;
                    if connections > 1 {
                        self.feed.reconnected();
                        tracing::info!(source = self.feed.name(), "RabbitMQ is back");
                    }
                    self.feed.connected(true);
                    let outcome = self.read(link, &mut pump, &mut backoff, &stop).await;
                    self.feed.connected(false);
                    match outcome {
                        Ok(()) => break,
                        Err(problem) => problem,
                    }
                }
            };
            tracing::warn!(source = self.feed.name(), url = %self.url, %problem, "the queue is not read, trying again");
            // What is under way goes on meanwhile; its acknowledgements come too late, so it comes again.
            let wait = pause(&stop, backoff.wait());
            tokio::pin!(wait);
            while tokio::select! { _ = &mut wait => false, () = pump.step() => true } {}
        }
        pump.drain().await;
    }

    async fn connect(&self) -> Result<Link, String> {
        let queue = &self.settings.queue;
        let attempt = async {
            let properties = ConnectionProperties::default().with_connection_name("driftline".into());
            let tls = OwnedTLSConfig { identity: None, cert_chain: self.authority.clone() };
            let runtime = lapin::runtime::default_runtime().map_err(|error| error.to_string())?;
            let connection = Connection::connect_with_config(self.url.expose(), properties, tls, runtime)
                .await
                .map_err(|error| format!("no connection: {error}"))?;
            let fail = |error: lapin::Error| format!("the queue `{queue}`: {error}");
            let channel = connection.create_channel().await.map_err(fail)?;
            channel.basic_qos(self.settings.prefetch, BasicQosOptions::default()).await.map_err(fail)?;
            let consumer = channel
                .basic_consume(
                    queue.as_str().into(),
                    "".into(),
                    BasicConsumeOptions::default(),
                    FieldTable::default(),
                )
                .await
                .map_err(fail)?;
            let asking = connection.create_channel().await.map_err(fail)?;
            Ok(Link { connection, asking, consumer })
        };
        tokio::time::timeout(CONNECT, attempt).await.map_err(|_| format!("no answer within {CONNECT:?}"))?
    }

    async fn read(
        &self,
        mut link: Link,
        pump: &mut Pump<RabbitReceipt>,
        backoff: &mut Backoff,
        stop: &CancellationToken,
    ) -> Result<(), String> {
        let watch = self.watch_lag(&link.asking);
        tokio::pin!(watch);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = pump.step() => {}
                problem = &mut watch => return Err(problem),
                next = link.consumer.next(), if pump.has_room() => match next {
                    None => return Err("the queue was deleted, or the consumer cancelled".to_owned()),
                    Some(Err(error)) => return Err(error.to_string()),
                    Some(Ok(delivery)) => {
                        backoff.reset();
                        self.take(delivery, pump).await;
                    }
                },
            }
        }
        // Acknowledgements need the connection; what was sent and not looked at goes back to the queue with its end.
        pump.drain().await;
        if let Err(error) = link.connection.close(200, "driftline is ending".into()).await {
            tracing::debug!(source = self.feed.name(), %error, "the connection was not closed in order");
        }
        Ok(())
    }

    async fn take(&self, delivery: Delivery, pump: &mut Pump<RabbitReceipt>) {
        let Delivery { delivery_tag, redelivered, properties, data, acker, .. } = delivery;
        if redelivered {
            self.feed.redelivered();
        }
        let receipt = RabbitReceipt { acker };
        let headers = headers(&properties);
        let id = properties.message_id().as_ref().map(lapin::types::ShortString::as_str);
        let place = match id {
            Some(id) => format!("{} message {id:.80}", self.settings.queue),
            None => format!("{} delivery {delivery_tag}", self.settings.queue),
        };
        if data.len() > self.settings.message_limit.0 {
            self.feed.refuse("too_large", 1, &place);
            receipt.done().await;
            return;
        }
        let key = key(id, &headers, properties.timestamp().as_ref().copied(), &data);
        if key.is_none() {
            self.feed.skip("no_key", 1);
        }
        let sent = properties
            .timestamp()
            .and_then(|seconds| i64::try_from(seconds).ok())
            .and_then(|seconds| DateTime::from_timestamp(seconds, 0));
        let delivered = Delivered {
            key,
            position: None,
            received_at: self.feed.arrival(sent),
            headers: self.feed.formatted(headers),
            body: Bytes::from(data),
            place,
            receipt,
        };
        pump.offer_or_hold(delivered).await;
    }

    /// Shows how many messages wait in the queue; ends when it can no longer be asked, which is how a lost connection is
    /// seen while there is no room for messages.
    async fn watch_lag(&self, channel: &Channel) -> String {
        loop {
            let asked = channel
                .queue_declare(
                    self.settings.queue.as_str().into(),
                    QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() },
                    FieldTable::default(),
                )
                .await;
            match asked {
                Ok(queue) => self.feed.lag_messages(u64::from(queue.message_count())),
                Err(error) => return error.to_string(),
            }
            tokio::time::sleep(LAG_EVERY).await;
        }
    }
}

/// A connection with its consumer, and a channel for questions.
struct Link {
    connection: Connection,
    asking: Channel,
    consumer: lapin::Consumer,
}

/// What names a message for ever: its id; else that of its event; else its content with the second it was sent in.
///
/// A message that has none of these is counted again when the broker gives it out again. Two messages of the same content
/// in the same second are one where nothing else tells them apart.
fn key(id: Option<&str>, headers: &[(String, String)], sent: Option<u64>, body: &[u8]) -> Option<String> {
    if let Some(id) = id.filter(|id| !id.is_empty() && id.len() <= MAX_ID) {
        return Some(format!("id:{id}"));
    }
    let header =
        |name: &str| headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    // Loggers give request and answer one id, so the type belongs to it.
    if let (Some(id), Some(kind)) = (header("ce-id"), header("ce-type")) {
        let mut hash = Sha256::new();
        for part in [header("ce-source").unwrap_or_default(), kind, id] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        return Some(format!("event:{}", hex(&hash.finalize())));
    }
    let sent = sent?;
    Some(format!("content:{sent}:{}", hex(&Sha256::digest(body))))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().take(16).fold(String::new(), |mut text, byte| {
        // Writing into a `String` cannot fail.
        let _always_ok = write!(text, "{byte:02x}");
        text
    })
}

/// The headers and the properties that stand for some.
fn headers(properties: &BasicProperties) -> Vec<(String, String)> {
    let mut headers = Vec::new();
    for (name, value) in [
        ("content-type", properties.content_type()),
        ("content-encoding", properties.content_encoding()),
        ("x-correlation-id", properties.correlation_id()),
    ] {
        if let Some(value) = value {
            headers.push((name.to_owned(), value.as_str().to_owned()));
        }
    }
    let table = properties.headers().as_ref().map(FieldTable::inner);
    for (name, value) in table.into_iter().flatten() {
        if headers.len() >= MAX_HEADERS {
            break;
        }
        let name = from_amqp(name.as_str());
        if let Some(value) = text(value)
            && !headers.iter().any(|(known, _)| *known == name)
        {
            headers.push((name, value));
        }
    }
    headers
}

/// A scalar as text; tables and lists have none.
fn text(value: &AMQPValue) -> Option<String> {
    Some(match value {
        AMQPValue::LongString(text) => std::str::from_utf8(text.as_bytes()).ok()?.to_owned(),
        AMQPValue::ShortString(text) => text.as_str().to_owned(),
        AMQPValue::ByteArray(bytes) => std::str::from_utf8(bytes.as_slice()).ok()?.to_owned(),
        AMQPValue::Boolean(value) => value.to_string(),
        AMQPValue::ShortShortInt(value) => value.to_string(),
        AMQPValue::ShortShortUInt(value) => value.to_string(),
        AMQPValue::ShortInt(value) => value.to_string(),
        AMQPValue::ShortUInt(value) => value.to_string(),
        AMQPValue::LongInt(value) => value.to_string(),
        AMQPValue::LongUInt(value) => value.to_string(),
        AMQPValue::LongLongInt(value) => value.to_string(),
        AMQPValue::Float(value) => value.to_string(),
        AMQPValue::Double(value) => value.to_string(),
        AMQPValue::Timestamp(seconds) => {
            DateTime::from_timestamp(i64::try_from(*seconds).ok()?, 0)?.to_rfc3339()
        }
        AMQPValue::DecimalValue(_)
        | AMQPValue::FieldArray(_)
        | AMQPValue::FieldTable(_)
        | AMQPValue::Void => {
            return None;
        }
    })
}

/// Acknowledges one message.
struct RabbitReceipt {
    acker: Acker,
}

impl Receipt for RabbitReceipt {
    async fn done(self) {
        if let Err(error) = self.acker.ack(BasicAckOptions::default()).await {
            tracing::debug!(%error, "an acknowledgement was not sent; the message comes again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_have_the_same_headers_under_both_prefixes() {
        for prefix in ["cloudEvents:", "cloudEvents_"] {
            let mut table = FieldTable::default();
            table.insert(format!("{prefix}id").into(), AMQPValue::LongString("7".into()));
            table.insert(format!("{prefix}time").into(), AMQPValue::Timestamp(1_790_000_000));
            table.insert("x-request-id".into(), AMQPValue::LongLongInt(9));
            table.insert("content-type".into(), AMQPValue::LongString("text/plain".into()));
            table.insert("nested".into(), AMQPValue::FieldTable(FieldTable::default()));
            table.insert("bytes".into(), AMQPValue::LongString([0xff_u8].as_slice().into()));
            let properties =
                BasicProperties::default().with_content_type("application/json".into()).with_headers(table);
            let headers = headers(&properties);
            let pairs: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            assert_eq!(
                pairs,
                [
                    ("content-type", "application/json"),
                    ("ce-id", "7"),
                    ("ce-time", "2026-09-21T14:13:20+00:00"),
                    ("x-request-id", "9")
                ]
            );
        }
    }

    #[test]
    fn a_message_is_named_by_the_best_it_has() {
        let event =
            |kind: &str| vec![("ce-id".to_owned(), "7".to_owned()), ("ce-type".to_owned(), kind.to_owned())];
        assert_eq!(key(Some("a"), &event("x"), Some(1), b"{}"), Some("id:a".to_owned()));
        let request = key(None, &event("request"), Some(1), b"{}").unwrap();
        assert!(request.starts_with("event:"));
        assert_ne!(request, key(Some(""), &event("response"), Some(1), b"{}").unwrap());
        let content = key(None, &[], Some(1), b"{}").unwrap();
        assert!(content.starts_with("content:1:"), "{content}");
        assert_ne!(content, key(None, &[], Some(2), b"{}").unwrap());
        assert_ne!(content, key(None, &[], Some(1), b"[]").unwrap());
        assert_eq!(key(None, &[], None, b"{}"), None);
        assert_eq!(key(Some(&"x".repeat(1000)), &[], None, b"{}"), None);
    }

    #[test]
    fn wrong_addresses_do_not_show_their_password() {
        let metrics = crate::metrics::Metrics::new().unwrap();
        let (ingest, _receiver) = crate::tap::ingest::Ingest::new(1);
        let now = || DateTime::UNIX_EPOCH;
        let feed = Arc::new(Feed::new("s", None, None, ingest, metrics.source.clone(), now));
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("url");
        std::fs::write(&file, "amqp://u:p4ss@h:port/x\n").unwrap();
        let settings = RabbitSource {
            url: None,
            url_file: Some(file.clone()),
            queue: "q".to_owned(),
            prefetch: 1,
            ca_file: None,
            message_limit: crate::config::ByteSize(1),
        };
        let problem = Rabbit::build(settings.clone(), Arc::clone(&feed)).err().unwrap();
        assert!(problem.contains("***@h:port") && !problem.contains("p4ss"), "{problem}");
        std::fs::write(&file, "amqp://u:p4ss@h:5672/x\n").unwrap();
        assert!(Rabbit::build(settings, feed).is_ok());
    }
}
