//! Columns of every awkward shape, from values to verdict: what is blind elsewhere must be seen here.

use proptest::prelude::*;

use crate::baseline::{self, Baseline, Blocks, BuildOptions, CutOptions, SourceColumn};
use crate::drift::{Criteria, DriftReport, Losses, Verdict, evaluate};
use crate::model::{Batch, Column, ModelName, Role, Value};
use crate::profile::Profile;
use crate::stats::ks_statistic_sorted;
use crate::window::Window;

fn baseline_of(values: &[Value], cells: usize) -> Baseline {
    let columns = [SourceColumn { name: "x", role: Role::Feature, kind: None, values }];
    let cut = CutOptions { grid_cells: cells, ..CutOptions::default() };
    let model = ModelName::parse("m").unwrap();
    baseline::build(&columns, None, BuildOptions { model, source: "s".into(), cut, joint: false }).unwrap()
}

fn judge(baseline: &Baseline, values: Vec<Value>) -> DriftReport {
    let mut profile = Profile::empty(baseline.layout());
    let rows = values.len();
    let features = vec![Column { name: "x".into(), values }];
    profile.record(baseline.layout(), &Batch { rows, features, outputs: vec![] });
    let start = chrono::DateTime::UNIX_EPOCH;
    let window = Window { start, end: start };
    evaluate(baseline, &profile, Losses::default(), window, &Criteria::default()).unwrap()
}

fn draw(i: u32) -> f64 {
    f64::from(i.wrapping_mul(2_654_435_761) >> 8) / f64::from(1_u32 << 24)
}

/// The values `of` gives, `n` of them, from draws that differ by `seed`.
fn sample(n: u32, seed: u32, of: impl Fn(f64) -> f64) -> Vec<Value> {
    (0..n).map(|i| Value::Number(of(draw(i.wrapping_add(seed))))).collect()
}

type Shape = Box<dyn Fn(f64) -> f64>;

#[test]
fn every_shape_is_calm_without_drift_and_seen_with_it() {
    let shapes: Vec<(&str, Shape, Shape)> = vec![
        ("binary", Box::new(|u| f64::from(u < 0.1)), Box::new(|u| f64::from(u < 0.3))),
        (
            "mostly zero",
            Box::new(|u| if u < 0.9 { 0.0 } else { u }),
            Box::new(|u| if u < 0.7 { 0.0 } else { u }),
        ),
        ("few values", Box::new(|u| (u * 5.0).floor()), Box::new(|u| (u * u * 5.0).floor())),
        (
            "a new value",
            Box::new(|u| (u * 3.0).floor()),
            Box::new(|u| if u < 0.2 { 1.5 } else { (u * 3.0).floor() }),
        ),
        ("even", Box::new(|u| u), Box::new(|u| u * 0.8)),
        ("near the largest", Box::new(|u| u * 1e300), Box::new(|u| u * 1.5e300)),
        ("across the largest", Box::new(|u| (u - 0.5) * 2.0 * f64::MAX), Box::new(|u| u * f64::MAX)),
        ("near the smallest", Box::new(|u| u * 1e-300), Box::new(|u| u * 1.5e-300)),
        ("denormal", Box::new(|u| (u * 400.0).floor() * 5e-324), Box::new(|u| (u * 600.0).floor() * 5e-324)),
        ("far from zero", Box::new(|u| 1e15 + u), Box::new(|u| 1e15 + 0.7 * u)),
        ("heavy tail", Box::new(|u| (1.0 - u).powf(-1.25)), Box::new(|u| 1.5 * (1.0 - u).powf(-1.25))),
        ("constant", Box::new(|_| 7.0), Box::new(|_| 7.5)),
        (
            "infinite",
            Box::new(|u| if u < 0.1 { f64::INFINITY } else { u }),
            Box::new(|u| if u < 0.4 { f64::INFINITY } else { u }),
        ),
        (
            "not a number",
            Box::new(|u| if u < 0.1 { f64::NAN } else { u }),
            Box::new(|u| if u < 0.4 { f64::NAN } else { u }),
        ),
    ];
    for (name, before, after) in shapes {
        let baseline = baseline_of(&sample(20_000, 1, &before), 1000);
        let calm = judge(&baseline, sample(3_000, 777_777, &before));
        assert_eq!(calm.verdict, Verdict::Ok, "{name}: {}", calm.features[0].reason);
        let moved = judge(&baseline, sample(3_000, 777_777, &after));
        assert_eq!(moved.verdict, Verdict::Drift, "{name}: {}", moved.features[0].reason);
        for report in [calm, moved] {
            let feature = &report.features[0];
            assert!(
                feature.statistics.values().chain(feature.p_values.values()).all(|value| value.is_finite())
            );
            let text = serde_json::to_string(&report).unwrap();
            assert_eq!(serde_json::from_str::<DriftReport>(&text).unwrap(), report, "{name}");
        }
    }
}

#[test]
fn what_is_missing_or_mistyped_is_drift_too() {
    let baseline = baseline_of(&sample(20_000, 1, |u| u), 1000);
    for (name, instead) in
        [("missing", Value::Missing), ("text", Value::Text("a".into())), ("opaque", Value::Opaque)]
    {
        let mut values = sample(3_000, 5, |u| u);
        values.iter_mut().step_by(3).for_each(|value| *value = instead.clone());
        let report = judge(&baseline, values);
        assert_eq!(report.verdict, Verdict::Drift, "{name}: {}", report.features[0].reason);
        assert_eq!(report.features[0].missing_current, 1000, "{name}");
    }
}

#[test]
fn a_constant_that_begins_to_move_is_seen_however_small_the_blocks() {
    for (per_block, blocks) in [(48, 268), (10, 100), (500, 30)] {
        let values: Vec<Value> = (0..per_block * blocks).map(|_| Value::Number(0.4)).collect();
        let of_row: Vec<i64> = (0..per_block * blocks).map(|row| row / per_block).collect();
        let columns = [SourceColumn { name: "x", role: Role::Feature, kind: None, values: &values }];
        let model = ModelName::parse("m").unwrap();
        let options = BuildOptions { model, source: "s".into(), cut: CutOptions::default(), joint: false };
        let baseline =
            baseline::build(&columns, Some(Blocks { of_row: &of_row, cycle: None }), options).unwrap();
        let calm = judge(&baseline, vec![Value::Number(0.4); 2600]);
        assert_eq!(calm.verdict, Verdict::Ok, "{}", calm.features[0].reason);
        let moved = judge(&baseline, sample(2600, 1, |u| u));
        assert_eq!(moved.verdict, Verdict::Drift, "{blocks} of {per_block}: {}", moved.features[0].reason);
    }
}

#[test]
fn values_that_were_never_seen_are_named() {
    let colours = |n: u32, new: u32| {
        let name = move |i: u32| match i {
            i if i < new => format!("new {}", i % 3),
            i => ["red", "green", "blue"][i as usize % 3].to_owned(),
        };
        (0..n).map(name).map(Value::Text).collect::<Vec<_>>()
    };
    let report = judge(&baseline_of(&colours(3000, 0), 1000), colours(1000, 200));
    let feature = &report.features[0];
    assert_eq!((report.verdict, feature.statistics["unseen_share"]), (Verdict::Drift, 0.2));
    let unseen: Vec<(&str, u64)> = feature.unseen.iter().map(|u| (u.value.as_str(), u.rows)).collect();
    assert_eq!(unseen, [("new 0", 67), ("new 1", 67), ("new 2", 66)]);
}

fn numbers(values: &[f64]) -> Vec<Value> {
    values.iter().map(|&value| Value::Number(value)).collect()
}

fn values() -> impl Strategy<Value = Vec<f64>> {
    let one = prop_oneof![
        3 => -1e3..1e3_f64,
        2 => (0..6_i32).prop_map(f64::from),
        1 => any::<f64>().prop_filter("finite", |value| value.is_finite()),
    ];
    prop::collection::vec(one, 5..400)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn the_grid_keeps_its_bound_on_ks(reference in values(), current in values(), cells in 5_usize..80) {
        let baseline = baseline_of(&numbers(&reference), cells);
        let column = &baseline.columns()[0];
        let mut distinct = reference.clone();
        distinct.sort_by(f64::total_cmp);
        distinct.dedup_by(|a, b| a.partial_cmp(&b).is_some_and(std::cmp::Ordering::is_eq));
        // Exact up to as many distinct values as cells; otherwise within a cell's share, or a single row's.
        let share = (1.0 / cells as f64).max(1.0 / reference.len() as f64);
        let promised = if distinct.len() <= cells { 0.0 } else { share };
        prop_assert!(column.ks_error_bound <= promised + 1e-12, "bound {}", column.ks_error_bound);
        let report = judge(&baseline, numbers(&current));
        let (mut a, mut b) = (reference.clone(), current.clone());
        a.sort_by(f64::total_cmp);
        b.sort_by(f64::total_cmp);
        let exact = ks_statistic_sorted(&a, &b).unwrap();
        let read = report.features[0].statistics["ks"];
        let bound = report.features[0].statistics["ks_error_bound"];
        prop_assert!(read <= exact + 1e-12, "{read} > {exact}");
        prop_assert!(exact - read <= bound + 1e-12, "{exact} - {read} > {bound}");
    }
}
