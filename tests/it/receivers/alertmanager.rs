//! A real Prometheus Alertmanager receives alerts, shows them, keeps them while they fire, and ends them.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use driftline::alert::Occasion;
use driftline::app;
use driftline::tasks::KeepAlive;
use driftline::tasks::notifier::{Delivery, deliver_next};
use serde_json::Value as Json;

use super::{message, queue, receivers};
use crate::support;

/// Alertmanager in a process of its own; ends with the value.
struct Alertmanager {
    child: Child,
    url: String,
    _folder: tempfile::TempDir,
}

impl Alertmanager {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("alertmanager.yml");
        std::fs::write(&config, "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n").unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let given = std::env::var("DRIFTLINE_ALERTMANAGER").ok();
        let mut programs =
            given.iter().map(String::as_str).chain(["prometheus-alertmanager", "alertmanager"]);
        let child = programs
            .find_map(|program| {
                Command::new(program)
                    .arg(format!("--config.file={}", config.display()))
                    .arg(format!("--storage.path={}", folder.path().display()))
                    .arg(format!("--web.listen-address=127.0.0.1:{port}"))
                    .arg("--cluster.listen-address=")
                    .stderr(Stdio::null())
                    .spawn()
                    .ok()
            })
            .expect("prometheus-alertmanager is installed; `make setup` does it");
        let alertmanager = Self { child, url: format!("http://127.0.0.1:{port}"), _folder: folder };
        let ready = format!("{}/-/ready", alertmanager.url);
        support::wait_for("Alertmanager", || async {
            let answer = reqwest::get(&ready).await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await;
        alertmanager
    }

    /// The alerts that it shows as firing.
    async fn alerts(&self) -> Vec<Json> {
        let url = format!("{}/api/v2/alerts?active=true", self.url);
        reqwest::get(url).await.unwrap().json().await.unwrap()
    }
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn time(alert: &Json, key: &str) -> DateTime<Utc> {
    alert[key].as_str().unwrap().parse().unwrap()
}

/// The present, some minutes on: as if that much time had passed.
fn in_five_minutes() -> DateTime<Utc> {
    app::now() + TimeDelta::minutes(5)
}

#[tokio::test]
async fn a_real_alertmanager_shows_an_alert_keeps_it_and_ends_it() {
    app::install_crypto();
    let alertmanager = Alertmanager::start().await;
    // The other one of the pair is down.
    let receivers = receivers(&format!(
        "receivers: {{prom: {{alertmanager: {{urls: ['http://127.0.0.1:1', '{}/'], generator_url: 'https://driftline.example.com'}}}}}}",
        alertmanager.url
    ));
    let pool = support::database().await;
    let mut began = message("prom", "a", 1, Occasion::Began);
    let mut over = message("prom", "a", 2, Occasion::Resolved);
    for message in [&mut began, &mut over] {
        message.alerts[0].labels.insert("team".to_owned(), "ml".to_owned());
    }
    queue(&pool, &[began]).await;
    assert_eq!(deliver_next(&pool, &receivers, "prom", app::now).await.unwrap(), Some(Delivery::Sent));
    let shown = support::wait_for("two alerts", || async {
        let mut shown = alertmanager.alerts().await;
        shown.sort_by_key(|alert| alert["labels"]["subject"].to_string());
        (shown.len() == 2).then_some(shown)
    })
    .await;
    let labels = serde_json::json!({
        "alertname": "ReceiverTest", "model": "bike-demand", "severity": "info", "subject": "temperature", "team": "ml",
    });
    assert_eq!(shown[1]["labels"], labels);
    assert_eq!(shown[1]["status"]["state"], "active");
    assert_eq!(shown[1]["generatorURL"], "https://driftline.example.com");
    assert!(shown[1]["annotations"]["moved"].as_str().unwrap().contains("0.62 standard deviations"));

    // Minutes later one of the two still fires in the database, and is told again.
    sqlx::query("insert into model (name) values ('bike-demand')").execute(&pool).await.unwrap();
    sqlx::query(
        "insert into alert (fingerprint, model, rule, subject, state, content)
         values ('test-temperature', 'bike-demand', 'r', 's', 'firing', '{}')",
    )
    .execute(&pool)
    .await
    .unwrap();
    let receivers = Arc::new(receivers);
    let keep_alive = KeepAlive::new(pool.clone(), Arc::clone(&receivers), in_five_minutes);
    assert_eq!(keep_alive.remind("prom").await.unwrap(), []);
    support::wait_for("a longer life of one", || async {
        let mut shown = alertmanager.alerts().await;
        shown.sort_by_key(|alert| time(alert, "endsAt"));
        let lives = time(&shown[1], "endsAt") - time(&shown[0], "endsAt");
        (shown[1]["labels"] == labels && lives > TimeDelta::minutes(4)).then_some(())
    })
    .await;

    // A longer life ends with the message that it is over. Event time is behind, the end is now.
    queue(&pool, &[over]).await;
    assert_eq!(deliver_next(&pool, &receivers, "prom", app::now).await.unwrap(), Some(Delivery::Sent));
    support::wait_for("the end of both", || async { alertmanager.alerts().await.is_empty().then_some(()) })
        .await;
}
