//! Segments from the reference data to an alert: two sidecars count, one region drifts, all rows do not.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::routing::post;
use axum::{Json, Router};
use driftline::app::{self, App};
use driftline::baseline::Baseline;
use driftline::config::Settings;
use driftline::drift::{ComparedWith, DriftReport, Verdict};
use driftline::model::ModelName;
use driftline::store;
use serde_json::{Value as Wire, json};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::support;

const RULES: &str = r#"
groups:
- name: g
  model: m
  rules:
  - alert: SegmentDrift
    for_each: segment
    expr: verdict == "drift"
    annotations: {summary: "{{segment}}: {{feature}} drifted, PSI {{psi}}"}
  - alert: ModelDrift
    for_each: model
    expr: verdict == "drift"
"#;

/// Half of the rows are of `eu`, 30 % of `us`, 12 % of `asia`; the rest is spread over four more.
fn region(row: u32) -> String {
    match row % 100 {
        0..50 => "eu".to_owned(),
        50..80 => "us".to_owned(),
        80..92 => "asia".to_owned(),
        rest => format!("small-{}", rest % 4),
    }
}

/// Even in `[0, 100)`; where `squeezed`, in the upper half of it.
fn amount(row: u32, squeezed: bool) -> f64 {
    let bits = row.wrapping_mul(2_654_435_761) ^ row.wrapping_mul(40_503).rotate_left(13);
    let even = f64::from(bits.wrapping_mul(0xC2B2_AE35) >> 8) / f64::from(1_u32 << 24) * 100.0;
    if squeezed { 50.0 + even / 2.0 } else { even }
}

/// Runs `driftline` in `folder`: exit status, what it printed, what it noted.
async fn driftline(folder: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let program = env!("CARGO_BIN_EXE_driftline");
    let ended = Command::new(program).args(arguments).current_dir(folder).output().await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (ended.status.code(), text(&ended.stdout), text(&ended.stderr))
}

fn write_reference(folder: &Path) {
    let mut text = "amount,region,email\n".to_owned();
    for row in 0..12_000 {
        writeln!(text, "{},{},a{row}@example.com", amount(row, false), region(row)).unwrap();
    }
    std::fs::write(folder.join("reference.csv"), text).unwrap();
}

async fn push(client: &reqwest::Client, admin: &str, time: &str, rows: std::ops::Range<u32>, moved: &str) {
    let features: Vec<Wire> = rows
        .map(|row| {
            let region = region(row);
            json!({ "amount": amount(row.wrapping_add(50_000), region == moved), "region": region })
        })
        .collect();
    let body = json!({ "model": "m", "time": time, "features": features });
    let answer = client.post(format!("{admin}/v1/predictions")).json(&body).send().await.unwrap();
    assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
}

fn verdicts(report: &DriftReport) -> Vec<(&str, Verdict)> {
    report.segments.iter().map(|segment| (segment.segment.as_str(), segment.verdict)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_drifts_while_all_rows_do_not() {
    app::install_crypto();
    let folder = tempfile::tempdir().unwrap();
    let (pool, url) = support::database_with_url().await;
    let hook = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let settings = format!(
        "listen: {{proxy: 127.0.0.1:0, admin: 127.0.0.1:0}}\ndatabase: {{url: '{url}'}}\n\
         privacy: {{drop: [email]}}\nrules: [rules.yaml]\n\
         models: [{{name: m, window: 1h, lateness: 1m, segments: [region], segment_values: 3}}]\n\
         receivers: {{platform: {{webhook: {{url: 'http://{}/hook'}}}}}}\n",
        hook.local_addr().unwrap()
    );
    std::fs::write(folder.path().join("rules.yaml"), RULES).unwrap();
    std::fs::write(folder.path().join("driftline.yaml"), &settings).unwrap();
    write_reference(folder.path());
    let build = ["baseline", "build", "reference.csv", "-m", "m"];
    let (status, printed, noted) = driftline(folder.path(), &build).await;
    assert_eq!(status, Some(0), "{noted}");
    assert!(
        printed.contains(
            "segments by region: region=(other) (960), region=asia (1440), region=eu (6000), region=us (3600)"
        ),
        "{printed}"
    );

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
    // Two sidecars of one model, each with half of the rows.
    let client = reqwest::Client::new();
    let mut running = JoinSet::new();
    let mut admins = Vec::new();
    for _ in 0..2 {
        let mut parsed = Settings::parse(&settings, "driftline.yaml").unwrap();
        parsed.resolve_paths(folder.path());
        let sidecar = App::build(parsed).await.unwrap();
        admins.push(format!("http://{}", sidecar.admin_address()));
        running.spawn(sidecar.run(shutdown.clone().cancelled_owned()));
    }
    for (at, admin) in admins.iter().enumerate() {
        support::wait_for("the baseline in the recorder", || async {
            push(&client, admin, "2026-01-01T00:10:00Z", 0..1, "").await;
            let found: (i64,) = sqlx::query_as("select count(distinct replica) from profile_part")
                .fetch_one(&pool)
                .await
                .unwrap();
            (found.0 > i64::try_from(at).unwrap()).then_some(())
        })
        .await;
    }
    for (time, moved) in [("2026-01-01T00:20:00Z", ""), ("2026-01-01T01:20:00Z", "asia")] {
        for (part, admin) in (0_u32..).zip(admins.iter().cycle()).take(6) {
            push(&client, admin, time, part * 500..(part + 1) * 500, moved).await;
        }
    }
    push(&client, &admins[0], "2026-01-01T03:30:00Z", 0..1, "").await;

    let model = ModelName::parse("m").unwrap();
    let reports = support::wait_for("two reports", || async {
        let reports = store::drift_report::latest(&pool, &model, 10).await.unwrap();
        (reports.len() >= 2).then_some(reports)
    })
    .await;
    let calm = &reports[1].1;
    assert_eq!(calm.verdict, Verdict::Ok, "{}", calm.reason);
    assert_eq!(calm.drifted_segments().count(), 0, "{:?}", verdicts(calm));
    let (id, drifted) = &reports[0];
    assert_eq!((drifted.verdict, drifted.rows), (Verdict::Ok, 3000), "{}", drifted.reason);
    assert_eq!(
        verdicts(drifted),
        [
            ("region=eu", Verdict::Ok),
            ("region=us", Verdict::Ok),
            ("region=asia", Verdict::Drift),
            ("region=(other)", Verdict::Ok)
        ]
    );
    let asia = &drifted.segments[2];
    assert_eq!((asia.rows, asia.rows_reference), (360, 1440));
    assert_eq!(asia.compared_with, ComparedWith::Segment);
    assert_eq!(asia.features[0].name, "amount");
    // Half of the budget is the segments'.
    let shared = drifted.criteria.segments.as_ref().unwrap();
    assert!((shared.alpha - drifted.criteria.alpha).abs() < 1e-12);

    // Both replicas counted every segment, and together exactly the rows of the window.
    let counted: Vec<(String, i64, i64)> = sqlx::query_as(
        "select segment, count(distinct replica), sum(row_count)::bigint from profile_part
         where minute >= '2026-01-01T01:00:00Z' and minute < '2026-01-01T02:00:00Z' group by segment order by 1",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    let counted: Vec<(&str, i64, i64)> = counted.iter().map(|(s, n, rows)| (s.as_str(), *n, *rows)).collect();
    let mut expected = [
        ("", 2, 3000),
        ("region=(other)", 2, 240),
        ("region=asia", 2, 360),
        ("region=eu", 2, 1500),
        ("region=us", 2, 900),
    ];
    expected.sort_unstable();
    let mut found = counted.clone();
    found.sort_unstable();
    assert_eq!(found, expected);

    let messages = support::wait_for("a message", || async {
        let messages = received.lock().unwrap().clone();
        (!messages.is_empty()).then_some(messages)
    })
    .await;
    assert_eq!(messages.len(), 1, "{messages:#?}");
    let text = messages[0].to_string();
    assert!(text.contains("region=asia: amount drifted, PSI"), "{text}");
    assert!(text.contains("\"SegmentDrift\"") && !text.contains("ModelDrift"), "{text}");
    let line = "driftline_segment_verdict{model=\"m\",segment=\"region=asia\"} 1\n";
    support::wait_for("the verdict among the metrics of who judged", || async {
        for admin in &admins {
            let metrics = client.get(format!("{admin}/metrics")).send().await.unwrap().text().await.unwrap();
            if metrics.contains(line) {
                return Some(());
            }
        }
        None
    })
    .await;
    shutdown.cancel();
    while let Some(ended) = running.join_next().await {
        ended.unwrap().unwrap();
    }
    tasks.join_all().await;

    let id = id.to_string();
    let (status, printed, noted) = driftline(folder.path(), &["drift", "show", &id]).await;
    assert_eq!(status, Some(0), "{noted}");
    assert!(printed.contains("region=asia") && printed.contains("strongest"), "{printed}");
    let (status, printed, _) = driftline(folder.path(), &["drift", "list", "-m", "m"]).await;
    assert_eq!((status, printed.contains("1 of 4 drifted")), (Some(1), true), "{printed}");
    let (status, printed, noted) = driftline(folder.path(), &["drift", "explain", &id]).await;
    assert_eq!(status, Some(0), "{printed}{noted}");
    assert!(printed.contains("every number agrees"), "{printed}");
    // What the active baseline cannot be segmented by is a problem of `check`.
    let numeric = settings.replace("segments: [region]", "segments: [region, amount, regoin]");
    std::fs::write(folder.path().join("driftline.yaml"), numeric).unwrap();
    let (status, printed, _) = driftline(folder.path(), &["check"]).await;
    assert_eq!(status, Some(1), "{printed}");
    assert!(printed.contains("model `m`: `amount` is numeric, and a segment needs categories"), "{printed}");
    assert!(printed.contains("no input `regoin`") && printed.contains("did you mean `region`?"), "{printed}");
    // A part of a segment that is gone is noticed.
    sqlx::query("delete from profile_part where segment = 'region=asia'").execute(&pool).await.unwrap();
    let (status, printed, _) = driftline(folder.path(), &["drift", "explain", &id]).await;
    assert_eq!((status, printed.contains("in: the segments;")), (Some(1), true), "{printed}");
}

#[tokio::test]
async fn a_baseline_is_segmented_by_columns_with_categories() {
    let folder = tempfile::tempdir().unwrap();
    write_reference(folder.path());
    let settings = "privacy: {drop: [email]}\nmodels: [{name: m, segments: [region]}, {name: other, segments: [site]}]\n";
    std::fs::write(folder.path().join("driftline.yaml"), settings).unwrap();
    let build = |model, rest: &[&'static str]| {
        let first = ["baseline", "build", "reference.csv", "--no-register", "--json", "-m", model];
        let arguments = [&first, rest].concat();
        let folder = folder.path().to_owned();
        async move { driftline(&folder, &arguments).await }
    };
    for (model, rest, expected) in [
        ("other", &[][..], "has no column `site` to segment model `other` by"),
        ("m", &["--segments", "email"], "or `privacy` drops it"),
        ("m", &["--segments", "regoin"], "has no column `regoin`; it has amount, region, email"),
        ("m", &["--segments", "amount"], "`amount` is numeric, and a segment needs categories"),
        ("m", &["--segments", "region,region"], "column `region` occurs twice"),
        ("m", &["--segments", "region", "--part", "p.json"], "cannot be used with"),
        ("m", &["--segment-values", "101"], "101 is not in 1..=100"),
    ] {
        let (status, _, noted) = build(model, rest).await;
        assert_eq!((status, noted.contains(expected)), (Some(2), true), "{rest:?}: {noted}");
    }
    assert!(!folder.path().join("baselines").exists());

    let (status, printed, noted) = build("other", &["--no-segments"]).await;
    assert_eq!(status, Some(0), "{noted}");
    let printed: Wire = serde_json::from_str(&printed).unwrap();
    assert_eq!(printed["segments"], json!([]));
    // The column need not be watched, and the rest of the content is what it is without segments.
    let (status, printed, noted) = build("m", &["--exclude", "region", "--segment-values", "2"]).await;
    assert_eq!(status, Some(0), "{noted}");
    let printed: Wire = serde_json::from_str(&printed).unwrap();
    let rows = json!({ "region=eu": 6000, "region=us": 3600, "region=(other)": 2400 });
    assert_eq!(printed["segments"], json!([{ "column": "region", "rows": rows }]));
    let path = folder.path().join(printed["path"].as_str().unwrap());
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.starts_with("{\"format\":\"3\""), "{}", &text[..40]);
    let built = Baseline::from_json(&text).unwrap();
    assert_eq!(built.columns().len(), 1);
    assert_eq!(built.segments_of(&["region".to_owned()], 20).0[0].values(), ["eu", "us"]);
}
