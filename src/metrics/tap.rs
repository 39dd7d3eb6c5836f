//! What the tap saw, and what the proxy forwarded.

use std::ops::{Deref, Range};
use std::sync::{Arc, OnceLock};

use prometheus::{Gauge, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts};

use super::Metrics;
use super::declare::Declare;

/// What the tap saw and where it went: `seen = kept + sampled_out + sum(dropped)` once all is settled.
#[derive(Debug, Clone)]
pub struct TapMetrics {
    /// Exchanges recognised as predictions of a monitored model.
    pub seen: IntCounterVec,
    /// Of these, handed on to be profiled.
    pub kept: IntCounterVec,
    /// Of these, left out by the sampling rate.
    pub sampled_out: IntCounterVec,
    /// Of these, lost, by reason.
    pub dropped: IntCounterVec,
    /// Rows decoded.
    pub rows: IntCounterVec,
    /// Oddities of exchanges that were kept all the same.
    pub notes: IntCounterVec,
    /// Predictions of models that are not monitored.
    pub unmonitored: IntCounter,
    /// Event times that could not be read or lay in the future; the time of arrival was taken.
    pub event_time_invalid: IntCounterVec,
    /// Bytes of copied bodies held at this moment.
    pub queue_bytes: IntGauge,
    /// Most bytes that it may hold.
    pub queue_limit: IntGauge,
    /// Share of the predictions that the queue has room for; what is over is shed by hash of the id.
    pub keep_share: Gauge,
}

/// What the proxy forwarded.
#[derive(Debug, Clone)]
pub struct ProxyMetrics {
    /// Time that driftline added, without that of the model server.
    pub overhead: HistogramVec,
    /// Time from sending a request to the head of its answer.
    pub upstream_duration: HistogramVec,
    /// Answers by status; `502` also stands for a model server that was not reached.
    pub requests: IntCounterVec,
    codes: Codes,
    /// Requests whose answer has not ended.
    pub in_flight: IntGauge,
    /// Predictions whose answer has not ended.
    pub predictions_in_flight: IntGaugeVec,
    /// Time from sending a request to the end of its answer.
    pub complete_duration: HistogramVec,
    /// Answers to predictions by status; 499 where the client left before there was one.
    pub answers: IntCounterVec,
    /// Answers to predictions over gRPC by their own status.
    pub grpc_answers: IntCounterVec,
    /// Bytes of bodies of predictions, as they passed.
    pub request_bytes: IntCounterVec,
    /// Bytes of bodies of their answers, as they passed.
    pub response_bytes: IntCounterVec,
}

/// Counters by status, each looked up once.
#[derive(Debug, Clone)]
struct Codes(Arc<[OnceLock<IntCounter>]>);

/// What has a counter of its own; the one after is for all others.
const CODES: Range<u16> = 100..600;

impl Default for Codes {
    fn default() -> Self {
        Self((CODES.start..=CODES.end).map(|_| OnceLock::new()).collect())
    }
}

impl Codes {
    /// The counter of `status`, which `look_up` finds by its label.
    fn of(&self, status: u16, look_up: impl FnOnce(&str) -> IntCounter) -> IntCounter {
        let status = if CODES.contains(&status) { status } else { CODES.end };
        let label = || if status < CODES.end { status.to_string() } else { "other".to_owned() };
        match self.0.get(usize::from(status - CODES.start)) {
            Some(counter) => counter.get_or_init(|| look_up(&label())).clone(),
            None => look_up(&label()),
        }
    }
}

impl ProxyMetrics {
    /// Counts an answer by its status.
    pub(crate) fn answered(&self, status: u16) {
        self.codes.of(status, |code| self.requests.with_label_values(&[code])).inc();
    }
}

impl TapMetrics {
    pub(super) fn declare(declare: &Declare<'_>) -> prometheus::Result<Self> {
        let by_model = &["model"];
        Ok(Self {
            seen: declare.counters(
                "driftline_predictions_seen_total",
                "Exchanges recognised as predictions of a monitored model",
                by_model,
            )?,
            kept: declare.counters(
                "driftline_predictions_kept_total",
                "Exchanges handed on to be profiled",
                by_model,
            )?,
            sampled_out: declare.counters(
                "driftline_predictions_sampled_out_total",
                "Exchanges left out by the sampling rate",
                by_model,
            )?,
            dropped: declare.counters(
                "driftline_predictions_dropped_total",
                "Exchanges lost, by reason",
                &["model", "reason"],
            )?,
            rows: declare.counters("driftline_rows_total", "Rows decoded", by_model)?,
            notes: declare.counters(
                "driftline_decode_notes_total",
                "Oddities of exchanges that were kept all the same",
                &["model", "note"],
            )?,
            unmonitored: declare.add(IntCounter::new(
                "driftline_exchanges_unmonitored_total",
                "Predictions of models that are not monitored",
            )?)?,
            event_time_invalid: declare.counters(
                "driftline_event_time_invalid_total",
                "Event times that could not be read or lay in the future",
                by_model,
            )?,
            queue_bytes: declare.add(IntGauge::new(
                "driftline_tap_queue_bytes",
                "Bytes of copied bodies held at this moment",
            )?)?,
            queue_limit: declare.gauge(
                "driftline_tap_queue_limit_bytes",
                "Most bytes of copied bodies that are held, `tap.queue_bytes`",
            )?,
            keep_share: {
                let share = declare.add(Gauge::new(
                    "driftline_tap_keep_share",
                    "Share of the predictions that the queue has room for; the rest is shed by hash of the id",
                )?)?;
                share.set(1.0);
                share
            },
        })
    }
}

impl ProxyMetrics {
    pub(super) fn declare(declare: &Declare<'_>) -> prometheus::Result<Self> {
        Ok(Self {
            overhead: declare.histograms(
                "driftline_proxy_overhead_seconds",
                "Time that driftline added to an exchange, without that of the model server",
            )?,
            upstream_duration: declare.histograms(
                "driftline_upstream_duration_seconds",
                "Time from sending a request to the head of its answer",
            )?,
            requests: declare.counters("driftline_proxy_requests_total", "Answers by status", &["code"])?,
            codes: Codes::default(),
            in_flight: declare
                .add(IntGauge::new("driftline_proxy_in_flight", "Requests whose answer has not ended")?)?,
            predictions_in_flight: declare.add(IntGaugeVec::new(
                Opts::new("driftline_predictions_in_flight", "Predictions whose answer has not ended"),
                &["model"],
            )?)?,
            complete_duration: declare.histograms(
                "driftline_upstream_complete_seconds",
                "Time from sending a request to the end of its answer",
            )?,
            answers: declare.counters(
                "driftline_prediction_answers_total",
                "Answers to predictions by status; 499 where the client left before there was one",
                &["model", "code"],
            )?,
            grpc_answers: declare.counters(
                "driftline_prediction_grpc_answers_total",
                "Answers to predictions over gRPC by their own status",
                &["model", "grpc_status"],
            )?,
            request_bytes: declare.counters(
                "driftline_request_bytes_total",
                "Bytes of bodies of predictions, as they passed",
                &["model"],
            )?,
            response_bytes: declare.counters(
                "driftline_response_bytes_total",
                "Bytes of bodies of answers to predictions, as they passed",
                &["model"],
            )?,
        })
    }
}

/// The metrics of one monitored model, looked up once; cheap to clone.
#[derive(Debug, Clone)]
pub struct ModelMetrics(Arc<ModelSeries>);

impl Deref for ModelMetrics {
    type Target = ModelSeries;

    fn deref(&self) -> &ModelSeries {
        &self.0
    }
}

/// The series of one monitored model.
#[derive(Debug)]
pub struct ModelSeries {
    name: String,
    tap: TapMetrics,
    proxy: ProxyMetrics,
    codes: Codes,
    pub(crate) in_flight: IntGauge,
    pub(crate) complete_duration: Histogram,
    pub(crate) request_bytes: IntCounter,
    pub(crate) response_bytes: IntCounter,
    pub(crate) seen: IntCounter,
    pub(crate) kept: IntCounter,
    pub(crate) sampled_out: IntCounter,
    pub(crate) rows: IntCounter,
    pub(crate) overhead: Histogram,
    pub(crate) upstream_duration: Histogram,
    pub(crate) event_time_invalid: IntCounter,
}

impl ModelMetrics {
    /// The metrics of `model`, which must be one of the configured ones: its name becomes a label.
    pub fn new(metrics: &Metrics, model: &str) -> Self {
        let label = &[model];
        Self(Arc::new(ModelSeries {
            name: model.to_owned(),
            seen: metrics.tap.seen.with_label_values(label),
            kept: metrics.tap.kept.with_label_values(label),
            sampled_out: metrics.tap.sampled_out.with_label_values(label),
            rows: metrics.tap.rows.with_label_values(label),
            overhead: metrics.proxy.overhead.with_label_values(label),
            upstream_duration: metrics.proxy.upstream_duration.with_label_values(label),
            event_time_invalid: metrics.tap.event_time_invalid.with_label_values(label),
            tap: metrics.tap.clone(),
            codes: Codes::default(),
            in_flight: metrics.proxy.predictions_in_flight.with_label_values(label),
            complete_duration: metrics.proxy.complete_duration.with_label_values(label),
            request_bytes: metrics.proxy.request_bytes.with_label_values(label),
            response_bytes: metrics.proxy.response_bytes.with_label_values(label),
            proxy: metrics.proxy.clone(),
        }))
    }
}

impl ModelSeries {
    pub(crate) fn dropped(&self, reason: &'static str) {
        self.tap.dropped.with_label_values(&[self.name.as_str(), reason]).inc();
    }

    /// Counts an answer by its status, and by the status of gRPC if it has one.
    pub(crate) fn answered(&self, status: u16, grpc_status: Option<u16>) {
        self.codes.of(status, |code| self.proxy.answers.with_label_values(&[self.name.as_str(), code])).inc();
        if let Some(status) = grpc_status {
            // gRPC has these and no more.
            let label = if status <= 16 { status.to_string() } else { "other".to_owned() };
            self.proxy.grpc_answers.with_label_values(&[self.name.as_str(), &label]).inc();
        }
    }

    pub(crate) fn note(&self, note: &'static str, count: u64) {
        self.tap.notes.with_label_values(&[self.name.as_str(), note]).inc_by(count);
    }
}
