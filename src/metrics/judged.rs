//! What was made of it: drift, traffic and alerts.

use std::collections::BTreeMap;

use prometheus::{GaugeVec, IntGaugeVec, Opts};

use super::declare::Declare;
use super::ranking;
use super::shown::Shown;
use crate::drift::{DriftReport, Verdict};
use crate::expectations::CheckKind;
use crate::schema::Change;
use crate::traffic::{Figure, TrafficVerdict};

/// What the evaluator found in the newest window of each model.
#[derive(Debug, Clone)]
pub struct DriftMetrics {
    /// Each statistic of a column.
    pub statistic: Shown,
    /// The effect floor of the statistic that decides on a column.
    pub threshold: Shown,
    /// The adjusted p-value of a column.
    pub p_value: Shown,
    /// The verdict on a column.
    pub verdict: Shown,
    /// Columns by verdict, all of them.
    pub columns: Shown,
    /// Columns that are shown together as one.
    pub hidden: Shown,
    /// The verdict on each segment.
    pub segment_verdict: Shown,
    /// The verdict on the whole window.
    pub window_verdict: Shown,
    /// Rows of the window.
    pub window_rows: Shown,
    /// End of the window, in seconds since 1970.
    pub window_end: Shown,
    /// Share of its predictions that was lost.
    pub loss: Shown,
    /// The share above which it is not trusted.
    pub loss_limit: Shown,
    /// Significance level of the window.
    pub alpha: Shown,
    /// Checks that the window violated, by kind of check.
    pub violations: Shown,
    /// Columns that differ from those expected, by kind of difference.
    pub schema_changes: Shown,
    /// Most columns with series of their own.
    features: usize,
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
    pub alerts: Shown,
}

/// The codes of a verdict on drift, for people.
const VERDICTS: &str = "0 ok, 1 drift, 2 insufficient data, 3 untrusted";

impl DriftMetrics {
    pub(super) fn declare(declare: &Declare<'_>, features: usize) -> prometheus::Result<Self> {
        let shown = |name: &str, help: &str, more: &[&str]| {
            let labels: Vec<&str> = ["model"].iter().chain(more).copied().collect();
            Ok::<_, prometheus::Error>(Shown::new(declare.gauges(name, help, &labels)?))
        };
        Ok(Self {
            window_verdict: shown(
                "driftline_window_verdict",
                &format!("Verdict on the newest window: {VERDICTS}"),
                &[],
            )?,
            window_rows: shown("driftline_window_rows", "Rows of the newest window", &[])?,
            window_end: shown(
                "driftline_window_end_timestamp_seconds",
                "End of the newest window that was judged, in event time",
                &[],
            )?,
            loss: shown(
                "driftline_window_loss_ratio",
                "Share of the answered predictions of the newest window that was not recorded",
                &[],
            )?,
            loss_limit: shown(
                "driftline_window_loss_limit_ratio",
                "Share of lost predictions above which a window is untrusted",
                &[],
            )?,
            alpha: shown(
                "driftline_drift_alpha",
                "Significance level that the adjusted p-values of the newest window are compared with",
                &[],
            )?,
            verdict: shown("driftline_drift_verdict", &format!("Newest verdict: {VERDICTS}"), &["feature"])?,
            statistic: shown(
                "driftline_drift_statistic",
                "Newest value of a statistic",
                &["feature", "statistic"],
            )?,
            threshold: shown(
                "driftline_drift_threshold",
                "Effect that the statistic which decides on a column has to reach, beside significance",
                &["feature", "statistic"],
            )?,
            p_value: shown(
                "driftline_drift_p_value",
                "p-value that decides on a column, adjusted for the number of columns",
                &["feature"],
            )?,
            columns: shown(
                "driftline_drift_columns",
                "Columns of the newest window by verdict, whether they have series of their own or not",
                &["verdict"],
            )?,
            hidden: shown(
                "driftline_drift_hidden_columns",
                "Columns past `metrics.features`, whose series are one: the worst of them, as feature (other)",
                &[],
            )?,
            segment_verdict: shown(
                "driftline_segment_verdict",
                &format!("Newest verdict on a segment: {VERDICTS}"),
                &["segment"],
            )?,
            schema_changes: shown(
                "driftline_schema_changes",
                "Columns of the newest window that are new, gone, renamed, of another kind or another width",
                &["change"],
            )?,
            violations: shown(
                "driftline_expectation_violations",
                "Checks that the newest window violated, by kind of check",
                &["check"],
            )?,
            features,
        })
    }

    /// Shows the newest report of a model, and takes back what only an earlier one had.
    ///
    /// Features and outputs share a label, an output as `output:NAME`.
    pub fn show(&self, report: &DriftReport) {
        let model = report.model.as_str();
        let (rows, hidden) = ranking::rows(report, self.features);
        let (mut statistics, mut floors) = (BTreeMap::new(), BTreeMap::new());
        let (mut p_values, mut verdicts) = (BTreeMap::new(), BTreeMap::new());
        for row in rows {
            let labels = |statistic: String| vec![row.name.clone(), statistic];
            statistics.extend(row.statistics.into_iter().map(|(name, value)| (labels(name), value)));
            floors.extend(row.floors.into_iter().map(|(name, value)| (labels(name), value)));
            p_values.extend(row.p_adjusted.map(|p| (vec![row.name.clone()], p)));
            verdicts.insert(vec![row.name.clone()], code(row.verdict));
        }
        self.statistic.replace(model, statistics);
        self.threshold.replace(model, floors);
        self.p_value.replace(model, p_values);
        self.verdict.replace(model, verdicts);
        self.hidden.replace_one(model, Some(hidden as f64));
        let verdicts = [Verdict::Ok, Verdict::Drift, Verdict::InsufficientData, Verdict::Untrusted];
        let of_verdict =
            |verdict| report.features.iter().filter(|feature| feature.verdict == verdict).count();
        self.columns
            .replace(model, verdicts.map(|v| (vec![v.as_str().to_owned()], of_verdict(v) as f64)).into());
        self.show_window(report);
        let segments = report.segments.iter();
        self.segment_verdict.replace(
            model,
            segments.map(|segment| (vec![segment.segment.clone()], code(segment.verdict))).collect(),
        );
    }

    fn show_window(&self, report: &DriftReport) {
        let model = report.model.as_str();
        self.window_verdict.replace_one(model, Some(code(report.verdict)));
        self.window_rows.replace_one(model, Some(report.rows as f64));
        self.window_end.replace_one(model, Some(report.window_end.timestamp_millis() as f64 / 1000.0));
        self.loss.replace_one(model, Some(report.losses.share()));
        self.loss_limit.replace_one(model, Some(report.criteria.loss_limit));
        self.alpha.replace_one(model, Some(report.criteria.alpha));
        let changes = Change::ALL.map(|change| {
            let found = report.schema_changes.iter().filter(|found| found.change == change).count();
            (vec![change.as_str().to_owned()], found as f64)
        });
        self.schema_changes.replace(model, changes.into());
        let checks = CheckKind::ALL.map(|kind| {
            let violated = report.violated().filter(|result| result.check == kind).count();
            (vec![kind.as_str().to_owned()], violated as f64)
        });
        let is_expected = report.expectations_verdict.is_some();
        self.violations.replace(model, checks.into_iter().filter(|_| is_expected).collect());
    }
}

/// The number that stands for a verdict on drift.
fn code(verdict: Verdict) -> f64 {
    match verdict {
        Verdict::Ok => 0.0,
        Verdict::Drift => 1.0,
        Verdict::InsufficientData => 2.0,
        Verdict::Untrusted => 3.0,
    }
}

impl TrafficMetrics {
    pub(super) fn declare(declare: &Declare<'_>) -> prometheus::Result<Self> {
        let by_figure = &["model", "figure"];
        Ok(Self {
            figure: declare.gauges(
                "driftline_traffic",
                "Traffic of the newest window: seconds, bytes, shares, counts",
                by_figure,
            )?,
            baseline: declare.gauges(
                "driftline_traffic_baseline",
                "The same of the windows that it was compared with",
                by_figure,
            )?,
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
    pub(super) fn declare(declare: &Declare<'_>) -> prometheus::Result<Self> {
        let labels = &["model", "rule", "state"];
        Ok(Self { alerts: Shown::new(declare.gauges("driftline_alerts", "Alerts by state", labels)?) })
    }

    /// Shows how many alerts of each rule are in each state, as model, rule, state and number; rules without any vanish.
    pub fn show(&self, counts: &[(String, String, String, i64)]) {
        let mut by_model: BTreeMap<&str, BTreeMap<Vec<String>, f64>> = BTreeMap::new();
        for (model, rule, state, alerts) in counts {
            let labels = vec![rule.clone(), state.clone()];
            by_model.entry(model).or_default().insert(labels, *alerts as f64);
        }
        self.alerts.keep_only(&by_model.keys().copied().collect());
        for (model, values) in by_model {
            self.alerts.replace(model, values);
        }
    }
}
