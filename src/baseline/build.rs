//! From reference data to a baseline: cut the cells, count the rows, learn how blocks of time differ.

use std::collections::BTreeMap;

use thiserror::Error;

use super::{Baseline, BaselineColumn, Bins, CutOptions, FormatError, infer_kind};
use crate::model::{FeatureKind, ModelName, Role, Value};
use crate::profile::{Categories, ColumnLayout, ColumnProfile, Cut, Grid, Layout, Profile, category_of};
use crate::stats::natural_variation::{self, Block};
use crate::stats::{self, Variation, VariationKind};

/// Distinct categories past which a column is refused: it is an identifier, not a feature.
const MAX_CATEGORIES: usize = 100_000;

/// Blocks with fewer rows than this share of the mean are cut-off ends, not blocks.
const MIN_BLOCK_SHARE: f64 = 0.25;

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
    /// A column has more categories than a feature can have.
    #[error(
        "column `{column}` has more than {limit} distinct values: it is an identifier; leave it out with `--exclude {column}`"
    )]
    TooManyCategories {
        /// The column.
        column: String,
        /// The limit.
        limit: usize,
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
    let n_rows = columns.first().ok_or(BuildError::NoColumns)?.values.len();
    if n_rows == 0 {
        return Err(BuildError::NoRows);
    }
    let mut layouts = Vec::with_capacity(columns.len());
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
        layouts.push(cut_column(column, &options.cut)?);
    }
    let layout = Layout::new(layouts);
    let mut whole = Profile::empty(&layout);
    for row in 0..n_rows {
        whole.record_row(&layout, columns.iter().map(|column| &column.values[row]));
    }
    for (column, profile) in layout.columns().iter().zip(whole.columns()) {
        if profile.usable() == 0 {
            return Err(BuildError::KindMismatch { column: column.name.clone(), kind: column.kind.as_str() });
        }
    }
    let parts = blocks.map(|blocks| profile_blocks(columns, &layout, blocks)).unwrap_or_default();
    let built = layout
        .columns()
        .iter()
        .zip(whole.columns())
        .enumerate()
        .map(|(index, (column, profile))| {
            let bins = Bins::choose(&column.cut, &profile.cells, options.cut.psi_bins);
            let blocks: Vec<&ColumnProfile> = parts.iter().map(|part| &part.columns()[index]).collect();
            let (psi_variation, ks_variation) = learn_variation(column, profile, &bins, &blocks);
            BaselineColumn {
                ks_error_bound: ks_error_bound(&column.cut, profile),
                layout: column.clone(),
                profile: profile.clone(),
                bins,
                psi_variation,
                ks_variation,
            }
        })
        .collect();
    Ok(Baseline::new(options.model, options.source, n_rows as u64, options.cut, built)?)
}

fn cut_column(column: &SourceColumn<'_>, options: &CutOptions) -> Result<ColumnLayout, BuildError> {
    let kind = match column.kind {
        Some(kind) => kind,
        None if column.values.iter().all(|value| *value == Value::Missing) => {
            return Err(BuildError::AllMissing(column.name.to_owned()));
        }
        None => infer_kind(column.values).ok_or_else(|| BuildError::NotScalar(column.name.to_owned()))?,
    };
    let (cut, range) = match kind {
        FeatureKind::Numeric => {
            let mut values: Vec<f64> = column.values.iter().filter_map(finite).collect();
            values.sort_by(f64::total_cmp);
            let range = values.first().copied().zip(values.last().copied());
            (Cut::Grid(Grid::cut(&values, options.grid_cells)), range)
        }
        FeatureKind::Categorical => {
            let mut counts: BTreeMap<String, u64> = BTreeMap::new();
            for name in column.values.iter().filter_map(|value| category(kind, value)) {
                *counts.entry(name).or_default() += 1;
                if counts.len() > MAX_CATEGORIES {
                    return Err(BuildError::TooManyCategories {
                        column: column.name.to_owned(),
                        limit: MAX_CATEGORIES,
                    });
                }
            }
            (Cut::Categories(Categories::choose(&counts, options.top_categories)), None)
        }
        FeatureKind::Boolean => {
            // Both truth values are known, whether or not the reference data hold both.
            let counts = [("false".to_owned(), 1), ("true".to_owned(), 1)].into();
            (Cut::Categories(Categories::choose(&counts, 2)), None)
        }
    };
    Ok(ColumnLayout { name: column.name.to_owned(), role: column.role, kind, cut, range })
}

fn finite(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) if number.is_finite() => Some(*number),
        _ => None,
    }
}

fn category(kind: FeatureKind, value: &Value) -> Option<String> {
    match value {
        Value::Text(text) => Some(text.clone()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Number(number) if !number.is_nan() => category_of(kind, *number),
        _ => None,
    }
}

/// The greatest share of the reference rows in a cell that is not an atom; 0 when every value has its own.
fn ks_error_bound(cut: &Cut, profile: &ColumnProfile) -> f64 {
    let Cut::Grid(grid) = cut else { return 0.0 };
    let worst = (0..grid.cells()).filter(|&cell| !grid.is_atom(cell)).map(|cell| profile.cells[cell]).max();
    worst.unwrap_or(0) as f64 / profile.usable().max(1) as f64
}

fn profile_blocks(columns: &[SourceColumn<'_>], layout: &Layout, blocks: Blocks<'_>) -> Vec<Profile> {
    let mut by_block: BTreeMap<i64, Profile> = BTreeMap::new();
    for (row, &block) in blocks.of_row.iter().enumerate() {
        by_block
            .entry(block)
            .or_insert_with(|| Profile::empty(layout))
            .record_row(layout, columns.iter().map(|column| &column.values[row]));
    }
    let mean = blocks.of_row.len() as f64 / by_block.len().max(1) as f64;
    by_block.into_values().filter(|profile| profile.rows() as f64 >= mean * MIN_BLOCK_SHARE).collect()
}

fn learn_variation(
    column: &ColumnLayout,
    whole: &ColumnProfile,
    bins: &Bins,
    blocks: &[&ColumnProfile],
) -> (Option<Variation>, Option<Variation>) {
    let reference = bins.profile_counts(whole);
    let n_bins = reference.iter().filter(|&&count| count > 0).count();
    let (mut psi, mut ks_squared) = (Vec::new(), Vec::new());
    for block in blocks {
        let inside = bins.profile_counts(block);
        let rest: Vec<u64> =
            reference.iter().zip(&inside).map(|(all, part)| all.saturating_sub(*part)).collect();
        if let Ok(value) = stats::psi(&rest, &inside) {
            psi.push(Block { value, rows: inside.iter().sum() });
        }
        if let Ok(value) = stats::ks_statistic_from_cells(&whole.cells_without(block), &block.cells) {
            ks_squared.push(Block { value: value * value, rows: block.usable() });
        }
    }
    let all = whole.usable() + whole.unusable();
    let psi = natural_variation::estimate(VariationKind::Psi { bins: n_bins }, &psi, all);
    let ks = match column.cut {
        Cut::Grid(_) => natural_variation::estimate(VariationKind::KsSquared, &ks_squared, whole.usable()),
        Cut::Categories(_) => None,
    };
    (psi, ks)
}
