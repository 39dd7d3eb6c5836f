//! `driftline expectations test`: a data file judged as one window.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;

use chrono::DateTime;
use comfy_table::{Table as TextTable, presets};
use serde_json::json;

use super::{ExitStatus, note, read_document};
use crate::baseline::{CutOptions, Runs, infer_kind, numeric_cut};
use crate::expectations::{CheckResult, CheckVerdict, Expectations, Observed, evaluate, worst};
use crate::frames::{self, Table};
use crate::model::{Batch, Column, FeatureKind, Role};
use crate::profile::{Categories, ColumnLayout, Cut, Layout, Others, Profile};

pub(super) fn run(file: &Path, data: &Path, json: bool, out: &mut impl Write) -> anyhow::Result<ExitStatus> {
    let mut document = match read_document(file)? {
        Ok(document) => document,
        Err(problems) => {
            if json {
                writeln!(out, "{}", json!({ "problems": problems }))?;
            }
            for problem in problems.iter().filter(|_| !json) {
                writeln!(out, "{problem}")?;
            }
            return Ok(ExitStatus::Failure);
        }
    };
    let table = frames::read_table(data, None)?;
    if document.freshness.take().is_some() {
        note("`freshness` is left out: a file does not say when its window ends");
    }
    let (rows, results) = judge(&document, table);
    if json {
        let verdict = worst(&results);
        writeln!(out, "{}", json!({ "rows": rows, "verdict": verdict, "checks": results }))?;
    } else {
        print(rows, &results, out)?;
    }
    Ok(if worst(&results) == CheckVerdict::Violated { ExitStatus::Failure } else { ExitStatus::Success })
}

/// Judges the whole table as one window, on columns as the document states them.
fn judge(document: &Expectations, table: Table) -> (usize, Vec<CheckResult>) {
    let rows = table.rows;
    let mut layouts = Vec::new();
    let mut batch = Batch { rows, features: Vec::new(), outputs: Vec::new() };
    for column in table.columns {
        // A name may be expected of an input and of an output; the file has one column for both.
        let roles: BTreeSet<Role> = document
            .columns
            .iter()
            .filter(|expected| expected.name == column.name)
            .map(|expected| expected.role.unwrap_or(Role::Feature))
            .collect();
        for role in roles {
            layouts.push(layout_of(document, role, &column));
            let side = if role == Role::Output { &mut batch.outputs } else { &mut batch.features };
            side.push(column.clone());
        }
    }
    let plain = Layout::new(layouts);
    let compiled = document.compile(&plain);
    let layout = plain.with_checks(compiled.version, compiled.columns);
    let mut profile = Profile::empty(&layout);
    profile.record(&layout, &batch);
    // Only freshness looks at times, and that is not judged here.
    let never = DateTime::UNIX_EPOCH;
    (rows, evaluate(document, &Observed::of(&layout, &profile, (never, never))))
}

/// A column of the stated type, or else of the kind that its values have. Its cells play no part in any check.
fn layout_of(document: &Expectations, role: Role, column: &Column) -> ColumnLayout {
    let stated = document
        .columns
        .iter()
        .filter(|expected| expected.name == column.name && expected.role.unwrap_or(Role::Feature) == role)
        .find_map(|expected| expected.expected_type.as_ref());
    let kind = stated
        .map(|stated| stated.value.kind())
        .or_else(|| infer_kind(&column.values))
        .unwrap_or(FeatureKind::Categorical);
    let cut = match kind {
        FeatureKind::Numeric => {
            let one = Runs { values: vec![(0.0, 1)], rank_error: 0.0 };
            numeric_cut(&one, &CutOptions::default()).0
        }
        _ => Cut::Categories(Categories::new(Vec::new(), Others::Names(BTreeSet::new()))),
    };
    ColumnLayout { name: column.name.to_string(), role, kind, cut, range: None }
}

fn print(rows: usize, results: &[CheckResult], out: &mut impl Write) -> anyhow::Result<()> {
    let mut table = TextTable::new();
    table.load_style(presets::NOTHING).set_header(["column", "check", "verdict", "reason"]);
    for result in results {
        table.add_row([
            result.column.clone().unwrap_or_default(),
            result.check.as_str().to_owned(),
            result.verdict.as_str().to_owned(),
            result.reason.clone(),
        ]);
    }
    writeln!(out, "{table}")?;
    let violated = results.iter().filter(|result| result.verdict == CheckVerdict::Violated).count();
    writeln!(out, "\n{violated} of {} checks violated in {rows} rows", results.len())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Value;

    #[test]
    fn a_file_is_one_window() {
        let folder = tempfile::tempdir().unwrap();
        let (file, data) = (folder.path().join("e.yaml"), folder.path().join("rows.csv"));
        std::fs::write(&data, "temp,season,id\n1.5,spring,1\n-40,autumn,2\n,spring,3\n").unwrap();
        let document = "rows: {min: 3}\nfreshness: 1h\ncolumns:\n  temp: {type: numeric, min: -30, missing: {max: 0}}\n  \
                        season: {allowed: [spring, summer]}\n  id: {unique: {min: 0.9}}\n  gone: {required: true}\n";
        std::fs::write(&file, document).unwrap();
        let mut out = Vec::new();
        assert_eq!(run(&file, &data, true, &mut out).unwrap(), ExitStatus::Failure);
        let found: serde_json::Value = serde_json::from_slice(&out).unwrap();
        let verdicts: Vec<(&str, &str)> = found["checks"]
            .as_array()
            .unwrap()
            .iter()
            .map(|check| (check["check"].as_str().unwrap(), check["verdict"].as_str().unwrap()))
            .collect();
        let expected = [
            ("rows_min", "ok"),
            ("type", "ok"),
            ("missing", "violated"),
            ("min", "violated"),
            ("allowed", "violated"),
            ("unique", "ok"),
            ("required", "unknown"),
        ];
        assert_eq!(verdicts, expected, "{found:#}");
        std::fs::write(&file, "columns: {temp: {type: numeric, max: 2}}").unwrap();
        let mut out = Vec::new();
        assert_eq!(run(&file, &data, false, &mut out).unwrap(), ExitStatus::Success);
        assert!(String::from_utf8(out).unwrap().ends_with("0 of 2 checks violated in 3 rows\n"));
    }

    #[test]
    fn a_column_of_another_type_is_found() {
        let document = Expectations::parse("e.yaml", "outputs: {y: {type: integer, max: 10}}").unwrap();
        let values = vec![Value::Text("x".into()), Value::Number(1.0), Value::Number(2.5)];
        let columns = vec![Column { name: "y".into(), values }];
        let (_, results) = judge(&document, Table { path: "rows.csv".into(), rows: 3, columns });
        let verdicts: Vec<_> = results.iter().map(|result| (result.verdict, result.count)).collect();
        assert_eq!(verdicts, [(CheckVerdict::Violated, 2), (CheckVerdict::Ok, 0)]);
    }
}
