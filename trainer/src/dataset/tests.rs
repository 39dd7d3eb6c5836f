//! Tests of reading, splitting and weighting, on rows that are made up here.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use driftline::model::FeatureKind;
use driftline::retrain::pipeline::DatePart;
use driftline::retrain::spec::{ClassWeights, DateSpec, Duplicates, GoodEnough, LeakageAction};
use driftline::retrain::{Source, Task};
use driftline::stats::random::SplitMix64;
use serde_json::{Value as Json, json};

use super::*;
use crate::journal::{Event, Stop};

/// A specification of rows in files with numeric features `a` and `b`.
fn spec(change: impl Fn(&mut TrainingSpec)) -> TrainingSpec {
    let mut spec: TrainingSpec = serde_json::from_value(json!({
        "model": "m", "task": "regression", "target": "y", "min_labels": 1, "artifacts": "artifacts",
        "source": {"file": {"path": "rows.csv", "time_column": "t"}},
    }))
    .unwrap();
    change(&mut spec);
    spec
}

/// Rows an hour apart: `a` and `b` are noise, the target is what `target` says.
fn raw(rows: usize, target: impl Fn(usize) -> Value) -> Raw {
    let mut random = SplitMix64::new(1);
    let mut column = |name: &str| {
        let values = (0..rows).map(|_| Value::Number(random.below(1_000_000) as f64)).collect();
        Column { name: name.into(), values }
    };
    Raw {
        features: ["a", "b"].map(|name| FeatureSpec::new(name, FeatureKind::Numeric)).to_vec(),
        columns: vec![column("a"), column("b")],
        targets: (0..rows).map(target).collect(),
        times: (0..rows)
            .map(|row| DateTime::UNIX_EPOCH + TimeDelta::hours(i64::try_from(row).unwrap()))
            .collect(),
        ..Raw::default()
    }
}

fn number(row: usize) -> Value {
    Value::Number(row as f64)
}

fn class(row: usize) -> Value {
    Value::Number((row % 4 / 3) as f64)
}

fn finished(spec: &TrainingSpec, raw: &Raw) -> (Result<Dataset, Halt>, Vec<String>) {
    let (journal, mut events) = Journal::new(Stop::default());
    let finished = finish(spec, raw, &journal);
    let mut said = Vec::new();
    while let Ok(Event::Line { message, .. }) = events.try_recv() {
        said.push(message);
    }
    (finished, said)
}

#[track_caller]
fn fails(spec: &TrainingSpec, raw: &Raw, expected: &str) {
    let problem = finished(spec, raw).0.unwrap_err().to_string();
    assert!(problem.contains(expected), "{problem:?} does not contain {expected:?}");
}

fn sizes(dataset: &Dataset) -> [usize; 4] {
    dataset.split.parts().map(|part| part.end - part.start)
}

#[test]
fn parts_go_forward_in_time() {
    let dataset = finished(&spec(|_| ()), &raw(100, number)).0.unwrap();
    assert_eq!(sizes(&dataset), [60, 20, 0, 20]);
    assert!(dataset.targets.is_sorted(), "the newest rows are held out");
    let classes = spec(|spec| spec.task = Task::Binary);
    let dataset = finished(&classes, &raw(100, class)).0.unwrap();
    assert_eq!(sizes(&dataset), [55, 20, 5, 20], "probabilities are calibrated");
    assert!(dataset.times.is_sorted());
    fails(&spec(|_| ()), &raw(2, number), "2 rows are too few to split into three parts");
    fails(&spec(|_| ()), &raw(1, number), "1 rows are too few to split into three parts");
}

#[test]
fn no_entity_is_in_two_parts() {
    let mut rows = raw(600, number);
    // Forty customers, a new one every 15 rows, each of whom comes back later.
    rows.entities = (0..600)
        .map(|row| Value::Text(format!("customer {}", if row % 3 == 0 { row / 30 } else { row / 15 })))
        .collect();
    for has_times in [true, false] {
        if !has_times {
            rows.times.clear();
        }
        let (order, split) = split::split(&spec(|_| ()), &vec![0.0; 600], &rows).unwrap();
        let name = |place: usize| format!("{:?}", rows.entities[order[place]]);
        let parts = split.parts().map(|part| part.map(name).collect::<BTreeSet<_>>());
        for (index, part) in parts.iter().enumerate() {
            assert!(parts[index + 1..].iter().all(|other| part.is_disjoint(other)), "{parts:?}");
        }
        assert!((300..420).contains(&split.train.len()), "{split:?}");
        assert!((60..180).contains(&split.test.len()), "{split:?}");
    }
    rows.entities = vec![Value::Text("one".into()); 600];
    let entity = spec(|spec| spec.data.entity = Some("customer".into()));
    fails(&entity, &rows, "1 values of the entity `customer` are too few");
    rows.entities = vec![Value::Missing; 600];
    assert!(finished(&entity, &rows).0.is_ok(), "rows without a name are not of one entity");
}

#[test]
fn without_times_every_part_is_alike_in_the_target() {
    let mut rows = raw(1_000, |row| Value::Number(f64::from(u8::from(row < 100))));
    rows.times.clear();
    let binary = spec(|spec| spec.task = Task::Binary);
    let dataset = finished(&binary, &rows).0.unwrap();
    for part in dataset.split.parts() {
        let share = dataset.targets[part.clone()].iter().sum::<f64>() / part.len() as f64;
        assert!((share - 0.1).abs() < 0.01, "{share} in {part:?}");
    }
    let mut rows = raw(1_000, number);
    rows.times.clear();
    let dataset = finished(&spec(|_| ()), &rows).0.unwrap();
    assert_eq!(sizes(&dataset), [600, 200, 0, 200]);
    let mean = dataset.targets[dataset.split.test.clone()].iter().sum::<f64>() / 200.0;
    assert!((mean - 500.0).abs() < 20.0, "{mean}");
    let other = finished(&spec(|spec| spec.seed = 1), &rows).0.unwrap();
    assert_ne!(other.targets, dataset.targets, "the seed decides");
    assert_eq!(finished(&spec(|_| ()), &rows).0.unwrap(), dataset);
}

#[test]
fn no_test_row_is_in_training() {
    let mut rows = raw(500, |row| Value::Number((row % 5) as f64));
    rows.times.clear();
    for column in &mut rows.columns {
        column.values = (0..500_usize).map(|row| Value::Number((row % 50) as f64)).collect();
    }
    let key = |dataset: &Dataset, row: usize| {
        format!("{:?} {}", dataset.columns[0].values[row], dataset.targets[row])
    };
    for (duplicates, clean, most) in
        [(Duplicates::Keep, false, 500), (Duplicates::Split, true, 499), (Duplicates::Drop, true, 50)]
    {
        let (dataset, said) = finished(&spec(|spec| spec.data.duplicates = duplicates), &rows);
        assert!(said[0].contains("450 rows repeat another one"), "{said:?}");
        match dataset {
            Ok(dataset) => {
                let [train, _, _, test] = dataset.split.parts();
                let held: BTreeSet<String> = test.map(|row| key(&dataset, row)).collect();
                assert_eq!(
                    train.clone().all(|row| !held.contains(&key(&dataset, row))),
                    clean,
                    "{duplicates:?}"
                );
                assert!(dataset.rows() <= most, "{duplicates:?}: {}", dataset.rows());
            }
            // All that is left may be held out.
            Err(halt) => assert!(clean && halt.to_string().contains("part has no rows"), "{halt}"),
        }
    }
    assert!(
        finished(&spec(|_| ()), &raw(100, number)).1.is_empty(),
        "the same values at another time are not said"
    );
}

#[test]
fn a_window_slides_and_old_rows_fade() {
    let rows = raw(24 * 20, number);
    let sliding = spec(|spec| spec.data.window_days = Some(10.0));
    let dataset = finished(&sliding, &rows).0.unwrap();
    assert_eq!(dataset.rows(), 241, "ten days and the hour they end with");
    let fading = spec(|spec| spec.data.half_life_days = Some(2.0));
    let (dataset, said) = finished(&fading, &rows);
    let dataset = dataset.unwrap();
    let of_train = &dataset.weights[dataset.split.train.clone()];
    assert!((of_train[48] / of_train[0] - 2.0).abs() < 1e-9, "two days later counts twice");
    assert!((of_train.iter().sum::<f64>() / of_train.len() as f64 - 1.0).abs() < 1e-9);
    assert!(
        dataset.weights[dataset.split.validation.clone()].iter().all(|weight| (weight - 1.0).abs() < 1e-9)
    );
    assert!(said[0].contains("count half as much every 2 days"), "{said:?}");
    let mut timeless = raw(100, number);
    timeless.times.clear();
    fails(&sliding, &timeless, "data.window_days needs times");
    fails(&fading, &timeless, "data.half_life_days needs times");
}

#[test]
fn classes_and_columns_weigh_rows() {
    let mut binary = spec(|spec| {
        spec.task = Task::Binary;
        spec.data.class_weights = ClassWeights::Balanced;
    });
    let dataset = finished(&binary, &raw(400, class)).0.unwrap();
    for part in [dataset.split.train.clone(), dataset.split.validation.clone()] {
        let of_ones: f64 = part.clone().map(|row| dataset.weights[row] * dataset.targets[row]).sum();
        assert!((of_ones / part.len() as f64 - 0.5).abs() < 0.02, "{of_ones} of {part:?}");
    }
    binary.data.class_weights = ClassWeights::Given([("1".to_owned(), 4.0)].into());
    let dataset = finished(&binary, &raw(400, class)).0.unwrap();
    assert!((dataset.weights[3] / dataset.weights[0] - 4.0).abs() < 1e-9);
    binary.data.class_weights = ClassWeights::Given([("yes".to_owned(), 4.0)].into());
    fails(&binary, &raw(400, class), "`y` has no class `yes`; it has 0, 1");
    let regression = spec(|spec| spec.data.class_weights = ClassWeights::Balanced);
    fails(&regression, &raw(100, number), "a regression has none");

    let column = spec(|spec| spec.data.sample_weight = Some("w".into()));
    let mut rows = raw(100, number);
    rows.weights = (0..100_usize).map(|row| Value::Number((row % 2 * 3) as f64)).collect();
    let dataset = finished(&column, &rows).0.unwrap();
    assert!(dataset.weights[0] <= 0.0 && (dataset.weights[1] - 2.0).abs() < 1e-9);
    rows.weights[7] = Value::Number(-1.0);
    fails(&column, &rows, "Number(-1.0) in column `w` is not a number of 0 or more");
    rows.weights = vec![Value::Number(0.0); 100];
    fails(&column, &rows, "add up to nothing");
}

#[test]
fn half_of_the_targets_missing_is_said() {
    let (dataset, said) =
        finished(&spec(|_| ()), &raw(200, |row| if row % 2 == 0 { number(row) } else { Value::Missing }));
    assert_eq!(dataset.unwrap().rows(), 100);
    assert!(said[0].contains("100 rows without a usable `y` are left out (50 % of 200)"), "{said:?}");
    fails(&spec(|_| ()), &raw(9, |_| Value::Missing), "0 labelled rows, at least 1 are needed");
    fails(
        &spec(|spec| spec.min_labels = 101),
        &raw(100, number),
        "100 labelled rows, at least 101 are needed",
    );
}

#[test]
fn several_classes_have_names() {
    let several = spec(|spec| spec.task = Task::Multiclass);
    let name = |row: usize| Value::Text(["red", "green", "blue"][row % 3].to_owned());
    let dataset = finished(&several, &raw(90, name)).0.unwrap();
    assert_eq!(dataset.classes, ["blue", "green", "red"]);
    assert_eq!(dataset.targets[..3], [2.0, 1.0, 0.0]);
    let dataset = finished(&several, &raw(90, |row| Value::Number((row % 3 * 5) as f64))).0.unwrap();
    assert_eq!(dataset.classes, ["0", "5", "10"], "numbers by number");
    let late = |row: usize| Value::Text(if row < 85 { ["a", "b"][row % 2] } else { "late" }.to_owned());
    let (dataset, said) = finished(&several, &raw(90, late));
    assert!(dataset.is_ok());
    assert!(said[0].contains("no training row has `y` = late"), "{said:?}");
    let one = |_: usize| Value::Text("only".to_owned());
    fails(
        &several,
        &raw(90, one),
        "every one of the 49 training rows has `y` = only; two or more classes are needed",
    );
    fails(&several, &raw(3_000, |row| Value::Text(row.to_string())), "has more than 1000 classes");
    let binary = spec(|spec| spec.task = Task::Binary);
    fails(
        &binary,
        &raw(90, |_| Value::Number(1.0)),
        "every one of the 49 training rows has `y` = 1; both classes",
    );
    fails(
        &binary,
        &raw(90, name),
        "is not 0, 1, false or true; a target of more classes has task `multiclass`",
    );
}

#[test]
fn a_feature_that_tells_the_target_is_refused_or_warned_of() {
    let leaks = |change: &dyn Fn(&mut TrainingSpec), raw: &Raw| {
        let spec = spec(change);
        let dataset = finished(&spec, raw).0.unwrap();
        let (journal, mut events) = Journal::new(Stop::default());
        let checked = check_leakage(&spec, &dataset, &journal);
        (checked, events.try_recv().is_ok())
    };
    let honest = raw(1_000, |row| Value::Number((row * 7_919 % 1_000) as f64));
    assert_eq!(leaks(&|_| (), &honest), (Ok(()), false));
    // A line that goes on beyond what training saw, a name for each class, and a step of a number.
    let mut line = raw(1_000, number);
    line.columns[1].values = (0..1_000_usize).map(|row| Value::Number(3.0 - 2.0 * row as f64)).collect();
    let (checked, _) = leaks(&|_| (), &line);
    let said = checked.unwrap_err().to_string();
    assert!(said.contains("`b` (100.00 %) alone explains almost all of `y`"), "{said}");
    let warn = |spec: &mut TrainingSpec| spec.data.leakage.action = Some(LeakageAction::Warn);
    assert_eq!(leaks(&warn, &line), (Ok(()), true));
    let ignore = |spec: &mut TrainingSpec| spec.data.leakage.action = Some(LeakageAction::Ignore);
    assert_eq!(leaks(&ignore, &line), (Ok(()), false));
    let captured = |spec: &mut TrainingSpec| spec.source = Source::Captured;
    assert_eq!(leaks(&captured, &line), (Ok(()), true), "what was asked with was known before the label");
    let binary = |spec: &mut TrainingSpec| spec.task = Task::Binary;
    let mut step = raw(1_000, class);
    step.columns[0].values =
        (0..1_000).map(|row| Value::Number(if row % 4 == 3 { 9.0 } else { 2.0 })).collect();
    assert!(leaks(&binary, &step).0.unwrap_err().to_string().contains("`a`"));
    step.features[1].kind = FeatureKind::Categorical;
    step.columns[0].values = vec![Value::Missing; 1_000];
    step.columns[1].values = (0..1_000).map(|row| Value::Text(format!("class {}", row % 4))).collect();
    assert!(leaks(&binary, &step).0.unwrap_err().to_string().contains("`b`"));
}

#[test]
fn the_time_of_the_prediction_is_a_column_where_dates_ask_for_it() {
    let dates = spec(|spec| {
        spec.features.dates = vec![DateSpec { column: None, parts: vec![DatePart::Hour] }];
    });
    let dataset = finished(&dates, &raw(100, number)).0.unwrap();
    let column = dataset.columns.iter().find(|column| column.name == EVENT_TIME).unwrap();
    assert_eq!(column.values[1], Value::Number(3_600.0));
    assert!(dataset.features.iter().all(|feature| feature.name != EVENT_TIME), "it is no feature of its own");
    let mut timeless = raw(100, number);
    timeless.times.clear();
    fails(&dates, &timeless, "the source has none");
}

#[test]
fn a_snapshot_names_rows_and_weights() {
    let hash = |spec: &TrainingSpec, raw: &Raw| finished(spec, raw).0.unwrap().snapshot(spec).hash;
    let plain = spec(|_| ());
    assert_eq!(hash(&plain, &raw(100, number)), hash(&plain, &raw(100, number)));
    assert_ne!(
        hash(&plain, &raw(100, number)),
        hash(&plain, &raw(100, |row| Value::Number(row as f64 + 1.0)))
    );
    let good = GoodEnough { metric: "r2".into(), value: 0.9 };
    let other = spec(|spec| spec.simple.good_enough = Some(good.clone()));
    assert_eq!(hash(&plain, &raw(100, number)), hash(&other, &raw(100, number)), "not what is made of them");
}

#[test]
fn rows_of_a_query_are_told_apart_by_their_columns() {
    let mut fetched = read::Fetched::default();
    for row in 0..20 {
        let mut object = json!({"t": format!("2024-01-01T00:00:{row:02}Z"), "a": row, "y": row * 2, "w": 1});
        if row == 7 {
            object["late"] = json!("x");
        }
        let Json::Object(object) = object else { unreachable!() };
        fetched.push(&object);
    }
    let query = spec(|spec| {
        spec.source = serde_json::from_value(json!({"query": {
            "sql": "select 1", "connection": {"env": "X"}, "time_column": "t"}}))
        .unwrap();
        spec.data.sample_weight = Some("w".into());
    });
    let (journal, _events) = Journal::new(Stop::default());
    let dataset = build(&query, Rows::Fetched(fetched), &journal).unwrap();
    let names: Vec<&str> = dataset.features.iter().map(|feature| feature.name.as_str()).collect();
    assert_eq!((dataset.rows(), names), (20, vec!["a", "late"]));
    let late = dataset.columns.iter().find(|column| column.name == "late").unwrap();
    assert_eq!(late.values[6..9], [Value::Missing, Value::Text("x".into()), Value::Missing]);
    let empty = build(&query, Rows::Fetched(read::Fetched::default()), &journal).unwrap_err();
    assert!(empty.to_string().contains("no rows"));
}
