//! Prints how often and how soon drift of one feature is found, by driftline and by the usual rules.
//!
//! The usual rules find more, because they also find what is not there: `false_alarms` prints how much. `--quick`
//! draws a quarter.

#![expect(clippy::print_stdout, reason = "its output is a table")]
#![expect(clippy::cast_possible_truncation, reason = "a delay is at most a month of hours")]

mod simulation;

use simulation::{FEATURES, Law, MONTH, Scenario, Shares, Simulation, flag};

/// Windows until a feature that has drifted is found, in half of the cases; each baseline has its own chance.
fn median_delay(shares: impl Iterator<Item = f64>) -> String {
    let shares: Vec<f64> = shares.collect();
    let missed = |windows: i32| {
        shares.iter().map(|share| (1.0 - share).powi(windows)).sum::<f64>() / shares.len() as f64
    };
    let (mut low, mut high) = (0, MONTH as i32);
    if missed(high) > 0.5 {
        return format!("> {high}");
    }
    while high - low > 1 {
        let middle = i32::midpoint(low, high);
        if missed(middle) > 0.5 { low = middle } else { high = middle }
    }
    high.to_string()
}

fn main() {
    let baselines = if flag("--quick") { 200 } else { 800 };
    let law = Law::new();
    println!(
        "Share of windows with an alarm, and the median number of windows until the first, for one feature of \
         k = 1 / 20 / 100 that has shifted\n"
    );
    println!(
        "| hours | blocks | n | shift | psi, p alone | psi, verdict | delay | ks, verdict | delay | PSI > 0.1 | delay \
         | KS p < 0.05 | delay |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|---|");
    let settings = [
        (0.0, 24, 200),
        (0.0, 168, 200),
        (0.0, 720, 200),
        (0.0, 168, 2000),
        (0.05, 24, 2000),
        (0.05, 168, 200),
        (0.05, 168, 2000),
        (0.05, 720, 2000),
        (0.2, 24, 2000),
        (0.2, 168, 2000),
        (0.2, 720, 2000),
    ];
    for (deviation, blocks, rows) in settings {
        for (seed, shift) in (1..).zip([0.1, 0.25, 0.5]) {
            let scenario = Scenario { shift, ..Scenario::new(deviation, blocks, rows, rows) };
            let simulation = Simulation { law: &law, scenario, windows: 50, tilted: false };
            let all = simulation.run(if blocks > 168 { baselines / 4 } else { baselines }, seed);
            let (mean, _) = Shares::summary(&all);
            let found = |kind: usize, rule: usize| {
                [0, 1, 2].map(|at| format!("{:.2}", mean.ours[kind][at][rule])).join(" / ")
            };
            let delay = |kind: usize| {
                [0, 1, 2].map(|at| median_delay(all.iter().map(move |one| one.ours[kind][at][1]))).join(" / ")
            };
            let mut cells =
                vec![scenario.hours(), blocks.to_string(), rows.to_string(), format!("{shift} σ")];
            cells.extend([found(0, 0), found(0, 1), delay(0), found(1, 1), delay(1)]);
            for kind in 0..2 {
                cells.push(format!("{:.2}", mean.naive[kind]));
                cells.push(median_delay(all.iter().map(move |one| one.naive[kind])));
            }
            println!("| {} |", cells.join(" | "));
        }
    }
    println!("\nEach of the {} numbers of features is judged at 1 / (720 k)", FEATURES.len());
}
