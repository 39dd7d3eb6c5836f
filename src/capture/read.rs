//! Captured rows of files and database, with the labels that they have now, a file at a time.

use std::collections::{HashMap, VecDeque};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use sha2::{Digest, Sha256};
use sqlx::{PgPool, Postgres, Transaction};

use super::columns::RowColumn;
use super::rows::{Columns, Rows};
use super::seal::encoded;
use super::segment::{self, Wanted};
use super::{CaptureError, Place};
use crate::frames::Texts;
use crate::model::ModelName;
use crate::store::capture::{self, Segment, Staged};
use crate::store::captured::{self, CapturedRow};

/// Rows of the database that are handed over at once.
const PAGE: u64 = 10_000;

/// A share of the rows, chosen by their ids.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// In `(0, 1]`.
    pub share: f64,
    /// Another one chooses other rows.
    pub seed: u64,
}

impl Sample {
    /// Whether the row is chosen.
    fn takes(self, row_id: &str) -> bool {
        let digest = Sha256::new().chain_update(self.seed.to_le_bytes()).chain_update(row_id).finalize();
        let mut first = [0; 8];
        first.copy_from_slice(&digest[..8]);
        u64::from_le_bytes(first) as f64 / 2_f64.powi(64) < self.share
    }
}

/// Which captured rows are meant.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Filter {
    /// At or after this event time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<DateTime<Utc>>,
    /// Before this event time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<DateTime<Utc>>,
    /// That this version answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_version: Option<String>,
    /// Of these, a share.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample: Option<Sample>,
}

impl Filter {
    /// Whether row `row` of `rows` is meant.
    pub(super) fn takes(&self, rows: &Rows, row: usize) -> bool {
        let time = rows.times[row];
        self.from.is_none_or(|from| from <= time)
            && self.until.is_none_or(|until| time < until)
            && self.model_version.as_ref().is_none_or(|version| version == rows.model_versions.get(row))
            && self.sample.is_none_or(|sample| sample.takes(rows.ids.get(row)))
    }
}

/// Reads captured rows: those in the database first, then file after file; memory is bounded by one file.
pub struct Reader {
    db: PgPool,
    place: Place,
    model: ModelName,
    filter: Filter,
    /// What list and database held when reading began: a row that moves meanwhile is still read once.
    staged: Option<Transaction<'static, Postgres>>,
    after: Option<(DateTime<Utc>, String)>,
    files: VecDeque<Segment>,
}

impl Reader {
    /// A reader of the rows of `model` that `filter` means.
    ///
    /// # Errors
    ///
    /// [`CaptureError::Database`].
    pub async fn open(
        db: &PgPool,
        place: &Place,
        model: &ModelName,
        filter: Filter,
    ) -> Result<Self, CaptureError> {
        let mut transaction = capture::begin_reading(db).await?;
        let files = capture::segments(&mut *transaction, model, filter.from, filter.until).await?.into();
        let (place, model) = (place.clone(), model.clone());
        Ok(Self { db: db.clone(), place, model, filter, staged: Some(transaction), after: None, files })
    }

    /// The next rows, with the labels they have now; none at the end.
    ///
    /// # Errors
    ///
    /// [`CaptureError`] names the file that is gone or damaged.
    pub async fn next(&mut self) -> Result<Option<Rows>, CaptureError> {
        loop {
            let Some(mut rows) = self.read().await? else { return Ok(None) };
            rows.retain_filtered(&self.filter);
            if rows.is_empty() {
                continue;
            }
            let ids: Vec<String> = rows.ids.iter().map(str::to_owned).collect();
            rows.labels = labels(&self.db, &self.model, &ids, None).await?;
            return Ok(Some(rows));
        }
    }

    async fn read(&mut self) -> Result<Option<Rows>, CaptureError> {
        if let Some(transaction) = &mut self.staged {
            let which = Staged::default();
            let page =
                capture::staged(&mut **transaction, &self.model, which, self.after.as_ref(), PAGE).await?;
            if let Some(last) = page.last() {
                self.after = Some((last.event_time, last.row_id.clone()));
                let (mut rows, mut columns) = (Rows::default(), Columns::default());
                for row in page {
                    columns.push(&row.features, &row.outputs);
                    rows.ids.push(&row.row_id);
                    rows.times.push(row.event_time);
                    rows.model_versions.push(&row.model_version);
                }
                (rows.features, rows.outputs) = columns.finish();
                return Ok(Some(rows));
            }
            self.staged = None;
        }
        let Some(file) = self.files.pop_front() else { return Ok(None) };
        fetch(&self.place, &file, Wanted::default()).await.map(Some)
    }
}

impl Rows {
    fn retain_filtered(&mut self, filter: &Filter) {
        let kept: Vec<bool> = (0..self.len()).map(|row| filter.takes(self, row)).collect();
        self.retain(|row| kept[row]);
    }
}

/// The newest `limit` captured rows of `model`, oldest first, wherever they are.
///
/// # Errors
///
/// [`CaptureError`] names the file that is gone or damaged.
pub async fn newest(
    db: &PgPool,
    place: &Place,
    model: &ModelName,
    limit: u64,
) -> Result<Vec<CapturedRow>, CaptureError> {
    let mut found = captured::newest(db, model, limit).await?;
    let mut files = capture::segments(db, model, None, None).await?;
    files.sort_by_key(|file| std::cmp::Reverse(file.last));
    for file in files {
        let enough = found.len() as u64 >= limit;
        if enough && found.first().is_some_and(|first| file.last < first.event_time) {
            break;
        }
        let rows = fetch(place, &file, Wanted::default()).await?;
        let members = |columns: &[RowColumn], row: usize| {
            columns
                .iter()
                .map(|column| (column.name.to_string(), captured::stored(&column.value(row))))
                .collect()
        };
        found.extend((0..rows.len()).map(|row| CapturedRow {
            row_id: rows.ids.get(row).to_owned(),
            event_time: rows.times[row],
            model_version: rows.model_versions.get(row).to_owned(),
            features: members(&rows.features, row),
            outputs: members(&rows.outputs, row),
            ..CapturedRow::default()
        }));
        found.sort_by(|a, b| (a.event_time, &a.row_id).cmp(&(b.event_time, &b.row_id)));
        let surplus = found.len().saturating_sub(usize::try_from(limit).unwrap_or(usize::MAX));
        found.drain(..surplus);
    }
    Ok(found)
}

/// The rows of a listed file, without labels.
pub(super) async fn fetch(place: &Place, file: &Segment, wanted: Wanted) -> Result<Rows, CaptureError> {
    let bytes = place.get(&file.uri, &file.sha256).await?;
    let uri = file.uri.clone();
    let rows = encoded(move || segment::decode(&bytes, &uri, wanted)).await?;
    if rows.len() as u64 == file.rows {
        return Ok(rows);
    }
    let problem = format!("it has {} rows, the list says {}", rows.len(), file.rows);
    Err(CaptureError::Content { uri: file.uri.clone(), problem })
}

/// The label of each row, known no later than `known_by`.
pub(super) async fn labels(
    db: impl sqlx::PgExecutor<'_> + Copy,
    model: &ModelName,
    ids: &[String],
    known_by: Option<DateTime<Utc>>,
) -> Result<Vec<Option<Json>>, CaptureError> {
    let mut found: HashMap<String, Json> = HashMap::new();
    for ids in ids.chunks(10_000) {
        found.extend(capture::labels_of(db, model, ids, known_by).await?);
    }
    Ok(ids.iter().map(|id| found.remove(id)).collect())
}

/// Texts as they are asked for in statements.
pub(super) fn owned(texts: &Texts) -> Vec<String> {
    texts.iter().map(str::to_owned).collect()
}
