//! Topics of a real broker of Kafka's protocol as a source: counted once through rebalances, kills and an absent broker.

use std::process::Stdio;
use std::time::Duration;

use driftline::store::{self, PgPool};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;

use crate::ingest_support::{counts, database, kept};
use crate::outage::Door;
use crate::source_support::{Gate, Sidecar, Sourced, free_port, listens, prediction};
use crate::support::wait_for;

/// A broker, reached through a gate that can be shut.
struct Broker {
    gate: Gate,
    _process: Child,
}

impl Broker {
    async fn start() -> Self {
        let program = std::env::var("DRIFTLINE_KAFKA_BROKER")
            .expect("DRIFTLINE_KAFKA_BROKER is not set: `make test-kafka` installs a broker and sets it");
        let port = free_port();
        let gate = Gate::open(([127, 0, 0, 1], port).into());
        let process = Command::new(&program)
            .args(["broker", "--storage-engine", "memory://tansu/"])
            .args(["--listener-url", &format!("tcp://127.0.0.1:{port}")])
            .args(["--advertised-listener-url", &format!("tcp://127.0.0.1:{}", gate.port())])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("`{program}` cannot be run: {error}"));
        listens(port).await;
        Self { gate, _process: process }
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", format!("127.0.0.1:{}", self.gate.port()));
        config
    }

    async fn topic(&self, name: &str, partitions: i32) {
        let admin: AdminClient<DefaultClientContext> = self.config().create().unwrap();
        wait_for("the topic", || async {
            let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
            let made = admin.create_topics(&[topic], &AdminOptions::new()).await.ok()?;
            made.first()?.is_ok().then_some(())
        })
        .await;
    }

    fn producer(&self) -> FutureProducer {
        self.config().set("message.timeout.ms", "60000").set("enable.idempotence", "false").create().unwrap()
    }

    fn source(&self, topics: &str, more: &str) -> String {
        let port = self.gate.port();
        format!(
            "  - {{name: s, kafka: {{brokers: ['127.0.0.1:{port}'], topics: [{topics}], group: driftline, {more}options: {{session.timeout.ms: '6000', heartbeat.interval.ms: '500'}}}}}}\n"
        )
    }
}

async fn produce(producer: &FutureProducer, topic: &str, numbers: std::ops::Range<usize>) {
    for number in numbers {
        let (key, body) = (format!("k{number}"), prediction(number));
        let partition = i32::try_from(number % 3).unwrap();
        let record = FutureRecord::to(topic).key(&key).payload(&body).partition(partition);
        producer.send(record, Duration::from_secs(60)).await.unwrap();
    }
}

async fn counted(pool: &PgPool, at_least: u64) {
    wait_for("messages to be counted", || async { (counts(pool).await.seen >= at_least).then_some(()) })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kafka_topics_count_once_through_rebalances_and_outages() {
    let (pool, url) = database().await;
    let (mut door, through) = Door::shut(&url);
    door.open();
    let mut broker = Broker::start().await;
    broker.topic("p", 3).await;
    let producer = broker.producer();
    let source = broker.source("p", "in_flight: 20, ");
    let first = Sourced::start(&through, &source);
    produce(&producer, "p", 0..60).await;
    counted(&pool, 60).await;

    // A second member takes partitions over while messages are under way.
    door.close().await;
    produce(&producer, "p", 60..150).await;
    let second = Sourced::start(&through, &source);
    wait_for("messages to wait", || async {
        (first.metrics.ingest.waiting_messages.get() > 0).then_some(())
    })
    .await;
    door.open();
    counted(&pool, 150).await;
    produce(&producer, "p", 150..210).await;
    counted(&pool, 210).await;
    assert_eq!(counts(&pool).await, kept(210, 210));

    // The brokers are away, and back.
    broker.gate.shut().await;
    broker.gate.reopen();
    produce(&producer, "p", 210..240).await;
    counted(&pool, 240).await;
    first.stop().await;
    second.stop().await;
    assert_eq!(counts(&pool).await, kept(240, 240));
    let positions = store::source_position::all(&pool, "s").await.unwrap();
    let expected = [("p/0", "80"), ("p/1", "80"), ("p/2", "80")];
    assert_eq!(positions.iter().map(|(of, at)| (of.as_str(), at.as_str())).collect::<Vec<_>>(), expected);

    // What was committed is not given out again.
    let third = Sourced::start(&through, &source);
    produce(&producer, "p", 240..243).await;
    counted(&pool, 243).await;
    assert_eq!(counts(&pool).await, kept(243, 243));
    assert_eq!(third.count("messages"), 3);
    third.stop().await;
    door.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kafka_messages_that_were_stored_and_not_committed_count_once_after_a_kill() {
    const MESSAGES: usize = 300;
    let (pool, url) = database().await;
    let broker = Broker::start().await;
    broker.topic("p", 3).await;
    let producer = broker.producer();
    let mut sidecar = Sidecar::start(&url, &broker.source("p", ""));
    let mut producing = JoinSet::new();
    let to = producer.clone();
    producing.spawn(async move { produce(&to, "p", 0..MESSAGES).await });
    for at in [50, 150] {
        counted(&pool, at).await;
        sidecar.kill_and_start().await;
    }
    producing.join_all().await;
    let expected = u64::try_from(MESSAGES).unwrap();
    counted(&pool, expected).await;
    assert_eq!(counts(&pool).await, kept(expected, expected));
    sidecar.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kafka_events_of_every_writer_are_read_and_tombstones_passed_over() {
    let (pool, url) = database().await;
    let broker = Broker::start().await;
    let seldon = ["seldon.default.model.iris.inputs", "seldon.default.model.iris.outputs"];
    for topic in [seldon[0], seldon[1], "events"] {
        broker.topic(topic, 1).await;
    }
    let producer = broker.producer();
    let topics = format!("events, {}, {}", seldon[0], seldon[1]);
    let replica = Sourced::start(&url, &broker.source(&topics, "message_limit: 1KiB, "));
    let send = |topic: &'static str, key: &'static str, headers: OwnedHeaders, body: Option<String>| {
        let producer = producer.clone();
        async move {
            let mut record = FutureRecord::<str, String>::to(topic).key(key).headers(headers);
            if let Some(body) = &body {
                record = record.payload(body);
            }
            producer.send(record, Duration::from_secs(60)).await.unwrap();
        }
    };
    let request = r#"{"inputs":[{"name":"x","shape":[1],"datatype":"FP64","data":[7]}]}"#;
    let response =
        r#"{"model_name":"iris","outputs":[{"name":"y","shape":[1],"datatype":"FP64","data":[3]}]}"#;
    send(seldon[0], "0.iris.r1", OwnedHeaders::new(), Some(request.to_owned())).await;
    send(seldon[1], "0.iris.r1", OwnedHeaders::new(), Some(response.to_owned())).await;
    for (side, body) in
        [("request", r#"{"instances":[{"x":7}]}"#), ("response", r#"{"predictions":[{"y":3}]}"#)]
    {
        let kind = format!("org.kubeflow.serving.inference.{side}");
        let mut headers = OwnedHeaders::new();
        for (key, value) in [
            ("ce_specversion", "1.0"),
            ("ce_id", "e-1"),
            ("ce_source", "pod"),
            ("ce_type", &kind),
            ("ce_inferenceservicename", "iris"),
            ("content-type", "application/json"),
        ] {
            headers = headers.insert(Header { key, value: Some(value) });
        }
        send("events", "x", headers, Some(body.to_owned())).await;
    }
    send("events", "gone", OwnedHeaders::new(), None).await;
    send("events", "bad", OwnedHeaders::new(), Some("{".to_owned())).await;
    send("events", "large", OwnedHeaders::new(), Some("x".repeat(2000))).await;
    send("events", "good", OwnedHeaders::new(), Some(prediction(1))).await;
    counted(&pool, 3).await;
    wait_for("the rest", || async { (replica.count("messages") == 6).then_some(()) }).await;
    assert_eq!(counts(&pool).await, kept(3, 3));
    assert_eq!((replica.refused("undecodable"), replica.refused("too_large")), (1, 1));
    assert_eq!(replica.skipped("tombstone"), 1);
    replica.stop().await;
}
