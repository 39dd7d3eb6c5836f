//! Hotelling's test: whether the means of two groups differ along any line.

use crate::stats::f_sf;

/// Share of a column's variance that the columns before it have to leave, or it counts as their combination.
const INDEPENDENT: f64 = 1e-9;

/// P-value of the F test of equal means, from standardised columns.
///
/// # Arguments
///
/// * `rows`: shape `[rows, features]`, row by row; every column has a mean of 0, and a variance of 1 or 0. A column that
///   is a combination of those before it is passed over.
/// * `positive`: the group of each row, shape `[rows]`.
///
/// # Returns
///
/// A probability in `[0, 1]`; 1 where no column varies, or there are hardly more rows than columns.
///
/// # Source
///
/// Hotelling (1931), doi:10.1214/aoms/1177732979, as the F test of a regression of the group on the columns. Exact for
/// normal columns; for others nearly so when rows are many, because the group is what varies.
pub(super) fn equal_means_p_value(rows: &[f64], features: usize, positive: &[bool]) -> f64 {
    let count = positive.len() as f64;
    let share = positive.iter().filter(|&&positive| positive).count() as f64 / count;
    let mut covariance = vec![0.0; features * features];
    let mut with_group = vec![0.0; features];
    for (row, &positive) in rows.chunks(features.max(1)).zip(positive) {
        let group = f64::from(u8::from(positive)) - share;
        for (first, &value) in row.iter().enumerate() {
            with_group[first] += group * value / count;
            for (entry, other) in covariance[first * features..].iter_mut().zip(&row[..=first]) {
                *entry += value * other / count;
            }
        }
    }
    let (rank, explained) = project(covariance, &with_group);
    let freedom = count - rank - 1.0;
    if rank <= 0.0 || freedom < 1.0 {
        return 1.0;
    }
    // The share of the group's variance that a line explains.
    let determined = (explained / (share * (1.0 - share))).min(1.0);
    f_sf(determined / rank / ((1.0 - determined) / freedom), rank, freedom)
}

/// Number of columns that are no combination of those before, and `bᵀ G⁻¹ b` over them, by Cholesky's decomposition of the
/// covariance `G`, of which the lower triangle is given.
fn project(mut matrix: Vec<f64>, with_group: &[f64]) -> (f64, f64) {
    let size = with_group.len();
    let mut coordinates = vec![0.0; size];
    let (mut rank, mut explained) = (0.0, 0.0);
    for row in 0..size {
        let (above, own) = matrix.split_at_mut(row * size);
        let mut rest = with_group[row];
        for column in 0..row {
            let pivot = &above[column * size..=column * size + column];
            let product: f64 = pivot[..column].iter().zip(&own[..column]).map(|(a, b)| a * b).sum();
            own[column] = if pivot[column] > 0.0 { (own[column] - product) / pivot[column] } else { 0.0 };
            rest -= own[column] * coordinates[column];
        }
        let left = own[row] - own[..row].iter().map(|entry| entry * entry).sum::<f64>();
        if left > INDEPENDENT {
            own[row] = left.sqrt();
            coordinates[row] = rest / own[row];
            rank += 1.0;
            explained += coordinates[row] * coordinates[row];
        } else {
            own[row] = 0.0;
        }
    }
    (rank, explained)
}
