//! The first baseline of a model, from its traffic: by a person, or by the sidecar itself.

use std::process::Command;
use std::sync::Arc;

use driftline::app;
use driftline::config::Settings;
use driftline::metrics::Metrics;
use driftline::store;
use driftline::tasks::{FirstBaseline, load_privacy};

use crate::capture::Setting;

#[tokio::test]
async fn a_baseline_is_built_from_traffic_once_there_is_enough() {
    let it = Setting::new().await;
    let settings = Arc::new(Settings::parse("models: [{name: m, baseline: after 5m}]", "s.yaml").unwrap());
    let metrics = Metrics::new().unwrap();
    let task = FirstBaseline::new(
        it.pool.clone(),
        Arc::clone(&settings),
        Arc::new(load_privacy(&settings).unwrap()),
        it.place.clone(),
        metrics.capture.clone(),
        app::now,
    );
    let without = || metrics.capture.without_baseline.with_label_values(&["m"]).get();
    it.capture(0, 250).await;
    task.look().await.unwrap();
    assert_eq!((store::model::active_baseline(&it.pool, &it.model).await.unwrap(), without()), (None, 1));
    // Half of what it is built from is in files by then.
    driftline::capture::seal_all(&it.pool, &it.place, &it.model, (100, &[])).await.unwrap();
    it.capture(250, 400).await;
    task.look().await.unwrap();
    let version = store::model::active_baseline(&it.pool, &it.model).await.unwrap().unwrap();
    let baseline = store::baseline::get(&it.pool, &it.model, &version).await.unwrap().unwrap();
    assert!(
        baseline.source().starts_with("traffic from 1970-01-01 00:01 to 1970-01-01 00:06"),
        "{}",
        baseline.source()
    );
    assert_eq!(baseline.rows(), 300);
    let names: Vec<&str> = baseline.columns().iter().map(|column| column.layout.name.as_str()).collect();
    assert!(names.contains(&"x") && names.contains(&"y"), "{names:?}");
    // There is one now: nothing is built again, and nothing replaces it.
    it.capture(400, 800).await;
    task.look().await.unwrap();
    assert_eq!(store::baseline::list(&it.pool, &it.model).await.unwrap().len(), 1);
    assert_eq!(without(), 0);
}

#[tokio::test]
async fn a_person_has_one_built_and_it_is_marked() {
    let it = Setting::new().await;
    it.capture(0, 300).await;
    let run = |arguments: &[&str]| {
        let done = Command::new(env!("CARGO_BIN_EXE_driftline"))
            .current_dir(it.folder.path())
            .args(arguments)
            .env("DRIFTLINE__DATABASE__URL", &it.url)
            .env("DRIFTLINE__DATA_DIR", it.folder.path())
            .output()
            .unwrap();
        (done.status.code(), String::from_utf8([done.stdout, done.stderr].concat()).unwrap())
    };
    let (status, said) = run(&["baseline", "list", "-m", "m"]);
    assert!(status == Some(0) && said.contains("300 rows are captured since 1970-01-01"), "{said}");
    let (status, said) = run(&["baseline", "build", "-m", "m", "--from-traffic", "1h"]);
    assert!(status == Some(2) && said.contains("a baseline needs at least 200"), "{said}");
    let (status, said) = run(&["baseline", "build", "-m", "m", "--from-traffic", "36500d"]);
    assert!(status == Some(0) && said.contains("of 300 rows"), "{said}");
    let (status, said) = run(&["baseline", "list", "-m", "m"]);
    assert!(status == Some(0) && said.contains("traffic from") && said.contains("yes"), "{said}");
    assert!(!said.contains("no baseline yet"), "{said}");
    let (status, said) = run(&["baseline", "build", "-m", "m"]);
    assert!(status == Some(2) && said.contains("<DATA|--from-traffic <SPAN>>"), "{said}");
}
