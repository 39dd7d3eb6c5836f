//! Performance from labels on a real Postgres: late and in any order, by segment, told by a rule between windows.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, TimeDelta, Utc};
use driftline::alert::RuleSet;
use driftline::baseline::{self, BuildOptions, CutOptions, SourceColumn};
use driftline::config::Settings;
use driftline::metrics::Metrics;
use driftline::model::{ModelName, Role, Value};
use driftline::performance::{Metric, PerformanceReport};
use driftline::store::captured::{self, CapturedRow};
use driftline::store::label::{self, Label, Rules};
use driftline::store::{self, PgPool};
use driftline::tasks::{Performance, Watch};
use serde_json::{Value as Json, json};
use tokio::sync::Notify;

use crate::support::{database, database_with_url};

const SETTINGS: &str = "models:
- name: m
  window: 1h
  segments: [region]
  labels: {max_delay: 12h}
  performance: {task: binary, output: score, target: churned}
receivers: {oncall: {webhook: {url: 'https://hook.example.com'}}}
";

/// Rows of an hour; every tenth has no label.
const ROWS: i64 = 400;

fn model() -> ModelName {
    ModelName::parse("m").unwrap()
}

fn start() -> DateTime<Utc> {
    "2026-03-01T00:00:00Z".parse().unwrap()
}

fn settings() -> Settings {
    Settings::parse(SETTINGS, "driftline.yaml").unwrap()
}

fn performance(pool: &PgPool, metrics: &Metrics, clock: fn() -> DateTime<Utc>) -> Performance {
    Performance::new(pool.clone(), Arc::new(settings()), metrics.performance.clone(), clock)
}

/// Row `row` of hour `hour`: its id, when it was predicted, its region.
fn row(hour: i64, row: i64) -> (String, DateTime<Utc>, &'static str) {
    let at = start() + TimeDelta::hours(hour) + TimeDelta::seconds(row * 3600 / ROWS);
    (format!("{hour}-{row}"), at, if row % 4 == 0 { "eu" } else { "us" })
}

/// A score above and below a half by turns.
fn score(row: i64) -> f64 {
    let even = (row * 37 % 100) as f64 / 250.0;
    if row % 2 == 0 { 0.55 + even } else { 0.05 + even }
}

async fn predictions(pool: &PgPool, hour: i64) {
    let object = |value: Json| value.as_object().unwrap().clone();
    let rows: Vec<CapturedRow> = (0..ROWS)
        .map(|index| {
            let (row_id, event_time, region) = row(hour, index);
            CapturedRow {
                row_id,
                event_time,
                features: object(json!({ "x": index, "region": region })),
                outputs: object(json!({ "score": score(index) })),
                ..CapturedRow::default()
            }
        })
        .collect();
    let mut transaction = pool.begin().await.unwrap();
    captured::insert(&mut transaction, &model(), &rows).await.unwrap();
    transaction.commit().await.unwrap();
}

/// What came true: as the score says, but for every `wrong`th row of a region.
fn came_true(index: i64, wrong: &dyn Fn(&str) -> i64) -> bool {
    let (_, _, region) = row(0, index);
    let said = score(index) >= 0.5;
    // One in so many of the rows of a region, whatever they score.
    if (index / 4) % wrong(region) == 0 { !said } else { said }
}

/// Gives labels to those of `rows` that get one, each known two hours after its prediction.
async fn labels(pool: &PgPool, hour: i64, rows: impl Iterator<Item = i64>, wrong: &dyn Fn(&str) -> i64) {
    let labels: Vec<Label> = rows
        .filter(|index| index % 10 != 9)
        .map(|index| {
            let (id, at, _) = row(hour, index);
            Label::by_id(id, json!({ "churned": came_true(index, wrong) }), at + TimeDelta::hours(2))
        })
        .collect();
    let mut transaction = pool.begin().await.unwrap();
    label::upsert(&mut transaction, &model(), &labels, &Rules::default()).await.unwrap();
    transaction.commit().await.unwrap();
}

async fn with_baseline(pool: &PgPool) {
    let values = |value: fn(i64) -> Value| -> Vec<Value> { (0..1000).map(value).collect() };
    let (x, region) = (
        values(|index| Value::Number(index as f64)),
        values(|index| Value::Text(row(0, index).2.to_owned())),
    );
    let column = |name, values| SourceColumn { name, role: Role::Feature, kind: None, values };
    let options =
        BuildOptions { model: model(), source: "test".into(), cut: CutOptions::default(), joint: false };
    let built = baseline::build(&[column("x", &x), column("region", &region)], None, options).unwrap();
    store::model::register(pool, &model()).await.unwrap();
    store::baseline::insert(pool, &built).await.unwrap();
    store::model::activate_baseline(pool, &model(), built.version()).await.unwrap();
}

async fn reports(pool: &PgPool) -> Vec<PerformanceReport> {
    store::performance::latest(pool, &model(), false, 100).await.unwrap()
}

fn accuracy(report: &PerformanceReport, segment: Option<&str>) -> f64 {
    report.cohort(segment).unwrap().figures[&Metric::Accuracy].value
}

#[tokio::test]
async fn labels_that_come_late_and_in_any_order_give_the_same_figures() {
    static CLOCK: AtomicI64 = AtomicI64::new(0);
    let clock = || start() + TimeDelta::minutes(CLOCK.load(Ordering::SeqCst));
    let pool = database().await;
    with_baseline(&pool).await;
    let metrics = Metrics::new().unwrap();
    let mut task = performance(&pool, &metrics, clock);
    let settings = settings();
    let model_settings = &settings.models[0];
    for hour in 0..2 {
        predictions(&pool, hour).await;
    }
    CLOCK.store(3 * 60 + 30, Ordering::SeqCst);
    assert_eq!(task.judge_due(model_settings).await.unwrap(), 0, "nothing has a label yet");

    // A quarter of the first hour, the last rows first.
    labels(&pool, 0, (300..ROWS).rev(), &|_| 5).await;
    assert_eq!(task.judge_due(model_settings).await.unwrap(), 1);
    let found = reports(&pool).await;
    assert_eq!((found[0].all.rows, found[0].all.labelled, found[0].all.n), (400, 90, 90));
    // Labels took two hours, and the window ended two and a half hours ago.
    assert!(found[0].mature && (found[0].delay_seconds - 7200.0).abs() < 1.0, "{found:?}");
    assert_eq!(task.judge_due(model_settings).await.unwrap(), 0, "what is known is judged once");

    // The rest, and the second hour, whose labels are not to be waited for yet.
    labels(&pool, 1, 0..ROWS, &|_| 5).await;
    labels(&pool, 0, 0..300, &|_| 5).await;
    assert_eq!(task.judge_due(model_settings).await.unwrap(), 2);
    let found = reports(&pool).await;
    assert_eq!(found.iter().map(|report| report.mature).collect::<Vec<_>>(), [false, true]);
    let values = |report: &PerformanceReport| -> Vec<(Metric, f64)> {
        report.all.figures.iter().map(|(metric, estimate)| (*metric, estimate.value)).collect()
    };
    assert_eq!(values(&found[0]), values(&found[1]), "the order of labels decides nothing");
    assert_eq!(values(&found[0]).len(), 9);
    let first = &found[1];
    assert_eq!((first.all.rows, first.all.labelled), (400, 360));
    let right = (0..ROWS).filter(|index| index % 10 != 9 && (index / 4) % 5 != 0).count() as f64 / 360.0;
    assert!((accuracy(first, None) - right).abs() < 1e-12, "{} and {right}", accuracy(first, None));
    let error = first.all.figures[&Metric::Accuracy].standard_error.unwrap();
    assert!((0.01..0.06).contains(&error), "{error}");
    let names: Vec<&str> = first.segments.iter().filter_map(|cohort| cohort.segment.as_deref()).collect();
    assert_eq!(names, ["region=us", "region=eu", "region=(other)", "region=(missing)"]);
    let eu = first.cohort(Some("region=eu")).unwrap();
    assert_eq!((eu.rows, eu.labelled, eu.n), (100, 100, 100));
    assert_eq!(first.segments.iter().map(|cohort| cohort.rows).sum::<u64>(), 400);

    // A label that took the place of another is one more change, and time alone makes the second hour mature.
    let changed = Label::by_id("0-5", json!({ "churned": true }), start() + TimeDelta::hours(9));
    let mut transaction = pool.begin().await.unwrap();
    label::upsert(&mut transaction, &model(), &[changed], &Rules::default()).await.unwrap();
    transaction.commit().await.unwrap();
    CLOCK.store(4 * 60 + 30, Ordering::SeqCst);
    assert_eq!(task.judge_due(model_settings).await.unwrap(), 2);
    let found = reports(&pool).await;
    assert!(found.iter().all(|report| report.mature));
    assert!((accuracy(&found[1], None) - (right - 1.0 / 360.0)).abs() < 1e-12);
    let text = metrics.encode().unwrap();
    assert!(text.contains("driftline_performance_rows{model=\"m\"} 360"), "{text}");
    // Another process finds nothing to do.
    assert_eq!(performance(&pool, &metrics, clock).judge_due(model_settings).await.unwrap(), 0);
}

const RULES: &str = r#"
groups:
- name: g
  rules:
  - alert: AccuracyFell
    for_each: model
    every: 1m
    expr: performance.n >= 300 && performance.accuracy < baseline.performance.accuracy - 0.05
  - alert: SegmentAccuracyFell
    for_each: segment
    every: 1m
    expr: performance.n >= 50 && performance.accuracy < baseline.performance.accuracy - 0.2
    annotations: {summary: "{{segment}} fell"}
"#;

#[tokio::test]
async fn a_segment_that_fell_is_told_beside_its_own_earlier_windows() {
    static CLOCK: AtomicI64 = AtomicI64::new(0);
    let clock = || start() + TimeDelta::minutes(CLOCK.load(Ordering::SeqCst)) + TimeDelta::seconds(5);
    let (pool, url) = database_with_url().await;
    with_baseline(&pool).await;
    let metrics = Metrics::new().unwrap();
    let (mut task, settings) = (performance(&pool, &metrics, clock), settings());
    let model_settings = &settings.models[0];
    let rules = RuleSet::parse(&[("r.yaml".into(), RULES.into())]).unwrap();
    let (_sender, rules) = tokio::sync::watch::channel(Arc::new(rules));
    let mut watch =
        Watch::new(pool.clone(), Arc::new(settings.clone()), rules, Arc::new(Notify::new()), clock);
    // Four hours in which one of ten is wrong, then one in which it is every second one of the smaller region.
    for hour in 0..5 {
        predictions(&pool, hour).await;
        let bad = hour == 4;
        labels(&pool, hour, 0..ROWS, &|region| if bad && region == "eu" { 2 } else { 10 }).await;
        CLOCK.store((hour + 4) * 60, Ordering::SeqCst);
        assert_eq!(task.judge_due(model_settings).await.unwrap(), 1, "hour {hour}");
        watch.look_due(model_settings).await.unwrap();
    }
    let newest = reports(&pool).await.remove(0);
    let against = newest.cohort(Some("region=eu")).unwrap().baseline.clone().unwrap();
    assert_eq!(against.source, "4 earlier windows");
    let alerts = store::alert::list(&pool, Some(&model())).await.unwrap();
    let firing: BTreeMap<&str, &str> = alerts
        .iter()
        .filter(|alert| alert.state.firing_since().is_some())
        .map(|alert| (alert.rule.as_str(), alert.subject.as_str()))
        .collect();
    assert_eq!(firing, [("AccuracyFell", "m"), ("SegmentAccuracyFell", "region=eu")].into(), "{newest:?}");
    let of = |rule: &str| alerts.iter().find(|alert| alert.rule == rule).unwrap();
    let item = &of("SegmentAccuracyFell").notice.as_ref().unwrap().item;
    assert_eq!((item.summary.as_str(), item.n), ("region=eu fell", 100));
    assert_eq!(of("SegmentAccuracyFell").labels["segment"], "region=eu");
    assert!(
        item.moved[0].starts_with("accuracy is 0.500 (standard error 0.0")
            && item.moved[0].ends_with("over 100 labelled predictions, 0.900 in 4 earlier windows"),
        "{:?}",
        item.moved
    );
    assert_eq!(
        item.moved[1],
        "in the window from 2026-03-01 04:00 UTC, 100 % of 100 predictions have a label"
    );

    // What a person sees of it.
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("driftline.yaml"), SETTINGS).unwrap();
    let driftline = |arguments: &[&str]| {
        let ended = Command::new(env!("CARGO_BIN_EXE_driftline"))
            .arg("performance")
            .args(arguments)
            .current_dir(folder.path())
            .env_remove("DRIFTLINE_CONFIG")
            .env("DRIFTLINE__DATABASE__URL", &url)
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (ended.status.code(), text(&ended.stdout), text(&ended.stderr))
    };
    let (status, out, err) = driftline(&["list", "-m", "m", "--json"]);
    assert_eq!((status, err.as_str()), (Some(0), ""));
    let listed: Json = serde_json::from_str(&out).unwrap();
    assert_eq!(listed["reports"].as_array().unwrap().len(), 5);
    assert_eq!(listed["reports"][0]["all"]["labelled"], 360);
    let (status, out, err) = driftline(&["show", "-m", "m"]);
    assert_eq!(status, Some(0), "{err}");
    for part in ["360 of 400 predictions labelled (90.0 %)", "4 earlier windows", "worse", "region=eu"] {
        assert!(out.contains(part), "{part} is not in\n{out}");
    }
    let (status, _, err) = driftline(&["show", "-m", "m", "--at", "2025-01-01T00:00:00Z"]);
    assert_eq!(status, Some(2));
    assert!(err.contains("there is no report on a window of `m` that holds 2025-01-01T00:00:00Z"), "{err}");
}
