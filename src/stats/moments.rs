//! Count, mean, variance and range of a stream, mergeable in any order.

use serde::{Deserialize, Serialize};

/// Running moments of finite values.
///
/// Built by [`update`](Self::update) and [`merge`](Self::merge); merging parts gives the same as one pass over all
/// values, up to rounding. Every field stays finite, so that a round trip through JSON loses nothing: a sum of squares
/// beyond the largest number (deviations past about 1e154) stays at [`f64::MAX`], and so does the variance then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Moments {
    /// Values seen.
    pub count: u64,
    /// Their mean; 0 while there is none.
    pub mean: f64,
    /// Sum of squared deviations from the mean, at most [`f64::MAX`].
    pub m2: f64,
    /// Smallest value; 0 while there is none.
    pub min: f64,
    /// Largest value; 0 while there is none.
    pub max: f64,
}

impl Moments {
    /// Moments of no values.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one value. NaN and infinities are passed over: they are counted elsewhere, and one of them would
    /// otherwise erase every value before and after it.
    ///
    /// # Source
    ///
    /// Welford (1962), doi:10.1080/00401706.1962.10490022.
    pub fn update(&mut self, value: f64) {
        if value.is_finite() {
            self.merge(&Self { count: 1, mean: value, m2: 0.0, min: value, max: value });
        }
    }

    /// Adds the values that `other` has seen.
    ///
    /// # Source
    ///
    /// Chan, Golub and `LeVeque` (1983), doi:10.1080/00031305.1983.10483115.
    pub fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        if self.count == 0 {
            *self = *other;
            return;
        }
        let count = self.count.saturating_add(other.count);
        let weight = other.count as f64 / count as f64;
        let delta = other.mean - self.mean;
        self.mean = if delta.is_finite() {
            self.mean + delta * weight
        } else {
            // Opposite signs near the largest number: the difference overflows, the weighted sum cannot.
            self.mean * (1.0 - weight) + other.mean * weight
        };
        let between = delta * (self.count as f64 * weight) * delta;
        self.m2 = (self.m2 + other.m2 + between).min(f64::MAX);
        self.count = count;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    /// Unbiased variance, `m2 / (count − 1)`; `None` under two values.
    ///
    /// # Returns
    ///
    /// A value in `[0, f64::MAX]`, in the squared unit of the values; [`f64::MAX`] where `m2` has reached it, since the
    /// true variance is then unknown and not small.
    pub fn variance(&self) -> Option<f64> {
        if self.count < 2 {
            None
        } else if self.m2 >= f64::MAX {
            Some(f64::MAX)
        } else {
            Some(self.m2 / (self.count - 1) as f64)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(values: &[f64]) -> Moments {
        let mut moments = Moments::new();
        for &value in values {
            moments.update(value);
        }
        moments
    }

    #[track_caller]
    fn check(values: &[f64], mean: f64, variance: Option<f64>) {
        let actual = of(values);
        assert!((actual.mean - mean).abs() <= 1e-12 * mean.abs(), "mean {}", actual.mean);
        match (actual.variance(), variance) {
            (None, None) => {}
            (Some(actual), Some(expected)) => {
                assert!(
                    (actual - expected).abs() <= 1e-9 * expected,
                    "variance {actual:e}, expected {expected:e}"
                );
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn mean_and_variance_are_the_textbook_ones() {
        check(&[], 0.0, None);
        check(&[3.0], 3.0, None);
        check(&[3.0, 5.0], 4.0, Some(2.0));
        check(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0], 5.0, Some(32.0 / 7.0));
        // A large offset takes no digits from the spread.
        check(&[1e9 + 4.0, 1e9 + 7.0, 1e9 + 13.0, 1e9 + 16.0], 1e9 + 10.0, Some(30.0));
        check(&[1.0, f64::NAN, 3.0, f64::INFINITY, f64::NEG_INFINITY], 2.0, Some(2.0));
        // Past the range of squares the variance stays at the largest number.
        check(&[1e300, -1e300], 0.0, Some(f64::MAX));
        check(&[f64::MAX, f64::MAX], f64::MAX, Some(0.0));
        check(&[f64::MAX, f64::MIN], 0.0, Some(f64::MAX));
    }

    #[test]
    fn a_round_trip_through_json_loses_nothing() {
        for moments in [of(&[]), of(&[1e300, -1e300, 0.1]), of(&[0.1, 0.2])] {
            let text = serde_json::to_string(&moments).unwrap();
            assert_eq!(serde_json::from_str::<Moments>(&text).unwrap(), moments);
        }
    }

    fn values() -> impl Strategy<Value = Vec<f64>> {
        prop::collection::vec(-1e3..1e3_f64, 0..40)
    }

    fn close(a: &Moments, b: &Moments) -> bool {
        a.count == b.count
            && (a.mean - b.mean).abs() < 1e-9
            && (a.m2 - b.m2).abs() <= 1e-9 * (1.0 + a.m2)
            && (a.min, a.max) == (b.min, b.max)
    }

    proptest! {
        #[test]
        fn parts_merge_to_the_whole_in_any_order(a in values(), b in values(), c in values()) {
            let whole = of(&[a.clone(), b.clone(), c.clone()].concat());
            let [a, b, c] = [of(&a), of(&b), of(&c)];
            let merged = |parts: [&Moments; 3]| {
                let mut sum = Moments::new();
                for part in parts {
                    sum.merge(part);
                }
                sum
            };
            prop_assert!(close(&merged([&a, &b, &c]), &whole));
            prop_assert!(close(&merged([&c, &a, &b]), &whole));
        }

        #[test]
        fn stay_finite_and_ordered(values in prop::collection::vec(any::<f64>(), 0..40)) {
            let moments = of(&values);
            prop_assert!([moments.mean, moments.m2, moments.min, moments.max].iter().all(|part| part.is_finite()));
            prop_assert!(moments.m2 >= 0.0);
            let slack = 1e-9 * moments.min.abs().max(moments.max.abs());
            prop_assert!(moments.min - slack <= moments.mean && moments.mean <= moments.max + slack);
        }
    }
}
