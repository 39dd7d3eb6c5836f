//! Every metric is exported, under the promised names, in what Prometheus finds clean.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::process::{Command, Stdio};

use chrono::DateTime;

use super::*;
use crate::drift::{Criteria, Deciding, DriftReport, FeatureReport, Losses, Verdict};
use crate::model::{FeatureKind, ModelName, Role};

fn column(name: &str, psi: f64, verdict: Verdict) -> FeatureReport {
    FeatureReport {
        name: name.to_owned(),
        role: Role::Feature,
        kind: FeatureKind::Numeric,
        n_reference: 1000,
        n_current: 1000,
        missing_reference: 0,
        missing_current: 0,
        statistics: [("psi".to_owned(), psi), ("mean_shift".to_owned(), -psi)].into(),
        p_values: BTreeMap::new(),
        p_adjusted: Some(0.5 / (1.0 + psi)),
        deciding: Some(Deciding { statistic: "psi".to_owned(), value: psi, floor: 0.1 }),
        natural_variation: None,
        slots: None,
        unseen: Vec::new(),
        verdict,
        reason: String::new(),
        bins: Vec::new(),
    }
}

fn report(features: Vec<FeatureReport>) -> DriftReport {
    DriftReport {
        model: ModelName::parse("m").unwrap(),
        baseline: "0123456789ab".to_owned(),
        window_start: DateTime::UNIX_EPOCH,
        window_end: DateTime::from_timestamp(3600, 0).unwrap(),
        rows: 1000,
        rows_reference: 1000,
        losses: Losses {
            seen: 10,
            kept: 9,
            dropped: [("queue_full".to_owned(), 1)].into(),
            ..Losses::default()
        },
        criteria: Criteria::default(),
        verdict: Verdict::Drift,
        reason: String::new(),
        features,
        joint: None,
        schema_changes: Vec::new(),
        expectations: Vec::new(),
        expectations_verdict: Some(crate::expectations::CheckVerdict::Ok),
        expectations_version: None,
        traffic: None,
        segments: Vec::new(),
    }
}

/// All metrics, each with a series.
fn filled() -> Metrics {
    let metrics = Metrics::new().unwrap();
    let performance = &metrics.performance;
    for gauges in [&performance.figure, &performance.standard_error, &performance.baseline] {
        gauges.with_label_values(&["m", "accuracy"]).set(0.75);
    }
    performance.rows.with_label_values(&["m"]).set(812);
    for gauges in [&performance.labelled, &performance.window_end] {
        gauges.with_label_values(&["m"]).set(0.5);
    }
    let model = ModelMetrics::new(&metrics, "m");
    model.seen.inc();
    model.dropped("queue_full");
    model.note("row_mismatch", 2);
    model.answered(200, Some(0));
    model.answered(999, Some(99));
    metrics.proxy.requests.with_label_values(&["200"]).inc();
    let source = &metrics.source;
    for counters in
        [&source.messages, &source.bytes, &source.duplicates, &source.redelivered, &source.reconnects]
    {
        counters.with_label_values(&["nats"]).inc();
    }
    for counters in [&source.refused, &source.skipped] {
        counters.with_label_values(&["nats", "no_rows"]).inc();
    }
    for gauges in [&source.connected, &source.lag_messages, &source.lag_bytes] {
        gauges.with_label_values(&["nats"]).set(1);
    }
    metrics.ingest.messages.with_label_values(&["events", "stored"]).inc();
    metrics.ingest.items.with_label_values(&["taken"]).inc();
    metrics.ingest.sides.with_label_values(&["paired"]).inc();
    metrics.drift.show(&report(vec![column("temp", 0.3, Verdict::Drift)]));
    metrics.drift.segment_verdict.replace("m", [(vec!["region=eu".to_owned()], 0.0)].into());
    metrics.traffic.figure.with_label_values(&["m", "upstream_p99"]).set(0.25);
    metrics.traffic.baseline.with_label_values(&["m", "upstream_p99"]).set(0.125);
    metrics.traffic.verdict.with_label_values(&["m"]).set(1);
    let alert = |state: &str, alerts| ("m".to_owned(), "FeatureDrift".to_owned(), state.to_owned(), alerts);
    metrics.alert.show(&[alert("firing", 1), alert("pending", 2)]);
    metrics.training.show_counts("m", &[("succeeded".to_owned(), 2), ("queued".to_owned(), 1)].into());
    metrics.training.show_queue("m", Some(4.5));
    metrics.training.show_progress(
        "m",
        &RunProgress {
            candidate: Some("deep".to_owned()),
            epoch: Some(3.0),
            epoch_limit: Some(100.0),
            losses: [("train", 0.5), ("validation", 0.75)].into(),
            rows_per_second: Some(1e5),
            eta_seconds: Some(40.0),
        },
    );
    let ended_at = [("succeeded".to_owned(), 60.0)].into();
    metrics.training.show_ended("m", &EndedRuns { last_seconds: Some(9.0), ended_at });
    metrics.model.show(
        "m",
        &Standing {
            version: Some((2, "deep".to_owned(), Some(60.0))),
            baseline: Some(("0123456789ab".to_owned(), 1000, 50.0)),
        },
    );
    metrics.labels.show_counts([("m", "new", 3), ("m", "expired", 0)].into_iter());
    metrics.labels.show_status("m", 5, Some(0.25), [("0.5", Some(60.0)), ("0.95", None)]);
    metrics.watch.outbox.with_label_values(&["oncall", "dead"]).set(2);
    metrics.watch.canary_runs.with_label_values(&["ok"]).inc();
    metrics.watch.canary_detection.with_label_values(&["m"]).set(3600.0);
    metrics.watch.overdue.with_label_values(&["m"]).set(0.0);
    metrics.traces.spans.with_label_values(&["sent"]).inc();
    metrics.capture.show("m", 12, 3, 4096);
    metrics.capture.moved.with_label_values(&["m"]).inc_by(500);
    metrics.capture.failures.with_label_values(&["m"]).inc();
    metrics.capture.without_baseline.with_label_values(&["m"]).set(1);
    for figures in
        [&metrics.performance.figure, &metrics.performance.standard_error, &metrics.performance.baseline]
    {
        figures.with_label_values(&["m", "accuracy"]).set(0.5);
    }
    metrics.performance.rows.with_label_values(&["m"]).set(500);
    metrics.performance.labelled.with_label_values(&["m"]).set(0.9);
    metrics.performance.window_end.with_label_values(&["m"]).set(3600.0);
    metrics.watch.reloads.with_label_values(&["loaded"]).inc();
    metrics.watch.faults.with_label_values(&["store_behind"]).set(0);
    metrics
}

#[test]
fn the_promised_names_are_exported() {
    let text = filled().encode().unwrap();
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
        "driftline_label_delay_seconds{model=\"m\",share=\"0.5\"} 60",
        "driftline_predictions_seen_total{model=\"m\"} 1",
        "driftline_predictions_kept_total{model=\"m\"} 0",
        "driftline_predictions_sampled_out_total{model=\"m\"} 0",
        "driftline_predictions_dropped_total{model=\"m\",reason=\"queue_full\"} 1",
        "driftline_decode_notes_total{model=\"m\",note=\"row_mismatch\"} 2",
        "driftline_rows_total{model=\"m\"} 0",
        "driftline_exchanges_unmonitored_total 0",
        "driftline_event_time_invalid_total{model=\"m\"} 0",
        "driftline_tap_queue_bytes 0",
        "driftline_tap_queue_limit_bytes 0",
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
        "driftline_drift_threshold{feature=\"temp\",model=\"m\",statistic=\"psi\"} 0.1",
        "driftline_drift_verdict{feature=\"temp\",model=\"m\"} 1",
        "driftline_drift_columns{model=\"m\",verdict=\"drift\"} 1",
        "driftline_drift_columns{model=\"m\",verdict=\"untrusted\"} 0",
        "driftline_drift_hidden_columns{model=\"m\"} 0",
        "driftline_window_verdict{model=\"m\"} 1",
        "driftline_window_end_timestamp_seconds{model=\"m\"} 3600",
        "driftline_window_loss_ratio{model=\"m\"} 0.1",
        "driftline_window_loss_limit_ratio{model=\"m\"} 0.05",
        "driftline_expectation_violations{check=\"min\",model=\"m\"} 0",
        "driftline_traffic{figure=\"upstream_p99\",model=\"m\"} 0.25",
        "driftline_traffic_baseline{figure=\"upstream_p99\",model=\"m\"} 0.125",
        "driftline_traffic_verdict{model=\"m\"} 1",
        "driftline_alerts{model=\"m\",rule=\"FeatureDrift\",state=\"firing\"} 1",
        "driftline_training_runs_total{model=\"m\",state=\"succeeded\"} 2",
        "driftline_training_open_runs{model=\"m\",state=\"queued\"} 1",
        "driftline_training_queue_oldest_seconds{model=\"m\"} 4.5",
        "driftline_training_epoch{candidate=\"deep\",model=\"m\"} 3",
        "driftline_training_loss{model=\"m\",split=\"validation\"} 0.75",
        "driftline_model_version{kind=\"deep\",model=\"m\"} 2",
        "driftline_baseline_info{baseline=\"0123456789ab\",model=\"m\"} 1",
        "driftline_build_info{version=",
        "process_resident_memory_bytes ",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}

#[test]
fn prometheus_finds_every_metric_clean() {
    let Ok(promtool) = std::env::var("DRIFTLINE_PROMTOOL") else {
        panic!("DRIFTLINE_PROMTOOL names promtool; `make test` sets it");
    };
    let metrics = filled();
    let text = metrics.encode().unwrap();
    let typed: BTreeSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    for metric in metrics.declared() {
        assert!(typed.contains(metric.name.as_str()), "{} has no series here", metric.name);
        let line = format!("# TYPE {} {}\n", metric.name, metric.kind.as_str());
        assert!(text.contains(&line), "{line} is not in\n{text}");
    }
    let mut check = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    check.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = check.wait_with_output().unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "promtool check metrics: {said}");
}

#[test]
fn columns_past_the_bound_are_one_and_what_is_gone_vanishes() {
    let metrics = Metrics::bounded(2).unwrap();
    metrics.drift.show(&report(vec![
        column("calm", 0.01, Verdict::Ok),
        column("quiet", 0.02, Verdict::InsufficientData),
        column("large", 0.4, Verdict::Ok),
        column("drifted", 0.2, Verdict::Drift),
    ]));
    let text = metrics.encode().unwrap();
    for line in [
        "driftline_drift_verdict{feature=\"drifted\",model=\"m\"} 1",
        "driftline_drift_verdict{feature=\"large\",model=\"m\"} 0",
        "driftline_drift_verdict{feature=\"(other)\",model=\"m\"} 2",
        "driftline_drift_statistic{feature=\"(other)\",model=\"m\",statistic=\"psi\"} 0.02",
        "driftline_drift_statistic{feature=\"(other)\",model=\"m\",statistic=\"mean_shift\"} -0.02",
        "driftline_drift_hidden_columns{model=\"m\"} 2",
        "driftline_drift_columns{model=\"m\",verdict=\"insufficient_data\"} 1",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    assert!(!text.contains("calm") && !text.contains("quiet"), "{text}");
    metrics.drift.show(&report(vec![column("calm", 0.01, Verdict::Ok)]));
    let text = metrics.encode().unwrap();
    assert!(text.contains("driftline_drift_verdict{feature=\"calm\",model=\"m\"} 0"), "{text}");
    assert!(!text.contains("drifted") && !text.contains("(other)\","), "{text}");
    assert!(text.contains("driftline_drift_hidden_columns{model=\"m\"} 0"), "{text}");
}
