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

/// Sidecars of one model with one database, and the webhook that they tell.
struct Fleet {
    admins: Vec<String>,
    received: Arc<Mutex<Vec<Wire>>>,
    shutdown: CancellationToken,
    running: JoinSet<anyhow::Result<()>>,
    hook: JoinSet<()>,
}

impl Fleet {
    /// Starts `count` of them with these settings.
    async fn start(folder: &Path, settings: &str, hook: TcpListener, count: usize) -> Self {
        let shutdown = CancellationToken::new();
        let received: Arc<Mutex<Vec<Wire>>> = Arc::default();
        let inbox = Arc::clone(&received);
        let take = move |Json(body): Json<Wire>| {
            inbox.lock().unwrap().push(body);
            async { "" }
        };
        let (hooks, stop) = (Router::new().route("/hook", post(take)), shutdown.clone());
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            axum::serve(hook, hooks).with_graceful_shutdown(stop.cancelled_owned()).await.unwrap();
        });
        let (mut running, mut admins) = (JoinSet::new(), Vec::new());
        for _ in 0..count {
            let mut parsed = Settings::parse(settings, "driftline.yaml").unwrap();
            parsed.resolve_paths(folder);
            let sidecar = App::build(parsed).await.unwrap();
            admins.push(format!("http://{}", sidecar.admin_address()));
            running.spawn(sidecar.run(shutdown.clone().cancelled_owned()));
        }
        Self { admins, received, shutdown, running, hook: serving }
    }

    /// Waits until each counts on the baseline.
    async fn wait(&self, client: &reqwest::Client, pool: &store::PgPool) {
        for (at, admin) in self.admins.iter().enumerate() {
            support::wait_for("the baseline in the recorder", || async {
                push(client, admin, "2026-01-01T00:10:00Z", 0..1, "").await;
                let found: (i64,) = sqlx::query_as("select count(distinct replica) from profile_part")
                    .fetch_one(pool)
                    .await
                    .unwrap();
                (found.0 > i64::try_from(at).unwrap()).then_some(())
            })
            .await;
        }
    }

    async fn stop(mut self) {
        self.shutdown.cancel();
        while let Some(ended) = self.running.join_next().await {
            ended.unwrap().unwrap();
        }
        self.hook.join_all().await;
    }
}

/// Checks the report of the second window: one region drifts.
fn check_drifted(report: &DriftReport) {
    assert_eq!((report.verdict, report.rows), (Verdict::Ok, 3000), "{}", report.reason);
    assert_eq!(
        verdicts(report),
        [
            ("region=eu", Verdict::Ok),
            ("region=us", Verdict::Ok),
            ("region=asia", Verdict::Drift),
            ("region=(other)", Verdict::Ok)
        ]
    );
    let asia = &report.segments[2];
    assert_eq!((asia.rows, asia.rows_reference), (360, 1440));
    assert_eq!(asia.compared_with, ComparedWith::Segment);
    assert_eq!(asia.features[0].name, "amount");
    // Half of the budget is the segments'.
    let shared = report.criteria.segments.as_ref().unwrap();
    assert!((shared.alpha - report.criteria.alpha).abs() < 1e-12);
}

/// Checks that both replicas counted every segment, and together exactly the rows of the window.
async fn check_counted(pool: &store::PgPool) {
    let mut counted: Vec<(String, i64, i64)> = sqlx::query_as(
        "select segment, count(distinct replica), sum(row_count)::bigint from profile_part
         where minute >= '2026-01-01T01:00:00Z' and minute < '2026-01-01T02:00:00Z' group by segment",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    counted.sort_unstable();
    let counted: Vec<(&str, i64, i64)> = counted.iter().map(|(s, n, rows)| (s.as_str(), *n, *rows)).collect();
    let expected = [
        ("", 2, 3000),
        ("region=(other)", 2, 240),
        ("region=asia", 2, 360),
        ("region=eu", 2, 1500),
        ("region=us", 2, 900),
    ];
    assert_eq!(counted, expected);
}

/// Checks what the commands say of the report `id`.
async fn check_commands(folder: &Path, settings: &str, pool: &store::PgPool, id: &str) {
    let (status, printed, noted) = driftline(folder, &["drift", "show", id]).await;
    assert_eq!(status, Some(0), "{noted}");
    assert!(printed.contains("region=asia") && printed.contains("strongest"), "{printed}");
    let (status, printed, _) = driftline(folder, &["drift", "list", "-m", "m"]).await;
    assert_eq!((status, printed.contains("1 of 4 drifted")), (Some(1), true), "{printed}");
    let (status, printed, noted) = driftline(folder, &["drift", "explain", id]).await;
    assert_eq!(status, Some(0), "{printed}{noted}");
    assert!(printed.contains("every number agrees"), "{printed}");
    // What the active baseline cannot be segmented by is a problem of `check`.
    let numeric = settings.replace("segments: [region]", "segments: [region, amount, regoin]");
    std::fs::write(folder.join("driftline.yaml"), numeric).unwrap();
    let (status, printed, _) = driftline(folder, &["check"]).await;
    assert_eq!(status, Some(1), "{printed}");
    assert!(printed.contains("model `m`: `amount` is numeric, and a segment needs categories"), "{printed}");
    assert!(printed.contains("no input `regoin`") && printed.contains("did you mean `region`?"), "{printed}");
    // A part of a segment that is gone is noticed.
    sqlx::query("delete from profile_part where segment = 'region=asia'").execute(pool).await.unwrap();
    let (status, printed, _) = driftline(folder, &["drift", "explain", id]).await;
    assert_eq!((status, printed.contains("in: the segments;")), (Some(1), true), "{printed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_drifts_while_all_rows_do_not() {
    app::install_crypto();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (pool, url) = support::database_with_url().await;
    let hook = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let settings = format!(
        "listen: {{proxy: 127.0.0.1:0, admin: 127.0.0.1:0}}\ndatabase: {{url: '{url}'}}\n\
         privacy: {{drop: [email]}}\nrules: [rules.yaml]\n\
         models: [{{name: m, window: 1h, lateness: 1m, segments: [region], segment_values: 3}}]\n\
         receivers: {{platform: {{webhook: {{url: 'http://{}/hook', allow_private: true}}}}}}\n",
        hook.local_addr().unwrap()
    );
    std::fs::write(folder.join("rules.yaml"), RULES).unwrap();
    std::fs::write(folder.join("driftline.yaml"), &settings).unwrap();
    write_reference(folder);
    let (status, printed, noted) =
        driftline(folder, &["baseline", "build", "reference.csv", "-m", "m"]).await;
    assert_eq!(status, Some(0), "{noted}");
    let rows =
        "segments by region: region=(other) (960), region=asia (1440), region=eu (6000), region=us (3600)";
    assert!(printed.contains(rows), "{printed}");

    // Two sidecars of one model, each with half of the rows.
    let fleet = Fleet::start(folder, &settings, hook, 2).await;
    let client = reqwest::Client::new();
    fleet.wait(&client, &pool).await;
    for (time, moved) in [("2026-01-01T00:20:00Z", ""), ("2026-01-01T01:20:00Z", "asia")] {
        for (part, admin) in (0_u32..).zip(fleet.admins.iter().cycle()).take(6) {
            push(&client, admin, time, part * 500..(part + 1) * 500, moved).await;
        }
    }
    push(&client, &fleet.admins[0], "2026-01-01T03:30:00Z", 0..1, "").await;

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
    check_drifted(drifted);
    check_counted(&pool).await;

    let messages = support::wait_for("a message", || async {
        let messages = fleet.received.lock().unwrap().clone();
        (!messages.is_empty()).then_some(messages)
    })
    .await;
    assert_eq!(messages.len(), 1, "{messages:#?}");
    let text = messages[0].to_string();
    assert!(text.contains("region=asia: amount drifted, PSI"), "{text}");
    assert!(text.contains("\"SegmentDrift\"") && !text.contains("ModelDrift"), "{text}");
    let line = "driftline_segment_verdict{model=\"m\",segment=\"region=asia\"} 1\n";
    support::wait_for("the verdict among the metrics of who judged", || async {
        for admin in &fleet.admins {
            let metrics = client.get(format!("{admin}/metrics")).send().await.unwrap().text().await.unwrap();
            if metrics.contains(line) {
                return Some(());
            }
        }
        None
    })
    .await;
    fleet.stop().await;
    check_commands(folder, &settings, &pool, &id.to_string()).await;
}

#[tokio::test]
async fn a_baseline_is_segmented_by_columns_with_categories() {
    let folder = tempfile::tempdir().unwrap();
    write_reference(folder.path());
    let settings = "privacy: {drop: [email]}\nmodels: [{name: m, segments: [region]}, {name: other, segments: [site]}]\n";
    std::fs::write(folder.path().join("driftline.yaml"), settings).unwrap();
    let attempt = |model, rest: &[&'static str]| {
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
        let (status, _, noted) = attempt(model, rest).await;
        assert_eq!((status, noted.contains(expected)), (Some(2), true), "{rest:?}: {noted}");
    }
    assert!(!folder.path().join("baselines").exists());

    let (status, printed, noted) = attempt("other", &["--no-segments"]).await;
    assert_eq!(status, Some(0), "{noted}");
    let printed: Wire = serde_json::from_str(&printed).unwrap();
    assert_eq!(printed["segments"], json!([]));
    // The column need not be watched, and the rest of the content is what it is without segments.
    let (status, printed, noted) = attempt("m", &["--exclude", "region", "--segment-values", "2"]).await;
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
