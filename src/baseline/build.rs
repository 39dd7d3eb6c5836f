//! From reference data to a baseline: cut the cells, count the rows, learn how blocks of time differ.

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

use super::{
    Baseline, BaselineColumn, CategorySummary, CutOptions, Cycle, FormatError, NumericSummary, Runs,
    SegmentSources, SegmentedBy, infer_kind, joint,
};
use crate::model::{FeatureKind, ModelName, Role, Value};
use crate::profile::{Categories, ColumnLayout, ColumnProfile, Cut, Grid, Others, category_of};

/// Reference data that no baseline can be built from.
#[derive(Debug, Error)]
pub enum BuildError {
    /// There are no rows.
    #[error("the reference data have no rows")]
    NoRows,
    /// There are no columns.
    #[error("the reference data have no columns to watch")]
    NoColumns,
    /// A column has no value at all.
    #[error("column `{0}` is empty in every row; leave it out with `--exclude {0}`")]
    AllMissing(String),
    /// A column holds neither numbers, text nor truth values.
    #[error("column `{0}` holds no scalar values; leave it out with `--exclude {0}`")]
    NotScalar(String),
    /// A column of the stated kind has not one value of that kind.
    #[error(
        "column `{column}` was said to be {kind}, but none of its values is; correct `--kind`, or leave it out with `--exclude {column}`"
    )]
    KindMismatch {
        /// The column.
        column: String,
        /// The stated kind.
        kind: &'static str,
    },
    /// Columns of different length.
    #[error("column `{column}` has {got} values, the first column has {expected}")]
    Ragged {
        /// The column.
        column: String,
        /// Its values.
        got: usize,
        /// The first column's.
        expected: usize,
    },
    /// A column to segment by that has no categories.
    #[error(
        "`{0}` is numeric, and a segment needs categories; say `--kind {0}=categorical`, or segment by another column"
    )]
    NumericSegment(String),
    /// Two columns of one role and name.
    #[error("column `{0}` occurs twice")]
    Duplicate(String),
    /// The content could not be written.
    #[error(transparent)]
    Format(#[from] FormatError),
}

/// One column of the reference data.
#[derive(Debug, Clone, Copy)]
pub struct SourceColumn<'a> {
    /// Its name.
    pub name: &'a str,
    /// Input or output of the model.
    pub role: Role,
    /// Its kind; `None`: read from the values.
    pub kind: Option<FeatureKind>,
    /// One value per row.
    pub values: &'a [Value],
}

/// Which block of event time each row belongs to; blocks are numbered in time order and about as long as a window.
#[derive(Debug, Clone, Copy)]
pub struct Blocks<'a> {
    /// One block number per row.
    pub of_row: &'a [i64],
    /// The season that windows follow; then each is compared with the blocks of its slot.
    pub cycle: Option<Cycle>,
}

/// What to build.
#[derive(Debug, Clone)]
pub struct BuildOptions {
    /// The model.
    pub model: ModelName,
    /// Where the data came from, for people.
    pub source: String,
    /// How to cut.
    pub cut: CutOptions,
    /// Whether to learn how numeric and boolean inputs hang together, where there are two or more; a part never does.
    pub joint: bool,
}

/// Builds a baseline; the same data and options always give the same version.
///
/// `blocks` teaches it the natural variation; without event times that stays unknown.
///
/// # Errors
///
/// [`BuildError`] names the column and what to do about it.
pub fn build(
    columns: &[SourceColumn<'_>],
    blocks: Option<Blocks<'_>>,
    options: BuildOptions,
) -> Result<Baseline, BuildError> {
    build_segmented(columns, blocks, SegmentSources::default(), options)
}

/// Builds a baseline as [`build`] does, which also holds the counts of each segment.
///
/// It reads every row once more for each column to segment by, and holds as many counts again for each segment.
///
/// # Errors
///
/// [`BuildError`] names the column and what to do about it.
pub fn build_segmented(
    columns: &[SourceColumn<'_>],
    blocks: Option<Blocks<'_>>,
    segments: SegmentSources<'_>,
    options: BuildOptions,
) -> Result<Baseline, BuildError> {
    let rows = check_shape(columns)?;
    let mut built: Vec<BaselineColumn> = Vec::with_capacity(columns.len());
    for column in columns {
        let (layout, whole, by_block) = count_column(column, blocks, &options.cut)?;
        if whole.usable() == 0 {
            return Err(BuildError::KindMismatch { column: layout.name, kind: layout.kind.as_str() });
        }
        let learned = BaselineColumn::learn(layout, whole, &by_block, 0.0, &options.cut);
        built.push(match blocks.and_then(|blocks| blocks.cycle) {
            Some(cycle) => learned.in_season(cycle, &by_block),
            None => learned,
        });
    }
    let learned = if options.joint { joint::learn(columns, &built, blocks, &options.cut)? } else { None };
    let layouts: Vec<ColumnLayout> = built
        .iter()
        .chain(learned.as_ref().map(|learned| &learned.column))
        .map(|column| column.layout.clone())
        .collect();
    let derived = learned.as_ref().map(|learned| SourceColumn {
        name: &learned.column.layout.name,
        role: Role::Derived,
        kind: Some(FeatureKind::Numeric),
        values: &learned.errors,
    });
    let segmented = segment(columns, derived, blocks, segments, &layouts, &options.cut)?;
    let joint = learned.map(|learned| {
        built.push(learned.column);
        learned.joint
    });
    let mut baseline = Baseline::assemble(options.model, options.source, rows, options.cut, built)?;
    if let Some(joint) = joint {
        baseline = baseline.with_joint(joint)?;
    }
    Ok(if segmented.is_empty() { baseline } else { baseline.with_segments(segmented)? })
}

/// Counts every column by the values of each column to segment by.
fn segment(
    columns: &[SourceColumn<'_>],
    derived: Option<SourceColumn<'_>>,
    blocks: Option<Blocks<'_>>,
    segments: SegmentSources<'_>,
    layouts: &[ColumnLayout],
    options: &CutOptions,
) -> Result<Vec<SegmentedBy>, BuildError> {
    let sources: Vec<_> = columns.iter().chain(&derived).zip(layouts).collect();
    let mut segmented: Vec<SegmentedBy> = Vec::with_capacity(segments.by.len());
    for by in segments.by {
        let rows = columns.first().map_or(0, |column| column.values.len());
        if by.values.len() != rows {
            let column = by.name.to_owned();
            return Err(BuildError::Ragged { column, got: by.values.len(), expected: rows });
        }
        if segmented.iter().any(|other| other.column() == by.name) {
            return Err(BuildError::Duplicate(by.name.to_owned()));
        }
        segmented.push(SegmentedBy::count(by, segments.values, &sources, blocks, options)?);
    }
    Ok(segmented)
}

/// Checks that the columns are as long as one another and named once each; returns the number of rows.
pub(super) fn check_shape(columns: &[SourceColumn<'_>]) -> Result<u64, BuildError> {
    let n_rows = columns.first().ok_or(BuildError::NoColumns)?.values.len();
    if n_rows == 0 {
        return Err(BuildError::NoRows);
    }
    for (index, column) in columns.iter().enumerate() {
        if column.values.len() != n_rows {
            return Err(BuildError::Ragged {
                column: column.name.to_owned(),
                got: column.values.len(),
                expected: n_rows,
            });
        }
        if columns[..index].iter().any(|other| other.name == column.name && other.role == column.role) {
            return Err(BuildError::Duplicate(column.name.to_owned()));
        }
    }
    Ok(n_rows as u64)
}

/// A column's layout, and its counts as a whole and by block.
pub(super) type Counted = (ColumnLayout, ColumnProfile, BTreeMap<i64, ColumnProfile>);

/// Cuts a column and counts it.
pub(super) fn count_column(
    column: &SourceColumn<'_>,
    blocks: Option<Blocks<'_>>,
    options: &CutOptions,
) -> Result<Counted, BuildError> {
    let layout = cut_column(column, options)?;
    let mut whole = ColumnProfile::empty(&layout);
    whole.record_values(&layout, column.values);
    let mut by_block: BTreeMap<i64, ColumnProfile> = BTreeMap::new();
    if let Some(blocks) = blocks {
        for (value, &block) in column.values.iter().zip(blocks.of_row) {
            by_block.entry(block).or_insert_with(|| ColumnProfile::empty(&layout)).record(&layout, value);
        }
    }
    Ok((layout, whole, by_block))
}

/// The kind of a column: the stated one, else what its values say.
pub(super) fn check_kind(column: &SourceColumn<'_>) -> Result<FeatureKind, BuildError> {
    match column.kind {
        Some(kind) => Ok(kind),
        None if column.values.iter().all(|value| *value == Value::Missing) => {
            Err(BuildError::AllMissing(column.name.to_owned()))
        }
        None => infer_kind(column.values).ok_or_else(|| BuildError::NotScalar(column.name.to_owned())),
    }
}

fn cut_column(column: &SourceColumn<'_>, options: &CutOptions) -> Result<ColumnLayout, BuildError> {
    let kind = check_kind(column)?;
    let (cut, range) = match kind {
        FeatureKind::Numeric => {
            let mut summary = NumericSummary::new(usize::MAX);
            let numbers: Vec<f64> = column.values.iter().filter_map(finite).collect();
            summary.extend(&numbers);
            numeric_cut(&summary.finish(), options)
        }
        FeatureKind::Categorical => {
            let mut summary = CategorySummary::new();
            for name in column.values.iter().filter_map(|value| category(kind, value)) {
                summary.add(&name, 1);
            }
            (Cut::Categories(summary.finish(options.top_categories).0), None)
        }
        FeatureKind::Boolean => (boolean_cut(), None),
    };
    Ok(ColumnLayout { name: column.name.to_owned(), role: column.role, kind, cut, range })
}

/// The grid of a numeric column, and its least and greatest value.
pub fn numeric_cut(runs: &Runs, options: &CutOptions) -> (Cut, Option<(f64, f64)>) {
    let ends = runs.values.first().zip(runs.values.last());
    let cut = Cut::Grid(Grid::cut_weighted(&runs.values, options.grid_cells));
    (cut, ends.map(|(first, last)| (first.0, last.0)))
}

/// The cells of a boolean column: both truth values are known, whether or not the reference data hold both.
pub fn boolean_cut() -> Cut {
    Cut::Categories(Categories::new(vec!["false".into(), "true".into()], Others::Names(BTreeSet::new())))
}

fn finite(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) if number.is_finite() => Some(*number),
        _ => None,
    }
}

pub(super) fn category(kind: FeatureKind, value: &Value) -> Option<String> {
    match value {
        Value::Text(text) => Some(text.clone()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Number(number) if !number.is_nan() => category_of(kind, *number),
        _ => None,
    }
}
