//! Replicas that ingest into one database, messages for them, and what the database says was counted.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use driftline::app;
use driftline::baseline::{self, Baseline, BuildOptions, CutOptions, SourceColumn};
use driftline::config::Settings;
use driftline::metrics::Metrics;
use driftline::model::{Batch, Column, Exchange, ModelName, Role, Value};
use driftline::store::{self, PgPool};
use driftline::tap::Names;
use driftline::tap::ingest::{Content, Ingest, Message, Position};
use driftline::tasks::{CatalogTask, Ingestion, load_privacy};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// The model of these tests.
pub(crate) const SETTINGS: &str =
    "models: [{name: m, window: 1d, aliases: [iris], training: {task: regression, target: y}}, {name: n}]\n";

pub(crate) fn model(name: &str) -> ModelName {
    ModelName::parse(name).unwrap()
}

/// A baseline with the input `x` and the output `y`.
pub(crate) fn reference() -> Baseline {
    let values: Vec<Value> = (0..500).map(|i| Value::Number(f64::from(i))).collect();
    let column = |name, role| SourceColumn { name, role, kind: None, values: &values };
    let options = BuildOptions {
        model: model("m"),
        source: "reference".into(),
        cut: CutOptions::default(),
        joint: false,
    };
    baseline::build(&[column("x", Role::Feature), column("y", Role::Output)], None, options).unwrap()
}

/// When the messages of these tests arrive.
pub(crate) fn arrival() -> DateTime<Utc> {
    DateTime::from_timestamp(1_790_000_000, 0).unwrap()
}

/// A process that stores messages, without anything around it.
pub(crate) struct Replica {
    pub(crate) ingest: Ingest,
    pub(crate) metrics: Metrics,
    shutdown: CancellationToken,
    running: JoinSet<anyhow::Result<()>>,
}

impl Replica {
    /// A replica with the database of `url` and further lines of settings.
    pub(crate) fn start(url: &str, more: &str) -> Self {
        let settings = Arc::new(Settings::parse(&format!("{SETTINGS}{more}"), "test").unwrap());
        let metrics = Metrics::new().unwrap();
        let pool = store::pool(url, 3).unwrap();
        let policies = Arc::new(load_privacy(&settings).unwrap());
        let (catalog, known) =
            CatalogTask::new(pool.clone(), Arc::clone(&settings), Arc::default(), policies);
        let sink = &settings.sink;
        let (ingest, waiting) = Ingest::bounded(sink.waiting_messages, sink.waiting_bytes.0, &metrics);
        let names = Names::new(&settings);
        let ingestion = Ingestion::new(pool, waiting, known, names, sink.clone(), metrics.clone());
        let shutdown = CancellationToken::new();
        let mut running = JoinSet::new();
        running.spawn(catalog.run(shutdown.clone()));
        running.spawn(ingestion.run(shutdown.clone()));
        Self { ingest, metrics, shutdown, running }
    }

    /// Ends it as a process that is told to.
    pub(crate) async fn stop(mut self) {
        drop(self.ingest);
        self.shutdown.cancel();
        while let Some(ended) = self.running.join_next().await {
            ended.unwrap().unwrap();
        }
    }
}

/// A database with the models and the baseline of `m`, and its URL.
pub(crate) async fn database() -> (PgPool, String) {
    let (pool, url) = crate::support::database_with_url().await;
    store::model::register(&pool, &model("n")).await.unwrap();
    app::register_baseline(&pool, &reference()).await.unwrap();
    (pool, url)
}

/// One row, ten to a minute.
pub(crate) fn exchange(number: usize) -> Exchange {
    let column = |name: &str| Column { name: name.into(), values: vec![Value::Number(number as f64)] };
    let minute = i64::try_from(number / 10).unwrap();
    Exchange {
        id: format!("p-{number:05}"),
        model: model("m"),
        model_version: None,
        event_time: arrival() - TimeDelta::hours(1) + TimeDelta::minutes(minute % 30),
        batch: Batch { rows: 1, features: vec![column("x")], outputs: vec![column("y")] },
        other_ids: Vec::new(),
    }
}

/// A message of the source `test`.
pub(crate) fn message(key: Option<String>, content: Content) -> Message {
    Message { source: Arc::from("test"), key, position: None, model: None, received_at: arrival(), content }
}

/// A message with one exchange.
pub(crate) fn one(number: usize) -> Message {
    Message {
        position: Some(Position { of: "file".into(), at: number.to_string() }),
        ..message(Some(format!("k-{number}")), Content::Exchanges(vec![exchange(number)]))
    }
}

/// An event as a payload logger sends it.
pub(crate) fn event(side: &str, id: &str, body: &str) -> Message {
    let headers = [
        ("content-type", "application/json"),
        ("ce-specversion", "1.0"),
        ("ce-id", id),
        ("ce-source", "pod"),
        ("ce-type", &format!("org.kubeflow.serving.inference.{side}")),
        ("ce-inferenceservicename", "iris"),
        ("ce-namespace", "default"),
        ("ce-component", "predictor"),
        ("ce-endpoint", ""),
    ];
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let body = Bytes::copy_from_slice(body.as_bytes());
    Message { source: Arc::from("events"), ..message(None, Content::Wire { headers, body }) }
}

pub(crate) fn request(id: &str, rows: usize) -> Message {
    event("request", id, &format!(r#"{{"instances":[{}]}}"#, vec![r#"{"x":7}"#; rows].join(",")))
}

pub(crate) fn response(id: &str, rows: usize) -> Message {
    event("response", id, &format!(r#"{{"predictions":[{}]}}"#, vec![r#"{"y":3}"#; rows].join(",")))
}

/// What the database says of model `m`.
#[derive(Debug, PartialEq, Eq, Default)]
pub(crate) struct Counts {
    /// Exchanges.
    pub(crate) seen: u64,
    /// Of these, kept.
    pub(crate) kept: u64,
    /// Of these, lost, by reason.
    pub(crate) dropped: BTreeMap<String, u64>,
    /// Rows in profiles.
    pub(crate) rows: u64,
}

/// What the database says of model `m`; the loss identity has to hold.
pub(crate) async fn counts(pool: &PgPool) -> Counts {
    let parts: Vec<(i64, i64, serde_json::Value)> =
        sqlx::query_as("select seen, kept, dropped from tap_part where model = 'm'")
            .fetch_all(pool)
            .await
            .unwrap();
    let mut counts = Counts::default();
    for (seen, kept, dropped) in parts {
        let dropped: BTreeMap<String, u64> = serde_json::from_value(dropped).unwrap();
        assert_eq!(seen.unsigned_abs(), kept.unsigned_abs() + dropped.values().sum::<u64>());
        counts.seen += seen.unsigned_abs();
        counts.kept += kept.unsigned_abs();
        for (reason, count) in dropped {
            *counts.dropped.entry(reason).or_default() += count;
        }
    }
    let rows: Option<i64> =
        sqlx::query_scalar("select sum(row_count)::bigint from profile_part").fetch_one(pool).await.unwrap();
    counts.rows = rows.unwrap_or(0).unsigned_abs();
    counts
}

/// Counts of `kept` exchanges of `rows` rows in all, and nothing lost.
pub(crate) fn kept(kept: u64, rows: u64) -> Counts {
    Counts { seen: kept, kept, rows, ..Counts::default() }
}

pub(crate) async fn number(pool: &PgPool, query: &'static str) -> i64 {
    sqlx::query_scalar(query).fetch_one(pool).await.unwrap()
}
