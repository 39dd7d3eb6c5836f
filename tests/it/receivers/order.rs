//! Which message goes out when: in the order of its group, within the receiver's limit, and again when asked for.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use driftline::alert::Occasion;
use driftline::store::outbox;
use driftline::tasks::notifier::{Delivery, deliver_next};

use super::hook::{Answer, Hook};
use super::{Clock, later, message, queue, receivers, start, states};
use crate::support;

fn failing(status: u16) -> Answer {
    Answer::Plain(status, Vec::new(), String::new())
}

fn webhook(hook: &Hook, more: &str) -> driftline::notify::Receivers {
    let url = hook.url("/");
    receivers(&format!("receivers: {{hook: {{webhook: {{url: '{url}', allow_private: true}}{more}}}}}"))
}

fn ids(hook: &Hook) -> Vec<String> {
    hook.got().iter().map(|got| got.header("webhook-id").trim_start_matches(['0', '-']).to_owned()).collect()
}

#[tokio::test]
async fn the_end_of_an_alert_never_overtakes_its_beginning() {
    static CLOCK: Clock = Clock::new();
    let hook = Hook::start(&[failing(503)]).await;
    let receivers = webhook(&hook, "");
    let pool = support::database().await;
    queue(&pool, &[message("hook", "a", 1, Occasion::Began)]).await;
    queue(&pool, &[message("hook", "a", 2, Occasion::Resolved), message("hook", "b", 3, Occasion::Began)])
        .await;
    let deliver = || deliver_next(&pool, &receivers, "hook", || CLOCK.now());
    let Some(Delivery::Retry(next)) = deliver().await.unwrap() else { panic!("the first did not fail") };
    assert_eq!(deliver().await.unwrap(), Some(Delivery::Sent), "another group does not wait");
    assert_eq!(deliver().await.unwrap(), None, "the end waits for the beginning");
    assert_eq!(outbox::due_receivers(&pool, CLOCK.now(), &[]).await.unwrap(), Vec::<String>::new());
    CLOCK.set(next);
    for _ in 0..2 {
        assert_eq!(deliver().await.unwrap(), Some(Delivery::Sent));
    }
    assert_eq!(ids(&hook), ["1", "3", "1", "2"]);
}

#[tokio::test]
async fn a_message_that_is_being_sent_holds_back_the_next_of_its_group() {
    let pool = support::database().await;
    queue(&pool, &[message("hook", "a", 1, Occasion::Began), message("hook", "a", 2, Occasion::Resolved)])
        .await;
    let claim = || outbox::claim(&pool, "hook", later(), Duration::from_mins(2));
    let first = claim().await.unwrap().unwrap();
    assert_eq!(claim().await.unwrap(), None);
    outbox::mark_failed(&pool, &first, "refused", true, None, later()).await.unwrap();
    let second = claim().await.unwrap().unwrap();
    assert_eq!(second.message.unwrap().occasion, Occasion::Resolved, "what was given up holds nothing back");
}

#[tokio::test]
async fn a_receiver_gets_no_more_than_its_limit() {
    static CLOCK: Clock = Clock::new();
    let hook = Hook::start(&[]).await;
    let receivers = webhook(&hook, ", limit: 2 per 1h");
    let pool = support::database().await;
    let messages: Vec<_> =
        (1..=3).map(|number| message("hook", &number.to_string(), number, Occasion::Began)).collect();
    queue(&pool, &messages).await;
    let deliver = || deliver_next(&pool, &receivers, "hook", || CLOCK.now());
    let began = CLOCK.now();
    for _ in 0..2 {
        assert_eq!(deliver().await.unwrap(), Some(Delivery::Sent));
    }
    let Some(Delivery::Held(until)) = deliver().await.unwrap() else { panic!("not held") };
    assert_eq!(until, began + TimeDelta::hours(1));
    assert_eq!(hook.got().len(), 2);
    CLOCK.set(until);
    assert_eq!(deliver().await.unwrap(), Some(Delivery::Sent));
}

#[tokio::test]
async fn what_was_given_up_is_tried_again_unless_it_was_overtaken() {
    let hook = Hook::start(&[failing(400), failing(400), failing(400)]).await;
    let receivers = webhook(&hook, "");
    let pool = support::database().await;
    queue(&pool, &[message("hook", "a", 1, Occasion::Began), message("hook", "b", 2, Occasion::Began)]).await;
    queue(&pool, &[message("hook", "b", 3, Occasion::Changed), message("hook", "b", 4, Occasion::Resolved)])
        .await;
    let deliver = || deliver_next(&pool, &receivers, "hook", later);
    for expected in [Delivery::Dead, Delivery::Dead, Delivery::Dead, Delivery::Sent] {
        assert_eq!(deliver().await.unwrap(), Some(expected));
    }
    assert_eq!(outbox::retry_dead(&pool, "other", later()).await.unwrap(), 0);
    assert_eq!(outbox::retry_dead(&pool, "hook", later()).await.unwrap(), 1);
    assert_eq!(deliver().await.unwrap(), Some(Delivery::Sent));
    assert_eq!(ids(&hook), ["1", "2", "3", "4", "1"]);
    let found = states(&pool).await;
    let found: Vec<_> = found.iter().map(|(state, attempt)| (state.as_str(), *attempt)).collect();
    assert_eq!(found, [("sent", 2), ("dead", 1), ("dead", 1), ("sent", 1)]);
}

#[tokio::test]
async fn a_message_that_is_tried_again_has_all_its_attempts() {
    let hook = Hook::start(&[failing(503)]).await;
    let receivers = webhook(&hook, "");
    let pool = support::database().await;
    queue(&pool, &[message("hook", "a", 1, Occasion::Began)]).await;
    sqlx::query("update outbox set state = 'dead', attempt = $1")
        .bind(outbox::MAX_ATTEMPTS)
        .execute(&pool)
        .await
        .unwrap();
    outbox::retry_dead(&pool, "hook", later()).await.unwrap();
    let delivery = deliver_next(&pool, &receivers, "hook", later).await.unwrap();
    let Some(Delivery::Retry(next)) = delivery else { panic!("given up at once: {delivery:?}") };
    assert!((5..=7).contains(&(next - later()).num_seconds()), "the first wait again: {next}");
}

#[tokio::test]
async fn messages_from_before_this_version_are_still_delivered() {
    let hook = Hook::start(&[]).await;
    let receivers = webhook(&hook, "");
    let pool = support::database().await;
    queue(&pool, &[message("hook", "a", 1, Occasion::Began), message("hook", "a", 2, Occasion::Resolved)])
        .await;
    // As written before messages were of groups.
    sqlx::query(
        "update outbox set message = message - 'group' where id = '00000000-0000-0000-0000-000000000001'",
    )
    .execute(&pool)
    .await
    .unwrap();
    let deliver = || deliver_next(&pool, &receivers, "hook", later);
    assert_eq!(deliver().await.unwrap(), Some(Delivery::Dead), "it cannot be read");
    assert_eq!(deliver().await.unwrap(), Some(Delivery::Sent), "and holds nothing back");
}

#[tokio::test]
async fn alerts_that_still_fire_are_known() {
    let pool = support::database().await;
    let mut first = message("prom", "a", 1, Occasion::Began);
    "other".clone_into(&mut first.alerts[1].fingerprint);
    queue(
        &pool,
        &[first, message("prom", "b", 2, Occasion::Began), message("prom", "b", 3, Occasion::Resolved)],
    )
    .await;
    sqlx::query("update outbox set state = 'sent', sent_at = $1").bind(start()).execute(&pool).await.unwrap();
    sqlx::query("insert into model (name) values ('bike-demand')").execute(&pool).await.unwrap();
    sqlx::query(
        "insert into alert (fingerprint, model, rule, subject, state, content)
         values ('test-temperature', 'bike-demand', 'r', 's', 'firing', '{}'),
                ('other', 'bike-demand', 'r', 's', 'resolved', '{}')",
    )
    .execute(&pool)
    .await
    .unwrap();
    let since: DateTime<Utc> = start() - TimeDelta::days(1);
    let standing = outbox::standing(&pool, "prom", since).await.unwrap();
    let found: Vec<_> = standing
        .iter()
        .map(|message| {
            let names: Vec<_> = message.alerts.iter().map(|notice| notice.fingerprint.as_str()).collect();
            (message.group.key.as_str(), names)
        })
        .collect();
    assert_eq!(found, [("a", vec!["test-temperature"])], "not what is over, nor what its group ended");
    assert!(outbox::standing(&pool, "prom", start()).await.unwrap().is_empty(), "nor what is too long ago");
}
