//! What was made of it: drift, traffic, alerts and training.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus::{GaugeVec, IntCounterVec, IntGaugeVec, Opts};

use super::Declare;
use crate::drift::{DriftReport, Verdict};
use crate::expectations::CheckKind;
use crate::model::Role;
use crate::schema::Change;
use crate::traffic::{Figure, TrafficVerdict};

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
    /// Newest verdict on each segment, in the codes of `verdict`.
    pub segment_verdict: IntGaugeVec,
    /// The segments shown of each model: those that a report no longer holds vanish.
    segments: Arc<Mutex<BTreeMap<String, BTreeSet<String>>>>,
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

impl DriftMetrics {
    pub(super) fn declare(declare: &Declare<'_>) -> prometheus::Result<Self> {
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
            segment_verdict: declare.add(IntGaugeVec::new(
                Opts::new(
                    "driftline_segment_verdict",
                    "Newest verdict on a segment: 0 ok, 1 drift, 2 insufficient data, 3 untrusted",
                ),
                &["model", "segment"],
            )?)?,
            segments: Arc::default(),
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
            self.verdict.with_label_values(&[model, &name]).set(code(feature.verdict));
        }
        self.show_segments(report);
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

impl DriftMetrics {
    fn show_segments(&self, report: &DriftReport) {
        let model = report.model.as_str();
        let found = report.segments.iter().map(|segment| segment.segment.clone()).collect::<BTreeSet<_>>();
        let mut shown = self.segments.lock();
        for gone in shown.get(model).into_iter().flatten().filter(|name| !found.contains(*name)) {
            // One that is not there need not be removed.
            drop(self.segment_verdict.remove_label_values(&[model, gone]));
        }
        for segment in &report.segments {
            let labels = &[model, segment.segment.as_str()];
            self.segment_verdict.with_label_values(labels).set(code(segment.verdict));
        }
        shown.insert(model.to_owned(), found);
    }
}

/// The number that stands for a verdict on drift.
fn code(verdict: Verdict) -> i64 {
    match verdict {
        Verdict::Ok => 0,
        Verdict::Drift => 1,
        Verdict::InsufficientData => 2,
        Verdict::Untrusted => 3,
    }
}

impl TrafficMetrics {
    pub(super) fn declare(declare: &Declare<'_>) -> prometheus::Result<Self> {
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
