//! Tests of the verdicts: every check, its limits, and what cannot be said.

use super::*;

const START: i64 = 1_700_000_000;

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(START + seconds, 0).unwrap()
}

fn column(kind: FeatureKind) -> ObservedColumn {
    ObservedColumn {
        name: "x".to_owned(),
        role: Role::Feature,
        kind,
        usable: 1000,
        missing: 0,
        nan: 0,
        wrong_type: 0,
        pos_inf: 0,
        neg_inf: 0,
        distinct: None,
        checks: CheckCounts::default(),
    }
}

fn window(expectations: &Expectations, column: ObservedColumn) -> Observed {
    Observed {
        window_start: at(0),
        window_end: at(3600),
        rows: column.rows(),
        latest: Some(at(3000)),
        counted_with: CountedWith::Version(expectations.counting_version()),
        columns: vec![column],
    }
}

fn parse(text: &str) -> Expectations {
    Expectations::parse("x.yaml", text).unwrap_or_else(|problems| panic!("{problems:?}"))
}

/// Judges one check on one column.
#[track_caller]
fn check(checks: &str, column: ObservedColumn, verdict: CheckVerdict, reason: &str) -> CheckResult {
    let expectations = parse(&format!("columns: {{x: {{{checks}}}}}"));
    let results = evaluate(&expectations, &window(&expectations, column));
    let [result] = results.as_slice() else { panic!("{results:#?}") };
    assert_eq!((result.verdict, result.reason.as_str()), (verdict, reason), "{checks}");
    result.clone()
}

fn counts(make: impl FnOnce(&mut CheckCounts)) -> ObservedColumn {
    let mut column = column(FeatureKind::Numeric);
    make(&mut column.checks);
    column
}

use CheckVerdict::{InsufficientData, Ok as Fine, Unknown, Violated};

#[test]
fn without_tolerance_one_value_is_enough() {
    let result = check(
        "min: -30",
        counts(|counts| counts.under_min = 12),
        Violated,
        "12 of 1,000 values (1.2 %) are under min -30; none may be",
    );
    assert_eq!((result.check, result.count, result.rows), (CheckKind::Min, 12, 1000));
    assert_eq!((result.observed, result.limit), (Some(0.012), 0.0));
    check("min: -30", counts(|_| ()), Fine, "none of 1,000 values is under min -30");
    check(
        "max: 1.5",
        ObservedColumn { pos_inf: 1, ..counts(|counts| counts.over_max = 1) },
        Violated,
        "1 of 1,000 values (0.1 %) is over max 1.5, 1 of them infinity; none may be",
    );
    let none = ObservedColumn { usable: 0, missing: 5, ..column(FeatureKind::Numeric) };
    let result = check("min: 0", none, InsufficientData, "the window has no value to look at");
    assert_eq!(result.observed, None);
}

#[test]
fn with_tolerance_it_has_to_be_more_than_chance() {
    let under = |count| counts(|counts| counts.under_min = count);
    check(
        "min: {value: 0, tolerate: 0.01}",
        under(10),
        Fine,
        "10 of 1,000 values (1 %) are under min 0; at most 1 % may be",
    );
    check(
        "min: {value: 0, tolerate: 0.01}",
        under(12),
        Fine,
        "12 of 1,000 values (1.2 %) are under min 0; at most 1 % may be, and so many of so few can be chance (p 0.3)",
    );
    check(
        "min: {value: 0, tolerate: 0.01}",
        under(30),
        Violated,
        "30 of 1,000 values (3 %) are under min 0; at most 1 % may be (p 2e-7)",
    );
    let few = ObservedColumn { usable: 5, ..under(4) };
    check(
        "min: {value: 0, tolerate: 0.5}",
        few,
        InsufficientData,
        "4 of 5 values (80 %) are under min 0; at most 50 % may be, and 5 values are too few to tell",
    );
}

#[test]
fn plain_comparison_can_be_asked_for() {
    let expectations = parse("confidence: none\ncolumns: {x: {missing: {max: 0.01}}}");
    for (missing, verdict) in [(10, Fine), (11, Violated)] {
        let column = ObservedColumn { usable: 1000 - missing, missing, ..column(FeatureKind::Numeric) };
        let results = evaluate(&expectations, &window(&expectations, column));
        assert_eq!(results[0].verdict, verdict, "{missing}");
    }
}

#[test]
fn a_missing_value_is_absent_null_or_nan() {
    let column = ObservedColumn { usable: 900, missing: 60, nan: 40, ..column(FeatureKind::Numeric) };
    check(
        "missing: {max: 0.02}",
        column,
        Violated,
        "100 of 1,000 rows (10 %) are without a value; at most 2 % may be (p 1e-38)",
    );
}

#[test]
fn a_required_column_has_a_value_somewhere() {
    let gone = |rows| ObservedColumn { usable: 0, missing: rows, ..column(FeatureKind::Numeric) };
    check("required: true", gone(3), Violated, "`x` has no value in any of 3 rows");
    check("required: true", gone(0), InsufficientData, "the window has no row to look at");
    let one = ObservedColumn { usable: 1, missing: 999, ..column(FeatureKind::Numeric) };
    check("required: true", one, Fine, "1 of 1,000 rows have a value");
    let expectations = parse("columns: {x: {required: true, missing: {max: 0.9}}}");
    for (rows, verdict) in [(10, InsufficientData), (100, Violated)] {
        let results = evaluate(&expectations, &window(&expectations, gone(rows)));
        assert_eq!(results[0].verdict, verdict, "{rows}: {}", results[0].reason);
    }
}

#[test]
fn types_are_checked_on_what_was_sent() {
    let wrong = || ObservedColumn { usable: 990, wrong_type: 10, ..column(FeatureKind::Numeric) };
    check("type: numeric", wrong(), Violated, "10 of 1,000 values (1 %) are not numeric; none may be");
    let mut both = wrong();
    both.checks.not_integer = 5;
    check("type: integer", both, Violated, "15 of 1,000 values (1.5 %) are not integer; none may be");
    check(
        "type: categorical",
        wrong(),
        Unknown,
        "the baseline has `x` as numeric, not categorical: correct `type`, or build the baseline with `--kind \
         x=categorical`",
    );
}

#[test]
fn allowed_values_and_patterns() {
    let mut texts = column(FeatureKind::Categorical);
    (texts.checks.not_allowed, texts.checks.no_match) = (1, 1000);
    let result = check(
        "allowed: [a, b]",
        texts.clone(),
        Violated,
        "1 of 1,000 values (0.1 %) is not among the 2 allowed values; none may be",
    );
    assert_eq!(result.check, CheckKind::Allowed);
    check(
        "pattern: '^a'",
        texts.clone(),
        Violated,
        "1,000 of 1,000 values (100 %) are not like `^a`; none may be",
    );
    check("min: 3", texts, Unknown, "`min` cannot be checked on `x`, which is categorical");
}

#[test]
fn distinct_values_are_an_estimate() {
    let with = |distinct| ObservedColumn { distinct, ..column(FeatureKind::Categorical) };
    for (distinct, verdict) in
        [(1000.0, Fine), (1013.0, Fine), (860.0, Fine), (850.0, Violated), (1.0, Violated)]
    {
        let expectations = parse("columns: {x: {unique: {min: 0.9}}}");
        let results = evaluate(&expectations, &window(&expectations, with(Some(distinct))));
        assert_eq!(results[0].verdict, verdict, "{distinct}: {}", results[0].reason);
        assert!(results[0].observed.is_some_and(|share| share <= 1.0));
    }
    check(
        "unique: {min: 0.9}",
        with(Some(860.4)),
        Fine,
        "about 860 of 1,000 values (86 %) are distinct; at least 90 % are expected, which is within the estimate's \
         error of 5 %",
    );
    check("unique: {min: 0.9}", with(None), Unknown, "distinct values are not counted for this column");
}

#[test]
fn rows_and_freshness_are_of_the_window() {
    let expectations = parse("rows: {min: 10, max: 2000}\nfreshness: 15m");
    let judge = |rows, latest: Option<i64>| {
        let mut observed = window(&expectations, column(FeatureKind::Numeric));
        (observed.rows, observed.latest) = (rows, latest.map(at));
        evaluate(&expectations, &observed)
    };
    let verdicts = |results: &[CheckResult]| results.iter().map(|result| result.verdict).collect::<Vec<_>>();
    for (rows, latest, expected) in [
        (1000, Some(3000), [Fine, Fine, Fine]),
        (9, Some(2700), [Violated, Fine, Fine]),
        (2001, Some(2699), [Fine, Violated, Violated]),
        (0, None, [Violated, Fine, Violated]),
        (10, Some(4000), [Fine, Fine, Fine]),
    ] {
        assert_eq!(verdicts(&judge(rows, latest)), expected, "{rows} {latest:?}");
    }
    let results = judge(9, Some(2699));
    assert_eq!(results[0].reason, "the window has 9 rows; at least 10 are expected");
    assert_eq!(
        results[2].reason,
        "the newest row is 15m 1s older than the window's end; at most 15m are expected"
    );
    assert_eq!((results[2].observed, results[2].limit), (Some(901.0), 900.0));
    let daily = parse("freshness: 1d");
    let mut observed = window(&daily, column(FeatureKind::Numeric));
    observed.latest = None;
    assert_eq!(evaluate(&daily, &observed)[0].verdict, InsufficientData);
}

#[test]
fn counts_of_other_expectations_are_not_judged() {
    let expectations = parse("columns: {x: {min: 0, missing: {max: 0.5}, type: numeric}}");
    let version = expectations.counting_version();
    for (counted_with, reason) in [
        (CountedWith::Version(version), None),
        (CountedWith::Mixed, Some("expectations changed within the window")),
        (CountedWith::Without, Some("the window was counted before there were expectations")),
        (CountedWith::Version(version ^ 1), Some("the window was counted with other expectations")),
    ] {
        let mut observed = window(&expectations, counts(|counts| counts.under_min = 3));
        observed.counted_with = counted_with;
        let results = evaluate(&expectations, &observed);
        let verdicts: Vec<_> = results.iter().map(|result| (result.check, result.verdict)).collect();
        let min = if reason.is_some() { Unknown } else { Violated };
        let expected = [(CheckKind::Type, Fine), (CheckKind::Missing, Fine), (CheckKind::Min, min)];
        assert_eq!(verdicts, expected, "{counted_with:?}");
        assert!(reason.is_none_or(|reason| results[2].reason == reason), "{:?}", results[2]);
    }
}

#[test]
fn a_column_that_the_baseline_lacks_is_unknown() {
    let expectations = parse("outputs: {x: {min: 0, required: true}}");
    let results = evaluate(&expectations, &window(&expectations, column(FeatureKind::Numeric)));
    assert_eq!(results.len(), 2);
    assert!(results.iter().all(|result| result.verdict == Unknown && result.role == Some(Role::Output)));
    assert_eq!(worst(&results), Unknown);
    assert_eq!(worst(&[]), Fine);
}

#[test]
fn results_are_stored_without_what_is_absent() {
    let result = check(
        "required: true",
        ObservedColumn { usable: 0, ..column(FeatureKind::Numeric) },
        InsufficientData,
        "the window has no row to look at",
    );
    let json = serde_json::to_value(&result).unwrap();
    assert_eq!(
        json,
        serde_json::json!({
            "column": "x", "role": "feature", "check": "required", "verdict": "insufficient_data", "limit": 1.0,
            "count": 0, "rows": 0, "reason": "the window has no row to look at",
        })
    );
    assert_eq!(serde_json::from_value::<CheckResult>(json).unwrap(), result);
}

#[test]
fn the_rule_errs_as_seldom_as_it_says() {
    let violated = |count: u64| {
        let share = Share { count, of: 1000, unit: "value", what: String::new(), limit: 0.01 };
        judge_share(&share, Some(0.999)).0 == Violated
    };
    let first = (0..1000).find(|&count| violated(count)).unwrap();
    assert!((first..=1000).all(violated));
    assert_eq!(first, 22);
    for (share, probability) in [(0.01, 0.000_65), (0.03, 0.948), (0.04, 0.9994)] {
        let found = at_least(first, 1000, share);
        assert!((found - probability).abs() < 0.01 * probability, "{share}: {found}");
    }
}
