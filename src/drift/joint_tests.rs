//! Tests of joint drift from end to end: build, profile, evaluate.

use chrono::{DateTime, TimeDelta};

use super::*;
use crate::baseline::{self, Blocks, BuildOptions, CutOptions, SourceColumn};
use crate::drift::{Criteria, DriftReport, Losses, Verdict, evaluate};
use crate::model::{Batch, Column, Exchange, ModelName, Role, Value};
use crate::profile::{self, PCA_ERROR, SAMPLED_ROWS, mix};
use crate::window::Window;

/// Names, and for each row a value of each.
type Rows = (Vec<&'static str>, Vec<Vec<Value>>);

/// Standard normal draws, by the sum of twelve uniform ones.
struct Draws(u64);

impl Draws {
    fn normal(&mut self) -> f64 {
        let uniform = |state: &mut u64| {
            *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            (mix(*state) >> 11) as f64 / (1_u64 << 53) as f64
        };
        (0..12).map(|_| uniform(&mut self.0)).sum::<f64>() - 6.0
    }
}

/// `x` and `y` have a correlation of `±0.9`, `z` has none with them; all are standard normal.
fn correlated(rows: usize, seed: u64, sign: f64) -> Rows {
    let mut draws = Draws(seed);
    let rows = (0..rows).map(|_| {
        let (x, noise, z) = (draws.normal(), draws.normal(), draws.normal());
        let y = sign * 0.9 * x + (1.0_f64 - 0.81).sqrt() * noise;
        [x, y, z].map(Value::Number).to_vec()
    });
    (vec!["x", "y", "z"], rows.collect())
}

/// Seven independent normal columns, of which the first six are moved.
fn moved(rows: usize, seed: u64, by: f64) -> Rows {
    let mut draws = Draws(seed);
    let rows = (0..rows).map(|_| {
        (0..7).map(|column| Value::Number(draws.normal() + if column < 6 { by } else { 0.0 })).collect()
    });
    (vec!["a", "b", "c", "d", "e", "f", "g"], rows.collect())
}

fn column((_, rows): &Rows, index: usize) -> Vec<Value> {
    rows.iter().map(|row| row[index].clone()).collect()
}

fn build_with(rows: &Rows, joint: bool) -> Baseline {
    build_in(rows, joint, 80)
}

fn build_in(rows: &Rows, joint: bool, blocks: usize) -> Baseline {
    let values: Vec<Vec<Value>> = (0..rows.0.len()).map(|index| column(rows, index)).collect();
    let columns: Vec<SourceColumn<'_>> = rows
        .0
        .iter()
        .zip(&values)
        .map(|(&name, values)| SourceColumn { name, role: Role::Feature, kind: None, values })
        .collect();
    let per_block = rows.1.len().div_ceil(blocks);
    let of_row: Vec<i64> = (0..rows.1.len()).map(|row| i64::try_from(row / per_block).unwrap()).collect();
    let model = ModelName::parse("m").unwrap();
    let options = BuildOptions { model, source: "test".into(), cut: CutOptions::default(), joint };
    let blocks = (blocks > 1).then_some(Blocks { of_row: &of_row, cycle: None });
    baseline::build(&columns, blocks, options).unwrap()
}

fn build(rows: &Rows) -> Baseline {
    build_with(rows, true)
}

/// Exchanges of 1, 2, 3, 1, 2, 3, ... rows.
fn exchanges(rows: &Rows) -> Vec<Exchange> {
    let mut left = rows.1.as_slice();
    let mut sizes = [1, 2, 3].into_iter().cycle();
    let mut exchanges = Vec::new();
    while !left.is_empty() {
        let (some, rest) = left.split_at(sizes.next().unwrap().min(left.len()));
        left = rest;
        let features = rows.0.iter().enumerate().map(|(index, name)| Column {
            name: (*name).into(),
            values: some.iter().map(|row| row[index].clone()).collect(),
        });
        exchanges.push(Exchange {
            id: format!("request-{}", exchanges.len()),
            model: ModelName::parse("m").unwrap(),
            model_version: None,
            event_time: DateTime::UNIX_EPOCH,
            batch: Batch { rows: some.len(), features: features.collect(), outputs: vec![] },
            other_ids: Vec::new(),
        });
    }
    exchanges
}

fn count(baseline: &Baseline, exchanges: &[Exchange]) -> Profile {
    let mut profile = Profile::empty(baseline.layout());
    for exchange in exchanges {
        profile.record_exchange(baseline.layout(), exchange);
    }
    profile
}

fn judge_profile(baseline: &Baseline, profile: &Profile) -> DriftReport {
    let start = DateTime::UNIX_EPOCH;
    let window = Window { start, end: start + TimeDelta::hours(1) };
    evaluate(baseline, profile, Losses::default(), window, &Criteria::default()).unwrap()
}

fn judge(baseline: &Baseline, rows: &Rows) -> DriftReport {
    judge_profile(baseline, &count(baseline, &exchanges(rows)))
}

fn drifted(report: &DriftReport) -> Vec<&str> {
    report.drifted().map(|feature| feature.name.as_str()).collect()
}

#[test]
fn a_correlation_that_turns_is_found_by_the_errors_and_nothing_else() {
    let baseline = build(&correlated(4000, 1, 1.0));
    let errors = baseline.columns().last().unwrap();
    assert_eq!((errors.layout.name.as_str(), errors.layout.role), (PCA_ERROR, Role::Derived));
    assert!(errors.psi_variation.is_some() && errors.ks_variation.is_some());
    let same = judge(&baseline, &correlated(1000, 2, 1.0));
    assert_eq!((drifted(&same), same.verdict), (vec![], Verdict::Ok), "{}", same.reason);
    let turned = judge(&baseline, &correlated(1000, 2, -1.0));
    assert_eq!((drifted(&turned), turned.verdict), (vec![PCA_ERROR], Verdict::Drift));
    let found = turned.features.last().unwrap();
    assert!(found.statistics["psi"] > 1.0 && found.p_adjusted.unwrap() < 0.05, "{:?}", found.statistics);
    assert!(found.natural_variation.is_some());
    // Every mean is where it was.
    assert!(turned.joint.unwrap().domain_auc < 0.6);
    let without = judge(&build_with(&correlated(4000, 1, 1.0), false), &correlated(1000, 2, -1.0));
    assert_eq!((drifted(&without), &without.joint, without.features.len()), (vec![], &None, 3));
}

#[test]
fn a_small_move_of_many_columns_raises_the_area() {
    let baseline = build(&moved(2000, 1, 0.0));
    let same = judge(&baseline, &moved(1000, 2, 0.0)).joint.unwrap();
    assert!((0.4..0.6).contains(&same.domain_auc) && same.p_value > 0.01, "{same:?}");
    assert_eq!((same.rows_reference, same.rows_current), (512, SAMPLED_ROWS));
    let report = judge(&baseline, &moved(1000, 2, 0.4));
    let found = report.joint.unwrap();
    // Six moves of 0.4 are one of 0.98 along their sum, for which the area is Φ(0.98 / √2) = 0.756.
    assert!((0.68..0.83).contains(&found.domain_auc), "{found:?}");
    assert!(found.p_value < 1e-6 && found.standard_error < 0.05, "{found:?}");
    assert_eq!(found.weights.len(), MAX_WEIGHTS);
    assert!(found.weights.iter().all(|column| column.weight > 0.0 && column.name != "g"), "{found:?}");
    assert!(found.weights.is_sorted_by(|a, b| a.weight >= b.weight), "{found:?}");
    assert!(found.reason.contains("independent"), "{}", found.reason);
}

#[test]
fn parts_give_the_report_of_the_whole() {
    let baseline = build(&correlated(1000, 1, 1.0));
    let all = exchanges(&correlated(600, 5, 0.3));
    let whole = count(&baseline, &all);
    let expected = judge_profile(&baseline, &whole);
    assert_eq!(expected.joint.as_ref().unwrap().rows_current, SAMPLED_ROWS);
    let (first, rest) = all.split_at(70);
    let (second, third) = rest.split_at(101);
    for order in [[first, second, third], [third, first, second], [second, third, first]] {
        let mut merged = Profile::empty(baseline.layout());
        for part in order {
            let stored = profile::encode(&count(&baseline, part));
            merged.merge(&profile::decode(baseline.layout(), &stored).unwrap()).unwrap();
        }
        assert_eq!(profile::encode(&merged), profile::encode(&whole));
        assert_eq!(judge_profile(&baseline, &merged), expected);
    }
}

#[test]
fn under_fifty_rows_nothing_is_said() {
    let baseline = build(&correlated(1000, 1, 1.0));
    let small = |rows| judge(&baseline, &correlated(rows, 5, 1.0)).joint.map(|joint| joint.rows_current);
    assert_eq!((small(49), small(50)), (None, Some(50)));
    assert_eq!(judge(&build(&correlated(49, 1, 1.0)), &correlated(100, 5, 1.0)).joint, None);
    let mut unnamed = Profile::empty(baseline.layout());
    for exchange in exchanges(&correlated(100, 5, 1.0)) {
        unnamed.record(baseline.layout(), &exchange.batch);
    }
    assert_eq!((unnamed.rows(), judge_profile(&baseline, &unnamed).joint), (100, None));
}

#[test]
fn documents_keep_joint_drift() {
    let baseline = build(&correlated(1000, 1, 1.0));
    let text = baseline.to_json().unwrap();
    let read = Baseline::from_json(&text).unwrap();
    assert_eq!(read, baseline);
    assert_eq!(read.joint().unwrap().columns, ["x", "y", "z"]);
    let rows = correlated(300, 5, -1.0);
    let report = judge(&read, &rows);
    assert_eq!(report, judge(&baseline, &rows));

    let mut stored = serde_json::to_value(&report).unwrap();
    assert_eq!(serde_json::from_value::<DriftReport>(stored.clone()).unwrap(), report);
    // As an earlier version wrote it.
    assert!(stored.as_object_mut().unwrap().remove("joint").is_some());
    let earlier = serde_json::from_value::<DriftReport>(stored).unwrap();
    assert_eq!(earlier, DriftReport { joint: None, ..report });

    let plain = build_with(&correlated(1000, 1, 1.0), false).to_json().unwrap();
    assert!(!plain.contains("joint") && Baseline::from_json(&plain).unwrap().joint().is_none());
    assert_ne!(read.version(), Baseline::from_json(&plain).unwrap().version());
}

#[test]
fn truth_values_are_zero_and_one() {
    // Two truth values that agree in nine rows of ten, and then differ in nine of ten; both are true half of the time.
    let flags = |rows, seed, agree: bool| {
        let mut draws = Draws(seed);
        let rows = (0..rows).map(|_| {
            let first = draws.normal() > 0.0;
            let second = first == ((draws.normal() < 1.2816) == agree);
            vec![Value::Bool(first), Value::Bool(second), Value::Number(draws.normal())]
        });
        (vec!["p", "q", "z"], rows.collect())
    };
    let baseline = build_in(&flags(4000, 1, true), true, 1);
    assert_eq!(baseline.joint().unwrap().columns, ["p", "q", "z"]);
    let window: Rows = flags(1000, 2, false);
    let report = judge(&baseline, &window);
    assert_eq!(drifted(&report), [PCA_ERROR], "{}", report.reason);
    let numbers = |value: &Value| match value {
        Value::Bool(truth) => Value::Number(f64::from(u8::from(*truth))),
        other => other.clone(),
    };
    let as_numbers: Rows =
        (window.0.clone(), window.1.iter().map(|row| row.iter().map(numbers).collect()).collect());
    assert_eq!(judge(&baseline, &as_numbers), report);
}

#[test]
fn what_is_missing_is_the_mean_and_the_errors_are_still_counted() {
    let baseline = build(&correlated(1000, 1, 1.0));
    let rows = correlated(300, 5, 1.0);
    let errors = |edit: &dyn Fn(&mut Exchange)| {
        let mut all = exchanges(&rows);
        all.iter_mut().for_each(edit);
        let profile = count(&baseline, &all);
        let column = profile.columns().last().unwrap().clone();
        assert_eq!(column.usable() + column.unusable(), 300);
        (column, profile.sample().rows().map(|(_, cells)| cells.to_vec()).collect::<Vec<_>>())
    };
    let (whole, _) = errors(&|_| ());
    let (lacking, sample) = errors(&|exchange| exchange.batch.features.retain(|column| column.name != "y"));
    assert_eq!((lacking.usable(), lacking.missing), (300, 0));
    assert!(lacking != whole);
    let cells = baseline.columns()[1].layout.cut.cells();
    assert!(sample.len() == SAMPLED_ROWS && sample.iter().all(|row| usize::from(row[1]) == cells));
    for odd in [Value::Missing, Value::Number(f64::NAN), Value::Text("1".into()), Value::Bool(true)] {
        let (column, rows) = errors(&|exchange| exchange.batch.features[1].values.fill(odd.clone()));
        assert!((&column, &rows) == (&lacking, &sample), "{odd:?}");
    }
    // A column of the derived one's name in the traffic is not taken for it.
    let (same, _) = errors(&|exchange| {
        exchange
            .batch
            .features
            .push(Column { name: PCA_ERROR.into(), values: vec![Value::Number(9.0); exchange.batch.rows] });
    });
    assert!(same == whole);
    // With nothing to derive it from there is no error, and not one of 0.
    let (none, _) = errors(&|exchange| exchange.batch.features.clear());
    assert_eq!((none.usable(), none.missing), (0, 300));
}

#[test]
fn one_id_for_all_requests_does_not_spoil_the_sample() {
    let baseline = build(&moved(2000, 1, 0.0));
    let (names, rows) = moved(1000, 2, 0.0);
    let mut all: Vec<Exchange> =
        rows.into_iter().flat_map(|row| exchanges(&(names.clone(), vec![row]))).collect();
    for exchange in &mut all {
        exchange.id = "1".into();
    }
    // Were rows of one id told apart by their cells alone, the sample would be those that are lowest.
    let found = judge_profile(&baseline, &count(&baseline, &all)).joint.unwrap();
    assert_eq!(found.rows_current, SAMPLED_ROWS);
    assert!((0.4..0.6).contains(&found.domain_auc) && found.p_value > 1e-3, "{found:?}");
}

#[test]
fn it_is_learned_where_there_is_something_to_learn() {
    let rows = correlated(300, 1, 1.0);
    let baseline = build(&rows);
    assert_eq!(baseline.layout().feature_names(), ["x", "y", "z"]);
    let with = |names: [&'static str; 3], edit: &dyn Fn(&mut Vec<Value>)| {
        let mut changed = (names.to_vec(), rows.1.clone());
        changed.1.iter_mut().for_each(edit);
        build(&changed).joint().map(|joint| joint.columns.clone())
    };
    assert_eq!(with(["x", PCA_ERROR, "z"], &|_| ()), None);
    let text = Value::Text("a".into());
    assert_eq!(with(["x", "y", "z"], &|row| row[1] = text.clone()), Some(vec!["x".into(), "z".into()]));
    assert_eq!(with(["x", "y", "z"], &|row| row[1..].fill(text.clone())), None);
    assert_eq!(with(["x", "y", "z"], &|row| row[1..].fill(Value::Number(1.0))), None, "two constants");
}

#[test]
fn errors_of_other_components_are_not_compared() {
    let (one, other) = (build(&correlated(1000, 1, 1.0)), build(&correlated(1000, 2, -1.0)));
    let of = |profile: &Profile| profile.columns().last().unwrap().usable();
    assert_eq!(of(&baseline::rebin(&one, &one)), 1000);
    let moved = baseline::rebin(&one, &other);
    assert_eq!((of(&moved), moved.columns()[0].usable()), (0, 1000));
    assert!(judge_profile(&one, &moved).features.last().unwrap().verdict != Verdict::Drift);
}

#[test]
fn many_columns_and_few_rows_raise_no_false_alarm() {
    // Counted by the components that they had a part in, errors of the reference were too small, and these all drifted.
    let names: Vec<&'static str> =
        "abcdefghijklmnopqrst".char_indices().map(|(at, _)| &"abcdefghijklmnopqrst"[at..=at]).collect();
    let rows = |rows, seed| -> Rows {
        let mut draws = Draws(seed);
        let row = |_| names.iter().map(|_| Value::Number(draws.normal())).collect();
        (names.clone(), (0..rows).map(row).collect())
    };
    for blocks in [20, 1] {
        let baseline = build_in(&rows(400, 1), true, blocks);
        assert_eq!(baseline.columns().last().unwrap().profile.usable(), 400);
        for seed in 2..5 {
            let report = judge(&baseline, &rows(500, seed));
            let errors = report.features.last().unwrap();
            assert!(errors.p_values["psi"] > 0.01, "{blocks} blocks: {:?}", errors.statistics);
        }
    }
}
