//! Right tails of the reference distributions: survival functions, never `1 − cdf`.
//!
//! A p-value decides at 1e-3 and is ranked at 1e-30, so that a tail is computed as itself. No function here
//! panics or returns NaN: an argument that is NaN carries no evidence and gives 1.

use statrs::function::erf::erfc;
use statrs::function::gamma::{gamma_ur, ln_gamma};

/// Degrees of freedom past which a chi-squared variable is taken as a cube of a normal one.
const CHI2_LIMIT: f64 = 1e9;

/// Denominator degrees of freedom past which an F variable is taken as a chi-squared one.
const F_LIMIT: f64 = 1e8;

/// Largest number of steps of the continued fraction; it needs about the root of the degrees of freedom.
const MAX_STEPS: u32 = 100_000;

/// `P(X > x)` for a chi-squared variable.
///
/// # Arguments
///
/// * `x`: the statistic; any value.
/// * `dof`: degrees of freedom, not necessarily whole. At 0 or below the variable is the constant 0.
///
/// # Returns
///
/// A probability in `[0, 1]`, with a relative error of about 1e-11 up to 10 000 degrees of freedom.
///
/// # Source
///
/// The regularised incomplete gamma function of `statrs`; past 1e9 degrees of freedom Wilson and Hilferty (1931),
/// doi:10.1073/pnas.17.12.684. Agrees with `scipy.stats.chi2.sf`.
pub fn chi2_sf(x: f64, dof: f64) -> f64 {
    if x.is_nan() || dof.is_nan() || x <= 0.0 {
        return 1.0;
    }
    if dof <= 0.0 || x == f64::INFINITY {
        return 0.0;
    }
    if dof > CHI2_LIMIT {
        let spread = 2.0 / (9.0 * dof);
        return normal_sf(((x / dof).cbrt() - (1.0 - spread)) / spread.sqrt());
    }
    let (shape, half) = (0.5 * dof, 0.5 * x);
    // Half of the smallest positive number is 0, which the incomplete gamma function refuses.
    if half <= 0.0 { 1.0 } else { probability(gamma_ur(shape, half)) }
}

/// `P(X > x)` for an F variable.
///
/// # Arguments
///
/// * `x`: the statistic; any value.
/// * `d1`, `d2`: degrees of freedom of the numerator and of the denominator, not necessarily whole; `d2` may be
///   infinite, the variable is then chi-squared over `d1`.
///
/// # Returns
///
/// A probability in `[0, 1]`; 1 where `d1` or `d2` is not above 0, since there is then no distribution to be in the
/// tail of.
///
/// # Source
///
/// The incomplete beta function by its continued fraction, DLMF 8.17.22, with both arguments formed without
/// subtraction; past 1e8 denominator degrees of freedom Wise (1950), doi:10.1093/biomet/37.3-4.208. Agrees with
/// `scipy.stats.f.sf`.
pub fn f_sf(x: f64, d1: f64, d2: f64) -> f64 {
    if x.is_nan() || !(d1 > 0.0 && d2 > 0.0) || x <= 0.0 {
        return 1.0;
    }
    if x == f64::INFINITY {
        return 0.0;
    }
    if d2 > F_LIMIT {
        let scaled =
            if d2 == f64::INFINITY { d1 * x } else { (d2 + 0.5 * d1 - 1.0) * (d1 * (x / d2)).ln_1p() };
        return chi2_sf(scaled, d1);
    }
    if d1 > F_LIMIT {
        // 1/X is an F variable with the degrees of freedom exchanged; its left tail is chi-squared's.
        return probability(1.0 - chi2_sf((d1 + 0.5 * d2 - 1.0) * (d2 / d1 / x).ln_1p(), d2));
    }
    let odds = d1 / d2 * x;
    let (left, right) =
        if odds == f64::INFINITY { (0.0, 1.0) } else { (1.0 / (1.0 + odds), odds / (1.0 + odds)) };
    let (a, b) = (0.5 * d2, 0.5 * d1);
    if left < (a + 1.0) / (a + b + 2.0) {
        probability(incomplete_beta(a, b, left, right))
    } else {
        probability(1.0 - incomplete_beta(b, a, right, left))
    }
}

/// `P(X > z)` for a standard normal variable.
///
/// # Returns
///
/// A probability in `[0, 1]`, with a relative error under 1e-10.
///
/// # Source
///
/// The complementary error function of `statrs`. Agrees with `scipy.stats.norm.sf`.
pub fn normal_sf(z: f64) -> f64 {
    if z.is_nan() { 1.0 } else { probability(0.5 * erfc(z * std::f64::consts::FRAC_1_SQRT_2)) }
}

/// A number that rounding may have pushed out of `[0, 1]`, put back; NaN becomes 1.
pub(super) fn probability(value: f64) -> f64 {
    if value.is_nan() { 1.0 } else { value.clamp(0.0, 1.0) }
}

/// `I_x(a, b)` for `x` under the mean of the distribution, given `x` and `y = 1 − x` both.
fn incomplete_beta(a: f64, b: f64, x: f64, y: f64) -> f64 {
    let front = ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * y.ln();
    // The modified Lentz method: a denominator is never let to be 0.
    let guard = |value: f64| if value.abs() < 1e-290 { 1e-290 } else { value };
    let mut upper = 1.0;
    let mut lower = 1.0 / guard(1.0 - (a + b) * x / (a + 1.0));
    let mut fraction = lower;
    for step in 1..=MAX_STEPS {
        let step = f64::from(step);
        let at = a + 2.0 * step;
        let even = step * (b - step) * x / ((at - 1.0) * at);
        let odd = -(a + step) * (a + b + step) * x / (at * (at + 1.0));
        let mut change = 1.0;
        for term in [even, odd] {
            lower = 1.0 / guard(1.0 + term * lower);
            upper = guard(1.0 + term / upper);
            change = upper * lower;
            fraction *= change;
        }
        if (change - 1.0).abs() < 1e-15 {
            break;
        }
    }
    (front + (fraction / a).ln()).exp()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::golden::{Tails, assert_p_value};
    use super::*;

    #[test]
    fn chi_squared_tails_are_those_of_scipy() {
        let cases = Tails::load().chi2_sf;
        assert!(cases.len() > 80, "{} cases", cases.len());
        for [x, dof, expected] in cases {
            assert_p_value(chi2_sf(x, dof), expected, format_args!("chi2_sf({x}, {dof})"));
        }
    }

    #[test]
    fn f_tails_are_those_of_scipy() {
        let cases = Tails::load().f_sf;
        assert!(cases.len() > 400, "{} cases", cases.len());
        for [x, d1, d2, expected] in cases {
            assert_p_value(f_sf(x, d1, d2), expected, format_args!("f_sf({x}, {d1}, {d2})"));
        }
    }

    #[test]
    fn normal_tails_are_those_of_scipy() {
        let cases = Tails::load().normal_sf;
        assert!(cases.len() > 12, "{} cases", cases.len());
        for [z, expected] in cases {
            assert_p_value(normal_sf(z), expected, format_args!("normal_sf({z})"));
        }
    }

    proptest! {
        #[test]
        fn are_probabilities_whatever_they_are_given(x in any::<f64>(), a in any::<f64>(), b in any::<f64>()) {
            for p in [chi2_sf(x, a), f_sf(x, a, b), f_sf(x, a, 8.0), f_sf(x, 8.0, b), normal_sf(x)] {
                prop_assert!((0.0..=1.0).contains(&p), "{p}");
            }
        }

        #[test]
        fn fall_as_the_statistic_grows(x in 0.0..100.0_f64, step in 0.0..10.0_f64, a in 0.1..50.0_f64, b in 0.1..50.0_f64) {
            prop_assert!(chi2_sf(x + step, a) <= chi2_sf(x, a) + 1e-12);
            prop_assert!(f_sf(x + step, a, b) <= f_sf(x, a, b) + 1e-12);
            prop_assert!(normal_sf(x + step) <= normal_sf(x));
        }
    }
}
