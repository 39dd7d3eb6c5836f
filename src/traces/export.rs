//! Sends spans to the collector, many at a time.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Span, encode};
use crate::metrics::TraceMetrics;

/// Most spans of one request.
const BATCH: usize = 512;
/// How long spans are gathered.
const GATHER: Duration = Duration::from_secs(1);
/// How long the collector may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Sends spans until shutdown.
#[derive(Debug)]
pub struct Exporter {
    url: String,
    spans: mpsc::Receiver<Span>,
    client: reqwest::Client,
    metrics: TraceMetrics,
}

impl Exporter {
    /// An exporter to `url`, the whole address.
    ///
    /// # Errors
    ///
    /// When TLS cannot be set up.
    pub fn new(url: String, spans: mpsc::Receiver<Span>, metrics: TraceMetrics) -> reqwest::Result<Self> {
        let client = reqwest::Client::builder()
            .timeout(PATIENCE)
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Self { url, spans, client, metrics })
    }

    /// Sends until shutdown, and then what is left. A collector that is away costs spans and nothing else.
    ///
    /// # Errors
    ///
    /// None.
    pub async fn run(mut self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let mut failing = false;
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let is_over = shutdown.run_until_cancelled(tokio::time::sleep(GATHER)).await.is_none();
            while !self.spans.is_empty() {
                batch.clear();
                self.spans.recv_many(&mut batch, BATCH).await;
                let sent = self.send(&batch).await;
                let outcome = if sent.is_ok() { "sent" } else { "failed" };
                self.metrics.spans.with_label_values(&[outcome]).inc_by(batch.len() as u64);
                match sent {
                    Ok(()) => failing = false,
                    Err(problem) if !failing => {
                        tracing::warn!(url = self.url, problem, "spans were not taken; they are lost");
                        failing = true;
                    }
                    Err(_) => {}
                }
                if failing && is_over {
                    return Ok(());
                }
            }
            if is_over {
                return Ok(());
            }
        }
    }

    async fn send(&self, batch: &[Span]) -> Result<(), String> {
        let request = self
            .client
            .post(&self.url)
            .header("content-type", "application/x-protobuf")
            .body(encode::request(batch));
        match request.send().await {
            Ok(answer) if answer.status().is_success() => Ok(()),
            Ok(answer) => Err(format!("the collector answered {}", answer.status())),
            Err(error) => Err(error.without_url().to_string()),
        }
    }
}
