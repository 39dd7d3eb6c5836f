//! How much each feature matters to a trained model: the loss that shuffling its column adds.

use std::collections::BTreeMap;

use super::artifact::Artifact;
use super::gate;
use super::spec::Objective;
use crate::model::{Column, Value};
use crate::stats::random::SplitMix64;

/// How often each column is shuffled; the mean of the losses is taken.
const REPEATS: u32 = 5;

/// Most held-out rows that are asked about.
const MAX_ROWS: usize = 2_000;

/// Fewest rows, where there are so many and [`MAX_CELLS`] would leave fewer.
const MIN_ROWS: usize = 200;

/// Values that may be read in all, so that a model of many features does not take longer than its training.
const MAX_CELLS: usize = 200_000_000;

/// The share of each feature in what `artifact` knows: the rise of its mean loss on rows that it was not trained on
/// when the feature's column is shuffled, a fall counted as 0, divided by the sum over all features.
///
/// Answers come from [`Artifact::predict`], as they do when the model serves. The result is empty when no feature
/// matters. Features that move together share their importance, as shuffling one leaves the other.
///
/// # Arguments
///
/// * `objective`: the loss.
/// * `columns`, `targets`: the held-out rows, shape `[n_rows]` each; evenly spaced rows are taken of many.
/// * `seed`: the same seed gives the same bits.
/// * `checkpoint`: called before each feature; an error ends the work.
///
/// # Errors
///
/// That of `checkpoint`.
///
/// # Source
///
/// Breiman (2001), doi:10.1023/A:1010933404324, section 10; on any model: Fisher, Rudin and Dominici (2019),
/// arXiv:1801.01489.
pub fn permutation<E>(
    artifact: &Artifact,
    objective: Objective,
    columns: &[Column],
    targets: &[f64],
    seed: u64,
    mut checkpoint: impl FnMut() -> Result<(), E>,
) -> Result<BTreeMap<String, f64>, E> {
    let names: Vec<String> = artifact.features().map(|(name, _)| name.to_owned()).collect();
    let rows = chosen_rows(targets.len(), names.len());
    let mut columns: Vec<Column> = columns
        .iter()
        .map(|column| Column {
            name: column.name.clone(),
            values: rows
                .iter()
                .map(|&row| column.values.get(row).cloned().unwrap_or(Value::Missing))
                .collect(),
        })
        .collect();
    let targets: Vec<f64> = rows.iter().filter_map(|&row| targets.get(row).copied()).collect();
    let loss = |columns: &[Column]| {
        let answers = artifact.predict(targets.len(), columns);
        let losses = gate::losses(objective, answers.view(), &targets);
        losses.iter().map(|loss| loss / losses.len() as f64).sum::<f64>()
    };
    let before = loss(&columns);
    let mut rises = BTreeMap::new();
    for (number, name) in names.into_iter().enumerate() {
        checkpoint()?;
        let Some(at) = columns.iter().position(|column| column.name == name) else { continue };
        // A generator for each feature, so that its number does not hang on what other features there are.
        let mut random = SplitMix64::new(seed ^ (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let kept = columns[at].values.clone();
        let mut rise = 0.0;
        for _ in 0..REPEATS {
            random.shuffle(&mut columns[at].values);
            rise += (loss(&columns) - before) / f64::from(REPEATS);
        }
        columns[at].values = kept;
        rises.insert(name, if rise.is_finite() { rise.max(0.0) } else { 0.0 });
    }
    let total: f64 = rises.values().sum();
    if !(total.is_finite() && total > 0.0) {
        return Ok(BTreeMap::new());
    }
    Ok(rises.into_iter().map(|(name, rise)| (name, rise / total)).collect())
}

/// Evenly spaced rows of `n_rows`, fewer the more features there are.
fn chosen_rows(n_rows: usize, features: usize) -> Vec<usize> {
    let reads = features.saturating_mul(features).saturating_mul(REPEATS as usize).max(1);
    let most = (MAX_CELLS / reads).clamp(MIN_ROWS, MAX_ROWS).min(n_rows);
    (0..most).map(|index| index * n_rows / most).collect()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use ndarray::{Array1, Array2};

    use super::super::artifact::{Block, Graph, Layer, Link, ModelKind, Output};
    use super::super::pipeline::{Pipeline, Step};
    use super::super::spec::Task;
    use super::*;

    const FINE: Result<(), Infallible> = Ok(());

    /// `y = 3 a + b`, with a third feature that has no weight.
    fn model() -> Artifact {
        let pipeline =
            Pipeline { steps: ["a", "b", "idle"].map(|name| Step::standard(name, 0.0, 1.0)).to_vec() };
        let mut weight = Array2::zeros((1, pipeline.width()));
        weight[[0, 0]] = 3.0;
        weight[[0, 1]] = 1.0;
        let layers = vec![Layer { weight, bias: Array1::zeros(1) }];
        Artifact {
            task: Task::Regression,
            target: "y".to_owned(),
            kind: ModelKind::Linear,
            classes: Vec::new(),
            pipeline,
            graph: Graph::dense(layers),
            output: Output::plain(Link::Identity),
        }
    }

    fn rows(n: usize) -> (Vec<Column>, Vec<f64>) {
        let mut random = SplitMix64::new(3);
        let mut column = |name: &str| {
            let values = (0..n).map(|_| Value::Number(random.normal())).collect();
            Column { name: name.into(), values }
        };
        let columns = vec![column("a"), column("b"), column("idle")];
        let targets = model().predict_one(n, &columns);
        (columns, targets)
    }

    #[test]
    fn importance_follows_the_squares_of_the_weights() {
        assert_eq!(model().pipeline.width(), 3);
        let (columns, targets) = rows(5_000);
        let shares = permutation(&model(), Objective::Mse, &columns, &targets, 7, || FINE).unwrap();
        assert!((shares.values().sum::<f64>() - 1.0).abs() < 1e-12, "{shares:?}");
        assert!((shares["a"] - 0.9).abs() < 0.02 && (shares["b"] - 0.1).abs() < 0.02, "{shares:?}");
        assert!(shares["idle"].abs() <= 0.0);
    }

    #[test]
    fn the_same_seed_gives_the_same_bits() {
        let (columns, targets) = rows(300);
        let once = permutation(&model(), Objective::Mse, &columns, &targets, 7, || FINE).unwrap();
        assert_eq!(once, permutation(&model(), Objective::Mse, &columns, &targets, 7, || FINE).unwrap());
        assert_ne!(once, permutation(&model(), Objective::Mse, &columns, &targets, 8, || FINE).unwrap());
    }

    #[test]
    fn a_model_that_knows_nothing_has_no_importance() {
        let (columns, _) = rows(50);
        let mut constant = model();
        constant.graph.blocks.clear();
        let layer = Layer { weight: Array2::zeros((1, 3)), bias: Array1::zeros(1) };
        constant.graph.blocks.push(Block::Dense(layer));
        assert!(permutation(&constant, Objective::Mse, &columns, &[1.0; 50], 7, || FINE).unwrap().is_empty());
        assert!(permutation(&model(), Objective::Mse, &columns, &[], 7, || FINE).unwrap().is_empty());
    }

    #[test]
    fn the_work_can_be_stopped() {
        let (columns, targets) = rows(50);
        assert_eq!(permutation(&model(), Objective::Mse, &columns, &targets, 7, || Err("stop")), Err("stop"));
    }

    #[test]
    fn many_features_are_asked_about_on_fewer_rows() {
        assert_eq!(chosen_rows(10, 3), (0..10).collect::<Vec<_>>());
        assert_eq!(chosen_rows(50_000, 9).len(), MAX_ROWS);
        assert_eq!(chosen_rows(50_000, 5_000).len(), MIN_ROWS);
        assert_eq!(chosen_rows(4_000, 9)[1], 2);
    }
}
