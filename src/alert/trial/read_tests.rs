//! Which test files are read, and what is said of the others.

use proptest::prelude::*;

use super::*;

/// What is wrong with a file, as `line: message`.
fn problems(text: &str) -> Vec<String> {
    let found = TestFile::parse("rules/r.test.yaml", text).unwrap_err();
    found.iter().map(|problem| format!("{}: {}", problem.line, problem.message)).collect()
}

/// A file of one test, of which one line is `line`.
fn with(line: &str) -> String {
    let mut lines = vec!["tests:", "- name: t", "  model: m"];
    let all = ["windows: [{rows: 1}]", "expect: [{after: 1w, alerts: []}]"];
    let key = format!("{}:", line.trim().split(':').next().unwrap());
    let indented: Vec<String> =
        all.iter().filter(|other| !other.starts_with(&key)).map(|other| format!("  {other}")).collect();
    lines.extend(indented.iter().map(String::as_str));
    lines.push(line);
    lines.join("\n")
}

#[test]
fn a_file_names_its_rules_or_is_named_after_them() {
    let text = with("  window: 1d");
    assert_eq!(TestFile::parse("rules/r.test.yaml", &text).unwrap().rule_files, [("r.yaml".to_owned(), 1)]);
    assert_eq!(TestFile::parse("other.yaml", &text).unwrap().rule_files, []);
    let named = format!("rule_files: [a.yaml, b.yaml]\n{text}");
    let files = TestFile::parse("rules/r.test.yaml", &named).unwrap().rule_files;
    assert_eq!(files, [("a.yaml".to_owned(), 1), ("b.yaml".to_owned(), 1)]);
}

/// A line of a test, and what is said of it.
const WRONG: [(&str, &str); 31] = [
    ("  wimdow: 1h", "6: test 1: unknown key `wimdow` in a test, did you mean `window`?"),
    ("  window: 0", "6: test \"t\": `window`: expected a length over 0"),
    ("  window: 1w", "6: test \"t\": `window`: expected a duration such as 30s, 5m, 1h or 30d, found `1w`"),
    ("  windows: []", "5: test \"t\": expected at least one entry in `windows`"),
    ("  windows: [{row: 1}]", "5: test \"t\": unknown key `row` in a window, did you mean `rows`?"),
    ("  windows: [{rows: -1}]", "5: test \"t\": `rows`: expected a whole number, found `-1`"),
    ("  windows: [{repeat: 0}]", "5: test \"t\": `repeat`: expected 1 to 10000, found 0"),
    (
        "  windows: [{repeat: 9000}, {repeat: 9000}]",
        "5: test \"t\": expected at most 10000 windows in a test",
    ),
    (
        "  windows: [{at: noon}]",
        "5: test \"t\": `at`: expected a time such as `2025-01-01T00:00:00Z`, found `noon`",
    ),
    ("  windows: [{loss_share: 2}]", "5: test \"t\": `loss_share`: expected a number from 0 to 1, found `2`"),
    (
        "  windows: [{verdict: drifted}]",
        "5: test \"t\": `verdict`: expected one of `ok`, `drift`, `insufficient_data`, `untrusted`, found `drifted`, did you mean `drift`?",
    ),
    ("  windows: [{columns: [temp]}]", "5: test \"t\": `columns`: expected a mapping, found a list"),
    (
        "  windows: [{columns: {temp: {psy: 1}}}]",
        "5: test \"t\": unknown key `psy` in the column `temp`, did you mean `psi`?",
    ),
    ("  windows: [{columns: {temp: {psi: high}}}]", "5: test \"t\": `psi`: expected a number, found `high`"),
    ("  windows: [{columns: {temp: {psi: inf}}}]", "5: test \"t\": `psi`: expected a number, found `inf`"),
    (
        "  windows: [{columns: {temp: {kind: numeirc}}}]",
        "5: test \"t\": `kind`: expected one of `numeric`, `categorical`, `boolean`, found `numeirc`, did you mean `numeric`?",
    ),
    (
        "  windows: [{traffic: {upstream_p98: 1}}]",
        "5: test \"t\": unknown key `upstream_p98` in `traffic`, did you mean `upstream_p90`?",
    ),
    (
        "  windows: [{traffic: {baseline.requests: 1}}]",
        "5: test \"t\": `traffic.baseline.requests`: expected `requests` beside it",
    ),
    ("  windows: [{violations: 10001}]", "5: test \"t\": `violations`: expected at most 10000, found 10001"),
    (
        "  windows: [{data: a.csv}]",
        "5: test \"t\": windows of rows need the test's `baseline`, what they are compared with",
    ),
    (
        "  windows: [{data: a.csv, repeat: 2}]",
        "5: test \"t\": unknown key `repeat` in windows of rows, expected one of `data`, `time`",
    ),
    (
        "  baseline: {data: a.csv, kinds: {x: text}}",
        "6: test \"t\": `kinds`: expected one of `numeric`, `categorical`, `boolean`, found `text`",
    ),
    (
        "  criteria: {false_alarms: often}",
        "6: test \"t\": `false_alarms`: expected a budget such as `2 per 1d`, found `often`",
    ),
    (
        "  expect: [{alerts: []}]",
        "5: test \"t\": expected `after` (such as `2 windows`) or `at` (a time), one of them",
    ),
    (
        "  expect: [{after: 2s, alerts: []}]",
        "5: test \"t\": `after`: expected a number of windows such as `2 windows` or `2w`, or whole minutes such as `16m` after looks, found `2s`",
    ),
    (
        "  expect: [{after: 1w, alerts: none}]",
        "5: test \"t\": `alerts`: expected a list, `[]` for none, found a single value",
    ),
    ("  expect: [{after: 1w}]", "5: test \"t\": expected `alert` in an expectation"),
    (
        "  expect: [{after: 1w, alert: A, state: firng}]",
        "5: test \"t\": `state`: expected one of `inactive`, `pending`, `firing`, `resolved`, found `firng`, did you mean `firing`?",
    ),
    (
        "  expect: [{after: 1w, alerts: [], state: firing}]",
        "5: test \"t\": `state`: expected within `alerts`, or without `alerts`",
    ),
    (
        "  expect: [{after: 1w, alerts: [{alart: A}]}]",
        "5: test \"t\": unknown key `alart` in an alert, did you mean `alert`?",
    ),
    (
        "  expect: [{after: 1w, alert: A, retrain: maybe}]",
        "5: test \"t\": `retrain`: expected one of `true`, `false`, found `maybe`",
    ),
];

#[test]
fn every_problem_has_its_line_and_a_remedy() {
    for (line, expected) in WRONG {
        let found = problems(&with(line));
        assert!(found.iter().any(|problem| problem == expected), "{line}\n{found:#?}");
    }
}

#[test]
fn a_document_of_another_shape_is_refused() {
    for (text, expected) in [
        ("", "1: expected a test file to be a mapping, found nothing"),
        ("groups: []", "1: unknown key `groups` in a test file"),
        ("tests: []", "1: expected at least one entry in `tests`"),
        ("tests:\n\t- name: x", "2: expected YAML: "),
        ("tests:\n- {name: t, model: m}", "2: test \"t\": expected `windows` in a test"),
        ("tests:\n- {name: t}", "2: test \"t\": expected `model` in a test"),
        ("tests: 3", "1: expected `tests` to be a list, found a single value"),
    ] {
        let found = problems(text);
        assert!(found.iter().any(|problem| problem.starts_with(expected)), "{text}\n{found:#?}");
    }
    let twice = format!("{}\n{}", with("  window: 1h"), with("  window: 1h").replace("tests:\n", ""));
    assert!(problems(&twice)[0].contains("expected a name of its own for each test of a file"));
}

#[test]
fn what_does_not_fit_the_rules_is_found() {
    const RULES: &str = "groups:\n- name: g\n  model: m\n  rules:\n  - {alert: Drift, for_each: feature, expr: psi > 0.2}\n  \
        - {alert: Whole, for_each: model, expr: drifted > 1}\n- name: h\n  model: other\n  rules:\n  \
        - {alert: Elsewhere, for_each: model, expr: drifted > 1}\n";
    let rules = RuleSet::parse(&[("r.yaml".into(), RULES.into())]).unwrap();
    for (expectation, expected) in [
        ("alert: Drift, subject: temp", None),
        ("alert: Whole", None),
        ("alert: Whole, subject: m", None),
        ("alert: Drift", Some("expected `subject`, as `Drift` is for each feature")),
        (
            "alert: Drift, subject: tepm",
            Some("`subject`: no window has a column `tepm`, did you mean `temp`?"),
        ),
        ("alert: Whole, subject: temp", Some("`subject`: `Whole` is for the model, `m`")),
        (
            "alert: Drfit, subject: temp",
            Some("`alert`: no rule of the rule files is called `Drfit`, did you mean `Drift`?"),
        ),
        ("alert: Elsewhere", Some("`alert`: `Elsewhere` is a rule for another model than `m`")),
        ("alert: Nothing, alerts: []", Some("`alert`: no rule of the rule files is called `Nothing`")),
        ("alert: Whole, retrain: true", Some("`retrain`: the rule `Whole` has no `retrain`")),
    ] {
        let text = format!(
            "tests:\n- name: t\n  model: m\n  windows: [{{columns: {{temp: {{psi: 1}}}}}}]\n  expect:\n  - {{after: 1w, {expectation}}}"
        );
        let file = TestFile::parse("r.test.yaml", &text).unwrap();
        let found: Vec<String> = file.misfits(&rules).iter().map(ToString::to_string).collect();
        let expected: Vec<String> =
            expected.map(|message| format!("r.test.yaml:6: test \"t\": {message}")).into_iter().collect();
        assert_eq!(found, expected, "{expectation}");
    }
}

#[test]
fn looks_are_for_rules_between_windows() {
    const RULES: &str = "groups:\n- name: g\n  rules:\n  - {alert: Whole, for_each: model, expr: drifted > 1}\n  \
        - {alert: Silent, for_each: model, every: 1m, expr: no_data}\n  \
        - {alert: Fell, for_each: segment, every: 5m, expr: performance.accuracy < 0.5}\n";
    let rules = RuleSet::parse(&[("r.yaml".into(), RULES.into())]).unwrap();
    let looks = "looks: [{repeat: 5, segments: {region=eu: {accuracy: 0.4}}}]";
    for (steps, expectation, expected) in [
        (looks, "after: 5m, alert: Silent", None),
        (looks, "after: 5m, alert: Fell, subject: region=eu", None),
        (looks, "after: 5m, alert: Fell", Some("expected `subject`, as `Fell` is for each segment")),
        (
            looks,
            "after: 5m, alert: Fell, subject: region=ue",
            Some("`subject`: the test has no segment `region=ue`, did you mean `region=eu`?"),
        ),
        (
            looks,
            "after: 5m, alert: Whole",
            Some("`alert`: `Whole` is judged with each window, and is tested with `windows`"),
        ),
        (
            looks,
            "after: 2w, alert: Silent",
            Some("`after`: expected one such as `16m`, as the test has `looks`"),
        ),
        (
            "windows: [{rows: 9}]",
            "after: 1w, alert: Silent",
            Some("`alert`: `Silent` looks between windows, and is tested with `looks`"),
        ),
        (
            "windows: [{rows: 9}]",
            "after: 5m, alert: Whole",
            Some("`after`: expected one such as `2 windows`, as the test has `windows`"),
        ),
    ] {
        let text = format!("tests:\n- name: t\n  model: m\n  {steps}\n  expect:\n  - {{{expectation}}}");
        let file = TestFile::parse("r.test.yaml", &text).unwrap();
        let found: Vec<String> = file.misfits(&rules).iter().map(ToString::to_string).collect();
        let expected: Vec<String> =
            expected.map(|message| format!("r.test.yaml:6: test \"t\": {message}")).into_iter().collect();
        assert_eq!(found, expected, "{expectation}");
    }
    for (looks, expected) in [
        (
            "looks: [{}]\n  windows: [{}]",
            "expected `windows`, or `looks` for rules with `every`, one of them",
        ),
        (
            "looks: [{performance: {accuracyy: 1}}]",
            "unknown key `accuracyy` in `performance`, did you mean `accuracy`?",
        ),
        (
            "looks: [{performance: {se.accuracy: 1}}]",
            "`performance.se.accuracy`: expected `accuracy` beside it",
        ),
        ("looks: [{performance: 3}]", "`performance`: expected a mapping"),
        ("looks: [{seconds_unjudged: -3}]", "`seconds_unjudged`: expected no less than 0, found -3"),
        ("looks: [{repeat: 20000}]", "`repeat`: expected 1 to 10000, found 20000"),
        ("windows: [{segments: {eu: {}}}]", "`segments.eu`: expected a key such as `region=eu`"),
        ("windows: [{segments: {region=eu: {row: 3}}}]", "unknown key `row` in the segment `region=eu`"),
    ] {
        let text = format!("tests:\n- name: t\n  model: m\n  {looks}\n  expect: [{{after: 1m, alerts: []}}]");
        let found = problems(&text);
        assert!(found.iter().any(|problem| problem.contains(expected)), "{looks}\n{found:#?}");
    }
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "([a-z_]{1,9}: |- |  |\\[|\\]|\\{|\\}|\n|[0-9.]{1,4}|\"|'|tests:\n- name: x\n  |windows: |expect: ){0,40}") {
        if let Err(problems) = TestFile::parse("x.test.yaml", &text) {
            prop_assert!(!problems.is_empty());
            prop_assert!(problems.iter().all(|problem| problem.line > 0 && !problem.message.is_empty()));
        }
    }
}
