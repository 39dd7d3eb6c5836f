//! Alerts between windows, and every change of their state.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value as Json;
use sqlx::{PgConnection, PgExecutor, Row};
use uuid::Uuid;

use super::StoreError;
use crate::alert::{AlertState, Evaluation, StoredAlert, Transition};
use crate::model::ModelName;

/// The alerts of `model`, locked until the transaction ends.
///
/// A lock on the model comes first, so that two evaluators of one model queue up even while it has no alert yet.
///
/// # Errors
///
/// [`StoreError::Corrupt`] when a row cannot be read back; [`StoreError::Database`] otherwise.
pub async fn load_for_update(
    transaction: &mut PgConnection,
    model: &ModelName,
) -> Result<Vec<StoredAlert>, StoreError> {
    sqlx::query("select pg_advisory_xact_lock(hashtextextended('driftline.alert.' || $1, 0))")
        .bind(model.as_str())
        .execute(&mut *transaction)
        .await?;
    let rows = sqlx::query(
        "select fingerprint, content from alert where model = $1 order by fingerprint for update",
    )
    .bind(model.as_str())
    .fetch_all(transaction)
    .await?;
    rows.into_iter().map(|row| parse(row.get("fingerprint"), row.get("content"))).collect()
}

fn parse(fingerprint: String, content: Json) -> Result<StoredAlert, StoreError> {
    serde_json::from_value(content).map_err(|error| StoreError::Corrupt {
        table: "alert",
        key: fingerprint,
        problem: error.to_string(),
    })
}

/// Writes the states and transitions of one evaluation; messages and runs are written by their own tables.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn save(transaction: &mut PgConnection, evaluation: &Evaluation) -> Result<(), StoreError> {
    let (gone, kept): (Vec<&StoredAlert>, Vec<_>) =
        evaluation.alerts.iter().partition(|alert| alert.state == AlertState::Inactive);
    if !gone.is_empty() {
        let fingerprints: Vec<&str> = gone.iter().map(|alert| alert.fingerprint.as_str()).collect();
        sqlx::query("delete from alert where fingerprint = any($1)")
            .bind(fingerprints)
            .execute(&mut *transaction)
            .await?;
    }
    if !kept.is_empty() {
        let column = |of: fn(&StoredAlert) -> String| kept.iter().map(|alert| of(alert)).collect::<Vec<_>>();
        let contents = kept
            .iter()
            .map(|alert| {
                serde_json::to_value(alert).map_err(|error| unwritable("alert", &alert.fingerprint, &error))
            })
            .collect::<Result<Vec<_>, _>>()?;
        sqlx::query(
            "insert into alert (fingerprint, model, rule, subject, state, content)
             select * from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::jsonb[])
             on conflict (fingerprint) do update
             set state = excluded.state, content = excluded.content, updated_at = now()",
        )
        .bind(column(|alert| alert.fingerprint.clone()))
        .bind(column(|alert| alert.model.to_string()))
        .bind(column(|alert| alert.rule.clone()))
        .bind(column(|alert| alert.subject.clone()))
        .bind(column(|alert| alert.state.as_str().to_owned()))
        .bind(contents)
        .execute(&mut *transaction)
        .await?;
    }
    save_transitions(transaction, &evaluation.transitions).await
}

async fn save_transitions(
    transaction: &mut PgConnection,
    transitions: &[Transition],
) -> Result<(), StoreError> {
    if transitions.is_empty() {
        return Ok(());
    }
    let text = |of: fn(&Transition) -> String| transitions.iter().map(of).collect::<Vec<_>>();
    let evidence = transitions
        .iter()
        .map(|transition| {
            serde_json::to_value(&transition.evidence)
                .map_err(|error| unwritable("alert_transition", &transition.fingerprint, &error))
        })
        .collect::<Result<Vec<_>, _>>()?;
    sqlx::query(
        "insert into alert_transition
             (id, fingerprint, model, rule, subject, from_state, to_state, at, report, evidence)
         select * from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
                              $8::timestamptz[], $9::uuid[], $10::jsonb[])",
    )
    .bind(transitions.iter().map(|transition| transition.id).collect::<Vec<Uuid>>())
    .bind(text(|transition| transition.fingerprint.clone()))
    .bind(text(|transition| transition.model.to_string()))
    .bind(text(|transition| transition.rule.clone()))
    .bind(text(|transition| transition.subject.clone()))
    .bind(text(|transition| transition.from.to_owned()))
    .bind(text(|transition| transition.to.to_owned()))
    .bind(transitions.iter().map(|transition| transition.at).collect::<Vec<DateTime<Utc>>>())
    .bind(transitions.iter().map(|transition| transition.report).collect::<Vec<Option<Uuid>>>())
    .bind(evidence)
    .execute(transaction)
    .await?;
    Ok(())
}

pub(super) fn unwritable(table: &'static str, key: &str, error: &serde_json::Error) -> StoreError {
    StoreError::Corrupt { table, key: key.to_owned(), problem: error.to_string() }
}

/// Alerts of `model`, or of every model, that are not inactive: firing first, then the latest change first.
///
/// # Errors
///
/// [`StoreError::Corrupt`] when a row cannot be read back; [`StoreError::Database`] otherwise.
pub async fn list(
    db: impl PgExecutor<'_>,
    model: Option<&ModelName>,
) -> Result<Vec<StoredAlert>, StoreError> {
    let rows = sqlx::query(
        "select fingerprint, content from alert where $1::text is null or model = $1
         order by array_position(array['firing', 'pending', 'resolved'], state), updated_at desc, rule, subject",
    )
    .bind(model.map(ModelName::as_str))
    .fetch_all(db)
    .await?;
    rows.into_iter().map(|row| parse(row.get("fingerprint"), row.get("content"))).collect()
}

/// Alerts of `model`, or of every model, that fire, and those of `fingerprints` whatever their state.
///
/// # Errors
///
/// [`StoreError::Corrupt`] when a row cannot be read back; [`StoreError::Database`] otherwise.
pub async fn firing_or(
    db: impl PgExecutor<'_>,
    model: Option<&ModelName>,
    fingerprints: &[String],
) -> Result<Vec<StoredAlert>, StoreError> {
    let rows = sqlx::query(
        "select fingerprint, content from alert
         where (state = 'firing' and ($1::text is null or model = $1)) or fingerprint = any($2)
         order by fingerprint",
    )
    .bind(model.map(ModelName::as_str))
    .bind(fingerprints)
    .fetch_all(db)
    .await?;
    rows.into_iter().map(|row| parse(row.get("fingerprint"), row.get("content"))).collect()
}

/// The alerts whose fingerprint begins with `prefix`, at most two.
///
/// # Errors
///
/// [`StoreError::Corrupt`] when a row cannot be read back; [`StoreError::Database`] otherwise.
pub(super) async fn with_prefix(
    db: impl PgExecutor<'_>,
    prefix: &str,
) -> Result<Vec<StoredAlert>, StoreError> {
    let rows = sqlx::query(
        "select fingerprint, content from alert where starts_with(fingerprint, $1) order by fingerprint limit 2",
    )
    .bind(prefix)
    .fetch_all(db)
    .await?;
    rows.into_iter().map(|row| parse(row.get("fingerprint"), row.get("content"))).collect()
}

/// How many alerts of one rule are in one state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StateCount {
    /// The model.
    pub model: String,
    /// The rule.
    pub rule: String,
    /// `pending`, `firing` or `resolved`.
    pub state: String,
    /// How many.
    pub alerts: i64,
}

/// Alerts by model, rule and state, for the metrics.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn counts(db: impl PgExecutor<'_>) -> Result<Vec<StateCount>, StoreError> {
    let rows = sqlx::query(
        "select model, rule, state, count(*) as alerts from alert group by model, rule, state
         order by model, rule, state",
    )
    .fetch_all(db)
    .await?;
    let count = |row: &sqlx::postgres::PgRow| StateCount {
        model: row.get("model"),
        rule: row.get("rule"),
        state: row.get("state"),
        alerts: row.get("alerts"),
    };
    Ok(rows.iter().map(count).collect())
}

/// Every transition of the alert `fingerprint`, oldest first; of very many, the newest `limit`.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn life(
    db: impl PgExecutor<'_>,
    fingerprint: &str,
    limit: i64,
) -> Result<Vec<TransitionRow>, StoreError> {
    let rows = sqlx::query(
        "select id, model, rule, subject, from_state, to_state, at, report, evidence from alert_transition
         where fingerprint = $1 order by at desc, id desc limit $2",
    )
    .bind(fingerprint)
    .bind(limit)
    .fetch_all(db)
    .await?;
    Ok(rows.iter().rev().map(transition).collect())
}

fn transition(row: &sqlx::postgres::PgRow) -> TransitionRow {
    TransitionRow {
        id: row.get("id"),
        model: row.get("model"),
        rule: row.get("rule"),
        subject: row.get("subject"),
        from: row.get("from_state"),
        to: row.get("to_state"),
        at: row.get("at"),
        report: row.get("report"),
        evidence: row.get("evidence"),
    }
}

/// A transition as it is stored.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TransitionRow {
    /// Identifies the transition.
    pub id: Uuid,
    /// The model.
    pub model: String,
    /// The rule.
    pub rule: String,
    /// The subject.
    pub subject: String,
    /// State before.
    pub from: String,
    /// State after.
    pub to: String,
    /// Event time: the end of the window.
    pub at: DateTime<Utc>,
    /// The report it rests on.
    pub report: Option<Uuid>,
    /// What it rests on; see [`crate::alert::Evidence`].
    pub evidence: Json,
}

/// The newest `limit` transitions of `model`, or of every model, newest first.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn transitions(
    db: impl PgExecutor<'_>,
    model: Option<&ModelName>,
    limit: i64,
) -> Result<Vec<TransitionRow>, StoreError> {
    let rows = sqlx::query(
        "select id, model, rule, subject, from_state, to_state, at, report, evidence from alert_transition
         where $1::text is null or model = $1 order by at desc, id desc limit $2",
    )
    .bind(model.map(ModelName::as_str))
    .bind(limit)
    .fetch_all(db)
    .await?;
    Ok(rows.iter().map(transition).collect())
}
