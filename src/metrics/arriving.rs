//! What came from elsewhere than the tap: sources, posted messages and labels.

use prometheus::{GaugeVec, Histogram, HistogramOpts, IntCounterVec, IntGauge, IntGaugeVec, Opts};

use super::LATENCY_SECONDS;
use super::declare::Declare;
use super::shown::bring_to;

/// What came from brokers and files; `source` is a name of the settings.
#[derive(Debug, Clone)]
pub struct SourceMetrics {
    /// Messages (of files: batches of lines, documents, tables) that are stored.
    pub messages: IntCounterVec,
    /// Their bytes.
    pub bytes: IntCounterVec,
    /// Of these, delivered before and counted then.
    pub duplicates: IntCounterVec,
    /// Messages that the broker gave out more than once.
    pub redelivered: IntCounterVec,
    /// What could not be taken, by reason.
    pub refused: IntCounterVec,
    /// What there was nothing to take from, by reason.
    pub skipped: IntCounterVec,
    /// Connections made anew after one was lost.
    pub reconnects: IntCounterVec,
    /// 1 while the source can be read.
    pub connected: IntGaugeVec,
    /// Messages that are not stored yet.
    pub lag_messages: IntGaugeVec,
    /// Bytes that are not stored yet.
    pub lag_bytes: IntGaugeVec,
}

/// What was pushed, streamed or read from files.
#[derive(Debug, Clone)]
pub struct IngestMetrics {
    /// Messages by source and what became of them.
    pub messages: IntCounterVec,
    /// What messages held, by what became of it.
    pub items: IntCounterVec,
    /// Sides of exchanges by what became of them.
    pub sides: IntCounterVec,
    /// Sides that wait for the other one, over all replicas.
    pub pending_sides: IntGauge,
    /// Messages that wait to be stored.
    pub waiting_messages: IntGauge,
    /// Bytes of messages that wait to be stored.
    pub waiting_bytes: IntGauge,
    /// Messages that were stored in one transaction.
    pub batch_messages: Histogram,
    /// Time from taking a batch to its commit, every try included.
    pub commit_duration: Histogram,
}

/// What became of labels, over all replicas and imports, as the database has it.
#[derive(Debug, Clone)]
pub struct LabelMetrics {
    /// Labels by what became of them.
    pub outcomes: IntCounterVec,
    /// Labels that wait for their prediction.
    pub waiting: IntGaugeVec,
    /// Share of the kept rows that have a label.
    pub coverage: GaugeVec,
    /// Time from a prediction to its label: the median, and what 95 % keep to.
    pub delay: GaugeVec,
}

impl SourceMetrics {
    pub(super) fn declare(declare: &Declare<'_>) -> prometheus::Result<Self> {
        let by_source = &["source"];
        let by_reason = &["source", "reason"];
        let gauge = |name: &str, help: &str| declare.add(IntGaugeVec::new(Opts::new(name, help), by_source)?);
        Ok(Self {
            messages: declare.counters(
                "driftline_source_messages_total",
                "Messages of a source that are stored",
                by_source,
            )?,
            bytes: declare.counters(
                "driftline_source_bytes_total",
                "Bytes of messages of a source that are stored",
                by_source,
            )?,
            duplicates: declare.counters(
                "driftline_source_duplicates_total",
                "Stored messages that had been counted before",
                by_source,
            )?,
            redelivered: declare.counters(
                "driftline_source_redelivered_total",
                "Messages that the broker gave out more than once",
                by_source,
            )?,
            refused: declare.counters(
                "driftline_source_refused_total",
                "Items of a source that could not be taken, by reason",
                by_reason,
            )?,
            skipped: declare.counters(
                "driftline_source_skipped_total",
                "Items of a source that hold nothing to take, by reason",
                by_reason,
            )?,
            reconnects: declare.counters(
                "driftline_source_reconnects_total",
                "Connections to a source made anew after one was lost",
                by_source,
            )?,
            connected: gauge("driftline_source_connected", "1 while the source can be read")?,
            lag_messages: gauge("driftline_source_lag_messages", "Messages of a source not stored yet")?,
            lag_bytes: gauge("driftline_source_lag_bytes", "Bytes of a source not stored yet")?,
        })
    }
}

impl IngestMetrics {
    pub(super) fn declare(declare: &Declare<'_>) -> prometheus::Result<Self> {
        let histogram = |name: &str, help: &str, buckets: Vec<f64>| {
            declare.add(Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets))?)
        };
        Ok(Self {
            messages: declare.counters(
                "driftline_ingest_messages_total",
                "Messages by source and outcome: stored, duplicate, busy",
                &["source", "outcome"],
            )?,
            items: declare.counters(
                "driftline_ingest_items_total",
                "What messages held, by outcome: taken, duplicate, refused, unmonitored",
                &["outcome"],
            )?,
            sides: declare.counters(
                "driftline_ingest_sides_total",
                "Sides of exchanges by outcome: paired, waiting, duplicate, unanswered, unasked, overflow",
                &["outcome"],
            )?,
            pending_sides: declare.gauge(
                "driftline_ingest_pending_sides",
                "Sides of exchanges that wait for the other one, over all replicas",
            )?,
            waiting_messages: declare
                .gauge("driftline_ingest_waiting_messages", "Messages that wait to be stored")?,
            waiting_bytes: declare
                .gauge("driftline_ingest_waiting_bytes", "Bytes of messages that wait to be stored")?,
            batch_messages: histogram(
                "driftline_ingest_batch_messages",
                "Messages that were stored in one transaction",
                prometheus::exponential_buckets(1.0, 2.0, 11)?,
            )?,
            commit_duration: histogram(
                "driftline_ingest_commit_seconds",
                "Time from taking a batch of messages to its commit, every try included",
                LATENCY_SECONDS.to_vec(),
            )?,
        })
    }
}

impl LabelMetrics {
    pub(super) fn declare(declare: &Declare<'_>) -> prometheus::Result<Self> {
        let gauge = |name: &str, help: &str, labels: &[&str]| {
            declare.add(GaugeVec::new(Opts::new(name, help), labels)?)
        };
        Ok(Self {
            outcomes: declare.counters(
                "driftline_labels_total",
                "Labels by outcome: new, late, replaced, unchanged, stale, waiting, and of these later early or expired",
                &["model", "outcome"],
            )?,
            waiting: declare.add(IntGaugeVec::new(
                Opts::new("driftline_labels_waiting", "Labels that wait for their prediction"),
                &["model"],
            )?)?,
            coverage: gauge(
                "driftline_label_coverage_ratio",
                "Share of the kept rows that have a label",
                &["model"],
            )?,
            delay: gauge(
                "driftline_label_delay_seconds",
                "Time within which this share of the labels came after their predictions",
                &["model", "share"],
            )?,
        })
    }

    /// Shows what became of labels, by model and outcome.
    pub fn show_counts<'c>(&self, counts: impl Iterator<Item = (&'c str, &'static str, u64)>) {
        for (model, outcome, labels) in counts {
            bring_to(&self.outcomes, &[model, outcome], labels);
        }
    }

    /// Shows how far the rows of a model are labelled; `delay` is a time in seconds by the share of labels that kept to it.
    pub fn show_status(
        &self,
        model: &str,
        waiting: u64,
        coverage: Option<f64>,
        delay: [(&str, Option<f64>); 2],
    ) {
        self.waiting.with_label_values(&[model]).set(i64::try_from(waiting).unwrap_or(i64::MAX));
        if let Some(coverage) = coverage {
            self.coverage.with_label_values(&[model]).set(coverage);
        }
        for (share, seconds) in delay {
            if let Some(seconds) = seconds {
                self.delay.with_label_values(&[model, share]).set(seconds);
            }
        }
    }
}
