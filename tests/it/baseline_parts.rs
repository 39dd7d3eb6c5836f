//! `driftline baseline` as a process: a baseline in parts is that of one build, and a season has to fit its window.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Output};

use super::compare::draw;

fn driftline(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_driftline"))
        .args(arguments)
        .current_dir(folder)
        .env_remove("DRIFTLINE_CONFIG")
        .output()
        .unwrap()
}

#[track_caller]
fn ok(folder: &Path, arguments: &[&str]) -> String {
    let ended = driftline(folder, arguments);
    assert!(ended.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&ended.stderr));
    String::from_utf8(ended.stdout).unwrap()
}

#[track_caller]
fn refused(folder: &Path, arguments: &[&str], expected: &[&str]) {
    let ended = driftline(folder, arguments);
    let message = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(2), "{arguments:?}: {message}");
    for part in expected {
        assert!(message.contains(part), "{message}");
    }
}

/// Two days of rows, one a minute.
fn rows(range: std::ops::Range<u64>) -> String {
    let mut text = "time,temp,season\n".to_owned();
    for row in range {
        let (day, hour, minute) = (row / 1440 + 1, row % 1440 / 60, row % 60);
        let season = ["dry", "wet"][usize::from(draw(1, row) < 0.3)];
        writeln!(text, "2026-03-{day:02}T{hour:02}:{minute:02}:00Z,{},{season}", draw(2, row)).unwrap();
    }
    text
}

const OPTIONS: [&str; 6] = ["-m", "weather", "--time", "time", "--window", "1h"];

#[test]
fn parts_are_merged_into_the_baseline_of_one_build() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for (name, range) in [("all.csv", 0..2880), ("first.csv", 0..1000), ("second.csv", 1000..2880)] {
        std::fs::write(folder.join(name), rows(range)).unwrap();
    }
    for part in ["first", "second"] {
        let (data, file) = (format!("{part}.csv"), format!("{part}.part"));
        let told = ok(folder, &[&["baseline", "build", &data, "--part", &file], &OPTIONS[..]].concat());
        assert!(told.contains("baseline merge"), "{told}");
    }
    let written = |told: &str| serde_json::from_str::<serde_json::Value>(told).unwrap();
    let common = ["--no-register", "--json", "--out", "baselines"];
    let merged =
        written(&ok(folder, &[&["baseline", "merge", "first.part", "second.part"], &common[..]].concat()));
    let whole = written(&ok(
        folder,
        &[&["baseline", "build", "all.csv", "--no-joint"], &OPTIONS[..], &common[..]].concat(),
    ));
    assert_eq!((&merged["rows"], &merged["columns"]), (&whole["rows"], &whole["columns"]));
    let [merged, whole] = [&merged, &whole].map(|told| told["path"].as_str().unwrap());
    let difference = written(&ok(folder, &["baseline", "diff", whole, merged, "--json"]));
    for feature in difference["features"].as_array().unwrap() {
        let psi = feature["statistics"]["psi"].as_f64().unwrap();
        assert!(psi < 1e-4, "{}: {psi}", feature["name"]);
    }
    refused(folder, &["baseline", "merge", "first.part", "all.csv"], &["all.csv", "not a part"]);
    std::fs::write(folder.join("less.csv"), "time,temp\n2026-03-01T00:00:00Z,1\n").unwrap();
    ok(folder, &[&["baseline", "build", "less.csv", "--part", "less.part"], &OPTIONS[..]].concat());
    refused(
        folder,
        &["baseline", "merge", "first.part", "less.part", "--no-register"],
        &["less.part", "first.part", "only in the first: season"],
    );
}

#[test]
fn a_season_has_to_fit_its_window() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::fs::write(folder.join("all.csv"), rows(0..2880)).unwrap();
    let build = |window, season| {
        [
            "baseline",
            "build",
            "all.csv",
            "-m",
            "weather",
            "--time",
            "time",
            "--no-register",
            "--out",
            "b",
            "--window",
            window,
            "--season",
            season,
        ]
    };
    ok(folder, &build("1h", "hour_of_day"));
    refused(folder, &build("1d", "hour_of_day"), &["hour_of_day", "1d"]);
    for (option, value) in [("--grid-cells", "50"), ("--psi-bins", "1"), ("--top-categories", "0")] {
        let cut = ["baseline", "build", "all.csv", "-m", "weather", option, value];
        refused(folder, &cut, &[option, "not in"]);
    }
    refused(folder, &build("1h", "monthly"), &["`monthly` is not none, hour_of_day or hour_of_week"]);
    refused(folder, &["baseline", "build", "all.csv", "-m", "weather", "--season", "none"], &["--time"]);
}
