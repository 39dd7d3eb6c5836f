//! Eigenvalues and eigenvectors of a symmetric matrix.

/// Passes over the matrix after which it counts as diagonal; a few hundred rows take about ten.
const MAX_SWEEPS: u32 = 60;

/// Eigenvalues in descending order, each with its eigenvector of length 1.
///
/// The largest coordinate of a vector, and the first of equals, is positive, so that the same matrix always gives the
/// same vectors.
///
/// # Arguments
///
/// * `matrix`: a symmetric matrix, shape `[size, size]` row by row, finite.
///
/// # Source
///
/// The cyclic method of Jacobi (1846): every rotation is orthogonal, so that small eigenvalues and the angles between
/// vectors are as exact as large ones. Golub and Van Loan, "Matrix Computations", section 8.5.
pub(super) fn eigen(mut matrix: Vec<f64>, size: usize) -> Vec<(f64, Vec<f64>)> {
    let mut vectors = vec![0.0; size * size];
    for diagonal in 0..size {
        vectors[diagonal * size + diagonal] = 1.0;
    }
    let norm: f64 = matrix.iter().map(|entry| entry * entry).sum();
    for _ in 0..MAX_SWEEPS {
        let beside: f64 = (0..size)
            .map(|row| {
                matrix[row * size + row + 1..(row + 1) * size].iter().map(|entry| entry * entry).sum::<f64>()
            })
            .sum();
        if beside <= 1e-32 * norm {
            break;
        }
        for first in 0..size {
            for second in first + 1..size {
                annihilate(&mut matrix, &mut vectors, size, first, second);
            }
        }
    }
    let mut pairs: Vec<(f64, Vec<f64>)> = vectors
        .chunks(size.max(1))
        .enumerate()
        .map(|(index, vector)| (matrix[index * size + index], signed(vector.to_vec())))
        .collect();
    pairs.sort_by(|a, b| b.0.total_cmp(&a.0));
    pairs
}

/// Rotates rows and columns `first < second` so that the entry they share becomes 0.
fn annihilate(matrix: &mut [f64], vectors: &mut [f64], size: usize, first: usize, second: usize) {
    let entry = matrix[first * size + second];
    if entry.abs() <= f64::MIN_POSITIVE {
        return;
    }
    let theta = (matrix[second * size + second] - matrix[first * size + first]) / (2.0 * entry);
    let tangent = theta.signum() / (theta.abs() + theta.hypot(1.0));
    let cos = 1.0 / tangent.hypot(1.0);
    let sin = tangent * cos;
    rotate_rows(matrix, size, first, second, cos, sin);
    for row in matrix.chunks_mut(size) {
        let (a, b) = (row[first], row[second]);
        row[first] = cos * a - sin * b;
        row[second] = sin * a + cos * b;
    }
    matrix[first * size + second] = 0.0;
    matrix[second * size + first] = 0.0;
    // Vectors are rows.
    rotate_rows(vectors, size, first, second, cos, sin);
}

fn rotate_rows(matrix: &mut [f64], size: usize, first: usize, second: usize, cos: f64, sin: f64) {
    let (above, below) = matrix.split_at_mut(second * size);
    let above = &mut above[first * size..(first + 1) * size];
    for (a, b) in above.iter_mut().zip(&mut below[..size]) {
        (*a, *b) = (cos * *a - sin * *b, sin * *a + cos * *b);
    }
}

/// The vector or its opposite, whichever has a positive largest coordinate.
fn signed(mut vector: Vec<f64>) -> Vec<f64> {
    let mut largest = 0.0_f64;
    for &coordinate in &vector {
        // Coordinates that are equal but for rounding must not decide by it.
        if coordinate.abs() > largest.abs() * (1.0 + 1e-9) {
            largest = coordinate;
        }
    }
    if largest < 0.0 {
        for coordinate in &mut vector {
            *coordinate = -*coordinate;
        }
    }
    vector
}
