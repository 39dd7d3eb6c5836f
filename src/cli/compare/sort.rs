//! Sorts numbers by their digits, as integers of the same order, in buffers that a thread uses again.

use std::cell::RefCell;

/// Bits of a digit.
const BITS: usize = 11;
const BUCKETS: usize = 1 << BITS;

/// Digits that are sorted by, from the highest: few numbers agree in all of them, and those few are compared.
const DIGITS: usize = 4;

/// Bits under the lowest digit.
const REST: usize = 64 - DIGITS * BITS;

/// Numbers below which comparing is faster.
const FEW: usize = 4096;

const SIGN: u64 = 1 << 63;

thread_local! {
    /// Memory that is new costs more than the sorting itself: a page fault for every 4 KiB.
    static SPARE: RefCell<Spare> = const { RefCell::new(Spare { keys: Vec::new(), runs: Vec::new(), other: Vec::new() }) };
}

struct Spare {
    keys: Vec<u64>,
    other: Vec<u64>,
    runs: Vec<(f64, u64)>,
}

/// An empty buffer for keys, with room from an earlier use by this thread.
pub(super) fn spare_keys() -> Vec<u64> {
    SPARE.with_borrow_mut(|spare| std::mem::take(&mut spare.keys))
}

/// Leaves a buffer for the next use.
pub(super) fn leave_keys(mut keys: Vec<u64>) {
    keys.clear();
    SPARE.with_borrow_mut(|spare| spare.keys = keys);
}

/// An empty buffer for runs, likewise.
pub(super) fn spare_runs() -> Vec<(f64, u64)> {
    SPARE.with_borrow_mut(|spare| std::mem::take(&mut spare.runs))
}

/// Leaves a buffer for the next use.
pub(super) fn leave_runs(mut runs: Vec<(f64, u64)>) {
    runs.clear();
    SPARE.with_borrow_mut(|spare| spare.runs = runs);
}

/// An integer in the order of the finite numbers; −0 is 0.
pub(super) fn key_of(value: f64) -> u64 {
    let bits = (value + 0.0).to_bits();
    if bits & SIGN == 0 { bits | SIGN } else { !bits }
}

/// The number of a key.
pub(super) fn value_of(key: u64) -> f64 {
    f64::from_bits(if key & SIGN == 0 { !key } else { key ^ SIGN })
}

#[expect(clippy::cast_possible_truncation, reason = "masked to a digit")]
fn digit_of(key: u64, digit: usize) -> usize {
    (key >> (REST + digit * BITS)) as usize & (BUCKETS - 1)
}

/// Sorts finite numbers; −0 becomes 0.
pub(super) fn sort(values: &mut [f64]) {
    let mut keys = spare_keys();
    keys.extend(values.iter().map(|&value| key_of(value)));
    sort_keys(&mut keys);
    for (value, &key) in values.iter_mut().zip(&keys) {
        *value = value_of(key);
    }
    leave_keys(keys);
}

/// Sorts keys.
///
/// # Source
///
/// Radix sort from the least digit, on bits whose order is that of the numbers: Herf (2001), Radix Tricks.
pub(super) fn sort_keys(keys: &mut Vec<u64>) {
    if keys.len() < FEW {
        return keys.sort_unstable();
    }
    let mut counts = vec![0_u32; DIGITS * BUCKETS];
    for &key in keys.iter() {
        for digit in 0..DIGITS {
            counts[digit * BUCKETS + digit_of(key, digit)] += 1;
        }
    }
    let mut other = SPARE.with_borrow_mut(|spare| std::mem::take(&mut spare.other));
    other.resize(keys.len(), 0);
    for digit in 0..DIGITS {
        let counts = &mut counts[digit * BUCKETS..][..BUCKETS];
        if counts.iter().any(|&count| count as usize == keys.len()) {
            continue;
        }
        let mut place = 0;
        for count in counts.iter_mut() {
            let next = place + *count;
            *count = place;
            place = next;
        }
        for &key in keys.iter() {
            let place = &mut counts[digit_of(key, digit)];
            other[*place as usize] = key;
            *place += 1;
        }
        std::mem::swap(keys, &mut other);
    }
    SPARE.with_borrow_mut(|spare| spare.other = other);
    for alike in keys.chunk_by_mut(|a, b| a >> REST == b >> REST).filter(|alike| alike.len() > 1) {
        alike.sort_unstable();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn agrees_with_sorting_by_comparison(
            values in prop::collection::vec(prop_oneof![any::<f64>(), -1e3..1e3_f64, (0..50_u32).prop_map(|i| 1.0 + f64::from(i) * f64::EPSILON), Just(-0.0)], 0..9000),
        ) {
            let mut values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
            let mut expected: Vec<f64> = values.iter().map(|value| value + 0.0).collect();
            expected.sort_by(f64::total_cmp);
            sort(&mut values);
            prop_assert_eq!(values, expected);
        }
    }
}
