//! Logistic and multinomial regression with weights, by L-BFGS on gradients that are summed in one pass over the rows.
//!
//! linfa's takes no weights of rows, and passes over the rows twice for each gradient; a test holds the two together.

use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, Axis, Slice};

use super::Part;
use crate::journal::{Halt, Journal};

/// Rows that are multiplied at once; a block of them stays in the cache.
const BLOCK: usize = 1 << 10;

/// Steps that the curvature is remembered of.
const MEMORY: usize = 10;

/// Iterations after which it is left at that.
const MOST: usize = 500;

/// Largest entry of the gradient of the mean loss that counts as none.
const TOLERANCE: f64 = 1e-7;

/// Weights of the classes: a row each (one row where there are two classes), the intercept in the last column, shape
/// `[outputs, columns + 1]`.
pub(super) type Weights = Array2<f64>;

/// Minimises `Σ w loss / Σw + l2 |β|² / 2` from `start` on, intercepts without penalty.
///
/// # Arguments
///
/// * `start`: shape `[outputs, columns + 1]`; one output for classes 0 and 1, else one per class.
///
/// # Source
///
/// Nocedal and Wright, *Numerical Optimization* (2006), algorithms 7.4 and 3.1.
pub(super) fn fit(part: Part<'_>, l2: f64, start: Weights, journal: &Journal) -> Result<Weights, Halt> {
    let mut at = start;
    let (mut value, mut gradient) = objective(part, l2, &at);
    let mut pairs: Vec<(Weights, Weights, f64)> = Vec::new();
    for _ in 0..MOST {
        journal.checkpoint()?;
        if largest(&gradient) <= TOLERANCE {
            break;
        }
        let mut direction = descent(&gradient, &pairs);
        let mut slope = dot(&direction, &gradient);
        if slope >= 0.0 {
            pairs.clear();
            direction = -&gradient;
            slope = dot(&direction, &gradient);
        }
        let mut step = if pairs.is_empty() { 1.0 / largest(&gradient).max(1.0) } else { 1.0 };
        let stepped = loop {
            let next = &at + &(&direction * step);
            let (next_value, next_gradient) = objective(part, l2, &next);
            // What is lost to rounding is no rise.
            let slack = 1e-15 * value.abs();
            if next_value <= value + 1e-4 * step * slope + slack {
                break Some((next, next_value, next_gradient));
            }
            step *= 0.5;
            if step < 1e-10 {
                break None;
            }
        };
        let Some((next, next_value, next_gradient)) = stepped else { break };
        let (moved, turned) = (&next - &at, &next_gradient - &gradient);
        let curvature = dot(&moved, &turned);
        if curvature > 1e-14 * dot(&turned, &turned) {
            pairs.push((moved, turned, curvature));
            if pairs.len() > MEMORY {
                pairs.remove(0);
            }
        }
        (at, value, gradient) = (next, next_value, next_gradient);
    }
    Ok(at)
}

/// The direction that the remembered curvature makes of the gradient (the two-loop recursion).
fn descent(gradient: &Weights, pairs: &[(Weights, Weights, f64)]) -> Weights {
    let mut direction = -gradient;
    let mut shares = Vec::with_capacity(pairs.len());
    for (moved, turned, curvature) in pairs.iter().rev() {
        let share = dot(moved, &direction) / curvature;
        direction.scaled_add(-share, turned);
        shares.push(share);
    }
    if let Some((_, turned, curvature)) = pairs.last() {
        direction *= curvature / dot(turned, turned);
    }
    for ((moved, turned, curvature), share) in pairs.iter().zip(shares.into_iter().rev()) {
        let other = dot(turned, &direction) / curvature;
        direction.scaled_add(share - other, moved);
    }
    direction
}

/// Value and gradient.
fn objective(part: Part<'_>, l2: f64, weights: &Weights) -> (f64, Weights) {
    let (rows, columns) = part.numbers.dim();
    let slopes = weights.slice_axis(Axis(1), Slice::from(..columns));
    let intercepts = weights.column(columns);
    let (mut loss, mut total) = (0.0, 0.0);
    let mut gradient = Array2::<f64>::zeros(weights.raw_dim());
    for start in (0..rows).step_by(BLOCK) {
        let end = (start + BLOCK).min(rows);
        let block = part.numbers.slice_axis(Axis(0), Slice::from(start..end));
        // Row after row, whatever the order that a product would come in.
        let mut scores = Array2::<f64>::zeros((end - start, weights.nrows()));
        general_mat_mul(1.0, &block, &slopes.t(), 0.0, &mut scores);
        scores += &intercepts;
        for (mut row, at) in scores.rows_mut().into_iter().zip(start..end) {
            let weight = part.weights[at];
            total += weight;
            let scores = row.as_slice_mut().unwrap_or_default();
            loss += weight * residuals(scores, part.targets[at]);
            for residual in scores.iter_mut() {
                *residual *= weight;
            }
        }
        let mut slopes = gradient.slice_axis_mut(Axis(1), Slice::from(..columns));
        slopes += &scores.t().dot(&block);
        let mut intercepts = gradient.column_mut(columns);
        intercepts += &scores.sum_axis(Axis(0));
    }
    let total = if total > 0.0 { total } else { 1.0 };
    gradient /= total;
    gradient.slice_axis_mut(Axis(1), Slice::from(..columns)).scaled_add(l2, &slopes);
    (loss / total + 0.5 * l2 * slopes.iter().map(|weight| weight * weight).sum::<f64>(), gradient)
}

/// The log loss of a row (of two classes where there is one score); its scores become probabilities less what is true.
pub(super) fn residuals(scores: &mut [f64], target: f64) -> f64 {
    if let [score] = scores {
        let loss = score.max(0.0) - *score * target + (-score.abs()).exp().ln_1p();
        *score = driftline::retrain::artifact::sigmoid(*score) - target;
        return loss;
    }
    let highest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = scores.iter().map(|score| (score - highest).exp()).sum();
    let level = highest + sum.ln();
    let mut loss = 0.0;
    for (class, score) in scores.iter_mut().enumerate() {
        let is_true = (class as f64 - target).abs() < 0.5;
        if is_true {
            loss = level - *score;
        }
        *score = (*score - level).exp() - f64::from(u8::from(is_true));
    }
    loss
}

fn dot(a: &Weights, b: &Weights) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn largest(weights: &Weights) -> f64 {
    weights.iter().fold(0.0, |most: f64, weight| most.max(weight.abs()))
}
