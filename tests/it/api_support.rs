//! A sidecar with a registry, runs and a report, and an HTTP client beside it.
#![expect(clippy::disallowed_methods, reason = "a test awaits what it spawned")]

use std::path::{Path, PathBuf};

use chrono::{DateTime, TimeDelta, Utc};
use driftline::app::{self, App};
use driftline::baseline::{self, Baseline, BuildOptions, CutOptions, SourceColumn};
use driftline::config::Settings;
use driftline::drift::{self, Criteria, Losses};
use driftline::http::Secret;
use driftline::model::{ModelName, Role, Value};
use driftline::profile::Profile;
use driftline::retrain::artifact::sha256;
use driftline::retrain::{ModelKind, RunReason, RunState, TrainingSpec};
use driftline::store::model_version::Registration;
use driftline::store::snapshot::Snapshot;
use driftline::store::token::{self, Scope};
use driftline::store::training_log::{self, Metric};
use driftline::store::training_run::{self, Enqueued};
use driftline::store::{self, drift_report};
use driftline::window::Window;
use serde_json::{Value as Wire, json};
use sqlx::PgPool;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::support;

/// The models of these tests; only `m` is trained.
pub(crate) const MODELS: &str =
    "models: [{name: m, window: 1h, training: {task: regression, target: y}}, {name: n, window: 1h}]\n";

pub(crate) fn model(name: &str) -> ModelName {
    ModelName::parse(name).unwrap()
}

/// A baseline of `m` whose version depends on `shift`.
pub(crate) fn reference(shift: f64) -> Baseline {
    let values: Vec<Value> = (0..500).map(|i| Value::Number(f64::from(i) + shift)).collect();
    let column = |name, role| SourceColumn { name, role, kind: None, values: &values };
    let options = BuildOptions {
        model: model("m"),
        source: "reference".into(),
        cut: CutOptions::default(),
        joint: false,
    };
    baseline::build(&[column("x", Role::Feature), column("y", Role::Output)], None, options).unwrap()
}

pub(crate) fn spec() -> TrainingSpec {
    serde_json::from_value(json!({
        "model": "m", "task": "regression", "target": "y", "source": "captured", "artifacts": "artifacts"
    }))
    .unwrap()
}

/// A database of its own in which `m` and `n` are registered.
pub(crate) async fn database() -> (PgPool, String) {
    let (pool, url) = support::database_with_url().await;
    app::register_baseline(&pool, &reference(0.0)).await.unwrap();
    store::model::register(&pool, &model("n")).await.unwrap();
    (pool, url)
}

/// Writes down a run as a person would ask for it.
pub(crate) async fn ask(pool: &PgPool, cause: &str, state: RunState) -> Uuid {
    let mut db = pool.acquire().await.unwrap();
    let reason = RunReason::Rule("drift".into());
    let asked = training_run::enqueue(&mut db, &spec(), &reason, cause, state).await.unwrap();
    let Enqueued::Created(run) = asked else { panic!("{asked:?}") };
    run
}

/// A run that ended with a version whose artifact lies in `folder`. Returns the version and the file.
pub(crate) async fn train(pool: &PgPool, folder: &Path, parent: Option<i64>) -> (i64, PathBuf) {
    let run = ask(pool, &format!("trained {parent:?}"), RunState::Queued).await;
    let lease = std::time::Duration::from_mins(1);
    let (claim, _) = training_run::claim(pool, "worker", lease).await.unwrap().unwrap();
    training_log::append(pool, &claim, "info", "linear first").await.unwrap();
    let metric = |epoch, name: &str, value| Metric {
        candidate: "linear".into(),
        split: "validation".into(),
        epoch,
        name: name.into(),
        value,
    };
    let measured = [metric(0, "loss", 0.5), metric(1, "loss", 0.25), metric(-1, "rmse", 0.2)];
    training_log::record(pool, &claim, &measured).await.unwrap();
    let path = folder.join(format!("{run}.safetensors"));
    let content = run.to_string();
    std::fs::write(&path, &content).unwrap();
    let baseline = reference(f64::from(u32::try_from(parent.unwrap_or(0)).unwrap()) + 1.0);
    let registration = Registration {
        model: model("m"),
        kind: ModelKind::Linear,
        artifact_uri: path.display().to_string(),
        artifact_sha256: sha256(content.as_bytes()),
        metrics: json!({}),
        parameters: json!({}),
        seed: 7,
        snapshot: Snapshot { hash: format!("snapshot {run}"), row_count: 500, manifest: json!({}) },
        baseline,
        parent,
        build: json!({}),
        reason: "rule: drift".into(),
    };
    (training_run::succeed(pool, &claim, "better", &registration).await.unwrap(), path)
}

/// Stores a report of `m` on a window that begins so many hours after the epoch.
pub(crate) async fn report(pool: &PgPool, hour: i64) -> Uuid {
    let baseline = reference(0.0);
    let start = DateTime::UNIX_EPOCH + TimeDelta::hours(hour);
    let window = Window { start, end: start + TimeDelta::hours(1) };
    let profile = Profile::empty(baseline.layout());
    let judged =
        drift::evaluate(&baseline, &profile, Losses::default(), window, &Criteria::default()).unwrap();
    let id = Uuid::now_v7();
    assert!(drift_report::insert(pool, id, &judged).await.unwrap());
    id
}

pub(crate) struct Sidecar {
    pub(crate) pool: PgPool,
    pub(crate) client: reqwest::Client,
    pub(crate) admin: String,
    pub(crate) folder: TempDir,
    shutdown: CancellationToken,
    running: JoinHandle<anyhow::Result<()>>,
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Wire,
    pub(crate) text: String,
}

impl Sidecar {
    /// A sidecar on a fresh database; `more` are further lines of its settings.
    pub(crate) async fn start(more: &str) -> Self {
        Self::listening("127.0.0.1:0", more).await
    }

    pub(crate) async fn listening(admin: &str, more: &str) -> Self {
        app::install_crypto();
        let (pool, url) = database().await;
        let text = format!(
            "listen: {{proxy: 127.0.0.1:0, admin: '{admin}'}}\ndatabase: {{url: '{url}'}}\n{MODELS}{more}"
        );
        let app = App::build(Settings::parse(&text, "driftline.yaml").unwrap()).await.unwrap();
        let admin = format!("http://127.0.0.1:{}", app.admin_address().port());
        let shutdown = CancellationToken::new();
        let running = tokio::task::spawn(app.run(shutdown.clone().cancelled_owned()));
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Self { pool, client, admin, folder: TempDir::new().unwrap(), shutdown, running }
    }

    /// Makes a token and returns it.
    pub(crate) async fn token(&self, name: &str, scopes: &[Scope]) -> String {
        self.token_until(name, scopes, None).await
    }

    pub(crate) async fn token_until(
        &self,
        name: &str,
        scopes: &[Scope],
        end: Option<DateTime<Utc>>,
    ) -> String {
        let secret = Secret::new().unwrap();
        token::create(&self.pool, name, &secret.hash(), scopes, end, app::now()).await.unwrap();
        secret.expose().to_owned()
    }

    pub(crate) async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let text = answer.text().await.unwrap();
        let body = serde_json::from_str(&text).unwrap_or(Wire::Null);
        let kind = headers.get("content-type").map_or("", |kind| kind.to_str().unwrap());
        if status >= 400 && !kind.starts_with("text/html") {
            assert_eq!(kind, "application/problem+json", "{status} {text}");
            assert_eq!(body["status"], status, "{text}");
            assert!(!body["title"].as_str().unwrap().is_empty());
        }
        Answer { status, headers, body, text }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(self.client.get(format!("{}{path}", self.admin))).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Wire) -> Answer {
        self.send(self.client.post(format!("{}{path}", self.admin)).json(body)).await
    }

    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.running.await.unwrap().unwrap();
    }
}
