//! Rules that change under a running sidecar: all of them or none, and alerts go on.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::Value as Wire;
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::task::JoinSet;

use crate::support::{self, wait_for};

type Mail = Arc<Mutex<Vec<Wire>>>;

async fn receive(State(mail): State<Mail>, Json(body): Json<Wire>) {
    mail.lock().unwrap().push(body);
}

/// The program with its settings and rules in a folder, and a receiver that it tells.
struct Sidecar {
    folder: tempfile::TempDir,
    admin: SocketAddr,
    process: Child,
    mail: Mail,
    _receiver: JoinSet<()>,
    client: reqwest::Client,
}

impl Sidecar {
    async fn start(url: &str, rules: &[(&str, String)]) -> Self {
        let lay = |folder: &Path| {
            for (name, text) in rules {
                std::fs::write(folder.join(name), text).unwrap();
            }
        };
        Self::start_with(url, lay, 1.0).await
    }

    /// With rule files as `lay` puts them into their folder; waits for so many rules.
    async fn start_with(url: &str, lay: impl FnOnce(&Path), count: f64) -> Self {
        driftline::app::install_crypto();
        let folder = tempfile::tempdir().unwrap();
        let mail = Mail::default();
        let hook = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = hook.local_addr().unwrap().port();
        let app = Router::new().route("/", post(receive)).with_state(Arc::clone(&mail));
        let mut receiver = JoinSet::new();
        receiver.spawn(async move { axum::serve(hook, app).await.unwrap() });
        let admin = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let settings = format!(
            "listen: {{proxy: 127.0.0.1:0, admin: '{admin}'}}\ndatabase: {{url: '{url}'}}\nmodels: [{{name: m}}]\n\
             receivers: {{hook: {{webhook: {{url: 'http://127.0.0.1:{port}/', allow_private: true}}}}}}\nrules: ['rules/*.yaml']\n"
        );
        std::fs::create_dir(folder.path().join("rules")).unwrap();
        std::fs::write(folder.path().join("driftline.yaml"), settings).unwrap();
        lay(&folder.path().join("rules"));
        let process = spawn(folder.path());
        let client = reqwest::Client::new();
        let sidecar = Self { folder, admin, process, mail, _receiver: receiver, client };
        sidecar.until("driftline_rules", count).await;
        sidecar
    }

    fn write(&self, name: &str, text: &str) {
        let rules = self.folder.path().join("rules");
        // As editors and Kubernetes do: another file takes the name.
        std::fs::write(rules.join("new"), text).unwrap();
        std::fs::rename(rules.join("new"), rules.join(name)).unwrap();
    }

    /// The value of a series without labels, or with the labels given in its name.
    async fn metric(&self, series: &str) -> Option<f64> {
        let answer = self.client.get(format!("http://{}/metrics", self.admin)).send().await.ok()?;
        let text = answer.text().await.ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
        line.parse().ok()
    }

    async fn until(&self, series: &str, value: f64) {
        wait_for(&format!("{series} {value}"), || async {
            self.metric(series).await.filter(|found| (found - value).abs() < 1e-9)
        })
        .await;
    }

    /// Status and summary of each message so far.
    fn told(&self) -> Vec<(String, String)> {
        let text = |message: &Wire, key: &str| message["data"][key].as_str().unwrap_or_default().to_owned();
        let mail = self.mail.lock().unwrap();
        mail.iter().map(|message| (text(message, "status"), text(message, "summary"))).collect()
    }

    async fn until_told(&self, count: usize) -> (String, String) {
        wait_for("a message", || async { self.told().get(count - 1).cloned() }).await
    }

    async fn signal(&self, name: &str) {
        let id = self.process.id().unwrap().to_string();
        assert!(Command::new("kill").args([name, &id]).status().await.unwrap().success());
    }
}

fn spawn(folder: &Path) -> Child {
    let log = std::fs::File::options().create(true).append(true).open(folder.join("log")).unwrap();
    Command::new(env!("CARGO_BIN_EXE_driftline"))
        .args(["--config", "driftline.yaml", "run"])
        .current_dir(folder)
        .stdout(Stdio::null())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

fn group(rules: &[(&str, &str)]) -> String {
    let line = |(name, expression): &(&str, &str)| {
        format!("  - {{alert: {name}, for_each: model, expr: '{expression}'}}\n")
    };
    format!("groups:\n- name: g\n  rules:\n{}", rules.iter().map(line).collect::<String>())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changed_rules_are_taken_up_whole_or_not_at_all() {
    let (_pool, url) = support::database_with_url().await;
    let sidecar = Sidecar::start(&url, &[("a.yaml", group(&[("A", "rows > 1")]))]).await;

    // A file more, of the same pattern.
    sidecar.write("b.yaml", &group(&[("B", "rows > 1"), ("C", "rows > 1")]));
    sidecar.until("driftline_rules", 3.0).await;

    // One good change and one bad one: neither is taken up, and somebody is told where it is wrong.
    sidecar.write("a.yaml", &group(&[("A", "rows > 1"), ("D", "rows > 1")]));
    sidecar.write("b.yaml", &group(&[("B", "rowz > 1")]));
    sidecar.until("driftline_rules_reload_failed", 1.0).await;
    assert_eq!(sidecar.metric("driftline_rules").await, Some(3.0), "the rules before stay in force");
    let (status, summary) = sidecar.until_told(1).await;
    assert_eq!(status, "firing");
    for part in ["changed rule files were refused", "rules/b.yaml:4:", "rowz", "did you mean"] {
        assert!(summary.contains(part), "{part} is not in {summary}");
    }
    let log = std::fs::read_to_string(sidecar.folder.path().join("log")).unwrap();
    assert!(log.contains("rules/b.yaml:4:") && log.contains("added B, C"), "{log}");

    // The end of the bad file is the end of the alert, and of its rules.
    std::fs::remove_file(sidecar.folder.path().join("rules/b.yaml")).unwrap();
    sidecar.until("driftline_rules_reload_failed", 0.0).await;
    sidecar.until("driftline_rules", 2.0).await;
    let over = sidecar.until_told(2).await;
    assert_eq!(over, ("resolved".to_owned(), "RulesReloadFailed is over for driftline".to_owned()));

    // No file at all is a mistake, and not the wish to have no rule.
    std::fs::remove_file(sidecar.folder.path().join("rules/a.yaml")).unwrap();
    sidecar.until("driftline_rules_reload_failed", 1.0).await;
    assert_eq!(sidecar.metric("driftline_rules").await, Some(2.0));
    assert!(sidecar.until_told(3).await.1.contains("matches no file"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_reads_the_rules_at_once_and_changed_settings_are_named() {
    let (_pool, url) = support::database_with_url().await;
    let mut sidecar = Sidecar::start(&url, &[("a.yaml", group(&[("A", "rows > 1")]))]).await;
    let loads = "driftline_rules_reloads_total{result=\"loaded\"}";
    assert_eq!(sidecar.metric(loads).await, None, "what is read at start is no reload");
    // Nothing changed, so that only the signal can be the cause.
    sidecar.signal("-HUP").await;
    sidecar.until(loads, 1.0).await;
    sidecar.write("a.yaml", &group(&[("A", "rows > 2"), ("B", "rows > 1")]));
    sidecar.signal("-HUP").await;
    sidecar.until("driftline_rules", 2.0).await;
    let settings = sidecar.folder.path().join("driftline.yaml");
    let text = std::fs::read_to_string(&settings).unwrap();
    std::fs::write(&settings, text + "# changed\n").unwrap();
    let path = sidecar.folder.path().join("log");
    wait_for("the warning", || async {
        let log = std::fs::read_to_string(&path).unwrap();
        log.contains("the settings changed").then_some(())
    })
    .await;
    assert!(std::fs::read_to_string(&path).unwrap().contains("added B; changed A"));
    assert!(sidecar.process.try_wait().unwrap().is_none(), "SIGHUP does not end it");
    sidecar.signal("-TERM").await;
    assert!(sidecar.process.wait().await.unwrap().success());
}

async fn states(pool: &PgPool) -> Vec<(String, String)> {
    sqlx::query_as("select rule, state from alert order by rule").fetch_all(pool).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sidecar_that_vanished_with_a_bad_file_takes_its_alert_along() {
    let (pool, url) = support::database_with_url().await;
    let mut sidecar = Sidecar::start(&url, &[("a.yaml", group(&[("A", "rows > 1")]))]).await;
    sidecar.write("a.yaml", "groups: [");
    sidecar.until_told(1).await;
    let firing = vec![("RulesReloadFailed".to_owned(), "firing".to_owned())];
    assert_eq!(states(&pool).await, firing);
    sidecar.process.kill().await.unwrap();
    assert_eq!(states(&pool).await, firing, "the state outlives the process");

    // With a good file it starts again; what the lost process had found is forgotten after a minute.
    sidecar.write("a.yaml", &group(&[("A", "rows > 1")]));
    sqlx::query("update internal_fault set updated_at = updated_at - interval '2 minutes'")
        .execute(&pool)
        .await
        .unwrap();
    sidecar.process = spawn(sidecar.folder.path());
    assert_eq!(sidecar.until_told(2).await.0, "resolved");
}

/// Lays rule files as the kubelet lays a `ConfigMap`: links through `..data` to a folder that is replaced as a whole.
fn config_map(folder: &Path, version: &str, files: &[(&str, String)]) {
    let own = format!("..{version}");
    std::fs::create_dir(folder.join(&own)).unwrap();
    for (name, text) in files {
        std::fs::write(folder.join(&own).join(name), text).unwrap();
    }
    let before = std::fs::read_link(folder.join("..data")).ok();
    std::os::unix::fs::symlink(&own, folder.join("..data_tmp")).unwrap();
    std::fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
    for (name, _) in files {
        let link = folder.join(name);
        if std::fs::symlink_metadata(&link).is_err() {
            std::os::unix::fs::symlink(Path::new("..data").join(name), link).unwrap();
        }
    }
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let is_link = std::fs::symlink_metadata(&path).unwrap().is_symlink();
        if is_link && !path.exists() {
            std::fs::remove_file(path).unwrap();
        }
    }
    if let Some(before) = before {
        std::fs::remove_dir_all(folder.join(before)).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_config_map_is_taken_up_when_its_folder_is_swapped() {
    let (_pool, url) = support::database_with_url().await;
    let first = [("a.yaml", group(&[("A", "rows > 1")])), ("b.yaml", group(&[("B", "rows > 1")]))];
    let sidecar = Sidecar::start_with(&url, |folder| config_map(folder, "2026_01", &first), 2.0).await;
    let rules = sidecar.folder.path().join("rules");

    // One file changes, one goes and one comes, all in one rename.
    let second = [
        ("a.yaml", group(&[("A", "rows > 2"), ("C", "rows > 1"), ("D", "rows > 1")])),
        ("e.yaml", group(&[("E", "rows > 1")])),
    ];
    config_map(&rules, "2026_02", &second);
    sidecar.until("driftline_rules", 4.0).await;
    let log = std::fs::read_to_string(sidecar.folder.path().join("log")).unwrap();
    assert!(log.contains("added C, D, E") && log.contains("removed B") && log.contains("changed A"), "{log}");
    assert_eq!(sidecar.metric("driftline_rules_reload_failed").await, Some(0.0));

    // A bad one is refused as a whole.
    config_map(
        &rules,
        "2026_03",
        &[("a.yaml", group(&[("A", "rows > 1")])), ("e.yaml", group(&[("E", "rowz > 1")]))],
    );
    sidecar.until("driftline_rules_reload_failed", 1.0).await;
    assert_eq!(sidecar.metric("driftline_rules").await, Some(4.0));
    config_map(&rules, "2026_04", &first);
    sidecar.until("driftline_rules_reload_failed", 0.0).await;
    sidecar.until("driftline_rules", 2.0).await;
}
