//! Prints how many alarms a month driftline and the usual rules raise with no drift, against the budget of one.
//!
//! Exits with 1 if any figure is over budget by more than two standard errors. `--quick` draws 200 baselines for each row.

#![expect(clippy::print_stdout, reason = "its output is a table")]

mod simulation;

use std::process::ExitCode;

use simulation::{FEATURES, Law, MONTH, Scenario, Shares, Simulation, flag};

/// Alarms a month that the user allows.
const BUDGET: f64 = 1.0;

/// Every row of the table.
fn scenarios() -> Vec<Scenario> {
    let mut all = Vec::new();
    // Independent rows, and one to three decades of rows.
    for (blocks, rows) in [(24, 200), (168, 200), (720, 200), (168, 2000), (168, 20_000)] {
        all.push(Scenario::new(0.0, blocks, rows, rows));
    }
    for deviation in [0.05, 0.2, 0.5] {
        for blocks in [8, 24, 72, 168, 720] {
            all.push(Scenario::new(deviation, blocks, 200, 200));
        }
    }
    // Windows ten times a block and a tenth of one.
    for (rows, window) in [(200, 2000), (2000, 200), (2000, 2000), (2000, 20_000), (20_000, 2000)] {
        for (deviation, blocks) in [(0.05, 8), (0.05, 24), (0.05, 168), (0.2, 168)] {
            all.push(Scenario::new(deviation, blocks, rows, window));
        }
    }
    for blocks in [8, 24, 72, 168, 720] {
        for correlation in [0.5, 0.8] {
            all.push(Scenario { correlation, ..Scenario::new(0.2, blocks, 200, 200) });
        }
        for tail in [5, 3] {
            all.push(Scenario { tail, ..Scenario::new(0.2, blocks, 200, 200) });
        }
    }
    for (blocks, rows) in [(24, 200), (168, 200), (720, 200), (24, 2000), (168, 2000)] {
        all.push(Scenario { tail: 3, ..Scenario::new(0.05, blocks, rows, rows) });
    }
    all.push(Scenario { tail: 3, ..Scenario::new(0.05, 168, 200, 2000) });
    all.push(Scenario { tail: 3, ..Scenario::new(0.5, 168, 200, 200) });
    for blocks in [24, 168] {
        let heavy = Scenario { tail: 3, ..Scenario::new(0.2, blocks, 200, 200) };
        all.push(Scenario { correlation: 0.8, ..heavy });
        all.push(Scenario { heavy_one_in: 10, ..heavy });
        all.push(Scenario { shared: true, ..heavy });
    }
    all
}

/// Alarms a month of any of `k` features, from the share of windows in which one alarms.
fn a_month(share: f64, k: u32, shared: bool) -> f64 {
    MONTH * if shared { share } else { 1.0 - (1.0 - share).powf(f64::from(k)) }
}

fn per_features(figures: impl Fn(usize, u32) -> f64) -> String {
    let figures: Vec<String> = (0..).zip(FEATURES).map(|(at, k)| format!("{:.2}", figures(at, k))).collect();
    figures.join(" / ")
}

fn main() -> ExitCode {
    let quick = flag("--quick");
    let law = Law::new();
    println!("Alarms a month with no drift, for k = 1 / 20 / 100 features; budget {BUDGET}\n");
    println!(
        "| hours | blocks | N | n | psi, p alone | standard error | psi, verdict | ks, p alone | standard error \
         | ks, verdict | PSI > 0.1 | KS p < 0.05 |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|");
    let (mut figures, mut over, mut highest) = (0, 0, 0.0_f64);
    for (seed, scenario) in (1..).zip(scenarios()) {
        let windows = if scenario.deviation > 0.0 { (2 * scenario.blocks).clamp(100, 300) } else { 1000 };
        let baselines = if quick { 200 } else { (60_000 / scenario.blocks).clamp(200, 1600) };
        let simulation = Simulation { law: &law, scenario, windows, tilted: true };
        let (mean, error) = Shares::summary(&simulation.run(baselines, seed));
        let mut cells = vec![
            scenario.hours(),
            scenario.blocks.to_string(),
            scenario.n_reference().to_string(),
            scenario.window.to_string(),
        ];
        for kind in 0..2 {
            let alarms =
                |rule: usize| move |at: usize, k: u32| a_month(mean.ours[kind][at][rule], k, scenario.shared);
            let spread = |at: usize, k: u32| {
                let k = if scenario.shared { 1.0 } else { f64::from(k) };
                MONTH * k * error.ours[kind][at][0]
            };
            cells.extend([per_features(alarms(0)), per_features(spread), per_features(alarms(1))]);
            for (at, k) in (0..).zip(FEATURES) {
                figures += 1;
                highest = highest.max(alarms(0)(at, k));
                over += u32::from(alarms(0)(at, k) - 2.0 * spread(at, k) > BUDGET);
            }
        }
        for share in mean.naive {
            cells.push(FEATURES.map(|k| format!("{:.0}", a_month(share, k, scenario.shared))).join(" / "));
        }
        println!("| {} |", cells.join(" | "));
    }
    println!(
        "\n{over} of {figures} figures are over budget beyond two standard errors; the highest is {highest:.2}"
    );
    ExitCode::from(u8::from(over > 0))
}
