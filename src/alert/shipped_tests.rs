//! Every rule that ships loads, has a test that lets it fire and one in which it is silent, and passes them.

use std::path::{Path, PathBuf};

use super::trial::{Coverage, Files, Rows, SUFFIX, TestFile};
use super::*;

/// The folders whose rules ship.
const FOLDERS: [&str; 2] = ["rules", "src/cli/demo"];

/// The files of the folders that end in `suffix`, with their text.
fn files(suffix: &str) -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    for folder in FOLDERS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.to_string_lossy().ends_with(suffix) {
                let text = std::fs::read_to_string(&path).unwrap();
                files.push((path, text));
            }
        }
    }
    files.sort();
    assert!(files.len() > FOLDERS.len(), "found only {files:?}");
    files
}

/// Every shipped rule file, and its rules.
fn shipped() -> Vec<(PathBuf, RuleSet)> {
    let files = files(".yaml").into_iter().filter(|(path, _)| !path.to_string_lossy().ends_with(SUFFIX));
    files
        .map(|(path, text)| {
            let rules = RuleSet::parse(&[(path.display().to_string(), text)]).unwrap();
            (path, rules)
        })
        .collect()
}

/// Tests of shipped rules are figures: they need no data.
struct NoFiles;

impl Files for NoFiles {
    fn rows(&self, path: &str, _: Option<&str>) -> Result<Rows, String> {
        Err(format!("`{path}` is not there"))
    }

    fn text(&self, path: &str) -> Result<String, String> {
        Err(format!("`{path}` is not there"))
    }
}

#[test]
fn every_shipped_rule_fires_and_is_silent() {
    let tests: Vec<TestFile> = files(SUFFIX)
        .into_iter()
        .map(|(path, text)| TestFile::parse(&path.display().to_string(), &text).unwrap())
        .collect();
    for (path, rules) in shipped() {
        let beside = path.to_string_lossy().replace(".yaml", SUFFIX);
        let file = tests.iter().find(|file| file.path == beside);
        let file = file.unwrap_or_else(|| panic!("{} has no tests beside it", path.display()));
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(file.rule_files.iter().any(|(rules, _)| rules == name), "{beside} does not name {name}");
        assert_eq!(file.misfits(&rules), [], "{beside}");
        let mut coverage = Coverage::default();
        for test in &file.tests {
            let outcome = test.run(&file.path, &rules, &NoFiles).unwrap();
            let diff: Vec<String> = outcome.mismatches.iter().flat_map(trial::Mismatch::diff).collect();
            assert_eq!(diff, [""; 0], "{beside}: {}", test.name);
            coverage.add(&outcome);
        }
        assert_eq!(coverage.gaps(&rules), [], "rules without a test");
    }
}

#[test]
fn every_shipped_rule_says_how_much_it_matters() {
    for (path, rules) in shipped() {
        for rule in rules.rules {
            let place = format!("{}: {}", path.display(), rule.name);
            assert!(matches!(rule.severity(), Some("info" | "warning" | "critical")), "{place}");
            assert!(rule.annotations.contains_key("summary"), "{place}");
        }
    }
}
