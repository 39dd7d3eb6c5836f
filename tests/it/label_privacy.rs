//! Labels of predictions whose ids and business keys are kept as hashes only, before and after the key changed.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use driftline::config::Settings;
use driftline::decode::events::LabelTarget;
use driftline::model::{Column, ModelName, Value};
use driftline::privacy::{Ids, Keys, Policy, Rules as PrivacyRules};
use driftline::store::captured::{self, CapturedRow, ExchangeIds};
use driftline::store::label::{self, Label, LabelCounts, Rules};
use serde_json::json;
use sqlx::PgPool;

use crate::support::database;

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds)
}

/// Hashes ids and the column `customer` with the first of `keys`.
fn policy(keys: &str) -> Policy {
    let rules = PrivacyRules { hash: vec!["customer".into()], ids: Ids::Hash, ..PrivacyRules::default() };
    Policy::new(&rules, Some(&Keys::parse(keys).unwrap()), b"not used, as there are keys").unwrap()
}

/// What is kept of the rows of one exchange, whose n-th row is of the n-th customer.
fn kept(policy: &Policy, id: &str, customers: &[&str], seconds: i64) -> Vec<CapturedRow> {
    let values = customers.iter().map(|customer| Value::Text((*customer).to_owned())).collect();
    let mut columns = vec![Column { name: "customer".into(), values }];
    policy.apply_to_columns(&mut columns);
    let id = policy.id(id).into_owned();
    let ids =
        Arc::new(ExchangeIds { exchange: id.as_str().into(), rows: customers.len(), others: Vec::new() });
    let rows = columns[0].values.iter().enumerate();
    rows.map(|(row, value)| CapturedRow {
        row_id: if customers.len() == 1 { id.clone() } else { format!("{id}_{row}") },
        event_time: at(seconds),
        ids: Some(Arc::clone(&ids)),
        business_key: captured::business_key(value),
        ..CapturedRow::default()
    })
    .collect()
}

struct Labelled {
    pool: PgPool,
    model: ModelName,
}

impl Labelled {
    async fn new() -> Self {
        let (pool, model) = (database().await, ModelName::parse("m").unwrap());
        driftline::store::model::register(&pool, &model).await.unwrap();
        Self { pool, model }
    }

    async fn insert(&self, rows: &[CapturedRow]) {
        let mut transaction = self.pool.begin().await.unwrap();
        captured::insert(&mut transaction, &self.model, rows).await.unwrap();
        transaction.commit().await.unwrap();
    }

    async fn give(&self, policy: &Policy, target: LabelTarget, value: i64) -> LabelCounts {
        let text = "models: [{name: m, labels: {key: customer}}]";
        let settings = Settings::parse(text, "s.yaml").unwrap();
        let rules = Rules::new(settings.models[0].labels.as_ref(), policy.clone());
        let labels = [Label { target, value: json!(value), labelled_at: at(1000) }];
        let mut transaction = self.pool.begin().await.unwrap();
        let counts = label::upsert(&mut transaction, &self.model, &labels, &rules).await.unwrap();
        transaction.commit().await.unwrap();
        counts
    }

    async fn label_of(&self, row: &str) -> Option<i64> {
        let found: Option<(serde_json::Value,)> = sqlx::query_as("select value from label where row_id = $1")
            .bind(row)
            .fetch_optional(&self.pool)
            .await
            .unwrap();
        found.and_then(|(value,)| value.as_i64())
    }

    /// Everything that was written about labels.
    async fn written(&self) -> String {
        let mut all = String::new();
        for table in ["label", "label_waiting", "label_waiting_name", "exchange_alias", "captured_row"] {
            let query =
                sqlx::AssertSqlSafe(format!("select coalesce(string_agg(t::text, ' '), '') from {table} t"));
            let (rows,): (String,) = sqlx::query_as(query).fetch_one(&self.pool).await.unwrap();
            all += &rows;
        }
        all
    }
}

fn id(id: &str) -> LabelTarget {
    LabelTarget::Id { id: id.into(), row: None }
}

fn key(key: &str, seconds: i64) -> LabelTarget {
    LabelTarget::Key { key: key.into(), at: at(seconds) }
}

#[tokio::test]
async fn labels_find_hashed_predictions_under_every_key() {
    let (old, rotated) =
        (policy("an old key, long enough\n"), policy("a new key, long enough\nan old key, long enough\n"));
    let store = Labelled::new().await;
    let before = kept(&old, "plain-before", &["customer-one"], 10);
    let many = kept(&old, "plain-many", &["customer-two", "customer-three"], 10);
    let after = kept(&rotated, "plain-after", &["customer-four"], 20);
    let rows = [before.as_slice(), &many, &after].concat();
    store.insert(&rows).await;
    for (target, row, value) in [
        (id("plain-before"), &before[0], 1),
        (id("plain-many_1"), &many[1], 2),
        (LabelTarget::Id { id: "plain-many".into(), row: Some(0) }, &many[0], 3),
        (id("plain-after"), &after[0], 4),
    ] {
        let counts = store.give(&rotated, target.clone(), value).await;
        assert_eq!(
            (counts.new, store.label_of(&row.row_id).await),
            (1, Some(value)),
            "{target:?}: {counts:?}"
        );
    }
    let written = store.written().await;
    let by_key = Labelled::new().await;
    by_key.insert(&rows).await;
    for (target, row, value) in [
        (key("customer-one", 30), &before[0], 5),
        (key("customer-three", 30), &many[1], 6),
        (key("customer-four", 30), &after[0], 7),
    ] {
        let counts = by_key.give(&rotated, target.clone(), value).await;
        assert_eq!(
            (counts.new, by_key.label_of(&row.row_id).await),
            (1, Some(value)),
            "{target:?}: {counts:?}"
        );
    }
    let written = written + &by_key.written().await;
    assert!(!written.contains("plain-") && !written.contains("customer-"), "{written}");
    assert!(written.contains("h1:"), "{written}");
}

#[tokio::test]
async fn a_label_that_waits_is_kept_without_its_id() {
    let (old, rotated) =
        (policy("an old key, long enough\n"), policy("a new key, long enough\nan old key, long enough\n"));
    let store = Labelled::new().await;
    // Given by the old key; the predictions arrive under the new one, and the other way round.
    assert_eq!(store.give(&old, id("plain-early"), 1).await.waiting, 1);
    assert_eq!(store.give(&rotated, id("plain-late"), 2).await.waiting, 1);
    assert_eq!(store.give(&rotated, key("customer-early", 30), 3).await.waiting, 1);
    let written = store.written().await;
    assert!(!written.contains("plain-") && !written.contains("customer-"), "{written}");
    let early = kept(&old, "plain-early", &["customer-none"], 10);
    let late = kept(&old, "plain-late", &["customer-none"], 10);
    let by_key = kept(&rotated, "plain-key", &["customer-early"], 20);
    store.insert(&[early.as_slice(), &late, &by_key].concat()).await;
    for (row, value) in [(&early[0], 1), (&late[0], 2), (&by_key[0], 3)] {
        assert_eq!(store.label_of(&row.row_id).await, Some(value), "{}", row.row_id);
    }
}
