//! What rows of predictions and labels are read as.

use serde_json::json;

use super::*;

fn row(outputs: &[(&str, Value)], label: Json) -> Judged {
    Judged {
        outputs: outputs.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
        label,
    }
}

fn one(value: Value, label: Json) -> Judged {
    row(&[("prediction", value)], label)
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

#[test]
fn binary_rows_have_a_score_and_a_truth() {
    let reading = Reading::of(Task::Binary);
    let rows = [
        one(Value::Number(0.25), json!(1)),
        one(Value::Bool(true), json!(false)),
        one(text("0"), json!("true")),
        one(Value::Number(f64::NAN), json!(1)),
        one(Value::Number(0.5), json!(2)),
        one(Value::Number(0.5), json!(null)),
        row(&[("a", Value::Number(0.5)), ("b", Value::Number(0.5))], json!(1)),
        row(&[], json!(1)),
    ];
    let (pairs, usable) = Pairs::read(&reading, &rows);
    assert_eq!(usable, [true, true, true, false, false, false, false, false]);
    let expected =
        Pairs::Binary { scores: vec![0.25, 1.0, 0.0], targets: vec![true, false, true], threshold: 0.5 };
    assert_eq!(pairs, expected);
    assert_eq!(pairs.select(&[2]).rows(), 1);
    let named = Reading { positive: Some("yes".into()), target: Some("churned".into()), ..reading };
    let (pairs, _) =
        Pairs::read(&named, &[one(text("yes"), json!({"churned": "no"})), one(text("no"), json!("yes"))]);
    assert_eq!(pairs, Pairs::Binary { scores: vec![1.0, 0.0], targets: vec![false, true], threshold: 0.5 });
    // Decisions are neither ranked nor probable.
    assert_eq!(pairs.metrics(), [Metric::Accuracy, Metric::Precision, Metric::Recall, Metric::F1]);
}

#[test]
fn what_is_worked_out_depends_on_what_scores_are() {
    let metrics = |scores: &[f64]| {
        let targets = vec![true; scores.len()];
        Pairs::Binary { scores: scores.to_vec(), targets, threshold: 0.5 }.metrics().len()
    };
    assert_eq!((metrics(&[0.0, 1.0]), metrics(&[0.2, 1.0]), metrics(&[-3.0, 7.0])), (4, 9, 6));
    let regression = |predictions: &[f64], quantile| {
        let targets = vec![1.0; predictions.len()];
        Pairs::Regression { predictions: predictions.to_vec(), targets, quantile }.metrics().len()
    };
    assert_eq!(
        (regression(&[1.0], None), regression(&[-1.0], None), regression(&[1.0], Some(0.9))),
        (5, 4, 6)
    );
}

#[test]
fn classes_are_named_or_have_an_output_each() {
    let rows = [
        one(text("cat"), json!("dog")),
        one(Value::Number(1.0), json!(1)),
        one(Value::Missing, json!("cat")),
    ];
    let (pairs, usable) = Pairs::read(&Reading::of(Task::Multiclass), &rows);
    assert_eq!(usable, [true, true, false]);
    let Pairs::Multiclass { scores, targets, graded } = pairs else { panic!("not multiclass") };
    assert!(!graded);
    // 1, cat, dog
    assert_eq!((scores.row(0).to_vec(), scores.row(1).to_vec()), (vec![0.0, 1.0, 0.0], vec![1.0, 0.0, 0.0]));
    assert_eq!(targets, [2, 0]);
    let graded = Reading {
        classes: vec![("p_cat".into(), "cat".into()), ("p_dog".into(), "dog".into())],
        ..Reading::of(Task::Multiclass)
    };
    assert_eq!(graded.outputs(), ["p_cat", "p_dog"]);
    let rows = [
        row(&[("p_cat", Value::Number(0.75)), ("p_dog", Value::Number(0.25))], json!("dog")),
        row(&[("p_cat", Value::Number(0.75)), ("p_dog", Value::Number(0.25))], json!("bird")),
        row(&[("p_cat", Value::Number(0.75))], json!("dog")),
    ];
    let (pairs, usable) = Pairs::read(&graded, &rows);
    assert_eq!(usable, [true, true, false]);
    assert_eq!(pairs.losses(), [0.75, 1.0]);
    assert_eq!(pairs.metrics().len(), 7);
    let Pairs::Multiclass { targets, .. } = pairs else { panic!("not multiclass") };
    assert_eq!(targets, [1, 2], "a class that the model does not know");
}

#[test]
fn a_regression_takes_numbers_alone() {
    let rows =
        [one(Value::Number(2.0), json!(3)), one(text("2"), json!(3)), one(Value::Number(2.0), json!("3"))];
    let (pairs, usable) = Pairs::read(&Reading::of(Task::Regression), &rows);
    assert_eq!(usable, [true, false, false]);
    assert_eq!(pairs, Pairs::Regression { predictions: vec![2.0], targets: vec![3.0], quantile: None });
}
