//! How metrics are declared: in one registry, and noted for the reference.

use std::cell::{Cell, RefCell};

use prometheus::core::Collector;
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry,
};

use super::LATENCY_SECONDS;

/// What a metric is to Prometheus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It only grows, and starts at 0 with the process.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Counts by upper bound, with sum and count.
    Histogram,
}

impl Kind {
    /// The word of Prometheus' text format.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A metric as it was declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared {
    /// What it is about.
    pub section: &'static str,
    /// Its name.
    pub name: String,
    /// Counter, gauge or histogram.
    pub kind: Kind,
    /// Its labels, in the order of the declaration.
    pub labels: Vec<String>,
    /// What it says.
    pub help: String,
}

/// A collector of one metric, whose kind its type tells.
pub(super) trait Kinded: Collector + Clone + 'static {
    /// Its kind.
    const KIND: Kind;
}

impl Kinded for IntCounter {
    const KIND: Kind = Kind::Counter;
}
impl Kinded for IntCounterVec {
    const KIND: Kind = Kind::Counter;
}
impl Kinded for Gauge {
    const KIND: Kind = Kind::Gauge;
}
impl Kinded for GaugeVec {
    const KIND: Kind = Kind::Gauge;
}
impl Kinded for IntGauge {
    const KIND: Kind = Kind::Gauge;
}
impl Kinded for IntGaugeVec {
    const KIND: Kind = Kind::Gauge;
}
impl Kinded for Histogram {
    const KIND: Kind = Kind::Histogram;
}
impl Kinded for HistogramVec {
    const KIND: Kind = Kind::Histogram;
}

/// Declares metrics in one registry.
pub(super) struct Declare<'r> {
    registry: &'r Registry,
    section: Cell<&'static str>,
    declared: RefCell<Vec<Declared>>,
}

impl<'r> Declare<'r> {
    pub(super) fn new(registry: &'r Registry) -> Self {
        Self { registry, section: Cell::new(""), declared: RefCell::default() }
    }

    /// What is declared from now on is about `section`.
    pub(super) fn about(&self, section: &'static str) -> &Self {
        self.section.set(section);
        self
    }

    /// Everything that was declared, in that order.
    pub(super) fn declared(self) -> Vec<Declared> {
        self.declared.into_inner()
    }

    pub(super) fn add<M: Kinded>(&self, metric: M) -> prometheus::Result<M> {
        self.registry.register(Box::new(metric.clone()))?;
        self.note(&metric, |_| M::KIND);
        Ok(metric)
    }

    /// Adds what the library declares; what of it ends in `_total` counts.
    pub(super) fn add_foreign(&self, collector: impl Collector + 'static) -> prometheus::Result<()> {
        self.note(&collector, |name| if name.ends_with("_total") { Kind::Counter } else { Kind::Gauge });
        self.registry.register(Box::new(collector))
    }

    fn note(&self, collector: &impl Collector, kind: impl Fn(&str) -> Kind) {
        for desc in collector.desc() {
            self.declared.borrow_mut().push(Declared {
                section: self.section.get(),
                name: desc.fq_name.clone(),
                kind: kind(&desc.fq_name),
                labels: desc.variable_labels.clone(),
                help: desc.help.clone(),
            });
        }
    }

    pub(super) fn counters(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> prometheus::Result<IntCounterVec> {
        self.add(IntCounterVec::new(Opts::new(name, help), labels)?)
    }

    pub(super) fn gauge(&self, name: &str, help: &str) -> prometheus::Result<IntGauge> {
        self.add(IntGauge::new(name, help)?)
    }

    pub(super) fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<GaugeVec> {
        self.add(GaugeVec::new(Opts::new(name, help), labels)?)
    }

    pub(super) fn histograms(&self, name: &str, help: &str) -> prometheus::Result<HistogramVec> {
        let options = HistogramOpts::new(name, help).buckets(LATENCY_SECONDS.to_vec());
        self.add(HistogramVec::new(options, &["model"])?)
    }
}
