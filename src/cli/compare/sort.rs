//! Sorts numbers by their digits, which is several times faster than by comparing when there are many.

/// Bits of a digit, and how many digits a number has.
const BITS: usize = 11;
const DIGITS: usize = 64_usize.div_ceil(BITS);
const BUCKETS: usize = 1 << BITS;

/// Numbers below which comparing is faster.
const FEW: usize = 4096;

/// Sorts finite numbers; −0 becomes 0.
///
/// # Source
///
/// Radix sort from the least digit, on bits whose order is that of the numbers: Herf (2001), Radix Tricks.
pub(super) fn sort(values: &mut [f64]) {
    if values.len() < FEW {
        values.iter_mut().for_each(|value| *value += 0.0);
        return values.sort_unstable_by(f64::total_cmp);
    }
    let mut keys: Vec<u64> = values.iter().map(|&value| key_of(value)).collect();
    let mut counts = vec![0_usize; DIGITS * BUCKETS];
    for &key in &keys {
        for digit in 0..DIGITS {
            counts[digit * BUCKETS + digit_of(key, digit)] += 1;
        }
    }
    let mut sorted = vec![0_u64; keys.len()];
    for digit in 0..DIGITS {
        let counts = &mut counts[digit * BUCKETS..][..BUCKETS];
        if counts.contains(&keys.len()) {
            continue;
        }
        let mut place = 0;
        for count in counts.iter_mut() {
            let next = place + *count;
            *count = place;
            place = next;
        }
        for &key in &keys {
            let place = &mut counts[digit_of(key, digit)];
            sorted[*place] = key;
            *place += 1;
        }
        std::mem::swap(&mut keys, &mut sorted);
    }
    for (value, key) in values.iter_mut().zip(keys) {
        *value = value_of(key);
    }
}

const SIGN: u64 = 1 << 63;

fn key_of(value: f64) -> u64 {
    let bits = (value + 0.0).to_bits();
    if bits & SIGN == 0 { bits | SIGN } else { !bits }
}

fn value_of(key: u64) -> f64 {
    f64::from_bits(if key & SIGN == 0 { !key } else { key ^ SIGN })
}

#[expect(clippy::cast_possible_truncation, reason = "masked to a digit")]
fn digit_of(key: u64, digit: usize) -> usize {
    (key >> (digit * BITS)) as usize & (BUCKETS - 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn agrees_with_sorting_by_comparison(
            values in prop::collection::vec(prop_oneof![any::<f64>(), -1e3..1e3_f64, Just(-0.0), Just(0.0)], 0..9000),
        ) {
            let mut values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
            let mut expected: Vec<f64> = values.iter().map(|value| value + 0.0).collect();
            expected.sort_by(f64::total_cmp);
            sort(&mut values);
            prop_assert_eq!(values, expected);
        }
    }
}
