//! Count, mean, variance and range of a stream: exact, so that parts merge to the same bits in any order.

use serde::{Deserialize, Serialize};

use super::exact_sum::ExactSum;

/// Weight of the lowest bit of a finite number is `2^−1074`.
const SUM_ORIGIN: u32 = 1074;

/// Weight of the lowest bit of a square.
const SQUARE_ORIGIN: u32 = 2 * SUM_ORIGIN;

/// Values added up at once: 53 bits and these many values fit into 63 bits.
const BATCH: usize = 512;

/// Exponents under the greatest one of a batch that are added up together.
const SPAN: usize = 48;

/// The exponent of NaN and the infinities.
const EXPONENT_MASK: u64 = 0x7ff;

/// Moments of finite values.
///
/// Sum and sum of squares are kept without rounding, so that merging is associative and commutative to the last bit,
/// nothing cancels, and nothing overflows: only what is read out is rounded, once.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Moments {
    count: u64,
    sum: ExactSum,
    squares: ExactSum,
    min: f64,
    max: f64,
}

impl Moments {
    /// Moments of no values.
    pub fn new() -> Self {
        Self::default()
    }

    /// Moments from their stored parts.
    pub(crate) fn from_parts(count: u64, sum: ExactSum, squares: ExactSum, (min, max): (f64, f64)) -> Self {
        Self { count, sum, squares, min, max }
    }

    /// Moments that read as these: of one value at `mean`, and as far from it as the variance says.
    ///
    /// For figures that were stored rounded; the sum is `count · mean` to within rounding.
    pub(crate) fn from_rounded(count: u64, mean: f64, m2: f64, (min, max): (f64, f64)) -> Self {
        let mut moments = Self { count, min, max, ..Self::default() };
        moments.add_to_sums(mean, count);
        let (mantissa, position, _) = parts(m2);
        moments.squares.add(mantissa, position + SUM_ORIGIN, false);
        moments
    }

    /// Adds one value. NaN and infinities are passed over: they are counted elsewhere.
    #[inline]
    pub fn update(&mut self, value: f64) {
        if !value.is_finite() {
            return;
        }
        let (mantissa, position, negative) = parts(value);
        self.sum.add(mantissa, position, negative);
        self.squares.add_wide(u128::from(mantissa) * u128::from(mantissa), 2 * position);
        // Adding 0 turns −0 into 0, so that the order of the two leaves no trace either.
        let value = value + 0.0;
        if self.count == 0 {
            (self.min, self.max) = (value, value);
        }
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        self.count += 1;
    }

    /// Adds values; NaN and infinities are passed over. The same as one [`update`](Self::update) each, and faster.
    pub fn extend(&mut self, values: &[f64]) {
        for batch in values.chunks(BATCH) {
            self.extend_batch(batch);
        }
    }

    /// Adds up mantissas and their squares by exponent, so that each value costs two additions and no shift.
    fn extend_batch(&mut self, values: &[f64]) {
        let top = values.iter().map(|value| value.to_bits() << 1 >> 53).max().unwrap_or(0);
        if top == EXPONENT_MASK || values.len() < 8 {
            for &value in values {
                self.update(value);
            }
            return;
        }
        let mut sums = [0_i64; SPAN];
        let mut squares = [0_u128; SPAN];
        let (mut min, mut max) = (f64::INFINITY, f64::NEG_INFINITY);
        for &value in values {
            let bits = value.to_bits();
            let exponent = bits << 1 >> 53;
            let normal = u64::from(exponent != 0);
            let mantissa = bits & ((1 << 52) - 1) | normal << 52;
            min = min.min(value);
            max = max.max(value);
            #[expect(clippy::cast_possible_truncation, reason = "the exponent is at most the greatest")]
            let under = (top - exponent) as usize;
            if under < SPAN {
                let negative = (bits >> 63).wrapping_neg();
                let signed = ((mantissa ^ negative).wrapping_sub(negative)).cast_signed();
                sums[under] += signed;
                squares[under] += u128::from(mantissa) * u128::from(mantissa);
            } else {
                let position = u32::try_from(exponent.saturating_sub(1)).unwrap_or(0);
                self.sum.add(mantissa, position, value < 0.0);
                self.squares.add_wide(u128::from(mantissa) * u128::from(mantissa), 2 * position);
            }
        }
        for (under, (&sum, &square)) in sums.iter().zip(&squares).enumerate() {
            if square > 0 {
                let position = u32::try_from(top.saturating_sub(under as u64).saturating_sub(1)).unwrap_or(0);
                self.sum.add(sum.unsigned_abs(), position, sum < 0);
                self.squares.add_wide(square, 2 * position);
            }
        }
        // Adding 0 turns −0 into 0, so that the order of the two leaves no trace either.
        let (min, max) = (min + 0.0, max + 0.0);
        if self.count == 0 {
            (self.min, self.max) = (min, max);
        }
        self.min = self.min.min(min);
        self.max = self.max.max(max);
        self.count += values.len() as u64;
    }

    /// Adds `value` `count` times.
    pub fn update_many(&mut self, value: f64, count: u64) {
        if !value.is_finite() || count == 0 {
            return;
        }
        let value = value + 0.0;
        let (min, max) = if self.count == 0 { (value, value) } else { (self.min, self.max) };
        (self.min, self.max) = (min.min(value), max.max(value));
        self.add_to_sums(value, count);
        self.count = self.count.saturating_add(count);
    }

    #[expect(clippy::cast_possible_truncation, reason = "digits of 64 bits")]
    fn add_to_sums(&mut self, value: f64, count: u64) {
        let (mantissa, position, negative) = parts(value);
        let product = u128::from(mantissa) * u128::from(count);
        self.sum.add(product as u64, position, negative);
        self.sum.add((product >> 64) as u64, position + 64, negative);
        let square = u128::from(mantissa) * u128::from(mantissa);
        self.squares.add_wide(u128::from(square as u64) * u128::from(count), 2 * position);
        self.squares.add_wide((square >> 64) * u128::from(count), 2 * position + 64);
    }

    /// Adds the values that `other` has seen.
    pub fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        if self.count == 0 {
            self.clone_from(other);
            return;
        }
        self.count = self.count.saturating_add(other.count);
        self.sum.merge(&other.sum);
        self.squares.merge(&other.squares);
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    /// Values seen.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Smallest value; 0 while there is none.
    pub fn min(&self) -> f64 {
        self.min
    }

    /// Largest value; 0 while there is none.
    pub fn max(&self) -> f64 {
        self.max
    }

    /// The exact sum, with `2^−1074` as its unit.
    pub fn sum(&self) -> &ExactSum {
        &self.sum
    }

    /// The exact sum of squares, with `2^−2148` as its unit.
    pub fn squares(&self) -> &ExactSum {
        &self.squares
    }

    /// The mean, rounded once; 0 while there is no value. Always finite.
    pub fn mean(&self) -> f64 {
        self.sum.canonical().to_f64(SUM_ORIGIN, &[self.count])
    }

    /// Unbiased variance, `Σ (x − mean)² / (count − 1)`, rounded once; `None` under two values.
    ///
    /// # Returns
    ///
    /// A value in `[0, f64::MAX]`, in the squared unit of the values; [`f64::MAX`] where it is larger than any number.
    pub fn variance(&self) -> Option<f64> {
        if self.count < 2 {
            return None;
        }
        let deviations = self.squares.canonical().times(self.count).minus(&self.sum.canonical().square());
        Some(deviations.to_f64(SQUARE_ORIGIN, &[self.count, self.count - 1]))
    }

    /// Square root of [`variance`](Self::variance), when it is above 0.
    pub fn deviation(&self) -> Option<f64> {
        self.variance().map(f64::sqrt).filter(|&deviation| deviation > 0.0)
    }
}

/// The sum of finite values alone, where nothing else about them is asked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FiniteSum(ExactSum);

impl FiniteSum {
    /// A sum from its stored form.
    pub(crate) fn from_exact(sum: ExactSum) -> Self {
        Self(sum)
    }

    /// The sum as it is stored, with `2^−1074` as its unit.
    pub(crate) fn exact(&self) -> &ExactSum {
        &self.0
    }

    /// Adds one value; NaN and infinities are passed over.
    #[inline]
    pub fn update(&mut self, value: f64) {
        if value.is_finite() {
            let (mantissa, position, negative) = parts(value);
            self.0.add(mantissa, position, negative);
        }
    }

    /// Adds `value` `count` times.
    #[expect(clippy::cast_possible_truncation, reason = "digits of 64 bits")]
    pub fn update_many(&mut self, value: f64, count: u64) {
        if value.is_finite() {
            let (mantissa, position, negative) = parts(value);
            let product = u128::from(mantissa) * u128::from(count);
            self.0.add(product as u64, position, negative);
            self.0.add((product >> 64) as u64, position + 64, negative);
        }
    }

    /// Adds the values of `other`.
    pub fn merge(&mut self, other: &Self) {
        self.0.merge(&other.0);
    }

    /// Mean over `count` values, rounded once; 0 for none.
    pub fn mean(&self, count: u64) -> f64 {
        self.0.canonical().to_f64(SUM_ORIGIN, &[count])
    }
}

/// A finite number as `± mantissa · 2^(position − 1074)`.
#[inline]
fn parts(value: f64) -> (u64, u32, bool) {
    let bits = value.to_bits();
    let exponent = (bits >> 52) as u32 & 0x7ff;
    let normal = u32::from(exponent != 0);
    let mantissa = bits & ((1 << 52) - 1) | u64::from(normal) << 52;
    (mantissa, exponent - normal, bits >> 63 != 0)
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
        assert!((actual.mean() - mean).abs() <= 1e-15 * mean.abs(), "mean {}", actual.mean());
        match (actual.variance(), variance) {
            (None, None) => {}
            (Some(actual), Some(expected)) => {
                assert!(
                    (actual - expected).abs() <= 1e-15 * expected,
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
        check(&[1e15 + 4.0, 1e15 + 7.0, 1e15 + 13.0, 1e15 + 16.0], 1e15 + 10.0, Some(30.0));
        check(&[1.0, f64::NAN, 3.0, f64::INFINITY, f64::NEG_INFINITY], 2.0, Some(2.0));
        // The sum overflows, the mean does not; a variance past the largest number stays there.
        check(&[f64::MAX, f64::MAX], f64::MAX, Some(0.0));
        check(&[1e300, -1e300], 0.0, Some(f64::MAX));
        check(&[f64::MAX, f64::MIN], 0.0, Some(f64::MAX));
        // Squares that no number can hold still tell apart.
        check(&[1e-300, 1e-300], 1e-300, Some(0.0));
        check(&[5e-324, 5e-324], 5e-324, Some(0.0));
    }

    #[test]
    fn nothing_cancels() {
        check(&[1e300, 1.0, -1e300], 1.0 / 3.0, Some(f64::MAX));
        let mut moments = of(&[1e16, 1.0, -1e16]);
        assert!((moments.mean() - 1.0 / 3.0).abs() < 1e-16);
        moments.update_many(0.1, 1_000_000);
        assert_eq!(moments.count(), 1_000_003);
    }

    #[test]
    fn minus_zero_is_zero() {
        assert_eq!(of(&[0.0, -0.0]).min().to_bits(), of(&[-0.0, 0.0]).min().to_bits());
    }

    #[test]
    fn rounded_figures_read_as_they_were() {
        let moments = Moments::from_rounded(7, 0.1, 3.5, (-1.0, 2.0));
        assert!((moments.mean() - 0.1).abs() < 1e-16);
        assert!((moments.variance().unwrap() - 3.5 / 6.0).abs() < 1e-14, "{:?}", moments.variance());
    }

    fn values() -> impl Strategy<Value = Vec<f64>> {
        prop::collection::vec(
            prop_oneof![-1e3..1e3_f64, any::<f64>().prop_filter("finite", |v| v.is_finite())],
            0..40,
        )
    }

    proptest! {
        #[test]
        fn parts_merge_to_the_same_bits_in_any_order(a in values(), b in values(), c in values()) {
            let whole = of(&[a.clone(), b.clone(), c.clone()].concat());
            let [a, b, c] = [of(&a), of(&b), of(&c)];
            let merged = |parts: [&Moments; 3]| {
                let mut sum = Moments::new();
                for part in parts {
                    sum.merge(part);
                }
                sum
            };
            for moments in [merged([&a, &b, &c]), merged([&c, &a, &b]), merged([&b, &c, &a])] {
                prop_assert_eq!(serde_json::to_string(&moments).unwrap(), serde_json::to_string(&whole).unwrap());
                prop_assert_eq!(moments.variance().map(f64::to_bits), whole.variance().map(f64::to_bits));
            }
        }

        #[test]
        fn a_batch_is_its_values(
            values in prop::collection::vec(prop_oneof![any::<f64>(), -1e3..1e3_f64, -1.0..1.0_f64, Just(-0.0), Just(0.0)], 0..1200)
        ) {
            let mut batched = Moments::new();
            batched.extend(&values);
            prop_assert_eq!(serde_json::to_string(&batched).unwrap(), serde_json::to_string(&of(&values)).unwrap());
        }

        #[test]
        fn many_at_once_are_many(value in any::<f64>(), count in 0_u64..50) {
            let mut at_once = of(&[1.5]);
            at_once.update_many(value, count);
            let mut singly = of(&[1.5]);
            (0..count).for_each(|_| singly.update(value));
            prop_assert_eq!(at_once, singly);
        }

        #[test]
        fn stay_finite_and_ordered(values in prop::collection::vec(any::<f64>(), 1..40)) {
            let moments = of(&values);
            prop_assert!(moments.min() <= moments.mean() && moments.mean() <= moments.max() || moments.count() == 0);
            prop_assert!(moments.variance().is_none_or(|variance| variance.is_finite() && variance >= 0.0));
            let text = serde_json::to_string(&moments).unwrap();
            prop_assert_eq!(serde_json::from_str::<Moments>(&text).unwrap(), moments);
        }
    }
}
