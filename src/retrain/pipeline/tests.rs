//! Tests of the pipeline: every type of value through every step, and properties over any value at all.

use proptest::prelude::*;

use super::*;

fn quantiles(knots: &[f64]) -> Step {
    let Step::Numeric { name, mean, scale, .. } = Step::standard("q", 0.0, 1.0) else { unreachable!() };
    Step::Numeric { name, mean, scale, missing: 0.25, knots: knots.to_vec(), indicator: true }
}

fn interaction(of: Combination) -> Step {
    let name = format!("x{}y", of.sign());
    Step::Interaction { of, left: "x".into(), right: "y".into(), name, mean: 1.0, scale: 2.0 }
}

fn pipeline() -> Pipeline {
    Pipeline {
        steps: vec![
            Step::standard("x", 2.0, 4.0),
            Step::OneHot {
                name: "c".into(),
                kind: FeatureKind::Categorical,
                levels: vec!["a".into(), "3".into()],
            },
            Step::standard("constant", 7.0, 0.0),
            Step::OneHot { name: "b".into(), kind: FeatureKind::Boolean, levels: vec!["true".into()] },
        ],
    }
}

/// Every kind of step; `x` and `y` are read by interactions too.
fn wide() -> Pipeline {
    let mut pipeline = pipeline();
    pipeline.steps.extend([
        quantiles(&[-1.0, 0.0, 0.0, 5.0]),
        Step::Embedded {
            name: "e".into(),
            levels: ["1", "a", "b", "true"].map(str::to_owned).to_vec(),
            common: vec![2, 0],
        },
        Step::Date { name: "t".into(), parts: vec![DatePart::Hour, DatePart::Month] },
        interaction(Combination::Product),
        interaction(Combination::Ratio),
    ]);
    pipeline
}

fn one(name: &str, value: Value) -> Vec<Column> {
    vec![Column { name: name.into(), values: vec![value] }]
}

#[track_caller]
fn check(name: &str, value: Value, expected: [f64; 5]) {
    let shown = format!("{name} = {value:?}");
    let encoded = pipeline().encode(1, &one(name, value));
    assert_eq!(encoded.numbers.row(0).to_vec(), expected, "{shown}");
    assert_eq!(encoded.codes.dim(), (1, 0));
}

#[test]
fn encodes_every_type_of_value() {
    let zero = [0.0; 5];
    check("x", Value::Number(4.0), [0.5, 0.0, 0.0, 0.0, 0.0]);
    for value in [Value::Missing, Value::Number(f64::NAN), Value::Text("4".into()), Value::Opaque] {
        check("x", value, zero);
    }
    check("x", Value::Number(f64::INFINITY), zero);
    check("c", Value::Text("a".into()), [0.0, 1.0, 0.0, 0.0, 0.0]);
    check("c", Value::Number(3.0), [0.0, 0.0, 1.0, 0.0, 0.0]);
    check("c", Value::Text("unseen".into()), zero);
    check("c", Value::Missing, zero);
    check("constant", Value::Number(1e300), zero);
    check("b", Value::Bool(true), [0.0, 0.0, 0.0, 0.0, 1.0]);
    check("b", Value::Number(1.0), [0.0, 0.0, 0.0, 0.0, 1.0]);
    check("b", Value::Text("maybe".into()), zero);
    check("not a feature", Value::Number(1.0), zero);
}

/// The cells of the only step.
#[track_caller]
fn cells(step: &Step, columns: &[Column], expected: &[f64]) {
    let encoded = Pipeline { steps: vec![step.clone()] }.encode(1, columns).numbers;
    let close = encoded.len() == expected.len()
        && encoded.iter().zip(expected).all(|(got, want)| (got - want).abs() < 1e-12);
    assert!(close, "{step:?} of {columns:?}: {encoded}, not {expected:?}");
}

#[test]
fn quantiles_are_those_of_scikit_learn() {
    // QuantileTransformer of scikit-learn 1.7.2 with quantiles_ = [-1, 0, 0, 5], references_ = linspace(0, 1, 4).
    let knots = [-1.0, 0.0, 0.0, 5.0];
    for (x, share) in
        [(-9.0, 0.0), (-1.0, 0.0), (-0.5, 1.0 / 6.0), (0.0, 0.5), (2.5, 5.0 / 6.0), (5.0, 1.0), (6.0, 1.0)]
    {
        let expected = (share - 0.5) * 12.0_f64.sqrt();
        cells(&quantiles(&knots), &one("q", Value::Number(x)), &[expected, 0.0]);
    }
    cells(&quantiles(&knots), &one("q", Value::Missing), &[0.25, 1.0]);
    cells(&quantiles(&knots), &[], &[0.25, 1.0]);
    let widest = quantiles(&[-f64::MAX, f64::MAX]);
    cells(&widest, &one("q", Value::Number(f64::MAX / 2.0)), &[0.25 * 12.0_f64.sqrt(), 0.0]);
    cells(&widest, &one("q", Value::Number(0.0)), &[0.0, 0.0]);
}

#[test]
fn dates_become_points_on_circles() {
    let step = Step::Date { name: "t".into(), parts: vec![DatePart::Hour, DatePart::Weekday] };
    // 1970-01-01 was a Thursday.
    let angle = std::f64::consts::TAU * 3.0 / 7.0;
    let expected = [1.0, 0.0, angle.sin(), angle.cos()];
    cells(&step, &one("t", Value::Text("1970-01-01T06:00:00Z".into())), &expected);
    cells(&step, &one("t", Value::Number(21_600.0)), &expected);
    for value in [Value::Text("soon".into()), Value::Missing, Value::Number(f64::MAX), Value::Bool(true)] {
        cells(&step, &one("t", value), &[0.0; 4]);
    }
}

#[test]
fn pairs_are_combined_before_they_are_scaled() {
    let pair = |x: f64, y: f64| {
        let column = |name: &str, number| Column { name: name.into(), values: vec![Value::Number(number)] };
        vec![column("y", y), column("x", x)]
    };
    cells(&interaction(Combination::Product), &pair(3.0, 5.0), &[7.0]);
    cells(&interaction(Combination::Ratio), &pair(6.0, 2.0), &[1.0]);
    cells(&interaction(Combination::Ratio), &pair(6.0, 0.0), &[0.0]);
    cells(&interaction(Combination::Product), &pair(f64::MAX, f64::MAX), &[0.0]);
    cells(&interaction(Combination::Product), &one("x", Value::Number(3.0)), &[0.0]);
}

#[test]
fn many_levels_become_codes_and_the_commonest_columns_too() {
    let encode = |value: Value| {
        let encoded = Pipeline { steps: vec![wide().steps[5].clone()] }.encode(1, &one("e", value));
        (encoded.codes[[0, 0]], encoded.numbers.row(0).to_vec())
    };
    assert_eq!(encode(Value::Text("b".into())), (3, vec![1.0, 0.0]));
    assert_eq!(encode(Value::Number(1.0)), (1, vec![0.0, 1.0]));
    assert_eq!(encode(Value::Text("a".into())), (2, vec![0.0, 0.0]));
    assert_eq!(encode(Value::Bool(true)), (4, vec![0.0, 0.0]));
    for value in [Value::Text("unseen".into()), Value::Missing, Value::Number(f64::NAN), Value::Opaque] {
        assert_eq!(encode(value), (0, vec![0.0, 0.0]));
    }
    assert_eq!(wide().cardinalities(), [5]);
}

#[test]
fn names_follow_the_columns() {
    assert_eq!(pipeline().column_names(), ["x", "c=a", "c=3", "constant", "b=true"]);
    let names = wide().column_names();
    assert_eq!(names.len(), wide().width());
    assert_eq!(names[5..9], ["q", "q is missing", "e=b", "e=1"]);
    assert_eq!(names[9..], ["t hour sin", "t hour cos", "t month sin", "t month cos", "x*y", "x/y"]);
}

#[test]
fn raw_features_are_named_once_and_times_apart() {
    let pipeline = wide();
    let names: Vec<&str> = pipeline.features().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["x", "c", "constant", "b", "q", "e", "y"]);
    assert_eq!(pipeline.time_columns(), ["t"]);
}

#[test]
fn a_pipeline_of_the_first_format_still_reads() {
    let text = r#"{"steps": [{"step": "numeric", "name": "x"},
                   {"step": "one_hot", "name": "c", "kind": "categorical", "levels": ["a"]}]}"#;
    let mut read: Pipeline = serde_json::from_str(text).unwrap();
    assert!(read.steps[0].set_numbers(&[1.0, 2.0]) && read.steps[1].set_numbers(&[]));
    assert!(!read.steps[0].set_numbers(&[1.0]) && !read.steps[1].set_numbers(&[1.0]));
    assert_eq!(read.steps[0], Step::standard("x", 1.0, 2.0));
    let written = serde_json::to_string(&read).unwrap();
    assert!(written.contains(r#"{"step":"numeric","name":"x"}"#), "the same bytes as before: {written}");
}

#[test]
fn a_damaged_pipeline_is_named() {
    for (step, expected) in [
        (quantiles(&[1.0, 0.0]), "quantiles"),
        (quantiles(&[f64::NAN]), "quantiles"),
        (Step::standard("x", f64::NAN, 1.0), "mean or scale"),
        (
            Step::Embedded { name: "e".into(), levels: vec!["b".into(), "a".into()], common: vec![] },
            "in order",
        ),
        (Step::Embedded { name: "e".into(), levels: vec!["a".into()], common: vec![1] }, "does not have"),
    ] {
        let (_, problem) = Pipeline { steps: vec![step] }.problem().unwrap();
        assert!(problem.contains(expected), "{problem}");
    }
    assert_eq!(wide().problem(), None);
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Missing),
        Just(Value::Opaque),
        any::<f64>().prop_map(Value::Number),
        (-10.0..10.0).prop_map(Value::Number),
        any::<bool>().prop_map(Value::Bool),
        "[a-c3]{0,2}".prop_map(Value::Text),
        "(1970|2024)-(0|1)[0-9]-[0-3][0-9]".prop_map(Value::Text),
    ]
}

proptest! {
    #[test]
    fn every_cell_is_finite_and_every_code_known(
        values in prop::collection::vec(prop::collection::vec(value(), 0..6), 7),
        rows in 0_usize..6,
    ) {
        let names = ["x", "y", "c", "b", "q", "e", "t"];
        let columns: Vec<Column> = names
            .iter()
            .zip(values)
            .map(|(name, values)| Column { name: (*name).into(), values })
            .collect();
        prop_assert_eq!(wide().groups().iter().sum::<usize>(), wide().width());
        let encoded = wide().encode(rows, &columns);
        prop_assert_eq!(encoded.numbers.dim(), (rows, wide().width()));
        prop_assert_eq!(encoded.codes.dim(), (rows, 1));
        prop_assert!(encoded.numbers.iter().all(|cell| cell.is_finite()));
        prop_assert!(encoded.codes.iter().all(|&code| code < 5));
        // A row is encoded alike alone and among others.
        for row in 0..rows {
            let alone: Vec<Column> = columns
                .iter()
                .map(|column| Column {
                    name: column.name.clone(),
                    values: column.values.get(row).cloned().into_iter().collect(),
                })
                .collect();
            let alone = wide().encode(1, &alone);
            prop_assert_eq!(alone.numbers.row(0), encoded.numbers.row(row));
            prop_assert_eq!(alone.codes.row(0), encoded.codes.row(row));
        }
    }

    #[test]
    fn a_larger_number_is_never_placed_below(a in any::<f64>(), b in any::<f64>(), cuts in prop::collection::vec(-1e3..1e3, 2..9)) {
        let mut knots = cuts;
        knots.sort_by(f64::total_cmp);
        let pipeline = Pipeline { steps: vec![quantiles(&knots)] };
        let cell = |x: f64| pipeline.encode(1, &one("q", Value::Number(x))).numbers[[0, 0]];
        if a.is_finite() && b.is_finite() && a <= b {
            prop_assert!(cell(a) <= cell(b) + 1e-12);
        }
    }

    #[test]
    fn a_step_takes_back_its_numbers(knots in prop::collection::vec(-1e3..1e3, 0..9)) {
        let stored = quantiles(&knots);
        let mut step: Step = serde_json::from_str(&serde_json::to_string(&stored).unwrap()).unwrap();
        prop_assert!(step.set_numbers(&stored.numbers()));
        prop_assert_eq!(step, stored);
    }
}
