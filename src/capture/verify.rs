//! Whether every listed file is there, is what it is named after, and can be read.

use serde::Serialize;
use sqlx::PgPool;

use super::read::fetch;
use super::segment::{Wanted, decode_labels};
use super::{CaptureError, Place};
use crate::model::ModelName;
use crate::store::capture::{self, SegmentKind};

/// A file that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// What it holds.
    pub kind: SegmentKind,
    /// SHA-256 of its content, as listed.
    pub sha256: String,
    /// Where it is.
    pub uri: String,
    /// Its rows, as listed.
    pub rows: u64,
    /// What is wrong with it, in a sentence; nothing when it is as it should be.
    pub problem: Option<String>,
}

/// What looking at every file found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Finding {
    /// The listed files, by age.
    pub files: Vec<Verified>,
    /// Objects that are not listed: an attempt to write them ended in between, or is under way. They do no harm, and
    /// retention deletes them after a day.
    pub unlisted: Vec<String>,
}

impl Finding {
    /// Whether every file is as it should be.
    pub fn is_clean(&self) -> bool {
        self.files.iter().all(|file| file.problem.is_none())
    }
}

/// Reads every listed file of `model`; `done` is called after each.
///
/// # Errors
///
/// [`CaptureError::Database`], and [`CaptureError::Store`] when the place cannot be listed.
pub async fn verify(
    db: &PgPool,
    place: &Place,
    model: &ModelName,
    mut done: impl FnMut(),
) -> Result<Finding, CaptureError> {
    let mut finding = Finding::default();
    for (kind, file) in capture::all(db, model).await? {
        let read = match kind {
            SegmentKind::Rows => fetch(place, &file, Wanted::default()).await.map(|rows| rows.len()),
            SegmentKind::Labels => match place.get(&file.uri, &file.sha256).await {
                Ok(bytes) => decode_labels(&bytes, &file.uri).map(|labels| labels.len()),
                Err(error) => Err(error),
            },
        };
        let problem = match read {
            Ok(rows) if rows as u64 == file.rows => None,
            Ok(rows) => Some(format!("it has {rows} rows, the list says {}", file.rows)),
            Err(error) if error.is_transient() => return Err(error),
            Err(error) => Some(error.to_string()),
        };
        finding.files.push(Verified { kind, sha256: file.sha256, uri: file.uri, rows: file.rows, problem });
        done();
    }
    let objects = place.objects(model).await?;
    let listed = |uri: &str| finding.files.iter().any(|file| file.uri == uri);
    finding.unlisted = objects.into_iter().map(|object| object.uri).filter(|uri| !listed(uri)).collect();
    Ok(finding)
}
