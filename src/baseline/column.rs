//! One column of a baseline: its counts, and what they teach about judging a window.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::season::{Cycle, Slots};
use super::{Bins, CutOptions};
use crate::profile::{ColumnLayout, ColumnProfile, Cut};
use crate::stats::natural_variation::{self, Block};
use crate::stats::{self, Variation, VariationKind};
use crate::window::Window;

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
    /// Counts by slot, when windows are compared with those of the same hour.
    pub slots: Option<Slots>,
}

/// What a window is compared with.
#[derive(Debug, Clone, PartialEq)]
pub struct Reference<'a> {
    /// The counts.
    pub counts: Cow<'a, ColumnProfile>,
    /// The slots of the season they come from, for people.
    pub slots: Option<String>,
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
        let (psi_variation, ks_variation) = learn_variation(&layout, &bins, blocks, |_, block| {
            // Only what is compared: the other counters do not enter.
            let mut rest = ColumnProfile { cells: profile.cells_without(block), ..ColumnProfile::default() };
            rest.record_missing(profile.unusable().saturating_sub(block.unusable()));
            rest
        });
        Self {
            ks_error_bound: (ks_error_bound(&layout.cut, &profile) + rank_error).min(1.0),
            layout,
            profile,
            bins,
            psi_variation,
            ks_variation,
            slots: None,
        }
    }

    /// Compares windows with the blocks of their slot from now on, and learns the variation that is left within slots.
    #[must_use]
    pub fn in_season(mut self, cycle: Cycle, blocks: &BTreeMap<i64, ColumnProfile>) -> Self {
        let slots = Slots::of_blocks(cycle, &self.layout, whole_blocks(blocks));
        (self.psi_variation, self.ks_variation) =
            learn_variation(&self.layout, &self.bins, blocks, |number, block| {
                slots.rest(&self.profile, number, block)
            });
        self.slots = Some(slots);
        self
    }

    /// What `window` is compared with: all rows, or those of its slots.
    pub fn reference(&self, window: Window) -> Reference<'_> {
        match &self.slots {
            None => Reference { counts: Cow::Borrowed(&self.profile), slots: None },
            Some(slots) => {
                let (counts, label) = slots.reference(&self.profile, window);
                Reference { counts: Cow::Owned(counts), slots: Some(label) }
            }
        }
    }
}

/// The blocks that are not cut-off ends.
fn whole_blocks(blocks: &BTreeMap<i64, ColumnProfile>) -> impl Iterator<Item = (i64, &ColumnProfile)> {
    let rows = |block: &ColumnProfile| block.usable() + block.unusable();
    let mean = blocks.values().map(rows).sum::<u64>() as f64 / blocks.len().max(1) as f64;
    blocks
        .iter()
        .filter(move |(_, block)| rows(block) as f64 >= mean * MIN_BLOCK_SHARE)
        .map(|(&number, block)| (number, block))
}

/// The greatest share of the reference rows in a cell that is not an atom; 0 when every value has its own.
fn ks_error_bound(cut: &Cut, profile: &ColumnProfile) -> f64 {
    let Cut::Grid(grid) = cut else { return 0.0 };
    let worst = (0..grid.cells()).filter(|&cell| !grid.is_atom(cell)).map(|cell| profile.cells[cell]).max();
    worst.unwrap_or(0) as f64 / profile.usable().max(1) as f64
}

/// Compares each block with what `rest` says it is compared with.
fn learn_variation(
    layout: &ColumnLayout,
    bins: &Bins,
    blocks: &BTreeMap<i64, ColumnProfile>,
    rest: impl Fn(i64, &ColumnProfile) -> ColumnProfile,
) -> (Option<Variation>, Option<Variation>) {
    let (mut psi, mut ks_squared) = (Vec::new(), Vec::new());
    // A constant column has one bin, and a law for two: with none at all, what is left of rounding would look like hours
    // that follow one another.
    let mut n_bins = 2;
    for (number, block) in whole_blocks(blocks) {
        let rest = rest(number, block);
        let (inside, outside) = (bins.profile_counts(block), bins.profile_counts(&rest));
        n_bins = n_bins.max(stats::bins_used(&outside, &inside));
        if let Ok(value) = stats::psi(&outside, &inside) {
            psi.push((Block { value, rows: inside.iter().sum() }, outside.iter().sum()));
        }
        if let Ok(value) = stats::ks_statistic_from_cells(&rest.cells, &block.cells) {
            ks_squared.push((Block { value: value * value, rows: block.usable() }, rest.usable()));
        }
    }
    let psi = natural_variation::estimate_with_rests(VariationKind::Psi { bins: n_bins }, &psi);
    let ks = match layout.cut {
        Cut::Grid(_) => natural_variation::estimate_with_rests(VariationKind::KsSquared, &ks_squared),
        Cut::Categories(_) => None,
    };
    (psi, ks)
}
