//! The sink over HTTP: what loggers and applications post, what they are told, and what a flood of it does.
#![expect(clippy::disallowed_methods, reason = "a test awaits what it spawned")]

use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use driftline::app::{self, App};
use driftline::config::Settings;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::future::join_all;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value as Wire, json};
use sqlx::PgPool;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::ingest_support::{SETTINGS, counts, database, kept, number};
use crate::support;

struct Sidecar {
    pool: PgPool,
    client: reqwest::Client,
    admin: String,
    sink: String,
    shutdown: CancellationToken,
    running: JoinHandle<anyhow::Result<()>>,
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Wire,
}

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let pair = |(name, value): &(&str, &str)| {
        (HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(*value).unwrap())
    };
    pairs.iter().map(pair).collect()
}

impl Sidecar {
    /// A sidecar with further settings of its sink.
    async fn start(pool: PgPool, url: &str, sink: &str) -> Self {
        app::install_crypto();
        let text = format!(
            "listen: {{proxy: 127.0.0.1:0, admin: 127.0.0.1:0}}\ndatabase: {{url: '{url}'}}\n\
             sink: {{listen: 127.0.0.1:0{sink}}}\n{SETTINGS}"
        );
        let app = App::build(Settings::parse(&text, "driftline.yaml").unwrap()).await.unwrap();
        let admin = format!("http://{}", app.admin_address());
        let sink = format!("http://{}", app.sink_address().unwrap());
        let shutdown = CancellationToken::new();
        let running = tokio::task::spawn(app.run(shutdown.clone().cancelled_owned()));
        Self { pool, client: reqwest::Client::new(), admin, sink, shutdown, running }
    }

    async fn post(&self, url: String, headers: HeaderMap, body: impl Into<reqwest::Body>) -> Answer {
        let answer = self.client.post(url).headers(headers).body(body).send().await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let text = answer.bytes().await.unwrap();
        let body = if text.is_empty() { Wire::Null } else { serde_json::from_slice(&text).unwrap() };
        if status != 200 {
            assert_eq!(headers["content-type"], "application/problem+json", "{body}");
            assert!(!body["title"].as_str().unwrap().is_empty());
        }
        Answer { status, headers, body }
    }

    async fn stop(self) -> PgPool {
        self.shutdown.cancel();
        self.running.await.unwrap().unwrap();
        self.pool
    }
}

fn gzip(body: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

/// The headers of an event in binary mode.
fn binary(side: &str, id: &str) -> HeaderMap {
    headers(&[
        ("content-type", "application/json"),
        ("ce-specversion", "1.0"),
        ("ce-id", id),
        ("ce-source", "iris-predictor"),
        ("ce-type", &format!("org.kubeflow.serving.inference.{side}")),
        ("ce-inferenceservicename", "iris"),
        ("ce-namespace", "default"),
        ("ce-component", "predictor"),
    ])
}

fn structured(side: &str, id: &str, data: &Wire) -> Wire {
    json!({
        "specversion": "1.0", "id": id, "source": "iris-predictor", "datacontenttype": "application/json",
        "type": format!("org.kubeflow.serving.inference.{side}"), "inferenceservicename": "iris",
        "namespace": "default", "component": "predictor", "data": data,
    })
}

const ASKED: &str = r#"{"instances":[{"x":1},{"x":2}]}"#;
const ANSWERED: &str = r#"{"predictions":[{"y":1},{"y":2}]}"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_taken_in_every_mode_at_both_ports() {
    let (pool, url) = database().await;
    let sidecar = Sidecar::start(pool, &url, "").await;
    let asked: Wire = serde_json::from_str(ASKED).unwrap();
    let answered: Wire = serde_json::from_str(ANSWERED).unwrap();
    let kind = |kind: &str| headers(&[("content-type", kind)]);
    let posts: Vec<(String, HeaderMap, Vec<u8>)> = vec![
        (format!("{}/", sidecar.admin), binary("response", "b1"), ANSWERED.into()),
        (format!("{}/v1/events", sidecar.sink), binary("request", "b1"), ASKED.into()),
        // What was compressed on its way to the model, with no header that says so.
        (format!("{}/", sidecar.sink), binary("request", "b2"), gzip(ASKED)),
        (format!("{}/", sidecar.sink), binary("response", "b2"), gzip(ANSWERED)),
        (
            format!("{}/", sidecar.sink),
            kind("application/cloudevents+json; charset=utf-8"),
            structured("request", "s1", &asked).to_string().into(),
        ),
        (
            format!("{}/", sidecar.sink),
            kind("application/cloudevents+json"),
            structured("response", "s1", &answered).to_string().into(),
        ),
        (
            format!("{}/v1/events", sidecar.admin),
            kind("application/cloudevents-batch+json"),
            json!([structured("request", "l1", &asked), structured("response", "l1", &answered)])
                .to_string()
                .into(),
        ),
    ];
    for round in 0..2 {
        for (url, headers, body) in &posts {
            let answer = sidecar.post(url.clone(), headers.clone(), body.clone()).await;
            assert_eq!((answer.status, &answer.body), (200, &Wire::Null), "round {round}, {url}");
        }
        assert_eq!(counts(&sidecar.pool).await, kept(4, 8), "round {round}");
    }
    assert_eq!(number(&sidecar.pool, "select count(*) from pending_side").await, 0);
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_loggers_are_taken_as_they_are() {
    let (pool, url) = database().await;
    let sidecar = Sidecar::start(pool, &url, ", model: m").await;
    // The collector of Azure ML: epoch seconds, no name of a model.
    let azure = |kind: &str| {
        headers(&[
            ("content-type", "application/json"),
            ("trace-id", "t-1"),
            ("ce-time", "1789999990"),
            ("ce-type", &format!("azureml.inference.{kind}")),
            ("ce-collect-data-type", "pandas.core.frame.DataFrame"),
            ("ce-agent", "azureml-ai-monitoring/1.0.0"),
            ("ce-x-request-id", "t-1"),
        ])
    };
    let collector = format!("{}/modeldata/log", sidecar.sink);
    assert_eq!(
        sidecar.post(collector.clone(), azure("model_inputs"), r#"[{"x":1},{"x":2}]"#).await.status,
        200
    );
    assert_eq!(sidecar.post(collector, azure("model_outputs"), r#"[{"y":1},{"y":2}]"#).await.status, 200);
    let counted = counts(&sidecar.pool).await;
    assert_eq!((counted.seen, counted.rows), (1, 2), "{counted:?}");

    let unmonitored = binary("request", "u1");
    let mut unmonitored = unmonitored;
    unmonitored.insert("ce-inferenceservicename", HeaderValue::from_static("nobody"));
    assert_eq!(sidecar.post(format!("{}/", sidecar.sink), unmonitored, ASKED).await.status, 200);
    let metrics =
        sidecar.client.get(format!("{}/metrics", sidecar.admin)).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("driftline_exchanges_unmonitored_total 1"), "{metrics}");
    assert!(!metrics.contains("nobody"));
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_makes_predictions_count_once() {
    let (pool, url) = database().await;
    let sidecar = Sidecar::start(pool, &url, "").await;
    let predictions = format!("{}/v1/predictions", sidecar.sink);
    let body = "{\"model\":\"m\",\"features\":{\"x\":1}}\n{\"model\":\"m\",\"features\":{\"x\":2}}\n{oops}\n";
    let keyed = headers(&[("content-type", "application/x-ndjson"), ("idempotency-key", "upload-1")]);
    for (copy, duplicate) in [false, true, true].into_iter().enumerate() {
        let body = if copy == 2 { gzip(body) } else { body.as_bytes().to_vec() };
        let answer = sidecar.post(predictions.clone(), keyed.clone(), body).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!((&answer.body["accepted"], &answer.body["duplicate"]), (&json!(2), &json!(duplicate)));
        assert_eq!(answer.body["refused"][0]["index"], 2);
    }
    assert_eq!(counts(&sidecar.pool).await, kept(2, 2));
    let wrong = headers(&[("idempotency-key", " ")]);
    assert_eq!(sidecar.post(predictions, wrong, body).await.status, 400);
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_taken_is_refused_with_place_and_remedy() {
    let (pool, url) = database().await;
    let sidecar = Sidecar::start(pool, &url, ", body_limit: 4KiB").await;
    let events = format!("{}/v1/events", sidecar.sink);
    let predictions = format!("{}/v1/predictions", sidecar.sink);
    let mut nameless = binary("request", "x");
    nameless.remove("ce-id");
    let bomb = gzip(&" ".repeat(200_000));
    assert!(bomb.len() < 4 << 10, "{} bytes", bomb.len());
    for (what, url, sent, body, status) in [
        ("no id", &events, nameless, ASKED.as_bytes().to_vec(), 400),
        ("nothing", &events, HeaderMap::new(), Vec::new(), 400),
        ("no event", &events, HeaderMap::new(), b"hello".to_vec(), 400),
        ("long", &events, binary("request", "x"), vec![b' '; 5000], 413),
        ("bomb", &predictions, HeaderMap::new(), bomb, 413),
        ("damaged", &predictions, HeaderMap::new(), vec![0x1f, 0x8b, 8, 0], 400),
        ("coding", &predictions, headers(&[("content-encoding", "br")]), vec![1], 400),
        ("unknown", &predictions, HeaderMap::new(), br#"{"model":"o","features":{"x":1}}"#.to_vec(), 400),
    ] {
        let answer = sidecar.post(url.clone(), sent, body).await;
        assert_eq!(answer.status, status, "{what}: {}", answer.body);
    }
    // A length is only what the sender says.
    let chunks = futures_util::stream::iter((0..10).map(|_| Ok::<_, std::io::Error>(vec![b' '; 1000])));
    let chunked = sidecar.post(events, binary("request", "x"), reqwest::Body::wrap_stream(chunks)).await;
    assert_eq!(chunked.status, 413, "{}", chunked.body);
    let pool = sidecar.stop().await;
    assert_eq!(counts(&pool).await, kept(0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_are_kept_out_of_the_sinks_own_port() {
    let (pool, url) = database().await;
    let folder = TempDir::new().unwrap();
    let tokens: PathBuf = folder.path().join("tokens");
    std::fs::write(&tokens, "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b\n").unwrap();
    let sidecar = Sidecar::start(pool, &url, &format!(", token_file: '{}'", tokens.display())).await;
    let body = r#"{"model":"m","features":{"x":1}}"#;
    let predictions = format!("{}/v1/predictions", sidecar.sink);
    for (authorization, status) in [(None, 401), (Some("Bearer other"), 401), (Some("Bearer secret"), 200)] {
        let mut sent = HeaderMap::new();
        if let Some(value) = authorization {
            sent.insert("authorization", HeaderValue::from_static(value));
        }
        let answer = sidecar.post(predictions.clone(), sent, body).await;
        assert_eq!(answer.status, status, "{authorization:?}");
        assert_eq!(answer.headers.contains_key("www-authenticate"), status == 401);
    }
    let in_url = predictions.replace("http://", "http://logger:secret@");
    assert_eq!(sidecar.post(in_url, HeaderMap::new(), body).await.status, 200);
    for path in ["/metrics", "/v1/models", "/v1/labels"] {
        let answer = sidecar.client.get(format!("{}{path}", sidecar.sink)).send().await.unwrap();
        assert_eq!(answer.status(), 404, "{path} is for the admin port");
    }
    let pool = sidecar.stop().await;
    assert_eq!(counts(&pool).await, kept(2, 2));

    std::fs::write(&tokens, "secret\n").unwrap();
    let text = format!(
        "listen: {{proxy: 127.0.0.1:0, admin: 127.0.0.1:0}}\ndatabase: {{url: '{url}'}}\n\
         sink: {{listen: 127.0.0.1:0, token_file: '{}'}}\n",
        tokens.display()
    );
    let refused = App::build(Settings::parse(&text, "s").unwrap()).await.unwrap_err();
    assert!(refused.to_string().contains("line 1 is not the SHA-256 of a token"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_is_turned_away_and_what_was_taken_is_counted() {
    let (pool, url) = database().await;
    let (mut door, through) = crate::outage::Door::shut(&url);
    door.open();
    let bounds = ", waiting_messages: 20, patience: 500ms";
    let sidecar = Sidecar::start(pool, &through, bounds).await;
    let events = format!("{}/", sidecar.sink);
    let send = async |round: usize, at: usize| {
        let id = format!("f-{round}-{at}");
        // A connection each, as loggers make them.
        let client = reqwest::Client::builder().pool_max_idle_per_host(0).build().unwrap();
        let one = client.post(&events).headers(binary("request", &id)).body(ASKED).send().await.unwrap();
        let other =
            client.post(&events).headers(binary("response", &id)).body(ANSWERED).send().await.unwrap();
        for answer in [&one, &other] {
            if answer.status() != 200 {
                assert_eq!(
                    (answer.status().as_u16(), &answer.headers()["retry-after"]),
                    (503, &HeaderValue::from_static("1"))
                );
            }
        }
        [one.status() == 200, other.status() == 200]
    };
    // With the database away nobody is told that anything was stored.
    door.close().await;
    let refused = join_all((0..60).map(|at| send(0, at))).await;
    assert!(refused.iter().flatten().all(|stored| !stored));
    assert_eq!(counts(&sidecar.pool).await, kept(0, 0));
    door.open();
    // Those that were turned away come again, until everything is acknowledged.
    let refusals = AtomicUsize::new(0);
    join_all((0..200).map(async |at| {
        support::wait_for("an acknowledgement", || async {
            let [asked, answered] = send(1, at).await;
            if !(asked && answered) {
                refusals.fetch_add(1, Ordering::Relaxed);
            }
            (asked && answered).then_some(())
        })
        .await;
    }))
    .await;
    assert!(refusals.load(Ordering::Relaxed) > 0, "200 at once are more than the 20 that may wait");
    assert_eq!(counts(&sidecar.pool).await, kept(200, 400));
    assert_eq!(number(&sidecar.pool, "select count(*) from pending_side").await, 0);
    sidecar.stop().await;
    door.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_of_an_emitter_that_we_did_not_write_are_taken() {
    let (pool, url) = database().await;
    let sidecar = Sidecar::start(pool, &url, "").await;
    let python = std::env::var("DRIFTLINE_TEST_PYTHON")
        .expect("DRIFTLINE_TEST_PYTHON names a Python with cloudevents; `make test` sets it");
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/cloudevents_emitter.py");
    let emitter = tokio::process::Command::new(python)
        .arg(script)
        .arg(format!("{}/", sidecar.sink))
        .output()
        .await
        .unwrap();
    let printed = String::from_utf8_lossy(&emitter.stdout).into_owned();
    assert!(emitter.status.success(), "{printed}{}", String::from_utf8_lossy(&emitter.stderr));
    assert_eq!(printed.lines().map(str::trim).collect::<Vec<_>>(), ["200"; 7]);
    assert_eq!(counts(&sidecar.pool).await, kept(3, 6));
    let rows: Vec<String> = sqlx::query_scalar("select row_id from captured_row order by row_id")
        .fetch_all(&sidecar.pool)
        .await
        .unwrap();
    let expected =
        ["batch-1_0", "batch-1_1", "binary ä 1_0", "binary ä 1_1", "structured-1_0", "structured-1_1"];
    assert_eq!(rows, expected, "what was escaped in a header is the id again");
    sidecar.stop().await;
}
