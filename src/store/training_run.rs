//! The queue of training runs: asked for once per cause, claimed under a lease, every write of a worker fenced.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value as Json;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgExecutor, PgPool, Row};
use thiserror::Error;
use uuid::Uuid;

use super::StoreError;
use super::model_version::{self, Registration};
use super::snapshot::{self, Snapshot};
use crate::model::ModelName;
use crate::retrain::policy::Situation;
use crate::retrain::{RunReason, RunState, TrainingSpec};

/// Workers that may vanish under a run before it is given up.
pub const MAX_LOST_LEASES: i32 = 3;

/// A run as it stands in the table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TrainingRun {
    /// Identifies the run.
    pub id: Uuid,
    /// The model.
    pub model: String,
    /// Where it stands.
    pub state: RunState,
    /// `rule`, `person` or `bootstrap`.
    pub reason_kind: String,
    /// Why it exists.
    pub reason: String,
    /// What it is the one run of.
    pub cause: String,
    /// The frozen specification.
    pub spec: Json,
    /// How often a worker claimed it.
    pub attempt: i32,
    /// How often a worker vanished under it.
    pub lost_leases: i32,
    /// The worker that has or had it.
    pub worker: Option<String>,
    /// Until when the worker may go without a heartbeat.
    pub lease_until: Option<DateTime<Utc>>,
    /// Whether a person asked it to stop.
    pub cancel_requested: bool,
    /// Candidate, epoch, losses, estimated time left.
    pub progress: Json,
    /// How it ended, in a sentence.
    pub outcome: Option<String>,
    /// The version it registered.
    pub version: Option<i64>,
    /// When it was asked for.
    pub created_at: DateTime<Utc>,
    /// When a worker first claimed it.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
}

/// A worker's hold on a run: every write names the attempt, so one that lost its lease changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// The run.
    pub run: Uuid,
    /// The fencing token.
    pub attempt: i32,
}

/// What became of a request for a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enqueued {
    /// It was written down.
    Created(Uuid),
    /// The same cause already has this run.
    SameCause(Uuid),
    /// The model already has this run under way.
    Active(Uuid),
}

/// A step of a run that did not happen.
#[derive(Debug, Error)]
pub enum RunError {
    /// No such run.
    #[error("run {0} does not exist")]
    Unknown(Uuid),
    /// Another worker has the run, or it has ended.
    #[error("the lease of run {0} is lost")]
    LeaseLost(Uuid),
    /// A person asked the run to stop.
    #[error("run {0} was cancelled")]
    Cancelled(Uuid),
    /// The run is in a state that does not allow this.
    #[error("run {run} is {}", state.as_str())]
    State {
        /// The run.
        run: Uuid,
        /// Its state.
        state: RunState,
    },
    /// The model already has a run under way.
    #[error("another run of the model has not ended")]
    Active,
    /// The gate compared with a version that is no longer in production.
    #[error("the version in production changed while the run trained")]
    ProductionMoved,
    /// The database refused or was not reached.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for RunError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(StoreError::Database(error))
    }
}

/// What a heartbeat found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heartbeat {
    /// The lease goes on.
    Held,
    /// The lease goes on, but a person asked the run to stop.
    CancelRequested,
    /// The run belongs to someone else, or has ended.
    Lost,
}

/// Writes a run down in `state`, unless its cause already has one or the model has one under way.
///
/// Call it in the transaction of the verdict, so that both are written or neither is.
///
/// # Errors
///
/// [`StoreError::UnknownModel`] if the model is not registered; [`StoreError::Database`] otherwise.
pub async fn enqueue(
    db: &mut PgConnection,
    spec: &TrainingSpec,
    reason: &RunReason,
    cause: &str,
    state: RunState,
) -> Result<Enqueued, StoreError> {
    let content = serde_json::to_value(spec).map_err(|error| StoreError::Corrupt {
        table: "training_run",
        key: cause.to_owned(),
        problem: error.to_string(),
    })?;
    let created: Option<(Uuid,)> = sqlx::query_as(
        "insert into training_run (id, model, state, reason_kind, reason, cause, spec)
         values ($1, $2, $3, $4, $5, $6, $7) on conflict do nothing returning id",
    )
    .bind(Uuid::now_v7())
    .bind(spec.model.as_str())
    .bind(state.as_str())
    .bind(reason.kind())
    .bind(reason.text())
    .bind(cause)
    .bind(content)
    .fetch_optional(&mut *db)
    .await
    .map_err(|error| StoreError::for_model(&spec.model, error))?;
    if let Some((id,)) = created {
        return Ok(Enqueued::Created(id));
    }
    let (id, is_same_cause): (Uuid, bool) = sqlx::query_as(
        "select id, cause = $2 from training_run
         where cause = $2 or (model = $1 and state in ('awaiting_approval', 'queued', 'running'))
         order by cause = $2 desc limit 1",
    )
    .bind(spec.model.as_str())
    .bind(cause)
    .fetch_one(db)
    .await?;
    Ok(if is_same_cause { Enqueued::SameCause(id) } else { Enqueued::Active(id) })
}

/// What [`crate::retrain::policy::decide`] needs to know; `needs_labels` is false where rows come from a file.
///
/// # Errors
///
/// [`StoreError::Database`] when the query fails.
pub async fn situation(
    db: impl PgExecutor<'_>,
    model: &ModelName,
    cause: &str,
    now: DateTime<Utc>,
    period: Duration,
    needs_labels: bool,
) -> Result<Situation, StoreError> {
    let since = chrono::Duration::from_std(period)
        .ok()
        .and_then(|period| now.checked_sub_signed(period))
        .unwrap_or(DateTime::UNIX_EPOCH);
    let (same_cause, active, last_finished, used, fresh): (
        Option<Uuid>,
        Option<Uuid>,
        Option<DateTime<Utc>>,
        i64,
        i64,
    ) = sqlx::query_as(
        "select (select id from training_run where cause = $2),
                (select id from training_run
                 where model = $1 and state in ('awaiting_approval', 'queued', 'running')),
                (select max(finished_at) from training_run
                 where model = $1 and started_at is not null and reason_kind <> 'bootstrap'),
                (select count(*) from training_run
                 where model = $1 and reason_kind = 'rule' and state <> 'suggested' and created_at > $3),
                (select count(*) from label where model = $1 and created_at > coalesce(
                    (select max(started_at) from training_run where model = $1), '-infinity'))",
    )
    .bind(model.as_str())
    .bind(cause)
    .bind(since)
    .fetch_one(db)
    .await?;
    Ok(Situation {
        now,
        same_cause,
        active,
        last_finished,
        runs_in_period: u32::try_from(used).unwrap_or(u32::MAX),
        fresh_labels: needs_labels.then_some(fresh.unsigned_abs()),
    })
}

/// Claims the oldest run that is queued or whose worker has vanished; none when there is nothing to do.
///
/// A run under which [`MAX_LOST_LEASES`] workers have vanished ends `failed`, one that was asked to stop and
/// whose worker has vanished ends `cancelled`.
///
/// # Errors
///
/// [`StoreError::Database`] when a query fails.
pub async fn claim(
    db: &PgPool,
    worker: &str,
    lease: Duration,
) -> Result<Option<(Claim, TrainingRun)>, StoreError> {
    sqlx::query(
        "update training_run
         set state = case when cancel_requested then 'cancelled' else 'failed' end,
             outcome = case when cancel_requested then 'cancelled by a person'
                 else 'given up: ' || lost_leases + 1 || ' workers vanished while they trained it, the last one was '
                     || worker end,
             lost_leases = lost_leases + 1, finished_at = now(), lease_until = null
         where state = 'running' and lease_until < now() and (cancel_requested or lost_leases + 1 >= $1)",
    )
    .bind(MAX_LOST_LEASES)
    .execute(db)
    .await?;
    let row = sqlx::query(
        "update training_run
         set lost_leases = lost_leases + case when state = 'running' then 1 else 0 end,
             state = 'running', attempt = attempt + 1, worker = $1, progress = '{}',
             lease_until = now() + make_interval(secs => $2), started_at = coalesce(started_at, now())
         where id = (
             select id from training_run
             where state = 'queued' or (state = 'running' and lease_until < now())
             order by created_at, id for update skip locked limit 1)
         returning *",
    )
    .bind(worker)
    .bind(lease.as_secs_f64())
    .fetch_optional(db)
    .await?;
    row.map(|row| {
        let run = read(&row)?;
        Ok((Claim { run: run.id, attempt: run.attempt }, run))
    })
    .transpose()
}

/// Prolongs the lease.
///
/// # Errors
///
/// [`StoreError::Database`] when the query fails.
pub async fn heartbeat(
    db: impl PgExecutor<'_>,
    claim: &Claim,
    lease: Duration,
) -> Result<Heartbeat, StoreError> {
    let found: Option<(bool,)> = sqlx::query_as(
        "update training_run set lease_until = now() + make_interval(secs => $3)
         where id = $1 and attempt = $2 and state = 'running' returning cancel_requested",
    )
    .bind(claim.run)
    .bind(claim.attempt)
    .bind(lease.as_secs_f64())
    .fetch_optional(db)
    .await?;
    Ok(match found {
        None => Heartbeat::Lost,
        Some((true,)) => Heartbeat::CancelRequested,
        Some((false,)) => Heartbeat::Held,
    })
}

/// Writes how far the run is.
///
/// # Errors
///
/// [`StoreError::Database`] when the query fails.
pub async fn progress(db: impl PgExecutor<'_>, claim: &Claim, progress: &Json) -> Result<(), StoreError> {
    sqlx::query("update training_run set progress = $3 where id = $1 and attempt = $2 and state = 'running'")
        .bind(claim.run)
        .bind(claim.attempt)
        .bind(progress)
        .execute(db)
        .await?;
    Ok(())
}

/// Keeps what a run has measured that will bring no version; call it before [`end`].
///
/// # Errors
///
/// [`StoreError::Database`] when the query fails.
pub async fn keep_evidence(
    db: impl PgExecutor<'_>,
    claim: &Claim,
    evidence: &Json,
) -> Result<(), StoreError> {
    sqlx::query("update training_run set evidence = $3 where id = $1 and attempt = $2 and state = 'running'")
        .bind(claim.run)
        .bind(claim.attempt)
        .bind(evidence)
        .execute(db)
        .await?;
    Ok(())
}

/// What a run without a version has measured, where it came that far: its `metrics` and `parameters`.
///
/// # Errors
///
/// [`StoreError::Database`] when the query fails.
pub async fn evidence(db: impl PgExecutor<'_>, run: Uuid) -> Result<Option<Json>, StoreError> {
    let row: Option<(Option<Json>,)> = sqlx::query_as("select evidence from training_run where id = $1")
        .bind(run)
        .fetch_optional(db)
        .await?;
    Ok(row.and_then(|(evidence,)| evidence))
}

/// Gives the run back to the queue, so that another worker takes it at once.
///
/// # Errors
///
/// [`StoreError::Database`] when the query fails.
pub async fn release(db: impl PgExecutor<'_>, claim: &Claim) -> Result<(), StoreError> {
    sqlx::query(
        "update training_run
         set state = case when cancel_requested then 'cancelled' else 'queued' end,
             finished_at = case when cancel_requested then now() end,
             outcome = case when cancel_requested then 'cancelled by a person' end,
             worker = null, lease_until = null
         where id = $1 and attempt = $2 and state = 'running'",
    )
    .bind(claim.run)
    .bind(claim.attempt)
    .execute(db)
    .await?;
    Ok(())
}

/// Ends the run without a version: `rejected`, `failed` or `cancelled`, with the reason and, where rows were
/// read, the snapshot, in one transaction.
///
/// # Errors
///
/// [`RunError::LeaseLost`] when the run is not this worker's any more; [`RunError::Store`] otherwise.
pub async fn end(
    db: &PgPool,
    claim: &Claim,
    state: RunState,
    outcome: &str,
    taken: Option<(&ModelName, &Snapshot)>,
) -> Result<(), RunError> {
    let mut transaction = db.begin().await?;
    let ended = sqlx::query(
        "update training_run set state = $3, outcome = $4, finished_at = now(), lease_until = null,
             cause = case when $3 = 'rejected' then cause || ' rejected ' || id else cause end
         where id = $1 and attempt = $2 and state = 'running'",
    )
    .bind(claim.run)
    .bind(claim.attempt)
    .bind(state.as_str())
    .bind(outcome)
    .execute(&mut *transaction)
    .await?;
    if ended.rows_affected() == 0 {
        return Err(RunError::LeaseLost(claim.run));
    }
    if let Some((model, taken)) = taken {
        snapshot::insert(&mut *transaction, model, taken).await?;
    }
    transaction.commit().await?;
    Ok(())
}

/// Ends the run with a new version in production, in one transaction with its snapshot, its baseline and the
/// model's active baseline. Returns the version's number.
///
/// # Errors
///
/// [`RunError::LeaseLost`], [`RunError::Cancelled`] and [`RunError::ProductionMoved`] when the version must not
/// be registered; then nothing is written. [`RunError::Store`] otherwise.
pub async fn succeed(
    db: &PgPool,
    claim: &Claim,
    outcome: &str,
    registration: &Registration,
) -> Result<i64, RunError> {
    let mut transaction = db.begin().await?;
    let held: Option<(bool,)> = sqlx::query_as(
        "select cancel_requested from training_run
         where id = $1 and attempt = $2 and state = 'running' for update",
    )
    .bind(claim.run)
    .bind(claim.attempt)
    .fetch_optional(&mut *transaction)
    .await?;
    match held {
        None => return Err(RunError::LeaseLost(claim.run)),
        Some((true,)) => return Err(RunError::Cancelled(claim.run)),
        Some((false,)) => {}
    }
    let version = model_version::register(&mut transaction, claim.run, registration).await?;
    sqlx::query(
        "update training_run
         set state = 'succeeded', outcome = $2, version = $3, finished_at = now(), lease_until = null
         where id = $1",
    )
    .bind(claim.run)
    .bind(outcome)
    .bind(version)
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(version)
}

/// The newest runs, of one model or of all, newest first.
///
/// # Errors
///
/// [`StoreError::Database`] when the query fails.
pub async fn list(
    db: impl PgExecutor<'_>,
    model: Option<&ModelName>,
    limit: u32,
) -> Result<Vec<TrainingRun>, StoreError> {
    sqlx::query(
        "select * from training_run where $1::text is null or model = $1
         order by created_at desc, id desc limit $2",
    )
    .bind(model.map(ModelName::as_str))
    .bind(i64::from(limit))
    .fetch_all(db)
    .await?
    .iter()
    .map(read)
    .collect()
}

/// At most `limit` runs, newest first: of one model or of all, in one state or in any, and those before `before`.
///
/// # Errors
///
/// [`StoreError::Database`] when the query fails.
pub async fn page(
    db: impl PgExecutor<'_>,
    model: Option<&ModelName>,
    state: Option<RunState>,
    before: Option<(DateTime<Utc>, Uuid)>,
    limit: i64,
) -> Result<Vec<TrainingRun>, StoreError> {
    let (at, id) = before.unzip();
    sqlx::query(
        "select * from training_run
         where ($1::text is null or model = $1) and ($2::text is null or state = $2)
           and ($3::timestamptz is null or (created_at, id) < ($3, $4))
         order by created_at desc, id desc limit $5",
    )
    .bind(model.map(ModelName::as_str))
    .bind(state.map(RunState::as_str))
    .bind(at)
    .bind(id)
    .bind(limit)
    .fetch_all(db)
    .await?
    .iter()
    .map(read)
    .collect()
}

/// One run.
///
/// # Errors
///
/// [`RunError::Unknown`] when there is none; [`RunError::Store`] otherwise.
pub async fn show(db: impl PgExecutor<'_>, run: Uuid) -> Result<TrainingRun, RunError> {
    let row = sqlx::query("select * from training_run where id = $1").bind(run).fetch_optional(db).await?;
    Ok(read(&row.ok_or(RunError::Unknown(run))?)?)
}

/// Releases a suggested or waiting run into the queue.
///
/// # Errors
///
/// [`RunError::State`] when it is neither; [`RunError::Active`] when another run of the model is under way, and the
/// transaction is then to be dropped.
pub async fn approve(db: &mut PgConnection, run: Uuid) -> Result<(), RunError> {
    let released = sqlx::query(
        "update training_run set state = 'queued' where id = $1 and state in ('suggested', 'awaiting_approval')",
    )
    .bind(run)
    .execute(&mut *db)
    .await;
    match released {
        Ok(released) if released.rows_affected() == 1 => Ok(()),
        Ok(_) => Err(RunError::State { run, state: show(db, run).await?.state }),
        Err(sqlx::Error::Database(refusal)) if refusal.constraint() == Some("training_run_one_active") => {
            Err(RunError::Active)
        }
        Err(error) => Err(error.into()),
    }
}

/// Ends a run that no worker has, or asks its worker to stop. Returns the state it is in afterwards.
///
/// # Errors
///
/// [`RunError::State`] when it has ended already; [`RunError::Unknown`] when there is none.
pub async fn cancel(db: &mut PgConnection, run: Uuid) -> Result<RunState, RunError> {
    let found: Option<(String,)> = sqlx::query_as(
        "update training_run
         set cancel_requested = true,
             finished_at = case when state = 'running' then null else now() end,
             outcome = case when state = 'running' then null else 'cancelled by a person' end,
             state = case when state = 'running' then 'running' else 'cancelled' end
         where id = $1 and state in ('suggested', 'awaiting_approval', 'queued', 'running')
         returning state",
    )
    .bind(run)
    .fetch_optional(&mut *db)
    .await?;
    match found {
        Some((state,)) => Ok(parse_state(run, &state)?),
        None => Err(RunError::State { run, state: show(db, run).await?.state }),
    }
}

fn parse_state(run: Uuid, state: &str) -> Result<RunState, StoreError> {
    RunState::parse(state).ok_or_else(|| StoreError::Corrupt {
        table: "training_run",
        key: run.to_string(),
        problem: format!("`{state}` is not a state"),
    })
}

fn read(row: &PgRow) -> Result<TrainingRun, StoreError> {
    let id: Uuid = row.try_get("id")?;
    let state: String = row.try_get("state")?;
    Ok(TrainingRun {
        id,
        model: row.try_get("model")?,
        state: parse_state(id, &state)?,
        reason_kind: row.try_get("reason_kind")?,
        reason: row.try_get("reason")?,
        cause: row.try_get("cause")?,
        spec: row.try_get("spec")?,
        attempt: row.try_get("attempt")?,
        lost_leases: row.try_get("lost_leases")?,
        worker: row.try_get("worker")?,
        lease_until: row.try_get("lease_until")?,
        cancel_requested: row.try_get("cancel_requested")?,
        progress: row.try_get("progress")?,
        outcome: row.try_get("outcome")?,
        version: row.try_get("version")?,
        created_at: row.try_get("created_at")?,
        started_at: row.try_get("started_at")?,
        finished_at: row.try_get("finished_at")?,
    })
}
