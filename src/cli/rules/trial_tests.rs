//! `driftline rules test` on files.

use super::*;

const RULES: &str = "groups:\n- name: g\n  rules:\n  - {alert: A, for_each: feature, expr: psi > 0.2}\n";
const TESTS: &str = "tests:\n- name: it fires\n  model: m\n  windows: [{columns: {x: {psi: 0.1}}}, {columns: {x: {psi: 0.3}}}]\n  \
                     expect:\n  - {after: 1w, alerts: []}\n  - {after: 2w, alerts: [{alert: A, subject: x}]}\n";

/// Runs the tests of a folder with these files; what is printed, with its path left out.
fn run_files(files: &[(&str, &str)], json: bool) -> (ExitStatus, String) {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let mut out = Vec::new();
    let places = [folder.path().to_owned()];
    let status = run(&places, || Ok(Settings::parse("", "none").unwrap()), json, &mut out).unwrap();
    let out = String::from_utf8(out).unwrap();
    (status, out.replace(&format!("{}/", folder.path().display()), ""))
}

#[test]
fn a_folder_of_tests_passes_or_fails() {
    let (status, out) = run_files(&[("r.yaml", RULES), ("r.test.yaml", TESTS)], false);
    assert_eq!(
        (status, out.as_str()),
        (ExitStatus::Success, "r.yaml:4: A has no silent test\n1 tests in 1 files: all passed\n")
    );
    let (status, out) = run_files(&[("r.yaml", &RULES.replace("0.2", "0.4")), ("r.test.yaml", TESTS)], false);
    assert_eq!(status, ExitStatus::Failure);
    assert_eq!(
        out,
        "r.test.yaml:7: test \"it fires\", after 2 windows (2025-01-01T02:00:00Z):\n    - A x firing\n    + A x inactive\n1 tests in 1 files: 1 failed\n"
    );
}

#[test]
fn what_cannot_run_is_status_2() {
    for (files, expected) in [
        (
            vec![("r.test.yaml", TESTS)],
            "r.test.yaml:1: failed to read `r.yaml`: No such file or directory (os error 2)",
        ),
        (
            vec![("r.yaml", "groups: []"), ("r.test.yaml", TESTS)],
            "r.yaml:1: expected at least one entry in `groups`",
        ),
        (
            vec![("r.yaml", RULES), ("r.test.yaml", "tests: []")],
            "r.test.yaml:1: expected at least one entry in `tests`",
        ),
        (
            vec![("r.yaml", RULES), ("r.test.yaml", &TESTS.replace("alert: A", "alert: B"))],
            "r.test.yaml:7: test \"it fires\": `alert`: no rule of the rule files is called `B`",
        ),
    ] {
        let (status, out) = run_files(&files, false);
        assert_eq!(status, ExitStatus::Error, "{out}");
        assert!(out.lines().any(|line| line.starts_with(expected)), "{expected}\n{out}");
        let (status, json) = run_files(&files, true);
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(status, ExitStatus::Error);
        let problem = &json["files"][0]["problems"][0];
        assert!(
            expected.ends_with(problem["message"].as_str().unwrap()) || expected.contains("`B`"),
            "{json}"
        );
    }
}

#[test]
fn json_has_the_same() {
    let (status, out) = run_files(&[("r.yaml", &RULES.replace("0.2", "0.4")), ("r.test.yaml", TESTS)], true);
    let found: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((status, &found["tests"], &found["failed"]), (ExitStatus::Failure, &1.into(), &1.into()));
    let mismatch = &found["files"][0]["tests"][0]["mismatches"][0];
    assert_eq!((&mismatch["line"], &mismatch["expected"][0]), (&7.into(), &"A x firing".into()), "{found:#}");
}

#[test]
fn data_files_stand_beside_the_test() {
    let rows = |offset: u32| {
        let rows = (0..1200).map(|row| format!("{},{}", row * 7 % 101 + offset, row % 3));
        format!("x,id\n{}\n", rows.collect::<Vec<_>>().join("\n"))
    };
    let tests = "tests:\n- name: rows\n  model: m\n  baseline: {data: ref.csv, exclude: [id]}\n  windows:\n  \
                 - {data: [calm.csv, moved.csv]}\n  expect:\n  - {after: 1w, alerts: []}\n  \
                 - {after: 2w, alerts: [{alert: A, subject: x}]}\n";
    let files = [
        ("r.yaml", RULES.to_owned()),
        ("r.test.yaml", tests.to_owned()),
        ("ref.csv", rows(0)),
        ("calm.csv", rows(0)),
        ("moved.csv", rows(60)),
    ];
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let (status, out) = run_files(&files, false);
    assert_eq!(status, ExitStatus::Success, "{out}");
    let without: Vec<_> = files.into_iter().filter(|(name, _)| *name != "moved.csv").collect();
    let (status, out) = run_files(&without, false);
    assert_eq!(status, ExitStatus::Error);
    assert!(out.starts_with("r.test.yaml:6: test \"rows\": ") && out.contains("moved.csv"), "{out}");
}

#[test]
fn tests_beside_the_rules_of_the_settings_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let settings = |text: &str| {
        let mut settings = Settings::parse(text, "driftline.yaml").unwrap();
        settings.resolve_paths(folder.path());
        settings
    };
    std::fs::write(path("r.yaml"), RULES).unwrap();
    let with_rules = settings("rules: ['*.yaml']");
    let error = run(&[], || Ok(with_rules.clone()), false, &mut Vec::new()).unwrap_err();
    assert!(error.to_string().contains("stands beside the rules of the settings"), "{error}");
    assert_eq!(check_beside(&with_rules).unwrap(), "0 tests in 0 files, not run (`driftline rules test`)");
    std::fs::write(path("r.test.yaml"), TESTS).unwrap();
    assert_eq!(run(&[], || Ok(with_rules.clone()), false, &mut Vec::new()).unwrap(), ExitStatus::Success);
    assert_eq!(check_beside(&with_rules).unwrap(), "1 tests in 1 files, not run (`driftline rules test`)");
    std::fs::write(path("r.test.yaml"), TESTS.replace("subject: x", "subject: y")).unwrap();
    let error = check_beside(&with_rules).unwrap_err().to_string();
    assert!(
        error.contains("r.test.yaml:7: test \"it fires\": `subject`: no window has a column `y`"),
        "{error}"
    );
}
