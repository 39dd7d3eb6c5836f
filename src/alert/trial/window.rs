//! From the figures of a window to the report that rules look at.

use std::collections::BTreeMap;

use super::figures::{ColumnFigures, Figures, TrafficFigures};
use super::segment::{self, SegmentFigures};
use crate::drift::{Criteria, Deciding, DriftReport, FeatureReport, Losses, Verdict};
use crate::expectations::{CheckKind, CheckResult, CheckVerdict};
use crate::model::{ModelName, Role};
use crate::schema::{Change, SchemaChange};
use crate::traffic::{TrafficCriteria, TrafficReport};
use crate::window::Window;

/// The version that reports of figures name as their baseline.
const BASELINE: &str = "test";

/// Answered predictions that a share of losses is made of.
const ANSWERED: u64 = 1_000_000;

/// The report of one window; `all` and `all_segments` are the columns and segments of the test, those that `figures` leaves
/// out are calm.
pub(super) fn report(
    model: &ModelName,
    criteria: &Criteria,
    window: Window,
    figures: &Figures,
    (all, all_segments): (&[ColumnFigures], &[SegmentFigures]),
) -> DriftReport {
    let columns: Vec<ColumnFigures> = all
        .iter()
        .map(|column| {
            let same = |given: &&ColumnFigures| (&given.name, given.role) == (&column.name, column.role);
            figures.columns.iter().find(same).cloned().unwrap_or_else(|| column.calm())
        })
        .filter(|column| column.is_there)
        .collect();
    let features: Vec<FeatureReport> =
        columns.iter().map(|column| feature(column, (figures.rows, figures.n_reference), criteria)).collect();
    let drifted = features.iter().any(|feature| feature.verdict == Verdict::Drift);
    let verdict = figures.verdict.unwrap_or(if drifted { Verdict::Drift } else { Verdict::Ok });
    let mut expectations: Vec<CheckResult> = columns
        .iter()
        .flat_map(|column| {
            let place = (Some(column.name.clone()), Some(column.role));
            violations(column.violations, CheckKind::Allowed, &place, figures.rows)
        })
        .collect();
    expectations.extend(violations(figures.violations, CheckKind::RowsMin, &(None, None), figures.rows));
    DriftReport {
        model: model.clone(),
        baseline: BASELINE.to_owned(),
        window_start: window.start,
        window_end: window.end,
        rows: figures.rows,
        rows_reference: figures.n_reference,
        losses: losses(figures.loss_share),
        criteria: criteria.clone(),
        verdict,
        reason: "as the test says".to_owned(),
        features,
        joint: None,
        schema_changes: schema_changes(figures),
        expectations_verdict: (!expectations.is_empty()).then_some(CheckVerdict::Violated),
        expectations,
        expectations_version: None,
        traffic: figures.traffic.as_ref().map(traffic),
        segments: all_segments
            .iter()
            .map(|segment| {
                let given = figures.segments.iter().find(|given| given.name == segment.name);
                given.cloned().unwrap_or_else(|| segment.calm())
            })
            .filter(|segment| segment.is_there)
            .map(|segment| segment::report(&segment, criteria))
            .collect(),
    }
}

/// The report on a column of so many rows, and so many of the reference.
pub(super) fn feature(
    column: &ColumnFigures,
    (rows, n_reference): (u64, u64),
    criteria: &Criteria,
) -> FeatureReport {
    let deciding = column.statistics.get("psi").map(|psi| Deciding {
        statistic: "psi".to_owned(),
        value: *psi,
        floor: criteria.psi_floor,
    });
    FeatureReport {
        name: column.name.clone(),
        role: column.role,
        kind: column.kind,
        n_reference: column.n_reference.unwrap_or(n_reference),
        n_current: column.n.unwrap_or(rows),
        missing_reference: 0,
        missing_current: column.n.map_or(0, |n| rows.saturating_sub(n)),
        statistics: column.statistics.clone(),
        p_values: BTreeMap::new(),
        p_adjusted: column.p,
        deciding,
        natural_variation: None,
        slots: None,
        unseen: Vec::new(),
        verdict: column.verdict,
        reason: "as the test says".to_owned(),
        bins: Vec::new(),
    }
}

fn violations(
    count: u64,
    check: CheckKind,
    (column, role): &(Option<String>, Option<Role>),
    rows: u64,
) -> Vec<CheckResult> {
    (0..count)
        .map(|_| CheckResult {
            column: column.clone(),
            role: *role,
            check,
            verdict: CheckVerdict::Violated,
            observed: None,
            limit: 0.0,
            count: 1,
            rows,
            reason: "violated, as the test says".to_owned(),
        })
        .collect()
}

fn schema_changes(figures: &Figures) -> Vec<SchemaChange> {
    (0..figures.schema_changes)
        .map(|index| SchemaChange {
            change: Change::New,
            role: Role::Feature,
            column: format!("new_{}", index + 1),
            expected: None,
            found: None,
            rows: figures.rows,
            of_rows: figures.rows,
        })
        .collect()
}

/// So many of a million answered predictions were lost.
pub(super) fn losses(share: f64) -> Losses {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share from 0 to 1 of a million"
    )]
    let lost = (share * ANSWERED as f64).round() as u64;
    let dropped = (lost > 0).then(|| ("queue_full".to_owned(), lost));
    Losses {
        seen: ANSWERED,
        kept: ANSWERED.saturating_sub(lost),
        sampled_out: 0,
        dropped: dropped.into_iter().collect(),
    }
}

fn traffic(figures: &TrafficFigures) -> TrafficReport {
    TrafficReport {
        verdict: figures.verdict,
        figures: figures.figures.clone(),
        ..TrafficReport::unreadable(TrafficCriteria::default(), "as the test says".to_owned())
    }
}
