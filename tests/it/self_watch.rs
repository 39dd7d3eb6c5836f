//! The watch watched: its faults become alerts, and a canary finds what is broken on the way to a person.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use driftline::alert::{Fault, Message, RuleSet, judge_faults, sample};
use driftline::app;
use driftline::baseline::{self, Baseline, Blocks, BuildOptions, CutOptions, SourceColumn};
use driftline::config::Settings;
use driftline::drift::{Losses, shadow};
use driftline::metrics::Metrics;
use driftline::model::{ModelName, Role, Value};
use driftline::notify::Receivers;
use driftline::profile;
use driftline::store::profile_part::{ProfilePart, TapPart, upsert_profiles, upsert_taps};
use driftline::store::{self, PgPool, outbox};
use driftline::tasks::{Canary, Evaluator, Faults, Notifier, SelfWatch, Trial};
use driftline::window::Window;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::support;

fn model() -> ModelName {
    ModelName::parse("m").unwrap()
}

/// Somewhere in 2026, so that ids of version 7 and windows are those of life.
const START: i64 = 1_790_000_000;

fn start() -> DateTime<Utc> {
    DateTime::from_timestamp(START, 0).unwrap()
}

/// Forty hours of two inputs that are alike, or some hours that differ wildly.
fn reference(hours: i64, differing: bool) -> Baseline {
    let (mut x, mut y, mut of_row) = (Vec::new(), Vec::new(), Vec::new());
    for hour in 0..hours {
        for row in 0..200_i64 {
            let level = if differing { (hour * 7919 % 13) as f64 * 300.0 } else { 0.0 };
            x.push(Value::Number((row * 37 % 200) as f64 + level));
            y.push(Value::Number((row * 91 % 200) as f64 + level));
            of_row.push(hour);
        }
    }
    let column = |name, values| SourceColumn { name, role: Role::Feature, kind: None, values };
    let columns = [column("x", x.as_slice()), column("y", y.as_slice())];
    let options =
        BuildOptions { model: model(), source: "reference".into(), cut: CutOptions::default(), joint: true };
    baseline::build(&columns, Some(Blocks { of_row: &of_row, cycle: None }), options).unwrap()
}

fn settings(more: &str) -> Arc<Settings> {
    let text = format!(
        "models: [{{name: m, window: 1h, lateness: 0s{more}}}]\n\
         receivers: {{oncall: {{webhook: {{url: 'http://127.0.0.1:9/', allow_private: true}}}}}}\n"
    );
    Arc::new(Settings::parse(&text, "driftline.yaml").unwrap())
}

/// One process's watch, with what it is told of.
struct Watch {
    task: SelfWatch,
    faults: Faults,
    metrics: Metrics,
}

impl Watch {
    fn new(pool: &PgPool, now: fn() -> DateTime<Utc>) -> Self {
        let (metrics, faults) = (Metrics::new().unwrap(), Faults::default());
        let task = SelfWatch::new(
            pool.clone(),
            settings(""),
            metrics.clone(),
            faults.clone(),
            Arc::new(Notify::new()),
            now,
        );
        Self { task, faults, metrics }
    }

    async fn look(&mut self) {
        self.task.look().await.unwrap();
    }
}

/// The internal alerts that are firing.
async fn firing(pool: &PgPool) -> Vec<String> {
    let alerts = store::alert::list(pool, Some(&ModelName::own())).await.unwrap();
    let firing = alerts.into_iter().filter(|alert| alert.state.firing_since().is_some());
    let mut names: Vec<String> = firing.map(|alert| alert.rule).collect();
    names.sort();
    names
}

async fn messages(pool: &PgPool) -> Vec<Message> {
    let rows: Vec<(serde_json::Value,)> =
        sqlx::query_as("select message from outbox order by id").fetch_all(pool).await.unwrap();
    rows.into_iter().map(|(message,)| serde_json::from_value(message).unwrap()).collect()
}

#[tokio::test]
async fn a_fault_becomes_an_alert_that_ends_with_it() {
    let pool = support::database().await;
    let mut watch = Watch::new(&pool, app::now);
    watch.look().await;
    assert!(firing(&pool).await.is_empty() && messages(&pool).await.is_empty());
    watch.faults.set(Fault::CanaryFailed, Some("m: not seen".to_owned()));
    watch.look().await;
    watch.look().await;
    assert_eq!(firing(&pool).await, ["CanaryFailed"]);
    let told = messages(&pool).await;
    assert_eq!(told.len(), 1, "one message, not one a look");
    assert!(told[0].summary.contains("m: not seen"), "{}", told[0].summary);
    assert_eq!((told[0].receiver.as_str(), told[0].severity()), ("oncall", Some("critical")));
    assert_eq!(watch.metrics.watch.faults.with_label_values(&["CanaryFailed"]).get(), 1);

    // Another process knows nothing of it, and does not end it.
    let mut other = Watch::new(&pool, app::now);
    other.look().await;
    assert_eq!(firing(&pool).await, ["CanaryFailed"]);
    watch.faults.set(Fault::CanaryFailed, None);
    watch.look().await;
    assert!(firing(&pool).await.is_empty());
    let transitions = store::alert::transitions(&pool, Some(&ModelName::own()), 10).await.unwrap();
    let steps: Vec<_> = transitions.iter().map(|step| (step.from.as_str(), step.to.as_str())).collect();
    assert_eq!(steps, [("firing", "resolved"), ("inactive", "firing")]);
    assert_eq!(messages(&pool).await.len(), 2);
    assert!(store::model::list(&pool).await.unwrap().is_empty(), "it is no model");
}

#[tokio::test]
async fn faults_of_a_process_that_is_gone_are_forgotten() {
    let pool = support::database().await;
    let mut gone = Watch::new(&pool, app::now);
    gone.faults.set(Fault::RulesReloadFailed, Some("a.yaml:1: no".to_owned()));
    gone.look().await;
    let mut other = Watch::new(&pool, app::now);
    other.look().await;
    assert_eq!(firing(&pool).await, ["RulesReloadFailed"]);
    sqlx::query("update internal_fault set updated_at = updated_at - interval '2 minutes'")
        .execute(&pool)
        .await
        .unwrap();
    other.look().await;
    assert!(firing(&pool).await.is_empty());
}

async fn queue(pool: &PgPool, message: Message) {
    let mut transaction = pool.begin().await.unwrap();
    outbox::insert(&mut transaction, &[message], app::now()).await.unwrap();
    transaction.commit().await.unwrap();
}

/// A message about a model's alert.
fn message(id: u128) -> Message {
    let found = [(Fault::CanaryFailed, "x".to_owned())].into();
    let mut notice = *judge_faults(&[], &found, start()).alerts.remove(0).notice.unwrap();
    notice.model = model();
    let told = sample("oncall", &model(), uuid::Uuid::from_u128(id), start());
    Message { alerts: vec![notice], ..told }
}

#[tokio::test]
async fn messages_that_wait_or_were_given_up_are_told() {
    let pool = support::database().await;
    let mut watch = Watch::new(&pool, app::now);
    queue(&pool, message(1)).await;
    queue(&pool, message(2)).await;
    watch.look().await;
    assert!(firing(&pool).await.is_empty());
    sqlx::query("update outbox set created_at = now() - interval '16 minutes' where id = $1")
        .bind(message(1).id)
        .execute(&pool)
        .await
        .unwrap();
    watch.look().await;
    assert_eq!(firing(&pool).await, ["MessagesLate"]);
    assert!(watch.metrics.watch.outbox_oldest.get() > 900.0);
    sqlx::query(
        "update outbox set state = 'dead', next_attempt_at = now(), last_error = '404 Not Found' where id = $1",
    )
    .bind(message(1).id)
    .execute(&pool)
    .await
    .unwrap();
    watch.look().await;
    assert_eq!(firing(&pool).await, ["MessagesGivenUp"]);
    assert!(messages(&pool).await.iter().any(|told| told.summary.contains("404 Not Found")));
    assert_eq!(watch.metrics.watch.outbox.with_label_values(&["oncall", "dead"]).get(), 1);

    // The message about it dies, too: that is no new fault, or it would never end.
    sqlx::query("update outbox set state = 'dead', next_attempt_at = now() where message #>> '{alerts,0,model}' = 'driftline'")
        .execute(&pool)
        .await
        .unwrap();
    let backlog = outbox::backlog(&pool, app::now() - TimeDelta::minutes(1)).await.unwrap();
    assert_eq!(backlog.given_up, Some(("oncall".to_owned(), "404 Not Found".to_owned())));
}

#[tokio::test]
async fn minutes_that_were_given_up_are_told_for_half_an_hour() {
    static MINUTES: AtomicI64 = AtomicI64::new(0);
    fn now() -> DateTime<Utc> {
        start() + TimeDelta::minutes(MINUTES.load(Ordering::Relaxed))
    }
    let pool = support::database().await;
    let mut watch = Watch::new(&pool, now);
    watch.metrics.tap.dropped.with_label_values(&["m", "store_behind"]).inc_by(40);
    watch.look().await;
    let told = messages(&pool).await;
    assert!(told[0].summary.contains("40 predictions"), "{}", told[0].summary);
    for (minutes, expected) in [(1, 1), (29, 1), (32, 0)] {
        MINUTES.store(minutes, Ordering::Relaxed);
        watch.look().await;
        assert_eq!(firing(&pool).await.len(), expected, "after {minutes} minutes");
    }
}

/// Writes a whole window as the recorder would.
async fn record(
    pool: &PgPool,
    baseline: &Baseline,
    window: Window,
    seed: u64,
    shift: Option<&shadow::Shift>,
) {
    let drawn = shadow::draw(baseline, window, 2_000, seed, shift);
    let part = ProfilePart {
        model: model(),
        model_version: String::new(),
        segment: String::new(),
        baseline: baseline.version().to_owned(),
        minute: window.start,
        replica: "test".into(),
        part: 0,
        rows: drawn.rows(),
        content: profile::encode(&drawn),
        seen: driftline::schema::Seen::default(),
    };
    let losses = Losses { seen: 2_000, kept: 2_000, ..Losses::default() };
    let tap = TapPart {
        model: model(),
        minute: window.start,
        replica: "test".into(),
        part: 0,
        losses,
        traffic: None,
    };
    upsert_profiles(pool, &[part]).await.unwrap();
    upsert_taps(pool, &[tap]).await.unwrap();
}

/// The window of an hour that ended `hours` hours before the one in which the tests began.
fn hour(hours: i64) -> Window {
    static BEGAN: LazyLock<DateTime<Utc>> = LazyLock::new(app::now);
    Window::holding(*BEGAN - TimeDelta::hours(hours + 1), Duration::from_hours(1))
}

#[tokio::test]
async fn a_window_that_nobody_judges_is_told() {
    let pool = support::database().await;
    let baseline = reference(10, false);
    app::register_baseline(&pool, &baseline).await.unwrap();
    record(&pool, &baseline, hour(3), 1, None).await;
    record(&pool, &baseline, hour(0), 2, None).await;
    let watch = Watch::new(&pool, app::now);
    let mut strict = watch.task.with_patience(TimeDelta::zero());
    strict.look().await.unwrap();
    assert_eq!(firing(&pool).await, ["WindowsNotJudged"]);
    let told = messages(&pool).await;
    assert!(told[0].summary.contains("m waits for its window from"), "{}", told[0].summary);
    evaluator(&pool, &RuleSet::default()).evaluate_due(&settings("").models[0]).await.unwrap();
    strict.look().await.unwrap();
    // Without any patience, the message about it is late by now; the window is not.
    assert_eq!(firing(&pool).await, ["MessagesLate"]);
}

fn evaluator(pool: &PgPool, rules: &RuleSet) -> Evaluator {
    // The value stays in the receiver when its sender is gone.
    let (_, rules) = watch::channel(Arc::new(rules.clone()));
    let metrics = Metrics::new().unwrap();
    Evaluator::new(pool.clone(), settings(""), rules, metrics, Arc::new(Notify::new()), app::now)
}

fn rules(names: &[&str]) -> RuleSet {
    let line = |name: &&str| {
        format!(
            "  - {{alert: {name}, for_each: feature, expr: 'verdict == \"drift\"', receivers: [oncall]}}\n"
        )
    };
    let text = format!("groups:\n- name: g\n  rules:\n{}", names.iter().map(line).collect::<String>());
    RuleSet::parse(&[("r.yaml".to_owned(), text)]).unwrap()
}

#[tokio::test]
async fn a_firing_alert_goes_on_over_restart_and_reload() {
    let pool = support::database().await;
    let baseline = reference(10, false);
    app::register_baseline(&pool, &baseline).await.unwrap();
    let shift = shadow::plainest_shift(&baseline, hour(3), 0.5).unwrap();
    let model_settings = &settings("").models[0];
    record(&pool, &baseline, hour(3), 1, Some(&shift)).await;
    // The watermark goes on with a later minute.
    record(&pool, &baseline, hour(2), 2, Some(&shift)).await;
    let first = evaluator(&pool, &rules(&["Drift"]));
    assert_eq!(first.evaluate_due(model_settings).await.unwrap(), 1);
    drop(first);
    let before = store::alert::list(&pool, None).await.unwrap();
    assert_eq!((before.len(), before[0].state.as_str()), (1, "firing"));

    // Another process, and rules of which one is new: the alert is the same, and nobody is told again.
    record(&pool, &baseline, hour(1), 3, Some(&shift)).await;
    let (sender, receiver) = watch::channel(Arc::new(rules(&["Drift", "Other"])));
    let metrics = Metrics::new().unwrap();
    let second =
        Evaluator::new(pool.clone(), settings(""), receiver, metrics, Arc::new(Notify::new()), app::now);
    second.evaluate_due(model_settings).await.unwrap();
    let after = store::alert::list(&pool, None).await.unwrap();
    let drift = after.iter().find(|alert| alert.rule == "Drift").unwrap();
    assert_eq!(drift.state.firing_since(), before[0].state.firing_since());
    let about = |messages: &[Message], rule: &str| {
        messages.iter().filter(|message| message.alerts.iter().any(|alert| alert.rule == rule)).count()
    };
    // What is told is that the other one joined, beside what fires still.
    let told = messages(&pool).await;
    assert_eq!((told.len(), about(&told, "Drift"), about(&told, "Other")), (2, 2, 1));

    // A rule that is gone from the files ends its alert in the next window, in the same process.
    sender.send_replace(Arc::new(rules(&["Drift"])));
    record(&pool, &baseline, hour(0), 4, Some(&shift)).await;
    second.evaluate_due(model_settings).await.unwrap();
    let states: Vec<_> = store::alert::list(&pool, None).await.unwrap();
    let state = |rule: &str| states.iter().find(|alert| alert.rule == rule).unwrap().state.as_str();
    assert_eq!((state("Drift"), state("Other")), ("firing", "resolved"));
}

fn canary(
    pool: &PgPool,
    settings: Arc<Settings>,
    metrics: &Metrics,
    faults: &Faults,
    wake: &Arc<Notify>,
) -> Canary {
    let watch = Arc::clone(&metrics.watch);
    Canary::new(pool.clone(), settings, watch, faults.clone(), Arc::clone(wake), app::now)
}

#[tokio::test]
async fn the_canary_is_seen_and_heard() {
    let pool = support::database().await;
    app::install_crypto();
    app::register_baseline(&pool, &reference(40, false)).await.unwrap();
    let (metrics, faults, wake) = (Metrics::new().unwrap(), Faults::default(), Arc::new(Notify::new()));
    faults.set(Fault::CanaryFailed, Some("of an earlier trial".to_owned()));
    let settings = settings("");
    let receivers = Arc::new(Receivers::build(&settings).unwrap());
    let shutdown = CancellationToken::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(Notifier::new(pool.clone(), receivers, app::now, Arc::clone(&wake)).run(shutdown.clone()));
    let trial = canary(&pool, settings, &metrics, &faults, &wake).trial().await.unwrap();
    assert_eq!((trial, faults.present().len()), (Trial::Ok, 0));
    let delay = metrics.watch.canary_detection.with_label_values(&["m"]).get();
    assert!((3_600.0..7_200.0).contains(&delay), "one window: {delay}");
    assert!(metrics.watch.canary_delivery.get() > 0.0 && metrics.watch.canary_succeeded_at.get() > 1e9);
    assert_eq!(metrics.watch.canary_runs.with_label_values(&["ok"]).get(), 1);
    // Nothing of it stays, and no report or alert of the model came of it.
    assert!(outbox::list(&pool, 10).await.unwrap().is_empty());
    assert!(store::alert::list(&pool, None).await.unwrap().is_empty());
    let reports: i64 =
        sqlx::query_scalar("select count(*) from drift_report").fetch_one(&pool).await.unwrap();
    assert_eq!(reports, 0);
    shutdown.cancel();
    tasks.join_next().await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_message_that_does_not_arrive_fails_the_trial() {
    let pool = support::database().await;
    app::register_baseline(&pool, &reference(40, false)).await.unwrap();
    let mut watch = Watch::new(&pool, app::now);
    // Nobody takes messages out of the outbox.
    let wake = Arc::new(Notify::new());
    let broken = canary(&pool, settings(""), &watch.metrics, &watch.faults, &wake);
    let trial = broken.with_patience(Duration::from_millis(300)).trial().await.unwrap();
    assert_eq!(trial, Trial::Undelivered);
    watch.look().await;
    assert_eq!(firing(&pool).await, ["CanaryFailed"]);
    let told = messages(&pool).await;
    assert_eq!(told.len(), 1, "the message on trial is gone");
    assert!(told[0].summary.contains("was not delivered within 300ms"), "{}", told[0].summary);
    assert!(watch.metrics.watch.canary_succeeded_at.get().abs() <= 0.0);
    assert_eq!(watch.metrics.watch.canary_runs.with_label_values(&["undelivered"]).get(), 1);
}

#[tokio::test]
async fn a_shift_that_is_not_seen_fails_the_trial() {
    let pool = support::database().await;
    // Hours that differ like this, and so few of them, hide any shift from a budget of one alarm in a century.
    app::register_baseline(&pool, &reference(9, true)).await.unwrap();
    let (metrics, faults, wake) = (Metrics::new().unwrap(), Faults::default(), Arc::new(Notify::new()));
    let settings = settings(", false_alarms: 1 per 36500d");
    let blind = canary(&pool, settings, &metrics, &faults, &wake).with_patience(Duration::ZERO);
    assert_eq!(blind.trial().await.unwrap(), Trial::Undetected);
    let present = faults.present();
    assert!(present[&Fault::CanaryFailed].contains("m: a shift of `"), "{present:?}");
}
