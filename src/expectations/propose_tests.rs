//! Tests of the proposal: what it says of a small baseline, and that data like the baseline's keep to it.

use chrono::DateTime;
use proptest::prelude::*;

use super::*;
use crate::baseline::{BuildOptions, CutOptions, SourceColumn, build};
use crate::expectations::{CheckVerdict, Observed, ObservedColumn, evaluate};
use crate::model::{ModelName, Value};
use crate::profile::{CheckCounts, CountedWith, Layout};

type Columns = Vec<(&'static str, Role, Vec<Value>)>;

fn baseline(columns: &Columns) -> Baseline {
    let sources: Vec<SourceColumn> = columns
        .iter()
        .map(|(name, role, values)| SourceColumn { name, role: *role, kind: None, values })
        .collect();
    let model = ModelName::parse("bikes").unwrap();
    let options =
        BuildOptions { model, source: "ref.csv".to_owned(), cut: CutOptions::default(), joint: false };
    build(&sources, None, options).unwrap()
}

/// A window as the profile will count it.
fn observe(layout: &Layout, expectations: &Expectations, columns: &Columns) -> Observed {
    let compiled = expectations.compile(layout);
    let observed = layout.columns().iter().zip(&compiled.columns).map(|(column, checks)| {
        let (_, _, values) =
            columns.iter().find(|(name, role, _)| *name == column.name && *role == column.role).unwrap();
        let mut seen = ObservedColumn {
            name: column.name.clone(),
            role: column.role,
            kind: column.kind,
            usable: 0,
            missing: 0,
            nan: 0,
            wrong_type: 0,
            pos_inf: 0,
            neg_inf: 0,
            distinct: None,
            checks: CheckCounts::default(),
        };
        for value in values {
            match (value, column.kind) {
                (Value::Missing, _) => seen.missing += 1,
                (Value::Number(number), FeatureKind::Numeric) => {
                    seen.usable += 1;
                    if let Some(checks) = checks {
                        checks.count_number(&mut seen.checks, *number);
                    }
                }
                (Value::Text(text), FeatureKind::Categorical) => {
                    seen.usable += 1;
                    if let Some(checks) = checks {
                        checks.count_text(&mut seen.checks, text);
                    }
                }
                (Value::Bool(_), FeatureKind::Boolean) => seen.usable += 1,
                _ => seen.wrong_type += 1,
            }
        }
        seen
    });
    Observed {
        window_start: DateTime::UNIX_EPOCH,
        window_end: DateTime::UNIX_EPOCH,
        rows: columns[0].2.len() as u64,
        latest: None,
        counted_with: CountedWith::Version(compiled.version),
        columns: observed.collect(),
    }
}

fn numbers(values: impl Iterator<Item = f64>) -> Vec<Value> {
    values.map(Value::Number).collect()
}

#[test]
fn a_proposal_says_where_each_figure_comes_from() {
    let row = |make: &dyn Fn(u32) -> Value| (0..1000).map(make).collect::<Vec<Value>>();
    let mut temp = numbers((0..1000).map(|i| f64::from(i % 900) * 0.05 - 8.0));
    temp[3] = Value::Missing;
    let seasons = ["fall", "spring", "summer", "winter"];
    let columns = vec![
        ("temp", Role::Feature, temp),
        ("hour", Role::Feature, numbers((0..1000).map(|i| f64::from(i % 24)))),
        ("season", Role::Feature, row(&|i| Value::Text(seasons[i as usize % 4].to_owned()))),
        ("on holiday", Role::Feature, row(&|i| Value::Bool(i % 7 == 0))),
        ("plate", Role::Feature, row(&|i| Value::Text(format!("{i:06}")))),
        ("count", Role::Output, numbers((0..1000).map(|i| f64::from(i) + 0.5))),
    ];
    let baseline = baseline(&columns);
    let options = ProposeOptions { rows_per_window: vec![80, 120, 100], ..ProposeOptions::default() };
    let proposal = propose(&baseline, &options);
    let expected = format!(
        "\
# Proposed from baseline {} (1,000 rows of ref.csv).
# `tolerate` is the share of values that may be otherwise. A share that was not seen in the reference
# data may still be as large as stated: the upper end of its exact 99.9 % interval.
# Correct what you know better.
model: bikes
rows: {{min: 40, max: 240}}  # 80 to 120 rows in 3 windows; half and twice that
features:
  temp:
    tolerate: 0.0069
    type: numeric  # numbers
    missing: {{max: 0.0092}}  # 1 of 1,000 rows (0.1 %); upper end of the 99.9 % interval
    min: -12.5  # -8 was the least; widened by 10 % of the range
    max: 41.5  # 36.95 was the greatest; widened by 10 % of the range
  hour:
    tolerate: 0.0069
    type: integer  # only whole numbers
    required: true  # a value in all 1,000 rows
    missing: {{max: 0.0069}}  # 0 of 1,000 rows (0 %); upper end of the 99.9 % interval
    min: 0  # 0 was the least; values were on one side of 0 only
    max: 26  # 23 was the greatest; widened by 10 % of the range
  season:
    tolerate: 0.0069
    type: categorical  # names out of a set
    required: true  # a value in all 1,000 rows
    missing: {{max: 0.0069}}  # 0 of 1,000 rows (0 %); upper end of the 99.9 % interval
    allowed: [fall, spring, summer, winter]  # the 4 of the reference data
  \"on holiday\":
    type: {{value: boolean, tolerate: 0.0069}}  # truth values
    required: true  # a value in all 1,000 rows
    missing: {{max: 0.0069}}  # 0 of 1,000 rows (0 %); upper end of the 99.9 % interval
  plate:
    tolerate: 0.0069
    type: categorical  # names out of a set
    required: true  # a value in all 1,000 rows
    missing: {{max: 0.0069}}  # 0 of 1,000 rows (0 %); upper end of the 99.9 % interval
    pattern: \"^[0-9]{{6}}$\"  # the most frequent 256 values are 6 digits
outputs:
  count:
    tolerate: 0.0069
    type: numeric  # numbers
    required: true  # a value in all 1,000 rows
    missing: {{max: 0.0069}}  # 0 of 1,000 rows (0 %); upper end of the 99.9 % interval
    min: 0  # 0.5 was the least; values were on one side of 0 only
    max: 1100  # 999.5 was the greatest; widened by 10 % of the range
",
        baseline.version()
    );
    assert_eq!(proposal.yaml, expected, "{}", proposal.yaml);
    let read = Expectations::parse("x.yaml", &proposal.yaml).unwrap();
    assert_eq!(read, proposal.expectations);
    assert!(read.misfits(baseline.layout()).is_empty());
    let results = evaluate(&read, &observe(baseline.layout(), &read, &columns));
    let own: Vec<_> = results.iter().filter(|result| result.column.is_some()).collect();
    assert!(own.len() > 20 && own.iter().all(|result| result.verdict == CheckVerdict::Ok), "{own:#?}");
}

#[test]
fn distinct_values_are_proposed_where_they_are_known() {
    let columns = vec![("id", Role::Feature, numbers((0..2000).map(|i| f64::from(i) * 1.5)))];
    let baseline = baseline(&columns);
    let unique = |distinct: Option<f64>| {
        let distinct =
            distinct.map(|distinct| ((Role::Feature, "id".to_owned()), distinct)).into_iter().collect();
        propose(&baseline, &ProposeOptions { distinct, ..ProposeOptions::default() }).expectations.columns[0]
            .unique_min
    };
    assert_eq!(unique(None), None);
    assert_eq!(unique(Some(1000.0)), None);
    assert_eq!(unique(Some(1990.0)), Some(0.92));
}

/// Draws of a small generator, so that the figures below are the same everywhere.
fn draws(seed: u64) -> impl Iterator<Item = f64> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1_u64 << 53) as f64
    })
}

fn drawn(rows: usize, seed: u64) -> Columns {
    let mut draws = draws(seed);
    let mut next = move || draws.next().unwrap();
    let (mut heavy, mut gaps, mut names) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rows {
        // Tails without a mean: the range of the next window is wider as often as not.
        heavy.push(Value::Number((std::f64::consts::PI * (next() - 0.5)).tan()));
        gaps.push(if next() < 0.02 { Value::Missing } else { Value::Number((next() * 10.0).floor()) });
        // One name in two hundred is rare enough to be missed by a small baseline.
        names.push(Value::Text(format!("n{}", (next() * next() * 15.0).floor())));
    }
    vec![("heavy", Role::Feature, heavy), ("gaps", Role::Feature, gaps), ("names", Role::Feature, names)]
}

#[test]
fn windows_like_the_baseline_keep_to_the_proposal() {
    let (mut judged, mut violated) = (0, Vec::new());
    for seed in 1..=8 {
        let baseline = baseline(&drawn(500, seed));
        let expectations = propose(&baseline, &ProposeOptions::default()).expectations;
        for window in 0..12 {
            let rows = [20, 200, 1000][usize::try_from(window).unwrap() % 3];
            let observed = observe(baseline.layout(), &expectations, &drawn(rows, 1000 * seed + window));
            let results = evaluate(&expectations, &observed);
            judged += results.len();
            violated.extend(results.into_iter().filter(|result| result.verdict == CheckVerdict::Violated));
        }
    }
    assert!(judged > 800, "{judged}");
    assert!(violated.len() <= 1, "{} of {judged}: {violated:#?}", violated.len());
}

#[test]
fn what_goes_wrong_is_found() {
    let baseline = baseline(&drawn(2000, 5));
    let expectations = propose(&baseline, &ProposeOptions::default()).expectations;
    let mut window = drawn(500, 77);
    for row in 0..60 {
        window[0].2[row] = Value::Number(1e9);
        window[1].2[row] = Value::Missing;
        window[2].2[row] = Value::Text("new".to_owned());
    }
    let results = evaluate(&expectations, &observe(baseline.layout(), &expectations, &window));
    let found: Vec<(&str, CheckKind)> = results
        .iter()
        .filter(|result| result.verdict == CheckVerdict::Violated)
        .map(|result| (result.column.as_deref().unwrap_or_default(), result.check))
        .collect();
    let expected = [("heavy", CheckKind::Max), ("gaps", CheckKind::Missing), ("names", CheckKind::Allowed)];
    assert_eq!(found, expected, "{results:#?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_proposal_holds_its_own_baseline_and_reads_back(
        values in prop::collection::vec(
            prop_oneof![
                5 => any::<f64>().prop_filter("a value", |value| value.is_finite()).prop_map(Value::Number),
                3 => (-3..3_i32).prop_map(|value| Value::Number(f64::from(value))),
                1 => Just(Value::Missing),
            ],
            1..200,
        ),
        texts in prop::collection::vec("[a-c#:\"\\PC]{0,3}", 1..6),
        margin in 0.0..1.0_f64,
    ) {
        prop_assume!(values.iter().any(|value| *value != Value::Missing));
        let texts = (0..values.len()).map(|row| Value::Text(texts[row % texts.len()].clone())).collect();
        let columns = vec![("n", Role::Feature, values), ("t", Role::Output, texts)];
        let baseline = baseline(&columns);
        let options = ProposeOptions { range_margin: margin, ..ProposeOptions::default() };
        let proposal = propose(&baseline, &options);
        match Expectations::parse("x.yaml", &proposal.yaml) {
            Ok(read) => prop_assert_eq!(&read, &proposal.expectations, "{}", proposal.yaml),
            Err(problems) => prop_assert!(false, "{problems:#?}\n{}", proposal.yaml),
        }
        let observed = observe(baseline.layout(), &proposal.expectations, &columns);
        for result in evaluate(&proposal.expectations, &observed) {
            prop_assert!(result.verdict != CheckVerdict::Violated, "{result:?}\n{}", proposal.yaml);
            if matches!(result.check, CheckKind::Min | CheckKind::Max | CheckKind::Allowed | CheckKind::Type) {
                prop_assert_eq!(result.count, 0, "{:?}\n{}", &result, &proposal.yaml);
            }
        }
    }
}
