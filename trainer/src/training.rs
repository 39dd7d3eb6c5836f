//! Trains the deep model: mini-batches, AdamW, early stopping, checkpoints, and a way back from divergence.

use std::time::{Duration, Instant};

use driftline::retrain::artifact::{Graph, Output};
use driftline::retrain::{DeepSpec, LimitsSpec, Objective};
use driftline::store::training_log::Metric;
use tch::{Device, Kind, TchError, Tensor};

use crate::architecture::{self, Shape};
use crate::batches::{Rows, automatic, mix, order};
use crate::checkpoint::{Checkpoints, State};
use crate::journal::{Halt, Journal, Progress, StopReason};
use crate::linear::Part;
use crate::loss;
use crate::network::Network;
use crate::schedule::{self, Adam};
use crate::usage::Usage;

/// How often a training that diverges goes back to where it was sound.
const MAX_RESTARTS: u32 = 3;

/// Factor of the learning rate each time.
const RESTART_FACTOR: f64 = 0.3;

/// Rows of the validation part that are computed at once.
const HELD_CHUNK: i64 = 8_192;

/// First factor of losses in half precision.
const LOSS_SCALE: f64 = 65_536.0;

/// A trained deep model.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DeepFit {
    /// The weights of the best epoch.
    pub(crate) graph: Graph,
    /// The epoch they are from, counted from 1.
    pub(crate) best_epoch: usize,
    /// Epochs trained.
    pub(crate) epochs: usize,
    /// Mean loss of the last epoch on the training part.
    pub(crate) train_loss: f64,
    /// Mean loss of the best epoch on the validation part.
    pub(crate) validation_loss: f64,
    /// Rows per step.
    pub(crate) batch_size: usize,
    /// Seconds trained, by all workers together.
    pub(crate) seconds: f64,
    /// Share of the steps' time that went into gathering their rows.
    pub(crate) gathering: f64,
}

/// What is asked of the deep model.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    /// Its name among the candidates.
    pub(crate) candidate: &'static str,
    /// The loss. Numbers are standardised before but for counts, whose logarithm is predicted.
    pub(crate) objective: Objective,
    /// What makes answers of scores.
    pub(crate) output: Output,
    /// What goes in and out.
    pub(crate) shape: &'a Shape,
    /// Hyperparameters.
    pub(crate) deep: &'a DeepSpec,
    /// What may be used up.
    pub(crate) limits: &'a LimitsSpec,
    /// Seconds that were used up before.
    pub(crate) spent: f64,
    /// Seeds weights, batches and dropout.
    pub(crate) seed: u64,
    /// Where to train.
    pub(crate) device: Device,
    /// Where to go on and to write down how far it is.
    pub(crate) checkpoints: Option<&'a Checkpoints>,
    /// Tells of an error that libtorch would, given the rows of a part and the number of the step.
    pub(crate) fault: Option<fn(usize, u64) -> Option<TchError>>,
}

/// Trains on `train`, stops early on `validation`.
///
/// One number of threads and one seed: the same request on the same build and kind of device gives the same weights,
/// whether or not other processes began it.
pub(crate) fn train(
    request: Request<'_>,
    train: Part<'_>,
    validation: Part<'_>,
    journal: &Journal,
) -> Result<DeepFit, Halt> {
    tch::set_num_threads(i32::try_from(request.limits.threads).unwrap_or(1));
    let mut trainer = Trainer::new(request, train, validation).map_err(failed)?;
    trainer.resume(journal)?;
    let ended = trainer.run(journal);
    if let (Err(Halt::Stopped(StopReason::Shutdown)), Some(checkpoints)) = (&ended, request.checkpoints) {
        trainer.save(checkpoints, journal);
    }
    ended?;
    if let Some(checkpoints) = request.checkpoints {
        checkpoints.clear();
    }
    trainer.fit()
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` gives")]
fn failed(error: TchError) -> Halt {
    Halt::Failed(format!("libtorch: {}", first_line(&error)))
}

/// libtorch's errors carry a trace behind the first line.
fn first_line(error: &TchError) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

/// The numbers of a training at one moment.
struct Snapshot {
    weights: Tensor,
    first: Tensor,
    second: Tensor,
    buffers: Tensor,
}

/// How an epoch ended.
enum Epoch {
    Done { train_loss: f64, validation_loss: f64 },
    Diverged(String),
    OutOfTime(String),
}

struct Trainer<'a> {
    request: Request<'a>,
    network: Network,
    adam: Adam,
    train: Rows,
    held: Rows,
    row_weights: Vec<f64>,
    batch_size: usize,
    is_half: bool,
    state: State,
    /// Where the last sound epoch ended.
    good: (State, Snapshot),
    best: Option<Snapshot>,
    train_loss: f64,
    /// When counting of seconds began, and the second it began with.
    clock: (Instant, f64),
    last_saved: Instant,
    /// Time in steps, and the part of it that gathered rows.
    stepping: (Duration, Duration),
    usage: Usage,
}

impl<'a> Trainer<'a> {
    fn new(request: Request<'a>, train: Part<'_>, validation: Part<'_>) -> Result<Self, TchError> {
        let Request { deep, seed, device, .. } = request;
        tch::manual_seed(seed.cast_signed());
        let graph = architecture::initial(deep, request.shape, seed);
        let network = Network::new(&graph, deep.dropout, device)?;
        let adam = Adam::new(network.flat())?;
        let is_cuda = matches!(device, Device::Cuda(_));
        let is_half = deep.mixed_precision && is_cuda;
        let state = State {
            epoch: 0,
            step: 0,
            updates: 0,
            loss_sum: 0.0,
            weight_sum: 0.0,
            parts: deep.accumulate,
            rate: deep.learning_rate,
            restarts: 0,
            loss_scale: if is_half { LOSS_SCALE } else { 1.0 },
            best: None,
            seconds: 0.0,
        };
        let good = (state.clone(), Snapshot::of(&network, &adam)?);
        let batch_size = deep.batch_size.unwrap_or_else(|| automatic(train.targets.len(), is_cuda));
        Ok(Self {
            train: Rows::new(train, device)?,
            held: Rows::new(validation, device)?,
            row_weights: train.weights.to_vec(),
            batch_size: batch_size.clamp(1, train.targets.len().max(1)),
            network,
            adam,
            is_half,
            state,
            good,
            best: None,
            train_loss: f64::NAN,
            clock: (Instant::now(), 0.0),
            last_saved: Instant::now(),
            stepping: (Duration::ZERO, Duration::ZERO),
            usage: Usage::new(device),
            request,
        })
    }

    /// Goes on where another process stopped.
    fn resume(&mut self, journal: &Journal) -> Result<(), Halt> {
        let Some(checkpoints) = self.request.checkpoints else { return Ok(()) };
        let (state, tensors) = match checkpoints.load() {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(()),
            Err(problem) => {
                journal.warn(format!("{problem}; training starts anew"));
                return Ok(());
            }
        };
        let device = self.request.device;
        let mut snapshots = Vec::with_capacity(3);
        for name in ["now", "good", "best"] {
            let part = |of: &str| tensors.get(&format!("{name}.{of}")).map(|tensor| tensor.to_device(device));
            let (Some(weights), Some(first), Some(second), Some(buffers)) =
                (part("weights"), part("first"), part("second"), part("buffers"))
            else {
                break;
            };
            snapshots.push(Snapshot { weights, first, second, buffers });
        }
        let mut snapshots = snapshots.into_iter();
        let (Some(now), Some(good)) = (snapshots.next(), snapshots.next()) else {
            journal.warn("the checkpoint lacks a tensor; training starts anew");
            return Ok(());
        };
        now.restore(&self.network, &mut self.adam).map_err(failed)?;
        let good_state = State { step: 0, loss_sum: 0.0, weight_sum: 0.0, ..state.clone() };
        let good_state =
            State { updates: state.updates - u64::try_from(state.step).unwrap_or(0), ..good_state };
        self.good = (good_state, good);
        self.best = snapshots.next();
        self.clock = (Instant::now(), state.seconds);
        journal.info(format!("going on after epoch {}, step {}", state.epoch, state.step));
        self.state = state;
        Ok(())
    }

    /// Writes down how far it is. One that cannot be written is no reason to stop training.
    fn save(&mut self, checkpoints: &Checkpoints, journal: &Journal) {
        self.state.seconds = self.seconds();
        let written =
            Snapshot::of(&self.network, &self.adam).map_err(|error| first_line(&error)).and_then(|now| {
                let snapshots =
                    [("now", Some(&now)), ("good", Some(&self.good.1)), ("best", self.best.as_ref())];
                let named: Vec<(String, &Tensor)> = snapshots
                    .into_iter()
                    .filter_map(|(name, snapshot)| snapshot.map(|snapshot| (name, snapshot)))
                    .flat_map(|(name, snapshot)| {
                        [
                            (format!("{name}.weights"), &snapshot.weights),
                            (format!("{name}.first"), &snapshot.first),
                            (format!("{name}.second"), &snapshot.second),
                            (format!("{name}.buffers"), &snapshot.buffers),
                        ]
                    })
                    .collect();
                let tensors: Vec<(&str, &Tensor)> =
                    named.iter().map(|(name, tensor)| (name.as_str(), *tensor)).collect();
                checkpoints.save(&self.state, &tensors)
            });
        if let Err(problem) = written {
            journal.warn(format!("{problem}; training goes on without"));
        }
        self.last_saved = Instant::now();
    }

    fn run(&mut self, journal: &Journal) -> Result<(), Halt> {
        let deep = self.request.deep;
        while self.state.epoch < deep.max_epochs && !self.is_out_of_patience() {
            let started = Instant::now();
            let rows = self.row_weights.len();
            let steps_before = self.state.step;
            match self.epoch(journal)? {
                Epoch::OutOfTime(limit) => {
                    if self.best.is_none() {
                        return Err(Halt::Failed(format!("{limit} is over before the first epoch was")));
                    }
                    let epoch = self.state.epoch;
                    journal.warn(format!(
                        "{limit} is over after epoch {epoch}; the best epoch until then counts"
                    ));
                    return Ok(());
                }
                Epoch::Diverged(problem) => {
                    self.go_back(&problem, journal)?;
                    continue;
                }
                Epoch::Done { train_loss, validation_loss } => {
                    self.finish_epoch(train_loss, validation_loss).map_err(failed)?;
                    let trained = rows.saturating_sub(steps_before * self.batch_size);
                    let speed = trained as f64 / started.elapsed().as_secs_f64().max(1e-9);
                    self.tell(train_loss, validation_loss, speed, journal);
                }
            }
            journal.checkpoint()?;
        }
        Ok(())
    }

    /// Whether enough epochs brought nothing better.
    fn is_out_of_patience(&self) -> bool {
        self.state.best.is_some_and(|(best, _)| self.state.epoch - best >= self.request.deep.patience)
    }

    /// Trains what is left of an epoch.
    fn epoch(&mut self, journal: &Journal) -> Result<Epoch, Halt> {
        let number = self.state.epoch + 1;
        let order = order(self.request.seed, number, self.row_weights.len());
        for rows in order.chunks(self.batch_size).skip(self.state.step) {
            journal.checkpoint()?;
            if let Some(limit) = self.limit_reached() {
                return Ok(Epoch::OutOfTime(limit));
            }
            if let Some(checkpoints) = self.request.checkpoints
                && self.last_saved.elapsed() >= checkpoints.every
            {
                self.save(checkpoints, journal);
            }
            let started = Instant::now();
            let loss = self.update(rows, journal)?;
            self.stepping.0 += started.elapsed();
            if !loss.is_finite() {
                return Ok(Epoch::Diverged(format!("in epoch {number}: a step's loss is {loss}")));
            }
        }
        let train_loss = self.state.loss_sum / self.state.weight_sum.max(f64::MIN_POSITIVE);
        let validation_loss = self.validation_loss().map_err(failed)?;
        if train_loss.is_finite() && validation_loss.is_finite() {
            return Ok(Epoch::Done { train_loss, validation_loss });
        }
        Ok(Epoch::Diverged(format!(
            "in epoch {number}: train loss {train_loss}, validation loss {validation_loss}"
        )))
    }

    /// One step, in more parts than before where memory is short. Returns its mean loss.
    fn update(&mut self, rows: &[i64], journal: &Journal) -> Result<f64, Halt> {
        loop {
            match self.try_update(rows) {
                Ok(loss) => return Ok(loss),
                Err(error) if is_out_of_memory(&error) => {
                    let part = self.batch_size.div_ceil(self.state.parts);
                    if part <= 1 {
                        return Err(Halt::Failed(format!(
                            "out of memory with one row at a time: {}; a smaller network may help",
                            first_line(&error)
                        )));
                    }
                    self.state.parts *= 2;
                    let half = self.batch_size.div_ceil(self.state.parts);
                    journal.warn(format!(
                        "out of memory with {part} rows at once: the batch is halved, steps of {} rows are computed {half} rows at a time from here on",
                        self.batch_size
                    ));
                }
                Err(error) => return Err(failed(error)),
            }
        }
    }

    fn try_update(&mut self, rows: &[i64]) -> Result<f64, TchError> {
        let Request { deep, objective, output, seed, device, .. } = self.request;
        let index = |row: i64| usize::try_from(row).ok().and_then(|row| self.row_weights.get(row));
        let weight: f64 = rows.iter().filter_map(|&row| index(row)).sum();
        let is_too_few = self.network.has_batch_statistics() && rows.len() < 2;
        if is_too_few || weight <= 0.0 {
            self.state.step += 1;
            self.state.updates += 1;
            return Ok(0.0);
        }
        if deep.dropout > 0.0 {
            tch::manual_seed(mix(seed, self.state.updates).cast_signed());
        }
        let scale = self.state.loss_scale;
        let mut gradient: Option<Tensor> = None;
        let mut loss_sum = 0.0;
        for part in rows.chunks(self.batch_size.div_ceil(self.state.parts)) {
            if self.network.has_batch_statistics() && part.len() < 2 {
                continue;
            }
            if let Some(error) = self.request.fault.and_then(|fault| fault(part.len(), self.state.updates)) {
                return Err(error);
            }
            let started = Instant::now();
            let batch = self.train.pick(&Tensor::f_from_slice(part)?.f_to_device(device)?)?;
            self.stepping.1 += started.elapsed();
            let network = &self.network;
            let forward = || network.forward(&batch.numbers, &batch.codes, true);
            let scores = if self.is_half { tch::autocast(true, forward)? } else { forward()? };
            let loss = loss::total(objective, output, &scores, &batch.targets, &batch.weights)?;
            let loss = loss.f_mul_scalar(scale / weight)?;
            loss_sum += loss.f_double_value(&[])? / scale * weight;
            let gradients = Tensor::f_run_backward(&[&loss], self.network.parameters(), false, false)?;
            let views =
                gradients.iter().map(|gradient| gradient.f_view(-1)).collect::<Result<Vec<_>, _>>()?;
            let flat = Tensor::f_cat(&views, 0)?;
            gradient = Some(match gradient {
                Some(sum) => sum.f_add(&flat)?,
                None => flat,
            });
        }
        let loss = loss_sum / weight;
        let Some(mut gradient) = gradient else { return Ok(loss) };
        if scale > 1.0 {
            let _unscaled = gradient.f_mul_scalar_(1.0 / scale)?;
        }
        let length = schedule::clip(&mut gradient, deep.max_gradient_norm)?;
        self.state.step += 1;
        self.state.updates += 1;
        if !(loss.is_finite() && length.is_finite()) {
            // In half precision a gradient may overflow where the loss is sound.
            if self.is_half && loss.is_finite() && self.state.loss_scale > 1.0 {
                self.state.loss_scale *= 0.5;
                return Ok(loss);
            }
            return Ok(f64::NAN);
        }
        let steps = self.row_weights.len().div_ceil(self.batch_size) * deep.max_epochs;
        let factor = schedule::factor(deep, self.state.updates, u64::try_from(steps).unwrap_or(u64::MAX));
        let rate = self.state.rate * factor;
        self.adam.step(self.network.flat(), &gradient, self.state.updates, rate, deep.weight_decay)?;
        self.state.loss_sum += loss_sum;
        self.state.weight_sum += weight;
        Ok(loss)
    }

    fn validation_loss(&self) -> Result<f64, TchError> {
        let rows = self.held.targets.size1()?;
        let mut sum = 0.0;
        let mut start = 0;
        while start < rows {
            let length = HELD_CHUNK.min(rows - start);
            let part = |tensor: &Tensor| tensor.f_narrow(0, start, length);
            let loss = tch::no_grad(|| {
                let scores =
                    self.network.forward(&part(&self.held.numbers)?, &part(&self.held.codes)?, false)?;
                let (targets, weights) = (part(&self.held.targets)?, part(&self.held.weights)?);
                loss::total(self.request.objective, self.request.output, &scores, &targets, &weights)
            })?;
            sum += loss.f_double_value(&[])?;
            start += length;
        }
        Ok(sum / self.held.weights.f_sum(Kind::Double)?.f_double_value(&[])?)
    }

    fn finish_epoch(&mut self, train_loss: f64, validation_loss: f64) -> Result<(), TchError> {
        self.train_loss = train_loss;
        self.state.epoch += 1;
        self.state.step = 0;
        self.state.loss_sum = 0.0;
        self.state.weight_sum = 0.0;
        let now = Snapshot::of(&self.network, &self.adam)?;
        if self.state.best.is_none_or(|(_, best)| validation_loss < best) {
            self.state.best = Some((self.state.epoch, validation_loss));
            self.best = Some(Snapshot::of(&self.network, &self.adam)?);
        }
        self.good = (self.state.clone(), now);
        Ok(())
    }

    /// Goes back to the last sound epoch with a lower rate, or gives up.
    fn go_back(&mut self, problem: &str, journal: &Journal) -> Result<(), Halt> {
        let rate = self.request.deep.learning_rate;
        let restarts = self.state.restarts + 1;
        if restarts > MAX_RESTARTS {
            return Err(Halt::Failed(format!(
                "the deep model diverged {problem}, {MAX_RESTARTS} times over with ever lower rates; a smaller deep.learning_rate than {rate} may help"
            )));
        }
        let (state, good) = &self.good;
        good.restore(&self.network, &mut self.adam).map_err(failed)?;
        let lower = self.state.rate * RESTART_FACTOR;
        self.state = State { restarts, rate: lower, parts: self.state.parts, ..state.clone() };
        journal.warn(format!(
            "the deep model diverged {problem}; going back to the end of epoch {} with a learning rate of {lower:.3e}",
            self.state.epoch
        ));
        Ok(())
    }

    fn tell(&mut self, train_loss: f64, validation_loss: f64, rows_per_second: f64, journal: &Journal) {
        let epoch = self.state.epoch;
        let candidate = self.request.candidate;
        let metric = |split: &str, name: &str, value| Metric {
            candidate: candidate.to_owned(),
            split: split.to_owned(),
            epoch: i32::try_from(epoch).unwrap_or(i32::MAX),
            name: name.to_owned(),
            value,
        };
        let mut metrics = vec![
            metric("train", "loss", train_loss),
            metric("validation", "loss", validation_loss),
            metric("train", "rows_per_second", rows_per_second),
        ];
        metrics
            .extend(self.usage.sample(journal).into_iter().map(|(name, value)| metric("host", name, value)));
        journal.metrics(metrics);
        let left = self.request.deep.max_epochs - epoch;
        let seconds = self.seconds() / epoch.max(1) as f64 * left as f64;
        journal.progress(Progress {
            candidate,
            epoch,
            max_epochs: self.request.deep.max_epochs,
            train_loss,
            validation_loss,
            rows_per_second,
            eta_seconds: Duration::try_from_secs_f64(seconds).unwrap_or_default().as_secs(),
        });
    }

    fn seconds(&self) -> f64 {
        self.clock.1 + self.clock.0.elapsed().as_secs_f64()
    }

    /// The limit that is reached, in words.
    fn limit_reached(&self) -> Option<String> {
        let limits = self.request.limits;
        let minutes = (self.request.spent + self.seconds()) / 60.0;
        let gpu = limits.max_gpu_minutes.filter(|_| matches!(self.request.device, Device::Cuda(_)));
        [("max_minutes", limits.max_minutes), ("max_gpu_minutes", gpu)].into_iter().find_map(
            |(name, limit)| {
                limit.filter(|limit| minutes >= *limit).map(|limit| format!("limits.{name} {limit}"))
            },
        )
    }

    fn fit(mut self) -> Result<DeepFit, Halt> {
        let nothing = || Halt::Failed("the deep model was given no epoch to train".to_owned());
        let (best_epoch, validation_loss) = self.state.best.ok_or_else(nothing)?;
        self.best.take().ok_or_else(nothing)?.restore(&self.network, &mut self.adam).map_err(failed)?;
        let (stepping, gathering) = self.stepping;
        Ok(DeepFit {
            graph: self.network.graph().map_err(failed)?,
            best_epoch,
            epochs: self.state.epoch,
            train_loss: self.train_loss,
            validation_loss,
            batch_size: self.batch_size,
            seconds: self.seconds(),
            gathering: gathering.as_secs_f64() / stepping.as_secs_f64().max(1e-9),
        })
    }
}

impl Snapshot {
    fn of(network: &Network, adam: &Adam) -> Result<Self, TchError> {
        let buffers = network.buffers();
        let buffers = if buffers.is_empty() {
            Tensor::f_zeros([0], (Kind::Float, Device::Cpu))?
        } else {
            Tensor::f_cat(buffers, 0)?
        };
        Ok(Self {
            weights: network.flat().f_detach_copy()?,
            first: adam.first.f_detach_copy()?,
            second: adam.second.f_detach_copy()?,
            buffers,
        })
    }

    fn restore(&self, network: &Network, adam: &mut Adam) -> Result<(), TchError> {
        network.flat().shallow_clone().f_copy_(&self.weights)?;
        adam.first.f_copy_(&self.first)?;
        adam.second.f_copy_(&self.second)?;
        let mut start = 0;
        for buffer in network.buffers() {
            let length = buffer.size1()?;
            buffer.shallow_clone().f_copy_(&self.buffers.f_narrow(0, start, length)?)?;
            start += length;
        }
        Ok(())
    }
}

fn is_out_of_memory(error: &TchError) -> bool {
    let text = error.to_string();
    text.contains("out of memory") || text.contains("not enough memory")
}

#[cfg(test)]
#[path = "training_tests.rs"]
mod tests;
