//! Groups of alerts over a real database: timers, silences and acknowledgements, several processes and restarts.

use std::path::Path;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use driftline::alert::{Matcher, Message, Occasion, Silence};
use driftline::app::App;
use driftline::config::Settings;
use driftline::store::{self, PgPool, alert_ack, alert_event, alert_group, alert_life, silence};
use driftline::tasks::{Grouping, grouping};
use serde_json::{Value as Wire, json};
use tokio::process::Command;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::alerts::{hook, judge_in, model, outbox_messages, report, start, told_to};
use crate::support;

/// Settings with a receiver `oncall`, one `lead`, and a route.
fn settings(route: &str) -> Settings {
    let text = format!(
        "receivers: {{oncall: {{webhook: {{url: 'http://127.0.0.1:1', allow_private: true}}}}, lead: {{webhook: {{url: 'http://127.0.0.1:1', allow_private: true}}}}}}\n\
         route: {{receiver: oncall{route}}}\n"
    );
    Settings::parse(&text, "driftline.yaml").unwrap()
}

/// Judges a window as the evaluator does; its end is an hour after the one before, and the clock shows it.
async fn judge(pool: &PgPool, settings: &Settings, window: i64, psi: f64) {
    let (rules, _) = told_to(&[]);
    let mut transaction = pool.begin().await.unwrap();
    judge_in(&mut transaction, &rules, settings, &report(window, psi)).await;
    transaction.commit().await.unwrap();
}

/// What a process takes the time from.
type Clock = fn() -> DateTime<Utc>;

/// A process that looks at timers, with its own clock.
fn process(pool: &PgPool, settings: &Settings, clock: Clock) -> Grouping {
    Grouping::new(pool.clone(), Arc::new(settings.clone()), Arc::new(Notify::new()), clock)
}

fn occasions(messages: &[Message]) -> Vec<(String, Occasion)> {
    let mut found: Vec<_> = messages.iter().map(|m| (m.id, m.receiver.clone(), m.occasion)).collect();
    found.sort_by_key(|(id, ..)| *id);
    found.into_iter().map(|(_, receiver, occasion)| (receiver, occasion)).collect()
}

fn told(receiver: &str, occasion: Occasion) -> (String, Occasion) {
    (receiver.to_owned(), occasion)
}

/// The clock this long after the first window ended.
fn after(time: TimeDelta) -> DateTime<Utc> {
    start() + TimeDelta::hours(1) + time
}

#[tokio::test]
async fn of_many_processes_one_tells_each_step() {
    let pool = support::database().await;
    let settings =
        settings(", group_wait: 5m, repeat_interval: 2h, escalate: [{after: 30m, receivers: [lead]}]");
    judge(&pool, &settings, 1, 0.3).await;
    assert_eq!(occasions(&outbox_messages(&pool).await), []);
    let steps: [(Clock, usize); 5] = [
        (|| after(TimeDelta::minutes(4)), 0),
        (|| after(TimeDelta::minutes(5)), 1),
        (|| after(TimeDelta::minutes(34)), 0),
        (|| after(TimeDelta::minutes(35)), 1),
        (|| after(TimeDelta::minutes(125)), 2),
    ];
    for (clock, expected) in steps {
        let processes: Vec<Grouping> = (0..6).map(|_| process(&pool, &settings, clock)).collect();
        let looks = processes.iter().map(Grouping::look_due);
        let told: usize =
            futures_util::future::join_all(looks).await.into_iter().map(|look| look.unwrap()).sum();
        assert_eq!(told, expected, "{}", clock());
    }
    let expected = [
        told("oncall", Occasion::Began),
        told("lead", Occasion::Escalated),
        told("lead", Occasion::Repeated),
        told("oncall", Occasion::Repeated),
    ];
    let mut found = occasions(&outbox_messages(&pool).await);
    found[2..].sort_by(|left, right| left.0.cmp(&right.0));
    assert_eq!(found, expected);
    let messages = outbox_messages(&pool).await;
    assert!(messages.iter().all(|message| message.group == messages[0].group), "one episode, one key");
}

#[tokio::test]
async fn a_process_that_is_killed_while_it_tells_has_told_nothing() {
    let pool = support::database().await;
    let settings = settings(", group_wait: 5m");
    judge(&pool, &settings, 1, 0.3).await;
    let clock = || after(TimeDelta::minutes(5));
    let before = alert_group::list(&pool, None).await.unwrap();
    let mut transaction = pool.begin().await.unwrap();
    let messages = grouping::tell(&mut transaction, &settings, &model(), clock()).await.unwrap();
    assert_eq!(messages, 1);
    // Others wait for the one that tells; it dies before its commit.
    let other = process(&pool, &settings, clock);
    let (killed, told) = tokio::join!(
        async {
            let own = sqlx::query_scalar::<_, i32>("select pg_backend_pid()").fetch_one(&mut *transaction);
            let own = own.await.unwrap();
            sqlx::query("select pg_terminate_backend($1)").bind(own).execute(&pool).await.unwrap();
        },
        other.look_due()
    );
    let () = killed;
    assert_eq!(told.unwrap(), 1);
    drop(transaction);
    assert_eq!(occasions(&outbox_messages(&pool).await), [told_by_oncall()]);
    let group = alert_group::list(&pool, None).await.unwrap().remove(0);
    assert_eq!((&group.key, group.tellings), (&before[0].key, 1));
}

fn told_by_oncall() -> (String, Occasion) {
    told("oncall", Occasion::Began)
}

#[tokio::test]
async fn a_restart_keeps_timers_and_takes_up_other_routes() {
    let pool = support::database().await;
    judge(&pool, &settings(""), 1, 0.3).await;
    let key = outbox_messages(&pool).await[0].group.key.clone();
    // The next process has the same routes, a day later.
    let run = async |settings: &Settings, messages: usize| {
        let shutdown = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let next = process(&pool, settings, || after(TimeDelta::hours(24)));
        tasks.spawn(next.run(shutdown.clone()));
        support::wait_for("the messages", || async {
            (outbox_messages(&pool).await.len() >= messages).then_some(())
        })
        .await;
        shutdown.cancel();
        tasks.join_next().await.unwrap().unwrap().unwrap();
        outbox_messages(&pool).await
    };
    let messages = run(&settings(""), 2).await;
    assert_eq!(occasions(&messages), [told_by_oncall(), told("oncall", Occasion::Repeated)]);
    assert!(messages.iter().all(|message| message.group.key == key));
    // And one whose routes group by more: what was open is closed, and opened anew.
    let messages = run(&settings(", group_by: [model, rule]"), 4).await;
    let mut ends: Vec<_> = messages.iter().filter(|m| m.occasion == Occasion::Resolved).collect();
    assert_eq!(ends.pop().unwrap().group.key, key);
    assert_eq!(messages.iter().filter(|m| m.occasion == Occasion::Began).count(), 2);
    assert_eq!(alert_group::list(&pool, None).await.unwrap().len(), 1);
}

#[tokio::test]
async fn silences_and_acknowledgements_are_kept_and_seen_by_every_process() {
    let pool = support::database().await;
    let settings = settings("");
    let wanted = Silence {
        id: Uuid::from_u128(0xabcd),
        matchers: vec![Matcher::parse("subject=~\"te.*\"").unwrap()],
        starts_at: start(),
        ends_at: after(TimeDelta::hours(10)),
        by: "ann".into(),
        reason: "deploy".into(),
    };
    let stored = silence::insert(&pool, wanted.clone(), start()).await.unwrap();
    assert_eq!(stored, wanted);
    assert_eq!(silence::standing(&pool, start()).await.unwrap(), std::slice::from_ref(&wanted));
    judge(&pool, &settings, 1, 0.3).await;
    assert_eq!(occasions(&outbox_messages(&pool).await), []);
    let view = alert_life::list(&pool, None, false).await.unwrap().remove(0);
    assert!(!view.told);
    assert!(view.suppressed.unwrap().sentence().contains("silenced by ann"));

    // Ended early, the alert is told with the next look.
    let soon = || after(TimeDelta::minutes(1));
    assert_eq!(process(&pool, &settings, soon).look_due().await.unwrap(), 0);
    silence::end(&pool, "00000000-0000-0000-0000-00000000abcd", soon()).await.unwrap();
    assert!(silence::end(&pool, "00000000", soon()).await.unwrap_err().to_string().contains("still holds"));
    assert_eq!(process(&pool, &settings, soon).look_due().await.unwrap(), 1);
    assert_eq!(silence::latest(&pool, 5).await.unwrap()[0].ends_at, soon(), "it stays as history");

    // Taken on, it is not repeated; another episode is.
    let fingerprint = view.alert.fingerprint;
    let acked = alert_ack::acknowledge(&pool, &fingerprint[..8], "bob", "on it", soon()).await.unwrap();
    assert_eq!(acked.1.by, "bob");
    let two_days = || after(TimeDelta::hours(48));
    assert_eq!(process(&pool, &settings, two_days).look_due().await.unwrap(), 0);
    let view = alert_life::list(&pool, Some(&model()), false).await.unwrap().remove(0);
    assert_eq!(view.acknowledged.unwrap().reason, "on it");
    judge(&pool, &settings, 50, 0.0).await;
    for (id, problem) in [
        (&fingerprint[..8], "is not firing"),
        ("00000000", "there is no alert or group"),
        ("%", "there is no alert or group"),
        ("a", "there is no alert or group"),
    ] {
        let error = alert_ack::acknowledge(&pool, id, "bob", "again", soon()).await.unwrap_err();
        assert!(error.to_string().contains(problem), "{error}");
    }
    judge(&pool, &settings, 51, 0.3).await;
    let next_day = || after(TimeDelta::hours(51 + 24));
    assert_eq!(process(&pool, &settings, next_day).look_due().await.unwrap(), 1);

    // Its life has all of it.
    let life = alert_life::show(&pool, &fingerprint[..12]).await.unwrap().remove(0);
    let words: Vec<_> = life.transitions.iter().map(|t| format!("{}>{}", t.from, t.to)).collect();
    assert_eq!(words, ["inactive>firing", "firing>resolved", "resolved>firing"]);
    let events = serde_json::to_value(&life.events).unwrap();
    let what: Vec<_> = events
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["occasion"].as_str().or(event["what"].as_str()).unwrap().to_owned())
        .collect();
    let expected = ["suppressed", "released", "began", "acknowledged", "resolved", "began", "repeated"];
    let mut sorted = what.clone();
    sorted.sort();
    let mut wanted = expected.map(str::to_owned);
    wanted.sort();
    assert_eq!(sorted, wanted, "{events}");
    let began = life.events.iter().find(|event| !event.deliveries.is_empty()).unwrap();
    assert_eq!(
        (began.deliveries[0].receiver.as_str(), began.deliveries[0].state.as_str()),
        ("oncall", "queued")
    );
}

#[tokio::test]
async fn old_history_is_dropped_and_what_holds_is_kept() {
    let pool = support::database().await;
    judge(&pool, &settings(""), 1, 0.3).await;
    let fingerprint = alert_life::list(&pool, None, false).await.unwrap().remove(0).alert.fingerprint;
    alert_ack::acknowledge(&pool, &fingerprint, "ann", "on it", start()).await.unwrap();
    assert_eq!(alert_event::expire(&pool, start()).await.unwrap(), 0);
    // Told and acknowledged are events; the acknowledgement itself holds as long as the alert fires.
    let later = after(TimeDelta::hours(1));
    assert_eq!(alert_event::expire(&pool, later).await.unwrap(), 2);
    assert!(alert_life::list(&pool, None, false).await.unwrap()[0].acknowledged.is_some());
    judge(&pool, &settings(""), 2, 0.0).await;
    assert_eq!(alert_event::expire(&pool, later).await.unwrap(), 1);
}

#[tokio::test]
async fn there_is_a_limit_to_silences() {
    let pool = support::database().await;
    let silence = |number: u128| Silence {
        id: Uuid::from_u128(number),
        matchers: vec![Matcher::parse("model=m").unwrap()],
        starts_at: start(),
        ends_at: after(TimeDelta::hours(10)),
        by: "ann".into(),
        reason: "x".into(),
    };
    sqlx::query(
        "insert into silence select gen_random_uuid(), array['model=m'], $1, $2, 'ann', 'x' from generate_series(1, $3)",
    )
    .bind(start())
    .bind(after(TimeDelta::hours(10)))
    .bind(i32::try_from(silence::MAX_SILENCES).unwrap())
    .execute(&pool)
    .await
    .unwrap();
    let refused = silence::insert(&pool, silence(1), start()).await.unwrap_err();
    assert!(refused.to_string().contains("already 1000 silences"), "{refused}");
    let later = after(TimeDelta::hours(10));
    let next = Silence { ends_at: later + TimeDelta::hours(1), ..silence(1) };
    silence::insert(&pool, next, later).await.unwrap();
}

/// Runs `driftline` in `folder`: exit status, what it printed, what it noted.
async fn driftline(folder: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let ended = Command::new(env!("CARGO_BIN_EXE_driftline"))
        .args(arguments)
        .current_dir(folder)
        .output()
        .await
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (ended.status.code(), text(&ended.stdout), text(&ended.stderr))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::too_many_lines, reason = "one walk, told in its order")]
async fn people_see_and_answer_alerts() {
    let folder = tempfile::tempdir().unwrap();
    let (pool, url) = support::database_with_url().await;
    let (hook, hook_url) = hook(&[]).await;
    let settings = format!(
        "listen: {{proxy: 127.0.0.1:0, admin: 127.0.0.1:0}}\ndatabase: {{url: '{url}'}}\n\
         receivers: {{oncall: {{webhook: {{url: '{hook_url}', allow_private: true}}}}}}\nmodels: [{{name: bike-demand}}]\n"
    );
    std::fs::write(folder.path().join("driftline.yaml"), &settings).unwrap();
    let mut settings = Settings::parse(&settings, "driftline.yaml").unwrap();
    settings.resolve_paths(folder.path());
    judge(&pool, &settings, 1, 0.3).await;

    // The sidecar starts long after: what was not delivered is, and what still fires is said again.
    let shutdown = CancellationToken::new();
    let sidecar = App::build(settings).await.unwrap();
    let admin = format!("http://{}", sidecar.admin_address());
    let mut running = JoinSet::new();
    running.spawn(sidecar.run(shutdown.clone().cancelled_owned()));
    let messages = support::wait_for("two messages", || async {
        let got = hook.got.lock().unwrap().clone();
        (got.len() >= 2).then_some(got)
    })
    .await;
    let bodies: Vec<Wire> = messages.iter().map(|(_, body)| serde_json::from_slice(body).unwrap()).collect();
    let mut occasions: Vec<&str> =
        bodies.iter().map(|body| body["data"]["occasion"].as_str().unwrap()).collect();
    occasions.sort_unstable();
    assert_eq!(occasions, ["began", "repeated"]);

    let http = reqwest::Client::new();
    let get = async |path: &str| {
        let answer = http.get(format!("{admin}{path}")).send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Wire>().await.unwrap())
    };
    let post = async |path: &str, body: Wire| {
        let answer = http.post(format!("{admin}{path}")).json(&body).send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Wire>().await.unwrap())
    };
    let (status, listed) = get("/v1/alerts").await;
    assert_eq!((status, listed["alerts"].as_array().unwrap().len()), (200, 1), "{listed}");
    let alert = &listed["alerts"][0];
    assert_eq!((&alert["subject"], &alert["told"]), (&json!("temp"), &json!(true)), "{listed}");
    assert_eq!(get("/v1/models/bike-demand/alerts").await.1, listed);
    assert_eq!(get("/v1/models/nobody/alerts").await.0, 404);
    assert_eq!(get("/v1/alerts/ffffffff").await.0, 404);
    let id = alert["fingerprint"].as_str().unwrap().to_owned();
    let (status, shown) = get(&format!("/v1/alerts/{id}")).await;
    assert_eq!((status, &shown["alerts"][0]["transitions"][0]["to"]), (200, &json!("firing")), "{shown}");

    let ack = format!("/v1/alerts/{}/ack", alert["groups"][0].as_str().unwrap());
    for (body, said) in [
        (json!({"by": "ann"}), "reason"),
        (json!({"by": "", "reason": "x"}), "`by` is needed"),
        (json!({"by": "ann", "reason": "x", "who": 1}), "who"),
    ] {
        let (status, problem) = post(&ack, body).await;
        assert!(status == 400 && problem["title"].as_str().unwrap().contains(said), "{problem}");
    }
    let (status, acked) = post(&ack, json!({"by": "ann", "reason": "on it"})).await;
    assert_eq!((status, &acked["ack"]["by"]), (200, &json!("ann")), "{acked}");
    assert_eq!(get("/v1/alerts").await.1["alerts"][0]["acknowledged"]["reason"], "on it");

    let until = "2100-01-01T00:00:00Z";
    for (body, said) in [
        (json!({"matchers": ["model"], "ends_at": until, "by": "ann", "reason": "x"}), "expected a matcher"),
        (json!({"matchers": [], "ends_at": until, "by": "ann", "reason": "x"}), "1 to 32 matchers"),
        (
            json!({"matchers": ["model=m"], "ends_at": "2001-01-01T00:00:00Z", "by": "a", "reason": "x"}),
            "in the future",
        ),
    ] {
        let (status, problem) = post("/v1/silences", body).await;
        assert!(status == 400 && problem["title"].as_str().unwrap().contains(said), "{problem}");
    }
    let wanted =
        json!({"matchers": ["model=\"bike-demand\""], "ends_at": until, "by": "ann", "reason": "deploy"});
    let (status, silenced) = post("/v1/silences", wanted).await;
    assert_eq!(status, 201, "{silenced}");
    let silence = silenced["silence"]["id"].as_str().unwrap();
    assert_eq!(get("/v1/silences").await.1["silences"][0]["id"], silence);
    let end = async || {
        http.delete(format!("{admin}/v1/silences/{silence}")).send().await.unwrap().status().as_u16()
    };
    assert_eq!((end().await, end().await), (200, 404));
    assert_eq!(get("/v1/silences").await.1["silences"], json!([]));
    assert_eq!(get("/v1/silences?all=true").await.1["silences"].as_array().unwrap().len(), 1);
    shutdown.cancel();
    running.join_next().await.unwrap().unwrap().unwrap();

    // The same at the command line.
    let run = async |arguments: &[&str]| {
        let (status, printed, noted) = driftline(folder.path(), &[&["alerts"], arguments].concat()).await;
        (status, printed + &noted)
    };
    let (status, printed) = run(&["list"]).await;
    assert_eq!(status, Some(1), "{printed}");
    assert!(printed.contains(&id[..12]) && printed.contains("acknowledged by ann: on it"), "{printed}");
    let (status, printed) = run(&["show", &id[..12]]).await;
    assert_eq!(status, Some(0), "{printed}");
    for part in [
        "inactive -> firing: temp drifted",
        "| alert: FeatureDrift",
        "began: oncall",
        "sent 20",
        "by ann: on it",
    ] {
        assert!(printed.contains(part), "{part}: {printed}");
    }
    let word = ["--by", "bob", "--reason", "mine"];
    let (status, printed) = run(&[&["ack", &id[..12]], &word[..]].concat()).await;
    assert_eq!(status, Some(0), "{printed}");
    assert!(printed.contains("bob has taken FeatureDrift of temp on"), "{printed}");
    assert_eq!(run(&[&["ack", "00000000"], &word[..]].concat()).await.0, Some(2));
    let silence = ["silence", "model=bike-demand", "subject=~te.+", "--for", "2h"];
    let (status, printed) = run(&[&silence[..], &word[..]].concat()).await;
    assert_eq!(status, Some(0), "{printed}");
    let ended = printed.split_whitespace().next().unwrap().to_owned();
    let (_, printed) = run(&["silences"]).await;
    assert!(
        printed.contains("model=\"bike-demand\" subject=~\"te.+\"") && printed.contains("holds"),
        "{printed}"
    );
    assert_eq!(run(&["unsilence", &ended]).await.0, Some(0));
    assert_eq!(run(&["unsilence", &ended]).await.0, Some(2));
    for wrong in [&["silence", "model", "--for", "2h"][..], &["silence", "model=m", "--for", "long"]] {
        assert_eq!(run(&[wrong, &word[..]].concat()).await.0, Some(2));
    }
    assert_eq!(store::alert::list(&pool, None).await.unwrap().len(), 1);
}
