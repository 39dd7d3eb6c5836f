//! Multi-head attention over the tokens of a row.

use ndarray::{Array2, Axis, Slice};
use serde::{Deserialize, Serialize};

use super::ArtifactError;
use super::graph::{Layer, wrong};

/// Multi-head attention, scaled by the square root of a head's width.
///
/// # Source
///
/// Vaswani et al. (2017), arXiv:1706.03762, section 3.2.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attention {
    /// Number of heads; the columns are shared out among them.
    pub heads: usize,
    /// What each token asks for.
    pub query: Layer,
    /// What each token is found by.
    pub key: Layer,
    /// What each token gives.
    pub value: Layer,
    /// Mixes the heads.
    pub output: Layer,
}

impl Attention {
    pub(super) fn layers_mut(&mut self) -> [(&'static str, &mut Layer); 4] {
        [
            ("query", &mut self.query),
            ("key", &mut self.key),
            ("value", &mut self.value),
            ("output", &mut self.output),
        ]
    }

    pub(super) fn check(&self, path: &str, columns: usize) -> Result<(), ArtifactError> {
        if self.heads == 0 || !columns.is_multiple_of(self.heads) {
            return Err(wrong(path, format!("{columns} columns cannot be shared by {} heads", self.heads)));
        }
        for (name, layer) in
            [("query", &self.query), ("key", &self.key), ("value", &self.value), ("output", &self.output)]
        {
            let outputs = layer.outputs(&format!("{path}.{name}"), columns)?;
            if outputs != columns {
                return Err(wrong(
                    format!("{path}.{name}"),
                    format!("it has {outputs} outputs, not {columns}"),
                ));
            }
        }
        Ok(())
    }

    /// Attends within each run of `tokens` rows of `cells`.
    pub(super) fn apply(&self, cells: &Array2<f64>, tokens: usize) -> Option<Array2<f64>> {
        let (query, key, value) =
            (self.query.apply(cells)?, self.key.apply(cells)?, self.value.apply(cells)?);
        let columns = query.ncols();
        let fits = self.heads > 0
            && columns.is_multiple_of(self.heads)
            && key.ncols() == columns
            && value.ncols() == columns;
        if !fits || tokens == 0 {
            return None;
        }
        let width = columns / self.heads;
        let scale = 1.0 / (width as f64).sqrt();
        let mut mixed = Array2::zeros(query.dim());
        for start in (0..cells.nrows()).step_by(tokens) {
            for head in 0..self.heads {
                let rows = Slice::from(start..start + tokens);
                let columns = Slice::from(head * width..(head + 1) * width);
                let part = |cells: &Array2<f64>| {
                    cells.slice_axis(Axis(0), rows).slice_axis(Axis(1), columns).to_owned()
                };
                let mut weights = part(&query).dot(&part(&key).t());
                for mut row in weights.rows_mut() {
                    let highest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                    row.mapv_inplace(|score| ((score - highest) * scale).exp());
                    let sum = row.sum();
                    row /= sum;
                }
                let mut mixed = mixed.slice_axis_mut(Axis(0), rows);
                mixed.slice_axis_mut(Axis(1), columns).assign(&weights.dot(&part(&value)));
            }
        }
        self.output.apply(&mixed)
    }
}
