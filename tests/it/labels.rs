//! Labels on a real Postgres: every kind of id, business keys, and every outcome with its count.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use driftline::config::Settings;
use driftline::decode::events::{LabelTarget, labels_of_feedback};
use driftline::model::ModelName;
use driftline::privacy::Policy;
use driftline::store::captured::{self, CapturedRow, ExchangeIds};
use driftline::store::label::{self, Label, LabelCounts, Rules};
use serde_json::{Value as Json, json};
use sqlx::PgPool;

use crate::support::{database, database_with_url};

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds)
}

async fn registered() -> (PgPool, ModelName) {
    let pool = database().await;
    let model = ModelName::parse("m").unwrap();
    driftline::store::model::register(&pool, &model).await.unwrap();
    (pool, model)
}

fn rules(labels: &str) -> Rules {
    let settings = Settings::parse(&format!("models: [{{name: m, labels: {labels}}}]"), "s.yaml").unwrap();
    Rules::new(settings.models[0].labels.as_ref(), Policy::default())
}

/// The rows of one exchange at `seconds`.
fn exchange(id: &str, rows: usize, others: &[&str], seconds: i64) -> Vec<CapturedRow> {
    let others = others.iter().map(|id| (*id).to_owned()).collect();
    let ids = Arc::new(ExchangeIds { exchange: id.into(), rows, others });
    (0..rows)
        .map(|row| CapturedRow {
            row_id: if rows == 1 { id.to_owned() } else { format!("{id}_{row}") },
            event_time: at(seconds),
            ids: Some(Arc::clone(&ids)),
            ..CapturedRow::default()
        })
        .collect()
}

async fn insert(pool: &PgPool, model: &ModelName, rows: &[CapturedRow]) {
    let mut transaction = pool.begin().await.unwrap();
    captured::insert(&mut transaction, model, rows).await.unwrap();
    transaction.commit().await.unwrap();
}

async fn give(pool: &PgPool, model: &ModelName, labels: &[Label], rules: &Rules) -> LabelCounts {
    let mut transaction = pool.begin().await.unwrap();
    let counts = label::upsert(&mut transaction, model, labels, rules).await.unwrap();
    transaction.commit().await.unwrap();
    counts
}

/// The labels that rows have.
async fn held(pool: &PgPool) -> BTreeMap<String, Json> {
    let rows: Vec<(String, Json)> =
        sqlx::query_as("select row_id, value from label").fetch_all(pool).await.unwrap();
    rows.into_iter().collect()
}

async fn number(pool: &PgPool, table: &str) -> i64 {
    let text = sqlx::AssertSqlSafe(format!("select count(*) from {table}"));
    sqlx::query_scalar(text).fetch_one(pool).await.unwrap()
}

fn by_row(id: &str, row: usize, value: i64) -> Label {
    let target = LabelTarget::Id { id: id.into(), row: Some(row) };
    Label { target, value: json!(value), labelled_at: at(100) }
}

#[tokio::test]
async fn every_id_of_an_exchange_finds_its_rows() {
    const BENTO: &str = "12191656672822735707";
    let others = ["body-1", "puid-1", "sm-1", "ce-1", "4bf92f3577b34da6a3ce929d0e0e4736"];
    let (spelled, hexadecimal) = (["_1", "-item-1", ":1"], "a9317726571eb35b");
    for early in [false, true] {
        let (pool, model) = registered().await;
        let mut rows = exchange("one", 1, &others, 0);
        let many_others: Vec<String> = others.iter().map(|id| format!("many-{id}")).collect();
        rows.extend(exchange("many", 3, &many_others.iter().map(String::as_str).collect::<Vec<_>>(), 0));
        rows.extend(exchange(BENTO, 2, &[], 0));
        rows.extend(exchange("x-bento", 1, &["00000000000000ff"], 0));
        let mut labels: Vec<(Label, &str)> = Vec::new();
        let plain = |id: &str, value: i64| Label::by_id(id, json!(value), at(100));
        for id in ["one"].iter().chain(&others) {
            labels.push((plain(id, 7), "one"));
            labels.push((by_row(id, 0, 7), "one"));
            labels.push((plain(&format!("{id}_0"), 7), "one"));
        }
        for id in ["many"].into_iter().chain(many_others.iter().map(String::as_str)) {
            labels.push((by_row(id, 1, 7), "many_1"));
            labels.extend(spelled.map(|mark| (plain(&format!("{id}{mark}"), 7), "many_1")));
        }
        for id in [BENTO, hexadecimal] {
            labels.push((by_row(id, 1, 7), "12191656672822735707_1"));
            labels.push((plain(&format!("{id}:1"), 7), "12191656672822735707_1"));
        }
        labels.push((plain("255", 7), "x-bento"));
        labels.push((plain("ff", 7), ""));
        for nobody in ["many", "many_3", "many:9", "other", "one_1", "many-body-1", "puid"] {
            labels.push((plain(nobody, 7), ""));
        }
        let rules = Rules::default();
        let (mut matched, mut waiting) = (0, 0);
        if !early {
            insert(&pool, &model, &rows).await;
        }
        for (label, expected) in &labels {
            let counts = give(&pool, &model, std::slice::from_ref(label), &rules).await;
            let found = counts.new + counts.unchanged == 1;
            assert_eq!(found, !early && !expected.is_empty(), "{label:?}: {counts:?}");
            matched += u64::from(!expected.is_empty());
            waiting += i64::from(expected.is_empty());
        }
        if early {
            assert_eq!(held(&pool).await, BTreeMap::new());
            insert(&pool, &model, &rows).await;
        }
        let expected: BTreeMap<String, Json> = labels
            .iter()
            .filter(|(_, row)| !row.is_empty())
            .map(|(_, row)| ((*row).to_owned(), json!(7)))
            .collect();
        assert_eq!(held(&pool).await, expected, "early: {early}");
        assert_eq!(number(&pool, "label_waiting").await, waiting);
        let counts = label::counts(&pool).await.unwrap()[0].1;
        let rows = expected.len() as u64;
        if early {
            assert_eq!((counts.early, counts.unchanged), (rows, matched - rows));
        } else {
            assert_eq!((counts.new, counts.unchanged), (rows, matched - rows));
        }
    }
}

#[tokio::test]
async fn an_id_of_several_exchanges_finds_none() {
    let (pool, model) = registered().await;
    insert(&pool, &model, &exchange("a", 1, &["trace", "own"], 0)).await;
    insert(&pool, &model, &exchange("a", 1, &["trace", "own"], 0)).await;
    let label = Label::by_id("trace", json!(1), at(1));
    assert_eq!(
        give(&pool, &model, &[label], &Rules::default()).await.new,
        1,
        "a redelivery is the same exchange"
    );
    insert(&pool, &model, &exchange("b", 1, &["trace"], 0)).await;
    insert(&pool, &model, &[exchange("c", 1, &["t2"], 0), exchange("d", 1, &["t2"], 0)].concat()).await;
    for id in ["trace", "t2"] {
        let label = Label::by_id(id, json!(2), at(2));
        assert_eq!(give(&pool, &model, &[label], &Rules::default()).await.waiting, 1, "{id}");
    }
    let own = Label::by_id("own", json!(2), at(2));
    assert_eq!(give(&pool, &model, &[own], &Rules::default()).await.replaced, 1);
    assert_eq!(held(&pool).await, BTreeMap::from([("a".to_owned(), json!(2))]));
}

#[tokio::test]
async fn every_outcome_is_counted() {
    let (pool, model) = registered().await;
    let rules = rules("{max_delay: 1h}");
    insert(&pool, &model, &[exchange("a", 1, &[], 0), exchange("b", 1, &[], 0)].concat()).await;
    let none = LabelCounts::default();
    let given = |id: &str, value: i64, seconds: i64| Label::by_id(id, json!(value), at(seconds));
    for (label, expected) in [
        (given("a", 1, 60), LabelCounts { new: 1, ..none }),
        (given("a", 1, 60), LabelCounts { unchanged: 1, ..none }),
        (given("a", 1, 90), LabelCounts { unchanged: 1, ..none }),
        (given("a", 2, 80), LabelCounts { stale: 1, ..none }),
        (given("a", 2, 100), LabelCounts { replaced: 1, ..none }),
        (given("a", 1, 100), LabelCounts { stale: 1, ..none }),
        (given("b", 5, 3601), LabelCounts { late: 1, ..none }),
        (given("c", 5, 60), LabelCounts { waiting: 1, ..none }),
        (given("c", 5, 60), LabelCounts { unchanged: 1, ..none }),
        (given("c", 6, 50), LabelCounts { stale: 1, ..none }),
        (given("c", 6, 70), LabelCounts { replaced: 1, ..none }),
        (given("nobody", 6, 70), LabelCounts { waiting: 1, ..none }),
    ] {
        assert_eq!(give(&pool, &model, std::slice::from_ref(&label), &rules).await, expected, "{label:?}");
    }
    insert(&pool, &model, &exchange("c", 1, &[], 10)).await;
    let expected = [("a", 2), ("b", 5), ("c", 6)].map(|(row, value)| (row.to_owned(), json!(value)));
    assert_eq!(held(&pool).await, BTreeMap::from(expected));
    let late: Vec<String> =
        sqlx::query_scalar("select row_id from label where late").fetch_all(&pool).await.unwrap();
    assert_eq!(late, ["b"]);
    // Nothing is old enough yet; then everything is.
    captured::expire(&pool, DateTime::UNIX_EPOCH).await.unwrap();
    assert_eq!(number(&pool, "label_waiting").await, 1);
    let status = &label::status(&pool).await.unwrap()[0];
    assert_eq!((status.rows, status.labelled, status.waiting), (3, 3, 1));
    assert_eq!((status.delay_median, status.coverage()), (Some(100.0), Some(1.0)));
    sqlx::query("update label_waiting set created_at = 'epoch'").execute(&pool).await.unwrap();
    captured::expire(&pool, at(1)).await.unwrap();
    assert_eq!((number(&pool, "label_waiting").await, number(&pool, "label_waiting_name").await), (0, 0));
    let expected = LabelCounts {
        new: 1,
        late: 1,
        replaced: 2,
        unchanged: 3,
        stale: 3,
        waiting: 2,
        early: 1,
        expired: 1,
    };
    assert_eq!(label::counts(&pool).await.unwrap(), [("m".to_owned(), expected)]);
    for _ in 0..70 {
        give(&pool, &model, &[given("a", 2, 100)], &rules).await;
    }
    label::fold_counts(&pool).await.unwrap();
    assert_eq!(number(&pool, "label_count").await, 8);
    let unchanged = LabelCounts { unchanged: 73, ..expected };
    assert_eq!(label::counts(&pool).await.unwrap(), [("m".to_owned(), unchanged)]);
}

#[tokio::test]
async fn a_business_key_finds_the_newest_prediction_before_it() {
    let (pool, model) = registered().await;
    let rules = rules("{key: customer, within: 100s}");
    let row = |id: &str, key: &str, seconds: i64| CapturedRow {
        row_id: id.into(),
        event_time: at(seconds),
        business_key: Some(key.into()),
        ..CapturedRow::default()
    };
    let given = |key: &str, value: i64, seconds: i64| Label {
        target: LabelTarget::Key { key: key.into(), at: at(seconds) },
        value: json!(value),
        labelled_at: at(seconds),
    };
    let rows =
        [row("a", "k", 10), row("b", "k", 20), row("b2", "k", 20), row("c", "k", 30), row("d", "l", 25)];
    insert(&pool, &model, &rows).await;
    for (label, expected) in [
        (given("k", 1, 9), None),
        (given("k", 2, 10), Some("a")),
        (given("k", 3, 25), Some("b2")),
        (given("k", 4, 130), Some("c")),
        (given("k", 5, 131), None),
        (given("l", 6, 99), Some("d")),
        (given("m", 7, 99), None),
    ] {
        let counts = give(&pool, &model, std::slice::from_ref(&label), &rules).await;
        assert_eq!(counts.new == 1, expected.is_some(), "{label:?}: {counts:?}");
        if let Some(row) = expected {
            assert_eq!(held(&pool).await[row], label.value, "{label:?}");
        }
    }
    // Those that wait take the first prediction in their span.
    insert(&pool, &model, &[row("e", "k", 131), row("f", "m", 50), row("g", "m", 100)]).await;
    let held = held(&pool).await;
    assert_eq!((&held["e"], &held["f"]), (&json!(5), &json!(7)));
    assert!(!held.contains_key("g"));
    assert_eq!(number(&pool, "label_waiting").await, 1);
}

#[tokio::test]
async fn a_label_and_its_row_at_the_same_moment_meet_later() {
    let (pool, model) = registered().await;
    let mut of_row = pool.begin().await.unwrap();
    captured::insert(&mut of_row, &model, &exchange("a", 1, &[], 0)).await.unwrap();
    let label = Label::by_id("a", json!(1), at(1));
    assert_eq!(give(&pool, &model, &[label], &Rules::default()).await.waiting, 1);
    of_row.commit().await.unwrap();
    assert_eq!(held(&pool).await, BTreeMap::new());
    let counts = label::match_recent(&pool, &model, TimeDelta::minutes(1)).await.unwrap();
    assert_eq!(counts.early, 1);
    assert_eq!(held(&pool).await, BTreeMap::from([("a".to_owned(), json!(1))]));
    let counts = label::match_recent(&pool, &model, TimeDelta::minutes(1)).await.unwrap();
    assert_eq!(counts, LabelCounts::default());
}

#[tokio::test]
async fn many_writers_agree_on_the_later_label() {
    let (pool, model) = registered().await;
    let rows: Vec<CapturedRow> = (0..50).flat_map(|row| exchange(&format!("r{row}"), 1, &[], 0)).collect();
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..4_i64 {
        let (pool, model, rows) = (pool.clone(), model.clone(), rows.clone());
        writers.spawn(async move {
            if writer == 2 {
                insert(&pool, &model, &rows).await;
            }
            let labels: Vec<Label> = (0..50_i64)
                .map(|row| Label::by_id(format!("r{}", (row * 7 + writer) % 50), json!(writer), at(writer)))
                .collect();
            give(&pool, &model, &labels, &Rules::default()).await;
        });
    }
    while let Some(ended) = writers.join_next().await {
        ended.unwrap();
    }
    label::match_recent(&pool, &model, TimeDelta::minutes(1)).await.unwrap();
    let held = held(&pool).await;
    assert_eq!(held.len(), 50);
    assert!(held.values().all(|value| *value == json!(3)), "{held:?}");
}

#[tokio::test]
async fn feedback_labels_the_rows_of_its_puid() {
    let (pool, model) = registered().await;
    insert(&pool, &model, &exchange("body", 2, &["puid-9"], 0)).await;
    let feedback =
        br#"{"response":{"meta":{"puid":"puid-9"}},"truth":{"data":{"ndarray":[[1],[0]]}},"reward":1}"#;
    let events = labels_of_feedback(None, feedback).unwrap();
    let mut db = pool.acquire().await.unwrap();
    let counts = label::upsert_events(&mut db, &model, &events, at(5), &Rules::default()).await.unwrap();
    assert_eq!(counts.new, 2);
    let expected = [("body_0", json!(1)), ("body_1", json!(0))].map(|(row, value)| (row.to_owned(), value));
    assert_eq!(held(&pool).await, BTreeMap::from(expected));
}

struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
}

/// Runs `driftline labels` in `folder`, with `stdin` from a file if given.
fn labels(folder: &std::path::Path, url: &str, arguments: &[&str], stdin: Option<&str>) -> Ended {
    let input = stdin.map_or_else(std::process::Stdio::null, |name| {
        std::fs::File::open(folder.join(name)).unwrap().into()
    });
    let ended = Command::new(env!("CARGO_BIN_EXE_driftline"))
        .arg("labels")
        .args(arguments)
        .current_dir(folder)
        .env_remove("DRIFTLINE_CONFIG")
        .env("DRIFTLINE__DATABASE__URL", url)
        .stdin(input)
        .output()
        .unwrap();
    Ended {
        code: ended.status.code(),
        out: String::from_utf8(ended.stdout).unwrap(),
        err: String::from_utf8(ended.stderr).unwrap(),
    }
}

#[tokio::test]
async fn files_are_imported_once_and_checked_before() {
    use polars::df;
    use polars::prelude::{NamedFrom, ParquetWriter, Series};
    let (pool, url) = database_with_url().await;
    let model = ModelName::parse("m").unwrap();
    driftline::store::model::register(&pool, &model).await.unwrap();
    let mut rows: Vec<CapturedRow> =
        (0..6000).flat_map(|row| exchange(&format!("p{row}"), 1, &[], 0)).collect();
    rows[5].business_key = Some("17".into());
    insert(&pool, &model, &rows).await;
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let lines = (0..6000).map(|row| format!("1970-01-01T01:00:00Z,p{row},{}", row % 2));
    let text = std::iter::once("when,id,label".to_owned()).chain(lines).collect::<Vec<_>>().join("\n") + "\n";
    file("a.csv", &text);
    file("bad.csv", &text.replace("p5999,1", "p5999,"));
    let import = |name: &str, more: &[&str]| {
        let mut arguments = vec!["import", name, "-m", "m"];
        arguments.extend(more);
        labels(folder.path(), &url, &arguments, None)
    };
    let bad = import("bad.csv", &["--time-column", "when"]);
    assert_eq!(bad.code, Some(2));
    assert!(bad.err.contains("`bad.csv`, line 6001, column `label`: the label is missing"), "{}", bad.err);
    assert_eq!(held(&pool).await.len(), 0, "nothing of a wrong file is written");
    let first = import("a.csv", &["--time-column", "when", "--json"]);
    assert_eq!(first.code, Some(0), "{}", first.err);
    assert_eq!(serde_json::from_str::<Json>(&first.out).unwrap()["new"], json!(6000));
    let again = import("a.csv", &["--time-column", "when"]);
    assert!(again.out.contains("6000 unchanged says what the row's label says already"), "{}", again.out);
    assert_eq!(held(&pool).await.len(), 6000);

    let mut frame = df!("id" => ["p1", "nobody"], "label" => [7.0, 8.0]).unwrap();
    frame.with_column(Series::new("n".into(), [0_i64, 0]).into()).unwrap();
    let parquet = std::fs::File::create(folder.path().join("a.parquet")).unwrap();
    ParquetWriter::new(parquet).finish(&mut frame).unwrap();
    let ended = import("a.parquet", &["--row-column", "n", "--json"]);
    let counts: Json = serde_json::from_str(&ended.out).unwrap();
    assert_eq!((&counts["replaced"], &counts["waiting"]), (&json!(1), &json!(1)), "{}", ended.err);
    file("lines", "{\"id\":\"p2\",\"label\":9}\n");
    let ended = labels(folder.path(), &url, &["import", "-", "-m", "m", "--json"], Some("lines"));
    assert_eq!(serde_json::from_str::<Json>(&ended.out).unwrap()["replaced"], json!(1), "{}", ended.err);
    let held = held(&pool).await;
    assert_eq!((&held["p1"], &held["p2"]), (&json!(7), &json!(9)));

    file("key.csv", "customer,label,when\n17,5,1970-01-01T02:00:00Z\n");
    let by_key = ["--key-column", "customer", "--time-column", "when", "--json"];
    let refused = import("key.csv", &by_key);
    assert!(refused.err.contains("`--key-column` needs `labels: {key: …}`"), "{}", refused.err);
    file("driftline.yaml", "models: [{name: m, labels: {key: customer}}]");
    let ended = import("key.csv", &by_key);
    assert_eq!(serde_json::from_str::<Json>(&ended.out).unwrap()["replaced"], json!(1), "{}", ended.err);

    let unknown = labels(folder.path(), &url, &["import", "a.csv", "-m", "nobody"], None);
    assert!(unknown.err.contains("model `nobody` is not registered"), "{}", unknown.err);
    let status = labels(folder.path(), &url, &["status", "--json"], None);
    let status: Json = serde_json::from_str(&status.out).unwrap();
    assert_eq!((&status[0]["rows"], &status[0]["labelled"]), (&json!(6000), &json!(6000)), "{status}");
    assert_eq!(status[0]["waiting"], json!(1));
    let table = labels(folder.path(), &url, &["status", "-m", "m"], None);
    assert!(table.out.contains("100.0 %"), "{}", table.out);
    assert_eq!(labels(folder.path(), &url, &["status", "-m", "nobody"], None).code, Some(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn labels_among_events_find_the_predictions_among_events() {
    use bytes::Bytes;
    use driftline::tap::ingest::Content;

    use crate::ingest_support::{Replica, database, message, model};
    let (pool, url) = database().await;
    let replica = Replica::start(&url, "");
    let mut sent = 0;
    let mut submit = async |pairs: &[(&str, &str)], body: Json| {
        sent += 1;
        let headers: Vec<(String, String)> =
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let body = Bytes::from(body.to_string());
        let message = |key: usize| {
            let content = Content::Wire { headers: headers.clone(), body: body.clone() };
            let mut message = message(Some(format!("k{key}")), content);
            message.model = Some(model("m"));
            message
        };
        let first = replica.ingest.submit(message(sent)).await.unwrap();
        let again = replica.ingest.submit(message(sent)).await.unwrap();
        assert!(again.duplicate && !first.duplicate, "{first:?} {again:?}");
        assert_eq!(first.refused, 0, "{body:?}");
    };
    let logger = |side: &'static str| {
        [
            ("ce-id", "ce-1"),
            ("ce-type", side),
            ("ce-inferenceservicename", "iris"),
            ("ce-metadata", r#"{"X-Request-Id":["rid-1"]}"#),
            ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        ]
    };
    // Before its prediction.
    let early = json!({"model": "m", "id": "4bf92f3577b34da6a3ce929d0e0e4736", "row": 1, "label": 2});
    submit(&[], early).await;
    submit(&logger("a.response"), json!({"predictions": [{"y": 1}, {"y": 2}]})).await;
    submit(&logger("a.request"), json!({"instances": [{"x": 1}, {"x": 2}]})).await;
    submit(&[], json!([{"model": "iris", "id": "ce-1:0", "label": 1}])).await;
    // Ground truth first, by the id that the caller gave; the platform's own finds the same row.
    let truth = |id: &str| json!({"groundTruthData": {"data": "7", "encoding": "CSV"}, "eventMetadata": {"eventId": id}});
    submit(&[], truth("i1")).await;
    let side =
        |data: &str| json!({"data": data, "encoding": "JSON", "observedContentType": "application/json"});
    submit(
        &[],
        json!({
            "captureData": {
                "endpointInput": side(r#"{"instances": [{"x": 3}]}"#),
                "endpointOutput": side(r#"{"predictions": [{"y": 3}]}"#),
            },
            "eventMetadata": {"eventId": "e1", "inferenceId": "i1"},
        }),
    )
    .await;
    submit(&[], truth("e1")).await;
    let feedback = json!({
        "request": {"data": {"names": ["x"], "ndarray": [[4]]}}, "response": {"data": {"names": ["y"], "ndarray": [[4]]}},
        "truth": {"data": {"ndarray": [[5]]}},
    });
    submit(&[("ce-type", "io.seldon.serving.feedback")], feedback).await;
    let held = held(&pool).await;
    let expected = [("i1", json!(7.0)), ("rid-1_0", json!(1)), ("rid-1_1", json!(2))];
    for (row, value) in expected {
        assert_eq!(held.get(row), Some(&value), "{row}: {held:?}");
    }
    let (row, value) = held.iter().find(|(row, _)| row.starts_with("sha256-")).unwrap();
    assert_eq!((value, row.len()), (&json!(5), 39));
    let counts = label::counts(&pool).await.unwrap()[0].1;
    let none = LabelCounts::default();
    assert_eq!(counts, LabelCounts { new: 2, waiting: 2, early: 2, unchanged: 1, ..none });
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn feedback_through_the_proxy_labels_its_prediction() {
    use axum::routing::post;
    const ANSWER: &str = r#"{"data":{"names":["y"],"ndarray":[[3],[4]]},"meta":{"puid":"p1"}}"#;
    const THANKS: &str = r#"{"data":{"tensor":{"shape":[0]}},"meta":{}}"#;
    driftline::app::install_crypto();
    let (pool, url) = database_with_url().await;
    let upstream = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let settings = format!(
        "listen: {{proxy: 127.0.0.1:0, admin: 127.0.0.1:0}}\ndatabase: {{url: '{url}'}}\n\
         tap: {{upstream: 'http://{}'}}\nmodels: [{{name: m, path: /api/v1.0/predictions, labels: {{}}}}]\n",
        upstream.local_addr().unwrap()
    );
    let server = axum::Router::new()
        .route("/api/v1.0/predictions", post(async || ([("seldon-puid", "p1")], ANSWER)))
        .route("/api/v1.0/feedback", post(async || THANKS));
    let mut running = tokio::task::JoinSet::new();
    running.spawn(async move { axum::serve(upstream, server).await.map_err(anyhow::Error::from) });
    let app = driftline::app::App::build(Settings::parse(&settings, "s.yaml").unwrap()).await.unwrap();
    let proxy = format!("http://{}", app.proxy_address().unwrap());
    let shutdown = tokio_util::sync::CancellationToken::new();
    let mut sidecar = tokio::task::JoinSet::new();
    sidecar.spawn(app.run(shutdown.clone().cancelled_owned()));
    let client = reqwest::Client::new();
    let asked = client.post(format!("{proxy}/api/v1.0/predictions")).header("x-request-id", "r1");
    let answer = asked.body(r#"{"data":{"names":["x"],"ndarray":[[1],[2]]}}"#).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.text().await.unwrap()), (200, ANSWER.to_owned()));
    let feedback = r#"{"response":{"meta":{"puid":"p1"}},"truth":{"data":{"ndarray":[[8],[9]]}},"reward":0}"#;
    let answer = client.post(format!("{proxy}/api/v1.0/feedback")).body(feedback).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.text().await.unwrap()), (200, THANKS.to_owned()));
    let expected = [("r1_0", json!(8)), ("r1_1", json!(9))].map(|(row, value)| (row.to_owned(), value));
    let expected = BTreeMap::from(expected);
    crate::support::wait_for("the labels", async || (held(&pool).await == expected).then_some(())).await;
    shutdown.cancel();
    sidecar.join_next().await.unwrap().unwrap().unwrap();
    running.abort_all();
}
