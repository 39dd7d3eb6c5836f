//! Every exported metric, declared once and grouped by subject.

use prometheus::{
    Encoder, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::drift::{DriftReport, Verdict};
use crate::expectations::CheckKind;
use crate::model::Role;
use crate::schema::Change;
use crate::traffic::{Figure, TrafficVerdict};

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
}

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

/// What the evaluator found.
#[derive(Debug, Clone)]
pub struct DriftMetrics {
    /// Newest value of each statistic.
    pub statistic: GaugeVec,
    /// Newest verdict: 0 ok, 1 drift, 2 insufficient data, 3 untrusted.
    pub verdict: IntGaugeVec,
    /// Checks that the newest window of a model violated, by kind of check.
    pub violations: IntGaugeVec,
    /// Columns of the newest window of a model that differ from those expected, by kind of difference.
    pub schema_changes: IntGaugeVec,
}

/// What the evaluator found of times, endings and sizes.
#[derive(Debug, Clone)]
pub struct TrafficMetrics {
    /// Each figure of the newest window.
    pub figure: GaugeVec,
    /// The same figures of the windows that it was compared with.
    pub baseline: GaugeVec,
    /// Newest verdict: 0 ok, 1 worse, 2 insufficient data, 3 unknown.
    pub verdict: IntGaugeVec,
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

impl SourceMetrics {
    fn declare(declare: &Declare<'_>) -> prometheus::Result<Self> {
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

impl IngestMetrics {
    fn declare(declare: &Declare<'_>) -> prometheus::Result<Self> {
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
            schema_changes: declare.add(IntGaugeVec::new(
                Opts::new(
                    "driftline_schema_changes",
                    "Columns of the newest window that are new, gone, renamed, of another kind or another width",
                ),
                &["model", "change"],
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
        for change in Change::ALL {
            let found = report.schema_changes.iter().filter(|found| found.change == change).count();
            let found = i64::try_from(found).unwrap_or(i64::MAX);
            self.schema_changes.with_label_values(&[model, change.as_str()]).set(found);
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

impl TrafficMetrics {
    fn declare(declare: &Declare<'_>) -> prometheus::Result<Self> {
        let by_figure = &["model", "figure"];
        Ok(Self {
            figure: declare.add(GaugeVec::new(
                Opts::new(
                    "driftline_traffic",
                    "Traffic of the newest window: seconds, bytes, shares, counts",
                ),
                by_figure,
            )?)?,
            baseline: declare.add(GaugeVec::new(
                Opts::new("driftline_traffic_baseline", "The same of the windows that it was compared with"),
                by_figure,
            )?)?,
            verdict: declare.add(IntGaugeVec::new(
                Opts::new(
                    "driftline_traffic_verdict",
                    "Newest verdict on traffic: 0 ok, 1 worse, 2 insufficient data, 3 unknown",
                ),
                &["model"],
            )?)?,
        })
    }

    /// Shows the traffic of the newest report of a model; what it does not hold vanishes.
    pub fn show(&self, report: &DriftReport) {
        let model = report.model.as_str();
        let figures = report.traffic.as_ref().map(|traffic| &traffic.figures);
        for figure in Figure::ALL {
            let found = figures.and_then(|figures| figures.get(&figure));
            let values = [found.map(|found| found.value), found.and_then(|found| found.baseline)];
            for (gauge, value) in [&self.figure, &self.baseline].into_iter().zip(values) {
                let labels = &[model, figure.as_str()];
                match value {
                    Some(value) => gauge.with_label_values(labels).set(value),
                    // One that is not there need not be removed.
                    None => drop(gauge.remove_label_values(labels)),
                }
            }
        }
        match &report.traffic {
            Some(traffic) => {
                let code = match traffic.verdict {
                    TrafficVerdict::Ok => 0,
                    TrafficVerdict::Worse => 1,
                    TrafficVerdict::InsufficientData => 2,
                    TrafficVerdict::Unknown => 3,
                };
                self.verdict.with_label_values(&[model]).set(code);
            }
            None => drop(self.verdict.remove_label_values(&[model])),
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

impl LabelMetrics {
    fn declare(declare: &Declare<'_>) -> prometheus::Result<Self> {
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
                "Time from a prediction to its label, by quantile",
                &["model", "quantile"],
            )?,
        })
    }

    /// Shows what became of labels, by model and outcome.
    pub fn show_counts<'c>(&self, counts: impl Iterator<Item = (&'c str, &'static str, u64)>) {
        self.outcomes.reset();
        for (model, outcome, labels) in counts {
            self.outcomes.with_label_values(&[model, outcome]).inc_by(labels);
        }
    }

    /// Shows how far the rows of a model are labelled; `delay` is a time in seconds by quantile.
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
        for (quantile, seconds) in delay {
            if let Some(seconds) = seconds {
                self.delay.with_label_values(&[model, quantile]).set(seconds);
            }
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
        let text = metrics.encode().unwrap();
        for line in [
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
