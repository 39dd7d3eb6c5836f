//! What changed lately, for whoever watches: reports, alerts, runs and operations, in one look.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgExecutor;

use super::StoreError;

/// Most changes of one look.
const MAX_CHANGES: i64 = 1_000;

/// Something that is not what it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// `report`, `alert`, `run` or `operation`.
    pub kind: String,
    /// The report, the alert's fingerprint, the run, or the operation.
    pub id: String,
    /// The model.
    pub model: String,
    /// The verdict, the state, or the action.
    pub state: String,
    /// When it became so.
    pub at: DateTime<Utc>,
    /// Differs whenever anything of it does.
    #[serde(skip)]
    pub stamp: String,
}

/// Everything that changed within the last `span`, and every run that has not ended, oldest first.
///
/// A transaction may end well after the instant it wrote down, so `span` has to be longer than the pause between looks;
/// whoever looks tells by id and stamp what they have seen.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn recent(db: impl PgExecutor<'_>, span: Duration) -> Result<Vec<Change>, StoreError> {
    let rows: Vec<(String, String, String, String, DateTime<Utc>, String)> = sqlx::query_as(
        "select kind, id, model, state, at, stamp from (
             select 'report' as kind, r.id::text as id, r.model, r.verdict as state, r.created_at as at, '' as stamp
             from model m cross join lateral (
                 select id, model, verdict, created_at from drift_report
                 where model = m.name and created_at > now() - make_interval(secs => $1)
                 order by created_at desc limit 100) r
             union all
             select 'alert', fingerprint, model, state, updated_at, md5(content::text) from alert
             where updated_at > now() - make_interval(secs => $1)
             union all
             select 'run', id::text, model, state, coalesce(finished_at, started_at, created_at),
                    md5(state || progress::text || cancel_requested::text) from training_run
             where state in ('awaiting_approval', 'queued', 'running')
                or greatest(created_at, finished_at) > now() - make_interval(secs => $1)
             union all
             select 'operation', id::text, model, action, at, '' from operation
             where at > now() - make_interval(secs => $1)
         ) as changed order by at, id limit $2",
    )
    .bind(span.as_secs_f64())
    .bind(MAX_CHANGES)
    .fetch_all(db)
    .await?;
    let change = |(kind, id, model, state, at, stamp)| Change { kind, id, model, state, at, stamp };
    Ok(rows.into_iter().map(change).collect())
}
