//! A decision tree in an artifact.

use ndarray::Array2;
use serde::{Deserialize, Serialize};

use super::ArtifactError;
use super::graph::wrong;

/// A decision tree; a row walks from the first node to a leaf.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tree {
    /// The nodes; children come after their parents.
    pub nodes: Vec<Node>,
}

/// A node of a tree.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "node", rename_all = "snake_case", deny_unknown_fields)]
pub enum Node {
    /// Rows whose column is at most the threshold go left.
    Split {
        /// Which column of the block's input.
        column: usize,
        /// Where it is cut.
        threshold: f64,
        /// Node of the lower side.
        left: usize,
        /// Node of the upper side.
        right: usize,
    },
    /// The scores of the rows that end here.
    Leaf {
        /// One per output.
        scores: Vec<f64>,
    },
}

impl Tree {
    /// Number of outputs, where it reads `columns` columns.
    pub(super) fn outputs(&self, path: &str, columns: usize) -> Result<usize, ArtifactError> {
        let mut outputs = None;
        for (at, node) in self.nodes.iter().enumerate() {
            let problem = match node {
                Node::Split { column, threshold, left, right } => {
                    let comes_after = |child: &usize| *child > at && *child < self.nodes.len();
                    (*column >= columns || !threshold.is_finite())
                        .then(|| {
                            format!("it asks whether column {column} of {columns} is at most {threshold}")
                        })
                        .or_else(|| {
                            let fits = comes_after(left) && comes_after(right);
                            (!fits).then(|| format!("its children {left} and {right} do not come after it"))
                        })
                }
                Node::Leaf { scores } => {
                    let wanted = *outputs.get_or_insert(scores.len());
                    (scores.len() != wanted || !scores.iter().all(|score| score.is_finite()))
                        .then(|| format!("its scores {scores:?} are not {wanted} finite numbers"))
                }
            };
            if let Some(problem) = problem {
                return Err(wrong(format!("{path}.nodes.{at}"), problem));
            }
        }
        outputs.ok_or_else(|| wrong(path, "the tree has no leaf".to_owned()))
    }

    pub(super) fn apply(&self, cells: &Array2<f64>) -> Option<Array2<f64>> {
        let mut leaves = Vec::with_capacity(cells.nrows());
        for row in cells.rows() {
            let mut at = 0;
            leaves.push(loop {
                match self.nodes.get(at)? {
                    Node::Leaf { scores } => break scores,
                    Node::Split { column, threshold, left, right } => {
                        let next = if *row.get(*column)? <= *threshold { *left } else { *right };
                        if next <= at {
                            return None;
                        }
                        at = next;
                    }
                }
            });
        }
        let outputs = self.nodes.iter().find_map(|node| match node {
            Node::Leaf { scores } => Some(scores.len()),
            Node::Split { .. } => None,
        })?;
        let flat: Vec<f64> = leaves.into_iter().flatten().copied().collect();
        Array2::from_shape_vec((cells.nrows(), outputs), flat).ok()
    }
}
