//! Profile update, stored size, merging and judging, each beside what one would write without driftline.

#![expect(clippy::print_stdout, reason = "a benchmark prints what it measures")]
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot run should stop")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use chrono::DateTime;
use driftline::baseline::{Baseline, BaselineColumn, CutOptions, NumericSummary, numeric_cut};
use driftline::drift::{self, Criteria, Losses};
use driftline::model::{FeatureKind, ModelName, Role};
use driftline::profile::{self, ColumnLayout, ColumnProfile, Cut, Profile};
use driftline::window::Window;

/// `SplitMix64`: a seeded source of even numbers in (0, 1).
struct Random(u64);

impl Random {
    fn even(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (((bits ^ (bits >> 31)) >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        (-2.0 * self.even().ln()).sqrt() * (2.0 * std::f64::consts::PI * self.even()).cos()
    }
}

type Draw = fn(&mut Random) -> f64;

const SHAPES: [(&str, Draw); 6] = [
    ("normal", Random::normal),
    ("even", Random::even),
    ("hour of day", |random| (random.even() * 24.0).floor()),
    ("Cauchy", |random| (std::f64::consts::PI * (random.even() - 0.5)).tan()),
    ("Pareto 0.8", |random| random.even().powf(-1.25)),
    ("one outlier at 1e9", |random| if random.even() < 1e-6 { 1e9 } else { random.normal() }),
];

fn values(draw: Draw, n: usize, seed: u64) -> Vec<f64> {
    let mut random = Random(seed);
    (0..n).map(|_| draw(&mut random)).collect()
}

fn layout(name: String, reference: &[f64]) -> ColumnLayout {
    let mut summary = NumericSummary::new(usize::MAX);
    summary.extend(reference);
    let (cut, range) = numeric_cut(&summary.finish(), &CutOptions::default());
    ColumnLayout { name, role: Role::Feature, kind: FeatureKind::Numeric, cut, range }
}

/// The least time of several runs: what the machine can do, and not what else it did.
fn least(runs: u32, mut work: impl FnMut()) -> Duration {
    (0..runs)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed()
        })
        .min()
        .unwrap_or_default()
}

/// What one would write: a binary search over the edges and Welford's moments.
struct Plain {
    cells: Vec<u64>,
    count: u64,
    mean: f64,
    m2: f64,
    min: f64,
    max: f64,
}

impl Plain {
    fn record(&mut self, edges: &[f64], values: &[f64]) {
        for &value in values {
            self.cells[edges.partition_point(|&edge| edge < value)] += 1;
            self.count += 1;
            let delta = value - self.mean;
            self.mean += delta / self.count as f64;
            self.m2 += delta * (value - self.mean);
            self.min = self.min.min(value);
            self.max = self.max.max(value);
        }
    }
}

fn update() {
    println!("profile update, K = 1000, 1,000,000 values in batches of 256, ns per value");
    println!("{:<20} {:>10} {:>16} {:>7}", "values", "driftline", "binary search", "ratio");
    for (name, draw) in SHAPES {
        let reference = values(draw, 200_000, 1);
        let layout = layout(name.into(), &reference);
        let current = values(draw, 1_000_000, 2);
        let mut column = ColumnProfile::empty(&layout);
        let ours = least(7, || {
            for batch in current.chunks(256) {
                column.record_numbers(&layout, black_box(batch));
            }
        });
        let Cut::Grid(grid) = &layout.cut else { return };
        let cells = vec![0; grid.cells()];
        let mut plain =
            Plain { cells, count: 0, mean: 0.0, m2: 0.0, min: f64::INFINITY, max: f64::NEG_INFINITY };
        let theirs = least(7, || {
            for batch in current.chunks(256) {
                plain.record(grid.edges(), black_box(batch));
            }
        });
        assert_eq!(column.cells, plain.cells, "{name}: the two count alike");
        black_box((plain.mean, plain.m2, plain.min, plain.max));
        let each = |time: Duration| time.as_secs_f64() * 1e9 / current.len() as f64;
        println!(
            "{name:<20} {:>10.1} {:>16.1} {:>6.1}x",
            each(ours),
            each(theirs),
            each(theirs) / each(ours)
        );
    }
}

fn size() {
    println!("\nstored size of a numeric feature's minute, K = 1000, bytes");
    println!(
        "{:<20} {:>10} {:>9} {:>12} {:>9} {:>15}",
        "values", "rows", "bytes", "information", "ratio", "8-byte counts"
    );
    for (name, draw) in SHAPES {
        let layout = layout(name.into(), &values(draw, 200_000, 1));
        for rows in [60, 1000, 100_000, 1_000_000] {
            let mut column = ColumnProfile::empty(&layout);
            column.record_numbers(&layout, &values(draw, rows, 3));
            let atoms = matches!(&layout.cut, Cut::Grid(grid) if grid.is_atom(2));
            let information = information(&column.cells, atoms);
            let raw = column.cells.len() * 8;
            let bytes = profile::encode(&Profile::from_columns(rows as u64, vec![column])).len();
            println!(
                "{name:<20} {rows:>10} {bytes:>9} {information:>12.0} {:>9.2} {raw:>15}",
                bytes as f64 / information
            );
        }
    }
}

/// Bytes of information in counts that are Poisson around their mean, as those of a grid are without drift.
fn information(cells: &[u64], atoms: bool) -> f64 {
    let filled = cells.iter().filter(|&&count| count > 0).count().max(1);
    // Atoms leave every other cell empty: only cells that can fill count.
    let used = if atoms { filled } else { cells.len() };
    let mean = cells.iter().sum::<u64>() as f64 / used as f64;
    let (mut bits, mut log) = (0.0, -mean);
    let top = (mean + 12.0 * mean.sqrt() + 20.0).ceil();
    let mut count = 0.0;
    while count < top {
        let share = log.exp();
        if share > 0.0 {
            bits -= share * log / std::f64::consts::LN_2;
        }
        count += 1.0;
        log += mean.ln() - f64::ln(count);
    }
    bits * used as f64 / 8.0
}

/// Sixty stored minutes of 500 features, a million rows in all: read, merge, judge.
fn judge() {
    const FEATURES: usize = 500;
    const MINUTES: usize = 60;
    const ROWS: usize = 1_000_000;
    let options = CutOptions::default();
    let columns: Vec<BaselineColumn> = (0..FEATURES)
        .map(|feature| {
            let reference = values(Random::normal, 20_000, feature as u64);
            let layout = layout(format!("f{feature}"), &reference);
            let mut counts = ColumnProfile::empty(&layout);
            counts.record_numbers(&layout, &reference);
            BaselineColumn::learn(layout, counts, &BTreeMap::new(), 0.0, &options)
        })
        .collect();
    let model = ModelName::parse("bench").unwrap();
    let baseline = Baseline::assemble(model, "bench".into(), 20_000, options, columns).unwrap();
    let rows = ROWS / MINUTES;
    let parts: Vec<Vec<u8>> = (0..MINUTES)
        .map(|minute| {
            // The same draws for all features: what is timed reads counts, not values.
            let drawn = values(Random::normal, rows, 1000 + minute as u64);
            let counted = baseline.layout().columns().iter().map(|layout| {
                let mut column = ColumnProfile::empty(layout);
                column.record_numbers(layout, &drawn);
                column
            });
            profile::encode(&Profile::from_columns(rows as u64, counted.collect()))
        })
        .collect();
    let stored: usize = parts.iter().map(Vec::len).sum();
    let window = Window { start: DateTime::UNIX_EPOCH, end: DateTime::UNIX_EPOCH };
    let mut judged = Duration::ZERO;
    let whole = least(3, || {
        let merged = profile::merge_stored(baseline.layout(), &parts).unwrap();
        let start = Instant::now();
        let report =
            drift::evaluate(&baseline, &merged, Losses::default(), window, &Criteria::default()).unwrap();
        judged = start.elapsed();
        assert_eq!(report.features.len(), FEATURES);
    });
    println!(
        "\n{FEATURES} features, {ROWS} rows in {MINUTES} stored minutes ({:.1} MB): read, merged and judged in {:.2} s, \
         of that {:.2} s judging",
        stored as f64 / 1e6,
        whole.as_secs_f64(),
        judged.as_secs_f64()
    );
    let raw = values(Random::normal, ROWS, 7);
    let reference = values(Random::normal, 20_000, 7);
    let sorted = least(1, || {
        let mut both = [raw.clone(), reference.clone()];
        for side in &mut both {
            side.sort_by(f64::total_cmp);
        }
        black_box(driftline::stats::ks_statistic_sorted(&both[0], &both[1]).unwrap());
    });
    let all = sorted.as_secs_f64() * FEATURES as f64;
    println!("the same from raw values, sorted for KS alone: {all:.1} s ({:.0}x)", all / whole.as_secs_f64());
}

fn main() {
    update();
    size();
    judge();
}
