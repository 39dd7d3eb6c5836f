//! `driftline compare` as a process: every format, every bad input, the JSON, the report, memory.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use polars::df;
use polars::prelude::{DataFrame, DataType, NamedFrom, ParquetWriter, Series, TimeUnit};
use serde_json::{Value as Json, json};
use tempfile::TempDir;

pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

pub(crate) fn compare(folder: &Path, arguments: &[&str]) -> Ended {
    let ended = Command::new(env!("CARGO_BIN_EXE_driftline"))
        .arg("compare")
        .args(arguments)
        .current_dir(folder)
        .env_remove("DRIFTLINE_CONFIG")
        .output()
        .unwrap();
    Ended {
        code: ended.status.code(),
        out: String::from_utf8(ended.stdout).unwrap(),
        err: String::from_utf8(ended.stderr).unwrap(),
    }
}

/// Numbers without pattern, the same in every run.
pub(crate) fn draw(seed: u64, row: u64) -> f64 {
    let mut x = (row + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ seed.wrapping_mul(0xd1b5_4a32_d192_ed03);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((x ^ (x >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
}

pub(crate) fn frame(seed: u64, rows: u64, shift: f64) -> DataFrame {
    df!(
        "temp" => (0..rows).map(|row| draw(seed, row) * 10.0 + shift).collect::<Vec<_>>(),
        "season" => (0..rows).map(|row| ["dry", "wet"][usize::from(draw(seed + 7, row) < 0.3)]).collect::<Vec<_>>(),
        "open" => (0..rows).map(|row| draw(seed + 9, row) < 0.5).collect::<Vec<_>>(),
        "gusts" => (0..rows).map(|row| (draw(seed + 11, row) > 0.1).then(|| draw(seed + 13, row))).collect::<Vec<_>>(),
    )
    .unwrap()
}

pub(crate) fn write_parquet(path: &Path, mut frame: DataFrame) {
    ParquetWriter::new(File::create(path).unwrap())
        .with_row_group_size(Some(1 << 18))
        .finish(&mut frame)
        .unwrap();
}

/// A folder with a reference, data that drifted, and data that did not.
pub(crate) fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, seed, rows, shift) in
        [("ref", 1, 3000, 0.0), ("drifted", 2, 1000, 2.0), ("same", 3, 1000, 0.0)]
    {
        write_parquet(&folder.path().join(name).with_extension("parquet"), frame(seed, rows, shift));
    }
    folder
}

#[test]
fn drift_is_a_finding_and_calm_is_clean() {
    let folder = folder();
    let drifted = compare(folder.path(), &["ref.parquet", "drifted.parquet"]);
    assert_eq!(drifted.code, Some(1), "{}", drifted.err);
    let first = drifted.out.lines().nth(1).unwrap();
    assert!(first.contains("temp") && first.contains("drift!"), "{}", drifted.out);
    let last = drifted.out.lines().last().unwrap();
    assert!(last.starts_with("drift: 1 of 4 columns drifted (1,000 rows against 3,000"), "{last}");
    assert!(drifted.err.contains("--html") && drifted.err.contains("--time"), "{}", drifted.err);
    let same = compare(folder.path(), &["ref.parquet", "same.parquet"]);
    assert_eq!(same.code, Some(0), "{}", same.out);
    assert!(same.out.lines().last().unwrap().starts_with("ok: none of 4 columns drifted"), "{}", same.out);
    // Without a terminal nothing is coloured.
    assert!(!drifted.out.contains('\u{1b}'));
}

#[test]
fn json_has_the_keys_that_scripts_hold_on_to() {
    let folder = folder();
    let ended = compare(
        folder.path(),
        &["ref.parquet", "drifted.parquet", "--json", "--output", "season", "--alpha", "0.01"],
    );
    let json: Json = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(json["reference"], json!({"path": "ref.parquet", "rows": 3000}));
    assert_eq!(json["current"], json!({"path": "drifted.parquet", "rows": 1000}));
    assert_eq!((&json["alpha"], &json["correction"]), (&json!(0.01), &json!("holm")));
    assert_eq!(json["verdict"], "drift");
    let features = json["features"].as_array().unwrap();
    let names: Vec<&str> = features.iter().map(|f| f["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["temp", "season", "open", "gusts"], "in the order of the file, whatever the role");
    let keys = |value: &Json| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    for feature in features {
        for key in
            ["kind", "n_reference", "n_current", "missing_reference", "missing_current", "verdict", "reason"]
        {
            assert!(!feature[key].is_null(), "{key} of {feature}");
        }
    }
    let temp = &features[0];
    assert_eq!(
        (&temp["kind"], &temp["n_reference"], &temp["missing_current"]),
        (&json!("numeric"), &json!(3000), &json!(0))
    );
    for key in [
        "psi",
        "ks",
        "ks_error_bound",
        "js",
        "kl",
        "hellinger",
        "tvd",
        "linf",
        "wasserstein",
        "wasserstein_norm",
        "mean_shift",
        "chi2",
    ] {
        assert!(temp["statistics"][key].is_f64(), "{key} of {temp}");
    }
    assert_eq!(keys(&temp["p_values"]), ["chi2", "ks", "psi"]);
    assert!(temp["p_adjusted"].is_f64());
    assert!(temp["reason"].as_str().unwrap().contains("is over its floor 0.1"), "{temp}");
    let season = &features[1];
    assert_eq!((&season["kind"], &season["role"]), (&json!("categorical"), &json!("output")));
    assert!(
        !keys(&season["statistics"]).iter().any(|key| key.starts_with("ks") || key.contains("wasserstein"))
    );
    assert_eq!(features[2]["kind"], "boolean");
    let gusts = features[3]["missing_reference"].as_u64().unwrap();
    assert!((200..400).contains(&gusts), "{gusts}");
    assert_eq!(gusts + features[3]["n_reference"].as_u64().unwrap(), 3000);
}

/// The same rows in every format, and in two files instead of one, give the same numbers.
#[test]
fn formats_agree() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    for (name, seed, rows, shift) in [("ref", 1, 3000, 0.0), ("drifted", 2, 1000, 2.0)] {
        let whole = frame(seed, rows, shift);
        let text = |row: usize, column: &str| whole.column(column).unwrap().get(row).unwrap();
        let mut csv = "temp,season,open,gusts\n".to_owned();
        let mut lines = String::new();
        for row in 0..whole.height() {
            let (temp, gusts) = (
                text(row, "temp").try_extract::<f64>().unwrap(),
                text(row, "gusts").try_extract::<f64>().ok(),
            );
            let (season, open) =
                (text(row, "season").get_str().unwrap().to_owned(), text(row, "open").to_string());
            csv.extend([format!(
                "{temp},{season},{open},{}\n",
                gusts.map(|g| g.to_string()).unwrap_or_default()
            )]);
            let mut line = json!({"temp": temp, "season": season, "open": open == "true"});
            // Half of what is missing is null, the other half is not there at all.
            if gusts.is_some() || row % 2 == 0 {
                line["gusts"] = json!(gusts);
            }
            lines.extend([line.to_string(), "\n".to_owned()]);
        }
        fs::write(at(name).with_extension("csv"), csv).unwrap();
        fs::write(at(name).with_extension("jsonl"), lines).unwrap();
        let (one, two) = (whole.slice(0, 700), whole.slice(700, usize::MAX));
        write_parquet(&at(&format!("{name}-part-1.parquet")), one);
        write_parquet(&at(&format!("{name}-part-2.parquet")), two);
    }
    let features = |reference: &str, current: &str| -> Json {
        let ended = compare(folder.path(), &[reference, current, "--json"]);
        assert_eq!(ended.code, Some(1), "{}", ended.err);
        // Keys of JSON lines have no order, and so the columns come in that of their names.
        let mut json = serde_json::from_str::<Json>(&ended.out).unwrap();
        json["features"].as_array_mut().unwrap().sort_by_key(|feature| feature["name"].to_string());
        json["features"].clone()
    };
    let expected = features("ref.parquet", "drifted.parquet");
    for (reference, current) in [
        ("ref.csv", "drifted.csv"),
        ("ref.jsonl", "drifted.jsonl"),
        ("ref-part-*.parquet", "drifted-part-?.parquet"),
        ("ref.csv", "drifted.parquet"),
    ] {
        assert_eq!(features(reference, current), expected, "{reference} {current}");
    }
}

#[test]
fn numbers_agree_with_scipy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let golden: Json = serde_json::from_str(
        &fs::read_to_string(root.join("tests/golden/compare/bike_sharing.json")).unwrap(),
    )
    .unwrap();
    let data = fs::read_to_string(root.join("baselines/data/bike_sharing.csv")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for (name, year) in [("2011", "0"), ("2012", "1")] {
        let mut lines = data.lines();
        let mut csv = lines.next().unwrap().to_owned() + "\n";
        for line in lines.filter(|line| line.split(',').nth(4) == Some(year)) {
            csv += line;
            csv.push('\n');
        }
        fs::write(folder.path().join(name).with_extension("csv"), csv).unwrap();
    }
    let run = |more: &[&str]| -> Vec<Json> {
        let mut arguments =
            vec!["2011.csv", "2012.csv", "--json", "--exclude", "instant,timestamp,dteday,yr"];
        arguments.extend(["--kind", "season=categorical,weekday=categorical,mnth=categorical"]);
        arguments.extend(more);
        let ended = compare(folder.path(), &arguments);
        assert_eq!(ended.code, Some(1), "{}", ended.err);
        serde_json::from_str::<Json>(&ended.out).unwrap()["features"].as_array().unwrap().clone()
    };
    let find = |features: &[Json], name: &str| features.iter().find(|f| f["name"] == name).unwrap().clone();
    let close = |got: &Json, expected: &Json, relative: f64, what: &str| {
        let (got, expected) = (got.as_f64().unwrap(), expected.as_f64().unwrap());
        assert!((got - expected).abs() <= relative * expected.abs(), "{what}: {got}, scipy {expected}");
    };
    let (exact, grid) = (run(&["--exact"]), run(&[]));
    let numeric = golden["numeric"].as_object().unwrap();
    assert!(numeric.len() >= 5);
    for (name, expected) in numeric {
        let feature = find(&exact, name);
        close(&feature["statistics"]["ks"], &expected["ks"], 1e-9, name);
        close(&feature["p_values"]["ks"], &expected["ks_p"], 1e-6, name);
        close(&feature["statistics"]["wasserstein"], &expected["wasserstein"], 1e-9, name);
        close(&feature["statistics"]["mean_shift"], &expected["mean_shift"], 1e-9, name);
        assert_eq!(feature["statistics"]["ks_error_bound"], 0.0);
        // What is read from the grid keeps the bound that it states.
        let read = find(&grid, name)["statistics"].clone();
        let bound = read["ks_error_bound"].as_f64().unwrap();
        let off = (read["ks"].as_f64().unwrap() - expected["ks"].as_f64().unwrap()).abs();
        assert!(off <= bound + 1e-12 && bound <= 1e-3, "{name}: {off} > {bound}");
    }
    for (name, expected) in golden["categorical"].as_object().unwrap() {
        let feature = find(&grid, name);
        close(&feature["statistics"]["chi2"], &expected["chi2"], 1e-9, name);
        close(&feature["p_values"]["chi2"], &expected["chi2_p"], 1e-6, name);
    }
}

#[test]
fn the_report_is_one_file_without_requests_or_markup_from_the_data() {
    let folder = folder();
    let column = "<script>alert(1)</script>";
    for (name, seed, shift) in [("evil-ref.parquet", 1, 0.0), ("evil-cur.parquet", 2, 3.0)] {
        let mut frame = frame(seed, 1000, shift);
        frame.rename("temp", column.into()).unwrap();
        frame.rename("season", "\"><img src=x onerror=alert(2)>".into()).unwrap();
        write_parquet(&folder.path().join(name), frame);
    }
    let ended = compare(folder.path(), &["evil-ref.parquet", "evil-cur.parquet", "--html", "report.html"]);
    assert_eq!(ended.code, Some(1), "{}", ended.err);
    assert!(ended.err.contains("report.html"), "{}", ended.err);
    let page = fs::read_to_string(folder.path().join("report.html")).unwrap();
    for forbidden in ["<script", "<img", "http://", "https://", "src=", "url(", "@import", "<link"] {
        let found = page.replace("src=x onerror", "").contains(forbidden);
        assert!(!found, "the report contains {forbidden}");
    }
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
    assert!(page.contains("Drift in 1 of 4 columns") && page.contains("prefers-color-scheme: dark"));
    assert!(page.contains("<svg") && page.contains("aria-label") && page.contains("width=device-width"));
    let again = compare(folder.path(), &["evil-ref.parquet", "evil-cur.parquet", "--html", "again.html"]);
    assert_eq!(again.code, Some(1));
    assert_eq!(
        page,
        fs::read_to_string(folder.path().join("again.html")).unwrap(),
        "the same bytes every time"
    );
    let nowhere = compare(folder.path(), &["ref.parquet", "same.parquet", "--html", "no/such/report.html"]);
    assert_eq!(nowhere.code, Some(2));
    assert!(nowhere.err.contains("no folder"), "{}", nowhere.err);
}

pub(crate) fn csv(rows: u64, row: impl Fn(u64) -> String) -> String {
    (0..rows).map(|at| row(at) + "\n").collect()
}

#[test]
fn what_was_empty_and_now_has_values_has_drifted() {
    let folder = tempfile::tempdir().unwrap();
    let empty = "x,y\n".to_owned() + &csv(1000, |row| format!(",{}", draw(1, row)));
    let filled = "x,y\n".to_owned() + &csv(1000, |row| format!("{},{}", draw(2, row), draw(3, row)));
    fs::write(folder.path().join("empty.csv"), empty).unwrap();
    fs::write(folder.path().join("filled.csv"), filled).unwrap();
    for (reference, current, code) in
        [("empty.csv", "filled.csv", 1), ("filled.csv", "empty.csv", 1), ("empty.csv", "empty.csv", 0)]
    {
        let ended = compare(folder.path(), &[reference, current]);
        assert_eq!(ended.code, Some(code), "{reference} {current}: {} {}", ended.out, ended.err);
    }
}

#[test]
fn times_teach_natural_variation() {
    let folder = tempfile::tempdir().unwrap();
    // Every hour has a mean of its own, so that any hour differs from all others together.
    let rows = 12_000_u64;
    let time = |row: u64| 1_700_000_000 + (row / 100 * 3600 + row % 100 * 30).cast_signed();
    let value = |row: u64| draw(1, row) + draw(50, row / 100) * 2.0;
    let reference = df!(
        "when" => (0..rows).map(|row| time(row) * 1_000_000).collect::<Vec<_>>(),
        "x" => (0..rows).map(value).collect::<Vec<_>>(),
    )
    .unwrap();
    let mut typed = reference.clone();
    let when = typed.column("when").unwrap().cast(&DataType::Datetime(TimeUnit::Microseconds, None)).unwrap();
    typed.replace("when", when).unwrap();
    write_parquet(&folder.path().join("ref.parquet"), typed);
    let hour = df!(
        "when" => (0..300_i64).collect::<Vec<_>>(),
        "x" => (0..300).map(|row| draw(7, row) + 1.6).collect::<Vec<_>>(),
    )
    .unwrap();
    write_parquet(&folder.path().join("hour.parquet"), hour);
    let lines = "when,x\n".to_owned()
        + &csv(rows, |row| {
            let time = chrono::DateTime::from_timestamp(time(row), 0).unwrap();
            format!("{},{}", time.format("%F %T"), value(row))
        });
    fs::write(folder.path().join("ref.csv"), &lines).unwrap();
    let judge = |reference: &str, more: &[&str]| -> Json {
        let mut arguments = vec![reference, "hour.parquet", "--json"];
        arguments.extend(more);
        let ended = compare(folder.path(), &arguments);
        let json: Json = serde_json::from_str(&ended.out).unwrap_or_else(|_| panic!("{}", ended.err));
        json["features"][0].clone()
    };
    let blind = judge("ref.parquet", &["--exclude", "when"]);
    assert_eq!((&blind["verdict"], &blind["name"]), (&json!("drift"), &json!("x")));
    let taught = judge("ref.parquet", &["--time", "when"]);
    assert_eq!(taught["verdict"], "ok", "{taught}");
    assert!(taught["natural_variation"]["effective_blocks"].as_f64().unwrap() > 20.0, "{taught}");
    assert_eq!(judge("ref.csv", &["--time", "when"])["p_values"], taught["p_values"]);
    // A time that is none is named by file, column and row.
    fs::write(folder.path().join("bad.csv"), lines.replacen("2023-11-15 00:13:50", "yesterday", 1)).unwrap();
    let ended = compare(folder.path(), &["bad.csv", "hour.parquet", "--time", "when"]);
    assert_eq!(ended.code, Some(2));
    let row = lines.lines().position(|line| line.starts_with("2023-11-15 00:13:50")).unwrap();
    let expected = format!("`bad.csv`, column `when`, row {row}: `yesterday` is not a time");
    assert!(ended.err.contains(&expected), "{expected}: {}", ended.err);
}

/// Peak resident memory of a run, in MiB, as Linux counts it.
fn peak_memory(folder: &Path, arguments: &[&str]) -> f64 {
    let mut child = Command::new(env!("CARGO_BIN_EXE_driftline"))
        .arg("compare")
        .args(arguments)
        .current_dir(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0.0_f64;
    loop {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kibibytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
        peak = kibibytes.map_or(peak, |kibibytes| peak.max(kibibytes / 1024.0));
        if let Some(ended) = child.try_wait().unwrap() {
            assert!(matches!(ended.code(), Some(0 | 1)), "{ended}");
            return peak;
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

/// MiB that a comparison may take: the program takes 35, the buffers of two threads and a sketch the rest.
const LIMIT: f64 = 120.0;

#[test]
fn memory_does_not_grow_with_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let rows = 3_000_000_u64;
    let columns = |rows: u64| -> DataFrame {
        let column = |seed: u64| {
            let values: Vec<f64> = (0..rows).map(|row| draw(seed, row)).collect();
            Series::new(format!("x{seed}").into(), values).into()
        };
        DataFrame::new(usize::try_from(rows).unwrap(), (0..5).map(column).collect()).unwrap()
    };
    write_parquet(&at("large.parquet"), columns(rows));
    write_parquet(&at("small.parquet"), columns(1000));
    // The values of the large file alone, once, are 114.
    let large = peak_memory(folder.path(), &["large.parquet", "small.parquet", "--threads", "2"]);
    assert!((1.0..LIMIT).contains(&large), "{large} MiB");
    // Texts that are all different do not pile up either.
    let mut ids = std::io::BufWriter::new(File::create(at("ids.csv")).unwrap());
    writeln!(ids, "id").unwrap();
    (0..1_000_000).for_each(|row| writeln!(ids, "customer-{row:012}").unwrap());
    drop(ids);
    fs::write(at("few.csv"), "id\n".to_owned() + &csv(1000, |row| format!("customer-{row:012}"))).unwrap();
    let ids = peak_memory(folder.path(), &["ids.csv", "few.csv", "--threads", "2"]);
    assert!((1.0..LIMIT).contains(&ids), "{ids} MiB");
}
