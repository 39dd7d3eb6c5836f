//! The quantile grid of a numeric feature: cells cut once from the baseline, never re-cut on a window.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::index::Index;

/// Edges that cannot be a grid.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("grid edges must be finite and strictly increasing (edge {0})")]
pub struct BadEdges(usize);

/// Right-closed cells `(e_{j-1}, e_j]`; the first is open to −∞, the last to +∞.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<f64>", into = "Vec<f64>")]
pub struct Grid {
    edges: Vec<f64>,
    index: Index,
}

impl TryFrom<Vec<f64>> for Grid {
    type Error = BadEdges;

    fn try_from(mut edges: Vec<f64>) -> Result<Self, Self::Error> {
        // −0 becomes 0: the two are equal, and the index goes by bits.
        for edge in &mut edges {
            *edge += 0.0;
        }
        match (0..edges.len()).find(|&i| !edges[i].is_finite() || (i > 0 && edges[i - 1] >= edges[i])) {
            Some(index) => Err(BadEdges(index)),
            None => Ok(Self { index: Index::over(&edges), edges }),
        }
    }
}

impl From<Grid> for Vec<f64> {
    fn from(grid: Grid) -> Self {
        grid.edges
    }
}

/// A distinct value and how often it occurs.
type Run = (f64, u64);

impl Grid {
    /// Cuts a grid from finite values in ascending order.
    ///
    /// With at most `cells` distinct values each value has a cell of its own, so that whatever is read from the
    /// cells is exact. Otherwise a value that holds at least `1/cells` of the rows (an *atom*) has a cell of its
    /// own, and every other cell holds at most `1/cells` of them.
    pub fn cut(sorted: &[f64], cells: usize) -> Self {
        Self::cut_weighted(&runs(sorted), cells)
    }

    /// As [`cut`](Self::cut), from distinct finite values in ascending order, each with its number of rows.
    pub fn cut_weighted(runs: &[(f64, u64)], cells: usize) -> Self {
        let total: u64 = runs.iter().map(|(_, count)| count).sum();
        let limit = total as f64 / cells.max(1) as f64;
        let all_exact = runs.len() <= cells;
        let mut edges: Vec<f64> = Vec::new();
        let mut push = |edge: f64| {
            if edge.is_finite() && edges.last().is_none_or(|&last| last < edge) {
                edges.push(edge);
            }
        };
        let mut held = 0_u64;
        let mut previous: Option<f64> = None;
        for &(value, count) in runs {
            let value = value + 0.0;
            let atom = all_exact || count as f64 >= limit;
            if let Some(previous) = previous
                && (atom || (held + count) as f64 > limit)
                && held > 0
            {
                push(previous);
                held = 0;
            }
            if atom {
                push(value.next_down());
                push(value);
                held = 0;
            } else {
                held += count;
            }
            previous = Some(value);
        }
        if let Some(&(last, _)) = runs.last() {
            push(last + 0.0);
        }
        Self { index: Index::over(&edges), edges }
    }

    /// Inner edges, ascending; there is one cell more than edges.
    pub fn edges(&self) -> &[f64] {
        &self.edges
    }

    /// Number of cells.
    pub fn cells(&self) -> usize {
        self.edges.len() + 1
    }

    /// The cell of `value`, which is not NaN.
    #[inline]
    pub fn cell(&self, value: f64) -> usize {
        self.index.cell(value)
    }

    /// The cells of `values`, none of them NaN; as many of them as there is room for.
    pub fn cells_of(&self, values: &[f64], cells: &mut [u32]) {
        self.index.cells(values, cells);
    }

    /// Whether cell `index` holds one single value.
    #[expect(clippy::float_cmp, reason = "an atom's edges are neighbouring numbers, exactly")]
    pub fn is_atom(&self, index: usize) -> bool {
        index > 0 && index < self.edges.len() && self.edges[index - 1] == self.edges[index].next_down()
    }

    /// What cell range `first..=last` covers, for people: a value, or an interval.
    pub fn label(&self, first: usize, last: usize) -> String {
        if first == last && self.is_atom(first) {
            return format_number(self.edges[first]);
        }
        // An atom's lower edge differs from its value in the last bit only: people read the value.
        let low = match first.checked_sub(1) {
            Some(i) => format_number(self.edges[i]),
            None => "-inf".to_owned(),
        };
        match self.edges.get(last) {
            Some(&high) if self.is_atom(last + 1) => {
                format!("({low}, {})", format_number(self.edges[last + 1].max(high)))
            }
            Some(&high) => format!("({low}, {}]", format_number(high)),
            None => format!("({low}, inf)"),
        }
    }
}

/// At most six significant digits, without trailing zeros.
pub fn format_number(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let trim = |text: &str| {
        if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        } else {
            text.to_owned()
        }
    };
    let magnitude = value.abs();
    if !(1e-4..1e7).contains(&magnitude) {
        let text = format!("{value:.5e}");
        return match text.split_once('e') {
            Some((digits, exponent)) => format!("{}e{exponent}", trim(digits)),
            None => text,
        };
    }
    #[expect(clippy::cast_possible_truncation, reason = "the exponent of a number in [1e-4, 1e7)")]
    let decimals = usize::try_from(5 - magnitude.log10().floor() as i32).unwrap_or(0);
    trim(&format!("{value:.decimals$}"))
}

fn runs(sorted: &[f64]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for &value in sorted {
        match runs.last_mut() {
            #[expect(clippy::float_cmp, reason = "equal values form a run")]
            Some((last, count)) if *last == value => *count += 1,
            _ => runs.push((value, 1)),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sorted(mut values: Vec<f64>) -> Vec<f64> {
        values.sort_by(f64::total_cmp);
        values
    }

    fn counts(grid: &Grid, values: &[f64]) -> Vec<u64> {
        let mut counts = vec![0; grid.cells()];
        for &value in values {
            counts[grid.cell(value)] += 1;
        }
        counts
    }

    #[test]
    fn a_constant_has_a_cell_of_its_own() {
        let grid = Grid::cut(&[0.5; 100], 1000);
        assert_eq!(grid.cells(), 3);
        assert_eq!(counts(&grid, &[0.5, 0.5, 0.499_999, 0.6]), [1, 2, 1]);
        assert_eq!(grid.label(1, 1), "0.5");
    }

    #[test]
    fn few_values_are_exact() {
        let grid = Grid::cut(&sorted((0..24).flat_map(|hour| vec![f64::from(hour); 3]).collect()), 1000);
        assert_eq!(grid.cells(), 2 * 24 + 1);
        assert!(grid.is_atom(grid.cell(7.0)) && !grid.is_atom(grid.cell(7.5)));
    }

    #[test]
    fn infinities_fall_into_the_open_cells() {
        let grid = Grid::cut(&sorted((0..5000).map(f64::from).collect()), 100);
        assert_eq!(grid.cell(f64::NEG_INFINITY), 0);
        assert_eq!(grid.cell(f64::INFINITY), grid.cells() - 1);
    }

    #[test]
    fn numbers_read_well() {
        for (value, text) in [
            (0.0, "0"),
            (0.5, "0.5"),
            (1234.5, "1234.5"),
            (-0.003_467, "-0.003467"),
            (100.0, "100"),
            (1e300, "1e300"),
        ] {
            assert_eq!(format_number(value), text);
        }
    }

    proptest! {
        #[test]
        fn no_cell_but_an_atom_holds_more_than_its_share(
            values in prop::collection::vec(prop_oneof![-1e3..1e3_f64, (0..5_i32).prop_map(f64::from)], 1..3000),
            cells in 4_usize..200,
        ) {
            let values = sorted(values);
            let grid = Grid::cut(&values, cells);
            let limit = values.len() as f64 / cells as f64;
            for (cell, &count) in counts(&grid, &values).iter().enumerate() {
                prop_assert!(grid.is_atom(cell) || count as f64 <= limit.max(1.0), "cell {cell}: {count} > {limit}");
            }
        }

        #[test]
        fn a_cell_contains_its_value(values in prop::collection::vec(any::<f64>(), 1..300), probe in any::<f64>()) {
            prop_assume!(!probe.is_nan());
            let values: Vec<f64> = sorted(values.into_iter().filter(|v| v.is_finite()).collect());
            let grid = Grid::cut(&values, 50);
            let cell = grid.cell(probe);
            prop_assert!(cell == 0 || grid.edges()[cell - 1] < probe);
            prop_assert!(cell == grid.edges().len() || probe <= grid.edges()[cell]);
        }
    }
}
