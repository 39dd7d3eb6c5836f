//! How fast this machine trains: rows a second, processors in use, and how much of a step gathers its rows.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Args;
use driftline::retrain::artifact::{Link, Output};
use driftline::retrain::spec::{Architecture, AttentionSpec, DeepSpec, LimitsSpec, Objective, Schedule};
use driftline::stats::random::SplitMix64;
use ndarray::Array2;
use safetensors::{Dtype, SafeTensors};
use serde_json::json;

use crate::architecture::Shape;
use crate::journal::{Journal, Stop};
use crate::linear::Part;
use crate::training::{self, Request};
use crate::{device, usage};

/// Share of the rows, the last ones, that losses are also computed on.
const HELD_SHARE: usize = 10;

/// What is measured.
#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// Rows, made up unless `--data` gives them
    #[arg(long, default_value_t = 100_000)]
    rows: usize,
    /// Columns
    #[arg(long, default_value_t = 50)]
    columns: usize,
    /// A safetensors file with `inputs` [rows, columns] and `targets` [rows], both F32
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// Units of each hidden layer
    #[arg(long, value_delimiter = ',', default_value = "64,64,64")]
    hidden: Vec<usize>,
    /// Train an FT-Transformer of this width instead
    #[arg(long, value_name = "WIDTH")]
    tokens: Option<usize>,
    /// Rows per step; by the number of rows unless given
    #[arg(long)]
    batch: Option<usize>,
    /// Epochs
    #[arg(long, default_value_t = 5)]
    epochs: usize,
    /// Threads of libtorch
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// `auto`, `cpu` or `cuda:N`
    #[arg(long, default_value = "auto")]
    device: String,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Rows with numbers and targets.
struct Data {
    numbers: Array2<f64>,
    targets: Vec<f64>,
}

/// Trains on the rows and prints how it went.
///
/// # Errors
///
/// When the data cannot be read, or training fails.
pub(crate) fn run(bench: &Bench, out: &mut impl Write) -> Result<bool> {
    let data = match &bench.data {
        Some(path) => read(path)?,
        None => made_up(bench.rows, bench.columns),
    };
    let (rows, columns) = data.numbers.dim();
    let held = rows / HELD_SHARE;
    if held == 0 || columns == 0 || bench.epochs == 0 || bench.threads == 0 || bench.batch == Some(0) {
        bail!("rows, columns, batch, epochs and threads must be above 0, and rows at least {HELD_SHARE}");
    }
    let mut deep = DeepSpec {
        hidden: bench.hidden.clone(),
        batch_size: bench.batch,
        max_epochs: bench.epochs,
        patience: bench.epochs,
        warm_up: 0.0,
        schedule: Schedule::Constant,
        ..DeepSpec::default()
    };
    if let Some(width) = bench.tokens {
        deep.architecture = Architecture::FtTransformer;
        deep.attention = AttentionSpec { width, ..AttentionSpec::default() };
    }
    let limits = LimitsSpec { threads: bench.threads, ..LimitsSpec::default() };
    let problems: Vec<String> = deep.problems().into_iter().chain(limits.problems()).collect();
    if !problems.is_empty() {
        bail!("{}", problems.join("\n"));
    }
    // Nobody reads what the training tells.
    let (journal, _events) = Journal::new(Stop::default());
    let claimed = device::claim(&bench.device, &journal)?;
    let shape = Shape { groups: vec![1; columns], cardinalities: Vec::new(), outputs: 1 };
    let request = Request {
        candidate: "bench",
        objective: Objective::Mse,
        output: Output::plain(Link::Identity),
        shape: &shape,
        deep: &deep,
        limits: &limits,
        spent: 0.0,
        seed: 1,
        device: claimed.device,
        checkpoints: None,
        fault: None,
    };
    let codes = Array2::zeros((rows, 0));
    let weights = vec![1.0; rows];
    let (numbers, held_numbers) = data.numbers.view().split_at(ndarray::Axis(0), rows - held);
    let (codes, held_codes) = codes.view().split_at(ndarray::Axis(0), rows - held);
    let (targets, held_targets) = data.targets.split_at(rows - held);
    let (weights, held_weights) = weights.split_at(rows - held);
    let train = Part { numbers, codes, targets, weights };
    let validation =
        Part { numbers: held_numbers, codes: held_codes, targets: held_targets, weights: held_weights };
    let (started, busy) = (Instant::now(), usage::processor_seconds());
    let fit = training::train(request, train, validation, &journal)?;
    let seconds = started.elapsed().as_secs_f64();
    let processors =
        usage::processor_seconds().zip(busy).map(|(after, before)| (after - before) / seconds.max(1e-9));
    let rows_per_second = (targets.len() * bench.epochs) as f64 / seconds.max(1e-9);
    if bench.json {
        let document = json!({
            "rows": targets.len(), "columns": columns, "batch": fit.batch_size, "epochs": bench.epochs,
            "threads": bench.threads, "device": device::name(claimed.device), "seconds": seconds,
            "rows_per_second": rows_per_second, "processors": processors, "gathering": fit.gathering,
            "train_loss": fit.train_loss, "validation_loss": fit.validation_loss,
        });
        writeln!(out, "{document}")?;
        return Ok(true);
    }
    writeln!(
        out,
        "{} rows x {columns} columns, batch {}, {} epochs on {}, {} threads",
        targets.len(),
        fit.batch_size,
        bench.epochs,
        device::name(claimed.device),
        bench.threads
    )?;
    writeln!(out, "{rows_per_second:.0} rows/s, {seconds:.2} s")?;
    if let Some(processors) = processors {
        writeln!(out, "{processors:.2} processors in use")?;
    }
    writeln!(out, "{:.1} % of the steps gathers their rows", 100.0 * fit.gathering)?;
    writeln!(out, "train loss {:.5}, validation loss {:.5}", fit.train_loss, fit.validation_loss)?;
    Ok(true)
}

/// Rows whose target is a smooth function of a few columns, and noise.
fn made_up(rows: usize, columns: usize) -> Data {
    let mut random = SplitMix64::new(1);
    let mut number = || (random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64 * 2.0 - 1.0;
    let numbers = Array2::from_shape_simple_fn((rows, columns), &mut number);
    let targets = numbers
        .rows()
        .into_iter()
        .map(|row| {
            let at = |column: usize| row.get(column % columns.max(1)).copied().unwrap_or(0.0);
            (3.0 * at(0)).sin() + at(1) * at(2)
        })
        .map(|target| target + 0.1 * number())
        .collect();
    Data { numbers, targets }
}

fn read(path: &Path) -> Result<Data> {
    let content = std::fs::read(path).with_context(|| format!("`{}` cannot be read", path.display()))?;
    let tensors = SafeTensors::deserialize(&content).with_context(|| format!("`{}`", path.display()))?;
    let tensor = |name: &str| -> Result<(Vec<usize>, Vec<f64>)> {
        let view = tensors.tensor(name).with_context(|| format!("`{}`", path.display()))?;
        if view.dtype() != Dtype::F32 {
            bail!("`{}`: tensor `{name}` holds {:?}, not F32", path.display(), view.dtype());
        }
        let numbers = view
            .data()
            .chunks_exact(4)
            .map(|chunk| f64::from(f32::from_le_bytes(chunk.try_into().unwrap_or_default())))
            .collect();
        Ok((view.shape().to_vec(), numbers))
    };
    let ((shape, numbers), (_, targets)) = (tensor("inputs")?, tensor("targets")?);
    let &[rows, columns] = shape.as_slice() else {
        bail!("`inputs` has shape {shape:?}, not [rows, columns]")
    };
    if targets.len() != rows {
        bail!("{} targets for {rows} rows", targets.len());
    }
    Ok(Data { numbers: Array2::from_shape_vec((rows, columns), numbers)?, targets })
}
