//! The API as programs use it: versions, runs, reports, pages of lists, what changes, and what is refused.

use driftline::alert::Word;
use driftline::app;
use driftline::retrain::RunState;
use driftline::store::operation::{self, OperationError};
use driftline::store::{self, model_version};
use futures_util::StreamExt;
use serde_json::{Value as Wire, json};

use crate::api_support::{Sidecar, ask, database, model, report, train};

fn word() -> Word {
    Word::new("ann", "on purpose").unwrap()
}

#[tokio::test]
async fn production_moves_forward_and_back_with_its_baseline() {
    let (pool, _) = database().await;
    let (now, folder) = (app::now(), tempfile::TempDir::new().unwrap());
    let m = model("m");
    let none = operation::rollback(&pool, &m, None, &word(), now).await;
    assert!(matches!(none, Err(OperationError::NothingBefore(_))), "{none:?}");
    let (one, _) = train(&pool, folder.path(), None).await;
    let (two, file) = train(&pool, folder.path(), Some(one)).await;
    let (three, _) = train(&pool, folder.path(), Some(two)).await;
    let production = async || {
        let version = model_version::production(&pool, &m).await.unwrap().unwrap();
        assert_eq!(store::model::active_baseline(&pool, &m).await.unwrap(), Some(version.baseline.clone()));
        let archived = model_version::list(&pool, Some(&m)).await.unwrap();
        assert_eq!(archived.iter().filter(|version| version.state == "archived").count(), 2);
        version.version
    };
    assert_eq!(production().await, three);
    // Two steps back, the way it came; not to and fro between the last two.
    for expected in [two, one] {
        operation::rollback(&pool, &m, None, &word(), now).await.unwrap();
        assert_eq!(production().await, expected);
    }
    assert!(operation::rollback(&pool, &m, None, &word(), now).await.is_err());
    let moved = operation::promote(&pool, &m, three, &word(), now).await.unwrap();
    assert_eq!(
        (moved.previous, moved.version.state.as_str(), production().await),
        (Some(one), "production", three)
    );
    operation::rollback(&pool, &m, None, &word(), now).await.unwrap();
    assert_eq!(production().await, one);

    for (version, expected) in [(one, "in production already"), (9, "has no version 9; it has 3, 2, 1")] {
        let refused = operation::promote(&pool, &m, version, &word(), now).await.unwrap_err().to_string();
        assert!(refused.contains(expected), "{refused}");
    }
    std::fs::write(&file, "another model").unwrap();
    let differs = operation::promote(&pool, &m, two, &word(), now).await.unwrap_err();
    assert!(matches!(differs, OperationError::ArtifactDiffers { .. }), "{differs}");
    std::fs::remove_file(&file).unwrap();
    let missing = operation::promote(&pool, &m, two, &word(), now).await.unwrap_err().to_string();
    assert!(missing.contains("cannot be read") && missing.contains("promote another version"), "{missing}");
    assert_eq!(production().await, one);

    let done = operation::list(&pool, Some(&m), None, 100).await.unwrap();
    let actions: Vec<(&str, &str)> = done.iter().map(|o| (o.action.as_str(), o.subject.as_str())).collect();
    assert_eq!(
        actions,
        [("rollback", "1"), ("promote", "3"), ("rollback", "1"), ("rollback", "2")],
        "what was refused is not written down"
    );
    assert_eq!((done[0].by.as_str(), done[0].reason.as_str()), ("ann", "on purpose"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_and_runs_are_operated() {
    let sidecar = Sidecar::start("").await;
    let (one, _) = train(&sidecar.pool, sidecar.folder.path(), None).await;
    let (two, _) = train(&sidecar.pool, sidecar.folder.path(), Some(one)).await;
    let said = json!({"reason": "it was better", "by": "ann"});

    let back = sidecar.post("/v1/models/m/rollback", &said).await;
    assert_eq!(
        (back.status, &back.body["previous"], &back.body["version"]["version"]),
        (200, &json!(2), &json!(1))
    );
    let shown = sidecar.get("/v1/models/m").await.body;
    assert_eq!(
        (&shown["model"]["production"], &shown["model"]["baseline"]),
        (&json!(1), &back.body["baseline"])
    );
    let again = sidecar.post(&format!("/v1/models/m/versions/{two}/promote"), &said).await;
    assert_eq!((again.status, &again.body["version"]["promoted_at"].is_string()), (200, &true));
    for (path, body, status, code) in [
        ("/v1/models/m/versions/2/promote", &said, 409, "in_production"),
        ("/v1/models/n/rollback", &said, 409, "nothing_before"),
        ("/v1/models/n/retrain", &said, 409, "no_training"),
        ("/v1/models/m/versions/9/promote", &said, 404, ""),
        ("/v1/models/nobody/retrain", &said, 404, ""),
        ("/v1/models/m/versions/two/promote", &said, 400, ""),
        ("/v1/models/m/rollback", &json!({"reason": " "}), 400, ""),
        ("/v1/models/m/rollback", &json!({"because": "x"}), 422, ""),
    ] {
        let refused = sidecar.post(path, body).await;
        assert_eq!(refused.status, status, "{path} {}", refused.text);
        assert_eq!(refused.body["code"].as_str().unwrap_or(""), code, "{path}");
    }

    let asked = sidecar.post("/v1/models/m/retrain", &said).await;
    assert_eq!((asked.status, &asked.body["state"]), (201, &json!("queued")));
    let place = asked.headers["location"].to_str().unwrap().to_owned();
    assert_eq!(place, format!("/v1/runs/{}", asked.body["run"].as_str().unwrap()));
    assert_eq!(sidecar.get(&place).await.body["run"]["reason"], "it was better");
    let busy = sidecar.post("/v1/models/m/retrain", &said).await;
    assert_eq!((busy.status, &busy.body["code"]), (409, &json!("run_active")));
    let cancelled = sidecar.post(&format!("{place}/cancel"), &said).await;
    assert_eq!((cancelled.status, &cancelled.body["run"]["state"]), (200, &json!("cancelled")));
    assert_eq!(sidecar.post(&format!("{place}/cancel"), &said).await.body["code"], "run_state");
    let suggested = ask(&sidecar.pool, "suggested", RunState::Suggested).await;
    let approved = sidecar.post(&format!("/v1/runs/{suggested}/approve"), &said).await;
    assert_eq!((approved.status, &approved.body["run"]["state"]), (200, &json!("queued")));
    let queued = sidecar.get("/v1/runs?state=queued&model=m").await.body;
    assert_eq!(queued["runs"].as_array().unwrap().len(), 1);

    let ended = sidecar.get("/v1/runs?state=succeeded").await.body["runs"][0]["id"].clone();
    let ended = format!("/v1/runs/{}", ended.as_str().unwrap());
    assert_eq!(sidecar.get(&format!("{ended}/log")).await.body["lines"][0]["message"], "linear first");
    let metrics = sidecar.get(&format!("{ended}/metrics")).await.body["metrics"].clone();
    let epochs: Vec<i64> = metrics.as_array().unwrap().iter().map(|m| m["epoch"].as_i64().unwrap()).collect();
    assert_eq!(epochs, [0, 1, -1]);
    let stream = sidecar.client.get(format!("{}{ended}/events", sidecar.admin)).send().await.unwrap();
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    let told = stream.text().await.unwrap();
    for event in ["event: log", "event: metric", "event: run", "event: end"] {
        assert!(told.contains(event), "{event} is missing from {told}");
    }

    let operations = sidecar.get("/v1/operations?model=m").await.body["operations"].clone();
    let actions: Vec<&str> =
        operations.as_array().unwrap().iter().map(|o| o["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["approve", "cancel", "retrain", "promote", "rollback"]);
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_and_baselines_are_read_in_pages() {
    let sidecar = Sidecar::start("").await;
    let mut ids = Vec::new();
    for hour in 0..5 {
        ids.push(report(&sidecar.pool, hour).await.to_string());
    }
    ids.reverse();
    let (mut seen, mut path) = (Vec::new(), "/v1/models/m/drift?limit=2".to_owned());
    loop {
        let page = sidecar.get(&path).await.body;
        let reports = page["reports"].as_array().unwrap();
        assert!(reports.len() <= 2);
        seen.extend(reports.iter().map(|report| report["id"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/v1/models/m/drift?limit=2&cursor={next}");
    }
    assert_eq!(seen, ids);

    let explained = sidecar.get(&format!("/v1/reports/{}/explain", ids[0])).await;
    assert_eq!((explained.status, &explained.body["agrees"]), (200, &json!(true)), "{}", explained.text);
    let stored = sidecar.get(&format!("/v1/reports/{}", ids[0])).await.body;
    assert_eq!(stored["report"], explained.body["report"]);

    train(&sidecar.pool, sidecar.folder.path(), None).await;
    let listed = sidecar.get("/v1/models/m/baselines").await.body["baselines"].clone();
    let version = |index: usize| listed[index]["version"].as_str().unwrap().to_owned();
    assert_eq!((&listed[0]["active"], &listed[1]["active"]), (&json!(true), &json!(false)));
    let shown = sidecar.get(&format!("/v1/models/m/baselines/{}", version(0))).await.body;
    assert_eq!(
        (&shown["rows"], &shown["columns"][0]["name"], &shown["active"]),
        (&json!(500), &json!("x"), &json!(true))
    );
    let diff = format!("/v1/models/m/baselines/{}/diff", version(0));
    let differs = sidecar.get(&format!("{diff}?with={}", version(1))).await.body;
    assert_eq!((&differs["removed"], differs["features"].as_array().unwrap().len()), (&json!([]), 2));
    for (path, status) in [
        (diff.as_str(), 400),
        ("/v1/models/m/baselines/ffffffffffff", 404),
        ("/v1/reports/01890000-0000-7000-8000-000000000000", 404),
        ("/v1/reports/x/explain", 400),
        ("/v1/models/m/drift?cursor=x", 400),
        ("/v1/models/m/versions?limit=x", 400),
        ("/v1/runs?state=lost", 400),
        ("/v1/silences?all=perhaps", 400),
        ("/v1/nothing", 404),
        ("/v1/models/%ff", 400),
    ] {
        assert_eq!(sidecar.get(path).await.status, status, "{path}");
    }
    let wrong = sidecar.send(sidecar.client.put(format!("{}/v1/models", sidecar.admin))).await;
    assert_eq!((wrong.status, &wrong.headers["allow"]), (405, &"GET,HEAD".parse().unwrap()));
    let plain = sidecar.client.post(format!("{}/v1/models/m/retrain", sidecar.admin)).body("reason=x");
    assert_eq!(sidecar.send(plain).await.status, 415);
    let state = sidecar.get("/v1/system").await.body;
    assert_eq!(
        (&state["models"], &state["caller"]["scopes"]),
        (&json!(["m", "n"]), &json!(["read", "label", "operate"]))
    );
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_not_changed_is_not_sent_again() {
    let sidecar = Sidecar::start("").await;
    let first = sidecar.get("/v1/models").await;
    let tag = first.headers["etag"].clone();
    let ask = || sidecar.client.get(format!("{}/v1/models", sidecar.admin)).header("if-none-match", &tag);
    let same = ask().send().await.unwrap();
    assert_eq!((same.status().as_u16(), same.headers()["etag"] == tag), (304, true));
    assert!(same.text().await.unwrap().is_empty());
    report(&sidecar.pool, 1).await;
    assert_eq!(ask().send().await.unwrap().status(), 200);
    for header in ["content-security-policy", "x-content-type-options", "referrer-policy", "x-frame-options"]
    {
        assert!(first.headers.contains_key(header), "{header}");
    }
    let policy = first.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"), "{policy}");
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_watches_learns_of_changes() {
    let sidecar = Sidecar::start("").await;
    report(&sidecar.pool, 1).await;
    let stream = sidecar.client.get(format!("{}/v1/stream", sidecar.admin)).send().await.unwrap();
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    let mut pieces = stream.bytes_stream();
    let mut told = String::new();
    // The first look only notes what is there.
    tokio::time::sleep(std::time::Duration::from_millis(2_500)).await;
    let id = report(&sidecar.pool, 2).await.to_string();
    let run = ask(&sidecar.pool, "watched", RunState::Queued).await.to_string();
    let heard = async {
        while !(told.contains(&id) && told.contains(&run)) {
            told.push_str(std::str::from_utf8(&pieces.next().await.unwrap().unwrap()).unwrap());
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), heard).await.unwrap();
    assert!(told.starts_with("event: ready"), "{told}");
    assert_eq!(told.matches("event: report").count(), 1, "{told}");
    let run_told = told.split("event: run\ndata: ").nth(1).unwrap().lines().next().unwrap();
    let run_told: Wire = serde_json::from_str(run_told).unwrap();
    assert_eq!((&run_told["state"], &run_told["model"]), (&json!("queued"), &json!("m")));
    // A watcher does not hold up the end.
    sidecar.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watchers_are_bounded() {
    let sidecar = Sidecar::start("").await;
    let mut watching = Vec::new();
    loop {
        let answer = sidecar.client.get(format!("{}/v1/stream", sidecar.admin)).send().await.unwrap();
        if answer.status() == 503 {
            break;
        }
        watching.push(answer);
        assert!(watching.len() <= 64);
    }
    assert_eq!(watching.len(), 64);
    drop(watching);
    crate::support::wait_for("a place to be free again", async || {
        let answer = sidecar.client.get(format!("{}/v1/stream", sidecar.admin)).send().await.unwrap();
        (answer.status() == 200).then_some(())
    })
    .await;
    sidecar.stop().await;
}
