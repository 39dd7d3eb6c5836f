//! The two distributions of a column as shapes to draw: a curve over the values, or bars for few of them.

use crate::baseline::BaselineColumn;
use crate::drift::FeatureReport;
use crate::model::FeatureKind;
use crate::profile::{ColumnProfile, Cut, Grid, format_number};
use crate::stats;

/// Steps of a curve.
const STEPS: usize = 64;

/// Values up to which each is drawn as a bar of its own.
const MOST_BARS: usize = 24;

/// Share of the rows at either end that may lie outside of what is drawn.
const TAIL: f64 = 0.005;

/// Share of the rows by which a bin has to move to be worth mentioning.
const LEAST_CHANGE: f64 = 5e-4;

/// What is drawn of a column.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    /// Shares of the rows per step of the value.
    Curve(Curve),
    /// Shares of the rows per value.
    Bars(Vec<Bar>),
}

/// Two step curves on one scale.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    /// Where the scale begins.
    pub low: f64,
    /// Where it ends.
    pub high: f64,
    /// Share of the usable rows in each step.
    pub reference: Vec<f64>,
    /// The same of the window.
    pub current: Vec<f64>,
    /// Share of the rows of each side that lie outside of what is drawn.
    pub outside: (f64, f64),
}

/// Two bars.
#[derive(Debug, Clone, PartialEq)]
pub struct Bar {
    /// The value.
    pub label: String,
    /// Share of the reference.
    pub reference: f64,
    /// Share of the window.
    pub current: f64,
}

/// A bin that moved.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// What it covers, in words.
    pub label: String,
    /// Share of the rows of the reference.
    pub reference: f64,
    /// Share of the rows of the window.
    pub current: f64,
    /// What the bin adds to PSI.
    pub psi: f64,
}

/// The bins with their shares and what each adds to PSI, under names for people.
pub fn changes(report: &FeatureReport) -> Vec<Change> {
    let bins = &report.bins;
    let reference: Vec<u64> = bins.iter().map(|bin| bin.reference).collect();
    let current: Vec<u64> = bins.iter().map(|bin| bin.current).collect();
    let (Ok(p), Ok(q)) = (stats::smoothed_shares(&reference), stats::smoothed_shares(&current)) else {
        return Vec::new();
    };
    let total = |counts: &[u64]| counts.iter().sum::<u64>().max(1) as f64;
    let (all_reference, all_current) = (total(&reference), total(&current));
    bins.iter()
        .zip(p.iter().zip(&q))
        .map(|(bin, (p, q))| Change {
            label: match report.kind {
                FeatureKind::Numeric => in_words(&bin.label),
                FeatureKind::Categorical | FeatureKind::Boolean => bin.label.clone(),
            },
            reference: bin.reference as f64 / all_reference,
            current: bin.current as f64 / all_current,
            psi: (q - p) * (q / p).ln(),
        })
        .collect()
}

/// The bin that adds most to PSI; `None` when hardly anything moved.
pub fn largest_change(report: &FeatureReport) -> Option<Change> {
    let moved = |change: &Change| (change.current - change.reference).abs() >= LEAST_CHANGE;
    changes(report).into_iter().filter(moved).max_by(|a, b| a.psi.total_cmp(&b.psi))
}

/// An interval as it is said, with its ends to four digits: `(-inf, 3.5]` is `up to 3.5`.
pub fn in_words(label: &str) -> String {
    let inner = label.strip_prefix('(').and_then(|rest| rest.strip_suffix([')', ']']));
    let Some((low, high)) = inner.and_then(|inner| inner.split_once(", ")) else { return label.to_owned() };
    let end =
        |text: &str| text.parse().map_or_else(|_| text.to_owned(), |value| format_number(rounded(value)));
    let closed = label.ends_with(']');
    match (low, high) {
        ("-inf", high) if closed => format!("up to {}", end(high)),
        ("-inf", high) => format!("under {}", end(high)),
        (low, "inf") => format!("over {}", end(low)),
        (low, high) => format!("{} to {}", end(low), end(high)),
    }
}

/// Four significant digits.
pub fn rounded(value: f64) -> f64 {
    format!("{value:.3e}").parse().unwrap_or(value)
}

/// What to draw of a column: its rows in the baseline, and those of a window.
pub fn shape(report: &FeatureReport, column: &BaselineColumn, current: &ColumnProfile) -> Shape {
    let reference = &column.profile;
    match &column.layout.cut {
        Cut::Grid(grid) => match values_of(grid, reference, current) {
            Some(bars) => Shape::Bars(bars),
            None => curve(grid, reference, current).map_or_else(|| Shape::Bars(Vec::new()), Shape::Curve),
        },
        Cut::Categories(_) => {
            let mut bars: Vec<Bar> = changes(report)
                .into_iter()
                .filter(|change| change.reference + change.current > 0.0)
                .map(|Change { label, reference, current, .. }| Bar { label, reference, current })
                .collect();
            // The bins stand in the order of the reference, the most frequent first; what is new comes last.
            if bars.len() > MOST_BARS {
                let mut heaviest: Vec<usize> = (0..bars.len()).collect();
                heaviest.sort_by(|&a, &b| bars[b].weight().total_cmp(&bars[a].weight()));
                heaviest.truncate(MOST_BARS - 1);
                let rest = |of: fn(&Bar) -> f64| {
                    let kept: f64 = heaviest.iter().map(|&bar| of(&bars[bar])).sum();
                    (bars.iter().map(of).sum::<f64>() - kept).max(0.0)
                };
                let more = bars.len() - heaviest.len();
                let rest = Bar {
                    label: format!("{more} more"),
                    reference: rest(|bar| bar.reference),
                    current: rest(|bar| bar.current),
                };
                heaviest.sort_unstable();
                bars = heaviest.into_iter().map(|bar| bars[bar].clone()).collect();
                bars.push(rest);
            }
            Shape::Bars(bars)
        }
    }
}

impl Bar {
    fn weight(&self) -> f64 {
        self.reference.max(self.current)
    }
}

/// A bar per value, where the reference has few of them.
fn values_of(grid: &Grid, reference: &ColumnProfile, current: &ColumnProfile) -> Option<Vec<Bar>> {
    let filled: Vec<usize> =
        (0..grid.cells()).filter(|&cell| reference.cells[cell] + current.cells[cell] > 0).collect();
    let few = filled.len() <= MOST_BARS;
    let all_atoms = filled.iter().all(|&cell| reference.cells[cell] == 0 || grid.is_atom(cell));
    (few && all_atoms).then(|| {
        let share = |profile: &ColumnProfile, cell: usize| {
            profile.cells[cell] as f64 / profile.usable().max(1) as f64
        };
        filled
            .into_iter()
            .map(|cell| Bar {
                label: in_words(&grid.label(cell, cell)),
                reference: share(reference, cell),
                current: share(current, cell),
            })
            .collect()
    })
}

/// One side's cells with their ends, the open ones closed where its values end.
struct Ends<'a> {
    grid: &'a Grid,
    profile: &'a ColumnProfile,
    low: f64,
    high: f64,
}

impl<'a> Ends<'a> {
    fn of(grid: &'a Grid, profile: &'a ColumnProfile) -> Option<Self> {
        let moments = &profile.moments;
        (moments.count() > 0).then(|| Self { grid, profile, low: moments.min(), high: moments.max() })
    }

    /// Where cell `cell` begins and ends.
    fn span(&self, cell: usize) -> (f64, f64) {
        let edges = self.grid.edges();
        let start = cell.checked_sub(1).and_then(|i| edges.get(i).copied()).unwrap_or(self.low);
        let end = edges.get(cell).copied().unwrap_or(self.high);
        // An open cell ends where the values do, but not before it began.
        (start.min(end), end.max(start))
    }

    /// The value under which this share of the rows lies, to the nearest cell.
    fn quantile(&self, share: f64, upper: bool) -> f64 {
        let wanted = share * self.profile.usable() as f64;
        let mut before = 0.0;
        for (cell, &count) in self.profile.cells.iter().enumerate() {
            before += count as f64;
            if before >= wanted && count > 0 {
                let (start, end) = self.span(cell);
                return if upper { end } else { start };
            }
        }
        self.high
    }
}

fn curve(grid: &Grid, reference: &ColumnProfile, current: &ColumnProfile) -> Option<Curve> {
    let sides = [Ends::of(grid, reference), Ends::of(grid, current)];
    let all = |of: &dyn Fn(&Ends<'_>) -> f64, pick: fn(f64, f64) -> f64| {
        sides.iter().flatten().map(of).reduce(pick)
    };
    let (least, most) = (all(&|side| side.low, f64::min)?, all(&|side| side.high, f64::max)?);
    let mut low = all(&|side| side.quantile(TAIL, false).max(side.low), f64::min)?;
    let mut high = all(&|side| side.quantile(1.0 - TAIL, true).min(side.high), f64::max)?;
    // Halves, so that the widest span of numbers does not overflow.
    if most / 2.0 - least / 2.0 <= 1.5 * (high / 2.0 - low / 2.0) || low >= high {
        (low, high) = (least, most);
    }
    if low >= high {
        return None;
    }
    let scale = low.abs().max(high.abs());
    let place = |value: f64| (value / scale - low / scale) / (high / scale - low / scale) * STEPS as f64;
    let spread = |side: &Option<Ends<'_>>| {
        side.as_ref().map_or_else(|| (vec![0.0; STEPS], 0.0), |side| spread(side, &place))
    };
    let ((reference, outside_reference), (current, outside_current)) = (spread(&sides[0]), spread(&sides[1]));
    Some(Curve { low, high, reference, current, outside: (outside_reference, outside_current) })
}

/// Shares per step of one side, each cell spread evenly over where it lies, and the share outside.
fn spread(side: &Ends<'_>, place: &impl Fn(f64) -> f64) -> (Vec<f64>, f64) {
    let mut steps = vec![0.0; STEPS];
    let total = side.profile.usable().max(1) as f64;
    for (cell, &count) in side.profile.cells.iter().enumerate().filter(|(_, count)| **count > 0) {
        let share = count as f64 / total;
        let (start, end) = side.span(cell);
        let (start, end) = (place(start), place(end));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the steps")]
        let step = |at: f64| (at.max(0.0) as usize).min(STEPS - 1);
        if end < 0.0 || start > STEPS as f64 {
            continue;
        }
        let width = end - start;
        if side.grid.is_atom(cell) || width.partial_cmp(&1e-9) != Some(std::cmp::Ordering::Greater) {
            steps[step((end - 1e-9).max(start))] += share;
            continue;
        }
        for (index, held) in steps.iter_mut().enumerate().take(step(end) + 1).skip(step(start)) {
            let overlap = end.min(index as f64 + 1.0) - start.max(index as f64);
            *held += share * (overlap.max(0.0) / width);
        }
    }
    let drawn: f64 = steps.iter().sum();
    (steps, (1.0 - drawn).max(0.0))
}

/// What a value on the axis is called.
pub fn tick(curve: &Curve, share: f64) -> String {
    let value = curve.low * (1.0 - share) + curve.high * share;
    // As many digits as the span needs, and no more.
    let span = curve.high / 2.0 - curve.low / 2.0;
    let rounded = if span > 0.0 && span.is_finite() {
        let unit = 10_f64.powf((span.log10() - 2.0).floor());
        let rounded = (value / unit).round() * unit;
        if rounded.is_finite() && unit > 0.0 { rounded } else { value }
    } else {
        value
    };
    format_number(rounded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(grid: &Grid, values: &[f64]) -> ColumnProfile {
        let layout = crate::profile::ColumnLayout {
            name: "x".into(),
            role: crate::model::Role::Feature,
            kind: FeatureKind::Numeric,
            cut: Cut::Grid(grid.clone()),
            range: None,
        };
        let mut profile = ColumnProfile::empty(&layout);
        profile.record_numbers(&layout, values);
        profile
    }

    fn grid(values: &[f64]) -> Grid {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        Grid::cut(&sorted, 1000)
    }

    #[test]
    fn a_curve_holds_all_rows() {
        let values: Vec<f64> = (0..20_000).map(|i| f64::from(i) / 7.0).collect();
        let shifted: Vec<f64> = values.iter().map(|value| value + 500.0).collect();
        let grid = grid(&values);
        let curve = curve(&grid, &profile(&grid, &values), &profile(&grid, &shifted)).unwrap();
        assert_eq!((curve.low, curve.high), (0.0, 19_999.0 / 7.0 + 500.0));
        for side in [&curve.reference, &curve.current] {
            assert!((side.iter().sum::<f64>() - 1.0).abs() < 1e-9, "{side:?}");
        }
        assert!(curve.current[0] < 1e-3 && curve.reference[0] > 1e-2);
        assert!(curve.reference[STEPS - 1] < 1e-9 && curve.current[STEPS - 1] > 1e-3);
    }

    #[test]
    fn one_outlier_does_not_flatten_the_rest() {
        let mut values: Vec<f64> = (0..20_000).map(f64::from).collect();
        values.push(1e300);
        let grid = grid(&values);
        let curve = curve(&grid, &profile(&grid, &values), &profile(&grid, &values)).unwrap();
        assert!(curve.high < 1e6, "{}", curve.high);
        assert!(curve.outside.0 > 0.0 && curve.outside.0 < 0.02, "{:?}", curve.outside);
    }

    #[test]
    fn extreme_numbers_are_drawn() {
        let values: Vec<f64> =
            (0..5000).map(|i| if i % 2 == 0 { 1e308 } else { -1e308 } / f64::from(i + 1)).collect();
        let grid = grid(&values);
        let drawn = curve(&grid, &profile(&grid, &values), &profile(&grid, &values)).unwrap();
        assert!(drawn.reference.iter().all(|share| share.is_finite()));
        let tiny: Vec<f64> = (0..5000).map(|i| f64::from(i) * 5e-324).collect();
        let grid = self::grid(&tiny);
        let drawn = curve(&grid, &profile(&grid, &tiny), &profile(&grid, &tiny)).unwrap();
        assert!((drawn.reference.iter().sum::<f64>() - 1.0).abs() < 1e-9);
    }

    #[test]
    fn few_values_are_bars() {
        let values = [1.0, 1.0, 2.0];
        let grid = grid(&values);
        let bars = values_of(&grid, &profile(&grid, &values), &profile(&grid, &[1.0, 7.5])).unwrap();
        let bars: Vec<(&str, f64)> = bars.iter().map(|bar| (bar.label.as_str(), bar.current)).collect();
        assert_eq!(bars, [("1", 0.5), ("2", 0.0), ("over 2", 0.5)]);
    }

    #[test]
    fn contributions_add_up_to_psi() {
        let bins = [("a", 50, 10), ("b", 30, 60), ("missing", 0, 0)]
            .map(|(label, reference, current)| crate::drift::BinEvidence {
                label: label.into(),
                reference,
                current,
            })
            .into();
        let report = FeatureReport {
            name: "x".into(),
            role: crate::model::Role::Feature,
            kind: FeatureKind::Categorical,
            n_reference: 80,
            n_current: 70,
            missing_reference: 0,
            missing_current: 0,
            statistics: std::collections::BTreeMap::new(),
            p_values: std::collections::BTreeMap::new(),
            p_adjusted: None,
            deciding: None,
            natural_variation: None,
            slots: None,
            unseen: Vec::new(),
            verdict: crate::drift::Verdict::Ok,
            reason: String::new(),
            bins,
        };
        let total: f64 = changes(&report).iter().map(|change| change.psi).sum();
        assert!((total - stats::psi(&[50, 30, 0], &[10, 60, 0]).unwrap()).abs() < 1e-12);
        assert_eq!(largest_change(&report).unwrap().label, "a");
    }

    #[test]
    fn intervals_are_said_in_words() {
        for (label, words) in [
            ("(-inf, 8.60333]", "up to 8.603"),
            ("(-inf, 3)", "under 3"),
            ("(21.3558, inf)", "over 21.36"),
            ("(1.5, 2.25]", "1.5 to 2.25"),
            ("7", "7"),
            ("any other value", "any other value"),
        ] {
            assert_eq!(in_words(label), words);
        }
    }
}
