//! A baseline: the frozen profile of reference data, its PSI bins and its natural variation, named by its content.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::model::ModelName;
use crate::profile::{Joint, Layout, PCA_ERROR};
use crate::stats::natural_variation;

mod bins;
mod build;
mod column;
mod format;
mod infer;
mod joint;
mod packed;
mod part;
mod rebin;
mod season;
mod segments;
mod summary;

pub use bins::Bins;
pub use build::{
    Blocks, BuildError, BuildOptions, SourceColumn, boolean_cut, build, build_segmented, numeric_cut,
};
pub use column::{BaselineColumn, Reference};
pub use format::FormatError;
pub use infer::infer_kind;
pub use part::{Part, PartError, build_part, merge};
pub use rebin::rebin;
pub use season::{Cycle, Season, Slots};
pub use segments::{SegmentColumn, SegmentReference, SegmentSources, SegmentedBy};
pub use summary::{CategorySummary, MAX_CATEGORIES, NumericSummary, Runs};

/// How a baseline was cut; part of its content.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CutOptions {
    /// Quantile cells of a numeric feature.
    pub grid_cells: usize,
    /// PSI bins of a numeric feature.
    pub psi_bins: usize,
    /// Categories with a cell of their own.
    pub top_categories: usize,
    /// Pseudo-count of every bin.
    pub smoothing: f64,
}

impl Default for CutOptions {
    fn default() -> Self {
        Self { grid_cells: 1000, psi_bins: 10, top_categories: 256, smoothing: 0.5 }
    }
}

/// A frozen profile with everything that judging a window needs.
///
/// One built from whole rows also knows how they hang together ([`joint`](Self::joint)), and then has a last column
/// that is computed from others. One merged from parts does not: parts hold columns, each counted by itself, and the
/// components would have to be fitted before the first row is counted.
#[derive(Debug, Clone, PartialEq)]
pub struct Baseline {
    model: ModelName,
    source: String,
    rows: u64,
    options: CutOptions,
    columns: Vec<BaselineColumn>,
    layout: Layout,
    segmented_by: Vec<SegmentedBy>,
    version: String,
    /// The document it was read from, where that is of an earlier format: its name is that document's.
    document: Option<String>,
}

impl Baseline {
    /// A baseline of columns that were counted and learned from one by one; what they teach about how heavy the tails
    /// of hours are is shared between them.
    ///
    /// # Errors
    ///
    /// [`FormatError::Json`] only if a number is not finite, which counting rules out.
    pub fn assemble(
        model: ModelName,
        source: String,
        rows: u64,
        options: CutOptions,
        mut columns: Vec<BaselineColumn>,
    ) -> Result<Self, FormatError> {
        natural_variation::pool(columns.iter_mut().filter_map(|column| column.psi_variation.as_mut()));
        natural_variation::pool(columns.iter_mut().filter_map(|column| column.ks_variation.as_mut()));
        Self::new(model, source, rows, options, columns)
    }

    /// A baseline of finished columns.
    fn new(
        model: ModelName,
        source: String,
        rows: u64,
        options: CutOptions,
        columns: Vec<BaselineColumn>,
    ) -> Result<Self, FormatError> {
        let layout = Layout::new(columns.iter().map(|column| column.layout.clone()).collect());
        let mut baseline = Self {
            model,
            source,
            rows,
            options,
            columns,
            layout,
            segmented_by: Vec::new(),
            version: String::new(),
            document: None,
        };
        baseline.version = baseline.content_version()?;
        Ok(baseline)
    }

    /// The same baseline with joint drift; its last column is the errors of `joint`.
    ///
    /// # Errors
    ///
    /// [`FormatError::Column`] when `joint` does not fit the columns.
    pub(crate) fn with_joint(mut self, joint: Joint) -> Result<Self, FormatError> {
        self.layout = self.layout.with_joint(joint).map_err(|problem| FormatError::Column {
            column: PCA_ERROR.to_owned(),
            problem: problem.to_string(),
        })?;
        self.version = self.content_version()?;
        Ok(self)
    }

    /// The same baseline with counts by segment.
    pub(crate) fn with_segments(mut self, segmented_by: Vec<SegmentedBy>) -> Result<Self, FormatError> {
        self.segmented_by = segmented_by;
        self.version = self.content_version()?;
        Ok(self)
    }

    /// The first 12 hexadecimal digits of the SHA-256 of the content.
    fn content_version(&self) -> Result<String, FormatError> {
        Ok(name_of(&self.content_json()?))
    }

    /// Its name: the content's hash.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The model it belongs to.
    pub fn model(&self) -> &ModelName {
        &self.model
    }

    /// Where the reference data came from.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Rows of the reference data.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// How it was cut.
    pub fn options(&self) -> &CutOptions {
        &self.options
    }

    /// Its columns: inputs, outputs, each in the order of the reference data, then what is derived from them.
    pub fn columns(&self) -> &[BaselineColumn] {
        &self.columns
    }

    /// What it knows about several columns at once, where there are enough of them.
    pub fn joint(&self) -> Option<&Joint> {
        self.layout.joint()
    }

    /// The layout that windows are profiled on.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }
}

/// The name of a content.
fn name_of(content: &[u8]) -> String {
    let digest = Sha256::digest(content);
    let number = digest.iter().take(6).fold(0_u64, |number, &byte| number << 8 | u64::from(byte));
    format!("{number:012x}")
}
