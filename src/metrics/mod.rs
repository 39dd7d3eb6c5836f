//! Every exported metric, declared once and grouped by subject.

use std::sync::Arc;

use prometheus::{Encoder, IntGaugeVec, Opts, Registry, TextEncoder};

use crate::config::ExportedMetrics;

mod declare;
mod shown;
mod ranking;
mod arriving;
mod judged;
mod performance;
mod tap;
mod trained;
mod watched;
mod reference;

use self::declare::Declare;

pub use self::arriving::{IngestMetrics, LabelMetrics, SourceMetrics};
pub use self::declare::{Declared, Kind};
pub use self::judged::{AlertMetrics, DriftMetrics, TrafficMetrics};
pub use self::performance::PerformanceMetrics;
pub use self::ranking::OTHERS;
pub use self::reference::reference;
pub use self::shown::Shown;
pub use self::tap::{ModelMetrics, ProxyMetrics, TapMetrics};
pub use self::trained::{EndedRuns, RegistryMetrics, RunProgress, Standing, TrainingMetrics};
pub use self::watched::{TraceMetrics, WatchMetrics};

/// Latencies from 10 µs to 10 s.
const LATENCY_SECONDS: [f64; 16] = [
    0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.25,
    1.0, 2.5, 10.0,
];

/// All metrics of the process; cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    declared: Arc<[Declared]>,
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
    /// What each model rests on now.
    pub model: RegistryMetrics,
    /// What became of labels.
    pub labels: LabelMetrics,
    /// How good predictions were.
    pub performance: PerformanceMetrics,
    /// What came from brokers and files.
    pub source: SourceMetrics,
    /// Whether the watch itself works.
    pub watch: Arc<WatchMetrics>,
    /// What became of spans.
    pub traces: TraceMetrics,
}

impl Metrics {
    /// Declares every metric in a registry of its own, with the default bound on columns.
    ///
    /// # Errors
    ///
    /// A name that is declared twice or not a metric's name.
    pub fn new() -> prometheus::Result<Self> {
        Self::bounded(ExportedMetrics::DEFAULT_FEATURES)
    }

    /// Declares every metric in a registry of its own; at most `features` columns of a model have series of their own.
    ///
    /// # Errors
    ///
    /// A name that is declared twice or not a metric's name.
    pub fn bounded(features: usize) -> prometheus::Result<Self> {
        let registry = Registry::new();
        let declare = Declare::new(&registry);
        let tap = TapMetrics::declare(declare.about("Predictions that pass the tap"))?;
        let proxy = ProxyMetrics::declare(declare.about("Traffic of the proxy"))?;
        let ingest = IngestMetrics::declare(declare.about("Messages that are pushed or streamed"))?;
        let source = SourceMetrics::declare(&declare)?;
        let labels = LabelMetrics::declare(declare.about("Labels"))?;
        let performance = PerformanceMetrics::declare(declare.about("Performance, once labels have come"))?;
        let drift =
            DriftMetrics::declare(declare.about("Drift, in the newest window of each model"), features)?;
        let traffic = TrafficMetrics::declare(declare.about("Traffic as it is judged"))?;
        let alert = AlertMetrics::declare(declare.about("Alerts"))?;
        let training = TrainingMetrics::declare(declare.about("Training, by any worker"))?;
        let model = RegistryMetrics::declare(declare.about("What a model rests on"))?;
        let watch = Arc::new(WatchMetrics::declare(declare.about("Whether the watch itself works"))?);
        let traces = TraceMetrics::declare(declare.about("Traces"))?;
        let build = declare.about("The process").add(IntGaugeVec::new(
            Opts::new("driftline_build_info", "Always 1; the label tells what runs"),
            &["version"],
        )?)?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        declare.add_foreign(prometheus::process_collector::ProcessCollector::for_self())?;
        let declared = declare.declared().into();
        Ok(Self {
            registry,
            declared,
            tap,
            proxy,
            ingest,
            drift,
            traffic,
            alert,
            training,
            model,
            labels,
            performance,
            source,
            watch,
            traces,
        })
    }

    /// Every metric, in the order in which they are declared.
    pub fn declared(&self) -> &[Declared] {
        &self.declared
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
mod tests;
