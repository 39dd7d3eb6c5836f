//! Preprocessing of a model: imputed and standardised numbers, one-hot encoded names; never fails on a value.

use ndarray::Array2;
use serde::{Deserialize, Serialize};

use crate::model::{Column, FeatureKind, Value};

/// Levels of one categorical feature beyond which the rarest are left out, and encode as all zero.
pub const MAX_LEVELS: usize = 64;

/// What happens to one feature.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "step", deny_unknown_fields)]
pub enum Step {
    /// `(x − mean) / scale`; a missing, NaN, infinite or wrongly typed value counts as the mean.
    ///
    /// JSON does not carry every bit of a number on its way through every reader, so an artifact keeps the
    /// numbers as tensors.
    Numeric {
        /// Name of the feature.
        name: String,
        /// Mean of the training part.
        #[serde(skip)]
        mean: f64,
        /// Standard deviation of the training part; 0 for a constant column, which then encodes as 0.
        #[serde(skip)]
        scale: f64,
    },
    /// One column per level, 1 where the value is that level; an unseen or missing value is all zero.
    OneHot {
        /// Name of the feature.
        name: String,
        /// Categorical or boolean.
        kind: FeatureKind,
        /// The levels, in the order of their columns.
        levels: Vec<String>,
    },
}

impl Step {
    /// Name of the feature.
    pub fn name(&self) -> &str {
        match self {
            Self::Numeric { name, .. } | Self::OneHot { name, .. } => name,
        }
    }

    /// Kind of the feature.
    pub fn kind(&self) -> FeatureKind {
        match self {
            Self::Numeric { .. } => FeatureKind::Numeric,
            Self::OneHot { kind, .. } => *kind,
        }
    }

    /// Number of columns that the feature becomes.
    pub fn width(&self) -> usize {
        match self {
            Self::Numeric { .. } => 1,
            Self::OneHot { levels, .. } => levels.len(),
        }
    }

    /// What the step was fitted to, in a fixed order; an artifact keeps these numbers with every bit.
    pub fn numbers(&self) -> Vec<f64> {
        match self {
            Self::Numeric { mean, scale, .. } => vec![*mean, *scale],
            Self::OneHot { .. } => Vec::new(),
        }
    }

    /// Takes back what [`Step::numbers`] gave; false when these are not the numbers of such a step.
    pub fn set_numbers(&mut self, numbers: &[f64]) -> bool {
        match (self, numbers) {
            (Self::Numeric { mean, scale, .. }, &[stored_mean, stored_scale]) => {
                *mean = stored_mean;
                *scale = stored_scale;
                true
            }
            (Self::OneHot { .. }, []) => true,
            _ => false,
        }
    }

    /// Writes the encoding of `value` to the first `width` cells of `cells`, which are zero.
    fn encode(&self, value: &Value, cells: &mut [f64]) {
        match self {
            Self::Numeric { mean, scale, .. } => {
                if let (Some(number), Some(cell)) = (number(value), cells.first_mut())
                    && *scale > 0.0
                {
                    let standardised = (number - mean) / scale;
                    *cell = if standardised.is_finite() { standardised } else { 0.0 };
                }
            }
            Self::OneHot { kind, levels, .. } => {
                if let Some(level) = level(value, *kind)
                    && let Some(index) = levels.iter().position(|known| *known == level)
                    && let Some(cell) = cells.get_mut(index)
                {
                    *cell = 1.0;
                }
            }
        }
    }
}

/// The usable number in `value`: finite, and a number on the wire.
pub fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) if number.is_finite() => Some(*number),
        _ => None,
    }
}

/// The level that `value` stands for in a column of `kind`: numbers by their shortest text, truth values as
/// `true` and `false` (0 and 1 too, where the column is boolean); none when missing or of a wrong type.
pub fn level(value: &Value, kind: FeatureKind) -> Option<String> {
    let text = match value {
        Value::Number(number) if number.is_finite() => number.to_string(),
        Value::Missing | Value::Opaque | Value::Number(_) => return None,
        Value::Bool(truth) => truth.to_string(),
        Value::Text(text) => text.clone(),
    };
    if kind != FeatureKind::Boolean {
        return Some(text);
    }
    match text.as_str() {
        "1" | "true" | "True" | "TRUE" => Some("true".to_owned()),
        "0" | "false" | "False" | "FALSE" => Some("false".to_owned()),
        _ => None,
    }
}

/// Rows as a model takes them.
#[derive(Debug, Clone, PartialEq)]
pub struct Encoded {
    /// Finite numbers, shape `[rows, width]`.
    pub numbers: Array2<f64>,
    /// Codes for learned embeddings, shape `[rows, embedded]`; 0 is for what is missing or was never seen.
    pub codes: Array2<u32>,
}

/// The preprocessing of a model, fitted on its training part.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pipeline {
    /// One step per feature, in the order of the encoded columns.
    pub steps: Vec<Step>,
}

impl Pipeline {
    /// Columns of numbers.
    pub fn width(&self) -> usize {
        self.steps.iter().map(Step::width).sum()
    }

    /// Columns of numbers that each feature becomes, of those that become any.
    pub fn groups(&self) -> Vec<usize> {
        self.steps.iter().map(Step::width).filter(|width| *width > 0).collect()
    }

    /// Number of codes of each column of codes, the one for what is missing or was never seen included.
    pub fn cardinalities(&self) -> Vec<usize> {
        Vec::new()
    }

    /// Names of the columns of numbers: the feature, or `feature=level`.
    pub fn column_names(&self) -> Vec<String> {
        self.steps
            .iter()
            .flat_map(|step| match step {
                Step::Numeric { name, .. } => vec![name.clone()],
                Step::OneHot { name, levels, .. } => {
                    levels.iter().map(|level| format!("{name}={level}")).collect()
                }
            })
            .collect()
    }

    /// Encodes `rows` rows; every cell of the result is finite.
    ///
    /// Columns are found by name. One that is absent, and a value beyond the end of a short one, count as
    /// missing; columns that no step knows are ignored.
    pub fn encode(&self, rows: usize, columns: &[Column]) -> Encoded {
        let width = self.width();
        let mut cells = vec![0.0; rows * width];
        let mut offset = 0;
        for step in &self.steps {
            if let Some(column) = columns.iter().find(|column| column.name == step.name()) {
                for (row, value) in column.values.iter().take(rows).enumerate() {
                    let start = row * width + offset;
                    step.encode(value, &mut cells[start..start + step.width()]);
                }
            }
            offset += step.width();
        }
        Encoded {
            numbers: Array2::from_shape_vec((rows, width), cells)
                .unwrap_or_else(|_| Array2::zeros((rows, width))),
            codes: Array2::zeros((rows, self.cardinalities().len())),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pipeline() -> Pipeline {
        Pipeline {
            steps: vec![
                Step::Numeric { name: "x".into(), mean: 2.0, scale: 4.0 },
                Step::OneHot {
                    name: "c".into(),
                    kind: FeatureKind::Categorical,
                    levels: vec!["a".into(), "3".into()],
                },
                Step::Numeric { name: "constant".into(), mean: 7.0, scale: 0.0 },
                Step::OneHot { name: "b".into(), kind: FeatureKind::Boolean, levels: vec!["true".into()] },
            ],
        }
    }

    #[track_caller]
    fn check(name: &str, value: Value, expected: [f64; 5]) {
        let shown = format!("{name} = {value:?}");
        let encoded = pipeline().encode(1, &[Column { name: name.into(), values: vec![value] }]);
        assert_eq!(encoded.numbers.row(0).to_vec(), expected, "{shown}");
    }

    #[test]
    fn encodes_every_type_of_value() {
        let zero = [0.0; 5];
        check("x", Value::Number(4.0), [0.5, 0.0, 0.0, 0.0, 0.0]);
        for value in [Value::Missing, Value::Number(f64::NAN), Value::Text("4".into()), Value::Opaque] {
            check("x", value, zero);
        }
        check("x", Value::Number(f64::INFINITY), zero);
        check("c", Value::Text("a".into()), [0.0, 1.0, 0.0, 0.0, 0.0]);
        check("c", Value::Number(3.0), [0.0, 0.0, 1.0, 0.0, 0.0]);
        check("c", Value::Text("unseen".into()), zero);
        check("c", Value::Missing, zero);
        check("constant", Value::Number(1e300), zero);
        check("b", Value::Bool(true), [0.0, 0.0, 0.0, 0.0, 1.0]);
        check("b", Value::Number(1.0), [0.0, 0.0, 0.0, 0.0, 1.0]);
        check("b", Value::Text("maybe".into()), zero);
        check("not a feature", Value::Number(1.0), zero);
    }

    #[test]
    fn names_follow_the_columns() {
        assert_eq!(pipeline().column_names(), ["x", "c=a", "c=3", "constant", "b=true"]);
        assert_eq!(pipeline().column_names().len(), pipeline().width());
    }

    fn value() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Missing),
            Just(Value::Opaque),
            any::<f64>().prop_map(Value::Number),
            any::<bool>().prop_map(Value::Bool),
            "[a-c3]{0,2}".prop_map(Value::Text),
        ]
    }

    proptest! {
        #[test]
        fn every_cell_is_finite(
            x in prop::collection::vec(value(), 0..6),
            c in prop::collection::vec(value(), 0..6),
            rows in 0_usize..6,
        ) {
            let columns = [Column { name: "x".into(), values: x }, Column { name: "c".into(), values: c }];
            let encoded = pipeline().encode(rows, &columns);
            prop_assert_eq!(encoded.numbers.dim(), (rows, 5));
            prop_assert!(encoded.numbers.iter().all(|cell| cell.is_finite()));
        }
    }
}
