//! A stream of a real NATS server as a source: counted once whatever is killed, and never blocked.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::{self, Context, consumer, stream};
use driftline::store::PgPool;
use tokio::task::JoinSet;

use crate::ingest_support::{Counts, counts, database, kept};
use crate::outage::Door;
use crate::source_support::{NatsServer, Sidecar, Sourced, prediction};
use crate::support::wait_for;

fn source(server: &NatsServer, more: &str) -> String {
    format!("  - {{name: s, nats: {{url: '{}', stream: P, consumer: driftline, {more}}}}}\n", server.url())
}

async fn jetstream_of(server: &NatsServer) -> Context {
    let client = async_nats::ConnectOptions::new().max_reconnects(None).connect(server.url()).await.unwrap();
    let context = jetstream::new(client);
    let config =
        stream::Config { name: "P".into(), subjects: vec!["p.>".into()], ..stream::Config::default() };
    wait_for("the stream", || async { context.get_or_create_stream(config.clone()).await.ok() }).await;
    context
}

/// Publishes until the server says that it has the message, once.
async fn publish(context: &Context, number: usize, headers: HeaderMap, body: String) {
    wait_for("an acknowledgement of the server", || async {
        let mut headers = headers.clone();
        headers.insert("Nats-Msg-Id", number.to_string().as_str());
        let sent =
            context.publish_with_headers(format!("p.{}", number % 3), headers, body.clone().into()).await;
        sent.ok()?.await.ok()
    })
    .await;
}

async fn publish_all(context: &Context, numbers: std::ops::Range<usize>) {
    for number in numbers {
        publish(context, number, HeaderMap::new(), prediction(number)).await;
    }
}

/// Waits until nothing is left to be delivered or acknowledged.
async fn all_acknowledged(context: &Context) {
    wait_for("every message to be acknowledged", || async {
        let stream = context.get_stream("P").await.ok()?;
        let consumer = stream.get_consumer::<consumer::pull::Config>("driftline").await.ok()?;
        let info = consumer.cached_info();
        (info.num_pending == 0 && info.num_ack_pending == 0 && info.delivered.stream_sequence > 0)
            .then_some(())
    })
    .await;
}

async fn counted(pool: &PgPool, at_least: u64) {
    wait_for("messages to be counted", || async { (counts(pool).await.seen >= at_least).then_some(()) })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_counts_once_through_a_killed_server_and_an_absent_database() {
    let (pool, url) = database().await;
    let (mut door, through) = Door::shut(&url);
    door.open();
    let mut server = NatsServer::start().await;
    let context = jetstream_of(&server).await;
    let source = source(&server, "in_flight: 40, ack_wait: 1s");
    let replicas = [Sourced::start(&through, &source), Sourced::start(&through, &source)];
    publish_all(&context, 0..100).await;
    counted(&pool, 100).await;
    assert!(replicas.iter().all(|replica| replica.count("messages") > 0), "both take part");

    // Longer than the server waits for an acknowledgement: it hears that work goes on, and gives nothing out again.
    door.close().await;
    publish_all(&context, 100..130).await;
    tokio::time::sleep(Duration::from_millis(3500)).await;
    assert_eq!(counts(&pool).await, kept(100, 100));
    door.open();
    counted(&pool, 130).await;
    all_acknowledged(&context).await;
    assert_eq!(replicas.iter().map(|replica| replica.count("redelivered")).sum::<u64>(), 0);

    server.kill().await;
    server.restart().await;
    publish_all(&context, 130..200).await;
    counted(&pool, 200).await;
    all_acknowledged(&context).await;
    assert_eq!(counts(&pool).await, kept(200, 200));
    for replica in &replicas {
        wait_for("both to be back", || async {
            (replica.count("reconnects") > 0
                && replica.metrics.source.connected.with_label_values(&["s"]).get() == 1)
                .then_some(())
        })
        .await;
    }
    for replica in replicas {
        replica.stop().await;
    }
    door.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_stored_and_not_acknowledged_counts_once_after_a_kill() {
    const MESSAGES: usize = 600;
    let (pool, url) = database().await;
    let server = NatsServer::start().await;
    let context = jetstream_of(&server).await;
    let mut sidecar = Sidecar::start(&url, &source(&server, "ack_wait: 2s"));
    let mut publishing = JoinSet::new();
    let to = context.clone();
    publishing.spawn(async move { publish_all(&to, 0..MESSAGES).await });
    for at in [60, 200, 350, 500] {
        counted(&pool, at).await;
        sidecar.kill_and_start().await;
    }
    publishing.join_all().await;
    let expected = u64::try_from(MESSAGES).unwrap();
    counted(&pool, expected).await;
    all_acknowledged(&context).await;
    assert_eq!(counts(&pool).await, kept(expected, expected));
    sidecar.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_read_is_acknowledged_and_does_not_block() {
    let (pool, url) = database().await;
    let server = NatsServer::start().await;
    let context = jetstream_of(&server).await;
    let replica = Sourced::start(&url, &source(&server, "message_limit: 1KiB"));
    publish(&context, 0, HeaderMap::new(), "{\"model\":".to_owned()).await;
    publish(&context, 1, HeaderMap::new(), "x".repeat(2000)).await;
    publish(&context, 2, HeaderMap::new(), String::new()).await;
    // The two sides of one exchange, as a logger sends them.
    for (number, side, body) in
        [(3, "response", r#"{"predictions":[{"y":3}]}"#), (4, "request", r#"{"instances":[{"x":7}]}"#)]
    {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("Ce-Specversion", "1.0"),
            ("Ce-Id", "e-1"),
            ("ce-source", "pod"),
            ("CE-TYPE", &format!("org.kubeflow.serving.inference.{side}")),
            ("ce-inferenceservicename", "iris"),
            ("ce-datacontenttype", "application/json"),
            // Only the settings say what a message is.
            ("driftline-format", "labels"),
        ] {
            headers.insert(name, value);
        }
        publish(&context, number, headers, body.to_owned()).await;
    }
    publish_all(&context, 5..8).await;
    all_acknowledged(&context).await;
    assert_eq!(counts(&pool).await, kept(4, 4));
    assert_eq!((replica.refused("undecodable"), replica.refused("too_large")), (2, 1));
    assert_eq!(replica.count("messages"), 7);
    wait_for("the lag", || async {
        (replica.metrics.source.lag_messages.with_label_values(&["s"]).get() == 0).then_some(())
    })
    .await;
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_room_a_message_is_given_back_for_later() {
    let (pool, url) = database().await;
    let (mut door, through) = Door::shut(&url);
    door.open();
    let server = NatsServer::start().await;
    let context = jetstream_of(&server).await;
    let more = "sink: {waiting_messages: 3, waiting_bytes: 64KiB}\n";
    let replica = Sourced::start_with(&through, more, &source(&server, "subjects: [p.0]"));
    publish_all(&context, 0..3).await;
    counted(&pool, 1).await;
    door.close().await;
    publish_all(&context, 3..30).await;
    wait_for("messages to come again", || async { (replica.count("redelivered") > 0).then_some(()) }).await;
    door.open();
    counted(&pool, 10).await;
    all_acknowledged(&context).await;
    // Of three subjects one is read.
    assert_eq!(counts(&pool).await, kept(10, 10));
    replica.stop().await;
    door.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_of_somebody_else_is_left_alone() {
    let (pool, url) = database().await;
    let server = NatsServer::start().await;
    let context = jetstream_of(&server).await;
    let stream = context.get_stream("P").await.unwrap();
    let theirs = consumer::pull::Config {
        durable_name: Some("driftline".into()),
        ack_policy: consumer::AckPolicy::None,
        ..consumer::pull::Config::default()
    };
    stream.create_consumer(theirs).await.unwrap();
    let replica = Sourced::start(&url, &source(&server, ""));
    publish_all(&context, 0..3).await;
    let connected = replica.metrics.source.connected.with_label_values(&["s"]);
    stream.delete_consumer("driftline").await.unwrap();
    wait_for("a consumer of its own", || async { (connected.get() == 1).then_some(()) }).await;
    all_acknowledged(&context).await;
    assert_eq!(counts(&pool).await, kept(3, 3));
    replica.stop().await;
    // The consumer stays, and with it what was read.
    publish_all(&context, 3..5).await;
    let replica = Sourced::start(&url, &source(&server, ""));
    counted(&pool, 5).await;
    assert_eq!(counts(&pool).await, Counts { ..kept(5, 5) });
    assert_eq!(replica.count("duplicates"), 0);
    replica.stop().await;
}
