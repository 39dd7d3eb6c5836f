//! One step of a pipeline: what becomes of a feature, a date or a pair of features; never fails on a value.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::calendar::DatePart;
use crate::model::{FeatureKind, Value, parse_time};

/// Levels of one categorical feature beyond which the rarest get no column of their own, unless the specification
/// says otherwise.
pub const MAX_LEVELS: usize = 64;

/// Width of a uniform distribution with standard deviation 1.
const UNIT_UNIFORM: f64 = 3.464_101_615_137_754_6;

/// How two features become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Combination {
    /// `left · right`.
    Product,
    /// `left / right`; missing where `right` is 0.
    Ratio,
}

impl Combination {
    /// `left` and `right` combined; none where that is no finite number.
    pub fn of(self, left: f64, right: f64) -> Option<f64> {
        let combined = match self {
            Self::Product => left * right,
            Self::Ratio => left / right,
        };
        combined.is_finite().then_some(combined)
    }

    /// The sign between the names of the two.
    pub fn sign(self) -> char {
        match self {
            Self::Product => '*',
            Self::Ratio => '/',
        }
    }
}

/// What happens to one feature, date or pair of features.
///
/// JSON does not carry every bit of a number on its way through every reader, so an artifact keeps the numbers as
/// tensors ([`Step::numbers`]).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "step", deny_unknown_fields)]
pub enum Step {
    /// `(x − mean) / scale`, or the place of `x` among the quantiles; a missing, NaN, infinite or wrongly typed
    /// value is encoded as `missing`.
    Numeric {
        /// Name of the feature.
        name: String,
        /// What is subtracted: the mean of the training part, or its minimum.
        #[serde(skip)]
        mean: f64,
        /// What is divided by: standard deviation or range of the training part; 0 for a constant column, which
        /// then encodes as 0.
        #[serde(skip)]
        scale: f64,
        /// The cell of a value that cannot be used: what the imputed number encodes as. 0 for the mean of a
        /// standardised column.
        #[serde(skip)]
        missing: f64,
        /// Evenly spaced quantiles of the training part, smallest first. With them `x` is encoded as
        /// `(u − 1/2) √12`, where `u` is its share between the first and the last, interpolated.
        #[serde(skip)]
        knots: Vec<f64>,
        /// Whether a second column says that the value could not be used.
        #[serde(default, skip_serializing_if = "is_false")]
        indicator: bool,
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
    /// A categorical feature of many levels: a code for each, and a column for each of the commonest.
    Embedded {
        /// Name of the feature.
        name: String,
        /// The levels, sorted; code 0 is none of them, code `i + 1` is `levels[i]`.
        levels: Vec<String>,
        /// Indices into `levels` of those with a column, in the order of the columns.
        common: Vec<usize>,
    },
    /// Two columns per part, its sine and cosine; both 0 for what is no time.
    Date {
        /// Name of the column: RFC 3339, `YYYY-MM-DD[ HH:MM:SS]` or seconds since 1970, in UTC.
        name: String,
        /// The parts.
        parts: Vec<DatePart>,
    },
    /// Two numeric features combined, then `(x − mean) / scale`; 0 where that is no number.
    Interaction {
        /// Product or ratio.
        of: Combination,
        /// Name of the first feature.
        left: String,
        /// Name of the second feature.
        right: String,
        /// `left*right` or `left/right`.
        name: String,
        /// Mean of the combination in the training part.
        #[serde(skip)]
        mean: f64,
        /// Its standard deviation; 0 where it is constant.
        #[serde(skip)]
        scale: f64,
    },
}

impl Step {
    /// A numeric step that standardises and imputes with the mean.
    pub fn standard(name: impl Into<String>, mean: f64, scale: f64) -> Self {
        Self::Numeric { name: name.into(), mean, scale, missing: 0.0, knots: Vec::new(), indicator: false }
    }

    /// Name of the feature, the column of times or the combination.
    pub fn name(&self) -> &str {
        match self {
            Self::Numeric { name, .. }
            | Self::OneHot { name, .. }
            | Self::Embedded { name, .. }
            | Self::Date { name, .. }
            | Self::Interaction { name, .. } => name,
        }
    }

    /// Kind of the feature; none where the step is not about a feature of its own.
    pub fn kind(&self) -> Option<FeatureKind> {
        match self {
            Self::Numeric { .. } => Some(FeatureKind::Numeric),
            Self::OneHot { kind, .. } => Some(*kind),
            Self::Embedded { .. } => Some(FeatureKind::Categorical),
            Self::Date { .. } | Self::Interaction { .. } => None,
        }
    }

    /// Names of the one or two columns that the step reads.
    pub fn inputs(&self) -> (&str, Option<&str>) {
        match self {
            Self::Interaction { left, right, .. } => (left, Some(right)),
            other => (other.name(), None),
        }
    }

    /// Number of columns of numbers.
    pub fn width(&self) -> usize {
        match self {
            Self::Numeric { indicator, .. } => 1 + usize::from(*indicator),
            Self::OneHot { levels, .. } => levels.len(),
            Self::Embedded { common, .. } => common.len(),
            Self::Date { parts, .. } => 2 * parts.len(),
            Self::Interaction { .. } => 1,
        }
    }

    /// Number of codes, the one for missing and unseen levels included; none where there are no codes.
    pub fn cardinality(&self) -> Option<usize> {
        match self {
            Self::Embedded { levels, .. } => Some(levels.len() + 1),
            _ => None,
        }
    }

    /// What the step was fitted to, in a fixed order; an artifact keeps these numbers with every bit.
    pub fn numbers(&self) -> Vec<f64> {
        match self {
            Self::Numeric { mean, scale, missing, knots, .. } => {
                [*mean, *scale, *missing].into_iter().chain(knots.iter().copied()).collect()
            }
            Self::Interaction { mean, scale, .. } => vec![*mean, *scale],
            Self::OneHot { .. } | Self::Embedded { .. } | Self::Date { .. } => Vec::new(),
        }
    }

    /// Takes back what [`Step::numbers`] gave; false when these are not the numbers of such a step. Before there was
    /// anything but mean and scale, a numeric feature had these two.
    pub fn set_numbers(&mut self, numbers: &[f64]) -> bool {
        match (self, numbers) {
            (Self::Numeric { mean, scale, missing, knots, .. }, [first, second, rest @ ..]) => {
                (*mean, *scale) = (*first, *second);
                *missing = rest.first().copied().unwrap_or(0.0);
                *knots = rest.get(1..).unwrap_or_default().to_vec();
                true
            }
            (Self::Interaction { mean, scale, .. }, [first, second]) => {
                (*mean, *scale) = (*first, *second);
                true
            }
            (Self::OneHot { .. } | Self::Embedded { .. } | Self::Date { .. }, []) => true,
            _ => false,
        }
    }

    /// Names of the columns of numbers.
    pub(super) fn column_names(&self) -> Vec<String> {
        match self {
            Self::Numeric { name, indicator, .. } => {
                let missing = indicator.then(|| format!("{name} is missing"));
                std::iter::once(name.clone()).chain(missing).collect()
            }
            Self::OneHot { name, levels, .. } => {
                levels.iter().map(|level| format!("{name}={level}")).collect()
            }
            Self::Embedded { name, levels, common } => {
                let level = |&index: &usize| levels.get(index).map_or("", String::as_str);
                common.iter().map(|index| format!("{name}={}", level(index))).collect()
            }
            Self::Date { name, parts } => parts
                .iter()
                .flat_map(|part| ["sin", "cos"].map(|axis| format!("{name} {} {axis}", part.as_str())))
                .collect(),
            Self::Interaction { name, .. } => vec![name.clone()],
        }
    }

    /// Writes the encoding of `value` to the `width` cells of `cells`, which are zero, and returns the code where
    /// the step has one. `other` is the second input.
    pub(super) fn encode(&self, value: &Value, other: &Value, cells: &mut [f64]) -> Option<u32> {
        match self {
            Self::Numeric { mean, scale, missing, knots, .. } => {
                let used = number(value);
                let cell = match used {
                    Some(number) if !knots.is_empty() => place(number, knots),
                    Some(number) => standardised(number, *mean, *scale),
                    None => *missing,
                };
                let known = [cell, f64::from(u8::from(used.is_none()))];
                cells.iter_mut().zip(known).for_each(|(cell, known)| *cell = known);
                None
            }
            Self::OneHot { kind, levels, .. } => {
                if let Some(level) = level(value, *kind)
                    && let Some(index) = levels.iter().position(|known| *known == level)
                    && let Some(cell) = cells.get_mut(index)
                {
                    *cell = 1.0;
                }
                None
            }
            Self::Embedded { levels, common, .. } => {
                let found = level(value, FeatureKind::Categorical)
                    .and_then(|level| levels.binary_search_by(|known| known.as_str().cmp(&level)).ok());
                let Some(index) = found else { return Some(0) };
                if let Some(column) = common.iter().position(|&common| common == index)
                    && let Some(cell) = cells.get_mut(column)
                {
                    *cell = 1.0;
                }
                Some(u32::try_from(index + 1).unwrap_or(0))
            }
            Self::Date { parts, .. } => {
                if let Some(time) = parse_time(value) {
                    let points = parts.iter().flat_map(|part| part.on_the_circle(time));
                    cells.iter_mut().zip(points).for_each(|(cell, point)| *cell = point);
                }
                None
            }
            Self::Interaction { of, mean, scale, .. } => {
                let combined = number(value).zip(number(other)).and_then(|(left, right)| of.of(left, right));
                if let (Some(combined), Some(cell)) = (combined, cells.first_mut()) {
                    *cell = standardised(combined, *mean, *scale);
                }
                None
            }
        }
    }

    /// Why the step cannot be used, if it cannot.
    pub(super) fn problem(&self) -> Option<&'static str> {
        match self {
            Self::Numeric { mean, scale, missing, knots, .. } => {
                if !(mean.is_finite() && scale.is_finite() && missing.is_finite()) {
                    Some("a mean or scale is not finite")
                } else if !(knots.iter().all(|knot| knot.is_finite()) && knots.is_sorted()) {
                    Some("its quantiles are not finite and in order")
                } else {
                    None
                }
            }
            Self::OneHot { .. } | Self::Date { .. } => None,
            Self::Embedded { levels, common, .. } => {
                if !levels.is_sorted_by(|a, b| a < b) {
                    Some("its levels are not in order")
                } else if levels.len() >= u32::MAX as usize {
                    Some("it has more levels than codes")
                } else if common.iter().any(|&index| index >= levels.len()) {
                    Some("a column is for a level that it does not have")
                } else {
                    None
                }
            }
            Self::Interaction { mean, scale, .. } => {
                (!(mean.is_finite() && scale.is_finite())).then_some("a mean or scale is not finite")
            }
        }
    }
}

/// `(number − mean) / scale`; 0 for a constant column, and where the result is beyond all numbers.
fn standardised(number: f64, mean: f64, scale: f64) -> f64 {
    if scale <= 0.0 {
        return 0.0;
    }
    let standardised = (number - mean) / scale;
    if standardised.is_finite() { standardised } else { 0.0 }
}

/// Where `number` lies among evenly spaced quantiles, as a uniform variable of mean 0 and standard deviation 1. Of
/// equal quantiles it is the middle.
///
/// # Source
///
/// scikit-learn's `QuantileTransformer` with `output_distribution="uniform"`, moved and stretched.
fn place(number: f64, knots: &[f64]) -> f64 {
    let below = knots.partition_point(|&knot| knot < number);
    let not_above = knots.partition_point(|&knot| knot <= number);
    let last = knots.len().saturating_sub(1).max(1) as f64;
    let share = match (below.checked_sub(1).and_then(|left| knots.get(left)), knots.get(below)) {
        (None, _) => 0.0,
        (_, None) => 1.0,
        _ if not_above == knots.len() => 1.0,
        _ if below < not_above => f64::midpoint(below as f64, (not_above - 1) as f64) / last,
        // Halves, so that no difference overflows.
        (Some(left), Some(right)) => {
            let between = (number / 2.0 - left / 2.0) / (right / 2.0 - left / 2.0);
            ((below - 1) as f64 + between) / last
        }
    };
    let share = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.5 };
    (share - 0.5) * UNIT_UNIFORM
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
pub fn level(value: &Value, kind: FeatureKind) -> Option<Cow<'_, str>> {
    let text: Cow<'_, str> = match value {
        Value::Number(number) if number.is_finite() => number.to_string().into(),
        Value::Missing | Value::Opaque | Value::Number(_) => return None,
        Value::Bool(truth) => if *truth { "true" } else { "false" }.into(),
        Value::Text(text) => text.as_str().into(),
    };
    if kind != FeatureKind::Boolean {
        return Some(text);
    }
    match text.as_ref() {
        "1" | "true" | "True" | "TRUE" => Some("true".into()),
        "0" | "false" | "False" | "FALSE" => Some("false".into()),
        _ => None,
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_false(truth: &bool) -> bool {
    !truth
}
