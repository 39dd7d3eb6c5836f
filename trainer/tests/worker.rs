//! The worker as a process: reproducible, killed, stopped, cancelled, refused.
#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "../../tests/it/database.rs"]
mod fresh;

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use driftline::model::{Column, ModelName, Value};
use driftline::retrain::artifact::{Artifact, sha256};
use driftline::retrain::{RunReason, RunState, TrainingSpec};
use driftline::store::captured::{self, CapturedRow};
use driftline::store::label::{self, Label, Rules};
use driftline::store::training_run::{self, Enqueued, TrainingRun};
use driftline::store::{PgPool, baseline, model_version, training_log};
use serde_json::{Value as Json, json};
use uuid::Uuid;

/// A database of its own with model `m`, and its URL for the worker.
async fn database() -> (PgPool, String) {
    let (pool, url) = fresh::database_with_url().await;
    sqlx::query("insert into model (name) values ('m')").execute(&pool).await.unwrap();
    (pool, url)
}

/// Rows whose target is 1 where `a * b > 0`: no linear model can know that.
fn write_rows(path: &Path, rows: usize) {
    let mut text = "time,a,b,c,y\n".to_owned();
    for row in 0..rows {
        let [a, b] = [(row * 7_919) % 1_000, (row * 104_729) % 997].map(|x| x as f64 / 500.0 - 1.0);
        let time = chrono::DateTime::UNIX_EPOCH + chrono::TimeDelta::minutes(i64::try_from(row).unwrap());
        let c = ["x", "y", "z"][row % 3];
        writeln!(text, "{},{a},{b},{c},{}", time.format("%FT%TZ"), u8::from(a * b > 0.0)).unwrap();
    }
    std::fs::write(path, text).unwrap();
}

fn spec(folder: &Path, max_epochs: usize) -> Json {
    json!({
        "model": "m", "task": "binary", "target": "y", "seed": 3, "device": "cpu",
        "source": {"file": {"path": folder.join("rows.csv"), "time_column": "time"}},
        "features": [{"name": "a", "kind": "numeric"}, {"name": "b", "kind": "numeric"},
                     {"name": "c", "kind": "categorical"}],
        "deep": {"hidden": [32, 32, 32], "max_epochs": max_epochs, "patience": max_epochs, "batch_size": 64},
        // A tree knows what no line can; most tests are about the network beside the line.
        "simple": {"tree_depth": 0},
        "artifacts": folder.join("artifacts"),
    })
}

fn trainer() -> Command {
    Command::new(env!("CARGO_BIN_EXE_driftline-trainer"))
}

fn run_local(folder: &Path, spec: &Json) -> Output {
    let path = folder.join("spec.json");
    std::fs::write(&path, spec.to_string()).unwrap();
    trainer().arg("run").arg(path).arg("--out").arg(folder.join("out")).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A worker process that does not outlive its test.
struct Worker(Child);

impl Worker {
    fn start(url: &str) -> Self {
        let child = trainer()
            .args(["work", "--database-url", url, "--poll", "0.1", "--lease", "2"])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }

    fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([name, &self.0.id().to_string()]).status().unwrap().success());
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.0.kill().unwrap_or_default();
        self.0.wait().unwrap();
    }
}

async fn queue(pool: &PgPool, spec: &Json) -> Uuid {
    let spec: TrainingSpec = serde_json::from_value(spec.clone()).unwrap();
    let mut connection = pool.acquire().await.unwrap();
    let cause = Uuid::now_v7().to_string();
    let reason = RunReason::Person("test".into());
    let asked =
        training_run::enqueue(&mut connection, &spec, &reason, &cause, RunState::Queued).await.unwrap();
    let Enqueued::Created(run) = asked else { panic!("{asked:?}") };
    run
}

/// Waits until the run is as `wanted`, at most a minute.
async fn wait(pool: &PgPool, run: Uuid, wanted: impl Fn(&TrainingRun) -> bool) -> TrainingRun {
    let started = Instant::now();
    loop {
        let found = training_run::show(pool, run).await.unwrap();
        if wanted(&found) {
            return found;
        }
        assert!(started.elapsed() < Duration::from_mins(1), "still {found:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn is_training(run: &TrainingRun) -> bool {
    run.progress.get("epoch").and_then(Json::as_u64).is_some_and(|epoch| epoch >= 2)
}

#[test]
fn two_processes_give_the_same_weights() {
    let folder = tempfile::tempdir().unwrap();
    write_rows(&folder.path().join("rows.csv"), 1_500);
    let first = run_local(folder.path(), &spec(folder.path(), 20));
    let second = run_local(folder.path(), &spec(folder.path(), 20));
    assert!(first.status.success(), "{}{}", text(&first.stdout), text(&first.stderr));
    assert!(text(&first.stdout).contains("deep beats "), "{}", text(&first.stdout));
    assert_eq!(text(&first.stdout), text(&second.stdout));
    let mut other = spec(folder.path(), 20);
    other["seed"] = json!(4);
    let third = run_local(folder.path(), &other);
    let hash =
        |out: &Output| text(&out.stdout).lines().find(|line| line.contains("SHA-256")).unwrap().to_owned();
    assert_ne!(hash(&first), hash(&third), "the seed decides");
}

#[test]
fn every_architecture_is_repeatable() {
    let folder = tempfile::tempdir().unwrap();
    write_rows(&folder.path().join("rows.csv"), 800);
    let attention = json!({"width": 8, "blocks": 1, "heads": 2});
    for (change, threads) in [
        (json!({"norm": "batch", "dropout": 0.2}), 1),
        (json!({"norm": "layer", "activation": "gelu", "hidden": [16, 16, 16, 16, 16]}), 2),
        (json!({"architecture": "ft_transformer", "attention": attention, "dropout": 0.1}), 1),
        (json!({"search": {"trials": 3, "epochs": 1}}), 1),
    ] {
        let mut spec = spec(folder.path(), 3);
        spec["limits"] = json!({"threads": threads});
        spec["deep"].as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let [first, second] = [(), ()].map(|()| run_local(folder.path(), &spec));
        assert!(first.status.code().is_some_and(|code| code < 2), "{}", text(&first.stderr));
        assert_eq!(text(&first.stdout), text(&second.stdout), "{change}");
    }
}

#[test]
fn several_classes_and_other_losses_train() {
    let folder = tempfile::tempdir().unwrap();
    let mut rows = "time,a,b,kind,count\n".to_owned();
    for row in 0..900 {
        let [a, b] = [(row * 7_919) % 1_000, (row * 104_729) % 997].map(|x| x as f64 / 500.0 - 1.0);
        let time = chrono::DateTime::UNIX_EPOCH + chrono::TimeDelta::minutes(row);
        let kind = if a * b > 0.2 {
            "both"
        } else if a > 0.0 {
            "left"
        } else {
            "none"
        };
        let count = ((2.0 * a * b).exp() * 5.0).round();
        writeln!(rows, "{},{a},{b},{kind},{count}", time.format("%FT%TZ")).unwrap();
    }
    std::fs::write(folder.path().join("rows.csv"), rows).unwrap();
    let mut spec = spec(folder.path(), 30);
    spec["features"] = json!([{"name": "a", "kind": "numeric"}, {"name": "b", "kind": "numeric"}]);
    let check = |spec: &Json, expected: &str| {
        let out = run_local(folder.path(), spec);
        assert_eq!(out.status.code(), Some(0), "{}{}", text(&out.stdout), text(&out.stderr));
        assert!(text(&out.stdout).contains(expected), "{}", text(&out.stdout));
        let content = std::fs::read(folder.path().join("out/model.safetensors")).unwrap();
        Artifact::from_bytes(&content).unwrap()
    };
    spec["task"] = json!("multiclass");
    spec["target"] = json!("kind");
    let artifact = check(&spec, "deep beats linear: log loss");
    assert_eq!(artifact.classes, ["both", "left", "none"]);
    let at = |x: f64| Column { name: "a".into(), values: vec![Value::Number(x)] };
    assert_eq!(artifact.predict(1, &[at(0.5)]).dim(), (1, 3));
    spec["task"] = json!("regression");
    spec["target"] = json!("count");
    for (objective, name) in [
        (json!("poisson"), "Poisson deviance"),
        (json!({"huber": {"delta": 2.0}}), "Huber loss"),
        (json!({"quantile": {"q": 0.9}}), "pinball loss"),
    ] {
        spec["objective"] = objective;
        let artifact = check(&spec, &format!("deep beats linear: {name}"));
        assert!(artifact.predict_one(1, &[at(0.5)])[0].is_finite());
    }
}

#[tokio::test]
async fn a_killed_and_a_stopped_training_end_with_the_same_weights() {
    let folder = tempfile::tempdir().unwrap();
    write_rows(&folder.path().join("rows.csv"), 1_500);
    let mut spec = spec(folder.path(), 400);
    spec["limits"] = json!({"checkpoint_seconds": 0.05});
    spec["deep"]
        .as_object_mut()
        .unwrap()
        .extend([("norm".to_owned(), json!("batch")), ("dropout".to_owned(), json!(0.1))]);
    let whole = run_local(folder.path(), &spec);
    assert!(whole.status.success(), "{}{}", text(&whole.stdout), text(&whole.stderr));
    let (pool, url) = database().await;
    let run = queue(&pool, &spec).await;
    let checkpoint = folder.path().join("artifacts/m").join(run.to_string()).join("deep.checkpoint");
    let first = Worker::start(&url);
    wait(&pool, run, |run| is_training(run) && checkpoint.exists()).await;
    first.signal("-KILL");
    let mut second = Worker::start(&url);
    wait(&pool, run, |run| run.attempt == 2 && is_training(run)).await;
    second.signal("-TERM");
    assert!(second.0.wait().unwrap().success());
    let _third = Worker::start(&url);
    let ended = wait(&pool, run, |run| run.state.is_final()).await;
    assert_eq!((ended.state, ended.attempt), (RunState::Succeeded, 3), "{:?}", ended.outcome);
    let lines = training_log::lines(&pool, run, 0).await.unwrap();
    let resumed = lines.iter().filter(|line| line.message.starts_with("going on after epoch")).count();
    assert_eq!(resumed, 2, "{lines:?}");
    let version = model_version::production(&pool, &ModelName::parse("m").unwrap()).await.unwrap().unwrap();
    assert!(text(&whole.stdout).contains(&version.artifact_sha256), "{}", text(&whole.stdout));
}

#[test]
fn real_data_trains_both_models() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/bike_sharing_head.csv");
    let categorical = ["hr", "weekday", "workingday", "weathersit"];
    let features: Vec<Json> = categorical
        .iter()
        .map(|name| json!({"name": name, "kind": "categorical"}))
        .chain(["temp", "hum", "windspeed"].iter().map(|name| json!({"name": name, "kind": "numeric"})))
        .collect();
    let spec = json!({
        "model": "bike", "task": "regression", "target": "cnt", "features": features, "device": "cpu",
        "source": {"file": {"path": fixture, "time_column": "timestamp"}},
        "deep": {"max_epochs": 40}, "artifacts": folder.path(),
    });
    let out = run_local(folder.path(), &spec);
    assert!(out.status.success(), "{}{}", text(&out.stdout), text(&out.stderr));
    let value = |candidate: &str, metric: &str| -> f64 {
        let line = text(&out.stdout)
            .lines()
            .find(|line| line.starts_with(candidate) && line.contains(metric))
            .unwrap()
            .to_owned();
        line.split_whitespace().nth(2).unwrap().parse().unwrap()
    };
    // A mean predictor has r2 0 or less on later rows.
    assert!(value("linear", "r2") > 0.3, "{}", text(&out.stdout));
    assert!(value("deep", "r2") > 0.3, "{}", text(&out.stdout));
    let artifact =
        Artifact::from_bytes(&std::fs::read(folder.path().join("out/model.safetensors")).unwrap()).unwrap();
    let hour = |hour: f64| {
        let columns = [Column { name: "hr".into(), values: vec![Value::Number(hour)] }];
        artifact.predict(1, &columns)[[0, 0]]
    };
    assert!(hour(8.0) > hour(3.0), "more bikes at eight than at three in the night");
}

#[test]
fn what_cannot_be_trained_is_said() {
    let folder = tempfile::tempdir().unwrap();
    write_rows(&folder.path().join("rows.csv"), 800);
    let check = |change: &dyn Fn(&mut Json), code: i32, expected: &str| {
        let mut spec = spec(folder.path(), 2);
        change(&mut spec);
        let out = run_local(folder.path(), &spec);
        let said = text(&out.stdout) + &text(&out.stderr);
        assert!(said.contains(expected), "{said:?} does not contain {expected:?}");
        assert_eq!(out.status.code(), Some(code), "{said}");
    };
    check(&|spec| spec["target"] = json!("nothing"), 2, "has no column `nothing`");
    let textual = |spec: &mut Json| {
        spec["target"] = json!("c");
        spec["features"] = json!([{"name": "a", "kind": "numeric"}]);
    };
    check(&|spec| spec["target"] = json!("c"), 2, "the target `c` is also a feature");
    check(&textual, 2, "row 1: Text(\"x\") is not 0, 1, false or true");
    check(&|spec| spec["min_labels"] = json!(801), 1, "800 labelled rows, at least 801 are needed");
    check(&|spec| spec["device"] = json!("cuda:0"), 2, "device `cuda:0` is not there");
    check(&|spec| spec["device"] = json!("tpu"), 2, "device `tpu` is not auto, cpu or cuda:N");
    check(&|spec| spec["test_share"] = json!(0.9), 2, "test_share 0.9 is not between 0.05 and 0.5");
    check(&|spec| spec["source"]["file"]["path"] = json!("gone.csv"), 2, "`gone.csv` cannot be read");
    check(&|spec| spec["source"] = json!("captured"), 2, "`run` has no database");
    check(&|spec| spec["deep"]["learning_rate"] = json!(1e30), 2, "the deep model diverged in epoch");
    check(&|spec| spec["deep"]["dropot"] = json!(0.1), 2, "unknown field `dropot`");
    check(&|spec| spec["limits"] = json!({"threads": 0}), 2, "limits.threads 0 is not between 1 and 1024");

    let mut one_class = "time,a,b,c,y\n".to_owned();
    for row in 0..600 {
        writeln!(one_class, "{row},{row},,,1").unwrap();
    }
    std::fs::write(folder.path().join("rows.csv"), one_class).unwrap();
    check(&|_| {}, 1, "every one of the 330 training rows has `y` = 1; both classes are needed");

    let mut gaps = "time,a,b,c,y\n".to_owned();
    for row in 0..700 {
        writeln!(gaps, "{row},{row},,,{}", ["0", "1", ""][row % 3]).unwrap();
    }
    std::fs::write(folder.path().join("rows.csv"), gaps).unwrap();
    let few = |spec: &mut Json| spec["min_labels"] = json!(400);
    check(&few, 0, "feature `b` has no usable numeric value in the training part and is left out");
    check(&few, 0, "233 rows without a usable `y` are left out");
}

#[tokio::test]
async fn a_killed_workers_run_finishes_under_another() {
    let folder = tempfile::tempdir().unwrap();
    write_rows(&folder.path().join("rows.csv"), 1_500);
    let (pool, url) = database().await;
    let mut segmented = spec(folder.path(), 100);
    // One that the rows lack and a numeric one are left out: a version that has won is not lost for them.
    segmented["segments"] = json!({ "columns": ["site", "c", "a"], "values": 2 });
    let run = queue(&pool, &segmented).await;
    let first = Worker::start(&url);
    let training = wait(&pool, run, is_training).await;
    first.signal("-KILL");
    let _second = Worker::start(&url);
    let ended = wait(&pool, run, |run| run.state.is_final()).await;
    assert_eq!(ended.state, RunState::Succeeded, "{:?}", ended.outcome);
    assert_eq!((ended.attempt, ended.lost_leases), (2, 1));
    assert_ne!(ended.worker, training.worker);

    let model = ModelName::parse("m").unwrap();
    let version = model_version::production(&pool, &model).await.unwrap().unwrap();
    assert_eq!((version.version, version.run, version.kind.as_str()), (1, run, "deep"));
    let content = std::fs::read(&version.artifact_uri).unwrap();
    assert_eq!(sha256(&content), version.artifact_sha256);
    let artifact = Artifact::from_bytes(&content).unwrap();
    let shares = model_version::importance(&pool, &model).await.unwrap();
    assert_eq!(shares.len(), artifact.features().count(), "{shares:?}");
    assert!((shares.values().sum::<f64>() - 1.0).abs() < 1e-9, "{shares:?}");
    assert!(shares["a"] > 0.3 && shares["b"] > 0.3 && shares["c"] < 0.1, "y hangs on a and b: {shares:?}");
    let active: String = sqlx::query_scalar("select active_baseline from model where name = 'm'")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(active, version.baseline);
    let baseline = baseline::get(&pool, &model, &active).await.unwrap().unwrap();
    let [by] = baseline.segmented_by() else { panic!("{:?}", baseline.segmented_by().len()) };
    assert_eq!((by.column(), by.places().values().len()), ("c", 2));

    // The same rows again: the new candidate is the same model, so it does not beat the one in production.
    let again = queue(&pool, &spec(folder.path(), 100)).await;
    let ended = wait(&pool, again, |run| run.state.is_final()).await;
    assert_eq!(ended.state, RunState::Rejected);
    assert!(ended.outcome.unwrap().contains("deep does not beat version 1 in production: log loss"));
    let scored = training_log::evaluation(&pool, again).await.unwrap();
    assert!(scored.iter().any(|metric| metric.candidate == "production" && metric.name == "roc_auc"));
}

#[tokio::test]
async fn a_store_that_cannot_be_written_fails_before_any_training() {
    let folder = tempfile::tempdir().unwrap();
    write_rows(&folder.path().join("rows.csv"), 800);
    let (pool, url) = database().await;
    std::fs::write(folder.path().join("artifacts"), "a file where a folder should be").unwrap();
    let run = queue(&pool, &spec(folder.path(), 2)).await;
    let _worker = Worker::start(&url);
    let ended = wait(&pool, run, |run| run.state.is_final()).await;
    assert_eq!(ended.state, RunState::Failed);
    let outcome = ended.outcome.unwrap();
    assert!(
        outcome.contains("artifacts cannot be written to") && outcome.contains("artifacts/m"),
        "{outcome}"
    );
}

#[tokio::test]
async fn a_stopped_worker_gives_its_run_back() {
    let folder = tempfile::tempdir().unwrap();
    write_rows(&folder.path().join("rows.csv"), 1_500);
    let (pool, url) = database().await;
    let run = queue(&pool, &spec(folder.path(), 1_000_000)).await;
    let mut worker = Worker::start(&url);
    wait(&pool, run, is_training).await;
    worker.signal("-TERM");
    assert!(worker.0.wait().unwrap().success());
    let released = training_run::show(&pool, run).await.unwrap();
    assert_eq!((released.state, released.attempt, released.lost_leases), (RunState::Queued, 1, 0));

    let _second = Worker::start(&url);
    wait(&pool, run, |run| run.attempt == 2 && is_training(run)).await;
    training_run::cancel(&mut pool.acquire().await.unwrap(), run).await.unwrap();
    let ended = wait(&pool, run, |run| run.state.is_final()).await;
    assert_eq!((ended.state, ended.outcome.as_deref()), (RunState::Cancelled, Some("cancelled by a person")));
}

#[tokio::test]
async fn captured_rows_train_once_there_are_enough_labels() {
    let folder = tempfile::tempdir().unwrap();
    let (pool, url) = database().await;
    let model = ModelName::parse("m").unwrap();
    let time = |row: i64| chrono::DateTime::UNIX_EPOCH + chrono::TimeDelta::minutes(row);
    let numbers = (0..600).map(|row| Value::Number(f64::from(row % 10))).collect();
    let columns = [
        Column { name: "a".into(), values: numbers },
        Column { name: "none".into(), values: vec![Value::Missing; 600] },
    ];
    let rows: Vec<CapturedRow> = (0..600)
        .map(|row| CapturedRow {
            row_id: format!("r{row}"),
            event_time: time(i64::try_from(row).unwrap()),
            model_version: "1".into(),
            features: captured::row(&columns, row),
            ..CapturedRow::default()
        })
        .collect();
    let mut db = pool.acquire().await.unwrap();
    captured::insert(&mut db, &model, &rows).await.unwrap();
    let labels: Vec<Label> =
        (0..600).map(|row| Label::by_id(format!("r{row}"), json!({"y": row % 10 > 4}), time(row))).collect();
    let mut spec = spec(folder.path(), 5);
    spec["source"] = json!("captured");
    spec["features"] = json!([]);
    label::upsert(&mut db, &model, &labels[..499], &Rules::default()).await.unwrap();
    let few = queue(&pool, &spec).await;
    let work = || {
        let url = url.clone();
        tokio::task::spawn_blocking(move || {
            trainer().args(["work", "--once", "--database-url", &url]).output().unwrap()
        })
    };
    let out = work().await.unwrap();
    assert_eq!(out.status.code(), Some(1), "{}", text(&out.stderr));
    assert!(
        text(&out.stderr).lines().all(|line| serde_json::from_str::<Json>(line).is_ok()),
        "logs are JSON"
    );
    let ended = training_run::show(&pool, few).await.unwrap();
    assert_eq!(ended.state, RunState::Rejected);
    assert_eq!(ended.outcome.as_deref(), Some("499 labelled rows, at least 500 are needed"));

    label::upsert(&mut db, &model, &labels, &Rules::default()).await.unwrap();
    let enough = queue(&pool, &spec).await;
    let out = work().await.unwrap();
    assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
    let ended = training_run::show(&pool, enough).await.unwrap();
    assert_eq!((ended.state, ended.version), (RunState::Succeeded, Some(1)), "{:?}", ended.outcome);
    let lines = training_log::lines(&pool, enough, 0).await.unwrap();
    let is_named =
        |line: &training_log::LogLine| line.level == "warn" && line.message.contains("`none` has no usable");
    assert!(lines.iter().any(is_named), "{lines:?}");

    // A damaged artifact in production fails the next run with the reason, and changes nothing.
    let version = model_version::production(&pool, &model).await.unwrap().unwrap();
    std::fs::write(&version.artifact_uri, b"damaged").unwrap();
    let damaged = queue(&pool, &spec).await;
    assert_eq!(work().await.unwrap().status.code(), Some(1));
    let ended = training_run::show(&pool, damaged).await.unwrap();
    assert_eq!(ended.state, RunState::Failed);
    assert!(ended.outcome.unwrap().contains("the registry says"));
}

/// A specification for the bike-sharing file whose features are dates, pairs, quantiles and embedded names.
#[test]
fn every_kind_of_feature_trains_and_predicts_from_raw_values() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/bike_sharing_head.csv");
    let spec = json!({
        "model": "bike", "task": "regression", "target": "cnt", "device": "cpu", "seed": 1,
        "source": {"file": {"path": fixture, "time_column": "timestamp"}},
        "features": {
            "columns": [{"name": "hr", "kind": "categorical"},
                        {"name": "temp", "kind": "numeric", "scaling": "quantile", "imputation": "median"},
                        {"name": "hum", "kind": "numeric", "scaling": "min_max"},
                        {"name": "windspeed", "kind": "numeric", "indicator": true}],
            "one_hot_limit": 10,
            "dates": [{"parts": ["hour", "weekday"]}],
            "interactions": [{"product": ["temp", "hum"]}, {"ratio": ["windspeed", "hum"]}],
        },
        "data": {"half_life_days": 30, "window_days": 60},
        "simple": {"tree_depth": 6, "good_enough": {"metric": "r2", "value": 0.2}},
        "artifacts": folder.path(),
    });
    let out = run_local(folder.path(), &spec);
    let said = text(&out.stdout) + &text(&out.stderr);
    assert!(out.status.success(), "{said}");
    assert!(
        said.contains("so no deep model is trained") && said.contains("is good enough by the settings"),
        "{said}"
    );
    assert!(!text(&out.stdout).lines().any(|line| line.starts_with("deep ")), "{said}");
    let artifact =
        Artifact::from_bytes(&std::fs::read(folder.path().join("out/model.safetensors")).unwrap()).unwrap();
    assert_eq!(artifact.pipeline.cardinalities(), [25], "24 hours and what is unseen");
    let at = |time: &str| {
        let columns = [
            Column { name: "event_time".into(), values: vec![Value::Text(time.into())] },
            Column { name: "hr".into(), values: vec![Value::Text("8".into())] },
        ];
        artifact.predict(1, &columns)[[0, 0]]
    };
    assert!(at("2011-02-01T08:00:00Z").is_finite());
}

#[test]
fn rows_without_times_of_many_files_train_several_classes() {
    let folder = tempfile::tempdir().unwrap();
    for part in 0..3 {
        let mut text = "a,b,customer,kind\n".to_owned();
        for row in 0..400_usize {
            let [a, b] = [(row * 7_919 + part * 31) % 1_000, (row * 104_729 + part * 7) % 997]
                .map(|x| x as f64 / 500.0 - 1.0);
            let kind = if a > 0.3 {
                "high"
            } else if b > 0.0 {
                "left"
            } else {
                "right"
            };
            writeln!(text, "{a},{b},{},{kind}", row % 80).unwrap();
        }
        std::fs::write(folder.path().join(format!("rows-{part}.csv")), text).unwrap();
    }
    let spec = json!({
        "model": "m", "task": "multiclass", "target": "kind", "device": "cpu",
        "source": {"file": {"path": folder.path().join("rows-*.csv")}},
        "data": {"entity": "customer", "class_weights": "balanced"},
        "deep": {"max_epochs": 3}, "artifacts": folder.path(),
    });
    let out = run_local(folder.path(), &spec);
    let said = text(&out.stdout) + &text(&out.stderr);
    assert!(out.status.success(), "{said}");
    assert!(said.contains("1200 rows:") && said.contains("rows count by class: high"), "{said}");
    let artifact =
        Artifact::from_bytes(&std::fs::read(folder.path().join("out/model.safetensors")).unwrap()).unwrap();
    assert_eq!(artifact.classes, ["high", "left", "right"]);
    assert!(artifact.features().all(|(name, _)| name != "customer"), "an entity is no feature");
}

#[tokio::test]
async fn a_query_gives_the_rows_and_its_url_is_in_no_specification() {
    let folder = tempfile::tempdir().unwrap();
    let (pool, url) = database().await;
    sqlx::query(
        "create table sale as select now() + n * interval '1 minute' as at, (n * 7919 % 1000) / 500.0 - 1 as a,
                (n * 7919 % 1000) / 500.0 + (n % 3) * 0.4 as y from generate_series(1, 900) n",
    )
    .execute(&pool)
    .await
    .unwrap();
    let spec = |sql: &str, seconds: u64| {
        json!({
            "model": "m", "task": "regression", "target": "y", "device": "cpu",
            "source": {"query": {"sql": sql, "connection": {"env": "SALES_DATABASE"}, "time_column": "at",
                                 "timeout_seconds": seconds}},
            "deep": {"max_epochs": 2}, "artifacts": folder.path(),
        })
    };
    let run = |spec: &Json, url: Option<&str>| {
        let path = folder.path().join("spec.json");
        std::fs::write(&path, spec.to_string()).unwrap();
        let mut command = trainer();
        command.arg("run").arg(path).env_remove("SALES_DATABASE");
        if let Some(url) = url {
            command.env("SALES_DATABASE", url);
        }
        let out = command.output().unwrap();
        (out.status.code(), text(&out.stdout) + &text(&out.stderr))
    };
    let asked = "select at, a, y from sale order by at -- newest last";
    let (code, said) = run(&spec(asked, 60), Some(&url));
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("900 rows from 2"), "{said}");
    let check = |sql: &str, url: Option<&str>, expected: &str| {
        let (code, said) = run(&spec(sql, 1), url);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(expected), "{said:?} does not contain {expected:?}");
    };
    check(asked, None, "the worker's environment has no `SALES_DATABASE`");
    check(
        asked,
        Some("postgres://nobody:secret@127.0.0.1:1/x"),
        "the database of the query cannot be reached",
    );
    check("select at, a from sale", Some(&url), "the query has no column `y`; it has a, at");
    check("select nothing from sale", Some(&url), "the query fails: ");
    check("with gone as (delete from sale returning *) select * from gone", Some(&url), "the query fails: ");
    check("select 1 as y) q; drop table sale; select (1", Some(&url), "the query fails: ");
    check("select pg_sleep(5), 1 as y", Some(&url), "the query takes longer than 1 s");
    let rows: i64 = sqlx::query_scalar("select count(*) from sale").fetch_one(&pool).await.unwrap();
    assert_eq!(rows, 900, "it was only read");
    let secret = run(&spec(asked, 60), Some("postgres://nobody:secret@127.0.0.1:1/x")).1;
    assert!(!secret.contains("secret"), "{secret}");
}
