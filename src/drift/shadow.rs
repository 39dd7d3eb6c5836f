//! A shadow of a baseline: rows drawn from what a window would be compared with, calm or with a known shift.

use crate::baseline::Baseline;
use crate::model::Role;
use crate::profile::{ColumnProfile, Profile};
use crate::stats;
use crate::stats::random::SplitMix64;
use crate::window::Window;

/// A shifted column has all its values from one end of its distribution: the cells with `1 / SHIFT_PART` of the rows.
const SHIFT_PART: u64 = 10;

/// PSI of natural variation under which one column is as good as another.
const LEAST_VARIATION: f64 = 0.05;

/// Which column a shadow shifts, and where to.
#[derive(Debug, Clone, PartialEq)]
pub struct Shift {
    /// Name of the column.
    pub column: String,
    /// Whether its values all come from the last cells of its distribution, a tenth of the rows; else the first.
    pub upwards: bool,
    /// The PSI that the shift amounts to.
    pub psi: f64,
    /// Number of the column in the baseline.
    index: usize,
}

/// The shift that is plainest for its column's natural variation; `None` when no input can shift by a PSI of `least`.
pub fn plainest_shift(baseline: &Baseline, window: Window, least: f64) -> Option<Shift> {
    let mut best: Option<(f64, Shift)> = None;
    for (index, column) in baseline.columns().iter().enumerate() {
        if column.layout.role != Role::Feature {
            continue;
        }
        let reference = column.reference(window).counts;
        let bins = column.bins.profile_counts(&reference);
        for upwards in [true, false] {
            let shifted = column.bins.profile_counts(&end_of(&reference, upwards));
            let Ok(psi) = stats::psi(&bins, &shifted) else { continue };
            let between = column.psi_variation.as_ref().map_or(0.0, |variation| variation.between.max(0.0));
            let plainness = psi / (between + LEAST_VARIATION);
            if psi >= least && best.as_ref().is_none_or(|(other, _)| plainness > *other) {
                let shift = Shift { column: column.layout.name.clone(), upwards, psi, index };
                best = Some((plainness, shift));
            }
        }
    }
    best.map(|(_, shift)| shift)
}

/// Draws `rows` rows of `window`, each column on its own from what it would be compared with, and counts them.
///
/// The same seed draws the same rows. Nothing is drawn of a column that the baseline has no rows of.
pub fn draw(baseline: &Baseline, window: Window, rows: u64, seed: u64, shift: Option<&Shift>) -> Profile {
    let mut random = SplitMix64::new(seed);
    let columns = baseline
        .columns()
        .iter()
        .enumerate()
        .map(|(index, column)| {
            let reference = column.reference(window).counts;
            match shift.filter(|shift| shift.index == index) {
                Some(shift) => sample(&end_of(&reference, shift.upwards), rows, &mut random),
                None => sample(&reference, rows, &mut random),
            }
        })
        .collect();
    Profile::from_columns(rows, columns)
}

/// The rows of `reference` in its first or last cells: so many as hold a tenth of the usable ones, and one at least.
fn end_of(reference: &ColumnProfile, upwards: bool) -> ColumnProfile {
    let most = reference.usable().div_ceil(SHIFT_PART);
    let mut cells = vec![0; reference.cells.len()];
    let mut taken = 0;
    let mut take = |(kept, &count): (&mut u64, &u64)| {
        if taken == 0 || taken + count <= most {
            *kept = count;
            taken += count;
            true
        } else {
            false
        }
    };
    let in_order = cells.iter_mut().zip(&reference.cells);
    // Stops at the first cell that is too much.
    let _all = if upwards { in_order.rev().all(&mut take) } else { in_order.into_iter().all(&mut take) };
    ColumnProfile { cells, ..ColumnProfile::default() }
}

/// `rows` draws, with replacement, from the cells and the unusable rows of `reference`.
fn sample(reference: &ColumnProfile, rows: u64, random: &mut SplitMix64) -> ColumnProfile {
    let mut upto = 0_u64;
    let ends: Vec<u64> = reference
        .cells
        .iter()
        .map(|&count| {
            upto += count;
            upto
        })
        .collect();
    let usable = upto;
    let all = usize::try_from(usable + reference.unusable()).unwrap_or(usize::MAX);
    let mut drawn = ColumnProfile { cells: vec![0; ends.len()], ..ColumnProfile::default() };
    if all == 0 {
        return drawn;
    }
    for _ in 0..rows {
        let rank = random.below(all) as u64;
        let cell = ends.partition_point(|&end| end <= rank);
        match drawn.cells.get_mut(cell) {
            Some(count) => *count += 1,
            None => drawn.missing += 1,
        }
    }
    drawn
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use std::time::Duration;

    use super::*;
    use crate::baseline::{self, Blocks, BuildOptions, CutOptions, SourceColumn};
    use crate::drift::{Criteria, Losses, Verdict, evaluate};
    use crate::model::{ModelName, Value};

    fn window() -> Window {
        Window::holding(DateTime::UNIX_EPOCH + Duration::from_hours(500_000), Duration::from_hours(1))
    }

    /// A numeric column, a category that hardly varies, a constant, and an output; hours differ where `hourly`.
    fn reference(hourly: f64) -> Baseline {
        let mut random = SplitMix64::new(1);
        let (mut numbers, mut words, mut constant, mut answers) = (vec![], vec![], vec![], vec![]);
        let mut of_row = Vec::new();
        for block in 0..40_i64 {
            let level = hourly * random.normal();
            for _ in 0..250 {
                numbers.push(Value::Number(random.normal() + level));
                words.push(Value::Text(if random.below(50) == 0 { "rare" } else { "usual" }.to_owned()));
                constant.push(Value::Number(1.0));
                answers.push(Value::Number(random.normal()));
                of_row.push(block);
            }
        }
        let column = |name, role, values| SourceColumn { name, role, kind: None, values };
        let columns = [
            column("number", Role::Feature, &numbers),
            column("word", Role::Feature, &words),
            column("constant", Role::Feature, &constant),
            column("answer", Role::Output, &answers),
        ];
        let options = BuildOptions {
            model: ModelName::parse("m").unwrap(),
            source: "shadow".into(),
            cut: CutOptions::default(),
            joint: true,
        };
        baseline::build(&columns, Some(Blocks { of_row: &of_row, cycle: None }), options).unwrap()
    }

    fn verdict(baseline: &Baseline, seed: u64, shift: Option<&Shift>) -> (Verdict, Vec<String>) {
        let profile = draw(baseline, window(), 4_000, seed, shift);
        let report = evaluate(baseline, &profile, Losses::default(), window(), &Criteria::default()).unwrap();
        (report.verdict, report.drifted().map(|feature| feature.name.clone()).collect())
    }

    #[test]
    fn a_calm_shadow_is_ok_and_a_shifted_one_drifts_in_its_column_alone() {
        for hourly in [0.0, 0.5] {
            let baseline = reference(hourly);
            let shift = plainest_shift(&baseline, window(), 0.5).unwrap();
            for seed in 0..20 {
                assert_eq!(verdict(&baseline, seed, None), (Verdict::Ok, vec![]), "seed {seed}");
                let found = verdict(&baseline, seed, Some(&shift));
                assert_eq!(found, (Verdict::Drift, vec![shift.column.clone()]), "seed {seed}, {shift:?}");
            }
        }
    }

    #[test]
    fn the_plainest_shift_is_of_an_input_and_towards_what_is_rare() {
        let shift = plainest_shift(&reference(1.0), window(), 0.5).unwrap();
        assert_eq!(shift.column, "word", "{shift:?}");
        assert!(plainest_shift(&reference(0.0), window(), f64::INFINITY).is_none());
    }

    #[test]
    fn the_same_seed_draws_the_same_rows() {
        let baseline = reference(0.0);
        let drawn = |seed| draw(&baseline, window(), 500, seed, None);
        assert_eq!(drawn(3), drawn(3));
        assert_ne!(drawn(3), drawn(4));
        assert_eq!(drawn(3).rows(), 500);
        assert!(drawn(3).columns().iter().all(|column| column.usable() + column.unusable() == 500));
    }

    #[test]
    fn missing_values_stay_missing() {
        let mut column = ColumnProfile { cells: vec![0, 3, 1], missing: 4, ..ColumnProfile::default() };
        let drawn = sample(&column, 8_000, &mut SplitMix64::new(0));
        assert_eq!((drawn.cells[0], drawn.usable() + drawn.missing), (0, 8_000));
        assert!((3_700..4_300).contains(&drawn.missing), "{}", drawn.missing);
        assert_eq!(end_of(&column, true).cells, [0, 0, 1]);
        assert_eq!(end_of(&column, false).cells, [0, 3, 0]);
        column.cells = vec![0, 0, 0];
        assert_eq!(end_of(&column, true).usable(), 0);
    }
}
