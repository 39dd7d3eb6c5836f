//! Numbers in, numbers out: the statistics that compare a window with its baseline.
//!
//! Conventions that hold in every file of this module:
//!
//! - **Pure.** No I/O, no clock, no global state, no panic; the same input gives the same bits.
//! - **Two sides.** `reference` is the baseline (`N` rows, shares `p`), `current` the window (`n` rows, shares `q`).
//!   Where order matters, the reference comes first.
//! - **Counts are `u64` and may be huge.** Sums are taken in `u128`; no total overflows.
//! - **Bins are given, never cut here**, and both sides have the same bins in the same order.
//! - **No NaN goes out.** An input without a value is a [`StatError`]; a p-value for which there is no evidence is 1.
//! - **A p-value is a survival function**, never `1 − cdf` in the tail, and two-sample: the baseline is a sample too.

pub mod change;
pub mod joint;
pub mod natural_variation;
mod chi_square;
mod correction;
mod divergence;
mod error;
mod exact_sum;
mod kolmogorov_distribution;
mod kolmogorov_smirnov;
mod moments;
mod psi;
pub mod random;
pub mod resample;
mod tail;
mod wasserstein;

pub use chi_square::{ChiSquare, Pooling, chi_square};
pub use correction::{benjamini_hochberg, bonferroni, holm};
pub use divergence::{
    JEFFREYS_HALF, bins_used, hellinger, hellinger_of_shares, js_distance, js_distance_of_shares, kl,
    kl_of_shares, linf, linf_of_shares, psi, psi_of_shares, smoothed_shares, tvd, tvd_of_shares,
};
pub use error::StatError;
pub use exact_sum::{ExactSum, SumBytes};
pub use kolmogorov_smirnov::{
    EXACT_PAIRS, ks_p_value_asymptotic, ks_p_value_exact, ks_statistic_from_cells, ks_statistic_sorted,
};
pub use moments::{FiniteSum, Moments};
pub use natural_variation::{Variation, VariationKind};
pub use psi::psi_p_value;
pub use tail::{chi2_sf, f_sf, normal_sf};
pub use wasserstein::{OpenCells, wasserstein_from_cells, wasserstein_sorted};

#[cfg(test)]
mod golden;
