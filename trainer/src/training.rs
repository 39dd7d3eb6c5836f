//! Trains the deep model: mini-batches, AdamW, early stopping on the validation part, best weights kept.

use std::time::Instant;

use driftline::retrain::artifact::{Layer, Output};
use driftline::retrain::{DeepSpec, Objective};
use driftline::stats::random::SplitMix64;
use driftline::store::training_log::Metric;
use ndarray::ArrayView2;
use tch::nn::OptimizerConfig;
use tch::{Device, Kind, Reduction, Tensor, nn};

use crate::journal::{Halt, Journal, Progress};
use crate::linear::Part;
use crate::network::Network;

/// Gradients longer than this are shortened to it.
const MAX_GRADIENT_NORM: f64 = 5.0;

/// A trained deep model.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DeepFit {
    /// The weights of the best epoch.
    pub(crate) layers: Vec<Layer>,
    /// The epoch they are from, counted from 1.
    pub(crate) best_epoch: usize,
    /// Epochs trained.
    pub(crate) epochs: usize,
    /// Mean loss of the best epoch on the validation part.
    pub(crate) validation_loss: f64,
}

/// What is asked of the deep model.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    /// The loss. Numbers are standardised before but for counts, whose logarithm is predicted.
    pub(crate) objective: Objective,
    /// What makes answers of scores.
    pub(crate) output: Output,
    /// Scores per row.
    pub(crate) outputs: usize,
    /// Hyperparameters.
    pub(crate) deep: &'a DeepSpec,
    /// Seeds weights, batches and dropout.
    pub(crate) seed: u64,
    /// Where to train.
    pub(crate) device: Device,
}

/// Trains on `train`, stops early on `validation`.
///
/// One thread and one seed: the same request on the same build and kind of device gives the same weights.
pub(crate) fn train(
    request: Request<'_>,
    train: Part<'_>,
    validation: Part<'_>,
    journal: &Journal,
) -> Result<DeepFit, Halt> {
    let Request { objective, output, outputs, deep, seed, device } = request;
    let failed = |error: tch::TchError| Halt::Failed(format!("libtorch: {error}"));
    // The layers are small: a second thread costs more than it brings, and one thread adds in one order.
    tch::set_num_threads(1);
    if train.codes.ncols() > 0 {
        journal.warn(format!(
            "the network takes no notice of the codes of {} features of many levels; it has the columns of their commonest",
            train.codes.ncols()
        ));
    }
    tch::manual_seed(seed.cast_signed());
    let store = nn::VarStore::new(device);
    let network = Network::new(&store.root(), train.numbers.ncols(), &deep.hidden, outputs, deep.dropout);
    let mut optimizer = nn::AdamW { wd: deep.weight_decay, ..nn::AdamW::default() }
        .build(&store, deep.learning_rate)
        .map_err(failed)?;
    let (inputs, targets) = (matrix(train.numbers, device)?, vector(train.targets, device));
    let (held_inputs, held_targets) =
        (matrix(validation.numbers, device)?, vector(validation.targets, device));
    let (weights, held_weights) = (vector(train.weights, device), vector(validation.weights, device));

    let started = Instant::now();
    let mut random = SplitMix64::new(seed);
    let mut order: Vec<i64> = (0..).take(train.targets.len()).collect();
    let mut best: Option<DeepFit> = None;
    for epoch in 1..=deep.max_epochs {
        random.shuffle(&mut order);
        let mut sum = 0.0;
        for batch in order.chunks(deep.batch_size) {
            let rows = Tensor::from_slice(batch).to_device(device);
            let scores = network.forward(&inputs.index_select(0, &rows), true);
            let loss = mean_loss(
                objective,
                output,
                &scores,
                &targets.index_select(0, &rows),
                &weights.index_select(0, &rows),
            );
            optimizer.backward_step_clip_norm(&loss, MAX_GRADIENT_NORM);
            sum += loss.double_value(&[]) * batch.len() as f64;
        }
        let train_loss = sum / order.len() as f64;
        let validation_loss = tch::no_grad(|| {
            let scores = network.forward(&held_inputs, false);
            mean_loss(objective, output, &scores, &held_targets, &held_weights).double_value(&[])
        });
        if !(train_loss.is_finite() && validation_loss.is_finite()) {
            return Err(Halt::Failed(format!(
                "the deep model diverged in epoch {epoch}: train loss {train_loss}, validation loss {validation_loss}; a smaller deep.learning_rate than {} may help",
                deep.learning_rate
            )));
        }
        if best.as_ref().is_none_or(|best| validation_loss < best.validation_loss) {
            let layers = network.layers().map_err(|error| Halt::Failed(format!("libtorch: {error:#}")))?;
            best = Some(DeepFit { layers, best_epoch: epoch, epochs: epoch, validation_loss });
        }
        let left = deep.max_epochs - epoch;
        journal
            .metrics(vec![metric("train", epoch, train_loss), metric("validation", epoch, validation_loss)]);
        journal.progress(Progress {
            candidate: "deep",
            epoch,
            max_epochs: deep.max_epochs,
            train_loss,
            validation_loss,
            eta_seconds: (started.elapsed() / u32::try_from(epoch).unwrap_or(u32::MAX))
                .saturating_mul(u32::try_from(left).unwrap_or(u32::MAX))
                .as_secs(),
            rows_per_second: (train.targets.len() * epoch) as f64 / started.elapsed().as_secs_f64().max(1e-9),
        });
        journal.checkpoint()?;
        if let Some(best) = &mut best {
            best.epochs = epoch;
            if epoch - best.best_epoch >= deep.patience {
                break;
            }
        }
    }
    best.ok_or_else(|| Halt::Failed("the deep model was given no epoch to train".to_owned()))
}

fn metric(split: &str, epoch: usize, value: f64) -> Metric {
    Metric {
        candidate: "deep".to_owned(),
        split: split.to_owned(),
        epoch: i32::try_from(epoch).unwrap_or(i32::MAX),
        name: "loss".to_owned(),
        value,
    }
}

/// The weighted mean over the rows, of scores of shape `[rows, outputs]`.
fn mean_loss(
    objective: Objective,
    output: Output,
    scores: &Tensor,
    targets: &Tensor,
    weights: &Tensor,
) -> Tensor {
    let score = || scores.squeeze_dim(1);
    let losses = match objective {
        Objective::LogLoss if scores.size().last() != Some(&1) => scores.cross_entropy_loss::<&Tensor>(
            &targets.to_kind(Kind::Int64),
            None,
            Reduction::None,
            -100,
            0.0,
        ),
        Objective::LogLoss => {
            score().binary_cross_entropy_with_logits::<&Tensor>(targets, None, None, Reduction::None)
        }
        Objective::Mse => score().mse_loss(targets, Reduction::None),
        Objective::Huber { delta } => score().huber_loss(targets, Reduction::None, delta),
        Objective::Poisson => {
            (score() + output.offset).poisson_nll_loss(targets, true, false, 1e-8, Reduction::None)
        }
        Objective::Quantile { q } => {
            let error = targets - score();
            (&error * q).maximum(&(&error * (q - 1.0)))
        }
    };
    (losses * weights).sum(Kind::Float) / weights.sum(Kind::Float)
}

fn matrix(rows: ArrayView2<'_, f64>, device: Device) -> Result<Tensor, Halt> {
    let size = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let cells: Vec<f64> = rows.iter().copied().collect();
    Tensor::from_slice(&cells)
        .f_view([size(rows.nrows()), size(rows.ncols())])
        .map(|cells| cells.to_kind(Kind::Float).to_device(device))
        .map_err(|error| Halt::Failed(format!("libtorch: {error}")))
}

fn vector(values: &[f64], device: Device) -> Tensor {
    Tensor::from_slice(values).to_kind(Kind::Float).to_device(device)
}
