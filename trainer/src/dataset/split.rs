//! Which rows are for what: forward in time, by entity, or stratified where there is no time.

use std::collections::HashMap;
use std::ops::Range;

use driftline::model::FeatureKind;
use driftline::retrain::pipeline::level;
use driftline::retrain::{Task, TrainingSpec};
use driftline::stats::random::SplitMix64;

use super::Raw;
use crate::journal::{Halt, Journal};

/// Strata of a regression: as many rows in each, by target.
const STRATA: usize = 10;

/// Which rows are for what. With times, each part is later than the one before; with entities, none is in two parts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Split {
    /// Rows that the pipeline and the models are fitted on.
    pub(crate) train: Range<usize>,
    /// Rows for early stopping and the strength of regularisation.
    pub(crate) validation: Range<usize>,
    /// Rows that calibrate probabilities; may be none.
    pub(crate) calibration: Range<usize>,
    /// Rows that only the gate sees.
    pub(crate) test: Range<usize>,
}

impl Split {
    /// Parts of these sizes, one after the other.
    pub(super) fn of(sizes: [usize; 4]) -> Self {
        let mut start = 0;
        let [train, validation, calibration, test] = sizes.map(|size| {
            start += size;
            start - size..start
        });
        Self { train, validation, calibration, test }
    }

    /// The parts in order.
    pub(super) fn parts(&self) -> [Range<usize>; 4] {
        [self.train.clone(), self.validation.clone(), self.calibration.clone(), self.test.clone()]
    }
}

/// Rows of each part; at least one for all but calibration.
fn sizes(spec: &TrainingSpec, rows: usize) -> Result<[usize; 4], Halt> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a row count is a small positive number"
    )]
    let part = |share: f64| (share * rows as f64).round() as usize;
    let (test, validation) = (part(spec.test_share).max(1), part(spec.validation_share).max(1));
    let calibration = part(spec.data.calibration_share(spec.task));
    match rows.checked_sub(test + validation + calibration).filter(|&train| train > 0) {
        Some(train) => Ok([train, validation, calibration, test]),
        None => Err(Halt::Rejected(format!("{rows} rows are too few to split into three parts"))),
    }
}

/// The order of the rows, part after part, and the parts.
pub(super) fn split(spec: &TrainingSpec, targets: &[f64], raw: &Raw) -> Result<(Vec<usize>, Split), Halt> {
    let sizes = sizes(spec, targets.len())?;
    if !raw.entities.is_empty() {
        return by_entity(spec, raw, sizes);
    }
    if !raw.times.is_empty() {
        return Ok(((0..targets.len()).collect(), Split::of(sizes)));
    }
    Ok(stratified(spec, targets))
}

/// All rows of an entity in one part. Entities go by their first appearance where there are times, else at random.
fn by_entity(spec: &TrainingSpec, raw: &Raw, sizes: [usize; 4]) -> Result<(Vec<usize>, Split), Halt> {
    let mut of_name: HashMap<String, usize> = HashMap::new();
    let mut entities: Vec<Vec<usize>> = Vec::new();
    for (row, value) in raw.entities.iter().enumerate() {
        let entity = match level(value, FeatureKind::Categorical) {
            Some(name) => *of_name.entry(name.into_owned()).or_insert(entities.len()),
            // Nothing says that two rows without a name are of one entity.
            None => entities.len(),
        };
        if entity == entities.len() {
            entities.push(Vec::new());
        }
        entities[entity].push(row);
    }
    if raw.times.is_empty() {
        SplitMix64::new(spec.seed).shuffle(&mut entities);
    }
    let mut found = [0; 4];
    let mut order = Vec::with_capacity(raw.entities.len());
    let mut part = 0;
    let mut until = sizes[0];
    let known = entities.len();
    for rows in entities {
        // An entity goes where most of it would be.
        while part < 3 && order.len() + rows.len() / 2 >= until {
            part += 1;
            until += sizes[part];
        }
        found[part] += rows.len();
        order.extend(rows);
    }
    if found[0] == 0 || found[1] == 0 || found[3] == 0 {
        let entity = spec.data.entity.as_deref().unwrap_or_default();
        return Err(Halt::Rejected(format!(
            "{known} values of the entity `{entity}` are too few, or too uneven, to split into three parts"
        )));
    }
    Ok((order, Split::of(found)))
}

/// As many of each class, or of each tenth of the numbers, in every part.
fn stratified(spec: &TrainingSpec, targets: &[f64]) -> (Vec<usize>, Split) {
    let mut rows: Vec<usize> = (0..targets.len()).collect();
    let mut random = SplitMix64::new(spec.seed);
    random.shuffle(&mut rows);
    rows.sort_by(|&a, &b| targets[a].total_cmp(&targets[b]));
    let mut strata: Vec<Vec<usize>> = Vec::new();
    if spec.task == Task::Regression {
        strata = rows.chunks(rows.len().div_ceil(STRATA).max(1)).map(<[usize]>::to_vec).collect();
    } else {
        for row in rows {
            match strata.last_mut() {
                Some(stratum) if stratum.iter().any(|&other| (targets[other] - targets[row]).abs() < 0.5) => {
                    stratum.push(row);
                }
                _ => strata.push(vec![row]),
            }
        }
    }
    let shares = [spec.validation_share, spec.data.calibration_share(spec.task), spec.test_share];
    let mut parts: [Vec<usize>; 4] = Default::default();
    for stratum in &mut strata {
        random.shuffle(stratum);
        let n = stratum.len() as f64;
        let mut end = 0.0;
        let mut start = 0;
        for (part, share) in shares.into_iter().enumerate() {
            end += share * n;
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a share of a row count is a small positive number"
            )]
            let stop = (end.round() as usize).min(stratum.len());
            parts[part + 1].extend(&stratum[start..stop]);
            start = stop;
        }
        parts[0].extend(&stratum[start..]);
    }
    for part in &mut parts {
        part.sort_unstable();
    }
    let split = Split::of([0, 1, 2, 3].map(|part| parts[part].len()));
    (parts.concat(), split)
}

/// Refuses a training part with one class, and tells of classes that it lacks.
pub(super) fn check_classes(
    spec: &TrainingSpec,
    targets: &[f64],
    classes: &[String],
    split: &Split,
    journal: &Journal,
) -> Result<(), Halt> {
    for (part, rows) in [("training", &split.train), ("validation", &split.validation), ("test", &split.test)]
    {
        if rows.is_empty() {
            return Err(Halt::Rejected(format!("the {part} part has no rows")));
        }
    }
    if spec.task == Task::Regression {
        return Ok(());
    }
    let of_train = &targets[split.train.clone()];
    let first = of_train[0];
    let train = split.train.len();
    if of_train.iter().all(|target| (target - first).abs() < 0.5) {
        let class = classes.iter().enumerate().find(|(index, _)| (*index as f64 - first).abs() < 0.5);
        let class = class.map_or_else(|| first.to_string(), |(_, name)| name.clone());
        return Err(Halt::Rejected(format!(
            "every one of the {train} training rows has `{}` = {class}; {} classes are needed",
            spec.target,
            if spec.task == Task::Binary { "both" } else { "two or more" }
        )));
    }
    let is_known = |class: usize| of_train.iter().any(|target| (target - class as f64).abs() < 0.5);
    let unknown: Vec<&str> = classes
        .iter()
        .enumerate()
        .filter(|(class, _)| !is_known(*class))
        .map(|(_, name)| name.as_str())
        .collect();
    if !unknown.is_empty() {
        journal.warn(format!(
            "no training row has `{}` = {}: no model can learn it",
            spec.target,
            unknown.join(" or ")
        ));
    }
    Ok(())
}
