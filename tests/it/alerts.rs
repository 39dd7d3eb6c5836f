//! Alerts from a report to a receiver: stored with the verdict, delivered at least once.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, TimeDelta, Utc};
use driftline::alert::{Message, RuleSet, StoredAlert, evaluate};
use driftline::config::Settings;
use driftline::drift::{BinEvidence, Criteria, Deciding, DriftReport, FeatureReport, Losses, Verdict};
use driftline::model::{FeatureKind, ModelName, Role};
use driftline::notify::Receivers;
use driftline::store::outbox::{self, MAX_ATTEMPTS};
use driftline::store::{self, PgPool};
use driftline::tasks::grouping;
use driftline::tasks::notifier::{Delivery, Notifier, deliver_next};
use hmac::{Hmac, Mac};
use sqlx::{PgConnection, Row};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::smtp::{SmtpServer, certificate};
use crate::support;

const RULES: &str = r#"
groups:
- name: g
  rules:
  - alert: FeatureDrift
    for_each: feature
    expr: verdict == "drift"
    labels: {severity: warning}
    annotations: {summary: "{{feature}} drifted: PSI {{psi}} (p {{p}})"}
"#;

pub(crate) fn model() -> ModelName {
    ModelName::parse("bike-demand").unwrap()
}

pub(crate) fn start() -> DateTime<Utc> {
    DateTime::from_timestamp(1_750_000_000, 0).unwrap()
}

/// The report of one window; `psi` over 0.1 is drift.
pub(crate) fn report(window: i64, psi: f64) -> DriftReport {
    let verdict = if psi > 0.1 { Verdict::Drift } else { Verdict::Ok };
    let end = start() + TimeDelta::hours(window);
    DriftReport {
        model: model(),
        baseline: "b3a1".into(),
        window_start: end - TimeDelta::hours(1),
        window_end: end,
        rows: 1000,
        rows_reference: 10_000,
        losses: Losses { seen: 1000, kept: 1000, ..Losses::default() },
        criteria: Criteria::default(),
        verdict,
        reason: "as temp says".into(),
        features: vec![FeatureReport {
            name: "temp".into(),
            role: Role::Feature,
            kind: FeatureKind::Numeric,
            n_reference: 10_000,
            n_current: 1000,
            missing_reference: 0,
            missing_current: 0,
            statistics: BTreeMap::from([("psi".into(), psi), ("mean_shift".into(), psi)]),
            p_values: BTreeMap::new(),
            p_adjusted: Some(1e-30),
            deciding: Some(Deciding { statistic: "psi".into(), value: psi, floor: 0.1 }),
            natural_variation: None,
            slots: None,
            unseen: Vec::new(),
            verdict,
            reason: "psi".into(),
            bins: vec![
                BinEvidence { label: "(-inf, 3.5]".into(), reference: 5000, current: 200 },
                BinEvidence { label: "(3.5, inf)".into(), reference: 5000, current: 800 },
            ],
        }],
        joint: None,
        schema_changes: Vec::new(),
        expectations: Vec::new(),
        expectations_verdict: None,
        expectations_version: None,
        traffic: None,
        segments: Vec::new(),
    }
}

/// Rules and settings in which every one of `receivers` exists.
pub(crate) fn told_to(receivers: &[String]) -> (RuleSet, Settings) {
    let rules = RuleSet::parse(&[("rules.yaml".into(), RULES.into())]).unwrap();
    let receivers: Vec<String> =
        receivers.iter().map(|name| format!("{name}: {{webhook: {{url: 'http://127.0.0.1:1'}}}}")).collect();
    let text = format!("receivers: {{{}}}", receivers.join(", "));
    (rules, Settings::parse(&text, "driftline.yaml").unwrap())
}

/// Judges a window and stores everything in one transaction, as the evaluator does; the messages that follow.
pub(crate) async fn judge(pool: &PgPool, receivers: &[String], window: i64, psi: f64) -> Vec<Message> {
    let (rules, settings) = told_to(receivers);
    let report = report(window, psi);
    let mut transaction = pool.begin().await.unwrap();
    judge_in(&mut transaction, &rules, &settings, &report).await;
    transaction.commit().await.unwrap();
    let newest = outbox_messages(pool).await;
    newest
        .into_iter()
        .filter(|message| message.alerts.iter().any(|n| n.window_end == report.window_end))
        .collect()
}

/// Every message of the outbox.
pub(crate) async fn outbox_messages(pool: &PgPool) -> Vec<Message> {
    let rows = sqlx::query("select message from outbox order by id").fetch_all(pool).await.unwrap();
    rows.iter().map(|row| serde_json::from_value(row.get("message")).unwrap()).collect()
}

/// Judges a window within a transaction; the clock is at the window's end.
pub(crate) async fn judge_in(
    transaction: &mut PgConnection,
    rules: &RuleSet,
    settings: &Settings,
    report: &DriftReport,
) {
    let id = Uuid::from_u128(u128::try_from(report.window_end.timestamp()).unwrap());
    sqlx::query("insert into model (name) values ($1) on conflict do nothing")
        .bind(report.model.as_str())
        .execute(&mut *transaction)
        .await
        .unwrap();
    sqlx::query(
        "insert into drift_report (id, model, baseline, window_start, window_end, verdict, row_count, content)
         values ($1, $2, 'b', $3, $4, 'ok', 0, '{}')",
    )
    .bind(id)
    .bind(report.model.as_str())
    .bind(report.window_start)
    .bind(report.window_end)
    .execute(&mut *transaction)
    .await
    .unwrap();
    let previous = store::alert::load_for_update(transaction, &report.model).await.unwrap();
    let evaluation = evaluate(rules, report, id, &previous, report.window_end);
    store::alert::save(transaction, &evaluation).await.unwrap();
    grouping::tell(transaction, settings, &report.model, report.window_end).await.unwrap();
}

fn receivers(settings: &str) -> Receivers {
    rustls::crypto::ring::default_provider().install_default().ok();
    Receivers::build(&Settings::parse(settings, "driftline.yaml").unwrap()).unwrap()
}

/// States of the outbox: receiver, state, attempt.
async fn outbox_states(pool: &PgPool) -> Vec<(String, String, i32)> {
    let rows = outbox::list(pool, 100).await.unwrap();
    let mut states: Vec<_> = rows.into_iter().map(|row| (row.receiver, row.state, row.attempt)).collect();
    states.sort();
    states
}

fn later() -> DateTime<Utc> {
    start() + TimeDelta::days(1)
}

#[tokio::test]
async fn alerts_are_stored_and_listed() {
    let pool = support::database().await;
    let names = ["oncall".to_owned()];
    assert_eq!(judge(&pool, &names, 0, 0.0).await.len(), 0);
    assert_eq!(judge(&pool, &names, 1, 0.3).await.len(), 1);
    assert_eq!(judge(&pool, &names, 2, 0.3).await.len(), 0);
    let firing: Vec<StoredAlert> = store::alert::list(&pool, Some(&model())).await.unwrap();
    assert_eq!((firing.len(), firing[0].state.as_str(), firing[0].subject.as_str()), (1, "firing", "temp"));
    let counts = store::alert::counts(&pool).await.unwrap();
    assert_eq!((counts[0].state.as_str(), counts[0].alerts), ("firing", 1));
    let resolved = judge(&pool, &names, 3, 0.0).await;
    assert_eq!(resolved[0].status.as_str(), "resolved");
    let transitions = store::alert::transitions(&pool, None, 10).await.unwrap();
    let words: Vec<_> = transitions.iter().map(|t| format!("{}>{}", t.from, t.to)).collect();
    assert_eq!(words, ["firing>resolved", "inactive>firing"]);
    assert_eq!(transitions[1].evidence["item"]["subject"], "temp");
    assert_eq!(outbox_states(&pool).await.len(), 2);
}

#[tokio::test]
async fn a_judgement_that_is_not_committed_did_nothing() {
    let pool = support::database().await;
    let names = ["oncall".to_owned()];
    judge(&pool, &names, 0, 0.0).await;
    let mut transaction = pool.begin().await.unwrap();
    let (rules, settings) = told_to(&names);
    judge_in(&mut transaction, &rules, &settings, &report(1, 0.3)).await;
    drop(transaction);
    assert!(store::alert_group::list(&pool, None).await.unwrap().is_empty());
    assert!(store::alert::list(&pool, None).await.unwrap().is_empty());
    assert!(outbox_states(&pool).await.is_empty());
}

#[tokio::test]
async fn an_email_arrives() {
    let pool = support::database().await;
    let mut server = SmtpServer::start(&[]);
    let receivers = receivers(&format!(
        "smtp: {{host: 127.0.0.1, port: {}, tls: none, from: driftline@example.com}}
receivers: {{oncall: {{email: {{to: ['On Call <oncall@example.com>', b@example.com]}}}}}}",
        server.port
    ));
    let message = judge(&pool, &receivers.names(), 1, 0.3).await.remove(0);
    let delivery = deliver_next(&pool, &receivers, "oncall", later).await.unwrap();
    assert_eq!(delivery, Some(Delivery::Sent));
    let received = server.next();
    assert_eq!(received.from, "driftline@example.com");
    assert_eq!(received.to, ["oncall@example.com", "b@example.com"]);
    let head = received.data.split("\r\n\r\n").next().unwrap().replace("\r\n ", " ");
    for part in [
        format!("Message-ID: <{}@example.com>", message.id),
        "Subject: FeatureDrift on bike-demand: temp drifted: PSI 0.30".to_owned(),
        "multipart/alternative".to_owned(),
        "Auto-Submitted: auto-generated".to_owned(),
    ] {
        assert!(head.contains(&part), "{part}\n{head}");
    }
    assert!(received.data.contains("text/plain") && received.data.contains("text/html"));
    assert_eq!(deliver_next(&pool, &receivers, "oncall", later).await.unwrap(), None);
}

#[tokio::test]
async fn an_email_goes_over_starttls_with_authentication() {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = certificate(folder.path());
    let password = folder.path().join("password");
    std::fs::write(&password, "s3cret\n").unwrap();
    for (tls, implicit) in [("starttls", None), ("implicit", Some("--implicit"))] {
        let mut arguments = vec!["--tls", &cert, &key, "--user", "driftline", "s3cret"];
        arguments.extend(implicit);
        let mut server = SmtpServer::start(&arguments);
        let settings = |ca: &str| {
            format!(
                "smtp: {{host: localhost, port: {}, tls: {tls}, from: d@example.com, username: driftline,
  password_file: {}{ca}}}
receivers: {{oncall: {{email: {{to: [oncall@example.com]}}}}}}",
                server.port,
                password.display()
            )
        };
        let (trusting, strict) = (settings(&format!(", ca_file: {cert}")), settings(""));
        let pool = support::database().await;
        judge(&pool, &["oncall".to_owned()], 1, 0.3).await;
        let refused = deliver_next(&pool, &receivers(&strict), "oncall", at_window_end).await.unwrap();
        assert!(
            matches!(refused, Some(Delivery::Retry(_))),
            "an unknown certificate is refused: {refused:?}"
        );
        let delivery = deliver_next(&pool, &receivers(&trusting), "oncall", later).await.unwrap();
        assert_eq!(delivery, Some(Delivery::Sent), "{:?}", outbox::list(&pool, 1).await.unwrap());
        let received = server.next();
        assert!(received.tls && received.user, "{tls}: {received:?}");
    }
}

fn at_window_end() -> DateTime<Utc> {
    start() + TimeDelta::hours(1)
}

#[tokio::test]
async fn a_mail_server_that_is_down_is_waited_for() {
    let pool = support::database().await;
    let server = SmtpServer::start(&[]);
    let port = server.port;
    drop(server);
    let receivers = receivers(&format!(
        "smtp: {{host: 127.0.0.1, port: {port}, tls: none, from: d@example.com}}
receivers: {{oncall: {{email: {{to: [oncall@example.com]}}}}}}"
    ));
    let message = judge(&pool, &receivers.names(), 1, 0.3).await.remove(0);
    let Some(Delivery::Retry(next)) = deliver_next(&pool, &receivers, "oncall", at_window_end).await.unwrap()
    else {
        panic!("not queued again")
    };
    assert!(next > at_window_end() && next < later());
    assert_eq!(deliver_next(&pool, &receivers, "oncall", at_window_end).await.unwrap(), None, "not due yet");
    assert!(outbox::list(&pool, 1).await.unwrap()[0].last_error.is_some());
    let port = port.to_string();
    let mut server = SmtpServer::start(&["--port", &port]);
    assert_eq!(deliver_next(&pool, &receivers, "oncall", later).await.unwrap(), Some(Delivery::Sent));
    assert!(server.next().data.contains(&message.id.to_string()));
    assert_eq!(outbox_states(&pool).await, [("oncall".into(), "sent".into(), 2)]);
}

#[tokio::test]
async fn a_mail_server_refuses_for_now_or_for_good() {
    for (answer, dead) in [("451 try later", false), ("550 no such user", true)] {
        let pool = support::database().await;
        let server = SmtpServer::start(&["--answer", answer]);
        let receivers = receivers(&format!(
            "smtp: {{host: 127.0.0.1, port: {}, tls: none, from: d@example.com}}
receivers: {{oncall: {{email: {{to: [oncall@example.com]}}}}}}",
            server.port
        ));
        judge(&pool, &receivers.names(), 1, 0.3).await;
        let delivery = deliver_next(&pool, &receivers, "oncall", later).await.unwrap();
        assert_eq!(delivery == Some(Delivery::Dead), dead, "{answer}: {delivery:?}");
        assert!(outbox::list(&pool, 1).await.unwrap()[0].last_error.as_ref().unwrap().contains(&answer[4..]));
    }
}

/// A webhook receiver: what it got, and what it answers next.
#[derive(Default)]
pub(crate) struct Hook {
    pub(crate) got: Mutex<Vec<(HeaderMap, Vec<u8>)>>,
    answers: Mutex<Vec<(u16, &'static str)>>,
}

pub(crate) async fn hook(answers: &[(u16, &'static str)]) -> (Arc<Hook>, String) {
    let hook =
        Arc::new(Hook { answers: Mutex::new(answers.iter().rev().copied().collect()), ..Hook::default() });
    let answer = |State(hook): State<Arc<Hook>>, headers: HeaderMap, body: axum::body::Bytes| async move {
        hook.got.lock().unwrap().push((headers, body.to_vec()));
        let (status, retry_after) = hook.answers.lock().unwrap().pop().unwrap_or((204, ""));
        let mut headers = HeaderMap::new();
        if !retry_after.is_empty() {
            headers.insert("retry-after", retry_after.parse().unwrap());
            headers.insert("location", "http://127.0.0.1:1/".parse().unwrap());
        }
        (StatusCode::from_u16(status).unwrap(), headers, "x".repeat(100_000))
    };
    let app = axum::Router::new().fallback(answer).with_state(Arc::clone(&hook));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let mut server = tokio::task::JoinSet::new();
    server.spawn(async move { axum::serve(listener, app).await });
    server.detach_all();
    (hook, url)
}

fn hook_settings(url: &str, secret: &std::path::Path) -> String {
    format!(
        "receivers: {{hook: {{webhook: {{url: '{url}', secret_file: {}, allow_private: true}}}}}}",
        secret.display()
    )
}

#[tokio::test]
async fn a_webhook_is_signed_and_tried_until_it_answers() {
    static NOW: AtomicI64 = AtomicI64::new(0);
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, format!("whsec_{}\n", STANDARD.encode(b"a key of some length"))).unwrap();
    let (hook, url) = hook(&[(500, ""), (429, "7200"), (408, "")]).await;
    let receivers = receivers(&hook_settings(&url, &secret));
    let pool = support::database().await;
    let message = judge(&pool, &receivers.names(), 1, 0.3).await.remove(0);
    let clock = || DateTime::from_timestamp(NOW.load(Ordering::Relaxed), 0).unwrap();
    NOW.store(later().timestamp(), Ordering::Relaxed);
    let mut waits = Vec::new();
    while let Some(Delivery::Retry(next)) = deliver_next(&pool, &receivers, "hook", clock).await.unwrap() {
        waits.push((next - clock()).num_seconds());
        NOW.store(next.timestamp() + 1, Ordering::Relaxed);
    }
    assert_eq!(waits.len(), 3);
    assert!(
        (5..=6).contains(&waits[0]) && (3600..=4500).contains(&waits[1]) && (20..=25).contains(&waits[2]),
        "{waits:?}"
    );
    let got = std::mem::take(&mut *hook.got.lock().unwrap());
    assert_eq!(got.len(), 4);
    for (headers, body) in &got {
        let header = |name: &str| headers[name].to_str().unwrap();
        assert_eq!(header("webhook-id"), message.id.to_string(), "the id is stable");
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(b"a key of some length").unwrap();
        mac.update(format!("{}.{}.", header("webhook-id"), header("webhook-timestamp")).as_bytes());
        mac.update(body);
        let given = STANDARD.decode(header("webhook-signature").strip_prefix("v1,").unwrap()).unwrap();
        mac.verify_slice(&given).unwrap();
        let json: serde_json::Value = serde_json::from_slice(body).unwrap();
        assert_eq!(
            (json["type"].as_str(), json["data"]["version"].as_u64()),
            (Some("alert.firing"), Some(2))
        );
        assert_eq!(json["data"]["alerts"][0]["item"]["subject"], "temp");
    }
    assert_eq!(outbox_states(&pool).await, [("hook".into(), "sent".into(), 4)]);
}

#[tokio::test]
async fn a_refusal_and_a_redirect_are_final() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "plain").unwrap();
    for answer in [(400, ""), (302, "1"), (410, "")] {
        let (hook, url) = hook(&[answer]).await;
        let pool = support::database().await;
        let receivers = receivers(&hook_settings(&url, &secret));
        judge(&pool, &receivers.names(), 1, 0.3).await;
        let delivery = deliver_next(&pool, &receivers, "hook", later).await.unwrap();
        assert_eq!(delivery, Some(Delivery::Dead), "{answer:?}");
        assert_eq!(hook.got.lock().unwrap().len(), 1);
        let row = outbox::list(&pool, 1).await.unwrap().remove(0);
        let error = row.last_error.unwrap();
        assert!(error.contains(&answer.0.to_string()) && error.len() < 400, "{error}");
    }
}

#[tokio::test]
async fn a_message_that_keeps_failing_is_given_up() {
    let pool = support::database().await;
    judge(&pool, &["hook".to_owned()], 1, 0.3).await;
    sqlx::query("update outbox set attempt = $1").bind(MAX_ATTEMPTS - 1).execute(&pool).await.unwrap();
    let none = Receivers::default();
    assert_eq!(deliver_next(&pool, &none, "hook", later).await.unwrap(), Some(Delivery::Dead));
    assert_eq!(outbox::counts(&pool).await.unwrap()[0].state, "dead");
}

#[tokio::test]
async fn a_claim_is_exclusive_until_its_lease_ends() {
    let pool = support::database().await;
    let message = judge(&pool, &["hook".to_owned()], 1, 0.3).await.remove(0);
    let lease = Duration::from_mins(2);
    let claim = |at: DateTime<Utc>| outbox::claim(&pool, "hook", at, lease);
    // The process is killed after this claim, before it could mark anything.
    let lost = claim(later()).await.unwrap().unwrap();
    assert_eq!(claim(later() + TimeDelta::seconds(119)).await.unwrap(), None);
    let again = claim(later() + TimeDelta::seconds(120)).await.unwrap().unwrap();
    assert_eq!((again.id, again.attempt), (message.id, 2), "the same message under the same id");
    // The first process was only slow: its mark no longer counts.
    outbox::mark_failed(&pool, &lost, "late", true, None, later()).await.unwrap();
    assert_eq!(outbox_states(&pool).await, [("hook".into(), "queued".into(), 2)]);
    outbox::mark_sent(&pool, &again, later()).await.unwrap();
    assert_eq!(outbox_states(&pool).await, [("hook".into(), "sent".into(), 2)]);
}

#[tokio::test]
async fn two_processes_never_claim_the_same_message() {
    let pool = support::database().await;
    for window in 1..=20 {
        judge(&pool, &["hook".to_owned()], window, if window % 2 == 1 { 0.3 } else { 0.0 }).await;
    }
    let claims = (0..20).map(|_| outbox::claim(&pool, "hook", later(), Duration::from_mins(1)));
    let claims = futures_util::future::join_all(claims).await;
    let mut ids: Vec<_> =
        claims.into_iter().filter_map(|claim| claim.unwrap()).map(|claim| claim.id).collect();
    ids.sort();
    let found = ids.len();
    ids.dedup();
    assert_eq!(ids.len(), found);
}

#[tokio::test]
async fn a_slow_receiver_does_not_hold_up_another() {
    let pool = support::database().await;
    // Accepts connections and never answers.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (hook, url) = hook(&[]).await;
    let receivers = receivers(&format!(
        "receivers: {{slow: {{webhook: {{url: 'http://{}', allow_private: true}}}}, quick: {{webhook: {{url: '{url}', allow_private: true}}}}}}",
        silent.local_addr().unwrap()
    ));
    for window in 1..=3 {
        judge(&pool, &receivers.names(), window, if window % 2 == 1 { 0.3 } else { 0.0 }).await;
    }
    let shutdown = CancellationToken::new();
    let wake = Arc::new(Notify::new());
    let notifier = Notifier::new(pool.clone(), Arc::new(receivers), later, wake);
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(notifier.run(shutdown.clone()));
    let arrived = async {
        while hook.got.lock().unwrap().len() < 3 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(8), arrived)
        .await
        .expect("the quick receiver is served at once");
    shutdown.cancel();
    tasks.join_next().await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn the_notifier_survives_an_outage_of_the_database() {
    let pool = support::database().await;
    let (hook, url) = hook(&[]).await;
    let receivers =
        receivers(&format!("receivers: {{hook: {{webhook: {{url: '{url}', allow_private: true}}}}}}"));
    let names = receivers.names();
    let shutdown = CancellationToken::new();
    let notifier = Notifier::new(pool.clone(), Arc::new(receivers), later, Arc::new(Notify::new()));
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(notifier.run(shutdown.clone()));
    for window in 1..=5 {
        sqlx::query("select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()")
            .execute(&pool)
            .await
            .ok();
        if window == 5 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let message = judge(&pool, &names, 1, 0.3).await.remove(0);
    let arrived = async {
        while hook.got.lock().unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(15), arrived).await.expect("delivered after the outage");
    assert_eq!(hook.got.lock().unwrap()[0].0["webhook-id"].to_str().unwrap(), message.id.to_string());
    shutdown.cancel();
    tasks.join_next().await.unwrap().unwrap().unwrap();
}
