//! Rules that watch between windows: what is stored is looked at once a minute, by one process.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, TimeDelta, Utc};
use driftline::alert::{Message, RuleSet};
use driftline::app::{self, App};
use driftline::config::Settings;
use driftline::drift::Losses;
use driftline::model::ModelName;
use driftline::store::profile_part::{self, TapPart};
use driftline::store::{self, PgPool};
use driftline::tasks::Watch;
use driftline::traffic::{self, Exchange, TrafficCounts, TrafficVerdict};
use driftline::window::Window;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::support;

const RULES: &str = r#"
groups:
- name: g
  rules:
  - alert: NoData
    for_each: model
    every: 1m
    for: 3m
    expr: no_data
    annotations: {summary: "nothing for {{seconds_since_prediction}} s"}
  - alert: Slow
    for_each: model
    every: 1m
    over: 2m
    for: 2 of 3
    expr: requests >= 5 && latency.p99 > 2.0 * baseline.latency.p99
  - alert: Unjudged
    for_each: model
    every: 5m
    expr: seconds_unjudged >= 600
"#;

/// Answers per minute.
const ANSWERS: u64 = 60;

fn model() -> ModelName {
    ModelName::parse("m").unwrap()
}

fn start() -> DateTime<Utc> {
    "2026-03-01T10:00:00Z".parse().unwrap()
}

const SETTINGS: &str = "models: [{name: m, window: 1h}]\n\
                        receivers: {oncall: {webhook: {url: 'https://hook.example.com'}}}\n";

/// A watch whose present is `clock`, in seconds from [`start`].
fn watch(pool: &PgPool, clock: fn() -> DateTime<Utc>) -> (Watch, Settings) {
    let settings = Settings::parse(SETTINGS, "driftline.yaml").unwrap();
    let rules = RuleSet::parse(&[("rules.yaml".into(), RULES.into())]).unwrap();
    let (_, rules) = tokio::sync::watch::channel(Arc::new(rules));
    let watch = Watch::new(pool.clone(), Arc::new(settings.clone()), rules, Arc::new(Notify::new()), clock);
    (watch, settings)
}

/// A minute's traffic of which every answer took so long.
fn answers(milliseconds: f64) -> TrafficCounts {
    let mut counts = TrafficCounts::default();
    for _ in 0..ANSWERS {
        counts.record(&Exchange {
            upstream_seconds: milliseconds / 1000.0,
            answer_seconds: milliseconds / 1000.0,
            overhead_seconds: 0.0001,
            status: 200,
            grpc_status: None,
            request_bytes: 100,
            response_bytes: 100,
            in_flight: 1,
        });
    }
    counts
}

/// Writes what a replica saw in a minute, as if it were written at its end.
async fn minute(pool: &PgPool, replica: &str, minute: i64, milliseconds: f64) {
    let minute = start() + TimeDelta::minutes(minute);
    let part = TapPart {
        model: model(),
        minute,
        replica: replica.to_owned(),
        part: 0,
        losses: Losses { seen: ANSWERS, kept: ANSWERS, ..Losses::default() },
        traffic: Some(traffic::encode(&answers(milliseconds))),
    };
    profile_part::upsert_taps(pool, &[part]).await.unwrap();
    sqlx::query("update tap_part set first_at = minute, updated_at = minute + interval '59 seconds'")
        .execute(pool)
        .await
        .unwrap();
}

/// Windows of the hours before [`start`], in which answers took 10 ms.
async fn earlier_windows(pool: &PgPool) {
    store::model::register(pool, &model()).await.unwrap();
    for hour in 1..=10 {
        let begin = start() - TimeDelta::hours(hour);
        let window = Window { start: begin, end: begin + TimeDelta::hours(1) };
        let content = traffic::encode(&answers(10.0));
        store::traffic::insert(pool, &model(), window, TrafficVerdict::Ok, &content).await.unwrap();
    }
}

/// Rule and change, oldest first.
async fn transitions(pool: &PgPool) -> Vec<String> {
    let mut rows = store::alert::transitions(pool, Some(&model()), 100).await.unwrap();
    rows.reverse();
    assert!(rows.iter().all(|row| row.report.is_none()));
    rows.iter()
        .map(|row| format!("{} {} {}>{}", row.at.format("%H:%M"), row.rule, row.from, row.to))
        .collect()
}

async fn messages(pool: &PgPool) -> Vec<Message> {
    let rows: Vec<(sqlx::types::Json<Message>,)> =
        sqlx::query_as("select message from outbox order by created_at, id").fetch_all(pool).await.unwrap();
    rows.into_iter().map(|(row,)| row.0).collect()
}

#[tokio::test]
async fn a_slow_and_then_silent_model_raises_alerts_between_windows() {
    static CLOCK: AtomicI64 = AtomicI64::new(0);
    let clock = || start() + TimeDelta::seconds(CLOCK.load(Ordering::SeqCst));
    let pool = support::database().await;
    earlier_windows(&pool).await;
    let (mut watch, settings) = watch(&pool, clock);
    let mut other = self::watch(&pool, clock).0;
    let model = &settings.models[0];
    for at in 0..13 {
        // Five minutes as usual, three slow ones, and then nothing. Two replicas have half each.
        if at < 8 {
            let milliseconds = if at < 5 { 10.0 } else { 80.0 };
            minute(&pool, "a", at, milliseconds).await;
            minute(&pool, "b", at, milliseconds).await;
        }
        if at == 9 {
            // The process is started anew in the middle of it.
            watch = self::watch(&pool, clock).0;
        }
        CLOCK.store(60 * (at + 1) + 2, Ordering::SeqCst);
        assert_eq!(
            watch.look_due(model).await.unwrap(),
            usize::from(at == 0) * 3,
            "the minute may not be written yet"
        );
        CLOCK.store(60 * (at + 1) + 4, Ordering::SeqCst);
        let due = if at == 0 {
            2
        } else if (at + 1) % 5 == 0 {
            3
        } else {
            2
        };
        assert_eq!(watch.look_due(model).await.unwrap(), due, "minute {at}");
        assert_eq!(watch.look_due(model).await.unwrap(), 0, "a minute is looked at once");
        assert_eq!(other.look_due(model).await.unwrap(), 0, "by one process");
    }
    let expected = [
        "10:06 Slow inactive>pending",
        "10:07 Slow pending>firing",
        "10:09 NoData inactive>pending",
        "10:10 Unjudged inactive>firing",
        // Of the last three looks, the first still saw slow answers.
        "10:11 Slow firing>resolved",
        "10:12 NoData pending>firing",
    ];
    let mut found = transitions(&pool).await;
    found.sort();
    assert_eq!(found, expected);
    let told: Vec<_> = messages(&pool).await.into_iter().map(|message| message.summary).collect();
    assert_eq!(
        told,
        [
            "m: upstream_p99 is 80 ms, before 10 ms (8 times)",
            "m: predictions wait for a verdict since 10 min",
            "Slow is over for m; still firing: m: predictions wait for a verdict since 10 min",
            "nothing for 241 s",
        ]
    );
}

#[tokio::test]
async fn a_model_that_another_process_judges_is_looked_at_after_it() {
    let clock = || start() + TimeDelta::seconds(4);
    let pool = support::database().await;
    earlier_windows(&pool).await;
    let (mut watch, settings) = watch(&pool, clock);
    let mut judging = pool.begin().await.unwrap();
    assert!(store::model::try_lead(&mut judging, &model()).await.unwrap());
    assert_eq!(watch.look_due(&settings.models[0]).await.unwrap(), 0);
    judging.rollback().await.unwrap();
    assert_eq!(watch.look_due(&settings.models[0]).await.unwrap(), 3);
    assert!(transitions(&pool).await.is_empty(), "nothing is known of a model that was never asked");
}

#[tokio::test]
async fn traffic_that_cannot_be_read_is_unknown_and_holds_nothing_up() {
    let clock = || start() + TimeDelta::seconds(64);
    let pool = support::database().await;
    earlier_windows(&pool).await;
    minute(&pool, "a", 0, 80.0).await;
    sqlx::query("update tap_part set content = 'of a later build'").execute(&pool).await.unwrap();
    sqlx::query("update tap_part set updated_at = minute - interval '1 day'").execute(&pool).await.unwrap();
    let (mut watch, settings) = watch(&pool, clock);
    assert_eq!(watch.look_due(&settings.models[0]).await.unwrap(), 3);
    assert_eq!(transitions(&pool).await, ["10:01 NoData inactive>pending"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sidecar_watches() {
    app::install_crypto();
    let folder = tempfile::tempdir().unwrap();
    let (pool, url) = support::database_with_url().await;
    store::model::register(&pool, &model()).await.unwrap();
    let rules = folder.path().join("rules.yaml");
    let rule = "groups: [{name: g, rules: [{alert: Always, for_each: model, every: 1m, expr: window_seconds == 3600}]}]";
    std::fs::write(&rules, rule).unwrap();
    let settings = format!(
        "listen: {{admin: 127.0.0.1:0}}\ndatabase: {{url: '{url}'}}\nmodels: [{{name: m, window: 1h}}]\n\
         rules: ['{}']\n",
        rules.display()
    );
    let app = App::build(Settings::parse(&settings, "driftline.yaml").unwrap()).await.unwrap();
    let stop = CancellationToken::new();
    let mut running = JoinSet::new();
    running.spawn(app.run(stop.clone().cancelled_owned()));
    let fired = support::wait_for("the alert", || async {
        store::alert::transitions(&pool, Some(&model()), 10).await.unwrap().pop()
    })
    .await;
    assert_eq!((fired.rule.as_str(), fired.to.as_str(), fired.report), ("Always", "firing", None));
    assert_eq!(fired.evidence["rule_hash"].as_str().map(str::len), Some(12));
    stop.cancel();
    running.join_next().await.unwrap().unwrap().unwrap();
}
