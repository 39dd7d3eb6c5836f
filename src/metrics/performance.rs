//! How good predictions were, in the newest window whose labels have come.

use prometheus::{GaugeVec, IntGaugeVec, Opts};

use super::declare::Declare;
use crate::performance::{Metric, PerformanceReport};

/// How good predictions were, in the newest window whose labels have come.
#[derive(Debug, Clone)]
pub struct PerformanceMetrics {
    /// Each figure.
    pub figure: GaugeVec,
    /// Its standard error.
    pub standard_error: GaugeVec,
    /// What it is compared with.
    pub baseline: GaugeVec,
    /// Predictions behind the figures.
    pub rows: IntGaugeVec,
    /// Share of the window's predictions with a label.
    pub labelled: GaugeVec,
    /// End of the window, in seconds since 1970.
    pub window_end: GaugeVec,
}

impl PerformanceMetrics {
    pub(super) fn declare(declare: &Declare<'_>) -> prometheus::Result<Self> {
        let (by_metric, by_model) = (&["model", "metric"], &["model"]);
        Ok(Self {
            figure: declare.gauges(
                "driftline_performance",
                "A figure of the newest window whose labels have come",
                by_metric,
            )?,
            standard_error: declare.gauges(
                "driftline_performance_standard_error",
                "Standard error of a figure of performance",
                by_metric,
            )?,
            baseline: declare.gauges(
                "driftline_performance_baseline",
                "What a figure of performance is compared with: held-out rows of the version, else earlier windows",
                by_metric,
            )?,
            rows: declare.add(IntGaugeVec::new(
                Opts::new("driftline_performance_rows", "Labelled predictions behind the figures of performance"),
                by_model,
            )?)?,
            labelled: declare.gauges(
                "driftline_performance_labelled_ratio",
                "Share of the predictions with a label, in the newest window whose labels have come",
                by_model,
            )?,
            window_end: declare.gauges(
                "driftline_performance_window_end_timestamp_seconds",
                "End of the newest window whose labels have come",
                by_model,
            )?,
        })
    }

    /// Shows a report; what it does not have vanishes.
    pub fn show(&self, report: &PerformanceReport) {
        let model = report.model.as_str();
        for metric in Metric::ALL {
            let labels = [model, metric.as_str()];
            let estimate = report.all.figures.get(&metric);
            let values = [
                (&self.figure, estimate.map(|estimate| estimate.value)),
                (&self.standard_error, estimate.and_then(|estimate| estimate.standard_error)),
                (&self.baseline, estimate.and_then(|_| report.all.before(metric))),
            ];
            for (gauge, value) in values {
                match value {
                    Some(value) => gauge.with_label_values(&labels).set(value),
                    // It is no error that there was none.
                    None => drop(gauge.remove_label_values(&labels)),
                }
            }
        }
        self.rows.with_label_values(&[model]).set(i64::try_from(report.all.n).unwrap_or(i64::MAX));
        self.labelled.with_label_values(&[model]).set(report.all.labelled_share().unwrap_or_default());
        self.window_end.with_label_values(&[model]).set(report.window_end.timestamp() as f64);
    }
}
