//! Wasserstein-1 distance: how far, in the unit of the feature, mass has to travel.

use super::divergence::check_bins;
use super::error::StatError;

/// Wasserstein-1 distance of two sorted samples, `∫ |F_a − F_b| dx`.
///
/// # Arguments
///
/// * `a`, `b`: finite values in ascending order.
///
/// # Returns
///
/// A value in `[0, f64::MAX]`, in the unit of the values; a distance beyond the largest number is returned as that
/// number.
///
/// # Errors
///
/// * [`StatError::TooFewObservations`] if a sample is empty.
/// * [`StatError::NotFinite`] if a value is NaN or infinite, [`StatError::Unsorted`] if the order is another.
///
/// # Source
///
/// Vallender (1974), doi:10.1137/1118101. Agrees with `scipy.stats.wasserstein_distance`.
pub fn wasserstein_sorted(a: &[f64], b: &[f64]) -> Result<f64, StatError> {
    if a.is_empty() || b.is_empty() {
        return Err(StatError::TooFewObservations { needed: 1, got: 0 });
    }
    check_ascending(a, "values")?;
    check_ascending(b, "values")?;
    let unit = Unit::spanning(a[0].min(b[0]), a[a.len() - 1].max(b[b.len() - 1]));
    let (mut in_a, mut in_b, mut sum) = (0, 0, 0.0);
    let mut previous = a[0].min(b[0]);
    while in_a < a.len() || in_b < b.len() {
        // The end of a sample counts as past every value of the other.
        let next = match (a.get(in_a), b.get(in_b)) {
            (Some(&x), Some(&y)) => x.min(y),
            (Some(&x), None) | (None, Some(&x)) => x,
            (None, None) => break,
        };
        let gap = in_a as f64 / a.len() as f64 - in_b as f64 / b.len() as f64;
        sum += gap.abs() * unit.width(previous, next);
        while a.get(in_a).is_some_and(|&x| x <= next) {
            in_a += 1;
        }
        while b.get(in_b).is_some_and(|&y| y <= next) {
            in_b += 1;
        }
        previous = next;
    }
    Ok(unit.restore(sum))
}

/// Wasserstein-1 distance of two histograms, with the mass of a cell spread evenly over it.
///
/// # Arguments
///
/// * `edges`: inner edges, ascending, shape `[n_cells − 1]`; cell `j` is `(edges[j−1], edges[j]]`.
/// * `low`, `high`: where the first cell begins and the last one ends. An end inside the edges gives its cell no width.
/// * `reference`, `current`: observations per cell, shape `[n_cells]`.
///
/// # Returns
///
/// A value in `[0, f64::MAX]`, in the unit of the edges; a distance beyond the largest number is returned as that
/// number. It differs from the distance of the raw values by at most one cell's width, weighted by mass.
///
/// # Errors
///
/// * [`StatError::BinMismatch`] if the histograms differ in shape, [`StatError::EdgeMismatch`] if the edges do not make
///   as many cells.
/// * [`StatError::NotFinite`], [`StatError::Unsorted`] for edges or ends that are not finite and ascending.
/// * [`StatError::TooFewObservations`] if either side has no observations.
///
/// # Source
///
/// Vallender (1974), doi:10.1137/1118101, applied to piecewise linear distribution functions.
pub fn wasserstein_from_cells(
    edges: &[f64],
    low: f64,
    high: f64,
    reference: &[u64],
    current: &[u64],
) -> Result<f64, StatError> {
    check_bins(reference.len(), current.len())?;
    if edges.len() + 1 != reference.len() {
        return Err(StatError::EdgeMismatch { edges: edges.len(), cells: reference.len() });
    }
    check_ascending(edges, "edges")?;
    if !(low.is_finite() && high.is_finite()) {
        return Err(StatError::NotFinite("ends"));
    }
    let first = edges.first().map_or(low, |&edge| edge.min(low));
    let last = edges.last().map_or(high.max(low), |&edge| edge.max(high));
    let unit = Unit::spanning(first, last);
    let gaps = cumulative_gaps(reference, current)?;
    let starts = std::iter::once(first).chain(edges.iter().copied());
    let ends = edges.iter().copied().chain(std::iter::once(last));
    let (mut sum, mut before) = (0.0, 0.0);
    for ((start, end), after) in starts.zip(ends).zip(gaps) {
        sum += mean_absolute(before, after) * unit.width(start, end);
        before = after;
    }
    Ok(unit.restore(sum))
}

/// `Fn − F0` at the right end of each cell.
///
/// Shared with the Kolmogorov–Smirnov statistic, which reads the same function at the same places.
pub(super) fn cumulative_gaps<'a>(
    reference: &'a [u64],
    current: &'a [u64],
) -> Result<impl Iterator<Item = f64> + use<'a>, StatError> {
    check_bins(reference.len(), current.len())?;
    let total = |counts: &[u64]| counts.iter().map(|&count| u128::from(count)).sum::<u128>();
    let (n_reference, n_current) = (total(reference), total(current));
    if n_reference == 0 || n_current == 0 {
        return Err(StatError::TooFewObservations { needed: 1, got: 0 });
    }
    let below = (0_u128, 0_u128);
    Ok(reference.iter().zip(current).scan(below, move |below, (&reference, &current)| {
        below.0 += u128::from(reference);
        below.1 += u128::from(current);
        Some(below.1 as f64 / n_current as f64 - below.0 as f64 / n_reference as f64)
    }))
}

/// Refuses values that are not finite and ascending.
fn check_ascending(values: &[f64], what: &'static str) -> Result<(), StatError> {
    if values.iter().any(|value| !value.is_finite()) {
        Err(StatError::NotFinite(what))
    } else if values.is_sorted() {
        Ok(())
    } else {
        Err(StatError::Unsorted(what))
    }
}

/// Mean of `|g|` over a cell where `g` runs linearly from `start` to `end`.
fn mean_absolute(start: f64, end: f64) -> f64 {
    let size = start.abs() + end.abs();
    if start * end < 0.0 {
        // Two triangles that meet where the line crosses 0.
        0.5 * (start * start + end * end) / size
    } else {
        0.5 * size
    }
}

/// The unit in which widths are added up: halved only where the whole span would overflow.
struct Unit(f64);

impl Unit {
    /// Chooses the unit for values in `[low, high]`.
    fn spanning(low: f64, high: f64) -> Self {
        Self(if (high - low).is_finite() { 1.0 } else { 0.5 })
    }

    /// `end − start` in this unit.
    fn width(&self, start: f64, end: f64) -> f64 {
        (end * self.0 - start * self.0).max(0.0)
    }

    /// A sum of widths, back in the unit of the values.
    fn restore(&self, sum: f64) -> f64 {
        (sum / self.0).min(f64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::golden::{self, assert_distance, histogram_pair};
    use super::*;

    #[test]
    fn distances_are_those_of_scipy() {
        let mut checked = 0;
        for (name, case) in golden::numeric() {
            if let (Some(a), Some(b), Some(expected)) = (case.reference, case.current, case.wasserstein) {
                assert_distance(wasserstein_sorted(&a, &b).unwrap(), expected, &name);
                checked += 1;
            }
        }
        assert!(checked > 25, "{checked} cases");
    }

    #[track_caller]
    fn check_cells(edges: &[f64], low: f64, high: f64, reference: &[u64], current: &[u64], expected: f64) {
        let actual = wasserstein_from_cells(edges, low, high, reference, current).unwrap();
        assert_distance(actual, expected, format_args!("{edges:?}"));
    }

    #[test]
    fn mass_is_spread_evenly_over_its_cell() {
        // One whole cell to the right; half of the mass one cell to the right; the first to the last of three.
        check_cells(&[1.0], 0.0, 2.0, &[10, 0], &[0, 20], 1.0);
        check_cells(&[1.0], 0.0, 2.0, &[10, 0], &[10, 10], 0.5);
        check_cells(&[1.0, 3.0], 0.0, 4.0, &[5, 0, 0], &[0, 0, 5], 3.0);
        // The gap changes sign inside the middle cell: 2 (¼ + ¼) / (2 · 1) there, ¼ on each side of it.
        check_cells(&[1.0, 3.0], 0.0, 4.0, &[1, 0, 1], &[0, 2, 0], 1.0);
        // Ends inside the edges give no width; a single cell gives no distance.
        check_cells(&[1.0, 3.0], 2.0, 2.5, &[5, 0, 0], &[0, 0, 5], 2.0);
        check_cells(&[], 0.0, 1.0, &[5], &[7], 0.0);
    }

    #[test]
    fn large_values_do_not_overflow() {
        check_cells(&[0.0], -1e300, 1e300, &[1, 0], &[0, 1], 1e300);
        check_cells(&[0.0], f64::MIN, f64::MAX, &[1, 0], &[0, 1], f64::MAX);
        assert_eq!(wasserstein_sorted(&[f64::MIN], &[f64::MAX]), Ok(f64::MAX));
        assert_distance(wasserstein_sorted(&[f64::MIN, 0.0], &[0.0, f64::MAX]).unwrap(), f64::MAX, "halves");
    }

    #[test]
    fn refuses_what_has_no_distance() {
        assert_eq!(wasserstein_sorted(&[], &[1.0]), Err(StatError::TooFewObservations { needed: 1, got: 0 }));
        assert_eq!(wasserstein_sorted(&[2.0, 1.0], &[1.0]), Err(StatError::Unsorted("values")));
        assert_eq!(wasserstein_sorted(&[f64::NAN], &[1.0]), Err(StatError::NotFinite("values")));
        let of_cells =
            |edges: &[f64], high, current: &[u64]| wasserstein_from_cells(edges, 0.0, high, &[1, 1], current);
        assert_eq!(of_cells(&[1.0], 2.0, &[1]), Err(StatError::BinMismatch { reference: 2, current: 1 }));
        assert_eq!(of_cells(&[], 2.0, &[1, 1]), Err(StatError::EdgeMismatch { edges: 0, cells: 2 }));
        assert_eq!(of_cells(&[1.0], f64::NAN, &[1, 1]), Err(StatError::NotFinite("ends")));
        assert_eq!(of_cells(&[1.0], 2.0, &[0, 0]), Err(StatError::TooFewObservations { needed: 1, got: 0 }));
    }

    fn sample() -> impl Strategy<Value = Vec<f64>> {
        prop::collection::vec(-50.0..50.0_f64, 1..60).prop_map(|mut values| {
            values.sort_by(f64::total_cmp);
            values
        })
    }

    proptest! {
        #[test]
        fn is_a_metric_that_follows_a_shift(a in sample(), b in sample(), c in sample(), by in 0.0..9.0_f64) {
            let distance = |x: &[f64], y: &[f64]| wasserstein_sorted(x, y).unwrap();
            prop_assert!(distance(&a, &a).abs() < f64::EPSILON);
            prop_assert!((distance(&a, &b) - distance(&b, &a)).abs() < 1e-9);
            prop_assert!(distance(&a, &c) <= distance(&a, &b) + distance(&b, &c) + 1e-9);
            let moved: Vec<f64> = a.iter().map(|value| value + by).collect();
            prop_assert!((distance(&a, &moved) - by).abs() < 1e-9);
        }

        #[test]
        fn cells_are_right_within_their_width(a in sample(), b in sample(), cells in 1..60_u32) {
            let width = 100.0 / f64::from(cells);
            let edges: Vec<f64> = (1..cells).map(|cell| -50.0 + width * f64::from(cell)).collect();
            let count = |values: &[f64]| {
                let mut counts = vec![0; edges.len() + 1];
                for value in values {
                    counts[edges.partition_point(|edge| edge < value)] += 1;
                }
                counts
            };
            let binned = wasserstein_from_cells(&edges, -50.0, 50.0, &count(&a), &count(&b)).unwrap();
            prop_assert!((binned - wasserstein_sorted(&a, &b).unwrap()).abs() <= width + 1e-9);
        }

        #[test]
        fn is_finite_and_symmetric_for_any_counts_and_ends(
            (a, b) in histogram_pair(), low in any::<f64>(), high in any::<f64>()
        ) {
            let edges: Vec<f64> = (1..a.len()).map(|edge| edge as f64).collect();
            if low.is_finite() && high.is_finite() {
                let there = wasserstein_from_cells(&edges, low, high, &a, &b).unwrap();
                let back = wasserstein_from_cells(&edges, low, high, &b, &a).unwrap();
                prop_assert!((0.0..=f64::MAX).contains(&there));
                prop_assert!(there - back <= 1e-9 * there && back - there <= 1e-9 * back);
                prop_assert!(wasserstein_from_cells(&edges, low, high, &a, &a).unwrap() == 0.0);
            }
        }
    }
}
