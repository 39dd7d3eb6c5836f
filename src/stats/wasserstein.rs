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

/// Where the mass of the two open cells lies: the mean of the values in each, `None` without one.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct OpenCells {
    /// Mean of the values up to the first edge.
    pub low: Option<f64>,
    /// Mean of the values above the last edge.
    pub high: Option<f64>,
}

/// Wasserstein-1 distance of two histograms, with the mass of a cell between two edges spread evenly over it.
///
/// # Arguments
///
/// * `edges`: inner edges, ascending, shape `[n_cells − 1]`; cell `j` is `(edges[j−1], edges[j]]`.
/// * `reference`, `current`: observations per cell, shape `[n_cells]`, and the means of their open cells, finite. How far
///   a tail reaches beyond the last edge counts in full.
///
/// # Returns
///
/// A value in `[0, f64::MAX]`, in the unit of the edges; a distance beyond the largest number is returned as that
/// number. It differs from the distance of the raw values by at most one inner cell's width, weighted by mass, and by
/// what two open cells of one side hide when their distribution functions cross.
///
/// # Errors
///
/// * [`StatError::BinMismatch`] if the histograms differ in shape, [`StatError::EdgeMismatch`] if the edges do not make
///   as many cells.
/// * [`StatError::NotFinite`], [`StatError::Unsorted`] for edges or means that are not finite and ascending.
/// * [`StatError::TooFewObservations`] if either side has no observations.
///
/// # Source
///
/// Vallender (1974), doi:10.1137/1118101, applied to piecewise linear distribution functions; over an open cell
/// `∫ |Fn − F0|` is the difference of the two partial means.
pub fn wasserstein_from_cells(
    edges: &[f64],
    (reference, open_reference): (&[u64], OpenCells),
    (current, open_current): (&[u64], OpenCells),
) -> Result<f64, StatError> {
    check_bins(reference.len(), current.len())?;
    if edges.len() + 1 != reference.len() {
        return Err(StatError::EdgeMismatch { edges: edges.len(), cells: reference.len() });
    }
    check_ascending(edges, "edges")?;
    let means = [open_reference.low, open_reference.high, open_current.low, open_current.high];
    if means.iter().flatten().any(|mean| !mean.is_finite()) {
        return Err(StatError::NotFinite("means of the open cells"));
    }
    let gaps = cumulative_gaps(reference, current)?;
    let (Some(&first), Some(&last)) = (edges.first(), edges.last()) else {
        // One cell, open on both sides: all that is known are the two means.
        let (a, b) = (open_reference.low.unwrap_or(0.0), open_current.low.unwrap_or(0.0));
        let unit = Unit::spanning(a.min(b), a.max(b));
        return Ok(unit.restore(unit.width(a.min(b), a.max(b))));
    };
    let low = means.iter().flatten().copied().fold(first, f64::min);
    let high = means.iter().flatten().copied().fold(last, f64::max);
    let unit = Unit::spanning(low, high);
    let beyond = |counts: &[u64], open: OpenCells| {
        let total = counts.iter().map(|&count| count as f64).sum::<f64>();
        let share = |cell: usize| counts[cell] as f64 / total;
        let below = open.low.map_or(0.0, |mean| share(0) * unit.width(mean, first));
        let above = open.high.map_or(0.0, |mean| share(counts.len() - 1) * unit.width(last, mean));
        [below, above]
    };
    let (ours, theirs) = (beyond(reference, open_reference), beyond(current, open_current));
    let mut sum = (ours[0] - theirs[0]).abs() + (ours[1] - theirs[1]).abs();
    // From the gap at the first edge on, cell by cell.
    let mut before = None;
    for (gap, &end) in gaps.zip(edges) {
        if let Some((start, gap_at_start)) = before {
            sum += mean_absolute(gap_at_start, gap) * unit.width(start, end);
        }
        before = Some((end, gap));
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

    /// Cells whose open ends are filled evenly up to `low` and `high`.
    fn even(edges: &[f64], low: f64, high: f64) -> OpenCells {
        let middle = |a: f64, b: f64| a / 2.0 + b / 2.0;
        OpenCells {
            low: Some(edges.first().map_or(middle(low, high), |&edge| middle(low, edge))),
            high: Some(edges.last().map_or(middle(low, high), |&edge| middle(edge, high))),
        }
    }

    #[track_caller]
    fn check_cells(edges: &[f64], low: f64, high: f64, reference: &[u64], current: &[u64], expected: f64) {
        let open = even(edges, low, high);
        let actual = wasserstein_from_cells(edges, (reference, open), (current, open)).unwrap();
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
        check_cells(&[], 0.0, 1.0, &[5], &[7], 0.0);
    }

    #[test]
    fn a_tail_that_moves_is_seen_however_far() {
        let at = |mean| OpenCells { low: Some(0.0), high: Some(mean) };
        for far in [10.0, 1e6, 1e300] {
            let moved = wasserstein_from_cells(&[0.5, 1.0], (&[5, 0, 5], at(2.0)), (&[5, 0, 5], at(far)));
            assert_distance(moved.unwrap(), (far - 2.0) / 2.0, far);
        }
    }

    #[test]
    fn large_values_do_not_overflow() {
        check_cells(&[0.0], -1e300, 1e300, &[1, 0], &[0, 1], 1e300);
        let open = OpenCells { low: Some(f64::MIN), high: Some(f64::MAX) };
        let furthest = wasserstein_from_cells(&[0.0], (&[1, 0], open), (&[0, 1], open));
        assert_eq!(furthest, Ok(f64::MAX));
        assert_eq!(wasserstein_sorted(&[f64::MIN], &[f64::MAX]), Ok(f64::MAX));
        assert_distance(wasserstein_sorted(&[f64::MIN, 0.0], &[0.0, f64::MAX]).unwrap(), f64::MAX, "halves");
    }

    #[test]
    fn refuses_what_has_no_distance() {
        assert_eq!(wasserstein_sorted(&[], &[1.0]), Err(StatError::TooFewObservations { needed: 1, got: 0 }));
        assert_eq!(wasserstein_sorted(&[2.0, 1.0], &[1.0]), Err(StatError::Unsorted("values")));
        assert_eq!(wasserstein_sorted(&[f64::NAN], &[1.0]), Err(StatError::NotFinite("values")));
        let of_cells = |edges: &[f64], high, current: &[u64]| {
            let open = OpenCells { low: Some(0.0), high: Some(high) };
            wasserstein_from_cells(edges, (&[1, 1], open), (current, open))
        };
        assert_eq!(of_cells(&[1.0], 2.0, &[1]), Err(StatError::BinMismatch { reference: 2, current: 1 }));
        assert_eq!(of_cells(&[], 2.0, &[1, 1]), Err(StatError::EdgeMismatch { edges: 0, cells: 2 }));
        let refused = Err(StatError::NotFinite("means of the open cells"));
        assert_eq!(of_cells(&[1.0], f64::NAN, &[1, 1]), refused);
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
            let open = |values: &[f64]| {
                let mean = |cell: usize| {
                    let inside = values.iter().filter(|v| edges.partition_point(|edge| edge < *v) == cell);
                    let inside: Vec<f64> = inside.copied().collect();
                    (!inside.is_empty()).then(|| inside.iter().sum::<f64>() / inside.len() as f64)
                };
                OpenCells { low: mean(0), high: mean(edges.len()) }
            };
            let binned =
                wasserstein_from_cells(&edges, (&count(&a), open(&a)), (&count(&b), open(&b))).unwrap();
            prop_assert!((binned - wasserstein_sorted(&a, &b).unwrap()).abs() <= width + 1e-9);
        }

        #[test]
        fn is_finite_and_symmetric_for_any_counts_and_ends(
            (a, b) in histogram_pair(), low in any::<f64>(), high in any::<f64>()
        ) {
            let edges: Vec<f64> = (1..a.len()).map(|edge| edge as f64).collect();
            let open = OpenCells { low: Some(low), high: Some(high) };
            if low.is_finite() && high.is_finite() {
                let there = wasserstein_from_cells(&edges, (&a, open), (&b, open)).unwrap();
                let back = wasserstein_from_cells(&edges, (&b, open), (&a, open)).unwrap();
                prop_assert!((0.0..=f64::MAX).contains(&there));
                prop_assert!(there - back <= 1e-9 * there && back - there <= 1e-9 * back);
                prop_assert!(wasserstein_from_cells(&edges, (&a, open), (&a, open)).unwrap() == 0.0);
            }
        }
    }
}
