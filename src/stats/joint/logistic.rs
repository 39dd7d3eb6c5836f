//! Logistic regression with a ridge penalty, by Newton's method.

/// Steps after which the weights are taken as they are; about six are needed.
const MAX_STEPS: u32 = 50;

/// Halvings of a step that does not improve.
const MAX_HALVINGS: u32 = 30;

/// Change of every weight under which it has converged.
const TOLERANCE: f64 = 1e-10;

/// Rows of a standardised design with their class.
pub(super) struct Design<'a> {
    /// Shape `[rows, features]`, row by row, finite.
    pub(super) rows: &'a [f64],
    pub(super) features: usize,
    /// Whether a row is positive, shape `[rows]`.
    pub(super) positive: &'a [bool],
    /// Whether a row is used, shape `[rows]`.
    pub(super) used: &'a [bool],
}

impl Design<'_> {
    fn used(&self) -> impl Iterator<Item = (&[f64], f64)> {
        (0..self.positive.len())
            .filter(|&row| self.used[row])
            .map(|row| (self.row(row), if self.positive[row] { 1.0 } else { 0.0 }))
    }

    pub(super) fn row(&self, row: usize) -> &[f64] {
        &self.rows[row * self.features..(row + 1) * self.features]
    }
}

/// Weights of the features, then the intercept, that minimise the negative log-likelihood plus
/// `ridge / 2 · Σ weight²`; the intercept is not penalised.
///
/// With `ridge` above 0 they are finite even where the classes are completely separated.
pub(super) fn fit(design: &Design<'_>, ridge: f64) -> Vec<f64> {
    let size = design.features + 1;
    let mut weights = vec![0.0; size];
    let mut loss = penalised_loss(design, &weights, ridge);
    for _ in 0..MAX_STEPS {
        let Some(step) = newton_step(design, &weights, ridge) else {
            break;
        };
        let mut share = 1.0;
        let mut moved = false;
        for _ in 0..MAX_HALVINGS {
            let candidate: Vec<f64> =
                weights.iter().zip(&step).map(|(weight, step)| weight - share * step).collect();
            let new_loss = penalised_loss(design, &candidate, ridge);
            if new_loss <= loss {
                (weights, loss, moved) = (candidate, new_loss, true);
                break;
            }
            share /= 2.0;
        }
        if !moved || step.iter().all(|step| step.abs() * share < TOLERANCE) {
            break;
        }
    }
    weights
}

/// Log-odds that a row is positive.
pub(super) fn score(weights: &[f64], row: &[f64]) -> f64 {
    let intercept = weights.get(row.len()).copied().unwrap_or(0.0);
    row.iter().zip(weights).map(|(value, weight)| value * weight).sum::<f64>() + intercept
}

fn penalised_loss(design: &Design<'_>, weights: &[f64], ridge: f64) -> f64 {
    let likelihood: f64 = design
        .used()
        .map(|(row, label)| {
            let odds = score(weights, row);
            // ln(1 + e^odds) without overflow.
            odds.max(0.0) + (-odds.abs()).exp().ln_1p() - label * odds
        })
        .sum();
    let squares: f64 = weights[..design.features].iter().map(|weight| weight * weight).sum();
    likelihood + 0.5 * ridge * squares
}

/// `H⁻¹ g` of the penalised loss; `None` where rounding leaves `H` without an inverse.
fn newton_step(design: &Design<'_>, weights: &[f64], ridge: f64) -> Option<Vec<f64>> {
    let features = design.features;
    let size = features + 1;
    let mut gradient = vec![0.0; size];
    let mut hessian = vec![0.0; size * size];
    for (feature, weight) in weights[..features].iter().enumerate() {
        gradient[feature] = ridge * weight;
        hessian[feature * size + feature] = ridge;
    }
    for (row, label) in design.used() {
        let probability = 1.0 / (1.0 + (-score(weights, row)).exp());
        let (error, curvature) = (probability - label, probability * (1.0 - probability));
        for (first, &value) in row.iter().enumerate() {
            gradient[first] += error * value;
            // The lower triangle is all that is read.
            let entries = &mut hessian[first * size..=first * size + first];
            for (entry, other) in entries.iter_mut().zip(row) {
                *entry += curvature * value * other;
            }
        }
        gradient[features] += error;
        let entries = &mut hessian[features * size..];
        for (entry, value) in entries.iter_mut().zip(row) {
            *entry += curvature * value;
        }
        entries[features] += curvature;
    }
    solve(hessian, gradient)
}

/// Solves `matrix · x = right` for a positive definite matrix given by its lower triangle (Cholesky).
fn solve(mut matrix: Vec<f64>, mut right: Vec<f64>) -> Option<Vec<f64>> {
    let size = right.len();
    for row in 0..size {
        let (above, own) = matrix.split_at_mut(row * size);
        for column in 0..row {
            let pivot = &above[column * size..=column * size + column];
            let product: f64 = pivot[..column].iter().zip(&own[..column]).map(|(a, b)| a * b).sum();
            own[column] = (own[column] - product) / pivot[column];
        }
        let squares: f64 = own[..row].iter().map(|entry| entry * entry).sum();
        let rest = own[row] - squares;
        if rest.is_nan() || rest <= 0.0 {
            return None;
        }
        own[row] = rest.sqrt();
    }
    for row in 0..size {
        let product: f64 = (0..row).map(|column| matrix[row * size + column] * right[column]).sum();
        right[row] = (right[row] - product) / matrix[row * size + row];
    }
    for row in (0..size).rev() {
        let product: f64 = (row + 1..size).map(|below| matrix[below * size + row] * right[below]).sum();
        right[row] = (right[row] - product) / matrix[row * size + row];
    }
    Some(right)
}
