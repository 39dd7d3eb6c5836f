//! Every exported metric, declared once and grouped by subject.

use std::sync::Arc;

use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

mod arriving;
mod captured;
mod judged;
mod tap;
mod watched;

pub use self::arriving::{IngestMetrics, LabelMetrics, SourceMetrics};
pub use self::captured::CaptureMetrics;
pub use self::judged::{AlertMetrics, DriftMetrics, TrafficMetrics, TrainingMetrics};
pub use self::tap::{ModelMetrics, ProxyMetrics, TapMetrics};
pub use self::watched::WatchMetrics;

/// Latencies from 10 µs to 10 s.
const LATENCY_SECONDS: [f64; 16] = [
    0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.25,
    1.0, 2.5, 10.0,
];

/// All metrics of the process; cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    /// What the tap saw and where it went.
    pub tap: TapMetrics,
    /// What the proxy forwarded.
    pub proxy: ProxyMetrics,
    /// What was pushed, streamed or read from files.
    pub ingest: IngestMetrics,
    /// What the evaluator found.
    pub drift: DriftMetrics,
    /// What the evaluator found of times and errors.
    pub traffic: TrafficMetrics,
    /// What the rules made of it.
    pub alert: AlertMetrics,
    /// What is being trained.
    pub training: TrainingMetrics,
    /// What became of labels.
    pub labels: LabelMetrics,
    /// What came from brokers and files.
    pub source: SourceMetrics,
    /// What is kept of captured rows.
    pub capture: CaptureMetrics,
    /// Whether the watch itself works.
    pub watch: Arc<WatchMetrics>,
}

/// Declares metrics in one registry.
struct Declare<'r>(&'r Registry);

impl Declare<'_> {
    fn add<M: prometheus::core::Collector + Clone + 'static>(&self, metric: M) -> prometheus::Result<M> {
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntCounterVec> {
        self.add(IntCounterVec::new(Opts::new(name, help), labels)?)
    }

    fn gauge(&self, name: &str, help: &str) -> prometheus::Result<IntGauge> {
        self.add(IntGauge::new(name, help)?)
    }

    fn histograms(&self, name: &str, help: &str) -> prometheus::Result<HistogramVec> {
        let options = HistogramOpts::new(name, help).buckets(LATENCY_SECONDS.to_vec());
        self.add(HistogramVec::new(options, &["model"])?)
    }
}

impl Metrics {
    /// Declares every metric in a registry of its own.
    ///
    /// # Errors
    ///
    /// A name that is declared twice or not a metric's name.
    pub fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let declare = Declare(&registry);
        let metrics = Self {
            tap: TapMetrics::declare(&declare)?,
            proxy: ProxyMetrics::declare(&declare)?,
            ingest: IngestMetrics::declare(&declare)?,
            drift: DriftMetrics::declare(&declare)?,
            traffic: TrafficMetrics::declare(&declare)?,
            alert: AlertMetrics {
                alerts: declare.add(IntGaugeVec::new(
                    Opts::new("driftline_alerts", "Alerts by state"),
                    &["model", "rule", "state"],
                )?)?,
            },
            training: TrainingMetrics {
                runs: declare.counters(
                    "driftline_training_runs_total",
                    "Training runs that reached a state",
                    &["model", "state"],
                )?,
            },
            labels: LabelMetrics::declare(&declare)?,
            source: SourceMetrics::declare(&declare)?,
            capture: CaptureMetrics::declare(&declare)?,
            watch: Arc::new(WatchMetrics::declare(&declare)?),
            registry: registry.clone(),
        };
        let build = declare.add(IntGaugeVec::new(
            Opts::new("driftline_build_info", "Always 1; the label tells what runs"),
            &["version"],
        )?)?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        Ok(metrics)
    }

    /// All metrics in the text format of Prometheus.
    ///
    /// # Errors
    ///
    /// A metric family without a metric, or output that is not text; neither is expected.
    pub fn encode(&self) -> prometheus::Result<String> {
        let mut bytes = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut bytes)?;
        String::from_utf8(bytes).map_err(|error| prometheus::Error::Msg(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_promised_names_are_exported() {
        let metrics = Metrics::new().unwrap();
        let model = ModelMetrics::new(&metrics, "m");
        model.seen.inc();
        model.dropped("queue_full");
        model.note("row_mismatch", 2);
        model.answered(200, Some(0));
        model.answered(999, Some(99));
        metrics.proxy.requests.with_label_values(&["200"]).inc();
        metrics.ingest.messages.with_label_values(&["events", "stored"]).inc();
        metrics.ingest.items.with_label_values(&["taken"]).inc();
        metrics.ingest.sides.with_label_values(&["paired"]).inc();
        metrics.drift.statistic.with_label_values(&["m", "temp", "psi"]).set(0.3);
        metrics.drift.verdict.with_label_values(&["m", "temp"]).set(1);
        metrics.drift.violations.with_label_values(&["m", "min"]).set(2);
        metrics.traffic.figure.with_label_values(&["m", "upstream_p99"]).set(0.25);
        metrics.traffic.baseline.with_label_values(&["m", "upstream_p99"]).set(0.125);
        metrics.traffic.verdict.with_label_values(&["m"]).set(1);
        metrics.alert.alerts.with_label_values(&["m", "FeatureDrift", "firing"]).set(1);
        metrics.training.runs.with_label_values(&["m", "succeeded"]).inc();
        metrics.labels.show_counts([("m", "new", 3), ("m", "expired", 0)].into_iter());
        metrics.labels.show_status("m", 5, Some(0.25), [("0.5", Some(60.0)), ("0.95", None)]);
        metrics.watch.outbox.with_label_values(&["oncall", "dead"]).set(2);
        metrics.watch.canary_runs.with_label_values(&["ok"]).inc();
        metrics.watch.canary_detection.with_label_values(&["m"]).set(3600.0);
        let text = metrics.encode().unwrap();
        for line in [
            "driftline_rules_reload_failed 0",
            "driftline_outbox_messages{receiver=\"oncall\",state=\"dead\"} 2",
            "driftline_outbox_oldest_seconds 0",
            "driftline_evaluator_last_success_timestamp_seconds 0",
            "driftline_canary_runs_total{result=\"ok\"} 1",
            "driftline_canary_detection_delay_seconds{model=\"m\"} 3600",
            "driftline_canary_delivery_delay_seconds 0",
            "driftline_canary_last_success_timestamp_seconds 0",
            "driftline_labels_total{model=\"m\",outcome=\"new\"} 3",
            "driftline_labels_total{model=\"m\",outcome=\"expired\"} 0",
            "driftline_labels_waiting{model=\"m\"} 5",
            "driftline_label_coverage_ratio{model=\"m\"} 0.25",
            "driftline_label_delay_seconds{model=\"m\",quantile=\"0.5\"} 60",
            "driftline_predictions_seen_total{model=\"m\"} 1",
            "driftline_predictions_kept_total{model=\"m\"} 0",
            "driftline_predictions_sampled_out_total{model=\"m\"} 0",
            "driftline_predictions_dropped_total{model=\"m\",reason=\"queue_full\"} 1",
            "driftline_decode_notes_total{model=\"m\",note=\"row_mismatch\"} 2",
            "driftline_rows_total{model=\"m\"} 0",
            "driftline_exchanges_unmonitored_total 0",
            "driftline_event_time_invalid_total{model=\"m\"} 0",
            "driftline_tap_queue_bytes 0",
            "driftline_proxy_overhead_seconds_count{model=\"m\"} 0",
            "driftline_upstream_duration_seconds_count{model=\"m\"} 0",
            "driftline_proxy_requests_total{code=\"200\"} 1",
            "driftline_proxy_in_flight 0",
            "driftline_ingest_messages_total{outcome=\"stored\",source=\"events\"} 1",
            "driftline_ingest_items_total{outcome=\"taken\"} 1",
            "driftline_ingest_sides_total{outcome=\"paired\"} 1",
            "driftline_ingest_pending_sides 0",
            "driftline_ingest_waiting_messages 0",
            "driftline_ingest_waiting_bytes 0",
            "driftline_ingest_batch_messages_count 0",
            "driftline_ingest_commit_seconds_count 0",
            "driftline_predictions_in_flight{model=\"m\"} 0",
            "driftline_prediction_answers_total{code=\"200\",model=\"m\"} 1",
            "driftline_prediction_answers_total{code=\"other\",model=\"m\"} 1",
            "driftline_prediction_grpc_answers_total{grpc_status=\"0\",model=\"m\"} 1",
            "driftline_prediction_grpc_answers_total{grpc_status=\"other\",model=\"m\"} 1",
            "driftline_request_bytes_total{model=\"m\"} 0",
            "driftline_response_bytes_total{model=\"m\"} 0",
            "driftline_upstream_complete_seconds_count{model=\"m\"} 0",
            "driftline_tap_keep_share 1",
            "driftline_drift_statistic{feature=\"temp\",model=\"m\",statistic=\"psi\"} 0.3",
            "driftline_drift_verdict{feature=\"temp\",model=\"m\"} 1",
            "driftline_expectation_violations{check=\"min\",model=\"m\"} 2",
            "driftline_traffic{figure=\"upstream_p99\",model=\"m\"} 0.25",
            "driftline_traffic_baseline{figure=\"upstream_p99\",model=\"m\"} 0.125",
            "driftline_traffic_verdict{model=\"m\"} 1",
            "driftline_alerts{model=\"m\",rule=\"FeatureDrift\",state=\"firing\"} 1",
            "driftline_training_runs_total{model=\"m\",state=\"succeeded\"} 1",
            "driftline_build_info{version=",
            "process_resident_memory_bytes ",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
