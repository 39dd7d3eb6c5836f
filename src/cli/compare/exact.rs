//! `--exact`: KS and Wasserstein from the raw values of both sides, a few columns in memory at a time.

use std::sync::Mutex;

use anyhow::{anyhow, bail};

use super::progress::Progress;
use super::sinks::Taker;
use super::sort::sort;
use crate::baseline::{Baseline, BaselineColumn};
use crate::drift::{DriftReport, FeatureReport};
use crate::frames::{FrameError, Pace, Reading, Source, Want, in_parallel};
use crate::model::FeatureKind;
use crate::stats::natural_variation;
use crate::stats::{self, VariationKind};

/// Numbers that are held at once, over all columns and both sides: 384 MiB.
const MOST_NUMBERS: usize = 48 << 20;

/// Puts the exact statistics in the place of those read from the grid.
pub(super) fn apply(
    report: &mut DriftReport,
    baseline: &Baseline,
    (reference, current): (&Source, &Source),
    pace: Pace<'_>,
    progress: &Progress,
) -> anyhow::Result<()> {
    let numeric: Vec<(&BaselineColumn, &mut FeatureReport)> = baseline
        .columns()
        .iter()
        .zip(&mut report.features)
        .filter(|(column, _)| column.layout.kind == FeatureKind::Numeric)
        .collect();
    let n_columns = numeric.len();
    progress.begin("reading raw values", reference.work(n_columns) + current.work(n_columns));
    let columnar = reference.is_columnar() && current.is_columnar();
    // Where a column cannot be read alone, all are held together.
    let together = if columnar { pace.threads.clamp(1, n_columns.max(1)) } else { n_columns.max(1) };
    let limit = MOST_NUMBERS / (2 * together);
    for source in [reference, current] {
        let rows = source.rows().unwrap_or(0);
        if rows > limit as u64 && n_columns > 0 {
            bail!(
                "`--exact` would hold {rows} values of a column of `{}` in memory, and here {limit} are the most; leave it out: without it KS is within its stated bound, or take fewer `--threads`",
                source.label()
            );
        }
    }
    if columnar {
        let alone = Pace { threads: 1, ..pace };
        return in_parallel(pace.threads, numeric.into_iter(), |(column, feature)| {
            let name = column.layout.name.as_str();
            let a = raw(reference, &[name], limit, alone)?;
            let b = raw(current, &[name], limit, alone)?;
            if let (Some(a), Some(b)) = (a.into_iter().next(), b.into_iter().next()) {
                replace(column, feature, &a, &b);
            }
            anyhow::Ok(())
        });
    }
    let names: Vec<&str> = numeric.iter().map(|(column, _)| column.layout.name.as_str()).collect();
    let sides = raw(reference, &names, limit, pace)?.into_iter().zip(raw(current, &names, limit, pace)?);
    let work = Mutex::new(numeric.into_iter().zip(sides));
    in_parallel(pace.threads, 0..n_columns, |_| {
        let next = work.lock().map_err(|_| anyhow!("a thread was lost"))?.next();
        if let Some(((column, feature), (a, b))) = next {
            replace(column, feature, &a, &b);
        }
        anyhow::Ok(())
    })
}

/// The finite values of columns, in ascending order.
fn raw(source: &Source, names: &[&str], limit: usize, pace: Pace<'_>) -> Result<Vec<Vec<f64>>, FrameError> {
    let mut readings: Vec<Reading<'_, Taker>> = names
        .iter()
        .map(|name| Reading {
            name,
            want: Want::Kind(FeatureKind::Numeric),
            sink: Taker::Raw { values: Vec::new(), limit, name: (*name).to_owned() },
        })
        .collect();
    source.read(&mut readings, pace)?;
    let sorted = readings.into_iter().map(|reading| match reading.sink {
        Taker::Raw { mut values, .. } => {
            sort(&mut values);
            values
        }
        _ => Vec::new(),
    });
    Ok(sorted.collect())
}

fn replace(column: &BaselineColumn, feature: &mut FeatureReport, a: &[f64], b: &[f64]) {
    let mut put = |name: &str, value: f64| {
        if value.is_finite() {
            feature.statistics.insert(name.to_owned(), value);
        }
    };
    if let Ok(ks) = stats::ks_statistic_sorted(a, b) {
        put("ks", ks);
        put("ks_error_bound", 0.0);
        let (n, n_reference) = (b.len() as u64, a.len() as u64);
        let independent = stats::ks_p_value_exact(ks, n, n_reference)
            .unwrap_or_else(|_| stats::ks_p_value_asymptotic(ks, n, n_reference));
        let p = match &column.ks_variation {
            Some(variation) => {
                let kind = VariationKind::KsSquared;
                natural_variation::p_value(kind, ks * ks, n, n_reference, independent, variation)
            }
            None => independent,
        };
        feature.p_values.insert("ks".to_owned(), p);
    }
    if let Ok(distance) = stats::wasserstein_sorted(a, b) {
        put("wasserstein", distance);
        if let Some(deviation) = column.profile.moments.deviation() {
            put("wasserstein_norm", distance / deviation);
        }
    }
}
