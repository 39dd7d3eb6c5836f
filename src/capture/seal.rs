//! Moves rows that wait in the database into a file: the object first, then list and rows in one transaction.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value as Json;
use sqlx::PgPool;

use super::rows::{Columns, Rows};
use super::{CaptureError, Place, segment};
use crate::model::ModelName;
use crate::store::capture::{self, NewSegment, SegmentKind, Staged};

/// Rows that are read at once.
const PAGE: u64 = 2_000;

/// Values that a file holds at most, one row more or less: what it takes in memory while it is made.
const MAX_CELLS: usize = 1 << 23;

/// When rows are moved, and how many at once.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Rows of a file.
    pub rows: u64,
    /// How long a row waits in the database.
    pub age: TimeDelta,
}

/// Whether this process moves rows when another one does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lead {
    /// No: they are in good hands.
    Try,
    /// Yes, after it.
    Wait,
}

/// Rows that are to be moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due(Staged);

impl Due {
    /// Every row that waits.
    pub const ALL: Self = Self(Staged { before: None, captured_by: None });
}

/// A file that was written and listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// Its rows.
    pub rows: u64,
    /// Its size.
    pub bytes: u64,
    /// Where it is.
    pub uri: String,
}

/// Which rows are to be moved at `now`, if any: those of windows that are over, and those that have waited long, once there
/// are enough for a file or the first has waited long; every row, once there are enough of any kind.
///
/// # Errors
///
/// [`CaptureError::Database`].
pub async fn due(
    db: &PgPool,
    model: &ModelName,
    limits: Limits,
    window_start: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<Option<Due>, CaptureError> {
    let (rows, since) = capture::waiting(db, model, limits.rows).await?;
    let captured_by = now.checked_sub_signed(limits.age).unwrap_or(DateTime::<Utc>::MIN_UTC);
    Ok(if rows >= limits.rows {
        Some(Due::ALL)
    } else if since.is_some_and(|since| since <= captured_by) {
        Some(Due(Staged { before: Some(window_start), captured_by: Some(captured_by) }))
    } else {
        None
    })
}

/// Moves at most `limit` rows into one file, and leaves their outputs and the features `keep` in the database as well, by
/// which windows are judged again when labels come; none when there are none, or another process moves those of the model.
///
/// The object is named by its content and written before it is listed. List and rows change in one transaction, so that
/// whatever happens in between leaves every row in one place: an object that is not listed is no file, and the next
/// attempt writes it again.
///
/// # Errors
///
/// [`CaptureError::Store`] when the object cannot be written, [`CaptureError::Database`]; the rows then wait where they are.
pub async fn seal(
    db: &PgPool,
    place: &Place,
    model: &ModelName,
    due: Due,
    (limit, keep): (u64, &[String]),
    lead: Lead,
) -> Result<Option<Sealed>, CaptureError> {
    let mut transaction = db.begin().await?;
    match lead {
        Lead::Wait => capture::lead(&mut transaction, model).await?,
        Lead::Try if capture::try_lead(&mut transaction, model).await? => {}
        Lead::Try => return Ok(None),
    }
    let (mut rows, mut columns) = (Rows::default(), Columns::default());
    let mut captured_until = DateTime::<Utc>::MIN_UTC;
    let mut after = None;
    while (rows.len() as u64) < limit && columns.cells() < MAX_CELLS {
        let page = (limit - rows.len() as u64).min(PAGE);
        let read = capture::staged(&mut *transaction, model, due.0, after.as_ref(), page).await?;
        let Some(last) = read.last() else { break };
        after = Some((last.event_time, last.row_id.clone()));
        for row in read {
            columns.push(&row.features, &row.outputs);
            rows.ids.push(&row.row_id);
            rows.times.push(row.event_time);
            rows.model_versions.push(&row.model_version);
            captured_until = captured_until.max(row.captured_at);
        }
    }
    let (Some(&first), Some(&last)) = (rows.times.first(), rows.times.last()) else { return Ok(None) };
    (rows.features, rows.outputs) = columns.finish();
    let ids: Vec<String> = rows.ids.iter().map(str::to_owned).collect();
    let count = ids.len() as u64;
    let (bytes, schema) = encoded(move || segment::encode(rows)).await?;
    let size = bytes.len() as u64;
    let (sha256, uri) = place.put(model, SegmentKind::Rows, bytes).await?;
    let listed = NewSegment {
        kind: SegmentKind::Rows,
        sha256,
        uri: uri.clone(),
        rows: count,
        bytes: size,
        first,
        last,
        captured_until,
        schema: serde_json::to_value(schema).unwrap_or(Json::Null),
    };
    let id = capture::list(&mut *transaction, model, &listed).await?;
    let mut moved = 0;
    for ids in ids.chunks(10_000) {
        moved += capture::moved(&mut *transaction, model, ids, id, keep).await?;
    }
    if moved != count {
        // Retention took some meanwhile: the next attempt makes a file of those that are left.
        return Ok(None);
    }
    transaction.commit().await?;
    Ok(Some(Sealed { rows: count, bytes: size, uri }))
}

/// Moves every row that waits, into as many files as it takes; returns these.
///
/// # Errors
///
/// As for [`seal`].
pub async fn seal_all(
    db: &PgPool,
    place: &Place,
    model: &ModelName,
    (limit, keep): (u64, &[String]),
) -> Result<Vec<Sealed>, CaptureError> {
    let mut sealed = Vec::new();
    while let Some(file) = seal(db, place, model, Due::ALL, (limit, keep), Lead::Wait).await? {
        sealed.push(file);
    }
    Ok(sealed)
}

/// Runs `work` where it does not hold up anything else.
pub(super) async fn encoded<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CaptureError> + Send + 'static,
) -> Result<T, CaptureError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| CaptureError::Ended)?
}
