//! How much each row counts: by a column, by its class, and by its age.

use driftline::model::Value;
use driftline::retrain::spec::ClassWeights;
use driftline::retrain::{Task, TrainingSpec};

use super::{Raw, Split, days_between};
use crate::journal::{Halt, Journal};

/// One weight per row; on average 1 over the training part, and over the validation part.
pub(super) fn of(
    spec: &TrainingSpec,
    raw: &Raw,
    targets: &[f64],
    classes: &[String],
    split: &Split,
    journal: &Journal,
) -> Result<Vec<f64>, Halt> {
    let mut weights = by_column(spec, raw, targets.len())?;
    by_class(spec, targets, classes, split, &mut weights, journal)?;
    if let Some(half_life) = spec.data.half_life_days {
        let of_train = raw.times.get(split.train.clone()).unwrap_or_default();
        let Some(&newest) = of_train.iter().max() else {
            return Err(Halt::Failed("data.half_life_days needs times, and the source has none".to_owned()));
        };
        for (weight, time) in weights[split.train.clone()].iter_mut().zip(of_train) {
            *weight *= (-days_between(*time, newest) / half_life).exp2();
        }
        let of_train = &weights[split.train.clone()];
        let (sum, squares) = of_train.iter().fold((0.0, 0.0), |(s, q), w| (s + w, q + w * w));
        journal.info(format!(
            "rows count half as much every {half_life} days: the {} training rows weigh as {:.0} equal ones",
            of_train.len(),
            sum * sum / squares
        ));
    }
    for part in [&split.train, &split.validation] {
        let of_part = &mut weights[part.clone()];
        let mean = of_part.iter().sum::<f64>() / of_part.len().max(1) as f64;
        if !(mean.is_finite() && mean > 0.0) {
            return Err(Halt::Failed("the weights of a part add up to nothing".to_owned()));
        }
        for weight in of_part.iter_mut() {
            *weight /= mean;
        }
    }
    Ok(weights)
}

fn by_column(spec: &TrainingSpec, raw: &Raw, rows: usize) -> Result<Vec<f64>, Halt> {
    let Some(column) = &spec.data.sample_weight else { return Ok(vec![1.0; rows]) };
    raw.weights
        .iter()
        .map(|value| match value {
            Value::Number(weight) if weight.is_finite() && *weight >= 0.0 => Ok(*weight),
            other => Err(Halt::Failed(format!(
                "data.sample_weight: {other:?} in column `{column}` is not a number of 0 or more"
            ))),
        })
        .collect()
}

/// Weights the training and the validation part by class, as the training part says where classes are balanced.
fn by_class(
    spec: &TrainingSpec,
    targets: &[f64],
    classes: &[String],
    split: &Split,
    weights: &mut [f64],
    journal: &Journal,
) -> Result<(), Halt> {
    if spec.data.class_weights == ClassWeights::Equal {
        return Ok(());
    }
    if spec.task == Task::Regression {
        return Err(Halt::Failed("data.class_weights are for classes, and a regression has none".to_owned()));
    }
    let names: Vec<String> =
        if spec.task == Task::Binary { vec!["0".into(), "1".into()] } else { classes.to_vec() };
    let class_of = |row: usize| {
        (0..names.len()).find(|&class| (targets[row] - class as f64).abs() < 0.5).unwrap_or_default()
    };
    let of_class: Vec<f64> = match &spec.data.class_weights {
        ClassWeights::Equal => return Ok(()),
        ClassWeights::Balanced => {
            let mut sums = vec![0.0; names.len()];
            split.train.clone().for_each(|row| sums[class_of(row)] += weights[row]);
            let total: f64 = sums.iter().sum();
            sums.iter().map(|sum| if *sum > 0.0 { total / (names.len() as f64 * sum) } else { 1.0 }).collect()
        }
        ClassWeights::Given(given) => {
            if let Some(unknown) = given.keys().find(|class| !names.contains(class)) {
                return Err(Halt::Failed(format!(
                    "data.class_weights: `{}` has no class `{unknown}`; it has {}",
                    spec.target,
                    names.join(", ")
                )));
            }
            names.iter().map(|class| given.get(class).copied().unwrap_or(1.0)).collect()
        }
    };
    let said: Vec<String> =
        names.iter().zip(&of_class).take(10).map(|(class, weight)| format!("{class}: {weight:.3}")).collect();
    journal.info(format!("rows count by class: {}", said.join(", ")));
    for row in split.train.clone().chain(split.validation.clone()) {
        weights[row] *= of_class[class_of(row)];
    }
    Ok(())
}
