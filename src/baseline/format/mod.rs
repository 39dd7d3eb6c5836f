//! The stored form of a baseline: JSON with a format number; every version ever written stays readable.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::season::{Cycle, Slots};
use super::{Baseline, BaselineColumn, Bins, CutOptions, name_of, packed};
use crate::model::ModelName;
use crate::profile::{ColumnLayout, ColumnProfile, Joint, Layout};
use crate::stats::{FiniteSum, Moments, Variation};

mod segments;
mod v1;

use segments::StoredSegments;

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
    V1 { version: String, content: v1::Content },
    #[serde(rename = "2")]
    V2 { version: String, content: Content },
    /// The second one with counts by segment; written only where there are some, so that other baselines keep their name.
    #[serde(rename = "3")]
    V3 { version: String, content: Content },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    model: ModelName,
    source: String,
    rows: u64,
    options: CutOptions,
    columns: Vec<Column>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    joint: Option<Joint>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    segments: Vec<StoredSegments>,
}

/// A column; a field that later versions of this format add is left out where it says nothing.
#[derive(Serialize, Deserialize)]
struct Column {
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tails: Option<(FiniteSum, FiniteSum)>,
    bins: Bins,
    ks_error_bound: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    psi_variation: Option<Variation>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ks_variation: Option<Variation>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    slots: Option<StoredSlots>,
}

/// A column's counts by slot of its season, each in the profile's own stored form.
#[derive(Serialize, Deserialize)]
struct StoredSlots {
    #[serde(flatten)]
    cycle: Cycle,
    prior_rows: u64,
    counts: Vec<String>,
}

impl StoredSlots {
    fn read(self, layout: &ColumnLayout) -> Result<Slots, FormatError> {
        let refuse = |problem| FormatError::Column { column: layout.name.clone(), problem };
        if self.counts.len() != self.cycle.slots() {
            let (found, expected) = (self.counts.len(), self.cycle.slots());
            return Err(refuse(format!("{found} slots for a cycle of {expected}")));
        }
        let alone = Layout::new(vec![layout.clone()]);
        let counts = self.counts.iter().map(|text| packed::read(&alone, text).map_err(refuse));
        let counts = counts.collect::<Result<_, _>>()?;
        Ok(Slots { cycle: self.cycle, counts, prior_rows: self.prior_rows })
    }
}

impl From<&BaselineColumn> for Column {
    fn from(column: &BaselineColumn) -> Self {
        let profile = &column.profile;
        let numeric = profile.moments.count() > 0;
        Self {
            layout: column.layout.clone(),
            cells: profile.cells.clone(),
            missing: profile.missing,
            nan: profile.nan,
            pos_inf: profile.pos_inf,
            neg_inf: profile.neg_inf,
            wrong_type: profile.wrong_type,
            moments: numeric.then(|| profile.moments.clone()),
            tails: numeric.then(|| (profile.low_tail.clone(), profile.high_tail.clone())),
            bins: column.bins.clone(),
            ks_error_bound: column.ks_error_bound,
            psi_variation: column.psi_variation,
            ks_variation: column.ks_variation,
            slots: column.slots.as_ref().map(|slots| StoredSlots {
                cycle: slots.cycle,
                prior_rows: slots.prior_rows,
                counts: slots.counts.iter().map(packed::write).collect(),
            }),
        }
    }
}

/// Refuses counts and bins that do not fit the cells of the layout.
fn check(layout: &ColumnLayout, counts: &[u64], bins: &Bins) -> Result<(), FormatError> {
    let cells = layout.cut.cells();
    if counts.len() == cells && bins.cells() == cells {
        return Ok(());
    }
    Err(FormatError::Column {
        column: layout.name.clone(),
        problem: format!("{cells} cells, but {} counts and {} bin numbers", counts.len(), bins.cells()),
    })
}

impl TryFrom<Column> for BaselineColumn {
    type Error = FormatError;

    fn try_from(stored: Column) -> Result<Self, FormatError> {
        check(&stored.layout, &stored.cells, &stored.bins)?;
        let (low_tail, high_tail) = stored.tails.unwrap_or_default();
        let slots = stored.slots.map(|slots| slots.read(&stored.layout)).transpose()?;
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
                low_tail,
                high_tail,
                ..ColumnProfile::default()
            },
            bins: stored.bins,
            ks_error_bound: stored.ks_error_bound,
            psi_variation: stored.psi_variation,
            ks_variation: stored.ks_variation,
            slots,
        })
    }
}

impl Baseline {
    fn content(&self) -> Content {
        Content {
            model: self.model.clone(),
            source: self.source.clone(),
            rows: self.rows,
            options: self.options.clone(),
            columns: self.columns.iter().map(Column::from).collect(),
            joint: self.joint().cloned(),
            segments: self.segmented_by.iter().map(|by| StoredSegments::of(by, &self.layout)).collect(),
        }
    }

    fn from_content(content: Content) -> Result<Self, FormatError> {
        let Content { model, source, rows, options, columns, joint, segments } = content;
        let columns = columns.into_iter().map(BaselineColumn::try_from).collect::<Result<_, _>>()?;
        let mut baseline = Self::new(model, source, rows, options, columns)?;
        if let Some(joint) = joint {
            baseline = baseline.with_joint(joint)?;
        }
        if segments.is_empty() {
            return Ok(baseline);
        }
        let segmented = segments.into_iter().map(|stored| stored.read(&baseline.layout));
        let segmented = segmented.collect::<Result<_, _>>()?;
        baseline.with_segments(segmented)
    }

    /// The canonical text that the version is the hash of.
    pub(super) fn content_json(&self) -> Result<Vec<u8>, FormatError> {
        Ok(serde_json::to_vec(&self.content())?)
    }

    /// The stored document; one that was read from an earlier format is given back as it was.
    ///
    /// # Errors
    ///
    /// [`FormatError::Json`] only if a number is not finite, which building and reading rule out.
    pub fn to_json(&self) -> Result<String, FormatError> {
        if let Some(document) = &self.document {
            return Ok(document.clone());
        }
        let (version, content) = (self.version.clone(), self.content());
        let document = if self.segmented_by.is_empty() {
            Document::V2 { version, content }
        } else {
            Document::V3 { version, content }
        };
        Ok(serde_json::to_string(&document)?)
    }

    /// Reads a stored document of any format and checks its version against its content.
    ///
    /// # Errors
    ///
    /// [`FormatError`] when it is damaged, changed, or of an unknown format.
    pub fn from_json(text: &str) -> Result<Self, FormatError> {
        let (stated, mut baseline) = match serde_json::from_str(text)? {
            Document::V1 { version, content } => {
                let found = name_of(&serde_json::to_vec(&content)?);
                let mut baseline = content.baseline()?;
                baseline.version = found;
                baseline.document = Some(text.to_owned());
                (version, baseline)
            }
            Document::V2 { version, content } | Document::V3 { version, content } => {
                (version, Self::from_content(content)?)
            }
        };
        if baseline.version == stated {
            return Ok(baseline);
        }
        Err(FormatError::Version { stated, found: std::mem::take(&mut baseline.version) })
    }
}

#[cfg(test)]
mod compat_tests;
