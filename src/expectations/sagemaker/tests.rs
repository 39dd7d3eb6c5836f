//! Tests of the import: the two files of a baseline job, and what is wrong with others.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::expectations::{ColumnExpectation, Expectations, ExpectedType, Tolerated};
use crate::model::FeatureKind;

const STATISTICS: &str = include_str!("../../../tests/fixtures/sagemaker/statistics.json");
const CONSTRAINTS: &str = include_str!("../../../tests/fixtures/sagemaker/constraints.json");

#[test]
fn constraints_become_expectations() {
    let imported = import_constraints(CONSTRAINTS, None).unwrap();
    let strictly = |kind| Some(Tolerated::strictly(kind));
    let required = |name: &str| ColumnExpectation {
        required: true,
        missing_max: Some(0.0),
        ..ColumnExpectation::new(name, None)
    };
    let domains: BTreeSet<String> = ["card", "cash", "voucher"].map(str::to_owned).into();
    let expected = [
        ColumnExpectation {
            expected_type: strictly(ExpectedType::Numeric),
            min: Some(Tolerated::strictly(0.0)),
            ..required("fare")
        },
        ColumnExpectation {
            expected_type: Some(Tolerated { value: ExpectedType::Integer, tolerate: 0.05 }),
            min: Some(Tolerated::strictly(0.0)),
            ..required("riders")
        },
        ColumnExpectation {
            expected_type: strictly(ExpectedType::Numeric),
            missing_max: Some(0.02),
            ..required("balance")
        },
        ColumnExpectation {
            expected_type: strictly(ExpectedType::Categorical),
            allowed: Some(Tolerated { value: domains, tolerate: 0.01 }),
            ..required("payment")
        },
        ColumnExpectation { missing_max: Some(1.0), ..required("comment") },
    ];
    assert_eq!(imported.expectations.columns, expected);
    for part in ["expr: ks > 0.1", "expr: linf > 0.2", "confidence: none", "extra_column_check"] {
        assert_eq!(
            imported.notes.iter().filter(|note| note.contains(part)).count(),
            1,
            "{:#?}",
            imported.notes
        );
    }
    let text = imported.expectations.to_yaml();
    assert_eq!(Expectations::parse("x.yaml", &text).unwrap(), imported.expectations, "{text}");
}

#[test]
fn what_constraints_cannot_carry_over_is_noted() {
    let import = |text: &str| import_constraints(text, None).unwrap();
    for (text, columns, note) in [
        (r#"{"features": [{"name": "a", "inferred_type": "Complex"}]}"#, 1, "`Complex` is not known"),
        (r#"{"features": []}"#, 0, "no `monitoring_config`"),
        (
            r#"{"features": [{"name": "a", "monitoringConfigOverrides": {"evaluate_constraints": "Disabled"}}]}"#,
            0,
            "`a`: `evaluate_constraints` was Disabled",
        ),
        (
            r#"{"features": [{"name": "a"}], "monitoring_config": {"evaluate_constraints": "Disabled"}}"#,
            1,
            "`evaluate_constraints` was Disabled: ",
        ),
        (
            r#"{"features": [], "monitoring_config": {"datatype_check_threshold": 0.1}}"#,
            0,
            "so that 90 % may be otherwise",
        ),
        (
            r#"{"features": [{"name": "a", "inferred_type": "String", "num_constraints": {"is_non_negative": true}}]}"#,
            1,
            "`is_non_negative` does not fit",
        ),
        (
            r#"{"features": [{"name": "a", "inferred_type": "Integral", "string_constraints": {"domains": ["x"]}}]}"#,
            1,
            "`domains` do not fit",
        ),
    ] {
        let imported = import(text);
        assert_eq!(imported.expectations.columns.len(), columns, "{text}");
        assert!(imported.notes.iter().any(|found| found.contains(note)), "{text}: {:#?}", imported.notes);
    }
}

#[test]
fn malformed_files_are_refused_by_path() {
    for (text, problem) in [
        ("{", "expected JSON: EOF while parsing an object at line 1 column 1"),
        ("[]", "$: expected an object, found an array"),
        ("{}", "$: expected a field `features`"),
        (r#"{"features": {}}"#, "$.features: expected an array, found an object"),
        (r#"{"features": [{}]}"#, "$.features[0]: expected a field `name`"),
        (r#"{"features": [{"name": 3}]}"#, "$.features[0].name: expected text, found 3"),
        (r#"{"features": [{"name": "a"}, {"name": "a"}]}"#, "$.features[1]: expected `a` once"),
        (
            r#"{"features": [{"name": "a", "completeness": 98}]}"#,
            "$.features[0].completeness: expected a share from 0 to 1, found 98",
        ),
        (
            r#"{"features": [{"name": "a", "num_constraints": {"is_non_negative": "yes"}}]}"#,
            "$.features[0].num_constraints.is_non_negative: expected true or false, found text",
        ),
        (
            r#"{"features": [{"name": "a", "inferred_type": "String", "string_constraints": {"domains": ["x", 1]}}]}"#,
            "$.features[0].string_constraints.domains[1]: expected text, found 1",
        ),
        (
            r#"{"features": [], "monitoring_config": {"evaluate_constraints": true}}"#,
            "$.monitoring_config.evaluate_constraints: expected `Enabled` or `Disabled`, found a truth value",
        ),
    ] {
        assert_eq!(import_constraints(text, None).unwrap_err().to_string(), problem, "{text}");
    }
    let deep = "[".repeat(100_000);
    assert!(import_constraints(&deep, None).unwrap_err().to_string().contains("recursion limit"));
    for (statistics, problem) in [
        (r#""common": {}"#, ".common: expected a field `num_present`"),
        (r#""common": {"num_present": 1.5}"#, ".common.num_present: expected a count, found 1.5"),
        (r#""common": {"num_present": -1}"#, ".common.num_present: expected a count, found -1"),
        (r#""common": {"num_present": 1}, "mean": "x""#, ".mean: expected a number, found text"),
        (
            r#""common": {"num_present": 1}, "distribution": {"kll": {"sketch": {"data": [[1], [2, "x"]]}}}"#,
            ".distribution.kll.sketch.data[1][1]: expected a number, found text",
        ),
        (
            r#""common": {"num_present": 1}, "distribution": {"kll": {"buckets": [{"lower_bound": 2, "upper_bound": 1, "count": 1}]}}"#,
            ".distribution.kll.buckets[0]: expected lower_bound 2 to be at most upper_bound 1",
        ),
    ] {
        let text = format!(r#"{{"features": [{{"name": "a", "numerical_statistics": {{{statistics}}}}}]}}"#);
        let expected = format!("$.features[0].numerical_statistics{problem}");
        assert_eq!(import_statistics(&text).unwrap_err().to_string(), expected, "{text}");
    }
}

fn numbers(column: &ImportedColumn) -> &[(f64, u64)] {
    match &column.values {
        ImportedValues::Numbers { weighted, .. } => weighted,
        other @ ImportedValues::Categories { .. } => panic!("{other:?}"),
    }
}

#[test]
fn statistics_become_weighted_values() {
    let imported = import_statistics(STATISTICS).unwrap();
    assert_eq!(imported.rows, 20_000);
    assert_eq!(imported.notes, ["`comment` has no statistics and is left out"]);
    let names: Vec<(&str, u64, u64)> =
        imported.columns.iter().map(|column| (column.name.as_str(), column.count, column.missing)).collect();
    assert_eq!(
        names,
        [("fare", 20_000, 0), ("riders", 20_000, 0), ("balance", 19_600, 400), ("payment", 20_000, 0)]
    );
    for column in &imported.columns[..3] {
        let ImportedValues::Numbers { weighted, mean, std_dev, min, max, rank_error } = &column.values else {
            panic!()
        };
        // Documented for a k of 200: 1.65 %.
        assert!((rank_error - 0.0165).abs() < 5e-5, "{rank_error}");
        assert_eq!(weighted.iter().map(|(_, weight)| weight).sum::<u64>(), column.count, "{}", column.name);
        assert!(weighted.is_sorted_by(|left, right| left.0 < right.0));
        let (mean, deviation) = (mean.unwrap(), std_dev.unwrap());
        let sketched =
            weighted.iter().map(|(value, weight)| value * *weight as f64).sum::<f64>() / column.count as f64;
        assert!((sketched - mean).abs() < 0.1 * deviation, "{}: {sketched} is not near {mean}", column.name);
        assert!(weighted[0].0 >= min.unwrap() && weighted[weighted.len() - 1].0 <= max.unwrap());
    }
    let riders = &imported.columns[1];
    assert!(riders.integer && !imported.columns[0].integer);
    assert_eq!(numbers(riders).iter().map(|(value, _)| *value).collect::<Vec<_>>(), [1.0, 2.0, 3.0, 4.0]);
    let ImportedValues::Categories { counts, unnamed, distinct } = &imported.columns[3].values else {
        panic!()
    };
    assert_eq!(counts.keys().collect::<Vec<_>>(), ["card", "cash", "voucher"]);
    assert_eq!((counts.values().sum::<u64>(), *unnamed, *distinct), (20_000, 0, Some(3)));
    assert_eq!(imported.columns[3].kind, FeatureKind::Categorical);
}

#[test]
fn an_item_of_level_i_stands_for_two_to_the_i_rows() {
    let column = |kll: &str, present: u64| {
        let text = format!(
            r#"{{"features": [{{"name": "a", "inferred_type": "Integral", "numerical_statistics":
               {{"common": {{"num_present": {present}}}, "distribution": {{"kll": {kll}}}}}}}]}}"#
        );
        let imported = import_statistics(&text).unwrap();
        (numbers(&imported.columns[0]).to_vec(), imported.notes)
    };
    let (values, notes) = column(r#"{"sketch": {"data": [[5.0, -0.0, 5.0], [0.0], [], [7.0]]}}"#, 13);
    assert_eq!(values, [(0.0, 3), (5.0, 2), (7.0, 8)]);
    assert!(notes.is_empty(), "{notes:?}");

    let buckets = r#""buckets": [{"lower_bound": 0, "upper_bound": 2, "count": 3.0}, {"lower_bound": 2, "upper_bound": 202, "count": 250}]"#;
    let (values, notes) = column(&format!(r#"{{{buckets}, "sketch": {{"data": [[1.0]]}}}}"#), 253);
    assert_eq!(values.iter().map(|(_, weight)| weight).sum::<u64>(), 253);
    assert_eq!(values[..3], [(0.0, 1), (1.0, 1), (2.0, 1)]);
    assert!(notes[0].contains("no sketch of its 253 values"), "{notes:?}");

    let (values, notes) = column(r#"{"sketch": {"data": [[1.0]]}}"#, 253);
    assert!(values.len() == 1 && notes[0].contains("its distribution is lost"), "{notes:?}");
}

#[test]
fn categories_that_the_file_does_not_name_are_counted() {
    let text = r#"{"features": [{"name": "a", "inferred_type": "String", "string_statistics": {
        "common": {"num_present": 10, "num_missing": 2}, "distinct_count": 5,
        "distribution": {"categorical": {"buckets": [{"value": "x", "count": 4}, {"value": "y", "count": 3.0}]}}}}]}"#;
    let imported = import_statistics(text).unwrap();
    assert_eq!(imported.rows, 12);
    let ImportedValues::Categories { unnamed, .. } = imported.columns[0].values else { panic!() };
    assert_eq!(unnamed, 3);
    assert_eq!(imported.notes, ["`a`: 3 of 10 values (30 %) are of categories that the file does not name"]);
}

/// Replaces the value at the `at`-th place of a document.
fn replace(value: &mut Value, at: &mut usize, with: &Value) {
    if *at == 0 {
        *value = with.clone();
    }
    *at = at.wrapping_sub(1);
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| replace(item, at, with)),
        Value::Object(fields) => fields.values_mut().for_each(|field| replace(field, at, with)),
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_file_with_anything_anywhere_is_read_or_refused(
        at in 0..60_usize,
        with in prop::sample::select(vec![
            Value::Null, Value::Bool(true), Value::from(-1), Value::from(0.5), Value::from(1e300), Value::from(u64::MAX),
            Value::from(""), Value::from("x"), Value::Array(vec![]), serde_json::json!({}), serde_json::json!([[1.0], [2.0]]),
        ]),
    ) {
        let mut constraints: Value = serde_json::from_str(CONSTRAINTS).unwrap();
        replace(&mut constraints, &mut at.clone(), &with);
        if let Ok(imported) = import_constraints(&constraints.to_string(), None)
            && !imported.expectations.columns.is_empty()
        {
            let text = imported.expectations.to_yaml();
            prop_assert_eq!(Expectations::parse("x.yaml", &text), Ok(imported.expectations), "{}", text);
        }
        let mut statistics: Value = serde_json::from_str(STATISTICS).unwrap();
        replace(&mut statistics, &mut at.clone(), &with);
        if let Ok(imported) = import_statistics(&statistics.to_string()) {
            for column in &imported.columns {
                if let ImportedValues::Numbers { weighted, .. } = &column.values {
                    prop_assert!(weighted.is_sorted_by(|left, right| left.0 < right.0));
                }
            }
        }
    }
}
