//! The law of the one-sample Kolmogorov–Smirnov statistic at a finite sample size.
//!
//! No single formula is both exact and quick, so that each region has its own, as in Simard and L'Ecuyer (2011),
//! doi:10.18637/jss.v039.i11. The right tail is always a sum of positive terms; `1 − cdf` is only used where the
//! result is at least 7e-4.

use std::f64::consts::{FRAC_PI_2, PI};

use statrs::function::gamma::ln_gamma;

use super::tail::probability;

/// Sample size up to which the distribution function is computed exactly by a matrix power.
const EXACT_CDF: f64 = 140.0;

/// Sample size past which the left end of the distribution needs no exact value: there the survival function is
/// within 1e-6 of 1.
const EXACT_LEFT_END: f64 = 10_000.0;

/// Sample size past which the one-sided sum is taken in strides.
const EVERY_TERM: f64 = 20_000.0;

/// Number of strides; a sum of a bell shape that dies out at both ends converges geometrically in it.
const STRIDES: f64 = 4096.0;

/// `P(D_n ≥ d)` for the two-sided statistic of `n` independent values against their own continuous law.
///
/// # Arguments
///
/// * `d`: the statistic, not NaN.
/// * `n`: sample size, a whole number of at least 1.
pub(super) fn survival(d: f64, n: f64) -> f64 {
    let scaled = n * d;
    let squared = scaled * d;
    if scaled <= 0.5 {
        1.0
    } else if d >= 1.0 {
        0.0
    } else if scaled <= 1.0 {
        // Ruben and Gambino (1982), Ann. Inst. Stat. Math. 34, 167–173: n! ((2nd − 1) / n)^n.
        probability(-(ln_gamma(n + 1.0) + n * ((2.0 * scaled - 1.0) / n).ln()).exp_m1())
    } else if d >= 0.5 || squared > if n <= EXACT_CDF { 4.0 } else { 2.2 } {
        // Miller (1956), J. Am. Stat. Assoc. 51, 111–121: both sides are crossed with negligible probability, and never at d ≥ ½.
        probability(2.0 * one_sided_survival(d, n))
    } else if n <= EXACT_CDF || (n <= EXACT_LEFT_END && n * d.powf(1.5) <= 1.4) {
        probability(1.0 - matrix_cdf(d, n))
    } else {
        probability(1.0 - pelz_good_cdf(d, n))
    }
}

/// `P(D_n⁺ ≥ d)`: the finite sum of Smirnov and of Birnbaum and Tingey (1951), doi:10.1214/aoms/1177729550.
///
/// Each term is `d / (d + v/n)` times a binomial probability of `v` out of `n` at `d + v/n`, formed from its largest
/// value and a relative entropy, so that nothing large is subtracted from anything large.
fn one_sided_survival(d: f64, n: f64) -> f64 {
    let last = (n * (1.0 - d)).floor();
    let stride = if n > EVERY_TERM { n / STRIDES } else { 1.0 };
    let whole = stirling_error(n) - 0.5 * (2.0 * PI).ln();
    let mut sum = if n > EVERY_TERM { 0.0 } else { (n * (-d).ln_1p()).exp() };
    let mut step = 1.0;
    loop {
        let v = step * stride;
        let rest = n - v;
        if v > last || rest <= 0.0 {
            break;
        }
        let share = v / n;
        let exponent = v * (d / share).ln_1p() + rest * (-d * n / rest).max(-1.0).ln_1p();
        let binomial = whole - stirling_error(v) - stirling_error(rest) + 0.5 * (n / v / rest).ln();
        sum += stride * d / (d + share) * (exponent + binomial).exp();
        step += 1.0;
    }
    sum
}

/// `ln Γ(v + 1) − ((v + ½) ln v − v + ½ ln 2π)`, what Stirling's formula leaves out.
fn stirling_error(v: f64) -> f64 {
    if v < 16.0 {
        ln_gamma(v + 1.0) - (v + 0.5) * v.ln() + v - 0.5 * (2.0 * PI).ln()
    } else {
        let inverse = 1.0 / (v * v);
        (1.0 / 12.0 - inverse * (1.0 / 360.0 - inverse * (1.0 / 1260.0 - inverse / 1680.0))) / v
    }
}

/// `P(D_n < d)` exactly: Marsaglia, Tsang and Wang (2003), doi:10.18637/jss.v008.i18.
///
/// It gives the number that Pomeranz' recursion gives in the region where others use that.
fn matrix_cdf(d: f64, n: f64) -> f64 {
    let scaled = n * d;
    let half = scaled.floor() + 1.0;
    let h = half - scaled;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "n d is at most 27")]
    let half = half as usize;
    let size = 2 * half - 1;
    let mut transition = Matrix { size, cells: vec![0.0; size * size], exponent: 0 };
    let mut power = 1.0;
    let powers: Vec<f64> = (0..size)
        .map(|_| {
            power *= h;
            power
        })
        .collect();
    let corner = (2.0 * h - 1.0).max(0.0).powf(size as f64);
    for row in 0..size {
        for column in 0..=(row + 1).min(size - 1) {
            let mut value = 1.0;
            if column == 0 {
                value -= powers[row];
            }
            if row == size - 1 {
                value -= powers[size - 1 - column];
            }
            if column == 0 && row == size - 1 {
                value += corner;
            }
            transition.cells[row * size + column] = value / factorial(row + 1 - column);
        }
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "n is at most 10^4")]
    let result = transition.power(n as u64);
    let centre = result.cells[(half - 1) * size + half - 1];
    (centre.ln() + f64::from(result.exponent) * Matrix::SCALE.ln() + ln_gamma(n + 1.0) - n * n.ln()).exp()
}

/// `k!`, for `k` up to about 60.
fn factorial(k: usize) -> f64 {
    (1..=k).map(|factor| factor as f64).product()
}

/// A square matrix times `SCALE^exponent`, since its powers outgrow any float.
#[derive(Clone)]
struct Matrix {
    size: usize,
    cells: Vec<f64>,
    exponent: i32,
}

impl Matrix {
    /// Factor by which a matrix that has grown past it is reduced.
    const SCALE: f64 = 1e100;

    /// This matrix to the power of `exponent`, at least 1.
    fn power(&self, exponent: u64) -> Self {
        if exponent <= 1 {
            return self.clone();
        }
        let root = self.power(exponent / 2);
        let square = root.times(&root);
        if exponent.is_multiple_of(2) { square } else { square.times(self) }
    }

    /// Matrix product.
    fn times(&self, other: &Self) -> Self {
        let size = self.size;
        let mut cells = vec![0.0; size * size];
        for row in 0..size {
            for inner in 0..size {
                let factor = self.cells[row * size + inner];
                for column in 0..size {
                    cells[row * size + column] += factor * other.cells[inner * size + column];
                }
            }
        }
        let mut exponent = self.exponent + other.exponent;
        if cells.iter().any(|&cell| cell > Self::SCALE) {
            exponent += 1;
            for cell in &mut cells {
                *cell /= Self::SCALE;
            }
        }
        Self { size, cells, exponent }
    }
}

/// `P(D_n < d)` by the limit law and three corrections in `1/√n`.
///
/// # Source
///
/// Pelz and Good (1976), J. R. Stat. Soc. B 38, 152–156.
fn pelz_good_cdf(d: f64, n: f64) -> f64 {
    let z = n.sqrt() * d;
    let (z2, z4, z6, z8) = (z.powi(2), z.powi(4), z.powi(6), z.powi(8));
    let pi2 = PI * PI;
    let mut limit = 0.0;
    let (mut first, mut second, mut third) = (0.0, 0.0, 0.0);
    let (mut second_whole, mut third_whole) = (0.0, 0.0);
    // At z ≤ 1.5, the largest asked for, the tenth term is 1e-80 of the first.
    for k in 0..10 {
        let half = (f64::from(k) + 0.5).powi(2) * pi2;
        let weight = (-half / (2.0 * z2)).exp();
        limit += weight;
        first += (half - z2) * weight;
        second +=
            (6.0 * z6 + 2.0 * z4 + (2.0 * z4 - 5.0 * z2) * half + (1.0 - 2.0 * z2) * half * half) * weight;
        third += (half.powi(3) * (5.0 - 30.0 * z2)
            + half * half * (-60.0 * z2 + 212.0 * z4)
            + half * (135.0 * z4 - 96.0 * z6)
            - 30.0 * z6
            - 90.0 * z8)
            * weight;
        let whole = f64::from(k).powi(2) * pi2;
        let weight = (-whole / (2.0 * z2)).exp();
        second_whole += whole * weight;
        third_whole += (3.0 * whole * z2 - whole * whole) * weight;
    }
    // Each sum runs over one sign of the index only; the factor 2 makes up for the other.
    let scale = 2.0 * FRAC_PI_2.sqrt();
    let terms = [
        limit / z,
        first / (6.0 * z4),
        second / (72.0 * z6 * z) - second_whole / (36.0 * z2 * z),
        third / (6480.0 * z8 * z2) + third_whole / (216.0 * z6),
    ];
    scale * terms.iter().rev().fold(0.0, |sum, term| sum / n.sqrt() + term)
}

#[cfg(test)]
mod tests {
    use super::super::golden::{Tails, assert_p_value};
    use super::*;

    #[test]
    fn is_the_law_of_scipy_in_every_region() {
        let cases = Tails::load().kstwo_sf;
        assert!(cases.len() > 1000, "{} cases", cases.len());
        for [d, n, expected] in cases {
            assert_p_value(survival(d, n), expected, format_args!("d = {d}, n = {n}, n d² = {}", n * d * d));
        }
    }

    #[test]
    fn strides_give_the_sum_of_every_term() {
        // Just past the limit the sum is short enough to be taken in full.
        let n = EVERY_TERM + 1.0;
        for squared in [2.2, 5.0, 20.0, 100.0, 300.0_f64] {
            let d = (squared / n).sqrt();
            let every: f64 = (1..20_001_u32)
                .map(|v| {
                    let (v, rest) = (f64::from(v), n - f64::from(v));
                    let position = d + v / n;
                    if position >= 1.0 {
                        return 0.0;
                    }
                    let ways = ln_gamma(n + 1.0) - ln_gamma(v + 1.0) - ln_gamma(rest + 1.0);
                    d * (ways + (v - 1.0) * position.ln() + rest * (1.0 - position).ln()).exp()
                })
                .sum();
            let strides = one_sided_survival(d, n);
            assert!(
                (strides / every - 1.0).abs() < 1e-8,
                "n d² = {squared}: {strides:e}, every term {every:e}"
            );
        }
    }

    #[test]
    fn the_regions_meet() {
        // Two formulas for one law must agree where one takes over from the other.
        for (n, d) in [(140.0_f64, (4.0_f64 / 140.0).sqrt()), (1000.0, (2.2_f64 / 1000.0).sqrt())] {
            let (before, after) = (survival(d * (1.0 - 1e-12), n), survival(d * (1.0 + 1e-12), n));
            assert!((before / after - 1.0).abs() < 2e-4, "n = {n}: {before:e}, {after:e}");
        }
    }

    #[test]
    fn samples_of_any_size_are_answered_at_once() {
        for n in [1e6, 1e9, 1e12, 9e18_f64] {
            let p = survival((3.0 / n).sqrt(), n);
            // The limit law: 2 exp(−2 n d²), and Smirnov's correction of order d.
            let expected = 2.0 * (-6.0 - 2.0 / 3.0 * (3.0 / n).sqrt()).exp();
            assert!((p / expected - 1.0).abs() < 1e-4, "n = {n:e}: {p:e}, expected {expected:e}");
        }
    }
}
