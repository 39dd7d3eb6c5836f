//! Traces as a collector gets them, which reads requests with the messages of the protocol itself.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use driftline::app::App;
use driftline::config::Settings;
use driftline::model::ModelName;
use driftline::retrain::{RunReason, RunState};
use driftline::store::training_run::{self, Enqueued};
use driftline::store::{PgPool, model};
use serde::Deserialize;
use serde_json::{Value as Json, json};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::database::database_with_url;
use crate::tap_support::ModelServer;

#[derive(Debug, Clone, Deserialize)]
struct Span {
    path: String,
    #[serde(rename = "type")]
    content_type: String,
    service: String,
    trace: String,
    id: String,
    parent: String,
    name: String,
    kind: i32,
    start: u64,
    end: u64,
    attributes: BTreeMap<String, Json>,
    status: i32,
    error: String,
}

struct Collector {
    port: u16,
    lines: Lines<BufReader<ChildStdout>>,
    spans: Vec<Span>,
    _process: Child,
}

impl Collector {
    async fn start() -> Self {
        let python = std::env::var("DRIFTLINE_TEST_PYTHON")
            .expect("DRIFTLINE_TEST_PYTHON names a Python with opentelemetry-proto; `make setup` makes one");
        let mut process = Command::new(python)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/otlp_collector.py"))
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let port = lines.next_line().await.unwrap().expect("the collector tells its port").parse().unwrap();
        Self { port, lines, spans: Vec::new(), _process: process }
    }

    /// Reads on until there are `count` spans called `name`, and returns those.
    async fn wait_for(&mut self, name: &str, count: usize) -> Vec<Span> {
        loop {
            let found: Vec<Span> = self.spans.iter().filter(|span| span.name == name).cloned().collect();
            if found.len() >= count {
                return found;
            }
            let line = tokio::time::timeout(Duration::from_mins(1), self.lines.next_line()).await;
            let line = line.unwrap_or_else(|_| panic!("{name} did not come, only {:?}", self.spans));
            self.spans.push(serde_json::from_str(&line.unwrap().unwrap()).unwrap());
        }
    }
}

/// A run from its request to its end, without a trainer.
async fn run(pool: &PgPool) -> String {
    let spec = json!({ "model": "m", "task": "binary", "target": "y", "source": "captured", "artifacts": "artifacts" });
    let spec = serde_json::from_value(spec).unwrap();
    let mut connection = pool.acquire().await.unwrap();
    let reason = RunReason::Rule("FeatureDrift".into());
    let asked =
        training_run::enqueue(&mut connection, &spec, &reason, "cause", RunState::Queued).await.unwrap();
    let Enqueued::Created(run) = asked else { panic!("{asked:?}") };
    let (claim, _) = training_run::claim(pool, "worker", Duration::from_secs(30)).await.unwrap().unwrap();
    training_run::end(pool, &claim, RunState::Failed, "diverged", None).await.unwrap();
    run.simple().to_string()
}

#[tokio::test]
async fn predictions_and_runs_are_traced_from_end_to_end() {
    let mut collector = Collector::start().await;
    let upstream = ModelServer::start().await;
    let (pool, url) = database_with_url().await;
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "listen: {{proxy: '127.0.0.1:0', admin: '127.0.0.1:0'}}\ndatabase: {{url: '{url}'}}\ndata_dir: {}\n\
         tap: {{upstream: 'http://{}'}}\nmodels: [{{name: m}}]\ntraces: {{endpoint: 'http://127.0.0.1:{}'}}\n",
        folder.path().display(),
        upstream.addr,
        collector.port
    );
    let app = App::build(Settings::parse(&text, "driftline.yaml").unwrap()).await.unwrap();
    let proxy = format!("http://{}/v1/models/m:predict", app.proxy_address().unwrap());
    let metrics = format!("http://{}/metrics", app.admin_address());
    let shutdown = CancellationToken::new();
    let mut running = JoinSet::new();
    running.spawn(app.run(shutdown.clone().cancelled_owned()));

    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let client = reqwest::Client::new();
    let ask = |header: Option<String>| {
        let request = client.post(&proxy).json(&json!({ "instances": [[1.5]] }));
        let request = match header {
            Some(header) => request.header("traceparent", header),
            None => request,
        };
        async { assert_eq!(request.send().await.unwrap().status(), 200) }
    };
    ask(Some(format!("00-{trace}-00f067aa0ba902b7-00"))).await;
    ask(Some(format!("00-{trace}-00f067aa0ba902b7-01"))).await;
    ask(None).await;

    let predicted = collector.wait_for("predict", 2).await;
    let profiled = collector.wait_for("profile", 2).await;
    let joined = predicted.iter().find(|span| span.trace == trace).unwrap();
    assert_eq!((joined.parent.as_str(), joined.kind), ("00f067aa0ba902b7", 2));
    assert_eq!(joined.attributes["driftline.model"], "m");
    assert_eq!(joined.attributes["http.response.status_code"], 200);
    assert!(joined.start <= joined.end && joined.start > 1_700_000_000_000_000_000, "{joined:?}");
    assert_eq!((joined.path.as_str(), joined.service.as_str()), ("/v1/traces", "driftline"));
    assert_eq!(joined.content_type, "application/x-protobuf");
    let own = predicted.iter().find(|span| span.trace != trace).unwrap();
    assert_eq!((own.parent.as_str(), &own.trace[16..]), ("", own.id.as_str()));
    for of_profile in &profiled {
        let root = predicted.iter().find(|span| span.trace == of_profile.trace).unwrap();
        assert_eq!(of_profile.parent, root.id);
        assert_ne!(of_profile.id, root.id);
        assert_eq!((of_profile.attributes["driftline.rows"].clone(), of_profile.status), (json!(1), 0));
    }

    // Runs that end after the first look are told of.
    model::register(&pool, &ModelName::parse("m").unwrap()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let run = run(&pool).await;
    let trained = collector.wait_for("train", 1).await.remove(0);
    let whole = collector.wait_for("retrain", 1).await.remove(0);
    assert_eq!((&whole.trace, &trained.trace), (&run, &run));
    assert_eq!((whole.parent.as_str(), trained.parent.as_str()), ("", whole.id.as_str()));
    assert_eq!((trained.status, trained.error.as_str()), (2, "diverged"));
    assert_eq!(trained.attributes["driftline.worker"], "worker");
    assert_eq!(whole.attributes["driftline.reason.kind"], "rule");
    // Nobody asked for the trace that was not sampled.
    assert_eq!(collector.spans.iter().filter(|span| span.name == "predict").count(), 2);
    let text = client.get(&metrics).send().await.unwrap().text().await.unwrap();
    assert!(text.contains("driftline_trace_spans_total{outcome=\"sent\"}"), "{text}");
    shutdown.cancel();
    running.join_next().await.unwrap().unwrap().unwrap();
}
