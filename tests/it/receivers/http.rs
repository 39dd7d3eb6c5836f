//! Webhooks, chats and incidents over HTTP, and what goes wrong with them.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Instant;

use driftline::alert::Occasion;
use driftline::tasks::notifier::{Delivery, deliver_next};
use serde_json::json;

use super::hook::{Answer, Hook};
use super::{last_error, later, message, queue, receivers, start, states};
use crate::support;

fn plain(status: u16, body: &str) -> Answer {
    Answer::Plain(status, Vec::new(), body.to_owned())
}

#[tokio::test]
async fn a_slack_channel_gets_blocks() {
    let hook = Hook::start(&[]).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("slack.url");
    std::fs::write(&file, format!("{}\n", hook.url("/services/T0/B0/hunter2"))).unwrap();
    let receivers = receivers(&format!(
        "receivers: {{chat: {{slack: {{url_file: {}, allow_private: true}}}}}}",
        file.display()
    ));
    let mut message = message("chat", "g", 1, Occasion::Began);
    "<!channel> drifted".clone_into(&mut message.alerts[0].item.summary);
    receivers.send(&message, None, later()).await.unwrap();
    let got = hook.got().remove(0);
    assert_eq!(
        (got.path.as_str(), got.header("content-type")),
        ("/services/T0/B0/hunter2", "application/json")
    );
    let blocks = got.json()["attachments"][0]["blocks"].clone();
    assert_eq!(blocks[0]["text"]["text"], ":rotating_light: *Firing*: temp drifted, message 1");
    assert!(blocks[2]["text"]["text"].as_str().unwrap().contains("*&lt;!channel&gt; drifted*"), "{blocks:#}");
}

#[tokio::test]
async fn a_teams_channel_gets_a_card() {
    let hook = Hook::start(&[plain(202, "")]).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("teams.url");
    std::fs::write(&file, hook.url("/workflows/1/triggers/manual/paths/invoke?sig=hunter2")).unwrap();
    let receivers = receivers(&format!(
        "receivers: {{team: {{teams: {{url_file: {}, allow_private: true}}}}}}",
        file.display()
    ));
    receivers.send(&message("team", "g", 1, Occasion::Escalated), None, later()).await.unwrap();
    let got = hook.got().remove(0).json();
    let card = &got["attachments"][0];
    assert_eq!(card["contentType"], "application/vnd.microsoft.card.adaptive");
    assert_eq!(card["content"]["body"][0]["inlines"][0]["text"], "Escalated: ");
}

#[tokio::test]
async fn an_incident_is_opened_and_resolved_under_one_key() {
    let hook = Hook::start(&[plain(202, "{}"), plain(202, "{}")]).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    std::fs::write(&file, "R0UT1NGK3Y\n").unwrap();
    let receivers = receivers(&format!(
        "receivers: {{page: {{pagerduty: {{routing_key_file: {}, url: '{}', allow_private: true}}}}}}",
        file.display(),
        hook.url("")
    ));
    for (number, occasion) in [(1, Occasion::Began), (2, Occasion::Resolved), (3, Occasion::Test)] {
        receivers.send(&message("page", "g", number, occasion), None, later()).await.unwrap();
    }
    let events: Vec<_> = hook.got().iter().map(|got| (got.path.clone(), got.json())).collect();
    let actions: Vec<_> = events.iter().map(|(_, event)| event["event_action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["trigger", "resolve", "trigger", "resolve"], "a test leaves nothing open");
    for (path, event) in &events {
        assert_eq!((path.as_str(), &event["routing_key"]), ("/v2/enqueue", &json!("R0UT1NGK3Y")));
        assert_eq!(event["dedup_key"], "g");
    }
    assert_eq!(events[0].1["payload"]["source"], "bike-demand");
}

/// Has the official libraries of Standard Webhooks and CloudEvents read a request.
fn read_by_others(request: &serde_json::Value) -> Result<String, String> {
    let python = std::env::var("DRIFTLINE_TEST_PYTHON").expect("`make test` sets DRIFTLINE_TEST_PYTHON");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/receivers/read_webhook.py");
    let mut child = Command::new(python)
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(request.to_string().as_bytes()).unwrap();
    let ended = child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if ended.status.success() { Ok(text(&ended.stdout)) } else { Err(text(&ended.stderr)) }
}

#[tokio::test]
async fn the_official_libraries_accept_what_is_sent() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    std::fs::write(&file, secret).unwrap();
    // The library refuses what is old, so that the time is the present.
    let now = driftline::app::now();
    for (format, kind) in [("standard", "alert.firing"), ("cloudevents", "driftline.alert.firing")] {
        let hook = Hook::start(&[]).await;
        let receivers = receivers(&format!(
            "receivers: {{hook: {{webhook: {{url: '{}', secret_file: {}, format: {format}, allow_private: true}}}}}}",
            hook.url("/hook"),
            file.display()
        ));
        receivers.send(&message("hook", "g", 1, Occasion::Began), None, now).await.unwrap();
        let got = hook.got().remove(0);
        let headers: serde_json::Map<_, _> = (got.headers.iter())
            .map(|(name, value)| (name.to_string(), json!(value.to_str().unwrap())))
            .collect();
        let body = String::from_utf8(got.body.clone()).unwrap();
        let request =
            |body: &str| json!({"secret": secret, "headers": headers, "body": body, "format": format});
        assert_eq!(read_by_others(&request(&body)).as_deref(), Ok(kind), "{format}");
        let forged = read_by_others(&request(&body.replace("temp", "hum"))).unwrap_err();
        assert!(forged.contains("No matching signature"), "{forged}");
        assert_eq!(got.json()["data"]["summary"], "temp drifted, message 1");
    }
}

#[tokio::test]
async fn texts_of_ones_own_are_sent() {
    let hook = Hook::start(&[]).await;
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let body = file("body.json", "{\"title\": {{ summary }}, \"alerts\": {{ alerts | length }}}");
    let text = file("text.txt", "*{{ word }}* {{ summary }}");
    let url = file("url", &hook.url("/chat"));
    let receivers = receivers(&format!(
        "receivers:
  hook: {{webhook: {{url: '{}', allow_private: true}}, templates: {{body: {body}}}}}
  chat: {{slack: {{url_file: {url}, allow_private: true}}, templates: {{text: {text}}}}}",
        hook.url("/hook")
    ));
    let mut odd = message("hook", "g", 1, Occasion::Began);
    "\"temp\" <& co>".clone_into(&mut odd.summary);
    receivers.send(&odd, None, later()).await.unwrap();
    "chat".clone_into(&mut odd.receiver);
    receivers.send(&odd, None, later()).await.unwrap();
    let got = hook.got();
    assert_eq!(got[0].json(), json!({"title": "\"temp\" <& co>", "alerts": 2}));
    let block = got[1].json()["attachments"][0]["blocks"][0]["text"]["text"].clone();
    assert_eq!(block, "*Firing* \"temp\" &lt;&amp; co&gt;");
}

#[tokio::test]
async fn an_answer_without_end_is_not_read_to_its_end() {
    let hook = Hook::start(&[Answer::Endless(500), Answer::Endless(200)]).await;
    let receivers = receivers(&format!(
        "receivers: {{hook: {{webhook: {{url: '{}', allow_private: true}}}}}}",
        hook.url("/")
    ));
    let failure = receivers.send(&message("hook", "g", 1, Occasion::Began), None, later()).await.unwrap_err();
    assert!(!failure.permanent && failure.reason.len() < 300, "{failure}");
    receivers.send(&message("hook", "g", 1, Occasion::Began), None, later()).await.unwrap();
}

#[tokio::test]
async fn an_answer_that_never_comes_is_not_waited_for() {
    let hook = Hook::start(&[Answer::Never]).await;
    let receivers = receivers(&format!(
        "receivers: {{hook: {{webhook: {{url: '{}', allow_private: true}}}}}}",
        hook.url("/")
    ));
    let pool = support::database().await;
    queue(&pool, &[message("hook", "g", 1, Occasion::Began)]).await;
    let began = Instant::now();
    let delivery = deliver_next(&pool, &receivers, "hook", later).await.unwrap();
    assert!(matches!(delivery, Some(Delivery::Retry(_))), "{delivery:?} after {:?}", began.elapsed());
    assert!(last_error(&pool).await.contains("timed out"));
    assert_eq!(hook.got().len(), 1);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let inside = Hook::start(&[]).await;
    let redirect = Answer::Plain(307, vec![("location", inside.url("/latest/meta-data"))], String::new());
    let hook = Hook::start(&[redirect]).await;
    let receivers = receivers(&format!(
        "receivers: {{hook: {{webhook: {{url: '{}', allow_private: true}}}}}}",
        hook.url("/")
    ));
    let pool = support::database().await;
    queue(&pool, &[message("hook", "g", 1, Occasion::Began)]).await;
    let delivery = deliver_next(&pool, &receivers, "hook", later).await.unwrap();
    assert_eq!(delivery, Some(Delivery::Dead));
    assert_eq!((hook.got().len(), inside.got().len()), (1, 0));
    assert!(last_error(&pool).await.contains("307"));
}

#[tokio::test]
async fn a_name_that_leads_inside_is_refused_once_it_is_resolved() {
    let hook = Hook::start(&[]).await;
    let folder = tempfile::tempdir().unwrap();
    let url = format!("http://localhost:{}/hunter2", hook.port);
    let file = folder.path().join("url");
    std::fs::write(&file, &url).unwrap();
    let file = file.display();
    let receivers = receivers(&format!(
        "receivers:
  hook: {{webhook: {{url: '{url}'}}}}
  chat: {{slack: {{url_file: {file}}}}}
  team: {{teams: {{url_file: {file}}}}}
  page: {{pagerduty: {{routing_key_file: {file}, url: '{url}'}}}}
  prom: {{alertmanager: {{urls: ['{url}'], allow_private: false}}}}
  open: {{webhook: {{url: '{url}', allow_private: true}}}}"
    ));
    for name in ["hook", "chat", "team", "page", "prom"] {
        let failure =
            receivers.send(&message(name, "g", 1, Occasion::Began), None, later()).await.unwrap_err();
        let reason = &failure.reason;
        assert!(
            reason.contains("`localhost` leads to") && reason.contains("`allow_private: true`"),
            "{reason}"
        );
        assert!(!failure.permanent, "a person can mend it");
    }
    assert!(hook.got().is_empty(), "nothing was sent");
    receivers.send(&message("open", "g", 1, Occasion::Began), None, later()).await.unwrap();
    assert_eq!(hook.got().len(), 1);
}

#[tokio::test]
async fn an_answer_that_quotes_a_secret_does_not_tell_it() {
    let hook =
        Hook::start(&[plain(403, "invalid_token: /services/hunter2"), plain(400, "no such key R0UT1NG")])
            .await;
    let folder = tempfile::tempdir().unwrap();
    let (url, key) = (folder.path().join("url"), folder.path().join("key"));
    std::fs::write(&url, hook.url("/services/hunter2")).unwrap();
    std::fs::write(&key, "R0UT1NG").unwrap();
    let receivers = receivers(&format!(
        "receivers:
  chat: {{slack: {{url_file: {}, allow_private: true}}}}
  page: {{pagerduty: {{routing_key_file: {}, url: '{}', allow_private: true}}}}",
        url.display(),
        key.display(),
        hook.url("")
    ));
    for (name, permanent) in [("chat", false), ("page", true)] {
        let failure =
            receivers.send(&message(name, "g", 1, Occasion::Began), None, start()).await.unwrap_err();
        assert_eq!(failure.permanent, permanent, "{failure}");
        assert!(failure.reason.contains("***"), "{failure}");
    }
    let told = format!("{receivers:?}");
    for secret in ["hunter2", "R0UT1NG"] {
        assert!(!told.contains(secret), "{told}");
    }
}

#[tokio::test]
async fn a_service_that_asks_for_fewer_messages_is_left_alone_for_as_long() {
    let busy = Answer::Plain(429, vec![("retry-after", "120".to_owned())], "slow down".to_owned());
    let hook = Hook::start(&[busy]).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("url");
    std::fs::write(&file, hook.url("/")).unwrap();
    let receivers = receivers(&format!(
        "receivers: {{chat: {{slack: {{url_file: {}, allow_private: true}}}}}}",
        file.display()
    ));
    let pool = support::database().await;
    queue(&pool, &[message("chat", "g", 1, Occasion::Began)]).await;
    let Some(Delivery::Retry(next)) = deliver_next(&pool, &receivers, "chat", later).await.unwrap() else {
        panic!("not queued again: {:?}", states(&pool).await)
    };
    assert!((120..=150).contains(&(next - later()).num_seconds()), "{next}");
}
