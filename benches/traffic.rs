//! Prints how often a window's traffic is found worse with nothing wrong, against the budget, and how often where
//! something is.
//!
//! Exits with 1 if a figure without a floor is over budget by more than two standard errors. `--quick` draws a fifth of
//! the references.

#![expect(clippy::print_stdout, reason = "its output is a table")]

#[expect(
    dead_code,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "shared with the other simulations, which draw whole numbers as floats"
)]
#[path = "simulation/random.rs"]
mod random;

use std::process::ExitCode;

use chrono::{DateTime, TimeDelta};
use driftline::traffic::{
    CLIENT_GONE, Earlier, Exchange, Reference, TrafficCounts, TrafficCriteria, TrafficVerdict,
};
use random::Random;

/// Hourly windows in the 30 days that the budget is for.
const MONTH: f64 = 720.0;

/// Windows that are judged against one reference.
const JUDGED: u32 = 100;

/// How windows differ with nothing wrong.
#[derive(Clone, Copy)]
struct Scenario {
    /// Standard deviation of the logarithm of a window's level of latency.
    deviation: f64,
    /// Degrees of freedom of Student's t that the levels follow; normal if 0.
    tail: u32,
    /// Correlation of one window's level with the next.
    correlation: f64,
    /// Earlier windows.
    windows: u32,
    /// Exchanges of a window.
    requests: u32,
}

/// A disturbance: how many times as slow, and which share fails beside the usual one.
#[derive(Clone, Copy)]
struct Fault {
    slower: f64,
    failing: f64,
}

const NOTHING: Fault = Fault { slower: 1.0, failing: 0.0 };

struct Traffic {
    random: Random,
    scenario: Scenario,
    level: f64,
}

impl Traffic {
    fn step(&mut self) -> f64 {
        let Scenario { deviation, tail, correlation, .. } = self.scenario;
        let normal = self.random.normal();
        self.level = correlation * self.level + (1.0 - correlation * correlation).sqrt() * normal;
        let heavy = if tail == 0 {
            1.0
        } else {
            let tail_f = f64::from(tail);
            (self.random.chi_squared(tail) / tail_f * (tail_f / (tail_f - 2.0))).sqrt()
        };
        deviation * self.level / heavy
    }

    /// A window: log-normal times around its level; one failure in 200, one bad request in 50 and one client that gives
    /// up in 500, each rate as uneven between windows as the level.
    fn window(&mut self, fault: Fault) -> TrafficCounts {
        let level = self.step().clamp(-20.0, 20.0).exp();
        let uneven = (0.5 * self.step()).clamp(-3.0, 3.0).exp();
        let mut counts = TrafficCounts::default();
        for _ in 0..self.scenario.requests {
            let upstream = 0.05 * level * fault.slower * (0.6 * self.random.normal()).exp();
            let overhead = 4e-5 * (0.4 * self.random.normal()).exp();
            let draw = self.random.uniform();
            let failing = 0.005 * uneven + fault.failing;
            let status = match draw {
                _ if draw < failing => 503,
                _ if draw < failing + 0.02 * uneven => 422,
                _ if draw < failing + 0.022 * uneven => CLIENT_GONE,
                _ => 200,
            };
            counts.record(&Exchange {
                upstream_seconds: upstream,
                answer_seconds: upstream + overhead + 0.001,
                overhead_seconds: overhead,
                status,
                grpc_status: None,
                request_bytes: 2000,
                response_bytes: 300,
                in_flight: 1,
            });
        }
        counts
    }
}

/// Shares of the windows found worse, for each of `judged`, and the standard error of the first.
fn simulate(
    scenario: Scenario,
    references: u32,
    seed: u64,
    judged: &[(Fault, TrafficCriteria)],
) -> (Vec<f64>, f64) {
    let mut traffic = Traffic { random: Random::new(seed), scenario, level: 0.0 };
    let mut found = vec![0.0; judged.len()];
    let mut squares = 0.0;
    for _ in 0..references {
        let earlier: Vec<Earlier> = (0..scenario.windows)
            .map(|at| Earlier {
                start: DateTime::UNIX_EPOCH + TimeDelta::hours(at.into()),
                counts: traffic.window(NOTHING),
            })
            .collect();
        let reference = Reference::of(&earlier);
        let mut first = 0.0;
        for _ in 0..JUDGED {
            let calm = traffic.window(NOTHING);
            for (at, (fault, criteria)) in judged.iter().enumerate() {
                let disturbed = fault.slower > 1.0 || fault.failing > 0.0;
                let report = if disturbed {
                    reference.judge(&traffic.window(*fault), criteria)
                } else {
                    reference.judge(&calm, criteria)
                };
                let worse = f64::from(u8::from(report.verdict == TrafficVerdict::Worse));
                found[at] += worse;
                first += if at == 0 { worse } else { 0.0 };
            }
        }
        squares += first * first;
    }
    let all = f64::from(references * JUDGED);
    // Windows that share a reference err together: the error is that of the references' means.
    let mean = found[0] / f64::from(references);
    let variance = (squares / f64::from(references) - mean * mean).max(mean / f64::from(references));
    let error = (variance / f64::from(references)).sqrt() / f64::from(JUDGED);
    (found.into_iter().map(|count| count / all).collect(), error)
}

fn scenarios() -> Vec<Scenario> {
    let usual = Scenario { deviation: 0.1, tail: 0, correlation: 0.0, windows: 168, requests: 300 };
    let mut all = Vec::new();
    for windows in [8, 24, 168] {
        for deviation in [0.0, 0.1, 0.4] {
            all.push(Scenario { deviation, windows, ..usual });
        }
        all.push(Scenario { tail: 3, windows, ..usual });
        all.push(Scenario { correlation: 0.8, windows, ..usual });
    }
    all.push(Scenario { requests: 50, ..usual });
    all.push(Scenario { requests: 3000, ..usual });
    all
}

fn main() -> ExitCode {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let criteria = TrafficCriteria { alpha: 1.0 / MONTH, ..TrafficCriteria::default() };
    let bare =
        TrafficCriteria { share_floor: 0.0, time_ratio_floor: 1.0, time_floor: 0.0, ..criteria.clone() };
    let faults = [
        Fault { slower: 1.5, ..NOTHING },
        Fault { slower: 2.0, ..NOTHING },
        Fault { slower: 4.0, ..NOTHING },
        Fault { failing: 0.05, ..NOTHING },
        Fault { failing: 0.2, ..NOTHING },
        Fault { failing: 1.0, ..NOTHING },
    ];
    let mut judged = vec![(NOTHING, bare), (NOTHING, criteria.clone())];
    judged.extend(faults.map(|fault| (fault, criteria.clone())));
    println!(
        "False alarms a month of hourly windows (budget 1), and the share of disturbed windows found worse\n"
    );
    println!(
        "| level | earlier windows | exchanges | p alone | standard error | verdict | 1.5 times | 2 times | 4 times \
         | 5 % fail | 20 % fail | all fail |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|");
    let mut over = 0;
    for (seed, scenario) in (1..).zip(scenarios()) {
        let references = if quick { 20 } else { 100 };
        let (shares, error) = simulate(scenario, references, seed, &judged);
        over += u32::from(MONTH * (shares[0] - 2.0 * error) > 1.0);
        let level = match (scenario.tail, scenario.correlation > 0.0) {
            (0, false) => format!("{}", scenario.deviation),
            (0, true) => format!("{}, correlated", scenario.deviation),
            _ => format!("{}, t({})", scenario.deviation, scenario.tail),
        };
        let power: Vec<String> = shares[2..].iter().map(|share| format!("{share:.2}")).collect();
        println!(
            "| {level} | {} | {} | {:.2} | {:.2} | {:.2} | {} |",
            scenario.windows,
            scenario.requests,
            MONTH * shares[0],
            MONTH * error,
            MONTH * shares[1],
            power.join(" | ")
        );
    }
    println!("\n{over} rows are over budget beyond two standard errors");
    ExitCode::from(u8::from(over > 0))
}
