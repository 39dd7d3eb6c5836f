//! Rows counted on one layout, taken over onto another: to compare baselines, and to merge their parts.

use super::Baseline;
use crate::model::{Role, Value};
use crate::profile::{ColumnLayout, ColumnProfile, Cut, Profile};
use crate::stats::joint::Pca;

/// The rows of `other` counted on the cells of `onto`, column by column of the same name and role.
///
/// A numeric cell is taken as its upper edge, so the counts are exact for atoms and otherwise off by at most one
/// cell of `other`; the moments are those of the rows. A derived column stays empty unless both derive it alike: errors
/// of different components are not the same quantity.
pub fn rebin(onto: &Baseline, other: &Baseline) -> Profile {
    let columns = onto.layout().columns().iter().map(|layout| {
        let same = |name: &str, role| layout.name == name && layout.role == role;
        let alike = |role| role != Role::Derived || components(onto) == components(other);
        let found = other
            .columns()
            .iter()
            .find(|column| same(&column.layout.name, column.layout.role) && alike(column.layout.role));
        found.map_or_else(
            || ColumnProfile::empty(layout),
            |found| rebin_column(layout, &found.layout, &found.profile),
        )
    });
    Profile::from_columns(other.rows(), columns.collect())
}

/// What a derived column is computed from.
fn components(baseline: &Baseline) -> Option<(&Pca, &[String])> {
    baseline.joint().map(|joint| (&joint.pca, joint.columns.as_slice()))
}

/// The counts of one column, made on `from`, on the cells of `onto`.
pub(super) fn rebin_column(
    onto: &ColumnLayout,
    from: &ColumnLayout,
    counts: &ColumnProfile,
) -> ColumnProfile {
    let mut column = ColumnProfile::empty(onto);
    for (cell, &count) in counts.cells.iter().enumerate().filter(|(_, count)| **count > 0) {
        match (&from.cut, &onto.cut) {
            (Cut::Grid(grid), _) => {
                let above = || Value::Number(counts.moments.max());
                let value = grid.edges().get(cell).map_or_else(above, |&edge| Value::Number(edge));
                column.record_many(onto, &value, count);
            }
            (Cut::Categories(known), Cut::Categories(categories)) if cell >= known.other_cell() => {
                // Names that were not told apart stay so.
                let unseen = cell == known.unseen();
                column.cells[if unseen { categories.unseen() } else { categories.other_cell() }] += count;
            }
            (Cut::Categories(known), _) => {
                column.record_many(onto, &Value::Text(known.label(cell)), count);
            }
        }
    }
    column.missing = counts.missing;
    column.nan += counts.nan;
    column.wrong_type += counts.wrong_type;
    column.pos_inf = counts.pos_inf;
    column.neg_inf = counts.neg_inf;
    if let (Cut::Grid(_), Cut::Grid(_)) = (&from.cut, &onto.cut) {
        column.moments = counts.moments.clone();
    }
    column.absorb_names(counts);
    column
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::FeatureKind;
    use crate::profile::{Categories, Grid};

    fn layout(cut: Cut) -> ColumnLayout {
        let kind = match cut {
            Cut::Grid(_) => FeatureKind::Numeric,
            Cut::Categories(_) => FeatureKind::Categorical,
        };
        ColumnLayout { name: "x".into(), role: Role::Feature, kind, cut, range: None }
    }

    #[test]
    fn a_fine_grid_loses_at_most_a_cell_on_a_coarse_one() {
        let values: Vec<f64> = (0..10_000).map(|i| f64::from(i * 7919 % 10_007)).collect();
        let mut sorted = values.clone();
        sorted.sort_by(f64::total_cmp);
        let (fine, coarse) =
            (layout(Cut::Grid(Grid::cut(&sorted, 500))), layout(Cut::Grid(Grid::cut(&sorted, 20))));
        let [on_fine, on_coarse] = [&fine, &coarse].map(|layout| {
            let mut column = ColumnProfile::empty(layout);
            column.record_numbers(layout, &values);
            column
        });
        let moved = rebin_column(&coarse, &fine, &on_fine);
        for (moved, direct) in moved.cells.iter().zip(&on_coarse.cells) {
            assert!(moved.abs_diff(*direct) <= 2 * 10_000 / 500, "{moved} {direct}");
        }
        assert_eq!(moved.moments, on_coarse.moments);
    }

    #[test]
    fn names_keep_their_place() {
        let of = |names: &[(&str, u64)], top| {
            let counts = names.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
            layout(Cut::Categories(Categories::choose(&counts, top)))
        };
        let (from, onto) = (of(&[("a", 5), ("b", 2), ("c", 1)], 2), of(&[("b", 9), ("a", 1)], 9));
        let mut counts = ColumnProfile::empty(&from);
        for name in ["a", "a", "b", "c", "z"] {
            counts.record_text(&from, name);
        }
        counts.record_missing(3);
        let moved = rebin_column(&onto, &from, &counts);
        assert_eq!((moved.cells.as_slice(), moved.missing), ([1, 2, 1, 1].as_slice(), 3));
        assert_eq!(moved.unseen.heaviest(), [("z", 1)]);
    }
}
