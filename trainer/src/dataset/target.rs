//! Targets: numbers, one of two classes, or one of several by name.

use std::collections::BTreeSet;

use driftline::model::{FeatureKind, Value};
use driftline::retrain::pipeline::level;
use driftline::retrain::{Task, TrainingSpec};

use crate::journal::Halt;

/// Most classes of a multiclass task.
const MOST_CLASSES: usize = 1_000;

/// Targets that were read.
#[derive(Debug)]
pub(super) struct Read {
    /// Rows that have one, in order.
    pub(super) rows: Vec<usize>,
    /// One per row that was given; NaN where there is none.
    pub(super) targets: Vec<f64>,
    /// Names of the classes of a multiclass task.
    pub(super) classes: Vec<String>,
    /// Rows without one.
    pub(super) missing: usize,
}

/// Reads the target of every row; a value that is there and is none is an error.
pub(super) fn read(spec: &TrainingSpec, values: &[Value]) -> Result<Read, Halt> {
    let classes = if spec.task == Task::Multiclass { classes(spec, values)? } else { Vec::new() };
    let mut read = Read { rows: Vec::new(), targets: Vec::with_capacity(values.len()), classes, missing: 0 };
    for (row, value) in values.iter().enumerate() {
        let target = match spec.task {
            Task::Multiclass => class(value).and_then(|name| {
                read.classes.iter().position(|class| *class == name).map(|index| index as f64)
            }),
            task => number(task, value),
        };
        match target {
            Some(_) => read.rows.push(row),
            None if matches!(value, Value::Missing)
                || matches!(value, Value::Number(n) if !n.is_finite()) =>
            {
                read.missing += 1;
            }
            None => {
                return Err(Halt::Failed(format!(
                    "target `{}`, row {}: {value:?} is not {}",
                    spec.target,
                    row + 1,
                    match spec.task {
                        Task::Binary => "0, 1, false or true; a target of more classes has task `multiclass`",
                        Task::Multiclass => "the name of a class",
                        Task::Regression => "a number",
                    }
                )));
            }
        }
        read.targets.push(target.unwrap_or(f64::NAN));
    }
    Ok(read)
}

/// The target in `value`, if it is one.
fn number(task: Task, value: &Value) -> Option<f64> {
    match (task, value) {
        (Task::Regression, Value::Number(number)) if number.is_finite() => Some(*number),
        (Task::Binary, Value::Number(number)) if number.to_bits() == 1.0_f64.to_bits() => Some(1.0),
        (Task::Binary, Value::Number(number)) if number.abs() <= 0.0 => Some(0.0),
        (Task::Binary, Value::Bool(truth)) => Some(f64::from(u8::from(*truth))),
        (Task::Binary, Value::Text(text)) if ["true", "1"].contains(&text.as_str()) => Some(1.0),
        (Task::Binary, Value::Text(text)) if ["false", "0"].contains(&text.as_str()) => Some(0.0),
        _ => None,
    }
}

/// The name of the class in `value`.
fn class(value: &Value) -> Option<String> {
    level(value, FeatureKind::Categorical).map(std::borrow::Cow::into_owned).filter(|name| !name.is_empty())
}

/// The classes in the order of their outputs: by number where all are numbers, else by text.
fn classes(spec: &TrainingSpec, values: &[Value]) -> Result<Vec<String>, Halt> {
    let mut names = BTreeSet::new();
    for value in values {
        names.extend(class(value));
        if names.len() > MOST_CLASSES {
            return Err(Halt::Failed(format!(
                "target `{}` has more than {MOST_CLASSES} classes; is it a number, that is task `regression`?",
                spec.target
            )));
        }
    }
    let mut names: Vec<String> = names.into_iter().collect();
    let numbers: Option<Vec<f64>> = names.iter().map(|name| name.parse().ok()).collect();
    if numbers.is_some() {
        let number = |name: &String| name.parse::<f64>().unwrap_or(0.0);
        names.sort_by(|a, b| number(a).total_cmp(&number(b)));
    }
    Ok(names)
}
