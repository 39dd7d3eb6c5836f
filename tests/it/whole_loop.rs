//! The whole loop on real data: a prediction's way from the proxy to a registered version.

use std::process::Stdio;
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;
use axum::{Json, Router};
use driftline::app::App;
use driftline::config::Settings;
use driftline::drift::DriftReport;
use driftline::frames::{self, Table};
use driftline::model::{Column, FeatureKind, ModelName, Value};
use driftline::retrain::artifact::Artifact;
use driftline::retrain::spec::FeatureSpec;
use driftline::retrain::{RunReason, RunState, Source};
use driftline::store::{self, training_run};
use serde_json::{Value as Wire, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::support;

const FEATURES: [&str; 9] =
    ["season", "mnth", "hr", "holiday", "weekday", "workingday", "weathersit", "temp", "hum"];

type Shelf = Arc<Mutex<Arc<Artifact>>>;

fn wire(value: &Value) -> Wire {
    match value {
        Value::Number(number) => json!(number),
        _ => Wire::Null,
    }
}

async fn infer(State(shelf): State<Shelf>, Json(request): Json<Wire>) -> Json<Wire> {
    let artifact = Arc::clone(&shelf.lock().unwrap());
    let columns: Vec<Column> = request["inputs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tensor| Column {
            name: tensor["name"].as_str().unwrap().into(),
            values: vec![tensor["data"][0].as_f64().map_or(Value::Missing, Value::Number)],
        })
        .collect();
    let data = artifact.predict_one(1, &columns);
    Json(
        json!({ "model_name": "bike", "outputs": [{ "name": "prediction", "datatype": "FP64", "shape": [1], "data": data }] }),
    )
}

async fn load(pool: &store::PgPool, model: &ModelName) -> Arc<Artifact> {
    let row = store::model_version::production(pool, model).await.unwrap().unwrap();
    let content = std::fs::read(row.artifact_uri.trim_start_matches("file://")).unwrap();
    Arc::new(Artifact::from_bytes(&content).unwrap())
}

async fn finished(pool: &store::PgPool, run: Uuid) -> training_run::TrainingRun {
    support::wait_for("the end of the run", || async {
        Some(training_run::show(pool, run).await.unwrap()).filter(|run| run.state.is_final())
    })
    .await
}

fn settings_text(url: &str, upstream: &str, hook: &str) -> String {
    format!(
        "listen: {{proxy: 127.0.0.1:0, admin: 127.0.0.1:0}}\n\
         database: {{url: '{url}'}}\n\
         data_dir: data\n\
         tap: {{upstream: 'http://{upstream}', event_time_header: x-event-time}}\n\
         models:\n  - name: bike\n    window: 14d\n    lateness: 1d\n    training: {{task: regression, target: cnt}}\n\
         receivers: {{platform: {{webhook: {{url: 'http://{hook}/hook', secret_file: hook.secret, allow_private: true}}}}}}\n\
         rules: [rules.yaml]\n"
    )
}

const RULES: &str = "groups:\n  - name: bike\n    model: bike\n    rules:\n      - alert: FeatureDrift\n        for_each: feature\n        \
    expr: psi > 0.25 && n >= 200\n        for: 2w\n        labels: {severity: warning}\n        \
    annotations: {summary: \"{{feature}} drifted\"}\n        retrain: {mode: auto, cooldown: 1ms, budget: 40 per 1d, min_labels: 300}\n";

struct Traffic {
    table: Table,
    times: Vec<chrono::DateTime<chrono::Utc>>,
    client: reqwest::Client,
    proxy: String,
    admin: String,
}

impl Traffic {
    /// Sends one row through the proxy and reports its label.
    async fn send(&self, row: usize) {
        let inputs: Vec<Wire> = FEATURES
            .iter()
            .map(|name| {
                let value = wire(&self.table.column(name).unwrap().values[row]);
                json!({ "name": name, "datatype": "FP64", "shape": [1], "data": [value] })
            })
            .collect();
        let answer = self
            .client
            .post(format!("{}/v2/models/bike/infer", self.proxy))
            .header("x-request-id", format!("ride-{row}"))
            .header("x-event-time", self.times[row].to_rfc3339())
            .json(&json!({ "inputs": inputs }))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200);
        assert!(answer.json::<Wire>().await.unwrap()["outputs"][0]["data"][0].is_number());
    }

    async fn label(&self, rows: std::ops::Range<usize>) {
        let items: Vec<Wire> = rows
            .map(|row| {
                let label = wire(&self.table.column("cnt").unwrap().values[row]);
                json!({ "model": "bike", "id": format!("ride-{row}"), "label": label, "time": self.times[row] })
            })
            .collect();
        let answer = self.client.post(format!("{}/v1/labels", self.admin)).json(&items).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::too_many_lines, reason = "one walk, told in its order")]
async fn a_prediction_becomes_a_registered_version() {
    driftline::app::install_crypto();
    let folder = tempfile::tempdir().unwrap();
    let (pool, url) = support::database_with_url().await;
    let model = ModelName::parse("bike").unwrap();
    let data = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("baselines/data/bike_sharing.csv");

    // The worker is a process of its own, as in life.
    let mut worker = tokio::process::Command::new(support::trainer())
        .args(["work", "--poll", "0.1"])
        .env("DATABASE_URL", &url)
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();

    let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hook = TcpListener::bind("127.0.0.1:0").await.unwrap();
    std::fs::write(folder.path().join("hook.secret"), "not a secret").unwrap();
    std::fs::write(folder.path().join("rules.yaml"), RULES).unwrap();
    let text = settings_text(
        &url,
        &upstream.local_addr().unwrap().to_string(),
        &hook.local_addr().unwrap().to_string(),
    );
    let settings_path = folder.path().join("driftline.yaml");
    std::fs::write(&settings_path, &text).unwrap();
    let mut settings = Settings::parse(&text, "driftline.yaml").unwrap();
    settings.resolve_paths(folder.path());

    // The first version: trained on January to April.
    let mut spec = driftline::app::training_spec(&settings, &model).unwrap();
    spec.source = Source::File {
        path: data.to_string_lossy().into_owned(),
        time_column: Some("timestamp".into()),
        from: None,
        until: Some("2011-05-01T00:00:00Z".into()),
    };
    spec.features.columns =
        FEATURES.iter().map(|name| FeatureSpec::new(*name, FeatureKind::Numeric)).collect();
    spec.deep.max_epochs = 30;
    store::model::register(&pool, &model).await.unwrap();
    let reason = RunReason::Bootstrap("first version".into());
    let mut connection = pool.acquire().await.unwrap();
    let queued =
        training_run::enqueue(&mut connection, &spec, &reason, "bootstrap", RunState::Queued).await.unwrap();
    let training_run::Enqueued::Created(first) = queued else { panic!("{queued:?}") };
    drop(connection);
    let first = finished(&pool, first).await;
    assert_eq!((first.state, first.version), (RunState::Succeeded, Some(1)), "{:?}", first.outcome);
    let first_baseline = store::model::active_baseline(&pool, &model).await.unwrap().unwrap();

    // Model server, webhook receiver, sidecar.
    let shutdown = CancellationToken::new();
    let shelf: Shelf = Arc::new(Mutex::new(load(&pool, &model).await));
    let served = Router::new().route("/v2/models/bike/infer", post(infer)).with_state(Arc::clone(&shelf));
    let stop = shutdown.clone();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        axum::serve(upstream, served).with_graceful_shutdown(stop.cancelled_owned()).await.unwrap();
    });
    let received: Arc<Mutex<Vec<(String, Wire)>>> = Arc::default();
    let inbox = Arc::clone(&received);
    let take = move |headers: HeaderMap, Json(body): Json<Wire>| {
        let id = headers.get("webhook-id").unwrap().to_str().unwrap().to_owned();
        assert!(headers.contains_key("webhook-signature"));
        inbox.lock().unwrap().push((id, body));
        async { "" }
    };
    let hooks = Router::new().route("/hook", post(take));
    let stop = shutdown.clone();
    tasks.spawn(async move {
        axum::serve(hook, hooks).with_graceful_shutdown(stop.cancelled_owned()).await.unwrap();
    });
    let app = App::build(settings).await.unwrap();
    let table = frames::read_table(&data, None).unwrap();
    let times = table.times("timestamp").unwrap();
    let traffic = Traffic {
        table,
        times,
        client: reqwest::Client::new(),
        proxy: format!("http://{}", app.proxy_address().unwrap()),
        admin: format!("http://{}", app.admin_address()),
    };
    let mut sidecar = JoinSet::new();
    sidecar.spawn(app.run(shutdown.clone().cancelled_owned()));
    support::wait_for("the baseline in the recorder", || async {
        // The first row is repeated until it is profiled; later rows are sent once.
        traffic.send(0).await;
        let (n,): (i64,) =
            sqlx::query_as("select count(*) from profile_part").fetch_one(&pool).await.unwrap();
        (n > 0).then_some(())
    })
    .await;

    // From May on, in windows of two weeks: warmer and busier than the baseline. The rule tries again after a
    // rejection, so that the gate may take its time.
    let may: chrono::DateTime<chrono::Utc> = "2011-05-05T00:00:00Z".parse().unwrap();
    let start = traffic.times.iter().position(|time| *time >= may).unwrap();
    let window = 24 * 14;
    let mut sent = 0;
    let mut ended: Option<training_run::TrainingRun> = None;
    for (number, first_row) in (start..start + 17 * window).step_by(window).enumerate() {
        // The first days of a window close the one before; whatever follows from that is waited for, so that every
        // run sees the same rows.
        for row in first_row..first_row + 72 {
            traffic.send(row).await;
        }
        support::wait_for("the report of the window before", || async {
            let (n,): (i64,) = sqlx::query_as("select count(*) from drift_report where row_count > 100")
                .fetch_one(&pool)
                .await
                .unwrap();
            (usize::try_from(n).unwrap() >= number).then_some(())
        })
        .await;
        sent += 72;
        let newest = training_run::list(&pool, Some(&model), 1).await.unwrap().remove(0);
        if newest.reason_kind == "rule" {
            let run = finished(&pool, newest.id).await;
            let is_over = run.state == RunState::Succeeded;
            ended = Some(run);
            if is_over {
                break;
            }
        }
        for row in first_row + 72..first_row + window {
            traffic.send(row).await;
            sent += 1;
        }
        traffic.label(first_row..first_row + window).await;
    }
    let reports = store::drift_report::latest(&pool, &model, 20).await.unwrap();
    let psi =
        |report: &DriftReport| report.features.iter().find(|f| f.name == "temp").unwrap().statistics["psi"];
    let moved: Vec<_> = reports.iter().filter(|(_, r)| r.rows > 200 && psi(r) > 0.25).collect();
    assert!(moved.len() >= 2, "{:#?}", reports.iter().map(|(_, r)| &r.reason).collect::<Vec<_>>());

    // The alert was delivered, once per change, signed.
    support::wait_for("the webhook", || async { (!received.lock().unwrap().is_empty()).then_some(()) }).await;
    let (_, body) = received.lock().unwrap()[0].clone();
    assert!(body.to_string().contains("FeatureDrift") && body.to_string().contains("temp"), "{body}");
    // Its inputs stand in the order of effect times importance in the version that was in production.
    let impacts: Vec<f64> = body["data"]["alerts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|notice| {
            notice["item"]["effect"].as_f64().unwrap() * notice["item"]["importance"].as_f64().unwrap()
        })
        .collect();
    assert!(impacts.is_sorted_by(|a, b| a >= b) && impacts[0] > 0.0, "{impacts:?}");

    // The run ended with a better model, its baseline and its evidence, in the registry.
    let ended = ended.unwrap();
    let runs = training_run::list(&pool, Some(&model), 30).await.unwrap();
    let outcomes: Vec<_> = runs.iter().rev().map(|run| (run.state, run.outcome.as_deref())).collect();
    assert_eq!(ended.state, RunState::Succeeded, "{outcomes:#?}");
    let versions = store::model_version::list(&pool, Some(&model)).await.unwrap();
    let states: Vec<(i64, &str)> = versions.iter().map(|v| (v.version, v.state.as_str())).collect();
    assert_eq!(states, [(2, "production"), (1, "archived")]);
    assert_eq!(versions[0].parent, Some(1));
    let shares = store::model_version::importance(&pool, &model).await.unwrap();
    assert!((shares.values().sum::<f64>() - 1.0).abs() < 1e-9, "{shares:?}");
    assert_eq!(shares.len(), FEATURES.len(), "{shares:?}");
    assert!(versions[0].snapshot_rows >= 500);
    let second_baseline = store::model::active_baseline(&pool, &model).await.unwrap().unwrap();
    assert_ne!(first_baseline, second_baseline);
    assert_eq!(versions[0].baseline, second_baseline);
    *shelf.lock().unwrap() = load(&pool, &model).await;
    traffic.send(start).await;

    // Every exchange is accounted for, and nothing was lost.
    shutdown.cancel();
    sidecar.join_next().await.unwrap().unwrap().unwrap();
    let (seen, kept, dropped): (i64, i64, i64) = sqlx::query_as(
        "select sum(seen)::bigint, sum(kept)::bigint, count(*) filter (where dropped <> '{}') from tap_part",
    )
    .fetch_one(&pool)
    .await
    .unwrap();
    assert_eq!((seen, dropped), (kept, 0));
    assert!(seen > i64::from(sent));

    // A report is recomputed from what is stored, to the last bit.
    let explained = tokio::process::Command::new(env!("CARGO_BIN_EXE_driftline"))
        .args(["drift", "explain", &moved[0].0.to_string(), "--config"])
        .arg(&settings_path)
        .output()
        .await
        .unwrap();
    let printed = String::from_utf8_lossy(&explained.stdout).into_owned();
    assert!(explained.status.success(), "{printed}{}", String::from_utf8_lossy(&explained.stderr));
    assert!(printed.contains("every number agrees"), "{printed}");

    worker.kill().await.unwrap();
    tasks.join_all().await;
}
