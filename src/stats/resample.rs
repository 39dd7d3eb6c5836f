//! What a figure would have been on other rows of the same kind: the circular block bootstrap.
//!
//! Rows stand in the order of time. Neighbours err together, so whole blocks of them are drawn; with blocks of one row it
//! is the plain bootstrap.

use super::random::SplitMix64;

/// Draws `n` of `n` rows into `indices`, in blocks of `block` that go on at the start where they reach the end.
fn draw(n: usize, block: usize, random: &mut SplitMix64, indices: &mut Vec<usize>) {
    let block = block.clamp(1, n.max(1));
    indices.clear();
    while indices.len() < n {
        let start = random.below(n);
        indices.extend((start..start + block).map(|row| row % n));
    }
    indices.truncate(n);
}

/// How often each of `n` rows was drawn, for each of `resamples` draws: weights for metrics that take them.
///
/// # Arguments
///
/// * `n`: rows in the order of time.
/// * `block`: rows of a block; see [`block_length`].
/// * `seed`: the same seed gives the same draws.
///
/// # Source
///
/// Circular block bootstrap: Politis and Romano (1992).
pub fn weights(n: usize, block: usize, resamples: usize, seed: u64) -> impl Iterator<Item = Vec<f64>> {
    let mut random = SplitMix64::new(seed);
    let mut indices = Vec::with_capacity(n + block.clamp(1, n.max(1)));
    (0..resamples).map(move |_| {
        draw(n, block, &mut random, &mut indices);
        let mut times = vec![0.0; n];
        for &row in &indices {
            times[row] += 1.0;
        }
        times
    })
}

/// The 95 % percentile interval of `statistic` over circular block resamples of `n` rows; none when `n` is 0 or
/// the statistic is not finite on most of them.
pub fn interval(
    n: usize,
    block: usize,
    resamples: usize,
    seed: u64,
    statistic: impl FnMut(&[usize]) -> f64,
) -> Option<(f64, f64)> {
    interval_at(0.95, n, block, resamples, seed, statistic)
}

/// As [`interval`], with the share `level` of what was drawn between its ends.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of a number of draws is positive and far below 2^53; anything else saturates"
)]
pub fn interval_at(
    level: f64,
    n: usize,
    block: usize,
    resamples: usize,
    seed: u64,
    mut statistic: impl FnMut(&[usize]) -> f64,
) -> Option<(f64, f64)> {
    if n == 0 {
        return None;
    }
    let mut random = SplitMix64::new(seed);
    let mut indices = Vec::with_capacity(n + block.clamp(1, n));
    let mut values = Vec::with_capacity(resamples);
    for _ in 0..resamples {
        draw(n, block, &mut random, &mut indices);
        let value = statistic(&indices);
        if value.is_finite() {
            values.push(value);
        }
    }
    if values.len() * 2 < resamples || values.is_empty() {
        return None;
    }
    values.sort_by(f64::total_cmp);
    // A hair more, so that a tail of 50 is not 49.999….
    let tail = (values.len() as f64 * (1.0 - level) / 2.0 + 1e-9) as usize;
    Some((*values.get(tail)?, *values.get(values.len() - 1 - tail)?))
}

/// Length of the blocks that keep the dependence between neighbouring rows; 1 where they look independent.
///
/// # Source
///
/// Politis and White (2004), doi:10.1081/ETC-120028836, with the correction of Patton, Politis and White (2009),
/// doi:10.1080/07474930802459016.
pub fn block_length(values: &[f64]) -> usize {
    let n = values.len();
    let size = n as f64;
    let centre = values.iter().sum::<f64>() / size;
    let autocovariance = |lag: usize| -> f64 {
        values.iter().zip(values.iter().skip(lag)).map(|(a, b)| (a - centre) * (b - centre)).sum::<f64>()
            / size
    };
    let variance = autocovariance(0);
    if n < 20 || variance.is_nan() || variance <= 0.0 {
        return 1;
    }
    // The lag after which five (or more) correlations in a row cannot be told from zero.
    let run = rows(size.log10().sqrt()).max(5);
    let band = 2.0 * (size.log10() / size).sqrt();
    let longest = rows((3.0 * size.sqrt()).min(size / 3.0));
    let small: Vec<bool> =
        (1..=longest + run).map(|lag| lag >= n || (autocovariance(lag) / variance).abs() < band).collect();
    let cut =
        small.windows(run).position(|window| window.iter().all(|&is_small| is_small)).unwrap_or(longest);
    if cut == 0 {
        return 1;
    }
    let bandwidth = (2 * cut).min(n - 1);
    let (mut spectrum, mut slope) = (variance, 0.0);
    for lag in 1..=bandwidth {
        let taper = (2.0 * (1.0 - lag as f64 / bandwidth as f64)).min(1.0);
        let covariance = taper * autocovariance(lag);
        spectrum += 2.0 * covariance;
        slope += 2.0 * lag as f64 * covariance;
    }
    let length = (1.5 * (slope / spectrum).powi(2) * size).cbrt();
    if length.is_finite() { rows(length).clamp(1, longest) } else { longest }
}

/// A positive number of rows, rounded up.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a number of rows is positive and far below 2^53; anything else saturates"
)]
fn rows(number: f64) -> usize {
    number.ceil() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_draw_has_as_many_rows_and_blocks_stay_together() {
        for block in [1, 4, 50] {
            for times in weights(12, block, 20, 3) {
                assert!((times.iter().sum::<f64>() - 12.0).abs() < 1e-12);
            }
        }
        // A block of four is drawn whole: among 12 rows at most three of them, and so as many places where counts change.
        for times in weights(12, 4, 20, 3) {
            let changes =
                (0..12).filter(|&row| times[row].to_bits() != times[(row + 1) % 12].to_bits()).count();
            assert!(changes <= 6, "{times:?}");
        }
        assert_eq!(weights(0, 1, 3, 0).collect::<Vec<_>>(), vec![Vec::<f64>::new(); 3]);
        assert!(weights(9, 2, 5, 7).eq(weights(9, 2, 5, 7)));
    }

    #[test]
    fn the_spread_over_draws_is_the_standard_error_of_a_mean() {
        let values: Vec<f64> = (0..400).map(|row| f64::from(row * 7919 % 400)).collect();
        let means: Vec<f64> = weights(400, 1, 800, 11)
            .map(|times| times.iter().zip(&values).map(|(w, v)| w * v).sum::<f64>() / 400.0)
            .collect();
        let centre = means.iter().sum::<f64>() / 800.0;
        let spread = (means.iter().map(|mean| (mean - centre).powi(2)).sum::<f64>() / 799.0).sqrt();
        // Values 0 to 399, each once: the standard deviation is √((400² − 1) / 12).
        let expected = ((400.0_f64.powi(2) - 1.0) / 12.0).sqrt() / 20.0;
        assert!((spread / expected - 1.0).abs() < 0.1, "{spread}, expected {expected}");
    }
}
