//! Tests of the fitting, by value and over any column at all.

use driftline::model::{Column, FeatureKind, Value};
use driftline::retrain::pipeline::{DatePart, MAX_LEVELS, Pipeline, Step};
use driftline::retrain::spec::{DateSpec, FeatureSpec, FeaturesSpec, Imputation, InteractionSpec, Scaling};

use super::*;
use crate::journal::{Event, Stop};

fn column(name: &str, values: &[Value]) -> Column {
    Column { name: name.into(), values: values.to_vec() }
}

fn numbers(numbers: &[f64]) -> Vec<Value> {
    numbers.iter().map(|&number| Value::Number(number)).collect()
}

/// The pipeline and what was said.
fn fitted(
    spec: &FeaturesSpec,
    features: &[(&str, FeatureKind)],
    columns: &[Column],
) -> (Result<Pipeline, Halt>, Vec<String>) {
    let (journal, mut events) = Journal::new(Stop::default());
    let features: Vec<FeatureSpec> =
        features.iter().map(|(name, kind)| FeatureSpec::new(*name, *kind)).collect();
    let pipeline = fit(spec, &features, columns, 1, &journal);
    let mut said = Vec::new();
    while let Ok(Event::Line { message, .. }) = events.try_recv() {
        said.push(message);
    }
    (pipeline, said)
}

fn plain(features: &[(&str, FeatureKind)], columns: &[Column]) -> Pipeline {
    fitted(&FeaturesSpec::default(), features, columns).0.unwrap()
}

#[test]
fn numbers_are_imputed_with_the_mean_of_the_training_part() {
    let values = [Value::Number(1.0), Value::Missing, Value::Number(3.0), Value::Number(f64::NAN)];
    let pipeline = plain(&[("x", FeatureKind::Numeric)], &[column("x", &values)]);
    assert_eq!(pipeline.steps, [Step::standard("x", 2.0, 1.0)]);
}

#[test]
fn medians_ranges_and_indicators_are_fitted_when_asked_for() {
    let values = [numbers(&[0.0, 1.0, 2.0, 8.0, 4.0]), vec![Value::Missing]].concat();
    let spec = FeaturesSpec {
        imputation: Imputation::Median,
        scaling: Scaling::MinMax,
        indicator: true,
        ..FeaturesSpec::default()
    };
    let columns = [column("x", &values), column("full", &numbers(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]))];
    let kinds = [("x", FeatureKind::Numeric), ("full", FeatureKind::Numeric)];
    let pipeline = fitted(&spec, &kinds, &columns).0.unwrap();
    assert_eq!(
        pipeline.column_names(),
        ["x", "x is missing", "full"],
        "no indicator of what is never missing"
    );
    let encoded = pipeline.encode(6, &columns).numbers;
    assert_eq!(encoded.row(3).to_vec(), [1.0, 0.0, 0.6]);
    assert_eq!(encoded.row(5).to_vec(), [0.25, 1.0, 1.0], "the median is 2 of 0 to 8");
}

#[test]
fn quantiles_spread_a_heavy_tail_evenly() {
    let values: Vec<f64> = (0..1_000).map(|row| (f64::from(row) / 40.0).exp()).collect();
    let spec = FeaturesSpec { scaling: Scaling::Quantile, ..FeaturesSpec::default() };
    let columns = [column("x", &numbers(&values))];
    let pipeline = fitted(&spec, &[("x", FeatureKind::Numeric)], &columns).0.unwrap();
    let encoded = pipeline.encode(1_000, &columns).numbers;
    let (mean, scale) = moments(&encoded.iter().copied().collect::<Vec<_>>()).unwrap();
    assert!(mean.abs() < 0.01 && (scale - 1.0).abs() < 0.01, "{mean}, {scale}");
}

#[test]
fn a_constant_column_is_zero_and_an_empty_one_is_left_out_aloud() {
    let columns = [column("k", &numbers(&[0.1; 10])), column("none", &vec![Value::Missing; 10])];
    let kinds = [("k", FeatureKind::Numeric), ("none", FeatureKind::Categorical)];
    for scaling in [Scaling::Standard, Scaling::MinMax, Scaling::Quantile] {
        let spec = FeaturesSpec { scaling, ..FeaturesSpec::default() };
        let (pipeline, said) = fitted(&spec, &kinds, &columns);
        let pipeline = pipeline.unwrap();
        assert_eq!(pipeline.width(), 1);
        assert!(pipeline.encode(10, &columns).numbers.iter().all(|&cell| cell.abs() <= 0.0));
        assert!(said[0].contains("feature `k` is 0.1 wherever it has a number"), "{said:?}");
        assert!(said[1].contains("`none` has no usable categorical value"), "{said:?}");
    }
    let nothing = fitted(&FeaturesSpec::default(), &kinds[1..], &columns).0.unwrap_err();
    assert!(matches!(nothing, Halt::Failed(_)));
}

#[test]
fn the_commonest_levels_get_a_column_and_the_others_a_code() {
    let mut values: Vec<Value> = (0..200).map(|i| Value::Text(format!("rare{:03}", i / 2))).collect();
    values.extend(vec![Value::Text("zz".into()); 5]);
    values.push(Value::Text("once".into()));
    let columns = [column("c", &values)];
    let pipeline = plain(&[("c", FeatureKind::Categorical)], &columns);
    assert_eq!(pipeline.width(), MAX_LEVELS);
    assert!(pipeline.column_names().contains(&"c=zz".to_owned()));
    assert_eq!(pipeline.cardinalities(), [102], "100 rare ones, `zz`, and what is unseen");
    let encoded = pipeline.encode(206, &columns);
    assert_eq!((encoded.codes[[205, 0]], encoded.codes[[0, 0]]), (0, 1), "what is seen once is unseen");
    assert_eq!(pipeline.problem(), None);
    let few = FeaturesSpec { one_hot_limit: 3, max_levels: 10, ..FeaturesSpec::default() };
    let few = fitted(&few, &[("c", FeatureKind::Categorical)], &columns).0.unwrap();
    assert_eq!((few.width(), few.cardinalities()), (3, vec![11]));
}

#[test]
fn dates_and_pairs_come_after_the_features() {
    let spec = FeaturesSpec {
        dates: vec![DateSpec { column: None, parts: vec![DatePart::Hour] }],
        interactions: vec![
            InteractionSpec::Product(["a".into(), "b".into()]),
            InteractionSpec::Ratio(["a".into(), "b".into()]),
        ],
        ..FeaturesSpec::default()
    };
    let columns = [
        column("a", &numbers(&[1.0, 2.0, 3.0])),
        column("b", &numbers(&[2.0, 0.0, 1.0])),
        column(EVENT_TIME, &numbers(&[0.0, 21_600.0, 43_200.0])),
    ];
    let kinds = [("a", FeatureKind::Numeric), ("b", FeatureKind::Numeric)];
    let pipeline = fitted(&spec, &kinds, &columns).0.unwrap();
    assert_eq!(
        pipeline.column_names(),
        ["a", "b", "event_time hour sin", "event_time hour cos", "a*b", "a/b"]
    );
    let Step::Interaction { mean, .. } = &pipeline.steps[4] else { panic!("{:?}", pipeline.steps) };
    // 0.5 and 3; nothing is divided by 0.
    assert!((mean - 1.75).abs() < 1e-12, "{mean}");
    let unknown = FeaturesSpec {
        interactions: vec![InteractionSpec::Product(["a".into(), "c".into()])],
        ..FeaturesSpec::default()
    };
    let problem = fitted(&unknown, &kinds, &columns).0.unwrap_err().to_string();
    assert!(problem.contains("`c` is no feature; there are `a`, `b`"), "{problem}");
}

#[test]
fn blocks_of_rows_give_the_pipeline_of_all_rows() {
    let values: Vec<f64> = (0..1_000).map(|row| f64::from((row * 37) % 101)).collect();
    let all = [column("x", &numbers(&values)), column("c", &numbers(&values))];
    let features =
        [FeatureSpec::new("x", FeatureKind::Numeric), FeatureSpec::new("c", FeatureKind::Categorical)];
    let spec = FeaturesSpec { scaling: Scaling::Quantile, ..FeaturesSpec::default() };
    let (journal, _events) = Journal::new(Stop::default());
    let mut fitting = Fitting::new(&spec, &features, 1).unwrap();
    for start in (0..1_000).step_by(300) {
        let block: Vec<Column> = all
            .iter()
            .map(|whole| column(&whole.name, &whole.values[start..(start + 300).min(1_000)]))
            .collect();
        fitting.take(block[0].values.len(), &block).unwrap();
    }
    let by_blocks = fitting.finish(&spec, &journal).unwrap();
    assert_eq!(by_blocks, fit(&spec, &features, &all, 1, &journal).unwrap());
}

#[test]
fn huge_numbers_do_not_overflow() {
    let values = [f64::MAX, f64::MAX, -f64::MAX];
    let (mean, scale) = moments(&values).unwrap();
    assert!(mean.is_finite() && scale.is_finite());
    assert!(moments(&[]).is_none());
    for scaling in [Scaling::Standard, Scaling::MinMax, Scaling::Quantile] {
        let spec = FeaturesSpec { scaling, imputation: Imputation::Median, ..FeaturesSpec::default() };
        let columns = [column("x", &numbers(&values))];
        let pipeline = fitted(&spec, &[("x", FeatureKind::Numeric)], &columns).0.unwrap();
        assert_eq!(pipeline.problem(), None);
        assert!(pipeline.encode(4, &columns).numbers.iter().all(|cell| cell.is_finite()), "{scaling:?}");
    }
}
