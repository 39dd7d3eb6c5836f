//! The API against its own document: schemathesis asks everything it can think of, and no answer may be a 5xx or
//! undocumented.

use std::fmt::Write;
use std::process::Command;

use driftline::retrain::RunState;
use serde_json::Value as Wire;

use crate::api_support::{Sidecar, ask, report, train};

/// What is checked of every answer.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,\
                      response_schema_conformance,unsupported_method";

/// Streams do not end, so that there is no answer to check; and `/` is the page as well, which is no part of the API.
const LEFT_OUT: [&str; 3] = ["stream", "streamRun", "postEventsAtRoot"];

/// Runs schemathesis on `sidecar` with `known` values for parameters; returns whether it was content, and what it said.
async fn examine(sidecar: &Sidecar, known: &[(&str, String)], examples: u32) -> (bool, String) {
    let Ok(python) = std::env::var("DRIFTLINE_API_PYTHON") else {
        panic!("DRIFTLINE_API_PYTHON names a Python with schemathesis; `make test` sets it");
    };
    let mut config = String::from("[parameters]\n");
    for (name, value) in known {
        writeln!(config, "\"{name}\" = \"{value}\"").unwrap();
    }
    let path = sidecar.folder.path().join("schemathesis.toml");
    std::fs::write(&path, config).unwrap();
    let mut command = Command::new(python);
    command.args(["-m", "schemathesis.cli", "--config-file"]).arg(path);
    command.args(["run", &format!("{}/openapi.json", sidecar.admin), "--checks", CHECKS]);
    command.args([
        "--phases",
        "examples,coverage,fuzzing",
        "--seed",
        "7",
        "--no-shrink",
        "--warnings",
        "off",
    ]);
    command.args(["--max-examples", &examples.to_string(), "--workers", "2", "--request-timeout", "20"]);
    for id in LEFT_OUT {
        command.args(["--exclude-operation-id", id]);
    }
    command.current_dir(sidecar.folder.path()).env("NO_COLOR", "1").env("COLUMNS", "200");
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.success(), said)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes where others compile, too; `make test-api` runs it"]
async fn no_answer_is_undocumented() {
    let sidecar = Sidecar::start("").await;
    let (one, _) = train(&sidecar.pool, sidecar.folder.path(), None).await;
    train(&sidecar.pool, sidecar.folder.path(), Some(one)).await;
    let run = ask(&sidecar.pool, "suggested", RunState::Suggested).await;
    let report = report(&sidecar.pool, 1).await;
    // Whatever comes to mind, then what is there.
    let (content, said) = examine(&sidecar, &[], 6).await;
    assert!(content, "{said}");
    let baselines = sidecar.get("/v1/models/m/baselines").await.body["baselines"].clone();
    let baseline = |index: usize| baselines[index]["version"].as_str().unwrap().to_owned();
    let known = [
        ("path.model", "m".to_owned()),
        ("path.run", run.to_string()),
        ("path.report", report.to_string()),
        ("path.version", "1".to_owned()),
        ("path.baseline", baseline(0)),
        ("query.with", baseline(1)),
        ("query.model", "m".to_owned()),
    ];
    let (content, said) = examine(&sidecar, &known, 6).await;
    assert!(content, "{said}");
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_document_and_its_page_are_served() {
    let sidecar = Sidecar::start("").await;
    let document = sidecar.get("/openapi.json").await;
    assert_eq!((document.status, &document.body["openapi"]), (200, &Wire::from("3.1.0")));
    let page = sidecar.get("/docs").await;
    assert!(page.headers["content-type"].to_str().unwrap().starts_with("text/html"));
    assert!(page.text.contains("/v1/models/{model}/rollback"));
    assert!(page.headers["content-security-policy"].to_str().unwrap().contains("default-src 'none'"));
    assert_eq!(sidecar.get("/docs.css").await.status, 200);
    sidecar.stop().await;
}
