//! `statistics.json`: the distributions that Model Monitor kept of its reference data.
//!
//! A numeric feature is kept as a KLL sketch: lists of values in which an item of list `i` stands for `2^i` rows. With a
//! few thousand rows or less the sketch holds every value; with more it is a sample whose ranks are off by a percent or
//! so. Where there is no sketch, the ten buckets are all there is.
//!
//! How far a sketch's ranks are off follows from its `k`: with 99 % confidence under `2.446 / k^0.9433`, which Apache
//! `DataSketches` measured for its KLL sketch (1.65 % for the `k` of 200 that it documents). Deequ's sketches differ in
//! how fast capacities shrink, 0.64 against 2/3 a level, which the figure leaves out.
//!
//! # Source
//!
//! Karnin, Lang and Liberty (2016), arXiv:1603.05346, as Deequ writes it.

use std::collections::{BTreeMap, BTreeSet};

use super::ImportError;
use super::json::{At, parse};
use crate::expectations::words::{grouped, percent};
use crate::expectations::{MAX_ALLOWED, MAX_COLUMNS};
use crate::model::FeatureKind;

/// Most lists of a sketch: the weight of the last has to be a count of rows.
const MAX_LEVELS: usize = 60;
/// Most items of one list of a sketch.
const MAX_ITEMS: usize = 1_000_000;
/// Most buckets of a feature.
const MAX_BUCKETS: usize = 10_000;
/// Points over which the rows of a bucket are spread.
const POINTS_PER_BUCKET: u64 = 100;
/// Share by which the weights of a sketch may differ from the rows it stands for.
const WEIGHT_SLACK: f64 = 0.01;

/// Reference data as far as a `statistics.json` has kept them.
#[derive(Debug, Clone, PartialEq)]
pub struct ImportedStatistics {
    /// Rows of the reference data.
    pub rows: u64,
    /// The features, in the file's order.
    pub columns: Vec<ImportedColumn>,
    /// What was lost or is not exact: one sentence each, for the user.
    pub notes: Vec<String>,
}

/// One feature.
#[derive(Debug, Clone, PartialEq)]
pub struct ImportedColumn {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: FeatureKind,
    /// Whether all its values were whole numbers.
    pub integer: bool,
    /// Rows with a value.
    pub count: u64,
    /// Rows without one.
    pub missing: u64,
    /// The distribution.
    pub values: ImportedValues,
}

/// The distribution of a feature.
#[derive(Debug, Clone, PartialEq)]
pub enum ImportedValues {
    /// A numeric feature.
    Numbers {
        /// Finite values in ascending order, each once, and the rows they stand for.
        weighted: Vec<(f64, u64)>,
        /// Mean of all rows, where stated.
        mean: Option<f64>,
        /// Standard deviation of all rows, divided by their number and not one less, where stated.
        std_dev: Option<f64>,
        /// Least value, where stated.
        min: Option<f64>,
        /// Greatest value, where stated.
        max: Option<f64>,
        /// How far a share of rows up to any value can be off, in `[0, 1]`; 0 when the sketch holds every value.
        rank_error: f64,
    },
    /// A categorical or boolean feature.
    Categories {
        /// Rows of each category.
        counts: BTreeMap<String, u64>,
        /// Rows of categories that the file does not name.
        unnamed: u64,
        /// Distinct categories, where stated.
        distinct: Option<u64>,
    },
}

/// Reads a `statistics.json`.
///
/// # Errors
///
/// [`ImportError`] with the JSON path of the first field that is known and malformed.
pub fn import_statistics(text: &str) -> Result<ImportedStatistics, ImportError> {
    let document = parse(text)?;
    let root = At::root(&document);
    let stated = match root.get("dataset")? {
        Some(dataset) => dataset.get("item_count")?.map(|at| at.count()).transpose()?,
        None => None,
    };
    let mut read = ImportedStatistics { rows: 0, columns: Vec::new(), notes: Vec::new() };
    let mut seen = BTreeSet::new();
    for feature in root.need("features")?.list(MAX_COLUMNS)? {
        let name = feature.need("name")?.text()?;
        if name.is_empty() || !seen.insert(name) {
            return Err(feature.problem(format!("expected a name that occurs once, found `{name}`")));
        }
        if let Some(numbers) = feature.get("numerical_statistics")? {
            read.columns.push(numeric(&feature, name, &numbers, &mut read.notes)?);
        } else if let Some(texts) = feature.get("string_statistics")? {
            read.columns.push(categorical(&feature, name, &texts, &mut read.notes)?);
        } else {
            read.notes.push(format!("`{name}` has no statistics and is left out"));
        }
    }
    let largest = read.columns.iter().map(|column| column.count.saturating_add(column.missing)).max();
    read.rows = stated.or(largest).unwrap_or(0);
    Ok(read)
}

fn presence(statistics: &At<'_>) -> Result<(u64, u64), ImportError> {
    let common = statistics.need("common")?;
    let missing = common.get("num_missing")?.map_or(Ok(0), |at| at.count())?;
    Ok((common.need("num_present")?.count()?, missing))
}

fn numeric(
    feature: &At<'_>,
    name: &str,
    numbers: &At<'_>,
    notes: &mut Vec<String>,
) -> Result<ImportedColumn, ImportError> {
    let (count, missing) = presence(numbers)?;
    let integer = feature.get("inferred_type")?.map(|at| at.text()).transpose()? == Some("Integral");
    let figure = |key: &str| numbers.get(key)?.map(|at| at.number()).transpose();
    let kll = match numbers.get("distribution")? {
        Some(distribution) => distribution.get("kll")?,
        None => None,
    };
    let (sketch, buckets) = match &kll {
        Some(kll) => (read_sketch(kll)?, read_buckets(kll, integer)?),
        None => (Vec::new(), Vec::new()),
    };
    let weight = |values: &[(f64, u64)]| values.iter().map(|(_, weight)| u128::from(*weight)).sum::<u128>();
    let fits = |values: &[(f64, u64)]| {
        !values.is_empty() && (weight(values) as f64 - count as f64).abs() <= WEIGHT_SLACK * count as f64
    };
    let (weighted, rank_error) = if fits(&sketch) {
        let error = kll.as_ref().map_or(Ok(1.0), sketch_error)?;
        (sketch, error)
    } else if !buckets.is_empty() {
        notes.push(format!(
            "`{name}` has no sketch of its {} values: they are spread evenly over its buckets, so that anything finer is \
             lost",
            grouped(count)
        ));
        let error = kll.as_ref().map_or(Ok(1.0), bucket_error)?;
        (buckets, error)
    } else {
        if count > 0 {
            notes.push(format!("`{name}` has neither a whole sketch nor buckets: its distribution is lost"));
        }
        (sketch, 1.0)
    };
    let values = ImportedValues::Numbers {
        weighted,
        mean: figure("mean")?,
        std_dev: figure("std_dev")?,
        min: figure("min")?,
        max: figure("max")?,
        rank_error,
    };
    Ok(ImportedColumn { name: name.to_owned(), kind: FeatureKind::Numeric, integer, count, missing, values })
}

/// The rank error of a sketch; 0 while it has never been compacted.
fn sketch_error(kll: &At<'_>) -> Result<f64, ImportError> {
    let Some(sketch) = kll.get("sketch")? else { return Ok(1.0) };
    let Some(data) = sketch.get("data")? else { return Ok(1.0) };
    let lengths = data
        .list(MAX_LEVELS)?
        .map(|items| Ok(items.list(MAX_ITEMS)?.count()))
        .collect::<Result<Vec<usize>, ImportError>>()?;
    if lengths.iter().skip(1).all(|&length| length == 0) {
        return Ok(0.0);
    }
    let stated = match sketch.get("parameters")? {
        Some(parameters) => parameters.get("k")?.map(|k| k.number()).transpose()?,
        None => None,
    };
    // No list is longer than k, so that the longest one stands in for it on the safe side.
    let k = stated.unwrap_or_else(|| lengths.iter().copied().max().unwrap_or(0) as f64);
    Ok((2.446 / k.max(1.0).powf(0.9433)).min(1.0))
}

/// Nothing is known of how the values of a bucket lie in it.
fn bucket_error(kll: &At<'_>) -> Result<f64, ImportError> {
    let Some(buckets) = kll.get("buckets")? else { return Ok(1.0) };
    let (mut total, mut largest) = (0_u64, 0_u64);
    for bucket in buckets.list(MAX_BUCKETS)? {
        let count = bucket.need("count")?.count()?;
        total = total.saturating_add(count);
        largest = largest.max(count);
    }
    Ok(largest as f64 / total.max(1) as f64)
}

fn read_sketch(kll: &At<'_>) -> Result<Vec<(f64, u64)>, ImportError> {
    let Some(sketch) = kll.get("sketch")? else { return Ok(Vec::new()) };
    let Some(data) = sketch.get("data")? else { return Ok(Vec::new()) };
    let mut values = Vec::new();
    for (level, items) in data.list(MAX_LEVELS)?.enumerate() {
        for item in items.list(MAX_ITEMS)? {
            values.push((item.number()?, 1_u64 << level));
        }
    }
    Ok(merged(values))
}

fn read_buckets(kll: &At<'_>, integer: bool) -> Result<Vec<(f64, u64)>, ImportError> {
    let Some(buckets) = kll.get("buckets")? else { return Ok(Vec::new()) };
    let mut values = Vec::new();
    for bucket in buckets.list(MAX_BUCKETS)? {
        let (low, high) = (bucket.need("lower_bound")?.number()?, bucket.need("upper_bound")?.number()?);
        if low > high {
            return Err(
                bucket.problem(format!("expected lower_bound {low} to be at most upper_bound {high}"))
            );
        }
        let count = bucket.need("count")?.count()?;
        let points = count.min(POINTS_PER_BUCKET);
        for point in 0..points {
            // The rows that do not divide evenly go to the first points.
            let weight = count / points + u64::from(point < count % points);
            let at = (point as f64 + 0.5) / points as f64;
            let value = low * (1.0 - at) + high * at;
            values.push((if integer { value.round() } else { value }, weight));
        }
    }
    Ok(merged(values))
}

/// In ascending order, with equal values as one.
fn merged(mut values: Vec<(f64, u64)>) -> Vec<(f64, u64)> {
    values.sort_by(|left, right| left.0.total_cmp(&right.0));
    let mut merged: Vec<(f64, u64)> = Vec::with_capacity(values.len());
    for (value, weight) in values {
        // 0 and −0 are one value.
        let value = value + 0.0;
        match merged.last_mut() {
            Some((last, sum)) if last.total_cmp(&value).is_eq() => *sum = sum.saturating_add(weight),
            _ => merged.push((value, weight)),
        }
    }
    merged
}

fn categorical(
    feature: &At<'_>,
    name: &str,
    texts: &At<'_>,
    notes: &mut Vec<String>,
) -> Result<ImportedColumn, ImportError> {
    let (count, missing) = presence(texts)?;
    let boolean = feature.get("inferred_type")?.map(|at| at.text()).transpose()? == Some("Boolean");
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    if let Some(distribution) = texts.get("distribution")?
        && let Some(categories) = distribution.get("categorical")?
        && let Some(buckets) = categories.get("buckets")?
    {
        for bucket in buckets.list(MAX_ALLOWED)? {
            let sum = counts.entry(bucket.need("value")?.text()?.to_owned()).or_default();
            *sum = sum.saturating_add(bucket.need("count")?.count()?);
        }
    }
    let named = counts.values().fold(0_u64, |sum, count| sum.saturating_add(*count));
    let unnamed = count.saturating_sub(named);
    if unnamed > 0 {
        notes.push(format!(
            "`{name}`: {} of {} values ({}) are of categories that the file does not name",
            grouped(unnamed),
            grouped(count),
            percent(unnamed as f64 / count as f64)
        ));
    }
    let kind = if boolean { FeatureKind::Boolean } else { FeatureKind::Categorical };
    let distinct = texts.get("distinct_count")?.map(|at| at.count()).transpose()?;
    let values = ImportedValues::Categories { counts, unnamed, distinct };
    Ok(ImportedColumn { name: name.to_owned(), kind, integer: false, count, missing, values })
}
