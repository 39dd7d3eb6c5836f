//! Features whose hours may differ, baselines and windows of them, and the rules that watch.
//!
//! Rows are standard normal around the mean of their hour. Their counts per cell are then multinomial with known
//! probabilities, so that counts are drawn and never rows. A baseline is drawn, its natural variation estimated, and
//! for every rule the smallest statistic that raises an alarm is found; then windows are drawn against these limits.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "whole numbers of known size, kept as floats while they are drawn"
)]

mod random;

use std::f64::consts::PI;

use driftline::stats::natural_variation::{self, Block, Variation, VariationKind};
use driftline::stats::{ks_p_value_asymptotic, ks_statistic_from_cells, normal_sf, psi, psi_p_value};

use random::Random;

/// Hourly windows in the 30 days that the budget is for.
pub(crate) const MONTH: f64 = 720.0;
/// Numbers of features that are simulated; Holm's first step compares the smallest p-value with `1 / (720 k)`.
pub(crate) const FEATURES: [u32; 3] = [1, 20, 100];
/// Statistics: `psi`, and `ks²`.
const KINDS: [VariationKind; 2] = [VariationKind::Psi { bins: BINS }, VariationKind::KsSquared];
/// Floors of the two-part verdict: `psi ≥ 0.1`, `ks ≥ 0.05`.
const FLOORS: [f64; 2] = [0.1, 0.05 * 0.05];
const CELLS: usize = 100;
const BINS: usize = 10;
/// Baselines that are drawn together: one of 100 features, five of 20, a hundred of one.
const TOGETHER: usize = 100;

type Cells = [u64; CELLS];

/// What a row of a table is about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    /// Standard deviation of the means of hours, in that of rows.
    pub(crate) deviation: f64,
    /// Degrees of freedom of Student's t that the means follow, 3 or 5; normal if 0.
    pub(crate) tail: u32,
    /// Only one feature in so many has that tail, the others are normal.
    pub(crate) heavy_one_in: usize,
    /// Correlation of one hour's mean with the next.
    pub(crate) correlation: f64,
    /// All features have the same hours, where each else has its own.
    pub(crate) shared: bool,
    /// Blocks of the baseline.
    pub(crate) blocks: usize,
    /// Rows of a block.
    pub(crate) rows: u64,
    /// Rows of a window.
    pub(crate) window: u64,
    /// How far the mean has drifted in the window, in standard deviations of rows.
    pub(crate) shift: f64,
}

impl Scenario {
    /// Hours that differ by `deviation`, independent and normal.
    pub(crate) fn new(deviation: f64, blocks: usize, rows: u64, window: u64) -> Self {
        Self {
            deviation,
            tail: 0,
            heavy_one_in: 1,
            correlation: 0.0,
            shared: false,
            blocks,
            rows,
            window,
            shift: 0.0,
        }
    }

    /// The hours in words.
    pub(crate) fn hours(&self) -> String {
        let mut words = vec![format!("{} σ", self.deviation)];
        if self.tail > 0 {
            words.push(format!("t({})", self.tail));
        }
        if self.heavy_one_in > 1 {
            words.push(format!("that 1 in {}", self.heavy_one_in));
        }
        if self.correlation > 0.0 {
            words.push(format!("r = {}", self.correlation));
        }
        if self.shared {
            words.push("shared".to_owned());
        }
        words.join(", ")
    }

    pub(crate) fn n_reference(&self) -> u64 {
        self.rows * self.blocks as u64
    }

    /// The tail of the feature with this number.
    fn of_feature(&self, number: usize) -> Self {
        Self { tail: if number.is_multiple_of(self.heavy_one_in) { self.tail } else { 0 }, ..*self }
    }

    /// A mean whose normal part is given; the spread is the scenario's, whatever the tail.
    fn mean(&self, normal: f64, random: &mut Random) -> f64 {
        let spread = match self.tail {
            0 => 1.0,
            dof => (f64::from(dof - 2) / random.chi_squared(dof)).sqrt(),
        };
        self.deviation * normal * spread
    }

    /// Density of a mean in units of the deviation.
    fn density(&self, z: f64) -> f64 {
        if self.tail == 0 {
            return (-0.5 * z * z).exp() / (2.0 * PI).sqrt();
        }
        let nu = f64::from(self.tail);
        // Γ((ν + 1)/2) / (√(νπ) Γ(ν/2)) for ν of 3 and 5.
        let constant =
            if self.tail == 3 { 2.0 / 3.0_f64.sqrt() / PI } else { 8.0 / 3.0 / 5.0_f64.sqrt() / PI };
        let square = z * z / (nu - 2.0);
        constant * (nu / (nu - 2.0)).sqrt() * (1.0 + square).powf(-0.5 * (nu + 1.0))
    }
}

/// Cells of equal probability, and the normal law at their edges.
pub(crate) struct Law {
    edges: Vec<f64>,
    table: Vec<f64>,
}

impl Law {
    const REACH: f64 = 10.0;
    const PER_UNIT: f64 = 256.0;

    pub(crate) fn new() -> Self {
        let nodes = (2.0 * Self::REACH * Self::PER_UNIT) as u32;
        let table =
            (0..=nodes).map(|node| normal_sf(f64::from(node) / Self::PER_UNIT - Self::REACH)).collect();
        let quantile = |share: f64| {
            let (mut low, mut high) = (-Self::REACH, Self::REACH);
            for _ in 0..60 {
                let middle = 0.5 * (low + high);
                if normal_sf(-middle) < share { low = middle } else { high = middle }
            }
            low
        };
        Self { edges: (1..CELLS).map(|cell| quantile(cell as f64 / CELLS as f64)).collect(), table }
    }

    /// `P(Z > z)`, linear between the nodes of the table.
    fn above(&self, z: f64) -> f64 {
        let at = ((z + Self::REACH) * Self::PER_UNIT).clamp(0.0, (self.table.len() - 2) as f64);
        let node = at as usize;
        let part = at - node as f64;
        self.table[node] * (1.0 - part) + self.table[node + 1] * part
    }

    /// Counts of one hour: binomial, cell by cell.
    fn hour(&self, random: &mut Random, mean: f64, rows: u64) -> Cells {
        let mut cells = [0; CELLS];
        let (mut left, mut above) = (rows, 1.0);
        for (cell, &edge) in cells.iter_mut().zip(&self.edges) {
            let next = self.above(edge - mean);
            if left > 0 && above > 0.0 {
                *cell = random.binomial(left, (above - next) / above);
            }
            left -= *cell;
            above = next;
        }
        cells[CELLS - 1] = left;
        cells
    }
}

/// `psi` and `ks²`.
fn statistics(reference: &Cells, current: &Cells) -> [f64; 2] {
    let bins = |cells: &Cells| -> [u64; BINS] {
        std::array::from_fn(|bin| cells[bin * CELLS / BINS..(bin + 1) * CELLS / BINS].iter().sum())
    };
    let ks = ks_statistic_from_cells(reference, current).unwrap_or_default();
    [psi(&bins(reference), &bins(current)).unwrap_or_default(), ks * ks]
}

/// The p-value of independent rows for the statistic with this number.
fn independent(kind: usize, value: f64, n: u64, n_reference: u64) -> f64 {
    match KINDS[kind] {
        VariationKind::Psi { bins } => psi_p_value(value, n, n_reference, bins),
        VariationKind::KsSquared => ks_p_value_asymptotic(value.sqrt(), n, n_reference),
    }
}

/// Smallest value whose p-value is at or under `alpha`, to a thousandth.
fn limit(alpha: f64, p: impl Fn(f64) -> f64) -> f64 {
    let (mut low, mut high) = (1e-5_f64.ln(), 1e4_f64.ln());
    for _ in 0..14 {
        let middle = 0.5 * (low + high);
        if p(middle.exp()) > alpha { low = middle } else { high = middle }
    }
    high.exp()
}

/// Shares of windows with an alarm in one feature.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Shares {
    /// Shape `[psi, ks][k = 1, 20, 100][p-value alone, whole verdict]`.
    pub(crate) ours: [[[f64; 2]; 3]; 2],
    /// PSI over 0.1, and KS p-value of independent rows under 0.05.
    pub(crate) naive: [f64; 2],
}

impl Shares {
    fn each(&self) -> impl Iterator<Item = f64> + '_ {
        self.ours.iter().flatten().flatten().chain(&self.naive).copied()
    }

    fn each_mut(&mut self) -> impl Iterator<Item = &mut f64> {
        self.ours.iter_mut().flatten().flatten().chain(&mut self.naive)
    }

    /// Mean and standard error of each share over many baselines.
    pub(crate) fn summary(all: &[Self]) -> (Self, Self) {
        let (mut mean, mut error) = (Self::default(), Self::default());
        let count = all.len() as f64;
        for shares in all {
            for (sum, value) in mean.each_mut().zip(shares.each()) {
                *sum += value / count;
            }
        }
        for shares in all {
            for ((sum, value), mean) in error.each_mut().zip(shares.each()).zip(mean.each()) {
                *sum += (value - mean).powi(2) / (count * (count - 1.0));
            }
        }
        error.each_mut().for_each(|value| *value = value.sqrt());
        (mean, error)
    }
}

/// One feature of a baseline.
struct Feature {
    whole: Cells,
    variations: [Option<Variation>; 2],
}

impl Feature {
    fn draw(law: &Law, scenario: &Scenario, random: &mut Random) -> Self {
        let keep = (1.0 - scenario.correlation.powi(2)).sqrt();
        let mut normal = random.normal();
        let mut whole = [0; CELLS];
        let mut blocks = Vec::with_capacity(scenario.blocks);
        for _ in 0..scenario.blocks {
            let mean = scenario.mean(normal, random);
            let block = law.hour(random, mean, scenario.rows);
            whole.iter_mut().zip(&block).for_each(|(sum, part)| *sum += part);
            blocks.push(block);
            normal = scenario.correlation * normal + keep * random.normal();
        }
        let values: Vec<[f64; 2]> = blocks
            .iter()
            .map(|block| statistics(&std::array::from_fn(|cell| whole[cell] - block[cell]), block))
            .collect();
        let variations = std::array::from_fn(|kind| {
            let blocks: Vec<Block> =
                values.iter().map(|both| Block { value: both[kind], rows: scenario.rows }).collect();
            natural_variation::estimate(KINDS[kind], &blocks, scenario.n_reference())
        });
        Self { whole, variations }
    }
}

/// What is simulated, and how thoroughly.
pub(crate) struct Simulation<'a> {
    pub(crate) law: &'a Law,
    pub(crate) scenario: Scenario,
    /// Windows drawn against each baseline.
    pub(crate) windows: usize,
    /// Draw half of the hours from a Cauchy law and weigh them: rare alarms are then seen often.
    pub(crate) tilted: bool,
}

impl Simulation<'_> {
    /// Shares per baseline, of at least so many.
    pub(crate) fn run(&self, baselines: usize, seed: u64) -> Vec<Shares> {
        let mut all = vec![Shares::default(); baselines.div_ceil(2 * TOGETHER) * 2 * TOGETHER];
        let half = all.len() / 2;
        std::thread::scope(|scope| {
            for (part, shares) in (0..).zip(all.chunks_mut(half)) {
                scope.spawn(move || {
                    let mut random = Random::new(2 * seed + part);
                    for together in shares.chunks_mut(TOGETHER) {
                        self.together(together, &mut random);
                    }
                });
            }
        });
        all
    }

    fn together(&self, shares: &mut [Shares], random: &mut Random) {
        let features: Vec<Feature> = (0..shares.len())
            .map(|number| Feature::draw(self.law, &self.scenario.of_feature(number), random))
            .collect();
        let pooled = FEATURES.map(|k| {
            std::array::from_fn::<_, 2, _>(|kind| {
                let own: Vec<Variation> =
                    features.iter().filter_map(|feature| feature.variations[kind]).collect();
                self.pooled(own, k as usize)
            })
        });
        for (number, (shares, feature)) in shares.iter_mut().zip(&features).enumerate() {
            let limits = std::array::from_fn(|kind| {
                std::array::from_fn(|k| {
                    let alpha = 1.0 / MONTH / f64::from(FEATURES[k]);
                    self.limit(kind, alpha, pooled[k][kind].get(number))
                })
            });
            *shares = self.watch(&self.scenario.of_feature(number), &feature.whole, &limits, random);
        }
    }

    /// Pools every `k` of them, or each with `k` copies of itself.
    fn pooled(&self, mut own: Vec<Variation>, k: usize) -> Vec<Variation> {
        if self.scenario.shared {
            for one in &mut own {
                let mut copies = vec![*one; k];
                natural_variation::pool(&mut copies);
                *one = copies[0];
            }
        } else {
            own.chunks_mut(k).for_each(natural_variation::pool);
        }
        own
    }

    fn limit(&self, kind: usize, alpha: f64, variation: Option<&Variation>) -> f64 {
        let (n, n_reference) = (self.scenario.window, self.scenario.n_reference());
        limit(alpha, |value| {
            let p = independent(kind, value, n, n_reference);
            match variation {
                Some(variation) if p <= alpha => {
                    natural_variation::p_value(KINDS[kind], value, n, n_reference, p, variation)
                }
                _ => p,
            }
        })
    }

    fn watch(
        &self,
        scenario: &Scenario,
        whole: &Cells,
        limits: &[[f64; 3]; 2],
        random: &mut Random,
    ) -> Shares {
        let n_reference = scenario.n_reference();
        let naive = [0.1, limit(0.05, |value| independent(1, value, scenario.window, n_reference))];
        let mut shares = Shares::default();
        for _ in 0..self.windows {
            let (mean, weight) = self.hour(scenario, random);
            let window = self.law.hour(random, mean + scenario.shift, scenario.window);
            let values = statistics(whole, &window);
            let share = weight / self.windows as f64;
            for kind in 0..KINDS.len() {
                for (limit, sums) in limits[kind].iter().zip(&mut shares.ours[kind]) {
                    sums[0] += if values[kind] >= *limit { share } else { 0.0 };
                    sums[1] += if values[kind] >= limit.max(FLOORS[kind]) { share } else { 0.0 };
                }
                shares.naive[kind] += if values[kind] >= naive[kind] { share } else { 0.0 };
            }
        }
        shares
    }

    /// The mean of an hour to come, far from the baseline in time, and its weight.
    fn hour(&self, scenario: &Scenario, random: &mut Random) -> (f64, f64) {
        let usual = {
            let normal = random.normal();
            scenario.mean(normal, random)
        };
        if !self.tilted || scenario.deviation <= 0.0 {
            return (usual, 1.0);
        }
        let mean = if random.uniform() < 0.5 { usual } else { scenario.deviation * random.cauchy() };
        let z = mean / scenario.deviation;
        let density = scenario.density(z);
        (mean, density / (0.5 * density + 0.5 / (PI * (1.0 + z * z))))
    }
}

/// Whether the program was started with this flag.
pub(crate) fn flag(name: &str) -> bool {
    std::env::args().any(|argument| argument == name)
}
