//! The first stored form of a baseline, whose moments were rounded.

use serde::{Deserialize, Serialize};

use super::super::{Baseline, BaselineColumn, Bins, CutOptions};
use super::{FormatError, check};
use crate::model::ModelName;
use crate::profile::{ColumnLayout, ColumnProfile};
use crate::stats::{Moments, Variation};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Content {
    model: ModelName,
    source: String,
    rows: u64,
    options: CutOptions,
    columns: Vec<Column>,
}

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
    moments: Option<RoundedMoments>,
    bins: Bins,
    ks_error_bound: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    psi_variation: Option<Variation>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ks_variation: Option<Variation>,
}

#[derive(Serialize, Deserialize)]
struct RoundedMoments {
    count: u64,
    mean: f64,
    m2: f64,
    min: f64,
    max: f64,
}

impl Content {
    /// The same as a baseline of today; the open cells are taken as evenly filled.
    pub(super) fn baseline(self) -> Result<Baseline, FormatError> {
        let columns = self.columns.into_iter().map(Column::baseline).collect::<Result<_, _>>()?;
        Baseline::new(self.model, self.source, self.rows, self.options, columns)
    }
}

impl Column {
    fn baseline(self) -> Result<BaselineColumn, FormatError> {
        check(&self.layout, &self.cells, &self.bins)?;
        let mut profile = ColumnProfile {
            cells: self.cells,
            missing: self.missing,
            nan: self.nan,
            pos_inf: self.pos_inf,
            neg_inf: self.neg_inf,
            wrong_type: self.wrong_type,
            ..ColumnProfile::default()
        };
        if let Some(moments) = self.moments {
            let range = (moments.min, moments.max);
            profile.moments = Moments::from_rounded(moments.count, moments.mean, moments.m2, range);
            profile.assume_tails(&self.layout);
        }
        Ok(BaselineColumn {
            layout: self.layout,
            profile,
            bins: self.bins,
            ks_error_bound: self.ks_error_bound,
            psi_variation: self.psi_variation,
            ks_variation: self.ks_variation,
            slots: None,
        })
    }
}
