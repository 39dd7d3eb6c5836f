//! Daily rhythm: calm where the day only takes its course, drift where an hour is like another one.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::baseline::{self, Baseline, Blocks, BuildOptions, CutOptions, Cycle, Season, SourceColumn};
use crate::drift::{Criteria, DriftReport, Losses, Verdict, evaluate};
use crate::model::{Batch, Column, ModelName, Role, Value};
use crate::profile::Profile;
use crate::window::{Window, window_index};

const ROWS: u32 = 300;

fn draw(i: u32) -> f64 {
    let bits = i.wrapping_mul(0x9E37_79B9) ^ (i >> 7).wrapping_mul(0x85EB_CA6B);
    f64::from(bits.wrapping_mul(0xC2B2_AE35) >> 8) / f64::from(1_u32 << 24)
}

/// The rows of one hour: a level that follows the clock, a little of the day's own, and noise.
fn hour(number: u32, clock: u32) -> Vec<Value> {
    let level = (f64::from(clock) / 24.0 * std::f64::consts::TAU).sin() * 3.0 + 0.2 * draw(number * 7 + 3);
    (0..ROWS).map(|row| Value::Number(level + draw(number * ROWS + row) + draw(row * 13 + number))).collect()
}

fn start() -> DateTime<Utc> {
    "2026-03-02T00:00:00Z".parse().unwrap()
}

fn at(number: u32) -> DateTime<Utc> {
    start() + TimeDelta::hours(i64::from(number))
}

fn baseline_of(days: u32, season: Season) -> Baseline {
    let length = Duration::from_hours(1);
    let hours = 0..days * 24;
    let values: Vec<Value> = hours.clone().flat_map(|number| hour(number, number % 24)).collect();
    let of_row: Vec<i64> =
        hours.flat_map(|number| vec![window_index(at(number), length); ROWS as usize]).collect();
    let columns = [SourceColumn { name: "x", role: Role::Feature, kind: None, values: &values }];
    let blocks = Blocks { of_row: &of_row, cycle: Cycle::new(season, length) };
    let model = ModelName::parse("m").unwrap();
    let options = BuildOptions { model, source: "s".into(), cut: CutOptions::default(), joint: true };
    let built = baseline::build(&columns, Some(blocks), options).unwrap();
    // What judges is what was stored.
    let read = Baseline::from_json(&built.to_json().unwrap()).unwrap();
    assert_eq!(read, built);
    read
}

fn judge(baseline: &Baseline, number: u32, clock: u32) -> DriftReport {
    let mut profile = Profile::empty(baseline.layout());
    let features = vec![Column { name: "x".into(), values: hour(number + 5000, clock) }];
    profile.record(baseline.layout(), &Batch { rows: ROWS as usize, features, outputs: vec![] });
    let window = Window { start: at(number), end: at(number) + TimeDelta::hours(1) };
    let criteria = Criteria { alpha: 1.0 / 720.0, ..Criteria::default() };
    evaluate(baseline, &profile, Losses::default(), window, &criteria).unwrap()
}

#[test]
fn an_hour_is_compared_with_its_own_hour() {
    let (seasonal, plain) = (baseline_of(14, Season::HourOfDay), baseline_of(14, Season::None));
    for clock in 0..24 {
        let number = 14 * 24 + clock;
        let calm = judge(&seasonal, number, clock);
        assert_eq!(calm.verdict, Verdict::Ok, "{clock}:00: {}", calm.features[0].reason);
        assert_eq!(calm.features[0].slots.as_deref(), Some(format!("{clock:02}:00").as_str()));
        // Six in the evening where six in the morning should be: a value of the day, but not of this hour.
        let moved = judge(&seasonal, number, (clock + 12) % 24);
        if clock % 12 != 0 {
            assert_eq!(moved.verdict, Verdict::Drift, "{clock}:00: {}", moved.features[0].reason);
        }
    }
    let blind = judge(&plain, 14 * 24 + 6, 18);
    assert_eq!(blind.verdict, Verdict::Ok, "without a season: {}", blind.features[0].reason);
    assert_eq!(blind.features[0].slots, None);
}

#[test]
fn a_season_leaves_less_variation() {
    let (seasonal, plain) = (baseline_of(14, Season::HourOfDay), baseline_of(14, Season::None));
    let [within, without] = [&seasonal, &plain].map(|b| b.columns()[0].psi_variation.unwrap().between);
    assert!(within < without / 10.0, "{within} within slots, {without} without");
}

#[test]
fn thin_slots_stay_usable() {
    // One block an hour: each slot is two thirds the whole, and nothing is called drift.
    let baseline = baseline_of(1, Season::HourOfDay);
    for clock in 0..24 {
        let report = judge(&baseline, 24 + clock, clock);
        assert_eq!(report.verdict, Verdict::Ok, "{clock}: {}", report.features[0].reason);
    }
}
