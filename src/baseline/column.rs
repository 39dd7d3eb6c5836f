//! One column of a baseline: its counts, and what they teach about judging a window.

use std::collections::BTreeMap;

use super::{Bins, CutOptions};
use crate::profile::{ColumnLayout, ColumnProfile, Cut};
use crate::stats::natural_variation::{self, Block};
use crate::stats::{self, Variation, VariationKind};

/// Blocks with fewer rows than this share of the mean are cut-off ends, not blocks.
const MIN_BLOCK_SHARE: f64 = 0.25;

/// One column of a baseline.
#[derive(Debug, Clone, PartialEq)]
pub struct BaselineColumn {
    /// Name, role, kind and cells.
    pub layout: ColumnLayout,
    /// Counts of the reference data.
    pub profile: ColumnProfile,
    /// PSI bins over the cells.
    pub bins: Bins,
    /// How far a KS statistic read from the cells can be from the exact one.
    pub ks_error_bound: f64,
    /// Natural variation of `psi`, when the reference data have event times.
    pub psi_variation: Option<Variation>,
    /// Natural variation of `ks²`.
    pub ks_variation: Option<Variation>,
}

impl BaselineColumn {
    /// Freezes the counts of a column: chooses its PSI bins, bounds its error, learns its natural variation.
    ///
    /// # Arguments
    ///
    /// * `profile`: all rows, counted on `layout`.
    /// * `blocks`: the same rows by block of event time, numbered in the order of time; empty without event times.
    /// * `rank_error`: how far the counts themselves can be off, as a share of the rows; 0 when each row was counted.
    pub fn learn(
        layout: ColumnLayout,
        profile: ColumnProfile,
        blocks: &BTreeMap<i64, ColumnProfile>,
        rank_error: f64,
        options: &CutOptions,
    ) -> Self {
        let bins = Bins::choose(&layout.cut, &profile.cells, options.psi_bins);
        let rows = |block: &ColumnProfile| block.usable() + block.unusable();
        let mean = blocks.values().map(rows).sum::<u64>() as f64 / blocks.len().max(1) as f64;
        let whole_blocks: Vec<&ColumnProfile> =
            blocks.values().filter(|block| rows(block) as f64 >= mean * MIN_BLOCK_SHARE).collect();
        let (psi_variation, ks_variation) = learn_variation(&layout, &profile, &bins, &whole_blocks);
        Self {
            ks_error_bound: (ks_error_bound(&layout.cut, &profile) + rank_error).min(1.0),
            layout,
            profile,
            bins,
            psi_variation,
            ks_variation,
        }
    }
}

/// The greatest share of the reference rows in a cell that is not an atom; 0 when every value has its own.
fn ks_error_bound(cut: &Cut, profile: &ColumnProfile) -> f64 {
    let Cut::Grid(grid) = cut else { return 0.0 };
    let worst = (0..grid.cells()).filter(|&cell| !grid.is_atom(cell)).map(|cell| profile.cells[cell]).max();
    worst.unwrap_or(0) as f64 / profile.usable().max(1) as f64
}

fn learn_variation(
    column: &ColumnLayout,
    whole: &ColumnProfile,
    bins: &Bins,
    blocks: &[&ColumnProfile],
) -> (Option<Variation>, Option<Variation>) {
    let reference = bins.profile_counts(whole);
    let n_bins = reference.iter().filter(|&&count| count > 0).count();
    let (mut psi, mut ks_squared) = (Vec::new(), Vec::new());
    for block in blocks {
        let inside = bins.profile_counts(block);
        let rest: Vec<u64> =
            reference.iter().zip(&inside).map(|(all, part)| all.saturating_sub(*part)).collect();
        if let Ok(value) = stats::psi(&rest, &inside) {
            psi.push(Block { value, rows: inside.iter().sum() });
        }
        if let Ok(value) = stats::ks_statistic_from_cells(&whole.cells_without(block), &block.cells) {
            ks_squared.push(Block { value: value * value, rows: block.usable() });
        }
    }
    let all = whole.usable() + whole.unusable();
    let psi = natural_variation::estimate(VariationKind::Psi { bins: n_bins }, &psi, all);
    let ks = match column.cut {
        Cut::Grid(_) => natural_variation::estimate(VariationKind::KsSquared, &ks_squared, whole.usable()),
        Cut::Categories(_) => None,
    };
    (psi, ks)
}
