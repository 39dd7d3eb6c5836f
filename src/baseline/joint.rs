//! What reference data teach about several columns at once: principal components, their errors, a sample of rows.

use std::collections::{BTreeMap, BTreeSet};

use super::build::count_column;
use super::{BaselineColumn, Blocks, BuildError, CutOptions, SourceColumn};
use crate::model::{FeatureKind, Role, Value};
use crate::profile::{Joint, MAX_SAMPLED_COLUMNS, PCA_ERROR, cell_of, is_input, mix, number_of, row_error};
use crate::stats::StatError;
use crate::stats::joint::{CoMoments, DEFAULT_EXPLAINED, MAX_FEATURES, Pca};

/// Reference rows that the window's are compared with.
const SAMPLED_ROWS: usize = 512;

/// Parts of the reference, the errors in each of which are by components fitted on the others. With ten, those
/// components have learned from nearly as many rows as the ones that are kept.
const FOLDS: usize = 10;

/// What several columns at once have taught.
pub(super) struct Learned {
    /// The column of the errors.
    pub column: BaselineColumn,
    /// The error of each reference row, by components fitted without its fold.
    pub errors: Vec<Value>,
    /// The components and the sample.
    pub joint: Joint,
}

/// Learns from the rows of `columns`, of which `built` are the counts; gives the column of the errors beside it.
///
/// `None` where there is nothing to learn: fewer than two numeric or boolean inputs that vary, or more than
/// [`MAX_FEATURES`] of them, or a column of the name [`PCA_ERROR`] is already there. It reads every row twice and takes
/// `O(rows · inputs² + inputs³)`.
///
/// The error of a reference row is by components that were fitted without its fold. Rows fit components that they
/// helped to choose better than any later row does: with 20 inputs and 500 rows, the errors of rows like the reference
/// were then found drifted in 25 of 30 windows. Blocks are not torn apart, as a window is a block of its own, too.
///
/// # Errors
///
/// None of those of [`count_column`] can occur: the errors are numbers.
pub(super) fn learn(
    columns: &[SourceColumn<'_>],
    built: &[BaselineColumn],
    blocks: Option<Blocks<'_>>,
    options: &CutOptions,
) -> Result<Option<Learned>, BuildError> {
    let inputs: Vec<(&SourceColumn<'_>, &BaselineColumn)> =
        columns.iter().zip(built).filter(|(_, built)| is_input(&built.layout)).collect();
    let is_taken = columns.iter().any(|column| column.name == PCA_ERROR);
    if is_taken || inputs.len() < 2 || inputs.len() > MAX_FEATURES {
        return Ok(None);
    }
    let n_rows = columns.first().map_or(0, |column| column.values.len());
    let mut row = Vec::with_capacity(inputs.len());
    let read = |row: &mut Vec<f64>, index: usize| {
        row.clear();
        row.extend(
            inputs.iter().map(|(source, built)| number_of(built.layout.kind, source.values.get(index))),
        );
    };
    let (fold_of, n_folds) = deal(n_rows, blocks);
    let mut folds = vec![CoMoments::new(inputs.len()); n_folds];
    for (index, &fold) in fold_of.iter().enumerate() {
        read(&mut row, index);
        if folds[fold].add(&row).is_err() {
            return Ok(None);
        }
    }
    let Ok(pca) = sum(&folds, None).and_then(|moments| Pca::fit(&moments, DEFAULT_EXPLAINED)) else {
        return Ok(None);
    };
    let n_components = pca.components().len();
    let without: Vec<Pca> = (0..n_folds)
        .map(|fold| {
            let fitted = sum(&folds, Some(fold)).and_then(|moments| Pca::fit_count(&moments, n_components));
            fitted.unwrap_or_else(|_| pca.clone())
        })
        .collect();
    let mut scratch = Vec::with_capacity(inputs.len());
    let errors: Vec<Value> = fold_of
        .iter()
        .enumerate()
        .map(|(index, &fold)| {
            read(&mut row, index);
            row_error(&without[fold], &row, &mut scratch).map_or(Value::Missing, Value::Number)
        })
        .collect();
    let names = inputs.iter().map(|(source, _)| source.name.to_owned()).collect();
    let mut joint = Joint { pca, columns: names, rows: Vec::new() };
    if inputs.len() <= MAX_SAMPLED_COLUMNS {
        joint.rows = sampled(n_rows)
            .into_iter()
            .map(|index| {
                read(&mut row, index);
                inputs.iter().zip(&row).map(|((_, built), &number)| cell_of(&built.layout, number)).collect()
            })
            .collect();
    }
    let kind = Some(FeatureKind::Numeric);
    let source = SourceColumn { name: PCA_ERROR, role: Role::Derived, kind, values: &errors };
    let (layout, whole, by_block) = count_column(&source, blocks, options)?;
    let learned = BaselineColumn::learn(layout, whole, &by_block, 0.0, options);
    let learned = match blocks.and_then(|blocks| blocks.cycle) {
        Some(cycle) => learned.in_season(cycle, &by_block),
        None => learned,
    };
    Ok(Some(Learned { column: learned, errors, joint }))
}

/// The fold of each row, and the number of folds: by block where there are several, else by row.
fn deal(n_rows: usize, blocks: Option<Blocks<'_>>) -> (Vec<usize>, usize) {
    if let Some(blocks) = blocks {
        let numbers: BTreeSet<i64> = blocks.of_row.iter().copied().collect();
        let n_folds = numbers.len().min(FOLDS);
        if n_folds > 1 {
            let fold_of_block: BTreeMap<i64, usize> = numbers.into_iter().zip((0..n_folds).cycle()).collect();
            let fold = |block| fold_of_block.get(block).copied().unwrap_or(0);
            return (blocks.of_row.iter().take(n_rows).map(fold).collect(), n_folds);
        }
    }
    let n_folds = n_rows.clamp(1, FOLDS);
    ((0..n_folds).cycle().take(n_rows).collect(), n_folds)
}

/// The co-moments of all folds, or of all but one.
fn sum(folds: &[CoMoments], left_out: Option<usize>) -> Result<CoMoments, StatError> {
    let mut all = CoMoments::new(folds.first().map_or(0, CoMoments::features));
    for (_, fold) in folds.iter().enumerate().filter(|(index, _)| Some(*index) != left_out) {
        all.merge(fold)?;
    }
    Ok(all)
}

/// Numbers of the rows to keep, ascending; always the same for as many rows.
fn sampled(n_rows: usize) -> Vec<usize> {
    let mut rows: Vec<usize> = (0..n_rows).collect();
    if rows.len() > SAMPLED_ROWS {
        rows.select_nth_unstable_by_key(SAMPLED_ROWS, |&row| mix(row as u64 + 1));
        rows.truncate(SAMPLED_ROWS);
        rows.sort_unstable();
    }
    rows
}
