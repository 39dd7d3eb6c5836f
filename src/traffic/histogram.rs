//! Counts on cells that are fixed for ever: sixteen to each doubling, from a millionth to a million millions.

/// Largest relative error of a quantile between the ends of the scale: 1/33, about 3 %.
///
/// A cell is at most a sixteenth wider than its lower edge, and the value that stands for it is as far, relatively, from
/// one edge as from the other.
pub const RELATIVE_ERROR: f64 = 1.0 / 33.0;

/// Least value with a cell of its own, `2^-20`: about a microsecond.
const LOWEST: f64 = 1.0 / (1_u64 << 20) as f64;

/// Values from here on share the last cell: `2^40`, a tebibyte.
const HIGHEST: f64 = (1_u64 << 40) as f64;

/// Bits of a number under its exponent and the four highest of its fraction.
const SHIFT: u32 = 48;

/// Cells: one under the scale, 16 for each of 60 doublings, one over it.
pub(super) const CELLS: u16 = 16 * 60 + 2;

/// How often values fell into which cell.
///
/// Merging adds counts, and so is exact, associative and commutative; a count that no longer fits stays at its largest.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Histogram {
    /// Cells that hold something, ascending.
    cells: Vec<(u16, u64)>,
}

/// The cell of `value`: right-open, found from the bits of the number alone. Whatever is not a number over 0 falls into
/// the first one.
fn cell_of(value: f64) -> u16 {
    if value >= HIGHEST {
        return CELLS - 1;
    }
    if value >= LOWEST {
        let steps = (value.to_bits() >> SHIFT) - (LOWEST.to_bits() >> SHIFT);
        return u16::try_from(steps).map_or(CELLS - 1, |steps| steps + 1);
    }
    0
}

/// Lower edge of a cell; 0 for the first.
fn lower_edge(cell: u16) -> f64 {
    if cell == 0 {
        return 0.0;
    }
    f64::from_bits(((LOWEST.to_bits() >> SHIFT) + u64::from(cell) - 1) << SHIFT)
}

/// The value that stands for a cell: the harmonic mean of its edges; 0 for the first, its lower edge for the last.
fn value_of(cell: u16) -> f64 {
    if cell == 0 || cell >= CELLS - 1 {
        return lower_edge(cell.min(CELLS - 1));
    }
    let (low, high) = (lower_edge(cell), lower_edge(cell + 1));
    2.0 * low * high / (low + high)
}

impl Histogram {
    /// The histogram of `cells`; `None` when they are not ascending, not there, or empty.
    pub(super) fn from_cells(cells: Vec<(u16, u64)>) -> Option<Self> {
        let ascending = cells.windows(2).all(|pair| pair[0].0 < pair[1].0);
        let known = cells.iter().all(|&(cell, count)| cell < CELLS && count > 0);
        (ascending && known).then_some(Self { cells })
    }

    /// Cells that hold something, ascending.
    pub(super) fn cells(&self) -> &[(u16, u64)] {
        &self.cells
    }

    /// Counts one value.
    pub fn record(&mut self, value: f64) {
        self.add(cell_of(value), 1);
    }

    fn add(&mut self, cell: u16, count: u64) {
        match self.cells.binary_search_by_key(&cell, |&(cell, _)| cell) {
            Ok(at) => self.cells[at].1 = self.cells[at].1.saturating_add(count),
            Err(at) => self.cells.insert(at, (cell, count)),
        }
    }

    /// Adds the counts of `other`.
    pub fn merge(&mut self, other: &Self) {
        for &(cell, count) in &other.cells {
            self.add(cell, count);
        }
    }

    /// Values counted.
    pub fn count(&self) -> u64 {
        self.cells.iter().fold(0, |sum, &(_, count)| sum.saturating_add(count))
    }

    /// The cell of the value of rank `⌈q·n⌉`.
    fn quantile_cell(&self, q: f64) -> Option<u16> {
        let rank = (q.clamp(0.0, 1.0) * self.count() as f64).ceil().max(1.0);
        let mut below = 0_u64;
        for &(cell, count) in &self.cells {
            below = below.saturating_add(count);
            if below as f64 >= rank {
                return Some(cell);
            }
        }
        self.cells.last().map(|&(cell, _)| cell)
    }

    /// The quantile `q`, in the unit of the values: the value of rank `⌈q·n⌉`, within [`RELATIVE_ERROR`] of it.
    ///
    /// # Returns
    ///
    /// `None` without values; 0 for values under about 1e-6.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        self.quantile_cell(q).map(value_of)
    }

    /// How many values lie over the cell in which `whole` has its quantile `q`, and how many do not.
    pub(super) fn split_at(&self, cell: u16) -> [u64; 2] {
        self.cells.iter().fold([0, 0], |mut sides, &(own, count)| {
            let side = usize::from(own > cell);
            sides[side] = sides[side].saturating_add(count);
            sides
        })
    }

    /// The cell that [`split_at`](Self::split_at) takes for the quantile `q`.
    pub(super) fn cut(&self, q: f64) -> Option<u16> {
        self.quantile_cell(q)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::stats::random::SplitMix64;

    fn of(values: &[f64]) -> Histogram {
        let mut histogram = Histogram::default();
        for &value in values {
            histogram.record(value);
        }
        histogram
    }

    /// The quantile of the values themselves.
    fn exact(values: &[f64], q: f64) -> f64 {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rank")]
        let rank = ((q * values.len() as f64).ceil() as usize).max(1);
        sorted[rank - 1]
    }

    #[test]
    fn the_cells_are_what_they_were() {
        // Stored counts rest on these numbers: they may never change.
        for (value, cell) in [
            (0.0, 0),
            (-1.0, 0),
            (f64::NAN, 0),
            (f64::NEG_INFINITY, 0),
            (9.5e-7, 0),
            (LOWEST, 1),
            (1e-6, 1),
            (0.001, 161),
            (0.1, 266),
            (1.0, 321),
            (1.0625, 322),
            (2.0, 337),
            (1024.0, 481),
            (HIGHEST - 1.0, 960),
            (HIGHEST, 961),
            (f64::INFINITY, 961),
        ] {
            assert_eq!(cell_of(value), cell, "{value}");
        }
    }

    #[test]
    fn quantiles_of_known_laws_are_near_the_exact_ones() {
        let mut random = SplitMix64::new(7);
        let exponential: Vec<f64> =
            (0..20_000).map(|_| -0.05 * (1.0 - random.uniform()).max(1e-300).ln()).collect();
        let bytes: Vec<f64> = (0..5_000).map(|_| (random.uniform() * 1e6).floor()).collect();
        let two_modes: Vec<f64> = (0..1_000).map(|i| if i % 50 == 0 { 3.5 } else { 0.004 }).collect();
        for values in [exponential, bytes, two_modes, vec![0.25], vec![1e-3, 2e-3]] {
            let histogram = of(&values);
            for q in [0.0, 0.01, 0.5, 0.9, 0.99, 0.999, 1.0] {
                let (found, exact) = (histogram.quantile(q).unwrap(), exact(&values, q));
                let error = (found - exact).abs() / exact.max(LOWEST);
                assert!(error <= RELATIVE_ERROR || exact < LOWEST, "q {q}: {found} for {exact}");
            }
        }
        assert_eq!(Histogram::default().quantile(0.5), None);
    }

    proptest! {
        #[test]
        fn a_value_lies_in_its_cell(exponent in -30.0..50.0_f64, factor in 1.0..2.0_f64) {
            let value = factor * exponent.floor().exp2();
            let cell = cell_of(value);
            prop_assert!(cell < CELLS);
            prop_assert!(lower_edge(cell) <= value || cell == 0);
            prop_assert!(cell == CELLS - 1 || value < lower_edge(cell + 1));
            if cell > 0 && cell < CELLS - 1 {
                prop_assert!((value_of(cell) - value).abs() <= value * RELATIVE_ERROR * (1.0 + 1e-12));
            }
        }

        #[test]
        fn a_quantile_is_within_its_bound(
            values in prop::collection::vec(1e-6..1e6_f64, 1..200),
            q in 0.0..=1.0_f64,
        ) {
            let (found, exact) = (of(&values).quantile(q).unwrap(), exact(&values, q));
            prop_assert!((found - exact).abs() <= exact * RELATIVE_ERROR * (1.0 + 1e-12), "{found} for {exact}");
        }

        #[test]
        fn both_sides_of_a_cut_are_all_there_is(values in prop::collection::vec(0.0..10.0_f64, 1..100)) {
            let histogram = of(&values);
            let cut = histogram.cut(0.9).unwrap();
            let [under, over] = histogram.split_at(cut);
            prop_assert_eq!(under + over, values.len() as u64);
            prop_assert!(over as f64 <= 0.1 * values.len() as f64 + 1e-9);
        }
    }
}
