//! Tests of rule expressions.

use proptest::prelude::*;

use super::*;
use crate::alert::example;
use crate::drift::{DriftReport, Verdict};

fn outcome(source: &str, for_each: ForEach, report: &DriftReport) -> Outcome {
    let expression =
        Expression::parse(source, for_each).unwrap_or_else(|problem| panic!("{source}: {problem}"));
    let column = (for_each != ForEach::Model).then(|| &report.features[0]);
    expression.evaluate(&Engine::new(), Scope { report, column, segment: None })
}

#[track_caller]
fn check_refused(source: &str, for_each: ForEach, expected: &str) {
    let problem = Expression::parse(source, for_each).expect_err(source);
    assert!(problem.contains(expected), "{source}: {problem}");
    assert!(!problem.contains('\n'), "{problem}");
}

#[test]
fn a_column_is_judged() {
    let report = example::report(&[("temp", 0.3), ("hum", 0.0)]);
    for (source, expected) in [
        (r#"verdict == "drift""#, true),
        (r#"verdict != "drift""#, false),
        ("psi > 0.25 && n >= 500", true),
        ("psi > 0.25 && n >= 5000", false),
        ("n < 0.2 * n_reference", true),
        ("n / 3 > 333", true),
        ("n == 1000", true),
        ("n - 1 < n", true),
        ("p <= 0.05", true),
        ("abs(-mean_shift) > 0.5", true),
        ("mean_shift > -1", true),
        (r#"feature in ["temp", "hum"] && role == "feature""#, true),
        (r#"feature.startsWith("te")"#, true),
        (r#"verdict in ["drift"]"#, true),
        (r#"kind == "numeric" ? psi > 0.2 : chi2 > 10"#, true),
        ("[0.1, 0.2].exists(floor, psi > floor)", true),
        ("[0.1, 0.9].all(floor, psi > floor)", false),
        ("[0.1, 0.9].exists_one(floor, psi > floor)", true),
        ("0.1 in [0.1, 0.2].filter(x, x < 0.15)", true),
        ("loss_share > 0.005", true),
        (r#"model == "bike-demand""#, true),
        ("rows > 10 // enough", true),
        ("1 / 0 > 1", true),
        ("true", true),
    ] {
        let expected = if expected { Outcome::Breach } else { Outcome::Clear };
        assert_eq!(outcome(source, ForEach::Feature, &report), expected, "{source}");
    }
}

#[test]
fn the_model_is_judged() {
    let report = example::report(&[("temp", 0.3), ("hum", 0.2), ("wind", 0.0)]);
    for source in
        [r#"verdict == "drift""#, "drifted >= 2", "drifted / features > 0.5", "n == rows", "n_reference > n"]
    {
        assert_eq!(outcome(source, ForEach::Model, &report), Outcome::Breach, "{source}");
    }
}

#[test]
fn a_statistic_that_does_not_apply_never_alerts() {
    let mut report = example::report(&[("temp", 0.3)]);
    report.features[0].statistics.insert("ks".to_owned(), f64::NAN);
    report.features[0].p_adjusted = None;
    for (source, expected) in [
        ("chi2 > 10", Outcome::Clear),
        ("!(chi2 < 10)", Outcome::Clear),
        ("ks > 0 || ks <= 0", Outcome::Clear),
        ("chi2 != 3", Outcome::Clear),
        ("p <= 0.05", Outcome::Clear),
        ("p > 0.05", Outcome::Clear),
        ("chi2 > 10 || psi > 0.25", Outcome::Breach),
        ("psi > 0.25 || chi2 > 10", Outcome::Breach),
        ("psi > 0.25 && chi2 > 10", Outcome::Clear),
        ("abs(wasserstein) > 0", Outcome::Clear),
    ] {
        assert_eq!(outcome(source, ForEach::Feature, &report), expected, "{source}");
    }
}

#[test]
fn a_window_that_says_too_little_is_inconclusive() {
    for verdict in [Verdict::InsufficientData, Verdict::Untrusted] {
        let mut report = example::report(&[("temp", 0.3)]);
        (report.verdict, report.features[0].verdict) = (verdict, verdict);
        for (source, expected) in [
            (r#"verdict == "drift""#, Outcome::Inconclusive),
            ("psi > 0.25", Outcome::Inconclusive),
            ("n < 5000", Outcome::Breach),
            ("loss_share > 0.5", Outcome::Clear),
            (r#"verdict in ["insufficient_data", "untrusted"]"#, Outcome::Breach),
        ] {
            assert_eq!(outcome(source, ForEach::Feature, &report), expected, "{source}");
        }
        assert_eq!(outcome("drifted > 0", ForEach::Model, &report), Outcome::Inconclusive);
    }
}

#[test]
fn mistakes_are_named() {
    for (source, expected) in [
        ("verdikt == \"drift\"", "unknown name `verdikt`, did you mean `verdict`?"),
        ("verdict == \"drifted\"", "`verdict` is never `drifted`, did you mean `drift`?"),
        ("verdict in [\"drift\", \"bad\"]", "`verdict` is never `bad`"),
        ("psi > \"a\"", "expected a number, found text"),
        ("psi == \"a\"", "expected two of a kind, found a number and text"),
        ("psi", "the expression: expected true or false, found a number"),
        ("psi && true", "`&&`: expected true or false, found a number"),
        ("psi > 0.1 ? 1 : \"a\"", "expected two of a kind"),
        ("psi >", "expected a CEL expression: line 1, column"),
        ("psi = 1", "expected a CEL expression"),
        ("(psi > 1", "expected a CEL expression"),
        ("", "found nothing"),
        ("  ", "found nothing"),
        ("drifted > 1", "only for `for_each: model`"),
        ("abss(psi) > 1", "unknown function `abss`, did you mean `abs`?"),
        ("psi.sqrt() > 1", "unknown function `sqrt`"),
        ("abs() > 1", "not called like that"),
        ("latency.p999 > 2", "unknown name `latency.p999`, did you mean `latency.p9"),
        ("n % 2 == 0", "no `%`"),
        ("[1, 2][0] == 1", "no `[…]`"),
        ("{\"a\": 1} == {}", "no `{…}`"),
        ("null == psi", "expected a number, text"),
        ("[1, \"a\"].exists(x, x == 1)", "a list's element"),
        ("[1].exists(x, [2].exists(y, x == y))", "inside another"),
        ("psi in 3", "after `in`: expected a list"),
        (&"a".repeat(5000), "at most 4096 bytes"),
    ] {
        check_refused(source, ForEach::Feature, expected);
    }
    check_refused("psi > 0.1", ForEach::Model, "only for `for_each: feature` and `output`");
}

#[test]
fn nothing_in_an_expression_grows_without_bound() {
    let long = |part: &str, count: usize| part.repeat(count);
    for (source, expected) in [
        ("[1, 2].map(x, x * 2) == [2, 4]", "unknown function `map`"),
        ("2 in [1, 2].map(x, x > 1, x * 2)", "unknown function `map`"),
        ("[1].map(x, [x, x]).map(x, [x, x]).map(x, [x, x]) == []", "unknown function `map`"),
        ("[1, 2].map(x, [1, 2].map(y, x + y)).exists(z, z == [2])", "unknown function `map`"),
        ("[1].exists(x, [1].all(y, [1].exists(z, z == y)))", "inside another"),
        ("[1].filter(x, [2].exists(y, y > x)).exists(z, z > 1)", "inside another"),
        ("feature.matches(\"(a+)+$\")", "unknown function `matches`"),
        (&format!("feature.matches(\"{}\")", long("(x{999}){999}", 30)), "unknown function `matches`"),
        ("feature + feature == \"aa\"", "arithmetic: expected a number, found text"),
        (&format!("{}feature == \"\"", long("feature + ", 25)), "arithmetic: expected a number, found text"),
        ("feature * 1000 == feature", "arithmetic: expected a number, found text"),
        ("size(feature) > 1", "unknown function `size`"),
        ("feature.size() > 1", "unknown function `size`"),
        ("string(psi) == feature", "unknown function `string`"),
        ("has(feature.x)", "expected a name before `.`"),
        ("{1: psi}.all(k, k > 0)", "no `{…}`"),
        ("psi.exists(x, x > 1)", "runs over: expected a list, found a number"),
        ("timestamp(\"2026-01-01T00:00:00Z\") > 1", "unknown function `timestamp`"),
    ] {
        check_refused(source, ForEach::Feature, expected);
    }
    // What is left runs over lists that stand in the rule, once, and lists only add up.
    let report = example::report(&[("temp", 0.3)]);
    let list = format!("[{}]", vec!["0.1"; 90].join(", "));
    let source = format!("({list} + {list}).filter(x, x < psi).all(y, y < 0.2)");
    assert_eq!(outcome(&source, ForEach::Feature, &report), Outcome::Breach);
}

/// Sources that abort a careless parser, walker, evaluator or destructor.
fn hostile() -> Vec<String> {
    let long = |part: &str| part.repeat(MAX_SOURCE / part.len());
    let mut sources = Vec::new();
    for depth in [10, 20, 30, 31, 32, 33, 47, 48, 49, 90, 500, 2000] {
        sources.push(format!("{}1{} > 0", "(".repeat(depth), ")".repeat(depth)));
        sources.push(format!("{}psi > 1{}", "!(".repeat(depth), ")".repeat(depth)));
        sources.push(format!("{}1{} > 0", "[".repeat(depth), "]".repeat(depth)));
        sources.push(format!("psi{} > 0", "+1".repeat(depth)));
        sources.push(format!("1 < {}psi", "-".repeat(depth)));
        sources.push(format!("{}true", "psi > 1 ? true : ".repeat(depth)));
        sources.push(format!("{}1{} > 0", "abs(".repeat(depth), ")".repeat(depth)));
        sources.push(format!("true{}", " && psi > 0".repeat(depth)));
        sources.push(format!("true{}", " || psi > 0".repeat(depth)));
        sources.push(format!("true{}", " == true".repeat(depth)));
        sources.push(format!("[1]{}.exists(x, x == 1)", ".filter(x, true)".repeat(depth)));
        sources.push(format!("psi{} > 1", ".a".repeat(depth)));
    }
    sources.extend(
        ["(", ")", "[", "{", "!", "-", "1+", "a.", "a?", "a?b:", "\"", "\\", "[].all(x,", "abs("].map(long),
    );
    sources.extend([long("1+") + "1", "x in [".to_owned() + &"1,".repeat(2000) + "1]"]);
    sources
}

#[test]
fn nothing_overflows_a_stack_of_two_megabytes() {
    let run = || {
        let report = example::report(&[("temp", 0.3)]);
        let engine = Engine::new();
        let mut accepted = 0;
        for source in hostile() {
            if let Ok(expression) = Expression::parse(&source, ForEach::Feature) {
                expression.evaluate(
                    &engine,
                    Scope { report: &report, column: Some(&report.features[0]), segment: None },
                );
                accepted += 1;
            }
        }
        accepted
    };
    let accepted = std::thread::Builder::new().stack_size(2 << 20).spawn(run).unwrap().join().unwrap();
    assert!(accepted >= 20, "only {accepted} of the hostile sources are within the limits");
}

#[test]
fn the_depth_limit_is_where_it_is_said_to_be() {
    let sum = |terms: usize| format!("psi{} > 0", " + 1".repeat(terms - 1));
    // The comparison is level 1, the sums levels 2 to `terms`, the innermost name one more.
    assert!(Expression::parse(&sum(MAX_DEPTH - 1), ForEach::Feature).is_ok());
    check_refused(&sum(MAX_DEPTH), ForEach::Feature, "32 levels");
    let wide = format!("feature in [{}\"z\"]", "\"a\",".repeat(600));
    check_refused(&wide, ForEach::Feature, "500 ");
}

#[test]
fn expressions_can_be_shared_between_threads() {
    fn shared<T: Send + Sync + 'static>() {}
    shared::<Expression>();
}

proptest! {
    #[test]
    fn any_text_is_parsed_or_refused(source in ".{0,200}") {
        drop(Expression::parse(&source, ForEach::Feature));
    }

    #[test]
    fn any_mixture_of_tokens_is_parsed_or_refused(
        tokens in prop::collection::vec(
            prop::sample::select(vec![
                "psi", "n", "verdict", "\"drift\"", "1", "0.5", "true", "(", ")", "[", "]", ",", "+", "-", "*", "/",
                "&&", "||", "!", "==", "<", ">", "?", ":", "in", ".exists(x, ", ".all(x, ", "abs(", "x", ".", "{", "}",
            ]),
            0..60,
        )
    ) {
        let report = example::report(&[("temp", 0.3)]);
        if let Ok(expression) = Expression::parse(&tokens.join(" "), ForEach::Feature) {
            expression.evaluate(&Engine::new(), Scope { report: &report, column: Some(&report.features[0]), segment: None });
        }
    }
}
