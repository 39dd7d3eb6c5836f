//! The page over HTTP: what it answers, how large it is, and that names from data stay names.
#![expect(clippy::disallowed_methods, reason = "a test awaits what it spawned")]

use chrono::{DateTime, TimeDelta, Utc};
use driftline::app::{self, App};
use driftline::baseline::{self, Blocks, BuildOptions, CutOptions, SourceColumn};
use driftline::config::Settings;
use driftline::drift::{self, Criteria, Losses, shadow};
use driftline::model::{ModelName, Role, Value};
use driftline::stats::random::SplitMix64;
use driftline::store;
use driftline::window::Window;
use sqlx::PgPool;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::support;

/// A name of a column that would be markup if it were not escaped.
const HOSTILE: &str = "<script>alert('x')</script>\"&\u{202e}";

struct Sidecar {
    client: reqwest::Client,
    admin: String,
    shutdown: CancellationToken,
    running: JoinHandle<anyhow::Result<()>>,
}

impl Sidecar {
    async fn start(url: &str) -> Self {
        app::install_crypto();
        let text = format!(
            "listen: {{proxy: 127.0.0.1:0, admin: 127.0.0.1:0}}\ndatabase: {{url: '{url}'}}\nmodels: [{{name: shop, training: {{task: regression, target: sold}}}}]\n"
        );
        let app = App::build(Settings::parse(&text, "driftline.yaml").unwrap()).await.unwrap();
        let admin = format!("http://{}", app.admin_address());
        let shutdown = CancellationToken::new();
        let running = tokio::task::spawn(app.run(shutdown.clone().cancelled_owned()));
        Self { client: reqwest::Client::new(), admin, shutdown, running }
    }

    async fn get(&self, path: &str) -> (u16, String, String) {
        let answer = self.client.get(format!("{}{path}", self.admin)).send().await.unwrap();
        let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
        (answer.status().as_u16(), kind, answer.text().await.unwrap())
    }

    /// Sends a form as a browser does, and follows where it leads.
    async fn send(&self, path: &str, form: &str) -> (u16, String) {
        let request = self.client.post(format!("{}{path}", self.admin)).body(form.to_owned());
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let answer = request.header("origin", &self.admin).send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.text().await.unwrap())
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.running.await.unwrap().unwrap();
    }
}

/// Near enough to a normal number: the sum of twelve uniform ones.
fn normal(random: &mut SplitMix64) -> f64 {
    (0..12).map(|_| random.below(1 << 20) as f64 / f64::from(1 << 20)).sum::<f64>() - 6.0
}

/// A model with some windows, in the newest of which a column drifts; returns the newest report.
async fn seed(pool: &PgPool, names: &[String]) -> Uuid {
    let model = ModelName::parse("shop").unwrap();
    let mut random = SplitMix64::new(3);
    let rows = 40 * 100;
    let of_row: Vec<i64> = (0..rows).map(|row| row / 100).collect();
    let values: Vec<Vec<Value>> =
        names.iter().map(|_| (0..rows).map(|_| Value::Number(normal(&mut random))).collect()).collect();
    let columns: Vec<SourceColumn<'_>> = names
        .iter()
        .zip(&values)
        .map(|(name, values)| SourceColumn { name, role: Role::Feature, kind: None, values })
        .collect();
    let options = BuildOptions {
        model: model.clone(),
        source: "page".into(),
        cut: CutOptions::default(),
        joint: false,
    };
    let baseline = baseline::build(&columns, Some(Blocks { of_row: &of_row, cycle: None }), options).unwrap();
    store::model::register(pool, &model).await.unwrap();
    store::baseline::insert(pool, &baseline).await.unwrap();
    store::model::activate_baseline(pool, &model, baseline.version()).await.unwrap();
    let first: DateTime<Utc> = "2026-05-01T00:00:00Z".parse().unwrap();
    let mut newest = Uuid::nil();
    for hour in 0..6_i64 {
        let start = first + TimeDelta::hours(hour);
        let window = Window { start, end: start + TimeDelta::hours(1) };
        let shift = shadow::plainest_shift(&baseline, window, 0.5).filter(|_| hour == 5);
        let profile = shadow::draw(&baseline, window, 3_000, hour.unsigned_abs(), shift.as_ref());
        let losses = Losses { seen: 3_000, kept: 3_000, ..Losses::default() };
        let report = drift::evaluate(&baseline, &profile, losses, window, &Criteria::default()).unwrap();
        newest = Uuid::now_v7();
        assert!(store::drift_report::insert(pool, newest, &report).await.unwrap());
        assert!(!store::drift_report::insert(pool, Uuid::now_v7(), &report).await.unwrap());
    }
    newest
}

/// Nothing in a document may run or load but what this port gives.
fn check_document(path: &str, document: &str) {
    assert!(document.starts_with("<!DOCTYPE html>"), "{path}: {}", &document[..80.min(document.len())]);
    assert_eq!(document.matches("<script").count(), 1, "{path}");
    assert!(document.contains("<script src=\"/assets/page-"), "{path}");
    for inline in
        ["<style", " style=", "javascript:", " onclick=", " onload=", " onerror=", "http://", "https://"]
    {
        assert!(!document.contains(inline), "{path} has `{inline}`");
    }
    assert_eq!(document.matches("<h1").count(), 1, "{path}");
    assert!(document.len() < 200 << 10, "{path}: {} bytes", document.len());
}

#[tokio::test]
async fn every_view_answers_and_names_stay_names() {
    let (pool, url) = support::database_with_url().await;
    let names = [HOSTILE.to_owned(), "temp".to_owned(), "a/b?c".to_owned()];
    let report = seed(&pool, &names).await;
    let sidecar = Sidecar::start(&url).await;
    let hostile = "%3Cscript%3Ealert('x')%3C%2Fscript%3E%22%26%E2%80%AE";
    for (path, text) in [
        ("/".to_owned(), "shop"),
        ("/models/shop".to_owned(), "&lt;script&gt;alert"),
        (format!("/models/shop?window={report}"), "drift"),
        ("/models/shop?find=%3Cscript".to_owned(), "&lt;script"),
        ("/models/shop?reach=2160".to_owned(), "a/b?c"),
        (format!("/models/shop/feature?name={hostile}"), "&lt;script&gt;alert"),
        (format!("/models/shop/feature?name=a%2Fb%3Fc&window={report}"), "How this verdict"),
        ("/models/shop/segments".to_owned(), "segments: [region]"),
        ("/models/shop/expectations".to_owned(), "driftline expectations"),
        ("/models/shop/traffic".to_owned(), "driftline run"),
        ("/models/shop/alerts".to_owned(), "driftline rules check"),
        ("/models/shop/runs".to_owned(), "retrain now"),
        ("/models/shop/versions".to_owned(), "retrain now"),
        ("/models/shop/baselines".to_owned(), "active"),
        ("/alerts?all=true".to_owned(), "Nothing fires"),
        ("/runs".to_owned(), "driftline-trainer work"),
        ("/system".to_owned(), "/metrics"),
    ] {
        let (status, kind, document) = sidecar.get(&path).await;
        assert_eq!((status, kind.as_str()), (200, "text/html; charset=utf-8"), "{path}: {document}");
        check_document(&path, &document);
        assert!(document.to_lowercase().contains(&text.to_lowercase()), "{path} has no `{text}`: {document}");
    }
    for (path, expected) in [
        ("/models/nobody", 404),
        ("/models/sh%20op", 400),
        ("/models/shop?reach=0", 400),
        ("/models/shop/feature?name=nothing", 404),
        ("/models/shop/versions/7", 404),
        ("/runs/00000000-0000-7000-8000-000000000000", 404),
        ("/runs/x", 400),
        ("/alerts/ffffffffffff", 404),
    ] {
        let (status, kind, document) = sidecar.get(path).await;
        assert_eq!((status, kind.as_str()), (expected, "text/html; charset=utf-8"), "{path}: {document}");
        check_document(path, &document);
    }
    sidecar.stop().await;
}

#[tokio::test]
async fn without_a_model_the_page_says_what_to_do_first() {
    let (_pool, url) = support::database_with_url().await;
    let sidecar = Sidecar::start(&url).await;
    let (status, _, document) = sidecar.get("/").await;
    assert_eq!(status, 200);
    check_document("/", &document);
    // The settings name a model, which is registered once the catalogue has been read.
    assert!(document.contains("driftline baseline build"), "{document}");
    let style =
        document.split('"').find(|part| part.starts_with("/assets/page-") && part.contains(".css")).unwrap();
    let (status, kind, text) = sidecar.get(style).await;
    assert_eq!((status, kind.as_str()), (200, "text/css; charset=utf-8"));
    assert!(!text.contains("url("), "the style asks for nothing else");
    assert_eq!(sidecar.get("/assets/page.css").await.0, 404);
    sidecar.stop().await;
}

#[tokio::test]
async fn many_columns_stay_small() {
    let (pool, url) = support::database_with_url().await;
    let names: Vec<String> = (0..300).map(|number| format!("feature_{number:03}")).collect();
    seed(&pool, &names).await;
    let sidecar = Sidecar::start(&url).await;
    let (status, _, document) = sidecar.get("/models/shop").await;
    assert_eq!((status, document.matches("<tr data-name=").count()), (200, 100));
    check_document("/models/shop", &document);
    let (_, _, all) = sidecar.get("/models/shop?all=true").await;
    assert_eq!(all.matches("<tr data-name=").count(), 300);
    sidecar.stop().await;
}

/// What the forms of a document carry.
fn csrf(document: &str) -> &str {
    let (_, rest) = document.split_once("name=\"csrf\" value=\"").unwrap();
    rest.split('"').next().unwrap()
}

#[tokio::test]
async fn people_act_from_the_page_and_say_why() {
    let (pool, url) = support::database_with_url().await;
    seed(&pool, &["temp".to_owned()]).await;
    let sidecar = Sidecar::start(&url).await;
    let (_, _, document) = sidecar.get("/models/shop").await;
    assert!(document.contains("action=\"/models/shop/retrain\""), "{document}");
    let csrf = csrf(&document).to_owned();
    for (form, expected) in [
        ("reason=why".to_owned(), 403),
        ("csrf=guessed&reason=why".to_owned(), 403),
        (format!("csrf={csrf}&reason="), 400),
    ] {
        let (status, text) = sidecar.send("/models/shop/retrain", &form).await;
        assert_eq!(status, expected, "{form}: {text}");
    }
    let (status, run) =
        sidecar.send("/models/shop/retrain", &format!("csrf={csrf}&reason=%3Cb%3Efresh&by=Ada")).await;
    assert_eq!(status, 200, "{run}");
    assert!(run.contains("queued") && run.contains("&lt;b&gt;fresh"), "{run}");
    let (_, rest) = run.split_once("action=\"/runs/").unwrap();
    let id = rest.split('/').next().unwrap();
    let (status, run) = sidecar.send(&format!("/runs/{id}/cancel"), &format!("csrf={csrf}&reason=no")).await;
    assert_eq!(status, 200, "{run}");
    assert!(run.contains("cancelled"), "{run}");
    let silence =
        format!("csrf={csrf}&model=shop&rule=FeatureDrift&subject=temp&hours=4&reason=known&by=Ada");
    let (status, alerts) = sidecar.send("/silences", &silence).await;
    assert!(status == 200 && alerts.contains("known") && alerts.contains("/end\""), "{alerts}");
    let (_, _, system) = sidecar.get("/system").await;
    assert!(system.contains("Ada") && system.contains("retrain") && system.contains("cancel"), "{system}");
    sidecar.stop().await;
}
