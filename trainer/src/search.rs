//! The built-in search: one change at a time, successive halving, every trial written down.

use std::fs;

use driftline::retrain::DeepSpec;
use driftline::retrain::spec::SearchSpec;
use driftline::stats::random::SplitMix64;
use driftline::store::training_log::Metric;
use serde::{Deserialize, Serialize};

use crate::checkpoint::{Checkpoints, write_atomically};
use crate::journal::{Halt, Journal};
use crate::linear::Part;
use crate::training::{self, Request};

/// File of the trials that are done, beside the checkpoint.
const FILE_NAME: &str = "search.json";

/// One round of one trial.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Trial {
    /// Its number.
    #[serde(rename = "trial")]
    pub(crate) number: usize,
    /// What is changed, such as `dropout 0.1`.
    pub(crate) change: String,
    /// Epochs that it was given.
    pub(crate) epochs: usize,
    /// Loss of the best one on the validation part; absent where it diverged.
    pub(crate) validation_loss: Option<f64>,
    /// Seconds.
    pub(crate) seconds: f64,
}

/// What was found.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Found {
    /// The hyperparameters to train with.
    pub(crate) deep: DeepSpec,
    /// Every trial in the order in which they were made.
    pub(crate) trials: Vec<Trial>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    identity: String,
    trials: Vec<Trial>,
}

/// Searches around `request.deep`. Rounds of epochs double while the better half of the trials goes on.
///
/// # Source
///
/// Jamieson and Talwalkar (2016), arXiv:1502.07943.
pub(crate) fn search(
    request: Request<'_>,
    space: &SearchSpec,
    train: Part<'_>,
    validation: Part<'_>,
    journal: &Journal,
) -> Result<Found, Halt> {
    let candidates = candidates(request.deep, space, request.seed);
    let known = request.checkpoints.map(read).unwrap_or_default();
    let mut trials: Vec<Trial> = Vec::new();
    let mut alive: Vec<usize> = (0..candidates.len()).collect();
    let mut epochs = space.epochs;
    while alive.len() > 1 {
        journal.info(format!("search: {} trials of {epochs} epochs", alive.len()));
        let mut losses = Vec::with_capacity(alive.len());
        for &trial in &alive {
            let (change, deep) = &candidates[trial];
            let done = known.iter().find(|done| done.number == trial && done.epochs == epochs);
            let outcome = if let Some(done) = done {
                done.clone()
            } else {
                let deep = DeepSpec { max_epochs: epochs, patience: epochs, ..deep.clone() };
                let spent = trials.iter().map(|trial| trial.seconds).sum::<f64>();
                let request =
                    Request { candidate: "trial", deep: &deep, checkpoints: None, spent, ..request };
                let quiet = journal.without_progress();
                let (validation_loss, seconds) = match training::train(request, train, validation, &quiet) {
                    Ok(fit) => (Some(fit.validation_loss), fit.seconds),
                    Err(Halt::Failed(problem)) => {
                        journal.warn(format!("trial {trial} ({change}): {problem}"));
                        (None, 0.0)
                    }
                    Err(halt) => return Err(halt),
                };
                Trial { number: trial, change: change.clone(), epochs, validation_loss, seconds }
            };
            tell(&outcome, journal);
            losses.push((outcome.validation_loss.unwrap_or(f64::INFINITY), trial));
            trials.push(outcome);
            if let Some(checkpoints) = request.checkpoints {
                write(checkpoints, &trials, journal);
            }
        }
        losses.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        alive = losses.iter().take(losses.len().div_ceil(2)).map(|(_, trial)| *trial).collect();
        epochs *= 2;
    }
    let best = alive.first().copied().unwrap_or(0);
    let (change, deep) = &candidates[best];
    journal.info(format!("search: trial {best} ({change}) is trained on"));
    Ok(Found { deep: deep.clone(), trials })
}

/// What is tried, the unchanged model first.
fn candidates(base: &DeepSpec, space: &SearchSpec, seed: u64) -> Vec<(String, DeepSpec)> {
    let mut changed: Vec<(String, DeepSpec)> = Vec::new();
    let mut add = |change: String, deep: DeepSpec| {
        if deep != *base {
            changed.push((change, deep));
        }
    };
    for hidden in &space.hidden {
        add(format!("hidden {hidden:?}"), DeepSpec { hidden: hidden.clone(), ..base.clone() });
    }
    for &learning_rate in &space.learning_rate {
        add(format!("learning_rate {learning_rate}"), DeepSpec { learning_rate, ..base.clone() });
    }
    for &weight_decay in &space.weight_decay {
        add(format!("weight_decay {weight_decay}"), DeepSpec { weight_decay, ..base.clone() });
    }
    for &dropout in &space.dropout {
        add(format!("dropout {dropout}"), DeepSpec { dropout, ..base.clone() });
    }
    for &norm in &space.norm {
        add(format!("norm {norm:?}").to_lowercase(), DeepSpec { norm, ..base.clone() });
    }
    for &batch_size in &space.batch_size {
        add(format!("batch_size {batch_size}"), DeepSpec { batch_size: Some(batch_size), ..base.clone() });
    }
    let most = space.trials.saturating_sub(1);
    if changed.len() > most {
        let mut order: Vec<usize> = (0..changed.len()).collect();
        SplitMix64::new(seed ^ 0x005e_a7c4).shuffle(&mut order);
        order.truncate(most);
        order.sort_unstable();
        changed = order.into_iter().map(|at| changed[at].clone()).collect();
    }
    changed.insert(0, ("unchanged".to_owned(), base.clone()));
    changed
}

fn tell(trial: &Trial, journal: &Journal) {
    let Trial { number, change, epochs, validation_loss, .. } = trial;
    let Some(loss) = validation_loss else { return };
    journal.info(format!("trial {number} ({change}): validation loss {loss:.5} in {epochs} epochs"));
    journal.metrics(vec![Metric {
        candidate: format!("trial {number}: {change}"),
        split: "validation".to_owned(),
        epoch: i32::try_from(*epochs).unwrap_or(i32::MAX),
        name: "loss".to_owned(),
        value: *loss,
    }]);
}

/// The trials that another process made for the same run.
fn read(checkpoints: &Checkpoints) -> Vec<Trial> {
    let document: Option<Document> = fs::read(checkpoints.beside(FILE_NAME))
        .ok()
        .and_then(|content| serde_json::from_slice(&content).ok())
        .filter(|document: &Document| document.identity == checkpoints.identity);
    document.map(|document| document.trials).unwrap_or_default()
}

fn write(checkpoints: &Checkpoints, trials: &[Trial], journal: &Journal) {
    let document = Document { identity: checkpoints.identity.clone(), trials: trials.to_vec() };
    let path = checkpoints.beside(FILE_NAME);
    let written = serde_json::to_vec(&document)
        .map_err(std::io::Error::other)
        .and_then(|content| write_atomically(&path, &content));
    if let Err(problem) = written {
        journal.warn(format!("`{}` could not be written: {problem}", path.display()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thing_is_changed_at_a_time() {
        let base = DeepSpec::default();
        let space = SearchSpec { dropout: vec![0.0, 0.1, 0.2], trials: 100, ..SearchSpec::default() };
        let all = candidates(&base, &space, 1);
        assert_eq!(all[0], ("unchanged".to_owned(), base.clone()));
        // The value that the model has already is no change.
        assert_eq!(all.iter().filter(|(change, _)| change.starts_with("dropout")).count(), 2);
        let few = candidates(&base, &SearchSpec { trials: 3, ..space.clone() }, 1);
        assert_eq!(few.len(), 3);
        assert_eq!(few, candidates(&base, &SearchSpec { trials: 3, ..space }, 1));
        assert!(few.iter().all(|candidate| all.contains(candidate)));
    }
}
