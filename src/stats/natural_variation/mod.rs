//! Natural variation: how much a statistic moves from block to block with no drift at all.
//!
//! Rows of one hour are alike and hours differ, so that a test which takes rows for independent rejects whatever
//! happens. The baseline is cut into blocks about as long as a window, each block is compared with the rest, and what
//! the statistic shows there beyond the noise of independent rows is what a window may show too.
//!
//! # Method
//!
//! Hours move in one direction (a mean goes up and down), rows scatter in all. With `h = 1/n + 1/N`, a statistic is
//! then close to `(a·h + s_w)·χ²(1) + c·h·χ²(m)`: for PSI `a = c = 1` and `m = B − 2`; for `ks²` `a = ¼` (the variance
//! of the Brownian bridge in its middle) with `c` and `m` such that `s_w = 0` gives the mean and variance of
//! Kolmogorov's law. The part `s_w` of one hour does not shrink as the window grows. It is `s·ν/χ²(ν)`, which is to say
//! that hours follow Student's t with `ν` degrees of freedom, one of 2.7, 5, 10 and ∞.
//!
//! [`estimate`] finds the posterior of `(s, ν)` from the statistics of the blocks. The likelihood is raised to the
//! power `T_e/T`, where `T_e` counts effective blocks, and `s` is made larger by `(1 + V)/(1 − V)·((T − 1)/T)²`, because
//! blocks of a short baseline lie near one another: `V` is the variance of the mean of `T` autocorrelated hours, in
//! units of that of an hour. [`pool`] lets the features of a baseline share what they know about `ν`. [`p_value`]
//! averages the tail of the law over that posterior.
//!
//! Where the blocks cannot resolve `s`, its posterior reaches from nothing to about the noise of the blocks, without a
//! cliff: windows of many more rows than a block are judged with what the blocks could have missed, and smaller ones
//! hardly feel it. Where they cannot tell normal from heavy-tailed hours, the tail is taken for heavy.
//!
//! # Limits
//!
//! `cargo bench --no-default-features --bench false_alarms` simulates what this promises, and `--bench power` what it
//! costs; `benches/README.md` has the tables. In short: at one false alarm a month the rule holds for hours from 0 to
//! 0.5 σ apart, normal, autocorrelated or with the tails of t(3), 8 to 720 blocks and 1 to 100 features. For this it
//! has next to no power with 8 blocks, and little with 24 unless the shift is many times as large as what hours differ
//! by: a day of hours cannot tell what happens once a month. A baseline of a week or more can.
//!
//! # Sources
//!
//! Moments of the noise: see [`VariationKind::independent_moments`]. Effective blocks: Bayley and Hammersley (1946),
//! doi:10.2307/2983560. A likelihood raised to a power: Holmes and Walker (2017), doi:10.1093/biomet/asx010. Priors
//! of a variance that may be 0: Gelman (2006), doi:10.1214/06-BA117A. Densities and tails by
//! saddlepoint: Daniels (1954), doi:10.1214/aoms/1177728652; Lugannani and Rice (1980), doi:10.2307/1426607.

mod belief;
mod law;

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

use self::belief::{Belief, Noise, Seen, TAILS};
use super::tail::probability;

/// Blocks under which natural variation is unknown.
pub const MIN_BLOCKS: usize = 8;

/// Largest correlation of neighbouring blocks that is believed: one of 1 would leave no effective block.
const MAX_CORRELATION: f64 = 0.99;

/// Smallest share of the variance of blocks that is taken to be theirs, and not that of rows, when their correlation
/// is freed from the noise of rows.
const MIN_OWN_SHARE: f64 = 0.5;

/// Largest share of an hour's variance that the mean of all hours is taken to have.
const MAX_SHARED: f64 = 0.95;

/// Effective blocks at which half of the margin is needed.
const MARGIN_BLOCKS: f64 = 50.0;

/// The statistic whose variation is described.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VariationKind {
    /// Population Stability Index over so many used bins.
    Psi {
        /// Bins that hold an observation on at least one side.
        bins: usize,
    },
    /// The square of the Kolmogorov–Smirnov statistic.
    KsSquared,
}

impl VariationKind {
    /// Mean and variance under independent rows, where `scale = 1/n + 1/N`.
    ///
    /// # Source
    ///
    /// Yurdakul (2018) for PSI; the first two moments of the square of Kolmogorov's limit law for KS: Marsaglia, Tsang
    /// and Wang (2003), doi:10.18637/jss.v008.i18.
    pub fn independent_moments(self, scale: f64) -> (f64, f64) {
        match self {
            Self::Psi { bins } => {
                let dof = bins.saturating_sub(1) as f64;
                (dof * scale, 2.0 * dof * scale * scale)
            }
            Self::KsSquared => {
                let variance = 7.0 * PI.powi(4) / 720.0 - PI.powi(4) / 144.0;
                (PI * PI / 12.0 * scale, variance * scale * scale)
            }
        }
    }

    /// Factor on the probability that the posterior gives.
    ///
    /// A posterior keeps its promise on the average over its prior; this keeps it for the worst of the simulated cases,
    /// heavy-tailed hours a twentieth of a standard deviation apart. The law is rougher for KS. With few blocks it is
    /// the prior that decides, which is set for the worst itself.
    fn margin(self, effective_blocks: f64) -> f64 {
        let most = match self {
            Self::Psi { .. } => 2.2,
            Self::KsSquared => 3.5,
        };
        let learned = effective_blocks.max(0.0) / (effective_blocks.max(0.0) + MARGIN_BLOCKS);
        if learned.is_nan() { most } else { 1.0 + (most - 1.0) * learned }
    }

    /// The law whose moments those are, split into one direction and the rest.
    fn noise(self) -> Noise {
        match self {
            Self::Psi { bins } => Noise { along: 1.0, across: 1.0, dof: bins.saturating_sub(2) as f64 },
            Self::KsSquared => {
                let along = 0.25;
                let (mean, variance) = self.independent_moments(1.0);
                let (mean, variance) = (mean - along, variance - 2.0 * along * along);
                let across = 0.5 * variance / mean;
                Noise { along, across, dof: mean / across }
            }
        }
    }
}

/// One block of the baseline compared with the rest of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Block {
    /// The statistic of the block against the rest: `psi`, or `ks²`.
    pub value: f64,
    /// Rows in the block.
    pub rows: u64,
}

/// What a statistic shows from block to block beyond the noise of independent rows.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Variation {
    /// Mean of the between-block part, `s`; at or under 0 when blocks differ no more than chance.
    pub between: f64,
    /// Its variance, `v_b`, at least `2 s²`.
    pub between_variance: f64,
    /// Number of blocks that carry as much as these, were they independent: `T_e`.
    pub effective_blocks: f64,
    /// What the blocks leave open, shape `[n_tails]`: one entry for each tail that hours may have, from the heaviest
    /// (Student's t with 2.7 degrees of freedom, then 5 and 10) to the normal one.
    ///
    /// All weights are 0 in a baseline that was stored without them. The heaviest tail around `between` then stands in,
    /// or independent rows where `between` is not above 0.
    // Left out when unknown: a baseline is named by its content, and one stored before keeps its name.
    #[serde(default, skip_serializing_if = "are_unknown")]
    pub scales: [Scale; TAILS.len()],
}

/// Probability of one tail of hours, and what the scale `s` of the between-block part is under it: log-normal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Scale {
    /// Probability of this tail.
    pub weight: f64,
    /// Mean of `ln s`, in the units of the statistic.
    pub ln_mean: f64,
    /// Standard deviation of `ln s`.
    pub ln_deviation: f64,
}

fn are_unknown(scales: &[Scale; TAILS.len()]) -> bool {
    *scales == [Scale::default(); TAILS.len()]
}

impl Variation {
    /// The stored scales, or what stands in for them.
    fn beliefs(&self) -> Option<[Belief; TAILS.len()]> {
        if self.scales.iter().any(|scale| scale.weight > 0.0) {
            let belief =
                |of: Scale| Belief { weight: of.weight, mean: of.ln_mean, deviation: of.ln_deviation };
            return Some(self.scales.map(belief));
        }
        let mut beliefs = [Belief::default(); TAILS.len()];
        beliefs[0] = Belief {
            weight: 1.0,
            mean: self.between.ln(),
            deviation: (2.0 / self.effective_blocks.max(1.0)).sqrt(),
        };
        // Written so that NaN counts as no variation.
        (self.between > 0.0).then_some(beliefs)
    }
}

/// Measures natural variation on the blocks of a baseline.
///
/// # Arguments
///
/// * `kind`: the statistic that was computed for each block.
/// * `blocks`: in time order, the order that autocorrelation is read from. A block without rows, with all rows, or
///   without a finite value is passed over.
/// * `n_reference`: rows of the whole that the blocks are cut from.
///
/// # Returns
///
/// The between-block part, or `None` under [`MIN_BLOCKS`] usable blocks: natural variation is then unknown.
pub fn estimate(kind: VariationKind, blocks: &[Block], n_reference: u64) -> Option<Variation> {
    let rest = |block: &Block| n_reference.saturating_sub(block.rows);
    estimate_with_rests(kind, &blocks.iter().map(|block| (*block, rest(block))).collect::<Vec<_>>())
}

/// As [`estimate`], where each block was compared with so many rows of its own: the rest of its season's slot.
pub fn estimate_with_rests(kind: VariationKind, blocks: &[(Block, u64)]) -> Option<Variation> {
    let usable: Vec<Seen> = blocks
        .iter()
        .filter(|(block, rest)| block.value.is_finite() && 0 < block.rows && 0 < *rest)
        .map(|(block, rest)| Seen { value: block.value, scale: 1.0 / block.rows as f64 + 1.0 / *rest as f64 })
        .collect();
    if usable.len() < MIN_BLOCKS {
        return None;
    }
    let count = usable.len() as f64;
    let average = |of: &dyn Fn(&Seen) -> f64| usable.iter().map(of).sum::<f64>() / count;
    let mean = average(&|block| block.value);
    let between = mean - average(&|block| kind.independent_moments(block.scale).0);
    let noise = average(&|block| kind.independent_moments(block.scale).1);
    let squares = usable.iter().map(|block| (block.value - mean).powi(2)).sum::<f64>();
    let products = usable.windows(2).map(|pair| (pair[0].value - mean) * (pair[1].value - mean)).sum::<f64>();
    let own_variance = squares / (count - 1.0) - noise;
    // Blocks more alike than chance say nothing about correlation: their variance is taken for that of chance.
    let spread = squares.max(noise * (count - 1.0));
    let correlation = if spread > 0.0 {
        // The noise of rows is not correlated and hides how much the hours are.
        let own_share = (own_variance * (count - 1.0) / spread).clamp(MIN_OWN_SHARE, 1.0);
        (products / spread / own_share).clamp(0.0, MAX_CORRELATION)
    } else {
        0.0
    };
    let effective_blocks = ((count - 1.0) * (1.0 - correlation) / (1.0 + correlation)).max(1.0);
    let nearness = nearness(correlation.sqrt(), usable.len());
    let scales = belief::learn(kind.noise(), &usable, effective_blocks).map(|belief| Scale {
        weight: rounded(belief.weight),
        ln_mean: rounded(belief.mean + nearness.ln()),
        ln_deviation: rounded(belief.deviation),
    });
    Some(Variation {
        between,
        between_variance: own_variance.max(2.0 * between * between),
        effective_blocks,
        scales,
    })
}

/// How many times as far from a baseline an hour of another time lies, squared, as its own hours lie from the rest.
///
/// The statistic is about the square of a distance, so that the correlation of hours is the root of that of blocks.
fn nearness(correlation: f64, blocks: usize) -> f64 {
    let count = blocks as f64;
    let mut power = 1.0;
    let mut sum = 1.0;
    for lag in 1..blocks {
        power *= correlation;
        sum += 2.0 * (1.0 - lag as f64 / count) * power;
    }
    let shared = (sum / count).min(MAX_SHARED);
    ((1.0 + shared) / (1.0 - shared) * ((count - 1.0) / count).powi(2)).max(1.0)
}

/// To a millionth: a baseline is text, and nothing is known that well.
fn rounded(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

/// Lets the features of one baseline share what their blocks tell about the tails of hours.
///
/// One feature with a day of hours cannot tell normal hours from heavy-tailed ones, and has to be judged by the worse.
/// A hundred such features can. This matters because it is with many features that alarms have to be rare in each.
/// Nothing is shared about how far the hours lie apart.
///
/// # Arguments
///
/// * `variations`: of one statistic, from [`estimate`], never pooled before: pooling twice would count what is known
///   twice. Features that lack one are left out, and so are those stored without scales.
pub fn pool<'a>(variations: impl IntoIterator<Item = &'a mut Variation>) {
    let mut variations: Vec<&mut Variation> = variations
        .into_iter()
        .filter(|variation| variation.scales.iter().any(|scale| scale.weight > 0.0))
        .collect();
    let mut weights: Vec<[f64; TAILS.len()]> =
        variations.iter().map(|variation| variation.scales.map(|scale| scale.weight)).collect();
    belief::pool(&mut weights);
    for (variation, weights) in variations.iter_mut().zip(weights) {
        for (scale, weight) in variation.scales.iter_mut().zip(weights) {
            scale.weight = rounded(weight);
        }
    }
}

/// Probability of a statistic at least as large as `value` when the window differs from the baseline no more than
/// blocks of the baseline differ from one another.
///
/// # Arguments
///
/// * `kind`: the statistic.
/// * `value`: `psi`, or `ks²`, of the window against the baseline.
/// * `n_current`, `n_reference`: rows on each side.
/// * `p_independent`: the p-value under independent rows.
/// * `variation`: from [`estimate`] with the same `kind`, [pooled](pool) where there are several features.
///
/// # Returns
///
/// A probability in `[0, 1]`, never under `p_independent`; `p_independent` itself where a side is empty. It falls as
/// `value` grows, but for rounding of about 1e-6 in the middle of the law.
pub fn p_value(
    kind: VariationKind,
    value: f64,
    n_current: u64,
    n_reference: u64,
    p_independent: f64,
    variation: &Variation,
) -> f64 {
    let floor = probability(p_independent);
    if n_current == 0 || n_reference == 0 {
        return floor;
    }
    let Some(beliefs) = variation.beliefs() else { return floor };
    let scale = 1.0 / n_current as f64 + 1.0 / n_reference as f64;
    let noise = kind.noise();
    let tail: f64 = belief::predict(&beliefs)
        .into_iter()
        .map(|(between, weight)| weight * noise.law(scale, between).survival(value))
        .sum();
    floor.max(probability(kind.margin(variation.effective_blocks) * tail))
}

#[cfg(test)]
mod tests;
