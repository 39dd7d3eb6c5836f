//! The law of a statistic when blocks differ: a weighted sum of two chi-squared variables.

use std::f64::consts::PI;

use super::super::tail::{normal_sf, probability};

/// Values this many times the larger weight have no probability that a number can hold.
const FAR: f64 = 1e9;

/// Nearer to the mean than this (in standard deviations) the correction of the normal tail is its limit.
const NEAR: f64 = 1e-5;

/// `A·χ²(1) + C·χ²(m)`: the direction in which blocks move, and the noise of rows in all others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Law {
    /// `A`, over 0 and at least `C`.
    pub(super) along: f64,
    /// `C`, at least 0.
    pub(super) across: f64,
    /// `m`, at least 0 and not necessarily whole.
    pub(super) dof: f64,
}

/// The exponential tilt that puts the mean of the law at one value.
struct Saddle {
    tilt: f64,
    cumulant: f64,
    curvature: f64,
}

impl Law {
    /// Solves `K'(t) = value` for the cumulant function `K(t) = −½ ln(1 − 2At) − ½ m ln(1 − 2Ct)`.
    fn saddle(&self, value: f64) -> Saddle {
        let Self { along, across, dof } = *self;
        // K'(t) = value is a quadratic in t; with C = 0 it is a line, which the first form solves too.
        let constant = value - along - dof * across;
        let linear = 2.0 * along * across * (1.0 + dof) - 2.0 * (along + across) * value;
        let square = 4.0 * along * across * value;
        let root = (linear * linear - 4.0 * square * constant).max(0.0).sqrt();
        let tilt = if linear < 0.0 || square <= 0.0 {
            -2.0 * constant / (linear - root)
        } else {
            (-linear - root) / (2.0 * square)
        };
        let (left, right) = (1.0 - 2.0 * along * tilt, 1.0 - 2.0 * across * tilt);
        Saddle {
            tilt,
            cumulant: -0.5 * (-2.0 * along * tilt).ln_1p() - 0.5 * dof * (-2.0 * across * tilt).ln_1p(),
            curvature: 2.0 * (along / left).powi(2) + 2.0 * dof * (across / right).powi(2),
        }
    }

    /// Logarithm of the saddlepoint density at `value > 0`; its integral is [`Self::ln_mass`], not 0.
    ///
    /// # Source
    ///
    /// Daniels (1954), doi:10.1214/aoms/1177728652.
    pub(super) fn ln_density(&self, value: f64) -> f64 {
        let at = self.saddle(value);
        at.cumulant - at.tilt * value - 0.5 * (2.0 * PI * at.curvature).ln()
    }

    /// Logarithm of the integral of the saddlepoint density.
    pub(super) fn ln_mass(&self) -> f64 {
        // Nodes even in ln(value): the pole that few degrees of freedom have at 0 becomes a tail that decays.
        let step = (0.5 / (1.0 + self.dof.min(1000.0)).sqrt()).min(0.25);
        let lowest = (self.along + self.dof * self.across).ln() - 22.0;
        let mut sum = 0.0;
        let mut at = lowest;
        while at < lowest + 28.0 {
            sum += (self.ln_density(at.exp()) + at).exp();
            at += step;
        }
        (sum * step).ln()
    }

    /// `P(X > value)`, with a relative error of a few percent, up to 14 % far out where one direction is all there is.
    ///
    /// # Source
    ///
    /// Lugannani and Rice (1980), doi:10.2307/1426607.
    pub(super) fn survival(&self, value: f64) -> f64 {
        if value <= 0.0 {
            return 1.0;
        }
        let value = value / self.along;
        if value > FAR {
            return 0.0;
        }
        let scaled = Self { along: 1.0, across: self.across / self.along, dof: self.dof };
        let at = scaled.saddle(value);
        let w = (2.0 * (at.tilt * value - at.cumulant)).max(0.0).sqrt().copysign(at.tilt);
        let correction = if w.abs() < NEAR {
            // Both terms have a pole at the mean; a sixth of the skewness is what is left of their difference.
            let third = 8.0 * (1.0 + scaled.dof * scaled.across.powi(3));
            -third / (6.0 * at.curvature.powf(1.5))
        } else {
            1.0 / (at.tilt * at.curvature.sqrt()) - 1.0 / w
        };
        probability(normal_sf(w) + (-0.5 * w * w).exp() / (2.0 * PI).sqrt() * correction)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::super::chi2_sf;
    use super::*;

    #[track_caller]
    fn check(law: Law, value: f64, expected: f64) {
        let actual = law.survival(value);
        assert!((actual / expected - 1.0).abs() < 0.15, "{law:?} at {value}: {actual}, {expected}");
    }

    #[test]
    fn one_weight_is_a_chi_squared_variable() {
        for value in [0.5, 2.0, 9.0, 8.999_999, 20.0, 60.0, 200.0] {
            check(Law { along: 1.0, across: 1.0, dof: 8.0 }, value, chi2_sf(value, 9.0));
            check(Law { along: 1e-4, across: 1e-4, dof: 8.0 }, value * 1e-4, chi2_sf(value, 9.0));
            check(Law { along: 3.0, across: 1e-9, dof: 8.0 }, value, chi2_sf(value / 3.0, 1.0));
            check(Law { along: 3.0, across: 0.0, dof: 0.0 }, value, chi2_sf(value / 3.0, 1.0));
        }
    }

    #[test]
    fn two_weights_are_a_convolution() {
        // P(χ²(1) + C·χ²(2) > x) in closed form but for one integral, by the midpoint rule in √χ²(1).
        let (across, steps) = (0.3, 20_000);
        for value in [1.0, 5.0, 15.0] {
            let width = f64::sqrt(value) / f64::from(steps);
            let inside: f64 = (0..steps)
                .map(|step| {
                    let z = (f64::from(step) + 0.5) * width;
                    (-0.5 * z * z - (value - z * z) / (2.0 * across)).exp()
                })
                .sum();
            let expected = chi2_sf(value, 1.0) + 2.0 * inside * width / (2.0 * PI).sqrt();
            check(Law { along: 1.0, across, dof: 2.0 }, value, expected);
        }
    }

    #[test]
    fn the_missing_factor_of_the_density_is_known() {
        // For a chi-squared variable it is what Stirling's formula lacks of the gamma function at half the degrees.
        let one = Law { along: 1.0, across: 0.0, dof: 0.0 }.ln_mass();
        assert!((one - 1.165_822_f64.ln()).abs() < 1e-3, "{}", one.exp());
        let many = Law { along: 1.0, across: 1.0, dof: 299.0 }.ln_mass();
        assert!(many.abs() < 2e-3, "{}", many.exp());
    }

    proptest! {
        #[test]
        fn falls_as_the_value_grows(
            ratio in 0.0..=1.0_f64, dof in 0.0..300.0_f64, value in 0.0..1000.0_f64, step in 0.0..10.0_f64,
        ) {
            let law = Law { along: 1.0, across: ratio, dof };
            let (near, far) = (law.survival(value), law.survival(value + step));
            prop_assert!(far <= near + 1e-6 && (0.0..=1.0).contains(&near), "{near}, {far}");
        }
    }
}
