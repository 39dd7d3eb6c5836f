//! Every exported metric, declared once and grouped by subject.

use prometheus::{
    Encoder, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::drift::{DriftReport, Verdict};
use crate::expectations::CheckKind;
use crate::model::Role;

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
    /// What the evaluator found.
    pub drift: DriftMetrics,
    /// What the rules made of it.
    pub alert: AlertMetrics,
    /// What is being trained.
    pub training: TrainingMetrics,
}

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

/// What the evaluator found.
#[derive(Debug, Clone)]
pub struct DriftMetrics {
    /// Newest value of each statistic.
    pub statistic: GaugeVec,
    /// Newest verdict: 0 ok, 1 drift, 2 insufficient data, 3 untrusted.
    pub verdict: IntGaugeVec,
    /// Checks that the newest window of a model violated, by kind of check.
    pub violations: IntGaugeVec,
}

/// What the rules made of it.
#[derive(Debug, Clone)]
pub struct AlertMetrics {
    /// Alerts by state.
    pub alerts: IntGaugeVec,
}

/// What is being trained.
#[derive(Debug, Clone)]
pub struct TrainingMetrics {
    /// Training runs that reached a state.
    pub runs: IntCounterVec,
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
            drift: DriftMetrics::declare(&declare)?,
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

impl TapMetrics {
    fn declare(declare: &Declare<'_>) -> prometheus::Result<Self> {
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
    fn declare(declare: &Declare<'_>) -> prometheus::Result<Self> {
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

impl DriftMetrics {
    fn declare(declare: &Declare<'_>) -> prometheus::Result<Self> {
        Ok(Self {
            statistic: declare.add(GaugeVec::new(
                Opts::new("driftline_drift_statistic", "Newest value of a statistic"),
                &["model", "feature", "statistic"],
            )?)?,
            verdict: declare.add(IntGaugeVec::new(
                Opts::new(
                    "driftline_drift_verdict",
                    "Newest verdict: 0 ok, 1 drift, 2 insufficient data, 3 untrusted",
                ),
                &["model", "feature"],
            )?)?,
            violations: declare.add(IntGaugeVec::new(
                Opts::new(
                    "driftline_expectation_violations",
                    "Checks that the newest window violated, by kind of check",
                ),
                &["model", "check"],
            )?)?,
        })
    }

    /// Shows the newest report of a model; features and outputs share a label, an output as `output:NAME`.
    pub fn show(&self, report: &DriftReport) {
        let model = report.model.as_str();
        for feature in &report.features {
            let name = match feature.role {
                Role::Feature | Role::Derived => feature.name.clone(),
                Role::Output => format!("output:{}", feature.name),
            };
            for (statistic, value) in &feature.statistics {
                self.statistic.with_label_values(&[model, &name, statistic]).set(*value);
            }
            let code = match feature.verdict {
                Verdict::Ok => 0,
                Verdict::Drift => 1,
                Verdict::InsufficientData => 2,
                Verdict::Untrusted => 3,
            };
            self.verdict.with_label_values(&[model, &name]).set(code);
        }
        if report.expectations_verdict.is_none() {
            return;
        }
        for kind in CheckKind::ALL {
            let violated = report.violated().filter(|result| result.check == kind).count();
            let violated = i64::try_from(violated).unwrap_or(i64::MAX);
            self.violations.with_label_values(&[model, kind.as_str()]).set(violated);
        }
    }
}

impl AlertMetrics {
    /// Shows how many alerts of each rule are in each state; rules without any vanish.
    pub fn show(&self, counts: &[(String, String, String, i64)]) {
        self.alerts.reset();
        for (model, rule, state, alerts) in counts {
            self.alerts.with_label_values(&[model, rule, state]).set(*alerts);
        }
    }
}

impl TrainingMetrics {
    /// Shows how many runs have reached each state, as the database has them.
    pub fn show(&self, counts: &[(String, String, i64)]) {
        self.runs.reset();
        for (model, state, runs) in counts {
            self.runs.with_label_values(&[model, state]).inc_by(u64::try_from(*runs).unwrap_or(0));
        }
    }
}

/// The metrics of one monitored model, looked up once.
#[derive(Debug, Clone)]
pub struct ModelMetrics {
    name: String,
    tap: TapMetrics,
    proxy: ProxyMetrics,
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
        Self {
            name: model.to_owned(),
            seen: metrics.tap.seen.with_label_values(label),
            kept: metrics.tap.kept.with_label_values(label),
            sampled_out: metrics.tap.sampled_out.with_label_values(label),
            rows: metrics.tap.rows.with_label_values(label),
            overhead: metrics.proxy.overhead.with_label_values(label),
            upstream_duration: metrics.proxy.upstream_duration.with_label_values(label),
            event_time_invalid: metrics.tap.event_time_invalid.with_label_values(label),
            tap: metrics.tap.clone(),
            in_flight: metrics.proxy.predictions_in_flight.with_label_values(label),
            complete_duration: metrics.proxy.complete_duration.with_label_values(label),
            request_bytes: metrics.proxy.request_bytes.with_label_values(label),
            response_bytes: metrics.proxy.response_bytes.with_label_values(label),
            proxy: metrics.proxy.clone(),
        }
    }

    pub(crate) fn dropped(&self, reason: &'static str) {
        self.tap.dropped.with_label_values(&[self.name.as_str(), reason]).inc();
    }

    /// Counts an answer by its status, and by the status of gRPC if it has one.
    pub(crate) fn answered(&self, status: u16, grpc_status: Option<u16>) {
        let code = http::StatusCode::from_u16(status).ok().filter(|status| status.as_u16() < 600);
        let code = code.as_ref().map_or("other", http::StatusCode::as_str);
        self.proxy.answers.with_label_values(&[self.name.as_str(), code]).inc();
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
        metrics.drift.statistic.with_label_values(&["m", "temp", "psi"]).set(0.3);
        metrics.drift.verdict.with_label_values(&["m", "temp"]).set(1);
        metrics.drift.violations.with_label_values(&["m", "min"]).set(2);
        metrics.alert.alerts.with_label_values(&["m", "FeatureDrift", "firing"]).set(1);
        metrics.training.runs.with_label_values(&["m", "succeeded"]).inc();
        let text = metrics.encode().unwrap();
        for line in [
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
            "driftline_alerts{model=\"m\",rule=\"FeatureDrift\",state=\"firing\"} 1",
            "driftline_training_runs_total{model=\"m\",state=\"succeeded\"} 1",
            "driftline_build_info{version=",
            "process_resident_memory_bytes ",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
