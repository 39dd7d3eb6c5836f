//! Replays rows of the data set as predictions through the proxy, and reports their labels.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, ensure};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value as Wire, json};
use tokio::task::JoinSet;

use crate::frames::Table;
use crate::model::{ModelName, Value};

/// Connections that the replay uses.
const CLIENTS: usize = 4;

/// The request header with the event time.
pub(super) const TIME_HEADER: &str = "x-event-time";

/// The data set, ready to be sent.
#[derive(Debug)]
pub(super) struct Replay {
    pub(super) model: ModelName,
    pub(super) times: Vec<DateTime<Utc>>,
    /// One V2 body per row.
    bodies: Vec<String>,
    labels: Vec<Wire>,
    /// How long after the prediction the truth is known.
    pub(super) label_delay: TimeDelta,
}

impl Replay {
    /// Every row of `table` as a request of its `features`, and its label.
    pub(super) fn new(
        model: ModelName,
        table: &Table,
        times: Vec<DateTime<Utc>>,
        features: &[&str],
        target: &str,
    ) -> anyhow::Result<Self> {
        let columns = features.iter().map(|name| table.column(name)).collect::<Result<Vec<_>, _>>()?;
        let bodies = (0..table.rows)
            .map(|row| {
                let inputs: Vec<Wire> = columns
                    .iter()
                    .map(|column| json!({ "name": column.name, "datatype": "FP64", "shape": [1], "data": [wire(&column.values[row])] }))
                    .collect();
                json!({ "inputs": inputs }).to_string()
            })
            .collect();
        let labels = table.column(target)?.values.iter().map(wire).collect();
        Ok(Self { model, times, bodies, labels, label_delay: TimeDelta::minutes(30) })
    }

    /// The id of the prediction of `row`.
    fn id(&self, row: usize) -> String {
        format!("{}-{row}", self.model)
    }

    /// Sends rows `range` through the proxy, oldest first; returns how many answers said which version.
    pub(super) async fn predict(
        self: &Arc<Self>,
        client: &reqwest::Client,
        proxy: &str,
        range: std::ops::Range<usize>,
    ) -> anyhow::Result<()> {
        let next = Arc::new(AtomicUsize::new(range.start));
        let mut clients: JoinSet<anyhow::Result<()>> = JoinSet::new();
        let url = format!("{proxy}/v2/models/{}/infer", self.model);
        for _ in 0..CLIENTS {
            let (replay, next, client, url, end) =
                (Arc::clone(self), Arc::clone(&next), client.clone(), url.clone(), range.end);
            clients.spawn(async move {
                loop {
                    let row = next.fetch_add(1, Ordering::Relaxed);
                    if row >= end {
                        return Ok(());
                    }
                    let answer = client
                        .post(&url)
                        .header("x-request-id", replay.id(row))
                        .header(TIME_HEADER, replay.times[row].to_rfc3339())
                        .header("content-type", "application/json")
                        .body(replay.bodies[row].clone())
                        .send()
                        .await
                        .context("the proxy did not answer")?;
                    ensure!(
                        answer.status().is_success(),
                        "row {row}: the model server answered {}",
                        answer.status()
                    );
                    answer.bytes().await?;
                }
            });
        }
        while let Some(ended) = clients.join_next().await {
            ended??;
        }
        Ok(())
    }

    /// Reports the labels of rows `range`.
    pub(super) async fn label(
        &self,
        client: &reqwest::Client,
        admin: &str,
        range: std::ops::Range<usize>,
    ) -> anyhow::Result<()> {
        let items: Vec<Wire> = range
            .map(|row| {
                let time = self.times[row] + self.label_delay;
                json!({ "model": self.model, "id": self.id(row), "label": self.labels[row], "time": time })
            })
            .collect();
        let answer = client.post(format!("{admin}/v1/labels")).json(&items).send().await?;
        ensure!(answer.status().is_success(), "labels were refused: {}", answer.text().await?);
        Ok(())
    }
}

fn wire(value: &Value) -> Wire {
    match value {
        Value::Number(number) => json!(number),
        Value::Bool(truth) => json!(truth),
        Value::Text(text) => json!(text),
        Value::Missing | Value::Opaque => Wire::Null,
    }
}
