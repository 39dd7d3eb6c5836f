//! `driftline rules check`: rule files, every problem with its place.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;

use crate::alert::RuleSet;
use crate::cli::ExitStatus;

/// Prints one `path:line: problem` per problem, the form editors and CI already parse.
///
/// # Errors
///
/// When a file cannot be read, or `out` not written.
pub(super) fn check(files: &[PathBuf], json: bool, out: &mut impl Write) -> anyhow::Result<ExitStatus> {
    let texts = files
        .iter()
        .map(|path| {
            let text =
                fs::read_to_string(path).with_context(|| format!("failed to read `{}`", path.display()))?;
            Ok((path.display().to_string(), text))
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    let (rules, problems) = match RuleSet::parse(&texts) {
        Ok(rules) => (rules.rules.len(), Vec::new()),
        Err(problems) => (0, problems),
    };
    if json {
        let report = serde_json::json!({ "files": files.len(), "rules": rules, "problems": problems });
        writeln!(out, "{report:#}")?;
    } else {
        for problem in &problems {
            writeln!(out, "{problem}")?;
        }
        if problems.is_empty() {
            writeln!(out, "{rules} rules in {} files, no problem", files.len())?;
        }
    }
    Ok(if problems.is_empty() { ExitStatus::Success } else { ExitStatus::Failure })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_text(text: &str, json: bool) -> (ExitStatus, String) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("r.yaml");
        fs::write(&file, text).unwrap();
        let mut out = Vec::new();
        let status = check(&[file], json, &mut out).unwrap();
        let out = String::from_utf8(out).unwrap();
        (status, out.replace(&format!("{}/", folder.path().display()), ""))
    }

    const GOOD: &str = "groups: [{name: g, rules: [{alert: A, for_each: model, expr: rows > 1}]}]";
    const BAD: &str =
        "groups:\n- name: g\n  rules:\n  - alert: A\n    for_each: model\n    expr: rows >\n    fro: 2w";

    #[test]
    fn problems_are_findings() {
        assert_eq!(
            check_text(GOOD, false),
            (ExitStatus::Success, "1 rules in 1 files, no problem\n".to_owned())
        );
        let (status, out) = check_text(BAD, false);
        assert_eq!(status, ExitStatus::Failure);
        let lines: Vec<_> = out.lines().collect();
        assert!(
            lines[0].starts_with("r.yaml:6: group \"g\", rule \"A\": `expr`: expected a CEL expression"),
            "{out}"
        );
        assert_eq!(
            lines[1],
            "r.yaml:7: group \"g\", rule \"A\": unknown key `fro` in a rule, did you mean `for`?"
        );
        assert_eq!(lines.len(), 2);
    }

    #[test]
    fn json_has_the_same() {
        let (status, out) = check_text(BAD, true);
        let report: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!((status, report["problems"][1]["line"].as_u64()), (ExitStatus::Failure, Some(7)));
    }

    #[test]
    fn a_file_that_cannot_be_read_is_an_error() {
        let error = check(&[PathBuf::from("/nonexistent/r.yaml")], false, &mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/r.yaml"));
    }
}
