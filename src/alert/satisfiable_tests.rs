//! Tests of what is found to be never true.

use proptest::prelude::*;

use crate::alert::example;
use crate::alert::expression::{Engine, Expression, Outcome};
use crate::alert::vocabulary::{ForEach, Names, Scope};

#[track_caller]
fn check_impossible(source: &str, names: Names, expected: &str) {
    let problem = Expression::parse_with(source, names).expect_err(source);
    let expected = format!("the condition can never be true: {expected}");
    assert!(problem.starts_with(&expected), "{source}\n{problem}\n{expected}");
}

const COLUMN: Names = Names::Window(ForEach::Feature);
const MODEL: Names = Names::Window(ForEach::Model);

#[test]
fn what_can_never_be_true_is_refused() {
    for (source, names, expected) in [
        ("false", MODEL, "a part without names is false"),
        ("1 > 2", MODEL, "a part without names is false"),
        ("!(2 > 1) || \"a\" == \"b\"", MODEL, "a part without names is false"),
        ("0 / 0 > 1", MODEL, "a part without names is false"),
        ("rows > 10 && 2 + 2 == 5", MODEL, "a part without names is false"),
        ("psi > 1 && psi < 0.5", COLUMN, "`psi` would have to be over 1 and under 0.5"),
        ("psi > 0.25 && n > 5 && !(psi > 0.1)", COLUMN, "`psi` would have to be over 0.25 and at most 0.1"),
        ("0.5 > psi && 1 <= psi", COLUMN, "`psi` would have to be under 0.5 and at least 1"),
        ("psi > 0.5 && psi <= 0.5", COLUMN, "`psi` would have to be"),
        ("psi == 0.5 && psi != 0.5", COLUMN, "`psi` would have to be"),
        ("psi == 0.5 && psi == 0.6", COLUMN, "`psi` would have to be"),
        ("(psi > 1 || psi > 2) && psi < 1", COLUMN, "`psi` would have to be"),
        ("psi > 1 ? psi < 0.5 : psi > 2", COLUMN, "`psi` would have to be"),
        ("psi < -1", COLUMN, "`psi` is never under -1: it is at least 0"),
        ("loss_share > 2", MODEL, "`loss_share` is never over 2: it is at least 0 and at most 1"),
        ("missing_share >= 5", COLUMN, "`missing_share` is never at least 5"),
        ("latency.p99 > 2 && error_rate > 5.0", MODEL, "`error_rate` is never over 5"),
        ("p > 1 || p < 0", COLUMN, "`p` is never over 1"),
        ("traffic.p.error_share > 1", MODEL, "`traffic.p.error_share` is never over 1"),
        (
            r#"verdict == "ok" && verdict == "drift""#,
            MODEL,
            "`verdict` would have to be different words at once",
        ),
        (r#"verdict in ["ok", "drift"] && !(verdict in ["drift", "ok"])"#, MODEL, "`verdict` would"),
        (r#"verdict == "ok" && verdict != "ok""#, MODEL, "`verdict` would"),
        ("no_data && !no_data", Names::Look, "`no_data` would have to be both true and false"),
        ("no_data && false", Names::Look, "a part without names is false"),
    ] {
        check_impossible(source, names, expected);
    }
}

#[test]
fn what_could_be_true_is_accepted() {
    for (source, names) in [
        ("true", MODEL),
        ("psi > 0.5 && psi < 0.500001", COLUMN),
        ("psi >= 0.5 && psi <= 0.5", COLUMN),
        ("psi >= 1 && (psi < 0.5 || n > 3)", COLUMN),
        ("mean_shift < -3 || missing_delta < -0.5", COLUMN),
        ("traffic.ratio.error_share > 3", MODEL),
        ("rows == 0", MODEL),
        ("loss_share >= 1", MODEL),
        ("psi > ks && psi < ks", COLUMN),
        ("[1, 2].exists(x, x > 3)", COLUMN),
        (r#"verdict != "ok" && verdict != "drift""#, MODEL),
        ("psi > 1 - 2 && psi < abs(-2) * 3 / 2", COLUMN),
        ("requests == 0 && seconds_since_prediction > 60", Names::Look),
    ] {
        assert!(
            Expression::parse_with(source, names).is_ok(),
            "{source}: {:?}",
            Expression::parse_with(source, names)
        );
    }
    // More alternatives than are looked at.
    let many = ["(psi > 1 || psi < 0.5)"; 12].join(" && ");
    assert!(Expression::parse_with(&many, COLUMN).is_ok());
}

proptest! {
    /// Whatever is refused is indeed false for every value tried.
    #[test]
    fn nothing_that_is_true_somewhere_is_refused(
        bounds in prop::collection::vec((prop::sample::select(vec!["<", "<=", "==", "!=", ">=", ">"]), 0..4_u32), 1..4),
        joins in prop::collection::vec(prop::sample::select(vec!["&&", "||"]), 3),
        negated in prop::collection::vec(any::<bool>(), 4),
    ) {
        let source = bounds.iter().enumerate().fold(String::new(), |source, (index, (relation, bound))| {
            let part = format!("psi {relation} {}", f64::from(*bound) / 2.0);
            let part = if negated[index] { format!("!({part})") } else { part };
            if index == 0 { part } else { format!("({source}) {} {part}", joins[index]) }
        });
        let truth = |expression: &Expression| (0..40_u32).any(|step| {
            let report = example::report(&[("temp", f64::from(step) / 16.0)]);
            let scope = Scope { report: &report, column: Some(&report.features[0]), segment: None };
            expression.evaluate(&Engine::new(), scope) == Outcome::Breach
        });
        if let Ok(expression) = Expression::parse(&source, ForEach::Feature) {
            prop_assert!(truth(&expression), "{} is accepted", source);
        } else {
            // A part that may be anything keeps the check from refusing it, and is false here.
            let open = format!("({source}) || n > 1e300 * rows");
            prop_assert!(!truth(&Expression::parse(&open, ForEach::Feature).unwrap()), "{} is refused", source);
        }
    }
}
