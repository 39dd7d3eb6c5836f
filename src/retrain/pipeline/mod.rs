//! Preprocessing of a model, shared by training and serving: raw columns in, finite numbers and codes out.

mod calendar;
mod skew;
mod step;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use ndarray::Array2;
use serde::{Deserialize, Serialize};

pub use calendar::{DatePart, EVENT_TIME};
pub use skew::Unused;
pub use step::{Combination, MAX_LEVELS, Step, level, number};

use crate::model::{Column, FeatureKind, Value};

/// Encoded rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Encoded {
    /// Every cell finite, shape `[rows, width]`.
    pub numbers: Array2<f64>,
    /// Level of each embedded feature, shape `[rows, embedded]`: 0 for a missing or unseen one, else below the
    /// feature's cardinality.
    pub codes: Array2<u32>,
}

/// The preprocessing of a model, fitted on its training part.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pipeline {
    /// The steps, in the order of the encoded columns.
    pub steps: Vec<Step>,
}

impl Pipeline {
    /// Number of encoded columns of numbers.
    pub fn width(&self) -> usize {
        self.steps.iter().map(Step::width).sum()
    }

    /// Columns of numbers that each step becomes, of those that become any.
    pub fn groups(&self) -> Vec<usize> {
        self.steps.iter().map(Step::width).filter(|width| *width > 0).collect()
    }

    /// Per embedded feature, in the order of the columns of codes, one more than the largest code it can get.
    pub fn cardinalities(&self) -> Vec<usize> {
        self.steps.iter().filter_map(Step::cardinality).collect()
    }

    /// Names of the columns of numbers: the feature, `feature=level`, `feature is missing`, `time hour sin` and so on.
    pub fn column_names(&self) -> Vec<String> {
        self.steps.iter().flat_map(Step::column_names).collect()
    }

    /// Names and kinds of the raw features, each once. Columns that are only read as times are not among them.
    pub fn features(&self) -> Vec<(&str, FeatureKind)> {
        let mut seen = BTreeSet::new();
        let own = self.steps.iter().filter_map(|step| Some((step.name(), step.kind()?)));
        let combined = self.steps.iter().flat_map(|step| match step {
            Step::Interaction { left, right, .. } => vec![left.as_str(), right.as_str()],
            _ => Vec::new(),
        });
        own.chain(combined.map(|name| (name, FeatureKind::Numeric)))
            .filter(|(name, _)| seen.insert(*name))
            .collect()
    }

    /// Names of the columns that are read as times.
    pub fn time_columns(&self) -> Vec<&str> {
        self.steps
            .iter()
            .filter_map(|step| match step {
                Step::Date { name, .. } => Some(name.as_str()),
                _ => None,
            })
            .collect()
    }

    /// Encodes `rows` rows.
    ///
    /// Columns are found by name. One that is absent, and a value beyond the end of a short one, count as
    /// missing; columns that no step knows are ignored.
    pub fn encode(&self, rows: usize, columns: &[Column]) -> Encoded {
        let (width, embedded) = (self.width(), self.cardinalities().len());
        let mut cells = vec![0.0; rows * width];
        let mut codes = vec![0; rows * embedded];
        let values = |name: &str| {
            columns.iter().find(|column| column.name == name).map_or(&[][..], |column| &column.values[..])
        };
        let (mut offset, mut slot) = (0, 0);
        for step in &self.steps {
            let (first, second) = step.inputs();
            let first = values(first);
            let second = second.map_or(&[][..], values);
            let end = offset + step.width();
            for row in 0..rows {
                let value = first.get(row).unwrap_or(&Value::Missing);
                let other = second.get(row).unwrap_or(&Value::Missing);
                let code = step.encode(value, other, &mut cells[row * width + offset..row * width + end]);
                if let Some(code) = code {
                    codes[row * embedded + slot] = code;
                }
            }
            offset = end;
            slot += usize::from(step.cardinality().is_some());
        }
        Encoded {
            numbers: Array2::from_shape_vec((rows, width), cells)
                .unwrap_or_else(|_| Array2::zeros((rows, width))),
            codes: Array2::from_shape_vec((rows, embedded), codes)
                .unwrap_or_else(|_| Array2::zeros((rows, embedded))),
        }
    }

    /// The first step that cannot be used, if one cannot, and why: what a damaged or foreign artifact may hold.
    pub fn problem(&self) -> Option<(usize, &'static str)> {
        self.steps.iter().enumerate().find_map(|(at, step)| Some((at, step.problem()?)))
    }
}
