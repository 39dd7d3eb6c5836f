//! Small reports for the tests of this module.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::{Message, Routing, Situation, StoredAlert, decide};
use crate::drift::{
    BinEvidence, ComparedWith, Criteria, Deciding, DriftReport, FeatureReport, Losses, SegmentReport, Verdict,
};
use crate::model::{FeatureKind, ModelName, Role};

/// A numeric column; drifted from PSI 0.1 on.
pub(crate) fn column(name: &str, psi: f64) -> FeatureReport {
    let verdict = if psi >= 0.1 { Verdict::Drift } else { Verdict::Ok };
    FeatureReport {
        name: name.to_owned(),
        role: Role::Feature,
        kind: FeatureKind::Numeric,
        n_reference: 10_000,
        n_current: 1000,
        missing_reference: 0,
        missing_current: 20,
        statistics: BTreeMap::from([("psi".to_owned(), psi), ("mean_shift".to_owned(), 2.0 * psi)]),
        p_values: BTreeMap::from([("psi".to_owned(), 1e-30)]),
        p_adjusted: Some(1e-30),
        deciding: Some(Deciding { statistic: "psi".to_owned(), value: psi, floor: 0.1 }),
        natural_variation: None,
        slots: None,
        unseen: Vec::new(),
        verdict,
        reason: "psi is over its floor".to_owned(),
        bins: vec![
            BinEvidence { label: "(-inf, 3.5]".to_owned(), reference: 5000, current: 200 },
            BinEvidence { label: "(3.5, inf)".to_owned(), reference: 5000, current: 800 },
        ],
    }
}

/// The end of the `index`-th window of an hour.
pub(crate) fn window_end(index: u32) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + Duration::from_hours(1_750_000_000 / 3600) + Duration::from_hours(1) * index
}

/// The report of window 0, columns by name and PSI.
pub(crate) fn report(columns: &[(&str, f64)]) -> DriftReport {
    report_at(0, columns)
}

/// The report of the `index`-th window, columns by name and PSI.
pub(crate) fn report_at(index: u32, columns: &[(&str, f64)]) -> DriftReport {
    let features: Vec<_> = columns.iter().map(|(name, psi)| column(name, *psi)).collect();
    let drifted = features.iter().any(|feature| feature.verdict == Verdict::Drift);
    DriftReport {
        model: ModelName::parse("bike-demand").unwrap(),
        baseline: "b3a1".to_owned(),
        window_start: window_end(index) - Duration::from_hours(1),
        window_end: window_end(index),
        rows: 1000,
        rows_reference: 10_000,
        losses: Losses {
            seen: 1010,
            kept: 1000,
            sampled_out: 0,
            dropped: BTreeMap::from([("queue_full".to_owned(), 10)]),
        },
        criteria: Criteria::default(),
        verdict: if drifted { Verdict::Drift } else { Verdict::Ok },
        reason: "as the features say".to_owned(),
        features,
        joint: None,
        schema_changes: Vec::new(),
        expectations: Vec::new(),
        expectations_verdict: None,
        expectations_version: None,
        traffic: None,
        segments: Vec::new(),
    }
}

/// A segment of 300 rows, with `temp` as the column that moved most.
pub(crate) fn segment(key: &str, verdict: Verdict) -> SegmentReport {
    let drifted = usize::from(verdict == Verdict::Drift);
    SegmentReport {
        segment: key.to_owned(),
        column: "region".to_owned(),
        rows: 300,
        rows_reference: 4000,
        compared_with: ComparedWith::Segment,
        verdict,
        reason: "as its columns say".to_owned(),
        columns: 7,
        drifted,
        features: vec![column("temp", if drifted == 1 { 0.4 } else { 0.01 })],
    }
}

/// What `receivers` are told of `alerts` when nothing else is set and nothing was told before.
pub(crate) fn told(alerts: &[StoredAlert], receivers: &[&str]) -> Vec<Message> {
    let receivers: Vec<String> = receivers.iter().map(|name| (*name).to_owned()).collect();
    let now = window_end(0);
    let routing = Routing::to(&receivers);
    decide(&Situation { routing: &routing, alerts, groups: &[], silences: &[], acks: &[], now }).messages
}
