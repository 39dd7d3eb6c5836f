//! `driftline receivers`: what a person sees of where alerts go.

use std::process::{Command, Output};

use driftline::alert::Occasion;
use driftline::tasks::notifier::{Delivery, deliver_next};

use super::hook::{Answer, Hook};
use super::{later, message, queue, receivers};
use crate::database::database_with_url;

/// Runs `driftline receivers` with `settings`: exit status, and what it printed.
async fn run(settings: &str, arguments: &[&str]) -> (i32, String) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("driftline.yaml"), settings).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_driftline"));
    command.arg("receivers").args(arguments).current_dir(folder.path());
    let ended: Output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let text = [ended.stdout, ended.stderr].concat();
    (ended.status.code().unwrap(), String::from_utf8(text).unwrap())
}

fn plain(status: u16) -> Answer {
    Answer::Plain(status, Vec::new(), String::new())
}

#[tokio::test]
async fn a_test_message_says_what_happened_and_what_to_try() {
    let hook = Hook::start(&[plain(200), plain(404), plain(302)]).await;
    let url = hook.url("/hook");
    let settings = format!(
        "receivers:
  hook: {{webhook: {{url: '{url}', allow_private: true}}}}
  inside: {{webhook: {{url: 'http://localhost:{}/hook'}}}}
  nobody: {{webhook: {{url: 'http://127.0.0.1:1/', allow_private: true}}}}",
        hook.port
    );
    for (name, status, parts) in [
        ("hook", 0, vec!["sent: webhook to 127.0.0.1", "took the test message"]),
        ("hook", 1, vec!["answered 404", "would be tried again", "hint: the address is not there any more"]),
        ("hook", 1, vec!["answered 302", "would be given up", "hint: redirects are not followed"]),
        ("inside", 1, vec!["`localhost` leads to", "hint: set `allow_private: true`"]),
        ("nobody", 1, vec!["onnection refused", "hint: nothing listens there"]),
        ("hok", 2, vec!["no receiver `hok`, did you mean `hook`?; they have `hook`, `inside`, `nobody`"]),
    ] {
        let (found, text) = run(&settings, &["test", name]).await;
        assert_eq!(found, status, "{name}: {text}");
        for part in parts {
            assert!(text.contains(part), "{name}: {part}\n{text}");
        }
    }
    let body = hook.got()[0].json();
    assert_eq!((&body["type"], &body["data"]["occasion"]), (&"alert.test".into(), &"test".into()));
}

#[tokio::test]
async fn receivers_are_listed_with_what_was_given_up() {
    let (pool, database) = database_with_url().await;
    let hook = Hook::start(&[plain(400), plain(204), plain(204)]).await;
    let hooks = format!(
        "receivers: {{hook: {{webhook: {{url: '{}', allow_private: true}}, limit: 7 per 1d}}}}",
        hook.url("/hunter2")
    );
    let settings = format!("database: {{url: '{database}'}}\n{hooks}");
    queue(
        &pool,
        &[
            message("hook", "a", 1, Occasion::Began),
            message("hook", "b", 2, Occasion::Began),
            message("gone", "c", 3, Occasion::Began),
        ],
    )
    .await;
    let receivers = receivers(&hooks);
    for expected in [Delivery::Dead, Delivery::Sent] {
        assert_eq!(deliver_next(&pool, &receivers, "hook", later).await.unwrap(), Some(expected));
    }
    let (status, text) = run(&settings, &["list"]).await;
    assert_eq!(status, 0, "{text}");
    let words = |name: &str| {
        let line = text.lines().find(|line| line.trim_start().starts_with(name)).unwrap().to_owned();
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(words("hook "), format!("hook webhook 127.0.0.1:{} 7 per 1d 1 0 1", hook.port));
    assert_eq!(words("gone "), "gone not configured - - 0 1 0");
    for part in
        ["answered 400", "hint: the service does not understand", "`driftline receivers retry-dead hook`"]
    {
        assert!(text.contains(part), "{part}\n{text}");
    }
    assert!(!text.contains("hunter2"), "{text}");

    let (status, text) = run(&settings, &["retry-dead", "hook"]).await;
    assert_eq!((status, text.as_str()), (0, "1 messages to hook are tried again\n"));
    let (_, text) = run(&settings, &["list", "--json"]).await;
    let lines: serde_json::Value = serde_json::from_str(&text).unwrap();
    let hook = lines.as_array().unwrap().iter().find(|line| line["name"] == "hook").unwrap();
    assert_eq!(
        (hook["sent"].as_i64(), hook["waiting"].as_i64(), hook["given_up"].as_i64()),
        (Some(1), Some(1), Some(0))
    );
}

#[tokio::test]
async fn a_template_that_is_wrong_is_found_by_check() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("body.json"), "{\"a\": 1,\n \"text\": {{ sumary }}}").unwrap();
    std::fs::write(
        folder.path().join("driftline.yaml"),
        "receivers: {hook: {webhook: {url: 'https://h.example.com/'}, templates: {body: body.json}}}\n\
         database: {url: 'postgres://127.0.0.1:1/none'}",
    )
    .unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_driftline"));
    command.arg("check").current_dir(folder.path());
    let ended = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let text = String::from_utf8(ended.stdout).unwrap();
    assert!(
        text.contains("receiver `hook`: ./body.json:2: unknown name `sumary`, did you mean `summary`?"),
        "{text}"
    );
}
