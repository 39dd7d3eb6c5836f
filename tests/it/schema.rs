//! Learning a model's columns from its traffic, approving them, and being told when they change.
#![expect(clippy::disallowed_methods, reason = "a test awaits what it spawned")]

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use axum::routing::{get, post};
use axum::{Json, Router};
use chrono::{DateTime, TimeDelta, Utc};
use driftline::app::{self, App};
use driftline::baseline::{self, Baseline, BuildOptions, CutOptions, SourceColumn};
use driftline::config::Settings;
use driftline::model::{FeatureKind, ModelName, Role, Value};
use driftline::store;
use serde_json::{Value as Wire, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use crate::support::{self, wait_for};

/// A model server that describes itself, on loopback.
async fn model_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let said = json!({ "name": "m", "versions": ["1"], "platform": "test",
        "inputs": [{ "name": "temp", "datatype": "FP64", "shape": [-1] }], "outputs": [] });
    let served = Router::new()
        .route("/v2/models/m", get(async move || Json(said)))
        .route("/v1/models/{model}", post(async || Json(json!({ "predictions": [{ "y": 0.5 }] }))));
    tokio::task::spawn(async move { axum::serve(listener, served).await.unwrap() });
    address
}

fn row(at: u32) -> Wire {
    let season = ["dry", "wet"][usize::try_from(at % 2).unwrap()];
    json!({ "temp": f64::from(at) / 2.0, "season": season, "mail": format!("ann{at}@example.com"), "secret": at })
}

async fn predict(client: &reqwest::Client, base: &str, row: &Wire, time: DateTime<Utc>) {
    let answer = client
        .post(format!("{base}/v1/models/m:predict"))
        .header("x-event-time", time.to_rfc3339())
        .json(&json!({ "instances": [row] }))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
}

/// Runs `schema learn` over 40 predictions with these arguments besides, and returns what it printed.
async fn learn(folder: &Path, upstream: SocketAddr, arguments: &[&str]) -> String {
    let mut child = Command::new(env!("CARGO_BIN_EXE_driftline"))
        .current_dir(folder)
        .args(["schema", "learn", "-m", "m", "-n", "40", "--listen", "127.0.0.1:0", "--upstream"])
        .arg(format!("http://{upstream}"))
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    let line = said.next_line().await.unwrap().unwrap();
    let base = line.split_whitespace().find(|word| word.starts_with("http://")).unwrap().to_owned();
    let client = reqwest::Client::new();
    for at in 0..40 {
        predict(&client, &base, &row(at), Utc::now()).await;
    }
    // Its connections are closed, or the proxy would wait for them.
    drop(client);
    let ended = child.wait_with_output().await.unwrap();
    assert!(ended.status.success(), "{line} {:?}", said.next_line().await);
    String::from_utf8(ended.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_is_learned_for_approval_and_never_overwritten() {
    app::install_crypto();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::fs::write(
        folder.join("driftline.yaml"),
        "privacy: {drop: [secret], mask: [email]}\nmodels: [{name: m}]\n",
    )
    .unwrap();
    let upstream = model_server().await;
    let written = learn(folder, upstream, &[]).await;
    for line in [
        "# What 40 predictions of 40 rows had.",
        "# The model server declares feature \"temp\": FP64 [-1], 1 columns.",
        "- {name: \"temp\", kind: numeric}  # 0 to 19.5",
        "- {name: \"season\", kind: categorical}  # 2 values: dry, wet",
        "- {name: \"mail\", kind: categorical}  # 1 values: [email]",
        "- {name: \"y\", role: output, kind: numeric}",
    ] {
        assert!(written.contains(line), "{line}\n{written}");
    }
    assert!(!written.contains("secret") && !written.contains("ann1"), "{written}");
    let settings = Settings::parse(&written, "learned").unwrap();
    assert_eq!(settings.models[0].schema.len(), 4);

    learn(folder, upstream, &["--json", "--out", "learned.json"]).await;
    let learned = std::fs::read_to_string(folder.join("learned.json")).unwrap();
    let learned: Wire = serde_json::from_str(&learned).unwrap();
    assert_eq!(learned["learned"]["predictions"], 40);
    let temp = json!({ "name": "temp", "role": "feature", "kind": "numeric", "optional": false });
    assert!(learned["schema"].as_array().unwrap().contains(&temp), "{learned}");
    let again = Command::new(env!("CARGO_BIN_EXE_driftline"))
        .current_dir(folder)
        .args(["schema", "learn", "-m", "m", "--upstream", "http://127.0.0.1:1", "--out", "learned.json"])
        .output()
        .await
        .unwrap();
    let said = String::from_utf8(again.stderr).unwrap();
    assert!(again.status.code() == Some(2) && said.contains("`--force` overwrites it"), "{said}");
    let nobody = Command::new(env!("CARGO_BIN_EXE_driftline"))
        .current_dir(folder)
        .args(["schema", "learn", "-m", "m", "--listen", "127.0.0.1:0", "--wait", "50ms"])
        .args(["--upstream", "http://127.0.0.1:1"])
        .output()
        .await
        .unwrap();
    let said = String::from_utf8(nobody.stderr).unwrap();
    assert!(
        nobody.status.code() == Some(2) && said.contains("no prediction of model `m` came within 50ms"),
        "{said}"
    );
}

fn begin() -> DateTime<Utc> {
    DateTime::from_timestamp(1_767_225_600, 0).unwrap()
}

/// Temperatures and seasons, as the model was trained on them.
fn reference(model: &ModelName) -> Baseline {
    let temps: Vec<Value> = (0..500).map(|at| Value::Number(f64::from(at % 40) / 2.0)).collect();
    let seasons: Vec<Value> = (0..500).map(|at| Value::Text(["dry", "wet"][at % 2].into())).collect();
    let column = |name, kind, values| SourceColumn { name, role: Role::Feature, kind: Some(kind), values };
    let options = BuildOptions {
        model: model.clone(),
        source: "reference".into(),
        cut: CutOptions::default(),
        joint: false,
    };
    let reference =
        [column("temp", FeatureKind::Numeric, &temps), column("season", FeatureKind::Categorical, &seasons)];
    baseline::build(&reference, None, options).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_schema_is_a_finding_in_report_metric_and_alert() {
    app::install_crypto();
    let folder = tempfile::tempdir().unwrap();
    let (pool, url) = support::database_with_url().await;
    let rules = folder.path().join("rules.yaml");
    std::fs::write(
        &rules,
        "groups:\n  - name: schema\n    rules:\n      - alert: SchemaChanged\n        for_each: model\n        expr: schema_changes > 1\n",
    )
    .unwrap();
    let text = format!(
        "listen: {{proxy: '127.0.0.1:0', admin: '127.0.0.1:0'}}\n\
         database: {{url: '{url}'}}\n\
         tap: {{upstream: 'http://{}', event_time_header: x-event-time}}\n\
         retention: {{profiles: 36500d, captured: 36500d}}\n\
         rules: ['{}']\n\
         models:\n  - name: m\n    window: 1m\n    lateness: 1s\n    min_rows: 1\n    training: {{task: regression, target: y}}\n    \
         schema:\n      - {{name: temp, kind: numeric}}\n      - {{name: season, kind: categorical}}\n      \
         - {{name: wind, kind: numeric, optional: true}}\n",
        model_server().await,
        rules.display()
    );
    let settings = folder.path().join("driftline.yaml");
    std::fs::write(&settings, &text).unwrap();
    let model = ModelName::parse("m").unwrap();
    app::register_baseline(&pool, &reference(&model)).await.unwrap();

    let app = App::build(Settings::parse(&text, "driftline.yaml").unwrap()).await.unwrap();
    let (proxy, admin) =
        (format!("http://{}", app.proxy_address().unwrap()), format!("http://{}", app.admin_address()));
    let shutdown = CancellationToken::new();
    let sidecar = tokio::task::spawn(app.run(shutdown.clone().cancelled_owned()));
    let client = reqwest::Client::new();
    wait_for("a profiled row", || async {
        predict(&client, &proxy, &json!({ "temp": 1, "season": "dry" }), begin() - TimeDelta::hours(1)).await;
        let (parts,): (i64,) =
            sqlx::query_as("select count(*) from profile_part").fetch_one(&pool).await.unwrap();
        (parts > 0).then_some(())
    })
    .await;
    let window = |minutes| begin() + TimeDelta::minutes(minutes);
    for at in 0..10 {
        let usual = json!({ "temp": at, "season": "dry", "wind": 1.5 });
        predict(&client, &proxy, &usual, window(0)).await;
        // The season is gone, the temperature is text, and something is new.
        let changed = json!({ "temp": format!("{at} °C"), "humidity": 0.5, "seen": true });
        predict(&client, &proxy, &changed, window(1)).await;
    }
    predict(&client, &proxy, &json!({ "temp": 1, "season": "dry" }), window(10)).await;
    let reports = wait_for("reports on both windows", || async {
        let reports = store::drift_report::latest(&pool, &model, 100).await.unwrap();
        let of = |minutes| reports.iter().find(|(_, report)| report.window_start == window(minutes)).cloned();
        of(0).zip(of(1))
    })
    .await;
    let (usual, changed) = reports;
    assert_eq!(usual.1.schema_changes, []);
    let sentences: Vec<String> =
        changed.1.schema_changes.iter().map(driftline::schema::SchemaChange::sentence).collect();
    assert_eq!(
        sentences,
        [
            "input `season` (categorical) is gone from all 10 rows",
            "input `temp` is to be numeric and is not (another kind) in 10 of 10 rows with a value",
            "input `humidity` is new (numeric), in 10 of 10 rows",
            "input `seen` is new (boolean), in 10 of 10 rows",
        ]
    );
    let shown = wait_for("an alert on the change", || async {
        let (alerts,): (i64,) =
            sqlx::query_as("select count(*) from alert_transition").fetch_one(&pool).await.unwrap();
        let metrics = client.get(format!("{admin}/metrics")).send().await.unwrap().text().await.unwrap();
        (alerts > 0 && metrics.contains("driftline_schema_changes{")).then_some(metrics)
    })
    .await;
    assert!(shown.contains("driftline_schema_changes{change=\"new\",model=\"m\"}"), "{shown}");
    let explained = Command::new(env!("CARGO_BIN_EXE_driftline"))
        .args(["-c", settings.to_str().unwrap(), "drift", "explain", &changed.0.to_string()])
        .output()
        .await
        .unwrap();
    let said = String::from_utf8(explained.stdout).unwrap();
    assert!(
        said.contains("schema: input `humidity` is new") && said.contains("every number agrees"),
        "{said}"
    );

    let learned = Command::new(env!("CARGO_BIN_EXE_driftline"))
        .args(["-c", settings.to_str().unwrap(), "schema", "learn", "-m", "m", "--captured", "-n", "1000"])
        .output()
        .await
        .unwrap();
    let said = String::from_utf8(learned.stdout).unwrap();
    assert!(said.contains("{name: \"humidity\", kind: numeric, optional: true}"), "{said}");
    shutdown.cancel();
    sidecar.await.unwrap().unwrap();
}
