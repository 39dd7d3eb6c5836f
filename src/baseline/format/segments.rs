//! The stored form of what a baseline holds by segment.

use serde::{Deserialize, Serialize};

use super::super::segments::{SegmentColumn, SegmentReference, SegmentedBy};
use super::super::{Bins, packed};
use super::FormatError;
use crate::model::FeatureKind;
use crate::profile::{ColumnLayout, Cut, Layout, MAX_SEGMENT_VALUES};
use crate::stats::Variation;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredSegments {
    column: String,
    kind: FeatureKind,
    values: Vec<String>,
    segments: Vec<StoredSegment>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredSegment {
    rows: u64,
    columns: Vec<StoredColumn>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredColumn {
    /// The profile's own stored form, in base64.
    counts: String,
    /// Runs of cells of one bin, as bin and number of cells; absent where every cell is a bin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bins: Option<Vec<(u32, usize)>>,
    ks_error_bound: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    psi_variation: Option<Variation>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ks_variation: Option<Variation>,
}

impl StoredSegments {
    pub(super) fn of(segmented: &SegmentedBy, layout: &Layout) -> Self {
        let column = |(column, layout): (&SegmentColumn, &ColumnLayout)| StoredColumn {
            counts: packed::write(&column.profile),
            bins: matches!(layout.cut, Cut::Grid(_)).then(|| column.bins.runs()),
            ks_error_bound: column.ks_error_bound,
            psi_variation: column.psi_variation,
            ks_variation: column.ks_variation,
        };
        let segment = |segment: &SegmentReference| StoredSegment {
            rows: segment.rows,
            columns: segment.columns.iter().zip(layout.columns()).map(column).collect(),
        };
        Self {
            column: segmented.column.clone(),
            kind: segmented.kind,
            values: segmented.values.clone(),
            segments: segmented.segments.iter().map(segment).collect(),
        }
    }

    pub(super) fn read(self, layout: &Layout) -> Result<SegmentedBy, FormatError> {
        let column = self.column.clone();
        let refuse = |problem: String| FormatError::Column { column: column.clone(), problem };
        let places = self.values.len() + 2;
        if self.segments.len() != places || self.values.len() > MAX_SEGMENT_VALUES {
            let found = self.segments.len();
            return Err(refuse(format!("{found} segments for {places} places")));
        }
        // A layout of one column is made once for all segments: its index is what costs.
        let alone: Vec<Layout> =
            layout.columns().iter().map(|column| Layout::new(vec![column.clone()])).collect();
        let segments = self.segments.into_iter().map(|segment| segment.read(layout, &alone).map_err(&refuse));
        let segments = segments.collect::<Result<_, _>>()?;
        Ok(SegmentedBy { column: self.column, kind: self.kind, values: self.values, segments })
    }
}

impl StoredSegment {
    fn read(self, layout: &Layout, alone: &[Layout]) -> Result<SegmentReference, String> {
        let expected = if self.rows == 0 { 0 } else { alone.len() };
        if self.columns.len() != expected {
            return Err(format!("{} columns of a segment, expected {expected}", self.columns.len()));
        }
        let columns = self.columns.into_iter().zip(layout.columns()).zip(alone);
        let columns = columns.map(|((stored, layout), alone)| stored.read(layout, alone));
        Ok(SegmentReference { rows: self.rows, columns: columns.collect::<Result<_, _>>()? })
    }
}

impl StoredColumn {
    fn read(self, layout: &ColumnLayout, alone: &Layout) -> Result<SegmentColumn, String> {
        let profile = packed::read(alone, &self.counts)?;
        let bins = match (self.bins, &layout.cut) {
            (Some(runs), _) => Bins::from_runs(&runs, layout.cut.cells()),
            (None, Cut::Categories(_)) => Some(Bins::choose(&layout.cut, &profile.cells, 0)),
            (None, Cut::Grid(_)) => None,
        };
        let cells = layout.cut.cells();
        let bins =
            bins.ok_or_else(|| format!("the bins of `{}` do not fit its {cells} cells", layout.name))?;
        Ok(SegmentColumn {
            profile,
            bins,
            ks_error_bound: self.ks_error_bound,
            psi_variation: self.psi_variation,
            ks_variation: self.ks_variation,
        })
    }
}
