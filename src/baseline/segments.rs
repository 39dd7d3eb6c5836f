//! The reference data by segment: what the rows of one region are compared with is the rows of that region.

use std::collections::BTreeMap;

use super::build::check_kind;
use super::{Baseline, BaselineColumn, Bins, Blocks, BuildError, CategorySummary, CutOptions, SourceColumn};
use crate::model::{FeatureKind, Role};
use crate::profile::{
    ColumnLayout, ColumnProfile, Cut, Distinct, MAX_SEGMENT_VALUES, SegmentedColumn, Unseen,
};
use crate::stats::{Variation, natural_variation};
use crate::yaml::hint;

/// What to segment reference data by.
#[derive(Debug, Clone, Copy, Default)]
pub struct SegmentSources<'a> {
    /// The columns, which need not be among those that are watched.
    pub by: &'a [SourceColumn<'a>],
    /// Values of each with a segment of their own, the most frequent ones; at most [`MAX_SEGMENT_VALUES`].
    pub values: usize,
}

/// The reference data by the values of one column.
///
/// Seasons are not followed: a segment is compared with all of its reference rows, and what is learned of how its
/// windows vary includes their rhythm.
#[derive(Debug, Clone, PartialEq)]
pub struct SegmentedBy {
    pub(super) column: String,
    pub(super) kind: FeatureKind,
    /// Those with a segment of their own, the most frequent first.
    pub(super) values: Vec<String>,
    /// One per value, then all others, then the rows without a value.
    pub(super) segments: Vec<SegmentReference>,
}

/// The reference rows of one segment.
#[derive(Debug, Clone, PartialEq)]
pub struct SegmentReference {
    /// How many there are.
    pub rows: u64,
    /// One per column of the baseline; none where there are no rows.
    pub columns: Vec<SegmentColumn>,
}

/// One column of one segment, counted on the cells of the baseline's column.
#[derive(Debug, Clone, PartialEq)]
pub struct SegmentColumn {
    /// Counts of the reference rows.
    pub profile: ColumnProfile,
    /// PSI bins over the cells, chosen for these rows.
    pub bins: Bins,
    /// How far a KS statistic read from the cells can be from the exact one.
    pub ks_error_bound: f64,
    /// Natural variation of `psi`, when the reference data have event times.
    pub psi_variation: Option<Variation>,
    /// Natural variation of `ks²`.
    pub ks_variation: Option<Variation>,
}

impl SegmentedBy {
    /// Name of the column.
    pub fn column(&self) -> &str {
        &self.column
    }

    /// The places of its values.
    pub fn places(&self) -> SegmentedColumn {
        SegmentedColumn::new(&self.column, self.kind, &self.values)
    }

    /// The segment of each place.
    pub fn segments(&self) -> &[SegmentReference] {
        &self.segments
    }

    /// Counts the rows of `columns`, whose layouts are given, by the values of `by`.
    pub(super) fn count(
        by: &SourceColumn<'_>,
        most: usize,
        columns: &[(&SourceColumn<'_>, &ColumnLayout)],
        blocks: Option<Blocks<'_>>,
        options: &CutOptions,
    ) -> Result<Self, BuildError> {
        let kind = check_kind(by)?;
        let places = match kind {
            FeatureKind::Numeric => return Err(BuildError::NumericSegment(by.name.to_owned())),
            FeatureKind::Boolean => SegmentedColumn::new(by.name, kind, &["false".into(), "true".into()]),
            FeatureKind::Categorical => {
                let mut summary = CategorySummary::new();
                for name in by.values.iter().filter_map(|value| super::build::category(kind, value)) {
                    summary.add(&name, 1);
                }
                let (categories, _) = summary.finish(most.min(MAX_SEGMENT_VALUES));
                SegmentedColumn::new(by.name, kind, categories.top())
            }
        };
        let mut rows_of: Vec<Vec<usize>> = vec![Vec::new(); places.keys().len()];
        for (row, value) in by.values.iter().enumerate() {
            rows_of[places.place(Some(value))].push(row);
        }
        let mut segments: Vec<SegmentReference> =
            rows_of.iter().map(|rows| SegmentReference::count(rows, columns, blocks, options)).collect();
        // The same hours are behind all segments; what one of few rows cannot tell of their tails, the others can.
        let columns = segments.iter_mut().flat_map(|segment| &mut segment.columns);
        natural_variation::pool(columns.filter_map(|column| column.psi_variation.as_mut()));
        let columns = segments.iter_mut().flat_map(|segment| &mut segment.columns);
        natural_variation::pool(columns.filter_map(|column| column.ks_variation.as_mut()));
        Ok(Self { column: by.name.to_owned(), kind, values: places.values().to_vec(), segments })
    }
}

impl SegmentReference {
    /// Counts some rows.
    fn count(
        rows: &[usize],
        columns: &[(&SourceColumn<'_>, &ColumnLayout)],
        blocks: Option<Blocks<'_>>,
        options: &CutOptions,
    ) -> Self {
        if rows.is_empty() {
            return Self { rows: 0, columns: Vec::new() };
        }
        let count = |(source, layout): &(&SourceColumn<'_>, &ColumnLayout)| {
            let mut whole = ColumnProfile::empty(layout);
            let mut by_block: BTreeMap<i64, ColumnProfile> = BTreeMap::new();
            for &row in rows {
                let Some(value) = source.values.get(row) else { continue };
                whole.record(layout, value);
                if let Some(block) = blocks.and_then(|blocks| blocks.of_row.get(row)) {
                    let block = by_block.entry(*block).or_insert_with(|| ColumnProfile::empty(layout));
                    block.record(layout, value);
                }
            }
            let column = BaselineColumn::learn((*layout).clone(), whole, &by_block, 0.0, options);
            SegmentColumn {
                // What is seen of single values is not compared, and would be most of what is stored.
                profile: ColumnProfile {
                    distinct: Distinct::default(),
                    unseen: Unseen::default(),
                    ..column.profile
                },
                bins: column.bins,
                ks_error_bound: column.ks_error_bound,
                psi_variation: column.psi_variation,
                ks_variation: column.ks_variation,
            }
        };
        let columns = columns.iter().map(count).collect();
        Self { rows: rows.len() as u64, columns }
    }
}

impl Baseline {
    /// What it holds by segment: one entry per column that it was segmented by.
    pub fn segmented_by(&self) -> &[SegmentedBy] {
        &self.segmented_by
    }

    /// The places of the values of `columns`, and what is wrong with those that have none.
    ///
    /// The values are those of the baseline's segments; where it has none of a column, the most frequent categories of the
    /// column. Both are part of the baseline, so that every process places rows alike.
    ///
    /// # Arguments
    ///
    /// * `most`: values that are taken from the categories.
    pub fn segments_of(&self, columns: &[String], most: usize) -> (Vec<SegmentedColumn>, Vec<String>) {
        let mut found = Vec::new();
        let mut misfits = Vec::new();
        for name in columns {
            match self.places_of(name, most) {
                Ok(places) => found.push(places),
                Err(misfit) => misfits.push(misfit),
            }
        }
        (found, misfits)
    }

    fn places_of(&self, name: &str, most: usize) -> Result<SegmentedColumn, String> {
        if let Some(segmented) = self.segmented_by.iter().find(|segmented| segmented.column == name) {
            return Ok(segmented.places());
        }
        let inputs = || self.layout.columns().iter().filter(|column| column.role == Role::Feature);
        let Some(column) = inputs().find(|column| column.name == name) else {
            let near = hint(name, inputs().map(|column| column.name.as_str()));
            return Err(format!(
                "the baseline has no input `{name}` to take the values of segments from{near}; \
                 build one with `--segments {name}`"
            ));
        };
        match &column.cut {
            Cut::Categories(categories) => {
                let values = &categories.top()[..categories.top().len().min(most)];
                Ok(SegmentedColumn::new(name, column.kind, values))
            }
            Cut::Grid(_) => Err(format!(
                "`{name}` is numeric, and a segment needs categories: \
                 build a baseline with `--kind {name}=categorical`, or segment by another column"
            )),
        }
    }
}
