//! Tests of rule files.

use std::fmt::Write;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::alert::{Budget, RetrainMode};

const GOOD: &str = r#"
groups:
  - name: bike-demand
    model: bike-demand
    rules:
      - alert: FeatureDrift
        for_each: feature
        expr: verdict == "drift"
        for: 2w
        keep_firing_for: 1h
        labels: {severity: warning}
        annotations: {summary: "{{feature}} drifted: PSI {{psi}} (p {{p}})"}
        receivers: [oncall]
        retrain: {mode: auto, cooldown: 6h, budget: 2 per 1d, min_labels: 500}
"#;

fn parse(texts: &[&str]) -> Result<RuleSet, Vec<String>> {
    let files: Vec<_> = texts
        .iter()
        .enumerate()
        .map(|(index, text)| (format!("rules/{index}.yaml"), (*text).to_owned()))
        .collect();
    RuleSet::parse(&files).map_err(|problems| problems.iter().map(ToString::to_string).collect())
}

/// Puts `rule` (its lines after `alert:`) into a file of one group.
fn with_rule(rule: &str) -> String {
    format!("groups:\n- name: g\n  rules:\n  - alert: r\n{rule}")
}

#[test]
fn the_documented_shape_is_read() {
    let rules = parse(&[GOOD]).unwrap().rules;
    let [rule] = rules.as_slice() else { panic!("{rules:?}") };
    assert_eq!((rule.name.as_str(), rule.group.as_str(), rule.line), ("FeatureDrift", "bike-demand", 6));
    assert_eq!(rule.model.as_ref().map(ModelName::as_str), Some("bike-demand"));
    assert_eq!(rule.for_each, ForEach::Feature);
    assert_eq!(rule.expression.source(), "verdict == \"drift\"");
    let keep_firing = Hold::Time(Duration::from_hours(1));
    assert_eq!(rule.times, HoldTimes { hold: Hold::Windows(2), keep_firing });
    assert_eq!(rule.severity(), Some("warning"));
    assert_eq!(rule.receivers, ["oncall"]);
    let expected = RetrainPolicy {
        mode: RetrainMode::Auto,
        cooldown: Duration::from_hours(6),
        budget: Budget { runs: 2, period: Duration::from_hours(24) },
        min_labels: 500,
    };
    assert_eq!(rule.retrain, Some(expected));
}

#[test]
fn every_problem_is_reported_with_its_line() {
    let text = r#"
groups:
  - name: g
    ruels: []
    rules:
      - alert: A
        for_each: feature
        expr: verdikt == "drift"
        for: soon
        labells: {severity: warning}
        annotations: {summary: "{{psy}}"}
      - alert: B
        for_each: segmnt
        expr: psi > 1
        receivers: []
      - for_each: model
        retrain: {mode: atuo, min_labels: many}
  - name: empty
    rules: []
  - rules: 3
"#;
    let expected = [
        r"rules/0.yaml:4: unknown key `ruels` in a group, did you mean `rules`?",
        r#"rules/0.yaml:8: group "g", rule "A": `expr`: unknown name `verdikt`, did you mean `verdict`?"#,
        r#"rules/0.yaml:9: group "g", rule "A": `for`: expected windows such as `2w` or `3 of 5w`, or a duration such as `5m`, found `soon`"#,
        r#"rules/0.yaml:10: group "g", rule "A": unknown key `labells` in a rule, did you mean `labels`?"#,
        r#"rules/0.yaml:11: group "g", rule "A": `annotations.summary`: unknown name `psy`, did you mean `psi`?"#,
        r#"rules/0.yaml:13: group "g", rule "B": `for_each`: expected `feature`, `output`, `segment` or `model`, found `segmnt`, did you mean `segment`?"#,
        r#"rules/0.yaml:15: group "g", rule "B": expected at least one entry in `receivers`"#,
        r#"rules/0.yaml:16: group "g", rule 3: expected `alert` in a rule"#,
        r#"rules/0.yaml:16: group "g", rule 3: expected `expr` in a rule"#,
        r#"rules/0.yaml:17: group "g", rule 3: `retrain.mode`: expected `suggest`, `approve` or `auto`, found `atuo`, did you mean `auto`?"#,
        r#"rules/0.yaml:19: group "empty": expected at least one entry in `rules`"#,
        r"rules/0.yaml:20: expected `name` in a group",
        r#"rules/0.yaml:20: group "?": expected `rules` to be a list, found a single value"#,
    ];
    let found = parse(&[text]).unwrap_err();
    assert_eq!(found, expected, "{}", found.join("\n"));
}

#[test]
fn single_mistakes() {
    for (text, expected) in [
        ("", "0.yaml:1: expected a rule file to be a mapping, found nothing"),
        ("- a", "0.yaml:1: expected a rule file to be a mapping, found a list"),
        ("group: []", "0.yaml:1: unknown key `group` in a rule file, did you mean `groups`?"),
        ("groups:", "0.yaml:1: expected at least one entry in `groups`"),
        ("groups:\n\t- name: g", "0.yaml:2: expected YAML"),
        ("groups: []\ngroups: []", "0.yaml:2: expected YAML"),
        ("groups: [1]", "0.yaml:1: expected a group to be a mapping, found a single value"),
        (
            "groups:\n- name: g\n  model: a/b\n  rules: []",
            "0.yaml:3: group \"g\": `model`: `a/b` is not a model name",
        ),
        (
            &with_rule("    for_each: model\n    expr: [1]"),
            "0.yaml:6: group \"g\", rule \"r\": `expr`: expected a single value, found a list",
        ),
        (
            &with_rule("    for_each: model\n    expr: rows > 1\n    labels: x"),
            "0.yaml:7: group \"g\", rule \"r\": `labels`: expected names and texts",
        ),
        (
            &with_rule("    for_each: model\n    expr: rows > 1\n    receivers: [a, a]"),
            "0.yaml:7: group \"g\", rule \"r\": `receivers`: expected `a` once",
        ),
        (
            &with_rule("    for_each: model\n    expr: rows > 1\n    retrain: {mode: auto, budget: 2}"),
            "0.yaml:7: group \"g\", rule \"r\": `retrain.budget`: expected a budget such as `2 per 1d`, found `2`",
        ),
        (
            &with_rule("    for_each: model\n    expr: rows > 1\n    retrain: {}"),
            "0.yaml:7: group \"g\", rule \"r\": expected `mode` in `retrain`",
        ),
        (
            &with_rule("    for_each: model\n    expr: rows >"),
            "0.yaml:6: group \"g\", rule \"r\": `expr`: expected a CEL expression: line 1, column",
        ),
        (
            "groups:\n- name: g\n  rules:\n  - alert: \"a\\nb\"\n    for_each: model\n    expr: rows > 1",
            "0.yaml:4: group \"g\", rule \"a\nb\": `alert`: expected a name of 1 to 128 characters",
        ),
    ] {
        let found = parse(&[text]).unwrap_err().join("\n");
        assert!(found.contains(expected), "{text}\nexpected {expected}\nfound    {found}");
    }
}

/// A file with one rule over the model, of which these are the further lines.
fn model(lines: &str) -> String {
    with_rule(&format!("    for_each: model\n{lines}"))
}

#[track_caller]
fn check_refused(cases: impl IntoIterator<Item = (String, &'static str)>) {
    for (text, expected) in cases {
        let problems = parse(&[&text]).expect_err(&text);
        let found = problems.join("\n");
        assert!(found.contains(expected), "{text:.500}\nexpected {expected}\nfound    {found}");
        assert!(problems.iter().all(|problem| problem.starts_with("rules/0.yaml:")), "{found}");
    }
}

#[test]
fn bad_input_is_refused_with_its_place_and_a_hint() {
    let bomb = (b'a'..b'j').fold("x: &a [1,1,1,1,1,1,1,1,1]\n".to_owned(), |text, level| {
        let (before, name) = (char::from(level), char::from(level + 1));
        format!("{text}x{name}: &{name} [{}]\n", vec![format!("*{before}"); 9].join(","))
    });
    check_refused([
        ("groups:\n- name: g\n\trules: []".to_owned(), "; line 3 is indented with a tab, use spaces"),
        (
            "groups:\n- name: g\n  rules:\n\t- alert: A".to_owned(),
            "; line 4 is indented with a tab, use spaces",
        ),
        (bomb, "expected YAML"),
        ("groups: &a [*a]".to_owned(), "0.yaml:1: expected YAML"),
        ("groups: *nothing".to_owned(), "0.yaml:1: expected YAML"),
        ("[".repeat(100_000), "0.yaml:1: expected YAML"),
        ("groups: []\ngroups: []".to_owned(), "0.yaml:2: expected YAML: duplicate"),
        (model("    expr: rows > 1\n    expr: rows > 2"), "0.yaml:7: expected YAML: duplicate"),
        (model("    expr: rows > 1\n    sevrity: x"), "rule \"r\": unknown key `sevrity` in a rule"),
        (
            model("    expr: rows > 1\n    evry: 1m"),
            "0.yaml:7: group \"g\", rule \"r\": unknown key `evry` in a rule, did you mean `every`?",
        ),
        (
            model("    expr: rows > 1\n    \"for\": 3 of 2w"),
            "0.yaml:7: group \"g\", rule \"r\": `for`: expected windows such as `2w` or `3 of 5w`",
        ),
        (
            model("    expr: rows > 1\n    keep_firing_for: 3 of 5w"),
            "0.yaml:7: group \"g\", rule \"r\": `keep_firing_for`: so many of the last belong to `for`",
        ),
        (
            model("    every: 1m\n    expr: no_data for 15m"),
            "; how long it has to hold is said by the key `for`",
        ),
        (
            model("    expr: drifted > 3 && drifted < 2"),
            "0.yaml:6: group \"g\", rule \"r\": `expr`: the condition can never be true: `drifted` would have to be over 3 and under 2",
        ),
        (
            model("    expr: verdict == \"drifted\""),
            "0.yaml:6: group \"g\", rule \"r\": `expr`: `verdict` is never `drifted`, did you mean `drift`?",
        ),
        (
            model("    expr: rows + 1"),
            "0.yaml:6: group \"g\", rule \"r\": `expr`: the expression: expected true or false, found a number",
        ),
        (model("    expr: \"'drift'\""), "the expression: expected true or false, found text"),
        (
            model("    expr: rows > 1\n    annotations: {summary: \"{{row}}\"}"),
            "0.yaml:7: group \"g\", rule \"r\": `annotations.summary`: unknown name `row`, did you mean `rows`?",
        ),
        (
            model("    expr: rows > 1\n    annotations: {summary: \"{{rows\"}"),
            "`annotations.summary`: expected `}}`",
        ),
    ]);
}

#[test]
fn bad_rules_between_windows_are_refused_with_their_place_and_a_hint() {
    check_refused([
        (
            model("    every: 1m\n    expr: rows > 1"),
            "0.yaml:7: group \"g\", rule \"r\": `expr`: `rows` is known only with a window's report; leave out `every`",
        ),
        (
            model("    expr: no_data"),
            "0.yaml:6: group \"g\", rule \"r\": `expr`: `no_data` is known only between windows; add `every: 1m`",
        ),
        (
            model("    every: 1m\n    expr: no_data\n    annotations: {summary: \"{{rows}}\"}"),
            "`annotations.summary`: `rows` is known only with",
        ),
        (
            model("    every: 30s\n    expr: no_data"),
            "0.yaml:6: group \"g\", rule \"r\": `every`: expected whole minutes from 1m to 60m, found `30s`",
        ),
        (model("    every: 2h\n    expr: no_data"), "`every`: expected whole minutes from 1m to 60m"),
        (model("    every: 0\n    expr: no_data"), "`every`: expected whole minutes from 1m to 60m"),
        (model("    every: often\n    expr: no_data"), "`every`: expected a duration such as 30s"),
        (
            model("    every: 5m\n    over: 2m\n    expr: no_data"),
            "0.yaml:7: group \"g\", rule \"r\": `over`: expected no less than `every`",
        ),
        (
            model("    over: 2m\n    expr: rows > 1"),
            "0.yaml:6: group \"g\", rule \"r\": `over` is how far a rule with `every` looks back; add `every: 1m`",
        ),
        (
            model("    every: 1m\n    expr: no_data\n    for: 2w"),
            "0.yaml:8: group \"g\", rule \"r\": `for`: a rule with `every` sees no windows",
        ),
        (
            model("    every: 1m\n    expr: no_data\n    for: 2 of 3w"),
            "`for`: a rule with `every` sees no windows",
        ),
        (
            model("    every: 1m\n    expr: no_data\n    retrain: {mode: auto}"),
            "0.yaml:8: group \"g\", rule \"r\": `retrain` belongs to rules that are judged with a window",
        ),
        (
            with_rule("    for_each: feature\n    every: 1m\n    expr: no_data"),
            "0.yaml:6: group \"g\", rule \"r\": `every`: between windows nothing is known of columns; expected `for_each: model`",
        ),
        (
            model(&format!("    expr: rows > 1\n    labels: {{a: {}}}", "x".repeat(20_000))),
            "0.yaml:4: group \"g\", rule \"r\": expected at most 16384 bytes in a rule",
        ),
        (
            model("    expr: rows > 1\n  - {alert: r, for_each: model, expr: rows > 2}"),
            "0.yaml:7: group \"g\", rule \"r\": expected a name of its own for each rule of a model, but rules/0.yaml:4 has the same",
        ),
    ]);
}

#[test]
fn rules_between_windows_are_read() {
    let text =
        with_rule("    for_each: model\n    every: 1m\n    over: 5m\n    expr: no_data\n    for: 3 of 5");
    let rule = parse(&[&text]).unwrap().rules.remove(0);
    let minutes = Duration::from_mins;
    assert_eq!(rule.watch, Some(Watch { every: minutes(1), over: minutes(5) }));
    assert_eq!(rule.hold(), Hold::OutOf { needed: 3, of: 5 });
    let text = with_rule("    for_each: model\n    every: 10m\n    expr: no_data");
    assert_eq!(
        parse(&[&text]).unwrap().rules[0].watch,
        Some(Watch { every: minutes(10), over: minutes(10) })
    );
    let text = with_rule("    for_each: model\n    expr: rows > 1\n    for: 3 of 5 windows");
    assert_eq!(parse(&[&text]).unwrap().rules[0].watch, None);
}

#[test]
fn a_rule_keeps_its_text() {
    let rules = parse(&[GOOD]).unwrap().rules;
    let again = format!(
        "groups:\n- name: bike-demand\n  model: bike-demand\n  rules:\n  - {}\n",
        rules[0].text.trim_end().replace('\n', "\n    ")
    );
    let again = parse(&[&again]).unwrap().rules;
    assert_eq!((&again[0].text, &again[0].hash), (&rules[0].text, &rules[0].hash));
    assert_eq!(again[0].expression, rules[0].expression);
    assert_eq!((&again[0].annotations, again[0].retrain), (&rules[0].annotations, rules[0].retrain));
    let other = parse(&[&GOOD.replace("for: 2w", "for: 3w")]).unwrap().rules;
    assert_ne!(other[0].hash, rules[0].hash);
}

#[test]
fn names_are_unique_for_each_model() {
    let for_model = |model: &str| {
        format!(
            "groups:\n- name: g\n  {model}\n  rules:\n  - {{alert: A, for_each: model, expr: rows > 1}}\n"
        )
    };
    let (a, b, every) = (for_model("model: a"), for_model("model: b"), for_model(""));
    assert!(parse(&[&a, &b]).is_ok());
    for (first, second) in [(&a, &a), (&a, &every), (&every, &b)] {
        let problems = parse(&[first, second]).unwrap_err();
        let expected = "rules/1.yaml:5: group \"g\", rule \"A\": expected a name of its own for each rule of a model, \
                        but rules/0.yaml:5 has the same";
        assert_eq!(problems, [expected]);
    }
}

#[test]
fn receivers_have_to_exist() {
    let silent = GOOD.replace("receivers: [oncall]", "").replace("alert: FeatureDrift", "alert: Other");
    let rules = parse(&[GOOD, &silent]).unwrap();
    assert_eq!(rules.rules[1].receivers, [""; 0], "the routes decide");
    assert_eq!(rules.check_receivers(&["chat".to_owned(), "oncall".to_owned()]), Ok(()));
    let problems = rules.check_receivers(&["oncal".to_owned()]).unwrap_err();
    let expected = "rules/0.yaml:13: group \"bike-demand\", rule \"FeatureDrift\": receiver `oncall` is not among the \
                    settings' receivers, did you mean `oncal`?";
    assert_eq!(problems[0].to_string(), expected);
    assert_eq!(problems.len(), 1);
}

#[test]
fn ten_thousand_rules_load() {
    let mut rules = String::new();
    for index in 0..10_000 {
        writeln!(rules, "  - {{alert: R{index}, for_each: feature, expr: psi > 0.{index}}}").unwrap();
    }
    let head = "groups:\n- name: g\n  rules:\n";
    assert_eq!(parse(&[&format!("{head}{rules}")]).unwrap().rules.len(), 10_000);
    let more = format!("{head}{rules}  - {{alert: more, for_each: feature, expr: psi > 1}}\n");
    assert!(parse(&[&more]).unwrap_err()[0].contains("at most 10000 rules"));
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "(?s).{0,300}") {
        drop(parse(&[&text]));
    }

    #[test]
    fn a_damaged_file_is_read_or_refused(cut in 0..GOOD.len(), len in 0usize..40, insert in "[-:{}\\[\\]&*\"' \t\nA-z|>#!%@]{0,8}") {
        prop_assume!(GOOD.is_char_boundary(cut));
        let end = (cut + len).min(GOOD.len());
        let damaged = format!("{}{insert}{}", &GOOD[..cut], &GOOD[end..]);
        if let Err(problems) = parse(&[&damaged]) {
            prop_assert!(problems.iter().all(|problem| problem.starts_with("rules/0.yaml:")), "{problems:?}");
        }
    }
}
