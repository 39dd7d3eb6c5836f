//! One baseline's rows on another baseline's cells, to compare the two.

use super::Baseline;
use crate::model::Value;
use crate::profile::{Cut, Profile};

/// The rows of `other` counted on the cells of `onto`, column by column of the same name and role.
///
/// A numeric cell is taken as its upper edge, so the counts are exact for atoms and otherwise off by at most one
/// cell of `other`. A category that `other` no longer tells apart counts as `other` stands: by its label.
pub fn rebin(onto: &Baseline, other: &Baseline) -> Profile {
    let layout = onto.layout();
    let mut profile = Profile::empty(layout);
    for (index, column) in layout.columns().iter().enumerate() {
        let found =
            other.columns().iter().find(|c| c.layout.name == column.name && c.layout.role == column.role);
        let Some(found) = found else { continue };
        for (cell, &count) in found.profile.cells.iter().enumerate().filter(|(_, count)| **count > 0) {
            let value = match &found.layout.cut {
                Cut::Grid(grid) => {
                    let above = found.layout.range.map_or(f64::INFINITY, |(_, max)| max);
                    Value::Number(grid.edges().get(cell).copied().unwrap_or(above))
                }
                Cut::Categories(categories) => Value::Text(categories.label(cell)),
            };
            profile.record_many(layout, index, &value, count);
        }
        profile.add_unusable(index, &found.profile);
    }
    profile
}
