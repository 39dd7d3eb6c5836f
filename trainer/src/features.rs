//! Fits the preprocessing on the training part, and on nothing else.

use std::collections::BTreeMap;

use driftline::model::{Column, FeatureKind};
use driftline::retrain::pipeline::{MAX_LEVELS, Pipeline, Step, level, number};
use driftline::retrain::spec::FeatureSpec;

use crate::journal::{Halt, Journal};

/// Fits one step per feature on the training part's `columns`; a feature with no usable value is left out.
pub(crate) fn fit(features: &[FeatureSpec], columns: &[Column], journal: &Journal) -> Result<Pipeline, Halt> {
    let mut steps = Vec::with_capacity(features.len());
    for feature in features {
        let Some(column) = columns.iter().find(|column| column.name == feature.name) else {
            return Err(Halt::Failed(format!("feature `{}` is in no column", feature.name)));
        };
        let step = match feature.kind {
            FeatureKind::Numeric => numeric(column),
            FeatureKind::Categorical | FeatureKind::Boolean => one_hot(column, feature.kind, journal),
        };
        match step {
            Some(step) => steps.push(step),
            None => journal.warn(format!(
                "feature `{}` has no usable {} value in the training part and is left out",
                feature.name,
                feature.kind.as_str()
            )),
        }
    }
    if steps.is_empty() {
        return Err(Halt::Failed("no feature has a usable value in the training part".to_owned()));
    }
    Ok(Pipeline { steps })
}

fn numeric(column: &Column) -> Option<Step> {
    let numbers: Vec<f64> = column.values.iter().filter_map(number).collect();
    let (mean, scale) = moments(&numbers)?;
    Some(Step::standard(column.name.as_str(), mean, scale))
}

/// Mean and standard deviation; the latter 0 where it is nothing but rounding. None without numbers.
pub(crate) fn moments(numbers: &[f64]) -> Option<(f64, f64)> {
    if numbers.is_empty() {
        return None;
    }
    let n = numbers.len() as f64;
    // Divided before summing, so that huge values do not overflow.
    let mean: f64 = numbers.iter().map(|number| number / n).sum();
    let variance: f64 = numbers.iter().map(|number| (number - mean) * ((number - mean) / n)).sum();
    let deviation = variance.sqrt();
    let is_usable = deviation.is_finite() && deviation > 1e-12 * mean.abs();
    Some((mean, if is_usable { deviation } else { 0.0 }))
}

fn one_hot(column: &Column, kind: FeatureKind, journal: &Journal) -> Option<Step> {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for level in column.values.iter().filter_map(|value| level(value, kind)) {
        *counts.entry(level.into_owned()).or_default() += 1;
    }
    if counts.is_empty() {
        return None;
    }
    if counts.len() > MAX_LEVELS {
        journal.warn(format!(
            "feature `{}` has {} levels; the {MAX_LEVELS} commonest get a column",
            column.name,
            counts.len()
        ));
    }
    let mut ranked: Vec<(String, u64)> = counts.into_iter().collect();
    ranked.sort_by(|(a, n), (b, m)| m.cmp(n).then_with(|| a.cmp(b)));
    ranked.truncate(MAX_LEVELS);
    let mut levels: Vec<String> = ranked.into_iter().map(|(level, _)| level).collect();
    levels.sort();
    Some(Step::OneHot { name: column.name.to_string(), kind, levels })
}

#[cfg(test)]
mod tests {
    use driftline::model::Value;

    use super::*;
    use crate::journal::{Event, Stop};

    fn column(name: &str, values: &[Value]) -> Column {
        Column { name: name.into(), values: values.to_vec() }
    }

    fn feature(name: &str, kind: FeatureKind) -> FeatureSpec {
        FeatureSpec { name: name.into(), kind }
    }

    #[test]
    fn numbers_are_imputed_with_the_mean_of_the_training_part() {
        let (journal, _) = Journal::new(Stop::default());
        let numbers = [Value::Number(1.0), Value::Missing, Value::Number(3.0), Value::Number(f64::NAN)];
        let columns = [column("x", &numbers)];
        let pipeline = fit(&[feature("x", FeatureKind::Numeric)], &columns, &journal).unwrap();
        assert_eq!(pipeline.steps, [Step::standard("x", 2.0, 1.0)]);
    }

    #[test]
    fn a_constant_column_is_zero_and_an_empty_one_is_left_out_aloud() {
        let (journal, mut events) = Journal::new(Stop::default());
        let constant = vec![Value::Number(0.1); 10];
        let columns = [column("k", &constant), column("none", &vec![Value::Missing; 10])];
        let wanted = [feature("k", FeatureKind::Numeric), feature("none", FeatureKind::Categorical)];
        let pipeline = fit(&wanted, &columns, &journal).unwrap();
        assert_eq!(pipeline.width(), 1);
        assert!(pipeline.encode(10, &columns).numbers.iter().all(|&cell| cell.abs() <= 0.0));
        let Some(Event::Line { is_warning: true, message }) = events.try_recv().ok() else { panic!() };
        assert!(message.contains("`none` has no usable categorical value"), "{message}");
        let nothing = fit(&wanted[1..], &columns, &journal).unwrap_err();
        assert!(matches!(nothing, Halt::Failed(_)));
    }

    #[test]
    fn the_commonest_levels_get_a_column() {
        let (journal, _) = Journal::new(Stop::default());
        let mut values: Vec<Value> = (0..100).map(|i| Value::Text(format!("rare{i:03}"))).collect();
        values.extend(vec![Value::Text("zz".into()); 5]);
        let columns = [column("c", &values)];
        let pipeline = fit(&[feature("c", FeatureKind::Categorical)], &columns, &journal).unwrap();
        assert_eq!(pipeline.width(), MAX_LEVELS);
        assert!(pipeline.column_names().contains(&"c=zz".to_owned()));
    }

    #[test]
    fn huge_numbers_do_not_overflow() {
        let (mean, scale) = moments(&[f64::MAX, f64::MAX, -f64::MAX]).unwrap();
        assert!(mean.is_finite() && scale.is_finite());
        assert!(moments(&[]).is_none());
    }
}
