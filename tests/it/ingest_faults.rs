//! Ingestion under faults: the database stopped and started, commits whose answer is lost, a process that is killed.
#![expect(clippy::disallowed_methods, reason = "a test awaits what it spawned")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use driftline::tap::ingest::{Content, IngestError};
use futures_util::future::join_all;
use serde_json::json;
use tokio::process::{Child, Command};

use crate::ingest_support::{Replica, SETTINGS, counts, database, exchange, kept, message, number, one};
use crate::outage::Door;
use crate::support;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_away_is_waited_for_within_bounds() {
    let (pool, url) = database().await;
    let (mut door, through) = Door::shut(&url);
    door.open();
    let replica = Replica::start(&through, "sink: {waiting_messages: 100, waiting_bytes: 256KiB}\n");
    replica.ingest.submit(one(0)).await.unwrap();
    for round in 0..2 {
        door.close().await;
        let from = 1 + round * 100;
        let ingest = replica.ingest.clone();
        let waiting = tokio::spawn(async move {
            join_all((from..from + 80).map(|number| ingest.submit(one(number)))).await
        });
        support::wait_for("80 messages to wait", || async {
            (replica.metrics.ingest.waiting_messages.get() == 80).then_some(())
        })
        .await;
        // Past the bound nothing more is let in, in messages or in bytes.
        let large = message(None, Content::Exchanges((0..400).map(exchange).collect()));
        assert_eq!(replica.ingest.submit(large).await, Err(IngestError::Busy));
        let more = join_all((900..920).map(|number| {
            let waiting = replica.ingest.submit(one(number));
            tokio::time::timeout(Duration::from_millis(300), waiting)
        }));
        let (_, refused) = tokio::join!(more, async {
            support::wait_for("the bound", || async {
                (replica.metrics.ingest.waiting_messages.get() == 100).then_some(())
            })
            .await;
            replica.ingest.submit(one(999)).await
        });
        assert_eq!(refused, Err(IngestError::Busy));
        assert!(replica.metrics.ingest.waiting_bytes.get() <= 256 << 10);
        assert!(!waiting.is_finished(), "nothing is acknowledged while the database is away");
        door.open();
        let stored = waiting.await.unwrap();
        assert!(stored.iter().all(|stored| stored.is_ok_and(|stored| stored.taken == 1)), "{stored:?}");
        let expected = 1 + 80 * (u64::try_from(round).unwrap() + 1);
        assert_eq!(counts(&pool).await, kept(expected, expected), "those that were withdrawn are not there");
        assert_eq!(replica.metrics.ingest.waiting_bytes.get(), 0);
    }
    replica.stop().await;
    door.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_is_lost_counts_once() {
    let (pool, url) = database().await;
    let (mut door, through) = Door::shut(&url);
    door.open();
    let replica = Arc::new(Replica::start(&through, ""));
    // Without keys: only the batch itself can tell whether it was committed.
    let next = Arc::new(AtomicUsize::new(0));
    let senders: Vec<_> = (0..8)
        .map(|_| {
            let (replica, next) = (Arc::clone(&replica), Arc::clone(&next));
            tokio::spawn(async move {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= 1500 {
                        return;
                    }
                    let message = message(None, Content::Exchanges(vec![exchange(at)]));
                    replica.ingest.submit(message).await.unwrap();
                }
            })
        })
        .collect();
    let mut cuts = 0;
    while !senders.iter().all(tokio::task::JoinHandle::is_finished) {
        // Connections are cut in whatever they are at.
        tokio::time::sleep(Duration::from_millis(17 + cuts % 13)).await;
        door.close().await;
        door.open();
        cuts += 1;
    }
    for sender in senders {
        sender.await.unwrap();
    }
    assert!(cuts > 5, "{cuts} cuts");
    assert_eq!(counts(&pool).await, kept(1500, 1500));
    assert_eq!(number(&pool, "select count(*) from captured_row").await, 1500);
    Arc::into_inner(replica).unwrap().stop().await;
    door.close().await;
}

/// A client that sends messages over HTTP until each is acknowledged.
struct Sender {
    client: reqwest::Client,
    base: String,
}

/// A message as the client has it: path, headers, body.
type Post = (&'static str, Vec<(&'static str, String)>, String);

fn post_of(number: usize) -> Vec<Post> {
    let id = format!("c-{number:05}");
    let event = |side: &str, body: &str| -> Post {
        let headers = vec![
            ("content-type", "application/json".to_owned()),
            ("ce-specversion", "1.0".to_owned()),
            ("ce-id", id.clone()),
            ("ce-source", "pod".to_owned()),
            ("ce-type", format!("org.kubeflow.serving.inference.{side}")),
            ("ce-inferenceservicename", "iris".to_owned()),
        ];
        ("/", headers, body.to_owned())
    };
    let prediction = json!({ "model": "m", "features": { "x": number }, "outputs": { "y": 1 } });
    match number % 3 {
        0 => vec![
            event("request", r#"{"instances":[{"x":7}]}"#),
            event("response", r#"{"predictions":[{"y":3}]}"#),
        ],
        1 => vec![("/v1/predictions", vec![("idempotency-key", id)], prediction.to_string())],
        _ => {
            let mut prediction = prediction;
            prediction["id"] = json!(id);
            vec![("/v1/predictions", Vec::new(), prediction.to_string())]
        }
    }
}

impl Sender {
    /// Sends until it is acknowledged; the server may be gone meanwhile.
    async fn send(&self, (path, headers, body): Post) {
        support::wait_for("an acknowledgement", || async {
            let mut request = self.client.post(format!("{}{path}", self.base)).body(body.clone());
            for (name, value) in &headers {
                request = request.header(*name, value);
            }
            match request.send().await {
                Ok(answer) => {
                    let status = answer.status().as_u16();
                    assert!(status == 200 || status == 503, "{status}");
                    (status == 200).then_some(())
                }
                Err(_) => None,
            }
        })
        .await;
    }
}

fn sidecar(folder: &std::path::Path) -> Child {
    Command::new(env!("CARGO_BIN_EXE_driftline"))
        .args(["--config", "driftline.yaml", "run"])
        .current_dir(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_is_killed_loses_nothing_acknowledged_and_counts_nothing_twice() {
    const MESSAGES: usize = 900;
    let (pool, url) = database().await;
    let folder = tempfile::tempdir().unwrap();
    let admin = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap()
    };
    let settings =
        format!("listen: {{proxy: 127.0.0.1:0, admin: '{admin}'}}\ndatabase: {{url: '{url}'}}\n{SETTINGS}");
    std::fs::write(folder.path().join("driftline.yaml"), settings).unwrap();
    let sender = Arc::new(Sender { client: reqwest::Client::new(), base: format!("http://{admin}") });

    let next = Arc::new(AtomicUsize::new(0));
    let done = Arc::new(AtomicUsize::new(0));
    let senders: Vec<_> = (0..12)
        .map(|_| {
            let (sender, next, done) = (Arc::clone(&sender), Arc::clone(&next), Arc::clone(&done));
            tokio::spawn(async move {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= MESSAGES {
                        return;
                    }
                    for post in post_of(at) {
                        sender.send(post).await;
                    }
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let mut kills = 0;
    let mut process = sidecar(folder.path());
    for at in [100, 250, 400, 550, 700] {
        support::wait_for("progress", || async { (done.load(Ordering::Relaxed) >= at).then_some(()) }).await;
        process.kill().await.unwrap();
        process = sidecar(folder.path());
        kills += 1;
    }
    for sender in senders {
        sender.await.unwrap();
    }
    assert_eq!(kills, 5);
    let expected = u64::try_from(MESSAGES).unwrap();
    assert_eq!(counts(&pool).await, kept(expected, expected));
    assert_eq!(number(&pool, "select count(*) from pending_side").await, 0);
    let replicas: Vec<(String, i64)> =
        sqlx::query_as("select replica, sum(seen)::bigint from tap_part group by replica")
            .fetch_all(&pool)
            .await
            .unwrap();
    let by_replica: BTreeMap<String, i64> = replicas.into_iter().collect();
    assert_eq!(by_replica.len(), 6, "each life counted its own part: {by_replica:?}");
    let ids: Vec<String> =
        sqlx::query_scalar("select row_id from captured_row").fetch_all(&pool).await.unwrap();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), MESSAGES);
    process.kill().await.unwrap();
}
