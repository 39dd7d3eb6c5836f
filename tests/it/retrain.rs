//! The queue, the registry and the labels on a real Postgres.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use driftline::baseline::{self, Baseline, BuildOptions, CutOptions, SourceColumn};
use driftline::model::{Column, ModelName, Role, Value};
use driftline::retrain::{ModelKind, RunReason, RunState, Source, Task, TrainingSpec};
use driftline::store::captured::{self, CapturedRow};
use driftline::store::label::{self, Label, LabelCounts, Rules};
use driftline::store::model_version::{self, Registration};
use driftline::store::snapshot::Snapshot;
use driftline::store::training_log::{self, Metric};
use driftline::store::training_run::{self, Claim, Enqueued, Heartbeat, RunError};
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use crate::support;

const LEASE: Duration = Duration::from_secs(30);

fn spec(model: &str) -> TrainingSpec {
    serde_json::from_value(json!({
        "model": model, "task": "binary", "target": "y", "source": "captured", "artifacts": "artifacts"
    }))
    .unwrap()
}

async fn database() -> PgPool {
    let pool = support::database().await;
    sqlx::query("insert into model (name) values ('m'), ('other')").execute(&pool).await.unwrap();
    pool
}

async fn ask(pool: &PgPool, model: &str, cause: &str) -> Enqueued {
    let mut connection = pool.acquire().await.unwrap();
    let reason = RunReason::Rule("drift".into());
    training_run::enqueue(&mut connection, &spec(model), &reason, cause, RunState::Queued).await.unwrap()
}

fn created(asked: Enqueued) -> Uuid {
    let Enqueued::Created(run) = asked else { panic!("{asked:?}") };
    run
}

async fn claim(pool: &PgPool, worker: &str) -> Option<Claim> {
    training_run::claim(pool, worker, LEASE).await.unwrap().map(|(claim, _)| claim)
}

/// As if the worker had been killed and its lease had run out.
async fn lose_lease(pool: &PgPool, claim: Claim) {
    sqlx::query("update training_run set lease_until = now() - interval '1 second' where id = $1")
        .bind(claim.run)
        .execute(pool)
        .await
        .unwrap();
}

/// A small baseline whose content, and so whose version, depends on `name`.
fn baseline_named(name: &str) -> Baseline {
    let values = [Value::Number(1.0), Value::Number(2.0)];
    let column = SourceColumn { name: "x", role: Role::Feature, kind: None, values: &values };
    let model = ModelName::parse("m").unwrap();
    let options = BuildOptions { model, source: name.into(), cut: CutOptions::default(), joint: true };
    baseline::build(&[column], None, options).unwrap()
}

fn registration(parent: Option<i64>, baseline: &str) -> Registration {
    Registration {
        model: ModelName::parse("m").unwrap(),
        kind: ModelKind::Deep,
        artifact_uri: "a".into(),
        artifact_sha256: "b".into(),
        metrics: json!({}),
        parameters: json!({}),
        seed: u64::MAX,
        snapshot: Snapshot { hash: "s".into(), row_count: 3, manifest: json!({}) },
        baseline: baseline_named(baseline),
        parent,
        build: json!({}),
        reason: "rule: drift".into(),
    }
}

#[tokio::test]
async fn a_cause_and_a_model_have_one_run() {
    let pool = database().await;
    let run = created(ask(&pool, "m", "alert:1").await);
    assert_eq!(ask(&pool, "m", "alert:1").await, Enqueued::SameCause(run));
    assert_eq!(ask(&pool, "m", "alert:2").await, Enqueued::Active(run));
    created(ask(&pool, "other", "alert:3").await);
    assert_eq!(
        training_run::cancel(&mut pool.acquire().await.unwrap(), run).await.unwrap(),
        RunState::Cancelled
    );
    assert_eq!(ask(&pool, "m", "alert:1").await, Enqueued::SameCause(run), "a cause is used up");
    created(ask(&pool, "m", "alert:2").await);
    let mut connection = pool.acquire().await.unwrap();
    let unknown = training_run::enqueue(
        &mut connection,
        &spec("nobody"),
        &RunReason::Person("x".into()),
        "p",
        RunState::Queued,
    )
    .await;
    assert!(unknown.unwrap_err().to_string().contains("`nobody` is not registered"));
}

#[tokio::test]
async fn two_workers_never_have_one_run() {
    let pool = database().await;
    created(ask(&pool, "m", "1").await);
    created(ask(&pool, "other", "2").await);
    let (a, b, c) = tokio::join!(claim(&pool, "a"), claim(&pool, "b"), claim(&pool, "c"));
    let mut runs: Vec<Uuid> = [a, b, c].into_iter().flatten().map(|claim| claim.run).collect();
    runs.sort();
    runs.dedup();
    assert_eq!(runs.len(), 2);
}

#[tokio::test]
async fn a_lost_lease_is_taken_over_and_the_old_worker_is_fenced() {
    let pool = database().await;
    created(ask(&pool, "m", "1").await);
    let old = claim(&pool, "old").await.unwrap();
    assert!(claim(&pool, "new").await.is_none(), "the lease holds");
    lose_lease(&pool, old).await;
    let new = claim(&pool, "new").await.unwrap();
    assert_eq!((new.run, new.attempt), (old.run, 2));

    assert_eq!(training_run::heartbeat(&pool, &old, LEASE).await.unwrap(), Heartbeat::Lost);
    assert_eq!(training_run::heartbeat(&pool, &new, LEASE).await.unwrap(), Heartbeat::Held);
    training_run::progress(&pool, &old, &json!({"epoch": 99})).await.unwrap();
    training_log::append(&pool, &old, "info", "from the old worker").await.unwrap();
    training_run::release(&pool, &old).await.unwrap();
    let ended = training_run::end(&pool, &old, RunState::Failed, "x", None).await;
    assert!(matches!(ended, Err(RunError::LeaseLost(_))));
    let won = training_run::succeed(&pool, &old, "x", &registration(None, "b1")).await;
    assert!(matches!(won, Err(RunError::LeaseLost(_))));
    let run = training_run::show(&pool, new.run).await.unwrap();
    assert_eq!((run.state, run.progress), (RunState::Running, json!({})));
    assert!(training_log::lines(&pool, new.run, 0).await.unwrap().is_empty());
    assert!(model_version::list(&pool, None).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_run_that_kills_its_workers_is_given_up() {
    let pool = database().await;
    let run = created(ask(&pool, "m", "1").await);
    for attempt in 1..=3 {
        let held = claim(&pool, &format!("w{attempt}")).await.unwrap();
        assert_eq!(held.attempt, attempt);
        lose_lease(&pool, held).await;
    }
    assert!(claim(&pool, "w4").await.is_none());
    let run = training_run::show(&pool, run).await.unwrap();
    assert_eq!(run.state, RunState::Failed);
    assert_eq!(
        run.outcome.unwrap(),
        "given up: 3 workers vanished while they trained it, the last one was w3"
    );
}

#[tokio::test]
async fn a_released_run_uses_up_no_try() {
    let pool = database().await;
    created(ask(&pool, "m", "1").await);
    for attempt in 1..=5 {
        let held = claim(&pool, "w").await.unwrap();
        assert_eq!(held.attempt, attempt);
        training_run::release(&pool, &held).await.unwrap();
    }
}

#[tokio::test]
async fn success_is_one_transaction() {
    let pool = database().await;
    created(ask(&pool, "m", "1").await);
    let first = claim(&pool, "w").await.unwrap();
    assert_eq!(training_run::succeed(&pool, &first, "won", &registration(None, "b1")).await.unwrap(), 1);
    created(ask(&pool, "m", "2").await);
    let second = claim(&pool, "w").await.unwrap();
    let moved = training_run::succeed(&pool, &second, "won", &registration(None, "b2")).await;
    assert!(matches!(moved, Err(RunError::ProductionMoved)), "compared with no version, but there is one");
    let active = async || -> String {
        sqlx::query_scalar("select active_baseline from model where name = 'm'")
            .fetch_one(&pool)
            .await
            .unwrap()
    };
    assert_eq!(
        active().await,
        baseline_named("b1").version(),
        "nothing of a refused registration is written"
    );
    assert_eq!(training_run::succeed(&pool, &second, "won", &registration(Some(1), "b2")).await.unwrap(), 2);
    assert_eq!(active().await, baseline_named("b2").version());
    let model = ModelName::parse("m").unwrap();
    let states: Vec<(i64, String)> = model_version::list(&pool, Some(&model))
        .await
        .unwrap()
        .into_iter()
        .map(|version| (version.version, version.state))
        .collect();
    assert_eq!(states, [(2, "production".to_owned()), (1, "archived".to_owned())]);
    let production = model_version::production(&pool, &model).await.unwrap().unwrap();
    assert_eq!((production.parent, production.seed.cast_unsigned()), (Some(1), u64::MAX));
    let run = training_run::show(&pool, second.run).await.unwrap();
    assert_eq!((run.state, run.version, run.outcome.as_deref()), (RunState::Succeeded, Some(2), Some("won")));
}

#[tokio::test]
async fn a_person_cancels_and_approves() {
    let pool = database().await;
    let run = created(ask(&pool, "m", "1").await);
    let held = claim(&pool, "w").await.unwrap();
    assert_eq!(
        training_run::cancel(&mut pool.acquire().await.unwrap(), run).await.unwrap(),
        RunState::Running
    );
    assert_eq!(training_run::heartbeat(&pool, &held, LEASE).await.unwrap(), Heartbeat::CancelRequested);
    let won = training_run::succeed(&pool, &held, "won", &registration(None, "b1")).await;
    assert!(matches!(won, Err(RunError::Cancelled(_))));
    training_run::end(&pool, &held, RunState::Cancelled, "cancelled", None).await.unwrap();
    assert!(matches!(
        training_run::cancel(&mut pool.acquire().await.unwrap(), run).await,
        Err(RunError::State { .. })
    ));
    assert!(matches!(
        training_run::cancel(&mut pool.acquire().await.unwrap(), Uuid::nil()).await,
        Err(RunError::Unknown(_))
    ));

    let mut connection = pool.acquire().await.unwrap();
    let reason = RunReason::Rule("drift".into());
    let suggested =
        training_run::enqueue(&mut connection, &spec("m"), &reason, "2", RunState::Suggested).await.unwrap();
    created(ask(&pool, "m", "3").await);
    let suggested = created(suggested);
    assert!(matches!(
        training_run::approve(&mut pool.acquire().await.unwrap(), suggested).await,
        Err(RunError::Active)
    ));
    let held = claim(&pool, "w").await.unwrap();
    training_run::end(&pool, &held, RunState::Rejected, "no", None).await.unwrap();
    training_run::approve(&mut pool.acquire().await.unwrap(), suggested).await.unwrap();
    assert_eq!(claim(&pool, "w").await.unwrap().run, suggested);
}

#[tokio::test]
async fn the_later_label_wins_and_early_ones_wait_for_their_row() {
    let pool = database().await;
    let model = ModelName::parse("m").unwrap();
    let at = |minute: i64| DateTime::<Utc>::UNIX_EPOCH + TimeDelta::minutes(minute);
    let given = |row: &str, value: i64, minute: i64| Label::by_id(row, json!(value), at(minute));
    let mut db = pool.acquire().await.unwrap();
    let rules = Rules::default();
    let first = [given("a", 0, 1), given("a", 1, 5), given("b", 1, 1)];
    let counts = label::upsert(&mut db, &model, &first, &rules).await.unwrap();
    let none = LabelCounts::default();
    assert_eq!(counts, LabelCounts { waiting: 2, replaced: 1, ..none });
    let counts = label::upsert(&mut db, &model, &first, &rules).await.unwrap();
    assert_eq!(counts, LabelCounts { stale: 1, unchanged: 2, ..none }, "a retry is harmless");
    let counts = label::upsert(&mut db, &model, &[given("a", 7, 4), given("b", 0, 2)], &rules).await.unwrap();
    assert_eq!(counts, LabelCounts { replaced: 1, stale: 1, ..none });
    assert_eq!(label::count_since(&pool, &model, None).await.unwrap(), 0, "they wait");

    let columns = [Column { name: "x".into(), values: vec![Value::Number(0.1), Value::Number(f64::NAN)] }];
    let rows: Vec<CapturedRow> = ["b", "a"]
        .into_iter()
        .enumerate()
        .map(|(index, row_id)| CapturedRow {
            row_id: row_id.into(),
            event_time: at(0),
            model_version: "1".into(),
            features: captured::row(&columns, index),
            ..CapturedRow::default()
        })
        .collect();
    assert_eq!(captured::insert(&mut db, &model, &rows).await.unwrap(), 2);
    assert_eq!(captured::insert(&mut db, &model, &rows).await.unwrap(), 0, "a retry is harmless");
    assert_eq!(label::count_since(&pool, &model, None).await.unwrap(), 2);
    let labelled = captured::labelled(&pool, &model, None).await.unwrap();
    let found: Vec<_> = labelled.iter().map(|row| (row.row_id.as_str(), row.label.clone())).collect();
    assert_eq!(found, [("a", json!(1)), ("b", json!(0))], "equal times go by id");
    assert_eq!(labelled[1].features, json!({"x": 0.1}));
    assert_eq!(captured::labelled(&pool, &model, Some(1)).await.unwrap()[0].row_id, "b");
    let unknown = captured::insert(&mut db, &ModelName::parse("nobody").unwrap(), &rows).await;
    assert!(unknown.unwrap_err().to_string().contains("not registered"));
}

#[tokio::test]
async fn the_situation_counts_what_the_policy_asks() {
    let pool = database().await;
    let model = ModelName::parse("m").unwrap();
    let look = async |needs_labels| {
        let now = DateTime::<Utc>::UNIX_EPOCH;
        training_run::situation(&pool, &model, "2", now, Duration::from_mins(1), needs_labels).await.unwrap()
    };
    let empty = look(true).await;
    assert_eq!((empty.active, empty.last_finished, empty.runs_in_period), (None, None, 0));
    assert_eq!(empty.fresh_labels, Some(0));
    let mut db = pool.acquire().await.unwrap();
    let row = CapturedRow { row_id: "a".into(), ..CapturedRow::default() };
    captured::insert(&mut db, &model, &[row]).await.unwrap();
    let given = Label::by_id("a", json!(1), DateTime::UNIX_EPOCH);
    label::upsert(&mut db, &model, &[given], &Rules::default()).await.unwrap();
    assert_eq!(look(true).await.fresh_labels, Some(1));
    assert_eq!(look(false).await.fresh_labels, None);
    let run = created(ask(&pool, "m", "1").await);
    let held = claim(&pool, "w").await.unwrap();
    let running = look(true).await;
    assert_eq!((running.active, running.runs_in_period, running.fresh_labels), (Some(run), 1, Some(0)));
    training_run::end(&pool, &held, RunState::Rejected, "no", None).await.unwrap();
    assert!(look(true).await.last_finished.is_some());
}

#[tokio::test]
async fn metrics_of_the_newest_attempt_are_shown() {
    let pool = database().await;
    created(ask(&pool, "m", "1").await);
    let metric = |value: f64| Metric {
        candidate: "deep".into(),
        split: "test".into(),
        epoch: -1,
        name: "log_loss".into(),
        value,
    };
    for value in [0.5, 0.25] {
        let held = claim(&pool, "w").await.unwrap();
        training_log::record(&pool, &held, &[metric(value)]).await.unwrap();
        training_log::append(&pool, &held, "info", "scored").await.unwrap();
        training_run::release(&pool, &held).await.unwrap();
    }
    let run = training_run::list(&pool, None, 10).await.unwrap()[0].id;
    assert_eq!(training_log::evaluation(&pool, run).await.unwrap(), [metric(0.25)]);
    let lines = training_log::lines(&pool, run, 0).await.unwrap();
    assert_eq!(lines.len(), 2);
    assert_eq!(training_log::lines(&pool, run, lines[0].seq).await.unwrap().len(), 1);
}

#[test]
fn a_specification_has_sound_defaults() {
    let spec = spec("m");
    assert_eq!((spec.task, &spec.source), (Task::Binary, &Source::Captured));
    assert!(spec.problems().is_empty());
    let wrong = TrainingSpec { test_share: f64::NAN, ..spec };
    assert_eq!(wrong.problems().len(), 1);
}
