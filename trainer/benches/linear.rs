//! Fits the linear model on rows from a file, for `benches/peers/linear.py`, which compares it with scikit-learn.
//!
//! Usage: `linear FILE ROWS COLUMNS regression|binary`. The file holds the inputs row after row, then the targets, as
//! little-endian doubles. Prints one JSON object: seconds of the fit alone, penalty, weights and intercept.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a bench may fail loudly, and prints")]
#![expect(dead_code, reason = "modules of the trainer are taken as they are")]

#[path = "../src/journal.rs"]
mod journal;
#[path = "../src/linear/mod.rs"]
mod linear;

use std::time::Instant;

use driftline::retrain::Task;
use driftline::retrain::spec::SimpleSpec;
use ndarray::{Array2, ArrayView2};
use serde_json::json;

use crate::journal::{Journal, Stop};
use crate::linear::Part;

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    // Without a file there is nothing to do: `cargo test --benches` starts this program too.
    let Some(path) = arguments.next() else { return };
    let mut number = || arguments.next().unwrap().parse::<usize>().unwrap();
    let (rows, columns) = (number(), number());
    let task = if arguments.next().unwrap() == "binary" { Task::Binary } else { Task::Regression };
    let bytes = std::fs::read(path).unwrap();
    let mut numbers: Vec<f64> =
        bytes.chunks_exact(8).map(|chunk| f64::from_le_bytes(chunk.try_into().unwrap())).collect();
    drop(bytes);
    let targets = numbers.split_off(rows * columns);
    let inputs = Array2::from_shape_vec((rows, columns), numbers).unwrap();
    let weights = vec![1.0; rows];
    // A tenth of the rows chooses the penalty; all of them are fitted on, as in the peer.
    let held = rows / 10;
    let whole = Part {
        numbers: inputs.view(),
        codes: ArrayView2::from_shape((rows, 0), &[]).unwrap(),
        targets: &targets,
        weights: &weights,
    };
    let validation = Part {
        numbers: inputs.slice(ndarray::s![..held, ..]),
        codes: ArrayView2::from_shape((held, 0), &[]).unwrap(),
        targets: &targets[..held],
        weights: &weights[..held],
    };
    let (journal, _events) = Journal::new(Stop::default());
    let started = Instant::now();
    let fitted = linear::fit((task, 2), &SimpleSpec::default(), whole, validation, &journal).unwrap();
    let seconds = started.elapsed().as_secs_f64();
    let weights: Vec<f64> = fitted.layer.weight.iter().copied().collect();
    println!(
        "{}",
        json!({"seconds": seconds, "l2": fitted.l2, "weights": weights, "intercept": fitted.layer.bias[0]})
    );
}
