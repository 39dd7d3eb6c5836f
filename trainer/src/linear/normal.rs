//! Least squares by the normal equations: one pass over the rows, whatever the number of penalties that are tried.

use std::ops::Range;

use linfa::Dataset;
use linfa::traits::Fit as _;
use linfa_elasticnet::ElasticNet;
use ndarray::{Array1, Array2, Axis, Slice};

use super::Part;

/// Rows that are multiplied at once; a block of them stays in the cache.
const BLOCK: usize = 1 << 10;

/// Parts that rows are summed up in. Fixed, so that the sums have the same bits on any number of threads.
const SLABS: usize = 16;

/// Sweeps of linfa's coordinate descent, each over as many rows as there are columns.
const SWEEPS: u32 = 2_000;

/// What least squares asks of the rows: weighted means, and products about them.
#[derive(Debug)]
pub(super) struct Normal {
    /// Mean of each column, shape `[columns]`.
    means: Array1<f64>,
    target_mean: f64,
    /// `Xᵀ W X / Σw` of centred rows, shape `[columns, columns]`.
    gram: Array2<f64>,
    /// `Xᵀ W y / Σw` of centred rows, shape `[columns]`.
    moment: Array1<f64>,
}

/// Weights and intercept of a linear model.
pub(super) type Weights = (Array1<f64>, f64);

/// Sums over some rows of `[x − shift, y − shift, 1]` with itself, shape `[columns + 2, columns + 2]`.
fn products(part: Part<'_>, rows: &Range<usize>, shift: &Array1<f64>) -> Array2<f64> {
    let columns = part.numbers.ncols();
    let mut sums = Array2::<f64>::zeros((columns + 2, columns + 2));
    let mut block = Array2::<f64>::zeros((BLOCK, columns + 2));
    for start in rows.clone().step_by(BLOCK) {
        let end = (start + BLOCK).min(rows.end);
        let mut filled = block.slice_axis_mut(Axis(0), Slice::from(..end - start));
        for (mut to, row) in filled.rows_mut().into_iter().zip(start..end) {
            let root = part.weights[row].sqrt();
            let from = part.numbers.row(row);
            let cells = from.iter().chain([&part.targets[row]]).zip(shift);
            to.iter_mut().zip(cells).for_each(|(to, (cell, shift))| *to = (cell - shift) * root);
            to[columns + 1] = root;
        }
        sums += &filled.t().dot(&filled);
    }
    sums
}

impl Normal {
    /// Sums up the rows of `part`, on as many threads as there are cores.
    pub(super) fn of(part: Part<'_>) -> Self {
        let (rows, columns) = part.numbers.dim();
        // About a row that is there, so that little cancels whatever the columns are centred on.
        let first = part.numbers.rows().into_iter().next();
        let mut shift = Array1::<f64>::zeros(columns + 1);
        if let Some(first) = first {
            shift.slice_axis_mut(Axis(0), Slice::from(..columns)).assign(&first);
            shift[columns] = part.targets.first().copied().unwrap_or(0.0);
        }
        let slab = rows.div_ceil(SLABS).max(1);
        let slabs: Vec<_> = (0..rows).step_by(slab).map(|start| start..(start + slab).min(rows)).collect();
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let mut sums = Array2::<f64>::zeros((columns + 2, columns + 2));
        for together in slabs.chunks(threads) {
            let done: Vec<Option<Array2<f64>>> = std::thread::scope(|scope| {
                let running: Vec<_> =
                    together.iter().map(|rows| scope.spawn(|| products(part, rows, &shift))).collect();
                running.into_iter().map(|thread| thread.join().ok()).collect()
            });
            done.into_iter().flatten().for_each(|of_slab| sums += &of_slab);
        }
        let total = sums[[columns + 1, columns + 1]];
        let total = if total > 0.0 { total } else { 1.0 };
        sums /= total;
        let about: Array1<f64> =
            sums.row(columns + 1).slice_axis(Axis(0), Slice::from(..=columns)).to_owned();
        let head = Slice::from(..columns);
        let x = about.slice_axis(Axis(0), head);
        let outer = x.view().insert_axis(Axis(1)).dot(&x.view().insert_axis(Axis(0)));
        let gram = &sums.slice_axis(Axis(0), head).slice_axis(Axis(1), head) - &outer;
        let moment = &sums.column(columns).slice_axis(Axis(0), head) - &(&x * about[columns]);
        let means = &shift + &about;
        Self { means: means.slice_axis(Axis(0), head).to_owned(), target_mean: means[columns], gram, moment }
    }

    /// Ridge: minimises `Σ w (y − xβ − b)² / 2Σw + l2 |β|² / 2`.
    pub(super) fn ridge(&self, l2: f64) -> Option<Weights> {
        let (factor, scale) = self.factor(l2)?;
        Some(self.with_intercept(solve(&factor, &(&self.moment / &scale)) / &scale))
    }

    /// Elastic net by linfa, on the rows of a triangle that has the same products as all rows.
    pub(super) fn elastic_net(&self, penalty: f64, l1_ratio: f64) -> Result<Weights, String> {
        let columns = self.moment.len();
        // What is not positive definite by rounding is so with this; it is far below any penalty.
        let (factor, scale) = self.factor(1e-10).ok_or("its columns depend on each other")?;
        let target = forward(&factor, &(&self.moment / &scale));
        let stretch = (columns as f64).sqrt();
        let rows = (&factor.t() * &scale.view().insert_axis(Axis(0))) * stretch;
        // The rows stand for centred ones already, though their own mean is not 0.
        let fitted = ElasticNet::<f64>::params()
            .with_intercept(false)
            .l1_ratio(l1_ratio)
            .penalty(penalty)
            .max_iterations(SWEEPS)
            .tolerance(1e-9)
            .fit(&Dataset::new(rows, target * stretch))
            .map_err(|error| error.to_string())?;
        Ok(self.with_intercept(fitted.hyperplane().clone()))
    }

    fn with_intercept(&self, weights: Array1<f64>) -> Weights {
        let intercept = self.target_mean - self.means.dot(&weights);
        (weights, intercept)
    }

    /// The lower triangle `L` with `L Lᵀ = S⁻¹ (gram + l2) S⁻¹`, and `S`, the roots of the diagonal; none where that is
    /// not positive definite.
    fn factor(&self, l2: f64) -> Option<(Array2<f64>, Array1<f64>)> {
        let mut matrix = self.gram.clone();
        matrix.diag_mut().mapv_inplace(|cell| cell.max(0.0) + l2);
        let scale = matrix.diag().mapv(f64::sqrt);
        for ((row, column), cell) in matrix.indexed_iter_mut() {
            *cell /= scale[row] * scale[column];
        }
        cholesky(matrix).map(|factor| (factor, scale))
    }
}

/// The lower triangle of Cholesky's decomposition; none where `matrix` is not positive definite.
fn cholesky(mut matrix: Array2<f64>) -> Option<Array2<f64>> {
    let n = matrix.nrows();
    for column in 0..n {
        let (_, mut rest) = matrix.view_mut().split_at(Axis(0), column);
        let pivot_row = rest.row(0).slice_axis(Axis(0), Slice::from(..column)).to_owned();
        let pivot = (rest[[0, column]] - pivot_row.dot(&pivot_row)).sqrt();
        if !(pivot.is_finite() && pivot > 0.0) {
            return None;
        }
        rest[[0, column]] = pivot;
        for mut row in rest.rows_mut().into_iter().skip(1) {
            let known = row.slice_axis(Axis(0), Slice::from(..column)).dot(&pivot_row);
            row[column] = (row[column] - known) / pivot;
        }
    }
    for ((row, column), cell) in matrix.indexed_iter_mut() {
        if column > row {
            *cell = 0.0;
        }
    }
    Some(matrix)
}

/// `x` of `L x = right`.
fn forward(factor: &Array2<f64>, right: &Array1<f64>) -> Array1<f64> {
    let mut solution = Array1::<f64>::zeros(right.len());
    for row in 0..right.len() {
        let done = Slice::from(..row);
        let known = factor.row(row).slice_axis(Axis(0), done).dot(&solution.slice_axis(Axis(0), done));
        solution[row] = (right[row] - known) / factor[[row, row]];
    }
    solution
}

/// `x` of `L Lᵀ x = right`.
fn solve(factor: &Array2<f64>, right: &Array1<f64>) -> Array1<f64> {
    let mut solution = forward(factor, right);
    for row in (0..right.len()).rev() {
        let done = Slice::from(row + 1..);
        let below = factor.column(row).slice_axis(Axis(0), done).dot(&solution.slice_axis(Axis(0), done));
        solution[row] = (solution[row] - below) / factor[[row, row]];
    }
    solution
}
