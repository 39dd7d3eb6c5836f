//! Files of labels: CSV, JSON lines or an array, Parquet and Arrow, every problem with its file, place and column.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use chrono::{DateTime, Utc};
use serde_json::{Map, Value as Json};

use crate::decode::events::LabelTarget;
use crate::frames;
use crate::model::Value;
use crate::store::label::Label;

/// Integers up to here are exact in a number of 64 bits with a fraction.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Which columns make a label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Columns {
    /// The id, or the business key when `by_key`.
    pub(super) subject: String,
    pub(super) by_key: bool,
    pub(super) row: Option<String>,
    pub(super) label: String,
    pub(super) time: Option<String>,
}

/// Labels of a file, each with the line or row that it stands in.
pub(super) type Read = Vec<(usize, Label)>;

/// The cells of one label, as they stand in the file.
struct Record {
    place: usize,
    subject: Json,
    row: Json,
    label: Json,
    time: Json,
}

/// Where something is wrong.
struct Place<'p> {
    file: &'p Path,
    /// `line`, `row` or `item`.
    unit: &'static str,
}

impl Place<'_> {
    fn wrong(&self, place: usize, column: &str, problem: &str) -> anyhow::Error {
        let (file, unit) = (self.file.display(), self.unit);
        anyhow!("`{file}`, {unit} {place}, column `{column}`: {problem}")
    }
}

/// Reads `path`, or stdin for `-`. Labels without a time became known at `now`.
pub(super) fn labels(path: &Path, columns: &Columns, now: DateTime<Utc>) -> Result<Read> {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
    if ["parquet", "arrow", "feather"].contains(&extension.as_str()) {
        return finish(table(path, columns)?, columns, now, &Place { file: path, unit: "row" });
    }
    let from_stdin = path == Path::new("-");
    let (name, text) = if from_stdin {
        let mut text = Vec::new();
        std::io::stdin().lock().read_to_end(&mut text).context("failed to read stdin")?;
        (PathBuf::from("stdin"), text)
    } else {
        let text = std::fs::read(path).with_context(|| format!("failed to read `{}`", path.display()))?;
        (path.to_owned(), text)
    };
    let text = String::from_utf8(text).map_err(|error| {
        let good = error.as_bytes()[..error.utf8_error().valid_up_to()].split(|byte| *byte == b'\n');
        anyhow!("`{}`, line {}: is not UTF-8", name.display(), good.count())
    })?;
    let text = text.trim_start_matches('\u{feff}');
    let looks_like_json = text.trim_start().starts_with(['{', '[']);
    let (records, unit) = match extension.as_str() {
        "csv" => (csv(&name, text, columns)?, "line"),
        "json" | "jsonl" | "ndjson" => json(&name, text, columns)?,
        _ if from_stdin && looks_like_json => json(&name, text, columns)?,
        _ if from_stdin => (csv(&name, text, columns)?, "line"),
        _ => bail!(
            "`{}` has no known format; use .parquet, .arrow, .csv, .json, .jsonl or .ndjson, or `-` for stdin",
            path.display()
        ),
    };
    finish(records, columns, now, &Place { file: &name, unit })
}

fn csv(file: &Path, text: &str, columns: &Columns) -> Result<Vec<Record>> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let header = reader.headers().with_context(|| format!("`{}`, line 1", file.display()))?.clone();
    let find = |name: &String| {
        header.iter().position(|column| column.trim() == name).ok_or_else(|| {
            let known: Vec<&str> = header.iter().collect();
            anyhow!("`{}` has no column `{name}`; it has {}", file.display(), known.join(", "))
        })
    };
    let subject = find(&columns.subject)?;
    let label = find(&columns.label)?;
    let row = columns.row.as_ref().map(find).transpose()?;
    let time = columns.time.as_ref().map(find).transpose()?;
    let mut records = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| {
            let line = error.position().map_or(0, csv::Position::line);
            anyhow!("`{}`, line {line}: {error}", file.display())
        })?;
        let cell = |at: Option<usize>| {
            let text = at.and_then(|at| record.get(at)).map(str::trim).unwrap_or_default();
            if text.is_empty() { Json::Null } else { Json::from(text) }
        };
        let place = record.position().map_or(0, csv::Position::line);
        records.push(Record {
            place: usize::try_from(place).unwrap_or(usize::MAX),
            subject: cell(Some(subject)),
            row: cell(row),
            label: cell(Some(label)),
            time: cell(time),
        });
    }
    infer(&mut records);
    Ok(records)
}

/// A column of numbers has numbers, one of truth values truth values, any other one text.
fn infer(records: &mut [Record]) {
    let number = |text: &str| {
        let integer = text.parse::<i64>().ok().map(Json::from);
        let fraction =
            || text.parse::<f64>().ok().filter(|n| n.is_finite()).and_then(serde_json::Number::from_f64);
        integer.or_else(|| fraction().map(Json::Number))
    };
    let truth = |text: &str| match text.to_ascii_lowercase().as_str() {
        "true" => Some(Json::Bool(true)),
        "false" => Some(Json::Bool(false)),
        _ => None,
    };
    let all = |read: &dyn Fn(&str) -> Option<Json>| {
        records.iter().filter_map(|record| record.label.as_str()).all(|text| read(text).is_some())
    };
    let read: &dyn Fn(&str) -> Option<Json> = if all(&number) {
        &number
    } else if all(&truth) {
        &truth
    } else {
        return;
    };
    for record in records {
        if let Some(read) = record.label.as_str().and_then(read) {
            record.label = read;
        }
    }
}

/// An array or an object, else one object per line.
fn json(file: &Path, text: &str, columns: &Columns) -> Result<(Vec<Record>, &'static str)> {
    let record = |place: usize, mut item: Map<String, Json>| {
        let mut take = |name: Option<&String>| name.and_then(|name| item.remove(name)).unwrap_or_default();
        Record {
            place,
            subject: take(Some(&columns.subject)),
            row: take(columns.row.as_ref()),
            label: take(Some(&columns.label)),
            time: take(columns.time.as_ref()),
        }
    };
    if let Ok(items) = serde_json::from_str::<Vec<Map<String, Json>>>(text) {
        return Ok(((1..).zip(items).map(|(place, item)| record(place, item)).collect(), "item"));
    }
    if text.trim_start().starts_with('[') {
        let error = serde_json::from_str::<Vec<Map<String, Json>>>(text).err();
        bail!(
            "`{}` is not an array of objects: {}",
            file.display(),
            error.map(|e| e.to_string()).unwrap_or_default()
        );
    }
    let mut records = Vec::new();
    for (line, number) in text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty()) {
        let item = serde_json::from_str(line).map_err(|error| {
            anyhow!("`{}`, line {number}: is not a JSON object (column {})", file.display(), error.column())
        })?;
        records.push(record(number, item));
    }
    Ok((records, "line"))
}

fn table(path: &Path, columns: &Columns) -> Result<Vec<Record>> {
    let mut names = vec![columns.subject.as_str(), columns.label.as_str()];
    names.extend(columns.row.iter().chain(&columns.time).map(String::as_str));
    let table = frames::read_table(path, Some(&names))?;
    let cell = |name: Option<&String>, row: usize| {
        let Some(name) = name else { return Ok(Json::Null) };
        let column = table.column(name)?;
        Ok::<_, anyhow::Error>(match column.values.get(row) {
            Some(Value::Text(text)) => Json::from(text.as_str()),
            Some(Value::Bool(truth)) => Json::from(*truth),
            Some(Value::Number(number)) => whole(*number).map_or_else(|| Json::from(*number), Json::from),
            Some(Value::Opaque) => Json::Array(Vec::new()),
            Some(Value::Missing) | None => Json::Null,
        })
    };
    (0..table.rows)
        .map(|row| {
            Ok(Record {
                place: row + 1,
                subject: cell(Some(&columns.subject), row)?,
                row: cell(columns.row.as_ref(), row)?,
                label: cell(Some(&columns.label), row)?,
                time: cell(columns.time.as_ref(), row)?,
            })
        })
        .collect()
}

/// The integer that `number` is, if it is one for sure.
fn whole(number: f64) -> Option<i64> {
    let exact = number.fract() == 0.0 && number.abs() < EXACT;
    exact.then(|| format!("{number:.0}").parse().ok()).flatten()
}

fn finish(records: Vec<Record>, columns: &Columns, now: DateTime<Utc>, place: &Place<'_>) -> Result<Read> {
    if records.is_empty() {
        bail!("`{}` has no rows", place.file.display());
    }
    records
        .into_iter()
        .map(|record| {
            let at = record.place;
            let wrong = |column: &str, problem: &str| place.wrong(at, column, problem);
            let subject = match &record.subject {
                Json::String(text) if !text.trim().is_empty() => text.trim().to_owned(),
                Json::Number(number) if number.is_i64() || number.is_u64() => number.to_string(),
                Json::Number(_) => {
                    return Err(wrong(&columns.subject, "the number is not exact; write the column as text"));
                }
                _ => return Err(wrong(&columns.subject, "is empty or neither text nor an integer")),
            };
            let row = match &record.row {
                Json::Null => None,
                Json::Number(number) => Some(number.to_string()),
                Json::String(text) => Some(text.clone()),
                _ => Some(String::new()),
            };
            let row = row.map(|row| row.trim().parse::<usize>()).transpose().map_err(|_| {
                wrong(columns.row.as_deref().unwrap_or_default(), "is not a whole number of 0 or more")
            })?;
            if !(record.label.is_number() || record.label.is_boolean() || record.label.is_string()) {
                return Err(wrong(
                    &columns.label,
                    "the label is missing, or not a number, a truth value or text",
                ));
            }
            let time = match (&columns.time, &record.time) {
                (None, _) => None,
                (Some(column), time) => Some(read_time(time).ok_or_else(|| {
                    wrong(column, "is not a time; use RFC 3339, YYYY-MM-DDTHH:MM:SS or seconds since 1970")
                })?),
            };
            let target = match time {
                Some(at) if columns.by_key => LabelTarget::Key { key: subject, at },
                None if columns.by_key => return Err(wrong(&columns.subject, "a key needs a time")),
                _ => LabelTarget::Id { id: subject, row },
            };
            Ok((at, Label { target, value: record.label, labelled_at: time.unwrap_or(now) }))
        })
        .collect()
}

fn read_time(time: &Json) -> Option<DateTime<Utc>> {
    match time {
        Json::Number(seconds) => frames::parse_time(&Value::Number(seconds.as_f64()?)),
        Json::String(text) => {
            let seconds = text.parse::<f64>().ok().map(Value::Number);
            frames::parse_time(&seconds.unwrap_or_else(|| Value::Text(text.clone())))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn columns() -> Columns {
        Columns { subject: "id".into(), by_key: false, row: None, label: "label".into(), time: None }
    }

    fn read(name: &str, text: &str, columns: &Columns) -> Result<Read> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        labels(&path, columns, DateTime::UNIX_EPOCH)
    }

    fn ids_and_values(read: &Read) -> Vec<(String, Json)> {
        read.iter()
            .map(|(_, label)| match &label.target {
                LabelTarget::Id { id, .. } => (id.clone(), label.value.clone()),
                other @ LabelTarget::Key { .. } => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn every_text_format_reads_alike() {
        let expected = [("p1".to_owned(), json!(1)), ("18446744073709551615".to_owned(), json!(0.5))];
        for (name, text) in [
            ("a.csv", "label,id\n1,p1\n0.5,18446744073709551615\n"),
            ("a.csv", "\u{feff}id,label,other\r\np1,1,x\r\n18446744073709551615,0.5,\r\n"),
            ("a.jsonl", "{\"id\":\"p1\",\"label\":1}\n\n{\"id\":18446744073709551615,\"label\":0.5}"),
            ("a.json", r#"[{"id":"p1","label":1},{"id":"18446744073709551615","label":0.5,"x":[]}]"#),
        ] {
            assert_eq!(ids_and_values(&read(name, text, &columns()).unwrap()), expected, "{text}");
        }
    }

    #[test]
    fn columns_of_csv_are_of_one_kind() {
        let values = |labels: [&str; 2]| {
            let text = format!("id,label\na,{}\nb,{}\n", labels[0], labels[1]);
            let read = read("a.csv", &text, &columns()).unwrap();
            read.into_iter().map(|(_, label)| label.value).collect::<Vec<_>>()
        };
        assert_eq!(values(["1", "2.5"]), [json!(1), json!(2.5)]);
        assert_eq!(values(["1", "b"]), [json!("1"), json!("b")]);
        assert_eq!(values(["true", "False"]), [json!(true), json!(false)]);
        assert_eq!(values(["true", "1"]), [json!("true"), json!("1")]);
    }

    #[test]
    fn keys_rows_and_times_are_columns() {
        let by_key =
            Columns { subject: "customer".into(), by_key: true, time: Some("at".into()), ..columns() };
        let read_back = read("a.csv", "customer,label,at\n17,1,1970-01-01 00:01:00\n", &by_key).unwrap();
        let at = DateTime::from_timestamp(60, 0).unwrap();
        let expected =
            Label { target: LabelTarget::Key { key: "17".into(), at }, value: json!(1), labelled_at: at };
        assert_eq!(read_back, [(2, expected)]);
        let with_row = Columns { row: Some("n".into()), ..columns() };
        let read_back = read("a.jsonl", r#"{"id":"a","n":3,"label":"x"}"#, &with_row).unwrap();
        assert_eq!(read_back[0].1.target, LabelTarget::Id { id: "a".into(), row: Some(3) });
    }

    #[test]
    fn problems_name_file_place_and_column() {
        let timed = Columns { time: Some("at".into()), ..columns() };
        let numbered = Columns { row: Some("n".into()), ..columns() };
        for (name, text, columns, expected) in [
            ("a.csv", "id,label\np,1\n,2\n", &columns(), "a.csv`, line 3, column `id`: is empty"),
            ("a.csv", "id,label\np,1\nq,\n", &columns(), "line 3, column `label`: the label is missing"),
            ("a.csv", "id,label\np,1\nq\n", &columns(), "a.csv`, line 3: "),
            ("a.csv", "id,lable\np,1\n", &columns(), "has no column `label`; it has id, lable"),
            ("a.csv", "id,label\n", &columns(), "has no rows"),
            ("a.csv", "", &columns(), "has no column `id`"),
            ("a.csv", "id,label,at\np,1,noon\n", &timed, "line 2, column `at`: is not a time"),
            ("a.csv", "id,label,n\np,1,-2\n", &numbered, "line 2, column `n`: is not a whole number"),
            (
                "a.jsonl",
                "{\"id\":\"p\",\"label\":1}\n{oops\n",
                &columns(),
                "a.jsonl`, line 2: is not a JSON object",
            ),
            (
                "a.jsonl",
                "{\"id\":1.5,\"label\":1}",
                &columns(),
                "line 1, column `id`: the number is not exact",
            ),
            (
                "a.json",
                "[{\"id\":\"p\",\"label\":[]}]",
                &columns(),
                "item 1, column `label`: the label is missing",
            ),
            ("a.json", "[1]", &columns(), "is not an array of objects"),
            ("a.txt", "x", &columns(), "has no known format"),
        ] {
            let problem = read(name, text, columns).unwrap_err().to_string();
            assert!(problem.contains(expected), "{text:?}: {problem}");
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.csv");
        std::fs::write(&path, b"id,label\n\xff,1\n").unwrap();
        let problem = labels(&path, &columns(), DateTime::UNIX_EPOCH).unwrap_err().to_string();
        assert!(problem.contains("line 2: is not UTF-8"), "{problem}");
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(id,label\n)?[\\PC\n\",]{0,60}", json in any::<bool>()) {
            let file = Path::new("x");
            let outcome = if json {
                super::json(file, &text, &columns()).map(|(records, _)| records)
            } else {
                csv(file, &text, &columns())
            };
            if let Ok(records) = outcome {
                let _read_or_refused = finish(records, &columns(), DateTime::UNIX_EPOCH, &Place { file, unit: "line" });
            }
        }
    }
}
