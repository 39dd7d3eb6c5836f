//! Every kind of receiver against servers that are real, slow, hostile or gone.

mod alertmanager;
mod command;
mod email;
mod hook;
mod http;
mod killed;
mod order;

use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, TimeDelta, Utc};
use driftline::alert::{Message, Occasion, Status, sample};
use driftline::config::Settings;
use driftline::model::ModelName;
use driftline::notify::Receivers;
use driftline::store::{PgPool, outbox};
use uuid::Uuid;

/// The receivers of a settings text.
fn receivers(settings: &str) -> Receivers {
    rustls::crypto::ring::default_provider().install_default().ok();
    Receivers::build(&Settings::parse(settings, "driftline.yaml").unwrap()).unwrap()
}

fn start() -> DateTime<Utc> {
    DateTime::from_timestamp(1_750_000_000, 0).unwrap()
}

/// A message of the group `key`; `number` makes its id.
fn message(receiver: &str, key: &str, number: u128, occasion: Occasion) -> Message {
    let model = ModelName::parse("bike-demand").unwrap();
    let mut message = sample(receiver, &model, Uuid::from_u128(number), start());
    key.clone_into(&mut message.group.key);
    message.occasion = occasion;
    message.summary = format!("temp drifted, message {number}");
    if occasion == Occasion::Resolved {
        message.status = Status::Resolved;
        message.alerts.iter_mut().for_each(|notice| notice.status = Status::Resolved);
    }
    message
}

/// Writes messages into the outbox, as the transaction of a verdict does.
async fn queue(pool: &PgPool, messages: &[Message]) {
    let mut transaction = pool.begin().await.unwrap();
    outbox::insert(&mut transaction, messages, start()).await.unwrap();
    transaction.commit().await.unwrap();
}

/// Why the newest message was not delivered.
async fn last_error(pool: &PgPool) -> String {
    outbox::list(pool, 1).await.unwrap().remove(0).last_error.unwrap()
}

/// States of all messages with their attempts, in the order of their ids.
async fn states(pool: &PgPool) -> Vec<(String, i32)> {
    let mut rows = outbox::list(pool, 100).await.unwrap();
    rows.sort_by_key(|row| row.id);
    rows.into_iter().map(|row| (row.state, row.attempt)).collect()
}

fn later() -> DateTime<Utc> {
    start() + TimeDelta::days(1)
}

/// A clock that a test sets; each test has one of its own.
struct Clock(AtomicI64);

impl Clock {
    const fn new() -> Self {
        Self(AtomicI64::new(1_750_000_000))
    }

    fn now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp(self.0.load(Ordering::Relaxed), 0).unwrap()
    }

    fn set(&self, to: DateTime<Utc>) {
        self.0.store(to.timestamp() + 1, Ordering::Relaxed);
    }
}
