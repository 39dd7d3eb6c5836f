//! What one step is fitted from: seen once, in bounded memory.

use driftline::model::{Column, FeatureKind, Value, parse_time};
use driftline::retrain::pipeline::{Combination, DatePart, Pipeline, Step, level, number};
use driftline::retrain::spec::{FeatureSpec, FeaturesSpec, Imputation, Scaling};
use driftline::stats::Moments;

use super::sample::Sample;
use super::tally::Tally;
use crate::journal::{Halt, Journal};

/// Quantiles that a column is placed among, the ends included.
const KNOTS: usize = 201;

/// A step that is being fitted.
#[derive(Debug)]
pub(super) enum Fitter {
    Numeric(Numeric),
    Levels { name: String, kind: FeatureKind, tally: Tally },
    Dates { column: String, parts: Vec<DatePart>, usable: u64 },
    Pair { of: Combination, left: String, right: String, moments: Moments },
}

/// A numeric feature that is being fitted.
#[derive(Debug)]
pub(super) struct Numeric {
    name: String,
    imputation: Imputation,
    scaling: Scaling,
    indicator: bool,
    moments: Moments,
    /// Where quantiles are asked for.
    sample: Option<Sample>,
    missing: u64,
}

impl Fitter {
    pub(super) fn of_feature(spec: &FeaturesSpec, feature: &FeatureSpec, seed: u64) -> Self {
        let name = feature.name.clone();
        if feature.kind != FeatureKind::Numeric {
            return Self::Levels { name, kind: feature.kind, tally: Tally::default() };
        }
        let imputation = feature.imputation.unwrap_or(spec.imputation);
        let scaling = feature.scaling.unwrap_or(spec.scaling);
        let wants_quantiles = imputation == Imputation::Median || scaling == Scaling::Quantile;
        Self::Numeric(Numeric {
            name,
            imputation,
            scaling,
            indicator: feature.indicator.unwrap_or(spec.indicator),
            moments: Moments::new(),
            sample: wants_quantiles.then(|| Sample::new(seed)),
            missing: 0,
        })
    }

    pub(super) fn of_dates(column: &str, parts: &[DatePart]) -> Self {
        Self::Dates { column: column.to_owned(), parts: parts.to_vec(), usable: 0 }
    }

    pub(super) fn of_pair(of: Combination, left: &str, right: &str) -> Self {
        Self::Pair { of, left: left.to_owned(), right: right.to_owned(), moments: Moments::new() }
    }

    /// Learns from `rows` rows.
    pub(super) fn take(&mut self, rows: usize, columns: &[Column]) -> Result<(), Halt> {
        let values = |name: &str| {
            columns
                .iter()
                .find(|column| column.name == name)
                .map(|column| &column.values[..rows.min(column.values.len())])
                .ok_or_else(|| Halt::Failed(format!("feature `{name}` is in no column")))
        };
        match self {
            Self::Numeric(fitter) => {
                for value in values(&fitter.name)? {
                    match number(value) {
                        Some(number) => {
                            fitter.moments.update(number);
                            if let Some(sample) = &mut fitter.sample {
                                sample.update(number);
                            }
                        }
                        None => fitter.missing += 1,
                    }
                }
            }
            Self::Levels { name, kind, tally } => values(name)?
                .iter()
                .filter_map(|value| level(value, *kind))
                .for_each(|level| tally.update(&level)),
            Self::Dates { column, usable, .. } => {
                *usable += values(column)?.iter().filter(|value| parse_time(value).is_some()).count() as u64;
            }
            Self::Pair { of, left, right, moments } => {
                for (left, right) in values(left)?.iter().zip(values(right)?) {
                    let pair = number(left).zip(number(right));
                    if let Some(combined) = pair.and_then(|(left, right)| of.of(left, right)) {
                        moments.update(combined);
                    }
                }
            }
        }
        Ok(())
    }

    /// The fitted step; none where there was nothing to fit it to.
    pub(super) fn finish(self, spec: &FeaturesSpec, journal: &Journal) -> Option<Step> {
        let nothing = |what: &str, name: &str, of: &str| {
            journal.warn(format!("{what} `{name}` has no usable {of} in the training part and is left out"));
        };
        match self {
            Self::Numeric(fitter) => {
                if fitter.moments.count() == 0 {
                    nothing("feature", &fitter.name, "numeric value");
                    return None;
                }
                Some(fitter.finish(journal))
            }
            Self::Levels { name, kind, tally } => {
                let step = levels(&name, kind, tally, spec, journal);
                if step.is_none() {
                    nothing("feature", &name, &format!("{} value", kind.as_str()));
                }
                step
            }
            Self::Dates { column, parts, usable } => {
                if usable == 0 {
                    nothing("column", &column, "time");
                    return None;
                }
                Some(Step::Date { name: column, parts })
            }
            Self::Pair { of, left, right, moments } => {
                let name = format!("{left}{}{right}", of.sign());
                let Some((mean, scale)) = super::read(&moments) else {
                    nothing("interaction", &name, "value");
                    return None;
                };
                Some(Step::Interaction { of, left, right, name, mean, scale })
            }
        }
    }
}

impl Numeric {
    /// The step for a column that has a number.
    fn finish(self, journal: &Journal) -> Step {
        let Self { name, imputation, scaling, indicator, moments, sample, missing } = self;
        let (mean, deviation) = super::read(&moments).unwrap_or((0.0, 0.0));
        if deviation <= 0.0 {
            journal.warn(format!(
                "feature `{name}` is {mean} wherever it has a number in the training part, so no model learns from it"
            ));
        }
        let knots = sample.map(|sample| sample.quantiles(KNOTS)).unwrap_or_default();
        let middle = |index: usize| knots.get(index).copied().unwrap_or(mean) / 2.0;
        let median = middle(knots.len().saturating_sub(1) / 2) + middle(knots.len() / 2);
        let (offset, scale, knots) = match scaling {
            _ if deviation <= 0.0 => (mean, 0.0, Vec::new()),
            Scaling::Standard => (mean, deviation, Vec::new()),
            Scaling::MinMax => {
                // Halves, so that the range does not overflow.
                let half = moments.max() / 2.0 - moments.min() / 2.0;
                (moments.min(), (2.0 * half).min(f64::MAX), Vec::new())
            }
            Scaling::Quantile => (0.0, 1.0, knots),
        };
        let fill = match imputation {
            Imputation::Mean => mean,
            Imputation::Median => median,
        };
        // A second column that is 0 in every training row would only be weight without meaning.
        let indicator = indicator && missing > 0;
        let unfilled = |missing| Step::Numeric {
            name: name.clone(),
            mean: offset,
            scale,
            missing,
            knots: knots.clone(),
            indicator,
        };
        // The cell of the imputed number, as the step itself encodes it.
        let column = Column { name: name.as_str().into(), values: vec![Value::Number(fill)] };
        let cells = Pipeline { steps: vec![unfilled(0.0)] }.encode(1, &[column]).numbers;
        // What imputes the mean of a standardised column is exactly 0, though the mean may be rounded.
        let is_center = imputation == Imputation::Mean && scaling == Scaling::Standard;
        unfilled(if is_center { 0.0 } else { cells.first().copied().unwrap_or(0.0) })
    }
}

/// One-hot up to the limit, codes beyond it; none without any level.
fn levels(
    name: &str,
    kind: FeatureKind,
    tally: Tally,
    spec: &FeaturesSpec,
    journal: &Journal,
) -> Option<Step> {
    let error = tally.error();
    let mut ranked = tally.ranked();
    let limit = spec.one_hot_limit;
    if ranked.is_empty() && error == 0 {
        return None;
    }
    if error == 0 && (ranked.len() <= limit || kind == FeatureKind::Boolean) {
        let mut levels: Vec<String> = ranked.into_iter().map(|(level, _)| level).collect();
        levels.sort();
        return Some(Step::OneHot { name: name.to_owned(), kind, levels });
    }
    let known = ranked.len();
    // What is seen once is as good as unseen: from it the code of unseen levels is learned.
    ranked.retain(|(_, count)| *count > 1);
    ranked.truncate(spec.max_levels);
    let columns = ranked.len().min(limit);
    journal.warn(format!(
        "feature `{name}` has {}{known} levels; the {columns} commonest get a column, {} a code for embeddings, the \
         others count as unseen",
        if error > 0 { "more than " } else { "" },
        ranked.len()
    ));
    let mut places: Vec<usize> = (0..ranked.len()).collect();
    places.sort_by(|&a, &b| ranked[a].0.cmp(&ranked[b].0));
    let common =
        places.iter().enumerate().filter(|&(_, &rank)| rank < limit).map(|(index, _)| index).collect();
    let levels = places.into_iter().map(|rank| std::mem::take(&mut ranked[rank].0)).collect();
    Some(Step::Embedded { name: name.to_owned(), levels, common })
}
