//! Prints how long each view of the page takes and how large it is, on a database of 500 columns and 90 days of hours,
//! beside `/livez` and `/metrics` of the same process.
//!
//! Wants `DATABASE_URL` of a server on which it may create a database, which is left behind. `--quick` seeds 5 days.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "its output is a table; it awaits what it spawned"
)]

use std::time::{Duration, Instant};

use anyhow::Context;
use chrono::{DateTime, TimeDelta, Utc};
use driftline::app::App;
use driftline::baseline::{self, Blocks, BuildOptions, CutOptions, SourceColumn};
use driftline::config::Settings;
use driftline::drift::{self, Criteria, Losses, shadow};
use driftline::model::{ModelName, Role, Value};
use driftline::stats::random::SplitMix64;
use driftline::store;
use driftline::window::Window;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Columns of the model.
const COLUMNS: usize = 500;

/// Hours of the reference, and rows of each.
const HOURS: i64 = 48;
const ROWS: usize = 60;

/// Reports that are made in full; the others repeat one of them under another window.
const DIFFERENT: usize = 12;

/// Requests per view.
const REQUESTS: usize = 25;

/// What the page promises of its first view.
const PROMISED: (Duration, usize) = (Duration::from_millis(100), 200 << 10);

/// Near enough to a normal number: the sum of twelve uniform ones.
fn normal(random: &mut SplitMix64) -> f64 {
    (0..12).map(|_| random.below(1 << 20) as f64 / f64::from(1 << 20)).sum::<f64>() - 6.0
}

fn reference(model: &ModelName) -> anyhow::Result<baseline::Baseline> {
    let mut random = SplitMix64::new(7);
    let mut of_row = Vec::new();
    for hour in 0..HOURS {
        of_row.extend(std::iter::repeat_n(hour, ROWS));
    }
    let values: Vec<Vec<Value>> = (0..COLUMNS)
        .map(|_| {
            let mut level = 0.0;
            let mut drawn = Vec::with_capacity(of_row.len());
            for row in 0..of_row.len() {
                if row % ROWS == 0 {
                    level = 0.1 * normal(&mut random);
                }
                drawn.push(Value::Number(normal(&mut random) + level));
            }
            drawn
        })
        .collect();
    let names: Vec<String> = (0..COLUMNS).map(|column| format!("feature_{column:03}")).collect();
    let columns: Vec<SourceColumn<'_>> = names
        .iter()
        .zip(&values)
        .map(|(name, values)| SourceColumn { name, role: Role::Feature, kind: None, values })
        .collect();
    let options = BuildOptions {
        model: model.clone(),
        source: "the benchmark".into(),
        cut: CutOptions::default(),
        joint: false,
    };
    Ok(baseline::build(&columns, Some(Blocks { of_row: &of_row, cycle: None }), options)?)
}

/// Windows of an hour, the newest first; every seventh has one column shifted.
async fn seed(pool: &store::PgPool, model: &ModelName, windows: usize) -> anyhow::Result<()> {
    let baseline = reference(model)?;
    store::model::register(pool, model).await?;
    store::baseline::insert(pool, &baseline).await?;
    store::model::activate_baseline(pool, model, baseline.version()).await?;
    let newest: DateTime<Utc> = "2026-01-01T00:00:00Z".parse()?;
    let window = |back: usize| {
        let start = newest - TimeDelta::hours(i64::try_from(back).unwrap_or(0));
        Window { start, end: start + TimeDelta::hours(1) }
    };
    let shift = shadow::plainest_shift(&baseline, window(0), 0.5);
    let mut reports = Vec::with_capacity(DIFFERENT);
    for number in 0..DIFFERENT.min(windows) {
        let shift = shift.as_ref().filter(|_| number % 7 == 0);
        let profile = shadow::draw(&baseline, window(number), 2_000, number as u64, shift);
        let losses = Losses { seen: 2_000, kept: 2_000, ..Losses::default() };
        reports.push(drift::evaluate(&baseline, &profile, losses, window(number), &Criteria::default())?);
    }
    for back in 0..windows {
        let mut report = reports[back % reports.len()].clone();
        (report.window_start, report.window_end) = (window(back).start, window(back).end);
        store::drift_report::insert(pool, Uuid::now_v7(), &report).await?;
    }
    sqlx_analyze(pool).await
}

/// Statistics as they are in a database that has been running for a while.
async fn sqlx_analyze(pool: &store::PgPool) -> anyhow::Result<()> {
    sqlx::query("analyze").execute(pool).await?;
    Ok(())
}

/// Median and slowest time, and bytes of the body.
async fn measure(client: &reqwest::Client, address: &str) -> anyhow::Result<(Duration, Duration, usize)> {
    let mut times = Vec::with_capacity(REQUESTS);
    let mut bytes = 0;
    for _ in 0..REQUESTS {
        let began = Instant::now();
        let answer = client.get(address).send().await?.error_for_status()?;
        bytes = answer.bytes().await?.len();
        times.push(began.elapsed());
    }
    times.sort_unstable();
    Ok((times[times.len() / 2], times[times.len() - 1], bytes))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let days = if std::env::args().any(|argument| argument == "--quick") { 5 } else { 90 };
    let server =
        std::env::var("DATABASE_URL").context("DATABASE_URL names a server to create a database on")?;
    let url = store::create_database(&server, &format!("driftline_page_{}", Uuid::now_v7().simple())).await?;
    let pool = store::connect(&url, 4).await?;
    let model = ModelName::parse("bench")?;
    let began = Instant::now();
    seed(&pool, &model, days * 24).await?;
    println!("seeded {} columns x {} windows in {:.0} s", COLUMNS, days * 24, began.elapsed().as_secs_f64());
    let settings = format!(
        "listen: {{proxy: 127.0.0.1:0, admin: 127.0.0.1:0}}\ndatabase: {{url: '{url}'}}\nmodels: [{{name: bench}}]\n"
    );
    let app = App::build(Settings::parse(&settings, "bench.yaml")?).await?;
    let admin = format!("http://{}", app.admin_address());
    let shutdown = CancellationToken::new();
    let running = tokio::task::spawn(app.run(shutdown.clone().cancelled_owned()));
    let client = reqwest::Client::new();
    let profile = if cfg!(debug_assertions) { "without optimisation" } else { "optimised" };
    println!("{REQUESTS} requests each, one after the other; this program was built {profile}");
    println!("{:<44} {:>9} {:>9} {:>8}", "", "median ms", "worst ms", "KB");
    let mut slow = Vec::new();
    for (name, path) in [
        ("/livez (no database, no page)", "/livez"),
        ("/metrics", "/metrics"),
        ("overview", "/"),
        ("model, 90 windows, 100 columns", "/models/bench"),
        ("model, 90 windows, 500 columns", "/models/bench?all=true"),
        ("model, 2160 windows, 100 columns", "/models/bench?reach=2160"),
        ("column", "/models/bench/feature?name=feature_000"),
        ("baselines", "/models/bench/baselines"),
        ("alerts", "/alerts"),
        ("training", "/runs"),
        ("system", "/system"),
        ("style", "/assets/page.css"),
    ] {
        let path = if name == "style" { style(&client, &admin).await? } else { path.to_owned() };
        let (median, worst, bytes) = measure(&client, &format!("{admin}{path}")).await?;
        let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
        println!(
            "{name:<44} {:>9.1} {:>9.1} {:>8.1}",
            milliseconds(median),
            milliseconds(worst),
            bytes as f64 / 1024.0
        );
        if name == "overview" && (median > PROMISED.0 || bytes > PROMISED.1) {
            slow.push(name);
        }
    }
    shutdown.cancel();
    running.await??;
    anyhow::ensure!(slow.is_empty(), "over 100 ms or 200 KB: {}", slow.join(", "));
    println!("the first view is under 100 ms and 200 KB");
    Ok(())
}

/// The address of the style, which is named by its content.
async fn style(client: &reqwest::Client, admin: &str) -> anyhow::Result<String> {
    let text = client.get(admin).send().await?.text().await?;
    let at = text.find("/assets/page-").context("the page names its style")?;
    let rest = &text[at..];
    Ok(rest[..rest.find('"').unwrap_or(rest.len())].to_owned())
}
