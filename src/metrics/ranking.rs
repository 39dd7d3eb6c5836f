//! Which columns of a report have series of their own, and what stands for all others.

use std::collections::BTreeMap;

use crate::drift::{DriftReport, FeatureReport, Verdict};
use crate::model::Role;

/// The value of the label `feature` that stands for all columns past the bound.
pub const OTHERS: &str = "(other)";

/// What is shown of one column, or of all others together.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    /// The value of the label `feature`: an output is `output:NAME`.
    pub(super) name: String,
    pub(super) statistics: BTreeMap<String, f64>,
    /// The effect floor of the deciding statistic, by its name.
    pub(super) floors: BTreeMap<String, f64>,
    pub(super) p_adjusted: Option<f64>,
    pub(super) verdict: Verdict,
}

/// The `bound` columns with the largest effect, then one row for the others; and how many those are.
///
/// The effect is the deciding statistic as a multiple of its floor. What drifted comes first.
pub(super) fn rows(report: &DriftReport, bound: usize) -> (Vec<Row>, usize) {
    let mut columns: Vec<&FeatureReport> = report.features.iter().collect();
    if columns.len() > bound {
        columns.sort_by(|a, b| {
            let key = |column: &FeatureReport| (column.verdict == Verdict::Drift, effect(column));
            let ((a_drifted, a_effect), (b_drifted, b_effect)) = (key(a), key(b));
            b_drifted.cmp(&a_drifted).then(b_effect.total_cmp(&a_effect))
        });
    }
    let (own, others) = columns.split_at(bound.min(columns.len()));
    let mut rows: Vec<Row> = own.iter().map(|column| row(column)).collect();
    rows.extend(
        others
            .iter()
            .map(|column| row(column))
            .reduce(merged)
            .map(|row| Row { name: OTHERS.to_owned(), ..row }),
    );
    (rows, others.len())
}

/// The deciding statistic as a multiple of its floor; 0 where nothing could decide.
fn effect(column: &FeatureReport) -> f64 {
    match &column.deciding {
        Some(deciding) if deciding.floor > 0.0 => deciding.value / deciding.floor,
        Some(deciding) => deciding.value,
        None => 0.0,
    }
}

fn row(column: &FeatureReport) -> Row {
    let deciding = column.deciding.iter();
    Row {
        name: match column.role {
            Role::Feature | Role::Derived => column.name.clone(),
            Role::Output => format!("output:{}", column.name),
        },
        statistics: column.statistics.clone(),
        floors: deciding.map(|deciding| (deciding.statistic.clone(), deciding.floor)).collect(),
        p_adjusted: column.p_adjusted,
        verdict: column.verdict,
    }
}

/// The worst of both: the value farthest from 0, the smallest p-value, the worst verdict.
fn merged(mut a: Row, b: Row) -> Row {
    for (statistic, value) in b.statistics {
        let kept = a.statistics.entry(statistic).or_insert(value);
        if value.abs() > kept.abs() {
            *kept = value;
        }
    }
    for (statistic, floor) in b.floors {
        let kept = a.floors.entry(statistic).or_insert(floor);
        *kept = kept.min(floor);
    }
    a.p_adjusted = match (a.p_adjusted, b.p_adjusted) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    };
    if rank(b.verdict) > rank(a.verdict) {
        a.verdict = b.verdict;
    }
    a
}

fn rank(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Ok => 0,
        Verdict::InsufficientData => 1,
        Verdict::Untrusted => 2,
        Verdict::Drift => 3,
    }
}
