//! How long `/metrics` takes to write for one model of many columns, with and without the bound on columns.

#![expect(clippy::print_stdout, reason = "a benchmark prints")]

use std::time::{Duration, Instant};

use driftline::config::ExportedMetrics;
use driftline::drift::{Criteria, Deciding, DriftReport, FeatureReport, Losses, Verdict};
use driftline::metrics::Metrics;
use driftline::model::{FeatureKind, ModelName, Role};

/// The statistics that a numeric column has.
const STATISTICS: [&str; 11] = [
    "psi",
    "ks",
    "js",
    "kl",
    "hellinger",
    "tvd",
    "linf",
    "chi2",
    "wasserstein",
    "wasserstein_norm",
    "mean_shift",
];
const ROUNDS: usize = 200;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!(
        "columns  bound  series    bytes   show    p50     p99   (of {ROUNDS} times /metrics is written)"
    );
    for (columns, bound) in [
        (10, ExportedMetrics::DEFAULT_FEATURES),
        (500, ExportedMetrics::DEFAULT_FEATURES),
        (500, 500),
        (5000, 5000),
    ] {
        let metrics = Metrics::bounded(bound)?;
        let report = report(columns)?;
        let began = Instant::now();
        metrics.drift.show(&report);
        let show = began.elapsed();
        let mut times = Vec::with_capacity(ROUNDS);
        let mut text = String::new();
        for _ in 0..ROUNDS {
            let began = Instant::now();
            text = metrics.encode()?;
            times.push(began.elapsed());
        }
        times.sort();
        let series = text.lines().filter(|line| !line.starts_with('#')).count();
        let (p50, p99) = (ms(times[ROUNDS / 2]), ms(times[ROUNDS * 99 / 100]));
        let bytes = text.len();
        println!(
            "{columns:7}  {bound:5}  {series:6}  {bytes:7}  {:4.1} ms  {p50:4.1} ms  {p99:4.1} ms",
            ms(show)
        );
    }
    Ok(())
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn report(columns: usize) -> Result<DriftReport, Box<dyn std::error::Error>> {
    let features = (0..columns).map(|at| FeatureReport {
        name: format!("feature_{at:04}"),
        role: Role::Feature,
        kind: FeatureKind::Numeric,
        n_reference: 100_000,
        n_current: 1000,
        missing_reference: 0,
        missing_current: 0,
        statistics: STATISTICS.iter().map(|name| ((*name).to_owned(), 1.0 / (at as f64 + 3.7))).collect(),
        p_values: std::collections::BTreeMap::new(),
        p_adjusted: Some(0.123_456_789),
        deciding: Some(Deciding { statistic: "psi".to_owned(), value: 1.0 / (at as f64 + 3.7), floor: 0.1 }),
        natural_variation: None,
        slots: None,
        unseen: Vec::new(),
        verdict: Verdict::Ok,
        reason: String::new(),
        bins: Vec::new(),
    });
    Ok(DriftReport {
        model: ModelName::parse("model")?,
        baseline: "0123456789ab".to_owned(),
        window_start: "2026-01-01T00:00:00Z".parse()?,
        window_end: "2026-01-01T01:00:00Z".parse()?,
        rows: 1000,
        rows_reference: 100_000,
        losses: Losses::default(),
        criteria: Criteria::default(),
        verdict: Verdict::Ok,
        reason: String::new(),
        features: features.collect(),
        joint: None,
        schema_changes: Vec::new(),
        expectations: Vec::new(),
        expectations_verdict: None,
        expectations_version: None,
        traffic: None,
        segments: Vec::new(),
    })
}
