//! Segments are judged by themselves, against their like, and within the budget of the model.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta};

use super::*;
use crate::baseline::{self, Blocks, BuildOptions, CutOptions, SegmentSources, SourceColumn};
use crate::drift::{Losses, evaluate};
use crate::model::{Batch, Column, FeatureKind, ModelName, Role, Value};
use crate::stats::random::SplitMix64;

/// Regions, their share of the rows, and the level of `x` in them.
const REGIONS: [(&str, f64, f64); 4] =
    [("eu", 0.6, 0.0), ("us", 0.3, 4.0), ("asia", 0.08, -4.0), ("moon", 0.02, 9.0)];

const BLOCK: usize = 400;

/// One block of rows: `x` has the level of its region and a little of the block's own, `c` is a category, `b` is true
/// where `x` is over its level. `shift` moves `x` in the region named.
fn rows(random: &mut SplitMix64, rows: usize, shift: Option<(&str, f64)>) -> Vec<Column> {
    let own = 0.1 * random.normal();
    let mut columns = ["x", "c", "b", "region"]
        .map(|name| Column { name: name.into(), values: Vec::with_capacity(rows) })
        .to_vec();
    for _ in 0..rows {
        let draw = random.uniform();
        let mut sum = 0.0;
        let (region, _, level) = REGIONS
            .into_iter()
            .find(|(_, share, _)| {
                sum += share;
                draw < sum
            })
            .unwrap_or(REGIONS[0]);
        let noise = random.normal() + own;
        let moved = shift.filter(|(named, _)| *named == region).map_or(0.0, |(_, by)| by);
        let category = if random.uniform() < 0.3 { "rare" } else { "common" };
        let values = [
            Value::Number(level + noise + moved),
            Value::Text(category.into()),
            Value::Bool(noise > 0.0),
            Value::Text(region.into()),
        ];
        for (column, value) in columns.iter_mut().zip(values) {
            column.values.push(value);
        }
    }
    columns
}

/// A baseline of 60 blocks; `values` regions have a segment of their own, none where it is 0.
fn baseline(values: usize) -> Baseline {
    baseline_of(values, 60, BLOCK)
}

fn baseline_of(values: usize, blocks: i64, block_rows: usize) -> Baseline {
    let mut random = SplitMix64::new(7);
    let mut columns: Vec<Column> = rows(&mut random, block_rows, None);
    for _ in 1..blocks {
        let block = rows(&mut random, block_rows, None);
        for (column, more) in columns.iter_mut().zip(block) {
            column.values.extend(more.values);
        }
    }
    let of_row: Vec<i64> = (0..blocks).flat_map(|block| vec![block; block_rows]).collect();
    let sources: Vec<SourceColumn<'_>> = columns
        .iter()
        .map(|column| SourceColumn {
            name: &column.name,
            role: Role::Feature,
            kind: None,
            values: &column.values,
        })
        .collect();
    let by = if values == 0 { &[][..] } else { &sources[3..] };
    let model = ModelName::parse("m").unwrap();
    let options = BuildOptions { model, source: "s".into(), cut: CutOptions::default(), joint: true };
    let blocks = Some(Blocks { of_row: &of_row, cycle: None });
    let built = baseline::build_segmented(&sources, blocks, SegmentSources { by, values }, options).unwrap();
    // What judges is what was stored.
    let read = Baseline::from_json(&built.to_json().unwrap()).unwrap();
    assert_eq!(read, built);
    read
}

fn criteria() -> Criteria {
    let segments = SegmentCriteria { columns: vec!["region".into()], values: 3, alpha: 0.025 };
    Criteria { alpha: 0.025, segments: Some(segments), ..Criteria::default() }
}

/// The report of one window, and the profiles of its segments.
fn count(
    baseline: &Baseline,
    features: Vec<Column>,
    criteria: &Criteria,
) -> (DriftReport, BTreeMap<String, Profile>) {
    let rows = features[0].values.len();
    let batch = Batch { rows, features, outputs: vec![] };
    let mut whole = Profile::empty(baseline.layout());
    whole.record(baseline.layout(), &batch);
    let mut counted: BTreeMap<String, Profile> = BTreeMap::new();
    for column in baseline.segments_of(&["region".into()], 3).0 {
        for (place, rows) in column.split(&batch) {
            let profile = counted
                .entry(column.keys()[place].to_string())
                .or_insert_with(|| Profile::empty(baseline.layout()));
            profile.record_some(baseline.layout(), &batch, &rows);
        }
    }
    let start = DateTime::UNIX_EPOCH;
    let window = Window { start, end: start + TimeDelta::hours(1) };
    (evaluate(baseline, &whole, Losses::default(), window, criteria).unwrap(), counted)
}

fn judge(baseline: &Baseline, features: Vec<Column>, criteria: &Criteria) -> DriftReport {
    let (mut report, counted) = count(baseline, features, criteria);
    report.judge_segments(baseline, &counted).unwrap();
    report
}

fn verdicts(report: &DriftReport) -> Vec<(&str, Verdict)> {
    report.segments.iter().map(|segment| (segment.segment.as_str(), segment.verdict)).collect()
}

#[test]
fn a_small_segment_drifts_while_all_rows_do_not() {
    // Windows are as long as blocks, as they are in a baseline that is built with event times.
    let baseline = baseline_of(3, 30, 3000);
    let report = judge(&baseline, rows(&mut SplitMix64::new(8), 3000, Some(("asia", 1.5))), &criteria());
    assert_eq!(report.verdict, Verdict::Ok, "{}", report.reason);
    assert_eq!(
        verdicts(&report),
        [
            ("region=eu", Verdict::Ok),
            ("region=us", Verdict::Ok),
            ("region=asia", Verdict::Drift),
            ("region=(other)", Verdict::InsufficientData)
        ]
    );
    let asia = &report.segments[2];
    assert_eq!(
        (asia.compared_with, asia.columns, asia.column.as_str()),
        (ComparedWith::Segment, 5, "region")
    );
    let x = asia.strongest().unwrap();
    assert_eq!((x.name.as_str(), x.verdict), ("x", Verdict::Drift), "{asia:#?}");
    assert_eq!(x.bins.iter().map(|bin| bin.current).sum::<u64>(), asia.rows);
    assert_eq!(asia.drifted, asia.features.len().min(5));
    assert!((x.statistics["mean_shift"] - 1.5).abs() < 0.2, "{:?}", x.statistics);
    // A calm segment shows what came nearest, without evidence.
    let eu = &report.segments[0];
    assert_eq!((eu.features.len(), eu.drifted, eu.features[0].bins.len()), (1, 0, 0));
    assert_eq!(report.drifted_segments().count(), 1);
    let text = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<DriftReport>(&text).unwrap(), report);
}

#[test]
fn a_baseline_without_segments_is_compared_with_as_a_whole() {
    let baseline = baseline(0);
    let report = judge(&baseline, rows(&mut SplitMix64::new(8), 8000, None), &criteria());
    let eu = &report.segments[0];
    assert_eq!((eu.compared_with, eu.rows_reference), (ComparedWith::AllRows, baseline.rows()));
    assert!(eu.reason.ends_with("; compared with all rows of the baseline"), "{}", eu.reason);
    assert!(eu.features.iter().all(|feature| feature.name != "region"));
    assert_eq!(eu.columns, baseline.columns().len() - 1);
    assert!(report.segments.iter().any(|segment| segment.segment == "region=(other)"));
}

#[test]
fn what_says_too_little_or_was_not_counted_has_no_verdict_on_drift() {
    let baseline = baseline(3);
    let strict = Criteria { min_rows: 1000, ..criteria() };
    let shifted = || rows(&mut SplitMix64::new(9), 6000, Some(("moon", 3.0)));
    let report = judge(&baseline, shifted(), &strict);
    let of =
        |report: &DriftReport, at: usize| (report.segments[at].verdict, report.segments[at].reason.clone());
    let (verdict, reason) = of(&report, 3);
    assert_eq!(verdict, Verdict::InsufficientData, "{reason}");
    assert!(reason.contains("rows of this segment, under the minimum of 1000"), "{reason}");
    let (verdict, reason) = of(&report, 2);
    assert_eq!(verdict, Verdict::InsufficientData, "{reason}");
    assert!(reason.ends_with("rows are under the minimum of 1000"), "{reason}");

    let (mut report, mut counted) = count(&baseline, shifted(), &criteria());
    counted.remove("region=us");
    report.judge_segments(&baseline, &counted).unwrap();
    assert!(
        report.segments.iter().all(|segment| segment.verdict == Verdict::Untrusted),
        "{:?}",
        verdicts(&report)
    );
    assert!(report.segments[0].reason.starts_with("only "), "{}", report.segments[0].reason);
}

#[test]
fn profiles_of_another_baseline_are_refused() {
    let (baseline, mut random) = (baseline(3), SplitMix64::new(1));
    let (mut report, mut counted) = count(&baseline, rows(&mut random, 1000, None), &criteria());
    counted.insert("region=eu".into(), Profile::from_columns(10, Vec::new()));
    report.judge_segments(&baseline, &counted).unwrap_err();
    assert!(report.segments.is_empty());
}

#[test]
fn p_values_of_all_segments_are_one_family() {
    let baseline = baseline_of(3, 30, 3000);
    let report = judge(&baseline, rows(&mut SplitMix64::new(8), 3000, Some(("asia", 1.5))), &criteria());
    let least = report.segments[2]
        .features
        .iter()
        .filter_map(|column| {
            Some((column.p_values[&column.deciding.as_ref()?.statistic], column.p_adjusted?))
        })
        .min_by(|left, right| left.0.total_cmp(&right.0));
    let (raw, adjusted) = least.unwrap();
    // Three segments have enough rows; of their five columns the region itself, which is always the same, is not tested.
    assert!(raw > 0.0 && (adjusted / raw - 12.0).abs() < 1e-9, "{raw} {adjusted}");
}

#[test]
fn calm_segments_stay_within_the_budget() {
    let baseline = baseline(3);
    let mut random = SplitMix64::new(11);
    // Every effect counts, so that only the p-values hold alarms back.
    let criteria = Criteria { psi_floor: 0.0, ks_floor: 0.0, min_rows: 20, ..criteria() };
    let windows = 160;
    let alarms = (0..windows)
        .filter(|_| {
            let report = judge(&baseline, rows(&mut random, BLOCK, None), &criteria);
            assert!(report.segments.len() >= 3);
            report.verdict == Verdict::Drift || report.drifted_segments().next().is_some()
        })
        .count();
    // As many are expected of a budget of one in twenty that is used up.
    assert!(alarms <= 8, "{alarms} of {windows} calm windows raised an alarm");
}

#[test]
fn values_are_placed_by_the_baseline() {
    let held = baseline(2);
    let (columns, misfits) = held.segments_of(&["region".into(), "x".into(), "regoin".into()], 20);
    assert_eq!(columns.len(), 1);
    assert_eq!(columns[0].values(), ["eu", "us"]);
    assert!(
        misfits[0].contains("`x` is numeric") && misfits[1].contains("did you mean `region`?"),
        "{misfits:?}"
    );
    // Without segments, the most frequent categories.
    let (columns, _) = baseline(0).segments_of(&["region".into(), "b".into()], 3);
    assert_eq!(columns[0].values(), ["eu", "us", "asia"]);
    assert_eq!(columns[1].keys()[0].as_ref(), "b=false");
    let kind = FeatureKind::Categorical;
    assert_eq!(SegmentedColumn::new("region", kind, columns[0].values()), columns[0]);
}
