//! Seeded random numbers: xoshiro256++, normal, Student's t, binomial.

use std::f64::consts::PI;

/// Generator of Blackman and Vigna (2021), doi:10.1145/3460772, seeded by `SplitMix64`.
pub(super) struct Random {
    state: [u64; 4],
    spare: Option<f64>,
}

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        let mut at = seed;
        let state = std::array::from_fn(|_| {
            at = at.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut bits = at;
            bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            bits ^ (bits >> 31)
        });
        Self { state, spare: None }
    }

    fn bits(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.state;
        let result = a.wrapping_add(*d).rotate_left(23).wrapping_add(*a);
        let shifted = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= shifted;
        *d = d.rotate_left(45);
        result
    }

    /// In `[0, 1)`.
    pub(super) fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Standard normal, by the polar method of Marsaglia.
    pub(super) fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        loop {
            let (x, y) = (2.0 * self.uniform() - 1.0, 2.0 * self.uniform() - 1.0);
            let square = x * x + y * y;
            if 0.0 < square && square < 1.0 {
                let factor = (-2.0 * square.ln() / square).sqrt();
                self.spare = Some(y * factor);
                return x * factor;
            }
        }
    }

    /// Chi-squared with a few whole degrees of freedom.
    pub(super) fn chi_squared(&mut self, dof: u32) -> f64 {
        (0..dof).map(|_| self.normal().powi(2)).sum()
    }

    /// Standard Cauchy.
    pub(super) fn cauchy(&mut self) -> f64 {
        (PI * (self.uniform() - 0.5)).tan()
    }

    /// Successes in `trials` at probability `share`: inversion for small means, else the transformed rejection of
    /// Hörmann (1993), doi:10.1080/00949659308811496.
    #[expect(clippy::many_single_char_names, reason = "the names of the paper")]
    pub(super) fn binomial(&mut self, trials: u64, share: f64) -> u64 {
        if trials == 0 || share <= 0.0 {
            return 0;
        }
        if share >= 1.0 {
            return trials;
        }
        if share > 0.5 {
            return trials - self.binomial(trials, 1.0 - share);
        }
        let n = trials as f64;
        let odds = share / (1.0 - share);
        if n * share < 10.0 {
            let mut mass = (n * (-share).ln_1p()).exp();
            let mut left = self.uniform();
            let mut at = 0;
            while left > mass && at < trials {
                left -= mass;
                at += 1;
                mass *= odds * (n - at as f64 + 1.0) / at as f64;
            }
            return at;
        }
        let spread = (n * share * (1.0 - share)).sqrt();
        let b = 1.15 + 2.53 * spread;
        let a = -0.0873 + 0.0248 * b + 0.01 * share;
        let c = n * share + 0.5;
        let v_r = 0.92 - 4.2 / b;
        let alpha = (2.83 + 5.1 / b) * spread;
        let mode = ((n + 1.0) * share).floor();
        loop {
            let v = self.uniform();
            let u = self.uniform() - 0.5;
            let us = 0.5 - u.abs();
            let k = ((2.0 * a / us + b) * u + c).floor();
            if k < 0.0 || k > n {
                continue;
            }
            if us >= 0.07 && v <= v_r {
                return k as u64;
            }
            let v = (v * alpha / (a / (us * us) + b)).ln();
            let bound = (mode + 0.5) * ((mode + 1.0) / (odds * (n - mode + 1.0))).ln()
                + stirling(mode)
                + stirling(n - mode)
                + (n + 1.0) * ((n - mode + 1.0) / (n - k + 1.0)).ln()
                + (k + 0.5) * (odds * (n - k + 1.0) / (k + 1.0)).ln()
                - stirling(k)
                - stirling(n - k);
            if v <= bound {
                return k as u64;
            }
        }
    }
}

/// What Stirling's formula lacks of `ln k!`.
fn stirling(k: f64) -> f64 {
    const SMALL: [f64; 3] = [0.081_061_466_795_327_26, 0.041_340_695_955_409_29, 0.027_677_925_684_998_34];
    if k < 3.0 {
        return SMALL[k as usize];
    }
    let next = k + 1.0;
    let square = next * next;
    (1.0 / 12.0 - (1.0 / 360.0 - 1.0 / (1260.0 * square)) / square) / next
}
