//! A shallow decision tree: weighted CART over the encoded columns, its depth chosen on the validation part.

use driftline::retrain::Task;
use driftline::retrain::artifact::{Node, Tree};
use ndarray::{Array2, ArrayView2};

use crate::journal::{Halt, Journal};
use crate::linear::{self, Part};

/// Cells that a column is cut into; a split is at one of their edges.
const BINS: usize = 64;

/// Rows that the edges of cells are taken from, evenly spaced.
const EDGE_ROWS: usize = 20_000;

/// Weight that both sides of a split need.
const LEAST: f64 = 20.0;

/// Rows that a leaf's class shares are mixed with, spread as the classes of all rows are.
const PRIOR: f64 = 2.0;

/// A fitted tree.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TreeFit {
    /// The tree; its scores are numbers, logits, or logarithms of probabilities, as a linear model's are.
    pub(crate) tree: Tree,
    /// The chosen depth.
    pub(crate) depth: usize,
    /// Mean loss on the validation part: squared error, or log loss.
    pub(crate) validation_loss: f64,
}

/// A node while the tree grows; every node knows its scores, so that the tree can be cut off at any depth.
#[derive(Debug, Clone)]
struct Grown {
    depth: usize,
    scores: Vec<f64>,
    /// Column, threshold and the two children.
    split: Option<(usize, f64, [usize; 2])>,
}

/// Sums over the rows of a cell: weight, and weighted sum of each output.
type Sums = Vec<f64>;

/// Fits on `train` and keeps the depth, up to `most`, with the lowest loss on `validation`.
///
/// # Arguments
///
/// * `classes`: how many there are; of no meaning for a regression.
///
/// # Source
///
/// Breiman, Friedman, Olshen and Stone, *Classification and Regression Trees* (1984): splits that take most off the
/// squared error, which for indicators of classes is the Gini index.
pub(crate) fn fit(
    (task, classes): (Task, usize),
    most: usize,
    train: Part<'_>,
    validation: Part<'_>,
    journal: &Journal,
) -> Result<TreeFit, Halt> {
    let outputs = if task == Task::Multiclass { classes } else { 1 };
    let cuts: Vec<Vec<f64>> = (0..train.numbers.ncols()).map(|column| edges(train.numbers, column)).collect();
    let cells = cells(train.numbers, &cuts);
    let mut grower =
        Grower { task, outputs, train, cuts: &cuts, cells: &cells, nodes: Vec::new(), prior: Vec::new() };
    let rows: Vec<usize> = (0..train.targets.len()).filter(|&row| train.weights[row] > 0.0).collect();
    grower.plant(&rows);
    let mut open = vec![(0, rows)];
    for _ in 0..most {
        journal.checkpoint()?;
        open = open.into_iter().filter_map(|(node, rows)| grower.split(node, &rows)).flatten().collect();
    }
    let mut best: Option<TreeFit> = None;
    for depth in 0..=most {
        let tree = grower.cut_off(depth);
        let scores = predict(&tree, validation.numbers, outputs);
        let validation_loss = linear::mean_loss(task, &scores, validation);
        if validation_loss.is_finite()
            && best.as_ref().is_none_or(|best| validation_loss < best.validation_loss)
        {
            best = Some(TreeFit { tree, depth, validation_loss });
        }
    }
    best.ok_or_else(|| Halt::Failed("the tree has no finite loss on the validation part".to_owned()))
}

/// Where a column is cut: between neighbouring values, so that each cell has about as many rows.
fn edges(inputs: ArrayView2<'_, f64>, column: usize) -> Vec<f64> {
    let rows = inputs.nrows();
    let step = rows.div_ceil(EDGE_ROWS).max(1);
    let mut sorted: Vec<f64> = (0..rows).step_by(step).map(|row| inputs[[row, column]]).collect();
    sorted.sort_by(f64::total_cmp);
    let mut edges = Vec::new();
    let mut distinct = sorted.clone();
    distinct.dedup();
    if distinct.len() <= BINS {
        edges.extend(distinct.windows(2).map(|pair| pair[0] / 2.0 + pair[1] / 2.0));
    } else {
        for cell in 1..BINS {
            let at = cell * sorted.len() / BINS;
            let edge = sorted[at - 1] / 2.0 + sorted[at] / 2.0;
            // Not between two equal values, which no threshold tells apart.
            if sorted[at - 1] < sorted[at] && edges.last().is_none_or(|&last| last < edge) {
                edges.push(edge);
            }
        }
    }
    edges
}

/// The cell of every value, column after column.
fn cells(inputs: ArrayView2<'_, f64>, cuts: &[Vec<f64>]) -> Vec<Vec<u8>> {
    let cell = |value: f64, edges: &[f64]| {
        u8::try_from(edges.partition_point(|&edge| edge < value)).unwrap_or(u8::MAX)
    };
    cuts.iter()
        .enumerate()
        .map(|(column, edges)| inputs.column(column).iter().map(|&value| cell(value, edges)).collect())
        .collect()
}

struct Grower<'a, 'r> {
    task: Task,
    outputs: usize,
    train: Part<'r>,
    cuts: &'a [Vec<f64>],
    cells: &'a [Vec<u8>],
    nodes: Vec<Grown>,
    /// Share of each output over all rows.
    prior: Vec<f64>,
}

impl Grower<'_, '_> {
    /// Adds a row to sums.
    fn add(&self, sums: &mut [f64], row: usize) {
        let (weight, target) = (self.train.weights[row], self.train.targets[row]);
        sums[0] += weight;
        if self.task == Task::Multiclass {
            if let Some(sum) = (0..self.outputs).find(|&class| (target - class as f64).abs() < 0.5) {
                sums[1 + sum] += weight;
            }
        } else {
            sums[1] += weight * target;
        }
    }

    fn sums(&self, rows: &[usize]) -> Sums {
        let mut sums = vec![0.0; 1 + self.outputs];
        for &row in rows {
            self.add(&mut sums, row);
        }
        sums
    }

    /// Makes the first node.
    fn plant(&mut self, rows: &[usize]) {
        let sums = self.sums(rows);
        self.prior = sums[1..].iter().map(|sum| if sums[0] > 0.0 { sum / sums[0] } else { 0.5 }).collect();
        let scores = self.scores(&sums);
        self.nodes.push(Grown { depth: 0, scores, split: None });
    }

    /// What a leaf with these sums says.
    fn scores(&self, sums: &[f64]) -> Vec<f64> {
        let share = |(sum, prior): (&f64, &f64)| (sum + PRIOR * prior) / (sums[0] + PRIOR);
        match self.task {
            Task::Regression => vec![if sums[0] > 0.0 { sums[1] / sums[0] } else { 0.0 }],
            Task::Binary => {
                let p = share((&sums[1], &self.prior[0])).clamp(1e-9, 1.0 - 1e-9);
                vec![(p / (1.0 - p)).ln()]
            }
            Task::Multiclass => {
                sums[1..].iter().zip(&self.prior).map(share).map(|p| p.max(1e-9).ln()).collect()
            }
        }
    }

    /// Splits a node where that takes most off the squared error; the children with their rows, if it can be split.
    fn split(&mut self, node: usize, rows: &[usize]) -> Option<[(usize, Vec<usize>); 2]> {
        let whole = self.sums(rows);
        let explained = |sums: &[f64]| {
            sums[1..].iter().map(|sum| sum * sum).sum::<f64>() / sums[0].max(f64::MIN_POSITIVE)
        };
        let before = explained(&whole);
        // What rounding alone could gain is no gain.
        let mut best = (1e-9 * before.abs().max(1e-9), None);
        let width = 1 + self.outputs;
        for (column, edges) in self.cuts.iter().enumerate() {
            if edges.is_empty() {
                continue;
            }
            let mut of_cells = vec![0.0; (edges.len() + 1) * width];
            let cells = &self.cells[column];
            for &row in rows {
                let at = usize::from(cells[row]) * width;
                self.add(&mut of_cells[at..at + width], row);
            }
            let mut left = vec![0.0; width];
            for (edge, cell) in of_cells.chunks_exact(width).take(edges.len()).enumerate() {
                left.iter_mut().zip(cell).for_each(|(left, cell)| *left += cell);
                let right: Sums = whole.iter().zip(&left).map(|(whole, left)| whole - left).collect();
                if left[0] < LEAST || right[0] < LEAST {
                    continue;
                }
                let gain = explained(&left) + explained(&right) - before;
                if gain > best.0 {
                    best = (gain, Some((column, edge)));
                }
            }
        }
        let (column, edge) = best.1?;
        let (left, right): (Vec<usize>, Vec<usize>) =
            rows.iter().copied().partition(|&row| usize::from(self.cells[column][row]) <= edge);
        let depth = self.nodes[node].depth + 1;
        let children = [left, right].map(|rows| {
            let scores = self.scores(&self.sums(&rows));
            self.nodes.push(Grown { depth, scores, split: None });
            (self.nodes.len() - 1, rows)
        });
        self.nodes[node].split = Some((column, self.cuts[column][edge], [children[0].0, children[1].0]));
        Some(children)
    }

    /// The tree of the first `depth` splits on each way.
    fn cut_off(&self, depth: usize) -> Tree {
        let kept: Vec<usize> =
            (0..self.nodes.len()).filter(|&node| self.nodes[node].depth <= depth).collect();
        let place = |node: usize| kept.binary_search(&node).unwrap_or(0);
        let nodes = kept
            .iter()
            .map(|&node| match &self.nodes[node] {
                Grown { depth: of_node, split: Some((column, threshold, [left, right])), .. }
                    if *of_node < depth =>
                {
                    Node::Split {
                        column: *column,
                        threshold: *threshold,
                        left: place(*left),
                        right: place(*right),
                    }
                }
                leaf => Node::Leaf { scores: leaf.scores.clone() },
            })
            .collect();
        Tree { nodes }
    }
}

/// The scores of rows, shape `[rows, outputs]`.
fn predict(tree: &Tree, inputs: ArrayView2<'_, f64>, outputs: usize) -> Array2<f64> {
    let mut scores = Array2::zeros((inputs.nrows(), outputs));
    for (row, mut to) in inputs.rows().into_iter().zip(scores.rows_mut()) {
        let mut at = 0;
        while let Some(Node::Split { column, threshold, left, right }) = tree.nodes.get(at) {
            at = if row[*column] <= *threshold { *left } else { *right };
        }
        if let Some(Node::Leaf { scores }) = tree.nodes.get(at) {
            to.iter_mut().zip(scores).for_each(|(to, score)| *to = *score);
        }
    }
    scores
}

#[cfg(test)]
mod tests {
    use driftline::stats::random::SplitMix64;

    use super::*;
    use crate::journal::Stop;

    fn inputs(rows: usize, columns: usize) -> Array2<f64> {
        let mut random = SplitMix64::new(1);
        Array2::from_shape_fn((rows, columns), |_| random.below(1_000) as f64 / 500.0 - 1.0)
    }

    /// Rows without codes.
    fn part<'a>(numbers: ArrayView2<'a, f64>, targets: &'a [f64], weights: &'a [f64]) -> Part<'a> {
        let codes = ArrayView2::from_shape((numbers.nrows(), 0), &[]).unwrap();
        Part { numbers, codes, targets, weights }
    }

    fn fit_on(task: (Task, usize), inputs: &Array2<f64>, targets: &[f64], weights: &[f64]) -> TreeFit {
        let part = part(inputs.view(), targets, weights);
        fit(task, 5, part, part, &Journal::new(Stop::default()).0).unwrap()
    }

    #[test]
    fn steps_are_found_where_they_are() {
        let inputs = inputs(4_000, 3);
        let step = |row: usize| if inputs[[row, 1]] <= 0.5 { 1.0 } else { 3.0 };
        let targets: Vec<f64> = (0..4_000).map(step).collect();
        let fitted = fit_on((Task::Regression, 0), &inputs, &targets, &vec![1.0; 4_000]);
        let Node::Split { column, threshold, .. } = fitted.tree.nodes[0] else { panic!("{fitted:?}") };
        assert_eq!(column, 1);
        assert!((threshold - 0.5).abs() < 0.03, "{threshold}");
        assert!(fitted.validation_loss < 0.05, "{fitted:?}");
    }

    #[test]
    fn what_no_line_can_know_a_tree_does() {
        let inputs = inputs(4_000, 2);
        let truth = |row: usize| f64::from(u8::from(inputs[[row, 0]] * inputs[[row, 1]] > 0.0));
        let targets: Vec<f64> = (0..4_000).map(truth).collect();
        let fitted = fit_on((Task::Binary, 2), &inputs, &targets, &vec![1.0; 4_000]);
        assert!(fitted.validation_loss < 0.5, "{}", fitted.validation_loss);
        assert!(fitted.depth >= 2);
    }

    #[test]
    fn several_classes_have_a_score_each() {
        let inputs = inputs(3_000, 2);
        let class = |row: usize| ((inputs[[row, 0]] + 1.0) * 1.499).floor();
        let targets: Vec<f64> = (0..3_000).map(class).collect();
        let fitted = fit_on((Task::Multiclass, 3), &inputs, &targets, &vec![1.0; 3_000]);
        assert!(fitted.validation_loss < 0.15, "{}", fitted.validation_loss);
        let Some(Node::Leaf { scores }) = fitted.tree.nodes.last() else { panic!("{fitted:?}") };
        assert_eq!(scores.len(), 3);
    }

    #[test]
    fn rows_without_weight_are_not_seen() {
        let inputs = inputs(2_000, 1);
        let targets: Vec<f64> = (0..2_000).map(|row| if row % 2 == 0 { 5.0 } else { -100.0 }).collect();
        let weights: Vec<f64> = (0..2_000).map(|row| f64::from(u8::from(row % 2 == 0))).collect();
        let fitted = fit_on((Task::Regression, 0), &inputs, &targets, &weights);
        assert_eq!(fitted.tree.nodes, [Node::Leaf { scores: vec![5.0] }], "nothing to split");
    }

    #[test]
    fn constant_columns_and_a_single_row_give_one_leaf() {
        for rows in [1, 50] {
            let inputs = Array2::from_elem((rows, 2), 7.0);
            let targets = vec![1.0; rows];
            let weights = vec![1.0; rows];
            let fitted = fit_on((Task::Binary, 2), &inputs, &targets, &weights);
            assert_eq!(fitted.tree.nodes.len(), 1);
        }
    }

    #[test]
    fn a_depth_that_only_fits_noise_is_not_chosen() {
        let mut random = SplitMix64::new(9);
        let mut draw = |rows: usize| (0..rows).map(|_| random.below(1_000) as f64).collect::<Vec<f64>>();
        let (train_targets, held_targets) = (draw(200), draw(2_000));
        let (train, held) = (inputs(200, 5), inputs(2_000, 5));
        let (ones, more) = (vec![1.0; 200], vec![1.0; 2_000]);
        let train = part(train.view(), &train_targets, &ones);
        let held = part(held.view(), &held_targets, &more);
        let fitted = fit((Task::Regression, 0), 5, train, held, &Journal::new(Stop::default()).0).unwrap();
        assert!(fitted.depth <= 1, "{}", fitted.depth);
    }
}
