//! Preprocessing as ONNX: what [`crate::retrain::pipeline`] does, in the same 64 bits.

use std::collections::BTreeMap;

use super::builder::{Attr, Builder, ML, Real, Val};
use super::calendar;
use super::proto::ElementType;
use crate::model::FeatureKind;
use crate::retrain::export::Input;
use crate::retrain::pipeline::{Combination, Pipeline, Step};

/// Width of a uniform distribution with standard deviation 1, which quantiles are stretched to.
const UNIT_UNIFORM: f64 = 3.464_101_615_137_754_6;

/// Encoded rows.
pub(super) struct Encoded {
    /// Shape `[rows, width]`, 64 bits, every cell finite; none without columns of numbers.
    pub(super) numbers: Option<Val>,
    /// A value of shape `[rows, 1]` for each column of codes.
    pub(super) codes: Vec<Val>,
    /// Some value whose first axis is the rows.
    pub(super) rows: Option<Val>,
}

/// Declares the inputs and encodes them.
pub(super) fn encode(graph: &mut Builder, pipeline: &Pipeline, inputs: &[Input]) -> Encoded {
    let mut values = BTreeMap::new();
    for input in inputs {
        let (element, doc) = match input.kind {
            "number" => (ElementType::Double, "a number; NaN is missing"),
            "time" => (ElementType::Double, "seconds since 1970, UTC; NaN is missing"),
            "boolean" => (ElementType::Bool, "true or false"),
            _ => (ElementType::String, "a category as text; unknown ones are treated alike"),
        };
        values.insert(input.name.as_str(), graph.input(&input.name, element, 1, doc));
    }
    let rows = inputs.first().and_then(|input| values.get(input.name.as_str())).cloned();
    let of = |name: &str| values.get(name).cloned().unwrap_or_else(|| Val(name.to_owned()));
    let (mut parts, mut codes) = (Vec::new(), Vec::new());
    let mut run = Numbers::default();
    for step in &pipeline.steps {
        if let Step::Numeric { name, mean, scale, missing, knots, indicator: false } = step
            && knots.is_empty()
        {
            run.push(of(name), *mean, *scale, *missing);
            continue;
        }
        parts.extend(run.finish(graph));
        match step {
            Step::Numeric { name, mean, scale, missing, knots, indicator } => {
                let input = of(name);
                let is_number = is_finite(graph, &input);
                let placed = if knots.is_empty() {
                    standardise(graph, &input, &[*mean], &[*scale])
                } else {
                    place(graph, &input, knots)
                };
                let missing = graph.reals(Real::Double, &[], &[*missing]);
                parts.push(graph.op("Where", &[&is_number, &placed, &missing]));
                if *indicator {
                    let is_missing = graph.op("Not", &[&is_number]);
                    parts.push(graph.cast(&is_missing, ElementType::Double));
                }
            }
            Step::OneHot { levels, .. } if levels.is_empty() => {}
            Step::OneHot { name, kind: FeatureKind::Boolean, levels } => {
                parts.push(truths(graph, &of(name), levels));
            }
            Step::OneHot { name, levels, .. } => {
                let found = code(graph, &of(name), levels, 0, -1);
                let known: Vec<i64> = (0..).take(levels.len()).collect();
                parts.push(which(graph, &found, &known));
            }
            Step::Embedded { name, levels, common } => {
                let found = code(graph, &of(name), levels, 1, 0);
                if !common.is_empty() {
                    let columns: Vec<i64> =
                        common.iter().map(|&index| super::builder::dimension(index) + 1).collect();
                    parts.push(which(graph, &found, &columns));
                }
                codes.push(found);
            }
            Step::Date { name, parts: asked } => parts.extend(calendar::points(graph, &of(name), asked)),
            Step::Interaction { of: combination, left, right, mean, scale, .. } => {
                let nothing = f64::NAN;
                let (left, right) = (of(left), of(right));
                let (left, right) = (finite_or(graph, &left, nothing), finite_or(graph, &right, nothing));
                let operator = match combination {
                    Combination::Product => "Mul",
                    Combination::Ratio => "Div",
                };
                let combined = graph.op(operator, &[&left, &right]);
                let combined = finite_or(graph, &combined, nothing);
                parts.push(standardise(graph, &combined, &[*mean], &[*scale]));
            }
        }
    }
    parts.extend(run.finish(graph));
    let numbers = (!parts.is_empty()).then(|| graph.concat(&parts, 1));
    Encoded { numbers, codes, rows }
}

/// Numeric features side by side, which are standardised together.
#[derive(Default)]
struct Numbers {
    inputs: Vec<Val>,
    means: Vec<f64>,
    scales: Vec<f64>,
    missing: Vec<f64>,
}

impl Numbers {
    fn push(&mut self, input: Val, mean: f64, scale: f64, missing: f64) {
        self.inputs.push(input);
        self.means.push(mean);
        self.scales.push(scale);
        self.missing.push(missing);
    }

    fn finish(&mut self, graph: &mut Builder) -> Option<Val> {
        let Self { inputs, means, scales, missing } = std::mem::take(self);
        if inputs.is_empty() {
            return None;
        }
        let joined = graph.concat(&inputs, 1);
        let is_number = is_finite(graph, &joined);
        let placed = standardise(graph, &joined, &means, &scales);
        let missing = graph.reals(Real::Double, &[1, missing.len()], &missing);
        Some(graph.op("Where", &[&is_number, &placed, &missing]))
    }
}

/// `(x − mean) / scale`; 0 where that is not finite or the scale is 0.
fn standardise(graph: &mut Builder, value: &Val, means: &[f64], scales: &[f64]) -> Val {
    let shape = [1, means.len()];
    // A constant column divides by infinity, which gives 0.
    let divisors: Vec<f64> =
        scales.iter().map(|&scale| if scale > 0.0 { scale } else { f64::INFINITY }).collect();
    let means = graph.reals(Real::Double, &shape, means);
    let divisors = graph.reals(Real::Double, &shape, &divisors);
    let centred = graph.op("Sub", &[value, &means]);
    let standardised = graph.op("Div", &[&centred, &divisors]);
    finite_or(graph, &standardised, 0.0)
}

/// Where each number lies among evenly spaced quantiles; see `place` of the pipeline's steps.
fn place(graph: &mut Builder, value: &Val, knots: &[f64]) -> Val {
    let count = knots.len();
    let last = count.saturating_sub(1).max(1) as f64;
    let all_knots = graph.reals(Real::Double, &[1, count], knots);
    let table = graph.reals(Real::Double, &[count], knots);
    let number = |graph: &mut Builder, number: f64| graph.reals(Real::Double, &[], &[number]);
    let (zero, half, one) = (number(graph, 0.0), number(graph, 0.5), number(graph, 1.0));
    let (most, steps) = (number(graph, count as f64), number(graph, last));
    let counted = |graph: &mut Builder, operator: &str| {
        let is_below = graph.op(operator, &[&all_knots, value]);
        let is_below = graph.cast(&is_below, ElementType::Double);
        let axis = graph.integers(&[1], &[1]);
        graph.op("ReduceSum", &[&is_below, &axis])
    };
    let below = counted(graph, "Less");
    let not_above = counted(graph, "LessOrEqual");
    let end = number(graph, (count - 1) as f64);
    let knot = |graph: &mut Builder, at: &Val| {
        let at = graph.op("Clip", &[at, &zero, &end]);
        let at = graph.cast(&at, ElementType::Int64);
        let knot = graph.op("Gather", &[&table, &at]);
        graph.op("Mul", &[&knot, &half])
    };
    let before = graph.op("Sub", &[&below, &one]);
    let (left, right) = (knot(graph, &before), knot(graph, &below));
    // Halves, so that no difference overflows.
    let halved = graph.op("Mul", &[value, &half]);
    let (way, gap) = (graph.op("Sub", &[&halved, &left]), graph.op("Sub", &[&right, &left]));
    let between = graph.op("Div", &[&way, &gap]);
    let between = graph.op("Add", &[&before, &between]);
    // Of equal quantiles it is the middle.
    let middle = graph.op("Add", &[&before, &not_above]);
    let middle = graph.op("Mul", &[&middle, &half]);
    let is_equal = graph.op("Less", &[&below, &not_above]);
    let share = graph.op("Where", &[&is_equal, &middle, &between]);
    let share = graph.op("Div", &[&share, &steps]);
    let is_over = graph.op("Equal", &[&not_above, &most]);
    let share = graph.op("Where", &[&is_over, &one, &share]);
    let is_under = graph.op("Less", &[&below, &half]);
    let share = graph.op("Where", &[&is_under, &zero, &share]);
    let share = finite_or(graph, &share, 0.5);
    let share = graph.op("Clip", &[&share, &zero, &one]);
    let centred = graph.op("Sub", &[&share, &half]);
    let width = number(graph, UNIT_UNIFORM);
    graph.op("Mul", &[&centred, &width])
}

/// Which values are finite. Comparing with NaN is false, so that one comparison finds all.
fn is_finite(graph: &mut Builder, value: &Val) -> Val {
    let infinity = graph.reals(Real::Double, &[], &[f64::INFINITY]);
    let size = graph.op("Abs", &[value]);
    graph.op("Less", &[&size, &infinity])
}

/// `value` where it is finite, else `other`; 64 bits.
pub(super) fn finite_or(graph: &mut Builder, value: &Val, other: f64) -> Val {
    let is_finite = is_finite(graph, value);
    let other = graph.reals(Real::Double, &[], &[other]);
    graph.op("Where", &[&is_finite, value, &other])
}

/// A column for each level of a truth value.
fn truths(graph: &mut Builder, input: &Val, levels: &[String]) -> Val {
    let cells: Vec<Val> = levels
        .iter()
        .map(|level| {
            if level == "true" {
                return graph.cast(input, ElementType::Double);
            }
            let opposite = graph.op("Not", &[input]);
            graph.cast(&opposite, ElementType::Double)
        })
        .collect();
    graph.concat(&cells, 1)
}

/// The position of each text in `levels`, counted from `first`; `unknown` where it is not there.
fn code(graph: &mut Builder, input: &Val, levels: &[String], first: i64, unknown: i64) -> Val {
    graph.node(
        ML,
        "LabelEncoder",
        &[input],
        vec![
            ("keys_strings", Attr::Texts(levels.to_vec())),
            ("values_int64s", Attr::Ints((first..).take(levels.len()).collect())),
            ("default_int64", Attr::Int(unknown)),
        ],
    )
}

/// A column for each of `known`: 1 where the code is that.
fn which(graph: &mut Builder, code: &Val, known: &[i64]) -> Val {
    let known = graph.integers(&[1, known.len()], known);
    let is_known = graph.op("Equal", &[code, &known]);
    graph.cast(&is_known, ElementType::Double)
}
