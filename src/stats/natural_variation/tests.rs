//! Natural variation: its laws, its limits and a small simulation.

use proptest::prelude::*;

use super::super::{chi2_sf, f_sf, ks_p_value_asymptotic, ks_statistic_from_cells, psi, psi_p_value};
use super::*;

const PSI: VariationKind = VariationKind::Psi { bins: 10 };
const CELLS: usize = 100;
const ROWS: u64 = 200;
const ALPHA: f64 = 1.0 / 720.0;

/// `SplitMix64` and Box–Muller: all the randomness that the simulation needs, from one seed.
struct Normal(u64);

impl Normal {
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((bits ^ (bits >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn next(&mut self) -> f64 {
        (-2.0 * (1.0 - self.uniform()).ln()).sqrt() * (2.0 * PI * self.uniform()).cos()
    }

    /// An hour of rows whose common mean is off by `between` standard deviations.
    fn hour(&mut self, between: f64) -> Vec<f64> {
        let mean = between * self.next();
        (0..ROWS).map(|_| mean + self.next()).collect()
    }
}

fn cells(edges: &[f64], rows: &[f64]) -> Vec<u64> {
    let mut counts = vec![0; edges.len() + 1];
    for row in rows {
        counts[edges.partition_point(|edge| edge < row)] += 1;
    }
    counts
}

fn bins(cells: &[u64]) -> Vec<u64> {
    cells.chunks(CELLS / 10).map(|group| group.iter().sum()).collect()
}

/// The two statistics of `window` against `baseline`, as `psi` and `ks²`.
fn statistics(baseline: &[u64], window: &[u64]) -> [f64; 2] {
    let ks = ks_statistic_from_cells(baseline, window).unwrap();
    [psi(&bins(baseline), &bins(window)).unwrap(), ks * ks]
}

/// Share of false alarms, of independent rows and of this rule, for psi and for ks².
fn false_alarms(hours: usize, between: f64, baselines: u64, windows: u64, seed: u64) -> [[f64; 2]; 2] {
    let mut alarms = [[0_u32; 2]; 2];
    let mut normal = Normal(seed);
    let n_reference = ROWS * hours as u64;
    for _ in 0..baselines {
        let blocks: Vec<Vec<f64>> = (0..hours).map(|_| normal.hour(between)).collect();
        let mut sorted = blocks.concat();
        sorted.sort_by(f64::total_cmp);
        let edges: Vec<f64> = (1..CELLS).map(|cell| sorted[cell * sorted.len() / CELLS]).collect();
        let baseline = cells(&edges, &sorted);
        let blocks: Vec<[f64; 2]> = blocks
            .iter()
            .map(|rows| {
                let block = cells(&edges, rows);
                let rest: Vec<u64> = baseline.iter().zip(&block).map(|(all, own)| all - own).collect();
                statistics(&rest, &block)
            })
            .collect();
        let variation = [PSI, VariationKind::KsSquared].map(|kind| {
            let at = usize::from(kind == VariationKind::KsSquared);
            let blocks: Vec<Block> =
                blocks.iter().map(|both| Block { value: both[at], rows: ROWS }).collect();
            estimate(kind, &blocks, n_reference).unwrap()
        });
        for _ in 0..windows {
            let [psi, ks_squared] = statistics(&baseline, &cells(&edges, &normal.hour(between)));
            let independent = [
                psi_p_value(psi, ROWS, n_reference, 10),
                ks_p_value_asymptotic(ks_squared.sqrt(), ROWS, n_reference),
            ];
            let by_rule = [
                p_value(PSI, psi, ROWS, n_reference, independent[0], &variation[0]),
                p_value(
                    VariationKind::KsSquared,
                    ks_squared,
                    ROWS,
                    n_reference,
                    independent[1],
                    &variation[1],
                ),
            ];
            for at in [0, 1] {
                alarms[at][0] += u32::from(independent[at] <= ALPHA);
                alarms[at][1] += u32::from(by_rule[at] <= ALPHA);
            }
        }
    }
    alarms.map(|of| of.map(|count| f64::from(count) / (baselines * windows) as f64))
}

#[track_caller]
fn check(hours: usize, baselines: u64, windows: u64, most: f64) {
    let shares = false_alarms(hours, 0.2, baselines, windows, 7);
    for [independent, rule] in shares {
        assert!(independent > 0.05, "{hours} hours, independent rows: {independent}");
        assert!(rule <= most, "{hours} hours, this rule: {rule}");
    }
}

// The whole table is printed by `cargo bench --no-default-features --bench false_alarms`.
#[test]
fn hours_that_differ_raise_no_more_alarms_than_the_budget() {
    check(72, 6, 150, ALPHA);
    check(8, 30, 40, ALPHA);
}

#[test]
fn hours_that_are_alike_cost_little() {
    let mut normal = Normal(3);
    let values: Vec<f64> =
        (0..168).map(|_| (0..9).map(|_| normal.next().powi(2)).sum::<f64>() * 0.01).collect();
    let variation = estimate(PSI, &blocks(&values), 16_800).unwrap();
    for (chi_squared, at_most) in [(20.0, 2.5), (30.0, 8.0), (40.0, 200.0)] {
        let value = chi_squared * (0.01 + 1.0 / 16_800.0);
        let independent = psi_p_value(value, 100, 16_800, 10);
        let ratio = p_value(PSI, value, 100, 16_800, independent, &variation) / independent;
        assert!((1.0..at_most).contains(&ratio), "{chi_squared}: {ratio}");
    }
}

/// Blocks of so many rows that only hours differ: `psi = 0.04·z²`, for these `z`.
fn hours(distances: impl Iterator<Item = f64>) -> Variation {
    let blocks: Vec<Block> = distances.map(|z| Block { value: 0.04 * z * z, rows: 1_000_000 }).collect();
    estimate(PSI, &blocks, 1_000_000 * blocks.len() as u64).unwrap()
}

fn tail_weights(variation: &Variation) -> [f64; 4] {
    variation.scales.map(|scale| scale.weight)
}

#[test]
fn many_normal_hours_are_known_to_be_normal() {
    let mut normal = Normal(1);
    let variation = hours((0..720).map(|_| normal.next()));
    let [heavy, .., light] = tail_weights(&variation);
    assert!(heavy < 1e-3 && light > 0.3, "{variation:?}");
    // Of normal hours whose variance is estimated, the square over the estimate is F(1, T − 1).
    for ratio in [4.0, 9.0, 12.0] {
        let value = ratio * variation.between;
        let p = p_value(PSI, value, 1_000_000, 720_000_000, 0.0, &variation)
            / PSI.margin(variation.effective_blocks);
        let expected = f_sf(ratio, 1.0, 719.0);
        assert!((0.8..2.5).contains(&(p / expected)), "{ratio}: {p}, {expected}");
    }
}

#[test]
fn heavy_tails_are_seen_and_few_hours_are_taken_for_heavy() {
    let mut normal = Normal(2);
    let mut student = || {
        let square: f64 = (0..3).map(|_| normal.next().powi(2)).sum();
        normal.next() / (square / 3.0).sqrt()
    };
    let heavy = hours((0..720).map(|_| student()));
    assert!(tail_weights(&heavy)[0] > 0.5, "{heavy:?}");
    let mut normal = Normal(4);
    let few = hours((0..12).map(|_| normal.next()));
    assert!(tail_weights(&few)[0] > 0.5, "{few:?}");
}

#[test]
fn features_tell_one_another_about_tails_and_not_about_scales() {
    let mut normal = Normal(5);
    let single: Vec<Variation> = (0..60).map(|_| hours((0..24).map(|_| normal.next()))).collect();
    let mut pooled = single.clone();
    pool(&mut pooled);
    for (alone, pooled) in single.iter().zip(&pooled) {
        assert!(tail_weights(pooled)[0] < 0.5 * tail_weights(alone)[0], "{alone:?}, {pooled:?}");
        assert!((tail_weights(pooled).iter().sum::<f64>() - 1.0).abs() < 1e-5);
        assert!(alone.scales.iter().zip(&pooled.scales).all(|(a, b)| (a.ln_mean - b.ln_mean).abs() < 1e-12));
    }
    // One that stands alone learns nothing new, and none is no reason to panic.
    let mut one = single[..1].to_vec();
    pool(&mut one);
    assert!((tail_weights(&one[0])[0] - tail_weights(&single[0])[0]).abs() < 0.05);
    pool(&mut []);
}

#[test]
fn what_the_blocks_cannot_resolve_matters_once_windows_are_larger() {
    let values: Vec<f64> = (0..24).map(|at| 0.01 * (9.0 + 4.0 * f64::from(at % 3 - 1))).collect();
    let variation = estimate(PSI, &blocks(&values), 2400).unwrap();
    let ratio = |n: u64| {
        let value = 27.0 * (1.0 / n as f64 + 1.0 / 2400.0);
        p_value(PSI, value, n, 2400, 0.0, &variation) / chi2_sf(27.0, 9.0)
    };
    assert!(ratio(10) < 4.0 && ratio(10_000) > 20.0, "{}, {}", ratio(10), ratio(10_000));
}

#[test]
fn near_hours_make_far_ones_likelier() {
    assert!((nearness(0.0, 100) - 1.0).abs() < 1e-3);
    // The mean of 24 hours with correlation 0.8 has 0.31 of the variance of one.
    assert!((nearness(0.8, 24) - 1.74).abs() < 0.02, "{}", nearness(0.8, 24));
    assert!(nearness(1.0, 8).is_finite());
}

#[test]
fn baselines_stored_without_scales_still_serve() {
    let text = r#"{"between": 0.04, "between_variance": 0.0032, "effective_blocks": 71.0}"#;
    let stored: Variation = serde_json::from_str(text).unwrap();
    let p = |value: f64| p_value(PSI, value, 200, 14_400, 1e-9, &stored);
    assert!(p(0.08) > 0.05 && (1e-9..0.02).contains(&p(2.0)), "{}, {}", p(0.08), p(2.0));
    assert!(!serde_json::to_string(&stored).unwrap().contains("scales"));
    let learned = hours((0..24).map(f64::from));
    let text = serde_json::to_string(&learned).unwrap();
    assert_eq!(serde_json::from_str::<Variation>(&text).unwrap(), learned);
    let alike = Variation { between: -0.01, ..stored };
    assert!((p_value(PSI, 0.4, 200, 14_400, 0.02, &alike) - 0.02).abs() < 1e-15);
}

fn blocks(values: &[f64]) -> Vec<Block> {
    values.iter().map(|&value| Block { value, rows: 100 }).collect()
}

#[test]
fn moments_are_those_of_the_page() {
    let (mean, variance) = PSI.independent_moments(0.01);
    assert!((mean - 0.09).abs() < 1e-12 && (variance - 18e-4).abs() < 1e-12);
    let (mean, variance) = VariationKind::KsSquared.independent_moments(1.0);
    assert!((mean - 0.822_467).abs() < 1e-6 && (variance - 0.270_580_8).abs() < 1e-6, "{mean}, {variance}");
}

#[test]
fn few_blocks_are_not_guessed_from() {
    assert_eq!(estimate(PSI, &blocks(&[0.5; 7]), 10_000), None);
    assert!(estimate(PSI, &blocks(&[0.5; 8]), 10_000).is_some());
    // A block with every row, one with none and one without a number are no blocks.
    let mut unusable = blocks(&[0.5; 7]);
    unusable.extend([(0.5, 10_000), (0.5, 0), (f64::NAN, 100)].map(|(value, rows)| Block { value, rows }));
    assert_eq!(estimate(PSI, &unusable, 10_000), None);
}

#[test]
fn correlated_hours_count_for_less() {
    let alternating: Vec<f64> = (0..40).map(|hour| if hour % 2 == 0 { 0.1 } else { 0.5 }).collect();
    let runs: Vec<f64> = (0..40).map(|hour| if hour / 10 % 2 == 0 { 0.1 } else { 0.5 }).collect();
    let effective = |values: &[f64]| estimate(PSI, &blocks(values), 100_000).unwrap().effective_blocks;
    assert!((effective(&alternating) - 39.0).abs() < 1e-9);
    assert!(effective(&runs) < 10.0, "{}", effective(&runs));
}

#[test]
fn empty_sides_keep_their_p_values() {
    let variation = hours((0..24).map(f64::from));
    for (n, n_reference) in [(0, 100), (100, 0)] {
        assert!((p_value(PSI, 0.4, n, n_reference, 0.02, &variation) - 0.02).abs() < 1e-15);
    }
}

fn kind() -> impl Strategy<Value = VariationKind> {
    prop_oneof![(0..300_usize).prop_map(|bins| VariationKind::Psi { bins }), Just(VariationKind::KsSquared)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn is_a_falling_probability_at_or_over_that_of_independent_rows(
        kind in kind(), values in prop::collection::vec(0.0..2.0_f64, 8..24), value in 0.0..5.0_f64,
        step in 0.0..5.0_f64, p in 0.0..=1.0_f64, n in 1..1_000_000_000_u64, more in 1..1_000_000_000_u64
    ) {
        let variation = estimate(kind, &blocks(&values), 100 + more).unwrap();
        let (near, far) =
            (p_value(kind, value, n, more, p, &variation), p_value(kind, value + step, n, more, p, &variation));
        prop_assert!((p..=1.0).contains(&near) && far <= near + 1e-5, "{near}, {far}");
        // What blocks of the baseline show anyway must not be surprising.
        let usual = values.iter().sum::<f64>() / values.len() as f64;
        prop_assert!(variation.between <= 0.0 || p_value(kind, usual, 100, more, 0.0, &variation) > 0.01);
    }

    #[test]
    fn extremes_are_no_reason_to_panic(
        kind in kind(), values in prop::collection::vec(prop_oneof![any::<f64>(), Just(0.0), 0.0..1.0_f64], 8..16),
        rows in any::<u64>(), n in any::<u64>(), value in any::<f64>(), scales in any::<[f64; 3]>()
    ) {
        let list: Vec<Block> = values.iter().map(|&value| Block { value, rows }).collect();
        let mut all: Vec<Variation> = estimate(kind, &list, n).into_iter().collect();
        let [weight, ln_mean, ln_deviation] = scales;
        let read = Variation {
            between: ln_mean,
            between_variance: weight,
            effective_blocks: ln_deviation,
            scales: [Scale { weight, ln_mean, ln_deviation }; 4],
        };
        all.extend([read, Variation { scales: [Scale::default(); 4], ..read }]);
        pool(&mut all);
        for variation in all {
            let p = p_value(kind, value, rows, n, 0.25, &variation);
            prop_assert!((0.25..=1.0).contains(&p), "{p}");
        }
    }
}
#[test]
fn blocks_more_alike_than_chance_are_no_reason_to_doubt() {
    // One trend, far smaller than the noise of rows.
    let values: Vec<f64> = (0..20).map(|block| 1e-6 * f64::from(block)).collect();
    let variation = estimate(PSI, &blocks(&values), 2000).unwrap();
    assert!((variation.effective_blocks - 19.0).abs() < 0.1, "{variation:?}");
    assert!(p_value(PSI, 1.8, 500, 2000, 0.0, &variation) < 1e-4);
}
