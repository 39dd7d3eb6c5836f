//! Sums of floating-point numbers without any rounding, so that the order of adding leaves no trace.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Bits of one digit.
const DIGIT: u32 = 64;

/// The exact sum of numbers `± m · 2^(position − origin)`, where the caller gives the origin a meaning.
///
/// Digits of 64 bits lie in 128-bit accumulators, so that carries need not be passed on before 2⁶³ additions. Only
/// the digits that were touched are held. Merging adds accumulators; the sum is the same whatever the order, and two
/// sums are equal exactly when their values are.
///
/// # Source
///
/// Neal (2015), Fast exact summation using small and large superaccumulators, arXiv:1505.05571; here with 64-bit
/// digits and a window that grows.
#[derive(Clone, Debug, Default)]
pub struct ExactSum {
    /// Position of the lowest digit held, in digits.
    first: usize,
    digits: Vec<i128>,
}

impl ExactSum {
    /// Adds `±mantissa · 2^position`; `mantissa` has at most 64 bits.
    #[inline]
    pub(super) fn add(&mut self, mantissa: u64, position: u32, negative: bool) {
        let shifted = u128::from(mantissa) << (position % DIGIT);
        let at = (position / DIGIT) as usize;
        let sign = -i128::from(negative);
        let signed = |digit: u64| (i128::from(digit) ^ sign) - sign;
        let window = self.window::<2>(at);
        #[expect(clippy::cast_possible_truncation, reason = "the low digit")]
        let low = shifted as u64;
        window[0] += signed(low);
        window[1] += signed((shifted >> DIGIT) as u64);
    }

    /// Adds `mantissa · 2^position`.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "digits of 64 bits")]
    pub(super) fn add_wide(&mut self, mantissa: u128, position: u32) {
        let shift = position % DIGIT;
        let at = (position / DIGIT) as usize;
        let low = mantissa << shift;
        // Shifting by 64 and then by the rest keeps the shift under 128 where `shift` is 0.
        let high = (mantissa >> DIGIT) >> (DIGIT - shift).min(DIGIT - 1) >> u32::from(shift == 0);
        let window = self.window::<3>(at);
        window[0] += i128::from(low as u64);
        window[1] += i128::from((low >> DIGIT) as u64);
        window[2] += i128::from(high as u64);
    }

    /// The `N` accumulators from digit `at` on.
    #[inline]
    fn window<const N: usize>(&mut self, at: usize) -> &mut [i128] {
        if at < self.first || at + N > self.first + self.digits.len() {
            self.grow(at, at + N);
        }
        let start = at - self.first;
        &mut self.digits[start..start + N]
    }

    #[cold]
    fn grow(&mut self, from: usize, to: usize) {
        if self.digits.is_empty() {
            self.first = from;
        } else if from < self.first {
            let missing = self.first - from;
            self.digits.splice(0..0, std::iter::repeat_n(0, missing));
            self.first = from;
        }
        if self.first + self.digits.len() < to {
            self.digits.resize(to - self.first, 0);
        }
    }

    /// Adds the sum `other`.
    pub fn merge(&mut self, other: &Self) {
        if other.digits.is_empty() {
            return;
        }
        let to = other.first + other.digits.len();
        if self.digits.is_empty() || other.first < self.first || to > self.first + self.digits.len() {
            self.grow(other.first, to);
        }
        let start = other.first - self.first;
        for (own, more) in self.digits[start..].iter_mut().zip(&other.digits) {
            *own += more;
        }
    }

    /// Whether the sum is 0.
    pub fn is_zero(&self) -> bool {
        self.canonical().digits.is_empty()
    }

    /// Sign and magnitude with carries passed on and empty digits cut off: one form for one value.
    pub(super) fn canonical(&self) -> Magnitude {
        let mut carry = 0_i128;
        let mut digits = Vec::with_capacity(self.digits.len() + 2);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the low digit of a sum")]
        for &digit in &self.digits {
            let sum = digit + carry;
            digits.push(sum as u64);
            carry = sum >> DIGIT;
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "sign extension")]
        digits.extend([carry as u64, (carry >> DIGIT) as u64]);
        let negative = carry < 0;
        if negative {
            let mut borrow = true;
            for digit in &mut digits {
                let (inverted, overflow) = (!*digit).overflowing_add(u64::from(borrow));
                *digit = inverted;
                borrow = overflow;
            }
        }
        Magnitude { negative, first: self.first, digits }.trimmed()
    }
}

impl PartialEq for ExactSum {
    fn eq(&self, other: &Self) -> bool {
        self.canonical() == other.canonical()
    }
}

/// A sign and digits of 64 bits, the lowest first; digit `i` weighs `2^(64 (first + i))`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Magnitude {
    pub(super) negative: bool,
    first: usize,
    digits: Vec<u64>,
}

impl Magnitude {
    fn trimmed(mut self) -> Self {
        let length = self.digits.iter().rposition(|&digit| digit != 0).map_or(0, |last| last + 1);
        self.digits.truncate(length);
        let empty = self.digits.iter().take_while(|&&digit| digit == 0).count();
        self.digits.drain(..empty);
        self.first = if self.digits.is_empty() { 0 } else { self.first + empty };
        self.negative &= !self.digits.is_empty();
        self
    }

    fn digit(&self, at: usize) -> u64 {
        at.checked_sub(self.first).and_then(|i| self.digits.get(i)).copied().unwrap_or(0)
    }

    fn end(&self) -> usize {
        self.first + self.digits.len()
    }

    pub(super) fn square(&self) -> Self {
        let mut digits = vec![0_u64; 2 * self.digits.len()];
        for (i, &a) in self.digits.iter().enumerate() {
            let mut carry = 0_u128;
            for (j, &b) in self.digits.iter().enumerate() {
                let sum = u128::from(a) * u128::from(b) + u128::from(digits[i + j]) + carry;
                #[expect(clippy::cast_possible_truncation, reason = "the low digit")]
                let low = sum as u64;
                digits[i + j] = low;
                carry = sum >> DIGIT;
            }
            #[expect(clippy::cast_possible_truncation, reason = "the carry of one row is one digit")]
            let high = carry as u64;
            digits[i + self.digits.len()] = high;
        }
        Self { negative: false, first: 2 * self.first, digits }.trimmed()
    }

    pub(super) fn times(&self, factor: u64) -> Self {
        let mut carry = 0_u128;
        let mut digits: Vec<u64> = Vec::with_capacity(self.digits.len() + 1);
        #[expect(clippy::cast_possible_truncation, reason = "the low digit")]
        for &digit in &self.digits {
            let product = u128::from(digit) * u128::from(factor) + carry;
            digits.push(product as u64);
            carry = product >> DIGIT;
        }
        #[expect(clippy::cast_possible_truncation, reason = "the carry of a product is one digit")]
        digits.push(carry as u64);
        Self { negative: self.negative, first: self.first, digits }.trimmed()
    }

    /// `self − other` for magnitudes `self ≥ other ≥ 0`; 0 where that does not hold.
    pub(super) fn minus(&self, other: &Self) -> Self {
        let (first, end) = (self.first.min(other.first), self.end().max(other.end()));
        let mut digits = Vec::with_capacity(end - first);
        let mut borrow = false;
        for at in first..end {
            let (difference, under) = self.digit(at).overflowing_sub(other.digit(at));
            let (difference, more) = difference.overflowing_sub(u64::from(borrow));
            borrow = under || more;
            digits.push(difference);
        }
        if borrow {
            digits.clear();
        }
        Self { negative: false, first, digits }.trimmed()
    }

    /// `self / divisor`, with enough digits below for a correctly rounded result and the rest in `sticky`.
    fn divided(&self, divisor: u64) -> (Self, bool) {
        let extra = 3.min(self.first);
        let mut rest = 0_u128;
        let mut digits = vec![0_u64; self.digits.len() + extra];
        for (at, digit) in digits.iter_mut().enumerate().rev() {
            let dividend = rest << DIGIT | u128::from(at.checked_sub(extra).map_or(0, |at| self.digits[at]));
            #[expect(clippy::cast_possible_truncation, reason = "the remainder is under the divisor")]
            let quotient = (dividend / u128::from(divisor)) as u64;
            *digit = quotient;
            rest = dividend % u128::from(divisor);
        }
        (Self { negative: self.negative, first: self.first - extra, digits }.trimmed(), rest != 0)
    }

    /// `self · 2^−origin / Π divisors`, correctly rounded; at most the largest number, and rounded down to 0 under
    /// the least normal one.
    pub(super) fn to_f64(&self, origin: u32, divisors: &[u64]) -> f64 {
        // Room below for the digits of a quotient.
        let shifted = Self { first: self.first + 8, ..self.clone() };
        let (mut value, mut sticky) = (shifted, false);
        for &divisor in divisors {
            let (quotient, rest) = value.divided(divisor.max(1));
            value = quotient;
            sticky |= rest;
        }
        let Some(&top) = value.digits.last() else { return 0.0 };
        let zeros = top.leading_zeros();
        let next = value.digits.len().checked_sub(2).map_or(0, |at| value.digits[at]);
        let bits = (u128::from(top) << DIGIT | u128::from(next)) << zeros;
        sticky |= value.digits.iter().rev().skip(2).any(|&digit| digit != 0);
        // The top 64 bits, the last of them standing for everything below: `as f64` then rounds to nearest even.
        let head = (bits >> DIGIT) as u64;
        #[expect(clippy::cast_possible_truncation, reason = "the lower half")]
        let tail = bits as u64;
        let head = head | u64::from(sticky || tail != 0);
        #[expect(
            clippy::cast_possible_wrap,
            clippy::cast_possible_truncation,
            reason = "a few hundred digits"
        )]
        let exponent = ((value.end() - 8) * DIGIT as usize) as i32 - zeros as i32 - 64 - origin as i32;
        let size = scale(head as f64, exponent).min(f64::MAX);
        if self.negative { -size } else { size }
    }

    /// Bytes from the lowest that is not empty: position of that byte, and the bytes, the lowest first.
    fn bytes(&self) -> (usize, Vec<u8>) {
        let all: Vec<u8> = self.digits.iter().flat_map(|digit| digit.to_le_bytes()).collect();
        let empty = all.iter().take_while(|&&byte| byte == 0).count();
        let length = all.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        let at = if length == 0 { 0 } else { self.first * 8 + empty };
        (at, all.get(empty..length).unwrap_or_default().to_vec())
    }
}

/// `value · 2^exponent` in steps that neither overflow nor vanish early.
fn scale(mut value: f64, mut exponent: i32) -> f64 {
    while exponent > 1000 {
        value *= 2_f64.powi(1000);
        exponent -= 1000;
    }
    while exponent < -1000 {
        value *= 2_f64.powi(-1000);
        exponent += 1000;
    }
    value * 2_f64.powi(exponent)
}

/// Digits that any sum of this project can touch: squares reach 2^4196 above their origin, counts add 64 bits.
const MAX_BYTES: usize = 600;

/// The stored form of a sum: sign, position of the lowest byte, and the bytes from there, the lowest first.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct SumBytes {
    /// Whether the sum is under 0.
    pub negative: bool,
    /// Position of the first byte.
    pub first: usize,
    /// Its bytes; neither the first nor the last is 0.
    pub bytes: Vec<u8>,
}

impl From<&ExactSum> for SumBytes {
    fn from(sum: &ExactSum) -> Self {
        let magnitude = sum.canonical();
        let (first, bytes) = magnitude.bytes();
        Self { negative: magnitude.negative, first, bytes }
    }
}

impl TryFrom<&SumBytes> for ExactSum {
    type Error = &'static str;

    fn try_from(stored: &SumBytes) -> Result<Self, Self::Error> {
        if stored.first > MAX_BYTES || stored.bytes.len() > MAX_BYTES {
            return Err("a sum is larger than any number can make it");
        }
        let mut sum = Self::default();
        for (at, &byte) in stored.bytes.iter().enumerate() {
            #[expect(clippy::cast_possible_truncation, reason = "at most 1,200 bytes")]
            sum.add(u64::from(byte), 8 * (stored.first + at) as u32, stored.negative);
        }
        Ok(sum)
    }
}

impl Serialize for ExactSum {
    /// Text: an optional `-`, the position of the lowest byte, `:`, and the bytes in hexadecimal, the lowest first.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use std::fmt::Write as _;
        let stored = SumBytes::from(self);
        let mut text = format!("{}{}:", if stored.negative { "-" } else { "" }, stored.first);
        for byte in &stored.bytes {
            write!(text, "{byte:02x}").map_err(serde::ser::Error::custom)?;
        }
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for ExactSum {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let refuse = || de::Error::custom(format!("`{text}` is not a sum"));
        let (negative, rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.as_str()),
        };
        let (first, hex) = rest.split_once(':').ok_or_else(refuse)?;
        let first = first.parse().map_err(|_| refuse())?;
        if hex.len() % 2 != 0 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(refuse());
        }
        let bytes = (0..hex.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).map_err(|_| refuse()))
            .collect::<Result<_, _>>()?;
        Self::try_from(&SumBytes { negative, first, bytes }).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Adds an integer at position 0.
    fn of(values: &[i64]) -> ExactSum {
        let mut sum = ExactSum::default();
        for &value in values {
            sum.add(value.unsigned_abs(), 0, value < 0);
        }
        sum
    }

    #[test]
    fn equal_values_are_equal_sums() {
        assert_eq!(of(&[5, -5]), ExactSum::default());
        assert_eq!(of(&[i64::MAX, i64::MAX, i64::MIN, -3]), of(&[i64::MAX, -4]));
        assert_ne!(of(&[1]), of(&[-1]));
        // The same value from a low and from a high position.
        let mut high = ExactSum::default();
        high.add(1, 64, false);
        assert_eq!(high, of(&[i64::MAX, i64::MAX, 2]));
        assert!(of(&[7, -7]).is_zero() && !high.is_zero());
    }

    #[test]
    fn wide_mantissas_reach_three_digits() {
        for position in [0, 1, 63, 64, 100] {
            let mut wide = ExactSum::default();
            wide.add_wide(u128::MAX, position);
            let mut parts = ExactSum::default();
            parts.add(u64::MAX, position, false);
            parts.add(u64::MAX, position + 64, false);
            assert_eq!(wide, parts, "{position}");
        }
    }

    #[test]
    fn division_is_correctly_rounded() {
        for (value, divisors, expected) in [
            (1, vec![3], 1.0 / 3.0),
            (-10, vec![4], -2.5),
            (i64::MAX, vec![], 9_223_372_036_854_775_807.0),
            (9_007_199_254_740_993, vec![], 9_007_199_254_740_992.0),
            (1, vec![7, 11], 1.0 / 77.0),
            (0, vec![3], 0.0),
        ] {
            let actual = of(&[value]).canonical().to_f64(0, &divisors);
            assert!(actual.to_bits() == f64::to_bits(expected), "{value} / {divisors:?}: {actual}");
        }
    }

    proptest! {
        #[test]
        fn the_order_leaves_no_trace(
            parts in prop::collection::vec((any::<u64>(), 0_u32..4000, any::<bool>()), 0..40), turn in 0_usize..40
        ) {
            let add = |sum: &mut ExactSum, &(mantissa, position, negative): &(u64, u32, bool)| sum.add(mantissa, position, negative);
            let mut forward = ExactSum::default();
            for part in &parts {
                add(&mut forward, part);
            }
            let turn = turn.min(parts.len());
            let (mut left, mut right) = (ExactSum::default(), ExactSum::default());
            for part in parts[..turn].iter().rev() {
                add(&mut left, part);
            }
            for part in parts[turn..].iter().rev() {
                add(&mut right, part);
            }
            right.merge(&left);
            prop_assert_eq!(SumBytes::from(&forward), SumBytes::from(&right));
            prop_assert_eq!(&ExactSum::try_from(&SumBytes::from(&forward)).unwrap(), &forward);
            let text = serde_json::to_string(&forward).unwrap();
            prop_assert_eq!(serde_json::from_str::<ExactSum>(&text).unwrap(), forward);
        }

        #[test]
        fn small_sums_are_those_of_integers(values in prop::collection::vec(any::<i64>(), 0..50), divisor in 1_u64..1000) {
            let exact: i128 = values.iter().map(|&value| i128::from(value)).sum();
            let sum = of(&values).canonical();
            prop_assert_eq!(sum.to_f64(0, &[]).to_bits(), (exact as f64).to_bits());
            let ratio = exact as f64 / divisor as f64;
            prop_assert!((sum.to_f64(0, &[divisor]) - ratio).abs() <= 1e-15 * ratio.abs());
            let square = sum.square();
            prop_assert_eq!(square.to_f64(0, &[]).to_bits(), (square.to_f64(64, &[]) * 2_f64.powi(64)).to_bits());
        }

        #[test]
        fn any_text_is_refused_or_read(text in ".{0,30}") {
            let quoted = serde_json::to_string(&text).unwrap();
            if let Ok(sum) = serde_json::from_str::<ExactSum>(&quoted) {
                prop_assert!(serde_json::to_string(&sum).is_ok());
            }
        }
    }
}
