//! Topics of Kafka, read by a consumer group; an offset is committed when everything before it is stored.

mod progress;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::DateTime;
use parking_lot::Mutex;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance, StreamConsumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientConfig, ClientContext, Statistics};
use tokio_util::sync::CancellationToken;

use self::progress::{Generation, Partition, Progress};
use super::feed::{Backoff, Feed};
use super::headers::{MAX_HEADERS, from_kafka};
use super::pump::{Delivered, Pump, Receipt, pause};
use crate::config::{KafkaSource, StartAt};
use crate::notify::Secret;
use crate::tap::ingest::{FORMAT, Position};

/// Kilobytes of messages that the client fetches ahead.
const FETCHED_AHEAD: &str = "16384";

/// Topics of one group, ready to be read.
pub(in crate::tap) struct Kafka {
    settings: KafkaSource,
    config: ClientConfig,
    feed: Arc<Feed>,
}

impl Kafka {
    /// Reads the secret and checks the options; connects to nothing.
    ///
    /// # Errors
    ///
    /// A file that cannot be read, or an option that librdkafka does not know.
    pub(in crate::tap) fn build(settings: KafkaSource, feed: Arc<Feed>) -> Result<Self, String> {
        let mut config = ClientConfig::new();
        for (option, value) in [
            ("client.id", "driftline"),
            ("statistics.interval.ms", "5000"),
            ("auto.commit.interval.ms", "1000"),
            ("queued.max.messages.kbytes", FETCHED_AHEAD),
        ] {
            config.set(option, value);
        }
        for (option, value) in &settings.options {
            config.set(option, value);
        }
        config
            .set("bootstrap.servers", settings.brokers.join(","))
            .set("group.id", &settings.group)
            .set("enable.auto.commit", "true")
            .set("enable.auto.offset.store", "false")
            .set("enable.partition.eof", "false")
            .set(
                "auto.offset.reset",
                match settings.start {
                    StartAt::Oldest => "earliest",
                    StartAt::Newest => "latest",
                },
            );
        if let (Some(user), Some(file)) = (&settings.user, &settings.password_file) {
            config.set("sasl.username", user).set("sasl.password", Secret::from_file(file)?.expose());
        }
        config.create_native_config().map_err(|error| match error {
            // The value may be a secret, so only its option is named.
            KafkaError::ClientConfig(_, problem, option, _) => {
                format!("`kafka.options`: `{option}`: {problem}; see the list of options of librdkafka")
            }
            _ => "`kafka`: librdkafka refuses the options".to_owned(),
        })?;
        Ok(Self { settings, config, feed })
    }

    /// Reads until `stop`, whatever becomes of the brokers.
    pub(in crate::tap) async fn run(self, stop: CancellationToken) {
        let mut backoff = Backoff::default();
        while !stop.is_cancelled() {
            match self.session(&stop).await {
                Ok(()) => return,
                Err(problem) => {
                    tracing::warn!(source = self.feed.name(), %problem, "the topics are not read, trying again");
                    if !pause(&stop, backoff.wait()).await {
                        return;
                    }
                }
            }
        }
    }

    async fn session(&self, stop: &CancellationToken) -> Result<(), String> {
        let progress = Arc::new(Mutex::new(Progress::default()));
        let context = Context {
            feed: Arc::clone(&self.feed),
            progress: Arc::clone(&progress),
            down: Mutex::new(false),
        };
        let consumer: StreamConsumer<Context> =
            self.config.create_with_context(context).map_err(|error| error.to_string())?;
        let topics: Vec<&str> = self.settings.topics.iter().map(String::as_str).collect();
        consumer.subscribe(&topics).map_err(|error| error.to_string())?;
        let consumer = Arc::new(consumer);
        let mut pump = Pump::new(Arc::clone(&self.feed), self.settings.in_flight);
        let outcome = self.read(&consumer, &progress, &mut pump, stop).await;
        pump.drain().await;
        drop(pump);
        self.feed.connected(false);
        // Both ask the brokers and block.
        let closed = tokio::task::spawn_blocking(move || {
            let committed = consumer.commit_consumer_state(CommitMode::Sync);
            drop(consumer);
            committed
        });
        match closed.await {
            Ok(Ok(()) | Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset))) => {}
            Ok(Err(error)) => {
                tracing::debug!(source = self.feed.name(), %error, "the last offsets were not committed");
            }
            Err(error) => {
                tracing::warn!(source = self.feed.name(), %error, "the consumer did not end in order")
            }
        }
        outcome
    }

    async fn read(
        &self,
        consumer: &Arc<StreamConsumer<Context>>,
        progress: &Arc<Mutex<Progress>>,
        pump: &mut Pump<KafkaReceipt>,
        stop: &CancellationToken,
    ) -> Result<(), String> {
        // What came although the partitions were paused.
        let mut ahead: VecDeque<Delivered<KafkaReceipt>> = VecDeque::new();
        let mut paused = false;
        loop {
            while pump.has_room()
                && let Some(delivered) = ahead.pop_front()
            {
                pump.offer_or_hold(delivered).await;
            }
            // The client has to be asked all the time, else the group takes this process for dead; a pause is what keeps
            // messages away meanwhile.
            let room = pump.has_room() && ahead.is_empty();
            if room == paused || (!room && ahead.len() > 1) {
                let assignment = consumer.assignment().map_err(|error| error.to_string())?;
                let told = if room { consumer.resume(&assignment) } else { consumer.pause(&assignment) };
                if let Err(error) = told {
                    tracing::debug!(source = self.feed.name(), %error, "partitions were not paused or resumed");
                }
                paused = !room;
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = pump.step() => {}
                received = consumer.recv() => match received {
                    Ok(message) => {
                        if let Some(delivered) = self.take(&message, consumer, progress) {
                            ahead.push_back(delivered);
                        }
                    }
                    Err(error @ KafkaError::MessageConsumption(RDKafkaErrorCode::UnknownTopicOrPartition)) => {
                        tracing::warn!(source = self.feed.name(), %error, "a topic does not exist yet");
                    }
                    Err(error) => tracing::warn!(source = self.feed.name(), %error, "Kafka"),
                },
            }
        }
    }

    fn take(
        &self,
        message: &BorrowedMessage<'_>,
        consumer: &Arc<StreamConsumer<Context>>,
        progress: &Arc<Mutex<Progress>>,
    ) -> Option<Delivered<KafkaReceipt>> {
        let partition: Partition = (message.topic().to_owned(), message.partition());
        let offset = message.offset();
        let generation = progress.lock().begin(&partition, offset);
        let place = format!("{}/{}/{offset}", partition.0, partition.1);
        let receipt = KafkaReceipt {
            consumer: Arc::clone(consumer),
            progress: Arc::clone(progress),
            partition,
            generation,
            offset,
        };
        let Some(payload) = message.payload() else {
            self.feed.skip("tombstone", 1);
            receipt.commit();
            return None;
        };
        if payload.len() > self.settings.message_limit.0 {
            self.feed.refuse("too_large", 1, &place);
            receipt.commit();
            return None;
        }
        let millis = message.timestamp().to_millis();
        Some(Delivered {
            // The time tells a topic that was made anew, with offsets from 0, from the one before.
            key: Some(format!("{place}@{}", millis.unwrap_or(-1))),
            position: Some(Position {
                of: format!("{}/{}", receipt.partition.0, receipt.partition.1),
                at: (offset + 1).to_string(),
            }),
            received_at: self.feed.arrival(millis.and_then(DateTime::from_timestamp_millis)),
            headers: headers(message, self.feed.format()),
            body: Bytes::copy_from_slice(payload),
            place,
            receipt,
        })
    }
}

/// The headers; the key as `key`, by which Seldon and `MLServer` join requests and answers; and what the topic tells.
fn headers(message: &BorrowedMessage<'_>, format: Option<&str>) -> Vec<(String, String)> {
    let mut headers: Vec<(String, String)> = Vec::new();
    for header in message.headers().iter().flat_map(|headers| headers.iter()).take(MAX_HEADERS) {
        if let Some(value) = header.value.and_then(|value| std::str::from_utf8(value).ok()) {
            headers.push((from_kafka(header.key), value.to_owned()));
        }
    }
    let has = |headers: &[(String, String)], name: &str| headers.iter().any(|(known, _)| known == name);
    // Seldon's logger writes its attributes without any prefix.
    if ["type", "modelid", "requestid"].iter().all(|name| has(&headers, name)) {
        for (name, _) in &mut headers {
            if name != "content-type" && !name.starts_with("ce-") {
                *name = format!("ce-{name}");
            }
        }
    }
    if let Some(key) =
        message.key().and_then(|key| std::str::from_utf8(key).ok()).filter(|key| !key.is_empty())
    {
        headers.push(("key".to_owned(), key.to_owned()));
    }
    let told = told_by(message.topic(), has(&headers, "mlserver-model"));
    if let Some(format) = format.or(told.format) {
        headers.retain(|(name, _)| name != FORMAT);
        headers.push((FORMAT.to_owned(), format.to_owned()));
    }
    if let Some(model) = told.model.filter(|_| !has(&headers, "ce-modelid")) {
        headers.push(("ce-modelid".to_owned(), model.to_owned()));
    }
    headers
}

/// What the name of a topic tells of its messages.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told<'t> {
    format: Option<&'static str>,
    model: Option<&'t str>,
}

/// Seldon Core 2 has `PREFIX.NAMESPACE.model.NAME.inputs` and `.outputs`; `MLServer` `mlserver-input` and `-output`.
fn told_by(topic: &str, of_mlserver: bool) -> Told<'_> {
    let side = |inputs: bool| Some(if inputs { "requests" } else { "responses" });
    let parts: Vec<&str> = topic.split('.').collect();
    if let [.., kind @ ("model" | "pipeline"), name, end @ ("inputs" | "outputs")] = parts[..]
        && parts.len() >= 5
    {
        let model = Some(name).filter(|_| ["model", "pipeline"].contains(&kind));
        return Told { format: side(end == "inputs"), model };
    }
    match topic.rsplit_once('-') {
        Some((_, end @ ("input" | "output"))) if of_mlserver || topic.starts_with("mlserver-") => {
            Told { format: side(end == "input"), model: None }
        }
        _ => Told::default(),
    }
}

/// Lets an offset be committed.
struct KafkaReceipt {
    consumer: Arc<StreamConsumer<Context>>,
    progress: Arc<Mutex<Progress>>,
    partition: Partition,
    generation: Generation,
    offset: i64,
}

impl KafkaReceipt {
    fn commit(&self) {
        let last = self.progress.lock().done(&self.partition, self.generation, self.offset);
        if let Some(last) = last
            && let Err(error) = self.consumer.store_offset(&self.partition.0, self.partition.1, last)
        {
            tracing::debug!(%error, "an offset was not kept; its messages come again and count once");
        }
    }
}

impl Receipt for KafkaReceipt {
    async fn done(self) {
        self.commit();
    }
}

/// Hears of rebalances, errors and statistics.
struct Context {
    feed: Arc<Feed>,
    progress: Arc<Mutex<Progress>>,
    down: Mutex<bool>,
}

impl ClientContext for Context {
    fn stats(&self, statistics: Statistics) {
        let up = statistics.brokers.values().any(|broker| broker.state == "UP" && broker.nodeid >= 0);
        self.feed.connected(up);
        let was_down = std::mem::replace(&mut *self.down.lock(), !up);
        if was_down && up {
            self.feed.reconnected();
        }
        let lag: i64 = statistics
            .topics
            .values()
            .flat_map(|topic| topic.partitions.values())
            .map(|partition| partition.consumer_lag_stored.max(0))
            .sum();
        self.feed.lag_messages(u64::try_from(lag).unwrap_or(0));
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(source = self.feed.name(), %error, reason, "Kafka");
    }
}

impl ConsumerContext for Context {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Revoke(partitions) => {
                let mut progress = self.progress.lock();
                for partition in partitions.elements() {
                    progress.revoke(&(partition.topic().to_owned(), partition.partition()));
                }
                tracing::info!(
                    source = self.feed.name(),
                    partitions = partitions.count(),
                    "partitions were revoked"
                );
            }
            Rebalance::Assign(partitions) => {
                tracing::info!(
                    source = self.feed.name(),
                    partitions = partitions.count(),
                    "partitions were assigned"
                );
            }
            Rebalance::Error(error) => {
                tracing::warn!(source = self.feed.name(), %error, "a rebalance failed")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed() -> Arc<Feed> {
        let metrics = crate::metrics::Metrics::new().unwrap();
        let (ingest, _receiver) = crate::tap::ingest::Ingest::new(1);
        Arc::new(Feed::new("s", None, None, ingest, metrics.source.clone(), || DateTime::UNIX_EPOCH))
    }

    #[test]
    fn topics_tell_side_and_model() {
        for (topic, of_mlserver, format, model) in [
            ("seldon.default.model.iris.inputs", false, Some("requests"), Some("iris")),
            ("a.b.pipeline.p1.outputs", false, Some("responses"), Some("p1")),
            ("seldon.default.errors.errors", false, None, None),
            ("mlserver-input", false, Some("requests"), None),
            ("my-output", true, Some("responses"), None),
            ("my-output", false, None, None),
            ("model.iris.inputs", false, None, None),
            ("predictions", false, None, None),
        ] {
            assert_eq!(told_by(topic, of_mlserver), Told { format, model }, "{topic}");
        }
    }

    #[test]
    fn a_wrong_option_is_named_without_its_value() {
        let text = "models: []\nsources: [{name: k, kafka: {brokers: [h], topics: [t], group: g, options: {no.such: p4ss}}}]";
        let settings = crate::config::Settings::parse(text, "t").unwrap();
        let kafka = settings.sources[0].kafka.clone().unwrap();
        let problem = Kafka::build(kafka, feed()).err().unwrap();
        assert!(problem.contains("`no.such`") && !problem.contains("p4ss"), "{problem}");
    }
}
