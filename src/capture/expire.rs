//! Deletes files that have been kept long enough: marked first, then the object, then the list.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgPool;

use super::{CaptureError, Place};
use crate::model::ModelName;
use crate::store::capture;

/// How long a snapshot that no version rests on is kept: its run is still under way, or somebody looks into it.
const SNAPSHOT: TimeDelta = TimeDelta::days(7);

/// How long an object that is not listed is left alone: it may be about to be.
const UNLISTED: TimeDelta = TimeDelta::days(1);

/// What was deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Expired {
    /// Files.
    pub files: u64,
    /// Their size.
    pub bytes: u64,
    /// Objects that were never listed, left by an attempt that ended in between.
    pub unlisted: u64,
}

/// Deletes the files of `model` whose rows were all captured before `before`, unless a snapshot names them that a version
/// of the model rests on, or that is young.
///
/// # Errors
///
/// [`CaptureError::Store`] names the object that cannot be deleted: it stays marked, and is tried again.
pub async fn expire(
    db: &PgPool,
    place: &Place,
    model: &ModelName,
    before: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<Expired, CaptureError> {
    let mut transaction = db.begin().await?;
    capture::lead(&mut transaction, model).await?;
    capture::mark_expired(&mut transaction, model, before, now - SNAPSHOT).await?;
    transaction.commit().await?;

    // Nothing that is marked can be named again while this lasts.
    let mut transaction = db.begin().await?;
    capture::lead(&mut transaction, model).await?;
    let mut expired = Expired::default();
    for file in capture::marked(&mut *transaction, model).await? {
        place.delete(&file.uri).await?;
        capture::unlist(&mut *transaction, file.id).await?;
        expired.files += 1;
        expired.bytes += file.bytes;
    }
    let listed = capture::uris(&mut *transaction, model).await?;
    for object in place.objects(model).await? {
        if object.written < now - UNLISTED && !listed.contains(&object.uri) {
            place.delete(&object.uri).await?;
            expired.unlisted += 1;
        }
    }
    transaction.commit().await?;
    Ok(expired)
}
