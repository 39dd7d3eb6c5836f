//! What blocks tell: how far hours lie apart, and how heavy the tail of their distances is.

use super::law::Law;

/// Degrees of freedom of the Student's t that hours are thought to follow, one of these.
pub(super) const TAILS: [f64; 4] = [2.7, 5.0, 10.0, f64::INFINITY];

/// Probability of each of [`TAILS`] before any block is seen.
///
/// Blocks can show that hours are normal, but few blocks cannot, and then the heaviest has to be reckoned with.
pub(super) const PRIOR: [f64; TAILS.len()] = [0.75, 0.1, 0.1, 0.05];

/// Features whose weight [`PRIOR`] has when features are pooled.
const PRIOR_FEATURES: f64 = 2.0;

/// Steps of the search for shares common to the features; it gains little past a dozen.
const POOL_STEPS: u32 = 50;

/// Ratio of neighbouring nodes of the grid of scales.
const RATIO: f64 = 1.5;

/// Nodes by which the scale of one hour may lie under that of all hours, and over it.
const BELOW: usize = 8;
const ABOVE: usize = 34;

/// Nodes over the scale of all hours that a block is compared with: few of many hours lie further out.
const ABOVE_SEEN: usize = 18;

/// Power of the scale that its prior follows where the blocks cannot resolve it; ½ would be flat in the standard
/// deviation of hours, 0 flat in its logarithm.
const UNRESOLVED: f64 = 0.25;

/// Lowest scale on the grid, in units of the noise of rows.
const LOWEST: f64 = 1e-3;

/// Standard deviations to which a belief is followed.
const REACH: f64 = 3.5;

/// One block: its statistic, and the size of the noise of rows in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) value: f64,
    /// `1/n + 1/N`.
    pub(super) scale: f64,
}

/// Law of a statistic under independent rows where `1/n + 1/N` is 1.
#[derive(Clone, Copy, Debug)]
pub(super) struct Noise {
    pub(super) along: f64,
    pub(super) across: f64,
    pub(super) dof: f64,
}

impl Noise {
    /// The law at another size of noise, with blocks that differ by `between`.
    pub(super) fn law(&self, scale: f64, between: f64) -> Law {
        Law { along: self.along * scale + between, across: self.across * scale, dof: self.dof }
    }
}

/// Probability of one tail, and what `ln s` is under it: mean and standard deviation.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Belief {
    pub(super) weight: f64,
    pub(super) mean: f64,
    pub(super) deviation: f64,
}

/// Shares that sum to 1; the prior where they cannot be made to.
fn shares(parts: [f64; TAILS.len()]) -> [f64; TAILS.len()] {
    let sum: f64 = parts.iter().sum();
    if sum > 0.0 && sum.is_finite() { parts.map(|part| part / sum) } else { PRIOR }
}

/// Probabilities of `ν / χ²(ν)` on the grid of ratios, from `RATIO^−BELOW` to `RATIO^ABOVE`.
fn kernel(tail: f64) -> [f64; BELOW + ABOVE + 1] {
    let mut weights = [0.0; BELOW + ABOVE + 1];
    if tail == f64::INFINITY {
        weights[BELOW] = 1.0;
        return weights;
    }
    for (node, weight) in weights.iter_mut().enumerate() {
        let ln_square = (BELOW as f64 - node as f64) * RATIO.ln();
        *weight = (0.5 * tail * (ln_square - ln_square.exp_m1())).exp();
    }
    let sum: f64 = weights.iter().sum();
    weights.map(|weight| weight / sum)
}

/// Posterior of scale and tail given `seen`, whose likelihood is worth so many `effective` independent blocks.
pub(super) fn learn(noise: Noise, seen: &[Seen], effective: f64) -> [Belief; TAILS.len()] {
    let count = seen.len() as f64;
    let scale = seen.iter().map(|block| block.scale).sum::<f64>() / count;
    let lowest = LOWEST * noise.along * scale;
    let largest = seen.iter().map(|block| block.value).fold(lowest, f64::max);
    let mut nodes: Vec<f64> =
        std::iter::successors(Some(lowest), |node| Some(node * RATIO).filter(|&next| next < 10.0 * largest))
            .collect();
    let own = nodes.len();
    nodes.extend((1..=ABOVE_SEEN).map(|above| lowest * RATIO.powf((own + above - 1) as f64)));
    let ln_likelihood = ln_likelihood(noise, seen, scale, &nodes, own);

    // Over what the blocks can resolve the prior is flat in ln s, which makes the prediction for normal hours Student's
    // t; under it, falling, so that it has an integral and does not pile up at 0.
    let resolution = noise.along * scale * (2.0 / effective).sqrt();
    let temper = effective / count;
    let ln_posterior = |node: usize, tail: usize| {
        let falling = UNRESOLVED * (nodes[node] / (nodes[node] + resolution)).ln();
        ln_likelihood[node][tail] * temper + falling + PRIOR[tail].ln()
    };
    let best = (0..own)
        .flat_map(|node| (0..TAILS.len()).map(move |tail| (node, tail)))
        .map(|(node, tail)| ln_posterior(node, tail))
        .fold(f64::NEG_INFINITY, f64::max);
    let mut beliefs: [Belief; TAILS.len()] = std::array::from_fn(|tail| {
        let weighted = || (0..own).map(|node| ((ln_posterior(node, tail) - best).exp(), nodes[node].ln()));
        let weight: f64 = weighted().map(|(weight, _)| weight).sum();
        let average = |of: &dyn Fn(f64) -> f64| {
            if weight > 0.0 {
                weighted().map(|(weight, ln_s)| weight * of(ln_s)).sum::<f64>() / weight
            } else {
                0.0
            }
        };
        let mean = average(&|ln_s| ln_s);
        Belief { weight, mean, deviation: average(&|ln_s| (ln_s - mean).powi(2)).sqrt() }
    });
    let weights = shares(beliefs.map(|belief| belief.weight));
    for (belief, weight) in beliefs.iter_mut().zip(weights) {
        belief.weight = weight;
    }
    beliefs
}

/// Log-likelihood of the blocks for each of the first `own` scales and each tail, shape `[own][n_tails]`.
fn ln_likelihood(
    noise: Noise,
    seen: &[Seen],
    scale: f64,
    nodes: &[f64],
    own: usize,
) -> Vec<[f64; TAILS.len()]> {
    // What the saddlepoint density lacks depends on the ratio of the two weights alone.
    let masses: Vec<f64> = nodes.iter().map(|&between| noise.law(scale, between).ln_mass()).collect();
    let kernels = TAILS.map(kernel);
    let mut sums = vec![[0.0; TAILS.len()]; own];
    let mut density = vec![0.0; BELOW + nodes.len()];
    for block in seen {
        // A statistic of exactly 0 has no logarithm, and says no more than a very small one.
        let value = block.value.max(LOWEST * block.scale);
        let mut best = f64::NEG_INFINITY;
        for ((density, &between), mass) in density[BELOW..].iter_mut().zip(nodes).zip(&masses) {
            *density = noise.law(block.scale, between).ln_density(value) - mass;
            best = best.max(*density);
        }
        for density in &mut density[BELOW..] {
            *density = (*density - best).exp();
        }
        // Under the grid there is only noise.
        let noise_alone = density[BELOW];
        density[..BELOW].fill(noise_alone);
        for (sums, density) in sums.iter_mut().zip(density.windows(BELOW + ABOVE_SEEN + 1)) {
            for (sum, kernel) in sums.iter_mut().zip(&kernels) {
                let mixed: f64 = kernel.iter().zip(density).map(|(weight, density)| weight * density).sum();
                *sum += mixed.max(f64::MIN_POSITIVE).ln();
            }
        }
    }
    sums
}

/// Learns from many features how common each tail is, and weighs the tails of every feature by that.
///
/// # Source
///
/// Empirical Bayes by expectation and maximisation: Dempster, Laird and Rubin (1977),
/// doi:10.1111/j.2517-6161.1977.tb01600.x.
pub(super) fn pool(weights: &mut [[f64; TAILS.len()]]) {
    let mut common = PRIOR;
    let weighed = |own: &[f64; TAILS.len()], common: &[f64; TAILS.len()]| {
        shares(std::array::from_fn(|tail| own[tail] / PRIOR[tail] * common[tail]))
    };
    for _ in 0..POOL_STEPS {
        let mut sums = PRIOR.map(|share| share * PRIOR_FEATURES);
        for own in weights.iter() {
            for (sum, share) in sums.iter_mut().zip(weighed(own, &common)) {
                *sum += share;
            }
        }
        common = shares(sums);
    }
    for own in weights {
        *own = weighed(own, &common);
    }
}

/// Scale of one block to come: nodes and their probabilities; none if no belief has a weight.
pub(super) fn predict(beliefs: &[Belief; TAILS.len()]) -> Vec<(f64, f64)> {
    const STEPS: u32 = 14;
    let step = RATIO.ln();
    let used = || beliefs.iter().zip(TAILS).filter(|(belief, _)| belief.weight > 0.0);
    let low = used().map(|(belief, _)| belief.mean - REACH * belief.deviation).fold(f64::INFINITY, f64::min);
    let high = used().map(|(belief, _)| belief.mean + REACH * belief.deviation).fold(low, f64::max);
    // Whatever was stored, the grid stays small: 700 is where the exponential function ends.
    let (low, high) = (low.clamp(-700.0, 700.0), high.clamp(-700.0, 700.0));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 4000")]
    let count = ((high - low).max(0.0) / step).ceil() as usize + 2;
    let mut mixed = vec![0.0; BELOW + count + ABOVE];
    let mut own = vec![0.0; count];
    let points = || (0..=STEPS).map(|at| (2.0 * f64::from(at) / f64::from(STEPS) - 1.0) * REACH);
    let normal = |z: f64| (-0.5 * z * z).exp();
    let total: f64 = points().map(normal).sum();
    for (belief, tail) in used() {
        own.fill(0.0);
        for z in points() {
            let place = ((belief.mean + z * belief.deviation - low) / step).clamp(0.0, (count - 2) as f64);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped above")]
            let node = place as usize;
            let share = belief.weight * normal(z) / total;
            own[node] += share * (1.0 - place.fract());
            own[node + 1] += share * place.fract();
        }
        let kernel = kernel(tail);
        for (node, share) in own.iter().enumerate() {
            for (sum, weight) in mixed[node..].iter_mut().zip(&kernel) {
                *sum += share * weight;
            }
        }
    }
    let scale = |node: usize| (low + (node as f64 - BELOW as f64) * step).exp();
    mixed
        .into_iter()
        .enumerate()
        .filter(|&(_, weight)| weight > 0.0)
        .map(|(node, weight)| (scale(node), weight))
        .collect()
}
