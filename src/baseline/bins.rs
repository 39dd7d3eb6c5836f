//! PSI bins: few groups of the grid's cells, an atom that weighs enough in a bin of its own.

use serde::{Deserialize, Serialize};

use crate::profile::{ColumnProfile, Cut, Grid};

/// Which bin each cell belongs to. Bin numbers run from 0; the last bin is `missing`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bins {
    of_cell: Vec<u32>,
}

impl Bins {
    /// Groups the cells of a column into about `n_bins` bins.
    pub fn choose(cut: &Cut, counts: &[u64], n_bins: usize) -> Self {
        match cut {
            Cut::Grid(grid) => Self::of_grid(grid, counts, n_bins.max(2)),
            // A bin per category cell: `other` and `unseen` are bins like the rest.
            Cut::Categories(categories) => Self { of_cell: (0..).take(categories.cells()).collect() },
        }
    }

    fn of_grid(grid: &Grid, counts: &[u64], n_bins: usize) -> Self {
        let filled = counts.iter().filter(|&&count| count > 0).count();
        let all_atoms = (0..counts.len()).all(|cell| counts[cell] == 0 || grid.is_atom(cell));
        if filled <= n_bins && all_atoms {
            return Self::per_value(counts);
        }
        let total: u64 = counts.iter().sum();
        let heavy = |cell: usize| grid.is_atom(cell) && counts[cell] as f64 * n_bins as f64 >= total as f64;
        let n_heavy = (0..counts.len()).filter(|&cell| heavy(cell)).count();
        let light_total: u64 = (0..counts.len()).filter(|&cell| !heavy(cell)).map(|cell| counts[cell]).sum();
        let target = light_total as f64 / n_bins.saturating_sub(n_heavy).max(1) as f64;
        let mut of_cell = Vec::with_capacity(counts.len());
        let mut bin = 0_u32;
        let mut before = 0_u64;
        // The share of light mass that the open bin stands for; none is open at the start and after a heavy atom.
        let mut open: Option<u64> = None;
        for (cell, &count) in counts.iter().enumerate() {
            if heavy(cell) {
                bin += u32::from(open.is_some());
                of_cell.push(bin);
                bin += 1;
                open = None;
                continue;
            }
            let middle = before as f64 + count as f64 / 2.0;
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a bin number")]
            let slot = if target > 0.0 { (middle / target) as u64 } else { 0 };
            // An empty cell never starts a bin of its own beside a filled neighbour.
            if count > 0 && open.is_some_and(|open| open != slot) {
                bin += 1;
                open = Some(slot);
            }
            open = open.or(Some(slot));
            of_cell.push(bin);
            before += count;
        }
        Self { of_cell }
    }

    /// A bin per value, and one for everything between and beside them.
    fn per_value(counts: &[u64]) -> Self {
        let n_values = counts.iter().filter(|&&count| count > 0).count();
        let elsewhere = u32::try_from(n_values).unwrap_or(u32::MAX);
        let mut next = 0;
        let of_cell = counts
            .iter()
            .map(|&count| {
                if count == 0 {
                    return elsewhere;
                }
                next += 1;
                next - 1
            })
            .collect();
        Self { of_cell }
    }

    /// Runs of cells that belong to one bin, as bin and number of cells.
    pub(super) fn runs(&self) -> Vec<(u32, usize)> {
        self.of_cell.chunk_by(|a, b| a == b).filter_map(|run| Some((*run.first()?, run.len()))).collect()
    }

    /// The bins of these runs; none unless they cover `cells` cells with at most as many bins.
    pub(super) fn from_runs(runs: &[(u32, usize)], cells: usize) -> Option<Self> {
        let covered = runs.iter().try_fold(0_usize, |sum, (_, length)| sum.checked_add(*length))?;
        if covered != cells || runs.iter().any(|(bin, _)| *bin as usize >= cells) {
            return None;
        }
        let of_cell = runs.iter().flat_map(|&(bin, length)| std::iter::repeat_n(bin, length)).collect();
        Some(Self { of_cell })
    }

    /// Number of bins, `missing` included.
    pub fn len(&self) -> usize {
        self.of_cell.iter().max().map_or(0, |&last| last as usize + 1) + 1
    }

    /// Whether there is no bin but `missing`.
    pub fn is_empty(&self) -> bool {
        self.of_cell.is_empty()
    }

    /// Number of cells that the bins cover.
    pub fn cells(&self) -> usize {
        self.of_cell.len()
    }

    /// Counts per bin of `cells`, then `unusable` in the bin `missing`.
    pub fn counts(&self, cells: &[u64], unusable: u64) -> Vec<u64> {
        let mut counts = vec![0; self.len()];
        for (&bin, &count) in self.of_cell.iter().zip(cells) {
            counts[bin as usize] += count;
        }
        if let Some(missing) = counts.last_mut() {
            *missing += unusable;
        }
        counts
    }

    /// Counts per bin of a column.
    pub fn profile_counts(&self, profile: &ColumnProfile) -> Vec<u64> {
        self.counts(&profile.cells, profile.unusable())
    }

    /// What each bin covers, for people.
    pub fn labels(&self, cut: &Cut) -> Vec<String> {
        let n_bins = self.len();
        let mut labels: Vec<String> = (0..n_bins - 1)
            .map(|bin| {
                let cells: Vec<usize> =
                    (0..self.of_cell.len()).filter(|&cell| self.of_cell[cell] as usize == bin).collect();
                let (Some(&first), Some(&last)) = (cells.first(), cells.last()) else {
                    return "nothing".to_owned();
                };
                match cut {
                    Cut::Categories(categories) => categories.label(first),
                    Cut::Grid(_) if last - first + 1 != cells.len() => "any other value".to_owned(),
                    Cut::Grid(grid) => grid.label(first, last),
                }
            })
            .collect();
        labels.push("missing".to_owned());
        labels
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bins(values: &[f64], n_bins: usize) -> (Vec<u64>, Vec<String>) {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let grid = Grid::cut(&sorted, 1000);
        let mut cells = vec![0; grid.cells()];
        for &value in values {
            cells[grid.cell(value)] += 1;
        }
        let cut = Cut::Grid(grid);
        let bins = Bins::choose(&cut, &cells, n_bins);
        (bins.counts(&cells, 0), bins.labels(&cut))
    }

    #[test]
    fn a_binary_column_has_a_bin_per_value_and_one_for_the_rest() {
        let (counts, labels) = bins(&[0.0, 1.0, 1.0, 0.0, 1.0], 10);
        assert_eq!(counts, [2, 3, 0, 0]);
        assert_eq!(labels, ["0", "1", "any other value", "missing"]);
    }

    #[test]
    fn a_mostly_zero_column_keeps_its_zero_apart() {
        let values: Vec<f64> = (0..10_000).map(|i| if i % 10 < 7 { 0.0 } else { f64::from(i) }).collect();
        let (counts, labels) = bins(&values, 10);
        assert!(counts.contains(&7000), "{counts:?}");
        assert!(labels.contains(&"0".to_owned()), "{labels:?}");
        let others: Vec<u64> = counts.iter().copied().filter(|&count| count > 0 && count != 7000).collect();
        assert!((2..=10).contains(&others.len()), "{counts:?}");
    }

    #[test]
    fn a_smooth_column_is_cut_into_equal_bins() {
        let values: Vec<f64> = (0..50_000).map(f64::from).collect();
        let (counts, _) = bins(&values, 10);
        assert_eq!(counts.len(), 11);
        assert!(counts[..10].iter().all(|count| (4900..=5100).contains(count)), "{counts:?}");
    }
}
