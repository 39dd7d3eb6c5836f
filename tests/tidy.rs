//! The repository's own rules, as tests.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::path::{Path, PathBuf};
use std::process::Command;

/// Every file under `folder` with this extension; there have to be at least `at_least`.
fn files(folder: &str, extension: &str, at_least: usize) -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let mut folders = vec![root.join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                let text = std::fs::read_to_string(&path).unwrap();
                found.push((path.strip_prefix(root).unwrap().to_owned(), text));
            }
        }
    }
    assert!(found.len() >= at_least, "only {} .{extension} files under {folder}", found.len());
    found
}

fn sources() -> Vec<(PathBuf, String)> {
    files("src", "rs", 60)
}

fn all_rust() -> Vec<(PathBuf, String)> {
    let mut all = sources();
    all.extend(files("trainer", "rs", 10));
    all.extend(files("tests", "rs", 5));
    all
}

fn module_order() -> Vec<String> {
    let lib = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    lib.lines()
        .filter_map(|line| Some(line.strip_prefix("pub mod ")?.strip_suffix(';')?.to_owned()))
        .collect()
}

#[test]
fn modules_only_use_those_declared_above_them() {
    let order = module_order();
    assert!(order.len() > 15, "{order:?}");
    let mut checked = 0;
    for (path, text) in sources() {
        let module = path.iter().nth(1).unwrap().to_str().unwrap().trim_end_matches(".rs").to_owned();
        let Some(own) = order.iter().position(|name| *name == module) else { continue };
        checked += 1;
        for below in &order[own + 1..] {
            for (number, line) in text.lines().enumerate() {
                let uses = line
                    .split(&format!("crate::{below}"))
                    .skip(1)
                    .any(|rest| !rest.starts_with(|next: char| next.is_alphanumeric() || next == '_'));
                assert!(
                    !uses,
                    "{}:{}: must not use `{below}`, which is declared later",
                    path.display(),
                    number + 1
                );
            }
        }
    }
    assert!(checked > 50, "only {checked} files belong to a module");
}

#[test]
fn every_file_starts_with_what_it_is_for() {
    for (path, text) in all_rust() {
        assert!(text.starts_with("//! "), "{}: the first line is not `//! …`", path.display());
    }
}

#[test]
fn no_file_is_longer_than_600_lines() {
    for (path, text) in all_rust() {
        let lines = text.lines().count();
        assert!(lines <= 600, "{}: {lines} lines", path.display());
    }
}

#[test]
fn sql_is_only_in_the_store() {
    for (path, text) in sources() {
        let in_store = path.starts_with("src/store");
        let probe = path.ends_with("http/mod.rs");
        assert!(
            in_store || probe || !text.contains("sqlx::query"),
            "{}: SQL statements belong to `store`",
            path.display()
        );
    }
}

#[test]
fn the_core_names_no_runtime() {
    let core = [
        "model",
        "yaml",
        "stats",
        "profile",
        "schema",
        "baseline",
        "expectations",
        "traffic",
        "window",
        "drift",
        "drawing",
        "performance",
        "alert",
        "retrain",
        "decode",
        "privacy",
    ];
    let mut checked = 0;
    for (path, text) in sources() {
        let module = path.iter().nth(1).unwrap().to_str().unwrap().trim_end_matches(".rs");
        // What only tests use may read files.
        let name = path.file_stem().unwrap().to_str().unwrap();
        let text = text.split("#[cfg(test)]").next().unwrap();
        if core.contains(&module)
            && !name.ends_with("tests")
            && !["golden", "example", "captured"].contains(&name)
        {
            checked += 1;
            for word in
                ["tokio::", "sqlx::", "std::fs", "std::net", "Utc::now", "SystemTime::now", "Instant::now"]
            {
                assert!(!text.contains(word), "{}: the core does not use `{word}`", path.display());
            }
        }
    }
    assert!(checked > 30, "only {checked} files are core");
}

#[test]
fn every_shipped_rule_loads() {
    let rules: Vec<(String, String)> = files("rules", "yaml", 2)
        .into_iter()
        .filter(|(path, _)| !path.to_string_lossy().ends_with(".test.yaml"))
        .map(|(path, text)| (path.display().to_string(), text))
        .collect();
    assert!(driftline::alert::RuleSet::parse(&rules).is_ok());
}

#[test]
fn every_shipped_baseline_loads_and_is_named_by_its_content() {
    for (path, text) in files("baselines", "json", 1) {
        let baseline = driftline::baseline::Baseline::from_json(&text).unwrap();
        let folder = path.parent().unwrap().file_name().unwrap().to_str().unwrap().to_owned();
        assert_eq!(path.file_stem().unwrap().to_str().unwrap(), baseline.version(), "{}", path.display());
        assert_eq!(folder, baseline.model().as_str());
    }
}

#[test]
fn every_dashboard_loads() {
    for (path, text) in files("dashboards", "json", 4) {
        let dashboard: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert!(dashboard["title"].is_string(), "{}: a dashboard has a title", path.display());
        assert!(metrics_named_in(&path, &text) > 3, "{}: a dashboard shows metrics", path.display());
    }
}

#[test]
fn dashboards_are_what_their_source_makes() {
    let output = Command::new("python3")
        .args(["dashboards/grafana/generate.py", "--check"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn rules_for_prometheus_name_metrics_that_exist() {
    for (path, text) in files("dashboards/prometheus/rules", "yml", 2) {
        assert!(metrics_named_in(&path, &text) > 10, "{}: rules look at metrics", path.display());
    }
}

/// How many names of metrics stand in `text`; each has to be declared.
fn metrics_named_in(path: &Path, text: &str) -> usize {
    let metrics: String = files("src/metrics", "rs", 3).into_iter().map(|(_, text)| text).collect();
    // A name that is told in a text for people, and the names of the files, are no metrics.
    let is_metric = |word: &&str| word.starts_with("driftline_") && *word != "driftline_test";
    let mut checked = 0;
    for name in text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(is_metric) {
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|s| name.strip_suffix(s)).unwrap_or(name);
        let declared = metrics.contains(&format!("\"{base}\""));
        assert!(declared, "{}: `{name}` is not declared in src/metrics", path.display());
        checked += 1;
    }
    checked
}

#[test]
fn rules_for_prometheus_pass_their_own_tests() {
    let Ok(promtool) = std::env::var("DRIFTLINE_PROMTOOL") else {
        panic!("DRIFTLINE_PROMTOOL names promtool; `make test` sets it");
    };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboards/prometheus");
    for (arguments, expected) in [
        (["check", "rules", "rules/driftline.yml"], "14 rules found"),
        (["test", "rules", "rules/driftline_test.yml"], "SUCCESS"),
        (["check", "config", "prometheus.yml"], "14 rules found"),
        (["check", "config", "prometheus.compose.yml"], "14 rules found"),
    ] {
        let output = Command::new(&promtool).args(arguments).current_dir(&folder).output().unwrap();
        let said =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && said.contains(expected), "promtool {arguments:?}: {said}");
    }
}

#[test]
fn every_rule_for_prometheus_has_a_test_that_fires_and_one_that_does_not() {
    let rules = files("dashboards/prometheus/rules", "yml", 2);
    let text = |name: &str| rules.iter().find(|(path, _)| path.ends_with(name)).unwrap().1.clone();
    let tests = text("driftline_test.yml");
    let mut checked = 0;
    for name in text("driftline.yml").lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert!(tests.contains(&format!("alertname: {name}}}")), "{name} has no silent test");
        let fires = tests.contains(&format!("{{labels: 'ALERTS{{alertname=\"{name}\""))
            || tests.contains(&format!("alertname: {name}\n        exp_alerts"));
        assert!(fires, "{name} has no firing test");
        checked += 1;
    }
    assert!(checked > 8, "only {checked} rules");
}

#[test]
fn the_sidecar_links_no_libtorch() {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--package", "driftline", "--edges", "normal", "--prefix", "none"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let text = String::from_utf8(tree.stdout).unwrap();
    assert!(text.contains("tokio v"), "{}", String::from_utf8_lossy(&tree.stderr));
    for crate_name in ["tch v", "torch-sys v", "linfa"] {
        assert!(!text.contains(crate_name), "driftline depends on {crate_name}");
    }
}
