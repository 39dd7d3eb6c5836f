//! Whether the watch itself works: rules in force, windows waiting, messages on their way, the canary.

use prometheus::{Gauge, GaugeVec, IntCounterVec, IntGauge, IntGaugeVec, Opts};

use super::declare::Declare;

/// Whether the watch itself works.
#[derive(Debug, Clone)]
pub struct WatchMetrics {
    /// Rules in force.
    pub rules: IntGauge,
    /// 1 while changed rule files are refused.
    pub reload_failed: IntGauge,
    /// Times that changed rule files were read, by result: `loaded`, `refused`.
    pub reloads: IntCounterVec,
    /// When every model was last looked at for windows to judge, in seconds since 1970.
    pub evaluated_at: Gauge,
    /// How long the oldest complete window of a model has been waiting to be judged, in seconds.
    pub overdue: GaugeVec,
    /// Messages by receiver and state: `queued`, `sent`, `dead`.
    pub outbox: IntGaugeVec,
    /// Age of the oldest message that waits, in seconds; 0 when none does.
    pub outbox_oldest: Gauge,
    /// Faults that the internal watch finds: 1 while found.
    pub faults: IntGaugeVec,
    /// From the first shifted row to the report that tells of it, in seconds.
    pub canary_detection: GaugeVec,
    /// From writing a message to its delivery inside the process, in seconds.
    pub canary_delivery: Gauge,
    /// When a trial last succeeded, in seconds since 1970.
    pub canary_succeeded_at: Gauge,
    /// Trials by result.
    pub canary_runs: IntCounterVec,
}

/// What became of spans.
#[derive(Debug, Clone)]
pub struct TraceMetrics {
    /// Spans by outcome: `sent`, `failed`, `dropped`.
    pub spans: IntCounterVec,
}

impl TraceMetrics {
    pub(super) fn declare(declare: &Declare<'_>) -> prometheus::Result<Self> {
        let help =
            "Spans by outcome: sent, failed (the collector did not take them), dropped (too many waited)";
        Ok(Self { spans: declare.counters("driftline_trace_spans_total", help, &["outcome"])? })
    }
}

impl WatchMetrics {
    pub(super) fn declare(declare: &Declare<'_>) -> prometheus::Result<Self> {
        let gauge = |name: &str, help: &str| declare.add(Gauge::new(name, help)?);
        let by_model =
            |name: &str, help: &str| declare.add(GaugeVec::new(Opts::new(name, help), &["model"])?);
        Ok(Self {
            rules: declare.gauge("driftline_rules", "Rules in force")?,
            reload_failed: declare.gauge(
                "driftline_rules_reload_failed",
                "1 while changed rule files are refused and the rules before them are in force",
            )?,
            reloads: declare.counters(
                "driftline_rules_reloads_total",
                "Times that changed rule files were read, by result: loaded, refused",
                &["result"],
            )?,
            evaluated_at: gauge(
                "driftline_evaluator_last_success_timestamp_seconds",
                "When every model was last looked at for windows to judge",
            )?,
            overdue: by_model(
                "driftline_window_overdue_seconds",
                "How long the oldest complete window has been waiting to be judged",
            )?,
            outbox: declare.add(IntGaugeVec::new(
                Opts::new("driftline_outbox_messages", "Messages by receiver and state: queued, sent, dead"),
                &["receiver", "state"],
            )?)?,
            outbox_oldest: gauge(
                "driftline_outbox_oldest_seconds",
                "Age of the oldest message that waits to be delivered",
            )?,
            faults: declare.add(IntGaugeVec::new(
                Opts::new("driftline_internal_fault", "1 while the watch finds this wrong with itself"),
                &["fault"],
            )?)?,
            canary_detection: by_model(
                "driftline_canary_detection_delay_seconds",
                "From the first row of a known shift to the report that tells of it",
            )?,
            canary_delivery: gauge(
                "driftline_canary_delivery_delay_seconds",
                "From writing a message on trial to its delivery inside the process",
            )?,
            canary_succeeded_at: gauge(
                "driftline_canary_last_success_timestamp_seconds",
                "When a trial of the watch last succeeded",
            )?,
            canary_runs: declare.counters(
                "driftline_canary_runs_total",
                "Trials of the watch by result: ok, undetected, false_alarm, undelivered, error",
                &["result"],
            )?,
        })
    }
}
