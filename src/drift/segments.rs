//! Judges the segments of a window, each against the same segment of the reference, all within one false-alarm budget.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::evaluate::{Side, adjust, compare, decide, loss_reason, show_evidence, summarise};
use super::{BinEvidence, Criteria, DriftReport, FeatureReport, Verdict};
use crate::baseline::{Baseline, SegmentReference};
use crate::model::Role;
use crate::profile::{LayoutMismatch, Profile, SegmentedColumn};
use crate::window::Window;

/// Columns of a segment in a report.
const MAX_FEATURES: usize = 5;

/// Bins of such a column: those that moved most.
const MAX_BINS: usize = 32;

/// How the segments of a window are judged.
///
/// The false-alarm budget of the model is shared: [`Criteria::alpha`] for all rows and `alpha` for all segments together.
/// The p-values of every column of every segment are adjusted as one family.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SegmentCriteria {
    /// The columns to segment by.
    pub columns: Vec<String>,
    /// Values of a column with a segment of their own, where the baseline holds no segments.
    pub values: usize,
    /// Significance level of one evaluation, over all columns of all segments together.
    pub alpha: f64,
}

/// What a segment was compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ComparedWith {
    /// The rows of the same segment in the reference data.
    #[serde(rename = "segment")]
    Segment,
    /// All rows of the reference data, as the baseline holds no segments of this column.
    #[serde(rename = "all rows")]
    AllRows,
}

impl ComparedWith {
    /// The words used in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Segment => "segment",
            Self::AllRows => "all rows",
        }
    }
}

/// One segment of a window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SegmentReport {
    /// Its key: `region=eu`, `region=(other)`, `region=(missing)`.
    pub segment: String,
    /// The column that it is a value of.
    pub column: String,
    /// Its rows in the window; a value of the baseline that got none is there all the same, as that is no end of an alert.
    pub rows: u64,
    /// The rows of the reference that it was compared with.
    pub rows_reference: u64,
    /// What it was compared with.
    pub compared_with: ComparedWith,
    /// The decision over all of its columns.
    pub verdict: Verdict,
    /// The decision in one sentence.
    pub reason: String,
    /// Columns that were compared.
    pub columns: usize,
    /// How many of them drifted.
    pub drifted: usize,
    /// The columns that drifted, the strongest first, derived ones last, at most five, with at most 32 bins each. Where none did, the one
    /// that came nearest, without evidence.
    pub features: Vec<FeatureReport>,
}

impl SegmentReport {
    /// The column that moved most, in units of the floor that it has to reach.
    pub fn strongest(&self) -> Option<&FeatureReport> {
        self.features.first()
    }
}

impl DriftReport {
    /// Judges the segments of the window, beside all rows and with a share of the budget of its own.
    ///
    /// A segment is not trusted when the window is not, or when too few of the window's rows were counted by its column: it was
    /// configured in the middle of the window, or more segments were open at once than there was room for.
    ///
    /// # Arguments
    ///
    /// * `baseline`: the one that the report was made from.
    /// * `counted`: the merged profile of each segment that had rows, by key.
    ///
    /// # Errors
    ///
    /// [`LayoutMismatch`] when one of them was made on another baseline.
    pub fn judge_segments(
        &mut self,
        baseline: &Baseline,
        counted: &BTreeMap<String, Profile>,
    ) -> Result<(), LayoutMismatch> {
        let Some(segments) = &self.criteria.segments else { return Ok(()) };
        let empty = Profile::empty(baseline.layout());
        counted.values().try_for_each(|profile| empty.clone().merge(profile))?;
        let criteria = Criteria { alpha: segments.alpha, ..self.criteria.clone() };
        let window = Window { start: self.window_start, end: self.window_end };
        let lost = loss_reason(&self.losses, &criteria);
        let (columns, _) = baseline.segments_of(&segments.columns, segments.values);
        let mut drafts: Vec<Draft<'_>> = Vec::new();
        for column in &columns {
            let untrusted = lost.clone().or_else(|| uncounted(column, self.rows, counted, &criteria));
            let reference = baseline.segmented_by().iter().find(|by| by.column() == column.name());
            for (place, key) in column.keys().iter().enumerate() {
                let profile = counted.get(&**key).unwrap_or(&empty);
                let reference = reference.and_then(|by| by.segments().get(place));
                let is_named = place < column.other();
                if profile.rows() == 0 && !is_named && reference.is_none_or(|reference| reference.rows == 0) {
                    continue;
                }
                let sides = sides(baseline, reference, column, window);
                let rows_reference = reference.map_or(baseline.rows(), |reference| reference.rows);
                let thin = (rows_reference < criteria.min_rows.max(1)).then(|| {
                    let least = criteria.min_rows;
                    format!(
                        "the baseline has {rows_reference} rows of this segment, under the minimum of {least}"
                    )
                });
                let compared =
                    sides.iter().map(|(at, side)| compare(side, &profile.columns()[*at], &criteria));
                drafts.push(Draft {
                    key,
                    column: column.name(),
                    profile,
                    features: compared.collect(),
                    sides,
                    rows_reference,
                    compared_with: reference.map_or(ComparedWith::AllRows, |_| ComparedWith::Segment),
                    untrusted: untrusted.clone(),
                    thin,
                });
            }
        }
        // What cannot be decided takes nothing of the budget: it is told by counts, whatever the values.
        let testable = |draft: &&mut Draft<'_>| draft.untrusted.is_none() && draft.thin.is_none();
        let mut family: Vec<&mut FeatureReport> = drafts
            .iter_mut()
            .filter(testable)
            .flat_map(|draft| &mut draft.features)
            .filter(|feature| feature.n_current + feature.missing_current >= criteria.min_rows)
            .collect();
        adjust(&mut family, criteria.correction);
        self.segments = drafts.into_iter().map(|draft| draft.report(&criteria)).collect();
        Ok(())
    }

    /// The segments found drifted.
    pub fn drifted_segments(&self) -> impl Iterator<Item = &SegmentReport> {
        self.segments.iter().filter(|segment| segment.verdict == Verdict::Drift)
    }
}

/// Why the segments of `column` do not stand for the window, where too few of its rows were counted by them.
fn uncounted(
    column: &SegmentedColumn,
    rows: u64,
    counted: &BTreeMap<String, Profile>,
    criteria: &Criteria,
) -> Option<String> {
    let found: u64 = column.keys().iter().filter_map(|key| counted.get(&**key)).map(Profile::rows).sum();
    let lacking = rows.saturating_sub(found) as f64;
    (lacking > criteria.loss_limit * rows as f64)
        .then(|| format!("only {found} of the window's {rows} rows were counted by `{}`", column.name()))
}

/// What each column is compared with, by its number in the layout.
///
/// Against all rows the column that was segmented by is left out: it holds one value by construction.
fn sides<'a>(
    baseline: &'a Baseline,
    reference: Option<&'a SegmentReference>,
    column: &SegmentedColumn,
    window: Window,
) -> Vec<(usize, Side<'a>)> {
    let layouts = baseline.layout().columns().iter();
    match reference {
        Some(reference) => layouts
            .zip(&reference.columns)
            .map(|(layout, column)| Side::of_segment(layout, column))
            .enumerate()
            .collect(),
        None => baseline
            .columns()
            .iter()
            .enumerate()
            .filter(|(_, other)| other.layout.name != column.name())
            .map(|(at, other)| (at, Side::of_window(other, window)))
            .collect(),
    }
}

/// A segment while its verdict is being made.
struct Draft<'a> {
    key: &'a Arc<str>,
    column: &'a str,
    profile: &'a Profile,
    sides: Vec<(usize, Side<'a>)>,
    features: Vec<FeatureReport>,
    rows_reference: u64,
    compared_with: ComparedWith,
    untrusted: Option<String>,
    /// Why its reference says too little.
    thin: Option<String>,
}

impl Draft<'_> {
    fn report(mut self, criteria: &Criteria) -> SegmentReport {
        let rows = self.profile.rows();
        for feature in &mut self.features {
            decide(feature, rows, self.untrusted.as_deref(), criteria);
            if let (None, Some(thin)) = (&self.untrusted, &self.thin) {
                feature.verdict = Verdict::InsufficientData;
                feature.reason.clone_from(thin);
            }
        }
        let (verdict, reason) = match (&self.untrusted, self.thin.take()) {
            (None, Some(thin)) => (Verdict::InsufficientData, thin),
            (untrusted, _) => summarise(&self.features, rows, untrusted.as_deref(), criteria),
        };
        let reason = match self.compared_with {
            ComparedWith::Segment => reason,
            ComparedWith::AllRows => format!("{reason}; compared with all rows of the baseline"),
        };
        SegmentReport {
            segment: self.key.to_string(),
            column: self.column.to_owned(),
            rows,
            rows_reference: self.rows_reference,
            compared_with: self.compared_with,
            verdict,
            reason,
            columns: self.features.len(),
            drifted: self.features.iter().filter(|feature| feature.verdict == Verdict::Drift).count(),
            features: self.shown(),
        }
    }

    /// The columns that the report keeps.
    fn shown(self) -> Vec<FeatureReport> {
        if self.profile.rows() == 0 {
            return Vec::new();
        }
        let mut found: Vec<(FeatureReport, (usize, Side<'_>))> =
            self.features.into_iter().zip(self.sides).collect();
        let has_drifted = |feature: &FeatureReport| feature.verdict == Verdict::Drift;
        let is_derived = |feature: &FeatureReport| feature.role == Role::Derived;
        found.sort_by(|(left, _), (right, _)| {
            let drifted = has_drifted(right).cmp(&has_drifted(left));
            // What is derived from columns tells people less than the columns.
            let derived = is_derived(left).cmp(&is_derived(right));
            drifted.then(derived).then_with(|| strength(right).total_cmp(&strength(left)))
        });
        let drifted = found.iter().filter(|(feature, _)| has_drifted(feature)).count();
        found.truncate(drifted.clamp(1, MAX_FEATURES));
        let with_evidence = |(mut feature, (at, side)): (FeatureReport, (usize, Side<'_>))| {
            if has_drifted(&feature)
                && let Some(current) = self.profile.columns().get(at)
            {
                show_evidence(&mut feature, &side, current);
                keep_moved(&mut feature.bins);
            }
            feature
        };
        found.into_iter().map(with_evidence).collect()
    }
}

/// The deciding statistic in units of its floor.
fn strength(feature: &FeatureReport) -> f64 {
    let Some(deciding) = &feature.deciding else { return 0.0 };
    if deciding.floor > 0.0 { deciding.value / deciding.floor } else { deciding.value }
}

/// Keeps the bins whose shares moved most, in their order.
fn keep_moved(bins: &mut Vec<BinEvidence>) {
    if bins.len() <= MAX_BINS {
        return;
    }
    let total = |count: fn(&BinEvidence) -> u64| bins.iter().map(count).sum::<u64>().max(1) as f64;
    let (reference, current) = (total(|bin| bin.reference), total(|bin| bin.current));
    let moved = |bin: &BinEvidence| (bin.current as f64 / current - bin.reference as f64 / reference).abs();
    let mut order: Vec<usize> = (0..bins.len()).collect();
    order.sort_by(|&left, &right| moved(&bins[right]).total_cmp(&moved(&bins[left])));
    order.truncate(MAX_BINS);
    order.sort_unstable();
    *bins = order.into_iter().filter_map(|at| bins.get(at).cloned()).collect();
}

#[cfg(test)]
#[path = "segments_tests.rs"]
mod tests;
