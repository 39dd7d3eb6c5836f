//! Tests of the document: what is read, what is refused, and that writing and reading agree.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::profile::{Categories, Cut, Grid};

const EXAMPLE: &str = r#"
model: bike-demand
rows: {min: 100, max: 100000}
freshness: 15m
columns:
  temp:
    type: numeric
    required: true
    missing: {max: 0.01}
    min: -30
    max: {value: 50, tolerate: 0.001}
  season: {type: categorical, allowed: [spring, summer, fall, winter], tolerate: 0.01}
features:
  plate: {type: categorical, pattern: "^[A-Z]{2}-[0-9]+$", unique: {min: 0.9}}
outputs:
  count: {type: {value: integer, tolerate: 0.2}, min: 0}
"#;

fn parse(text: &str) -> Expectations {
    Expectations::parse("x.yaml", text).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

#[test]
fn a_document_is_read() {
    let read = parse(EXAMPLE);
    assert_eq!(read.model.as_ref().map(ModelName::as_str), Some("bike-demand"));
    assert_eq!((read.rows_min, read.rows_max), (Some(100), Some(100_000)));
    assert_eq!(read.freshness, Some(Duration::from_mins(15)));
    assert_eq!(read.confidence, Some(DEFAULT_CONFIDENCE));
    let [temp, season, plate, count] = read.columns.as_slice() else { panic!("{:?}", read.columns) };
    let expected = ColumnExpectation {
        expected_type: Some(Tolerated::strictly(ExpectedType::Numeric)),
        required: true,
        missing_max: Some(0.01),
        min: Some(Tolerated::strictly(-30.0)),
        max: Some(Tolerated { value: 50.0, tolerate: 0.001 }),
        ..ColumnExpectation::new("temp", None)
    };
    assert_eq!(*temp, expected);
    let names = ["spring", "summer", "fall", "winter"].map(str::to_owned).into();
    assert_eq!(season.allowed, Some(Tolerated { value: names, tolerate: 0.01 }));
    assert_eq!(season.expected_type.as_ref().map(|check| check.tolerate), Some(0.01));
    assert_eq!((plate.role, plate.unique_min), (Some(Role::Feature), Some(0.9)));
    assert_eq!(
        (count.role, count.expected_type.clone(), count.min.clone()),
        (
            Some(Role::Output),
            Some(Tolerated { value: ExpectedType::Integer, tolerate: 0.2 }),
            Some(Tolerated::strictly(0.0))
        )
    );
}

#[test]
fn every_problem_is_reported_with_its_line() {
    let text = "\
model: a b
row: {min: 1}
rows: {min: 5, max: 2}
freshness: 15
confidence: 1
columns:
  a: {tpye: numeric}
  b:
    type: numerc
    min: x
    missing: {most: 0.1}
    unique: 0.5
  c: {type: categorical, min: 1, max: inf}
  d: {type: boolean, allowed: [true, maybe]}
  e: {min: 2, max: 1, tolerate: 1}
  f: {allowed: [x, x, ~, [y]]}
  g: {pattern: \"(\"}
  h: {min: {tolerate: 0.1}}
  i: 7
  j: {type: integer, pattern: a, required: maybe}
  k: {allowed: []}
outputs: [a]
";
    let problems = Expectations::parse("x.yaml", text).unwrap_err();
    let found: Vec<String> = problems.iter().map(ToString::to_string).collect();
    let expected = [
        "x.yaml:1: `model`: `a b` is not a model name: only letters, digits, `.`, `_` and `-` are allowed",
        "x.yaml:2: unknown key `row` in a document of expectations, did you mean `rows`?",
        "x.yaml:3: `rows`: expected min 5 to be at most max 2",
        "x.yaml:4: `freshness`: expected a span of time such as 30s, 15m, 1h or 30d, found `15`",
        "x.yaml:5: `confidence`: expected a confidence from 0.5 to under 1, or `none`, found `1`",
        "x.yaml:7: column \"a\": expected at least one check",
        "x.yaml:7: column \"a\": unknown key `tpye` in its checks, did you mean `type`?",
        "x.yaml:9: column \"b\": `type`: expected `numeric`, `integer`, `categorical`, `boolean`, found `numerc`, \
         did you mean `numeric`?",
        "x.yaml:10: column \"b\": `min`: expected a number, found `x`",
        "x.yaml:11: column \"b\": `missing`: expected `max`",
        "x.yaml:11: column \"b\": unknown key `most` in `missing`, expected one of `max`",
        "x.yaml:12: column \"b\": expected `unique` to be a mapping, found a single value",
        "x.yaml:13: column \"c\": `max`: expected a number, found `inf`",
        "x.yaml:13: column \"c\": `min` cannot be checked on a column of type categorical",
        "x.yaml:14: column \"d\": `allowed`: `maybe` is not boolean",
        "x.yaml:15: column \"e\": `tolerate`: expected a share from 0 to under 1, found `1`",
        "x.yaml:15: column \"e\": expected min 2 to be at most max 1",
        "x.yaml:16: column \"f\": `allowed`: expected `x` once",
        "x.yaml:16: column \"f\": `allowed`: expected a single value, found a list; quote a text",
        "x.yaml:16: column \"f\": `allowed`: expected a single value, found nothing; quote a text",
        "x.yaml:17: column \"g\": `pattern`: expected a regular expression: unclosed group",
        "x.yaml:18: column \"h\": `min`: expected `value`",
        "x.yaml:19: column \"i\": expected its checks to be a mapping, found a single value",
        "x.yaml:20: column \"j\": `pattern` cannot be checked on a column of type integer",
        "x.yaml:20: column \"j\": `required`: expected `true` or `false`, found `maybe`",
        "x.yaml:21: column \"k\": `allowed`: expected 1 to 100000 values, found 0",
        "x.yaml:22: `outputs`: expected names and their checks, found a list",
    ];
    assert_eq!(found, expected, "{found:#?}");
}

#[test]
fn documents_are_bounded() {
    let columns = |number: usize| {
        let lines: Vec<String> =
            (0..number).map(|i| format!("  c{i}: {{type: numeric, min: 0, max: 1}}\n")).collect();
        format!("columns:\n{}", lines.concat())
    };
    assert_eq!(parse(&columns(MAX_COLUMNS)).columns.len(), MAX_COLUMNS);
    let values = |number: usize| {
        let values: Vec<String> = (0..number).map(|i| format!("v{i}")).collect();
        format!("columns: {{c: {{allowed: [{}]}}}}", values.join(","))
    };
    let allowed = parse(&values(MAX_ALLOWED)).columns[0].allowed.as_ref().map(|allowed| allowed.value.len());
    assert_eq!(allowed, Some(MAX_ALLOWED));
    for (text, problem) in [
        (columns(MAX_COLUMNS + 1), "expected at most 10000 columns"),
        (values(MAX_ALLOWED + 1), "expected 1 to 100000 values"),
        (" ".repeat(MAX_DOCUMENT + 1), "at most 32 MiB"),
        ("[".repeat(10_000), "expected YAML"),
        (String::new(), "expected a document of expectations to be a mapping"),
        ("model: m".to_owned(), "expected at least one of"),
        ("columns: {a: {min: 1}, a: {max: 2}}".to_owned(), "expected YAML"),
    ] {
        let problems = Expectations::parse("x.yaml", &text).unwrap_err();
        assert!(problems[0].message.contains(problem), "{problems:?}");
    }
}

#[test]
fn a_flood_of_problems_is_cut_off() {
    let lines: Vec<String> = (0..5_000).map(|i| format!("  c{i}: {{nim: 0}}\n")).collect();
    let problems = Expectations::parse("x.yaml", &format!("columns:\n{}", lines.concat())).unwrap_err();
    assert_eq!(problems.len(), 1_000);
    assert!(problems.iter().any(|problem| problem.message == "further problems are not listed"));
}

#[test]
fn versions_follow_the_content() {
    let base = "columns: {a: {min: 1, max: 2}, b: {allowed: [x]}}";
    let version = |text: &str| (parse(text).version(), parse(text).counting_version());
    let (whole, counting) = version(base);
    assert_eq!(whole.len(), 12);
    for (text, same_whole, same_counting) in [
        ("columns:\n  a: {max: 2.0, min: 1}\n  b:\n    allowed: ['x']\n", true, true),
        ("columns: {b: {allowed: [x]}, a: {min: 1, max: 2}}", false, true),
        ("columns: {a: {min: 1, max: 2, tolerate: 0.1}, b: {allowed: [x]}}", false, true),
        (
            "rows: {min: 3}\ncolumns: {a: {min: 1, max: 2, type: numeric}, b: {allowed: [x]}, c: {required: true}}",
            false,
            true,
        ),
        ("columns: {a: {min: 1, max: 3}, b: {allowed: [x]}}", false, false),
        ("columns: {a: {min: 1, max: 2, type: integer}, b: {allowed: [x]}}", false, false),
        ("columns: {a: {min: 1, max: 2}, b: {allowed: [x, y]}}", false, false),
        ("columns: {a: {min: 1, max: 2}, b: {allowed: [x], pattern: x}}", false, false),
        ("features: {a: {min: 1, max: 2}, b: {allowed: [x]}}", false, false),
    ] {
        let (other_whole, other_counting) = version(text);
        assert_eq!((whole == other_whole, counting == other_counting), (same_whole, same_counting), "{text}");
    }
}

fn layout() -> Layout {
    let column =
        |name: &str, role, kind, cut| ColumnLayout { name: name.to_owned(), role, kind, cut, range: None };
    let grid = || Cut::Grid(Grid::cut(&[0.0, 1.0], 10));
    let names = ["x", "y"].map(|name| (name.to_owned(), 1)).into();
    Layout::new(vec![
        column("temp", Role::Feature, FeatureKind::Numeric, grid()),
        column(
            "season",
            Role::Feature,
            FeatureKind::Categorical,
            Cut::Categories(Categories::choose(&names, 2)),
        ),
        column("count", Role::Feature, FeatureKind::Numeric, grid()),
        column("count", Role::Output, FeatureKind::Numeric, grid()),
        column("score", Role::Output, FeatureKind::Numeric, grid()),
    ])
}

#[test]
fn checks_are_compiled_for_the_columns_of_a_layout() {
    let layout = layout();
    for (text, places) in [
        (
            "columns: {temp: {min: 0}, season: {allowed: [x]}, score: {max: 1}, nowhere: {min: 0}}",
            vec![0, 1, 4],
        ),
        ("columns: {temp: {required: true, missing: {max: 0.1}, type: numeric}}", vec![]),
        ("columns: {count: {min: 0}}", vec![2]),
        ("outputs: {count: {min: 0}, temp: {min: 0}}", vec![3]),
        ("columns: {temp: {type: integer}}", vec![0]),
    ] {
        let expectations = parse(text);
        let compiled = expectations.compile(&layout);
        let found: Vec<usize> =
            (0..layout.columns().len()).filter(|&at| compiled.columns[at].is_some()).collect();
        assert_eq!(found, places, "{text}");
        assert_eq!(compiled.version, expectations.counting_version());
    }
}

#[test]
fn what_does_not_fit_a_layout_is_named() {
    for (text, expected) in [
        ("columns: {temp: {min: 0, type: integer}, season: {allowed: [x], pattern: x}}", vec![]),
        ("columns: {tmep: {min: 0}}", vec!["the baseline has no column `tmep`, did you mean `temp`?"]),
        ("outputs: {temp: {min: 0}}", vec!["the baseline has no output `temp`, did you mean `temp`?"]),
        (
            "columns: {season: {type: numeric, min: 0}}",
            vec![
                "the baseline has `season` as categorical, not numeric: correct `type`, or build the baseline with \
                 `--kind season=numeric`",
                "`min` cannot be checked on `season`, which is categorical",
            ],
        ),
        ("columns: {temp: {allowed: [1, low]}}", vec!["the allowed value `low` of `temp` is not numeric"]),
        (
            "columns: {count: {min: 0}}\nfeatures: {count: {min: 0}}",
            vec!["`count` stands under `columns` and under its role"],
        ),
    ] {
        assert_eq!(parse(text).misfits(&layout()), expected, "{text}");
    }
}

fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        -100.0..100.0_f64,
        any::<f64>().prop_filter("finite", |value| value.is_finite()),
        Just(0.0),
        Just(1e300)
    ]
}

fn tolerate() -> impl Strategy<Value = f64> {
    prop_oneof![Just(0.0), 0.0..0.999_f64, Just(1e-12)]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[a-z]{1,5}",
        prop::sample::select(vec![
            "yes",
            "no",
            "null",
            "~",
            "true",
            "NaN",
            "-",
            "1.50",
            "007",
            "0x1f",
            "1_000",
            " a ",
            "a: b",
            "#x",
            "a #b",
            "\"",
            "'",
            "\\",
            "\u{85}",
            "\u{2028}",
            "\u{feff}",
            "\t",
            "\n",
            "%a",
            "@",
            "<<",
            "2024-01-01",
            "!t",
            "&a",
            "*a",
        ])
        .prop_map(str::to_owned),
    ]
}

fn tolerated<T: std::fmt::Debug + Clone>(
    value: impl Strategy<Value = T>,
) -> impl Strategy<Value = Option<Tolerated<T>>> {
    prop::option::of((value, tolerate()).prop_map(|(value, tolerate)| Tolerated { value, tolerate }))
}

fn numeric_column() -> impl Strategy<Value = ColumnExpectation> {
    let range = (tolerated(number()), tolerated(number())).prop_map(|(min, max)| match (min, max) {
        (Some(min), Some(max)) if min.value > max.value => (Some(max), Some(min)),
        other => other,
    });
    let kind = prop::sample::select(vec![ExpectedType::Numeric, ExpectedType::Integer]);
    (tolerated(kind), range, prop::option::of(0.0..=1.0_f64)).prop_map(
        |(expected_type, (min, max), missing_max)| ColumnExpectation {
            expected_type,
            min,
            max,
            missing_max,
            required: true,
            ..ColumnExpectation::default()
        },
    )
}

fn text_column() -> impl Strategy<Value = ColumnExpectation> {
    let pattern = text().prop_filter_map("a pattern", |text| {
        Pattern::parse(&text).or_else(|_| Pattern::parse(&regex::escape(&text))).ok()
    });
    let allowed = prop::collection::btree_set(text(), 1..12);
    (tolerated(allowed), tolerated(pattern), prop::option::of(0.0..=1.0_f64)).prop_map(
        |(allowed, pattern, unique_min)| ColumnExpectation {
            expected_type: Some(Tolerated::strictly(ExpectedType::Categorical)),
            allowed,
            pattern,
            unique_min,
            ..ColumnExpectation::default()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_written_is_read_back(
        columns in prop::collection::btree_map(
            (prop::option::of(prop::sample::select(vec![Role::Feature, Role::Output])), text().prop_filter("a name", |name| !name.is_empty())),
            prop_oneof![numeric_column(), text_column()],
            1..5,
        ),
        rows in prop::option::of((0..1000_u64, 1000..u64::MAX)),
        milliseconds in prop::option::of(1..1_000_000_000_u64),
        confidence in prop::option::of(0.5..0.9999_f64),
    ) {
        let expectations = Expectations {
            model: None,
            rows_min: rows.map(|(min, _)| min),
            rows_max: rows.map(|(_, max)| max),
            freshness: milliseconds.map(Duration::from_millis),
            confidence,
            columns: columns
                .into_iter()
                .map(|((role, name), column)| ColumnExpectation { name, role, ..column })
                .collect(),
        };
        let text = expectations.to_yaml();
        let hidden = |c: char| c != '\n' && (c.is_control() || "\u{2028}\u{2029}\u{feff}".contains(c));
        prop_assert!(!text.contains(hidden), "{text:?}");
        match Expectations::parse("x.yaml", &text) {
            Ok(read) => prop_assert_eq!(read, expectations, "{}", text),
            Err(problems) => prop_assert!(false, "{problems:#?}\n{text}"),
        }
    }

    #[test]
    fn no_text_is_too_odd_to_be_refused(
        text in "((columns|outputs|rows|min|max|allowed|pattern|type|tolerate|value|a|numeric|-1|0\\.5|~)(: |:\n *|, |\n|\\]|\\}|: \\[|: \\{)){0,12}",
        noise in any::<String>(),
    ) {
        for text in [text, noise] {
            if let Err(problems) = Expectations::parse("x.yaml", &text) {
                prop_assert!(!problems.is_empty() && problems.iter().all(|problem| problem.line > 0), "{problems:?}");
            }
        }
    }
}
