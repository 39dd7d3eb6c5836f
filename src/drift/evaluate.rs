//! Judges a window: statistics and p-values per column, adjusted together, verdicts with their reasons.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::baseline::{Baseline, BaselineColumn, Bins, Reference, SegmentColumn};
use crate::drift::{
    BinEvidence, Correction, Criteria, Deciding, DriftReport, FeatureReport, Losses, UnseenValue, Verdict,
};
use crate::model::Role;
use crate::profile::{ColumnLayout, ColumnProfile, Cut, Grid, LayoutMismatch, Profile};
use crate::stats::natural_variation::{self, VariationKind};
use crate::stats::{self, Pooling, Variation};
use crate::window::Window;

/// Unseen values in a report.
const MAX_UNSEEN: usize = 10;

/// Judges the rows of `window`, given as the merged profile of its parts on the baseline's layout.
///
/// # Errors
///
/// [`LayoutMismatch`] when `profile` was made on another baseline.
pub fn evaluate(
    baseline: &Baseline,
    profile: &Profile,
    losses: Losses,
    window: Window,
    criteria: &Criteria,
) -> Result<DriftReport, LayoutMismatch> {
    // Merging into an empty profile is the layout check.
    Profile::empty(baseline.layout()).merge(profile)?;
    let mut features: Vec<FeatureReport> = baseline
        .columns()
        .iter()
        .zip(profile.columns())
        .map(|(column, current)| {
            let side = Side::of_window(column, window);
            let mut feature = compare(&side, current, criteria);
            show_evidence(&mut feature, &side, current);
            feature
        })
        .collect();
    adjust(&mut features.iter_mut().collect::<Vec<_>>(), criteria.correction);
    let untrusted = loss_reason(&losses, criteria);
    for feature in &mut features {
        decide(feature, profile.rows(), untrusted.as_deref(), criteria);
    }
    let (verdict, reason) = summarise(&features, profile.rows(), untrusted.as_deref(), criteria);
    Ok(DriftReport {
        model: baseline.model().clone(),
        baseline: baseline.version().to_owned(),
        window_start: window.start,
        window_end: window.end,
        rows: profile.rows(),
        rows_reference: baseline.rows(),
        losses,
        criteria: criteria.clone(),
        verdict,
        reason,
        features,
        joint: super::joint::compare(baseline, profile),
        schema_changes: Vec::new(),
        expectations: Vec::new(),
        expectations_verdict: None,
        expectations_version: None,
        traffic: None,
        segments: Vec::new(),
    })
}

/// What one column is compared with, and how.
pub(super) struct Side<'a> {
    layout: &'a ColumnLayout,
    counts: Cow<'a, ColumnProfile>,
    /// The slots of the season that the counts come from, for people.
    slots: Option<String>,
    bins: &'a Bins,
    ks_error_bound: f64,
    psi_variation: Option<Variation>,
    ks_variation: Option<Variation>,
}

impl<'a> Side<'a> {
    /// All reference rows, or those of the window's season.
    pub(super) fn of_window(column: &'a BaselineColumn, window: Window) -> Self {
        let Reference { counts, slots } = column.reference(window);
        Self {
            layout: &column.layout,
            counts,
            slots,
            bins: &column.bins,
            ks_error_bound: column.ks_error_bound,
            psi_variation: column.psi_variation,
            ks_variation: column.ks_variation,
        }
    }

    /// The reference rows of one segment.
    pub(super) fn of_segment(layout: &'a ColumnLayout, column: &'a SegmentColumn) -> Self {
        Self {
            layout,
            counts: Cow::Borrowed(&column.profile),
            slots: None,
            bins: &column.bins,
            ks_error_bound: column.ks_error_bound,
            psi_variation: column.psi_variation,
            ks_variation: column.ks_variation,
        }
    }
}

/// Statistics and raw p-values of one column; verdict and evidence are filled in later.
pub(super) fn compare(column: &Side<'_>, current: &ColumnProfile, criteria: &Criteria) -> FeatureReport {
    let reference = &*column.counts;
    let reference_bins = column.bins.profile_counts(reference);
    let current_bins = column.bins.profile_counts(current);
    let (n_reference, n_current) = (reference.usable(), current.usable());
    let (missing_reference, missing_current) = (reference.unusable(), current.unusable());
    let (all_reference, all_current) = (n_reference + missing_reference, n_current + missing_current);
    let bins_used = reference_bins.iter().zip(&current_bins).filter(|(a, b)| **a + **b > 0).count();

    let mut statistics = BTreeMap::new();
    let mut p_values = BTreeMap::new();
    let mut deciding = None;
    let mut natural_variation = None;
    let mut put = |name: &str, value: f64| {
        if value.is_finite() {
            statistics.insert(name.to_owned(), value);
        }
    };
    if all_current > 0 {
        for (name, value) in distances(&reference_bins, &current_bins) {
            put(name, value);
        }
        put("missing_delta", share(missing_current, all_current) - share(missing_reference, all_reference));
        put("wrong_type_share", share(current.wrong_type, all_current));
        if let Ok(test) = stats::chi_square(&reference_bins, &current_bins, Pooling::default()) {
            put("chi2", test.statistic);
            p_values.insert("chi2".to_owned(), test.p_value);
        }
        if let Ok(psi) = stats::psi(&reference_bins, &current_bins) {
            put("psi", psi);
            let independent = stats::psi_p_value(psi, all_current, all_reference, bins_used);
            let p = with_variation(
                VariationKind::Psi { bins: bins_used },
                psi,
                (all_current, all_reference),
                independent,
                column.psi_variation.as_ref(),
            );
            p_values.insert("psi".to_owned(), p);
            if bins_used > 1 {
                deciding = Some(Deciding { statistic: "psi".into(), value: psi, floor: criteria.psi_floor });
                natural_variation = column.psi_variation;
            }
        }
    }
    match &column.layout.cut {
        Cut::Grid(grid) if n_current > 0 => {
            if let Ok(ks) = stats::ks_statistic_from_cells(&reference.cells, &current.cells) {
                put("ks", ks);
                put("ks_error_bound", column.ks_error_bound);
                let p = ks_p_value(column, ks, n_current, n_reference);
                p_values.insert("ks".to_owned(), p);
                if deciding.is_none() {
                    deciding = Some(Deciding { statistic: "ks".into(), value: ks, floor: criteria.ks_floor });
                    natural_variation = column.ks_variation;
                }
            }
            let deviation = reference.moments.deviation();
            if current.moments.count() > 0 {
                let distance = wasserstein(reference, current, grid);
                if let Some(distance) = distance {
                    put("wasserstein", distance);
                }
                if let Some(deviation) = deviation {
                    let shift = current.moments.mean() - reference.moments.mean();
                    put("mean_shift", shift / deviation);
                    if let Some(distance) = distance {
                        put("wasserstein_norm", distance / deviation);
                    }
                }
            }
            put("out_of_range_share", share(current.below_min + current.above_max, n_current));
        }
        Cut::Grid(_) => {}
        Cut::Categories(categories) => {
            if n_current > 0 {
                put("unseen_share", share(current.cells[categories.unseen()], n_current));
            }
        }
    }
    FeatureReport {
        bins: Vec::new(),
        name: column.layout.name.clone(),
        role: column.layout.role,
        kind: column.layout.kind,
        n_reference,
        n_current,
        missing_reference,
        missing_current,
        statistics,
        p_values,
        p_adjusted: None,
        deciding,
        natural_variation,
        slots: column.slots.clone(),
        unseen: Vec::new(),
        verdict: Verdict::Ok,
        reason: String::new(),
    }
}

/// The distances between two histograms that have no p-value of their own.
fn distances(reference: &[u64], current: &[u64]) -> impl Iterator<Item = (&'static str, f64)> {
    type Distance = fn(&[u64], &[u64]) -> Result<f64, stats::StatError>;
    let all: [(&str, Distance); 5] = [
        ("js", stats::js_distance),
        ("kl", stats::kl),
        ("hellinger", stats::hellinger),
        ("tvd", stats::tvd),
        ("linf", stats::linf),
    ];
    all.into_iter().filter_map(move |(name, distance)| Some((name, distance(reference, current).ok()?)))
}

/// The distance read from the cells, and from the means of what lies in the open ones.
fn wasserstein(reference: &ColumnProfile, current: &ColumnProfile, grid: &Grid) -> Option<f64> {
    let reference = (reference.cells.as_slice(), reference.open_cells());
    let current = (current.cells.as_slice(), current.open_cells());
    stats::wasserstein_from_cells(grid.edges(), reference, current).ok()
}

/// Fills in what a person looks at: the bins of both sides, and the values that the baseline never had.
pub(super) fn show_evidence(feature: &mut FeatureReport, column: &Side<'_>, current: &ColumnProfile) {
    let reference = column.bins.profile_counts(&column.counts);
    let counts = reference.into_iter().zip(column.bins.profile_counts(current));
    let labels = column.bins.labels(&column.layout.cut).into_iter();
    feature.bins = labels
        .zip(counts)
        .map(|(label, (reference, current))| BinEvidence { label, reference, current })
        .collect();
    feature.unseen = unseen(current);
}

/// The heaviest of the values that the baseline never had.
fn unseen(current: &ColumnProfile) -> Vec<UnseenValue> {
    let heaviest = current.unseen.heaviest().into_iter().take(MAX_UNSEEN);
    heaviest.map(|(value, rows)| UnseenValue { value: value.to_owned(), rows }).collect()
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

fn ks_p_value(column: &Side<'_>, ks: f64, n_current: u64, n_reference: u64) -> f64 {
    // The lower end of what the exact statistic can be: the grid never invents significance.
    let lower = (ks - column.ks_error_bound).max(0.0);
    // Past `EXACT_PAIRS` the exact law is refused as too costly.
    let exact =
        (column.ks_error_bound == 0.0).then(|| stats::ks_p_value_exact(lower, n_current, n_reference));
    let independent = match exact {
        Some(Ok(p)) => p,
        _ => stats::ks_p_value_asymptotic(lower, n_current, n_reference),
    };
    with_variation(
        VariationKind::KsSquared,
        lower * lower,
        (n_current, n_reference),
        independent,
        column.ks_variation.as_ref(),
    )
}

fn with_variation(
    kind: VariationKind,
    value: f64,
    (n, n_reference): (u64, u64),
    independent: f64,
    variation: Option<&Variation>,
) -> f64 {
    match variation {
        Some(variation) => natural_variation::p_value(kind, value, n, n_reference, independent, variation),
        None => independent,
    }
}

/// Adjusts the deciding p-values of `features` together.
pub(super) fn adjust(features: &mut [&mut FeatureReport], correction: Correction) {
    let tested: Vec<(usize, f64)> = features
        .iter()
        .enumerate()
        .filter_map(|(index, feature)| {
            let statistic = &feature.deciding.as_ref()?.statistic;
            Some((index, *feature.p_values.get(statistic)?))
        })
        .collect();
    let raw: Vec<f64> = tested.iter().map(|(_, p)| *p).collect();
    let adjusted = match correction {
        Correction::Holm => stats::holm(&raw),
        Correction::BenjaminiHochberg => stats::benjamini_hochberg(&raw),
        Correction::Bonferroni => stats::bonferroni(&raw),
    };
    for ((index, _), p) in tested.into_iter().zip(adjusted) {
        features[index].p_adjusted = Some(p);
    }
}

/// Fills in the verdict on one column, and its reason.
///
/// # Arguments
///
/// * `rows`: those of the window or segment.
/// * `untrusted`: why its numbers do not stand for the traffic, where they do not.
pub(super) fn decide(feature: &mut FeatureReport, rows: u64, untrusted: Option<&str>, criteria: &Criteria) {
    let counted = feature.n_current + feature.missing_current;
    let (verdict, reason) = if let Some(reason) = untrusted {
        (Verdict::Untrusted, reason.to_owned())
    } else if counted < criteria.min_rows {
        let missing_outputs = feature.role == Role::Output && counted < rows;
        let hint = if missing_outputs { " (answers that could not be aligned with their rows)" } else { "" };
        (
            Verdict::InsufficientData,
            format!("{counted} rows are under the minimum of {}{hint}", criteria.min_rows),
        )
    } else {
        match (&feature.deciding, feature.p_adjusted) {
            (Some(deciding), Some(p)) => {
                let Deciding { statistic, value, floor } = deciding;
                let (value_text, p_text) = (short(*value), short_p(p));
                let alpha = short(criteria.alpha);
                let season =
                    feature.slots.as_ref().map(|slots| format!(" against {slots}")).unwrap_or_default();
                let nature = match feature.natural_variation {
                    Some(_) => season,
                    None => format!("{season}; natural variation is unknown"),
                };
                match (p <= criteria.alpha, value >= floor) {
                    (true, true) => (
                        Verdict::Drift,
                        format!(
                            "{statistic} {value_text} is over its floor {floor} and p {p_text} is under alpha {alpha}{nature}"
                        ),
                    ),
                    (true, false) => (
                        Verdict::Ok,
                        format!(
                            "p {p_text} is under alpha {alpha}, but {statistic} {value_text} is under its floor {floor}{nature}"
                        ),
                    ),
                    (false, true) => (
                        Verdict::Ok,
                        format!(
                            "{statistic} {value_text} is over its floor {floor}, but p {p_text} is not under alpha {alpha}{nature}"
                        ),
                    ),
                    (false, false) => (
                        Verdict::Ok,
                        format!(
                            "{statistic} {value_text} is under its floor {floor} and p {p_text} is not under alpha {alpha}{nature}"
                        ),
                    ),
                }
            }
            _ => (Verdict::Ok, "every value is the same as in the baseline".to_owned()),
        }
    };
    feature.verdict = verdict;
    feature.reason = reason;
}

/// Why the window is not to be trusted, where too much of it was lost.
pub(super) fn loss_reason(losses: &Losses, criteria: &Criteria) -> Option<String> {
    (losses.share() > criteria.loss_limit).then(|| {
        format!(
            "{} of the predictions were lost, over the limit {}",
            short(losses.share()),
            short(criteria.loss_limit)
        )
    })
}

/// The verdict over `features`, and its reason.
pub(super) fn summarise(
    features: &[FeatureReport],
    rows: u64,
    untrusted: Option<&str>,
    criteria: &Criteria,
) -> (Verdict, String) {
    if let Some(reason) = untrusted {
        return (Verdict::Untrusted, reason.to_owned());
    }
    let drifted: Vec<&str> =
        features.iter().filter(|f| f.verdict == Verdict::Drift).map(|f| f.name.as_str()).collect();
    if !drifted.is_empty() {
        return (
            Verdict::Drift,
            format!("{} of {} columns drifted: {}", drifted.len(), features.len(), drifted.join(", ")),
        );
    }
    if rows < criteria.min_rows || features.iter().all(|f| f.verdict == Verdict::InsufficientData) {
        return (
            Verdict::InsufficientData,
            format!("{rows} rows are under the minimum of {}", criteria.min_rows),
        );
    }
    (Verdict::Ok, format!("none of {} columns drifted", features.len()))
}

/// A number for people: at most four decimals, scientific where that is shorter.
pub fn short(value: f64) -> String {
    if value == 0.0 || (1e-3..1e5).contains(&value.abs()) {
        let text = format!("{value:.4}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        format!("{value:.1e}")
    }
}

/// A p-value for people: one too small for a number is not 0.
pub fn short_p(p: f64) -> String {
    if p > 0.0 { short(p) } else { "< 1e-300".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::baseline::{self, Blocks, BuildOptions, CutOptions, SourceColumn};
    use crate::model::{Batch, Column, ModelName, Value};

    /// A baseline of 2,000 rows in 20 blocks: `x` runs evenly over 0..100, `c` is `a` or `b`.
    fn baseline(with_blocks: bool) -> Baseline {
        let x: Vec<Value> = (0..2000_u32).map(|i| Value::Number(f64::from(i * 37 % 100))).collect();
        let c: Vec<Value> =
            (0..2000).map(|i| Value::Text(if i % 3 == 0 { "a" } else { "b" }.into())).collect();
        let columns = [("x", &x), ("c", &c)].map(|(name, values)| SourceColumn {
            name,
            role: Role::Feature,
            kind: None,
            values,
        });
        let of_row: Vec<i64> = (0..2000).map(|row| row / 100).collect();
        let blocks = with_blocks.then_some(Blocks { of_row: &of_row, cycle: None });
        let model = ModelName::parse("m").unwrap();
        baseline::build(
            &columns,
            blocks,
            BuildOptions { model, source: "test".into(), cut: CutOptions::default(), joint: true },
        )
        .unwrap()
    }

    fn judge(baseline: &Baseline, rows: usize, shift: f64, losses: Losses) -> DriftReport {
        let x = (0..rows).map(|i| Value::Number((i * 37 % 100) as f64 + shift)).collect();
        let c = (0..rows).map(|i| Value::Text(if i % 3 == 0 { "a" } else { "b" }.into())).collect();
        let features = vec![Column { name: "x".into(), values: x }, Column { name: "c".into(), values: c }];
        let mut profile = Profile::empty(baseline.layout());
        profile.record(baseline.layout(), &Batch { rows, features, outputs: vec![] });
        let start = chrono::DateTime::UNIX_EPOCH;
        let window = Window { start, end: start + chrono::TimeDelta::hours(1) };
        evaluate(baseline, &profile, losses, window, &Criteria::default()).unwrap()
    }

    #[test]
    fn verdicts_follow_rows_losses_significance_and_effect() {
        let lost =
            Losses { seen: 100, kept: 90, dropped: [("queue_full".into(), 10)].into(), ..Losses::default() };
        for (rows, shift, losses, verdict) in [
            (500, 0.0, Losses::default(), Verdict::Ok),
            (500, 30.0, Losses::default(), Verdict::Drift),
            (199, 30.0, Losses::default(), Verdict::InsufficientData),
            (0, 0.0, Losses::default(), Verdict::InsufficientData),
            (500, 30.0, lost, Verdict::Untrusted),
        ] {
            for with_blocks in [false, true] {
                let report = judge(&baseline(with_blocks), rows, shift, losses.clone());
                assert_eq!(report.verdict, verdict, "{rows} rows, shift {shift}: {}", report.reason);
                assert!(report.features.iter().all(|feature| !feature.reason.is_empty()));
            }
        }
    }

    #[test]
    fn only_what_moved_has_drifted_and_the_numbers_agree() {
        let report = judge(&baseline(true), 500, 30.0, Losses::default());
        let drifted: Vec<&str> = report.drifted().map(|feature| feature.name.as_str()).collect();
        assert_eq!(drifted, ["x"]);
        let x = &report.features[0];
        assert!((x.statistics["wasserstein"] - 30.0).abs() < 1.0, "{:?}", x.statistics);
        assert!((x.statistics["ks"] - 0.3).abs() < 1e-9 && x.statistics["ks_error_bound"] == 0.0);
        let (reference, current) =
            x.bins.iter().fold((0, 0), |sum, bin| (sum.0 + bin.reference, sum.1 + bin.current));
        assert_eq!((reference, current), (2000, 500));
        assert!(judge(&baseline(false), 500, 30.0, Losses::default()).features[0].reason.contains("unknown"));
    }

    #[test]
    fn a_report_survives_its_json_to_the_bit() {
        let report = judge(&baseline(true), 500, 7.0, Losses::default());
        let text = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<DriftReport>(&text).unwrap(), report);
    }
}
