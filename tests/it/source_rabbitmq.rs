//! A queue of a real `RabbitMQ` as a source: counted once through cut connections and an absent database.

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;

use driftline::store::PgPool;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::ingest_support::{counts, database, kept};
use crate::outage::Door;
use crate::source_support::{Gate, Sidecar, Sourced, free_port, listens, prediction};
use crate::support::wait_for;

/// The broker of the machine, else one of this test's own.
struct Broker {
    port: u16,
    _own: Option<(Child, tempfile::TempDir)>,
}

impl Broker {
    async fn find() -> Self {
        if TcpStream::connect(("127.0.0.1", 5672)).await.is_ok() {
            return Self { port: 5672, _own: None };
        }
        let folder = tempfile::tempdir().unwrap();
        let (port, distribution) = (free_port(), free_port());
        let process = Command::new("rabbitmq-server")
            .env("RABBITMQ_NODENAME", format!("driftline-{port}@localhost"))
            .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODE_PORT", port.to_string())
            .env("RABBITMQ_DIST_PORT", distribution.to_string())
            .env("RABBITMQ_MNESIA_BASE", folder.path().join("data"))
            .env("RABBITMQ_LOG_BASE", folder.path().join("log"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", folder.path().join("plugins"))
            .env("HOME", folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| {
                panic!("no RabbitMQ answers on port 5672, and `rabbitmq-server` cannot be run ({error}): apt-get install rabbitmq-server")
            });
        listens(port).await;
        Self { port, _own: Some((process, folder)) }
    }

    fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// A queue of its own, to be removed at the end.
    async fn queue(&self) -> Queue {
        let url = format!("amqp://guest:guest@{}/%2f", self.address());
        let connection = wait_for("RabbitMQ", || async {
            Connection::connect(&url, ConnectionProperties::default()).await.ok()
        })
        .await;
        let channel = connection.create_channel().await.unwrap();
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        let name = format!("driftline-test-{}", Uuid::now_v7());
        let options = QueueDeclareOptions::durable();
        channel.queue_declare(name.as_str().into(), options, FieldTable::default()).await.unwrap();
        Queue { name, channel, _connection: connection }
    }
}

struct Queue {
    name: String,
    channel: Channel,
    _connection: Connection,
}

impl Queue {
    fn source(&self, port: u16, more: &str) -> String {
        let name = &self.name;
        format!(
            "  - {{name: s, rabbitmq: {{url: 'amqp://guest:guest@127.0.0.1:{port}/%2f', queue: {name}, {more}}}}}\n"
        )
    }

    async fn publish(&self, properties: BasicProperties, body: &str) {
        let sent = self
            .channel
            .basic_publish(
                "".into(),
                self.name.as_str().into(),
                BasicPublishOptions::default(),
                body.as_bytes(),
                properties.with_delivery_mode(2),
            )
            .await
            .unwrap();
        assert!(!sent.await.unwrap().is_nack());
    }

    async fn publish_all(&self, numbers: std::ops::Range<usize>) {
        for number in numbers {
            let id = format!("m-{number}");
            self.publish(BasicProperties::default().with_message_id(id.into()), &prediction(number)).await;
        }
    }

    /// Waits until the queue has nothing more to give.
    async fn given_out(&self) {
        wait_for("the last message to be given out", || async {
            let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::durable() };
            let queue = self.channel.queue_declare(self.name.as_str().into(), options, FieldTable::default());
            (queue.await.unwrap().message_count() == 0).then_some(())
        })
        .await;
    }

    /// Waits until the queue holds nothing, not even what waits to be acknowledged, then removes it.
    async fn emptied(&self) {
        wait_for("the queue to be empty", || async {
            let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::durable() };
            let queue = self.channel.queue_declare(self.name.as_str().into(), options, FieldTable::default());
            let queue = queue.await.unwrap();
            (queue.message_count() == 0 && queue.consumer_count() == 0).then_some(())
        })
        .await;
        let removed = self.channel.queue_delete(self.name.as_str().into(), QueueDeleteOptions::default());
        assert_eq!(removed.await.unwrap(), 0, "a message was left");
    }
}

async fn counted(pool: &PgPool, at_least: u64) {
    wait_for("messages to be counted", || async { (counts(pool).await.seen >= at_least).then_some(()) })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_counts_once_through_cut_connections_and_an_absent_database() {
    let (pool, url) = database().await;
    let (mut door, through) = Door::shut(&url);
    door.open();
    let broker = Broker::find().await;
    let queue = broker.queue().await;
    let mut gate = Gate::open(broker.address());
    let replica = Sourced::start(&through, &queue.source(gate.port(), "prefetch: 20"));
    queue.publish_all(0..60).await;
    counted(&pool, 60).await;

    // Messages are under way when the connection is cut: they come again, over the next one.
    door.close().await;
    queue.publish_all(60..100).await;
    wait_for("messages to wait", || async {
        (replica.metrics.ingest.waiting_messages.get() == 20).then_some(())
    })
    .await;
    gate.shut().await;
    gate.reopen();
    wait_for("the connection", || async { (replica.count("reconnects") > 0).then_some(()) }).await;
    door.open();
    counted(&pool, 100).await;
    wait_for("second deliveries", || async { (replica.count("redelivered") >= 20).then_some(()) }).await;
    wait_for("their end", || async { (replica.count("messages") >= 120).then_some(()) }).await;
    assert_eq!(counts(&pool).await, kept(100, 100));
    assert_eq!(replica.count("duplicates"), 20);
    replica.stop().await;
    queue.emptied().await;
    gate.shut().await;
    door.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_stored_and_not_acknowledged_counts_once_after_a_kill() {
    const MESSAGES: usize = 400;
    let (pool, url) = database().await;
    let broker = Broker::find().await;
    let queue = Arc::new(broker.queue().await);
    let mut sidecar = Sidecar::start(&url, &queue.source(broker.port, "prefetch: 30"));
    let mut publishing = JoinSet::new();
    let to = Arc::clone(&queue);
    publishing.spawn(async move { to.publish_all(0..MESSAGES).await });
    for at in [50, 150, 300] {
        counted(&pool, at).await;
        sidecar.kill_and_start().await;
    }
    publishing.join_all().await;
    let expected = u64::try_from(MESSAGES).unwrap();
    counted(&pool, expected).await;
    assert_eq!(counts(&pool).await, kept(expected, expected));
    sidecar.kill().await;
    // What was counted and not acknowledged by then is still there, and counts nothing.
    let replica = Sourced::start(&url, &queue.source(broker.port, ""));
    queue.given_out().await;
    replica.stop().await;
    assert_eq!(counts(&pool).await, kept(expected, expected));
    queue.emptied().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_read_in_every_mode_and_what_cannot_be_read_does_not_block() {
    let (pool, url) = database().await;
    let broker = Broker::find().await;
    let queue = broker.queue().await;
    let replica = Sourced::start(&url, &queue.source(broker.port, "message_limit: 1KiB"));
    for (prefix, side, body) in [
        ("cloudEvents:", "request", r#"{"instances":[{"x":7}]}"#),
        ("cloudEvents_", "response", r#"{"predictions":[{"y":3}]}"#),
    ] {
        let mut table = FieldTable::default();
        for (name, value) in [
            ("specversion", "1.0"),
            ("id", "e-1"),
            ("source", "pod"),
            ("type", &format!("org.kubeflow.serving.inference.{side}")),
            ("inferenceservicename", "iris"),
        ] {
            table.insert(format!("{prefix}{name}").into(), AMQPValue::LongString(value.into()));
        }
        let properties =
            BasicProperties::default().with_content_type("application/json".into()).with_headers(table);
        queue.publish(properties, body).await;
    }
    for (side, body) in
        [("request", r#"{"instances":[{"x":7}]}"#), ("response", r#"{"predictions":[{"y":3}]}"#)]
    {
        let event = format!(
            r#"{{"specversion":"1.0","id":"e-2","source":"pod","type":"org.kubeflow.serving.inference.{side}","inferenceservicename":"iris","data":{body}}}"#
        );
        let properties = BasicProperties::default()
            .with_content_type("application/cloudevents+json; charset=utf-8".into())
            .with_timestamp(1_790_000_000);
        queue.publish(properties, &event).await;
    }
    queue.publish(BasicProperties::default(), "{\"model\":").await;
    queue.publish(BasicProperties::default(), &"x".repeat(2000)).await;
    // The same content in the same second, without an id: one message. Another second: another message.
    for second in [1_790_000_001, 1_790_000_001, 1_790_000_002] {
        queue.publish(BasicProperties::default().with_timestamp(second), &prediction(1)).await;
    }
    queue.publish_all(0..3).await;
    counted(&pool, 7).await;
    assert_eq!(counts(&pool).await, kept(7, 7));
    wait_for("the rest", || async { (replica.count("messages") == 11).then_some(()) }).await;
    assert_eq!((replica.refused("undecodable"), replica.refused("too_large")), (1, 1));
    assert_eq!((replica.count("duplicates"), replica.skipped("no_key")), (1, 1));
    replica.stop().await;
    queue.emptied().await;
}
