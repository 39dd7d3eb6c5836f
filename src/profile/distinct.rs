//! How many distinct values there were: `HyperLogLog`, a few kilobytes whatever the number.

/// Bits of the hash that choose a register.
const PRECISION: u32 = 12;

/// Registers.
const REGISTERS: usize = 1 << PRECISION;

/// A count of distinct values with a relative standard error of 1.6 %, nearly exact for a few hundred.
///
/// Merging takes the larger of two registers, so it is exact, associative, commutative, and counts a value once however
/// often it is merged.
///
/// # Source
///
/// Flajolet, Fusy, Gandouet and Meunier (2007), `HyperLogLog`; small counts by linear counting, Whang, Vander-Zanden
/// and Taylor (1990), doi:10.1145/78922.78925.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Distinct {
    /// Empty until the first value.
    registers: Vec<u8>,
}

impl Distinct {
    /// Relative standard error of [`estimate`](Self::estimate) past a few thousand values.
    pub const RELATIVE_ERROR: f64 = 1.04 / 64.0;

    /// Notes the value with this hash.
    pub(super) fn insert(&mut self, hash: u64) {
        if self.registers.is_empty() {
            self.registers = vec![0; REGISTERS];
        }
        #[expect(clippy::cast_possible_truncation, reason = "twelve bits; a rank is at most 53")]
        let (at, rank) = (
            (hash >> (u64::BITS - PRECISION)) as usize,
            ((hash << PRECISION).leading_zeros().min(u64::BITS - PRECISION) + 1) as u8,
        );
        self.registers[at] = self.registers[at].max(rank);
    }

    /// Adds the values that `other` has seen.
    pub(super) fn merge(&mut self, other: &Self) {
        if self.registers.is_empty() {
            self.registers.clone_from(&other.registers);
        }
        for (own, more) in self.registers.iter_mut().zip(&other.registers) {
            *own = (*own).max(*more);
        }
    }

    /// About how many distinct values there were.
    pub fn estimate(&self) -> f64 {
        if self.registers.is_empty() {
            return 0.0;
        }
        let count = REGISTERS as f64;
        let alpha = 0.7213 / (1.0 + 1.079 / count);
        let sum: f64 = self.registers.iter().map(|&rank| 2_f64.powi(-i32::from(rank))).sum();
        let raw = alpha * count * count / sum;
        let empty = self.registers.iter().map(|&rank| usize::from(rank == 0)).sum::<usize>();
        if raw <= 2.5 * count && empty > 0 { count * (count / empty as f64).ln() } else { raw }
    }

    /// The registers; none while no value was seen.
    pub(super) fn registers(&self) -> &[u8] {
        &self.registers
    }

    /// From stored registers; `None` when they cannot be registers.
    pub(super) fn from_registers(registers: Vec<u8>) -> Option<Self> {
        let fits = registers.len() == REGISTERS
            && registers.iter().all(|&rank| u32::from(rank) <= u64::BITS - PRECISION + 1);
        (fits || registers.is_empty()).then_some(Self { registers })
    }

    /// Number of registers in use.
    pub(super) const LENGTH: usize = REGISTERS;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::hash::mix;
    use super::*;

    fn of(values: impl Iterator<Item = u64>) -> Distinct {
        let mut distinct = Distinct::default();
        values.for_each(|value| distinct.insert(mix(value.wrapping_add(0x9E37_79B9_7F4A_7C15))));
        distinct
    }

    #[test]
    fn counts_within_its_error() {
        for count in [0, 1, 10, 300, 3000, 20_000, 300_000_u64] {
            let estimate = of(0..count).estimate();
            let error = (estimate - count as f64).abs();
            assert!(error <= 0.5 + 4.0 * Distinct::RELATIVE_ERROR * count as f64, "{count}: {estimate}");
        }
        assert!((of([7; 1000].into_iter()).estimate() - 1.0).abs() < 0.01);
    }

    proptest! {
        #[test]
        fn merging_is_the_union(a in prop::collection::vec(any::<u64>(), 0..50), b in prop::collection::vec(any::<u64>(), 0..50)) {
            let whole = of(a.iter().chain(&b).copied());
            for (first, second) in [(&a, &b), (&b, &a)] {
                let mut merged = of(first.iter().copied());
                merged.merge(&of(second.iter().copied()));
                merged.merge(&of(second.iter().copied()));
                prop_assert_eq!(&merged, &whole);
            }
        }
    }
}
