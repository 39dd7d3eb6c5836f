//! Features that know too much: one that alone predicts the target almost perfectly.

use std::collections::HashMap;

use driftline::model::{Column, FeatureKind};
use driftline::retrain::pipeline::{level, number};
use driftline::retrain::spec::LeakageAction;
use driftline::retrain::{Source, Task, TrainingSpec};

use super::Dataset;
use crate::journal::{Halt, Journal};

/// Bins of a number, as many training rows in each.
const BINS: usize = 256;

/// Levels of a name that are told apart.
const MOST_LEVELS: usize = 100_000;

/// Refuses the run, or warns, where a feature alone explains more of the target on the validation part than the
/// settings allow.
pub(crate) fn check(spec: &TrainingSpec, dataset: &Dataset, journal: &Journal) -> Result<(), Halt> {
    let action = spec.data.leakage.action.unwrap_or(match spec.source {
        Source::Captured => LeakageAction::Warn,
        _ => LeakageAction::Refuse,
    });
    if action == LeakageAction::Ignore {
        return Ok(());
    }
    let mut leaks = Vec::new();
    for feature in &dataset.features {
        journal.checkpoint()?;
        let Some(column) = dataset.columns.iter().find(|column| column.name == feature.name) else {
            continue;
        };
        let explained = explained(spec.task, dataset, column, feature.kind);
        if explained >= spec.data.leakage.limit {
            leaks.push(format!("`{}` ({:.2} %)", feature.name, 100.0 * explained));
        }
    }
    if leaks.is_empty() {
        return Ok(());
    }
    let sentence = format!(
        "{} alone explains almost all of `{}` on rows that came later than those it was learned from; a feature like that \
         is often made of the target, or known only after it. Leave it out of features.columns, or set \
         data.leakage.action to `warn`",
        leaks.join(", "),
        spec.target
    );
    if action == LeakageAction::Refuse {
        return Err(Halt::Rejected(sentence));
    }
    journal.warn(sentence);
    Ok(())
}

/// Share of the target's variance on the validation part (of the indicators of classes, where there are classes) that
/// the mean of the training rows in the same bin or of the same level explains; a line, too, where numbers are told.
fn explained(task: Task, dataset: &Dataset, column: &Column, kind: FeatureKind) -> f64 {
    let (train, validation) = (dataset.split.train.clone(), dataset.split.validation.clone());
    let classes: Vec<Option<f64>> = match task {
        Task::Regression => vec![None],
        Task::Binary => vec![Some(1.0)],
        Task::Multiclass => (0..dataset.classes.len().min(50)).map(|class| Some(class as f64)).collect(),
    };
    let cells = cells(column, kind, &train);
    let (mut error, mut spread) = (0.0, 0.0);
    for class in classes {
        let target = |row: usize| match class {
            None => dataset.targets[row],
            Some(class) => f64::from(u8::from((dataset.targets[row] - class).abs() < 0.5)),
        };
        let n = train.len() as f64;
        let mean = train.clone().map(|row| target(row) / n).sum::<f64>();
        let cells_end = cells.iter().max().map_or(0, |&most| most + 1);
        let mut sums = vec![(0.0, 0.0); cells_end];
        for row in train.clone() {
            let (sum, count) = &mut sums[cells[row]];
            *sum += target(row) - mean;
            *count += 1.0;
        }
        let of_cell =
            |row: usize| sums.get(cells[row]).filter(|(_, count)| *count > 0.0).map_or(0.0, |(s, n)| s / n);
        let line = line(column, kind, &train, target);
        let of_line = |row: usize| match (line, number(&column.values[row])) {
            (Some((slope, [x, y])), Some(number)) => y + slope * (number - x),
            _ => mean,
        };
        let held = validation.len() as f64;
        let center = validation.clone().map(|row| target(row) / held).sum::<f64>();
        let (mut by_cell, mut by_line) = (0.0, 0.0);
        for row in validation.clone() {
            by_cell += (target(row) - mean - of_cell(row)).powi(2);
            by_line += (target(row) - of_line(row)).powi(2);
            spread += (target(row) - center).powi(2);
        }
        error += by_cell.min(by_line);
    }
    if spread > 0.0 && error.is_finite() { 1.0 - error / spread } else { 0.0 }
}

/// The cell of each row: a bin of numbers or a level, 0 for what is neither or was not seen in training.
fn cells(column: &Column, kind: FeatureKind, train: &std::ops::Range<usize>) -> Vec<usize> {
    if kind == FeatureKind::Numeric {
        let mut sorted: Vec<f64> = column.values[train.clone()].iter().filter_map(number).collect();
        sorted.sort_by(f64::total_cmp);
        let edges: Vec<f64> =
            (1..BINS).filter_map(|bin| sorted.get(bin * sorted.len() / BINS).copied()).collect();
        let bin = |x: f64| 1 + edges.partition_point(|&edge| edge <= x);
        return column.values.iter().map(|value| number(value).map_or(0, bin)).collect();
    }
    let mut levels: HashMap<String, usize> = HashMap::new();
    for value in &column.values[train.clone()] {
        if let Some(level) = level(value, kind) {
            let next = levels.len() + 1;
            if next <= MOST_LEVELS {
                levels.entry(level.into_owned()).or_insert(next);
            }
        }
    }
    let cell = |level: std::borrow::Cow<'_, str>| levels.get(level.as_ref()).copied().unwrap_or(0);
    column.values.iter().map(|value| level(value, kind).map_or(0, cell)).collect()
}

/// The least-squares line through the training rows: its slope, and a point of it; none where there is none.
fn line(
    column: &Column,
    kind: FeatureKind,
    train: &std::ops::Range<usize>,
    target: impl Fn(usize) -> f64,
) -> Option<(f64, [f64; 2])> {
    let pairs: Vec<(f64, f64)> = train
        .clone()
        .filter(|_| kind == FeatureKind::Numeric)
        .filter_map(|row| Some((number(&column.values[row])?, target(row))))
        .collect();
    let n = pairs.len() as f64;
    let (x_mean, y_mean) = pairs.iter().fold((0.0, 0.0), |(x, y), pair| (x + pair.0 / n, y + pair.1 / n));
    let products = pairs.iter().map(|(x, y)| (x - x_mean) * (y - y_mean)).sum::<f64>();
    let squares = pairs.iter().map(|(x, _)| (x - x_mean).powi(2)).sum::<f64>();
    let slope = products / squares;
    slope.is_finite().then_some((slope, [x_mean, y_mean]))
}
