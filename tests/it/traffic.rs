//! Traffic from the proxy to an alert: a slow and a failing model server, and a calm one.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use driftline::app::{self, App};
use driftline::baseline::{self, Baseline, BuildOptions, CutOptions, SourceColumn};
use driftline::config::Settings;
use driftline::drift::{DriftReport, Verdict};
use driftline::model::{ModelName, Role, Value};
use driftline::store;
use driftline::tap::{Ledger, Traffic};
use driftline::traffic::{self, Figure, TrafficVerdict};
use serde_json::{Value as Wire, json};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::support;
use crate::tap_support::{ModelServer, post as raw_post, raw, tap};

const RULES: &str = r#"
groups:
- name: g
  rules:
  - alert: Slow
    for_each: model
    expr: traffic.requests >= 50 && traffic.ratio.upstream_p50 > 4
    annotations: {summary: "median {{traffic.upstream_p50}} s, before {{traffic.baseline.upstream_p50}} s"}
  - alert: Failing
    for_each: model
    expr: traffic.error_share > 0.5
  - alert: Impossible
    for_each: model
    expr: traffic.overhead_p50 > 3600 || traffic.client_error_share > 0
"#;

/// Exchanges of one window.
const REQUESTS: u32 = 60;

fn reference() -> Baseline {
    let x: Vec<Value> = (0..500_u32).map(|row| Value::Number(f64::from(row % 41))).collect();
    let column = SourceColumn { name: "x", role: Role::Feature, kind: None, values: &x };
    let model = ModelName::parse("m").unwrap();
    let options = BuildOptions { model, source: "reference".into(), cut: CutOptions::default(), joint: true };
    baseline::build(&[column], None, options).unwrap()
}

/// What the model server does: milliseconds that an answer takes, or a failure.
#[derive(Default)]
struct Mood {
    milliseconds: AtomicU64,
    failing: AtomicU64,
}

async fn predict(State(mood): State<Arc<Mood>>) -> Response {
    tokio::time::sleep(Duration::from_millis(mood.milliseconds.load(Ordering::SeqCst))).await;
    if mood.failing.load(Ordering::SeqCst) > 0 {
        return (StatusCode::INTERNAL_SERVER_ERROR, "no").into_response();
    }
    Json(json!({ "predictions": [1] })).into_response()
}

struct Client {
    http: reqwest::Client,
    proxy: String,
    admin: String,
}

impl Client {
    /// Sends the predictions of one hour, so many at once that the machine's own delays stay small beside the model
    /// server's.
    async fn hour(&self, hour: i64, requests: u32, at_once: usize) {
        let mut sending = JoinSet::new();
        for row in 0..requests {
            if sending.len() >= at_once {
                sending.join_next().await.unwrap().unwrap();
            }
            let request = self
                .http
                .post(format!("{}/v1/models/m:predict", self.proxy))
                .header("x-event-time", (start() + chrono::TimeDelta::minutes(60 * hour + 5)).to_rfc3339())
                .json(&json!({ "instances": [[row % 41]] }));
            sending.spawn(async move { request.send().await.unwrap().bytes().await.unwrap().len() });
        }
        sending.join_all().await;
    }

    async fn text(&self, path: &str) -> String {
        self.http.get(format!("{}{path}", self.admin)).send().await.unwrap().text().await.unwrap()
    }
}

fn start() -> chrono::DateTime<chrono::Utc> {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

async fn driftline(folder: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let program = env!("CARGO_BIN_EXE_driftline");
    let ended = Command::new(program).args(arguments).current_dir(folder).output().await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (ended.status.code(), text(&ended.stdout), text(&ended.stderr))
}

/// The reports of the first `count` hours, oldest first, once they are there.
async fn reports(pool: &store::PgPool, count: usize) -> Vec<(Uuid, DriftReport)> {
    let model = ModelName::parse("m").unwrap();
    support::wait_for("the reports", || async {
        let mut found = store::drift_report::latest(pool, &model, 100).await.unwrap();
        found.reverse();
        (found.len() >= count).then_some(found)
    })
    .await
}

async fn alerts(pool: &store::PgPool) -> Vec<(String, String, String)> {
    sqlx::query_as("select rule, from_state, to_state from alert_transition order by at, rule, id")
        .fetch_all(pool)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::too_many_lines, reason = "one walk, told in its order")]
async fn a_slow_and_a_failing_model_server_raise_alerts() {
    app::install_crypto();
    let folder = tempfile::tempdir().unwrap();
    let (pool, url) = support::database_with_url().await;
    let (upstream, hook) =
        (TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let settings = format!(
        "listen: {{proxy: 127.0.0.1:0, admin: 127.0.0.1:0}}\ndatabase: {{url: '{url}'}}\n\
         tap: {{upstream: 'http://{}', event_time_header: x-event-time}}\n\
         models: [{{name: m, window: 1h, lateness: 1m, features: [x], false_alarms: 1 per 6h}}]\nrules: [rules.yaml]\n\
         receivers: {{platform: {{webhook: {{url: 'http://{}/hook', allow_private: true}}}}}}\n",
        upstream.local_addr().unwrap(),
        hook.local_addr().unwrap()
    );
    for (name, text) in [("rules.yaml", RULES), ("driftline.yaml", settings.as_str())] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let mut parsed = Settings::parse(&settings, "driftline.yaml").unwrap();
    parsed.resolve_paths(folder.path());
    app::register_baseline(&pool, &reference()).await.unwrap();

    let shutdown = CancellationToken::new();
    let received: Arc<Mutex<Vec<Wire>>> = Arc::default();
    let inbox = Arc::clone(&received);
    let take = move |Json(body): Json<Wire>| {
        inbox.lock().unwrap().push(body);
        async { "" }
    };
    let mood = Arc::new(Mood::default());
    let mut tasks = JoinSet::new();
    let server = Router::new().route("/v1/models/m:predict", post(predict)).with_state(Arc::clone(&mood));
    for (listener, router) in [(hook, Router::new().route("/hook", post(take))), (upstream, server)] {
        let stop = shutdown.clone();
        tasks.spawn(async move {
            axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await.unwrap();
        });
    }
    let sidecar = App::build(parsed).await.unwrap();
    let client = Client {
        http: reqwest::Client::new(),
        proxy: format!("http://{}", sidecar.proxy_address().unwrap()),
        admin: format!("http://{}", sidecar.admin_address()),
    };
    let mut running = JoinSet::new();
    running.spawn(sidecar.run(shutdown.clone().cancelled_owned()));

    // Ten calm hours; the last one closes when the next begins.
    for hour in 0..10 {
        client.hour(hour, REQUESTS, 4).await;
    }
    mood.milliseconds.store(1000, Ordering::SeqCst);
    client.hour(10, REQUESTS, 60).await;
    let judged = reports(&pool, 10).await;
    for (at, (_, report)) in judged.iter().enumerate() {
        let traffic = report.traffic.as_ref().unwrap();
        let requests = traffic.figures[&Figure::Requests].value;
        assert!((requests - f64::from(REQUESTS)).abs() < 1e-9, "{:?}", traffic.figures);
        assert_eq!(traffic.statuses, [(200, REQUESTS.into())].into());
        assert_eq!(traffic.verdict == TrafficVerdict::Unknown, at < 8, "{}", traffic.reason);
        let bytes = &traffic.figures[&Figure::ResponseBytesMean];
        assert!((bytes.value - 19.0).abs() < 1e-9, "{bytes:?}");
    }
    assert_eq!(alerts(&pool).await, [], "calm hours raise nothing");

    // A slow hour, one of nothing but failures, a calm one, and one that closes it.
    mood.milliseconds.store(0, Ordering::SeqCst);
    mood.failing.store(1, Ordering::SeqCst);
    client.hour(11, REQUESTS, 4).await;
    mood.failing.store(0, Ordering::SeqCst);
    client.hour(12, REQUESTS, 4).await;
    client.hour(14, 1, 1).await;
    let judged = reports(&pool, 13).await;
    let fired = |rule: &str, from: &str, to: &str| (rule.to_owned(), from.to_owned(), to.to_owned());
    assert_eq!(
        alerts(&pool).await,
        [
            fired("Slow", "inactive", "firing"),
            fired("Failing", "inactive", "firing"),
            fired("Slow", "firing", "resolved"),
            fired("Failing", "firing", "resolved"),
        ]
    );
    let slow = judged[10].1.traffic.as_ref().unwrap();
    let p50 = &slow.figures[&Figure::UpstreamP50];
    assert!(p50.value >= 1.0 - traffic::RELATIVE_ERROR && p50.ratio.unwrap() > 4.0, "{p50:?}");
    let answer = slow.figures[&Figure::AnswerP50].value;
    assert!(answer >= 1.0 - traffic::RELATIVE_ERROR, "{answer}");
    assert!(slow.figures[&Figure::InFlightMax].value > 1.0);

    // Nothing was decoded in the hour of failures, and it is reported all the same; drift has its own verdict.
    let failed = &judged[11].1;
    assert_eq!((failed.rows, failed.verdict), (0, Verdict::InsufficientData));
    let errors = failed.traffic.as_ref().unwrap();
    assert_eq!(errors.statuses, [(500, REQUESTS.into())].into());
    assert!((errors.figures[&Figure::ErrorShare].value - 1.0).abs() < 1e-12);
    assert_eq!(errors.verdict, TrafficVerdict::Worse, "{}", errors.reason);
    assert_eq!(judged[12].1.traffic.as_ref().unwrap().reference.left_out, {
        let worse = |report: &&(Uuid, DriftReport)| {
            report.1.traffic.as_ref().is_some_and(|traffic| traffic.verdict == TrafficVerdict::Worse)
        };
        judged[..12].iter().filter(worse).count()
    });

    let messages = support::wait_for("three messages", || async {
        let messages = received.lock().unwrap().clone();
        (messages.len() >= 3).then_some(messages)
    })
    .await;
    let texts: Vec<String> = messages.iter().map(Wire::to_string).collect();
    assert!(texts.iter().any(|text| text.contains("traffic.ratio.upstream_p50")), "{texts:#?}");
    assert!(texts.iter().any(|text| text.contains("error_share is 100 %")), "{texts:#?}");

    let metrics = client.text("/metrics").await;
    let line = "driftline_traffic{figure=\"error_share\",model=\"m\"} 0\n";
    assert!(metrics.contains(line), "{metrics}");
    assert!(
        metrics.contains("driftline_traffic_baseline{figure=\"upstream_p99\",model=\"m\"} "),
        "{metrics}"
    );
    assert!(metrics.contains("driftline_traffic_verdict{model=\"m\"} "), "{metrics}");
    let given: Wire = serde_json::from_str(&client.text("/v1/models/m/drift?limit=3").await).unwrap();
    let given = &given["reports"][1]["report"]["traffic"];
    assert_eq!(given["figures"]["error_share"]["value"], 1.0, "{given}");
    assert_eq!(given["statuses"]["500"], REQUESTS);
    shutdown.cancel();
    running.join_next().await.unwrap().unwrap().unwrap();
    tasks.join_all().await;

    // Every figure is made again from the windows that were there when it was made, whatever came later.
    for at in [0, 9, 10, 11, 12] {
        let id = judged[at].0.to_string();
        let (status, printed, noted) = driftline(folder.path(), &["drift", "explain", &id]).await;
        assert_eq!(status, Some(0), "{printed}{noted}");
        assert!(printed.contains("every number agrees"), "{printed}");
    }
    let id = judged[11].0.to_string();
    let (_, printed, _) = driftline(folder.path(), &["drift", "show", &id]).await;
    assert!(printed.contains("traffic: worse (error_share is 100 %"), "{printed}");
    assert!(printed.contains("status 500: 60"), "{printed}");
    let (_, printed, _) = driftline(folder.path(), &["drift", "list", "-m", "m"]).await;
    assert!(printed.contains("traffic in the window 2026-01-01 11:00:"), "{printed}");

    // A report whose reference is not what it was says so.
    sqlx::query("delete from traffic_window where window_start < '2026-01-01T02:00:00Z'")
        .execute(&pool)
        .await
        .unwrap();
    let (status, printed, _) = driftline(folder.path(), &["drift", "explain", &id]).await;
    assert_eq!((status, printed.contains("in: the traffic")), (Some(1), true), "{printed}");
}

/// The traffic of model `m`, once `requests` exchanges were counted.
async fn counted(ledger: &Ledger, requests: u64) -> traffic::TrafficCounts {
    support::wait_for("the traffic", || async {
        let mut sum = traffic::TrafficCounts::default();
        for minute in ledger.snapshot() {
            sum.merge(&minute.traffic);
        }
        (sum.requests() >= requests).then_some(sum)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_recognised_prediction_is_counted_once_with_its_sizes() {
    let server = ModelServer::start().await;
    let tapped = tap(server.addr).await;
    let body = r#"{"instances":[[1]]}"#;
    for _ in 0..3 {
        raw(tapped.addr, &raw_post("/v1/models/m:predict", "", body)).await;
    }
    // No prediction of a monitored model: not counted.
    raw(tapped.addr, &raw_post("/v1/models/stranger:predict", "", body)).await;
    raw(tapped.addr, &raw_post("/418", "", body)).await;
    let counts = counted(&tapped.ledger, 3).await;
    assert_eq!(counts.requests(), 3);
    assert_eq!(counts.statuses(), &[(200, 3)].into());
    assert_eq!(Figure::RequestBytesMean.of(&counts), Some(body.len() as f64));
    assert_eq!(Figure::ResponseBytesMean.of(&counts), Some(r#"{"predictions":[1]}"#.len() as f64));
    assert!(Figure::AnswerP50.of(&counts).unwrap() > 0.0 && Figure::OverheadP50.of(&counts).unwrap() > 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_is_traffic_too() {
    // Nobody listens there: the client gets a 502 in the model server's place.
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = gone.local_addr().unwrap();
    drop(gone);
    let tapped = tap(addr).await;
    raw(tapped.addr, &raw_post("/v1/models/m:predict", "", "{}")).await;
    let counts = counted(&tapped.ledger, 1).await;
    assert_eq!((counts.statuses(), counts.ended(traffic::Ending::ServerError)), (&[(502, 1)].into(), 1));
}

#[test]
fn a_ledger_counts_what_it_is_handed() {
    let metrics = driftline::metrics::Metrics::new().unwrap();
    let ledger = Ledger::new([ModelName::parse("m").unwrap()], &metrics);
    let ticket = ledger.open(&ModelName::parse("m").unwrap(), start()).unwrap();
    ticket.traffic(&Traffic {
        upstream_seconds: 0.5,
        answer_seconds: 0.75,
        overhead_seconds: 1e-4,
        status: 200,
        grpc_status: Some(13),
        request_bytes: 7,
        response_bytes: 9,
        in_flight: 2,
    });
    ticket.kept();
    let minute = &ledger.snapshot()[0];
    assert_eq!(minute.traffic.grpc_statuses(), &[(13, 1)].into());
    assert_eq!(minute.traffic.ended(traffic::Ending::ServerError), 1);
    let stored = traffic::encode(&minute.traffic);
    assert_eq!(traffic::decode(&stored).unwrap(), minute.traffic);
}
