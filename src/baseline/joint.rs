//! What reference data teach about several columns at once: principal components, their errors, a sample of rows.

use super::build::count_column;
use super::{BaselineColumn, Blocks, BuildError, CutOptions, SourceColumn};
use crate::model::{FeatureKind, Role, Value};
use crate::profile::{Joint, MAX_SAMPLED_COLUMNS, PCA_ERROR, cell_of, is_input, mix, number_of};
use crate::stats::joint::{CoMoments, DEFAULT_EXPLAINED, MAX_FEATURES, Pca};

/// Reference rows that the window's are compared with.
const SAMPLED_ROWS: usize = 512;

/// Learns from the rows of `columns`, of which `built` are the counts; gives the column of the errors beside it.
///
/// `None` where there is nothing to learn: fewer than two numeric or boolean inputs that vary, or more than
/// [`MAX_FEATURES`] of them, or a column of the name [`PCA_ERROR`] is already there. It reads every row twice and takes
/// `O(rows · inputs²)`.
///
/// # Errors
///
/// None of those of [`count_column`] can occur: the errors are numbers.
pub(super) fn learn(
    columns: &[SourceColumn<'_>],
    built: &[BaselineColumn],
    blocks: Option<Blocks<'_>>,
    options: &CutOptions,
) -> Result<Option<(BaselineColumn, Joint)>, BuildError> {
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
    let mut moments = CoMoments::new(inputs.len());
    for index in 0..n_rows {
        read(&mut row, index);
        if moments.add(&row).is_err() {
            return Ok(None);
        }
    }
    let Ok(pca) = Pca::fit(&moments, DEFAULT_EXPLAINED) else { return Ok(None) };
    let names = inputs.iter().map(|(source, _)| source.name.to_owned()).collect();
    let mut joint = Joint { pca, columns: names, rows: Vec::new() };
    let mut scratch = Vec::with_capacity(inputs.len());
    let errors: Vec<Value> = (0..n_rows)
        .map(|index| {
            read(&mut row, index);
            joint.error(&row, &mut scratch).map_or(Value::Missing, Value::Number)
        })
        .collect();
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
    Ok(Some((learned, joint)))
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
