//! Secrets planted in every field of every format, sent through the real sidecar, and looked for wherever it writes.
#![expect(clippy::disallowed_methods, reason = "a test awaits what it spawned")]

mod planted;

use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Request, StatusCode, header};
use axum::response::IntoResponse;
use chrono::{DateTime, TimeDelta, Utc};
use driftline::app;
use driftline::baseline::Baseline;
use driftline::capture::{Filter, Place, Reader};
use driftline::model::ModelName;
use driftline::profile;
use driftline::store::PgPool;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use serde_json::Value as Json;
use sqlx::Row;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

use crate::support::{self, wait_for};
use planted::{Case, Planted, To};

/// Where everything of one sidecar is.
struct Sidecar {
    folder: tempfile::TempDir,
    pool: PgPool,
    client: reqwest::Client,
    child: Child,
    proxy: String,
    admin: String,
    answers: Answers,
}

/// What the model server answers, by the number in `x-case`.
type Answers = Arc<Mutex<Vec<(u16, Vec<u8>)>>>;

async fn answer(State(answers): State<Answers>, headers: HeaderMap, _read: Bytes) -> impl IntoResponse {
    let case = headers.get("x-case").and_then(|case| case.to_str().ok()?.parse::<usize>().ok());
    let answers = answers.lock().unwrap();
    let (status, body) = case.and_then(|case| answers.get(case)).cloned().unwrap_or_default();
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::NOT_FOUND);
    let kind = if body.starts_with(b"data:") {
        "text/event-stream"
    } else if body.starts_with(b"\0") {
        "application/grpc"
    } else {
        "application/json"
    };
    (status, [(header::CONTENT_TYPE, kind)], body)
}

/// Serves HTTP/1 and HTTP/2 without TLS.
async fn serve(listener: TcpListener, served: Router) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let service = TowerToHyperService::new(served.clone());
        connections.spawn(async move {
            // A client that goes away is no concern of the model server.
            let _ended = auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

fn begin() -> DateTime<Utc> {
    DateTime::from_timestamp(1_767_225_600, 0).unwrap()
}

impl Sidecar {
    /// A sidecar that has written what it was told about its privacy into its settings, with a baseline of planted rows.
    async fn start(planted: &mut Planted) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (pool, url) = support::database_with_url().await;
        let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let text = format!(
            "listen: {{proxy: '127.0.0.1:0', admin: '127.0.0.1:0'}}\n\
             database: {{url: '{url}'}}\n\
             tap: {{upstream: 'http://{}', event_time_header: x-event-time}}\n{}",
            upstream.local_addr().unwrap(),
            planted::SETTINGS
        );
        std::fs::write(folder.path().join("driftline.yaml"), text).unwrap();
        std::fs::write(folder.path().join("privacy.keys"), "a key that only this test knows\n").unwrap();
        let answers = Answers::default();
        let served = Router::new().fallback(answer).with_state(Arc::clone(&answers));
        tokio::task::spawn(serve(upstream, served));
        // The reference data themselves are the user's own file, outside of what the sidecar writes.
        let data = tempfile::tempdir().unwrap();
        let reference = data.path().join("reference.jsonl");
        let rows: String = (0..300).map(|_| planted.plant("reference", planted::REFERENCE) + "\n").collect();
        std::fs::write(&reference, rows).unwrap();
        let built = Command::new(env!("CARGO_BIN_EXE_driftline"))
            .current_dir(folder.path())
            .args(["baseline", "build", "-m", "m", "--output", "reply"])
            .arg(&reference)
            .output()
            .await
            .unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        std::fs::write(folder.path().join("built.out"), [built.stdout, built.stderr].concat()).unwrap();
        let log = std::fs::File::create(folder.path().join("sidecar.log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_driftline"))
            .current_dir(folder.path())
            .arg("run")
            .env("DRIFTLINE_LOG", "debug,driftline=trace")
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let (proxy, admin) = wait_for("the sidecar being up", async || addresses(folder.path())).await;
        let sidecar = Self { folder, pool, client: reqwest::Client::new(), child, proxy, admin, answers };
        wait_for("the baseline being active", async || {
            sidecar.log().contains("baseline active").then_some(())
        })
        .await;
        sidecar
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("sidecar.log")).unwrap()
    }

    async fn send(&self, case: &Case, time: DateTime<Utc>) {
        let number = {
            let mut answers = self.answers.lock().unwrap();
            answers.push((case.status, case.answer.clone()));
            answers.len() - 1
        };
        if case.to == To::Grpc {
            self.call(case, number, time).await;
            return;
        }
        let base = if case.to == To::Proxy { &self.proxy } else { &self.admin };
        let mut request = self
            .client
            .post(format!("{base}{}", case.path))
            .header("x-case", number.to_string())
            .header("x-event-time", time.to_rfc3339())
            .body(case.request.clone());
        for (name, value) in &case.headers {
            request = request.header(*name, value);
        }
        let answer = request.send().await.unwrap();
        if case.to == To::Proxy {
            assert_eq!(answer.status().as_u16(), case.status, "{}", case.name);
            assert_eq!(
                answer.bytes().await.unwrap(),
                case.answer,
                "{}: the answer passes unchanged",
                case.name
            );
        } else {
            assert_eq!(answer.status().as_u16(), case.status, "{}: {:?}", case.name, answer.text().await);
        }
    }

    /// Sends a case over HTTP/2, as a client of gRPC does.
    async fn call(&self, case: &Case, number: usize, time: DateTime<Utc>) {
        let client = Client::builder(TokioExecutor::new()).http2_only(true).build_http();
        let mut request = Request::post(format!("{}{}", self.proxy, case.path))
            .header("x-case", number.to_string())
            .header("x-event-time", time.to_rfc3339())
            .header("te", "trailers");
        for (name, value) in &case.headers {
            request = request.header(*name, value);
        }
        let body = Body::from(case.request.clone());
        let answer = client.request(request.body(body).unwrap()).await.unwrap();
        assert_eq!(answer.status().as_u16(), case.status, "{}", case.name);
        let body = axum::body::to_bytes(Body::new(answer.into_body()), 1 << 20).await.unwrap();
        assert_eq!(body, case.answer, "{}: the answer passes unchanged", case.name);
    }

    async fn get(&self, path: &str) -> Vec<u8> {
        let answer = self.client.get(format!("{}{path}", self.admin)).send().await.unwrap();
        assert!(answer.status().is_success(), "{path}");
        answer.bytes().await.unwrap().to_vec()
    }

    async fn cli(&self, arguments: &[&str]) -> Vec<u8> {
        let ended = Command::new(env!("CARGO_BIN_EXE_driftline"))
            .current_dir(self.folder.path())
            .args(arguments)
            .output()
            .await
            .unwrap();
        [ended.stdout, ended.stderr].concat()
    }

    /// Everything that the sidecar has written or says, with the place.
    async fn everything(&self) -> Vec<(String, Vec<u8>)> {
        let mut places = database(&self.pool).await;
        places.extend(files(self.folder.path()));
        for path in [
            "/metrics",
            "/v1/models",
            "/v1/models/m/drift",
            "/v1/models/m/baselines",
            "/v1/models/m/versions",
        ] {
            places.push((path.to_owned(), self.get(path).await));
        }
        let reports: Vec<(sqlx::types::Uuid,)> =
            sqlx::query_as("select id from drift_report").fetch_all(&self.pool).await.unwrap();
        for (report,) in reports {
            for command in ["show", "explain"] {
                let said = self.cli(&["drift", command, &report.to_string()]).await;
                places.push((format!("drift {command}"), said));
            }
        }
        places
    }
}

/// The addresses of the proxy and of the admin port, once the log tells them.
fn addresses(folder: &Path) -> Option<(String, String)> {
    let log = std::fs::read_to_string(folder.join("sidecar.log")).ok()?;
    let line = log.lines().find(|line| line.contains("driftline is up"))?;
    let line: Json = serde_json::from_str(line).ok()?;
    let proxy = line["proxy"].as_str()?.trim_start_matches("Some(").trim_end_matches(')');
    Some((format!("http://{proxy}"), format!("http://{}", line["admin"].as_str()?)))
}

/// What the files of captured rows hold.
async fn in_files(pool: &PgPool, folder: &Path, models: &[String]) -> Vec<u8> {
    let left: i64 = sqlx::query_scalar("select count(*) from captured_row where segment is null")
        .fetch_one(pool)
        .await
        .unwrap();
    assert_eq!(left, 0, "rows wait in the database");
    let place = Place::folder(folder).unwrap();
    let mut words = String::new();
    for model in models {
        let model = ModelName::parse(model.as_str()).unwrap();
        let mut reader = Reader::open(pool, &place, &model, Filter::default()).await.unwrap();
        while let Some(rows) = reader.next().await.unwrap() {
            for text in rows.ids.iter().chain(rows.model_versions.iter()) {
                words.extend([text, "\n"]);
            }
            for column in rows.features.iter().chain(&rows.outputs) {
                words.extend([column.name.as_str(), "\n"]);
                for value in column.values() {
                    words.extend([format!("{value:?}"), "\n".to_owned()]);
                }
            }
        }
    }
    words.into_bytes()
}

/// Every row of every table as text, with bytes as they are; profiles also in words, as what they hold is encoded.
async fn database(pool: &PgPool) -> Vec<(String, Vec<u8>)> {
    let mut places = Vec::new();
    let columns = sqlx::query(
        "select table_name::text, column_name::text, udt_name::text from information_schema.columns
         where table_schema = 'public' order by 1, ordinal_position",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    assert!(columns.len() > 60, "only {} columns", columns.len());
    for column in columns {
        let (table, name, kind): (String, String, String) = (column.get(0), column.get(1), column.get(2));
        let shown = if kind == "bytea" {
            format!("\"{name}\"")
        } else {
            format!("convert_to(\"{name}\"::text, 'UTF8')")
        };
        let rows: Vec<(Option<Vec<u8>>,)> =
            sqlx::query_as(sqlx::AssertSqlSafe(format!("select {shown} from \"{table}\"")))
                .fetch_all(pool)
                .await
                .unwrap();
        let all: Vec<Vec<u8>> = rows.into_iter().filter_map(|(value,)| value).collect();
        places.push((format!("{table}.{name}"), all.join(&b'\n')));
    }
    let baselines: Vec<(String, Json)> =
        sqlx::query_as("select version, content from baseline").fetch_all(pool).await.unwrap();
    for (version, content) in baselines {
        let baseline = Baseline::from_json(&content.to_string()).unwrap();
        let parts: Vec<(Vec<u8>,)> = sqlx::query_as("select content from profile_part where baseline = $1")
            .bind(&version)
            .fetch_all(pool)
            .await
            .unwrap();
        for (part,) in parts {
            let profile = profile::decode(baseline.layout(), &part).unwrap();
            places.push(("profile_part in words".to_owned(), format!("{profile:?}").into_bytes()));
        }
    }
    places
}

fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push((path.display().to_string(), std::fs::read(&path).unwrap()));
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn planted_secrets_are_found_nowhere() {
    app::install_crypto();
    let mut planted = Planted::default();
    let mut sidecar = Sidecar::start(&mut planted).await;
    let cases = planted::cases(&mut planted);
    for case in &cases {
        sidecar.send(case, begin()).await;
    }
    // Another window, so that the one with the secrets is judged.
    let last = planted::harmless();
    for minutes in [5, 10] {
        sidecar.send(&last, begin() + TimeDelta::minutes(minutes)).await;
    }
    wait_for("a report on the window with the secrets", async || {
        let (reports,): (i64,) = sqlx::query_as("select count(*) from drift_report where window_start = $1")
            .bind(begin())
            .fetch_one(&sidecar.pool)
            .await
            .unwrap();
        (reports > 0).then_some(())
    })
    .await;
    let kept = cases.iter().filter(|case| case.kept).count() + 2;
    wait_for("every row being captured", async || {
        let (rows,): (i64,) =
            sqlx::query_as("select count(distinct split_part(row_id, '_', 1)) from captured_row")
                .fetch_one(&sidecar.pool)
                .await
                .unwrap();
        (usize::try_from(rows).unwrap() >= kept).then_some(())
    })
    .await;
    let mut places = sidecar.everything().await;
    // The same rows once they are in files, in words, as what files hold is compressed.
    let models: Vec<String> = sqlx::query_scalar("select distinct model from captured_row order by model")
        .fetch_all(&sidecar.pool)
        .await
        .unwrap();
    for model in &models {
        sidecar.cli(&["capture", "seal", "-m", model]).await;
    }
    places.push((
        "files of captured rows".to_owned(),
        in_files(&sidecar.pool, sidecar.folder.path(), &models).await,
    ));
    places.extend(
        database(&sidecar.pool).await.into_iter().filter(|(name, _)| name.starts_with("capture_segment")),
    );
    places.extend(files(sidecar.folder.path()).into_iter().filter(|(name, _)| name.ends_with(".parquet")));
    let found = planted.found_in(&places);
    assert!(found.is_empty(), "{} secrets were kept:\n{}", found.len(), found.join("\n"));
    // What is no secret is found, or nothing would have been looked at.
    let holds = |place: &str, words: &str| {
        let mut of_place = places.iter().filter(|(name, _)| name.contains(place)).peekable();
        assert!(of_place.peek().is_some(), "there is no {place}");
        of_place.any(|(_, content)| content.windows(words.len()).any(|window| window == words.as_bytes()))
    };
    for (place, words) in [
        ("captured_row.features", "canary"),
        ("captured_row.features", "canary-split"),
        ("captured_row.features", "canary-csv"),
        ("captured_row.features", "canary-lines"),
        ("captured_row.features", "canary-deep"),
        ("captured_row.features", "canary-bytes"),
        ("captured_row.features", "canary-azure"),
        ("captured_row.features", "canary-grpc"),
        ("captured_row.features", "prompt_chars"),
        ("captured_row.features", "h1:"),
        ("captured_row.features", "[email]"),
        ("captured_row.features", "[card]"),
        ("captured_row.outputs", "[phone]"),
        ("captured_row.row_id", "h1:"),
        ("captured_row.model_version", "[email]"),
        ("files of captured rows", "canary"),
        ("files of captured rows", "h1:"),
        ("files of captured rows", "[email]"),
        (".parquet", "PAR1"),
        ("profile_part in words", "canary"),
        ("baselines/m/", "canary"),
        ("baselines/m/", "h1:"),
        ("sidecar.log", "an exchange was profiled"),
        ("sidecar.log", "an exchange was not decoded"),
        ("/metrics", "driftline_"),
        ("drift show", "segment"),
    ] {
        assert!(holds(place, words), "`{words}` is not in {place}");
    }
    sidecar.child.kill().await.unwrap();
}

#[tokio::test]
async fn a_comparison_of_files_shows_only_what_may_be_kept() {
    let mut planted = Planted::default();
    let (folder, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::write(folder.path().join("driftline.yaml"), planted::SETTINGS).unwrap();
    std::fs::write(folder.path().join("privacy.keys"), "a key that only this test knows\n").unwrap();
    for file in ["reference.jsonl", "current.jsonl"] {
        let rows: String = (0..300).map(|_| planted.plant(file, planted::REFERENCE) + "\n").collect();
        std::fs::write(data.path().join(file), rows).unwrap();
    }
    let mut places = Vec::new();
    for output in ["--json", "--allow-missing"] {
        let ended = Command::new(env!("CARGO_BIN_EXE_driftline"))
            .current_dir(folder.path())
            .args(["compare", "-m", "m", "--html", "report.html", output])
            .args([data.path().join("reference.jsonl"), data.path().join("current.jsonl")])
            .output()
            .await
            .unwrap();
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(ended.status.code().is_some_and(|code| code < 2), "{said}");
        assert!(
            output != "--json" || String::from_utf8_lossy(&ended.stdout).contains("canary-ref"),
            "{said}"
        );
        places.push((format!("compare {output}"), [ended.stdout, ended.stderr].concat()));
    }
    places.push(("report.html".to_owned(), std::fs::read(folder.path().join("report.html")).unwrap()));
    let found = planted.found_in(&places);
    assert!(found.is_empty(), "{} secrets were shown:\n{}", found.len(), found.join("\n"));
}
