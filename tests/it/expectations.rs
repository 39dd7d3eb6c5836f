//! Expectations from a proposal to an alert: the commands, the sidecar, imported files.

use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::routing::post;
use axum::{Json, Router};
use driftline::app::{self, App};
use driftline::baseline::{self, Baseline, BuildOptions, CutOptions, SourceColumn};
use driftline::config::Settings;
use driftline::drift::Verdict;
use driftline::expectations::{CheckKind, CheckVerdict, Expectations, Tolerated};
use driftline::model::{ModelName, Role, Value};
use driftline::store;
use serde_json::{Value as Wire, json};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::support;

const DOCUMENT: &str = "model: m\nfreshness: 30m\ncolumns:\n  temp: {type: numeric, max: {value: 50, tolerate: 0.01}}\n  \
                        season: {allowed: [dry, wet]}\n";

const RULES: &str = "groups:\n  - name: g\n    rules:\n      - alert: Unexpected\n        for_each: feature\n        \
                     expr: violations > 0\n      - alert: WindowUnexpected\n        for_each: model\n        \
                     expr: violations > 1\n";

fn reference() -> Baseline {
    let temp: Vec<Value> = (0..500_u32).map(|row| Value::Number(f64::from(row % 41))).collect();
    let season: Vec<Value> = (0..500).map(|row| Value::Text(["dry", "wet"][row % 2].into())).collect();
    let column = |name, values| SourceColumn { name, role: Role::Feature, kind: None, values };
    let model = ModelName::parse("m").unwrap();
    let options = BuildOptions { model, source: "reference".into(), cut: CutOptions::default(), joint: true };
    baseline::build(&[column("temp", &temp), column("season", &season)], None, options).unwrap()
}

/// Runs `driftline` in `folder`: exit status, what it printed, what it noted.
async fn driftline(folder: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let ended = Command::new(env!("CARGO_BIN_EXE_driftline"))
        .args(arguments)
        .current_dir(folder)
        .output()
        .await
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (ended.status.code(), text(&ended.stdout), text(&ended.stderr))
}

#[tokio::test]
async fn a_proposal_is_edited_and_checked() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("b.json"), reference().to_json().unwrap()).unwrap();
    let propose = ["expectations", "propose", "--baseline", "b.json", "--out", "e.yaml"];
    let (status, printed, noted) = driftline(folder.path(), &propose).await;
    assert_eq!((status, printed.as_str()), (Some(0), ""), "{noted}");
    assert!(noted.contains("expectations: e.yaml") && noted.contains("freshness"), "{noted}");

    let path = folder.path().join("e.yaml");
    let mut document = Expectations::parse("e.yaml", &std::fs::read_to_string(&path).unwrap()).unwrap();
    let temp = document.columns.iter_mut().find(|column| column.name == "temp").unwrap();
    temp.max = Some(Tolerated { value: 50.0, tolerate: 0.01 });
    std::fs::write(&path, document.to_yaml()).unwrap();
    let check = ["expectations", "check", "e.yaml", "--baseline", "b.json"];
    let (status, printed, _) = driftline(folder.path(), &check).await;
    assert_eq!(status, Some(0), "{printed}");

    std::fs::write(&path, "columns:\n  tmep: {max: 50}\n  season: {min: 3}\n").unwrap();
    let (status, printed, _) = driftline(folder.path(), &check).await;
    assert_eq!(status, Some(1));
    assert!(printed.contains("no column `tmep`, did you mean `temp`?"), "{printed}");
    assert!(printed.contains("`min` cannot be checked on `season`"), "{printed}");
    std::fs::write(&path, "columns:\n  temp: {maks: 50}\n").unwrap();
    let (status, printed, _) = driftline(folder.path(), &[&check[..], &["--json"]].concat()).await;
    let printed: Wire = serde_json::from_str(&printed).unwrap();
    assert_eq!((status, printed["problems"][0]["line"].as_u64()), (Some(1), Some(2)), "{printed}");

    std::fs::write(&path, DOCUMENT).unwrap();
    std::fs::write(folder.path().join("rows.csv"), "temp,season\n1,dry\n2,wet\n3,damp\n").unwrap();
    let (status, printed, noted) =
        driftline(folder.path(), &["expectations", "test", "e.yaml", "rows.csv"]).await;
    assert_eq!(status, Some(1), "{noted}");
    assert!(printed.contains("1 of 3 values (33.3 %) is not among the 2 allowed values"), "{printed}");
    assert!(noted.contains("`freshness` is left out"), "{noted}");
}

#[tokio::test]
async fn imported_files_make_a_document_and_a_baseline() {
    let folder = tempfile::tempdir().unwrap();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/sagemaker");
    let file = |name: &str| fixtures.join(name).to_string_lossy().into_owned();
    let (constraints, statistics) = (file("constraints.json"), file("statistics.json"));
    let import = ["expectations", "import", &constraints, "--statistics", &statistics, "--model", "taxi"];
    let rest = ["--out", "e.yaml", "--baseline-out", "baselines", "--json"];
    let (status, printed, noted) = driftline(folder.path(), &[&import[..], &rest].concat()).await;
    assert_eq!(status, Some(0), "{noted}");
    let printed: Wire = serde_json::from_str(&printed).unwrap();
    assert_eq!(printed["baseline"]["rows"], 20_000);
    let path = printed["baseline"]["path"].as_str().unwrap();

    let (status, shown, noted) = driftline(folder.path(), &["baseline", "show", path]).await;
    assert_eq!(status, Some(0), "{noted}");
    for column in ["fare", "riders", "balance", "payment"] {
        assert!(shown.contains(column), "{shown}");
    }
    let built = Baseline::from_json(&std::fs::read_to_string(folder.path().join(path)).unwrap()).unwrap();
    let fare = &built.columns()[0];
    assert_eq!(fare.layout.range, Some((1.29, 124.53)));
    assert_eq!((fare.profile.usable(), built.columns()[2].profile.missing), (20_000, 400));
    // What the sketch can be off by is part of the bound of the KS statistic.
    assert!((0.0165..0.1).contains(&fare.ks_error_bound), "{}", fare.ks_error_bound);

    let check = ["expectations", "check", "e.yaml", "--baseline", path];
    let (status, printed, _) = driftline(folder.path(), &check).await;
    assert_eq!((status, printed.contains("no column `comment`")), (Some(1), true), "{printed}");
    let (status, _, noted) = driftline(folder.path(), &["expectations", "import", "e.yaml"]).await;
    assert_eq!((status, noted.contains("expected JSON")), (Some(2), true), "{noted}");
}

#[tokio::test]
async fn a_bad_document_is_refused_at_start() {
    let folder = tempfile::tempdir().unwrap();
    let (pool, url) = support::database_with_url().await;
    let settings = format!(
        "listen: {{proxy: 127.0.0.1:0, admin: 127.0.0.1:0}}\ndatabase: {{url: '{url}'}}\n\
         models: [{{name: m, expectations: e.yaml}}]\n"
    );
    std::fs::write(folder.path().join("driftline.yaml"), &settings).unwrap();
    let mut parsed = Settings::parse(&settings, "driftline.yaml").unwrap();
    parsed.resolve_paths(folder.path());
    let path = folder.path().join("e.yaml");
    for (document, problems) in [
        (
            "columns:\n  temp: {min: x}\n  season: {alowed: [a]}\n",
            &[
                "e.yaml:2: column \"temp\": `min`: expected a number",
                "e.yaml:3: column \"season\": unknown key",
            ][..],
        ),
        ("rows: {min: 1}\nmodel: other\n", &["e.yaml:2: `model`: expected `m`"]),
    ] {
        std::fs::write(&path, document).unwrap();
        let refused = format!("{:#}", App::build(parsed.clone()).await.unwrap_err());
        let (status, printed, _) = driftline(folder.path(), &["check"]).await;
        assert_eq!(status, Some(1), "{printed}");
        for problem in problems {
            assert!(refused.contains(problem), "{refused}");
            assert!(printed.contains(problem), "{printed}");
        }
    }
    // What does not fit the active baseline is a problem of `check`, and no reason to stay down.
    app::register_baseline(&pool, &reference()).await.unwrap();
    std::fs::write(&path, "columns: {tmep: {min: 1}}\n").unwrap();
    let (status, printed, _) = driftline(folder.path(), &["check"]).await;
    assert_eq!(status, Some(1));
    assert!(
        printed.contains("model `m`: the baseline has no column `tmep`, did you mean `temp`?"),
        "{printed}"
    );
    App::build(parsed).await.unwrap();
}

struct Client {
    client: reqwest::Client,
    admin: String,
}

impl Client {
    /// Pushes `rows` rows at one event time; the first `hot` of them are too warm.
    async fn push(&self, time: &str, rows: u32, hot: u32) {
        let features: Vec<Wire> = (0..rows)
            .map(|row| {
                let temp = if row < hot { 99 } else { row % 41 };
                json!({ "temp": temp, "season": if row % 2 == 0 { "dry" } else { "wet" } })
            })
            .collect();
        let body = json!({ "model": "m", "time": time, "features": features });
        let sent = self.client.post(format!("{}/v1/predictions", self.admin)).json(&body).send().await;
        let answer = sent.unwrap();
        assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
    }
}

/// The evidence of the alert is the report `id`, which can be recomputed.
async fn the_alert_rests_on(folder: &Path, id: &str) {
    let (status, printed, noted) = driftline(folder, &["alerts", "list", "--json"]).await;
    assert_eq!(status, Some(1), "{noted}");
    let listed: Wire = serde_json::from_str(&printed).unwrap();
    let fingerprint = listed["alerts"][0]["fingerprint"].as_str().unwrap();
    let (status, printed, noted) = driftline(folder, &["alerts", "show", &fingerprint[..12], "--json"]).await;
    assert_eq!(status, Some(0), "{noted}");
    let shown: Wire = serde_json::from_str(&printed).unwrap();
    let transition = &shown["alerts"][0]["transitions"][0];
    assert_eq!(transition["report"], id, "{shown}");
    assert!(transition["evidence"]["rule_text"].as_str().unwrap().contains("violations > "), "{shown}");
    assert_eq!(transition["evidence"]["baseline"], reference().version());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_violated_limit_raises_an_alert() {
    app::install_crypto();
    let folder = tempfile::tempdir().unwrap();
    let (pool, url) = support::database_with_url().await;
    let hook = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let settings = format!(
        "listen: {{proxy: 127.0.0.1:0, admin: 127.0.0.1:0}}\ndatabase: {{url: '{url}'}}\n\
         models: [{{name: m, window: 1h, lateness: 1m, expectations: e.yaml}}]\nrules: [rules.yaml]\n\
         receivers: {{platform: {{webhook: {{url: 'http://{}/hook', allow_private: true}}}}}}\n",
        hook.local_addr().unwrap()
    );
    for (name, text) in [("e.yaml", DOCUMENT), ("rules.yaml", RULES), ("driftline.yaml", settings.as_str())] {
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
    let mut tasks = JoinSet::new();
    let (hooks, stop) = (Router::new().route("/hook", post(take)), shutdown.clone());
    tasks.spawn(async move {
        axum::serve(hook, hooks).with_graceful_shutdown(stop.cancelled_owned()).await.unwrap();
    });
    let sidecar = App::build(parsed).await.unwrap();
    let client =
        Client { client: reqwest::Client::new(), admin: format!("http://{}", sidecar.admin_address()) };
    let mut running = JoinSet::new();
    running.spawn(sidecar.run(shutdown.clone().cancelled_owned()));
    support::wait_for("the baseline in the recorder", || async {
        client.push("2026-01-01T00:10:00Z", 1, 0).await;
        let (parts,): (i64,) =
            sqlx::query_as("select count(*) from profile_part").fetch_one(&pool).await.unwrap();
        (parts > 0).then_some(())
    })
    .await;

    // The first window is as expected; in the second, 30 of 300 rows are too warm, and the newest is old.
    client.push("2026-01-01T00:45:00Z", 300, 0).await;
    client.push("2026-01-01T01:05:00Z", 300, 30).await;
    client.push("2026-01-01T03:30:00Z", 1, 0).await;
    let model = ModelName::parse("m").unwrap();
    let reports = support::wait_for("two reports", || async {
        let reports = store::drift_report::latest(&pool, &model, 10).await.unwrap();
        (reports.len() >= 2).then_some(reports)
    })
    .await;
    let (id, broken) = &reports[0];
    assert_eq!(reports[1].1.expectations_verdict, Some(CheckVerdict::Ok), "{:#?}", reports[1].1.expectations);
    assert_eq!(broken.expectations_verdict, Some(CheckVerdict::Violated));
    let violated: Vec<_> = broken.violated().map(|result| (result.check, result.count)).collect();
    assert_eq!(violated, [(CheckKind::Freshness, 300), (CheckKind::Max, 30)]);
    // Drift has a verdict of its own; whatever it says, it is one about drift.
    assert!(matches!(broken.verdict, Verdict::Ok | Verdict::Drift), "{}", broken.reason);

    let messages = support::wait_for("the message", || async {
        let messages = received.lock().unwrap().clone();
        (!messages.is_empty()).then_some(messages)
    })
    .await;
    let texts: Vec<String> = messages.iter().map(Wire::to_string).collect();
    let limit = "temp: 30 of 300 values (10 %) are over max 50";
    for (rule, sentences) in [
        ("\"Unexpected\"", &[limit][..]),
        ("WindowUnexpected", &[limit, "the newest row is 55m older than the window's end"]),
    ] {
        let text =
            texts.iter().find(|text| text.contains(rule)).unwrap_or_else(|| panic!("{rule}: {texts:#?}"));
        for sentence in sentences {
            assert!(text.contains(sentence), "{sentence}: {text}");
        }
    }
    let metrics = client.client.get(format!("{}/metrics", client.admin)).send().await.unwrap();
    let metrics = metrics.text().await.unwrap();
    for (check, count) in [("max", 1), ("freshness", 1), ("allowed", 0)] {
        let line = format!("driftline_expectation_violations{{check=\"{check}\",model=\"m\"}} {count}\n");
        assert!(metrics.contains(&line), "{line}{metrics}");
    }
    shutdown.cancel();
    running.join_next().await.unwrap().unwrap().unwrap();
    tasks.join_all().await;

    let id = id.to_string();
    the_alert_rests_on(folder.path(), &id).await;
    let (status, printed, noted) = driftline(folder.path(), &["drift", "show", &id]).await;
    assert_eq!(status, Some(0), "{noted}");
    assert!(printed.contains("expectations: violated (2 of 4 checks violated)"), "{printed}");
    assert!(printed.contains(&format!("violated max: {limit}")), "{printed}");
    let (_, printed, _) = driftline(folder.path(), &["drift", "list", "-m", "m"]).await;
    assert!(printed.contains("violated in the window 2026-01-01 01:00:"), "{printed}");
    let (status, printed, noted) = driftline(folder.path(), &["drift", "explain", &id]).await;
    assert_eq!(status, Some(0), "{printed}{noted}");
    assert!(printed.contains("every number agrees"), "{printed}");
    // Once the document is edited, its checks cannot be made again, and that is said.
    std::fs::write(folder.path().join("e.yaml"), DOCUMENT.replace("value: 50", "value: 99")).unwrap();
    let (status, printed, _) = driftline(folder.path(), &["drift", "explain", &id]).await;
    assert_eq!((status, printed.contains("expectations are as stored")), (Some(0), true), "{printed}");
}
