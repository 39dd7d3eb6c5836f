//! `driftline rules test`: finds test files, reads what they name, runs them.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::Serialize;
use serde_json::json;

use crate::alert::trial::{Coverage, Files, Gap, Outcome, Rows, SUFFIX, TestFile};
use crate::alert::{Problem, RuleSet};
use crate::cli::ExitStatus;
use crate::config::Settings;
use crate::frames;

/// One test file after its run.
#[derive(Debug, Serialize)]
struct Tested {
    path: String,
    /// What kept it, or one of its tests, from running.
    problems: Vec<Problem>,
    tests: Vec<Outcome>,
    /// Rules of its rule files without a test of a kind.
    untested: Vec<Gap>,
}

/// Runs every test of `places`, or of the folders that the settings take rules from.
///
/// # Errors
///
/// When there is no test file, or `out` cannot be written.
pub(super) fn run(
    places: &[PathBuf],
    settings: impl FnOnce() -> anyhow::Result<Settings>,
    json: bool,
    out: &mut impl Write,
) -> anyhow::Result<ExitStatus> {
    let files = if places.is_empty() {
        let settings = settings()?;
        let files = beside_rules(&settings)?;
        if files.is_empty() {
            bail!(
                "no file that ends in `{SUFFIX}` stands beside the rules of the settings (`rules`); name files or folders"
            );
        }
        files
    } else {
        test_files(places)?
    };
    let tested: Vec<Tested> = files.iter().map(|path| test_file(path)).collect();
    if json {
        let failed = tested.iter().flat_map(|file| &file.tests).filter(|test| !test.mismatches.is_empty());
        let (tests, failed) = (tested.iter().map(|file| file.tests.len()).sum::<usize>(), failed.count());
        let document = json!({ "tests": tests, "failed": failed, "files": tested });
        writeln!(out, "{document:#}")?;
    } else {
        print(&tested, out)?;
    }
    let mut status = ExitStatus::Success;
    if tested.iter().flat_map(|file| &file.tests).any(|test| !test.mismatches.is_empty()) {
        status = ExitStatus::Failure;
    }
    if tested.iter().any(|file| !file.problems.is_empty()) {
        status = ExitStatus::Error;
    }
    Ok(status)
}

fn print(tested: &[Tested], out: &mut impl Write) -> anyhow::Result<()> {
    for file in tested {
        for problem in &file.problems {
            writeln!(out, "{problem}")?;
        }
        for test in file.tests.iter().filter(|test| !test.mismatches.is_empty()) {
            for mismatch in &test.mismatches {
                let (path, line, name) = (&file.path, mismatch.line, &test.name);
                writeln!(out, "{path}:{line}: test \"{name}\", {}:", mismatch.moment)?;
                for line in mismatch.diff() {
                    writeln!(out, "    {line}")?;
                }
            }
        }
        for gap in &file.untested {
            writeln!(out, "{}:{}: {} has no {} test", gap.path, gap.line, gap.rule, gap.missing)?;
        }
    }
    let tests = tested.iter().map(|file| file.tests.len()).sum::<usize>();
    let all = tested.iter().flat_map(|file| &file.tests);
    let failed = all.filter(|test| !test.mismatches.is_empty()).count();
    let broken = tested.iter().filter(|file| !file.problems.is_empty()).count();
    let said = match (failed, broken) {
        (0, 0) => "all passed".to_owned(),
        (failed, 0) => format!("{failed} failed"),
        (failed, broken) => format!("{failed} failed, {broken} files could not be run as a whole"),
    };
    writeln!(out, "{tests} tests in {} files: {said}", tested.len())?;
    Ok(())
}

/// The test files that `places` name: themselves, or those in them.
fn test_files(places: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for place in places {
        if !place.is_dir() {
            files.push(place.clone());
            continue;
        }
        let found = in_folder(place)?;
        if found.is_empty() {
            bail!("`{}` holds no file that ends in `{SUFFIX}`", place.display());
        }
        files.extend(found);
    }
    Ok(files)
}

/// The test files of one folder, by name.
fn in_folder(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let context = || format!("failed to read the folder `{}`", folder.display());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(context)? {
        let path = entry.with_context(context)?.path();
        if path.is_file() && path.to_string_lossy().ends_with(SUFFIX) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The test files in the folders that the settings take rules from.
fn beside_rules(settings: &Settings) -> anyhow::Result<Vec<PathBuf>> {
    let mut folders: Vec<&Path> = settings
        .rules
        .iter()
        .map(|pattern| {
            let folder = Path::new(pattern).parent().filter(|folder| !folder.as_os_str().is_empty());
            folder.unwrap_or(Path::new("."))
        })
        .collect();
    folders.sort_unstable();
    folders.dedup();
    let mut files = Vec::new();
    for folder in folders {
        files.extend(in_folder(folder)?);
    }
    Ok(files)
}

/// Checks the test files beside the rules of the settings, without running them; says how many tests there are.
///
/// # Errors
///
/// Every problem of every file, each with its place.
pub(crate) fn check_beside(settings: &Settings) -> anyhow::Result<String> {
    let files = beside_rules(settings)?;
    let mut problems = Vec::new();
    let mut tests = 0;
    for path in &files {
        match load(path) {
            Ok((file, rules)) => {
                tests += file.tests.len();
                problems.extend(file.misfits(&rules));
            }
            Err(found) => problems.extend(found),
        }
    }
    if problems.is_empty() {
        return Ok(format!("{tests} tests in {} files, not run (`driftline rules test`)", files.len()));
    }
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    bail!("the tests of rules were refused:\n{}", lines.join("\n"))
}

/// Reads a test file and the rule files that it names.
fn load(path: &Path) -> Result<(TestFile, RuleSet), Vec<Problem>> {
    let shown = path.display().to_string();
    let unreadable = |line: u64, path: &Path, error: &std::io::Error| {
        let message = format!("failed to read `{}`: {error}", path.display());
        vec![Problem { path: shown.clone(), line, message }]
    };
    let text = std::fs::read_to_string(path).map_err(|error| unreadable(1, path, &error))?;
    let file = TestFile::parse(&shown, &text)?;
    if file.rule_files.is_empty() {
        let message = "expected `rule_files`, the files of the rules to be tested".to_owned();
        return Err(vec![Problem { path: shown, line: 1, message }]);
    }
    let mut texts = Vec::new();
    for (name, line) in &file.rule_files {
        let rules = beside(path, name);
        let text = std::fs::read_to_string(&rules).map_err(|error| unreadable(*line, &rules, &error))?;
        texts.push((rules.display().to_string(), text));
    }
    let rules = RuleSet::parse(&texts)?;
    Ok((file, rules))
}

/// Runs one file, as far as it can be run.
fn test_file(path: &Path) -> Tested {
    let shown = path.display().to_string();
    let (file, rules) = match load(path) {
        Ok(loaded) => loaded,
        Err(problems) => return Tested { path: shown, problems, tests: Vec::new(), untested: Vec::new() },
    };
    let mut problems = file.misfits(&rules);
    let mut tests = Vec::new();
    let mut coverage = Coverage::default();
    if problems.is_empty() {
        for test in &file.tests {
            match test.run(&file.path, &rules, &Beside(path)) {
                Ok(outcome) => {
                    coverage.add(&outcome);
                    tests.push(outcome);
                }
                Err(problem) => problems.push(problem),
            }
        }
    }
    // A test that failed covers nothing; what it leaves open is not worth a line beside the failure.
    let all_passed = problems.is_empty() && tests.iter().all(|test| test.mismatches.is_empty());
    let untested = if all_passed { coverage.gaps(&rules) } else { Vec::new() };
    Tested { path: shown, problems, tests, untested }
}

/// `name` as seen from the folder of `path`.
fn beside(path: &Path, name: &str) -> PathBuf {
    path.parent().map_or_else(|| PathBuf::from(name), |folder| folder.join(name))
}

/// The files beside a test file.
struct Beside<'a>(&'a Path);

impl Files for Beside<'_> {
    fn rows(&self, path: &str, time: Option<&str>) -> Result<Rows, String> {
        let mut table = frames::read_table(&beside(self.0, path), None).map_err(|error| error.to_string())?;
        let times = match time {
            Some(name) => Some(table.times(name).map_err(|error| error.to_string())?),
            None => None,
        };
        if let Some(name) = time {
            table.columns.retain(|column| column.name != name);
        }
        Ok(Rows { columns: table.columns, times })
    }

    fn text(&self, path: &str) -> Result<String, String> {
        let path = beside(self.0, path);
        std::fs::read_to_string(&path)
            .map_err(|error| format!("failed to read `{}`: {error}", path.display()))
    }
}

#[cfg(test)]
#[path = "trial_tests.rs"]
mod tests;
