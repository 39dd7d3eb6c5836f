//! Table `capture_segment`: which files hold captured rows.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Map, Value as Json};
use sqlx::types::Json as Jsonb;
use sqlx::{PgConnection, PgExecutor, PgPool, Postgres, Transaction};

use super::StoreError;
use crate::model::ModelName;

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SegmentKind {
    /// Captured rows.
    Rows,
    /// The labels that rows of another file had when a snapshot was taken.
    Labels,
}

impl SegmentKind {
    /// The word stored in `capture_segment.kind`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rows => "rows",
            Self::Labels => "labels",
        }
    }
}

/// A file that is to be listed.
#[derive(Debug, Clone, PartialEq)]
pub struct NewSegment {
    /// What it holds.
    pub kind: SegmentKind,
    /// SHA-256 of its content.
    pub sha256: String,
    /// Where it is.
    pub uri: String,
    /// Its rows.
    pub rows: u64,
    /// Its size.
    pub bytes: u64,
    /// Event time of the first row.
    pub first: DateTime<Utc>,
    /// Event time of the last row.
    pub last: DateTime<Utc>,
    /// When the newest of its rows was captured.
    pub captured_until: DateTime<Utc>,
    /// Its columns.
    pub schema: Json,
}

/// A listed file.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Segment {
    /// Its place in the list.
    pub id: i64,
    /// SHA-256 of its content.
    pub sha256: String,
    /// Where it is.
    pub uri: String,
    /// Its rows.
    pub rows: u64,
    /// Its size.
    pub bytes: u64,
    /// Event time of the first row.
    pub first: DateTime<Utc>,
    /// Event time of the last row.
    pub last: DateTime<Utc>,
    /// Its columns.
    pub schema: Json,
    /// When it was listed.
    pub created_at: DateTime<Utc>,
}

type SegmentRow =
    (i64, String, String, i64, i64, DateTime<Utc>, DateTime<Utc>, sqlx::types::Json<Json>, DateTime<Utc>);

fn segment((id, sha256, uri, rows, bytes, first, last, Jsonb(schema), created_at): SegmentRow) -> Segment {
    Segment {
        id,
        sha256,
        uri,
        rows: rows.unsigned_abs(),
        bytes: bytes.unsigned_abs(),
        first,
        last,
        schema,
        created_at,
    }
}

/// A row that waits in the database.
#[derive(Debug, Clone, PartialEq)]
pub struct StagedRow {
    /// Identifies the row.
    pub row_id: String,
    /// When the prediction happened.
    pub event_time: DateTime<Utc>,
    /// The version that answered, empty when unknown.
    pub model_version: String,
    /// Feature values by name.
    pub features: Map<String, Json>,
    /// Output values by name.
    pub outputs: Map<String, Json>,
    /// Its business key.
    pub business_key: Option<String>,
    /// When it was captured.
    pub captured_at: DateTime<Utc>,
}

/// Which of the rows that wait are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Staged {
    /// Only with an event time before this, or captured no later than `captured_by`.
    pub before: Option<DateTime<Utc>>,
    /// See `before`; without effect where that is absent.
    pub captured_by: Option<DateTime<Utc>>,
}

/// What waits in the database, and what is in files.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CaptureStatus {
    /// The model.
    pub model: String,
    /// Rows that wait in the database.
    pub staged_rows: u64,
    /// When the first of these was captured.
    pub staged_since: Option<DateTime<Utc>>,
    /// Files of rows.
    pub segments: u64,
    /// Rows in these.
    pub segment_rows: u64,
    /// Their size.
    pub segment_bytes: u64,
    /// Event time of the first row in a file.
    pub first: Option<DateTime<Utc>>,
    /// Event time of the last row in a file.
    pub last: Option<DateTime<Utc>>,
    /// Snapshots that name files.
    pub snapshots: u64,
    /// Files that versions of the model rest on: they are kept past retention.
    pub kept_for_versions: u64,
    /// Files that are marked to be deleted.
    pub deleting: u64,
}

/// Takes the right to write files of `model` for the rest of the transaction; waits for whoever has it.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn lead(transaction: &mut PgConnection, model: &ModelName) -> Result<(), StoreError> {
    sqlx::query("select pg_advisory_xact_lock(hashtextextended('driftline capture ' || $1, 0))")
        .bind(model.as_str())
        .execute(transaction)
        .await?;
    Ok(())
}

/// Like [`lead`], but does not wait; false when another process has the right.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn try_lead(transaction: &mut PgConnection, model: &ModelName) -> Result<bool, StoreError> {
    let (leads,): (bool,) =
        sqlx::query_as("select pg_try_advisory_xact_lock(hashtextextended('driftline capture ' || $1, 0))")
            .bind(model.as_str())
            .fetch_one(transaction)
            .await?;
    Ok(leads)
}

/// How many rows of `model` wait, counted up to `limit`, and when the first of them was captured.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn waiting(
    db: impl PgExecutor<'_>,
    model: &ModelName,
    limit: u64,
) -> Result<(u64, Option<DateTime<Utc>>), StoreError> {
    let (rows, since): (i64, Option<DateTime<Utc>>) = sqlx::query_as(
        "select (select count(*) from (
                     select from captured_row where model = $1 and segment is null limit $2
                 ) counted),
                (select min(created_at) from captured_row where model = $1 and segment is null)",
    )
    .bind(model.as_str())
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .fetch_one(db)
    .await?;
    Ok((rows.unsigned_abs(), since))
}

/// The next `limit` rows that wait, by event time and id, after the row `after`.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn staged(
    db: impl PgExecutor<'_>,
    model: &ModelName,
    which: Staged,
    after: Option<&(DateTime<Utc>, String)>,
    limit: u64,
) -> Result<Vec<StagedRow>, StoreError> {
    type Row = (
        String,
        DateTime<Utc>,
        String,
        Jsonb<Map<String, Json>>,
        Jsonb<Map<String, Json>>,
        Option<String>,
        DateTime<Utc>,
    );
    let rows: Vec<Row> = sqlx::query_as(
        "select row_id, event_time, model_version, features, outputs, business_key, created_at
         from captured_row
         where model = $1 and segment is null
             and ($2::timestamptz is null or event_time < $2 or created_at <= $3)
             and ($4::timestamptz is null or (event_time, row_id) > ($4, $5))
         order by event_time, row_id limit $6",
    )
    .bind(model.as_str())
    .bind(which.before)
    .bind(which.captured_by)
    .bind(after.map(|(time, _)| *time))
    .bind(after.map(|(_, id)| id.as_str()))
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .fetch_all(db)
    .await?;
    let row = |(
        row_id,
        event_time,
        model_version,
        Jsonb(features),
        Jsonb(outputs),
        business_key,
        captured_at,
    ): Row| {
        StagedRow { row_id, event_time, model_version, features, outputs, business_key, captured_at }
    };
    Ok(rows.into_iter().map(row).collect())
}

/// Lists a file; one that is listed already, and may be about to be deleted, stays. Returns its place.
///
/// # Errors
///
/// [`StoreError::UnknownModel`] if `model` is not registered; [`StoreError::Database`] otherwise.
pub async fn list(db: impl PgExecutor<'_>, model: &ModelName, new: &NewSegment) -> Result<i64, StoreError> {
    let (id,): (i64,) = sqlx::query_as(
        "insert into capture_segment (model, kind, sha256, uri, row_count, byte_count, min_event_time, max_event_time,
             captured_until, schema)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
         on conflict (model, kind, sha256) do update
             set deleting = false, uri = excluded.uri,
                 captured_until = greatest(capture_segment.captured_until, excluded.captured_until)
         returning id",
    )
    .bind(model.as_str())
    .bind(new.kind.as_str())
    .bind(&new.sha256)
    .bind(&new.uri)
    .bind(i64::try_from(new.rows).unwrap_or(i64::MAX))
    .bind(i64::try_from(new.bytes).unwrap_or(i64::MAX))
    .bind(new.first)
    .bind(new.last)
    .bind(new.captured_until)
    .bind(Jsonb(&new.schema))
    .fetch_one(db)
    .await
    .map_err(|error| StoreError::for_model(model, error))?;
    Ok(id)
}

/// Notes that these rows are in file `segment` from now on, and leaves of their features only those called `keep`; returns how
/// many there were.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn moved(
    db: impl PgExecutor<'_>,
    model: &ModelName,
    row_ids: &[String],
    segment: i64,
    keep: &[String],
) -> Result<u64, StoreError> {
    let moved = sqlx::query(
        "update captured_row set segment = $3, features = (
             select coalesce(jsonb_object_agg(name, features -> name), '{}') from unnest($4::text[]) name
             where features ? name)
         where model = $1 and row_id = any($2) and segment is null",
    )
    .bind(model.as_str())
    .bind(row_ids)
    .bind(segment)
    .bind(keep)
    .execute(db)
    .await?;
    Ok(moved.rows_affected())
}

/// The files of rows of `model` that hold event times in `[from, until)`, by event time.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn segments(
    db: impl PgExecutor<'_>,
    model: &ModelName,
    from: Option<DateTime<Utc>>,
    until: Option<DateTime<Utc>>,
) -> Result<Vec<Segment>, StoreError> {
    let rows: Vec<SegmentRow> = sqlx::query_as(
        "select id, sha256, uri, row_count, byte_count, min_event_time, max_event_time, schema, created_at
         from capture_segment
         where model = $1 and kind = 'rows' and not deleting
             and ($2::timestamptz is null or max_event_time >= $2)
             and ($3::timestamptz is null or min_event_time < $3)
         order by min_event_time, id",
    )
    .bind(model.as_str())
    .bind(from)
    .bind(until)
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(segment).collect())
}

/// The files of any kind of `model` with these names.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn segments_named(
    db: impl PgExecutor<'_>,
    model: &ModelName,
    names: &[String],
) -> Result<Vec<Segment>, StoreError> {
    let rows: Vec<SegmentRow> = sqlx::query_as(
        "select id, sha256, uri, row_count, byte_count, min_event_time, max_event_time, schema, created_at
         from capture_segment where model = $1 and sha256 = any($2)",
    )
    .bind(model.as_str())
    .bind(names)
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(segment).collect())
}

/// The labels that rows have, known no later than `known_by`: id and value.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn labels_of(
    db: impl PgExecutor<'_>,
    model: &ModelName,
    row_ids: &[String],
    known_by: Option<DateTime<Utc>>,
) -> Result<Vec<(String, Json)>, StoreError> {
    let rows: Vec<(String, Jsonb<Json>)> = sqlx::query_as(
        "select row_id, value from label
         where model = $1 and row_id = any($2) and ($3::timestamptz is null or labelled_at <= $3)",
    )
    .bind(model.as_str())
    .bind(row_ids)
    .bind(known_by)
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|(id, Jsonb(value))| (id, value)).collect())
}

/// What waits and what is in files, of every model or of one, by name.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn status(
    db: impl PgExecutor<'_>,
    model: Option<&ModelName>,
) -> Result<Vec<CaptureStatus>, StoreError> {
    type Row = (
        String,
        i64,
        Option<DateTime<Utc>>,
        i64,
        i64,
        i64,
        Option<DateTime<Utc>>,
        Option<DateTime<Utc>>,
        i64,
        i64,
        i64,
    );
    let rows: Vec<Row> = sqlx::query_as(
        "select m.name, coalesce(w.rows, 0), w.since,
             coalesce(s.files, 0), coalesce(s.rows, 0)::bigint, coalesce(s.bytes, 0)::bigint, s.first, s.last,
             (select count(*) from capture_snapshot c where c.model = m.name),
             (select count(distinct p.segment)
              from model_version v
              join snapshot t on t.hash = v.snapshot
              join capture_snapshot_part p on p.snapshot = t.capture
              where v.model = m.name),
             (select count(*) from capture_segment d where d.model = m.name and d.deleting)
         from model m
         left join (
             select model, count(*) as rows, min(created_at) as since from captured_row
             where segment is null group by model
         ) w on w.model = m.name
         left join (
             select model, count(*) as files, sum(row_count) as rows, sum(byte_count) as bytes,
                 min(min_event_time) as first, max(max_event_time) as last
             from capture_segment where kind = 'rows' and not deleting group by model
         ) s on s.model = m.name
         where $1::text is null or m.name = $1
         order by m.name",
    )
    .bind(model.map(ModelName::as_str))
    .fetch_all(db)
    .await?;
    let of_row = |row: Row| {
        let (model, staged, staged_since, files, rows, bytes, first, last, snapshots, kept, deleting) = row;
        CaptureStatus {
            model,
            staged_rows: staged.unsigned_abs(),
            staged_since,
            segments: files.unsigned_abs(),
            segment_rows: rows.unsigned_abs(),
            segment_bytes: bytes.unsigned_abs(),
            first,
            last,
            snapshots: snapshots.unsigned_abs(),
            kept_for_versions: kept.unsigned_abs(),
            deleting: deleting.unsigned_abs(),
        }
    };
    Ok(rows.into_iter().map(of_row).collect())
}

/// Drops snapshots of before `before` that no version rests on, then marks files that nothing names and that hold only
/// rows captured before `expired`; within the caller's transaction, which has to [`lead`]. Returns how many were marked.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn mark_expired(
    db: &mut PgConnection,
    model: &ModelName,
    expired: DateTime<Utc>,
    before: DateTime<Utc>,
) -> Result<u64, StoreError> {
    sqlx::query(
        "delete from capture_snapshot c where c.model = $1 and c.created_at < $2 and not exists (
             select from model_version v join snapshot s on s.hash = v.snapshot where s.capture = c.hash)",
    )
    .bind(model.as_str())
    .bind(before)
    .execute(&mut *db)
    .await?;
    // The labels of a snapshot that is gone are of no use, however young; of rows the age decides.
    let marked = sqlx::query(
        "update capture_segment s set deleting = true
         where s.model = $1 and not s.deleting
             and (s.captured_until < $2 or (s.kind = 'labels' and s.created_at < $3))
             and not exists (select from capture_snapshot_part p where p.segment = s.id)",
    )
    .bind(model.as_str())
    .bind(expired)
    .bind(before)
    .execute(db)
    .await?;
    Ok(marked.rows_affected())
}

/// The files of `model` that are marked to be deleted.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn marked(db: impl PgExecutor<'_>, model: &ModelName) -> Result<Vec<Segment>, StoreError> {
    let rows: Vec<SegmentRow> = sqlx::query_as(
        "select id, sha256, uri, row_count, byte_count, min_event_time, max_event_time, schema, created_at
         from capture_segment where model = $1 and deleting order by id",
    )
    .bind(model.as_str())
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(segment).collect())
}

/// Every listed file of `model`, of any kind, oldest first.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn all(
    db: impl PgExecutor<'_> + Copy,
    model: &ModelName,
) -> Result<Vec<(SegmentKind, Segment)>, StoreError> {
    let mut all = Vec::new();
    for kind in [SegmentKind::Rows, SegmentKind::Labels] {
        let rows: Vec<SegmentRow> = sqlx::query_as(
            "select id, sha256, uri, row_count, byte_count, min_event_time, max_event_time, schema, created_at
             from capture_segment where model = $1 and kind = $2 and not deleting order by id",
        )
        .bind(model.as_str())
        .bind(kind.as_str())
        .fetch_all(db)
        .await?;
        all.extend(rows.into_iter().map(|row| (kind, segment(row))));
    }
    Ok(all)
}

/// Where every listed file of `model` is, also of those that are marked to be deleted.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn uris(db: impl PgExecutor<'_>, model: &ModelName) -> Result<HashSet<String>, StoreError> {
    let rows: Vec<(String,)> = sqlx::query_as("select uri from capture_segment where model = $1")
        .bind(model.as_str())
        .fetch_all(db)
        .await?;
    Ok(rows.into_iter().map(|(uri,)| uri).collect())
}

/// The present, as the database has it.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn present(db: impl PgExecutor<'_>) -> Result<DateTime<Utc>, StoreError> {
    let (now,): (DateTime<Utc>,) = sqlx::query_as("select now()").fetch_one(db).await?;
    Ok(now)
}

/// A transaction that sees what is there now, and nothing of what changes while it lasts.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn begin_reading(db: &PgPool) -> Result<Transaction<'static, Postgres>, StoreError> {
    Ok(db.begin_with("begin isolation level repeatable read, read only").await?)
}

/// Takes a file off the list whose object is gone.
///
/// # Errors
///
/// [`StoreError::Database`].
pub async fn unlist(db: impl PgExecutor<'_>, id: i64) -> Result<(), StoreError> {
    sqlx::query("delete from capture_segment where id = $1 and deleting").bind(id).execute(db).await?;
    Ok(())
}
