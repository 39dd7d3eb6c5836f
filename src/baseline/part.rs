//! A baseline in parts: each counted by itself on a fine grid of its own, then merged onto one grid.
//!
//! How the grid is agreed on: no second pass over the data is needed. A part cuts four times as many cells as the
//! baseline will have, from its own rows, and counts them exactly. The merged grid is cut from the cells of all parts;
//! a part's cell that straddles one of its edges is what can be off, at most `1 / (4 K)` of the rows, and that is added
//! to the stated error. Values that hold a cell of their own are exact.
//!
//! Joint drift is left out: a part counts columns, and the error of a row needs components that no part knows.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::build::{boolean_cut, count_column, numeric_cut};
use super::rebin::rebin_column;
use super::{
    Baseline, BaselineColumn, Blocks, BuildError, BuildOptions, CategorySummary, CutOptions, Cycle,
    FormatError, MAX_CATEGORIES, Runs, SourceColumn, packed,
};
use crate::model::{FeatureKind, ModelName};
use crate::profile::{ColumnLayout, ColumnProfile, Cut, Layout};

/// Cells of a part for each cell of the baseline.
const FINENESS: usize = 4;

/// Parts that do not make a baseline.
#[derive(Debug, Error)]
pub enum PartError {
    /// Not a part.
    #[error("not a part of a baseline: {0}")]
    Json(#[from] serde_json::Error),
    /// The counts of a column cannot be read.
    #[error("column `{column}`: {problem}")]
    Column {
        /// The column.
        column: String,
        /// What does not fit.
        problem: String,
    },
    /// No part was given.
    #[error("no part was given")]
    None,
    /// Parts of different models, columns, kinds or options.
    #[error("part {part} does not go with the first: {problem}")]
    Differs {
        /// Number of the part, from 1.
        part: usize,
        /// How it differs, and what to do.
        problem: String,
    },
    /// The merged content could not be written.
    #[error(transparent)]
    Format(#[from] FormatError),
}

/// Some of the reference data, counted.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    model: ModelName,
    source: String,
    rows: u64,
    options: CutOptions,
    cycle: Option<Cycle>,
    columns: Vec<PartColumn>,
}

#[derive(Debug, Clone, PartialEq)]
struct PartColumn {
    layout: ColumnLayout,
    whole: ColumnProfile,
    blocks: BTreeMap<i64, ColumnProfile>,
}

/// Counts `columns` as a part of a baseline; blocks of the same number in several parts are the same block.
///
/// # Errors
///
/// [`BuildError`] names the column. A column without any value needs its kind stated, as another part may have some.
pub fn build_part(
    columns: &[SourceColumn<'_>],
    blocks: Option<Blocks<'_>>,
    options: BuildOptions,
) -> Result<Part, BuildError> {
    let fine = CutOptions {
        grid_cells: options.cut.grid_cells * FINENESS,
        top_categories: MAX_CATEGORIES,
        ..options.cut.clone()
    };
    let rows = super::build::check_shape(columns)?;
    let columns = columns
        .iter()
        .map(|column| {
            let (layout, whole, blocks) = count_column(column, blocks, &fine)?;
            Ok(PartColumn { layout, whole, blocks })
        })
        .collect::<Result<_, BuildError>>()?;
    let cycle = blocks.and_then(|blocks| blocks.cycle);
    Ok(Part { model: options.model, source: options.source, rows, options: options.cut, cycle, columns })
}

/// Merges parts into the baseline that one build over all rows would have given, up to the stated error.
///
/// # Errors
///
/// [`PartError::Differs`] when the parts were not made alike.
pub fn merge(parts: &[Part]) -> Result<Baseline, PartError> {
    let first = parts.first().ok_or(PartError::None)?;
    for (index, part) in parts.iter().enumerate() {
        alike(first, part).map_err(|problem| PartError::Differs { part: index + 1, problem })?;
    }
    let columns = (0..first.columns.len())
        .map(|index| {
            let column: Vec<&PartColumn> = parts.iter().map(|part| &part.columns[index]).collect();
            merge_column(&column, first.cycle, &first.options)
        })
        .collect();
    let sources: Vec<&str> = parts.iter().map(|part| part.source.as_str()).collect();
    let rows = parts.iter().map(|part| part.rows).sum();
    Ok(Baseline::assemble(first.model.clone(), sources.join(", "), rows, first.options.clone(), columns)?)
}

fn alike(first: &Part, part: &Part) -> Result<(), String> {
    if part.model != first.model {
        return Err(format!("it belongs to model `{}`, the first to `{}`", part.model, first.model));
    }
    if part.options != first.options || part.cycle != first.cycle {
        return Err("it was cut with other options, or another season or window".to_owned());
    }
    let names = |part: &Part| {
        part.columns.iter().map(|column| (column.layout.role, column.layout.name.clone())).collect::<Vec<_>>()
    };
    let (ours, theirs) = (names(first), names(part));
    if ours != theirs {
        let only = |a: &[(_, String)], b: &[(_, String)]| {
            let extra: Vec<&str> =
                a.iter().filter(|name| !b.contains(name)).map(|(_, name)| name.as_str()).collect();
            if extra.is_empty() { "none".to_owned() } else { extra.join(", ") }
        };
        return Err(format!(
            "its columns or their order differ (only here: {}; only in the first: {})",
            only(&theirs, &ours),
            only(&ours, &theirs)
        ));
    }
    for (ours, theirs) in first.columns.iter().zip(&part.columns) {
        if ours.layout.kind != theirs.layout.kind {
            let name = &ours.layout.name;
            return Err(format!(
                "column `{name}` is {} there and {} in the first; say `--kind {name}=...` when building each part",
                theirs.layout.kind.as_str(),
                ours.layout.kind.as_str()
            ));
        }
    }
    Ok(())
}

fn merge_column(parts: &[&PartColumn], cycle: Option<Cycle>, options: &CutOptions) -> BaselineColumn {
    let layout = &parts[0].layout;
    let cut = match layout.kind {
        FeatureKind::Numeric => numeric_cut(&weighted(parts), options).0,
        FeatureKind::Boolean => boolean_cut(),
        FeatureKind::Categorical => {
            let mut all = CategorySummary::new();
            for part in parts {
                let mut names = CategorySummary::new();
                if let Cut::Categories(categories) = &part.layout.cut {
                    for (name, &count) in categories.top().iter().zip(&part.whole.cells) {
                        names.add(name, count);
                    }
                    names.add_unnamed(categories, &part.whole.cells);
                }
                all.merge(names);
            }
            Cut::Categories(all.finish(options.top_categories).0)
        }
    };
    let range = parts.iter().filter_map(|part| part.layout.range).fold(None, |range, (min, max)| {
        let (low, high): (f64, f64) = range.unwrap_or((min, max));
        Some((low.min(min), high.max(max)))
    });
    let layout = ColumnLayout { cut, range, ..layout.clone() };
    let mut whole = ColumnProfile::empty(&layout);
    let mut blocks: BTreeMap<i64, ColumnProfile> = BTreeMap::new();
    for part in parts {
        whole.merge(&rebin_column(&layout, &part.layout, &part.whole));
        for (&number, block) in &part.blocks {
            blocks.entry(number).or_insert_with(|| ColumnProfile::empty(&layout)).merge(&rebin_column(
                &layout,
                &part.layout,
                block,
            ));
        }
    }
    let column = BaselineColumn::learn(layout, whole, &blocks, rank_error(parts), options);
    match cycle {
        Some(cycle) => column.in_season(cycle, &blocks),
        None => column,
    }
}

/// The cells of all parts as values with their rows: each stands at its upper edge.
fn weighted(parts: &[&PartColumn]) -> Runs {
    let mut all: Vec<(f64, u64)> = Vec::new();
    for part in parts {
        let Cut::Grid(grid) = &part.layout.cut else { continue };
        let filled = part.whole.cells.iter().enumerate().filter(|(_, count)| **count > 0);
        let top = part.whole.moments.max();
        all.extend(filled.map(|(cell, &count)| (grid.edges().get(cell).copied().unwrap_or(top), count)));
    }
    Runs::from_weighted(all)
}

/// The share of rows that can lie on the wrong side of an edge: of each part, its fullest cell that is no atom.
fn rank_error(parts: &[&PartColumn]) -> f64 {
    if let [_] = parts {
        // The edges of a single part's cells are the edges of the baseline.
        return 0.0;
    }
    let straddling: u64 = parts
        .iter()
        .map(|part| {
            let Cut::Grid(grid) = &part.layout.cut else { return 0 };
            let cells = part.whole.cells.iter().enumerate();
            cells.filter(|(cell, _)| !grid.is_atom(*cell)).map(|(_, &count)| count).max().unwrap_or(0)
        })
        .sum();
    let rows: u64 = parts.iter().map(|part| part.whole.usable()).sum();
    straddling as f64 / rows.max(1) as f64
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "format")]
enum Document {
    #[serde(rename = "part-1")]
    V1(Content),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    model: ModelName,
    source: String,
    rows: u64,
    options: CutOptions,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cycle: Option<Cycle>,
    columns: Vec<StoredColumn>,
}

#[derive(Serialize, Deserialize)]
struct StoredColumn {
    #[serde(flatten)]
    layout: ColumnLayout,
    /// The profile's own stored form, in base64.
    whole: String,
    blocks: Vec<(i64, String)>,
}

impl Part {
    /// Rows counted.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The model it belongs to.
    pub fn model(&self) -> &ModelName {
        &self.model
    }

    /// The stored document.
    ///
    /// # Errors
    ///
    /// [`PartError::Json`] only if a number is not finite, which counting rules out.
    pub fn to_json(&self) -> Result<String, PartError> {
        let columns = self
            .columns
            .iter()
            .map(|column| StoredColumn {
                layout: column.layout.clone(),
                whole: packed::write(&column.whole),
                blocks: column.blocks.iter().map(|(&number, block)| (number, packed::write(block))).collect(),
            })
            .collect();
        let content = Content {
            model: self.model.clone(),
            source: self.source.clone(),
            rows: self.rows,
            options: self.options.clone(),
            cycle: self.cycle,
            columns,
        };
        Ok(serde_json::to_string(&Document::V1(content))?)
    }

    /// Reads a stored document.
    ///
    /// # Errors
    ///
    /// [`PartError`] when it is damaged or no part.
    pub fn from_json(text: &str) -> Result<Self, PartError> {
        let Document::V1(content) = serde_json::from_str(text)?;
        let columns = content
            .columns
            .into_iter()
            .map(|stored| {
                let layout = Layout::new(vec![stored.layout.clone()]);
                let column = stored.layout.name.clone();
                let read = |text: &str| {
                    packed::read(&layout, text)
                        .map_err(|problem| PartError::Column { column: column.clone(), problem })
                };
                let whole = read(&stored.whole)?;
                let blocks = stored
                    .blocks
                    .iter()
                    .map(|(number, text)| Ok((*number, read(text)?)))
                    .collect::<Result<_, PartError>>()?;
                Ok(PartColumn { layout: stored.layout, whole, blocks })
            })
            .collect::<Result<_, PartError>>()?;
        Ok(Self {
            model: content.model,
            source: content.source,
            rows: content.rows,
            options: content.options,
            cycle: content.cycle,
            columns,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::baseline::build;
    use crate::model::{Role, Value};

    struct Data {
        x: Vec<Value>,
        hour: Vec<Value>,
        city: Vec<Value>,
        flag: Vec<Value>,
        block: Vec<i64>,
    }

    fn data(rows: u32) -> Data {
        let draw = |i: u32| f64::from(i.wrapping_mul(2_654_435_761) >> 8) / f64::from(1_u32 << 24);
        Data {
            x: (0..rows)
                .map(|i| Value::Number((draw(i) - 0.3).powi(3) + f64::from(i / 500) * 0.001))
                .collect(),
            hour: (0..rows).map(|i| Value::Number(f64::from(i % 24))).collect(),
            city: (0..rows)
                .map(|i| Value::Text(format!("city {}", (draw(i) * draw(i) * 900.0).floor())))
                .collect(),
            flag: (0..rows)
                .map(|i| if i % 7 == 0 { Value::Missing } else { Value::Bool(i % 3 == 0) })
                .collect(),
            block: (0..rows).map(|i| i64::from(i / 500)).collect(),
        }
    }

    fn columns(data: &Data, rows: std::ops::Range<usize>) -> Vec<SourceColumn<'_>> {
        [("x", &data.x), ("hour", &data.hour), ("city", &data.city), ("flag", &data.flag)]
            .map(|(name, values)| SourceColumn {
                name,
                role: Role::Feature,
                kind: None,
                values: &values[rows.clone()],
            })
            .to_vec()
    }

    fn options() -> BuildOptions {
        let cut = CutOptions { top_categories: 20, ..CutOptions::default() };
        BuildOptions { model: ModelName::parse("m").unwrap(), source: "s".into(), cut, joint: false }
    }

    #[test]
    fn parts_give_the_baseline_of_one_build() {
        let data = data(30_000);
        let whole =
            build(&columns(&data, 0..30_000), Some(Blocks { of_row: &data.block, cycle: None }), options())
                .unwrap();
        // Cut in the middle of a block, and of unequal size.
        let parts: Vec<Part> = [0..7_250, 7_250..30_000]
            .map(|range| {
                let blocks = Some(Blocks { of_row: &data.block[range.clone()], cycle: None });
                let part = build_part(&columns(&data, range), blocks, options()).unwrap();
                Part::from_json(&part.to_json().unwrap()).unwrap()
            })
            .to_vec();
        let merged = merge(&parts).unwrap();
        assert_eq!(merged.rows(), whole.rows());
        for (merged, whole) in merged.columns().iter().zip(whole.columns()) {
            let name = &whole.layout.name;
            assert_eq!(merged.profile.moments, whole.profile.moments, "{name}");
            assert_eq!(merged.profile.missing, whole.profile.missing, "{name}");
            if name != "x" {
                assert_eq!(
                    (&merged.layout, &merged.profile.cells),
                    (&whole.layout, &whole.profile.cells),
                    "{name}"
                );
                // What is shared between columns about tails moves a little with `x`.
                let learned = |c: &BaselineColumn| c.psi_variation.map(|v| (v.between, v.effective_blocks));
                assert_eq!((merged.ks_error_bound, learned(merged)), (whole.ks_error_bound, learned(whole)));
                continue;
            }
            // A continuous column: the counts up to any edge are right within the stated error.
            assert!(
                merged.ks_error_bound > whole.ks_error_bound && merged.ks_error_bound < 0.0016,
                "{}",
                merged.ks_error_bound
            );
            let Cut::Grid(grid) = &merged.layout.cut else { panic!("{name} has a grid") };
            let mut below = 0;
            for (cell, &edge) in grid.edges().iter().enumerate() {
                below += merged.profile.cells[cell];
                let exact =
                    data.x.iter().filter(|value| matches!(value, Value::Number(x) if *x <= edge)).count();
                let error = (below as f64 - exact as f64).abs() / 30_000.0;
                assert!(error <= merged.ks_error_bound - whole.ks_error_bound + 3e-4, "{error} at {edge}");
            }
            let (ours, theirs) = (merged.psi_variation.unwrap(), whole.psi_variation.unwrap());
            assert!(
                (ours.between - theirs.between).abs() < 0.02 + 0.05 * theirs.between.abs(),
                "{ours:?} {theirs:?}"
            );
        }
    }

    #[test]
    fn one_part_is_the_whole() {
        let data = data(5_000);
        let part = build_part(&columns(&data, 0..5_000), None, options()).unwrap();
        let (merged, whole) =
            (merge(&[part]).unwrap(), build(&columns(&data, 0..5_000), None, options()).unwrap());
        for (merged, whole) in merged.columns().iter().zip(whole.columns()) {
            assert!(merged.ks_error_bound <= whole.ks_error_bound + 2.5e-4, "{}", whole.layout.name);
            assert_eq!(merged.profile.usable(), whole.profile.usable());
        }
    }

    #[test]
    fn parts_that_differ_are_refused_with_a_remedy() {
        let data = data(2_000);
        let part = |range, change: &dyn Fn(&mut Vec<SourceColumn<'_>>)| {
            let mut columns = columns(&data, range);
            change(&mut columns);
            build_part(&columns, None, options()).unwrap()
        };
        let first = part(0..1000, &|_| {});
        let check = |other: Part, expected: &str| {
            let error = merge(&[first.clone(), other]).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        check(part(1000..2000, &|columns| columns.truncate(3)), "only in the first: flag");
        check(
            part(1000..2000, &|columns| columns[1].kind = Some(FeatureKind::Categorical)),
            "`--kind hour=...`",
        );
        assert!(matches!(merge(&[]), Err(PartError::None)));
        assert!(Part::from_json("{}").is_err());
    }
}
