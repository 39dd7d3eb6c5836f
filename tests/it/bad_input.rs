//! Bad input: every refusal names the file, line or column, and what to do; nothing half-done stays behind.
#![expect(clippy::disallowed_methods, reason = "a test awaits what it spawned")]

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use driftline::app::{self, App};
use driftline::baseline::{self, Baseline, BuildOptions, CutOptions, SourceColumn};
use driftline::config::Settings;
use driftline::model::{ModelName, Role, Value};
use driftline::profile;
use driftline::store::PgPool;
use polars::df;
use polars::prelude::{Column, DataFrame, DataType, NamedFrom, ParquetWriter, Series, TimeUnit, TimeZone};
use serde_json::{Value as Wire, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support;

struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
}

/// Runs the program in `folder`, away from any settings.
fn driftline(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Ended {
    let ended = Command::new(env!("CARGO_BIN_EXE_driftline"))
        .args(arguments)
        .current_dir(folder)
        .env_remove("DRIFTLINE_CONFIG")
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    Ended {
        code: ended.status.code(),
        out: String::from_utf8(ended.stdout).unwrap(),
        err: String::from_utf8(ended.stderr).unwrap(),
    }
}

fn build(folder: &Path, data: &str, more: &[&str]) -> Ended {
    let mut arguments = vec!["baseline", "build", data, "-m", "m", "--no-register", "--out", "out"];
    arguments.extend(more);
    driftline(folder, &arguments, &[])
}

fn season(row: u32) -> &'static str {
    if row.is_multiple_of(2) { "dry" } else { "wet" }
}

fn parquet(rows: u32) -> Vec<u8> {
    let mut frame = df!(
        "temp" => (0..rows).map(f64::from).collect::<Vec<_>>(),
        "season" => (0..rows).map(season).collect::<Vec<_>>(),
    )
    .unwrap();
    let mut bytes = Vec::new();
    ParquetWriter::new(&mut bytes).finish(&mut frame).unwrap();
    bytes
}

fn csv(rows: u32, shift: u32) -> String {
    let lines = (0..rows).map(|row| format!("{:.1},{}\n", f64::from(row + shift), season(row)));
    std::iter::once("temp,season\n".to_owned()).chain(lines).collect()
}

fn json_lines(rows: u32) -> String {
    let line = |row| format!("{}\n", json!({ "temp": f64::from(row), "season": season(row) }));
    (0..rows).map(line).collect::<Vec<_>>().concat()
}

/// A file's name and content, the arguments, and what the refusal says.
type Case<'a> = (&'a str, &'a [u8], &'a [&'a str], &'a [&'a str]);

#[test]
fn data_that_no_baseline_can_be_built_from_are_refused_with_a_remedy() {
    let whole = parquet(500);
    let good = csv(50, 0);
    let (cut, unfooted) = (&whole[..whole.len() / 2], &whole[..whole.len() - 8]);
    let missing_column: &[&str] = &["data.csv", "`wind`", "it has temp, season"];
    let cases: &[Case<'_>] = &[
        ("empty.csv", b"", &[], &["empty.csv", "has no rows"]),
        ("header.csv", b"temp,season\n", &[], &["header.csv", "has no rows"]),
        ("empty.parquet", b"", &[], &["empty.parquet", "has no rows"]),
        ("empty.jsonl", b"\n", &[], &["empty.jsonl"]),
        ("data.xlsx", b"PK", &[], &["data.xlsx", "use .parquet, .arrow, .csv, .jsonl or .ndjson"]),
        ("data", b"temp\n1\n", &[], &["`data`", "use .parquet, .arrow, .csv, .jsonl or .ndjson"]),
        ("broken.parquet", b"this is no such thing", &[], &["broken.parquet", "not readable Parquet"]),
        ("half.parquet", cut, &[], &["half.parquet", "not readable Parquet"]),
        ("unfooted.parquet", unfooted, &[], &["unfooted.parquet", "not readable Parquet"]),
        ("ragged.csv", b"a,b\n1,2\n1,2,3\n", &[], &["ragged.csv", "not readable CSV"]),
        ("bad.jsonl", b"{\"temp\":1}\n{oops\n{\"temp\":2}\n", &[], &["bad.jsonl", "not readable JSON lines"]),
        ("cut.jsonl", b"{\"temp\":1}\n{\"temp\":", &[], &["cut.jsonl", "not readable JSON lines"]),
        ("list.jsonl", b"[1,2]\n[3,4]\n", &[], &["list.jsonl"]),
        ("data.csv", good.as_bytes(), &["--exclude", "wind"], missing_column),
        ("data.csv", good.as_bytes(), &["--output", "wind"], missing_column),
        ("data.csv", good.as_bytes(), &["--time", "wind"], missing_column),
        ("data.csv", good.as_bytes(), &["--kind", "wind=numeric"], missing_column),
        (
            "data.csv",
            good.as_bytes(),
            &["--kind", "temp=colour"],
            &["temp=colour", "numeric, categorical or boolean"],
        ),
        (
            "data.csv",
            good.as_bytes(),
            &["--kind", "season=numeric"],
            &["data.csv", "`season`", "numeric", "--kind"],
        ),
        (
            "data.csv",
            good.as_bytes(),
            &["--time", "season"],
            &["data.csv", "`season`", "row 1", "`dry`", "RFC 3339"],
        ),
        ("data.csv", good.as_bytes(), &["--exclude", "temp,season"], &["data.csv", "no columns to watch"]),
        ("gone.csv", b"temp,wind\n1,\n2,\n", &[], &["gone.csv", "`wind`", "--exclude wind"]),
        (
            "gone.jsonl",
            b"{\"temp\":1,\"wind\":null}\n{\"temp\":2,\"wind\":null}\n",
            &[],
            &["`wind`", "--exclude wind"],
        ),
        (
            "nested.jsonl",
            b"{\"temp\":[1]}\n{\"temp\":[2]}\n",
            &[],
            &["nested.jsonl", "`temp`", "--exclude temp"],
        ),
        (
            "late.csv",
            b"t,temp\n2026-01-01T00:00:00,1\nlater,2\n",
            &["--time", "t"],
            &["late.csv", "`t`", "row 2", "`later`"],
        ),
        (
            "unknown.csv",
            b"t,temp\n2026-01-01T00:00:00,1\n,2\n",
            &["--time", "t"],
            &["unknown.csv", "`t`", "row 2"],
        ),
    ];
    for (file, content, more, said) in cases {
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join(file), content).unwrap();
        let ended = build(folder.path(), file, more);
        let context = format!("{file} {more:?}: {}{}", ended.out, ended.err);
        assert_eq!(ended.code, Some(2), "{context}");
        assert!(!ended.err.contains("panicked"), "{context}");
        for part in *said {
            assert!(ended.err.contains(part), "`{part}` is missing in {context}");
        }
        assert!(!folder.path().join("out").exists(), "{context}");
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let folder = TempDir::new().unwrap();
    fs::create_dir(folder.path().join("folder.csv")).unwrap();
    for file in ["nowhere.csv", "nowhere.parquet", "folder.csv"] {
        let ended = build(folder.path(), file, &[]);
        assert_eq!(ended.code, Some(2), "{}", ended.err);
        assert!(ended.err.contains(file), "{}", ended.err);
        assert!(!folder.path().join("out").exists());
    }
}

#[test]
fn the_same_data_give_the_same_version() {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("data.csv"), csv(400, 0)).unwrap();
    fs::write(at("other.csv"), csv(400, 300)).unwrap();
    fs::write(at("data.jsonl"), json_lines(400)).unwrap();
    fs::write(at("data.parquet"), parquet(400)).unwrap();
    let path_of = |data: &str| {
        let ended = build(folder.path(), data, &["--json"]);
        assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""));
        let document: Wire = serde_json::from_str(&ended.out).unwrap();
        let path = document["path"].as_str().unwrap().to_owned();
        assert_eq!(path, format!("out/m/{}.json", document["version"].as_str().unwrap()));
        path
    };
    let first = path_of("data.csv");
    let content = fs::read(at(&first)).unwrap();
    assert_eq!(path_of("data.csv"), first);
    assert_eq!(fs::read(at(&first)).unwrap(), content);
    assert_eq!(fs::read_dir(at("out/m")).unwrap().count(), 1, "nothing but the baseline");

    let shown = driftline(folder.path(), &["baseline", "show", &first], &[]);
    assert_eq!(shown.code, Some(0), "{}", shown.err);
    for part in ["model m", "400 rows from data.csv", "temp", "season", "dry, wet"] {
        assert!(shown.out.contains(part), "{part}: {}", shown.out);
    }
    let other = path_of("other.csv");
    for (to, code) in [(&first, 0), (&other, 1)] {
        let compared = driftline(folder.path(), &["baseline", "diff", &first, to], &[]);
        assert_eq!(compared.code, Some(code), "{}{}", compared.out, compared.err);
    }

    // The name of the file is part of a baseline; what was read from it has to be the same in every format.
    let columns = |path: &str| {
        let baseline = Baseline::from_json(&fs::read_to_string(at(path)).unwrap()).unwrap();
        baseline.columns().to_vec()
    };
    for data in ["data.jsonl", "data.parquet"] {
        let path = path_of(data);
        let mut found = columns(&path);
        found.sort_by_key(|column| std::cmp::Reverse(column.layout.name.clone()));
        assert_eq!(found, columns(&first), "{data}");
        let compared = driftline(folder.path(), &["baseline", "diff", &first, &path], &[]);
        assert_eq!(compared.code, Some(0), "{}{}", compared.out, compared.err);
    }

    // A baseline that was tampered with, or cut, is not taken for one.
    let text = String::from_utf8(content).unwrap();
    for (name, damaged) in
        [("cut.json", text[..text.len() / 2].to_owned()), ("changed.json", text.replace("400", "401"))]
    {
        fs::write(at(name), damaged).unwrap();
        let shown = driftline(folder.path(), &["baseline", "show", name], &[]);
        assert_eq!(shown.code, Some(2), "{}", shown.out);
        assert!(shown.err.contains(name), "{}", shown.err);
    }
}

#[test]
fn event_times_are_read_in_every_form_that_parquet_has() {
    let folder = TempDir::new().unwrap();
    let seconds: Vec<i64> = (0..400).map(|hour| 1_767_225_600 + 3600 * hour).collect();
    let number = Series::new("t".into(), &seconds);
    let milliseconds = Series::new("t".into(), seconds.iter().map(|time| time * 1000).collect::<Vec<_>>());
    let naive = milliseconds.cast(&DataType::Datetime(TimeUnit::Milliseconds, None)).unwrap();
    let nanoseconds = naive.cast(&DataType::Datetime(TimeUnit::Nanoseconds, None)).unwrap();
    let zoned = milliseconds.cast(&DataType::Datetime(TimeUnit::Milliseconds, Some(TimeZone::UTC))).unwrap();
    let mut found = Vec::new();
    for times in [number, naive, nanoseconds, zoned] {
        let temp = Column::new("temp".into(), (0..400).map(f64::from).collect::<Vec<_>>());
        let kind = times.dtype().to_string();
        let mut frame = DataFrame::new(400, vec![times.into(), temp]).unwrap();
        let file = File::create(folder.path().join("data.parquet")).unwrap();
        ParquetWriter::new(file).finish(&mut frame).unwrap();
        let ended = build(folder.path(), "data.parquet", &["--time", "t", "--window", "1d", "--json"]);
        assert_eq!(ended.code, Some(0), "{kind}: {}", ended.err);
        let document: Wire = serde_json::from_str(&ended.out).unwrap();
        assert_eq!(document["columns"].as_array().unwrap().len(), 1, "{kind}");
        assert_eq!(document["columns"][0]["natural_variation"], true, "{kind}");
        found.push(document["version"].clone());
    }
    assert!(found.iter().all(|version| *version == found[0]), "{found:?}");
}

#[test]
fn settings_are_refused_with_their_place() {
    let model = |more: &str| format!("models:\n  - name: m\n    {more}\n");
    let cases = [
        ("listn: {}\n".to_owned(), vec!["listn", "driftline.yaml", "line 1"]),
        ("tap:\n  upstream: http://localhost:1\n  sampel: 1\n".to_owned(), vec!["sampel", "line 3"]),
        (model("min_rows: many"), vec!["line 3"]),
        (model("window: 1 fortnight"), vec!["line 3", "1 fortnight", "30s, 5m, 1h or 30d"]),
        (model("window: 7h"), vec!["model `m`", "window 7h", "divide a day"]),
        (model("window: 0s"), vec!["model `m`", "at least 1m"]),
        (model("false_alarms: often"), vec!["line 3", "1 per 30d"]),
        ("models: [{name: m}, {name: m}]\n".to_owned(), vec!["model `m` is listed twice"]),
        ("models: [{name: a/b}]\n".to_owned(), vec!["a/b", "line 1"]),
        (
            "receivers: {ops: {email: {to: [a@b.c]}}}\n".to_owned(),
            vec!["receiver `ops`", "`smtp` is not set"],
        ),
        ("receivers: {ops: {webhook: {url: 'ftp://x'}}}\n".to_owned(), vec!["receiver `ops`", "http(s)"]),
        (
            "receivers: {oncall: {webhook: {url: 'http://x'}}}\nroute:\n  receiver: onecall\n".to_owned(),
            vec!["driftline.yaml:3: `receiver`: receiver `onecall`", "did you mean `oncall`?"],
        ),
        (
            "route:\n  group_by: [modle]\n".to_owned(),
            vec!["driftline.yaml:2: `group_by`: no alert has the label `modle`", "did you mean `model`?"],
        ),
        (
            "inhibit:\n  - {source: [a], target: [b=c]}\n".to_owned(),
            vec!["driftline.yaml:2: `source`", "`a`"],
        ),
        ("tap: {sample: 1.5}\n".to_owned(), vec!["1.5", "(0, 1]"]),
        ("models: [\n".to_owned(), vec!["driftline.yaml", "line"]),
    ];
    let folder = TempDir::new().unwrap();
    for (text, said) in cases {
        fs::write(folder.path().join("driftline.yaml"), &text).unwrap();
        let checked = driftline(folder.path(), &["check", "-c", "driftline.yaml"], &[]);
        assert_eq!(checked.code, Some(1), "{text}{}", checked.out);
        let run = driftline(folder.path(), &["run", "-c", "driftline.yaml"], &[]);
        assert_eq!(run.code, Some(2), "{text}{}", run.out);
        for part in said {
            assert!(checked.out.contains(part), "`{part}` is missing: {text}{}", checked.out);
            assert!(run.err.contains(part), "`{part}` is missing: {text}{}", run.err);
        }
    }
    let checked = driftline(folder.path(), &["check", "-c", "nowhere.yaml"], &[]);
    assert_eq!(checked.code, Some(1));
    assert!(checked.out.contains("nowhere.yaml"), "{}", checked.out);
}

#[test]
fn a_variable_overrides_a_setting_and_is_named_when_wrong() {
    let over = |name: &str, value: &str| {
        let environment = [(name.to_owned(), value.to_owned()), ("HOME".to_owned(), "/".to_owned())];
        let text = "tap: {upstream: 'http://one:1', sample: 0.5}\n";
        Settings::parse_with(text, "driftline.yaml", environment.into_iter())
    };
    let settings = over("DRIFTLINE__TAP__UPSTREAM", "http://two:2").unwrap();
    assert_eq!(settings.tap.upstream.as_deref(), Some("http://two:2"));
    assert!((settings.tap.sample.get() - 0.5).abs() < f64::EPSILON, "the rest stays");

    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("driftline.yaml"), "models: [{name: m}]\n").unwrap();
    for (variable, value) in [
        ("DRIFTLINE__TAP__UPSTREAM", "[1]"),
        ("DRIFTLINE__TAP__UPSTRAEM", "http://two:2"),
        ("DRIFTLINE__TAP__SAMPLE", "2"),
        ("DRIFTLINE__LISTEN__ADMIN", "everywhere"),
        ("DRIFTLINE__MODELS__WINDOW", "1h"),
    ] {
        let checked = driftline(folder.path(), &["check"], &[(variable, value)]);
        assert_eq!(checked.code, Some(1), "{}", checked.out);
        assert!(checked.out.contains(variable), "{variable}: {}", checked.out);
    }
}

#[test]
fn a_rule_with_a_syntax_error_is_refused_with_file_and_line() {
    let folder = TempDir::new().unwrap();
    let text = "groups:\n- name: g\n  rules:\n  - alert: A\n    for_each: feature\n    expr: psi >\n";
    fs::write(folder.path().join("rules.yaml"), text).unwrap();
    let checked = driftline(folder.path(), &["rules", "check", "rules.yaml"], &[]);
    assert_eq!(checked.code, Some(1), "{}", checked.err);
    assert!(checked.out.starts_with("rules.yaml:6: "), "{}", checked.out);
    assert!(checked.out.contains("expected a CEL expression"), "{}", checked.out);
}

/// A sidecar without a proxy: what it is given comes through the API.
struct Sidecar {
    pool: PgPool,
    admin: String,
    client: reqwest::Client,
    shutdown: CancellationToken,
    running: JoinHandle<anyhow::Result<()>>,
}

impl Sidecar {
    async fn start() -> Self {
        app::install_crypto();
        let (pool, url) = support::database_with_url().await;
        let text = format!(
            "listen: {{proxy: 127.0.0.1:0, admin: 127.0.0.1:0}}\ndatabase: {{url: '{url}'}}\n\
             models: [{{name: m, window: 1d, training: {{task: regression, target: y}}}}]\n"
        );
        let app = App::build(Settings::parse(&text, "driftline.yaml").unwrap()).await.unwrap();
        let admin = format!("http://{}", app.admin_address());
        let shutdown = CancellationToken::new();
        let running = tokio::task::spawn(app.run(shutdown.clone().cancelled_owned()));
        let client = reqwest::Client::new();
        let sidecar = Self { pool, admin, client, shutdown, running };
        support::wait_for("the registered model", || async {
            (sidecar.count("model").await > 0).then_some(())
        })
        .await;
        sidecar
    }

    async fn count(&self, table: &str) -> i64 {
        let query = sqlx::AssertSqlSafe(format!("select count(*) from {table}"));
        sqlx::query_scalar(query).fetch_one(&self.pool).await.unwrap()
    }

    async fn post(&self, path: &str, body: &str) -> (u16, Wire) {
        let request = self.client.post(format!("{}{path}", self.admin)).body(body.to_owned());
        answer(request.send().await.unwrap()).await
    }

    async fn get(&self, path: &str) -> (u16, Wire) {
        answer(self.client.get(format!("{}{path}", self.admin)).send().await.unwrap()).await
    }

    async fn stop(self) -> PgPool {
        self.shutdown.cancel();
        self.running.await.unwrap().unwrap();
        self.pool
    }
}

/// Status and body; a refusal has to be a problem document.
async fn answer(answer: reqwest::Response) -> (u16, Wire) {
    let status = answer.status().as_u16();
    let kind = answer.headers().get("content-type").map(|kind| kind.to_str().unwrap().to_owned());
    let body: Wire = answer.json().await.unwrap();
    if status >= 400 {
        assert_eq!(kind.as_deref(), Some("application/problem+json"), "{body}");
        assert_eq!(body["status"], status, "{body}");
        assert!(body["title"].as_str().is_some_and(|title| !title.is_empty()), "{body}");
    }
    (status, body)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_predictions_are_refused_and_good_ones_beside_them_kept() {
    let sidecar = Sidecar::start().await;
    for (body, index, field) in [
        (r#"{"model":"nobody","features":{"x":1}}"#, 0, "model"),
        (r#"{"model":7,"features":{"x":1}}"#, 0, "model"),
        (r#"{"model":"m","features":7}"#, 0, "features"),
        (r#"{"model":"m","features":[]}"#, 0, "features"),
        (r#"[{"model":"m","features":{"x":1},"time":"yesterday"}]"#, 0, "time"),
        (r#"{"model":"m","features":{"x":1},"wind":1}"#, 0, "wind"),
        ("[3]", 0, ""),
    ] {
        let (status, answer) = sidecar.post("/v1/predictions", body).await;
        assert_eq!(status, 400, "{body}: {answer}");
        let error = &answer["errors"][0];
        assert_eq!(
            (error["index"].as_i64(), error["field"].as_str()),
            (Some(index), Some(field)),
            "{answer}"
        );
        assert!(error["problem"].as_str().is_some_and(|problem| !problem.is_empty()), "{answer}");
    }
    for body in ["", "hello", r#"{"model":"m","features":{"x""#, "\u{0}"] {
        let (status, answer) = sidecar.post("/v1/predictions", body).await;
        assert_eq!(status, 400, "{body}: {answer}");
        assert!(answer["title"].as_str().unwrap().contains("JSON"), "{answer}");
    }
    let mixed = json!([
        { "model": "m", "id": "good-1", "features": { "x": 1 } },
        { "model": "nobody", "id": "bad-1", "features": { "x": 1 } },
        { "model": "m", "id": "bad-2", "features": 7 },
        { "model": "m", "id": "good-2", "features": { "x": 2 } },
    ]);
    let (status, answer) = sidecar.post("/v1/predictions", &mixed.to_string()).await;
    assert_eq!((status, &answer["accepted"]), (200, &json!(2)), "{answer}");
    let mut refused: Vec<_> =
        answer["refused"].as_array().unwrap().iter().map(|item| item["index"].as_i64().unwrap()).collect();
    refused.sort_unstable();
    assert_eq!(refused, [1, 2]);
    let pool = sidecar.stop().await;
    let kept: Vec<String> =
        sqlx::query_scalar("select row_id from captured_row order by row_id").fetch_all(&pool).await.unwrap();
    assert_eq!(kept, ["good-1", "good-2"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_labels_are_refused_as_a_whole() {
    let sidecar = Sidecar::start().await;
    let good = r#"{"model":"m","id":"a","label":1}"#;
    let unknown = r#"{"model":"nobody","id":"a","label":1}"#;
    for body in [unknown.to_owned(), format!("[{good},{unknown}]"), format!("{good}\n{unknown}\n")] {
        let (status, answer) = sidecar.post("/v1/labels", &body).await;
        assert_eq!(status, 404, "{answer}");
        assert!(answer["title"].as_str().unwrap().contains("nobody"), "{answer}");
    }
    for bad in [
        r#"{"model":"m","id":"a"}"#,
        r#"{"model":"m","label":1}"#,
        r#"{"model":"m","id":7,"label":1}"#,
        r#"{"model":"a/b","id":"a","label":1}"#,
        r#"{"model":"m","id":"a","label":null}"#,
        r#"{"model":"m","id":"a","label":[1]}"#,
        r#"{"model":"m","id":"a","label":1,"time":"now"}"#,
        r#"{"model":"m","id":"a","label":1,"row":-1}"#,
        r#"{"model":"m","id":"a","label":1,"lable":1}"#,
        "7",
    ] {
        let (status, answer) = sidecar.post("/v1/labels", &format!("[{good},{bad}]")).await;
        assert_eq!(status, 400, "{bad}: {answer}");
        assert_eq!(answer["errors"][0]["index"], 1, "{bad}: {answer}");
    }
    for body in ["", "[]", "hello", r#"[{"model":"m""#, r#"{"model":"m","id":"a","label":NaN}"#] {
        let (status, answer) = sidecar.post("/v1/labels", body).await;
        assert_eq!(status, 400, "{body}: {answer}");
    }
    assert_eq!((sidecar.count("label").await, sidecar.count("label_waiting").await), (0, 0));
    let (status, answer) = sidecar.post("/v1/labels", good).await;
    assert_eq!((status, &answer["waiting"]), (200, &json!(1)));
    assert!(answer["rules"]["waiting"].as_str().unwrap().contains("retention"), "{answer}");
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_there_is_a_problem_document() {
    let sidecar = Sidecar::start().await;
    for (path, expected) in [
        ("/v1/models/nobody/drift", 404),
        ("/v1/models/nobody/baselines", 404),
        ("/v1/models/nobody/versions", 404),
        ("/v1/models/.nobody/drift", 400),
        ("/v1/models/m/drift?limit=0", 400),
        ("/v1/runs/01890000-0000-7000-8000-000000000000", 404),
        ("/v1/runs/first", 400),
        ("/v2/nothing", 404),
    ] {
        let (status, answer) = sidecar.get(path).await;
        assert_eq!(status, expected, "{path}: {answer}");
    }
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_that_are_no_numbers_are_counted_by_what_they_are() {
    let sidecar = Sidecar::start().await;
    let temp: Vec<Value> = (0..500).map(|i| Value::Number(f64::from(i))).collect();
    let season: Vec<Value> = (0..500).map(|row| Value::Text(season(row).to_owned())).collect();
    let column = |name, values| SourceColumn { name, role: Role::Feature, kind: None, values };
    let options = BuildOptions {
        model: ModelName::parse("m").unwrap(),
        source: "reference".into(),
        cut: CutOptions::default(),
        joint: true,
    };
    let reference =
        baseline::build(&[column("temp", &temp), column("season", &season)], None, options).unwrap();
    app::register_baseline(&sidecar.pool, &reference).await.unwrap();
    support::wait_for("a profiled row", || async {
        let trial = r#"{"model":"m","time":"2026-01-01T00:00:00Z","features":{"temp":1,"season":"dry"}}"#;
        assert_eq!(sidecar.post("/v1/predictions", trial).await.0, 200);
        (sidecar.count("profile_part").await > 0).then_some(())
    })
    .await;

    let body = r#"{"model":"m","id":"odd","time":"2026-01-01T06:00:00Z","features":[
        {"temp":1,"season":"dry"},
        {"temp":NaN,"season":"wet"},
        {"temp":null,"season":null},
        {"season":NaN},
        {"temp":"warm","season":7},
        {"temp":true,"season":"monsoon"},
        {"temp":Infinity,"season":"dry"},
        {"temp":1e400,"season":"dry"},
        {"temp":-Infinity,"season":"dry"},
        {"temp":-3,"season":"dry"},
        {"temp":1000,"season":"dry"}
    ]}"#;
    let (status, answer) = sidecar.post("/v1/predictions", body).await;
    assert_eq!(status, 200, "{answer}");
    let pool = sidecar.stop().await;
    let (rows, content): (i64, Vec<u8>) =
        sqlx::query_as("select row_count, content from profile_part where minute = '2026-01-01T06:00:00Z'")
            .fetch_one(&pool)
            .await
            .unwrap();
    let counted = profile::decode(reference.layout(), &content).unwrap();
    assert_eq!((rows, counted.rows()), (11, 11));
    let [temp, season] = counted.columns() else { panic!("{counted:?}") };
    assert_eq!((temp.nan, temp.missing, temp.wrong_type), (1, 2, 2));
    assert_eq!((temp.pos_inf, temp.neg_inf, temp.below_min, temp.above_max), (2, 1, 2, 3));
    assert_eq!((temp.usable(), temp.moments.count()), (6, 3));
    assert_eq!((season.nan, season.missing, season.wrong_type), (1, 1, 0));
    assert_eq!(season.usable(), 9);

    // JSON has no NaN: what is kept for training says so in words.
    let kept: Vec<Wire> = sqlx::query_scalar(
        "select features -> 'temp' from captured_row where row_id in ('odd_1', 'odd_6', 'odd_8') order by row_id",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    assert_eq!(kept, [json!({"number": "NaN"}), json!({"number": "inf"}), json!({"number": "-inf"})]);
}
