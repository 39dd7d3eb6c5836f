//! The stored form of a baseline: JSON with a format number; every version ever written stays readable.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{Baseline, BaselineColumn, Bins, CutOptions};
use crate::model::ModelName;
use crate::profile::{ColumnLayout, ColumnProfile};
use crate::stats::{Moments, Variation};

/// A document that is not a baseline.
#[derive(Debug, Error)]
pub enum FormatError {
    /// Not JSON of a known format.
    #[error("not a baseline of a known format: {0}")]
    Json(#[from] serde_json::Error),
    /// The content is not what its version says.
    #[error(
        "the content hashes to {found}, but the document says {stated}: it was changed after it was built"
    )]
    Version {
        /// Version in the document.
        stated: String,
        /// Version of the content.
        found: String,
    },
    /// Parts of the document contradict one another.
    #[error("column `{column}`: {problem}")]
    Column {
        /// The column.
        column: String,
        /// What does not fit.
        problem: String,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "format")]
enum Document {
    #[serde(rename = "1")]
    V1 { version: String, content: ContentV1 },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ContentV1 {
    model: ModelName,
    source: String,
    rows: u64,
    options: CutOptions,
    columns: Vec<ColumnV1>,
}

#[derive(Serialize, Deserialize)]
struct ColumnV1 {
    #[serde(flatten)]
    layout: ColumnLayout,
    cells: Vec<u64>,
    missing: u64,
    nan: u64,
    pos_inf: u64,
    neg_inf: u64,
    wrong_type: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    moments: Option<Moments>,
    bins: Bins,
    ks_error_bound: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    psi_variation: Option<Variation>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ks_variation: Option<Variation>,
}

impl From<&BaselineColumn> for ColumnV1 {
    fn from(column: &BaselineColumn) -> Self {
        let profile = &column.profile;
        Self {
            layout: column.layout.clone(),
            cells: profile.cells.clone(),
            missing: profile.missing,
            nan: profile.nan,
            pos_inf: profile.pos_inf,
            neg_inf: profile.neg_inf,
            wrong_type: profile.wrong_type,
            moments: (profile.moments.count > 0).then_some(profile.moments),
            bins: column.bins.clone(),
            ks_error_bound: column.ks_error_bound,
            psi_variation: column.psi_variation,
            ks_variation: column.ks_variation,
        }
    }
}

impl TryFrom<ColumnV1> for BaselineColumn {
    type Error = FormatError;

    fn try_from(stored: ColumnV1) -> Result<Self, FormatError> {
        let cells = stored.layout.cut.cells();
        if stored.cells.len() != cells || stored.bins.cells() != cells {
            return Err(FormatError::Column {
                column: stored.layout.name,
                problem: format!(
                    "{cells} cells, but {} counts and {} bin numbers",
                    stored.cells.len(),
                    stored.bins.cells()
                ),
            });
        }
        Ok(Self {
            layout: stored.layout,
            profile: ColumnProfile {
                cells: stored.cells,
                missing: stored.missing,
                nan: stored.nan,
                pos_inf: stored.pos_inf,
                neg_inf: stored.neg_inf,
                wrong_type: stored.wrong_type,
                moments: stored.moments.unwrap_or_default(),
                ..ColumnProfile::default()
            },
            bins: stored.bins,
            ks_error_bound: stored.ks_error_bound,
            psi_variation: stored.psi_variation,
            ks_variation: stored.ks_variation,
        })
    }
}

impl Baseline {
    fn content(&self) -> ContentV1 {
        ContentV1 {
            model: self.model.clone(),
            source: self.source.clone(),
            rows: self.rows,
            options: self.options.clone(),
            columns: self.columns.iter().map(ColumnV1::from).collect(),
        }
    }

    /// The canonical text that the version is the hash of.
    pub(super) fn content_json(&self) -> Result<Vec<u8>, FormatError> {
        Ok(serde_json::to_vec(&self.content())?)
    }

    /// The stored document.
    ///
    /// # Errors
    ///
    /// [`FormatError::Json`] only if a number is not finite, which building and reading rule out.
    pub fn to_json(&self) -> Result<String, FormatError> {
        let document = Document::V1 { version: self.version.clone(), content: self.content() };
        Ok(serde_json::to_string(&document)?)
    }

    /// Reads a stored document and checks its version against its content.
    ///
    /// # Errors
    ///
    /// [`FormatError`] when it is damaged, changed, or of an unknown format.
    pub fn from_json(text: &str) -> Result<Self, FormatError> {
        let Document::V1 { version, content } = serde_json::from_str(text)?;
        let columns = content.columns.into_iter().map(BaselineColumn::try_from).collect::<Result<_, _>>()?;
        let baseline = Self::new(content.model, content.source, content.rows, content.options, columns)?;
        if baseline.version == version {
            Ok(baseline)
        } else {
            Err(FormatError::Version { stated: version, found: baseline.version })
        }
    }
}
