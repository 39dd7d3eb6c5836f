//! `driftline compare` on bad input: each is refused with its place and a remedy, or stated in the result.

use std::fs;

use serde_json::Value as Json;

use crate::compare::{compare, csv, draw, folder, frame, write_parquet};

/// A name and a content, the arguments after the two files, the exit code, and what is said.
type Case<'a> = (&'a str, Vec<u8>, &'a [&'a str], i32, &'a [&'a str]);

#[test]
#[expect(clippy::too_many_lines, reason = "a table, and a loop over it")]
fn bad_input_is_refused_or_stated() {
    let folder = folder();
    let reference = "temp,season,open,gusts\n".to_owned()
        + &csv(3000, |row| {
            format!("{},{},true,{}", draw(1, row), ["dry", "wet"][usize::from(row % 3 == 0)], draw(5, row))
        });
    fs::write(folder.path().join("ref.csv"), &reference).unwrap();
    let header = "temp,season,open,gusts\n";
    let with = |row: &dyn Fn(u64) -> String| (header.to_owned() + &csv(1000, row)).into_bytes();
    let parquet = fs::read(folder.path().join("drifted.parquet")).unwrap();
    let mut flipped = parquet.clone();
    for byte in flipped.iter_mut().skip(40).step_by(97).take(60) {
        *byte ^= 0x55;
    }
    let cases: Vec<Case<'_>> = vec![
        ("none.csv", vec![], &[], 2, &["`none.csv` has no rows"]),
        ("header.csv", header.into(), &[], 2, &["`header.csv` has no rows"]),
        ("data.txt", b"temp\n1\n".into(), &[], 2, &["no known format", ".parquet, .arrow, .csv, .jsonl"]),
        (
            "half.parquet",
            parquet[..parquet.len() / 2].into(),
            &[],
            2,
            &["half.parquet", "not readable Parquet"],
        ),
        (
            "footless.parquet",
            parquet[..parquet.len() - 6].into(),
            &[],
            2,
            &["footless.parquet", "not readable Parquet"],
        ),
        (
            "text.parquet",
            b"PAR1 but nothing more PAR1".into(),
            &[],
            2,
            &["text.parquet", "not readable Parquet"],
        ),
        ("flipped.parquet", flipped, &[], 2, &["flipped.parquet", "not readable Parquet"]),
        ("text.arrow", b"ARROW1 and nothing".into(), &[], 2, &["text.arrow", "not readable Arrow"]),
        (
            "ragged.csv",
            b"temp,season,open,gusts\n1,dry,true,2\n1,2\n".into(),
            &[],
            2,
            &["line 3 has 2 fields"],
        ),
        ("twice.csv", b"temp,temp\n1,2\n".into(), &[], 2, &["two columns called `temp`"]),
        ("broken.jsonl", b"{\"temp\": 1}\n{oops\n".into(), &[], 2, &["broken.jsonl", "line 2"]),
        ("array.jsonl", b"[1, 2]\n".into(), &[], 2, &["line 1", "expected an object"]),
        (
            "other.csv",
            b"temp,wind\n1,2\n".into(),
            &[],
            2,
            &[
                "different columns",
                "only in `ref.csv`: season, open, gusts",
                "only in `other.csv`: wind",
                "--allow-missing",
            ],
        ),
        (
            "other.csv",
            (String::from("temp,wind\n") + &csv(900, |row| format!("{},1", draw(2, row)))).into(),
            &["--allow-missing"],
            0,
            &[
                "only in the reference, not compared: season, open, gusts",
                "only in the current data, not compared: wind",
            ],
        ),
        (
            "nested.jsonl",
            b"{\"temp\": [1], \"season\": \"dry\", \"open\": true, \"gusts\": 1}\n".into(),
            &[],
            2,
            &["column `temp`", "holds lists or objects", "--exclude temp"],
        ),
        (
            "one.csv",
            with(&|_| "1,dry,true,1".into())[..header.len() + 13].into(),
            &[],
            2,
            &["insufficient data: 1 rows"],
        ),
        (
            "mixed.csv",
            with(&|row| {
                if row == 411 { "n/k,dry,maybe,1".into() } else { format!("{},dry,true,1", draw(2, row)) }
            }),
            &[],
            1,
            &[
                "column `temp` of the current data: 1 value of another kind counted as missing, at row 412",
                "column `open` of the current data: 1 value of another kind",
            ],
        ),
        (
            "kinds.csv",
            with(&|row| format!("warm,dry,true,{}", draw(2, row))),
            &[],
            1,
            &[
                "column `temp` holds numbers in the reference and texts in the current data",
                "1,000 values of another kind",
            ],
        ),
        ("null.csv", with(&|row| format!(",dry,true,{}", draw(2, row))), &[], 1, &["temp"]),
        ("constant.csv", with(&|row| format!("0.5,dry,true,{}", draw(2, row))), &[], 1, &["temp"]),
        (
            "huge.csv",
            with(&|row| {
                format!("{},dry,true,{}", if row % 2 == 0 { "1e308" } else { "-1.7e308" }, draw(2, row))
            }),
            &["--json"],
            1,
            &["\"psi\""],
        ),
        (
            "tiny.csv",
            with(&|row| {
                format!("{},dry,true,{}", if row % 2 == 0 { "5e-324" } else { "1e-310" }, draw(2, row))
            }),
            &["--json"],
            1,
            &["\"psi\""],
        ),
        (
            "odd.csv",
            with(&|row| {
                format!(
                    "{},dry,true,{}",
                    match row % 4 {
                        0 => "NaN",
                        1 => "inf",
                        2 => "-inf",
                        _ => "1",
                    },
                    draw(2, row)
                )
            }),
            &["--json"],
            1,
            &["\"psi\""],
        ),
        (
            "ok.csv",
            with(&|row| format!("{},dry,true,1", draw(2, row))),
            &["--exclude", "wind"],
            2,
            &["no column `wind`; it has temp, season, open, gusts"],
        ),
        (
            "ok.csv",
            with(&|row| format!("{},dry,true,1", draw(2, row))),
            &["--only", "wind"],
            2,
            &["no column `wind`"],
        ),
        (
            "ok.csv",
            with(&|row| format!("{},dry,true,1", draw(2, row))),
            &["--kind", "temp=colour"],
            2,
            &["numeric, categorical or boolean"],
        ),
        (
            "ok.csv",
            with(&|row| format!("{},dry,true,1", draw(2, row))),
            &["--alpha", "2"],
            2,
            &["not between 0 and 1"],
        ),
        (
            "ok.csv",
            with(&|row| format!("{},dry,true,1", draw(2, row))),
            &["--correction", "none"],
            2,
            &["not holm, benjamini_hochberg or bonferroni"],
        ),
        (
            "ok.csv",
            with(&|row| format!("{},dry,true,1", draw(2, row))),
            &["--time", "season"],
            2,
            &["`ref.csv`, column `season`, row 1: `wet` is not a time"],
        ),
        (
            "ok.csv",
            with(&|row| format!("{},dry,true,1", draw(2, row))),
            &["--time", "when"],
            2,
            &["no column `when`"],
        ),
    ];
    for (name, content, arguments, code, said) in cases {
        fs::write(folder.path().join(name), content).unwrap();
        let parquet = name.ends_with(".parquet");
        let reference = if parquet { "ref.parquet" } else { "ref.csv" };
        let mut all = vec![reference, name];
        all.extend(arguments);
        let ended = compare(folder.path(), &all);
        let text = format!("{}{}", ended.out, ended.err);
        assert_eq!(ended.code, Some(code), "{name} {arguments:?}: {text}");
        assert!(!text.contains("panicked"), "{name}: {text}");
        for part in said {
            assert!(text.contains(part), "{name} {arguments:?}: no `{part}` in\n{text}");
        }
        if arguments.contains(&"--json") {
            let json: Json = serde_json::from_str(&ended.out).unwrap();
            assert!(!ended.out.contains("null"), "{name}: a statistic that does not apply is absent: {json}");
        }
    }
    for (reference, said) in [
        ("no-such.csv", "`no-such.csv` cannot be read"),
        ("no-such-*.csv", "matches no file"),
        ("s3://bucket/ref.parquet", "is a URL"),
        (".", "is a folder"),
    ] {
        let ended = compare(folder.path(), &[reference, "ok.csv"]);
        assert_eq!(ended.code, Some(2), "{reference}");
        assert!(ended.err.contains(said), "{reference}: {}", ended.err);
    }
}

/// Damage anywhere in a Parquet file ends in a message or in numbers, never in a panic or a hang.
#[test]
fn damaged_parquet_never_panics() {
    let folder = tempfile::tempdir().unwrap();
    write_parquet(&folder.path().join("ref.parquet"), frame(1, 500, 0.0));
    let whole = fs::read(folder.path().join("ref.parquet")).unwrap();
    let mut refused = 0;
    for case in 0..40_u64 {
        let mut broken = whole.clone();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place in the file")]
        let at = (draw(99, case) * broken.len() as f64) as usize;
        broken[at] ^= match case % 3 {
            0 => 0xff,
            1 => 0x01,
            _ => 0x80,
        };
        if case % 5 == 0 {
            broken.remove(at);
        }
        fs::write(folder.path().join("broken.parquet"), &broken).unwrap();
        let ended = compare(folder.path(), &["ref.parquet", "broken.parquet", "--json"]);
        assert!(matches!(ended.code, Some(0..=2)), "byte {at}: {:?} {}", ended.code, ended.err);
        assert!(!ended.err.contains("panicked"), "byte {at}: {}", ended.err);
        refused += usize::from(ended.code == Some(2));
    }
    assert!(refused >= 8, "only {refused} of 40 damaged files were noticed");
}
