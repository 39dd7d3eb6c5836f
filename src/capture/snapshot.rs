//! Snapshots: captured rows and their labels, frozen. The same manifest gives the same rows for ever.

use std::collections::{HashMap, VecDeque};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use sha2::{Digest, Sha256};
use sqlx::PgPool;

use super::read::{Filter, fetch, labels, owned};
use super::rows::Rows;
use super::seal::{encoded, seal_all};
use super::segment::{self, Labels, Wanted};
use super::{CaptureError, Place};
use crate::model::ModelName;
use crate::retrain::artifact::hex;
use crate::store::StoreError;
use crate::store::capture::{self, NewSegment, Segment, SegmentKind};
use crate::store::capture_snapshot::{self, NewSnapshot};

/// The only format there is.
const FORMAT: u32 = 1;

/// What a snapshot is made of; its text names it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Of this description.
    pub format: u32,
    /// The model.
    pub model: ModelName,
    /// Labels that became known later are not in it.
    pub label_cutoff: DateTime<Utc>,
    /// Which rows were meant.
    pub filter: Filter,
    /// Its labelled rows.
    pub rows: u64,
    /// By event time.
    pub parts: Vec<ManifestPart>,
}

/// Rows of one file that have a label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestPart {
    /// SHA-256 of the file of rows.
    pub segment: String,
    /// SHA-256 of the file of their labels.
    pub labels: String,
    /// Rows of it that are meant and have a label.
    pub rows: u64,
}

/// A manifest and its name.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// SHA-256 of the manifest's text.
    pub hash: String,
    /// What it is made of.
    pub manifest: Manifest,
}

impl Snapshot {
    /// Freezes the labelled rows of `model` that `filter` means, with the labels that were known at `cutoff`, or now.
    ///
    /// Rows that wait in the database are moved into files first. Nothing else is copied but the labels: those of each
    /// file become a file of their own.
    ///
    /// # Errors
    ///
    /// [`CaptureError`] names the file that cannot be read or written.
    pub async fn take(
        db: &PgPool,
        place: &Place,
        model: &ModelName,
        filter: Filter,
        cutoff: Option<DateTime<Utc>>,
        seal: (u64, &[String]),
    ) -> Result<Self, CaptureError> {
        seal_all(db, place, model, seal).await?;
        let mut transaction = db.begin().await.map_err(StoreError::from)?;
        // Whoever deletes files waits until the snapshot names those it needs.
        capture::lead(&mut transaction, model).await?;
        let now = capture::present(&mut *transaction).await?;
        let label_cutoff = cutoff.unwrap_or(now);
        let (mut parts, mut named) = (Vec::new(), Vec::new());
        for file in capture::segments(&mut *transaction, model, filter.from, filter.until).await? {
            let rows = fetch(place, &file, Wanted { only_ids: true }).await?;
            let known = labels(db, model, &owned(&rows.ids), Some(label_cutoff)).await?;
            let labelled: Labels = known
                .into_iter()
                .enumerate()
                .filter(|(row, _)| filter.takes(&rows, *row))
                .filter_map(|(row, label)| Some((row, label?)))
                .collect();
            if labelled.is_empty() {
                continue;
            }
            let rows = labelled.len() as u64;
            let (bytes, schema) = encoded(move || segment::encode_labels(&labelled)).await?;
            let size = bytes.len() as u64;
            let (sha256, uri) = place.put(model, SegmentKind::Labels, bytes).await?;
            let listed = NewSegment {
                kind: SegmentKind::Labels,
                sha256: sha256.clone(),
                uri,
                rows,
                bytes: size,
                first: file.first,
                last: file.last,
                captured_until: now,
                schema: serde_json::to_value(schema).unwrap_or(Json::Null),
            };
            named.extend([file.id, capture::list(&mut *transaction, model, &listed).await?]);
            parts.push(ManifestPart { segment: file.sha256, labels: sha256, rows });
        }
        let rows = parts.iter().map(|part| part.rows).sum();
        let manifest = Manifest { format: FORMAT, model: model.clone(), label_cutoff, filter, rows, parts };
        let text = serde_json::to_string(&manifest).map_err(|error| CaptureError::Snapshot {
            hash: "(new)".to_owned(),
            problem: error.to_string(),
        })?;
        let hash = hex(&Sha256::digest(&text));
        let new = NewSnapshot { hash: &hash, rows, manifest: &text, parts: &named };
        capture_snapshot::insert(&mut transaction, model, &new).await?;
        transaction.commit().await.map_err(StoreError::from)?;
        Ok(Self { hash, manifest })
    }

    /// The snapshot `hash`.
    ///
    /// # Errors
    ///
    /// [`CaptureError::Snapshot`] when there is none, or what is stored is another one.
    pub async fn open(db: &PgPool, hash: &str) -> Result<Self, CaptureError> {
        let refuse =
            |problem: &str| CaptureError::Snapshot { hash: hash.to_owned(), problem: problem.to_owned() };
        let text = capture_snapshot::manifest(db, hash).await?.ok_or_else(|| refuse("is not known"))?;
        if hex(&Sha256::digest(&text)) != hash {
            return Err(refuse(
                "is not what it is named after; the database has another manifest under its name",
            ));
        }
        let manifest: Manifest =
            serde_json::from_str(&text).map_err(|error| refuse(&format!("cannot be read: {error}")))?;
        if manifest.format != FORMAT {
            return Err(refuse(&format!("has format {}, this build reads {FORMAT}", manifest.format)));
        }
        Ok(Self { hash: hash.to_owned(), manifest })
    }

    /// Reads its rows, a file at a time.
    ///
    /// # Errors
    ///
    /// [`CaptureError::Snapshot`] names the file that is not listed any more.
    pub async fn reader(&self, db: &PgPool, place: &Place) -> Result<SnapshotReader, CaptureError> {
        let names: Vec<String> =
            self.manifest.parts.iter().flat_map(|part| [part.segment.clone(), part.labels.clone()]).collect();
        let listed = capture::segments_named(db, &self.manifest.model, &names).await?;
        let mut by_name: HashMap<&str, &Segment> = HashMap::new();
        by_name.extend(listed.iter().map(|file| (file.sha256.as_str(), file)));
        let find = |name: &str| {
            by_name.get(name).map(|file| Segment::clone(file)).ok_or_else(|| CaptureError::Snapshot {
                hash: self.hash.clone(),
                problem: format!("needs the file {name}, which is not listed any more"),
            })
        };
        let parts = &self.manifest.parts;
        let files = parts.iter().map(|part| Ok((find(&part.segment)?, find(&part.labels)?)));
        let files = files.collect::<Result<_, CaptureError>>()?;
        Ok(SnapshotReader { place: place.clone(), files })
    }
}

/// Reads the rows of a snapshot: every one has a label. Memory is bounded by one file.
#[derive(Debug)]
pub struct SnapshotReader {
    place: Place,
    files: VecDeque<(Segment, Segment)>,
}

impl SnapshotReader {
    /// The next rows, those of one file; none at the end. Files may overlap in time.
    ///
    /// # Errors
    ///
    /// [`CaptureError`] names the file that is gone or damaged.
    pub async fn next(&mut self) -> Result<Option<Rows>, CaptureError> {
        let Some((file, of_labels)) = self.files.pop_front() else { return Ok(None) };
        let mut rows = fetch(&self.place, &file, Wanted::default()).await?;
        let bytes = self.place.get(&of_labels.uri, &of_labels.sha256).await?;
        let uri = of_labels.uri.clone();
        let labelled = encoded(move || segment::decode_labels(&bytes, &uri)).await?;
        let mut labels = vec![None; rows.len()];
        for (row, label) in labelled {
            let place = labels.get_mut(row).ok_or_else(|| CaptureError::Content {
                uri: of_labels.uri.clone(),
                problem: format!("it labels row {row} of {}", file.rows),
            })?;
            *place = Some(label);
        }
        let has: Vec<bool> = labels.iter().map(Option::is_some).collect();
        rows.labels = labels;
        rows.retain(|row| has[row]);
        Ok(Some(rows))
    }
}
