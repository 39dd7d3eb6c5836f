//! A stream of NATS `JetStream`: a durable pull consumer that all replicas share, acknowledged when stored.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::jetstream::consumer::{PullConsumer, pull};
use async_nats::jetstream::{self, AckKind, Context};
use async_nats::{Client, ConnectOptions, Event};
use chrono::{DateTime, Utc};
use futures_util::{FutureExt, StreamExt};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::feed::{Backoff, Feed};
use super::headers::{MAX_HEADERS, lower};
use super::pump::{Delivered, Offered, Pump, Receipt, pause};
use crate::config::{NatsSource, StartAt};
use crate::notify::Secret;

/// How often the server is asked how many messages wait.
const LAG_EVERY: Duration = Duration::from_secs(5);

/// A server that says nothing for twice this long is taken for dead.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// Messages that a pull asks for at most; they wait here without a sign of life to the server.
const PULL: usize = 64;

/// Longest wait that is asked for when there is no room for a message.
const LONGEST_NAK: Duration = Duration::from_secs(30);

/// How the server learns who we are.
#[derive(Debug)]
enum Login {
    None,
    Token(Secret),
    User(String, Secret),
    Credentials(Secret),
}

/// One stream, ready to be read.
#[derive(Debug)]
pub(in crate::tap) struct Nats {
    settings: NatsSource,
    login: Login,
    feed: Arc<Feed>,
}

impl Nats {
    /// Reads the secrets; connects to nothing.
    ///
    /// # Errors
    ///
    /// A file that cannot be read or is no such secret.
    pub(in crate::tap) fn build(settings: NatsSource, feed: Arc<Feed>) -> Result<Self, String> {
        let login = if let Some(file) = &settings.credentials_file {
            let credentials = Secret::from_file(file)?;
            // The parser's message may quote the seed.
            ConnectOptions::with_credentials(credentials.expose()).map_err(|_| {
                format!("`{}` holds no JWT with its seed, as `nsc` writes them", file.display())
            })?;
            Login::Credentials(credentials)
        } else if let Some(file) = &settings.token_file {
            Login::Token(Secret::from_file(file)?)
        } else if let (Some(user), Some(file)) = (&settings.user, &settings.password_file) {
            Login::User(user.clone(), Secret::from_file(file)?)
        } else {
            Login::None
        };
        if let Some(file) = &settings.ca_file {
            std::fs::metadata(file)
                .map_err(|error| format!("`{}` cannot be read: {error}", file.display()))?;
        }
        Ok(Self { settings, login, feed })
    }

    /// Reads until `stop`, whatever becomes of the server.
    pub(in crate::tap) async fn run(self, stop: CancellationToken) {
        let Some(client) = self.connect(&stop).await else { return };
        let mut pump = Pump::new(Arc::clone(&self.feed), self.settings.in_flight);
        let mut backoff = Backoff::default();
        while !stop.is_cancelled() {
            if let Err(problem) = self.session(&client, &mut pump, &mut backoff, &stop).await {
                self.feed.connected(false);
                tracing::warn!(source = self.feed.name(), %problem, "the stream is not read, trying again");
                // What is under way goes on meanwhile.
                let wait = pause(&stop, backoff.wait());
                tokio::pin!(wait);
                while tokio::select! { _ = &mut wait => false, () = pump.step() => true } {}
            }
        }
        pump.drain().await;
        if let Err(error) = client.flush().await {
            tracing::debug!(source = self.feed.name(), %error, "the last acknowledgements may not have been sent");
        }
    }

    /// Connects; from then on the client comes back by itself. None when it is time to stop.
    async fn connect(&self, stop: &CancellationToken) -> Option<Client> {
        let mut backoff = Backoff::default();
        let connections = Arc::new(AtomicU64::new(0));
        loop {
            let options = self.options(&connections);
            let attempt =
                async { options?.connect(self.settings.url.expose()).await.map_err(|e| e.to_string()) };
            let problem = tokio::select! {
                () = stop.cancelled() => return None,
                outcome = attempt => match outcome {
                    Ok(client) => return Some(client),
                    Err(problem) => problem,
                },
            };
            let url = &self.settings.url;
            tracing::warn!(source = self.feed.name(), %url, %problem, "NATS is not reached, trying again");
            if !pause(stop, backoff.wait()).await {
                return None;
            }
        }
    }

    fn options(&self, connections: &Arc<AtomicU64>) -> Result<ConnectOptions, String> {
        let mut options = match &self.login {
            Login::None => ConnectOptions::new(),
            Login::Token(token) => ConnectOptions::with_token(token.expose().to_owned()),
            Login::User(user, password) => {
                ConnectOptions::with_user_and_password(user.clone(), password.expose().to_owned())
            }
            Login::Credentials(credentials) => ConnectOptions::with_credentials(credentials.expose())
                .map_err(|_| "the credentials cannot be read".to_owned())?,
        };
        if let Some(file) = &self.settings.ca_file {
            options = options.add_root_certificates(file.clone());
        }
        let (feed, connections) = (Arc::clone(&self.feed), Arc::clone(connections));
        Ok(options
            .name("driftline")
            .connection_timeout(Duration::from_secs(5))
            .ping_interval(Duration::from_secs(10))
            .max_reconnects(None)
            .reconnect_delay_callback(|attempts| {
                let exponent = u32::try_from(attempts.min(9)).unwrap_or(9);
                Duration::from_millis(50) * 2_u32.pow(exponent)
            })
            .event_callback(move |event| {
                match event {
                    Event::Connected => {
                        if connections.fetch_add(1, Ordering::Relaxed) > 0 {
                            feed.reconnected();
                            feed.connected(true);
                            tracing::info!(source = feed.name(), "NATS is back");
                        }
                    }
                    Event::Disconnected => {
                        feed.connected(false);
                        tracing::warn!(source = feed.name(), "NATS is lost, reconnecting");
                    }
                    event => tracing::debug!(source = feed.name(), %event, "NATS"),
                }
                async {}
            }))
    }

    /// Reads the consumer until `stop`, or until something is wrong with it.
    async fn session(
        &self,
        client: &Client,
        pump: &mut Pump<NatsReceipt>,
        backoff: &mut Backoff,
        stop: &CancellationToken,
    ) -> Result<(), String> {
        let context = jetstream::new(client.clone());
        let consumer = {
            let open = self.consumer(&context);
            tokio::pin!(open);
            loop {
                tokio::select! {
                    () = stop.cancelled() => return Ok(()),
                    () = pump.step() => {}
                    opened = &mut open => break opened?,
                }
            }
        };
        let batch = PULL.min(usize::from(self.settings.in_flight));
        let mut messages = consumer
            .stream()
            .max_messages_per_batch(batch)
            .heartbeat(HEARTBEAT)
            .expires(HEARTBEAT * 4)
            .messages()
            .await
            .map_err(|error| format!("the consumer `{}` gives nothing: {error}", self.settings.consumer))?;
        self.feed.connected(true);
        let read = self.read(&mut messages, pump, backoff, stop);
        let outcome = tokio::select! {
            outcome = read => outcome,
            () = self.watch_lag(&consumer) => Ok(()),
        };
        if stop.is_cancelled() {
            // What was pulled and not looked at is for another replica, at once.
            while let Some(Some(Ok(message))) = messages.next().now_or_never() {
                if message.ack_with(AckKind::Nak(None)).await.is_err() {
                    break;
                }
            }
        }
        outcome
    }

    async fn read(
        &self,
        messages: &mut pull::Stream,
        pump: &mut Pump<NatsReceipt>,
        backoff: &mut Backoff,
        stop: &CancellationToken,
    ) -> Result<(), String> {
        // Until then nothing more is taken, since there was no room.
        let mut full_until = tokio::time::Instant::now();
        loop {
            let full = tokio::time::Instant::now() < full_until;
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = pump.step() => {}
                () = tokio::time::sleep_until(full_until), if full => {}
                next = messages.next(), if !full && pump.has_room() => match next {
                    None => return Err("the stream of messages ended".to_owned()),
                    Some(Err(error)) => return Err(format!("the stream of messages broke: {error}")),
                    Some(Ok(message)) => {
                        backoff.reset();
                        if let Some(wait) = self.take(message, pump).await {
                            full_until = tokio::time::Instant::now() + wait;
                        }
                    }
                },
            }
        }
    }

    /// Hands a message over; gives how long there is no room, if there is none.
    async fn take(&self, message: jetstream::Message, pump: &mut Pump<NatsReceipt>) -> Option<Duration> {
        // Splitting takes the reply subject out.
        let seen = message.message.reply.as_deref().and_then(seen);
        let (message, acker) = message.split();
        let Some(Seen { sequence, delivered, published }) = seen else {
            // Without its number it can be neither counted once nor acknowledged.
            self.feed.refuse("no_sequence", 1, &self.settings.stream);
            return None;
        };
        if delivered > 1 {
            self.feed.redelivered();
        }
        let place = format!("{}/{sequence}", self.settings.stream);
        let receipt = NatsReceipt { acker, every: self.settings.ack_wait.0 / 3 };
        if message.payload.len() > self.settings.message_limit.0 {
            self.feed.refuse("too_large", 1, &place);
            receipt.done().await;
            return None;
        }
        let offered = pump
            .offer(Delivered {
                // The time tells a stream that was made anew, with numbers from 1, from the one before.
                key: Some(format!("{place}@{}", published.timestamp_millis())),
                position: None,
                received_at: self.feed.arrival(Some(published)),
                headers: self.feed.formatted(headers(message.headers.as_ref())),
                body: message.payload,
                place,
                receipt,
            })
            .await;
        match offered {
            Offered::Taken | Offered::Closed => None,
            Offered::Busy(delivered_again) => {
                let exponent = u32::try_from(delivered.min(6)).unwrap_or(6);
                let wait = (Duration::from_millis(500) * 2_u32.pow(exponent)).min(LONGEST_NAK);
                let Delivered { receipt, .. } = delivered_again;
                receipt.say(AckKind::Nak(Some(wait))).await;
                Some(Duration::from_millis(200))
            }
        }
    }

    async fn watch_lag(&self, consumer: &PullConsumer) {
        loop {
            if let Ok(info) = consumer.get_info().await {
                self.feed.lag_messages(info.num_pending + info.num_ack_pending as u64);
            }
            tokio::time::sleep(LAG_EVERY).await;
        }
    }

    /// The durable consumer, made when there is none.
    async fn consumer(&self, context: &Context) -> Result<PullConsumer, String> {
        let (stream_name, name) = (&self.settings.stream, &self.settings.consumer);
        let stream = context
            .get_stream(stream_name)
            .await
            .map_err(|error| format!("the stream `{stream_name}` cannot be read: {error}"))?;
        let found: Reply = context
            // An empty object: `null` is refused as a request that is not empty.
            .request(format!("CONSUMER.INFO.{stream_name}.{name}"), &serde_json::Map::new())
            .await
            .map_err(|error| format!("the consumer `{name}` cannot be read: {error}"))?;
        let config = match (found.config, found.error) {
            (Some(config), _) => config,
            // 10014: there is no such consumer.
            (None, Some(error)) if error.err_code == 10_014 => self.create(context).await?,
            (None, Some(error)) => {
                return Err(format!("the consumer `{name}` cannot be read: {}", error.description));
            }
            (None, None) => return Err(format!("the consumer `{name}` cannot be read")),
        };
        self.check(&config)?;
        stream
            .get_consumer(name)
            .await
            .map_err(|error| format!("the consumer `{name}` cannot be read: {error}"))
    }

    async fn create(&self, context: &Context) -> Result<ConsumerConfig, String> {
        let NatsSource { stream, consumer, subjects, ack_wait, start, in_flight, .. } = &self.settings;
        let single = subjects.len() == 1;
        let config = ConsumerConfig {
            durable_name: Some(consumer.clone()),
            ack_policy: "explicit".to_owned(),
            deliver_policy: match start {
                StartAt::Oldest => "all".to_owned(),
                StartAt::Newest => "new".to_owned(),
            },
            replay_policy: "instant".to_owned(),
            ack_wait: u64::try_from(ack_wait.0.as_nanos()).unwrap_or(u64::MAX),
            // All replicas together.
            max_ack_pending: i64::from(*in_flight) * 16,
            filter_subject: single.then(|| subjects[0].clone()),
            filter_subjects: if single { Vec::new() } else { subjects.clone() },
            deliver_subject: None,
        };
        let request = CreateConsumer { stream_name: stream, config: &config };
        let made: Reply = context
            .request(format!("CONSUMER.DURABLE.CREATE.{stream}.{consumer}"), &request)
            .await
            .map_err(|error| format!("the consumer `{consumer}` cannot be made: {error}"))?;
        match (made.config, made.error) {
            (Some(config), _) => {
                tracing::info!(source = self.feed.name(), stream, consumer, "the durable consumer was made");
                Ok(config)
            }
            (None, Some(error)) => {
                Err(format!("the consumer `{consumer}` cannot be made: {}", error.description))
            }
            (None, None) => Err(format!("the consumer `{consumer}` cannot be made")),
        }
    }

    /// Whether a consumer does what the settings say; one that does not is somebody else's, and left as it is.
    fn check(&self, config: &ConsumerConfig) -> Result<(), String> {
        let NatsSource { stream, consumer, subjects, .. } = &self.settings;
        let remedy = format!("name another `consumer`, or delete `{consumer}` of `{stream}`");
        if config.ack_policy != "explicit" {
            return Err(format!(
                "the consumer `{consumer}` has the policy `{}` and must have `explicit`; {remedy}",
                config.ack_policy
            ));
        }
        if config.deliver_subject.is_some() {
            return Err(format!("the consumer `{consumer}` is pushed to and must be pulled from; {remedy}"));
        }
        let mut theirs: Vec<&String> = config.filter_subject.iter().chain(&config.filter_subjects).collect();
        theirs.retain(|subject| !subject.is_empty());
        let mut ours: Vec<&String> = subjects.iter().collect();
        theirs.sort();
        ours.sort();
        if theirs != ours {
            let older = if subjects.len() > 1 && theirs.is_empty() {
                " (a server older than 2.10 knows one subject per consumer)"
            } else {
                ""
            };
            return Err(format!(
                "the consumer `{consumer}` reads other subjects than `subjects`{older}; {remedy}"
            ));
        }
        Ok(())
    }
}

/// What is read of the consumer's configuration; the client's own type leaves several subjects out.
#[derive(Debug, Serialize, Deserialize)]
struct ConsumerConfig {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    durable_name: Option<String>,
    ack_policy: String,
    #[serde(default)]
    deliver_policy: String,
    #[serde(default)]
    replay_policy: String,
    #[serde(default)]
    ack_wait: u64,
    #[serde(default)]
    max_ack_pending: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    filter_subject: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    filter_subjects: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    deliver_subject: Option<String>,
}

#[derive(Serialize)]
struct CreateConsumer<'a> {
    stream_name: &'a str,
    config: &'a ConsumerConfig,
}

#[derive(Deserialize)]
struct Reply {
    config: Option<ConsumerConfig>,
    error: Option<ApiError>,
}

#[derive(Deserialize)]
struct ApiError {
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}

/// What the reply subject of a message says.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    sequence: u64,
    delivered: u64,
    published: DateTime<Utc>,
}

/// Reads `$JS.ACK.[domain.account.]stream.consumer.delivered.stream sequence.consumer sequence.time.pending[.…]`.
fn seen(reply: &str) -> Option<Seen> {
    let tokens: Vec<&str> = reply.strip_prefix("$JS.ACK.")?.split('.').collect();
    let at = match tokens.len() {
        7 => 2,
        9.. => 4,
        _ => return None,
    };
    let nanos: i64 = tokens[at + 3].parse().ok()?;
    Some(Seen {
        delivered: tokens[at].parse().ok()?,
        sequence: tokens[at + 1].parse().ok()?,
        published: DateTime::from_timestamp_nanos(nanos),
    })
}

/// The headers with lower-case names. The content type of a `CloudEvent` in binary mode is an attribute here.
fn headers(map: Option<&async_nats::HeaderMap>) -> Vec<(String, String)> {
    let mut headers: Vec<(String, String)> = Vec::new();
    for (name, values) in map.into_iter().flat_map(async_nats::HeaderMap::iter) {
        for value in values.iter().take(MAX_HEADERS.saturating_sub(headers.len())) {
            headers.push((lower(name.as_ref()), value.as_str().to_owned()));
        }
    }
    if !headers.iter().any(|(name, _)| name == "content-type")
        && let Some((_, kind)) = headers.iter().find(|(name, _)| name == "ce-datacontenttype")
    {
        let kind = kind.clone();
        headers.push(("content-type".to_owned(), kind));
    }
    headers.sort();
    headers
}

/// Acknowledges one message.
struct NatsReceipt {
    acker: jetstream::message::Acker,
    every: Duration,
}

impl NatsReceipt {
    async fn say(&self, kind: AckKind) {
        if let Err(error) = self.acker.ack_with(kind).await {
            tracing::debug!(%error, "an acknowledgement was not sent; the message comes again and counts once");
        }
    }
}

impl Receipt for NatsReceipt {
    fn alive_every(&self) -> Option<Duration> {
        Some(self.every)
    }

    async fn alive(&self) {
        self.say(AckKind::Progress).await;
    }

    async fn done(self) {
        self.say(AckKind::Ack).await;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_reply_subject_tells_number_and_time() {
        let expected = Some(Seen {
            sequence: 17,
            delivered: 2,
            published: DateTime::from_timestamp_nanos(1_605_139_610_113_260_000),
        });
        for reply in [
            "$JS.ACK.ORDERS.test.2.17.9.1605139610113260000.3",
            "$JS.ACK.hub.account.ORDERS.test.2.17.9.1605139610113260000.3",
            "$JS.ACK._.account.ORDERS.test.2.17.9.1605139610113260000.3.token",
        ] {
            assert_eq!(seen(reply), expected, "{reply}");
        }
        for other in ["", "_INBOX.x", "$JS.ACK.a.b.c", "$JS.ACK.S.c.x.17.9.1.3"] {
            assert_eq!(seen(other), None, "{other}");
        }
    }

    #[test]
    fn names_are_lower_case_and_the_data_has_a_content_type() {
        let mut map = async_nats::HeaderMap::new();
        map.insert("Ce-Id", "7");
        map.insert("ce-datacontenttype", "application/json");
        let pairs = headers(Some(&map));
        let pairs: Vec<(&str, &str)> = pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert_eq!(
            pairs,
            [
                ("ce-datacontenttype", "application/json"),
                ("ce-id", "7"),
                ("content-type", "application/json")
            ]
        );
        assert_eq!(headers(None), []);
    }

    proptest! {
        #[test]
        fn any_reply_subject_is_read_or_not(reply in ".{0,80}") {
            seen(&format!("$JS.ACK.{reply}"));
        }
    }
}
