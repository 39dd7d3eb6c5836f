//! Learning, and comparing windows with what was learned.

use chrono::DateTime;
use proptest::prelude::*;

use super::*;
use crate::model::{Batch, Column, Exchange, ModelName};
use crate::profile::{Categories, ColumnLayout, Cut, Grid, Others, Profile};

fn column(name: &str, values: &[Value]) -> Column {
    Column { name: name.into(), values: values.to_vec() }
}

fn numbers(name: &str, values: &[f64]) -> Column {
    column(name, &values.iter().map(|number| Value::Number(*number)).collect::<Vec<_>>())
}

fn text(text: &str) -> Value {
    Value::Text(text.into())
}

fn batch(features: Vec<Column>, outputs: Vec<Column>) -> Batch {
    Batch { rows: features.first().map_or(0, |column| column.values.len()), features, outputs }
}

fn exchange(features: Vec<Column>, outputs: Vec<Column>) -> Exchange {
    Exchange {
        id: "p".into(),
        model: ModelName::parse("m").unwrap(),
        model_version: None,
        event_time: DateTime::UNIX_EPOCH,
        batch: batch(features, outputs),
        other_ids: Vec::new(),
    }
}

/// `temp` and `wind` are numeric, `season` is categorical; `y` comes out.
fn layout() -> Layout {
    let numeric = || Cut::Grid(Grid::cut(&[1.0, 2.0, 3.0, 4.0], 4));
    let names = Cut::Categories(Categories::new(vec!["dry".into()], Others::Names([].into())));
    let column =
        |name: &str, role, kind, cut| ColumnLayout { name: name.into(), role, kind, cut, range: None };
    Layout::new(vec![
        column("temp", Role::Feature, FeatureKind::Numeric, numeric()),
        column("wind", Role::Feature, FeatureKind::Numeric, numeric()),
        column("season", Role::Feature, FeatureKind::Categorical, names),
        column("y", Role::Output, FeatureKind::Numeric, numeric()),
    ])
}

/// The findings on a window of these exchanges, in sentences.
fn findings(expected: &[Expected], batches: &[Batch]) -> Vec<String> {
    let layout = layout();
    let (mut profile, mut seen) = (Profile::empty(&layout), Seen::default());
    for batch in batches {
        profile.record(&layout, batch);
        seen.record(&layout, batch);
    }
    changes(expected, &layout, &profile, &seen).iter().map(SchemaChange::sentence).collect()
}

fn usual() -> Vec<Column> {
    vec![
        numbers("temp", &[1.0, 2.0]),
        numbers("wind", &[1.0, 2.0]),
        column("season", &[text("dry"), Value::Missing]),
    ]
}

fn with(change: impl FnOnce(&mut Vec<Column>)) -> Batch {
    let mut columns = usual();
    change(&mut columns);
    batch(columns, vec![numbers("y", &[1.0, 1.0])])
}

#[test]
fn a_window_as_the_baseline_has_no_findings() {
    let baseline = of_layout(&layout());
    let unanswered = batch(usual(), Vec::new());
    let one_lacks_a_column = with(|columns| drop(columns.remove(1)));
    assert_eq!(findings(&baseline, &[with(|_| ()), unanswered, one_lacks_a_column]), Vec::<String>::new());
    assert_eq!(findings(&baseline, &[]), Vec::<String>::new());
    assert_eq!(findings(&[], &[with(|_| ())]), Vec::<String>::new());
}

#[test]
fn every_change_is_a_finding_with_its_counts() {
    let baseline = of_layout(&layout());
    let cases: [(Batch, &[&str]); 7] = [
        (
            with(|columns| columns.push(numbers("sun", &[1.0, 2.0]))),
            &["input `sun` is new (numeric), in 2 of 2 rows"],
        ),
        (with(|columns| drop(columns.remove(1))), &["input `wind` (numeric) is gone from all 2 rows"]),
        (
            with(|columns| columns[1].name = "Wind".into()),
            &["input `wind` is gone and `Wind` is new in its place, in 2 of 2 rows; perhaps it was renamed"],
        ),
        (
            with(|columns| {
                columns.remove(1);
                columns.push(column("Wind", &[text("strong"), text("weak")]));
            }),
            &[
                "input `wind` (numeric) is gone from all 2 rows",
                "input `Wind` is new (categorical), in 2 of 2 rows",
            ],
        ),
        (
            with(|columns| columns[0] = column("temp", &[text("1.0"), Value::Number(1.0)])),
            &["input `temp` is to be numeric and is not (another kind) in 1 of 2 rows with a value"],
        ),
        (
            batch((0..4).map(|j| numbers(&format!("x[{j}]"), &[1.0, 2.0])).collect(), Vec::new()),
            &["the inputs came as `x` with 4 columns instead of 3, in 2 of 2 rows"],
        ),
        (
            batch(usual(), vec![numbers("score", &[1.0, 1.0]), numbers("extra", &[1.0, 1.0])]),
            &[
                "output `y` is gone and `score` is new in its place, in 2 of 2 rows; perhaps it was renamed",
                "output `extra` is new (numeric), in 2 of 2 rows",
            ],
        ),
    ];
    for (batch, sentences) in cases {
        assert_eq!(findings(&baseline, &[batch]), sentences);
    }
}

#[test]
fn what_was_approved_counts_and_not_the_baseline() {
    let mut approved = of_layout(&layout());
    approved.push(Expected {
        name: "sun".into(),
        role: Role::Feature,
        kind: Holds::Numeric,
        optional: false,
    });
    approved[1].optional = true;
    let without_wind = |columns: &mut Vec<Column>| {
        columns.remove(1);
    };
    let sunny = |value: Value| {
        with(|columns| {
            without_wind(columns);
            columns.push(column("sun", &[value.clone(), value]));
        })
    };
    assert_eq!(findings(&approved, &[sunny(Value::Number(1.0))]), Vec::<String>::new());
    assert_eq!(findings(&approved, &[with(|_| ())]), ["input `sun` (numeric) is gone from all 2 rows"]);
    assert_eq!(
        findings(&approved, &[sunny(text("high"))]),
        ["input `sun` is to be numeric and is not (categorical) in 2 of 2 rows with a value"]
    );
}

#[test]
fn names_are_bounded_and_counts_merge() {
    let layout = layout();
    let many =
        batch((0..500).map(|at| numbers(&format!("{}{at}", "é".repeat(99)), &[1.0])).collect(), Vec::new());
    let mut seen = Seen::default();
    seen.record(&layout, &many);
    assert_eq!((seen.features.extra.len(), seen.features.more), (1, 0), "names are cut, at a character");
    let many = batch((0..500).map(|at| numbers(&format!("c{at}"), &[1.0])).collect(), Vec::new());
    seen.record(&layout, &many);
    assert_eq!((seen.features.extra.len(), seen.features.more), (MAX_EXTRA, 500 - 63));
    let text = serde_json::to_string(&seen).unwrap();
    assert!(text.len() < 10_000 && serde_json::from_str::<Seen>(&text).unwrap() == seen);
    assert_eq!(serde_json::from_str::<Seen>("{}").unwrap(), Seen::default());
    let mut seen = Seen::default();
    seen.record(&layout, &batch(vec![numbers("a\0b", &[1.0])], Vec::new()));
    assert_eq!(seen.features.extra.keys().collect::<Vec<_>>(), ["a\u{fffd}b"]);
}

#[test]
fn columns_are_learned_with_kinds_ranges_and_values() {
    let mut learner = Learner::default();
    for at in 0..120_u32 {
        let number = f64::from(at);
        let mut features = vec![
            numbers("temp", &[number / 7.0, -3.5]),
            numbers("doors", &[f64::from(at % 3), 2.0]),
            column("season", &[text(["dry", "wet"][at as usize % 2]), Value::Missing]),
            column("free", &[text(&format!("text {at}")), text("x")]),
            column("open", &[Value::Bool(true), Value::Bool(false)]),
            column("image", &[Value::Opaque, Value::Opaque]),
            column("empty", &[Value::Missing, Value::Missing]),
            column("mixed", &[Value::Number(1.0), text("a")]),
        ];
        if at % 2 == 0 {
            features.push(numbers("rare: #1", &[1.5, 2.5]));
        }
        let outputs = if at == 0 { Vec::new() } else { vec![numbers("y", &[0.5, 0.5])] };
        learner.observe(&exchange(features, outputs));
    }
    let learned = learner.learned();
    assert_eq!((learned.predictions, learned.rows, learned.rows_with_outputs), (120, 240, 238));
    let kinds: Vec<_> = learned.columns.iter().map(|c| (c.name.as_str(), c.kind)).collect();
    use Holds::{Boolean, Categorical, Numeric, Opaque};
    assert_eq!(
        kinds,
        [
            ("temp", Some(Numeric)),
            ("doors", Some(Numeric)),
            ("season", Some(Categorical)),
            ("free", Some(Categorical)),
            ("open", Some(Boolean)),
            ("image", Some(Opaque)),
            ("empty", None),
            ("mixed", Some(Categorical)),
            ("rare: #1", Some(Numeric)),
            ("y", Some(Numeric)),
        ]
    );
    let of = |name: &str| learned.columns.iter().find(|column| column.name == name).unwrap();
    assert_eq!(of("temp").range, Some((-3.5, 17.0)));
    assert!(of("doors").maybe_categorical && !of("temp").maybe_categorical);
    assert_eq!(of("free").distinct, None);
    assert!(
        (of("season").missing_share - 0.5).abs() < 1e-12
            && (of("mixed").other_kinds_share - 0.5).abs() < 1e-12
    );
    assert!((of("rare: #1").missing_share - 0.5).abs() < 1e-12);
    let declared =
        declared(&serde_json::json!({"inputs": [{"name": "x", "datatype": "fp32", "shape": [-1, 4]}]}));
    let written = settings_fragment(&ModelName::parse("m").unwrap(), &learned, &declared);
    for line in [
        "# The model server declares feature \"x\": FP32 [-1, 4], 4 columns.",
        "      - {name: \"temp\", kind: numeric}  # -3.5 to 17",
        "      - {name: \"doors\", kind: numeric}  # 0 to 2; 3 values: 0, 1, 2; few whole numbers: perhaps categorical",
        "      - {name: \"season\", kind: categorical}  # 2 values: dry, wet; 50 % missing",
        "      - {name: \"open\", kind: boolean}  # 240 rows",
        "      - {name: \"mixed\", kind: categorical}  # 2 values: 1, a; 50 % of another kind",
        "      # \"empty\" was always missing",
        "      - {name: \"rare: #1\", kind: numeric, optional: true}  # 1.5 to 2.5; 50 % missing",
        "      - {name: \"y\", role: output, kind: numeric}  # 0.5 to 0.5",
    ] {
        assert!(written.lines().any(|found| found == line), "{line}\n{written}");
    }
}

#[test]
fn an_unnamed_vector_asks_for_names() {
    let mut learner = Learner::default();
    learner.observe(&exchange((0..3).map(|j| numbers(&format!("x[{j}]"), &[1.0])).collect(), Vec::new()));
    let written = settings_fragment(&ModelName::parse("m").unwrap(), &learner.learned(), &[]);
    assert!(written.contains("3 columns of `x` without names"), "{written}");
    assert!(written.contains("# features: [name_1, name_2, name_3]"), "{written}");
}

#[test]
fn what_model_servers_declare_is_read() {
    // As Triton and TensorFlow Serving answer; the shapes of the fields are theirs, the model is not.
    let triton = serde_json::json!({"name": "lin", "versions": ["1"], "platform": "python",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}],
        "outputs": [{"name": "label", "datatype": "BYTES", "shape": [-1, 1]}, {"name": "odd"}]});
    let tensors = declared(&triton);
    assert_eq!(tensors.len(), 2);
    assert_eq!((tensors[0].kind, tensors[0].columns()), (Holds::Numeric, Some(4)));
    assert_eq!(
        (tensors[1].role, tensors[1].kind, tensors[1].columns()),
        (Role::Output, Holds::Categorical, Some(1))
    );
    let tensorflow = serde_json::json!({"model_spec": {"name": "m"}, "metadata": {"signature_def": {"signature_def":
        {"serving_default": {"inputs": {"age": {"dtype": "DT_INT64", "name": "age:0", "tensor_shape":
            {"dim": [{"size": "-1", "name": ""}, {"size": "2", "name": ""}], "unknown_rank": false}}},
         "outputs": {"ok": {"dtype": "DT_BOOL", "tensor_shape": {"dim": []}}}}}}}});
    let tensors = declared(&tensorflow);
    assert_eq!(tensors[0].shape, [-1, 2]);
    assert_eq!((tensors[0].kind, tensors[1].kind), (Holds::Numeric, Holds::Boolean));
    assert_eq!(declared(&serde_json::json!({"inputs": [], "outputs": []})), []);
    assert_eq!(declared(&serde_json::json!([1, "x", null])), []);
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Missing),
        any::<f64>().prop_map(Value::Number),
        any::<bool>().prop_map(Value::Bool),
        ".{0,8}".prop_map(Value::Text),
        Just(Value::Opaque),
    ]
}

fn any_batch() -> impl Strategy<Value = Batch> {
    let side = || {
        proptest::collection::btree_map("temp|wind|season|y|[a-c]\\[[0-9]\\]|.{0,3}", any_value(), 0..6)
            .prop_map(|columns| {
                columns.iter().map(|(name, value)| column(name, &[value.clone()])).collect::<Vec<_>>()
            })
    };
    (side(), side()).prop_map(|(features, outputs)| Batch { rows: 1, features, outputs })
}

proptest! {
    #[test]
    fn parts_merge_to_what_one_would_have_seen(batches in proptest::collection::vec(any_batch(), 0..8), at in 0..8_usize) {
        let layout = layout();
        let of = |batches: &[Batch]| {
            let mut seen = Seen::default();
            batches.iter().for_each(|batch| seen.record(&layout, batch));
            seen
        };
        let (first, second) = batches.split_at(at.min(batches.len()));
        let mut merged = of(first);
        merged.merge(&of(second));
        prop_assert_eq!(&merged, &of(&batches));
        let mut profile = Profile::empty(&layout);
        batches.iter().for_each(|batch| profile.record(&layout, batch));
        for change in changes(&of_layout(&layout), &layout, &profile, &merged) {
            prop_assert!(change.rows <= change.of_rows, "{:?}", change);
        }
    }

    #[test]
    fn whatever_is_learned_is_written_as_yaml(batches in proptest::collection::vec(any_batch(), 1..8)) {
        let mut learner = Learner::default();
        for batch in batches {
            learner.observe(&exchange(batch.features, batch.outputs));
        }
        let learned = learner.learned();
        let written = settings_fragment(&ModelName::parse("m").unwrap(), &learned, &[]);
        let read: serde_json::Value = serde_saphyr::from_str(&written).unwrap();
        let schema: Vec<Expected> =
            serde_json::from_value(read["models"][0]["schema"].clone()).unwrap_or_default();
        prop_assert_eq!(schema, learned.expected());
    }
}
